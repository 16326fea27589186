/* SPDX-License-Identifier: MIT */
/*
 * Objects that a program allocates, and lists and trees of them.
 *
 *      p = bpf_obj_new(T)            p: ptr_T, owned: a reference that has to end
 *      bpf_rbtree_add(root, &p->n)   the tree owns it. p is borrowed now, while the lock is held
 *      q = bpf_rbtree_first(root)    q: borrowed, points at the node (offset of the node in T), or NULL
 *      q = bpf_rbtree_remove(…, q)   owned again, or NULL
 *      bpf_obj_drop(p)               gone
 *
 * What hangs on a root, and by which member, is told by a tag on the root ("contains:T:n", fields.h). A root
 * is touched under the lock that lies in the same object only. An object with a bpf_refcount may have several
 * owners; what is borrowed of it stays readable (RCU) after the lock is gone.
 */
#include <inttypes.h>

#include "verify/kfunc.h"

#define PERCPU_MAX 512 /* bytes of an object of which each CPU has one */

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);

    return n >= m && !strcmp(name + n - m, suffix);
}

/* What a pointer argument points to in C, by name: "bpf_rb_node"; "" for what has none. */
static const char *pointee_name(const struct tn_kcall *c, u32 arg)
{
    u32 type = tn_btf_resolve(c->b, tn_btf_params(c->proto)[arg].type);

    return tn_btf_name(c->b, tn_btf_resolve(c->b, tn_btf_type(c->b, type)->type));
}

/* An object of the program's own, exactly so: neither borrowed nor per CPU, unless `flags` says it may be. */
static bool is_object(const struct tn_reg *reg, u32 flags)
{
    return reg->kind == TN_REG_BTF && reg->flags & TN_PTR_ALLOC && !(reg->flags & ~(TN_PTR_ALLOC | flags));
}

static int check_owned(struct vf *v, u32 arg)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);

    if (!is_object(reg, 0))
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg,
            "arg#%u expected pointer to allocated object: r%u is a %s, not what bpf_obj_new() returned", arg,
            arg + 1, TN_REG_NAME(reg));
    if (!reg->ref)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "allocated object must be referenced: r%u is not owned any more", arg + 1);
    return 0;
}

/* -------------------------------------------------------------------------------------------- drop, count */

static int check_drop(struct vf *v, struct tn_kcall *c, u32 arg)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    bool percpu = is_object(reg, TN_PTR_PERCPU) && reg->flags & TN_PTR_PERCPU;

    if (!percpu && !tn_types_trusted(reg))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "R%u must be referenced or trusted: it is a %s",
                         arg + 1, TN_REG_NAME(reg));
    if (percpu && c->row->special != TN_KFUNC_PERCPU_DROP)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#%u expected for bpf_percpu_obj_drop_impl(): each CPU has one of it", arg);
    if (!percpu && is_object(reg, 0) && c->row->special != TN_KFUNC_OBJ_DROP)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#%u expected for bpf_obj_drop_impl(): there is one of it, not one a CPU", arg);
    if (!percpu && !is_object(reg, 0))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#%u expected pointer to allocated object: it is a %s", arg, TN_REG_NAME(reg));
    if (!reg->ref)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "allocated object must be referenced: r%u is not owned", arg + 1);
    c->object = *reg;
    return 0;
}

static int check_refcounted(struct vf *v, struct tn_kcall *c, u32 arg)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    const struct tn_fields *f;

    if (reg->kind != TN_REG_BTF || !(reg->flags & TN_PTR_ALLOC))
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg,
            "arg#%u is neither owning or non-owning ref: r%u is a %s, not an object of the program's", arg,
            arg + 1, TN_REG_NAME(reg));
    f = tn_fields_of(v, reg);
    if (!f || !tn_fields_only(f, TN_FIELD_REFCOUNT))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#%u doesn't point to a type with bpf_refcount field: struct %s has one owner",
                         arg, tn_types_name(v, reg));
    c->owning = reg->ref && !(reg->flags & TN_PTR_NON_OWNING);
    c->object = *reg;
    return 0;
}

/* ------------------------------------------------------------------------------------------- roots, nodes */

static int check_constant_offset(struct vf *v, u32 arg, const char *what)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);

    if (tn_range_is_const(&reg->r))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                     "R%u doesn't have constant offset. %s has to be at the constant offset", arg + 1, what);
}

static int not_found(struct vf *v, const char *what, s64 off)
{
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "%s not found at offset=%" PRId64 ": none lies there",
                     what, off);
}

static int check_root(struct vf *v, struct tn_kcall *c, u32 arg, enum tn_field_kind kind)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    const struct tn_field *lock;
    const struct tn_fields *f;
    int err;

    if (reg->kind != TN_REG_MAP_VALUE && !is_object(reg, 0))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#%u expected pointer to map value or allocated object: r%u is a %s", arg,
                         arg + 1, TN_REG_NAME(reg));
    if (reg->kind != TN_REG_MAP_VALUE) {
        err = check_owned(v, arg);
        if (err)
            return err;
    }
    err = check_constant_offset(v, arg, tn_field_name(kind));
    if (err)
        return err;
    f = tn_fields_of(v, reg);
    c->root = f && reg->r.smin >= 0 ? tn_fields_at(f, (u32)reg->r.smin, 1u << kind) : NULL;
    if (!c->root)
        return not_found(v, tn_field_name(kind), reg->r.smin);
    lock = tn_fields_only(f, TN_FIELD_SPIN_LOCK);
    if (!lock)
        lock = tn_fields_only(f, TN_FIELD_RES_SPIN_LOCK);
    if (!tn_lock_is_held(v, reg))
        return vf_refuse(v, v->pc, TN_REASON_bad_lock,
                         "%sbpf_spin_lock at off=%d must be held for %s: the lock that lies beside it",
                         v->cur.nlocks ? "held lock and object are not in the same allocation: " : "",
                         lock ? (int)lock->offset : -1, tn_field_name(kind));
    return 0;
}

/* The object's type is the one that the root's tag names, in the same book. */
static bool hangs_there(const struct vf *v, const struct tn_kcall *c, const struct tn_reg *reg)
{
    return !reg->host && reg->obj == c->root->type && v->src.btf;
}

static int check_node_place(struct vf *v, struct tn_kcall *c, u32 arg, enum tn_field_kind kind)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    const char *name = tn_field_name(kind);
    const struct tn_fields *f;
    s64 off;
    int err = check_constant_offset(v, arg, name);

    if (err)
        return err;
    off = reg->r.smin;
    f = tn_fields_of(v, reg);
    if (!f || off < 0 || !tn_fields_at(f, (u32)off, 1u << kind))
        return not_found(v, name, off);
    if (!c->root)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "%s: arg#%u is a node without a root", c->name, arg);
    if (!hangs_there(v, c, reg))
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg,
            "operation on %s expects arg#1 %s at offset=%u in struct %s, but arg is at offset=%" PRId64
            " in struct %s",
            tn_field_name((enum tn_field_kind)c->root->kind), name, c->root->node_offset,
            tn_btf_name(v->src.btf, c->root->type), off, tn_types_name(v, reg));
    if (off != c->root->node_offset)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "arg#1 offset=%" PRId64 ", but expected %s at offset=%u in struct %s", off, name,
                         c->root->node_offset, tn_btf_name(v->src.btf, c->root->type));
    c->object = *reg;
    return 0;
}

/* In the function that compares, while a tree is changed. */
static bool in_less(const struct vf *v)
{
    for (u32 k = 1; k < v->cur.nframes; k++) {
        const struct tn_frame *f = v->cur.frame[k];
        const struct tn_kfunc *row = f->callback && tn_insn_is_call(&v->insns[f->callsite])
                                         ? tn_kfunc_of(v, &v->insns[f->callsite])
                                         : NULL;

        if (row && row->special == TN_KFUNC_RB_ADD && v->insns[f->callsite].src_reg == BPF_PSEUDO_KFUNC_CALL)
            return true;
    }
    return false;
}

static int check_node(struct vf *v, struct tn_kcall *c, u32 arg, enum tn_field_kind kind)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    int err;

    if (kind == TN_FIELD_LIST_NODE || c->row->special == TN_KFUNC_RB_ADD) {
        err = check_owned(v, arg);
        if (err)
            return err;
        return check_node_place(v, c, arg, kind);
    }
    if (reg->kind != TN_REG_BTF || (!(reg->flags & TN_PTR_NON_OWNING) && !reg->ref))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "%s can only take non-owning or refcounted bpf_rb_node pointer: r%u is a %s",
                         c->name, arg + 1, TN_REG_NAME(reg));
    if (in_less(v))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "%s not allowed in rbtree cb: the tree is being changed while it compares", c->name);
    return check_node_place(v, c, arg, kind);
}

int tn_graph_arg(struct vf *v, struct tn_kcall *c, u32 arg, bool *ret_is)
{
    static const struct {
        u8 field;
        bool root;
    } rows[] = {{TN_FIELD_LIST_HEAD, true},
                {TN_FIELD_LIST_NODE, false},
                {TN_FIELD_RB_ROOT, true},
                {TN_FIELD_RB_NODE, false}};
    const char *name = tn_btf_string(c->b, tn_btf_params(c->proto)[arg].name_off), *to;

    *ret_is = true;
    if (ends_with(name, "__alloc"))
        return check_drop(v, c, arg);
    if (ends_with(name, "__refcounted_kptr"))
        return check_refcounted(v, c, arg);
    to = pointee_name(c, arg);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        enum tn_field_kind kind = (enum tn_field_kind)rows[k].field;

        if (!strcmp(to, tn_field_name(kind)))
            return rows[k].root ? check_root(v, c, arg, kind) : check_node(v, c, arg, kind);
    }
    *ret_is = false;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ effects */

static u16 borrowed(const struct vf *v, u32 type)
{
    const struct tn_fields *f = tn_fields_of_type(v, type);

    return TN_PTR_NON_OWNING | (f && tn_fields_only(f, TN_FIELD_REFCOUNT) ? TN_PTR_RCU : 0);
}

struct lend {
    u32 ref;
    u16 flags;
};

static void lend_reg(struct tn_reg *reg, void *arg)
{
    const struct lend *l = arg;

    if (reg->kind != TN_REG_BTF || reg->ref != l->ref)
        return;
    reg->ref = 0;
    reg->flags |= l->flags;
}

int tn_graph_given(struct vf *v, struct tn_kcall *c)
{
    struct lend l = {c->object.ref, 0};

    if (c->row->special != TN_KFUNC_LIST_PUSH && c->row->special != TN_KFUNC_RB_ADD)
        return 0;
    if (!tn_ref_drop(&v->cur, TN_REF_OBJECT, l.ref))
        return vf_refuse(v, v->pc, TN_REASON_bad_reference,
                         "kfunc %s#%u reference has not been acquired before", c->name, c->id);
    l.flags = borrowed(v, c->object.obj);
    tn_state_each_reg(&v->cur, lend_reg, &l);
    c->use.ref = 0;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ results */

static int new_object(struct vf *v, struct tn_kcall *c, struct tn_reg *r0)
{
    const struct tn_btf *own = v->src.btf;
    bool percpu = c->row->special == TN_KFUNC_PERCPU_NEW;
    const struct btf_type *t;

    if (c->constant > UINT32_MAX)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "local type ID argument must be in range [0, U32_MAX]");
    if (!own)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "bpf_obj_new/bpf_percpu_obj_new requires prog BTF: the program brought no types");
    t = tn_btf_type(own, (u32)c->constant);
    if (!t || tn_btf_kind(t) != BTF_KIND_STRUCT)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct");
    if (percpu && t->size > PERCPU_MAX)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "bpf_percpu_obj_new type size (%u) is greater than %d", t->size, PERCPU_MAX);
    if (percpu && !tn_is_plain_struct(own, (u32)c->constant))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "bpf_percpu_obj_new type ID argument must be of a struct of scalars");
    if (percpu && tn_fields_of_type(v, (u32)c->constant))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "bpf_percpu_obj_new type ID argument must not contain special fields");
    *r0 = tn_reg_pointer(TN_REG_BTF, (u32)c->constant);
    r0->flags = TN_PTR_ALLOC | (percpu ? TN_PTR_PERCPU : 0);
    return 0;
}

static void node(const struct tn_kcall *c, struct tn_reg *r0)
{
    *r0 = tn_reg_pointer(TN_REG_BTF, c->root->type);
    r0->flags = TN_PTR_ALLOC;
    r0->r = tn_range_const(c->root->node_offset);
    r0->delta = (s32)c->root->node_offset;
}

void tn_graph_compared(const struct vf *v, const struct tn_kcall *c, struct tn_reg *ret)
{
    node(c, ret);
    ret->flags |= borrowed(v, c->root->type);
}

int tn_graph_result(struct vf *v, struct tn_kcall *c, struct tn_reg *r0)
{
    switch (c->row->special) {
    case TN_KFUNC_OBJ_NEW:
    case TN_KFUNC_PERCPU_NEW:
        return new_object(v, c, r0);
    case TN_KFUNC_REFCOUNT:
        *r0 = tn_reg_pointer(TN_REG_BTF, c->object.obj);
        r0->flags = TN_PTR_ALLOC;
        return 0;
    default:
        node(c, r0);
        if (!(c->row->flags & TN_KF_ACQUIRE))
            r0->flags |= borrowed(v, c->root->type);
        return 0;
    }
}
