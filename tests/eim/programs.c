/* SPDX-License-Identifier: MIT */
/*
 * Whole programs held against classes: the verifier asks, and the class answers. What is answered in a function's
 * place and what becomes of its arguments, on every path; fields, variables, buffers, calls; what a call promises
 * for afterwards, and how long that holds; and the least class that admits a program.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <tenon/extension.h>

#include "eim/ask.h"
#include "tests/eim/classes.h"
#include "tests/eim/host.h"
#include "tests/verify/asm.h"

#define RETURN0 MOV(R0, 0), EXIT

/* A row of the two tables below: a program that is judged under a class, which refuses it with what `says` has in it, or NULL;
   and under one of the house's, where all is recorded to be held against the function when that is known. `attach`:
   its type where the program is attached by type, 0: a probe. Whether that was
   accepted. What is left belongs to the caller, until judged_drop. */
struct judged {
    struct made m;
    struct tn_eim_uses uses;
};

static bool judge(size_t row, const struct bpf_insn *insns, u32 ninsns, enum bpf_attach_type attach,
                  const char *spec, const char *entry, const char *allowed, const char *says,
                  struct judged *ret)
{
    struct tn_authority auth, yes;
    struct tn_verdict v;
    struct tn_asker q;
    struct tn_error err = {0};
    bool recorded;
    struct tn_verify_in in = {
        .insns = insns, .ninsns = ninsns, .prog_type = BPF_PROG_TYPE_KPROBE, .gpl = true, .authority = &auth};

    if (attach) {
        in.prog_type = BPF_PROG_TYPE_TRACING;
        in.expected_attach_type = attach;
        in.host_btf = host_btf;
        in.process = true;
        in.attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase");
    }
    *ret = (struct judged){0};
    if (make_class(spec, entry, allowed, &ret->m, &err))
        fail_msg("row %zu: %s", row, err.message);
    tn_eim_authority(ret->m.c, attach, &q, &auth);
    assert_int_equal(tn_verify(&in, &v), 0);
    if (v.accepted != !says || (!v.accepted && !strstr(v.refusal.message, says)))
        fail_msg("row %zu: %s", row, v.accepted ? "accepted" : v.refusal.message);
    tn_verdict_clear(&v);
    ret->uses.bound = ret->m.bound;
    tn_eim_recording(&ret->uses, NULL, &yes);
    in.authority = &yes;
    assert_int_equal(tn_verify(&in, &v), 0);
    recorded = v.accepted;
    tn_verdict_clear(&v);
    return recorded;
}

static void judged_drop(struct judged *j)
{
    tn_eim_uses_clear(&j->uses);
    drop(&j->m);
}

/* What programs of type fmod_ret return, and what others pass to bpf_override_return, is asked on every path. */
static void test_answering_programs(void **state)
{
    enum { FMOD, PROBE };
    static const struct {
        const char *promise, *allowed;
        int how;
        const char *says;
        u32 ninsns;
        struct bpf_insn insns[12];
    } rows[] = {
#define A(promise, how, says, ...)                                                                           \
    {                                                                                                        \
        promise, "  - replace\n  - bpf_get_prandom_u32\n", how, says,                                        \
            sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),                              \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define RANDOM CALL(BPF_FUNC_get_prandom_u32)
        A("\"rtn > 0\"", FMOD, NULL, MOV(R0, 5), EXIT),
        A("\"rtn > 0\"", FMOD, NULL, MOV(R0, 0), EXIT), /* answers nothing */
        A("\"rtn > 0\"", FMOD, "is not known to be what it promises: rtn > 0 (spec.yaml:4:", MOV(R0, -5),
          EXIT),
        /* as compilers return an int: the low half, extended by zeroes */
        A("\"rtn > 0\"", FMOD, "rtn > 0", MOV32(R0, -5), EXIT),
        A("\"rtn < 0\"", FMOD, NULL, MOV32(R0, -5), EXIT),
        A("\"rtn > 0\"", FMOD, NULL, RANDOM, ALU(BPF_AND, R0, 7), EXIT),
        A("\"rtn > 0\"", FMOD, "rtn > 0", RANDOM, ALU(BPF_AND, R0, 7), ADD(R0, -2), EXIT),
        A("\"rtn != 0\"", FMOD, "rtn != 0", RANDOM, EXIT), /* of 64 bits */
        A("\"rtn != 0\"", FMOD, NULL, RANDOM, INSN(BPF_ALU | BPF_MOV | BPF_X, R0, R0, 0, 0), EXIT),
        A("\"rtn > 0 or rtn < -3\"", FMOD, NULL, RANDOM, ALU(BPF_AND, R0, 7), JMP(BPF_JNE, R0, 0, 1),
          MOV(R0, -4), EXIT),
        A("\"rtn > 0 or rtn < -3\"", FMOD, "rtn > 0 or rtn < -3", RANDOM, ALU(BPF_AND, R0, 7),
          JMP(BPF_JNE, R0, 0, 1), MOV(R0, -3), EXIT),
        /* not 0, and its low half is */
        A("\"rtn != 0\"", FMOD, "rtn != 0", MOV(R0, 1), ALU(BPF_LSH, R0, 32), EXIT),
        A("", FMOD, NULL, MOV(R0, 1), ALU(BPF_LSH, R0, 32), EXIT),
        /* two paths meet before the way out: what differs is not forgotten */
        A("\"rtn > 0\"", FMOD, "rtn > 0", RANDOM, MOV(R6, 5), JMP(BPF_JEQ, R0, 0, 1), MOV(R6, -5),
          MOVX(R0, R6), EXIT),
        A("\"rtn > 0\"", FMOD, "rtn > 0", RANDOM, MOV(R6, -5), JMP(BPF_JEQ, R0, 0, 1), MOV(R6, 5),
          MOVX(R0, R6), EXIT),
        A("\"rtn > 0\"", PROBE, NULL, MOV(R2, 5), CALL(BPF_FUNC_override_return), RETURN0),
        A("\"rtn > 0\"", PROBE, "rtn > 0", MOV(R2, 0), CALL(BPF_FUNC_override_return), RETURN0),
        A("\"rtn > 0\"", PROBE, "rtn > 0", MOV(R2, -5), CALL(BPF_FUNC_override_return), RETURN0),
        A("", PROBE, "returns a number of 4 bytes, signed", MOV(R2, 1), ALU(BPF_LSH, R2, 40),
          CALL(BPF_FUNC_override_return), RETURN0),
        A("\"rtn > 0\"", PROBE, "rtn > 0", MOVX(R6, R1), RANDOM, MOV(R2, 5), JMP(BPF_JEQ, R0, 0, 1),
          MOV(R2, -5), MOVX(R1, R6), CALL(BPF_FUNC_override_return), RETURN0),
        A("\"rtn > 0\"", PROBE, "rtn > 0", MOVX(R6, R1), RANDOM, MOV(R2, -5), JMP(BPF_JEQ, R0, 0, 1),
          MOV(R2, 5), MOVX(R1, R6), CALL(BPF_FUNC_override_return), RETURN0),
        {"",
         "",
         FMOD,
         "does not allow this answer in the function's place\nneeds  replace",
         2,
         {MOV(R0, 1), EXIT}},
        {"", "", FMOD, NULL, 2, {MOV(R0, 0), EXIT}},
    };
    static const char *const entry[] = {[FMOD] = "e", [PROBE] = "uprobe:access_phase"};

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_error err = {0};
        struct judged j;
        char spec[512];
        bool late;

        snprintf(spec, sizeof(spec), FINISH("%s"), rows[k].promise);
        assert_true(judge(k, rows[k].insns, rows[k].ninsns, rows[k].how == FMOD ? BPF_MODIFY_RETURN : 0, spec,
                          entry[rows[k].how], rows[k].allowed, rows[k].says, &j));
        late = tn_eim_admits_answers(j.m.bound->rule[TN_RULE_customizability], &j.uses, "access_phase", &err);
        if (late != (rows[k].says && !strstr(rows[k].says, "replace")))
            fail_msg("row %zu, late: %s", k, late ? err.message : "accepted");
        assert_int_equal(
            tn_eim_admits_answers(j.m.bound->rule[TN_RULE_customizability], &j.uses, "unknown", &err), 0);
        judged_drop(&j);
    }
}

/* What a program stores to its context is passed instead: it has to be what the specification says of the argument. By a probe
   the same, as far as it says anything. */
static void test_changed_arguments(void **state)
{
    enum { TYPED, PROBE };
    static const struct {
        const char *holds, *allowed;
        int how;
        const char *says, *late; /* of a probe: when it is placed under a class of the house's */
        u32 ninsns;
        struct bpf_insn insns[12];
    } rows[] = {
#define C(how, holds, allowed, says, late, ...)                                                              \
    {                                                                                                        \
        holds, allowed, how, says, late, sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn), \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define RC      "  - write(rc)\n"
#define ALL     "  - write(arguments)\n"
#define PRANDOM "  - bpf_get_prandom_u32\n"
#define DRAW    MOVX(R6, R1), RANDOM
#define DI      112
#define SI      104
        C(TYPED, "", RC, NULL, NULL, ST(DW, R1, 8, 5), RETURN0),
        C(TYPED, "", ALL, NULL, NULL, ST(DW, R1, 8, 5), RETURN0),
        C(TYPED, "", "  - read(rc)\n", "does not allow this write of an argument\nneeds  write(rc)", NULL,
          ST(DW, R1, 8, 5), RETURN0),
        C(TYPED, "", RC, "needs  read(rc)", NULL, LDX(DW, R2, R1, 8), RETURN0),
        C(TYPED, "\"rc < 8\"", RC, NULL, NULL, ST(DW, R1, 8, 5), RETURN0),
        C(TYPED, "\"rc < 8\"", RC, "is not known to be what holds there: rc < 8 (spec.yaml:4:", NULL,
          ST(DW, R1, 8, 9), RETURN0),
        C(TYPED, "\"rc < 8\"", RC PRANDOM, "rc < 8", NULL, DRAW, STX(DW, R6, 8, R0), RETURN0),
        C(TYPED, "\"rc < 8\"", RC PRANDOM, NULL, NULL, DRAW, ALU(BPF_AND, R0, 7), STX(DW, R6, 8, R0),
          RETURN0),
        C(TYPED, "\"rc < 8\"", RC PRANDOM, "rc < 8", NULL, DRAW, MOV(R7, 5), JMP(BPF_JEQ, R0, 0, 1),
          MOV(R7, 9), STX(DW, R6, 8, R7), RETURN0),
        C(TYPED, "\"rc != 0 or name == NULL\"", RC, NULL, NULL, ST(DW, R1, 8, 5), RETURN0),
        C(TYPED, "\"rc != 0 or name == NULL\"", RC, "rc != 0 or name == NULL", NULL, ST(DW, R1, 8, 0),
          RETURN0),
        /* pointers: those of the host's, of the type, that are known to be good */
        C(TYPED, "", ALL, "takes none but those of its own type", NULL, ST(DW, R1, 0, 4096), RETURN0),
        C(TYPED, "", ALL, "NULL only where the specification says nullable()", NULL, ST(DW, R1, 0, 0),
          RETURN0),
        C(TYPED, "\"nullable(r)\"", ALL, NULL, NULL, ST(DW, R1, 0, 0), RETURN0),
        C(TYPED, "", ALL, "takes none but those of its own type", NULL, LDX(DW, R2, R1, 0),
          STX(DW, R1, 0, R2), RETURN0),
        C(TYPED, "\"nonnull(r)\"", ALL, NULL, NULL, LDX(DW, R2, R1, 0), STX(DW, R1, 0, R2), RETURN0),
        C(TYPED, "\"nonnull(r)\"", RC, "needs  write(arguments)", NULL, LDX(DW, R2, R1, 0),
          STX(DW, R1, 0, R2), RETURN0),
        C(TYPED, "\"nonnull(r)\"", ALL, "are known to be valid", NULL, ST(DW, R1, 0, 4096), RETURN0),
        C(TYPED, "\"nonnull(r)\"", ALL, "takes numbers, and pointers of its own type", NULL,
          LDX(DW, R2, R1, 0), STX(DW, R1, 16, R2), RETURN0),
        C(TYPED, "", ALL, "a fp is stored in the place of argument 2", NULL, STX(DW, R1, 8, R10), RETURN0),
        C(PROBE, "", ALL, NULL, NULL, ST(DW, R1, SI, 5), RETURN0),
        C(PROBE, "", "", "needs  write(arguments)", NULL, ST(DW, R1, SI, 5), RETURN0),
        C(PROBE, "\"rc < 8\"", ALL, NULL, NULL, ST(DW, R1, SI, 5), RETURN0),
        C(PROBE, "\"rc < 8\"", ALL, NULL, "rc < 8", ST(DW, R1, SI, 9), RETURN0),
        C(PROBE, "\"rc < 8\"", ALL, NULL, "rc < 8", ST(B, R1, SI, 5),
          RETURN0), /* of the rest nothing is known */
        C(PROBE, "\"rc < 8\"", ALL, NULL, NULL, ST(DW, R1, DI, 9), RETURN0),
        C(PROBE, "\"nonnull(r)\"", ALL, NULL, "takes none but those of its own type", ST(DW, R1, DI, 9),
          RETURN0),
        C(PROBE, "", ALL, "a fp is stored to the context", NULL, STX(DW, R1, DI, R10), RETURN0),
    };
    static const char *const entry[] = {[TYPED] = "e", [PROBE] = "uprobe:access_phase"};

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_error err = {0};
        struct judged j;
        char spec[512];
        bool late;

        snprintf(spec, sizeof(spec), FINISH("%s"), rows[k].holds);
        judge(k, rows[k].insns, rows[k].ninsns, rows[k].how == TYPED ? BPF_TRACE_FENTRY : 0, spec,
              entry[rows[k].how], rows[k].allowed, rows[k].says, &j);
        late = rows[k].how == PROBE && tn_eim_admits_registers(j.m.bound->rule[TN_RULE_customizability],
                                                               &j.uses, "access_phase", false, &err);
        if (late != !!rows[k].late || (late && !strstr(err.message, rows[k].late)))
            fail_msg("row %zu, late: %s", k, late ? err.message : "accepted");
        judged_drop(&j);
    }
}

struct program {
    const char *what, *allowed;
    const char *says; /* of the refusal; NULL: accepted */
    u32 ninsns;
    struct bpf_insn insns[32];
};
#define P(what, allowed, says, ...)                                                                          \
    {                                                                                                        \
        what, allowed, says, sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),             \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define REQUEST LDX(DW, R6, R1, 0)
static const struct program programs[] = {
    P("a field", "  - read(r->method)\n", NULL, REQUEST, LDX(W, R0, R6, offsetof(request_t, method)),
      RETURN0),
    P("another", "  - read(r->method)\n", "needs  read(r->parent)", REQUEST,
      LDX(DW, R0, R6, offsetof(request_t, parent)), RETURN0),
    P("spilt and filled", "  - read(r->method)\n", "needs  read(r->uri.len)", REQUEST, STX(DW, R10, -8, R6),
      LDX(DW, R7, R10, -8), LDX(DW, R0, R7, offsetof(request_t, uri.len)), RETURN0),
    P("moved first", "  - read(r->method)\n", "needs  read(r->uri.len)", REQUEST, ALU(BPF_ADD, R6, 4),
      LDX(DW, R0, R6, offsetof(request_t, uri.len) - 4), RETURN0),
    P("through a pointer", "  - read(r->connection->fd)\n", NULL, REQUEST, LDX(DW, R7, R6, 0),
      LDX(W, R0, R7, 0), RETURN0),
    P("beyond it", "  - read(r->connection->fd)\n", "needs  read(r->connection->next)", REQUEST,
      LDX(DW, R7, R6, 0), LDX(DW, R0, R7, offsetof(connection_t, next)), RETURN0),
    P("a number for an argument", "", "needs  read(rc)", LDX(DW, R0, R1, 8), RETURN0),
    P("a number that is granted", "  - read(rc)\n", NULL, LDX(DW, R0, R1, 8), RETURN0),
    P("bytes behind a pointer", "  - read(r->uri)\n", "needs  read(process)", REQUEST,
      LDX(DW, R7, R6, offsetof(request_t, uri.data)), LDX(B, R0, R7, 0), RETURN0),
    P("a helper", "", "needs  bpf_ktime_get_ns", CALL(5), RETURN0),
    P("a helper that is granted", "  - bpf_ktime_get_ns\n", NULL, CALL(5), RETURN0),
};

#define FUNCTION(name)                                                                                       \
    {                                                                                                        \
        BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, name                                                \
    }
enum { FINISH = -1, COPY = -2, ACCESS = -3 }; /* in place of ids, which are known when the types are */
#define SYMBOL(d, var)                                                                                       \
    {BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, var},                                               \
    {                                                                                                        \
        0                                                                                                    \
    }
enum { PID = -4, TENON_COPY = -5, LAST = -6, FIRST = -7, CURRENT = -8, CYCLE_ = -9 };
static const char *const symbols[] = {"",
                                      "finish",
                                      "copy",
                                      "access_phase",
                                      "pid",
                                      "tenon_copy",
                                      "last_connection",
                                      "first_connection",
                                      "current_cycle",
                                      "the_cycle"};

static void join_symbols(struct bpf_insn *insns, u32 n)
{
    for (u32 k = 0; k < n; k++)
        if ((insns[k].code == (BPF_JMP | BPF_CALL) && insns[k].src_reg == BPF_PSEUDO_KFUNC_CALL) ||
            (insns[k].code == (BPF_LD | BPF_IMM | BPF_DW) && insns[k].src_reg == BPF_PSEUDO_BTF_ID))
            insns[k].imm = (int)tn_btf_find(
                host_btf, insns[k].code == (BPF_JMP | BPF_CALL) ? BTF_KIND_FUNC : BTF_KIND_VAR,
                symbols[-insns[k].imm]);
}

/* The host's own functions and variables. */
static const struct program own[] = {
    P("a call", STATUS, NULL, LDX(DW, R1, R1, 0), MOV(R2, 404), FUNCTION(FINISH), RETURN0),
    P("a call that is not granted", "", "needs  finishRequest", LDX(DW, R1, R1, 0), MOV(R2, 404),
      FUNCTION(FINISH), RETURN0),
    P("a call under a condition", STATUS "  - read(rc)\n", "is not known to hold; test it first: rc >= 400",
      LDX(DW, R6, R1, 8), LDX(DW, R1, R1, 0), MOVX(R2, R6), FUNCTION(FINISH), RETURN0),
    P("… that was tested", STATUS "  - read(rc)\n", NULL, LDX(DW, R6, R1, 8), JMP(BPF_JNE, R6, 0, 3),
      LDX(DW, R1, R1, 0), MOVX(R2, R6), FUNCTION(FINISH), RETURN0),
    P("a pointer that may not be there", STATUS "  - read(r->parent)\n", "must be referenced or trusted",
      LDX(DW, R1, R1, 0), LDX(DW, R1, R1, offsetof(request_t, parent)), MOV(R2, 404), FUNCTION(FINISH),
      RETURN0),
    P("NULL", STATUS, "Possibly NULL pointer passed to trusted arg0", MOV(R1, 0), MOV(R2, 404),
      FUNCTION(FINISH), RETURN0),
    P("another type", STATUS, "expected pointer to STRUCT request", LDX(DW, R1, R1, 16), MOV(R2, 404),
      FUNCTION(FINISH), RETURN0),
    P("the result is positive", STATUS, NULL, LDX(DW, R1, R1, 0), MOV(R2, 404), FUNCTION(FINISH),
      JMP(BPF_JSGT, R0, 0, 1), LDX(DW, R0, R10, 8), RETURN0),
    P("one that nobody declares", "", "it is not offered to programs", LDX(DW, R1, R1, 0), MOV(R2, 0),
      MOV(R3, 0), FUNCTION(ACCESS), RETURN0),
    P("a length that is not the buffer's", "  - copyOut\n  - IO\n  - read(r->connection)\n", "invalid",
      ST(DW, R10, -8, 0), LDX(DW, R6, R1, 0), LDX(DW, R3, R6, 0), MOVX(R1, R10), ADD(R1, -8), MOV(R2, 9),
      FUNCTION(COPY), RETURN0),
#define STORE(field) ST(W, R6, offsetof(request_t, field), 404)
    P("a store", "  - write(r->headers_out.status)\n", NULL, REQUEST, STORE(headers_out.status), RETURN0),
    P("a store that is not granted", "  - read(r->headers_out.status)\n",
      "needs  write(r->headers_out.status)", REQUEST, STORE(headers_out.status), RETURN0),
    P("a store beside it", "  - write(r->headers_out.status)\n", "needs  write(r->headers_out.pad_after)",
      REQUEST, ST(B, R6, offsetof(request_t, headers_out.pad_after), 1), RETURN0),
    P("a store to a pointer", "  - write(r)\n", "is a pointer, and only numbers", REQUEST,
      ST(DW, R6, offsetof(request_t, parent), 0), RETURN0),
    P("a store to half a pointer", "  - write(r)\n", "a pointer is read whole or not at all", REQUEST,
      STORE(parent), RETURN0),
    P("a store into a union", "  - write(r)\n", "lies in a union", REQUEST, STORE(low), RETURN0),
    P("an address stored", "  - write(r)\n", "an address is no number", REQUEST,
      STX(DW, R6, offsetof(request_t, headers_out.length), R10), RETURN0),
    P("a store through a pointer", "  - write(r->connection->fd)\n", "only read is supported", REQUEST,
      LDX(DW, R7, R6, 0), ST(W, R7, 0, 1), RETURN0),
    P("a store of all bytes of a number", "  - write(r->headers_out.length)\n", NULL, REQUEST, MOV(R1, 7),
      STX(DW, R6, offsetof(request_t, headers_out.length), R1), RETURN0),
    P("an addition in place", "  - write(r)\n  - read(r)\n", "only read is supported", REQUEST, MOV(R1, 7),
      ATOMIC(DW, R6, offsetof(request_t, headers_out.length), R1, BPF_ADD), RETURN0),
    P("a variable", "  - readPid\n", NULL, SYMBOL(R1, PID), LDX(W, R0, R1, 0), RETURN0),
    P("a variable that is not granted", "", "does not allow this read\nneeds  readPid", SYMBOL(R1, PID),
      LDX(W, R0, R1, 0), RETURN0),
    P("a variable whose address is all that is used", "", NULL, SYMBOL(R1, PID), MOVX(R2, R1), RETURN0),
    P("a variable that is written", "  - writePid\n", NULL, SYMBOL(R1, PID), ST(W, R1, 0, 7), RETURN0),
    P("a variable that is written, and may be read only", "  - readPid\n",
      "does not allow this write\nneeds  writePid", SYMBOL(R1, PID), ST(W, R1, 0, 7), RETURN0),
    P("an addition to a variable", "  - writePid\n  - readPid\n", NULL, SYMBOL(R1, PID), MOV(R2, 7),
      ATOMIC(W, R1, 0, R2, BPF_ADD), RETURN0),
    P("an addition to a variable that may not be read", "  - writePid\n",
      "does not allow this read\nneeds  readPid", SYMBOL(R1, PID), MOV(R2, 7), ATOMIC(W, R1, 0, R2, BPF_ADD),
      RETURN0),
    P("half an address stored", "  - writePid\n", "an address is no number", SYMBOL(R1, PID),
      STX(W, R1, 0, R1), RETURN0),
    P("a variable that a helper fills", "  - writePid\n  - read(process)\n", NULL, MOVX(R6, R1),
      SYMBOL(R1, PID), MOV(R2, 4), LDX(DW, R3, R6, 0), CALL(BPF_FUNC_probe_read_user), RETURN0),
    P("a variable that a helper fills, and may be read only", "  - readPid\n  - read(process)\n",
      "does not allow this write\nneeds  writePid", MOVX(R6, R1), SYMBOL(R1, PID), MOV(R2, 4),
      LDX(DW, R3, R6, 0), CALL(BPF_FUNC_probe_read_user), RETURN0),
    P("a pointer that a variable holds, written", "  - \"write(last_connection)\"\n", "cannot write into",
      SYMBOL(R1, LAST), ST(DW, R1, 0, 0), RETURN0),
    P("half of a pointer that a variable holds", "  - \"read(last_connection)\"\n", NULL, SYMBOL(R1, LAST),
      LDX(W, R0, R1, 4), RETURN0),
    P("what is behind half of a pointer", "  - lastFd\n", "invalid mem access 'scalar'", SYMBOL(R1, LAST),
      LDX(W, R1, R1, 0), LDX(W, R0, R1, 0), RETURN0),
    P("what is behind a variable", "  - lastFd\n", NULL, SYMBOL(R1, LAST), LDX(DW, R1, R1, 0),
      LDX(W, R0, R1, 0), RETURN0),
    P("what is behind a variable, written", "  - \"write(last_connection->fd)\"\n", "only read is supported",
      SYMBOL(R1, LAST), LDX(DW, R1, R1, 0), ST(W, R1, 0, 1), RETURN0),
    P("what is behind a variable, by the word of the host's developers, written",
      "  - \"write(current_cycle->pid)\"\n", NULL, SYMBOL(R1, CURRENT), LDX(DW, R1, R1, 0),
      JMP(BPF_JEQ, R1, 0, 1), ST(W, R1, 0, 1), RETURN0),
    P("… which may still be NULL", "  - \"write(current_cycle->pid)\"\n", "test it first",
      SYMBOL(R1, CURRENT), LDX(DW, R1, R1, 0), ST(W, R1, 0, 1), RETURN0),
    P("what is behind a variable, for a function", "  - copyOut\n  - IO\n  - lastFd\n",
      "must be referenced or trusted", SYMBOL(R3, LAST), LDX(DW, R3, R3, 0), MOVX(R1, R10), ADD(R1, -8),
      ST(DW, R10, -8, 0), MOV(R2, 8), FUNCTION(COPY), RETURN0),
    P("a struct for a function", "  - copyOut\n  - IO\n  - \"read(first_connection.fd)\"\n", NULL,
      SYMBOL(R3, FIRST), MOVX(R1, R10), ADD(R1, -8), ST(DW, R10, -8, 0), MOV(R2, 8), FUNCTION(COPY), RETURN0),
    P("a struct that has no name here, for a function", "  - copyOut\n  - IO\n",
      "does not allow this use of a variable's address\nneeds  read(first_connection.fd)", SYMBOL(R3, FIRST),
      MOVX(R1, R10), ADD(R1, -8), ST(DW, R10, -8, 0), MOV(R2, 8), FUNCTION(COPY), RETURN0),
};

/* Of programs at the function's exit, which may have freed its arguments. */
static const struct program exits[] = {
    P("a field of an argument", "  - read(r->uri.len)\n", NULL, REQUEST,
      LDX(DW, R0, R6, offsetof(request_t, uri.len)), RETURN0),
    P("one that is not granted", "  - read(r->method)\n", "needs  read(r->uri.len)", REQUEST,
      LDX(DW, R0, R6, offsetof(request_t, uri.len)), RETURN0),
    P("a number", "", "needs  read(rc)", LDX(DW, R0, R1, 8), RETURN0),
    P("a number that is granted", "  - read(rc)\n", NULL, LDX(DW, R0, R1, 8), RETURN0),
    P("the result", "", "needs  read(rtn)", LDX(DW, R0, R1, 24), RETURN0),
    P("the result that is granted", "  - read(rtn)\n", NULL, LDX(DW, R0, R1, 24), RETURN0),
    P("a store", "  - write(r->headers_out.status)\n", "only read is supported", REQUEST,
      STORE(headers_out.status), RETURN0),
    P("a call", STATUS, "must be referenced or trusted", LDX(DW, R1, R1, 0), MOV(R2, 404), FUNCTION(FINISH),
      RETURN0),
};

/* Of a buffer, `room` bytes at most, to the stack. */
#define WORD(length, size, sign)                                                                             \
    offsetof(request_t, length) | (u64)(size) << TENON_LENGTH_SIZE | (u64)(sign) << TENON_LENGTH_SIGNED
#define OF(size) (u64)(size) << TENON_ELEMENT
#define INSIDE   1ull << TENON_INSIDE
#define WRITES   1ull << TENON_WRITES
#define WIDE(d, x)                                                                                           \
    {BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (int)(x)},                                                          \
    {                                                                                                        \
        0, 0, 0, 0, (int)((u64)(x) >> 32)                                                                    \
    }
#define COPY_OF(object, from, first, word, room)                                                             \
    LDX(DW, R6, R1, 0), MOVX(R1, R10), ADD(R1, -(room)), MOV(R2, room), MOVX(R3, object),                    \
        WIDE(R4, (from) | (u64)(first) << TENON_FIRST), WIDE(R5, word), FUNCTION(TENON_COPY), RETURN0
#define ELEMENTS(pointer, first, word, room) COPY_OF(R6, offsetof(request_t, pointer), first, word, room)
#define BUFFER(object, pointer, word)        COPY_OF(object, offsetof(request_t, pointer), 0, word, 8)
#define URI                                  "  - \"read(r->uri.data[0 .. r->uri.len])\"\n"
#define NAMES                                "  - \"read(r->names[0 .. r->ntail])\"\n"
#define TAIL                                 "  - \"read(r->tail[0 .. r->ntail])\"\n"
#define CYCLE                                                                                                \
    MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), SYMBOL(R3, CYCLE_), MOV(R4, offsetof(struct cycle, name.data)),  \
        WIDE(R5, offsetof(struct cycle, name.len) | 8ull << TENON_LENGTH_SIZE), FUNCTION(TENON_COPY),        \
        RETURN0
#define PARENT                                                                                               \
    LDX(DW, R6, R1, 0), LDX(DW, R3, R6, offsetof(request_t, parent)), JMP(BPF_JNE, R3, 0, 2), RETURN0,       \
        MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), MOV(R4, offsetof(request_t, uri.data)),                      \
        WIDE(R5, WORD(uri.len, 8, 0) | WRITES), FUNCTION(TENON_COPY), RETURN0
/* From, or to, a map whose values programs only read. */
#define MAP_TO(how)                                                                                          \
    LDX(DW, R6, R1, 0), LOOKUP(2), JMP(BPF_JNE, R0, 0, 2), RETURN0, MOVX(R1, R0), MOV(R2, 8), MOVX(R3, R6),  \
        MOV(R4, offsetof(request_t, uri.data)), WIDE(R5, WORD(uri.len, 8, 0) | (how)), FUNCTION(TENON_COPY), \
        RETURN0
static const struct program buffers[] = {
    P("a buffer", URI, NULL, BUFFER(R6, uri.data, WORD(uri.len, 8, 0))),
    P("its fields, and not its bytes", "  - read(r->uri)\n",
      "does not allow this copy of a buffer\nneeds  read(r->uri.data[0 .. r->uri.len])",
      BUFFER(R6, uri.data, WORD(uri.len, 8, 0))),
    P("another buffer", URI, "needs  read(r->args.data[0 .. r->args.len])",
      BUFFER(R6, args.data, WORD(args.len, 8, 0))),
    P("another buffer's length", URI, "needs  read(r->uri.data[0 .. r->args.len])",
      BUFFER(R6, uri.data, WORD(args.len, 8, 0))),
    P("bytes up to a fixed end", "  - \"read(r->uri.data[0 .. 8])\"\n",
      "needs  read(r->uri.data[0 .. r->uri.len])", BUFFER(R6, uri.data, WORD(uri.len, 8, 0))),
    P("no pointer", URI, "is no pointer to a buffer of elements of 1 bytes",
      BUFFER(R6, method, WORD(uri.len, 8, 0))),
    P("a pointer to objects", URI, "is no pointer to a buffer of elements of 1 bytes",
      BUFFER(R6, parent, WORD(uri.len, 8, 0))),
    P("its length as the pointer", URI, "is no pointer to a buffer of elements of 1 bytes",
      BUFFER(R6, uri.len, WORD(uri.len, 8, 0))),
    P("half of a length", URI, "is no number of the size", BUFFER(R6, uri.data, WORD(uri.len, 4, 0))),
    P("a length with a sign", URI, "is no number of the size", BUFFER(R6, uri.data, WORD(uri.len, 8, 1))),
    P("a length that is a pointer", URI, "is no number of the size",
      BUFFER(R6, uri.data, WORD(parent, 8, 0))),
    P("no object", URI, "takes a typed pointer to an object", BUFFER(R10, uri.data, WORD(uri.len, 8, 0))),
    P("bytes from the third on", URI, NULL, ELEMENTS(uri.data, 2, WORD(uri.len, 8, 0), 8)),
    P("… which is all that is granted", "  - \"read(r->uri.data[2 .. r->uri.len])\"\n", NULL,
      ELEMENTS(uri.data, 2, WORD(uri.len, 8, 0), 8)),
    P("a byte before those granted", "  - \"read(r->uri.data[2 .. r->uri.len])\"\n",
      "needs  read(r->uri.data[1 .. r->uri.len])", ELEMENTS(uri.data, 1, WORD(uri.len, 8, 0), 8)),
    P("who may write them", "  - \"write(r->uri.data[0 .. r->uri.len])\"\n",
      "needs  read(r->uri.data[0 .. r->uri.len])", BUFFER(R6, uri.data, WORD(uri.len, 8, 0))),
    P("elements", NAMES, NULL, ELEMENTS(names, 0, WORD(ntail, 4, 0) | OF(8), 24)),
    P("elements that are not granted", URI, "needs  read(r->names[3 .. r->ntail])",
      ELEMENTS(names, 3, WORD(ntail, 4, 0) | OF(8), 24)),
    P("elements of another size", NAMES, "is no pointer to a buffer of elements of 4 bytes",
      ELEMENTS(names, 0, WORD(ntail, 4, 0) | OF(4), 24)),
    P("structs", "  - \"read(r->parent[0 .. r->ntail])\"\n", NULL,
      ELEMENTS(parent, 0, WORD(ntail, 4, 0) | OF(sizeof(request_t)), 24)),
    P("what no type has a size of", NAMES, "is no pointer to a buffer",
      ELEMENTS(hidden, 0, WORD(ntail, 4, 0), 8)),
    P("up to a fixed end", "  - \"read(r->uri.data[0 .. 8])\"\n", NULL, ELEMENTS(uri.data, 0, OF(1), 8)),
    P("beyond a fixed end", "  - \"read(r->uri.data[0 .. 8])\"\n", "needs  read(r->uri.data[1 .. 9])",
      ELEMENTS(uri.data, 1, OF(1), 8)),
    P("as many as the class says, and it says a length", URI, "needs  read(r->uri.data[0 .. 8])",
      ELEMENTS(uri.data, 0, OF(1), 8)),
    P("an array at the end", TAIL, NULL, ELEMENTS(tail, 2, WORD(ntail, 4, 0) | INSIDE, 24)),
    P("an array at the end, by the pointer that it is not", TAIL, "is no pointer to a buffer",
      ELEMENTS(tail, 0, WORD(ntail, 4, 0), 24)),
    P("an array in the object", "  - \"read(r->text[0 .. r->ntail])\"\n", NULL,
      ELEMENTS(text, 0, WORD(ntail, 4, 0) | INSIDE, 24)),
    P("an array in the object, beyond its end", "  - \"read(r->text[0 .. r->ntail])\"\n",
      "has 24 elements of 1 bytes, and from number 8 on there are not 24 bytes",
      ELEMENTS(text, 8, WORD(ntail, 4, 0) | INSIDE, 24)),
    P("an array in the object without a length", "  - read(r->text)\n", "is no number of the size",
      ELEMENTS(text, 0, INSIDE, 24)),
    P("bytes in a union", "  - \"read(r->either.bytes[0 .. r->ntail])\"\n", NULL,
      ELEMENTS(either.bytes, 0, WORD(ntail, 4, 0), 8)),
    P("what else is in the union", "  - \"read(r->either.bytes[0 .. r->ntail])\"\n",
      "needs  read(r->either.wide[0 .. r->ntail])", ELEMENTS(either.wide, 0, WORD(ntail, 4, 0) | OF(4), 8)),
    P("what is not in the union", "  - \"read(r->either.bytes[0 .. r->ntail])\"\n",
      "is no pointer to a buffer of elements of 2 bytes",
      ELEMENTS(either.wide, 0, WORD(ntail, 4, 0) | OF(2), 8)),
    P("bytes written", "  - \"write(r->uri.data[0 .. r->uri.len])\"\n", NULL,
      ELEMENTS(uri.data, 2, WORD(uri.len, 8, 0) | WRITES, 8)),
    P("bytes written that may be read", URI,
      "does not allow this write to a buffer\nneeds  write(r->uri.data[0 .. r->uri.len])",
      BUFFER(R6, uri.data, WORD(uri.len, 8, 0) | WRITES)),
    P("bytes written before those granted", "  - \"write(r->uri.data[2 .. r->uri.len])\"\n",
      "needs  write(r->uri.data[0 .. r->uri.len])", BUFFER(R6, uri.data, WORD(uri.len, 8, 0) | WRITES)),
    P("pointers written", "  - \"write(r->names[0 .. r->ntail])\"\n", "not made of numbers alone",
      ELEMENTS(names, 0, WORD(ntail, 4, 0) | OF(8) | WRITES, 24)),
    P("structs written that hold pointers", "  - \"write(r->parent[0 .. r->ntail])\"\n",
      "not made of numbers alone",
      ELEMENTS(parent, 0, WORD(ntail, 4, 0) | OF(sizeof(request_t)) | WRITES, 24)),
    P("bytes written by a pointer in a union", "  - \"write(r->either.bytes[0 .. r->ntail])\"\n",
      ".either.bytes of struct request lies in a union",
      ELEMENTS(either.bytes, 0, WORD(ntail, 4, 0) | WRITES, 8)),
    P("bytes written, as many as a union says", "  - \"write(r->uri.data[0 .. r->low])\"\n",
      "lies in a union", ELEMENTS(uri.data, 0, WORD(low, 4, 1) | WRITES, 8)),
    P("bytes written behind a pointer that was read",
      "  - \"write(r->parent->uri.data[0 .. r->parent->uri.len])\"\n", "not known to be there", PARENT),
    P("an array at the end written", "  - \"write(r->tail[0 .. r->ntail])\"\n", NULL,
      ELEMENTS(tail, 0, WORD(ntail, 4, 0) | INSIDE | WRITES, 8)),
    P("bytes of a map that is only read, written",
      "  - \"write(r->uri.data[0 .. r->uri.len])\"\n  - helpers(shared)\n", NULL, MAP_TO(WRITES)),
    P("bytes of a map that is only read, read",
      "  - \"read(r->uri.data[0 .. r->uri.len])\"\n  - helpers(shared)\n", "write into map", MAP_TO(0)),
    P("bytes of a variable's", "  - \"read(the_cycle.name.data[0 .. the_cycle.name.len])\"\n", NULL, CYCLE),
    P("bytes of a variable's that is not named", "  - \"read(cycle->name.data[0 .. cycle->name.len])\"\n",
      "needs  read(the_cycle.name.data[0 .. the_cycle.name.len])", CYCLE),
};

/* Values of a map with one for each CPU (0), and of an array (1), about a call of the host. */
#define FINISHED   LDX(DW, R1, R6, 0), MOV(R2, 404), FUNCTION(FINISH)
#define FOUND(map) LOOKUP(map), JMP(BPF_JNE, R0, 0, 2), RETURN0, MOVX(R7, R0)
#define STALE      STATUS "  - helpers(shared)\n"
static const struct program percpu[] = {
    P("a value before the call", STALE, NULL, MOVX(R6, R1), FOUND(0), ST(DW, R7, 0, 1), FINISHED, RETURN0),
    P("a value found before the call", STALE,
      "a function of the host was called since r7 was found in map counters, and this CPU's values may be "
      "another run's: look it up again",
      MOVX(R6, R1), FOUND(0), FINISHED, ST(DW, R7, 0, 1), RETURN0),
    P("… that was kept on the stack", STALE, "look it up again", MOVX(R6, R1), FOUND(0),
      STX(DW, R10, -16, R7), FINISHED, LDX(DW, R8, R10, -16), LDX(DW, R0, R8, 0), RETURN0),
    P("… that is given to a helper", STALE, "look it up again", MOVX(R6, R1), FOUND(0), FINISHED,
      MOVX(R2, R7), LDMAP(R1, 1), CALL(BPF_FUNC_map_lookup_elem), RETURN0),
    P("… that was not yet compared", STALE, "look it up again", MOVX(R6, R1), LOOKUP(0), MOVX(R7, R0),
      FINISHED, JMP(BPF_JEQ, R7, 0, 1), ST(DW, R7, 0, 1), RETURN0),
    P("… by way of a function that calls", STALE, "look it up again", MOVX(R6, R1), FOUND(0), MOVX(R1, R6),
      CALLP(3), ST(DW, R7, 0, 1), RETURN0, MOVX(R6, R1), FINISHED, RETURN0),
    P("a value that is looked up again", STALE, NULL, MOVX(R6, R1), FOUND(0), FINISHED, FOUND(0),
      ST(DW, R7, 0, 1), RETURN0),
    P("a value that all CPUs share", STALE, NULL, MOVX(R6, R1), FOUND(1), FINISHED, ST(DW, R7, 0, 1),
      RETURN0),
    P("a value for a function of the host",
      "  - copyOut\n  - IO\n  - helpers(shared)\n  - read(r->connection)\n",
      "is given back while copy runs: copy it to the stack", MOVX(R6, R1), FOUND(0), MOVX(R1, R7), MOV(R2, 8),
      LDX(DW, R3, R6, 0), LDX(DW, R3, R3, 0), FUNCTION(COPY), RETURN0),
};

/* What the compiler is told: the bytes are asked for, or there by the word of the host's developers. */
static void test_promise(void **state)
{
    static const struct program written = P("bytes written", "  - \"write(r->uri.data[0 .. r->uri.len])\"\n",
                                            NULL, BUFFER(R6, uri.data, WORD(uri.len, 8, 0) | WRITES));
    const struct {
        const char *constraints;
        u8 kind;
        bool writes;
    } rows[] = {
        {"nonnull(r)", TN_MEM_PLAIN, true},
        {"\"writable(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PROBE, true},
        {"nonnull(r), \"valid(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PLAIN, true},
        {"nonnull(r), \"writable(r->args.data[0 .. r->args.len])\"", TN_MEM_PLAIN, true},
        {"nonnull(r), \"writable(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PROMISED, true},
        {"nonnull(r), \"writable(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PROMISED, false},
        {"nonnull(r)", TN_MEM_PLAIN, false},
        {"nonnull(r), \"valid(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PROMISED, false},
        {"nonnull(r), \"valid(r->args.data[0 .. r->args.len])\"", TN_MEM_PLAIN, false},
        {"\"valid(r->uri.data[0 .. r->uri.len])\"", TN_MEM_PROBE, false},
    };

    for (size_t i = 0; i < 2 * TN_ARRAY_SIZE(rows); i++) {
        const bool exit = i & 1;
        const size_t k = i / 2;
        const u8 kind = exit ? TN_MEM_PROBE : rows[k].kind; /* what was promised was promised of the entry */
        struct program p = rows[k].writes ? written : buffers[0];
        struct tn_authority auth;
        struct tn_asker q;
        struct tn_verdict v;
        struct tn_error err;
        struct made m;
        char spec[400];
        struct tn_verify_in in = {.insns = p.insns,
                                  .ninsns = p.ninsns,
                                  .prog_type = BPF_PROG_TYPE_TRACING,
                                  .expected_attach_type = exit ? BPF_TRACE_FEXIT : BPF_TRACE_FENTRY,
                                  .host_btf = host_btf,
                                  .process = true,
                                  .copy_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "tenon_copy"),
                                  .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                                  .authority = &auth};

        snprintf(spec, sizeof(spec),
                 "eim: 1\nhost: h\nextension_entries:\n- { name: access, extension_entry: access_phase,\n"
                 "    constraints: [ %s ] }\n",
                 rows[k].constraints);
        join_symbols(p.insns, p.ninsns);
        if (make_class(spec, "access", p.allowed, &m, &err))
            fail_msg("%s: %s", rows[k].constraints, err.message);
        tn_eim_authority(m.c, true, &q, &auth);
        assert_int_equal(tn_verify(&in, &v), 0);
        if (rows[k].writes && kind == TN_MEM_PROBE) { /* nothing is written where the object may be gone */
            assert_false(v.accepted);
            assert_non_null(strstr(v.refusal.message, "not known to be there"));
        } else {
            if (!v.accepted)
                fail_msg("%s: %s", rows[k].constraints, v.refusal.message);
            assert_int_equal(v.aux[9].mem_kind, kind);
            assert_int_equal(v.facts.syscalls, kind != TN_MEM_PROMISED);
        }
        tn_verdict_clear(&v);
        drop(&m);
    }
}

static void test_bad_promises(void **state)
{
    static const char *const rows[][2] = {
        {"valid(r->method)", "valid() is said of a pointer in an object, or of a buffer"},
        {"writable(r->method)", "writable() is said of a buffer"},
        {"writable(r->parent)", "writable() is said of a buffer"},
        {"writable(r->uri.data[0 .. r->args.date])", "no field \"date\"; did you mean \"data\"?"},
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_error err;
        struct made m;
        char spec[400];

        snprintf(spec, sizeof(spec),
                 "eim: 1\nhost: h\nextension_entries:\n- { name: access, extension_entry: access_phase,\n"
                 "    constraints: [ \"%s\" ] }\n",
                 rows[k][0]);
        assert_int_equal(make_class(spec, "access", "", &m, &err), -EINVAL);
        if (!strstr(err.message, rows[k][1]) || strncmp(err.message, "spec.yaml:5:", 12) != 0)
            fail_msg("%s: %s", rows[k][0], err.message);
        drop(&m);
    }
}

static u32 verify_rows(const struct program *rows, size_t n)
{
    static const struct tn_verify_map maps[] = {
        {.geo = {.type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
         .name = "counters"},
        {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
         .name = "shared"},
        {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
         .rdonly_prog = true,
         .name = "fixed"}};
    u32 wrong = 0;

    for (size_t k = 0; k < n; k++) {
        struct program joined = rows[k];
        const struct program *p = &joined;
        struct tn_authority auth;
        struct tn_asker q;
        struct made m;
        struct tn_error err;
        struct tn_verdict v;
        struct tn_verify_in in = {.insns = p->insns,
                                  .ninsns = p->ninsns,
                                  .prog_type = BPF_PROG_TYPE_TRACING,
                                  .expected_attach_type = rows == exits ? BPF_TRACE_FEXIT : BPF_TRACE_FENTRY,
                                  .gpl = true,
                                  .host_btf = host_btf,
                                  .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                                  .authority = &auth};

        in.maps = maps;
        in.nmaps = TN_ARRAY_SIZE(maps);
        in.process = rows != programs;
        in.copy_btf_id = rows == buffers ? tn_btf_find(host_btf, BTF_KIND_FUNC, "tenon_copy") : 0;
        join_symbols(joined.insns, joined.ninsns);
        if (make_class(HOST_SPEC, "access", p->allowed, &m, &err))
            fail_msg("%s: %s", p->what, err.message);
        tn_eim_authority(m.c, true, &q, &auth);
        assert_int_equal(tn_verify(&in, &v), 0);
        if (v.accepted != !p->says || (p->says && !strstr(v.refusal.message, p->says))) {
            print_error("%s: %s\n", p->what, v.accepted ? "accepted" : v.refusal.message);
            wrong++;
        }
        tn_verdict_clear(&v);
        drop(&m);
    }
    return wrong;
}

/* A call of finish(), which may not be called while it runs, from places that are more or less far from it. */
static void test_reentry(void **state)
{
#define ALONE                                                                                                \
    "eim: 1\nhost: h\nfunction_capabilities:\n- { name: finishRequest, function: finish, constraints: [ "    \
    "not_reentrant ] }\n- { name: copyOut, function: copy, constraints: [ not_reentrant ] }\n"               \
    "extension_entries:\n- { name: itself, extension_entry: finish, constraints: [ nonnull(r) ] }\n"         \
    "- { name: access, extension_entry: access_phase, constraints: [ nonnull(r)"
    static const struct {
        const char *spec, *entry, *says;
    } rows[] = {
        {ALONE ", outside(finish) ] }\n", "access", NULL},
        {ALONE " ] }\n- { name: other, extension_entry: access_phase, constraints: [ outside(finish) ] }\n",
         "access", NULL},
        {ALONE " ] }\n", "access",
         "finish may not be called while it runs (not_reentrant), and entry \"access\" may be reached from "
         "there\nneeds  outside(finish) among the constraints of \"access\""},
        {ALONE ", outside(copy) ] }\n", "access", "needs  outside(finish)"},
        {ALONE ", outside(finish) ] }\n", "itself", "entry \"itself\" is that function itself"},
        {ALONE ", outside(finish) ] }\n", "uprobe:access_phase",
         "nobody promises that it does not where class \"c\" stands"},
    };
    const struct tn_call call = {.btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "finish")};

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
        struct tn_error err, why = {0};
        struct tn_authority auth;
        struct tn_asker q;
        struct made m;
        int code;

        if (make_class(rows[k].spec, rows[k].entry, "  - finishRequest\n", &m, &err))
            fail_msg("row %zu: %s", k, err.message);
        tn_eim_authority(m.c, true, &q, &auth);
        code = auth.may_call(auth.self, &call, &facts, &why);
        assert_int_equal(code, rows[k].says ? -EACCES : 0);
        if (code && (strcmp(why.reason, "not_reentrant") != 0 || !strstr(why.message, rows[k].says)))
            fail_msg("row %zu: %s", k, why.message);
        drop(&m);
    }
}

static void test_verifier(void **state)
{
    assert_int_equal(verify_rows(programs, TN_ARRAY_SIZE(programs)), 0);
    assert_int_equal(verify_rows(percpu, TN_ARRAY_SIZE(percpu)), 0);
    assert_int_equal(verify_rows(own, TN_ARRAY_SIZE(own)), 0);
    assert_int_equal(verify_rows(exits, TN_ARRAY_SIZE(exits)), 0);
    assert_int_equal(verify_rows(buffers, TN_ARRAY_SIZE(buffers)), 0);
}

/* A program is verified once under the recorder; the class inferred of that admits it, and no smaller one. */
static void test_infer(void **state)
{
    static const struct program p =
        P("", "",
          "instructions < 10,memory < 256 "
          "KiB,bpf_ktime_get_ns,read(r->connection->fd),read(r->method),read(rc),",
          REQUEST, LDX(DW, R0, R1, 8), LDX(W, R0, R6, offsetof(request_t, method)), LDX(DW, R7, R6, 0),
          LDX(W, R0, R7, 0), CALL(5), RETURN0);
    const struct tn_eim_needs needs = {
        .insns = 9, .memory = {.text = 4096, .stack = 512, .maps = 200000}, .typed = true};
    struct tn_eim_inferred inferred = {0};
    struct tn_eim_uses uses = {0};
    struct tn_authority auth;
    char says[500] = "", printed[2000] = "";
    struct made m;
    struct tn_error err;
    struct tn_verdict v;
    struct tn_verify_in in = {.insns = p.insns,
                              .ninsns = p.ninsns,
                              .prog_type = BPF_PROG_TYPE_TRACING,
                              .expected_attach_type = BPF_TRACE_FENTRY,
                              .gpl = true,
                              .host_btf = host_btf,
                              .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                              .authority = &auth};
    FILE *f;

    assert_int_equal(make_class(HOST_SPEC, "access", "", &m, &err), 0);
    uses.bound = m.bound;
    tn_eim_recording(&uses, "access", &auth);
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_true(v.accepted);
    tn_verdict_clear(&v);
    if (tn_eim_infer(&uses, "mine", "access", &needs, &inferred, &err))
        fail_msg("%s", err.message);
    f = fmemopen(printed, sizeof(printed), "w");
    tn_eim_print_class(inferred.c, f);
    fclose(f);
    assert_non_null(strstr(printed, "  - name: mine\n    extension_entry: access\n    allowed:\n"));
    for (u32 k = 0; k < inferred.n; k++) {
        char item[200];

        snprintf(item, sizeof(item), "%s,", inferred.text[k]);
        assert_non_null(strstr(p.says, item));
        snprintf(says + strlen(says), sizeof(says) - strlen(says), "%s", item);
        snprintf(item, sizeof(item), "      - \"%s\"\n", inferred.text[k]);
        assert_non_null(strstr(printed, item));
    }
    assert_int_equal(strlen(says), strlen(p.says));
    for (u32 k = 0; k < uses.n; k++) {
        char text[100];

        assert_int_equal(tn_eim_admits(inferred.c, true, &uses.row[k], &err), 0);
        tn_eim_use_text(inferred.c, &uses.row[k], text, sizeof(text));
        assert_true(*text);
    }
    tn_eim_inferred_clear(&inferred);
    tn_eim_uses_clear(&uses);
    drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answering_programs),
        cmocka_unit_test(test_changed_arguments),
        cmocka_unit_test(test_verifier),
        cmocka_unit_test(test_promise),
        cmocka_unit_test(test_bad_promises),
        cmocka_unit_test(test_reentry),
        cmocka_unit_test(test_infer),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
