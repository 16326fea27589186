/* SPDX-License-Identifier: MIT */
/*
 * tenon map: list, read and write maps. Values are typed by the BTF that came with the map.
 */
#include <errno.h>

#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/maps.h"
#include "cli/value.h"

enum { KEY_NOEXIST = 0x100, KEY_EXIST };

struct map {
    const char *name;
    const char *words[8];
    u32 nwords;
    bool json;
    u64 flags;
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct map *m = state->input;

    switch (key) {
    case 'j':
        m->json = true;
        return 0;
    case KEY_NOEXIST:
        m->flags = BPF_NOEXIST;
        return 0;
    case KEY_EXIST:
        m->flags = BPF_EXIST;
        return 0;
    case ARGP_KEY_ARG:
        if (m->nwords == TN_ARRAY_SIZE(m->words))
            argp_error(state, "too many arguments");
        m->words[m->nwords++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "say what to do: ls, dump, lookup or update");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "for machines", 0},
    {"noexist", KEY_NOEXIST, 0, 0, "update: only a key that is not there yet", 0},
    {"exist", KEY_EXIST, 0, 0, "update: only a key that is there", 0},
    {0},
};
static const struct argp argp = {
    options,
    option,
    "ls\ndump NAME|ID\nlookup NAME|ID KEY\nupdate NAME|ID KEY VALUE",
    "List, read and write maps.\v"
    "KEY and VALUE are numbers, names of enumerations, JSON ({\"member\": value}, [1, 2]), text for char "
    "arrays, or hex:… "
    "with the bytes in memory order. For a per-CPU map, VALUE is an array by possible CPU, or one value for "
    "all.",
    NULL,
    NULL,
    NULL,
};

static int list_maps(const struct map *m)
{
    json_t *list = json_array();
    struct tn_table table = {0};
    u32 id = 0;

    tn_table_row(&table, "id", "name", "type", "key", "value", "entries", "flags", NULL);
    while (bpf_map_get_next_id(id, &id) == 0) {
        struct bpf_map_info info = {0};
        u32 len = sizeof(info);
        _close_ int fd = bpf_map_get_fd_by_id(id);
        char cell[5][16];

        if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
            continue; /* gone meanwhile */
        info.name[sizeof(info.name) - 1] = 0;
        snprintf(cell[0], 16, "%u", info.id);
        snprintf(cell[1], 16, "%u", info.key_size);
        snprintf(cell[2], 16, "%u", info.value_size);
        snprintf(cell[3], 16, "%u", info.max_entries);
        snprintf(cell[4], 16, "0x%x", info.map_flags);
        tn_table_row(&table, cell[0], info.name, tn_cli_map_type(info.type), cell[1], cell[2], cell[3],
                     cell[4], NULL);
        json_array_append_new(
            list, json_pack("{s:I, s:o, s:s, s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)info.id, "name",
                            tn_json_text(info.name, strlen(info.name)), "type", tn_cli_map_type(info.type),
                            "key_size", (json_int_t)info.key_size, "value_size", (json_int_t)info.value_size,
                            "max_entries", (json_int_t)info.max_entries, "flags", (json_int_t)info.map_flags,
                            "btf_id", (json_int_t)info.btf_id));
    }
    if (m->json)
        tn_cli_print_json(json_incref(list), false);
    else if (table.nrows > 1)
        tn_table_print(stdout, &table);
    else
        printf("there are no maps\n");
    json_decref(list);
    tn_table_clear(&table);
    return TN_EXIT_OK;
}

static int add_entry(void *self, const struct tn_cli_map *map, const void *key, const void *value)
{
    return json_array_append_new(self, json_pack("{s:o, s:o}", "key", tn_cli_map_key_json(map, key), "value",
                                                 tn_cli_map_value_json(map, value)))
               ? -ENOMEM
               : 0;
}

static int dump(const struct map *m, const struct tn_cli_map *map)
{
    struct tn_error err = {0};
    json_t *list;
    int r;

    if (!m->json) {
        r = tn_cli_map_show(stdout, map, 0, &err);
        return r ? tn_cli_error(m->name, r, &err) : TN_EXIT_OK;
    }
    list = json_array();
    r = tn_cli_map_walk(map, add_entry, list, &err);
    if (r) {
        json_decref(list);
        return tn_cli_error(m->name, r, &err);
    }
    tn_cli_print_json(list, false);
    return TN_EXIT_OK;
}

static int parse_key(const struct map *m, const struct tn_cli_map *map, void *key)
{
    struct tn_error err = {0};
    int r;

    /* .data and .bss say no type for their only key. */
    if (!map->btf || !map->info.btf_key_type_id) {
        u64 number;

        if (map->info.key_size == 4 && tn_parse_u64(m->words[2], UINT32_MAX, &number) == 0) {
            u32 word = (u32)number;

            memcpy(key, &word, sizeof(word));
            return 0;
        }
    }
    r = tn_value_parse_word(map->btf, map->info.btf_key_type_id, m->words[2], key, map->info.key_size, &err);
    return r ? tn_cli_fail(m->name, "key %s: %s", m->words[2], err.message) : 0;
}

static int lookup(const struct map *m, const struct tn_cli_map *map)
{
    _free_ void *key = calloc(1, map->info.key_size + 8), *value = calloc(1, map->len + 8);

    if (!key || !value)
        return tn_cli_error(m->name, -ENOMEM, NULL);
    if (parse_key(m, map, key))
        return TN_EXIT_FAILED;
    if (bpf_map_lookup_elem(map->fd, key, value) < 0)
        return tn_cli_fail(m->name, "map %s, key %s: %s", map->info.name, m->words[2],
                           errno == ENOENT ? "there is no such element" : strerror(errno));
    if (m->json) {
        tn_cli_print_json(json_pack("{s:o, s:o}", "key", tn_cli_map_key_json(map, key), "value",
                                    tn_cli_map_value_json(map, value)),
                          false);
        return TN_EXIT_OK;
    }
    for (u32 i = 0; i < (map->ncpu ? map->ncpu : 1); i++) {
        if (map->ncpu)
            printf("cpu%u ", i);
        tn_value_print(stdout, map->btf, map->info.btf_value_type_id, (u8 *)value + i * map->stride,
                       map->info.value_size);
        putchar('\n');
    }
    return TN_EXIT_OK;
}

/* One value for every CPU, or an array with one for each. */
static int parse_value(const struct map *m, const struct tn_cli_map *map, u8 *value)
{
    struct tn_error err = {0};
    json_t *list = map->ncpu ? json_loads(m->words[3], JSON_DECODE_ANY, NULL) : NULL;
    u32 id = map->info.btf_value_type_id, size = map->info.value_size;
    int r = 0;

    if (json_is_array(list) && json_array_size(list) == map->ncpu) {
        for (u32 i = 0; i < map->ncpu && !r; i++) {
            const json_t *one = json_array_get(list, i);
            _free_ char *word =
                json_is_string(one) ? strdup(json_string_value(one)) : json_dumps(one, JSON_ENCODE_ANY);

            r = word ? tn_value_parse_word(map->btf, id, word, value + i * map->stride, size, &err) : -ENOMEM;
        }
    } else {
        r = tn_value_parse_word(map->btf, id, m->words[3], value, size, &err);
        for (u32 i = 1; i < map->ncpu; i++)
            memcpy(value + i * map->stride, value, size);
    }
    json_decref(list);
    return r ? tn_cli_fail(m->name, "value %s: %s", m->words[3], err.message[0] ? err.message : strerror(-r))
             : 0;
}

static int update(const struct map *m, const struct tn_cli_map *map)
{
    _free_ void *key = calloc(1, map->info.key_size + 8), *value = calloc(1, map->len + 8);

    if (!key || !value)
        return tn_cli_error(m->name, -ENOMEM, NULL);
    if (parse_key(m, map, key))
        return TN_EXIT_FAILED;
    bpf_map_lookup_elem(map->fd, key, value); /* members that are not mentioned stay as they are */
    if (parse_value(m, map, value))
        return TN_EXIT_FAILED;
    if (bpf_map_update_elem(map->fd, key, value, m->flags) < 0)
        return tn_cli_fail(m->name, "map %s, key %s: %s", map->info.name, m->words[2],
                           errno == EEXIST   ? "is there already"
                           : errno == ENOENT ? "there is no such element"
                           : errno == E2BIG  ? "the map is full, or the index lies past its end"
                                             : strerror(errno));
    return TN_EXIT_OK;
}

int tn_cmd_map(int argc, char **argv)
{
    static const struct {
        const char *verb;
        u32 nwords;
        const char *usage;
        int (*run)(const struct map *m, const struct tn_cli_map *map);
    } verbs[] = {
        {"dump", 2, "tenon map dump NAME|ID", dump},
        {"lookup", 3, "tenon map lookup NAME|ID KEY", lookup},
        {"update", 4, "tenon map update NAME|ID KEY VALUE", update},
    };
    _clean_(tn_cli_map_clear) struct tn_cli_map map = {.fd = -1};
    struct map m = {.name = argv[0]};
    struct tn_error err = {0};
    size_t verb;
    bool ls;
    int r;

    tn_cli_parse(&argp, argc, argv, 0, &m);
    ls = strcmp(m.words[0], "ls") == 0 || strcmp(m.words[0], "list") == 0;
    for (verb = 0; verb < TN_ARRAY_SIZE(verbs); verb++)
        if (strcmp(m.words[0], verbs[verb].verb) == 0)
            break;
    if (!ls && verb == TN_ARRAY_SIZE(verbs)) {
        tn_cli_fail(argv[0], "%s: not one of ls, dump, lookup, update", m.words[0]);
        return TN_EXIT_USAGE;
    }
    if (m.nwords != (ls ? 1 : verbs[verb].nwords)) {
        tn_cli_fail(argv[0], "usage: %s", ls ? "tenon map ls" : verbs[verb].usage);
        return TN_EXIT_USAGE;
    }
    tn_libbpf_listen(false);
    r = tn_connect(false, &err);
    if (r == -ENOENT && ls) {
        if (m.json)
            tn_cli_print_json(json_array(), false);
        else
            printf("there are no maps\n");
        return TN_EXIT_OK;
    }
    if (r)
        return tn_cli_error(argv[0], r, &err);
    if (ls)
        return list_maps(&m);
    r = tn_cli_map_open(m.words[1], &map, &err);
    if (r)
        return tn_cli_error(argv[0], r, &err);
    return verbs[verb].run(&m, &map);
}
