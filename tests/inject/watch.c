/* SPDX-License-Identifier: MIT */
/*
 * The watcher: who executes or loads a watched file waits until it is answered, and nobody else does; nor does
 * anybody wait for long, whatever becomes of the watcher or of whom it asks.
 */
#include "rig.h"

#include "inject/tracee.h"
#include "inject/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TRUE "/bin/true"

static char folder[] = "/tmp/tenon-watch.XXXXXX";
static struct tn_watch *watch;

static void copy(const char *from, const char *name, char *ret_path)
{
    char bytes[65536];
    int in = open(from, O_RDONLY), out;
    ssize_t n;

    snprintf(ret_path, 128, "%s/%s", folder, name);
    out = open(ret_path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, bytes, sizeof(bytes))) > 0)
        assert_int_equal(write(out, bytes, (size_t)n), n);
    close(in);
    close(out);
}

static void add(const char *path, struct stat *ret)
{
    struct tn_error err = {};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(stat(path, ret), 0);
    if (tn_watch_add(watch, fd, &err) < 0)
        fail_msg("%s: %s", err.reason, err.message);
    close(fd);
}

/* The broker's own children are not watched. So programs are started by its parent, who is asked for it. */
static int world;

struct wish {
    pid_t end_of; /* 0: start */
    int ms;
    char path[4096], arg[128], preload[128];
};

static int begin_one(const struct wish *w)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stdout);
        if (w->preload[0])
            setenv("LD_PRELOAD", w->preload, 1);
        execl(w->path, w->path, w->arg[0] ? w->arg : NULL, NULL);
        _exit(127);
    }
    return pid;
}

static int await_end(pid_t pid, int ms)
{
    int status;

    for (; ms > 0; ms--) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
        usleep(1000);
    }
    return -1;
}

static void serve(int sock)
{
    struct wish w;

    while (read(sock, &w, sizeof(w)) == sizeof(w)) {
        int answer = w.end_of ? await_end(w.end_of, w.ms) : begin_one(&w);

        if (write(sock, &answer, sizeof(answer)) != sizeof(answer))
            return;
    }
}

static int ask(const struct wish *w)
{
    int answer;

    assert_int_equal(write(world, w, sizeof(*w)), sizeof(*w));
    assert_int_equal(read(world, &answer, sizeof(answer)), sizeof(answer));
    return answer;
}

static pid_t start(const char *path, const char *arg, const char *preload)
{
    struct wish w = {};

    snprintf(w.path, sizeof(w.path), "%s", path);
    snprintf(w.arg, sizeof(w.arg), "%s", arg ? arg : "");
    snprintf(w.preload, sizeof(w.preload), "%s", preload ? preload : "");
    return ask(&w);
}

/* Its exit status once it has ended; −1 if it has not within `ms`. */
static int end_of(pid_t pid, int ms)
{
    return ask(&(struct wish){.end_of = pid, .ms = ms});
}

static int next(struct tn_watch_event *ret, int ms)
{
    struct pollfd p = {.fd = tn_watch_fd(watch), .events = POLLIN};

    return poll(&p, 1, ms) == 1 ? tn_watch_next(watch, ret) : -EAGAIN;
}

static void expect(const struct stat *file, pid_t pid, struct tn_watch_event *ret)
{
    assert_int_equal(next(ret, 5000), 0);
    assert_int_equal(ret->pid, pid);
    assert_int_equal(ret->tid, pid);
    assert_int_equal(ret->ino, file->st_ino);
    assert_int_equal(ret->dev, file->st_dev);
}

static void test_waits_for_answer(void **state)
{
    struct tn_watch_event ev;
    struct stat file;
    char path[128], other[128];
    pid_t pid;

    copy(TRUE, "true", path);
    copy(TRUE, "other", other);
    add(path, &file);
    pid = start(other, NULL, NULL);
    assert_int_equal(end_of(pid, 5000), 0);
    assert_int_equal(next(&ev, 0), -EAGAIN);

    pid = start(path, NULL, NULL);
    expect(&file, pid, &ev);
    assert_int_equal(ev.exec, 1);
    assert_int_equal(end_of(pid, 100), -1);
    tn_watch_answer(watch, ev.id + 7); /* of nobody */
    assert_int_equal(end_of(pid, 100), -1);
    tn_watch_answer(watch, ev.id);
    assert_int_equal(end_of(pid, 5000), 0);

    tn_watch_remove(watch, file.st_dev, file.st_ino);
    for (int i = 0; i < 20; i++) { /* the order is not answered: it may still be on its way */
        pid = start(path, NULL, NULL);
        while (next(&ev, 20) == 0)
            tn_watch_answer(watch, ev.id);
        assert_int_equal(end_of(pid, 5000), 0);
    }
    assert_int_equal(next(&ev, 0), -EAGAIN);
}

static void test_not_for_long(void **state)
{
    struct tn_watch_event ev;
    struct stat file;
    char path[128];
    u64 begun = tn_monotonic();
    pid_t pid;

    copy(TRUE, "true2", path);
    add(path, &file);
    pid = start(path, NULL, NULL);
    expect(&file, pid, &ev);
    assert_int_equal(end_of(pid, 4000), 0);
    assert_true(tn_monotonic() - begun > 1500000000ull);
    /* Nobody waits any more for one who does not answer … */
    for (int i = 0; i < 20; i++)
        assert_int_equal(end_of(start(path, NULL, NULL), 1000), 0);
    assert_int_equal(next(&ev, 0), -EAGAIN);
    /* … until he does, late as it is. */
    tn_watch_answer(watch, ev.id);
    usleep(50000);
    pid = start(path, NULL, NULL);
    expect(&file, pid, &ev);
    tn_watch_answer(watch, ev.id);
    assert_int_equal(end_of(pid, 5000), 0);
    tn_watch_remove(watch, file.st_dev, file.st_ino);
}

/* A library: a loader's open counts, also that of a program that is just being started; to read it does not. */
static void test_who_opens(void **state)
{
    struct tn_watch_event ev;
    struct stat file;
    char path[128];
    int fd;
    pid_t pid;

    copy("/lib/x86_64-linux-gnu/libm.so.6", "libm.so.6", path);
    add(path, &file);
    fd = open(path, O_RDONLY); /* the caller himself */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(end_of(start("/bin/cat", path, NULL), 5000), 0);
    assert_int_equal(next(&ev, 0), -EAGAIN);

    pid = start("/bin/cat", "/dev/null", path);
    expect(&file, pid, &ev);
    assert_int_equal(ev.exec, 0);
    assert_int_equal(end_of(pid, 100), -1);
    tn_watch_answer(watch, ev.id);
    assert_int_equal(end_of(pid, 5000), 0);
    tn_watch_remove(watch, file.st_dev, file.st_ino);
}

static void test_killed(void **state)
{
    struct tn_watch_event ev;
    struct stat file;
    char path[128];
    pid_t pid, *kids = NULL;
    u32 n = 0;

    copy(TRUE, "true3", path);
    add(path, &file);
    assert_int_equal(tn_proc_children(getpid(), &kids, &n), 0);
    assert_int_equal(n, 1); /* the watcher */
    pid = start(path, NULL, NULL);
    expect(&file, pid, &ev);
    kill(kids[0], SIGKILL);
    free(kids);
    assert_int_equal(end_of(pid, 1000), 0);
    assert_int_equal(next(&ev, 1000), -EPIPE);
    assert_int_equal(end_of(start(path, NULL, NULL), 1000), 0);
    tn_watch_answer(watch, 1); /* to nobody: no signal, no wait */
    int again = open(path, O_RDONLY);

    assert_int_equal(tn_watch_add(watch, again, NULL), -EPIPE);
    close(again);
}

/* A program that sleeps, caught at its exec, attached to at its entry point, and let go. Where tracing has to wait for
   the exec, it is held later: then its entry has been passed. */
static void caught(bool exec_locks, u64 runs)
{
    struct tn_attach_result res;
    struct tn_attach_spec spec;
    struct tn_watch_event ev;
    struct victim v = {};
    struct counter c;
    struct stat file;
    struct rig r;
    int fd, exe;

    rig_open(&r);
    counter_make(&c, 1, 0);
    copy("/bin/sleep", exec_locks ? "later" : "sleep", v.path);
    add(v.path, &file);
    v.pid = start(v.path, "0.3", NULL);
    expect(&file, v.pid, &ev);
    tn_inject_exec_locks = exec_locks;
    assert_int_equal(tn_inject_catch(r.inj, v.pid, ev.tid, true, ev.dev, ev.ino, &fd, NULL), 0);
    assert_int_equal(tn_inject_catch(r.inj, v.pid, ev.tid, true, ev.dev, ev.ino, &fd, NULL), -EBUSY);
    assert_int_equal(wait_job(&r, fd, &res), 0);
    assert_int_equal(res.err, 0);
    tn_watch_answer(watch, ev.id);
    assert_int_equal(tn_inject_caught(r.inj, v.pid, &fd, NULL), 0);
    assert_int_equal(wait_job(&r, fd, &res), 0);
    assert_int_equal(res.err, 0);
    v.dev = file.st_dev;
    v.ino = file.st_ino;
    exe = open(v.path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(exe, &v.offset, 8, 24), 8); /* e_entry: in a stripped file, too */
    close(exe);
    spec_for(&spec, &v, &c, 1, 1);
    if (attach(&r, &spec, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    /* It is there already: not twice. */
    assert_int_equal(attach(&r, &spec, &res), 0);
    assert_int_equal(end_of(v.pid, 400), -1); /* held */
    assert_int_equal(tn_inject_release(r.inj, v.pid, &fd, NULL), 0);
    assert_int_equal(wait_job(&r, fd, &res), 0);
    assert_int_equal(end_of(v.pid, 5000), 0);
    assert_int_equal(c.words[0], runs);
    tn_inject_exec_locks = false;
    rig_close(&r);
    counter_drop(&c);
    tn_watch_remove(watch, file.st_dev, file.st_ino);
}

static void test_caught(void **state)
{
    caught(false, 1);
}

static void test_caught_late(void **state)
{
    caught(true, 0);
}

/* Hands that interrupt a thread on its way into such a wait do not wait for it: its leave may have to wait for them. */
static void test_sleeps_through(void **state)
{
    struct tn_watch_event ev;
    struct stat file;
    char path[128];
    pid_t pid, hands;
    int status;

    copy(TRUE, "through", path);
    add(path, &file);
    pid = start(path, NULL, NULL);
    expect(&file, pid, &ev);
    hands = fork();
    if (hands == 0) {
        struct tn_tracee t = {.mem = -1, .hup = {-1, -1}};
        struct tn_thread *th;
        struct tn_error err = {};
        u64 begun;

        if (tn_tracee_open(&t, pid, &err) < 0 || tn_tracee_seize_all(&t, &err) < 0)
            _exit(1);
        th = tn_tracee_find(&t, pid);
        begun = tn_monotonic();
        if (!th)
            _exit(2);
        tn_tracee_interrupt(&t, th);
        if (!th->interrupting)
            _exit(3);
        if (tn_tracee_settle(&t, 0, 5000000000ull) < 0 || tn_monotonic() - begun > 1000000000ull)
            _exit(4);
        /* What it owes comes with its leave, and it goes on. */
        tn_watch_answer(watch, ev.id);
        while (tn_tracee_alive(&t) && tn_monotonic() - begun < 5000000000ull)
            tn_tracee_wait(&t, 10000000ull);
        _exit(tn_tracee_alive(&t) ? 5 : 0);
    }
    assert_int_equal(waitpid(hands, &status, 0), hands);
    assert_int_equal(status, 0);
    assert_int_equal(end_of(pid, 5000), 0);
    tn_watch_remove(watch, file.st_dev, file.st_ino);
}

static void *sleeper(void *arg)
{
    for (;;)
        pause();
    return arg;
}

/* A process of two threads, one of which executes a program as soon as it may. */
static int two_then_exec(const char *path)
{
    pthread_t other;

    if (pthread_create(&other, NULL, sleeper, NULL))
        return 126;
    while (execl(path, path, NULL) < 0 && errno == EACCES)
        usleep(1000);
    return 127;
}

/*
 * Who calls execve takes the lock that tracing takes, here while he waits for leave to open his script's interpreter, and keeps it
 * until all his other threads have died and whoever traces them has taken note. So must hands that wait for the lock.
 */
static void test_dies_meanwhile(void **state)
{
    char path[128], script[128], self[4096] = "";
    struct tn_watch_event ev;
    struct stat file;
    int go[2], status;
    pid_t pid, hands;
    FILE *f;

    copy(TRUE, "interpreter", path);
    snprintf(script, sizeof(script), "%s/script", folder);
    f = fopen(script, "w");
    assert_true(f && fprintf(f, "#!%s\n", path) > 0 && fclose(f) == 0);
    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    add(path, &file);
    assert_int_equal(pipe(go), 0);
    pid = start(self, script, NULL);
    hands = fork();
    if (hands == 0) {
        struct tn_tracee t = {.mem = -1, .hup = {-1, -1}};
        _free_ pid_t *tids = NULL;
        char byte;
        u32 n = 0;

        alarm(10);
        while (tn_proc_tids(pid, &tids, &n) == 0 && n < 2)
            free(tids), tids = NULL;
        if (n != 2 || tn_tracee_open(&t, pid, NULL) < 0 || tn_tracee_seize(&t, tids[1], NULL) < 0 ||
            chmod(script, 0755) < 0 || read(go[0], &byte, 1) != 1)
            _exit(1);
        tn_tracee_seize(&t, pid, NULL); /* its program may have ended by then */
        while (tn_tracee_alive(&t))
            tn_tracee_wait(&t, 10000000ull);
        _exit(0);
    }
    expect(&file, pid, &ev);
    assert_int_equal(write(go[1], "", 1), 1);
    usleep(200000);
    tn_watch_answer(watch, ev.id);
    assert_int_equal(waitpid(hands, &status, 0), hands);
    assert_int_equal(status, 0);
    assert_int_equal(end_of(pid, 5000), 0);
    close(go[0]);
    close(go[1]);
    tn_watch_remove(watch, file.st_dev, file.st_ino);
}

static int begin(void **state)
{
    struct tn_error err = {};

    if (tn_watch_new(&watch, &err) < 0) {
        printf("# %s\n", err.message);
        skip();
    }
    return 0;
}

static int end(void **state)
{
    tn_watch_free(watch);
    watch = NULL;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waits_for_answer, begin, end),
        cmocka_unit_test_setup_teardown(test_not_for_long, begin, end),
        cmocka_unit_test_setup_teardown(test_who_opens, begin, end),
        cmocka_unit_test_setup_teardown(test_killed, begin, end),
        cmocka_unit_test_setup_teardown(test_caught, begin, end),
        cmocka_unit_test_setup_teardown(test_sleeps_through, begin, end),
        cmocka_unit_test_setup_teardown(test_dies_meanwhile, begin, end),
        cmocka_unit_test_setup_teardown(test_caught_late, begin, end),
    };
    char command[64];
    int sv[2], status = 1;
    pid_t broker;

    if (argc > 1)
        return two_then_exec(argv[1]);
    if (geteuid() != 0) {
        printf("1..0 # SKIP only root may watch for exec\n");
        return 0;
    }
    if (!mkdtemp(folder) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
        return 1;
    broker = fork();
    if (broker == 0) {
        close(sv[1]);
        world = sv[0];
        exit(cmocka_run_group_tests(tests, NULL, NULL) != 0);
    }
    close(sv[0]);
    serve(sv[1]);
    waitpid(broker, &status, 0);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) || status;
}
