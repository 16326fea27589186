/* SPDX-License-Identifier: MIT */
/*
 * Every row of objects.h, with the kernel's own types: the verdict, the reason, and as root the kernel's mind
 * of it. Where the kernel tells no types there is nothing to call, and the rows are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>

#include "btf/btf.h"
#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/kernel_types.h"
#include "verify/reasons.h"

#define KFUNCS(K)                                                                                            \
    K(bpf_rcu_read_lock)                                                                                     \
    K(bpf_rcu_read_unlock)                                                                                   \
    K(bpf_preempt_disable)                                                                                   \
    K(bpf_preempt_enable)                                                                                    \
    K(bpf_local_irq_save)                                                                                    \
    K(bpf_local_irq_restore)                                                                                 \
    K(bpf_res_spin_lock)                                                                                     \
    K(bpf_res_spin_lock_irqsave)                                                                             \
    K(bpf_res_spin_unlock_irqrestore)                                                                        \
    K(bpf_res_spin_unlock)                                                                                   \
    K(bpf_dynptr_clone)                                                                                      \
    K(bpf_iter_num_new)                                                                                      \
    K(bpf_iter_num_next)                                                                                     \
    K(bpf_iter_num_destroy)                                                                                  \
    K(bpf_task_release)
enum {
#define K(name) KF_##name,
    KFUNCS(K)
#undef K
        KF_COUNT
};
static const char *const kfunc_name[] = {
#define K(name) #name,
    KFUNCS(K)
#undef K
};
#define KF(name) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, KF_##name)

enum { M_PLAIN, M_LOCKS, M_RESILIENT, M_KEPT, M_TIMED, M_RING, M_COUNT };
enum { TC, SLEEP };

struct row {
    const char *name;
    int how, reason; /* enum tn_reason; −1: accepted */
    bool linux_accepts;
    const struct bpf_insn *insns;
    u32 ninsns;
};
#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)
#define OK(name, how, ...)         {#name, how, -1, true, P(__VA_ARGS__)},
#define NO(name, how, reason, ...) {#name, how, TN_REASON_##reason, false, P(__VA_ARGS__)},
#define US(name, how, reason, ...) {#name, how, TN_REASON_##reason, true, P(__VA_ARGS__)},
static const struct row rows[] = {
#include "tests/verify/objects.h"
};

struct world {
    struct tn_btf *host, *types;
    struct btf *built;
    struct tn_verify_map maps[M_COUNT];
    int fd[M_COUNT], key, value[M_COUNT];
};

static int add_value(struct btf *b, const char *name, u32 size, const int *types, const u32 *offsets, u32 n)
{
    int id = btf__add_struct(b, name, size);

    for (u32 k = 0; k < n; k++) {
        char member[8];

        snprintf(member, sizeof(member), "m%u", k);
        assert_return_code(btf__add_field(b, member, types[k], offsets[k] * 8, 0), errno);
    }
    return id;
}

static void make_types(struct world *w)
{
    struct btf *b = w->built = btf__new_empty();
    int word, lock, res, timer, task, kept, seen;
    struct tn_error err = {0};
    const void *data;
    u32 size;

    word = btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    w->key = word;
    lock = add_value(b, "bpf_spin_lock", 4, (int[]){word}, (u32[]){0}, 1);
    res = add_value(b, "bpf_res_spin_lock", 4, (int[]){word}, (u32[]){0}, 1);
    timer = add_value(b, "bpf_timer", 16, (int[]){word, word}, (u32[]){0, 8}, 2);
    task = add_value(b, "task_struct", 4, (int[]){word}, (u32[]){0}, 1);
    kept = btf__add_ptr(b, btf__add_type_tag(b, "kptr", task));
    seen = btf__add_ptr(b, btf__add_type_tag(b, "kptr_untrusted", task));
    w->value[M_PLAIN] = add_value(b, "plain", 16, (int[]){word}, (u32[]){0}, 1);
    w->value[M_LOCKS] = add_value(b, "locks", 16, (int[]){lock, word}, (u32[]){0, 8}, 2);
    w->value[M_RESILIENT] = add_value(b, "resilient", 16, (int[]){res, word}, (u32[]){4, 8}, 2);
    w->value[M_KEPT] = add_value(b, "kept", 16, (int[]){kept, seen}, (u32[]){0, 8}, 2);
    w->value[M_TIMED] = add_value(b, "timed", 16, (int[]){timer}, (u32[]){0}, 1);
    data = btf__raw_data(b, &size);
    assert_int_equal(tn_btf_open(data, size, NULL, &w->types, &err), 0);
}

static void make_maps(struct world *w, bool kernel)
{
    u32 size;
    const void *data = btf__raw_data(w->built, &size);
    int types = kernel ? bpf_btf_load(data, size, NULL) : -1;

    for (u32 m = 0; m < M_COUNT; m++) {
        bool ring = m == M_RING;
        u32 type = ring ? BPF_MAP_TYPE_RINGBUF : BPF_MAP_TYPE_HASH;

        w->maps[m] = (struct tn_verify_map){
            .geo = {.type = type,
                    .key_size = ring ? 0 : 4,
                    .value_size = ring ? 0 : 16,
                    .max_entries = ring ? 4096 : 4},
            .name = "test",
            .btf = ring ? NULL : w->types,
            .btf_key_type_id = ring ? 0 : (u32)w->key,
            .btf_value_type_id = ring ? 0 : (u32)w->value[m],
        };
        w->fd[m] = -1;
        if (kernel) {
            LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_fd = ring ? 0 : (u32)types,
                        .btf_key_type_id = w->maps[m].btf_key_type_id,
                        .btf_value_type_id = w->maps[m].btf_value_type_id);

            w->fd[m] = bpf_map_create((enum bpf_map_type)type, "test", w->maps[m].geo.key_size,
                                      w->maps[m].geo.value_size, w->maps[m].geo.max_entries, &opts);
            assert_return_code(w->fd[m], errno);
        }
    }
    if (types >= 0)
        close(types);
}

/* With the numbers that functions have in this kernel; maps as descriptors when it is the one asked. */
static struct bpf_insn *resolve(const struct world *w, const struct row *row, bool kernel)
{
    struct bpf_insn *out = malloc(row->ninsns * sizeof(*out));

    assert_non_null(out);
    memcpy(out, row->insns, row->ninsns * sizeof(*out));
    for (u32 k = 0; k < row->ninsns; k++) {
        if (out[k].code == (BPF_JMP | BPF_CALL) && out[k].src_reg == BPF_PSEUDO_KFUNC_CALL)
            out[k].imm = (s32)tn_btf_find(w->host, BTF_KIND_FUNC, kfunc_name[out[k].imm]);
        if (kernel && out[k].code == (BPF_LD | BPF_IMM | BPF_DW) && out[k].src_reg == BPF_PSEUDO_MAP_FD)
            out[k].imm = w->fd[out[k].imm];
    }
    return out;
}

static bool kernel_says(const struct world *w, const struct row *row, char *log, u32 log_size)
{
    LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = 1, .log_buf = log, .log_size = log_size,
                .prog_flags = row->how == SLEEP ? BPF_F_SLEEPABLE : 0);
    struct bpf_insn *insns = resolve(w, row, true);
    int fd;

    log[0] = 0;
    fd = bpf_prog_load(row->how == SLEEP ? BPF_PROG_TYPE_SYSCALL : BPF_PROG_TYPE_SCHED_CLS, "test", "GPL",
                       insns, row->ninsns, &opts);
    free(insns);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int judge(const struct world *w, const struct row *row)
{
    const char *reason = row->reason < 0 ? "" : tn_reason_name((enum tn_reason)row->reason);
    struct bpf_insn *insns = resolve(w, row, false);
    struct tn_verify_in in = {
        .insns = insns,
        .ninsns = row->ninsns,
        .prog_type = row->how == SLEEP ? BPF_PROG_TYPE_SYSCALL : BPF_PROG_TYPE_SCHED_CLS,
        .prog_flags = row->how == SLEEP ? BPF_F_SLEEPABLE : 0,
        .gpl = true,
        .maps = w->maps,
        .nmaps = M_COUNT,
        .host_btf = w->host,
        .log_level = 2,
    };
    struct tn_verdict v;
    int wrong = 0;

    assert_int_equal(tn_verify(&in, &v), 0);
    if (strcmp(v.refusal.reason, reason)) {
        print_message("# %s: expected %s, got %s at %u: %s\n%s", row->name, *reason ? reason : "accepted",
                      v.accepted ? "accepted" : v.refusal.reason, v.refusal.insn, v.refusal.message, v.log);
        wrong = 1;
    }
    tn_verdict_clear(&v);
    free(insns);
    return wrong;
}

static void test_rows(void **state)
{
    static char log[1 << 16];
    struct world w = {0};
    struct kernel kernel;
    const char *why = kernel_open(&kernel, NULL, 0);
    int wrong = 0;

    w.host = kernel_types(kfunc_name, KF_COUNT);
    if (!w.host)
        skip();
    make_types(&w);
    make_maps(&w, !why);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        wrong += judge(&w, &rows[k]);
        if (!why && kernel_says(&w, &rows[k], log, sizeof(log)) != rows[k].linux_accepts) {
            print_message("# %s: the kernel is of another mind: %s\n", rows[k].name, log);
            wrong++;
        }
    }
    for (u32 m = 0; m < M_COUNT; m++)
        if (w.fd[m] >= 0)
            close(w.fd[m]);
    tn_btf_close(w.types);
    tn_btf_close(w.host);
    btf__free(w.built);
    if (why)
        print_message("# without the kernel: %s\n", why);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
