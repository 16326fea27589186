/* SPDX-License-Identifier: MIT */
/*
 * Instructions that run somewhere else than where they were written. Each keeps its meaning:
 *
 *     rip-relative operand      the displacement is counted anew
 *     jmp, jcc                  widened to 32 bits; to one that is displaced as well: to its new place
 *     loop, jrcxz               8 bits is all they have: they hop over a jump
 *     call                      push <original return address>; jmp: the callee returns to the host's own
 *                               code
 *
 * Refused is what does not reach (±2 GiB). What cannot be moved at all was refused by the planner.
 */
#include <errno.h>

#include "rewrite/callword.h"
#include "rewrite/refusals.h"
#include "rewrite/trampoline.h"
#include "rt/signals.h"
#include "x86/decode.h"

#define SYS_CLONE   56u
#define CLONE_VFORK 0x4000
#define SYSCALL_LEN 2u
#define RED_ZONE    128

static bool reaches(u64 from, u64 to)
{
    s64 d = (s64)(to - from);

    return d > -0x7fffff00ll && d < 0x7fffff00ll;
}

/* The instruction's own bytes, with displacement `off` (4 bytes) leading to `target` from here. */
static void copy_with_disp(struct tn_asm *a, u64 at, const u8 *bytes, u8 len, u8 off, u64 target)
{
    u8 moved[16];
    s32 disp = (s32)(s64)(target - (at + a->len + len));

    memcpy(moved, bytes, len);
    if (off)
        memcpy(moved + off, &disp, 4);
    tn_x86_bytes(a, moved, len);
}

/* A call that returns to `back` in the host's own text. */
static void emulate_call(struct tn_asm *a, u64 at, const u8 *bytes, const struct tn_insn *i, u64 back)
{
    u8 len = i->kind == TN_INSN_CALL ? 5 : i->len;
    /* push takes six bytes, the jump follows, and the address stands behind it. */
    u32 literal = a->len + 6 + len;

    tn_x86_push_m(a, tn_mem_pos(literal));
    if (i->kind == TN_INSN_CALL) {
        tn_x86_jmp(a, 4, (s64)(i->target - at));
    } else {
        u8 jump[16];

        memcpy(jump, bytes, i->len);
        /* Group 5: /2 is call, /4 is jmp. */
        jump[i->modrm_off] = (u8)((jump[i->modrm_off] & ~(7 << 3)) | 4 << 3);
        copy_with_disp(a, at, jump, i->len, i->mem_off, i->target);
    }
    if (!a->err && a->len != literal)
        a->err = -EINVAL;
    tn_x86_u64(a, back);
}

/* Can the call be a push and a jump? Not when its operand is found through the stack pointer
   that the push moves. */
static bool can_emulate(const struct tn_insn *i)
{
    if (i->kind == TN_INSN_CALL)
        return true;
    return i->kind == TN_INSN_CALL_IND && i->has_modrm && !(i->mod == 3 && i->rm == 4) &&
           !(i->has_sib && i->base == 4 && i->mod != 3);
}

static int emit(struct tn_asm *a, u64 at, const u8 *bytes, const struct tn_insn *i, struct tn_error *err)
{
    u64 here = at + a->len;

    if ((i->mem_off || i->rel_off) && !reaches(here, i->target))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, i->target, NULL);
    switch (i->kind) {
    case TN_INSN_JMP:
        tn_x86_jmp(a, 4, (s64)(i->target - at));
        break;
    case TN_INSN_JCC:
        tn_x86_jcc(a, 4, (enum tn_x86_cc)i->cond, (s64)(i->target - at));
        break;
    case TN_INSN_LOOP: {
        u8 hop[16];

        memcpy(hop, bytes, i->len);
        hop[i->rel_off] = 2;
        tn_x86_bytes(a, hop, i->len);
        tn_x86_jmp(a, 1, (s64)a->len + 7);
        tn_x86_jmp(a, 4, (s64)(i->target - at));
        break;
    }
    case TN_INSN_CALL: /* what can be moved of them has been */
    case TN_INSN_CALL_IND:
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CALL_IN_WINDOW, here, NULL);
    case TN_INSN_XBEGIN:
    case TN_INSN_FAR:
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_NOT_RELOCATABLE, here, NULL);
    default:
        copy_with_disp(a, at, bytes, i->len, i->mem_off, i->target);
    }
    return 0;
}

static bool sane(const struct tn_patch *p)
{
    u32 end = 0;

    if (p->len == TN_BREAK_LEN && !p->punned)
        return p->ninsns == 1 && !p->insn_off[0] && p->insn_len[0] && p->insn_len[0] <= 15 &&
               !p->hook_before && p->place <= TN_PLACE_EXIT;
    if (p->len < (p->punned ? 1 : 5) || p->len > TN_PATCH_MAX || !p->ninsns ||
        p->ninsns > TN_ARRAY_SIZE(p->insn_off) ||
        p->hook_before + (p->place != TN_PLACE_SYSENTER) > p->ninsns)
        return false;
    for (u32 k = 0; k < p->ninsns; k++) {
        if (p->insn_off[k] != end || !p->insn_len[k] || p->insn_len[k] > 15)
            return false;
        end += p->insn_len[k];
    }
    return end <= p->len + (p->punned ? 0u : p->behind);
}

static int finish(const struct tn_asm *a, u64 at, struct tn_error *err)
{
    if (!a->err)
        return 0;
    return tn_fail(err, a->err, a->err == -ENOSPC ? "no_space" : tn_refusal_name(TN_REFUSE_OUT_OF_REACH),
                   "displaced instructions at 0x%llx do not fit, or reach too far", (unsigned long long)at);
}

static int read_insn(const struct tn_patch *p, u32 k, u64 addr, struct tn_insn *ret)
{
    if (tn_x86_decode(p->expected + p->insn_off[k], p->insn_len[k], addr, ret) < 0 ||
        ret->len != p->insn_len[k])
        return -EINVAL;
    return 0;
}

/* Displaced instruction k, which stood at `addr`. *leaves is set if nothing of the window comes behind it. */
static int put(struct tn_asm *a, u64 at, const struct tn_patch *p, u32 k, u64 addr, const struct tn_insn *i,
               bool *leaves, struct tn_error *err)
{
    const u8 *bytes = p->expected + p->insn_off[k];
    bool last = k + 1u == p->ninsns;

    if (!(last || p->punned) || !can_emulate(i))
        return emit(a, at, bytes, i, err);
    if ((i->mem_off || i->rel_off) && !reaches(at + a->len, i->target))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, i->target, NULL);
    emulate_call(a, at, bytes, i, addr + i->len);
    *leaves |= last;
    return 0;
}

/* A loop's next round, which is no call. */
static bool is_round(const struct tn_patch *p, u64 load_bias, const struct tn_insn *i)
{
    return p->rounds && i->rel_off && i->kind != TN_INSN_CALL && i->target == p->rounds + load_bias;
}

/* A jump inside the window. What is jumped to runs with its hook, if it has one. */
static int lead_inside(const struct tn_patch *p, u64 start, const u64 *label, struct tn_insn *i,
                       struct tn_error *err)
{
    u32 end = p->insn_off[p->ninsns - 1] + p->insn_len[p->ninsns - 1];

    if (!i->rel_off || i->target <= start || i->target >= start + end)
        return 0;
    for (u32 k = 0; k < p->ninsns; k++)
        if (i->target == start + p->insn_off[k]) {
            i->target = label[k];
            return 0;
        }
    return tn_refuse(err, -ENOTSUP, TN_REFUSE_JUMP_INTO_WINDOW, i->target, NULL);
}

/* armed's high half, up or down by one. rcx is free: the system call destroys it anyway. */
static void count(struct tn_asm *a, u64 at, u64 priv, bool up)
{
    u64 half = priv + offsetof(struct tn_private, armed) + 4;
    struct tn_mem m = tn_mem_base(TN_RCX, 0);

    if (reaches(at + a->len, half))
        m = tn_mem_pos((s64)(half - at));
    else
        tn_x86_mov_ri(a, TN_RCX, half);
    tn_x86_lock(a);
    tn_x86_alu_mi(a, 4, up ? TN_ADD : TN_SUB, m, 1);
}

/*
 * A call that may be a vfork, made here: whoever makes it must know of the child before it runs, and must
 * not forget it. armed += TN_VFORK_UNIT, the call, and in the parent (or on error) armed −= TN_VFORK_UNIT. Until it is
 * back no stack is used: parent and child share it. Flags, rcx and r11 are in the end as behind the host's own.
 */
static void counted_call(struct tn_asm *a, u64 at, u64 priv, u32 nr, u64 resume)
{
    static const u8 jrcxz[] = {0xe3, 0};
    struct tn_fixup child, plain = {0};

    tn_x86_flags_to_ax(a);
    if (nr == SYS_CLONE) {
        tn_x86_test_ri(a, 4, TN_RDI, CLONE_VFORK);
        plain = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    }
    count(a, at, priv, true);
    tn_x86_flags_from_ax(a);
    tn_x86_mov_ri(a, TN_RAX, nr);
    tn_x86_syscall(a);
    tn_x86_mov_rr(a, 8, TN_RCX, TN_RAX);
    tn_x86_bytes(a, jrcxz, sizeof(jrcxz));
    child = (struct tn_fixup){.at = a->len - 1, .size = 1};
    tn_x86_mov_rr(a, 8, TN_R11, TN_RAX);
    tn_x86_flags_to_ax(a);
    count(a, at, priv, false);
    tn_x86_flags_from_ax(a);
    tn_x86_mov_rr(a, 8, TN_RAX, TN_R11);
    tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, -RED_ZONE));
    tn_x86_pushf(a);
    tn_x86_pop(a, TN_R11);
    tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, RED_ZONE));
    tn_x86_bind(a, child);
    tn_x86_lea(a, TN_RCX, tn_mem_pos((s64)(resume - at)));
    tn_x86_jmp(a, 4, (s64)(resume - at));
    if (nr == SYS_CLONE) {
        tn_x86_bind(a, plain);
        tn_x86_flags_from_ax(a);
        tn_x86_mov_ri(a, TN_RAX, nr);
        tn_x86_jmp(a, 4, (s64)(resume - SYSCALL_LEN - at));
    }
}

/* The number of the call: rcx and r11 are free, flags are not touched. */
static void note_call(struct tn_asm *a, u64 at, u64 calls)
{
    tn_call_word(a, at, calls);
    tn_x86_store(a, 4, tn_mem_base(TN_R11, 0), TN_RSP);
    tn_x86_store(a, 4, tn_mem_base(TN_R11, 4), TN_RAX);
}

/*
 * The agent looks at the call first (rt/signals.h). rcx and r11 are free. Goes on to the host's instruction, to what
 * follows here if the call is made here, or behind the call.
 */
static void guard(struct tn_asm *a, const struct tn_copy_to *to, u64 resume, bool made_here)
{
    const u32 lea = 7, jump = 6;
    u32 block = a->len + lea + jump;

    tn_x86_lea(a, TN_RCX, tn_mem_pos(block));
    tn_x86_jmp_m(a, tn_mem_pos((s64)block + offsetof(struct tn_guard_block, routine)));
    if (!a->err && a->len != block)
        a->err = -EINVAL;
    tn_x86_u64(a, to->signals);
    tn_x86_u64(a, made_here ? to->at + block + sizeof(struct tn_guard_block) : resume);
    tn_x86_u64(a, resume + SYSCALL_LEN);
    tn_x86_u64(a, to->guard);
}
_Static_assert(offsetof(struct tn_guard_block, signals) == 0 && offsetof(struct tn_guard_block, go_on) == 8 &&
                   offsetof(struct tn_guard_block, made) == 16 && sizeof(struct tn_guard_block) == 32,
               "in this order");

/* The word that leads to the hooks, and where they come back to. */
static int hook(struct tn_asm *a, u64 at, u64 hook_entry_ptr, struct tn_displaced_out *out,
                struct tn_error *err)
{
    if (hook_entry_ptr && !reaches(at + a->len, hook_entry_ptr))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, hook_entry_ptr, "hook pointer");
    if (hook_entry_ptr) {
        out->hook_at = at + a->len;
        tn_x86_jmp_m(a, tn_mem_pos((s64)(hook_entry_ptr - at)));
    }
    out->hook_return = at + a->len;
    return 0;
}

/* On behind the window; of a system call, with what is asked and noted before it is made, and made here if it is
   counted. */
static int go_back(struct tn_asm *a, const struct tn_patch *p, const struct tn_copy_to *to,
                   struct tn_error *err)
{
    const u64 at = to->at, resume = p->resume + to->load_bias;
    const bool call = p->place == TN_PLACE_SYSENTER;
    const bool counted = call && to->priv && tn_wants(&tn_wanted_vforks, p->nr);

    if (!reaches(at + a->len, resume))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, resume, NULL);
    if (call && to->calls && p->nr == TN_NR_UNKNOWN)
        note_call(a, at, to->calls);
    if (call && to->signals && (p->nr == TN_NR_UNKNOWN || tn_guarded(p->nr)))
        guard(a, to, resume, counted);
    if (counted)
        counted_call(a, at, to->priv, (u32)p->nr, resume + SYSCALL_LEN);
    else
        tn_x86_jmp(a, 4, (s64)(resume - at));
    return 0;
}

/* `label`: where each instruction begins, in and out. Lengths do not depend on it. */
static int displace(const struct tn_patch *patch, const struct tn_copy_to *to, u8 *ret_bytes, u32 cap,
                    u64 *label, struct tn_displaced_out *ret_out, struct tn_error *err)
{
    const u64 at = to->at, load_bias = to->load_bias;
    struct tn_displaced_out out = {.enter = at};
    bool returned = patch->returns;
    struct tn_asm a;
    int r = 0;

    tn_asm_fixed(&a, ret_bytes, cap);
    for (u32 k = 0; k < patch->ninsns; k++) {
        u64 addr = patch->addr + load_bias + patch->insn_off[k];
        struct tn_insn i;

        r = read_insn(patch, k, addr, &i);
        if (r < 0)
            return r;
        r = lead_inside(patch, patch->addr + load_bias, label, &i, err);
        if (r < 0)
            return r;
        label[k] = at + a.len;
        if (k == patch->hook_before)
            r = hook(&a, at, to->hook_entry_ptr, &out, err);
        if (r < 0)
            return r;
        if (is_round(patch, load_bias, &i))
            i.target = patch->addr == patch->rounds ? out.hook_return : to->past;
        out.insn_at[k] = at + a.len;
        out.jump_at[k] = label[k];
        r = put(&a, at, patch, k, addr, &i, &returned, err);
        if (r < 0)
            return r;
    }
    if (patch->hook_before == patch->ninsns)
        r = hook(&a, at, to->hook_entry_ptr, &out, err);
    if (r < 0)
        return r;
    r = returned ? 0 : go_back(&a, patch, to, err);
    if (r < 0)
        return r;
    r = finish(&a, at, err);
    if (r < 0)
        return r;
    out.len = a.len;
    *ret_out = out;
    return 0;
}

int tn_displaced(const struct tn_patch *patch, const struct tn_copy_to *to, u8 *ret_bytes, u32 cap,
                 struct tn_displaced_out *ret_out, struct tn_error *err)
{
    u64 label[TN_ARRAY_SIZE(patch->insn_off)];
    int r;

    if (!sane(patch))
        return -EINVAL;
    for (u32 k = 0; k < patch->ninsns; k++)
        label[k] = to->at;
    r = displace(patch, to, ret_bytes, cap, label, ret_out, err);
    return r < 0 ? r : displace(patch, to, ret_bytes, cap, label, ret_out, err);
}

bool tn_displaced_anywhere(const struct tn_patch *p)
{
    const u64 end = p->addr + tn_patch_span(p);

    if (!sane(p) || p->len == TN_BREAK_LEN || p->punned || p->rounds || p->tail ||
        p->place >= TN_PLACE_SYSENTER)
        return false;
    for (u32 k = 0; k < p->ninsns; k++) {
        struct tn_insn i;

        if (read_insn(p, k, p->addr + p->insn_off[k], &i) < 0 ||
            (i.rel_off && i.target >= p->addr && i.target < end))
            return false;
    }
    return true;
}

int tn_displaced_part(const struct tn_patch *p, u64 load_bias, bool behind, struct tn_asm *a, u64 at,
                      struct tn_error *err)
{
    bool leaves = p->returns;

    for (u32 k = behind ? p->hook_before : 0; k < (behind ? p->ninsns : p->hook_before); k++) {
        u64 addr = p->addr + load_bias + p->insn_off[k];
        struct tn_insn i;
        int r = read_insn(p, k, addr, &i);

        if (r == 0)
            r = put(a, at, p, k, addr, &i, &leaves, err);
        if (r < 0)
            return r;
    }
    if (!behind || leaves)
        return 0;
    return go_back(a, p, &(struct tn_copy_to){.at = at, .load_bias = load_bias}, err);
}

int tn_patch_bytes(const struct tn_patch *patch, u64 load_bias, u64 enter, u8 ret_bytes[TN_PATCH_MAX],
                   struct tn_error *err)
{
    u8 bytes[TN_PATCH_MAX] = {0};
    u64 addr = patch->addr + load_bias;
    struct tn_asm a;

    if (!sane(patch) || patch->punned)
        return -EINVAL;
    if (!reaches(addr, enter))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, enter, NULL);
    if (patch->len == TN_BREAK_LEN) {
        ret_bytes[0] = 0xcc;
        return 0;
    }
    tn_asm_fixed(&a, bytes, sizeof(bytes));
    tn_x86_jmp(&a, 4, (s64)(enter - addr));
    tn_x86_nop(&a, patch->len - a.len);
    if (a.err)
        return a.err;
    memcpy(bytes + patch->len, patch->expected + patch->len, sizeof(bytes) - patch->len);
    memcpy(ret_bytes, bytes, sizeof(bytes));
    return 0;
}
