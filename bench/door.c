/* SPDX-License-Identifier: MIT */
/*
 * What attaching costs, the whole way: stock libbpf, door, broker, injector. The broker runs and the object
 * is loaded once; then, round after round:
 *
 *   live       a fresh process of a hundred threads ─ attach ─ how long was a thread held? ─ detach
 *   again      the same process, entered before
 *   start-up   a child, held at its exec of /bin/true ─ attach ─ let go ─ it ends; in turn with one run
 *              plainly
 *
 * One JSON object a figure: the median over rounds, the lowest, the highest.
 *
 *     bench-door OBJECT TARGET [ROUNDS]      $TENON_EXE says whom to start as a broker, $TENON_SOCKET where
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "broker/ctl.h"
#include "door/preload/door.h"

#define ROUNDS_MAX 1001
#define AWAKE      "4"
#define ASLEEP     "95" /* and the main thread */

static struct bpf_program *program;
static const char *target_path;
static int rounds = 101;

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* `at`: which quantile. */
static void print(const char *name, double *v, int n, double at)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    printf("{\"name\":\"%s\",\"value\":%.4f,\"unit\":\"ms\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%d}\n",
           name, v[(int)((n - 1) * at)], v[0], v[n - 1], n);
    fflush(stdout);
}

static int complain(const char *what)
{
    struct tn_ctl_error why;
    size_t len = sizeof(why);
    int error = errno;

    if (tn_door_ctl(TN_CTL_LAST_ERROR, NULL, 0, &why, &len) >= 0 && len == sizeof(why) && why.why.message[0])
        fprintf(stderr, "%s: %.900s\n", what, why.why.message);
    else
        fprintf(stderr, "%s: %s\n", what, strerror(error));
    return -1;
}

static struct bpf_link *attach(pid_t pid, const char *path, const char *function, u64 offset)
{
    LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = function);

    return bpf_program__attach_uprobe_opts(program, pid, path, offset, &opts);
}

/* The longest time that making this link held a thread; negative for an error. */
static double held_ms(struct bpf_link *link)
{
    struct bpf_link_info info = {0};
    struct tn_ctl_link row;
    u32 len = sizeof(info), before;
    size_t row_len = sizeof(row);

    if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) < 0)
        return -1;
    before = info.id - 1;
    if (tn_door_ctl(TN_CTL_LINK_NEXT, &before, sizeof(before), &row, &row_len) < 0 ||
        row_len != sizeof(row) || row.id != info.id)
        return -1;
    return (double)row.hold_ns_max / 1e6;
}

/* ------------------------------------------------------------------------------------------------- live */

struct target {
    pid_t pid;
    int ask, answer;
};

static void target_stop(struct target *t)
{
    close(t->ask);
    close(t->answer);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
}

/* Ready when all its threads are. */
static int target_start(struct target *t)
{
    int ask[2], answer[2];
    char ready;

    if (pipe2(ask, O_CLOEXEC) < 0 || pipe2(answer, O_CLOEXEC) < 0)
        return complain("pipe");
    t->pid = fork();
    if (t->pid == 0) {
        dup2(ask[0], STDIN_FILENO);
        dup2(answer[1], STDOUT_FILENO);
        execl(target_path, target_path, AWAKE, ASLEEP, (char *)NULL);
        _exit(127);
    }
    close(ask[0]);
    close(answer[1]);
    t->ask = ask[1];
    t->answer = answer[0];
    if (t->pid < 0 || read(t->answer, &ready, 1) != 1) {
        target_stop(t);
        return complain(target_path);
    }
    return 0;
}

static int live_round(const struct target *t, double *ret_hold, double *ret_total)
{
    double start = now_ms();
    struct bpf_link *link = attach(t->pid, target_path, "bench_count", 0);

    if (!link)
        return complain("attaching");
    *ret_total = now_ms() - start;
    *ret_hold = held_ms(link);
    bpf_link__destroy(link);
    return *ret_hold < 0 ? complain("asking about a link") : 0;
}

static int live(void)
{
    static double hold[ROUNDS_MAX], total[ROUNDS_MAX];
    struct target t;
    int r = 0;

    for (int i = -1; i < rounds && !r; i++) { /* the first one warms up: the file is read and planned */
        r = target_start(&t);
        if (r)
            return r;
        r = live_round(&t, &hold[TN_MAX(i, 0)], &total[TN_MAX(i, 0)]);
        target_stop(&t);
    }
    if (r)
        return r;
    print("live attach: median over rounds of the longest hold of any thread, 100 threads (p99 beside it)",
          hold, rounds, 0.5);
    print("live attach, longest hold, 100 threads, p99", hold, rounds, 0.99);
    print("live attach, request to link, 100 threads", total, rounds, 0.5);

    r = target_start(&t);
    if (r)
        return r;
    for (int i = -1; i < rounds && !r; i++)
        r = live_round(&t, &hold[TN_MAX(i, 0)], &total[TN_MAX(i, 0)]);
    target_stop(&t);
    if (r)
        return r;
    print("attach again, longest hold, 100 threads", hold, rounds, 0.5);
    print("attach again, request to link, 100 threads", total, rounds, 0.5);
    return 0;
}

/* --------------------------------------------------------------------------------------------- start-up */

/* Milliseconds from the word to go until /bin/true has ended; negative for an error. `path` NULL: plainly. */
static double run_true(const char *path, const char *function, u64 offset)
{
    struct bpf_link *link = NULL;
    double start, ms;
    int go[2], status = 0;
    char byte;
    s32 pid;

    if (pipe2(go, O_CLOEXEC) < 0)
        return complain("pipe");
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        if (read(go[0], &byte, 1) == 1)
            execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    close(go[0]);
    if (pid < 0 || (path && tn_door_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, &(size_t){0}) < 0)) {
        close(go[1]);
        return complain("holding a child");
    }
    start = now_ms();
    if (write(go[1], "", 1) != 1)
        return complain("starting a child");
    close(go[1]);
    if (path) {
        link = attach(pid, path, function, offset);
        if (!link)
            complain("attaching at start-up");
        if (tn_door_ctl(TN_CTL_RELEASE, &pid, sizeof(pid), NULL, &(size_t){0}) < 0)
            complain("letting a child go");
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ms = now_ms() - start;
    if (path && !link)
        return -1;
    bpf_link__destroy(link);
    return status == 0 ? ms : -1;
}

static int start_up(const char *name, const char *path, const char *function, u64 offset)
{
    static double added[ROUNDS_MAX], plain[ROUNDS_MAX];

    for (int i = -1; i < rounds; i++) {
        double hooked;

        plain[TN_MAX(i, 0)] = i % 2 ? run_true(NULL, NULL, 0) : 0;
        hooked = run_true(path, function, offset);
        if (!(i % 2))
            plain[TN_MAX(i, 0)] = run_true(NULL, NULL, 0);
        if (hooked < 0 || plain[TN_MAX(i, 0)] < 0)
            return -1;
        added[TN_MAX(i, 0)] = hooked - plain[TN_MAX(i, 0)];
    }
    print(name, added, rounds, 0.5);
    if (!function)
        print("/bin/true, plainly", plain, rounds, 0.5);
    return 0;
}

int main(int argc, char **argv)
{
    struct tn_error err = {0};
    struct bpf_object *object;
    char path[PATH_MAX];
    Elf64_Ehdr head;
    Dl_info libc;
    int r;

    if (argc < 3)
        return 2;
    if (argc > 3)
        rounds = TN_MIN(TN_MAX(atoi(argv[3]), 3), ROUNDS_MAX);
    target_path = argv[2];
    r = tn_door_open(&err);
    if (r) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    object = bpf_object__open_file(argv[1], NULL);
    if (!object || bpf_object__load(object))
        return -complain(argv[1]);
    program = bpf_object__next_program(object, NULL);

    /* The entry point is a place as good as any, and found in a stripped file. */
    _close_ int exe = open("/bin/true", O_RDONLY | O_CLOEXEC);

    if (!realpath("/bin/true", path) || read(exe, &head, sizeof(head)) != sizeof(head) ||
        !dladdr((void *)(uintptr_t)&exit, &libc))
        return -complain("/bin/true");
    r = live();
    r |= start_up("start-up attach, exec to exit of `/bin/true`, broker running and object loaded, added "
                  "(cold start beside it)",
                  path, NULL, head.e_entry);
    r |= start_up("start-up attach, a function of libc, added", libc.dli_fname, "exit", 0);
    bpf_object__close(object);
    return r ? 1 : 0;
}
