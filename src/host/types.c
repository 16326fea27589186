/* SPDX-License-Identifier: MIT */
/*
 * From a binary to its types: which source, is it cached, else a child; then rows with names, and the orders
 * in which they are looked up.
 */
#include "host/types.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "host/cache.h"
#include "host/child.h"
#include "host/find.h"

static const struct {
    const char *name, *text;
} reasons[] = {
#define R(name, text, sentence) {text, sentence},
    TN_HOST_REASONS(R)
#undef R
};

const char *tn_host_reason_name(enum tn_host_reason reason)
{
    return reason < TN_HOST_NREASONS ? reasons[reason].name : "?";
}

const char *tn_host_reason_text(enum tn_host_reason reason)
{
    return reason < TN_HOST_NREASONS ? reasons[reason].text : "?";
}

u32 tn_host_throws_by_name(const char *symbol)
{
    return !strncmp(symbol, "_Z", 2) ? TN_HOST_MAY_THROW : 0; /* C++, as the Itanium ABI writes names */
}

const char *tn_host_source_name(enum tn_host_source source)
{
    static const char *const names[] = {
        [TN_HOST_DWARF] = "dwarf",   [TN_HOST_DEBUG_FILE] = "debug file", [TN_HOST_BTF] = "btf",
        [TN_HOST_HEADER] = "header", [TN_HOST_GIVEN_BTF] = "given btf",
    };

    return source < TN_HOST_NSOURCES ? names[source] : "?";
}

struct tn_host_types {
    void *bytes;
    struct tn_host_image image;
    struct tn_host_func *func;
    struct tn_host_var *var;
    const struct tn_host_func **func_name; /* by name, then use, then address */
    const struct tn_host_var **var_name;
    const struct tn_host_func **func_type; /* by type; those that have one */
    u32 ntyped;
    bool cached;
    void *added; /* the BTF, where some was added to that of `bytes` */
};

struct tn_host_job {
    struct tn_host_child child; /* pid 0: the cache answered */
    struct tn_host_head head;
    void *bytes;
    u64 size;
    int ready; /* an eventfd, where there is no child */
    char *cache_dir;
};

/* -------------------------------------------------------------------------------------------- opening */

static int by_func_name(const void *a, const void *b)
{
    const struct tn_host_func *x = *(const struct tn_host_func *const *)a;
    const struct tn_host_func *y = *(const struct tn_host_func *const *)b;
    int r = strcmp(x->name, y->name);

    if (r)
        return r;
    if (!x->reason != !y->reason)
        return x->reason ? 1 : -1;
    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int by_var_name(const void *a, const void *b)
{
    const struct tn_host_var *x = *(const struct tn_host_var *const *)a;
    const struct tn_host_var *y = *(const struct tn_host_var *const *)b;
    int r = strcmp(x->name, y->name);

    return r ? r : x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int by_addr(const void *a, const void *b)
{
    const struct tn_host_func *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int by_type(const void *a, const void *b)
{
    const struct tn_host_func *x = *(const struct tn_host_func *const *)a;
    const struct tn_host_func *y = *(const struct tn_host_func *const *)b;

    return x->type < y->type ? -1 : x->type > y->type;
}

static void index_funcs(struct tn_host_types *t)
{
    u32 nf = t->image.head.nfuncs;

    t->ntyped = 0;
    for (u32 i = 0; i < nf; i++) {
        t->func_name[i] = &t->func[i];
        if (t->func[i].type)
            t->func_type[t->ntyped++] = &t->func[i];
    }
    qsort(t->func_name, nf, sizeof(*t->func_name), by_func_name);
    qsort(t->func_type, t->ntyped, sizeof(*t->func_type), by_type);
}

static int fill(struct tn_host_types *t)
{
    u32 nf = t->image.head.nfuncs, nv = t->image.head.nvars;

    t->func = calloc(nf + 1, sizeof(*t->func));
    t->var = calloc(nv + 1, sizeof(*t->var));
    t->func_name = calloc(nf + 1, sizeof(*t->func_name));
    t->func_type = calloc(nf + 1, sizeof(*t->func_type));
    t->var_name = calloc(nv + 1, sizeof(*t->var_name));
    if (!t->func || !t->var || !t->func_name || !t->func_type || !t->var_name)
        return -ENOMEM;
    for (u32 i = 0; i < nf; i++) {
        const struct tn_host_func_row *row = &t->image.func[i];

        t->func[i] = (struct tn_host_func){.addr = row->addr,
                                           .size = row->size,
                                           .offset = row->offset,
                                           .name = t->image.strings + row->name,
                                           .type = row->type,
                                           .flags = row->flags,
                                           .reason = row->reason,
                                           .param = row->param};
    }
    for (u32 i = 0; i < nv; i++) {
        const struct tn_host_var_row *row = &t->image.var[i];

        t->var[i] =
            (struct tn_host_var){row->addr, row->size, t->image.strings + row->name, row->type, row->flags};
        t->var_name[i] = &t->var[i];
    }
    index_funcs(t);
    qsort(t->var_name, nv, sizeof(*t->var_name), by_var_name);
    return 0;
}

void tn_host_types_close(struct tn_host_types *t)
{
    if (!t)
        return;
    tn_btf_close(t->image.view);
    free(t->func);
    free(t->var);
    free(t->func_name);
    free(t->func_type);
    free(t->var_name);
    free(t->added);
    free(t->bytes);
    free(t);
}

/* Takes `bytes` over where it succeeds. */
static int make(void *bytes, u64 size, bool cached, struct tn_host_types **ret, struct tn_error *err)
{
    struct tn_host_types *t = calloc(1, sizeof(*t));
    int r = t ? tn_host_image_open(bytes, size, &t->image, err) : -ENOMEM;

    if (!r)
        r = fill(t);
    if (r) {
        tn_host_types_close(t);
        return r;
    }
    t->bytes = bytes;
    t->cached = cached;
    *ret = t;
    return 0;
}

int tn_host_types_add(struct tn_host_types *t, void *btf, u64 size, const struct tn_host_func *rows, u32 n,
                      struct tn_error *err)
{
    u32 nf = t->image.head.nfuncs, room = nf + n + 1;
    struct tn_host_func *func = calloc(room, sizeof(*func));
    const struct tn_host_func **by_name = calloc(room, sizeof(*by_name)),
                              **typed = calloc(room, sizeof(*typed));
    struct tn_btf *view = NULL;
    int r = func && by_name && typed ? tn_btf_open(btf, size, NULL, &view, err) : -ENOMEM;

    if (r) {
        free(func);
        free(by_name);
        free(typed);
        return r;
    }
    memcpy(func, t->func, nf * sizeof(*func));
    for (u32 k = 0; k < n; k++) {
        u32 i = 0;

        while (i < nf && (func[i].addr != rows[k].addr || strcmp(func[i].name, rows[k].name) != 0))
            i++;
        if (i == nf)
            func[nf++] = rows[k];
        func[i].name = i < t->image.head.nfuncs ? func[i].name : tn_btf_name(view, rows[k].type);
        func[i].type = rows[k].type;
        func[i].reason = rows[k].reason;
        func[i].param = rows[k].param;
    }
    qsort(func, nf, sizeof(*func), by_addr);
    free(t->func);
    free(t->func_name);
    free(t->func_type);
    free(t->added);
    tn_btf_close(t->image.view);
    t->func = func;
    t->func_name = by_name;
    t->func_type = typed;
    t->added = btf;
    t->image.btf = btf;
    t->image.head.btf_size = size;
    t->image.head.nfuncs = nf;
    t->image.view = view;
    index_funcs(t);
    return 0;
}

/* ---------------------------------------------------------------------------------------------- jobs */

static struct tn_host_identity identity_of(int fd)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return (struct tn_host_identity){0};
    return (struct tn_host_identity){st.st_dev, st.st_ino, (u64)st.st_size, (u64)st.st_ctim.tv_sec,
                                     (u64)st.st_ctim.tv_nsec};
}

static int read_btf(int fd, u64 offset, u64 size, void **ret, struct tn_error *err)
{
    _free_ u8 *bytes = NULL;

    if (size > TN_BTF_SIZE_MAX)
        return tn_fail(err, -E2BIG, "types_too_many", "%llu bytes of BTF", (unsigned long long)size);
    bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    if (tn_pread_all(fd, bytes, size, offset))
        return tn_fail(err, -EIO, "elf_damaged", "its BTF cannot be read");
    *ret = TN_TAKE_PTR(bytes);
    return 0;
}

/* BTF as it lies in a file of its own, or an object that has debug information. */
static int given(int fd, void **btf, struct tn_host_child_in *in, struct tn_error *err)
{
    struct stat st;
    u16 magic = 0;
    int r;

    if (pread(fd, &magic, sizeof(magic), 0) != sizeof(magic) || magic != BTF_MAGIC) {
        in->head.source = TN_HOST_HEADER;
        in->types_fd = fd;
        return 0;
    }
    r = fstat(fd, &st) ? -errno : read_btf(fd, 0, (u64)st.st_size, btf, err);
    in->head.source = TN_HOST_GIVEN_BTF;
    in->btf = *btf;
    in->btf_size = (u64)st.st_size;
    return r;
}

/* Where the types are: fills in->…; what was opened for it goes to `debug` and `btf`,
   the caller's to release. */
static int choose(const struct tn_host_opts *opts, const struct tn_host_elf *elf, struct tn_host_debug *debug,
                  void **btf, struct tn_host_child_in *in, struct tn_error *err)
{
    struct tn_error missing = {0};
    int r;

    if (opts->types_fd)
        return given(*opts->types_fd, btf, in, err);
    if (elf->has_dwarf && !opts->debug_file) {
        in->head.source = TN_HOST_DWARF;
        r = tn_host_find_alt(opts, elf, opts->path, &debug->alt_fd, err);
        in->alt_fd = debug->alt_fd;
        return r;
    }
    r = tn_host_find_debug(opts, elf, debug, &missing);
    if (!r) {
        in->head.source = TN_HOST_DEBUG_FILE;
        in->debug_fd = debug->fd;
        in->alt_fd = debug->alt_fd;
        return 0;
    }
    if (elf->has_btf && !opts->debug_file) {
        in->head.source = TN_HOST_BTF;
        r = read_btf(in->fd, elf->btf_offset, elf->btf_size, btf, err);
        in->btf = *btf;
        in->btf_size = elf->btf_size;
        return r;
    }
    return tn_fail(err, r, missing.reason, "%s", missing.message);
}

static void job_free(struct tn_host_job *job)
{
    if (!job)
        return;
    if (job->child.pid)
        tn_host_child_abort(&job->child);
    if (job->ready >= 0)
        close(job->ready);
    free(job->bytes);
    free(job->cache_dir);
    free(job);
}

static int start(struct tn_host_job *job, const struct tn_host_opts *opts, int fd,
                 const struct tn_host_elf *elf, struct tn_host_debug *debug, struct tn_error *err)
{
    struct tn_host_child_in in = {.elf = elf,
                                  .fd = fd,
                                  .debug_fd = -1,
                                  .alt_fd = -1,
                                  .types_fd = -1,
                                  .declared = opts->declared,
                                  .limit_ms = opts->limit_ms,
                                  .limit_mb = opts->limit_mb};
    _free_ void *btf = NULL;
    int r;

    memcpy(in.head.magic, TN_HOST_MAGIC, sizeof(in.head.magic));
    in.head.build_id_len = elf->build_id_len;
    memcpy(in.head.build_id, elf->build_id, sizeof(in.head.build_id));
    r = choose(opts, elf, debug, &btf, &in, err);
    if (r)
        return r;
    in.head.file = identity_of(fd);
    in.head.debug = identity_of(in.debug_fd);
    job->head = in.head;
    if (in.btf || in.types_fd >= 0)
        job->head.build_id_len = 0; /* quickly read again */
    else if (!tn_host_cache_get(opts->cache_dir, &in.head, &job->bytes, &job->size)) {
        job->ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        return job->ready < 0 ? -errno : 0;
    }
    return tn_host_child_start(&in, &job->child, err);
}

int tn_host_job_start(const struct tn_host_opts *opts, struct tn_host_job **ret, struct tn_error *err)
{
    _free_ struct tn_host_elf *elf = calloc(1, sizeof(*elf));
    _free_ struct tn_host_debug *debug = calloc(1, sizeof(*debug));
    struct tn_host_job *job = calloc(1, sizeof(*job));
    const char *name = opts->path ? opts->path : "the binary";
    _close_ int opened = -1;
    int fd = opts->fd, r = 0;

    if (!elf || !debug || !job) {
        free(job);
        return -ENOMEM;
    }
    job->ready = -1;
    debug->fd = debug->alt_fd = -1;
    if (opts->cache_dir)
        job->cache_dir = strdup(opts->cache_dir);
    if (fd < 0) {
        fd = opened = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            r = tn_fail(err, -errno, "no_file", "%s: %s", name, strerror(errno));
    }
    r = r ? r : tn_host_elf_read(fd, name, elf, err);
    if (!r && elf->relocatable)
        r = tn_fail(err, -ENOEXEC, "not_elf", "%s: an object file, neither a program nor a shared library",
                    name);
    r = r ? r : start(job, opts, fd, elf, debug, err);
    tn_host_debug_clear(debug);
    if (r) {
        job_free(job);
        return r;
    }
    *ret = job;
    return 0;
}

int tn_host_job_fd(const struct tn_host_job *job)
{
    return job->child.pid ? job->child.pidfd : job->ready;
}

int tn_host_job_finish(struct tn_host_job *job, struct tn_host_types **ret, struct tn_error *err)
{
    bool cached = !job->child.pid;
    struct tn_error ignored = {0};
    int r = 0;

    if (!cached)
        r = tn_host_child_finish(&job->child, &job->bytes, &job->size, err);
    r = r ? r : make(job->bytes, job->size, cached, ret, cached ? &ignored : err);
    if (!r) {
        if (!cached)
            tn_host_cache_put(job->cache_dir, &job->head, job->bytes, job->size);
        job->bytes = NULL;
    } else if (cached) {
        r = tn_fail(err, -EAGAIN, "cache_damaged", "the cached types are damaged: %s", ignored.message);
    }
    job_free(job);
    return r;
}

int tn_host_types_open(const struct tn_host_opts *opts, struct tn_host_types **ret, struct tn_error *err)
{
    struct tn_host_opts again = *opts;
    struct tn_error damaged = {0};
    struct tn_host_job *job = NULL;
    int r = tn_host_job_start(opts, &job, err);

    r = r ? r : tn_host_job_finish(job, ret, &damaged);
    if (r != -EAGAIN)
        return damaged.reason[0] ? tn_fail(err, r, damaged.reason, "%s", damaged.message) : r;
    again.cache_dir = "";
    r = tn_host_job_start(&again, &job, err);
    return r ? r : tn_host_job_finish(job, ret, err);
}

/* ------------------------------------------------------------------------------------------- queries */

enum tn_host_source tn_host_types_source(const struct tn_host_types *t)
{
    return t->image.head.source;
}

bool tn_host_types_cached(const struct tn_host_types *t)
{
    return t->cached;
}

u32 tn_host_types_build_id(const struct tn_host_types *t, const u8 **ret_id)
{
    *ret_id = t->image.head.build_id;
    return t->image.head.build_id_len;
}

const void *tn_host_types_raw(const struct tn_host_types *t, u64 *ret_size)
{
    *ret_size = t->image.head.btf_size;
    return t->image.btf;
}

const struct tn_btf *tn_host_types_view(const struct tn_host_types *t)
{
    return t->image.view;
}

u32 tn_host_types_nfuncs(const struct tn_host_types *t)
{
    return t->image.head.nfuncs;
}

const struct tn_host_func *tn_host_types_func(const struct tn_host_types *t, u32 k)
{
    return k < t->image.head.nfuncs ? &t->func[k] : NULL;
}

u32 tn_host_types_nvars(const struct tn_host_types *t)
{
    return t->image.head.nvars;
}

const struct tn_host_var *tn_host_types_var(const struct tn_host_types *t, u32 k)
{
    return k < t->image.head.nvars ? &t->var[k] : NULL;
}

const struct tn_host_func *tn_host_types_func_named(const struct tn_host_types *t, const char *name, u32 k)
{
    u32 low = 0, high = t->image.head.nfuncs;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (strcmp(t->func_name[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (k >= t->image.head.nfuncs - low || strcmp(t->func_name[low + k]->name, name))
        return NULL;
    return t->func_name[low + k];
}

const struct tn_host_var *tn_host_types_var_named(const struct tn_host_types *t, const char *name, u32 k)
{
    u32 low = 0, high = t->image.head.nvars;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (strcmp(t->var_name[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (k >= t->image.head.nvars - low || strcmp(t->var_name[low + k]->name, name))
        return NULL;
    return t->var_name[low + k];
}

const struct tn_host_func *tn_host_types_func_of_type(const struct tn_host_types *t, u32 id)
{
    u32 low = 0, high = t->ntyped;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (t->func_type[mid]->type < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->ntyped && t->func_type[low]->type == id ? t->func_type[low] : NULL;
}

const struct tn_host_func *tn_host_types_func_at(const struct tn_host_types *t, u64 addr)
{
    u32 low = 0, high = t->image.head.nfuncs;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (t->func[mid].addr < addr)
            low = mid + 1;
        else
            high = mid;
    }
    return addr && low < t->image.head.nfuncs && t->func[low].addr == addr ? &t->func[low] : NULL;
}
