/* SPDX-License-Identifier: MIT */
/* See kernel.h. */
#include "cli/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "door/preload/door.h"
#include "inject/proc.h"

/* ---------- going ---------- */

static int into_kernel(struct tn_cli_attach *a, struct tn_error *err)
{
    int r = tn_obj_open(&a->file, &a->object, err);

    if (!r)
        r = tn_cli_attach_check(a, err);
    if (!r)
        r = tn_kernel_look_around(a, err);
    if (r)
        return r;
    tn_door_shut();
    a->in_kernel = true;
    if (tn_cli_attach_load(a)) /* has said why */
        return tn_fail(err, -EINVAL, "kernel_load",
                       "the kernel does not take the object, for the reason above");
    return tn_cli_attach_all(a, err);
}

int tn_kernel_take(struct tn_cli_attach *a, struct tn_error *err)
{
    struct tn_error why = {0};
    u32 n = 0;
    int r;

    for (u32 i = 0; i < a->nrefused; i++)
        tn_cli_error(a->name, -ENOTSUP, &a->refused[i]);
    *err = (struct tn_error){0}; /* told */
    r = tn_kernel_judge(a, &why);
    for (u32 i = 0; i < tn_cli_attach_npids(a); i++)
        a->started[i] = tn_cli_attach_pid(a, i) ? tn_proc_start_time(tn_cli_attach_pid(a, i)) : 0;
    if (!r) {
        tn_cli_attach_end(a); /* bytes are the file's again, which is looked at */
        r = into_kernel(a, &why);
    }
    if (r) {
        if (a->in_kernel)
            tn_cli_attach_end(a);
        return tn_fail(err, r, why.reason, "--fallback=kernel: %.900s",
                       why.message[0] ? why.message : strerror(-r));
    }
    for (u32 i = 0; i < a->nrows && !r; i++)
        r = tn_kernel_ask(a->rows[i].prog, a->rows[i].pid, a->rows[i].target, true, &why);
    if (r) {
        tn_cli_attach_end(a);
        return tn_fail(err, r, why.reason, "--fallback=kernel: %.900s", why.message);
    }
    for (struct bpf_program *p = NULL; (p = bpf_object__next_program(a->object, p));)
        n += bpf_program__autoload(p);
    tn_cli_warn(
        a->name,
        "--fallback=kernel: %u program%s of %s run%s in the kernel, by its uprobes: each pass costs about a "
        "microsecond, not nanoseconds%s%s%s",
        n, n == 1 ? "" : "s", a->file.name, n == 1 ? "s" : "", a->command ? "; children of " : "",
        a->command ? a->command[0] : "", a->command ? " are not hooked" : "");
    return 0;
}

/* ---------- being there ---------- */

int tn_kernel_row(struct tn_cli_attach *a, const struct bpf_program *program, const struct tn_place *place,
                  pid_t pid, int fd, struct tn_error *err)
{
    struct tn_ctl_link *rows = reallocarray(a->rows, a->nrows + 1, sizeof(*rows)), *row;
    const struct bpf_program **progs = NULL;
    _free_ u64 *offsets = NULL;
    struct bpf_link_info info = {0};
    u32 len = sizeof(info), n = 0;
    int r;

    if (rows) {
        a->rows = rows;
        progs = reallocarray(a->row_prog, a->nrows + 1, sizeof(*progs));
    }
    if (!progs)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for the links");
    a->row_prog = progs;
    row = &rows[a->nrows];
    *row = (struct tn_ctl_link){.pid = pid ? pid : -1,
                                .targets = pid != 0,
                                .all = !pid,
                                .watched = !pid,
                                .is_exit = tn_kernel_is_return(place) && place->form != TN_FORM_SESSION,
                                .offset = place->offset};
    r = tn_place_file(place, pid, row->target, err);
    r = r ? r : tn_kernel_offsets(place, row->target, &offsets, &n, err);
    if (r)
        return r;
    if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0) {
        row->id = info.id;
        row->prog_id = info.prog_id;
    }
    row->file_offset = offsets[0];
    row->many = tn_place_many(place) ? n : 0;
    row->places = n;
    snprintf(row->prog, sizeof(row->prog), "%s", bpf_program__name(program));
    snprintf(row->symbol, sizeof(row->symbol), "%.60s%s%.60s", place->provider, place->provider[0] ? ":" : "",
             place->func);
    snprintf(row->kind, sizeof(row->kind), "%s",
             place->form == TN_FORM_SESSION ? "session"
             : row->is_exit                 ? "uretprobe"
                                            : "uprobe");
    snprintf(row->tactic, sizeof(row->tactic), "kernel");
    progs[a->nrows++] = program;
    return 0;
}

void tn_kernel_look(const struct tn_cli_attach *a, u32 k, struct tn_ctl_link *ret_link)
{
    struct bpf_prog_info info = {0};
    u32 len = sizeof(info);

    *ret_link = a->rows[k];
    if (bpf_obj_get_info_by_fd(bpf_program__fd(a->row_prog[k]), &info, &len) == 0)
        ret_link->missed = info.recursion_misses;
    ret_link->ended = ret_link->pid > 0 && !tn_proc_start_time(ret_link->pid);
}

int tn_kernel_ended(const struct tn_cli_attach *a, struct tn_error *err)
{
    bool lives = false;

    for (u32 i = 0; i < a->nrows; i++) {
        int r = tn_kernel_ask(a->rows[i].prog, a->rows[i].pid, a->rows[i].target, false, err);

        if (r)
            return r;
    }
    for (u32 i = 0; i < tn_cli_attach_npids(a); i++)
        lives |= !tn_cli_attach_pid(a, i) || tn_proc_lives(tn_cli_attach_pid(a, i), a->started[i]);
    return !lives;
}
