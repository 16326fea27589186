/* SPDX-License-Identifier: MIT */
/*
 * Random programs that look like compilers' output gone wrong: arithmetic, masks, checks with a bound that
 * may be too large, map and stack accesses at variable offsets, spills of all widths, loops, functions that
 * get their caller's stack and give pointers back, keys built from whatever lies on the stack, buffers for
 * helpers over spilled registers, reservations kept in registers, on the stack, over joins and calls.
 *
 *      r6   main: the context; a function: its caller's fp−40           r7   counts loops
 *      r8   a value of the array map                                    r0, r2…r5, r9   numbers
 */
#ifndef TESTS_VERIFY_GEN_H
#define TESTS_VERIFY_GEN_H

#include "tests/verify/asm.h"
#include "tests/verify/maps.h"

#define GEN_MAX_PROG 400u

struct gen {
    struct bpf_insn insn[GEN_MAX_PROG];
    u32 n;
    u64 seed;
    bool plain; /* arithmetic and memory alone */
    /* while it is made */
    bool in_callee;
    u32 loops, ncalls, call[8], callee[8];
};

void gen_program(struct gen *g, u64 seed, bool plain);

#endif
