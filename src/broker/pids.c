/* SPDX-License-Identifier: MIT */
/*
 * Which processes there are, of those that this user may look at: by what they have mapped, or by anything else
 * that can be asked of one. Never meant is what is ours: the broker itself, its guardians and injectors.
 */
#include "broker/pids.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TARGETS_MAX 1024u

bool tn_pids_add(pid_t **pids, u32 *count, pid_t pid)
{
    pid_t *more = reallocarray(*pids, *count + 1, sizeof(**pids));

    if (!more)
        return false;
    *pids = more;
    more[(*count)++] = pid;
    return true;
}

static pid_t parent_of(pid_t pid)
{
    char path[32], line[512];
    _fclose_ FILE *f = NULL;
    const char *p;
    int ppid;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (!f || !fgets(line, sizeof(line), f))
        return 0;
    p = strrchr(line, ')');
    return p && sscanf(p + 1, " %*c %d", &ppid) == 1 ? ppid : 0;
}

/* The broker itself, its guardians and injectors. */
static bool is_ours(pid_t pid)
{
    for (u32 depth = 0; pid > 1 && depth < 4; depth++) {
        if (pid == getpid())
            return true;
        pid = parent_of(pid);
    }
    return false;
}

int tn_pids_where(bool (*is)(pid_t pid, const void *arg), const void *arg, pid_t **ret_pids, u32 *ret_count)
{
    _free_ pid_t *pids = NULL;
    u32 count = 0;
    DIR *dir = opendir("/proc");
    const struct dirent *entry;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

        if (pid > 0 && is(pid, arg) && !is_ours(pid) &&
            (count == TARGETS_MAX || !tn_pids_add(&pids, &count, pid))) {
            closedir(dir);
            return count == TARGETS_MAX ? -E2BIG : -ENOMEM;
        }
    }
    closedir(dir);
    *ret_pids = TN_TAKE_PTR(pids);
    *ret_count = count;
    return 0;
}

struct file_id {
    u64 dev, ino;
};

static bool maps_file(pid_t pid, const void *arg)
{
    const struct file_id *file = arg;
    char path[32], line[PATH_MAX + 128];
    _fclose_ FILE *f = NULL;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    f = fopen(path, "re");
    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        unsigned int major, minor;
        unsigned long inode;
        char perms[5];

        if (sscanf(line, "%*x-%*x %4s %*x %x:%x %lu", perms, &major, &minor, &inode) == 4 &&
            inode == file->ino && perms[2] == 'x' && makedev(major, minor) == file->dev)
            return true;
    }
    return false;
}

int tn_pids_of_file(u64 dev, u64 ino, pid_t **ret_pids, u32 *ret_count)
{
    struct file_id file = {dev, ino};

    return tn_pids_where(maps_file, &file, ret_pids, ret_count);
}
