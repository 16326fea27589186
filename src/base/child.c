/* SPDX-License-Identifier: MIT */
/* How a process begins that does one thing for its parent; see base.h. */
#include "base/base.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

void tn_child_begin(pid_t parent)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
