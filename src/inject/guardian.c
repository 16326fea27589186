/* SPDX-License-Identifier: MIT */
/*
 * The guardian of one target: holds what must be undone, lends its hands to one task after the other, and
 * gives everything back when the broker is gone. It traces nobody itself (hands.h says why), ignores the
 * signals that people send to whole groups, and has left the broker's session, so that what kills the broker
 * does not kill it.
 */
#include "inject/hands.h"
#include "rt/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

int tn_keep_only(int *keep, u32 n)
{
    int devnull = open("/dev/null", O_RDWR | O_CLOEXEC), r = 0;

    /* First out of the way of 0, 1, 2, then down to 3…: what remains can be closed in one call. */
    for (u32 i = 0; i < n; i++)
        keep[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, 64);
    for (int fd = 0; fd < 3; fd++)
        dup2(devnull, fd);
    for (u32 i = 0; i < n; i++) {
        keep[i] = dup3(keep[i], 3 + (int)i, O_CLOEXEC) < 0 ? -1 : 3 + (int)i;
        r = keep[i] < 0 ? -EMFILE : r;
    }
    if (syscall(SYS_close_range, 3 + n, ~0u, 0) < 0)
        for (int fd = 3 + (int)n; fd < 1024; fd++)
            close(fd);
    return r;
}

void tn_step_aside(const char *name)
{
    static const int ignored[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP};
    sigset_t none;

    setsid();
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, 0);
    signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; i < TN_ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* While hands wait for a processor, so do those whom they hold. Where Linux shares processors among sessions first (autogroup, as
   Debian's does), a process's own value counts within its session only: this session is the guardian's and its hands'. */
#define FIRST -20

static void be_first(void)
{
    int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!dprintf(fd, "%d", FIRST);
    close(fd);
}

enum errand { SERVE, REPAIR, GIVE_BACK };

#define TRIES 4 /* to put things right: the last takes what it can get */

/* Whether they came to their end. */
static bool hands_end(struct tn_hands *h, enum errand errand, bool last)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        prctl(PR_SET_NAME, TN_HANDS_NAME);
        (void)setpriority(PRIO_PROCESS, 0, FIRST);
        h->last = last;
        if (errand == SERVE)
            tn_hands_serve(h);
        else
            tn_hands_give_back(h, errand == REPAIR);
        _exit(0);
    }
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    return status == 0;
}

static bool half_done(const struct tn_state *st)
{
    return st->changing || st->lent.tid || st->leaving || st->signals == TN_SIGNALS_CHANGING ||
           st->signals_adding || (st->signals && !st->nlive) || st->behind;
}

static void run_hands(struct tn_hands *h, enum errand errand)
{
    if (errand == SERVE) {
        hands_end(h, SERVE, false);
        if (!half_done(h->st))
            return;
        errand = REPAIR; /* they ended half-way: the bytes are put back whole */
    }
    for (int i = 1; i <= TRIES && !hands_end(h, errand, i == TRIES); i++)
        nanosleep(&(struct timespec){.tv_nsec = i * 1000000}, NULL);
}

static void close_gates(const struct tn_hands *h)
{
    for (u32 i = 0; i < h->st->nhooks; i++) {
        const struct tn_hook_slot *slot = &h->st->hook[i];

        /* Once for each link that has hooks in a row. */
        if (slot->state == TN_HOOK_LIVE && slot->link_index < TN_MAX_LINKS &&
            (!i || h->st->hook[i - 1].state != TN_HOOK_LIVE ||
             h->st->hook[i - 1].link_index != slot->link_index))
            (void)!pwrite(h->g->gates, "", 1, slot->link_index);
    }
}

void tn_guardian_run(const struct tn_guardian *given)
{
    struct tn_guardian g = *given;
    int keep[4] = {g.broker, g.gates, g.state_fd, g.pidfd};
    struct tn_hands h = {.g = &g, .t = {.mem = -1, .hup = {-1, -1}}, .chld = -1};

    tn_step_aside("tenon-guardian");
    be_first();
    (void)tn_keep_only(keep, 4);
    g.broker = keep[0];
    g.gates = keep[1];
    h.state_fd = g.state_fd = keep[2];
    h.pidfd = g.pidfd = keep[3];
    h.st = mmap(NULL, sizeof(*h.st), PROT_READ | PROT_WRITE, MAP_SHARED, g.state_fd, 0);
    if (h.st == MAP_FAILED)
        _exit(1);
    if (half_done(h.st))
        run_hands(&h, REPAIR); /* the guardian before this one died in the middle */

    for (;;) {
        struct pollfd p[2] = {{.fd = g.broker, .events = POLLIN}, {.fd = g.pidfd, .events = POLLIN}};

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (p[1].revents)
            _exit(0);
        if (p[0].revents & (POLLHUP | POLLERR | POLLNVAL)) {
            close_gates(&h);
            run_hands(&h, GIVE_BACK);
            _exit(0);
        }
        if (p[0].revents & POLLIN)
            run_hands(&h, SERVE);
    }
}
