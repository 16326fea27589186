/* SPDX-License-Identifier: MIT */
/* Plays calls, by the rows of models.h. */
#include "tests/verify/models.h"

#include "btf/btf.h"
#include "tests/verify/machine.h"

static const struct model models[] = {
#define M(name, result, a1, a2, a3, a4, a5, besides)                                                         \
    {TN_PROTO_##name, RESULT_##result, {ACT_##a1, ACT_##a2, ACT_##a3, ACT_##a4, ACT_##a5}, THEN_##besides},
    MODELS(M)
#undef M
};
static const struct {
    u32 id;
    const char *why;
} missing[] = {
#define N(name, why) {TN_PROTO_##name, why},
    NOT_MODELLED(N)
#undef N
};

static u32 nargs_of(const struct model *row)
{
    u32 n = 0;

    while (n < 5 && row->act[n] != ACT__)
        n++;
    return n;
}

const struct model *model_of(unsigned id, unsigned nargs)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(models); k++)
        if (models[k].id == id && nargs_of(&models[k]) == nargs)
            return &models[k];
    return NULL;
}

const char *model_missing(unsigned id)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(missing); k++)
        if (missing[k].id == id)
            return missing[k].why;
    return NULL;
}

/* One call of a helper, as its row is gone through. */
struct call {
    const struct model *row;
    u64 arg[5];
    u64 map; /* token */
    const struct tn_verify_map *geo;
    u64 size; /* the last SIZE */
    u64 key;
    struct named *dyn;
    u64 result;
};

/* ---------------------------------------------------------------------------------------------- arguments */

/* Reads do nothing but to be allowed; of what is written, all bytes change, or none. */
static const char *use(struct machine *m, u64 addr, u64 size, bool read, bool write)
{
    const char *wrong =
        size ? machine_touch(m, addr, size, (read ? TOUCH_READ : 0) | (write ? TOUCH_WRITE : 0)) : NULL;

    for (u64 b = 0; b < size && write && !wrong; b++)
        *(u8 *)(addr + b) = (u8)machine_number(m);
    return wrong;
}

static struct object *socket_at(struct machine *m, u64 addr)
{
    struct object *o = machine_object(m, addr, 0);

    return o && o->kind == TN_REG_SOCKET && o->start == addr ? o : NULL;
}

static const char *lock(struct machine *m, u64 addr)
{
    const struct object *o = machine_object(m, addr, 4);

    if (!o || !o->hidden || addr != o->start)
        return "there is no lock";
    if (m->lock)
        return "a second lock is taken";
    m->lock = addr;
    return NULL;
}

static const char *unlock(struct machine *m, u64 addr)
{
    if (!m->lock || m->lock != addr)
        return "a lock is released that is not held";
    m->lock = 0;
    return NULL;
}

static const char *string(struct machine *m, u64 addr)
{
    for (;; addr++) {
        struct object *o = machine_object(m, addr, 1);

        if (!o || o->kind != TN_REG_MAP_VALUE || !m->in->maps[o->index].frozen)
            return "a string without an end, or one that may change";
        if (!*(const u8 *)addr)
            return NULL;
    }
}

static const char *give_back(struct machine *m, struct object *o, u64 addr)
{
    if (!o || !o->held || o->start != addr)
        return "what is given back is not held";
    o->there = o->held = false;
    m->nheld--;
    return NULL;
}

static const char *argument(struct machine *m, struct call *c, u32 a)
{
    u64 x = c->arg[a], next = a < 4 ? c->arg[a + 1] : 0;
    enum model_act act = (enum model_act)c->row->act[a];
    const char *wrong;

    switch (act) {
    case ACT__:
    case ACT_ANY:
        return NULL;
    case ACT_FUNC:
        return x - FUNC_TOKEN < m->verdict->nsubprogs ? NULL : "argument is not a function";
    case ACT_CTX_IF:
        if (!x)
            return NULL;
        /* fallthrough */
    case ACT_CTX:
        return x == m->object[m->ctx].start ? NULL : "argument is not the context";
    case ACT_MAP:
        c->map = x;
        c->geo = machine_map(m, x);
        return c->geo ? NULL : "argument is not a map";
    case ACT_KEY:
        wrong = use(m, x, c->geo->geo.key_size, true, false);
        if (!wrong)
            memcpy(&c->key, (void *)x, TN_MIN(c->geo->geo.key_size, 8u));
        return wrong;
    case ACT_VALUE_IF:
        if (!x)
            return NULL;
        /* fallthrough */
    case ACT_VALUE:
        return use(m, x, c->geo->geo.value_size, true, false);
    case ACT_FILL_VALUE:
        return use(m, x, c->geo->geo.value_size, false, true);
    case ACT_READ_IF:
    case ACT_FILL_IF:
        if (!x)
            return NULL;
        /* fallthrough */
    case ACT_READ:
    case ACT_FILL:
    case ACT_BOTH:
        return use(m, x, next, act == ACT_READ || act == ACT_READ_IF || act == ACT_BOTH,
                   act != ACT_READ && act != ACT_READ_IF);
    case ACT_SIZE:
        c->size = x;
        return NULL;
    case ACT_BOTH4:
        return use(m, x, 4, true, true);
    case ACT_FILL8:
        return use(m, x, 8, false, true);
    case ACT_READ20:
        return use(m, x, 20, true, false);
    case ACT_READ40:
        return use(m, x, 40, true, false);
    case ACT_RECORD_BACK:
        return give_back(m, machine_object(m, x, 0), x);
    case ACT_SOCK_BACK:
        return give_back(m, socket_at(m, x), x);
    case ACT_SOCK:
        return socket_at(m, x) ? NULL : "argument is not a socket";
    case ACT_LOCK:
        return lock(m, x);
    case ACT_UNLOCK:
        return unlock(m, x);
    case ACT_STRING:
        return string(m, x);
    case ACT_DYNPTR:
        return machine_named(m, x, 16, NAME_DYNPTR, &c->dyn);
    case ACT_DYNPTR_NEW:
        return machine_name(m, x, 16, NAME_DYNPTR, &c->dyn);
    case ACT_DYNPTR_BACK:
        wrong = machine_named(m, x, 16, NAME_DYNPTR, &c->dyn);
        if (wrong)
            return wrong;
        if (!c->dyn->held && !c->dyn->group)
            return "a dynptr is given back that is not held";
        machine_end_group(m, c->dyn->group);
        machine_unname(m, x, 16);
        return NULL;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ results */

static u64 error(struct machine *m)
{
    static const s64 some[] = {-1, -2, -7, -12, -14, -17, -22, -28, -4095};

    return (u64)some[machine_rnd(m) % TN_ARRAY_SIZE(some)];
}

static bool luck(struct machine *m)
{
    return machine_rnd(m) & 3;
}

static u64 find(struct machine *m, const struct call *c)
{
    u32 type = c->geo->geo.type;
    bool index =
        type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_ARRAY_OF_MAPS;
    u64 key = index ? (u32)c->key : machine_rnd(m) % 5;

    if (m->in->maps[MAP_OF(c->map)].inner && !INNER_OF(c->map))
        return luck(m) && key < c->geo->geo.max_entries
                   ? TOKEN(MAP_OF(c->map), 1 + machine_rnd(m) % MAX_INNER)
                   : 0;
    if (!index && !luck(m))
        return 0;
    return key < TN_MIN(c->geo->geo.max_entries, MAX_ENTRIES) ? machine_value(m, c->map, key) : 0;
}

static struct object *reserve(struct machine *m, u64 size)
{
    if (size > OBJECT_MAX || !luck(m))
        return NULL;
    for (u32 k = m->records; k < m->elements; k++) {
        struct object *o = &m->object[k];

        if (o->there)
            continue;
        o->there = o->held = true;
        m->nheld++;
        o->size = size;
        o->index = (u32)size;
        for (u64 b = 0; b < size; b++)
            ((u8 *)o->start)[b] = (u8)machine_rnd(m);
        return o;
    }
    return NULL;
}

static u64 find_socket(struct machine *m)
{
    for (u32 k = m->sockets + 1; luck(m) && k < m->sockets + MAX_SOCKETS; k++) {
        struct object *o = &m->object[k];

        if (o->there)
            continue;
        o->there = o->held = true;
        m->nheld++;
        return o->start;
    }
    return 0;
}

/* Of a dynptr: where its bytes are now. */
static u64 dyn_start(const struct machine *m, const struct named *n)
{
    return n->packet ? machine_packet_data(m) : n->start;
}
static u64 dyn_size(const struct machine *m, const struct named *n)
{
    return n->null ? 0 : n->packet ? machine_packet_end(m) - machine_packet_data(m) : n->size;
}

static u64 slice(struct machine *m, const struct named *n, u64 off, u64 size)
{
    if (n->null || off > dyn_size(m, n) || size > dyn_size(m, n) - off)
        return 0;
    return machine_slice(m, dyn_start(m, n) + off, size, n->packet ? 0 : n->group);
}

static u64 result(struct machine *m, struct call *c)
{
    struct object *o;

    switch ((enum model_result)c->row->result) {
    case RESULT_U64:
        return machine_number(m);
    case RESULT_U32:
        return (u32)machine_number(m);
    case RESULT_STATUS:
        return luck(m) ? 0 : error(m);
    case RESULT_COUNT:
        return luck(m) ? machine_number(m) & 0x7fffffff : error(m);
    case RESULT_LENGTH:
        return luck(m) ? c->size - (machine_rnd(m) & 1 ? 0 : machine_rnd(m) % (c->size + 1)) : error(m);
    case RESULT_CPU:
        return m->in->ncpu ? machine_rnd(m) % m->in->ncpu : machine_rnd(m) & 7;
    case RESULT_FOUND:
        return find(m, c);
    case RESULT_RECORD:
        o = reserve(m, c->arg[1]);
        return o ? o->start : 0;
    case RESULT_SOCKET:
        return find_socket(m);
    case RESULT_SEEN:
        return luck(m) ? c->arg[0] : 0;
    case RESULT_SLICE:
        return c->dyn->packet ? 0 : slice(m, c->dyn, c->arg[1], c->arg[2]);
    case RESULT_VOID:
    case RESULT_ROUNDS:
        break;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------ besides */

static void give(struct frame *cb, const u64 *arg, u32 n)
{
    memcpy(&cb->reg[1], arg, n * sizeof(arg[0]));
    cb->written |= (u16)(((1u << n) - 1) << 1);
}

/* Where a copy of key `n` lies, for the frame that was just entered. */
static u64 key_of(struct machine *m, const struct call *c, u64 n)
{
    struct object *key = &m->object[m->keys + m->nframes - 1];

    key->there = true;
    key->size = c->geo->geo.key_size;
    key->index = MAP_OF(c->map);
    memset((void *)key->start, 0, key->size);
    memcpy((void *)key->start, &n, TN_MIN(key->size, 8u));
    return key->start;
}

/* A dynptr of the caller's: some bytes that user space wrote. */
static u32 sample_of(struct machine *m)
{
    m->named[m->nnamed] = (struct named){.kind = NAME_DYNPTR,
                                         .live = true,
                                         .start = m->object[m->sample].start,
                                         .size = machine_rnd(m) % 65,
                                         .group = m->ngroups++};
    return m->nnamed++;
}

/* The function is entered, or the rounds are over and *ret_over. Each round comes back to the call. */
static const char *call_back(struct machine *m, struct call *c, bool *ret_over)
{
    struct frame *f = machine_top(m), *cb;
    u64 func = c->arg[1], n;

    *ret_over = false;
    if (!f->rounds.on) {
        f->rounds.on = true;
        f->rounds.done = f->rounds.answer = 0;
        f->rounds.dyn = MAX_NAMED;
        if (c->row->besides == THEN_LOOP)
            f->rounds.left = (u32)c->arg[0] > 1u << 23 ? 0 : (u32)c->arg[0];
        else if (c->row->besides == THEN_EACH)
            f->rounds.left =
                c->arg[3] ? 0 : machine_rnd(m) % (TN_MIN(c->geo->geo.max_entries, MAX_ENTRIES) + 1);
        else
            f->rounds.left = machine_rnd(m) % 4;
    } else {
        f->rounds.left = f->rounds.answer ? 0 : f->rounds.left - 1;
        f->rounds.done++;
        if (f->rounds.dyn < MAX_NAMED)
            m->named[f->rounds.dyn].live = false;
    }
    n = f->rounds.done;
    if (!f->rounds.left) {
        f->rounds.on = false;
        *ret_over = true;
        return NULL;
    }
    if (m->nframes == TN_MAX_FRAMES)
        return "too many frames";
    machine_push_frame(m, (u32)(func - FUNC_TOKEN), m->pc);
    cb = machine_top(m);
    cb->callback = true;
    if (c->row->besides == THEN_LOOP)
        give(cb, (u64[]){n, c->arg[2]}, 2);
    else if (c->row->besides == THEN_EACH)
        give(cb, (u64[]){c->map, key_of(m, c, n), machine_value(m, c->map, n), c->arg[2]}, 4);
    else if (m->nnamed < MAX_NAMED)
        give(cb, (u64[]){DYN_TOKEN + (f->rounds.dyn = sample_of(m)), c->arg[2]}, 2);
    else
        m->steps = MAX_STEPS; /* the run is over; nothing is wrong */
    for (u32 r = 0; r < 10; r++)
        if (!(cb->written >> r & 1))
            cb->reg[r] = machine_rnd(m);
    m->pc = m->verdict->subprogs[cb->sub].start;
    return NULL;
}

static void make_dynptr(struct machine *m, struct call *c)
{
    struct named *d = c->dyn;
    struct object *o;

    d->group = m->ngroups++;
    if (c->row->besides == THEN_DYNPTR_OF_MEM) {
        d->start = c->arg[0];
        d->size = c->arg[1];
        d->null = c->arg[2] || d->size > 0xffffff;
        return;
    }
    d->held = true;
    m->nheld++;
    o = c->arg[2] ? NULL : reserve(m, (u32)c->arg[1]);
    d->null = !o;
    if (!o)
        return;
    o->held = false; /* the dynptr is */
    m->nheld--;
    d->start = o->start;
    d->size = o->size;
    d->object = (u32)(o - m->object);
}

static u32 built_flags(u32 id)
{
    static const struct {
        u32 id, flags;
    } built[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags) {id, (u32)(flags)},
        TN_HELPERS(H)
#undef H
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(built); k++)
        if (built[k].id == id)
            return built[k].flags;
    return 0;
}

static const char *check_facts(struct machine *m, const struct tn_proto *proto)
{
    const struct tn_facts *facts = &m->verdict->facts;
    u32 flags = built_flags(proto->id);

    if (!(facts->helpers[proto->id / 64] >> (proto->id % 64) & 1))
        return "facts.helpers lacks a helper";
    if (((flags & TN_HF_SYSCALL) && !facts->syscalls) || ((flags & TN_HF_PERCPU) && !facts->percpu) ||
        ((flags & TN_HF_READS_PROCESS) && !facts->may_fault))
        return "facts lack what a helper needs";
    return NULL;
}

static const char *check_notes(struct machine *m, const struct call *c)
{
    const struct tn_insn_aux *aux = &m->verdict->aux[m->pc];
    u32 type;

    if (!c->geo)
        return NULL;
    type = c->geo->geo.type;
    if (c->row->act[0] == ACT_MAP && aux->const_map >= 0 && TOKEN((u32)aux->const_map, 0) != c->map)
        return "const_map is wrong";
    if ((type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH) && !m->verdict->facts.percpu)
        return "facts.percpu is wrong";
    if (c->row->id == TN_PROTO_map_lookup_elem && aux->const_key >= 0 &&
        (c->geo->geo.key_size != 4 || (u64)(u32)aux->const_key != (u32)c->key))
        return "const_key is wrong";
    return NULL;
}

static void forget_arguments(struct machine *m, u64 r0, bool has_result)
{
    struct frame *f = machine_top(m);

    for (u32 a = 1; a <= 5; a++)
        f->reg[a] = machine_rnd(m);
    f->reg[0] = r0;
    f->written = (u16)((f->written & ~0x3fu) | has_result);
    machine_learn(m, r0);
    m->pc++;
}

const char *model_helper(struct machine *m, const struct bpf_insn *i)
{
    const struct tn_proto *proto = tn_proto_for((u32)i->imm, m->in->prog_type, m->in->expected_attach_type);
    struct frame *f = machine_top(m);
    struct call c = {.row = proto ? model_of(proto->id, tn_proto_nargs(proto)) : NULL};
    bool over = true, again = f->rounds.on;
    const char *wrong;

    if (!c.row)
        return "a helper without a model is called";
    if (m->lock && c.row->act[0] != ACT_UNLOCK)
        return "a helper is called under a lock";
    m->helpers[proto->id / 64] |= 1ull << (proto->id % 64);
    memcpy(c.arg, &f->reg[1], sizeof(c.arg));
    wrong = check_facts(m, proto);
    for (u32 a = 0; a < 5 && !wrong && c.row->act[a] != ACT__; a++)
        wrong = f->written >> (a + 1) & 1 ? argument(m, &c, a) : "argument never written";
    if (!wrong)
        wrong = check_notes(m, &c);
    if (wrong)
        return wrong;
    c.result = result(m, &c);
    switch ((enum model_besides)c.row->besides) {
    case THEN_NOTHING:
        break;
    case THEN_MOVES:
        machine_move_packet(m);
        break;
    case THEN_LOOP:
    case THEN_EACH:
    case THEN_DRAIN:
        wrong = call_back(m, &c, &over);
        if (wrong || !over)
            return wrong;
        c.result = again ? machine_top(m)->rounds.done : luck(m) ? 0 : error(m);
        break;
    case THEN_TAIL_CALL:
        m->done = machine_rnd(m) & 1;
        break;
    case THEN_DYNPTR_OF_MEM:
    case THEN_DYNPTR_OF_RING:
        make_dynptr(m, &c);
        c.result = c.dyn->null ? error(m) : 0;
        break;
    }
    forget_arguments(m, c.result, c.row->result != RESULT_VOID);
    return NULL;
}

/* ---------------------------------------------------------------------------------- functions of the host */

enum kfunc {
#define F(name) KF_##name,
    MODEL_KFUNCS(F)
#undef F
        KF_COUNT
};

static enum kfunc kfunc_of(const char *name)
{
    static const char *const names[] = {
#define F(name) #name,
        MODEL_KFUNCS(F)
#undef F
    };

    for (u32 k = 0; k < KF_COUNT; k++)
        if (!strcmp(names[k], name))
            return (enum kfunc)k;
    return KF_COUNT;
}

static const char *iter_new(struct machine *m, const u64 *arg, u64 *ret)
{
    struct named *n;
    const char *wrong = machine_name(m, arg[0], 8, NAME_ITER, &n);
    s32 start = (s32)arg[1], end = (s32)arg[2];

    if (wrong)
        return wrong;
    n->held = true;
    m->nheld++;
    *ret = 0;
    for (u32 k = m->elements; k < m->keys && !n->object; k++) {
        if (!m->object[k].there) {
            m->object[k].there = true;
            n->object = k;
        }
    }
    if (!n->object) {
        m->steps = MAX_STEPS;
        return "";
    }
    if (start > end || (s64)end - start > 1 << 23)
        *ret = error(m);
    else
        n->at = start, n->end = end;
    return NULL;
}

static const char *iter_next(struct machine *m, const u64 *arg, u64 *ret)
{
    struct named *n;
    const char *wrong = machine_named(m, arg[0], 8, NAME_ITER, &n);

    if (wrong)
        return wrong;
    *ret = 0;
    if (n->at >= n->end) {
        n->at = n->end = 0;
        return NULL;
    }
    memcpy((void *)m->object[n->object].start, &n->at, 4);
    n->at++;
    *ret = m->object[n->object].start;
    return NULL;
}

static const char *iter_destroy(struct machine *m, const u64 *arg)
{
    struct named *n;
    const char *wrong = machine_named(m, arg[0], 8, NAME_ITER, &n);

    if (wrong)
        return wrong;
    n->live = n->held = false;
    m->nheld--;
    m->object[n->object].there = false;
    machine_unname(m, arg[0], 8);
    return NULL;
}

static const char *irq_save(struct machine *m, u64 addr)
{
    struct named *n;
    const char *wrong = machine_name(m, addr, 8, NAME_FLAG, &n);

    if (!wrong)
        m->irq[m->nirq++] = (u32)(n - m->named);
    return wrong;
}

static const char *irq_restore(struct machine *m, u64 addr)
{
    struct named *n;
    const char *wrong = machine_named(m, addr, 8, NAME_FLAG, &n);

    if (wrong)
        return wrong;
    if (!m->nirq || m->irq[m->nirq - 1] != (u32)(n - m->named))
        return "interrupts are restored out of order";
    m->nirq--;
    n->live = false;
    machine_unname(m, addr, 8);
    return NULL;
}

static const char *res_lock(struct machine *m, u64 addr, u64 *ret)
{
    const struct object *o = machine_object(m, addr, 4);
    bool held = false;

    if (!o || !o->hidden || addr != o->start)
        return "there is no lock";
    for (u32 k = 0; k < m->nres; k++)
        held |= m->res_lock[k] == addr;
    *ret = held || m->nres == MAX_RES_LOCKS || !luck(m) ? (u64)-35 : 0;
    if (!*ret)
        m->res_lock[m->nres++] = addr;
    return NULL;
}

static const char *res_unlock(struct machine *m, u64 addr)
{
    if (!m->nres || m->res_lock[m->nres - 1] != addr)
        return "a lock is released that is not the last one taken";
    m->nres--;
    return NULL;
}

static const char *dynptr_made(struct machine *m, u64 addr, struct named like)
{
    struct named *n;
    const char *wrong = machine_name(m, addr, 16, NAME_DYNPTR, &n);

    if (!wrong)
        *n = like;
    return wrong;
}

static const char *dynptr_call(struct machine *m, enum kfunc func, const u64 *arg, u64 *ret)
{
    bool made = func == KF_bpf_dynptr_from_skb || func == KF_bpf_dynptr_from_xdp;
    struct named *n = NULL;
    const char *wrong = made ? NULL : machine_named(m, arg[0], 16, NAME_DYNPTR, &n);
    u64 size = n ? dyn_size(m, n) : 0;

    if (wrong)
        return wrong;
    switch (func) {
    case KF_bpf_dynptr_size:
        *ret = n->null ? error(m) : size;
        return NULL;
    case KF_bpf_dynptr_is_null:
        *ret = n->null;
        return NULL;
    case KF_bpf_dynptr_adjust: /* of a packet's, the rest counts from its start */
        *ret = error(m);
        if (!n->packet && (u32)arg[1] <= (u32)arg[2] && (u32)arg[2] <= size) {
            n->start += (u32)arg[1];
            n->size = (u32)arg[2] - (u32)arg[1];
            *ret = 0;
        }
        return NULL;
    case KF_bpf_dynptr_clone: {
        struct named like = *n;

        like.held = false; /* the first one counts */
        like.object = 0;
        *ret = 0;
        return dynptr_made(m, arg[1], like);
    }
    case KF_bpf_dynptr_slice:
    case KF_bpf_dynptr_slice_rdwr: /* packets are in one piece here: the buffer is not used */
        wrong = arg[2] ? use(m, arg[2], arg[3], false, true) : NULL;
        *ret = wrong ? 0 : slice(m, n, (u32)arg[1], arg[3]);
        return wrong;
    default:
        if (arg[0] != m->object[m->ctx].start)
            return "argument is not the context";
        *ret = arg[1] ? error(m) : 0;
        return dynptr_made(m, arg[2],
                           (struct named){.kind = NAME_DYNPTR, .live = true, .packet = true, .null = arg[1]});
    }
}

const char *model_kfunc(struct machine *m, const struct bpf_insn *i)
{
    enum kfunc func = kfunc_of(tn_btf_name(m->in->host_btf, (u32)i->imm));
    const struct btf_type *t = tn_btf_type(m->in->host_btf, (u32)i->imm);
    const struct btf_type *proto = t ? tn_btf_type(m->in->host_btf, t->type) : NULL;
    struct frame *f = machine_top(m);
    const char *wrong = NULL;
    u64 ret = 0, arg[5];

    if (func == KF_COUNT || !proto)
        return "a function of the host without a model is called";
    if (!m->verdict->facts.calls_host)
        return "facts.calls_host is wrong";
    if (m->lock)
        return "a function of the host is called under a lock";
    for (u32 a = 1; a <= tn_btf_vlen(proto); a++)
        if (!(f->written >> a & 1))
            return "argument never written";
    memcpy(arg, &f->reg[1], sizeof(arg));
    switch (func) {
    case KF_bpf_iter_num_new:
        wrong = iter_new(m, arg, &ret);
        break;
    case KF_bpf_iter_num_next:
        wrong = iter_next(m, arg, &ret);
        break;
    case KF_bpf_iter_num_destroy:
        wrong = iter_destroy(m, arg);
        break;
    case KF_bpf_rcu_read_lock:
        m->rcu++;
        break;
    case KF_bpf_rcu_read_unlock:
        wrong = m->rcu-- ? NULL : "a section is left that was not entered";
        break;
    case KF_bpf_preempt_disable:
        m->preempt++;
        break;
    case KF_bpf_preempt_enable:
        wrong = m->preempt-- ? NULL : "preemption is enabled once too often";
        break;
    case KF_bpf_local_irq_save:
        wrong = irq_save(m, arg[0]);
        break;
    case KF_bpf_local_irq_restore:
        wrong = irq_restore(m, arg[0]);
        break;
    case KF_bpf_res_spin_lock:
        wrong = res_lock(m, arg[0], &ret);
        break;
    case KF_bpf_res_spin_unlock:
        wrong = res_unlock(m, arg[0]);
        break;
    default:
        wrong = dynptr_call(m, func, arg, &ret);
        break;
    }
    if (!wrong)
        forget_arguments(m, ret, tn_btf_resolve(m->in->host_btf, proto->type) != 0);
    return wrong;
}
