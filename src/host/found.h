/* SPDX-License-Identifier: MIT */
/*
 * Debug information read by libdw, in the confined child: DIEs become types under construction, functions
 * and variables rows whose types are nodes.
 */
#ifndef TN_HOST_FOUND_H
#define TN_HOST_FOUND_H

#include "host/raw.h"
#include "host/types.h"

/* Where debug information says that a parameter is at the function's first instruction. */
struct tn_param_at {
    enum tn_param_place {
        TN_AT_NOWHERE,  /* no location at all */
        TN_AT_LATER,    /* one, but not at the entry */
        TN_AT_REGS,     /* reg[0 … n) */
        TN_AT_STACK,    /* `off` bytes from the CFA: 0 is the first argument on the stack */
        TN_AT_MEMORY,   /* a place of the function's own, where it is put later: nothing said of the entry */
        TN_AT_CONSTANT, /* no place: a value */
        TN_AT_OTHER
    } place;
    u8 n, reg[2]; /* DWARF's numbers */
    s32 off;
};

struct tn_found_func {
    u64 addr, size;
    u32 name, link_name; /* offsets of strings; 0: cannot be said */
    u32 proto;           /* node; 0: none */
    u32 flags;
    enum tn_host_reason reason;
    u32 param;          /* the reason's */
    u32 proto_word;     /* where its prototype stands in `raw`, if it is only declared */
    bool named;         /* only tells what the parameters of the one of its name are called (stub.h) */
    u32 first, nparams; /* of `at` */
    bool gnu, clang;    /* who compiled it */
};

struct tn_found_var {
    u64 addr, size; /* 0: that of its type */
    u32 name, type, flags;
};

struct tn_found {
    struct tn_raw raw;
    struct tn_found_func *func;
    struct tn_found_var *var;
    struct tn_param_at *at;
    u32 nfuncs, cap_funcs, nvars, cap_vars, nat, cap_at;
    u32 nskeletons, nunits; /* compile units whose types are in another file; all of them */
};

void tn_found_clear(struct tn_found *found);
/* An element more, zeroed; NULL with found->raw.error set. */
struct tn_found_func *tn_found_add_func(struct tn_found *found);
struct tn_found_var *tn_found_add_var(struct tn_found *found);

/* Where libdw has no memory the process ends with this status: it knows no other way. */
#define TN_DWARF_NO_MEMORY 3

/* All of a file; `alt_fd`: what dwz took out of it and others (−1: nothing). With `declared`, functions and
   variables that are only declared have rows, at address 0, and those that are defined have none. */
int tn_dwarf_read(int fd, int alt_fd, bool declared, struct tn_found *found, struct tn_error *err);

#endif
