/* SPDX-License-Identifier: MIT */
/* See judge.h. */
#include "cli/judge.h"

#include <errno.h>

#include "cli/connect.h"
#include "cli/hosts.h"
#include "door/preload/door.h"

int tn_cli_choose_host(const char *binary, struct tn_error *err)
{
    static char file[PATH_MAX]; /* the door keeps its address */
    struct tn_ctl_host host = {0};
    struct tn_ctl_error why;
    int r;

    r = tn_cli_host_file(binary, file, err);
    if (r)
        return r;
    host.path = (u64)file;
    r = tn_door_host(&host, NULL);
    if (!r)
        return 0;
    if (tn_ctl_why(&why) && why.why.message[0])
        return tn_fail(err, r, why.why.reason, "%s", why.why.message);
    return tn_fail(err, r, "", "choosing the host %s: %s", binary, strerror(-r));
}

u32 tn_obj_programs(const struct tn_obj_file *file)
{
    struct bpf_object *object = NULL;
    struct bpf_program *program;
    u32 n = 0;

    if (tn_obj_open(file, &object, NULL))
        return 0;
    bpf_object__for_each_program(program, object) n++;
    bpf_object__close(object);
    return n;
}

bool tn_obj_is_typed(const struct tn_obj_file *file)
{
    struct bpf_object *object = NULL;
    struct bpf_program *program;
    bool typed = false;

    if (tn_obj_open(file, &object, NULL))
        return false;
    bpf_object__for_each_program(program, object) typed |=
        bpf_program__type(program) == BPF_PROG_TYPE_TRACING;
    bpf_object__close(object);
    return typed;
}

int tn_cli_judge(const struct tn_obj_file *file, u32 index, const struct tn_judging *how,
                 struct tn_outcome *ret_outcome, struct tn_error *err)
{
    struct tn_ctl_options options = {.wait_ms = 1000, .recorded = how->recorded};
    struct bpf_object *object = NULL;
    struct bpf_program *program, *mine = NULL;
    struct tn_outcome *o = ret_outcome;
    struct tn_ctl_error why;
    u32 at = 0;
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
    *o = (struct tn_outcome){.log = how->log};
    snprintf(o->program, sizeof(o->program), "%s", bpf_program__name(mine));
    snprintf(o->section, sizeof(o->section), "%s", bpf_program__section_name(mine));
    if (how->log) {
        how->log[0] = 0;
        bpf_program__set_log_buf(mine, how->log, how->log_size);
        bpf_program__set_log_level(mine, how->log_level);
    }
    if (!how->place || how->place(how->self, o, bpf_program__type(mine)) == 0) {
        snprintf(options.judged, sizeof(options.judged), "%.15s", o->program);
        snprintf(options.klass, sizeof(options.klass), "%s", how->klass ? how->klass : "");
        r = tn_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, 0);
        if (r < 0) {
            bpf_object__close(object);
            return tn_fail(err, r, "no_broker", "the broker does not answer: %s", strerror(-r));
        }
        tn_libbpf_forget();
        r = bpf_object__load(object);
        /* What came after the verdict (filling of maps, say) does not change it. */
        o->judged = tn_ctl_verdict(&o->verdict);
        o->accepted = o->judged && o->verdict.accepted;
        if (!o->judged) {
            if (tn_ctl_why(&why))
                o->why = why.why;
            tn_fail(&o->why, r, "load_failed", "%s%s%.400s", strerror(-r), *tn_libbpf_said() ? ": " : "",
                    tn_libbpf_said());
        }
    }
    bpf_object__close(object);
    return 0;
}

int tn_cli_uses_of(u32 prog_id, struct tn_cli_uses *ret, struct tn_error *err)
{
    struct tn_ctl_uses_of of = {.prog_id = prog_id};
    struct tn_ctl_error why;
    int r;

    memset(ret, 0, sizeof(*ret));
    do {
        struct tn_ctl_use *grown;

        of.from = ret->n;
        r = tn_ctl(TN_CTL_USES, &of, sizeof(of), &ret->head, sizeof(ret->head));
        if (r < 0) {
            tn_cli_uses_clear(ret);
            return tn_ctl_why(&why) ? tn_fail(err, r, why.why.reason, "%s", why.why.message) : r;
        }
        ret->head.klass[sizeof(ret->head.klass) - 1] = 0;
        ret->head.host[sizeof(ret->head.host) - 1] = 0;
        ret->head.function[sizeof(ret->head.function) - 1] = 0;
        ret->head.n = TN_MIN(ret->head.n, TN_CTL_USES_ROWS);
        grown = reallocarray(ret->row, ret->n + ret->head.n + 1, sizeof(*grown));
        if (!grown) {
            tn_cli_uses_clear(ret);
            return -ENOMEM;
        }
        ret->row = grown;
        for (u32 k = 0; k < ret->head.n; k++) {
            struct tn_ctl_use *row = &grown[ret->n++];

            *row = ret->head.row[k];
            row->file[sizeof(row->file) - 1] = row->text[sizeof(row->text) - 1] = 0;
            row->use.nargs = TN_MIN(row->use.nargs, (u32)TN_ARRAY_SIZE(row->use.args));
            row->use.access.path = "";
        }
    } while (ret->head.n && ret->n < ret->head.total);
    return 0;
}

void tn_cli_uses_clear(struct tn_cli_uses *uses)
{
    free(uses->row);
    memset(uses, 0, sizeof(*uses));
}
