/* SPDX-License-Identifier: MIT */
/* The waiter thread; see wakeup.h. It touches nothing of the broker but the list below, under its lock. */
#include "broker/wakeup.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* One futex_waitv takes 128; the first is ours. */
#define RINGS_MAX 127u

struct tn_wakeup {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    u32 kick;  /* futex: changed and woken when the list has changed */
    u64 turns; /* how often the thread has looked at the list */
    bool stop;
    u32 count;
    struct ring {
        u32 *wake;
        int eventfd;
        const struct tn_map *map;
    } ring[RINGS_MAX];
};

static void kick(struct tn_wakeup *w)
{
    __atomic_add_fetch(&w->kick, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &w->kick, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *waiter(void *arg)
{
    struct tn_wakeup *w = arg;
    struct futex_waitv vec[RINGS_MAX + 1];

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        u32 count = w->count, seen = __atomic_load_n(&w->kick, __ATOMIC_SEQ_CST);
        long woken;

        w->turns++;
        pthread_cond_broadcast(&w->turned);
        vec[0] =
            (struct futex_waitv){.val = seen, .uaddr = (u64)&w->kick, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
        for (u32 i = 0; i < count; i++)
            vec[i + 1] =
                (struct futex_waitv){.val = TN_RB_ARMED, .uaddr = (u64)w->ring[i].wake, .flags = FUTEX_32};
        pthread_mutex_unlock(&w->lock);
        woken = syscall(SYS_futex_waitv, vec, count + 1, 0, NULL, 0);
        pthread_mutex_lock(&w->lock);

        /* A word that is not armed any more (EAGAIN), or the one that was woken: arm it, then tell. The list
           may have changed meanwhile; then indices mean nothing and only the words themselves are believed.
         */
        for (u32 i = 0; i < w->count; i++) {
            struct ring *ring = &w->ring[i];
            bool disarmed = __atomic_exchange_n(ring->wake, TN_RB_ARMED, __ATOMIC_SEQ_CST) != TN_RB_ARMED;

            if (disarmed || (woken == (long)i + 1 && w->count == count))
                (void)!eventfd_write(ring->eventfd, 1);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int tn_wakeup_new(struct tn_wakeup **ret_wakeup)
{
    _free_ struct tn_wakeup *w = calloc(1, sizeof(*w));
    sigset_t all, before;
    int r;

    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turned, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&w->thread, NULL, waiter, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r)
        return -r;
    *ret_wakeup = TN_TAKE_PTR(w);
    return 0;
}

void tn_wakeup_free(struct tn_wakeup *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_mutex_unlock(&w->lock);
    kick(w);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->turned);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int tn_wakeup_add(struct tn_wakeup *w, const struct tn_map *map, int eventfd)
{
    int r = 0;

    pthread_mutex_lock(&w->lock);
    if (w->count == RINGS_MAX) {
        r = -ENOSPC;
    } else {
        struct tn_rb_ctl *ctl = (struct tn_rb_ctl *)(map->base + map->geo.ctl_off);

        w->ring[w->count++] = (struct ring){.wake = &ctl->wake, .eventfd = eventfd, .map = map};
        __atomic_store_n(&ctl->wake, TN_RB_ARMED, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&w->lock);
    if (!r)
        kick(w);
    return r;
}

void tn_wakeup_del(struct tn_wakeup *w, const struct tn_map *map)
{
    u64 turns;

    pthread_mutex_lock(&w->lock);
    for (u32 i = 0; i < w->count; i++)
        if (w->ring[i].map == map) {
            __atomic_store_n(w->ring[i].wake, 0, __ATOMIC_SEQ_CST);
            w->ring[i] = w->ring[--w->count];
            break;
        }
    /* The thread may still sleep on the old list: its memory must stay until it has looked again. */
    turns = w->turns;
    kick(w);
    while (w->turns == turns)
        pthread_cond_wait(&w->turned, &w->lock);
    pthread_mutex_unlock(&w->lock);
}
