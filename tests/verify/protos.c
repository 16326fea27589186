/* SPDX-License-Identifier: MIT */
/*
 * The rows of helpers and map types: against the helpers and maps that are built, and, as root, against the
 * kernel, which is asked for each helper and program type whether the one may call the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rt/helper/helpers.h"
#include "rt/map/map.h"
#include "verify/maptypes.h"
#include "verify/protos.h"

/* What an argument of a helper that is built is to the verifier. */
static bool same_kind(enum tn_arg built, const struct tn_arg_form *form)
{
    switch (built) {
    case TN_ARG_NONE:
        return form->kind == TN_AK_NONE;
    case TN_ARG_ANY:
    case TN_ARG_SCALAR:
        return form->kind == TN_AK_ANY || form->kind == TN_AK_SCALAR || form->kind == TN_AK_STACK ||
               form->kind == TN_AK_NONE; /* trace_printk: what the format asks for */
    case TN_ARG_CTX:
        return form->kind == TN_AK_CTX;
    case TN_ARG_MAP:
        return form->kind == TN_AK_MAP;
    case TN_ARG_MAP_KEY:
        return form->kind == TN_AK_KEY;
    case TN_ARG_MAP_VALUE:
        return form->kind == TN_AK_VALUE;
    case TN_ARG_MEM_RD:
    case TN_ARG_MEM_RD_NULL:
        return form->kind == TN_AK_MEM && !(form->flags & TN_AF_WRITE);
    case TN_ARG_MEM_WR:
        return form->kind == TN_AK_MEM && form->flags & TN_AF_WRITE;
    case TN_ARG_SIZE:
        return form->kind == TN_AK_SIZE && !(form->flags & TN_AF_ZERO);
    case TN_ARG_SIZE0:
        return form->kind == TN_AK_SIZE && form->flags & TN_AF_ZERO;
    case TN_ARG_RINGBUF_MEM:
        return form->kind == TN_AK_RECORD;
    case TN_ARG_CONST_SIZE:
        return form->kind == TN_AK_ALLOC;
    case TN_ARG_FUNC:
        return form->kind == TN_AK_FUNC;
    case TN_ARG_CONST_STR:
        return form->kind == TN_AK_STR;
    }
    return false;
}

static void test_what_is_built_has_its_row(void **state)
{
    static const struct {
        u32 id;
        const char *name;
        enum tn_arg arg[5];
        u32 flags;
    } built[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags)                                                          \
    {id, "bpf_" #name, {TN_ARG_##a1, TN_ARG_##a2, TN_ARG_##a3, TN_ARG_##a4, TN_ARG_##a5}, (u32)(flags)},
        TN_HELPERS(H)
#undef H
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(built); k++) {
        const struct tn_proto *proto = tn_proto_by_id(built[k].id);

        assert_non_null(proto);
        assert_string_equal(proto->name, built[k].name);
        assert_int_equal((built[k].flags & TN_HF_GPL) != 0, (proto->flags & TN_PF_GPL) != 0);
        assert_int_equal((built[k].flags & TN_HF_READS_PROCESS) != 0, (proto->flags & TN_PF_PROCESS) != 0);
        for (u32 a = 1; a <= 5; a++)
            if (!same_kind(built[k].arg[a - 1], tn_proto_arg(proto, a)))
                fail_msg("%s: argument %u is one thing where it is built, and another in its row",
                         proto->name, a);
    }
}

static void test_map_types_have_the_same_names(void **state)
{
#define M(type, prefix, text, flags) assert_string_equal(tn_vmap_by_type(BPF_MAP_TYPE_##type)->name, text);
    TN_MAP_TYPES(M)
#undef M
    assert_null(tn_vmap_by_type(0));
    assert_null(tn_vmap_by_type(TN_MAP_NUMBERS));
    assert_null(tn_vmap_by_type(UINT32_MAX));
    assert_false(tn_vmap_takes(UINT32_MAX, 1));
}

/* Each row on its own: a size comes after memory, a key or value after a map, and numbers rise. */
static void test_rows_are_sound(void **state)
{
    u32 n = 0;

    for (u32 id = 0; id < 2 * TN_PROTO_END; id++) {
        const struct tn_proto *proto = tn_proto_by_id(id);
        bool map = false;

        assert_int_equal(proto != NULL, id >= 1 && id < TN_PROTO_END);
        n += proto != NULL;
        for (u32 a = 1; proto && a <= 5; a++) {
            u8 kind = tn_proto_arg(proto, a)->kind, before = a > 1 ? tn_proto_arg(proto, a - 1)->kind : 0;

            assert_true(kind != TN_AK_SIZE || before == TN_AK_MEM);
            assert_true(before != TN_AK_MEM || kind == TN_AK_SIZE);
            map |= kind == TN_AK_MAP;
            assert_true(map || (kind != TN_AK_KEY && kind != TN_AK_VALUE));
        }
    }
    assert_int_equal(n, 211);
    assert_string_equal(tn_proto_name(0), "bpf_unspec");
    assert_string_equal(tn_proto_name(UINT32_MAX), "unknown");
    assert_null(tn_proto_for(TN_PROTO_xdp_adjust_head, BPF_PROG_TYPE_KPROBE, 0));
    assert_null(tn_proto_for(1, UINT32_MAX, 0));
    assert_non_null(tn_proto_for(TN_PROTO_xdp_adjust_head, BPF_PROG_TYPE_XDP, 0));
}

/* Helpers that the running kernel may be configured without. */
static bool may_be_missing(u32 id)
{
    return id == TN_PROTO_probe_write_user || id == TN_PROTO_override_return;
}

static bool kernel_has(u32 id, u32 type, char *log, size_t size, bool *ret_asked)
{
    const struct bpf_insn insns[] = {{.code = BPF_JMP | BPF_CALL, .imm = (s32)id},
                                     {.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                     {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attr = {.prog_type = type,
                           .insns = (u64)insns,
                           .insn_cnt = 3,
                           .license = (u64) "GPL",
                           .log_level = 1,
                           .log_buf = (u64)log,
                           .log_size = (u32)size};
    long fd;

    if (type == BPF_PROG_TYPE_SYSCALL)
        attr.prog_flags = BPF_F_SLEEPABLE;
    log[0] = 0;
    fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    if (fd >= 0)
        close((int)fd);
    *ret_asked = fd >= 0 || log[0];
    return !strstr(log, "program of this type cannot use helper") && !strstr(log, "invalid func ");
}

static void test_kernel_agrees(void **state)
{
    static const u32 types[] = {
        BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_KPROBE,         BPF_PROG_TYPE_SCHED_CLS,
        BPF_PROG_TYPE_SCHED_ACT,     BPF_PROG_TYPE_TRACEPOINT,     BPF_PROG_TYPE_XDP,
        BPF_PROG_TYPE_PERF_EVENT,    BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_SYSCALL,
        BPF_PROG_TYPE_LWT_XMIT,      BPF_PROG_TYPE_SK_MSG,         BPF_PROG_TYPE_CGROUP_SKB};
    char *log;
    bool asked = false;
    u32 wrong = 0;

    if (geteuid()) {
        print_message("# skipped: the kernel is asked as root only\n");
        skip();
    }
    log = malloc(1 << 16);
    assert_non_null(log);
    if (!kernel_has(1, BPF_PROG_TYPE_KPROBE, log, 1 << 16, &asked) || !asked) {
        free(log);
        print_message("# skipped: this kernel has no bpf(2) for us\n");
        skip();
    }
    for (size_t t = 0; t < TN_ARRAY_SIZE(types); t++)
        for (u32 id = 1; id < TN_PROTO_END; id++) {
            bool theirs = kernel_has(id, types[t], log, 1 << 16, &asked),
                 ours = tn_proto_for(id, types[t], 0);

            if (!asked || theirs == ours || may_be_missing(id))
                continue;
            wrong++;
            print_message("# %s in programs of type %u: %s\n", tn_proto_name(id), types[t],
                          theirs ? "only Linux has it" : "only we have it");
        }
    free(log);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_built_has_its_row),
        cmocka_unit_test(test_map_types_have_the_same_names),
        cmocka_unit_test(test_rows_are_sound),
        cmocka_unit_test(test_kernel_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
