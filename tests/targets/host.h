/* SPDX-License-Identifier: MIT */
/*
 * What host.c and modules for it share; extensions take it from the host's debug information at load time
 * (CO-RE), and are compiled against VERSION 1.
 */
#ifndef TESTS_TARGETS_HOST_H
#define TESTS_TARGETS_HOST_H

#ifndef VERSION
#define VERSION 1
#endif
#ifdef __bpf__
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

struct text {
    unsigned long len;
    char *data;
};
struct header {
    struct text name, value;
};
struct pair {
    long x, y;
};
struct clock {
    long reads, sec;
};
struct piece {
    unsigned long used;
    char bytes[48];
};
/* Buffers of every kind, and what counts them. */
struct item {
#if VERSION > 1
    long added;
#endif
    unsigned id;
    char name[12];
};
struct crate {
    long weight;
    int code;
    short side[3];
};
typedef struct Store Store;
struct Store {
#if VERSION > 1
    int added[3];
#endif
    int ncodes;
    unsigned short *code;
    struct item *item;
    unsigned long nitems;
    union {
        long number;
        char *text;
        unsigned *wide;
    } either;
    unsigned char neither;
    char *out;
    unsigned long room;
    struct crate crate[4];
    unsigned short ntail;
    char tail[];
};

typedef struct Request Request;
struct Request {
#if VERSION > 1
    char added[40];
    struct text args;
    unsigned short more;
#endif
    int method;
    int status;
    unsigned keep_alive : 1;
    unsigned version : 5;
    struct text uri;
#if VERSION == 1
    struct text args;
#endif
    unsigned long nheaders;
    struct header header[8];
    Request *parent;
    char secret[16];
    char body[64];
};

#ifdef __bpf__
#pragma clang attribute pop
#endif
#endif
