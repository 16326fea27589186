/* SPDX-License-Identifier: MIT */
/*
 * Wake-ups of ring buffers: futex word in shared memory in, eventfd out.
 *
 *   producer (target)                       waiter (thread of the broker)              tool
 *   commit, consumer had caught up          futex_waitv on the words of all buffers    epoll on the eventfd
 *   word ARMED? futex wake ───────────────▶ arm again, then write the eventfd ───────▶ reads the buffer
 *
 * The order matters: what was committed before the word was armed again is covered by the write that follows,
 * and what is committed after it finds the word armed. So no wake-up is lost, and none is asked for while
 * nobody waits: a buffer enters here when the first tool asks for its eventfd.
 *
 * One gap is the consumer's own: it stores its position, finds the next record still busy, and goes to sleep,
 * while the producer, who has not seen that store yet, commits without a wake-up. From Linux it would find
 * its epoll ready again, since a ring buffer there is ready as long as it holds anything. So is ours, more
 * slowly: a buffer that is not empty is told again after 1 ms, then ever more rarely while nothing moves.
 *
 * The words are hostile: a target may wake us as often as it likes, but no more than one write a turn comes
 * of it, and a thread that has used half a CPU rests for as long as it was busy.
 */
#ifndef TN_BROKER_WAKEUP_H
#define TN_BROKER_WAKEUP_H

#include "rt/map/map.h"

struct tn_wakeup;
int tn_wakeup_new(struct tn_wakeup **ret_wakeup);
void tn_wakeup_free(struct tn_wakeup *wakeup);
/* `map` stays valid until tn_wakeup_del has returned. eventfd: borrowed. −ENOSPC when there are too many. */
int tn_wakeup_add(struct tn_wakeup *wakeup, const struct tn_map *map, int eventfd);
void tn_wakeup_del(struct tn_wakeup *wakeup, const struct tn_map *map);

/* The same for anything that is counted in two words and wakes as a ring buffer does. For the broker's life. */
struct tn_wakeup_words {
    u32 *wake;
    u64 *consumer, *producer;
};
int tn_wakeup_add_words(struct tn_wakeup *wakeup, const struct tn_wakeup_words *words, int eventfd);

#endif
