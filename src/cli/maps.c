/* SPDX-License-Identifier: MIT */
/*
 * Maps through bpf(2): what bpftool does, with the element types known.
 */
#include "cli/maps.h"

#include <bpf/libbpf.h>
#include <errno.h>

#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/value.h"
#include "rt/map/map.h"

#define ELEMENT_MAX (256u << 20) /* bytes of one element over all CPUs that we agree to hold */

const char *tn_cli_map_type(u32 type)
{
    const struct tn_map_type *row = tn_map_type_by_id(type);

    return row ? row->name : "?";
}

void tn_cli_map_clear(struct tn_cli_map *map)
{
    btf__free(map->btf);
    if (map->fd >= 0)
        close(map->fd);
    memset(map, 0, sizeof(*map));
    map->fd = -1;
}

int tn_cli_map_from_fd(int fd, struct tn_cli_map *ret_map, struct tn_error *err)
{
    _clean_(tn_cli_map_clear) struct tn_cli_map map = {.fd = fd};
    const struct tn_map_type *type;
    u32 len = sizeof(map.info);
    int ncpu;

    if (bpf_obj_get_info_by_fd(fd, &map.info, &len) < 0)
        return tn_fail(err, -errno, "no_info", "asking what map this is: %s", strerror(errno));
    map.info.name[sizeof(map.info.name) - 1] = 0;
    if (map.info.btf_id)
        map.btf = btf__load_from_kernel_by_id(map.info.btf_id);
    type = tn_map_type_by_id(map.info.type);
    map.stride = TN_ROUND_UP((size_t)map.info.value_size, 8);
    map.len = map.info.value_size;
    if (type && (type->flags & TN_MF_PERCPU)) {
        ncpu = libbpf_num_possible_cpus();
        if (ncpu <= 0)
            return tn_fail(err, -EIO, "no_cpus", "the number of possible CPUs is not known");
        map.ncpu = (u32)ncpu;
        map.len = map.stride * map.ncpu;
    }
    if (map.len > ELEMENT_MAX)
        return tn_fail(err, -EFBIG, "too_large", "map %s: one element has %zu bytes", map.info.name, map.len);
    *ret_map = map;
    memset(&map, 0, sizeof(map));
    map.fd = -1;
    return 0;
}

int tn_cli_map_open(const char *word, struct tn_cli_map *ret_map, struct tn_error *err)
{
    char ids[256] = "";
    u32 id = 0, only = 0, count = 0;
    u64 number;
    int fd;

    if (tn_parse_u64(word, UINT32_MAX, &number) == 0) {
        fd = bpf_map_get_fd_by_id((u32)number);
        if (fd < 0)
            return tn_fail(err, -errno, "no_map", "map %s: %s (see: tenon map ls)", word,
                           errno == ENOENT ? "no such id" : strerror(errno));
        return tn_cli_map_from_fd(fd, ret_map, err);
    }
    while (bpf_map_get_next_id(id, &id) == 0) {
        struct bpf_map_info info = {0};
        u32 len = sizeof(info);
        size_t used = strlen(ids);
        _close_ int one = bpf_map_get_fd_by_id(id);

        if (one < 0 || bpf_obj_get_info_by_fd(one, &info, &len) < 0)
            continue;
        info.name[sizeof(info.name) - 1] = 0;
        if (strncmp(info.name, word, sizeof(info.name) - 1) != 0) /* the kernel's names end after 15 bytes */
            continue;
        count++;
        only = id;
        snprintf(ids + used, sizeof(ids) - used, "%s%u", used ? ", " : "", id);
    }
    if (count == 0)
        return tn_fail(err, -ENOENT, "no_map", "map %s: there is none of this name (see: tenon map ls)",
                       word);
    if (count > 1)
        return tn_fail(err, -EINVAL, "ambiguous", "map %s: several have this name: give an id (%s)", word,
                       ids);
    fd = bpf_map_get_fd_by_id(only);
    if (fd < 0)
        return tn_fail(err, -errno, "no_map", "map %s: %s", word, strerror(errno));
    return tn_cli_map_from_fd(fd, ret_map, err);
}

int tn_cli_map_walk(const struct tn_cli_map *map,
                    int (*each)(void *self, const struct tn_cli_map *map, const void *key, const void *value),
                    void *self, struct tn_error *err)
{
    _free_ void *key = calloc(1, map->info.key_size + 8), *next = calloc(1, map->info.key_size + 8);
    _free_ void *value = calloc(1, map->len + 8);
    const struct tn_map_type *type = tn_map_type_by_id(map->info.type);
    u64 steps = 0, most = 2ull * map->info.max_entries + 16;
    const void *at = NULL;
    int r;

    if (!key || !next || !value)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for an element");
    if (!type || type->flags & TN_MF_NO_ELEMS)
        return tn_fail(err, -EOPNOTSUPP, "no_elements", "map %s: a %s has no elements to look up",
                       map->info.name, tn_cli_map_type(map->info.type));
    /* Bounded: a writer that deletes the key we stand on sends us back to the first one. */
    while (bpf_map_get_next_key(map->fd, at, next) == 0 && steps++ < most) {
        memcpy(key, next, map->info.key_size);
        at = key;
        memset(value, 0, map->len);
        if (bpf_map_lookup_elem(map->fd, key, value) < 0) {
            if (errno == ENOENT)
                continue;
            return tn_fail(err, -errno, "no_element", "map %s: reading an element: %s", map->info.name,
                           strerror(errno));
        }
        r = each(self, map, key, value);
        if (r)
            return r;
    }
    if (errno != ENOENT && steps <= most)
        return tn_fail(err, -errno, "no_element", "map %s: walking it: %s", map->info.name, strerror(errno));
    return 0;
}

json_t *tn_cli_map_key_json(const struct tn_cli_map *map, const void *key)
{
    return tn_value_json(map->btf, map->info.btf_key_type_id, key, map->info.key_size);
}

json_t *tn_cli_map_value_json(const struct tn_cli_map *map, const void *value)
{
    json_t *list;

    if (!map->ncpu)
        return tn_value_json(map->btf, map->info.btf_value_type_id, value, map->info.value_size);
    list = json_array();
    for (u32 i = 0; i < map->ncpu; i++)
        json_array_append_new(list, tn_value_json(map->btf, map->info.btf_value_type_id,
                                                  (const u8 *)value + i * map->stride, map->info.value_size));
    return list;
}

u64 tn_cli_map_sum(const struct tn_cli_map *map, const void *value)
{
    u64 sum = 0;

    for (u32 i = 0; i < (map->ncpu ? map->ncpu : 1); i++) {
        u64 one = 0;

        memcpy(&one, (const u8 *)value + i * map->stride, TN_MIN(map->info.value_size, 8u));
        sum += one;
    }
    return sum;
}

bool tn_cli_map_is_hist(const struct tn_cli_map *map)
{
    return (map->info.type == BPF_MAP_TYPE_ARRAY || map->info.type == BPF_MAP_TYPE_PERCPU_ARRAY) &&
           map->info.max_entries <= 64 && strstr(map->info.name, "hist") != NULL &&
           tn_value_is_count(map->btf, map->info.btf_value_type_id, map->info.value_size);
}

struct show {
    FILE *out;
    u32 rows, shown, hidden;
    u64 slot[64];
};

static int add_slot(void *self, const struct tn_cli_map *map, const void *key, const void *value)
{
    struct show *show = self;
    u32 index;

    memcpy(&index, key, sizeof(index));
    if (index < TN_ARRAY_SIZE(show->slot))
        show->slot[index] = tn_cli_map_sum(map, value);
    return 0;
}

static int print_row(void *self, const struct tn_cli_map *map, const void *key, const void *value)
{
    struct show *show = self;

    if (show->rows && show->shown >= show->rows) {
        show->hidden++;
        return 0;
    }
    show->shown++;
    fputs("  ", show->out);
    if (map->info.max_entries > 1 || map->info.type != BPF_MAP_TYPE_ARRAY) {
        tn_value_print(show->out, map->btf, map->info.btf_key_type_id, key, map->info.key_size);
        fputs("  ", show->out);
    }
    if (map->ncpu && tn_value_is_count(map->btf, map->info.btf_value_type_id, map->info.value_size)) {
        fprintf(show->out, "%llu", (unsigned long long)tn_cli_map_sum(map, value));
    } else {
        for (u32 i = 0; i < (map->ncpu ? map->ncpu : 1); i++) {
            if (map->ncpu)
                fprintf(show->out, "%scpu%u ", i ? "  " : "", i);
            tn_value_print(show->out, map->btf, map->info.btf_value_type_id,
                           (const u8 *)value + i * map->stride, map->info.value_size);
        }
    }
    fputc('\n', show->out);
    return 0;
}

int tn_cli_map_show(FILE *out, const struct tn_cli_map *map, u32 rows, struct tn_error *err)
{
    struct show show = {.out = out, .rows = rows};
    int r;

    fprintf(out, "%s%s%s", tn_bold(out), map->info.name[0] ? map->info.name : "(no name)", tn_plain(out));
    fprintf(out, "  %s%s, id %u%s%s\n", tn_dim(out), tn_cli_map_type(map->info.type), map->info.id,
            map->ncpu && tn_value_is_count(map->btf, map->info.btf_value_type_id, map->info.value_size)
                ? ", summed over CPUs"
                : "",
            tn_plain(out));
    if (tn_cli_map_is_hist(map)) {
        r = tn_cli_map_walk(map, add_slot, &show, err);
        if (!r)
            tn_chart_log2(out, show.slot, map->info.max_entries, map->info.name);
        return r;
    }
    r = tn_cli_map_walk(map, print_row, &show, err);
    if (show.hidden)
        fprintf(out, "  … %u more\n", show.hidden);
    else if (!r && !show.shown)
        fprintf(out, "  empty\n");
    return r;
}
