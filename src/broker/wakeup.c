/* SPDX-License-Identifier: MIT */
/* Waiter threads; see wakeup.h. They touch nothing of the broker but their list below, under its lock. */
#include "broker/wakeup.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* One futex_waitv takes 128; the first is ours. */
#define RINGS_MAX   127u
/* Made as they are needed. */
#define WAITERS_MAX 8u

/* After so many turns a thread looks at what it has cost: never more than about half a CPU. */
#define TURNS_LOOK   32u
#define PAUSE_MAX_NS 5000000u

/* A buffer that holds something is told again after this time, doubled while nothing moves. */
#define AGAIN_MIN_NS 1000000u
#define AGAIN_MAX_NS 128000000u

struct waiter {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    u32 kick;  /* futex: changed and woken when the list has changed */
    u64 turns; /* how often the thread has looked at the list */
    bool stop;
    u32 count;
    struct ring {
        struct tn_wakeup_words words;
        u64 at;       /* sum of the two positions when it was last told */
        u32 again_ns; /* 0: empty */
        u64 due_ns;
        int eventfd;
    } ring[RINGS_MAX];
};

struct tn_wakeup {
    struct waiter *waiter[WAITERS_MAX];
    u32 count;
};

static void kick(struct waiter *w)
{
    __atomic_add_fetch(&w->kick, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &w->kick, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static u64 ns_of(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (u64)ts.tv_sec * 1000000000ull + (u64)ts.tv_nsec;
}

/* Arms, tells if there is reason to, and says when to look again (0: not before it is woken). */
static u64 tend(struct ring *ring, bool woken)
{
    u64 consumer, producer, now;
    bool tell = __atomic_exchange_n(ring->words.wake, TN_RB_ARMED, __ATOMIC_SEQ_CST) != TN_RB_ARMED || woken;

    consumer = __atomic_load_n(ring->words.consumer, __ATOMIC_SEQ_CST);
    producer = __atomic_load_n(ring->words.producer, __ATOMIC_SEQ_CST);
    if (consumer == producer) {
        ring->again_ns = 0;
    } else {
        now = ns_of(CLOCK_MONOTONIC);
        if (tell || !ring->again_ns || ring->at != consumer + producer) {
            ring->again_ns = AGAIN_MIN_NS;
            ring->due_ns = now + ring->again_ns;
        } else if (now >= ring->due_ns) {
            ring->again_ns = TN_MIN(ring->again_ns * 2, AGAIN_MAX_NS);
            ring->due_ns = now + ring->again_ns;
            tell = true;
        }
        ring->at = consumer + producer;
    }
    if (tell)
        (void)!eventfd_write(ring->eventfd, 1);
    return ring->again_ns ? ring->due_ns : 0;
}

/* A target that never lets its word stay armed would have us turn for ever: one CPU for a hostile byte. */
static void rest(u64 *cpu, u64 *wall)
{
    u64 cpu_now = ns_of(CLOCK_THREAD_CPUTIME_ID), wall_now = ns_of(CLOCK_MONOTONIC), used = cpu_now - *cpu;

    if (used > (wall_now - *wall) / 2) {
        struct timespec pause = {.tv_nsec = (long)TN_MIN(used, (u64)PAUSE_MAX_NS)};

        nanosleep(&pause, NULL);
    }
    *cpu = ns_of(CLOCK_THREAD_CPUTIME_ID);
    *wall = ns_of(CLOCK_MONOTONIC);
}

static void *waiter_main(void *arg)
{
    struct waiter *w = arg;
    struct futex_waitv vec[RINGS_MAX + 1];
    u32 turns = 0;
    u64 due_ns = 0, cpu = ns_of(CLOCK_THREAD_CPUTIME_ID), wall = ns_of(CLOCK_MONOTONIC);

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        u32 count = w->count, seen = __atomic_load_n(&w->kick, __ATOMIC_SEQ_CST);
        struct timespec due = {(time_t)(due_ns / 1000000000), (long)(due_ns % 1000000000)};
        long woken;

        w->turns++;
        pthread_cond_broadcast(&w->turned);
        vec[0] =
            (struct futex_waitv){.val = seen, .uaddr = (u64)&w->kick, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
        for (u32 i = 0; i < count; i++)
            vec[i + 1] = (struct futex_waitv){
                .val = TN_RB_ARMED, .uaddr = (u64)w->ring[i].words.wake, .flags = FUTEX_32};
        pthread_mutex_unlock(&w->lock);
        if (turns++ % TURNS_LOOK == 0)
            rest(&cpu, &wall);
        woken = syscall(SYS_futex_waitv, vec, count + 1, 0, due_ns ? &due : NULL, CLOCK_MONOTONIC);
        pthread_mutex_lock(&w->lock);

        /* A word that is not armed any more (EAGAIN), or the one that was woken: arm it,
           then tell. The list may have changed meanwhile; then indices mean nothing and
           only the words themselves are believed. */
        due_ns = 0;
        for (u32 i = 0; i < w->count; i++) {
            u64 due_ring = tend(&w->ring[i], woken == (long)i + 1 && w->count == count);

            if (due_ring && (!due_ns || due_ring < due_ns))
                due_ns = due_ring;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int waiter_new(struct waiter **ret_waiter)
{
    _free_ struct waiter *w = calloc(1, sizeof(*w));
    sigset_t all, before;
    int r;

    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turned, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&w->thread, NULL, waiter_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r)
        return -r;
    *ret_waiter = TN_TAKE_PTR(w);
    return 0;
}

static void waiter_free(struct waiter *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_mutex_unlock(&w->lock);
    kick(w);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->turned);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static int waiter_add(struct waiter *w, const struct tn_wakeup_words *words, int eventfd)
{
    int r = 0;

    pthread_mutex_lock(&w->lock);
    if (w->count == RINGS_MAX) {
        r = -ENOSPC;
    } else {
        w->ring[w->count++] = (struct ring){.words = *words, .eventfd = eventfd};
        __atomic_store_n(words->wake, TN_RB_ARMED, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&w->lock);
    if (!r)
        kick(w);
    return r;
}

static bool waiter_del(struct waiter *w, const u32 *wake)
{
    bool found = false;
    u64 turns;

    pthread_mutex_lock(&w->lock);
    for (u32 i = 0; i < w->count && !found; i++)
        if (w->ring[i].words.wake == wake) {
            __atomic_store_n(w->ring[i].words.wake, 0, __ATOMIC_SEQ_CST);
            w->ring[i] = w->ring[--w->count];
            found = true;
        }
    /* The thread may still sleep on the old list: its memory must stay until it has looked again. */
    turns = w->turns;
    if (found)
        kick(w);
    while (found && w->turns == turns)
        pthread_cond_wait(&w->turned, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return found;
}

int tn_wakeup_new(struct tn_wakeup **ret_wakeup)
{
    struct tn_wakeup *wakeup = calloc(1, sizeof(*wakeup));

    if (!wakeup)
        return -ENOMEM;
    *ret_wakeup = wakeup;
    return 0;
}

void tn_wakeup_free(struct tn_wakeup *wakeup)
{
    if (!wakeup)
        return;
    for (u32 i = 0; i < wakeup->count; i++)
        waiter_free(wakeup->waiter[i]);
    free(wakeup);
}

int tn_wakeup_add_words(struct tn_wakeup *wakeup, const struct tn_wakeup_words *words, int eventfd)
{
    for (u32 i = 0; i < WAITERS_MAX; i++) {
        int r;

        if (i == wakeup->count) {
            r = waiter_new(&wakeup->waiter[i]);
            if (r)
                return r;
            wakeup->count++;
        }
        r = waiter_add(wakeup->waiter[i], words, eventfd);
        if (r != -ENOSPC)
            return r;
    }
    return -ENOSPC;
}

static struct tn_wakeup_words words_of(const struct tn_map *map)
{
    struct tn_rb_ctl *ctl = (struct tn_rb_ctl *)(map->base + map->geo.ctl_off);

    return (struct tn_wakeup_words){.wake = &ctl->wake,
                                    .consumer = (u64 *)(map->base + TN_RB_CONSUMER),
                                    .producer = (u64 *)(map->base + TN_RB_PRODUCER)};
}

int tn_wakeup_add(struct tn_wakeup *wakeup, const struct tn_map *map, int eventfd)
{
    const struct tn_wakeup_words words = words_of(map);

    return tn_wakeup_add_words(wakeup, &words, eventfd);
}

void tn_wakeup_del(struct tn_wakeup *wakeup, const struct tn_map *map)
{
    for (u32 i = 0; i < wakeup->count; i++)
        if (waiter_del(wakeup->waiter[i], words_of(map).wake))
            return;
}
