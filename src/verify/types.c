/* SPDX-License-Identifier: MIT */
/*
 * Loads through typed pointers; see types.h.
 *
 * A walk goes down from a struct to the member that holds the bytes asked for: nested structs by offset,
 * arrays by element (several dimensions as one), an array without a length at the end as far as it is told,
 * bitfields only whole. What it finds is a number, a pointer to a struct (with the tags it was declared
 * with), or a pointer to something else, which may be read through, with care, but is not known any further.
 *
 * An offset that the program's data tell is followed as well, into objects of a process: from the first place to
 * the last in one walk, as long as all of them lie in one number (or array of numbers), or are the same field of
 * elements of one array. That is so where the steps between them (step.h) are whole elements.
 */
#include "verify/types.h"

#include <inttypes.h>

#include "verify/internal.h"

/* ---------------------------------------------------------------------------------------------- the walk */

enum found { FOUND_NUMBER, FOUND_POINTER, FOUND_OTHER_POINTER, FOUND_STRUCT };
struct walk {
    const struct tn_btf *b;
    u32 type, flags; /* of what was found; flags are those that the way added */
    const char *field;
    u64 span;       /* from the first place to the last; 0: there is one, or all are alike from here on */
    u32 step;       /* between two of them */
    char path[160]; /* "cred.uid" */
};

static bool is_struct(const struct tn_btf *b, u32 id)
{
    u32 kind = tn_btf_kind_of(b, id);

    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
}

static const char *name_of(const struct tn_btf *b, u32 id)
{
    const char *name = tn_btf_name(b, id);

    return *name ? name : "(anon)";
}

static void went_through(struct walk *w, const struct btf_member *m)
{
    const char *name = tn_btf_string(w->b, m->name_off);
    size_t len = strlen(w->path);

    if (*name)
        snprintf(w->path + len, sizeof(w->path) - len, "%s%s", len ? "." : "", name);
}

static int beyond(struct tn_error *err, const char *name, s64 off, u32 size, u32 bytes)
{
    return tn_fail(err, -EACCES, "type_bounds",
                   "access beyond struct %s at off %" PRId64 " size %u: it has %u bytes", name, off, size,
                   bytes);
}

/* An access past the end of `t`: into the array without a length that it may end with. Sets *id and *off to
   go on with an element that is a struct; *id = 0: a number. */
static int into_flexible(const struct tn_btf *b, const struct btf_type *t, u32 *id, s64 *off, u32 size,
                         struct tn_error *err)
{
    const char *name = name_of(b, *id);
    const struct btf_member *last = tn_btf_members(t) + tn_btf_vlen(t) - 1;
    const struct btf_type *array, *elem;
    s64 start;
    u32 to;

    if (!tn_btf_vlen(t))
        return beyond(err, name, *off, size, t->size);
    array = tn_btf_type(b, tn_btf_resolve(b, last->type));
    start = tn_btf_member_bit(t, last) / 8;
    if (tn_btf_kind(array) != BTF_KIND_ARRAY || tn_btf_array(array)->nelems || *off < start)
        return beyond(err, name, *off, size, t->size);
    to = tn_btf_resolve(b, tn_btf_array(array)->type);
    if (tn_btf_kind_of(b, to) == BTF_KIND_INT) {
        *id = 0;
        return 0;
    }
    elem = tn_btf_type(b, to);
    if (!is_struct(b, to) || !elem->size)
        return beyond(err, name, *off, size, t->size);
    *off = (*off - start) % elem->size;
    *id = to;
    return 0;
}

/* Past all dimensions: the innermost element's type, its bytes in *ret_size. */
static u32 innermost(const struct tn_btf *b, u32 array, s64 *ret_size)
{
    u32 id = array;

    for (;;) {
        const struct btf_type *t = tn_btf_type(b, tn_btf_resolve(b, id));

        if (tn_btf_kind(t) != BTF_KIND_ARRAY)
            break;
        id = tn_btf_array(t)->type;
    }
    *ret_size = tn_btf_size(b, id);
    return id;
}

static u32 tag_flag(const struct tn_btf *b, u32 id)
{
    static const struct {
        const char *tag;
        u32 flag;
    } rows[] = {{"user", TN_PTR_USER}, {"percpu", TN_PTR_PERCPU}, {"rcu", TN_PTR_RCU}};
    const struct btf_type *t = tn_btf_type(b, id);

    if (!t || tn_btf_kind(t) != BTF_KIND_TYPE_TAG || BTF_INFO_KFLAG(t->info))
        return 0;
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (!strcmp(tn_btf_string(b, t->name_off), rows[k].tag))
            return rows[k].flag;
    return 0;
}

/* The places from `off` on, in things of `bytes` bytes each that lie from `start` on up to `end`: all in one of
   them, or at the same place in several, so that one stands for all from here on. */
static bool alike(struct walk *w, s64 off, u32 size, s64 start, s64 bytes, s64 end)
{
    s64 last = off + (s64)w->span + size;

    if (!w->span || last - start <= bytes)
        return true;
    if (last > end || bytes <= 0 || w->step % bytes)
        return false;
    w->span = 0;
    return true;
}

static int refuse_mixed(struct tn_error *err, const struct walk *w, s64 last, s64 end, const char *name,
                        const char *owner)
{
    if (last > end)
        return tn_fail(err, -EACCES, "type_bounds",
                       "invalid variable offset: the index may lead %" PRId64
                       " bytes beyond the last element of %s of struct %s: bound it by their number",
                       last - end, name, owner);
    return tn_fail(
        err, -EACCES, "type_bounds",
        "invalid variable offset: the %u bytes from one place to the next are no whole elements of %s of "
        "struct %s, so that they are not all the same field",
        w->step, name, owner);
}

/* One member, which has the byte at `off`. FOUND_STRUCT with *off ≠ 0: go on inside w->type. */
static int at_member(struct walk *w, const struct btf_type *t, u32 owner, const struct btf_member *m,
                     s64 *off, u32 size, struct tn_error *err)
{
    const struct tn_btf *b = w->b;
    s64 start = tn_btf_member_bit(t, m) / 8, bytes = tn_btf_size(b, m->type), end = start + bytes;
    u32 type = tn_btf_resolve(b, m->type), resolved = type;
    const struct btf_type *mt = tn_btf_type(b, type);
    const char *name = *tn_btf_string(b, m->name_off) ? tn_btf_string(b, m->name_off) : "(anon)";

    if (tn_btf_kind(mt) == BTF_KIND_ARRAY) {
        type = innermost(b, type, &bytes);
        resolved = tn_btf_resolve(b, type);
        mt = tn_btf_type(b, resolved);
        if (bytes)
            start += (*off - start) / bytes * bytes;
    }
    went_through(w, m);
    if ((is_struct(b, resolved) || tn_btf_kind(mt) == BTF_KIND_PTR) &&
        !alike(w, *off, size, start, bytes, end))
        return refuse_mixed(err, w, *off + (s64)w->span + size, end, name, name_of(b, owner));
    if (is_struct(b, resolved)) {
        w->type = type;
        *off -= start;
        return FOUND_STRUCT;
    }
    if (tn_btf_kind(mt) == BTF_KIND_PTR) {
        if (bytes != size || *off != start || w->span)
            return tn_fail(err, -EACCES, "type_bounds",
                           "cannot access ptr member %s with moff %" PRId64 " in struct %s with off %" PRId64
                           " size %u: a pointer is read whole or not at all",
                           name, start, name_of(b, owner), *off, size);
        w->type = tn_btf_resolve(b, mt->type);
        if (!is_struct(b, w->type))
            return FOUND_OTHER_POINTER;
        w->flags |= tag_flag(b, mt->type);
        w->field = name;
        return FOUND_POINTER;
    }
    /* Numbers may be read in any way inside the member, an array of them as well. */
    if (*off + (s64)w->span + size > end && (w->span || !(w->flags & TN_PTR_UNTRUSTED)))
        return tn_fail(err, -EACCES, "type_bounds",
                       "access beyond the end of member %s (mend:%" PRId64 ") in struct %s with off %" PRId64
                       " size %u",
                       name, end, name_of(b, owner), *off + (s64)w->span, size);
    return FOUND_NUMBER;
}

/* What lies at [off, off + size) of `id`: an enum found, or a negative errno. */
static int walk(struct walk *w, u32 id, s64 off, u32 size, bool flexible, struct tn_error *err)
{
    const struct tn_btf *b = w->b;

    for (;;) {
        const struct btf_type *t;
        int found = -ENOENT;

        id = tn_btf_resolve(b, id);
        t = tn_btf_type(b, id);
        if (!is_struct(b, id))
            return tn_fail(err, -EINVAL, "type_bounds", "Type '%s' is not a struct", name_of(b, id));
        /* Which member of a union is good is not known, but where there is one only. */
        if (tn_btf_kind(t) == BTF_KIND_UNION && tn_btf_vlen(t) != 1)
            w->flags |= TN_PTR_UNTRUSTED;
        if (off + (s64)w->span + size > t->size) {
            if (!flexible || w->span)
                return beyond(err, name_of(b, id), off + (s64)w->span, size, t->size);
            found = into_flexible(b, t, &id, &off, size, err);
            if (found)
                return found;
            if (!id)
                return FOUND_NUMBER;
            continue;
        }
        for (u32 k = 0; k < tn_btf_vlen(t) && found == -ENOENT; k++) {
            const struct btf_member *m = &tn_btf_members(t)[k];
            u32 bit = tn_btf_member_bit(t, m), width = tn_btf_member_bits(t, m);

            if (off + size <= bit / 8)
                break;
            if (width) {
                if (!w->span && off <= bit / 8 && (bit + width + 7) / 8 <= off + size)
                    found = FOUND_NUMBER;
                continue;
            }
            if (off < bit / 8)
                break;
            if (off < bit / 8 + tn_btf_size(b, m->type))
                found = at_member(w, t, id, m, &off, size, err);
        }
        if (found == -ENOENT)
            return tn_fail(err, -EINVAL, "type_bounds", "struct %s doesn't have field at offset %" PRId64,
                           name_of(b, id), off);
        if (found != FOUND_STRUCT || (!off && !w->span))
            return found;
        id = w->type;
    }
}

bool tn_types_match(const struct tn_btf *b, u32 from, s64 off, u32 to, bool strict, bool flexible)
{
    struct walk w = {.b = b, .type = from};

    if (!off && from == to)
        return true;
    if (strict)
        return false;
    do {
        if (!is_struct(b, tn_btf_resolve(b, w.type)) ||
            walk(&w, w.type, off, 1, flexible, NULL) != FOUND_STRUCT)
            return false;
        off = 0;
    } while (w.type != to);
    return true;
}

/* ------------------------------------------------------------------------------------------- trust */

#define GOOD_FLAGS (TN_PTR_ALLOC | TN_PTR_TRUSTED | TN_PTR_NON_OWNING)

bool tn_types_trusted(const struct tn_reg *reg)
{
    if (reg->ref)
        return true;
    if (reg->flags & ~GOOD_FLAGS)
        return false;
    return reg->flags || reg->kind == TN_REG_SOCKET || reg->kind == TN_REG_SOCK_COMMON ||
           reg->kind == TN_REG_TCP_SOCK || reg->kind == TN_REG_MAP;
}

bool tn_types_rcu(const struct tn_reg *reg)
{
    return reg->flags & TN_PTR_RCU;
}

/* Fields that are as good as the object they lie in are told by types beside the object's own: a member of
   the same name and type in "task_struct__safe_rcu" … */
static bool is_listed(const struct tn_btf *b, const struct tn_reg *of, const struct walk *w,
                      const char *suffix)
{
    const char *own = tn_btf_name(b, of->obj);
    size_t n = strlen(own), m = strlen(suffix) + 1;
    char name[64];
    const struct btf_type *t;
    u32 id;

    if (n + m > sizeof(name))
        return false;
    memcpy(name, own, n); /* each load through a trusted pointer comes here */
    memcpy(name + n, suffix, m);
    id = tn_btf_find(b, tn_btf_kind_of(b, of->obj), name);
    t = tn_btf_type(b, id);
    for (u32 k = 0; t && k < tn_btf_vlen(t); k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        const struct btf_type *mt = tn_btf_type(b, m->type);

        if (tn_btf_kind(mt) == BTF_KIND_PTR && tn_btf_resolve(b, mt->type) == w->type &&
            !strcmp(tn_btf_string(b, m->name_off), w->field))
            return true;
    }
    return false;
}

/* The flags of a pointer that was read from what `of` points to. */
static u32 inherited(const struct vf *v, const struct tn_reg *of, const struct walk *w)
{
    const struct tn_btf *b = w->b;
    u32 flags = w->flags;

    if (of->flags & TN_PTR_UNTRUSTED)
        return TN_PTR_UNTRUSTED;
    if (!tn_types_trusted(of) && !tn_types_rcu(of))
        return flags & ~(u32)(GOOD_FLAGS | TN_PTR_RCU);
    if (is_listed(b, of, w, "__safe_trusted"))
        return flags | TN_PTR_TRUSTED;
    if (is_listed(b, of, w, "__safe_trusted_or_null"))
        return flags | TN_PTR_TRUSTED | TN_PTR_MAYBE_NULL;
    if (!tn_in_rcu(v) || tn_reg_maybe_null(of))
        return TN_PTR_UNTRUSTED;
    if (is_listed(b, of, w, "__safe_rcu"))
        return flags | TN_PTR_RCU;
    if (is_listed(b, of, w, "__safe_rcu_or_null"))
        return (flags | TN_PTR_RCU | TN_PTR_MAYBE_NULL) & ~(u32)TN_PTR_UNTRUSTED;
    if (flags & TN_PTR_RCU)
        return flags | TN_PTR_MAYBE_NULL;
    if (flags & (TN_PTR_PERCPU | TN_PTR_USER))
        return flags;
    return flags & ~(u32)(GOOD_FLAGS | TN_PTR_RCU);
}

/* ------------------------------------------------------------------------------------------ access */

const struct tn_btf *tn_types_book(const struct vf *v, const struct tn_reg *reg)
{
    return reg->host ? v->in->host_btf : v->src.btf;
}

const char *tn_types_name(const struct vf *v, const struct tn_reg *reg)
{
    return name_of(tn_types_book(v, reg), reg->obj);
}

struct tn_reg tn_types_pointer(struct vf *v, u32 type, u32 flags)
{
    struct tn_reg reg = tn_reg_pointer(TN_REG_BTF, type);

    reg.host = true;
    reg.flags = (u16)flags;
    if (flags & TN_PTR_MAYBE_NULL)
        reg.id = ++v->next_id;
    return reg;
}

static int refuse_walk(struct vf *v, const struct tn_place *p, const struct tn_error *err)
{
    return vf_refuse(v, v->pc, TN_REASON_type_bounds, "%s (through R%u, a pointer to %s)", err->message,
                     p->regno, tn_types_name(v, &p->reg));
}

/* A plain store to an object of the host's: the authority wants to be asked, and the object is there. */
static bool is_host_store(const struct vf *v, const struct tn_place *p)
{
    return v->auth->host_stores && p->reg.host && p->use == TN_USE_WRITE && !p->atomic && !p->helper &&
           !(p->reg.flags & TN_PTR_ALLOC) && !tn_reg_maybe_null(&p->reg) && tn_types_trusted(&p->reg);
}

/* What it hits is one number: a pointer made of one would be followed by the host. */
static int check_store(struct vf *v, const struct tn_place *p, int found, const struct walk *w)
{
    v->facts.features |= 1ull << TN_FEATURE_store;
    if (found == FOUND_NUMBER && !(w->flags & TN_PTR_UNTRUSTED))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_read_only,
                     found == FOUND_NUMBER
                         ? "R%u points to a %s: %s lies in a union, which may be something else"
                         : "R%u points to a %s: %s is a pointer, and only numbers of the host are stored to",
                     p->regno, tn_types_name(v, &p->reg), w->path);
}

/* An object of a process that is surely there: read without care, and written where the authority says so. */
static bool is_valid(const struct vf *v, const struct tn_place *p)
{
    return v->in->process && p->reg.host && (p->reg.flags & TN_PTR_TRUSTED) &&
           !(p->reg.flags & TN_PTR_UNTRUSTED);
}

/* Of an offset that the program's data tell. */
static int check_moved(struct vf *v, const struct tn_place *p)
{
    const char *name = tn_types_name(v, &p->reg);

    if (!v->in->process || !p->reg.host || p->atomic || p->reg.flags & TN_PTR_ALLOC)
        return vf_refuse(v, v->pc, TN_REASON_type_bounds,
                         "R%u is ptr_%s invalid variable offset: off=%" PRId64
                         ": which field is accessed has to be the same on every run",
                         p->regno, name, p->fixed);
    if (p->min < 0 || p->max >= TN_MAX_OFFSET)
        return vf_refuse(
            v, v->pc, TN_REASON_type_bounds,
            "R%u is ptr_%s invalid variable offset: nothing keeps it inside the object; if (i < N) … "
            "before does, with i unsigned",
            p->regno, name);
    return 0;
}

static int check_pointer(struct vf *v, const struct tn_place *p)
{
    const char *name = tn_types_name(v, &p->reg);
    s64 off = p->fixed;

    if (p->reg.host && !v->in->gpl && !v->in->process)
        return vf_refuse(v, v->pc, TN_REASON_gpl_only,
                         "Cannot access kernel 'struct %s' from non-GPL compatible program", name);
    if (off < 0)
        return vf_refuse(v, v->pc, TN_REASON_type_bounds,
                         "R%u is ptr_%s invalid negative access: off=%" PRId64 ": fields begin at 0",
                         p->regno, name, off);
    if (!tn_range_is_const(&p->reg.r) || p->reg.r.smin != p->reg.delta) {
        int err = check_moved(v, p);

        if (err)
            return err;
    }
    if (p->reg.flags & TN_PTR_USER)
        return vf_refuse(v, v->pc, TN_REASON_opaque_access,
                         "R%u is ptr_%s access user memory: off=%" PRId64
                         ": copy it with bpf_probe_read_user()",
                         p->regno, name, off);
    if (p->reg.flags & TN_PTR_PERCPU)
        return vf_refuse(v, v->pc, TN_REASON_opaque_access,
                         "R%u is ptr_%s access percpu memory: off=%" PRId64
                         ": take this CPU's with bpf_this_cpu_ptr()",
                         p->regno, name, off);
    if (p->use != TN_USE_READ && !(p->reg.flags & TN_PTR_ALLOC) && !is_host_store(v, p))
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         "only read is supported: R%u points to a %s, which is not the program's own",
                         p->regno, name);
    if (p->use != TN_USE_READ && p->reg.flags & TN_PTR_UNTRUSTED)
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         "only read is supported: R%u is not known to be valid", p->regno);
    return 0;
}

void tn_types_probe(struct vf *v, struct tn_place *p)
{
    p->mem_kind = TN_MEM_PROBE;
    v->facts.may_fault = true;
    v->facts.features |= 1ull << TN_FEATURE_probe;
}

static int ask(struct vf *v, struct tn_access *access)
{
    struct tn_error err;

    access->insn = v->pc;
    vf_error_empty(&err);
    if (!v->auth->may_access(v->auth->self, access, &err))
        return 0;
    return vf_refuse_denied(v, TN_REASON_access_denied, &err);
}

/* Which bytes: places that touch each other are one. */
static int set_places(struct vf *v, const struct tn_place *p, struct tn_access *access)
{
    const struct tn_places *at = &p->at;

    access->offset = (u32)at->first;
    access->size = p->size;
    if (at->n <= 1)
        return 0;
    if (at->step <= p->size) {
        access->size += (u32)((at->n - 1) * at->step);
        return 0;
    }
    if (at->n > TN_PLACES_MAX)
        return vf_refuse(v, v->pc, TN_REASON_type_bounds,
                         "R%u may lead to %" PRIu64 " places here: more than %u at once are not looked at",
                         p->regno, at->n, TN_PLACES_MAX);
    access->step = at->step;
    access->places = (u32)at->n;
    return 0;
}

static int ask_authority(struct vf *v, const struct tn_place *p, const struct walk *w)
{
    struct tn_access access = {.kind = p->use == TN_USE_READ ? TN_ACCESS_READ : TN_ACCESS_WRITE,
                               .btf_id = p->reg.obj,
                               .var = p->reg.uid,
                               .path = w->path};
    int err;

    if (!p->reg.host)
        return 0;
    err = set_places(v, p, &access);
    return err ? err : ask(v, &access);
}

/* From struct to struct, until something else is found. */
static int find(struct walk *w, u32 type, s64 off, u32 size, bool flexible, struct tn_error *err)
{
    int found = FOUND_STRUCT;

    for (w->type = type; found == FOUND_STRUCT; off = 0)
        found = walk(w, w->type, off, size, flexible, err);
    return found;
}

/* A pointer in an object that is there, of which the authority knows that it leads to what is there, or is
 * NULL. */
static bool is_promised(struct vf *v, const struct tn_place *p, const struct walk *w)
{
    struct tn_access access = {
        .kind = TN_ACCESS_READ, .btf_id = p->reg.obj, .path = w->path, .offset = (u32)p->at.first, .size = 8};

    return p->at.n == 1 && p->reg.host && p->use == TN_USE_READ && !(w->flags & TN_PTR_UNTRUSTED) &&
           !tn_reg_maybe_null(&p->reg) && tn_types_trusted(&p->reg) && tn_attach_promised(v, &access);
}

static void set_yield(struct vf *v, struct tn_place *p, int found, const struct walk *w)
{
    if (found == FOUND_OTHER_POINTER) {
        p->yields = tn_reg_pointer(TN_REG_MEM, 0);
        p->yields.flags = TN_PTR_RDONLY | TN_PTR_UNTRUSTED;
    } else if (found == FOUND_POINTER && !(p->reg.flags & TN_PTR_ALLOC)) {
        p->yields = tn_types_pointer(
            v, w->type, is_promised(v, p, w) ? TN_PTR_TRUSTED | TN_PTR_MAYBE_NULL : inherited(v, &p->reg, w));
        p->yields.host = p->reg.host;
    }
}

/* Objects of the program's own have fields that only their functions touch. */
static int check_fields(struct vf *v, const struct tn_place *p)
{
    const struct tn_fields *fields = tn_fields_of(v, &p->reg);
    const struct tn_field *f = fields ? tn_fields_overlap(fields, p->fixed, p->fixed + p->size) : NULL;

    if (!f)
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_special_field,
        "direct access to %s is disallowed: it lies at offset %u of struct %s, and has functions of its own",
        tn_field_name((enum tn_field_kind)f->kind), f->offset, tn_types_name(v, &p->reg));
}

int tn_types_access(struct vf *v, struct tn_place *p)
{
    bool own = p->reg.flags & TN_PTR_ALLOC;
    struct walk w = {.b = tn_types_book(v, &p->reg)};
    struct tn_error why = {0};
    int found, err = check_pointer(v, p);

    if (!err && own)
        err = check_fields(v, p);
    if (err)
        return err;
    p->at = tn_step_places(&p->reg, p->fixed, p->min, p->max);
    w.span = (p->at.n - 1) * p->at.step;
    w.step = p->at.step;
    found = find(&w, p->reg.obj, p->at.first, p->size, !own, &why);
    if (found < 0)
        return refuse_walk(v, p, &why);
    if (is_host_store(v, p)) {
        err = check_store(v, p, found, &w);
        if (err)
            return err;
    }
    set_yield(v, p, found, &w);
    if (!own && !is_valid(v, p))
        tn_types_probe(v, p);
    return ask_authority(v, p, &w);
}

/* What the host calls the structure behind a map. M(map type, structure) */
// clang-format off
#define MAP_STRUCTS(M)                                                                                       \
    M(HASH, "bpf_htab") M(ARRAY, "bpf_array") M(PROG_ARRAY, "bpf_array") M(PERF_EVENT_ARRAY, "bpf_array")    \
    M(PERCPU_HASH, "bpf_htab") M(PERCPU_ARRAY, "bpf_array") M(STACK_TRACE, "bpf_stack_map")                  \
    M(CGROUP_ARRAY, "bpf_array") M(LRU_HASH, "bpf_htab") M(LRU_PERCPU_HASH, "bpf_htab")                      \
    M(LPM_TRIE, "lpm_trie") M(ARRAY_OF_MAPS, "bpf_array") M(HASH_OF_MAPS, "bpf_htab") M(DEVMAP, "bpf_dtab")  \
    M(SOCKMAP, "bpf_stab") M(CPUMAP, "bpf_cpu_map") M(XSKMAP, "xsk_map") M(SOCKHASH, "bpf_shtab")            \
    M(REUSEPORT_SOCKARRAY, "reuseport_array") M(QUEUE, "bpf_queue_stack") M(STACK, "bpf_queue_stack")        \
    M(SK_STORAGE, "bpf_local_storage_map") M(DEVMAP_HASH, "bpf_dtab") M(STRUCT_OPS, "bpf_struct_ops_map")    \
    M(RINGBUF, "bpf_ringbuf_map") M(INODE_STORAGE, "bpf_local_storage_map")                                  \
    M(TASK_STORAGE, "bpf_local_storage_map") M(BLOOM_FILTER, "bpf_bloom_filter")                             \
    M(USER_RINGBUF, "bpf_ringbuf_map")
// clang-format on

static const char *map_struct(u32 type)
{
    static const char *const rows[] = {
#define M(type, name) [BPF_MAP_TYPE_##type] = name,
        MAP_STRUCTS(M)
#undef M
            [32] = "bpf_local_storage_map", /* CGRP_STORAGE and ARENA: younger than the headers */
        [33] = "bpf_arena",
    };

    return type < TN_ARRAY_SIZE(rows) ? rows[type] : NULL;
}

int tn_types_map_access(struct vf *v, struct tn_place *p)
{
    const struct tn_btf *b = v->in->host_btf;
    u32 map_type = vf_map_of(v, &p->reg)->geo.type;
    const char *name = map_struct(map_type);
    u32 type = b && name ? tn_btf_find(b, BTF_KIND_STRUCT, name) : 0;
    struct walk w = {.b = b};
    struct tn_error why = {0};
    struct tn_reg whole;
    int found;

    if (!type)
        return vf_refuse(
            v, v->pc, TN_REASON_opaque_access,
            "R%u invalid mem access 'map_ptr': map_ptr access not supported for map type %u here: a map "
            "is reached through look-ups",
            p->regno, map_type);
    if (p->fixed < 0)
        return vf_refuse(v, v->pc, TN_REASON_type_bounds, "R%u is %s invalid negative access: off=%" PRId64,
                         p->regno, name, p->fixed);
    if (p->use != TN_USE_READ)
        return vf_refuse(v, v->pc, TN_REASON_read_only, "only read from %s is supported", name);
    found = find(&w, type, p->fixed, p->size, true, &why);
    if (found < 0)
        return vf_refuse(v, v->pc, TN_REASON_type_bounds, "%s", why.message);
    whole = tn_types_pointer(v, type, 0);
    p->reg = whole;
    p->at = (struct tn_places){p->fixed, 0, 1};
    set_yield(v, p, found, &w);
    tn_types_probe(v, p);
    return ask_authority(v, p, &w);
}

/* --------------------------------------------------------------------------------- variables of the host */

/* The section that the variable lies in is one copy for each CPU. */
static bool is_percpu(const struct tn_btf *b, u32 var)
{
    const struct btf_type *t = tn_btf_type(b, tn_btf_find(b, BTF_KIND_DATASEC, ".data..percpu"));

    for (u32 k = 0; t && k < tn_btf_vlen(t); k++)
        if (tn_btf_vars(t)[k].type == var)
            return true;
    return false;
}

/* The address of a function, or of a variable: may the program have it? */
static int ask_name(struct vf *v, u32 id)
{
    struct tn_access access = {.kind = TN_ACCESS_READ, .btf_id = id, .path = ""};

    return ask(v, &access);
}

int tn_types_handed(struct vf *v, const struct tn_reg *reg)
{
    return reg->kind == TN_REG_BTF && reg->host && reg->uid ? ask_name(v, reg->uid) : 0;
}

/* Numbers of the host's are written where the authority says so; a pointer would be followed. */
static bool is_written(const struct vf *v, u32 type)
{
    s64 size;
    u32 kind = tn_btf_kind_of(v->in->host_btf,
                              tn_btf_resolve(v->in->host_btf, innermost(v->in->host_btf, type, &size)));

    return v->in->process && v->auth->host_stores &&
           (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64);
}

/* A pointer to a struct that lies in the variable, whole, at this place, or at each of them. */
static bool pointer_in(struct walk *w, const struct tn_place *p)
{
    s64 size;
    u32 type = tn_btf_resolve(w->b, innermost(w->b, tn_btf_type(w->b, p->reg.uid)->type, &size));
    s64 off = size > 0 ? p->at.first % size : 0;

    if (p->at.n > 1 && (size <= 0 || p->at.step % size))
        return false;
    if (tn_btf_kind_of(w->b, type) != BTF_KIND_PTR)
        return is_struct(w->b, type) && find(w, type, off, p->size, false, NULL) == FOUND_POINTER;
    w->type = tn_btf_resolve(w->b, tn_btf_type(w->b, type)->type);
    return !off && is_struct(w->b, w->type);
}

int tn_types_variable(struct vf *v, struct tn_place *p)
{
    struct tn_access access = {.kind = TN_ACCESS_READ, .btf_id = p->reg.uid, .path = ""};
    struct walk w = {.b = v->in->host_btf};
    bool promised;
    int err = 0;

    if (!p->size)
        return 0;
    p->at = tn_step_places(&p->reg, p->fixed, p->min, p->max);
    err = set_places(v, p, &access);
    if (!err && p->use != TN_USE_WRITE)
        err = ask(v, &access);
    if (!err && p->use != TN_USE_READ) {
        access.kind = TN_ACCESS_WRITE;
        v->facts.features |= 1ull << TN_FEATURE_store;
        err = ask(v, &access);
    }
    if (err || p->use != TN_USE_READ || p->size != 8 || !v->in->process)
        return err;
    if (!pointer_in(&w, p))
        return 0;
    promised = p->at.n == 1 && !(w.flags & TN_PTR_UNTRUSTED) && tn_attach_promised(v, &access);
    p->yields = tn_types_pointer(v, w.type, promised ? TN_PTR_TRUSTED | TN_PTR_MAYBE_NULL : TN_PTR_UNTRUSTED);
    return 0;
}

int tn_types_ksym(struct vf *v, const struct bpf_insn *i)
{
    const struct tn_btf *b = v->in->host_btf;
    const struct btf_type *t = b ? tn_btf_type(b, (u32)i->imm) : NULL;
    u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN, type;
    struct tn_reg reg;
    int err;

    if (!t)
        return vf_refuse(v, v->pc, TN_REASON_bad_ld_imm64,
                         "ldimm64 insn specifies invalid btf_id %d: the host has no such type", i->imm);
    if (kind != BTF_KIND_VAR && kind != BTF_KIND_FUNC)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_ld_imm64,
            "pseudo btf_id %d in ldimm64 isn't KIND_VAR or KIND_FUNC: only those have an address", i->imm);
    type = tn_btf_resolve(b, t->type);
    if (kind == BTF_KIND_FUNC) { /* its address has no bytes to be read */
        err = ask_name(v, (u32)i->imm);
        if (err)
            return err;
        reg = tn_reg_pointer(TN_REG_MEM, 0);
        reg.flags = TN_PTR_RDONLY;
    } else { /* what is done with a variable is asked where it is done */
        bool percpu = is_percpu(b, (u32)i->imm);

        if (percpu || is_struct(b, type)) {
            reg = tn_types_pointer(v, type, percpu ? TN_PTR_PERCPU : v->in->process ? TN_PTR_TRUSTED : 0);
        } else {
            reg = tn_reg_pointer(TN_REG_MEM, (u32)tn_btf_size(b, type));
            reg.flags = is_written(v, type) ? 0 : TN_PTR_RDONLY;
        }
        reg.host = true;
        reg.uid = (u32)i->imm;
    }
    *vf_reg(v, i->dst_reg) = reg;
    v->facts.features |= 1ull << TN_FEATURE_symbol;
    return 0;
}
