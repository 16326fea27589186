/* SPDX-License-Identifier: MIT */
/*
 * The window's bytes are unknown at first, what stands behind it is given. Then, for each number of prefixes before
 * each jump: the opcodes are known, and the offsets are filled in one after the other. Bytes of an offset that are
 * known are as they are; the lowest ones, if unknown, make a range, in which room is asked for; unknown ones above those
 * (they belong to a later jump) are tried: what leads into a page that has stubs first, then any.
 */
#include "rewrite/pun.h"

#include <errno.h>

#define PREFIX    0x2e /* a segment override, which no jump heeds */
#define QUESTIONS 20000u

struct job {
    const struct tn_patch *p;
    u64 addr;
    u8 w[TN_PATCH_MAX + 8];
    bool known[TN_PATCH_MAX + 8];
    u8 op[TN_PUN_INSNS]; /* where each opcode stands */
    u64 stub[TN_PUN_INSNS];
    u32 questions;
    tn_pun_room *room;
    tn_pun_page *page;
    void *arg;
};

/* The offset at w[at], of which the lowest `low` bytes are not known: the range it leads to. */
static void range(const struct job *j, u32 at, u32 low, u64 *ret_lo, u64 *ret_hi)
{
    u32 rel = 0;

    for (u32 b = low; b < 4; b++)
        rel |= (u32)j->w[at + b] << 8 * b;
    *ret_lo = j->addr + at + 4 + (u64)(s64)(s32)rel;
    *ret_hi = *ret_lo + ((1ull << 8 * low) - 1);
}

/* The t-th value for `n` unknown bytes: all of them in turn where there is one, scattered ones otherwise. */
static u32 value(u32 t, u32 n)
{
    return n == 1 ? t : t * 2654435761u >> 3;
}

static bool solve(struct job *j, u32 k);

/* The kth jump to room in [lo, hi], and those behind it. */
static bool lead(struct job *j, u32 k, u32 low, u64 lo, u64 hi)
{
    u32 at = j->op[k] + 1u;
    u64 to;

    j->questions--;
    if (!j->room(j->arg, lo, hi, j->stub, k, &to) || to < lo || to > hi)
        return false;
    for (u32 b = 0; b < low; b++) {
        j->w[at + b] = (u8)((to - j->addr - at - 4) >> 8 * b);
        j->known[at + b] = true;
    }
    j->stub[k] = to;
    return solve(j, k + 1);
}

/* The unknown bytes of an offset from the lowest `low` ones on, as `rel` has them. False: another has a byte that is known. */
static bool fill(struct job *j, u32 at, u32 low, const bool *was, u32 rel)
{
    for (u32 b = low; b < 4; b++)
        if (was[b] && j->w[at + b] != (u8)(rel >> 8 * b))
            return false;
    for (u32 b = low; b < 4; b++) {
        j->w[at + b] = (u8)(rel >> 8 * b);
        j->known[at + b] = true;
    }
    return true;
}

/* Into the pages that there are. Offsets whose lowest bytes are known differ by more than one. */
static bool lead_to_pages(struct job *j, u32 k, u32 low, const bool *was)
{
    u32 at = j->op[k] + 1u, fixed = 0, given = 0, step;
    u64 base = j->addr + at + 4;

    for (; !low && fixed < 3 && was[fixed]; fixed++)
        given |= (u32)j->w[at + fixed] << 8 * fixed;
    step = 1u << 8 * (low + fixed);
    for (u64 page = j->page(j->arg, base > 1ull << 31 ? base - (1ull << 31) : 0);
         page <= base + 0x7fffffff && j->questions; page = j->page(j->arg, page + TN_PUN_PAGE)) {
        u64 rel = page - base, end = rel + TN_PUN_PAGE;

        rel = low ? rel & ~(u64)(step - 1) : rel + ((given - (u32)rel) & (step - 1));
        for (; (s64)rel < (s64)end && j->questions; rel += step) {
            u64 lo, hi;

            if ((s64)rel != (s32)rel || !fill(j, at, low, was, (u32)rel))
                continue;
            range(j, at, low, &lo, &hi);
            if (lead(j, k, low, TN_MAX(lo, page), TN_MIN(hi, page + TN_PUN_PAGE - 1)))
                return true;
            memcpy(j->known + at, was, 4 * sizeof(*was));
        }
    }
    return false;
}

static bool solve(struct job *j, u32 k)
{
    u32 at, low = 0, above = 0, tries;
    bool was[4];

    if (k == j->p->ninsns || k == TN_PUN_INSNS)
        return true;
    at = j->op[k] + 1u;
    memcpy(was, j->known + at, sizeof(was));
    while (low < 3 && !was[low])
        low++;
    for (u32 b = low; b < 4; b++)
        above += !was[b];
    if (above && j->page && lead_to_pages(j, k, low, was))
        return true;
    tries = above == 0 ? 1 : above == 1 ? 256 : 2048;
    for (u32 t = 0; t < tries && j->questions; t++) {
        u32 v = value(t, above);
        u64 lo, hi;

        for (u32 b = low; b < 4; b++)
            if (!was[b]) {
                j->w[at + b] = (u8)v;
                v >>= 8;
                j->known[at + b] = true;
            }
        range(j, at, low, &lo, &hi);
        if (lead(j, k, low, lo, hi))
            return true;
    }
    memcpy(j->known + at, was, sizeof(was));
    return false;
}

/* The highest byte of an offset, where it is given, tells most: sixteen megabytes. Is anything free there? */
static bool hopeless(struct job *j)
{
    for (u32 k = 0; k < j->p->ninsns && k < TN_PUN_INSNS; k++) {
        u32 at = j->op[k] + 1u;
        u64 lo, hi, any;

        if (!j->known[at + 3])
            continue;
        range(j, at, 3, &lo, &hi);
        if (!j->room(j->arg, lo, hi, NULL, 0, &any))
            return true;
    }
    return false;
}

/* Prefixes before the jumps from the kth on, the least there can be first; `end`: of the one before. */
static bool prefixes(struct job *j, u32 k, u32 end)
{
    const struct tn_patch *p = j->p;
    u32 start, room;

    if (k == p->ninsns || k == TN_PUN_INSNS)
        return end <= p->len + (u32)p->behind && !hopeless(j) && solve(j, 0);
    start = p->insn_off[k];
    room = k + 1u == p->ninsns ? p->len - start : p->insn_len[k];
    for (u32 n = 0; n < room && n < 4; n++) {
        memset(j->w + start, PREFIX, n);
        j->w[start + n] = 0xe9;
        j->op[k] = (u8)(start + n);
        memset(j->known + start, 1, n + 1);
        if (prefixes(j, k + 1, start + n + 5))
            return true;
        memset(j->known + start, 0, n + 1);
    }
    return false;
}

int tn_pun(const struct tn_patch *p, u64 bias, tn_pun_room *room, tn_pun_page *page, void *arg,
           struct tn_pun *ret)
{
    struct job j = {
        .p = p, .addr = p->addr + bias, .questions = QUESTIONS, .room = room, .page = page, .arg = arg};
    u32 end;

    if (!p->punned || !p->ninsns || p->ninsns > TN_PUN_INSNS || !p->len ||
        p->len + p->behind > TN_PATCH_MAX || p->insn_off[p->ninsns - 1] + p->insn_len[p->ninsns - 1] > p->len)
        return -EINVAL;
    memcpy(j.w, p->expected, TN_PATCH_MAX);
    memset(j.known + p->len, 1, sizeof(j.known) - p->len);
    if (!prefixes(&j, 0, 0))
        return -ENOSPC;
    end = j.op[p->ninsns - 1] + 5u;
    *ret = (struct tn_pun){
        .depends = (u8)(end > p->len ? end - p->len : 0), .prefixes = j.op[0], .njumps = p->ninsns};
    /* What no jump needs is never run, nor jumped to. */
    for (u32 b = 0; b < p->len; b++)
        ret->bytes[b] = j.known[b] ? j.w[b] : 0xcc;
    memcpy(ret->bytes + p->len, p->expected + p->len, ret->depends);
    memcpy(ret->stub, j.stub, sizeof(ret->stub));
    return 0;
}

u32 tn_pun_stub(u64 at, u64 to, u8 ret[TN_PUN_STUB])
{
    s64 rel = (s64)(to - at - 5);
    s32 rel32 = (s32)rel;

    if (rel == rel32) {
        ret[0] = 0xe9;
        memcpy(ret + 1, &rel32, sizeof(rel32));
        return 5;
    }
    memcpy(ret, "\xff\x25\0\0\0\0", 6); /* jmp *0(%rip) */
    memcpy(ret + 6, &to, sizeof(to));
    return 14;
}

u64 tn_pun_target(const u8 *bytes, u32 len, u64 addr)
{
    u32 at = 0;
    s32 rel;

    while (at < len && bytes[at] == PREFIX)
        at++;
    if (at >= len || len - at < 5 || bytes[at] != 0xe9)
        return 0;
    memcpy(&rel, bytes + at + 1, sizeof(rel));
    return addr + at + 5 + (u64)(s64)rel;
}

const char *tn_pun_tactic(const struct tn_pun *pun)
{
    return pun->njumps > 1 ? "evicted" : pun->prefixes ? "punned_prefix" : "punned";
}
