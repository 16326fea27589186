/* SPDX-License-Identifier: MIT */
/*
 * Special fields, struct by struct: what is found, and what is refused. As root the kernel is asked to make a
 * map of the same type with the same value: it makes one exactly when we find nothing wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>

#include "btf/btf.h"
#include "tests/verify/kernel.h"
#include "verify/fields.h"

/* Members. T(name, how it is made, argument, size) */
#define TYPES(T)                                                                                             \
    T(INT, special, "int_pair", 8)                                                                           \
    T(LOCK, special, "bpf_spin_lock", 4)                                                                     \
    T(LOCK_WIDE, special, "bpf_spin_lock", 8)                                                                \
    T(RES_LOCK, special, "bpf_res_spin_lock", 4)                                                             \
    T(TIMER, special, "bpf_timer", 16)                                                                       \
    T(WQ, special, "bpf_wq", 16)                                                                             \
    T(TASK_WORK, special, "bpf_task_work", 8)                                                                \
    T(REFCOUNT, special, "bpf_refcount", 4)                                                                  \
    T(LIST_NODE, special, "bpf_list_node", 24)                                                               \
    T(LIST_HEAD, special, "bpf_list_head", 16)                                                               \
    T(RB_ROOT, special, "bpf_rb_root", 16)                                                                   \
    T(RB_NODE, special, "bpf_rb_node", 32)                                                                   \
    T(TASK, kept, "kptr:task_struct", 8)                                                                     \
    T(TASK_UNREF, kept, "kptr_untrusted:task_struct", 8)                                                     \
    T(SOCK, kept, "kptr:sock", 8)                                                                            \
    T(SOCK_UNREF, kept, "kptr_untrusted:sock", 8)                                                            \
    T(OWN, kept, "kptr:tn_test_own", 8)                                                                      \
    T(PERCPU, kept, "percpu_kptr:tn_test_own", 8)                                                            \
    T(UNKNOWN_TAG, kept, "tn_test_tag:tn_test_own", 8)                                                       \
    T(TASKS, kept_pair, "kptr:task_struct", 16)                                                              \
    T(LOCKS, special_pair, "bpf_spin_lock", 8)                                                               \
    T(INNER_TASK, inner, "kptr:task_struct", 16)                                                             \
    T(INNER_TASKS, inner_pair, "kptr:task_struct", 32)
enum {
#define T(name, ...) T_##name,
    TYPES(T)
#undef T
};

struct member {
    int type;
    u32 offset;
};
struct row {
    const char *name;
    u32 map_type, size;
    const char *found; /* "KIND@OFFSET …"; NULL: refused */
    bool tagged;       /* roots say what they contain */
    struct member member[6];
};
#define HASH BPF_MAP_TYPE_HASH
// clang-format off
static const struct row rows[] = {
    {"nothing", HASH, 8, "", false, {{T_INT, 0}}},
    {"lock", HASH, 12, "bpf_spin_lock@8", false, {{T_INT, 0}, {T_LOCK, 8}}},
    {"lock_in_array_map", BPF_MAP_TYPE_ARRAY, 4, "bpf_spin_lock@0", false, {{T_LOCK, 0}}},
    {"lock_in_percpu_map", BPF_MAP_TYPE_PERCPU_ARRAY, 8, NULL, false, {{T_LOCK, 0}}},
    {"lock_in_lru_map", BPF_MAP_TYPE_LRU_HASH, 8, NULL, false, {{T_LOCK, 0}}},
    {"two_locks", HASH, 8, NULL, false, {{T_LOCK, 0}, {T_LOCK, 4}}},
    {"array_of_locks", HASH, 8, "malformed", false, {{T_LOCKS, 0}}},
    {"lock_of_another_size", HASH, 8, NULL, false, {{T_LOCK_WIDE, 0}}},
    {"resilient_lock", HASH, 8, "bpf_res_spin_lock@4", false, {{T_RES_LOCK, 4}}},
    {"both_kinds_of_lock", HASH, 8, NULL, false, {{T_LOCK, 0}, {T_RES_LOCK, 4}}},
    {"timer", HASH, 24, "bpf_timer@8", false, {{T_INT, 0}, {T_TIMER, 8}}},
    {"timer_in_lru_map", BPF_MAP_TYPE_LRU_HASH, 16, "bpf_timer@0", false, {{T_TIMER, 0}}},
    {"timer_in_percpu_map", BPF_MAP_TYPE_PERCPU_HASH, 16, NULL, false, {{T_TIMER, 0}}},
    {"two_timers", HASH, 32, "malformed", false, {{T_TIMER, 0}, {T_TIMER, 16}}},
    {"timer_and_work", HASH, 32, "bpf_timer@0 bpf_wq@16", false, {{T_TIMER, 0}, {T_WQ, 16}}},
    {"task_work", HASH, 8, "bpf_task_work@0", false, {{T_TASK_WORK, 0}}},
    {"kept_task", HASH, 8, "kptr@0", false, {{T_TASK, 0}}},
    {"kept_task_percpu_map", BPF_MAP_TYPE_PERCPU_ARRAY, 8, "kptr@0", false, {{T_TASK, 0}}},
    {"kept_task_in_stack_map", BPF_MAP_TYPE_QUEUE, 8, NULL, false, {{T_TASK, 0}}},
    {"seen_task", HASH, 16, "kptr@8", false, {{T_TASK_UNREF, 8}}},
    {"kept_without_destructor", HASH, 8, NULL, false, {{T_SOCK, 0}}},
    {"seen_without_destructor", HASH, 8, "kptr@0", false, {{T_SOCK_UNREF, 0}}},
    {"own_type", HASH, 8, "kptr@0", false, {{T_OWN, 0}}},
    {"own_percpu", HASH, 8, "percpu_kptr@0", false, {{T_PERCPU, 0}}},
    {"unknown_tag", HASH, 8, "malformed", false, {{T_UNKNOWN_TAG, 0}}},
    {"array_of_tasks", HASH, 16, "kptr@0 kptr@8", false, {{T_TASKS, 0}}},
    {"task_inside", HASH, 24, "kptr@16", false, {{T_INT, 0}, {T_INNER_TASK, 8}}},
    {"tasks_inside_array", HASH, 32, "kptr@8 kptr@24", false, {{T_INNER_TASKS, 0}}},
    {"twelve_tasks", HASH, 96, "malformed", false, {{T_TASKS, 0}, {T_TASKS, 16}, {T_TASKS, 32}, {T_TASKS, 48}, {T_TASKS, 64}, {T_TASKS, 80}}},
    {"refcount_in_map", HASH, 4, "bpf_refcount@0", false, {{T_REFCOUNT, 0}}},
    {"list_with_lock", HASH, 24, "bpf_spin_lock@0 bpf_list_head@8", true, {{T_LOCK, 0}, {T_LIST_HEAD, 8}}},
    {"list_without_lock", HASH, 16, NULL, true, {{T_LIST_HEAD, 0}}},
    {"list_of_nothing", HASH, 24, NULL, false, {{T_LOCK, 0}, {T_LIST_HEAD, 8}}},
    {"tree_with_lock", HASH, 24, "bpf_spin_lock@0 bpf_rb_root@8", true, {{T_LOCK, 0}, {T_RB_ROOT, 8}}},
    {"tree_and_list", HASH, 40, "bpf_spin_lock@0 bpf_rb_root@8 bpf_list_head@24", true, {{T_LOCK, 0}, {T_RB_ROOT, 8}, {T_LIST_HEAD, 24}}},
    {"list_in_percpu_map", BPF_MAP_TYPE_PERCPU_HASH, 24, NULL, true, {{T_LOCK, 0}, {T_LIST_HEAD, 8}}},
    {"both_nodes_uncounted", HASH, 56, NULL, false, {{T_LIST_NODE, 0}, {T_RB_NODE, 24}}},
    {"lock_not_aligned", HASH, 8, NULL, false, {{T_LOCK, 2}}},
};
// clang-format on

/* ------------------------------------------------------------------------------------------- making types */

static int add_struct(struct btf *b, const char *name, u32 size)
{
    int word = btf__find_by_name(b, "word"), id;

    if (word < 0)
        word = btf__add_int(b, "word", 4, 0);
    id = btf__add_struct(b, name, size);
    for (u32 k = 0; k < size / 4; k++) {
        char member[16];

        snprintf(member, sizeof(member), "m%u", k);
        assert_return_code(btf__add_field(b, member, word, 32 * k, 0), errno);
    }
    return id;
}

static int special(struct btf *b, const char *name, u32 size)
{
    int id = btf__find_by_name_kind(b, name, BTF_KIND_STRUCT);

    return id > 0 && btf__type_by_id(b, (u32)id)->size == size ? id : add_struct(b, name, size);
}

static int pair_of(struct btf *b, int type)
{
    int word = btf__find_by_name(b, "word");

    if (word < 0)
        word = btf__add_int(b, "word", 4, 0);
    return btf__add_array(b, word, type, 2);
}

static int special_pair(struct btf *b, const char *name, u32 size)
{
    return pair_of(b, special(b, name, size / 2));
}

static int kept(struct btf *b, const char *what, u32 size)
{
    const char *colon = strchr(what, ':');
    char tag[32];

    snprintf(tag, sizeof(tag), "%.*s", (int)(colon - what), what);
    return btf__add_ptr(b, btf__add_type_tag(b, tag, special(b, colon + 1, 8)));
}

static int kept_pair(struct btf *b, const char *what, u32 size)
{
    return pair_of(b, kept(b, what, 8));
}

static int inner(struct btf *b, const char *what, u32 size)
{
    int pointer = kept(b, what, 8), id = btf__add_struct(b, "inner", 16);

    assert_return_code(btf__add_field(b, "p", pointer, 64, 0), errno);
    return id;
}

static int inner_pair(struct btf *b, const char *what, u32 size)
{
    return pair_of(b, inner(b, what, 16));
}

static int make(struct btf *b, int type)
{
    switch (type) {
#define T(name, how, arg, size)                                                                              \
    case T_##name:                                                                                           \
        return how(b, arg, size);
        TYPES(T)
#undef T
    default:
        return -1;
    }
}

/* What hangs in lists and trees. */
static void add_contained(struct btf *b, const char *name, const char *node, u32 size)
{
    int type = special(b, node, size);

    assert_return_code(btf__add_struct(b, name, size), errno);
    assert_return_code(btf__add_field(b, "node", type, 0, 0), errno);
}

static struct btf *make_row(const struct row *row, int *ret_key, int *ret_value)
{
    struct btf *b = btf__new_empty();
    int types[6];
    u32 n;

    assert_non_null(b);
    *ret_key = btf__add_int(b, "key", 4, 0);
    if (row->tagged) {
        add_contained(b, "in_list", "bpf_list_node", 24);
        add_contained(b, "in_tree", "bpf_rb_node", 32);
    }
    for (n = 0; n < 6 && (n == 0 || row->member[n].type || row->member[n].offset); n++)
        types[n] = make(b, row->member[n].type);
    *ret_value = btf__add_struct(b, "value", row->size);
    for (u32 k = 0; k < n; k++) {
        char name[8];

        snprintf(name, sizeof(name), "f%u", k);
        assert_return_code(btf__add_field(b, name, types[k], row->member[k].offset * 8, 0), errno);
    }
    for (u32 k = 0; row->tagged && k < n; k++) {
        bool list = row->member[k].type == T_LIST_HEAD;

        if (list || row->member[k].type == T_RB_ROOT)
            btf__add_decl_tag(b, list ? "contains:in_list:node" : "contains:in_tree:node", *ret_value,
                              (int)k);
    }
    return b;
}

static struct tn_btf *open_btf(const struct btf *b)
{
    struct tn_error err = {0};
    struct tn_btf *out = NULL;
    const void *data;
    u32 size;

    data = btf__raw_data(b, &size);
    if (tn_btf_open(data, size, NULL, &out, &err))
        fail_msg("%s", err.message);
    return out;
}

/* ------------------------------------------------------------------------------------------- asking */

static int objects_sound(const struct tn_btf *b, const struct tn_btf *host)
{
    int err = 0;

    for (u32 id = 1; id < tn_btf_count(b) && !err; id++) {
        struct tn_fields f = {0};

        if (tn_btf_kind_of(b, id) == BTF_KIND_STRUCT)
            err = tn_fields_of_object(b, id, host, &f);
    }
    return err;
}

static bool ours(const struct row *row, const struct tn_btf *b, const struct tn_btf *host, u32 value,
                 char text[128])
{
    struct tn_fields f = {0};
    enum tn_field_kind kind;
    size_t len = 0;

    text[0] = 0;
    if (objects_sound(b, host))
        return false;
    if (tn_fields_parse(b, value, TN_FIELDS_IN_MAP, row->size, host, &f))
        len = (size_t)snprintf(text, 128, "malformed"); /* the map is made, and has none */
    if (tn_fields_fit_map(&f, row->map_type, false, &kind))
        return false;
    for (u32 k = 0; k < f.n; k++)
        len += (size_t)snprintf(text + len, 128 - len, "%s%s@%u", len ? " " : "",
                                tn_field_name(f.field[k].kind), f.field[k].offset);
    return true;
}

static bool kernel_makes(const struct row *row, const struct btf *b, int key, int value)
{
    bool queue = row->map_type == BPF_MAP_TYPE_QUEUE;
    LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_key_type_id = queue ? 0 : (u32)key,
                .btf_value_type_id = (u32)value);
    int fd, map;
    u32 size;
    const void *data = btf__raw_data(b, &size);

    fd = bpf_btf_load(data, size, NULL);
    if (fd < 0)
        return false;
    opts.btf_fd = (u32)fd;
    if (row->map_type == BPF_MAP_TYPE_HASH)
        opts.map_flags = BPF_F_NO_PREALLOC;
    map = bpf_map_create((enum bpf_map_type)row->map_type, "test", queue ? 0 : 4, row->size, 1, &opts);
    close(fd);
    if (map >= 0)
        close(map);
    return map >= 0;
}

static void test_rows(void **state)
{
    struct kernel kernel;
    const char *why = kernel_open(&kernel, NULL, 0);
    struct btf *host_types = btf__new_empty();
    struct tn_btf *host;
    int wrong = 0;

    special(host_types, "task_struct", 8);
    special(host_types, "sock", 8);
    host = open_btf(host_types);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        int key, value;
        struct btf *types = make_row(row, &key, &value);
        struct tn_btf *b = open_btf(types);
        char text[128];
        bool good = ours(row, b, host, (u32)value, text);

        if (good != (row->found != NULL) || strcmp(text, row->found ? row->found : "")) {
            print_message("# %s: expected %s, got %s\n", row->name, row->found ? row->found : "refusal",
                          good ? text : "refusal");
            wrong++;
        }
        if (!why && kernel_makes(row, types, key, value) != (row->found != NULL)) {
            print_message("# %s: the kernel is of another mind\n", row->name);
            wrong++;
        }
        tn_btf_close(b);
        btf__free(types);
    }
    tn_btf_close(host);
    btf__free(host_types);
    if (why)
        print_message("# without the kernel: %s\n", why);
    assert_int_equal(wrong, 0);
}

/* Two members of a type that has two members of a type …: the search ends. */
static void test_bomb(void **state)
{
    struct btf *types = btf__new_empty();
    struct tn_fields f = {0};
    struct tn_btf *b;
    int id = btf__add_struct(types, "none", 0);

    for (u32 k = 0; k < 30; k++) {
        int above;
        char name[16];

        snprintf(name, sizeof(name), "two%u", k);
        above = btf__add_struct(types, name, 0);
        assert_return_code(btf__add_field(types, "a", id, 0, 0), errno);
        assert_return_code(btf__add_field(types, "b", id, 0, 0), errno);
        id = above;
    }
    b = open_btf(types);
    assert_int_equal(tn_fields_parse(b, (u32)id, TN_FIELDS_IN_MAP, 0, NULL, &f), -E2BIG);
    tn_btf_close(b);
    btf__free(types);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_bomb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
