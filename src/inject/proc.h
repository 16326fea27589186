/* SPDX-License-Identifier: MIT */
/*
 * What /proc says about a process, read without stopping it. Every answer is a snapshot: it may be stale when
 * it arrives, so whoever acts on one looks again where it matters. See proc(5).
 */
#ifndef TN_INJECT_PROC_H
#define TN_INJECT_PROC_H

#include "base/base.h"

#include <sys/types.h>

/* A whole file, NUL-terminated: *ret_text is owned by the caller, *ret_len may be NULL. `hint`: bytes tried first. */
int tn_read_text(const char *path, size_t hint, char **ret_text, size_t *ret_len);
/* As much of a file as one read brings and fits, NUL-terminated; bytes or −errno. */
ssize_t tn_read_small(const char *path, char *buf, size_t cap);

/* One line of /proc/PID/maps. */
struct tn_vma {
    u64 start, end, offset;
    u64 dev, ino; /* dev as stat gives it (makedev) */
    u32 prot;     /* PROT_* */
    bool shared;
    u32 name; /* offset into tn_maps.text; the string may be empty */
};
struct tn_maps {
    struct tn_vma *vma;
    u32 n;
    char *text;
};
int tn_maps_read(pid_t pid, struct tn_maps *ret_maps);
void tn_maps_clear(struct tn_maps *maps);
static inline const char *tn_vma_name(const struct tn_maps *maps, const struct tn_vma *vma)
{
    return maps->text + vma->name;
}
/* The kernel's own code, at no file's place: its calls are not the program's. "[uprobes]" has copies of instructions that the
   kernel's uprobes stand at, which are seen there; "[uprobes-trampoline]" what a call in the place of a nop leads to (Linux 6.18). */
bool tn_vma_is_kernels(const struct tn_maps *maps, const struct tn_vma *vma);
/* The mapping that holds `addr`, or NULL. */
const struct tn_vma *tn_maps_at(const struct tn_maps *maps, u64 addr);

/* The mapping that holds `len` bytes of a file's data from `addr` on, the process's own and writable; or NULL. */
const struct tn_vma *tn_maps_data(const struct tn_maps *maps, u64 addr, u64 len);

/* A free range of `len` bytes (page multiple) whose every byte lies within ±reach of all of
   [lo, hi). Looks below first and away from what grows (heap, stack); 0: none.
   `avoid`/`navoid`: ranges that are spoken for. Pure. */
struct tn_range {
    u64 start, end;
};
u64 tn_maps_gap(const struct tn_maps *maps, u64 lo, u64 hi, u64 reach, u64 len, const struct tn_range *avoid,
                u32 navoid);

/* All free ranges, by address, without what is left above [heap] and below a stack. `ret_ranges`: room for
   maps->n + 1. Returns their number. */
u32 tn_maps_free(const struct tn_maps *maps, u64 heap_room, struct tn_range *ret_ranges);

struct tn_status {
    char state; /* R S D T t Z X I */
    pid_t tgid, tracer, parent;
    u32 uid, euid; /* real, effective */
    u32 seccomp;   /* 0 none, 1 strict, 2 filter */
    u32 filters;   /* how many seccomp filters; 0 before Linux 5.9 */
    u32 threads;
    u32 nspid; /* the pid in the innermost namespace */
    bool kthread;
    u64 sigblk, sigcgt;
};
int tn_status_read(pid_t pid, pid_t tid, struct tn_status *ret_status);
/* Field 22 of /proc/PID/stat, which with the pid names a process for ever. 0: no such process. */
u64 tn_proc_start_time(pid_t pid);
/* Is the process that had this start time still there, and more than a zombie? */
bool tn_proc_lives(pid_t pid, u64 start);
/* Name of a process for messages; "?" when there is none. */
void tn_proc_comm(pid_t pid, char ret_comm[32]);
/* While hands of ours trace the thread, its end is waited for, a second at most: they are of this broker, of another, or
   of one that has just died, and their job is short. *st: the thread, as read by the caller, and read anew. False: it
   is traced still, by somebody else, or by the caller. */
#define TN_HANDS_NAME  "tenon-hands"
#define TN_SEIZE_TRIES 8u /* for whoever finds another's hands there first, time and again */
bool tn_hands_let_go(pid_t tid, struct tn_status *st);

/* What a thread does, from /proc/PID/task/TID/syscall. */
enum tn_doing {
    TN_DOING_GONE,    /* no such thread (or we may not look) */
    TN_DOING_RUNS,    /* awake: on a processor or waiting for one */
    TN_DOING_SLEEPS,  /* in system call `nr`, its program counter in the kernel's hands */
    TN_DOING_STOPPED, /* off the processor, in no system call (stopped, faulting, just born) */
};
struct tn_doing_what {
    enum tn_doing doing;
    s64 nr;
    u64 arg[6], sp, pc; /* sp, pc: SLEEPS and STOPPED */
};
void tn_thread_doing(pid_t pid, pid_t tid, struct tn_doing_what *ret_what);

/* How often a thread was given a processor: as long as this stays as it was, the thread has not run. The descriptor may be kept,
   which makes the question cheap, and goes on meaning that very thread. 0: not known. */
int tn_thread_runs_open(pid_t pid, pid_t tid);
u64 tn_thread_runs(int fd);

/* How far its system calls are confined (seccomp): the most that holds for any thread, since each has its own. It only grows.
   0: not at all. */
u32 tn_proc_confined(pid_t pid);
/* All thread ids of a process. *ret_tids is owned by the caller. */
int tn_proc_tids(pid_t pid, pid_t **ret_tids, u32 *ret_n);
/* How many there are, without their ids: a folder has a link from each of its folders, and two more. */
int tn_proc_threads(pid_t pid, u32 *ret_n);
/* Children of all threads of a process, where the kernel lists them; none is no error. */
int tn_proc_children(pid_t pid, pid_t **ret_pids, u32 *ret_n);
/* Do both use the same memory? (kcmp) */
bool tn_proc_same_mm(pid_t a, pid_t b);
/* Value of an auxiliary vector entry; 0 where there is none. */
u64 tn_proc_auxv(pid_t pid, u64 type);

#endif
