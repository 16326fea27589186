/* SPDX-License-Identifier: MIT */
/* Small things that several families of commands ask for. */
#ifndef TN_BROKER_NAME_H
#define TN_BROKER_NAME_H

#include <ctype.h>
#include <errno.h>

#include "broker/broker_int.h"

/* As Linux: letters, digits, '_' and '.', NUL-terminated within its field. */
static inline int tn_name_check(const char name[BPF_OBJ_NAME_LEN])
{
    for (u32 i = 0; i < BPF_OBJ_NAME_LEN; i++) {
        if (!name[i])
            return 0;
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '.')
            return -EINVAL;
    }
    return -EINVAL;
}

/* *_GET_NEXT_ID: the answer goes into the caller's attributes. */
static inline int tn_next_id(struct tn_caller *caller, enum tn_kind kind, const union bpf_attr *attr,
                             u64 attr_addr)
{
    const struct tn_object *object;

    if (attr->open_flags || attr->start_id >= INT32_MAX)
        return -EINVAL;
    object = tn_object_after(caller->broker, kind, attr->start_id);
    if (!object)
        return -ENOENT;
    return caller->ops->write(caller, attr_addr + offsetof(union bpf_attr, next_id), &object->id,
                              sizeof(u32));
}

/* btf_cmd.c: the types exist and have these sizes (an id 0 is not asked for). −EINVAL. */
int tn_btf_types_fit(const struct tn_bbtf *btf, u32 key_id, u32 key_size, u32 value_id, u32 value_size);
/* Name of the function that `type_id` declares, or NULL. Points into the BTF. */
const char *tn_btf_func_name(const struct tn_bbtf *btf, u32 type_id);

/* sha1.c */
void tn_sha1(const void *data, size_t len, u8 ret_digest[20]);

#endif
