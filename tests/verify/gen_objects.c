/* SPDX-License-Identifier: MIT */
/*
 * Pieces of programs that use what is in a world (world.h). Each is right as it stands but for one thing now
 * and then: a bound one too far, a check left out, an end forgotten, an object spoiled. On the stack:
 *
 *      fp−48 … fp−8   numbers                fp−56          an iterator
 *      fp−80, fp−96   dynptrs                fp−104         a saved flag
 *      fp−112, −120   spilled pointers       fp−160 … −128  buffers, tuples
 */
#include "verify/protos.h" /* before the words of asm.h */

#include "tests/verify/gen_parts.h"
#include "verify/maptypes.h"

enum { AT_ITER = -56, AT_DYN = -80, AT_DYN2 = -96, AT_FLAG = -104, AT_SPILL = -112, AT_BUFFER = -160 };

/* One time in n something is left wrong. */
static bool slip(struct gen *g, u32 n)
{
    return !gen_pick(g, n);
}

static void call_host(struct gen *g, enum world_kfunc f)
{
    PUT(INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)g->world->kfunc[f]));
}

static void stack_arg(struct gen *g, u8 reg, s32 at)
{
    PUT(MOVX(reg, R10));
    PUT(ADD(reg, at));
}

/* The jump at `at` goes to what comes next. */
static void here(struct gen *g, u32 at)
{
    g->insn[at].off = (s16)(g->n - at - 1);
}

/* `reg` may go to the stack and come back. */
static void perhaps_spill(struct gen *g, u8 reg)
{
    if (gen_pick(g, 3))
        return;
    PUT(STX(BPF_DW, R10, AT_SPILL, reg));
    if (gen_pick(g, 2))
        PUT(MOV(reg, gen_number(g)));
    if (slip(g, 20))
        PUT(ST(sizes[gen_pick(g, 4)], R10, AT_SPILL, 0));
    PUT(LDX(BPF_DW, reg, R10, AT_SPILL));
}

/* Pieces without calls, that leave r1 alone. */
static void filler(struct gen *g)
{
    for (u32 k = gen_pick(g, 3); k > 0; k--)
        switch (gen_pick(g, 3)) {
        case 0:
            gen_alu(g);
            break;
        case 1:
            gen_spill(g);
            break;
        default:
            gen_jump(g);
            break;
        }
}

static bool is_packet_type(u32 type)
{
    return type == BPF_PROG_TYPE_SCHED_CLS || type == BPF_PROG_TYPE_XDP;
}

/* ------------------------------------------------------------------------------------------------ packets */

/* Registers 2 and 3: the start, and the end (or, of what lies before it, the start and the packet). */
static void packet_ends(struct gen *g, bool meta)
{
    bool tc = g->type == BPF_PROG_TYPE_SCHED_CLS;

    PUT(LDX(BPF_W, R2, R6, meta ? tc ? 140 : 8 : tc ? 76 : 0));
    PUT(LDX(BPF_W, R3, R6, meta ? tc ? 76 : 0 : tc ? 80 : 4));
}

static void piece_packet(struct gen *g)
{
    static const u8 ops[] = {BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE};
    s32 bytes = 1 + (s32)gen_pick(g, 40), size, off, limit;
    u8 op = ops[gen_pick(g, 4)];
    bool swapped = gen_pick(g, 2), varies = !gen_pick(g, 3), other = slip(g, 8), skips, strict;
    u32 check;

    if (!is_packet_type(g->type) || g->in_callee)
        return;
    packet_ends(g, !gen_pick(g, 6));
    if (varies) { /* an index, bounded, becomes part of the base */
        if (gen_pick(g, 2))
            ALL(LDX(BPF_B, R4, R8, 3));
        else
            PUT(MOVX(R4, R9));
        PUT(ALU(BPF_AND, R4, gen_pick(g, 2) ? 63 : 0xfff));
        PUT(ADDX(R2, R4));
    }
    perhaps_spill(g, R2);
    if (other) /* of which the check says nothing */
        ALL(MOVX(R0, R2), LDX(BPF_B, R5, R8, 4), ALU(BPF_AND, R5, 63), ADDX(R0, R5));
    PUT(MOVX(R4, R2));
    PUT(ADD(R4, bytes));
    check = g->n;
    if (swapped)
        PUT(JMPX(op, R3, R4, 0));
    else
        PUT(JMPX(op, R4, R3, 0));
    /* Where r4 > end or r4 >= end is taken, what follows is inside; else an else is needed. */
    skips = swapped ? op == BPF_JLT || op == BPF_JLE : op == BPF_JGT || op == BPF_JGE;
    strict = swapped ? op == BPF_JLE || op == BPF_JGT : op == BPF_JGE || op == BPF_JLT;
    if (slip(g, 20)) /* the wrong side */
        skips = !skips;
    if (!skips) {
        PUT(JA(0));
        here(g, check);
        check = g->n - 1;
    }
    if (slip(g, 25) && is_packet_type(g->type)) { /* the packet moves under it */
        PUT(STX(BPF_DW, R10, AT_SPILL, R2));
        ALL(MOVX(R1, R6), MOV(R2, 20), MOV(R3, 0), CALL(g->type == BPF_PROG_TYPE_XDP ? 65 : 39));
        PUT(LDX(BPF_DW, R2, R10, AT_SPILL));
    }
    for (u32 k = 1 + gen_pick(g, 2); k > 0; k--) {
        size = 1 << gen_pick(g, 4);
        limit = bytes + strict - size + (slip(g, 10) ? 1 : 0);
        if (limit < 0)
            continue;
        off = gen_pick(g, 2) ? limit : (s32)gen_pick(g, (u32)limit + 1);
        if (gen_pick(g, 3))
            PUT(LDX(sizes[__builtin_ctz((u32)size)], gen_pick(g, 2) ? R9 : R5, other ? R0 : R2, (s16)off));
        else
            PUT(STX(sizes[__builtin_ctz((u32)size)], other ? R0 : R2, (s16)off, R9));
    }
    here(g, check);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

static void piece_move(struct gen *g)
{
    if (!is_packet_type(g->type) || g->in_callee)
        return;
    if (g->type == BPF_PROG_TYPE_XDP)
        ALL(MOVX(R1, R6), MOV(R2, -4), CALL(44));
    else
        ALL(MOVX(R1, R6), MOV(R2, 40), CALL(39));
    gen_renew(g);
}

/* ------------------------------------------------------------------------------------------------ sockets */

/* The socket at AT_SPILL − 8 is handed to something, or seen as something else. */
static void socket_use(struct gen *g)
{
    static const u8 sees[] = {95, 96, 98};

    switch (gen_pick(g, 4)) {
    case 0: /* what is kept beside it */
        ALL(LDMAP(R1, M_SK_STORAGE), LDX(BPF_DW, R2, R10, AT_SPILL - 8));
        if (gen_pick(g, 3)) {
            ALL(MOV(R3, 0), MOV(R4, 1), CALL(107), JMP(BPF_JEQ, R0, 0, 1));
            PUT(LDX(BPF_W, R9, R0, (s16)(4 * gen_pick(g, 4))));
        } else {
            PUT(CALL(108));
        }
        break;
    case 1:
        ALL(MOVX(R1, R6), LDX(BPF_DW, R2, R10, AT_SPILL - 8), MOV(R3, 0), CALL(124));
        break;
    case 2: /* headers of 20 bytes each */
        PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
        stack_arg(g, R2, -40);
        PUT(MOV(R3, 20));
        PUT(MOVX(R4, R8));
        ALL(MOV(R5, 20), CALL(gen_pick(g, 2) ? 100 : 110));
        break;
    default:
        PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
        PUT(CALL(sees[gen_pick(g, 3)]));
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(LDX(BPF_W, R9, R0, (s16)(4 * gen_pick(g, 12))));
        break;
    }
}

static void piece_socket(struct gen *g)
{
    u32 null, seen = 0;

    if (!is_packet_type(g->type) || g->in_callee)
        return;
    if (!gen_pick(g, 3) && g->type == BPF_PROG_TYPE_SCHED_CLS) { /* the packet's own */
        PUT(LDX(BPF_DW, R1, R6, 168));
        null = g->n;
        if (!slip(g, 12))
            PUT(JMP(BPF_JEQ, R1, 0, 0));
        PUT(LDX(BPF_W, R9, R1, 4));
        if (g->insn[null].code == (BPF_JMP | BPF_JEQ | BPF_K))
            here(g, null);
        PUT(MOV(R1, 0));
        return;
    }
    ALL(ST(BPF_DW, R10, AT_BUFFER, 1), ST(BPF_DW, R10, AT_BUFFER + 8, 2), MOVX(R1, R6));
    stack_arg(g, R2, AT_BUFFER);
    ALL(MOV(R3, 12), MOV(R4, -1), MOV(R5, 0), CALL(gen_pick(g, 3) ? 84 + (s32)gen_pick(g, 2) : 99));
    PUT(STX(BPF_DW, R10, AT_SPILL - 8, R0));
    null = g->n;
    if (!slip(g, 30))
        PUT(JMP(BPF_JEQ, R0, 0, 0));
    else
        PUT(JMP(BPF_JEQ, R9, 0, 0));
    PUT(LDX(BPF_W, R9, R0, (s16)(4 * gen_pick(g, 6))));
    filler(g);
    if (gen_pick(g, 2) && g->type == BPF_PROG_TYPE_SCHED_CLS) {
        socket_use(g);
        seen = 1;
    }
    PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
    if (!slip(g, 20))
        PUT(CALL(86));
    if (slip(g, 20)) {
        if (seen)
            PUT(LDX(BPF_W, R9, R0, 0));
        else
            PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8)), PUT(LDX(BPF_W, R9, R1, 4));
    }
    here(g, null);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

/* ------------------------------------------------------------------------------------------------ dynptrs */

static void dynptr_use(struct gen *g, s32 at, bool packet)
{
    s32 len = 1 + (s32)gen_pick(g, 16), off = (s32)gen_pick(g, 12);
    bool writes = false;
    u32 null;

    switch (gen_pick(g, 6)) {
    case 0: /* read */
        stack_arg(g, R1, AT_BUFFER);
        PUT(MOV(R2, len));
        stack_arg(g, R3, at);
        ALL(MOV(R4, off), MOV(R5, 0), CALL(201));
        PUT(MOV(R0, gen_number(g)));
        PUT(LDX(BPF_B, R9, R10, (s16)(AT_BUFFER + (s32)gen_pick(g, (u32)len))));
        break;
    case 1: /* write */
        stack_arg(g, R1, at);
        PUT(MOV(R2, off));
        PUT(MOVX(R3, R8));
        ALL(MOV(R4, len), MOV(R5, 0), CALL(202));
        break;
    case 2:
    case 3: /* a slice */
        stack_arg(g, R1, at);
        PUT(MOV(R2, off));
        if (packet || gen_pick(g, 2)) {
            stack_arg(g, R3, AT_BUFFER);
            PUT(MOV(R4, len));
            writes = is_packet_type(g->type) && gen_pick(g, 2);
            call_host(g, writes ? W_bpf_dynptr_slice_rdwr : W_bpf_dynptr_slice);
        } else {
            writes = true;
            PUT(MOV(R3, len));
            PUT(CALL(203));
        }
        null = g->n;
        PUT(JMP(slip(g, 12) ? BPF_JNE : BPF_JEQ, R0, 0, 0));
        perhaps_spill(g, R0);
        PUT(LDX(BPF_B, R9, R0, (s16)(gen_pick(g, (u32)len) + (u32)slip(g, 10))));
        if (gen_pick(g, 2) && (writes || slip(g, 20)))
            PUT(STX(BPF_B, R0, (s16)gen_pick(g, (u32)len), R9));
        here(g, null);
        PUT(MOV(R0, gen_number(g)));
        break;
    case 4:
        stack_arg(g, R1, at);
        ALL(MOV(R2, off), MOV(R3, off + (s32)gen_pick(g, 8)));
        call_host(g, W_bpf_dynptr_adjust);
        break;
    default:
        stack_arg(g, R1, at);
        call_host(g, gen_pick(g, 2) ? W_bpf_dynptr_size : W_bpf_dynptr_is_null);
        PUT(MOVX(R9, R0));
        break;
    }
    gen_renew(g);
}

/* A slice of a packet, over something that may move the packet. */
static void slice_kept(struct gen *g)
{
    u32 null;

    stack_arg(g, R1, AT_DYN);
    PUT(MOV(R2, 0));
    stack_arg(g, R3, AT_BUFFER);
    PUT(MOV(R4, 8));
    call_host(g, W_bpf_dynptr_slice);
    null = g->n;
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    PUT(STX(BPF_DW, R10, AT_SPILL, R0));
    if (slip(g, 2))
        piece_move(g);
    else
        PUT(CALL(7));
    ALL(LDX(BPF_DW, R1, R10, AT_SPILL), LDX(BPF_W, R9, R1, 4));
    here(g, null);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

static void piece_dynptr(struct gen *g)
{
    u32 what = gen_pick(g, 3);
    bool cloned, kept;
    s32 at = AT_DYN;

    if (what == 2 && (g->in_callee || (!is_packet_type(g->type) && g->type != BPF_PROG_TYPE_SOCKET_FILTER)))
        what = 0;
    if (what == 0) {
        PUT(MOVX(R1, R8));
        ALL(MOV(R2, 1 + (s32)gen_pick(g, 64)), MOV(R3, 0));
        stack_arg(g, R4, at);
        PUT(CALL(197));
    } else if (what == 1) {
        ALL(LDMAP(R1, M_RINGBUF), MOV(R2, 8 * (1 + (s32)gen_pick(g, 4))), MOV(R3, 0));
        stack_arg(g, R4, at);
        PUT(CALL(198));
    } else {
        ALL(MOVX(R1, R6), MOV(R2, 0));
        stack_arg(g, R3, at);
        call_host(g, g->type == BPF_PROG_TYPE_XDP ? W_bpf_dynptr_from_xdp : W_bpf_dynptr_from_skb);
    }
    gen_renew(g);
    if (!gen_pick(g, 4))
        filler(g);
    dynptr_use(g, at, what == 2);
    cloned = !gen_pick(g, 3);
    if (cloned) {
        stack_arg(g, R1, at);
        stack_arg(g, R2, AT_DYN2);
        call_host(g, W_bpf_dynptr_clone);
        gen_renew(g);
        dynptr_use(g, AT_DYN2, what == 2);
    }
    if (slip(g, 20)) /* looked into */
        PUT(LDX(sizes[gen_pick(g, 4)], R9, R10, (s16)(at + 8 * (s32)gen_pick(g, 2))));
    if (slip(g, 15)) /* spoiled */
        PUT(ST(sizes[gen_pick(g, 4)], R10, (s16)(at + 8 * (s32)gen_pick(g, 2)), 0));
    if (what == 2 && is_packet_type(g->type) && slip(g, 3))
        slice_kept(g);
    if (what == 2 && gen_pick(g, 2))
        piece_move(g);
    kept = what == 1 && slip(g, 10);
    if (kept) { /* a slice that outlives what it is part of */
        stack_arg(g, R1, at);
        ALL(MOV(R2, 0), MOV(R3, 8), CALL(203), STX(BPF_DW, R10, AT_SPILL, R0));
        gen_renew(g);
    }
    if (what == 1 && !slip(g, 20)) {
        stack_arg(g, R1, cloned && gen_pick(g, 2) ? AT_DYN2 : at);
        PUT(MOV(R2, 0));
        PUT(CALL(199 + (s32)gen_pick(g, 2)));
        if (kept)
            ALL(LDX(BPF_DW, R1, R10, AT_SPILL), JMP(BPF_JEQ, R1, 0, 1), LDX(BPF_W, R9, R1, 0));
        gen_renew(g);
        if (slip(g, 15))
            dynptr_use(g, at, false);
    } else if (!gen_pick(g, 2)) {
        dynptr_use(g, at, what == 2);
    }
}

/* ----------------------------------------------------------------------------------- loops that end alone */

static void piece_iter(struct gen *g)
{
    u32 top, out;

    stack_arg(g, R1, AT_ITER);
    ALL(MOV(R2, (s32)gen_pick(g, 3)), MOV(R3, (s32)gen_pick(g, 6)));
    if (!gen_pick(g, 3))
        PUT(MOVX(R3, R9));
    call_host(g, W_bpf_iter_num_new);
    if (slip(g, 20))
        PUT(LDX(sizes[gen_pick(g, 4)], R9, R10, AT_ITER));
    PUT(MOV(R7, 0));
    gen_renew(g);
    top = g->n;
    stack_arg(g, R1, AT_ITER);
    call_host(g, W_bpf_iter_num_next);
    out = g->n;
    PUT(JMP(slip(g, 25) ? BPF_JNE : BPF_JEQ, R0, 0, 0));
    PUT(LDX(BPF_W, R9, R0, 0));
    gen_renew(g);
    PUT(MOV(R0, gen_number(g)));
    for (u32 k = gen_pick(g, 3); k > 0; k--)
        gen_body(g);
    if (gen_pick(g, 2))
        PUT(ADD(R7, 1));
    PUT(JA(0));
    g->insn[g->n - 1].off = (s16)((s32)top - (s32)g->n);
    here(g, out);
    stack_arg(g, R1, AT_ITER);
    if (!slip(g, 25))
        call_host(g, W_bpf_iter_num_destroy);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

static void piece_may_goto(struct gen *g)
{
    u32 top = g->n;

    for (u32 k = gen_pick(g, 3); k > 0; k--)
        gen_body(g);
    if (gen_pick(g, 2))
        PUT(ADD(R9, 1));
    PUT(MAY_GOTO(1));
    PUT(JA(0));
    g->insn[g->n - 1].off = (s16)((s32)top - (s32)g->n);
}

static void piece_callback(struct gen *g)
{
    u32 what = CALLS_LOOP + gen_pick(g, 3);
    bool context = gen_pick(g, 4);

    if (g->in_callee || g->ncalls == TN_ARRAY_SIZE(g->call))
        return;
    if (what == CALLS_LOOP && gen_pick(g, 3))
        PUT(MOV(R1, (s32)gen_pick(g, 6)));
    else if (what == CALLS_LOOP)
        PUT(MOVX(R1, R9));
    else if (what == CALLS_EACH)
        ALL(LDMAP(R1, M_ARRAY));
    else
        ALL(LDMAP(R1, M_USER_RING));
    g->call[g->ncalls] = g->n;
    g->callee[g->ncalls++] = what;
    ALL(INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 0), INSN(0, 0, 0, 0, 0));
    if (context || what != CALLS_DRAIN)
        stack_arg(g, R3, -40);
    else
        PUT(MOV(R3, 0));
    PUT(MOV(R4, 0));
    PUT(CALL(what == CALLS_LOOP ? 181 : what == CALLS_EACH ? 164 : 209));
    if (gen_pick(g, 2))
        PUT(MOVX(R9, R0));
    gen_renew(g);
    PUT(LDX(BPF_DW, gen_scalar(g), R10, (s16)(-8 * (1 + (s32)gen_pick(g, 5)))));
}

/* ------------------------------------------------------------------------------------------------ locks */

static void piece_lock(struct gen *g)
{
    bool resilient = !gen_pick(g, 3);
    u32 null, taken = 0;

    if (!is_packet_type(g->type))
        return;
    ALL(LOOKUP(resilient ? M_RESILIENT : M_LOCKS));
    null = g->n;
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    PUT(STX(BPF_DW, R10, AT_SPILL - 8, R0));
    if (slip(g, 10)) { /* another one */
        PUT(ST(BPF_W, R10, -4, 1));
        stack_arg(g, R2, -4);
        ALL(LDMAP(R1, resilient ? M_RESILIENT : M_LOCKS), CALL(1));
        PUT(JMP(BPF_JNE, R0, 0, 1));
        PUT(LDX(BPF_DW, R0, R10, AT_SPILL - 8));
    }
    PUT(MOVX(R1, R0));
    if (resilient) {
        call_host(g, W_bpf_res_spin_lock);
        taken = g->n;
        PUT(JMP(BPF_JNE, R0, 0, 0));
    } else {
        PUT(CALL(93));
    }
    PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
    for (u32 k = gen_pick(g, 3); k > 0; k--) {
        PUT(LDX(BPF_W, R9, R1, (s16)(slip(g, 25) ? 0 : 8 + 4 * gen_pick(g, 6))));
        if (gen_pick(g, 2))
            PUT(STX(BPF_W, R1, (s16)(8 + 4 * gen_pick(g, 6)), R9));
    }
    if (!gen_pick(g, 3)) { /* more than one way through it */
        u32 at = g->n;

        PUT(JMP(BPF_JGT, R9, gen_number(g), 0));
        PUT(ADD(R9, 1));
        if (slip(g, 8) && !resilient)
            PUT(CALL(94));
        here(g, at);
    }
    if (slip(g, 25))
        PUT(CALL(7));
    PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
    if (resilient)
        call_host(g, W_bpf_res_spin_unlock);
    else if (!slip(g, 12))
        PUT(CALL(94));
    if (resilient)
        here(g, taken);
    here(g, null);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

static void piece_section(struct gen *g)
{
    u32 what = gen_pick(g, 3), at = 0;

    if (what == 2)
        stack_arg(g, R1, AT_FLAG);
    call_host(g, what == 0 ? W_bpf_rcu_read_lock : what == 1 ? W_bpf_preempt_disable : W_bpf_local_irq_save);
    gen_renew(g);
    for (u32 k = gen_pick(g, 3); k > 0; k--)
        gen_body(g);
    if (slip(g, 12)) {
        at = g->n;
        PUT(JMP(BPF_JEQ, R9, gen_number(g), 0));
    }
    if (what == 2)
        stack_arg(g, R1, AT_FLAG);
    call_host(g, what == 0   ? W_bpf_rcu_read_unlock
                 : what == 1 ? W_bpf_preempt_enable
                             : W_bpf_local_irq_restore);
    if (at)
        here(g, at);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

/* -------------------------------------------------------------------------------------------- maps, types */

static void piece_inner(struct gen *g)
{
    u32 out;

    PUT(ST(BPF_W, R10, -4, (s32)gen_pick(g, 4)));
    stack_arg(g, R2, -4);
    ALL(LDMAP(R1, M_OUTER), CALL(1));
    out = g->n;
    PUT(JMP(slip(g, 15) ? BPF_JNE : BPF_JEQ, R0, 0, 0));
    perhaps_spill(g, R0);
    PUT(MOVX(R1, R0));
    PUT(ST(BPF_W, R10, -4, (s32)gen_pick(g, 3)));
    stack_arg(g, R2, -4);
    PUT(CALL(1));
    PUT(JMP(BPF_JEQ, R0, 0, 2));
    PUT(LDX(BPF_W, R9, R0, (s16)(4 * gen_pick(g, 8) + (u32)slip(g, 12))));
    PUT(STX(BPF_W, R0, (s16)(4 * gen_pick(g, 8)), R9));
    here(g, out);
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

static void piece_typed(struct gen *g)
{
    static const struct {
        s16 off;
        u8 size, pointer;
    } field[] = {{0, BPF_W, 0},   {8, BPF_W, 0},  {12, BPF_W, 0}, {16, BPF_DW, 1}, {24, BPF_DW, 1},
                 {32, BPF_DW, 1}, {40, BPF_B, 0}, {47, BPF_B, 0}, {64, BPF_DW, 0}, {72, BPF_DW, 0}};
    u32 k = gen_pick(g, TN_ARRAY_SIZE(field));

    if (g->type != BPF_PROG_TYPE_TRACING || g->in_callee)
        return;
    PUT(LDX(BPF_DW, R1, R6, 0));
    if (!gen_pick(g, 4)) {
        PUT(ADD(R1, 8));
        PUT(LDX(BPF_W, R9, R1, 0));
        PUT(ADD(R1, -8));
    }
    perhaps_spill(g, R1);
    if (!field[k].pointer) {
        PUT(LDX(field[k].size, R9, R1, field[k].off));
    } else {
        PUT(LDX(field[k].size, R1, R1, field[k].off));
        if (field[k].off == 24 && gen_pick(g, 2))
            PUT(JMP(BPF_JEQ, R1, 0, 1));
        PUT(LDX(BPF_W, R9, R1, gen_pick(g, 2) ? 4 : 0));
    }
    PUT(MOV(R1, 0));
}

/* Of what never changes, an index whose value is known. */
static void piece_frozen(struct gen *g)
{
    static const u8 at[] = {0, 8, 12, 4};
    u32 k = gen_pick(g, 4);

    ALL(LDVAL(R1, M_RODATA, 0));
    PUT(LDX(k == 3 ? BPF_W : sizes[gen_pick(g, 3)], R4, R1, at[k]));
    if (gen_pick(g, 2)) {
        PUT(ALU(BPF_AND, R4, 31));
        PUT(MOVX(R1, R8));
        PUT(ADDX(R1, R4));
        PUT(LDX(sizes[gen_pick(g, 4)], R9, R1, (s16)gen_pick(g, 26)));
    }
    PUT(MOV(R1, 0));
}

static void piece_tail(struct gen *g)
{
    if (g->in_callee)
        return;
    PUT(MOVX(R1, R6));
    ALL(LDMAP(R2, M_TAIL_CALLS));
    PUT(MOVX(R3, R9));
    PUT(CALL(12));
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

/* At the ends of a frame, of a value, of what a check of one sign leaves. */
static void piece_edge(struct gen *g)
{
    u32 k = gen_pick(g, 4), check;

    switch (gen_pick(g, 8)) {
    case 7: /* memory of one kind or another */
        PUT(MOVX(R1, R8));
        PUT(JMP(BPF_JGT, R9, gen_number(g), 2));
        stack_arg(g, R1, -8);
        if (gen_pick(g, 2))
            PUT(LDX(sizes[k], R9, R1, 0));
        else
            PUT(STX(sizes[k], R1, 0, R9));
        PUT(MOV(R1, 0));
        break;
    case 6: /* one map or another, one key or another */
        PUT(ST(BPF_W, R10, -4, 0));
        PUT(JMP(BPF_JGT, R9, gen_number(g), 3));
        ALL(LDMAP(R1, M_SINGLE), JA(gen_pick(g, 2) ? 3 : 2), LDMAP(R1, M_ARRAY));
        PUT(ST(BPF_W, R10, -4, (s32)gen_pick(g, 2)));
        stack_arg(g, R2, -4);
        PUT(CALL(1));
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(LDX(sizes[k], R9, R0, (s16)gen_pick(g, 57)));
        PUT(MOV(R0, gen_number(g)));
        gen_renew(g);
        break;
    case 5: /* moved before it is known to be there, or after */
        PUT(STX(BPF_W, R10, -4, R9));
        stack_arg(g, R2, -4);
        ALL(LDMAP(R1, M_ARRAY), CALL(1));
        if (slip(g, 4))
            ALL(ADD(R0, 8), JMP(BPF_JEQ, R0, 0, 1));
        else
            ALL(JMP(BPF_JEQ, R0, 0, 2), ADD(R0, 8));
        PUT(LDX(sizes[k], R9, R0, (s16)gen_pick(g, 48)));
        PUT(MOV(R0, gen_number(g)));
        gen_renew(g);
        break;
    case 4: /* what was perhaps never written */
        PUT(LDX(sizes[k], R9, R10, (s16)(AT_BUFFER + 8 * (s32)gen_pick(g, 4))));
        break;
    case 0:
        PUT(ST(sizes[k], R10, (s16) - (1 << k), gen_number(g)));
        PUT(LDX(sizes[k], R9, R10, (s16)(-(1 << k) + (slip(g, 10) ? 1 : 0))));
        break;
    case 1: /* as far as a helper's buffer goes */
        stack_arg(g, R1, -16);
        ALL(MOV(R2, 16 + (slip(g, 10) ? 1 : 0)), MOV(R3, 0), CALL(gen_pick(g, 2) ? 112 : 16));
        gen_renew(g);
        PUT(LDX(sizes[k], R9, R10, (s16)(-8 * (1 + (s32)gen_pick(g, 2)))));
        break;
    case 2: /* a size that was compared as a signed or unsigned number */
        check = g->n;
        if (gen_pick(g, 2))
            PUT(JMP(gen_pick(g, 3) ? BPF_JGT : BPF_JSGT, R9, 16 - (s32)gen_pick(g, 2), 0));
        else
            PUT(JMP32(gen_pick(g, 3) ? BPF_JGT : BPF_JSGT, R9, 16, 0));
        stack_arg(g, R1, -16);
        ALL(MOVX(R2, R9), MOV(R3, 0), CALL(gen_pick(g, 2) ? 113 : 114));
        if (gen_pick(g, 2))
            ALL(JMP(BPF_JSLE, R0, 0, 3), MOVX(R1, R10), ADDX(R1, R0), LDX(BPF_B, R9, R1, -17));
        here(g, check);
        PUT(MOV(R0, gen_number(g)));
        gen_renew(g);
        break;
    default: /* an index that was */
        check = g->n;
        PUT(JMP(gen_pick(g, 3) ? BPF_JGT : BPF_JSGT, R9, 56 + (s32)slip(g, 8), 0));
        PUT(MOVX(R1, R8));
        PUT(ADDX(R1, R9));
        PUT(STX(BPF_DW, R1, 0, R9));
        here(g, check);
        PUT(MOV(R1, 0));
        break;
    }
}

/* One number in two registers, a distance apart: what a branch tells of one it tells of the other. */
static void piece_linked(struct gen *g)
{
    s32 by = (s32)gen_pick(g, 9) - 4;
    u32 check;

    if (gen_pick(g, 2))
        gen_context(g, R4);
    else
        PUT(MOVX(R4, R9));
    if (gen_pick(g, 3))
        PUT(MOVX(R5, R4));
    else
        PUT(MOVX32(R5, R4));
    if (gen_pick(g, 4) && by) {
        if (gen_pick(g, 2))
            PUT(ADD(R5, by));
        else
            PUT(ALU32(BPF_ADD, R5, by));
    }
    if (!gen_pick(g, 3)) {
        PUT(STX(gen_pick(g, 2) ? BPF_DW : BPF_W, R10, -24, R5));
        PUT(LDX(gen_pick(g, 2) ? BPF_DW : BPF_W, R5, R10, -24));
    }
    check = g->n;
    if (gen_pick(g, 2))
        PUT(JMP(gen_pick(g, 3) ? BPF_JGT : BPF_JSGT, R4, 40 + (s32)gen_pick(g, 25), 0));
    else
        PUT(JMP32(gen_pick(g, 3) ? BPF_JGT : BPF_JSGT, R4, 40 + (s32)gen_pick(g, 25), 0));
    if (by < 0 && gen_pick(g, 4))
        PUT(JMP(BPF_JSLT, R5, 0, 3));
    PUT(MOVX(R1, R8));
    PUT(ADDX(R1, gen_pick(g, 3) ? R5 : R4));
    PUT(LDX(sizes[gen_pick(g, 4)], R9, R1, 0));
    here(g, check);
    PUT(MOV(R1, 0));
}

/* Two ways meet; on the first of them something holds that is needed afterwards, on the other perhaps not:
   two numbers are one, a pointer is not NULL, bytes of a packet are there, a slot or register holds a small
   number, which goes through a sum, the stack, or a comparison before it decides. */
static void piece_join(struct gen *g)
{
    u32 what = gen_pick(g, 7), fork, join, out[2] = {0};
    bool right = gen_pick(g, 3);

    if (what == 2 && (g->in_callee || !is_packet_type(g->type)))
        what = 0;
    if (what == 0)
        gen_context(g, R4);
    if (what == 1) {
        PUT(STX(BPF_W, R10, -4, R9));
        stack_arg(g, R2, -4);
        ALL(LDMAP(R1, M_ARRAY), CALL(1));
        PUT(STX(BPF_DW, R10, AT_SPILL - 8, R0));
        gen_renew(g);
    }
    if (what == 2) {
        packet_ends(g, false);
        PUT(MOVX(R4, R2));
        PUT(ADD(R4, 8));
    }
    fork = g->n;
    PUT(JMP(BPF_JGT, R9, gen_number(g), 0));
    if (what == 0)
        PUT(MOVX(R5, R4));
    if (what == 1)
        PUT(MOVX(R1, R8));
    if (what == 2) {
        out[0] = g->n;
        PUT(JMPX(BPF_JGT, R4, R3, 0));
    }
    if (what == 3)
        PUT(ST(BPF_DW, R10, -24, 4));
    if (what > 3)
        PUT(MOV(R5, 4));
    for (u32 k = gen_pick(g, 12); k > 0; k--) {
        PUT(ALU(BPF_XOR, R0, gen_number(g)));
        if (k == 3 || k == 7) {
            PUT(JMP(BPF_JGT, R0, gen_number(g), 1));
            PUT(ADD(R0, 1));
        }
    }
    join = g->n;
    PUT(JA(0));
    here(g, fork);
    if (what == 0 && right)
        PUT(MOVX(R5, R4));
    else if (what == 0)
        gen_context(g, R5);
    if (what == 1) {
        PUT(LDX(BPF_DW, R1, R10, AT_SPILL - 8));
        if (right)
            ALL(JMP(BPF_JNE, R1, 0, 1), MOVX(R1, R8));
    }
    if (what == 2 && right) {
        out[1] = g->n;
        PUT(JMPX(BPF_JGT, R4, R3, 0));
    }
    if (what == 3 && right)
        PUT(ST(BPF_DW, R10, -24, 8));
    else if (what == 3)
        PUT(STX(BPF_DW, R10, -24, R9));
    if (what > 3 && right)
        PUT(MOV(R5, 8));
    else if (what > 3)
        PUT(MOVX(R5, R9));
    here(g, join);
    if (what == 0)
        ALL(JMP(BPF_JGT, R4, 40, 3), MOVX(R1, R8), ADDX(R1, R5), LDX(BPF_W, R9, R1, 0));
    if (what == 1)
        PUT(LDX(sizes[gen_pick(g, 4)], R9, R1, 0));
    if (what == 2)
        PUT(LDX(BPF_B, R9, R2, (s16)gen_pick(g, 8)));
    if (what == 3)
        ALL(LDX(BPF_DW, R5, R10, -24), MOVX(R1, R8), ADDX(R1, R5), LDX(BPF_W, R9, R1, 0));
    if (what == 4)
        ALL(MOV(R4, 3), ADDX(R4, R5), MOVX(R1, R8), ADDX(R1, R4), LDX(BPF_W, R9, R1, 0));
    if (what == 5)
        ALL(STX(BPF_DW, R10, -24, R5), MOV(R5, 0), LDX(BPF_DW, R4, R10, -24), MOVX(R1, R8), ADDX(R1, R4),
            LDX(BPF_W, R9, R1, 0));
    if (what == 6) {
        gen_context(g, R4);
        ALL(JMPX(BPF_JGT, R4, R5, 3), MOVX(R1, R8), ADDX(R1, R4), LDX(BPF_W, R9, R1, 0));
    }
    for (u32 k = 0; k < 2; k++)
        if (out[k])
            here(g, out[k]);
    PUT(MOV(R1, 0));
}

/* --------------------------------------------------------------------------------------------- any helper */

static s32 map_for(struct gen *g, u32 helper)
{
    u32 first = gen_pick(g, WORLD_MAPS);

    for (u32 k = 0; k < WORLD_MAPS; k++) {
        u32 m = (first + k) % WORLD_MAPS;

        if (tn_vmap_takes(g->world->maps[m].geo.type, helper) && m < M_RESILIENT && m != M_OUTER)
            return (s32)m;
    }
    return -1;
}

static bool can_give(const struct gen *g, const struct tn_arg_form *form)
{
    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_CTX:
        return !g->in_callee;
    case TN_AK_NONE:
    case TN_AK_ANY:
    case TN_AK_SCALAR:
    case TN_AK_MAP:
    case TN_AK_KEY:
    case TN_AK_VALUE:
    case TN_AK_MEM:
    case TN_AK_FIXED:
    case TN_AK_SIZE:
    case TN_AK_STR:
        return true;
    default:
        return false;
    }
}

/* Argument `a`: register a. Memory and its size go together. */
static void give(struct gen *g, const struct tn_proto *p, u32 a, s32 map, s32 *len, bool *varies)
{
    const struct tn_arg_form *form = tn_proto_arg(p, a);
    u8 reg = (u8)a;

    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_CTX:
        PUT(MOVX(reg, R6));
        break;
    case TN_AK_MAP:
        ALL(LDMAP(reg, map));
        break;
    case TN_AK_KEY:
        stack_arg(g, reg, -16);
        break;
    case TN_AK_VALUE:
        if (g->world->maps[map].geo.value_size > 40 || gen_pick(g, 3) == 0)
            PUT(MOVX(reg, R8));
        else
            stack_arg(g, reg, -48);
        break;
    case TN_AK_MEM:
        *len = 4 * (1 + (s32)gen_pick(g, 4));
        *varies = !gen_pick(g, 3);
        if (form->flags & TN_AF_NULL && !gen_pick(g, 3)) {
            PUT(MOV(reg, 0));
            *len = 0;
            *varies = false;
        } else if (gen_pick(g, 3)) {
            stack_arg(g, reg, -48 + (s32)gen_pick(g, 20));
        } else {
            PUT(MOVX(reg, R8));
            PUT(ADD(reg, (s32)gen_pick(g, 49)));
        }
        break;
    case TN_AK_SIZE:
        if (*varies) {
            PUT(MOVX(reg, R9));
            PUT(ALU(BPF_AND, reg, gen_pick(g, 4) ? 15 : 31));
            if (!(form->flags & TN_AF_ZERO))
                PUT(ADD(reg, 1));
        } else {
            PUT(MOV(reg, *len));
        }
        break;
    case TN_AK_FIXED:
        stack_arg(g, reg, -48);
        break;
    case TN_AK_STR:
        ALL(LDVAL(reg, M_STRINGS, gen_pick(g, 2) ? 0 : 4));
        break;
    default:
        if (gen_pick(g, 2))
            PUT(MOV(reg, (s32)gen_pick(g, 5)));
        else
            PUT(MOVX(reg, R9));
        break;
    }
}

static void piece_helper(struct gen *g)
{
    u32 attach = g->type == BPF_PROG_TYPE_TRACING ? BPF_TRACE_FENTRY : 0;
    const struct tn_proto *p = NULL;
    const struct tn_ret_form *ret;
    s32 map = -1, len = 0;
    bool varies = false, fits = false;

    for (u32 tries = 0; !fits && tries < 8; tries++) {
        u32 id = 1 + gen_pick(g, TN_PROTO_END - 1);

        p = tn_proto_for(id, g->type, attach);
        fits = p && model_of(id, tn_proto_nargs(p)) && id != TN_PROTO_tail_call && !(p->flags & TN_PF_SLEEPS);
        for (u32 a = 1; fits && a <= tn_proto_nargs(p); a++) {
            fits = can_give(g, tn_proto_arg(p, a));
            if (fits && tn_proto_arg(p, a)->kind == TN_AK_MAP) {
                map = map_for(g, id);
                fits = map >= 0;
            }
        }
    }
    if (!fits)
        return;
    for (u32 a = 1; a <= tn_proto_nargs(p); a++)
        give(g, p, a, map, &len, &varies);
    PUT(CALL((s32)p->id));
    ret = tn_proto_ret(p);
    if (ret->kind == TN_RK_SCALAR) {
        PUT(MOVX(R9, R0));
        if (p->flags & TN_PF_RET_LENGTH && gen_pick(g, 2)) { /* the result is an index */
            PUT(JMP(BPF_JSLT, R0, 0, 3));
            PUT(MOVX(R1, R10));
            PUT(ADDX(R1, R0));
            PUT(LDX(BPF_B, R9, R1, -48));
        }
    } else if (ret->kind == TN_RK_VALUE) {
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(LDX(BPF_B, R9, R0, (s16)gen_pick(g, map >= 0 ? g->world->maps[map].geo.value_size + 1 : 4)));
    }
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

void gen_object(struct gen *g)
{
    static void (*const pieces[])(struct gen *) = {
        piece_packet,   piece_packet,   piece_packet, piece_move,   piece_socket, piece_dynptr,
        piece_dynptr,   piece_iter,     piece_iter,   piece_typed,  piece_typed,  piece_may_goto,
        piece_callback, piece_callback, piece_lock,   piece_lock,   piece_edge,   piece_edge,
        piece_linked,   piece_linked,   piece_join,   piece_join,   piece_join,   piece_inner,
        piece_frozen,   piece_tail,     piece_helper, piece_helper, piece_helper, piece_helper,
        piece_section,
    };

    pieces[gen_pick(g, TN_ARRAY_SIZE(pieces))](g);
}
