/* SPDX-License-Identifier: MIT */
/*
 * Every place is tried in order, and what is found there must prove that it is the one (see `try`).
 */
#include "host/find.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static const char *const default_dirs[] = {"/usr/lib/debug"};

struct dirs {
    const char *const *at;
    u32 n;
};

static struct dirs dirs_of(const struct tn_host_opts *opts)
{
    if (opts->debug_dirs)
        return (struct dirs){opts->debug_dirs, opts->ndebug_dirs};
    return (struct dirs){default_dirs, TN_ARRAY_SIZE(default_dirs)};
}

#define ID_SIZE (2 * TN_HOST_BUILD_ID_MAX + 1)

static void hex(const u8 *id, u32 len, char to[static ID_SIZE])
{
    for (u32 i = 0; i < len; i++)
        snprintf(to + 2 * i, 3, "%02x", id[i]);
}

/* The file at `path`, if it is ELF; −1: not there. The path may come from a hostile file, and opening is a
   deed where a device is: it is looked at first. */
static int open_elf(const char *path, struct tn_host_elf *ret)
{
    _close_ int place = open(path, O_PATH | O_CLOEXEC);
    _close_ int fd = -1;
    char again[32];
    struct stat st;

    if (place < 0 || fstat(place, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    snprintf(again, sizeof(again), "/proc/self/fd/%d", place);
    fd = open(again, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || tn_host_elf_read(fd, path, ret, NULL))
        return -1;
    return TN_TAKE_FD(fd);
}

static bool same_id(const u8 *a, u32 alen, const u8 *b, u32 blen)
{
    return alen == blen && !memcmp(a, b, alen);
}

/* A path is tried; true: it is the one. */
struct wanted {
    const u8 *id;
    u32 id_len;
    const u32 *crc; /* instead of an id; NULL: none */
};

static bool try(const char *path, const struct wanted *w, int *ret_fd, struct tn_host_elf *ret_elf)
{
    _close_ int fd = open_elf(path, ret_elf);
    u32 crc;

    if (fd < 0 || !ret_elf->has_dwarf)
        return false;
    if (w->id_len && ret_elf->build_id_len &&
        !same_id(w->id, w->id_len, ret_elf->build_id, ret_elf->build_id_len))
        return false;
    if (w->crc ? tn_host_elf_crc(fd, ret_elf->size, &crc) || crc != *w->crc : !ret_elf->build_id_len)
        return false;
    *ret_fd = TN_TAKE_FD(fd);
    return true;
}

static bool by_build_id(const struct tn_host_opts *opts, const struct wanted *w, int *ret_fd,
                        struct tn_host_elf *ret_elf, char *path)
{
    struct dirs dirs = dirs_of(opts);
    const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME"),
               *own = getenv("DEBUGINFOD_CACHE_PATH");
    char id[ID_SIZE] = "";

    if (w->id_len < 2)
        return false;
    hex(w->id, w->id_len, id);
    for (u32 i = 0; i < dirs.n; i++) {
        snprintf(path, PATH_MAX, "%s/.build-id/%.2s/%s.debug", dirs.at[i], id, id + 2);
        if (try(path, w, ret_fd, ret_elf))
            return true;
    }
    if (opts->debug_dirs)
        return false; /* these and no others */
    snprintf(path, PATH_MAX, "%s/%s/debuginfo", own ? own : "", id);
    if (own && try(path, w, ret_fd, ret_elf))
        return true;
    snprintf(path, PATH_MAX, "%s%s/debuginfod_client/%s/debuginfo",
             cache  ? cache
             : home ? home
                    : "",
             cache ? "" : "/.cache", id);
    if (try(path, w, ret_fd, ret_elf))
        return true;
    snprintf(path, PATH_MAX, "%s/.debuginfod_client_cache/%s/debuginfo", home ? home : "", id);
    return home && try(path, w, ret_fd, ret_elf);
}

/* The folder of a path, without the last slash; "." of a mere name. */
static void folder_of(const char *path, char *to, size_t size)
{
    const char *slash = strrchr(path, '/');

    snprintf(to, size, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
}

static bool by_link(const struct tn_host_opts *opts, const struct tn_host_elf *elf, const struct wanted *w,
                    int *ret_fd, struct tn_host_elf *ret_elf, char *path)
{
    struct dirs dirs = dirs_of(opts);
    char folder[PATH_MAX], whole[PATH_MAX];

    if (!*elf->debuglink || !opts->path)
        return false;
    if (!realpath(opts->path, whole))
        return false;
    folder_of(whole, folder, sizeof(folder));
    if (snprintf(path, PATH_MAX, "%s/%s", folder, elf->debuglink) < PATH_MAX && try(path, w, ret_fd, ret_elf))
        return true;
    if (snprintf(path, PATH_MAX, "%s/.debug/%s", folder, elf->debuglink) < PATH_MAX &&
        try(path, w, ret_fd, ret_elf))
        return true;
    for (u32 i = 0; i < dirs.n; i++)
        if (snprintf(path, PATH_MAX, "%s%s/%s", dirs.at[i], folder, elf->debuglink) < PATH_MAX &&
            try(path, w, ret_fd, ret_elf))
            return true;
    return false;
}

int tn_host_find_alt(const struct tn_host_opts *opts, const struct tn_host_elf *elf, const char *path,
                     int *ret, struct tn_error *err)
{
    struct wanted w = {.id = elf->alt_build_id, .id_len = elf->alt_build_id_len};
    _free_ struct tn_host_elf *alt = calloc(1, sizeof(*alt));
    char folder[PATH_MAX] = ".", at[PATH_MAX];

    if (!alt)
        return -ENOMEM;
    if (!*elf->altlink)
        return 0;
    if (path)
        folder_of(path, folder, sizeof(folder));
    if (snprintf(at, sizeof(at), "%s%s%s", *elf->altlink == '/' ? "" : folder,
                 *elf->altlink == '/' ? "" : "/", elf->altlink) < (int)sizeof(at) &&
        try(at, &w, ret, alt))
        return 0;
    if (by_build_id(opts, &w, ret, alt, at))
        return 0;
    return tn_fail(err, -ENODATA, "alt_missing",
                   "its debug information shares types with others in %s, which is not there (install the "
                   "package it belongs to)",
                   elf->altlink);
}

void tn_host_debug_clear(struct tn_host_debug *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->alt_fd >= 0)
        close(d->alt_fd);
    d->fd = d->alt_fd = -1;
}

static int given(const struct tn_host_opts *opts, const struct tn_host_elf *elf, struct tn_host_debug *ret,
                 struct tn_error *err)
{
    _close_ int fd = open(opts->debug_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r;

    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", opts->debug_file, strerror(errno));
    r = tn_host_elf_read(fd, opts->debug_file, &ret->elf, err);
    if (r)
        return r;
    if (!ret->elf.has_dwarf)
        return tn_fail(err, -ENODATA, "no_types", "%s: no debug information in it", opts->debug_file);
    if (elf->build_id_len &&
        !same_id(elf->build_id, elf->build_id_len, ret->elf.build_id, ret->elf.build_id_len))
        return tn_fail(err, -ESTALE, "debug_mismatch", "%s: it belongs to another build than %s",
                       opts->debug_file, opts->path ? opts->path : "the binary");
    ret->fd = TN_TAKE_FD(fd);
    return 0;
}

int tn_host_find_debug(const struct tn_host_opts *opts, const struct tn_host_elf *elf,
                       struct tn_host_debug *ret, struct tn_error *err)
{
    struct wanted id = {.id = elf->build_id, .id_len = elf->build_id_len};
    struct wanted link = {.id = elf->build_id, .id_len = elf->build_id_len, .crc = &elf->debuglink_crc};
    struct tn_host_debug d = {.fd = -1, .alt_fd = -1};
    char path[PATH_MAX], build_id[ID_SIZE] = "none";
    int r = 0;

    if (opts->debug_file) {
        r = given(opts, elf, &d, err);
        snprintf(path, sizeof(path), "%s", opts->debug_file);
    } else if (!by_build_id(opts, &id, &d.fd, &d.elf, path) &&
               !by_link(opts, elf, &link, &d.fd, &d.elf, path)) {
        hex(elf->build_id, elf->build_id_len, build_id);
        r = tn_fail(err, -ENODATA, "no_types",
                    "%s: no debug information, no debug file (build-id %s%s%s) and no BTF: compile with -g, "
                    "install its debug symbols, or give types from a C header",
                    opts->path ? opts->path : "the binary", build_id, *elf->debuglink ? ", link " : "",
                    elf->debuglink);
    }
    if (!r)
        r = tn_host_find_alt(opts, &d.elf, path, &d.alt_fd, err);
    if (r) {
        tn_host_debug_clear(&d);
        return r;
    }
    *ret = d;
    return 0;
}
