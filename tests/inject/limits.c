/* SPDX-License-Identifier: MIT */
/*
 * What was once out of bounds, or never tried: filters that allow some calls, programs with as many maps as
 * one may have, a thread's id instead of its process's, a 32-bit program, another user's process, hands that
 * are killed in the middle, and hundreds of rounds.
 */
#include "rig.h"

#include "rt/filter.h"
#include "rt/syscalls.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LD_NR(off)   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (off))
#define JEQ(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (t), (f))
#define RET(k)       BPF_STMT(BPF_RET | BPF_K, (k))
static struct tn_filter_room room;
#define ALLOWS(f, nr) tn_filter_allows(&room, (f), (u32)TN_ARRAY_SIZE(f), (nr))

static void test_filter(void **state)
{
    const struct sock_filter list[] = {LD_NR(4),
                                       JEQ(0xc000003e, 1, 0),
                                       RET(0),
                                       LD_NR(0),
                                       JEQ(202, 1, 0),
                                       RET(SECCOMP_RET_KILL_PROCESS),
                                       RET(SECCOMP_RET_ALLOW)};
    /* The answer hangs on an argument, for 157; does not for 39, whichever way is taken. */
    const struct sock_filter args[] = {LD_NR(0),      JEQ(157, 0, 3),         LD_NR(16),
                                       JEQ(16, 1, 0), RET(SECCOMP_RET_ERRNO), LD_NR(24),
                                       JEQ(7, 0, 1),  RET(SECCOMP_RET_ALLOW), RET(SECCOMP_RET_ALLOW)};
    const struct sock_filter arith[] = {LD_NR(0),
                                        BPF_STMT(BPF_MISC | BPF_TAX, 0),
                                        BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
                                        BPF_STMT(BPF_ST, 3),
                                        BPF_STMT(BPF_LD | BPF_IMM, 0),
                                        BPF_STMT(BPF_LD | BPF_MEM, 3),
                                        JEQ(78, 0, 1),
                                        RET(SECCOMP_RET_ALLOW),
                                        BPF_STMT(BPF_RET | BPF_A, 0)};
    const struct sock_filter out[] = {LD_NR(0), JEQ(39, 200, 200)};
    const struct sock_filter logs[] = {RET(SECCOMP_RET_LOG)};

    assert_true(ALLOWS(list, 202));
    assert_false(ALLOWS(list, 186));
    assert_false(ALLOWS(args, 157));
    assert_true(ALLOWS(args, 39));
    assert_true(ALLOWS(arith, 39));
    assert_false(ALLOWS(arith, 40));
    assert_false(ALLOWS(out, 39));
    assert_false(ALLOWS(logs, 39));
    assert_false(tn_filter_allows(&room, NULL, 0, 39));
}

/* As many ways as there can be: the budget ends it. */
static void test_filter_budget(void **state)
{
    struct sock_filter f[4096];

    for (u32 i = 0; i < 4094; i += 2) {
        f[i] = (struct sock_filter)LD_NR(16);
        f[i + 1] = (struct sock_filter)JEQ(i, 0, 1);
    }
    f[4094] = f[4095] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
    assert_false(ALLOWS(f, 39));
}

/* The agent's view of its process, as another broker would find it. */
static struct tn_proc read_proc(pid_t pid)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct tn_proc p = {};

    assert_int_equal(tn_maps_read(pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (strstr(tn_vma_name(&maps, &maps.vma[i]), TN_PROC_NAME))
            assert_int_equal(tn_peek(pid, maps.vma[i].start, &p, sizeof(p)), 0);
    assert_int_equal(p.magic, TN_PROC_MAGIC);
    return p;
}

static void test_picky(void **state)
{
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct counter c;
    struct victim v;
    struct rig r;
    u32 all = (u32)((1ull << TN_SYS_COUNT) - 1);

    if (geteuid()) {
        print_message("# skipped: reading a seccomp filter needs root\n");
        skip();
    }
    counter_make(&c, 1, 0);
    rig_open(&r);
    victim_start(&v, 2, 2, "picky", NULL);
    spec_for(&s, &v, &c, 1, 1);
    if (attach(&r, &s, &res) < 0)
        fail_msg("%s: %s", res.why.reason, res.why.message);
    assert_int_equal(read_proc(v.pid).allowed_syscalls, all & ~(1u << TN_SYS_gettid) & ~(1u << TN_SYS_prctl));
    victim_calls(&v, 2, 20);
    assert_int_equal(c.words[0], 40);
    assert_int_equal(detach(&r, v.pid, 1, &res), 0);
    assert_true(victim_alive(&v));
    victim_stop(&v);
    rig_close(&r);
    counter_drop(&c);
}

/* The most maps a program may have, in a process with a few free descriptors too. */
static void test_many_maps(void **state)
{
    struct tn_install_map maps[64];
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct counter c;
    struct victim v;
    struct rig r;

    for (int few = 0; few < 2; few++) {
        counter_make(&c, 1, 0);
        rig_open(&r);
        victim_start(&v, 2, 2, few ? "nofile" : "idle", few ? "3" : NULL);
        spec_for(&s, &v, &c, 1, 1);
        u64 fds = count_fds(v.pid);

        maps[0] = c.im;
        for (u32 i = 1; i < TN_ARRAY_SIZE(maps); i++) {
            maps[i] = (struct tn_install_map){
                .id = 1 + i, .fd = memfd_create("many", MFD_CLOEXEC), .geo = c.im.geo};
            assert_int_equal(ftruncate(maps[i].fd, TN_PAGE), 0);
        }
        s.prog.maps = maps;
        s.prog.nmaps = TN_ARRAY_SIZE(maps);
        if (attach(&r, &s, &res) < 0)
            fail_msg("%s: %s", res.why.reason, res.why.message);
        victim_calls(&v, 2, 20);
        assert_int_equal(c.words[0], 40);
        assert_int_equal(count_fds(v.pid), fds);
        assert_int_equal(detach(&r, v.pid, 1, &res), 0);
        assert_int_equal(v.sh->wrong, 0);
        assert_int_equal(v.sh->eintr, 0);
        for (u32 i = 1; i < TN_ARRAY_SIZE(maps); i++)
            close(maps[i].fd);
        victim_stop(&v);
        rig_close(&r);
        counter_drop(&c);
    }
}

static void test_thread_id(void **state)
{
    struct tn_attach_result res;
    struct tn_attach_spec s;
    _free_ pid_t *tids = NULL;
    struct counter c;
    struct victim v;
    struct rig r;
    u32 n;

    counter_make(&c, 1, 0);
    rig_open(&r);
    victim_start(&v, 2, 2, "idle", NULL);
    spec_for(&s, &v, &c, 1, 1);
    assert_int_equal(tn_proc_tids(v.pid, &tids, &n), 0);
    for (u32 i = 0; i < n; i++)
        if (tids[i] != v.pid)
            s.pid = tids[i];
    assert_true(attach(&r, &s, &res) < 0);
    assert_string_equal(res.why.reason, "no_such_process");
    assert_true(victim_alive(&v));
    victim_stop(&v);
    rig_close(&r);
    counter_drop(&c);
}

/* A static 32-bit program by hand: pause(2) for ever. */
static void test_32_bit(void **state)
{
    struct {
        Elf32_Ehdr eh;
        Elf32_Phdr ph;
        u8 code[16];
    } __attribute__((packed)) file = {
        .eh = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
               .e_type = ET_EXEC,
               .e_machine = EM_386,
               .e_version = EV_CURRENT,
               .e_entry = 0x10000 + sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
               .e_phoff = sizeof(Elf32_Ehdr),
               .e_ehsize = sizeof(Elf32_Ehdr),
               .e_phentsize = sizeof(Elf32_Phdr),
               .e_phnum = 1},
        .ph = {.p_type = PT_LOAD, .p_vaddr = 0x10000, .p_flags = PF_R | PF_X, .p_align = 0x1000},
        .code = {0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7}, /* mov $pause,%eax; int $0x80; again */
    };
    char path[] = "/tmp/tenon-test-32-XXXXXX";
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct victim v = {};
    struct counter c;
    struct rig r;
    int fd = mkstemp(path), status = 0;

    file.ph.p_filesz = file.ph.p_memsz = sizeof(file);
    assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
    fchmod(fd, 0700);
    close(fd);
    v.pid = fork();
    if (v.pid == 0) {
        execl(path, path, NULL);
        _exit(127);
    }
    usleep(50000);
    unlink(path);
    if (waitpid(v.pid, &status, WNOHANG) == v.pid) {
        print_message("# skipped: this kernel does not run 32-bit programs\n");
        skip();
    }
    counter_make(&c, 1, 0);
    rig_open(&r);
    snprintf(v.path, sizeof(v.path), "%s", path);
    spec_for(&s, &v, &c, 1, 1);
    assert_true(attach(&r, &s, &res) < 0);
    assert_string_equal(res.why.reason, "not_64_bit");
    assert_true(victim_alive(&v));
    kill(v.pid, SIGKILL);
    waitpid(v.pid, NULL, 0);
    rig_close(&r);
    counter_drop(&c);
}

/* A broker of somebody else's: refused by name, and the process untouched.
   In a child, which gives its rights away. */
static void test_another_user(void **state)
{
    struct victim v;
    u8 before[16], now[16];
    int status;
    pid_t pid;

    if (geteuid()) {
        print_message("# skipped: becoming another user needs root\n");
        skip();
    }
    victim_start(&v, 1, 1, "idle", NULL);
    read_code(&v, before);
    pid = fork();
    if (pid == 0) {
        struct tn_attach_result res;
        struct tn_attach_spec s;
        struct counter c;
        struct rig r;

        counter_make(&c, 1, 0);
        if (setgid(65534) || setuid(65534))
            _exit(2);
        rig_open(&r);
        spec_for(&s, &v, &c, 1, 1);
        if (attach(&r, &s, &res) == 0)
            _exit(3);
        _exit(strcmp(res.why.reason, "not_permitted") ? 4 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    read_code(&v, now);
    assert_memory_equal(now, before, 16);
    assert_true(victim_alive(&v));
    victim_stop(&v);
}

/* Fork children inherit the patch: their calls count for a link that follows them,
   and only for such a one. */
static void test_fork_children(void **state)
{
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct counter c;
    struct victim v;
    struct rig r;

    for (int follow = 0; follow < 2; follow++) {
        counter_make(&c, 1, 0);
        rig_open(&r);
        victim_start(&v, 1, 1, "fork", NULL);
        spec_for(&s, &v, &c, 1, 1);
        s.follow = follow;
        if (attach(&r, &s, &res) < 0)
            fail_msg("%s: %s", res.why.reason, res.why.message);
        usleep(20000); /* children born before are gone */
        u64 counted = c.words[0], made = v.sh->calls;

        for (int ms = 0; ms < 5000 && v.sh->calls - made < 20; ms++)
            usleep(1000);
        made = v.sh->calls - made;
        counted = c.words[0] - counted;
        assert_true(made >= 20);
        /* A child or two may have come between the two looks, at either end. */
        if (follow)
            assert_in_range(counted, made - 2, made + 2);
        else
            assert_int_equal(counted, 0);
        assert_int_equal(detach(&r, v.pid, 1, &res), 0);
        assert_int_equal(v.sh->wrong, 0);
        victim_stop(&v);
        rig_close(&r);
        counter_drop(&c);
    }
}

/* TN_TEST_ROUNDS: how many rounds; by default enough to see growth, few enough for every day. */
static void test_rounds(void **state)
{
    int rounds = getenv("TN_TEST_ROUNDS") ? atoi(getenv("TN_TEST_ROUNDS")) : 200;
    struct tn_attach_result res;
    struct tn_attach_spec s;
    struct counter c;
    struct victim v;
    struct rig r;
    u64 maps = 0, fds = 0, own = 0;

    counter_make(&c, 1, 0);
    rig_open(&r);
    victim_start(&v, 2, 3, "idle", NULL);
    spec_for(&s, &v, &c, 1, 1);
    for (int i = 0; i < rounds; i++) {
        if (attach(&r, &s, &res) < 0)
            fail_msg("round %d: %s: %s", i, res.why.reason, res.why.message);
        if (detach(&r, v.pid, 1, &res) < 0)
            fail_msg("round %d: %s: %s", i, res.why.reason, res.why.message);
        if (i == 5) {
            maps = count_maps(v.pid);
            fds = count_fds(v.pid);
            own = count_fds(getpid());
        }
        pid_t gone;

        while (tn_inject_event(r.inj, &gone) == 0)
            ;
    }
    assert_int_equal(count_maps(v.pid), maps);
    assert_int_equal(count_fds(v.pid), fds);
    assert_in_range(count_fds(getpid()), own - 2, own + 2); /* an injector may be on its way out */
    assert_int_equal(v.sh->wrong, 0);
    assert_int_equal(v.sh->eintr, 0);
    assert_true(victim_alive(&v));
    victim_stop(&v);
    rig_close(&r);
    counter_drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter),       cmocka_unit_test(test_filter_budget),
        cmocka_unit_test(test_picky),        cmocka_unit_test(test_many_maps),
        cmocka_unit_test(test_thread_id),    cmocka_unit_test(test_32_bit),
        cmocka_unit_test(test_another_user), cmocka_unit_test(test_fork_children),
        cmocka_unit_test(test_rounds),
    };

    return cmocka_run_group_tests_name("inject/limits", tests, NULL, NULL);
}
