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
#include "tests/verify/kernel_types.h"
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
    struct bpf_insn insns[40];
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
    P("bytes at NULL", "R1 type=scalar expected=fp", W_SYSCALL, NAMES("bpf_copy_from_user_str"), MOV(R1, 0),
      MOV(R2, 8), MOV(R3, 0), MOV(R4, 0), KF(0), END),
    P("no bytes at NULL", NULL, W_SYSCALL, NAMES("bpf_copy_from_user_str"), MOV(R1, 0), MOV(R2, 0), MOV(R3, 0),
      MOV(R4, 0), KF(0), END),
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

/* Newer kernels, and 6.18 since one of its updates, take no NULL where a kfunc's prototype does not say so, not even for no bytes. */
static bool asks_more(const struct row *row, int kernel, const char *log)
{
    return kernel == 0 && strstr(row->what, "bytes at NULL") &&
           strstr(log, "Possibly NULL pointer passed to trusted arg");
}

static void test_rows(void **state)
{
    char words[1024], log[16384];
    u32 wrong = 0, asked = 0, more = 0;

    if (!host)
        skip();
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        struct bpf_insn insns[40];
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
        if (asks_more(row, kernel, log)) {
            more++;
        } else if (kernel >= 0 && (kernel != !row->says || (row->says && !strstr(log, row->says)))) {
            print_error("%s: kernel: %s\n", row->what, kernel ? "accepted" : log);
            wrong++;
        }
    }
    print_message("# %u of %zu put to the kernel; of %u it asks more than others do\n", asked,
                  TN_ARRAY_SIZE(rows), more);
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

/* ----------------------------------------------------------------------------------------------- objects */

/*
 * struct node { u64 key; struct bpf_list_node n; };
 * struct value { struct bpf_spin_lock lock; struct bpf_list_head head __contains(node, n); };
 */
#define NAMES_OF(X)                                                                                          \
    X(u64)                                                                                                   \
    X(u32)                                                                                                   \
    X(bpf_spin_lock)                                                                                         \
    X(bpf_list_head) X(bpf_list_node) X(node) X(value) X(key) X(n) X(lock) X(head) X(a) X(b) X(c) X(prog)
static const struct {
    char zero[1];
#define X(name) char name[sizeof(#name)];
    NAMES_OF(X)
#undef X
    char contains[sizeof("contains:node:n")];
} own_names = {
#define X(name) .name = #name,
    NAMES_OF(X)
#undef X
        .contains = "contains:node:n",
};
#define N(name) offsetof(__typeof__(own_names), name)
enum { O_U64 = 1, O_U32, O_LOCK, O_HEAD, O_LIST_NODE, O_NODE, O_VALUE, O_TAG, O_PROTO, O_FUNC };
#define OT(name, kind, vlen, size) (name), BTF_KIND_##kind << 24 | (vlen), (size)

// clang-format off
static const u32 own_types[] = {
    OT(N(u64), INT, 0, 8), 64,
    OT(N(u32), INT, 0, 4), 32,
    OT(N(bpf_spin_lock), STRUCT, 1, 4), N(a), O_U32, 0,
    OT(N(bpf_list_head), STRUCT, 2, 16), N(a), O_U64, 0, N(b), O_U64, 64,
    OT(N(bpf_list_node), STRUCT, 3, 24), N(a), O_U64, 0, N(b), O_U64, 64, N(c), O_U64, 128,
    OT(N(node), STRUCT, 2, 32), N(key), O_U64, 0, N(n), O_LIST_NODE, 64,
    OT(N(value), STRUCT, 2, 24), N(lock), O_LOCK, 0, N(head), O_HEAD, 64,
    OT(N(contains), DECL_TAG, 0, O_VALUE), 1,
    OT(0, FUNC_PROTO, 0, O_U32),
    OT(N(prog), FUNC, 0, O_PROTO),
};

#define LOCK      LDVAL(R1, 0, 0), CALL(93)
#define UNLOCK    LDVAL(R1, 0, 0), CALL(94)
#define NEW       MOV(R1, O_NODE), MOV(R2, 0), KF(0), JMP(BPF_JNE, R0, 0, 2), END, MOVX(R6, R0)
#define DROP(reg) MOVX(R1, reg), MOV(R2, 0), KF(1)
#define PUSH      LDVAL(R1, 0, 8), MOVX(R2, R6), ADD(R2, 8), MOV(R3, 0), MOV(R4, 0), KF(2)
#define POP       LDVAL(R1, 0, 8), KF(3)
#define LIST      NAMES("bpf_obj_new_impl", "bpf_obj_drop_impl", "bpf_list_push_front_impl", "bpf_list_pop_front")

static const struct row objects[] = {
    P("made and dropped", NULL, 2, LIST, NEW, ST(DW, R6, 0, 7), DROP(R6), END),
    P("made and forgotten", "Unreleased reference", 2, LIST, NEW, END),
    P("its node written", "direct access to bpf_list_node is disallowed", 2, LIST, NEW, ST(DW, R6, 8, 7), DROP(R6), END),
    P("past its end", "access beyond struct node at off 32 size 8", 2, LIST, NEW, ST(DW, R6, 32, 7), DROP(R6), END),
    P("used once dropped", "R6 invalid mem access 'scalar'", 2, LIST, NEW, DROP(R6), LDX(DW, R0, R6, 0), END),
    P("pushed without the lock", "bpf_spin_lock at off=0 must be held for bpf_list_head", 2, LIST, NEW, PUSH, END),
    P("pushed", NULL, 2, LIST, NEW, LOCK, PUSH, UNLOCK, END),
    P("borrowed while it is locked", NULL, 2, LIST, NEW, LOCK, PUSH, ST(DW, R6, 0, 1), UNLOCK, END),
    P("borrowed no longer", "R6 invalid mem access 'scalar'", 2, LIST, NEW, LOCK, PUSH, UNLOCK, LDX(DW, R0, R6, 0), END),
    P("pushed twice", "arg#1 expected pointer to allocated object", 2, LIST, NEW, LOCK, PUSH, PUSH, UNLOCK, END),
    P("popped and forgotten", "Unreleased reference", 2, LIST, LOCK, POP, MOVX(R6, R0), UNLOCK, END),
    P("popped and dropped", NULL, 2, LIST, LOCK, POP, MOVX(R6, R0), UNLOCK, JMP(BPF_JEQ, R6, 0, 4), ADD(R6, -8),
      DROP(R6), END),
};
// clang-format on

struct own {
    u8 btf[sizeof(struct btf_header) + sizeof(own_types) + sizeof(own_names)];
    struct tn_btf *view;
    int btf_fd, map_fd;
};

static int command(int cmd, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static void make_own(struct own *o)
{
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = 1,
                           .hdr_len = sizeof(h),
                           .type_len = sizeof(own_types),
                           .str_off = sizeof(own_types),
                           .str_len = sizeof(own_names)};
    union bpf_attr load = {.btf = (u64)(uintptr_t)o->btf, .btf_size = sizeof(o->btf)};
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 24, .max_entries = 1};

    memcpy(o->btf, &h, sizeof(h));
    memcpy(o->btf + sizeof(h), own_types, sizeof(own_types));
    memcpy(o->btf + sizeof(h) + sizeof(own_types), &own_names, sizeof(own_names));
    assert_int_equal(tn_btf_open(o->btf, sizeof(o->btf), NULL, &o->view, NULL), 0);
    o->btf_fd = command(BPF_BTF_LOAD, &load);
    map.btf_fd = (u32)o->btf_fd;
    map.btf_key_type_id = O_U32;
    map.btf_value_type_id = O_VALUE;
    o->map_fd = o->btf_fd < 0 ? -1 : command(BPF_MAP_CREATE, &map);
}

/* A map whose values hang together by types that the program did not bring. */
static void test_other_types(void **state)
{
    const struct bpf_insn insns[] = {LDVAL(R1, 0, 8), END};
    struct own own = {0};
    struct tn_verify_map map = {
        .geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 24, .max_entries = 1},
        .btf_key_type_id = O_U32,
        .btf_value_type_id = O_VALUE};
    struct tn_verify_in in = {.insns = insns,
                              .ninsns = TN_ARRAY_SIZE(insns),
                              .prog_type = BPF_PROG_TYPE_SCHED_CLS,
                              .gpl = true,
                              .maps = &map,
                              .nmaps = 1};
    struct tn_verdict v;

    make_own(&own);
    map.btf = own.view;
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_string_equal(v.refusal.reason, "bad_map");
    tn_verdict_clear(&v);
    in.btf = own.btf;
    in.btf_size = sizeof(own.btf);
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_true(v.accepted);
    tn_verdict_clear(&v);
    tn_btf_close(own.view);
    if (own.btf_fd >= 0)
        close(own.btf_fd);
    if (own.map_fd >= 0)
        close(own.map_fd);
}

static bool object_here(const struct own *o, const struct bpf_insn *insns, u32 n, char *words, size_t size)
{
    static const struct bpf_func_info func = {0, O_FUNC};
    const struct tn_verify_map map = {
        .geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 24, .max_entries = 1},
        .btf = o->view,
        .btf_key_type_id = O_U32,
        .btf_value_type_id = O_VALUE};
    struct tn_verify_in in = {.insns = insns,
                              .ninsns = n,
                              .prog_type = BPF_PROG_TYPE_SCHED_CLS,
                              .host_btf = host,
                              .gpl = true,
                              .maps = &map,
                              .nmaps = 1,
                              .btf = o->btf,
                              .btf_size = sizeof(o->btf),
                              .func_info = &func,
                              .func_info_cnt = 1,
                              .func_info_rec_size = sizeof(func)};
    struct tn_verdict v;
    bool accepted;

    assert_int_equal(tn_verify(&in, &v), 0);
    accepted = v.accepted;
    snprintf(words, size, "%s", v.refusal.message);
    tn_verdict_clear(&v);
    return accepted;
}

static int object_there(const struct own *o, const struct bpf_insn *insns, u32 n, char *log, u32 log_size)
{
    static const struct bpf_func_info func = {0, O_FUNC};
    struct bpf_insn copy[40];
    union bpf_attr attr = {0};
    int fd;

    memcpy(copy, insns, n * sizeof(*insns));
    for (u32 k = 0; k < n; k++)
        if (copy[k].code == (BPF_LD | BPF_IMM | BPF_DW) && copy[k].src_reg == BPF_PSEUDO_MAP_VALUE)
            copy[k].imm = o->map_fd;
    log[0] = 0;
    attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    attr.insns = (u64)(uintptr_t)copy;
    attr.insn_cnt = n;
    attr.license = (u64)(uintptr_t) "GPL";
    attr.log_buf = (u64)(uintptr_t)log;
    attr.log_size = log_size;
    attr.log_level = 1;
    attr.prog_btf_fd = (u32)o->btf_fd;
    attr.func_info = (u64)(uintptr_t)&func;
    attr.func_info_cnt = 1;
    attr.func_info_rec_size = sizeof(func);
    fd = command(BPF_PROG_LOAD, &attr);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 1 : log[0] ? 0 : -1;
}

static void test_objects(void **state)
{
    char words[1024], log[16384];
    u32 wrong = 0, asked = 0;
    struct own own = {0};

    if (!host)
        skip();
    make_own(&own);
    for (size_t k = 0; k < TN_ARRAY_SIZE(objects); k++) {
        const struct row *row = &objects[k];
        struct bpf_insn insns[40];
        u32 n = resolve(row, insns);
        int kernel = -1;
        bool us;

        if (!n)
            continue;
        us = object_here(&own, insns, n, words, sizeof(words));
        if (own.map_fd >= 0)
            kernel = object_there(&own, insns, n, log, sizeof(log));
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
    print_message("# %u of %zu put to the kernel\n", asked, TN_ARRAY_SIZE(objects));
    tn_btf_close(own.view);
    if (own.btf_fd >= 0)
        close(own.btf_fd);
    if (own.map_fd >= 0)
        close(own.map_fd);
    assert_int_equal(wrong, 0);
}

static int open_host(void **state)
{
    host = kernel_types(NULL, 0);
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
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_other_types),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
