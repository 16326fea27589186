/* SPDX-License-Identifier: MIT */
/*
 * Which sleeping system calls may be interrupted without anybody noticing.
 *
 * PTRACE_INTERRUPT ends a sleep; the kernel then restarts the call by itself where its result is one of
 * −ERESTART* and no handler runs (signal(7), "Interruption of system calls"). That is exact for calls that
 * have done nothing yet and either have no timeout, or whose timeout is kept by the kernel (restart_syscall:
 * nanosleep, futex, poll). Others return −EINTR at once; where such a call has done nothing and waits for
 * ever, it can be made to restart by putting −ERESTARTNOHAND in place of that result. With a finite timeout
 * it would begin to wait anew: not exact, and such a thread is left alone.
 *
 * R(call, when, arg)   when the thread sleeps in `call`, it may be borrowed
 *   ALWAYS             whatever its arguments
 *   NULL_ARG           if argument `arg` (from 0) is a null pointer: no timeout
 *   MINUS_ONE          if argument `arg`, as an int, is negative: no timeout
 *   NOT_SOCKET         if argument `arg` is a descriptor of no socket (whose timeout cannot be seen from
 *                      outside)
 *
 * Calls that transfer data and may have done part of it (write, sendfile, …) have no row: a short count
 * shows.
 */
#ifndef TN_INJECT_RESTARTABLE_H
#define TN_INJECT_RESTARTABLE_H

#include "inject/proc.h"

// clang-format off
#define TN_RESTARTABLE(R)              \
    R(futex,           ALWAYS,    0)   \
    R(nanosleep,       ALWAYS,    0)   \
    R(clock_nanosleep, ALWAYS,    0)   \
    R(restart_syscall, ALWAYS,    0)   \
    R(poll,            ALWAYS,    0)   \
    R(ppoll,           NULL_ARG,  2)   \
    R(select,          NULL_ARG,  4)   \
    R(pselect6,        NULL_ARG,  4)   \
    R(epoll_wait,      MINUS_ONE, 3)   \
    R(epoll_pwait,     MINUS_ONE, 3)   \
    R(pause,           ALWAYS,    0)   \
    R(rt_sigsuspend,   ALWAYS,    0)   \
    R(wait4,           ALWAYS,    0)   \
    R(waitid,          ALWAYS,    0)   \
    R(flock,           ALWAYS,    0)   \
    R(read,            NOT_SOCKET, 0)  \
    R(open,            ALWAYS,    0)   \
    R(openat,          ALWAYS,    0)
// clang-format on

/* May a thread of `pid` that does `what` be interrupted exactly? With seccomp, restart_syscall may be
   forbidden, so calls whose timeout the kernel keeps by it do not count then. */
bool tn_restartable(pid_t pid, const struct tn_doing_what *what, bool seccomp);
/* The result to leave at the event stop for the call to start again: `result` itself or its replacement. */
s64 tn_restart_result(s64 nr, s64 result, bool seccomp);

#endif
