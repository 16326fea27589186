/* SPDX-License-Identifier: MIT */
/*
 * What the injector (brain) asks of the guardian (hands), and the state of a target that both look at.
 *
 *   injector                    guardian's hands
 *   order ───────────────────▶  checks it against the state and the target, does it
 *          ◀───────────────────  struct tn_reply (+ refusal)
 *
 * One order at a time, one datagram each. The state is written by the hands alone; the injector has it
 * read-only. An order that was answered with success stands; one that was not has left nothing behind. Memory
 * of ours in the target that no patched byte leads to yet is kept for the next job rather than unmapped.
 */
#ifndef TN_INJECT_ORDER_H
#define TN_INJECT_ORDER_H

#include "inject/inject.h"
#include "inject/proc.h"
#include "inject/tracee.h"
#include "rewrite/plan.h"
#include "rt/layout.h"

#include <sys/stat.h>

#define TN_ORDER_MAX 65536u /* bytes of one datagram */

/* --------------------------------------------------------------------------------- state */

/* What is mapped into a target. R(NAME, what) */
#define TN_REGIONS(R)                                                                                        \
    R(NONE, "nothing")                                                                                       \
    R(AGENT_TEXT, "the agent's text and read-only data")                                                     \
    R(AGENT_DATA, "the agent's data")                                                                        \
    R(PROC, "marker, struct tn_proc, undo record, views of maps")                                            \
    R(PRIVATE, "struct tn_private")                                                                          \
    R(GATES, "gates")                                                                                        \
    R(STATS, "statistics of links")                                                                          \
    R(CLAIMS, "claims of CPUs")                                                                              \
    R(CALLS, "numbers of system calls under way")                                                            \
    R(MARKS, "calls that are left by tail jumps")                                                            \
    R(STACKS, "stacks of our own, for hooks where the host's may be full")                                   \
    R(SIGNALS, "what the host believes of signals that are ours, and breakpoints")                           \
    R(STUB, "code that makes calls for us, see stub.c")                                                      \
    R(SCRATCH, "messages with descriptors, while they are passed")                                           \
    R(MAP, "memory of map `id`")                                                                             \
    R(POOL, "pool of program `id`")                                                                          \
    R(TEXT, "text of program `id`")                                                                          \
    R(STASH, "arguments that program `id` at exits reads, kept since the entry")                             \
    R(STUBS, "a page of what punned jumps lead to")                                                          \
    R(NEAR_RECORDS, "hook records near a module")                                                            \
    R(NEAR_TEXT, "trampolines near a module")

enum tn_region_kind {
#define R(name, what) TN_REGION_##name,
    TN_REGIONS(R)
#undef R
};

struct tn_region {
    u32 kind, id;
    u64 addr, len;
    u64 used;     /* near regions: bytes handed out */
    u64 dev, ino; /* of the descriptor it was made from; 0: anonymous */
    u32 prot, shared;
};

/* A place in the target's code that is, or was, patched. Not forgotten while its code is mapped: its displaced
   instructions stay, since a thread may sleep in a displaced call. GONE: the code is mapped no longer, so nobody
   can return there: the memory of its displaced instructions may serve another site. */
enum tn_site_state {
    TN_SITE_FREE,
    TN_SITE_BARE,
    TN_SITE_GONE,
    TN_SITE_PATCHED,
    TN_SITE_PLANNED
}; /* from PATCHED on: ours */
struct tn_site {
    u64 addr;
    u64 dev, ino, offset; /* of the file, and of the place in it, when the site was made */
    u8 len, place, hook_before, ninsns;
    u8 state; /* enum tn_site_state */
    /* Of a punned patch (rewrite/pun.h): its jumps, the first njumps instructions' own, where they lead, and how many
       bytes behind it they end with. */
    u8 njumps, depends;
    bool rounds; /* jumps to a function's first instruction are led past its hook */
    u64 stub[TN_PUN_INSNS];
    u8 insn_off[16];
    u8 orig[TN_PATCH_MAX], patched[TN_PATCH_MAX];
    u64 insn_at[16];
    bool common;     /* serves all links of the process (counts vfork children): goes with the last of them */
    u64 head;        /* address of the word that leads to the first trampoline */
    u64 hook_return; /* where the last hook's `next` leads */
    u64 hook_at;     /* the jump to the first one, with what is before it displaced done */
    u64 func;        /* of which function this is the entry, or an exit; 0: neither */
    u64 displaced, displaced_len;
    u32 nhooks;
    u32 hooks;                   /* 1 + index of the first that is LIVE here; 0: none */
    u32 next_near, next_of_func; /* 1 + index of the next one: see tn_state.near, .func */
};

/* A hook record and its trampoline. RETIRED: out of the chain, but a thread may still be in it. */
enum tn_hook_state {
    TN_HOOK_FREE,  /* never used */
    TN_HOOK_SPARE, /* proved that nobody is in it: to be used again, a program's text to be unmapped */
    TN_HOOK_LIVE,
    TN_HOOK_RETIRED,
};
struct tn_hook_slot {
    u32 state, link_index;
    u32 site, prog;  /* indices */
    u64 hook, tramp; /* addresses */
    u32 tramp_cap, region;
    u32 first;                      /* bytes from there to where a chain leads (trampoline.h, fused) */
    u64 order;                      /* oldest first */
    u32 counter;                    /* 1 + index of the reference counter that goes down with it; 0: none */
    u32 next_of_site, next_of_link; /* LIVE: 1 + index of the next one */
    u32 mark;                       /* of a function left by a jump: as in mark.h; 0: none */
};

/* A reference counter of the host, and how much of it is ours: counter.c. */
struct tn_counter {
    u64 addr, dev, ino; /* of the mapping that holds it */
    u32 raised, pad;
};

#define TN_PROG_MAPS_MAX 64u /* maps of one program */
struct tn_prog_slot {
    u32 state; /* enum tn_hook_state */
    u32 prog_id, bit, nhooks;
    u32 nviews;
    u16 view[TN_PROG_MAPS_MAX]; /* the views of maps it uses, by index */
    u64 base[TN_PROG_MAPS_MAX]; /* and the memory they speak of */
    u64 pool, pool_size, text, text_len;
    u64 stash;    /* 0: it needs none */
    u64 dev, ino; /* of the text */
};

struct tn_view_slot {
    u32 id, used;
    u64 view, base; /* struct tn_map and the memory it speaks of */
    u64 dev, ino;
};

#define TN_STATE_REGIONS  1024u
#define TN_STATE_SITES    32768u
#define TN_STATE_HOOKS    32768u
#define TN_STATE_VIEWS    448u
#define TN_STATE_COUNTERS 1024u
#define TN_STATE_LISTS    16384u /* power of two */

/* A thread of the process is stopped between jobs. */
enum tn_held {
    TN_HELD_NOT,
    TN_HELD_START,  /* its only one: no instruction of the program has run */
    TN_HELD_LOADER, /* the one that has just mapped a library's code; the others go on */
};

struct tn_state {
    s32 pid;
    u32 held; /* enum tn_held */
    u64 start_time;
    u32 vfork_done;                 /* vfork-like sites are patched */
    u32 signals;                    /* enum tn_signals_on: some are ours (rt/signals.h) */
    u64 signals_entry, signals_set; /* … which: breakpoints may stand, loads may fault */
    u64 signals_adding;             /* … which are to be, and may be so half */
    u32 changing;  /* bytes are being changed: 1, or 2 + the index of the link that is being made */
    u32 leaving;   /* 1 + the index of a link that is to be taken away: an order that is not given twice */
    u32 unmapping; /* 1: all that is ours is, or will be in a moment */
    struct tn_lent lent;
    u32 confined; /* tn_proc_confined, when it was last looked at */
    u32 behind;   /* 1: bytes of a link that is gone could not be put back: fresh hands try once more */
    u64 filters;        /* tn_signals.filters then */
    /* One past the highest entry ever used: what lies behind is zero and need not be looked at. */
    u32 nregions, nsites, nhooks, nprogs, nviews;
    u32 nlive, nspare, ngone; /* hooks LIVE and SPARE, sites GONE */
    /* Where to find them (index.c). Each: 1 + index of the first in the list; 0: none. */
    u32 unsure;               /* lists and numbers were being changed: made again before anybody looks */
    u32 near[TN_STATE_LISTS]; /* sites, by a hash of the block their first byte lies in */
    u32 func[TN_STATE_LISTS]; /* sites, by a hash of their function */
    u32 link[TN_MAX_LINKS];   /* LIVE hooks of a link */
    struct tn_region region[TN_STATE_REGIONS];
    struct tn_site site[TN_STATE_SITES];
    struct tn_hook_slot hook[TN_STATE_HOOKS];
    struct tn_prog_slot prog[TN_SLOT_BITS];
    struct tn_view_slot view[TN_STATE_VIEWS];
    struct tn_counter counter[TN_STATE_COUNTERS];
    u32 counter_raising; /* 1 + index of the one that is being raised */
    u16 counter_before, pad;
    u64 next_order;
};

/*
 * All that a broker has mapped, for the one after it: a mapping is in here after it was made, and not any more before it is
 * unmapped. So whatever is in here is there, in a fork child as well; and what hands were killed over may be missing.
 */
struct tn_inventory {
    u64 count;
    struct tn_mapped {
        u64 addr, len, ino; /* 0: anonymous */
        u32 kind;
        u16 prot, shared;
    } range[TN_STATE_REGIONS];
};

/* The PROC region: struct tn_proc first (the agent's and another broker's view), then what is ours. */
#define TN_PROC_NAME      "tenon-proc" /* of its memfd, as /proc/PID/maps shows it */
#define TN_PROC_MARK_OFF  1024u        /* struct tn_mark */
#define TN_PROC_UNDO_OFF  4096u        /* TN_UNDO_COUNT × struct tn_undo: sites, then counters */
#define TN_PROC_VIEWS_OFF 1626112u     /* TN_STATE_VIEWS × struct tn_map, 128 bytes apart */
#define TN_VIEW_STRIDE    128u
#define TN_PROC_OURS_OFF  1683456u /* struct tn_own_code */
#define TN_PROC_LIST_OFF  1699904u /* struct tn_inventory */
#define TN_PROC_SIZE      1736704u
#define TN_UNDO_COUNT     (TN_STATE_SITES + TN_STATE_COUNTERS)
_Static_assert(TN_PROC_UNDO_OFF + TN_UNDO_COUNT * sizeof(struct tn_undo) <= TN_PROC_VIEWS_OFF, "undo record");
_Static_assert(TN_PROC_VIEWS_OFF + TN_STATE_VIEWS * TN_VIEW_STRIDE <= TN_PROC_OURS_OFF, "views");
_Static_assert(TN_PROC_OURS_OFF + sizeof(struct tn_own_code) <= TN_PROC_LIST_OFF &&
                   TN_OWN_MAX >= TN_STATE_REGIONS,
               "ours");
_Static_assert(TN_PROC_LIST_OFF + sizeof(struct tn_inventory) <= TN_PROC_SIZE, "inventory");
_Static_assert(sizeof(struct tn_map) <= TN_VIEW_STRIDE && sizeof(struct tn_proc) <= TN_PROC_MARK_OFF,
               "layout");

/* Of which process this marker speaks: a fork child inherits its parent's. */
struct tn_mark {
    u64 start_time;
    u32 pid, pad;
};

/* -------------------------------------------------------------------------------- orders */

/* O(NAME, request): what follows struct tn_order. */
#define TN_ORDERS(O)                                                                                                    \
    O(HELLO)  /* → the state's descriptor */                                                                          \
    O(BORROW) /* a = wait_ms, b = 1: brokers that are gone have been here → struct tn_borrow_facts */                 \
    O(MAP)    /* struct tn_keep, struct tn_map_req[n], descriptors; all or nothing */                                   \
    O(RETURN) /* the borrowed thread goes on */                                                                         \
    O(WRITE)  /* n × (struct tn_write, bytes): into memory of ours that nothing leads to yet */                        \
    O(INSTALL) /* struct tn_install_req, struct tn_place_req[n] → struct tn_install_facts; a link of many        \
                  places takes several */    \
    O(SIGNALS) /* n = which (32 bits of a set), a = handler, b = where it returns to, c = ms: they become ours, calls \
                  being guarded */ \
    O(UNLINK) /* a = link: what has been installed of it is taken back */                                               \
    O(TAKE) /* a = PROC region of a dead holder, struct tn_undo[n]: bytes put back; b = 1: the last, marker        \
                 cleared */    \
    O(RUN_TO) /* a = address of the loader's breakpoint, b = of its state word, c = of the entry;           \
                  held only */

enum tn_order_op {
#define O(name) TN_ORDER_##name,
    TN_ORDERS(O)
#undef O
};

struct tn_order {
    u32 op, n;
    u64 a, b, c;
};
struct tn_reply {
    s32 err;
    u32 pad;
    struct tn_error why;
};

struct tn_borrow_facts {
    u64 fs_base;
    s32 tid;
    u32 interrupted;
    u32 suspended_seccomp, threads;
    u32 allowed_syscalls, pad; /* see tn_proc */
};

/* Of what is there already, and nobody may have used yet or any more, what this job is about to use. */
struct tn_keep {
    u32 slot; /* index of a program; TN_SLOT_BITS: none */
    u32 prog_id, nmaps, pad;
    u32 map[TN_PROG_MAPS_MAX]; /* by identifier */
};

/* One MAP order: ours for a process, a program with 64 maps, a page for each stub. */
#define TN_STUB_PAGES   384u /* of one process: where punned jumps lead */
#define TN_MAP_REQS_MAX (96u + TN_STUB_PAGES)
struct tn_map_req {
    u32 kind, id;
    u64 addr, len; /* fixed place, must be free */
    u32 prot, shared;
    s32 fd;   /* index among the passed descriptors; −1: anonymous */
    u32 wipe; /* MADV_WIPEONFORK */
    u64 offset;
};

/* Memory that was handed out before may be written again where it is a spare hook's, or a site's whose code is gone. */
enum tn_write_where { TN_WRITE_FRESH, TN_WRITE_HOOK, TN_WRITE_SITE };
struct tn_write {
    u64 addr;
    u32 region, len;  /* index; bytes that follow, filled up to eight */
    u32 where, index; /* enum tn_write_where; of the hook or site */
};

struct tn_place_req {
    struct tn_change_wire {
        u64 addr;
        u8 len, place, hook_before, ninsns;
        u8 njumps, depends, rounds; /* as of struct tn_site; from and to hold the bytes behind as well */
        u8 insn_off[16];
        u8 from[TN_PATCH_MAX], to[TN_PATCH_MAX];
        u64 insn_at[16];
    } change;
    u64 head, hook_return, hook_at, func, displaced, displaced_len;
    u64 stub[TN_PUN_INSNS];
    u64 hook, tramp; /* 0: a place that serves all links, without a hook of its own */
    u32 tramp_cap, region;
    u32 first;   /* as of struct tn_hook_slot */
    s32 site;    /* index of the site if known already, else −1 */
    s32 slot;    /* index of a spare hook slot that is used again, else −1 */
    u32 common;  /* 1: the site serves all links */
    u32 keeps;   /* its hook keeps arguments for the exits, and so comes before all that run programs */
    u64 counter; /* address of its reference counter; 0: none */
    u32 mark;    /* as of struct tn_hook_slot */
};
struct tn_install_req {
    u32 link_index, nplaces;
    u32 vfork_done;
    u32 more;  /* 1: orders with more places of the link follow; should they not come, it is taken back */
    u32 nused; /* near regions whose use grows */
    struct {
        u32 region, pad;
        u64 used;
    } used[8];
    struct tn_prog_slot prog;
    u32 stuck_ms, pad2;
};
struct tn_install_facts {
    u64 hold_ns_max;
    u32 threads, interrupted;
};

/* ------------------------------------------------------------------- broker to guardian */

enum tn_task_op {
    TN_TASK_JOB,     /* descriptor: job socket; the injector is at its other end */
    TN_TASK_DETACH,  /* a = link, b = wait_ms; descriptor: where struct tn_attach_result goes */
    TN_TASK_HOLD,    /* descriptor: the same */
    TN_TASK_CATCH,   /* a = thread that waits in exec or open until this is answered, b = it is exec, c, d =
                        device and inode of the file; descriptor: the same */
    TN_TASK_CAUGHT,  /* answered when the process of an earlier CATCH is held, or has gone on; descriptor: the
                        same */
    TN_TASK_RELEASE, /* descriptor: the same */
    TN_TASK_FORGET,  /* a = link: detach without an answer (an injector died before it told) */
};
struct tn_task {
    u32 op, pad;
    u64 a, b, c, d;
};

/* Datagrams with descriptors. TN_FDS_MAX descriptors at most. Return bytes, 0 at hang-up, or −errno. */
ssize_t tn_send(int sock, const void *a, size_t alen, const void *b, size_t blen, const int *fds, u32 nfds);
ssize_t tn_recv(int sock, void *ret_bytes, size_t cap, int *ret_fds, u32 *ret_nfds);
#define TN_FDS_MAX 128u /* the kernel passes 253 */

/* Does the site's jump lead into these bytes? */
bool tn_site_leads(const struct tn_site *s, u64 addr, u64 len);
/* Would a change at `addr` meet that of a site? */
bool tn_site_meets(const struct tn_site *s, u64 addr, u32 len, u32 depends);
/* Is the stub of a site whose code is there among `len` bytes from `addr` on? `but`: of another one than that. */
bool tn_state_stub(const struct tn_state *st, u64 addr, u64 len, s32 but);
const struct tn_region *tn_state_region(const struct tn_state *st, u32 kind, u32 id);
/* Is every entry kept that the exits of program `prog` (an index) may ask for? */
bool tn_state_keeps(const struct tn_state *st, u32 prog);

/* index.c */
/* Lists of sites, which hold others too: those whose first byte lies in the same block as `addr`, those of a
   function. 1 + index of the first; 0: none. */
u32 tn_state_near(const struct tn_state *st, u64 addr);
u32 tn_state_func(const struct tn_state *st, u64 func);
/* A site other than `but` that is ours and that such a change would meet (tn_site_meets); −1: none. */
s32 tn_state_overlap(const struct tn_state *st, u64 addr, u32 len, u32 depends, s32 but);
/* A site into its lists, and out of them: before its address or function changes. */
void tn_state_list_site(struct tn_state *st, u32 site);
void tn_state_unlist_site(struct tn_state *st, u32 site);
/* The same for a hook that becomes LIVE, or RETIRED. */
void tn_state_list_hook(struct tn_state *st, u32 hook);
void tn_state_unlist_hook(struct tn_state *st, u32 hook);
/* All lists and numbers from the entries. */
void tn_state_list_all(struct tn_state *st);

/* The guardian's process: runs until the target or the broker is gone. Never returns. */
struct tn_guardian {
    pid_t pid;    /* target */
    int broker;   /* socket */
    int gates;    /* writable memfd */
    int state_fd; /* memfd of struct tn_state: the broker has it too, for a guardian that is killed */
    int pidfd;    /* of the target */
    pid_t broker_pid;
    u64 broker_start;
    u32 ncpu;
};
void tn_guardian_run(const struct tn_guardian *g) __attribute__((noreturn));

/* A process of ours that lives beside the broker: in a session of its own, deaf to the signals that people send
   to whole groups, under a name of its own. */
void tn_step_aside(const char *name);
/* Keeps the descriptors in keep[], which get the numbers from 3 on, and closes all others. −EMFILE. */
int tn_keep_only(int *keep, u32 n);

/* ------------------------------------------------------------------------------- injector */

#define TN_PLANNED_SYMBOL 0x100u /* not a plan: `addr` is the value of the dynamic symbol `symbol`, 0: none */

/* What planning has found, for the same place in another process (or the same file again). */
#define TN_PLANNED_MAX    4096u
#define TN_PLANNED_ALL    0u /* file_offset of system calls: all of them, or those that may be a vfork */
#define TN_PLANNED_VFORKS 1u
enum tn_vectors { TN_VECTORS_UNKNOWN, TN_VECTORS_XMM, TN_VECTORS_WIDE };
struct tn_planned {
    u64 dev, ino, mtime_ns, size; /* of the file */
    u64 file_offset;
    u32 place; /* enum tn_place_kind, of system calls all in the file; or TN_PLANNED_SYMBOL */
    u32 npatches;
    u64 addr;          /* virtual address of the place, or of the first system call */
    u64 symbol_offset; /* of system calls, the first one's offset in the file */
    u32 vectors;       /* enum tn_vectors: what may be live at the module's entries */
    u32 entry;         /* something begins there, if only by unwind information */
    u32 no_puns;       /* asked for where punned jumps could not be had */
    u32 refused; /* of a link that takes what can be hooked: this cannot, for the reason that `tactic` tells */
    u32 go;      /* of system calls: the file is Go's, whose stacks are small */
    char symbol[128], tactic[32];
    struct tn_patch patch[];
};
static inline size_t tn_planned_size(const struct tn_planned *p)
{
    return sizeof(*p) + p->npatches * sizeof(struct tn_patch);
}

/* Plans by file and place: plans.c. */
struct tn_plans {
    struct tn_planned **plan; /* oldest first; owned */
    u32 n, cap;
    u64 bytes;
    u32 *slot; /* open addressing: 1 + index, 0: none */
    u32 nslots;
};
/* Takes `p` over, also when it fails. Of two of the same place the newer is found. */
int tn_plans_add(struct tn_plans *plans, struct tn_planned *p);
/* The head of what is looked for: the place in exactly this file, not an older or newer one of its name. */
struct tn_planned tn_plans_key(const struct stat *file, u64 file_offset, u32 place);
/* NULL: not known. A key with `vectors` wants a plan that has them too; a symbol's is known by its name. */
const struct tn_planned *tn_plans_find(const struct tn_plans *plans, const struct tn_planned *key);
/* Forgets the oldest until at most `bytes` are left. */
void tn_plans_trim(struct tn_plans *plans, u64 bytes);
void tn_plans_clear(struct tn_plans *plans);

/* The injector's process: one job. */
struct tn_brain {
    const struct tn_shared *shared;
    const struct tn_attach_spec *spec;
    int agent; /* sealed memfd of the agent's image */
    int job;   /* socket to the guardian */
    const struct tn_plans *cache;
    struct tn_plans fresh; /* new plans of this job, to be kept by the broker */
};
int tn_brain_attach(struct tn_brain *b, struct tn_attach_result *ret_result);

/* Called with the name of each step before it is taken, in the injector's process:
   tests stop or kill there. */
extern void (*tn_inject_step)(const char *step);
/* Tests: exec is treated as before Linux 6.8 (hold.c). */
extern bool tn_inject_exec_locks;

/* facts.c: what the agent must know of its process. `fs_base`, `tid`: of a thread that is held. What `maps` tells may be gone by
   now: all that is read there is checked. */
int tn_facts_fill(struct tn_brain *b, pid_t pid, u64 fs_base, pid_t tid, u32 allowed_syscalls,
                  const struct tn_maps *maps, struct tn_proc *ret_proc);
/* How this processor saves vector and x87 state: xsave_* of *ret_proc. Pure but for CPUID. */
void tn_facts_xsave(struct tn_proc *ret_proc);
/* Value of a dynamic symbol of the file behind `fd`, looked up once for all jobs; −ENOENT. */
int tn_dynsym(struct tn_brain *b, int fd, const char *name, u64 *ret_value);
/* Opens the file of a mapping as the process sees it. */
int tn_open_mapped(pid_t pid, const struct tn_maps *maps, const struct tn_vma *vma);
/* The mapping of a marker, to look at it: anybody may give a file that name. */
bool tn_is_marker(const struct tn_maps *maps, const struct tn_vma *vma);
int tn_peek(pid_t pid, u64 addr, void *ret_bytes, u64 len);

#endif
