/* SPDX-License-Identifier: MIT */
/* The running kernel's types, as the verifier takes them. */
#ifndef TESTS_VERIFY_KERNEL_TYPES_H
#define TESTS_VERIFY_KERNEL_TYPES_H

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "btf/btf.h"

/* NULL where the kernel tells no types or lacks one of `n` functions; a line says which. To be closed with
   tn_btf_close. */
static inline struct tn_btf *kernel_types(const char *const *functions, u32 n)
{
    struct btf *told = btf__load_vmlinux_btf();
    struct tn_error err = {0};
    struct tn_btf *types = NULL;
    const void *data;
    u32 size;

    if (libbpf_get_error(told)) {
        print_message("# skipped: the kernel does not tell its types\n");
        return NULL;
    }
    data = btf__raw_data(told, &size);
    assert_int_equal(tn_btf_open(data, size, NULL, &types, &err), 0);
    btf__free(told);
    for (u32 k = 0; k < n; k++)
        if (!tn_btf_find(types, BTF_KIND_FUNC, functions[k])) {
            print_message("# skipped: this kernel has no %s()\n", functions[k]);
            tn_btf_close(types);
            return NULL;
        }
    return types;
}

#endif
