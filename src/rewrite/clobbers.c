/* SPDX-License-Identifier: MIT */
/*
 * The registers that a function surely changes, or that its compiler at least believes it does; see flow.h.
 *
 * By the ABI a caller takes every argument register for lost. One that was compiled with its callee in sight (GCC's
 * -fipa-ra) does not: it goes on with what is in the registers that the callee, and whatever that one calls, leave alone.
 * The compiler's belief is the union over all code of the function, reached or not, and so is this. Whatever is called that
 * it cannot have seen (through a register, memory, another module) takes all.
 *
 *     f ── mov …,%rdi        rdi
 *       ── call g  ──▶ g     and what g changes
 *       ── call *%rax        all
 *
 * What is not followed adds nothing: the answer may lack a register, and never has one too many. A pop puts back what was
 * there, as functions do that promise to keep all registers.
 */
#include <errno.h>

#include "rewrite/flow.h"

#define FUNCTIONS_MAX 64u

/* rax, rcx, rdx, rsi, rdi, r8 … r11 */
#define CALLERS 0x0fc7u

struct walk {
    const struct tn_code_view *code;
    u64 func[FUNCTIONS_MAX];
    u32 n;
    u16 regs;
};

static void called(struct walk *w, u64 from, u64 to)
{
    const struct tn_func *f = tn_func_starting(w->code, to);

    if (tn_flow_slot(w->code, from, to)) {
        w->regs |= CALLERS;
        return;
    }
    for (u32 k = 0; k < w->n; k++)
        if (w->func[k] == to)
            return;
    if (f && w->n < FUNCTIONS_MAX)
        w->func[w->n++] = to;
}

static void look_at(struct walk *w, const struct tn_flow *flow, u64 addr)
{
    u64 off = addr - w->code->addr;
    struct tn_insn i;

    if (tn_code_decode(w->code, addr, &i))
        return;
    if (i.kind == TN_INSN_CALL)
        called(w, addr, i.target);
    else if (i.kind == TN_INSN_CALL_IND)
        w->regs |= CALLERS;
    else if (!(i.legacy && !i.map && (i.op & 0xf8) == 0x58)) /* pop */
        w->regs |= tn_decode_writes(w->code->bytes + off, w->code->len - off);
}

static int walk_function(struct walk *w, u64 addr)
{
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    const struct tn_func *f = tn_func_starting(w->code, addr);
    int r = f ? tn_flow_scan(w->code, f, &flow) : -ENOENT;

    if (r < 0)
        return r;
    for (u64 at = f->addr; at < flow.end; at++)
        if (tn_flow_mark(&flow, at) & TN_FLOW_START)
            look_at(w, &flow, at);
    for (u32 k = 0; k + 1 < flow.tails.n; k += 2)
        if (flow.tails.at[k + 1])
            called(w, flow.tails.at[k], flow.tails.at[k + 1]);
        else
            w->regs |= CALLERS;
    return 0;
}

int tn_func_clobbers(const struct tn_code_view *code, u64 addr, u16 wanted, u16 *ret_regs)
{
    struct walk w = {.code = code, .func = {addr}, .n = 1};
    int r = 0;

    for (u32 k = 0; k < w.n && (wanted & ~w.regs) && r != -ENOMEM; k++)
        r = walk_function(&w, w.func[k]);
    if (r == -ENOMEM)
        return r;
    *ret_regs = w.regs & CALLERS;
    return 0;
}
