/* SPDX-License-Identifier: MIT */
/* Fields of contexts and sockets: finding the row, and the context as a kind of memory; see ctx.h. */
#include "verify/ctx.h"

#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <stddef.h>

#include "verify/internal.h"
#include "verify/progtype.h"
#include "verify/track.h"

#define TN_REG_NUMBER TN_REG_SCALAR
static const struct tn_ctx_field fields[] = {
#define C(layout, name, first, end, load, store, yields)                                                     \
    {TN_CTX_##layout, TN_CTX_##load, TN_CTX_##store, TN_REG_##yields, first, end, name},
    TN_CTX_FIELDS(C)
#undef C
};

static const u8 base[] = {
#define L(layout, base) [TN_CTX_##layout] = TN_CTX_##base,
    TN_CTX_LAYOUTS(L)
#undef L
};

_Static_assert(offsetof(struct __sk_buff, data) == 76 && offsetof(struct __sk_buff, data_meta) == 140 &&
                   offsetof(struct __sk_buff, sk) == 168 && offsetof(struct __sk_buff, tstamp_type) == 180 &&
                   sizeof(struct __sk_buff) == 192,
               "the rows of SK_BUFF");
_Static_assert(sizeof(struct xdp_md) == 24 && offsetof(struct xdp_md, egress_ifindex) == 20,
               "those of XDP_MD");
_Static_assert(sizeof(struct bpf_perf_event_data) == 184 &&
                   offsetof(struct bpf_perf_event_data, sample_period) == 168,
               "those of PERF_EVENT");
_Static_assert(offsetof(struct bpf_sock, dst_port) == 48 && sizeof(struct bpf_sock) == 80, "those of SOCK");
_Static_assert(offsetof(struct bpf_tcp_sock, bytes_received) == 80 && sizeof(struct bpf_tcp_sock) == 112,
               "those of TCP_SOCK");

static bool fits(const struct tn_ctx_field *f, s64 off, u32 size, bool store, bool sext)
{
    u8 sizes = store ? f->store : f->load;

    if (!(sizes & size) || (sext && f->yields != TN_REG_SCALAR))
        return false;
    return sizes != TN_CTX_IN || off + size <= f->end;
}

const struct tn_ctx_field *tn_ctx_field(enum tn_ctx_layout layout, s64 off, u32 size, bool store, bool sext)
{
    if (off < 0 || off % size)
        return NULL;
    for (u8 l = (u8)layout; l != TN_CTX_NOTHING; l = base[l])
        for (size_t k = 0; k < TN_ARRAY_SIZE(fields); k++)
            if (fields[k].layout == l && off >= fields[k].first && off < fields[k].end)
                return fits(&fields[k], off, size, store, sext) ? &fields[k] : NULL;
    return NULL;
}

/* ------------------------------------------------------------------------------------------ as memory */

/* Bits for the words of [first, end); what lies beyond them counts as all of it. */
static void note_words(struct vf *v, u64 words[4], s64 first, s64 end)
{
    for (s64 word = first / 8; word < (end + 7) / 8; word++) {
        if (word < 256)
            words[word / 64] |= 1ull << (word % 64);
        else
            v->facts.ctx_escapes = true;
    }
    v->facts.ctx_end = TN_MAX(v->facts.ctx_end, (u32)end);
}

/* `p` NULL: by a helper. */
static int ask(struct vf *v, s64 off, u32 size, bool store, const struct tn_place *p)
{
    struct tn_access access = {.kind = store ? TN_ACCESS_WRITE : TN_ACCESS_READ,
                               .path = "",
                               .offset = (u32)off,
                               .size = size,
                               .insn = v->pc};
    struct tn_call_arg value[2];
    struct tn_error err;

    if (v->type->layout == TN_CTX_TYPED)
        access.entry = v->in->attach_btf_id;
    if (p && p->value && size == sizeof(u64)) {
        value[0] = value[1] = vf_arg_facts(v, p->value);
        if (p->value->kind == TN_REG_SCALAR) {
            value[1] = tn_low_half(p->value);
            if (p->value_reg >= 0)
                tn_track_precise(v, (u32)p->value_reg);
        }
        access.value = value;
    }
    vf_error_empty(&err);
    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    note_words(v, store ? v->facts.ctx_written : v->facts.ctx_read, off, off + size);
    return 0;
}

void tn_ctx_walked(struct vf *v)
{
    static const u8 words[] = {offsetof(struct tn_pt_regs, ip) / 8, offsetof(struct tn_pt_regs, sp) / 8,
                               offsetof(struct tn_pt_regs, bp) / 8};

    v->facts.walks = true;
    for (u32 i = 0; v->type->layout == TN_CTX_PT_REGS && i < TN_ARRAY_SIZE(words); i++)
        v->facts.ctx_read[0] |= 1ull << words[i];
}

/* The context is used as it came: its fields are rewritten, and a moved pointer names none of them. */
int tn_ctx_unmoved(struct vf *v, u32 regno)
{
    const struct tn_range *r = &vf_reg(v, regno)->r;

    if (!tn_range_is_const(r))
        return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                         "variable ctx access var_off=(0x%" PRIx64 "; 0x%" PRIx64
                         ") disallowed: name the fields of R%u by constants",
                         r->var.value, r->var.mask, regno);
    if (r->smin < 0)
        return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                         "negative offset ctx ptr R%u off=%" PRId64 " disallowed: use the context as it came",
                         regno, r->smin);
    if (r->smin)
        return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                         "dereference of modified ctx ptr R%u off=%" PRId64
                         " disallowed: use the context's fields directly",
                         regno, r->smin);
    return 0;
}

static enum tn_ctx_layout layout_of(const struct vf *v)
{
    if (v->in->prog_type == BPF_PROG_TYPE_XDP && v->in->expected_attach_type == BPF_XDP_DEVMAP)
        return TN_CTX_XDP_MD_DEVMAP;
    return (enum tn_ctx_layout)v->type->layout;
}

/* One past the last byte that has a field. */
static u32 end_of(enum tn_ctx_layout layout)
{
    u32 end = 0;

    for (u8 l = (u8)layout; l != TN_CTX_NOTHING; l = base[l])
        for (size_t k = 0; k < TN_ARRAY_SIZE(fields); k++)
            if (fields[k].layout == l)
                end = TN_MAX(end, (u32)fields[k].end);
    return end;
}

/* The context holds what is the host's, and goes back to it. */
static bool is_hosts(const struct vf *v)
{
    return v->type->layout == TN_CTX_PT_REGS || v->type->layout == TN_CTX_TYPED;
}

static const struct tn_ctx_field *field(const struct vf *v, s64 off, u32 size, bool store, bool sext)
{
    return store && is_hosts(v) && !v->auth->context_stores
               ? NULL
               : tn_ctx_field(layout_of(v), off, size, store, sext);
}

static int refuse_field(struct vf *v, const struct tn_place *p)
{
    bool store = p->use != TN_USE_READ;
    bool other = false;
    char what[64] = "read a field whole, from its start";

    for (u32 size = 1; size <= 8 && !p->helper; size *= 2)
        other |= field(v, p->min, size, store, p->sext) != NULL;
    if (!other)
        snprintf(what, sizeof(what), "its fields end at byte %u", end_of(layout_of(v)));
    else if (store)
        snprintf(what, sizeof(what), "write a field whole, from its start");
    return vf_refuse(v, v->pc,
                     other   ? TN_REASON_misaligned
                     : store ? TN_REASON_ctx_write
                             : TN_REASON_ctx_bounds,
                     "invalid bpf_context access off=%" PRId64
                     " size=%u: the context of a %s program has no field "
                     "that can be %s so; %s",
                     p->min, p->size, v->type->name, store ? "written" : "read", what);
}

/* What a helper gets of a context that is plain memory: all of it up to the last byte, as Linux asks. */
static int check_whole(struct vf *v, struct tn_place *p)
{
    bool store = p->use != TN_USE_READ;

    if (!p->size)
        return 0;
    if (!tn_ctx_field(layout_of(v), p->size - 1, 1, store, false) || (store && is_hosts(v)))
        return refuse_field(v, p);
    return ask(v, 0, p->size, store, NULL);
}

int tn_ctx_access(struct vf *v, struct tn_place *p)
{
    bool store = p->use != TN_USE_READ;
    const struct tn_ctx_field *f;
    int err = tn_ctx_unmoved(v, p->regno);

    if (err)
        return err;
    if (p->helper)
        return check_whole(v, p);
    if (v->type->layout == TN_CTX_TYPED) {
        err = tn_ctx_typed(v, p);
    } else {
        f = field(v, p->min, p->size, store, p->sext);
        if (!f)
            return refuse_field(v, p);
        if (store && is_hosts(v) && tn_reg_is_pointer(p->value))
            return vf_refuse(
                v, v->pc, TN_REASON_ctx_write,
                "a %s is stored to the context, and a register of the host's takes numbers: what it "
                "points to is the extension's",
                TN_REG_NAME(p->value));
        if (f->yields != TN_REG_SCALAR) {
            p->yields = tn_reg_pointer((enum tn_reg_kind)f->yields, 0);
            if (f->yields == TN_REG_SOCK_COMMON) {
                p->yields.flags = TN_PTR_MAYBE_NULL;
                p->yields.id = ++v->next_id;
            }
        }
    }
    return err ? err : ask(v, p->min, p->size, store, p);
}
