/* SPDX-License-Identifier: MIT */
/* The types that a program with a callback has to be known by: int program(void *), static long callback(u32, void *). */
#ifndef TN_TESTS_EIM_FUNC_TYPES_H
#define TN_TESTS_EIM_FUNC_TYPES_H

#include "base/base.h"

struct func_types {
    u8 *btf; /* to be freed */
    u32 size, program, callback;
};
/* Asserts where there is no memory. */
struct func_types func_types_make(void);

#endif
