/* SPDX-License-Identifier: MIT */
/*
 * The vmlinux that typed programs of processes see: a few types that they have in common, and the functions
 * that are ours. Real vmlinux would win every clash of names with the host's types, and cost each load twenty
 * milliseconds.
 */
#include <errno.h>

#include <bpf/btf.h>

#include "broker/broker_int.h"
#include "broker/vmlinux.h"

#define FIELDS(F)                                                                                            \
    F(r15)                                                                                                   \
    F(r14)                                                                                                   \
    F(r13)                                                                                                   \
    F(r12)                                                                                                   \
    F(bp)                                                                                                    \
    F(bx) F(r11) F(r10) F(r9) F(r8) F(ax) F(cx) F(dx) F(si) F(di) F(orig_ax) F(ip) F(cs) F(flags) F(sp) F(ss)

static int add_function(struct btf *btf, const char *name, int result, const char *const *arg,
                        const int *type, u32 n)
{
    int proto = btf__add_func_proto(btf, result);

    for (u32 k = 0; k < n && proto >= 0; k++)
        if (btf__add_func_param(btf, arg[k], type[k]))
            return -ENOMEM;
    return proto < 0 || btf__add_func(btf, name, BTF_FUNC_GLOBAL, proto) < 0 ? -ENOMEM : 0;
}

/* As include/tenon/extension.h declares them. */
static int add_functions(struct btf *btf, int word, int any)
{
    static const char *const replace[] = {"ctx", "value"};
    static const char *const copy[] = {"own", "own__sz", "object", "pointer__k", "length__k"};
    int number = btf__add_int(btf, "unsigned int", sizeof(u32), 0);
    int result = btf__add_int(btf, "long", sizeof(s64), BTF_INT_SIGNED);
    int constant = btf__add_const(btf, 0), object = btf__add_ptr(btf, constant);
    int r = add_function(btf, TN_REPLACE_NAME, 0, replace, (const int[]){any, word}, TN_ARRAY_SIZE(replace));

    int truth = btf__add_int(btf, "_Bool", 1, BTF_INT_BOOL), words = btf__add_ptr(btf, word);

    if (!r)
        r = add_function(btf, TN_SESSION_RETURN_NAME, truth, NULL, NULL, 0);
    if (!r)
        r = add_function(btf, TN_SESSION_COOKIE_NAME, words, NULL, NULL, 0);
    return r ? r
             : add_function(btf, TN_COPY_NAME, result, copy, (const int[]){any, number, object, word, word},
                            TN_ARRAY_SIZE(copy));
}

/* The raw tracepoints that are served, as Linux tells them: a typedef each, of a pointer to what is called there. */
static int add_tracepoints(struct btf *btf, int regs, int any)
{
    static const char *const name[] = {"btf_trace_sys_enter", "btf_trace_sys_exit"};
    int number = btf__find_by_name_kind(btf, "long", BTF_KIND_INT), pointer = btf__add_ptr(btf, regs);

    for (u32 k = 0; k < TN_ARRAY_SIZE(name); k++) {
        int proto = btf__add_func_proto(btf, 0);

        if (number < 0 || proto < 0 || btf__add_func_param(btf, "__data", any) ||
            btf__add_func_param(btf, "regs", pointer) || btf__add_func_param(btf, k ? "ret" : "id", number) ||
            btf__add_typedef(btf, name[k], btf__add_ptr(btf, proto)) < 0)
            return -ENOMEM;
    }
    return 0;
}

int tn_vmlinux_make(void **ret_data, u32 *ret_size)
{
    struct btf *btf = btf__new_empty();
    int word, any, regs, r = 0;
    const void *raw;
    u8 *copy = NULL;
    u32 size = 0;

    if (!btf)
        return -ENOMEM;
    word = btf__add_int(btf, "unsigned long", sizeof(u64), 0);
    any = btf__add_ptr(btf, 0);
    regs = btf__add_struct(btf, "pt_regs", sizeof(struct tn_pt_regs));
    if (regs < 0)
        r = -ENOMEM;
#define F(name)                                                                                              \
    if (!r)                                                                                                  \
        r = btf__add_field(btf, #name, word, offsetof(struct tn_pt_regs, name) * 8, 0);
    FIELDS(F)
#undef F
    if (!r)
        r = add_functions(btf, word, any);
    if (!r)
        r = add_tracepoints(btf, regs, any);
    raw = r ? NULL : btf__raw_data(btf, &size);
    copy = raw ? malloc(size) : NULL;
    if (copy)
        memcpy(copy, raw, size);
    btf__free(btf);
    if (!copy)
        return r ? r : -ENOMEM;
    *ret_data = copy;
    *ret_size = size;
    return 0;
}
