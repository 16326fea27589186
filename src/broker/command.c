/* SPDX-License-Identifier: MIT */
/* From a number and bytes to a handler: the checks that Linux makes before it
   looks at a command. See commands.h. */
#include <errno.h>

#include "broker/broker_int.h"
#include "broker/commands.h"
#include "broker/multi.h"

#define C(number, handler, last)                                                                             \
    int tn_cmd_##handler(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size);
TN_COMMANDS(C)
#undef C

#define END_OF(field) (offsetof(union bpf_attr, field) + sizeof(((union bpf_attr *)0)->field))

static const struct tn_command commands[] = {
#define C(number, handler, last) {BPF_##number, #number, END_OF(last), tn_cmd_##handler},
    TN_COMMANDS(C)
#undef C
};

static bool all_zero(const u8 *bytes, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (bytes[i])
            return false;
    return true;
}

int tn_command_run(struct tn_caller *caller, u32 number, const void *attr, u32 len, u64 attr_addr,
                   u32 attr_size)
{
    union bpf_attr whole;
    const u8 *bytes = attr;

    if (attr_size > TN_ATTR_MAX)
        return -E2BIG;
    if (len != attr_size)
        return tn_fail(&caller->why, -EINVAL, "bad_message", "the door passed %u bytes of %u", len,
                       attr_size);
    if (attr_size > sizeof(whole) && !all_zero(bytes, sizeof(whole), attr_size))
        return tn_fail(&caller->why, -E2BIG, "attr_too_new",
                       "the attributes of bpf command %u have fields that are not known here", number);
    memset(&whole, 0, sizeof(whole));
    memcpy(&whole, bytes, TN_MIN(attr_size, (u32)sizeof(whole)));

    for (u32 i = 0; i < TN_ARRAY_SIZE(commands); i++) {
        const struct tn_command *command = &commands[i];
        size_t last = command->last;

        if (command->number != number)
            continue;
        /* Linux 6.4 put how large a log would have to be behind these. It is written, so its place counts. */
        if (number == BPF_LINK_CREATE)
            last = TN_MULTI_ATTR_END;
        if (number == BPF_PROG_LOAD || number == BPF_BTF_LOAD)
            last = TN_MIN(last + sizeof(u32), sizeof(whole));
        if (!all_zero((const u8 *)&whole, last, sizeof(whole)))
            return tn_fail(&caller->why, -EINVAL, "attr_field",
                           "BPF_%s: a field behind those of the command is set", command->name);
        return command->run(caller, &whole, attr_addr, attr_size);
    }
    return tn_fail(&caller->why, -EINVAL, "command_missing", "bpf command %u is not served", number);
}
