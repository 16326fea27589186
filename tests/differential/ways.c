/* SPDX-License-Identifier: MIT */
/* The grammar of gen.h, its other half: where paths part and meet (branches, loops, checks for NULL, packets)
   and what is called. Each statement leaves beliefs that hold on every way that reaches its end. */
#include "verify/protos.h"

#include "tests/differential/gen_int.h"

/* ------------------------------------------------------------------------------------------ ways */

/* A comparison that says something: its target is patched by the caller.
   Bounds on the way that does not jump. */
static u32 comparison(struct gen *g)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    u8 r = gen_some_number(g), op = ops[gen_pick(g, sizeof(ops))], s = gen_some_number(g);
    u8 class = gen_one_in(g, 3) ? BPF_JMP32 : BPF_JMP;
    s32 c = gen_constant(g);
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

void say_if(struct gen *g, u32 depth)
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

void say_leave(struct gen *g, u32 depth)
{
    u32 at;

    if (g->f->held && !gen_slip(g))
        return;
    at = comparison(g);
    PUT(MOV(R0, g->hook ? 0 : (s32)gen_pick(g, 2)));
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
                PUT(ST(BPF_DW, R10, gen_slot_off(k), 0));
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
void say_loop(struct gen *g, u32 depth)
{
    u8 counter = (u8)(R7 + gen_pick(g, 3)), limit = 0;
    s32 rounds = 1 + (s32)gen_pick(g, gen_one_in(g, 4) ? 200 : 8);
    bool down = gen_one_in(g, 3), by_register = !down && gen_one_in(g, 3);
    struct gen_state outside;
    u32 head;

    if (depth > 2 || REG(counter).pinned || g->f->now.dead)
        return;
    if (by_register) {
        limit = gen_bounded(g, (u32)rounds);
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

void say_may_goto(struct gen *g, u32 depth)
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
void say_iterator(struct gen *g, u32 depth)
{
    const struct gen_kfuncs *kf = &g->world->kfuncs;
    u32 k = gen_pick(g, GEN_SLOTS), head, out;
    struct gen_state outside;

    if (depth > 1 || !kf->iter_new || g->f->now.slot[k].pinned || REG(1).pinned || REG(2).pinned ||
        REG(3).pinned || REG(0).pinned)
        return;
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, gen_slot_off(k)));
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
    PUT(ADD(R1, gen_slot_off(k)));
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
        PUT(ADD(R1, gen_slot_off(k)));
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
            PUT(ST(BPF_DW, R10, gen_slot_off(k), (s32)gen_pick(g, 4)));
        g->f->now.slot[k] = (struct gen_value){.kind = B_NUM, .max = UINT64_MAX};
    }
    return gen_slot_off(first + n - 1);
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

static const u8 looked_up[] = {GEN_ARRAY, GEN_HASH, GEN_PERCPU, GEN_LRU, GEN_RODATA, GEN_LOCKED,
                               GEN_ARRAY, GEN_HASH, GEN_PERCPU, GEN_LRU, GEN_TABLE,  GEN_LOCKED};

static void after_null_check(struct gen *g, u32 at, struct gen_state *otherwise)
{
    gen_land(g, at);
    for (u32 r = 0; r < 10; r++)
        if (otherwise->reg[r].kind == B_VALUE || otherwise->reg[r].kind == B_NUM)
            otherwise->reg[r].pinned = g->f->now.reg[r].pinned;
    gen_join(&g->f->now, otherwise);
}

void say_lookup(struct gen *g, u32 depth)
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
void say_lookup_or_leave(struct gen *g, u32 depth)
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

void say_nested(struct gen *g, u32 depth)
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

void say_map_change(struct gen *g, u32 depth)
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

void say_helper(struct gen *g, u32 depth)
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

/* What an argument of this form takes, put into its register. False: nothing of the kind can be had. */
static bool argument(struct gen *g, u8 reg, const struct tn_arg_form *form)
{
    if (form->flags & TN_AF_NULL && gen_one_in(g, 4)) {
        PUT(MOV(reg, 0));
        return true;
    }
    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_ANY:
    case TN_AK_SCALAR:
        PUT(MOV(reg, gen_constant(g)));
        return true;
    case TN_AK_CTX:
        PUT(MOVX(reg, R6));
        return REG(6).kind == B_CTX;
    case TN_AK_MAP:
        gen_load_map(g, reg, gen_pick(g, GEN_INNER));
        return true;
    case TN_AK_KEY:
        return point_at(g, reg, 8);
    case TN_AK_VALUE:
        return point_at(g, reg, 64);
    case TN_AK_MEM:
        return point_at(g, reg, 32);
    case TN_AK_FIXED:
        return point_at(g, reg, form->n);
    case TN_AK_SIZE:
        PUT(MOV(reg, (s32)(gen_slip(g) ? 600 : gen_pick(g, 9) * 4)));
        return true;
    case TN_AK_ALLOC:
        PUT(MOV(reg, 8));
        return true;
    default:
        return false;
    }
}

/* Any helper there is, by its row: most for programs of this type, some not. */
void say_any_helper(struct gen *g, u32 depth)
{
    struct gen_func before = *g->f;
    u32 id = 1 + gen_pick(g, TN_PROTO_END - 1);
    const struct tn_proto *proto = tn_proto_for(id, g->type, 0);

    if (!proto && gen_slip(g))
        proto = tn_proto_by_id(id);
    if (!proto || !call_possible(g) || g->f->held || id == TN_PROTO_tail_call)
        return;
    if (tn_proto_ret(proto)->kind != TN_RK_SCALAR && !gen_slip(g))
        return;
    for (u32 k = 1; k <= tn_proto_nargs(proto); k++)
        if (!argument(g, (u8)k, tn_proto_arg(proto, k)) && !gen_slip(g)) {
            *g->f = before;
            return;
        }
    PUT(CALL((s32)id));
    gen_after_call(g);
    if (tn_proto_ret(proto)->kind != TN_RK_SCALAR)
        REG(0) = (struct gen_value){0};
}

void say_ringbuf(struct gen *g, u32 depth)
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

void say_lock(struct gen *g, u32 depth)
{
    u32 at;

    if (!call_possible(g) || g->f->held || g->f->level || REG(9).pinned || g->type == BPF_PROG_TYPE_KPROBE ||
        g->type == BPF_PROG_TYPE_TRACEPOINT || g->type == BPF_PROG_TYPE_RAW_TRACEPOINT ||
        g->type == BPF_PROG_TYPE_PERF_EVENT || g->type == BPF_PROG_TYPE_SOCKET_FILTER || g->hook ||
        !point_at(g, R2, 4))
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
void say_packet(struct gen *g, u32 depth)
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
void say_call(struct gen *g, u32 depth)
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
            PUT(MOV(reg, gen_constant(g)));
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

void say_callback(struct gen *g, u32 depth)
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
void say_nonsense(struct gen *g, u32 depth)
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
        i.imm = gen_constant(g);
    if (i.code == (BPF_LD | BPF_IMM | BPF_DW))
        i.code = BPF_ALU64 | BPF_MOV | BPF_X;
    gen_put(g, i);
}
