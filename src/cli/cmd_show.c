/* SPDX-License-Identifier: MIT */
/*
 * tenon show: everything that is known of links and their programs, and of the broker.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/links.h"

#define MAX_IDS 256

struct show {
    u32 ids[MAX_IDS], nids;
    bool json;
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct show *s = state->input;
    u64 number;

    switch (key) {
    case 'j':
        s->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (tn_parse_u64(arg, UINT32_MAX, &number) || number == 0 || s->nids == MAX_IDS)
            argp_error(state, "%s: not a link's id (see: tenon ls)", arg);
        s->ids[s->nids++] = (u32)number;
        return 0;
    case ARGP_KEY_END:
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "for machines", 0},
    {0},
};
static const struct argp argp = {
    options,   option,
    "[ID...]", "Show links and their programs in detail; without an id all of them, and the broker.",
    NULL,      NULL,
    NULL,
};

static json_t *facts_json(u32 prog_id)
{
    struct tn_ctl_facts facts;

    if (tn_ctl(TN_CTL_PROG_FACTS, &prog_id, sizeof(prog_id), &facts, sizeof(facts)) < 0)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:b, s:b, s:b}", "insns_processed",
                     tn_json_u64(facts.insns_processed), "longest_path",
                     tn_json_u64(facts.facts.longest_path), "states", tn_json_u64(facts.total_states),
                     "stack", (json_int_t)facts.facts.max_stack, "text_bytes", (json_int_t)facts.text_len,
                     "verify_ns", tn_json_u64(facts.verify_ns), "jit_ns", tn_json_u64(facts.jit_ns), "percpu",
                     (int)facts.facts.percpu, "may_fault", (int)facts.facts.may_fault, "syscalls",
                     (int)facts.facts.syscalls);
}

/* As many of them as there are, in a line: by which tactic, those with most places first. */
static void show_places(const struct tn_ctl_link *link)
{
    struct tn_tally by = link->by;

    tn_tally_end(&by);
    printf("  places      %u instruction%s", link->places, link->places == 1 ? "" : "s");
    for (u32 shown = 0; shown < by.nrows; shown++) {
        u32 most = 0;

        for (u32 i = 1; i < by.nrows; i++)
            if (by.row[i].n > by.row[most].n)
                most = i;
        printf("%s %u by %s", shown ? "," : ":", by.row[most].n, tn_cli_tame(by.row[most].name));
        by.row[most].n = 0;
    }
    putchar('\n');
}

static bool breaks(const struct tn_ctl_link *link)
{
    struct tn_tally by = link->by;

    tn_tally_end(&by);
    for (u32 i = 0; i < by.nrows; i++)
        if (!strcmp(by.row[i].name, "breakpoint"))
            return true;
    return memmem(link->tactic, sizeof(link->tactic), "breakpoint", 10) != NULL;
}

static void show_link(const struct tn_ctl_link *link)
{
    _free_ char *target = strndup(link->target, sizeof(link->target));
    struct tn_ctl_facts facts;
    char place[256];

    tn_link_place(link, place, sizeof(place));
    tn_cli_tame(place);
    printf("%slink %u%s: %.64s, %.16s at %s\n", tn_bold(stdout), link->id, tn_plain(stdout), link->prog,
           link->kind, place);
    printf("  target      %s\n", target ? tn_cli_tame(target) : "");
    if (link->pid >= 0)
        printf("  process     %d%s%s\n", link->pid, link->ended ? ", has ended" : "",
               link->follow ? ", and its children" : ", without its children");
    else
        printf("  processes   %u, all that %s%s\n", link->targets,
               link->is_call ? "were named" : "had the file mapped",
               link->watched ? ", and those that come later" : "");
    if (link->all && !link->watched)
        printf("              those that come later are not seen: %.192s\n", link->why_not);
    if (link->failed)
        printf("              %u that came could not be entered; the last: %.192s [%.48s]\n", link->failed,
               link->failure, link->failure_reason);
    if (link->is_call || link->many)
        show_places(link);
    else
        printf("  address     0x%" PRIx64 ", file offset 0x%" PRIx64 ", by %.32s\n", link->address,
               link->file_offset, link->tactic);
    if (breaks(link))
        printf("              a breakpoint: each pass costs a signal, one to two microseconds; a debugger "
               "must pass SIGTRAP on\n");
    if (link->left)
        printf("  left        %u%s, whose calls are not seen: %.512s\n", link->left,
               link->many ? " functions" : "", link->left_why);
    printf("  attached    in %.3f ms, no thread held longer than %.3f ms%s\n", (double)link->attach_ns / 1e6,
           (double)link->hold_ns_max / 1e6, link->kept ? ", kept by the broker" : "");
    printf("  missed      %" PRIu64 " runs, %" PRIu64
           " of them because the program was running already on the thread\n",
           link->missed, link->recursion);
    if (link->cookie)
        printf("  cookie      %" PRIu64 "\n", link->cookie);
    if (tn_ctl(TN_CTL_PROG_FACTS, &link->prog_id, sizeof(link->prog_id), &facts, sizeof(facts)) < 0)
        return;
    printf("  program     id %u; %" PRIu64
           " instructions verified in %.3f ms, %u bytes compiled in %.3f ms\n",
           link->prog_id, facts.insns_processed, (double)facts.verify_ns / 1e6, facts.text_len,
           (double)facts.jit_ns / 1e6);
    printf("              at most %" PRIu64 " instructions a run, %u bytes of stack%s%s\n",
           facts.facts.longest_path, facts.facts.max_stack,
           facts.facts.percpu ? ", takes a per-CPU slot" : "",
           facts.facts.syscalls ? ", may make system calls" : "");
}

int tn_cmd_show(int argc, char **argv)
{
    struct show s = {0};
    struct tn_error err = {0};
    struct tn_ctl_status broker;
    struct tn_ctl_link link;
    json_t *list = json_array();
    int r, status = TN_EXIT_OK;
    bool all;

    tn_cli_parse(&argp, argc, argv, 0, &s);
    all = s.nids == 0;
    r = tn_connect(false, &err);
    if (r) {
        json_decref(list);
        if (r != -ENOENT || !all)
            return tn_cli_error(argv[0], r, &err);
        if (s.json)
            tn_cli_print_json(json_pack("{s:n, s:[]}", "broker", "links"), false);
        else
            printf("no broker is running: nothing is attached\n");
        return TN_EXIT_OK;
    }
    for (u32 id = 0; all && s.nids < MAX_IDS; id = link.id) {
        if (tn_ctl(TN_CTL_LINK_NEXT, &id, sizeof(id), &link, sizeof(link)) < 0 || link.id <= id)
            break;
        s.ids[s.nids++] = link.id;
    }
    for (u32 i = 0; i < s.nids; i++) {
        r = tn_ctl_link(s.ids[i], &link);
        if (r < 0) {
            status = tn_cli_fail(argv[0], "link %u: %s", s.ids[i],
                                 r == -ENOENT ? "there is none with this id (see: tenon ls)" : strerror(-r));
            continue;
        }
        if (s.json) {
            json_t *row = tn_link_json(&link);

            json_object_set_new(row, "program", facts_json(link.prog_id));
            json_array_append_new(list, row);
        } else {
            show_link(&link);
        }
    }
    r = all ? tn_ctl(TN_CTL_STATUS, NULL, 0, &broker, sizeof(broker)) : -ENOENT;
    if (r >= 0 && !s.json)
        printf("%sbroker%s: process %u of uid %u, version %.32s; maps %u, programs %u, links %u, "
               "processes %u\n",
               tn_bold(stdout), tn_plain(stdout), broker.pid, broker.uid, broker.version, broker.maps,
               broker.progs, broker.links, broker.targets);
    if (s.json && all)
        tn_cli_print_json(
            json_pack("{s:o, s:O}", "broker",
                      r < 0 ? json_null()
                            : json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "pid", (json_int_t)broker.pid,
                                        "uid", (json_int_t)broker.uid, "version",
                                        tn_json_text(broker.version, strnlen(broker.version, 32)), "maps",
                                        (json_int_t)broker.maps, "progs", (json_int_t)broker.progs, "links",
                                        (json_int_t)broker.links, "targets", (json_int_t)broker.targets),
                      "links", list),
            false);
    else if (s.json)
        tn_cli_print_json(json_incref(list), false);
    json_decref(list);
    return status;
}
