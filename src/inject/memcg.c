/* SPDX-License-Identifier: MIT */
/* Limits of control groups, both versions (Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst name the files). */
#include "inject/memcg.h"
#include "inject/proc.h"

#include <errno.h>
#include <limits.h>
#include <sys/sysinfo.h>

#define NONE (~0ull)

/* In version 1 the second pair counts memory and swap together, in version 2 swap alone. */
static const struct files {
    const char *limit, *usage, *swap_limit, *swap_usage, *cache[2];
} files[] = {
    {"memory.limit_in_bytes",
     "memory.usage_in_bytes",
     "memory.memsw.limit_in_bytes",
     "memory.memsw.usage_in_bytes",
     {"total_inactive_file", "total_active_file"}},
    {"memory.max",
     "memory.current",
     "memory.swap.max",
     "memory.swap.current",
     {"inactive_file", "active_file"}},
};

static bool slurp(const char *dir, const char *name, char *text, size_t cap)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) &&
           tn_read_small(path, text, cap) > 0;
}

/* "max", and a file that is not there, are no limit; what version 1 writes for none is near enough. */
static u64 number(const char *dir, const char *name)
{
    char text[32], *end;
    u64 n;

    if (!slurp(dir, name, text, sizeof(text)))
        return NONE;
    errno = 0;
    n = strtoull(text, &end, 10);
    return end == text || errno ? NONE : n;
}

/* What a limit leaves; of a group without a limit, or whose use is not to be seen, all. */
static u64 below(const char *dir, const char *limit, const char *usage)
{
    u64 most = number(dir, limit), now = most == NONE ? NONE : number(dir, usage);

    if (most >= NONE / 4 || now == NONE)
        return NONE;
    return most > now ? most - now : 0;
}

static u64 cached(const char *dir, const struct files *f)
{
    char text[8192], *rest = text, *line;
    u64 sum = 0;

    if (!slurp(dir, "memory.stat", text, sizeof(text)))
        return 0;
    while ((line = strsep(&rest, "\n")))
        for (u32 i = 0; i < TN_ARRAY_SIZE(f->cache); i++) {
            size_t len = strlen(f->cache[i]);

            if (!strncmp(line, f->cache[i], len) && line[len] == ' ')
                sum += strtoull(line + len, NULL, 10);
        }
    return sum;
}

static u64 left_here(const char *dir, bool unified, u64 swap)
{
    const struct files *f = &files[unified];
    u64 left = below(dir, f->limit, f->usage), swapped, cache;

    if (left == NONE)
        return NONE;
    swapped = below(dir, f->swap_limit, f->swap_usage);
    cache = cached(dir, f);
    return cache + (unified ? left + TN_MIN(swap, swapped) : TN_MIN(left + swap, swapped));
}

u64 tn_memcg_left_in(const char *root, const char *group, bool unified, u64 swap)
{
    char dir[PATH_MAX];
    u64 least = NONE;
    size_t base = strlen(root);

    if (snprintf(dir, sizeof(dir), "%s%s", root, group) >= (int)sizeof(dir))
        return NONE;
    for (char *end = dir + strlen(dir);; end = strrchr(dir, '/')) {
        if (!end || end < dir + base)
            return least;
        *end = 0;
        least = TN_MIN(least, left_here(dir, unified, swap));
    }
}

/* Where the hierarchy is mounted that limits memory, and which group of it that is. A name that is written with an escape is none. */
static bool find_mount(const char *text, bool unified, char root[PATH_MAX], char group[PATH_MAX])
{
    for (const char *line = text, *next; line && *line; line = next) {
        const char *nl = strchr(line, '\n'), *rest = strstr(line, " - ");
        char type[32], options[256];

        next = nl ? nl + 1 : NULL;
        if (!rest || (nl && rest > nl) || sscanf(rest, " - %31s %*s %255s", type, options) != 2 ||
            strcmp(type, unified ? "cgroup2" : "cgroup") || (!unified && !strstr(options, "memory")) ||
            sscanf(line, "%*d %*d %*s %4095s %4095s", group, root) != 2 || strchr(root, '\\') ||
            strchr(group, '\\'))
            continue;
        return true;
    }
    return false;
}

/* Of "5:cpu,memory:/a/b" the last part, of the line that is meant; NULL: none. Changes the text. */
static char *group_of(char *text, bool unified)
{
    for (char *line; (line = strsep(&text, "\n"));) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = 0;
        if (unified ? !names[1] && *line == '0' : strstr(names, "memory") != NULL)
            return path;
    }
    return NULL;
}

/* Is it below what is mounted? Then where. */
static const char *under(const char *group, const char *mounted)
{
    size_t len = strcmp(mounted, "/") ? strlen(mounted) : 0;

    if (strncmp(group, mounted, len) || (group[len] && group[len] != '/') || strstr(group, "/.."))
        return NULL;
    return strcmp(group + len, "/") ? group + len : "";
}

u64 tn_memcg_left(pid_t pid)
{
    _free_ char *mounts = NULL;
    char path[64], root[PATH_MAX], mounted[PATH_MAX], text[4096];
    u64 least = NONE;
    struct sysinfo si;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    if (tn_read_text("/proc/self/mountinfo", 8192, &mounts, NULL) < 0 || sysinfo(&si) < 0)
        return NONE;
    for (u32 unified = 0; unified < TN_ARRAY_SIZE(files); unified++) {
        const char *group;

        if (!find_mount(mounts, unified, root, mounted) || tn_read_small(path, text, sizeof(text)) <= 0)
            continue;
        group = group_of(text, unified);
        group = group ? under(group, mounted) : NULL;
        if (group)
            least = TN_MIN(least, tn_memcg_left_in(root, group, unified, (u64)si.freeswap * si.mem_unit));
    }
    return least;
}
