/* SPDX-License-Identifier: MIT */
/*
 * The guardian's hands: the process that traces. The guardian forks one a task and waits for it; when it
 * exits, the kernel lets every thread of the target go at once, sleeping or not. What must outlive it is in
 * the shared state.
 *
 *   guardian ──fork──▶ hands ── task from the broker: job, detach, hold … ──▶ exit
 *      └─ waits; broker gone: forks hands once more, to give everything back
 */
#ifndef TN_INJECT_HANDS_H
#define TN_INJECT_HANDS_H

#include "inject/order.h"
#include "inject/patch.h"
#include "rewrite/pun.h"

struct tn_hands {
    const struct tn_guardian *g;
    struct tn_state *st; /* shared with the guardian */
    int state_fd;
    struct tn_tracee t;
    struct tn_borrowed b;
    bool borrowed, held;
    bool last;            /* nobody puts right what these leave */
    struct tn_left *left; /* what others have left, proved before a thread was borrowed; owned */
    int pidfd;
    int chld; /* signalfd: a thread has stopped while nobody waits for one; −1: not needed yet */
};

/* One task off the broker's socket; goes on with more while a process is held. */
void tn_hands_serve(struct tn_hands *h);
/* Every patched byte restored, marker and gates closed, what programs had for themselves unmapped. Used when the broker is gone,
   and after a hands process that died half-way. */
/* `half`: only what killed hands have left half-done; links that stand, stand. */
void tn_hands_give_back(struct tn_hands *h, bool half);

/* While threads are traced and nothing is done with them: for `ns` at most, whoever stops goes on, but for one that is lent to us, or
   held between jobs (tn_tracee.keep). As tn_tracee_wait. */
int tn_hands_look_after(struct tn_hands *h, u64 ns);
/* map.c: the MAP order. What nobody uses and `keep` does not name is unmapped. */
int tn_hands_map(struct tn_hands *h, const struct tn_keep *keep, const struct tn_map_req *reqs, u32 n,
                 const int *fds, u32 nfds, struct tn_error *err);
/* With a thread that is borrowed: what nobody can be in, and no program has any more. */
void tn_hands_unmap(struct tn_hands *h);
/* Where others have been: what was found (left.c) is unmapped. All of this broker's: the last that is done in a process. */
int tn_hands_unmap_left(struct tn_hands *h, u64 stub, const struct tn_left *left);
void tn_hands_unmap_all(struct tn_hands *h, const struct tn_left *left);
/* What hands that were killed may have begun of it: its beginning, the marker's end, tells. */
void tn_hands_unmapped(struct tn_hands *h);
/* left.c: what brokers leave in a process when they go, this one as well if `own`; it is proved that no thread is in it or comes
   back. Owned by the caller. NULL: nothing, or not to be proved. */
struct tn_left {
    u32 nfirst, nranges; /* the first are markers */
    bool own;            /* this broker's is in it, but for the stub */
    struct tn_range range[];
};
struct tn_left *tn_hands_find_left(struct tn_hands *h, bool own);
/* Descriptors that a thread lent to dead hands has left open: closed by that thread, which is held. */
void tn_hands_close_left(struct tn_hands *h, const struct tn_lent *left);
/* links.c: sites, chains, retirement. */
int tn_hands_install(struct tn_hands *h, const struct tn_install_req *req, const struct tn_place_req *places,
                     struct tn_error *err);
/* *ret_prog: of which program its hooks were. */
int tn_hands_unlink(struct tn_hands *h, u32 link_index, u32 *ret_prog, struct tn_error *err);
int tn_hands_wait_runs(struct tn_hands *h, u32 prog, u32 wait_ms, struct tn_error *err);
/* All sites bare again, and all hooks retired. */
int tn_hands_restore_all(struct tn_hands *h);
/* Sites in code that is mapped no longer, or mapped afresh, are forgotten, and with them the hooks there. */
void tn_hands_forget_gone(struct tn_hands *h);
int tn_hands_repair(struct tn_hands *h);
/* reclaim.c: retired hooks and programs that nobody is in become SPARE. */
void tn_hands_reclaim(struct tn_hands *h);
/* What is looked for on all threads: among their words is one in [lo, hi). */
struct tn_look {
    u64 lo, hi; /* tn_look_widen */
    /* Bytes of a sleeper's stack that are looked at, of another one's an eighth; 0: as usual. A deeper one proves nothing. */
    u64 deepest;
    bool registers; /* also in registers, as far as they can be seen */
    void (*see)(struct tn_look *l, u64 value);
};
void tn_look_widen(struct tn_look *l, u64 addr, u64 len);
/* Every thread, one by one. False: one of them, or a child in the same memory, cannot be told of. */
bool tn_hands_look(struct tn_hands *h, struct tn_look *l);
/* counter.c: a counter moved by at most what is there; the counter at `addr`, in the file whose code is
   `code`, by its index; raised by one, lowered by one; all that is ours given back; what killed hands left. */
int tn_counter_move(const struct tn_tracee *t, u64 addr, s32 by);
int tn_counter_find(struct tn_hands *h, const struct tn_maps *maps, u64 addr, const struct tn_vma *code,
                    u32 *ret_index, struct tn_error *err);
int tn_counter_raise(struct tn_hands *h, u32 index);
void tn_counter_lower(struct tn_hands *h, u32 index);
/* The memory it was in is gone. */
void tn_counter_forget(struct tn_hands *h, u32 index);
void tn_counter_lower_all(struct tn_hands *h);
void tn_counter_repair(struct tn_hands *h);
/* signals.c: signals become ours (`set`), and the host's again; a breakpoint is told to its handler before it stands,
   and forgotten when its code is gone. −EAGAIN "sigtrap_blocked"; of off: all stays as it is. */
int tn_hands_signals_on(struct tn_hands *h, u64 entry, u64 restorer, u64 set, u32 wait_ms,
                        struct tn_error *err);
int tn_hands_signals_off(struct tn_hands *h, u32 wait_ms);
/* What hands that were killed were changing. */
void tn_hands_signals_repair(struct tn_hands *h, u32 wait_ms);
/* … of a dead holder, or of a parent whose copy this process is, whose bytes have been put back. */
void tn_hands_signals_inherited(struct tn_hands *h, const struct tn_maps *maps);
int tn_hands_break_add(struct tn_hands *h, u64 addr, u64 enter);
void tn_hands_break_forget(struct tn_hands *h, u64 addr);
/* hold.c: from the first instruction. */
int tn_hands_hold(struct tn_hands *h, int ready_fd, struct tn_error *err);
/* A thread that waits for the watcher's leave: `ready_fd` is told when it is seized; then it is held at the end
   of its exec, or once it has mapped the file's code. −ENOENT: it did neither, and is let go. */
int tn_hands_catch(struct tn_hands *h, const struct tn_task *task, int ready_fd, struct tn_error *err);
/* hands.c: an exec has thrown all of ours away: what is known of the process is forgotten. */
void tn_hands_notice_exec(struct tn_hands *h);
int tn_hands_run_to(struct tn_hands *h, u64 brk, u64 state_word, u64 entry, struct tn_error *err);

#endif
