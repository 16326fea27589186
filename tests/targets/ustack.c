/* SPDX-License-Identifier: MIT */
/*
 * Stacks to be walked: main ─ outer ─ middle ─ hooked, with frame pointers. A line on standard input each, answered by `done`:
 *
 *   plain             hooked is called so
 *   deep N            … by a function that calls itself N times
 *   thread            … on another thread's stack
 *   signal            … by a handler, on an alternate stack
 *   bare              leaf, which makes no frame
 *   asked             middle makes a system call
 *   probe             middle comes by a static probe
 *   frame HOW         with a frame pointer that leads nowhere, or in circles
 *   storm [alt]       plain for half a second, while a timer's handler (on an alternate stack or not) calls sampled; answered by how
 *                     often it did, and how often the interrupted code was in no file
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

uint64_t outer(uint64_t a), middle(uint64_t a), hooked(uint64_t a), deep(uint64_t n), leaf(uint64_t a);
static volatile int asks, probes, bare;

__attribute__((noinline)) uint64_t hooked(uint64_t a)
{
    volatile uint64_t here[2] = {a, a + 1};

    return here[0] * here[1];
}

/* No frame: its caller is told by its return address alone. */
__asm__(".pushsection .text\n.globl leaf\n.type leaf, @function\nleaf: lea "
        "1(%rdi,%rdi),%rax\nnop\nnop\nnop\nret\n"
        ".size leaf, . - leaf\n.popsection");

__attribute__((noinline)) uint64_t middle(uint64_t a)
{
    uint64_t (*volatile function)(uint64_t) = bare ? leaf : hooked;

    if (asks)
        return (uint64_t)syscall(SYS_getppid);
#ifndef NO_PROBE
    if (probes)
        __asm__ volatile(
            "990: nop\n"
            ".pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f,994f-993f,3\n"
            "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte _.stapsdt.base\n"
            ".8byte 0\n.asciz \"ustack\"\n.asciz \"passed\"\n.asciz \"8@%0\"\n994: .balign 4\n"
            ".popsection\n.ifndef _.stapsdt.base\n"
            ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
            ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"
            ".size _.stapsdt.base,1\n.popsection\n.endif\n" ::"r"(a));
#endif
    return function(a) + 1;
}

__attribute__((noinline)) uint64_t outer(uint64_t a)
{
    uint64_t (*volatile function)(uint64_t) = middle;

    return function(a) + 1;
}

__attribute__((noinline)) uint64_t deep(uint64_t n)
{
    uint64_t (*volatile function)(uint64_t) = n ? deep : outer;

    return function(n ? n - 1 : 7) + 1;
}

static void *on_thread(void *unused)
{
    return (void *)outer(3);
}

static void on_signal(int sig)
{
    outer((uint64_t)sig);
}

static volatile uint64_t samples, foreign;

__attribute__((noinline)) uint64_t sampled(uint64_t a)
{
    volatile uint64_t here = a;

    return here;
}

static void on_timer(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *interrupted = context;
    Dl_info found;

    foreign += !dladdr((void *)interrupted->uc_mcontext.gregs[REG_RIP], &found);
    samples += sampled(1);
}

static void storm(int flags)
{
    struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | flags};
    struct itimerval every = {{0, 500}, {0, 500}}, never = {0};
    struct timespec now, end;

    samples = foreign = 0;
    sigaction(SIGALRM, &action, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 500000000;
    setitimer(ITIMER_REAL, &every, NULL);
    do {
        for (int i = 0; i < 100; i++)
            outer(1);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - end.tv_sec) * 1000000000 + now.tv_nsec - end.tv_nsec < 0);
    setitimer(ITIMER_REAL, &never, NULL);
}

/* hooked(5) with this frame pointer. */
static void with_frame(uint64_t fp)
{
    uint64_t five = 5, result;

    __asm__ volatile("push %%rbp\n\tpush %%rbp\n\tmov %2,%%rbp\n\tcall hooked\n\tpop %%rbp\n\tpop %%rbp"
                     : "=a"(result), "+D"(five)
                     : "r"(fp)
                     : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory");
}

static void frame(const char *how)
{
    static uint64_t circle[2], two[4], unaligned[4];
    uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t fp = 0;

    munmap(page + 4096, 4096);
    if (!strcmp(how, "circle")) {
        circle[0] = fp = (uint64_t)circle;
        circle[1] = 0x1234;
    } else if (!strcmp(how, "pair")) {
        two[0] = (uint64_t)(two + 2);
        two[1] = 1;
        two[2] = fp = (uint64_t)two;
        two[3] = 2;
    } else if (!strcmp(how, "edge")) { /* the return address is not there */
        fp = (uint64_t)page + 4088;
        *(uint64_t *)fp = 1;
    } else if (!strcmp(how, "last")) { /* … is the last there is */
        fp = (uint64_t)page + 4080;
        ((uint64_t *)fp)[0] = 1;
        ((uint64_t *)fp)[1] = 0x77;
    } else if (!strcmp(how, "odd")) {
        fp = (uint64_t)unaligned + 3;
        memcpy((void *)fp, (uint64_t[]){0x10001, 0x55aa}, 16);
    } else {
        fp = strtoull(how, NULL, 0);
    }
    with_frame(fp);
    munmap(page, 4096);
}

int main(void)
{
    static uint8_t other[65536] __attribute__((aligned(16)));
    const stack_t stack = {.ss_sp = other, .ss_size = sizeof(other)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    char line[64], word[16], how[32];

    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        how[0] = 0;
        if (sscanf(line, "%15s %31s", word, how) < 1)
            continue;
        asks = !strcmp(word, "asked");
        probes = !strcmp(word, "probe");
        bare = !strcmp(word, "bare");
        if (!strcmp(word, "deep")) {
            deep(strtoull(how, NULL, 0));
        } else if (!strcmp(word, "thread")) {
            pthread_t thread;

            pthread_create(&thread, NULL, on_thread, NULL);
            pthread_join(thread, NULL);
        } else if (!strcmp(word, "signal")) {
            raise(SIGUSR1);
        } else if (!strcmp(word, "frame")) {
            frame(how);
        } else if (!strcmp(word, "storm")) {
            storm(how[0] ? SA_ONSTACK : 0);
            printf("%llu %llu\n", (unsigned long long)samples, (unsigned long long)foreign);
            continue;
        } else {
            outer(1);
        }
        printf("done\n");
    }
    return 0;
}
