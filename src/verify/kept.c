/* SPDX-License-Identifier: MIT */
// clang-format off
/*
 * States at rest, and the comparison of one with the present state, whose rule is told in state.h.
 *
 *   state   its head │ refs │ frame …
 *   frame   what is asked of it at once, and where its parts lie │ 11 registers │ slots
 *   register   a byte: form, and which of the words before the range are not zero │ those words │ range
 *   slot       a byte: what follows │ kinds of bytes (1 or 8) │ place and register │ object
 *              of a constant of eight bytes nothing but its value
 *
 * A comparison goes to the registers and slots that it asks for, and reads no others.
 */
// clang-format on
#include <errno.h>

#include "verify/step.h"

#define META_WORDS (offsetof(struct tn_reg, r) / 8)
_Static_assert(offsetof(struct tn_reg, r) % 8 == 0 && META_WORDS <= 5, "a bit a word, beside the form");
_Static_assert(offsetof(struct tn_reg, r) + sizeof(struct tn_range) == sizeof(struct tn_reg),
               "nothing behind");

enum { FORM_ANY, FORM_CONST, FORM_RANGE, FORM_MASK = 7, FORM_BITS = 3 };
enum { SLOT_UNIFORM = 1, SLOT_REG = 2, SLOT_OBJECT = 4, SLOT_KIND_SHIFT = 4 };

#define FRAME_HEAD_AT  offsetof(struct tn_frame, callsite)
#define FRAME_HEAD     (offsetof(struct tn_frame, nslots) - FRAME_HEAD_AT)
#define STATE_HEAD     offsetof(struct tn_state, pool)
#define PARTS          (TN_NREGS + TN_STACK_SLOTS)
#define PACKED_REG_MAX (1 + sizeof(struct tn_reg))
#define PACKED_FRAME_MAX                                                                                     \
    (sizeof(struct packed_frame) + PARTS * sizeof(u16) + TN_NREGS * PACKED_REG_MAX +                         \
     TN_STACK_SLOTS * (sizeof(struct tn_stack_slot) + PACKED_REG_MAX))
#define SCRATCH_BYTES (STATE_HEAD + TN_MAX_REFS * sizeof(struct tn_ref) + TN_MAX_FRAMES * PACKED_FRAME_MAX)

struct packed_frame {
    u8 head[FRAME_HEAD];
    u64 objects,
        plain; /* slots, a bit each: part of an object; a constant of eight bytes, linked to nothing */
    u16 there, numbers; /* registers that are kept, a bit each; of these, those that are numbers */
    u16 nslots, size;   /* of all that belongs to the frame, in bytes */
    /* then u16 at[TN_NREGS + nslots]: where registers and slots lie, from the frame's start */
};
_Static_assert(PACKED_FRAME_MAX <= UINT16_MAX, "at[] reaches");

/* Where the last comparison failed: the next one is likely to fail there, too. A constant that stood there is
   at hand here: what else is kept need not be touched. */
struct hint {
    u32 at; /* the frame's offset in data; 0: none */
    u8 frame, part;
    bool constant;
    u64 value;
};

struct tn_kept {
    u32 size;
    bool crowded; /* compared as a whole, it has more ids than are followed: it covers nothing */
    struct hint hint;
    u8 data[];
};

static u8 *put(u8 *at, const void *from, size_t size)
{
    memcpy(at, from, size);
    return at + size;
}

static const u8 *get(const u8 *at, void *to, size_t size)
{
    memcpy(to, at, size);
    return at + size;
}

/* As tn_range_const and tn_range_any make them. */
static bool range_is_plain_const(const struct tn_range *r)
{
    u64 x = r->umin;

    return r->umax == x && r->var.value == x && !r->var.mask && r->smin == (s64)x && r->smax == (s64)x &&
           r->u32min == (u32)x && r->u32max == (u32)x && r->s32min == (s32)x && r->s32max == (s32)x;
}

static bool range_is_any(const struct tn_range *r)
{
    return r->var.mask == ~0ull && !r->umin && r->umax == ~0ull && r->smin == INT64_MIN &&
           r->smax == INT64_MAX && !r->u32min && r->u32max == ~0u && r->s32min == INT32_MIN &&
           r->s32max == INT32_MAX;
}

static u8 *put_reg(u8 *at, const struct tn_reg *reg)
{
    u64 meta[META_WORDS];
    u8 *head = at++, form = FORM_RANGE;

    memcpy(meta, reg, sizeof(meta));
    if (range_is_plain_const(&reg->r))
        form = FORM_CONST;
    else if (range_is_any(&reg->r))
        form = FORM_ANY;
    *head = form;
    for (u32 w = 0; w < META_WORDS; w++) {
        if (meta[w]) {
            *head |= (u8)(1u << (FORM_BITS + w));
            at = put(at, &meta[w], 8);
        }
    }
    if (form == FORM_CONST)
        at = put(at, &reg->r.umin, 8);
    else if (form == FORM_RANGE)
        at = put(at, &reg->r, sizeof(reg->r));
    return at;
}

/* All of a register but its range, which follows. */
static const u8 *get_meta(const u8 *at, u8 head, struct tn_reg *reg)
{
    u64 meta[META_WORDS] = {0};

    for (u32 w = 0; w < META_WORDS; w++)
        if (head >> (FORM_BITS + w) & 1)
            at = get(at, &meta[w], 8);
    memcpy(reg, meta, sizeof(meta));
    return at;
}

static const u8 *get_reg(const u8 *at, struct tn_reg *reg)
{
    u8 head = *at++;
    u64 value;

    at = get_meta(at, head, reg);
    switch (head & FORM_MASK) {
    case FORM_ANY:
        reg->r = tn_range_any();
        return at;
    case FORM_CONST:
        at = get(at, &value, 8);
        reg->r = tn_reg_const(value).r;
        return at;
    default:
        return get(at, &reg->r, sizeof(reg->r));
    }
}

static bool slot_uniform(const struct tn_stack_slot *s)
{
    static const u64 ones = 0x0101010101010101ull;
    u64 bytes;

    memcpy(&bytes, s->byte, 8);
    return bytes == ones * s->byte[0];
}

/* Objects have what they are in a register of no kind. */
static bool reg_blank(const struct tn_reg *reg)
{
    static const u64 nothing[META_WORDS];

    return !memcmp(reg, nothing, sizeof(nothing));
}

_Static_assert(TN_BYTE_IRQ_FLAG < 16, "fits above SLOT_KIND_SHIFT");

static u8 *put_slot(u8 *at, const struct tn_stack_slot *s)
{
    bool reg = s->size || !reg_blank(&s->reg), object = s->tag[0] || s->tag[1] || s->depth;
    u8 *head = at++;

    *head = (u8)((reg ? SLOT_REG : 0) | (object ? SLOT_OBJECT : 0));
    if (slot_uniform(s))
        *head |= (u8)(SLOT_UNIFORM | s->byte[0] << SLOT_KIND_SHIFT);
    else
        at = put(at, s->byte, 8);
    if (reg) {
        *at++ = s->lo;
        *at++ = s->size;
        at = put_reg(at, &s->reg);
    }
    if (object) {
        at = put(at, s->tag, sizeof(s->tag));
        at = put(at, &s->depth, sizeof(s->depth));
    }
    return at;
}

/* A constant that is linked to nothing, at rest, before its value: what most registers and slots are. Of a
   slot that is one of eight bytes (struct packed_frame, plain) the value alone is kept. */
static const u8 plain_reg[] = {FORM_CONST | 1 << FORM_BITS, TN_REG_SCALAR, 0, 0, 0, 0, 0, 0, 0};
_Static_assert(offsetof(struct tn_reg, kind) == 0, "the first byte of its first word");

static bool slot_plain(const struct tn_stack_slot *s)
{
    static const u64 number[META_WORDS] = {TN_REG_SCALAR};

    return s->size == 8 && !s->tag[0] && !s->tag[1] && !s->depth && range_is_plain_const(&s->reg.r) &&
           !memcmp(&s->reg, number, sizeof(number));
}

static u8 *put_plain(u8 *at, const struct tn_stack_slot *s)
{
    return put(at, &s->reg.r.umin, 8);
}

static const u8 *get_plain(const u8 *at, struct tn_stack_slot *s)
{
    u64 value;

    at = get(at, &value, 8);
    memset(s->byte, TN_BYTE_SPILL, 8);
    s->lo = 0;
    s->size = 8;
    s->tag[0] = s->tag[1] = 0;
    s->depth = 0;
    s->reg = tn_reg_const(value);
    return at;
}

static const u8 *get_slot(const u8 *at, struct tn_stack_slot *s)
{
    u8 head = *at++;

    s->lo = s->size = 0;
    if (head & SLOT_UNIFORM)
        memset(s->byte, head >> SLOT_KIND_SHIFT, 8);
    else
        at = get(at, s->byte, 8);
    if (head & SLOT_REG) {
        s->lo = *at++;
        s->size = *at++;
        at = get_reg(at, &s->reg);
    } else {
        s->reg = (struct tn_reg){0};
    }
    s->tag[0] = s->tag[1] = 0;
    s->depth = 0;
    if (head & SLOT_OBJECT) {
        at = get(at, s->tag, sizeof(s->tag));
        at = get(at, &s->depth, sizeof(s->depth));
    }
    return at;
}

_Static_assert(TN_BYTE_SPILL == 3 && TN_BYTE_DYNPTR == 4 && TN_BYTE_IRQ_FLAG < 8, "one bit tells objects");

static bool slot_is_object(const struct tn_stack_slot *slot)
{
    u64 bytes;

    memcpy(&bytes, slot->byte, 8);
    return bytes & 0x0404040404040404ull;
}

static u64 objects_of(const struct tn_frame *f)
{
    u64 objects = 0;

    for (u32 k = 0; k < f->nslots; k++)
        objects |= (u64)slot_is_object(&f->slot[k]) << k;
    return objects;
}

static u8 *put_frame(u8 *start, const struct tn_frame *f, u16 live)
{
    struct packed_frame p = {.objects = objects_of(f), .nslots = (u16)f->nslots};
    u16 where[PARTS];
    u8 *at = start + sizeof(p) + (TN_NREGS + f->nslots) * sizeof(where[0]);

    memcpy(p.head, (const u8 *)f + FRAME_HEAD_AT, FRAME_HEAD);
    for (u32 r = 0; r < TN_NREGS; r++) {
        where[r] = (u16)(at - start);
        if (f->reg[r].kind == TN_REG_NONE || !(live >> r & 1 || r == 10))
            continue;
        p.there |= (u16)(1u << r);
        p.numbers |= (u16)((f->reg[r].kind == TN_REG_SCALAR) << r);
        at = put_reg(at, &f->reg[r]);
    }
    for (u32 k = 0; k < f->nslots; k++) {
        bool plain = slot_plain(&f->slot[k]);

        where[TN_NREGS + k] = (u16)(at - start);
        p.plain |= (u64)plain << k;
        at = plain ? put_plain(at, &f->slot[k]) : put_slot(at, &f->slot[k]);
    }
    p.size = (u16)(at - start);
    put(put(start, &p, sizeof(p)), where, (TN_NREGS + f->nslots) * sizeof(where[0]));
    return at;
}

static const u8 *part_at(const u8 *frame, u32 part)
{
    u16 where;

    memcpy(&where, frame + sizeof(struct packed_frame) + part * sizeof(where), sizeof(where));
    return frame + where;
}

/* False: no memory. */
static bool get_frame(const u8 *start, struct tn_frame *f)
{
    struct packed_frame p;
    const u8 *at = get(start, &p, sizeof(p)) + (TN_NREGS + p.nslots) * sizeof(u16);

    memcpy((u8 *)f + FRAME_HEAD_AT, p.head, FRAME_HEAD);
    for (u32 r = 0; r < TN_NREGS; r++) {
        if (p.there >> r & 1)
            at = get_reg(at, &f->reg[r]);
        else
            f->reg[r] = (struct tn_reg){0};
    }
    if (tn_frame_room(f, p.nslots))
        return false;
    for (u32 k = 0; k < p.nslots; k++)
        at = p.plain >> k & 1 ? get_plain(at, &f->slot[k]) : get_slot(at, &f->slot[k]);
    return true;
}

static u32 frame_size(const u8 *start)
{
    struct packed_frame p;

    get(start, &p, sizeof(p));
    return p.size;
}

struct tn_kept *tn_state_keep(const struct tn_state *s, const u16 live[TN_MAX_FRAMES])
{
    struct tn_kept *kept;
    u8 *start = s->pool->scratch, *at;

    if (!start)
        start = s->pool->scratch = malloc(SCRATCH_BYTES);
    if (!start)
        return NULL;
    at = put(start, s, STATE_HEAD);
    at = put(at, s->ref, s->nrefs * sizeof(s->ref[0]));
    for (u32 i = 0; i < s->nframes; i++)
        at = put_frame(at, s->frame[i], live[i]);
    kept = malloc(sizeof(*kept) + (size_t)(at - start));
    if (!kept)
        return NULL;
    kept->size = (u32)(at - start);
    kept->crowded = false;
    kept->hint = (struct hint){0};
    memcpy(kept->data, start, kept->size);
    return kept;
}

u32 tn_kept_size(const struct tn_kept *kept)
{
    return (u32)sizeof(*kept) + kept->size;
}

int tn_kept_revive(const struct tn_kept *kept, struct tn_pool *pool, struct tn_state *ret)
{
    struct tn_state s;
    const u8 *at = get(kept->data, &s, STATE_HEAD);
    u32 nframes = s.nframes;

    s.pool = pool;
    at = get(at, s.ref, s.nrefs * sizeof(s.ref[0]));
    for (s.nframes = 0; s.nframes < nframes;) {
        struct tn_frame *f = tn_frame_new(pool);

        if (!f)
            goto fail;
        s.frame[s.nframes++] = f;
        if (!get_frame(at, f))
            goto fail;
        at += frame_size(at);
    }
    memcpy(ret, &s, offsetof(struct tn_state, ref) + s.nrefs * sizeof(s.ref[0]));
    return 0;
fail:
    tn_state_clear(&s);
    return -ENOMEM;
}

/* ------------------------------------------------------------------------------------------- comparison */

/* Ids of old ↔ ids of cur. Small: lonely ids of numbers are never compared. A few are looked for one by one,
   more of them by hash. */
#define MAX_IDS    128u
#define NEAR_IDS   8u
#define ID_BUCKETS 256u
struct id_map {
    u32 n;
    bool full; /* there was one more */
    struct {
        u32 old, cur;
        s32 delta; /* of cur, less that of old */
    } pair[MAX_IDS];
    u8 bucket[ID_BUCKETS]; /* 1 + index of a pair, by its old id; 0: free. Valid when n > NEAR_IDS */
};
_Static_assert(MAX_IDS < UINT8_MAX && MAX_IDS < ID_BUCKETS, "an index fits, and there is a free bucket");

/* The bucket of old, or the free one where it belongs. */
static u8 *id_bucket(struct id_map *map, u32 old)
{
    u32 at = (old * 0x9e3779b1u) >> 24; /* multiplicative hashing, Knuth, TAOCP 3, 6.4 */

    while (map->bucket[at] && map->pair[map->bucket[at] - 1].old != old)
        at = (at + 1) % ID_BUCKETS;
    return &map->bucket[at];
}

/* Index of the pair with this old id; n: there is none. */
static u32 id_find(struct id_map *map, u32 old)
{
    if (map->n > NEAR_IDS) {
        u8 at = *id_bucket(map, old);

        return at ? at - 1u : map->n;
    }
    for (u32 i = 0; i < map->n; i++)
        if (map->pair[i].old == old)
            return i;
    return map->n;
}

static bool id_add(struct id_map *map, u32 old, u32 cur, s32 delta)
{
    u32 from = map->n;

    if (map->n == MAX_IDS) {
        map->full = true;
        return false;
    }
    map->pair[map->n].old = old;
    map->pair[map->n].cur = cur;
    map->pair[map->n++].delta = delta;
    if (map->n == NEAR_IDS + 1) {
        memset(map->bucket, 0, sizeof(map->bucket));
        from = 0;
    }
    for (u32 i = from; map->n > NEAR_IDS && i < map->n; i++)
        *id_bucket(map, map->pair[i].old) = (u8)(i + 1);
    return true;
}

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
    return id_add(map, old, cur, 0);
}

/* A number linked in old must be linked to the same others in cur, at the same distance: a later branch on
   one was seen to bound the other. A link that only cur has is knowledge old did without. One old id may not
   stand for two cur ids. */
static bool links_match(struct id_map *map, const struct tn_reg *old, const struct tn_reg *cur)
{
    s32 delta = (s32)((u32)cur->delta - (u32)old->delta);
    u32 i;

    if (!old->id)
        return true;
    i = id_find(map, old->id);
    if (i < map->n)
        return cur->id && map->pair[i].cur == cur->id && map->pair[i].delta == delta;
    return id_add(map, old->id, cur->id, delta);
}

struct id_maps {
    struct id_map link, object;
};

/* All but the offset. */
static bool pointer_meta_covers(const struct tn_reg *old, const struct tn_reg *cur, struct id_maps *maps)
{
    bool packet = old->kind == TN_REG_PACKET || old->kind == TN_REG_PACKET_META;
    /* More bytes proved do as well, from the same base. */
    bool more = packet && old->obj <= cur->obj && cur->obj < TN_PKT_AT_END;

    return old->kind == cur->kind && old->frame == cur->frame && old->flags == cur->flags &&
           old->host == cur->host && (old->obj == cur->obj || more) &&
           (!packet || old->delta == cur->delta) && old->dynptr == cur->dynptr &&
           (old->host ? old->uid == cur->uid : ids_match(&maps->object, old->uid, cur->uid)) &&
           ids_match(&maps->object, old->id, cur->id) && ids_match(&maps->object, old->ref, cur->ref);
}

static bool pointer_covers(const struct tn_reg *old, const struct tn_reg *cur, struct id_maps *maps)
{
    return tn_range_includes(&old->r, &cur->r) && tn_step_covers(old, cur) &&
           pointer_meta_covers(old, cur, maps);
}

static bool reg_covers(const struct tn_reg *old, const struct tn_reg *cur, bool demand, struct id_maps *maps)
{
    if (old->kind == TN_REG_NONE)
        return true;
    if (old->kind != cur->kind)
        return false;
    if (old->kind == TN_REG_SCALAR)
        return !demand || (tn_range_includes(&old->r, &cur->r) && tn_step_covers(old, cur) &&
                           links_match(&maps->link, old, cur));
    return pointer_covers(old, cur, maps);
}

static bool packed_range_includes(const u8 *at, u8 head, const struct tn_range *cur)
{
    struct tn_range old;
    u64 value;

    switch (head & FORM_MASK) {
    case FORM_ANY:
        return true;
    case FORM_CONST:
        get(at, &value, 8);
        return cur->umin == value && cur->umax == value;
    default:
        get(at, &old, sizeof(old));
        return tn_range_includes(&old, cur);
    }
}

/* reg_covers, of one at rest. */
static bool packed_reg_covers(const u8 *at, const struct tn_reg *cur, bool demand, struct id_maps *maps)
{
    u8 head = *at;
    struct tn_reg old;

    if (!memcmp(at, plain_reg, sizeof(plain_reg))) /* most by far */
        return cur->kind == TN_REG_SCALAR &&
               (!demand || packed_range_includes(at + sizeof(plain_reg), head, &cur->r));
    at++;
    at = get_meta(at, head, &old);
    if (old.kind == TN_REG_NONE)
        return true;
    if (old.kind != cur->kind)
        return false;
    if (old.kind == TN_REG_SCALAR && !demand)
        return true;
    return packed_range_includes(at, head, &cur->r) && tn_step_covers(&old, cur) &&
           (old.kind == TN_REG_SCALAR ? links_match(&maps->link, &old, cur)
                                      : pointer_meta_covers(&old, cur, maps));
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

/* Dynptrs, iterators, saved flags: what they are is told by all of the slot but how often it went round. */
static bool object_covers(const struct tn_stack_slot *old, const struct tn_stack_slot *cur,
                          struct id_maps *maps)
{
    return !memcmp(old->byte, cur->byte, sizeof(old->byte)) &&
           !memcmp(old->tag, cur->tag, sizeof(old->tag)) && old->size == cur->size && old->lo == cur->lo &&
           pointer_covers(&old->reg, &cur->reg, maps);
}

static bool slot_covers(const struct tn_stack_slot *old, const struct tn_stack_slot *cur, bool demand,
                        struct id_maps *maps)
{
    bool as_data = !old->size || (!demand && old->reg.kind == TN_REG_SCALAR);

    if (!old->size && !memcmp(old->byte, cur->byte, sizeof(old->byte)))
        return true;
    if (old->size && !as_data) {
        if (old->lo != cur->lo || old->size != cur->size || !reg_covers(&old->reg, &cur->reg, demand, maps))
            return false;
        if (old->size == 8)
            return true;
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

/* A comparison of one frame under way. */
struct frame_pair {
    const u8 *at; /* the old one */
    struct packed_frame old;
    const struct tn_frame *cur;
    const struct tn_need *need;
    struct id_maps *maps;
};

/* The most frequent slot by far, eight bytes spilled: *ret_covers. False: it is another one, or `cur` is. */
static bool spill_covers(const u8 *at, const struct tn_stack_slot *cur, bool demand, struct id_maps *maps,
                         bool *ret_covers)
{
    if (at[0] != (SLOT_UNIFORM | SLOT_REG | TN_BYTE_SPILL << SLOT_KIND_SHIFT) || at[2] != 8 || cur->size != 8)
        return false;
    *ret_covers = packed_reg_covers(at + 3, &cur->reg, demand, maps);
    return true;
}

static bool slot_k_covers(const struct frame_pair *p, u32 k)
{
    static const struct tn_stack_slot empty;
    bool demand = p->need->slots >> k & 1;
    const struct tn_stack_slot *cur = k < p->cur->nslots ? &p->cur->slot[k] : &empty;
    bool object = slot_is_object(cur) || p->old.objects >> k & 1;
    struct tn_stack_slot old;
    bool covers;
    const u8 *at;

    if (k >= p->old.nslots)
        return !object;
    if (!object && !(p->need->read >> k & 1))
        return true;
    at = part_at(p->at, TN_NREGS + k);
    if (p->old.plain >> k & 1)
        get_plain(at, &old);
    else if (!object && spill_covers(at, cur, demand, p->maps, &covers))
        return covers;
    else
        get_slot(at, &old);
    return object ? object_covers(&old, cur, p->maps) : slot_covers(&old, cur, demand, p->maps);
}

static bool reg_r_covers(const struct frame_pair *p, u32 r)
{
    u16 asked = p->old.there & p->need->live; /* R10 is always the frame's own */
    const struct tn_reg *cur = &p->cur->reg[r];

    if (r == 10 || !(asked >> r & 1))
        return true;
    if (p->old.numbers >> r & 1 && (cur->kind != TN_REG_SCALAR || !(p->need->demand >> r & 1)))
        return cur->kind == TN_REG_SCALAR;
    return packed_reg_covers(part_at(p->at, r), cur, true, p->maps);
}

static bool part_covers(const struct frame_pair *p, u32 part)
{
    return part < TN_NREGS ? reg_r_covers(p, part) : slot_k_covers(p, part - TN_NREGS);
}

static bool same_call(const struct frame_pair *p, bool bottom)
{
    const struct tn_frame *cur = p->cur;
    struct tn_frame old;

    memcpy((u8 *)&old + FRAME_HEAD_AT, p->old.head, FRAME_HEAD);
    return old.subprog == cur->subprog && (bottom || old.callsite == cur->callsite) &&
           old.callback == cur->callback && old.async == cur->async && old.exception == cur->exception &&
           old.callback_kind == cur->callback_kind && old.ret_min == cur->ret_min &&
           old.ret_max == cur->ret_max &&
           old.callback_depth <= cur->callback_depth; /* else it had fewer rounds to go than this one */
}

static bool plain_covers(const struct frame_pair *p, u32 k)
{
    const struct tn_stack_slot *cur = &p->cur->slot[k];
    u64 value;

    if (cur->size != 8) /* other bytes may do as well */
        return slot_k_covers(p, k);
    get(part_at(p->at, TN_NREGS + k), &value, 8);
    return cur->reg.kind == TN_REG_SCALAR &&
           (!(p->need->slots >> k & 1) || (cur->reg.r.umin == value && cur->reg.r.umax == value));
}

/* *ret_part: which one does not. */
static bool parts_cover(const struct frame_pair *p, u32 *ret_part)
{
    u32 regs = p->old.there & p->need->live & ((1u << 10) - 1);
    u64 first = p->old.nslots < 64 ? (1ull << p->old.nslots) - 1 : ~0ull, slots, plain, k;

    for (; regs; regs &= regs - 1) {
        *ret_part = (u32)__builtin_ctz(regs);
        if (!reg_r_covers(p, *ret_part))
            return false;
    }
    slots = (p->need->read & first) | p->old.objects | objects_of(p->cur);
    plain = slots & p->old.plain & (p->cur->nslots < 64 ? (1ull << p->cur->nslots) - 1 : ~0ull);
    slots &= ~plain;
    for (; plain; plain &= plain - 1) {
        k = (u64)__builtin_ctzll(plain);
        if (!plain_covers(p, (u32)k)) {
            *ret_part = TN_NREGS + (u32)k;
            return false;
        }
    }
    for (; slots; slots &= slots - 1) {
        *ret_part = TN_NREGS + (u32)__builtin_ctzll(slots);
        if (!slot_k_covers(p, *ret_part - TN_NREGS))
            return false;
    }
    return true;
}

static void frame_pair_open(struct frame_pair *p, const u8 *at, const struct tn_frame *cur,
                            const struct tn_need *need)
{
    p->at = at;
    memcpy(&p->old, at, sizeof(p->old));
    p->cur = cur;
    p->need = need;
}

/* The register or slot that failed, in the present state, where its number matters; NULL: look closer. */
static const struct tn_reg *hinted_number(const struct hint *h, const struct tn_frame *f,
                                          const struct tn_need *need)
{
    u32 k = h->part - TN_NREGS;
    const struct tn_reg *reg = NULL;

    if (h->part < TN_NREGS)
        reg = need->live & need->demand & 1u << h->part ? &f->reg[h->part] : NULL;
    else if ((need->read & need->slots) >> k & 1 && k < f->nslots && f->slot[k].size == 8)
        reg = &f->slot[k].reg;
    return reg && reg->kind == TN_REG_SCALAR ? reg : NULL;
}

/* The place where the last comparison failed does so again. */
static bool fails_at_hint(const struct tn_kept *kept, const struct tn_state *cur, const struct tn_need *need)
{
    const struct hint *h = &kept->hint;
    const struct tn_reg *now = h->constant ? hinted_number(h, cur->frame[h->frame], &need[h->frame]) : NULL;
    struct id_maps maps;
    struct frame_pair p;

    if (now)
        return now->r.umin != h->value || now->r.umax != h->value;
    frame_pair_open(&p, kept->data + h->at, cur->frame[h->frame], &need[h->frame]);
    p.maps = &maps;
    maps.link.n = maps.object.n = 0;
    return !part_covers(&p, h->part);
}

static struct hint hint_at(const struct tn_kept *kept, const struct frame_pair *p, u32 frame, u32 part)
{
    struct hint h = {.at = (u32)(p->at - kept->data), .frame = (u8)frame, .part = (u8)part};
    const u8 *at;

    if (part < TN_NREGS) {
        at = part_at(p->at, part);
        h.constant = (p->old.there >> part & 1) && !memcmp(at, plain_reg, sizeof(plain_reg));
        at += sizeof(plain_reg);
    } else {
        h.constant = part - TN_NREGS < p->old.nslots && p->old.plain >> (part - TN_NREGS) & 1;
        at = h.constant ? part_at(p->at, part) : NULL;
    }
    if (h.constant)
        get(at, &h.value, 8);
    return h;
}

static bool refs_cover(const struct tn_ref *old, const struct tn_ref *cur, struct id_maps *maps)
{
    return old->kind == cur->kind && old->of >> 32 == cur->of >> 32 &&
           ids_match(&maps->object, (u32)old->of, (u32)cur->of) && ids_match(&maps->object, old->id, cur->id);
}

/* Nothing of the states is left out of the comparison. */
static bool is_whole(const struct tn_need *need, u32 nframes)
{
    for (u32 i = 0; i < nframes; i++)
        if (need[i].demand != need[i].live || ~need[i].slots || ~need[i].read)
            return false;
    return true;
}

bool tn_kept_covers(struct tn_kept *kept, const struct tn_state *cur, const struct tn_need *need)
{
    struct tn_state old;
    struct id_maps maps;
    struct frame_pair p;
    const u8 *at = get(kept->data, &old, STATE_HEAD);

    if (old.nframes != cur->nframes || old.nrefs != cur->nrefs || old.rcu != cur->rcu ||
        old.preempt != cur->preempt || old.sleepable != cur->sleepable || old.nlocks != cur->nlocks ||
        old.speculative != cur->speculative)
        return false;
    if (kept->crowded && is_whole(need, cur->nframes))
        return false;
    if (kept->hint.at && fails_at_hint(kept, cur, need))
        return false;
    maps.link.n = maps.object.n = 0;
    maps.link.full = maps.object.full = false;
    p.maps = &maps;
    at = get(at, old.ref, old.nrefs * sizeof(old.ref[0]));
    for (u32 i = 0; i < old.nframes; i++) {
        u32 part = 0;

        frame_pair_open(&p, at, cur->frame[i], &need[i]);
        at += p.old.size;
        if (!same_call(&p, i == 0))
            return false;
        if (parts_cover(&p, &part))
            continue;
        kept->hint = hint_at(kept, &p, i, part);
        /* Whatever it is compared with, if nothing else differs it comes as far again. */
        kept->crowded |= (maps.link.full || maps.object.full) && is_whole(need, cur->nframes);
        return false;
    }
    for (u32 i = 0; i < old.nrefs; i++)
        if (!refs_cover(&old.ref[i], &cur->ref[i], &maps))
            return false;
    return ids_match(&maps.object, old.irq_id, cur->irq_id);
}
