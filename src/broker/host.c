/* SPDX-License-Identifier: MIT */
/*
 * What a program names of its host arrives as type ids with descriptors beside them, and becomes addresses of
 * the host's file here:
 *
 *      attach_btf_id, attach_btf_obj_fd       the function it is attached to
 *      call  src 2, off → fd_array[off]       a function it calls
 *      load  src 3, next imm → descriptor     a variable whose address it takes
 *
 * Descriptor 0 means vmlinux. The verifier sees one set of types, in which vmlinux comes first, so ids stay
 * as they are. A prototype is relied upon only where the reader of types says that it may be (host/types.h).
 */
#include "broker/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "broker/broker_int.h"
#include "broker/judge.h"
#include "broker/multi.h"
#include "broker/vmlinux.h"
#include "rewrite/abi.h"
#include "rewrite/module.h"

#define TYPES_MS 120000

static void host_release(struct tn_object *object)
{
    struct tn_bhost *host =
        TN_CONTAINER_OF(TN_CONTAINER_OF(object, struct tn_bbtf, object), struct tn_bhost, btf);

    tn_btf_close(host->btf.view);
    tn_btf_close(host->base);
    tn_host_types_close(host->types);
    tn_module_free(host->module);
    tn_host_policy_free(host->policy);
    free(host->btf.data);
    free(host->base_data);
    free(host);
}

struct tn_bhost *tn_host_of(struct tn_bbtf *btf)
{
    return btf->object.release == host_release ? TN_CONTAINER_OF(btf, struct tn_bhost, btf) : NULL;
}

/* ----------------------------------------------------------------------------------------------- choosing */

static struct tn_bhost *known(struct tn_broker *broker, const struct tn_bhost *key)
{
    const struct tn_table *table = &broker->table[TN_KIND_BTF];

    for (u32 k = 0; k < table->count; k++) {
        struct tn_bhost *host = tn_host_of((struct tn_bbtf *)table->slot[k]);

        if (host && host->dev == key->dev && host->ino == key->ino && host->mtime_ns == key->mtime_ns &&
            host->types_dev == key->types_dev && host->types_ino == key->types_ino &&
            host->types_mtime_ns == key->types_mtime_ns && host->prototypes == key->prototypes)
            return host;
    }
    return NULL;
}

/* A module's name, as tools show it: the file's, without what follows a dot. */
static void name_it(struct tn_bhost *host)
{
    const char *base = strrchr(host->path, '/');

    snprintf(host->btf.name, sizeof(host->btf.name), "%.*s", (int)sizeof(host->btf.name) - 1,
             base ? base + 1 : host->path);
    host->btf.name[strcspn(host->btf.name, ".")] = '\0';
    if (!host->btf.name[0] || !strcmp(host->btf.name, "vmlinux"))
        snprintf(host->btf.name, sizeof(host->btf.name), "host");
}

static int read_types(struct tn_caller *caller, int fd, int types_fd, struct tn_bhost *host)
{
    struct tn_host_opts opts = {.path = host->path, .fd = fd};
    struct tn_host_job *job;
    void *data;
    u64 size;
    int r;

    if (types_fd >= 0)
        opts.types_fd = &types_fd;
    r = tn_host_job_start(&opts, &job, &caller->why);
    if (r)
        return r;
    (void)tn_loop_wait(caller->broker->loop, tn_host_job_fd(job), EPOLLIN, TYPES_MS);
    r = tn_host_job_finish(job, &host->types, &caller->why);
    if (!r)
        r = tn_policy_prototypes(caller->broker, fd, host->path, host->types, &host->prototypes,
                                 &caller->why);
    if (!r)
        r = tn_vmlinux_make(&host->base_data, &host->base_size);
    if (!r)
        r = tn_btf_open(host->base_data, host->base_size, NULL, &host->base, &caller->why);
    if (!r)
        r = tn_host_types_split(host->types, host->base, &data, &size);
    if (r)
        return r;
    host->btf.data = data;
    host->btf.size = (u32)size;
    return tn_btf_open(data, size, host->base, &host->btf.view, &caller->why);
}

static int open_file(struct tn_caller *caller, const char *at, struct tn_bhost *host, int *ret_fd)
{
    _close_ int fd = open(at, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char link[32];
    ssize_t len;

    if (fd < 0 || fstat(fd, &st))
        return tn_fail(&caller->why, -errno, "no_such_file", "%s: %s", at, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(&caller->why, -EINVAL, "not_a_file", "%s is no regular file", at);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, host->path, sizeof(host->path) - 1);
    host->path[len > 0 ? len : 0] = '\0';
    host->dev = st.st_dev;
    host->ino = st.st_ino;
    host->mtime_ns = (u64)st.st_mtim.tv_sec * 1000000000ull + (u64)st.st_mtim.tv_nsec;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

/* What a specification says has the host's types. */
static int open_types(struct tn_caller *caller, struct tn_bhost *host, int *ret_fd)
{
    struct stat st;
    int r = tn_policy_types(caller->broker, host->path, host->types_path, ret_fd, &caller->why);

    if (r || *ret_fd < 0)
        return r;
    if (fstat(*ret_fd, &st))
        return -errno;
    host->types_dev = st.st_dev;
    host->types_ino = st.st_ino;
    host->types_mtime_ns = (u64)st.st_mtim.tv_sec * 1000000000ull + (u64)st.st_mtim.tv_nsec;
    return 0;
}

int tn_host_of_file(struct tn_caller *caller, const char *path, struct tn_bhost **ret)
{
    struct tn_broker *broker = caller->broker;
    struct tn_bhost *host = calloc(1, sizeof(*host)), *there;
    _close_ int fd = -1, types_fd = -1;
    int r;

    if (!host)
        return -ENOMEM;
    host->btf.object.release = host_release;
    tn_object_unlisted(broker, &host->btf.object, TN_KIND_BTF);
    r = open_file(caller, path, host, &fd);
    r = r ? r : open_types(caller, host, &types_fd);
    r = r ? r : tn_policy_prototypes(broker, -1, host->path, NULL, &host->prototypes, &caller->why);
    there = r ? NULL : known(broker, host);
    if (!r && !there)
        r = read_types(caller, fd, types_fd, host);
    if (!r && !there)
        there = known(broker, host); /* another caller may have been quicker */
    if (!r && !there) {
        name_it(host);
        broker->nobjects--;
        r = tn_object_add(broker, &host->btf.object, TN_KIND_BTF, caller->uid);
        if (r)
            broker->nobjects++;
        else
            there = TN_REF(host);
    } else if (there) {
        TN_REF(there);
    }
    TN_UNREF(host);
    if (!r)
        *ret = there;
    return r;
}

int tn_host_untyped(struct tn_caller *caller, const char *path, struct tn_bhost **ret)
{
    struct tn_bhost *host = calloc(1, sizeof(*host));
    const u8 *id = NULL;
    _close_ int fd = -1;
    int r;

    if (!host)
        return -ENOMEM;
    host->btf.object.release = host_release;
    tn_object_unlisted(caller->broker, &host->btf.object, TN_KIND_BTF);
    r = open_file(caller, path, host, &fd);
    if (!r)
        r = tn_module_open(fd, &host->module, &caller->why);
    if (!r) {
        host->build_id_len = TN_MIN(tn_module_build_id(host->module, &id), (u32)sizeof(host->build_id));
        if (host->build_id_len)
            memcpy(host->build_id, id, host->build_id_len);
        r = tn_vmlinux_make(&host->base_data, &host->base_size);
    }
    if (!r)
        r = tn_btf_open(host->base_data, host->base_size, NULL, &host->btf.view, &caller->why);
    if (r)
        TN_UNREF(host);
    else
        *ret = host;
    return r;
}

/* The file that processes run, or that the caller named as he sees it. */
int tn_host_choose(struct tn_caller *caller, const struct tn_ctl_host *request)
{
    char name[PATH_MAX], at[PATH_MAX + 32];
    struct tn_bhost *there;
    int r = 0;

    if (request->npids > TN_CTL_HOST_PIDS || (!request->path && !request->npids))
        return -EINVAL;
    if (request->path)
        r = caller->ops->read_str(caller, request->path, name, sizeof(name));
    if (r)
        return r == -E2BIG ? -ENAMETOOLONG : r;
    if (!request->path)
        snprintf(at, sizeof(at), "/proc/%d/exe", request->pid[0]);
    else if (name[0] == '/')
        snprintf(at, sizeof(at), "%s", name);
    else
        snprintf(at, sizeof(at), "/proc/%d/cwd/%s", caller->pid, name);
    r = tn_host_of_file(caller, at, &there);
    if (r)
        return r;
    TN_UNREF(caller->host);
    caller->host = there;
    caller->nhost_pids = request->npids;
    memcpy(caller->host_pid, request->pid, sizeof(caller->host_pid));
    return 0;
}

void tn_host_function_at(const struct tn_bhost *host, u64 offset, char *ret_name, size_t cap, u32 *ret_id)
{
    const struct tn_func *symbol;
    u64 addr;

    if (host->module && !tn_module_addr_of_offset(host->module, offset, &addr)) {
        symbol = tn_module_func(host->module, addr);
        snprintf(ret_name, cap, "%s", symbol && symbol->name ? symbol->name : "");
    }
    for (u32 k = 0; host->types && k < tn_host_types_nfuncs(host->types); k++) {
        const struct tn_host_func *f = tn_host_types_func(host->types, k);

        if (f->offset == UINT64_MAX || offset < f->offset || offset >= f->offset + TN_MAX(f->size, 1ull))
            continue;
        snprintf(ret_name, cap, "%s", f->name);
        *ret_id = f->type ? f->type - 1 + tn_btf_count(host->base) : 0;
        return;
    }
}

int tn_host_vmlinux(struct tn_caller *caller, int *ret_fd)
{
    _close_ int fd = -1;
    int r;

    if (!caller->host)
        return -ENOENT;
    r = tn_memfd("vmlinux", 0, &fd);
    if (r)
        return r;
    if (pwrite(fd, caller->host->base_data, caller->host->base_size, 0) != (ssize_t)caller->host->base_size)
        return -EIO;
    return tn_memfd_reopen(fd, O_RDONLY, ret_fd);
}

/* ------------------------------------------------------------------------------------------ what is named */

/* The host behind a descriptor of the caller's; 0 is vmlinux, which is part of it. */
static int check_btf_fd(struct tn_caller *caller, s32 number)
{
    _unref_ struct tn_bbtf *btf = NULL;
    int r;

    if (!number)
        return 0;
    r = tn_caller_object(caller, number, TN_KIND_BTF, NULL, &btf);
    if (r)
        return tn_fail(&caller->why, r, "not_host_types", "descriptor %d is no type information of ours",
                       number);
    if (&caller->host->btf != btf)
        return tn_fail(&caller->why, -EINVAL, "not_host_types",
                       "descriptor %d has other types than those of %s, which is this tool's host", number,
                       caller->host->path);
    return 0;
}

static bool is_ours(const struct tn_bhost *host, u32 id)
{
    return id < tn_btf_count(host->base);
}

/* Of the form that the reader of types knows. */
static u32 own_id(const struct tn_bhost *host, u32 id)
{
    return id - tn_btf_count(host->base) + 1;
}

static const struct tn_host_var *var_of(const struct tn_bhost *host, u32 id)
{
    for (u32 k = 0; k < tn_host_types_nvars(host->types); k++)
        if (tn_host_types_var(host->types, k)->type == own_id(host, id))
            return tn_host_types_var(host->types, k);
    return NULL;
}

const struct tn_host_func *tn_host_func_of(const struct tn_bhost *host, u32 btf_id)
{
    return is_ours(host, btf_id) || !host->types
               ? NULL
               : tn_host_types_func_of_type(host->types, own_id(host, btf_id));
}

static int find_func(const struct tn_bhost *host, u32 id, const struct tn_host_func **ret,
                     struct tn_error *err)
{
    const char *name = tn_btf_name(host->btf.view, id);
    const struct tn_host_func *func = tn_host_func_of(host, id);

    if (!func)
        return tn_fail(err, -ENOENT, "no_host_function",
                       "%s (type id %u) is no function of %s with an address", name, id, host->path);
    if (func->reason != TN_HOST_NONE)
        return tn_fail(err, -EOPNOTSUPP, tn_host_reason_name(func->reason), "%s of %s: %s", name, host->path,
                       tn_host_reason_text(func->reason));
    *ret = func;
    return 0;
}

/* A result is in rax, or there is none. */
static int describe_result(const struct tn_btf *btf, u32 func, struct tn_host_ref *ref, struct tn_error *err)
{
    const struct btf_type *proto = tn_btf_type(btf, tn_btf_type(btf, func)->type);
    u32 type = tn_btf_resolve(btf, proto->type);
    const struct btf_type *t = tn_btf_type(btf, type);
    s64 size = type ? tn_btf_size(btf, type) : 0;

    switch (type ? tn_btf_kind(t) : BTF_KIND_UNKN) {
    case BTF_KIND_UNKN:
    case BTF_KIND_PTR:
        break;
    case BTF_KIND_INT:
        ref->result_signed = BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED;
        break;
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        ref->result_signed = BTF_INFO_KFLAG(t->info);
        break;
    default:
        size = -1;
    }
    if (size < 0 || size > 8)
        return tn_fail(err, -EOPNOTSUPP, "result_not_integer", "%s returns what does not fit a register",
                       tn_btf_name(btf, func));
    ref->result = (u8)size;
    return 0;
}

/* Functions of the kernel's that are served without being called. */
static const struct {
    const char *name;
    enum tn_named_kind kind;
} own_calls[] = {{TN_SESSION_RETURN_NAME, TN_NAMED_SESSION_RETURN},
                 {TN_SESSION_COOKIE_NAME, TN_NAMED_SESSION_COOKIE}};

static u32 own_call(const char *name)
{
    u32 k = 0;

    while (k < TN_ARRAY_SIZE(own_calls) && strcmp(own_calls[k].name, name) != 0)
        k++;
    return k;
}

static int add_ref(struct tn_caller *caller, struct tn_prog *prog, u32 id, bool is_call)
{
    const struct tn_bhost *host = prog->host;
    const struct tn_host_func *func = NULL;
    const struct tn_host_var *var;
    struct tn_host_ref ref = {.btf_id = id}, *refs;
    u32 k;
    int r;

    for (k = 0; k < prog->nrefs; k++)
        if (prog->refs[k].btf_id == id)
            return 0;
    if (is_call && is_ours(host, id) && !strcmp(tn_btf_name(host->btf.view, id), TN_REPLACE_NAME)) {
        ref.kind = TN_NAMED_REPLACE;
    } else if (is_call && is_ours(host, id) && !strcmp(tn_btf_name(host->btf.view, id), TN_COPY_NAME)) {
        ref.kind = TN_NAMED_COPY;
    } else if (is_call && is_ours(host, id) &&
               (k = own_call(tn_btf_name(host->btf.view, id))) < TN_ARRAY_SIZE(own_calls)) {
        ref.kind = (u8)own_calls[k].kind;
    } else if (is_call) {
        if (tn_btf_kind_of(host->btf.view, id) != BTF_KIND_FUNC)
            return 0; /* the verifier says so */
        r = find_func(host, id, &func, &caller->why);
        if (!r)
            r = describe_result(host->btf.view, id, &ref, &caller->why);
        if (r)
            return r;
        ref.kind = TN_NAMED_FUNC;
        ref.addr = func->addr;
    } else {
        if (tn_btf_kind_of(host->btf.view, id) != BTF_KIND_VAR)
            return 0;
        var = is_ours(host, id) ? NULL : var_of(host, id);
        if (!var || var->flags & TN_HOST_THREAD_LOCAL)
            return tn_fail(&caller->why, -EOPNOTSUPP, "no_host_variable",
                           "%s is no variable of %s with an address%s", tn_btf_name(host->btf.view, id),
                           host->path, var ? ": each thread has its own" : "");
        ref.kind = TN_NAMED_VAR;
        ref.addr = var->addr;
    }
    refs = reallocarray(prog->refs, prog->nrefs + 1, sizeof(*refs));
    if (!refs)
        return -ENOMEM;
    prog->refs = refs;
    prog->refs[prog->nrefs++] = ref;
    return 0;
}

static bool names_host(const struct tn_prog *prog)
{
    u32 i = 0;

    while (i < prog->ninsns && !tn_insn_names_host(&prog->insns[i]))
        i++;
    return i < prog->ninsns;
}

static int resolve_call(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog,
                        struct bpf_insn *insn)
{
    s32 number = 0;
    int r = 0;

    if (!insn->imm) /* a weak one that is missing: not to be reached */
        return 0;
    if (insn->off < 0 || (insn->off && !attr->fd_array))
        return tn_fail(&caller->why, -EINVAL, "no_fd_array",
                       "a call names types by a place in fd_array that is not there");
    if (insn->off)
        r = caller->ops->read(caller, attr->fd_array + (u64)insn->off * sizeof(s32), &number, sizeof(number));
    if (!r)
        r = check_btf_fd(caller, number);
    insn->off = 0;
    return r ? r : add_ref(caller, prog, (u32)insn->imm, true);
}

/* Calls that any program may make which Linux lets make them, of the kernel's own types: what they do here needs no host.
   own_calls: there is no other. */
static int resolve_own(struct tn_caller *caller, struct tn_prog *prog)
{
    const struct tn_btf *types = NULL;
    bool all = true;

    if (prog->attach_type != TN_TRACE_UPROBE_SESSION)
        return 0;
    for (u32 i = 0; i < prog->ninsns; i++) {
        const struct bpf_insn *insn = &prog->insns[i];
        struct tn_host_ref *refs;
        u32 k = TN_ARRAY_SIZE(own_calls);
        int r;

        i += insn->code == (BPF_LD | BPF_IMM | BPF_DW);
        if (insn->code != (BPF_JMP | BPF_CALL) || insn->src_reg != BPF_PSEUDO_KFUNC_CALL)
            continue;
        r = types ? 0 : tn_kernel_types(caller->broker, &types);
        if (r)
            return r;
        if (types && !insn->off && tn_btf_kind_of(types, (u32)insn->imm) == BTF_KIND_FUNC)
            k = own_call(tn_btf_name(types, (u32)insn->imm));
        if (k == TN_ARRAY_SIZE(own_calls)) {
            all = false;
            continue;
        }
        refs = reallocarray(prog->refs, prog->nrefs + 1, sizeof(*refs));
        if (!refs)
            return -ENOMEM;
        prog->refs = refs;
        prog->refs[prog->nrefs++] =
            (struct tn_host_ref){.btf_id = (u32)insn->imm, .kind = (u8)own_calls[k].kind};
    }
    prog->own_calls = prog->nrefs && all;
    return 0;
}

int tn_host_resolve(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog)
{
    const bool tracing = prog->type == BPF_PROG_TYPE_TRACING;
    /* A probe that is judged is held against the policy of the host that was chosen, as when it is placed. */
    const bool asked = prog->object.kind == TN_KIND_JUDGED && prog->type == BPF_PROG_TYPE_KPROBE;
    int r;

    prog->attach_btf_id = attr->attach_btf_id;
    if (!caller->host || (!tracing && !asked && !names_host(prog))) {
        if (!tracing || prog->object.kind == TN_KIND_JUDGED)
            return prog->object.kind == TN_KIND_JUDGED ? 0 : resolve_own(caller, prog);
        if (tn_prog_is_raw_tp(prog) && !attr->attach_btf_obj_fd && !names_host(prog))
            return 0; /* its types are the kernel's */
        return tn_fail(&caller->why, -EINVAL, "no_host",
                       "the program is attached by type, and this tool has no host: say --host, or -p");
    }
    prog->host = TN_REF(caller->host);
    r = tracing ? check_btf_fd(caller, (s32)attr->attach_btf_obj_fd) : 0;
    for (u32 i = 0; i < prog->ninsns && !r; i++) {
        struct bpf_insn *insn = &prog->insns[i];

        if (insn->code == (BPF_LD | BPF_IMM | BPF_DW)) {
            if (insn->src_reg == BPF_PSEUDO_BTF_ID && i + 1 < prog->ninsns) {
                r = check_btf_fd(caller, insn[1].imm);
                insn[1].imm = 0;
                if (!r)
                    r = add_ref(caller, prog, (u32)insn->imm, false);
            }
            i++;
        } else if (insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_KFUNC_CALL) {
            r = resolve_call(caller, attr, prog, insn);
        }
    }
    return r;
}

/* ------------------------------------------------------------------------------------------------- where */

int tn_prog_tracepoint(const struct tn_prog *prog, struct tn_call_place *ret_place, struct tn_error *err)
{
    const struct tn_btf *types =
        prog->host ? prog->host->btf.view : prog->object.broker->kernel_btf; /* it was verified with these */
    const char *name = types ? tn_btf_name(types, prog->attach_btf_id) : "";

    if (strncmp(name, TN_TRACEPOINT_PREFIX, strlen(TN_TRACEPOINT_PREFIX)) ||
        tn_call_place(name + strlen(TN_TRACEPOINT_PREFIX), ret_place) || ret_place->nr != TN_CALL_ANY)
        return tn_fail(err, -ENOENT, "raw_tracepoint_missing",
                       "raw tracepoint %s is the kernel's: sys_enter and sys_exit are served", name);
    return 0;
}

enum tn_replace tn_prog_replaces(const struct tn_prog *prog)
{
    const u32 id = TN_HELPER_override_return;

    if (prog->type == BPF_PROG_TYPE_TRACING && prog->attach_type == BPF_MODIFY_RETURN)
        return TN_REPLACE_BY_RESULT;
    for (u32 k = 0; k < prog->nrefs; k++)
        if (prog->refs[k].kind == TN_NAMED_REPLACE)
            return TN_REPLACE_BY_CALL;
    return prog->verdict.facts.helpers[id / 64] >> (id % 64) & 1 ? TN_REPLACE_BY_CALL : TN_REPLACE_NOT;
}

/* Types that were made of DWARF do; others may, of some. */
static bool says_alignment(const struct tn_bhost *host)
{
    switch (tn_host_types_source(host->types)) {
    case TN_HOST_DWARF:
    case TN_HOST_DEBUG_FILE:
    case TN_HOST_HEADER:
        return true;
    default:
        return false;
    }
}

int tn_host_place(const struct tn_prog *prog, struct tn_host_place *ret_place, struct tn_error *err)
{
    const struct tn_bhost *host = prog->host;
    const struct tn_host_func *func = NULL;
    struct tn_host_place place = {.exit = prog->attach_type == BPF_TRACE_FEXIT};
    struct tn_host_ref result = {0};
    int r = find_func(host, prog->attach_btf_id, &func, err);

    if (!r)
        r = tn_abi_words(host->btf.view, prog->attach_btf_id, place.exit, says_alignment(host), &place.args,
                         err);
    if (!r && tn_prog_replaces(prog) != TN_REPLACE_NOT)
        r = describe_result(host->btf.view, prog->attach_btf_id, &result, err);
    if (r)
        return r;
    if (func->offset == UINT64_MAX)
        return tn_fail(err, -ENOENT, "no_host_function", "%s lies in no segment of %s", func->name,
                       host->path);
    place.offset = func->offset;
    *ret_place = place;
    return 0;
}
