/* SPDX-License-Identifier: MIT */
/*
 * Special fields on a path: who may touch them, and how.
 *
 *      field              loads and stores                     otherwise
 *      lock, timer, …     none                                 their own functions, at a constant offset
 *      kptr_untrusted     8 bytes: a pointer that may be wild  any pointer of its type is stored, or NULL
 *      kptr, percpu_kptr  8 bytes, loads only: good under RCU  bpf_kptr_xchg moves references in and out
 *      uptr               8 bytes, loads only: memory          filled by user space
 *
 * Records of a map's value and of the program's own structs are made once, before any path is followed. A map
 * that could not be made (a field that its type cannot hold) is refused there.
 */
#include "verify/internal.h"

#include "btf/btf.h"
#include "verify/maptypes.h"

static const struct {
    u32 not_for;
} kinds[] = {
#define F(kind, name, size, align, alone, home, no) [TN_FIELD_##kind] = {no},
    TN_FIELD_KINDS(F)
#undef F
};

/* ------------------------------------------------------------------------------------------------ records */

static const char *why(int err)
{
    switch (err) {
    case -E2BIG:
        return "has more special fields than there can be, or two of a kind that stands alone";
    case -EEXIST:
        return "has special fields that overlap";
    case -ENOENT:
        return "keeps a reference to a type that cannot be given back, or a list or tree of what is not "
               "there";
    default:
        return "has a special field that is malformed or lacks what it needs (a list or tree its lock)";
    }
}

static bool is_tracing(u32 prog_type)
{
    return prog_type == BPF_PROG_TYPE_KPROBE || prog_type == BPF_PROG_TYPE_TRACEPOINT ||
           prog_type == BPF_PROG_TYPE_PERF_EVENT || prog_type == BPF_PROG_TYPE_RAW_TRACEPOINT ||
           prog_type == BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE;
}

/* A program of this type may use a map with these fields. */
static int check_prog_type(struct vf *v, const struct tn_fields *f, const char *label)
{
    for (u32 k = 0; k < f->n; k++) {
        u32 not_for = kinds[f->field[k].kind].not_for;
        const char *name = tn_field_name(f->field[k].kind);

        if ((1u << f->field[k].kind) & TN_FIELD_ROOTS)
            name = "bpf_{list_head,rb_root}";
        if ((not_for & TN_FIELD_NO_TRACING) && is_tracing(v->in->prog_type))
            return vf_refuse(v, 0, TN_REASON_map_helper_mismatch,
                             "tracing progs cannot use %s yet: %s has one", name, label);
        if ((not_for & TN_FIELD_NO_FILTER) && v->in->prog_type == BPF_PROG_TYPE_SOCKET_FILTER)
            return vf_refuse(v, 0, TN_REASON_map_helper_mismatch,
                             "socket filter progs cannot use %s yet: %s has one", name, label);
    }
    return 0;
}

static int open_map(struct vf *v, u32 index, const struct tn_verify_map *map, struct tn_fields *ret)
{
    const struct tn_vmap *type = tn_vmap_by_type(map->geo.type);
    char label[TN_MAP_LABEL];
    enum tn_field_kind kind;

    vf_map_label(v, index, label);
    if (v->sleepable && type && !(type->flags & TN_VM_SLEEP))
        return vf_refuse(
            v, 0, TN_REASON_map_helper_mismatch,
            "Sleepable programs can only use array, hash, ringbuf and local storage maps: %s is a %s", label,
            type->name);
    if (!map->btf || !map->btf_value_type_id)
        return 0;
    /* A value that is malformed so has no special fields at all, in Linux and here:
       whoever asks for one is refused. */
    if (tn_fields_parse(map->btf, map->btf_value_type_id, TN_FIELDS_IN_MAP, map->geo.value_size,
                        v->in->host_btf, ret))
        return 0;
    /* A register says but an id: of a type in the program's book. (What user space fills is but bytes.) */
    for (u32 k = 0; k < ret->n; k++)
        if (ret->field[k].type && ret->field[k].kind != TN_FIELD_UPTR && !ret->field[k].host &&
            !tn_btf_same(map->btf, v->src.btf))
            return vf_refuse(
                v, 0, TN_REASON_bad_map,
                "%s keeps objects of a type that is not the program's own: load both with the same types",
                label);
    if (tn_fields_fit_map(ret, map->geo.type, map->rdonly_prog || map->wronly_prog, &kind))
        return vf_refuse(v, 0, TN_REASON_bad_map, "a map of this type cannot hold a %s, as %s does",
                         tn_field_name(kind), label);
    return check_prog_type(v, ret, label);
}

static int open_object(struct vf *v, const struct tn_btf *btf, u32 type)
{
    struct tn_special *s = &v->special;
    struct tn_object_type o = {.type = type};
    struct tn_object_type *grown;
    int err = tn_fields_of_object(btf, type, v->in->host_btf, &o.fields);

    if (!err && !o.fields.n)
        return 0;
    if (err)
        return vf_refuse(v, 0, TN_REASON_bad_btf, "struct %s %s", tn_btf_name(btf, type), why(err));
    if (s->nobjects % 16 == 0) {
        grown = realloc(s->object, (s->nobjects + 16) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        s->object = grown;
    }
    s->object[s->nobjects++] = o;
    return 0;
}

static int open_objects(struct vf *v)
{
    const struct tn_btf *btf = v->src.btf;
    u32 n = btf ? tn_btf_count(btf) : 0;
    int err = 0;

    for (u32 type = 1; !err && type < n; type++)
        if (tn_btf_kind_of(btf, type) == BTF_KIND_STRUCT || tn_btf_kind_of(btf, type) == BTF_KIND_UNION)
            err = open_object(v, btf, type);
    return err;
}

int tn_special_open(struct vf *v)
{
    u32 n = v->in->nmaps;
    int err = 0;

    v->special.map = calloc(n ? 2 * (size_t)n : 1, sizeof(*v->special.map));
    if (!v->special.map)
        return -ENOMEM;
    for (u32 k = 0; !err && k < n; k++) {
        const struct tn_verify_map *map = &v->in->maps[k];

        err = open_map(v, k, map, &v->special.map[2 * k]);
        if (!err && map->inner)
            err = open_map(v, k, map->inner, &v->special.map[2 * k + 1]);
    }
    return err ? err : open_objects(v);
}

void tn_special_close(struct vf *v)
{
    free(v->special.map);
    free(v->special.object);
    v->special = (struct tn_special){0};
}

const struct tn_fields *tn_fields_of_type(const struct vf *v, u32 type)
{
    for (u32 k = 0; k < v->special.nobjects; k++)
        if (v->special.object[k].type == type)
            return &v->special.object[k].fields;
    return NULL;
}

const struct tn_fields *tn_fields_of(const struct vf *v, const struct tn_reg *reg)
{
    if (reg->kind == TN_REG_MAP_VALUE || reg->kind == TN_REG_MAP)
        return &v->special.map[2 * reg->obj + (reg->uid ? 1 : 0)];
    if (reg->kind == TN_REG_BTF && !reg->host)
        return tn_fields_of_type(v, reg->obj);
    return NULL;
}

bool tn_reg_has_lock(const struct vf *v, const struct tn_reg *reg)
{
    const struct tn_fields *f = tn_fields_of(v, reg);

    return f && (f->mask & (TN_FIELD_BIT(SPIN_LOCK) | TN_FIELD_BIT(RES_SPIN_LOCK)));
}

/* --------------------------------------------------------------------------------------- loads and stores */

int tn_special_access(struct vf *v, const struct tn_reg *reg, s64 min, s64 max, u32 size, bool by_insn,
                      const struct tn_field **ret_kptr)
{
    const struct tn_fields *all = tn_fields_of(v, reg);
    const struct tn_field *f = all && size ? tn_fields_overlap(all, min, max + size) : NULL;

    *ret_kptr = NULL;
    if (!f)
        return 0;
    if (!((1u << f->kind) & (TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR))))
        return vf_refuse(
            v, v->pc, TN_REASON_special_field,
            "%s cannot be accessed directly by load/store: it lies at offset %u; only its functions touch it",
            tn_field_name(f->kind), f->offset);
    if (!by_insn)
        return vf_refuse(
            v, v->pc, TN_REASON_special_field,
            "kptr cannot be accessed indirectly by helper: one lies at offset %u of what is passed",
            f->offset);
    if (min != max)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "kptr access cannot have variable offset: one lies at offset %u", f->offset);
    if (min != f->offset)
        return vf_refuse(v, v->pc, TN_REASON_special_field, "kptr access misaligned expected=%u off=%lld",
                         f->offset, (long long)min);
    if (size != 8)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "kptr access size must be BPF_DW: a pointer is read whole");
    *ret_kptr = f;
    return 0;
}

static bool has_node(const struct vf *v, const struct tn_field *f)
{
    const struct tn_fields *of = f->host ? NULL : tn_fields_of_type(v, f->type);

    return of && (of->mask & TN_FIELD_NODES);
}

/* Under RCU what a referenced kptr shows stays good for the section:
   types that are kept are freed after it. */
static u16 loaded_flags(const struct vf *v, const struct tn_field *f)
{
    if (f->kind == TN_FIELD_KPTR_UNREF || !tn_in_rcu(v))
        return TN_PTR_UNTRUSTED;
    if (f->kind == TN_FIELD_KPTR_PERCPU)
        return TN_PTR_RCU | TN_PTR_PERCPU;
    return (u16)(TN_PTR_RCU | (f->host ? 0 : TN_PTR_ALLOC) | (has_node(v, f) ? TN_PTR_NON_OWNING : 0));
}

int tn_kptr_load(struct vf *v, const struct bpf_insn *i, const struct tn_field *f)
{
    struct tn_reg reg;

    if (BPF_MODE(i->code) != BPF_MEM)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "kptr in map can only be accessed using BPF_MEM instruction mode");
    if (f->kind == TN_FIELD_UPTR) {
        if (!f->size)
            return vf_refuse(v, v->pc, TN_REASON_special_field,
                             "the size of what the uptr points to is not known");
        reg = tn_reg_pointer(TN_REG_MEM, f->size);
        reg.flags = TN_PTR_MAYBE_NULL;
    } else {
        reg = tn_reg_pointer(TN_REG_BTF, f->type);
        reg.host = f->host;
        reg.flags = (u16)(TN_PTR_MAYBE_NULL | loaded_flags(v, f));
    }
    reg.id = ++v->next_id;
    *vf_reg(v, i->dst_reg) = reg;
    return 0;
}

/* The struct at offset `off` of `type` is, or begins with, `want`. */
static bool begins_with(const struct tn_btf *btf, u32 type, u64 off, u32 want)
{
    for (u32 depth = 0; depth < 32; depth++) {
        const struct btf_type *t = tn_btf_type(btf, type);
        const struct btf_member *m;
        u32 next = 0;

        if (!off && type == want)
            return true;
        if (!t || (tn_btf_kind(t) != BTF_KIND_STRUCT && tn_btf_kind(t) != BTF_KIND_UNION))
            return false;
        m = tn_btf_members(t);
        for (u32 k = 0; !next && k < tn_btf_vlen(t); k++) {
            u32 at = tn_btf_member_bit(t, &m[k]) / 8, id = tn_btf_resolve(btf, m[k].type);
            s64 size = tn_btf_size(btf, id);

            if (size <= 0 || off < at || off >= at + (u64)size)
                continue;
            next = id;
            off -= at;
        }
        if (!next)
            return false;
        type = next;
    }
    return false;
}

static bool kptr_fits(const struct vf *v, const struct tn_field *f, const struct tn_reg *reg)
{
    u16 may = TN_PTR_MAYBE_NULL;
    bool percpu = f->kind == TN_FIELD_KPTR_PERCPU;

    if (reg->kind != TN_REG_BTF || reg->host != f->host)
        return false;
    may |= reg->host ? TN_PTR_TRUSTED | TN_PTR_RCU : TN_PTR_ALLOC;
    if (reg->host && f->kind == TN_FIELD_KPTR_UNREF)
        may |= TN_PTR_UNTRUSTED;
    if (!reg->host && percpu)
        may |= TN_PTR_PERCPU;
    if ((reg->flags & (u16)~may) || percpu != ((reg->flags & TN_PTR_PERCPU) != 0))
        return false;
    if (reg->obj == f->type && !reg->r.smin)
        return true;
    if (f->kind != TN_FIELD_KPTR_UNREF || reg->r.smin < 0)
        return false;
    return begins_with(reg->host ? v->in->host_btf : v->src.btf, reg->obj, (u64)reg->r.smin, f->type);
}

int tn_kptr_match(struct vf *v, u32 regno, const struct tn_field *f)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const struct tn_btf *of = f->host ? v->in->host_btf : v->src.btf;
    const struct tn_btf *is = reg->host ? v->in->host_btf : v->src.btf;
    const char *name = of ? tn_btf_name(of, f->type) : "";

    if (reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && !reg->r.umin) {
        tn_track_precise(v, regno); /* NULL fits, and no other number would */
        return 0;
    }
    if (reg->kind == TN_REG_BTF && !tn_range_is_const(&reg->r))
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "variable ptr_ access var_off disallowed: R%u varies", regno);
    if (kptr_fits(v, f, reg))
        return tn_types_handed(v, reg);
    return vf_refuse(
        v, v->pc, TN_REASON_special_field,
        "invalid kptr access, R%u type=%s%s expected=ptr_%s%s%s: the field holds no such pointer", regno,
        TN_REG_NAME(reg), reg->kind == TN_REG_BTF && is ? tn_btf_name(is, reg->obj) : "", name,
        f->kind == TN_FIELD_KPTR_UNREF ? " or untrusted_ptr_" : "",
        f->kind == TN_FIELD_KPTR_UNREF ? name : "");
}

int tn_kptr_store(struct vf *v, const struct bpf_insn *i, const struct tn_field *f)
{
    if (BPF_MODE(i->code) != BPF_MEM)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "kptr in map can only be accessed using BPF_MEM instruction mode");
    if (f->kind == TN_FIELD_UPTR)
        return vf_refuse(v, v->pc, TN_REASON_special_field, "store to uptr disallowed: user space fills it");
    if (f->kind != TN_FIELD_KPTR_UNREF)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "store to referenced kptr disallowed: bpf_kptr_xchg() moves references");
    if (BPF_CLASS(i->code) == BPF_ST) {
        if (!i->imm)
            return 0;
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "BPF_ST imm must be 0 when storing to kptr at off=%u", f->offset);
    }
    return tn_kptr_match(v, i->src_reg, f);
}

/* --------------------------------------------------------------------------------- arguments of functions */

/* The record of what the register points into, and the offset there. */
static int place_of(struct vf *v, u32 regno, const char *name, const struct tn_fields **ret_fields,
                    s64 *ret_off)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    char label[TN_MAP_LABEL];

    if (!tn_range_is_const(&reg->r))
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "R%u doesn't have constant offset. %s has to be at the constant offset", regno,
                         name);
    if (reg->kind == TN_REG_MAP_VALUE) {
        const struct tn_verify_map *map = &v->in->maps[reg->obj];

        if (reg->uid && map->inner)
            map = map->inner;
        if (!map->btf)
            return vf_refuse(v, v->pc, TN_REASON_special_field,
                             "map '%s' has to have BTF in order to use %s: %s tells no types",
                             map->name ? map->name : "", name, vf_map_label(v, reg->obj, label));
    }
    *ret_fields = tn_fields_of(v, reg);
    *ret_off = reg->r.smin;
    return 0;
}

int tn_field_arg(struct vf *v, u32 regno, enum tn_field_kind kind, const char *func)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const struct tn_fields *all = NULL;
    const struct tn_field *f;
    s64 off;
    int err = place_of(v, regno, func, &all, &off);

    if (err)
        return err;
    f = all ? tn_fields_only(all, kind) : NULL;
    if (!f)
        return vf_refuse(
            v, v->pc, TN_REASON_special_field, "%s '%s' has no valid %s",
            reg->kind == TN_REG_MAP_VALUE ? "map" : "local",
            reg->kind == TN_REG_MAP_VALUE && v->in->maps[reg->obj].name ? v->in->maps[reg->obj].name : "kptr",
            func);
    if (off != f->offset)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "off %lld doesn't point to 'struct %s' that is at %u", (long long)off,
                         tn_field_name(kind), f->offset);
    return 0;
}

int tn_kptr_arg(struct vf *v, u32 regno, const struct tn_field **ret)
{
    const struct tn_fields *all = NULL;
    const struct tn_field *f;
    s64 off;
    int err = place_of(v, regno, "kptr", &all, &off);

    if (err)
        return err;
    if (!all || !(all->mask & (TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR))))
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "R%u has no valid kptr: its type has no such field", regno);
    f = off < 0 || off > UINT32_MAX ? NULL : tn_fields_at(all, (u32)off, TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR));
    if (!f)
        return vf_refuse(v, v->pc, TN_REASON_special_field, "off=%lld doesn't point to kptr", (long long)off);
    if (f->kind != TN_FIELD_KPTR_REF && f->kind != TN_FIELD_KPTR_PERCPU)
        return vf_refuse(v, v->pc, TN_REASON_special_field,
                         "off=%lld kptr isn't referenced kptr: load and store it directly", (long long)off);
    *ret = f;
    return 0;
}

struct giving {
    u32 ref;
    bool rcu;
};

static void give_reg(struct tn_reg *reg, void *arg)
{
    const struct giving *g = arg;

    if (reg->ref != g->ref || !tn_reg_is_pointer(reg))
        return;
    if (g->rcu && (reg->flags & TN_PTR_ALLOC) && (reg->flags & TN_PTR_PERCPU)) {
        reg->ref = 0;
        reg->flags = (u16)((reg->flags & ~TN_PTR_ALLOC) | TN_PTR_RCU);
        return;
    }
    *reg = tn_reg_scalar(tn_range_any());
}

int tn_kptr_given(struct vf *v, const struct tn_ref_use *use, const char *func)
{
    struct giving g = {use->ref, tn_in_rcu(v)};

    if (!use->ref) /* NULL was given */
        return 0;
    if (!tn_ref_drop(&v->cur, TN_REF_OBJECT, use->ref))
        return vf_refuse(v, v->pc, TN_REASON_bad_reference, "func %s reference has not been acquired before",
                         func);
    tn_state_each_reg(&v->cur, give_reg, &g);
    return 0;
}

int tn_kptr_taken(struct vf *v, const struct tn_field *f)
{
    struct tn_reg *r0 = vf_reg(v, 0);

    *r0 = tn_reg_pointer(TN_REG_BTF, f->type);
    r0->host = f->host;
    r0->flags = TN_PTR_MAYBE_NULL;
    if (!f->host)
        r0->flags |= TN_PTR_ALLOC | (f->kind == TN_FIELD_KPTR_PERCPU ? TN_PTR_PERCPU : 0);
    return tn_ref_lend(v, r0);
}

int tn_field_same_map(struct vf *v, u32 field_regno, u32 map_regno, const char *what)
{
    const struct tn_reg *at = vf_reg(v, field_regno), *map = vf_reg(v, map_regno);

    if (at->kind == TN_REG_MAP_VALUE && map->kind == TN_REG_MAP && at->obj == map->obj && at->uid == map->uid)
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_special_field,
        "%s pointer in R%u map_uid=%u doesn't match map pointer in R%u map_uid=%u: pass the map it lies in",
        what, field_regno, at->uid, map_regno, map->uid);
}
