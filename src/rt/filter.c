/* SPDX-License-Identifier: MIT */
/*
 * Evaluates a classic BPF program of seccomp(2) with the call's number known and everything else unknown.
 *
 *   value     a number, or "any"
 *   branch    on a number: one way; on any: one after the other, the second one waits on a stack
 *   answer    yes if every way through ends in SECCOMP_RET_ALLOW
 *
 * Jumps only go forward, so every way ends; a budget of steps bounds how many ways there may be, and the stack how many wait
 * (the agent does this on a thread of the host's). What is not understood is a no. The kernel takes the strictest of several
 * filters: so all must say yes.
 */
#include "rt/filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "rt/syscalls.h"

#define BUDGET 20000u

/* Of tn_filter_way.value. */
enum { A, X, MEMORY };
_Static_assert(MEMORY + BPF_MEMWORDS == TN_ARRAY_SIZE(((struct tn_filter_way *)0)->value), "room for all");

struct value {
    u32 n;
    bool known;
};
static const struct value any = {0};

static struct value known(u32 n)
{
    return (struct value){n, true};
}

static struct value get(const struct tn_filter_way *w, u32 i)
{
    return (struct value){w->value[i], w->known >> i & 1};
}

static void set(struct tn_filter_way *w, u32 i, struct value v)
{
    w->value[i] = v.n;
    w->known = (w->known & ~(1u << i)) | (u32)v.known << i;
}

static struct value load(u32 off, u32 nr)
{
    switch (off) {
    case offsetof(struct seccomp_data, nr):
        return known(nr);
    case offsetof(struct seccomp_data, arch):
        return known(AUDIT_ARCH_X86_64);
    default:
        return any;
    }
}

static struct value alu(u32 op, struct value a, struct value b)
{
    if (op == BPF_NEG)
        return a.known ? known(0 - a.n) : any;
    if (!a.known || !b.known)
        return any;
    switch (op) {
    case BPF_ADD:
        return known(a.n + b.n);
    case BPF_SUB:
        return known(a.n - b.n);
    case BPF_MUL:
        return known(a.n * b.n);
    case BPF_DIV:
        return b.n ? known(a.n / b.n) : any;
    case BPF_OR:
        return known(a.n | b.n);
    case BPF_AND:
        return known(a.n & b.n);
    case BPF_XOR:
        return known(a.n ^ b.n);
    case BPF_LSH:
        return b.n < 32 ? known(a.n << b.n) : any;
    case BPF_RSH:
        return b.n < 32 ? known(a.n >> b.n) : any;
    default:
        return any;
    }
}

static bool taken(u32 op, u32 a, u32 b)
{
    return op == BPF_JEQ ? a == b : op == BPF_JGT ? a > b : op == BPF_JGE ? a >= b : (a & b) != 0;
}

/* One instruction. 1: on it goes; 0: this way ends in a yes; −1: no. An unknown branch puts its other way into *other. */
static int step(const struct sock_filter *i, u32 n, u32 nr, struct tn_filter_way *w,
                struct tn_filter_way *other, bool *ret_forks)
{
    struct value a = get(w, A), src = i->code & BPF_X ? get(w, X) : known(i->k), v = any;
    u32 op = BPF_OP(i->code), to = BPF_CLASS(i->code) == BPF_LD || BPF_CLASS(i->code) == BPF_ST ? A : X;

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
    case BPF_LDX:
        if (BPF_MODE(i->code) == BPF_IMM)
            v = known(i->k);
        else if (BPF_MODE(i->code) == BPF_LEN)
            v = known(sizeof(struct seccomp_data));
        else if (BPF_MODE(i->code) == BPF_MEM && i->k < BPF_MEMWORDS)
            v = get(w, MEMORY + i->k);
        else if (BPF_MODE(i->code) == BPF_ABS)
            v = load(i->k, nr);
        else
            return -1;
        set(w, to, v);
        return 1;
    case BPF_ST:
    case BPF_STX:
        if (i->k >= BPF_MEMWORDS)
            return -1;
        set(w, MEMORY + i->k, get(w, to));
        return 1;
    case BPF_ALU:
        set(w, A, alu(op, a, src));
        return 1;
    case BPF_JMP:
        if (op == BPF_JA) {
            if (i->k > n)
                return -1;
            w->at += i->k;
            return 1;
        }
        if (op != BPF_JEQ && op != BPF_JGT && op != BPF_JGE && op != BPF_JSET)
            return -1;
        if (a.known && src.known) {
            w->at += taken(op, a.n, src.n) ? i->jt : i->jf;
            return 1;
        }
        if (i->jt != i->jf) {
            *other = *w;
            other->at += i->jf;
            *ret_forks = true;
        }
        w->at += i->jt;
        return 1;
    case BPF_RET:
        v = BPF_RVAL(i->code) == BPF_A ? a : known(i->k);
        return v.known && (v.n & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW ? 0 : -1;
    default:
        if (BPF_MISCOP(i->code) == BPF_TAX)
            set(w, X, a);
        else
            set(w, A, get(w, X));
        return 1;
    }
}

bool tn_filter_allows(struct tn_filter_room *room, const struct sock_filter *insns, u32 n, u32 nr)
{
    struct tn_filter_way w = {.known = 1u << A | 1u << X};
    u32 nwaiting = 0;

    for (u32 steps = 0; steps < BUDGET && w.at < n; steps++) {
        bool forks = false;
        int r;

        if (nwaiting == TN_FILTER_WAITING)
            return false;
        r = step(&insns[w.at++], n, nr, &w, &room->waiting[nwaiting], &forks);
        nwaiting += forks;
        if (r < 0)
            return false;
        if (r > 0)
            continue;
        if (!nwaiting)
            return true;
        w = room->waiting[--nwaiting];
    }
    return false;
}

u32 tn_filter_rows(struct tn_filter_room *room, const struct sock_filter *insns, u32 n)
{
    static const u16 row[] = {
#define S(nr, name, why) nr,
        TN_SYSCALLS(S)
#undef S
    };
    u32 allowed = 0;

    for (u32 i = 0; i < TN_ARRAY_SIZE(row); i++)
        allowed |= (u32)tn_filter_allows(room, insns, n, row[i]) << i;
    return allowed;
}
