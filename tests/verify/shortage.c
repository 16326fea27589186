/* SPDX-License-Identifier: MIT */
/*
 * Every program of a test of the verifier, while memory runs out: linked with such a test, and no_kernel.c in
 * kernel.c's place. Each question that it puts to tn_verify is put many times before it is answered, each
 * time with another allocation that fails: the first, the second, the third … alone, and every one that
 * follows as well. Each time −ENOMEM, the verdict untouched, nothing left behind; an allocation that can be
 * done without leaves the verdict what it is. Then the test gets its answer, which must be the right one
 * still.
 *
 * Where a program is so long, or allocates so often, that this would come to more than SHORTAGE_WORK
 * instructions, fewer places, evenly apart, stand for all; and a policy that counts what it is asked is left
 * alone. What the kernel says is not asked here: the test itself does that.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/shortage.h"
#include "verify/verify.h"

#define SHORTAGE_WORK 200000u

int __real_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);
int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);

static u64 questions, in_part, failures, done_without;

static bool same(const struct tn_verdict *a, const struct tn_verdict *b)
{
    return a->accepted == b->accepted && a->insns_processed == b->insns_processed &&
           !strcmp(a->refusal.reason, b->refusal.reason) && a->refusal.insn == b->refusal.insn;
}

static void fail_one(const struct tn_verify_in *in, const struct tn_verdict *whole, u64 n, bool once)
{
    const s64 before = shortage_in_use();
    struct tn_verdict v, untouched;
    int err;

    memset(&v, 0x5a, sizeof(v));
    untouched = v;
    shortage_at((s64)n, once);
    err = __real_tn_verify(in, &v);
    shortage_end();
    failures++;
    if (!err) {
        assert_true(same(&v, whole));
        done_without++;
        tn_verdict_clear(&v);
    } else {
        assert_int_equal(err, -ENOMEM);
        assert_memory_equal(&v, &untouched, sizeof(v));
    }
    assert_int_equal(shortage_in_use(), before);
}

int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret)
{
    struct tn_verdict whole;
    u64 all = shortage_count(), places, step;

    if (in->authority || __real_tn_verify(in, &whole))
        return __real_tn_verify(in, ret);
    all = shortage_count() - all;
    places = SHORTAGE_WORK / (whole.insns_processed + 1) + 3;
    step = all / places + 1;
    questions++;
    in_part += step > 1;
    for (u64 n = 0; n < all; n += step) {
        fail_one(in, &whole, n, true);
        fail_one(in, &whole, n, false);
    }
    tn_verdict_clear(&whole);
    return __real_tn_verify(in, ret);
}

static void __attribute__((destructor)) tell(void)
{
    printf("# %llu programs, %llu of them in part; %llu failed allocations, %llu of them done without\n",
           (unsigned long long)questions, (unsigned long long)in_part, (unsigned long long)failures,
           (unsigned long long)done_without);
}
