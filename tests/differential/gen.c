/* SPDX-License-Identifier: MIT */
/* See gen.h. Here: the world that programs live in, what the generator believes, functions put together. */
#include "tests/differential/gen_int.h"

#include <errno.h>

#include <bpf/btf.h>

/* -------------------------------------------------------------------------------------------- world */

static const struct rec_map world_maps[GEN_MAPS] = {
    [GEN_ARRAY] =
        {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64, .max_entries = 4, .name = "array"},
    [GEN_HASH] =
        {.type = BPF_MAP_TYPE_HASH, .key_size = 8, .value_size = 48, .max_entries = 16, .name = "hash"},
    [GEN_PERCPU] = {.type = BPF_MAP_TYPE_PERCPU_ARRAY,
                    .key_size = 4,
                    .value_size = 32,
                    .max_entries = 3,
                    .name = "percpu"},
    [GEN_LRU] =
        {.type = BPF_MAP_TYPE_LRU_HASH, .key_size = 4, .value_size = 24, .max_entries = 16, .name = "lru"},
    [GEN_RINGBUF] = {.type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096, .name = "ring"},
    [GEN_RODATA] = {.type = BPF_MAP_TYPE_ARRAY,
                    .key_size = 4,
                    .value_size = 64,
                    .max_entries = 1,
                    .map_flags = BPF_F_RDONLY_PROG,
                    .frozen = 1,
                    .name = "rodata"},
    [GEN_TABLE] = {.type = BPF_MAP_TYPE_ARRAY,
                   .key_size = 4,
                   .value_size = 24,
                   .max_entries = 3,
                   .map_flags = BPF_F_RDONLY_PROG,
                   .frozen = 1,
                   .name = "table"},
    [GEN_PROGS] =
        {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 2, .name = "progs"},
    [GEN_EVENTS] = {.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
                    .key_size = 4,
                    .value_size = 4,
                    .max_entries = 2,
                    .name = "events"},
    [GEN_QUEUE] = {.type = BPF_MAP_TYPE_QUEUE, .value_size = 16, .max_entries = 4, .name = "queue"},
    [GEN_NESTED] = {.type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
                    .key_size = 4,
                    .value_size = 4,
                    .max_entries = 2,
                    .inner = GEN_INNER,
                    .name = "nested"},
    [GEN_LOCKED] =
        {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64, .max_entries = 2, .name = "locked"},
    [GEN_STACKS] = {.type = BPF_MAP_TYPE_STACK_TRACE,
                    .key_size = 4,
                    .value_size = 64,
                    .max_entries = 4,
                    .name = "stacks"},
    [GEN_INNER] =
        {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16, .max_entries = 4, .name = "inner"},
};

static int world_types(struct gen_world *w)
{
    struct btf *btf = btf__new_empty();
    int num, wide, bytes, lock, value, proto, proto2;
    const void *raw;

    if (!btf)
        return -ENOMEM;
    num = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
    wide = btf__add_int(btf, "long", 8, BTF_INT_SIGNED);
    bytes = btf__add_array(btf, num, wide, 7);
    lock = btf__add_struct(btf, "bpf_spin_lock", 4);
    btf__add_field(btf, "val", num, 0, 0);
    value = btf__add_struct(btf, "locked", 64);
    btf__add_field(btf, "before", num, 0, 0);
    btf__add_field(btf, "lock", lock, 32, 0);
    btf__add_field(btf, "after", bytes, 64, 0);
    proto = btf__add_func_proto(btf, num);
    w->func_main = (u32)btf__add_func(btf, "main", BTF_FUNC_STATIC, proto);
    w->func_static = (u32)btf__add_func(btf, "inside", BTF_FUNC_STATIC, proto);
    proto2 = btf__add_func_proto(btf, num);
    btf__add_func_param(btf, "a", wide);
    btf__add_func_param(btf, "b", wide);
    w->func_global = (u32)btf__add_func(btf, "outside", BTF_FUNC_GLOBAL, proto2);
    raw = btf__raw_data(btf, &w->btf_size);
    w->btf = raw ? malloc(w->btf_size) : NULL;
    if (w->btf)
        memcpy(w->btf, raw, w->btf_size);
    w->map[GEN_LOCKED].btf = 0;
    w->map[GEN_LOCKED].btf_key_type_id = (u32)num;
    w->map[GEN_LOCKED].btf_value_type_id = (u32)value;
    btf__free(btf);
    return w->btf ? 0 : -ENOMEM;
}

/* The struct that a type points to, or 0. */
static u32 struct_behind(const struct btf *host, u32 id)
{
    const struct btf_type *t = btf__type_by_id(host, id);

    while (t && btf_is_mod(t))
        t = btf__type_by_id(host, t->type);
    if (!t || !btf_is_ptr(t))
        return 0;
    id = t->type;
    t = btf__type_by_id(host, id);
    while (t && (btf_is_mod(t) || btf_is_typedef(t))) {
        id = t->type;
        t = btf__type_by_id(host, id);
    }
    return t && btf_is_struct(t) && btf_vlen(t) ? id : 0;
}

bool gen_member(const struct gen_world *w, u32 type, u64 random, u32 *ret_off, u32 *ret_size, u32 *ret_to)
{
    u32 off = 0;

    for (u32 depth = 0; depth < 8; depth++) {
        const struct btf_type *t = btf__type_by_id(w->host, type);
        const struct btf_member *m;
        u32 k;
        s64 size;

        if (!t || !btf_is_composite(t) || !btf_vlen(t))
            return false;
        k = (u32)((random >> 8 * depth) % btf_vlen(t));
        m = &btf_members(t)[k];
        if (btf_member_bitfield_size(t, k))
            return false;
        off += btf_member_bit_offset(t, k) / 8;
        *ret_to = struct_behind(w->host, m->type);
        type = (u32)btf__resolve_type(w->host, m->type);
        t = btf__type_by_id(w->host, type);
        size = btf__resolve_size(w->host, type);
        if (btf_is_array(t))
            size = btf__resolve_size(w->host, btf_array(t)->type);
        if (btf_is_composite(t))
            continue;
        *ret_off = off;
        *ret_size = (u32)size;
        return off < 32768 && (size == 1 || size == 2 || size == 4 || size == 8);
    }
    return false;
}

/* Arguments by the prototype, from parameter `skip` on. */
static void add_hook(struct gen_world *w, u32 attach, s32 id, const struct btf_type *proto, u32 skip)
{
    struct gen_hook *h = &w->hook[w->nhooks];
    u32 n = proto ? btf_vlen(proto) : 0;

    if (!proto || n < skip || n - skip > GEN_MAX_ARGS || w->nhooks == TN_ARRAY_SIZE(w->hook))
        return;
    *h = (struct gen_hook){.attach = attach, .btf_id = (u32)id, .nargs = n - skip};
    for (u32 k = skip; k < n; k++)
        h->arg[k - skip] = struct_behind(w->host, btf_params(proto)[k].type);
    h->arg[h->nargs] = struct_behind(w->host, proto->type);
    w->nhooks++;
}

static void world_hooks(struct gen_world *w)
{
    static const char *const functions[] = {
        "vfs_read",         "vfs_open",     "tcp_v4_connect", "wake_up_new_task",
        "bpf_fentry_test6", "do_filp_open", "tcp_sendmsg",    "alloc_skb_with_frags"};
    static const char *const points[] = {"btf_trace_sched_switch",    "btf_trace_sched_process_fork",
                                         "btf_trace_kfree_skb",       "btf_trace_block_rq_issue",
                                         "btf_trace_sys_enter",       "btf_trace_tcp_probe",
                                         "btf_trace_signal_generate", "btf_trace_sched_process_exec"};

    for (u32 k = 0; k < TN_ARRAY_SIZE(functions); k++) {
        s32 id = btf__find_by_name_kind(w->host, functions[k], BTF_KIND_FUNC);
        const struct btf_type *t = id > 0 ? btf__type_by_id(w->host, (u32)id) : NULL;

        if (!t)
            continue;
        add_hook(w, BPF_TRACE_FENTRY, id, btf__type_by_id(w->host, t->type), 0);
        add_hook(w, BPF_TRACE_FEXIT, id, btf__type_by_id(w->host, t->type), 0);
    }
    for (u32 k = 0; k < TN_ARRAY_SIZE(points); k++) {
        s32 id = btf__find_by_name_kind(w->host, points[k], BTF_KIND_TYPEDEF);
        const struct btf_type *t = id > 0 ? btf__type_by_id(w->host, (u32)id) : NULL;

        t = t ? btf__type_by_id(w->host, t->type) : NULL;
        if (t && btf_is_ptr(t))
            add_hook(w, BPF_TRACE_RAW_TP, id, btf__type_by_id(w->host, t->type), 1);
    }
}

static void world_kfuncs(struct gen_kfuncs *k, const struct btf *host)
{

#define FIND(name)                                                                                           \
    ({                                                                                                       \
        s32 id_ = btf__find_by_name_kind(host, name, BTF_KIND_FUNC);                                         \
        id_ > 0 ? (u32)id_ : 0;                                                                              \
    })
    *k =
        (struct gen_kfuncs){FIND("bpf_iter_num_new"), FIND("bpf_iter_num_next"), FIND("bpf_iter_num_destroy"),
                            FIND("bpf_rcu_read_lock"), FIND("bpf_rcu_read_unlock")};
#undef FIND
}

int gen_world_open(struct gen_world *w, bool host)
{
    *w = (struct gen_world){0};
    memcpy(w->map, world_maps, sizeof(w->map));
    for (u32 k = 0; k < GEN_MAPS; k++) {
        w->map[k].btf = -1;
        if (k != GEN_NESTED)
            w->map[k].inner = -1;
    }
    for (u32 k = 0; k < sizeof(w->rodata); k++)
        w->rodata[k] = k % 8 ? 0 : (u8)(k * 5);
    if (host)
        w->host = btf__load_vmlinux_btf();
    if (w->host) {
        world_kfuncs(&w->kfuncs, w->host);
        world_hooks(w);
    }
    return world_types(w);
}

void gen_world_close(struct gen_world *w)
{
    btf__free(w->host);
    free(w->btf);
    *w = (struct gen_world){0};
}

/* ------------------------------------------------------------------------------------------- beliefs */

u64 gen_random(struct gen *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

u32 gen_pick(struct gen *g, u32 n)
{
    return n ? (u32)(gen_random(g) >> 20) % n : 0;
}

bool gen_one_in(struct gen *g, u32 n)
{
    return gen_pick(g, n) == 0;
}

bool gen_slip(struct gen *g)
{
    return g->slips && gen_one_in(g, 24);
}

void gen_put(struct gen *g, struct bpf_insn insn)
{
    if (g->f->n < TN_ARRAY_SIZE(g->f->insn))
        g->f->insn[g->f->n++] = insn;
}

u32 gen_here(const struct gen *g)
{
    return g->f->n;
}

void gen_land(struct gen *g, u32 at)
{
    if (at < g->f->n)
        g->f->insn[at].off = (s16)(g->f->n - at - 1);
}

static void join_value(struct gen_value *a, const struct gen_value *b)
{
    bool same = a->kind == b->kind && a->map == b->map && (a->kind != B_TYPED || a->room == b->room);

    if (same && a->kind == B_NUM) {
        a->max = TN_MAX(a->max, b->max);
    } else if (same) {
        a->lo = TN_MIN(a->lo, b->lo);
        a->hi = TN_MAX(a->hi, b->hi);
        a->room = TN_MIN(a->room, b->room);
    } else {
        *a = (struct gen_value){.pinned = a->pinned};
    }
}

void gen_join(struct gen_state *into, const struct gen_state *other)
{
    if (other->dead)
        return;
    if (into->dead) {
        *into = *other;
        return;
    }
    for (u32 r = 0; r < 10; r++)
        join_value(&into->reg[r], &other->reg[r]);
    for (u32 k = 0; k < GEN_SLOTS; k++)
        join_value(&into->slot[k], &other->slot[k]);
}

u8 gen_target(struct gen *g)
{
    for (u32 tries = 0; tries < 40; tries++) {
        u8 r = (u8)gen_pick(g, 10);

        if (!g->f->now.reg[r].pinned)
            return r;
    }
    return 0;
}

int gen_find(struct gen *g, u8 kind)
{
    u32 first = gen_pick(g, 11);

    for (u32 k = 0; k < 11; k++) {
        u32 r = (first + k) % 11;

        if (g->f->now.reg[r].kind == kind)
            return (int)r;
    }
    return -1;
}

void gen_number(struct gen *g, u8 reg, u64 max)
{
    g->f->now.reg[reg] = (struct gen_value){.kind = B_NUM, .max = max};
}

void gen_after_call(struct gen *g)
{
    for (u8 r = 1; r <= 5; r++)
        g->f->now.reg[r] = (struct gen_value){0};
    gen_number(g, 0, UINT64_MAX);
}

void gen_load_map(struct gen *g, u8 reg, u32 map)
{
    gen_put(g, (struct bpf_insn){.code = BPF_LD | BPF_IMM | BPF_DW,
                                 .dst_reg = reg,
                                 .src_reg = BPF_PSEUDO_MAP_FD,
                                 .imm = (s32)map});
    gen_put(g, (struct bpf_insn){0});
    g->f->now.reg[reg] = (struct gen_value){0};
}

/* ----------------------------------------------------------------------------------------- functions */

void gen_block(struct gen *g, u32 statements, u32 depth)
{
    for (u32 k = 0; k < statements && g->budget && !g->f->now.dead && g->f->n < 380; k++) {
        g->budget--;
        gen_statement(g, depth);
    }
}

/* Leaves with a number in r0. */
static void leave(struct gen *g)
{
    if (g->f->now.dead)
        return;
    if (g->f->now.reg[0].kind != B_NUM || g->f->callback || g->hook || g->type != BPF_PROG_TYPE_SOCKET_FILTER)
        if (!gen_slip(g))
            gen_put(g, (struct bpf_insn)MOV(R0, g->hook ? 0 : (s32)gen_pick(g, 2)));
    gen_put(g, (struct bpf_insn)EXIT);
}

int gen_function(struct gen *g, const struct gen_value *args, u32 nargs, bool global, bool callback)
{
    struct gen_func *f, *before = g->f;
    u32 number = g->nfuncs;

    if (number > GEN_MAX_SUBS || (before && before->level >= 3))
        return -1;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    g->func[g->nfuncs++] = f;
    f->level = before ? before->level + 1 : 0;
    f->global = global;
    f->callback = callback;
    f->now.reg[10] = (struct gen_value){.kind = B_STACK, .pinned = true};
    for (u32 k = 0; k < nargs; k++) {
        f->arg[k + 1] = args[k];
        f->now.reg[k + 1] = args[k];
        f->now.reg[k + 1].pinned = false;
    }
    g->f = f;
    if (!f->level) { /* the context is kept */
        gen_put(g, (struct bpf_insn)MOVX(R6, R1));
        f->now.reg[6] = f->now.reg[1];
        f->now.reg[6].pinned = true;
    }
    gen_block(g, f->level ? 3 + gen_pick(g, 8) : 6 + gen_pick(g, 26), 0);
    leave(g);
    g->f = before;
    return (int)number;
}

void gen_call_fix(struct gen *g, u32 sub, bool address)
{
    if (g->f->nfixes < TN_ARRAY_SIZE(g->f->fix))
        g->f->fix[g->f->nfixes++] = (struct gen_fix){g->f->n, sub, address};
}

/* All functions in a row, calls resolved. */
static void assemble(struct gen *g, struct gen_program *p)
{
    u32 start[GEN_MAX_SUBS + 1], n = 0;

    for (u32 k = 0; k < g->nfuncs; k++) {
        start[k] = n;
        p->funcs[k] = (struct bpf_func_info){.insn_off = n,
                                             .type_id = !k                   ? g->world->func_main
                                                        : g->func[k]->global ? g->world->func_global
                                                                             : g->world->func_static};
        for (u32 i = 0; i < g->func[k]->n && n < GEN_MAX_INSNS; i++)
            p->insns[n++] = g->func[k]->insn[i];
    }
    for (u32 k = 0; k < g->nfuncs; k++)
        for (u32 i = 0; i < g->func[k]->nfixes; i++) {
            const struct gen_fix *fix = &g->func[k]->fix[i];
            u32 at = start[k] + fix->at;

            if (at < n)
                p->insns[at].imm = (s32)(start[fix->sub] - at - 1);
        }
    p->rec.ninsns = n;
}

static const struct {
    u32 type, attach, weight;
} types[] = {
    {BPF_PROG_TYPE_KPROBE, 0, 4},     {BPF_PROG_TYPE_SOCKET_FILTER, 0, 3},
    {BPF_PROG_TYPE_SCHED_CLS, 0, 4},  {BPF_PROG_TYPE_XDP, 0, 4},
    {BPF_PROG_TYPE_TRACEPOINT, 0, 2}, {BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 2},
    {BPF_PROG_TYPE_PERF_EVENT, 0, 1}, {BPF_PROG_TYPE_SYSCALL, 0, 1},
    {BPF_PROG_TYPE_TRACING, 0, 4},
};

void gen_program(const struct gen_world *w, u64 seed, struct gen_program *p)
{
    struct gen g = {.world = w, .random = seed * 0x9e3779b97f4a7c15ull + 0xd1342543de82ef95ull};
    struct gen_value ctx = {.kind = B_CTX};
    u32 sum = 0, at;

    for (int k = 0; k < 5; k++)
        gen_random(&g);
    memset(p, 0, sizeof(*p));
    for (size_t k = 0; k < TN_ARRAY_SIZE(types); k++)
        sum += types[k].weight;
    at = gen_pick(&g, sum);
    for (size_t k = 0; k < TN_ARRAY_SIZE(types); k++) {
        if (at < types[k].weight) {
            g.type = types[k].type;
            g.attach_type = types[k].attach;
            break;
        }
        at -= types[k].weight;
    }
    if (g.type == BPF_PROG_TYPE_TRACING && w->nhooks) {
        g.hook = &w->hook[gen_pick(&g, w->nhooks)];
        g.attach_type = g.hook->attach;
    } else if (g.type == BPF_PROG_TYPE_TRACING) {
        g.type = BPF_PROG_TYPE_KPROBE;
    }
    g.slips = p->slips = gen_one_in(&g, 3);
    g.budget = 12 + gen_pick(&g, 60);
    gen_function(&g, &ctx, 1, false, false);

    p->program = (struct rec_program){
        .prog_type = g.type,
        .expected_attach_type = g.attach_type,
        .attach_btf_id = g.hook ? g.hook->btf_id : 0,
        .prog_flags = g.type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0,
        .nmaps = GEN_INNER,
        .func_info_rec_size = sizeof(struct bpf_func_info),
        .licence = "GPL",
    };
    assemble(&g, p);
    p->rec.corpus = "generated";
    p->rec.object = p->rec.name = p->rec.messages = p->rec.log = "";
    p->rec.program = &p->program;
    p->rec.verdict = &p->verdict;
    p->rec.insns = p->insns;
    p->rec.btf[0] = (struct rec_bytes){w->btf, w->btf_size};
    p->rec.nbtfs = 1;
    p->rec.func_info = (struct rec_bytes){(const u8 *)p->funcs, g.nfuncs * (u32)sizeof(p->funcs[0])};
    p->rec.nmaps = GEN_MAPS;
    for (u32 k = 0; k < GEN_MAPS; k++)
        p->rec.map[k] = &w->map[k];
    p->rec.contents[GEN_RODATA] = (struct rec_bytes){w->rodata, sizeof(w->rodata)};
    for (u32 k = 0; k < g.nfuncs; k++)
        free(g.func[k]);
}
