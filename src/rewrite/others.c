/* SPDX-License-Identifier: MIT */
/*
 * Every direct jump there is in the code, at any byte: by what was found once (aims.h), or by a look at all of it for this one plan.
 *
 *     e9 │ 12 34 00 00 │       four bytes that lead into a patch, counted from where they end: are they a jump's?
 *        └ op before           if so: does an instruction begin there, in the function that holds it?
 *
 * What cannot be told counts as a jump, so a doubt refuses. Numbers are looked for first, since nearly none leads there.
 */
#include "rewrite/others.h"

#include <errno.h>

#include "rewrite/aims.h"
#include "rewrite/refusals.h"
#include "rt/barrier.h"

static bool is_prefix(u8 byte)
{
    static const u8 prefixes[] = {0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x66, 0x67};

    return memchr(prefixes, byte, sizeof(prefixes));
}

/*
 * tn_patch_forbids, where it is not known whether it is a jump, or data that looks like one: into an instruction no compiler or
 * person jumps but behind its prefixes.
 */
static bool forbidden_guess(const struct tn_patch *p, u64 to)
{
    u64 off = to - p->addr;

    if (!tn_patch_forbids(p, to))
        return false;
    for (u32 k = 0; k < p->ninsns; k++)
        for (u32 b = p->insn_off[k];
             off > p->insn_off[k] && off < p->insn_off[k] + (u32)p->insn_len[k] && b < off; b++)
            if (!is_prefix(p->expected[b]))
                return false;
    return true;
}

/* Is there any such place? */
static bool has_forbidden(const struct tn_patch *p)
{
    for (u32 b = 1; b < tn_patch_span(p); b++)
        if (forbidden_guess(p, p->addr + b))
            return true;
    return false;
}

/* Is it known that all of a piece can be decoded, and that no jump between `at` and `end` leads into the patch? */
static bool harmless(const struct tn_code_view *c, const struct tn_func *g, u64 at, u64 end,
                     const struct tn_patch *p)
{
    u64 lo = p->addr - c->addr, from = at - c->addr, n = g ? (u64)(g - c->funcs) : 0;
    const struct tn_aim *aim;
    u32 naims;

    if (!g || !c->known || !c->aims || !c->aims->first || !(tn_load(&c->known->whole[n / 64]) >> n % 64 & 1))
        return false;
    aim = tn_aims_at(c->aims, lo, lo + tn_patch_span(p), &naims);
    for (u32 i = 0; i < naims; i++)
        if (aim[i].at - from < end - at && aim[i].to - lo < tn_patch_span(p))
            return false;
    return true;
}

/* Pieces that may belong to the function were not followed;
   no direct jump in them may lead into the window. */
int tn_others_maybe(const struct tn_flow *f, const struct tn_patch *p, struct tn_error *err)
{
    const struct tn_code_view *c = f->code;

    for (u32 k = 0; k < f->maybe.n; k++) {
        const struct tn_func *g = tn_func_starting(c, f->maybe.at[k]);
        u64 at = f->maybe.at[k], end = g && g->size ? at + g->size : tn_func_next(c, at);

        if (harmless(c, g, at, end, p))
            continue;
        while (at < end) {
            struct tn_met m = {0};
            u8 step;

            if (tn_code_step(c, at, &step) < 0)
                return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, at, NULL);
            if (tn_step_leads(step) && tn_code_meet(c, at, &m) == 0 && m.leads &&
                tn_patch_forbids(p, m.target))
                return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, at, NULL);
            at += tn_step_len(step);
        }
        if (g && c->known)
            tn_fetch_or(&c->known->whole[(g - c->funcs) / 64], 1ull << (g - c->funcs) % 64);
    }
    return 0;
}

bool tn_others_begin(const struct tn_code_view *c, const struct tn_flow *f, u64 at)
{
    const struct tn_func *g;

    if (f && tn_flow_mark(f, at) & TN_FLOW_START)
        return true;
    if (f && tn_flow_inside(f, at))
        return false;
    g = tn_func_before(c, at);
    return !g || tn_code_comes_to(c, g->addr, at, true);
}

#define BLOCK 64u

/* Does one of BLOCK displacements, at p and the bytes behind it, lead to [lo, lo + span)? p
   is `at` bytes from where lo is counted. Wrapping only finds too much. Four rounds of
   whole words, which vectors do at once. */
static bool block_leads(const u8 *p, u32 at, u32 lo, u32 span)
{
    u32 hit = 0;

    for (u32 shift = 0; shift < 4; shift++) {
        u32 rel[BLOCK / 4];

        memcpy(rel, p + shift, sizeof(rel));
        for (u32 i = 0; i < BLOCK / 4; i++)
            hit |= rel[i] + (at + shift + i * 4 + 4 - lo) < span;
    }
    return hit;
}

/* The instruction whose displacement stands `off` bytes into the code, if that is a jump or a call's; else 0.
   There is no displacement at the very start. */
static u64 jump_around(const struct tn_code_view *c, u64 off)
{
    u8 op = c->bytes[off - 1];

    if (op == 0xe9 || op == 0xe8)
        return c->addr + off - 1;
    if (off >= 2 &&
        ((c->bytes[off - 2] == 0x0f && (op & 0xf0) == 0x80) || (c->bytes[off - 2] == 0xc7 && op == 0xf8)))
        return c->addr + off - 2;
    return 0;
}

static bool is_short(u8 op)
{
    return op == 0xeb || (op & 0xf0) == 0x70 || (op & 0xfc) == 0xe0;
}

static bool leads_into(const struct tn_code_view *c, const struct tn_flow *f, const struct tn_patch *p,
                       u64 at, u64 to)
{
    return forbidden_guess(p, to) &&
           !(tn_patch_holds(p, at, to) && f && tn_flow_mark(f, at) & TN_FLOW_START) &&
           tn_others_begin(c, f, at);
}

/* The jumps that were found once for all of the code (aims.h). 0: none of them leads into the patch. */
static u64 known_into(const struct tn_flow *f, const struct tn_patch *p)
{
    const struct tn_code_view *c = f->code;
    u64 lo = p->addr + 1 - c->addr, hi = p->addr + tn_patch_span(p) - c->addr;
    u32 n;
    const struct tn_aim *aim = tn_aims_at(c->aims, lo, hi, &n);

    for (u32 i = 0; i < n; i++)
        if (aim[i].to - lo < hi - lo && leads_into(c, f, p, c->addr + aim[i].at, c->addr + aim[i].to))
            return c->addr + aim[i].at;
    return 0;
}

/* A short jump that nobody followed (f NULL: none was); 0: there is none. */
static u64 short_into(const struct tn_code_view *c, const struct tn_flow *f, const struct tn_patch *p)
{
    u64 at = p->addr - c->addr, end = at + tn_patch_span(p) + 128;

    for (at = at > 130 ? at - 130 : 0; at < end && at + 2 <= c->len; at++)
        if (is_short(c->bytes[at]) &&
            leads_into(c, f, p, c->addr + at, c->addr + at + 2 + (u64)(s64)(s8)c->bytes[at + 1]))
            return c->addr + at;
    return 0;
}

/* A jump or call with four bytes of displacement into one of the patches; 0: there is none. */
static u64 near_into(const struct tn_flow *f, const struct tn_plan *plan, u32 *ret_which)
{
    const struct tn_code_view *c = f->code;
    u64 lo = UINT64_MAX, hi = 0;

    for (u32 k = 0; k < plan->npatches; k++) {
        if (!has_forbidden(&plan->patches[k]))
            continue;
        lo = TN_MIN(lo, plan->patches[k].addr + 1 - c->addr);
        hi = TN_MAX(hi, plan->patches[k].addr + tn_patch_span(&plan->patches[k]) - c->addr);
    }
    for (u64 off = 1; lo < hi && c->len >= 4 && off <= c->len - 4; off++) {
        u64 at, to;
        s32 rel;

        while (c->len - off >= BLOCK + 4 && !block_leads(c->bytes + off, (u32)off, (u32)lo, (u32)(hi - lo)))
            off += BLOCK;
        if (off > c->len - 4)
            break;
        memcpy(&rel, c->bytes + off, 4);
        to = off + 4 + (u64)(s64)rel;
        if (to - lo >= hi - lo)
            continue;
        at = jump_around(c, off);
        for (u32 k = 0; at && k < plan->npatches; k++)
            if (leads_into(c, f, &plan->patches[k], at, c->addr + to)) {
                *ret_which = k;
                return at;
            }
    }
    return 0;
}

/*
 * Nor may a direct jump that was not followed lead into a window: from a landing pad, which only the unwinder
 * enters, or from another function (the C library's mempcpy goes on behind the first instruction of memmove).
 * Displacements are looked for first, byte by byte, unless somebody has done so; then it is asked whether they are ones.
 */
int tn_others_check(const struct tn_flow *f, const struct tn_plan *plan, u32 *ret_which, struct tn_error *err)
{
    bool known = f->code->aims && f->code->aims->first;
    u64 at = known ? 0 : near_into(f, plan, ret_which);

    for (u32 k = 0; k < plan->npatches && !at; k++) {
        if (!has_forbidden(&plan->patches[k]))
            continue;
        *ret_which = k;
        at = known ? known_into(f, &plan->patches[k]) : short_into(f->code, f, &plan->patches[k]);
    }
    return at ? tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, at, NULL) : 0;
}

/* The same for many windows at once: a byte of marks a byte of code, and one pass. */
int tn_plan_others(const struct tn_code_view *c, struct tn_patch *patches, u32 n)
{
    _free_ u8 *inside = calloc(1, c->len ? c->len : 1);

    if (!inside)
        return -ENOMEM;
    for (u32 k = 0; k < n; k++)
        for (u32 b = 1; !patches[k].refused && b < patches[k].len; b++)
            inside[patches[k].addr + b - c->addr] = 1;
    for (u64 off = 1; c->len >= 4 && off <= c->len - 4; off++) {
        u64 at, to;
        s32 rel;

        memcpy(&rel, c->bytes + off, 4);
        to = off + 4 + (u64)(s64)rel;
        if (to >= c->len || !inside[to])
            continue;
        at = jump_around(c, off);
        if (!at || !tn_others_begin(c, NULL, at))
            continue;
        for (u32 k = 0; k < n; k++)
            if (!patches[k].refused && forbidden_guess(&patches[k], c->addr + to))
                patches[k].refused = TN_REFUSE_JUMP_INTO_WINDOW;
    }
    for (u32 k = 0; k < n; k++)
        if (!patches[k].refused && short_into(c, NULL, &patches[k]))
            patches[k].refused = TN_REFUSE_JUMP_INTO_WINDOW;
    return 0;
}
