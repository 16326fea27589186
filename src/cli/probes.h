/* SPDX-License-Identifier: MIT */
/*
 * What doctor tries, in rows.
 *
 * P(name, title, needed, without): tn_probe_<name> in probes.c; needed: no attach without it; without: what
 * follows when the answer is not yes, and what to do.
 */
#ifndef TN_CLI_PROBES_H
#define TN_CLI_PROBES_H

#include "base/base.h"

enum tn_probe_answer { TN_PROBE_YES, TN_PROBE_LIMITED, TN_PROBE_NO };
struct tn_probe {
    enum tn_probe_answer answer;
    char seen[256]; /* what was tried and what came of it */
};

// clang-format off
#define TN_PROBES(P)                                                                                                      \
    P(machine,      "processor and kernel",            true,  "tenon writes x86-64 instructions for Linux only")          \
    P(user,         "user and capabilities",           false, "your own processes can be extended; CAP_SYS_PTRACE is needed for those of others") \
    P(ptrace_child, "tracing a process started by us", true,  "nothing can be attached: a seccomp filter or security module forbids ptrace here") \
    P(ptrace_other, "tracing other processes of yours", false, "start the program with 'tenon attach OBJ -- CMD', or as root: sysctl kernel.yama.ptrace_scope=0") \
    P(proc_mem,     "writing code through /proc/PID/mem", true, "nothing can be patched: see the kernel's proc_mem.restrict_write and proc_mem.force_override") \
    P(memfd,        "sealed memory files",             true,  "maps and program text live in them")                       \
    P(memfd_exec,   "executable memory files",         true,  "program text cannot be mapped: see sysctl vm.memfd_noexec and the security modules") \
    P(pidfd_getfd,  "taking a descriptor from a process", true, "the way into a process; Linux 5.6 has it")               \
    P(wipeonfork,   "pages wiped on fork",             true,  "a fork child could not be told from its parent; Linux 4.14 has it") \
    P(rseq,         "restartable sequences",           false, "the CPU number comes from a slower call; Linux 4.18 and glibc 2.35 have it") \
    P(fsgsbase,     "reading the thread pointer",      true,  "the trampoline finds a thread's slot by rdfsbase; Linux 5.9 on a processor of 2012 or later has it") \
    P(futex_waitv,  "waiting for several futexes",     false, "the broker watches ring buffers one by one; Linux 5.16 has it") \
    P(memlock,      "locked memory",                   false, "not used by tenon itself; the kernel's own eBPF may refuse maps: ulimit -l") \
    P(nofile,       "open files",                      false, "the broker keeps a descriptor a map, program and link: ulimit -n") \
    P(pku,          "protection keys",                 false, "programs are kept apart by the verifier alone on this machine") \
    P(seccomp,      "seccomp notification",            false, "static and Go tools cannot be served; Linux 5.0 has it")   \
    P(fanotify,     "watching for exec",               false, "links to every process of a file do not see those that come later: CAP_SYS_ADMIN is needed") \
    P(signals,      "keeping a program's signals for it", false, "places that no jump fits are refused (signals_not_ours): breakpoints need every call of the C library that sets a mask or a handler") \
    P(reads,        "how programs read a host's memory", false, "a read that may fault costs a system call in those processes, about a microsecond, and is as exact") \
    P(kernel_bpf,   "the kernel's own eBPF",           false, "'tenon attach --fallback=kernel' and the comparisons in 'make bench' need it: CAP_BPF and CAP_PERFMON") \
    P(kernel_uprobe, "the kernel's own uprobes",       false, "'tenon attach --fallback=kernel' has nothing to fall back to: CAP_PERFMON, and a kernel with CONFIG_UPROBE_EVENTS") \
    P(policy,       "policy",                          false, "write one, see docs/eim.md and 'tenon policy': a host that a file names is governed by it") \
    P(broker,       "broker",                          false, "none runs; the first command that needs one starts it")
// clang-format on

/* Of this process: a bit each (linux/capability.h). */
u64 tn_effective_capabilities(void);

#define P(name, ...) void tn_probe_##name(struct tn_probe *ret_found);
TN_PROBES(P)
#undef P

#endif
