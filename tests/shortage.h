/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out, on purpose: whoever links shortage.c with SHORTAGE_LINK (meson.build) has its malloc
 * and its kin here, counted. The C library's own allocations (asprintf apart) are not among them.
 *
 *      shortage_count()                    how many have been asked for since the start
 *      shortage_at(n, true)                the n-th from now fails (0: the next), the others succeed
 *      shortage_at(n, false)               the n-th and all that follow
 *      shortage_end()                      none any more
 *      shortage_now()                      is it this one? For a test that lets other calls fail as well
 *      shortage_fired()                    has any failed since shortage_at?
 *      shortage_in_use()                   blocks that were not given back
 */
#ifndef TESTS_SHORTAGE_H
#define TESTS_SHORTAGE_H

#include "base/base.h"

void shortage_at(s64 n, bool once);
void shortage_end(void);
u64 shortage_count(void);
bool shortage_now(void);
bool shortage_fired(void);
s64 shortage_in_use(void);

#endif
