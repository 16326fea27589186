/* SPDX-License-Identifier: MIT */
/*
 * What a class admits touches only what the class names, byte by byte.
 *
 *      world.c      types and variables of a host, capabilities as texts, and the bytes that each text names:
 *                   painted by other code than the one that is under test
 *      a program    loads, stores, pointers followed, copies of buffers, calls: at once, spilt, in a subprogram, in a
 *                   callback, by an index that a map tells
 *      verified     under a class; what it admits is run by the interpreter (vm.c, built once more to be watched)
 *      the host     memory in which each byte knows which object, at which offset, or which element of whose buffer
 *                   it is; lengths and indices in it are 0, huge, negative; pointers lead to objects, to NULL, nowhere
 *
 * Each byte that a load, a store, a helper, a function of the host, or the agent's copy of a buffer touches has to be
 * painted, each call granted; what is nowhere is touched by careful loads alone. After a run the host is compared with
 * what it was: all that is different was written where it may be.
 *
 * That this sees something is shown by authorities that say yes once too often: to a field more, a place more, another
 * buffer, a call, an address. Whoever uses what he so got is caught.
 *
 * TN_PAIRS: so many pairs of program and class are run. TN_SEED=N gives others.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <bpf/btf.h>
#include <cmocka.h>
#include <tenon/extension.h>

#include "eim/ask.h"
#include "tests/eim/func_types.h"
#include "tests/eim/world.h"
#include "verify/cfg.h"
#include "vm/vm.h"

#include "tests/verify/asm.h" /* behind what it has short words for */

u64 tn_agent_copy(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
u64 tn_agent_copy_promised(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
u64 tn_agent_copy_careful(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
int __wrap_tn_probe_read(void *dst, u64 size, u64 addr, const struct tn_run *run);
int __wrap_tn_probe_write(u64 addr, const void *src, u64 size, const struct tn_run *run);

/* --------------------------------------------------------------------------------------------------- the host */

#define INSTANCES 3u
#define SLOTS     96u
#define REGIONS   1024u
#define HOST      (1u << 18)
#define ELEMENTS  80u /* more than a program has room for, from any first one on */
#define NOWHERE   0xdead000000000000ull

/* A pointer in a struct; `mixed`: in a union with another one, so that it is none. */
struct slot {
    u32 at, to, each; /* each: DATA, to numbers of so many bytes */
    enum kind kind;
    bool mixed;
};
struct slots {
    struct slot s[SLOTS];
    u32 n;
};
enum what { OBJECT, VARIABLE, BYTES };
struct region {
    enum what what;
    u32 start, size;
    u32 type; /* OBJECT: which struct; BYTES: of the object that has the pointer. VARIABLE: which object of the paint */
    u32 var;             /* OBJECT: 1 + which variable it is; 0: none */
    u32 at, each, owner; /* BYTES */
};

static struct world w;
static struct slots slots[STRUCTS];
static struct region regions[REGIONS];
static u32 nregions, used, of_type[STRUCTS][INSTANCES], of_var[VARS];
static u8 *host, *before;
static u16 label[HOST]; /* 1 + region; 0: nobody's */

static void collect(struct slots *to, u32 type, u32 off)
{
    const struct shape *s = &w.s[type];

    for (u32 m = 0; m < s->n; m++) {
        const struct field *f = &s->f[m];
        struct slot slot = {off + f->bit / 8, f->to, f->each, f->kind, false};

        for (u32 k = 0; k < f->n && (f->kind == NESTED || f->kind == RECORDS); k++)
            collect(to, f->to, slot.at + k * f->size);
        if (f->kind != POINTER && f->kind != DATA)
            continue;
        for (u32 k = 0; k < to->n; k++) {
            struct slot *o = &to->s[k];
            bool same = o->at == slot.at && o->kind == slot.kind &&
                        (slot.kind == DATA ? o->each == slot.each : o->to == slot.to);

            if (o->at < slot.at + 8 && slot.at < o->at + 8 && !same)
                o->mixed = slot.mixed = true;
        }
        if (to->n < SLOTS)
            to->s[to->n++] = slot;
    }
}

static u32 add_region(struct region r)
{
    assert_true(nregions < REGIONS && used + r.size + 64 < HOST);
    r.start = used;
    regions[nregions++] = r;
    for (u32 k = 0; k < r.size; k++)
        label[used + k] = (u16)nregions;
    used += TN_ROUND_UP(r.size, 8u) + (rnd(2) ? 0 : 8); /* next to each other, or nearly */
    return nregions - 1;
}

static void lay_out(void)
{
    nregions = used = 0;
    memset(label, 0, sizeof(label));
    memset(slots, 0, sizeof(slots));
    for (u32 s = 0; s < STRUCTS; s++) {
        collect(&slots[s], s, 0);
        for (u32 k = 0; k < INSTANCES; k++)
            of_type[s][k] = add_region((struct region){.what = OBJECT, .size = w.s[s].size, .type = s});
    }
    for (u32 v = 0; v < VARS; v++) {
        const struct field *f = &w.v[v];

        of_var[v] =
            f->kind == NESTED
                ? add_region((struct region){.what = OBJECT, .size = f->size, .type = f->to, .var = v + 1})
                : add_region((struct region){.what = VARIABLE, .size = f->size * f->n, .type = STRUCTS + v});
    }
    for (u32 o = 0, objects = nregions; o < objects; o++) {
        u32 type = regions[o].type, done = 0;

        for (u32 k = 0; regions[o].what == OBJECT && k < slots[type].n && done < 12; k++) {
            const struct slot *s = &slots[type].s[k];
            bool twice = false;

            for (u32 r = objects; r < nregions; r++)
                twice |= regions[r].owner == o && regions[r].at == s->at;
            if (s->kind != DATA || s->mixed || twice)
                continue;
            (void)add_region((struct region){.what = BYTES,
                                             .size = ELEMENTS * s->each,
                                             .type = type,
                                             .at = s->at,
                                             .each = s->each,
                                             .owner = o});
            done++;
        }
    }
}

static u64 address(u32 region)
{
    return (u64)(uintptr_t)host + regions[region].start;
}

static u64 pointer_to(u32 type)
{
    return rnd(8) == 0 ? 0 : rnd(8) == 0 ? NOWHERE + rnd(1 << 20) : address(of_type[type][rnd(INSTANCES)]);
}

/* Numbers that are nothing, small, huge, negative. */
static u64 adverse(void)
{
    u64 x = (u64)rnd(1u << 31) << 32 | rnd(1u << 31);

    switch (rnd(6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - rnd(3);
    case 2:
        return 1ull << 63 | rnd(5);
    case 3:
        return x;
    default:
        return rnd(12) | (rnd(3) ? 0 : (u64)rnd(9) << 32);
    }
}

static void fill_host(void)
{
    for (u32 at = 0; at < used; at += 8) {
        u64 x = adverse();

        memcpy(&host[at], &x, 8);
    }
    for (u32 r = 0; r < nregions; r++) {
        const struct region *o = &regions[r];

        for (u32 k = 0; o->what == OBJECT && k < slots[o->type].n; k++) {
            const struct slot *s = &slots[o->type].s[k];
            u64 to = NOWHERE + rnd(1 << 20);

            if (!s->mixed && s->kind == POINTER)
                to = pointer_to(s->to);
            memcpy(&host[o->start + s->at], &to, 8);
        }
        if (o->what == VARIABLE && w.v[o->type - STRUCTS].kind == POINTER) {
            u64 to = pointer_to(w.v[o->type - STRUCTS].to);

            memcpy(&host[o->start], &to, 8);
        }
        if (o->what == BYTES) {
            u64 to = (u64)(uintptr_t)host + o->start;

            memcpy(&host[regions[o->owner].start + o->at], &to, 8);
        }
    }
    memcpy(before, host, used);
}

/* ------------------------------------------------------------------------------------------------- the class */

/* What is granted beside paths, as the documentation has it. */
static const struct other {
    const char *text;
    u8 helper[5];
    bool read, write, io;
    u8 call; /* bit k: gk */
} others[] = {
    {"bpf_ktime_get_ns", {5}, 0, 0, 0, 0},
    {"bpf_get_prandom_u32", {7}, 0, 0, 0, 0},
    {"bpf_get_current_comm", {16}, 0, 0, 0, 0},
    {"bpf_ringbuf_output", {130}, 0, 0, 0, 0},
    {"bpf_loop", {181}, 0, 0, 0, 0},
    {"helpers(local)", {5, 7, 16, 181}, 0, 0, 0, 0},
    {"helpers(shared)", {130}, 0, 0, 0, 0},
    {"read(process)", {112}, 1, 0, 0, 0},
    {"write(process)", {36}, 0, 1, 0, 0},
    {"callG0", {0}, 0, 0, 0, 1},
    {"callG1", {0}, 0, 0, 0, 2},
    {"IO", {0}, 0, 0, 1, 0},
};
struct granted {
    bool helper[256], process[2], io, call[2];
};

static struct paint paint;
static struct granted granted;

static u32 make_allowed(char texts[32][256])
{
    u32 n = 0;

    memset(&paint, 0, sizeof(paint));
    memset(&granted, 0, sizeof(granted));
    for (u32 k = 2 + rnd(10); k > 0 && paint.nbuffers < BUFFERS; k--)
        make_cap(&w, &paint, texts[n++], sizeof(texts[0]));
    for (u32 k = 0; k < TN_ARRAY_SIZE(others); k++) {
        const struct other *o = &others[k];

        if (rnd(o->read || o->write ? 4 : 2))
            continue;
        snprintf(texts[n++], sizeof(texts[0]), "%s", o->text);
        for (u32 i = 0; i < sizeof(o->helper); i++)
            granted.helper[o->helper[i]] = o->helper[i] || granted.helper[o->helper[i]];
        granted.process[TN_READ] |= o->read;
        granted.process[TN_WRITE] |= o->write;
        granted.io |= o->io;
        granted.call[0] |= o->call & 1;
        granted.call[1] |= o->call >> 1 & 1;
    }
    return n;
}

/* ----------------------------------------------------------------------------------------------- the program */

#define PROGRAM 220u
struct program {
    struct bpf_insn insn[PROGRAM];
    bool untyped[PROGRAM]; /* it goes to an address that no type stands behind */
    u32 n, second;
    bool callback;
    u32 type[4]; /* R6 … R9: to which struct they point; OBJECTS: nowhere that is known */
};
enum { COPY_ID, G0_ID, G1_ID, IDS };
static u32 id_of[IDS];
static struct func_types types;

#define FUNCTION(id)  INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)(id))
#define SYMBOL(d, id) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, (s32)(id)), INSN(0, 0, 0, 0, 0)
#define WIDE(d, value)                                                                                       \
    INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (s32)(value)), INSN(0, 0, 0, 0, (s32)((u64)(value) >> 32))
#define PUT(p, ...)                                                                                          \
    do {                                                                                                     \
        const struct bpf_insn row_[] = {__VA_ARGS__};                                                        \
                                                                                                             \
        for (u32 k_ = 0; k_ < TN_ARRAY_SIZE(row_); k_++)                                                     \
            (p)->insn[(p)->n++] = row_[k_];                                                                  \
    } while (0)

static u8 code_of(u32 size)
{
    return size == 1 ? BPF_B : size == 2 ? BPF_H : size == 4 ? BPF_W : BPF_DW;
}

static bool is_painted(u32 op, u32 object, u32 off, u32 size)
{
    for (u32 k = 0; k < size; k++)
        if (off + k >= SIZE || !paint.on[op][object][off + k])
            return false;
    return true;
}

/* Bytes of an object, most often some that may be touched. */
static bool pick(u32 op, u32 object, u32 whole, u32 *ret_off, u32 *ret_size)
{
    for (u32 k = 0; k < 24; k++) {
        *ret_size = 1u << rnd(4);
        *ret_size = TN_MIN(*ret_size, whole & -whole);
        *ret_off = rnd(whole / *ret_size) * *ret_size;
        if (is_painted(op, object, *ret_off, *ret_size))
            return true;
    }
    return rnd(10) == 0;
}

static void put_access(struct program *p, u8 reg, u32 off, u32 size, bool write)
{
    s32 moved = rnd(4) ? 0 : (s32)rnd(40) - 20;

    if (rnd(5) == 0)
        PUT(p, STX(BPF_DW, R10, -8, reg), MOV(reg, 0), LDX(BPF_DW, reg, R10, -8));
    if (moved)
        PUT(p, ADD(reg, moved));
    if (write)
        PUT(p, ST(code_of(size), reg, (s16)((s32)off - moved), (s32)rnd(1 << 30)));
    else
        PUT(p, LDX(code_of(size), R0, reg, (s16)((s32)off - moved)));
    if (moved)
        PUT(p, ADD(reg, -moved));
    if (!write && !rnd(4)) /* what was read tells an index later */
        PUT(p, LDVAL(R1, 0, 0), STX(BPF_DW, R1, 0, R0));
}

/* An index from the map, below n, times a size: added to r2. False: nothing is left to choose. */
static void put_index(struct program *p, u32 n, u32 size)
{
    bool mask = !(n & (n - 1)) && rnd(2), narrow = rnd(2);

    PUT(p, LDVAL(R1, 0, 0), LDX(rnd(2) ? BPF_DW : BPF_W, R1, R1, 0));
    if (mask)
        PUT(p, ALU(BPF_AND, R1, (s32)n - 1));
    else
        PUT(p, JMP(BPF_JLT, R1, (s32)n, 1), MOV(R1, (s32)rnd(n)));
    if (narrow)
        PUT(p, ALU32(BPF_MUL, R1, (s32)size));
    else
        PUT(p, ALU(BPF_MUL, R1, (s32)size));
    PUT(p, ADDX(R2, R1));
    if (rnd(4) == 0)
        PUT(p, STX(BPF_DW, R10, -16, R2), LDX(BPF_DW, R2, R10, -16));
}

/* Down from a struct, through arrays by an index that the map tells. */
static void put_indexed(struct program *p, u8 reg, u32 type, bool write)
{
    struct {
        u32 n, size;
    } by[4];
    u32 at = 0, levels = 0, size = 8, whole;

    for (;;) {
        const struct field *f = &w.s[type].f[rnd(w.s[type].n)];

        at += f->bit / 8;
        whole = f->size;
        if (f->n > 1 && levels < 2) {
            by[levels].n = rnd(10) ? f->n : f->n + 1;
            by[levels++].size = rnd(12) ? f->size : f->size + 1;
        }
        if (f->kind != NESTED && f->kind != RECORDS)
            break;
        type = f->to;
    }
    if (!levels)
        return;
    size = 1u << rnd(4);
    size = TN_MIN(size, whole);
    PUT(p, MOVX(R2, reg));
    for (u32 k = 0; k < levels; k++)
        put_index(p, by[k].n, by[k].size);
    if (write)
        PUT(p, ST(code_of(size), R2, (s16)at, 7));
    else
        PUT(p, LDX(code_of(size), R0, R2, (s16)at));
}

/* One that the class has, or nearly, or any. */
static bool choose_buffer(u32 type, struct buffer *b)
{
    struct buffer other;

    for (u32 k = 0; k < paint.nbuffers && rnd(6); k++) {
        *b = paint.buffer[(k + rnd(BUFFERS)) % paint.nbuffers];
        if (b->base != type)
            continue;
        b->first += rnd(3) ? 0 : 1;
        if (!rnd(10) && b->first)
            b->first--;
        if (!rnd(5) && find_buffer(&w, type, &other) &&
            other.length_size) { /* another number as its length */
            b->length_at = other.length_at;
            b->length_size = other.length_size;
        }
        return true;
    }
    if (rnd(4) || !find_buffer(&w, type, b))
        return false;
    b->op = rnd(2);
    return true;
}

static void put_copy(struct program *p, u8 reg, u32 type)
{
    u32 room = 1 + rnd(48);
    struct buffer b;

    if (!choose_buffer(type, &b))
        return;
    if (!b.length_size) /* no more than there are */
        room = TN_MIN(room, b.each * (u32)(b.end > b.first ? b.end - b.first : 1));
    if (b.op == TN_WRITE)
        for (s16 at = -72; at < -24; at = (s16)(at + 8))
            PUT(p, ST(BPF_DW, R10, at, 0x5a5a));
    PUT(p, MOVX(R1, R10), ADD(R1, -72), MOV(R2, (s32)room), MOVX(R3, reg),
        WIDE(R4, b.at | (u64)b.first << TENON_FIRST),
        WIDE(R5, (b.length_size ? b.length_at : 0) | (u64)b.length_size << TENON_LENGTH_SIZE |
                     (u64)b.inside << TENON_INSIDE | (u64)(b.op == TN_WRITE) << TENON_WRITES |
                     (u64)b.each << TENON_ELEMENT),
        FUNCTION(id_of[COPY_ID]));
}

static void put_follow(struct program *p, u8 reg, u32 type)
{
    u8 to = (u8)(R8 + rnd(2));

    for (u32 k = 0, from = rnd(SLOTS); k < slots[type].n; k++) {
        const struct slot *s = &slots[type].s[(from + k) % slots[type].n];

        if (!is_painted(TN_READ, type, s->at, 8) && rnd(30))
            continue;
        if (s->kind == DATA && rnd(3))
            continue;
        PUT(p, LDX(BPF_DW, to, reg, (s16)s->at));
        if (s->kind == POINTER) {
            p->type[to - R6] = s->to;
            return;
        }
        p->type[to - R6] = OBJECTS;
        p->untyped[p->n] = true;
        PUT(p, LDX(code_of(1u << rnd(4)), R0, to, (s16)rnd(16)));
        return;
    }
}

static void put_variable(struct program *p)
{
    u32 v = rnd(VARS), off, size;
    const struct field *f = &w.v[v];
    u8 to = (u8)(R8 + rnd(2));
    bool write = rnd(4) == 0;

    if (f->kind == NESTED) {
        if (!paint.named[v] && rnd(12))
            return;
        PUT(p, SYMBOL(to, w.id[STRUCTS + v]));
        p->type[to - R6] = f->to;
        return;
    }
    if (f->n > 1 && rnd(2)) {
        PUT(p, SYMBOL(R2, w.id[STRUCTS + v]));
        put_index(p, f->n, f->size);
        size = 1u << rnd(4);
        size = TN_MIN(size, f->size);
        off = rnd(f->size / size) * size;
        if (write)
            PUT(p, ST(code_of(size), R2, (s16)off, 3));
        else
            PUT(p, LDX(code_of(size), R0, R2, (s16)off));
        return;
    }
    if (!pick(write, STRUCTS + v, f->size * f->n, &off, &size))
        return;
    PUT(p, SYMBOL(to, w.id[STRUCTS + v]));
    p->type[to - R6] = OBJECTS;
    put_access(p, to, off, size, write);
    if (f->kind == POINTER && is_painted(TN_READ, STRUCTS + v, 0, 8) && rnd(2)) {
        PUT(p, SYMBOL(to, w.id[STRUCTS + v]), LDX(BPF_DW, to, to, 0));
        p->type[to - R6] = f->to;
    }
}

static void put_call(struct program *p, u8 reg, u32 type)
{
    u32 off, size;

    switch (rnd(8)) {
    case 0:
        PUT(p, CALL(BPF_FUNC_ktime_get_ns));
        break;
    case 1:
        PUT(p, CALL(BPF_FUNC_get_prandom_u32), LDVAL(R1, 0, 0), STX(BPF_DW, R1, 0, R0));
        break;
    case 2:
        PUT(p, MOVX(R1, R10), ADD(R1, -32), MOV(R2, 16), CALL(BPF_FUNC_get_current_comm));
        break;
    case 3: /* a helper reads the place */
        if (!pick(TN_READ, type, w.s[type].size, &off, &size))
            return;
        PUT(p, LDMAP(R1, 1), MOVX(R2, reg), ADD(R2, (s32)off), MOV(R3, (s32)size), MOV(R4, 0),
            CALL(BPF_FUNC_ringbuf_output));
        break;
    case 4:
        PUT(p, MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8), MOVX(R3, reg), ADD(R3, (s32)rnd(64)),
            CALL(BPF_FUNC_probe_read_user));
        break;
    case 5:
        PUT(p, ST(BPF_DW, R10, -32, 1), MOVX(R1, reg), ADD(R1, (s32)rnd(64)), MOVX(R2, R10), ADD(R2, -32),
            MOV(R3, 8), CALL(BPF_FUNC_probe_write_user));
        break;
    default:
        if (type != STRUCTS - 1)
            return;
        PUT(p, MOVX(R1, reg), FUNCTION(id_of[rnd(2) ? G0_ID : G1_ID]));
        break;
    }
}

static void put_action(struct program *p, u32 known)
{
    u8 reg = (u8)(R6 + rnd(known));
    u32 type = p->type[reg - R6], off, size;
    bool write = rnd(3) == 0;

    if (type >= STRUCTS || rnd(8) == 0) {
        if (known > 2)
            put_variable(p);
        return;
    }
    switch (rnd(9)) {
    case 0:
        put_call(p, reg, type);
        break;
    case 1:
    case 2:
        put_copy(p, reg, type);
        break;
    case 3:
    case 4:
        if (known > 2)
            put_follow(p, reg, type);
        break;
    case 5:
    case 6:
        put_indexed(p, reg, type, write);
        break;
    default:
        if (pick(write, type, w.s[type].size, &off, &size))
            put_access(p, reg, off, size, write);
        break;
    }
}

static void make_program(struct program *p)
{
    u32 call = 0, passed = OBJECTS, at = 0, actions = 1 + rnd(5);

    *p = (struct program){.type = {STRUCTS - 1, STRUCTS - 2, OBJECTS, OBJECTS}};
    PUT(p, LDX(BPF_DW, R7, R1, 8), LDX(BPF_DW, R6, R1, 0), MOV(R8, 0), MOV(R9, 0));
    if (rnd(2))
        call = 1 + rnd(actions);
    for (u32 k = 1; k <= actions && p->n < PROGRAM - 120; k++) {
        u8 reg = (u8)(R6 + rnd(4));

        for (u32 n = p->n, tries = 0; p->n == n && tries < 8; tries++)
            put_action(p, 4);
        if (k != call || p->type[reg - R6] >= STRUCTS)
            continue;
        passed = p->type[reg - R6];
        p->callback = rnd(2);
        if (p->callback) {
            PUT(p, STX(BPF_DW, R10, -80, reg), MOV(R1, (s32)rnd(3)));
            at = p->n;
            PUT(p, INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 0), INSN(0, 0, 0, 0, 0),
                MOVX(R3, R10), ADD(R3, -80), MOV(R4, 0), CALL(BPF_FUNC_loop));
        } else {
            at = p->n + 1;
            PUT(p, MOVX(R1, reg), CALLP(0));
        }
    }
    PUT(p, MOV(R0, 0), EXIT);
    if (passed == OBJECTS)
        return;
    p->second = p->n;
    p->insn[at].imm = (s32)(p->n - at - 1);
    PUT(p, MOV(R7, 0), MOV(R8, 0), MOV(R9, 0));
    if (p->callback)
        PUT(p, LDX(BPF_DW, R6, R2, 0));
    else
        PUT(p, MOVX(R6, R1));
    p->type[0] = passed;
    p->type[1] = p->type[2] = p->type[3] = OBJECTS;
    for (u32 k = 1 + rnd(2); k > 0 && p->n < PROGRAM - 60; k--)
        for (u32 n = p->n, tries = 0; p->n == n && tries < 8; tries++)
            put_action(p, 1);
    PUT(p, MOV(R0, 0), EXIT);
}

/* ------------------------------------------------------------------------------------------------ the watch */

/* What a weaker authority says yes to. */
enum weak { NOTHING_MORE, A_READ, A_WRITE, PLACES, A_BUFFER, A_CALL, AN_ADDRESS, WEAKS };
static const char *const weaknesses[] = {
    "nothing",        "a field to read", "a field to write", "places of an array",
    "another buffer", "a call",          "any address"};
struct weaker {
    struct tn_authority real;
    const struct program *p;
    enum weak weak;
    bool more[PROGRAM]; /* instructions that it was said of */
    u32 n;
};

static struct {
    const struct program *p;
    const struct tn_verdict *v;
    struct weaker *weaker;
    const struct tn_run *run;
    u64 stack, stack_size, ctx[2], value;
    u32 insn;
    bool copying, used_more;
    char wrong[240];
} now;
static struct {
    u64 programs, runs, loads, stores, copies, helpers, calls, bytes, careful, elements;
} sums;

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
    va_list ap;

    if (*now.wrong)
        return;
    va_start(ap, format);
    vsnprintf(now.wrong, sizeof(now.wrong), format, ap);
    va_end(ap);
}

static u64 length_in(const struct region *object, const struct buffer *b)
{
    u64 n = 0;

    if (!b->length_size)
        return b->end;
    memcpy(&n, &host[object->start + b->length_at], b->length_size);
    return n;
}

/* By a copy of a buffer: the element is one of those that are as many as is said at this moment. */
static bool is_element(u32 op, const struct region *object, bool inside, u32 at, u32 each, u32 off)
{
    for (u32 k = 0; k < paint.nbuffers; k++) {
        const struct buffer *b = &paint.buffer[k];
        u32 number = off / b->each;

        if (b->op == op && b->base == object->type && b->inside == inside &&
            (inside ? at >= b->at : at == b->at) && (inside || b->each == each)) {
            number = inside ? (at - b->at) / b->each : number;
            if (number >= b->first && number < length_in(object, b) &&
                (!object->var || paint.named[object->var - 1]))
                return true;
        }
    }
    return false;
}

static bool may_touch(u32 op, const struct region *r, u32 off)
{
    if (now.p->untyped[now.insn] && granted.process[op])
        return true;
    switch (r->what) {
    case OBJECT:
        return (paint.on[op][r->type][off] && (!r->var || paint.named[r->var - 1])) ||
               (now.copying && is_element(op, r, true, off, 0, 0));
    case VARIABLE:
        return paint.on[op][r->type][off];
    default:
        return now.copying && is_element(op, &regions[r->owner], false, r->at, r->each, off);
    }
}

static bool is_own(u64 addr, u64 bytes)
{
    const struct {
        u64 start, size;
    } own[] = {{now.stack, now.stack_size},
               {(u64)(uintptr_t)now.ctx, sizeof(now.ctx)},
               {(u64)(uintptr_t)&now.value, sizeof(now.value)}};

    for (u32 k = 0; k < TN_ARRAY_SIZE(own); k++)
        if (addr >= own[k].start && addr - own[k].start < own[k].size)
            return bytes <= own[k].size - (addr - own[k].start);
    return false;
}

/* False: it is nowhere. */
static bool touch(u32 op, u64 addr, u64 bytes)
{
    u64 start = (u64)(uintptr_t)host;

    if (is_own(addr, bytes))
        return true;
    if (addr < start || addr >= start + used || bytes > start + used - addr)
        return false;
    for (u64 k = 0; k < bytes; k++) {
        u32 at = (u32)(addr - start + k);
        const struct region *r = label[at] ? &regions[label[at] - 1] : NULL;

        now.used_more |= now.weaker && now.weaker->more[now.insn];
        sums.bytes++;
        sums.elements += r && r->what == BYTES;
        if (!r)
            wrong("%s of byte %u, which is nobody's", op ? "write" : "read", at);
        else if (!may_touch(op, r, at - r->start))
            wrong("%s of byte %u of %s %u%s, which no capability names", op ? "write" : "read", at - r->start,
                  r->what == OBJECT     ? "struct"
                  : r->what == VARIABLE ? "object"
                                        : "a buffer of struct",
                  r->type, r->var ? ", a variable" : "");
    }
    return true;
}

void watch_begin(void *frames, u64 bytes)
{
    now.stack = (u64)(uintptr_t)frames;
    now.stack_size = bytes;
}

void watch_step(u32 insn, const struct bpf_insn *in, const u64 *r)
{
    now.insn = insn;
    if (in->code != (BPF_JMP | BPF_CALL) || in->src_reg)
        return;
    sums.helpers++;
    now.used_more |= now.weaker && now.weaker->more[insn];
    if ((u32)in->imm >= sizeof(granted.helper) || !granted.helper[in->imm])
        wrong("call of helper %d, which is not granted", in->imm);
}

bool watch_load(u64 addr, u8 bytes)
{
    bool careful = now.v->aux[now.insn].mem_kind == TN_MEM_PROBE;

    sums.loads++;
    sums.careful += careful;
    if (touch(TN_READ, addr, bytes))
        return true;
    if (!careful)
        wrong("a load of %u bytes at %#" PRIx64 ", where nothing is", bytes, addr);
    return false;
}

void watch_store(u64 addr, u8 bytes)
{
    sums.stores++;
    if (!touch(TN_WRITE, addr, bytes))
        wrong("a store of %u bytes at %#" PRIx64 ", where nothing is", bytes, addr);
}

int watch_symbol(const struct bpf_insn *in, u64 *ret)
{
    for (u32 v = 0; v < VARS; v++)
        if (w.id[STRUCTS + v] == (u32)in->imm) {
            *ret = address(of_var[v]);
            return 0;
        }
    return -ENOTSUP;
}

int __wrap_tn_probe_read(void *dst, u64 size, u64 addr, const struct tn_run *run)
{
    if (size && !touch(TN_READ, addr, size))
        return -EFAULT;
    if (size)
        memcpy(dst, (const void *)addr, size);
    return 0;
}

int __wrap_tn_probe_write(u64 addr, const void *src, u64 size, const struct tn_run *run)
{
    if (size && !touch(TN_WRITE, addr, size))
        return -EFAULT;
    if (size)
        memcpy((void *)addr, src, size);
    return 0;
}

/* The agent's own code, of an object that is there, or may not be. It goes through probes, which are watched here;
   what it does without them, since it is surely there, is told by what it says that it has copied. */
static u64 copy(const u64 *r)
{
    u64 pointer = r[3] + (u32)r[4], length = r[3] + (u32)r[5], at = pointer, got,
        each = r[5] >> TENON_ELEMENT;
    u32 op = r[5] >> TENON_WRITES & 1, size = r[5] >> TENON_LENGTH_SIZE & 15;
    u8 kind = now.v->aux[now.insn].mem_kind;
    bool inside = r[5] >> TENON_INSIDE & 1;

    sums.copies++;
    if (kind == TN_MEM_PROBE)
        return tn_agent_copy_careful(r[1], r[2], r[3], r[4], r[5], now.run);
    if ((!inside && !touch(TN_READ, pointer, 8)) || (size && !touch(TN_READ, length, size))) {
        wrong("the pointer or the length of a buffer is looked for where nothing is");
        return 0;
    }
    if (kind == TN_MEM_PLAIN)
        return tn_agent_copy(r[1], r[2], r[3], r[4], r[5], now.run);
    if (kind != TN_MEM_PROMISED)
        wrong("a copy of kind %u", kind);
    if (!inside)
        memcpy(&at, (const void *)pointer, 8);
    got = tn_agent_copy_promised(r[1], r[2], r[3], r[4], r[5], now.run);
    if ((s64)got > 0 && !touch(op, at + (r[4] >> TENON_FIRST) * (each + !each), got))
        wrong("what was promised is not there");
    return got;
}

int watch_kfunc(const struct bpf_insn *in, u64 *r)
{
    const struct field *f = &w.s[STRUCTS - 1].f[0];
    u32 k = (u32)in->imm == id_of[G1_ID];

    sums.calls++;
    if ((u32)in->imm == id_of[COPY_ID]) {
        now.copying = true;
        r[0] = copy(r);
        now.copying = false;
    } else {
        now.used_more |= now.weaker && now.weaker->more[now.insn];
        if (!granted.call[k] || (k && !granted.io))
            wrong("call of g%u, which is not granted", k);
        if (r[1] < (u64)(uintptr_t)host || r[1] >= (u64)(uintptr_t)host + used)
            wrong("g%u is handed what is no object", k);
        else if (k && !touch(TN_READ, r[1] + f->bit / 8,
                             f->kind == BITS ? (f->bit % 8 + f->width + 7) / 8 : f->size * f->n))
            wrong("g1 reads where nothing is");
        r[0] = adverse();
    }
    for (u32 a = 1; a <= 5; a++)
        r[a] = adverse();
    return 0;
}

bool watch_helper(const struct tn_helper *helper, u64 *r)
{
    switch (helper->id) {
    case BPF_FUNC_get_current_comm:
        if (!touch(TN_WRITE, r[1], r[2]))
            wrong("a helper writes where nothing is");
        memset((void *)r[1], 'x', r[2]);
        r[0] = 0;
        break;
    case BPF_FUNC_ringbuf_output:
        if (!touch(TN_READ, r[2], r[3]))
            wrong("a helper reads where nothing is");
        r[0] = 0;
        break;
    case BPF_FUNC_probe_read_user:
    case BPF_FUNC_probe_write_user:
        if (!granted.process[helper->id == BPF_FUNC_probe_write_user])
            wrong("an address of the process for helper %u", helper->id);
        r[0] = (u64)-EFAULT;
        break;
    default:
        r[0] = adverse();
        break;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ a pair */

static int weak_access(void *self, const struct tn_access *a, struct tn_error *err)
{
    struct weaker *weaker = self;
    const struct bpf_insn *in = &weaker->p->insn[a->insn];
    /* Places that touch each other are asked for as one. */
    bool several = a->places > 1 || (BPF_CLASS(in->code) != BPF_JMP && a->size > tn_size_bytes(in->code));
    enum weak kind = a->process               ? AN_ADDRESS
                     : !a->btf_id || !a->size ? NOTHING_MORE
                     : a->buffer              ? A_BUFFER
                     : several                ? PLACES
                     : a->kind                ? A_WRITE
                                              : A_READ;
    int r = weaker->real.may_access(weaker->real.self, a, err);

    if (!r || kind != weaker->weak)
        return r;
    weaker->more[a->insn] = true;
    weaker->n++;
    return 0;
}

static int weak_call(void *self, const struct tn_call *call, struct tn_call_facts *facts,
                     struct tn_error *err)
{
    struct weaker *weaker = self;
    int r = weaker->real.may_call(weaker->real.self, call, facts, err);

    if (!r || (weaker->weak != A_CALL && (weaker->weak != AN_ADDRESS || !call->helper_id)))
        return r;
    weaker->more[call->insn] = true;
    weaker->n++;
    return 0;
}

static int weak_offer(void *self, u32 btf_id, struct tn_host_function *ret)
{
    struct weaker *weaker = self;

    return weaker->real.may_offer(weaker->real.self, btf_id, ret);
}

static int weak_answer(void *self, const struct tn_call_answer *answer, struct tn_error *err)
{
    struct weaker *weaker = self;

    return weaker->real.may_answer(weaker->real.self, answer, err);
}

static bool weak_promise(void *self, const struct tn_access *access)
{
    struct weaker *weaker = self;

    return weaker->real.is_promised(weaker->real.self, access);
}

static struct tn_map_geo geos[] = {
    {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
    {.type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096},
};

static bool verify(const struct program *p, const struct tn_authority *auth, struct tn_verdict *v)
{
    const struct tn_verify_map maps[] = {{.geo = geos[0], .name = "value"},
                                         {.geo = geos[1], .name = "events"}};
    const struct bpf_func_info infos[] = {{0, types.program}, {p->second, types.callback}};
    const struct tn_verify_in in = {.insns = p->insn,
                                    .ninsns = p->n,
                                    .prog_type = BPF_PROG_TYPE_TRACING,
                                    .expected_attach_type = BPF_TRACE_FENTRY,
                                    .gpl = true,
                                    .maps = maps,
                                    .nmaps = TN_ARRAY_SIZE(maps),
                                    .btf = types.btf,
                                    .btf_size = types.size,
                                    .func_info = infos,
                                    .func_info_rec_size = sizeof(*infos),
                                    .func_info_cnt = p->second ? 2 : 1,
                                    .host_btf = w.btf,
                                    .process = true,
                                    .copy_btf_id = id_of[COPY_ID],
                                    .attach_btf_id = tn_btf_find(w.btf, BTF_KIND_FUNC, "entry"),
                                    .authority = auth};

    struct tn_error err;

    assert_int_equal(tn_verify(&in, v), 0);
    return v->accepted && !tn_available(&in, v, &err);
}

/* Whatever is different was written by an instruction that was watched: what was not allowed was told there. */
static void run(const struct program *p, const struct tn_verdict *v, struct weaker *weaker)
{
    static struct tn_map map;
    struct tn_map *maps[] = {&map, &map};
    const struct tn_program program = {.insns = p->insn,
                                       .ninsns = p->n,
                                       .maps = geos,
                                       .nmaps = TN_ARRAY_SIZE(geos),
                                       .aux = v->aux,
                                       .subprogs = v->subprogs,
                                       .nsubprogs = v->nsubprogs,
                                       .facts = &v->facts};
    struct tn_run run = {.cpu = -1};
    u64 r0;
    int r;

    fill_host();
    map.base = (u8 *)&now.value;
    now.p = p;
    now.v = v;
    now.weaker = weaker;
    now.run = &run;
    now.used_more = now.copying = false;
    now.wrong[0] = 0;
    now.value = adverse();
    now.ctx[0] = address(of_type[STRUCTS - 1][rnd(INSTANCES)]);
    now.ctx[1] = address(of_type[STRUCTS - 2][rnd(INSTANCES)]);
    r = tn_vm_run(&program, maps, now.ctx, &run, 100000, &r0);
    if (r)
        fail_msg("the run ends with %d at instruction %u, of code %#x, %d", r, now.insn,
                 p->insn[now.insn].code, p->insn[now.insn].imm);
    sums.runs++;
    for (u32 at = 0; at < used; at++) {
        const struct region *o = label[at] ? &regions[label[at] - 1] : NULL;

        if (host[at] == before[at] || (o && o->what == BYTES))
            continue;
        now.copying = true;
        if (!o || !may_touch(TN_WRITE, o, at - o->start))
            wrong("byte %u was changed", at);
    }
}

static void tell(const struct program *p, const char (*texts)[256], u32 n)
{
    for (u32 k = 0; k < n; k++)
        print_error("# - %s\n", texts[k]);
    for (u32 k = 0; k < p->n; k++)
        print_error("#   %u: {%#04x, r%u, r%u, %d, %d}\n", k, p->insn[k].code, p->insn[k].dst_reg,
                    p->insn[k].src_reg, p->insn[k].off, p->insn[k].imm);
}

static struct tn_eim *eim;
static struct tn_bound *bound;

static void next_world(void)
{
    struct tn_error err = {0};

    if (bound) {
        tn_eim_unbind(bound);
        tn_btf_close(w.btf);
    }
    make_world(&w);
    if (tn_eim_bind(eim, "h", w.btf, &bound, &err))
        fail_msg("%s", err.message);
    id_of[COPY_ID] = tn_btf_find(w.btf, BTF_KIND_FUNC, "tenon_copy");
    id_of[G0_ID] = tn_btf_find(w.btf, BTF_KIND_FUNC, "g0");
    id_of[G1_ID] = tn_btf_find(w.btf, BTF_KIND_FUNC, "g1");
    lay_out();
}

/* Some programs under one class. The number of those that were run. */
static u32 some_pairs(u32 programs, struct weaker *weaker, u32 *caught, u32 *used_it)
{
    struct tn_bag bag = {0};
    struct tn_authority auth, asked;
    static char texts[32][256];
    struct tn_asker q;
    u32 n = make_allowed(texts), pairs = 0;

    tn_eim_authority(compile(bound, &bag, texts, n), true, &q, &auth);
    auth.limits.max_path_insns = 0; /* what a class without a limit has: none is under test here */
    asked = auth;
    if (weaker) {
        weaker->real = auth;
        asked.self = weaker;
        asked.may_access = weak_access;
        asked.may_call = weak_call;
        asked.may_offer = weak_offer;
        asked.may_answer = weak_answer;
        asked.is_promised = weak_promise;
    }
    for (u32 k = 0; k < programs; k++) {
        struct tn_verdict v;
        struct program p;

        make_program(&p);
        sums.programs++;
        if (weaker) {
            weaker->n = 0;
            weaker->p = &p;
            memset(weaker->more, 0, sizeof(weaker->more));
        }
        if (verify(&p, &asked, &v) && (!weaker || weaker->n)) {
            bool used_more = false, was_wrong = false;

            u64 did = sums.bytes + sums.helpers + sums.calls;

            for (u32 times = 0; times < 2; times++) {
                run(&p, &v, weaker);
                used_more |= now.used_more;
                was_wrong |= *now.wrong != 0;
                if (!weaker && *now.wrong) {
                    tell(&p, texts, n);
                    fail_msg("instruction %u: %s", now.insn, now.wrong);
                }
            }
            pairs += sums.bytes + sums.helpers + sums.calls > did; /* one that does nothing proves nothing */
            if (weaker) {
                *caught += was_wrong;
                *used_it += used_more;
                if (was_wrong && !used_more)
                    fail_msg("caught is who did nothing: %s", now.wrong);
                if (used_more && !was_wrong &&
                    (weaker->weak == A_READ || weaker->weak == A_WRITE || weaker->weak == A_CALL)) {
                    tell(&p, texts, n);
                    fail_msg("not caught: %s", weaknesses[weaker->weak]);
                }
            }
        } else if (getenv("TN_WHY") && !v.accepted) {
            print_message("# %s\n", v.refusal.message);
        }
        tn_verdict_clear(&v);
    }
    tn_bag_clear(&bag);
    return pairs;
}

#ifdef __SANITIZE_ADDRESS__ /* several times as long */
#define PAIRS 20000u
#else
#define PAIRS 100000u
#endif

static void test_admitted(void **state)
{
    const char *asked = getenv("TN_PAIRS");
    u64 target = asked ? strtoull(asked, NULL, 0) : PAIRS, pairs = 0;

    memset(&sums, 0, sizeof(sums));
    for (u64 k = 0; pairs < target; k++) {
        if (k % 40 == 0)
            next_world();
        pairs += some_pairs(60, NULL, NULL, NULL);
    }
    print_message("# %" PRIu64 " pairs run, of %" PRIu64 " programs; %" PRIu64 " runs: %" PRIu64
                  " loads (%" PRIu64 " careful), %" PRIu64 " stores, %" PRIu64 " copies of buffers, %" PRIu64
                  " helpers, %" PRIu64 " calls; %" PRIu64 " bytes of the host looked at, %" PRIu64
                  " of them of buffers\n",
                  pairs, sums.programs, sums.runs, sums.loads, sums.careful, sums.stores, sums.copies,
                  sums.helpers, sums.calls, sums.bytes, sums.elements);
    assert_true(sums.careful && sums.stores && sums.copies && sums.helpers && sums.calls && sums.elements);
}

static void test_weaker(void **state)
{
    for (enum weak weak = A_READ; weak < WEAKS; weak++) {
        struct weaker weaker = {.weak = weak};
        u32 caught = 0, used_it = 0, pairs = 0;

        for (u32 k = 0; caught < 100; k++) {
            if (k % 20 == 0)
                next_world();
            if (k == 4000)
                fail_msg("%s: %u caught of %u programs, %u of which used it", weaknesses[weak], caught, pairs,
                         used_it);
            pairs += some_pairs(60, &weaker, &caught, &used_it);
        }
        print_message("# %s more: %u caught of %u programs, %u of which used it\n", weaknesses[weak], caught,
                      pairs, used_it);
    }
}

static int begin(void **state)
{
    static const char spec[] = WORLD_SPEC;
    struct tn_eim_source source = {"spec.yaml", spec, sizeof(spec) - 1, NULL, NULL};
    struct tn_error err = {0};

    if (getenv("TN_SEED"))
        seed = strtoull(getenv("TN_SEED"), NULL, 0) * 0x9e3779b97f4a7c15ull | 1;
    types = func_types_make();
    host = mmap(NULL, HOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    before = malloc(HOST);
    if (host == MAP_FAILED || !before || tn_eim_read(&source, 1, NULL, &eim, &err))
        return -1;
    return 0;
}

static int end(void **state)
{
    tn_eim_unbind(bound);
    tn_btf_close(w.btf);
    tn_eim_free(eim);
    munmap(host, HOST);
    free(before);
    free(types.btf);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admitted),
        cmocka_unit_test(test_weaker),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
