/* SPDX-License-Identifier: MIT */
/* What a program may know of the place it is attached to. A run without a hook (test runs) is attached
 * nowhere: 0. */
#include "rt/helper/helpers.h"

u64 tn_helper_get_func_ip(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return run->hook ? run->hook->func_ip : 0;
}

u64 tn_helper_override_return(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    run->value = r2;
    run->replaced = 1;
    return 0;
}

u64 tn_helper_get_attach_cookie(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return run->hook ? run->hook->cookie : 0;
}
