/* SPDX-License-Identifier: MIT */
/* Objects, memory and what is held; see machine.h. */
#include "tests/verify/machine.h"

#include "btf/btf.h"

/* ------------------------------------------------------------------------------------------------ numbers */

u64 machine_rnd(struct machine *m)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return m->seed * 0x2545f4914f6cdd1dull >> 8;
}

u64 machine_number(struct machine *m)
{
    const struct bpf_insn *i = &m->in->insns[machine_rnd(m) % m->in->ninsns];

    switch (machine_rnd(m) & 7) {
    case 0:
        return machine_rnd(m) & 0x7f;
    case 1:
        return (u64)(s64)((s32)(machine_rnd(m) & 0xff) - 128);
    case 2:
        return machine_rnd(m) >> (machine_rnd(m) % 56);
    case 3:
        return machine_rnd(m) << 32 ^ machine_rnd(m);
    case 4: /* ends of ranges */
        return (1ull << (machine_rnd(m) & 63)) - (machine_rnd(m) & 1);
    default: /* at, beside, or in the upper half beside a number of the program */
        return (u64)(s64)i->imm + machine_rnd(m) % 3 - 1 + (machine_rnd(m) & 7 ? 0 : machine_rnd(m) << 32);
    }
}

void machine_learn(struct machine *m, u64 x)
{
    m->course = (m->course ^ x) * 0x9e3779b97f4a7c15ull;
    m->course ^= m->course >> 29;
}

/* ------------------------------------------------------------------------------------------------ objects */

static u32 add_object(struct machine *m, struct object o)
{
    if (m->nobjects == MAX_OBJECTS || o.size > OBJECT_MAX)
        abort();
    o.start = (u64)m->arena + (u64)m->nobjects * CELL + IN_CELL + o.start;
    m->object[m->nobjects] = o;
    return m->nobjects++;
}

static void scramble(struct machine *m, const struct object *o)
{
    for (u64 b = 0; b < o->size; b += 8) {
        u64 x = machine_number(m);

        memcpy((u8 *)o->start + b, &x, TN_MIN(8u, o->size - b));
    }
}

static bool has_lock(const struct tn_verify_map *map)
{
    const struct btf_type *t = map->btf ? tn_btf_type(map->btf, map->btf_value_type_id) : NULL;
    const char *name = t && tn_btf_kind(t) == BTF_KIND_STRUCT && tn_btf_vlen(t)
                           ? tn_btf_name(map->btf, tn_btf_members(t)[0].type)
                           : "";

    return !strcmp(name, "bpf_spin_lock") || !strcmp(name, "bpf_res_spin_lock");
}

static void add_values(struct machine *m, const struct tn_verify_map *map, u32 index, u8 inner)
{
    bool used = index >= 64 || m->verdict->facts.maps_used >> index & 1;

    if (!map->geo.value_size || map->inner)
        return;
    for (u32 e = 0; e < TN_MIN(map->geo.max_entries, MAX_ENTRIES); e++) {
        u32 o = add_object(m, (struct object){.size = map->geo.value_size,
                                              .kind = TN_REG_MAP_VALUE,
                                              .inner = inner,
                                              .there = true,
                                              .read = !map->wronly_prog,
                                              .write = !map->rdonly_prog,
                                              .index = index,
                                              .hidden = has_lock(map) ? 4 : 0});

        if (map->frozen)
            memcpy((void *)m->object[o].start, map->frozen, m->object[o].size);
        else if (used)
            scramble(m, &m->object[o]);
    }
}

static u32 packet_length(struct machine *m)
{
    static const u8 some[] = {0, 1, 8, 13, 14, 15, 20, 33, 34, 42, 54, 64, 66, 100};

    return machine_rnd(m) & 1 ? some[machine_rnd(m) % sizeof(some)] : (u32)(machine_number(m) % 128);
}

static void fill_packet(struct machine *m, struct object *o)
{
    u32 cell = (u32)(o - m->object);

    o->meta = machine_rnd(m) & 1 ? 4 * (u32)(machine_rnd(m) % 9) : 0;
    o->start = (u64)m->arena + (u64)cell * CELL + IN_CELL + (machine_rnd(m) & 7);
    o->size = o->meta + packet_length(m);
    scramble(m, o);
}

u64 machine_packet_data(const struct machine *m)
{
    return m->object[m->now].start + m->object[m->now].meta;
}

u64 machine_packet_end(const struct machine *m)
{
    return m->object[m->now].start + m->object[m->now].size;
}

void machine_move_packet(struct machine *m)
{
    m->object[m->now].there = false;
    m->now = m->packet + (m->now == m->packet);
    m->object[m->now].there = true;
    fill_packet(m, &m->object[m->now]);
    machine_end_group(m, 0);
}

/* Two structs of the host (world.h): outer, whose pointers lead to inner, to nothing, or astray. */
static void add_host(struct machine *m)
{
    const struct tn_btf *b = m->in->host_btf;
    u32 outer = tn_btf_find(b, BTF_KIND_STRUCT, "outer"), inner = tn_btf_find(b, BTF_KIND_STRUCT, "inner");
    u32 o, i;

    if (!outer || !inner)
        return;
    o = add_object(m, (struct object){.size = (u64)tn_btf_size(b, outer),
                                      .kind = TN_REG_BTF,
                                      .there = true,
                                      .read = true,
                                      .index = outer});
    i = add_object(m, (struct object){.size = (u64)tn_btf_size(b, inner),
                                      .kind = TN_REG_BTF,
                                      .there = true,
                                      .read = true,
                                      .index = inner});
    scramble(m, &m->object[o]);
    scramble(m, &m->object[i]);
    for (u64 off = 16; off <= 32; off += 8) { /* p, q, u */
        u64 where = machine_rnd(m) & 3;
        u64 x = where == 0 ? 0 : where == 1 && off != 24 ? machine_number(m) : m->object[i].start;

        memcpy((u8 *)m->object[o].start + off, &x, 8);
    }
    memcpy((u8 *)m->object[m->ctx].start, &m->object[o].start, 8);
}

void machine_start(struct machine *m, const struct tn_verify_in *in, const struct tn_verdict *verdict,
                   u64 seed)
{
    bool tc = in->prog_type == BPF_PROG_TYPE_SCHED_CLS, xdp = in->prog_type == BPF_PROG_TYPE_XDP;

    memset(m, 0, offsetof(struct machine, frame));
    memset(&m->lock, 0, offsetof(struct machine, helpers) - offsetof(struct machine, lock));
    m->in = in;
    m->verdict = verdict;
    m->seed = seed | 1;
    m->ngroups = 1; /* 0: the packet's */
    m->ctx = add_object(m, (struct object){.size = 512,
                                           .kind = TN_REG_CTX,
                                           .there = true,
                                           .read = true,
                                           .write = tc || in->prog_type == BPF_PROG_TYPE_SOCKET_FILTER});
    scramble(m, &m->object[m->ctx]);
    m->packet = m->now = m->nobjects;
    for (u32 k = 0; k < 2; k++)
        add_object(m, (struct object){.kind = TN_REG_PACKET, .there = !k, .read = true, .write = tc || xdp});
    fill_packet(m, &m->object[m->packet]);
    m->values = m->nobjects;
    for (u32 k = 0; k < in->nmaps && k < MAX_MAPS; k++) {
        add_values(m, &in->maps[k], k, 0);
        for (u8 i = 1; in->maps[k].inner && i <= MAX_INNER; i++)
            add_values(m, in->maps[k].inner, k, i);
    }
    m->records = m->nobjects;
    for (u32 k = 0; k < MAX_RECORDS; k++)
        add_object(m, (struct object){.kind = TN_REG_MEM, .read = true, .write = true});
    m->elements = m->nobjects;
    for (u32 k = 0; k < MAX_RECORDS; k++)
        add_object(m,
                   (struct object){.size = 4, .kind = TN_REG_MEM, .read = true, .write = true, .index = 4});
    m->keys = m->nobjects;
    for (u32 k = 0; k < TN_MAX_FRAMES; k++)
        add_object(m, (struct object){.kind = TN_REG_MAP_KEY, .read = true});
    m->sample = add_object(
        m, (struct object){
               .size = 64, .kind = TN_REG_MEM, .there = true, .read = true, .write = true, .index = 64});
    m->sockets = m->nobjects;
    for (u32 k = 0; k < MAX_SOCKETS; k++) {
        u32 o = add_object(m, (struct object){.size = 128, .kind = TN_REG_SOCKET, .there = !k, .read = true});

        scramble(m, &m->object[o]);
    }
    if (in->host_btf && in->prog_type == BPF_PROG_TYPE_TRACING)
        add_host(m);
    if (tc || in->prog_type == BPF_PROG_TYPE_SOCKET_FILTER) {
        u64 sk = machine_rnd(m) & 1 ? m->object[m->sockets].start : 0;

        memcpy((u8 *)m->object[m->ctx].start + 168, &sk, 8);
    }
    m->frames = m->nobjects;
    for (u32 k = 0; k < TN_MAX_FRAMES; k++)
        add_object(
            m, (struct object){
                   .size = TN_STACK_BYTES, .kind = TN_REG_STACK, .read = true, .write = true, .index = k});
}

const struct tn_verify_map *machine_map(const struct machine *m, u64 token)
{
    u32 map = MAP_OF(token), inner = INNER_OF(token);

    if (map >= m->in->nmaps || token - MAP_TOKEN > 0xffffffffu || inner > MAX_INNER)
        return NULL;
    return inner ? m->in->maps[map].inner : &m->in->maps[map];
}

u64 machine_value(const struct machine *m, u64 token, u64 entry)
{
    for (u32 o = m->values; o < m->records; o++)
        if (m->object[o].index == MAP_OF(token) && m->object[o].inner == INNER_OF(token) && !entry--)
            return m->object[o].start;
    return 0;
}

void machine_push_frame(struct machine *m, u32 sub, u32 back)
{
    struct frame *f = &m->frame[m->nframes];
    struct object *stack = &m->object[m->frames + m->nframes];

    *f = (struct frame){.sub = sub, .back = back};
    stack->there = true;
    memset((void *)stack->start, (int)machine_rnd(m), stack->size);
    f->reg[10] = stack->start + stack->size;
    for (u64 left = m->verdict->subprogs[sub].zero; left; left &= left - 1) {
        u32 slot = (u32)__builtin_ctzll(left);

        memset((u8 *)f->reg[10] - 8 * (slot + 1), 0, 8);
        memset(&f->state[TN_STACK_BYTES - 8 * (slot + 1)], DATA, 8);
    }
    f->written = 1u << 10;
    m->nframes++;
}

/* ------------------------------------------------------------------------------------------------ memory */

struct object *machine_object(struct machine *m, u64 addr, u64 size)
{
    u64 k = (addr - (u64)m->arena) / CELL, off;
    struct object *o = &m->object[k < MAX_OBJECTS ? k : 0];

    if (k >= m->nobjects || !o->there || addr < o->start)
        return NULL;
    off = addr - o->start;
    return off <= o->size && size <= o->size - off ? o : NULL;
}

static bool mem_kind_is_right(u8 told, const struct object *o)
{
    switch ((enum tn_mem_kind)told) {
    case TN_MEM_CTX:
        return o->kind == TN_REG_CTX;
    case TN_MEM_STACK:
        return o->kind == TN_REG_STACK;
    case TN_MEM_MAP_VALUE:
        return o->kind == TN_REG_MAP_VALUE;
    case TN_MEM_RINGBUF:
        return o->kind == TN_REG_MEM;
    case TN_MEM_PLAIN:
    case TN_MEM_PROBE:
        return true;
    case TN_MEM_ARENA:
    case TN_MEM_PROMISED: /* only buffers of a host's hook, which no program here is at */
        break;
    }
    return false;
}

static const char *touch_context(struct machine *m, u64 off, u64 size, unsigned how)
{
    const struct tn_facts *facts = &m->verdict->facts;

    for (u64 w = off / 8; w < (off + size + 7) / 8; w++) {
        if (w >= 256 || facts->ctx_escapes)
            break;
        if (how & TOUCH_READ && !(facts->ctx_read[w / 64] >> (w % 64) & 1))
            return "ctx_read lacks a word";
        if (how & TOUCH_WRITE && !(facts->ctx_written[w / 64] >> (w % 64) & 1))
            return "ctx_written lacks a word";
    }
    return !facts->ctx_escapes && off + size > facts->ctx_end ? "ctx_end is too small" : NULL;
}

static const char *touch_stack(struct machine *m, const struct object *o, u64 off, u64 size, unsigned how)
{
    struct frame *f = &m->frame[o->index];

    if (size && TN_STACK_BYTES - off > m->verdict->subprogs[f->sub].stack)
        return "below what the frame was given";
    for (u64 b = off; b < off + size; b++) {
        u64 slot = (TN_STACK_BYTES - 1 - b) / 8;

        if (how & TOUCH_READ && slot < 16 && f->suspect >> slot & 1)
            return "a stack slot is read that no abstract state contains";
        if (how & TOUCH_READ && f->state[b] == NEVER)
            return "stack byte never written is read";
        if (how & TOUCH_READ && f->state[b] == OBJECT)
            return "bytes of an object on the stack are read";
        if (how & TOUCH_WRITE)
            f->state[b] = DATA;
        if (how & TOUCH_WRITE && b % 8 == 0 && b + 8 <= off + size && slot < 16)
            f->suspect &= (u16) ~(1u << slot); /* all of it is new */
    }
    return NULL;
}

const char *machine_touch(struct machine *m, u64 addr, u64 size, unsigned how)
{
    const struct object *o = machine_object(m, addr, size);
    u64 off;

    if (!o)
        return "access outside";
    off = addr - o->start;
    if ((how & TOUCH_READ && !o->read) || (how & TOUCH_WRITE && !o->write))
        return "access of the wrong kind";
    if (size && off < o->hidden)
        return "access to a lock";
    if (how & TOUCH_INSN && !mem_kind_is_right(m->verdict->aux[m->pc].mem_kind, o))
        return "mem_kind is wrong";
    if (o->kind == TN_REG_CTX)
        return touch_context(m, off, size, how);
    if (o->kind == TN_REG_MAP_VALUE && o->index < 64 && !(m->verdict->facts.maps_used >> o->index & 1))
        return "maps_used lacks a map";
    return o->kind == TN_REG_STACK ? touch_stack(m, o, off, size, how) : NULL;
}

/* ------------------------------------------------------------------------------------------------ names */

static u8 *state_of(struct machine *m, u64 addr, u32 bytes)
{
    const struct object *o = machine_object(m, addr, bytes);

    return o && o->kind == TN_REG_STACK ? &m->frame[o->index].state[addr - o->start] : NULL;
}

const char *machine_name(struct machine *m, u64 addr, u32 bytes, enum name_kind kind, struct named **ret)
{
    const char *wrong = machine_touch(m, addr, bytes, TOUCH_WRITE);
    u8 *state = state_of(m, addr, bytes);

    if (wrong || !state)
        return wrong ? wrong : "an object that does not lie on the stack";
    if (m->nnamed == MAX_NAMED) { /* the run is over; nothing is wrong */
        m->steps = MAX_STEPS;
        return "";
    }
    for (u32 b = 0; b < bytes; b += 8) {
        u64 word = NAME_TOKEN + m->nnamed + ((u64)b << 16);

        memcpy((u8 *)addr + b, &word, 8);
    }
    memset(state, OBJECT, bytes);
    *ret = &m->named[m->nnamed++];
    **ret = (struct named){.kind = (u8)kind, .live = true};
    return NULL;
}

const char *machine_named(struct machine *m, u64 addr, u32 bytes, enum name_kind kind, struct named **ret)
{
    const u8 *state = state_of(m, addr, bytes);
    u64 word = 0;

    if (kind == NAME_DYNPTR && addr - DYN_TOKEN < MAX_NAMED) {
        *ret = &m->named[addr - DYN_TOKEN];
        return (*ret)->live ? NULL : "a dynptr of the caller's that is over";
    }
    if (!state)
        return "an object that does not lie on the stack";
    for (u32 b = 0; b < bytes; b += 8) {
        memcpy(&word, (u8 *)addr + b, 8);
        word -= (u64)b << 16;
        if (word - NAME_TOKEN >= m->nnamed || state[b] != OBJECT || m->named[word - NAME_TOKEN].kind != kind)
            return "what should be an object on the stack is none";
    }
    *ret = &m->named[word - NAME_TOKEN];
    return (*ret)->live ? NULL : "an object on the stack is used after its end";
}

void machine_unname(struct machine *m, u64 addr, u32 bytes)
{
    u8 *state = state_of(m, addr, bytes);

    if (state)
        memset(state, DATA, bytes);
}

void machine_end_group(struct machine *m, u32 group)
{
    for (u32 k = 0; k < m->nparts; k++)
        if (m->part[k].group == group)
            m->part[k].there = false;
    for (u32 k = 0; group && k < m->nnamed; k++) {
        struct named *n = &m->named[k];

        if (n->kind != NAME_DYNPTR || n->group != group || !n->live)
            continue;
        m->nheld -= n->held;
        n->live = n->held = false;
        if (n->object)
            m->object[n->object].there = false;
    }
}

u64 machine_slice(struct machine *m, u64 start, u64 size, u32 group)
{
    if (m->nparts == MAX_PARTS)
        return 0;
    m->part[m->nparts++] = (struct part){start, size, group, true};
    return start;
}
