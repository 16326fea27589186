/* SPDX-License-Identifier: MIT */
/*
 * What least privilege costs. One JSON object a line.
 *
 *      at load      a program verified and compiled under a class that says yes to each access, and by an authority
 *                   that says yes to everything; the machine code of both is compared
 *      at run time  functions of this very program, hooked (tests/rewrite/inproc.h): a program that calls eight
 *                   functions of the host, or reads 32 of its fields, less one that does not; beside it the same in C
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/figure.h"
#include "eim/ask.h"
#include "inproc.h"
#include "tests/eim/classes.h"
#include "tests/eim/host.h"

#define LOADS 10u

#define SET(d, imm)       I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, imm)
#define COPY(d, s)        I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define LOAD(sz, d, s, o) I(BPF_LDX | BPF_MEM | (sz), d, s, o, 0)
#define FUNC(id)          I(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, id)

/* ----------------------------------------------------------------------------------------------- at load */

/* A policy that grants what the programs below need, and some more, as policies do. */
#define GRANTED                                                                                              \
    "  - readPid\n  - finishRequest\n  - copyOut\n  - IO\n  - replace\n  - helpers(shared)\n"                \
    "  - read(r->method)\n  - read(r->uri.len)\n  - read(r->connection->fd)\n  - "                           \
    "read(r->headers[..].hash)\n"                                                                            \
    "  - write(r->headers_out.status)\n  - read(rc)\n"

static struct bpf_insn text[2048];
static u32 ntext;

static void put(struct bpf_insn insn)
{
    text[ntext++] = insn;
}

/* 40 pieces of 15 instructions, of which seven ask: fields of a request, a field behind a pointer, a store, a call of the
   host; the rest compares and computes, as programs do. */
static void compose(u32 finish)
{
    ntext = 0;
    put(LOAD(BPF_DW, 6, 1, 0));
    put(LOAD(BPF_DW, 8, 1, 8));
    put(SET(7, 0));
    for (u32 k = 0; k < 40; k++) {
        put(LOAD(BPF_W, 0, 6, offsetof(request_t, method)));
        put(I(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, (s32)k));
        put(LOAD(BPF_DW, 0, 6, offsetof(request_t, uri.len)));
        put(I(BPF_ALU64 | BPF_ADD | BPF_X, 7, 0, 0, 0));
        put(LOAD(BPF_W, 0, 6,
                 (s16)(offsetof(request_t, headers) + k % 4 * sizeof(struct header) +
                       offsetof(struct header, hash))));
        put(I(BPF_ALU64 | BPF_XOR | BPF_X, 7, 0, 0, 0));
        put(LOAD(BPF_DW, 1, 6, offsetof(request_t, connection)));
        put(LOAD(BPF_W, 0, 1, offsetof(connection_t, fd)));
        put(I(BPF_ALU64 | BPF_RSH | BPF_K, 7, 0, 0, 1));
        put(I(BPF_ALU64 | BPF_ADD | BPF_X, 7, 8, 0, 0));
        put(I(BPF_ST | BPF_MEM | BPF_W, 6, 0, offsetof(request_t, headers_out.status), 200));
        put(COPY(1, 6));
        put(SET(2, 404));
        put(FUNC((s32)finish));
        put(I(BPF_ALU64 | BPF_SUB | BPF_X, 7, 0, 0, 0));
    }
    put(SET(0, 0));
    put(EXIT);
}

static u32 finish_id;

static int load(const struct tn_authority *auth, struct tn_code *ret, struct tn_error *err)
{
    const struct tn_host_ref ref = {
        .btf_id = finish_id, .kind = TN_NAMED_FUNC, .addr = 0x1000, .result = 4, .result_signed = true};
    _clean_(tn_verdict_clear) struct tn_verdict v = {0};
    const struct tn_verify_in in = {.insns = text,
                                    .ninsns = ntext,
                                    .prog_type = BPF_PROG_TYPE_TRACING,
                                    .expected_attach_type = BPF_TRACE_FENTRY,
                                    .gpl = true,
                                    .host_btf = host_btf,
                                    .process = true,
                                    .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                                    .authority = auth};
    struct tn_program program = {.insns = text, .ninsns = ntext, .refs = &ref, .nrefs = 1};
    int r = tn_verify(&in, &v);

    if (!r && !v.accepted)
        r = tn_fail(err, -EACCES, v.refusal.reason, "instruction %u: %s", v.refusal.insn, v.refusal.message);
    if (r)
        return r;
    program.aux = v.aux;
    program.subprogs = v.subprogs;
    program.nsubprogs = v.nsubprogs;
    program.facts = &v.facts;
    return tn_jit(&program, ret, err);
}

static int yes_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    return 0;
}
static int yes_call(void *self, const struct tn_call *call, struct tn_call_facts *facts, struct tn_error *err)
{
    return 0;
}

/* Microseconds, the least of several. */
static void least(const struct tn_authority *auth, double *time)
{
    struct tn_error err;
    struct tn_code code = {0};
    double begun = now();

    if (!load(auth, &code, &err))
        *time = TN_MIN(*time, (now() - begun) / 1000);
    tn_code_clear(&code);
}

static int at_load(struct tn_error *err)
{
    static double none[ROUNDS], with[ROUNDS], added[ROUNDS], differ[ROUNDS];
    struct tn_authority by_class, all;
    struct tn_code a = {0}, b = {0};
    struct tn_asker q;
    struct made m;
    double bytes;
    int r;

    if (open_host(NULL) || make_long_class(HOST_SPEC, "access", "inf", GRANTED, &m, err))
        return -EINVAL;
    finish_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "finish");
    compose(finish_id);
    tn_eim_authority(m.c, true, &q, &by_class);
    all = by_class; /* what is promised of the host's functions and arguments is known without a class, too */
    all.may_access = yes_access;
    all.may_call = yes_call;
    r = load(&all, &a, err);
    if (!r)
        r = load(&by_class, &b, err);
    if (r)
        return r;
    bytes = a.text_len == b.text_len ? 0 : 1;
    for (u32 k = 0; k < a.text_len && a.text_len == b.text_len; k++)
        bytes += a.text[k] != b.text[k];
    for (u32 k = 0; k < ROUNDS; k++) {
        none[k] = with[k] = 1e9;
        for (u32 n = 0; n < LOADS; n++) {
            least(&all, &none[k]);
            least(&by_class, &with[k]);
        }
        added[k] = (with[k] - none[k]) / none[k] * 100;
        differ[k] = bytes;
    }
    figure("machine code under a class, bytes that differ from without", differ, "bytes", "≤ 0");
    figure("class checking, added to load time", added, "%", "≤ 10 %");
    figure("load of 602 instructions without a class", none, "µs", "");
    figure("load of 602 instructions under a class", with, "µs", "");
    tn_code_clear(&a);
    tn_code_clear(&b);
    drop(&m);
    close_host(NULL);
    return 0;
}

/* ------------------------------------------------------------------------------------------- at run time */

#define NCALLS  8
#define NFIELDS 16
struct fields {
    u64 word[NFIELDS], sum;
};

#define BODY                                                                                                 \
    {                                                                                                        \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        return (a ^ (u64)b) * 3;                                                                             \
    }
#define FUNCTIONS(X) X(base) X(calls) X(calls_full) X(reads)
#define X(name)                                                                                              \
    __attribute__((noinline, aligned(64))) u64 hot_##name(u64 a, struct fields *b);                          \
    u64 hot_##name(u64 a, struct fields *b) BODY
FUNCTIONS(X)
#undef X

__attribute__((noinline, aligned(64))) u64 hot_callee(u64 a);
u64 hot_callee(u64 a)
{
    __asm__ volatile("" : "+r"(a));
    return a + 1;
}

/* What the programs do, in C. */
#define IN_C(name, ...)                                                                                      \
    __attribute__((noinline, aligned(64))) static u64 name(u64 a, struct fields *b)                          \
    {                                                                                                        \
        u64 sum = a;                                                                                         \
                                                                                                             \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        __VA_ARGS__                                                                                          \
        *(volatile u64 *)&b->sum = sum;                                                                      \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        return (a ^ (u64)b) * 3;                                                                             \
    }
#define C_CALL    sum = hot_callee(sum);
#define C_READ(k) sum += *(volatile u64 *)&b->word[k];
IN_C(c_base, )
IN_C(c_calls, C_CALL C_CALL C_CALL C_CALL C_CALL C_CALL C_CALL C_CALL)
IN_C(c_reads, C_READ(0) C_READ(1) C_READ(2) C_READ(3) C_READ(4) C_READ(5) C_READ(6) C_READ(7) C_READ(8)
                  C_READ(9) C_READ(10) C_READ(11) C_READ(12) C_READ(13) C_READ(14) C_READ(15))

#define CALL_ONE COPY(1, 0), FUNC(500)
#define CALLS_4  CALL_ONE, CALL_ONE, CALL_ONE, CALL_ONE
#define READ(k)  LOAD(BPF_DW, 2, 6, 8 * (k)), I(BPF_ALU64 | BPF_ADD | BPF_X, 0, 2, 0, 0)
#define READS(k) READ(k), READ((k) + 1), READ((k) + 2), READ((k) + 3)
#define BEGIN    LOAD(BPF_DW, 6, 1, 8), LOAD(BPF_DW, 0, 1, 0)
#define END      I(BPF_STX | BPF_MEM | BPF_DW, 6, 0, offsetof(struct fields, sum), 0), SET(0, 0), EXIT
static const struct bpf_insn base[] = {BEGIN, END};
static const struct bpf_insn calls[] = {BEGIN, CALLS_4, CALLS_4, END};
static const struct bpf_insn reads[] = {BEGIN, READS(0), READS(4), READS(8), READS(12), END};

static struct fields fields;
static struct inproc in;
static struct tn_btf *two_words;
static u32 two_words_id;

/* u64 function(u64, u64) */
static int make_two_words(struct tn_error *err)
{
    struct btf *b = btf__new_empty();
    int number = btf__add_int(b, "number", 8, 0), proto = btf__add_func_proto(b, number), r;
    const void *data;
    u32 size;

    btf__add_func_param(b, "a", number);
    btf__add_func_param(b, "b", number);
    two_words_id = (u32)btf__add_func(b, "function", BTF_FUNC_GLOBAL, proto);
    data = btf__raw_data(b, &size);
    r = tn_btf_open(data, size, NULL, &two_words, err);
    btf__free(b);
    return r;
}

static double timed(u64 (*volatile fn)(u64, struct fields *))
{
    double begun = now();
    u64 sum = 0;

    for (u64 i = 0; i < CALLS; i++)
        sum = fn(sum, &fields);
    __asm__ volatile("" ::"r"(sum));
    return (now() - begun) / CALLS;
}

/* Seen by the compiler, a call without effects would be none. */
static void run(u64 (*volatile fn)(u64, struct fields *))
{
    fields.sum = 0;
    fn(1, &fields);
}

/* The program is trusted: what the verifier would have proved of it is told. */
static int hook(const char *name, void *fn, bool full, const struct bpf_insn *insns, u32 n,
                struct tn_error *err)
{
    struct inproc_prog prog = {.attach_type = BPF_TRACE_FENTRY, .full_calls = full, .nrefs = 1};
    const struct inproc_how how = {0};
    u64 addr = 0;
    int r = tn_module_find(in.self, "hot_callee", &addr, err);

    if (!r)
        r = tn_abi_words(two_words, two_words_id, false, true, &prog.args, err);
    prog.facts.ctx_read[0] = 3;
    prog.facts.calls_host = insns == calls;
    prog.host = two_words;
    prog.func = two_words_id;
    prog.ref[0] = (struct tn_host_ref){.btf_id = 500, .kind = TN_NAMED_FUNC, .addr = addr, .result = 8};
    if (!r)
        r = inproc_load_unverified(&in, &prog, insns, n, err);
    return r ? r : inproc_hook(&in, name, fn, TN_PLACE_ENTRY, &prog, &how, NULL, err);
}
#define HOOK(name, full, insns) hook("hot_" #name, (void *)hot_##name, full, insns, TN_ARRAY_SIZE(insns), err)

static int at_run_time(struct tn_error *err)
{
    enum { BASE, CALLS_, FULL, READS_, C_BASE, C_CALLS, C_READS, ROWS };
    static u64 (*const fn[ROWS])(u64, struct fields *) = {hot_base, hot_calls, hot_calls_full, hot_reads,
                                                          c_base,   c_calls,   c_reads};
    static double call[ROUNDS], full[ROUNDS], read[ROUNDS], plain[ROUNDS];
    double ns[ROWS];
    int r = make_two_words(err);

    if (!r)
        r = inproc_init(&in, err);
    if (!r)
        r = HOOK(base, false, base);
    if (!r)
        r = HOOK(calls, false, calls);
    if (!r)
        r = HOOK(calls_full, true, calls);
    if (!r)
        r = HOOK(reads, false, reads);
    if (r)
        return r;
    for (u32 k = 0; k < NFIELDS; k++)
        fields.word[k] = k;
    run(hot_calls);
    if (fields.sum != 1 + NCALLS)
        return tn_fail(err, -EINVAL, "bench", "eight calls made %llu of 1", (unsigned long long)fields.sum);
    run(hot_calls_full);
    if (fields.sum != 1 + NCALLS)
        return tn_fail(err, -EINVAL, "bench", "eight calls made %llu of 1", (unsigned long long)fields.sum);
    run(hot_reads);
    if (fields.sum != 1 + NFIELDS * (NFIELDS - 1) / 2)
        return tn_fail(err, -EINVAL, "bench", "the fields' sum is %llu", (unsigned long long)fields.sum);
    for (u32 k = 0; k < ROUNDS; k++) {
        for (u32 i = 0; i < ROWS; i++)
            ns[i] = timed(fn[i]);
        plain[k] = (ns[C_CALLS] - ns[C_BASE]) / NCALLS;
        call[k] = (ns[CALLS_] - ns[BASE]) / NCALLS - plain[k];
        full[k] = (ns[FULL] - ns[BASE]) / NCALLS - plain[k];
        read[k] = ((ns[READS_] - ns[BASE]) - (ns[C_READS] - ns[C_BASE])) / NFIELDS;
    }
    figure("function of the host called from an extension, added over a plain call", call, "ns", "≤ 3 ns");
    figure("the same with full vector state, as at exits", full, "ns", "");
    figure("plain call of that function", plain, "ns", "");
    figure("field of the host read by an extension, added over C", read, "ns", "≤ 1 ns");
    return 0;
}

int main(void)
{
    struct tn_error err = {0};
    int r = at_load(&err);

    if (!r)
        r = at_run_time(&err);
    if (r)
        fprintf(stderr, "%s: %s\n", err.reason, err.message[0] ? err.message : strerror(-r));
    return r ? 1 : 0;
}
