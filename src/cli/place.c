/* SPDX-License-Identifier: MIT */
/*
 * From a section name to a file and an offset in it. libbpf could do this too, but where something is not
 * there it only says ENOENT: here the error knows what was looked for, where, and what is near.
 */
#include "cli/place.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/callname.h"
#include "rewrite/module.h"

static const struct {
    const char *name, *reads;
    enum tn_place_form form;
} sections[] = {
#define S(name, form, reads, summary) {name, reads, TN_FORM_##form},
    TN_SECTIONS(S)
#undef S
};

static const char known[] =
#define S(name, form, reads, summary) "\n  " name ": " summary
    TN_SECTIONS(S)
#undef S
    ;

/* "syscalls/sys_enter_openat", "raw_syscalls/sys_exit", for raw tracepoints "sys_enter", for ksyscall "openat". */
static int parse_call(const char *section, const char *program, const char *rest, bool raw,
                      struct tn_place *place, struct tn_error *err)
{
    char spelled[96];
    const char *name = *section == 'k'                       ? spelled
                       : raw                                 ? rest
                       : !strncmp(rest, "syscalls/", 9)      ? rest + 9
                       : !strncmp(rest, "raw_syscalls/", 13) ? rest + 13
                                                             : "";
    bool all = raw || (*section == 't' && *rest == 'r');
    struct tn_call_place call;
    char buf[16];
    int r;

    snprintf(spelled, sizeof(spelled), "sys_%s_%s", section[1] == 'r' ? "exit" : "enter", rest);
    r = tn_call_place(name, &call);
    if (r == -ENOENT && !all)
        return tn_fail(err, -EINVAL, "bad_section",
                       "program '%s': section '%s': there is no system call of that name", program, section);
    if (r || all != (call.nr == TN_CALL_ANY))
        return tn_fail(
            err, -EINVAL, "unknown_section",
            "program '%s': section '%s' is a tracepoint of the kernel's; of processes there are:%s", program,
            section, known);
    place->left = call.exit;
    snprintf(place->func, sizeof(place->func), "%s", all ? "" : tn_call_name(call.nr, buf));
    return 0;
}

int tn_place_parse(const char *section, const char *program, struct tn_place *ret_place, struct tn_error *err)
{
    size_t head = strcspn(section, "/");
    const char *rest = section[head] ? section + head + 1 : "", *colon, *plus, *path_end;
    struct tn_place place = {0};
    char *end;
    size_t i;

    for (i = 0; i < TN_ARRAY_SIZE(sections); i++)
        if (strlen(sections[i].name) == head && strncmp(sections[i].name, section, head) == 0)
            break;
    if (i == TN_ARRAY_SIZE(sections))
        return tn_fail(err, -EINVAL, "unknown_section",
                       "program '%s': section '%s' is not one that tenon can attach; known are:%s", program,
                       section, known);
    place.form = sections[i].form;
    if (place.form == TN_FORM_CALL) {
        int r = parse_call(section, program, rest, *section == 'r' || section[head - 1] == 'f', &place, err);

        if (!r)
            *ret_place = place;
        return r;
    }
    if (!*rest) {
        *ret_place = place;
        return 0;
    }
    colon = path_end = strrchr(rest, ':');
    if (colon && place.form == TN_FORM_PROBE)
        path_end = memrchr(rest, ':', (size_t)(colon - rest));
    if (!path_end || path_end == rest || (size_t)(path_end - rest) >= sizeof(place.path) || !colon[1] ||
        (size_t)(colon - path_end) > sizeof(place.provider) || colon == path_end + 1)
        return tn_fail(err, -EINVAL, "bad_section", "program '%s': section '%s' does not read %s/%s", program,
                       section, sections[i].name, sections[i].reads);
    memcpy(place.path, rest, (size_t)(path_end - rest));
    if (colon > path_end)
        memcpy(place.provider, path_end + 1, (size_t)(colon - path_end - 1));
    plus = place.form == TN_FORM_FUNCTION || place.form == TN_FORM_RETURN ? strchr(colon, '+') : NULL;
    if (plus) {
        errno = 0;
        place.offset = strtoull(plus + 1, &end, 0);
        if (errno || end == plus + 1 || *end || plus[1] == '-')
            return tn_fail(err, -EINVAL, "bad_section",
                           "program '%s': section '%s': '%s' is no offset in bytes", program, section,
                           plus + 1);
        if (place.form == TN_FORM_RETURN && place.offset)
            return tn_fail(err, -EINVAL, "bad_section",
                           "program '%s': section '%s': a return has no offset; leave out '%s'", program,
                           section, plus);
    }
    i = plus ? (size_t)(plus - colon - 1) : strlen(colon + 1);
    if (i == 0 || i >= sizeof(place.func))
        return tn_fail(err, -EINVAL, "bad_section", "program '%s': section '%s' names no function", program,
                       section);
    memcpy(place.func, colon + 1, i);
    *ret_place = place;
    return 0;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_this(const char *path, dev_t dev, ino_t ino)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == dev && st.st_ino == ino;
}

/* A name for the file itself: what a link leads to, unless that is gone, or (in another process's root) another file. */
static int real_name(const char *path, char ret_file[PATH_MAX])
{
    struct stat st;

    if (stat(path, &st) == 0 && realpath(path, ret_file) && is_this(ret_file, st.st_dev, st.st_ino))
        return 0;
    return snprintf(ret_file, PATH_MAX, "%s", path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A line of /proc/PID/maps whose file has this last name, also when that is no longer the file's. */
static bool is_named(const char *file, const char *name)
{
    const char *last = strrchr(file, '/');
    size_t len = strlen(name);

    return *file == '/' && last && strncmp(last + 1, name, len) == 0 &&
           (!last[1 + len] || strcmp(last + 1 + len, " (deleted)") == 0);
}

/* The file that `pid` has mapped executable under this last name: by that name if it has it for us too, which it may not
   in another mount namespace or when it was replaced; else by way of the process. */
static bool mapped(pid_t pid, const char *name, char ret_file[PATH_MAX])
{
    char path[64], line[PATH_MAX + 128], perms[8];
    _fclose_ FILE *maps = NULL;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    while (maps && fgets(line, sizeof(line), maps)) {
        unsigned long start, end, ino;
        unsigned int major, minor;
        char there[PATH_MAX];
        struct stat st;
        int at = 0;

        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %x:%x %lu %n", &start, &end, perms, &major, &minor, &ino, &at) <
                6 ||
            !at || !strchr(perms, 'x') || !is_named(line + at, name) || strlen(line + at) >= PATH_MAX)
            continue;
        /* Some file systems tell maps another device than stat; this link is the file itself, but not for everybody. */
        snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, start, end);
        bool itself = stat(path, &st) == 0;

        if (!itself)
            st = (struct stat){.st_dev = makedev(major, minor), .st_ino = ino};
        if (is_this(line + at, st.st_dev, st.st_ino))
            strcpy(ret_file, line + at);
        else if (snprintf(there, sizeof(there), "/proc/%d/root%s", (int)pid, line + at) <
                     (int)sizeof(there) &&
                 is_this(there, st.st_dev, st.st_ino))
            strcpy(ret_file, there);
        else
            strcpy(ret_file, itself ? path : line + at);
        return true;
    }
    return false;
}

/* Looks for `name` in a list of folders parted by colons. */
static bool search(const char *folders, const char *name, char ret_file[PATH_MAX])
{
    while (folders && *folders) {
        size_t len = strcspn(folders, ":");
        char path[PATH_MAX];

        if (len && (size_t)snprintf(path, sizeof(path), "%.*s/%s", (int)len, folders, name) < sizeof(path) &&
            is_file(path)) {
            strcpy(ret_file, path);
            return true;
        }
        folders += len + (folders[len] == ':');
    }
    return false;
}

int tn_place_file(const struct tn_place *place, pid_t pid, char ret_file[PATH_MAX], struct tn_error *err)
{
    char seen[PATH_MAX];

    if (strchr(place->path, '/')) {
        if (is_file(place->path) && real_name(place->path, ret_file) == 0)
            return 0;
        if (pid > 0 &&
            (size_t)snprintf(seen, sizeof(seen), "/proc/%d/root%s%s", (int)pid,
                             place->path[0] == '/' ? "" : "/", place->path) < sizeof(seen) &&
            is_file(seen)) {
            strcpy(ret_file, seen);
            return 0;
        }
        return tn_fail(err, -ENOENT, "no_file", "%s: no such file", place->path);
    }
    if (place->path[0] == '[')
        return tn_fail(err, -ENOTSUP, "kernel_page",
                       "%s is memory that no file is behind, whose functions cannot be hooked: name the "
                       "function of a library "
                       "that calls them (for clock_gettime of [vdso] that of libc.so.6)",
                       place->path);
    if (pid > 0 && mapped(pid, place->path, ret_file))
        return 0;
    if (strstr(place->path, ".so")
            ? search(getenv("LD_LIBRARY_PATH"), place->path, ret_file) ||
                  search("/usr/local/lib:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:/"
                         "lib:/usr/lib",
                         place->path, ret_file)
            : search(getenv("PATH"), place->path, ret_file) ||
                  search("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", place->path,
                         ret_file)) {
        if (realpath(ret_file, seen))
            strcpy(ret_file, seen);
        return 0;
    }
    return tn_fail(err, -ENOENT, "no_file",
                   "%s: neither mapped by the process nor found in the usual folders; write a path",
                   place->path);
}

int tn_place_module(const char *file, struct tn_module **ret_module, struct tn_error *err)
{
    _close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct tn_error why = {0};
    int r;

    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", file, strerror(errno));
    r = tn_module_open(fd, ret_module, &why);
    return r ? tn_fail(err, r, why.reason, "%s: %.900s", file, why.message[0] ? why.message : strerror(-r))
             : 0;
}

int tn_place_offset(const struct tn_place *place, const char *file, u64 *ret_offset, u32 *ret_choosers,
                    struct tn_error *err)
{
    _clean_(tn_module_clear) struct tn_module *module = NULL;
    struct tn_error why = {0};
    u64 addr;
    int r = tn_place_module(file, &module, err);

    if (r)
        return r;
    r = tn_module_find(module, place->func, &addr, &why);
    if (r)
        return tn_fail(err, r, why.reason, "%s: %.900s", file, why.message[0] ? why.message : strerror(-r));
    r = tn_module_offset_of_addr(module, addr + place->offset, ret_offset);
    if (r)
        return tn_fail(err, r, "not_code", "%s: %s+%#llx lies in no executable segment", file, place->func,
                       (unsigned long long)place->offset);
    if (ret_choosers)
        *ret_choosers = tn_module_chooses(module, addr);
    return 0;
}

/* ------------------------------------------------------------------------------------------- many places */

static int by_value(const void *x, const void *y)
{
    const u64 *a = x, *b = y;

    return *a < *b ? -1 : *a > *b;
}

int tn_place_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                     u32 *ret_choosers, struct tn_error *err)
{
    _clean_(tn_module_clear) struct tn_module *m = NULL;
    _free_ u64 *offsets = NULL;
    u32 n = 0, k = 0, choosers = 0;
    int r = tn_place_module(file, &m, err);

    if (r)
        return r;
    offsets = calloc(tn_module_nnames(m) + 1u, sizeof(*offsets));
    if (!offsets)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for the functions of %s", file);
    for (u32 i = 0; i < tn_module_nnames(m); i++) {
        u64 addr;
        const char *name = tn_module_name_at(m, i, &addr);
        const struct tn_func *f =
            name && fnmatch(place->func, name, FNM_NOESCAPE) == 0 ? tn_module_func(m, addr) : NULL;

        if (f && f->addr == addr && !f->part && tn_module_offset_of_addr(m, addr, &offsets[n]) == 0)
            n++;
    }
    if (!n)
        return tn_fail(err, -ENOENT, "no_symbol", "%s: no function's name fits \"%s\"%s", file, place->func,
                       tn_module_nnames(m) ? "" : ": the file has no symbols (it is stripped)");
    qsort(offsets, n, sizeof(*offsets), by_value);
    for (u32 i = 0; i < n; i++)
        if (!k || offsets[k - 1] != offsets[i]) { /* one that has several names */
            u64 addr;

            offsets[k++] = offsets[i];
            choosers += ret_choosers && tn_module_addr_of_offset(m, offsets[i], &addr) == 0 &&
                        tn_module_chooses(m, addr);
        }
    if (ret_choosers)
        *ret_choosers = choosers;
    *ret_offsets = offsets;
    *ret_n = k;
    offsets = NULL;
    return 0;
}
