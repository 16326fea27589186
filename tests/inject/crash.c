/* SPDX-License-Identifier: MIT */
/*
 * Whoever is killed, at whichever step: the target lives with the bytes it had, its gates are closed within a
 * second, and it can be entered again. The broker is a child of the test here; it tells each step through
 * shared memory.
 */
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Shared by test, broker and injector. */
static struct control {
    volatile int kill_at;  /* step number at which `whom` is killed; 0: never */
    volatile int whom;     /* 0: the injector itself, 1: the broker */
    volatile int steps;    /* taken so far */
    volatile int attached; /* by the broker */
    volatile int broker;
    volatile int mapping; /* the injector is about to send the MAP order */
    volatile int outcome;
    volatile u8 *gates;
} * ctl;

static void on_step(const char *name)
{
    if (++ctl->steps != ctl->kill_at)
        return;
    if (ctl->whom == 0)
        kill(getpid(), SIGKILL);
    kill(ctl->broker, SIGKILL);
    usleep(20000);
}

struct stage {
    struct rig r;
    struct victim v;
    struct counter c;
    struct tn_attach_spec s;
    u8 before[16];
};

/* What is hooked: a jump fits there, or a breakpoint is needed, with all that goes with it. */
static const char *place = "hot";

static int by_jump(void **state)
{
    place = "hot";
    return 0;
}

/* … or what stands behind it is evicted. */
static int by_eviction(void **state)
{
    place = "short1";
    return 0;
}

static int by_breakpoint(void **state)
{
    place = "brief";
    return 0;
}

/* Is the kernel's handler of SIGTRAP the program's again, which has none? */
static bool signals_are_back(const struct stage *x)
{
    struct tn_status st;

    return tn_status_read(x->v.pid, x->v.pid, &st) == 0 && !(st.sigcgt >> (SIGTRAP - 1) & 1);
}

static void stage_open(struct stage *x)
{
    counter_make(&x->c, 1, 0);
    victim_start(&x->v, 2, 3, strcmp(place, "short1") ? "idle" : "crowded", NULL);
    assert_int_equal(find_offset(x->v.path, place, &x->v.offset), 0);
    read_code(&x->v, x->before);
    spec_for(&x->s, &x->v, &x->c, 1, 1);
    ctl->steps = ctl->attached = ctl->kill_at = ctl->outcome = 0;
}

static void stage_close(struct stage *x)
{
    assert_int_equal(x->v.sh->wrong, 0);
    assert_int_equal(x->v.sh->eintr, 0);
    assert_true(victim_alive(&x->v));
    victim_stop(&x->v);
    counter_drop(&x->c);
}

static bool code_is_back(struct stage *x)
{
    u8 now[16];

    read_code(&x->v, now);
    return !memcmp(now, x->before, 16);
}

/* A fresh broker finds the target whole: attaches, counts, detaches. */
static void works_again(struct stage *x)
{
    struct tn_attach_result res;
    u64 had;

    rig_open(&x->r);
    if (attach(&x->r, &x->s, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    had = x->c.words[0];
    victim_calls(&x->v, 2, 50);
    assert_int_equal(x->c.words[0] - had, 100);
    if (detach(&x->r, x->v.pid, 1, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_true(code_is_back(x));
    victim_calls(&x->v, 2, 50);
    assert_int_equal(x->c.words[0] - had, 100);
    rig_close(&x->r);
}

static int count_steps(void)
{
    struct stage x;
    struct tn_attach_result res;

    stage_open(&x);
    rig_open(&x.r);
    tn_inject_step = on_step;
    assert_int_equal(attach(&x.r, &x.s, &res), 0);
    assert_true(!strcmp(res.tactic, "evicted") == !strcmp(place, "short1"));
    tn_inject_step = NULL;
    rig_close(&x.r);
    stage_close(&x);
    return ctl->steps;
}

static void test_injector_killed(void **state)
{
    int n = count_steps();

    assert_true(n >= 8);
    for (int at = 1; at <= n; at++) {
        struct stage x;
        struct tn_attach_result res;

        stage_open(&x);
        rig_open(&x.r);
        ctl->whom = 0;
        ctl->kill_at = at;
        tn_inject_step = on_step;
        assert_int_equal(attach(&x.r, &x.s, &res), -EINTR);
        assert_string_equal(res.why.reason, "injector_died");
        tn_inject_step = NULL;
        victim_calls(&x.v, 2, 20);
        assert_int_equal(x.c.words[0], 0);
        /* The same broker, at once. */
        ctl->kill_at = 0;
        if (attach(&x.r, &x.s, &res) < 0)
            fail_msg("after step %d: %s: %s", at, res.why.reason, res.why.message);
        victim_calls(&x.v, 2, 20);
        assert_int_equal(x.c.words[0], 40);
        rig_close(&x.r);
        usleep(1000);
        assert_true(code_is_back(&x));
        stage_close(&x);
    }
}

/* Runs a broker in a child that attaches and then waits. */
static pid_t broker(struct stage *x, int kill_at)
{
    pid_t pid;

    ctl->whom = 1;
    ctl->kill_at = kill_at;
    pid = fork();
    if (pid == 0) {
        struct tn_attach_result res;
        struct rig r;

        ctl->broker = getpid();
        rig_open(&r);
        tn_inject_step = on_step;
        ctl->outcome = attach(&r, &x->s, &res);
        ctl->attached = 1;
        for (;;)
            pause();
    }
    return pid;
}

static void restored_within_a_second(struct stage *x, int at)
{
    for (int ms = 0; ms < 1000; ms++) {
        if (code_is_back(x) && signals_are_back(x))
            return;
        usleep(1000);
    }
    fail_msg("step %d: the code was not restored within a second", at);
}

static void test_broker_killed(void **state)
{
    int n = count_steps();

    for (int at = 1; at <= n; at++) {
        struct stage x;
        pid_t pid;

        stage_open(&x);
        pid = broker(&x, at);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        restored_within_a_second(&x, at);
        victim_calls(&x.v, 2, 20);
        works_again(&x);
        stage_close(&x);
    }
}

static void test_broker_killed_attached(void **state)
{
    struct stage x;
    pid_t pid;
    u64 counted;

    stage_open(&x);
    pid = broker(&x, 0);
    for (int ms = 0; ms < 5000 && !ctl->attached; ms++)
        usleep(1000);
    assert_true(ctl->attached);
    assert_int_equal(ctl->outcome, 0);
    victim_calls(&x.v, 2, 20);
    assert_int_equal(x.c.words[0], 40);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    restored_within_a_second(&x, 0);
    counted = x.c.words[0];
    victim_calls(&x.v, 2, 20);
    assert_int_equal(x.c.words[0], counted);
    works_again(&x);
    stage_close(&x);
}

static pid_t guardian_of(pid_t pid)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct tn_proc p;

    assert_int_equal(tn_maps_read(pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (!strncmp(tn_vma_name(&maps, &maps.vma[i]), "/memfd:" TN_PROC_NAME, 7 + strlen(TN_PROC_NAME))) {
            assert_int_equal(tn_peek(pid, maps.vma[i].start, &p, sizeof(p)), 0);
            assert_int_equal(p.magic, TN_PROC_MAGIC);
            return (pid_t)p.guardian_pid;
        }
    fail_msg("no marker");
    return -1;
}

/* Guardian and broker both gone: the undo record in the target is all there is. */
static void test_all_killed(void **state)
{
    struct stage x;
    pid_t pid;

    stage_open(&x);
    pid = broker(&x, 0);
    for (int ms = 0; ms < 5000 && !ctl->attached; ms++)
        usleep(1000);
    assert_int_equal(ctl->outcome, 0);
    pid_t g = guardian_of(x.v.pid);

    kill(g, SIGSTOP); /* so that it cannot see the broker go */
    kill(pid, SIGKILL);
    kill(g, SIGKILL);
    waitpid(pid, NULL, 0);
    usleep(20000);
    assert_false(code_is_back(&x));
    victim_calls(&x.v, 2, 20); /* it goes on, hooked */
    works_again(&x);
    assert_true(signals_are_back(&x));
    stage_close(&x);
}

/* The guardian alone is killed: the broker gives the target another one that knows everything. */
static void test_guardian_killed(void **state)
{
    struct stage x;
    struct tn_attach_result res;
    siginfo_t gone;
    pid_t pid;

    stage_open(&x);
    rig_open(&x.r);
    assert_int_equal(attach(&x.r, &x.s, &res), 0);
    pid = guardian_of(x.v.pid);
    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &gone, WEXITED | WNOWAIT), 0);
    assert_int_equal(tn_inject_event(x.r.inj, &pid), -EAGAIN);
    victim_calls(&x.v, 2, 20);
    assert_int_equal(x.c.words[0], 40);
    assert_int_equal(detach(&x.r, x.v.pid, 1, &res), 0);
    assert_true(code_is_back(&x));
    rig_close(&x.r);
    stage_close(&x);
}

static void on_mapping(const char *name)
{
    if (!strcmp(name, "map"))
        ctl->mapping = 1;
}

static pid_t child_named(pid_t parent, const char *name)
{
    _free_ pid_t *kids = NULL;
    char comm[32];
    u32 n = 0;

    if (tn_proc_children(parent, &kids, &n) < 0)
        return 0;
    for (u32 i = 0; i < n; i++) {
        tn_proc_comm(kids[i], comm);
        if (!strcmp(comm, name))
            return kids[i];
    }
    return 0;
}

/* The hands alone are killed while a thread may be making calls for them: the page it makes them in lets it
   go by itself. The first entry has made that page; each later one maps a program. */
static void test_hands_killed(void **state)
{
    struct stage x;
    struct tn_attach_result res;
    int fd, broke = 0;
    pid_t guardian;

    stage_open(&x);
    rig_open(&x.r);
    assert_int_equal(attach(&x.r, &x.s, &res), 0);
    guardian = guardian_of(x.v.pid);
    assert_int_equal(detach(&x.r, x.v.pid, 1, &res), 0);
    for (u32 i = 0; i < 40; i++) {
        struct counter c;
        pid_t hands = 0;

        counter_make(&c, 100 + i, 0);
        spec_for(&x.s, &x.v, &c, 100 + i, 1);
        ctl->mapping = 0;
        tn_inject_step = on_mapping;
        assert_int_equal(tn_inject_attach(x.r.inj, &x.s, &fd, NULL), 0);
        for (int k = 0; k < 5000 && !ctl->mapping; k++)
            usleep(10);
        hands = child_named(guardian, "tenon-hands");
        if (i % 4)
            usleep(i * 10);
        if (hands)
            kill(hands, SIGKILL);
        broke += wait_job(&x.r, fd, &res) < 0;
        assert_true(victim_alive(&x.v));
        tn_inject_step = NULL;
        x.r.gates[1] = 0;
        detach(&x.r, x.v.pid, 1, &res);
        counter_drop(&c);
    }
    assert_true(broke > 0);
    victim_calls(&x.v, 2, 20);
    spec_for(&x.s, &x.v, &x.c, 1, 1);
    if (attach(&x.r, &x.s, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    u64 had = x.c.words[0];

    victim_calls(&x.v, 2, 20);
    assert_int_equal(x.c.words[0] - had, 40);
    assert_int_equal(detach(&x.r, x.v.pid, 1, &res), 0);
    assert_true(code_is_back(&x));
    rig_close(&x.r);
    stage_close(&x);
}

static bool is_mapped(pid_t pid, int fd)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct stat sb;

    assert_int_equal(fstat(fd, &sb), 0);
    assert_int_equal(tn_maps_read(pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (maps.vma[i].dev == sb.st_dev && maps.vma[i].ino == sb.st_ino)
            return true;
    return false;
}

/* A broker that ends, with or without a link that stands, leaves no map and no program in the target. */
static void test_unmapped(void **state)
{
    struct tn_attach_result res;
    struct stage x;

    for (int detached = 0; detached < 2; detached++) {
        stage_open(&x);
        rig_open(&x.r);
        assert_int_equal(attach(&x.r, &x.s, &res), 0);
        victim_calls(&x.v, 2, 20);
        assert_true(is_mapped(x.v.pid, x.c.map) && is_mapped(x.v.pid, x.c.text));
        if (detached)
            assert_int_equal(detach(&x.r, x.v.pid, 1, &res), 0);
        rig_close(&x.r);
        for (int ms = 0; ms < 5000 && (is_mapped(x.v.pid, x.c.map) || is_mapped(x.v.pid, x.c.text)); ms++)
            usleep(1000);
        assert_false(is_mapped(x.v.pid, x.c.map));
        assert_false(is_mapped(x.v.pid, x.c.text));
        assert_true(code_is_back(&x));
        victim_calls(&x.v, 2, 20);
        stage_close(&x);
    }
}

/* Another broker keeps its hands off while the first one lives, and says who that is. */
static void test_two_brokers(void **state)
{
    struct stage x;
    struct tn_attach_result res;
    pid_t pid;

    stage_open(&x);
    pid = broker(&x, 0);
    for (int ms = 0; ms < 5000 && !ctl->attached; ms++)
        usleep(1000);
    rig_open(&x.r);
    assert_int_equal(attach(&x.r, &x.s, &res), -EBUSY);
    assert_string_equal(res.why.reason, "held");
    char who[32];

    snprintf(who, sizeof(who), "process %d", pid);
    assert_non_null(strstr(res.why.message, who));
    rig_close(&x.r);
    victim_calls(&x.v, 2, 20);
    assert_int_equal(x.c.words[0], 40);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    restored_within_a_second(&x, 0);
    stage_close(&x);
}

/* The target dies at each step: a refusal, and nobody hangs. Dead it is when it has ended: the signal alone may take
   longer to reach its processor than the steps that are left. */
static void target_step(const char *name)
{
    struct tn_status st;

    if (++ctl->steps != ctl->kill_at)
        return;
    kill(ctl->broker, SIGKILL); /* here: the target's pid */
    for (int ms = 0; ms < 5000 && tn_status_read(ctl->broker, ctl->broker, &st) == 0 && st.state != 'Z'; ms++)
        usleep(1000);
}

static void test_target_killed(void **state)
{
    int n = count_steps();

    for (int at = 1; at < n; at++) {
        struct stage x;
        struct tn_attach_result res;
        pid_t gone = 0;

        stage_open(&x);
        rig_open(&x.r);
        ctl->broker = x.v.pid;
        ctl->kill_at = at;
        tn_inject_step = target_step;
        assert_true(attach(&x.r, &x.s, &res) < 0);
        assert_true(res.why.reason[0]);
        tn_inject_step = NULL;
        for (int ms = 0; ms < 1000 && tn_inject_event(x.r.inj, &gone) < 0; ms++)
            usleep(1000);
        assert_int_equal(gone, x.v.pid);
        victim_stop(&x.v);
        counter_drop(&x.c);
        rig_close(&x.r);
    }
}

#define BOTH(name)                                                                                           \
    {#name, name, by_jump, NULL, NULL},                                                                      \
    {                                                                                                        \
#name " (breakpoint)", name, by_breakpoint, NULL, NULL                                               \
    }
#define EVICTED(name)                                                                                        \
    {                                                                                                        \
#name " (evicted)", name, by_eviction, NULL, NULL                                                    \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_injector_killed),
        BOTH(test_broker_killed),
        BOTH(test_broker_killed_attached),
        BOTH(test_all_killed),
        BOTH(test_guardian_killed),
        BOTH(test_unmapped),
        BOTH(test_two_brokers),
        BOTH(test_target_killed),
        BOTH(test_hands_killed),
        EVICTED(test_injector_killed),
        EVICTED(test_broker_killed),
        EVICTED(test_all_killed),
        EVICTED(test_hands_killed),
        EVICTED(test_broker_killed_attached),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    ctl = mmap(NULL, sizeof(*ctl), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return cmocka_run_group_tests_name("inject/crash", tests, NULL, NULL);
}
