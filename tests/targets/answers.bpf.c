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
