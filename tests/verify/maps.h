/* SPDX-License-Identifier: MIT */
/* The maps every hand-written program may name, by index; the kernel gets the same ones. */
#ifndef TESTS_VERIFY_MAPS_H
#define TESTS_VERIFY_MAPS_H

#include "verify/verify.h"

enum { M_ARRAY, M_HASH, M_RINGBUF, M_GLOBAL, M_RODATA, M_PERCPU, M_WRONLY, M_COUNT };
/* Behind them, for tests that take all_maps: what the evaluator has no model of. */
enum { M_PROGS = M_COUNT, M_USER_RINGBUF, M_ALL };

static u8 rodata[16] = {4, 0, 0, 0, 200, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7, 8};

static const struct tn_verify_map test_maps[M_COUNT] = {
    [M_ARRAY] = {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64, .max_entries = 4}},
    [M_HASH] = {.geo = {.type = BPF_MAP_TYPE_HASH, .key_size = 8, .value_size = 16, .max_entries = 16}},
    [M_RINGBUF] = {.geo = {.type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096}},
    [M_GLOBAL] = {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 32, .max_entries = 1}},
    [M_RODATA] = {.geo = {.type = BPF_MAP_TYPE_ARRAY,
                          .key_size = 4,
                          .value_size = 16,
                          .max_entries = 1,
                          .map_flags = BPF_F_RDONLY_PROG},
                  .frozen = rodata,
                  .rdonly_prog = true},
    [M_PERCPU] =
        {.geo = {.type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 2}},
    [M_WRONLY] = {.geo = {.type = BPF_MAP_TYPE_ARRAY,
                          .key_size = 4,
                          .value_size = 64,
                          .max_entries = 4,
                          .map_flags = BPF_F_WRONLY_PROG},
                  .wronly_prog = true},
};

static inline void all_maps(struct tn_verify_map ret[M_ALL])
{
    for (u32 m = 0; m < M_COUNT; m++)
        ret[m] = test_maps[m];
    ret[M_PROGS] = (struct tn_verify_map){
        .geo = {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 2}};
    ret[M_USER_RINGBUF] =
        (struct tn_verify_map){.geo = {.type = BPF_MAP_TYPE_USER_RINGBUF, .max_entries = 4096}};
}

#endif
