/* SPDX-License-Identifier: MIT */
/*
 * A code object in this very process: the text goes into a memfd that is sealed before it is mapped
 * executable, so the bytes were checked once and can be written by nobody afterwards; the pool stands before
 * it, written and then made read-only. Nothing is ever writable and executable, at no time.
 *
 *      mem │ pool: r--, anonymous │ text: r-x, sealed memfd │
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "jit/jit.h"

static int text_fd(const struct tn_code *code)
{
    _close_ int fd = memfd_create("tenon-text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    u32 done = 0;

    if (fd < 0)
        return -errno;
    while (done < code->text_len) {
        ssize_t n = write(fd, code->text + done, code->text_len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (u32)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return TN_TAKE_FD(fd);
}

static int resolve(const struct tn_pool_entry *entry, struct tn_map *const *maps, u64 *ret_word)
{
    const struct tn_helper *helper;

    switch ((enum tn_pool_kind)entry->kind) {
    case TN_POOL_HELPER:
        helper = tn_helper_by_id(entry->index);
        if (!helper)
            return -ENOENT;
        *ret_word = (uintptr_t)helper->fn;
        return 0;
    case TN_POOL_MAP:
        *ret_word = (uintptr_t)maps[entry->index];
        return 0;
    case TN_POOL_MAP_DATA:
        if (entry->offset > maps[entry->index]->geo.size)
            return -EINVAL;
        *ret_word = (uintptr_t)maps[entry->index]->base + entry->offset;
        return 0;
    case TN_POOL_HOST: /* there is no host here */
    case TN_POOL_AGENT:
        return -ENOTSUP;
    }
    return -EINVAL;
}

int tn_code_map(const struct tn_code *code, struct tn_map *const *maps, struct tn_code_map *ret_map)
{
    u64 len = (u64)code->pool_size + code->text_len;
    _close_ int fd = text_fd(code);
    u64 *pool;
    u8 *mem;
    int r = 0;

    if (fd < 0)
        return fd;
    mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        return -errno;
    pool = (u64 *)mem;
    for (u32 i = 0; i < code->npool && !r; i++)
        r = resolve(&code->pool[i], maps, &pool[i]);
    if (!r && mprotect(mem, code->pool_size, PROT_READ) < 0)
        r = -errno;
    if (!r && mmap(mem + code->pool_size, code->text_len, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd,
                   0) == MAP_FAILED)
        r = -errno;
    if (r) {
        munmap(mem, len);
        return r;
    }
    *ret_map = (struct tn_code_map){
        .mem = mem, .len = len, .fn = (tn_prog_fn)(uintptr_t)(mem + code->pool_size + code->entry)};
    return 0;
}

void tn_code_unmap(struct tn_code_map *map)
{
    if (map->mem)
        munmap(map->mem, map->len);
    *map = (struct tn_code_map){0};
}
