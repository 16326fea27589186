/* SPDX-License-Identifier: MIT */
/*
 * See prototypes.h. Where a function is:
 *
 *      a symbol of that name     unless only its own file calls it: a compiler may have changed how
 *      `address`, `build_id`     as spec extract wrote them before the binary was stripped; of this build
 *
 * What the types have a prototype of is left alone: binding holds the two against each other.
 */
#include "broker/prototypes.h"

#include <errno.h>

#include "host/elffile.h"

static u64 mix(u64 hash, const char *text)
{
    for (const char *c = text ? text : ""; *c; c++)
        hash = (hash ^ (u8)*c) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

static bool is_function(const struct tn_eim_item *item)
{
    return (item->kind == TN_ITEM_ENTRY || item->kind == TN_ITEM_FUNCTION) && item->prototype;
}

u64 tn_prototypes_number(const struct tn_eim *eim, const char *host)
{
    struct tn_eim_item item;
    u64 hash = 0;

    for (u32 k = 0; eim && tn_eim_item(eim, host, k, &item); k++) {
        char address[32];

        if (!is_function(&item))
            continue;
        snprintf(address, sizeof(address), "%llx", (unsigned long long)item.address);
        hash = mix(mix(mix(hash ? hash : 0xcbf29ce484222325u, item.symbol), item.prototype), address);
    }
    return hash;
}

void tn_prototypes_offer(const struct tn_host_types *types, struct tn_nearest *near)
{
    for (u32 k = 0; k < tn_host_types_nfuncs(types); k++)
        if (tn_host_types_func(types, k)->addr)
            tn_nearest_offer(near, tn_host_types_func(types, k)->name);
    for (u32 k = 0; !near->best && k < tn_host_types_nvars(types); k++) /* a macro stands for a variable */
        tn_nearest_offer(near, tn_host_types_var(types, k)->name);
}

static int missing(const struct tn_eim_item *item, const char *path, const struct tn_host_types *types,
                   struct tn_error *err)
{
    struct tn_nearest near = tn_nearest_to(item->symbol);
    char hint[TN_NEAREST_TEXT];

    tn_prototypes_offer(types, &near);
    return tn_fail(
        err, -ENOENT, "no_host_function",
        "%.200s:%u:%u: %.200s has no function \"%.100s\": no symbol of it, and no address stands here%s",
        item->file, item->line, item->column, path, item->symbol, tn_nearest_text(&near, hint));
}

/* Where the item's function is, if its prototype is of use: 1; 0: it is not. */
static int place(const struct tn_eim *eim, const char *host, const struct tn_eim_item *item, const char *path,
                 const struct tn_host_elf *elf, const struct tn_host_types *types, struct tn_host_func *ret,
                 struct tn_error *err)
{
    const struct tn_host_func *f;
    const u8 *id;
    u32 n;
    int r;

    for (u32 k = 0; (f = tn_host_types_func_named(types, item->symbol, k)); k++)
        if (f->type)
            return 0;
    f = tn_host_types_func_named(types, item->symbol, 0);
    if (f && f->reason != TN_HOST_NO_PROTOTYPE)
        return 0;
    if (!item->address && !f)
        return missing(item, path, types, err);
    if (!item->address) {
        *ret = *f;
        ret->reason = f->flags & TN_HOST_STATIC && !strstr(item->prototype, "(void)") ? TN_HOST_PARAM_UNKNOWN
                                                                                      : TN_HOST_NONE;
        return 1;
    }
    n = tn_host_types_build_id(types, &id);
    r = tn_eim_check_build(eim, host, id, n, err);
    if (r)
        return r;
    *ret = (struct tn_host_func){
        .addr = item->address,
        .offset = tn_host_elf_offset(elf, item->address),
        .name = item->symbol,
        .flags = tn_host_throws_by_name(item->symbol)};
    for (u32 k = 0; k < elf->nsegments; k++)
        if (elf->segment[k].exec && item->address >= elf->segment[k].addr &&
            item->address - elf->segment[k].addr < elf->segment[k].filesz)
            return 1;
    return tn_fail(err, -EINVAL, "no_host_function",
                   "%.200s:%u:%u: no code of %.200s is at 0x%llx, where %.100s is said to be", item->file,
                   item->line, item->column, path, (unsigned long long)item->address, item->symbol);
}

int tn_prototypes_add(const struct tn_eim *eim, const char *host, int fd, const char *path,
                      struct tn_host_types *types, struct tn_error *err)
{
    _free_ struct tn_host_elf *elf = calloc(1, sizeof(*elf));
    _free_ struct tn_eim_wanted *wanted = NULL;
    _free_ struct tn_host_func *row = NULL;
    _free_ void *btf = NULL;
    struct tn_eim_item item;
    u32 n = 0, all = 0, made = 0;
    bool absent = false;
    u64 size;
    int r = elf ? 0 : -ENOMEM;

    while (eim && tn_eim_item(eim, host, all, &item))
        all++;
    wanted = calloc(all + 1, sizeof(*wanted));
    row = calloc(all + 1, sizeof(*row));
    if (!wanted || !row)
        return -ENOMEM;
    if (!r && all)
        r = tn_host_elf_read(fd, path, elf, err);
    for (u32 k = 0; k < all && r >= 0; k++) {
        bool wants = tn_eim_item(eim, host, k, &item) && is_function(&item);

        for (u32 j = 0; j < n && wants; j++)
            wants = strcmp(row[j].name, item.symbol) != 0;
        r = wants ? place(eim, host, &item, path, elf, types, &row[n], err) : 0;
        if (r > 0)
            wanted[n++].item = k;
        absent |= r == -ENOENT;
        r = r == -ENOENT ? 0 : r; /* all the others have to be there */
    }
    if (r < 0 || !n)
        return r < 0 ? r : absent ? -ENOENT : 0;
    r = tn_eim_complete(eim, host, tn_host_types_view(types), tn_host_types_raw(types, &size), wanted, n,
                        &btf, &size);
    for (u32 k = 0; k < n; k++) {
        if (!wanted[k].id)
            continue;
        row[made] = row[k];
        row[made++].type = wanted[k].id;
    }
    if (!r && made)
        r = tn_host_types_add(types, btf, size, row, made, err);
    if (!r && made)
        btf = NULL; /* theirs */
    return r ? r : absent ? -ENOENT : 0;
}
