/* SPDX-License-Identifier: MIT */
/*
 * System calls by name and number, as the installed kernel headers number them (x86-64). The kernel's tracepoints have
 * other names for a few, those of its functions: newfstat for fstat; both are known.
 *
 * The places that tools ask for, as they spell them: sys_enter_openat, sys_exit_openat, and sys_enter, sys_exit for
 * all numbers.
 */
#ifndef TN_BASE_CALLNAME_H
#define TN_BASE_CALLNAME_H

#include "base/base.h"

#define TN_CALL_ANY (-1)

/* −ENOENT: no call of that name. */
int tn_call_number(const char *name, s32 *ret_nr);
/* "openat"; "call_1234" in `buf` where the headers have none of that number. */
const char *tn_call_name(s32 nr, char buf[16]);

struct tn_call_place {
    bool exit;
    s32 nr; /* TN_CALL_ANY: all */
};
/* −EINVAL: not of that form; −ENOENT: of that form, and no such call. */
int tn_call_place(const char *name, struct tn_call_place *ret_place);

/* Their tracepoints' ids, as `perf_event_open` is asked for them: higher than any of the kernel's. */
#define TN_TRACEPOINT_IDS 0x746e4000u
static inline u32 tn_tracepoint_id(struct tn_call_place place)
{
    return TN_TRACEPOINT_IDS | (u32)place.exit << 12 | ((u32)place.nr & 0xfff);
}
static inline bool tn_tracepoint_of(u64 id, struct tn_call_place *ret_place)
{
    u32 nr = id & 0xfff;

    *ret_place = (struct tn_call_place){id >> 12 & 1, nr == 0xfff ? TN_CALL_ANY : (s32)nr};
    return (id & ~0x1fffull) == TN_TRACEPOINT_IDS;
}

#endif
