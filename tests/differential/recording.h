/* SPDX-License-Identifier: MIT */
/*
 * A recording: one program as a loader gave it to bpf(2), with everything the verdict depends on, and the
 * kernel's verdict. One file a program, self-contained but for the kernel's own types (whose size and hash it
 * names).
 *
 *     ┌──────────┬────────────────┬────────────────┬───
 *     │ rec_head │ rec_part, data │ rec_part, data │ …      little endian, each part padded to 8 bytes
 *     └──────────┴────────────────┴────────────────┴───
 *
 * Parts are rows of REC_PARTS. Those that may come several times are counted from 0 in the order of the file,
 * and named by that number from elsewhere: a map names its BTF, its inner map; a two-slot load names its map
 * (`imm`, as tn_verify takes it; REC_NO_MAP for a descriptor that was none). The first rec_program.nmaps maps
 * are the program's, the others are inner maps.
 *
 * A recording may come from anywhere: the reader checks sizes, numbers and strings, and that inner maps do
 * not go in circles. What instructions and types *mean* is left to the verifier, which trusts nobody either.
 */
#ifndef TESTS_DIFFERENTIAL_RECORDING_H
#define TESTS_DIFFERENTIAL_RECORDING_H

#include <linux/bpf.h>

#include "base/base.h"

// clang-format off
#define REC_PARTS(P)                                                                                         \
    /*  name       often  what */                                                                            \
    P(CORPUS,      false, "text: where it comes from")                                                       \
    P(OBJECT,      false, "text: the object file or the tool")                                               \
    P(NAME,        false, "text: the program's name")                                                        \
    P(PROGRAM,     false, "struct rec_program")                                                              \
    P(INSNS,       false, "struct bpf_insn[]")                                                               \
    P(FUNC_INFO,   false, "records as of BPF_PROG_LOAD")                                                     \
    P(LINE_INFO,   false, "records as of BPF_PROG_LOAD")                                                     \
    P(BTF,         true,  "raw BTF")                                                                         \
    P(MAP,         true,  "struct rec_map")                                                                  \
    P(CONTENTS,    true,  "u64 number of a map, then the values of a frozen one")                            \
    P(VERDICT,     false, "struct rec_verdict")                                                              \
    P(MESSAGES,    false, "text: the kernel's log without its walk (level 4)")                               \
    P(LOG,         false, "text: the kernel's log at the level that expectations speak of, the end of it")   \
    P(EXPECT,      true,  "text: an annotation of Linux's selftests, without `comment:`")                    \
    P(RUN,         true,  "struct rec_run: what a test run answered")
// clang-format on

enum rec_kind {
    REC_NONE,
#define P(name, often, what) REC_##name,
    REC_PARTS(P)
#undef P
        REC_KINDS
};

#define REC_MAGIC     "tnrecord"
#define REC_VERSION   1u
#define REC_NO_MAP    0x7fffffff
#define REC_MAX_MAPS  128u
#define REC_MAX_BTFS  128u
#define REC_MAX_FILE  (256u << 20)
#define REC_MAX_OFTEN 128u

struct rec_head {
    char magic[8];
    u32 version;
    u32 size; /* of the whole file */
};

struct rec_part {
    u32 kind; /* enum rec_kind */
    u32 size; /* of the data, without padding */
};

struct rec_program {
    u32 prog_type, expected_attach_type, prog_flags;
    u32 attach_btf_id;
    u32 nmaps;
    s32 btf; /* number of a BTF part; −1: none */
    u32 func_info_rec_size, line_info_rec_size;
    u32 host_btf_size, host_btf_hash; /* of the kernel's types when it was recorded; 0: not known */
    u32 flags;                        /* REC_F_… */
    u32 log_level;                    /* of LOG */
    char licence[64];                 /* ends with NUL */
};
#define REC_F_MODULE      (1u << 0) /* speaks of types of a module, which are not recorded */
#define REC_F_ATTACH_PROG (1u << 1) /* extends or traces another program, which is not recorded */

struct rec_map {
    u32 type, key_size, value_size, max_entries, map_flags;
    s32 btf; /* number of a BTF part; −1: none */
    u32 btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id;
    s32 inner; /* number of a map; −1: none */
    u64 map_extra;
    u32 frozen; /* 1: user space cannot write any more */
    char name[20];
};

struct rec_verdict {
    s32 error; /* 0: accepted; else a negative errno */
    u32 usecs; /* "verification time"; 0: not told */
    u64 insns_processed;
    u32 max_states_per_insn, total_states, peak_states, mark_read;
    char release[64]; /* of the kernel */
};

struct rec_run {
    s32 error;
    u32 retval;
    u32 data_size; /* bytes of zeros in */
    u32 pad;
};

/* ------------------------------------------------------------------------------------------- reading */

struct rec_bytes {
    const u8 *data; /* 8-byte aligned */
    u32 size;
};

/* What was read. Texts end with NUL; structs are there when `rec_read` says 0;
   optional parts have data NULL. */
struct rec {
    u8 *file;
    const char *corpus, *object, *name;
    const struct rec_program *program;
    const struct rec_verdict *verdict;
    const struct bpf_insn *insns;
    u32 ninsns;
    struct rec_bytes func_info, line_info;
    const char *messages, *log; /* "" where there is none */
    struct rec_bytes btf[REC_MAX_BTFS];
    u32 nbtfs;
    const struct rec_map *map[REC_MAX_MAPS];
    struct rec_bytes contents[REC_MAX_MAPS]; /* of map[k]: at least value_size bytes when there */
    u32 nmaps;
    const char *expect[REC_MAX_OFTEN];
    u32 nexpects;
    const struct rec_run *run[REC_MAX_OFTEN];
    u32 nruns;
};

/* 0; −EINVAL with `err` filled for what is no recording; −errno of opening, −ENOMEM. */
int rec_read(const char *path, struct rec *ret, struct tn_error *err);
/* The same for bytes in memory, which are copied. */
int rec_parse(const void *data, size_t size, struct rec *ret, struct tn_error *err);
void rec_clear(struct rec *rec);

/* ------------------------------------------------------------------------------------------- writing */

struct rec_out {
    u8 *data;
    size_t size, room;
    bool failed; /* memory ran out: rec_save says −ENOMEM */
};

void rec_put(struct rec_out *out, enum rec_kind kind, const void *data, u32 size);
void rec_put_text(struct rec_out *out, enum rec_kind kind, const char *text);
/* Adds the head and writes `path` (folders must be there) at once: a temporary name, then rename. */
int rec_save(struct rec_out *out, const char *path);
void rec_out_clear(struct rec_out *out);

u32 rec_hash(const void *data, size_t size);
/* A whole file, whatever a single read gives (sysfs: a page). −errno; the data is the caller's. */
int rec_slurp(const char *path, u8 **ret_data, size_t *ret_size);

#endif
