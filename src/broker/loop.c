/* SPDX-License-Identifier: MIT */
/* Fibers and epoll; see loop.h. A wait lives on the stack of the fiber that waits,
   in the loop's list and in epoll. */
#include "broker/loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

/* Deep enough for the verifier and libbpf's BTF reader; only pages that are touched are paid for. */
#define STACK_SIZE  (1u << 20)
/* No frame is larger: none steps over it. */
#define GUARD_SIZE  (64u << 10)
/* Stacks kept for the next fiber: connections come and go with every command. */
#define STACKS_KEPT 8u

struct fiber {
    ucontext_t ctx;
    ucontext_t back; /* whoever let it run: the loop, or the fiber that spawned it until its first wait */
    u8 *mem;         /* guard, then the stack */
    void (*fn)(void *arg);
    void *arg;
    bool ended;
#ifdef __SANITIZE_ADDRESS__
    void *back_fake;
    const void *back_stack;
    size_t back_stack_size;
#endif
};

struct wait {
    struct tn_source source;
    struct tn_loop *loop;
    struct fiber *fiber;
    u32 events;   /* EPOLLIN, EPOLLOUT: the numbers of poll(2) */
    u64 deadline; /* 0: none */
    int result;
    bool over;
    struct wait *prev, *next;
};

struct tn_loop {
    int epfd;
    struct fiber *running;
    struct wait *waits;
    u8 *stacks[STACKS_KEPT];
    u32 nstacks;
};

u64 tn_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (u64)ts.tv_sec * 1000000000ull + (u64)ts.tv_nsec;
}

int tn_loop_new(struct tn_loop **ret_loop)
{
    _free_ struct tn_loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epfd < 0)
        return -errno;
    *ret_loop = TN_TAKE_PTR(loop);
    return 0;
}

void tn_loop_free(struct tn_loop *loop)
{
    if (!loop)
        return;
    for (u32 i = 0; i < loop->nstacks; i++)
        munmap(loop->stacks[i], STACK_SIZE);
    close(loop->epfd);
    free(loop);
}

int tn_loop_add(struct tn_loop *loop, struct tn_source *source, u32 events)
{
    struct epoll_event ev = {.events = events, .data.ptr = source};

    return epoll_ctl(loop->epfd, EPOLL_CTL_ADD, source->fd, &ev) ? -errno : 0;
}

void tn_loop_del(struct tn_loop *loop, struct tn_source *source)
{
    epoll_ctl(loop->epfd, EPOLL_CTL_DEL, source->fd, NULL);
}

/* ---------------------------------------------------------------------------------------------- switching */

static u8 *stack_get(struct tn_loop *loop)
{
    if (loop->nstacks)
        return loop->stacks[--loop->nstacks];

    u8 *mem =
        mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        return NULL;
    if (mprotect(mem, GUARD_SIZE, PROT_NONE)) {
        munmap(mem, STACK_SIZE);
        return NULL;
    }
    return mem;
}

static void stack_put(struct tn_loop *loop, u8 *mem)
{
    if (loop->nstacks < STACKS_KEPT)
        loop->stacks[loop->nstacks++] = mem;
    else
        munmap(mem, STACK_SIZE);
}

static void fiber_main(u32 lo, u32 hi)
{
    struct tn_loop *loop = (struct tn_loop *)(((u64)hi << 32) | lo);
    struct fiber *fiber = loop->running;

#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &fiber->back_stack, &fiber->back_stack_size);
#endif
    fiber->fn(fiber->arg);
    fiber->ended = true;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(NULL, fiber->back_stack, fiber->back_stack_size);
#endif
    swapcontext(&fiber->ctx, &fiber->back);
}

static void fiber_resume(struct tn_loop *loop, struct fiber *fiber)
{
    struct fiber *before = loop->running;

    loop->running = fiber;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fiber->back_fake, fiber->mem + GUARD_SIZE, STACK_SIZE - GUARD_SIZE);
#endif
    swapcontext(&fiber->back, &fiber->ctx);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber->back_fake, NULL, NULL);
#endif
    loop->running = before;
    if (fiber->ended) {
        stack_put(loop, fiber->mem);
        free(fiber);
    }
}

static void fiber_yield(struct tn_loop *loop)
{
    struct fiber *fiber = loop->running;
#ifdef __SANITIZE_ADDRESS__
    void *fake;

    __sanitizer_start_switch_fiber(&fake, fiber->back_stack, fiber->back_stack_size);
#endif
    swapcontext(&fiber->ctx, &fiber->back);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, &fiber->back_stack, &fiber->back_stack_size);
#endif
}

int tn_loop_spawn(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
    struct fiber *fiber = calloc(1, sizeof(*fiber));

    if (!fiber)
        return -ENOMEM;
    fiber->mem = stack_get(loop);
    if (!fiber->mem) {
        free(fiber);
        return -ENOMEM;
    }
    fiber->fn = fn;
    fiber->arg = arg;
    getcontext(&fiber->ctx);
    fiber->ctx.uc_stack.ss_sp = fiber->mem + GUARD_SIZE;
    fiber->ctx.uc_stack.ss_size = STACK_SIZE - GUARD_SIZE;
    makecontext(&fiber->ctx, (void (*)(void))fiber_main, 2, (u32)(u64)loop, (u32)((u64)loop >> 32));
    fiber_resume(loop, fiber);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ waiting */

static void wait_over(struct wait *wait, int result)
{
    struct tn_loop *loop = wait->loop;

    wait->result = result;
    wait->over = true;
    if (wait->source.fd >= 0)
        tn_loop_del(loop, &wait->source);
    if (wait->prev)
        wait->prev->next = wait->next;
    else
        loop->waits = wait->next;
    if (wait->next)
        wait->next->prev = wait->prev;
    fiber_resume(loop, wait->fiber); /* `wait` is gone now */
}

static void wait_ready(struct tn_source *source, u32 events)
{
    wait_over(TN_CONTAINER_OF(source, struct wait, source), 0);
}

int tn_loop_wait(struct tn_loop *loop, int fd, u32 events, int timeout_ms)
{
    struct wait wait = {
        .source = {.fd = fd, .on_ready = wait_ready},
        .loop = loop,
        .fiber = loop->running,
        .events = events,
        .deadline = timeout_ms < 0 ? 0 : tn_now_ns() + (u64)timeout_ms * 1000000ull,
        .next = loop->waits,
    };

    if (fd >= 0) {
        int r = tn_loop_add(loop, &wait.source, events);

        if (r)
            return r;
    }
    if (loop->waits)
        loop->waits->prev = &wait;
    loop->waits = &wait;
    fiber_yield(loop);
    return wait.result;
}

/* When this thread was busy for long, what is waited for may have come in time, only nobody has looked. */
static bool has_come(const struct wait *wait)
{
    struct pollfd p = {.fd = wait->source.fd, .events = (short)wait->events};

    return p.fd >= 0 && poll(&p, 1, 0) == 1;
}

/* Ends the first wait whose time is over. The list may have changed entirely afterwards,
   hence one at a time. */
static bool expire_one(struct tn_loop *loop)
{
    u64 now = tn_now_ns();

    for (struct wait *wait = loop->waits; wait; wait = wait->next)
        if (wait->deadline && wait->deadline <= now) {
            wait_over(wait, has_come(wait) ? 0 : -ETIMEDOUT);
            return true;
        }
    return false;
}

int tn_loop_turn(struct tn_loop *loop, int timeout_ms)
{
    u64 now = tn_now_ns(), until = timeout_ms < 0 ? 0 : now + (u64)timeout_ms * 1000000ull;
    struct epoll_event ev;
    int n, ms = -1;

    for (const struct wait *wait = loop->waits; wait; wait = wait->next)
        if (wait->deadline && (!until || wait->deadline < until))
            until = wait->deadline;
    if (until)
        ms = until <= now ? 0 : (int)TN_MIN((until - now + 999999) / 1000000, 3600000ull);

    /* One event a turn: what it sets off may remove any other source. */
    n = epoll_wait(loop->epfd, &ev, 1, ms);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n) {
        struct tn_source *source = ev.data.ptr;

        source->on_ready(source, ev.events);
    }
    while (expire_one(loop))
        ;
    return 0;
}
