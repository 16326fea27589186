/* SPDX-License-Identifier: MIT */
/*
 * What the broker owns, and who keeps it.
 *
 *   tool's descriptor ──┐
 *   (socket pair or     ├──▶ handle ──▶ object ◀── other objects (program → maps, BTF;
 *   memfd: an inode)    │                 ▲                       link → program, perf event)
 *   dup, fork, passed ──┘                 └────── "kept" (a link by ctl), a handler at work
 *
 * Every arrow into an object is one reference; an object without one is gone. A descriptor is never known by
 * its number, only by its inode, and its last close is told by the kernel:
 *
 *   socket pair   the broker's end hangs up;
 *   memfd         inotify says that somebody closed it, and a write lease can be had: nobody but the broker
 *                 has it open for reading or writing, or mapped. What the broker hands to targets and to
 *                 doors' own views is the file as memfd_create made it, which the kernel counts as neither;
 *                 what a tool gets is reopened through /proc, which is counted.
 *
 * Identifiers go up and are never used twice, one sequence a kind, as in Linux.
 */
#ifndef TN_BROKER_OBJECT_H
#define TN_BROKER_OBJECT_H

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/stat.h>

#include "base/callname.h"
#include "broker/ctl.h"
#include "broker/loop.h"
#include "broker/proto.h"
#include "btf/btf.h"
#include "inject/inject.h"
#include "jit/jit.h"

struct tn_broker;

/* A shape is a map without memory, a judged program one without text: what a verdict alone needs (judge.c).
   No table lists them, and no command that uses maps or programs takes them. */
enum tn_kind {
    TN_KIND_MAP,
    TN_KIND_PROG,
    TN_KIND_BTF,
    TN_KIND_LINK,
    TN_KIND_PERF,
    TN_KIND_SHAPE,
    TN_KIND_JUDGED,
    TN_KIND_MAX
};

struct tn_object {
    struct tn_broker *broker;
    enum tn_kind kind;
    u32 id;
    u32 refs;
    u32 uid;
    void (*release)(struct tn_object *object); /* releases what it holds and the memory */
};

/* Identified objects of a kind, by ascending id. */
struct tn_table {
    struct tn_object **slot;
    u32 count, cap, last_id;
};

/* What a tool holds. One a socket pair, or one a memfd whatever the number of descriptors of it. */
struct tn_handle {
    struct tn_source source; /* socket pair: our end */
    struct tn_object *object;
    u64 dev, ino;           /* of the tool's end */
    u32 access;             /* TN_VIEW_* */
    struct tn_handle *next; /* same bucket */
};

struct tn_bbtf {
    struct tn_object object;
    struct tn_btf *view; /* checked */
    u8 *data;            /* as it was given */
    u32 size;
    char name[BPF_OBJ_NAME_LEN];
};

struct tn_bmap {
    struct tn_object object;
    char name[BPF_OBJ_NAME_LEN];
    u32 flags;          /* as created: geometry's map_flags and the access flags */
    struct tn_map view; /* the broker's own; its memory is hostile */
    int memfd;          /* as made: for targets and doors */
    int counted;        /* reopened: asked for the lease; −1 where tools get socket pairs */
    int watch;          /* inotify */
    bool held;          /* some tool has the memfd */
    u64 dev, ino;       /* of the memfd */
    bool frozen;
    int snapshot;  /* frozen and read-only to programs: sealed copy that programs read; else −1 */
    u8 *constants; /* the same, mapped: what the verifier may take for constant */
    int wake;      /* ring buffer: eventfd, once somebody waits; else −1 */
    struct tn_bbtf *btf;
    u32 btf_key, btf_value;
    struct tn_bmap *inner; /* map of maps: what its elements look like */
    u64 extra;             /* map_extra */
};

struct tn_prog {
    struct tn_object object;
    char name[BPF_OBJ_NAME_LEN];
    char full_name[64]; /* from BTF's function, else `name` */
    u32 type, attach_type;
    bool gpl;
    u8 tag[BPF_TAG_SIZE];
    u64 load_time;
    struct bpf_insn *insns; /* as verified: map indices */
    u32 ninsns;
    struct tn_bmap **maps;
    u32 nmaps;
    u32 nused; /* the first of them are the program's own; the others were bound to it */
    struct tn_bbtf *btf;
    struct tn_bhost *host;      /* NULL: it names none */
    struct tn_granted *granted; /* policy.c's; owned */
    u32 attach_btf_id;
    bool own_calls; /* of the kernel's functions it calls only those that are served without a host */
    struct tn_host_ref *refs; /* what it names of it; owned */
    u32 nrefs;
    void *func_info, *line_info;
    u32 func_info_cnt, line_info_cnt;
    u32 func_info_size, line_info_size; /* bytes a record */
    struct tn_verdict verdict;
    struct tn_code code;
    u64 jit_ns;
    int text; /* sealed memfd */
};

struct tn_perf {
    struct tn_object object;
    bool exit, enabled;
    bool
        call; /* system calls: `nr`, in code of any file; path, dev and ino are then those of the process's program */
    bool kernel; /* … asked for as a kprobe */
    s32 nr;      /* TN_CALL_ANY: all */
    s32 pid;     /* −1: all */
    char path[4096];
    u64 dev, ino, offset;
    u64 ref_ctr; /* file offset of a reference counter (USDT semaphore); 0: none */
    /* A link of many places: those behind the first, owned; a session: at both ends of the functions (then `exit` is
       false); the process that was named, 0: none. */
    struct tn_attach_place *others;
    u32 nothers;
    bool multi, session;
    s32 multi_pid;
    struct tn_link *link; /* borrowed from the link while one is attached */
    struct tn_link *own;  /* reference: made by PERF_EVENT_IOC_SET_BPF */
};

/* A process that a link is in, or was. */
struct tn_target {
    pid_t pid;
    bool ended;
    u64 address, hold_ns_max, total_ns;
    char tactic[32], symbol[128];
    u64 symbol_offset;
    u32 places, left; /* of system calls */
    struct tn_tally by;
    u64 code;         /* … tn_loads_code, as they were looked for */
    char left_why[512];
};

/* Whose groups a process had when it connected. Immutable; NULL: none. */
struct tn_groups {
    u32 n;
    u32 id[];
};
struct tn_link {
    struct tn_object object;
    u32 index; /* gate and statistics */
    u32 attach_type;
    struct tn_prog *prog;
    struct tn_perf *perf;
    bool kept, detached, follow;
    bool some;  /* places that cannot be hooked are left out */
    bool typed; /* attached by the type of a function */
    bool words; /* the context is `args` */
    struct tn_typed_args args;
    bool attaching; /* not to be found by id yet */
    bool all;       /* every process of the file, those that come later too */
    bool watched;   /* the latter are seen */
    u64 dev, ino;   /* of the file */
    struct tn_error why_not;
    u32 crew;   /* while many processes are entered (tn_attach_spec.crew) */
    u32 failed; /* later processes that could not be entered */
    struct tn_error failure;
    bool doubtful; /* an injector gave no answer: its index is never used again */
    struct tn_target *targets;
    u32 ntargets;
    u64 cookie, attach_ns;
    struct tn_groups *groups; /* of who made it */
};

/* Takes part in counting from now on, without an id: nobody finds it but by its descriptor. */
void tn_object_unlisted(struct tn_broker *broker, struct tn_object *object, enum tn_kind kind);
struct tn_object *tn_ref(struct tn_object *object);
void tn_unref(struct tn_object *object);
#define TN_REF(p)   ((__typeof__(p))tn_ref((struct tn_object *)(p)))
#define TN_UNREF(p) tn_unref((struct tn_object *)(p))
static inline void tn_cleanup_unref(void *p)
{
    tn_unref(*(struct tn_object **)p);
}
#define _unref_ __attribute__((cleanup(tn_cleanup_unref)))

/* Gives `object` its id, puts it into its table, and leaves one reference with the caller. The object must
   start with struct tn_object, with release filled. */
int tn_object_add(struct tn_broker *broker, struct tn_object *object, enum tn_kind kind, u32 uid);
/* NULL when there is none. Borrowed. */
struct tn_object *tn_object_by_id(struct tn_broker *broker, enum tn_kind kind, u32 id);
struct tn_object *tn_object_after(struct tn_broker *broker, enum tn_kind kind, u32 id);

/* A new descriptor of the object for a tool; it keeps the object from now on. access: TN_VIEW_*. */
int tn_object_open(struct tn_object *object, u32 access, int *ret_fd);
/* Whose descriptor is this? NULL when it is not one of ours. Borrowed. */
struct tn_handle *tn_handle_of(struct tn_broker *broker, int fd);
/* The socket of that identity was closed by a tool: if nobody else holds it, its handle goes now, not when the loop comes to
   it. Whoever says so wrongly changes nothing. */
void tn_handle_closed(struct tn_broker *broker, u64 dev, u64 ino);

/* Sealed memory. */
int tn_memfd(const char *name, u64 size, int *ret_fd);
int tn_memfd_reopen(int fd, int flags, int *ret_fd);

#endif
