/* SPDX-License-Identifier: MIT */
/* The grammar of gen.h: one row a kind of statement, one function a row. Each leaves beliefs that fit what it
 * wrote. */
#include "tests/differential/gen_int.h"

#define PUT(...) gen_put(g, (struct bpf_insn)__VA_ARGS__)
#define REG(r)   (g->f->now.reg[r])

static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
static const u32 bytes[] = {1, 2, 4, 8};

/* Where a slot is. */
static s16 slot_off(u32 slot)
{
    return (s16)(-8 * (s32)(slot + 1));
}

static s32 constant(struct gen *g)
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
static u8 some_number(struct gen *g)
{
    int r = gen_find(g, B_NUM);
    u8 to;

    if (r >= 0)
        return (u8)r;
    to = gen_target(g);
    PUT(MOV(to, constant(g)));
    gen_number(g, to, UINT64_MAX);
    return to;
}

/* A number to be changed: not a pinned one. */
static u8 own_number(struct gen *g)
{
    u8 r = some_number(g), to;

    if (!REG(r).pinned)
        return r;
    to = gen_target(g);
    PUT(MOVX(to, r));
    gen_number(g, to, REG(r).max);
    return to;
}

/* ---------------------------------------------------------------------------------------- numbers */

static void say_number(struct gen *g, u32 depth)
{
    u8 r = gen_target(g);
    s32 c = constant(g);

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

static void say_arithmetic(struct gen *g, u32 depth)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB, BPF_MUL,  BPF_OR,  BPF_AND, BPF_XOR,
                             BPF_LSH, BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV};
    u8 r = own_number(g), op = ops[gen_pick(g, sizeof(ops))];
    u8 class = gen_one_in(g, 3) ? BPF_ALU : BPF_ALU64;
    bool by_register = gen_one_in(g, 3), shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
    s32 c = constant(g);
    s16 off = 0;
    u8 s = by_register ? some_number(g) : 0;

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

static void say_ends(struct gen *g, u32 depth)
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

/* A number between 0 and `max`, by mask, by modulus or by a comparison that leaves. */
static u8 bounded(struct gen *g, u32 max)
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
    case 2: /* no modulus: since 6.18 Linux knows nothing of its result */
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
    return v->kind != B_VALUE || v->map != GEN_RODATA;
}

static bool over_lock(const struct gen_value *v, s16 off, u32 size)
{
    return v->kind == B_VALUE && v->map == GEN_LOCKED && v->hi + off + (s32)size > 4 && v->lo + off < 8;
}

static void say_load(struct gen *g, u32 depth)
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

static void say_store(struct gen *g, u32 depth)
{
    int r = some_memory(g);
    u32 z = gen_pick(g, 4);
    u8 from = some_number(g);
    s16 off;

    if (r < 0 || !offset_in(g, &REG(r), bytes[z], &off) || (!writable(&REG(r)) && !gen_slip(g)) ||
        (over_lock(&REG(r), off, bytes[z]) && !gen_slip(g)))
        return;
    if (gen_one_in(g, 3))
        PUT(ST(sizes[z], (u8)r, off, constant(g)));
    else
        PUT(STX(sizes[z], (u8)r, off, from));
}

static void say_atomic(struct gen *g, u32 depth)
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

static void say_move_pointer(struct gen *g, u32 depth)
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
        n = bounded(g, gen_pick(g, (u32)room + 1));
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

static void say_spill(struct gen *g, u32 depth)
{
    u32 k = gen_pick(g, GEN_SLOTS), z;
    struct gen_value *slot = &g->f->now.slot[k];
    u8 r;

    if (slot->pinned)
        return;
    if (gen_one_in(g, 3)) { /* a part only */
        z = gen_pick(g, 3);
        r = some_number(g);
        if (slot->kind != B_NONE && slot->kind != B_NUM)
            return;
        PUT(STX(sizes[z], R10, (s16)(slot_off(k) + (s32)(bytes[z] * gen_pick(g, 8 / bytes[z]))), r));
        slot->max = UINT64_MAX;
        return;
    }
    if (gen_one_in(g, 3)) {
        PUT(ST(BPF_DW, R10, slot_off(k), constant(g)));
        *slot = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
        return;
    }
    r = (u8)gen_pick(g, 10);
    if (REG(r).kind == B_NONE)
        return;
    PUT(STX(BPF_DW, R10, slot_off(k), r));
    *slot = REG(r);
    slot->pinned = false;
}

static void say_fill(struct gen *g, u32 depth)
{
    u32 k = gen_pick(g, GEN_SLOTS), z;
    const struct gen_value *slot = &g->f->now.slot[k];
    u8 r = gen_target(g);

    if (slot->kind == B_NONE &&
        !gen_one_in(g, 12)) /* bytes never written: Linux lets privileged programs read them */
        return;
    if (slot->kind == B_NUM && gen_one_in(g, 3)) {
        z = gen_pick(g, 3);
        PUT(LDX(sizes[z], r, R10, (s16)(slot_off(k) + (s32)(bytes[z] * gen_pick(g, 8 / bytes[z])))));
        gen_number(g, r, (1ull << 8 * bytes[z]) - 1);
        return;
    }
    PUT(LDX(BPF_DW, r, R10, slot_off(k)));
    REG(r) = slot->kind == B_NONE ? (struct gen_value){.kind = B_NUM, .max = UINT64_MAX} : *slot;
    REG(r).pinned = false;
}

/* The frame at an unknown offset, read only. */
static void say_stack_anywhere(struct gen *g, u32 depth)
{
    u32 k;
    u8 n, r;

    for (k = 0; k < 4; k++) {
        if (g->f->now.slot[k].pinned || (g->f->now.slot[k].kind != B_NUM && g->f->now.slot[k].kind != B_NONE))
            return;
        PUT(ST(BPF_DW, R10, slot_off(k), constant(g)));
        g->f->now.slot[k] = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
    }
    n = bounded(g, 3);
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

static void say_context(struct gen *g, u32 depth)
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
    for (u32 tries = 0; tries < 24; tries++) {
        k = gen_pick(g, TN_ARRAY_SIZE(rows));
        if (rows[k].type != g->type)
            continue;
        if (gen_slip(g)) {
            PUT(LDX(sizes[gen_pick(g, 4)], r, (u8)ctx, (s16)gen_pick(g, 256)));
        } else if ((g->type == BPF_PROG_TYPE_SCHED_CLS && rows[k].off == 8) ||
                   g->type == BPF_PROG_TYPE_SYSCALL) {
            PUT(STX(sizes[rows[k].size], (u8)ctx, rows[k].off, some_number(g)));
            return;
        } else {
            PUT(LDX(sizes[rows[k].size], r, (u8)ctx, rows[k].off));
        }
        gen_number(g, r, rows[k].size == 3 ? UINT64_MAX : UINT32_MAX);
        return;
    }
}

/* ------------------------------------------------------------------------------------------ ways */

/* A comparison that says something: its target is patched by the caller. Bounds on the way that does not
 * jump. */
static u32 comparison(struct gen *g)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    u8 r = some_number(g), op = ops[gen_pick(g, sizeof(ops))], s = some_number(g);
    u8 class = gen_one_in(g, 3) ? BPF_JMP32 : BPF_JMP;
    s32 c = constant(g);
    u32 at = gen_here(g);

    if (gen_one_in(g, 4)) {
        PUT(INSN(class | op | BPF_X, r, s, 0, 0));
    } else {
        PUT(INSN(class | op | BPF_K, r, 0, 0, c));
        if (class == BPF_JMP && c >= 0 && (op == BPF_JGT || op == BPF_JGE))
            REG(r).max = TN_MIN(REG(r).max, (u64)c);
    }
    return at;
}

static void say_if(struct gen *g, u32 depth)
{
    struct gen_state before, then;
    u32 at, over;

    if (depth > 3)
        return;
    before = g->f->now;
    at = comparison(g);
    before = g->f->now; /* numbers may have been made for the comparison */
    for (u32 r = 0; r < 10; r++)
        if (before.reg[r].kind == B_NUM)
            before.reg[r].max = UINT64_MAX;
    gen_block(g, 1 + gen_pick(g, 4), depth + 1);
    if (gen_one_in(g, 3)) {
        gen_land(g, at);
        gen_join(&g->f->now, &before);
        return;
    }
    over = gen_here(g);
    PUT(JA(0));
    gen_land(g, at);
    then = g->f->now;
    g->f->now = before;
    gen_block(g, 1 + gen_pick(g, 4), depth + 1);
    PUT(MOV(gen_target(g), 0));
    if (g->f->n && g->f->insn[g->f->n - 1].code == (BPF_ALU64 | BPF_MOV | BPF_K))
        gen_number(g, g->f->insn[g->f->n - 1].dst_reg, 0);
    gen_land(g, over);
    gen_join(&g->f->now, &then);
}

static void say_leave(struct gen *g, u32 depth)
{
    u32 at;

    if (g->f->held && !gen_slip(g))
        return;
    at = comparison(g);
    PUT(MOV(R0, (s32)gen_pick(g, 2)));
    PUT(EXIT);
    gen_land(g, at);
    for (u32 r = 0; r < 10; r++)
        if (REG(r).kind == B_NUM)
            REG(r).max = UINT64_MAX;
}

/* What a loop's body finds at its head it must leave there: numbers of unknown size, pointers untouched. */
static struct gen_state loop_head(struct gen *g)
{
    struct gen_state *s = &g->f->now, outside = *s;

    for (u32 r = 0; r < 10; r++) {
        if (s->reg[r].kind == B_NUM)
            s->reg[r].max = UINT64_MAX;
        else if (s->reg[r].kind != B_NONE)
            s->reg[r].pinned = true;
    }
    for (u32 k = 0; k < GEN_SLOTS; k++) {
        if (s->slot[k].kind == B_NUM)
            s->slot[k].max = UINT64_MAX;
        else if (s->slot[k].kind != B_NONE)
            s->slot[k].pinned = true;
    }
    return outside;
}

static void loop_tail(struct gen *g, const struct gen_state *outside)
{
    struct gen_state *s = &g->f->now;

    if (!s->dead) {
        for (u8 r = 0; r < 10; r++)
            if (outside->reg[r].kind == B_NUM && s->reg[r].kind != B_NUM && !outside->reg[r].pinned)
                PUT(MOV(r, 0));
        for (u32 k = 0; k < GEN_SLOTS; k++)
            if (outside->slot[k].kind == B_NUM && s->slot[k].kind != B_NUM)
                PUT(ST(BPF_DW, R10, slot_off(k), 0));
    }
}

static void loop_after(struct gen *g, const struct gen_state *outside)
{
    struct gen_state *s = &g->f->now;

    *s = *outside;
    for (u32 r = 0; r < 10; r++)
        if (s->reg[r].kind == B_NUM)
            s->reg[r].max = UINT64_MAX;
    for (u32 k = 0; k < GEN_SLOTS; k++)
        if (s->slot[k].kind == B_NUM)
            s->slot[k].max = UINT64_MAX;
}

/* A counter in a register, up or down, with a bound that is a constant or a checked number. */
static void say_loop(struct gen *g, u32 depth)
{
    u8 counter = (u8)(R7 + gen_pick(g, 3)), limit = 0;
    s32 rounds = 1 + (s32)gen_pick(g, gen_one_in(g, 4) ? 200 : 8);
    bool down = gen_one_in(g, 3), by_register = !down && gen_one_in(g, 3);
    struct gen_state outside;
    u32 head;

    if (depth > 2 || REG(counter).pinned || g->f->now.dead)
        return;
    if (by_register) {
        limit = bounded(g, (u32)rounds);
        if (limit == counter || REG(limit).pinned)
            return;
        REG(limit).pinned = true;
    }
    PUT(MOV(counter, down ? rounds : 0));
    gen_number(g, counter, 1000);
    outside = loop_head(g);
    REG(counter).pinned = true;
    if (by_register)
        REG(limit).pinned = true;
    head = gen_here(g);
    gen_block(g, 1 + gen_pick(g, 3), depth + 1);
    loop_tail(g, &outside);
    if (!g->f->now.dead) {
        if (!gen_slip(g))
            PUT(ADD(counter, down ? -1 : 1));
        if (by_register)
            PUT(JMPX(BPF_JLT, counter, limit, (s16)((s32)head - (s32)gen_here(g) - 1)));
        else
            PUT(JMP(down ? BPF_JSGT : BPF_JLT, counter, down ? 0 : rounds,
                    (s16)((s32)head - (s32)gen_here(g) - 1)));
    }
    loop_after(g, &outside);
    if (by_register)
        REG(limit).pinned = false;
    REG(counter).pinned = false;
}

static void say_may_goto(struct gen *g, u32 depth)
{
    struct gen_state outside;
    u32 head;

    if (depth > 1 || g->f->now.dead)
        return;
    outside = loop_head(g);
    head = gen_here(g);
    PUT(INSN(BPF_JMP | 0xe0, 0, 0, 0, 0)); /* BPF_JCOND */
    gen_block(g, 1 + gen_pick(g, 3), depth + 1);
    loop_tail(g, &outside);
    PUT(JA((s16)((s32)head - (s32)gen_here(g) - 1)));
    gen_land(g, head);
    loop_after(g, &outside);
}

/* Iterator over numbers: new, next until NULL, destroy. */
static void say_iterator(struct gen *g, u32 depth)
{
    const struct gen_kfuncs *kf = &g->world->kfuncs;
    u32 k = gen_pick(g, GEN_SLOTS), head, out;
    struct gen_state outside;

    if (depth > 1 || !kf->iter_new || g->f->now.slot[k].pinned || REG(1).pinned || REG(2).pinned ||
        REG(3).pinned || REG(0).pinned)
        return;
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, slot_off(k)));
    PUT(MOV(R2, 0));
    PUT(MOV(R3, 1 + (s32)gen_pick(g, 100)));
    PUT(INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)kf->iter_new));
    gen_after_call(g);
    g->f->now.slot[k] = (struct gen_value){.kind = B_NONE, .pinned = true};
    g->f->held++;
    for (u8 r = 0; r < 6; r++)
        g->f->now.reg[r] = (struct gen_value){0};
    outside = loop_head(g);
    head = gen_here(g);
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, slot_off(k)));
    PUT(INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)kf->iter_next));
    gen_after_call(g);
    out = gen_here(g);
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    PUT(LDX(BPF_W, R1, R0, 0));
    gen_number(g, 0, UINT64_MAX);
    g->f->now.reg[0] = (struct gen_value){0};
    gen_number(g, 1, UINT32_MAX);
    gen_block(g, 1 + gen_pick(g, 3), depth + 1);
    loop_tail(g, &outside);
    PUT(JA((s16)((s32)head - (s32)gen_here(g) - 1)));
    gen_land(g, out);
    loop_after(g, &outside);
    if (!gen_slip(g)) {
        PUT(MOVX(R1, R10));
        PUT(ADD(R1, slot_off(k)));
        PUT(INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)kf->iter_destroy));
    }
    gen_after_call(g);
    g->f->now.reg[0] = (struct gen_value){0};
    g->f->now.slot[k] = (struct gen_value){0};
    g->f->held--;
}

/* ----------------------------------------------------------------------------------------- calls */

/* r1 … r5 and r0 are about to be overwritten. */
static bool call_possible(const struct gen *g)
{
    for (u32 r = 0; r <= 5; r++)
        if (REG(r).pinned)
            return false;
    return true;
}

/* `size` bytes of the frame, written; their offset. 0: there is no room. */
static s16 buffer(struct gen *g, u32 size)
{
    u32 n = (size + 7) / 8, first = gen_pick(g, GEN_SLOTS - n + 1);

    for (u32 k = first; k < first + n; k++)
        if (g->f->now.slot[k].pinned)
            return 0;
    for (u32 k = first; k < first + n; k++) {
        if (g->f->now.slot[k].kind != B_NUM && !gen_slip(g))
            PUT(ST(BPF_DW, R10, slot_off(k), (s32)gen_pick(g, 4)));
        g->f->now.slot[k] = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
    }
    return slot_off(first + n - 1);
}

static bool point_at(struct gen *g, u8 reg, u32 size)
{
    s16 off = buffer(g, size);

    if (!off)
        return false;
    PUT(MOVX(reg, R10));
    PUT(ADD(reg, off));
    return true;
}

static const u8 looked_up[] = {GEN_ARRAY, GEN_HASH, GEN_PERCPU, GEN_LRU, GEN_RODATA, GEN_LOCKED, GEN_ARRAY};

static void after_null_check(struct gen *g, u32 at, struct gen_state *otherwise)
{
    gen_land(g, at);
    for (u32 r = 0; r < 10; r++)
        if (otherwise->reg[r].kind == B_VALUE || otherwise->reg[r].kind == B_NUM)
            otherwise->reg[r].pinned = g->f->now.reg[r].pinned;
    gen_join(&g->f->now, otherwise);
}

static void say_lookup(struct gen *g, u32 depth)
{
    u32 map = looked_up[gen_pick(g, sizeof(looked_up))], at;
    struct gen_state otherwise;
    u8 keep = (u8)(R7 + gen_pick(g, 3));

    if (!call_possible(g) || depth > 3 || !point_at(g, R2, g->world->map[map].key_size))
        return;
    gen_load_map(g, R1, map);
    PUT(CALL(BPF_FUNC_map_lookup_elem));
    gen_after_call(g);
    otherwise = g->f->now;
    at = gen_here(g);
    if (!gen_slip(g))
        PUT(JMP(BPF_JEQ, R0, 0, 0));
    else
        at = UINT32_MAX;
    REG(0) = (struct gen_value){.kind = B_VALUE, .map = (u8)map};
    if (!REG(keep).pinned && gen_one_in(g, 2)) {
        PUT(MOVX(keep, R0));
        REG(keep) = REG(0);
    }
    gen_block(g, 1 + gen_pick(g, 5), depth + 1);
    after_null_check(g, at, &otherwise);
}

/* The way that leaves when there is nothing: the value stays usable behind it. */
static void say_lookup_or_leave(struct gen *g, u32 depth)
{
    u32 map = looked_up[gen_pick(g, sizeof(looked_up))], at;
    u8 keep = (u8)(R7 + gen_pick(g, 3));

    if (!call_possible(g) || g->f->held || !point_at(g, R2, g->world->map[map].key_size))
        return;
    gen_load_map(g, R1, map);
    PUT(CALL(BPF_FUNC_map_lookup_elem));
    gen_after_call(g);
    at = gen_here(g);
    PUT(JMP(BPF_JNE, R0, 0, 0));
    PUT(MOV(R0, 0));
    PUT(EXIT);
    gen_land(g, at);
    REG(0) = (struct gen_value){.kind = B_VALUE, .map = (u8)map};
    if (!REG(keep).pinned) {
        PUT(MOVX(keep, R0));
        REG(keep) = REG(0);
    }
}

static void say_nested(struct gen *g, u32 depth)
{
    struct gen_state otherwise;
    u32 at, at2;

    if (!call_possible(g) || depth > 3 || !point_at(g, R2, 4))
        return;
    gen_load_map(g, R1, GEN_NESTED);
    PUT(CALL(BPF_FUNC_map_lookup_elem));
    gen_after_call(g);
    otherwise = g->f->now;
    at = gen_here(g);
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    PUT(MOVX(R1, R0));
    if (point_at(g, R2, 4))
        PUT(CALL(BPF_FUNC_map_lookup_elem));
    gen_after_call(g);
    at2 = gen_here(g);
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    REG(0) = (struct gen_value){.kind = B_VALUE, .map = GEN_INNER};
    gen_block(g, 1 + gen_pick(g, 3), depth + 1);
    gen_land(g, at2);
    after_null_check(g, at, &otherwise);
}

static void say_map_change(struct gen *g, u32 depth)
{
    static const u8 maps[] = {GEN_ARRAY, GEN_HASH,   GEN_LRU,    GEN_PERCPU,
                              GEN_QUEUE, GEN_NESTED, GEN_RODATA, GEN_RINGBUF};
    u32 map = maps[gen_pick(g, gen_slip(g) ? 8 : 4)];
    const struct rec_map *m = &g->world->map[map];

    if (!call_possible(g))
        return;
    if (gen_one_in(g, 5)) {
        if (!point_at(g, R2, 16))
            return;
        gen_load_map(g, R1, GEN_QUEUE);
        PUT(MOV(R3, 0));
        PUT(CALL(BPF_FUNC_map_push_elem + (s32)gen_pick(g, 3)));
    } else if (gen_one_in(g, 3)) {
        if (!point_at(g, R2, TN_MAX(m->key_size, 4u)))
            return;
        gen_load_map(g, R1, map);
        PUT(CALL(BPF_FUNC_map_delete_elem));
    } else {
        if (!point_at(g, R2, TN_MAX(m->key_size, 4u)) || !point_at(g, R3, TN_MAX(m->value_size, 4u)))
            return;
        gen_load_map(g, R1, map);
        PUT(MOV(R4, 0));
        PUT(CALL(BPF_FUNC_map_update_elem));
    }
    gen_after_call(g);
}

static void say_helper(struct gen *g, u32 depth)
{
    static const s32 plain[] = {BPF_FUNC_get_prandom_u32,      BPF_FUNC_ktime_get_ns,
                                BPF_FUNC_get_smp_processor_id, BPF_FUNC_jiffies64,
                                BPF_FUNC_get_current_pid_tgid, BPF_FUNC_get_numa_node_id,
                                BPF_FUNC_ktime_get_boot_ns};
    u32 size = 1 + gen_pick(g, 40);

    if (!call_possible(g))
        return;
    switch (gen_pick(g, 8)) {
    case 0: /* memory of unknown size */
        if (!point_at(g, R1, 32))
            return;
        if (REG(9).kind == B_NUM) {
            PUT(MOVX(R2, R9));
            if (!gen_slip(g))
                PUT(ALU(BPF_AND, R2, 31));
        } else {
            PUT(MOV(R2, (s32)gen_pick(g, 33)));
        }
        PUT(MOV(R3, 0));
        PUT(CALL(BPF_FUNC_probe_read_kernel));
        break;
    case 1:
        if (!point_at(g, R1, size))
            return;
        PUT(MOV(R2, (s32)(gen_slip(g) ? size + 64 : size)));
        PUT(CALL(BPF_FUNC_get_current_comm));
        break;
    case 2:
        if (!point_at(g, R1, 8))
            return;
        PUT(MOV(R2, 8));
        PUT(MOV(R3, 1));
        PUT(CALL(BPF_FUNC_trace_printk));
        break;
    case 3:
        if (gen_find(g, B_CTX) != 6 || !point_at(g, R4, size))
            return;
        PUT(MOVX(R1, R6));
        gen_load_map(g, R2, GEN_EVENTS);
        PUT(MOV(R3, -1));
        PUT(MOV(R5, (s32)size));
        PUT(CALL(BPF_FUNC_perf_event_output));
        break;
    case 4:
        if (gen_find(g, B_CTX) != 6 || g->f->held)
            return;
        PUT(MOVX(R1, R6));
        gen_load_map(g, R2, GEN_PROGS);
        PUT(MOV(R3, (s32)gen_pick(g, 3)));
        PUT(CALL(BPF_FUNC_tail_call));
        break;
    default:
        PUT(CALL(plain[gen_pick(g, TN_ARRAY_SIZE(plain))]));
    }
    gen_after_call(g);
}

static void say_ringbuf(struct gen *g, u32 depth)
{
    u8 keep = (u8)(R7 + gen_pick(g, 3));
    u32 size = 8 * (1 + gen_pick(g, 6)), at;
    struct gen_state otherwise;
    bool was;

    if (!call_possible(g) || REG(keep).pinned || depth > 2)
        return;
    if (gen_one_in(g, 4)) {
        if (!point_at(g, R2, size))
            return;
        gen_load_map(g, R1, GEN_RINGBUF);
        PUT(MOV(R3, (s32)size));
        PUT(MOV(R4, 0));
        PUT(CALL(BPF_FUNC_ringbuf_output));
        gen_after_call(g);
        return;
    }
    gen_load_map(g, R1, GEN_RINGBUF);
    PUT(MOV(R2, (s32)size));
    PUT(MOV(R3, 0));
    PUT(CALL(BPF_FUNC_ringbuf_reserve));
    gen_after_call(g);
    otherwise = g->f->now;
    at = gen_here(g);
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    PUT(MOVX(keep, R0));
    REG(keep) = (struct gen_value){.kind = B_RECORD, .room = size};
    was = REG(keep).pinned;
    REG(keep).pinned = true;
    REG(0) = (struct gen_value){0};
    g->f->held++;
    gen_block(g, gen_pick(g, 5), depth + 1);
    g->f->held--;
    REG(keep).pinned = was;
    if (!gen_slip(g)) {
        PUT(MOVX(R1, keep));
        PUT(MOV(R2, 0));
        PUT(CALL(gen_one_in(g, 3) ? BPF_FUNC_ringbuf_discard : BPF_FUNC_ringbuf_submit));
    }
    gen_after_call(g);
    REG(0) = (struct gen_value){0};
    for (u32 r = 6; r < 10; r++)
        if (REG(r).kind == B_RECORD && !REG(r).pinned)
            REG(r) = (struct gen_value){0};
    for (u32 k = 0; k < GEN_SLOTS; k++)
        if (g->f->now.slot[k].kind == B_RECORD)
            g->f->now.slot[k] = (struct gen_value){0};
    after_null_check(g, at, &otherwise);
    if (REG(keep).kind != B_NONE && otherwise.reg[keep].kind == B_NONE)
        REG(keep) = (struct gen_value){0};
}

static void say_lock(struct gen *g, u32 depth)
{
    u32 at;

    if (!call_possible(g) || g->f->held || g->f->level || REG(9).pinned || g->type == BPF_PROG_TYPE_KPROBE ||
        g->type == BPF_PROG_TYPE_TRACEPOINT || g->type == BPF_PROG_TYPE_RAW_TRACEPOINT ||
        g->type == BPF_PROG_TYPE_PERF_EVENT || g->type == BPF_PROG_TYPE_SOCKET_FILTER || !point_at(g, R2, 4))
        return;
    gen_load_map(g, R1, GEN_LOCKED);
    PUT(CALL(BPF_FUNC_map_lookup_elem));
    gen_after_call(g);
    at = gen_here(g);
    PUT(JMP(BPF_JNE, R0, 0, 0));
    PUT(MOV(R0, 0));
    PUT(EXIT);
    gen_land(g, at);
    PUT(MOVX(R9, R0));
    PUT(MOVX(R1, R0));
    PUT(ADD(R1, gen_slip(g) ? 8 : 4));
    PUT(CALL(BPF_FUNC_spin_lock));
    gen_after_call(g);
    PUT(LDX(BPF_DW, R1, R9, 8));
    PUT(ADD(R1, 1));
    PUT(STX(BPF_DW, R9, 8, R1));
    PUT(MOVX(R1, R9));
    PUT(ADD(R1, 4));
    if (!gen_slip(g))
        PUT(CALL(BPF_FUNC_spin_unlock));
    gen_after_call(g);
    REG(0) = (struct gen_value){0};
    REG(9) = (struct gen_value){.kind = B_VALUE, .map = GEN_LOCKED};
}

/* data and data_end, a comparison, then the packet. */
static void say_packet(struct gen *g, u32 depth)
{
    bool xdp = g->type == BPF_PROG_TYPE_XDP;
    u8 data = (u8)gen_pick(g, 6), end, probe;
    struct gen_state otherwise;
    u32 room = 1 + gen_pick(g, 64), at, shape = gen_pick(g, 4);
    s32 shift = 0;

    if ((!xdp && g->type != BPF_PROG_TYPE_SCHED_CLS) || depth > 3 || REG(6).kind != B_CTX ||
        !call_possible(g))
        return;
    end = (u8)((data + 1) % 6);
    probe = (u8)((data + 2) % 6);
    PUT(LDX(BPF_W, data, R6, xdp ? 0 : 76));
    PUT(LDX(BPF_W, end, R6, xdp ? 4 : 80));
    for (u8 r = 0; r < 6; r++)
        if (r == data || r == end || r == probe)
            REG(r) = (struct gen_value){0};
    if (gen_one_in(g, 4) && REG(9).kind == B_NUM &&
        !REG(9).pinned) { /* a packet pointer moved by what is not known */
        PUT(ALU(BPF_AND, R9, 63));
        gen_number(g, R9, 63);
        PUT(ADDX(data, R9));
    } else if (gen_one_in(g, 4)) {
        shift = (s32)gen_pick(g, 16);
        PUT(ADD(data, shift));
    }
    PUT(MOVX(probe, data));
    PUT(ADD(probe, (s32)room));
    at = gen_here(g);
    switch (shape) {
    case 0:
        PUT(JMPX(BPF_JGT, probe, end, 0));
        break;
    case 1:
        PUT(JMPX(BPF_JLT, end, probe, 0));
        break;
    case 2:
        PUT(JMPX(BPF_JGE, probe, end, 0));
        break;
    default:
        PUT(JMPX(BPF_JLE, end, probe, 0));
    }
    otherwise = g->f->now;
    REG(data) = (struct gen_value){.kind = B_PACKET, .room = room};
    gen_block(g, 1 + gen_pick(g, 4), depth + 1);
    after_null_check(g, at, &otherwise);
}

/* Another function of the program, with whatever fits its arguments. */
static void say_call(struct gen *g, u32 depth)
{
    struct gen_value args[5] = {{0}};
    u32 nargs = gen_pick(g, 4), shared = 0;
    bool global = gen_one_in(g, 3);
    s16 frame = 0;
    int sub;

    if (!call_possible(g) || g->f->held)
        return;
    if (global)
        nargs = 2;
    for (u32 k = 0; k < nargs; k++) {
        u8 reg = (u8)(k + 1);
        int value = global ? -1 : gen_find(g, B_VALUE);

        if (value >= 6 && gen_one_in(g, 3)) {
            PUT(MOVX(reg, (u8)value));
            args[k] = REG(value);
        } else if (!global && !shared && gen_one_in(g, 3) && (frame = buffer(g, 16))) {
            PUT(MOVX(reg, R10));
            PUT(ADD(reg, frame));
            args[k] = (struct gen_value){.kind = B_SHARED, .room = 16};
            shared = reg;
        } else if (!global && REG(6).kind == B_CTX && gen_one_in(g, 3)) {
            PUT(MOVX(reg, R6));
            args[k] = REG(6);
        } else {
            PUT(MOV(reg, constant(g)));
            args[k] = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
        }
        args[k].pinned = false;
    }
    sub = gen_function(g, args, nargs, global, false);
    if (sub >= 0) {
        gen_call_fix(g, (u32)sub, false);
        PUT(INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0));
    } else {
        PUT(CALL(BPF_FUNC_get_prandom_u32));
    }
    gen_after_call(g);
}

static void say_callback(struct gen *g, u32 depth)
{
    struct gen_value args[4] = {{.kind = B_NUM, .max = UINT64_MAX}, {.kind = B_SHARED, .room = 16}};
    bool each = gen_one_in(g, 3);
    s16 frame;
    int sub;

    if (!call_possible(g) || g->f->held || g->f->callback || depth > 2)
        return;
    frame = buffer(g, 16);
    if (!frame)
        return;
    if (each) {
        args[0] = args[1] = (struct gen_value){0};
        args[2] = (struct gen_value){.kind = B_VALUE, .map = GEN_ARRAY};
        args[3] = (struct gen_value){.kind = B_SHARED, .room = 16};
    }
    sub = gen_function(g, args, each ? 4 : 2, false, true);
    if (sub < 0)
        return;
    if (each)
        gen_load_map(g, R1, GEN_ARRAY);
    else
        PUT(MOV(R1, 1 + (s32)gen_pick(g, 20)));
    gen_call_fix(g, (u32)sub, true);
    PUT(INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 0));
    PUT(INSN(0, 0, 0, 0, 0));
    PUT(MOVX(R3, R10));
    PUT(ADD(R3, frame));
    PUT(MOV(R4, 0));
    PUT(CALL(each ? BPF_FUNC_for_each_map_elem : BPF_FUNC_loop));
    gen_after_call(g);
}

/* Anything at all. */
static void say_nonsense(struct gen *g, u32 depth)
{
    struct bpf_insn i;
    u64 bits = gen_random(g);

    if (!g->slips || !gen_one_in(g, 3))
        return;
    memcpy(&i, &bits, sizeof(i));
    i.dst_reg %= 11;
    i.src_reg %= 11;
    if (gen_one_in(g, 2))
        i.off = (s16)gen_pick(g, 16);
    if (gen_one_in(g, 2))
        i.imm = constant(g);
    if (i.code == (BPF_LD | BPF_IMM | BPF_DW))
        i.code = BPF_ALU64 | BPF_MOV | BPF_X;
    gen_put(g, i);
}

// clang-format off
/* S(weight, statement) */
#define GEN_STATEMENTS(S) \
    S(12, number)         \
    S(22, arithmetic)     \
    S(4,  ends)           \
    S(14, load)           \
    S(12, store)          \
    S(4,  atomic)         \
    S(9,  move_pointer)   \
    S(10, spill)          \
    S(9,  fill)           \
    S(2,  stack_anywhere) \
    S(8,  context)        \
    S(9,  if)             \
    S(4,  leave)          \
    S(4,  loop)           \
    S(1,  may_goto)       \
    S(2,  iterator)       \
    S(8,  lookup)         \
    S(4,  lookup_or_leave)\
    S(2,  nested)         \
    S(4,  map_change)     \
    S(6,  helper)         \
    S(4,  ringbuf)        \
    S(2,  lock)           \
    S(6,  packet)         \
    S(4,  call)           \
    S(2,  callback)       \
    S(1,  nonsense)
// clang-format on

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
