/* SPDX-License-Identifier: MIT */
/*
 * A host with annotations, for C and C++ alike; compiled with EIM_OFF the same without them. The static
 * functions that only an annotation names must not come alive through it.
 */
#ifndef EIM_OFF
#include <tenon/eim.h>
#else
#define EIM_ENTRY(...)    struct eim_off
#define EIM_STATE(...)    struct eim_off
#define EIM_FUNCTION(...) struct eim_off
#endif

#define READ        0 /* words of ours that a host may have for its own */
#define host_time   1
#define my_argument my_real_argument

struct request {
    int status;
    struct request *parent;
};
int my_pid = 7;
struct {
    long sec;
} clock_now, *cached_time = &clock_now;

__attribute__((noinline)) static int my_process_request(struct request *r)
{
    return r->status + my_pid;
}
static inline int never_called(int x)
{
    return x * 3;
}
int my_time(void)
{
    return (int)cached_time->sec;
}
int my_real_argument(struct request *r, const char *name, unsigned len)
{
    return r->status + name[len - 1];
}

EIM_ENTRY(process_begin, my_process_request, "nonnull(r)");
EIM_ENTRY(unused, never_called);
EIM_STATE(read_pid, READ, my_pid);
EIM_STATE(read_pid_too, READ, my_pid);
EIM_STATE(write_time, WRITE, cached_time->sec);
EIM_FUNCTION(host_time, my_time, "rtn > 0");
EIM_FUNCTION(argument, my_argument, "nonnull(r)", "len == size(name)", "reads(r->status)");
EIM_FUNCTION(bare, my_time);
EIM_FUNCTION(bare, my_time);

int main(int argc, char **argv)
{
    struct request r = {argc, 0};

    return my_process_request(&r) + my_time() + my_real_argument(&r, argv[0], 1) - my_pid;
}
