/* SPDX-License-Identifier: MIT */
/*
 * Patched code must behave as it did. Functions written in assembly are copied into executable memory, run
 * with every register set to something known, patched, and run again: registers, flags where they are live,
 * vector registers and memory must be the same, whatever the program does to what it may clobber.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "agent/agent.h"
#include "arena.h"
#include "rewrite/refusals.h"
#include "rewrite/switch.h"
#include "x86/decode.h"

extern u8 blob[], blob_end[];

// clang-format off
#define FUNCTIONS(X) \
    X(s_simple) X(s_branch) X(s_jmp_first) X(s_rip) X(s_loop) X(s_call_first) X(s_call_rip) X(s_call_reg_mid) X(s_call_reg_top) \
    X(s_who_called) X(s_leaf) X(s_flags) X(s_overflow) X(s_redzone) X(s_probe) X(s_inner) X(s_pops) X(s_switch) X(s_endbr) X(s_fib) \
    X(s_short) X(s_tail) X(s_head) X(s_into) X(s_vfork) X(s_call_far) X(s_call_zero) X(s_call_into) X(s_call_short) \
    X(s_call_rep) X(s_call_bad) X(s_call_page) X(s_call_split) X(s_end)
// clang-format on
#define X(name) extern u8 name[];
FUNCTIONS(X)
#undef X
extern u8 s_flags_at[], s_overflow_at[], s_redzone_at[], s_probe_at[], s_inner_at[], s_call_reg_mid_at[],
    s_vector[], s_scratch[], s_call_far_at[], s_call_zero_at[], s_call_into_at[], s_call_short_at[],
    s_call_rep_at[], s_call_bad_at[], s_call_page_at[], s_call_split_at[];

static struct tn_func funcs[40];
static struct tn_bytes rodata;
static struct tn_code_view view;

static u64 moved(const u8 *label)
{
    return (u64)arena->code + (u64)(label - blob);
}

static const char *name_of(u64 addr)
{
    for (u32 i = 0; i < view.nfuncs; i++)
        if (funcs[i].addr == addr)
            return funcs[i].name;
    return "?";
}

static int setup(void **state)
{
    u32 n = 0;
    u64 target;

    (void)state;
    arena_map(MAP_PRIVATE);
    assert_true((size_t)(blob_end - blob) <= sizeof(arena->code));
    memcpy(arena->code, blob, (size_t)(blob_end - blob));
    target = moved(s_who_called);
    memcpy((void *)moved(s_vector), &target, 8);
#define X(fn) funcs[n++] = (struct tn_func){.addr = moved(fn), .name = #fn};
    FUNCTIONS(X)
#undef X
    for (u32 i = 0; i + 1 < n; i++) {
        funcs[i].size = funcs[i + 1].addr - funcs[i].addr;
        /* without the padding, as compilers say it */
        while (((u8 *)funcs[i].addr)[funcs[i].size - 1] == 0xcc)
            funcs[i].size--;
    }
    rodata = (struct tn_bytes){arena->code, (u64)arena->code, sizeof(arena->code)};
    view = (struct tn_code_view){.bytes = arena->code,
                                 .addr = (u64)arena->code,
                                 .len = moved(s_end) - (u64)arena->code + 1,
                                 .funcs = funcs,
                                 .nfuncs = n,
                                 .rodata = &rodata,
                                 .nrodata = 1};
    return 0;
}

static const u64 args[][2] = {{0, 0},    {1, 2}, {3, 9}, {2, ~0ull}, {11, 1}, {1ull << 63, 1ull << 63},
                              {~0ull, 1}};

/* The function's behaviour with and without the patch. Loops and recursion get small numbers only. `ret_runs`: how often
   the program ran, for each of the arguments; NULL: as often as is known of the function. */
static void compare_plan(const char *what, enum tn_place_kind place, u64 fn, u64 at, const struct option *o,
                         bool flags, const struct tn_plan *plan, u64 *ret_runs)
{
    u64 *heads = (u64 *)arena->displaced[7]; /* near the code */

    for (u32 i = 0; i < TN_ARRAY_SIZE(args); i++) {
        struct state in = {0}, plain = {0}, hooked = {0};
        u64 scratch;
        bool expect = o->gate && o->armed;

        if ((fn == moved(s_loop) || fn == moved(s_fib) || fn == moved(s_head)) && args[i][0] > 12)
            continue;
        state_fill(&in, args[i][0], args[i][1], i + 1);
        if (o->own) /* as Go has it */
            memset(in.xmm[15], 0, 16);
        memset((void *)moved(s_scratch), 0, 8);
        call_with_state((void *)fn, &in, &plain);
        memcpy(&scratch, (void *)moved(s_scratch), 8);
        memset((void *)moved(s_scratch), 0, 8);
        apply(plan, at, o, heads);
        for (u32 twice = 0; twice < 2; twice++) { /* slow way first, then the fast one */
            memset((void *)moved(s_scratch), 0, 8);
            arena->runs = 0;
            call_with_state((void *)fn, &in, &hooked);
            if (!flags && !o->own)
                hooked.flags = plain.flags;
            plain.flags &= FLAGS_LIVE;
            hooked.flags &= FLAGS_LIVE;
            if (memcmp(&plain, &hooked, sizeof(plain)) != 0) {
                for (u32 r = 0; r < 16; r++)
                    if (plain.gpr[r] != hooked.gpr[r])
                        print_message("# %s: register %u: %#llx, hooked %#llx\n", what, r,
                                      (unsigned long long)plain.gpr[r], (unsigned long long)hooked.gpr[r]);
                fail_msg("%s differs for arguments %u, round %u", what, i, twice);
            }
            assert_memory_equal(&scratch, (void *)moved(s_scratch), 8);
            if (ret_runs)
                ret_runs[i] = arena->runs;
            else if (fn == moved(s_probe) && place == TN_PLACE_OFFSET)
                assert_int_equal(arena->runs, expect && args[i][0]);
            else if (fn == moved(s_inner) && place == TN_PLACE_OFFSET)
                assert_int_equal(arena->runs, expect ? 3 : 0);
            else if (fn != moved(s_fib))
                assert_int_equal(arena->runs, expect);
            else if (!expect)
                assert_int_equal(arena->runs, 0);
        }
        undo(plan);
    }
}

static void compare(const char *what, enum tn_place_kind place, u64 fn, u64 at, const struct option *o,
                    bool flags)
{
    struct tn_error err = {0};
    struct tn_plan plan;

    if (tn_plan(&view, place, at, &plan, &err) < 0)
        fail_msg("%s: %s", what, err.message);
    compare_plan(what, place, fn, at, o, flags, &plan, NULL);
    tn_plan_clear(&plan);
}

static void entries(void **state)
{
    static u8 *const fns[] = {s_simple,   s_branch,       s_jmp_first, s_rip,    s_loop,     s_call_first,
                              s_call_rip, s_call_reg_mid, s_leaf,      s_flags,  s_overflow, s_redzone,
                              s_probe,    s_inner,        s_pops,      s_switch, s_endbr,    s_fib,
                              s_short,    s_tail,         s_into,      s_head};

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(fns); i++)
            compare(name_of(moved(fns[i])), TN_PLACE_ENTRY, moved(fns[i]), moved(fns[i]), &o, false);
    }
    print_message("# %u fused\n", fused);
    assert_true(fused > PLAIN_VARIANTS / 2 * TN_ARRAY_SIZE(fns) / 2);
}

static void exits(void **state)
{
    static u8 *const fns[] = {s_simple,   s_branch,     s_jmp_first, s_rip,   s_loop,    s_call_first,
                              s_call_rip, s_who_called, s_leaf,      s_flags, s_redzone, s_probe,
                              s_inner,    s_pops,       s_switch,    s_endbr, s_fib,     s_short};
    u32 before = fused;

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(fns); i++)
            compare(name_of(moved(fns[i])), TN_PLACE_EXIT, moved(fns[i]), moved(fns[i]), &o, false);
    }
    print_message("# %u fused\n", fused - before);
    assert_true(fused - before > PLAIN_VARIANTS / 2 * TN_ARRAY_SIZE(fns) / 2);
}

/* Where flags and red zone are live. */
static void offsets(void **state)
{
    static const struct {
        u8 *fn, *at;
    } places[] = {{s_flags, s_flags_at}, {s_overflow, s_overflow_at}, {s_redzone, s_redzone_at},
                  {s_probe, s_probe_at}, {s_inner, s_inner_at},       {s_call_reg_mid, s_call_reg_mid_at}};

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(places); i++)
            compare(name_of(moved(places[i].fn)), TN_PLACE_OFFSET, moved(places[i].fn), moved(places[i].at),
                    &o, true);
    }
}

/* A system call's window, among those that were found; NULL: it is refused for that reason. */
static const struct tn_patch *window(const struct tn_patch *sites, u32 n, u64 call, s32 nr,
                                     const char *refused)
{
    for (u32 i = 0; i < n; i++) {
        const struct tn_patch *p = &sites[i];
        u64 at = p->refused ? p->addr : p->place == TN_PLACE_SYSENTER ? p->resume : p->addr - 2;

        if (at != call)
            continue;
        assert_string_equal(p->refused ? tn_refusal_name(p->refused) : "", refused);
        assert_int_equal(p->nr, nr);
        return p->refused ? NULL : p;
    }
    fail_msg("no call at %#llx", (unsigned long long)call);
    return NULL;
}

/* Calls of the kernel where nobody would put one, hooked where they are entered and left. */
static void calls(void **state)
{
    static const struct {
        u8 *fn, *at;
        s32 nr;
        const char *enter, *leave; /* why not; "": it can be hooked */
    } rows[] = {
        {s_call_far, s_call_far_at, SYS_getpid, "", ""},
        {s_call_zero, s_call_zero_at, SYS_read, "", ""},
        {s_call_into, s_call_into_at, TN_NR_UNKNOWN, "jump_into_window", ""},
        {s_call_short, s_call_short_at, SYS_getpid, "", "jump_into_window"},
        {s_call_rep, s_call_rep_at + 1, SYS_getpid, "syscall_prefixed", "syscall_prefixed"},
        {s_call_bad, s_call_bad_at, TN_NR_UNKNOWN, "", ""},
        {s_call_page, s_call_page_at, SYS_getpid, "", ""},
        {s_call_split, s_call_split_at, SYS_getpid, "", ""},
    };
    struct tn_patch *sites[2];
    u32 n[2];

    (void)state;
    for (u32 k = 0; k < 2; k++)
        assert_int_equal(
            tn_find_syscalls(&view, k ? TN_PLACE_SYSEXIT : TN_PLACE_SYSENTER, NULL, &sites[k], &n[k]), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        u64 fn = moved(rows[i].fn), at = moved(rows[i].at);
        struct tn_patch both[2];
        struct tn_plan plan = {.patches = both};

        for (u32 k = 0; k < 2; k++) {
            const struct tn_patch *p =
                window(sites[k], n[k], at, rows[i].nr, k ? rows[i].leave : rows[i].enter);

            /* Of any number: what notes it must be there too. */
            if (p && (!k || plan.npatches || p->nr != TN_NR_UNKNOWN)) {
                both[plan.npatches] = *p;
                both[plan.npatches++].place = k ? TN_PLACE_SYSEXIT : TN_PLACE_SYSENTER;
            }
        }
        for (u32 v = 0; plan.npatches && v < PLAIN_VARIANTS; v++) {
            struct option o = variant(v);
            u64 ran[TN_ARRAY_SIZE(args)];

            o.only = TN_NR_UNKNOWN;
            o.typed = v % 2;
            compare_plan(name_of(fn), TN_PLACE_SYSENTER, fn, 0, &o, true, &plan, ran);
            for (u32 a = 0; a < TN_ARRAY_SIZE(args); a++)
                assert_int_equal(ran[a], o.gate && o.armed ? plan.npatches : 0);
        }
    }
    free(sites[0]);
    free(sites[1]);
}

/* The n instructions at `at`, each with a jump of its own, whatever jumps there. */
static bool by_hand(u64 at, u64 end, u32 n, struct tn_patch *ret)
{
    struct tn_patch p = {.addr = at, .punned = true, .place = TN_PLACE_OFFSET, .behind = 4};

    while (p.ninsns < n) {
        struct tn_insn i;

        if (at + p.len >= end || tn_x86_decode((u8 *)at + p.len, 15, at + p.len, &i) < 0)
            return false;
        p.insn_off[p.ninsns] = p.len;
        p.insn_len[p.ninsns++] = i.len;
        p.len += i.len;
        p.returns = i.kind == TN_INSN_RET || i.kind == TN_INSN_JMP || i.kind == TN_INSN_JMP_IND;
    }
    if (p.len > 16)
        return false;
    p.resume = at + p.len;
    memcpy(p.expected, (u8 *)at, p.len + 4u);
    *ret = p;
    return true;
}

/*
 * Punned jumps over every instruction of functions that jump to and fro, over it alone and with one and two evicted: the
 * same state, and the program as often as with each other.
 */
static void punned(void **state)
{
    static u8 *const fns[] = {s_simple,       s_branch,     s_jmp_first, s_rip,     s_loop,
                              s_call_reg_mid, s_who_called, s_flags,     s_redzone, s_probe,
                              s_inner,        s_pops,       s_switch,    s_into,    s_head};
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true};
    u32 had[TN_PUN_INSNS + 1] = {0}, prefixed = 0;

    (void)state;
    for (u32 f = 0; f < TN_ARRAY_SIZE(fns); f++) {
        u64 fn = moved(fns[f]), at = fn;
        const struct tn_func *func = NULL;
        struct tn_insn i;

        for (u32 k = 0; k < view.nfuncs; k++)
            if (funcs[k].addr == fn)
                func = &funcs[k];
        assert_non_null(func);
        for (; at < fn + func->size; at += i.len) {
            u64 ran[TN_ARRAY_SIZE(args)] = {0};
            bool known = false;

            if (tn_x86_decode((u8 *)at, 15, at, &i) < 0)
                break; /* what follows is no code */
            for (u32 n = 1; n <= TN_PUN_INSNS; n++) {
                u64 again[TN_ARRAY_SIZE(args)] = {0};
                struct tn_patch p;
                struct tn_pun pun;

                if (!by_hand(at, fn + func->size, n, &p) || place_pun(&p, &pun) < 0)
                    continue;
                had[n]++;
                prefixed += pun.prefixes > 0;
                compare_plan(name_of(fn), TN_PLACE_OFFSET, fn, at, &o, true,
                             &(struct tn_plan){.patches = &p, .npatches = 1}, known ? again : ran);
                if (known)
                    assert_memory_equal(ran, again, sizeof(ran));
                known = true;
            }
        }
    }
    print_message("# %u alone, %u and %u with instructions evicted; %u with prefixes; %u pages\n", had[1],
                  had[2], had[3], prefixed, stub_pages());
    assert_true(had[1] > 40 && had[2] > 20 && had[3] > 10 && prefixed > 5);
}

/* What the program finds in its context. */
static void context_of(bool own)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true, .all_context = true, .own = own};
    u64 *heads = (u64 *)arena->displaced[7];
    struct state in, out;
    struct tn_plan plan;

    state_fill(&in, 5, 6, 1);
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    for (u32 i = 0; i < 2; i++) {
        arena->seen = (struct tn_pt_regs){0};
        call_with_state((void *)moved(s_simple), &in, &out);
        assert_int_equal(arena->seen.ip, moved(s_simple));
        assert_int_equal(arena->seen.sp, out.gpr[RSP] - 8 + 16 - 16);
        assert_int_equal(arena->seen.di, 5);
        assert_int_equal(arena->seen.si, 6);
        assert_int_equal(arena->seen.ax, in.gpr[RAX]);
        assert_int_equal(arena->seen.cx, in.gpr[RCX]);
        assert_int_equal(arena->seen.dx, in.gpr[RDX]);
        assert_int_equal(arena->seen.bx, in.gpr[RBX]);
        assert_int_equal(arena->seen.bp, in.gpr[RBP]);
        for (u32 r = 8; r < 16; r++) {
            u64 got[] = {arena->seen.r8,  arena->seen.r9,  arena->seen.r10, arena->seen.r11,
                         arena->seen.r12, arena->seen.r13, arena->seen.r14, arena->seen.r15};

            assert_int_equal(got[r - 8], in.gpr[r]);
        }
        assert_int_equal(arena->seen.cs, 0x33);
        assert_int_equal(arena->seen.ss, 0x2b);
        assert_int_equal(arena->seen.orig_ax, ~0ull);
        assert_int_equal(arena->seen.flags & FLAGS_LIVE, in.flags & FLAGS_LIVE);
    }
    undo(&plan);
    tn_plan_clear(&plan);

    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    call_with_state((void *)moved(s_simple), &in, &out);
    assert_int_equal(arena->seen.ax, (5 + 6 + 1) * 3);
    assert_int_equal(arena->seen.sp, out.gpr[RSP]);
    /* The return address: behind the only call in call_with_state. */
    assert_in_range(arena->seen.ip, (u64)call_with_state, (u64)call_with_state + 512);
    assert_memory_equal((u8 *)arena->seen.ip - 3, "\xff\x14\x24", 3);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void context(void **state)
{
    (void)state;
    context_of(false);
    context_of(true);
}

static struct tn_switch_head *stack(u32 k)
{
    return (struct tn_switch_head *)(stacks + (u64)k * TN_SWITCH_SIZE + TN_SWITCH_TOP);
}

/* A program that comes upon its own hook is skipped there, and runs again afterwards. */
static void recursion_of(bool own)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true, .own = own};
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    struct tn_slot *slot = &arena->priv.slot[TN_SLOT_HASH(__builtin_thread_pointer())];
    struct tn_plan plan;

    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    fn(1, 2);
    arena->enters = arena->leaves = arena->runs = 0;
    fn(1, 2);
    assert_int_equal(arena->enters, 0);
    assert_int_equal(arena->runs, 1);
    assert_int_equal(slot->sp, 0);
    assert_int_equal(slot->running[0], 0);
    arena->reenter = fn;
    assert_int_equal(fn(1, 2), 12);
    assert_int_equal(arena->enters, 1);
    assert_int_equal(arena->last_flags & (TN_ENTER_SP | TN_ENTER_OWN),
                     own ? TN_ENTER_SP | TN_ENTER_OWN : TN_ENTER_SP);
    assert_int_equal(arena->runs, 2);
    assert_int_equal(slot->sp, 0);
    assert_int_equal(slot->running[0], 0);
    fn(1, 2);
    assert_int_equal(arena->runs, 3);
    assert_int_equal(arena->enters, 1);
    /* An abandoned run arena->leaves sp behind: the agent is asked. */
    slot->sp = 16;
    fn(1, 2);
    assert_int_equal(arena->enters, 2);
    slot->sp = 0;
    /* A vfork in flight: the agent decides. */
    arena->priv.armed += TN_VFORK_UNIT;
    fn(1, 2);
    assert_int_equal(arena->enters, 3);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void recursion(void **state)
{
    (void)state;
    recursion_of(false);
    recursion_of(true);
}

/* A stack of our own: the thread's, the next one where that is taken, none where all in reach are; and back with each. */
static void own_stacks(void **state)
{
    struct option o = {
        .tp = TN_TP_SELF, .gate = true, .armed = true, .own = true, .footprint = 1 | TN_FOOT_RUN};
    u32 first = TN_SLOT_HASH(__builtin_thread_pointer());
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    u64 *heads = (u64 *)arena->displaced[7];
    struct tn_plan plan;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    arena->stats[0] = (struct tn_link_stats){};
    arena->runs = 0;
    for (u32 taken = 0; taken <= TN_SWITCH_PROBES; taken++) {
        struct state in = {0}, out = {0};

        state_fill(&in, 3, 4, 1);
        memset(in.xmm[15], 0, 16);
        arena->seen_run = NULL;
        call_with_state((void *)moved(s_simple), &in, &out);
        assert_int_equal(out.gpr[RAX], (3 + 4 + 1) * 3);
        assert_memory_equal(out.xmm[15], in.xmm[15], 16);
        assert_int_equal(arena->runs, TN_MIN(taken + 1, TN_SWITCH_PROBES));
        assert_int_equal(arena->stats[0].missed, taken == TN_SWITCH_PROBES);
        if (taken < TN_SWITCH_PROBES) {
            assert_in_range((u64)arena->seen_run, (u64)stack(first + taken) - 1024,
                            (u64)stack(first + taken) - 1);
            assert_int_equal(stack(first + taken)->busy, 0);
            stack(first + taken)->busy = 1;
        }
    }
    for (u32 k = 0; k < TN_SWITCH_STACKS; k++) {
        assert_int_equal(stack(k)->busy, k - first < TN_SWITCH_PROBES);
        stack(k)->busy = 0;
    }
    assert_int_equal(fn(1, 2), 12);
    assert_int_equal(arena->stats[0].missed, 1);
    undo(&plan);
    tn_plan_clear(&plan);
}

/* Which values of `armed` need no question: this process; for links that follow, a fork child known to be one. */
static void whose_process(void **state)
{
    static const struct {
        u64 armed;
        bool follow, percpu, asks;
    } rows[] = {
        {TN_ARMED, false, false, false},
        {TN_ARMED, true, false, false},
        {TN_ARMED_FORKED, true, false, false},
        {TN_ARMED_FORKED, true, true, true},
        {TN_ARMED_FORKED, false, false, true},
        {0, true, false, true},
        {TN_ARMED + TN_VFORK_UNIT, true, false, true},
        {TN_ARMED_FORKED + TN_VFORK_UNIT, true, false, true},
        {3, true, false, true},
    };
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    struct tn_plan plan;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    for (u32 i = 0; i < 2 * TN_ARRAY_SIZE(rows); i++) {
        struct option o = {.tp = TN_TP_SELF,
                           .gate = true,
                           .armed = true,
                           .follow = rows[i / 2].follow,
                           .percpu = rows[i / 2].percpu,
                           .far = i % 2};

        apply(&plan, moved(s_simple), &o, heads);
        fn(1, 2); /* the slot is the thread's from now on */
        arena->proc.priv->armed = rows[i / 2].armed;
        arena->enters = 0;
        assert_int_equal(fn(1, 2), 12);
        assert_int_equal(arena->enters, rows[i / 2].asks);
        undo(&plan);
    }
    tn_plan_clear(&plan);
}

/* Two links at one place run one after the other; the first can be taken out by one store. */
static void chain(void **state)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true, .fused = *state};
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_pops);
    struct tn_plan plan;
    u32 before = fused;

    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_pops), &plan, NULL), 0);
    apply(&plan, moved(s_pops), &o, heads);
    assert_int_equal(fused - before, o.fused);
    plant(1, &plan.patches[0], moved(s_pops), arena->hook[0].next, &o);
    arena->hook[0].next = (u64)arena->tramp[1];
    arena->runs = 0;
    assert_int_equal(fn(1, 2), 9);
    assert_int_equal(arena->runs, 2);
    heads[0] = (u64)arena->tramp[1];
    assert_int_equal(fn(1, 2), 9);
    assert_int_equal(arena->runs, 3);
    assert_ptr_equal(arena->seen_run->hook, &arena->hook[1]);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void refused(void **state)
{
    static const struct {
        u8 *fn;
        enum tn_place_kind place;
        const char *reason;
    } rows[] = {
        {s_tail, TN_PLACE_EXIT, "exit_tail_stack"},
        {s_simple + 1, TN_PLACE_OFFSET, "not_an_instruction_start"},
        {s_simple + 4, TN_PLACE_EXIT, "exit_not_at_entry"},
        {s_simple + 4, TN_PLACE_ENTRY, "function_bounds_unknown"},
        {s_simple, TN_PLACE_SYSENTER, "not_a_syscall"},
        {blob + 100000, TN_PLACE_ENTRY, "not_code"},
    };

    (void)state;
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        struct tn_plan plan = {.npatches = 77};
        struct tn_error err = {0};

        assert_true(tn_plan(&view, rows[i].place, moved(rows[i].fn), &plan, &err) < 0);
        assert_string_equal(err.reason, rows[i].reason);
        assert_int_equal(plan.npatches, 77);
    }
    view.is_go = true;
    for (u32 p = TN_PLACE_ENTRY; p <= TN_PLACE_EXIT; p++) {
        struct tn_error err = {0};
        struct tn_plan plan;

        assert_true(tn_plan(&view, p, moved(s_simple), &plan, &err) < 0);
        assert_string_equal(err.reason, "go_table");
    }
    view.is_go = false;
}

/* Entry and exit of a function of three bytes want the same five: known before anything is written. */
static void overlap(void **state)
{
    struct tn_plan a, b, c;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_short), &a, NULL), 0);
    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_short), &b, NULL), 0);
    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_pops), &c, NULL), 0);
    assert_int_equal(c.npatches, 2);
    assert_string_equal(a.tactic, "jump5_padding");
    assert_true(tn_plan_overlap(&a, &b));
    assert_false(tn_plan_overlap(&a, &a));
    assert_false(tn_plan_overlap(&a, &c));
    tn_plan_clear(&a);
    tn_plan_clear(&b);
    tn_plan_clear(&c);
}

/*
 * Runs the patched vfork. Its child arena->leaves what it sees in shared memory and exits by a bare system call,
 * without a return: the stack is its parent's.
 */
static int vfork_child(struct tn_private *priv)
{
    volatile u64 in_child = 0;
    s64 pid = 0;
    int status;

    __asm__ volatile("lea -128(%%rsp), %%rsp\n"
                     "call *%[site]\n"
                     "lea 128(%%rsp), %%rsp\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "mov (%[armed]), %%rcx\n"
                     "mov %%rcx, (%[seen])\n"
                     "mov $60, %%eax\n"
                     "mov $7, %%edi\n"
                     "syscall\n"
                     "1:"
                     : "=&a"(pid)
                     : [site] "r"(moved(s_vfork)), [armed] "r"(&priv->armed), [seen] "r"(&in_child)
                     : "rcx", "rdi", "r11", "memory", "cc");
    if (pid <= 0)
        return 1;
    if (in_child != TN_ARMED + TN_VFORK_UNIT)
        return 2;
    if (priv->armed != TN_ARMED)
        return 3;
    if (waitpid((pid_t)pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
        return 4;
    return 0;
}

/* The child of a patched vfork sees the count, the parent takes it back;
   the child's stack is the parent's. */
static void vfork_site(void **state)
{
    struct tn_patch *sites = NULL;
    struct tn_displaced_out out;
    u32 n = 0;
    u8 bytes[TN_PATCH_MAX];
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(tn_find_syscalls(&view, TN_PLACE_SYSENTER, &tn_wanted_vforks, &sites, &n), 0);
    while (n && sites[n - 1].nr == TN_NR_UNKNOWN) /* what may be any call */
        n--;
    assert_int_equal(n, 1);
    assert_int_equal(sites[0].refused, 0);
    assert_int_equal(sites[0].nr, SYS_vfork);
    assert_int_equal(sites[0].addr, moved(s_vfork));
    for (u32 far = 0; far < 2; far++) {
        struct tn_private *priv = far ? far_priv : &arena->priv;

        assert_int_equal(tn_displaced(&sites[0],
                                      &(struct tn_copy_to){.at = (u64)arena->displaced[0], .priv = (u64)priv},
                                      arena->displaced[0], TN_DISPLACED_MAX, &out, NULL),
                         0);
        assert_int_equal(tn_patch_bytes(&sites[0], 0, out.enter, bytes, NULL), 0);
        assert_int_equal(sites[0].len, 5); /* a restarted call finds its instruction */
        memcpy((void *)sites[0].addr, bytes, sites[0].len);
        priv->armed = TN_ARMED;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(vfork_child(priv));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        memcpy((void *)sites[0].addr, sites[0].expected, sites[0].len);
    }
    free(sites);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries),    cmocka_unit_test(exits),
        cmocka_unit_test(offsets),    cmocka_unit_test(context),
        cmocka_unit_test(recursion),  cmocka_unit_test(whose_process),
        cmocka_unit_test(chain),      cmocka_unit_test_prestate(chain, (void *)1),
        cmocka_unit_test(refused),    cmocka_unit_test(overlap),
        cmocka_unit_test(vfork_site), cmocka_unit_test(punned),
        cmocka_unit_test(calls),      cmocka_unit_test(own_stacks),
    };

    return cmocka_run_group_tests_name("equiv", tests, setup, NULL);
}
