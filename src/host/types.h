/* SPDX-License-Identifier: MIT */
/*
 * The types, functions and variables of a host binary, as BTF.
 *
 *      binary ──▶ its DWARF, else a detached debug file (by build-id, .gnu_debuglink), else its .BTF,
 *                 or what the caller has: BTF, or an object compiled of a C header (stub.h)
 *                    │
 *                    ▼ a confined child (libdw and libbpf were not written for hostile files)
 *                image: raw BTF, a row a function, a row a variable ──▶ checked, as if a stranger had sent it
 *                    │                                                      ▲
 *                    └──▶ cache, by build-id ───────────────────────────────┘
 *
 * The BTF holds every type that C can say, one VAR a variable, and one FUNC for each function with an
 * address: two static functions of one name are two. What cannot be said (C++ names, clones) keeps a row
 * without a type. Addresses are those of the link: add the load bias.
 *
 * A prototype is not yet a right to use it: `reason` says whether the parameters are where the ABI has them.
 */
#ifndef TN_HOST_TYPES_H
#define TN_HOST_TYPES_H

#include "base/base.h"
#include "btf/btf.h"
#include "host/reasons.h"

struct tn_host_types;
struct tn_host_job;

#define TN_HOST_BUILD_ID_MAX 64u

enum tn_host_reason {
#define R(name, text, sentence) TN_HOST_##name,
    TN_HOST_REASONS(R)
#undef R
        TN_HOST_NREASONS
};
/* "param_moved", and the sentence; of an unknown one "?". */
const char *tn_host_reason_name(enum tn_host_reason reason);
const char *tn_host_reason_text(enum tn_host_reason reason);

/* Where the types came from. */
enum tn_host_source {
    TN_HOST_DWARF,
    TN_HOST_DEBUG_FILE,
    TN_HOST_BTF,
    TN_HOST_HEADER,
    TN_HOST_GIVEN_BTF,
    TN_HOST_NSOURCES
};
const char *tn_host_source_name(enum tn_host_source source);

enum {
    TN_HOST_STATIC = 1,         /* not visible outside its compile unit */
    TN_HOST_AMBIGUOUS = 2,      /* another function or variable of this name is there too */
    TN_HOST_ALIAS = 4,          /* a further symbol of the function in front of it in order of addresses */
    TN_HOST_THREAD_LOCAL = 8,   /* a variable without an address */
    TN_HOST_RETURN_UNSURE = 16, /* Clang may have dropped the result of a static function that nobody reads */
    TN_HOST_MAY_THROW = 32,     /* a function in a language that has exceptions: C++, mostly */
    TN_HOST_FLAGS = 63
};
/* Of a function of which only the symbol is known: TN_HOST_MAY_THROW, or 0. */
u32 tn_host_throws_by_name(const char *symbol);

struct tn_host_func {
    u64 addr;   /* of the link; 0 where reason is INLINED */
    u64 size;   /* bytes of the part that holds the entry */
    u64 offset; /* in the binary's file, as a uprobe wants it; UINT64_MAX: in no segment of the file */
    const char *name;
    u32 type;                   /* BTF id of the FUNC; 0: NOT_TYPED, NO_PROTOTYPE, INLINED */
    u32 flags;                  /* TN_HOST_STATIC … */
    enum tn_host_reason reason; /* NONE: the prototype may be relied upon */
    u32 param;                  /* which parameter, from 0, where the reason is about one */
};

struct tn_host_var {
    u64 addr, size; /* of the link, bytes */
    const char *name;
    u32 type;  /* BTF id of the VAR; 0: its type cannot be said */
    u32 flags; /* TN_HOST_STATIC, AMBIGUOUS, THREAD_LOCAL */
};

struct tn_host_opts {
    const char *path;       /* the binary; also what messages call it, and where a debug link looks */
    int fd;                 /* ≥ 0: the binary, borrowed, instead of opening `path` (may be NULL then) */
    const char *debug_file; /* NULL: searched */
    const char *const *debug_dirs; /* NULL: /usr/lib/debug, and debuginfod's caches (find.c) */
    u32 ndebug_dirs;
    const int *types_fd; /* has the types: BTF, or a shared object compiled of the host's headers (stub.h) */
    bool declared; /* there is no binary yet: types_fd's alone, functions and variables without address */
    const char *cache_dir; /* NULL: XDG_CACHE_HOME/tenon, as root /var/cache/tenon; "": none */
    u32 limit_ms;          /* of the child's life; 0: 60 000 */
    u32 limit_mb;          /* of the child's address space; 0: 2 048 */
};

/*
 * All of it, waiting for the child. Errors, each with a reason: −ENOEXEC "not_elf", "elf_class",
 * "elf_machine", "elf_damaged"; −ENODATA "no_types" (names what was looked for), "split_dwarf"; −EBADMSG
 * "types_damaged" (the child's answer is none), "types_crash" (the file ended the reader); −ETIME
 * "types_time"; −EINVAL
 * "types_other_target" (given BTF of another machine); −ENOMEM "types_memory"; −E2BIG "types_too_many";
 * −ESTALE "debug_mismatch" (a debug file of another build), or the errno of open and read.
 */
int tn_host_types_open(const struct tn_host_opts *opts, struct tn_host_types **ret, struct tn_error *err);
void tn_host_types_close(struct tn_host_types *types);

/* The same for an event loop: start, wait until the descriptor (borrowed) is readable, finish, which gives
   the job back in every case. A job that the cache answered is readable at once. */
int tn_host_job_start(const struct tn_host_opts *opts, struct tn_host_job **ret, struct tn_error *err);
int tn_host_job_fd(const struct tn_host_job *job);
int tn_host_job_finish(struct tn_host_job *job, struct tn_host_types **ret, struct tn_error *err);

enum tn_host_source tn_host_types_source(const struct tn_host_types *types);
bool tn_host_types_cached(const struct tn_host_types *types);
/* Length 0: the binary has none. */
u32 tn_host_types_build_id(const struct tn_host_types *types, const u8 **ret_id);

/* What somebody trusted knows besides: functions (their `type` is a FUNC of `btf`, which begins with all that
   there is; name and the rest as in rows) that have a row without a type, or none. Takes `btf` over where it
   succeeds. As tn_btf_open, −ENOMEM. */
int tn_host_types_add(struct tn_host_types *types, void *btf, u64 size, const struct tn_host_func *rows,
                      u32 n, struct tn_error *err);

/* BTF with ids from 1; lives as long as `types`. The view is the same, checked. */
const void *tn_host_types_raw(const struct tn_host_types *types, u64 *ret_size);
const struct tn_btf *tn_host_types_view(const struct tn_host_types *types);
/* The same as a split over `base`: ids and strings go on where the base ends; id x of a row is then
   x − 1 + tn_btf_count(base). `*ret` is the caller's to free. */
int tn_host_types_split(const struct tn_host_types *types, const struct tn_btf *base, void **ret,
                        u64 *ret_size);

/* Rows in order of addresses; those without one come first. */
u32 tn_host_types_nfuncs(const struct tn_host_types *types);
const struct tn_host_func *tn_host_types_func(const struct tn_host_types *types, u32 k);
u32 tn_host_types_nvars(const struct tn_host_types *types);
const struct tn_host_var *tn_host_types_var(const struct tn_host_types *types, u32 k);

/* The k-th of that name, those that may be relied upon first; NULL past the last. By binary search. */
const struct tn_host_func *tn_host_types_func_named(const struct tn_host_types *types, const char *name,
                                                    u32 k);
const struct tn_host_var *tn_host_types_var_named(const struct tn_host_types *types, const char *name, u32 k);
/* The function of a FUNC's id (of the base form); that begins at an address. NULL: none. */
const struct tn_host_func *tn_host_types_func_of_type(const struct tn_host_types *types, u32 id);
const struct tn_host_func *tn_host_types_func_at(const struct tn_host_types *types, u64 addr);

#endif
