/* SPDX-License-Identifier: MIT */
/*
 * Classes held against types: which bytes a path names, which paths are refused and where, what a class says
 * to each question and how it says no, conditions of calls, and the verifier asking.
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

/* ------------------------------------------------------------------------------------------------- paths */

#define AT(type, field) offsetof(type, field)
#define R(field)                                                                                             \
    {                                                                                                        \
        "request", AT(request_t, field), AT(request_t, field) + sizeof(((request_t *)0)->field)              \
    }
#define BYTES(type, begin, stop)                                                                             \
    {                                                                                                        \
        type, begin, stop                                                                                    \
    }

struct bytes {
    const char *type;
    u64 off, end;
};
static const struct {
    const char *path;
    struct bytes is[6]; /* all that may be read, sorted, joined */
} paths[] = {
    {"r", {BYTES("request", 0, sizeof(request_t))}},
    {"*r", {BYTES("request", 0, sizeof(request_t))}},
    {"r[0]", {BYTES("request", 0, sizeof(request_t))}},
    {"request_t", {BYTES("request", 0, sizeof(request_t))}},
    {"r->method", {R(method)}},
    {"request->method", {R(method)}},
    {"request_t->uri.len", {R(uri.len)}},
    {"r->uri", {R(uri)}},
    {"r->connection", {R(connection)}},
    {"r->connection->fd", {R(connection), BYTES("connection", 0, 4)}},
    {"*r->connection", {R(connection), BYTES("connection", 0, sizeof(connection_t))}},
    {"r->connection->next->next->fd",
     {R(connection), BYTES("connection", 0, 4),
      BYTES("connection", AT(connection_t, next), AT(connection_t, next) + 8)}},
    {"r->connection->secure", {R(connection), BYTES("connection", 4, 5)}},
    {"r->connection->port", {R(connection), BYTES("connection", 6, 8)}},
    {"r->number", {R(number)}},
    {"r->high", {R(high)}},
    {"r->text", {R(text)}},
    {"r->text[3]", {R(text[3])}},
    {"r->text[2 .. 5]", {BYTES("request", AT(request_t, text) + 2, AT(request_t, text) + 5)}},
    {"r->headers", {R(headers)}},
    {"r->headers[1].value.len", {R(headers[1].value.len)}},
    {"r->headers[..].hash", {R(headers[0].hash), R(headers[1].hash), R(headers[2].hash), R(headers[3].hash)}},
    {"r->headers[1 .. 3].hash", {R(headers[1].hash), R(headers[2].hash)}},
    {"r->grid[..][1]", {R(grid[0][1]), R(grid[1][1]), R(grid[2][1])}},
    {"r->grid[..][..]", {R(grid)}},
    {"r->grid[1]", {R(grid[1])}},
    {"r->headers_out", {R(headers_out)}},
    {"r->handler", {R(handler)}},
    {"r->parent->parent->method", {R(method), R(parent)}},
    {"name->len", {BYTES("str_t", 0, 8)}},
    {"the_cycle.name.len", {BYTES("cycle", AT(struct cycle, name), AT(struct cycle, name) + 8)}},
    {"the_cycle", {BYTES("cycle", 0, sizeof(struct cycle))}},
    {"last_connection->fd", {BYTES("connection", 0, 4), BYTES("last_connection", 0, 8)}},
    {"last_connection", {BYTES("last_connection", 0, 8)}},
    {"*current_cycle", {BYTES("current_cycle", 0, 8), BYTES("cycle", 0, sizeof(struct cycle))}},
    {"pid", {BYTES("pid", 0, 4)}},
    {"limits", {BYTES("limits", 0, 8)}},
    {"limits[2]", {BYTES("limits", 4, 6)}},
    {"limits[1 .. 3]", {BYTES("limits", 2, 6)}},
    {"pool[1].fd", {BYTES("pool", sizeof(connection_t), sizeof(connection_t) + 4)}},
    {"pool[2].next->fd",
     {BYTES("connection", 0, 4), BYTES("pool", 2 * sizeof(connection_t) + AT(connection_t, next),
                                       2 * sizeof(connection_t) + AT(connection_t, next) + 8)}},
    {"r->uri.data[0 .. r->uri.len]", {R(uri)}},
    {"r->uri.data[0 .. 16]", {R(uri.data)}},
    {"r->tail[0 .. ntail]", {R(ntail)}},
    {"r->names[0 .. ntail]", {BYTES("request", AT(request_t, names), AT(request_t, ntail) + 4)}},
    {"rc", {{0}}},
};

static void test_paths(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(paths); k++) {
        char allowed[200];
        struct tn_error err;
        struct made m;
        u32 n = 0;

        snprintf(allowed, sizeof(allowed), "  - \"read(%s)\"\n", paths[k].path);
        if (make_class(HOST_SPEC, "access", allowed, &m, &err))
            fail_msg("%s: %s", paths[k].path, err.message);
        while (n < 6 && paths[k].is[n].type)
            n++;
        for (u32 b = 0; b < n; b++) {
            const struct bytes *is = &paths[k].is[b];
            bool there = false;

            for (u32 g = 0; g < m.c->ngrants[TN_READ]; g++) {
                const struct tn_grant *have = &m.c->grant[TN_READ][g];

                there |= have->type == type_named(is->type) && have->off == is->off && have->end == is->end;
            }
            if (there)
                continue;
            print_error("%s: %s %llu .. %llu is not there\n", paths[k].path, is->type,
                        (unsigned long long)is->off, (unsigned long long)is->end);
            wrong++;
        }
        if (m.c->ngrants[TN_READ] != n || m.c->ngrants[TN_WRITE]) {
            print_error("%s: %u pieces, not %u\n", paths[k].path, m.c->ngrants[TN_READ], n);
            wrong++;
        }
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

/* p.yaml, line 8; the path begins in column 11. */
static const struct {
    const char *path, *says;
} bad_paths[] = {
    {"q->uri",
     "p.yaml:8:11: \"q\" is neither an argument of access_phase nor a variable or type of the host"},
    {"nam->len", "did you mean \"name\"?"},
    {"last_conection->fd", "did you mean \"last_connection\"?"},
    {"r->ury", "p.yaml:8:14: struct request has no field \"ury\"; did you mean \"uri\"?"},
    {"r->uri.length", "p.yaml:8:18: str_t has no field \"length\"; did you mean \"len\"?"},
    {"r.uri", "p.yaml:8:13: this is a pointer: expected ->uri"},
    {"r->uri->len", "p.yaml:8:19: this is no pointer: expected .len"},
    {"rc->x", "p.yaml:8:15: a number of 4 bytes has no fields: \"x\" is nothing"},
    {"r->method.x", "has no fields: \"x\" is nothing"},
    {"r->names.x", "has no fields"},
    {"r->hidden->x", "has no fields: \"x\" is nothing"},
    {"*r->hidden", "there is nothing behind this"},
    {"*r->method", "there is nothing behind this: it is a enum method"},
    {"r->method[1]", "this is no array but a enum method"},
    {"r->uri.data[1]", "bytes behind a pointer are a range, as in [0 .. n]"},
    {"r[1]", "p.yaml:8:12: this is no array but a struct request *"},
    {"r->headers[4]", "p.yaml:8:21: the array has 4 elements, numbered from 0"},
    {"r->headers[2 .. 5]", "the array has 4 elements"},
    {"r->tail", "this has no size of its own: expected a range"},
    {"r->tail[..]", "how many elements this array has is not known"},
    {"r->uri.data[..]", "how many are behind this pointer is not known"},
    {"r->uri.data[0 .. r->connection->fd]",
     "the length has to lie in the same object as the pointer, a \"request\""},
    {"r->uri.data[0 .. uri]", "a length has to be one whole number"},
    {"r->uri.data[0 .. nlen]", "\"nlen\" is neither an argument"},
    {"r->uri.data[0 .. r->uri.len].x", "nothing follows its range"},
    {"r[0 .. rc]", "a buffer is named by a field that points to it"},
};

static void test_bad_paths(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(bad_paths); k++) {
        char allowed[200];
        struct tn_error err;
        struct made m;

        snprintf(allowed, sizeof(allowed), "  - \"read(%s)\"\n", bad_paths[k].path);
        if (!make_class(HOST_SPEC, "access", allowed, &m, &err) || !strstr(err.message, bad_paths[k].says)) {
            print_error("%s:\n  says     %s\n  expected %s\n", bad_paths[k].path, err.message,
                        bad_paths[k].says);
            wrong++;
        }
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

/* ------------------------------------------------------------------------------------------- prototypes */

#define ONE_FUNCTION(rest) "eim: 1\nhost: h\nfunction_capabilities:\n- { name: f, function: " rest " }\n"
static const struct {
    const char *spec, *says; /* NULL: it is good */
} prototypes[] = {
    {ONE_FUNCTION("finish"), NULL},
    {ONE_FUNCTION("finish, prototype: \"int (struct request *r, int rc)\""), NULL},
    {ONE_FUNCTION("finish, prototype: \"signed finish(request_t *restrict, const int rc)\""), NULL},
    {ONE_FUNCTION("copy, prototype: \"long long (char *, unsigned, connection_t *)\""), NULL},
    {ONE_FUNCTION("copy, prototype: \"ssize_t (void *, uint32_t, struct connection *)\""), NULL},
    {ONE_FUNCTION("elsewhere, prototype: \"void (void)\""), NULL},
    {ONE_FUNCTION("finsh"), "spec.yaml:4:24: the host's types have no function \"finsh\", and no prototype "
                            "stands here; did you mean \"finish\"?"},
    {ONE_FUNCTION("finish, prototype: \"int (request *r, int rc)\""),
     "spec.yaml:4:49: the host has no type \"request\"; did you mean \"struct request\"?"},
    {ONE_FUNCTION("finish, prototype: \"int (requst_t *r, int rc)\""),
     "the host has no type \"requst_t\"; did you mean \"request_t\"?"},
    {ONE_FUNCTION("finish, prototype: \"int (struct reqest *r, int rc)\""),
     "spec.yaml:4:56: the host has no type \"struct reqest\"; did you mean \"request\"?"},
    {ONE_FUNCTION("finish, prototype: \"int (request_t *r)\""),
     "spec.yaml:4:61: finish takes 2 arguments, and 1 stands here"},
    {ONE_FUNCTION("finish, prototype: \"int (request_t *r, int rc, int more)\""),
     "spec.yaml:4:71: finish takes 2 arguments, and 3 stand here"},
    {ONE_FUNCTION("finish, prototype: \"int (connection_t *r, int rc)\""),
     "spec.yaml:4:49: argument 1 is a struct connection * here, and a struct request * in the host's own "
     "types of finish"},
    {ONE_FUNCTION("finish, prototype: \"int (request_t *r, long rc)\""),
     "argument 2 is a number of 8 bytes here, and a int in the host's own types"},
    {ONE_FUNCTION("finish, prototype: \"void (request_t *r, int rc)\""),
     "spec.yaml:4:44: the result is a void here"},
    {ONE_FUNCTION("finish, constraints: [ \"nonnull(q)\" ]"), "spec.yaml:4:56: finish has no argument \"q\""},
    {ONE_FUNCTION("finish, constraints: [ \"reads(r->ury)\" ]"),
     "struct request has no field \"ury\"; did you mean \"uri\"?"},
    {"eim: 1\nhost: h\nstate_capabilities:\n- { name: s, operation: read(pit) }\n",
     "spec.yaml:4:30: \"pit\" is neither an argument nor a variable or type of the host; did you mean "
     "\"pid\"?"},
};

/* What only a prototype says, as types, and said again. */
static void test_complete(void **state)
{
    static const struct {
        const char *prototype, *again; /* NULL: refused, and that with … */
        const char *says;
    } rows[] = {
        {"int (struct request *r, long n)", "int (struct request *r, long n)", NULL},
        {"request_t *(request_t *r, connection_t **all)", "request_t * (request_t *r, connection_t **all)",
         NULL},
        {"void (void)", "void (void)", NULL},
        {"size_t (uint8_t a, const char *const *names, int16_t)",
         "unsigned long (unsigned char a, char **names, short arg3)", NULL},
        {"double (float f, long double d)", "double (float f, long double d)", NULL},
        {"str_t (str_t by_value, enum method m)", "str_t (str_t by_value, enum method m)", NULL},
        {"int (int (*call)(struct nobody *), struct opaque *o, union nothing *u)", NULL,
         "the host has no type \"union nothing\""},
        {"int (int (*call)(struct nobody *), struct opaque *o)", "int (void *call, struct opaque *o)", NULL},
        {"int (struct opaque o)", NULL, "spec.yaml:4:59: \"opaque\" has no size here"},
        {"struct opaque (void)", NULL, "\"opaque\" has no size here"},
        {"int (struct reqest *r)", NULL, "did you mean"},
    };
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        _free_ char *again = NULL;
        struct tn_error err;
        char spec[300];
        struct made m;
        int code;
        u32 id;

        snprintf(spec, sizeof(spec), ONE_FUNCTION("elsewhere, prototype: \"%s\""), rows[k].prototype);
        code = make_class(spec, "uprobe:finish", "", &m, &err);
        id = m.btf ? tn_btf_find(m.btf, BTF_KIND_FUNC, "elsewhere") : 0;
        again = id ? tn_eim_prototype(m.btf, id) : NULL;
        if (!code != !rows[k].says || !id != !rows[k].again || (code && !strstr(err.message, rows[k].says)) ||
            (id && (!again || strcmp(again, rows[k].again) != 0)))
            wrong +=
                !!printf("# %s: %s, says %s\n", rows[k].prototype, again, code ? err.message : "nothing");
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

/* A name that nothing stands behind is refused when it is bound. */
static void test_nothing_there(void **state)
{
    struct tn_eim_source s = {.name = "spec.yaml",
                              .text = ONE_FUNCTION("elsewhere, prototype: \"void (void)\"")};
    struct tn_bound *bound = NULL;
    struct tn_error err = {0};
    struct tn_eim *eim = NULL;

    s.len = strlen(s.text);
    assert_int_equal(tn_eim_read(&s, 1, NULL, &eim, &err), 0);
    assert_int_equal(tn_eim_bind(eim, "h", host_btf, &bound, &err), -EINVAL);
    assert_non_null(
        strstr(err.message, "spec.yaml:4:24: the host has no function \"elsewhere\": no symbol of it"));
    tn_eim_free(eim);
}

static void test_prototypes(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(prototypes); k++) {
        struct tn_error err;
        struct made m;
        int code = make_class(prototypes[k].spec, "uprobe:finish", "", &m, &err);

        if (!code != !prototypes[k].says || (code && !strstr(err.message, prototypes[k].says))) {
            print_error("%s  says     %s\n  expected %s\n", prototypes[k].spec, err.message,
                        prototypes[k].says);
            wrong++;
        }
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

/* ------------------------------------------------------------------------------------------- questions */

enum { READ_IT = TN_ACCESS_READ, WRITE_IT = TN_ACCESS_WRITE };
static const struct {
    const char *allowed, *type;
    int kind;
    u64 off, size;
    const char *needs; /* NULL: it is admitted */
} questions[] = {
#define A(...)    __VA_ARGS__
#define ON(field) AT(request_t, field), sizeof(((request_t *)0)->field)
    {"  - read(r->uri.len)\n", "request", READ_IT, ON(uri.len), NULL},
    {"  - read(r->uri.len)\n", "request", READ_IT, AT(request_t, uri.len) + 4, 4, NULL},
    {"  - read(r->uri.len)\n", "request", READ_IT, AT(request_t, uri.len) + 4, 8,
     "needs  read(r->uri.len), read(r->uri.data)\nhas    read(r->uri.len)"},
    {"  - read(r->uri.len)\n", "request", WRITE_IT, ON(uri.len),
     "class \"c\" does not allow this write\nneeds  write(r->uri.len)\n"},
    {"  - write(r->uri.len)\n", "request", READ_IT, ON(uri.len), "needs  read(r->uri.len)"},
    {"  - write(r->uri.len)\n", "request", WRITE_IT, ON(uri.len), NULL},
    {"", "request", READ_IT, ON(headers_out.status),
     "needs  read(r->headers_out.status)\nhas    nothing besides its limits"},
    {"", "request", READ_IT, ON(headers[2].value.len), "needs  read(r->headers[2].value.len)"},
    {"", "request", READ_IT, ON(grid[1][2]), "needs  read(r->grid[1][2])"},
    {"", "request", READ_IT, ON(high), "needs  read(r->high)"},
    {"", "request", READ_IT, ON(number), "needs  read(r->number)"},
    {"", "request", READ_IT, AT(request_t, text) + 10, 2, "needs  read(r->text[10]), read(r->text[11])"},
    {"", "request", READ_IT, AT(request_t, headers_out) + 4, 8,
     "needs  read(r->headers_out)"}, /* with padding */
    {"", "request", READ_IT, 0, sizeof(request_t), "needs  read(r)"},
    {"", "connection", READ_IT, 0, 4, "needs  read(connection_t->fd)"},
    {"  - read(r->connection)\n", "connection", READ_IT, 0, 4, "needs  read(r->connection->fd)"},
    {"  - read(r->connection->next)\n", "connection", READ_IT, 0, sizeof(connection_t),
     "needs  read(*r->connection)"},
    {"", "connection", READ_IT, 4, 1, "needs  read(connection_t->flags)"},
    {"", "connection", READ_IT, 4, 4, "needs  read(connection_t)"}, /* 12 bits of it have no name */
    {"", "cycle", READ_IT, 0, 4, "needs  readCycle"},
    {"", "pid", READ_IT, 0, 4, "needs  readPid"},
    {"", "pid", READ_IT, 1, 1, "needs  readPid"},
    {"", "pid", WRITE_IT, 0, 4, "needs  writePid"},
    {"  - readPid\n", "pid", READ_IT, 0, 4, NULL},
    {"  - read(pid)\n", "pid", READ_IT, 2, 2, NULL},
    {"  - readPid\n", "pid", WRITE_IT, 0, 4, "this write\nneeds  writePid"},
    {"  - writePid\n", "pid", READ_IT, 0, 4, "this read\nneeds  readPid"},
    {"  - writePid\n", "pid", WRITE_IT, 0, 4, NULL},
    {"", "limits", READ_IT, 2, 2, "needs  read(limits[1])"},
    {"  - \"read(limits[2])\"\n", "limits", READ_IT, 0, 8,
     "needs  read(limits[0]), read(limits[1]), read(limits[2]), read(limits[3])"},
    {"  - \"read(limits[1 .. 3])\"\n", "limits", READ_IT, 2, 4, NULL},
    {"", "pool", WRITE_IT, sizeof(connection_t), 4, "needs  write(pool[1].fd)"},
    {"", "last_connection", READ_IT, 0, 8, "needs  read(last_connection)"},
    {"  - lastFd\n", "last_connection", READ_IT, 0, 8, NULL},
    {"", "str_t", READ_IT, 0, 8, "needs  read(name->len)"},
    {"  - readCycle\n", "cycle", READ_IT, 0, 4, NULL},
    {"  - readCycle\n", "cycle", READ_IT, 0, 8, "needs  read(the_cycle)"},
    {"  - lastFd\n", "connection", READ_IT, 0, 4, NULL},
    {"  - read(r->connection->secure)\n", "connection", READ_IT, 4, 1, NULL},
    {"  - \"read(r->headers[..].hash)\"\n", "request", READ_IT, ON(headers[3].hash), NULL},
    {"  - \"read(r->headers[1 .. 3].hash)\"\n", "request", READ_IT, ON(headers[3].hash),
     "needs  read(r->headers[3].hash)"},
#undef A
};

static void test_questions(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(questions); k++) {
        struct tn_error err, why = {0};
        struct made m;
        struct tn_asker q;
        struct tn_authority auth;
        struct tn_access a = {.kind = (enum tn_access_kind)questions[k].kind,
                              .btf_id = type_named(questions[k].type),
                              .path = "",
                              .offset = (u32)questions[k].off,
                              .size = (u32)questions[k].size};
        int code;

        assert_true(a.btf_id);
        if (make_class(HOST_SPEC, "access", questions[k].allowed, &m, &err))
            fail_msg("%s: %s", questions[k].allowed, err.message);
        tn_eim_authority(m.c, true, &q, &auth);
        code = auth.may_access(auth.self, &a, &why);
        if (!code != !questions[k].needs || (code && !strstr(why.message, questions[k].needs))) {
            print_error("row %zu:\n  says     %s\n  expected %s\n", k, code ? why.message : "yes",
                        questions[k].needs);
            wrong++;
        }
        if (code) { /* what it says, pasted, is enough */
            char more[1000], *at = strstr(why.message, "needs  ") + 7;
            size_t used = (size_t)snprintf(more, sizeof(more), "%s", questions[k].allowed);

            *strchr(at, '\n') = 0;
            for (char *save, *w = strtok_r(at, ",", &save); w; w = strtok_r(NULL, ",", &save))
                if (!strstr(more, w + (*w == ' ')))
                    used +=
                        (size_t)snprintf(more + used, sizeof(more) - used, "  - \"%s\"\n", w + (*w == ' '));
            drop(&m);
            if (make_class(HOST_SPEC, "access", more, &m, &err))
                fail_msg("%s: %s", more, err.message);
            tn_eim_authority(m.c, true, &q, &auth);
            if (auth.may_access(auth.self, &a, &err))
                fail_msg("%s: pasted, and still: %s", more, err.message);
        }
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

/* ----------------------------------------------------------------------------------------------- calls */

#define NUM(lo, hi)                                                                                          \
    {                                                                                                        \
        .number = true, .min = (lo), .max = (hi), .umin = (u64)(lo), .umax = (u64)(hi)                       \
    }
#define PTR(n)                                                                                               \
    {                                                                                                        \
        .bytes = (n)                                                                                         \
    }
#define MAYBE_NULL                                                                                           \
    {                                                                                                        \
        .maybe_null = true                                                                                   \
    }
static const struct {
    const char *function, *allowed;
    struct tn_call_arg args[3];
    u32 nargs;
    s64 min, max; /* of the result, when admitted */
    const char *says;
} calls[] = {
#define STATUS "  - finishRequest\n  - write(r->headers_out.status)\n"
    {"finish", STATUS, {PTR(8), NUM(404, 404)}, 2, 1, INT64_MAX, NULL},
    {"finish", STATUS, {PTR(8), NUM(0, 0)}, 2, 1, INT64_MAX, NULL},
    {"finish", STATUS, {PTR(8), NUM(400, 599)}, 2, 1, INT64_MAX, NULL},
    {"finish",
     STATUS,
     {PTR(8), NUM(400, 600)},
     2,
     0,
     0,
     "is not known to hold; test it first: rc >= 400 and rc < 600 or rc == 0 (spec.yaml:9:"},
    {"finish", STATUS, {PTR(8), NUM(200, 300)}, 2, 0, 0, "does not hold: rc >= 400"},
    {"finish",
     STATUS,
     {MAYBE_NULL, NUM(404, 404)},
     2,
     0,
     0,
     "is not known to hold; test it first: nonnull(r)"},
    {"finish", STATUS, {NUM(0, 0), NUM(404, 404)}, 2, 0, 0, "does not hold: nonnull(r)"},
    {"finish",
     "  - finishRequest\n",
     {PTR(8), NUM(404, 404)},
     2,
     0,
     0,
     "needs  write(r->headers_out.status)"},
    {"finish",
     "",
     {PTR(8), NUM(404, 404)},
     2,
     0,
     0,
     "does not allow this call of finish\nneeds  finishRequest\n"},
    {"copy", "  - copyOut\n  - IO\n", {PTR(64), NUM(0, 64), PTR(8)}, 3, INT64_MIN, 64, NULL},
    {"copy",
     "  - copyOut\n  - IO\n",
     {PTR(64), NUM(0, 65), PTR(8)},
     3,
     0,
     0,
     "not known to hold; test it first: sized(to, n)"},
    {"copy", "  - copyOut\n", {PTR(64), NUM(0, 64), PTR(8)}, 3, 0, 0, "needs  IO"},
    {"access_phase",
     "",
     {PTR(8)},
     1,
     0,
     0,
     "needs  a function capability for access_phase, which the specification of \"h\" does not have"},
};

static void test_calls(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(calls); k++) {
        struct tn_call call = {.btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, calls[k].function),
                               .args = calls[k].args,
                               .nargs = calls[k].nargs};
        struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
        struct tn_error err, why = {0};
        struct made m;
        struct tn_asker q;
        int code;

        if (make_class(HOST_SPEC, "access", calls[k].allowed, &m, &err))
            fail_msg("%s: %s", calls[k].allowed, err.message);
        q = (struct tn_asker){.c = m.c, .typed = true};
        code = tn_ask_call(&q, &call, &facts, &why);
        if (!code != !calls[k].says || (code && !strstr(why.message, calls[k].says)) ||
            (!code && (facts.ret_min != calls[k].min || facts.ret_max != calls[k].max))) {
            print_error("row %zu:\n  says     %s [%lld, %lld]\n  expected %s\n", k,
                        code ? why.message : "yes", (long long)facts.ret_min, (long long)facts.ret_max,
                        calls[k].says);
            wrong++;
        }
        drop(&m);
    }
    assert_int_equal(wrong, 0);
}

#define RETURN0 MOV(R0, 0), EXIT
/* What may be answered in a function's place: it fits the type, and is what the function promises. */
#define ANSWERED(function, prototype, promise)                                                               \
    "eim: 1\nhost: h\nextension_entries:\n- { name: e, extension_entry: " function                           \
    ", prototype: \"" prototype "\", constraints: [ " promise " ] }\n"
static void test_answers(void **state)
{
    static const struct {
        const char *spec;
        struct tn_call_arg answer;
        const char *says;
    } rows[] = {
#define FINISH(promise) ANSWERED("access_phase", "int (request_t *r, int rc, str_t *name)", promise)
        {FINISH(""), NUM(-5, 5), NULL},
        {FINISH(""), NUM(INT32_MIN, INT32_MAX), NULL},
        {FINISH(""), NUM(0, 1ll << 31),
         "returns a number of 4 bytes, signed, which the answer is not known to fit"},
        {FINISH(""), PTR(8), "returns a number of 4 bytes"},
        {FINISH("\"rtn >= 0\""), NUM(0, 403), NULL},
        {FINISH("\"rtn >= 0\""), NUM(-1, 403), "is not known to be what it promises: rtn >= 0 (spec.yaml:4:"},
        {FINISH("\"rtn == 0 or rtn > 399\""), NUM(403, 403), NULL},
        {FINISH("\"rtn == 0 or rtn > 399\""), NUM(0, 0), NULL},
        {FINISH("\"rtn == 0 or rtn > 399\""), NUM(0, 403), "rtn == 0 or rtn > 399"},
        {FINISH("\"rtn < rc\""), NUM(1, 1), "rtn < rc"}, /* what rc was is not known */
#define OPEN(promise) ANSWERED("open", "struct connection *(int fd)", promise)
        {OPEN(""), NUM(0, 0), NULL},
        {OPEN(""), PTR(8), NULL},
        {OPEN(""), NUM(0, 64), "returns a pointer, and the answer is a number"},
        {OPEN("\"nonnull(rtn)\""), NUM(0, 0), "nonnull(rtn)"},
        {OPEN("\"nonnull(rtn)\""), MAYBE_NULL, "nonnull(rtn)"},
        {OPEN("\"nonnull(rtn)\""), PTR(8), NULL},
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_error err, why = {0};
        struct made m;
        int code;

        if (make_class(rows[k].spec, "e", "  - replace\n", &m, &err))
            fail_msg("row %zu: %s", k, err.message);
        code = tn_cons_answer(m.c->func, &(struct tn_call_answer){.value = rows[k].answer}, &why);
        if (!code != !rows[k].says || (code && !strstr(why.message, rows[k].says)))
            fail_msg("row %zu: %s", k, code ? why.message : "yes");
        drop(&m);
    }
}

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

/* Helpers one by one, by group, and those that are a capability of another name. */
static void test_helpers(void **state)
{
    static const struct {
        const char *allowed;
        u32 helper;
        const char *needs;
    } rows[] = {
        {"  - bpf_ktime_get_ns\n", 5, NULL},
        {"  - ktime_get_ns\n", 5, NULL},
        {"  - bpf_ktime_get_ns\n", 7, "needs  bpf_get_prandom_u32"},
        {"  - helpers(local)\n", 7, NULL},
        {"  - helpers(local)\n", 1, "needs  bpf_map_lookup_elem"},
        {"  - helpers(shared)\n", 1, NULL},
        {"  - helpers(local)\n  - helpers(shared)\n  - helpers(kernel)\n  - helpers(result)\n", 112,
         "needs  bpf_probe_read_user"},
        {"  - read(process)\n", 112, NULL},
        {"  - read(process)\n", 36, "needs  bpf_probe_write_user"},
        {"  - write(process)\n", 36, NULL},
        {"  - write(process)\n", 112, "needs  bpf_probe_read_user"},
        {"", 58, "needs  replace"},
        {"  - replace\n", 58, NULL},
        {"  - helpers(result)\n", 58, NULL},
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_call call = {.helper_id = rows[k].helper};
        struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
        struct tn_error err, why = {0};
        struct made m;
        struct tn_asker q;
        int code;

        assert_int_equal(make_class(HOST_SPEC, "access", rows[k].allowed, &m, &err), 0);
        q = (struct tn_asker){.c = m.c, .typed = true};
        code = tn_ask_call(&q, &call, &facts, &why);
        if (!code != !rows[k].needs || (code && !strstr(why.message, rows[k].needs)))
            fail_msg("row %zu: %s", k, code ? why.message : "yes");
        drop(&m);
    }
}

/* ------------------------------------------------------------------------------------------ the verifier */

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

static void test_limits(void **state)
{
    struct tn_error err;
    struct tn_authority auth;
    struct tn_asker q;
    struct made m;

    const struct tn_eim_memory small = {.text = 1, .stack = 2, .maps = 1020},
                               more = {.text = 4096, .stack = 512, .maps = 4096},
                               most = {.text = 4096, .maps = 61440},
                               much = {.text = 4096, .stack = 8, .maps = 61440};

    assert_int_equal(make_class(HOST_SPEC, "access", "  - memory < 1 KiB\n", &m, &err), 0);
    tn_eim_authority(m.c, true, &q, &auth);
    assert_int_equal(auth.limits.max_path_insns, 99);
    assert_string_equal(auth.limits.whose, "class \"c\"");
    assert_int_equal(tn_eim_memory(m.c, &small, &err), 0);
    assert_int_equal(tn_eim_memory(m.c, &more, &err), -EACCES);
    assert_non_null(strstr(err.message,
                           "does not allow this much memory: 4096 of text, 512 of stack, 4096 of "
                           "maps\nneeds  memory < 8705"));
    err = (struct tn_error){0};
    assert_int_equal(tn_eim_replaces(m.c, &err), -EACCES);
    assert_non_null(strstr(err.message, "needs  replace"));
    drop(&m);
    assert_int_equal(make_class(HOST_SPEC, "access", "", &m, &err), 0);
    assert_int_equal(tn_eim_memory(m.c, &most, &err), 0); /* nothing said: 64 KiB */
    assert_int_equal(tn_eim_memory(m.c, &much, &err), -EACCES);
    drop(&m);
}

static void test_defaults(void **state)
{
    const char *policy = "eim: 1\nhost: h\ndefaults: { uprobe: observability, uretprobe: denied }\n";
    struct tn_eim_source s[] = {{"spec.yaml", HOST_SPEC, sizeof(HOST_SPEC) - 1, NULL, NULL},
                                {"p.yaml", policy, strlen(policy), NULL, NULL}};
    struct tn_error err = {0};
    struct tn_bound *b;
    struct tn_eim *eim;

    assert_int_equal(tn_eim_read(s, 2, NULL, &eim, &err), 0);
    assert_int_equal(tn_eim_bind(eim, "h", host_btf, &b, &err), 0);
    assert_string_equal(tn_eim_class_name(tn_eim_default(b, TN_AT_UPROBE, &err)), "observability");
    assert_null(tn_eim_default(b, TN_AT_URETPROBE, &err));
    assert_null(tn_eim_default(b, TN_AT_SYSENTER, &err));
    assert_null(tn_eim_default(b, TN_AT_FUNCTION, &err));
    assert_string_equal(err.reason, "class_denies");
    err = (struct tn_error){0};
    assert_non_null(tn_eim_class(b, "customizability", &err));
    assert_null(tn_eim_class(b, "customisability", &err));
    assert_non_null(strstr(err.message, "did you mean \"customizability\"?"));
    tn_eim_unbind(b);
    tn_eim_free(eim);
}

/* Who names a class of the house's gets it where it is the default, or less than that; where nobody governs, anywhere. */
static void test_house_classes_by_name(void **state)
{
    static const struct {
        const char *policy;
        u8 observes, customizes; /* bit: a place */
    } rows[] = {
        {NULL, 0x1f, 0x1f}, /* nobody speaks of the host */
        {"eim: 1\nhost: h\n", 0, 0},
        {"eim: 1\nhost: h\ndefaults: { uprobe: denied }\n", 0, 0},
        {"eim: 1\nhost: h\nextension_classes: [ { name: c, extension_entry: access, allowed: [ instructions "
         "< 9 ] } ]\n",
         0, 0},
        {"eim: 1\nhost: h\ndefaults: { uprobe: observability, uretprobe: denied }\n", 1 << TN_AT_UPROBE, 0},
        {"eim: 1\nhost: h\ndefaults: { uprobe: customizability, syscall: observability }\n",
         1 << TN_AT_UPROBE | 1 << TN_AT_SYSENTER | 1 << TN_AT_SYSEXIT, 1 << TN_AT_UPROBE},
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_eim_source s[] = {
            {"spec.yaml", HOST_SPEC, sizeof(HOST_SPEC) - 1, NULL, NULL},
            {"p.yaml", rows[k].policy, rows[k].policy ? strlen(rows[k].policy) : 0, NULL, NULL}};
        struct tn_error err = {0};
        struct tn_bound *b;
        struct tn_eim *eim;

        assert_int_equal(tn_eim_read(s, rows[k].policy ? 2 : 0, NULL, &eim, &err), 0);
        assert_int_equal(tn_eim_bind(eim, "h", host_btf, &b, &err), 0);
        for (enum tn_eim_place at = TN_AT_FUNCTION; at <= TN_AT_SYSEXIT; at++) {
            err = (struct tn_error){0};
            assert_int_equal(!tn_eim_admits_place(tn_eim_class(b, "observability", NULL), at, "f", 0, &err),
                             rows[k].observes >> at & 1);
            assert_int_equal(!*err.message, rows[k].observes >> at & 1);
            assert_int_equal(!tn_eim_admits_place(tn_eim_class(b, "customizability", NULL), at, "f", 0, &err),
                             rows[k].customizes >> at & 1);
        }
        tn_eim_unbind(b);
        tn_eim_free(eim);
    }
}

/* ------------------------------------------------------------------------------------------- the manager */

static void keep_line(void *self, const char *line)
{
    char *all = self;

    snprintf(all + strlen(all), 2000 - strlen(all), "%s\n", line);
}

static void test_diff(void **state)
{
    static const struct {
        const char *old, *new, *says;
    } rows[] = {
        {"  - read(r->uri)\n", "  - read(r->uri.len)\n", ""},
        {"  - read(r->uri.len)\n", "  - read(r->uri)\n", "read(r->uri.data)\n"},
        {"", "  - read(r->connection->fd)\n", "read(r->connection)\nread(r->connection->fd)\n"},
        {"  - read(r)\n", "  - write(r->method)\n  - replace\n  - IO\n", "replace\nIO\nwrite(r->method)\n"},
        {"  - helpers(local)\n", "  - bpf_ktime_get_ns\n  - bpf_map_lookup_elem\n", "bpf_map_lookup_elem\n"},
        {"  - memory < 1 KiB\n", "  - memory < 2 KiB\n", "memory < 2048\n"},
        {"  - memory < inf\n", "  - memory < 2 KiB\n", ""},
        {"  - readPid\n", "  - writePid\n  - finishRequest\n", "finishRequest\nwritePid\n"},
        {"  - \"read(r->uri.data[0 .. 8])\"\n", "  - \"read(r->uri.data[0 .. 9])\"\n",
         "read(r->uri.data[0 .. 9])\n"},
        {"  - read(name->len)\n", "  - read(rc)\n", "read(rc)\n"},
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct made a, b;
        struct tn_error err;
        char says[2000] = "";
        int n;

        assert_int_equal(make_class(HOST_SPEC, "access", rows[k].old, &a, &err), 0);
        assert_int_equal(make_class(HOST_SPEC, "access", rows[k].new, &b, &err), 0);
        n = tn_eim_diff(a.c, b.c, keep_line, says, &err);
        if (strcmp(says, rows[k].says) != 0 || !n != !*says)
            fail_msg("row %zu: %d\n%s", k, n, says);
        drop(&a);
        drop(&b);
    }
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
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_prototypes),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_helpers),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answering_programs),
        cmocka_unit_test(test_changed_arguments),
        cmocka_unit_test(test_verifier),
        cmocka_unit_test(test_promise),
        cmocka_unit_test(test_bad_promises),
        cmocka_unit_test(test_reentry),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_infer),
        cmocka_unit_test(test_house_classes_by_name),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
