/* SPDX-License-Identifier: MIT */
#include "host.h"

int pid;
/* Pointers alone would leave their types declared and not defined: clang leaves out what no variable has. */
connection_t first_connection;
request_t first_request;
connection_t *last_connection;
struct cycle the_cycle;
struct cycle *current_cycle;
short limits[4];
connection_t pool[3];

int access_phase(request_t *r, int rc, str_t *name)
{
    return r->method + rc + (int)name->len + pid + last_connection->fd + the_cycle.pid + current_cycle->pid +
           limits[rc & 3] + pool[rc & 1].fd;
}
int finish(request_t *r, int rc)
{
    return r->headers_out.status + rc;
}
long take(long number)
{
    return number;
}
long emit(long number)
{
    return number + 1;
}
int peek(request_t *r)
{
    return r->method;
}
long fill(char *to, unsigned n)
{
    return to[n];
}
/* As the broker's small vmlinux has it. */
long tenon_copy(void *own, unsigned own__sz, const void *object, unsigned long pointer__k,
                unsigned long length__k)
{
    return (long)own + (long)object + own__sz + (long)pointer__k + (long)length__k;
}
void tenon_replace(void *ctx, unsigned long value)
{
    *(unsigned long *)ctx = value;
}
long copy(char *to, unsigned n, connection_t *c)
{
    return to[n] + c->fd;
}
