/* SPDX-License-Identifier: MIT */
/*
 * May an object go into the kernel? Asked before anything is done, and of every place, also those that could be hooked:
 * the kernel writes its breakpoint wherever it is told to, and changes return addresses whoever reads them.
 *
 *      what for       rows of refusals that a breakpoint of the kernel's does not have
 *      by whom        capabilities
 *      where          the planner once more; the policy; the bytes that are there
 */
#include "cli/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/probes.h"
#include "inject/proc.h"
#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rewrite/unwind.h"

/* What a breakpoint that the kernel handles does without: room for a jump, ways out that can be listed, bytes of a
   neighbour; and a thread of the process that makes system calls for us. */
#define OF_PLACES(S)                                                                                         \
    S(FUNCTION_UNKNOWN)                                                                                      \
    S(UNDECODABLE)                                                                                           \
    S(TOO_SHORT)                                                                                             \
    S(NO_ROOM_PUNNED)                                                                                        \
    S(CALL_IN_WINDOW)                                                                                        \
    S(JUMP_INTO_WINDOW)                                                                                      \
    S(JUMP_UNPROVABLE)                                                                                       \
    S(WINDOW_CROSSES)                                                                                        \
    S(NOT_RELOCATABLE)                                                                                       \
    S(DIRECTION_FLAG)                                                                                        \
    S(OUT_OF_REACH)                                                                                          \
    S(EXIT_BY_TAIL_CALL)                                                                                     \
    S(EXIT_TAIL_UNKNOWN)                                                                                     \
    S(EXIT_TAIL_OUTSIDE)                                                                                     \
    S(EXIT_TAIL_STACK)                                                                                       \
    S(EXIT_TAIL_MANY)                                                                                        \
    S(EXIT_UNPROVABLE)                                                                                       \
    S(EXIT_SHARED)                                                                                           \
    S(GO_TABLE)                                                                                              \
    S(GO_BREAKPOINT)                                                                                         \
    S(GO_VECTOR)                                                                                             \
    S(GO_FAULT)
#define OF_PROCESSES(S)                                                                                      \
    S("already_traced")                                                                                      \
    S("memory_limit")                                                                                        \
    S("no_descriptors")                                                                                      \
    S("no_room")                                                                                             \
    S("no_room_near")                                                                                        \
    S("no_syscall_instruction")                                                                              \
    S("no_thread_to_borrow")                                                                                 \
    S("remote_map")                                                                                          \
    S("seccomp")                                                                                             \
    S("signals_not_ours")                                                                                    \
    S("sigtrap_blocked")                                                                                     \
    S("thread_in_place")                                                                                     \
    S("thread_will_not_stop")                                                                                \
    S("threads_too_fast")                                                                                    \
    S("too_many_exits")                                                                                      \
    S("too_many_maps")                                                                                       \
    S("too_many_marks")                                                                                      \
    S("too_many_programs")

bool tn_kernel_serves(const char *reason)
{
#define S(id) TN_REFUSE_##id,
    static const enum tn_refusal_id places[] = {OF_PLACES(S)};
#undef S
#define S(name) name,
    static const char *const processes[] = {OF_PROCESSES(S)};
#undef S

    for (u32 i = 0; i < TN_ARRAY_SIZE(places); i++)
        if (!strcmp(reason, tn_refusal_name(places[i])))
            return true;
    for (u32 i = 0; i < TN_ARRAY_SIZE(processes); i++)
        if (!strcmp(reason, processes[i]))
            return true;
    return false;
}

/* ---------- may it go? ---------- */

bool tn_kernel_is_return(const struct tn_place *place)
{
    return place->form == TN_FORM_RETURN || place->form == TN_FORM_MANY_RETURN ||
           place->form == TN_FORM_SESSION;
}

int tn_kernel_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                      struct tn_error *err)
{
    u64 *offset;
    int r;

    if (tn_place_many(place))
        return tn_place_offsets(place, file, ret_offsets, ret_n, NULL, err);
    if (place->form == TN_FORM_PROBE)
        return tn_place_probe_offsets(place, file, ret_offsets, ret_n, err);
    offset = malloc(sizeof(*offset));
    if (!offset)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for a place");
    r = tn_place_offset(place, file, offset, NULL, err);
    if (r) {
        free(offset);
        return r;
    }
    *ret_offsets = offset;
    *ret_n = 1;
    return 0;
}

/* The kernel writes its breakpoint wherever it is told to: what the planner knows of the place is asked once more, whether
   or not it came to that before. */
static int judge_offset(const struct tn_module *m, const struct tn_place *place, u64 offset,
                        struct tn_error *err)
{
    const bool begins = place->form != TN_FORM_PROBE && !place->offset; /* a symbol is an instruction's */
    const enum tn_place_kind kind = begins ? TN_PLACE_ENTRY : TN_PLACE_OFFSET;
    _clean_(tn_plan_clear) struct tn_plan plan = {0};
    _clean_(tn_plan_clear) struct tn_plan proof = {0};
    _clean_(tn_plan_clear) struct tn_plan exits = {0};
    struct tn_error no_plan = {0}, no_proof = {0}, no_exit = {0};
    const struct tn_code_view *code;
    u64 addr;

    if (tn_module_addr_of_offset(m, offset, &addr) || !(code = tn_module_code(m, addr)))
        return tn_refuse(err, -EINVAL, TN_REFUSE_NOT_CODE, offset, NULL);
    if (tn_plan(code, kind, addr, &plan, &no_plan)) {
        const struct tn_error *why = &no_plan;
        bool serves = tn_kernel_serves(no_plan.reason);

        if (serves && tn_plan_break(code, kind, addr, &proof, &no_proof)) {
            serves = begins && strcmp(no_proof.reason, tn_refusal_name(TN_REFUSE_ENTRY_IS_LOOP_HEAD)) != 0;
            why = &no_proof;
        }
        if (!serves) {
            *err = *why;
            return -ENOTSUP;
        }
    }
    for (u32 k = 0; k < plan.npatches; k++)
        if (plan.patches[k].rounds)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, addr, NULL);
    if (tn_kernel_is_return(place) && tn_plan(code, TN_PLACE_EXIT, addr, &exits, &no_exit) &&
        !tn_kernel_serves(no_exit.reason)) {
        *err = no_exit;
        return -ENOTSUP;
    }
    return 0;
}

/* glibc's own unwind rules name a personality for cancellation, by which nothing is caught. */
static bool is_libc(const char *path)
{
    const char *name = strrchr(path, '/');

    name = name ? name + 1 : path;
    return !strncmp(name, "libc.so", 7) || !strncmp(name, "libc-2.", 7) || !strncmp(name, "ld-", 3) ||
           !strncmp(name, "libpthread", 10);
}

/* No file of the process may have code that catches what is thrown, or be Go's, or not be looked at. */
static int judge_files(pid_t pid, struct tn_error *err)
{
    _clean_(tn_maps_clear) struct tn_maps maps = {0};
    int r = tn_maps_read(pid, &maps);

    if (r)
        return tn_fail(err, r, "no_such_process", "the memory of process %d cannot be listed: %s", pid,
                       strerror(-r));
    for (u32 i = 0; i < maps.n; i++) {
        const struct tn_vma *v = &maps.vma[i];
        const char *name = tn_vma_name(&maps, v);
        _clean_(tn_module_clear) struct tn_module *m = NULL;
        const struct tn_code_view *code;
        char link[64];

        if (!(v->prot & PROT_EXEC) || !v->ino || is_libc(name))
            continue;
        if (!strncmp(name, "/memfd:tenon-", 13)) /* ours, of this or another link */
            continue;
        snprintf(link, sizeof(link), "/proc/%d/map_files/%llx-%llx", pid, (unsigned long long)v->start,
                 (unsigned long long)v->end);
        if (tn_place_module(link, &m, NULL))
            return tn_fail(err, -EPERM, "kernel_return",
                           "process %d has code mapped from %.200s, of which it cannot be told whether it "
                           "catches exceptions; "
                           "a return that the kernel watches would end the process with the first one",
                           pid, name);
        if (tn_module_is_go(m))
            return tn_fail(err, -ENOTSUP, "kernel_return",
                           "%.200s, which process %d runs, is of Go, whose runtime reads return addresses "
                           "and ends where the "
                           "kernel has changed one; hook entries",
                           name, pid);
        code = tn_module_ncode(m) ? tn_module_code_at(m, 0) : NULL;
        if (code && tn_unwind_catches(&code->frames))
            return tn_fail(err, -ENOTSUP, "kernel_return",
                           "%.200s, which process %d runs, has code that catches exceptions or cleans up "
                           "after them: none finds "
                           "its way past a return address that the kernel has changed, and the process would "
                           "end; hook entries",
                           name, pid);
    }
    return 0;
}

/* To watch a return the kernel leads it elsewhere, by the address on the host's stack. */
static int judge_return(pid_t pid, struct tn_error *err)
{
    struct utsname name;
    unsigned major = 0, minor = 0;

    if (uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 && major == 6 &&
        minor >= 11 && minor <= 13)
        return tn_fail(err, -ENOTSUP, "kernel_return",
                       "Linux %s watches returns by a system call in the process, which a seccomp filter "
                       "would kill it for",
                       name.release);
    if (!pid)
        return tn_fail(err, -EINVAL, "kernel_return",
                       "returns are watched by the kernel in named processes only (-p): those that come "
                       "later might end by it");
    return judge_files(pid, err);
}

static int ask_file(const char *prog, const char *file, bool done, struct tn_error *err)
{
    struct tn_ctl_kernel of = {.path = (u64)file, .done = done};
    struct tn_ctl_error why;
    int r;

    snprintf(of.prog, sizeof(of.prog), "%s", prog);
    r = tn_ctl(TN_CTL_KERNEL, &of, sizeof(of), NULL, 0);
    if (r >= 0)
        return 0;
    if (tn_ctl_why(&why) && why.why.message[0]) {
        *err = why.why;
        return r;
    }
    return tn_fail(err, r, "no_broker", "the broker, which knows the policy, does not answer: %s",
                   strerror(-r));
}

int tn_kernel_ask(const char *prog, pid_t pid, const char *file, bool done, struct tn_error *err)
{
    char link[32], exe[PATH_MAX];
    int r = ask_file(prog, file, done, err);
    ssize_t n;

    if (r || pid <= 0)
        return r;
    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    n = readlink(link, exe, sizeof(exe) - 1);
    if (n <= 0)
        return 0; /* it has ended */
    exe[n] = 0;
    return strcmp(exe, file) ? ask_file(prog, exe, false, err) : 0;
}

static int judge_capabilities(struct tn_error *err)
{
    /* Numbers of linux/capability.h; CAP_SYS_ADMIN stands for either. */
    static const struct {
        u32 bit;
        const char *name;
    } needed[] = {{39, "CAP_BPF"}, {38, "CAP_PERFMON"}};
    const u64 mask = tn_effective_capabilities();
    char list[64] = "";

    for (u32 i = 0; i < TN_ARRAY_SIZE(needed) && !(mask >> 21 & 1); i++)
        if (!(mask >> needed[i].bit & 1))
            snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", list[0] ? " and " : "",
                     needed[i].name);
    return list[0] ? tn_fail(err, -EPERM, "kernel_capabilities",
                             "the kernel's uprobes need %s, which user %u does not have here", list,
                             (unsigned)geteuid())
                   : 0;
}

typedef int (*each_fn)(const struct tn_cli_attach *a, const struct bpf_program *program,
                       const struct tn_place *place, pid_t pid, const char *file, struct tn_error *err);

/* Every program in every process; ends with the first that fails, whose program `err` names. */
static int for_each_place(const struct tn_cli_attach *a, each_fn each, struct tn_error *err)
{
    const struct bpf_program *program = NULL;

    while ((program = bpf_object__next_program(a->object, (struct bpf_program *)program))) {
        const char *section = bpf_program__section_name(program), *name = bpf_program__name(program);
        struct tn_error why = {0};
        struct tn_place place;
        char file[PATH_MAX];
        int r;

        if (!bpf_program__autoload(program))
            continue;
        r = tn_place_parse(section, name, &place, &why);
        if (r || place.form == TN_FORM_CALL)
            return tn_fail(err, -ENOTSUP, "kernel_section",
                           "program '%s' (%s): the kernel serves uprobe, uretprobe and usdt, and has no such "
                           "place in a process",
                           name, section);
        for (u32 i = 0; i < tn_cli_attach_npids(a) && !r; i++) {
            pid_t pid = tn_cli_attach_pid(a, i);

            r = tn_place_file(&place, pid, file, &why);
            r = r ? r : each(a, program, &place, pid, file, &why);
        }
        if (r)
            return tn_fail(err, r, why.reason, "program '%s' (%s): %.700s", name, section, why.message);
    }
    return 0;
}

static int judge(const struct tn_cli_attach *a, const struct bpf_program *program,
                 const struct tn_place *place, pid_t pid, const char *file, struct tn_error *err)
{
    _clean_(tn_module_clear) struct tn_module *m = NULL;
    _free_ u64 *offsets = NULL;
    u32 n = 0;
    int r = tn_kernel_ask(bpf_program__name(program), pid, file, false, err);

    if (!r)
        r = tn_place_module(file, &m, err);
    if (!r)
        r = tn_kernel_offsets(place, file, &offsets, &n, err);
    for (u32 k = 0; k < n && !r; k++)
        r = judge_offset(m, place, offsets[k], err);
    return r || !tn_kernel_is_return(place) ? r : judge_return(pid, err);
}

/* ---------- is nobody else there? ---------- */

/* Any patch that covers a byte has changed one at most so far before it. */
#define BEFORE 32u
#define BEHIND 16u

/* In one process: are the bytes around the place those of the file? The kernel would put its own over another's jump. */
static int check_bytes(pid_t pid, const char *file, const struct stat *st, int fd, u64 offset,
                       bool *ret_mapped, struct tn_error *err)
{
    _clean_(tn_maps_clear) struct tn_maps maps = {0};
    char path[32];
    _close_ int mem = -1;
    int r = tn_maps_read(pid, &maps);

    if (r) /* where even CAP_SYS_PTRACE (19) opens nothing, nobody has patched anything */
        return r == -ENOENT || r == -ESRCH || (tn_effective_capabilities() >> 19 & 1)
                   ? 0
                   : tn_fail(err, r, "not_permitted",
                             "the kernel's uprobe would be in process %d, too, which cannot be looked at: %s",
                             pid, strerror(-r));
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    mem = open(path, O_RDONLY | O_CLOEXEC);
    for (u32 i = 0; i < maps.n; i++) {
        const struct tn_vma *v = &maps.vma[i];
        u64 from, to, size = v->end - v->start;
        u8 there[BEFORE + BEHIND], was[BEFORE + BEHIND];

        if (!(v->prot & PROT_EXEC) || v->ino != st->st_ino || v->dev != st->st_dev || offset < v->offset ||
            offset - v->offset >= size)
            continue;
        from = offset - TN_MIN(offset - v->offset, (u64)BEFORE);
        to = TN_MIN(TN_MIN(offset + BEHIND, v->offset + size), (u64)st->st_size);
        if (to <= from || pread(fd, was, to - from, (off_t)from) != (ssize_t)(to - from) ||
            pread(mem, there, to - from, (off_t)(v->start + (from - v->offset))) != (ssize_t)(to - from))
            return tn_fail(err, -EIO, "foreign_bytes",
                           "the code around offset %#llx of %.200s cannot be read in process %d",
                           (unsigned long long)offset, file, pid);
        if (memcmp(there, was, to - from) != 0)
            return tn_fail(err, -EBUSY, "foreign_bytes",
                           "the bytes around offset %#llx of %.200s are not the file's in process %d: "
                           "another extension, a "
                           "debugger or a uprobe is there, which the kernel's would break; remove it first",
                           (unsigned long long)offset, file, pid);
        *ret_mapped = true;
    }
    return 0;
}

static int check_process(pid_t pid, const char *file, const struct stat *st, int fd, const u64 *offsets,
                         u32 n, bool must, struct tn_error *err)
{
    bool mapped = false;
    int r = 0;

    for (u32 k = 0; k < n && !r; k++)
        r = check_bytes(pid, file, st, fd, offsets[k], &mapped, err);
    return r || mapped || !must
               ? r
               : tn_fail(err, -ENOENT, "not_mapped", "%.200s is not mapped in process %d", file, pid);
}

static int check_place(const struct tn_cli_attach *a, const struct bpf_program *program,
                       const struct tn_place *place, pid_t pid, const char *file, struct tn_error *err)
{
    _close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    _free_ u64 *offsets = NULL;
    struct dirent *entry;
    struct stat st;
    DIR *proc;
    u32 n = 0;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", file, strerror(errno));
    r = tn_kernel_offsets(place, file, &offsets, &n, err);
    if (r || pid)
        return r ? r : check_process(pid, file, &st, fd, offsets, n, true, err);
    proc = opendir("/proc");
    if (!proc)
        return tn_fail(err, -errno, "no_process", "/proc: %s", strerror(errno));
    while (!r && (entry = readdir(proc))) {
        u64 one;

        if (tn_parse_u64(entry->d_name, INT32_MAX, &one) == 0)
            r = check_process((pid_t)one, file, &st, fd, offsets, n, false, err);
    }
    closedir(proc);
    return r;
}

int tn_kernel_judge(const struct tn_cli_attach *a, struct tn_error *err)
{
    int r = judge_capabilities(err);

    return r ? r : for_each_place(a, judge, err);
}

int tn_kernel_look_around(const struct tn_cli_attach *a, struct tn_error *err)
{
    return for_each_place(a, check_place, err);
}
