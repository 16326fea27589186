/* SPDX-License-Identifier: MIT */
/*
 * The machine under the evaluator (eval.h): objects, each in the middle of a cell of its own,
 *
 *      │░░ctx░░│░packet░│░value 0 of map 0░│ … │░reservation░│ … │░socket░│ … │░frame 0░│ …
 *      an address tells its cell
 *
 * and what a run holds: reservations, sockets, locks, sections, iterators, dynptrs. What lies on the stack
 * and is no bytes (a dynptr, an iterator, a saved flag) is a word that names an entry here: a program that
 * got hold of it, or spoiled it, is found out when the word is used.
 */
#ifndef TESTS_VERIFY_MACHINE_H
#define TESTS_VERIFY_MACHINE_H

#include "verify/internal.h"

#define CELL          4096u
#define IN_CELL       1024u
#define OBJECT_MAX    2048u
#define MAX_OBJECTS   256u
#define MAX_MAPS      32u
#define MAX_ENTRIES   4u
#define MAX_INNER     2u /* maps in a map of maps */
#define MAX_RECORDS   8u
#define MAX_SOCKETS   6u
#define MAX_PARTS     32u
#define MAX_NAMED     24u /* dynptrs, iterators, flags */
#define MAX_RES_LOCKS 8u
#define MAX_STEPS     3000u

/* What stands for a map in a register: its number, and which inner one of it (from 1; 0: itself). */
#define MAP_TOKEN         0x4d41500000000000ull
#define MAP_OF(x)         ((u32)((x)-MAP_TOKEN) & 0xffffu)
#define INNER_OF(x)       ((u32)((x)-MAP_TOKEN) >> 16)
#define TOKEN(map, inner) (MAP_TOKEN + (map) + ((u64)(inner) << 16))
/* What stands for a function, and for a dynptr of the caller's. */
#define FUNC_TOKEN        0x46554e4300000000ull
#define DYN_TOKEN         0x44594e5000000000ull

struct object {
    u64 start, size;
    u8 kind; /* enum tn_reg_kind; SOCKET: of any sort */
    u8 inner;
    bool there, held, read, write;
    u32 index;  /* MAP_VALUE: map; MEM: bytes; BTF: type; STACK: frame */
    u32 hidden; /* that many bytes at its start (a lock) are not the program's */
    u32 meta;   /* PACKET: bytes before data */
};

/* A slice of a dynptr. */
struct part {
    u64 start, size;
    u32 group;
    bool there;
};

/* Which bytes of a frame hold what. */
enum { NEVER, DATA, OBJECT };

struct frame {
    u64 reg[11];
    u16 written; /* registers */
    u16 suspect; /* slots that are not what the verifier believes: not to be read */
    u32 back, sub;
    bool callback;
    struct { /* a helper that calls back is under way */
        bool on;
        u64 left, done, answer;
        u32 dyn;
    } rounds;
    u8 state[TN_STACK_BYTES];
};

/* Of what a word on the stack is the name. */
enum name_kind { NAME_NONE, NAME_DYNPTR, NAME_ITER, NAME_FLAG };
#define NAME_TOKEN 0x4e414d4500000000ull
struct named {
    u8 kind;
    bool live, null, packet, held;
    u64 start, size; /* DYNPTR */
    u32 group;       /* DYNPTR: clones have one; slices as well */
    s32 at, end;     /* ITER */
    u32 object;      /* … and its element; a reservation */
};

struct machine {
    const struct tn_verify_in *in;
    const struct tn_verdict *verdict;
    u64 seed, steps, course;
    u32 pc, nframes, nobjects, nparts, nnamed, ngroups;
    u32 ctx, packet, values, records, elements, keys, sample, sockets, frames; /* first objects of a sort */
    u32 now;                                                                   /* the packet, as it is now */
    struct object object[MAX_OBJECTS];
    struct part part[MAX_PARTS];
    struct named named[MAX_NAMED];
    struct frame frame[TN_MAX_FRAMES];
    u64 lock, res_lock[MAX_RES_LOCKS]; /* addresses */
    u32 nheld;                         /* references: reservations, sockets, iterators */
    u32 nres, rcu, preempt, irq[MAX_NAMED], nirq;
    bool done;
    u64 helpers[4]; /* called */
    u8 arena[MAX_OBJECTS * CELL];
};

u64 machine_rnd(struct machine *m);
/* A number that programs tend to mishandle; often one that this program names, or one beside it. */
u64 machine_number(struct machine *m);
/* Something came in from outside: two runs with the same ones are one. */
void machine_learn(struct machine *m, u64 x);
void machine_start(struct machine *m, const struct tn_verify_in *in, const struct tn_verdict *verdict,
                   u64 seed);
/* The description of the map that a token names; NULL: none. */
const struct tn_verify_map *machine_map(const struct machine *m, u64 token);
/* Address of an element, or 0. */
u64 machine_value(const struct machine *m, u64 token, u64 entry);
void machine_push_frame(struct machine *m, u32 sub, u32 back);
static inline struct frame *machine_top(struct machine *m)
{
    return &m->frame[m->nframes - 1];
}
/* The object in whose bytes all of [addr, addr + size) lies, or NULL. */
struct object *machine_object(struct machine *m, u64 addr, u64 size);

enum touch { TOUCH_READ = 1, TOUCH_WRITE = 2, TOUCH_INSN = 4 };
/* NULL: the bytes are inside one object and may be used so. */
const char *machine_touch(struct machine *m, u64 addr, u64 size, unsigned how);
/* The packet is elsewhere, and perhaps of another length. */
void machine_move_packet(struct machine *m);
u64 machine_packet_data(const struct machine *m);
u64 machine_packet_end(const struct machine *m);

/* Writes a new name on the stack at `addr` (all of `bytes` become OBJECT). NULL result: *ret is its entry. */
const char *machine_name(struct machine *m, u64 addr, u32 bytes, enum name_kind kind, struct named **ret);
/* What the word at addr names; of that kind, and live. */
const char *machine_named(struct machine *m, u64 addr, u32 bytes, enum name_kind kind, struct named **ret);
/* The bytes are data again. */
void machine_unname(struct machine *m, u64 addr, u32 bytes);
/* Everything that was given for this reservation ends. */
void machine_end_group(struct machine *m, u32 group);
u64 machine_slice(struct machine *m, u64 start, u64 size, u32 group);

/* models.c: one call of a helper, of a function of the host. */
const char *model_helper(struct machine *m, const struct bpf_insn *insn);
const char *model_kfunc(struct machine *m, const struct bpf_insn *insn);

#endif
