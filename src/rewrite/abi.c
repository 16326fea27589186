/* SPDX-License-Identifier: MIT */
/*
 * Integers and pointers take the next of six registers, and the stack when there is none left. What has two
 * eightbytes takes two registers or none. A struct is what its members are: integers only, or it is not for
 * us; one that is packed, so that a member is not aligned, or larger than two eightbytes, lies on the stack.
 *
 *     f(int a, struct { long x, y; } s, char *p)       rdi │ rsi rdx │ rcx
 */
#include "rewrite/abi.h"

#include <errno.h>

#define REGISTERS   TN_FROM_STACK
#define STEPS_MAX   256u /* types looked at for one argument: empty ones could go on for ever */
#define STACK_WORDS 64u

enum abi_class { INTEGER, MEMORY, OTHER };

static enum abi_class class_of(const struct tn_btf *btf, u32 id, u32 bit, u32 *steps);

static enum abi_class class_of_members(const struct tn_btf *btf, const struct btf_type *t, u32 bit,
                                       u32 *steps)
{
    const struct btf_member *m = tn_btf_members(t);
    enum abi_class all = INTEGER;

    for (u32 k = 0; k < tn_btf_vlen(t) && all != OTHER; k++) {
        u32 at = bit + tn_btf_member_bit(t, &m[k]);
        enum abi_class one = tn_btf_member_bits(t, &m[k]) ? INTEGER : class_of(btf, m[k].type, at, steps);

        all = TN_MAX(all, one);
    }
    return all;
}

/* Of what lies `bit` bits into an argument. Scalars are aligned to their size,
   or the argument is in memory. */
static enum abi_class class_of(const struct tn_btf *btf, u32 id, u32 bit, u32 *steps)
{
    u32 type = tn_btf_resolve(btf, id);
    const struct btf_type *t = tn_btf_type(btf, type);
    s64 size = tn_btf_size(btf, type);

    if (!type || size < 0 || ++*steps > STEPS_MAX)
        return OTHER;
    switch (tn_btf_kind(t)) {
    case BTF_KIND_INT:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_PTR:
        return size && bit % (8 * (u32)size) ? MEMORY : INTEGER;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return class_of_members(btf, t, bit, steps);
    case BTF_KIND_ARRAY: {
        u32 elem = tn_btf_array(t)->type;
        s64 each = tn_btf_size(btf, elem);
        enum abi_class all = INTEGER;

        for (u32 k = 0; k < tn_btf_array(t)->nelems && all != OTHER; k++)
            all = TN_MAX(all, class_of(btf, elem, bit + k * 8 * (u32)each, steps));
        return all;
    }
    default:
        return OTHER;
    }
}

static bool is_aggregate(const struct tn_btf *btf, u32 type)
{
    u32 kind = tn_btf_kind_of(btf, type);

    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
}

/* As of tn_typed_args.narrow. */
static s8 narrow(const struct tn_btf *btf, u32 id)
{
    u32 type = tn_btf_resolve(btf, id);
    const struct btf_type *t = tn_btf_type(btf, type);
    s64 size = tn_btf_size(btf, type);
    bool is_signed;

    if (size != 1 && size != 2)
        return 0;
    if (tn_btf_kind(t) == BTF_KIND_INT)
        is_signed = BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED;
    else if (tn_btf_kind(t) == BTF_KIND_ENUM)
        is_signed = BTF_INFO_KFLAG(t->info);
    else
        return 0;
    return (s8)(is_signed ? -size : size);
}

int tn_abi_words(const struct tn_btf *btf, u32 func, bool result, struct tn_typed_args *ret_args,
                 struct tn_error *err)
{
    const struct btf_type *f = tn_btf_type(btf, func), *proto;
    struct tn_typed_args args = {0};
    u32 reg = 0, stack = 0, ret;
    const char *name;

    if (!f || tn_btf_kind(f) != BTF_KIND_FUNC)
        return tn_fail(err, -EINVAL, "not_a_function", "type id %u is no function", func);
    name = tn_btf_string(btf, f->name_off);
    proto = tn_btf_type(btf, f->type);
    ret = tn_btf_resolve(btf, proto->type);
    if (ret && is_aggregate(btf, ret) && tn_btf_size(btf, ret) > 16)
        return tn_fail(err, -ENOTSUP, "result_in_memory",
                       "%s returns a struct in memory: its first argument is not where its prototype says",
                       name);
    for (u32 k = 0; k < tn_btf_vlen(proto); k++) {
        const struct btf_param *p = &tn_btf_params(proto)[k];
        s64 size = tn_btf_size(btf, p->type);
        u32 words = (u32)((size + 7) / 8), steps = 0;
        enum abi_class c;

        if (!p->type)
            return tn_fail(err, -ENOTSUP, "variable_arguments", "%s has variable arguments", name);
        c = size > 16 && is_aggregate(btf, tn_btf_resolve(btf, p->type)) ? MEMORY
                                                                         : class_of(btf, p->type, 0, &steps);
        if (c == OTHER || size <= 0 || size > 64)
            return tn_fail(err, -ENOTSUP, "argument_not_integer",
                           "argument %u (%s) of %s is no integer, pointer or small struct of these", k + 1,
                           tn_btf_string(btf, p->name_off), name);
        if (args.nwords + words + (result ? 1 : 0) > TN_TYPED_WORDS || stack + words > STACK_WORDS)
            return tn_fail(err, -E2BIG, "too_many_arguments", "the arguments of %s take more than %u words",
                           name, TN_TYPED_WORDS);
        /* An __int128 is aligned to 16 on the stack. */
        if ((c == MEMORY || reg + words > REGISTERS) && size == 16 &&
            !is_aggregate(btf, tn_btf_resolve(btf, p->type)))
            stack += stack & 1;
        args.narrow[args.nwords] = narrow(btf, p->type);
        for (u32 w = 0; w < words; w++)
            if (c == INTEGER && reg + words - w <= REGISTERS)
                args.from[args.nwords++] = (u8)reg++;
            else
                args.from[args.nwords++] = (u8)(TN_FROM_STACK + stack++);
    }
    if (result) {
        args.narrow[args.nwords] = narrow(btf, ret);
        args.from[args.nwords++] = TN_FROM_RESULT;
    }
    *ret_args = args;
    return 0;
}
