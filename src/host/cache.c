/* SPDX-License-Identifier: MIT */
/*
 * One file a build-id. The folder may hold anything, and anybody may have put it there: see
 * tn_host_cache_get.
 */
#include "host/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

/* The folder; with `make`, it is there afterwards if it can be. False: no cache. */
static bool folder(const char *dir, bool make, char *to)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;

    if (dir && !*dir)
        return false;
    if (dir)
        n = snprintf(to, PATH_MAX, "%s", dir);
    else if (geteuid() == 0)
        n = snprintf(to, PATH_MAX, "/var/cache/tenon");
    else if (cache && *cache == '/')
        n = snprintf(to, PATH_MAX, "%s/tenon", cache);
    else if (home && *home == '/')
        n = snprintf(to, PATH_MAX, "%s/.cache/tenon", home);
    else
        return false;
    if (n >= PATH_MAX - 256)
        return false;
    if (make)
        (void)mkdir(to, 0700);
    return true;
}

#define NAME_SIZE (2 * TN_HOST_BUILD_ID_MAX + 16)

static void name_of(const struct tn_host_head *head, char name[static NAME_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = strlen(strcpy(name, "types-"));

    for (u32 i = 0; i < head->build_id_len; i++) {
        name[n++] = digits[head->build_id[i] >> 4];
        name[n++] = digits[head->build_id[i] & 15];
    }
    name[n] = 0;
}

static bool same(const struct tn_host_head *a, const struct tn_host_head *b)
{
    return !memcmp(a->magic, b->magic, sizeof(a->magic)) && a->source == b->source &&
           a->build_id_len == b->build_id_len && !memcmp(a->build_id, b->build_id, sizeof(a->build_id)) &&
           !memcmp(&a->file, &b->file, sizeof(a->file)) && !memcmp(&a->debug, &b->debug, sizeof(a->debug));
}

int tn_host_cache_get(const char *dir, const struct tn_host_head *want, void **ret, u64 *ret_size)
{
    char path[PATH_MAX], name[NAME_SIZE];
    _free_ u8 *bytes = NULL;
    _close_ int fd = -1;
    struct tn_host_head head;
    struct stat st;

    if (!want->build_id_len || !folder(dir, false, path))
        return -ENOENT;
    name_of(want, name);
    strcat(strcat(path, "/"), name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 022 ||
        st.st_size < (off_t)sizeof(head) || (u64)st.st_size > TN_HOST_IMAGE_MAX)
        return -ENOENT;
    if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || !same(&head, want))
        return -ENOENT;
    bytes = malloc((u64)st.st_size);
    if (!bytes)
        return -ENOMEM;
    if (tn_pread_all(fd, bytes, (u64)st.st_size, 0))
        return -ENOENT;
    *ret = TN_TAKE_PTR(bytes);
    *ret_size = (u64)st.st_size;
    return 0;
}

void tn_host_cache_put(const char *dir, const struct tn_host_head *head, const void *bytes, u64 size)
{
    char path[PATH_MAX], name[NAME_SIZE], temporary[PATH_MAX];
    int fd, r;

    if (!head->build_id_len || !folder(dir, true, path))
        return;
    name_of(head, name);
    if (snprintf(temporary, sizeof(temporary), "%s/.%s.XXXXXX", path, name) >= (int)sizeof(temporary))
        return;
    strcat(strcat(path, "/"), name);
    fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return;
    r = tn_write_all(fd, bytes, size);
    if (close(fd) || r || rename(temporary, path))
        (void)unlink(temporary);
}
