/* SPDX-License-Identifier: MIT */
/*
 * Loads while memory runs out: BTF_LOAD, MAP_CREATE, MAP_FREEZE, PROG_LOAD (verified and compiled, and
 * judged only) and OBJ_GET_INFO_BY_FD, inside this process (inside.h), each with every allocation failing
 * once: malloc and its kin, and what asks the system for memory or a descriptor (SYSTEM below). The answer is
 * −ENOMEM, no descriptor comes with it, and once the tool has ended nothing is left of it: no object, no
 * descriptor, no block. The same call without a shortage succeeds right after.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <bpf/btf.h>

#include "tests/broker/inside.h"
#include "tests/shortage.h"
#include "tests/verify/asm.h"

/* What else fails when there is not enough: SYSTEM(its result, function, parameters, arguments). */
#define SYSTEM(type, name, params, args)                                                                     \
    type __real_##name params;                                                                               \
    type __wrap_##name params;                                                                               \
    type __wrap_##name params                                                                                \
    {                                                                                                        \
        if (!shortage_now())                                                                                 \
            return __real_##name args;                                                                       \
        return (type)-1;                                                                                     \
    }
// clang-format off
SYSTEM(int, memfd_create, (const char *name, unsigned flags), (name, flags))
SYSTEM(int, socketpair, (int domain, int type, int protocol, int pair[2]), (domain, type, protocol, pair))
SYSTEM(void *, mmap, (void *at, size_t len, int prot, int flags, int fd, off_t from), (at, len, prot, flags, fd, from))
SYSTEM(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
// clang-format on
int __real_posix_fallocate(int fd, off_t from, off_t len);
int __wrap_posix_fallocate(int fd, off_t from, off_t len);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t at);
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

int __wrap_posix_fallocate(int fd, off_t from, off_t len)
{
    return shortage_now() ? ENOMEM : __real_posix_fallocate(fd, from, len);
}

int __wrap_open(const char *path, int flags, ...) /* what is created here is nobody else's */
{
    return shortage_now() ? -1 : __real_open(path, flags, 0600);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return shortage_now() ? -1 : __real_pwrite(fd, bytes, size, at);
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return op == EPOLL_CTL_ADD && shortage_now() ? -1 : __real_epoll_ctl(epfd, op, fd, event);
}

/* ----------------------------------------------------------------------------------------------- one call */

enum { BTF_FD = 100, ARRAY, HASH, RINGBUF, PERCPU, RODATA, LOCKED, KEPT, INNER, NESTED, PROG };

/* What is written into the journal is written as far as there is memory, and asked for by nobody. */
void __wrap_tn_policy_journal(void);
void __wrap_tn_policy_journal(void) {}

static u64 failures;

static int lowest_free(void)
{
    int fd = fcntl(2, F_DUPFD_CLOEXEC, 3);

    close(fd);
    return fd;
}

static void drop(struct inside *in, s32 number)
{
    close(in->fd[number]);
    in->fd[number] = -1;
    tn_loop_turn(in->broker.loop, 0);
}

/* The verdict that was told, without how long it took. */
static struct tn_ctl_verdict told(const struct inside *in)
{
    struct tn_ctl_verdict v = in->caller.verdict;

    v.verify_ns = 0;
    return v;
}

/* The call, with the n-th allocation failing, then the next one …, until none is left to fail. What can be done
   without is answered as if nothing had failed. */
static void call(struct inside *in, u32 command, const union bpf_attr *attr, s32 number)
{
    /* Frozen is for ever, and a struct that was answered in is another question. */
    const int first = command == BPF_MAP_FREEZE || command == BPF_OBJ_GET_INFO_BY_FD;
    struct tn_ctl_verdict without = {0}, whole;
    bool done_without = false;

    for (int once = first; once < 2; once++) {
        s64 n;

        for (n = 0; n < 100000; n++) {
            const u32 objects = in->broker.nobjects, handles = in->broker.nhandles;
            const int free_fd = lowest_free();
            union bpf_attr copy = *attr;
            int r;

            shortage_at(n, once);
            r = inside_command(in, command, &copy, sizeof(copy), number);
            shortage_end();
            if (!shortage_fired()) {
                if (r)
                    fail_msg("command %u: %s: %s", command, strerror(-r), in->caller.why.message);
                break;
            }
            failures++;
            if (!r && command == BPF_PROG_LOAD) {
                done_without = true;
                without = told(in);
                drop(in, number);
            } else if (r != -ENOMEM) {
                fail_msg("command %u, allocation %lld fails: %d (%s)", command, (long long)n, r,
                         in->caller.why.message);
            }
            assert_true(number < 0 || in->fd[number] < 0);
            assert_int_equal(in->broker.nobjects, objects);
            assert_int_equal(in->broker.nhandles, handles);
            assert_int_equal(lowest_free(), free_fd);
        }
        assert_true(n < 100000);
        whole = told(in);
        assert_true(!done_without || !memcmp(&without, &whole, sizeof(whole)));
        if (!once && number >= 0) /* again, from the start */
            drop(in, number);
    }
}

/* ----------------------------------------------------------------------------------------- what is loaded */

struct types {
    struct btf *built;
    u32 word, locked, kept, main, score;
};

static void make_types(struct types *t)
{
    struct btf *b = t->built = btf__new_empty();
    int lock, task, ctx, proto;

    t->word = (u32)btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    lock = btf__add_struct(b, "bpf_spin_lock", 4);
    btf__add_field(b, "val", (int)t->word, 0, 0);
    t->locked = (u32)btf__add_struct(b, "locked", 8);
    btf__add_field(b, "lock", lock, 0, 0);
    btf__add_field(b, "count", (int)t->word, 32, 0);
    task = btf__add_struct(b, "task_struct", 4);
    btf__add_field(b, "pid", (int)t->word, 0, 0);
    task = btf__add_ptr(b, btf__add_type_tag(b, "kptr_untrusted", task));
    t->kept = (u32)btf__add_struct(b, "kept", 8);
    btf__add_field(b, "task", task, 0, 0);
    btf__add_struct(b, "pt_regs", 168);
    ctx = btf__add_ptr(b, btf__type_cnt(b) - 1);
    proto = btf__add_func_proto(b, (int)t->word);
    btf__add_func_param(b, "ctx", ctx);
    t->main = (u32)btf__add_func(b, "main", BTF_FUNC_GLOBAL, proto);
    proto = btf__add_func_proto(b, (int)t->word);
    btf__add_func_param(b, "n", (int)t->word);
    t->score = (u32)btf__add_func(b, "score", BTF_FUNC_STATIC, proto);
}

static void make_map(struct inside *in, s32 number, u32 type, u32 key, u32 value, u32 entries, u32 flags,
                     u32 word, u32 value_type)
{
    union bpf_attr attr = {
        .map_type = type, .key_size = key, .value_size = value, .max_entries = entries, .map_flags = flags};

    if (value_type) {
        attr.btf_fd = BTF_FD;
        attr.btf_key_type_id = word;
        attr.btf_value_type_id = value_type;
    }
    if (type == BPF_MAP_TYPE_ARRAY_OF_MAPS)
        attr.inner_map_fd = INNER;
    memcpy(attr.map_name, "short", 6);
    call(in, BPF_MAP_CREATE, &attr, number);
}

static void make_world(struct inside *in, struct types *t)
{
    union bpf_attr attr = {.btf_log_level = 2, .btf_log_size = 65536};
    const void *data;
    u32 zero = 0, size;

    assert_int_equal(inside_open(in), 0);
    memcpy(in->caller.options.judged, "judged", 7);
    make_types(t);
    data = btf__raw_data(t->built, &size);
    attr.btf = inside_lend(in, data, size);
    attr.btf_size = size;
    attr.btf_log_buf = inside_lend(in, NULL, 65536);
    call(in, BPF_BTF_LOAD, &attr, BTF_FD);
    make_map(in, ARRAY, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE, 0, 0);
    make_map(in, HASH, BPF_MAP_TYPE_HASH, 4, 8, 16, 0, 0, 0);
    make_map(in, RINGBUF, BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, 0, 0);
    make_map(in, PERCPU, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 2, 0, 0, 0);
    make_map(in, RODATA, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_RDONLY_PROG, 0, 0);
    make_map(in, LOCKED, BPF_MAP_TYPE_HASH, 4, 8, 4, 0, t->word, t->locked);
    make_map(in, KEPT, BPF_MAP_TYPE_HASH, 4, 8, 4, 0, t->word, t->kept);
    make_map(in, INNER, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0, 0, 0);
    make_map(in, NESTED, BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 2, 0, 0, 0);
    attr = (union bpf_attr){.map_fd = RODATA};
    attr.key = inside_lend(in, &zero, sizeof(zero));
    attr.value = inside_lend(in, "\7\0\0\0\0\0\0", 8);
    assert_int_equal(inside_command(in, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr), -1), 0);
    attr = (union bpf_attr){.map_fd = RODATA};
    call(in, BPF_MAP_FREEZE, &attr, -1);
}

static void load(struct inside *in, const struct types *t, const char *name, u32 type,
                 const struct bpf_insn *insns, u32 n, u32 callee)
{
    const struct bpf_func_info func[] = {{0, t->main}, {callee, t->score}};
    const struct bpf_line_info line[] = {{0, 1, 5, 1 << 10}, {callee, 1, 5, 2 << 10}};
    const u32 two = callee ? 2 : 1;
    union bpf_attr attr = {.prog_type = type,
                           .insn_cnt = n,
                           .log_level = 7,
                           .log_size = 1 << 20,
                           .prog_btf_fd = BTF_FD,
                           .func_info_cnt = two,
                           .func_info_rec_size = sizeof(func[0]),
                           .line_info_cnt = two,
                           .line_info_rec_size = sizeof(line[0])};
    struct bpf_prog_info info = {.nr_map_ids = 8, .xlated_prog_len = 4096, .jited_prog_len = 64};

    attr.insns = inside_lend(in, insns, n * sizeof(*insns));
    attr.license = inside_lend(in, "GPL", 4);
    attr.log_buf = inside_lend(in, NULL, attr.log_size);
    attr.func_info = inside_lend(in, func, sizeof(func));
    attr.line_info = inside_lend(in, line, sizeof(line));
    memcpy(attr.prog_name, name, strlen(name));
    call(in, BPF_PROG_LOAD, &attr, PROG);
    info.map_ids = inside_lend(in, NULL, 8 * sizeof(u32));
    info.xlated_prog_insns = inside_lend(in, NULL, info.xlated_prog_len);
    info.jited_prog_insns = inside_lend(in, NULL, info.jited_prog_len);
    attr = (union bpf_attr){.info.bpf_fd = PROG, .info.info_len = sizeof(info)};
    attr.info.info = inside_lend(in, &info, sizeof(info));
    call(in, BPF_OBJ_GET_INFO_BY_FD, &attr, -1);
}

/* The world, one program, the end; then a second time with what the first has warmed. */
static void scenario(const char *name, u32 type, const struct bpf_insn *insns, u32 n, u32 callee)
{
    const s64 before = shortage_in_use();
    struct inside *in = malloc(sizeof(*in));
    struct types t;
    const char *left;

    assert_non_null(in);
    failures = 0;
    make_world(in, &t);
    load(in, &t, name, type, insns, n, callee);
    left = inside_drop(in);
    if (left)
        fail_msg("%s", left);
    tn_btf_close(in->broker.kernel_btf);
    inside_close(in);
    free(in);
    btf__free(t.built);
    print_message("# %llu failed allocations\n", (unsigned long long)failures);
    assert_int_equal(shortage_in_use(), before);
    assert_true(failures > 150);
}

/* -------------------------------------------------------------------------------------------------- tests */

#define RUN(name, type, callee, ...)                                                                         \
    do {                                                                                                     \
        const struct bpf_insn insns_[] = {__VA_ARGS__};                                                      \
        scenario(name, BPF_PROG_TYPE_##type, insns_, TN_ARRAY_SIZE(insns_), callee);                         \
    } while (0)

/* Maps of every kind that is built, a constant, a loop, a function, a reservation. */
static void test_compiled(void **state)
{
    RUN("short", KPROBE, 42, MOVX(R6, R1), LDVAL(R1, RODATA, 0), LDX(W, R7, R1, 0), LOOKUP(HASH),
        JMP(BPF_JEQ, R0, 0, 2), MOV(R1, 1), ATOMIC(DW, R0, 0, R1, BPF_ADD), LOOKUP(PERCPU),
        JMP(BPF_JEQ, R0, 0, 2), LDX(DW, R1, R6, 8), STX(DW, R0, 0, R1), LDMAP(R1, RINGBUF), MOV(R2, 8),
        MOV(R3, 0), CALL(131), JMP(BPF_JEQ, R0, 0, 4), STX(DW, R0, 0, R7), MOVX(R1, R0), MOV(R2, 0),
        CALL(132), MOV(R8, 0), LDVAL(R9, ARRAY, 0), STX(DW, R9, 0, R8), ADD(R8, 1), JMP(BPF_JLT, R8, 20, -3),
        MOV(R1, 3), CALLP(2), MOV(R0, 0), EXIT, MOVX(R0, R1), EXIT);
}

/* What is not built here gets its verdict: a map in a map, a lock, a function that is called back. */
static void test_judged(void **state)
{
    RUN("judged", SCHED_CLS, 0, LOOKUP(NESTED), JMP(BPF_JEQ, R0, 0, 8), MOVX(R1, R0), ST(W, R10, -4, 0),
        MOVX(R2, R10), ADD(R2, -4), CALL(1), JMP(BPF_JEQ, R0, 0, 2), LDX(DW, R1, R0, 0),
        STX(DW, R10, -16, R1), LOOKUP(LOCKED), JMP(BPF_JEQ, R0, 0, 7), MOVX(R6, R0), MOVX(R1, R6), CALL(93),
        ST(W, R6, 4, 1), MOVX(R1, R6), CALL(94), JA(0), MOV(R0, 0), EXIT);
}

/* The kernel's types are read for it: a value keeps a pointer to one of its objects,
   and nothing else says so. */
static void test_judged_by_types(void **state)
{
    if (access("/sys/kernel/btf/vmlinux", R_OK)) {
        print_message("# skipped: the kernel does not tell its types\n");
        skip();
    }
    RUN("judged", SCHED_CLS, 0, LOOKUP(KEPT), JMP(BPF_JEQ, R0, 0, 2), MOV(R1, 0), STX(DW, R0, 0, R1),
        MOV(R0, 0), EXIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compiled),
        cmocka_unit_test(test_judged),
        cmocka_unit_test(test_judged_by_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
