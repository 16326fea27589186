/* SPDX-License-Identifier: MIT */
/* States: their frames, copying and growing. At rest, and compared: kept.c. */
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
                 !tn_reg_maybe_null(reg)   ? ""
                 : reg->kind == TN_REG_BTF ? "or_null_" /* the name of the type follows */
                                           : flag_names[TN_REG_BIT_MAYBE_NULL]);
    return buf;
}

struct tn_reg tn_reg_pointer(enum tn_reg_kind kind, u32 obj)
{
    struct tn_reg reg = tn_reg_const(0);

    reg.kind = (u8)kind;
    reg.obj = obj;
    return reg;
}

/* ------------------------------------------------------------------------------------------------ frames */

static void frame_free(struct tn_pool *pool, struct tn_frame *f)
{
    if (pool && pool->nframes < TN_POOL_FRAMES) {
        pool->frame[pool->nframes++] = f;
        return;
    }
    free(f->slot);
    free(f);
}

struct tn_frame *tn_frame_new(struct tn_pool *pool)
{
    return pool && pool->nframes ? pool->frame[--pool->nframes] : calloc(1, sizeof(struct tn_frame));
}

void tn_pool_clear(struct tn_pool *pool)
{
    for (u32 k = 0; k < pool->nframes; k++) {
        free(pool->frame[k]->slot);
        free(pool->frame[k]);
    }
    free(pool->scratch);
    *pool = (struct tn_pool){0};
}

void tn_state_clear(struct tn_state *s)
{
    for (u32 i = 0; i < s->nframes; i++)
        frame_free(s->pool, s->frame[i]);
    s->nframes = s->nrefs = 0;
}

int tn_frame_room(struct tn_frame *f, u32 nslots)
{
    if (nslots > f->cap) {
        free(f->slot);
        f->cap = 0;
        f->slot = malloc(nslots * sizeof(*f->slot));
        if (!f->slot)
            return -ENOMEM;
        f->cap = nslots;
    }
    f->nslots = nslots;
    return 0;
}

int tn_state_copy(struct tn_state *ret, const struct tn_state *s)
{
    struct tn_state copy;

    memcpy(&copy, s, offsetof(struct tn_state, frame));
    memcpy(copy.ref, s->ref, s->nrefs * sizeof(s->ref[0]));
    copy.nframes = 0;
    for (u32 i = 0; i < s->nframes; i++) {
        const struct tn_frame *from = s->frame[i];
        struct tn_frame *to = tn_frame_new(s->pool);

        if (!to)
            goto fail;
        copy.frame[copy.nframes++] = to;
        memcpy(to, from, offsetof(struct tn_frame, nslots));
        if (tn_frame_room(to, from->nslots))
            goto fail;
        if (from->nslots)
            memcpy(to->slot, from->slot, from->nslots * sizeof(*to->slot));
    }
    memcpy(ret, &copy, offsetof(struct tn_state, ref) + copy.nrefs * sizeof(copy.ref[0]));
    return 0;
fail:
    tn_state_clear(&copy);
    return -ENOMEM;
}

void tn_state_move(struct tn_state *ret, struct tn_state *s)
{
    memcpy(ret, s, offsetof(struct tn_state, ref) + s->nrefs * sizeof(s->ref[0]));
    s->nframes = s->nrefs = 0;
}

int tn_state_push_frame(struct tn_state *s, u32 subprog, u32 callsite)
{
    struct tn_frame *f = tn_frame_new(s->pool);

    if (!f)
        return -ENOMEM;
    memset(f, 0, offsetof(struct tn_frame, nslots));
    f->nslots = 0;
    f->subprog = subprog;
    f->callsite = callsite;
    f->reg[10] = tn_reg_pointer(TN_REG_STACK, 0);
    f->reg[10].frame = (u8)s->nframes;
    s->frame[s->nframes++] = f;
    return 0;
}

void tn_state_pop_frame(struct tn_state *s)
{
    frame_free(s->pool, s->frame[--s->nframes]);
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
