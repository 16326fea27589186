/* SPDX-License-Identifier: MIT */
/* See hosts.h. */
#include "cli/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/prototypes.h"
#include "broker/vmlinux.h"
#include "cli/place.h"
#include "eim/text.h"
#include "host/stub.h"

const char *const tn_cli_item_kinds[] = {[TN_ITEM_ENTRY] = "entry",
                                         [TN_ITEM_FUNCTION] = "function",
                                         [TN_ITEM_STATE] = "state",
                                         [TN_ITEM_CLASS] = "class"};

static bool begins_with(const char *path, const char *bytes, size_t n)
{
    _fclose_ FILE *f = fopen(path, "re");
    char head[4] = "";

    return f && fread(head, 1, n, f) == n && !memcmp(head, bytes, n);
}

bool tn_cli_is_elf(const char *path)
{
    return begins_with(path, "\177ELF", 4);
}

bool tn_cli_is_btf(const char *path)
{
    return begins_with(path, "\x9f\xeb", 2);
}

int tn_cli_types_open(const struct tn_cli_host_opts *opts, int *ret_fd, bool *ret_declared,
                      struct tn_error *err)
{
    static const int said = STDERR_FILENO;
    const struct tn_host_stub stub = {
        .source = opts->types, .flags = opts->flags, .nflags = opts->nflags, .said_fd = &said};
    int fd;

    *ret_declared = true;
    if (access(opts->types, R_OK))
        return tn_fail(err, -errno, "no_file", "%s: %s", opts->types, strerror(errno));
    if (!tn_cli_is_elf(opts->types) && !tn_cli_is_btf(opts->types))
        return tn_host_stub_compile(&stub, ret_fd, ret_declared, err);
    fd = open(opts->types, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", opts->types, strerror(errno));
    *ret_fd = fd;
    return 0;
}

/* As the broker has them: what a specification names comes before what the binary has, and the functions join
   that only a specification tells the prototype of. */
static int read_types(const struct tn_cli_host_opts *opts, const struct tn_eim *said,
                      struct tn_cli_host *host, struct tn_error *err)
{
    _close_ int types_fd = -1, fd = open(host->file, O_RDONLY | O_CLOEXEC);
    struct tn_host_opts o = {.path = host->file, .fd = -1, .debug_file = opts->debug};
    char path[4096], name[64];
    bool declared;
    int r = 0;

    tn_policy_host_name(said, host->file, name);
    if (opts->name)
        snprintf(name, sizeof(name), "%s", opts->name);
    if (opts->types)
        r = tn_cli_types_open(opts, &types_fd, &declared, err);
    else if (!opts->debug)
        r = tn_policy_files_types(said, getuid(), name, path, &types_fd, err);
    if (r)
        return r;
    o.types_fd = types_fd >= 0 ? &types_fd : NULL;
    r = tn_host_types_open(&o, &host->types, err);
    if (r)
        return r;
    r = tn_prototypes_add(said, name, fd, host->file, host->types, err);
    if (r == -ENOENT) { /* whoever needs it says so, and of each one */
        *err = (struct tn_error){0};
        r = 0;
    }
    return r;
}

static int open_types(const struct tn_cli_host_opts *opts, struct tn_cli_host *host, struct tn_error *err)
{
    struct tn_cli_policy said;
    u64 size;
    int r = tn_cli_policy_open(opts->paths, opts->npaths, NULL, &said, err);

    if (r)
        return r;
    r = read_types(opts, said.eim, host, err);
    tn_cli_policy_close(&said);
    if (!r)
        r = tn_host_types_split(host->types, host->base, &host->data, &size);
    if (!r)
        r = tn_btf_open(host->data, size, host->base, &host->btf, err);
    return r;
}

int tn_cli_host_file(const char *binary, char ret_file[PATH_MAX], struct tn_error *err)
{
    struct tn_place place = {0};

    snprintf(place.path, sizeof(place.path), "%s%s", strchr(binary, '/') || access(binary, F_OK) ? "" : "./",
             binary);
    return tn_place_file(&place, 0, ret_file, err);
}

int tn_cli_host_open(const char *binary, const struct tn_cli_host_opts *opts, struct tn_cli_host *ret,
                     struct tn_error *err)
{
    struct tn_error why = {0};
    const u8 *id;
    u32 size, n;
    int r;

    *ret = (struct tn_cli_host){0};
    r = tn_cli_host_file(binary, ret->file, err);
    if (!r) {
        r = tn_policy_notes(ret->file, &ret->notes, &why);
        if (r)
            r = tn_fail(err, r, why.reason, "%s: %s", ret->file, *why.message ? why.message : strerror(-r));
    }
    if (!r)
        r = tn_vmlinux_make(&ret->base_data, &size);
    if (!r)
        r = tn_btf_open(ret->base_data, size, NULL, &ret->base, err);
    if (!r)
        r = open_types(opts, ret, &ret->no_types);
    if (r == -ENODATA && !opts->need_types && !opts->types && !opts->debug)
        return 0;
    if (r) {
        if (ret->no_types.reason[0])
            (void)tn_fail(err, r, ret->no_types.reason, "%s", ret->no_types.message);
        tn_cli_host_close(ret);
        return r;
    }
    n = tn_host_types_build_id(ret->types, &id);
    for (u32 k = 0; k < n; k++)
        snprintf(ret->build_id + 2 * k, 3, "%02x", id[k]);
    return 0;
}

void tn_cli_host_close(struct tn_cli_host *host)
{
    tn_btf_close(host->btf);
    tn_btf_close(host->base);
    tn_host_types_close(host->types);
    tn_notes_clear(&host->notes);
    free(host->data);
    free(host->base_data);
    *host = (struct tn_cli_host){0};
}

int tn_cli_policy_files(char *const *paths, u32 n, struct tn_policy_files *ret, struct tn_error *err)
{
    int r = 0;

    *ret = (struct tn_policy_files){.uid = getuid()};
    if (!n)
        r = tn_policy_places(getuid(), ret);
    for (u32 k = 0; k < n && !r; k++) {
        if (access(paths[k], F_OK))
            r = tn_fail(err, -errno, "policy_file", "%s: %s", paths[k], strerror(errno));
        else
            r = tn_policy_place_add(ret, paths[k]);
    }
    if (!r)
        r = tn_policy_files_read(ret, err);
    if (r)
        tn_policy_files_clear(ret);
    return r;
}

int tn_cli_policy_read(struct tn_policy_files *files, const struct tn_cli_host *host,
                       struct tn_cli_policy *ret, struct tn_error *err)
{
    struct tn_eim *names = NULL;
    int r;

    *ret = (struct tn_cli_policy){.files = *files};
    *files = (struct tn_policy_files){0};
    r = tn_policy_files_eim(&ret->files, NULL, NULL, &names, err);
    if (!r && host) {
        tn_policy_host_name(names, host->file, ret->name);
        r = tn_policy_files_eim(&ret->files, &host->notes, ret->name, &ret->eim, err);
        tn_eim_free(names);
    } else {
        ret->eim = names;
    }
    if (r)
        tn_cli_policy_close(ret);
    return r;
}

int tn_cli_check_build(const struct tn_cli_host *host, const struct tn_eim *eim, const char *name,
                       struct tn_error *err)
{
    const u8 *id;
    u32 n = host->types ? tn_host_types_build_id(host->types, &id) : 0;

    return host->types ? tn_eim_check_build(eim, name, id, n, err) : 0;
}

int tn_cli_policy_open(char *const *paths, u32 n, const struct tn_cli_host *host, struct tn_cli_policy *ret,
                       struct tn_error *err)
{
    struct tn_policy_files files;
    int r = tn_cli_policy_files(paths, n, &files, err);

    if (!r)
        r = tn_cli_policy_read(&files, host, ret, err);
    if (r || !host || !host->types)
        return r;
    r = tn_cli_check_build(host, ret->eim, ret->name, err);
    if (!r)
        r = tn_eim_bind(ret->eim, ret->name, host->btf, &ret->bound, err);
    if (r)
        tn_cli_policy_close(ret);
    return r;
}

void tn_cli_policy_close(struct tn_cli_policy *policy)
{
    tn_eim_unbind(policy->bound);
    tn_eim_free(policy->eim);
    tn_policy_files_clear(&policy->files);
    *policy = (struct tn_cli_policy){0};
}

/* The names that the file's symbols have: where there are no types, and of probes, which need none. */
static int exported(const struct tn_cli_host *host, const struct tn_eim_item *item, struct tn_error *err)
{
    struct tn_place place = {0};
    struct tn_error why = {0};
    u64 offset;

    if (item->kind == TN_ITEM_STATE)
        return tn_fail(err, -ENODATA, "no_types",
                       "a variable needs the host's types, and %s has none: name its debug file (--debug) or "
                       "a header (--types)",
                       host->file);
    snprintf(place.func, sizeof(place.func), "%s", item->symbol);
    if (!tn_place_offset(&place, host->file, &offset, NULL, &why))
        return 0;
    return tn_fail(err, -ENOENT, why.reason, "%s", why.message);
}

static int no_function(const struct tn_cli_host *host, const struct tn_eim_item *item, struct tn_error *err)
{
    struct tn_nearest near = tn_nearest_to(item->symbol);
    char hint[TN_NEAREST_TEXT];

    tn_prototypes_offer(host->types, &near);
    return tn_fail(
        err, -ENOENT, "no_host_function",
        "%s has no function %s: nobody calls it, its body stands wherever it is called, or it is a macro%s",
        host->file, item->symbol, tn_nearest_text(&near, hint));
}

int tn_cli_item_there(const struct tn_cli_host *host, const struct tn_eim_item *item, struct tn_error *err)
{
    const struct tn_host_func *f;
    const struct tn_host_var *v;

    if (item->kind == TN_ITEM_CLASS &&
        (!item->symbol || (host->types && tn_host_types_func_named(host->types, item->symbol, 0))))
        return 0;
    if (!host->types || item->kind == TN_ITEM_CLASS)
        return exported(host, item, err);
    if (item->kind == TN_ITEM_STATE) {
        v = tn_host_types_var_named(host->types, item->symbol, 0);
        if (v && v->flags & TN_HOST_THREAD_LOCAL)
            return tn_fail(err, -EOPNOTSUPP, "no_host_variable", "%s has no address: each thread has its own",
                           item->symbol);
        return 0; /* binding says what is not there */
    }
    f = tn_host_types_func_named(host->types, item->symbol, 0);
    if (!f)
        return no_function(host, item, err);
    if (f->reason != TN_HOST_NONE && !(f->reason == TN_HOST_NO_PROTOTYPE && item->prototype))
        return tn_fail(err, -EOPNOTSUPP, tn_host_reason_name(f->reason), "%s of %s: %s", item->symbol,
                       host->file, tn_host_reason_text(f->reason));
    return 0;
}

char *tn_cli_item_prototype(const struct tn_cli_host *host, const struct tn_eim_item *item)
{
    u32 id;

    if (item->prototype)
        return strdup(item->prototype);
    if (!host->types || item->kind > TN_ITEM_FUNCTION)
        return NULL;
    id = tn_btf_find(host->btf, BTF_KIND_FUNC, item->symbol);
    return id ? tn_eim_prototype(host->btf, id) : NULL;
}
