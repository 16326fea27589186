/* SPDX-License-Identifier: MIT */
/* Live attach and detach on a running process: counts are exact, nothing is left, nobody is disturbed. */
#include "rig.h"

#include "inject/tracee.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static void attach_ok(struct rig *r, const struct tn_attach_spec *s, struct tn_attach_result *res)
{
    if (attach(r, s, res) < 0)
        fail_msg("attach: %s: %s", res->why.reason, res->why.message);
}

static void detach_ok(struct rig *r, pid_t pid, u32 link)
{
    struct tn_attach_result res;

    if (detach(r, pid, link, &res) < 0 && res.err == -ESRCH) {
        int status = 0;

        waitpid(pid, &status, WNOHANG);
        fail_msg("the target has ended: status 0x%x", status);
    }
    if (res.err < 0)
        fail_msg("detach: %s: %s", res.why.reason, res.why.message);
}

static void test_counts(void **state)
{
    struct tn_attach_spec s;
    struct tn_attach_result res;
    struct counter c;
    struct victim v;
    struct rig r;
    u8 before[16], during[16], after[16];
    u64 fds;

    rig_open(&r);
    counter_make(&c, 1, 0);
    victim_start(&v, 4, 0, "idle", NULL);
    read_code(&v, before);
    fds = count_fds(v.pid);
    spec_for(&s, &v, &c, 1, 5);
    attach_ok(&r, &s, &res);
    assert_string_equal(res.symbol, "hot");
    assert_int_equal(res.symbol_offset, 0);
    read_code(&v, during);
    assert_int_equal(during[0], 0xe9);
    assert_int_equal(count_fds(v.pid), fds);
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    r.gates[5] = 0;
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    detach_ok(&r, v.pid, 5);
    read_code(&v, after);
    assert_memory_equal(before, after, 16);
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    assert_int_equal(v.sh->calls, 12000);
    assert_int_equal(v.sh->wrong, 0);
    assert_true(victim_alive(&v));
    victim_stop(&v);
    counter_drop(&c);
    rig_close(&r);
}

struct scene {
    struct rig r;
    struct victim v;
    struct counter c;
    struct tn_attach_spec s;
    struct tn_attach_result res;
};

static void scene_open(struct scene *x, int threads, int sleepers, const char *mode)
{
    rig_open(&x->r);
    counter_make(&x->c, 1, 0);
    victim_start(&x->v, threads, sleepers, mode, NULL);
    spec_for(&x->s, &x->v, &x->c, 1, 1);
}

static void scene_close(struct scene *x)
{
    assert_int_equal(x->v.sh->wrong, 0);
    assert_true(victim_alive(&x->v));
    victim_stop(&x->v);
    counter_drop(&x->c);
    rig_close(&x->r);
}

/* A hundred threads asleep in a futex: not one may notice. */
static void test_sleepers(void **state)
{
    struct scene x;

    scene_open(&x, 1, 100, "idle");
    for (int i = 0; i < 5; i++) {
        attach_ok(&x.r, &x.s, &x.res);
        assert_true(x.res.threads >= 102);
        victim_calls(&x.v, 1, 100);
        detach_ok(&x.r, x.v.pid, 1);
    }
    assert_int_equal(x.c.words[0], 500);
    assert_int_equal(x.v.sh->eintr, 0);
    scene_close(&x);
}

#define SHORTS  7u
#define THREADS 4

/* Functions of "short", each with a counter of its own; links by their number. */
struct shorts {
    struct rig r;
    struct victim v;
    struct counter c[3 * SHORTS];
    struct tn_attach_spec s[3 * SHORTS]; /* entries, exits, second instructions */
    u8 code[256];
    u64 at;
};

static void read_shorts(const struct shorts *x, u8 *ret)
{
    assert_int_equal(tn_peek(x->v.pid, x->at, ret, sizeof(x->code)), 0);
}

static void shorts_open(struct shorts *x, const char *mode)
{
    struct tn_attach_result res;

    memset(x, 0, sizeof(*x));
    rig_open(&x->r);
    victim_start(&x->v, THREADS, 0, mode, NULL);
    for (u32 k = 0; k < 3 * SHORTS; k++) {
        char name[16];
        u64 offset;

        snprintf(name, sizeof(name), "short%u", k % SHORTS + 1);
        assert_int_equal(find_offset(x->v.path, name, &offset), 0);
        counter_make(&x->c[k], 1 + k, 0);
        spec_for(&x->s[k], &x->v, &x->c[k], 1 + k, 1 + k);
        x->s[k].exit = k / SHORTS == 1;
        x->s[k].place.offset =
            offset + (k >= 2 * SHORTS ? TN_MIN(k % SHORTS + 1, 4u) - (k % SHORTS >= 5) : 0);
    }
    attach_ok(&x->r, &x->s[0], &res);
    x->at = res.address;
    detach_ok(&x->r, x->v.pid, 1);
    read_shorts(x, x->code);
    assert_int_equal(x->code[0], 0x53);
}

static void shorts_close(struct shorts *x)
{
    u8 now[sizeof(x->code)];

    read_shorts(x, now);
    assert_memory_equal(now, x->code, sizeof(now));
    assert_int_equal(x->v.sh->wrong, 0);
    assert_true(victim_alive(&x->v));
    victim_stop(&x->v);
    for (u32 k = 0; k < 3 * SHORTS; k++)
        counter_drop(&x->c[k]);
    rig_close(&x->r);
}

/* How often one call of the functions comes to a place. */
static u64 times(u32 k)
{
    return k >= 2 * SHORTS && (k % SHORTS < 4 || k % SHORTS == 6) ? 7 : 1;
}

/* Each by itself: what it came to, and every run of it counted. */
static void short_by_short(const char *mode, bool crowded)
{
    struct shorts *x = calloc(1, sizeof(*x));
    u32 punned = 0, evicted = 0;

    assert_non_null(x);
    shorts_open(x, mode);
    for (u32 k = 0; k < 3 * SHORTS; k++) {
        struct tn_attach_result res;
        u8 now[sizeof(x->code)];

        /* What the target has taken for the first four may be in the way of others. */
        if (attach(&x->r, &x->s[k], &res) < 0 &&
            (!crowded || k < 4 || strcmp(res.why.reason, "no_room_punned") != 0))
            fail_msg("attach: %s: %s", res.why.reason, res.why.message);
        if (res.err < 0)
            continue;
        punned += !strncmp(res.tactic, "punned", 6);
        evicted += !strcmp(res.tactic, "evicted");
        if (k < 4 && !strcmp(res.tactic, "evicted") != crowded)
            fail_msg("short%u: %s", k + 1, res.tactic);
        victim_calls(&x->v, THREADS, 500);
        assert_int_equal(x->c[k].words[0], THREADS * 500u * times(k));
        detach_ok(&x->r, x->v.pid, 1 + k);
        read_shorts(x, now);
        assert_memory_equal(now, x->code, sizeof(now));
    }
    print_message("# %s: %u punned, %u evicted of %u\n", mode, punned, evicted, 3 * SHORTS);
    assert_true(crowded ? evicted >= 4 : punned >= 4);
    shorts_close(x);
    free(x);
}

static void test_punned(void **state)
{
    short_by_short("short", false);
}

static void test_evicted(void **state)
{
    short_by_short("crowded", true);
}

/*
 * All places of all functions, which lie so close together that many exclude one another, attached and detached in any
 * order while every thread runs through them. What is refused is refused by name; what stands counts every run.
 */
static void in_any_order(const char *mode, u32 seed)
{
    struct shorts *x = calloc(1, sizeof(*x));
    bool on[3 * SHORTS] = {0};
    u32 refused = 0, attached = 0, most = 0, odd = 0;

    assert_non_null(x);
    shorts_open(x, mode);
    for (u32 round = 0; round < 120; round++) {
        u32 k = (seed = seed * 1103515245 + 12345) >> 16, now = 0;
        struct tn_attach_result res;

        k %= 3 * SHORTS;
        x->v.sh->free_running = 1;
        if (on[k]) {
            detach_ok(&x->r, x->v.pid, 1 + k);
            on[k] = false;
        } else if (attach(&x->r, &x->s[k], &res) == 0) {
            on[k] = true;
            attached++;
        } else if (!strcmp(res.why.reason, "overlaps_patch") || !strcmp(res.why.reason, "no_room_punned")) {
            refused++;
        } else {
            fail_msg("attach: %s: %s", res.why.reason, res.why.message);
        }
        for (u32 i = 0; i < 3 * SHORTS; i++)
            now += on[i];
        most = TN_MAX(most, now);
        if (round % 10)
            continue;
        /* Nobody runs; then so many calls, each counted once. */
        x->v.sh->free_running = 0;
        usleep(20000);
        victim_calls(&x->v, THREADS, 1);
        for (u32 i = 0; i < 3 * SHORTS; i++)
            x->c[i].words[0] = 0;
        victim_calls(&x->v, THREADS, 50);
        for (u32 i = 0; i < 3 * SHORTS; i++)
            odd += x->c[i].words[0] != (on[i] ? THREADS * 50u * times(i) : 0);
    }
    print_message("# %s: %u attached, %u refused, %u at once at most\n", mode, attached, refused, most);
    assert_int_equal(odd, 0);
    assert_true(attached > 20 && most >= 4);
    for (u32 k = 0; k < 3 * SHORTS; k++)
        if (on[k])
            detach_ok(&x->r, x->v.pid, 1 + k);
    shorts_close(x);
    free(x);
}

static void test_any_order(void **state)
{
    in_any_order("short", 1);
    in_any_order("crowded", 2);
}

/* Everybody sleeps for good: one is borrowed, and its call restarts. */
static void test_all_asleep(void **state)
{
    struct scene x;

    scene_open(&x, 0, 20, "pause");
    attach_ok(&x.r, &x.s, &x.res);
    assert_true(x.res.interrupted <= 1);
    detach_ok(&x.r, x.v.pid, 1);
    usleep(20000);
    assert_int_equal(x.v.sh->eintr, 0);
    scene_close(&x);
}

/* A wait with a timeout cannot be restarted exactly: its end is waited for. */
static void test_waits_for_waking(void **state)
{
    struct scene x;

    scene_open(&x, 0, 0, "epoll");
    for (int i = 0; i < 3; i++) {
        attach_ok(&x.r, &x.s, &x.res);
        detach_ok(&x.r, x.v.pid, 1);
    }
    usleep(150000);
    assert_int_equal(x.v.sh->eintr, 0);
    scene_close(&x);
}

static void test_no_thread(void **state)
{
    struct scene x;
    u8 before[16], after[16];

    scene_open(&x, 0, 0, "epoll-long");
    usleep(20000);
    read_code(&x.v, before);
    x.s.wait_ms = 50;
    assert_true(attach(&x.r, &x.s, &x.res) < 0);
    assert_string_equal(x.res.why.reason, "no_thread_to_borrow");
    read_code(&x.v, after);
    assert_memory_equal(before, after, 16);
    usleep(20000);
    assert_int_equal(x.v.sh->eintr, 0);
    scene_close(&x);
}

/* Threads in full flight while the first instruction changes under them. */
static void test_running(void **state)
{
    struct scene x;
    unsigned long calls;

    scene_open(&x, 4, 10, "run");
    for (int i = 0; i < 50; i++) {
        attach_ok(&x.r, &x.s, &x.res);
        usleep(500);
        detach_ok(&x.r, x.v.pid, 1);
    }
    assert_true(x.c.words[0] > 0);
    /* An attachment that lies wholly around a run counts it exactly. */
    x.v.sh->free_running = 0;
    usleep(20000);
    attach_ok(&x.r, &x.s, &x.res);
    calls = x.v.sh->calls;
    x.c.words[0] = 0;
    x.v.sh->free_running = 1;
    usleep(50000);
    x.v.sh->free_running = 0;
    usleep(50000);
    assert_int_equal(x.c.words[0], x.v.sh->calls - calls);
    assert_int_equal(x.v.sh->eintr, 0);
    scene_close(&x);
}

static void churn(const char *mode, int rounds)
{
    struct scene x;

    scene_open(&x, 1, 2, mode);
    for (int i = 0; i < rounds; i++) {
        attach_ok(&x.r, &x.s, &x.res);
        detach_ok(&x.r, x.v.pid, 1);
    }
    unsigned long calls = x.v.sh->calls;

    usleep(50000);
    if (!strcmp(mode, "churn"))
        assert_true(x.v.sh->calls > calls);
    scene_close(&x);
}

static void test_thread_churn(void **state)
{
    churn("churn", 200);
}

static void test_forks(void **state)
{
    churn("fork", 50);
}

static void test_signals(void **state)
{
    struct scene x;
    unsigned long sent = 0;

    scene_open(&x, 2, 2, "run");
    for (int i = 0; i < 30; i++) {
        int fd;

        x.r.gates[1] = 0;
        assert_int_equal(tn_inject_attach(x.r.inj, &x.s, &fd, NULL), 0);
        for (int k = 0; k < 20; k++) {
            unsigned long before = __atomic_load_n(&x.v.sh->signals, __ATOMIC_SEQ_CST);

            kill(x.v.pid, SIGUSR1);
            sent++;
            for (int ms = 0; ms < 2000 && __atomic_load_n(&x.v.sh->signals, __ATOMIC_SEQ_CST) == before; ms++)
                usleep(50);
        }
        assert_int_equal(wait_job(&x.r, fd, &x.res), 0);
        detach_ok(&x.r, x.v.pid, 1);
    }
    assert_int_equal(x.v.sh->signals, sent);
    scene_close(&x);
}

/* A stopped process can be entered, and is stopped afterwards. */
static void test_stopped(void **state)
{
    struct scene x;
    struct tn_status st;

    scene_open(&x, 2, 1, "run");
    kill(x.v.pid, SIGSTOP);
    waitpid(x.v.pid, NULL, WUNTRACED);
    attach_ok(&x.r, &x.s, &x.res);
    usleep(20000);
    assert_int_equal(tn_status_read(x.v.pid, x.v.pid, &st), 0);
    assert_int_equal(st.state, 'T');
    unsigned long calls = x.v.sh->calls;

    usleep(20000);
    assert_int_equal(x.v.sh->calls, calls);
    kill(x.v.pid, SIGCONT);
    usleep(50000);
    assert_true(x.v.sh->calls > calls);
    assert_true(x.c.words[0] > 0);
    scene_close(&x);
}

/* Two programs at one place, detached in both orders; the bytes go with the last one. */
static void test_chain(void **state)
{
    for (int order = 0; order < 2; order++) {
        struct scene x;
        struct counter c2;
        struct tn_attach_spec s2;
        u8 before[16], during[16], after[16];

        scene_open(&x, 2, 0, "idle");
        counter_make(&c2, 2, 0);
        spec_for(&s2, &x.v, &c2, 2, 2);
        read_code(&x.v, before);
        attach_ok(&x.r, &x.s, &x.res);
        attach_ok(&x.r, &s2, &x.res);
        victim_calls(&x.v, 2, 100);
        assert_int_equal(x.c.words[0], 200);
        assert_int_equal(c2.words[0], 200);
        detach_ok(&x.r, x.v.pid, order ? 1 : 2);
        read_code(&x.v, during);
        assert_int_equal(during[0], 0xe9);
        victim_calls(&x.v, 2, 100);
        assert_int_equal(x.c.words[0], order ? 200 : 400);
        assert_int_equal(c2.words[0], order ? 400 : 200);
        detach_ok(&x.r, x.v.pid, order ? 2 : 1);
        read_code(&x.v, after);
        assert_memory_equal(before, after, 16);
        victim_calls(&x.v, 2, 100);
        counter_drop(&c2);
        scene_close(&x);
    }
}

static void test_exit(void **state)
{
    struct scene x;

    scene_open(&x, 2, 0, "idle");
    x.s.exit = true;
    attach_ok(&x.r, &x.s, &x.res);
    victim_calls(&x.v, 2, 500);
    assert_int_equal(x.c.words[0], 1000);
    detach_ok(&x.r, x.v.pid, 1);
    victim_calls(&x.v, 2, 500);
    assert_int_equal(x.c.words[0], 1000);
    scene_close(&x);
}

/* Programs that read the first argument at the exit: added to the first word of the map. */
static void reads_argument(struct tn_attach_spec *s, struct counter *c)
{
    c->facts.ctx_read[0] = 1;
    s->exit = s->typed = true;
    s->args = (struct tn_typed_args){.nwords = 2, .from = {0, TN_FROM_RESULT}};
}

/* The first of a place goes and others come: the place's bytes still lead into what is left of it, which therefore is
   not given out again as long as they do. */
static void test_first_goes(void **state)
{
    struct tn_attach_spec stays;
    struct counter c2;
    struct scene x;
    u8 before[16], after[16];
    u64 all = 0;

    scene_open(&x, 2, 2, "idle");
    counter_make(&c2, 2, 0);
    spec_for(&stays, &x.v, &c2, 2, 2);
    read_code(&x.v, before);
    for (u32 round = 0; round < 3; round++) {
        struct counter first, more;
        u64 comes = 0;

        counter_make(&first, 100 + round, 0);
        spec_for(&x.s, &x.v, &first, 100 + round, 1);
        attach_ok(&x.r, &x.s, &x.res);
        attach_ok(&x.r, &stays, &x.res);
        detach_ok(&x.r, x.v.pid, 1);
        for (u32 i = 0; i < 12; i++) {
            counter_make(&more, 200 + 20 * round + i, 0);
            spec_for(&x.s, &x.v, &more, 200 + 20 * round + i, 1);
            if (i & 1)
                reads_argument(&x.s, &more);
            attach_ok(&x.r, &x.s, &x.res);
            victim_calls(&x.v, 2, 50);
            comes += more.words[0];
            detach_ok(&x.r, x.v.pid, 1);
            victim_calls(&x.v, 2, 50);
            counter_drop(&more);
        }
        all += 12 * 2 * 100;
        assert_int_equal(first.words[0], 0);
        assert_int_equal(c2.words[0], all);
        assert_int_equal(comes, 12 * 100);
        detach_ok(&x.r, x.v.pid, 2);
        read_code(&x.v, after);
        assert_memory_equal(before, after, sizeof(before));
        victim_calls(&x.v, 2, 50);
        assert_int_equal(c2.words[0], all);
        counter_drop(&first);
    }
    counter_drop(&c2);
    scene_close(&x);
}

static void stay(struct scene *x, unsigned long turn)
{
    x->v.sh->turn = turn;
    for (int ms = 0; ms < 10000 && x->v.sh->returned != turn; ms++)
        usleep(1000);
    assert_int_equal(x->v.sh->returned, turn);
}

static void enter_stay(struct scene *x, unsigned long turn)
{
    x->v.sh->go = 0;
    x->v.sh->turn = turn;
    for (int ms = 0; ms < 10000 && !x->v.sh->inside; ms++)
        usleep(1000);
    assert_int_equal(x->v.sh->inside, 1);
}

/* What calls have left there does not outlive the links that kept it, though the program does. */
static void test_kept_arguments(void **state)
{
    static const u8 add_argument[] = {0x48, 0x8b, 0x0f,       /* mov (%rdi),%rcx */
                                      0xf0, 0x48, 0x01, 0x08, /* lock add %rcx,(%rax) */
                                      0x31, 0xc0, 0xc3};
    struct scene x;
    struct tn_attach_spec s2;

    scene_open(&x, 0, 0, "stay");
    assert_int_equal(find_offset(x.v.path, "stay", &x.s.place.offset), 0);
    counter_drop(&x.c);
    counter_of(&x.c, 1, 0, add_argument, sizeof(add_argument));
    x.s.prog.text = x.c.text;
    reads_argument(&x.s, &x.c);
    s2 = x.s;
    s2.link_index = 2;

    attach_ok(&x.r, &x.s, &x.res);
    x.v.sh->go = 1;
    stay(&x, 1000);
    assert_int_equal(x.c.words[0], 1000);
    for (u64 round = 1; round < 5; round++) {
        detach_ok(&x.r, x.v.pid, 1);
        enter_stay(&x, 50);
        attach_ok(&x.r, &x.s, &x.res);
        x.v.sh->go = 1;
        stay(&x, 50);
        assert_int_equal(x.c.words[0], 1000 + (round - 1) * 2007);
        assert_int_equal(x.r.stats[1].missed, round);
        stay(&x, 7);
        assert_int_equal(x.c.words[0], 1000 + (round - 1) * 2007 + 7);
        /* Two links of one program keep the same, and either may go. */
        attach_ok(&x.r, &s2, &x.res);
        stay(&x, 500);
        detach_ok(&x.r, x.v.pid, 1 + round % 2);
        stay(&x, 1000);
        assert_int_equal(x.c.words[0], 1000 + round * 2007);
        if (round % 2 == 0) {
            attach_ok(&x.r, &x.s, &x.res);
            detach_ok(&x.r, x.v.pid, 2);
        }
    }
    assert_int_equal(x.r.stats[2].missed, 0);
    /* One link is on its way out, its gate shut, while another comes: a call between them is not lost. */
    x.r.gates[1] = 0;
    enter_stay(&x, 3);
    attach_ok(&x.r, &s2, &x.res);
    detach_ok(&x.r, x.v.pid, 1);
    x.v.sh->go = 1;
    stay(&x, 3);
    assert_int_equal(x.c.words[0], 1000 + 4 * 2007 + 3);
    assert_int_equal(x.r.stats[2].missed, 0);
    detach_ok(&x.r, x.v.pid, 2);
    assert_int_equal(x.v.sh->wrong, 0);
    scene_close(&x);
}

struct size {
    u64 maps, fds, pages;
};

static struct size size_of(pid_t pid)
{
    struct size s = {count_maps(pid), count_fds(pid), 0};
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &s.pages), 1);
    fclose(file);
    return s;
}

/* The guardian of the only target that lives. */
static pid_t guardian(void)
{
    _free_ pid_t *children = NULL;
    pid_t found = 0;
    char comm[32];
    u32 n = 0;

    assert_int_equal(tn_proc_children(getpid(), &children, &n), 0);
    for (u32 i = 0; i < n; i++) {
        tn_proc_comm(children[i], comm);
        if (!strcmp(comm, "tenon-guardian") && tn_proc_lives(children[i], tn_proc_start_time(children[i]))) {
            assert_int_equal(found, 0);
            found = children[i];
        }
    }
    assert_int_not_equal(found, 0);
    return found;
}

/* Hands come before whoever else wants the processor, in other sessions too: the guardian's is theirs. */
static void test_first(void **state)
{
    char path[64], line[64] = "";
    struct scene x;
    FILE *file;

    if (access("/proc/self/autogroup", W_OK) || geteuid()) {
        print_message("# skipped: sessions do not share processors here, or it takes root\n");
        skip();
    }
    scene_open(&x, 1, 0, "idle");
    attach_ok(&x.r, &x.s, &x.res);
    snprintf(path, sizeof(path), "/proc/%d/autogroup", guardian());
    file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    assert_non_null(strstr(line, " nice -20\n"));
    detach_ok(&x.r, x.v.pid, 1);
    scene_close(&x);
}

/* Attach and detach for ever: memory, mappings and descriptors do not grow, in the target, in its guardian and here.
   $TENON_ROUNDS: how often. */
static void test_no_growth(void **state)
{
    const char *asked = getenv("TENON_ROUNDS");
    int rounds = asked && atoi(asked) > 100 ? atoi(asked) : 300;
    struct size first[3] = {}, last[3];
    struct scene x;
    pid_t gone;

    scene_open(&x, 2, 4, "idle");
    for (int i = 0; i < rounds; i++) {
        struct counter c;

        /* A new program and a new map each time, as tools make them. */
        counter_make(&c, 10 + (u32)i, 0);
        spec_for(&x.s, &x.v, &c, 10 + (u32)i, 1);
        if (i & 1)
            reads_argument(&x.s, &c);
        attach_ok(&x.r, &x.s, &x.res);
        if (i % 50 == 0) {
            victim_calls(&x.v, 2, 10);
            assert_int_equal(c.words[0], 20);
        }
        last[2] = size_of(guardian());
        detach_ok(&x.r, x.v.pid, 1);
        counter_drop(&c);
        (void)tn_inject_event(x.r.inj, &gone); /* as the broker does: takes the injectors that have ended */
        last[0] = size_of(getpid());
        last[1] = size_of(x.v.pid);
        if (i == 60)
            memcpy(first, last, sizeof(first));
    }
    for (int k = 0; k < 3; k++) {
        static const char *const who[] = {"this process", "the target", "the guardian"};

        print_message(
            "# %s: %lu mappings, %lu descriptors, %lu pages after 60 rounds; %lu, %lu, %lu after %d\n",
            who[k], first[k].maps, first[k].fds, first[k].pages, last[k].maps, last[k].fds, last[k].pages,
            rounds);
        assert_true(last[k].maps <= first[k].maps + 8 && last[k].fds <= first[k].fds + 4);
        assert_true(last[k].pages <= first[k].pages + 96);
    }
    scene_close(&x);
}

/* A vfork child runs in the same memory, and is not the process that was named. */
static void test_vfork(void **state)
{
    struct scene x;

    scene_open(&x, 1, 0, "vfork");
    attach_ok(&x.r, &x.s, &x.res);
    usleep(700000); /* at least one whole vfork inside */
    x.c.words[0] = 0;
    victim_calls(&x.v, 1, 1);
    usleep(700000);
    assert_true(x.c.words[0] <= 1);
    detach_ok(&x.r, x.v.pid, 1);
    scene_close(&x);
}

/* Another process runs in the same memory, by clone(CLONE_VM), in the very function: as threads do, it meets no breakpoint of
   ours, and what is let go of is not under its feet. */
static void test_shared_memory(void **state)
{
    struct scene x;

    scene_open(&x, 1, 0, "share");
    for (int i = 0; i < 20; i++) {
        attach_ok(&x.r, &x.s, &x.res);
        x.c.words[0] = 0;
        victim_calls(&x.v, 1, 1);
        usleep(5000);
        assert_true(x.c.words[0] > 0);
        detach_ok(&x.r, x.v.pid, 1);
        assert_true(victim_alive(&x.v));
        assert_int_equal(x.v.sh->wrong, 0);
    }
    scene_close(&x);
}

/* vfork itself is hooked, and the call in it is to be counted for all links: in its first six bytes. */
static void test_vfork_entry(void **state)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct scene x;
    u8 before[16], after[16];

    scene_open(&x, 1, 0, "vfork");
    assert_int_equal(tn_maps_read(x.v.pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (strstr(tn_vma_name(&maps, &maps.vma[i]), "/libc.so.6")) {
            snprintf(x.s.path, sizeof(x.s.path), "%s", tn_vma_name(&maps, &maps.vma[i]));
            x.s.dev = maps.vma[i].dev;
            x.s.ino = maps.vma[i].ino;
        }
    if (x.s.ino == x.v.ino || find_offset(x.s.path, "vfork", &x.s.place.offset) < 0) {
        scene_close(&x);
        skip();
    }
    attach_ok(&x.r, &x.s, &x.res);
    usleep(1500000);
    assert_true(victim_alive(&x.v));
    assert_true(x.c.words[0] > 0);
    assert_int_equal(tn_peek(x.v.pid, x.res.address, before, sizeof(before)), 0);
    detach_ok(&x.r, x.v.pid, 1);
    assert_int_equal(tn_peek(x.v.pid, x.res.address, after, sizeof(after)), 0);
    assert_memory_not_equal(before, after, 6);
    scene_close(&x);
}

static void test_two_at_once(void **state)
{
    struct scene x;
    struct counter c2;
    struct tn_attach_spec s2;
    struct tn_attach_result r1, r2;
    int a, b;

    scene_open(&x, 2, 0, "idle");
    counter_make(&c2, 2, 0);
    spec_for(&s2, &x.v, &c2, 2, 2);
    assert_int_equal(tn_inject_attach(x.r.inj, &x.s, &a, NULL), 0);
    assert_int_equal(tn_inject_attach(x.r.inj, &s2, &b, NULL), 0);
    assert_int_equal(wait_job(&x.r, b, &r2), 0);
    assert_int_equal(wait_job(&x.r, a, &r1), 0);
    x.r.gates[1] = x.r.gates[2] = 1;
    victim_calls(&x.v, 2, 100);
    assert_int_equal(x.c.words[0], 200);
    assert_int_equal(c2.words[0], 200);
    counter_drop(&c2);
    scene_close(&x);
}

/* How many signals the target has taken between two steps of the injector, and how many it has not. */
static struct {
    const struct victim *v;
    volatile int *taken, *late;
} between;

static void signal_between(const char *name)
{
    unsigned long had = between.v->sh->signals;

    kill(between.v->pid, SIGUSR1);
    for (int ms = 0; ms < 500 && between.v->sh->signals == had; ms++)
        usleep(1000);
    ++*(between.v->sh->signals == had ? between.late : between.taken);
}

/* While the injector thinks, nobody is held but the thread that is lent to us: signals are taken at once. */
static void test_signals_between(void **state)
{
    volatile int *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct scene x;

    assert_true(counts != MAP_FAILED);
    scene_open(&x, 2, 0, "idle");
    between.v = &x.v;
    between.taken = counts;
    between.late = counts + 1;
    tn_inject_step = signal_between;
    attach_ok(&x.r, &x.s, &x.res);
    tn_inject_step = NULL;
    assert_true(counts[0] > 3);
    assert_int_equal(counts[1], 0);
    detach_ok(&x.r, x.v.pid, 1);
    scene_close(&x);
    munmap((void *)counts, 4096);
}

/* Code that may not be run for a while, as where a program changes its own, gets its bytes back all the same. */
static void test_not_executable(void **state)
{
    u8 before[16], after[16];
    struct scene x;

    scene_open(&x, 0, 0, "hide");
    read_code(&x.v, before);
    attach_ok(&x.r, &x.s, &x.res);
    x.v.sh->turn = 1;
    while (!x.v.sh->inside && victim_alive(&x.v))
        usleep(1000);
    detach_ok(&x.r, x.v.pid, 1);
    x.v.sh->go = 1;
    while (x.v.sh->returned != 1 && victim_alive(&x.v))
        usleep(1000);
    read_code(&x.v, after);
    assert_memory_equal(before, after, sizeof(before));
    attach_ok(&x.r, &x.s, &x.res);
    scene_close(&x);
}

static void *sleeper(void *arg)
{
    for (;;)
        pause();
    return arg;
}

/* Who calls execve waits for the death of his other threads, and whoever traces one must take note of it; also when he is about
   to seize the caller, which has to wait for the exec. */
static void test_exec_under_way(void **state)
{
    pid_t pid, hands;
    int go[2], status;

    assert_int_equal(pipe(go), 0);
    pid = fork();
    if (pid == 0) {
        pthread_t other;
        char byte;

        if (pthread_create(&other, NULL, sleeper, NULL) == 0 && read(go[0], &byte, 1) == 1)
            execl("/bin/true", "true", (char *)NULL);
        _exit(9);
    }
    hands = fork();
    if (hands == 0) {
        struct tn_tracee t = {.mem = -1, .hup = {-1, -1}};
        _free_ pid_t *tids = NULL;
        struct tn_status st = {};
        u32 n = 0;

        alarm(20);
        while (tn_proc_tids(pid, &tids, &n) == 0 && n < 2)
            free(tids), tids = NULL;
        if (n != 2 || tn_tracee_open(&t, pid, NULL) < 0 || tn_tracee_seize(&t, tids[1], NULL) < 0 ||
            write(go[1], "", 1) != 1)
            _exit(1);
        while (tn_status_read(pid, tids[1], &st) == 0 && st.state != 'Z')
            usleep(1000);
        if (st.state != 'Z')
            _exit(2);
        tn_tracee_seize(&t, pid, NULL); /* before the new program has ended or not */
        if (tn_tracee_find(&t, tids[1])->state != TN_TH_GONE)
            _exit(3);
        while (tn_tracee_alive(&t))
            tn_tracee_wait(&t, 10000000ull);
        _exit(0);
    }
    assert_int_equal(waitpid(hands, &status, 0), hands);
    if (status)
        kill(pid, SIGKILL);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(go[0]);
    close(go[1]);
}

/* A pattern says which. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),         cmocka_unit_test(test_sleepers),
        cmocka_unit_test(test_all_asleep),     cmocka_unit_test(test_waits_for_waking),
        cmocka_unit_test(test_no_thread),      cmocka_unit_test(test_running),
        cmocka_unit_test(test_thread_churn),   cmocka_unit_test(test_forks),
        cmocka_unit_test(test_signals),        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_chain),          cmocka_unit_test(test_exit),
        cmocka_unit_test(test_first_goes),     cmocka_unit_test(test_kept_arguments),
        cmocka_unit_test(test_first),          cmocka_unit_test(test_no_growth),
        cmocka_unit_test(test_punned),         cmocka_unit_test(test_evicted),
        cmocka_unit_test(test_any_order),      cmocka_unit_test(test_vfork),
        cmocka_unit_test(test_shared_memory),  cmocka_unit_test(test_vfork_entry),
        cmocka_unit_test(test_two_at_once),    cmocka_unit_test(test_exec_under_way),
        cmocka_unit_test(test_not_executable), cmocka_unit_test(test_signals_between),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("inject/live", tests, NULL, NULL);
}
