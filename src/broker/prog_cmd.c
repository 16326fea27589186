/* SPDX-License-Identifier: MIT */
/*
 * PROG_LOAD, read from top to bottom:
 *
 *   gather    everything the attributes point at, out of the caller's memory: instructions, licence, BTF
 * records resolve   descriptors in two-slot loads become indices into the program's own list of maps verify
 * a verdict, a log compile   text into a memfd, which is sealed before anybody else sees it add       the
 * object, a descriptor
 *
 * What program types are there is a row each, with what can be done with them; any other is refused by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <bpf/libbpf.h>

#include "broker/broker_int.h"
#include "broker/log.h"
#include "broker/name.h"

#define INSNS_MAX    1000000u /* Linux's limit for the privileged */
#define MAPS_MAX     64u
#define RECORDS_MAX  1000000u
#define REC_SIZE_MAX 252u

/* P(type): a socket filter and a tracepoint program load and can be test-run or probed with; only KPROBE
 * attaches. */
#define PROG_TYPES(P)                                                                                        \
    P(SOCKET_FILTER)                                                                                         \
    P(KPROBE)                                                                                                \
    P(TRACEPOINT)                                                                                            \
    P(RAW_TRACEPOINT)

#define FLAGS_KNOWN                                                                                          \
    (BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_RND_HI32 | BPF_F_TEST_STATE_FREQ)

static bool type_served(u32 type)
{
    switch (type) {
#define P(name) case BPF_PROG_TYPE_##name:
        PROG_TYPES(P)
#undef P
        return true;
    }
    return false;
}

static void prog_release(struct tn_object *object)
{
    struct tn_prog *prog = (struct tn_prog *)object;

    for (u32 i = 0; i < prog->nmaps; i++)
        TN_UNREF(prog->maps[i]);
    TN_UNREF(prog->btf);
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

/* ---------------------------------------------------------------------------------------------------------
 * gather */

static bool gpl_compatible(const char *license)
{
    static const char *const names[] = {"GPL",          "GPL v2",       "GPL and additional rights",
                                        "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};

    for (u32 i = 0; i < TN_ARRAY_SIZE(names); i++)
        if (!strcmp(license, names[i]))
            return true;
    return false;
}

static int check_attr(struct tn_caller *caller, const union bpf_attr *attr)
{
    const char *name = libbpf_bpf_prog_type_str(attr->prog_type);
    int r = tn_log_attr_check(attr->log_level, attr->log_size, attr->log_buf);

    if (r)
        return tn_fail(&caller->why, r, "log_attributes",
                       "log_level, log_size and log_buf do not fit together");
    if (!type_served(attr->prog_type)) {
        char line[128];

        snprintf(line, sizeof(line), "programs of type %s (%u) are not served\n", name ? name : "unknown",
                 attr->prog_type);
        (void)tn_log_write(caller, attr->log_level, attr->log_buf, attr->log_size, line, strlen(line), NULL);
        return tn_fail(&caller->why, -EINVAL, "prog_type_missing", "programs of type %s (%u) are not served",
                       name ? name : "unknown", attr->prog_type);
    }
    if (attr->prog_flags & ~FLAGS_KNOWN)
        return tn_fail(&caller->why, -EINVAL, "prog_flags", "flags 0x%x are not served",
                       attr->prog_flags & ~FLAGS_KNOWN);
    if (attr->prog_ifindex || attr->attach_btf_id || attr->attach_prog_fd)
        return tn_fail(&caller->why, -EINVAL, "attr_field",
                       "prog_ifindex, attach_btf_id and attach_prog_fd mean nothing for a program of type %s",
                       name);
    if (attr->expected_attach_type)
        return tn_fail(
            &caller->why, -EINVAL, "attach_type_missing", "attach type %s (%u) of %s programs is not served",
            libbpf_bpf_attach_type_str(attr->expected_attach_type), attr->expected_attach_type, name);
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

/* --------------------------------------------------------------------------------------------------------
 * resolve */

/* Index of the map behind the caller's descriptor in prog->maps. The reference goes there. */
static int use_map(struct tn_caller *caller, struct tn_prog *prog, s32 number, u32 *ret_index)
{
    _unref_ struct tn_bmap *map = NULL;
    int r = tn_caller_object(caller, number, TN_KIND_MAP, NULL, &map);

    if (r)
        return r;
    for (u32 i = 0; i < prog->nmaps; i++)
        if (prog->maps[i] == map) {
            *ret_index = i;
            return 0;
        }
    if (prog->nmaps == MAPS_MAX)
        return tn_fail(&caller->why, -E2BIG, "too_many_maps", "a program uses at most %u maps", MAPS_MAX);
    prog->maps[prog->nmaps] = TN_TAKE_PTR(map);
    *ret_index = prog->nmaps++;
    return 0;
}

/* Descriptors to indices. A descriptor that is no map is told in the log, as Linux does. */
static int resolve(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog)
{
    struct {
        s32 number;
        u32 index;
    } seen[MAPS_MAX];
    u32 nseen = 0;

    prog->maps = calloc(MAPS_MAX, sizeof(*prog->maps));
    if (!prog->maps)
        return -ENOMEM;
    for (u32 i = 0; i + 1 < prog->ninsns; i++) {
        struct bpf_insn *insn = &prog->insns[i];
        bool by_index = insn->src_reg == BPF_PSEUDO_MAP_IDX || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        bool value = insn->src_reg == BPF_PSEUDO_MAP_VALUE || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        s32 number = insn->imm;
        u32 index = MAPS_MAX;
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
        if (index == MAPS_MAX) {
            r = use_map(caller, prog, number, &index);
            if (r == -EBADF || r == -EINVAL) {
                char line[64];

                snprintf(line, sizeof(line), "fd %d is not pointing to valid bpf_map\n", number);
                (void)tn_log_write(caller, attr->log_level, attr->log_buf, attr->log_size, line, strlen(line),
                                   NULL);
                return tn_fail(&caller->why, r, "not_a_map",
                               "instruction %u: descriptor %d is no map of ours", i - 1, number);
            }
            if (r)
                return r;
            if (nseen < MAPS_MAX) {
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

/* ---------------------------------------------------------------------------------------------- verify and
 * compile */

/* Linux answers what is malformed or not there with EINVAL, what is too much with E2BIG, and a forbidden deed
   with EACCES. By the verifier's own names, so that a new one is a forbidden deed until it is listed here. */
static int refusal_errno(const char *reason)
{
    static const char *const malformed[] = {
        "bad_input",
        "prog_type",
        "prog_flags",
        "bad_opcode",
        "bad_register",
        "reserved_field",
        "bad_ld_imm64",
        "jump_out_of_range",
        "jump_into_ld_imm64",
        "falls_off_end",
        "unreachable_insn",
        "bad_call_target",
        "bad_map",
        "bad_map_offset",
        "bad_btf",
        "bad_func_info",
        "bad_line_info",
        "return_value",
        "unknown_helper",
        "gpl_only",
        "kfunc",
        "map_helper_mismatch",
        "bad_reference",
        "leaked_reference",
        "infinite_loop",
        "bad_shift",
        "division_by_zero",
        "bad_atomic",
    };
    static const char *const too_much[] = {"prog_size",         "recursion",          "call_depth",
                                           "too_many_subprogs", "too_complex",        "path_limit",
                                           "too_many_pending",  "too_many_references"};

    for (u32 i = 0; i < TN_ARRAY_SIZE(malformed); i++)
        if (!strcmp(reason, malformed[i]))
            return -EINVAL;
    for (u32 i = 0; i < TN_ARRAY_SIZE(too_much); i++)
        if (!strcmp(reason, too_much[i]))
            return -E2BIG;
    return -EACCES;
}

static int verify(struct tn_caller *caller, const union bpf_attr *attr, u64 attr_addr, u32 attr_size,
                  struct tn_prog *prog)
{
    _free_ struct tn_verify_map *maps = calloc(MAPS_MAX, sizeof(*maps));
    struct tn_verify_in in = {
        .insns = prog->insns,
        .ninsns = prog->ninsns,
        .prog_type = prog->type,
        .expected_attach_type = prog->attach_type,
        .prog_flags = attr->prog_flags,
        .gpl = prog->gpl,
        .maps = maps,
        .nmaps = prog->nmaps,
        .func_info = prog->func_info,
        .func_info_rec_size = prog->func_info_size,
        .func_info_cnt = prog->func_info_cnt,
        .line_info = prog->line_info,
        .line_info_rec_size = prog->line_info_size,
        .line_info_cnt = prog->line_info_cnt,
        .authority = &tn_authority_all,
        .log_level = attr->log_level & TN_LOG_LEVELS,
    };
    const u32 true_size_off = offsetof(union bpf_attr, core_relo_rec_size) + sizeof(u32);
    struct tn_ctl_error *last = &caller->last;
    u32 true_size = 0;
    int r, log_r = 0;

    if (!maps)
        return -ENOMEM;
    for (u32 i = 0; i < prog->nmaps; i++) {
        const struct tn_bmap *map = prog->maps[i];

        maps[i] = (struct tn_verify_map){
            .geo = map->view.geo,
            .frozen = map->constants,
            .rdonly_prog = map->flags & BPF_F_RDONLY_PROG,
            .wronly_prog = map->flags & BPF_F_WRONLY_PROG,
            .name = map->name,
        };
    }
    if (prog->btf) {
        in.btf = prog->btf->data;
        in.btf_size = prog->btf->size;
    }
    r = tn_verify(&in, &prog->verdict);
    if (r)
        return r;
    if (prog->verdict.log)
        log_r = tn_log_write(caller, attr->log_level, attr->log_buf, attr->log_size, prog->verdict.log,
                             strnlen(prog->verdict.log, prog->verdict.log_size), &true_size);
    if (!log_r && true_size && attr_size >= true_size_off + sizeof(u32))
        log_r = caller->ops->write(caller, attr_addr + true_size_off, &true_size, sizeof(true_size));

    last->insns_processed = prog->verdict.insns_processed;
    if (!prog->verdict.accepted) {
        const struct tn_refusal *refusal = &prog->verdict.refusal;

        last->has_refusal = 1;
        last->refusal = *refusal;
        (void)tn_fail(&caller->why, 0, refusal->reason, "%s", refusal->message);
        return log_r ? log_r : refusal_errno(refusal->reason);
    }
    return log_r;
}

static int compile(struct tn_caller *caller, struct tn_prog *prog)
{
    _free_ struct tn_map_geo *geos = calloc(MAPS_MAX, sizeof(*geos));
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
    _unref_ struct tn_prog *prog = NULL;
    int r = check_attr(caller, attr);

    if (r)
        return r;
    prog = calloc(1, sizeof(*prog));
    if (!prog)
        return -ENOMEM;
    prog->text = -1;
    /* Not in its table yet: nobody else may find a program before it is whole. */
    prog->object = (struct tn_object){
        .broker = caller->broker, .kind = TN_KIND_PROG, .refs = 1, .release = prog_release};
    caller->broker->nobjects++;

    r = gather(caller, attr, prog);
    if (!r)
        r = resolve(caller, attr, prog);
    if (!r)
        r = make_tag(prog);
    if (!r)
        r = verify(caller, attr, attr_addr, attr_size, prog);
    if (!r)
        r = compile(caller, prog);
    if (r)
        return r;
    find_full_name(prog);
    prog->nused = prog->nmaps;
    prog->load_time = tn_now_ns();
    caller->broker->nobjects--;
    r = tn_object_add(caller->broker, &prog->object, TN_KIND_PROG, caller->uid);
    if (r) {
        caller->broker->nobjects++;
        return r;
    }
    return tn_caller_give(caller, &prog->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/* ------------------------------------------------------------------------------------------------------ the
 * others */

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
