/* SPDX-License-Identifier: MIT */
/*
 * Where a function's control can go: its instructions, jump targets and ways out, found by following flow
 * from the entry. Answers the two questions on which a patch stands: "can anything jump there?" and "are
 * these all the returns?"
 *
 * Followed are direct jumps into the function itself, into pieces of it that stand elsewhere (`.cold`), and
 * jump tables in the compilers' form
 *
 *     lea table(%rip),B …  movslq (B,I,4),R …  add B,R …  jmp *R          lea table(%rip),B …  jmp *(B,I,8) (Go)
 *
 * A table is read up to the first entry that leads out of the function or into the middle of an instruction,
 * and never across another address that the function refers to: more entries than there are do no harm, fewer
 * would. What is not followed is said (`unprovable`, `undecodable`, …); nothing is guessed. One assumption is
 * made of compiled code: an indirect jump through plain memory or a plainly loaded register, with no index in
 * sight, is a call in tail position.
 *
 * A jump to the first instruction of another function is a tail call. A jump to a nameless piece whose unwind
 * rules a call could satisfy is taken for a tail call too; `maybe` keeps it, since it may be a cold part that
 * jumps back.
 */
#ifndef TN_REWRITE_FLOW_H
#define TN_REWRITE_FLOW_H

#include "rewrite/plan.h"
#include "x86/decode.h"

enum {
    TN_FLOW_START = 1,  /* an instruction that is reached begins here */
    TN_FLOW_TARGET = 4, /* jumped to */
    TN_FLOW_FALL = 8,   /* reached from the instruction before */
    TN_FLOW_RESUMED =
        16, /* a target for no other reason than that a goroutine may come back there (golang.h) */
};

struct tn_flow_list {
    u64 *at;
    u32 n, cap;
};

#define TN_FLOW_LISTS 9u
struct tn_flow {
    const struct tn_code_view *code;
    const struct tn_func *func;
    bool go;                      /* golang.h */
    u64 end;                      /* of the function; the next one's start where its size is not known */
    u64 next;                     /* function's start behind this one's; the segment's end if there is none */
    u8 *mark;                     /* a byte of flags per byte of the segment */
    u32 lent;                     /* … which is the spare one of this number, plus one; 0: our own */
    u64 last;                     /* block touched last, plus one */
    bool overlaps;                /* two instructions do, sane or not */
    const struct tn_func *beside; /* which a jump out of the function led to last, NULL: none; … */
    u64 beside_end;               /* … and up to where no other has a say */
    union {
        struct {
            struct tn_flow_list touched; /* of a spare one: blocks, which are zeroed in the end */
            struct tn_flow_list work, rets, indirect, maybe, refs,
                leas;                  /* leas: address, register; refs: targets */
            struct tn_flow_list jumps; /* from, to: all that were followed */
            struct tn_flow_list
                tails; /* from, to: jumps out of the function; to 0: known only when it runs */
        };
        struct tn_flow_list lists[TN_FLOW_LISTS];
    };
    /* Each: 0, or the address of the instruction that is the reason. */
    u64 tail_call, unprovable, undecodable, shared, overlap, std;
};

/*
 * What one flow tells the next, for as long as the code is there: what each instruction is that one has met, its step
 * (x86/decode.h) at the byte where it begins, 0 where none was met. All of it follows from the code, so that it is the same
 * whoever writes it: several threads may, once it is open. Owned (tn_known_clear).
 */
struct tn_stead;
struct tn_known {
    u8 *step;
    u64 *whole; /* a bit a function: all of it can be decoded, from its first byte on */
    struct tn_stead **
        stead; /* one a function, where it was asked for: what becomes of it where it runs in another's place */
    u32 nsteads;
    u64 stead_bytes;
};
/* −ENOMEM. */
int tn_known_open(const struct tn_code_view *code);
void tn_known_clear(struct tn_known *known);

/*
 * Memory that one flow leaves to the next, of one thread: marks and lists, by as many flows as there are at a time. Marks are
 * zeros in between, as long as the code and TN_FLOW_SLACK more. Owned (tn_spare_clear).
 */
#define TN_FLOW_BLOCK 64u
#define TN_FLOW_SLACK (2 * TN_FLOW_BLOCK)
struct tn_spare {
    u8 *mark[4];
    struct tn_flow_list lists[4][TN_FLOW_LISTS];
    u32 used; /* a bit each */
};
void tn_spare_clear(struct tn_spare *spare);
/* One of the code's, or where none is free, one that is made: −ENOMEM. What is given back and was `lent` (its number, plus one; 0: made)
   is zeros again. */
int tn_marks_take(const struct tn_code_view *code, u8 **ret_mark, u32 *ret_lent);
void tn_marks_give(const struct tn_code_view *code, u8 *mark, u32 lent);

/* −ENOMEM; otherwise 0, and what could not be followed is in the fields. */
int tn_flow_scan(const struct tn_code_view *code, const struct tn_func *func, struct tn_flow *ret_flow);
/*
 * A shorter way for functions without secrets: all their instructions, one behind the other, lead to one another or to other
 * functions. More are marked than are reached, and more counts as jumped to: what can be proved with that can be proved.
 * 1: it takes the longer way. To be cleared in any case.
 */
int tn_flow_sweep(const struct tn_code_view *code, const struct tn_func *func, struct tn_flow *ret_flow);
void tn_flow_clear(struct tn_flow *flow);

static inline u8 tn_flow_mark(const struct tn_flow *f, u64 addr)
{
    return addr - f->code->addr < f->code->len ? f->mark[addr - f->code->addr] : 0;
}

/* Is it in an instruction that is reached, behind its first byte? */
bool tn_flow_inside(const struct tn_flow *f, u64 addr);

/* The number that a `syscall` instruction is reached with, where it is the same on every way; else
   TN_NR_UNKNOWN. number.c. */
s32 tn_flow_number(const struct tn_flow *flow, u64 addr);
/* Of a function of Go that begins with the question for stack, and is jumped back to from nowhere but the answer: what stands
   behind the question, with all as it was at the entry but the flags and r12. 0: it is none. golang.c. */
u64 tn_go_body(const struct tn_flow *flow);
/* tn_plan in a function that was followed already; other functions are not looked at. plan.c. */
int tn_plan_followed(const struct tn_flow *flow, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
                     struct tn_error *err);
/* For tails.c, in plan.c: adds a patch; a way out, if it is not there yet; every way out of a function. `own`: it is the one
   whose exits are meant. */
int tn_plan_add(struct tn_plan *plan, const struct tn_patch *patch);
int tn_plan_add_way(struct tn_plan *plan, const struct tn_patch *way, struct tn_error *err);
int tn_plan_ways_out(const struct tn_flow *flow, bool own, struct tn_plan *plan, struct tn_error *err);
/* The word at a fixed place that a jump out of a function (tails) leads through, by way of a stub of the procedure
   linkage table or by itself; 0: there is none. */
u64 tn_flow_slot(const struct tn_code_view *code, u64 from, u64 to);
/* Adds to a plan for the exits of a function that is left by tail jumps what is to be patched in those that they
   lead to. tails.c. */
int tn_tails_follow(const struct tn_flow *flow, struct tn_plan *plan, struct tn_error *err);
void tn_stead_free(struct tn_stead *stead);
/* The same for one that a jump of another module leads to. */
int tn_tails_plan(const struct tn_code_view *code, const struct tn_func *func, struct tn_plan *plan,
                  struct tn_error *err);
/* Marks as refused what a jump of the code leads into that nobody has followed. By address. others.c. */
int tn_plan_others(const struct tn_code_view *code, struct tn_patch *patches, u32 n);

/* A window around one `ret`; and whether anybody who was not followed jumps into one of several. plan.c. */
int tn_plan_ret(const struct tn_flow *flow, u64 at, struct tn_patch *ret_patch);
bool tn_plan_jumped_into(const struct tn_flow *flow, struct tn_patch *patches, u32 n);
/* Can it run somewhere else? Does control never go on behind it? plan.c. */
bool tn_insn_movable(const struct tn_insn *i);
bool tn_insn_ends(const struct tn_insn *i);
/* Would an instruction begin at `addr` if the function ran from its first to its last? syscalls.c. */
bool tn_func_swept(const struct tn_code_view *code, const struct tn_func *func, u64 addr);

/* The function that holds `addr` (innermost), NULL if none. */
const struct tn_func *tn_func_at(const struct tn_code_view *code, u64 addr);
/* The function that starts exactly there, pieces included. */
const struct tn_func *tn_func_starting(const struct tn_code_view *code, u64 addr);
/* The same in what is followed: in the function itself nothing is looked for. */
static inline const struct tn_func *tn_flow_starting(const struct tn_flow *f, u64 addr)
{
    return addr > f->func->addr && addr < f->next ? NULL : tn_func_starting(f->code, addr);
}
/* The last one that starts at or before `addr`, wherever it is said to end; NULL if none. */
const struct tn_func *tn_func_before(const struct tn_code_view *code, u64 addr);
/* Where the next function (or piece) after `addr` starts; the segment's end if there is none. */
u64 tn_func_next(const struct tn_code_view *code, u64 addr);
/* Decodes at a virtual address. */
int tn_code_decode(const struct tn_code_view *code, u64 addr, struct tn_insn *ret_insn);
/* As far as control is concerned (x86/decode.h), from memory if somebody asked before. */
int tn_code_step(const struct tn_code_view *code, u64 addr, u8 *ret_step);
/* The same, and where to; −EILSEQ: it cannot be followed. */
struct tn_met {
    u8 len, kind, lea_reg;
    bool leads;  /* to `target`, by an offset of its own */
    bool refers; /* to `target`, by a displacement from the instruction pointer */
    bool lea, std;
    u64 target;
};
int tn_code_meet(const struct tn_code_view *code, u64 addr, struct tn_met *ret_met);
/* Does an instruction begin at `addr`, counted from `from` on? `unknown`: the answer where one before it cannot be decoded. */
bool tn_code_comes_to(const struct tn_code_view *code, u64 from, u64 addr, bool unknown);
/* Is `to` jumped to from elsewhere than by direct jumps in [lo, hi)? */
bool tn_flow_jumped_from_outside(const struct tn_flow *flow, u64 to, u64 lo, u64 hi);
/* The reached instruction right before `addr` that runs into it; 0 if there is none or more than one. */
u64 tn_flow_before(const struct tn_flow *flow, u64 addr, struct tn_insn *ret_insn);

#endif
