/* SPDX-License-Identifier: MIT */
/*
 * The planner: bytes and symbols in, a plan or a named refusal out. Pure; tested without a process.
 *
 * A patch is one five-byte jump, or where none can be proved harmless, a punned one (pun.h), which changes no
 * more than the hooked instruction, and those right behind it if it must; or a breakpoint where there is no room for any
 * (breakpoint.c). A plan for an entry or an offset is one patch; a plan for an exit is one patch for every way out of the
 * function, and is refused as a whole when one of them cannot be had or proved. Whether a punned one can be had, only a
 * process tells: others follow it, each to be taken in the place of the ones before.
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
    TN_PLACE_TAIL,     /* all of a function that may run in another's place; no patch has this one */
};

/* Code of one module, by virtual address of its file (st_value, p_vaddr). */
struct tn_func {
    u64 addr, size;   /* size 0: not known */
    const char *name; /* may be NULL: known from unwind information only */
    bool part;        /* a piece of another function (`.cold`): it can be jumped to but not called */
    bool chooser;     /* an indirect function: its code says, when the program is loaded, which one the name shall mean */
    u16 version;      /* of a name in a library (tn_module_find); 0: it says none */
    u32 frame;        /* where its unwind rules begin in tn_code_view.frames, + 1; 0: it has none */
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
    struct tn_bytes frames; /* .eh_frame; empty: there is none */
    bool is_go;
    const struct tn_go *go; /* golang.h; NULL: no Go, or none that can be read */
    /* Of the view's owner; NULL: not kept. */
    struct tn_aims *aims;   /* aims.h; filled by whoever needs them first */
    struct tn_known *known; /* flow.h; the same */
    struct tn_spare *spare; /* flow.h: memory for plans, one plan at a time */
};

/* What a patch is to a function that is left by tail jumps (tails.c): nothing, or … */
enum tn_tail {
    TN_TAIL_NOT,
    TN_TAIL_LEAVE, /* its own jump to another function */
    TN_TAIL_ENTER, /* the entry of a function that may run in its place */
    TN_TAIL_PASS,  /* that one's jump to a further one */
    TN_TAIL_RET,   /* that one's return, which may be its return */
};

#define TN_PATCH_MAX 32 /* displaced window, bytes */
#define TN_BREAK_LEN 1

/* One patch. All addresses are the file's virtual addresses. */
struct tn_patch {
    u64 addr; /* where the jump is written */
    u8 len; /* bytes overwritten: the jump and nops up to an instruction's end; ≥ 5 unless punned. TN_BREAK_LEN, and not
                 punned: a breakpoint */
    u8 expected[TN_PATCH_MAX];
    u8 ninsns;                     /* displaced instructions */
    u8 insn_off[16], insn_len[16]; /* each one's place inside the window */
    u8 place;                      /* enum tn_place_kind */
    u8 hook_before; /* the hook runs before this displaced instruction (entry: 0; exit: index of the ret; system
                       call: entered, behind all of them; left, 0) */
    bool returns;   /* the last displaced instruction leaves (ret): nothing to jump back to */
    bool punned;    /* each of its instructions gets a jump of its own: all of them may be jumped to */
    bool instead;   /* to be taken instead of the patch before it, if that one cannot be had */
    /* Of a function that jumps to its own first instruction: that one's address. Displaced jumps to it are led past its
       hook, so that a loop's rounds are no calls. Where the patch stands elsewhere, it has no hook of its own. */
    u64 rounds;
    u8 behind; /* bytes behind the window, also in `expected`, that stay: punned: that its jumps may end with; else the last
                 instructions of those displaced, which nobody but who was there already comes to (golang.h) */
    u8 refused; /* of tn_find_syscalls: 0, or enum tn_refusal_id, and then nothing else is filled but nr */
    bool
        flags_dead; /* system calls: what comes behind sets all flags before anybody reads one; of `tail`: nor is
                        there a red zone */
    s16 nr;         /* system calls: the number, TN_NR_UNKNOWN where only a run can tell */
    u64 slot;       /* of `tail`: the word that a jump leads through; 0: it says itself where to */
    bool own_stack; /* the hook may have none of the host's stack, and x15 (golang.h) */
    u8 tail;        /* enum tn_tail */
    u8 unless;      /* a conditional jump that leaves: the condition code under which it does not, + 1 */
    u64 resume;     /* address after the window */
};
#define TN_PUN_INSNS  5u /* of a punned patch, at most */
#define TN_NR_UNKNOWN (-1)
#define TN_NR_MAX     512 /* no number of Linux's is as high */
/* The same where no function is known: a constant, in the instructions that stand right before the one at `at` of `bytes`; none
   of those, and no branch near, leads elsewhere or comes from there. number.c. */
s32 tn_number_in_bytes(const u8 *bytes, u64 len, u64 at);

struct tn_plan {
    u64 func_addr, func_size;
    struct tn_patch *patches; /* owned */
    u32 npatches;
    const char *
        tactic; /* "jump5", "breakpoint", "jump5_padding", … static; of punned ones only the kind (pun.h tells
                           the rest) */
};

/* Every reason to refuse is a row of refusals.h. `addr`: virtual address of the place asked for. */
int tn_plan(const struct tn_code_view *code, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
            struct tn_error *err);
void tn_plan_clear(struct tn_plan *plan);
/* The same by breakpoints, where tn_plan has refused for this reason: some if a jump fits at other ways out. */
bool tn_break_serves(enum tn_place_kind place, const char *reason);
int tn_plan_break(const struct tn_code_view *code, enum tn_place_kind place, u64 addr,
                  struct tn_plan *ret_plan, struct tn_error *err);
/* Bytes that must be as expected: those overwritten, and all of an instruction that is displaced. */
static inline u32 tn_patch_span(const struct tn_patch *p)
{
    u32 end = p->ninsns ? p->insn_off[p->ninsns - 1] + p->insn_len[p->ninsns - 1] : 0;

    return TN_MAX(end, (u32)p->len);
}

/* Would one change a byte that the other changes, or that a punned jump of it ends with? */
bool tn_patch_meets(const struct tn_patch *p, u64 p_bias, const struct tn_patch *q, u64 q_bias);

/* Of the registers that a caller has to save, those that the function at `addr` changes for whoever was compiled with it in
   sight, a bit each: none too many (clobbers.c). Looked for until all of `wanted` are found. −ENOMEM. */
int tn_func_clobbers(const struct tn_code_view *code, u64 addr, u16 wanted, u16 *ret_regs);

/* Many places of this code will be planned: what takes a look at all of it is found now. −ENOMEM. many.c. */
int tn_plan_many(const struct tn_code_view *code);
/*
 * Many places at once, each as tn_plan has it, by up to `threads` threads (0: as many as may run and as pay). `ret_threads` (may
 * be NULL): by how many it was. 0, and what was asked for has its answer; or −ENOMEM, and nothing has. many.c.
 */
struct tn_asked {
    u64 addr;
    enum tn_place_kind place;
    int result;
    struct tn_plan plan;  /* owned */
    struct tn_error *why; /* of a refusal; owned */
};
int tn_plan_asked(const struct tn_code_view *code, struct tn_asked *asked, u32 n, u32 threads,
                  u32 *ret_threads);
void tn_asked_clear(struct tn_asked *asked, u32 n);

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
