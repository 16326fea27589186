/* SPDX-License-Identifier: MIT */
/*
 * From the first instruction, and on programs nobody here wrote: the main program of ours, libc's
 * clock_nanosleep in `sleep`, and bash and redis-server, each also entered while they run. What is missing on
 * this machine is skipped.
 */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LIBC "/lib/x86_64-linux-gnu/libc.so.6"

/* A child that waits before its exec for a word. */
static pid_t held_child(int *ret_go, char *const argv[])
{
    int p[2];
    pid_t pid;

    assert_int_equal(pipe(p), 0);
    pid = fork();
    if (pid == 0) {
        char c;

        close(p[1]);
        (void)!read(p[0], &c, 1);
        close(p[0]);
        (void)!freopen("/dev/null", "w", stdout);
        execv(argv[0], argv);
        _exit(127);
    }
    close(p[0]);
    *ret_go = p[1];
    return pid;
}

static int file_spec(struct tn_attach_spec *s, pid_t pid, const struct counter *c, const char *path,
                     const char *name)
{
    struct victim v = {.pid = pid};
    struct stat sb;
    int r;

    if (!realpath(path, v.path) || stat(v.path, &sb) < 0)
        return -ENOENT;
    v.dev = sb.st_dev;
    v.ino = sb.st_ino;
    r = find_offset(v.path, name, &v.offset);
    if (r < 0)
        return r;
    spec_for(s, &v, c, 1, 1);
    return 0;
}

/* Holds, attaches, releases; returns the child's exit status. */
static int start_attached(char *const argv[], const char *path, const char *name, struct counter *c,
                          struct tn_attach_result *res)
{
    struct tn_attach_spec s;
    struct rig r;
    int go, fd, status = 0;
    pid_t pid;

    counter_make(c, 1, 0);
    rig_open(&r);
    pid = held_child(&go, argv);
    assert_int_equal(tn_inject_hold(r.inj, pid, &fd, NULL), 0);
    assert_int_equal(wait_job(&r, fd, res), 0);
    (void)!write(go, "x", 1);
    close(go);
    assert_int_equal(file_spec(&s, pid, c, path, name), 0);
    attach(&r, &s, res);
    if (tn_inject_release(r.inj, pid, &fd, NULL) == 0) {
        struct tn_attach_result released;

        wait_job(&r, fd, &released);
    }
    for (int ms = 0; ms < 5000 && waitpid(pid, &status, WNOHANG) == 0; ms++)
        usleep(1000);
    if (kill(pid, 0) == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    rig_close(&r);
    return status;
}

static void test_sleep_from_start(void **state)
{
    char *argv[] = {"/bin/sleep", "0.05", NULL};
    struct tn_attach_result res;
    struct counter c;
    int status = start_attached(argv, LIBC, "clock_nanosleep", &c, &res);

    if (res.err < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_int_equal(status, 0);
    assert_int_equal(c.words[0], 1);
    counter_drop(&c);
}

static void test_bash_from_start(void **state)
{
    char *argv[] = {"/bin/bash", "-c", "echo one; echo two; echo three", NULL};
    struct tn_attach_result res;
    struct counter c;
    int status = start_attached(argv, "/bin/bash", "echo_builtin", &c, &res);

    if (res.err < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_int_equal(status, 0);
    assert_int_equal(c.words[0], 3);
    counter_drop(&c);
}

static void test_library_not_loaded(void **state)
{
    char *argv[] = {"/bin/true", NULL};
    struct tn_attach_result res;
    struct counter c;
    int status = start_attached(argv, "/usr/bin/bash", "echo_builtin", &c, &res);

    assert_int_equal(res.err, -ENOENT);
    assert_string_equal(res.why.reason, "not_mapped");
    assert_int_equal(status, 0);
    counter_drop(&c);
}

/* Entered while it runs. `poke` makes it do something; then at least `least` calls must have been counted. */
static void live(char *const argv[], const char *path, const char *name, const char *poke, u64 least)
{
    struct tn_attach_spec s;
    struct tn_attach_result res;
    struct counter c;
    struct rig r;
    int p[2];
    pid_t pid;

    counter_make(&c, 1, 0);
    rig_open(&r);
    assert_int_equal(pipe(p), 0);
    pid = fork();
    if (pid == 0) {
        dup2(p[0], 0);
        close(p[1]);
        (void)!freopen("/dev/null", "w", stdout);
        execv(argv[0], argv);
        _exit(127);
    }
    close(p[0]);
    usleep(200000);
    assert_int_equal(file_spec(&s, pid, &c, path, name), 0);
    if (attach(&r, &s, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    if (poke)
        (void)!write(p[1], poke, strlen(poke));
    for (int ms = 0; ms < 3000 && c.words[0] < least; ms++)
        usleep(1000);
    assert_true(c.words[0] >= least);
    if (detach(&r, pid, 1, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(p[1]);
    counter_drop(&c);
    rig_close(&r);
}

static void test_bash_live(void **state)
{
    char *argv[] = {"/bin/bash", NULL};

    live(argv, "/bin/bash", "echo_builtin", "echo a\necho b\n", 2);
}

static void test_redis_live(void **state)
{
    char sock[64];
    char *argv[] = {"/usr/bin/redis-server", "--port", "0", "--unixsocket", sock, "--save", "", NULL};

    if (access(argv[0], X_OK) < 0) {
        print_message("# skipped: redis-server is not installed\n");
        skip();
    }
    snprintf(sock, sizeof(sock), "/tmp/tenon-test-%d.sock", getpid());
    live(argv, LIBC, "epoll_wait", NULL, 5);
    unlink(sock);
}

static void test_redis_from_start(void **state)
{
    char *argv[] = {"/usr/bin/redis-server", "--version", NULL};
    struct tn_attach_result res;
    struct counter c;
    int status;

    if (access(argv[0], X_OK) < 0) {
        print_message("# skipped: redis-server is not installed\n");
        skip();
    }
    status = start_attached(argv, LIBC, "exit", &c, &res);
    if (res.err < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_int_equal(status, 0);
    assert_int_equal(c.words[0], 1);
    counter_drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sleep_from_start),   cmocka_unit_test(test_bash_from_start),
        cmocka_unit_test(test_library_not_loaded), cmocka_unit_test(test_bash_live),
        cmocka_unit_test(test_redis_live),         cmocka_unit_test(test_redis_from_start),
    };

    return cmocka_run_group_tests_name("inject/start", tests, NULL, NULL);
}
