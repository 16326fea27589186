/* SPDX-License-Identifier: MIT */
/*
 * tenon verify: each program of an object judged on its own, and of each what the verifier says. The broker
 * is asked for verdicts only (TN_CTL_OPTIONS): nothing that could run is made, and what is accepted but not
 * built here is said to be so.
 *
 * Exit status: 0 all accepted, 1 one refused, 2 the object (or the host, or the broker) cannot be read.
 */
#include <bpf/bpf.h>
#include <errno.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/judge.h"
#include "cli/object.h"
#include "cli/place.h"
#include "cli/verdict.h"

enum { EXIT_REFUSED = 1, EXIT_UNREADABLE = 2 };
enum { KEY_HOST = 0x100, KEY_CLASS };

struct verify {
    const char *name, *object, *host, *klass;
    pid_t pid;
    bool json;
    u32 verbose;
    char *log; /* LOG_SIZE bytes, when verbose */
};

#define LOG_SIZE (16u << 20)

static int option(int key, char *arg, struct argp_state *state)
{
    struct verify *v = state->input;
    u64 number;

    switch (key) {
    case 'p':
        if (tn_parse_u64(arg, 4194304, &number) || number == 0)
            argp_error(state, "-p %s: not a process id", arg);
        v->pid = (pid_t)number;
        return 0;
    case KEY_HOST:
        v->host = arg;
        return 0;
    case KEY_CLASS:
        if (strlen(arg) >= sizeof(((struct tn_ctl_options *)0)->klass))
            argp_error(state, "--class %s: too long", arg);
        v->klass = arg;
        return 0;
    case 'j':
        v->json = true;
        return 0;
    case 'v':
        v->verbose++;
        return 0;
    case ARGP_KEY_ARG:
        if (v->object)
            argp_error(state, "%s: one object at a time", arg);
        v->object = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no object is named");
        return 0;
    case ARGP_KEY_END:
        if (v->host && v->pid)
            argp_error(state, "either --host or -p, not both");
        if (v->klass && !v->host)
            argp_error(state, "--class %s: say of which host, with --host", v->klass);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"host", KEY_HOST, "BINARY", 0,
     "judge by the types and the policy of this host, and check that the functions are there, in this file "
     "where the section's path fits",
     0},
    {"class", KEY_CLASS, "NAME", 0, "hold the programs against this class of the host's policy", 0},
    {"pid", 'p', "PID", 0, "also check that the functions are there, in what this process has mapped", 0},
    {"json", 'j', 0, 0,
     "one array, a row a program: program, section, accepted, reason, file, line, insns_processed and more",
     0},
    {"verbose", 'v', 0, 0,
     "the path that was refused, and facts of what is accepted; twice: all paths, and what libbpf says", 0},
    {0},
};
static const struct argp argp = {
    options,
    option,
    "OBJ",
    "Say of each program of an eBPF object whether it is safe, and why not. Nothing is attached. The exit "
    "status is 0 when "
    "all are accepted, 1 when one is refused, 2 when the object cannot be read.",
    NULL,
    NULL,
    NULL,
};

/* The place that the section names: is it well said, and is the function there? 0: nothing to complain about.
 */
static int check_place(void *self, struct tn_outcome *o, enum bpf_prog_type type)
{
    const struct verify *v = self;
    struct tn_error *err = &o->why;
    struct tn_place place;
    char file[PATH_MAX];
    const char *last;
    u64 offset;
    int r;

    /* Sections of other kinds have no place in a process; the verifier has rules for their programs all the
     * same. */
    if (type != BPF_PROG_TYPE_UNSPEC && strncmp(o->section, "uprobe", 6) != 0 &&
        strncmp(o->section, "uretprobe", 9) != 0)
        return 0;
    r = tn_place_parse(o->section, o->program, &place, err);
    if (r)
        return r;
    if ((!v->host && !v->pid) || !place.path[0])
        return 0;
    if (v->host) {
        /* A section that names another file (a library) is not about this host. */
        last = strrchr(place.path, '/');
        last = last ? last + 1 : place.path;
        if (strcmp(last, strrchr(v->host, '/') ? strrchr(v->host, '/') + 1 : v->host) != 0 &&
            strstr(last, ".so"))
            return 0;
        return tn_place_offset(&place, v->host, &offset, NULL, err);
    }
    r = tn_place_file(&place, v->pid, file, err);
    return r ? r : tn_place_offset(&place, file, &offset, NULL, err);
}

static int go(const struct verify *v)
{
    _clean_(tn_obj_file_clear) struct tn_obj_file file = {0};
    const struct tn_judging how = {.klass = v->klass,
                                   .log = v->log,
                                   .log_size = LOG_SIZE,
                                   .log_level = v->verbose > 1 ? 2 | 4 : 1 | 4,
                                   .place = check_place,
                                   .self = (void *)v};
    struct bpf_object *object = NULL;
    struct tn_error err = {0};
    json_t *list;
    u32 n;
    bool refused = false;
    int r = tn_obj_read(v->object, &file, &err);

    if (!r)
        r = tn_obj_open(&file, &object, &err);
    bpf_object__close(object);
    if (!r)
        r = tn_connect(true, &err);
    if (!r && v->host) {
        r = tn_cli_choose_host(v->host, &err);
        /* Probes can be judged without the types of their host. */
        if (r == -ENODATA && !v->klass && !tn_obj_is_typed(&file)) {
            err = (struct tn_error){0};
            r = 0;
        }
    }
    if (r) {
        tn_cli_error(v->name, r, &err);
        return EXIT_UNREADABLE;
    }
    n = tn_obj_programs(&file);
    list = json_array();
    for (u32 i = 0; i < n; i++) {
        struct tn_outcome o;

        r = tn_cli_judge(&file, i, &how, &o, &err);
        if (r) {
            json_decref(list);
            tn_cli_error(v->name, r, &err);
            return EXIT_UNREADABLE;
        }
        refused = refused || !o.accepted;
        json_array_append_new(list, tn_verdict_json(&o));
        if (!v->json)
            tn_verdict_print(&o, v->verbose);
    }
    if (v->json)
        tn_cli_print_json(list, false);
    else
        json_decref(list);
    return refused ? EXIT_REFUSED : TN_EXIT_OK;
}

int tn_cmd_verify(int argc, char **argv)
{
    struct verify v = {.name = argv[0]};
    int status;

    tn_cli_parse(&argp, argc, argv, 0, &v);
    tn_libbpf_listen(v.verbose > 1);
    if (v.verbose) {
        v.log = calloc(1, LOG_SIZE);
        if (!v.log)
            return tn_cli_fail(v.name, "no memory for a log of %u bytes", LOG_SIZE);
    }
    status = go(&v);
    free(v.log);
    return status;
}
