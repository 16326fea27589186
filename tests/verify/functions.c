/* SPDX-License-Identifier: MIT */
/*
 * Every row of functions.h, with the kernel's own types and types made for the program: the verdict, the
 * reason, and as root the kernel's mind of it. Where the kernel tells no types there is nothing to call, and
 * the rows are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>

#include "btf/btf.h"
#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/kernel_types.h"
#include "verify/reasons.h"

#define KFUNCS(K)                                                                                            \
    K(bpf_throw)                                                                                             \
    K(bpf_rcu_read_lock)                                                                                     \
    K(bpf_rcu_read_unlock)                                                                                   \
    K(bpf_preempt_disable)                                                                                   \
    K(bpf_preempt_enable)                                                                                    \
    K(bpf_local_irq_save)                                                                                    \
    K(bpf_local_irq_restore)                                                                                 \
    K(bpf_wq_init)                                                                                           \
    K(bpf_wq_set_callback_impl)                                                                              \
    K(bpf_wq_start)                                                                                          \
    K(bpf_task_work_schedule_signal_impl)                                                                    \
    K(bpf_task_work_schedule_resume_impl)                                                                    \
    K(bpf_task_from_pid)                                                                                     \
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
#define KF(name)       INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, KF_##name)
#define LDFUNC(r, rel) INSN(BPF_LD | BPF_IMM | BPF_DW, r, BPF_PSEUDO_FUNC, 0, rel), INSN(0, 0, 0, 0, 0)
#define ABS(off)       INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, off)

enum {
    M_PLAIN,
    M_TIMED,
    M_QUEUED,
    M_QUEUED_TOO,
    M_WORK,
    M_WORK_TOO,
    M_LOCKED,
    M_USER,
    M_RING,
    M_USER_RING,
    M_PROGS,
    M_COUNT
};

/* How a program is loaded. */
#define HOWS(H)                                                                                              \
    H(TC, SCHED_CLS, 0, 0, NULL)                                                                             \
    H(XDP, XDP, 0, 0, NULL)                                                                                  \
    H(SOCKET, SOCKET_FILTER, 0, 0, NULL)                                                                     \
    H(PROBE, KPROBE, 0, 0, NULL)                                                                             \
    H(POINT, TRACEPOINT, 0, 0, NULL)                                                                         \
    H(RAW, RAW_TRACEPOINT, 0, 0, NULL)                                                                       \
    H(PERF, PERF_EVENT, 0, 0, NULL)                                                                          \
    H(ENTRY, TRACING, BPF_TRACE_FENTRY, 0, "bpf_fentry_test1")                                               \
    H(TRUNCATE, TRACING, BPF_TRACE_FENTRY, 0, "vfs_truncate")                                                \
    H(OPEN, TRACING, BPF_TRACE_FEXIT, 0, "dentry_open")                                                      \
    H(RAW_BTF, TRACING, BPF_TRACE_RAW_TP, 0, "btf_trace_sys_enter")                                          \
    H(ITER, TRACING, BPF_TRACE_ITER, 0, "bpf_iter_bpf_map")                                                  \
    H(SLEEP, SYSCALL, 0, BPF_F_SLEEPABLE, NULL)
enum {
#define H(how, ...) how,
    HOWS(H)
#undef H
};
static const struct how {
    u32 type, attach, flags;
    const char *on;
} hows[] = {
#define H(how, type, attach, flags, on) {BPF_PROG_TYPE_##type, attach, flags, on},
    HOWS(H)
#undef H
};

#define MAX_FUNCS 10
struct func {
    u32 at;
    bool global;
    const char *proto; /* "int(ctx,u64)" */
    const char *tags;  /* "0nonnull 1trusted": of arguments; "x2": function 2 is the exception callback */
};
#define S(at, proto, tags)                                                                                   \
    {                                                                                                        \
        at, false, proto, tags                                                                               \
    }
#define G(at, proto, tags)                                                                                   \
    {                                                                                                        \
        at, true, proto, tags                                                                                \
    }
#define MAIN         S(0, "int(ctx)", "")
#define THROWS_TO(n) S(0, "int(ctx)", "x" #n)
#define F(...)                                                                                               \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

struct row {
    const char *name;
    int how, reason; /* enum tn_reason; −1: accepted */
    bool linux_accepts;
    struct func func[MAX_FUNCS];
    const struct bpf_insn *insns;
    u32 ninsns;
};
#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)
#define OK(name, how, func, ...)         {#name, how, -1, true, func, P(__VA_ARGS__)},
#define NO(name, how, reason, func, ...) {#name, how, TN_REASON_##reason, false, func, P(__VA_ARGS__)},
#define US(name, how, reason, func, ...) {#name, how, TN_REASON_##reason, true, func, P(__VA_ARGS__)},
#define THEM(name, how, func, ...)       {#name, how, -1, false, func, P(__VA_ARGS__)},
static const struct row rows[] = {
#include "tests/verify/functions.h"
};

struct world {
    struct tn_btf *host, *types;
    struct btf *built;
    struct tn_verify_map maps[M_COUNT];
    int fd[M_COUNT], key, value[M_COUNT];
};

/* ------------------------------------------------------------------------------------------------- maps */

static int add_value(struct btf *b, const char *name, u32 size, int type)
{
    int id = btf__add_struct(b, name, size);

    assert_return_code(btf__add_field(b, "member", type, 0, 0), errno);
    return id;
}

static void make_types(struct world *w)
{
    static const struct {
        u32 map;
        const char *field;
        u32 size;
    } special[] = {{M_TIMED, "bpf_timer", 16},       {M_QUEUED, "bpf_wq", 16},
                   {M_QUEUED_TOO, "bpf_wq", 16},     {M_WORK, "bpf_task_work", 8},
                   {M_WORK_TOO, "bpf_task_work", 8}, {M_LOCKED, "bpf_spin_lock", 4}};
    struct btf *b = w->built = btf__new_empty();
    struct tn_error err = {0};
    const void *data;
    u32 size;
    int user;

    w->key = btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    w->value[M_PLAIN] = add_value(b, "plain", 16, w->key);
    for (size_t k = 0; k < TN_ARRAY_SIZE(special); k++) {
        int field = add_value(b, special[k].field, special[k].size, w->key);

        w->value[special[k].map] = add_value(b, "value", 16, field);
    }
    user = btf__add_type_tag(b, "uptr", add_value(b, "user", 16, w->key));
    w->value[M_USER] = add_value(b, "value", 16, btf__add_ptr(b, user));
    data = btf__raw_data(b, &size);
    assert_int_equal(tn_btf_open(data, size, NULL, &w->types, &err), 0);
}

static void make_maps(struct world *w, bool kernel)
{
    u32 size;
    const void *data = btf__raw_data(w->built, &size);
    int types = kernel ? bpf_btf_load(data, size, NULL) : -1;

    for (u32 m = 0; m < M_COUNT; m++) {
        bool ring = m == M_RING || m == M_USER_RING, typed = w->value[m];
        u32 type = m == M_RING        ? BPF_MAP_TYPE_RINGBUF
                   : m == M_USER_RING ? BPF_MAP_TYPE_USER_RINGBUF
                   : m == M_PROGS     ? BPF_MAP_TYPE_PROG_ARRAY
                   : m == M_USER      ? BPF_MAP_TYPE_TASK_STORAGE
                                      : BPF_MAP_TYPE_HASH;

        w->maps[m] = (struct tn_verify_map){
            .geo = {.type = type,
                    .key_size = ring ? 0 : 4,
                    .value_size = ring    ? 0
                                  : typed ? 16
                                          : 4,
                    .max_entries = ring          ? 4096
                                   : m == M_USER ? 0
                                                 : 4,
                    .map_flags = m == M_USER ? BPF_F_NO_PREALLOC : 0},
            .name = "test",
            .btf = typed ? w->types : NULL,
            .btf_key_type_id = typed ? (u32)w->key : 0,
            .btf_value_type_id = (u32)w->value[m],
        };
        w->fd[m] = -1;
        if (kernel) {
            LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_fd = typed ? (u32)types : 0,
                        .btf_key_type_id = w->maps[m].btf_key_type_id,
                        .btf_value_type_id = w->maps[m].btf_value_type_id,
                        .map_flags = w->maps[m].geo.map_flags);

            w->fd[m] = bpf_map_create((enum bpf_map_type)type, "test", w->maps[m].geo.key_size,
                                      w->maps[m].geo.value_size, w->maps[m].geo.max_entries, &opts);
            assert_return_code(w->fd[m], errno);
        }
    }
    if (types >= 0)
        close(types);
}

/* ---------------------------------------------------------------------------------------------- functions */

struct program {
    struct btf *btf;
    struct bpf_func_info info[MAX_FUNCS];
    u32 nfuncs;
};

static int pointer_to(struct btf *b, const char *name, u32 size, int word)
{
    return btf__add_ptr(b, add_value(b, name, size, word));
}

struct type {
    const char *name;
    int id;
};

static int type_of(const struct type *types, const char *word, size_t len)
{
    for (; types->name; types++)
        if (strlen(types->name) == len && !strncmp(types->name, word, len))
            return types->id;
    fail_msg("no type is called %.*s", (int)len, word);
    return 0;
}

static void add_tags(struct btf *b, const struct func *f, int id)
{
    char text[64];

    for (const char *at = f->tags; *at; at += strcspn(at, " ") + (at[strcspn(at, " ")] == ' ')) {
        bool callback = *at == 'x';

        snprintf(text, sizeof(text), callback ? "exception_callback:f%.*s" : "arg:%.*s",
                 (int)strcspn(at, " ") - 1, at + 1);
        assert_return_code(btf__add_decl_tag(b, text, id, callback ? -1 : *at - '0'), errno);
    }
}

static int add_func(struct btf *b, const struct type *types, const struct func *f, u32 number)
{
    const char *at = f->proto, *end = strpbrk(at, "(");
    int proto = btf__add_func_proto(b, type_of(types, at, (size_t)(end - at)));
    char name[8], arg[4];
    int id;

    for (u32 k = 0; *end != ')' && end[1] != ')'; k++) {
        at = end + 1;
        end = strpbrk(at, ",)");
        snprintf(arg, sizeof(arg), "a%u", k % 10);
        assert_return_code(btf__add_func_param(b, arg, type_of(types, at, (size_t)(end - at))), errno);
    }
    snprintf(name, sizeof(name), "f%u", number % 100);
    id = btf__add_func(b, name, f->global ? BTF_FUNC_GLOBAL : BTF_FUNC_STATIC, proto);
    assert_return_code(id, errno);
    add_tags(b, f, id);
    return id;
}

static void make_program(const struct row *row, struct program *ret)
{
    struct btf *b = ret->btf = btf__new_empty();
    int word = btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    int enumerated = btf__add_enum(b, "number", 4);
    const struct type types[] = {
        {"int", word},
        {"enum", btf__add_enum_value(b, "ONE", 1) ? 0 : enumerated},
        {"u64", btf__add_int(b, "long", 8, 0)},
        {"void", 0},
        {"ptr", btf__add_ptr(b, 0)},
        {"ctx", pointer_to(b, "__sk_buff", 4, word)},
        {"foo", pointer_to(b, "foo", 16, word)},
        {"regs", pointer_to(b, "pt_regs", 168, word)},
        {"uregs", pointer_to(b, "bpf_user_pt_regs_t", 4, word)},
        {"dynptr", pointer_to(b, "bpf_dynptr", 16, word)},
        {"task", pointer_to(b, "task_struct", 4, word)},
        {NULL, 0},
    };

    ret->nfuncs = 0;
    for (u32 k = 0; k < MAX_FUNCS && row->func[k].proto; k++)
        ret->info[ret->nfuncs++] =
            (struct bpf_func_info){row->func[k].at, (u32)add_func(b, types, &row->func[k], k)};
}

/* ------------------------------------------------------------------------------------------ both verdicts */

/* With the numbers that functions have in this kernel; maps as descriptors when it is the one asked, and else
   those that the program names, and no other, in `used`. */
static struct bpf_insn *resolve(const struct world *w, const struct row *row, bool kernel,
                                struct tn_verify_map *used, u32 *nused)
{
    struct bpf_insn *out = malloc(row->ninsns * sizeof(*out));
    u32 place[M_COUNT] = {0}; /* one more than where it is; 0: not named yet */

    assert_non_null(out);
    memcpy(out, row->insns, row->ninsns * sizeof(*out));
    for (u32 k = 0; k < row->ninsns; k++) {
        if (out[k].code == (BPF_JMP | BPF_CALL) && out[k].src_reg == BPF_PSEUDO_KFUNC_CALL)
            out[k].imm = (s32)tn_btf_find(w->host, BTF_KIND_FUNC, kfunc_name[out[k].imm]);
        if (out[k].code != (BPF_LD | BPF_IMM | BPF_DW) || out[k].src_reg != BPF_PSEUDO_MAP_FD)
            continue;
        if (!kernel && !place[out[k].imm]) {
            used[*nused] = w->maps[out[k].imm];
            place[out[k].imm] = ++*nused;
        }
        out[k].imm = kernel ? w->fd[out[k].imm] : (s32)place[out[k].imm] - 1;
    }
    return out;
}

static u32 attach_id(const struct world *w, const struct how *how)
{
    if (!how->on)
        return 0;
    return tn_btf_find(w->host, how->attach == BPF_TRACE_RAW_TP ? BTF_KIND_TYPEDEF : BTF_KIND_FUNC, how->on);
}

/* −1: a kernel that cannot change its functions refuses all programs for them before it looks. */
static int kernel_says(const struct world *w, const struct row *row, const struct program *p, char *log,
                       u32 log_size)
{
    const struct how *how = &hows[row->how];
    u32 size;
    const void *data = btf__raw_data(p->btf, &size);
    int types = bpf_btf_load(data, size, NULL), fd;
    LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = 1, .log_buf = log, .log_size = log_size,
                .prog_flags = how->flags, .expected_attach_type = (enum bpf_attach_type)how->attach,
                .attach_btf_id = attach_id(w, how), .prog_btf_fd = (u32)types,
                .func_info = p->nfuncs ? p->info : NULL, .func_info_cnt = p->nfuncs,
                .func_info_rec_size = sizeof(p->info[0]));
    struct bpf_insn *insns = resolve(w, row, true, NULL, NULL);

    assert_return_code(types, errno);
    log[0] = 0;
    fd = bpf_prog_load((enum bpf_prog_type)how->type, "test", "GPL", insns, row->ninsns, &opts);
    free(insns);
    close(types);
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == EPERM && !log[0] && how->on ? -1 : fd >= 0;
}

static int judge(const struct world *w, const struct row *row, const struct program *p)
{
    const char *reason = row->reason < 0 ? "" : tn_reason_name((enum tn_reason)row->reason);
    const struct how *how = &hows[row->how];
    struct tn_verify_map used[M_COUNT];
    u32 nused = 0, size;
    struct bpf_insn *insns = resolve(w, row, false, used, &nused);
    const void *data = btf__raw_data(p->btf, &size);
    struct tn_verify_in in = {
        .insns = insns,
        .ninsns = row->ninsns,
        .prog_type = how->type,
        .expected_attach_type = how->attach,
        .prog_flags = how->flags,
        .attach_btf_id = attach_id(w, how),
        .gpl = true,
        .maps = used,
        .nmaps = nused,
        .host_btf = w->host,
        .btf = data,
        .btf_size = size,
        .func_info = p->nfuncs ? p->info : NULL,
        .func_info_cnt = p->nfuncs,
        .func_info_rec_size = sizeof(p->info[0]),
        .log_level = 2,
    };
    struct tn_verdict v;
    int wrong = 0;

    assert_int_equal(tn_verify(&in, &v), 0);
    if (strcmp(v.refusal.reason, reason)) {
        print_message("# %s: expected %s, got %s at %u: %s\n", row->name, *reason ? reason : "accepted",
                      v.accepted ? "accepted" : v.refusal.reason, v.refusal.insn, v.refusal.message);
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
    u32 asked = 0;
    int wrong = 0;

    w.host = kernel_types(kfunc_name, KF_COUNT);
    if (!w.host)
        skip();
    make_types(&w);
    make_maps(&w, !why);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct program p;
        int kernel;

        make_program(&rows[k], &p);
        wrong += judge(&w, &rows[k], &p);
        kernel = why ? -1 : kernel_says(&w, &rows[k], &p, log, sizeof(log));
        asked += kernel >= 0;
        if (kernel >= 0 && kernel != rows[k].linux_accepts) {
            size_t len = strlen(log);

            print_message("# %s: the kernel is of another mind (%d): %s\n", rows[k].name, errno,
                          log + (len > 600 ? len - 600 : 0));
            wrong++;
        }
        btf__free(p.btf);
    }
    for (u32 m = 0; m < M_COUNT; m++)
        if (w.fd[m] >= 0)
            close(w.fd[m]);
    tn_btf_close(w.types);
    tn_btf_close(w.host);
    btf__free(w.built);
    print_message("# %u of %zu put to the kernel%s%s\n", asked, TN_ARRAY_SIZE(rows), why ? ": " : "",
                  why ? why : "");
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
