/* SPDX-License-Identifier: MIT */
/* See policy.h. */
#include "broker/policy.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "broker/broker_int.h"
#include "broker/policy_files.h"
#include "broker/prototypes.h"
#include "verify/srcline.h"

#define CLASS_TAG "eim:class="
#define ROUNDS    4u
#define SETTLE_MS 50 /* an editor's writes come in pieces */
#define SETTLES   40 /* pauses that a question waits for, while files keep changing */
#define AROUND    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR | IN_MASK_ADD)
#define WATCHED                                                                                              \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF | IN_ATTRIB |     \
     IN_MASK_ADD)

/* Everything that was said, as it was read at one time. Hosts keep what they were bound to alive. */
struct tn_policy {
    struct tn_broker *broker;
    struct tn_source watch;
    int newest; /* number of the last watch */
    struct tn_policy_files files;
    u64 generation;
    struct tn_eim *names;   /* without notes: which hosts are there */
    struct tn_error broken; /* reason "": it is whole */
    bool reading;
};

/* A host's specification and classes, for one generation of the policy. */
struct tn_host_policy {
    u64 generation;
    struct tn_eim *eim;
    struct tn_bound *bound;
    char name[64];
    struct tn_error broken;
};

/* ------------------------------------------------------------------------------------------------ reading */

static bool watch_one(struct tn_policy *policy, const char *path, u32 events, bool *ret_new)
{
    int n = inotify_add_watch(policy->watch.fd, path, events);

    *ret_new |= n > policy->newest;
    policy->newest = TN_MAX(policy->newest, n);
    return n >= 0;
}

/* A file or folder, and the folder around it, where another may take its place; of what is not there, the nearest folder
   that is. */
static void watch_path(struct tn_policy *policy, const char *path, bool *ret_new)
{
    char around[PATH_MAX], *slash;

    (void)watch_one(policy, path, WATCHED, ret_new);
    snprintf(around, sizeof(around), "%s%s", *path == '/' ? "" : "./", path);
    while ((slash = strrchr(around, '/')) && slash != around) {
        *slash = '\0';
        if (watch_one(policy, around, AROUND, ret_new))
            return;
    }
    (void)watch_one(policy, "/", AROUND, ret_new);
}

static void watch_place(struct tn_policy *policy, const char *path, bool *ret_new)
{
    char real[PATH_MAX];

    watch_path(policy, path, ret_new);
    if (realpath(path, real) && strcmp(real, path) != 0) /* what a link leads to */
        watch_path(policy, real, ret_new);
}

/* Whether something is looked at that was not. */
static bool watch_all(struct tn_policy *policy)
{
    bool is_new = false;

    for (u32 k = 0; k < policy->files.nplaces; k++)
        watch_place(policy, policy->files.place[k], &is_new);
    for (u32 k = 0; k < policy->files.n; k++)
        watch_place(policy, policy->files.file[k].name, &is_new);
    return is_new;
}

static void read_all(struct tn_policy *policy)
{
    struct tn_error err = {0};
    struct tn_eim *names = NULL;
    int r = 0;

    /* What changed before it was watched is read again. */
    for (u32 k = 0; k < ROUNDS && (!k || watch_all(policy)); k++) {
        err = (struct tn_error){0};
        r = tn_policy_files_read(&policy->files, &err);
    }
    if (!r)
        r = tn_policy_files_eim(&policy->files, NULL, NULL, &names, &err);
    tn_eim_free(policy->names);
    policy->names = names;
    if (r && !err.reason[0])
        (void)tn_fail(&err, r, "policy_file", "the policy cannot be read: %s", strerror(-r));
    policy->broken = r ? err : (struct tn_error){0};
    policy->generation++;
}

static void read_again(void *arg); /* by a fiber of its own */

static void on_change(struct tn_source *source, u32 events)
{
    struct tn_policy *policy = TN_CONTAINER_OF(source, struct tn_policy, watch);
    bool changed = false;
    char buf[4096];

    while (read(source->fd, buf, sizeof(buf)) > 0)
        changed = true;
    if (!changed || policy->reading)
        return;
    policy->reading = true;
    if (tn_loop_spawn(policy->broker->loop, read_again, policy))
        policy->reading = false;
}

/* What was changed before a question is asked counts for its answer. */
static void heed(struct tn_policy *policy)
{
    on_change(&policy->watch, EPOLLIN);
    for (u32 k = 0; policy->reading && k < SETTLES; k++)
        (void)tn_loop_wait(policy->broker->loop, -1, 0, SETTLE_MS);
}

/* ------------------------------------------------------------------------------------------------- hosts */

void tn_host_policy_free(struct tn_host_policy *p)
{
    if (!p)
        return;
    tn_eim_unbind(p->bound);
    tn_eim_free(p->eim);
    free(p);
}

int tn_policy_types(struct tn_broker *broker, const char *binary, char ret[4096], int *ret_fd,
                    struct tn_error *err)
{
    struct tn_policy *policy = broker->policy;
    char name[64];

    *ret_fd = -1;
    ret[0] = '\0';
    heed(policy);
    if (policy->broken.reason[0]) {
        *err = policy->broken;
        return -EACCES;
    }
    tn_policy_host_name(policy->names, binary, name);
    return tn_policy_files_types(policy->names, broker->uid, name, ret, ret_fd, err);
}

int tn_policy_prototypes(struct tn_broker *broker, int fd, const char *binary, struct tn_host_types *types,
                         u64 *ret, struct tn_error *err)
{
    const struct tn_eim *names = broker->policy->names;
    char name[64];

    tn_policy_host_name(names, binary, name);
    *ret = tn_prototypes_number(names, name);
    return types ? tn_prototypes_add(names, name, fd, binary, types, err) : 0;
}

/* The host's part of the policy, as it is now. Kept with the host. */
static const struct tn_host_policy *policy_of(const struct tn_policy *policy, struct tn_bhost *host)
{
    struct tn_host_policy *p = host->policy;
    struct tn_notes notes = {0};
    const u8 *id;
    u32 n;
    int r;

    if (p && p->generation == policy->generation)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->generation = policy->generation;
    tn_policy_host_name(policy->names, host->path, p->name);
    r = policy->broken.reason[0] ? -EINVAL : 0;
    p->broken = policy->broken;
    if (!r) {
        (void)tn_policy_notes(host->path, &notes, NULL);
        r = tn_policy_files_eim(&policy->files, &notes, p->name, &p->eim, &p->broken);
        tn_notes_clear(&notes);
    }
    if (host->types) {
        n = tn_host_types_build_id(host->types, &id);
    } else {
        id = host->build_id;
        n = host->build_id_len;
    }
    if (!r)
        r = tn_eim_check_build(p->eim, p->name, id, n, &p->broken);
    if (!r)
        r = tn_eim_bind(p->eim, p->name, host->btf.view, &p->bound, &p->broken);
    if (r && !p->broken.reason[0])
        (void)tn_fail(&p->broken, r, "policy_file", "the policy of %s: %s", p->name, strerror(-r));
    tn_host_policy_free(host->policy);
    host->policy = p;
    return p;
}

static bool governed(const struct tn_policy *policy, const struct tn_host_policy *p)
{
    return policy->broken.reason[0] || p->broken.reason[0] || tn_eim_governs(p->eim, p->name);
}

/* ------------------------------------------------------------------------------------------------ asking */

void tn_granted_free(struct tn_granted *granted)
{
    if (!granted)
        return;
    tn_eim_uses_clear(&granted->uses);
    free(granted);
}

/* The class that the program's declaration tag names. */
static const char *tagged(const struct tn_prog *prog)
{
    struct bpf_func_info info;
    const char *tag;

    if (!prog->btf || !prog->func_info_cnt)
        return NULL;
    memcpy(&info, prog->func_info, sizeof(info));
    for (u32 k = 0; (tag = tn_btf_tag(prog->btf->view, info.type_id, -1, k)); k++)
        if (!strncmp(tag, CLASS_TAG, sizeof(CLASS_TAG) - 1))
            return tag + sizeof(CLASS_TAG) - 1;
    return NULL;
}

static bool admits_user(const struct tn_class *c, const struct tn_caller *caller)
{
    const struct tn_groups *g = caller->groups;

    return tn_eim_class_admits_user(c, caller->uid, g ? g->id : NULL, g ? g->n : 0);
}

/* Whether calls are entered or left is not known when a program is loaded; both have one default. */
static enum tn_eim_place place_of(const struct tn_prog *prog, bool exit)
{
    if (prog->type == BPF_PROG_TYPE_TRACEPOINT || prog->type == BPF_PROG_TYPE_RAW_TRACEPOINT ||
        tn_prog_is_raw_tp(prog))
        return exit ? TN_AT_SYSEXIT : TN_AT_SYSENTER;
    return prog->type == BPF_PROG_TYPE_TRACING ? TN_AT_FUNCTION : exit ? TN_AT_URETPROBE : TN_AT_UPROBE;
}

/* The class under which the program stands at a place; NULL with `why` filled. */
static const struct tn_class *choose_class(struct tn_caller *caller, const struct tn_host_policy *p,
                                           const struct tn_prog *prog, enum tn_eim_place place,
                                           struct tn_error *why)
{
    const char *name = caller->options.klass[0] ? caller->options.klass : tagged(prog);
    const struct tn_class *c;

    if (p->broken.reason[0]) {
        *why = p->broken;
        return NULL;
    }
    c = name ? tn_eim_class(p->bound, name, why) : tn_eim_default(p->bound, place, why);
    /* libbpf loads a program all the same when its types are refused, and with them its class is gone. */
    if (!c && !name && why && !prog->btf && caller->btf_why.message[0]) {
        size_t n = strlen(why->message);

        snprintf(
            why->message + n, sizeof(why->message) - n,
            "; if the program names its class, that went with its type information, which was refused: %s",
            caller->btf_why.message);
    }
    if (!c || admits_user(c, caller))
        return c;
    (void)tn_fail(why, -EACCES, "class_user",
                  "class \"%s\" of host \"%s\" is not for user %u: add him to its \"who\"",
                  tn_eim_class_name(c), p->name, caller->uid);
    return NULL;
}

static int ask_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    struct tn_policy_ask *ask = self;
    int r = ask->klass ? ask->by_class.may_access(ask->by_class.self, access, err) : 0;

    return r ? r : ask->recorder.may_access(ask->recorder.self, access, err);
}

/* Where nobody governs, every function of the host may be called, if with pointers that are surely good. */
static int ask_offer(void *self, u32 btf_id, struct tn_host_function *ret)
{
    struct tn_policy_ask *ask = self;
    int r = ask->klass ? ask->by_class.may_offer(ask->by_class.self, btf_id, ret)
                       : ask->recorder.may_offer(ask->recorder.self, btf_id, ret);

    if (r != -ENOENT || ask->klass)
        return r;
    *ret = (struct tn_host_function){.ret_null = true};
    return 0;
}

/* An exception finds no way through a program and a trampoline, and ends the process. */
static int ask_unwinding(struct tn_policy_ask *ask, const struct tn_call *call, struct tn_error *err)
{
    const struct tn_host_func *func =
        call->helper_id || !ask->host ? NULL : tn_host_func_of(ask->host, call->btf_id);
    struct tn_host_function said = {0};

    if (!func || !(func->flags & TN_HOST_MAY_THROW) || (!ask_offer(ask, call->btf_id, &said) && said.nothrow))
        return 0;
    return tn_fail(
        err, -EACCES, "may_throw",
        "%.100s of %.100s is no function of C: an exception out of it would find no way through an "
        "extension, "
        "and end the process; where its developers know that none comes, its specification says \"nothrow\"",
        func->name, ask->host->path);
}

static int ask_call(void *self, const struct tn_call *call, struct tn_call_facts *facts, struct tn_error *err)
{
    struct tn_policy_ask *ask = self;
    struct tn_call_facts ignored = *facts;
    int r = ask_unwinding(ask, call, err);

    if (r)
        return r;
    if (!ask->klass)
        return ask->recorder.may_call(ask->recorder.self, call, facts, err);
    r = ask->by_class.may_call(ask->by_class.self, call, facts, err);
    return r ? r : ask->recorder.may_call(ask->recorder.self, call, &ignored, err);
}

static int ask_answer(void *self, const struct tn_call_answer *answer, struct tn_error *err)
{
    struct tn_policy_ask *ask = self;
    int r = ask->klass ? ask->by_class.may_answer(ask->by_class.self, answer, err) : 0;

    return r ? r : ask->recorder.may_answer(ask->recorder.self, answer, err);
}

static bool ask_promised(void *self, const struct tn_access *access)
{
    const struct tn_policy_ask *ask = self;

    return ask->bound && tn_eim_entry_promises(ask->bound, ask->entry, access);
}

int tn_policy_begin(struct tn_caller *caller, struct tn_prog *prog, struct tn_policy_ask *ret_ask)
{
    struct tn_policy *policy = caller->broker->policy;
    struct tn_granted *granted = calloc(1, sizeof(*granted));
    const struct tn_host_policy *p;

    if (!granted)
        return -ENOMEM;
    if (prog->host)
        heed(policy);
    p = prog->host ? policy_of(policy, prog->host) : NULL;
    tn_granted_free(prog->granted);
    prog->granted = granted;
    *ret_ask = (struct tn_policy_ask){.granted = granted, .host = prog->host};
    granted->typed = prog->type == BPF_PROG_TYPE_TRACING && !tn_prog_is_raw_tp(prog);
    if (prog->host && !p)
        return -ENOMEM;
    if (p && governed(policy, p) && !(caller->options.recorded && prog->object.kind == TN_KIND_JUDGED)) {
        ret_ask->klass = choose_class(caller, p, prog, place_of(prog, false), &caller->why);
        if (!ret_ask->klass)
            return -EACCES;
        if (granted->typed &&
            tn_eim_admits_place(ret_ask->klass, TN_AT_FUNCTION, NULL, prog->attach_btf_id, &caller->why))
            return -EACCES;
        tn_eim_authority(ret_ask->klass, granted->typed, &ret_ask->asker, &ret_ask->by_class);
        snprintf(granted->klass, sizeof(granted->klass), "%s", tn_eim_class_name(ret_ask->klass));
    }
    granted->known = p && p->bound;
    granted->uses = (struct tn_eim_uses){.bound = p ? p->bound : NULL};
    tn_eim_recording(&granted->uses, NULL, &ret_ask->recorder);
    ret_ask->bound = p ? p->bound : NULL;
    ret_ask->entry = prog->attach_btf_id;
    ret_ask->authority = (struct tn_authority){
        .self = ret_ask,
        .tag = ret_ask->klass ? ret_ask->by_class.tag : 0,
        .limits = ret_ask->klass ? ret_ask->by_class.limits : tn_authority_all.limits,
        .may_access = ask_access,
        .may_call = ask_call,
        .may_answer = ask_answer,
        .is_promised = ask_promised,
        .may_offer = prog->host ? ask_offer : NULL,
        .host_stores = prog->host != NULL,
        .context_stores = true,
        .entry_valid = granted->known ? tn_eim_entry_valid(p->bound, prog->attach_btf_id) : 0,
    };
    return 0;
}

/* A program that was judged only has no code of its own any more. */
static struct tn_eim_memory bytes_of(const struct tn_prog *prog)
{
    struct tn_eim_memory m = {.text = prog->code.text_len + prog->granted->text,
                              .stack = prog->code.stack + prog->granted->stack};

    for (u32 k = 0; k < prog->nused; k++)
        m.maps += TN_ROUND_UP(prog->maps[k]->view.geo.size, (u64)TN_PAGE);
    return m;
}

static int check_whole(const struct tn_class *c, const struct tn_prog *prog, struct tn_error *why)
{
    const struct tn_eim_memory memory = bytes_of(prog);
    int r = tn_eim_insns(c, prog->verdict.facts.longest_path, why);

    if (!r)
        r = tn_eim_memory(c, &memory, why);
    return r || tn_prog_replaces(prog) == TN_REPLACE_NOT ? r : tn_eim_replaces(c, why);
}

int tn_policy_end(struct tn_caller *caller, struct tn_prog *prog)
{
    const struct tn_host_policy *p = prog->host ? policy_of(caller->broker->policy, prog->host) : NULL;
    const struct tn_class *c;

    prog->granted->uses.bound = NULL; /* may go with the next policy */
    if (!p || !prog->granted->klass[0])
        return 0;
    if (p->broken.reason[0]) { /* changed meanwhile */
        caller->why = p->broken;
        return -EACCES;
    }
    c = tn_eim_class(p->bound, prog->granted->klass, &caller->why);
    return c ? check_whole(c, prog, &caller->why) : -EACCES;
}

void tn_policy_uses(const struct tn_prog *prog, u32 from, struct tn_ctl_uses *ret)
{
    const struct tn_granted *g = prog->granted;
    /* Its records were checked when it was judged; what it asked stands at instructions that were reached. */
    const struct tn_src src = {.btf = prog->btf ? prog->btf->view : NULL,
                               .lines = prog->line_info,
                               .nlines = prog->btf ? prog->line_info_cnt : 0,
                               .line_size = prog->line_info_size};

    memset(ret, 0, sizeof(*ret));
    ret->total = g->uses.n;
    ret->type = prog->type;
    ret->known = g->known;
    ret->exit = prog->attach_type == BPF_TRACE_FEXIT && g->typed;
    ret->needs = (struct tn_eim_needs){.insns = prog->verdict.facts.longest_path,
                                       .memory = bytes_of(prog),
                                       .typed = g->typed,
                                       .replaces = tn_prog_replaces(prog) != TN_REPLACE_NOT};
    snprintf(ret->klass, sizeof(ret->klass), "%s", g->klass);
    if (prog->host)
        snprintf(ret->host, sizeof(ret->host), "%s", prog->host->path);
    if (prog->host && prog->attach_btf_id && g->typed)
        snprintf(ret->function, sizeof(ret->function), "%s",
                 tn_btf_name(prog->host->btf.view, prog->attach_btf_id));
    for (u32 k = from; k < g->uses.n && ret->n < TN_CTL_USES_ROWS; k++) {
        struct tn_ctl_use *row = &ret->row[ret->n++];
        struct tn_src_line at;

        row->use = g->uses.row[k];
        if (!src.nlines || !tn_src_line(&src, row->use.insn, &at))
            continue;
        snprintf(row->file, sizeof(row->file), "%s", at.file);
        snprintf(row->text, sizeof(row->text), "%s", at.text);
        row->line = at.line;
        row->column = at.column;
        row->text_column = at.column > at.indent ? at.column - at.indent : 0;
    }
}

/* ----------------------------------------------------------------------------------------------- placing */

/* What was asked of another binding of the same types means the same. */
static int admits_all(const struct tn_class *c, const struct tn_granted *granted, struct tn_error *why)
{
    int r = 0;

    for (u32 k = 0; k < granted->uses.n && !r; k++)
        r = tn_eim_admits(c, granted->typed, &granted->uses.row[k], why);
    return r;
}

/* May the program be at that place of the host's, for its caller? `anew`: whatever it was judged by before. */
/* The function at one of its places, or the system calls that it means. */
static void name_place(const struct tn_bhost *host, const struct tn_perf *place, u32 i, char function[256],
                       u32 *ret_id)
{
    char call[16];

    function[0] = '\0';
    *ret_id = 0;
    if (!place->call)
        tn_host_function_at(host, i ? place->others[i - 1].offset : place->offset, function, 256, ret_id);
    else
        snprintf(function, 256, "%s",
                 place->nr == TN_CALL_ANY ? "every call" : tn_call_name(place->nr, call));
}

static int hold_end(struct tn_caller *caller, struct tn_prog *prog, const struct tn_perf *place, bool exit,
                    struct tn_bhost *host, bool anew)
{
    const struct tn_host_policy *p = policy_of(caller->broker->policy, host);
    const enum tn_eim_place at = place_of(prog, exit);
    const struct tn_class *c;
    char function[256];
    int r = 0;
    u32 id;

    if (!p)
        return -ENOMEM;
    if (anew && (p->broken.reason[0] || !governed(caller->broker->policy, p)))
        return 0; /* what is attached stays while nobody knows */
    c = choose_class(caller, p, prog, at, &caller->why);
    if (!c)
        return -EACCES;
    for (u32 i = 0; i <= place->nothers && !r; i++) {
        name_place(host, place, i, function, &id);
        r = tn_eim_admits_place(c, at, function, id, &caller->why);
    }
    if (!r && (anew || prog->host != host || strcmp(prog->granted->klass, tn_eim_class_name(c)) != 0))
        r = admits_all(c, prog->granted, &caller->why);
    for (u32 i = 0; i <= place->nothers && !r; i++) {
        name_place(host, place, i, function, &id);
        if (*function)
            r = tn_eim_admits_answers(c, &prog->granted->uses, function, &caller->why);
        if (!r)
            r = tn_eim_admits_registers(c, &prog->granted->uses, function, exit, &caller->why);
    }
    if (!r)
        r = check_whole(c, prog, &caller->why);
    if (!r && !prog->granted->klass[0])
        snprintf(prog->granted->klass, sizeof(prog->granted->klass), "%s", tn_eim_class_name(c));
    return r ? -EACCES : 0;
}

/* A session is at both ends of its functions. */
static int hold(struct tn_caller *caller, struct tn_prog *prog, const struct tn_perf *place,
                struct tn_bhost *host, bool anew)
{
    int r = hold_end(caller, prog, place, place->exit, host, anew);

    return r || !place->session ? r : hold_end(caller, prog, place, true, host, anew);
}

/* Does any file govern a binary of that path? With a policy that is broken, nobody knows, and all are. */
static bool governs(const struct tn_policy *policy, const char *path)
{
    char name[64];

    tn_policy_host_name(policy->names, path, name);
    return policy->broken.reason[0] || tn_eim_governs(policy->names, name);
}

/* Classes of system calls and of probes need none of a host's types. */
static int host_of(struct tn_caller *caller, const struct tn_perf *place, struct tn_bhost **ret)
{
    int r = tn_host_of_file(caller, place->path, ret);

    if (!r || strcmp(caller->why.reason, "no_types") != 0)
        return r;
    caller->why = (struct tn_error){0};
    return tn_host_untyped(caller, place->path, ret);
}

int tn_policy_place(struct tn_caller *caller, struct tn_prog *prog, const struct tn_perf *place)
{
    _unref_ struct tn_bhost *host = NULL;
    int r;

    heed(caller->broker->policy);
    if (!governs(caller->broker->policy, place->path))
        return 0;
    r = host_of(caller, place, &host);
    return r ? r : hold(caller, prog, place, host, false);
}

int tn_policy_kernel(struct tn_caller *caller, const char *prog, const char *path, bool done)
{
    struct tn_broker *broker = caller->broker;
    int r = 0;

    heed(broker->policy);
    if (governs(broker->policy, path))
        r = tn_fail(
            &caller->why, -EACCES, "kernel_governed",
            "%.500s is governed by a policy, and in the kernel nothing would hold a program to its class",
            path);
    if (r || done)
        tn_policy_journal(broker, caller->uid, caller->pid, "attach in the kernel", prog, NULL, path,
                          r ? &caller->why : NULL);
    return r;
}

/* ---------------------------------------------------------------------------------------------- changes */

/* Would a link be made today, at that place of one of its hosts? As whoever made it, under the class that he named or
   that was the default. */
static int hold_at(struct tn_broker *broker, const struct tn_link *link, const struct tn_perf *place,
                   char ret_host[64], struct tn_error *why)
{
    struct tn_caller caller = {
        .broker = broker, .uid = link->object.uid, .groups = link->groups, .ret_fd = -1};
    _unref_ struct tn_bhost *host = NULL;
    struct tn_prog *prog = link->prog;
    int r = 0;

    tn_policy_host_name(broker->policy->names, place->path, ret_host);
    if (!prog->host && !governs(broker->policy, place->path))
        return 0;
    memcpy(caller.options.klass, prog->granted->klass, sizeof(caller.options.klass));
    if (prog->host && (!place->call || (prog->host->dev == place->dev && prog->host->ino == place->ino)))
        host = TN_REF(prog->host);
    else
        r = host_of(&caller, place, &host);
    if (r == -ENOENT || (!r && (host->dev != place->dev || host->ino != place->ino)))
        r = tn_fail(
            &caller.why, -ESTALE, "other_build",
            "%s is another file than the one that is attached to: the policy cannot be held against it",
            place->path);
    if (!r)
        r = hold(&caller, prog, place, host, true);
    *why = caller.why;
    return r;
}

static int hold_link(struct tn_broker *broker, const struct tn_link *link, char ret_host[64],
                     struct tn_error *why)
{
    _free_ struct tn_perf *place = calloc(1, sizeof(*place));
    u32 at = 0;
    int r = 0;

    if (!place)
        return -ENOMEM;
    ret_host[0] = '\0';
    while (!r && !tn_link_host(link, &at, place))
        r = hold_at(broker, link, place, ret_host, why);
    return r;
}

/* Links that no longer fit: detached, by name. What is attached stays while a policy is broken. */
static void apply(struct tn_policy *policy)
{
    struct tn_broker *broker = policy->broker;
    const u64 generation = policy->generation;
    u32 after = 0;

    while (!policy->broken.reason[0] && generation == policy->generation) {
        struct tn_object *object = tn_object_after(broker, TN_KIND_LINK, after);
        _unref_ struct tn_link *link = object ? TN_REF((struct tn_link *)object) : NULL;
        struct tn_error why = {0};
        char host[64];
        int r;

        if (!link)
            return;
        after = link->object.id;
        if (link->detached || link->attaching)
            continue;
        r = hold_link(broker, link, host, &why);
        if (!r || r == -ENOMEM || link->detached)
            continue;
        if (generation != policy->generation) /* it was held against what has changed again */
            return;
        tn_policy_journal(broker, link->object.uid, 0, "detached by a changed policy", link->prog->full_name,
                          link->prog->granted->klass, host, &why);
        tn_link_detach(link, 1000);
        tn_link_unkeep(link);
    }
}

static void read_again(void *arg)
{
    struct tn_policy *policy = arg;

    (void)tn_loop_wait(policy->broker->loop, -1, 0, SETTLE_MS);
    policy->reading = false;
    read_all(policy);
    apply(policy);
}

/* -------------------------------------------------------------------------------------------- beginning */

int tn_policy_new(struct tn_broker *broker, struct tn_policy **ret)
{
    struct tn_policy *policy = calloc(1, sizeof(*policy));
    int r;

    if (!policy)
        return -ENOMEM;
    policy->broker = broker;
    policy->watch = (struct tn_source){tn_inotify_new(), on_change};
    r = policy->watch.fd < 0 ? policy->watch.fd : tn_policy_places(broker->uid, &policy->files);
    if (!r)
        r = tn_loop_add(broker->loop, &policy->watch, EPOLLIN);
    if (r) {
        tn_policy_free(policy);
        return r;
    }
    read_all(policy);
    *ret = policy;
    return 0;
}

void tn_policy_free(struct tn_policy *policy)
{
    if (!policy)
        return;
    if (policy->watch.fd >= 0)
        close(policy->watch.fd);
    tn_policy_files_clear(&policy->files);
    tn_eim_free(policy->names);
    free(policy);
}
