/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand hooks in one process: as one link of as many places, and as single links; held how long, taken out
 * again to the last byte, planned once. The functions are those of many.S, and the target's own work tells whether
 * any of them went wrong.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define PLACES 10000u
#define SIZE   32u
#define CODE   (12000u * SIZE)

struct scene {
    struct rig r;
    struct victim v;
    struct counter c;
    struct tn_attach_spec s;
    struct tn_attach_result res;
    u64 first; /* offset of the first function */
    struct tn_attach_place others[PLACES];
    u8 *code; /* as the file has it */
};

static void scene_open(struct scene *x, int threads, int sleepers, const char *mode)
{
    _close_ int fd = -1;

    rig_open(&x->r);
    counter_make(&x->c, 1, 0);
    victim_start(&x->v, threads, sleepers, mode, NULL);
    spec_for(&x->s, &x->v, &x->c, 1, 1);
    assert_int_equal(find_offset(x->v.path, "many_0", &x->first), 0);
    x->code = malloc(CODE);
    fd = open(x->v.path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, x->code, CODE, (off_t)x->first), CODE);
}

static void scene_close(struct scene *x)
{
    assert_int_equal(x->v.sh->wrong, 0);
    assert_true(victim_alive(&x->v));
    victim_stop(&x->v);
    counter_drop(&x->c);
    rig_close(&x->r);
    free(x->code);
}

/* The first `n` functions in one link. */
static void ask_for(struct scene *x, u32 n)
{
    x->s.place.offset = x->first;
    for (u32 i = 1; i < n; i++)
        x->others[i - 1] = (struct tn_attach_place){.offset = x->first + i * SIZE};
    x->s.others = x->others;
    x->s.nothers = n - 1;
}

static void must(int r, const struct tn_attach_result *res)
{
    if (r < 0)
        fail_msg("%s: %s", res->why.reason, res->why.message);
}

/* How many bytes of the functions are not the file's. */
static u32 changed(const struct scene *x)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    _free_ u8 *now = malloc(CODE);
    u32 n = 0;

    assert_int_equal(tn_maps_read(x->v.pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (maps.vma[i].ino == x->v.ino && x->first >= maps.vma[i].offset &&
            x->first + CODE <= maps.vma[i].offset + (maps.vma[i].end - maps.vma[i].start))
            assert_int_equal(tn_peek(x->v.pid, maps.vma[i].start + x->first - maps.vma[i].offset, now, CODE),
                             0);
    for (u32 i = 0; i < CODE; i++)
        n += now[i] != x->code[i];
    return n;
}

static double ms(u64 ns)
{
    return (double)ns / 1e6;
}

/* All at once, while two threads call them for ever: each call is counted, none goes wrong, nobody is held for long; out
   again, the file's bytes are back, and what it took is there for the next link. The second time nothing is planned. */
static void test_one_link(void **state)
{
    static struct scene x;
    u64 first = 0, maps = 0;

    scene_open(&x, 2, 10, "many-run");
    ask_for(&x, PLACES);
    for (int round = 0; round < 5; round++) {
        must(attach(&x.r, &x.s, &x.res), &x.res);
        print_message("# %u places: attached in %.1f ms, longest hold %.2f ms\n", x.res.places,
                      ms(x.res.total_ns), ms(x.res.hold_ns_max));
        assert_int_equal(x.res.places, PLACES);
        assert_true(changed(&x) >= PLACES * 4);
        usleep(50000);
        must(detach(&x.r, x.v.pid, 1, &x.res), &x.res);
        print_message("# detached in %.1f ms, longest hold %.2f ms\n", ms(x.res.total_ns),
                      ms(x.res.hold_ns_max));
        assert_int_equal(changed(&x), 0);
        assert_true(x.c.words[0] > first);
        first = x.c.words[0];
        if (round == 2)
            maps = count_maps(x.v.pid);
    }
    print_message("# %lu mappings after three rounds, %lu after five\n", maps, count_maps(x.v.pid));
    assert_int_equal(count_maps(x.v.pid), maps);
    usleep(20000);
    assert_int_equal(x.c.words[0], first);
    scene_close(&x);
}

/* Exactly so many calls as were made. */
static void test_counts(void **state)
{
    static struct scene x;

    scene_open(&x, 2, 0, "many");
    ask_for(&x, PLACES);
    must(attach(&x.r, &x.s, &x.res), &x.res);
    victim_calls(&x.v, 2, 5);
    assert_int_equal(x.c.words[0], 2ull * 5 * PLACES);
    must(detach(&x.r, x.v.pid, 1, &x.res), &x.res);
    victim_calls(&x.v, 2, 5);
    assert_int_equal(x.c.words[0], 2ull * 5 * PLACES);
    scene_close(&x);
}

/* A place twice is called for twice, as by Linux. */
static void test_twice(void **state)
{
    static struct scene x;

    scene_open(&x, 1, 0, "many");
    ask_for(&x, 4);
    x.others[2].offset = x.first + SIZE;
    x.others[1].offset = x.first + SIZE;
    must(attach(&x.r, &x.s, &x.res), &x.res);
    victim_calls(&x.v, 1, 7);
    assert_int_equal(x.c.words[0], 4 * 7);
    must(detach(&x.r, x.v.pid, 1, &x.res), &x.res);
    assert_int_equal(changed(&x), 0);
    scene_close(&x);
}

/* One of them cannot be: none is. */
static void test_all_or_nothing(void **state)
{
    static struct scene x;

    scene_open(&x, 1, 0, "many");
    ask_for(&x, 1000);
    x.others[998].offset = x.first + SIZE + 2; /* inside an endbr64 */
    assert_true(attach(&x.r, &x.s, &x.res) < 0);
    assert_string_equal(x.res.why.reason, "not_an_instruction_start");
    assert_non_null(strstr(x.res.why.message, "place 1000 of 1000 (many_1"));
    assert_int_equal(changed(&x), 0);

    victim_calls(&x.v, 1, 3);
    assert_int_equal(x.c.words[0], 0);
    scene_close(&x);
}

/* Two places that want the same bytes, in one link: none is hooked; or where those will do that can be had, the first. */
static void test_too_close(void **state)
{
    static struct scene x;
    u32 left[2], calls[2];

    scene_open(&x, 1, 0, "many");
    ask_for(&x, 12);
    x.others[10].offset =
        x.first + 6 * SIZE + 1; /* the second instruction of the seventh, whose entry is asked for, too */
    for (u32 some = 0; some < 2; some++) {
        x.s.some = some;
        must(some ? attach(&x.r, &x.s, &x.res) : 0, &x.res);
        if (!some) {
            assert_true(attach(&x.r, &x.s, &x.res) < 0);
            assert_string_equal(x.res.why.reason, "overlaps_patch");
            assert_int_equal(changed(&x), 0);
        }
        victim_calls(&x.v, 1, 1);
        left[some] = x.res.left;
        calls[some] = (u32)x.c.words[0];
    }
    assert_int_equal(calls[0], 0);
    assert_int_equal(left[1], 1);
    assert_int_equal(calls[1], 11);
    assert_non_null(strstr(x.res.left_why, ": 1 overlaps_patch"));
    must(detach(&x.r, x.v.pid, 1, &x.res), &x.res);
    assert_int_equal(changed(&x), 0);
    scene_close(&x);
}

/* A killed injector, between two of many orders: what it had done is undone. */
static u32 kill_at;
static void kill_there(const char *step)
{
    if (!strcmp(step, "install") && kill_at)
        kill(getpid(), SIGKILL);
}

static void test_killed(void **state)
{
    static struct scene x;
    int fd;

    scene_open(&x, 2, 4, "many-run");
    ask_for(&x, PLACES);
    kill_at = 1;
    tn_inject_step = kill_there;
    assert_true(attach(&x.r, &x.s, &x.res) < 0);
    tn_inject_step = NULL;
    kill_at = 0;
    assert_int_equal(changed(&x), 0);

    /* … in the middle of them, at whatever time it is. */
    for (u32 us = 2000; us <= 60000; us += 7000) {
        struct tn_attach_spec s = x.s;
        pid_t pid = 0;
        char line[64];
        FILE *f;

        s.link_index = 2;
        assert_int_equal(tn_inject_attach(x.r.inj, &s, &fd, &x.res.why), 0);
        usleep(us);
        f = popen("pgrep -P $PPID tenon-inject", "r");
        if (fgets(line, sizeof(line), f))
            pid = atoi(line);
        pclose(f);
        if (pid > 0)
            kill(pid, SIGKILL);
        if (wait_job(&x.r, fd, &x.res) == 0)
            must(detach(&x.r, x.v.pid, 2, &x.res), &x.res);
        for (int i = 0; i < 1000 && changed(&x); i++)
            usleep(1000);
        assert_int_equal(changed(&x), 0);
    }
    must(attach(&x.r, &x.s, &x.res), &x.res);
    must(detach(&x.r, x.v.pid, 1, &x.res), &x.res);
    assert_int_equal(changed(&x), 0);
    scene_close(&x);
}

/* As many links as one place each: the last costs what the first does. */
static void test_single_links(void **state)
{
    static struct scene x;
    const char *all = getenv("TENON_ROUNDS");
    u32 n = all ? TN_MIN((u32)atoi(all), PLACES) : 300;
    u64 start, took[2] = {0};

    scene_open(&x, 1, 2, "many");
    x.s.nothers = 0;
    for (u32 i = 0; i < n; i++) {
        x.s.place.offset = x.first + i * SIZE;
        x.s.link_index = i + 1;
        start = tn_monotonic();
        must(attach(&x.r, &x.s, &x.res), &x.res);
        if (i < 100 || i >= n - 100)
            took[i >= n - 100] += tn_monotonic() - start;
    }
    print_message("# %u single links: the first hundred in %.1f ms, the last in %.1f ms\n", n, ms(took[0]),
                  ms(took[1]));
    assert_true(took[1] < 6 * took[0]);
    victim_calls(&x.v, 1, 3);
    assert_int_equal(x.c.words[0], 3ull * n);
    took[0] = took[1] = 0;
    for (u32 i = 0; i < n; i++) {
        start = tn_monotonic();
        must(detach(&x.r, x.v.pid, i + 1, &x.res), &x.res);
        if (i < 100 || i >= n - 100)
            took[i >= n - 100] += tn_monotonic() - start;
    }
    print_message("# out again: the first hundred in %.1f ms, the last in %.1f ms\n", ms(took[0]),
                  ms(took[1]));
    assert_int_equal(changed(&x), 0);
    scene_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_link),     cmocka_unit_test(test_counts),
        cmocka_unit_test(test_twice),        cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_too_close),    cmocka_unit_test(test_killed),
        cmocka_unit_test(test_single_links),
    };

    return cmocka_run_group_tests_name("inject/many", tests, NULL, NULL);
}
