/* SPDX-License-Identifier: MIT */
/*
 * Each kind of capability by each way of access: programs are put together from the two, verified under a class
 * that grants what is needed and under one that does not.
 *
 *      prologue of the way       gets the object into r6: at once, spilt, as a parameter, in a callback …
 *      what the kind does        with the object in r6
 *
 * Of each pair: the first class admits it, the second refuses it and names what is missing; one capability more,
 * whichever, refuses nothing; the class inferred of it admits it, and is refused without any one of its rows.
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

/* In place of ids, which are known when the types are. */
enum { FINISH = -1, COPY = -2, PID = -3, CYCLE = -4, LAST = -5, LIMITS = -6, TENON_COPY = -7 };
static const struct {
    const char *name;
    u32 kind;
} symbols[] = {{"", 0},
               {"finish", BTF_KIND_FUNC},
               {"copy", BTF_KIND_FUNC},
               {"pid", BTF_KIND_VAR},
               {"the_cycle", BTF_KIND_VAR},
               {"last_connection", BTF_KIND_VAR},
               {"limits", BTF_KIND_VAR},
               {"tenon_copy", BTF_KIND_FUNC}};
#define FUNCTION(name)  INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, name)
#define SYMBOL(d, name) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, name), INSN(0, 0, 0, 0, 0)

/* ------------------------------------------------------------------------------------------------- kinds */

/* How the object comes to r6: from the context in r1. */
enum base { CONTEXT, REQUEST, CONNECTION, VARIABLE, NUMBERS, STRUCTURE, FOLLOWED };
static const struct code {
    u32 n;
    struct bpf_insn insn[12];
} bases[] = {
#define CODE(...)                                                                                            \
    {                                                                                                        \
        sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),                                  \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
    [CONTEXT] = CODE(MOVX(R6, R1)),
    [REQUEST] = CODE(LDX(DW, R6, R1, 0)),
    [CONNECTION] = CODE(LDX(DW, R6, R1, 0), LDX(DW, R6, R6, offsetof(request_t, connection))),
    [VARIABLE] = CODE(SYMBOL(R6, PID)),
    [NUMBERS] = CODE(SYMBOL(R6, LIMITS)),
    [STRUCTURE] = CODE(SYMBOL(R6, CYCLE)),
    [FOLLOWED] = CODE(SYMBOL(R6, LAST), LDX(DW, R6, R6, 0)),
};

#define READ(size, type, field)  CODE(LDX(size, R0, R6, offsetof(type, field)))
#define WRITE(size, type, field) CODE(ST(size, R6, offsetof(type, field), 1))
/* Eight bytes of it, from or to the stack. */
#define BUFFER(pointer, first, word)                                                                         \
    CODE(MOVX(R3, R6), MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8),                                              \
         WIDE(R4, offsetof(request_t, pointer), first),                                                      \
         WIDE(R5, offsetof(request_t, ntail) | (word), 4 << (TENON_LENGTH_SIZE - 32) | (word) >> 32),        \
         FUNCTION(TENON_COPY))
#define WIDE(d, low, high) INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (s32)(low)), INSN(0, 0, 0, 0, (s32)(high))
#define ITEM(text)         "  - \"" text "\"\n"
static const struct kind {
    const char *what, *granted, *not_granted, *needs;
    enum base base;
    struct code act; /* its first instruction is the access: ways that move r6 change that one's offset */
} kinds[] = {
    {"a field", ITEM("read(r->method)"), ITEM("read(r->uri)"), "needs  read(r->method)", REQUEST,
     READ(W, request_t, method)},
    {"a field of a field", ITEM("read(r->uri.len)"), ITEM("read(r->args)"), "needs  read(r->uri.len)",
     REQUEST, READ(DW, request_t, uri.len)},
    {"a member of a union", ITEM("read(r->number)"), ITEM("read(r->low)"), "needs  read(r->number)", REQUEST,
     READ(DW, request_t, number)},
    {"another name of the same bytes", ITEM("read(r->text)"), ITEM("read(r->text[0 .. 7])"),
     "needs  read(r->number)", REQUEST, READ(DW, request_t, number)},
    {"an element", ITEM("read(r->grid[1][2])"), ITEM("read(r->grid[2])"), "needs  read(r->grid[1][2])",
     REQUEST, READ(H_, request_t, grid[1][2])},
    {"a field of an element", ITEM("read(r->headers[2].hash)"), ITEM("read(r->headers[1])"),
     "needs  read(r->headers[2].hash)", REQUEST, READ(W, request_t, headers[2].hash)},
    {"a field of all elements", ITEM("read(r->headers[..].hash)"), ITEM("read(r->headers[..].key)"),
     "needs  read(r->headers[2].hash)", REQUEST, READ(W, request_t, headers[2].hash)},
    {"a field behind a pointer", ITEM("read(r->connection->fd)"), ITEM("read(r->connection)"),
     "needs  read(r->connection->fd)", CONNECTION, READ(W, connection_t, fd)},
    {"a bitfield", ITEM("read(r->connection->port)"), ITEM("read(r->connection->secure)"),
     "needs  read(r->connection->port)", CONNECTION, CODE(LDX(H_, R0, R6, 6))},
    {"a bitfield by its neighbour's name", ITEM("read(r->connection->secure)"),
     ITEM("read(r->connection->port)"), "needs  read(r->connection->", CONNECTION, CODE(LDX(B, R0, R6, 4))},
    {"a number that is an argument", ITEM("read(rc)"), "", "needs  read(rc)", CONTEXT,
     CODE(LDX(DW, R0, R6, 8))},
    {"a variable", ITEM("readPid"), ITEM("readCycle"), "needs  readPid", VARIABLE, CODE(LDX(W, R0, R6, 0))},
    {"a variable that may be written", ITEM("readPid"), ITEM("writePid"), "needs  readPid", VARIABLE,
     CODE(LDX(H_, R0, R6, 2))},
    {"a written variable", ITEM("writePid"), ITEM("readPid"), "needs  writePid", VARIABLE,
     CODE(ST(W, R6, 0, 1))},
    {"an element of a variable", ITEM("read(limits[1])"), ITEM("read(limits[2])"), "needs  read(limits[1])",
     NUMBERS, CODE(LDX(H_, R0, R6, 2))},
    {"a written element of a variable", ITEM("write(limits[1 .. 3])"), ITEM("write(limits[0])"),
     "needs  write(limits[2])", NUMBERS, CODE(ST(H_, R6, 4, 1))},
    {"a field behind a variable", ITEM("lastFd"), ITEM("read(last_connection)"),
     "needs  read(last_connection->fd)", FOLLOWED, READ(W, connection_t, fd)},
    {"a variable, to what is behind it", ITEM("lastFd"), ITEM("read(connection_t->fd)"),
     "needs  read(last_connection)", FOLLOWED, READ(W, connection_t, fd)},
    {"a field of a variable", ITEM("readCycle"), ITEM("readPid"), "needs  readCycle", STRUCTURE,
     READ(W, struct cycle, pid)},
    {"a field of a variable, by its type", ITEM("readCycle"), ITEM("read(cycle->pid)"), "needs  readCycle",
     STRUCTURE, READ(W, struct cycle, pid)},
    {"a written field", ITEM("write(r->headers_out.status)"), ITEM("read(r)"),
     "needs  write(r->headers_out.status)", REQUEST, WRITE(W, request_t, headers_out.status)},
    {"a written byte", ITEM("write(r->headers_out.pad_after)"), ITEM("write(r->headers_out.status)"),
     "needs  write(r->headers_out.pad_after)", REQUEST, WRITE(B, request_t, headers_out.pad_after)},
    {"a helper", ITEM("bpf_ktime_get_ns"), ITEM("bpf_get_prandom_u32"), "needs  bpf_ktime_get_ns", REQUEST,
     CODE(CALL(BPF_FUNC_ktime_get_ns))},
    {"a helper of a group", ITEM("helpers(local)"), ITEM("helpers(result)"), "needs  bpf_ktime_get_ns",
     REQUEST, CODE(CALL(BPF_FUNC_ktime_get_ns))},
    {"an address for a helper", ITEM("read(process)"), ITEM("read(r)") ITEM("helpers(local)"),
     "needs  read(process)", REQUEST,
     CODE(MOVX(R3, R6), MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8), CALL(BPF_FUNC_probe_read_user))},
    {"a buffer", ITEM("read(r->either.bytes[0 .. r->ntail])"), ITEM("read(r->either)") ITEM("read(r->ntail)"),
     "needs  read(r->either.bytes[0 .. r->ntail])", REQUEST, BUFFER(either.bytes, 0, 0ull)},
    {"elements of a buffer", ITEM("read(r->names[2 .. r->ntail])"), ITEM("read(r->names[3 .. r->ntail])"),
     "needs  read(r->names[2 .. r->ntail])", REQUEST, BUFFER(names, 2, 8ull << TENON_ELEMENT)},
    {"an array at the end", ITEM("read(r->tail[0 .. r->ntail])"), ITEM("read(r)"),
     "needs  read(r->tail[0 .. r->ntail])", REQUEST, BUFFER(tail, 0, 1ull << TENON_INSIDE)},
    {"a written buffer", ITEM("write(r->uri.data[0 .. r->ntail])"), ITEM("read(r->uri.data[0 .. r->ntail])"),
     "needs  write(r->uri.data[0 .. r->ntail])", REQUEST, BUFFER(uri.data, 0, 1ull << TENON_WRITES)},
    {"a function of the host", ITEM("finishRequest") ITEM("write(r->headers_out.status)"),
     ITEM("write(r->headers_out.status)"), "needs  finishRequest", REQUEST,
     CODE(MOVX(R1, R6), MOV(R2, 404), FUNCTION(FINISH))},
    {"a function that writes for its caller", ITEM("finishRequest") ITEM("write(r->headers_out.status)"),
     ITEM("finishRequest"), "needs  write(r->headers_out.status)", REQUEST,
     CODE(MOVX(R1, R6), MOV(R2, 404), FUNCTION(FINISH))},
};

/* -------------------------------------------------------------------------------------------------- ways */

enum way { DIRECT, SPILT, PARAMETER, CALLBACK, MOVED, CONTAINER, JOINED, VIA_MAP, INDEXED, WAYS };
static const char *const ways[] = {"direct",
                                   "spilt",
                                   "in a subprogram",
                                   "in a callback",
                                   "moved by a constant",
                                   "from a member, back",
                                   "after two ways met",
                                   "its result into a map",
                                   "moved by what a map says"};

struct built {
    struct bpf_insn insn[64];
    u32 n, second; /* where a second function begins; 0: none */
};

static void put(struct built *p, struct bpf_insn insn)
{
    p->insn[p->n++] = insn;
}
#define PUT(...)                                                                                             \
    do {                                                                                                     \
        const struct bpf_insn row_[] = {__VA_ARGS__};                                                        \
                                                                                                             \
        for (u32 k_ = 0; k_ < sizeof(row_) / sizeof(*row_); k_++)                                            \
            put(p, row_[k_]);                                                                                \
    } while (0)

static void put_code(struct built *p, const struct code *c)
{
    for (u32 k = 0; k < c->n; k++)
        put(p, c->insn[k]);
}

/* A load or a store: everything else has the object for an argument, if at all. */
static bool is_access(const struct kind *kind)
{
    u8 class = BPF_CLASS(kind->act.insn[0].code);

    return class == BPF_LDX || class == BPF_ST;
}

static void build(const struct kind *kind, enum way way, struct built *p)
{
    struct code act = kind->act;
    u32 at;

    *p = (struct built){.n = 0};
    put_code(p, &bases[kind->base]);
    switch (way) {
    case SPILT:
        PUT(STX(DW, R10, -8, R6), MOV(R6, 0), LDX(DW, R6, R10, -8));
        break;
    case PARAMETER:
        PUT(MOVX(R1, R6), CALLP(2), MOV(R0, 0), EXIT);
        p->second = p->n;
        PUT(MOVX(R6, R1));
        break;
    case CALLBACK:
        PUT(STX(DW, R10, -8, R6), MOV(R1, 1));
        at = p->n;
        PUT(INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 0), INSN(0, 0, 0, 0, 0), MOVX(R3, R10),
            ADD(R3, -8), MOV(R4, 0), CALL(BPF_FUNC_loop), MOV(R0, 0), EXIT);
        p->second = p->n;
        p->insn[at].imm = (s32)(p->n - at - 1);
        PUT(LDX(DW, R6, R2, 0));
        break;
    case MOVED:
        PUT(ADD(R6, 16));
        if (is_access(kind))
            act.insn[0].off = (s16)(act.insn[0].off - 16);
        else
            PUT(ADD(R6, -16));
        break;
    case CONTAINER:
        PUT(ADD(R6, offsetof(request_t, uri)), MOVX(R7, R6), ADD(R7, -(s32)offsetof(request_t, uri)),
            MOVX(R6, R7));
        break;
    case JOINED:
        PUT(MOVX(R7, R6), CALL(BPF_FUNC_get_prandom_u32), JMP(BPF_JEQ, R0, 0, 1), MOVX(R6, R7));
        break;
    case INDEXED:
        PUT(LDVAL(R7, 0, 0), LDX(W, R7, R7, 0), ALU(BPF_AND, R7, 1), ALU(BPF_MUL, R7, sizeof(struct header)),
            ADDX(R6, R7));
        break;
    default:
        break;
    }
    put_code(p, &act);
    if (way == VIA_MAP)
        PUT(MOVX(R8, R0), LDVAL(R7, 0, 0), STX(DW, R7, 0, R8));
    PUT(MOV(R0, 0), EXIT);
}

/* Ways that some kinds do not go, here or on Linux, whatever their class: what the verifier says. */
static const char *never(const struct kind *kind, enum way way)
{
    static const char *const by_number[] = {[CONTEXT] = "variable ctx access",
                                            [REQUEST] = "invalid variable offset",
                                            [CONNECTION] = "invalid variable offset",
                                            [VARIABLE] = "outside of the allowed memory range",
                                            [NUMBERS] = "outside of the allowed memory range",
                                            [STRUCTURE] = "invalid variable offset",
                                            [FOLLOWED] = "invalid variable offset"};

    if (way == INDEXED && is_access(kind))
        return by_number[kind->base];
    if (way == INDEXED && (strstr(kind->granted, "finishRequest") || strstr(kind->granted, " .. r->ntail")))
        return "is moved by a number";
    if (way == MOVED && kind->base == CONTEXT)
        return "modified ctx ptr";
    return NULL;
}

/* What is stored yields no result. */
static bool applies(const struct kind *kind, enum way way)
{
    return way != VIA_MAP || BPF_CLASS(kind->act.insn[0].code) != BPF_ST;
}

/* ----------------------------------------------------------------------------------------------- judging */

static u8 *func_types;
static u32 func_types_size, main_id, callback_id;

/* int program(void *), static long callback(u32, void *): what a callback has to be known by. */
static void make_func_types(void)
{
    struct btf *b = btf__new_empty();
    int number = btf__add_int(b, "int", 4, BTF_INT_SIGNED), any = btf__add_ptr(b, 0), proto;
    const void *data;

    proto = btf__add_func_proto(b, number);
    btf__add_func_param(b, "ctx", any);
    main_id = (u32)btf__add_func(b, "program", BTF_FUNC_GLOBAL, proto);
    proto = btf__add_func_proto(b, number);
    btf__add_func_param(b, "index", number);
    btf__add_func_param(b, "ctx", any);
    callback_id = (u32)btf__add_func(b, "callback", BTF_FUNC_STATIC, proto);
    data = btf__raw_data(b, &func_types_size);
    func_types = malloc(func_types_size);
    assert_non_null(func_types);
    memcpy(func_types, data, func_types_size);
    btf__free(b);
}

static u32 verified;

static bool judge(struct built p, const struct tn_authority *auth, char says[2000])
{
    static const struct tn_verify_map map = {
        .geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
        .name = "values"};
    const struct bpf_func_info infos[] = {{0, main_id}, {p.second, callback_id}};
    struct tn_verify_in in = {.insns = p.insn,
                              .ninsns = p.n,
                              .prog_type = BPF_PROG_TYPE_TRACING,
                              .expected_attach_type = BPF_TRACE_FENTRY,
                              .gpl = true,
                              .maps = &map,
                              .nmaps = 1,
                              .btf = func_types,
                              .btf_size = func_types_size,
                              .func_info = infos,
                              .func_info_rec_size = sizeof(*infos),
                              .func_info_cnt = p.second ? 2 : 1,
                              .host_btf = host_btf,
                              .process = true,
                              .copy_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "tenon_copy"),
                              .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                              .authority = auth};
    struct tn_verdict v;
    bool accepted;

    for (u32 k = 0; k < p.n; k++)
        if (p.insn[k].imm < 0 &&
            ((p.insn[k].code == (BPF_JMP | BPF_CALL) && p.insn[k].src_reg == BPF_PSEUDO_KFUNC_CALL) ||
             (p.insn[k].code == (BPF_LD | BPF_IMM | BPF_DW) && p.insn[k].src_reg == BPF_PSEUDO_BTF_ID)))
            p.insn[k].imm =
                (s32)tn_btf_find(host_btf, symbols[-p.insn[k].imm].kind, symbols[-p.insn[k].imm].name);
    verified++;
    assert_int_equal(tn_verify(&in, &v), 0);
    accepted = v.accepted;
    snprintf(says, 2000, "%s", accepted ? "accepted" : v.refusal.message);
    tn_verdict_clear(&v);
    return accepted;
}

static bool admitted(const struct built *p, const char *allowed, char says[2000])
{
    struct tn_authority auth;
    struct tn_error err;
    struct tn_asker q;
    struct made m;
    bool r;

    if (make_long_class(HOST_SPEC, "access", "inf", allowed, &m, &err))
        fail_msg("%s: %s", allowed, err.message);
    tn_eim_authority(m.c, true, &q, &auth);
    r = judge(*p, &auth, says);
    drop(&m);
    return r;
}

/* What a way itself needs. */
static const char *of_way(enum way way)
{
    return way == CALLBACK ? ITEM("bpf_loop") : way == JOINED ? ITEM("bpf_get_prandom_u32") : "";
}

/* A class's own list never has a row twice. */
static void join(char *list, size_t cap, const char *rows)
{
    char row[200];

    for (const char *end; (end = strchr(rows, '\n')); rows = end + 1) {
        snprintf(row, sizeof(row), "%.*s", (int)(end - rows + 1), rows);
        if (!strstr(list, row))
            snprintf(list + strlen(list), cap - strlen(list), "%s", row);
    }
}

#define EACH(k, w)                                                                                           \
    for (u32 k = 0; k < TN_ARRAY_SIZE(kinds); k++)                                                           \
        for (enum way w = DIRECT; w < WAYS; w++)                                                             \
            if (applies(&kinds[k], w))

static void test_matrix(void **state)
{
    u32 wrong = 0, pairs = 0;

    EACH(k, w)
    {
        const char *no = never(&kinds[k], w);
        char with[1000] = "", without[1000] = "", says[2000];
        struct built p;
        bool r;

        build(&kinds[k], w, &p);
        join(with, sizeof(with), of_way(w));
        join(without, sizeof(without), of_way(w));
        join(with, sizeof(with), kinds[k].granted);
        join(without, sizeof(without), kinds[k].not_granted);
        r = admitted(&p, with, says);
        if (r != !no || (no && !strstr(says, no))) {
            print_error("%s, %s, granted: %s\n", kinds[k].what, ways[w], says);
            wrong++;
        }
        if (no)
            continue;
        pairs++;
        r = admitted(&p, without, says);
        if (r || !strstr(says, kinds[k].needs)) {
            print_error("%s, %s, not granted: %s\n", kinds[k].what, ways[w], says);
            wrong++;
        }
    }
    print_message("# %u pairs of kind and way\n", pairs);
    assert_int_equal(wrong, 0);
}

static void test_monotone(void **state)
{
    EACH(k, w)
    {
        struct built p;

        if (never(&kinds[k], w))
            continue;
        build(&kinds[k], w, &p);
        for (u32 more = 0; more < TN_ARRAY_SIZE(kinds); more++) {
            char list[1000] = "", says[2000];

            join(list, sizeof(list), of_way(w));
            join(list, sizeof(list), kinds[k].granted);
            join(list, sizeof(list), kinds[more].granted);
            join(list, sizeof(list), kinds[more].not_granted);
            if (!admitted(&p, list, says))
                fail_msg("%s, %s, with %s: %s", kinds[k].what, ways[w], kinds[more].what, says);
        }
    }
}

static void test_inferred(void **state)
{
    EACH(k, w)
    {
        const struct tn_eim_needs needs = {.insns = 90, .typed = true};
        struct tn_eim_inferred inferred = {0};
        struct tn_eim_uses uses = {0};
        struct tn_authority by_class, recorder;
        struct built p;
        struct made m;
        struct tn_error err;
        struct tn_asker q;
        char says[2000];

        if (never(&kinds[k], w))
            continue;
        build(&kinds[k], w, &p);
        if (make_class(HOST_SPEC, "access", "", &m, &err))
            fail_msg("%s", err.message);
        uses.bound = m.bound;
        tn_eim_recording(&uses, "access", &recorder);
        tn_eim_authority(m.c, true, &q, &by_class);
        recorder.host_stores = true;
        recorder.entry_valid = by_class.entry_valid;
        if (!judge(p, &recorder, says) || tn_eim_infer(&uses, "mine", "access", &needs, &inferred, &err))
            fail_msg("%s, %s: %s %s", kinds[k].what, ways[w], says, err.message);
        for (u32 without = 0; without <= inferred.n; without++) {
            char list[1000] = "";

            if (without < inferred.n && !strncmp(inferred.text[without], "instructions", 12))
                continue;
            for (u32 t = 0; t < inferred.n; t++)
                if (t != without && strncmp(inferred.text[t], "instructions", 12) != 0)
                    snprintf(list + strlen(list), sizeof(list) - strlen(list), "  - \"%s\"\n",
                             inferred.text[t]);
            if (admitted(&p, list, says) != (without == inferred.n))
                fail_msg("%s, %s, without \"%s\" of what was inferred: %s", kinds[k].what, ways[w],
                         without < inferred.n ? inferred.text[without] : "", says);
        }
        tn_eim_inferred_clear(&inferred);
        tn_eim_uses_clear(&uses);
        drop(&m);
    }
    print_message("# %u verifications\n", verified);
}

static int open_all(void **state)
{
    make_func_types();
    return open_host(state);
}
static int close_all(void **state)
{
    free(func_types);
    return close_host(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_inferred),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
