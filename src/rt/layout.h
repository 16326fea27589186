/* SPDX-License-Identifier: MIT */
/*
 * What memory looks like, wherever two processes, or compiled code and C, must agree on it.
 *
 *   shared between processes (untrusted by all: every index is checked where it is used)
 *     map memory        one memfd a map: elements, buckets, lock words. Offsets and indices only, never
 *                       pointers.
 *     gates             one memfd a broker: a byte a link; targets map it read-only (from a read-only
 *                       descriptor).
 *     link statistics   one memfd a broker: 64 bytes a link; written by targets, shown to people, trusted by
 *                       none.
 *     CPU claims        one memfd a broker: 64 bytes a possible CPU.
 *
 *   private to a target (written by the injector; the target can only read what is marked r)
 *     struct tn_proc    r   what the agent must know of its process
 *     struct tn_map     r   this process's view of a map: its geometry and where it is mapped
 *     struct tn_hook    r   one record a link and place
 *     struct tn_private rw  MADV_WIPEONFORK: all zero in a fork child
 *
 * A geometry is never read from shared memory: each process gets it from the broker, and keeps it privately.
 *
 * Compiled code reaches these by the offsets asserted in tramp_slot.c and lower_call.c.
 */
#ifndef TN_RT_LAYOUT_H
#define TN_RT_LAYOUT_H

#include "base/base.h"

/* ------------------------------------------------------------------------------- maps */

/* Where things lie in a map's memory. Pure function of the attributes and the number of possible CPUs
   (tn_map_geometry). All offsets in bytes from the start of the mapping. A type uses those it needs. */
struct tn_map_geo {
    u32 type;       /* BPF_MAP_TYPE_* */
    u32 key_size;   /* bytes */
    u32 value_size; /* bytes, as the user said it */
    u32 max_entries;
    u32 map_flags;    /* BPF_F_* */
    u32 ncpu;         /* possible CPUs */
    u32 value_stride; /* bytes from one value to the next: value_size rounded up to 8 */
    u32 elem_stride;  /* bytes from one element to the next (hashes: header + key + value or values). Per-CPU
                         array:  bytes from one CPU's area to the next; a value is at  value_off + cpu ×
                         elem_stride + index × value_stride */
    u32 nbuckets;     /* hash: a power of two */
    u32 nelems;       /* hash: elements in memory: max_entries and a few spare ones for replacing */
    u64 value_off;    /* array: values; ring buffer: data area. An mmapable array has 0 here. */
    u64 bucket_off;   /* hash: bucket heads */
    u64 ctl_off;      /* control block of the type (counters, free lists, lock words, wake word) */
    u64 mmap_size;    /* what a tool may map from offset 0 (0: not mmapable) */
    u64 size;         /* whole, a multiple of the page size */
};

/* One process's view of a map. Never in shared memory. Compiled code inlines array look-ups with constants of
   the geometry and loads only `base` from here. */
struct tn_map {
    u8 *base; /* the mapping */
    struct tn_map_geo geo;
    u32 id; /* the broker's id of the map */
    u32 pad;
};

/* ------------------------------------------------------------------- threads and processes */

/*
 * One a thread, found by hashing the thread pointer (fs base), so that "is this program already running on
 * this thread" costs no locked instruction: after `owner` was claimed once by compare-and-swap, only that
 * thread writes here. Bits are numbered by tn_hook.prog_bit. When no slot is free, one of the overflow slots
 * is claimed for the run.
 */
#define TN_SLOT_COUNT      1024u /* power of two */
#define TN_SLOT_PROBES     8u    /* neighbours looked at before overflow */
#define TN_SLOT_OVERFLOW   32u
#define TN_SLOT_BITS       320u        /* programs a process can host at once */
#define TN_SLOT_HASH_MUL   0x9E3779B1u /* 2³² ÷ golden ratio: Knuth's multiplicative hashing */
#define TN_SLOT_HASH_SHIFT 22u
struct tn_slot {
    u64 owner; /* fs base; 0 = free */
    u64 running[TN_SLOT_BITS / 64];
    u64 sp;  /* where the outermost run's frame is; 0 = no run (see below) */
    u64 rnd; /* state of get_prandom_u32 */
};
_Static_assert(sizeof(struct tn_slot) == 64, "one cache line a thread");

/*
 * A run can be abandoned: a signal handler that interrupted it leaves by siglongjmp. Its bit would disable
 * the program on this thread for ever. So the outermost run leaves its address:
 *
 *     enter   if (slot->sp == 0) slot->sp = run;   then set the bit
 *     leave   clear the bit;   if (slot->sp == run) slot->sp = 0;
 *
 * (A trampoline stores the lowest address of its frame instead of the run's.) A bit found set with sp == 0,
 * or with sp not above the end of the present run on the same stack, belongs to nobody: a live outer frame
 * lies wholly above. tn_agent_enter applies this if the caller says TN_ENTER_SP, i.e. that whoever sets bits
 * inline keeps sp too.
 */

/* Where a thread's slot is first looked for. `tp`: the thread pointer (fs base). */
#define TN_SLOT_HASH(tp) ((u32)(u64)(tp)*TN_SLOT_HASH_MUL >> TN_SLOT_HASH_SHIFT)
_Static_assert(TN_SLOT_COUNT == 1u << (32 - TN_SLOT_HASH_SHIFT), "TN_SLOT_HASH");

/* "This very process" and "no vfork child is running": anything else takes the slow way.
   Low half: 1 in the process that was attached to; 0 in its fork children (the page is wiped), and 2 once the agent
   has found itself in one by a link that follows: for such links, 1 and 2 are as good.
   High half: vfork-like calls in flight, counted by the patched call sites. */
#define TN_ARMED        1ull
#define TN_ARMED_FORKED 2ull
#define TN_VFORK_UNIT   (1ull << 32)
/* System calls of the agent's own that may be about to be made, counted by where their threads have their stacks:
   whoever takes a permission away (tn_signals.denied) waits for those that have seen it. */
#define TN_WAYS         16u
struct tn_way {
    u64 under;
    u8 pad[56];
};
struct tn_private {
    u64 armed;
    u32 pid; /* thread-group id as the process itself sees it; 0 = ask (and remember) */
    u32 pad;
    u8 reserved[48];
    struct tn_slot slot[TN_SLOT_COUNT];
    struct tn_slot overflow[TN_SLOT_OVERFLOW];
    struct tn_way way[TN_WAYS];
};

/*
 * Numbers of system calls under way, where code has them in no register any more when the call is left: a word a
 * 64 KiB of stack, found by bits 16–31 of the stack pointer with their bytes swapped; low half: the stack pointer's
 * low half, high half: the number. A handler that makes such a call on the stack of one under way takes its word.
 */
#define TN_CALLS 65536u

/* A CPU's claim: 0 = free, else its owner: (pid << 32) | low half of the thread pointer. Shared by all
   targets of a broker. The broker clears the claims of a process that has died. */
struct tn_cpu_claim {
    u64 owner;
    u8 pad[56];
};

/* Statistics of a link, shared and untrusted. */
struct tn_link_stats {
    u64 missed;    /* runs skipped, whatever the reason: recursion, per-CPU slot not to be had, … */
    u64 recursion; /* of these: the program was already running on the thread */
    u8 pad[48];
};
#define TN_MAX_LINKS 16384u /* gates and statistics of one broker */

/*
 * Behind the statistics: processes whose loader has mapped or unmapped something, and that wait for the broker to look
 * (agent/loaded.c, broker/loads.h). Each writes its pid into a free word, then counts; what the broker had looked at when
 * it began is in `looked` when it is done. Hostile when read: it costs a look.
 */
#define TN_LOADS_WHO 64u
struct tn_loads {
    u32 wake; /* as a ring buffer's: TN_RB_ARMED while the broker sleeps on it */
    u32 all;  /* there was no free word */
    u32 late; /* somebody has waited in vain: until the broker has looked again, nobody waits */
    u32 pad;
    u64 loaded, looked; /* a futex in its lower half */
    u32 who[TN_LOADS_WHO];
};
#define TN_STATS_SIZE (TN_MAX_LINKS * sizeof(struct tn_link_stats) + sizeof(struct tn_loads))

/*
 * The agent's knowledge of its process; read-only there. The marker at its head is what another broker finds:
 * who holds this process, and (undo_*) what to put back when the holder is dead. Hostile when read.
 */
#define TN_PROC_MAGIC 0x315f6e6f6e6574ull /* "tenon_1" */
struct tn_proc {
    u64 magic;
    u32 broker_pid, guardian_pid;     /* in the initial view of whoever wrote it */
    u64 broker_start, guardian_start; /* field 22 of /proc/PID/stat: tells a pid from its reuse */
    u32 broker_uid;
    u32 held;             /* 1: held; 0: left in peace (mappings may remain) */
    u64 undo, undo_count; /* array of struct tn_undo in the target */
    struct tn_private *priv;
    struct tn_cpu_claim *claims;
    const u8 *gates;
    struct tn_link_stats *stats;
    u32 ncpu;         /* possible CPUs */
    s32 rseq_cpu_off; /* byte offset of rseq's cpu_id from the thread pointer; 0 = not known */
    s32 tid_off;      /* byte offset of the thread id from the thread pointer, proved at attach; 0 = ask */
    u32 allowed_syscalls;   /* bit per row of rt/syscalls.h, proved at entry; less tn_signals.denied */
    u64 vdso_clock_gettime; /* address in the target; 0 = make the system call */
    u64 trace_ring;         /* address of the trace_printk ring (struct tn_map *), 0 = none */
    s64 boottime_offset;    /* reserved for time namespaces */
    u32 pid;                /* thread-group id as the process itself sees it (vfork children differ) */
    u32 owner_pid;          /* the same as the broker sees it: stands in lock words and claims */
    u32 tp_how;             /* enum tn_tp_how */
    u32 reads;              /* enum tn_reads */
    /* The program's own file as it is mapped here: what lies in its segments cannot vanish while the process
       runs. 0: not known. */
    u64 image_start, image_end;
    /* How vector and x87 state is saved around calls of the host's functions: bytes,
       XSAVE_* of agent/routines.h, and the components that the process may use
       (XCR0). Size 0: no such call is possible. */
    u32 xsave_size, xsave_how;
    u64 xsave_mask;
    u64 signals; /* struct tn_signals */
    u64 ours;    /* struct tn_own_code; 0: not known */
};

/* Code of ours in the process, by address: whose it is that an address leads to, for the agent, and for brokers after the one that
   has brought it there. Changed by hands while threads may read it. */
#define TN_OWN_MAX 1024u
struct tn_own_code {
    u64 changes; /* odd: being changed */
    u64 count;
    struct tn_own_range {
        u64 start, end;
    } range[TN_OWN_MAX];
};

/* How the thread pointer may be read. */
enum tn_tp_how {
    TN_TP_ARCH_PRCTL = 0, /* nothing known: ask the kernel */
    TN_TP_RDFSBASE = 1,   /* AT_HWCAP2 has bit 1 */
    TN_TP_SELF =
        2, /* glibc and musl: the word at fs:0 is its own address, for every thread that has libc's TLS */
};

struct tn_undo {
    u64 addr;
    u8 len, state; /* state: 0 free, 1 planned, 2 applied */
    u8 orig[16], patched[16];
    u16 raised; /* len TN_UNDO_COUNTER: `addr` is a word of sixteen bits that was raised by so much */
    u8 more[4]; /* where further instructions begin that are jumped to on their own; 0: there are none */
};
#define TN_UNDO_COUNTER 255u
_Static_assert(sizeof(struct tn_undo) == 48, "read from another process");

/* One link at one place. Chained: several links at one place run one after the other, oldest first. */
struct tn_hook {
    u64 prog;    /* entry of the compiled program */
    u64 func_ip; /* bpf_get_func_ip */
    u64 cookie;  /* bpf_get_attach_cookie */
    u64 stats;   /* struct tn_link_stats * */
    u64 proc;    /* struct tn_proc * */
    u64 next;    /* where the trampoline goes on: the next link's trampoline, or the displaced instructions */
    u32 link_index; /* gate and statistics */
    u16 prog_bit;   /* in tn_slot.running */
    u16 bare;       /* 1: the return address is on top of the stack there */
    /* Of a hook at an entry: where an answer in the function's place goes, with the result in rax and the stack
       pointer at the return slot: to the hooks at the function's exits. 0: there are none, back to the caller. */
    u64 answer;
};
_Static_assert(sizeof(struct tn_hook) == 64, "one cache line a hook");

/*
 * One run of a program. Lives on the stack of whoever starts it (trampoline, interpreter, helper process).
 * Compiled programs get it as their second argument, keep it in r12, and pass it to helpers as the sixth.
 */
#define TN_RUN_RINGS 4u
struct tn_run {
    const struct tn_hook *hook;
    const struct tn_proc *proc;
    struct tn_slot *slot;
    void *ctx;  /* what the program got as its first argument */
    s32 cpu;    /* the per-CPU slot claimed for this run; −1 = none */
    u32 nrings; /* ring buffers in `ring`; 0 at the start of a run */
    /* Rings this run has reserved in (a record is not trusted to name its ring). */
    const struct tn_map *ring[TN_RUN_RINGS];
    u64 value;    /* the answer given in the host's place; of a session, its word */
    u32 replaced; /* 1: there is one. Set to 0 before a run only where the program may give one */
    u32 session;  /* of a session: 1 as the function returns, 0 as it is entered */
};

/* What trace_printk puts into the trace ring: one record of this size a line. Untrusted when read. */
struct tn_trace_record {
    u64 ns;         /* CLOCK_MONOTONIC; 0 = not known */
    u32 pid, tid;   /* as the process sees itself */
    char text[496]; /* NUL-terminated */
};
_Static_assert(sizeof(struct tn_trace_record) == 512, "a fixed size a line");

/*
 * Compiled program:   u64 prog(void *ctx, struct tn_run *run)              (System V, general registers only)
 * Helper:             u64 helper(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
 */
typedef u64 (*tn_prog_fn)(void *ctx, struct tn_run *run);
typedef u64 (*tn_helper_fn)(u64, u64, u64, u64, u64, struct tn_run *);

/* The context of a kprobe/uprobe program: the kernel's struct pt_regs of x86-64 (168 bytes). */
struct tn_pt_regs {
    u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
_Static_assert(sizeof(struct tn_pt_regs) == 168, "struct pt_regs, x86-64");

#endif
