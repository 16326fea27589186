/* SPDX-License-Identifier: MIT */
/*
 * What fuzz-load feeds on: a load as a loader would do it, types and maps and then the program, in parts.
 *
 *     │ rec_part │ data │ rec_part │ data │ …
 *
 * as in a recording (tests/differential/recording.h), without its head, and with the two kinds below.
 *
 * So a recording of a real program is a seed as it is, but for the parts that only say what the kernel
 * answered. Nothing that parts say of each other is checked here: a map that does not exist, a type that is
 * none, a record of nine bytes are what the broker is asked about.
 *
 * A mutation changes one part according to what it is and leaves the others alone: an instruction, a word of
 * a type, a field of a map, a byte of the attributes. Instructions that are put in or taken out move jumps,
 * functions and lines with them, so that most of the program still means what it meant.
 */
#ifndef FUZZ_LOAD_INPUT_H
#define FUZZ_LOAD_INPUT_H

#include "tests/differential/recording.h"

enum load_kind {
    LOAD_HOW = 100, /* struct load_how; without: zeros */
    LOAD_TWEAKS,    /* struct load_tweak[] */
};

struct load_how {
    u32 judged; /* a verdict only (tn_ctl_options.judged), with a host's types; else it is compiled, too */
    u32 log_level, log_size;
    u32 by_hand; /* the host's types are those of tests/verify/host.h, not the running kernel's */
};

/* After everything else: `value` at byte `at` of the attributes of the call; `at` LOAD_SIZE: their size. */
struct load_tweak {
    u16 call; /* enum load_call */
    u16 at;
    u32 value;
};
enum load_call { LOAD_BTF, LOAD_MAP, LOAD_PROG, LOAD_INFO, LOAD_CALLS };
#define LOAD_SIZE 0xffffu

#define LOAD_PARTS 128u
struct load_part {
    u32 kind, size;
    const u8 *data;
};
struct load_input {
    struct load_part part[LOAD_PARTS];
    u32 nparts;
};

/* Borrows `data`; what is cut off at the end is left out. */
void load_parse(const u8 *data, size_t size, struct load_input *ret);
/* The first part of this kind, or NULL. */
const struct load_part *load_find(const struct load_input *input, u32 kind);
/* Copies a part's bytes into a struct: what is missing is zero, what is too much is left out. */
void load_struct(const struct load_part *part, void *ret, size_t size);
/* Bytes written, at most `cap`; 0: too long. */
size_t load_emit(const struct load_input *input, u8 *to, size_t cap);

/* Functions of the host by type, for calls of them; borrowed. */
extern const u32 *load_kfunc;
extern u32 load_nkfuncs;

#endif
