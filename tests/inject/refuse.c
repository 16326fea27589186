/* SPDX-License-Identifier: MIT */
/* What cannot be entered is refused by name, and goes on as if nobody had asked. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct scene {
    struct rig r;
    struct victim v;
    struct counter c;
    struct tn_attach_spec s;
    struct tn_attach_result res;
    u8 before[16];
};

static void open_scene(struct scene *x, const char *mode, const char *limit)
{
    rig_open(&x->r);
    counter_make(&x->c, 1, 0);
    victim_start(&x->v, 1, 1, mode, limit);
    spec_for(&x->s, &x->v, &x->c, 1, 1);
    read_code(&x->v, x->before);
}

static void close_scene(struct scene *x)
{
    assert_true(victim_alive(&x->v));
    victim_stop(&x->v);
    counter_drop(&x->c);
    rig_close(&x->r);
}

static void refused(struct scene *x, const char *reason)
{
    u8 now[16];

    assert_true(attach(&x->r, &x->s, &x->res) < 0);
    assert_string_equal(x->res.why.reason, reason);
    assert_true(strlen(x->res.why.message) > 10);
    if (x->s.pid == x->v.pid) {
        read_code(&x->v, now);
        assert_memory_equal(now, x->before, 16);
    }
}

static void test_whom(void **state)
{
    struct scene x;
    pid_t pid;

    open_scene(&x, "idle", NULL);
    x.s.pid = 0x3ffffff;
    refused(&x, "no_such_process");
    pid = fork();
    if (pid == 0)
        _exit(0);
    usleep(20000);
    x.s.pid = pid;
    refused(&x, "zombie");
    waitpid(pid, NULL, 0);
    x.s.pid = 2;
    struct tn_status st;

    if (tn_status_read(2, 2, &st) == 0 && st.kthread)
        refused(&x, "kernel_thread");
    close_scene(&x);
}

static void test_traced(void **state)
{
    struct scene x;
    pid_t tracer;
    int p[2];
    char c;

    open_scene(&x, "idle", NULL);
    assert_int_equal(pipe(p), 0);
    tracer = fork();
    if (tracer == 0) {
        ptrace(PTRACE_SEIZE, x.v.pid, 0, 0);
        (void)!write(p[1], "x", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(p[0], &c, 1), 1);
    refused(&x, "already_traced");
    char who[32];

    snprintf(who, sizeof(who), "process %d", tracer);
    assert_non_null(strstr(x.res.why.message, who));
    kill(tracer, SIGKILL);
    waitpid(tracer, NULL, 0);
    close(p[0]);
    close(p[1]);
    assert_int_equal(attach(&x.r, &x.s, &x.res), 0);
    close_scene(&x);
}

static void test_breakpoint(void **state)
{
    struct scene x;
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    char path[64];
    u8 now[16];
    u64 addr = 0;

    open_scene(&x, "pause", NULL);
    x.v.sh->todo = 0;
    assert_int_equal(tn_maps_read(x.v.pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (maps.vma[i].ino == x.v.ino && x.v.offset >= maps.vma[i].offset &&
            x.v.offset < maps.vma[i].offset + maps.vma[i].end - maps.vma[i].start)
            addr = maps.vma[i].start + x.v.offset - maps.vma[i].offset;
    snprintf(path, sizeof(path), "/proc/%d/mem", x.v.pid);
    _close_ int mem = open(path, O_RDWR | O_CLOEXEC);

    assert_int_equal(pwrite(mem, "\xcc", 1, (off_t)addr), 1);
    assert_true(attach(&x.r, &x.s, &x.res) < 0);
    assert_string_equal(x.res.why.reason, "foreign_bytes");
    read_code(&x.v, now);
    assert_int_equal(now[0], 0xcc);
    assert_int_equal(pwrite(mem, x.before, 1, (off_t)addr), 1);
    assert_int_equal(attach(&x.r, &x.s, &x.res), 0);
    close_scene(&x);
}

static void test_not_mapped(void **state)
{
    struct scene x;
    struct stat sb;

    open_scene(&x, "idle", NULL);
    assert_int_equal(stat("/bin/bash", &sb), 0);
    snprintf(x.s.path, sizeof(x.s.path), "/usr/bin/bash");
    x.s.dev = sb.st_dev;
    x.s.ino = sb.st_ino;
    refused(&x, "not_mapped");
    /* The name is right, but the file behind it is a newer one. */
    spec_for(&x.s, &x.v, &x.c, 1, 1);
    x.s.ino++;
    refused(&x, "file_replaced");
    close_scene(&x);
}

/* No descriptor free: a refusal. Two free: enough. */
static void test_descriptors(void **state)
{
    struct scene x;
    u64 had;

    open_scene(&x, "nofile", NULL);
    had = count_fds(x.v.pid);
    refused(&x, "no_descriptors");
    assert_int_equal(count_fds(x.v.pid), had);
    close_scene(&x);

    open_scene(&x, "nofile", "2");
    had = count_fds(x.v.pid);
    if (attach(&x.r, &x.s, &x.res) < 0)
        fail_msg("%s: %s", x.res.why.reason, x.res.why.message);
    assert_int_equal(count_fds(x.v.pid), had);
    victim_calls(&x.v, 1, 10);
    assert_int_equal(x.c.words[0], 10);
    close_scene(&x);
}

static void test_closes_all(void **state)
{
    struct scene x;
    int ok = 0;

    open_scene(&x, "closeall", NULL);
    for (int i = 0; i < 10; i++) {
        /* It may close ours in the middle; then that is said, and the next try finds nothing in its way. */
        if (attach(&x.r, &x.s, &x.res) == 0) {
            ok++;
            detach(&x.r, x.v.pid, 1, &x.res);
        } else {
            assert_true(x.res.why.reason[0]);
        }
    }
    victim_calls(&x.v, 1, 10);
    assert_int_equal(x.v.sh->wrong, 0);
    close_scene(&x);
}

/* A strict filter: suspended while we are in, and the target survives what follows. */
static void test_seccomp(void **state)
{
    struct scene x;

    open_scene(&x, "seccomp", NULL);
    if (attach(&x.r, &x.s, &x.res) < 0) {
        assert_string_equal(x.res.why.reason, "seccomp");
    } else {
        victim_calls(&x.v, 1, 10);
        assert_int_equal(x.c.words[0], 10);
        assert_int_equal(detach(&x.r, x.v.pid, 1, &x.res), 0);
    }
    usleep(50000);
    close_scene(&x);
}

/* Known by the file that runs: Valgrind's tools have a folder, and names, of their own. */
static void test_translated(void **state)
{
    char folder[] = "/tmp/tenon-refuse-XXXXXX", file[4096], command[9000];
    char *target = strdup(getenv("TN_TEST_TARGET"));
    struct scene x;

    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/valgrind/none-amd64-linux", folder);
    snprintf(command, sizeof(command), "mkdir %s/valgrind && cp '%s' %s", folder, target, file);
    assert_int_equal(system(command), 0);
    setenv("TN_TEST_TARGET", file, 1);
    open_scene(&x, "idle", NULL);
    setenv("TN_TEST_TARGET", target, 1);
    refused(&x, "translated");
    close_scene(&x);
    unlink(file);
    *strrchr(file, '/') = '\0';
    rmdir(file);
    rmdir(folder);
    free(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whom),        cmocka_unit_test(test_traced),
        cmocka_unit_test(test_breakpoint),  cmocka_unit_test(test_not_mapped),
        cmocka_unit_test(test_descriptors), cmocka_unit_test(test_closes_all),
        cmocka_unit_test(test_seccomp),     cmocka_unit_test(test_translated),
    };

    return cmocka_run_group_tests_name("inject/refuse", tests, NULL, NULL);
}
