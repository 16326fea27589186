/* SPDX-License-Identifier: MIT */
/*
 * Integers and pointers take the next of six registers, and the stack when there is none left. What has two eightbytes takes
 * two registers or none. What is in memory stands on the stack, at its alignment, and takes no register; where the result
 * is, the caller says where, in the first register, and there it is at the exit.
 *
 *     f(int a, struct { long x, y; } s, char *p)                       rdi │ rsi rdx │ rcx
 *     struct big f(struct big { long x, y, z; } s, char *p)            rdi: the result │ the stack │ rsi
 */
#include "rewrite/abi.h"

#include <errno.h>

#include "btf/value.h"

#define REGISTERS TN_FROM_STACK

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

/* Where the next argument goes. */
struct next {
    u32 reg, stack; /* registers; words of the stack */
};

/* One of whose type no more is told than its size may be aligned to whatever divides that. */
static bool is_placed(const struct tn_value *v, u32 stack, bool aligned)
{
    for (u64 align = 2 * (u64)TN_MAX(v->align, 8u); !aligned && v->composite && v->size % align == 0;
         align *= 2)
        if (stack % (align / 8))
            return false;
    return true;
}

/* The words of one argument, in registers or from a word of the stack on. */
static int place(const struct tn_value *v, bool aligned, struct next *next, struct tn_typed_args *args)
{
    u32 words = tn_value_words(v, false), regs = 0;

    for (u32 h = 0; h < 2 && !v->memory; h++)
        regs += v->half[h] == TN_EIGHTBYTE_INTEGER;
    if (!v->memory && next->reg + regs <= REGISTERS) {
        for (u32 h = 0; h < words; h++)
            args->from[args->nwords++] = v->half[h] == TN_EIGHTBYTE_NONE ? TN_FROM_NOTHING : (u8)next->reg++;
        return 0;
    }
    next->stack = TN_ROUND_UP(next->stack, TN_MAX(v->align, 8u) / 8);
    if (!is_placed(v, next->stack, aligned))
        return -EINVAL;
    if (next->stack + words > TN_FROM_STACK_WORDS)
        return -E2BIG;
    args->copied[args->nwords] = (u8)(tn_value_kept(v) / 8);
    for (u32 w = 0; w < words; w++)
        args->from[args->nwords++] =
            (u8)((tn_value_by_address(v, false) ? TN_FROM_ADDRESS : TN_FROM_STACK) + next->stack + w);
    next->stack += (u32)TN_MIN((v->size + 7) / 8, TN_FROM_STACK_WORDS);
    return 0;
}

static bool is_floating(const struct tn_value *v)
{
    return !v->memory && (v->half[0] == TN_EIGHTBYTE_FLOATING || v->half[1] == TN_EIGHTBYTE_FLOATING);
}

static int refuse_unsure(const char *what, const char *name, struct tn_error *err)
{
    return tn_fail(
        err, -ENOTSUP, "layout_not_told",
        "%s of %s: its type does not tell how it is passed (members without a name, or of more kinds than "
        "one): pass a pointer to it",
        what, name);
}

static int too_many(const char *name, struct tn_error *err)
{
    return tn_fail(err, -E2BIG, "too_many_arguments",
                   "the arguments of %s take more than %u words, or lie further up the stack than %u", name,
                   TN_SHOWN_WORDS, TN_FROM_STACK_WORDS);
}

static int place_result(const struct tn_value *v, s8 narrow, const char *name, struct tn_typed_args *args,
                        struct tn_error *err)
{
    bool by_address = tn_value_by_address(v, true);
    u32 words = TN_MAX(tn_value_words(v, true), 1u), reg = 0;

    if (!by_address && is_floating(v))
        return tn_fail(err, -ENOTSUP, "result_not_integer",
                       "%s returns floating point, which is in a register that programs do not see", name);
    if (args->nwords + words > TN_SHOWN_WORDS)
        return too_many(name, err);
    args->narrow[args->nwords] = narrow;
    if (by_address) { /* rax is that as well, unless somebody has answered */
        args->from[args->nwords++] = 0;
        return 0;
    }
    for (u32 h = 0; h < words; h++)
        args->from[args->nwords++] = v->size && v->half[h] == TN_EIGHTBYTE_NONE ? TN_FROM_NOTHING
                                     : reg++                                    ? TN_FROM_RESULT_HIGH
                                                                                : TN_FROM_RESULT;
    return 0;
}

static int place_argument(const struct tn_btf *btf, const struct btf_param *p, bool aligned,
                          struct next *next, struct tn_typed_args *args, const char *name, u32 k,
                          struct tn_error *err)
{
    struct tn_value v = {0};
    char what[100];
    int r;

    snprintf(what, sizeof(what), "argument %u (%.64s)", k + 1, tn_btf_string(btf, p->name_off));
    if (!p->type)
        return tn_fail(err, -ENOTSUP, "variable_arguments", "%s has variable arguments", name);
    if (tn_btf_value(btf, p->type, &v) || !v.size || (!v.composite && v.size > 16))
        return tn_fail(err, -ENOTSUP, "argument_not_integer",
                       "%s of %s is no integer, pointer or struct of these", what, name);
    if (v.unsure)
        return refuse_unsure(what, name, err);
    if (is_floating(&v))
        return tn_fail(err, -ENOTSUP, "argument_not_integer",
                       "%s of %s has floating point, which is in a register that programs do not see", what,
                       name);
    if (args->nwords + tn_value_words(&v, false) > TN_SHOWN_WORDS)
        return too_many(name, err);
    args->narrow[args->nwords] = narrow(btf, p->type);
    r = place(&v, aligned, next, args);
    if (r == -EINVAL)
        return tn_fail(err, -ENOTSUP, "alignment_not_told",
                       "%s of %s is on the stack, and how it is aligned there its type does not tell: types "
                       "made of DWARF do",
                       what, name);
    return r ? too_many(name, err) : 0;
}

int tn_abi_words(const struct tn_btf *btf, u32 func, bool result, bool aligned,
                 struct tn_typed_args *ret_args, struct tn_error *err)
{
    const struct btf_type *f = tn_btf_type(btf, func), *proto;
    struct tn_typed_args args = {0};
    struct tn_value ret = {0};
    struct next next = {0};
    const char *name;
    int r = 0;

    if (!f || tn_btf_kind(f) != BTF_KIND_FUNC)
        return tn_fail(err, -EINVAL, "not_a_function", "type id %u is no function", func);
    name = tn_btf_string(btf, f->name_off);
    proto = tn_btf_type(btf, f->type);
    if (tn_btf_value(btf, proto->type, &ret) || ret.unsure)
        return refuse_unsure("the result", name, err);
    next.reg = ret.memory;
    for (u32 k = 0; k < tn_btf_vlen(proto) && !r; k++)
        r = place_argument(btf, &tn_btf_params(proto)[k], aligned, &next, &args, name, k, err);
    if (!r && result)
        r = place_result(&ret, narrow(btf, proto->type), name, &args, err);
    if (!r)
        *ret_args = args;
    return r;
}
