/* SPDX-License-Identifier: MIT */
/*
 * Random programs that look like compilers' output gone wrong: arithmetic, masks, checks with a bound that
 * may be too large, map and stack accesses at variable offsets, spills of all widths, loops, functions that
 * get their caller's stack and give pointers back, keys built from whatever lies on the stack, buffers for
 * helpers over spilled registers, reservations kept in registers, on the stack, over joins and calls.
 *
 *      r6   main: the context; a function: its caller's fp−40           r7   counts loops
 *      r8   a value of the array map                                    r0, r2…r5, r9   numbers
 *
 * Those made for a world (world.h) use all that is in it: packets, dynptrs, iterators, callbacks, locks,
 * sections, maps of maps, typed pointers, sockets, constants, may_goto, tail calls, any helper
 * (gen_objects.c).
 */
#ifndef TESTS_VERIFY_GEN_H
#define TESTS_VERIFY_GEN_H

#include "tests/verify/asm.h"
#include "tests/verify/maps.h"
#include "tests/verify/world.h"

#define GEN_MAX_PROG 400u
#define GEN_FUNCS    8u

struct gen {
    struct bpf_insn insn[GEN_MAX_PROG];
    u32 n;
    u64 seed;
    bool plain;                  /* arithmetic and memory alone */
    const struct world *world;   /* NULL: numbers, memory and functions alone */
    u32 type;                    /* of the program */
    u32 nfuncs, func[GEN_FUNCS]; /* where functions start, main first */
    /* while it is made */
    bool in_callee, in_callback;
    u32 loops, ncalls, call[8], callee[8];
};

void gen_program(struct gen *g, u64 seed, bool plain);
/* `type`: one of world_types. */
void gen_in_world(struct gen *g, u64 seed, const struct world *world, u32 type);

#endif
