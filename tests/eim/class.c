/* SPDX-License-Identifier: MIT */
/*
 * Classes held against types: which bytes a path names, which paths are refused and where, what a class says
 * to each question and how it says no, conditions of calls, and what the manager is told. Whole programs are in
 * programs.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eim/ask.h"
#include "tests/eim/classes.h"
#include "tests/eim/host.h"

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

/* What may be answered in a function's place: it fits the type, and is what the function promises. */
static void test_answers(void **state)
{
    static const struct {
        const char *spec;
        struct tn_call_arg answer;
        const char *says;
    } rows[] = {
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
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_house_classes_by_name),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
