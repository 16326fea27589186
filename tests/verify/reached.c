/* SPDX-License-Identifier: MIT */
/*
 * Facts of what a run reaches, wherever it stands, and of nothing else: each thing that makes a fact is put
 * into each place there is for it (its own function, one that it calls, one that is called back, one that was
 * verified on its own), and into places that no run reaches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <bpf/btf.h>

#include "btf/btf.h"
#include "tests/verify/asm.h"
#include "tests/verify/maps.h"
#include "verify/verify.h"

#define MAX_INSNS      64u
#define LDFUNC(r, rel) INSN(BPF_LD | BPF_IMM | BPF_DW, r, BPF_PSEUDO_FUNC, 0, rel), INSN(0, 0, 0, 0, 0)

/* ------------------------------------------------------------------------------------------------- types */

enum { HOST_ENTER, HOST_LEAVE, HOST_THROW, HOST_COUNT };
static const char *const host_name[] = {"bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_throw"};
#define KF(which) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, which)

static struct world {
    struct btf *built[2];
    struct tn_btf *host;
    u32 host_id[HOST_COUNT];
    u32 main, with_callback, local, global; /* types of functions of programs */
} w;

static int make_world(void **state)
{
    struct btf *host = w.built[0] = btf__new_empty(), *b = w.built[1] = btf__new_empty();
    struct tn_error err = {0};
    const void *data;
    int proto, word;
    u32 size;

    proto = btf__add_func_proto(host, 0);
    for (u32 k = 0; k < HOST_COUNT; k++) {
        if (k == HOST_THROW) {
            word = btf__add_int(host, "long", 8, 0);
            proto = btf__add_func_proto(host, 0);
            btf__add_func_param(host, "cookie", word);
        }
        w.host_id[k] = (u32)btf__add_func(host, host_name[k], BTF_FUNC_STATIC, proto);
    }
    data = btf__raw_data(host, &size);
    if (tn_btf_open(data, size, NULL, &w.host, &err))
        return 1;
    word = btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    proto = btf__add_func_proto(b, word);
    w.main = (u32)btf__add_func(b, "main", BTF_FUNC_STATIC, proto);
    w.local = (u32)btf__add_func(b, "local", BTF_FUNC_STATIC, proto);
    proto = btf__add_func_proto(b, word);
    btf__add_func_param(b, "what", word);
    w.global = (u32)btf__add_func(b, "global", BTF_FUNC_GLOBAL, proto);
    w.with_callback = (u32)btf__add_func(b, "with_callback", BTF_FUNC_STATIC, proto);
    btf__add_decl_tag(b, "exception_callback:global", (int)w.with_callback, -1);
    return 0;
}

static int clear_world(void **state)
{
    tn_btf_close(w.host);
    btf__free(w.built[0]);
    btf__free(w.built[1]);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ places */

struct code {
    struct bpf_insn insn[MAX_INSNS];
    u32 n;
};

static void add(struct code *c, const struct bpf_insn *insns, size_t n)
{
    assert_true(c->n + n <= MAX_INSNS);
    memcpy(&c->insn[c->n], insns, n * sizeof(*insns));
    c->n += (u32)n;
}
#define ADD_INSNS(c, ...)                                                                                    \
    add(c, (const struct bpf_insn[]){__VA_ARGS__},                                                           \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn))

/* X(place, is it reached, functions) */
#define PLACES(X)                                                                                            \
    X(HERE, true, 1)                                                                                         \
    X(ON_ONE_PATH, true, 1)                                                                                  \
    X(IN_FUNCTION, true, 2)                                                                                  \
    X(IN_GLOBAL, true, 2)                                                                                    \
    X(IN_CALLBACK, true, 2)                                                                                  \
    X(AFTER_THROW, true, 2)                                                                                  \
    X(IN_DEAD_CODE, false, 1)                                                                                \
    X(IN_DEAD_FUNCTION, false, 2)                                                                            \
    X(IN_DEAD_GLOBAL, false, 2)                                                                              \
    X(IN_DEAD_CALLBACK, false, 2)                                                                            \
    X(AFTER_NO_THROW, false, 2)
enum place {
#define X(place, ...) place,
    PLACES(X)
#undef X
        PLACE_COUNT
};
static const struct {
    const char *name;
    bool reached;
    u32 nfuncs;
} places[] = {
#define X(place, reached, n) {#place, reached, n},
    PLACES(X)
#undef X
};

#define CALL_BACK(rel) MOV(R1, 3), LDFUNC(R2, rel), MOV(R3, 0), MOV(R4, 0), CALL(181)
#define END            MOV(R0, 0), EXIT

/* The program with `what` at that place; *ret_second: where its second function starts. */
static void put(enum place place, const struct bpf_insn *what, u32 n, struct code *c, u32 *ret_second)
{
    c->n = 0;
    switch (place) {
    case HERE:
        break;
    case ON_ONE_PATH:
        ADD_INSNS(c, CALL(7), JMP(BPF_JEQ, R0, 0, (s16)n));
        break;
    case IN_DEAD_CODE:
        ADD_INSNS(c, MOV(R6, 0), JMP(BPF_JEQ, R6, 0, (s16)n));
        break;
    case IN_FUNCTION:
    case IN_GLOBAL:
        ADD_INSNS(c, MOV(R1, 0), CALLP(2), END);
        break;
    case IN_DEAD_FUNCTION:
    case IN_DEAD_GLOBAL:
        ADD_INSNS(c, MOV(R1, 0), MOV(R6, 0), JMP(BPF_JEQ, R6, 0, 1), CALLP(2), END);
        break;
    case IN_CALLBACK:
        ADD_INSNS(c, CALL_BACK(6), END);
        break;
    case IN_DEAD_CALLBACK:
        ADD_INSNS(c, MOV(R6, 0), JMP(BPF_JEQ, R6, 0, 6), CALL_BACK(6), END);
        break;
    case AFTER_THROW:
        ADD_INSNS(c, MOV(R1, 0), KF(HOST_THROW), END);
        break;
    case AFTER_NO_THROW:
        ADD_INSNS(c, MOV(R1, 0), MOV(R6, 0), JMP(BPF_JEQ, R6, 0, 1), KF(HOST_THROW), END);
        break;
    case PLACE_COUNT:
        break;
    }
    *ret_second = c->n;
    add(c, what, n);
    ADD_INSNS(c, END);
}

static void judge(enum place place, const struct bpf_insn *what, u32 n, struct tn_verdict *ret)
{
    bool callback = place == AFTER_THROW || place == AFTER_NO_THROW;
    bool global = place == IN_GLOBAL || place == IN_DEAD_GLOBAL || callback;
    struct bpf_func_info info[2] = {{0, callback ? w.with_callback : w.main},
                                    {0, global ? w.global : w.local}};
    struct code c;
    u32 btf_size;
    const void *btf = btf__raw_data(w.built[1], &btf_size);
    struct tn_verify_in in;

    put(place, what, n, &c, &info[1].insn_off);
    for (u32 k = 0; k < c.n; k++)
        if (c.insn[k].code == (BPF_JMP | BPF_CALL) && c.insn[k].src_reg == BPF_PSEUDO_KFUNC_CALL)
            c.insn[k].imm = (s32)w.host_id[c.insn[k].imm];
    in = (struct tn_verify_in){
        .insns = c.insn,
        .ninsns = c.n,
        .prog_type = BPF_PROG_TYPE_SYSCALL, /* may throw, and sleep */
        .prog_flags = BPF_F_SLEEPABLE,
        .gpl = true,
        .maps = test_maps,
        .nmaps = M_COUNT,
        .host_btf = w.host,
        .btf = btf,
        .btf_size = btf_size,
        .func_info = info,
        .func_info_cnt = places[place].nfuncs,
        .func_info_rec_size = sizeof(info[0]),
    };
    assert_int_equal(tn_verify(&in, ret), 0);
    if (!ret->accepted)
        fail_msg("%s: %s at %u: %s", places[place].name, ret->refusal.reason, ret->refusal.insn,
                 ret->refusal.message);
}

/* ------------------------------------------------------------------------------------------------- facts */

enum { PERCPU = 1, MAY_FAULT = 2, CALLS_HOST = 4, SLEEPS = 8, SYSCALLS = 16 };
static const struct thing {
    const char *name;
    u32 facts;   /* of those above */
    u32 helper;  /* 0: none */
    s32 map;     /* −1: none */
    u32 nkfuncs; /* of the host: the first so many */
    u32 n;
    struct bpf_insn insn[8];
} things[] = {
#define BUFFER(func) MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), MOV(R3, 0), CALL(func)
#define THING(name, facts, helper, map, nkfuncs, ...)                                                        \
    {                                                                                                        \
        name, facts, helper, map, nkfuncs,                                                                   \
            sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),                              \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
    THING("a helper", SYSCALLS, 5, -1, 0, CALL(5)),
    THING("a map", 0, 1, M_ARRAY, 0, LOOKUP(M_ARRAY)),
    THING("a map's address alone", 0, 0, M_HASH, 0, LDMAP(R1, M_HASH)),
    THING("a variable", 0, 0, M_GLOBAL, 0, LDVAL(R1, M_GLOBAL, 0), LDX(W, R0, R1, 0)),
    THING("a per-CPU map", PERCPU, 1, M_PERCPU, 0, LOOKUP(M_PERCPU)),
    THING("a helper of which no more follows", 0, 8, -1, 0, CALL(8)),
    THING("memory of the process", MAY_FAULT | SYSCALLS, 112, -1, 0, BUFFER(112)),
    THING("memory of the user", SLEEPS | MAY_FAULT, 148, -1, 0, BUFFER(148)),
    THING("functions of the host", CALLS_HOST, 0, -1, 2, KF(HOST_ENTER), KF(HOST_LEAVE)),
};

static u32 facts_of(const struct tn_facts *f)
{
    return (f->percpu ? PERCPU : 0) | (f->may_fault ? MAY_FAULT : 0) | (f->calls_host ? CALLS_HOST : 0) |
           (f->sleeps ? SLEEPS : 0) | (f->syscalls ? SYSCALLS : 0);
}

static bool lists(const struct tn_verdict *v, u32 id)
{
    for (u32 k = 0; k < v->nkfuncs; k++)
        if (v->kfuncs[k] == id)
            return true;
    return false;
}

static void check(const struct thing *t, enum place place, const struct tn_verdict *v)
{
    bool reached = places[place].reached, throws = place == AFTER_THROW;
    /* The path is chosen by get_prandom_u32, which may have to ask for a clock. */
    u32 facts = (reached ? t->facts : 0) | (throws ? CALLS_HOST : 0) | (place == ON_ONE_PATH ? SYSCALLS : 0);
    u32 nkfuncs = (reached ? t->nkfuncs : 0) + throws;
    u64 maps = reached && t->map >= 0 ? 1ull << t->map : 0, helpers[TN_ARRAY_SIZE(v->facts.helpers)] = {0};

    if (reached && t->helper)
        helpers[t->helper / 64] |= 1ull << (t->helper % 64);
    if (place == ON_ONE_PATH)
        helpers[0] |= 1ull << 7;
    if (place == IN_CALLBACK)
        helpers[181 / 64] |= 1ull << (181 % 64);
    if (facts_of(&v->facts) != facts || v->facts.maps_used != maps || v->nkfuncs != nkfuncs ||
        memcmp(v->facts.helpers, helpers, sizeof(helpers)) != 0)
        fail_msg(
            "%s, %s: facts %#x, not %#x; maps %#llx, not %#llx; %u functions of the host, not %u; or other "
            "helpers",
            t->name, places[place].name, facts_of(&v->facts), facts, (unsigned long long)v->facts.maps_used,
            (unsigned long long)maps, v->nkfuncs, nkfuncs);
    for (u32 k = 0; reached && k < t->nkfuncs; k++)
        assert_true(lists(v, w.host_id[k]));
    assert_int_equal(lists(v, w.host_id[HOST_THROW]), throws);
    for (u32 k = 1; k < v->nkfuncs; k++)
        assert_true(v->kfuncs[k - 1] < v->kfuncs[k]);
}

static void test_everywhere(void **state)
{
    struct tn_verdict v;

    for (size_t t = 0; t < TN_ARRAY_SIZE(things); t++) {
        for (u32 p = 0; p < PLACE_COUNT; p++) {
            judge((enum place)p, things[t].insn, things[t].n, &v);
            check(&things[t], (enum place)p, &v);
            tn_verdict_clear(&v);
        }
    }
}

/* How long a run can be, and how much stack it takes: exact where no loop is bounded by the run alone. */
static void test_length_and_stack(void **state)
{
    static const struct {
        enum place place;
        u64 least, most;
        u32 stack;
    } cases[] = {
        {HERE, 3, 3, 24},
        {ON_ONE_PATH, 5, 5, 24},
        {IN_FUNCTION, 7, 7, 24},
        {IN_GLOBAL, 7, 7, 24},
        {IN_CALLBACK, 19, 19, 24},
        {AFTER_THROW, 5, 5, 24},
        {IN_DEAD_CODE, 4, 4, 0},
        {IN_DEAD_GLOBAL, 5, 5, 24},
    };
    const struct bpf_insn what = ST(B, R10, -17, 0);
    struct tn_verdict v;

    for (size_t k = 0; k < TN_ARRAY_SIZE(cases); k++) {
        judge(cases[k].place, &what, 1, &v);
        if (v.facts.longest_path < cases[k].least || v.facts.longest_path > cases[k].most ||
            v.facts.max_stack != cases[k].stack)
            fail_msg("%s: %llu instructions, %u bytes", places[cases[k].place].name,
                     (unsigned long long)v.facts.longest_path, v.facts.max_stack);
        tn_verdict_clear(&v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everywhere),
        cmocka_unit_test(test_length_and_stack),
    };

    return cmocka_run_group_tests(tests, make_world, clear_world);
}
