/* SPDX-License-Identifier: MIT */
/*
 * Helpers against what the process itself can find out, with a tn_proc as a target has it and without one.
 */
#include "rt_test.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <time.h>

#include "rt/probe.h"
#include "rt/self.h"

#define CALL(name, a1, a2, a3, a4, a5, run)                                                                  \
    tn_helper_##name((u64)(a1), (u64)(a2), (u64)(a3), (u64)(a4), (u64)(a5), run)

static struct tn_private *priv;
static struct tn_proc proc;

static int setup(void **state)
{
    priv = mmap(NULL, sizeof(*priv), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (priv == MAP_FAILED || madvise(priv, sizeof(*priv), MADV_WIPEONFORK))
        return -1;
    priv->armed = TN_ARMED;
    proc = (struct tn_proc){.priv = priv,
                            .ncpu = (u32)sysconf(_SC_NPROCESSORS_CONF),
                            .allowed_syscalls = ~0u,
                            .tp_how = TN_TP_SELF,
                            .pid = (u32)getpid(),
                            .owner_pid = (u32)getpid()};
    return 0;
}

static int teardown(void **state)
{
    return munmap(priv, sizeof(*priv));
}

/* Where the thread keeps its own id is found by looking for it, as the injector proves it. */
static s32 find_tid_off(void)
{
    const u8 *tp = (const u8 *)tn_thread_pointer(NULL);

    for (s32 off = 8; off < 1024; off += 4)
        if (*(const s32 *)(tp + off) == gettid())
            return off;
    return 0;
}

static void *tid_in_thread(void *arg)
{
    struct tn_run run = {.proc = &proc, .cpu = -1};

    return (void *)(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run) == ((u64)getpid() << 32 | (u32)gettid())
                        ? 1ul
                        : 0);
}

static int pid_tgid_as(pid_t (*make)(void))
{
    struct tn_run run = {.proc = &proc, .cpu = -1};
    int status = -1;
    pid_t pid = make();

    if (!pid)
        _exit(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run) != ((u64)getpid() << 32 | (u32)getpid()));
    waitpid(pid, &status, 0);
    return status;
}

static void pid_and_tid(void **state)
{
    struct tn_run run = {.proc = &proc, .cpu = -1}, bare = {.cpu = -1};
    u64 expected = (u64)getpid() << 32 | (u32)gettid();
    pthread_t thread;
    void *ok;

    assert_int_equal(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &bare), expected);
    assert_int_equal(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run), expected);
    assert_int_equal(priv->pid, getpid());
    proc.tid_off = find_tid_off();
    assert_int_not_equal(proc.tid_off, 0);
    assert_int_equal(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run), expected);
    assert_int_equal(pthread_create(&thread, NULL, tid_in_thread, NULL), 0);
    pthread_join(thread, &ok);
    assert_non_null(ok);
    assert_int_equal(pid_tgid_as(fork), 0); /* children do not report their parent's pid */
    assert_int_equal(priv->pid, getpid());
}

static pid_t raw_fork(void)
{
    return (pid_t)syscall(SYS_fork);
}

/* A vfork child shares all memory: it is told apart by the count of those in flight,
   and nothing it learns is kept. */
static void vfork_child(void **state)
{
    static struct tn_run run = {.proc = &proc, .cpu = -1};
    static volatile u64 in_child;
    pid_t pid;

    CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run);
    __atomic_fetch_add(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    pid = vfork();
    if (!pid) {
        in_child = CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run);
        _exit(0);
    }
    __atomic_fetch_sub(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(in_child, (u64)pid << 32 | (u32)pid);
    assert_int_equal(CALL(get_current_pid_tgid, 0, 0, 0, 0, 0, &run), (u64)getpid() << 32 | (u32)gettid());
    assert_int_equal(pid_tgid_as(raw_fork), 0); /* a fork that libc knows nothing of */
}

static void clocks(void **state)
{
    static const struct {
        u32 helper;
        clockid_t clock;
    } rows[] = {{TN_HELPER_ktime_get_ns, CLOCK_MONOTONIC},
                {TN_HELPER_ktime_get_boot_ns, CLOCK_BOOTTIME},
                {TN_HELPER_ktime_get_coarse_ns, CLOCK_MONOTONIC_COARSE},
                {TN_HELPER_ktime_get_tai_ns, CLOCK_TAI}};
    struct tn_proc with = proc;
    struct tn_run run = {.proc = &with, .cpu = -1};

    for (u32 vdso = 0; vdso < 2; vdso++)
        for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
            struct timespec a, b;
            u64 ns;

            with.vdso_clock_gettime = vdso ? (u64)clock_gettime : 0;
            clock_gettime(rows[i].clock, &a);
            ns = tn_helper_by_id(rows[i].helper)->fn(0, 0, 0, 0, 0, &run);
            clock_gettime(rows[i].clock, &b);
            assert_true(ns >= (u64)a.tv_sec * 1000000000 + (u64)a.tv_nsec);
            assert_true(ns <= (u64)b.tv_sec * 1000000000 + (u64)b.tv_nsec);
        }
    with.vdso_clock_gettime = 0;
    with.allowed_syscalls = 0;
    assert_int_equal(CALL(ktime_get_ns, 0, 0, 0, 0, 0, &run), 0);
}

static void names_and_ids(void **state)
{
    struct tn_run run = {.proc = &proc, .cpu = -1};
    char buf[20];

    prctl(PR_SET_NAME, "fifteen-letters");
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(CALL(get_current_comm, buf, 16, 0, 0, 0, &run), 0);
    assert_string_equal(buf, "fifteen-letters");
    assert_int_equal(buf[16], 'x');
    assert_int_equal(CALL(get_current_comm, buf, 4, 0, 0, 0, &run), 0);
    assert_string_equal(buf, "fif");
    assert_int_equal(CALL(get_current_comm, buf, 1, 0, 0, 0, &run), 0);
    assert_string_equal(buf, "");
    assert_int_equal(CALL(get_current_uid_gid, 0, 0, 0, 0, 0, &run), (u64)getgid() << 32 | getuid());
}

static void cpu_number(void **state)
{
    struct tn_run run = {.proc = &proc, .cpu = 7};
    struct tn_proc with = proc;

    assert_int_equal(CALL(get_smp_processor_id, 0, 0, 0, 0, 0, &run), 7);
    run.cpu = -1;
    for (u32 cpu = 0; cpu < proc.ncpu; cpu++) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set))
            continue;
        run.proc = &proc;
        assert_int_equal(CALL(get_smp_processor_id, 0, 0, 0, 0, 0, &run), cpu);
        with.rseq_cpu_off = (s32)(__rseq_offset + (s32)offsetof(struct rseq, cpu_id));
        run.proc = &with;
        assert_int_equal(CALL(get_smp_processor_id, 0, 0, 0, 0, 0, &run), cpu);
    }
}

static void random_numbers(void **state)
{
    struct tn_run run = {.proc = &proc, .slot = &priv->slot[3], .cpu = -1}, bare = {.cpu = -1};
    u32 ones = 0, same = 0, last = 0;

    for (u32 i = 0; i < 10000; i++) {
        u64 x = CALL(get_prandom_u32, 0, 0, 0, 0, 0, i % 2 ? &run : &bare);

        assert_true(x <= UINT32_MAX);
        ones += (u32)__builtin_popcountll(x);
        same += x == last;
        last = (u32)x;
    }
    assert_true(ones > 155000 && ones < 165000);
    assert_true(same < 5);
}

/* Readable, unreadable, half readable, at page ends, on the stack; a failure leaves zeroes as in Linux. */
static void reads_of_the_process(void **state)
{
    struct tn_run run = {.proc = &proc, .cpu = -1};
    char *page = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char dst[600], local[] = "on the stack", zero[600] = {0};

    assert_ptr_not_equal(page, MAP_FAILED);
    assert_int_equal(munmap(page + TN_PAGE, TN_PAGE), 0);
    strcpy(page + TN_PAGE - 6, "hello");
    memset(dst, 'x', sizeof(dst));
    assert_int_equal((s64)CALL(probe_read_user, dst, 6, page + TN_PAGE - 6, 0, 0, &run), 0);
    assert_string_equal(dst, "hello");
    assert_int_equal((s64)CALL(probe_read_user, dst, 7, page + TN_PAGE - 6, 0, 0, &run), -EFAULT);
    assert_memory_equal(dst, zero, 7);
    assert_int_equal((s64)CALL(probe_read_user, dst, 8, NULL, 0, 0, &run), -EFAULT);
    assert_int_equal((s64)CALL(probe_read_user, dst, 8, 1ull << 63, 0, 0, &run), -EFAULT);
    assert_int_equal((s64)CALL(probe_read_user, dst, 8, -4ll, 0, 0, &run), -EFAULT);
    assert_int_equal((s64)CALL(probe_read_user, dst, 0, NULL, 0, 0, &run), 0);
    assert_int_equal((s64)CALL(probe_read_user, dst, sizeof(local), local, 0, 0, &run), 0);
    assert_string_equal(dst, "on the stack");

    memset(dst, 'x', sizeof(dst));
    assert_int_equal((s64)CALL(probe_read_user_str, dst, 20, page + TN_PAGE - 6, 0, 0, &run), 6);
    assert_string_equal(dst, "hello");
    assert_int_equal((s64)CALL(probe_read_user_str, dst, 3, page + TN_PAGE - 6, 0, 0, &run), 3);
    assert_string_equal(dst, "he");
    assert_int_equal((s64)CALL(probe_read_user_str, dst, 0, page + TN_PAGE - 6, 0, 0, &run), 0);
    memset(page + TN_PAGE - 6, 'y', 6); /* runs into what is not there */
    assert_int_equal((s64)CALL(probe_read_user_str, dst, 20, page + TN_PAGE - 6, 0, 0, &run), -EFAULT);
    assert_memory_equal(dst, zero, 20);
    memset(page, 'z', 599);
    page[599] = 0;
    assert_int_equal((s64)CALL(probe_read_user_str, dst, 600, page, 0, 0, &run), 600);
    assert_int_equal(strlen(dst), 599);
    munmap(page, TN_PAGE);
}

static void reads_where_forbidden(void **state)
{
    struct tn_proc with = proc;
    struct tn_run run = {.proc = &with, .cpu = -1};
    static char src[8] = "static", dst[8];

    with.allowed_syscalls &= ~(1u << TN_SYS_process_vm_readv);
    assert_int_equal((s64)CALL(probe_read_user, dst, 8, src, 0, 0, &run), -EFAULT);
    with.allowed_syscalls = ~0u;
    assert_int_equal((s64)CALL(probe_read_user, dst, 8, src, 0, 0, &run), 0);
    assert_string_equal(dst, "static");
}

/* Into memory that is not there, or that the process may not write; what is before that, in pages of its
   own, is written. */
static void writes(void **state)
{
    u8 *page = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct tn_proc with = proc;
    struct tn_run run = {.proc = &with, .cpu = -1};

    assert_ptr_not_equal(page, MAP_FAILED);
    with.allowed_syscalls = ~0u;
    assert_int_equal(tn_probe_write((u64)page + TN_PAGE - 4, "written", 8, &run), 0);
    assert_string_equal((char *)page + TN_PAGE - 4, "written");
    assert_int_equal(tn_probe_write((u64)page, "", 0, &run), 0);
    mprotect(page + TN_PAGE, TN_PAGE, PROT_READ);
    assert_int_equal(tn_probe_write((u64)page + TN_PAGE, "x", 1, &run), -EFAULT);
    assert_int_equal(tn_probe_write((u64)page + TN_PAGE - 4, "halfhalf", 8, &run), -EFAULT);
    assert_memory_equal(page + TN_PAGE - 4, "halften", 8);
    with.allowed_syscalls &= ~(1u << TN_SYS_process_vm_writev);
    assert_int_equal(tn_probe_write((u64)page, "x", 1, &run), -EFAULT);
    assert_int_equal(*page, 0);
    with.allowed_syscalls = ~0u;
    assert_int_equal(tn_probe_write((u64)&run, "x", 1, &run), -EFAULT);
    munmap(page, 2 * TN_PAGE);
    assert_int_equal(tn_probe_write((u64)page, "x", 1, &run), -EFAULT);
    assert_int_equal(tn_probe_write(0, "x", 1, &run), -EFAULT);
    assert_int_equal(tn_probe_write(~0ull, "xy", 2, &run), -EFAULT);
}

static const char *trace(struct tn_map *ring, s64 *ret_n, const char *fmt, u64 a, u64 b, u64 c)
{
    static char text[512];
    struct tn_proc with = proc;
    struct tn_run run = {.proc = &with, .cpu = -1};
    u64 cons = *(u64 *)ring->base;
    struct tn_trace_record *rec = (void *)(ring->base + TN_RB_DATA + cons % ring->geo.max_entries + 8);

    with.trace_ring = (u64)ring;
    *ret_n = (s64)CALL(trace_printk, fmt, strlen(fmt) + 1, a, b, c, &run);
    if (*ret_n < 0)
        return "";
    assert_int_equal(rec->pid, getpid());
    assert_int_equal(rec->tid, gettid());
    snprintf(text, sizeof(text), "%s", rec->text);
    *(u64 *)ring->base = tn_ringbuf_query(ring, BPF_RB_PROD_POS);
    return text;
}

static void trace_lines(void **state)
{
    static const struct {
        const char *fmt;
        u64 a, b, c;
        const char *text; /* NULL: refused */
    } rows[] = {
        {"plain", 0, 0, 0, "plain"},
        {"%d %i %u", (u64)-1, 5, (u64)-1, "-1 5 4294967295"},
        {"%x %lx %llx", ~0ull, ~0ull, 255, "ffffffff ffffffffffffffff ff"},
        {"%ld %lu %lld", (u64)-7, 7, 1ull << 63, "-7 7 -9223372036854775808"},
        {"%llu %lli%%", ~0ull, 3, 0, "18446744073709551615 3%"},
        {"%p", 0x1234, 0, 0, "0000000000001234"},
        {"[%5d|%-5d|%05d]", 42, 42, 42, "[   42|42   |00042]"},
        {"%c%c%c", 'a', 'b', 'c', "abc"},
        {"%#x %X", 255, 255, 0, "0xff FF"},
        {"<%s>", (u64) "text", 0, 0, "<text>"},
        {"<%8s|%-8s>", (u64) "ab", (u64) "cd", 0, "<      ab|cd      >"},
        {"<%s>", 16, 0, 0, "<>"}, /* unreadable */
        {"%d %d %d %d", 0, 0, 0, NULL},
        {"%f", 0, 0, 0, NULL},
        {"%lld%", 0, 0, 0, NULL},
        {"%llld", 0, 0, 0, NULL},
        {"%n", 0, 0, 0, NULL},
        {"\xc3\xa4", 0, 0, 0, NULL},
    };
    struct tn_map ring = test_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, 0);
    struct tn_run bare = {.proc = &proc, .cpu = -1};
    char big[700];
    s64 n;

    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        const char *text = trace(&ring, &n, rows[i].fmt, rows[i].a, rows[i].b, rows[i].c);

        if (!rows[i].text) {
            assert_int_equal(n, -EINVAL);
            continue;
        }
        assert_string_equal(text, rows[i].text);
        assert_int_equal(n, strlen(text));
    }
    memset(big, 'q', sizeof(big));
    big[sizeof(big) - 1] = 0;
    assert_int_equal(strlen(trace(&ring, &n, "%s%s", (u64)big, (u64)big, 0)), 495);
    assert_int_equal(strlen(trace(&ring, &n, "%12s", (u64) "x", 0, 0)), 12);
    assert_int_equal((s64)CALL(trace_printk, "no nul", 3, 0, 0, 0, &bare), -EINVAL);
    assert_int_equal((s64)CALL(trace_printk, "x", 2, 0, 0, 0, &bare), -ENOSYS); /* nobody listens: no harm */
    test_map_free(&ring);
}

static void place(void **state)
{
    struct tn_hook hook = {.func_ip = 0x401000, .cookie = 0xfeedull << 40};
    struct tn_run run = {.hook = &hook, .proc = &proc, .cpu = -1}, bare = {.cpu = -1};

    assert_int_equal(CALL(get_func_ip, 0, 0, 0, 0, 0, &run), 0x401000);
    assert_int_equal(CALL(get_attach_cookie, 0, 0, 0, 0, 0, &run), 0xfeedull << 40);
    assert_int_equal(CALL(get_func_ip, 0, 0, 0, 0, 0, &bare), 0);
}

static void rows_are_found(void **state)
{
    u32 n = 0;

    for (u32 id = 0; id <= TN_HELPER_MAX; id++) {
        const struct tn_helper *h = tn_helper_by_id(id);

        if (!h)
            continue;
        assert_int_equal(h->id, id);
        assert_non_null(h->fn);
        n++;
    }
    assert_int_equal(n, 31);
    assert_null(tn_helper_by_id(10));
    assert_null(tn_helper_by_id(UINT32_MAX));
    assert_string_equal(tn_map_type_by_id(BPF_MAP_TYPE_PERCPU_HASH)->name, "percpu_hash");
    assert_null(tn_map_type_by_id(BPF_MAP_TYPE_LRU_HASH));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pid_and_tid),
        cmocka_unit_test(vfork_child),
        cmocka_unit_test(clocks),
        cmocka_unit_test(names_and_ids),
        cmocka_unit_test(cpu_number),
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(reads_of_the_process),
        cmocka_unit_test(reads_where_forbidden),
        cmocka_unit_test(writes),
        cmocka_unit_test(trace_lines),
        cmocka_unit_test(place),
        cmocka_unit_test(rows_are_found),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, setup, teardown);
}
