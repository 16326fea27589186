/* SPDX-License-Identifier: MIT */
/*
 * Processes that come later.
 *
 * A link that means every process of a file is brought into those that run it now, and the file is watched
 * (inject/watch.h) for those that execute or load it from then on. Each of these is an arrival:
 *
 *   event ──▶ the guardian seizes the thread ──▶ leave ──▶ held with the file mapped ──▶ links ──▶ released
 *                     └─ not to be had (another traces it, it ends): leave at once, and links once it has mapped
 *                        the file
 *
 * Between the mark and the first look at all processes somebody may have opened the file and not mapped it yet;
 * so there is a second look a moment later. A watcher that dies is replaced, and all processes are looked at again.
 *
 * Where the broker may not watch, links are as good as before for what runs; they say that later ones are not
 * seen (tn_ctl_link.later).
 */
#ifndef TN_BROKER_LATER_H
#define TN_BROKER_LATER_H

#include "broker/loop.h"
#include "inject/watch.h"

struct tn_broker;
struct tn_link;

struct tn_later_file {
    u64 dev, ino;
    int fd; /* for a watcher that takes the place of this one */
    u32 links;
    bool watched;
};
struct tn_arrival;
struct tn_later {
    struct tn_watch *watch; /* NULL: no file to watch */
    struct tn_source source;
    u64 started_ns;
    u32 early_deaths; /* of watchers that lived for less than a second, one after the other */
    struct tn_later_file *files;
    u32 nfiles;
    struct tn_arrival *arrivals; /* under way */
    struct tn_arrival *queue;    /* still waiting, oldest first */
    u32 nactive;
};

/* Before its first process is looked for: link->watched says what came of it, *why what not. */
void tn_later_watch(struct tn_broker *broker, struct tn_link *link, struct tn_error *why);
void tn_later_unwatch(struct tn_broker *broker, struct tn_link *link);
/* All processes of its file are looked at once more, in the background. */
void tn_later_look_again(struct tn_broker *broker, const struct tn_link *link);
/* Will an arrival that is under way bring this link into the process? If so, nobody else should. */
bool tn_later_brings(struct tn_broker *broker, const struct tn_link *link, pid_t pid);
/* No arrival of this process is under way when this returns. From a fiber. */
void tn_later_settle(struct tn_broker *broker, pid_t pid);
void tn_later_free(struct tn_later *later);

#endif
