/* SPDX-License-Identifier: MIT */
/* See kernel.h. */
#include "tests/verify/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>

const char *kernel_open(struct kernel *k, const struct tn_verify_map *maps, u32 nmaps)
{
    static const struct bpf_insn ret0[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                           {.code = BPF_JMP | BPF_EXIT}};
    int fd;

    *k = (struct kernel){.btf = -1};
    if (geteuid())
        return "the kernel's verifier is asked as root only";
    fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "probe", "GPL", ret0, 2, NULL);
    if (fd < 0)
        return "this kernel does not load programs (bpf(2) is missing or forbidden)";
    close(fd);
    for (u32 m = 0; m < nmaps; m++) {
        LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = maps[m].geo.map_flags);
        u32 zero = 0;

        fd = bpf_map_create((enum bpf_map_type)maps[m].geo.type, "test", maps[m].geo.key_size,
                            maps[m].geo.value_size, maps[m].geo.max_entries, &opts);
        if (fd < 0) {
            kernel_close(k);
            return "this kernel does not create maps";
        }
        k->map[k->nmaps++] = fd;
        if (maps[m].frozen && (bpf_map_update_elem(fd, &zero, maps[m].frozen, 0) || bpf_map_freeze(fd))) {
            kernel_close(k);
            return "this kernel does not freeze maps";
        }
    }
    return NULL;
}

void kernel_close(struct kernel *k)
{
    while (k->nmaps)
        close(k->map[--k->nmaps]);
    if (k->btf >= 0)
        close(k->btf);
}

static int load(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, u32 level, char *log,
                u32 log_size)
{
    LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = level, .log_buf = log, .log_size = log_size);
    _free_ struct bpf_insn *copy = malloc(n * sizeof(*copy));

    if (k->func_info_cnt) {
        opts.prog_btf_fd = (u32)k->btf;
        opts.func_info = k->func_info;
        opts.func_info_cnt = k->func_info_cnt;
        opts.func_info_rec_size = sizeof(*k->func_info);
    }

    if (!copy)
        abort();
    memcpy(copy, insns, n * sizeof(*copy));
    for (u32 i = 0; i < n; i++) {
        if (copy[i].code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if ((copy[i].src_reg == BPF_PSEUDO_MAP_FD || copy[i].src_reg == BPF_PSEUDO_MAP_VALUE) &&
            (u32)copy[i].imm < k->nmaps)
            copy[i].imm = k->map[copy[i].imm];
        i++;
    }
    return bpf_prog_load((enum bpf_prog_type)type, "test", "GPL", copy, n, &opts);
}

bool kernel_accepts(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, char *log,
                    u32 log_size)
{
    int fd = load(k, type, insns, n, 0, NULL, 0);

    if (fd < 0 && log)
        fd = load(k, type, insns, n, 1, log, log_size);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool kernel_log(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, u32 level, char *log,
                u32 log_size)
{
    int fd = load(k, type, insns, n, level, log, log_size);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
