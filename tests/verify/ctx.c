/* SPDX-License-Identifier: MIT */
/*
 * Program types and their contexts: the rows of memory.h, and every offset and size of every context, loaded,
 * loaded with sign extension, stored, and what it yields. As root the kernel is asked the same questions;
 * without it the fields are still walked, so that no row lets an access out of its structure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "isa/insn.h"
#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "verify/ctx.h"
#include "verify/progtype.h"
#include "verify/reasons.h"

/* How a program is loaded: T(name, program type, expected_attach_type, flags, size of its context) */
#define TYPES(T)                                                                                             \
    T(FILTER, SOCKET_FILTER, 0, 0, 192)                                                                      \
    T(KPROBE, KPROBE, 0, 0, 168)                                                                             \
    T(KPROBE_SLEEPS, KPROBE, 0, BPF_F_SLEEPABLE, 168)                                                        \
    T(SESSION, KPROBE, TN_ATTACH_KPROBE_SESSION, 0, 168)                                                     \
    T(CLS, SCHED_CLS, 0, 0, 192)                                                                             \
    T(CLS_STRICT, SCHED_CLS, 0, BPF_F_STRICT_ALIGNMENT, 192)                                                 \
    T(ACT, SCHED_ACT, 0, 0, 192)                                                                             \
    T(TP, TRACEPOINT, 0, 0, 8192)                                                                            \
    T(TP_SLEEPS, TRACEPOINT, 0, BPF_F_SLEEPABLE, 8192)                                                       \
    T(XDP, XDP, 0, 0, 24)                                                                                    \
    T(XDP_DEVMAP, XDP, BPF_XDP_DEVMAP, 0, 24)                                                                \
    T(PERF, PERF_EVENT, 0, 0, 184)                                                                           \
    T(RAW, RAW_TRACEPOINT, 0, 0, 96)                                                                         \
    T(RAW_WRITABLE, RAW_TRACEPOINT_WRITABLE, 0, 0, 96)                                                       \
    T(RAW_WRITABLE_STRICT, RAW_TRACEPOINT_WRITABLE, 0, BPF_F_STRICT_ALIGNMENT, 96)                           \
    T(SYSCALL, SYSCALL, 0, BPF_F_SLEEPABLE, 65536)                                                           \
    T(SYSCALL_AWAKE, SYSCALL, 0, 0, 65536)

enum how {
#define T(name, ...) HOW_##name,
    TYPES(T)
#undef T
};
static const struct {
    const char *name;
    u32 type, attach, flags, ctx;
} types[] = {
#define T(name, type, attach, flags, ctx) {#name, BPF_PROG_TYPE_##type, attach, flags, ctx},
    TYPES(T)
#undef T
};

static void ours(enum how how, const struct bpf_insn *insns, u32 n, struct tn_verdict *ret)
{
    struct tn_verify_in in = {.insns = insns,
                              .ninsns = n,
                              .prog_type = types[how].type,
                              .expected_attach_type = types[how].attach,
                              .prog_flags = types[how].flags,
                              .gpl = true,
                              .log_level = 4};

    assert_int_equal(tn_verify(&in, ret), 0);
}

static bool kernels(enum how how, const struct bpf_insn *insns, u32 n, char *log, u32 log_size)
{
    LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)types[how].attach,
                .prog_flags = types[how].flags, .log_buf = log, .log_size = log_size,
                .log_level = log ? 1 : 0);
    int fd = bpf_prog_load((enum bpf_prog_type)types[how].type, "test", "GPL", insns, n, &opts);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool no_kernel(void)
{
    struct kernel kernel;
    const char *why = kernel_open(&kernel, NULL, 0);

    if (why)
        print_message("# skipped: %s\n", why);
    else
        kernel_close(&kernel);
    return why != NULL;
}

/* --------------------------------------------------------------------------------------------------- rows */

struct row {
    enum how how;
    const char *name;
    int reason; /* enum tn_reason; −1: accepted */
    u32 at;
    bool linux_accepts;
    const struct bpf_insn *insns;
    u32 ninsns;
};

#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)
#define OK(how, name, ...)             {HOW_##how, #name, -1, 0, true, P(__VA_ARGS__)},
#define NO(how, name, reason, at, ...) {HOW_##how, #name, TN_REASON_##reason, at, false, P(__VA_ARGS__)},
#define US(how, name, reason, at, ...) {HOW_##how, #name, TN_REASON_##reason, at, true, P(__VA_ARGS__)},
static const struct row rows[] = {
#include "tests/verify/memory.h"
};

static void test_rows(void **state)
{
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        const char *reason = row->reason < 0 ? "" : tn_reason_name((enum tn_reason)row->reason);
        struct tn_verdict v;

        ours(row->how, row->insns, row->ninsns, &v);
        if (strcmp(v.refusal.reason, reason) || (!v.accepted && v.refusal.insn != row->at)) {
            print_message("# %s %s: expected %s at %u, got %s at %u: %s\n", types[row->how].name, row->name,
                          row->reason < 0 ? "accepted" : reason, row->at,
                          v.accepted ? "accepted" : v.refusal.reason, v.refusal.insn, v.refusal.message);
            wrong++;
        }
        tn_verdict_clear(&v);
    }
    assert_int_equal(wrong, 0);
}

static void test_kernel_agrees_on_rows(void **state)
{
    int wrong = 0;

    if (no_kernel())
        skip();
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        char log[8192] = "";
        bool accepts = kernels(row->how, row->insns, row->ninsns, log, sizeof(log));

        if (accepts != row->linux_accepts) {
            print_message("# %s %s: the kernel %s it\n%s\n", types[row->how].name, row->name,
                          accepts ? "accepts" : "refuses", log);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* ----------------------------------------------------------------------------------------------- contexts */

static const u8 width[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

/* What is done with the field; MULTIPLY: a load whose result must be a number. */
enum act { LOAD, MULTIPLY, EXTEND, STORE, STORE_REG, ACTS };

static u32 access_insns(enum act act, u32 size_log, s32 off, u8 base, struct bpf_insn out[6])
{
    u8 size = width[size_log];
    u32 n = 0;

    switch (act) {
    case LOAD:
    case MULTIPLY:
        out[n++] = (struct bpf_insn)LDX(size, R3, base, (s16)off);
        if (act == MULTIPLY)
            out[n++] = (struct bpf_insn)ALU(BPF_MUL, R3, 2);
        break;
    case EXTEND:
        out[n++] = (struct bpf_insn)LDSX(size, R3, base, (s16)off);
        break;
    case STORE:
        out[n++] = (struct bpf_insn)ST(size, base, (s16)off, 1);
        break;
    default:
        out[n++] = (struct bpf_insn)STX(size, base, (s16)off, R10);
        break;
    }
    return n;
}

static int compare(enum how how, const struct bpf_insn *insns, u32 n, s32 off, enum act act, u32 size)
{
    static const char *const acts[] = {"load", "load as a number", "load, extended", "store",
                                       "store a pointer"};
    char log[4096] = "";
    struct tn_verdict v;
    bool accepts = kernels(how, insns, n, NULL, 0);
    int wrong = 0;

    ours(how, insns, n, &v);
    if (v.accepted != accepts) {
        kernels(how, insns, n, log, sizeof(log));
        print_message("# %s: %s of %u bytes at %d: the kernel %s it, here: %s\n%s", types[how].name,
                      acts[act], size, off, accepts ? "accepts" : "refuses",
                      v.accepted ? "accepted" : v.refusal.message, log);
        wrong = 1;
    }
    tn_verdict_clear(&v);
    return wrong;
}

static int walk(enum how how, s32 from, s32 to, s32 socket_at)
{
    struct bpf_insn insns[12];
    int wrong = 0;

    for (s32 off = from; off < to; off++) {
        for (u32 k = 0; k < ACTS * 4; k++) {
            enum act act = (enum act)(k / 4);
            u32 n = 0, size = 1u << k % 4;

            if ((act == EXTEND && size == 8) || (off % (s32)size && off % 8 != 1))
                continue;
            if (socket_at >= 0) {
                insns[n++] = (struct bpf_insn)LDX(DW, R2, R1, (s16)socket_at);
                insns[n++] = (struct bpf_insn)JMP(BPF_JEQ, R2, 0, act == MULTIPLY ? 2 : 1);
            }
            n += access_insns(act, k % 4, off, socket_at >= 0 ? R2 : R1, &insns[n]);
            insns[n++] = (struct bpf_insn)MOV(R0, 0);
            insns[n++] = (struct bpf_insn)EXIT;
            wrong += compare(how, insns, n, off, act, size);
        }
    }
    return wrong;
}

static void test_every_field(void **state)
{
    static const enum how whole[] = {HOW_FILTER,     HOW_KPROBE, HOW_CLS, HOW_ACT,         HOW_XDP,
                                     HOW_XDP_DEVMAP, HOW_PERF,   HOW_RAW, HOW_RAW_WRITABLE};
    int wrong = 0;

    if (no_kernel())
        skip();
    for (size_t k = 0; k < TN_ARRAY_SIZE(whole); k++)
        wrong += walk(whole[k], -8, (s32)types[whole[k]].ctx + 9, -1);
    /* Not from −8: there Linux, comparing a signed with an unsigned number, lets programs read before the record. */
    wrong += walk(HOW_TP, 0, 32, -1) + walk(HOW_TP, 8184, 8201, -1);
    wrong += walk(HOW_SYSCALL, -8, 16, -1) + walk(HOW_SYSCALL, 32760, 32768, -1);
    wrong += walk(HOW_CLS, -4, 88, 168);
    assert_int_equal(wrong, 0);
}

/* No row lets a load or store pass the end of what is there. */
static void test_fields_end(void **state)
{
    static const struct {
        enum tn_ctx_layout layout;
        u32 size;
    } layouts[] = {{TN_CTX_PT_REGS, 168},
                   {TN_CTX_TRACEPOINT, 8192},
                   {TN_CTX_PERF_EVENT, 184},
                   {TN_CTX_RAW_ARGS, 96},
                   {TN_CTX_RAW_ARGS_BUFFER, 96},
                   {TN_CTX_OWN, 65536},
                   {TN_CTX_SK_BUFF, 192},
                   {TN_CTX_SK_BUFF_TC, 192},
                   {TN_CTX_XDP_MD, 24},
                   {TN_CTX_XDP_MD_DEVMAP, 24},
                   {TN_CTX_SOCK, 80},
                   {TN_CTX_SOCK_COMMON, 80},
                   {TN_CTX_TCP_SOCK, 112},
                   {TN_CTX_XDP_SOCK, 4}};

    for (size_t k = 0; k < TN_ARRAY_SIZE(layouts); k++) {
        bool some = false;

        for (s64 off = -16; off < layouts[k].size + 64; off++)
            for (u32 size = 1; size <= 8; size *= 2)
                for (u32 way = 0; way < 3; way++)
                    if (tn_ctx_field(layouts[k].layout, off, size, way == 2, way == 1)) {
                        assert_true(off >= 0 && off + size <= layouts[k].size);
                        some = true;
                    }
        assert_true(some);
    }
    for (u32 type = 0; type < 64; type++)
        assert_true(!tn_prog_type_by_id(type) || tn_prog_type_by_id(type)->type == type);
}

/* -------------------------------------------------------------------------------------------------- facts */

#define VERDICT(how, v, ...)                                                                                 \
    do {                                                                                                     \
        static const struct bpf_insn insns[] = {__VA_ARGS__};                                                \
        ours(HOW_##how, insns, sizeof(insns) / sizeof(insns[0]), v);                                         \
    } while (0)

static void test_facts(void **state)
{
    struct tn_verdict v;

    VERDICT(SYSCALL, &v, ST(DW, R1, 4096, 1), LDX(B, R0, R1, 17), EXIT);
    assert_true(v.accepted && v.facts.ctx_end == 4104 && v.facts.ctx_escapes &&
                v.facts.ctx_read[0] == 1 << 2);
    tn_verdict_clear(&v);
    VERDICT(CLS, &v, ST(W, R1, 8, 1), LDX(H_, R0, R1, 2), EXIT);
    assert_true(v.accepted && v.facts.ctx_end == 12 && !v.facts.ctx_escapes && v.facts.ctx_read[0] == 1 &&
                v.facts.ctx_written[0] == 2);
    tn_verdict_clear(&v);
    VERDICT(RAW_WRITABLE, &v, LDX(DW, R2, R1, 0), ST(W, R2, 24, 1), MOV(R0, 0), EXIT);
    assert_true(v.accepted && v.facts.tp_access == 28);
    tn_verdict_clear(&v);
    /* Slots that are read before they are written, by frame: nothing of what is written first. */
    VERDICT(KPROBE, &v, ST(DW, R10, -8, 1), LDX(W, R0, R10, -20), LDX(DW, R0, R10, -8), MOVX(R1, R10),
            CALLP(1), EXIT, LDX(B, R0, R1, -25), LDX(DW, R0, R10, -48), EXIT);
    assert_true(v.accepted && v.facts.reads_uninit_stack && v.nsubprogs == 2);
    assert_true(v.subprogs[0].zero == (1 << 2 | 1 << 3) && v.subprogs[0].stack == 32);
    assert_true(v.subprogs[1].zero == 1 << 5 && v.subprogs[1].stack == 48);
    tn_verdict_clear(&v);
    VERDICT(KPROBE, &v, ST(DW, R10, -8, 1), LDX(W, R0, R10, -4), EXIT);
    assert_true(v.accepted && !v.facts.reads_uninit_stack && !v.subprogs[0].zero);
    tn_verdict_clear(&v);
    /* A program type without rules is told by its name. */
    {
        static const struct bpf_insn insns[] = {MOV(R0, 0), EXIT};
        struct tn_verify_in in = {.insns = insns, .ninsns = 2, .prog_type = 13};

        assert_int_equal(tn_verify(&in, &v), 0);
        assert_string_equal(v.refusal.reason, "prog_type");
        assert_non_null(strstr(v.refusal.message, "sock_ops"));
        tn_verdict_clear(&v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_kernel_agrees_on_rows),
        cmocka_unit_test(test_every_field), cmocka_unit_test(test_fields_end),
        cmocka_unit_test(test_facts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
