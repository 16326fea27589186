/* SPDX-License-Identifier: MIT */
/*
 * Entering a process, and leaving it as it was.
 *
 *   broker ──spec──▶ injector (a process a job or a crew; brain: maps, symbols, plan, bytes; may be killed at any time)
 *                        │ orders: seize, remote call, read, write, patch, release
 *                        ▼
 *                    guardian (a process a target; hands: the only tracer, the only holder of the undo
 *                        │     record; finishes or undoes when the injector's or the broker's socket
 *                        │     hangs up)
 *                        ▼ ptrace, /proc/PID/mem
 *                    target
 *
 * The broker's side of it is here: start a job, poll a descriptor, read the outcome. Nothing here blocks.
 */
#ifndef TN_INJECT_H
#define TN_INJECT_H

#include <sys/types.h>

#include "base/tally.h"
#include "jit/jit.h"
#include "rewrite/plan.h"
#include "rewrite/trampoline.h"

/* What all targets of a broker share. Descriptors borrowed from the broker. */
struct tn_shared {
    int gates;    /* memfd, TN_MAX_LINKS bytes rounded to pages, writable here */
    int gates_ro; /* the same, opened read-only: what targets map */
    int stats;    /* memfd, TN_STATS_SIZE: TN_MAX_LINKS × struct tn_link_stats, struct tn_loads */
    int claims;   /* memfd, ncpu × struct tn_cpu_claim */
    u32 ncpu;
};

/* One compiled program as it is installed. */
struct tn_install_map {
    u32 id;
    int fd; /* memfd */
    struct tn_map_geo geo;
};
/* A map of this id is no map of the program's: it is the ring that bpf_trace_printk writes to,
   last in the list. */
#define TN_TRACE_MAP_ID 0xffffffffu
struct tn_install {
    u32 prog_id;
    int text; /* sealed memfd */
    u32 text_len, entry, pool_size, stack;
    u32 footprint; /* as of struct tn_code; 0: not known */
    const struct tn_pool_entry *pool;
    u32 npool;
    const struct tn_install_map *maps;
    u32 nmaps;
    const struct tn_facts *facts;
};

/* A place of a link in its file. */
struct tn_attach_place {
    u64 offset;  /* in the file */
    u64 ref_ctr; /* offset of its reference counter (counter.c); 0: none */
    u64 cookie;
};
#define TN_LINK_PLACES_MAX 16384u /* of one link */

struct tn_attach_spec {
    pid_t pid;
    u32 link_index; /* gate and statistics */
    bool exit;      /* hook the way out instead of the place itself */
    bool session;   /* both: see tn_tramp_in.session */
    bool
        syscall; /* the place is every system call `nr` (TN_NR_UNKNOWN: of any number) of all code that is mapped
                       from files; path, dev, ino and the place's offset are not looked at */
    s32 nr;
    bool follow;     /* fork children count too */
    bool take_only;  /* nothing is attached: what a parent's links have left in a fork child is put back */
    char path[4096]; /* the file as the tool named it */
    u64 dev, ino;    /* of that file: what must be mapped in the target */
    struct tn_attach_place place;
    /* More of them, in the same file: all are hooked, or none; `some`: or those that can be. Borrowed until the job has been
       started. */
    bool some;
    const struct tn_attach_place *others;
    u32 nothers;
    u32 wait_ms; /* how long to wait for a thread that can be borrowed */
    /* Jobs of one crew differ in nothing but pid and wait_ms: one injector may do several of them, one after the other, until
       tn_inject_disband; 0: of none. */
    u32 crew;
    bool typed;  /* the context is `args`, and the place is a function's first instruction or its way out */
    struct tn_typed_args args;
    enum tn_replace replace;
    struct tn_install prog;
};

static inline const struct tn_attach_place *tn_spec_place(const struct tn_attach_spec *s, u32 i)
{
    return i ? &s->others[i - 1] : &s->place;
}

/* Outcome of a job. err 0: done. */
struct tn_attach_result {
    int err;
    struct tn_error why;
    char tactic[32];
    char symbol[128]; /* name and offset found for the place; "" if none */
    u64 symbol_offset;
    u64 address;     /* in the target */
    u64 hold_ns_max; /* longest time any thread was held */
    u64 total_ns;
    u32 threads, interrupted;
    pid_t inherited;    /* a parent whose links have counted here, and do no longer; 0: none */
    u32 places;         /* that were patched … */
    struct tn_tally by; /* … and of these, how many by which tactic */
    u32 left;           /* system calls that may be meant, or places of many, and were left as they are: */
    char left_why[512]; /* … where, and why, by number: "libc.so.6: 2 too_short, 1 call_in_window; …" */
};

/*
 * What the broker must know: guardians and injectors are its children, waited for here by their pids (leave
 * SIGCHLD alone). A guardian knows that the broker is gone by its socket: any other process the broker forks
 * without exec must not keep the broker's descriptors. Where kernel.yama.ptrace_scope is 1, a command that is
 * to be held must allow it before its exec: prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY). Gates stay closed
 * until the broker opens them.
 */
struct tn_inject; /* all guardians of a broker */
struct tn_inject *tn_inject_new(const struct tn_shared *shared);
void tn_inject_free(struct tn_inject *inj);

/* Starts a job. *ret_fd becomes readable when it has ended; then tn_inject_finish reads the outcome and
 * closes it. */
int tn_inject_attach(struct tn_inject *inj, const struct tn_attach_spec *spec, int *ret_fd,
                     struct tn_error *err);
int tn_inject_finish(struct tn_inject *inj, int fd, struct tn_attach_result *ret_result);
/* No more jobs of this crew will come. */
void tn_inject_disband(struct tn_inject *inj, u32 crew);

/* Has the process been entered, and not been left? */
bool tn_inject_knows(const struct tn_inject *inj, pid_t pid);
/* Is there a broker's marker in its memory, also of one whose copy this is? */
bool tn_inject_marked(pid_t pid);
/* How programs in it read its memory: enum tn_reads (rt/signals.h), as the process's own memory tells. −ENOENT: it has not been
   entered. */
int tn_inject_reads(pid_t pid);
/* Nothing of ours is wanted in it: its guardian goes. */
void tn_inject_leave(struct tn_inject *inj, pid_t pid);

/* The gate of link_index is closed already. Restores the bytes of (pid, link) when no other link needs them
   and waits for runs under way, `wait_ms` at most. No thread is interrupted. Outcome as above. */
int tn_inject_detach(struct tn_inject *inj, pid_t pid, u32 link_index, u32 wait_ms, int *ret_fd,
                     struct tn_error *err);

/* Start-up: `pid` is about to exec (it waits for its parent's word). tn_inject_hold makes the guardian catch
   the exec and hold the process at its first instruction (*ret_fd readable once the guardian is ready); jobs
   on it then work on the held process, running it up to the point where a library that a job names is mapped;
   tn_inject_release lets it go. */
int tn_inject_hold(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err);
int tn_inject_release(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err);

/* Somebody whom the watcher has found waiting: `tid` of `pid`, about to execute the file (exec) or to load it.
   *ret_fd tells that the thread may go on; tn_inject_caught then whether it is held, with the file mapped, for
   jobs to work on until tn_inject_release. −EBUSY "held_already". */
int tn_inject_catch(struct tn_inject *inj, pid_t pid, pid_t tid, bool exec, u64 dev, u64 ino, int *ret_fd,
                    struct tn_error *err);
int tn_inject_caught(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err);

/* Descriptor that becomes readable when a target has ended; tn_inject_event then says which.
   0 when there is one. */
int tn_inject_event_fd(const struct tn_inject *inj);
int tn_inject_event(struct tn_inject *inj, pid_t *ret_pid);

#endif
