/* SPDX-License-Identifier: MIT */
/*
 * tn_agent_enter and tn_agent_leave: whose process, which slot, running already, which CPU. The hosted build
 * of the same source, and the embedded image mapped into this very process, must both behave.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "agent/image.h"
#include "rt/helper/helpers.h"
#include "rt/self.h"

#define NCPU 4u

static struct tn_private *priv;
static struct tn_cpu_claim *claims;
static struct tn_link_stats *stats;
static struct tn_proc proc;
static u64 (*enter)(struct tn_run *, u64);
static void (*leave)(struct tn_run *);

static void *shared(u64 size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static int fresh(void **state)
{
    priv = mmap(NULL, sizeof(*priv), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    claims = shared(TN_PAGE);
    stats = shared(TN_PAGE);
    if (priv == MAP_FAILED || claims == MAP_FAILED || stats == MAP_FAILED ||
        madvise(priv, sizeof(*priv), MADV_WIPEONFORK))
        return -1;
    priv->armed = TN_ARMED;
    proc = (struct tn_proc){.priv = priv,
                            .claims = claims,
                            .ncpu = NCPU,
                            .allowed_syscalls = ~0u,
                            .tp_how = TN_TP_SELF,
                            .pid = (u32)getpid(),
                            .owner_pid = (u32)getpid()};
    return 0;
}

static int done(void **state)
{
    return munmap(priv, sizeof(*priv)) | munmap(claims, TN_PAGE) | munmap(stats, TN_PAGE);
}

static struct tn_hook hook(u32 bit)
{
    return (struct tn_hook){.prog_bit = bit, .stats = (u64)stats, .proc = (u64)&proc};
}

static u32 bits_set(void)
{
    u32 n = 0;

    for (u32 i = 0; i < TN_SLOT_COUNT + TN_SLOT_OVERFLOW; i++) {
        const struct tn_slot *slot = i < TN_SLOT_COUNT ? &priv->slot[i] : &priv->overflow[i - TN_SLOT_COUNT];

        for (u32 w = 0; w < TN_SLOT_BITS / 64; w++)
            n += (u32)__builtin_popcountll(slot->running[w]);
    }
    return n;
}

static u32 claimed(void)
{
    u32 n = 0;

    for (u32 i = 0; i < NCPU; i++)
        n += claims[i].owner != 0;
    return n;
}

static void plain(void **state)
{
    struct tn_hook h = hook(TN_SLOT_BITS - 1), beyond = hook(TN_SLOT_BITS);
    struct tn_run run = {.hook = &h, .proc = &proc}, bad = {.hook = &beyond, .proc = &proc};

    assert_int_equal(enter(&run, 0), 1);
    assert_int_equal(run.cpu, -1);
    assert_int_equal(bits_set(), 1);
    assert_int_equal(run.slot->owner, tn_thread_pointer(NULL));
    assert_ptr_equal(run.slot, &priv->slot[TN_SLOT_HASH(tn_thread_pointer(NULL))]);
    leave(&run);
    assert_int_equal(bits_set(), 0);
    assert_int_equal(run.slot->sp, 0);
    assert_int_equal(stats->missed, 0);
    assert_int_equal(enter(&bad, 0), 0);
    assert_int_equal(stats->missed, 1);
}

static void recursion(void **state)
{
    struct tn_hook a = hook(3), b = hook(70);
    struct tn_run outer = {.hook = &a, .proc = &proc};

    assert_int_equal(enter(&outer, TN_ENTER_SP), 1);
    {
        volatile char room[256] = {0};
        struct tn_run inner[2] = {{.hook = &a, .proc = &proc}, {.hook = &b, .proc = &proc}};

        (void)room;
        outer.slot->sp = (u64)inner + 4096; /* wherever the compiler put them: the outer one is older */
        assert_int_equal(enter(&inner[0], TN_ENTER_SP), 0);
        assert_int_equal(stats->missed, 1);
        assert_int_equal(stats->recursion, 1);
        assert_int_equal(enter(&inner[1], TN_ENTER_SP), 1); /* another program may */
        leave(&inner[1]);
        assert_int_equal(bits_set(), 1);
        outer.slot->sp = (u64)&outer;
    }
    leave(&outer);
    assert_int_equal(bits_set(), 0);
}

/* ----------------------------------------------------------------------------------------- abandoned runs */

static sigjmp_buf way_out;

static void __attribute__((noinline)) deep_run(struct tn_hook *h, u64 flags, bool abandon)
{
    struct tn_run run = {.hook = h, .proc = &proc};

    assert_int_equal(enter(&run, flags), 1);
    if (abandon)
        siglongjmp(way_out, 1);
    leave(&run);
}

static void __attribute__((noinline)) run_deeper(struct tn_hook *h, u64 flags, bool abandon)
{
    volatile char room[2048];

    memset((char *)room, 1, sizeof(room));
    deep_run(h, flags, abandon);
    room[0] = 2;
}

static void abandoned(void **state)
{
    struct tn_hook h = hook(8), other = hook(9);
    u64 flags = TN_ENTER_SP | TN_ENTER_PERCPU;

    for (volatile u32 i = 0; i < 5; i++) {
        if (!sigsetjmp(way_out, 1))
            run_deeper(&h, flags, true);
        assert_int_equal(bits_set(), 1);
        deep_run(i % 2 ? &h : &other, flags, false); /* not disabled, and all is clean again */
        assert_int_equal(bits_set(), 0);
        assert_int_equal(claimed(), 0);
    }
    assert_int_equal(stats->missed, 0);

    /* whoever does not keep sp gets the cautious answer: it may be running */
    if (!sigsetjmp(way_out, 1))
        run_deeper(&h, 0, true);
    struct tn_run again = {.hook = &h, .proc = &proc};

    assert_int_equal(enter(&again, 0), 0);
    assert_int_equal(stats->recursion, 1);
}

static struct tn_hook *handler_hook;
static volatile u64 handler_said;

static void on_signal(int sig)
{
    struct tn_run run = {.hook = handler_hook, .proc = &proc};

    handler_said = enter(&run, TN_ENTER_SP | TN_ENTER_PERCPU);
    if (handler_said)
        leave(&run);
}

/* A handler on the alternate stack, which may lie above or below:
   the run it interrupted is running, not abandoned. */
static void alternate_stack(void **state)
{
    struct tn_hook h = hook(8), other = hook(9);
    struct tn_run run = {.hook = &h, .proc = &proc};
    stack_t alt = {.ss_size = 65536}, old;
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

    alt.ss_sp = mmap(NULL, alt.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(alt.ss_sp, MAP_FAILED);
    assert_int_equal(sigaltstack(&alt, &old), 0);
    assert_int_equal(sigaction(SIGUSR1, &sa, NULL), 0);

    assert_int_equal(enter(&run, TN_ENTER_SP | TN_ENTER_PERCPU), 1);
    handler_hook = &h;
    raise(SIGUSR1);
    assert_int_equal(handler_said, 0);
    assert_int_equal(stats->recursion, 1);
    handler_hook =
        &other; /* another program: only its thread's own CPU slot is in the way, and is not waited for */
    raise(SIGUSR1);
    assert_true(handler_said == 0 || claimed() == 1);
    assert_int_equal(bits_set(), 1);
    leave(&run);
    handler_hook = &h;
    raise(SIGUSR1);
    assert_int_equal(handler_said, 1);
    assert_int_equal(claimed(), 0);
    signal(SIGUSR1, SIG_DFL);
    sigaltstack(&old, NULL);
    munmap(alt.ss_sp, 65536);
}

/* ------------------------------------------------------------------------------------------ children */

static u64 in_fork_child(u64 flags)
{
    struct tn_hook h = hook(1);
    struct tn_run run = {.hook = &h, .proc = &proc};
    int status = -1;
    pid_t pid = fork();

    if (!pid) {
        u64 said = enter(&run, flags);

        if (priv->armed != (flags & TN_ENTER_FOLLOW ? TN_ARMED_FORKED : 0))
            _exit(8); /* known to be one, or asked for every run */
        if (said && flags & TN_ENTER_PERCPU && TN_OWNER_PID(claims[run.cpu].owner) != (u32)getpid())
            _exit(9); /* a claim in its parent's name could not be recovered */
        if (said)
            leave(&run);
        _exit((int)said);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (u64)WEXITSTATUS(status);
}

static void fork_child(void **state)
{
    struct tn_hook h = hook(1);
    struct tn_run run = {.hook = &h, .proc = &proc};

    assert_int_equal(in_fork_child(0), 0);
    assert_int_equal(stats->missed, 0); /* never meant: not missed */
    assert_int_equal(in_fork_child(TN_ENTER_FOLLOW), 1);
    assert_int_equal(in_fork_child(TN_ENTER_FOLLOW | TN_ENTER_PERCPU), 1);
    assert_int_equal(enter(&run, 0), 1); /* a run is under way while it forks: the child starts with none */
    assert_int_equal(in_fork_child(TN_ENTER_FOLLOW), 1);
    leave(&run);
}

static u64 in_vfork_child(u64 flags)
{
    static volatile u64 said;
    static struct tn_hook h;
    static struct tn_run run;
    pid_t pid;

    h = hook(2);
    run = (struct tn_run){.hook = &h, .proc = &proc};
    said = 99;
    __atomic_fetch_add(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    pid = vfork();
    if (!pid) {
        said = enter(&run, flags);
        if (said)
            leave(&run);
        _exit(0);
    }
    assert_int_equal(enter(&run, flags), 1); /* the parent itself, while it is not yet known to be over */
    leave(&run);
    __atomic_fetch_sub(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return said;
}

static void vfork_child(void **state)
{
    assert_int_equal(in_vfork_child(0), 0);
    assert_int_equal(stats->missed, 0);
    assert_int_equal(in_vfork_child(TN_ENTER_FOLLOW), 1);
    assert_int_equal(in_vfork_child(TN_ENTER_FOLLOW | TN_ENTER_PERCPU), 1);
    assert_int_equal(bits_set(), 0);
    assert_int_equal(claimed(), 0);
}

/* ----------------------------------------------------------------------------------------- slots and CPUs */

static void overflow(void **state)
{
    u64 tp = tn_thread_pointer(NULL);
    struct tn_hook a = hook(1), b = hook(2);
    struct tn_run run = {.hook = &a, .proc = &proc}, nested = {.hook = &b, .proc = &proc}, same = nested;

    for (u32 i = 0; i < TN_SLOT_PROBES; i++)
        priv->slot[(TN_SLOT_HASH(tp) + i) % TN_SLOT_COUNT].owner = 64 + i;
    assert_int_equal(enter(&run, 0), 1);
    assert_true(run.slot >= priv->overflow && run.slot < priv->overflow + TN_SLOT_OVERFLOW);
    assert_int_equal(enter(&nested, 0), 1);
    assert_ptr_equal(nested.slot, run.slot);
    assert_int_equal(enter(&same, 0), 0); /* recursion is seen there too */
    leave(&nested);
    assert_int_equal(run.slot->owner, tp);
    leave(&run);
    assert_int_equal(run.slot->owner, 0);
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        priv->overflow[i].owner = 1000 + i;
    stats->missed = stats->recursion = 0;
    assert_int_equal(enter(&run, 0), 0);
    assert_int_equal(stats->missed, 1);
    assert_int_equal(stats->recursion, 0);
}

static void cpus_taken(void **state)
{
    struct tn_hook a = hook(1);
    struct tn_run run = {.hook = &a, .proc = &proc};

    for (u32 i = 0; i < NCPU; i++)
        claims[i].owner = i == 2 ? 0 : (u64)1 << 32 | 8;
    assert_int_equal(enter(&run, TN_ENTER_PERCPU), 1); /* any free one will do */
    assert_int_equal(run.cpu, 2);
    leave(&run);
    assert_int_equal(claims[2].owner, 0);

    claims[2].owner = (u64)1 << 32 | 8;
    assert_int_equal(enter(&run, TN_ENTER_PERCPU), 0); /* bounded */
    assert_int_equal(stats->missed, 1);
    assert_int_equal(stats->recursion, 0);
    assert_int_equal(bits_set(), 0);
}

#define THREADS 6
static u64 counter[NCPU][8];
static void *count(void *arg)
{
    struct tn_hook h = hook(17);
    u64 done = 0;

    for (u32 i = 0; i < 30000; i++) {
        struct tn_run run = {.hook = &h, .proc = &proc};

        if (!enter(&run, TN_ENTER_PERCPU | TN_ENTER_SP))
            continue;
        counter[run.cpu][0] += 1; /* not atomic: the claim makes it exact */
        leave(&run);
        done++;
    }
    return (void *)done;
}

static void exact_counts(void **state)
{
    pthread_t thread[THREADS];
    u64 ran = 0, counted = 0;
    void *ret;

    memset(counter, 0, sizeof(counter));
    for (u32 i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, count, NULL), 0);
    for (u32 i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &ret);
        ran += (u64)ret;
    }
    for (u32 i = 0; i < NCPU; i++)
        counted += counter[i][0];
    assert_int_equal(counted, ran);
    assert_int_equal(ran + stats->missed, THREADS * 30000);
    assert_int_equal(claimed(), 0);
    assert_int_equal(bits_set(), 0);
}

/* The thread pointer by each way that may be allowed is the same. */
static void thread_pointer(void **state)
{
    struct tn_proc other = proc;

    other.tp_how = TN_TP_ARCH_PRCTL;
    assert_int_equal(tn_thread_pointer(&other), tn_thread_pointer(&proc));
    other.tp_how = TN_TP_RDFSBASE;
    if (__builtin_cpu_supports("sse2") && (getauxval(26 /* AT_HWCAP2 */) & 2))
        assert_int_equal(tn_thread_pointer(&other), tn_thread_pointer(&proc));
}

/* ------------------------------------------------------------------------------------------ the image */

static u8 *map_image(void)
{
    struct tn_agent_layout layout;
    struct tn_error err = {0};
    u8 *at;

    assert_int_equal(tn_agent_layout(&layout, &err), 0);
    assert_true(layout.size <= 256 << 10);
    at = mmap(NULL, layout.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    for (u32 i = 0; i < layout.nsegments; i++) {
        const struct tn_agent_segment *seg = &layout.segment[i];

        assert_int_equal(seg->prot & PROT_WRITE, 0);
        memcpy(at + seg->vaddr, seg->bytes, seg->file_size);
    }
    assert_int_equal(mprotect(at, layout.size, PROT_READ | PROT_EXEC), 0);
    return at;
}

static void exports(void **state)
{
    u64 off, last = 0;

    assert_int_equal(tn_agent_export("tn_agent_enter", &off), 0);
    assert_int_equal(tn_agent_export("no_such_function", &off), -ENOENT);
    assert_null(tn_helper_by_id(93)); /* bpf_spin_lock: not built */
    assert_int_equal(tn_agent_helper(93, &off), -ENOENT);
    for (u32 id = 0; id <= TN_HELPER_MAX; id++)
        if (tn_helper_by_id(id)) {
            assert_int_equal(tn_agent_helper(id, &off), 0);
            assert_int_not_equal(off, last);
            last = off;
        }
}

int main(void)
{
#define FRESH(f) cmocka_unit_test_setup_teardown(f, fresh, done)
    const struct CMUnitTest tests[] = {
        FRESH(plain),        FRESH(recursion),      FRESH(abandoned), FRESH(alternate_stack),
        FRESH(fork_child),   FRESH(vfork_child),    FRESH(overflow),  FRESH(cpus_taken),
        FRESH(exact_counts), FRESH(thread_pointer), FRESH(exports),
    };
    const char *image = getenv("TN_TEST_IMAGE");
    u64 off_enter, off_leave;

    alarm(60);
    enter = tn_agent_enter;
    leave = tn_agent_leave;
    if (image && *image == '1') {
        u8 *at = map_image();

        if (tn_agent_export("tn_agent_enter", &off_enter) || tn_agent_export("tn_agent_leave", &off_leave))
            return 1;
        *(void **)&enter = at + off_enter;
        *(void **)&leave = at + off_leave;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
