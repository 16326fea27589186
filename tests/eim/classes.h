/* SPDX-License-Identifier: MIT */
/* A host with types, and classes made for it: shared by the tests of classes. */
#ifndef TEST_EIM_CLASSES_H
#define TEST_EIM_CLASSES_H

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "eim/bind.h"

/* `more`: rows of functions that a test has for itself. */
#define HOST_SPEC_WITH(more)                                                                                 \
    "eim: 1\nhost: h\n"                                                                                      \
    "state_capabilities:\n"                                                                                  \
    "- { name: readPid, operation: read(pid) }\n"                                                            \
    "- { name: readCycle, operation: read(the_cycle.pid) }\n"                                                \
    "- { name: writePid, operation: write(pid) }\n"                                                          \
    "- { name: lastFd, operation: read(last_connection->fd) }\n"                                             \
    "function_capabilities:\n"                                                                               \
    "- { name: finishRequest, function: finish, prototype: \"int (request_t *r, int rc)\", constraints: [ "  \
    "nonnull(r), \"rc >= 400 and rc < 600 or rc == 0\", \"rtn > 0\", \"writes(r->headers_out.status)\" ] "   \
    "}\n"                                                                                                    \
    "- { name: copyOut, function: copy, constraints: [ \"sized(to, n)\", IO, \"rtn <= n\" ] }\n" more        \
    "extension_entries:\n"                                                                                   \
    "- { name: access, extension_entry: access_phase, prototype: \"int (request_t *r, int rc, str_t "        \
    "*name)\",\n"                                                                                            \
    "    constraints: [ nonnull(r), nonnull(name), valid(current_cycle) ] }\n"
#define HOST_SPEC HOST_SPEC_WITH("")

static struct tn_btf *host_btf;
static void *host_raw;

static inline int open_host(void **state)
{
    /* Opened as an object, which fills in the sizes of sections that clang leaves at 0; then, what is
       declared at one place and defined at another is one. */
    struct bpf_object *o = bpf_object__open_file(HOST_OBJECT, NULL);
    struct btf *b = NULL;
    struct tn_error err = {0};
    const void *data;
    u32 size;
    int code;

    if (o) {
        data = btf__raw_data(bpf_object__btf(o), &size);
        b = btf__new(data, size);
    }
    if (!b || btf__dedup(b, NULL))
        return -1;
    data = btf__raw_data(b, &size);
    host_raw = malloc(size);
    code = host_raw ? tn_btf_open(memcpy(host_raw, data, size), size, NULL, &host_btf, &err) : -1;
    if (code)
        fprintf(stderr, "%s\n", err.message);
    btf__free(b);
    bpf_object__close(o);
    return code;
}
static inline int close_host(void **state)
{
    tn_btf_close(host_btf);
    free(host_raw);
    return 0;
}

struct made {
    struct tn_eim *eim;
    struct tn_bound *bound;
    const struct tn_class *c;
    void *raw;
    struct tn_btf *btf; /* the host's types, with what only the specification has a prototype of */
};
static inline int complete(struct made *m, struct tn_error *err)
{
    struct tn_eim_wanted wanted[32];
    struct tn_eim_item item;
    u64 size = 0;
    u32 n = 0;
    int code;

    for (u32 k = 0; tn_eim_item(m->eim, "h", k, &item) && n < 32; k++)
        if (item.kind <= TN_ITEM_FUNCTION && item.prototype &&
            !tn_btf_find(host_btf, BTF_KIND_FUNC, item.symbol))
            wanted[n++].item = k;
    code = tn_eim_complete(m->eim, "h", host_btf, host_raw, wanted, n, &m->raw, &size);
    return code ? code : tn_btf_open(m->raw, size, NULL, &m->btf, err);
}

/* A class "c" for the entry with what stands in `allowed`, a list of quoted texts, and so many instructions. */
static inline int make_long_class(const char *spec, const char *entry, const char *insns, const char *allowed,
                                  struct made *ret, struct tn_error *err)
{
    char policy[2048];
    struct tn_eim_source s[2] = {{"spec.yaml", spec, strlen(spec), NULL, NULL},
                                 {"p.yaml", policy, 0, NULL, NULL}};
    int code;

    s[1].len = (u64)snprintf(
        policy, sizeof(policy),
        "eim: 1\nhost: h\nextension_classes:\n- name: c\n  extension_entry: \"%s\"\n  allowed:\n"
        "  - instructions < %s\n%s",
        entry, insns, allowed);
    *ret = (struct made){0};
    *err = (struct tn_error){0};
    code = tn_eim_read(s, 2, NULL, &ret->eim, err);
    if (!code)
        code = complete(ret, err);
    if (!code)
        code = tn_eim_bind(ret->eim, "h", ret->btf, &ret->bound, err);
    if (!code)
        ret->c = tn_eim_class(ret->bound, "c", err);
    return code;
}
static inline int make_class(const char *spec, const char *entry, const char *allowed, struct made *ret,
                             struct tn_error *err)
{
    return make_long_class(spec, entry, "100", allowed, ret, err);
}
static inline void drop(struct made *m)
{
    tn_eim_unbind(m->bound);
    tn_eim_free(m->eim);
    tn_btf_close(m->btf);
    free(m->raw);
}
static inline u32 type_named(const char *name)
{
    u32 id = tn_btf_find(host_btf, BTF_KIND_STRUCT, name);

    if (!id)
        id = tn_btf_find(host_btf, BTF_KIND_VAR, name); /* a type of its own, where it is no struct */
    return id ? id : tn_btf_resolve(host_btf, tn_btf_find(host_btf, BTF_KIND_TYPEDEF, name));
}

/* An entry in whose place the program may answer, and what the function promises of its result. */
#define ANSWERED(function, prototype, promise)                                                               \
    "eim: 1\nhost: h\nextension_entries:\n- { name: e, extension_entry: " function                           \
    ", prototype: \"" prototype "\", constraints: [ " promise " ] }\n"
#define FINISH(promise) ANSWERED("access_phase", "int (request_t *r, int rc, str_t *name)", promise)

/* The capabilities of a program that sets a request's status and finishes it. */
#define STATUS "  - finishRequest\n  - write(r->headers_out.status)\n"

#endif
