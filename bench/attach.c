/* SPDX-License-Identifier: MIT */
/*
 * What entering a process costs, without broker protocol, verifier or compiler: a target of a hundred threads
 * (some awake, most asleep) entered and left again, round after round. One JSON object a figure: value is the
 * median over rounds.
 *
 *   hold     longest time any thread was held in a round: borrowing, looking, writing
 *   total    from the request to the outcome
 *   start    exec to exit of /bin/true held, hooked and released, less the same run plainly in turn
 */
#include "../tests/inject/rig.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROUNDS 101

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *name, double *v, int n, double at)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    printf("{\"name\":\"%s\",\"value\":%.4f,\"unit\":\"ms\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%d}\n",
           name, v[(int)((n - 1) * at)], v[0], v[n - 1], n);
    fflush(stdout);
}

static int live(void)
{
    static double hold[ROUNDS], total[ROUNDS], off[ROUNDS];
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct counter c;
    struct victim v;
    struct rig r;
    int bad = 0;

    rig_open(&r);
    counter_make(&c, 1, 0);
    victim_start(&v, 4, 95, "idle", NULL);
    for (int i = 0; i < ROUNDS; i++) {
        spec_for(&s, &v, &c, 1, 1);
        bad |= attach(&r, &s, &res) < 0;
        hold[i] = (double)res.hold_ns_max / 1e6;
        total[i] = (double)res.total_ns / 1e6;
        bad |= detach(&r, v.pid, 1, &res) < 0;
        off[i] = (double)res.hold_ns_max / 1e6;
    }
    print("attach: longest hold of any thread, 100 threads", hold, ROUNDS, 0.5);
    print("attach: longest hold of any thread, 100 threads, p99", hold, ROUNDS, 0.99);
    print("attach: request to outcome, 100 threads", total, ROUNDS, 0.5);
    print("detach: longest hold of any thread, 100 threads", off, ROUNDS, 0.5);
    victim_stop(&v);
    counter_drop(&c);

    /* The first entry maps everything: a fresh target each time. */
    for (int i = 0; i < 11; i++) {
        counter_make(&c, 1, 0);
        victim_start(&v, 4, 95, "idle", NULL);
        spec_for(&s, &v, &c, 1, 1);
        bad |= attach(&r, &s, &res) < 0;
        hold[i] = (double)res.hold_ns_max / 1e6;
        total[i] = (double)res.total_ns / 1e6;
        victim_stop(&v);
        counter_drop(&c);
    }
    print("first attach: longest hold of any thread, 100 threads", hold, 11, 0.5);
    print("first attach: request to outcome, 100 threads", total, 11, 0.5);
    rig_close(&r);
    return bad;
}

/* Milliseconds from the word to go until /bin/true has ended; hooked where `r` is given. */
static double run_true(struct rig *r, struct counter *c)
{
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct victim v = {};
    struct stat sb;
    int p[2], fd;
    u64 start;

    if (pipe(p) < 0 || stat("/bin/true", &sb) < 0 || !realpath("/bin/true", v.path))
        return -1;
    v.dev = sb.st_dev;
    v.ino = sb.st_ino;
    v.pid = fork();
    if (v.pid == 0) {
        char go;

        close(p[1]);
        (void)!read(p[0], &go, 1);
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    close(p[0]);
    if (r && tn_inject_hold(r->inj, v.pid, &fd, NULL) == 0)
        wait_job(r, fd, &res);
    start = tn_monotonic();
    (void)!write(p[1], "x", 1);
    close(p[1]);
    if (r) {
        _close_ int exe = open("/bin/true", O_RDONLY | O_CLOEXEC);
        u64 entry;

        /* The entry point is a place as good as any, and found in a stripped file. */
        if (pread(exe, &entry, 8, 24) != 8)
            return -1;
        v.offset = entry;
        spec_for(&s, &v, c, 1, 1);
        if (attach(r, &s, &res) < 0)
            fprintf(stderr, "start-up: %s: %s\n", res.why.reason, res.why.message);
        if (tn_inject_release(r->inj, v.pid, &fd, NULL) == 0)
            wait_job(r, fd, &res);
    }
    waitpid(v.pid, NULL, 0);
    double ms = (double)(tn_monotonic() - start) / 1e6;
    pid_t gone;

    for (int i = 0; r && i < 1000 && tn_inject_event(r->inj, &gone) < 0; i++)
        usleep(100);
    return ms;
}

static int start_up(void)
{
    static double added[51];
    struct counter c;
    struct rig r;
    int bad = 0;

    rig_open(&r);
    counter_make(&c, 1, 0);
    run_true(&r, &c); /* the plans are known from then on */
    for (int i = 0; i < 51; i++) {
        double plain = run_true(NULL, NULL), hooked = run_true(&r, &c);

        bad |= plain < 0 || hooked < 0;
        added[i] = hooked - plain;
    }
    print("start-up attach of /bin/true, added, without broker protocol", added, 51, 0.5);
    rig_close(&r);
    return bad;
}

#define MANY      10000u
#define MANY_SIZE 32u /* many.S */

/* One hook, one hook under 500 threads, a link of ten thousand; of a target whose functions are those of many.S. */
static int many(void)
{
    static const struct {
        const char *what;
        u32 places;
        int threads, sleepers, rounds;
    } rows[] = {
        {"1 hook", 1, 4, 4, ROUNDS}, {"500 threads", 1, 4, 495, ROUNDS}, {"10 000 hooks", MANY, 4, 4, 11}};
    static struct tn_attach_place others[MANY];
    static double hold[ROUNDS], off[ROUNDS], total[ROUNDS], out[ROUNDS];
    int bad = 0;

    setenv("TN_TEST_TARGET", TN_BENCH_MANY, 1);
    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_attach_result res;
        struct tn_attach_spec s;
        struct counter c;
        struct victim v;
        struct rig r;
        char name[96];

        rig_open(&r);
        counter_make(&c, 1, 0);
        victim_start(&v, rows[k].threads, rows[k].sleepers, "many-run", NULL);
        spec_for(&s, &v, &c, 1, 1);
        if (find_offset(v.path, "many_0", &s.place.offset) < 0)
            return 1;
        for (u32 i = 1; i < rows[k].places; i++)
            others[i - 1] = (struct tn_attach_place){.offset = s.place.offset + i * MANY_SIZE};
        s.others = others;
        s.nothers = rows[k].places - 1;
        bad |= attach(&r, &s, &res) < 0 || detach(&r, v.pid, 1, &res) < 0; /* mapped, and planned */
        for (int i = 0; i < rows[k].rounds; i++) {
            bad |= attach(&r, &s, &res) < 0;
            hold[i] = (double)res.hold_ns_max / 1e6;
            total[i] = (double)res.total_ns / 1e6;
            bad |= detach(&r, v.pid, 1, &res) < 0;
            off[i] = (double)res.hold_ns_max / 1e6;
            out[i] = (double)res.total_ns / 1e6;
        }
        snprintf(name, sizeof(name), "attach: longest hold of any thread, %s", rows[k].what);
        print(name, hold, rows[k].rounds, 0.5);
        snprintf(name, sizeof(name), "attach: longest hold of any thread, %s, p99", rows[k].what);
        print(name, hold, rows[k].rounds, 0.99);
        snprintf(name, sizeof(name), "detach: longest hold of any thread, %s", rows[k].what);
        print(name, off, rows[k].rounds, 0.5);
        snprintf(name, sizeof(name), "attach: request to outcome, %s", rows[k].what);
        print(name, total, rows[k].rounds, 0.5);
        snprintf(name, sizeof(name), "detach: request to outcome, %s", rows[k].what);
        print(name, out, rows[k].rounds, 0.5);
        bad |= v.sh->wrong != 0;
        victim_stop(&v);
        counter_drop(&c);
        rig_close(&r);
    }
    return bad;
}

/* `live`, `start` or `many`: only that; without, the first two. */
int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";

    setenv("TN_TEST_TARGET", TN_BENCH_TARGET, 0);
    if (!strcmp(only, "many"))
        return many();
    return (strcmp(only, "start") ? live() : 0) | (strcmp(only, "live") ? start_up() : 0);
}
