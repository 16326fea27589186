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
 * Comparison (tn_state_covers) is the pruning rule's heart: `old covers cur` means that every concrete
 * situation of `cur` is one of `old`, in all that can still matter:
 *
 *   register not live                    nothing asked
 *   number whose value cannot matter     cur must be a number                         (live.h: "demand")
 *   number whose value may matter        range of cur ⊆ range of old; links of old hold in cur
 *   pointer                              same kind, object, frame; offsets of cur ⊆ those of old; ids map one
 * to one stack byte never written in old      nothing asked: old's future read it nowhere, or it would have
 * been refused stack byte of old any data / zero / spilled register      cur has data / zero / a covered
 * register there references                           the same ones, ids mapping one to one
 */
#ifndef TN_VERIFY_STATE_H
#define TN_VERIFY_STATE_H

#include "verify/range.h"

#define TN_MAX_FRAMES  8u
#define TN_STACK_BYTES 512
#define TN_STACK_SLOTS (TN_STACK_BYTES / 8)
#define TN_MAX_REFS    32u
#define TN_NREGS       11

/* K(kind, name in logs, is a pointer that may be NULL, kind once known not to be) */
#define TN_REG_KINDS(K)                                                                                      \
    K(NONE, "?", false, NONE)                                                                                \
    K(SCALAR, "scalar", false, SCALAR)                                                                       \
    K(CTX, "ctx", false, CTX)                                                                                \
    K(STACK, "fp", false, STACK)                                                                             \
    K(MAP, "map_ptr", false, MAP)                                                                            \
    K(MAP_VALUE, "map_value", false, MAP_VALUE)                                                              \
    K(MAP_VALUE_OR_NULL, "map_value_or_null", true, MAP_VALUE)                                               \
    K(RINGBUF_MEM, "ringbuf_mem", false, RINGBUF_MEM)                                                        \
    K(RINGBUF_MEM_OR_NULL, "ringbuf_mem_or_null", true, RINGBUF_MEM)

enum tn_reg_kind {
#define K(kind, ...) TN_REG_##kind,
    TN_REG_KINDS(K)
#undef K
};

struct tn_reg {
    u8 kind;  /* enum tn_reg_kind */
    u8 frame; /* STACK: whose */
    u16 pad;
    u32 obj;           /* MAP*: index into maps[]; RINGBUF*: bytes reserved */
    u32 id;            /* see above; 0 = alone */
    u32 ref;           /* RINGBUF*: the reference that keeps it alive */
    struct tn_range r; /* numbers: the value; pointers: the offset */
};

enum tn_byte_kind { TN_BYTE_INVALID, TN_BYTE_MISC, TN_BYTE_ZERO, TN_BYTE_SPILL };
struct tn_stack_slot {
    u8 byte[8];  /* enum tn_byte_kind */
    u8 lo, size; /* the spilled register occupies bytes [lo, lo + size); size 0: none */
    u8 pad[6];
    struct tn_reg reg; /* truncated to `size` bytes */
};

struct tn_frame {
    struct tn_reg reg[TN_NREGS];
    u32 callsite; /* the call instruction; of no meaning in frame 0 */
    u32 subprog;
    u32 nslots, cap;
    struct tn_stack_slot *slot;
};

struct tn_state {
    u32 nframes, nrefs;
    struct tn_frame *frame[TN_MAX_FRAMES];
    u32 ref[TN_MAX_REFS];
};

static inline struct tn_frame *tn_state_top(const struct tn_state *s)
{
    return s->frame[s->nframes - 1];
}

void tn_state_clear(struct tn_state *s);
int tn_state_copy(struct tn_state *ret, const struct tn_state *s);
/* A fresh frame on top: nothing known, R10 = its frame pointer. */
int tn_state_push_frame(struct tn_state *s, u32 subprog, u32 callsite);
void tn_state_pop_frame(struct tn_state *s);
/* Slots 0…n−1 exist afterwards. */
int tn_frame_grow(struct tn_frame *f, u32 nslots);

struct tn_reg tn_reg_scalar(struct tn_range r);
struct tn_reg tn_reg_pointer(enum tn_reg_kind kind, u32 obj);
bool tn_reg_maybe_null(const struct tn_reg *reg);
enum tn_reg_kind tn_reg_kind_not_null(enum tn_reg_kind kind);
const char *tn_reg_kind_name(enum tn_reg_kind kind);
static inline bool tn_reg_is_pointer(const struct tn_reg *reg)
{
    return reg->kind > TN_REG_SCALAR;
}

/* Calls fn for every register of every frame and every spilled one. */
void tn_state_each_reg(struct tn_state *s, void (*fn)(struct tn_reg *reg, void *arg), void *arg);

/* What can still matter at an instruction of a frame; from live.c. */
struct tn_need {
    u16 live, demand; /* bit a register */
    u64 slots;        /* stack slots whose *numbers* may matter */
};
/* `need` has one entry a frame. */
bool tn_state_covers(const struct tn_state *old, const struct tn_state *cur, const struct tn_need *need);

#endif
