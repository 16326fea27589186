/* SPDX-License-Identifier: MIT */
/*
 * Code that processes map later, and links at system calls.
 *
 *   loader has mapped a library ──▶ agent: who, loaded++, futex wake ──▶ waiter thread ──▶ eventfd ──▶ fiber here: links
 *        nothing of it has run          waits for `looked`  ◀────────────────── looked = loaded, futex wake ◀─┘
 *
 * Such a link is in all code that a process has mapped from files; so it is brought in once more where that has changed. What
 * is there already stays as it is, and what is gone is forgotten by the hands.
 */
#ifndef TN_BROKER_LOADS_H
#define TN_BROKER_LOADS_H

#include "broker/loop.h"

struct tn_broker;
struct tn_link;
struct tn_loads_watch {
    struct tn_source source; /* an eventfd; 0: nobody has asked yet */
    bool busy;
};

/* Before the first link at system calls is made. */
int tn_loads_start(struct tn_broker *broker);
/* Of the files whose code a process has mapped, and where: the same as long as nothing changes. 0: not known. */
u64 tn_loads_code(pid_t pid);
/* Those of the link's processes that have other code than when it was brought in: while its gate was shut they have not
   waited. */
void tn_loads_look_again(struct tn_broker *broker, struct tn_link *link);
void tn_loads_free(struct tn_broker *broker);

#endif
