/* SPDX-License-Identifier: MIT */
/*
 * What is known at one instruction on one path: registers, stack and references of every frame.
 *
 *      state ─ frame[0] (main) ─ R0…R10, stack slots 0…n−1     slot i: bytes fp−8(i+1) … fp−8i−1
 *            ─ frame[1] (callee) …                             byte 0 of a slot is its lowest address
 *            ─ refs[]  reservations held
 *
 * A pointer register is (kind, object, offset range): `r` holds the offset from the start of the object, so a
 * register moved by a constant and one moved by a variable are the same thing. The frame pointer has offset
 * 0, its frame lies below it. Registers that share `id` ≠ 0 hold the same value (numbers) or are NULL
 * together (pointers that may be).
 *
 * Comparison (tn_kept_covers) is the pruning rule's heart: `old covers cur` means that every concrete
 * situation of `cur` is one of `old`, in all that can still matter:
 *
 * - a register that is not live (live.c): nothing is asked;
 * - a number that decided nothing (track.c): cur must be a number;
 * - a number that decided something: the range of cur ⊆ that of old, its steps are steps of old's, and links of
 *   old hold in cur;
 * - a pointer: same kind, object, frame, flags; offsets and steps as of numbers; ids one to one; as many bytes
 *   of a packet proved, at least;
 * - a stack slot never read from here on: nothing, but objects are compared always;
 * - a stack byte never written in old: nothing, since old's future read it nowhere, or was refused;
 * - other stack bytes of old, data, zero, part of a spilled register, object: cur has there data; zero (data,
 *   where it decided nothing); a covered register; the same object in the same state;
 * - references, locks, sections: the same ones, ids mapping one to one;
 * - frames: the same functions, called from the same places, in the same way. A frame whose helper has called
 *   back more often does not cover one where it has more rounds to go.
 *
 * Not compared: where a reference was taken (for messages); how often other loops that the run bounds went
 * round on the path (depth, may_goto_depth: they tell an endless loop from one that is bounded).
 *
 * At rest a state is kept small (struct tn_kept): a constant costs 17 bytes, an unknown number nine, and of
 * points (explore.c) registers that are not live are gone.
 */
#ifndef TN_VERIFY_STATE_H
#define TN_VERIFY_STATE_H

#include "verify/range.h"

#define TN_MAX_FRAMES  8u
#define TN_STACK_BYTES 512
#define TN_STACK_SLOTS (TN_STACK_BYTES / 8)
#define TN_MAX_REFS    32u
#define TN_NREGS       11

/*
 * What a register can be. K(kind, name in logs and messages, what `obj` is)
 *
 *   MAP        a map itself                MEM     memory whose size is known when it is made (reservations,
 *   MAP_VALUE  into a value                        dynptr slices, arguments of global functions)
 *   MAP_KEY    a key handed to a callback  BUF     an iterator's buffer: bounded at attach, not here
 *   BTF        a typed object of the       PACKET  between data and data_end; obj: bytes proved so far
 *              host's or the program's     FUNC    a function of the program, for a callback
 *              own types                   ARENA   anywhere in the arena; faults are made harmless
 *   DYNPTR     a dynptr of the caller's
 */
// clang-format off
#define TN_REG_KINDS(K)                                                                                      \
    K(NONE,        "?",           "")                                                                        \
    K(SCALAR,      "scalar",      "")                                                                        \
    K(CTX,         "ctx",         "")                                                                        \
    K(STACK,       "fp",          "")                                                                        \
    K(MAP,         "map_ptr",     "map")                                                                     \
    K(MAP_VALUE,   "map_value",   "map")                                                                     \
    K(MAP_KEY,     "map_key",     "map")                                                                     \
    K(MEM,         "mem",         "bytes")                                                                   \
    K(BUF,         "buf",         "")                                                                        \
    K(BTF,         "ptr_",        "type id")                                                                 \
    K(PACKET,      "pkt",         "bytes proved")                                                            \
    K(PACKET_META, "pkt_meta",    "bytes proved")                                                            \
    K(PACKET_END,  "pkt_end",     "")                                                                        \
    K(FLOW_KEYS,   "flow_keys",   "")                                                                        \
    K(SOCKET,      "sock",        "")                                                                        \
    K(SOCK_COMMON, "sock_common", "")                                                                        \
    K(TCP_SOCK,    "tcp_sock",    "")                                                                        \
    K(XDP_SOCK,    "xdp_sock",    "")                                                                        \
    K(TP_BUFFER,   "tp_buffer",   "")                                                                        \
    K(FUNC,        "func",        "subprogram")                                                              \
    K(DYNPTR,      "dynptr_ptr",  "")                                                                        \
    K(ARENA,       "arena",       "")

/* What holds of a pointer besides its kind. F(flag, prefix or suffix in its name) */
#define TN_REG_FLAGS(F)                                                                                      \
    F(MAYBE_NULL, "_or_null") /* not usable before it was compared with NULL */                              \
    F(RDONLY,     "rdonly_")                                                                                 \
    F(RINGBUF,    "ringbuf_") /* MEM: a reservation; `ref` ends with submit or discard */                    \
    F(TRUSTED,    "trusted_") /* BTF: valid while the program runs */                                        \
    F(UNTRUSTED,  "untrusted_") /* BTF, MEM: may be anything; loads are made harmless */                     \
    F(RCU,        "rcu_")     /* BTF: valid inside this RCU section */                                       \
    F(PERCPU,     "percpu_")                                                                                 \
    F(USER,       "user_")                                                                                   \
    F(ALLOC,      "") /* BTF: of the program's own types, from bpf_obj_new */                      \
    F(NON_OWNING, "") /* ALLOC: borrowed from a list or tree, while its lock is held */          \
    F(DYNPTR_MEM, "")         /* MEM: a slice; dies with its dynptr (`ref` is the dynptr's id) */              \
    F(STALE,      "stale_")   /* MAP_VALUE, per-CPU: found before the run gave its CPU back */
// clang-format on

enum tn_reg_kind {
#define K(kind, ...) TN_REG_##kind,
    TN_REG_KINDS(K)
#undef K
};
enum {
#define F(flag, ...) TN_REG_BIT_##flag,
    TN_REG_FLAGS(F)
#undef F
#define F(flag, ...) TN_PTR_##flag = 1 << TN_REG_BIT_##flag,
        TN_REG_FLAGS(F)
#undef F
};

struct tn_reg {
    u8 kind;   /* enum tn_reg_kind */
    u8 frame;  /* STACK, DYNPTR: whose */
    u16 flags; /* TN_PTR_… */
    bool host; /* BTF: obj is a type of the host's BTF, not of the program's. MEM: a variable of the host */
    u8 dynptr; /* DYNPTR, slices: which kind (dynptr.c) */
    u8 pad[2];
    u32 obj;   /* see the rows */
    u32 id;    /* see above; 0 = alone */
    u32 ref;   /* the reference that keeps it alive; 0 = none */
    u32 uid;   /* MAP, MAP_VALUE of an inner map: which one; 0 = the map itself. Slices: the dynptr's `ref`.
                  Of the host: which variable it is (BTF_KIND_VAR); 0 = none that is known */
    s32 delta; /* SCALAR: this number is that of its id plus delta. Pointers: what constants added */
    u32 step;  /* it, or what variables added to a pointer, is a multiple of this (step.h); 0: of nothing */
    struct tn_range r; /* numbers: the value; pointers: the offset */
};
/* PACKET, in obj: no bytes proved, but that it lies at or behind the packet's end, or behind it. */
#define TN_PKT_AT_END   0xfffffffeu
#define TN_PKT_PAST_END 0xffffffffu

enum tn_byte_kind {
    TN_BYTE_INVALID,
    TN_BYTE_MISC,
    TN_BYTE_ZERO,
    TN_BYTE_SPILL,
    TN_BYTE_DYNPTR,
    TN_BYTE_ITER,
    TN_BYTE_IRQ_FLAG
};

struct tn_stack_slot {
    u8 byte[8];        /* enum tn_byte_kind */
    u8 lo, size;       /* the spilled register occupies bytes [lo, lo + size); size 0: none */
    u8 tag[2];         /* DYNPTR: kind, first of two; ITER: state, first of its slots (dynptr.c, iter.c) */
    u32 depth;         /* ITER: how often it went round on this path */
    struct tn_reg reg; /* truncated to `size` bytes; objects: their type, id, ref */
};

struct tn_frame {
    struct tn_reg reg[TN_NREGS];
    u32 callsite; /* the call instruction; of no meaning in frame 0 */
    u32 subprog;
    bool callback, async, exception; /* entered from a helper's or kfunc's callback argument */
    u8 callback_kind;
    u32 callback_depth;   /* how often this call site has called back on this path */
    u32 calling;          /* which call that is: another number once it is over */
    u32 entered;          /* which entry into the function this is */
    u32 may_goto_depth;   /* how often its may_goto let a loop go round on this path */
    s64 ret_min, ret_max; /* callback: what it may return */
    u32 nslots, cap;
    struct tn_stack_slot *slot;
};

/* What a path holds and must give back, newest last. */
enum tn_ref_kind { TN_REF_OBJECT, TN_REF_LOCK, TN_REF_RES_LOCK, TN_REF_RES_LOCK_IRQ, TN_REF_IRQ };
struct tn_ref {
    u8 kind; /* enum tn_ref_kind */
    u32 id;
    u32 insn; /* that took it */
    u64 of;   /* LOCK: which object it lies in: low half an id or 0, the rest as its taker likes */
};

/* Frames that are not in use, and room to pack a state in. */
#define TN_POOL_FRAMES 64u
struct tn_pool {
    struct tn_frame *frame[TN_POOL_FRAMES];
    u32 nframes;
    u8 *scratch;
};
void tn_pool_clear(struct tn_pool *pool);

struct tn_state {
    u32 nframes, nrefs;
    u32 nlocks;       /* of refs, those that are locks */
    u32 rcu, preempt; /* depth of sections the program entered */
    u32 irq_id;       /* the IRQ flag to be restored next */
    bool speculative, sleepable;
    struct tn_pool *pool; /* its frames come from there; NULL: from malloc */
    struct tn_frame *frame[TN_MAX_FRAMES];
    struct tn_ref ref[TN_MAX_REFS];
};

static inline struct tn_frame *tn_state_top(const struct tn_state *s)
{
    return s->frame[s->nframes - 1];
}

void tn_state_clear(struct tn_state *s);
int tn_state_copy(struct tn_state *ret, const struct tn_state *s);
/* *ret becomes *s, which is empty afterwards. */
void tn_state_move(struct tn_state *ret, struct tn_state *s);
/* A fresh frame on top: nothing known, R10 = its frame pointer. */
int tn_state_push_frame(struct tn_state *s, u32 subprog, u32 callsite);
void tn_state_pop_frame(struct tn_state *s);
/* Only slot and cap mean something in it. NULL: no memory. */
struct tn_frame *tn_frame_new(struct tn_pool *pool);
/* Room for nslots slots, whose contents are not kept. */
int tn_frame_room(struct tn_frame *f, u32 nslots);
/* Slots 0…n−1 exist afterwards. */
int tn_frame_grow(struct tn_frame *f, u32 nslots);

static inline struct tn_reg tn_reg_scalar(struct tn_range r)
{
    return (struct tn_reg){.kind = TN_REG_SCALAR, .r = r};
}
static inline struct tn_reg tn_reg_const(u64 x)
{
    return (struct tn_reg){
        .kind = TN_REG_SCALAR,
        .r = {{x, 0}, x, x, (s64)x, (s64)x, (u32)x, (u32)x, (s32)x, (s32)x},
    };
}
struct tn_reg tn_reg_pointer(enum tn_reg_kind kind, u32 obj);
static inline bool tn_reg_maybe_null(const struct tn_reg *reg)
{
    return reg->flags & TN_PTR_MAYBE_NULL;
}
#define TN_REG_NAME_LEN 64
/* "rdonly_mem_or_null": what logs and messages call it. */
const char *tn_reg_name(const struct tn_reg *reg, char buf[TN_REG_NAME_LEN]);
#define TN_REG_NAME(reg) tn_reg_name((reg), (char[TN_REG_NAME_LEN]){0})
static inline bool tn_reg_is_pointer(const struct tn_reg *reg)
{
    return reg->kind > TN_REG_SCALAR;
}

/* Calls fn for every register of every frame and every spilled one. */
void tn_state_each_reg(struct tn_state *s, void (*fn)(struct tn_reg *reg, void *arg), void *arg);

/* What can still matter to one frame. */
struct tn_need {
    u16 live;   /* bit a register: read before it is overwritten */
    u16 demand; /* bit a register: its number decides something */
    u64 slots;  /* stack slots whose numbers decide something */
    u64 read;   /* stack slots that are read before they are overwritten */
};
/* Everything that is live matters with its value. */
static inline struct tn_need tn_need_all(u16 live)
{
    return (struct tn_need){live, live, ~0ull, ~0ull};
}

/* A state at rest. `live` has one entry a frame; registers that are not live are not kept. NULL: no memory.
   It is released with free(). */
struct tn_kept;
struct tn_kept *tn_state_keep(const struct tn_state *s, const u16 live[TN_MAX_FRAMES]);
int tn_kept_revive(const struct tn_kept *kept, struct tn_pool *pool, struct tn_state *ret);
/* `need` has one entry a frame of cur. (old remembers where it did not cover.) */
bool tn_kept_covers(struct tn_kept *old, const struct tn_state *cur, const struct tn_need *need);
u32 tn_kept_size(const struct tn_kept *kept); /* bytes */

#endif
