/* SPDX-License-Identifier: MIT */
/* See explain.h. */
#include "tests/differential/explain.h"

/* Refused here too, once it knows no more than Linux at one place. */
static bool refused_weakened(const struct ask *ask, const struct rec *as_is, const struct bpf_insn *insns,
                             u32 n, enum weakening which)
{
    static const struct rec_map numbers = {.type = BPF_MAP_TYPE_ARRAY,
                                           .key_size = 4,
                                           .value_size = 8,
                                           .max_entries = 1,
                                           .btf = -1,
                                           .inner = -1,
                                           .name = "unknown"};
    _free_ struct bpf_insn *weak = malloc((size_t)n * WEAK_GROWTH * sizeof(*weak));
    _free_ u8 *funcs = malloc(as_is->func_info.size + 16);
    _free_ struct rec *rec = malloc(sizeof(*rec));
    struct rec_program program = *as_is->program;
    u32 m, last = as_is->nmaps;

    if (!weak || !funcs || !rec || last + 1 >= REC_MAX_MAPS)
        return false;
    *rec = *as_is;
    if (rec->func_info.size)
        memcpy(funcs, rec->func_info.data, rec->func_info.size);
    m = weaken(which, insns, n, last, weak, (struct bpf_func_info *)funcs,
               program.func_info_rec_size == sizeof(struct bpf_func_info) ? rec->func_info.size / 8 : 0);
    if (!m)
        return false;
    if (rec->func_info.size)
        rec->func_info.data = funcs;
    rec->map[rec->nmaps++] = &numbers;
    program.nmaps = rec->nmaps; /* inner maps become nameable: no instruction names them */
    rec->program = &program;
    return !ask_accepts(ask, rec, weak, m, NULL);
}

int explain(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
            const char *words)
{
    if (!insns) {
        insns = rec->insns;
        n = rec->ninsns;
    }
    for (u32 k = 0; k < ACCEPTED_HERE_ROWS; k++) {
        if (!strstr(words, accepted_here[k].words))
            continue;
        if (accepted_here[k].weakening == WEAK_NONE ||
            refused_weakened(ask, rec, insns, n, accepted_here[k].weakening))
            return (int)k;
    }
    return -1;
}
