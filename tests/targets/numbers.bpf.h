/* SPDX-License-Identifier: MIT */
/* What most programs of these tests tell by: an array of numbers, which a test reads by name and index. */
#ifndef TEST_TARGETS_NUMBERS_H
#define TEST_TARGETS_NUMBERS_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define NUMBERS(map, of, n)                                                                                  \
    struct {                                                                                                 \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                                    \
        __uint(max_entries, n);                                                                              \
        __type(key, __u32);                                                                                  \
        __type(value, of);                                                                                   \
    } map SEC(".maps")

#endif
