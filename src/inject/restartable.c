/* SPDX-License-Identifier: MIT */
/* The table of restartable.h, asked. */
#include "inject/restartable.h"

#include <errno.h>
#include <sys/syscall.h>

/* Kernel-internal results; never seen by programs, but by tracers (include/linux/errno.h names them). */
#define ERESTARTSYS           512
#define ERESTARTNOINTR        513
#define ERESTARTNOHAND        514
#define ERESTART_RESTARTBLOCK 516

enum when { ALWAYS, NULL_ARG, MINUS_ONE, NOT_SOCKET };

static const struct row {
    s64 nr;
    enum when when;
    u32 arg;
} rows[] = {
#define R(call, when, arg) {SYS_##call, when, arg},
    TN_RESTARTABLE(R)
#undef R
};

/* Calls with a timeout that only restart_syscall can continue. */
static bool by_restart_block(const struct tn_doing_what *what)
{
    switch (what->nr) {
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_restart_syscall:
        return true;
    case SYS_futex:
        return what->arg[3] != 0;
    case SYS_poll:
        return (s32)what->arg[2] >= 0;
    }
    return false;
}

static bool is_socket(pid_t pid, u64 fd)
{
    char path[64], link[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, (int)fd);
    n = readlink(path, link, sizeof(link) - 1);
    if (n < 0)
        return true; /* cannot tell: as if it were */
    link[n] = 0;
    return !strncmp(link, "socket:", 7);
}

bool tn_restartable(pid_t pid, const struct tn_doing_what *what, bool seccomp)
{
    if (what->doing != TN_DOING_SLEEPS || (seccomp && by_restart_block(what)))
        return false;
    for (size_t i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        if (rows[i].nr != what->nr)
            continue;
        switch (rows[i].when) {
        case ALWAYS:
            return true;
        case NULL_ARG:
            return what->arg[rows[i].arg] == 0;
        case MINUS_ONE:
            return (s32)what->arg[rows[i].arg] < 0;
        case NOT_SOCKET:
            return !is_socket(pid, what->arg[rows[i].arg]);
        }
    }
    return false;
}

s64 tn_restart_result(s64 nr, s64 result, bool seccomp)
{
    if (nr < 0 || nr == SYS_close) /* an interrupted close has closed */
        return result;
    if (result == -EINTR)
        return -ERESTARTNOHAND;
    if (result == -ERESTART_RESTARTBLOCK && seccomp)
        return -ERESTARTNOHAND;
    return result;
}
