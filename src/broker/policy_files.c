/* SPDX-License-Identifier: MIT */
/* See policy_files.h. Whoever only looks at policies, the command line, reads them by these functions too. */
#include "broker/policy_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILES_MAX 256u
#define FILE_MAX  (1u << 20)

/* ------------------------------------------------------------------------------------------------- files */

static int add_place(struct tn_policy_files *files, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int add_place(struct tn_policy_files *files, const char *fmt, ...)
{
    char *text;
    va_list ap;
    int n;

    if (files->nplaces == TN_POLICY_PLACES)
        return -E2BIG;
    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -ENOMEM;
    files->place[files->nplaces++] = text;
    return 0;
}

static void clear_files(struct tn_policy_file *file, u32 n)
{
    for (u32 k = 0; k < n; k++) {
        free(file[k].name);
        free(file[k].text);
    }
    free(file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tn_policy_file *)a)->name, ((const struct tn_policy_file *)b)->name);
}

int tn_policy_file_open(u32 uid, const char *path, struct stat *ret_st, int *ret_fd, struct tn_error *err)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return tn_fail(err, -errno, "policy_file", "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(err, -EINVAL, "policy_file", "%s is no regular file", path);
    if ((st.st_uid && st.st_uid != uid) || st.st_mode & (S_IWGRP | S_IWOTH))
        return tn_fail(err, -EPERM, "policy_file",
                       "%s can be written by others than root and the user: chown and chmod go-w it", path);
    *ret_st = st;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

static int read_file(struct tn_policy_files *files, const char *path, struct tn_policy_file **file, u32 *n,
                     struct tn_error *err)
{
    _close_ int fd = -1;
    _free_ char *text = NULL;
    struct tn_policy_file *grown;
    struct stat st;
    ssize_t got;
    int r = tn_policy_file_open(files->uid, path, &st, &fd, err);

    if (r)
        return r;
    if (st.st_size > FILE_MAX || *n == FILES_MAX)
        return tn_fail(err, -E2BIG, "policy_file", "%s: a policy has at most %u files of %u bytes", path,
                       FILES_MAX, FILE_MAX);
    text = malloc((size_t)st.st_size + 1);
    grown = text ? reallocarray(*file, *n + 1, sizeof(**file)) : NULL;
    if (!grown)
        return -ENOMEM;
    *file = grown;
    got = pread(fd, text, (size_t)st.st_size, 0);
    if (got != st.st_size)
        return tn_fail(err, got < 0 ? -errno : -EAGAIN, "policy_file", "%s changed while it was read", path);
    text[got] = '\0';
    grown[*n] = (struct tn_policy_file){.name = strdup(path), .len = (u64)got};
    if (!grown[*n].name)
        return -ENOMEM;
    grown[(*n)++].text = TN_TAKE_PTR(text);
    return 0;
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

static int read_place(struct tn_policy_files *files, const char *place, struct tn_policy_file **file, u32 *n,
                      struct tn_error *err)
{
    DIR *dir = opendir(place);
    struct dirent *entry;
    int r = 0;

    /* A folder of somebody else's is no folder of the user's: $HOME may say anything. */
    if (!dir && (errno == ENOENT || (errno == EACCES && files->home && place == files->home)))
        return 0;
    if (!dir && errno == ENOTDIR)
        return read_file(files, place, file, n, err);
    if (!dir)
        return tn_fail(err, -errno, "policy_file", "%s: %s", place, strerror(errno));
    while (!r && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (!is_yaml(entry->d_name) ||
            snprintf(path, sizeof(path), "%s/%s", place, entry->d_name) >= (int)sizeof(path))
            continue;
        r = read_file(files, path, file, n, err);
    }
    closedir(dir);
    return r;
}

static int look_up(void *self, bool group, const char *name, u32 *ret)
{
    char buf[4096];

    if (group) {
        struct group g, *found = NULL;

        if (getgrnam_r(name, &g, buf, sizeof(buf), &found) || !found)
            return -ENOENT;
        *ret = g.gr_gid;
    } else {
        struct passwd p, *found = NULL;

        if (getpwnam_r(name, &p, buf, sizeof(buf), &found) || !found)
            return -ENOENT;
        *ret = p.pw_uid;
    }
    return 0;
}

int tn_policy_files_read(struct tn_policy_files *files, struct tn_error *err)
{
    struct tn_policy_file *file = NULL;
    u32 n = 0;
    int r = 0;

    for (u32 k = 0; k < files->nplaces && !r; k++)
        r = read_place(files, files->place[k], &file, &n, err);
    if (!r && n)
        qsort(file, n, sizeof(*file), by_name);
    clear_files(files->file, files->n);
    files->file = file;
    files->n = n;
    return r;
}

int tn_policy_place_add(struct tn_policy_files *files, const char *path)
{
    return add_place(files, "%s", path);
}

void tn_policy_files_clear(struct tn_policy_files *files)
{
    for (u32 k = 0; k < files->nplaces; k++)
        free(files->place[k]);
    clear_files(files->file, files->n);
    *files = (struct tn_policy_files){0};
}

/* Files say what the host offers: they were extracted from its notes, or know better. */
static bool specified(const struct tn_eim_source *source, u32 n, const char *host)
{
    struct tn_eim *eim = NULL;
    const struct tn_eim_options options = {.look_up = look_up, .notes_elsewhere = true};
    struct tn_eim_item item;
    bool is = !tn_eim_read(source, n, &options, &eim, NULL) && tn_eim_item(eim, host, 0, &item) &&
              item.kind != TN_ITEM_CLASS;

    tn_eim_free(eim);
    return is;
}

int tn_policy_files_eim(const struct tn_policy_files *files, const struct tn_notes *notes, const char *host,
                        struct tn_eim **ret, struct tn_error *err)
{
    _free_ struct tn_eim_source *source = calloc(files->n + 1, sizeof(*source));
    const struct tn_eim_options options = {
        .look_up = look_up, .notes_elsewhere = true, .host = notes ? host : NULL};
    u32 n = 0;

    if (!source)
        return -ENOMEM;
    for (; n < files->n; n++)
        source[n] = (struct tn_eim_source){
            .name = files->file[n].name, .text = files->file[n].text, .len = files->file[n].len};
    if (notes && notes->n && !specified(source, n, host))
        source[n++] = (struct tn_eim_source){.name = host, .notes = notes, .host = host};
    return tn_eim_read(source, n, &options, ret, err);
}

/* ------------------------------------------------------------------------------------------------ hosts */

int tn_policy_notes(const char *path, struct tn_notes *ret, struct tn_error *err)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    void *elf;
    int r;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size)
        return -ENOENT;
    elf = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (elf == MAP_FAILED)
        return -errno;
    r = tn_notes_read(elf, (u64)st.st_size, ret, err);
    munmap(elf, (size_t)st.st_size);
    return r;
}

/* By whatever name: a link, or a folder that is one. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return !strcmp(a, b) || (!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* The name under which files speak of a binary: the one that says its path, else that of the file. */
void tn_policy_host_name(const struct tn_eim *names, const char *path, char ret[64])
{
    const char *base = strrchr(path, '/'), *name;

    for (u32 k = 0; names && (name = tn_eim_host_name(names, k)); k++) {
        const char *binary = tn_eim_host_binary(names, name);

        if (binary && same_file(binary, path)) {
            snprintf(ret, 64, "%s", name);
            return;
        }
    }
    snprintf(ret, 64, "%s", base ? base + 1 : path);
}

/* Whoever asks may be root, who runs no compiler over what a file includes. */
static bool is_c_text(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot && (!strcmp(dot, ".h") || !strcmp(dot, ".c"));
}

int tn_policy_files_types(const struct tn_eim *names, u32 uid, const char *host, char ret[4096], int *ret_fd,
                          struct tn_error *err)
{
    struct stat st;

    *ret_fd = -1;
    ret[0] = '\0';
    if (!names || !tn_eim_host_types(names, host, ret, 4096)) {
        ret[0] = '\0';
        return 0;
    }
    if (is_c_text(ret))
        return tn_fail(
            err, -EINVAL, "policy_types",
            "%.400s is C text, and types are read of what was compiled of it: tenon spec types -o %.*s.btf "
            "%.400s -- FLAGS, with those that %s was compiled with (-I, -D); then types: %.*s.btf",
            ret, (int)TN_MIN(strlen(ret) - 2, (size_t)200), ret, ret, host,
            (int)TN_MIN(strlen(ret) - 2, (size_t)200), ret);
    return tn_policy_file_open(uid, ret, &st, ret_fd, err);
}

/* ----------------------------------------------------------------------------------------------- places */

int tn_policy_places(u32 uid, struct tn_policy_files *files)
{
    const char *named = getenv("TENON_POLICY"), *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    _free_ char *copy = named ? strdup(named) : NULL;
    char *rest = copy, *one;
    int r;

    files->uid = uid;
    r = add_place(files, "/etc/tenon/policy.d");
    while (copy && !r && (one = strsep(&rest, ":")))
        if (*one)
            r = add_place(files, "%s", one);
    if (copy)
        return r;
    if (!r && files->uid && config && *config == '/')
        r = add_place(files, "%s/tenon/policy.d", config);
    else if (!r && files->uid && home && *home == '/')
        r = add_place(files, "%s/.config/tenon/policy.d", home);
    if (!r && files->uid && files->nplaces > 1)
        files->home = files->place[files->nplaces - 1];
    return r;
}
