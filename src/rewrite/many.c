/* SPDX-License-Identifier: MIT */
/*
 * Many places of one module. A plan follows from the code, its functions and the place, so it does not matter who makes it, nor
 * in which order:
 *
 *     places   │ 0 … 63 │ 64 … 127 │ …      a part is taken by whoever is free, each plan goes to its own place
 *     shared   the code; direct jumps by target (aims.h), found first; steps (flow.h)
 *     own      marks and lists of a flow (struct tn_spare)
 */
#include <errno.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/share.h"

#define PART                                                                                                 \
    64u /* places that are taken at a time: neighbours, mostly, in order not to write to what others read */
#define PAYS 256u /* places for which a thread is started */

struct many {
    const struct tn_code_view *code;
    struct tn_asked *asked;
    u32 n;
    struct tn_spare spare[TN_SHARE_MAX - 1]; /* of those that are not the calling thread */
};

static void plan_one(const struct tn_code_view *code, struct tn_asked *a)
{
    struct tn_error why;

    why.reason[0] = why.message[0] = 0;
    a->plan = (struct tn_plan){0};
    a->why = NULL;
    a->result = tn_plan(code, a->place, a->addr, &a->plan, &why);
    if (a->result == 0 || a->result == -ENOMEM)
        return;
    a->why = malloc(sizeof(why));
    if (a->why)
        *a->why = why;
    else
        a->result = -ENOMEM;
}

static void plan_part(void *arg, u32 who, u32 part)
{
    struct many *m = arg;
    struct tn_code_view code = *m->code;

    if (who)
        code.spare = &m->spare[who - 1];
    for (u32 i = part * PART; i < m->n && i < (part + 1) * PART; i++)
        plan_one(&code, &m->asked[i]);
}

int tn_plan_many(const struct tn_code_view *code)
{
    int r = tn_known_open(code);

    return !r && code->aims && !code->aims->first ? tn_aims_find(code, 1, code->aims) : r;
}

int tn_plan_asked(const struct tn_code_view *code, struct tn_asked *asked, u32 n, u32 threads,
                  u32 *ret_threads)
{
    struct many m = {.code = code, .asked = asked, .n = n};
    int r = 0;

    threads = TN_MIN(threads ? threads : TN_MIN(tn_share_processors(), n / PAYS), TN_SHARE_MAX);
    if (code->aims && !code->aims->first)
        r = tn_aims_find(code, threads, code->aims);
    if (r == 0)
        r = tn_plan_many(code);
    if (r < 0)
        return r;
    threads = tn_share(threads, n / PART + 1, plan_part, &m);
    for (u32 k = 0; k < TN_ARRAY_SIZE(m.spare); k++)
        tn_spare_clear(&m.spare[k]);
    if (ret_threads)
        *ret_threads = threads;
    return 0;
}

void tn_asked_clear(struct tn_asked *asked, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        tn_plan_clear(&asked[i].plan);
        free(asked[i].why);
        asked[i].why = NULL;
    }
}
