/* SPDX-License-Identifier: MIT */
/*
 * What others build on, asserted on programs written for it: the facts of a verdict, the notes a compiler
 * trusts, the limits and denials of an authority, and the lines of the log that tools look for.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/asm.h"
#include "tests/verify/maps.h"
#include "verify/verify.h"

static struct tn_verify_in input(const struct bpf_insn *insns, u32 n)
{
    return (struct tn_verify_in){.insns = insns,
                                 .ninsns = n,
                                 .prog_type = BPF_PROG_TYPE_KPROBE,
                                 .gpl = true,
                                 .maps = test_maps,
                                 .nmaps = M_COUNT,
                                 .log_level = 4};
}
#define PROGRAM(name, ...)                                                                                   \
    static const struct bpf_insn name##_insns[] = {__VA_ARGS__};                                             \
    struct tn_verify_in name = input(name##_insns, TN_ARRAY_SIZE(name##_insns))

static void accept(const struct tn_verify_in *in, struct tn_verdict *ret)
{
    assert_int_equal(tn_verify(in, ret), 0);
    if (!ret->accepted)
        fail_msg("%s at %u: %s", ret->refusal.reason, ret->refusal.insn, ret->refusal.message);
}

static void refuse(const struct tn_verify_in *in, const char *reason, u32 at, const char *words)
{
    struct tn_verdict v;

    assert_int_equal(tn_verify(in, &v), 0);
    assert_false(v.accepted);
    assert_string_equal(v.refusal.reason, reason);
    assert_int_equal(v.refusal.insn, at);
    if (!strstr(v.refusal.message, words))
        fail_msg("\"%s\" lacks \"%s\"", v.refusal.message, words);
    assert_non_null(v.log);
    assert_non_null(strstr(v.log, words)); /* tools have only the log */
    tn_verdict_clear(&v);
}

/* ------------------------------------------------------------------------------------------------ facts */

static void test_context_words(void **state)
{
    PROGRAM(some, LDX(DW, R2, R1, 112), LDX(B, R3, R1, 9), LDX(W, R4, R1, 164), MOV(R0, 0), EXIT);
    PROGRAM(foreign, MOVX(R3, R1), MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), CALL(112), MOV(R0, 0), EXIT);
    struct tn_verdict v;

    accept(&some, &v);
    assert_int_equal(v.facts.ctx_read[0], 1u << 14 | 1u << 1 | 1u << 20);
    assert_int_equal(v.facts.ctx_read[1] | v.facts.ctx_written[0], 0);
    assert_false(v.facts.ctx_escapes || v.facts.percpu || v.facts.syscalls || v.facts.may_fault);
    assert_int_equal(v.aux[0].mem_kind, TN_MEM_CTX);
    assert_int_equal(v.facts.max_stack, 0);
    assert_int_equal(v.facts.longest_path, 5);
    tn_verdict_clear(&v);
    accept(&foreign, &v); /* read as the host's memory: every word counts */
    assert_true(v.facts.ctx_escapes && v.facts.may_fault && v.facts.syscalls);
    tn_verdict_clear(&v);
}

/* How far a context reaches: what a test run must be given, and what a trampoline must make. */
static void test_context_end(void **state)
{
    PROGRAM(nothing, MOV(R0, 0), EXIT);
    PROGRAM(last, LDX(B, R2, R1, 167), MOV(R0, 0), EXIT);
    PROGRAM(skb, LDX(W, R2, R1, 76), LDX(W, R3, R1, 80), ST(W, R1, 8, 7), MOV(R0, 0), EXIT);
    PROGRAM(mine, LDX(B, R0, R1, 1001), ST(DW, R1, 2000, 1), MOV(R0, 0), EXIT);
    struct tn_verdict v;

    accept(&nothing, &v);
    assert_int_equal(v.facts.ctx_end, 0);
    tn_verdict_clear(&v);
    accept(&last, &v);
    assert_int_equal(v.facts.ctx_end, 168);
    tn_verdict_clear(&v);
    skb.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    accept(&skb, &v);
    assert_int_equal(v.facts.ctx_end, 84);
    assert_int_equal(v.facts.ctx_read[0], 1u << 9 | 1u << 10);
    assert_int_equal(v.facts.ctx_written[0], 1u << 1);
    tn_verdict_clear(&v);
    mine.prog_type = BPF_PROG_TYPE_SYSCALL;
    mine.prog_flags = BPF_F_SLEEPABLE;
    accept(&mine, &v);
    assert_int_equal(v.facts.ctx_end, 2008);
    assert_int_equal(v.facts.ctx_read[1], 1ull << (1001 / 8 - 64));
    assert_int_equal(v.facts.ctx_written[3], 1ull << (2000 / 8 - 192));
    tn_verdict_clear(&v);
}

static void test_maps_and_helpers(void **state)
{
    PROGRAM(plain, LOOKUP(M_ARRAY), MOV(R0, 0), EXIT);
    PROGRAM(percpu, LOOKUP(M_PERCPU), CALL(8), MOV(R0, 0), EXIT);
    PROGRAM(global, LDVAL(R1, M_GLOBAL, 8), ST(DW, R1, 0, 1), MOV(R0, 0), EXIT);
    struct tn_verdict v;

    accept(&plain, &v);
    assert_int_equal(v.facts.maps_used, 1u << M_ARRAY);
    assert_int_equal(v.facts.helpers[0], 1u << 1);
    assert_false(v.facts.percpu);
    assert_int_equal(v.facts.max_stack, 8);
    tn_verdict_clear(&v);
    accept(&percpu, &v);
    assert_int_equal(v.facts.maps_used, 1u << M_PERCPU);
    assert_int_equal(v.facts.helpers[0], 1u << 1 | 1u << 8);
    assert_true(v.facts.percpu);
    tn_verdict_clear(&v);
    accept(&global, &v);
    assert_int_equal(v.facts.maps_used, 1u << M_GLOBAL);
    assert_int_equal(v.facts.helpers[0], 0);
    assert_int_equal(v.aux[2].mem_kind, TN_MEM_MAP_VALUE);
    tn_verdict_clear(&v);
}

static void test_constant_map_and_key(void **state)
{
    PROGRAM(same, LOOKUP(M_ARRAY), MOV(R0, 0), EXIT);
    PROGRAM(halves, ST(H_, R10, -4, 3), ST(H_, R10, -2, 0), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, M_ARRAY),
            CALL(1), MOV(R0, 0), EXIT);
    PROGRAM(keys, LDX(DW, R3, R1, 0), ST(W, R10, -4, 1), JMP(BPF_JEQ, R3, 0, 1), ST(W, R10, -4, 2),
            MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, M_ARRAY), CALL(1), MOV(R0, 0), EXIT);
    PROGRAM(maps, LDX(DW, R3, R1, 0), ST(W, R10, -4, 1), LDMAP(R1, M_ARRAY), JMP(BPF_JEQ, R3, 0, 2),
            LDMAP(R1, M_PERCPU), MOVX(R2, R10), ADD(R2, -4), CALL(1), MOV(R0, 0), EXIT);
    PROGRAM(negative, ST(W, R10, -4, -1), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, M_ARRAY), CALL(1), MOV(R0, 0),
            EXIT);
    PROGRAM(eight, ST(DW, R10, -8, 1), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1), MOV(R0, 0),
            EXIT);
    PROGRAM(callers, ST(W, R10, -4, 2), MOVX(R1, R10), ADD(R1, -4), CALLP(2), MOV(R0, 0), EXIT, MOVX(R2, R1),
            LDMAP(R1, M_ARRAY), CALL(1), MOV(R0, 0), EXIT);
    PROGRAM(overwritten, ST(W, R10, -4, 2), MOVX(R1, R10), ADD(R1, -3), MOV(R2, 1), CALL(16), MOVX(R2, R10),
            ADD(R2, -4), LDMAP(R1, M_ARRAY), CALL(1), MOV(R0, 0), EXIT);
    const struct {
        const struct tn_verify_in *in;
        u32 at;
        s32 map, key;
    } cases[] = {{&same, 5, M_ARRAY, 0},    {&halves, 6, M_ARRAY, -1},     {&keys, 8, M_ARRAY, -1},
                 {&maps, 9, -1, 1},         {&negative, 5, M_ARRAY, -1},   {&eight, 5, M_HASH, -1},
                 {&callers, 9, M_ARRAY, 2}, {&overwritten, 9, M_ARRAY, -1}};

    for (size_t k = 0; k < TN_ARRAY_SIZE(cases); k++) {
        struct tn_verdict v;

        accept(cases[k].in, &v);
        if (v.aux[cases[k].at].const_map != cases[k].map || v.aux[cases[k].at].const_key != cases[k].key)
            fail_msg("case %zu: map %d, key %d", k, v.aux[cases[k].at].const_map,
                     v.aux[cases[k].at].const_key);
        assert_int_equal(v.aux[0].const_map, -1);
        tn_verdict_clear(&v);
    }
}

static void test_live_and_kinds(void **state)
{
    PROGRAM(dead, MOV(R2, 5), JMP(BPF_JGT, R2, 3, 1), LDX(DW, R0, R2, 0), MOV(R0, 0), EXIT);
    PROGRAM(mixed, ST(DW, R10, -8, 0), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1),
            JMP(BPF_JNE, R0, 0, 2), ST(DW, R10, -16, 0), MOVX(R0, R10), ADD(R0, -16), JA(0), MOV(R0, 0),
            EXIT);
    PROGRAM(ring, LDMAP(R1, M_RINGBUF), MOV(R2, 16), MOV(R3, 0), CALL(131), JMP(BPF_JEQ, R0, 0, 4),
            ST(DW, R0, 8, 1), MOVX(R1, R0), MOV(R2, 0), CALL(132), MOV(R0, 0), EXIT);
    /* a slice of a dynptr may lie in a map's value, too */
    PROGRAM(slice, LDVAL(R1, M_GLOBAL, 0), MOV(R2, 16), MOV(R3, 0), MOVX(R4, R10), ADD(R4, -16), CALL(197),
            MOVX(R1, R10), ADD(R1, -16), MOV(R2, 0), MOV(R3, 8), CALL(203), JMP(BPF_JEQ, R0, 0, 1),
            ST(DW, R0, 0, 1), MOV(R0, 0), EXIT);
    struct tn_verdict v;

    accept(&slice, &v);
    assert_int_equal(v.aux[13].mem_kind, TN_MEM_PLAIN);
    tn_verdict_clear(&v);
    accept(&dead, &v);
    assert_false(v.aux[2].live);
    assert_true(v.aux[3].live && v.aux[3].jump_target && !v.aux[1].jump_target);
    tn_verdict_clear(&v);
    accept(&mixed, &v);
    assert_int_equal(v.aux[0].mem_kind, TN_MEM_STACK);
    assert_int_equal(v.facts.max_stack, 16);
    tn_verdict_clear(&v);
    accept(&ring, &v);
    assert_int_equal(v.aux[6].mem_kind, TN_MEM_RINGBUF);
    assert_true(v.facts.syscalls);
    tn_verdict_clear(&v);
}

static void test_stack_and_path(void **state)
{
    PROGRAM(chain, ST(DW, R10, -24, 0), CALLP(1), EXIT, ST(B, R10, -33, 0), MOV(R0, 0), EXIT);
    PROGRAM(loop, MOV(R0, 0), ADD(R0, 1), JMP(BPF_JLT, R0, 10, -2), EXIT);
    struct tn_verdict v;

    accept(&chain, &v);
    assert_int_equal(v.nsubprogs, 2);
    assert_int_equal(v.subprogs[0].stack, 24);
    assert_int_equal(v.subprogs[1].stack, 40);
    assert_int_equal(v.subprogs[1].start, 3);
    assert_int_equal(v.facts.max_stack, 64);
    assert_int_equal(v.facts.longest_path, 6);
    tn_verdict_clear(&v);
    accept(&loop, &v);
    assert_int_equal(v.facts.longest_path, 22);
    tn_verdict_clear(&v);
}

/* ---------------------------------------------------------------------------------------------- authority */

struct policy {
    u32 denied_offset, denied_helper;
    bool no_process, own_reason;
    u32 asked;
};

static int may_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    struct policy *p = self;

    p->asked++;
    if (access->process)
        return p->no_process
                   ? tn_fail(err, -EACCES, "", "the process is not yours, %u bytes of it", access->size)
                   : 0;
    if (access->offset == p->denied_offset)
        return tn_fail(err, -EACCES, p->own_reason ? "secret_field" : "", "bytes at %u are not yours",
                       access->offset);
    return 0;
}

static int may_call(void *self, const struct tn_call *call, struct tn_call_facts *ret_facts,
                    struct tn_error *err)
{
    struct policy *p = self;

    if (call->helper_id == p->denied_helper)
        return tn_fail(err, -EACCES, "", "helper %u is not yours", call->helper_id);
    if (call->helper_id == 7)
        *ret_facts = (struct tn_call_facts){0, 63};
    return 0;
}

static void test_denials(void **state)
{
    PROGRAM(reads, LDX(DW, R2, R1, 8), LDX(DW, R3, R1, 16), MOV(R0, 0), EXIT);
    PROGRAM(calls, CALL(8), CALL(14), MOV(R0, 0), EXIT);
    PROGRAM(foreign, MOV(R3, 0), MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), CALL(112), MOV(R0, 0), EXIT);
    PROGRAM(index, LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 5), MOVX(R6, R0), CALL(7), ADDX(R6, R0),
            ST(B, R6, 0, 1), MOV(R0, 0), EXIT);
    struct policy p = {.denied_offset = 16, .denied_helper = 14, .no_process = true};
    struct tn_authority a = tn_authority_all;
    struct tn_verdict v;

    a.self = &p;
    a.may_access = may_access;
    a.may_call = may_call;
    reads.authority = calls.authority = foreign.authority = index.authority = &a;
    refuse(&reads, "access_denied", 1, "bytes at 16 are not yours");
    assert_int_equal(p.asked, 2);
    p.own_reason = true;
    refuse(&reads, "secret_field", 1, "bytes at 16");
    refuse(&calls, "call_denied", 1, "helper 14 is not yours");
    refuse(&foreign, "access_denied", 4, "8 bytes of it");
    accept(&index, &v); /* what the authority promises of a result bounds an index */
    tn_verdict_clear(&v);
    index.authority = NULL;
    refuse(&index, "pointer_unbounded", 9, "unbounded min value");
}

static void test_limits(void **state)
{
    PROGRAM(loop, MOV(R0, 0), ADD(R0, 1), JMP(BPF_JLT, R0, 10, -2), EXIT);
    PROGRAM(frame, ST(DW, R10, -64, 0), MOV(R0, 0), EXIT);
    struct tn_authority a = tn_authority_all;
    struct tn_verdict v;

    loop.authority = frame.authority = &a;
    a.limits.max_path_insns = 22;
    accept(&loop, &v);
    tn_verdict_clear(&v);
    a.limits.max_path_insns = 21;
    refuse(&loop, "path_limit", 3, "more than 21 instructions, the limit of the authority");
    a.limits.whose = "class \"narrow\"";
    refuse(&loop, "path_limit", 3, "more than 21 instructions, the limit of class \"narrow\"");
    a.limits.max_path_insns = 0;
    a.limits.max_insns_processed = 10;
    refuse(&loop, "too_complex", 2, "BPF program is too large. Processed 11 insn");
    a = tn_authority_all;
    a.limits.max_stack = 64;
    accept(&frame, &v);
    tn_verdict_clear(&v);
    a.limits.max_stack = 63;
    refuse(&frame, "stack_limit", 0, "64. Too large: 63 bytes are allowed");
}

/* ------------------------------------------------------------------------------------------------ log */

static void test_phrases(void **state)
{
    PROGRAM(fine, MOV(R0, 0), EXIT);
    PROGRAM(known, CALL(51), MOV(R0, 0), EXIT);
    PROGRAM(unknown, CALL(99999), MOV(R0, 0), EXIT);
    PROGRAM(gpl, MOVX(R1, R10), CALL(173), EXIT);
    PROGRAM(uninit, EXIT);
    struct tn_verify_map named[M_COUNT];
    struct tn_verdict v;

    accept(&fine, &v);
    assert_non_null(
        strstr(v.log, "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 "
                      "mark_read 0\n"));
    tn_verdict_clear(&v);
    fine.log_level = 2;
    accept(&fine, &v);
    assert_non_null(strstr(v.log, "0: (b7) r0 = 0"));
    assert_non_null(strstr(v.log, "1: (95) exit"));
    tn_verdict_clear(&v);
    fine.log_level = 0;
    accept(&fine, &v);
    assert_null(v.log);
    tn_verdict_clear(&v);
    refuse(&known, "unknown_helper", 0, "program of this type cannot use helper bpf_redirect_map#51");
    refuse(&unknown, "unknown_helper", 0, "invalid func unknown#99999");
    gpl.gpl = false;
    refuse(&gpl, "gpl_only", 1, "cannot call GPL-restricted function from non-GPL compatible program");
    refuse(&uninit, "uninit_register", 0, "R0 !read_ok");

    PROGRAM(past, LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 1), ST(DW, R0, 60, 1), MOV(R0, 0), EXIT);
    PROGRAM(null, ST(DW, R10, -8, 0), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1),
            ST(DW, R0, 0, 1), MOV(R0, 0), EXIT);
    PROGRAM(kind, ST(DW, R10, -8, 0), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_RINGBUF), CALL(1), MOV(R0, 0),
            EXIT);
    memcpy(named, test_maps, sizeof(named));
    named[M_ARRAY].name = "counts";
    named[M_HASH].name = "peers";
    named[M_RINGBUF].name = "events";
    past.maps = null.maps = kind.maps = named;
    refuse(&past, "map_bounds", 7, "the value of map counts, which has 64 bytes");
    refuse(&null, "maybe_null", 6, "the look-up in map peers finds nothing");
    refuse(&kind, "map_helper_mismatch", 5, "map events is a ringbuf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_words),    cmocka_unit_test(test_context_end),
        cmocka_unit_test(test_maps_and_helpers), cmocka_unit_test(test_constant_map_and_key),
        cmocka_unit_test(test_live_and_kinds),   cmocka_unit_test(test_stack_and_path),
        cmocka_unit_test(test_denials),          cmocka_unit_test(test_limits),
        cmocka_unit_test(test_phrases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
