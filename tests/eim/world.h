/* SPDX-License-Identifier: MIT */
/*
 * A world for the tests of classes: types and variables of a host, capabilities of it as texts, and the bytes that
 * each text names, painted path by path with none of the code under test. Drawn from one seed.
 */
#ifndef TEST_EIM_WORLD_H
#define TEST_EIM_WORLD_H

#include "eim/bind.h"

extern u64 seed;
u32 rnd(u32 n);

/* ------------------------------------------------------------------------------------------------ types */

#define STRUCTS 5u
#define VARS    6u
#define OBJECTS (STRUCTS + VARS)
#define MEMBERS 8u
#define SIZE    2048u
enum kind { NUMBER, POINTER, NESTED, ARRAY, RECORDS, BITS, DATA, KINDS };
struct field {
    enum kind kind;
    u32 bit, width, size; /* size in bytes; of arrays: of one element */
    u32 each;             /* DATA, a pointer to numbers: bytes of one */
    u32 to, n;            /* POINTER, NESTED, RECORDS: struct; n: elements */
};
struct shape {
    bool is_union;
    u32 size, n;
    struct field f[MEMBERS];
    char name[16];
};
struct world {
    struct shape s[STRUCTS]; /* each nests only those before it; pointers go anywhere */
    struct field v[VARS];
    u32 id[OBJECTS]; /* of structs, then of variables */
    struct tn_btf *btf;
};

/* The functions are "entry", whose arguments a and b point to the last struct and the one before; "g0" and "g1",
   which take a pointer to the last struct; and the house's tenon_copy. */
void make_world(struct world *w);

/* ----------------------------------------------------------------------------- paths, and what they paint */

#define BUFFERS 8u
struct buffer {
    u32 op, base, at, each, first, length_at, length_size; /* length_size 0: up to `end` */
    u64 end;
    bool inside;
};
struct paint {
    bool on[2][OBJECTS][SIZE];
    bool named[VARS];
    struct buffer buffer[BUFFERS];
    u32 nbuffers;
};

/* A capability of the world, its text, and what it paints. */
void make_cap(const struct world *w, struct paint *p, char *text, size_t cap);
/* One of a struct's numbers, to count a buffer's elements; MEMBERS: it has none. */
u32 counter(const struct shape *s);
/* Of whatever buffer is met on a random way down from a struct. */
bool find_buffer(const struct world *w, u32 s, struct buffer *ret);
/* Some access, to this object (OBJECTS: to the address of a variable alone). */
struct tn_access make_access(const struct world *w, u32 *ret_object);
/* One of a buffer that is granted, or nearly: another first element, another length of the same struct. */
struct tn_access near_granted(const struct world *w, const struct paint *p, u32 *ret_object);
/* The paint allows it. */
bool painted(const struct world *w, const struct paint *p, u32 s, const struct tn_access *a);

#define WORLD_SPEC                                                                                           \
    "eim: 1\nhost: h\n"                                                                                      \
    "function_capabilities:\n"                                                                               \
    "- { name: callG0, function: g0 }\n"                                                                     \
    "- { name: callG1, function: g1, constraints: [ \"reads(p->f0)\", IO ] }\n"                              \
    "extension_entries:\n"                                                                                   \
    "- { name: e, extension_entry: entry, constraints: [ nonnull(a), nonnull(b) ] }\n"
/* A class of its own for the entry "e". */
struct tn_class *compile(const struct tn_bound *b, struct tn_bag *bag, const char (*texts)[256], u32 n);

#endif
