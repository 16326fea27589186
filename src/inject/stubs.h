/* SPDX-License-Identifier: MIT */
/*
 * Where in a process the stubs of punned jumps (rewrite/pun.h) go: into pages that stubs have already, if one lies where a
 * jump can lead, else into a new one, where the process has nothing mapped. Pure.
 */
#ifndef TN_INJECT_STUBS_H
#define TN_INJECT_STUBS_H

#include "inject/proc.h"
#include "rewrite/pun.h"

struct tn_stubs {
    u32 max_pages;
    struct tn_range *free; /* owned: where nothing is mapped, by address */
    u64 *page, *stub;      /* owned: page addresses, and stubs that are in use, by address */
    u64 *fresh;            /* owned: the pages that were not there before, as they came */
    u32 nfree, npages, nstubs, nfresh, cap_pages, cap_stubs, cap_fresh;
};
/* `avoid`: ranges that are spoken for. */
int tn_stubs_open(struct tn_stubs *ret_stubs, const struct tn_maps *maps, const struct tn_range *avoid,
                  u32 navoid, u32 max_pages);
void tn_stubs_clear(struct tn_stubs *s);
int tn_stubs_add_page(struct tn_stubs *s, u64 page);
int tn_stubs_add(struct tn_stubs *s, u64 stub);

/* tn_pun with the room that there is, in pages that are there, or (`fresh`) in new ones as well. On success the stubs are in use. */
int tn_stubs_pun(struct tn_stubs *s, const struct tn_patch *patch, u64 load_bias, bool fresh,
                 struct tn_pun *ret_pun);

#endif
