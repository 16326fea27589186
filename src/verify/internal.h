/* SPDX-License-Identifier: MIT */
/*
 * One verification, as its parts see it. The way of a program through the files:
 *
 *      verify.c   tn_verify: text → functions → paths → facts
 *        cfg.c      what the text says by itself: functions, jumps, everything whole
 *        live.c     which registers can still matter where
 *        explore.c  follows the paths: worklist, points, pruning, loops, budget
 *        track.c    which numbers and stack slots mattered, backwards along the path
 *        state.c    what is known on a path; kept.c: at rest, and compared with the present one
 *          transfer.c   one instruction: dispatch, numbers, branches
 *            pointer.c    arithmetic on pointers
 *            mem.c        loads, stores, atomics: bounds of every kind of memory
 *            stack.c      what stack bytes hold
 *            packet.c     packets: what comparisons with their end prove
 *            call.c       helpers
 *            subprog.c    functions of the program
 *            leave.c      ways out of them other than their exit
 *            callback.c   those that a helper calls back
 *            args.c       arguments of helpers, by rows of protos.h
 *            refs.c       what calls lend and take back
 *            dynptr.c     dynptrs and their slices
 *            iter.c       open-coded iterators
 *            special.c    special fields (fields.h): locks, timers, kptrs in values and objects
 *            lock.c       locks, and sections in which a program does not sleep
 *            kfunc.c      functions of the host by type; kfunc_args.c: their arguments
 *            graph.c      objects that programs allocate, lists and trees of them
 *            arena.c      memory shared with user space
 *            types.c      pointers with a type: what a load through one yields
 *        attach.c   what a tracing program is attached to, and its context
 *        progtype.c a row a program type: its context, its result
 *        ctx.c      a row a field of a context or socket
 *      srcline.c  where in the C source an instruction comes from (BTF, hostile)
 *      log.c      what was found: the text, refusals, statistics
 *      show.c     registers, states and instructions in the lines people know from Linux
 *
 * A function that can refuse returns 0, −EACCES (the refusal is written), or −ENOMEM.
 */
#ifndef TN_VERIFY_INTERNAL_H
#define TN_VERIFY_INTERNAL_H

#include <errno.h>

#include "isa/insn.h"
#include "verify/attach.h"
#include "verify/cfg.h"
#include "verify/fields.h"
#include "verify/kfuncs.h"
#include "verify/log.h"
#include "verify/progtype.h"
#include "verify/protos.h"
#include "verify/reasons.h"
#include "verify/srcline.h"
#include "verify/state.h"
#include "verify/step.h"
#include "verify/track.h"
#include "verify/types.h"
#include "verify/verify.h"

/* The last branches gone, for people. */
#define TN_TRAIL_KEPT 8u
struct tn_trail {
    u32 n;
    struct {
        u32 insn, to;
    } last[TN_TRAIL_KEPT];
};

/* Records of special fields: of map k's values at 2k, of its inner map's at 2k + 1;
   of the program's structs. */
struct tn_special {
    struct tn_fields *map;
    struct tn_object_type *object;
    u32 nobjects;
};

/* A place reached before, kept to prune against; explore.c has the idea. */
struct tn_point {
    struct tn_point *next;      /* at the same instruction */
    struct tn_point *parent;    /* the point passed before this one on its path; NULL once complete */
    struct tn_point *below;     /* made before this one and not complete either */
    struct tn_kept *state;      /* NULL once dropped */
    struct tn_stretch *stretch; /* ends here; NULL once complete */
    u32 insn;
    u32 branches;      /* paths through here that are not finished */
    u32 node;          /* longest.c */
    u32 index, low;    /* its number; the least number of a point that can be reached and is not complete */
    u32 rounds_before; /* how many rounds were known when it was made */
    u64 depth;         /* instructions from the start to here */
    u64 remain;        /* longest way from here to the end, once complete */
    u32 hits, misses;
    bool complete, dropped;
    u32 nframes;
    struct tn_marks mark[]; /* once complete */
};

/* Longer than any path, and so short that a million of them can be added up. */
#define TN_ENDLESS (1ull << 40)

/* A path that ended at a point which is not complete. */
struct tn_round {
    struct tn_stretch *from;
    struct tn_point *to;
};

/* A branch that waits to be followed. The newest are not packed: they are soon followed. */
struct tn_pending {
    struct tn_pending *below, *above;
    struct tn_state *fresh; /* or */
    struct tn_kept *state;
    struct tn_stretch *stretch;
    struct tn_point *parent;
    struct tn_trail trail;
    u32 insn, nframes;
    u8 crossed; /* longest.c */
    u64 depth;
    u64 log_mark;
};

/* What of an instruction holds on all visits, while they happen. */
struct tn_seen {
    bool visited, has_mem, has_map, has_key, has_func;
    u8 mem_kind;
    bool no_flags;
    s16 func; /* that a helper calls back */
    s32 map, key;
    struct tn_point *points;
};

/* Tests look at every state as it is about to meet an instruction, and at what matters there to its top
   frame. Without `mark` every number that is live counts as one that decides: a concrete run agrees with one
   of the states in all that is live. With it the verifier is lazy, as it is without a probe: `need` has the
   live registers only, and numbers that decide are told later, by the position of the call of `at` (1: the
   first) and for all frames; a run agrees with one of the states in the pointers and in these. */
struct tn_verify_probe {
    void (*at)(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need);
    void *arg;
    void (*mark)(void *arg, u64 position, u32 nframes, const struct tn_marks *mark);
};

struct vf {
    const struct tn_verify_in *in;
    const struct tn_authority *auth;
    const struct tn_verify_probe *probe;
    const struct bpf_insn *insns;
    u32 ninsns;
    const struct tn_prog_type *type;
    struct tn_attach attach; /* of tracing programs */
    bool sleepable;          /* loaded so */
    bool private_stacks;     /* large frames do not add up: each may have a stack of its own */
    bool ret_checked;        /* its result lies in [ret_min, ret_max] */
    s64 ret_min, ret_max;
    /* The call whose arguments are checked may be given pointers into the packet; the context, as the memory
       that it is (kernel functions may). */
    bool call_takes_packet, call_takes_ctx;
    struct tn_cfg cfg;
    struct tn_seen *seen;
    struct tn_src src;
    struct tn_log log;
    struct tn_facts facts;
    struct tn_verdict *out;
    bool refused;

    /* the path being followed */
    struct tn_state cur;
    u32 pc;
    u64 depth;            /* instructions since the start */
    u8 crossed;           /* since the last point: into a function that is called back, out of it */
    struct tn_ways *ways; /* longest.c; NULL: nothing is called back */
    struct tn_trail trail;
    struct tn_point *parent;
    u32 root;      /* the function being verified on its own: 0, or a global one */
    u32 next_call; /* tn_frame.calling and entered */
    u32 next_id;
    bool exact; /* every live number is compared: somebody watches (probe) */
    struct tn_pool pool;
    struct tn_track track;

    struct tn_pending *pending, *oldest_fresh;
    u32 npending, nfresh;
    struct tn_point *open; /* the points that are not complete, newest first */
    struct tn_round *round;
    u32 nrounds, rounds_cap, next_index;
    struct tn_special special;
    struct tn_facts *root_facts; /* one a function: of the global ones, what their calls add */
    struct tn_kfunc_use *kfunc;  /* verify.c */
    u32 nkfuncs, kfuncs_cap;
    struct tn_later *later; /* callback.c */
    u32 nlater, later_cap;
    u64 processed, nstates, kept, peak_states, max_states_per_insn;
    u32 jumps_since, insns_since; /* since the last checkpoint */
};

/* Like tn_verify, with a probe (may be NULL). */
int tn_verify_probed(const struct tn_verify_in *in, const struct tn_verify_probe *probe,
                     struct tn_verdict *ret);

/* ---- verify.c: what is true of the function being verified on its own (v->root), and so of its callers */
int tn_note_kfunc(struct vf *v, u32 btf_id);
void tn_note_global(struct vf *v, u32 callee);

/* ---- log.c: the first refusal stays; returns −EACCES. */
int vf_refuse(struct vf *v, u32 insn, enum tn_reason reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Whose limits these are. */
static inline const char *vf_whose(const struct vf *v)
{
    return v->auth->limits.whose ? v->auth->limits.whose : "the authority";
}
/* "map counts", or "map 0" where it has no name. */
#define TN_MAP_LABEL 40u
const char *vf_map_label(const struct vf *v, u32 map, char buf[TN_MAP_LABEL]);
/* Nothing was said yet; without clearing all of the kilobyte, for questions that are asked often. */
static inline void vf_error_empty(struct tn_error *err)
{
    err->reason[0] = err->message[0] = 0;
}
/* argfacts.c: what an authority is told of an argument. */
struct tn_call_arg vf_arg_facts(const struct vf *v, const struct tn_reg *reg);
/* A refusal whose words an authority has chosen. */
int vf_refuse_denied(struct vf *v, enum tn_reason reason, const struct tn_error *err);

/* ---- live.c */
int tn_live_compute(struct vf *v);
/* Which registers matter to each frame of a state that is about to execute `insn`. */
void tn_live_at(const struct vf *v, const struct tn_state *s, u32 insn, u16 ret_live[TN_MAX_FRAMES]);

/* ---- explore.c */
int tn_explore(struct vf *v, u32 root, u64 *ret_longest);
/* The same from a state of its own (taken over), of one frame, that is about to execute `insn`. */
int tn_explore_state(struct vf *v, struct tn_state *state, u32 insn, u64 *ret_longest);
void tn_explore_clear(struct vf *v);
/* The path forks: `state` (taken over) will go on at `insn`. */
int tn_explore_fork(struct vf *v, struct tn_state *state, u32 insn);
/* An instruction that a run passes a bounded number of times, whatever the program computes: a
   state kept there (cfg.flow[].loop, set before paths are followed) covers a later one of the
   same path when every number is within its bounds, and the path ends. ITER: a call of an
   iterator's next(), where the iterator is active. */
enum tn_loop { TN_LOOP_NONE, TN_LOOP_ITER, TN_LOOP_MAY_GOTO, TN_LOOP_CALLBACK };
/* `next` is about to go one more round, which starts at `insn`: numbers that differ from those of the last
   round on this path, and decided nothing so far, become unknown, so that rounds come to look alike. */
int tn_explore_widen(struct vf *v, struct tn_state *next, u32 insn);
int tn_explore_may_goto(struct vf *v, const struct bpf_insn *insn, u32 *ret_next);
void tn_trail_add(struct tn_trail *trail, u32 insn, u32 to);

/* ---- longest.c: lengths where functions are called back; all of it does nothing where none is. A walk begins; the path
   has come to a new point; it ends, at one that covers it or (NULL) for good; the call at v->pc calls back at most `most`
   times; the state about to be forked enters the function that is called back (true), and no other does (false); the path
   leaves it. */
int tn_longest_begin(struct vf *v);
int tn_longest_point(struct vf *v, struct tn_point *p);
int tn_longest_meets(struct vf *v, const struct tn_point *p);
void tn_longest_rounds(struct vf *v, u64 most);
void tn_longest_enter(struct vf *v, bool enter);
void tn_longest_leave(struct vf *v);
/* The walk is over: how long it may be with all rounds, which the authority's limit is held against. */
int tn_longest(struct vf *v, u64 *ret);
void tn_longest_clear(struct vf *v);

/* ---- track.c: which numbers decide something. A number that decided nothing on any way on from a kept state
   is not compared with it, so whatever looks at a number's *value* says so, before the instruction's effect:
   by register (top frame), or by bytes of a frame [min, end), min < end ≤ 0. Already said by the engine, for
   all instructions: a branch that went one way only; a number added to a pointer; arguments R1…R5 of helpers,
   kfuncs and global functions that are numbers (but those a helper's row calls ANY or SCALAR, and those
   tn_track_ignore names); R0 at an exit that checks it. */
void tn_track_precise(struct vf *v, u32 regno);
void tn_track_precise_stack(struct vf *v, u32 frame, s64 min, s64 end);
/* This call does not look at the value of that argument. */
void tn_track_ignore(struct vf *v, u32 regno);
/* Stack bytes are read (loads by instructions say so themselves); bytes that were not read on any way on from
   a kept state are not compared with it. Bytes of objects (TN_BYTE_DYNPTR and later kinds) always are. */
void tn_track_read(struct vf *v, const struct tn_frame *f, s64 min, s64 end);
/* They are surely overwritten, whole; optional. */
void tn_track_written(struct vf *v, const struct tn_frame *f, s64 min, s64 end);

/* ---- transfer.c: one instruction on v->cur at v->pc; sets the next pc, or *ret_end. */
int tn_transfer(struct vf *v, bool *ret_end);
int vf_need_init(struct vf *v, u32 regno);
static inline struct tn_reg *vf_reg(struct vf *v, u32 regno)
{
    return &tn_state_top(&v->cur)->reg[regno];
}
void vf_set_scalar(struct vf *v, u32 regno, struct tn_range r);

/* ---- pointer.c */
int tn_pointer_alu(struct vf *v, const struct bpf_insn *insn, struct tn_reg *src);

/* ---- mem.c. Sums of offsets stay far from wrapping: within 2^29 of the object's start, as in Linux. */
#define TN_MAX_OFFSET (1ll << 29)
enum tn_mem_use { TN_USE_READ, TN_USE_WRITE, TN_USE_READ_WRITE };
/* One access: what is asked of the checker of each kind of memory. */
struct tn_place {
    u32 regno, size;
    enum tn_mem_use use;
    bool sext, atomic;           /* a load with sign extension; an atomic operation */
    bool helper;                 /* on behalf of a call */
    struct tn_reg reg;           /* as it was when the check was made */
    const struct tn_reg *value;  /* a store by an instruction: what is stored */
    s32 value_reg;               /* … and the register that has it; −1: the instruction */
    s64 min, max;                /* first byte, at least and at most, from the object's start */
    s64 fixed;                   /* of that, what constants added */
    struct tn_places at;         /* of an object with a type: all the places there are */
    const struct tn_field *kptr; /* set by a checker: this pointer of a map's value, whole */
    u8 mem_kind;                 /* enum tn_mem_kind: set by a checker that knows better than its row */
    struct tn_reg yields;        /* set by a checker that knows what a load yields; else a number */
};
/* [0, size) holds the access. `kind`, `size_name` as Linux names them: "map value", "value_size". */
int tn_region_check(struct vf *v, const struct tn_place *p, u32 size, const char *kind, const char *size_name,
                    enum tn_reason reason);
/* The run gives back its claim of a CPU: values of per-CPU maps that it found are another's from here on. */
void tn_percpu_invalidate(struct vf *v);
/* It points into a value of a per-CPU map. */
bool tn_reg_is_percpu(const struct vf *v, const struct tn_reg *reg);
/* The map that a MAP or MAP_VALUE register is of: the inner one for what a map of maps held. */
const struct tn_verify_map *vf_map_of(const struct vf *v, const struct tn_reg *reg);
int tn_mem_load(struct vf *v, const struct bpf_insn *insn);
int tn_mem_store(struct vf *v, const struct bpf_insn *insn);
int tn_mem_atomic(struct vf *v, const struct bpf_insn *insn);
/* A helper reads or writes `size` bytes (`exact`), or at most so many, where register `regno` points. */
int tn_mem_helper(struct vf *v, u32 regno, u64 size, enum tn_mem_use use, bool exact);

/* ---- seams of mem.c: who knows more of a kind of memory says so here */
/* The context (ctx.c); one whose fields have types is attach.c's, typed pointers are types.c's. */
int tn_ctx_access(struct vf *v, struct tn_place *p);
/* Refuses a context (register `regno`) that was moved. */
int tn_ctx_unmoved(struct vf *v, u32 regno);
/* A walk of the stack begins with registers, which are there in this context or beside it. */
void tn_ctx_walked(struct vf *v);

/* ---- arena.c */
bool tn_map_is_arena(const struct tn_verify_map *map);
/* A cast between address spaces (tn_insn_is_cast): is it well-formed; what it does. */
int tn_arena_check_cast(struct vf *v, u32 pc);
void tn_arena_cast(struct vf *v, const struct bpf_insn *insn);
int tn_arena_access(struct vf *v, struct tn_place *p);

/* ---- packet.c */
int tn_packet_access(struct vf *v, struct tn_place *p);
/* A comparison of two pointers, seen from one side of it: what `s` learns about the packet. False: that side
   is never gone. */
bool tn_packet_compare(struct vf *v, struct tn_state *s, const struct bpf_insn *insn, bool taken);
/* A helper may have moved the packet: no pointer into it holds any more. */
void tn_packet_invalidate(struct vf *v);
/* BPF_LD | BPF_ABS and BPF_IND. */
int tn_packet_load(struct vf *v, const struct bpf_insn *insn);

/* ---- stack.c: [off, off + size) relative to the frame's top, off < 0, inside the frame */
int tn_stack_store(struct vf *v, struct tn_frame *f, s64 off, u32 size, const struct tn_reg *value);
int tn_stack_load(struct vf *v, struct tn_frame *f, s64 off, u32 size, struct tn_reg *ret);
/* The same at an offset in [min, max]. */
int tn_stack_store_var(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size,
                       const struct tn_reg *value);
int tn_stack_load_var(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size, struct tn_reg *ret);
/* Some `size` bytes in [min, max + size) get data that is not known. */
int tn_stack_clobber(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size);
/* All bytes of [min, end) may be read; those never written will be zero (tn_subprog.zero). */
int tn_stack_readable(struct vf *v, struct tn_frame *f, s64 min, s64 end);
/* All bytes of [min, end) now hold unknown data. */
int tn_stack_fill(struct vf *v, struct tn_frame *f, s64 min, s64 end);
/* The number held in [off, off + size), if it is one constant. */
bool tn_stack_const(const struct tn_frame *f, s64 off, u32 size, u64 *ret_value);

/* ---- refs.c: what a path was lent. Entries are found by kind and id. */
/* A new reference to an object, taken by the instruction at v->pc. */
int tn_ref_acquire(struct vf *v, u32 *ret_id);
/* The same, held by `reg`, a pointer (flags set) that a call returns. */
int tn_ref_lend(struct vf *v, struct tn_reg *reg);
/* An entry of any kind; its insn is v->pc. */
int tn_ref_push(struct vf *v, struct tn_ref ref);
const struct tn_ref *tn_ref_find(const struct tn_state *s, enum tn_ref_kind kind, u32 id);
/* The entry goes; false: there was none. Pointers stay as they are (ownership went elsewhere). */
bool tn_ref_drop(struct tn_state *s, enum tn_ref_kind kind, u32 id);
void tn_ref_drop_at(struct tn_state *s, u32 index);
/* Every pointer that `ref` keeps alive is but a number from now on. */
void tn_ref_forget(struct tn_state *s, u32 ref);
/* Both: an object's reference ends. */
bool tn_ref_release(struct tn_state *s, u32 ref);
/* The pointer group `id` turned out to be NULL, or not. */
void tn_null_resolved(struct vf *v, struct tn_state *s, u32 id, bool is_null);

/* What the arguments of one call have to do with references. Zeroed, then tn_ref_arg for each argument (in
   `releases` the one whose reference the call ends; it may be NULL if its type may), then tn_ref_arg_done
   before R0–R5 are clobbered. `func` for messages: "bpf_sk_release#86". */
struct tn_ref_use {
    u32 ref;    /* the one among the arguments; a result derived from them keeps it */
    u8 release; /* register number; 0: none */
};
int tn_ref_arg(struct vf *v, u32 regno, bool releases, struct tn_ref_use *use);
int tn_ref_arg_done(struct vf *v, const struct tn_ref_use *use, const char *func);
/* Refuses when an object's reference is held: `what` would leak it. */
int tn_refs_none(struct vf *v, const char *what);

/* ---- dynptr.c */
// clang-format off
/* D(kind, Linux's name, has to be given back, lies in a packet) */
#define TN_DYNPTR_KINDS(D)                                                                                   \
    D(NONE,     "any",      false, false)                                                                    \
    D(LOCAL,    "local",    false, false)                                                                    \
    D(RINGBUF,  "ringbuf",  true,  false)                                                                    \
    D(SKB,      "skb",      false, true)                                                                     \
    D(XDP,      "xdp",      false, true)                                                                     \
    D(SKB_META, "skb_meta", false, true)
// clang-format on
enum tn_dynptr_kind {
#define D(kind, ...) TN_DYNPTR_##kind,
    TN_DYNPTR_KINDS(D)
#undef D
};
struct tn_dynptr {
    u8 kind; /* enum tn_dynptr_kind */
    u32 id, ref;
};
/* Argument: a dynptr that is there, of `kind` (NONE: any).
   A callee that changes it does not take a caller's. */
int tn_dynptr_arg(struct vf *v, u32 regno, enum tn_dynptr_kind kind, bool mutates, struct tn_dynptr *ret);
/* Argument: room where the call makes one; `cloned`: from this one (NULL: none). */
int tn_dynptr_new(struct vf *v, u32 regno, enum tn_dynptr_kind kind, const struct tn_dynptr *cloned);
/* Argument: a dynptr that the call gives back, with all its clones and slices. */
int tn_dynptr_release_arg(struct vf *v, u32 regno, enum tn_dynptr_kind kind);
/* `mem` (a MEM) is part of what `d` names. */
void tn_dynptr_slice(const struct tn_dynptr *d, struct tn_reg *mem);
/* R0 of bpf_dynptr_slice and bpf_dynptr_slice_rdwr: nullable, `size` bytes. */
int tn_dynptr_slice_result(struct vf *v, const struct tn_dynptr *d, u32 size, bool writable);
/* The packet moved: slices of it are gone. */
void tn_dynptr_packet_changed(struct tn_state *s);
bool tn_dynptr_is_packet(const struct tn_dynptr *d);
/* What a callback or a global function is handed: a dynptr of the caller's. */
struct tn_reg tn_dynptr_const(struct vf *v, enum tn_dynptr_kind kind);
/* stack.c, before it changes slot k of f. */
int tn_dynptr_overwritten(struct vf *v, struct tn_frame *f, u32 k);
/* `nslots` whole slots at a constant place of the stack that register `regno` (STACK) points to: the first
   (lowest address, highest index). */
int tn_object_slot(struct vf *v, u32 regno, const char *what, u32 nslots, u32 *ret_slot);

/* ---- iter.c: open-coded iterators */
enum tn_iter_op { TN_ITER_NEW, TN_ITER_NEXT, TN_ITER_DESTROY, TN_ITER_USE };
struct tn_iter_use {
    enum tn_iter_op op;
    u32 type, nslots;             /* the struct's id in host_btf; its size in slots */
    bool rcu;                     /* KF_RCU_PROTECTED */
    const char *func, *type_name; /* "bpf_iter_num_next", "bpf_iter_num" */
    /* filled by tn_iter_arg: */
    u8 frame;
    u32 slot, ref;
    bool in_rcu; /* elements are good under RCU; else trusted */
};
int tn_iter_arg(struct vf *v, u32 regno, struct tn_iter_use *use);
/* Of next(), once R0 is the element that was found and all else of the call is done. Forks. */
int tn_iter_next(struct vf *v, const struct tn_iter_use *use);
/* Sets cfg.flow[].loop where a next() is called. */
void tn_iter_mark_loops(struct vf *v);
/* The kfunc of this name is a next(). */
bool tn_iter_is_next(const char *kfunc);
/* R1 of the state that is about to call next() names an iterator that may have more. */
bool tn_iter_active(const struct tn_state *s);
/* The outermost RCU section ended: iterators that live in it are not to be used. */
void tn_iter_rcu_over(struct tn_state *s);

/* ---- call.c */
/* A call of a helper, as far as it was looked at. */
struct tn_helper_call {
    const struct tn_proto *proto;
    const struct tn_verify_map *map; /* of the MAP argument; NULL: none */
    u32 map_index, map_uid;          /* as in struct tn_reg */
    u32 size;                        /* ALLOC */
    u64 longest;                     /* SIZE: at most so much */
    s64 key;                         /* KEY: this number, of four bytes; −1: not known */
    u32 key_frame;                   /* … and where it lies on the stack */
    s64 key_at;
    struct tn_dynptr dynptr;     /* DYNPTR */
    const struct tn_field *kptr; /* KPTR */
    struct tn_reg percpu;        /* argument 1, as it was */
    u32 func;                    /* FUNC: which function of the program */
    struct tn_ref_use use;
};
int tn_call_helper(struct vf *v, const struct bpf_insn *insn);

/* ---- callback.c */
/* The helper, whose arguments were checked, may call back: that way waits now. */
int tn_callback_call(struct vf *v, const struct tn_helper_call *c);
/* The same for a function that a kfunc may call, with these arguments; it returns 0 or 1. */
int tn_callback_follow(struct vf *v, u32 func, const struct tn_reg arg[5]);
/* A kfunc (its `special`) has a function of the program run later,
   about the map whose value `in` points to. */
int tn_callback_later(struct vf *v, u32 special, u32 func, const struct tn_reg *in);
/* Follows what was put off so, and what that puts off; *longest becomes the longest path of all, if it is. */
int tn_callback_run_later(struct vf *v, u64 *longest);
int tn_callback_exit(struct vf *v, u32 *ret_next, bool *ret_end);
/* Functions that are loaded as addresses are such as may be called back. */
int tn_callback_check_refs(struct vf *v);

/* ---- subprog.c */
/* R1 … R5 of a global function that is verified on its own. */
int tn_subprog_enter(struct vf *v, u32 root);
int tn_call_subprog(struct vf *v, const struct bpf_insn *insn);
int tn_call_exit(struct vf *v, u32 *ret_next, bool *ret_end);
/* Fills cfg.sub[].sleeps, .changes_packet and .calls_host. */
void tn_subprog_effects(struct vf *v);
/* The function that the instruction may open a frame of while its own is open; or none. */
bool tn_subprog_opens(const struct vf *v, u32 pc, u32 *ret);
/* The stack of the deepest call chain, and tail calls on it; once the frames' sizes are known. */
int tn_subprog_stack(struct vf *v);
/* So many frames, open at once, have so many bytes: too many. */
int tn_subprog_stack_refuse(struct vf *v, u32 insn, u32 calls, u32 bytes);
/* What one frame counts. */
static inline u32 tn_frame_counted(const struct tn_sub *sub)
{
    return TN_ROUND_UP(sub->depth, 16u);
}

/* ---- leave.c */
bool tn_insn_is_tail_call(const struct vf *v, u32 pc);
/* The function may end at this instruction, with such a number: that way waits now. */
int tn_leave_returns(struct vf *v, struct tn_range result);
/* R1 is thrown: the path ends here, whatever functions are open. */
int tn_throw(struct vf *v);
/* By the text: functions that may end before their exit return numbers, so that their callers get one. */
int tn_leave_check_types(struct vf *v);
/* By the text, once it is known which functions are called back: below those and in them nothing leaves but
   by an exit. */
int tn_leave_check_callers(struct vf *v);

/* ---- call.c, again */
/* refs.c: a pointer that was nullable, and not NULL, of the group `id`. */
void tn_call_found(const struct vf *v, struct tn_reg *reg, u32 id);

/* ---- args.c */
int tn_args_check(struct vf *v, struct tn_helper_call *c);
/* R<regno>, a MAP_VALUE, points to a string that never changes. */
int tn_arg_const_str(struct vf *v, u32 regno, const char **ret, u32 *ret_len);

/* ---- format.c */
bool tn_format_fits(const char *fmt, u32 numbers);
/* Is one of its numbers an address, and printed what lies there? Of any version's conversions. */
bool tn_format_reads(const char *fmt);

/* ---- special.c: special fields (fields.h) on a path */
struct tn_object_type {
    u32 type; /* in the program's BTF */
    struct tn_fields fields;
};
int tn_special_open(struct vf *v);
void tn_special_close(struct vf *v);
/* Of what the register points into: a map's value (or a map's values, for a MAP), an object of the program's
   types. NULL: none. */
const struct tn_fields *tn_fields_of(const struct vf *v, const struct tn_reg *reg);
const struct tn_fields *tn_fields_of_type(const struct vf *v, u32 type);
bool tn_reg_has_lock(const struct vf *v, const struct tn_reg *reg);
/* An access of `size` bytes whose first is in [min, max]. `ret_kptr`:
   it reads or writes this pointer, as a whole. */
int tn_special_access(struct vf *v, const struct tn_reg *reg, s64 min, s64 max, u32 size, bool by_insn,
                      const struct tn_field **ret_kptr);
int tn_kptr_load(struct vf *v, const struct bpf_insn *insn, const struct tn_field *f);
int tn_kptr_store(struct vf *v, const struct bpf_insn *insn, const struct tn_field *f);
/* Argument: exactly where a field of that kind (one that stands alone in its struct) lies. `func`: for
   messages
   ("bpf_timer", "bpf_spin_lock"). */
int tn_field_arg(struct vf *v, u32 regno, enum tn_field_kind kind, const char *func);
/* R`field_regno` lies in a value of the very map that R`map_regno` is. `what`: "timer", "workqueue". */
int tn_field_same_map(struct vf *v, u32 field_regno, u32 map_regno, const char *what);
/* bpf_kptr_xchg: where the pointer is kept; what goes there (after tn_ref_arg; NULL fits); that it went
   (instead of tn_ref_arg_done); what comes out, in R0. */
int tn_kptr_arg(struct vf *v, u32 regno, const struct tn_field **ret);
int tn_kptr_match(struct vf *v, u32 regno, const struct tn_field *f);
int tn_kptr_given(struct vf *v, const struct tn_ref_use *use, const char *func);
int tn_kptr_taken(struct vf *v, const struct tn_field *f);

/* ---- lock.c: locks, and sections in which a program does not sleep */
/* Refuses when anything at all is held: objects, locks, saved flags, sections. For exit of the whole program,
   tail calls, BPF_LD_[ABS|IND], bpf_throw. */
int tn_held_none(struct vf *v, const char *what);
/* Argument: a lock (kind LOCK: bpf_spin_lock; RES_LOCK, RES_LOCK_IRQ: bpf_res_spin_lock, …_irqsave) that the
   call takes, or releases. */
int tn_lock_take(struct vf *v, u32 regno, enum tn_ref_kind kind);
int tn_lock_release(struct vf *v, u32 regno, enum tn_ref_kind kind);
/* A resilient lock may not be had: the path forks before it is taken, with an error in R0. */
int tn_lock_may_fail(struct vf *v);
/* A lock is held that lies in the very object that `reg` points into. */
bool tn_lock_is_held(const struct vf *v, const struct tn_reg *reg);
/* Argument: where the call saves the interrupt flag, or restores it from.
   `by_lock`: one of the locks' functions. */
int tn_irq_save(struct vf *v, u32 regno, bool by_lock);
int tn_irq_restore(struct vf *v, u32 regno, bool by_lock);
enum tn_section { TN_SECTION_RCU, TN_SECTION_PREEMPT };
/* `func`: the kfunc's name. */
int tn_section_enter(struct vf *v, enum tn_section section, const char *func);
int tn_section_leave(struct vf *v, enum tn_section section, const char *func);
/* Pointers that live as long as an RCU section are good here. */
bool tn_in_rcu(const struct vf *v);
/* Refuses a call that may sleep where the path must not. `func`: "helper bpf_copy_from_user#148", "kernel
   func bpf_iter_css_new". */
int tn_may_sleep(struct vf *v, const char *func);
/* Refuses what is not allowed while a lock is held; `allowed`: this call is. Asked before arguments. */
int tn_call_in_lock(struct vf *v, bool allowed);

#endif
