/* SPDX-License-Identifier: MIT */
/*
 * Calls of the host's functions by type, on the running kernel's types, put before the kernel as well: the
 * same verdict, and the same words in both logs. Every row of kfuncs.h is held against the kernel: which
 * types of programs may call it, and does it sleep.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "btf/btf.h"
#include "tests/verify/asm.h"
#include "verify/kfuncs.h"
#include "verify/verify.h"

static struct tn_btf *host;

static const struct tn_kfunc_name {
    const char *name;
} all[] = {
#define K(name, ...) {#name},
    TN_KFUNCS(K)
#undef K
};

/* ------------------------------------------------------------------------------------------ both verdicts */

struct where {
    const char *name;
    u32 type, attach, flags;
    const char *on; /* of the host: what it is attached to */
};
static const struct where wheres[] = {
    {"socket_filter", BPF_PROG_TYPE_SOCKET_FILTER, 0, 0, NULL},
    {"kprobe", BPF_PROG_TYPE_KPROBE, 0, 0, NULL},
    {"sched_cls", BPF_PROG_TYPE_SCHED_CLS, 0, 0, NULL},
    {"sched_act", BPF_PROG_TYPE_SCHED_ACT, 0, 0, NULL},
    {"tracepoint", BPF_PROG_TYPE_TRACEPOINT, 0, 0, NULL},
    {"xdp", BPF_PROG_TYPE_XDP, 0, 0, NULL},
    {"perf_event", BPF_PROG_TYPE_PERF_EVENT, 0, 0, NULL},
    {"raw_tracepoint", BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0, NULL},
    {"syscall", BPF_PROG_TYPE_SYSCALL, 0, BPF_F_SLEEPABLE, NULL},
    {"tp_btf", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, 0, "btf_trace_sys_enter"},
    {"iter", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, 0, "bpf_iter_bpf_map"},
};
enum { W_KPROBE = 1, W_SYSCALL = 8, W_TP_BTF, W_ITER };

static u32 attach_id(const struct where *w)
{
    if (!w->on)
        return 0;
    return tn_btf_find(host, w->attach == BPF_TRACE_RAW_TP ? BTF_KIND_TYPEDEF : BTF_KIND_FUNC, w->on);
}

static bool ask_us(const struct where *w, const struct bpf_insn *insns, u32 n, char *words, size_t size)
{
    struct tn_verify_in in = {
        .insns = insns,
        .ninsns = n,
        .prog_type = w->type,
        .expected_attach_type = w->attach,
        .prog_flags = w->flags,
        .attach_btf_id = attach_id(w),
        .host_btf = host,
        .gpl = true,
    };
    struct tn_verdict v;
    bool accepted;

    assert_int_equal(tn_verify(&in, &v), 0);
    accepted = v.accepted;
    snprintf(words, size, "%s", accepted ? "" : v.refusal.message);
    if (accepted)
        assert_true(v.facts.calls_host);
    tn_verdict_clear(&v);
    return accepted;
}

/* 1, 0, or −1: it cannot be asked. */
static int ask_kernel(const struct where *w, const struct bpf_insn *insns, u32 n, char *log, u32 log_size)
{
    union bpf_attr attr = {0};
    long fd;

    log[0] = 0;
    attr.prog_type = w->type;
    attr.expected_attach_type = w->attach;
    attr.prog_flags = w->flags;
    attr.attach_btf_id = attach_id(w);
    attr.insns = (u64)(uintptr_t)insns;
    attr.insn_cnt = n;
    attr.license = (u64)(uintptr_t) "GPL";
    attr.log_buf = (u64)(uintptr_t)log;
    attr.log_size = log_size;
    attr.log_level = 1;
    fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    if (fd >= 0) {
        close((int)fd);
        return 1;
    }
    return log[0] ? 0 : -1;
}

/* -------------------------------------------------------------------------------------------------- rows */

#define KF(n) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, -1, n) /* the off-th name of the row */
struct row {
    const char *what, *says; /* says NULL: accepted */
    u32 where;
    const char *name[4];
    u32 ninsns;
    struct bpf_insn insns[24];
};
#define NAMES(...)                                                                                           \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define P(what, says, where, names, ...)                                                                     \
    {                                                                                                        \
        what, says, where, names, sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),        \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define END  MOV(R0, 0), EXIT
#define FIND MOV(R1, 1), KF(0)

// clang-format off
static const struct row rows[] = {
    P("a section", NULL, W_TP_BTF, NAMES("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), KF(0), KF(1), END),
    P("left open", "BPF_EXIT instruction in main prog cannot be used inside bpf_rcu_read_lock-ed region", W_TP_BTF,
      NAMES("bpf_rcu_read_lock"), KF(0), END),
    P("left twice", "unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)", W_TP_BTF,
      NAMES("bpf_rcu_read_unlock"), KF(0), END),
    P("sleeps in a section", "kernel func bpf_copy_from_user_str is sleepable within non-preemptible region", W_SYSCALL,
      NAMES("bpf_preempt_disable", "bpf_copy_from_user_str"), KF(0), ST(DW, R10, -8, 0), MOVX(R1, R10), ADD(R1, -8),
      MOV(R2, 8), MOV(R3, 0), MOV(R4, 0), KF(1), END),
    P("sleeps where it must not", "program must be sleepable to call sleepable kfunc bpf_copy_from_user_str", W_KPROBE,
      NAMES("bpf_copy_from_user_str"), KF(0), END),
    P("not for this type", "calling kernel function bpf_task_from_pid is not allowed", W_KPROBE,
      NAMES("bpf_task_from_pid"), FIND, END),
    P("a reference", NULL, W_TP_BTF, NAMES("bpf_task_from_pid", "bpf_task_release"), FIND, JMP(BPF_JEQ, R0, 0, 2),
      MOVX(R1, R0), KF(1), END),
    P("leaked", "Unreleased reference", W_TP_BTF, NAMES("bpf_task_from_pid"), FIND, END),
    P("not looked at", "Possibly NULL pointer passed to trusted arg0", W_TP_BTF,
      NAMES("bpf_task_from_pid", "bpf_task_release"), FIND, MOVX(R1, R0), KF(1), END),
    P("moved", "must have zero offset when passed to release func", W_TP_BTF,
      NAMES("bpf_task_from_pid", "bpf_task_release"), FIND, JMP(BPF_JEQ, R0, 0, 3), MOVX(R1, R0), ADD(R1, 8), KF(1),
      END),
    P("given back twice", "arg#0 pointer type STRUCT task_struct must point to scalar", W_TP_BTF,
      NAMES("bpf_task_from_pid", "bpf_task_release"), FIND, JMP(BPF_JEQ, R0, 0, 5), MOVX(R6, R0), MOVX(R1, R0), KF(1),
      MOVX(R1, R6), KF(1), END),
    P("another type", "expected pointer to STRUCT cgroup but R1 has a pointer to STRUCT task_struct", W_TP_BTF,
      NAMES("bpf_task_from_pid", "bpf_cgroup_release"), FIND, JMP(BPF_JEQ, R0, 0, 2), MOVX(R1, R0), KF(1), END),
    P("memory and its size", NULL, W_SYSCALL, NAMES("bpf_copy_from_user_str"), ST(DW, R10, -8, 0), MOVX(R1, R10),
      ADD(R1, -8), MOV(R2, 8), MOV(R3, 0), MOV(R4, 0), KF(0), END),
    P("more than there is", "invalid read from stack R1 off=-8 size=9", W_SYSCALL, NAMES("bpf_copy_from_user_str"),
      ST(DW, R10, -8, 0), MOVX(R1, R10), ADD(R1, -8), MOV(R2, 9), MOV(R3, 0), MOV(R4, 0), KF(0), END),
    P("less than nothing", "R2 min value is negative", W_SYSCALL, NAMES("bpf_copy_from_user_str"), ST(DW, R10, -8, 0),
      LDX(DW, R2, R1, 0), MOVX(R1, R10), ADD(R1, -8), MOV(R3, 0), MOV(R4, 0), KF(0), END),
    P("no number", "R2 is not a scalar", W_TP_BTF, NAMES("bpf_rdonly_cast"), MOVX(R2, R10), KF(0), END),
    P("a number that is not known", "R2 must be a known constant", W_TP_BTF, NAMES("bpf_rdonly_cast"),
      LDX(DW, R2, R1, 8), KF(0), END),
    P("read with care", NULL, W_TP_BTF, NAMES("bpf_rdonly_cast"), MOV(R2, 0), KF(0), LDX(DW, R0, R0, 100), END),
    P("an iterator", NULL, W_TP_BTF, NAMES("bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"),
      MOVX(R1, R10), ADD(R1, -8), MOV(R2, 0), MOV(R3, 5), KF(0), MOVX(R1, R10), ADD(R1, -8), KF(1),
      JMP(BPF_JNE, R0, 0, -4), MOVX(R1, R10), ADD(R1, -8), KF(2), END),
    P("not ended", "Unreleased reference", W_TP_BTF, NAMES("bpf_iter_num_new"), MOVX(R1, R10), ADD(R1, -8), MOV(R2, 0),
      MOV(R3, 5), KF(0), END),
    P("never", "unexpected __bpf_trap()", W_TP_BTF, NAMES("__bpf_trap"), KF(0), END),
    P("the context as the kernel has it", NULL, 5, NAMES("bpf_cast_to_kern_ctx"), KF(0), LDX(DW, R0, R0, 0), END),
    P("a trusted argument", NULL, W_TP_BTF, NAMES("bpf_send_signal_task", "bpf_task_from_pid", "bpf_task_release"),
      MOV(R1, 1), KF(1), JMP(BPF_JEQ, R0, 0, 8), MOVX(R6, R0), MOVX(R1, R0), MOV(R2, 10), MOV(R3, 0), MOV(R4, 0), KF(0),
      MOVX(R1, R6), KF(2), END),
};
// clang-format on

static u32 resolve(const struct row *row, struct bpf_insn *ret)
{
    memcpy(ret, row->insns, sizeof(row->insns));
    for (u32 k = 0; k < row->ninsns; k++) {
        if (ret[k].code != (BPF_JMP | BPF_CALL) || ret[k].src_reg != BPF_PSEUDO_KFUNC_CALL)
            continue;
        ret[k].off = 0;
        ret[k].imm = (s32)tn_btf_find(host, BTF_KIND_FUNC, row->name[ret[k].imm]);
        if (!ret[k].imm)
            return 0;
    }
    return row->ninsns;
}

static void test_rows(void **state)
{
    char words[1024], log[16384];
    u32 wrong = 0, asked = 0;

    if (!host)
        skip();
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        struct bpf_insn insns[24];
        u32 n = resolve(row, insns);
        bool us;
        int kernel;

        if (!n)
            continue;
        us = ask_us(&wheres[row->where], insns, n, words, sizeof(words));
        kernel = ask_kernel(&wheres[row->where], insns, n, log, sizeof(log));
        asked += kernel >= 0;
        if (us != !row->says || (row->says && !strstr(words, row->says))) {
            print_error("%s: ours: %s\n", row->what, us ? "accepted" : words);
            wrong++;
        }
        if (kernel >= 0 && (kernel != !row->says || (row->says && !strstr(log, row->says)))) {
            print_error("%s: kernel: %s\n", row->what, kernel ? "accepted" : log);
            wrong++;
        }
    }
    print_message("# %u of %zu put to the kernel\n", asked, TN_ARRAY_SIZE(rows));
    assert_int_equal(wrong, 0);
}

/* Which programs may call it, and must they sleep: each row, each type, both verdicts. */
static void test_sets(void **state)
{
    char words[1024], log[16384];
    u32 wrong = 0, asked = 0;

    if (!host)
        skip();
    for (size_t k = 0; k < TN_ARRAY_SIZE(all); k++) {
        u32 id = tn_btf_find(host, BTF_KIND_FUNC, all[k].name);
        const struct bpf_insn insns[] = {INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (s32)id),
                                         MOV(R0, 0), EXIT};

        for (size_t w = 0; id && w < TN_ARRAY_SIZE(wheres); w++) {
            static const char *const texts[] = {"is not allowed", "program must be sleepable"};
            int kernel = ask_kernel(&wheres[w], insns, 3, log, sizeof(log));

            if (kernel < 0)
                continue;
            asked++;
            ask_us(&wheres[w], insns, 3, words, sizeof(words));
            for (size_t t = 0; t < TN_ARRAY_SIZE(texts); t++) {
                if (!strstr(words, texts[t]) != !strstr(log, texts[t]) && wrong++ < 20)
                    print_error("%s in %s: ours: %s\nkernel: %s\n", all[k].name, wheres[w].name, words, log);
            }
        }
    }
    print_message("# %u calls put to the kernel\n", asked);
    assert_int_equal(wrong, 0);
}

static int open_host(void **state)
{
    _fclose_ FILE *f = fopen("/sys/kernel/btf/vmlinux", "rb");
    _free_ u8 *data = malloc(TN_BTF_SIZE_MAX);
    size_t size = f && data ? fread(data, 1, TN_BTF_SIZE_MAX, f) : 0;

    if (!size)
        print_message("# skipped: the kernel does not tell its types\n");
    else if (tn_btf_open(data, size, NULL, &host, NULL))
        return 1;
    return 0;
}

static int close_host(void **state)
{
    tn_btf_close(host);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_sets),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
