/* SPDX-License-Identifier: MIT */
/*
 * Lists that answer in a few steps what would otherwise take a look at every site and hook, for each of thousands: which
 * sites begin near an address, which belong to a function, which hooks are live at a site, which are a link's.
 *
 *     block of 32 bytes ──hash──▶ near[ ] ──▶ site ──▶ site …      (a window is 32 bytes at most: it begins in the block
 *     function          ──hash──▶ func[ ] ──▶ site ──▶ site …       of its last byte, or in the one before)
 *     link              ────────▶ link[ ] ──▶ hook ──▶ hook …
 *
 * They live in the state, so that hands which come for one task need not make them. All of them follow from the
 * entries: hands that were killed while changing them leave `unsure`, and the next ones make them again.
 */
#include "inject/order.h"

#define BLOCK 32u

_Static_assert(TN_PATCH_MAX <= BLOCK, "a site and the bytes that it depends on lie in two blocks at most");

static u32 list_of(u64 value)
{
    return (u32)((value * 0x9E3779B97F4A7C15ull) >>
                 50); /* 2⁶⁴ ÷ golden ratio: Knuth's multiplicative hashing */
}
_Static_assert(TN_STATE_LISTS == 1u << (64 - 50), "list_of");

u32 tn_state_near(const struct tn_state *st, u64 addr)
{
    return st->near[list_of(addr / BLOCK)];
}

u32 tn_state_func(const struct tn_state *st, u64 func)
{
    return st->func[list_of(func)];
}

s32 tn_state_overlap(const struct tn_state *st, u64 addr, u32 len, u32 depends, s32 but)
{
    for (u64 block = addr / BLOCK - (addr >= BLOCK); block <= (addr + len + depends - 1) / BLOCK; block++)
        for (u32 k = tn_state_near(st, block * BLOCK); k; k = st->site[k - 1].next_near) {
            const struct tn_site *s = &st->site[k - 1];

            if (s->state >= TN_SITE_PATCHED && (s32)k - 1 != but && tn_site_meets(s, addr, len, depends))
                return (s32)k - 1;
        }
    return -1;
}

void tn_state_list_site(struct tn_state *st, u32 site)
{
    struct tn_site *s = &st->site[site];
    u32 *near = &st->near[list_of(s->addr / BLOCK)], *func = &st->func[list_of(s->func)];

    s->next_near = *near;
    *near = site + 1;
    s->next_of_func = 0;
    if (!s->func)
        return;
    s->next_of_func = *func;
    *func = site + 1;
}

void tn_state_unlist_site(struct tn_state *st, u32 site)
{
    struct tn_site *s = &st->site[site];
    u32 *at = &st->near[list_of(s->addr / BLOCK)];

    while (*at && *at != site + 1)
        at = &st->site[*at - 1].next_near;
    if (*at)
        *at = s->next_near;
    at = &st->func[list_of(s->func)];
    while (s->func && *at && *at != site + 1)
        at = &st->site[*at - 1].next_of_func;
    if (s->func && *at)
        *at = s->next_of_func;
}

void tn_state_list_hook(struct tn_state *st, u32 hook)
{
    struct tn_hook_slot *slot = &st->hook[hook];
    struct tn_site *s = &st->site[slot->site];

    slot->next_of_site = s->hooks;
    s->hooks = hook + 1;
    slot->next_of_link = st->link[slot->link_index];
    st->link[slot->link_index] = hook + 1;
    s->nhooks++;
    st->nlive++;
}

void tn_state_unlist_hook(struct tn_state *st, u32 hook)
{
    const struct tn_hook_slot *slot = &st->hook[hook];
    struct tn_site *s = &st->site[slot->site];
    u32 *at = &s->hooks;

    while (*at && *at != hook + 1)
        at = &st->hook[*at - 1].next_of_site;
    if (*at)
        *at = slot->next_of_site;
    at = &st->link[slot->link_index];
    while (*at && *at != hook + 1)
        at = &st->hook[*at - 1].next_of_link;
    if (*at)
        *at = slot->next_of_link;
    s->nhooks--;
    st->nlive--;
}

void tn_state_list_all(struct tn_state *st)
{
    memset(st->near, 0, sizeof(st->near));
    memset(st->func, 0, sizeof(st->func));
    memset(st->link, 0, sizeof(st->link));
    st->nlive = st->nspare = st->ngone = 0;
    for (u32 i = 0; i < st->nprogs; i++)
        st->prog[i].nhooks = 0;
    for (u32 i = 0; i < st->nsites; i++) {
        struct tn_site *s = &st->site[i];

        s->hooks = s->nhooks = 0;
        if (s->state != TN_SITE_FREE)
            tn_state_list_site(st, i);
        st->ngone += s->state == TN_SITE_GONE;
    }
    for (u32 i = 0; i < st->nhooks; i++) {
        const struct tn_hook_slot *slot = &st->hook[i];

        st->nspare += slot->state == TN_HOOK_SPARE;
        if (slot->state == TN_HOOK_LIVE && slot->site < TN_STATE_SITES && slot->link_index < TN_MAX_LINKS)
            tn_state_list_hook(st, i);
        if (slot->state == TN_HOOK_LIVE && slot->prog < TN_SLOT_BITS)
            st->prog[slot->prog].nhooks++;
    }
    st->unsure = 0;
}
