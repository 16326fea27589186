/* SPDX-License-Identifier: MIT */
/*
 * The parts of the injector, in the order in which they work; brain.c says what for. Not for others.
 */
#ifndef TN_INJECT_BRAIN_H
#define TN_INJECT_BRAIN_H

#include "inject/order.h"
#include "rewrite/pun.h"

#define TN_REACH         ((1ull << 31) - (1u << 20)) /* of a 32-bit displacement, with a margin */
#define TN_WRITES_MAX    32768u
#define TN_RESTORERS_MAX 8u

#define TN_COPIES_MAX 16u /* of a file in one process */

/* One job. */
struct tn_entry {
    struct tn_brain *b;
    const struct tn_attach_spec *spec;
    const struct tn_state *st;
    struct tn_maps maps;
    struct tn_error *err;
    pid_t pid;
    u64 place_addr, bias; /* in the target: of the first place; of its file, in the copy that is looked at */
    u32 copy;             /* which one: 0, the first place's */
    u64 mod_lo, mod_hi;
    /* Of each place, and of the entry of the function whose exits are hooked, where something is kept for them (`before`
       is NULL where nothing is); owned arrays. */
    const struct tn_planned **plans, **before;
    const struct tn_planned *plan; /* the first; NULL for system calls */
    /* What is to be patched: by address, without those that others write over. */
    struct tn_wish {
        const struct tn_patch *patch;
        u64 bias;
        bool hook, common; /* … counts vfork children for all links */
        bool needed;       /* without a hook, but not to be left out */
        bool keeps;        /* the hook keeps arguments for the exits */
        bool loads;        /* the hook's is no program, but the agent's look at what has been loaded */
        u32 place;         /* of the spec … */
        u32 copy;          /* … in which of the copies of its file */
        u16 mark;          /* of calls of the place that are left by a jump (mark.h); 0: none is */
        u64 func;          /* address of the place; of system calls 0 */
        u64 counter;       /* of the reference counter that goes with this one; 0: none */
        u32 round;         /* so many of the link are at this very place before it */
        u32 ways;          /* bit k: the patch k places behind this one would do as well */
        u8 way;            /* so many places behind the first one is the patch that was chosen */
        bool dropped;      /* its place is left as it is */
        struct tn_pun pun; /* of a punned one that is not there already: chosen with the addresses */
        u64 leads;         /* a jump through a word (tn_patch.slot): what was there */
    } * wish;
    u32 nwishes;
    struct {
        bool no_puns; /* there was no room for a punned jump: a breakpoint instead */
        bool kept;    /* the program changes a register that is not to be changed there */
        bool out;     /* left as it is, in one copy of the file at least */
        bool met;     /* it is in one copy at least */
    } * at;           /* of each place, owned; NULL for system calls */
    bool again;       /* a no_puns was found just now: to be planned again */
    /* Returns from handlers, which lie in no function that is known: 0 where there is none. */
    struct tn_patch restorer[TN_RESTORERS_MAX];
    u32 nrestorers;
    bool ask_tsc;                 /* nothing has told us of the time stamp counter since it was asked for */
    u32 reads;                    /* enum tn_reads; NONE: nothing is to be done for it */
    struct tn_attach_result *res; /* where what is left is told */
    struct tn_tally left;         /* of the places of a link of many */
    /* requests of the MAP order */
    struct tn_map_req req[TN_MAP_REQS_MAX];
    u32 nreq;
    int fds[TN_FDS_MAX];
    u32 nfds;
    u32 place_need;            /* bytes of near text that a place takes at most */
    u32 next_spare, next_gone; /* hook slots and sites below were looked at */
    struct tn_range avoid[TN_MAP_REQS_MAX];
    u32 navoid;
    struct tn_borrow_facts borrowed;
    u32 prog_bit;
    bool prog_known;
    bool gone_left; /* there are markers of brokers that are gone */
    /* What a parent's links have left in this copy of its memory: put back when all is ready for ours. */
    struct {
        u64 proc; /* 0: nothing */
        struct tn_undo *undo;
        u32 n;
        pid_t parent;
    } inherited;
    /* body of the next WRITE order */
    u32 nwrites;
    u64 writes_len;
    u8 writes[TN_WRITES_MAX];
};

/* brain.c: one order to the hands and its answer; writes are gathered, and made when there is no room for
   more or tn_brain_flush says so. */
int tn_brain_order(struct tn_entry *c, u32 op, u32 n, u64 a, u64 b, u64 third, const void *body, size_t len,
                   const int *fds, u32 nfds, void *ret, size_t nret);
int tn_brain_write(struct tn_entry *c, u64 addr, const struct tn_region *reg, const void *bytes, u64 len);
/* The same where it was handed out before. */
int tn_brain_write_again(struct tn_entry *c, u64 addr, const struct tn_region *reg, enum tn_write_where where,
                         u32 index, const void *bytes, u64 len);
int tn_brain_flush(struct tn_entry *c);

/* One more place that a link stands at, by the tactic that was chosen for it. */
void tn_brain_count(struct tn_entry *c, const struct tn_wish *w);
/* Tells the tests which step comes next. */
void tn_brain_step(const char *name);

/* Bytes of the table in which arguments are kept for the spec's program; 0: it reads none at an exit. */
u64 tn_brain_stash_size(const struct tn_attach_spec *spec);

/* look.c */
int tn_look_process(struct tn_entry *c);
int tn_look_markers(struct tn_entry *c);
/* Puts back what was inherited. */
int tn_look_take(struct tn_entry *c);
/* The first mapping of the spec's file that holds the place. −ENOENT. */
int tn_look_place(struct tn_entry *c);
/* Index of the site that is this patch at an address; −1: none. */
s32 tn_look_site(const struct tn_entry *c, u64 addr, const struct tn_patch *p);
static inline bool tn_site_is(const struct tn_site *s, u64 addr, const struct tn_patch *p)
{
    return s->addr == addr && s->len == p->len && s->hook_before == p->hook_before &&
           s->njumps == (p->punned ? p->ninsns : 0) && s->rounds == (p->rounds != 0);
}
/* places.c, calls.c, guards.c: what is to be patched: the places of the spec, in all copies of their file, or all system
   calls that it means; and those that may be a vfork. Bytes that are neither the file's nor ours refuse a place; a system
   call is left, and counted. Where the link is already, wishes are marked as dropped. */
int tn_plan_place(struct tn_entry *c);
int tn_plan_syscalls(struct tn_entry *c);
/* A link that is there already, in a process that has more code by now: what is there is counted, and what remains is to be hooked.
   False: nothing; then all of it stays for who tells of it. */
bool tn_plan_rest(struct tn_entry *c);
int tn_plan_vfork(struct tn_entry *c);
/* Where breakpoints are to stand: every call that touches a mask or a handler, or a refusal (signals.c). */
bool tn_plan_breaks(const struct tn_entry *c);
int tn_plan_guards(struct tn_entry *c);
/* Where the program makes calls: those by which the process would confine itself, as far as they can be hooked. */
int tn_plan_confines(struct tn_entry *c);
void tn_plan_clear_wishes(struct tn_entry *c);
/* A place of many that cannot be hooked after all, in one copy of the file, for this reason: it is left as it is, and told of;
   what was wished for it is dropped, and then forgotten. */
void tn_plan_drop_place(struct tn_entry *c, const struct tn_wish *w, const char *reason);
void tn_plan_forget_dropped(struct tn_entry *c);

/* loads.c: does the link's program read memory of the host, and is that not by loads yet? What must be hooked for it, if that can
   be. What has turned out not to be had. The order itself, and what has come of it; fails only where the link does. */

bool tn_loads_wanted(const struct tn_entry *c);
int tn_plan_loads(struct tn_entry *c);
void tn_loads_refuse(struct tn_entry *c, u32 why);
bool tn_loads_allowed(const struct tn_proc *facts);
int tn_loads_take(struct tn_entry *c, u64 handler, u64 restorer);

/* choose.c: all requests of the MAP order. */
int tn_choose(struct tn_entry *c);
/* What only a first entry needs, and what calls need that map anything. */
int tn_choose_proc(struct tn_entry *c, int proc_fd);
int tn_choose_means(struct tn_entry *c);
/* The near region with the most room, none of `but`, by the id both its halves carry; −1: none has enough. */
s32 tn_choose_near(const struct tn_entry *c, u64 lo, u64 hi, u64 text, u64 records, const u32 *but, u32 nbut);

/* compose.c: what is written into memory of ours, and the INSTALL order. */
int tn_compose_proc(struct tn_entry *c, struct tn_proc *p);
int tn_compose_program(struct tn_entry *c, struct tn_prog_slot *ret_prog);
int tn_compose_links(struct tn_entry *c, const struct tn_prog_slot *prog, const struct tn_proc *facts,
                     struct tn_install_facts *ret);

#endif
