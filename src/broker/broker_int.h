/* SPDX-License-Identifier: MIT */
/* The broker's inside: its one struct, and what its files ask of each other. */
#ifndef TN_BROKER_INT_H
#define TN_BROKER_INT_H

#include "broker/broker.h"
#include "broker/host.h"
#include "broker/later.h"
#include "broker/loads.h"
#include "broker/object.h"
#include "broker/policy.h"
#include "broker/trace.h"
#include "broker/wakeup.h"

#define TN_HANDLE_BUCKETS 1024u

struct tn_broker {
    struct tn_loop *loop;
    struct tn_source listener, inotify, injector;
    bool injector_added;
    struct tn_table table[TN_KIND_MAX];
    struct tn_handle *handles[TN_HANDLE_BUCKETS];
    u32 nhandles, nconns, nobjects, nkept, njobs, ncrews;
    bool stop;
    u32 uid, ncpu;
    u64 started_ns;
    u32 uprobe_type, kprobe_type; /* performance-event types; the kernel's, else ours */

    struct tn_shared shared;
    u8 *gates;
    struct tn_link_stats *stats;
    struct tn_cpu_claim *claims;
    u64 links_used[TN_MAX_LINKS / 64];
    u16 entering[TN_MAX_LINKS]; /* jobs under way for a link that is, or was, of this index */
    struct tn_inject *inject;
    struct tn_wakeup *wakeup;
    struct tn_btf *kernel_btf; /* judge.c: NULL until a program is judged */
    bool kernel_btf_tried;
    struct tn_policy *policy;
    struct tn_trace *trace; /* NULL until a program that prints is attached */
    struct tn_later later;
    struct tn_loads_watch loads;
};

/* --------------------------------------------------------------------------------------------- the caller */

/*
 * Who asks, whichever door he came by: his memory, his descriptors, who he is. A handler sees nothing else of
 * him. Every one of these may wait, and may find that he has gone (−ECONNRESET).
 */
struct tn_caller;
struct tn_caller_ops {
    int (*read)(struct tn_caller *caller, u64 addr, void *ret_bytes, u64 len);
    int (*read_str)(struct tn_caller *caller, u64 addr, char *ret_str,
                    u32 cap); /* −E2BIG: no NUL within cap */
    int (*write)(struct tn_caller *caller, u64 addr, const void *bytes, u64 len);
    int (*fd)(struct tn_caller *caller, s32 number, int *ret_fd); /* a copy, to be closed */
};
struct tn_caller {
    const struct tn_caller_ops *ops;
    struct tn_broker *broker;
    pid_t pid;
    uid_t uid;
    struct tn_groups *groups;
    struct tn_ctl_options options;
    struct tn_ctl_error last;      /* why the last call failed */
    struct tn_ctl_verdict verdict; /* of the program that options.judged names */
    struct tn_prog *judged;        /* the same program; NULL: none yet */
    struct tn_error why;           /* of this call; moved to `last` when it fails */
    struct tn_error btf_why;       /* why type information was refused last: tools go on without it */
    struct tn_bhost *host;         /* whose types it sees; NULL: none's */
    s32 host_pid[TN_CTL_HOST_PIDS];
    u32 nhost_pids;
    struct tn_ctl_scope scope;
    int ret_fd; /* the call's new descriptor, or −1 */
};

/* Object of the wanted kind behind the caller's descriptor;
   one reference for the caller of this. −EBADF, −EINVAL. */
int tn_caller_object(struct tn_caller *caller, s32 number, enum tn_kind kind, u32 *ret_access,
                     void *ret_object);
/* `ret` is the call's result: a descriptor of `object`. */
int tn_caller_give(struct tn_caller *caller, struct tn_object *object, u32 access);

/* ------------------------------------------------------------------------------------------- the commands */

/* attr: a whole union bpf_attr, zero past the caller's size. */
struct tn_command {
    u32 number;
    const char *name;
    u32 last; /* end of the last field the command knows; anything but zero behind it is −EINVAL */
    int (*run)(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size);
};
int tn_command_run(struct tn_caller *caller, u32 number, const void *attr, u32 len, u64 attr_addr,
                   u32 attr_size);

int tn_perf_open(struct tn_caller *caller, const struct perf_event_attr *attr,
                 const struct tn_perf_open_args *args);
int tn_perf_ioctl(struct tn_caller *caller, s32 number, u32 request, u64 arg);
/* The file as the tool means it: a relative name starts where the tool is, and "self" is the tool. Fills path (the name
   it has then), dev and ino; *ret_size: bytes of it. What is no file is `not_a_file`. */
int tn_perf_path(struct tn_caller *caller, struct tn_perf *perf, const char *name, int not_a_file,
                 u64 *ret_size);

/* Answers into `ret_reply` (TN_MSG_MAX bytes), *ret_len bytes of it. */
int tn_ctl_run(struct tn_caller *caller, u32 ctl, const void *req, size_t len, void *ret_reply,
               size_t *ret_len);

/* --------------------------------------------------------------------------------------------------- maps */

int tn_map_view_of(struct tn_caller *caller, s32 number, struct tn_map_view *ret_view, int *ret_fd);
int tn_map_wait_of(struct tn_caller *caller, s32 number, struct tn_map_view *ret_view, int *ret_fd);
/* An instance of inotify, or −EMFILE, −EUSERS (the user has all that are allowed, for a second at least), −errno. */
int tn_inotify_new(void);
void tn_map_closed(struct tn_broker *broker, int watch);

/* -------------------------------------------------------------------------------------------------- links */

/* Attaches `prog` to the event. In a fiber: waits for the injector. */
int tn_link_attach(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf, u64 cookie,
                   struct tn_link **ret_link);
/* The same for a program of type tracing: its function, in the processes of the caller's host. */
int tn_link_attach_typed(struct tn_caller *caller, struct tn_prog *prog, u64 cookie,
                         struct tn_link **ret_link);
/* Brings the link into one process; from a fiber. Found to be detached when that is done: out again, −ECANCELED. */
int tn_link_enter(struct tn_broker *broker, struct tn_link *link, pid_t pid, u32 wait_ms,
                  struct tn_error *why);
/* Brings it into all of these, several at a time; from a fiber. *ret_failed: the first failure, if any (0: none).
   Returns how many it is in. */
u32 tn_link_enter_all(struct tn_broker *broker, struct tn_link *link, const pid_t *pids, u32 count,
                      u32 wait_ms, int *ret_failed, struct tn_error *why);
bool tn_link_is_in(const struct tn_link *link, pid_t pid);
/* Where it is; NULL when that is gone. Borrowed. */
const struct tn_perf *tn_link_perf(const struct tn_link *link);
/* The event as it is for the next of the files whose policies it is held to: its own, and of system calls what its
   processes run, each file once as a rule. `at`: 0 at first; `ret`: as it was left. −ENOENT: there is none left. */
int tn_link_host(const struct tn_link *link, u32 *at, struct tn_perf *ret);
/* A program of a raw tracepoint: the system calls that `place` says, of the processes in the caller's scope. */
int tn_link_attach_calls(struct tn_caller *caller, struct tn_prog *prog, struct tn_call_place place,
                         u64 cookie, struct tn_link **ret_link);
/* A link of many places. What is in `place`, but for its file, is the caller's: path, dev, ino, others (taken over), exit
   or session, multi_pid. */
int tn_link_attach_multi(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *place, u64 cookie,
                         struct tn_link **ret_link);
/* A place that no event has: what a link is made at by a command of its own. Not found by anybody else. */
struct tn_perf *tn_own_place(struct tn_caller *caller);
/* Closes the gate at once and takes the hook out in the background; from anywhere. */
void tn_link_detach(struct tn_link *link, u32 wait_ms);
/* The same and waits for the outcome; from a fiber. */
int tn_link_detach_wait(struct tn_caller *caller, struct tn_link *link, u32 wait_ms);
/* Takes back the reference of a kept link, if it is one: `link` may be gone then. */
void tn_link_unkeep(struct tn_link *link);
void tn_link_gate(struct tn_link *link, bool open);
/* Nobody has it any more: the index may be another link's. */
void tn_link_index_put(struct tn_broker *broker, u32 index);
/* `fd` of a job of the injector's that was waited for too long; taken over. */
void tn_job_abandon(struct tn_broker *broker, int fd);
/* A process that may have been in the middle of a map, target or tool, is no more:
   what it held is nobody's. */
void tn_process_ended(struct tn_broker *broker, pid_t pid);
void tn_target_ended(struct tn_broker *broker, pid_t pid);

/* -------------------------------------------------------------------------------------------- connections */

void tn_conn_accept(struct tn_broker *broker, int fd);

#endif
