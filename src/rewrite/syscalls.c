/* SPDX-License-Identifier: MIT */
/*
 * All system calls of a module at once. The two bytes of the instruction are looked for first, which is fast;
 * then each function that has them is followed, once, to see which of them are what they seem, what number they
 * are reached with, and whether a jump fits. One pass over all code says at the end into which of the windows
 * another function jumps.
 *
 * Bytes that flow does not reach, but that a function's instructions counted from its start would have there,
 * may still be run: they are told as refused. So are those in code that no function is known to hold, if a number
 * is loaded right before (glibc's return from signal handlers). Others are no instruction.
 */
#include <errno.h>

#include "rewrite/flow.h"
#include "rewrite/refusals.h"

#define NR_CLONE  56
#define NR_VFORK  58
#define NR_CLONE3 435

const struct tn_wanted tn_wanted_vforks = {
    .nr = {[0] = 1ull << NR_CLONE | 1ull << NR_VFORK, [NR_CLONE3 / 64] = 1ull << NR_CLONE3 % 64}};
_Static_assert(NR_CLONE < 64 && NR_VFORK < 64, "one word holds both");

struct found {
    struct tn_patch *patches;
    u32 n, cap;
};

static int add(struct found *found, const struct tn_patch *p)
{
    if (found->n == found->cap) {
        u32 cap = found->cap ? found->cap * 2 : 64;
        struct tn_patch *more = reallocarray(found->patches, cap, sizeof(*more));

        if (!more)
            return -ENOMEM;
        found->patches = more;
        found->cap = cap;
    }
    found->patches[found->n++] = *p;
    return 0;
}

static int add_refused(struct found *found, u64 addr, s32 nr, u32 why)
{
    struct tn_patch p = {.addr = addr, .nr = (s16)nr, .refused = (u8)why};

    return add(found, &p);
}

static u32 refusal_id(const char *name)
{
    for (u32 id = 1; id < TN_REFUSE_COUNT; id++)
        if (!strcmp(name, tn_refusal_name((enum tn_refusal_id)id)))
            return id;
    return TN_REFUSE_UNDECODABLE;
}

bool tn_func_swept(const struct tn_code_view *c, const struct tn_func *f, u64 addr)
{
    return tn_code_comes_to(c, f->addr, addr, false);
}

/* Where nothing tells code from data: is a number loaded right before? */
static bool loads_number(const struct tn_code_view *c, u64 off, s32 *ret_nr)
{
    static const u8 wide[] = {0x48, 0xc7, 0xc0}; /* mov $imm32,%rax */
    u32 nr;

    if (off < 7 || (c->bytes[off - 5] != 0xb8 && memcmp(c->bytes + off - 7, wide, sizeof(wide))))
        return false;
    memcpy(&nr, c->bytes + off - 4, sizeof(nr));
    *ret_nr = (s32)nr;
    return nr < TN_NR_MAX;
}

/* Where the instruction begins whose last bytes those of a call are; 0: in none that is run. */
static u64 prefixed(const struct tn_flow *flow, u64 addr)
{
    for (u64 at = addr - 1; at + 4 > addr; at--) {
        struct tn_insn i;

        if (tn_flow_mark(flow, at) & TN_FLOW_START)
            return tn_code_decode(flow->code, at, &i) == 0 && i.kind == TN_INSN_SYSCALL &&
                           at + i.len == addr + 2
                       ? at
                       : 0;
    }
    return 0;
}

static int one(const struct tn_flow *flow, enum tn_place_kind place, u64 addr, const struct tn_wanted *wanted,
               struct found *found)
{
    struct tn_error why = {0};
    struct tn_plan plan;
    u64 whole;
    s32 nr;
    int r;

    whole = tn_flow_mark(flow, addr) & TN_FLOW_START ? 0 : prefixed(flow, addr);
    if (whole) {
        nr = tn_flow_number(flow, whole);
        return nr != TN_NR_UNKNOWN && wanted && !tn_wants(wanted, nr)
                   ? 0
                   : add_refused(found, addr, nr, TN_REFUSE_SYSCALL_PREFIXED);
    }
    if (!(tn_flow_mark(flow, addr) & TN_FLOW_START))
        return tn_func_swept(flow->code, flow->func, addr)
                   ? add_refused(found, addr, TN_NR_UNKNOWN,
                                 flow->unprovable ? TN_REFUSE_JUMP_UNPROVABLE : TN_REFUSE_UNDECODABLE)
                   : 0;
    nr = tn_flow_number(flow, addr);
    if (nr != TN_NR_UNKNOWN && wanted && !tn_wants(wanted, nr))
        return 0;
    if (flow->code->is_go && !flow->code->go)
        return add_refused(found, addr, nr, TN_REFUSE_GO_TABLE);
    r = tn_plan_followed(flow, place, addr, &plan, &why);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return add_refused(found, addr, nr, refusal_id(why.reason));
    r = add(found, &plan.patches[0]);
    tn_plan_clear(&plan);
    return r;
}

int tn_find_syscalls(const struct tn_code_view *code, enum tn_place_kind place,
                     const struct tn_wanted *wanted, struct tn_patch **ret_patches, u32 *ret_count)
{
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    struct found found = {0};
    int r = 0;

    for (u64 off = 0; code->len >= 2 && off <= code->len - 2 && r == 0; off++) {
        const u8 *hit = memchr(code->bytes + off, 0x0f, code->len - 1 - off);
        const struct tn_func *func;
        bool known;
        u64 addr;
        s32 nr;

        if (!hit)
            break;
        off = (u64)(hit - code->bytes);
        addr = code->addr + off;
        if (hit[1] != 0x05)
            continue;
        func = tn_func_at(code, addr);
        known = func;
        if (!func) /* one may run on into bytes that no table knows (glibc's clone) */
            func = tn_func_before(code, addr);
        if (func && flow.func != func) {
            tn_flow_clear(&flow);
            r = tn_flow_scan(code, func, &flow);
        }
        if (r == 0 && func && (known || tn_flow_mark(&flow, addr) & TN_FLOW_START))
            r = one(&flow, place, addr, wanted, &found);
        else if (r == 0 && loads_number(code, off, &nr) && (!wanted || tn_wants(wanted, nr)))
            r = add_refused(&found, addr, nr, TN_REFUSE_FUNCTION_UNKNOWN);
    }
    if (r == 0 && found.n)
        r = tn_plan_others(code, found.patches, found.n);
    if (r < 0) {
        free(found.patches);
        return r;
    }
    *ret_patches = found.patches;
    *ret_count = found.n;
    return 0;
}
