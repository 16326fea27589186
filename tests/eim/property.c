/* SPDX-License-Identifier: MIT */
/*
 * The algebra of classes on generated types, variables, classes and programs' accesses:
 *
 *      model       a class admits an access exactly where an array of bytes, painted path by path with none
 *                  of the code under test, says so
 *      monotone    what a class admits, a class with one capability more admits
 *      sufficient  the class that is inferred of some accesses admits each of them
 *      minimal     … and without any one of its capabilities does not
 *      pasted      what a refusal says is needed is enough
 *
 * The seed is fixed; TN_SEED=N gives another.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eim/ask.h"
#include "tests/eim/world.h"

/* ------------------------------------------------------------------------------------------ the property */

/* A pair: a program, which is some accesses, under a class. */
struct sums {
    u64 pairs, admitted, buffers, spread, inferred, left_out, pasted;
};

static bool admits(const struct tn_class *c, const struct tn_access *a, struct tn_error *err)
{
    struct tn_asker q = {.c = c, .typed = true};

    return !tn_ask_access(&q, a, err);
}

static void check_class(const struct world *w, const struct tn_bound *b, struct sums *sums)
{
    static struct paint p;
    struct tn_bag bag = {0};
    char texts[7][256];
    u32 n = rnd(6), shape;
    struct tn_class *c, *more;

    memset(&p, 0, sizeof(p));
    for (u32 k = 0; k < n; k++)
        make_cap(w, &p, texts[k], sizeof(texts[k]));
    c = compile(b, &bag, texts, n);
    {
        static struct paint other;

        memset(&other, 0, sizeof(other));
        make_cap(w, &other, texts[n], sizeof(texts[n]));
    }
    more = compile(b, &bag, texts, n + 1);
    for (u32 k = 0; k < 40; k++) {
        struct tn_access a = p.nbuffers && rnd(3) == 0 ? near_granted(w, &p, &shape) : make_access(w, &shape);
        struct tn_error err = {0};
        bool yes = admits(c, &a, &err);

        sums->admitted += yes;
        sums->buffers += yes && a.buffer;
        sums->spread += yes && a.places;
        if (yes != painted(w, &p, shape, &a))
            fail_msg("%s of object %u [%u, %u) is %s", a.kind == TN_ACCESS_WRITE ? "write" : "read", shape,
                     a.offset, a.offset + a.size, yes ? "admitted" : "refused");
        if (yes && !admits(more, &a, NULL))
            fail_msg("with %s it is refused", texts[n]);
        if (!yes && k % 8 == 0) { /* what is needed, pasted */
            struct tn_words words = {0};
            char pasted[64][256];
            struct tn_bag own = {0};

            assert_non_null(strstr(err.message, "needs  "));
            if (a.buffer) {
                const char *text = tn_words_of_buffer(b, c->func, &own, &a, NULL, NULL);

                assert_non_null(text);
                snprintf(pasted[words.n++], sizeof(pasted[0]), "%s", text);
            } else {
                assert_int_equal(tn_words_of_access(b, c->func, &own, &a, NULL, NULL, &words), 0);
                assert_in_range(words.n, 1, 64);
                for (u32 i = 0; i < words.n; i++)
                    snprintf(pasted[i], sizeof(pasted[i]), "%s", words.text[i]);
            }
            assert_true(admits(compile(b, &own, pasted, words.n), &a, NULL));
            sums->pasted++;
            tn_bag_clear(&own);
        }
    }
    tn_bag_clear(&bag);
}

static void check_infer(const struct world *w, const struct tn_bound *b, struct sums *sums)
{
    const struct tn_eim_needs needs = {.insns = 5, .typed = true};
    struct tn_eim_uses uses = {.bound = b};
    struct tn_eim_inferred inferred = {0};
    struct tn_authority auth;
    struct tn_error err = {0};
    u32 n = 1 + rnd(12), shape;

    tn_eim_recording(&uses, "e", &auth);
    for (u32 k = 0; k < n; k++) {
        struct tn_access a = make_access(w, &shape);

        a.insn = k;
        assert_int_equal(auth.may_access(auth.self, &a, NULL), 0);
    }
    if (tn_eim_infer(&uses, "c", "e", &needs, &inferred, &err))
        fail_msg("%s", err.message);
    sums->pairs++;
    for (u32 k = 0; k < uses.n; k++)
        if (tn_eim_admits(inferred.c, true, &uses.row[k], &err))
            fail_msg("inferred, and refused: %s", err.message);
    for (u32 skip = 0; skip < inferred.n; skip++) {
        struct tn_bag bag = {0};
        static char texts[128][256];
        struct tn_class *c;
        bool all = true;
        u32 left = 0;

        if (!strncmp(inferred.text[skip], "instructions", 12))
            continue;
        assert_true(inferred.n <= 128);
        for (u32 k = 0; k < inferred.n; k++)
            if (k != skip)
                snprintf(texts[left++], sizeof(texts[0]), "%s", inferred.text[k]);
        c = compile(b, &bag, texts, left);
        sums->pairs++;
        for (u32 k = 0; k < uses.n; k++)
            all &= !tn_eim_admits(c, true, &uses.row[k], NULL);
        if (all)
            fail_msg("%s is not needed", inferred.text[skip]);
        sums->left_out++;
        tn_bag_clear(&bag);
    }
    sums->inferred++;
    tn_eim_inferred_clear(&inferred);
    tn_eim_uses_clear(&uses);
}

static void test_properties(void **state)
{
    struct tn_eim_source source = {"spec.yaml", WORLD_SPEC, sizeof(WORLD_SPEC) - 1, NULL, NULL};
    const char *worlds = getenv("TN_WORLDS");
    struct sums sums = {0};
    struct tn_error err = {0};
    struct tn_eim *eim;

    if (getenv("TN_SEED"))
        seed = strtoull(getenv("TN_SEED"), NULL, 0) * 0x9e3779b97f4a7c15ull | 1;
    assert_int_equal(tn_eim_read(&source, 1, NULL, &eim, &err), 0);
    for (u32 k = 0; k < (worlds ? (u32)atoi(worlds) : 200); k++) {
        struct tn_bound *b;
        static struct world w;

        make_world(&w);
        if (tn_eim_bind(eim, "h", w.btf, &b, &err))
            fail_msg("%s", err.message);
        for (u32 c = 0; c < 20; c++)
            check_class(&w, b, &sums);
        for (u32 c = 0; c < 100; c++)
            check_infer(&w, b, &sums);
        tn_eim_unbind(b);
        tn_btf_close(w.btf);
    }
    tn_eim_free(eim);
    print_message("%llu pairs of program and class, %llu accesses admitted, %llu of them of buffers, %llu "
                  "of several places, %llu refusals pasted, %llu "
                  "classes inferred, %llu capabilities left out\n",
                  (unsigned long long)sums.pairs, (unsigned long long)sums.admitted,
                  (unsigned long long)sums.buffers, (unsigned long long)sums.spread,
                  (unsigned long long)sums.pasted, (unsigned long long)sums.inferred,
                  (unsigned long long)sums.left_out);
    assert_true(sums.pairs >= 100000 || worlds);
    assert_true(sums.admitted && sums.buffers && sums.spread && sums.left_out && sums.pasted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_properties)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
