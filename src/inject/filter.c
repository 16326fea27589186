/* SPDX-License-Identifier: MIT */
/*
 * Evaluates a classic BPF program of seccomp(2) with the call's number known and everything else unknown.
 *
 *   value     a number, or "any"
 *   branch    on a number: one way; on any: both, one after the other
 *   answer    yes if every way through ends in SECCOMP_RET_ALLOW
 *
 * Jumps only go forward, so every way ends; a budget of steps bounds how many ways there may be. What is not
 * understood is a no. The kernel takes the strictest of several filters: so all must say yes.
 */
#include "inject/filter.h"
#include "inject/proc.h"
#include "rt/syscalls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif
#define BUDGET      20000u
#define FILTERS_MAX 64u

struct value {
    u32 n;
    bool known;
};
struct machine {
    struct value a, x, mem[BPF_MEMWORDS];
};
static const struct value any = {};

static struct value known(u32 n)
{
    return (struct value){n, true};
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

static bool allows_from(const struct sock_filter *insns, u32 n, u32 at, struct machine m, u32 nr, u32 *budget)
{
    while (at < n && *budget) {
        const struct sock_filter *i = &insns[at++];
        u32 op = BPF_OP(i->code);
        struct value src = i->code & BPF_X ? m.x : known(i->k);

        --*budget;
        switch (BPF_CLASS(i->code)) {
        case BPF_LD:
        case BPF_LDX: {
            struct value v = any;

            if (BPF_MODE(i->code) == BPF_IMM)
                v = known(i->k);
            else if (BPF_MODE(i->code) == BPF_LEN)
                v = known(sizeof(struct seccomp_data));
            else if (BPF_MODE(i->code) == BPF_MEM && i->k < BPF_MEMWORDS)
                v = m.mem[i->k];
            else if (BPF_MODE(i->code) == BPF_ABS)
                v = load(i->k, nr);
            else
                return false;
            *(BPF_CLASS(i->code) == BPF_LD ? &m.a : &m.x) = v;
            break;
        }
        case BPF_ST:
        case BPF_STX:
            if (i->k >= BPF_MEMWORDS)
                return false;
            m.mem[i->k] = BPF_CLASS(i->code) == BPF_ST ? m.a : m.x;
            break;
        case BPF_ALU:
            m.a = alu(op, m.a, src);
            break;
        case BPF_JMP:
            if (op == BPF_JA) {
                if (i->k > n)
                    return false;
                at += i->k;
                break;
            }
            if (op != BPF_JEQ && op != BPF_JGT && op != BPF_JGE && op != BPF_JSET)
                return false;
            if (!m.a.known || !src.known) {
                if (i->jt != i->jf && !allows_from(insns, n, at + i->jt, m, nr, budget))
                    return false;
                at += i->jf;
            } else {
                at += taken(op, m.a.n, src.n) ? i->jt : i->jf;
            }
            break;
        case BPF_RET: {
            struct value v = BPF_RVAL(i->code) == BPF_A ? m.a : known(i->k);

            return v.known && (v.n & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW;
        }
        case BPF_MISC:
            if (BPF_MISCOP(i->code) == BPF_TAX)
                m.x = m.a;
            else
                m.a = m.x;
            break;
        }
    }
    return false;
}

bool tn_filter_allows(const struct sock_filter *insns, u32 n, u32 nr)
{
    const struct machine start = {.a = known(0), .x = known(0)};
    u32 budget = BUDGET;

    return allows_from(insns, n, 0, start, nr, &budget);
}

u32 tn_filter_of_thread(pid_t pid, pid_t tid)
{
    static const u32 row[] = {
#define S(nr, name, why) nr,
        TN_SYSCALLS(S)
#undef S
    };
    struct sock_filter insns[BPF_MAXINSNS];
    u32 allowed = (u32)((1ull << TN_SYS_COUNT) - 1), ntids = 0, nfilters = 0;
    _free_ pid_t *tids = NULL;
    struct tn_status own, other;

    if (tn_status_read(pid, tid, &own) < 0 || own.seccomp != SECCOMP_MODE_FILTER)
        return 0;
    for (; nfilters < FILTERS_MAX; nfilters++) {
        long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (long)nfilters, insns);

        if (n < 0 && errno == ENOENT && nfilters)
            break;
        if (n <= 0 || n > BPF_MAXINSNS)
            return 0;
        for (u32 i = 0; i < TN_ARRAY_SIZE(row); i++)
            if (!tn_filter_allows(insns, (u32)n, row[i]))
                allowed &= ~(1u << i);
    }
    if (nfilters == FILTERS_MAX || tn_proc_tids(pid, &tids, &ntids) < 0)
        return 0;
    /* A thread's filters cannot be read unless it stops; their number can. */
    for (u32 i = 0; i < ntids; i++)
        if (tn_status_read(pid, tids[i], &other) == 0 &&
            (other.seccomp != own.seccomp || other.filters != own.filters))
            return 0;
    return allowed;
}
