/* SPDX-License-Identifier: MIT */
/* States: copying, growing, comparing. The comparison rule is told in state.h. */
#include "verify/state.h"

#include <errno.h>
#include <stdio.h>

static const char *const kind_names[] = {
#define K(kind, text, obj) [TN_REG_##kind] = text,
    TN_REG_KINDS(K)
#undef K
};
static const char *const flag_names[] = {
#define F(flag, text) text,
    TN_REG_FLAGS(F)
#undef F
};

const char *tn_reg_name(const struct tn_reg *reg, char buf[TN_REG_NAME_LEN])
{
    size_t len = 0;

    buf[0] = 0;
    for (u32 bit = 0; bit < TN_ARRAY_SIZE(flag_names) && len < TN_REG_NAME_LEN; bit++)
        if (bit != TN_REG_BIT_MAYBE_NULL && reg->flags >> bit & 1)
            len += (size_t)snprintf(buf + len, TN_REG_NAME_LEN - len, "%s", flag_names[bit]);
    if (len < TN_REG_NAME_LEN)
        snprintf(buf + len, TN_REG_NAME_LEN - len, "%s%s", kind_names[reg->kind],
                 tn_reg_maybe_null(reg) ? flag_names[TN_REG_BIT_MAYBE_NULL] : "");
    return buf;
}

struct tn_reg tn_reg_scalar(struct tn_range r)
{
    return (struct tn_reg){.kind = TN_REG_SCALAR, .r = r};
}

struct tn_reg tn_reg_pointer(enum tn_reg_kind kind, u32 obj)
{
    return (struct tn_reg){.kind = (u8)kind, .obj = obj, .r = tn_range_const(0)};
}

static void frame_free(struct tn_frame *f)
{
    if (f)
        free(f->slot);
    free(f);
}

void tn_state_clear(struct tn_state *s)
{
    for (u32 i = 0; i < s->nframes; i++)
        frame_free(s->frame[i]);
    *s = (struct tn_state){0};
}

int tn_state_copy(struct tn_state *ret, const struct tn_state *s)
{
    struct tn_state copy = *s;

    copy.nframes = 0;
    for (u32 i = 0; i < s->nframes; i++) {
        const struct tn_frame *from = s->frame[i];
        struct tn_frame *to = malloc(sizeof(*to));

        if (!to)
            goto fail;
        *to = *from;
        to->slot = NULL;
        to->cap = from->nslots;
        copy.frame[copy.nframes++] = to;
        if (from->nslots) {
            to->slot = malloc(from->nslots * sizeof(*to->slot));
            if (!to->slot)
                goto fail;
            memcpy(to->slot, from->slot, from->nslots * sizeof(*to->slot));
        }
    }
    *ret = copy;
    return 0;
fail:
    tn_state_clear(&copy);
    return -ENOMEM;
}

int tn_state_push_frame(struct tn_state *s, u32 subprog, u32 callsite)
{
    struct tn_frame *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->subprog = subprog;
    f->callsite = callsite;
    f->reg[10] = tn_reg_pointer(TN_REG_STACK, 0);
    f->reg[10].frame = (u8)s->nframes;
    s->frame[s->nframes++] = f;
    return 0;
}

void tn_state_pop_frame(struct tn_state *s)
{
    frame_free(s->frame[--s->nframes]);
    s->frame[s->nframes] = NULL;
}

int tn_frame_grow(struct tn_frame *f, u32 nslots)
{
    struct tn_stack_slot *slot;
    u32 cap;

    if (nslots <= f->nslots)
        return 0;
    if (nslots > f->cap) {
        cap = TN_MIN(TN_MAX(nslots, f->cap * 2), (u32)TN_STACK_SLOTS);
        slot = realloc(f->slot, cap * sizeof(*slot));
        if (!slot)
            return -ENOMEM;
        f->slot = slot;
        f->cap = cap;
    }
    memset(f->slot + f->nslots, 0, (nslots - f->nslots) * sizeof(*f->slot));
    f->nslots = nslots;
    return 0;
}

void tn_state_each_reg(struct tn_state *s, void (*fn)(struct tn_reg *reg, void *arg), void *arg)
{
    for (u32 i = 0; i < s->nframes; i++) {
        struct tn_frame *f = s->frame[i];

        for (u32 r = 0; r < TN_NREGS; r++)
            fn(&f->reg[r], arg);
        for (u32 k = 0; k < f->nslots; k++)
            if (f->slot[k].size)
                fn(&f->slot[k].reg, arg);
    }
}

/* ------------------------------------------------------------------------------------------------ comparison
 */

/* Ids of old ↔ ids of cur, one to one. Small: ids are few, since lonely ones are never compared. */
#define MAX_IDS 128u
struct id_map {
    u32 n;
    struct {
        u32 old, cur;
    } pair[MAX_IDS];
};

static bool ids_match(struct id_map *map, u32 old, u32 cur)
{
    if (!old && !cur)
        return true;
    if (!old || !cur)
        return false;
    for (u32 i = 0; i < map->n; i++) {
        if (map->pair[i].old == old || map->pair[i].cur == cur)
            return map->pair[i].old == old && map->pair[i].cur == cur;
    }
    if (map->n == MAX_IDS)
        return false;
    map->pair[map->n].old = old;
    map->pair[map->n++].cur = cur;
    return true;
}

/* A number linked in old must be linked to the same others in cur: a later branch on one was seen to bound
   the other. A link that only cur has is knowledge old did without. One old id may not stand for two cur ids.
 */
static bool links_match(struct id_map *map, u32 old, u32 cur)
{
    if (!old)
        return true;
    for (u32 i = 0; i < map->n; i++)
        if (map->pair[i].old == old)
            return cur && map->pair[i].cur == cur;
    if (map->n == MAX_IDS)
        return false;
    map->pair[map->n].old = old;
    map->pair[map->n++].cur = cur;
    return true;
}

struct id_maps {
    struct id_map link, object;
};

static bool reg_covers(const struct tn_reg *old, const struct tn_reg *cur, bool demand, struct id_maps *maps)
{
    if (old->kind == TN_REG_NONE)
        return true;
    if (old->kind != cur->kind)
        return false;
    if (old->kind == TN_REG_SCALAR)
        return !demand || (tn_range_includes(&old->r, &cur->r) && links_match(&maps->link, old->id, cur->id));
    return old->frame == cur->frame && old->flags == cur->flags && old->host == cur->host &&
           old->obj == cur->obj && old->dynptr == cur->dynptr && tn_range_includes(&old->r, &cur->r) &&
           ids_match(&maps->object, old->uid, cur->uid) && ids_match(&maps->object, old->id, cur->id) &&
           ids_match(&maps->object, old->ref, cur->ref);
}

/* The byte holds data of any kind but a pointer. */
static bool byte_is_data(const struct tn_stack_slot *slot, u32 byte)
{
    return slot->byte[byte] == TN_BYTE_MISC || slot->byte[byte] == TN_BYTE_ZERO ||
           (slot->byte[byte] == TN_BYTE_SPILL && slot->reg.kind == TN_REG_SCALAR);
}

static bool byte_is_zero(const struct tn_stack_slot *slot, u32 byte)
{
    return slot->byte[byte] == TN_BYTE_ZERO ||
           (slot->byte[byte] == TN_BYTE_SPILL && slot->reg.kind == TN_REG_SCALAR && slot->reg.r.umin == 0 &&
            slot->reg.r.umax == 0);
}

/* Dynptrs, iterators, saved flags: the same ones, whole. How often an iterator went round does not matter. */
static bool object_covers(const struct tn_stack_slot *old, const struct tn_stack_slot *cur,
                          struct id_maps *maps)
{
    return !memcmp(old->byte, cur->byte, sizeof(old->byte)) &&
           !memcmp(old->tag, cur->tag, sizeof(old->tag)) && old->reg.obj == cur->reg.obj &&
           old->reg.flags == cur->reg.flags && old->reg.dynptr == cur->reg.dynptr &&
           ids_match(&maps->object, old->reg.id, cur->reg.id) &&
           ids_match(&maps->object, old->reg.ref, cur->reg.ref);
}

static bool slot_covers(const struct tn_stack_slot *old, const struct tn_stack_slot *cur, bool demand,
                        struct id_maps *maps)
{
    bool as_data = !old->size || (!demand && old->reg.kind == TN_REG_SCALAR);

    if (!old->size && (old->byte[0] >= TN_BYTE_DYNPTR || old->byte[7] >= TN_BYTE_DYNPTR))
        return object_covers(old, cur, maps);
    if (old->size && !as_data) {
        if (old->lo != cur->lo || old->size != cur->size || !reg_covers(&old->reg, &cur->reg, demand, maps))
            return false;
    }
    for (u32 b = 0; b < 8; b++) {
        switch (old->byte[b]) {
        case TN_BYTE_INVALID:
            break;
        case TN_BYTE_MISC:
            if (!byte_is_data(cur, b))
                return false;
            break;
        case TN_BYTE_ZERO:
            if (demand ? !byte_is_zero(cur, b) : !byte_is_data(cur, b))
                return false;
            break;
        default:
            if (as_data && !byte_is_data(cur, b))
                return false;
            break;
        }
    }
    return true;
}

bool tn_state_covers(const struct tn_state *old, const struct tn_state *cur, const struct tn_need *need)
{
    static const struct tn_stack_slot empty;
    struct id_maps maps;

    maps.link.n = maps.object.n = 0;
    if (old->nframes != cur->nframes || old->nrefs != cur->nrefs)
        return false;
    for (u32 i = 0; i < old->nframes; i++) {
        const struct tn_frame *a = old->frame[i], *b = cur->frame[i];

        if (a->subprog != b->subprog || (i && a->callsite != b->callsite))
            return false;
        for (u32 r = 0; r < 10; r++)
            if ((need[i].live & (1u << r)) &&
                !reg_covers(&a->reg[r], &b->reg[r], need[i].demand & (1u << r), &maps))
                return false;
        for (u32 k = 0; k < a->nslots; k++)
            if (!slot_covers(&a->slot[k], k < b->nslots ? &b->slot[k] : &empty, need[i].slots >> k & 1,
                             &maps))
                return false;
    }
    for (u32 i = 0; i < old->nrefs; i++)
        if (old->ref[i].kind != cur->ref[i].kind || old->ref[i].of != cur->ref[i].of ||
            !ids_match(&maps.object, old->ref[i].id, cur->ref[i].id))
            return false;
    return old->rcu == cur->rcu && old->preempt == cur->preempt && old->sleepable == cur->sleepable &&
           ids_match(&maps.object, old->irq_id, cur->irq_id);
}
