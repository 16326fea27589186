/* SPDX-License-Identifier: MIT */
/*
 * The planner: bytes and symbols in, a plan or a named refusal out. Pure; tested without a process.
 *
 * A patch is one five-byte jump. A plan for an entry or an offset is one patch; a plan for an exit is one
 * patch for every way out of the function, and is refused as a whole when one of them cannot be had or
 * proved.
 */
#ifndef TN_REWRITE_PLAN_H
#define TN_REWRITE_PLAN_H

#include "base/base.h"

enum tn_place_kind {
    TN_PLACE_ENTRY,  /* the function's first instruction: flags and red zone are dead */
    TN_PLACE_OFFSET, /* any other instruction: flags and red zone are live */
    TN_PLACE_EXIT,   /* before returning to the caller */
    /* A system call, by the address of its instruction; flags and red zone are live. */
    TN_PLACE_SYSENTER, /* before it, all arguments in place */
    TN_PLACE_SYSEXIT,  /* behind it, the result in rax */
};

/* Code of one module, by virtual address of its file (st_value, p_vaddr). */
struct tn_func {
    u64 addr, size;   /* size 0: not known */
    const char *name; /* may be NULL: known from unwind information only */
    bool part;        /* a piece of another function (`.cold`): it can be jumped to but not called */
};
struct tn_bytes {
    const u8 *bytes;
    u64 addr, len;
};
struct tn_code_view {
    const u8 *bytes;             /* executable segment */
    u64 addr, len;               /* its virtual address and size */
    const struct tn_func *funcs; /* sorted by address, one an address; from .symtab, .dynsym, .eh_frame */
    u32 nfuncs;
    const struct tn_bytes *rodata; /* segments that are not written once loaded: jump tables are read there */
    u32 nrodata;
    bool is_go;
};

#define TN_PATCH_MAX 32 /* displaced window, bytes */

/* One patch. All addresses are the file's virtual addresses. */
struct tn_patch {
    u64 addr; /* where the jump is written */
    u8 len;   /* bytes overwritten: the jump and nops up to an instruction's end; ≥ 5 */
    u8 expected[TN_PATCH_MAX];
    u8 ninsns;                     /* displaced instructions */
    u8 insn_off[16], insn_len[16]; /* each one's place inside the window */
    u8 place;                      /* enum tn_place_kind */
    u8 hook_before; /* the hook runs before this displaced instruction (entry: 0; exit: index of the ret; system
                       call: entered, behind all of them; left, 0) */
    bool returns;   /* the last displaced instruction leaves (ret): nothing to jump back to */
    u8 refused; /* of tn_find_syscalls: 0, or enum tn_refusal_id, and then nothing else is filled but nr */
    bool flags_dead; /* system calls: what comes behind sets all flags before anybody reads one */
    s16 nr;          /* system calls: the number, TN_NR_UNKNOWN where only a run can tell */
    u64 resume;      /* address after the window */
};
#define TN_NR_UNKNOWN (-1)
#define TN_NR_MAX     512 /* no number of Linux's is as high */

struct tn_plan {
    u64 func_addr, func_size;
    struct tn_patch *patches; /* owned */
    u32 npatches;
    const char *tactic; /* "jump5", "jump5_padding", … static */
};

/* Every reason to refuse is a row of refusals.h. `addr`: virtual address of the place asked for. */
int tn_plan(const struct tn_code_view *code, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
            struct tn_error *err);
void tn_plan_clear(struct tn_plan *plan);

/*
 * The same for many places of one piece of code, which outlives it: what takes a look at all of the code is found once,
 * and memory is used again. Owned by the caller.
 */
struct tn_planner;
int tn_planner_new(const struct tn_code_view *code, struct tn_planner **ret_planner);
int tn_planner_plan(struct tn_planner *planner, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
                    struct tn_error *err);
void tn_planner_free(struct tn_planner *planner);

/* Two plans of one module that would write over one another (an exit's window in a short
   function reaches into the entry's). The same patch planned twice (same address, length and
   hook place) is no overlap: it is chained. */
bool tn_plan_overlap(const struct tn_plan *a, const struct tn_plan *b);

/*
 * Every system call of the code whose number is in `wanted`, a bit a number (NULL: all), or not known: a patch
 * each for the place asked for (SYSENTER, SYSEXIT), or why there is none. By address; `ret_patches` is owned by
 * the caller (free).
 */
struct tn_wanted {
    u64 nr[TN_NR_MAX / 64];
};
int tn_find_syscalls(const struct tn_code_view *code, enum tn_place_kind place,
                     const struct tn_wanted *wanted, struct tn_patch **ret_patches, u32 *ret_count);

/* Calls whose child may run in its parent's memory: what is displaced for them counts those under way. */
extern const struct tn_wanted tn_wanted_vforks;
static inline bool tn_wants(const struct tn_wanted *w, s32 nr)
{
    return nr >= 0 && nr < TN_NR_MAX && w->nr[nr / 64] >> (nr % 64) & 1;
}

#endif
