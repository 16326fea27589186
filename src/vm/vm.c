/* SPDX-License-Identifier: MIT */
/*
 * One instruction at a time, straight from the rows of isa/ops.h: the equations there become functions, the
 * switch below calls them. A frame of a bpf-to-bpf call keeps R6 … R9, the frame pointer and the place to
 * return to; its stack follows that of its caller in one arena.
 *
 *      arena  │ main's stack │ callee's stack │ …             R10 = end of the own part
 *
 * A helper that calls back is asked for the next round whenever the function it calls has returned (rt/rounds.h).
 *
 * Atomics are real ones, since maps are shared with running targets: a compare-and-swap loop around the row's
 * equation.
 *
 * Whoever builds this file once more may watch: TN_VM_WATCH names a header with the functions that are macros here,
 * which are told of everything that a program touches and calls, and stand in for the process that this interpreter
 * has not.
 */
#include "vm/vm.h"

#include <errno.h>
#include <linux/filter.h>

#include "isa/ops.h"
#include "rt/rounds.h"

#define MAX_FRAMES  8u
#define ARENA_BYTES 8192u

#ifdef TN_VM_WATCH
#include TN_VM_WATCH
#else
#define watch_begin(frames, bytes) ((void)0)
#define watch_step(insn, in, r)    ((void)0)
#define watch_load(addr, bytes)    true /* false: nothing is there, and 0 is read */
#define watch_store(addr, bytes)   ((void)0)
#define watch_symbol(in, ret)      (-ENOTSUP)
#define watch_kfunc(in, r)         (-ENOTSUP)
#define watch_helper(helper, r)    false /* true: it was done */
#endif

/* ---------------------------------------------------------------------------------------------- equations */

// clang-format off
#define U    u64
#define S    s64
#define BITS 64
#define A(O, NAME, op, off, sign, equation) static inline u64 alu64_##NAME(u64 d, u64 s) { return equation; }
#define J(O, NAME, op, sign, condition)     static inline bool is64_##NAME(u64 d, u64 s) { return condition; }
TN_ALU(A, )
TN_JUMPS(J, )
#undef U
#undef S
#undef BITS
#undef A
#undef J

#define U    u32
#define S    s32
#define BITS 32
#define A(O, NAME, op, off, sign, equation) static inline u32 alu32_##NAME(u32 d, u32 s) { return equation; }
#define J(O, NAME, op, sign, condition)     static inline bool is32_##NAME(u32 d, u32 s) { return condition; }
TN_ALU(A, )
TN_JUMPS(J, )
#undef U
#undef S
#undef BITS
#undef A
#undef J

/* Each returns the old value. */
#define ATOMIC(TYPE)                                                                                         \
    static int atomic_##TYPE(TYPE *p, s32 op, TYPE s, TYPE r0, u64 *ret_old)                                 \
    {                                                                                                        \
        TYPE m = __atomic_load_n(p, __ATOMIC_RELAXED), next;                                                 \
                                                                                                             \
        do {                                                                                                 \
            switch (op) {                                                                                    \
                TN_ATOMICS(T)                                                                                \
            default:                                                                                         \
                return -EINVAL;                                                                              \
            }                                                                                                \
        } while (!__atomic_compare_exchange_n(p, &m, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));      \
        *ret_old = m;                                                                                        \
        return 0;                                                                                            \
    }
#define T(NAME, imm, text, equation) case (imm): next = (equation); break;
ATOMIC(u32)
ATOMIC(u64)
#undef T
// clang-format on

/* ------------------------------------------------------------------------------------------------ pieces */

struct frame {
    u64 saved[4];                   /* R6 … R9 of the caller */
    u64 fp;                         /* R10 of the caller */
    u32 ret;                        /* where it goes on */
    u32 arena;                      /* bytes in use before the call */
    u32 rounds;                     /* the caller's loops may go on so often */
    u32 callee;                     /* its first instruction */
    const struct tn_helper *helper; /* that calls the callee back; NULL: it is simply called */
    struct tn_rounds round;
};

static u64 load(u64 addr, u8 bytes)
{
    u64 v = 0;

    if (watch_load(addr, bytes))
        memcpy(&v, (const void *)(uintptr_t)addr, bytes); /* little-endian, may be unaligned */
    return v;
}

static u64 load_sx(u64 addr, u8 bytes)
{
    u32 shift = 64 - bytes * 8u;

    return (u64)((s64)(load(addr, bytes) << shift) >> shift);
}

static void store(u64 addr, u64 v, u8 bytes)
{
    watch_store(addr, bytes);
    memcpy((void *)(uintptr_t)addr, &v, bytes);
}

/* The low `bits` bits, sign-extended to the operation's width. */
static u64 sign_extend(u64 v, u32 bits, u8 bytes)
{
    u32 shift = 64 - bits;
    u64 wide = (u64)((s64)(v << shift) >> shift);

    return bytes == 8 ? wide : (u32)wide;
}

static u64 swap(u64 v, s32 bits)
{
    return bits == 16   ? __builtin_bswap16((u16)v)
           : bits == 32 ? __builtin_bswap32((u32)v)
                        : __builtin_bswap64(v);
}

static u64 truncate_to(u64 v, s32 bits)
{
    return bits == 16 ? (u16)v : bits == 32 ? (u32)v : v;
}

/* A load that nothing overtakes, a store that overtakes nothing. The address is aligned (verified). */
static u64 load_acquire(u64 addr, u8 bytes)
{
    const void *p = (const void *)(uintptr_t)addr;

    if (!watch_load(addr, bytes))
        return 0;
    return bytes == 1   ? __atomic_load_n((const u8 *)p, __ATOMIC_ACQUIRE)
           : bytes == 2 ? __atomic_load_n((const u16 *)p, __ATOMIC_ACQUIRE)
           : bytes == 4 ? __atomic_load_n((const u32 *)p, __ATOMIC_ACQUIRE)
                        : __atomic_load_n((const u64 *)p, __ATOMIC_ACQUIRE);
}

static void store_release(u64 addr, u64 v, u8 bytes)
{
    void *p = (void *)(uintptr_t)addr;

    watch_store(addr, bytes);
    if (bytes == 1)
        __atomic_store_n((u8 *)p, (u8)v, __ATOMIC_RELEASE);
    else if (bytes == 2)
        __atomic_store_n((u16 *)p, (u16)v, __ATOMIC_RELEASE);
    else if (bytes == 4)
        __atomic_store_n((u32 *)p, (u32)v, __ATOMIC_RELEASE);
    else
        __atomic_store_n((u64 *)p, v, __ATOMIC_RELEASE);
}

/* Bytes of the packet, most significant first. A negative offset counts from the network or the link header.
   False: they are not there. */
static bool packet_load(u64 ctx, s32 offset, u8 bytes, u64 *ret)
{
    u32 from = TN_SKB_DATA;
    u64 addr, end, v = 0;

    if (offset < 0 && offset >= SKF_NET_OFF) {
        from = TN_SKB_NET;
        offset -= SKF_NET_OFF;
    } else if (offset < 0 && offset >= SKF_LL_OFF) {
        from = TN_SKB_MAC;
        offset -= SKF_LL_OFF;
    } else if (offset < 0) {
        return false;
    }
    addr = load(ctx + from, 4) + (u32)offset;
    end = load(ctx + TN_SKB_DATA_END, 4);
    if (addr + bytes > end)
        return false;
    for (u8 i = 0; i < bytes; i++)
        v = v << 8 | load(addr + i, 1);
    *ret = v;
    return true;
}

static int load_imm64(const struct bpf_insn *in, const struct tn_program *prog, struct tn_map *const *maps,
                      u64 *ret)
{
    switch (in->src_reg) {
    case 0:
        *ret = (u32)in[0].imm | (u64)(u32)in[1].imm << 32;
        return 0;
    case BPF_PSEUDO_MAP_FD:
        if ((u32)in->imm >= prog->nmaps)
            return -EINVAL;
        *ret = (uintptr_t)maps[in->imm];
        return 0;
    case BPF_PSEUDO_MAP_VALUE:
        if ((u32)in->imm >= prog->nmaps)
            return -EINVAL;
        *ret = (uintptr_t)maps[in->imm]->base + prog->maps[in->imm].value_off + (u32)in[1].imm;
        return 0;
    case BPF_PSEUDO_FUNC:
        *ret = (uintptr_t)(in + 1 + in->imm);
        return 0;
    case BPF_PSEUDO_BTF_ID:
        return watch_symbol(in, ret);
    default:
        return -ENOTSUP;
    }
}

static u32 stack_of(const struct tn_program *prog, u32 insn)
{
    for (u32 i = 0; i < prog->nsubprogs; i++)
        if (insn >= prog->subprogs[i].start && insn < prog->subprogs[i].end)
            return TN_ROUND_UP(prog->subprogs[i].stack, 8u);
    return 512;
}

/* A frame is entered: what the program may read before it writes it does not show what was there. */
static void clear_unwritten(const struct tn_program *prog, u32 insn, u64 *fp)
{
    for (u32 i = 0; i < prog->nsubprogs; i++)
        if (insn >= prog->subprogs[i].start && insn < prog->subprogs[i].end)
            for (u64 left = prog->subprogs[i].zero; left; left &= left - 1)
                fp[-1 - __builtin_ctzll(left)] = 0;
}

/* ------------------------------------------------------------------------------------------------- calls */

struct machine {
    const struct tn_program *prog;
    struct tn_run *run;
    u64 r[11];
    u32 depth, used; /* frames; bytes of the arena */
    u32 rounds;      /* the function's loops may go on so often */
    struct frame frames[MAX_FRAMES - 1];
    u64 arena[ARENA_BYTES / 8];
};

static void enter(struct machine *m, u32 callee)
{
    m->rounds = TN_MAY_GOTO_MAX;
    m->r[10] = (uintptr_t)m->arena + m->used;
    clear_unwritten(m->prog, callee, &m->arena[m->used / 8]);
}

/* The caller's frame is kept; the callee is not entered yet. */
static int push(struct machine *m, u32 callee, u32 ret)
{
    struct frame *f = &m->frames[m->depth];
    u32 need = stack_of(m->prog, callee);

    if (m->depth == MAX_FRAMES - 1 || need > ARENA_BYTES - m->used)
        return -E2BIG;
    memcpy(f->saved, &m->r[6], sizeof(f->saved));
    f->fp = m->r[10];
    f->ret = ret;
    f->arena = m->used;
    f->rounds = m->rounds;
    f->callee = callee;
    f->helper = NULL;
    m->depth++;
    m->used += need;
    return 0;
}

/* Enters the function that was pushed last; where it begins. */
static u32 begin(struct machine *m)
{
    enter(m, m->frames[m->depth - 1].callee);
    return m->frames[m->depth - 1].callee;
}

static int call_back(struct machine *m, const struct tn_helper *helper, u32 ret)
{
    const struct tn_insn_aux *aux = &m->prog->aux[ret - 1];
    const struct bpf_insn *callee = (const struct bpf_insn *)(uintptr_t)m->r[2];
    struct frame *f = &m->frames[m->depth];
    int err = push(m, (u32)(callee - m->prog->insns), ret);

    if (err)
        return err;
    f->helper = helper;
    f->round = (struct tn_rounds){.call = {m->r[1], m->r[2], m->r[3], m->r[4]}};
    /* Linux compiles such a call of bpf_loop in place, and then compares all of the number. */
    if (helper->id == TN_HELPER_loop && aux->no_flags && aux->callback >= 0)
        f->round.call[0] = TN_MIN(m->r[1], TN_LOOP_MAX + 1ull);
    m->r[0] = 0;
    return 0;
}

/* A function has returned, or is about to be called back for the first time: where it goes on. */
static u32 next_round(struct machine *m)
{
    struct frame *f = &m->frames[m->depth - 1];

    if (f->helper && !m->r[0] && f->helper->fn((u64)(uintptr_t)&f->round, 0, 0, 0, 0, m->run)) {
        memcpy(&m->r[1], f->round.arg, sizeof(f->round.arg));
        return begin(m);
    }
    if (f->helper)
        m->r[0] = f->round.result;
    m->depth--;
    memcpy(&m->r[6], f->saved, sizeof(f->saved));
    m->r[10] = f->fp;
    m->used = f->arena;
    m->rounds = f->rounds;
    return f->ret;
}

/* ----------------------------------------------------------------------------------------------- the loop */

int tn_vm_run(const struct tn_program *prog, struct tn_map *const *maps, void *ctx, struct tn_run *run,
              u64 budget, u64 *ret_r0)
{
    struct machine m;
    u64 *const r = m.r, left = budget ? budget : UINT64_MAX;
    u32 pc = 0;
    int err;

    m.prog = prog;
    m.run = run;
    m.depth = 0;
    m.used = stack_of(prog, 0);
    memset(m.r, 0, sizeof(m.r));
    if (m.used > ARENA_BYTES)
        return -E2BIG;
    r[1] = (uintptr_t)ctx;
    enter(&m, 0);
    watch_begin(m.arena, sizeof(m.arena));

    for (;;) {
        const struct bpf_insn *in;
        enum tn_op op;
        u8 bytes;
        u64 *d, s, imm;

        if (pc >= prog->ninsns)
            return -EINVAL;
        if (!left--)
            return -ETIME;
        in = &prog->insns[pc++];
        watch_step(pc - 1, in, r);
        op = tn_op_of(in);
        bytes = tn_op_rows[op].bytes;
        d = &r[in->dst_reg];
        s = r[in->src_reg];
        imm = (u64)(s64)in->imm;

        // clang-format off
        switch (op) {
#define A(O, NAME, ...)                                                                                      \
        case TN_OP_##NAME##64_X: *d = alu64_##NAME(*d, s); break;                                            \
        case TN_OP_##NAME##64_K: *d = alu64_##NAME(*d, imm); break;                                          \
        case TN_OP_##NAME##32_X: *d = alu32_##NAME((u32)*d, (u32)s); break;                                  \
        case TN_OP_##NAME##32_K: *d = alu32_##NAME((u32)*d, (u32)imm); break;
        TN_ALU(A, )
#undef A
#define J(O, NAME, ...)                                                                                      \
        case TN_OP_##NAME##64_X: if (is64_##NAME(*d, s)) pc += in->off; break;                               \
        case TN_OP_##NAME##64_K: if (is64_##NAME(*d, imm)) pc += in->off; break;                             \
        case TN_OP_##NAME##32_X: if (is32_##NAME((u32)*d, (u32)s)) pc += in->off; break;                     \
        case TN_OP_##NAME##32_K: if (is32_##NAME((u32)*d, (u32)imm)) pc += in->off; break;
        TN_JUMPS(J, )
#undef J
#define Z(O, NAME, ...)                                                                                      \
        case TN_OP_LDX##NAME: *d = load(s + in->off, bytes); break;                                          \
        case TN_OP_STX##NAME: store(*d + in->off, s, bytes); break;                                          \
        case TN_OP_ST##NAME:  store(*d + in->off, imm, bytes); break;
        TN_SIZES(Z, )
#undef Z
            // clang-format on
        case TN_OP_LDSXB:
        case TN_OP_LDSXH:
        case TN_OP_LDSXW:
            *d = load_sx(s + in->off, bytes);
            break;
        case TN_OP_MOVSX64_X:
        case TN_OP_MOVSX32_X:
            if (in->off == BPF_ADDR_SPACE_CAST)
                return -ENOTSUP;
            *d = sign_extend(s, (u32)in->off, bytes);
            break;
        case TN_OP_NEG64:
            *d = 0 - *d;
            break;
        case TN_OP_NEG32:
            *d = (u32)(0 - *d);
            break;
        case TN_OP_LE:
            *d = truncate_to(*d, in->imm);
            break;
        case TN_OP_BE:
        case TN_OP_BSWAP:
            *d = swap(*d, in->imm);
            break;
        case TN_OP_JA:
            pc += in->off;
            break;
        case TN_OP_JA32:
            pc += in->imm;
            break;
        case TN_OP_MAY_GOTO:
            if (m.rounds)
                m.rounds--;
            else
                pc += in->off;
            break;
        case TN_OP_LD_IMM64:
            if (pc >= prog->ninsns)
                return -EINVAL;
            err = load_imm64(in, prog, maps, d);
            if (err)
                return err;
            pc++;
            break;
        case TN_OP_ATOMIC8:
        case TN_OP_ATOMIC16:
            if (!tn_insn_is_acq_rel(in))
                return -EINVAL;
            /* fall through */
        case TN_OP_ATOMIC32:
        case TN_OP_ATOMIC64: {
            if (in->imm == BPF_LOAD_ACQ) {
                *d = load_acquire(s + in->off, bytes);
                break;
            }
            if (in->imm == BPF_STORE_REL) {
                store_release(*d + in->off, s, bytes);
                break;
            }

            void *p = (void *)(uintptr_t)(*d + in->off);
            u64 old;

            (void)watch_load(*d + in->off, bytes);
            watch_store(*d + in->off, bytes);
            err = bytes == 8 ? atomic_u64(p, in->imm, s, r[0], &old)
                             : atomic_u32(p, in->imm, (u32)s, (u32)r[0], &old);
            if (err)
                return err;
            if (in->imm == BPF_CMPXCHG)
                r[0] = old;
            else if (in->imm & BPF_FETCH)
                r[in->src_reg] = old;
            break;
        }
        case TN_OP_CALL:
            if (in->src_reg == BPF_PSEUDO_CALL) {
                err = push(&m, pc + in->imm, pc);
                if (err)
                    return err;
                pc = begin(&m);
            } else if (in->src_reg == 0) {
                const struct tn_helper *helper = tn_helper_by_id((u32)in->imm);

                if (!helper)
                    return -ENOTSUP;
                if (helper->flags & TN_HF_ROUNDS) {
                    err = call_back(&m, helper, pc);
                    if (err)
                        return err;
                    pc = next_round(&m);
                    break;
                }
                if (!watch_helper(helper, r))
                    r[0] = helper->fn(r[1], r[2], r[3], r[4], r[5], run);
            } else {
                err = watch_kfunc(in, r);
                if (err)
                    return err;
            }
            break;
        case TN_OP_LD_ABSB:
        case TN_OP_LD_ABSH:
        case TN_OP_LD_ABSW:
        case TN_OP_LD_INDB:
        case TN_OP_LD_INDH:
        case TN_OP_LD_INDW:
            if (packet_load(r[6], (s32)((BPF_MODE(in->code) == BPF_IND ? (u32)s : 0) + (u32)in->imm), bytes,
                            &r[0]))
                break;
            r[0] = 0;
            /* fall through */
        case TN_OP_EXIT:
            if (!m.depth) {
                *ret_r0 = r[0];
                return 0;
            }
            pc = next_round(&m);
            break;
        default:
            return -EINVAL;
        }
    }
}
