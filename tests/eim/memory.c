/* SPDX-License-Identifier: MIT */
/*
 * Every allocation failed once: −ENOMEM and nothing left behind, whichever it is, from reading to inferring.
 * Bags take their memory in small pieces here, so that each request is one that can fail.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/eim/classes.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

static s64 countdown = -1; /* allocations that still succeed; negative: all */
static s64 in_use;

static bool fails(void)
{
    if (countdown < 0)
        return false;
    return countdown-- == 0;
}

void *__wrap_malloc(size_t size)
{
    void *p = fails() ? NULL : __real_malloc(size);

    in_use += p != NULL;
    return p;
}
void *__wrap_calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __real_calloc(n, size);

    in_use += p != NULL;
    return p;
}
void *__wrap_realloc(void *old, size_t size)
{
    void *p = fails() ? NULL : __real_realloc(old, size);

    in_use += p && !old;
    return p;
}
void __wrap_free(void *p)
{
    in_use -= p != NULL;
    __real_free(p);
}

static int all_of_it(void)
{
    const struct tn_eim_needs needs = {.insns = 5, .memory = {.maps = 70000}, .typed = true};
    struct tn_eim_inferred inferred = {0};
    struct tn_eim_uses uses = {0};
    struct tn_authority auth;
    struct tn_error err;
    struct made m;
    int code = make_class(HOST_SPEC, "access",
                          "  - \"read(r->headers[..].hash)\"\n  - \"read(r->uri.data[0 .. r->uri.len])\"\n"
                          "  - finishRequest\n  - readPid\n  - read(*r->connection)\n",
                          &m, &err);

    if (!code) {
        struct tn_access a = {.btf_id = type_named("request"), .path = "", .offset = 0, .size = 8};
        int lines = tn_eim_diff(tn_eim_class(m.bound, "observability", &err), m.c, NULL, NULL, &err);

        code = lines < 0 ? lines : 0;
        uses.bound = m.bound;
        tn_eim_recording(&uses, "access", &auth);
        auth.may_access(auth.self, &a, NULL);
        if (!code)
            code = tn_eim_infer(&uses, "x", "access", &needs, &inferred, &err);
        tn_eim_inferred_clear(&inferred);
        tn_eim_uses_clear(&uses);
    }
    drop(&m);
    return code;
}

static void test_each_fails(void **state)
{
    u32 failed = 0, fine = 0;

    for (u32 k = 0;; k++) {
        s64 before = in_use;
        int code;

        countdown = k;
        code = all_of_it();
        if (countdown >= 0) { /* none was left to fail */
            assert_int_equal(code, 0);
            break;
        }
        countdown = -1;
        if (code && code != -ENOMEM) /* 0: a refusal that nobody reads has lost its words */
            fail_msg("allocation %u: %d", k, code);
        assert_int_equal(in_use, before);
        failed += code != 0;
        fine += !code;
    }
    countdown = -1;
    assert_true(failed > 300 && fine < 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_fails)};

    return cmocka_run_group_tests(tests, open_host, close_host);
}
