/* SPDX-License-Identifier: MIT */
/*
 * BTF: checked once, kept as bytes. The header's bounds are checked here before libbpf reads it; libbpf then
 * checks every type and string reference it follows (it never sees BTF of an unchecked size).
 */
#include <bpf/btf.h>
#include <errno.h>

#include "broker/broker_int.h"
#include "broker/log.h"
#include "broker/name.h"

/* As Linux: 16 MiB. */
#define BTF_SIZE_MAX (16u << 20)

static void btf_release(struct tn_object *object)
{
    struct tn_btf *btf = (struct tn_btf *)object;

    free(btf->data);
    free(btf);
}

/* Why the bytes are no BTF, or NULL. */
static const char *header_fault(const u8 *data, u32 size)
{
    struct btf_header head;

    if (size < sizeof(head))
        return "hdr not found";
    memcpy(&head, data, sizeof(head));
    if (head.magic != BTF_MAGIC)
        return "Invalid magic";
    if (head.version != BTF_VERSION)
        return "Unsupported version";
    if (head.flags)
        return "Unsupported flags";
    if (head.hdr_len < sizeof(head) || head.hdr_len > size)
        return "Invalid hdr_len";
    if (head.type_off % 4)
        return "Unaligned type_off";

    u64 body = size - head.hdr_len;

    if ((u64)head.type_off + head.type_len > body || (u64)head.str_off + head.str_len > body)
        return "Invalid section offset";
    if ((u64)head.type_off + head.type_len > head.str_off)
        return "Section overlap found";
    if (!head.str_len || data[head.hdr_len + head.str_off] ||
        data[head.hdr_len + head.str_off + head.str_len - 1])
        return "Invalid string section";
    return NULL;
}

/* Bytes a type takes in the type section, its head included; 0 for an unknown kind. */
static u64 type_len(const struct btf_type *type)
{
    u64 n = BTF_INFO_VLEN(type->info);

    switch (BTF_INFO_KIND(type->info)) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
        return sizeof(*type) + sizeof(u32);
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG:
        return sizeof(*type);
    case BTF_KIND_ARRAY:
        return sizeof(*type) + sizeof(struct btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return sizeof(*type) + n * sizeof(struct btf_member);
    case BTF_KIND_ENUM:
        return sizeof(*type) + n * sizeof(struct btf_enum);
    case BTF_KIND_FUNC_PROTO:
        return sizeof(*type) + n * sizeof(struct btf_param);
    case BTF_KIND_DATASEC:
        return sizeof(*type) + n * sizeof(struct btf_var_secinfo);
    case BTF_KIND_ENUM64:
        return sizeof(*type) + n * sizeof(struct btf_enum64);
    default:
        return 0;
    }
}

/* Every type whole, every reference to a type or a string within bounds. Why not, or NULL. */
static const char *types_fault(const u8 *data)
{
    struct btf_header head;
    const u8 *types;
    u32 count = 0;

    memcpy(&head, data, sizeof(head));
    types = data + head.hdr_len + head.type_off;
    for (u32 pass = 0; pass < 2; pass++) {
        for (u64 at = 0; at < head.type_len;) {
            struct btf_type type;
            u64 len;

            if (head.type_len - at < sizeof(type))
                return "Type section truncated";
            memcpy(&type, types + at, sizeof(type));
            len = type_len(&type);
            if (!len)
                return "Invalid kind";
            if (len > head.type_len - at)
                return "Type section truncated";
            if (type.name_off >= head.str_len)
                return "Invalid name_offset";
            if (pass) {
                const u8 *more = types + at + sizeof(type);
                u32 ref[3] = {0}, word[8];

                /* A member, a parameter, an enumerator: (name, …); a variable of a section: (type, …). */
                switch (BTF_INFO_KIND(type.info)) {
                case BTF_KIND_STRUCT:
                case BTF_KIND_UNION:
                case BTF_KIND_FUNC_PROTO:
                case BTF_KIND_ENUM:
                case BTF_KIND_ENUM64:
                case BTF_KIND_DATASEC: {
                    u32 kind = BTF_INFO_KIND(type.info), n = BTF_INFO_VLEN(type.info);
                    u64 step = n ? (len - sizeof(type)) / n : 0;

                    for (u32 i = 0; i < n; i++) {
                        memcpy(word, more + i * step, 8);
                        if (kind == BTF_KIND_DATASEC ? word[0] > count : word[0] >= head.str_len)
                            return "Invalid member";
                        if ((kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION ||
                             kind == BTF_KIND_FUNC_PROTO) &&
                            word[1] > count)
                            return "Invalid type_id";
                    }
                    if (kind == BTF_KIND_FUNC_PROTO)
                        ref[0] = type.type;
                    break;
                }
                case BTF_KIND_ARRAY:
                    memcpy(ref, more, 8);
                    break;
                case BTF_KIND_INT:
                case BTF_KIND_FWD:
                case BTF_KIND_FLOAT:
                    break;
                default:
                    ref[0] = type.type;
                }
                if (ref[0] > count || ref[1] > count)
                    return "Invalid type_id";
            } else {
                count++;
            }
            at += len;
        }
    }
    return NULL;
}

int tn_cmd_btf_load(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_btf *btf = NULL;
    _free_ u8 *data = NULL;
    const char *fault;
    struct btf *parsed;
    int r;

    r = tn_log_attr_check(attr->btf_log_level, attr->btf_log_size, attr->btf_log_buf);
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

    fault = header_fault(data, attr->btf_size);
    if (!fault)
        fault = types_fault(data);
    if (!fault) {
        parsed = btf__new(data, attr->btf_size);
        if (parsed)
            btf__free(parsed);
        else
            fault = "Invalid types";
    }
    if (fault) {
        char line[96];

        snprintf(line, sizeof(line), "%s\n", fault);
        r = tn_log_write(caller, attr->btf_log_level, attr->btf_log_buf, attr->btf_log_size, line,
                         strlen(line), NULL);
        return tn_fail(&caller->why, r ? r : -EINVAL, "btf_invalid", "BTF of %u bytes: %s", attr->btf_size,
                       fault);
    }

    btf = calloc(1, sizeof(*btf));
    if (!btf)
        return -ENOMEM;
    btf->object.release = btf_release;
    r = tn_object_add(caller->broker, &btf->object, TN_KIND_BTF, caller->uid);
    if (r) {
        free(TN_TAKE_PTR(btf));
        return r;
    }
    btf->data = TN_TAKE_PTR(data);
    btf->size = attr->btf_size;
    return tn_caller_give(caller, &btf->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

int tn_cmd_btf_next_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return tn_next_id(caller, TN_KIND_BTF, attr, attr_addr);
}

int tn_cmd_btf_fd_by_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct tn_object *object = tn_object_by_id(caller->broker, TN_KIND_BTF, attr->btf_id);

    return object ? tn_caller_give(caller, object, TN_VIEW_READ | TN_VIEW_WRITE) : -ENOENT;
}

/* -------------------------------------------------------------------------------------------------------
 * questions */

int tn_btf_types_fit(const struct tn_btf *btf, u32 key_id, u32 key_size, u32 value_id, u32 value_size)
{
    struct btf *parsed = btf__new(btf->data, btf->size);
    int r = 0;

    if (!parsed)
        return -ENOMEM;
    if (key_id && btf__resolve_size(parsed, key_id) != (s64)key_size)
        r = -EINVAL;
    if (value_id && btf__resolve_size(parsed, value_id) != (s64)value_size)
        r = -EINVAL;
    btf__free(parsed);
    return r;
}

const char *tn_btf_func_name(const struct tn_btf *btf, u32 type_id)
{
    struct btf *parsed = btf__new(btf->data, btf->size);
    const struct btf_type *type;
    struct btf_header head;
    u32 off = 0;

    if (!parsed)
        return NULL;
    type = btf__type_by_id(parsed, type_id);
    if (type && btf_is_func(type))
        off = type->name_off;
    btf__free(parsed);
    memcpy(&head, btf->data, sizeof(head));
    return off ? (const char *)btf->data + head.hdr_len + head.str_off + off : NULL;
}
