/* SPDX-License-Identifier: MIT */
/*
 * tenon verify: each program of an object loaded on its own, and of each what the verifier says.
 *
 * Exit status: 0 all accepted, 1 one refused, 2 the object (or the host, or the broker) cannot be read.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/links.h"
#include "cli/object.h"
#include "cli/place.h"

enum { EXIT_REFUSED = 1, EXIT_UNREADABLE = 2 };
enum { KEY_HOST = 0x100 };

struct verify {
    const char *name, *object, *host;
    pid_t pid;
    bool json, verbose;
};

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
    case 'j':
        v->json = true;
        return 0;
    case 'v':
        v->verbose = true;
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
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"host", KEY_HOST, "BINARY", 0,
     "also check that the functions are there, in this file where the section's path fits", 0},
    {"pid", 'p', "PID", 0, "also check that the functions are there, in what this process has mapped", 0},
    {"json", 'j', 0, 0,
     "one array, a row a program: program, section, accepted, reason, file, line, insns_processed and more",
     0},
    {"verbose", 'v', 0, 0, "what libbpf says, the verifier's log included", 0},
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

struct outcome {
    char program[128], section[512];
    bool accepted;
    struct tn_ctl_error why; /* refusal, or an error with a reason of its own */
    u64 insns_processed;
};

/* The host's side: is the function there? 0: nothing to complain about. */
static int check_host(const struct verify *v, const struct outcome *o, struct tn_error *err)
{
    struct tn_place place;
    char file[PATH_MAX];
    const char *last;
    u64 offset;
    int r = tn_place_parse(o->section, o->program, &place, err);

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
        return tn_place_offset(&place, v->host, &offset, err);
    }
    r = tn_place_file(&place, v->pid, file, err);
    return r ? r : tn_place_offset(&place, file, &offset, err);
}

/* Loads program number `index` of a fresh object alone. Negative: it could not even be tried. */
static int judge(const struct verify *v, const struct tn_obj_file *file, u32 index,
                 struct outcome *ret_outcome, struct tn_error *err)
{
    struct outcome o = {0};
    struct bpf_object *object = NULL;
    struct bpf_program *program, *mine = NULL;
    struct bpf_prog_info info = {0};
    u32 at = 0, len = sizeof(info);
    int r = tn_obj_open(file, &object, err);

    if (r)
        return r;
    bpf_object__for_each_program(program, object)
    {
        bpf_program__set_autoload(program, at == index);
        if (at++ == index)
            mine = program;
    }
    if (!mine) {
        bpf_object__close(object);
        return -ENOENT;
    }
    snprintf(o.program, sizeof(o.program), "%s", bpf_program__name(mine));
    snprintf(o.section, sizeof(o.section), "%s", bpf_program__section_name(mine));
    if (check_host(v, &o, &o.why.why) == 0) {
        tn_libbpf_forget();
        r = bpf_object__load(object);
        o.accepted = r == 0;
        if (r && !tn_ctl_why(&o.why))
            tn_fail(&o.why.why, r, "load_failed", "%s%s%.400s", strerror(-r), *tn_libbpf_said() ? ": " : "",
                    tn_libbpf_said());
        o.insns_processed = o.why.insns_processed;
        if (o.accepted && bpf_obj_get_info_by_fd(bpf_program__fd(mine), &info, &len) == 0) {
            struct tn_ctl_facts facts;

            o.insns_processed = info.verified_insns;
            if (tn_ctl(TN_CTL_PROG_FACTS, &info.id, sizeof(info.id), &facts, sizeof(facts)) >= 0)
                o.insns_processed = facts.insns_processed;
        }
    }
    bpf_object__close(object);
    *ret_outcome = o;
    return 0;
}

static json_t *row(const struct outcome *o)
{
    const struct tn_refusal *refusal = &o->why.refusal;
    bool refused = !o->accepted && o->why.has_refusal;
    json_t *object = json_pack(
        "{s:o, s:o, s:b, s:s, s:s, s:I, s:o}", "program", tn_json_text(o->program, strlen(o->program)),
        "section", tn_json_text(o->section, strlen(o->section)), "accepted", (int)o->accepted, "reason",
        o->accepted ? ""
        : refused   ? refusal->reason
                    : o->why.why.reason,
        "file", refused ? refusal->file : "", "line", (json_int_t)(refused ? refusal->line : 0),
        "insns_processed", tn_json_u64(o->insns_processed));

    if (object && !o->accepted) {
        json_object_set_new(object, "message",
                            refused ? tn_json_text(refusal->message, strlen(refusal->message))
                                    : tn_json_text(o->why.why.message, strlen(o->why.why.message)));
        json_object_set_new(object, "insn", refused ? json_integer(refusal->insn) : json_null());
        json_object_set_new(object, "column", json_integer(refused ? refusal->column : 0));
        json_object_set_new(object, "text",
                            refused ? tn_json_text(refusal->text, strlen(refusal->text)) : json_string(""));
        json_object_set_new(object, "state",
                            refused ? tn_json_text(refusal->state, strlen(refusal->state)) : json_string(""));
        json_object_set_new(object, "path",
                            refused ? tn_json_text(refusal->path, strlen(refusal->path)) : json_string(""));
    }
    return object;
}

static int go(const struct verify *v)
{
    _clean_(tn_obj_file_clear) struct tn_obj_file file = {0};
    struct bpf_object *object = NULL;
    struct bpf_program *program;
    struct tn_error err = {0};
    json_t *list;
    u32 n = 0;
    bool refused = false;
    int r = tn_obj_read(v->object, &file, &err);

    if (!r)
        r = tn_obj_open(&file, &object, &err);
    if (!r)
        r = tn_connect(true, &err);
    if (r) {
        bpf_object__close(object);
        tn_cli_error(v->name, r, &err);
        return EXIT_UNREADABLE;
    }
    bpf_object__for_each_program(program, object) n++;
    bpf_object__close(object);
    list = json_array();
    for (u32 i = 0; i < n; i++) {
        struct outcome o;

        r = judge(v, &file, i, &o, &err);
        if (r) {
            json_decref(list);
            tn_cli_error(v->name, r, &err);
            return EXIT_UNREADABLE;
        }
        refused = refused || !o.accepted;
        json_array_append_new(list, row(&o));
        if (v->json)
            continue;
        if (o.accepted)
            printf("%s%s is accepted%s: %" PRIu64 " instructions looked at (%s)\n", tn_good(stdout),
                   o.program, tn_plain(stdout), o.insns_processed, o.section);
        else if (o.why.has_refusal)
            tn_refusal_print(stdout, o.program, &o.why.refusal);
        else
            printf("%s%s is refused%s [%s]: %s\n", tn_bold(stdout), o.program, tn_plain(stdout),
                   o.why.why.reason, o.why.why.message);
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

    tn_cli_parse(&argp, argc, argv, 0, &v);
    tn_libbpf_listen(v.verbose);
    return go(&v);
}
