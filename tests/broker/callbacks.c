/* SPDX-License-Identifier: MIT */
/*
 * Functions that are called back: one table of programs, test-run by the broker with either engine and, as root, by the
 * kernel. The same results, and the same maps afterwards.
 */
#include "tests/broker/common.h"

#define INSN(c, d, s, o, i)                                                                                  \
    ((struct bpf_insn){.code = (u8)(c), .dst_reg = (d), .src_reg = (s), .off = (s16)(o), .imm = (s32)(i)})
#define MOV(d, i)        INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define MOVX(d, s)       INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ALU(op, d, i)    INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ADDX(d, s)       INSN(BPF_ALU64 | BPF_ADD | BPF_X, d, s, 0, 0)
#define LDX(z, d, s, o)  INSN(BPF_LDX | BPF_MEM | (z), d, s, o, 0)
#define STX(z, d, s, o)  INSN(BPF_STX | BPF_MEM | (z), d, s, o, 0)
#define ST(z, d, o, i)   INSN(BPF_ST | BPF_MEM | (z), d, 0, o, i)
#define JMP(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define LD64(d, v)       INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (u32)(v)), INSN(0, 0, 0, 0, (u64)(v) >> 32)
#define LDMAP(d)         INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
#define LDFUNC(d, k)     INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_FUNC, 0, k), INSN(0, 0, 0, 0, 0)
#define CALL(id)         INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT             INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define ENTRIES 24u
#define MOST    64u

typedef long (*caller)(int, union bpf_attr *, unsigned);

/* A program; in LDFUNC the number of a function, which becomes the distance to it. */
struct text {
    struct bpf_insn insn[MOST];
    u32 n, func[4], nfuncs;
};

#define PUT(t, ...)                                                                                          \
    do {                                                                                                     \
        const struct bpf_insn row_[] = {__VA_ARGS__};                                                        \
                                                                                                             \
        memcpy(&(t)->insn[(t)->n], row_, sizeof(row_));                                                      \
        (t)->n += TN_ARRAY_SIZE(row_);                                                                       \
    } while (0)

static void function(struct text *t)
{
    t->func[t->nfuncs++] = t->n;
}

/* int f(), static; what the kernel wants to be told of functions that are called back. */
static int types(caller call)
{
    static const struct {
        struct btf_header {
            u16 magic;
            u8 version, flags;
            u32 hdr_len, type_off, type_len, str_off, str_len;
        } header;
        u32 type[4 + 3 + 3];
        char strings[8];
    } btf = {
        {0xeb9f, 1, 0, sizeof(struct btf_header), 0, sizeof(btf.type), sizeof(btf.type), sizeof(btf.strings)},
        {1, 1u << 24, 4, 1u << 24 | 32, 0, 13u << 24, 1, 5, 12u << 24, 2},
        "\0int\0f\0",
    };
    union bpf_attr attr = {.btf = (u64)&btf, .btf_size = sizeof(btf)};

    return (int)call(BPF_BTF_LOAD, &attr, sizeof(attr));
}

static int load(caller call, struct text t, int map)
{
    struct bpf_func_info info[TN_ARRAY_SIZE(t.func)];
    int btf = types(call), fd;
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
                           .insns = (u64)t.insn,
                           .insn_cnt = t.n,
                           .license = (u64) "GPL",
                           .prog_btf_fd = (u32)btf,
                           .func_info = (u64)info,
                           .func_info_cnt = t.nfuncs,
                           .func_info_rec_size = sizeof(info[0])};

    assert_true(btf >= 0);
    for (u32 k = 0; k < t.nfuncs; k++)
        info[k] = (struct bpf_func_info){t.func[k], 3};
    for (u32 i = 0; i < t.n; i++) {
        struct bpf_insn *insn = &t.insn[i];

        if (insn->code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if (insn->src_reg == BPF_PSEUDO_MAP_FD)
            insn->imm = map;
        else if (insn->src_reg == BPF_PSEUDO_FUNC)
            insn->imm = (s32)(t.func[insn->imm] - i - 1);
        i++;
    }
    fd = (int)call(BPF_PROG_LOAD, &attr, sizeof(attr));
    close(btf);
    return fd;
}

static int make_map(caller call, u32 type)
{
    union bpf_attr attr = {.map_type = type, .key_size = 4, .value_size = 8, .max_entries = ENTRIES};

    return type ? (int)call(BPF_MAP_CREATE, &attr, sizeof(attr)) : -1;
}

struct image {
    u32 n;
    u64 value[4 * ENTRIES][64];
};

/* Value of key k, on every CPU: 3k + 1. */
static void fill(caller call, int map, u32 n)
{
    for (u32 k = 0; k < n; k++) {
        u64 value[64];
        union bpf_attr attr = {.map_fd = (u32)map, .key = (u64)&k, .value = (u64)value};

        for (u32 c = 0; c < TN_ARRAY_SIZE(value); c++)
            value[c] = 3 * k + 1;
        assert_int_equal(call(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
    }
}

/* All keys below 4 × ENTRIES; of per-CPU values the sum, since a run may be on any. */
static void look(caller call, int map, bool percpu, struct image *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (u32 k = 0; k < TN_ARRAY_SIZE(ret->value); k++) {
        u64 value[64] = {0};
        union bpf_attr attr = {.map_fd = (u32)map, .key = (u64)&k, .value = (u64)value};

        if (call(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)))
            continue;
        ret->n++;
        for (u32 c = 1; percpu && c < TN_ARRAY_SIZE(value); c++)
            value[0] += value[c];
        ret->value[k][0] = value[0];
    }
}

struct said {
    long result;
    u32 retval;
    struct image image;
};

static bool is_percpu(u32 type)
{
    return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH;
}

static bool is_hash(u32 type)
{
    return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_PERCPU_HASH;
}

static void run(caller call, const struct text *t, u32 type, u32 filled, struct said *ret)
{
    static u8 packet[64];
    int map = make_map(call, type), fd;
    union bpf_attr attr;

    memset(ret, 0, sizeof(*ret));
    assert_true(map >= 0 || !type);
    fd = load(call, *t, map);
    ret->result = fd;
    if (fd >= 0) {
        if (type)
            fill(call, map, is_hash(type) ? filled : ENTRIES);
        attr = (union bpf_attr){
            .test = {.prog_fd = (u32)fd, .data_in = (u64)packet, .data_size_in = sizeof(packet)}};
        ret->result = call(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
        ret->retval = attr.test.retval;
        if (type)
            look(call, map, is_percpu(type), &ret->image);
        close(fd);
    }
    if (type)
        close(map);
}

static void engine(u32 interpret)
{
    struct tn_ctl_options options = {.wait_ms = 1000, .interpret = interpret};

    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), 0);
}

static u32 different, asked;

static void compare(const struct text *t, u32 type, u32 filled, const char *what, u64 a, u64 b)
{
    static struct said said[3];
    u32 n = geteuid() ? 2 : 3;

    asked++;
    for (u32 k = 0; k < n; k++) {
        if (k < 2)
            engine(k);
        run(k < 2 ? door_bpf : kernel_bpf, t, type, filled, &said[k]);
    }
    engine(0);
    for (u32 k = 0; k < n; k++) {
        if (said[k].result < 0) {
            print_message("# %s %lu %lu, map type %u: %s: %ld %s\n", what, a, b, type,
                          k == 2 ? "the kernel" : "here", said[k].result, k == 2 ? "" : last_reason());
            different++;
        } else if (memcmp(&said[0], &said[k], sizeof(said[0]))) {
            print_message("# %s %lu %lu, map type %u of %u: compiled %d, %s %d; elements %u and %u\n", what,
                          a, b, type, filled, (s32)said[0].retval, k == 1 ? "interpreted" : "by the kernel",
                          (s32)said[k].retval, said[0].image.n, said[k].image.n);
            different++;
        }
    }
}

/* bpf_loop(n, counts, &frame, flags): R0 × 4096 + what was counted. The flags are known, or come from the packet's mark. */
static void loops(void **state)
{
    static const u64 counts[] = {
        0, 1, 2, 7, 1000, 1u << 23, (1u << 23) + 1, UINT32_MAX, 1ull << 32, 1ull << 32 | 3};

    for (u32 c = 0; c < TN_ARRAY_SIZE(counts); c++)
        for (u32 stop = 0; stop < 1200; stop = stop * 4 + 1)
            for (u32 flags = 0; flags < 3; flags++)
                for (u32 known = 0; known < 2; known++) {
                    struct text t = {.nfuncs = 0};

                    if (flags == 0 && stop > 1000 && counts[c] == 1u << 23)
                        continue; /* the stop is passed before */
                    function(&t);
                    if (!known) /* it is 0, which nobody knows before */
                        PUT(&t, LDX(BPF_W, 4, 1, offsetof(struct __sk_buff, priority)),
                            ALU(BPF_ADD, 4, flags));
                    else
                        PUT(&t, MOV(4, flags));
                    PUT(&t, ST(BPF_DW, 10, -8, 0), LD64(1, counts[c]), LDFUNC(2, 1), MOVX(3, 10),
                        ALU(BPF_ADD, 3, -8));
                    PUT(&t, CALL(BPF_FUNC_loop), ALU(BPF_LSH, 0, 12), LDX(BPF_DW, 1, 10, -8), ADDX(0, 1),
                        EXIT);
                    function(&t);
                    PUT(&t, LDX(BPF_DW, 3, 2, 0), ALU(BPF_ADD, 3, 1), STX(BPF_DW, 2, 3, 0), MOV(0, 0),
                        JMP(BPF_JLE, 1, stop, 1), MOV(0, 1), EXIT);
                    compare(&t, 0, 0, "loop", counts[c], stop);
                }
    assert_int_equal(different, 0);
}

/* Two functions of which the run chooses one: then Linux does not compile the loop in place. */
static void chosen_at_run_time(void **state)
{
    static const u64 counts[] = {5, 1ull << 32 | 3};

    for (u32 c = 0; c < TN_ARRAY_SIZE(counts); c++)
        for (u32 which = 0; which < 2; which++) {
            struct text t = {.nfuncs = 0};

            function(&t);
            PUT(&t, LDX(BPF_W, 5, 1, offsetof(struct __sk_buff, priority)), LDFUNC(2, 1),
                JMP(BPF_JEQ, 5, which, 2), LDFUNC(2, 2), LD64(1, counts[c]), MOV(3, 0), MOV(4, 0),
                CALL(BPF_FUNC_loop), EXIT);
            function(&t);
            PUT(&t, MOV(0, 0), EXIT);
            function(&t);
            PUT(&t, MOV(0, 1), EXIT);
            compare(&t, 0, 0, "chosen", counts[c], which);
        }
    assert_int_equal(different, 0);
}

/* In each round of one loop another one. (Of no round at all Linux 6.18 says EFAULT: a function that it never follows.) */
static void loops_in_loops(void **state)
{
    for (u32 outer = 0; outer < 6; outer++)
        for (u32 inner = 1; inner < 100; inner = inner * 3 + 1) {
            struct text t = {.nfuncs = 0};

            function(&t);
            PUT(&t, ST(BPF_DW, 10, -8, 0), MOV(6, 3), MOV(1, outer), LDFUNC(2, 1), MOVX(3, 10),
                ALU(BPF_ADD, 3, -8), MOV(4, 0), CALL(BPF_FUNC_loop), LDX(BPF_DW, 1, 10, -8), ADDX(0, 1),
                ADDX(0, 6), EXIT);
            function(&t);
            PUT(&t, MOVX(6, 1), MOVX(7, 2), ST(BPF_DW, 10, -8, 0), STX(BPF_DW, 10, 6, -16), MOV(1, inner),
                LDFUNC(2, 2), MOVX(3, 10), ALU(BPF_ADD, 3, -8), MOV(4, 0), CALL(BPF_FUNC_loop),
                LDX(BPF_DW, 1, 10, -8), ADDX(0, 1), LDX(BPF_DW, 1, 7, 0), ADDX(1, 0), STX(BPF_DW, 7, 1, 0),
                MOV(0, 0), LDX(BPF_DW, 1, 10, -16), JMP(BPF_JLT, 1, 3, 1), MOV(0, 1), EXIT);
            function(&t);
            PUT(&t, MOVX(6, 1), LDX(BPF_DW, 3, 2, 0), ALU(BPF_ADD, 3, 1), STX(BPF_DW, 2, 3, 0), MOV(0, 0),
                EXIT);
            compare(&t, 0, 0, "loops", outer, inner);
        }
    assert_int_equal(different, 0);
}

/* What is done with each element: nothing, or a change of the map that is gone through. */
enum act { LOOK, CHANGE, DELETE, REPLACE, INSERT_NO, STOP, ACTS };

static void elements(void **state)
{
    static const u32 kinds[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_HASH,
                                BPF_MAP_TYPE_PERCPU_HASH};

    for (u32 m = 0; m < TN_ARRAY_SIZE(kinds); m++)
        for (u32 flags = 0; flags < 2; flags++)
            for (enum act act = LOOK; act < ACTS; act++)
                for (u32 filled = 0; filled <= ENTRIES; filled += 8) {
                    struct text t = {.nfuncs = 0};

                    if (act == STOP && is_hash(kinds[m]) && filled > 1)
                        continue; /* which element comes first is chance */
                    function(&t);
                    PUT(&t, ST(BPF_DW, 10, -8, 0), LDMAP(1), LDFUNC(2, 1), MOVX(3, 10), ALU(BPF_ADD, 3, -8),
                        MOV(4, flags), CALL(BPF_FUNC_for_each_map_elem), ALU(BPF_LSH, 0, 16),
                        LDX(BPF_DW, 1, 10, -8), ADDX(0, 1), EXIT);
                    function(&t); /* adds up the keys and the values */
                    PUT(&t, MOVX(6, 4), MOVX(7, 1), MOVX(8, 2), MOVX(9, 3), LDX(BPF_DW, 1, 6, 0),
                        LDX(BPF_W, 5, 8, 0), ADDX(1, 5), LDX(BPF_DW, 5, 9, 0), ADDX(1, 5),
                        STX(BPF_DW, 6, 1, 0));
                    if (act == CHANGE)
                        PUT(&t, ST(BPF_DW, 9, 0, 5));
                    if (act == DELETE)
                        PUT(&t, MOVX(1, 7), MOVX(2, 8), CALL(BPF_FUNC_map_delete_elem));
                    if (act == REPLACE || act == INSERT_NO)
                        PUT(&t, ST(BPF_DW, 10, -8, 9), MOVX(1, 7), MOVX(2, 8), MOVX(3, 10),
                            ALU(BPF_ADD, 3, -8), MOV(4, act == REPLACE ? BPF_ANY : BPF_NOEXIST),
                            CALL(BPF_FUNC_map_update_elem), LDX(BPF_DW, 1, 6, 0), ADDX(1, 0),
                            STX(BPF_DW, 6, 1, 0));
                    PUT(&t, MOV(0, act == STOP), EXIT);
                    compare(&t, kinds[m], filled, "element", act, flags);
                }
    print_message("# %u programs\n", asked);
    assert_int_equal(different, 0);
}

/* A run that is never over: Linux goes on for hours, the confined process is stopped after its time, and its map is as
   good as before. */
static void rounds_without_end(void **state)
{
    struct text t = {.nfuncs = 0};
    int map = make_map(door_bpf, BPF_MAP_TYPE_HASH), fd;
    static u8 packet[64];
    union bpf_attr attr;
    u32 key = 7;
    u64 value = 0;

    function(&t);
    PUT(&t, MOV(1, 1 << 23), LDFUNC(2, 1), MOV(3, 0), MOV(4, 0), CALL(BPF_FUNC_loop), EXIT);
    function(&t);
    PUT(&t, MOV(1, 1 << 23), LDFUNC(2, 2), MOV(3, 0), MOV(4, 0), CALL(BPF_FUNC_loop), MOV(0, 0), EXIT);
    function(&t);
    PUT(&t, ST(BPF_W, 10, -4, 7), STX(BPF_DW, 10, 1, -16), LDMAP(1), MOVX(2, 10), ALU(BPF_ADD, 2, -4),
        MOVX(3, 10), ALU(BPF_ADD, 3, -16), MOV(4, 0), CALL(BPF_FUNC_map_update_elem), MOV(0, 0), EXIT);
    fd = load(door_bpf, t, map);
    assert_true(map >= 0 && fd >= 0);
    attr = (union bpf_attr){
        .test = {.prog_fd = (u32)fd, .data_in = (u64)packet, .data_size_in = sizeof(packet)}};
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), -ETIME);
    assert_string_equal(last_reason(), "test_run_time_limit");
    attr = (union bpf_attr){.map_fd = (u32)map, .key = (u64)&key, .value = (u64)&value};
    assert_int_equal(bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
    assert_int_equal(bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), 0);
    assert_int_equal(bpf(BPF_MAP_DELETE_ELEM, &attr, sizeof(attr)), 0);
    fill(door_bpf, map, ENTRIES);
    close(fd);
    close(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops),    cmocka_unit_test(chosen_at_run_time), cmocka_unit_test(loops_in_loops),
        cmocka_unit_test(elements), cmocka_unit_test(rounds_without_end),
    };

    return cmocka_run_group_tests(tests, start_open, finish);
}
