/* SPDX-License-Identifier: MIT */
/*
 * OBJ_GET_INFO_BY_FD: one struct a kind, in and out. The caller says how long his is: a shorter one gets the
 * beginning, of a longer one the rest must be zero (−E2BIG), and his length is set to what was filled. Arrays
 * go to where his struct points, as many elements as he has room for; the count he gets is the true one.
 */
#include <errno.h>

#include "broker/broker_int.h"
#include "broker/multi.h"
#include "broker/name.h"

struct answer {
    struct tn_caller *caller;
    u64 addr;
    u32 len; /* the caller's */
};

/* Reads the caller's struct as far as we know it. */
static int begin(struct answer *answer, void *ret_info, u32 size)
{
    u8 tail[256];
    int r;

    for (u32 at = size; at < answer->len; at += sizeof(tail)) {
        u32 n = TN_MIN(answer->len - at, (u32)sizeof(tail));

        r = answer->caller->ops->read(answer->caller, answer->addr + at, tail, n);
        if (r)
            return r;
        for (u32 i = 0; i < n; i++)
            if (tail[i])
                return -E2BIG;
    }
    memset(ret_info, 0, size);
    return answer->caller->ops->read(answer->caller, answer->addr, ret_info, TN_MIN(size, answer->len));
}

static int finish(struct answer *answer, u64 attr_addr, const void *info, u32 size)
{
    u32 len = TN_MIN(size, answer->len);
    int r = answer->caller->ops->write(answer->caller, answer->addr, info, len);

    return r ? r
             : answer->caller->ops->write(answer->caller, attr_addr + offsetof(union bpf_attr, info.info_len),
                                          &len, sizeof(len));
}

/* `count` elements of `size` bytes to `addr`, where there is room for `room` of them. */
static int give_array(struct tn_caller *caller, u64 addr, u32 room, const void *elems, u32 count, u32 size)
{
    u32 n = TN_MIN(room, count);

    return addr && n ? caller->ops->write(caller, addr, elems, (u64)n * size) : 0;
}

/* Instructions as Linux shows them: identifiers of maps instead of our indices. */
static int give_insns(struct tn_caller *caller, const struct tn_prog *prog, u64 addr, u32 room)
{
    size_t size = (size_t)prog->ninsns * sizeof(struct bpf_insn);
    _free_ struct bpf_insn *insns = malloc(size);

    if (!insns)
        return -ENOMEM;
    memcpy(insns, prog->insns, size);
    for (u32 i = 0; i + 1 < prog->ninsns; i++)
        if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
            if ((insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE) &&
                (u32)insns[i].imm < prog->nmaps)
                insns[i].imm = (s32)prog->maps[insns[i].imm]->object.id;
            i++;
        }
    return caller->ops->write(caller, addr, insns, TN_MIN((u64)room, size));
}

static int prog_info(struct answer *answer, const struct tn_prog *prog, u64 attr_addr)
{
    struct tn_caller *caller = answer->caller;
    struct bpf_prog_info in, out = {0};
    const u32 nmaps = prog->nmaps; /* more may be bound while the caller is asked */
    _free_ u32 *ids = calloc(nmaps + 1, sizeof(*ids));
    u32 xlated = prog->ninsns * (u32)sizeof(struct bpf_insn);
    int r = ids ? begin(answer, &in, sizeof(in)) : -ENOMEM;

    if (r)
        return r;
    for (u32 i = 0; i < nmaps; i++)
        ids[i] = prog->maps[i]->object.id;

    out.type = prog->type;
    out.id = prog->object.id;
    memcpy(out.tag, prog->tag, sizeof(out.tag));
    memcpy(out.name, prog->name, sizeof(out.name));
    out.load_time = prog->load_time;
    out.created_by_uid = prog->object.uid;
    out.gpl_compatible = prog->gpl;
    out.verified_insns = (u32)TN_MIN(prog->verdict.insns_processed, (u64)UINT32_MAX);
    out.btf_id = prog->btf ? prog->btf->object.id : 0;
    out.attach_btf_obj_id = prog->host && prog->attach_btf_id ? prog->host->btf.object.id : 0;
    out.attach_btf_id = prog->attach_btf_id;
    out.nr_prog_tags = 1;
    out.prog_tags = in.prog_tags;

    out.nr_map_ids = nmaps;
    out.map_ids = in.map_ids;
    r = give_array(caller, in.map_ids, in.nr_map_ids, ids, nmaps, sizeof(*ids));
    if (!r)
        r = give_array(caller, in.prog_tags, in.nr_prog_tags, prog->tag, 1, sizeof(prog->tag));

    out.xlated_prog_len = xlated;
    out.xlated_prog_insns = in.xlated_prog_insns;
    if (!r && in.xlated_prog_insns && in.xlated_prog_len)
        r = give_insns(caller, prog, in.xlated_prog_insns, in.xlated_prog_len);

    out.jited_prog_len = prog->code.text_len;
    out.jited_prog_insns = in.jited_prog_insns;
    if (!r)
        r = give_array(caller, in.jited_prog_insns, in.jited_prog_len, prog->code.text, prog->code.text_len,
                       1);

    /* Linux makes the caller say the record's size before it fills any. */
    out.func_info_rec_size = prog->func_info_cnt ? prog->func_info_size : (u32)sizeof(struct bpf_func_info);
    out.nr_func_info = prog->func_info_cnt;
    out.func_info = in.func_info;
    if (!r && in.nr_func_info && in.func_info && in.func_info_rec_size != out.func_info_rec_size)
        r = -EINVAL;
    if (!r)
        r = give_array(caller, in.func_info, in.nr_func_info, prog->func_info, prog->func_info_cnt,
                       out.func_info_rec_size);
    out.line_info_rec_size = prog->line_info_cnt ? prog->line_info_size : (u32)sizeof(struct bpf_line_info);
    out.nr_line_info = prog->line_info_cnt;
    out.line_info = in.line_info;
    out.jited_line_info_rec_size = sizeof(u64);
    if (!r && in.nr_line_info && in.line_info && in.line_info_rec_size != out.line_info_rec_size)
        r = -EINVAL;
    if (!r)
        r = give_array(caller, in.line_info, in.nr_line_info, prog->line_info, prog->line_info_cnt,
                       out.line_info_rec_size);
    return r ? r : finish(answer, attr_addr, &out, sizeof(out));
}

static int map_info(struct answer *answer, const struct tn_bmap *map, u64 attr_addr)
{
    const struct tn_map_geo *geo = &map->view.geo;
    struct bpf_map_info in, out = {
                                .type = geo->type,
                                .id = map->object.id,
                                .key_size = geo->key_size,
                                .value_size = geo->value_size,
                                .max_entries = geo->max_entries,
                                .map_flags = map->flags,
                                .btf_id = map->btf ? map->btf->object.id : 0,
                                .btf_key_type_id = map->btf_key,
                                .btf_value_type_id = map->btf_value,
                            };
    int r = begin(answer, &in, sizeof(in));

    memcpy(out.name, map->name, sizeof(out.name));
    return r ? r : finish(answer, attr_addr, &out, sizeof(out));
}

static int btf_info(struct answer *answer, const struct tn_bbtf *btf, u64 attr_addr)
{
    struct bpf_btf_info in, out;
    u32 name_len = (u32)strnlen(btf->name, sizeof(btf->name));
    int r = begin(answer, &in, sizeof(in));

    if (r)
        return r;
    if (!in.name != !in.name_len)
        return -EINVAL;
    out = (struct bpf_btf_info){.btf = in.btf,
                                .btf_size = btf->size,
                                .id = btf->object.id,
                                .name = in.name,
                                .name_len = name_len,
                                .kernel_btf = tn_host_of((struct tn_bbtf *)btf) != NULL};
    r = give_array(answer->caller, in.btf, in.btf_size, btf->data, btf->size, 1);
    if (!r && in.name)
        r = give_array(answer->caller, in.name, in.name_len, btf->name, name_len + 1, 1);
    if (!r && in.name && in.name_len < name_len + 1)
        r = -ENOSPC;
    return r ? r : finish(answer, attr_addr, &out, sizeof(out));
}

/* As Linux tells of one: the path's size is that of the name, and arrays are wanted whole. */
static int multi_info(struct answer *answer, const struct tn_link *link, u64 attr_addr)
{
    struct tn_caller *caller = answer->caller;
    const struct tn_perf *place = link->perf;
    const u32 count = place->nothers + 1, size = (u32)strlen(place->path) + 1;
    struct tn_multi_info in, out;
    u64 at[3];
    int r = begin(answer, &in, sizeof(in));

    at[0] = in.offsets;
    at[1] = in.ref_ctr_offsets;
    at[2] = in.cookies;
    if (r)
        return r;
    if (!in.path != !in.path_size || ((at[0] || at[1] || at[2]) && !in.count))
        return -EINVAL;
    out = in;
    out.type = TN_LINK_TYPE_UPROBE_MULTI;
    out.id = link->object.id;
    out.prog_id = link->prog->object.id;
    out.pad = 0;
    out.count = count;
    out.flags = place->exit ? TN_UPROBE_MULTI_RETURN : 0;
    out.pid = (u32)place->multi_pid;
    if (in.path && in.path_size < size)
        return -ENAMETOOLONG;
    if (in.path)
        r = caller->ops->write(caller, in.path, place->path, size);
    out.path_size = size;
    for (u32 k = 0; k < TN_ARRAY_SIZE(at) && !r; k++) {
        const u32 n = TN_MIN(in.count, count);
        _free_ u64 *words = at[k] ? calloc(n, sizeof(*words)) : NULL;

        if (!at[k])
            continue;
        if (!words)
            return -ENOMEM;
        for (u32 i = 0; i < n; i++) {
            const struct tn_attach_place first = {place->offset, place->ref_ctr, link->cookie};
            const struct tn_attach_place *p = i ? &place->others[i - 1] : &first;

            words[i] = k == 0 ? p->offset : k == 1 ? p->ref_ctr : p->cookie;
        }
        r = caller->ops->write(caller, at[k], words, (u64)n * sizeof(*words));
    }
    if (!r && (at[0] || at[1] || at[2]) && in.count < count)
        r = -ENOSPC;
    return r ? r : finish(answer, attr_addr, &out, sizeof(out));
}

static int link_info(struct answer *answer, const struct tn_link *link, u64 attr_addr)
{
    struct bpf_link_info in, out = {
                                 .type = BPF_LINK_TYPE_PERF_EVENT,
                                 .id = link->object.id,
                                 .prog_id = link->prog ? link->prog->object.id : 0,
                             };
    int r;

    if (link->perf && link->perf->multi)
        return multi_info(answer, link, attr_addr);
    r = begin(answer, &in, sizeof(in));
    if (link->prog->type == BPF_PROG_TYPE_RAW_TRACEPOINT || tn_prog_is_raw_tp(link->prog)) {
        const char *name = link->perf->exit ? "sys_exit" : "sys_enter";
        u32 len = (u32)strlen(name) + 1;

        out.type = BPF_LINK_TYPE_RAW_TRACEPOINT;
        out.raw_tracepoint.tp_name = in.raw_tracepoint.tp_name;
        out.raw_tracepoint.tp_name_len = len;
        if (!r && !in.raw_tracepoint.tp_name != !in.raw_tracepoint.tp_name_len)
            r = -EINVAL;
        if (!r && in.raw_tracepoint.tp_name)
            r = give_array(answer->caller, in.raw_tracepoint.tp_name, in.raw_tracepoint.tp_name_len, name,
                           len, 1);
        if (!r && in.raw_tracepoint.tp_name && in.raw_tracepoint.tp_name_len < len)
            r = -ENOSPC;
    } else if (link->typed) {
        out.type = BPF_LINK_TYPE_TRACING;
        out.tracing.attach_type = link->attach_type;
        out.tracing.target_obj_id = link->prog->host->btf.object.id;
        out.tracing.target_btf_id = link->prog->attach_btf_id;
    }
    return r ? r : finish(answer, attr_addr, &out, sizeof(out));
}

int tn_cmd_info_by_fd(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct answer answer = {.caller = caller, .addr = attr->info.info, .len = attr->info.info_len};
    _unref_ struct tn_object *object = NULL;
    struct tn_handle *handle;
    _close_ int fd = -1;
    int r = caller->ops->fd(caller, (s32)attr->info.bpf_fd, &fd);

    if (r)
        return r;
    handle = tn_handle_of(caller->broker, fd);
    if (!handle)
        return -EINVAL;
    object = tn_ref(handle->object);
    if (answer.len > TN_PAGE)
        return -E2BIG;
    switch (object->kind) {
    case TN_KIND_PROG:
    case TN_KIND_JUDGED:
        return prog_info(&answer, (struct tn_prog *)object, attr_addr);
    case TN_KIND_MAP:
    case TN_KIND_SHAPE:
        return map_info(&answer, (struct tn_bmap *)object, attr_addr);
    case TN_KIND_BTF:
        return btf_info(&answer, (struct tn_bbtf *)object, attr_addr);
    case TN_KIND_LINK:
        return link_info(&answer, (struct tn_link *)object, attr_addr);
    default:
        return -EINVAL;
    }
}
