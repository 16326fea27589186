/* SPDX-License-Identifier: MIT */
/*
 * Maps as the command line reads them: found by id or name, their elements walked through bpf(2), typed by
 * BTF.
 */
#ifndef TN_CLI_MAPS_H
#define TN_CLI_MAPS_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <jansson.h>

#include "base/base.h"

struct tn_cli_map {
    int fd;
    struct bpf_map_info info;
    struct btf *btf; /* NULL: none */
    u32 ncpu;        /* values an element has; 0: one, not per CPU */
    size_t stride;   /* bytes from one CPU's value to the next */
    size_t len;      /* bytes user space exchanges for one element */
};

/* Takes fd, also on failure. */
int tn_cli_map_from_fd(int fd, struct tn_cli_map *ret_map, struct tn_error *err);
/* "17" or a name. A name that several maps have is refused with their ids. */
int tn_cli_map_open(const char *word, struct tn_cli_map *ret_map, struct tn_error *err);
void tn_cli_map_clear(struct tn_cli_map *map);

const char *tn_cli_map_type(u32 type);

/* Calls `each` for every element until it returns non-zero; its value is passed on. Elements that vanish
   meanwhile are left out. −EOPNOTSUPP for a map without elements. */
int tn_cli_map_walk(const struct tn_cli_map *map,
                    int (*each)(void *self, const struct tn_cli_map *map, const void *key, const void *value),
                    void *self, struct tn_error *err);

json_t *tn_cli_map_key_json(const struct tn_cli_map *map, const void *key);
/* Per-CPU: an array by possible CPU. */
json_t *tn_cli_map_value_json(const struct tn_cli_map *map, const void *value);
/* Sum over all CPUs; only where the value is a count (value.h). */
u64 tn_cli_map_sum(const struct tn_cli_map *map, const void *value);

/* A histogram? An array or per-CPU array of at most 64 counts whose name has "hist" in it. Slot k counts
   values from 2^k up to 2^(k+1); slot 0 also 0. The end of the name says the unit: _ns, _us, _ms, _bytes. */
bool tn_cli_map_is_hist(const struct tn_cli_map *map);

/* The map as people read it: a bar chart, or a table of at most `rows` elements (0: all). */
int tn_cli_map_show(FILE *out, const struct tn_cli_map *map, u32 rows, struct tn_error *err);

#endif
