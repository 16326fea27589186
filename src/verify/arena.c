/* SPDX-License-Identifier: MIT */
/*
 * Arenas: memory that a program and user space share, addressed by both. A pointer into one is 32 bits that
 * are added to the arena's base by each access; whatever they are, the access stays inside 4 GiB of it, and
 * one that finds no page there yields 0 or is lost. So there is nothing to prove but which registers are such
 * pointers:
 *
 *      r1 = 0x10000 (any number, as user space has it)
 *      r1 = addr_space_cast(r1, 0, 1)     r1: arena; any arithmetic leaves it one
 *      r2 = *(u64 *)(r1 + 8)              r2: a number, whatever lies there
 *      r1 = addr_space_cast(r1, 1, 0)     r1: a number again
 *
 * The engines have to know that an access is one of these, so an instruction is not both that and another
 * kind.
 */
#include "verify/internal.h"
#include "verify/maptypes.h"

#define CAST_TO_ARENA 1
#define CAST_TO_USER  (1 << 16)
#define MAP_ARENA     33 /* younger than the headers */

bool tn_map_is_arena(const struct tn_verify_map *map)
{
    return map->geo.type == MAP_ARENA;
}

int tn_arena_check_cast(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc];

    if (i->dst_reg > 10 || i->src_reg > 10)
        return vf_refuse(v, pc, TN_REASON_bad_register, "R%u is invalid: there are R0 to R10",
                         TN_MAX(i->dst_reg, i->src_reg));
    if (i->dst_reg == 10)
        return vf_refuse(v, pc, TN_REASON_frame_pointer_write, "frame pointer is read only");
    if (i->imm != CAST_TO_ARENA && i->imm != CAST_TO_USER)
        return vf_refuse(v, pc, TN_REASON_reserved_field,
                         "addr_space_cast insn can only convert between address space 1 and 0, not by %#x",
                         i->imm);
    for (u32 k = 0; k < v->in->nmaps; k++)
        if (tn_map_is_arena(&v->in->maps[k]))
            return 0;
    return vf_refuse(v, pc, TN_REASON_bad_map,
                     "addr_space_cast insn can only be used in a program that has an associated arena");
}

void tn_arena_cast(struct vf *v, const struct bpf_insn *i)
{
    v->facts.features |= 1ull << TN_FEATURE_arena;
    *vf_reg(v, i->dst_reg) =
        i->imm == CAST_TO_ARENA ? tn_reg_pointer(TN_REG_ARENA, 0) : tn_reg_scalar(tn_range_any());
}

int tn_arena_access(struct vf *v, struct tn_place *p)
{
    const struct bpf_insn *i = &v->insns[v->pc];

    if (p->helper)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "R%u type=arena expected=fp, map_value, mem: the call does not reach into arenas",
                         p->regno);
    if (p->atomic && (i->imm == (BPF_AND | BPF_FETCH) || i->imm == (BPF_OR | BPF_FETCH) ||
                      i->imm == (BPF_XOR | BPF_FETCH)))
        return vf_refuse(
            v, v->pc, TN_REASON_bad_atomic,
            "BPF_ATOMIC stores into R%u arena is not allowed: this operation does not return the old value "
            "there",
            p->regno);
    v->facts.may_fault = true;
    return 0;
}
