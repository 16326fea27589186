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
