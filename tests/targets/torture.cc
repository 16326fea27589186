/* SPDX-License-Identifier: MIT */
/*
 * Sixty-four threads that do at once whatever upsets those who change a program while it runs: call, throw, jump out,
 * fork, start programs, take signals on their own stack and on another, load and unload a library. All of it
 * through functions that are hooked, and each tells at once when anything is not as it must be.
 *
 * What is counted is exact: while it is `on`, calls are marked by their argument and noted by the thread that makes
 * them; "off" is answered when no marked call is under way any more.
 */
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <pthread.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNMARKED, MARKED, IN_HANDLER };
constexpr int each = 8, threads = 64;

struct Mine {
    std::atomic<std::uint64_t> mark, rounds, calls, handled, returns, leaps;
    sigjmp_buf out;
};
static Mine mine[threads];
static thread_local Mine *me;
static std::atomic<bool> on;
static const char *self, *library;

static void complain(const char *what, long value)
{
    std::fprintf(stderr, "thread %d: %s %ld\n", static_cast<int>(me - mine), what, value);
    std::_Exit(3);
}

extern "C" {
std::uint64_t hot(std::uint64_t mark, std::uint64_t n), leaves(std::uint64_t mark, std::uint64_t how);

__attribute__((noinline)) std::uint64_t hot(std::uint64_t mark, std::uint64_t n)
{
    __asm__ volatile("" : "+r"(n));
    return mark << 32 | (n & 0xffff);
}

/* Never returns: by an exception, or by longjmp. */
__attribute__((noinline)) std::uint64_t leaves(std::uint64_t mark, std::uint64_t how)
{
    if (how)
        throw std::runtime_error("out");
    siglongjmp(me->out, 1);
    return mark;
}
}

static void call(std::uint64_t mark, std::uint64_t n)
{
    if (hot(mark, n) != (mark << 32 | (n & 0xffff)))
        complain("hot returned something else for", static_cast<long>(n));
}

static void handler(int)
{
    std::uint64_t mark = me->mark ? IN_HANDLER : UNMARKED;

    call(mark, 7);
    if (mark)
        me->handled++;
}

static void calls(std::uint64_t mark)
{
    for (std::uint64_t i = 0; i < 100; i++)
        call(mark, i);
    if (mark)
        me->calls += 100, me->returns += 100;
}

static void throws(std::uint64_t mark)
{
    struct Guard {
        int &left;
        ~Guard() { left--; }
    };
    int left = 20, caught = 0;

    for (int i = 0; i < 20; i++)
        try {
            Guard guard{left};

            leaves(mark, 1);
        } catch (const std::runtime_error &) {
            caught++;
        }
    if (left || caught != 20)
        complain("exceptions lost", left);
    if (mark)
        me->leaps += 20;
}

static void jumps(std::uint64_t mark)
{
    for (volatile int i = 0; i < 20; i = i + 1)
        if (!sigsetjmp(me->out, i % 2))
            leaves(mark, 0);
    if (mark)
        me->leaps += 20;
}

static void expect_zero(pid_t pid, const char *what)
{
    int status = 0;
    pid_t got;

    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    if (pid <= 0 || got != pid || status)
        complain(what, status);
}

static void forks(std::uint64_t mark)
{
    pid_t pid = fork();

    if (pid == 0) {
        for (std::uint64_t i = 0; i < 50; i++)
            if (hot(UNMARKED, i) != i)
                std::_Exit(4);
        std::_Exit(0);
    }
    expect_zero(pid, "a fork child ended with");
    calls(mark);
}

static void starts(std::uint64_t mark)
{
    char name[] = "child", *words[] = {const_cast<char *>(self), name, nullptr};
    pid_t pid = 0;

    posix_spawn(&pid, self, nullptr, nullptr, words, environ);
    expect_zero(pid, "a program ended with");
    calls(mark);
}

static void loads(std::uint64_t mark)
{
    void *handle = dlopen(library, RTLD_NOW);
    auto *function =
        handle ? reinterpret_cast<std::uint64_t (*)(std::uint64_t)>(dlsym(handle, "lib_hooked")) : nullptr;

    if (!function)
        complain("the library is not there", 0);
    function(1);
    dlclose(handle);
    calls(mark);
}

static void arm(bool elsewhere)
{
    static std::atomic<int> taken;
    static char stacks[2 * each][64 * 1024];
    stack_t stack = {};
    sigevent event = {};
    itimerspec often = {{0, 300000}, {0, 300000}};
    timer_t timer;

    stack.ss_sp = stacks[taken++];
    stack.ss_size = sizeof(stacks[0]);
    if (elsewhere && sigaltstack(&stack, nullptr))
        complain("sigaltstack", errno);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = elsewhere ? SIGUSR2 : SIGUSR1;
    event._sigev_un._tid = static_cast<int>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, nullptr))
        complain("timer", errno);
}

static void *thread(void *arg)
{
    static void (*const work[])(std::uint64_t) = {calls, throws, jumps, forks, starts, calls, calls, loads};
    long number = reinterpret_cast<long>(arg), kind = number / each;

    me = &mine[number];
    if (kind == 5 || kind == 6)
        arm(kind == 6);
    for (;;) {
        me->mark = on ? MARKED : UNMARKED;
        work[kind](me->mark);
        me->rounds++;
        usleep(4000); /* the processors are for all sixty-four */
    }
    return nullptr;
}

/* Two rounds of every thread have begun since. */
static void all_have_seen()
{
    std::uint64_t before[threads];

    for (int i = 0; i < threads; i++)
        before[i] = mine[i].rounds;
    for (int i = 0; i < threads; i++)
        while (mine[i].rounds < before[i] + 2)
            usleep(1000);
}

int main(int argc, char **argv)
{
    struct sigaction action = {};
    char line[64];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    me = mine;
    if (argc == 2 && !std::strcmp(argv[1], "child")) {
        calls(UNMARKED);
        return 0;
    }
    self = argv[0];
    library = argv[1];
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, nullptr);
    action.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR2, &action, nullptr);
    for (long i = 0; i < threads; i++) {
        pthread_t made;

        if (pthread_create(&made, nullptr, thread, reinterpret_cast<void *>(i)))
            return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    while (std::fgets(line, sizeof(line), stdin)) {
        std::uint64_t sum[4] = {};

        on = !std::strcmp(line, "on\n");
        all_have_seen();
        for (auto &m : mine) {
            sum[0] += m.calls;
            sum[1] += m.handled;
            sum[2] += m.returns;
            sum[3] += m.leaps;
        }
        std::printf("%lu %lu %lu %lu\n", sum[0], sum[1], sum[2], sum[3]);
    }
    return 0;
}
