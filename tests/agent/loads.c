/* SPDX-License-Identifier: MIT */
/*
 * Loads that may fault (rt/loads.h), in a process whose SIGSEGV and SIGBUS are ours: what they read and what they refuse, at every
 * size and place around the end of what is there, is what the slower way says; and where there is no room for a signal's frame,
 * none is made.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ours.h"
#include "rt/probe.h"

#define MOST 600u

static struct tn_signals *sigs;
static struct tn_private *priv;
static struct tn_proc proc, slow; /* `slow`: the same process, without loads */
static const struct tn_run run = {.proc = &proc}, run_slow = {.proc = &slow};
static u8 *edge; /* where it ends: readable before, nothing behind */

/* Within each test: cmocka takes signals itself right before. `both`: the slower way is allowed too, where loads cannot be made. */
static void take(bool both)
{
    take_signals(&sigs, &proc, &priv, TN_SIGNALS_LOADS, true);
    slow = proc;
    slow.signals = 0;
    slow.allowed_syscalls = ~0u;
    if (both)
        proc.allowed_syscalls = ~0u;
}

static void put_pattern(void)
{
    for (u32 i = 0; i < TN_PAGE; i++)
        edge[-(s32)i - 1] = (u8)(i % 255 + 1);
}

static bool all_are(const u8 *bytes, u64 n, u8 value)
{
    for (u64 i = 0; i < n; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

/* Every size, from every distance to the end. */
static void copies(void **state)
{
    take(false);
    put_pattern();
    for (u32 size = 0; size <= MOST; size += size < 40 ? 1 : 7)
        for (s32 before = -9; before <= (s32)MOST + 9; before++) {
            u8 dst[MOST + 8];
            bool there = before >= (s32)size || size == 0;
            int r;

            memset(dst, 0xa5, sizeof(dst));
            r = tn_probe_read(dst, size, (u64)(edge - before), &run);
            if (r != (there ? 0 : -EFAULT) || (there && memcmp(dst, edge - before, size)) ||
                (!there && !all_are(dst, size, 0)) || !all_are(dst + size, sizeof(dst) - size, 0xa5))
                fail_msg("%u bytes, %d before the end: %d", size, before, r);
        }
}

/* tn_agent_read, as a compiled program calls it. */
static u64 word(u64 at, u64 size)
{
    register u64 r10 __asm__("r10") = size;
    register u64 r11 __asm__("r11") = at;
    register const struct tn_run *r12 __asm__("r12") = &run;

    __asm__ volatile("call tn_agent_read" : "+r"(r11) : "r"(r10), "r"(r12) : "memory", "cc");
    return r11;
}

/* Words of every size, around the end and nowhere. */
static void words(void **state)
{
    take(false);
    put_pattern();
    (void)tn_loads(&run, (u64)edge, 8, true);
    for (u64 size = 1; size <= 8; size *= 2) {
        for (s32 before = -9; before <= 64; before++) {
            u64 wanted = 0;

            if (before >= (s32)size)
                memcpy(&wanted, edge - before, size);
            assert_int_equal(word((u64)(edge - before), size), wanted);
        }
        assert_int_equal(word(0, size), 0);
        assert_int_equal(word(1ull << 47, size), 0);
        assert_int_equal(word((1ull << 47) - 4, size), 0);
        assert_int_equal(word(1ull << 63, size), 0);
        assert_int_equal(word(~0ull - 3, size), 0);
    }
}

/* Whoever reads stands anywhere in a page, and who asks for it a little below, perhaps on the next: what is learnt serves the former. */
static __attribute__((noinline)) bool is_learnt(u64 down)
{
    volatile u8 *between = __builtin_alloca(down + 1);
    u64 seen;

    between[0] = 0;
    memset(sigs->room, 0, sizeof(sigs->room));
    if (tn_loads(&run, (u64)edge - 8, 8, false))
        fail_msg("%lu bytes down, known before it was asked", down);
    return tn_probe_read(&seen, 8, (u64)edge - 8, &run) == 0 && tn_loads(&run, (u64)edge - 8, 8, false);
}

static void learns(void **state)
{
    take(false);
    for (u64 down = 0; down < 2 * TN_PAGE; down += 16)
        if (!is_learnt(down))
            fail_msg("%lu bytes down, not learnt", down);
}

/* Every room, from every distance to the end, with the NUL everywhere and nowhere. */
static void strings(void **state)
{
    take(false);
    for (u32 size = 1; size <= 40; size++)
        for (u32 before = 0; before <= 44; before++)
            for (u32 len = 0; len <= before; len++) { /* before the NUL; == before: there is none */
                char fast[48], same[48];
                s64 r, as;

                put_pattern();
                if (len < before)
                    *(edge - before + len) = 0;
                memset(fast, 0x5a, sizeof(fast));
                memset(same, 0x5a, sizeof(same));
                r = tn_probe_read_str(fast, size, (u64)(edge - before), &run);
                as = tn_probe_read_str(same, size, (u64)(edge - before), &run_slow);
                if (r != as || (r > 0 && memcmp(fast, same, (size_t)r)) ||
                    (r < 0 && !all_are((u8 *)fast, size, 0)) ||
                    !all_are((u8 *)fast + size, sizeof(fast) - size, 0x5a))
                    fail_msg("room %u, %u before the end, %u long: %ld instead of %ld", size, before, len, r,
                             as);
            }
}

/* Addresses that lead nowhere, among them those at which the processor gives no address: by the checks, and by the loads
   themselves. */
static void nowhere(void **state)
{
    static const u64 at[] = {0,
                             8,
                             TN_LOADS_FROM,
                             1ull << 47,
                             (1ull << 47) - 4,
                             1ull << 63,
                             0x00ff000000000000ull,
                             0xffff800000000000ull,
                             0xffffffffff600000ull,
                             0xffffffff81000000ull,
                             ~0ull - 7,
                             ~0ull};
    static const u32 sizes[] = {1, 2, 3, 4, 7, 8, 9, 64, 300, MOST};
    u8 dst[MOST];

    take(false);
    for (u32 i = 0; i < TN_ARRAY_SIZE(at); i++)
        for (u32 k = 0; k < TN_ARRAY_SIZE(sizes); k++) {
            assert_int_equal(tn_probe_read(dst, sizes[k], at[i], &run), -EFAULT);
            assert_int_equal(tn_probe_read_str((char *)dst, sizes[k], at[i], &run), -EFAULT);
            assert_int_equal(tn_load_copy(dst, at[i], sizes[k]), -EFAULT);
            assert_int_equal(tn_load_str((char *)dst, at[i], sizes[k]), -EFAULT);
        }
    assert_int_equal(tn_load_fixup((u64)nowhere), 0);
    assert_int_equal(tn_load_fixup(0), 0);
}

static u8 *shaky;
static volatile bool stop;

static void *shakes(void *arg)
{
    while (!stop) {
        mprotect(shaky, TN_PAGE, PROT_NONE);
        mprotect(shaky, TN_PAGE, PROT_READ | PROT_WRITE);
        munmap(shaky, TN_PAGE);
        mmap(shaky, TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return arg;
}

static void *reads(void *ret_faults)
{
    u64 faults = 0, good = 0;

    for (u32 i = 0; (i < 200000 || !faults || !good) && i < 20000000; i++) {
        u8 dst[64];
        int r;

        memset(dst, 1, sizeof(dst));
        r = tn_probe_read(dst, i % 64 + 1, (u64)shaky + i % 1000, &run);
        if (r == 0 && !all_are(dst, i % 64 + 1, 0))
            abort();
        if (r != 0 && r != -EFAULT)
            abort();
        *(r ? &faults : &good) += 1;
    }
    *(u64 *)ret_faults = faults && good ? faults : 0;
    return NULL;
}

/* What was there a moment ago is gone, in two threads at once. */
static void races(void **state)
{
    pthread_t shaker, other;
    u64 faults[2];

    take(false);
    shaky = mmap(NULL, TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stop = false;
    assert_int_equal(pthread_create(&shaker, NULL, shakes, NULL), 0);
    assert_int_equal(pthread_create(&other, NULL, reads, &faults[1]), 0);
    reads(&faults[0]);
    pthread_join(other, NULL);
    stop = true;
    pthread_join(shaker, NULL);
    assert_true(faults[0] && faults[1]);
}

static volatile bool loaded, survived;

static void looks(int sig)
{
    u64 seen;

    loaded = tn_loads(&run, (u64)edge, 8, true);
    survived = tn_probe_read(&seen, 8, (u64)edge, &run) == -EFAULT;
}

/* A handler on an alternate stack with no room for another frame, and one with. */
static void alternate(void **state)
{
    static u8 small[8192], large[65536];
    struct sigaction act = {.sa_handler = looks, .sa_flags = SA_ONSTACK};

    take(true);
    sigaction(SIGUSR1, &act, NULL);
    for (u32 i = 0; i < 2; i++) {
        stack_t st = {.ss_sp = i ? large : small, .ss_size = i ? sizeof(large) : sizeof(small)};

        assert_int_equal(sigaltstack(&st, NULL), 0);
        survived = false;
        raise(SIGUSR1);
        assert_true(survived);
        assert_int_equal(loaded, i);
        st.ss_flags = SS_DISABLE;
        sigaltstack(&st, NULL);
    }
}

static u8 *bottom;

/* Goes down until `left` bytes are left. */
static __attribute__((noinline)) bool descend(u64 left)
{
    volatile u8 here[256];
    u64 seen;

    here[0] = 0;
    if ((u64)here > (u64)bottom + left)
        return descend(left) && here[0] == 0;
    return !tn_loads(&run, (u64)edge, 8, true) && tn_probe_read(&seen, 8, (u64)edge, &run) == -EFAULT;
}

static void *deep(void *arg)
{
    for (u64 left = 4096; left >= 1024; left -= 512)
        if (!descend(left))
            return NULL;
    return arg;
}

/* A thread's stack that is nearly used up. */
static void exhausted(void **state)
{
    pthread_attr_t attr;
    pthread_t thread;
    void *ret;

    take(true);
    bottom = mmap(NULL, 17 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(bottom, TN_PAGE, PROT_NONE);
    bottom += TN_PAGE;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, bottom, 16 * TN_PAGE);
    assert_int_equal(pthread_create(&thread, &attr, deep, bottom), 0);
    pthread_join(thread, &ret);
    assert_ptr_equal(ret, bottom);
}

static int set_up(void **state)
{
    u8 *pages = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    mprotect(pages + TN_PAGE, TN_PAGE, PROT_NONE);
    edge = pages + TN_PAGE;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies),    cmocka_unit_test(words),     cmocka_unit_test(strings),
        cmocka_unit_test(learns),    cmocka_unit_test(nowhere),   cmocka_unit_test(races),
        cmocka_unit_test(alternate), cmocka_unit_test(exhausted),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
