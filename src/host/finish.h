/* SPDX-License-Identifier: MIT */
/*
 * The second half of the confined child's work: what was found becomes an image.
 *
 *      found ──▶ equal types made one (libbpf) ──▶ mended: what BTF forbids is left out or said otherwise
 *                                                     │
 *      symbols of both files ──▶ clones, aliases, ────┴──▶ rows ──▶ image
 *                                who may call
 */
#ifndef TN_HOST_FINISH_H
#define TN_HOST_FINISH_H

#include <bpf/btf.h>

#include "host/elffile.h"
#include "host/found.h"
#include "host/image.h"

/* ----- symbols (symbols.c): by libelf, of both files, in order of addresses */
struct tn_symbol {
    u64 addr, size;
    u32 name; /* offset in `names` */
    bool func, global;
};
struct tn_symbols {
    struct tn_symbol *at;
    char *names;
    u32 n, cap, nnames, cap_names;
};
int tn_symbols_read(int fd, struct tn_symbols *symbols);
void tn_symbols_sort(struct tn_symbols *symbols);
/* The first one at an address or behind it; n: none. */
u32 tn_symbols_from(const struct tn_symbols *symbols, u64 addr);
void tn_symbols_clear(struct tn_symbols *symbols);

/* ----- sizes (mend.c): bytes of a type; −1: it has none. A table of what was computed goes along. */
struct tn_sizes {
    const struct btf *btf;
    s64 *known; /* −2: not yet, −3: under way */
    u32 *align; /* as types say it, until it is known */
};
int tn_sizes_init(const struct btf *btf, struct tn_sizes *ret);
s64 tn_size_of(struct tn_sizes *sizes, u32 id, u32 depth);
void tn_sizes_clear(struct tn_sizes *sizes);
/* Of a value, in bytes. */
u32 tn_align_of(struct tn_sizes *sizes, u32 id, u32 depth);
/* Bytes that a declaration tag says that a struct is aligned to; 0: it says something else. */
u32 tn_aligned_by(const struct btf *btf, const struct btf_type *t);
/* Past typedefs and qualifiers; 0: void, or a circle. */
u32 tn_bare(const struct btf *btf, u32 id);

/* ----- the ABI (entry.c): judges f->reason, f->param; `abi_fixed`: callers that nobody knows rely on it */
void tn_judge_entry(struct tn_sizes *sizes, const struct btf_type *proto, const struct tn_param_at *at,
                    bool abi_fixed, struct tn_found_func *f);

/* ----- mend.c: all types that have values into `out` (plain ids, no nodes), map[id] the new one */
int tn_mend(struct tn_sizes *sizes, struct tn_raw *out, u32 *map);

/* ----- finish.c */
struct tn_finish_in {
    struct tn_host_head head; /* magic, source, build-id and identities; counts are filled in */
    const struct tn_host_elf *elf;
    int fd, debug_fd;       /* −1: none */
    struct tn_found *found; /* NULL: of `btf` */
    const void *btf;
    u64 btf_size;
    bool declared; /* of no binary: what is declared stays, without an address */
    int out_fd;
};
int tn_finish(struct tn_finish_in *in, struct tn_error *err);

#endif
