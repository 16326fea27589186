/* SPDX-License-Identifier: MIT */
/*
 * A program whose own faults and those of what looks into it must not be mixed up. It obeys lines, and answers each with how many
 * looks it has made so far, how many of them at what is there, and then whatever the line asks for.
 *
 *   good N       N looks at what is there
 *   bad N        N at what is not there, may not be read, or lies behind the end of a file
 *   blocked N    N of each with all signals blocked; the mask is read back
 *   handlers N   N handlers with a full mask on an alternate stack, a look of each in them
 *   barrier N    N rounds of a write barrier like a garbage collector's: pages that may not be written, whose faults a handler notes
 *                and opens; looks in the handler and between. How many faults it has seen
 *   overflow N   N times the stack of a thread is used up, seen by a handler on an alternate stack, which jumps out
 *   nulls N      N loads from nowhere, caught by a handler that looks and jumps out, SA_NODEFER every other time
 *   forks N      N children that look, fault with a handler of their own, and die of the next; how many did so
 *   shaky N      N looks while two threads take memory away and give it back; answered as good, since none can tell which
 *   served N     N looks at pages of a userfaultfd, which a thread fills when they are asked for; 0: there is none to be had
 *   begin, end   four threads look and fault all the time in between
 *   state        handler, flags and mask of SIGSEGV and SIGBUS; which of them this thread blocks
 *   watch        a handler for both, for `state`
 *   exec         becomes itself again
 *   exhaust      its stack is used up, which nobody handles
 *   die, bus     a load from nowhere, from behind a file's end, which nobody handles
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static unsigned long looks, good_looks;
static const unsigned char *nowhere, *secret, *beyond; /* unmapped, not readable, behind a file's end */
static char there[16] = "tenon";

__attribute__((noinline)) void look(const void *at);
__attribute__((noinline)) void look(const void *at)
{
    __asm__ volatile("" : : "r"(at) : "memory");
}

static void good(void)
{
    __atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&good_looks, 1, __ATOMIC_SEQ_CST);
    look(there);
}

static void bad(void)
{
    unsigned long n = __atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);

    look(n % 4 == 0 ? nowhere : n % 4 == 1 ? secret : n % 4 == 2 ? beyond : (void *)8);
}

static void handle(int sig, void (*how)(int, siginfo_t *, void *), int flags, int all)
{
    struct sigaction act = {.sa_sigaction = how, .sa_flags = flags | SA_SIGINFO};

    if (all)
        sigfillset(&act.sa_mask);
    if (sigaction(sig, &act, NULL))
        abort();
}

static void by_default(void)
{
    const struct sigaction act = {.sa_handler = SIG_DFL};

    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
}

static void blocked(unsigned long n)
{
    sigset_t all, old, now;

    sigfillset(&all);
    for (unsigned long i = 0; i < n; i++) {
        pthread_sigmask(SIG_BLOCK, &all, &old);
        good();
        bad();
        pthread_sigmask(SIG_SETMASK, NULL, &now);
        if (!sigismember(&now, SIGSEGV) || !sigismember(&now, SIGBUS) || sigismember(&old, SIGSEGV))
            abort();
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
}

static void on_usr1(int sig, siginfo_t *si, void *context)
{
    int kept = errno;

    (void)sig, (void)si, (void)context;
    bad();
    good();
    bad();
    errno = kept;
}

static void handlers(unsigned long n)
{
    static char stack[65536];
    stack_t st = {.ss_sp = stack, .ss_size = sizeof(stack)};

    sigaltstack(&st, NULL);
    handle(SIGUSR1, on_usr1, SA_ONSTACK, 1);
    for (unsigned long i = 0; i < n; i++)
        raise(SIGUSR1);
    st.ss_flags = SS_DISABLE;
    sigaltstack(&st, NULL);
}

/* ---------------------------------------------------------------------------------------- its own faults */

#define PAGES 64
static unsigned char *heap;
static volatile unsigned long seen;
static __thread sigjmp_buf out;

static void on_write(int sig, siginfo_t *si, void *context)
{
    unsigned char *page = (unsigned char *)((unsigned long)si->si_addr & ~(PAGE - 1ul));
    sigset_t now;

    (void)context;
    if (sig != SIGSEGV || si->si_code != SEGV_ACCERR || page < heap || page >= heap + PAGES * PAGE)
        abort();
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (!sigismember(&now, SIGSEGV) || sigismember(&now, SIGBUS))
        abort();
    __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
    if (seen % 16 == 0)
        bad();
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static void barrier(unsigned long n)
{
    seen = 0;
    heap = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handle(SIGSEGV, on_write, 0, 0);
    for (unsigned long i = 0; i < n; i++) {
        for (unsigned k = 0; k < PAGES; k++)
            heap[k * PAGE + i % PAGE]++;
        bad();
        good();
        mprotect(heap, PAGES * PAGE, PROT_READ);
    }
    munmap(heap, PAGES * PAGE);
    by_default();
}

static void on_any(int sig, siginfo_t *si, void *context)
{
    (void)context;
    if (sig != (si->si_addr == beyond ? SIGBUS : SIGSEGV))
        abort();
    bad();
    good();
    __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
    siglongjmp(out, 1);
}

static volatile int endless = 1;

static __attribute__((noinline)) int use_up(int n)
{
    volatile char room[512];

    room[0] = (char)n;
    return endless ? use_up(n + 1) + room[0] : 0;
}

static void *overflowing(void *arg)
{
    static __thread char stack[65536];
    stack_t st = {.ss_sp = stack, .ss_size = sizeof(stack)};

    sigaltstack(&st, NULL);
    for (volatile unsigned long i = 0; i < (unsigned long)arg; i++)
        if (!sigsetjmp(out, 1))
            use_up(0);
    return NULL;
}

static void overflow(unsigned long n)
{
    pthread_attr_t attr;
    pthread_t thread;

    seen = 0;
    handle(SIGSEGV, on_any, SA_ONSTACK, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    pthread_create(&thread, &attr, overflowing, (void *)n);
    pthread_join(thread, NULL);
    by_default();
}

static void load(const unsigned char *at)
{
    __asm__ volatile("movb (%0), %%al" : : "r"(at) : "rax", "memory");
}

static void nulls(unsigned long n)
{
    seen = 0;
    for (volatile unsigned long i = 0; i < n; i++) {
        handle(SIGSEGV, on_any, i % 2 ? SA_NODEFER : 0, 0);
        handle(SIGBUS, on_any, i % 2 ? SA_RESETHAND : 0, 0);
        if (!sigsetjmp(out, 1))
            load(i % 3 == 0 ? nowhere : i % 3 == 1 ? secret : beyond);
    }
    by_default();
}

static unsigned long forks(unsigned long n)
{
    volatile unsigned long right = 0;
    int status;

    for (volatile unsigned long i = 0; i < n; i++) {
        pid_t pid = fork();

        if (!pid) {
            look(nowhere);
            look(there);
            handle(SIGSEGV, on_any, 0, 0);
            if (!sigsetjmp(out, 1))
                load(secret);
            by_default();
            look(beyond);
            load(i % 2 ? nowhere : beyond);
            _exit(1);
        }
        if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
            WTERMSIG(status) == (i % 2 ? SIGSEGV : SIGBUS))
            right++;
    }
    return right;
}

/* ------------------------------------------------------------------------------------------ moving memory */

static volatile int stop;
static volatile int shakes_now;
static char *shaken;
static int full; /* a file of a page */

static void *shakes(void *arg)
{
    while (!stop) {
        mmap(shaken, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, full, 0);
        mprotect(shaken, PAGE, PROT_NONE);
        mprotect(shaken, PAGE, PROT_READ);
        munmap(shaken, PAGE);
        shakes_now = 1;
    }
    return arg;
}

static void shaky(unsigned long n)
{
    pthread_t thread;

    full = memfd_create("full", MFD_CLOEXEC);
    if (ftruncate(full, PAGE) || pwrite(full, there, sizeof(there), 0) != sizeof(there))
        abort();
    shaken = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, full, 0);
    stop = 0;
    pthread_create(&thread, NULL, shakes, NULL);
    while (!shakes_now)
        sched_yield();
    for (unsigned long i = 0; i < n; i++) {
        __atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&good_looks, 1, __ATOMIC_SEQ_CST);
        look(shaken);
    }
    stop = 1;
    pthread_join(thread, NULL);
}

static struct {
    int fd;
    unsigned char *at;
} user;

static void *serves(void *arg)
{
    static char page[PAGE] __attribute__((aligned(PAGE)));

    memcpy(page, there, sizeof(there));
    while (!stop) {
        struct pollfd p = {.fd = user.fd, .events = POLLIN};
        struct uffd_msg msg;

        if (poll(&p, 1, 20) <= 0 || read(user.fd, &msg, sizeof(msg)) != sizeof(msg))
            continue;
        struct uffdio_copy copy = {
            .dst = msg.arg.pagefault.address & ~(PAGE - 1ull), .src = (unsigned long)page, .len = PAGE};

        ioctl(user.fd, UFFDIO_COPY, &copy);
    }
    return arg;
}

static unsigned long served(unsigned long n)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
    pthread_t thread;

    user.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK); /* which poll needs */
    if (user.fd < 0 || ioctl(user.fd, UFFDIO_API, &api))
        return 0;
    user.at = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    reg.range.start = (unsigned long)user.at;
    reg.range.len = n * PAGE;
    if (ioctl(user.fd, UFFDIO_REGISTER, &reg))
        return 0;
    stop = 0;
    pthread_create(&thread, NULL, serves, NULL);
    for (unsigned long i = 0; i < n; i++) {
        __atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&good_looks, 1, __ATOMIC_SEQ_CST);
        look(user.at + i * PAGE);
    }
    stop = 1;
    pthread_join(thread, NULL);
    munmap(user.at, n * PAGE);
    close(user.fd);
    return n;
}

/* ------------------------------------------------------------------------------------------------ a crowd */

static void *member(void *arg)
{
    sigset_t all, old;

    sigfillset(&all);
    for (volatile unsigned long i = 0; !stop; i++) {
        if (i % 16 == 0)
            pthread_sigmask(SIG_BLOCK, &all, &old);
        bad();
        good();
        if (i % 16 == 7)
            pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (i % 16 > 7 && !sigsetjmp(out, 1))
            load(i % 2 ? nowhere : beyond);
        if (i % 64 == 0)
            usleep(100);
    }
    return arg;
}

static pthread_t workers[4];

static void begin(void)
{
    stop = 0;
    handle(SIGSEGV, on_any, 0, 0);
    handle(SIGBUS, on_any, 0, 1);
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&workers[i], NULL, member, NULL);
}

static void end(void)
{
    stop = 1;
    for (unsigned i = 0; i < 4; i++)
        pthread_join(workers[i], NULL);
    by_default();
}

static void state(void)
{
    sigset_t now;

    pthread_sigmask(SIG_SETMASK, NULL, &now);
    for (int sig = SIGBUS; sig; sig = sig == SIGBUS ? SIGSEGV : 0) {
        struct sigaction act;

        sigaction(sig, NULL, &act);
        printf(" %s %x %d %d",
               act.sa_handler == SIG_DFL            ? "default"
               : act.sa_handler == SIG_IGN          ? "ignored"
               : act.sa_sigaction == (void *)on_any ? "handled"
                                                    : "strange",
               (unsigned)act.sa_flags & ~0x04000000u /* the C library's own */,
               sigismember(&act.sa_mask, SIGBUS), sigismember(&now, sig));
    }
}

int main(int argc, char **argv)
{
    char line[128], word[32];
    unsigned char *pages = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int empty = memfd_create("empty", MFD_CLOEXEC);

    (void)argc;
    munmap(pages, PAGE);
    nowhere = pages;
    secret = pages + PAGE;
    beyond = mmap(pages + 2 * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, empty, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* nothing is read ahead of an exec */
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        unsigned long n = 0, more = 0;

        seen = 0;
        sscanf(line, "%31s %lu", word, &n);
        if (!strcmp(word, "good"))
            for (unsigned long i = 0; i < n; i++)
                good();
        else if (!strcmp(word, "bad"))
            for (unsigned long i = 0; i < n; i++)
                bad();
        else if (!strcmp(word, "blocked"))
            blocked(n);
        else if (!strcmp(word, "handlers"))
            handlers(n);
        else if (!strcmp(word, "barrier"))
            barrier(n);
        else if (!strcmp(word, "overflow"))
            overflow(n);
        else if (!strcmp(word, "nulls"))
            nulls(n);
        else if (!strcmp(word, "shaky"))
            shaky(n);
        else if (!strcmp(word, "forks"))
            more = forks(n);
        else if (!strcmp(word, "served"))
            more = served(n);
        else if (!strcmp(word, "begin"))
            begin();
        else if (!strcmp(word, "end"))
            end();
        else if (!strcmp(word, "watch"))
            handle(SIGSEGV, on_any, SA_RESTART, 0), handle(SIGBUS, on_any, SA_NODEFER, 1);
        else if (!strcmp(word, "exec"))
            execv("/proc/self/exe", argv);
        else if (!strcmp(word, "exhaust"))
            use_up(0);
        else if (!strcmp(word, "die"))
            load(nowhere);
        else if (!strcmp(word, "bus"))
            load(beyond);
        printf("%lu %lu %lu", looks, good_looks, more ? more : seen);
        if (!strcmp(word, "state"))
            state();
        printf("\n");
    }
    return 0;
}
