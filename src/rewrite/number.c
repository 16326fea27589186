/* SPDX-License-Identifier: MIT */
/*
 * Which system call is it? The number is in eax, and compilers put it there right before, a few instructions
 * before, or in a register that a whole loop keeps:
 *
 *     mov $202,%r9d … L: … mov %r9d,%eax; syscall … jne L
 *
 * So the question "what is in this register before that instruction" is followed backwards along every way
 * there is, instruction by instruction, until each has met a constant, and all the same one. A way that begins
 * with the function, an instruction that computes, or more ways than are worth following: not known.
 */
#include "rewrite/flow.h"

#define STEPS_MAX    512u
#define RAX          0u
/* rax, rcx, rdx, rsi, rdi, r8 … r11 */
#define CALLER_SAVED 0x0fc7u

struct question {
    u64 at; /* before this instruction */
    u8 reg;
};
struct walk {
    const struct tn_flow *f;
    struct question asked[STEPS_MAX];
    u32 n;
    s64 answer; /* −2: none yet */
};

static bool ask(struct walk *w, u64 at, u8 reg)
{
    for (u32 i = 0; i < w->n; i++)
        if (w->asked[i].at == at && w->asked[i].reg == reg)
            return true;
    if (w->n == STEPS_MAX)
        return false;
    w->asked[w->n++] = (struct question){at, reg};
    return true;
}

static bool take(struct walk *w, u32 value)
{
    if (w->answer >= 0 && (u64)w->answer != value)
        return false;
    w->answer = value;
    return true;
}

/* What `reg` holds behind the instruction at `at`. */
static bool behind(struct walk *w, u64 at, u8 reg)
{
    const struct tn_code_view *c = w->f->code;
    const u8 *bytes = c->bytes + (at - c->addr);
    u32 rex = (bytes[0] & 0xf0) == 0x40;
    struct tn_insn i;
    u32 value;

    if (tn_code_decode(c, at, &i) < 0)
        return false;
    switch (i.kind) {
    case TN_INSN_CALL:
    case TN_INSN_CALL_IND:
        return !c->is_go && !(CALLER_SAVED >> reg & 1) && ask(w, at, reg);
    case TN_INSN_SYSCALL:
        return reg != RAX && reg != 1 && reg != 11 && ask(w, at, reg);
    default:
        break;
    }
    if (!(tn_decode_writes(bytes, i.len) >> reg & 1))
        return ask(w, at, reg);
    if (!i.legacy || i.map != 0)
        return false;
    /* mov $imm,%reg in its two forms; the opcode holds the register in one of them */
    if ((i.op & 0xf8) == 0xb8 && i.len == rex + 5 && ((i.op & 7) | (rex ? (bytes[0] & 1) << 3 : 0)) == reg) {
        memcpy(&value, bytes + rex + 1, sizeof(value));
        return take(w, value);
    }
    if (!i.has_modrm || i.mod != 3)
        return false;
    if (i.op == 0xc7 && i.rm == reg && i.len == rex + 6) {
        memcpy(&value, bytes + i.len - 4, sizeof(value));
        return take(w, value);
    }
    if (i.len != rex + 2)
        return false;
    if ((i.op == 0x31 || i.op == 0x33) && i.reg == i.rm && i.reg == reg)
        return take(w, 0);
    if (i.op == 0x89 && i.rm == reg)
        return ask(w, at, i.reg);
    if (i.op == 0x8b && i.reg == reg)
        return ask(w, at, i.rm);
    return false;
}

/* Every way that leads to an instruction: from the one before, and from those that jump to it. */
static bool before(struct walk *w, const struct question q)
{
    const struct tn_flow *f = w->f;
    bool any = false;

    if (q.at == f->func->addr)
        return false;
    if (tn_flow_mark(f, q.at) & TN_FLOW_FALL) {
        struct tn_insn i;
        u64 at = tn_flow_before(f, q.at, &i);

        if (!at || !behind(w, at, q.reg))
            return false;
        any = true;
    }
    for (u32 k = 0; k + 1 < f->jumps.n; k += 2)
        if (f->jumps.at[k + 1] == q.at) {
            if (!behind(w, f->jumps.at[k], q.reg))
                return false;
            any = true;
        }
    return any;
}

#define SWEPT                                                                                                \
    256u /* bytes on either side; enough for the sweep to fall into step, and as far as a short jump comes from */

/* mov $imm32,%eax, or with its longer form %rax */
static bool loads_rax(const u8 *at, const struct tn_insn *i, u32 *ret_value)
{
    bool loads =
        i->legacy && i->map == 0 &&
        ((at[0] == 0xb8 && i->len == 5) || (at[0] == 0x48 && at[1] == 0xc7 && at[2] == 0xc0 && i->len == 7));

    if (loads)
        memcpy(ret_value, at + i->len - 4, sizeof(*ret_value));
    return loads;
}

/* Does anything jump behind `from`, up to `to`? Short jumps by instructions, long ones wherever bytes look like one. */
static bool jumped_between(const u8 *bytes, u64 len, u64 from, u64 to)
{
    u64 end = TN_MIN(len, to + SWEPT);
    struct tn_insn i;

    for (u64 k = to > SWEPT ? to - SWEPT : 0; k < end; k += i.len) {
        if (tn_x86_decode(bytes + k, end - k, k, &i) < 0)
            i.len = 1;
        else if (i.rel_off && i.target > from && i.target <= to)
            return true;
    }
    for (u64 k = 0; k + 5 <= len; k++) {
        u64 target;
        s32 rel;

        if ((bytes[k] & 0xfe) != 0xe8 && (k == 0 || bytes[k - 1] != 0x0f || (bytes[k] & 0xf0) != 0x80))
            continue;
        memcpy(&rel, bytes + k + 1, sizeof(rel));
        target = k + 5 + (u64)(s64)rel;
        if (target > from && target <= to)
            return true;
    }
    return false;
}

s32 tn_number_in_bytes(const u8 *bytes, u64 len, u64 at)
{
    u64 k = at > SWEPT ? at - SWEPT : 0, loaded = 0;
    u32 value = 0, nr = TN_NR_MAX;
    struct tn_insn i;

    for (; k < at; k += i.len) {
        if (tn_x86_decode(bytes + k, len - k, k, &i) < 0) {
            i.len = 1;
            nr = TN_NR_MAX;
        } else if (loads_rax(bytes + k, &i, &value)) {
            nr = value;
            loaded = k;
        } else if (i.kind > TN_INSN_ENDBR && i.kind != TN_INSN_JCC) {
            nr = TN_NR_MAX;
        } else if (tn_decode_writes(bytes + k, i.len) >> RAX & 1) {
            nr = TN_NR_MAX;
        }
    }
    return k == at && nr < TN_NR_MAX && !jumped_between(bytes, len, loaded, at) ? (s32)nr : TN_NR_UNKNOWN;
}

s32 tn_flow_number(const struct tn_flow *f, u64 addr)
{
    struct walk w = {.f = f, .answer = -2};

    if (!ask(&w, addr, RAX))
        return TN_NR_UNKNOWN;
    for (u32 i = 0; i < w.n; i++)
        if (!before(&w, w.asked[i]))
            return TN_NR_UNKNOWN;
    return w.answer >= 0 && w.answer < TN_NR_MAX ? (s32)w.answer : TN_NR_UNKNOWN;
}
