/* SPDX-License-Identifier: MIT */
/*
 * BTF: checked once by our own reader (btf/btf.h), kept as a view that others ask and as the bytes that
 * OBJ_GET_INFO_BY_FD gives back.
 */
#include <errno.h>

#include "broker/broker_int.h"
#include "broker/log.h"
#include "broker/name.h"

/* As Linux: 16 MiB. */
#define BTF_SIZE_MAX (16u << 20)

static void btf_release(struct tn_object *object)
{
    struct tn_bbtf *btf = (struct tn_bbtf *)object;

    tn_btf_close(btf->view);
    free(btf->data);
    free(btf);
}

/* What Linux's log says of BTF: its head, then a line a type. */
static void log_types(struct tn_log *log, const u8 *data, u32 size, const struct tn_btf *view)
{
    struct btf_header head;

    if (!log->level || size < sizeof(head))
        return;
    memcpy(&head, data, sizeof(head));
    tn_log_add(log,
               "magic: 0x%x\nversion: %u\nflags: 0x%x\nhdr_len: %u\ntype_off: %u\ntype_len: %u\nstr_off: %u\n"
               "str_len: %u\nbtf_total_size: %u\n",
               head.magic, head.version, head.flags, head.hdr_len, head.type_off, head.type_len, head.str_off,
               head.str_len, size);
    for (u32 id = 1; view && id < tn_btf_count(view); id++) {
        const struct btf_type *type = tn_btf_type(view, id);
        const char *name = tn_btf_name(view, id);
        s64 bytes = tn_btf_size(view, id);

        tn_log_add(log, "[%u] %s %s", id, tn_btf_kind_name(tn_btf_kind(type)), *name ? name : "(anon)");
        if (bytes >= 0)
            tn_log_add(log, " size=%lld", (long long)bytes);
        tn_log_add(log, " vlen=%u\n", tn_btf_vlen(type));
    }
}

int tn_cmd_btf_load(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    const u32 true_size_off = offsetof(union bpf_attr, btf_log_level) + sizeof(u32);
    const struct tn_log_attr log_attr = {
        .level = attr->btf_log_level,
        .size = attr->btf_log_size,
        .buf = attr->btf_log_buf,
        .true_size_at = attr_size >= true_size_off + sizeof(u32) ? attr_addr + true_size_off : 0,
    };
    _unref_ struct tn_bbtf *btf = NULL;
    _free_ u8 *data = NULL;
    struct tn_btf *view = NULL;
    struct tn_log log = {0};
    int r, log_r;

    r = tn_log_attr_check(&log_attr);
    if (r)
        return r;
    if (!attr->btf_size)
        return -EINVAL;
    if (attr->btf_size > BTF_SIZE_MAX)
        return -E2BIG;
    data = malloc(attr->btf_size);
    if (!data)
        return -ENOMEM;
    r = caller->ops->read(caller, attr->btf, data, attr->btf_size);
    if (r)
        return r;

    r = tn_btf_open(data, attr->btf_size, NULL, &view, &caller->why);
    tn_log_open(&log, log_attr.level, tn_log_window(&log_attr));
    log_types(&log, data, attr->btf_size, view);
    if (r && caller->why.message[0])
        tn_log_add(&log, "%s\n", caller->why.message);
    if (r && caller->why.message[0])
        caller->btf_why = caller->why;
    log_r = tn_log_close(caller, &log_attr, &log);
    if (r || log_r) {
        tn_btf_close(view);
        return log_r ? log_r : r;
    }

    btf = calloc(1, sizeof(*btf));
    if (!btf) {
        tn_btf_close(view);
        return -ENOMEM;
    }
    btf->view = view;
    btf->object.release = btf_release;
    r = tn_object_add(caller->broker, &btf->object, TN_KIND_BTF, caller->uid);
    if (r) {
        tn_btf_close(view);
        free(TN_TAKE_PTR(btf));
        return r;
    }
    btf->data = TN_TAKE_PTR(data);
    btf->size = attr->btf_size;
    return tn_caller_give(caller, &btf->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

int tn_cmd_btf_next_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    /* Of hosts, a tool sees its own only: it would take any for a module of its kernel. */
    for (;;) {
        int r = tn_next_id(caller, TN_KIND_BTF, attr, attr_addr);
        struct tn_bbtf *btf;
        struct tn_bhost *host;

        if (r)
            return r;
        /* The answer was written to the tool meanwhile, and what it names may be gone by now. */
        btf = (struct tn_bbtf *)tn_object_after(caller->broker, TN_KIND_BTF, attr->start_id);
        host = btf ? tn_host_of(btf) : NULL;
        if (!host || host == caller->host)
            return 0;
        attr->start_id = host->btf.object.id;
    }
}

int tn_cmd_btf_fd_by_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct tn_object *object = tn_object_by_id(caller->broker, TN_KIND_BTF, attr->btf_id);

    return object ? tn_caller_give(caller, object, TN_VIEW_READ | TN_VIEW_WRITE) : -ENOENT;
}

/* ---------------------------------------------------------------------------------------------- questions */

int tn_btf_types_fit(const struct tn_bbtf *btf, u32 key_id, u32 key_size, u32 value_id, u32 value_size)
{
    if (key_id && tn_btf_size(btf->view, key_id) != (s64)key_size)
        return -EINVAL;
    if (value_id && tn_btf_size(btf->view, value_id) != (s64)value_size)
        return -EINVAL;
    return 0;
}

const char *tn_btf_func_name(const struct tn_bbtf *btf, u32 type_id)
{
    if (tn_btf_kind_of(btf->view, type_id) != BTF_KIND_FUNC)
        return NULL;
    return tn_btf_name(btf->view, type_id);
}
