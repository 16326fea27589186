/* SPDX-License-Identifier: MIT */
/*
 * The watcher: a process that says when a file is about to be executed, or mapped by a loader.
 *
 *   kernel ──permission event──▶ watcher ──struct tn_watch_event──▶ broker ── guardian: seize the thread
 *     ▲                             │ ◀────────── go on ─────────────┘
 *     └──────────── allow ──────────┘   and at once: what is ours, what is no loader, what the broker cannot take;
 *                                       after two seconds in any case
 *
 * The mark is on the file's inode: whoever opens something else pays nothing. The watcher alone holds the
 * descriptor of fanotify(7): when it ends, however that is, the kernel lets everybody go on. It answers itself
 * whatever the broker and its children open, so that none of us ever waits for another.
 *
 * Needs CAP_SYS_ADMIN, and Linux 5.0.
 */
#ifndef TN_INJECT_WATCH_H
#define TN_INJECT_WATCH_H

#include "base/base.h"

#include <sys/types.h>

struct tn_watch_event {
    u64 id;       /* to be answered with; once answered, or after two seconds, the thread goes on */
    u64 dev, ino; /* of the file */
    s32 pid, tid;
    u32 exec; /* it is about to be executed; else opened by a loader */
    u32 pad;
};

struct tn_watch;
/* The watcher is a child of the caller, who is the broker. −EPERM, −EINVAL, −ENOSYS "not_watched". */
int tn_watch_new(struct tn_watch **ret_watch, struct tn_error *err);
void tn_watch_free(struct tn_watch *watch);

/* Watches the file behind `fd` (open for reading), until it is removed. The mark stands when this returns. */
int tn_watch_add(struct tn_watch *watch, int fd, struct tn_error *err);
void tn_watch_remove(struct tn_watch *watch, u64 dev, u64 ino);

/* Readable when there is an event, or the watcher is gone. */
int tn_watch_fd(const struct tn_watch *watch);
/* −EAGAIN: none. −EPIPE: the watcher is gone. */
int tn_watch_next(struct tn_watch *watch, struct tn_watch_event *ret_event);
void tn_watch_answer(struct tn_watch *watch, u64 id);

#endif
