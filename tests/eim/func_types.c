/* SPDX-License-Identifier: MIT */
#include "tests/eim/func_types.h"

#include <setjmp.h>
#include <stdarg.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include <bpf/btf.h>

struct func_types func_types_make(void)
{
    struct btf *b = btf__new_empty();
    int number = btf__add_int(b, "int", 4, BTF_INT_SIGNED), any = btf__add_ptr(b, 0), proto;
    struct func_types t;
    const void *data;

    proto = btf__add_func_proto(b, number);
    btf__add_func_param(b, "ctx", any);
    t.program = (u32)btf__add_func(b, "program", BTF_FUNC_GLOBAL, proto);
    proto = btf__add_func_proto(b, number);
    btf__add_func_param(b, "index", number);
    btf__add_func_param(b, "ctx", any);
    t.callback = (u32)btf__add_func(b, "callback", BTF_FUNC_STATIC, proto);
    data = btf__raw_data(b, &t.size);
    t.btf = malloc(t.size);
    assert_non_null(t.btf);
    memcpy(t.btf, data, t.size);
    btf__free(b);
    return t;
}
