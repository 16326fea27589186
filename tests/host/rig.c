/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

char rig_dir[64];

int rig_setup(void **state)
{
    (void)state;
    snprintf(rig_dir, sizeof(rig_dir), "/tmp/tenon-host-XXXXXX");
    return mkdtemp(rig_dir) ? 0 : -1;
}

int rig_teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", rig_dir);
    return system(command);
}

static int sh(const char *fmt, va_list ap)
{
    char words[2048], command[4096];

    vsnprintf(words, sizeof(words), fmt, ap);
    snprintf(command, sizeof(command), "cd %s && S=%s && { %s\n} >log 2>&1 </dev/null", rig_dir, TEST_SOURCES,
             words);
    return system(command);
}

int rig_sh(const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = sh(fmt, ap);
    va_end(ap);
    return r;
}

void rig_must(const char *fmt, ...)
{
    char said[1024] = "";
    va_list ap;
    FILE *f;
    int r;

    va_start(ap, fmt);
    r = sh(fmt, ap);
    va_end(ap);
    if (!r)
        return;
    f = fopen(rig_path("log"), "r");
    if (f)
        said[fread(said, 1, sizeof(said) - 1, f)] = 0;
    fail_msg("%s: status %d: %s", fmt, r, said);
}

bool rig_has(const char *program)
{
    return rig_sh("command -v %s", program) == 0;
}

const char *rig_path(const char *name)
{
    static char path[16][256];
    static u32 next;
    char *at = path[next++ % 16];

    snprintf(at, sizeof(path[0]), "%s/%s", rig_dir, name);
    return at;
}

int rig_try(const char *name, struct tn_host_types **ret, struct tn_error *err)
{
    const char *dirs[] = {rig_path("debug")};
    struct tn_host_opts opts = {
        .path = rig_path(name), .fd = -1, .debug_dirs = dirs, .ndebug_dirs = 1, .cache_dir = ""};

    return tn_host_types_open(&opts, ret, err);
}

struct tn_host_types *rig_open(const char *name)
{
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};

    if (rig_try(name, &types, &err))
        fail_msg("%s: %s: %s", name, err.reason, err.message);
    return types;
}

static bool find(const struct tn_btf *btf, u32 id, const char *name, size_t len, u64 *bit, u32 *type,
                 u32 *width)
{
    const struct btf_type *t;

    id = tn_btf_resolve(btf, id);
    t = tn_btf_type(btf, id);
    if (!t || (tn_btf_kind(t) != BTF_KIND_STRUCT && tn_btf_kind(t) != BTF_KIND_UNION))
        return false;
    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        const struct btf_member *m = &tn_btf_members(t)[i];
        const char *its = tn_btf_string(btf, m->name_off);
        u64 inner = 0;

        if (strlen(its) == len && !strncmp(its, name, len)) {
            *bit = tn_btf_member_bit(t, m);
            *type = m->type;
            *width = tn_btf_member_bits(t, m);
            return true;
        }
        if (!*its && find(btf, m->type, name, len, &inner, type, width)) {
            *bit = tn_btf_member_bit(t, m) + inner;
            return true;
        }
    }
    return false;
}

bool rig_member(const struct tn_btf *btf, u32 id, const char *path, u64 *ret_bit, u32 *ret_type,
                u32 *ret_width)
{
    u64 sum = 0, bit;

    while (*path) {
        size_t len = strcspn(path, ".");

        if (!find(btf, id, path, len, &bit, ret_type, ret_width))
            return false;
        sum += bit;
        id = *ret_type;
        path += len + (path[len] == '.');
    }
    *ret_bit = sum;
    return true;
}
