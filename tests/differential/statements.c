/* SPDX-License-Identifier: MIT */
/* The grammar of gen.h: one row a kind of statement, one function a row.
   Each leaves beliefs that fit what it wrote. */
#include "tests/differential/gen_int.h"

static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
static const u32 bytes[] = {1, 2, 4, 8};

/* Where a slot is. */
s16 gen_slot_off(u32 slot)
{
    return (s16)(-8 * (s32)(slot + 1));
}

s32 gen_constant(struct gen *g)
{
    static const s32 some[] = {0,  1,  -1, 2,  3,   4,    7,         8,         15, 16,   31,  32,
                               47, 48, 63, 64, 255, 4095, INT32_MAX, INT32_MIN, -8, -512, -64, 0xffff};

    return gen_pick(g, 5) ? some[gen_pick(g, TN_ARRAY_SIZE(some))] : (s32)gen_random(g);
}

static u64 wide_constant(struct gen *g)
{
    static const u64 some[] = {0x8000000000000000ull, 0x7fffffffffffffffull, 0xffffffff00000000ull,
                               0x100000000ull,        0xffffffffull,         0x80000000ull,
                               0x5555555555555555ull, 0xfffffffffffffff0ull};

    return gen_pick(g, 4) ? some[gen_pick(g, TN_ARRAY_SIZE(some))] : gen_random(g);
}

/* A number in some register that is not pinned; makes one where there is none. */
u8 gen_some_number(struct gen *g)
{
    int r = gen_find(g, B_NUM);
    u8 to;

    if (r >= 0)
        return (u8)r;
    to = gen_target(g);
    PUT(MOV(to, gen_constant(g)));
    gen_number(g, to, UINT64_MAX);
    return to;
}

/* A number to be changed: not a pinned one. */
static u8 own_number(struct gen *g)
{
    u8 r = gen_some_number(g), to;

    if (!REG(r).pinned)
        return r;
    to = gen_target(g);
    PUT(MOVX(to, r));
    gen_number(g, to, REG(r).max);
    return to;
}

/* ---------------------------------------------------------------------------------------- numbers */

void say_number(struct gen *g, u32 depth)
{
    u8 r = gen_target(g);
    s32 c = gen_constant(g);

    switch (gen_pick(g, 4)) {
    case 0:
        PUT(MOV32(r, c));
        gen_number(g, r, (u32)c);
        return;
    case 1: {
        u64 v = wide_constant(g);
        const struct bpf_insn two[] = {LD64(r, v)};

        gen_put(g, two[0]);
        gen_put(g, two[1]);
        gen_number(g, r, v);
        return;
    }
    default:
        PUT(MOV(r, c));
        gen_number(g, r, (u64)(s64)c);
    }
}

void say_arithmetic(struct gen *g, u32 depth)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB, BPF_MUL,  BPF_OR,  BPF_AND, BPF_XOR,
                             BPF_LSH, BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV};
    u8 r = own_number(g), op = ops[gen_pick(g, sizeof(ops))];
    u8 class = gen_one_in(g, 3) ? BPF_ALU : BPF_ALU64;
    bool by_register = gen_one_in(g, 3), shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
    s32 c = gen_constant(g);
    s16 off = 0;
    u8 s = by_register ? gen_some_number(g) : 0;

    if (shift && !by_register && !gen_slip(g))
        c = (s32)gen_pick(g, class == BPF_ALU ? 32 : 64);
    if ((op == BPF_DIV || op == BPF_MOD) && !by_register && !c)
        c = 7;
    if ((op == BPF_DIV || op == BPF_MOD) && gen_one_in(g, 3))
        off = 1;
    if (op == BPF_MOV && by_register && gen_one_in(g, 2))
        off = (s16)(8 << gen_pick(g, class == BPF_ALU ? 2 : 3));
    PUT(INSN(class | op | (by_register ? BPF_X : BPF_K), r, s, off, by_register ? 0 : c));
    if (op == BPF_AND && !by_register && c >= 0)
        gen_number(g, r, TN_MIN(REG(r).max, (u64)c));
    else
        gen_number(g, r, class == BPF_ALU ? UINT32_MAX : UINT64_MAX);
}

void say_ends(struct gen *g, u32 depth)
{
    u8 r = own_number(g);

    switch (gen_pick(g, 4)) {
    case 0:
        PUT(INSN(BPF_ALU64 | BPF_NEG, r, 0, 0, 0));
        break;
    case 1:
        PUT(INSN(BPF_ALU | BPF_NEG, r, 0, 0, 0));
        break;
    case 2:
        PUT(INSN(BPF_ALU | BPF_END | (gen_one_in(g, 2) ? BPF_TO_BE : BPF_TO_LE), r, 0, 0,
                 16 << gen_pick(g, 3)));
        break;
    default:
        PUT(INSN(BPF_ALU64 | BPF_END, r, 0, 0, 16 << gen_pick(g, 3)));
    }
    gen_number(g, r, UINT64_MAX);
}

/* A number between 0 and `max`, by modulus, by mask or by a comparison that leaves. */
u8 gen_bounded(struct gen *g, u32 max)
{
    u8 r = own_number(g);
    u32 at, mask = 1;

    while (mask * 2 + 1 <= max)
        mask = mask * 2 + 1;
    if (mask > max)
        mask = 0;
    if (gen_slip(g))
        max = mask = max * 2 + 1;
    switch (gen_pick(g, g->f->held ? 3 : 5)) {
    case 0:
    case 1:
    case 2:
        if (gen_one_in(g, 16)) { /* seldom: Linux 6.18 knows nothing of its result, and has to be told */
            PUT(ALU(BPF_MOD, r, (s32)max + 1));
            break;
        }
        PUT(ALU(BPF_AND, r, (s32)mask));
        max = mask;
        break;
    case 3:
        at = gen_here(g);
        PUT(JMP(BPF_JLE, r, (s32)max, 0));
        PUT(MOV(R0, 0));
        PUT(EXIT);
        gen_land(g, at);
        break;
    default:
        PUT(MOVX32(r, r));
        at = gen_here(g);
        PUT(JMP32(BPF_JLT, r, (s32)max + 1, 0));
        PUT(MOV32(R0, 0));
        PUT(EXIT);
        gen_land(g, at);
    }
    gen_number(g, r, max);
    return r;
}

/* ----------------------------------------------------------------------------------------- memory */

/* Where a pointer may be read and written: [from, to). False: not at all. */
static bool reach(const struct gen *g, const struct gen_value *v, s32 *from, s32 *to)
{
    *from = 0;
    switch (v->kind) {
    case B_VALUE:
        *to = (s32)g->world->map[v->map].value_size;
        return true;
    case B_PACKET:
    case B_RECORD:
    case B_SHARED:
        *to = (s32)v->room;
        return true;
    case B_STACK:
        *from = -8 * (s32)GEN_SLOTS;
        *to = 0;
        return true;
    }
    return false;
}

static int some_memory(struct gen *g)
{
    static const u8 kinds[] = {B_VALUE, B_VALUE, B_PACKET, B_RECORD, B_SHARED};
    int r = -1;

    for (u32 tries = 0; r < 0 && tries < 8; tries++)
        r = gen_find(g, kinds[gen_pick(g, sizeof(kinds))]);
    return r;
}

/* An offset so that `size` bytes from it lie inside for every place the pointer may point to. */
static bool offset_in(struct gen *g, const struct gen_value *v, u32 size, s16 *ret)
{
    s32 from, to, least, most;

    if (!reach(g, v, &from, &to))
        return false;
    least = from - v->lo;
    most = to - (s32)size - v->hi;
    if (most < least)
        return false;
    *ret = (s16)(least + (s32)gen_pick(g, (u32)(most - least) + 1));
    if (gen_pick(g, 3))
        *ret = (s16)TN_MAX(TN_ROUND_DOWN(*ret, (s32)size), least);
    if (gen_slip(g))
        *ret = (s16)(most + 1 + (s32)gen_pick(g, 8));
    return true;
}

static bool writable(const struct gen_value *v)
{
    return v->kind != B_VALUE || (v->map != GEN_RODATA && v->map != GEN_TABLE);
}

static bool over_lock(const struct gen_value *v, s16 off, u32 size)
{
    return v->kind == B_VALUE && v->map == GEN_LOCKED && v->hi + off + (s32)size > 4 && v->lo + off < 8;
}

void say_load(struct gen *g, u32 depth)
{
    int r = some_memory(g);
    u32 z = gen_pick(g, 4);
    u8 to = gen_target(g);
    s16 off;

    if (r < 0 || !offset_in(g, &REG(r), bytes[z], &off) ||
        (over_lock(&REG(r), off, bytes[z]) && !gen_slip(g)))
        return;
    if (z < 3 && gen_one_in(g, 4))
        PUT(LDSX(sizes[z], to, (u8)r, off));
    else
        PUT(LDX(sizes[z], to, (u8)r, off));
    gen_number(g, to, z == 3 ? UINT64_MAX : (1ull << 8 * bytes[z]) - 1);
}

void say_store(struct gen *g, u32 depth)
{
    int r = some_memory(g);
    u32 z = gen_pick(g, 4);
    u8 from = gen_some_number(g);
    s16 off;

    if (r < 0 || !offset_in(g, &REG(r), bytes[z], &off) || (!writable(&REG(r)) && !gen_slip(g)) ||
        (over_lock(&REG(r), off, bytes[z]) && !gen_slip(g)))
        return;
    if (gen_one_in(g, 3))
        PUT(ST(sizes[z], (u8)r, off, gen_constant(g)));
    else
        PUT(STX(sizes[z], (u8)r, off, from));
}

void say_atomic(struct gen *g, u32 depth)
{
    static const s32 ops[] = {
        BPF_ADD, BPF_OR, BPF_AND, BPF_XOR, BPF_ADD | BPF_FETCH, BPF_XOR | BPF_FETCH, BPF_XCHG, BPF_CMPXCHG};
    int r = some_memory(g);
    u32 z = 2 + gen_pick(g, 2);
    s32 op = ops[gen_pick(g, TN_ARRAY_SIZE(ops))];
    u8 from = own_number(g);
    s16 off;

    if (r < 0 || REG(r).kind == B_PACKET || !offset_in(g, &REG(r), bytes[z], &off) || !writable(&REG(r)) ||
        (over_lock(&REG(r), off, bytes[z]) && !gen_slip(g)))
        return;
    if (op == BPF_CMPXCHG && (REG(0).kind != B_NUM || REG(0).pinned))
        op = BPF_XCHG;
    PUT(ATOMIC(sizes[z], (u8)r, (s16)(off & ~(s32)(bytes[z] - 1)), from, op));
    gen_number(g, op == BPF_CMPXCHG ? 0 : from, op & BPF_FETCH ? UINT64_MAX : REG(from).max);
}

void say_move_pointer(struct gen *g, u32 depth)
{
    int r = some_memory(g);
    s32 from, to, room;
    u8 n, dst;

    if (r < 0 || REG(r).kind == B_PACKET || REG(r).kind == B_RECORD || !reach(g, &REG(r), &from, &to) ||
        REG(r).hi + 1 >= to)
        return;
    room = to - REG(r).hi - 1;
    if (gen_one_in(g, 2)) {
        s32 c = (s32)gen_pick(g, (u32)room + 1);

        dst = gen_target(g);
        PUT(MOVX(dst, (u8)r));
        PUT(ADD(dst, c));
        REG(dst) = REG(r);
        REG(dst).lo += c;
        REG(dst).hi += c;
    } else {
        n = gen_bounded(g, gen_pick(g, (u32)room + 1));
        dst = gen_target(g);
        if (dst == n || dst == r)
            return;
        PUT(MOVX(dst, (u8)r));
        PUT(ADDX(dst, n));
        REG(dst) = REG(r);
        REG(dst).hi += (s32)REG(n).max;
    }
    REG(dst).pinned = false;
}

void say_spill(struct gen *g, u32 depth)
{
    u32 k = gen_pick(g, GEN_SLOTS), z;
    struct gen_value *slot = &g->f->now.slot[k];
    u8 r;

    if (slot->pinned)
        return;
    if (gen_one_in(g, 3)) { /* a part only */
        z = gen_pick(g, 3);
        r = gen_some_number(g);
        if (slot->kind != B_NONE && slot->kind != B_NUM)
            return;
        PUT(STX(sizes[z], R10, (s16)(gen_slot_off(k) + (s32)(bytes[z] * gen_pick(g, 8 / bytes[z]))), r));
        slot->max = UINT64_MAX;
        return;
    }
    if (gen_one_in(g, 3)) {
        PUT(ST(BPF_DW, R10, gen_slot_off(k), gen_constant(g)));
        *slot = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
        return;
    }
    r = (u8)gen_pick(g, 10);
    if (REG(r).kind == B_NONE)
        return;
    PUT(STX(BPF_DW, R10, gen_slot_off(k), r));
    *slot = REG(r);
    slot->pinned = false;
}

void say_fill(struct gen *g, u32 depth)
{
    u32 k = gen_pick(g, GEN_SLOTS), z;
    const struct gen_value *slot = &g->f->now.slot[k];
    u8 r = gen_target(g);

    if (slot->kind == B_NONE &&
        !gen_one_in(g, 12)) /* bytes never written: Linux lets privileged programs read them */
        return;
    if (slot->kind == B_NUM && gen_one_in(g, 3)) {
        z = gen_pick(g, 3);
        PUT(LDX(sizes[z], r, R10, (s16)(gen_slot_off(k) + (s32)(bytes[z] * gen_pick(g, 8 / bytes[z])))));
        gen_number(g, r, (1ull << 8 * bytes[z]) - 1);
        return;
    }
    PUT(LDX(BPF_DW, r, R10, gen_slot_off(k)));
    REG(r) = slot->kind == B_NONE ? (struct gen_value){.kind = B_NUM, .max = UINT64_MAX} : *slot;
    REG(r).pinned = false;
}

/* The frame at an unknown offset, read only. */
void say_stack_anywhere(struct gen *g, u32 depth)
{
    u32 k;
    u8 n, r;

    for (k = 0; k < 4; k++) {
        if (g->f->now.slot[k].pinned || (g->f->now.slot[k].kind != B_NUM && g->f->now.slot[k].kind != B_NONE))
            return;
        PUT(ST(BPF_DW, R10, gen_slot_off(k), gen_constant(g)));
        g->f->now.slot[k] = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
    }
    n = gen_bounded(g, 3);
    r = gen_target(g);
    if (r == n)
        return;
    PUT(ALU(BPF_LSH, n, 3));
    PUT(MOVX(r, R10));
    PUT(ADDX(r, n));
    if (gen_one_in(g, 3))
        PUT(STX(BPF_DW, r, -32, n));
    PUT(LDX(BPF_DW, r, r, -32));
    gen_number(g, r, UINT64_MAX);
    gen_number(g, n, 24);
}

void say_context(struct gen *g, u32 depth)
{
    static const struct {
        u32 type;
        s16 off;
        u8 size;
    } rows[] = {
        {BPF_PROG_TYPE_SOCKET_FILTER, 0, 2},  {BPF_PROG_TYPE_SOCKET_FILTER, 16, 2},
        {BPF_PROG_TYPE_SOCKET_FILTER, 48, 2}, {BPF_PROG_TYPE_SOCKET_FILTER, 64, 2},
        {BPF_PROG_TYPE_SCHED_CLS, 0, 2},      {BPF_PROG_TYPE_SCHED_CLS, 8, 2},
        {BPF_PROG_TYPE_SCHED_CLS, 16, 1},     {BPF_PROG_TYPE_SCHED_CLS, 56, 2},
        {BPF_PROG_TYPE_SCHED_CLS, 144, 3},    {BPF_PROG_TYPE_XDP, 12, 2},
        {BPF_PROG_TYPE_XDP, 16, 2},           {BPF_PROG_TYPE_KPROBE, 0, 3},
        {BPF_PROG_TYPE_KPROBE, 112, 3},       {BPF_PROG_TYPE_KPROBE, 160, 3},
        {BPF_PROG_TYPE_KPROBE, 96, 2},        {BPF_PROG_TYPE_TRACEPOINT, 8, 3},
        {BPF_PROG_TYPE_TRACEPOINT, 20, 2},    {BPF_PROG_TYPE_TRACEPOINT, 64, 0},
        {BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 3}, {BPF_PROG_TYPE_RAW_TRACEPOINT, 16, 3},
        {BPF_PROG_TYPE_PERF_EVENT, 0, 3},     {BPF_PROG_TYPE_PERF_EVENT, 168, 3},
        {BPF_PROG_TYPE_SYSCALL, 0, 3},        {BPF_PROG_TYPE_SYSCALL, 40, 2},
    };
    int ctx = gen_find(g, B_CTX);
    u8 r = gen_target(g);
    u32 k;

    if (ctx < 0)
        return;
    if (g->hook) {
        u32 n = g->hook->nargs + (g->attach_type == BPF_TRACE_FEXIT || gen_slip(g)), arg = gen_pick(g, n);

        if (!n)
            return;
        PUT(LDX(BPF_DW, r, (u8)ctx, (s16)(8 * arg)));
        gen_number(g, r, UINT64_MAX);
        if (g->hook->arg[arg])
            REG(r) = (struct gen_value){.kind = B_TYPED, .room = g->hook->arg[arg]};
        return;
    }
    for (u32 tries = 0; tries < 24; tries++) {
        k = gen_pick(g, TN_ARRAY_SIZE(rows));
        if (rows[k].type != g->type)
            continue;
        if (gen_slip(g)) {
            PUT(LDX(sizes[gen_pick(g, 4)], r, (u8)ctx, (s16)gen_pick(g, 256)));
        } else if ((g->type == BPF_PROG_TYPE_SCHED_CLS && rows[k].off == 8) ||
                   g->type == BPF_PROG_TYPE_SYSCALL) {
            PUT(STX(sizes[rows[k].size], (u8)ctx, rows[k].off, gen_some_number(g)));
            return;
        } else {
            PUT(LDX(sizes[rows[k].size], r, (u8)ctx, rows[k].off));
        }
        gen_number(g, r, rows[k].size == 3 ? UINT64_MAX : UINT32_MAX);
        return;
    }
}

/* From a struct of the host's to one of its members. */
void say_walk(struct gen *g, u32 depth)
{
    int from = gen_find(g, B_TYPED);
    u32 off, size, to, z = 3;
    u8 r = gen_target(g);

    if (from < 0 || !gen_member(g->world, REG(from).room, gen_random(g) >> 5, &off, &size, &to))
        return;
    while (bytes[z] > size)
        z--;
    if (gen_slip(g))
        off += gen_pick(g, 16);
    if (gen_slip(g)) {
        PUT(STX(sizes[z], (u8)from, (s16)off, gen_some_number(g)));
        return;
    }
    if (gen_one_in(g, 3)) /* may be NULL or not, as its type says: sometimes asked */
        PUT(JMP(BPF_JEQ, (u8)from, 0, 1));
    PUT(LDX(sizes[z], r, (u8)from, (s16)off));
    if (g->f->insn[g->f->n - 2].code == (BPF_JMP | BPF_JEQ | BPF_K)) {
        REG(r) = (struct gen_value){0}; /* on the other way it is what it was */
        return;
    }
    gen_number(g, r, UINT64_MAX);
    if (to)
        REG(r) = (struct gen_value){.kind = B_TYPED, .room = to};
}

static const struct {
    u32 weight;
    void (*say)(struct gen *g, u32 depth);
} statements[] = {
#define S(weight, name) {weight, say_##name},
    GEN_STATEMENTS(S)
#undef S
};

void gen_statement(struct gen *g, u32 depth)
{
    u32 sum = 0, at;

    for (size_t k = 0; k < TN_ARRAY_SIZE(statements); k++)
        sum += statements[k].weight;
    at = gen_pick(g, sum);
    for (size_t k = 0; k < TN_ARRAY_SIZE(statements); k++) {
        if (at < statements[k].weight) {
            statements[k].say(g, depth);
            return;
        }
        at -= statements[k].weight;
    }
}
