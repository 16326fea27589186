/* SPDX-License-Identifier: MIT */
/*
 * What our own command line asks of the broker beyond bpf(2): TN_CALL_CTL with b = enum tn_ctl, payload = the
 * request struct, answered by DONE with the reply struct(s) as payload. Everything that bpf(2) can say goes
 * through bpf(2). Fixed-size records, native endianness, one machine.
 */
#ifndef TN_BROKER_CTL_H
#define TN_BROKER_CTL_H

#include "base/base.h"
#include "base/tally.h"
#include "eim/eim.h"
#include "verify/verify.h"

enum tn_ctl {
    TN_CTL_STATUS,     /* –                     → struct tn_ctl_status */
    TN_CTL_OPTIONS,    /* struct tn_ctl_options → –   for links this connection makes from now on */
    TN_CTL_LAST_ERROR, /* –                     → struct tn_ctl_error: why the last call on this connection
                          failed */
    TN_CTL_LINK_NEXT,  /* u32 id (0: first)     → struct tn_ctl_link of the next higher id, or −ENOENT */
    TN_CTL_LINK_KEEP, /* u32 id                → –   the broker holds a reference until it is detached by id
                       */
    TN_CTL_LINK_DETACH, /* struct tn_ctl_detach  → –   closes the gate, restores bytes, waits for runs
                           (bounded) */
    TN_CTL_HOLD,        /* s32 pid               → –   the process is caught at its next exec and held */
    TN_CTL_RELEASE,     /* s32 pid               → – */
    TN_CTL_PROG_FACTS,  /* u32 prog id           → struct tn_ctl_facts */
    TN_CTL_TRACE_READ,  /* –                     → text of trace_printk not read yet (may be empty) */
    TN_CTL_VERDICT, /* –                     → struct tn_ctl_verdict of the program that options.judged names
                     */
    TN_CTL_HOST, /* struct tn_ctl_host   → struct tn_ctl_hosted: whose types this connection sees from now on */
    TN_CTL_SCOPE, /* struct tn_ctl_scope   → –   whose system calls are meant where an event names no process */
    TN_CTL_CLASS, /* struct tn_ctl_class   → –   what options.klass says, and the options stay */
    TN_CTL_USES,  /* struct tn_ctl_uses_of → struct tn_ctl_uses: what a program was found to need */
    TN_CTL_LINK_HELD, /* struct tn_ctl_held_of → struct tn_ctl_held: whom, and where, a link's policy asks about */
    TN_CTL_KERNEL, /* struct tn_ctl_kernel  → –   may a program be placed by the kernel instead? */
    TN_CTL_CLOSED, /* struct tn_ctl_closed  → –   a descriptor of ours: if it was the last of its kind, it is done */
    TN_CTL_SHUTDOWN, /* –                     → –   −EBUSY while kept links are there */
    TN_CTL_MAX,
};

struct tn_ctl_status {
    u32 pid, uid;
    u32 progs, maps, links, btfs, targets, connections;
    u64 started_ns; /* CLOCK_BOOTTIME */
    char version[32];
};
struct tn_ctl_options {
    u32 follow;      /* 0 or 1 */
    u32 wait_ms;     /* for a thread that can be borrowed */
    u32 interpret;   /* 1: test runs are interpreted, not compiled */
    u32 some;        /* 1: links of many places leave out those that cannot be hooked */
    u32 recorded;    /* 1: what is judged is held against no class, and all that it asks is written down */
    char judged[16]; /* PROG_LOAD of a program of this name gives a verdict and nothing that can run, and maps
                        of types that are not served are shapes without memory; "": nothing is judged */
    char klass[64]; /* of the programs that this connection loads; "": they say it, or their kind's applies */
};
struct tn_ctl_class {
    char name[64]; /* as options.klass */
};
struct tn_ctl_error {
    struct tn_error why; /* empty reason: nothing failed */
    u32 has_refusal;     /* a verifier's refusal follows */
    u32 link;            /* the one that the last call has made instead; 0: none */
    u64 insns_processed;
    struct tn_refusal refusal;
};
struct tn_ctl_verdict {
    u32 judged; /* 0: no such program was loaded yet, the rest is zero */
    u32 accepted;
    u32 available; /* accepted, and PROG_LOAD would take it */
    u32 pad;
    struct tn_error missing;   /* why it is not available */
    struct tn_refusal refusal; /* when not accepted */
    struct tn_facts facts;     /* when accepted */
    u64 insns_processed, total_states, peak_states, max_states_per_insn, verify_ns;
    u32 nmaps;
    char map[64][16]; /* their names, as facts.maps_used counts them */
    u32 nkfuncs;      /* functions of the host that it calls; of these, as many names as there is room for */
    char kfunc[32][64];
};
#define TN_CTL_SCOPE_PIDS 64u
struct tn_ctl_link {
    u32 id, prog_id;
    s32 pid; /* −1: all processes of the file at the time of attaching */
    u32 kept, follow, is_exit;
    u32 is_call;       /* of system calls: `symbol` is the name of one, or "" for all */
    u32 ended;         /* the target has exited */
    u32 targets;       /* processes it is in */
    u32 all, watched;  /* every process of the file is meant; those that come later are seen */
    char why_not[192]; /* or why they are not */
    u32 failed;        /* later processes that could not be entered, and why the last of them */
    char failure_reason[48], failure[192];
    char prog[64];     /* full name from BTF where there is one */
    char target[4096]; /* file */
    char symbol[128];
    u64 offset; /* from the symbol, or in the file where there is none */
    u64 file_offset, address, cookie;
    char kind[16]; /* "uprobe", "uretprobe", "sysenter", "sysexit", "fentry" … */
    char tactic[32];
    u64 missed, recursion;
    u64 attach_ns, hold_ns_max; /* how long attaching took, and the longest time a thread was held */
    u32 many;                   /* places that a link of many was asked for; 0: it is none */
    u32 left_in;                /* processes in which any were left */
    /* Of the process in which most were left: instructions that are hooked; of system calls, those that were left as they are;
       of many, places that were. */
    u32 places, left;
    char left_why[512]; /* … where and why */
    struct tn_tally by; /* of those that are hooked, how many by which tactic */
};
/* Of a link of system calls: what is not seen, and why, as a sentence. */
static inline void tn_ctl_left(const struct tn_ctl_link *link, char *ret_text, size_t cap)
{
    char in[64] = "";

    if (link->targets > 1)
        snprintf(in, sizeof(in), " in %u of %u processes, in one of them", link->left_in, link->targets);
    snprintf(ret_text, cap,
             "left as they are%s %u place%s that may make %.*s; calls made there are not seen %s: %.*s", in,
             link->left, link->left == 1 ? "" : "s", (int)sizeof(link->symbol),
             link->symbol[0] ? link->symbol : "system calls",
             link->is_exit ? "as they end" : "as they are entered", (int)sizeof(link->left_why),
             link->left_why);
}
/* None: no process is chosen. */
struct tn_ctl_scope {
    u32 npids, pad;
    s32 pid[TN_CTL_SCOPE_PIDS];
};
/* A binary, and the processes of it that typed programs are placed in; without a path what the first of these runs. */
#define TN_CTL_HOST_PIDS 64u
struct tn_ctl_host {
    u64 path; /* address of a string in the tool; 0: none */
    u32 npids, pad;
    s32 pid[TN_CTL_HOST_PIDS];
};
struct tn_ctl_hosted {
    char name[16]; /* as a module */
    char source[24];
    u32 functions, variables, types, cached;
};
/* Ids of types are those of the host's types, split over vmlinux (broker/vmlinux.h). */
#define TN_CTL_USES_ROWS 48u
struct tn_ctl_uses_of {
    u32 prog_id; /* 0: the one that options.judged names */
    u32 from;    /* which row first */
};
struct tn_ctl_use {
    struct tn_eim_use use;
    u32 line, column, text_column; /* as of struct tn_refusal */
    char file[256], text[256];
};
struct tn_ctl_uses {
    u32 total, n; /* of all, and in `row` */
    u32 type;     /* of the program */
    u32 exit;     /* it is for the return of a function */
    u32 known;    /* `row` speaks of the host's types */
    struct tn_eim_needs needs;
    char klass[64];                 /* under which it was loaded; "": none */
    char host[4096], function[128]; /* whose types, and which function it is attached to by type; "" */
    struct tn_ctl_use row[TN_CTL_USES_ROWS];
};
#define TN_CTL_HELD_GROUPS 4096u
struct tn_ctl_held_of {
    u32 id;
    u32 group; /* which one first */
    u32 host;  /* 0 at first, then as the last answer says */
};
struct tn_ctl_held {
    u32 uid;        /* who made it */
    u32 ngroups, n; /* those that his process had, and how many of them are in `group` */
    u32 next;       /* what to ask for as `host` next */
    u32 group[TN_CTL_HELD_GROUPS];
    char host[4096]; /* a file whose policy it is held to; "": there is none left */
};
struct tn_ctl_kernel {
    u64 path;      /* of the file that it is placed in: address of a string in the tool */
    u32 done, pad; /* 0: asked; 1: it is there now, and the journal has it */
    char prog[64];
};
struct tn_ctl_closed {
    u64 dev, ino; /* of the socket that it was */
};
#define TN_CTL_DETACH_MS 1000u /* for whoever has no wish of his own */
struct tn_ctl_detach {
    u32 id;
    u32 wait_ms; /* for runs under way */
};
struct tn_ctl_facts {
    struct tn_facts facts;
    u64 insns_processed, total_states, peak_states, verify_ns, jit_ns;
    u32 text_len, entry;
};

#endif
