/* SPDX-License-Identifier: MIT */
/*
 * tenon attach: an object's programs, into processes.
 *
 *   -p PID…   one link a program and process
 *   -- CMD…   a child waits before its exec; the broker holds it at its first instruction while
 *             links are made, then lets it go; its exit status is ours
 *   neither   libbpf attaches by the section's path: every process of the file, and those that come later
 *
 * What is wrong with the object, its section names, its functions and the processes is found before anything
 * is loaded. Links live as long as this command (--keep: until they are detached by id), which shows them and
 * the object's maps meanwhile.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "broker/multi.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/links.h"
#include "cli/maps.h"
#include "cli/object.h"
#include "cli/place.h"
#include "cli/typed.h"
#include "door/preload/door.h"

#define MAX_WORDS 256

enum {
    KEY_FOR = 0x100,
    KEY_KEEP,
    KEY_DETACH_ON_EXIT,
    KEY_FOLLOW,
    KEY_WAIT,
    KEY_PROGRAM,
    KEY_SET,
    KEY_HOST,
    KEY_CLASS,
    KEY_INTERVAL,
    KEY_NO_MAPS
};

struct attach {
    const char *name; /* "tenon attach" */
    /* asked for */
    pid_t pids[MAX_WORDS];
    u32 npids;
    const char *programs[MAX_WORDS], *sets[MAX_WORDS];
    u32 nprograms, nsets;
    const char *words[MAX_WORDS];
    u32 nwords;
    char **command; /* after "--"; NULL: none */
    const char *host, *klass;
    u64 for_ns, interval_ns;
    u32 wait_ms;
    bool keep, follow, json, verbose, no_maps;
    bool typed, calls; /* some program is; is for system calls */
    /* made */
    bool kept;
    struct tn_obj_file file;
    struct bpf_object *object;
    struct bpf_link **links;
    u32 nlinks; /* as libbpf has them */
    int *fds;   /* of links that libbpf has no words for */
    u32 nfds;
    u32 *ids, nids;
    struct tn_cli_map *maps;
    u32 nmaps;
    pid_t child;
    int go; /* write end: one byte lets the child exec */
};

static const struct argp_option options[] = {
    {"pid", 'p', "PID", 0, "attach to this process; may be repeated, or be a list parted by commas", 0},
    {"follow", KEY_FOLLOW, 0, 0, "children that the processes fork are included (always so with -- CMD)", 0},
    {"program", KEY_PROGRAM, "NAME", 0, "only this program of the object; may be repeated", 0},
    {"set", KEY_SET, "NAME=VALUE", 0,
     "give a global variable of the object its value before loading; may be repeated", 0},
    {"host", KEY_HOST, "FILE", 0,
     "the binary whose types and functions the programs name; otherwise what the processes run", 0},
    {"class", KEY_CLASS, "NAME", 0,
     "the extension class of the host's policy that the programs are loaded under", 0},
    {"for", KEY_FOR, "SECONDS", 0, "detach and end after this time", 0},
    {"keep", KEY_KEEP, 0, 0, "leave the links with the broker and end at once (with -- CMD: when CMD ends)",
     0},
    {"detach-on-exit", KEY_DETACH_ON_EXIT, 0, 0, "the links end with this command (the default)", 0},
    {"wait", KEY_WAIT, "MS", 0, "how long to wait for a thread that can be borrowed (1000)", 0},
    {"interval", KEY_INTERVAL, "SECONDS", 0,
     "show the maps this often: 1 on a terminal, elsewhere once, when all is over", 0},
    {"no-maps", KEY_NO_MAPS, 0, 0, "do not show the maps", 0},
    {"json", 'j', 0, 0, "one line of JSON a link, once attached; no maps", 0},
    {"verbose", 'v', 0, 0, "what libbpf says, too", 0},
    {0},
};

static int add_pids(struct attach *a, const char *list)
{
    _free_ char *copy = strdup(list);
    char *at = copy;

    for (char *word; copy && (word = strsep(&at, ",")) != NULL;) {
        u64 pid;

        if (tn_parse_u64(word, 4194304, &pid) || pid == 0 || a->npids == MAX_WORDS)
            return -EINVAL;
        for (u32 i = 0; i < a->npids; i++)
            if (a->pids[i] == (pid_t)pid)
                return -EEXIST;
        a->pids[a->npids++] = (pid_t)pid;
    }
    return copy ? 0 : -ENOMEM;
}

static int option(int key, char *arg, struct argp_state *state)
{
    struct attach *a = state->input;
    u64 number;
    int r;

    switch (key) {
    case 'p':
        r = add_pids(a, arg);
        if (r == -EEXIST)
            argp_error(state, "-p %s: a process is named twice", arg);
        if (r)
            argp_error(state, "-p %s: not a process id", arg);
        return 0;
    case KEY_PROGRAM:
    case KEY_SET:
        if ((key == KEY_SET ? a->nsets : a->nprograms) == MAX_WORDS)
            argp_error(state, "too many");
        if (key == KEY_SET)
            a->sets[a->nsets++] = arg;
        else
            a->programs[a->nprograms++] = arg;
        return 0;
    case KEY_CLASS:
        if (strlen(arg) >= sizeof(((struct tn_ctl_options *)0)->klass))
            argp_error(state, "--class %s: too long", arg);
        a->klass = arg;
        return 0;
    case KEY_HOST:
        a->host = arg;
        return 0;
    case KEY_FOR:
        if (tn_parse_seconds(arg, &a->for_ns))
            argp_error(state, "--for %s: not a time in seconds", arg);
        if (a->for_ns == 0)
            a->for_ns = 1;
        return 0;
    case KEY_INTERVAL:
        if (tn_parse_seconds(arg, &a->interval_ns) || a->interval_ns < 10000000)
            argp_error(state, "--interval %s: not a time in seconds (0.01 or more)", arg);
        return 0;
    case KEY_WAIT:
        if (tn_parse_u64(arg, 3600000, &number))
            argp_error(state, "--wait %s: not a time in milliseconds", arg);
        a->wait_ms = (u32)number;
        return 0;
    case KEY_KEEP:
        a->keep = true;
        return 0;
    case KEY_DETACH_ON_EXIT:
        a->keep = false;
        return 0;
    case KEY_FOLLOW:
        a->follow = true;
        return 0;
    case KEY_NO_MAPS:
        a->no_maps = true;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case 'v':
        a->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->nwords == MAX_WORDS)
            argp_error(state, "too many arguments");
        a->words[a->nwords++] = arg;
        return 0;
    case ARGP_KEY_END:
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    option,
    "OBJ -- CMD...\n-p PID... OBJ\nOBJ",
    "Place the programs of an eBPF object into running processes, or into a command from its first "
    "instruction, and show "
    "what they count until interrupted.\v"
    "Programs say by their section where they go: SEC(\"uprobe/PATH:FUNCTION+OFFSET\") before the "
    "instruction there, "
    "SEC(\"uretprobe/PATH:FUNCTION\") before the function returns, SEC(\"usdt/PATH:PROVIDER:NAME\") at a "
    "static "
    "probe; or SEC(\"fentry/FUNCTION\"), "
    "SEC(\"fexit/FUNCTION\") and SEC(\"fmod_ret/FUNCTION\"), attached by the type that the program's own "
    "debug "
    "information tells; or SEC(\"tracepoint/syscalls/sys_enter_CALL\"), "
    "SEC(\"tracepoint/syscalls/sys_exit_CALL\"), "
    "SEC(\"raw_tp/sys_enter\"), SEC(\"tp_btf/sys_exit\") …, SEC(\"ksyscall/CALL\"), "
    "SEC(\"kretsyscall/CALL\") "
    "for system calls. Without -p and CMD, every process "
    "that "
    "has PATH mapped "
    "is meant, and (as root) every one that executes or loads it later.",
    NULL,
    NULL,
    NULL,
};

/* Sorts the words: pids that follow -p, the object, the command.
   Returns the object's path, NULL after a complaint. */
static const char *sort_words(struct attach *a)
{
    u32 at = 0;

    while (a->npids && at < a->nwords && a->words[at][strspn(a->words[at], "0123456789,")] == 0) {
        if (add_pids(a, a->words[at])) {
            tn_cli_fail(a->name, "-p %s: not a process id, or named twice", a->words[at]);
            return NULL;
        }
        at++;
    }
    if (a->command && at == a->nwords && a->command[0] && a->command[1]) {
        /* -- CMD… OBJ */
        char **last = a->command;
        const char *object;

        while (last[1])
            last++;
        object = *last;
        *last = NULL;
        return object;
    }
    if (a->nwords - at != 1) {
        tn_cli_fail(a->name,
                    a->nwords == at ? "no object is named (usage: tenon attach [-p PID | -- CMD...] OBJ)"
                                    : "%s: one object at a time; a command stands after --",
                    a->nwords > at ? a->words[at + 1] : "");
        return NULL;
    }
    if (a->command && !a->command[0]) {
        tn_cli_fail(a->name, "no command follows --");
        return NULL;
    }
    if (a->command && a->npids) {
        tn_cli_fail(a->name, "either -p or a command, not both");
        return NULL;
    }
    return a->words[at];
}

/* ---------- looking before doing ---------- */

static bool wanted(const struct attach *a, const char *program)
{
    for (u32 i = 0; i < a->nprograms; i++)
        if (strcmp(a->programs[i], program) == 0)
            return true;
    return a->nprograms == 0;
}

static int check_pids(const struct attach *a, struct tn_error *err)
{
    for (u32 i = 0; i < a->npids; i++)
        if (kill(a->pids[i], 0) < 0 && errno == ESRCH)
            return tn_fail(err, -ESRCH, "no_process", "process %d: there is none with this id",
                           (int)a->pids[i]);
    return 0;
}

/* Attached by the type of its function (fentry, fexit, fmod_ret). */
static bool is_typed(const struct bpf_program *program)
{
    return bpf_program__type(program) == BPF_PROG_TYPE_TRACING &&
           bpf_program__expected_attach_type(program) != BPF_TRACE_RAW_TP;
}

static bool is_probe(const struct bpf_program *program)
{
    return strncmp(bpf_program__section_name(program), "usdt/", 5) == 0;
}

/* Sections, names of --program, functions: all that can be known without the broker. */
static int check_programs(struct attach *a, struct tn_error *err)
{
    struct bpf_program *program;
    int r;

    for (u32 i = 0; i < a->nprograms; i++)
        if (!bpf_object__find_program_by_name(a->object, a->programs[i])) {
            char list[512] = "";

            bpf_object__for_each_program(program, a->object)
            {
                strncat(list, list[0] ? ", " : "", sizeof(list) - strlen(list) - 1);
                strncat(list, bpf_program__name(program), sizeof(list) - strlen(list) - 1);
            }
            return tn_fail(err, -ENOENT, "no_program", "--program %s: the object has only: %s",
                           a->programs[i], list);
        }
    bpf_object__for_each_program(program, a->object)
    {
        struct tn_place place;
        char file[PATH_MAX];
        u64 offset;

        if (!wanted(a, bpf_program__name(program))) {
            bpf_program__set_autoload(program, false);
            continue;
        }
        if (is_typed(program)) { /* its place is looked for among the host's types */
            a->typed = true;
            continue;
        }
        r = tn_place_parse(bpf_program__section_name(program), bpf_program__name(program), &place, err);
        if (r)
            return r;
        if (place.form == TN_FORM_CALL) {
            a->calls = true;
            continue;
        }
        if (!place.path[0])
            return tn_fail(err, -EINVAL, "no_place",
                           "program '%s': its section says no place: write SEC(\"%s/PATH:FUNCTION\")",
                           bpf_program__name(program), bpf_program__section_name(program));
        if (tn_place_many(&place)) { /* this libbpf may be older than such programs */
            bpf_program__set_type(program, BPF_PROG_TYPE_KPROBE);
            bpf_program__set_expected_attach_type(program, place.form == TN_FORM_SESSION
                                                               ? (enum bpf_attach_type)TN_TRACE_UPROBE_SESSION
                                                               : (enum bpf_attach_type)TN_TRACE_UPROBE_MULTI);
        }
        for (u32 i = 0; i < (a->npids ? a->npids : 1); i++) {
            r = tn_place_file(&place, a->npids ? a->pids[i] : 0, file, err);
            if (!r && tn_place_many(&place))
                continue; /* its functions are looked for once, when they are hooked */
            if (!r)
                r = place.form == TN_FORM_PROBE ? tn_place_probe(&place, file, err)
                                                : tn_place_offset(&place, file, &offset, err);
            if (r)
                return r;
        }
    }
    for (u32 i = 0; i < a->nsets; i++) {
        r = tn_obj_set(a->object, a->sets[i], err);
        if (r)
            return r;
    }
    return 0;
}

/* ---------- doing ---------- */

/* libbpf did not find the function of a program among the host's types: the first that the types speak
 * against. */
static bool missing_function(const struct attach *a, struct tn_error *err)
{
    struct bpf_program *program;
    struct tn_place place = {0};
    char file[PATH_MAX];
    const char *binary = a->host ? a->host : a->command ? a->command[0] : NULL;

    snprintf(file, sizeof(file), "/proc/%d/exe", a->npids ? (int)a->pids[0] : 0);
    if (binary) {
        snprintf(place.path, sizeof(place.path), "%s", binary);
        if (tn_place_file(&place, 0, file, err))
            return false;
    }
    bpf_object__for_each_program(program, a->object)
    {
        struct tn_error why = {0};

        if (!bpf_program__autoload(program) || !is_typed(program) ||
            !tn_typed_why(file, bpf_program__section_name(program), &why))
            continue;
        tn_fail(err, -ENOENT, why.reason, "program '%s' (%s): %.700s", bpf_program__name(program),
                bpf_program__section_name(program), why.message);
        return true;
    }
    return false;
}

static int load(struct attach *a)
{
    struct tn_ctl_error why;
    struct tn_error err = {0};
    const char *said;
    int r;

    tn_libbpf_forget();
    r = bpf_object__load(a->object);
    if (!r)
        return 0;
    if (tn_ctl_why(&why)) {
        struct bpf_program *program;
        const char *name = a->file.name;

        /* Programs are loaded in order and none after the refused one:
           it is the first that has no descriptor. */
        bpf_object__for_each_program(program, a->object) if (bpf_program__autoload(program) &&
                                                             bpf_program__fd(program) < 0)
        {
            name = bpf_program__name(program);
            break;
        }
        if (why.has_refusal) {
            fflush(stdout);
            fprintf(stderr, "%s: ", a->name);
            tn_refusal_print(stderr, name, &why.refusal);
            return TN_EXIT_FAILED;
        }
        return tn_cli_error(a->name, r, &why.why);
    }
    said = tn_libbpf_said();
    if (r == -ESRCH && missing_function(a, &err))
        return tn_cli_error(a->name, r, &err);
    return tn_cli_fail(a->name, "%s: loading it: %s%s%s", a->file.name, strerror(-r), *said ? "\n" : "",
                       said);
}

/* System calls, too, are one link, whatever the number of processes. */
static bool is_call(const struct bpf_program *program)
{
    enum bpf_prog_type type = bpf_program__type(program);
    const char *section = bpf_program__section_name(program);

    return type == BPF_PROG_TYPE_TRACEPOINT || type == BPF_PROG_TYPE_RAW_TRACEPOINT ||
           (type == BPF_PROG_TYPE_TRACING && !is_typed(program)) || !strncmp(section, "ksyscall/", 9) ||
           !strncmp(section, "kretsyscall/", 12);
}

/* libbpf knows the place by now, the broker the processes. */
static bool is_known(const struct bpf_program *program)
{
    return is_typed(program) || is_call(program);
}

static int attach_known(struct attach *a, struct bpf_program *program, struct bpf_link **ret_link,
                        struct tn_error *err)
{
    struct tn_ctl_error why;
    struct bpf_link *link;
    int r;

    tn_libbpf_forget();
    link = bpf_program__attach(program);
    if (link) {
        *ret_link = link;
        return 0;
    }
    r = errno ? -errno : -EINVAL;
    if (tn_ctl_why(&why) && why.why.message[0])
        return tn_fail(err, r, why.why.reason, "program '%s' (%s): %.600s", bpf_program__name(program),
                       bpf_program__section_name(program), why.why.message);
    return tn_fail(err, r, "", "program '%s' (%s): %s", bpf_program__name(program),
                   bpf_program__section_name(program), strerror(-r));
}

static int attach_one(struct attach *a, struct bpf_program *program, const struct tn_place *place, pid_t pid,
                      struct bpf_link **ret_link, struct tn_error *err)
{
    LIBBPF_OPTS(bpf_uprobe_opts, opts);
    struct tn_ctl_error why;
    char file[PATH_MAX];
    struct bpf_link *link;
    bool probe;
    u64 offset;
    int r;

    r = tn_place_file(place, pid, file, err);
    probe = place->form == TN_FORM_PROBE;
    if (!r && !probe)
        r = tn_place_offset(place, file, &offset, err);
    if (r)
        return r;
    opts.retprobe = place->form == TN_FORM_RETURN;
    tn_libbpf_forget();
    link = probe ? bpf_program__attach_usdt(program, pid > 0 ? pid : -1, file, place->provider, place->func,
                                            NULL)
                 : bpf_program__attach_uprobe_opts(program, pid > 0 ? pid : -1, file, offset, &opts);
    if (!link) {
        const char *said;

        r = errno ? -errno : -EINVAL;
        if (!tn_ctl_why(&why))
            why.why = (struct tn_error){0};
        said = why.why.message[0] ? why.why.message : strerror(-r);
        return tn_fail(err, r, why.why.reason, "program '%s' at %s:%s%s%s%s: %.600s",
                       bpf_program__name(program), file, place->provider, probe ? ":" : "", place->func,
                       opts.retprobe ? " (return)" : "", said);
    }
    *ret_link = link;
    return 0;
}

static int add_id(struct attach *a, u32 id, struct tn_error *err)
{
    u32 *ids;

    for (u32 i = 0; i < a->nids; i++)
        if (a->ids[i] == id)
            return 0;
    ids = reallocarray(a->ids, a->nids + 1, sizeof(*ids));
    if (!ids)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for the links");
    a->ids = ids;
    ids[a->nids++] = id;
    return 0;
}

static int add_id_of(struct attach *a, int link, struct tn_error *err)
{
    struct bpf_link_info info = {0};
    u32 len = sizeof(info);

    if (bpf_obj_get_info_by_fd(link, &info, &len) < 0)
        return tn_fail(err, -errno, "no_info", "asking for the id of a new link: %s", strerror(errno));
    return add_id(a, info.id, err);
}

/* All functions of a file that a pattern fits, in one link. */
static int attach_many(struct attach *a, struct bpf_program *program, const struct tn_place *place, pid_t pid,
                       struct tn_error *err)
{
    struct tn_multi_attr multi = {.flags = place->form == TN_FORM_MANY_RETURN ? TN_UPROBE_MULTI_RETURN : 0,
                                  .pid = pid > 0 ? (u32)pid : 0};
    union bpf_attr attr = {0};
    struct tn_ctl_error why;
    _free_ u64 *offsets = NULL;
    char file[PATH_MAX];
    int fd, r = tn_place_file(place, pid, file, err);

    if (!r)
        r = tn_place_offsets(place, file, &offsets, &multi.cnt, err);
    if (r)
        return r;
    multi.path = (u64)file;
    multi.offsets = (u64)offsets;
    attr.link_create.prog_fd = (u32)bpf_program__fd(program);
    attr.link_create.attach_type = bpf_program__expected_attach_type(program);
    memcpy((u8 *)&attr + TN_MULTI_ATTR_OFF, &multi, TN_MULTI_ATTR_END - TN_MULTI_ATTR_OFF);
    fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
    if (fd < 0) {
        r = -errno;
        if (!tn_ctl_why(&why))
            why.why = (struct tn_error){0};
        return tn_fail(err, r, why.why.reason, "program '%s' at %u functions of %s that fit %s: %.600s",
                       bpf_program__name(program), multi.cnt, file, place->func,
                       why.why.message[0] ? why.why.message : strerror(-r));
    }
    a->fds[a->nfds++] = fd;
    return add_id_of(a, fd, err);
}

/* libbpf's link of a static probe stands for as many as there are places, and has no descriptor of its own. */
static int add_ids_of(struct attach *a, const struct bpf_program *program, struct tn_error *err)
{
    struct bpf_prog_info prog = {0};
    u32 len = sizeof(prog);
    int r = 0;

    if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &prog, &len) < 0)
        return tn_fail(err, -errno, "no_info", "asking for the id of a program: %s", strerror(errno));
    for (u32 id = 0; !r && bpf_link_get_next_id(id, &id) == 0;) {
        struct bpf_link_info link = {0};
        _close_ int fd = bpf_link_get_fd_by_id(id);

        len = sizeof(link);
        if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &link, &len) == 0 && link.prog_id == prog.id)
            r = add_id(a, id, err);
    }
    return r;
}

/* One program in one process, or in all there are. */
static int attach_program(struct attach *a, struct bpf_program *program, pid_t pid, struct tn_error *err)
{
    bool known = is_known(program);
    struct tn_place place = {0};
    struct bpf_link *link = NULL;
    int r = known
                ? 0
                : tn_place_parse(bpf_program__section_name(program), bpf_program__name(program), &place, err);

    if (r)
        return r;
    if (tn_place_many(&place))
        return attach_many(a, program, &place, pid, err);
    r = known ? attach_known(a, program, &link, err) : attach_one(a, program, &place, pid, &link, err);
    if (r)
        return r;
    a->links[a->nlinks++] = link;
    return is_probe(program) ? add_ids_of(a, program, err) : add_id_of(a, bpf_link__fd(link), err);
}

static int attach_all(struct attach *a, struct tn_error *err)
{
    u32 nprograms = 0, npids = a->npids ? a->npids : 1;
    struct bpf_program *program;
    int r = 0;

    bpf_object__for_each_program(program, a->object) nprograms++;
    a->links = calloc((size_t)nprograms * npids, sizeof(*a->links));
    a->fds = calloc((size_t)nprograms * npids, sizeof(*a->fds));
    if (!a->links || !a->fds)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for the links");
    bpf_object__for_each_program(program, a->object)
    {
        if (!bpf_program__autoload(program))
            continue;
        for (u32 i = 0; i < (is_known(program) ? 1 : npids) && !r; i++)
            r = attach_program(a, program, a->child > 0 ? a->child : a->npids ? a->pids[i] : 0, err);
    }
    return r;
}

/* Whose types the programs see: what --host says, else what the processes or the command run. */
static int choose_host(struct attach *a, struct tn_error *err)
{
    struct tn_ctl_host host = {.npids = a->child > 0 ? 1 : TN_MIN(a->npids, TN_CTL_HOST_PIDS),
                               .pid = {a->child}};
    struct tn_ctl_error why;
    static char file[PATH_MAX]; /* the door keeps its address */
    struct tn_place place = {0};
    int r;

    if (!a->host && !a->typed)
        return 0;
    if (a->npids > TN_CTL_HOST_PIDS)
        return tn_fail(err, -E2BIG, "too_many_processes",
                       "programs attached by type go into %u processes at most", TN_CTL_HOST_PIDS);
    for (u32 i = 0; i < a->npids; i++)
        host.pid[i] = a->pids[i];
    if (!a->host && !a->command && !a->npids)
        return tn_fail(
            err, -EINVAL, "no_host",
            "the object has programs that are attached by type: say whose, with -p, --host or a command");
    if (a->host || a->command) {
        snprintf(place.path, sizeof(place.path), "%s", a->host ? a->host : a->command[0]);
        r = tn_place_file(&place, 0, file, err);
        if (r)
            return r;
        host.path = (u64)file;
    }
    r = tn_door_host(&host, NULL);
    if (r)
        return tn_ctl_why(&why) && why.why.message[0]
                   ? tn_fail(err, r, why.why.reason, "%s", why.why.message)
                   : tn_fail(err, r, "", "choosing the host: %s", strerror(-r));
    return 0;
}

/* Whose system calls are meant. */
static int choose_scope(struct attach *a, struct tn_error *err)
{
    struct tn_ctl_scope scope = {.npids = a->child > 0 ? 1 : TN_MIN(a->npids, TN_CTL_SCOPE_PIDS),
                                 .pid = {a->child}};
    int r;

    if (a->npids > TN_CTL_SCOPE_PIDS && a->calls)
        return tn_fail(err, -E2BIG, "too_many_processes",
                       "system calls of %u processes at most are hooked at once", TN_CTL_SCOPE_PIDS);
    for (u32 i = 0; i < scope.npids && !a->child; i++)
        scope.pid[i] = a->pids[i];
    r = scope.npids ? tn_ctl(TN_CTL_SCOPE, &scope, sizeof(scope), NULL, 0) : 0;
    return r < 0 ? tn_fail(err, r, "", "telling the broker the processes: %s", strerror(-r)) : 0;
}

/* ---------- the child ---------- */

/* Forks a child that waits for one byte before it execs the command. */
static int prepare_child(struct attach *a, const sigset_t *old_mask, struct tn_error *err)
{
    int ends[2];
    char byte;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return tn_fail(err, -errno, "no_process", "pipe: %s", strerror(errno));
    fflush(NULL);
    a->child = fork();
    if (a->child < 0) {
        close(ends[0]);
        close(ends[1]);
        return tn_fail(err, -errno, "no_process", "fork: %s", strerror(errno));
    }
    if (a->child == 0) {
        close(ends[1]);
        sigprocmask(SIG_SETMASK, old_mask, NULL);
        signal(SIGPIPE, SIG_DFL);
        if (read(ends[0], &byte, 1) != 1)
            _exit(127); /* we were given up */
        execvp(a->command[0], a->command);
        tn_cli_fail(a->name, "%s: %s", a->command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    close(ends[0]);
    a->go = ends[1];
    return 0;
}

/* 128 + signal, as shells say it. */
static int status_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---------- showing ---------- */

static void open_maps(struct attach *a)
{
    struct bpf_map *map;
    u32 n = 0;

    bpf_object__for_each_map(map, a->object) n++;
    a->maps = calloc(n ? n : 1, sizeof(*a->maps));
    if (!a->maps)
        return;
    bpf_object__for_each_map(map, a->object)
    {
        int fd = bpf_map__fd(map) >= 0 ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;

        /* Strings and constants of the program are not what it counts, nor is what libbpf keeps of static probes. */
        if (fd < 0 || bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF || strstr(bpf_map__name(map), ".rodata") ||
            !strncmp(bpf_map__name(map), "__bpf_usdt", 10)) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        if (tn_cli_map_from_fd(fd, &a->maps[a->nmaps], NULL) == 0)
            a->nmaps++;
    }
}

static void show_links(FILE *out, const struct attach *a)
{
    struct tn_table table = {0};

    tn_link_head(&table);
    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_link link;

        if (tn_ctl_link(a->ids[i], &link) < 0)
            continue;
        if (a->json)
            tn_cli_print_json(tn_link_json(&link), true);
        else
            tn_link_row(&table, &link);
    }
    if (!a->json)
        tn_table_print(out, &table);
    tn_table_clear(&table);
    fflush(out);
}

/* Every process was asked for, and is not all that is given. */
static void warn_of_what_is_not_seen(const struct attach *a)
{
    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_link link;

        int r = tn_ctl_link(a->ids[i], &link);

        if (r == 0 && link.all && !link.watched)
            tn_cli_warn(a->name, "link %u: processes that come later are not seen: %.192s [not_watched]",
                        link.id, link.why_not);
        if (r == 0 && link.many && link.left)
            tn_cli_warn(a->name, "link %u: %u of its functions cannot be hooked and are left out: %.400s",
                        link.id, link.left, link.left_why);
    }
}

static void show_maps(FILE *out, const struct attach *a)
{
    for (u32 i = 0; i < a->nmaps; i++) {
        struct tn_error err = {0};

        fputc('\n', out);
        if (tn_cli_map_show(out, &a->maps[i], 16, &err))
            fprintf(out, "  %s\n", err.message);
    }
    fflush(out);
}

/* One frame of the live display, over the one before: `lines` of it are on the screen. Lines that the screen
   has no room for are left out, as the cursor cannot go back to what has scrolled away. Returns how many
   there are now. */
static u32 show_frame(const struct attach *a, u32 lines)
{
    struct winsize size = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *frame = open_memstream(&text, &len);
    u32 room;

    if (!frame)
        return lines;
    show_links(frame, a);
    show_maps(frame, a);
    fclose(frame);
    room = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 2 ? size.ws_row - 1u : 24u;
    if (lines)
        printf("\033[%uA\033[J", lines);
    fputs("\033[?7l", stdout); /* a long line is cut, not folded */
    lines = 0;
    for (const char *at = text; *at && lines < room; lines++) {
        size_t n = strcspn(at, "\n");

        printf("%.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
    fputs("\033[?7h", stdout);
    fflush(stdout);
    free(text);
    return lines;
}

/* 0: some link's process lives; 1: all have ended; negative: the broker does not answer any more. */
static int all_ended(const struct attach *a)
{
    int ended = a->nids > 0;

    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_link link;
        int r = tn_ctl_link(a->ids[i], &link);

        if (r < 0 && r != -ENOENT)
            return r;
        if (!r && !link.ended)
            ended = 0;
    }
    return ended;
}

/* Shows and waits until a signal, the end of the time, of the child, or of all processes.
   Returns the exit status. */
static int stay(struct attach *a, const sigset_t *signals, bool live)
{
    u64 start = tn_monotonic(), interval = a->interval_ns ? a->interval_ns : live ? 1000000000ull : 0;
    u64 next = start; /* the first frame at once */
    u32 lines = 0;

    if (!live)
        next += interval;
    for (;;) {
        u64 now = tn_monotonic(), until = now + 250000000ull;
        struct timespec pause;
        siginfo_t info;
        int status, r;

        if (a->for_ns && now - start >= a->for_ns)
            return TN_EXIT_OK;
        if (interval && now >= next) {
            if (live)
                lines = show_frame(a, lines);
            else if (!a->json && !a->no_maps)
                show_maps(stdout, a);
            next = now + interval;
        }
        if (a->for_ns)
            until = TN_MIN(until, start + a->for_ns);
        if (interval)
            until = TN_MIN(until, next);
        pause.tv_sec = (time_t)((until - now) / 1000000000ull);
        pause.tv_nsec = (long)((until - now) % 1000000000ull);
        switch (sigtimedwait(signals, &info, &pause)) {
        case SIGINT:
        case SIGTERM:
        case SIGHUP:
            /* A terminal has told the child already. */
            if (a->child > 0 && info.si_code != SI_KERNEL)
                kill(a->child, info.si_signo);
            return TN_EXIT_OK;
        default:
            break;
        }
        if (a->child > 0 && waitpid(a->child, &status, WNOHANG) == a->child) {
            a->child = 0;
            return status_of(status);
        }
        r = all_ended(a);
        if (r < 0)
            return tn_cli_fail(a->name, "the broker is gone (%s); its links were closed", strerror(-r));
        if (r && !a->command) {
            tn_cli_warn(a->name, a->npids == 1 ? "process %d has ended" : "all processes have ended",
                        (int)a->pids[0]);
            return TN_EXIT_OK;
        }
    }
}

/* ---------- in order ---------- */

/* Closing a descriptor says nothing back: by their ids links are waited for, and who sees us end may count on it. */
static void detach_all(const struct attach *a)
{
    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_detach request = {.id = a->ids[i], .wait_ms = TN_CTL_DETACH_MS};
        struct tn_ctl_error why;

        if (tn_ctl(TN_CTL_LINK_DETACH, &request, sizeof(request), NULL, 0) == -ETIMEDOUT && tn_ctl_why(&why))
            tn_cli_warn(a->name, "link %u: %s", a->ids[i], why.why.message);
    }
}

static void release(struct attach *a)
{
    if (!a->kept)
        detach_all(a);
    for (u32 i = 0; i < a->nlinks; i++) {
        if (a->kept) /* destroying would disable it; its descriptors close with us,
                        the broker has its own hold */
            bpf_link__disconnect(a->links[i]);
        bpf_link__destroy(a->links[i]);
    }
    for (u32 i = 0; i < a->nfds; i++)
        close(a->fds[i]);
    for (u32 i = 0; i < a->nmaps; i++)
        tn_cli_map_clear(&a->maps[i]);
    bpf_object__close(a->object);
    tn_obj_file_clear(&a->file);
    free(a->links);
    free(a->fds);
    free(a->ids);
    free(a->maps);
    if (a->go >= 0)
        close(a->go);
}

static int wait_child(struct attach *a)
{
    int status;

    while (waitpid(a->child, &status, 0) < 0)
        if (errno != EINTR)
            return TN_EXIT_FAILED;
    a->child = 0;
    return status_of(status);
}

static int go(struct attach *a, const char *path, const sigset_t *signals)
{
    struct tn_ctl_options how = {.follow = a->follow || a->command, .wait_ms = a->wait_ms, .some = 1};
    struct tn_error err = {0};
    sigset_t old_mask;
    bool live;
    s32 pid;
    int r;

    r = tn_obj_read(path, &a->file, &err);
    if (!r)
        r = tn_obj_open(&a->file, &a->object, &err);
    if (!r)
        r = check_pids(a, &err);
    if (!r)
        r = check_programs(a, &err);
    if (!r)
        r = tn_connect(true, &err);
    if (r)
        return tn_cli_error(a->name, r, &err);
    /* From before the first link: whoever interrupts us, links are taken back in order. A broker that was
       started just now has not inherited this. */
    sigprocmask(SIG_BLOCK, signals, &old_mask);
    snprintf(how.klass, sizeof(how.klass), "%s", a->klass ? a->klass : "");
    r = tn_ctl(TN_CTL_OPTIONS, &how, sizeof(how), NULL, 0);
    if (r < 0)
        return tn_cli_fail(a->name, "telling the broker the options: %s", strerror(-r));
    r = choose_host(a, &err);
    if (r)
        return tn_cli_error(a->name, r, &err);
    r = load(a);
    if (r)
        return r;
    if (a->command) {
        r = prepare_child(a, &old_mask, &err);
        if (r)
            return tn_cli_error(a->name, r, &err);
        pid = a->child;
        r = tn_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, 0);
        if (r < 0) {
            struct tn_ctl_error why;

            close(a->go);
            a->go = -1;
            wait_child(a);
            return tn_cli_error(a->name, r, tn_ctl_why(&why) ? &why.why : NULL);
        }
        if (write(a->go, "", 1) != 1)
            return tn_cli_fail(a->name, "%s: could not be started", a->command[0]);
    }
    r = a->command ? choose_host(a, &err) : 0; /* with the process that is there now */
    if (!r)
        r = choose_scope(a, &err);
    if (!r)
        r = attach_all(a, &err);
    if (a->command) {
        s32 held = a->child;
        int released = tn_ctl(TN_CTL_RELEASE, &held, sizeof(held), NULL, 0);

        if (r) { /* asked to run with the extension: without it, it shall not run */
            kill(a->child, SIGKILL);
            wait_child(a);
        } else if (released < 0) {
            tn_cli_fail(a->name, "letting %s go: %s", a->command[0], strerror(-released));
        }
    }
    if (r)
        return tn_cli_error(a->name, r, &err);
    warn_of_what_is_not_seen(a);
    for (u32 i = 0; a->keep && i < a->nids; i++) {
        r = tn_ctl(TN_CTL_LINK_KEEP, &a->ids[i], sizeof(a->ids[i]), NULL, 0);
        if (r < 0)
            return tn_cli_fail(a->name, "leaving link %u with the broker: %s", a->ids[i], strerror(-r));
    }
    a->kept = a->keep;
    live = !a->json && !a->no_maps && isatty(STDOUT_FILENO) && getenv("TERM") &&
           strcmp(getenv("TERM"), "dumb") != 0;
    if (!a->json && !a->no_maps)
        open_maps(a);
    if (a->keep && !a->for_ns && !a->command)
        live = false;
    if (!live)
        show_links(stdout, a);
    if (a->keep && !a->for_ns && !a->command)
        return TN_EXIT_OK;
    r = stay(a, signals, live);
    if (!live && !a->json && !a->no_maps)
        show_maps(stdout, a);
    return r;
}

int tn_cmd_attach(int argc, char **argv)
{
    struct attach a = {.name = argv[0], .wait_ms = 1000, .go = -1};
    sigset_t signals;
    const char *path;
    int r;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            a.command = argv + i + 1;
            argc = i;
            argv[i] = NULL;
            break;
        }
    tn_cli_parse(&argp, argc, argv, 0, &a);
    path = sort_words(&a);
    if (!path)
        return TN_EXIT_USAGE;
    tn_libbpf_listen(a.verbose);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    r = go(&a, path, &signals);
    release(&a);
    if (a.child > 0)
        r = wait_child(&a);
    return r;
}
