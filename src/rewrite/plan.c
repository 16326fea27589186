/* SPDX-License-Identifier: MIT */
/*
 * Windows. A patch needs five bytes that no one can jump into:
 *
 *     entry, offset      | insn | insn | insn |            window from the place on, whole instructions
 *     short function     | insn | ret | nop nop nop |      … filled up with padding that nothing reaches
 *     exit               | pop | pop | ret | nop |         window around a ret: padding behind it, and as
 *                                    ▲ hook                many displaced instructions before it as it takes
 *     static probe       | je ──┐ nop | ▼ insn |           the same where an offset has no room behind it: a jump
 *                                  ▲ hook                  that is displaced with its target is no jump into it
 *     no room, or none   | insn | insn …                   a punned jump (pun.h), over the one instruction; or over it and
 *     that is provable     ▲ hook                          some behind it, each of which keeps a jump of its own
 *     system call        | mov $nr,%eax | syscall | cmp |  a window before the instruction and one behind it, never
 *       entered, left     ────────▲ hook            ▲ ──   on it: whoever sleeps in the call sleeps in the host's own
 *                                                          code, and a call that starts again finds its two bytes
 *
 * An endbr64 at the entry stays where it is: indirect calls must find it. The window is behind it, and the
 * hook there counts as the entry. Jumps back to the entry are displaced too, and led past the hook: a loop's round is no
 * call.
 */
#include "rewrite/plan.h"

#include <errno.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/golang.h"
#include "rewrite/others.h"
#include "rewrite/refusals.h"
#include "x86/decode.h"

#define JUMP_LEN      5u
#define INT3          0xcc
#define WINDOW_BEFORE 5u  /* instructions displaced before the one that is meant */
#define ROUNDS_MAX    16u /* jumps from a function's loops to its first instruction */
#define ALONE_MAX     16u /* bytes, of an instruction hooked alone and those evicted with it: any one has room */

#define TACTIC_PLAIN       "jump5"
#define TACTIC_ALONE(plan) ((plan)->npatches && (plan)->patches[0].punned ? "punned" : "jump5_alone")

struct window {
    struct tn_patch patch;
    bool padded;
};

bool tn_insn_movable(const struct tn_insn *i)
{
    if (i->kind == TN_INSN_FAR || i->kind == TN_INSN_XBEGIN)
        return false;
    if (i->rel_off && i->rel_size != 1 && i->rel_size != 4)
        return false;
    /* Its return address is to be the host's own, which is pushed before the operand is read. */
    if (i->kind == TN_INSN_CALL_IND && i->has_modrm &&
        (i->mod == 3 ? i->rm == 4 : i->has_sib && i->base == 4))
        return false;
    return !(i->mem_off && i->addr32);
}

bool tn_insn_ends(const struct tn_insn *i)
{
    return i->kind == TN_INSN_RET || i->kind == TN_INSN_JMP || i->kind == TN_INSN_JMP_IND ||
           i->kind == TN_INSN_STOP;
}

/* The same where it stands, in a window that began at `start`; `bare` is kept from one to the next. */
static int check_movable(const struct tn_flow *f, u64 start, u64 at, const struct tn_insn *i, bool *bare,
                         struct tn_error *err)
{
    u64 off = at - f->code->addr;

    if (!tn_insn_movable(i))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_NOT_RELOCATABLE, at, NULL);
    if (!f->go)
        return 0;
    if (at == start)
        *bare = at == f->func->addr;
    if (!tn_go_movable(i, *bare))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_FAULT, at, NULL);
    *bare = *bare && !(tn_decode_writes(f->code->bytes + off, f->code->len - off) >> 4 & 1);
    return 0;
}

/* Bytes from `addr` on that are padding: nops and breakpoints that no path reaches,
   before the next function. */
static u64 padding(const struct tn_flow *f, u64 addr, u64 want)
{
    u64 limit = tn_func_next(f->code, addr - 1), n = 0;

    while (n < want) {
        u64 at = addr + n;
        struct tn_insn i;

        if (at >= limit || tn_flow_starting(f, at) || tn_code_decode(f->code, at, &i) < 0 ||
            (i.kind != TN_INSN_NOP && i.kind != TN_INSN_INT3) || i.len > limit - at)
            break;
        for (u32 b = 0; b < i.len; b++)
            if (tn_flow_mark(f, at + b) || tn_flow_inside(f, at + b))
                return n;
        n += i.len;
    }
    return n;
}

/*
 * The return address of a call that is not the window's last instruction lies inside it. Whoever is in the
 * callee while the bytes change would come back into the middle of the jump, and no program counter tells of
 * him; later ones would return to our text, through which nothing can be thrown.
 */
static u64 call_inside(const struct tn_flow *f, const struct tn_patch *p)
{
    for (u32 k = 0; k < p->ninsns; k++) {
        u64 at = p->addr + p->insn_off[k];
        struct tn_met m;

        if (p->insn_off[k] + p->insn_len[k] < p->len + p->behind && tn_code_meet(f->code, at, &m) == 0 &&
            (m.kind == TN_INSN_CALL || m.kind == TN_INSN_CALL_IND))
            return at;
    }
    return 0;
}

/* A displaced jump, of code that nobody followed perhaps, into the middle of what is displaced; 0: there is none. */
static u64 jumps_amiss(const struct tn_code_view *c, const struct tn_patch *p)
{
    for (u32 k = 0; k < p->ninsns; k++) {
        u64 at = p->addr + p->insn_off[k];
        bool begins = false;
        struct tn_met m;

        if (tn_code_meet(c, at, &m) < 0 || !m.leads || m.target - p->addr - 1 >= tn_patch_span(p) - 1u)
            continue;
        for (u32 n = 0; n < p->ninsns; n++)
            begins |= m.target == p->addr + p->insn_off[n];
        if (!begins)
            return at;
    }
    return 0;
}

/*
 * Builds the window that starts at `addr` and holds at least the instructions up to `through` (inclusive; 0:
 * as many as the jump needs). Everything that may be wrong with it is found here.
 */
static int build(const struct tn_flow *f, u64 addr, u64 through, struct window *ret_w, struct tn_error *err)
{
    struct window w = {.patch = {.addr = addr, .own_stack = f->go}};
    struct tn_patch *p = &w.patch;
    u64 at = addr, moved, kept;
    bool done = false, bare = false;

    while (!done && (at - addr < JUMP_LEN || (through && at <= through))) {
        struct tn_insn i = {0};
        u32 len;
        u8 step;

        if (at > addr && tn_flow_starting(f, at))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_WINDOW_CROSSES, at, NULL);
        if (!(tn_flow_mark(f, at) & TN_FLOW_START) || tn_code_step(f->code, at, &step) < 0)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, at, NULL);
        /* What only goes on can do so anywhere. */
        if ((f->go || step >= TN_STEP_REF << 4) &&
            (tn_code_decode(f->code, at, &i) < 0 || check_movable(f, addr, at, &i, &bare, err) < 0))
            return -ENOTSUP;
        len = tn_step_len(step);
        if (p->ninsns == TN_ARRAY_SIZE(p->insn_off) || at - addr + len > TN_PATCH_MAX)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, at, "window too long");
        p->insn_off[p->ninsns] = (u8)(at - addr);
        p->insn_len[p->ninsns++] = (u8)len;
        at += len;
        done = tn_insn_ends(&i);
        p->returns = done;
    }
    if (through && at <= through)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, addr, NULL);
    moved = at;
    if (at - addr < JUMP_LEN) {
        at += padding(f, at, JUMP_LEN - (at - addr));
        w.padded = true;
        if (at - addr < JUMP_LEN)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, addr, NULL);
    }
    /* Where a goroutine may come back to, behind the jump, all stays as it was. */
    for (kept = addr + JUMP_LEN; kept < at && !(tn_flow_mark(f, kept) & TN_FLOW_RESUMED);)
        kept++;
    kept = TN_MIN(kept, at);
    for (u64 b = addr + 1; b < at; b++) {
        if (b >= kept && tn_flow_mark(f, b) & TN_FLOW_RESUMED)
            continue;
        /* Jumps that are displaced themselves are led to where their target is then. */
        if ((tn_flow_mark(f, b) & TN_FLOW_TARGET) &&
            (b >= moved || tn_flow_jumped_from_outside(f, b, addr, moved)))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, b, NULL);
        if (tn_flow_starting(f, b))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_WINDOW_CROSSES, b, NULL);
    }
    p->len = (u8)(kept - addr);
    p->behind = (u8)(at - kept);
    p->resume = at;
    if (call_inside(f, p))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CALL_IN_WINDOW, call_inside(f, p), NULL);
    memcpy(p->expected, f->code->bytes + (addr - f->code->addr), at - addr);
    if (p->expected[0] == INT3)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_OWN_BREAKPOINT, addr, NULL);
    if (jumps_amiss(f->code, p))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, jumps_amiss(f->code, p), NULL);
    *ret_w = w;
    return 0;
}

static bool begins_function(const struct tn_code_view *c, u64 addr)
{
    const struct tn_func *g = tn_func_starting(c, addr);

    return g && g->size;
}

/*
 * The instruction at `at` alone: a plain jump if it is long enough, else a punned one, for which up to `n` of those behind
 * it are displaced too. Nothing need be known of where jumps lead, only that none leads into an instruction; what is
 * displaced with it must be known for code.
 */
static int build_alone(const struct tn_flow *f, u64 at, u32 n, struct tn_patch *ret, struct tn_error *err)
{
    struct tn_patch p = {.addr = at, .own_stack = f->go};
    const struct tn_code_view *c = f->code;
    bool bare = false, falls = true; /* what comes next is reached, and so code */
    u64 end = at;

    while (p.ninsns < n) {
        struct tn_insn i;

        if (tn_code_decode(c, end, &i) < 0)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, end, NULL);
        /* The next function's first instruction may be evicted, too, unless indirect calls must find it. */
        if (i.kind == TN_INSN_ENDBR ||
            (!falls && !(tn_flow_mark(f, end) & TN_FLOW_START) && !begins_function(c, end)))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, end, NULL);
        if (end > at && i.kind == TN_INSN_SYSCALL)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_SYSCALL_IN_WINDOW, end, NULL);
        /* Nor is one evicted: what stands there then could not be told from it. */
        if (i.kind == TN_INSN_INT3)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_OWN_BREAKPOINT, end, NULL);
        if (check_movable(f, at, end, &i, &bare, err) < 0)
            return -ENOTSUP;
        p.insn_off[p.ninsns] = (u8)(end - at);
        p.insn_len[p.ninsns++] = i.len;
        end += i.len;
        p.returns = tn_insn_ends(&i);
        falls = !p.returns && i.kind != TN_INSN_CALL && i.kind != TN_INSN_CALL_IND;
    }
    p.punned = n > 1 || end - at < JUMP_LEN;
    p.resume = end;
    if (p.punned && p.insn_len[n - 1] < JUMP_LEN)
        end += padding(f, end, JUMP_LEN - p.insn_len[n - 1]);
    if (end - at > ALONE_MAX)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, at, "window too long");
    p.len = (u8)(end - at);
    for (u64 b = at + 1; b < end; b++) {
        if (tn_flow_mark(f, b) & TN_FLOW_TARGET && tn_patch_forbids(&p, b))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, b, NULL);
        if (tn_func_starting(c, b) && tn_patch_forbids(&p, b))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_WINDOW_CROSSES, b, NULL);
    }
    if (p.punned)
        p.behind = (u8)TN_MIN((u64)JUMP_LEN - 1, c->addr + c->len - end);
    memcpy(p.expected, c->bytes + (at - c->addr), p.len + p.behind);
    if (jumps_amiss(c, &p))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, jumps_amiss(c, &p), NULL);
    *ret = p;
    return 0;
}

static bool meets_any(const struct tn_plan *plan, u32 n, const struct tn_patch *p)
{
    for (u32 k = 0; k < n; k++)
        if (tn_patch_meets(p, 0, &plan->patches[k], 0))
            return true;
    return false;
}

/* Appends the ways to hook the instruction at `at` alone, which take TN_PUN_INSNS patches at most and may not meet any
   that is there. −ENOTSUP: there is none. */
static int add_alone(const struct tn_flow *f, struct tn_plan *plan, u64 at, u8 place, struct tn_error *err)
{
    u32 first = plan->npatches;

    for (u32 n = 1; n <= TN_PUN_INSNS; n++) {
        struct tn_patch p;
        int r = build_alone(f, at, n, &p, plan->npatches > first ? NULL : err);

        if (r < 0 && n == 1)
            return r;
        if (r < 0)
            break;
        if (meets_any(plan, first, &p))
            continue;
        p.place = place;
        p.instead = plan->npatches > first;
        if (tn_plan_add(plan, &p) < 0)
            return -ENOMEM;
        if (!p.punned)
            break;
    }
    return plan->npatches > first ? 0
                                  : tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, at, "two places too close");
}

/*
 * A window that holds the instruction at `at`, and before it as few others as it takes: none where what follows has
 * room. A jump that leads past the instruction (a static probe is stepped over while nobody looks) can be displaced
 * with it. Whoever was stopped in what stays behind the jump passes there once without the hook: at a way `out` he had left.
 */
static int build_around(const struct tn_flow *f, u64 at, bool out, struct window *ret_w, struct tn_error *err)
{
    struct tn_error first = {0}; /* or one that tells more */
    u64 start = at;

    for (u32 before = 0; start && before <= WINDOW_BEFORE; before++) {
        struct tn_insn i;

        if (build(f, start, at, ret_w, NULL) == 0 && (out || !ret_w->patch.behind)) {
            ret_w->patch.hook_before = (u8)before;
            return 0;
        }
        start = tn_flow_before(f, start, &i);
    }
    start = at;
    for (u32 before = 0; err && start && before <= WINDOW_BEFORE; before++) {
        struct tn_error why = {0};
        struct tn_insn i;

        if (build(f, start, at, ret_w, &why) == 0)
            tn_refuse(&why, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, at, NULL);
        if (!first.reason[0] || strcmp(why.reason, tn_refusal_name(TN_REFUSE_CALL_IN_WINDOW)) == 0)
            first = why;
        start = tn_flow_before(f, start, &i);
    }
    return tn_fail(err, -ENOTSUP, first.reason, "%s", first.message);
}

/* The C libraries that cancel a thread only where its program counter lies between the look at its flag and the
   call: nothing of ours may stand there. musl's stripped code is known by what precedes the call. */
static bool in_cancel_range(const struct tn_flow *f, u64 addr)
{
    static const char *const names[] = {"__syscall_cp_asm", "__syscall_cancel_arch"};
    static const u8 musl[] = {0x4c, 0x89, 0x5c, 0x24,
                              0x08, 0x0f, 0x05, 0xc3}; /* mov %r11,8(%rsp); syscall; ret */
    u64 off = addr - f->code->addr;

    for (u32 i = 0; f->func->name && i < TN_ARRAY_SIZE(names); i++)
        if (!strcmp(f->func->name, names[i]))
            return true;
    return off >= 5 && f->code->len - off >= 3 && !memcmp(f->code->bytes + off - 5, musl, sizeof(musl));
}

/* The fewest instructions before the one at `addr` that make five bytes; nothing jumps to that one either. */
static int build_before(const struct tn_flow *f, u64 addr, struct window *ret_w, struct tn_error *err)
{
    u64 start = addr, last = 0;
    int r;

    while (addr - start < JUMP_LEN) {
        struct tn_insn i;

        if (tn_flow_mark(f, start) & TN_FLOW_TARGET)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, start, NULL);
        start = tn_flow_before(f, start, &i);
        if (!start)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, addr, NULL);
        if (i.kind == TN_INSN_CALL || i.kind == TN_INSN_CALL_IND)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_CALL_IN_WINDOW, start, NULL);
        if (i.kind == TN_INSN_SYSCALL)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_SYSCALL_IN_WINDOW, start, NULL);
        last = last ? last : start;
    }
    r = build(f, start, last, ret_w, err);
    if (r < 0)
        return r;
    ret_w->patch.hook_before = ret_w->patch.ninsns;
    return 0;
}

static int build_behind(const struct tn_flow *f, u64 addr, struct window *ret_w, struct tn_error *err)
{
    int r;

    if (!(tn_flow_mark(f, addr) & TN_FLOW_START))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_WINDOW_CROSSES, addr, NULL);
    if (tn_flow_mark(f, addr) & TN_FLOW_TARGET)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, addr, NULL);
    r = build(f, addr, 0, ret_w, err);
    for (u32 k = 0; r == 0 && k < ret_w->patch.ninsns; k++) {
        struct tn_insn i;

        if (tn_code_decode(f->code, addr + ret_w->patch.insn_off[k], &i) < 0 || i.kind == TN_INSN_SYSCALL)
            r = tn_refuse(err, -ENOTSUP, TN_REFUSE_SYSCALL_IN_WINDOW, addr + ret_w->patch.insn_off[k], NULL);
    }
    return r;
}

/* Does the code from `addr` on set all flags before it reads one? Followed over what leaves them alone. */
static bool flags_dead(const struct tn_flow *f, u64 addr)
{
    for (u32 k = 0; k < 4; k++) {
        struct tn_insn i;

        if (tn_code_decode(f->code, addr, &i) < 0)
            return false;
        if (i.kind == TN_INSN_RET) /* the ABI's callers expect none */
            return true;
        if (!i.legacy || i.map != 0 || i.kind != TN_INSN_PLAIN)
            return false;
        switch (i.op) {
        case 0x01: /* add, or, and, sub, xor, cmp, test */
        case 0x03:
        case 0x09:
        case 0x0b:
        case 0x21:
        case 0x23:
        case 0x29:
        case 0x2b:
        case 0x31:
        case 0x33:
        case 0x39:
        case 0x3b:
        case 0x3d:
        case 0x85:
        case 0xa9:
            return true;
        case 0x81: /* the same but for adc and sbb, which read */
        case 0x83:
            return (i.reg & 7) != 2 && (i.reg & 7) != 3;
        case 0x63: /* movslq, mov, lea, push, pop */
        case 0x89:
        case 0x8b:
        case 0x8d:
        case 0xc7:
            break;
        default:
            if ((i.op & 0xf0) != 0x50 && (i.op & 0xf8) != 0xb8)
                return false;
        }
        addr += i.len;
    }
    return false;
}

static int build_syscall(const struct tn_flow *f, enum tn_place_kind place, u64 addr, struct window *ret_w,
                         struct tn_error *err)
{
    struct tn_insn i;
    int r;

    if (tn_code_decode(f->code, addr, &i) < 0 || i.kind != TN_INSN_SYSCALL)
        return tn_refuse(err, -EINVAL, TN_REFUSE_NOT_A_SYSCALL, addr, NULL);
    if (place == TN_PLACE_SYSENTER && in_cancel_range(f, addr))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CANCEL_RANGE, addr, NULL);
    r = place == TN_PLACE_SYSENTER ? build_before(f, addr, ret_w, err)
                                   : build_behind(f, addr + i.len, ret_w, err);
    if (r < 0)
        return r;
    ret_w->patch.nr = (s16)tn_flow_number(f, addr);
    ret_w->patch.flags_dead = flags_dead(f, addr + i.len);
    return 0;
}

/* Does an instruction begin at `addr`, the function being read from its first byte to its last, and what was followed
   with it? Then none that sets the direction flag is there either. */
static bool swept(const struct tn_flow *f, u64 addr)
{
    bool begins = false;
    u64 at = f->func->addr;

    while (at < f->end) {
        struct tn_insn i;

        if (tn_code_decode(f->code, at, &i) < 0 || (i.legacy && i.map == 0 && i.op == 0xfd) ||
            (!(tn_flow_mark(f, at) & TN_FLOW_START) && tn_flow_inside(f, at)))
            return false;
        begins |= at == addr;
        at += i.len;
    }
    return begins;
}

/* Does the patch displace the instruction at `addr`? */
static bool displaces(const struct tn_patch *p, u64 addr)
{
    for (u32 k = 0; k < p->ninsns; k++)
        if (addr == p->addr + p->insn_off[k])
            return true;
    return false;
}

/*
 * The function jumps back to `addr`, where it is entered. Those jumps are displaced too and led past the hook: what is
 * hooked is displaced for them in any case.
 */
static int add_rounds(const struct tn_flow *f, struct tn_plan *plan, u64 addr, struct tn_error *err)
{
    const u32 hooked = plan->npatches;
    u32 rounds = 0;
    int r = 0;

    for (u32 k = 0; k + 1 < f->jumps.n; k += 2) {
        u64 from = f->jumps.at[k];
        bool there = false, all = true;
        u32 first = plan->npatches;
        struct tn_insn i;
        struct window w;

        if (f->jumps.at[k + 1] != addr)
            continue;
        if (tn_code_decode(f->code, from, &i) < 0 || !i.rel_off || i.kind == TN_INSN_CALL)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, from, NULL);
        for (u32 n = 0; n < hooked; n++)
            all &= displaces(&plan->patches[n], from);
        for (u32 n = hooked; n < first; n++)
            there |= displaces(&plan->patches[n], from) && !plan->patches[n].instead;
        if (all || there)
            continue;
        if (rounds++ == ROUNDS_MAX)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, from, "too many jumps");
        if (!f->unprovable && !f->undecodable && build(f, from, 0, &w, NULL) == 0 &&
            !meets_any(plan, first, &w.patch) && tn_others_maybe(f, &w.patch, NULL) == 0)
            r = tn_plan_add(plan, &w.patch);
        else if (add_alone(f, plan, from, TN_PLACE_OFFSET, NULL) < 0)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, from, NULL);
    }
    if (r < 0)
        return r;
    for (u32 n = 0; n < plan->npatches; n++)
        plan->patches[n].rounds = addr;
    for (u32 n = hooked; n < plan->npatches; n++)
        plan->patches[n].place = TN_PLACE_OFFSET;
    return 0;
}

/* An instruction of the function that puts something into xmm15, where Go's compiler has zero; 0: there is none. */
static u64 uses_x15(const struct tn_flow *f)
{
    for (u64 at = f->func->addr; at < f->end; at++) {
        u64 off = at - f->code->addr;

        if (tn_flow_mark(f, at) & TN_FLOW_START &&
            tn_decode_fills_x15(f->code->bytes + off, f->code->len - off))
            return at;
    }
    return 0;
}

/* A function of Go behind its question for stack, where no round comes: if the jump back is one that has no room of its own. */
static void body_instead(const struct tn_flow *f, struct tn_plan *plan, int *r)
{
    _clean_(tn_plan_clear) struct tn_plan other = {.func_addr = plan->func_addr,
                                                   .func_size = plan->func_size};
    u64 body = f->go && f->func->name ? tn_go_body(f) : 0;
    bool plain = *r == 0;
    struct window w;

    for (u32 k = 0; k < plan->npatches; k++)
        plain &= !plan->patches[k].punned;
    if (plain || !body)
        return;
    if (!f->unprovable && !f->undecodable && build(f, body, 0, &w, NULL) == 0 &&
        tn_others_maybe(f, &w.patch, NULL) == 0) {
        w.patch.place = TN_PLACE_ENTRY;
        if (tn_plan_add(&other, &w.patch) < 0)
            return;
        other.tactic = w.padded ? "jump5_padding" : "jump5";
    } else {
        if (add_alone(f, &other, body, TN_PLACE_ENTRY, NULL) < 0)
            return;
        other.tactic = TACTIC_ALONE(&other);
    }
    tn_plan_clear(plan);
    *plan = other;
    other = (struct tn_plan){0};
    *r = 0;
}

static int plan_one(const struct tn_flow *f, enum tn_place_kind place, u64 addr, struct tn_plan *plan,
                    struct tn_error *err)
{
    bool call = place == TN_PLACE_SYSENTER || place == TN_PLACE_SYSEXIT;
    bool rounds = false;
    struct window w;
    u8 hooked;
    int r = 0;

    if (f->unprovable)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_UNPROVABLE, f->unprovable, NULL);
    else if (f->undecodable)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, f->undecodable, NULL);
    if (r < 0 && (call || (place == TN_PLACE_OFFSET && !swept(f, addr))))
        return r;
    if (!r && !(tn_flow_mark(f, addr) & TN_FLOW_START))
        return tn_refuse(err, -EINVAL, TN_REFUSE_NOT_AN_INSTRUCTION, addr, NULL);
    if (place != TN_PLACE_ENTRY && f->std)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_DIRECTION_FLAG, f->std, NULL);
    if (place != TN_PLACE_ENTRY && f->go && uses_x15(f))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_VECTOR, uses_x15(f), NULL);
    if (place == TN_PLACE_ENTRY) {
        struct tn_met m;

        if (tn_code_meet(f->code, addr, &m) == 0 && m.kind == TN_INSN_ENDBR) {
            if (tn_flow_mark(f, addr) & TN_FLOW_TARGET)
                return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, addr, NULL);
            addr += m.len;
        }
        rounds = tn_flow_mark(f, addr) & TN_FLOW_TARGET;
    }
    if (!r)
        r = call                       ? build_syscall(f, place, addr, &w, err)
            : place == TN_PLACE_OFFSET ? build_around(f, addr, false, &w, err)
                                       : build(f, addr, 0, &w, err);
    if (!r)
        r = tn_others_maybe(f, &w.patch, err);
    if (r < 0 && call)
        return r;
    /* What only unwind information knows may be a piece that a function of no frame jumps to. */
    hooked = (u8)(place == TN_PLACE_ENTRY && !f->func->name ? TN_PLACE_OFFSET : place);
    if (r < 0) {
        /* Why the usual way was refused tells more than why this one was. */
        r = add_alone(f, plan, addr, hooked, NULL) < 0 ? r : 0;
        plan->tactic = TACTIC_ALONE(plan);
    } else {
        w.patch.place = hooked;
        r = tn_plan_add(plan, &w.patch);
        plan->tactic = w.patch.hook_before ? "jump5_before" : w.padded ? "jump5_padding" : TACTIC_PLAIN;
    }
    if (r < 0 || !rounds)
        return r;
    r = add_rounds(f, plan, addr, err);
    body_instead(f, plan, &r);
    return r;
}

int tn_plan_add(struct tn_plan *plan, const struct tn_patch *patch)
{
    if (!(plan->npatches & (plan->npatches - 1))) {
        struct tn_patch *more =
            reallocarray(plan->patches, plan->npatches ? plan->npatches * 2 : 1, sizeof(*more));

        if (!more)
            return -ENOMEM;
        plan->patches = more;
    }
    plan->patches[plan->npatches++] = *patch;
    return 0;
}

int tn_plan_add_way(struct tn_plan *plan, const struct tn_patch *way, struct tn_error *err)
{
    for (u32 k = 0; k < plan->npatches; k++) {
        const struct tn_patch *p = &plan->patches[k];

        if (!tn_patch_meets(way, 0, p, 0))
            continue;
        if (way->addr != p->addr || way->len != p->len || way->hook_before != p->hook_before ||
            p->place != TN_PLACE_EXIT)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, way->addr + way->insn_off[way->hook_before],
                             "two ways out too close");
        return 0;
    }
    return tn_plan_add(plan, way);
}

static int way_out(const struct tn_flow *f, u64 at, u64 to, enum tn_tail tail, struct tn_plan *plan,
                   struct tn_error *err)
{
    struct tn_insn i = {0};
    struct window w;
    int r = build_around(f, at, true, &w, err);

    /* Of a function that leaves by rets only. */
    if (tail == TN_TAIL_NOT && !f->tails.n && (r < 0 || meets_any(plan, plan->npatches, &w.patch)))
        return add_alone(f, plan, at, TN_PLACE_EXIT, r < 0 ? NULL : err) < 0 ? -ENOTSUP : 0;
    if (r < 0)
        return r;
    w.patch.place = TN_PLACE_EXIT;
    w.patch.tail = (u8)tail;
    if (tn_code_decode(f->code, at, &i) == 0 && i.kind == TN_INSN_JCC)
        w.patch.unless = (u8)(1 + (i.cond ^ 1));
    if (tail == TN_TAIL_LEAVE || tail == TN_TAIL_PASS) {
        const struct tn_func *g = tn_func_starting(f->code, to);

        w.patch.slot = tn_flow_slot(f->code, at, to);
        /* What has no name may be a piece of whatever jumps to it. */
        w.patch.flags_dead = i.kind != TN_INSN_JCC && (w.patch.slot || (g && g->name));
    }
    return tn_plan_add_way(plan, &w.patch, err);
}

int tn_plan_ways_out(const struct tn_flow *f, bool own, struct tn_plan *plan, struct tn_error *err)
{
    int r = 0;

    if (f->unprovable)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_UNPROVABLE, f->unprovable, NULL);
    if (f->undecodable)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, f->undecodable, NULL);
    if (f->shared)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_SHARED, f->shared, NULL);
    if (f->overlap)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_UNPROVABLE, f->overlap, "overlapping instructions");
    for (u32 k = 0; k < f->rets.n && r == 0; k++)
        r = way_out(f, f->rets.at[k], 0, own ? TN_TAIL_NOT : TN_TAIL_RET, plan, err);
    for (u32 k = 0; k + 1 < f->tails.n && r == 0; k += 2)
        r = way_out(f, f->tails.at[k], f->tails.at[k + 1], own ? TN_TAIL_LEAVE : TN_TAIL_PASS, plan, err);
    return r;
}

static int plan_exit(const struct tn_flow *f, struct tn_plan *plan, struct tn_error *err)
{
    bool padded = false, displaced = false, alone = false;
    int r = f->go && f->tails.n ? tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_TAIL, f->tails.at[0], NULL)
                                : tn_plan_ways_out(f, true, plan, err);

    if (r < 0)
        return r;
    if (!plan->npatches)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_NONE, f->func->addr, NULL);
    for (u32 k = 0; k < plan->npatches; k++) {
        const struct tn_patch *p = &plan->patches[k];
        u32 last = p->ninsns - 1u;

        alone |= p->punned || p->instead;
        padded |= !p->punned && p->len > p->insn_off[last] + p->insn_len[last];
        displaced |= p->hook_before > 0;
    }
    plan->tactic = f->tails.n   ? "tail_followed"
                   : alone      ? "ret_punned"
                   : !displaced ? "ret_padding"
                   : padded     ? "ret_mixed"
                                : "ret_displaced";
    return 0;
}

int tn_plan_followed(const struct tn_flow *f, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
                     struct tn_error *err)
{
    _clean_(tn_plan_clear) struct tn_plan plan = {.func_addr = f->func->addr,
                                                  .func_size = f->end - f->func->addr};
    int r = place == TN_PLACE_EXIT ? plan_exit(f, &plan, err) : plan_one(f, place, addr, &plan, err);

    if (r < 0)
        return r;
    *ret_plan = plan;
    plan = (struct tn_plan){0};
    return 0;
}

/* A window that is jumped into by code nobody has followed: its place alone. There is room for one such. */
static int alone_instead(const struct tn_flow *f, struct tn_plan *plan, u32 which)
{
    struct tn_patch was = plan->patches[which];
    u64 at = was.addr + was.insn_off[was.hook_before];
    int r;

    if (was.punned || was.ninsns == 1 || was.rounds || was.place == TN_PLACE_SYSENTER ||
        was.place == TN_PLACE_SYSEXIT)
        return -ENOTSUP;
    memmove(&plan->patches[which], &plan->patches[which + 1],
            (--plan->npatches - which) * sizeof(*plan->patches));
    r = add_alone(f, plan, at, was.place, NULL);
    plan->tactic = was.place == TN_PLACE_EXIT ? "ret_punned" : TACTIC_ALONE(plan);
    return r;
}

/*
 * Most entries: a plain jump over whole instructions that nobody jumps into, in a function that need not be followed to
 * know so. Anything else has to be. −EAGAIN: this is another.
 */
static int plan_swept(const struct tn_code_view *code, const struct tn_func *func, struct tn_plan *ret_plan)
{
    _clean_(tn_plan_clear) struct tn_plan plan = {0};
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    u32 which;

    if (!code->aims || !code->aims->first || tn_flow_sweep(code, func, &flow) != 0 ||
        tn_plan_followed(&flow, TN_PLACE_ENTRY, func->addr, &plan, NULL) < 0 ||
        strcmp(plan.tactic, TACTIC_PLAIN) != 0 || plan.patches[0].rounds ||
        tn_others_check(&flow, &plan, &which, NULL) < 0)
        return -EAGAIN;
    *ret_plan = plan;
    plan = (struct tn_plan){0};
    return 0;
}

static int plan_any(const struct tn_code_view *code, enum tn_place_kind place, u64 addr,
                    struct tn_plan *ret_plan, struct tn_error *err)
{
    _clean_(tn_plan_clear) struct tn_plan plan = {0};
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    const struct tn_func *func;
    int r;

    if (addr - code->addr >= code->len)
        return tn_refuse(err, -EINVAL, TN_REFUSE_NOT_CODE, addr, NULL);
    if (code->is_go && !code->go)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_TABLE, addr, NULL);
    if (place == TN_PLACE_TAIL && code->is_go)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_TAIL, addr, NULL);
    func = tn_func_starting(code, addr);
    if (!func)
        func = tn_func_at(code, addr);
    if (!func && (place == TN_PLACE_SYSENTER || place == TN_PLACE_SYSEXIT))
        func = tn_func_before(code, addr); /* it may run on into what no table knows */
    if (!func || (place == TN_PLACE_ENTRY && func->addr != addr))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, addr, NULL);
    if (place == TN_PLACE_EXIT && func->addr != addr)
        return tn_refuse(err, -EINVAL, TN_REFUSE_EXIT_NOT_AT_ENTRY, addr, NULL);
    if (place == TN_PLACE_TAIL && (func->addr != addr || func->part))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, addr, NULL);
    if (place == TN_PLACE_TAIL) {
        r = tn_tails_plan(code, func, &plan, err);
        goto out;
    }
    if (place == TN_PLACE_EXIT && !func->size)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, addr, NULL);
    if (place == TN_PLACE_ENTRY && plan_swept(code, func, ret_plan) == 0)
        return 0;
    r = tn_flow_scan(code, func, &flow);
    if (r < 0)
        return r;
    r = tn_plan_followed(&flow, place, addr, &plan, err);
    for (u32 which = 0; place != TN_PLACE_EXIT || !flow.tails.n;) {
        if (r < 0)
            break;
        r = tn_others_check(&flow, &plan, &which, err);
        if (r == 0)
            break;
        r = alone_instead(&flow, &plan, which) < 0 ? r : 0;
    }
    if (r == 0 && place == TN_PLACE_EXIT && flow.tails.n)
        r = tn_tails_follow(&flow, &plan, err);
out:
    if (r < 0)
        return r;
    *ret_plan = plan;
    plan = (struct tn_plan){0};
    return 0;
}

int tn_plan(const struct tn_code_view *code, enum tn_place_kind place, u64 addr, struct tn_plan *ret_plan,
            struct tn_error *err)
{
    struct tn_error why; /* of what was refused first, which may yet be had in another way */
    int r;

    why.reason[0] = why.message[0] = 0;
    r = plan_any(code, place, addr, ret_plan, err ? &why : NULL);
    if (r < 0 && err && why.reason[0])
        tn_fail(err, r, why.reason, "%s", why.message);
    return r;
}

int tn_plan_ret(const struct tn_flow *f, u64 at, struct tn_patch *ret_patch)
{
    struct window w;
    int r = build_around(f, at, true, &w, NULL);

    if (r < 0)
        return r;
    w.patch.place = TN_PLACE_EXIT;
    *ret_patch = w.patch;
    return 0;
}

bool tn_plan_jumped_into(const struct tn_flow *f, struct tn_patch *patches, u32 n)
{
    u32 which;

    return tn_others_check(f, &(struct tn_plan){.patches = patches, .npatches = n}, &which, NULL) < 0;
}

void tn_plan_clear(struct tn_plan *plan)
{
    free(plan->patches);
    *plan = (struct tn_plan){0};
}

bool tn_patch_meets(const struct tn_patch *p, u64 p_bias, const struct tn_patch *q, u64 q_bias)
{
    u64 a = p->addr + p_bias, b = q->addr + q_bias;

    return (a < b + q->len + q->behind && b < a + p->len) || (a < b + q->len && b < a + p->len + p->behind);
}

bool tn_plan_overlap(const struct tn_plan *a, const struct tn_plan *b)
{
    for (u32 i = 0; i < a->npatches; i++) {
        for (u32 j = 0; j < b->npatches; j++) {
            const struct tn_patch *p = &a->patches[i], *q = &b->patches[j];

            if (p->addr == q->addr && p->len == q->len && p->hook_before == q->hook_before &&
                p->place == q->place)
                continue;
            if (tn_patch_meets(p, 0, q, 0))
                return true;
        }
    }
    return false;
}
