/* SPDX-License-Identifier: MIT */
/*
 * What others see of a stack while functions on it are hooked: main ─ outer ─ middle ─ hooked ─ inner, over and over,
 * while a profiler in the same process (SIGPROF, on an alternate stack or not) walks it as profilers do.
 *
 * Each line `WAY SECONDS [alt]` on standard input is answered by: samples, those that found main, those whose program counter
 * lay in no file (in what an extension has brought), those of them that found main, and calls of `hooked`.
 *
 *   unwind     _Unwind_Backtrace, by unwind information
 *   glibc      backtrace(3)
 *   frames     frame pointers, as the kernel's own walker for perf reads them: no look at memory that is not there
 *   calls      nobody looks
 *   overflow   `inner` writes behind its memory, for a sanitizer to tell
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#define DEEP 64

int main(int argc, char **argv);
uint64_t outer(uint64_t a), middle(uint64_t a), hooked(uint64_t a), inner(uint64_t a);

/* ------------------------------------------------------------------------------------------------- the host */

static volatile int overflows;

__attribute__((noinline)) uint64_t inner(uint64_t a)
{
    if (overflows) {
        volatile char *volatile bytes = malloc(8);

        bytes[8] = 1;
    }
    __asm__ volatile("" : "+r"(a));
    return a + 1;
}

__attribute__((noinline)) uint64_t hooked(uint64_t a)
{
    uint64_t (*volatile function)(uint64_t) = inner;

    return function(a * 3) ^ 0x55;
}

__attribute__((noinline)) uint64_t middle(uint64_t a)
{
    uint64_t (*volatile function)(uint64_t) = hooked;

    return function(a) + 1;
}

__attribute__((noinline)) uint64_t outer(uint64_t a)
{
    uint64_t (*volatile function)(uint64_t) = middle;

    return function(a) + 1;
}

/* ------------------------------------------------------------------------------------------------ the profiler */

static const char *volatile way;
static volatile uint64_t samples, whole, foreign, foreign_whole;
static uintptr_t main_start, main_end, main_frame;
static struct {
    uintptr_t start, end;
} file[64];
static int nfiles;

static int remember(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X && nfiles < 64) {
            file[nfiles].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            file[nfiles].end = file[nfiles].start + info->dlpi_phdr[i].p_memsz;
            nfiles++;
        }
    return 0;
}

static int in_file(uintptr_t pc)
{
    for (int i = 0; i < nfiles; i++)
        if (pc >= file[i].start && pc < file[i].end)
            return 1;
    return 0;
}

static int in_main(uintptr_t pc)
{
    return pc >= main_start && pc < main_end;
}

static _Unwind_Reason_Code look(struct _Unwind_Context *context, void *found)
{
    if (in_main(_Unwind_GetIP(context)))
        *(int *)found = 1;
    return _URC_NO_REASON;
}

/* As the kernel does: a frame is two words, and nothing is read that may not be. */
static int by_frames(const ucontext_t *context)
{
    uintptr_t at = (uintptr_t)context->uc_mcontext.gregs[REG_RBP], word[2];
    struct iovec here = {word, sizeof(word)}, there = {NULL, sizeof(word)};

    for (int depth = 0; depth < DEEP; depth++) {
        there.iov_base = (void *)at;
        if (at == main_frame)
            return 1;
        if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof(word) || word[0] <= at)
            return 0;
        at = word[0];
    }
    return 0;
}

static void sample(int sig, siginfo_t *info, void *context)
{
    uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    void *frame[DEEP];
    int found = 0;

    (void)sig, (void)info;
    if (!strcmp(way, "unwind"))
        _Unwind_Backtrace(look, &found);
    else if (!strcmp(way, "glibc"))
        for (int n = backtrace(frame, DEEP), i = 0; i < n; i++)
            found |= in_main((uintptr_t)frame[i]);
    else
        found = by_frames(context);
    samples++;
    whole += (uint64_t)found;
    if (!in_file(pc)) {
        foreign++;
        foreign_whole += (uint64_t)found;
    }
}

static void profile(int alt, int on)
{
    static char stack[65536];
    const stack_t ours = {.ss_sp = stack, .ss_size = sizeof(stack)};
    const struct sigaction act = {.sa_sigaction = sample,
                                  .sa_flags = SA_SIGINFO | SA_RESTART | (alt ? SA_ONSTACK : 0)};
    const struct itimerspec often = {{.tv_nsec = on ? 50000 : 0}, {.tv_nsec = on ? 50000 : 0}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
    static timer_t timer;

    if (sigaltstack(&ours, NULL) || sigaction(SIGPROF, &act, NULL) ||
        (!timer && timer_create(CLOCK_MONOTONIC, &event, &timer)) || timer_settime(timer, 0, &often, NULL))
        abort();
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    char line[128], word[16], alt[16];
    void *frame[DEEP];
    double seconds;
    Dl_info info;
    const ElfW(Sym) * symbol;

    (void)argc, (void)argv;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!dladdr1((void *)main, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol)
        return 3;
    main_frame = (uintptr_t)__builtin_frame_address(0);
    main_start = (uintptr_t)main;
    main_end = main_start + symbol->st_size;
    dl_iterate_phdr(remember, NULL);
    backtrace(frame, DEEP); /* loads what it needs */
    while (fgets(line, sizeof(line), stdin)) {
        uint64_t calls = 0;
        int n = sscanf(line, "%15s %lf %15s", word, &seconds, alt);

        if (n < 2)
            return 2;
        way = word;
        overflows = !strcmp(word, "overflow");
        samples = whole = foreign = foreign_whole = 0;
        profile(n == 3, !!strcmp(word, "calls") && !overflows);

        for (double end = now() + seconds; now() < end;)
            for (int i = 0; i < 1000; i++, calls++)
                if (outer(calls) != ((calls * 3 + 1) ^ 0x55) + 2)
                    abort();
        profile(n == 3, 0);
        printf("%lu %lu %lu %lu %lu\n", samples, whole, foreign, foreign_whole, calls);
    }
    return 0;
}
