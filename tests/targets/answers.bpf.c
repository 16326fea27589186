/* SPDX-License-Identifier: MIT */
/* Answers in the place of answers.c's functions, by all three ways; each program is loaded alone. Those that know types
   (BY_TYPE) are an object of their own: the others need no host. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#ifndef BY_TYPE
#define HOST "targets-answers:"
/* By a probe, which knows nothing of types: for a of 7 and more. */
#define PROBE(name, value)                                                                                   \
    SEC("uprobe/" HOST "of_" #name)                                                                          \
    int probe_##name(struct pt_regs *ctx)                                                                    \
    {                                                                                                        \
        if ((int)PT_REGS_PARM1(ctx) >= 7)                                                                    \
            bpf_override_return(ctx, (unsigned long)(value));                                                \
        return 0;                                                                                            \
    }
PROBE(int, -3)
PROBE(char, 0x1ff85)
PROBE(bool, 1)
PROBE(u64, 0xfedcba9876543210)
PROBE(nothing, 0)

/* The pointer that it was given, two bytes on. */
SEC("uprobe/" HOST "of_pointer")
int probe_pointer(struct pt_regs *ctx)
{
    bpf_override_return(ctx, PT_REGS_PARM1(ctx) + 2);
    return 0;
}

/* The result, if it is 9: one less. */
SEC("uretprobe/" HOST "of_int")
int result_int(struct pt_regs *ctx)
{
    if ((int)PT_REGS_RC(ctx) == 9)
        bpf_override_return(ctx, PT_REGS_RC(ctx) - 1);
    return 0;
}
/* Registers, at both ends. */
SEC("uprobe/" HOST "of_depth")
int probe_depth(struct pt_regs *ctx)
{
    ctx->rsi = ctx->rsi + 1;
    return 0;
}
SEC("uretprobe/" HOST "of_depth")
int result_depth(struct pt_regs *ctx)
{
    ctx->rax = ctx->rax + 1000;
    return 0;
}
SEC("uprobe/" HOST "of_kept")
int probe_kept(struct pt_regs *ctx)
{
    ctx->rdi = 1;
    return 0;
}
SEC("uprobe/" HOST "of_depth")
int probe_saved(struct pt_regs *ctx)
{
    ctx->rbx = 1;
    return 0;
}
#else
extern void tenon_replace(void *ctx, unsigned long v) __ksym;

/* By a function of ours, and by what fmod_ret returns. */
#define TYPED(name)                                                                                          \
    SEC("fmod_ret/of_" #name)                                                                                \
    int BPF_PROG(ret_##name, int a)                                                                          \
    {                                                                                                        \
        return a >= 7 ? -3 : 0;                                                                              \
    }                                                                                                        \
    SEC("fentry/of_" #name)                                                                                  \
    int BPF_PROG(replace_##name, int a)                                                                      \
    {                                                                                                        \
        if (a >= 7)                                                                                          \
            tenon_replace(ctx, (unsigned long)-3);                                                           \
        return 0;                                                                                            \
    }                                                                                                        \
    SEC("fentry/of_" #name)                                                                                  \
    int BPF_PROG(look_##name, int a)                                                                         \
    {                                                                                                        \
        return 0;                                                                                            \
    }
/* The result, whatever it is: twice that. */
#define RESULT(name, type)                                                                                   \
    SEC("fexit/of_" #name)                                                                                   \
    int BPF_PROG(result_##name, int a, type result)                                                          \
    {                                                                                                        \
        tenon_replace(ctx, (unsigned long)(result * 2));                                                     \
        return 0;                                                                                            \
    }
RESULT(int, int)
RESULT(char, signed char)
/* … of what was asked with 8: the argument is the entry's. */
SEC("fexit/of_int")
int BPF_PROG(result_of_eight, int a, int result)
{
    if (a == 8)
        tenon_replace(ctx, 1000);
    return 0;
}

/* Arguments, as the host's function gets them: a store to the context's word. */
#define CHANGE(name, ...)                                                                                    \
    SEC("fentry/of_" #name)                                                                                  \
    int change_##name(unsigned long long *ctx)                                                               \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
        return 0;                                                                                            \
    }
CHANGE(widths, ctx[0] = 0x1fe; ctx[1] = 0x103; ctx[2] = -9; ctx[3] = 0x10004; ctx[4] = ctx[4] + 1; ctx[5] = 5;
       ctx[6] = -7; ctx[7] = 8;)
CHANGE(structs, ctx[0] = 7; ctx[1] = 8; ctx[2] = 5ull << 32 | 6; ctx[3] = 1 | 2 << 8; ctx[4] = ctx[4] + 0;)
CHANGE(depth, ctx[1] = ctx[1] + 10;)
CHANGE(handle, ctx[0] = ctx[1]; ctx[2] = 3;)
CHANGE(kept, ctx[0] = 1;)

SEC("fexit/of_depth")
int change_at_exit(unsigned long long *ctx)
{
    ctx[0] = 1;
    return 0;
}
SEC("fexit/of_depth")
int result_of_depth(unsigned long long *ctx)
{
    ctx[2] = ctx[2] + 100;
    return 0;
}

TYPED(int)
TYPED(char)
TYPED(nothing)
TYPED(pair)
TYPED(mixed)
TYPED(small)
TYPED(large)
TYPED(double)
TYPED(doubles)
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
