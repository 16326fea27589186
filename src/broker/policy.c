/* SPDX-License-Identifier: MIT */
/* See policy.h. */
#include "broker/policy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#include "broker/broker_int.h"

#define FOLDERS_MAX 16u
#define FILES_MAX   256u
#define FILE_MAX    (1u << 20)
#define CLASS_TAG   "eim:class="
#define SETTLE_MS   50 /* an editor's writes come in pieces */
#define WATCHED     (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF)

struct file {
    char *name, *text;
    u64 len;
};
/* Everything that was said, as it was read at one time. Hosts keep what they were bound to alive. */
struct tn_policy {
    struct tn_broker *broker;
    struct tn_source watch;
    char *place[FOLDERS_MAX]; /* files and folders, in order of precedence for messages only */
    u32 nplaces;
    bool named; /* by $TENON_POLICY */
    struct file *file;
    u32 nfiles;
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

/* ------------------------------------------------------------------------------------------------- reading
 */

static void clear_files(struct file *file, u32 n)
{
    for (u32 k = 0; k < n; k++) {
        free(file[k].name);
        free(file[k].text);
    }
    free(file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

/* A file that others could have written is no policy. */
static int open_file(const struct tn_broker *broker, const char *path, struct stat *ret_st, int *ret_fd,
                     struct tn_error *err)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return tn_fail(err, -errno, "policy_file", "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(err, -EINVAL, "policy_file", "%s is no regular file", path);
    if ((st.st_uid && st.st_uid != broker->uid) || st.st_mode & (S_IWGRP | S_IWOTH))
        return tn_fail(err, -EPERM, "policy_file",
                       "%s can be written by others than root and the user: chown and chmod go-w it", path);
    *ret_st = st;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

static int read_file(struct tn_policy *policy, const char *path, struct file **file, u32 *n,
                     struct tn_error *err)
{
    _close_ int fd = -1;
    _free_ char *text = NULL;
    struct file *grown;
    struct stat st;
    ssize_t got;
    int r = open_file(policy->broker, path, &st, &fd, err);

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
    grown[*n] = (struct file){.name = strdup(path), .len = (u64)got};
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

static int read_place(struct tn_policy *policy, const char *place, struct file **file, u32 *n,
                      struct tn_error *err)
{
    DIR *dir = opendir(place);
    struct dirent *entry;
    int r = 0;

    /* A folder of somebody else's is no folder of the user's: $HOME may say anything. */
    if (!dir && (errno == ENOENT || (errno == EACCES && !policy->named && place != policy->place[0])))
        return 0;
    if (!dir && errno == ENOTDIR)
        return read_file(policy, place, file, n, err);
    if (!dir)
        return tn_fail(err, -errno, "policy_file", "%s: %s", place, strerror(errno));
    while (!r && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (!is_yaml(entry->d_name) ||
            snprintf(path, sizeof(path), "%s/%s", place, entry->d_name) >= (int)sizeof(path))
            continue;
        r = read_file(policy, path, file, n, err);
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

/* What the files say, and with `notes` what the host's developers offer. Without a host: what can be known
   before one is seen. */
static int make_eim(const struct tn_policy *policy, const struct tn_notes *notes, const char *host,
                    struct tn_eim **ret, struct tn_error *err)
{
    _free_ struct tn_eim_source *source = calloc(policy->nfiles + 1, sizeof(*source));
    const struct tn_eim_options options = {.look_up = look_up, .whole = host ? host : ""};
    u32 n = 0;

    if (!source)
        return -ENOMEM;
    for (; n < policy->nfiles; n++)
        source[n] = (struct tn_eim_source){
            .name = policy->file[n].name, .text = policy->file[n].text, .len = policy->file[n].len};
    if (notes && notes->n)
        source[n++] = (struct tn_eim_source){.name = host, .notes = notes, .host = host};
    return tn_eim_read(source, n, &options, ret, err);
}

static void read_all(struct tn_policy *policy)
{
    struct tn_error err = {0};
    struct tn_eim *names = NULL;
    struct file *file = NULL;
    u32 n = 0;
    int r = 0;

    for (u32 k = 0; k < policy->nplaces && !r; k++)
        r = read_place(policy, policy->place[k], &file, &n, &err);
    if (!r && n)
        qsort(file, n, sizeof(*file), by_name);
    clear_files(policy->file, policy->nfiles);
    policy->file = file;
    policy->nfiles = n;
    if (!r)
        r = make_eim(policy, NULL, NULL, &names, &err);
    tn_eim_free(policy->names);
    policy->names = names;
    if (r && !err.reason[0])
        (void)tn_fail(&err, r, "policy_file", "the policy cannot be read: %s", strerror(-r));
    policy->broken = r ? err : (struct tn_error){0};
    policy->generation++;
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

static int read_notes(const char *path, struct tn_notes *ret)
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
    r = tn_notes_read(elf, (u64)st.st_size, ret, NULL);
    munmap(elf, (size_t)st.st_size);
    return r;
}

/* The name under which files speak of a binary: the one that says its path, else that of the file. */
static void name_of(const struct tn_policy *policy, const char *path, char ret[64])
{
    const char *base = strrchr(path, '/'), *name;

    for (u32 k = 0; policy->names && (name = tn_eim_host_name(policy->names, k)); k++) {
        const char *binary = tn_eim_host_binary(policy->names, name);

        if (binary && !strcmp(binary, path)) {
            snprintf(ret, 64, "%s", name);
            return;
        }
    }
    snprintf(ret, 64, "%s", base ? base + 1 : path);
}

int tn_policy_types(struct tn_broker *broker, const char *binary, char ret[4096], int *ret_fd,
                    struct tn_error *err)
{
    const struct tn_policy *policy = broker->policy;
    const char *dot;
    struct stat st;
    char name[64];
    int r;

    *ret_fd = -1;
    ret[0] = '\0';
    if (policy->broken.reason[0]) {
        *err = policy->broken;
        return -EACCES;
    }
    name_of(policy, binary, name);
    if (!policy->names || !tn_eim_host_types(policy->names, name, ret, 4096)) {
        ret[0] = '\0';
        return 0;
    }
    dot = strrchr(ret, '.');
    if (dot &&
        (!strcmp(dot, ".h") || !strcmp(dot, ".c"))) /* root runs no compiler over what a file includes */
        return tn_fail(err, -EINVAL, "policy_types",
                       "%s is C text: types are taken from what was compiled of it: cc -g -O0 "
                       "-fno-eliminate-unused-debug-types -fPIC -shared -nostdlib -x c %s -o %.*s.so",
                       ret, ret, (int)(dot - ret), ret);
    r = open_file(broker, ret, &st, ret_fd, err);
    return r;
}

/* The host's part of the policy, as it is now. Kept with the host. */
static const struct tn_host_policy *policy_of(const struct tn_policy *policy, struct tn_bhost *host)
{
    struct tn_host_policy *p = host->policy;
    struct tn_notes notes = {0};
    int r;

    if (p && p->generation == policy->generation)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->generation = policy->generation;
    name_of(policy, host->path, p->name);
    r = policy->broken.reason[0] ? -EINVAL : 0;
    p->broken = policy->broken;
    if (!r) {
        (void)read_notes(host->path, &notes);
        r = make_eim(policy, &notes, p->name, &p->eim, &p->broken);
        tn_notes_clear(&notes);
    }
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
    struct passwd p, *found = NULL;
    gid_t group[256];
    int n = (int)TN_ARRAY_SIZE(group);
    char buf[4096];
    u32 gid[256];

    if (getpwuid_r(caller->uid, &p, buf, sizeof(buf), &found) || !found ||
        getgrouplist(p.pw_name, p.pw_gid, group, &n) < 0)
        n = 0;
    for (int k = 0; k < n; k++)
        gid[k] = group[k];
    return tn_eim_class_admits_user(c, caller->uid, gid, (u32)n);
}

static enum tn_eim_place place_of(const struct tn_prog *prog, bool exit)
{
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

static int ask_call(void *self, const struct tn_call *call, struct tn_call_facts *facts, struct tn_error *err)
{
    struct tn_policy_ask *ask = self;
    struct tn_call_facts ignored = *facts;
    int r;

    if (!ask->klass)
        return ask->recorder.may_call(ask->recorder.self, call, facts, err);
    r = ask->by_class.may_call(ask->by_class.self, call, facts, err);
    return r ? r : ask->recorder.may_call(ask->recorder.self, call, &ignored, err);
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

static bool ask_promised(void *self, const struct tn_access *access)
{
    const struct tn_policy_ask *ask = self;

    return ask->bound && tn_eim_entry_promises(ask->bound, ask->entry, access);
}

int tn_policy_begin(struct tn_caller *caller, struct tn_prog *prog, struct tn_policy_ask *ret_ask)
{
    struct tn_policy *policy = caller->broker->policy;
    const struct tn_host_policy *p = prog->host ? policy_of(policy, prog->host) : NULL;
    struct tn_granted *granted = calloc(1, sizeof(*granted));

    if (!granted)
        return -ENOMEM;
    tn_granted_free(prog->granted);
    prog->granted = granted;
    *ret_ask = (struct tn_policy_ask){.granted = granted};
    granted->typed = prog->type == BPF_PROG_TYPE_TRACING;
    if (prog->host && !p)
        return -ENOMEM;
    if (p && governed(policy, p)) {
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
        .is_promised = ask_promised,
        .may_offer = prog->host ? ask_offer : NULL,
        .host_stores = prog->host != NULL,
        .entry_valid = granted->known ? tn_eim_entry_valid(p->bound, prog->attach_btf_id) : 0,
    };
    return 0;
}

/* Bytes that a program takes in a process. */
static u64 bytes_of(const struct tn_prog *prog)
{
    u64 own = (u64)prog->code.text_len + prog->code.stack, sum = own - TN_MIN(own, (u64)TN_EIM_OWN_BYTES);

    for (u32 k = 0; k < prog->nused; k++)
        sum += prog->maps[k]->view.geo.size;
    return sum;
}

static int check_whole(const struct tn_class *c, const struct tn_prog *prog, struct tn_error *why)
{
    int r = tn_eim_memory(c, bytes_of(prog), why);

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

/* ----------------------------------------------------------------------------------------------- placing */

/* What was asked of another binding of the same types means the same. */
static int admits_all(const struct tn_class *c, const struct tn_granted *granted, struct tn_error *why)
{
    int r = 0;

    for (u32 k = 0; k < granted->uses.n && !r; k++)
        r = tn_eim_admits(c, granted->typed, &granted->uses.row[k], why);
    return r;
}

int tn_policy_place(struct tn_caller *caller, struct tn_prog *prog, const struct tn_perf *place)
{
    struct tn_policy *policy = caller->broker->policy;
    _unref_ struct tn_bhost *host = NULL;
    const struct tn_host_policy *p;
    const struct tn_class *c;
    char name[64], function[256] = "";
    u32 id = 0;
    int r;

    name_of(policy, place->path, name);
    if (!policy->broken.reason[0] && !tn_eim_governs(policy->names, name))
        return 0;
    r = tn_host_of_file(caller, place->path, &host);
    if (r)
        return r;
    p = policy_of(policy, host);
    if (!p)
        return -ENOMEM;
    c = choose_class(caller, p, prog, place_of(prog, place->exit), &caller->why);
    if (!c)
        return -EACCES;
    tn_host_function_at(host, place->offset, function, sizeof(function), &id);
    r = tn_eim_admits_place(c, place_of(prog, place->exit), function, id, &caller->why);
    if (!r && !(prog->host == host && !strcmp(prog->granted->klass, tn_eim_class_name(c))))
        r = admits_all(c, prog->granted, &caller->why);
    if (!r)
        r = check_whole(c, prog, &caller->why);
    if (!r && !prog->granted->klass[0])
        snprintf(prog->granted->klass, sizeof(prog->granted->klass), "%s", tn_eim_class_name(c));
    return r ? -EACCES : 0;
}

/* ---------------------------------------------------------------------------------------------- changes */

/* Links that no longer fit: detached, by name. */
static void apply(struct tn_policy *policy)
{
    struct tn_broker *broker = policy->broker;
    u32 after = 0;

    if (policy->broken.reason[0]) /* what is attached stays until somebody says otherwise */
        return;
    for (;;) {
        struct tn_link *link = (struct tn_link *)tn_object_after(broker, TN_KIND_LINK, after);
        struct tn_error why = {0};
        struct tn_bhost *host;
        const struct tn_host_policy *p;
        const struct tn_class *c;
        const char *name;

        if (!link)
            return;
        after = link->object.id;
        host = link->prog->host;
        p = host && !link->detached && !link->attaching ? policy_of(policy, host) : NULL;
        if (!p || !governed(policy, p))
            continue;
        name = link->prog->granted->klass[0] ? link->prog->granted->klass : "observability";
        c = p->broken.reason[0] ? NULL : tn_eim_class(p->bound, name, &why);
        if (p->broken.reason[0])
            continue;
        if (c && !admits_all(c, link->prog->granted, &why) && !check_whole(c, link->prog, &why))
            continue;
        tn_policy_journal(broker, link->object.uid, 0, "detached by a changed policy", link->prog->full_name,
                          name, p->name, &why);
        tn_link_detach(link, 1000);
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

static void on_change(struct tn_source *source, u32 events)
{
    struct tn_policy *policy = TN_CONTAINER_OF(source, struct tn_policy, watch);
    char buf[4096];

    while (read(source->fd, buf, sizeof(buf)) > 0)
        ;
    if (policy->reading)
        return;
    policy->reading = true;
    if (tn_loop_spawn(policy->broker->loop, read_again, policy))
        policy->reading = false;
}

/* -------------------------------------------------------------------------------------------- beginning */

static int add_place(struct tn_policy *policy, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int add_place(struct tn_policy *policy, const char *fmt, ...)
{
    char *text;
    va_list ap;
    int n;

    if (policy->nplaces == FOLDERS_MAX)
        return -E2BIG;
    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -ENOMEM;
    policy->place[policy->nplaces++] = text;
    return 0;
}

static int find_places(struct tn_policy *policy)
{
    const char *named = getenv("TENON_POLICY"), *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    _free_ char *copy = named ? strdup(named) : NULL;
    char *rest = copy, *one;
    int r = 0;

    r = add_place(policy, "/etc/tenon/policy.d");
    while (copy && !r && (one = strsep(&rest, ":")))
        if (*one)
            r = add_place(policy, "%s", one);
    policy->named = copy != NULL;
    if (copy)
        return r;
    if (!r && policy->broker->uid && config && *config == '/')
        r = add_place(policy, "%s/tenon/policy.d", config);
    else if (!r && policy->broker->uid && home && *home == '/')
        r = add_place(policy, "%s/.config/tenon/policy.d", home);
    return r;
}

int tn_policy_new(struct tn_broker *broker, struct tn_policy **ret)
{
    struct tn_policy *policy = calloc(1, sizeof(*policy));
    int r;

    if (!policy)
        return -ENOMEM;
    policy->broker = broker;
    policy->watch = (struct tn_source){inotify_init1(IN_CLOEXEC | IN_NONBLOCK), on_change};
    r = policy->watch.fd < 0 ? -errno : find_places(policy);
    for (u32 k = 0; k < policy->nplaces && !r; k++)
        (void)inotify_add_watch(policy->watch.fd, policy->place[k], WATCHED);
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
    for (u32 k = 0; k < policy->nplaces; k++)
        free(policy->place[k]);
    clear_files(policy->file, policy->nfiles);
    tn_eim_free(policy->names);
    free(policy);
}
