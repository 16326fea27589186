/* SPDX-License-Identifier: MIT */
/* Types of a host as servers have them: compiled for its BTF (host.c), and by the tests for their offsets. */
#ifndef HOST_H
#define HOST_H

typedef unsigned char u_char;
typedef struct {
    unsigned long len;
    u_char *data;
} str_t;

struct connection {
    int fd;
    unsigned flags : 3;
    unsigned secure : 1;
    unsigned : 12;
    unsigned port : 16;
    struct connection *next;
    void *private;
};
typedef struct connection connection_t;

enum method { GET, PUT };
typedef struct request request_t;
struct header {
    str_t key, value;
    int hash;
};
struct request {
    connection_t *connection;
    str_t uri, args;
    enum method method;
    union {
        long number;
        struct {
            int low, high;
        };
        char text[24];
    };
    struct header headers[4];
    short grid[3][5];
    struct {
        int status;
        char pad_after;
        long length;
    } headers_out;
    int (*handler)(request_t *r, void *data);
    request_t *parent;
    struct opaque *hidden;
    union {
        long number;
        u_char *bytes;
        unsigned *wide;
    } either;
    char **names;
    unsigned ntail;
    char tail[];
};
struct cycle {
    int pid;
    connection_t *connections;
    str_t name;
    unsigned mode : 5;
    unsigned level : 11;
    connection_t *open[4];
    struct header defaults[3];
};
#endif
