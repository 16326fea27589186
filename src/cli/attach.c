/* SPDX-License-Identifier: MIT */
/* See attach.h. */
#include "cli/attach.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/syscall.h>

#include "broker/multi.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/kernel.h"
#include "cli/links.h"
#include "cli/typed.h"
#include "door/preload/door.h"

/* ---------- looking before doing ---------- */

static bool wanted(const struct tn_cli_attach *a, const char *program)
{
    for (u32 i = 0; i < a->nprograms; i++)
        if (strcmp(a->programs[i], program) == 0)
            return true;
    return a->nprograms == 0;
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

int tn_cli_attach_check(struct tn_cli_attach *a, struct tn_error *err)
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
                                                : tn_place_offset(&place, file, &offset, NULL, err);
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

/* errno 524 is one that the kernel keeps for itself, and lets out here. */
static const char *told_errno(int r)
{
    return r == -524 ? "the kernel has no uprobe for the instruction there" : strerror(-r);
}

/* The arguments of a probe are libbpf's to read, which says what it cannot: its first line, in `line`. */
static const char *told_probe(int r, char line[static 256])
{
    const char *said = tn_libbpf_said();

    said += strncmp(said, "libbpf: ", 8) ? 0 : 8;
    snprintf(line, 256, "%.*s", (int)strcspn(said, "\n"), said);
    return line[0] ? line : told_errno(r);
}

/* The kernel says errno, and has nothing to add. */
static bool told_why(const struct tn_cli_attach *a, struct tn_ctl_error *ret_why)
{
    return !a->in_kernel && tn_ctl_why(ret_why);
}

/* libbpf did not find the function of a program among the host's types: the first that the types speak
 * against. */
static bool missing_function(const struct tn_cli_attach *a, struct tn_error *err)
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

int tn_cli_attach_load(struct tn_cli_attach *a)
{
    struct tn_ctl_error why;
    struct tn_error err = {0};
    const char *said;
    int r;

    tn_libbpf_forget();
    r = bpf_object__load(a->object);
    if (!r)
        return 0;
    if (told_why(a, &why)) {
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

static int attach_known(struct tn_cli_attach *a, struct bpf_program *program, struct bpf_link **ret_link,
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
    if (told_why(a, &why) && why.why.message[0])
        return tn_fail(err, r, why.why.reason, "program '%s' (%s): %.600s", bpf_program__name(program),
                       bpf_program__section_name(program), why.why.message);
    return tn_fail(err, r, "", "program '%s' (%s): %s", bpf_program__name(program),
                   bpf_program__section_name(program), strerror(-r));
}

/* Of functions such as memcpy, whose name means another one on each processor. */
static void warn_of_choosers(const struct tn_cli_attach *a, const struct bpf_program *program,
                             const struct tn_place *place, const char *file, u32 n)
{
    if (n && tn_place_many(place))
        tn_cli_warn(
            a->name,
            "program '%s': %u of the functions of %s that fit %s are indirect: what is hooked chooses, when "
            "the "
            "program is loaded, the code that is called then, whose calls are not seen [indirect_function]",
            bpf_program__name(program), n, file, place->func);
    else if (n)
        tn_cli_warn(a->name,
                    "program '%s': %s of %s is indirect: what is hooked chooses, when the program is loaded, "
                    "the code that "
                    "is called then, whose calls are not seen [indirect_function]",
                    bpf_program__name(program), place->func, file);
}

static int attach_one(struct tn_cli_attach *a, struct bpf_program *program, const struct tn_place *place,
                      pid_t pid, struct bpf_link **ret_link, struct tn_error *err)
{
    LIBBPF_OPTS(bpf_uprobe_opts, opts);
    struct tn_ctl_error why;
    char file[PATH_MAX];
    struct bpf_link *link;
    bool probe;
    u64 offset;
    u32 choosers = 0;
    int r;

    r = tn_place_file(place, pid, file, err);
    probe = place->form == TN_FORM_PROBE;
    if (!r && !probe)
        r = tn_place_offset(place, file, &offset, &choosers, err);
    if (r)
        return r;
    warn_of_choosers(a, program, place, file, choosers);
    opts.retprobe = place->form == TN_FORM_RETURN;
    tn_libbpf_forget();
    link = probe ? bpf_program__attach_usdt(program, pid > 0 ? pid : -1, file, place->provider, place->func,
                                            NULL)
                 : bpf_program__attach_uprobe_opts(program, pid > 0 ? pid : -1, file, offset, &opts);
    if (!link) {
        char line[256];
        const char *said;

        r = errno ? -errno : -EINVAL;
        if (!told_why(a, &why))
            why.why = (struct tn_error){0};
        said = why.why.message[0] ? why.why.message : probe ? told_probe(r, line) : told_errno(r);
        return tn_fail(err, r, why.why.reason, "program '%s' at %s:%s%s%s%s: %.600s",
                       bpf_program__name(program), file, place->provider, probe ? ":" : "", place->func,
                       opts.retprobe ? " (return)" : "", said);
    }
    *ret_link = link;
    return 0;
}

static int add_id(struct tn_cli_attach *a, u32 id, struct tn_error *err)
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

static int add_id_of(struct tn_cli_attach *a, int link, struct tn_error *err)
{
    struct bpf_link_info info = {0};
    u32 len = sizeof(info);

    if (bpf_obj_get_info_by_fd(link, &info, &len) < 0)
        return tn_fail(err, -errno, "no_info", "asking for the id of a new link: %s", strerror(errno));
    return add_id(a, info.id, err);
}

/* All functions of a file that a pattern fits, in one link. */
static int attach_many(struct tn_cli_attach *a, struct bpf_program *program, const struct tn_place *place,
                       pid_t pid, struct tn_error *err)
{
    struct tn_multi_attr multi = {.flags = place->form == TN_FORM_MANY_RETURN ? TN_UPROBE_MULTI_RETURN : 0,
                                  .pid = pid > 0 ? (u32)pid : 0};
    union bpf_attr attr = {0};
    struct tn_ctl_error why;
    _free_ u64 *offsets = NULL;
    char file[PATH_MAX];
    u32 choosers = 0;
    int fd, r = tn_place_file(place, pid, file, err);

    if (!r)
        r = tn_place_offsets(place, file, &offsets, &multi.cnt, &choosers, err);
    if (r)
        return r;
    warn_of_choosers(a, program, place, file, choosers);
    multi.path = (u64)file;
    multi.offsets = (u64)offsets;
    attr.link_create.prog_fd = (u32)bpf_program__fd(program);
    attr.link_create.attach_type = bpf_program__expected_attach_type(program);
    memcpy((u8 *)&attr + TN_MULTI_ATTR_OFF, &multi, TN_MULTI_ATTR_END - TN_MULTI_ATTR_OFF);
    fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
    if (fd < 0) {
        r = -errno;
        if (!told_why(a, &why))
            why.why = (struct tn_error){0};
        return tn_fail(err, r, why.why.reason, "program '%s' at %u functions of %s that fit %s: %.600s",
                       bpf_program__name(program), multi.cnt, file, place->func,
                       why.why.message[0] ? why.why.message : told_errno(r));
    }
    a->fds[a->nfds++] = fd;
    return a->in_kernel ? tn_kernel_row(a, program, place, pid, fd, err) : add_id_of(a, fd, err);
}

/* libbpf's link of a static probe stands for as many as there are places, and has no descriptor of its own. */
static int add_ids_of(struct tn_cli_attach *a, const struct bpf_program *program, struct tn_error *err)
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
static int attach_program(struct tn_cli_attach *a, struct bpf_program *program, pid_t pid,
                          struct tn_error *err)
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
    if (a->in_kernel)
        return tn_kernel_row(a, program, &place, pid, bpf_link__fd(link), err);
    return is_probe(program) ? add_ids_of(a, program, err) : add_id_of(a, bpf_link__fd(link), err);
}

static int add_refused(struct tn_cli_attach *a, const struct tn_error *why)
{
    struct tn_error *more = reallocarray(a->refused, a->nrefused + 1, sizeof(*more));

    if (!more)
        return -ENOMEM;
    a->refused = more;
    more[a->nrefused++] = *why;
    return 0;
}

int tn_cli_attach_all(struct tn_cli_attach *a, struct tn_error *err)
{
    u32 nprograms = 0, npids = tn_cli_attach_npids(a);
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
        for (u32 i = 0; i < (is_known(program) ? 1 : npids); i++) {
            struct tn_error why = {0};
            int one = attach_program(a, program, tn_cli_attach_pid(a, i), &why);

            if (!one)
                continue;
            if (!a->fallback || a->in_kernel || !tn_kernel_serves(why.reason) || add_refused(a, &why)) {
                *err = why;
                return one;
            }
            r = r ? r : one;
        }
    }
    if (r)
        *err = a->refused[0];
    return r;
}

/* Closing a descriptor says nothing back: by their ids links are waited for, and who sees us end may count on it. */
static void detach_all(const struct tn_cli_attach *a)
{
    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_detach request = {.id = a->ids[i], .wait_ms = TN_CTL_DETACH_MS};
        struct tn_ctl_error why;

        if (tn_ctl(TN_CTL_LINK_DETACH, &request, sizeof(request), NULL, 0) == -ETIMEDOUT && tn_ctl_why(&why))
            tn_cli_warn(a->name, "link %u: %s", a->ids[i], why.why.message);
    }
}

void tn_cli_attach_end(struct tn_cli_attach *a)
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
    bpf_object__close(a->object);
    free(a->links);
    free(a->fds);
    free(a->ids);
    free(a->rows);
    free(a->row_prog);
    a->object = NULL;
    a->links = NULL;
    a->fds = NULL;
    a->ids = NULL;
    a->rows = NULL;
    a->row_prog = NULL;
    a->nlinks = a->nfds = a->nids = a->nrows = 0;
}

/* What --host says, else what the processes or the command run. */
int tn_cli_attach_choose_host(struct tn_cli_attach *a, struct tn_error *err)
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
        return told_why(a, &why) && why.why.message[0]
                   ? tn_fail(err, r, why.why.reason, "%s", why.why.message)
                   : tn_fail(err, r, "", "choosing the host: %s", strerror(-r));
    return 0;
}

int tn_cli_attach_choose_scope(struct tn_cli_attach *a, struct tn_error *err)
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
