/* SPDX-License-Identifier: MIT */
/*
 * PROG_LOAD, read from top to bottom:
 *
 *   gather    everything the attributes point at, out of the caller's memory: instructions, licence, records
 *   resolve   descriptors in two-slot loads become indices into the program's own list of maps
 *   judge     a verdict, a log (judge.c)
 *   compile   text into a memfd, which is sealed before anybody else sees it
 *   add       the object, a descriptor
 *
 * What program types are there is a row each, with what can be done with them; any other is refused by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <bpf/libbpf.h>

#include "broker/broker_int.h"
#include "broker/judge.h"
#include "broker/multi.h"
#include "broker/name.h"

#define INSNS_MAX    1000000u /* Linux's limit for the privileged */
#define RECORDS_MAX  1000000u
#define REC_SIZE_MAX 252u

/* P(type, which expected_attach_type): what loads. KPROBE and TRACING attach; the others are test-run, or
   loaded by tools that look for features. Where Linux looks at no attach type, none is looked at here, but that what
   is meant for the kernel's functions alone is refused. */
#define PROG_TYPES(P)                                                                                        \
    P(SOCKET_FILTER, ANY)                                                                                    \
    P(KPROBE, PROBE)                                                                                         \
    P(SCHED_CLS, ANY)                                                                                        \
    P(SCHED_ACT, ANY)                                                                                        \
    P(TRACEPOINT, NONE)                                                                                      \
    P(XDP, ANY)                                                                                              \
    P(PERF_EVENT, NONE)                                                                                      \
    P(RAW_TRACEPOINT, NONE)                                                                                  \
    P(SYSCALL, NONE)                                                                                         \
    P(TRACING, FUNC)
enum { ATTACH_NONE, ATTACH_ANY, ATTACH_FUNC, ATTACH_PROBE };

#define FLAGS_KNOWN                                                                                          \
    (BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_RND_HI32 | BPF_F_TEST_STATE_FREQ)

int tn_prog_type_served(u32 type, u32 attach_type, struct tn_error *err)
{
    const char *name = libbpf_bpf_prog_type_str(type);
    int rule = -1;

    switch (type) {
#define P(name, attach)                                                                                      \
    case BPF_PROG_TYPE_##name:                                                                               \
        rule = ATTACH_##attach;                                                                              \
        break;
        PROG_TYPES(P)
#undef P
    }
    if (rule < 0)
        return tn_fail(err, -EINVAL, "prog_type_missing", "programs of type %s (%u) are not served",
                       name ? name : "unknown", type);
    if (rule == ATTACH_FUNC && attach_type != BPF_TRACE_FENTRY && attach_type != BPF_TRACE_FEXIT &&
        attach_type != BPF_MODIFY_RETURN && attach_type != BPF_TRACE_RAW_TP)
        return tn_fail(
            err, -EINVAL, "attach_type_missing",
            "attach type %s (%u) of %s programs is not served: fentry, fexit, fmod_ret and tp_btf are",
            libbpf_bpf_attach_type_str(attach_type), attach_type, name);
    if (rule == ATTACH_PROBE && (!attach_type || attach_type == BPF_PERF_EVENT || tn_is_multi(attach_type)))
        return 0;
    if ((rule == ATTACH_NONE || rule == ATTACH_PROBE) && attach_type)
        return tn_fail(
            err, -EINVAL, "attach_type_missing", "attach type %s (%u) of %s programs is not served",
            libbpf_bpf_attach_type_str(attach_type) ? libbpf_bpf_attach_type_str(attach_type) : "unknown",
            attach_type, name);
    return 0;
}

static void prog_release(struct tn_object *object)
{
    struct tn_prog *prog = (struct tn_prog *)object;

    for (u32 i = 0; i < prog->nmaps; i++)
        TN_UNREF(prog->maps[i]);
    TN_UNREF(prog->btf);
    TN_UNREF(prog->host);
    free(prog->refs);
    tn_granted_free(prog->granted);
    tn_verdict_clear(&prog->verdict);
    tn_code_clear(&prog->code);
    if (prog->text >= 0)
        close(prog->text);
    free(prog->maps);
    free(prog->insns);
    free(prog->func_info);
    free(prog->line_info);
    free(prog);
}

/* ------------------------------------------------------------------------------------------------- gather */

static bool gpl_compatible(const char *license)
{
    static const char *const names[] = {"GPL",          "GPL v2",       "GPL and additional rights",
                                        "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};

    for (u32 i = 0; i < TN_ARRAY_SIZE(names); i++)
        if (!strcmp(license, names[i]))
            return true;
    return false;
}

static int check_attr(struct tn_caller *caller, const union bpf_attr *attr, const struct tn_log_attr *log)
{
    const bool judged = tn_is_judged(caller, attr->prog_name);
    int r = tn_log_attr_check(log);

    if (r)
        return tn_fail(&caller->why, r, "log_attributes",
                       "log_level, log_size and log_buf do not fit together");
    r = judged ? 0 : tn_prog_type_served(attr->prog_type, attr->expected_attach_type, &caller->why);
    if (r) {
        tn_log_line(caller, log, "%s", caller->why.message);
        return r;
    }
    if (attr->prog_flags & ~FLAGS_KNOWN && !judged &&
        !(attr->prog_type == BPF_PROG_TYPE_SYSCALL && !(attr->prog_flags & ~(FLAGS_KNOWN | BPF_F_SLEEPABLE))))
        return tn_fail(&caller->why, -EINVAL, "prog_flags", "flags 0x%x are not served",
                       attr->prog_flags & ~FLAGS_KNOWN);
    if (attr->prog_ifindex ||
        (attr->prog_type == BPF_PROG_TYPE_TRACING ? !attr->attach_btf_id
                                                  : attr->attach_prog_fd || (attr->attach_btf_id && !judged)))
        return tn_fail(&caller->why, -EINVAL, "attr_field",
                       "prog_ifindex, attach_btf_id and attach_prog_fd do not fit a program of type %s",
                       libbpf_bpf_prog_type_str(attr->prog_type));
    if (!attr->insn_cnt || attr->insn_cnt > INSNS_MAX)
        return tn_fail(&caller->why, -E2BIG, "prog_size", "a program has 1 to %u instructions, not %u",
                       INSNS_MAX, attr->insn_cnt);
    if (attr->core_relo_cnt)
        return tn_fail(&caller->why, -EINVAL, "core_relo_missing", "relocation by the kernel is not served");
    return tn_name_check(attr->prog_name);
}

/* func_info and line_info: `cnt` records of `size` bytes, of which at least `need` are known. */
static int gather_records(struct tn_caller *caller, u64 addr, u32 cnt, u32 size, u32 need, void **ret_records)
{
    _free_ void *records = NULL;
    int r;

    if (!cnt)
        return 0;
    if (size < need || size > REC_SIZE_MAX || size % 4 || cnt > RECORDS_MAX)
        return -EINVAL;
    records = malloc((size_t)cnt * size);
    if (!records)
        return -ENOMEM;
    r = caller->ops->read(caller, addr, records, (u64)cnt * size);
    if (r)
        return r;
    *ret_records = TN_TAKE_PTR(records);
    return 0;
}

static int gather(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog)
{
    char license[128];
    int r = caller->ops->read_str(caller, attr->license, license, sizeof(license));

    if (r == -E2BIG) /* Linux cuts it off; no name of ours is that long */
        license[0] = '\0';
    else if (r)
        return r;
    prog->gpl = gpl_compatible(license);
    prog->type = attr->prog_type;
    prog->attach_type = attr->expected_attach_type;
    memcpy(prog->name, attr->prog_name, sizeof(prog->name));

    prog->ninsns = attr->insn_cnt;
    prog->insns = calloc(prog->ninsns, sizeof(*prog->insns));
    if (!prog->insns)
        return -ENOMEM;
    r = caller->ops->read(caller, attr->insns, prog->insns, (u64)prog->ninsns * sizeof(*prog->insns));
    if (r || !(attr->func_info_cnt || attr->line_info_cnt || attr->prog_btf_fd))
        return r;

    r = tn_caller_object(caller, (s32)attr->prog_btf_fd, TN_KIND_BTF, NULL, &prog->btf);
    if (!r)
        r = gather_records(caller, attr->func_info, attr->func_info_cnt, attr->func_info_rec_size,
                           sizeof(struct bpf_func_info), &prog->func_info);
    if (!r)
        r = gather_records(caller, attr->line_info, attr->line_info_cnt, attr->line_info_rec_size,
                           sizeof(struct bpf_line_info), &prog->line_info);
    if (r)
        return tn_fail(&caller->why, r, "prog_btf",
                       "the program's BTF, func_info or line_info cannot be read");
    prog->func_info_cnt = attr->func_info_cnt;
    prog->func_info_size = attr->func_info_rec_size;
    prog->line_info_cnt = attr->line_info_cnt;
    prog->line_info_size = attr->line_info_rec_size;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ resolve */

/* Index of the map behind the caller's descriptor in prog->maps. The reference goes there. */
static int use_map(struct tn_caller *caller, struct tn_prog *prog, s32 number, u32 *ret_index)
{
    _unref_ struct tn_bmap *map = NULL;
    int r = tn_caller_object(caller, number, TN_KIND_MAP, NULL, &map);

    if (r == -EINVAL && prog->object.kind == TN_KIND_JUDGED &&
        !tn_caller_object(caller, number, TN_KIND_SHAPE, NULL, &map)) {
        caller->why = (struct tn_error){0};
        r = 0;
    }
    if (r)
        return r;
    for (u32 i = 0; i < prog->nmaps; i++)
        if (prog->maps[i] == map) {
            *ret_index = i;
            return 0;
        }
    if (prog->nmaps == TN_PROG_MAPS_MAX)
        return tn_fail(&caller->why, -E2BIG, "too_many_maps", "a program uses at most %u maps",
                       TN_PROG_MAPS_MAX);
    prog->maps[prog->nmaps] = TN_TAKE_PTR(map);
    *ret_index = prog->nmaps++;
    return 0;
}

/* Descriptors to indices. A descriptor that is no map is told in the log, as Linux does. */
static int resolve(struct tn_caller *caller, const union bpf_attr *attr, const struct tn_log_attr *log,
                   struct tn_prog *prog)
{
    struct {
        s32 number;
        u32 index;
    } seen[TN_PROG_MAPS_MAX];
    u32 nseen = 0;

    prog->maps = calloc(TN_PROG_MAPS_MAX, sizeof(*prog->maps));
    if (!prog->maps)
        return -ENOMEM;
    for (u32 i = 0; i + 1 < prog->ninsns; i++) {
        struct bpf_insn *insn = &prog->insns[i];
        bool by_index = insn->src_reg == BPF_PSEUDO_MAP_IDX || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        bool value = insn->src_reg == BPF_PSEUDO_MAP_VALUE || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        s32 number = insn->imm;
        u32 index = TN_PROG_MAPS_MAX;
        int r;

        if (insn->code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        i++; /* the second slot is no instruction of its own */
        if (insn->src_reg != BPF_PSEUDO_MAP_FD && !by_index && !value)
            continue;
        if (by_index) {
            if (!attr->fd_array || insn->imm < 0)
                return tn_fail(&caller->why, -EPROTO, "no_fd_array",
                               "instruction %u names a map by its place in fd_array, and there is none",
                               i - 1);
            r = caller->ops->read(caller, attr->fd_array + (u64)insn->imm * sizeof(s32), &number,
                                  sizeof(number));
            if (r)
                return r;
        }
        for (u32 s = 0; s < nseen; s++)
            if (seen[s].number == number)
                index = seen[s].index;
        if (index == TN_PROG_MAPS_MAX) {
            r = use_map(caller, prog, number, &index);
            if (r == -EBADF || r == -EINVAL) {
                tn_log_line(caller, log, "fd %d is not pointing to valid bpf_map", number);
                return tn_fail(&caller->why, r, "not_a_map",
                               "instruction %u: descriptor %d is no map of ours", i - 1, number);
            }
            if (r)
                return r;
            if (nseen < TN_PROG_MAPS_MAX) {
                seen[nseen].number = number;
                seen[nseen++].index = index;
            }
        }
        insn->src_reg = value ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_FD;
        insn->imm = (s32)index;
    }
    return 0;
}

/* The first eight bytes of SHA-1 over the instructions, with what differs from load to load left out. */
static int make_tag(struct tn_prog *prog)
{
    size_t size = (size_t)prog->ninsns * sizeof(struct bpf_insn);
    _free_ struct bpf_insn *insns = malloc(size);
    u8 digest[20];

    if (!insns)
        return -ENOMEM;
    memcpy(insns, prog->insns, size);
    for (u32 i = 0; i + 1 < prog->ninsns; i++)
        if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
            if (insns[i].src_reg)
                insns[i].imm = insns[i + 1].imm = 0;
            i++;
        }
    tn_sha1(insns, size, digest);
    memcpy(prog->tag, digest, sizeof(prog->tag));
    return 0;
}

/* ---------------------------------------------------------------------------------------------- compile */

static int compile(struct tn_caller *caller, struct tn_prog *prog)
{
    _free_ struct tn_map_geo *geos = calloc(TN_PROG_MAPS_MAX, sizeof(*geos));
    _close_ int fd = -1;
    struct tn_program program = {
        .insns = prog->insns,
        .ninsns = prog->ninsns,
        .maps = geos,
        .nmaps = prog->nmaps,
        .aux = prog->verdict.aux,
        .subprogs = prog->verdict.subprogs,
        .nsubprogs = prog->verdict.nsubprogs,
        .facts = &prog->verdict.facts,
        .refs = prog->refs,
        .nrefs = prog->nrefs,
    };
    u64 start = tn_now_ns();
    int r;

    if (!geos)
        return -ENOMEM;
    for (u32 i = 0; i < prog->nmaps; i++)
        geos[i] = prog->maps[i]->view.geo;
    r = tn_jit(&program, &prog->code, &caller->why);
    if (r)
        return r;
    prog->jit_ns = tn_now_ns() - start;

    r = tn_memfd("tenon-text", 0, &fd);
    if (r)
        return tn_fail(&caller->why, r, "text_memory", "no shared memory for the program's text: %s",
                       strerror(-r));
    for (u32 at = 0; at < prog->code.text_len;) {
        ssize_t n = pwrite(fd, prog->code.text + at, prog->code.text_len - at, at);

        if (n <= 0)
            return tn_fail(&caller->why, n ? -errno : -EIO, "text_memory",
                           "the program's text cannot be stored");
        at += (u32)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
        return -errno;
    /* Read-only: a shared mapping of a sealed file must not even be able to become writable. */
    return tn_memfd_reopen(fd, O_RDONLY, &prog->text);
}

static void find_full_name(struct tn_prog *prog)
{
    struct bpf_func_info info;
    const char *name = NULL;

    if (prog->btf && prog->func_info_cnt) {
        memcpy(&info, prog->func_info, sizeof(info));
        name = info.insn_off == 0 ? tn_btf_func_name(prog->btf, info.type_id) : NULL;
    }
    snprintf(prog->full_name, sizeof(prog->full_name), "%s", name ? name : prog->name);
}

int tn_cmd_prog_load(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    const u32 true_size_off = offsetof(union bpf_attr, core_relo_rec_size) + sizeof(u32);
    const struct tn_log_attr log = {
        .level = attr->log_level,
        .size = attr->log_size,
        .buf = attr->log_buf,
        .true_size_at = attr_size >= true_size_off + sizeof(u32) ? attr_addr + true_size_off : 0,
    };
    const bool judged = tn_is_judged(caller, attr->prog_name);
    _unref_ struct tn_prog *prog = NULL;
    int r = check_attr(caller, attr, &log);

    if (r)
        return r;
    prog = calloc(1, sizeof(*prog));
    if (!prog)
        return -ENOMEM;
    prog->text = -1;
    prog->object.release = prog_release;
    /* Not in its table yet: nobody else may find a program before it is whole. */
    tn_object_unlisted(caller->broker, &prog->object, judged ? TN_KIND_JUDGED : TN_KIND_PROG);

    r = gather(caller, attr, prog);
    if (!r)
        r = resolve(caller, attr, &log, prog);
    if (!r)
        r = tn_host_resolve(caller, attr, prog);
    if (!r)
        r = make_tag(prog);
    if (!r)
        r = tn_judge(caller, attr, &log, prog);
    if (!r && !judged)
        r = compile(caller, prog);
    prog->nused = prog->nmaps;
    find_full_name(prog);
    if (!r && !judged)
        r = tn_policy_end(caller, prog);
    if (!judged && (prog->type == BPF_PROG_TYPE_KPROBE || prog->type == BPF_PROG_TYPE_TRACING))
        tn_policy_journal(caller->broker, caller->uid, caller->pid, "load", prog->full_name,
                          prog->granted ? prog->granted->klass : NULL, prog->host ? prog->host->path : NULL,
                          r ? &caller->why : NULL);
    if (r)
        return r;
    prog->load_time = tn_now_ns();
    if (judged)
        return tn_caller_give(caller, &prog->object, 0);
    caller->broker->nobjects--;
    r = tn_object_add(caller->broker, &prog->object, TN_KIND_PROG, caller->uid);
    if (r) {
        caller->broker->nobjects++;
        return r;
    }
    return tn_caller_give(caller, &prog->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/* --------------------------------------------------------------------------------------------- the others */

int tn_cmd_prog_next_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return tn_next_id(caller, TN_KIND_PROG, attr, attr_addr);
}

int tn_cmd_prog_fd_by_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct tn_object *object = tn_object_by_id(caller->broker, TN_KIND_PROG, attr->prog_id);

    return object ? tn_caller_give(caller, object, TN_VIEW_READ | TN_VIEW_WRITE) : -ENOENT;
}

/* A map that the program does not use but that its tool wants kept with it (libbpf: .rodata). */
int tn_cmd_prog_bind_map(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_prog *prog = NULL;
    _unref_ struct tn_bmap *map = NULL;
    struct tn_bmap **maps;
    int r;

    if (attr->prog_bind_map.flags)
        return -EINVAL;
    r = tn_caller_object(caller, (s32)attr->prog_bind_map.prog_fd, TN_KIND_PROG, NULL, &prog);
    if (r == -EINVAL && caller->options.judged[0])
        r = tn_caller_object(caller, (s32)attr->prog_bind_map.prog_fd, TN_KIND_JUDGED, NULL, &prog);
    if (!r)
        r = tn_caller_object(caller, (s32)attr->prog_bind_map.map_fd, TN_KIND_MAP, NULL, &map);
    if (r)
        return r;
    for (u32 i = 0; i < prog->nmaps; i++)
        if (prog->maps[i] == map)
            return 0;
    maps = reallocarray(prog->maps, prog->nmaps + 1, sizeof(*maps));
    if (!maps)
        return -ENOMEM;
    prog->maps = maps;
    prog->maps[prog->nmaps++] = TN_TAKE_PTR(map);
    return 0;
}
