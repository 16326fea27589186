/* SPDX-License-Identifier: MIT */
/*
 * Coverage-guided fuzzing of the verifier: bytes become a program with its type information; what is accepted
 * is run, watched (tests/verify/eval.h), so that not only a crash is a find but also an access outside, a
 * wrong fact, a run longer than told.
 *
 *      byte 0   program type, licence, are numbers compared that decide nothing, log level
 *      byte 1   how much of the rest is BTF, function and line records (in 1/16)
 *      then     instructions of eight bytes; then the information
 *
 * libFuzzer's own main: `fuzz-verify -max_total_time=60 corpus`. Started with -seeds=DIR alone it writes a
 * corpus made of random programs (tests/verify/gen.h) into DIR.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/verify/eval.h" /* before the words of asm.h */

#include "tests/verify/gen.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const u32 prog_types[] = {BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP,
                                 BPF_PROG_TYPE_TRACING};
static struct world world;

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct bpf_insn insns[EVAL_MAX_PROG];
    struct tn_authority authority = tn_authority_all;
    struct tn_verify_in in;
    static struct eval_views views;
    struct eval_end end;
    struct tn_verify_probe probe = {eval_remember, &views, data[0] & 8 ? eval_mark : NULL};
    struct tn_verdict v;
    const char *wrong = NULL;
    size_t info, text;

    if (size < 2 + sizeof(insns[0]))
        return 0;
    authority.limits.max_insns_processed = 3000;
    world_in(&world, prog_types[data[0] & 3], NULL, 0, NULL, &in);
    in.authority = &authority;
    in.gpl = data[0] & 4;
    in.log_level = data[0] >> 4 & 7;
    info = (size - 2) * (data[1] & 15) / 16;
    text = TN_MIN(size - 2 - info, sizeof(insns)) / sizeof(insns[0]);
    memcpy(insns, data + 2, text * sizeof(insns[0]));
    in.insns = insns;
    in.ninsns = (u32)text;
    if (info) {
        u32 third = (u32)info / 3;

        in.btf = data + size - info;
        in.btf_size = third;
        in.func_info = data + size - info + third;
        in.func_info_rec_size = sizeof(struct bpf_func_info);
        in.func_info_cnt = third / in.func_info_rec_size;
        in.line_info = data + size - third;
        in.line_info_rec_size = sizeof(struct bpf_line_info);
        in.line_info_cnt = third / in.line_info_rec_size;
    }
    if (tn_verify_probed(&in, &probe, &v))
        abort();
    if (v.accepted)
        for (u64 seed = 1; seed <= 3 && !wrong; seed++)
            wrong = eval_run(&in, &v, &views, seed * 0x9e3779b97f4a7c15ull, &end);
    if (wrong) {
        fprintf(stderr, "instruction %u: %s\n", end.pc, wrong);
        abort();
    }
    eval_forget(&views);
    tn_verdict_clear(&v);
    return 0;
}

static int write_seeds(const char *dir)
{
    for (u32 k = 1; k <= 200; k++) {
        char path[4096];
        u8 head[2] = {0};
        struct gen g;
        FILE *f;

        if (k % 2)
            gen_program(&g, k * 0x9e3779b97f4a7c15ull, k % 4 == 1);
        else
            gen_in_world(&g, k * 0x9e3779b97f4a7c15ull, &world, prog_types[k / 2 % 4]);
        snprintf(path, sizeof(path), "%s/%03u", dir, k);
        f = fopen(path, "wb");
        if (!f)
            return 1;
        head[0] = (u8)(4 | (k % 2 ? 0 : k / 2 % 4));
        fwrite(head, 1, 2, f);
        fwrite(g.insn, sizeof(g.insn[0]), g.n, f);
        if (fclose(f))
            return 1;
    }
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    world_open(&world);
    if (*argc == 2 && !strncmp((*argv)[1], "-seeds=", 7))
        exit(write_seeds((*argv)[1] + 7));
    return 0;
}
