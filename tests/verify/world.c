/* SPDX-License-Identifier: MIT */
/* See world.h. */
#include "tests/verify/world.h"

#include <bpf/btf.h>
#include <stdlib.h>

#include "btf/btf.h"

static void must(int ok)
{
    if (ok < 0)
        abort();
}

static int add_struct(struct btf *b, const char *name, u32 size, const char *member, int type)
{
    int id = btf__add_struct(b, name, size);

    must(btf__add_field(b, member, type, 0, 0));
    return id;
}

struct param {
    const char *name;
    int type;
};
#define P(...) ((const struct param[5]){__VA_ARGS__})

static u32 add_func(struct btf *b, const char *name, int ret, const struct param param[5])
{
    int proto = btf__add_func_proto(b, ret);

    for (u32 k = 0; k < 5 && param[k].name; k++)
        must(btf__add_func_param(b, param[k].name, param[k].type));
    return (u32)btf__add_func(b, name, BTF_FUNC_GLOBAL, proto);
}

static void add_outer(struct btf *b, int number, int word, int byte, int inner)
{
    int p = btf__add_ptr(b, inner), q = btf__add_ptr(b, btf__add_type_tag(b, "rcu", inner));
    int u = btf__add_ptr(b, btf__add_type_tag(b, "user", inner)), text = btf__add_ptr(b, byte);
    int comm = btf__add_array(b, number, byte, 16), last = btf__add_array(b, number, word, 2);
    const struct {
        const char *name;
        int type;
        u32 at;
    } member[] = {{"pid", number, 0}, {"flags", number, 4}, {"nested", inner, 8},
                  {"p", p, 16},       {"q", q, 24},         {"u", u, 32},
                  {"comm", comm, 40}, {"text", text, 56},   {"last", last, 64}};

    must(btf__add_struct(b, "outer", 80));
    for (size_t k = 0; k < TN_ARRAY_SIZE(member); k++)
        must(btf__add_field(b, member[k].name, member[k].type, member[k].at * 8, 0));
}

static void make_host(struct world *w)
{
    struct btf *b = w->host_built = btf__new_empty();
    int number = btf__add_int(b, "int", 4, BTF_INT_SIGNED), word = btf__add_int(b, "u64", 8, 0);
    int byte = btf__add_int(b, "char", 1, 0), u = btf__add_int(b, "u32", 4, 0), any = btf__add_ptr(b, 0);
    int inner = add_struct(b, "inner", 8, "a", number), iter, dyn, cdyn, lock, skb, xdp, flag, numbers;
    u32 *f = w->kfunc;

    must(btf__add_field(b, "b", number, 32, 0));
    add_outer(b, number, word, byte, inner);
    iter = btf__add_ptr(b, add_struct(b, "bpf_iter_num", 8, "opaque", word));
    dyn = add_struct(b, "bpf_dynptr", 16, "opaque", word);
    must(btf__add_field(b, "more", word, 64, 0));
    cdyn = btf__add_ptr(b, btf__add_const(b, dyn));
    dyn = btf__add_ptr(b, dyn);
    lock = btf__add_ptr(b, add_struct(b, "bpf_res_spin_lock", 4, "val", number));
    skb = btf__add_ptr(b, add_struct(b, "__sk_buff", 4, "len", u));
    xdp = btf__add_ptr(b, add_struct(b, "xdp_md", 4, "data", u));
    flag = btf__add_ptr(b, word);
    numbers = btf__add_ptr(b, number);
    w->hook = add_func(b, "hook", number,
                       P({"o", btf__add_ptr(b, btf__find_by_name(b, "outer"))}, {"n", number}, {"raw", any}));
    f[W_bpf_iter_num_new] =
        add_func(b, "bpf_iter_num_new", number, P({"it", iter}, {"start", number}, {"end", number}));
    f[W_bpf_iter_num_next] = add_func(b, "bpf_iter_num_next", numbers, P({"it", iter}));
    f[W_bpf_iter_num_destroy] = add_func(b, "bpf_iter_num_destroy", 0, P({"it", iter}));
    f[W_bpf_rcu_read_lock] = add_func(b, "bpf_rcu_read_lock", 0, P({0}));
    f[W_bpf_rcu_read_unlock] = add_func(b, "bpf_rcu_read_unlock", 0, P({0}));
    f[W_bpf_preempt_disable] = add_func(b, "bpf_preempt_disable", 0, P({0}));
    f[W_bpf_preempt_enable] = add_func(b, "bpf_preempt_enable", 0, P({0}));
    f[W_bpf_local_irq_save] = add_func(b, "bpf_local_irq_save", 0, P({"flags__irq_flag", flag}));
    f[W_bpf_local_irq_restore] = add_func(b, "bpf_local_irq_restore", 0, P({"flags__irq_flag", flag}));
    f[W_bpf_res_spin_lock] = add_func(b, "bpf_res_spin_lock", number, P({"lock", lock}));
    f[W_bpf_res_spin_unlock] = add_func(b, "bpf_res_spin_unlock", 0, P({"lock", lock}));
    f[W_bpf_dynptr_size] = add_func(b, "bpf_dynptr_size", u, P({"p", cdyn}));
    f[W_bpf_dynptr_is_null] = add_func(b, "bpf_dynptr_is_null", number, P({"p", cdyn}));
    f[W_bpf_dynptr_adjust] =
        add_func(b, "bpf_dynptr_adjust", number, P({"p", cdyn}, {"start", u}, {"end", u}));
    f[W_bpf_dynptr_clone] = add_func(b, "bpf_dynptr_clone", number, P({"p", cdyn}, {"clone__uninit", dyn}));
    f[W_bpf_dynptr_slice] = add_func(b, "bpf_dynptr_slice", any,
                                     P({"p", cdyn}, {"offset", u}, {"buffer__opt", any}, {"buffer__szk", u}));
    f[W_bpf_dynptr_slice_rdwr] =
        add_func(b, "bpf_dynptr_slice_rdwr", any,
                 P({"p", cdyn}, {"offset", u}, {"buffer__opt", any}, {"buffer__szk", u}));
    f[W_bpf_dynptr_from_skb] =
        add_func(b, "bpf_dynptr_from_skb", number, P({"s", skb}, {"flags", word}, {"ptr__uninit", dyn}));
    f[W_bpf_dynptr_from_xdp] =
        add_func(b, "bpf_dynptr_from_xdp", number, P({"x", xdp}, {"flags", word}, {"ptr__uninit", dyn}));
}

/* Values with a lock, and int f(void) for every function of the program. */
static void make_prog(struct world *w, u32 *ret_locks, u32 *ret_resilient)
{
    struct btf *b = w->prog_built = btf__new_empty();
    int number = btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    int lock = add_struct(b, "bpf_spin_lock", 4, "val", number);
    int res = add_struct(b, "bpf_res_spin_lock", 4, "val", number);

    w->func = (u32)btf__add_func(b, "f", BTF_FUNC_STATIC, btf__add_func_proto(b, number));
    *ret_locks = (u32)add_struct(b, "locked", 32, "lock", lock);
    must(btf__add_field(b, "data", number, 64, 0));
    *ret_resilient = (u32)add_struct(b, "resilient", 32, "lock", res);
    must(btf__add_field(b, "data", number, 64, 0));
}

static struct tn_btf *reopen(const struct btf *b)
{
    struct tn_error err = {0};
    struct tn_btf *ret = NULL;
    u32 size;
    const void *data = btf__raw_data(b, &size);

    if (tn_btf_open(data, size, NULL, &ret, &err))
        abort();
    return ret;
}

void world_open(struct world *w)
{
    static u8 strings[16] = "abc\0%d\0\0x%llx";
    static const struct tn_verify_map more[] = {
        [M_LOCKS -
         M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 32, .max_entries = 3}},
        [M_RESILIENT - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 32, .max_entries = 3}},
        [M_OUTER - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_ARRAY_OF_MAPS, .key_size = 4, .value_size = 4, .max_entries = 3}},
        [M_TAIL_CALLS - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 3}},
        [M_EVENTS - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
                                        .key_size = 4,
                                        .value_size = 4,
                                        .max_entries = 4}},
        [M_STACKS - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_STACK_TRACE, .key_size = 4, .value_size = 64, .max_entries = 4}},
        [M_CGROUPS - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_CGROUP_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 4}},
        [M_QUEUE - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_QUEUE, .value_size = 16, .max_entries = 4}},
        [M_BLOOM - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_BLOOM_FILTER, .value_size = 8, .max_entries = 4}},
        [M_TRIE - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_LPM_TRIE,
                                      .key_size = 8,
                                      .value_size = 24,
                                      .max_entries = 4,
                                      .map_flags = BPF_F_NO_PREALLOC}},
        [M_DEVICES - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_DEVMAP, .key_size = 4, .value_size = 8, .max_entries = 4}},
        [M_USER_RING - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_USER_RINGBUF, .max_entries = 4096}},
        [M_SK_STORAGE - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_SK_STORAGE,
                                            .key_size = 4,
                                            .value_size = 16,
                                            .map_flags = BPF_F_NO_PREALLOC,
                                            .max_entries = 2}},
        [M_SINGLE - M_COUNT] =
            {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64, .max_entries = 1}},
        [M_STRINGS - M_COUNT] = {.geo = {.type = BPF_MAP_TYPE_ARRAY,
                                         .key_size = 4,
                                         .value_size = 16,
                                         .max_entries = 1,
                                         .map_flags = BPF_F_RDONLY_PROG},
                                 .frozen = strings,
                                 .rdonly_prog = true},
    };
    u32 locks, resilient;

    *w = (struct world){
        .inner = {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 32, .max_entries = 2}}};
    make_host(w);
    make_prog(w, &locks, &resilient);
    w->host = reopen(w->host_built);
    w->prog = reopen(w->prog_built);
    memcpy(w->maps, test_maps, sizeof(test_maps));
    memcpy(w->maps + M_COUNT, more, sizeof(more));
    w->maps[M_OUTER].inner = &w->inner;
    w->maps[M_LOCKS].btf = w->maps[M_RESILIENT].btf = w->prog;
    w->maps[M_LOCKS].btf_key_type_id = w->maps[M_RESILIENT].btf_key_type_id = 1;
    w->maps[M_LOCKS].btf_value_type_id = locks;
    w->maps[M_RESILIENT].btf_value_type_id = resilient;
}

void world_close(struct world *w)
{
    tn_btf_close(w->host);
    tn_btf_close(w->prog);
    btf__free(w->host_built);
    btf__free(w->prog_built);
}

void world_in(const struct world *w, u32 type, const u32 *func, u32 nfuncs, struct bpf_func_info *room,
              struct tn_verify_in *ret)
{
    bool tracing = type == BPF_PROG_TYPE_TRACING;
    bool locks = type == BPF_PROG_TYPE_SCHED_CLS || type == BPF_PROG_TYPE_XDP;

    for (u32 k = 0; k < nfuncs; k++)
        room[k] = (struct bpf_func_info){func[k], w->func};
    *ret = (struct tn_verify_in){
        .prog_type = type,
        .expected_attach_type = tracing ? BPF_TRACE_FENTRY : 0,
        .attach_btf_id = tracing ? w->hook : 0,
        .gpl = true,
        .maps = w->maps,
        .nmaps = locks ? WORLD_MAPS : M_RESILIENT,
        .func_info = room,
        .func_info_rec_size = sizeof(room[0]),
        .func_info_cnt = nfuncs,
        .host_btf = w->host,
        .ncpu = 4,
    };
    ret->btf = btf__raw_data(w->prog_built, &ret->btf_size);
}
