/* SPDX-License-Identifier: MIT */
/*
 * Following flow: a work list of addresses and a byte of marks per byte of code. The marks' array is as large
 * as the segment and zero pages cost nothing until touched, which beats any cleverer set for functions of
 * every size.
 */
#include "rewrite/flow.h"

#include <errno.h>

#include "rewrite/golang.h"
#include "rt/barrier.h"

#define LOOK_BACK 32u   /* instructions before an indirect jump in which its table's idiom is looked for */
#define TABLE_MAX 4096u /* entries */

static int list_add(struct tn_flow_list *l, u64 value)
{
    if (l->n == l->cap) {
        u32 cap = l->cap ? l->cap * 2 : 32;
        u64 *p = reallocarray(l->at, cap, sizeof(*p));

        if (!p)
            return -ENOMEM;
        l->at = p;
        l->cap = cap;
    }
    l->at[l->n++] = value;
    return 0;
}

static bool list_has(const struct tn_flow_list *l, u64 value)
{
    for (u32 i = 0; i < l->n; i++)
        if (l->at[i] == value)
            return true;
    return false;
}

/* ----------------------------------------------------------------------------------- functions by address */

static u32 first_above(const struct tn_code_view *c, u64 addr)
{
    u32 lo = 0;

    for (u32 n = c->nfuncs, half; n > 1; n -= half) {
        half = n / 2;
        lo = c->funcs[lo + half].addr <= addr ? lo + half : lo;
    }
    return lo + (c->nfuncs && c->funcs[lo].addr <= addr);
}

const struct tn_func *tn_func_before(const struct tn_code_view *c, u64 addr)
{
    u32 i = first_above(c, addr);

    return i && c->funcs[i - 1].addr >= c->addr ? &c->funcs[i - 1] : NULL;
}

/* Where the i-th starts, if that is in this code. */
static u64 func_start(const struct tn_code_view *c, u32 i)
{
    return i < c->nfuncs && c->funcs[i].addr - c->addr < c->len ? c->funcs[i].addr : c->addr + c->len;
}

u64 tn_func_next(const struct tn_code_view *c, u64 addr)
{
    return func_start(c, first_above(c, addr));
}

static u64 func_end(const struct tn_code_view *c, const struct tn_func *f)
{
    u64 limit = c->addr + c->len;

    if (!f->size)
        return tn_func_next(c, f->addr);
    return f->size > limit - f->addr ? limit : f->addr + f->size;
}

const struct tn_func *tn_func_at(const struct tn_code_view *c, u64 addr)
{
    u32 i = first_above(c, addr);

    if (addr - c->addr >= c->len)
        return NULL;
    /* Functions nest a little (several entries into one body); far back there is nothing to find. */
    for (u32 tries = 0; i-- > 0 && tries < 64; tries++)
        if (c->funcs[i].addr >= c->addr && addr < func_end(c, &c->funcs[i]))
            return &c->funcs[i];
    return NULL;
}

const struct tn_func *tn_func_starting(const struct tn_code_view *c, u64 addr)
{
    u32 i = first_above(c, addr);

    return i && c->funcs[i - 1].addr == addr ? &c->funcs[i - 1] : NULL;
}

int tn_code_decode(const struct tn_code_view *c, u64 addr, struct tn_insn *ret_insn)
{
    u64 off = addr - c->addr;

    return off < c->len ? tn_x86_decode(c->bytes + off, c->len - off, addr, ret_insn) : -EILSEQ;
}

/* One that was not met before. */
static inline u8 new_step(const struct tn_code_view *c, u8 *known, u64 off)
{
    u8 step = tn_x86_step(c->bytes + off, c->len - off);

    if (known)
        tn_store(known + off, step);
    return step;
}

/* `off` bytes into the code; 0: nothing that can be decoded. */
static u8 step_at(const struct tn_code_view *c, u64 off)
{
    u8 *known = c->known ? c->known->step : NULL, step = known ? tn_load(known + off) : 0;

    return step ? step : new_step(c, known, off);
}

int tn_code_step(const struct tn_code_view *c, u64 addr, u8 *ret_step)
{
    u64 off = addr - c->addr;
    u8 step = off < c->len ? step_at(c, off) : 0;

    if (step)
        *ret_step = step;
    return step ? 0 : -EILSEQ;
}

bool tn_code_comes_to(const struct tn_code_view *c, u64 from, u64 addr, bool unknown)
{
    while (from < addr) {
        u8 step;

        if (tn_code_step(c, from, &step) < 0)
            return unknown;
        from += tn_step_len(step);
    }
    return from == addr;
}

/* ---------------------------------------------------------------------------------------------- following */

static bool own(const struct tn_flow *f, u64 addr)
{
    return addr >= f->func->addr && addr < f->end;
}

static bool terminal(u8 kind)
{
    return kind == TN_INSN_JMP || kind == TN_INSN_JMP_IND || kind == TN_INSN_RET || kind == TN_INSN_STOP ||
           kind == TN_INSN_FAR;
}

/* Where a function ends with it, it does not come back. */
static bool may_not_return(u8 kind)
{
    return kind == TN_INSN_CALL || kind == TN_INSN_CALL_IND || kind == TN_INSN_SYSCALL;
}

/* Of a spare array of marks, which blocks are not zero any more: an instruction at `off` marks two at most. */
static inline int touch(struct tn_flow *f, u64 off)
{
    u64 block = off / TN_FLOW_BLOCK + 1;

    if (!f->lent || block == f->last)
        return 0;
    f->last = block;
    return list_add(&f->touched, block - 1);
}

/* A jump through a slot, behind an endbr64 perhaps. */
static u64 plt_slot(const struct tn_code_view *c, u64 addr)
{
    struct tn_insn i;
    u8 step;

    /* Few are worth a closer look. */
    if (tn_code_step(c, addr, &step) < 0 || tn_step_what(step) != TN_STEP_LOOK)
        return 0;
    if (tn_code_decode(c, addr, &i) < 0)
        return 0;
    if (i.kind == TN_INSN_ENDBR && tn_code_decode(c, addr + i.len, &i) < 0)
        return 0;
    return i.kind == TN_INSN_JMP_IND && i.mem_off ? i.target : 0;
}

u64 tn_flow_slot(const struct tn_code_view *c, u64 from, u64 to)
{
    return plt_slot(c, to ? to : from);
}

static int leave(struct tn_flow *f, u64 from, u64 to)
{
    f->tail_call = from;
    return list_add(&f->tails, from) < 0 || list_add(&f->tails, to) < 0 ? -ENOMEM : 0;
}

/* A jump that leads out of the function. 1: to code that is to be followed, in *ret_in. */
static int jump_out(struct tn_flow *f, u64 from, u64 to, const struct tn_func **ret_in)
{
    const struct tn_func *g = f->beside;

    /* Most go to the piece that the one before went to. */
    if (!g || to < g->addr || to >= f->beside_end) {
        g = f->beside = tn_func_at(f->code, to);
        f->beside_end =
            g ? TN_MIN(func_end(f->code, g), func_start(f->code, (u32)(g - f->code->funcs) + 1)) : 0;
    }
    *ret_in = g;
    if (g && !g->part && g->addr == to) {
        if (!g->name && !list_has(&f->maybe, to) && list_add(&f->maybe, to) < 0)
            return -ENOMEM;
        return leave(f, from, to);
    }
    if (plt_slot(f->code, to))
        return leave(f, from, to);
    if (g && !g->part)
        f->shared = from; /* into the middle of somebody else */
    return 1;
}

/* A jump from `from` to `to`: followed, or known as a way out. */
static int jump(struct tn_flow *f, u64 from, u64 to)
{
    const struct tn_func *in;
    int r;

    if (to - f->code->addr >= f->code->len)
        return leave(f, from, to);
    f->mark[to - f->code->addr] |= TN_FLOW_TARGET;
    if (touch(f, to - f->code->addr) < 0 || list_add(&f->jumps, from) < 0 || list_add(&f->jumps, to) < 0)
        return -ENOMEM;
    r = own(f, to) ? 1 : jump_out(f, from, to, &in);
    return r == 1 ? list_add(&f->work, to) : r;
}

static int meet(const struct tn_code_view *c, u64 at, u8 step, struct tn_met *ret)
{
    static const u8 kinds[] = {
        [TN_STEP_PLAIN] = TN_INSN_PLAIN, [TN_STEP_PAD] = TN_INSN_NOP,          [TN_STEP_REF] = TN_INSN_PLAIN,
        [TN_STEP_LEA] = TN_INSN_PLAIN,   [TN_STEP_CALL4] = TN_INSN_CALL,       [TN_STEP_JMP1] = TN_INSN_JMP,
        [TN_STEP_JMP4] = TN_INSN_JMP,    [TN_STEP_JCC1] = TN_INSN_JCC,         [TN_STEP_JCC4] = TN_INSN_JCC,
        [TN_STEP_RET] = TN_INSN_RET,     [TN_STEP_CALL_IND] = TN_INSN_CALL_IND};
    enum tn_step what = tn_step_what(step);
    const u8 *end = c->bytes + (at - c->addr) + tn_step_len(step);
    struct tn_insn i;
    s32 rel;

    *ret = (struct tn_met){.len = (u8)tn_step_len(step),
                           .kind = kinds[what],
                           .leads = what >= TN_STEP_CALL4 && what <= TN_STEP_JCC4};
    switch (what) {
    case TN_STEP_LOOK:
        if (tn_code_decode(c, at, &i) < 0 || i.kind == TN_INSN_FAR)
            return -EILSEQ;
        ret->kind = i.kind;
        ret->target = i.target;
        ret->refers = i.mem_off;
        ret->leads = i.rel_off;
        ret->lea = i.mem_off && i.legacy && i.map == 0 && i.op == 0x8d;
        ret->lea_reg = i.reg;
        ret->std = i.legacy && i.map == 0 && i.op == 0xfd;
        break;
    case TN_STEP_LEA: /* … REX 8d ModRM displacement */
        ret->lea = true;
        ret->lea_reg = (u8)((end[-5] >> 3 & 7) | (ret->len > 6 && (end[-7] & 0xf4) == 0x44 ? 8 : 0));
        /* fall through */
    case TN_STEP_REF:
        ret->refers = true;
        /* fall through */
    case TN_STEP_CALL4:
    case TN_STEP_JMP4:
    case TN_STEP_JCC4:
        memcpy(&rel, end - 4, 4);
        ret->target = at + ret->len + (u64)(s64)rel;
        break;
    case TN_STEP_JMP1:
    case TN_STEP_JCC1:
        ret->target = at + ret->len + (u64)(s64)(s8)end[-1];
        break;
    default:
        break;
    }
    return 0;
}

int tn_code_meet(const struct tn_code_view *c, u64 addr, struct tn_met *ret)
{
    u8 step;

    return tn_code_step(c, addr, &step) < 0 ? -EILSEQ : meet(c, addr, step, ret);
}

/*
 * What comes next stands where another function begins, or this one is said to end. Behind a call that does not return, the path
 * is over. Otherwise the function truly runs on: into the next one, or into bytes no table knows (glibc's clone ends its
 * unwind range before the system call).
 */
static bool ends_at(struct tn_flow *f, u64 at, u8 last)
{
    const struct tn_func *g = tn_func_starting(f->code, at);
    bool ended = may_not_return(last);

    if ((at == f->end || (g && g != f->func)) && ended)
        return true;
    if (g && g != f->func)
        f->shared = at;
    return g && g != f->func;
}

/* Notes what an instruction refers to. */
static int note(struct tn_flow *f, u64 at, const struct tn_met *m)
{
    int r = m->refers ? list_add(&f->refs, m->target) : 0;

    if (!r && m->lea)
        r = list_add(&f->leas, m->target);
    if (!r && m->lea)
        r = list_add(&f->leas, m->lea_reg);
    if (m->std)
        f->std = at;
    return r;
}

/* The nearest one before tells, unless some overlap. */
bool tn_flow_inside(const struct tn_flow *f, u64 addr)
{
    u64 off = addr - f->code->addr;

    for (u64 back = 1; off < f->code->len && back < TN_INSN_MAX && back <= off; back++) {
        if (!(f->mark[off - back] & TN_FLOW_START))
            continue;
        if (tn_step_len(step_at(f->code, off - back)) > back)
            return true;
        if (!f->overlaps)
            return false;
    }
    return false;
}

/* Instructions overlap at `at`, which is fine behind a lock prefix that is skipped. */
static void overlap(struct tn_flow *f, u64 at, bool fine)
{
    f->overlaps = true;
    f->overlap = fine ? f->overlap : at;
}

/* The marks of an instruction's bytes but the first, in two words. */
#define LOW(n) ((n) < 1 ? 0 : (n) < 8 ? ~(~0ull << 8 * ((n)&7)) : ~0ull)
#define STARTS (0x0101010101010101 * TN_FLOW_START)
#define INNER(n)                                                                                             \
    {                                                                                                        \
        LOW(n) & STARTS & ~0xffull, LOW((n)-8) & STARTS                                                      \
    }
static const u64 inner_starts[TN_INSN_MAX + 1][2] = {
    INNER(0), INNER(1), INNER(2),  INNER(3),  INNER(4),  INNER(5),  INNER(6),  INNER(7),
    INNER(8), INNER(9), INNER(10), INNER(11), INNER(12), INNER(13), INNER(14), INNER(15)};

/* The nearest place behind `at` where a function begins, or this one is said to end. */
static u64 boundary(const struct tn_flow *f, u64 at)
{
    u64 next = at >= f->func->addr && at < f->next ? f->next : tn_func_next(f->code, at);

    return f->end > at ? TN_MIN(next, f->end) : next;
}

/* An instruction that does not only go on. 1: the path ends with it. */
static int turn(struct tn_flow *f, u64 at, const struct tn_met *m)
{
    int r = m->refers || m->std ? note(f, at, m) : 0;

    if (r < 0)
        return r;
    switch (m->kind) {
    case TN_INSN_JMP:
        r = jump(f, at, m->target);
        return r < 0 ? r : 1;
    case TN_INSN_JCC:
    case TN_INSN_LOOP:
    case TN_INSN_XBEGIN:
        return jump(f, at, m->target);
    case TN_INSN_CALL:
        /* A call of the next instruction, or anywhere inside, is a jump as well. */
        return own(f, m->target) && m->target != f->func->addr ? jump(f, at, m->target) : 0;
    case TN_INSN_JMP_IND:
        r = list_add(&f->indirect, at);
        return r < 0 ? r : 1;
    case TN_INSN_RET:
        r = list_add(&f->rets, at);
        return r < 0 ? r : 1;
    case TN_INSN_STOP:
        return 1;
    default:
        return 0;
    }
}

/*
 * Follows one path until it ends or meets what is known. Most instructions only go on: what is to be asked at boundaries
 * and for each block of marks is asked where `stop` is reached. What follows an instruction that no other overlaps is in no
 * other's middle: so that is asked where a path begins, and everywhere from the first overlap on.
 */
static int follow(struct tn_flow *f, u64 at)
{
    const struct tn_code_view *c = f->code;
    u8 *known = c->known ? c->known->step : NULL;
    u64 off = at - c->addr, stop = 0, next = at;
    struct tn_met m = {0};
    u8 *marks = f->mark, fall = 0, last = TN_INSN_JMP; /* the last instruction that is no padding */

    for (;; fall = TN_FLOW_FALL) {
        u8 mark = marks[off] |= fall, step;
        u64 w[2];
        int r;

        if (mark & TN_FLOW_START)
            return 0;
        if (off >= stop) {
            at = c->addr + off;
            if (off >= c->len)
                break;
            if (fall && at >= next && at != f->func->addr && ends_at(f, at, last))
                return 0;
            if (touch(f, off) < 0)
                return -ENOMEM;
            if ((!fall || f->overlaps) && tn_flow_inside(f, at))
                overlap(f, at, off && c->bytes[off - 1] == 0xf0);
            next = next <= at ? boundary(f, at) : next;
            stop =
                f->overlaps ? 0 : TN_MIN(next - c->addr, TN_ROUND_DOWN(off, TN_FLOW_BLOCK) + TN_FLOW_BLOCK);
        }
        step = known ? tn_load(known + off) : 0;
        if (!step)
            step = new_step(c, known, off);
        if (!step || (step >= TN_STEP_REF << 4 && meet(c, c->addr + off, step, &m) < 0))
            break;
        memcpy(w, marks + off, sizeof(w));
        w[0] &= inner_starts[tn_step_len(step)][0];
        w[1] &= inner_starts[tn_step_len(step)][1];
        if (w[0] | w[1]) {
            overlap(f, c->addr + off, c->bytes[off] == 0xf0 && !(w[0] & ~0xffffull) && !w[1]);
            stop = 0;
        }
        marks[off] = mark | TN_FLOW_START;
        if (step < TN_STEP_REF << 4) {
            last = tn_step_what(step) == TN_STEP_PLAIN ? TN_INSN_PLAIN : last;
        } else {
            r = turn(f, c->addr + off, &m);
            if (r)
                return TN_MIN(r, 0);
            last = m.kind != TN_INSN_NOP && m.kind != TN_INSN_INT3 ? m.kind : last;
        }
        off += tn_step_len(step);
    }
    f->undecodable = c->addr + off;
    return 0;
}

static int drain(struct tn_flow *f)
{
    while (f->work.n) {
        int r = follow(f, f->work.at[--f->work.n]);

        if (r < 0)
            return r;
    }
    return 0;
}

u64 tn_flow_before(const struct tn_flow *f, u64 addr, struct tn_insn *ret_insn)
{
    u64 found = 0;
    struct tn_insn i;

    if (!(tn_flow_mark(f, addr) & TN_FLOW_FALL))
        return 0;
    for (u64 back = 1; back <= 15 && back <= addr - f->code->addr; back++) {
        if (!(tn_flow_mark(f, addr - back) & TN_FLOW_START) ||
            tn_step_len(step_at(f->code, addr - back - f->code->addr)) != back ||
            tn_code_decode(f->code, addr - back, &i) < 0 || terminal(i.kind))
            continue;
        if (found)
            return 0;
        found = addr - back;
        *ret_insn = i;
    }
    return found;
}

/* -------------------------------------------------------------------------------------------- jump tables */

static bool read_ro(const struct tn_code_view *c, u64 addr, void *ret, u64 size)
{
    for (u32 i = 0; i < c->nrodata; i++) {
        const struct tn_bytes *b = &c->rodata[i];

        if (addr >= b->addr && addr - b->addr <= b->len && b->len - (addr - b->addr) >= size) {
            memcpy(ret, b->bytes + (addr - b->addr), size);
            return true;
        }
    }
    return false;
}

/* Reads a table, following each entry before the next is looked at. `relative`: 32-bit offsets from the
   table; otherwise 64-bit addresses. *ret_n: entries taken. */
static int read_table(struct tn_flow *f, u64 from, u64 table, bool relative, u32 *ret_n)
{
    const u32 entry = relative ? 4 : 8;
    u64 limit =
        UINT64_MAX; /* the nearest address behind its start that is referred to, as far as they were looked at */
    u32 n = 0, seen = 0;

    for (; n < TABLE_MAX; n++) {
        u64 at = table + n * entry, to;
        const struct tn_func *g;
        int r;

        for (; seen < f->refs.n; seen++) {
            u64 ref = f->refs.at[seen];

            if (ref > table && ref >= at && ref < limit && (ref - table) % entry == 0)
                limit = ref;
        }
        if (at == limit)
            break;
        if (relative) {
            s32 delta;

            if (!read_ro(f->code, at, &delta, sizeof(delta)))
                break;
            to = table + (u64)(s64)delta;
        } else if (!read_ro(f->code, at, &to, sizeof(to))) {
            break;
        }
        if (to - f->code->addr >= f->code->len)
            break;
        g = own(f, to) ? f->func : tn_func_at(f->code, to);
        /* Elsewhere than in the function itself, its pieces, or nameless pieces entered at their start. */
        if (!own(f, to) && (!g || (!g->part && (g->name || g->addr != to))))
            break;
        if (!(tn_flow_mark(f, to) & TN_FLOW_START) && tn_flow_inside(f, to))
            break;
        r = jump(f, from, to);
        if (!r)
            r = drain(f);
        if (r < 0)
            return r;
    }
    *ret_n = n;
    return 0;
}

/* The table that register `base` holds at `at`: its last definition before,
   or its only one in the function. */
static bool table_in(const struct tn_flow *f, u64 at, u8 base, u64 *ret_table)
{
    struct tn_insn i;
    u32 found = 0;
    u8 scratch[1];

    for (u32 n = 0; n < LOOK_BACK && (at = tn_flow_before(f, at, &i)); n++) {
        u64 off = at - f->code->addr;

        if (i.kind == TN_INSN_CALL || i.kind == TN_INSN_CALL_IND)
            break; /* what survives it is looked for in the whole function */
        if (!(tn_decode_writes(f->code->bytes + off, f->code->len - off) >> base & 1))
            continue;
        if (i.legacy && i.map == 0 && i.op == 0x8d && i.mem_off && i.reg == base) {
            *ret_table = i.target;
            return true;
        }
        return false;
    }
    for (u32 k = 0; k + 1 < f->leas.n; k += 2) {
        if (f->leas.at[k + 1] != base || !read_ro(f->code, f->leas.at[k], scratch, 1))
            continue;
        if (found && *ret_table == f->leas.at[k])
            continue;
        found++;
        *ret_table = f->leas.at[k];
    }
    return found == 1;
}

enum what { WHAT_UNKNOWN, WHAT_TAIL, WHAT_RELATIVE, WHAT_ABSOLUTE };

/* What the indirect jump at `at` is; for a table, where that is. */
static enum what classify(const struct tn_flow *f, u64 at, u64 *ret_table)
{
    struct tn_insn i, p;
    u8 reg, other = 0xff;

    if (tn_code_decode(f->code, at, &i) < 0)
        return WHAT_UNKNOWN;
    if (i.mod != 3) {
        if (!i.has_sib || i.index == 4)
            return WHAT_TAIL;
        if (i.mod == 0 && (i.base & 7) == 5 && i.scale == 8) {
            *ret_table = (u64)i.disp;
            return WHAT_ABSOLUTE;
        }
        /* Go: lea table,B; jmp *(B,I,8) */
        return f->go && i.mod == 0 && i.scale == 8 && table_in(f, at, i.base, ret_table) ? WHAT_ABSOLUTE
                                                                                         : WHAT_UNKNOWN;
    }
    reg = i.rm;
    for (u32 n = 0; n < LOOK_BACK && (at = tn_flow_before(f, at, &p)); n++) {
        u64 off = at - f->code->addr;
        u16 w = tn_decode_writes(f->code->bytes + off, f->code->len - off);
        bool plain = p.legacy && p.map == 0 && p.has_modrm;

        if (other == 0xff) {
            if (!(w >> reg & 1))
                continue;
            if (plain && p.wide && p.mod == 3 && (p.op == 0x01 || p.op == 0x03)) {
                other = (p.op == 0x01) == (p.rm == reg) ? (p.op == 0x01 ? p.reg : p.rm) : 0xff;
                if (other == 0xff || other == reg)
                    return WHAT_UNKNOWN;
                continue;
            }
            if (plain && p.op == 0x8b && p.wide) {
                if (p.mod == 3 || !p.has_sib || p.index == 4)
                    return WHAT_TAIL;
                if (p.mod == 0 && (p.base & 7) == 5 && p.scale == 8) {
                    *ret_table = (u64)p.disp;
                    return WHAT_ABSOLUTE;
                }
                return WHAT_UNKNOWN;
            }
            if (plain && p.op == 0x89 && p.wide && p.mod == 3)
                return WHAT_TAIL;
            return WHAT_UNKNOWN;
        }
        if (!(w >> reg & 1) && !(w >> other & 1))
            continue;
        /* movslq (B,I,4),R where {B, R} are the two that were added. */
        if (plain && p.wide && p.op == 0x63 && p.mod != 3 && p.has_sib && p.scale == 4 && p.index != 4 &&
            p.disp == 0 && ((p.reg == reg && p.base == other) || (p.reg == other && p.base == reg)))
            return table_in(f, at, p.base, ret_table) ? WHAT_RELATIVE : WHAT_UNKNOWN;
        /* The base may be defined between the load and the add only in code no compiler writes. */
        return WHAT_UNKNOWN;
    }
    return WHAT_UNKNOWN;
}

static int resolve_indirect(struct tn_flow *f)
{
    for (u32 k = 0; k < f->indirect.n; k++) {
        u64 at = f->indirect.at[k], table = 0;
        enum what what = classify(f, at, &table);
        u32 n = 0;
        int r;

        if (what == WHAT_TAIL) {
            r = leave(f, at, 0);
            if (r < 0)
                return r;
            continue;
        }
        if (what != WHAT_UNKNOWN) {
            r = read_table(f, at, table, what == WHAT_RELATIVE, &n);
            if (r < 0)
                return r;
        }
        if (!n)
            f->unprovable = at;
    }
    return 0;
}

bool tn_flow_jumped_from_outside(const struct tn_flow *f, u64 to, u64 lo, u64 hi)
{
    for (u32 k = 0; k + 1 < f->jumps.n; k += 2) {
        u64 from = f->jumps.at[k];
        struct tn_insn i;

        if (f->jumps.at[k + 1] == to &&
            (from < lo || from >= hi || tn_code_decode(f->code, from, &i) < 0 || !i.rel_off))
            return true;
    }
    return false;
}

/* Where Go's runtime comes back to that no jump leads to (golang.h): to be called by its recovery first, … */
static int add_recovery(struct tn_flow *f, const struct tn_go_func *g)
{
    if (!g->recovers || !own(f, g->recovers))
        return 0;
    f->mark[g->recovers - f->code->addr] |= TN_FLOW_TARGET;
    return touch(f, g->recovers - f->code->addr) < 0 || list_add(&f->jumps, UINT64_MAX) < 0 ||
                   list_add(&f->jumps, g->recovers) < 0 || list_add(&f->work, g->recovers) < 0
               ? -ENOMEM
               : drain(f);
}

/* … and once all code is known, to where a goroutine was stopped. At the entry it is as good as called. */
static int add_resumed(struct tn_flow *f, const struct tn_go_func *g)
{
    struct tn_go_points points = tn_go_points(g);

    for (u64 at = f->func->addr + 1; at < f->end; at++) {
        u8 *mark = &f->mark[at - f->code->addr];

        if (!(*mark & TN_FLOW_START) || !tn_go_resumes(f->code->go, g, &points, at))
            continue;
        *mark |= *mark & TN_FLOW_TARGET ? 0 : TN_FLOW_TARGET | TN_FLOW_RESUMED;
        if (list_add(&f->jumps, UINT64_MAX) < 0 || list_add(&f->jumps, at) < 0)
            return -ENOMEM;
    }
    return 0;
}

int tn_marks_take(const struct tn_code_view *code, u8 **ret_mark, u32 *ret_lent)
{
    struct tn_spare *spare = code->spare;
    u32 k = 0;

    while (spare && k < TN_ARRAY_SIZE(spare->mark) && spare->used >> k & 1)
        k++;
    if (!spare || k == TN_ARRAY_SIZE(spare->mark)) {
        *ret_lent = 0;
        *ret_mark = calloc(1, code->len + TN_FLOW_SLACK);
        return *ret_mark ? 0 : -ENOMEM;
    }
    if (!spare->mark[k])
        spare->mark[k] = calloc(1, code->len + TN_FLOW_SLACK);
    if (!spare->mark[k])
        return -ENOMEM;
    spare->used |= 1u << k;
    *ret_mark = spare->mark[k];
    *ret_lent = k + 1;
    return 0;
}

void tn_marks_give(const struct tn_code_view *code, u8 *mark, u32 lent)
{
    if (lent)
        code->spare->used &= ~(1u << (lent - 1));
    else
        free(mark);
}

int tn_known_open(const struct tn_code_view *code)
{
    struct tn_known *known = code->known;

    if (known && !known->step)
        known->step = calloc(1, code->len);
    if (known && !known->whole)
        known->whole = calloc(code->nfuncs / 64 + 1, sizeof(u64));
    if (known && !known->stead) {
        known->stead = calloc(code->nfuncs + 1u, sizeof(struct tn_stead *));
        known->nsteads = known->stead ? code->nfuncs : 0;
    }
    return known && (!known->step || !known->whole || !known->stead) ? -ENOMEM : 0;
}

void tn_known_clear(struct tn_known *known)
{
    for (u32 i = 0; i < known->nsteads; i++)
        tn_stead_free(known->stead[i]);
    free(known->stead);
    free(known->step);
    free(known->whole);
    *known = (struct tn_known){0};
}

static int open_flow(const struct tn_code_view *code, const struct tn_func *func, struct tn_flow *f)
{
    int r;

    *f = (struct tn_flow){.code = code,
                          .func = func,
                          .end = func_end(code, func),
                          .next = func_start(code, (u32)(func - code->funcs) + 1)};
    r = tn_marks_take(code, &f->mark, &f->lent);
    for (u32 i = 0; !r && f->lent && i < TN_FLOW_LISTS; i++) {
        f->lists[i] = code->spare->lists[f->lent - 1][i];
        f->lists[i].n = 0;
    }
    return r ? r : tn_known_open(code);
}

static int follow_all(struct tn_flow *f)
{
    struct tn_go_func g;
    int r = list_add(&f->work, f->func->addr);

    f->go = f->code->go && tn_go_at(f->code->go, f->func->addr, &g);
    if (!r)
        r = drain(f);
    if (!r && f->go)
        r = add_recovery(f, &g);
    if (!r)
        r = resolve_indirect(f);
    if (!r && f->go)
        r = add_resumed(f, &g);
    return r;
}

int tn_flow_scan(const struct tn_code_view *code, const struct tn_func *func, struct tn_flow *ret_flow)
{
    int r = open_flow(code, func, ret_flow);

    if (!r)
        r = follow_all(ret_flow);
    if (r < 0)
        tn_flow_clear(ret_flow);
    return r;
}

/* A direct jump or call that is swept over: within the function, to one of its pieces, or out of it. 1: elsewhere. */
static int swept_jump(struct tn_flow *f, u64 at, const struct tn_met *m)
{
    const struct tn_func *in = f->func;
    int r = 1;

    if (!m->leads || (m->kind == TN_INSN_CALL && (!own(f, m->target) || m->target == f->func->addr)))
        return 0;
    if (!own(f, m->target))
        r = m->target - f->code->addr < f->code->len ? jump_out(f, at, m->target, &in) : 0;
    if (r <= 0 || !in || (in != f->func && !in->part))
        return r;
    return list_add(&f->jumps, at) < 0 || list_add(&f->jumps, m->target) < 0 ||
                   (in != f->func && list_add(&f->work, (u64)(in - f->code->funcs)) < 0)
               ? -ENOMEM
               : 0;
}

/* Marks the instructions from the first to the last of the function, or of a piece. 1: it has to be followed. */
static int mark_all(struct tn_flow *f, const struct tn_func *g)
{
    const struct tn_code_view *c = f->code;
    u64 first = g->addr - c->addr, end = func_end(c, g) - c->addr;
    u64 next = func_start(c, (u32)(g - c->funcs) + 1) - c->addr, off = first;
    u8 *known = c->known->step, *marks = f->mark, step = 0, last = TN_INSN_PLAIN;
    struct tn_met m = {0};
    int r = next < end;

    if (marks[off] & TN_FLOW_START)
        return 0;
    for (; off < end && !r; off += tn_step_len(step)) {
        step = tn_load(known + off);
        if (!step)
            step = new_step(c, known, off);
        marks[off] = TN_FLOW_START;
        last = TN_INSN_PLAIN;
        if (step && step < TN_STEP_LOOK << 4)
            continue;
        if (!step || meet(c, c->addr + off, step, &m) < 0 || m.kind == TN_INSN_JMP_IND)
            r = 1;
        else
            r = swept_jump(f, c->addr + off, &m);
        last = m.kind;
    }
    for (u64 at = TN_ROUND_DOWN(first, TN_FLOW_BLOCK); at <= off; at += TN_FLOW_BLOCK)
        if (touch(f, at) < 0) {
            memset(marks + first, 0, off - first + 1);
            return -ENOMEM;
        }
    if (r || off != end)
        return r < 0 ? r : 1;
    /* It runs on to where the next one begins, or to nowhere. */
    return !terminal(last) && last != TN_INSN_STOP &&
           (end == c->len || (next != end && !(g == f->func && may_not_return(last))));
}

static int sweep(struct tn_flow *f)
{
    const struct tn_code_view *c = f->code;
    int r = mark_all(f, f->func);

    while (!r && f->work.n)
        r = mark_all(f, &c->funcs[f->work.at[--f->work.n]]);
    for (u32 k = 1; !r && k < f->jumps.n; k += 2) {
        u8 *mark = &f->mark[f->jumps.at[k] - c->addr];

        r = !(*mark & TN_FLOW_START);
        *mark |= TN_FLOW_TARGET;
    }
    return r;
}

int tn_flow_sweep(const struct tn_code_view *code, const struct tn_func *func, struct tn_flow *ret_flow)
{
    int r = code->go || !code->spare || !code->known ? 1 : open_flow(code, func, ret_flow);

    return r ? r : sweep(ret_flow);
}

void tn_spare_clear(struct tn_spare *spare)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(spare->mark); k++) {
        free(spare->mark[k]);
        for (u32 i = 0; i < TN_FLOW_LISTS; i++)
            free(spare->lists[k][i].at);
    }
    *spare = (struct tn_spare){0};
}

void tn_flow_clear(struct tn_flow *f)
{
    for (u32 i = 0; i < f->touched.n; i++)
        memset(f->mark + f->touched.at[i] * TN_FLOW_BLOCK, 0, TN_FLOW_BLOCK + 16);
    for (u32 i = 0; i < TN_FLOW_LISTS; i++)
        if (f->lent)
            f->code->spare->lists[f->lent - 1][i] = f->lists[i];
        else
            free(f->lists[i].at);
    if (f->code)
        tn_marks_give(f->code, f->mark, f->lent);
    *f = (struct tn_flow){0};
}
