/* SPDX-License-Identifier: MIT */
/* Calls a function of throws.cc that throws where its argument is even; the code is C's, and cannot be unwound. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern unsigned long throws(unsigned long a) __ksym;

__attribute__((btf_decl_tag("eim:class=calls"))) SEC("fentry/catches") int BPF_PROG(thrower, unsigned long a)
{
    throws(a + 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
