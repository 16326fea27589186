/* SPDX-License-Identifier: MIT */
/* Look up, update, delete: arguments as the verifier proved them, the slot of the run, locks in its name. */
#include "rt/map/map.h"
#include "rt/helper/helpers.h"
#include "rt/lock.h"

u64 tn_helper_map_lookup_elem(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return (u64)tn_map_lookup((const struct tn_map *)r1, (const void *)r2, run->cpu);
}

u64 tn_helper_map_update_elem(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    struct tn_who who = tn_who(run);

    return (u64)(s64)tn_map_update_as((const struct tn_map *)r1, (const void *)r2, (const void *)r3, r4,
                                      run->cpu, &who);
}

u64 tn_helper_map_delete_elem(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    struct tn_who who = tn_who(run);

    return (u64)(s64)tn_map_delete_as((const struct tn_map *)r1, (const void *)r2, &who);
}
