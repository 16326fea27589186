/* SPDX-License-Identifier: MIT */
/*
 * The walk. Each unit's DIEs are walked once, in order; a reference to a type that was not met yet is a node.
 * Nothing is recursive but the nesting of DIEs, and that is bounded; a sibling that leads backwards is ended
 * by a budget: no more DIEs are looked at than the file could hold.
 */
#include "host/found.h"

#include <errno.h>
#include <sys/stat.h>

#include "host/dwarf_int.h"

#define DEPTH_MAX 200u

/* -------------------------------------------------------------------------------------------- maps */

static bool map_grow(struct tn_die_map *map)
{
    u32 cap = map->cap ? map->cap * 2 : 1u << 14;
    u64 *key = calloc(cap, sizeof(*key));
    u32 *value = calloc(cap, sizeof(*value));

    if (!key || !value) {
        free(key);
        free(value);
        return false;
    }
    for (u32 i = 0; i < map->cap; i++) {
        u32 at;

        if (!map->key[i])
            continue;
        at = (u32)(map->key[i] * 0x9e3779b97f4a7c15u >> 32) & (cap - 1);
        while (key[at])
            at = (at + 1) & (cap - 1);
        key[at] = map->key[i];
        value[at] = map->value[i];
    }
    free(map->key);
    free(map->value);
    map->key = key;
    map->value = value;
    map->cap = cap;
    return true;
}

u32 *tn_die_map_at(struct tn_die_map *map, const void *addr)
{
    u64 key = (u64)(uintptr_t)addr;
    u32 at;

    if (map->n >= map->cap / 3 * 2 && !map_grow(map))
        return NULL;
    at = (u32)(key * 0x9e3779b97f4a7c15u >> 32) & (map->cap - 1);
    while (map->key[at] && map->key[at] != key)
        at = (at + 1) & (map->cap - 1);
    if (!map->key[at]) {
        map->key[at] = key;
        map->n++;
    }
    return &map->value[at];
}

void tn_die_map_clear(struct tn_die_map *map)
{
    free(map->key);
    free(map->value);
    *map = (struct tn_die_map){0};
}

/* -------------------------------------------------------------------------------------- attributes */

static int take(Dwarf_Attribute *attr, void *arg)
{
    struct tn_attrs *a = arg;
    u32 which;

    switch (dwarf_whatattr(attr)) {
#define A(name, at)                                                                                          \
    case DW_AT_##at:                                                                                         \
        which = TN_A_##name;                                                                                 \
        break;
        TN_DWARF_ATTRS(A)
#undef A
    default:
        return DWARF_CB_OK;
    }
    a->a[which] = *attr;
    a->have |= 1ull << which;
    return DWARF_CB_OK;
}

bool tn_dwarf_attrs(Dwarf_Die *die, struct tn_attrs *ret)
{
    ret->have = 0;
    return dwarf_getattrs(die, take, ret, 0) == 1;
}

const char *tn_dwarf_string(struct tn_attrs *a, enum tn_dwarf_attr which)
{
    const char *s = tn_has(a, which) ? dwarf_formstring(&a->a[which]) : NULL;

    return s ? s : "";
}

/* A constant; of a signed form its two's complement. Expressions and references are none. */
bool tn_dwarf_number(struct tn_attrs *a, enum tn_dwarf_attr which, u64 *ret)
{
    Dwarf_Word word;
    Dwarf_Sword sword;

    if (!tn_has(a, which))
        return false;
    switch (dwarf_whatform(&a->a[which])) {
    case DW_FORM_sdata:
    case DW_FORM_implicit_const:
        if (dwarf_formsdata(&a->a[which], &sword))
            return false;
        *ret = (u64)sword;
        return true;
    case DW_FORM_data1:
    case DW_FORM_data2:
    case DW_FORM_data4:
    case DW_FORM_data8:
    case DW_FORM_udata:
        if (dwarf_formudata(&a->a[which], &word))
            return false;
        *ret = word;
        return true;
    default:
        return false;
    }
}

bool tn_dwarf_flag(struct tn_attrs *a, enum tn_dwarf_attr which)
{
    bool flag = false;

    return tn_has(a, which) && !dwarf_formflag(&a->a[which], &flag) && flag;
}

int tn_dwarf_fail(struct tn_dwarf *d, int code)
{
    if (!d->error)
        d->error = code;
    return code;
}

bool tn_dwarf_tick(struct tn_dwarf *d)
{
    if (d->error || d->found->raw.error)
        return false;
    if (d->visited++ < d->budget)
        return true;
    tn_fail(d->err, -EBADMSG, "types_damaged", "its debug information leads back into itself");
    tn_dwarf_fail(d, -EBADMSG);
    return false;
}

u32 tn_dwarf_node_of(struct tn_dwarf *d, const Dwarf_Die *die)
{
    u32 *node = tn_die_map_at(&d->nodes, die->addr);

    if (!node) {
        tn_dwarf_fail(d, -ENOMEM);
        return 0;
    }
    if (!*node)
        *node = tn_raw_node(&d->found->raw);
    return *node;
}

u32 tn_dwarf_type_of(struct tn_dwarf *d, struct tn_attrs *a)
{
    Dwarf_Die die;

    if (!tn_has(a, TN_A_TYPE) || !dwarf_formref_die(&a->a[TN_A_TYPE], &die))
        return 0;
    return tn_dwarf_node_of(d, &die);
}

void tn_dwarf_push(struct tn_dwarf *d, u32 word)
{
    if (d->nscratch == d->cap_scratch) {
        u32 cap = d->cap_scratch ? d->cap_scratch * 2 : 4096;
        u32 *p = cap <= 1u << 26 ? reallocarray(d->scratch, cap, sizeof(*p)) : NULL;

        if (!p) {
            tn_dwarf_fail(d, -ENOMEM);
            return;
        }
        d->scratch = p;
        d->cap_scratch = cap;
    }
    d->scratch[d->nscratch++] = word;
}

/* ---------------------------------------------------------------------------------------------- walk */

static void walk(struct tn_dwarf *d, Dwarf_Die *die, u32 depth)
{
    do {
        if (!tn_dwarf_tick(d))
            return;
        tn_dwarf_visit(d, die, depth);
    } while (!dwarf_siblingof(die, die));
}

void tn_dwarf_visit(struct tn_dwarf *d, Dwarf_Die *die, u32 depth)
{
    struct tn_attrs a;
    Dwarf_Die child;
    int tag = dwarf_tag(die);

    if (depth > DEPTH_MAX)
        return;
    switch (tag) {
    case DW_TAG_subprogram:
        if (!tn_dwarf_attrs(die, &a) || tn_dwarf_flag(&a, TN_A_DECLARATION) > d->declared)
            return;
        tn_dwarf_function(d, die, &a);
        break;
    case DW_TAG_variable:
        if (tn_dwarf_attrs(die, &a))
            tn_dwarf_variable(d, die, &a);
        return;
    case DW_TAG_lexical_block:
    case DW_TAG_namespace:
    case DW_TAG_module:
        break;
    default:
        tn_dwarf_type(d, die, tag, depth);
        return;
    }
    if (!dwarf_child(die, &child))
        walk(d, &child, depth + 1);
}

/* --------------------------------------------------------------------------------------------- units */

static bool c_like(u64 language)
{
    switch (language) {
    case DW_LANG_C89:
    case DW_LANG_C:
    case DW_LANG_C99:
    case DW_LANG_C11:
    case DW_LANG_Mips_Assembler:
        return true;
    default:
        return false;
    }
}

/* Numbers that DWARF got after version 5 among them. */
static bool has_exceptions(u64 language)
{
    enum { CXX17 = 0x2a, CXX20 = 0x2b, CXX23 = 0x3a };

    switch (language) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
    case CXX17:
    case CXX20:
    case CXX23:
    case DW_LANG_ObjC_plus_plus:
    case DW_LANG_Ada83:
    case DW_LANG_Ada95:
    case DW_LANG_D:
    case DW_LANG_Rust:
        return true;
    default:
        return false;
    }
}

static void read_unit(struct tn_dwarf *d, Dwarf_Die *unit)
{
    struct tn_attrs a;
    u64 language = DW_LANG_C;
    const char *producer;
    Dwarf_Die child;

    if (!tn_dwarf_attrs(unit, &a))
        return;
    (void)tn_dwarf_number(&a, TN_A_LANGUAGE, &language);
    producer = tn_dwarf_string(&a, TN_A_PRODUCER);
    d->c_names = c_like(language);
    d->throws = has_exceptions(language);
    d->gnu = !strncmp(producer, "GNU ", 4);
    d->clang = strstr(producer, "clang") != NULL;
    d->found->nunits++;
    if (tn_has(&a, TN_A_DWO_NAME) || tn_has(&a, TN_A_GNU_DWO_NAME))
        d->found->nskeletons++;
    if (!dwarf_child(unit, &child))
        walk(d, &child, 0);
}

static void read_units(struct tn_dwarf *d, Dwarf *dwarf)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die die, sub;
    Dwarf_Half version;
    u8 type;

    while (tn_dwarf_tick(d) && dwarf_get_units(dwarf, cu, &cu, &version, &type, &die, &sub) == 0)
        if (dwarf_tag(&die) != DW_TAG_invalid)
            read_unit(d, &die);
}

static __attribute__((noreturn)) void no_memory(void)
{
    _exit(TN_DWARF_NO_MEMORY);
}

static int read_files(struct tn_dwarf *d, Dwarf *dwarf, Dwarf *alt)
{
    struct tn_raw *raw = &d->found->raw;

    dwarf_new_oom_handler(dwarf, no_memory);
    if (alt) {
        dwarf_new_oom_handler(alt, no_memory);
        dwarf_setalt(dwarf, alt);
    }
    d->index_node = tn_raw_int(raw, "__ARRAY_SIZE_TYPE__", 4, 0);
    read_units(d, dwarf);
    if (alt && !d->error)
        read_units(d, alt);
    tn_dwarf_inlined_rows(d);
    if (d->declared && !d->error)
        tn_dwarf_names(d);
    return d->error ? d->error : raw->error;
}

static u64 file_size(int fd)
{
    struct stat st;

    return fd >= 0 && !fstat(fd, &st) ? (u64)st.st_size : 0;
}

int tn_dwarf_read(int fd, int alt_fd, bool declared, struct tn_found *found, struct tn_error *err)
{
    struct tn_dwarf d = {.found = found, .err = err, .declared = declared};
    Dwarf *dwarf, *alt = NULL;
    int r;

    errno = 0;
    dwarf = dwarf_begin(fd, DWARF_C_READ);
    if (!dwarf && errno == ENOMEM) /* libelf calls that an invalid file */
        return -ENOMEM;
    if (!dwarf)
        return tn_fail(err, -EBADMSG, "types_damaged", "its debug information cannot be read: %s",
                       dwarf_errmsg(-1));
    if (alt_fd >= 0)
        alt = dwarf_begin(alt_fd, DWARF_C_READ);
    d.budget = (file_size(fd) + file_size(alt_fd)) * 8 + 4096; /* debug sections may be compressed */
    r = read_files(&d, dwarf, alt);
    dwarf_end(dwarf);
    if (alt)
        dwarf_end(alt);
    tn_die_map_clear(&d.nodes);
    tn_die_map_clear(&d.abstract);
    free(d.inlined);
    free(d.scratch);
    return r;
}
