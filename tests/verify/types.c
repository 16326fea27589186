/* SPDX-License-Identifier: MIT */
/*
 * Typed pointers and tracing programs, on a host's types made here: what a context holds, where a load
 * through a pointer may go, and what it yields. (That the kernel agrees on its own types is the business of
 * tests/differential.)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "btf/btf.h"
#include "tests/verify/asm.h"
#include "tests/verify/host.h"
#include "verify/verify.h"

static struct tn_btf *host;

struct row {
    const char *what;
    u32 attach, on;   /* attach type, type of the host */
    const char *says; /* NULL: accepted */
    u32 ninsns;
    struct bpf_insn insns[12];
};
#define P(what, attach, on, says, ...)                                                                       \
    {                                                                                                        \
        what, attach, on, says, sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),          \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define END   MOV(R0, 0), EXIT
/* r1 = the first argument, a struct outer * */
#define OUTER LDX(DW, R1, R1, 0)

// clang-format off
static const struct row rows[] = {
    /* attach */
    P("nothing to attach to", BPF_TRACE_FENTRY, 0, "Tracing programs must provide btf_id", END),
    P("a type that is not there", BPF_TRACE_FENTRY, 999, "attach_btf_id 999 is invalid", END),
    P("a struct", BPF_TRACE_FENTRY, H_OUTER, "is not a function", END),
    P("a function, as a tracepoint", BPF_TRACE_RAW_TP, H_HOOK, "is not a typedef", END),
    P("another typedef", BPF_TRACE_RAW_TP, H_TYPEDEF, "points to wrong type name", END),
    P("no iterator", BPF_TRACE_ITER, H_HOOK, "hook is not an iterator", END),
    P("variable arguments", BPF_TRACE_FENTRY, H_VARIADIC, "with variable args is unsupported", END),
    P("another attach type", BPF_CGROUP_DEVICE, H_HOOK, "is not one of a tracing program's", END),
    /* context */
    P("a pointer and a number", BPF_TRACE_FENTRY, H_HOOK, NULL, LDX(W, R2, R1, 8), OUTER, LDX(W, R0, R1, 0), END),
    P("half a pointer", BPF_TRACE_FENTRY, H_HOOK, "func 'hook' size 4 must be 8", LDX(W, R2, R1, 0), END),
    P("between words", BPF_TRACE_FENTRY, H_HOOK, "func 'hook' offset 4 is not multiple of 8", LDX(W, R2, R1, 4), END),
    P("an argument too many", BPF_TRACE_FENTRY, H_HOOK, "func 'hook' doesn't have 5-th argument", LDX(DW, R2, R1, 32), END),
    P("the result, before there is one", BPF_TRACE_FENTRY, H_HOOK, "func 'hook' doesn't have 4-th argument", LDX(DW, R2, R1, 24), END),
    P("the result", BPF_TRACE_FEXIT, H_HOOK, NULL, LDX(DW, R2, R1, 24), END),
    P("the result of fmod_ret", BPF_MODIFY_RETURN, H_HOOK, NULL, LDX(DW, R2, R1, 24), END),
    P("a store into the context", BPF_TRACE_FENTRY, H_HOOK, "invalid bpf_context access off=0 size=8", ST(DW, R1, 0, 0), END),
    P("a number is none to load through", BPF_TRACE_FENTRY, H_HOOK, "R2 invalid mem access 'scalar'", LDX(DW, R2, R1, 16), LDX(DW, R0, R2, 0), END),
    P("a tracepoint's first", BPF_TRACE_RAW_TP, H_TP, NULL, OUTER, LDX(W, R0, R1, 0), END),
    P("a tracepoint's nullable one", BPF_TRACE_RAW_TP, H_TP, "R1 invalid mem access 'trusted_ptr_or_null_'", LDX(DW, R1, R1, 8), LDX(W, R0, R1, 0), END),
    P("the same, looked at first", BPF_TRACE_RAW_TP, H_TP, NULL, LDX(DW, R1, R1, 8), JMP(BPF_JEQ, R1, 0, 1), LDX(W, R0, R1, 0), END),
    P("an iterator's buffer", BPF_TRACE_ITER, H_ITER, "R1 invalid mem access 'rdonly_buf_or_null'", LDX(DW, R1, R1, 16), LDX(W, R0, R1, 0), END),
    P("the same, looked at first", BPF_TRACE_ITER, H_ITER, NULL, LDX(DW, R1, R1, 16), JMP(BPF_JEQ, R1, 0, 1), LDX(W, R0, R1, 0), END),
    P("a value may be written", BPF_TRACE_ITER, H_ITER, NULL, LDX(DW, R1, R1, 24), JMP(BPF_JEQ, R1, 0, 1), ST(W, R1, 0, 0), END),
    P("a key may not", BPF_TRACE_ITER, H_ITER, "R1 cannot write into rdonly_buf", LDX(DW, R1, R1, 16), JMP(BPF_JEQ, R1, 0, 1), ST(W, R1, 0, 0), END),
    /* where a load goes */
    P("a struct inside", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(W, R0, R1, 12), END),
    P("past its end", BPF_TRACE_FENTRY, H_HOOK, "access beyond struct inner at off 4 size 8", OUTER, LDX(DW, R0, R1, 12), END),
    P("behind the pointer", BPF_TRACE_FENTRY, H_HOOK, "R1 is ptr_outer invalid negative access: off=-4", OUTER, LDX(W, R0, R1, -4), END),
    P("moved by a constant", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, ADD(R1, 8), LDX(W, R0, R1, 4), END),
    P("moved by a number", BPF_TRACE_FENTRY, H_HOOK, "R1 is ptr_outer invalid variable offset", LDX(W, R2, R1, 8), ALU(BPF_AND, R2, 4), OUTER, ADDX(R1, R2), LDX(W, R0, R1, 0), END),
    P("half of a member that points", BPF_TRACE_FENTRY, H_HOOK, "cannot access ptr member p with moff 16 in struct outer with off 16 size 4", OUTER, LDX(W, R0, R1, 16), END),
    P("part of a bitfield", BPF_TRACE_FENTRY, H_HOOK, "struct outer doesn't have field at offset 5", OUTER, LDX(B, R0, R1, 5), END),
    P("the whole of it", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(W, R0, R1, 4), END),
    P("an array of bytes, as a word", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(DW, R0, R1, 44), END),
    P("over its end", BPF_TRACE_FENTRY, H_HOOK, "access beyond the end of member comm (mend:56)", OUTER, LDX(DW, R0, R1, 52), END),
    P("into what has no length", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(W, R0, R1, 8004), END),
    P("across two elements of it", BPF_TRACE_FENTRY, H_HOOK, "access beyond", OUTER, LDX(DW, R0, R1, 84), END),
    P("a struct without such a tail", BPF_TRACE_FENTRY, H_HOOK, "access beyond struct inner at off 8 size 4", OUTER, LDX(DW, R1, R1, 16), LDX(W, R0, R1, 8), END),
    P("a store", BPF_TRACE_FENTRY, H_HOOK, "only read is supported", OUTER, ST(W, R1, 0, 0), END),
    P("an atomic operation", BPF_TRACE_FENTRY, H_HOOK, "only read is supported", OUTER, MOV(R2, 1), ATOMIC(W, R1, 0, R2, BPF_ADD), END),
    /* what it yields */
    P("a pointer, followed", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(DW, R1, R1, 16), LDX(W, R0, R1, 4), END),
    P("a pointer of user space", BPF_TRACE_FENTRY, H_HOOK, "R1 is ptr_inner access user memory: off=0", OUTER, LDX(DW, R1, R1, 32), LDX(W, R0, R1, 0), END),
    P("under RCU it may be NULL", BPF_TRACE_RAW_TP, H_TP, "R1 invalid mem access 'rcu_ptr_or_null_'", OUTER, LDX(DW, R1, R1, 24), LDX(W, R0, R1, 0), END),
    P("looked at, it is good", BPF_TRACE_RAW_TP, H_TP, NULL, OUTER, LDX(DW, R1, R1, 24), JMP(BPF_JEQ, R1, 0, 1), LDX(W, R0, R1, 0), END),
    P("bytes, read with care", BPF_TRACE_FENTRY, H_HOOK, NULL, OUTER, LDX(DW, R1, R1, 56), LDX(B, R0, R1, 3), END),
    P("but not written", BPF_TRACE_FENTRY, H_HOOK, "R1 cannot write into rdonly_untrusted_mem", OUTER, LDX(DW, R1, R1, 56), ST(B, R1, 0, 0), END),
    P("a key, where it lies", BPF_TRACE_RAW_TP, H_TP, "bpf_map_lookup_elem() may write into memory pointed by R2 type=trusted_ptr_", LDX(DW, R2, R1, 0), LDMAP(R1, 0), CALL(BPF_FUNC_map_lookup_elem), END),
    P("a key, copied", BPF_TRACE_RAW_TP, H_TP, NULL, OUTER, LDX(W, R3, R1, 0), STX(W, R10, -4, R3), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, 0), CALL(BPF_FUNC_map_lookup_elem), END),
    P("a number from it", BPF_TRACE_FENTRY, H_HOOK, "R2 invalid mem access 'scalar'", OUTER, LDX(W, R2, R1, 0), LDX(W, R0, R2, 0), END),
    /* variables */
    P("a variable", BPF_TRACE_FENTRY, H_HOOK, NULL, LDSYM(R1, H_VAR_STRUCT), LDX(W, R0, R1, 4), END),
    P("a variable that is a number", BPF_TRACE_FENTRY, H_HOOK, NULL, LDSYM(R1, H_VAR_INT), LDX(W, R0, R1, 0), END),
    P("past it", BPF_TRACE_FENTRY, H_HOOK, "mem_size=4 off=4 size=4", LDSYM(R1, H_VAR_INT), LDX(W, R0, R1, 4), END),
    P("written", BPF_TRACE_FENTRY, H_HOOK, "R1 cannot write into rdonly_mem", LDSYM(R1, H_VAR_INT), ST(W, R1, 0, 0), END),
    P("one a CPU", BPF_TRACE_FENTRY, H_HOOK, "R1 is ptr_inner access percpu memory: off=0", LDSYM(R1, H_VAR_PERCPU), LDX(W, R0, R1, 0), END),
    P("a type", BPF_TRACE_FENTRY, H_HOOK, "isn't KIND_VAR or KIND_FUNC", LDSYM(R1, H_OUTER), END),
    P("nothing", BPF_TRACE_FENTRY, H_HOOK, "ldimm64 insn specifies invalid btf_id 999", LDSYM(R1, 999), END),
};
// clang-format on

static const struct tn_verify_map counts = {
    .geo = {.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 8, .max_entries = 1}};

static struct tn_verify_in input(const struct row *row)
{
    return (struct tn_verify_in){
        .insns = row->insns,
        .ninsns = row->ninsns,
        .prog_type = BPF_PROG_TYPE_TRACING,
        .expected_attach_type = row->attach,
        .attach_btf_id = row->on,
        .host_btf = host,
        .maps = &counts,
        .nmaps = 1,
        .gpl = true,
        .log_level = 2,
    };
}

static void test_rows(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_verify_in in = input(&rows[k]);
        struct tn_verdict v;

        assert_int_equal(tn_verify(&in, &v), 0);
        if (v.accepted != !rows[k].says || (rows[k].says && !strstr(v.refusal.message, rows[k].says))) {
            print_error("%s: %s\n%s", rows[k].what, v.accepted ? "accepted" : v.refusal.message, v.log);
            wrong++;
        }
        tn_verdict_clear(&v);
    }
    assert_int_equal(wrong, 0);
}

/* Without a licence that allows it nothing of the host is read; without its types nothing is attached. */
static void test_licence(void **state)
{
    static const struct row row = P("", BPF_TRACE_FENTRY, H_HOOK, "", OUTER, LDX(W, R0, R1, 0), END);
    struct tn_verify_in in = input(&row);
    struct tn_verdict v;

    in.gpl = false;
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_string_equal(v.refusal.reason, "gpl_only");
    tn_verdict_clear(&v);
    in.gpl = true;
    in.host_btf = NULL;
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_string_equal(v.refusal.reason, "bad_attach");
    tn_verdict_clear(&v);
}

/* Loads that may fault are told to the engines; plain ones are not taken for them. */
static void test_facts(void **state)
{
    static const struct row row = P("", BPF_TRACE_FENTRY, H_HOOK, "", LDX(DW, R1, R1, 0), LDX(W, R0, R1, 0),
                                    ST(DW, R10, -8, 0), LDX(DW, R0, R10, -8), END);
    struct tn_verify_in in = input(&row);
    struct tn_verdict v;

    assert_int_equal(tn_verify(&in, &v), 0);
    assert_true(v.accepted && v.facts.may_fault);
    assert_true(v.facts.features & 1 << TN_FEATURE_probe && v.facts.features & 1 << TN_FEATURE_tracing);
    assert_int_equal(tn_available(&in, &v, NULL), -EINVAL);
    assert_int_equal(v.aux[0].mem_kind, TN_MEM_CTX);
    assert_int_equal(v.aux[1].mem_kind, TN_MEM_PROBE);
    assert_int_equal(v.aux[3].mem_kind, TN_MEM_STACK);
    tn_verdict_clear(&v);
}

/* An authority is asked field by field. */
static int deny_nested(void *self, const struct tn_access *access, struct tn_error *err)
{
    if (access->btf_id == H_OUTER && !strcmp(access->path, "nested.b"))
        return tn_fail(err, -EACCES, "denied", "outer.nested.b is not for you");
    return 0;
}

static void test_authority(void **state)
{
    static const struct row row = P("", BPF_TRACE_FENTRY, H_HOOK, "", OUTER, LDX(W, R0, R1, 12), END);
    struct tn_authority authority = tn_authority_all;
    struct tn_verify_in in = input(&row);
    struct tn_verdict v;

    authority.may_access = deny_nested;
    in.authority = &authority;
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_string_equal(v.refusal.reason, "denied");
    assert_int_equal(v.refusal.insn, 1);
    tn_verdict_clear(&v);
}

/* ---------------------------------------------------------------------------------------------- arenas */

#define CAST(d, s, way) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 1, way)
#define ARENA           LDVAL(R1, 0, 64), CAST(R1, R1, 1)

static const struct row arenas[] = {
    P("a load, anywhere", 0, 0, NULL, ARENA, ALU(BPF_MUL, R1, 7), LDX(DW, R0, R1, -3), END),
    P("a store", 0, 0, NULL, ARENA, STX(DW, R1, 0, R10), END),
    P("an atomic operation", 0, 0, NULL, ARENA, MOV(R2, 1), ATOMIC(DW, R1, 0, R2, BPF_ADD | BPF_FETCH), END),
    P("one that is not there", 0, 0, "BPF_ATOMIC stores into R1 arena is not allowed", ARENA, MOV(R2, 1),
      ATOMIC(DW, R1, 0, R2, BPF_AND | BPF_FETCH), END),
    P("not cast", 0, 0, "R1 invalid mem access 'scalar'", LDVAL(R1, 0, 64), LDX(DW, R0, R1, 0), END),
    P("cast back", 0, 0, "R1 invalid mem access 'scalar'", ARENA, CAST(R1, R1, 1 << 16), LDX(DW, R0, R1, 0),
      END),
    P("cast to something else", 0, 0, "can only convert between address space 1 and 0", CAST(R1, R1, 2), END),
    P("past the last page", 0, 0, "offset 8193 of map 0, which has 2 pages", LDVAL(R1, 0, 8193), END),
    P("either this or that", 0, 0, "same insn cannot be used with different pointers", LDX(DW, R2, R1, 0),
      ARENA, JMP(BPF_JEQ, R2, 0, 1), MOVX(R1, R10), ST(DW, R1, -8, 0), END),
};

static void test_arena(void **state)
{
    const struct tn_verify_map map = {.geo = {.type = 33, .max_entries = 2}};
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(arenas); k++) {
        struct tn_verify_in in = {.insns = arenas[k].insns,
                                  .ninsns = arenas[k].ninsns,
                                  .prog_type = BPF_PROG_TYPE_KPROBE,
                                  .gpl = true,
                                  .maps = &map,
                                  .nmaps = 1};
        struct tn_verdict v;

        assert_int_equal(tn_verify(&in, &v), 0);
        if (v.accepted != !arenas[k].says || (arenas[k].says && !strstr(v.refusal.message, arenas[k].says))) {
            print_error("%s: %s\n", arenas[k].what, v.accepted ? "accepted" : v.refusal.message);
            wrong++;
        }
        if (!k) {
            assert_int_equal(v.aux[4].mem_kind, TN_MEM_ARENA);
            assert_true(v.facts.features & 1 << TN_FEATURE_arena);
        }
        tn_verdict_clear(&v);
        in.nmaps = 0;
        assert_int_equal(tn_verify(&in, &v), 0);
        assert_false(v.accepted);
        tn_verdict_clear(&v);
    }
    assert_int_equal(wrong, 0);
}

static int open_host(void **state)
{
    struct tn_error err = {0};

    host = host_open(&err);
    if (!host)
        print_error("%s\n", err.message);
    return !host;
}

static int close_host(void **state)
{
    tn_btf_close(host);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_licence), cmocka_unit_test(test_facts),
        cmocka_unit_test(test_authority), cmocka_unit_test(test_arena),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
