/* SPDX-License-Identifier: MIT */
/*
 * A counter says which part is next, and whoever is free takes it: parts need not be equal, nor need the threads. The others are
 * there for this one piece of work only, and take no signal that is meant for the process.
 */
#include "rewrite/share.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "rt/barrier.h"

struct share {
    tn_share_work *work;
    void *arg;
    u32 parts, next;
};

struct sharer {
    struct share *share;
    u32 who;
    pthread_t thread;
};

static void run(struct share *s, u32 who)
{
    for (u32 part = tn_fetch_add(&s->next, 1); part < s->parts; part = tn_fetch_add(&s->next, 1))
        s->work(s->arg, who, part);
}

static void *sharer_main(void *arg)
{
    struct sharer *me = arg;

    run(me->share, me->who);
    return NULL;
}

u32 tn_share_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

    return n < 1 ? 1 : TN_MIN((u32)n, TN_SHARE_MAX);
}

u32 tn_share(u32 threads, u32 parts, tn_share_work *work, void *arg)
{
    struct share s = {.work = work, .arg = arg, .parts = parts};
    struct sharer other[TN_SHARE_MAX - 1];
    u32 n = 0, wanted = TN_MIN(TN_MIN(threads, parts), TN_SHARE_MAX);
    sigset_t all, before;

    sigfillset(&all);
    if (wanted > 1)
        pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; n + 1 < wanted; n++) {
        other[n] = (struct sharer){.share = &s, .who = n + 1};
        if (pthread_create(&other[n].thread, NULL, sharer_main, &other[n]))
            break;
    }
    if (wanted > 1)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    run(&s, 0);
    for (u32 k = 0; k < n; k++)
        pthread_join(other[k].thread, NULL);
    return n + 1;
}
