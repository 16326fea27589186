/* SPDX-License-Identifier: MIT */
/*
 * Arguments of helpers, by the rows of protos.h. For each argument, in this order:
 *
 *      written at all → a packet only where packets may go → NULL where NULL may be → a kind of register that
 *      the row's kind accepts (rows below) → at its start, where only the start means something → what the
 *      kind itself asks (one case each)
 *
 * What the result and the helper's own rules need to know of the arguments is left in struct tn_helper_call.
 */
#include "verify/internal.h"
#include "verify/maptypes.h"

/* ------------------------------------------------------------------------------------- kinds of registers */

/* A(register kind, flags): exactly these flags. In the order in which Linux lists them in its messages. */
#define MEMORY(A)                                                                                            \
    A(STACK, 0)                                                                                              \
    A(PACKET, 0)                                                                                             \
    A(PACKET_META, 0)                                                                                        \
    A(MAP_KEY, 0)                                                                                            \
    A(MAP_VALUE, 0)                                                                                          \
    A(MEM, 0)                                                                                                \
    A(MEM, TN_PTR_RINGBUF)                                                                                   \
    A(BUF, 0)                                                                                                \
    A(BTF, TN_PTR_TRUSTED)
#define SOCKETS(A)                                                                                           \
    A(SOCK_COMMON, 0)                                                                                        \
    A(SOCKET, 0)                                                                                             \
    A(TCP_SOCK, 0)                                                                                           \
    A(XDP_SOCK, 0)
#define ANY_SOCKET(A)                                                                                        \
    SOCKETS(A)                                                                                               \
    A(BTF, 0)                                                                                                \
    A(BTF, TN_PTR_TRUSTED)
#define TYPED(A)                                                                                             \
    A(BTF, 0)                                                                                                \
    A(BTF, TN_PTR_TRUSTED)                                                                                   \
    A(BTF, TN_PTR_RCU)
#define PERCPU(A)                                                                                            \
    A(BTF, TN_PTR_PERCPU)                                                                                    \
    A(BTF, TN_PTR_PERCPU | TN_PTR_RCU)                                                                       \
    A(BTF, TN_PTR_PERCPU | TN_PTR_TRUSTED)
#define HOLDER(A)                                                                                            \
    A(MAP_VALUE, 0)                                                                                          \
    A(BTF, TN_PTR_ALLOC)
#define NEW_KPTR(A)                                                                                          \
    TYPED(A)                                                                                                 \
    A(BTF, TN_PTR_ALLOC)                                                                                     \
    A(BTF, TN_PTR_ALLOC | TN_PTR_PERCPU)
#define ON_STACK(A) A(STACK, 0)
#define DYNPTRS(A)  A(STACK, 0) A(DYNPTR, 0)
#define NUMBER(A)   A(SCALAR, 0)
#define CONTEXT(A)  A(CTX, 0)
#define MAPS(A)     A(MAP, 0)
#define RECORD(A)   A(MEM, TN_PTR_RINGBUF)
#define VALUES(A)   A(MAP_VALUE, 0)
#define FUNCS(A)    A(FUNC, 0)
#define FULL(A)     A(SOCKET, 0)

struct accepted {
    u8 kind; /* enum tn_reg_kind; the last one: TN_REG_NONE */
    u16 flags;
};
#define A(kind, flags) {TN_REG_##kind, flags},
/* L(argument kind, list) */
#define LISTS(L)                                                                                             \
    L(SCALAR, NUMBER)                                                                                        \
    L(CTX, CONTEXT)                                                                                          \
    L(MAP, MAPS)                                                                                             \
    L(KEY, MEMORY)                                                                                           \
    L(VALUE, MEMORY)                                                                                         \
    L(MEM, MEMORY)                                                                                           \
    L(FIXED, MEMORY)                                                                                         \
    L(SIZE, NUMBER)                                                                                          \
    L(ALLOC, NUMBER)                                                                                         \
    L(RECORD, RECORD)                                                                                        \
    L(STACK, ON_STACK)                                                                                       \
    L(LOCK, HOLDER)                                                                                          \
    L(TIMER, VALUES)                                                                                         \
    L(FUNC, FUNCS)                                                                                           \
    L(STR, VALUES)                                                                                           \
    L(BTF, TYPED)                                                                                            \
    L(SK, ANY_SOCKET)                                                                                        \
    L(SOCK_COMMON, SOCKETS)                                                                                  \
    L(SOCKET, FULL)                                                                                          \
    L(PERCPU, PERCPU)                                                                                        \
    L(KPTR, HOLDER)                                                                                          \
    L(KPTR_NEW, NEW_KPTR)                                                                                    \
    L(DYNPTR, DYNPTRS)
#define L(kind, list) static const struct accepted list_##kind[] = {list(A){TN_REG_NONE, 0}};
LISTS(L)
#undef L
static const struct accepted *const lists[TN_AK_COUNT] = {
#define L(kind, list) [TN_AK_##kind] = list_##kind,
    LISTS(L)
#undef L
};
#undef A

static int bad_type(struct vf *v, const struct tn_helper_call *c, u32 regno, const struct accepted *list)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    bool null = tn_reg_maybe_null(reg);
    char expected[160] = "";
    size_t len = 0;

    for (; list->kind && len < sizeof(expected); list++) {
        const struct tn_reg one = {.kind = list->kind, .flags = list->flags};

        len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s%s", len ? ", " : "",
                                TN_REG_NAME(&one));
    }
    return vf_refuse(v, v->pc, null ? TN_REASON_maybe_null : TN_REASON_arg_type,
                     "R%u type=%s expected=%s: argument %u of %s() is not what it takes%s", regno,
                     TN_REG_NAME(reg), expected, regno, c->proto->name,
                     null ? "; test the pointer against NULL first" : "");
}

static int check_kind(struct vf *v, const struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    u16 flags = reg->flags;

    if (form->flags & TN_AF_RDONLY)
        flags &= (u16)~TN_PTR_RDONLY;
    if (form->flags & TN_AF_NULL)
        flags &= (u16)~TN_PTR_MAYBE_NULL;
    if (form->kind == TN_AK_MEM || form->kind == TN_AK_FIXED)
        flags &= (u16)~TN_PTR_DYNPTR_MEM;
    if (flags & TN_PTR_STALE) /* says so */
        return tn_mem_helper(v, regno, 1, TN_USE_READ, false);
    for (const struct accepted *a = lists[form->kind]; a->kind; a++)
        if (a->kind == reg->kind && a->flags == flags)
            return 0;
    return bad_type(v, c, regno, lists[form->kind]);
}

/* --------------------------------------------------------------------------------------- where they point */

/* Kinds that may point anywhere into what they point into; the access is checked. */
static bool moves(const struct tn_reg *reg)
{
    switch (reg->kind) {
    case TN_REG_STACK:
    case TN_REG_PACKET:
    case TN_REG_PACKET_META:
    case TN_REG_MAP_KEY:
    case TN_REG_MAP_VALUE:
    case TN_REG_BUF:
    case TN_REG_ARENA:
    case TN_REG_SCALAR:
        return true;
    case TN_REG_MEM:
        return true;
    default:
        return false;
    }
}

static int check_place(struct vf *v, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (moves(reg) || (tn_range_is_const(&reg->r) && (!reg->r.smin || reg->kind == TN_REG_BTF)))
        return 0;
    if (reg->kind == TN_REG_CTX)
        return tn_ctx_unmoved(v, regno);
    return vf_refuse(v, v->pc, TN_REASON_arg_type,
                     "dereference of modified %s ptr R%u off=%lld disallowed: pass the pointer as it came",
                     TN_REG_NAME(reg), regno, (long long)reg->r.smin);
}

/* ------------------------------------------------------------------------------------------ one kind each */

static int arg_map(struct vf *v, struct tn_helper_call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    c->map = vf_map_of(v, reg);
    c->map_index = reg->obj;
    c->map_uid = reg->uid;
    return 0;
}

/* A key whose value is known: Linux looks at its own stack only, and so do we. */
static void note_key(struct vf *v, struct tn_helper_call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    u64 key;

    if (reg->kind != TN_REG_STACK || !tn_range_is_const(&reg->r) || c->map->geo.key_size != 4)
        return;
    if (tn_stack_const(v->cur.frame[reg->frame], reg->r.smin, 4, &key) && key <= INT32_MAX) {
        c->key = (s64)key;
        c->key_frame = reg->frame;
        c->key_at = reg->r.smin;
    }
}

static int arg_memory(struct vf *v, const struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form,
                      u64 size, bool exact)
{
    enum tn_mem_use use = form->flags & TN_AF_WRITE ? TN_USE_WRITE : TN_USE_READ;
    const struct tn_reg *reg = vf_reg(v, regno);
    bool element = form->kind == TN_AK_KEY || form->kind == TN_AK_VALUE;

    /* Linux has no mark that keys and values are only read, so takes them from no such object. */
    if (reg->kind == TN_REG_BTF && (use == TN_USE_WRITE || element))
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "%s() may write into memory pointed by R%u type=%s: %s", c->proto->name, regno,
                         TN_REG_NAME(reg), element ? "copy it to the stack" : "such an object is read-only");
    return tn_mem_helper(v, regno, size, use, exact && (form->flags & (TN_AF_UNINIT | TN_AF_RDONLY)));
}

static int arg_fixed(struct vf *v, const struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    int err = arg_memory(v, c, regno, form, form->n, true);

    if (!err && (form->flags & TN_AF_ALIGNED) && ((reg->r.var.value | reg->r.var.mask) & (form->n - 1u)))
        return vf_refuse(v, v->pc, TN_REASON_misaligned,
                         "misaligned access off %lld size %u: %s() stores there through R%u, which has to be "
                         "a multiple of that",
                         (long long)reg->r.smin, form->n, c->proto->name, regno);
    return err;
}

static bool is_null(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && !reg->r.umin;
}

static int arg_size(struct vf *v, struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    const struct tn_arg_form *mem = tn_proto_arg(c->proto, regno - 1);
    const struct tn_reg *reg = vf_reg(v, regno);

    c->longest = reg->r.umax;
    if (reg->r.smin < 0)
        return vf_refuse(
            v, v->pc, TN_REASON_arg_size,
            "R%u min value is negative, either use unsigned or 'var &= const': the size may be %lld", regno,
            (long long)reg->r.smin);
    if (!(form->flags & TN_AF_ZERO) && reg->r.umin == 0)
        return vf_refuse(v, v->pc, TN_REASON_arg_size,
                         "R%u invalid zero-sized read: u64=[%llu,%llu]: %s() needs at least 1", regno,
                         (unsigned long long)reg->r.umin, (unsigned long long)reg->r.umax, c->proto->name);
    if (is_null(vf_reg(v, regno - 1)))
        return reg->r.umax ? bad_type(v, c, regno - 1, lists[mem->kind]) : 0;
    if (reg->r.umax >= 1u << 29)
        return vf_refuse(v, v->pc, TN_REASON_arg_size,
                         "R%u unbounded memory access, use 'var &= const' or 'if (var < const)'", regno);
    return arg_memory(v, c, regno - 1, mem, reg->r.umax, tn_range_is_const(&reg->r));
}

static int arg_alloc(struct vf *v, struct tn_helper_call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (!tn_range_is_const(&reg->r) || reg->r.umax >= 1u << 29)
        return vf_refuse(
            v, v->pc, TN_REASON_arg_size,
            "R%u is not a known constant: it must be a known constant, since the size reserved is "
            "part of what is proved later",
            regno);
    c->size = (u32)reg->r.umin;
    return 0;
}

/* The string that surely stands there, whatever runs before: NULL where that is not known. */
static const char *known_str(struct vf *v, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const struct tn_verify_map *map = reg->kind == TN_REG_MAP_VALUE ? vf_map_of(v, reg) : NULL;
    const char *str;

    if (!map || !map->rdonly_prog || !map->frozen || !tn_range_is_const(&reg->r) ||
        reg->r.umin >= map->geo.value_size)
        return NULL;
    str = (const char *)map->frozen + reg->r.umin;
    return memchr(str, 0, map->geo.value_size - reg->r.umin) ? str : NULL;
}

int tn_arg_const_str(struct vf *v, u32 regno, const char **ret, u32 *ret_len)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const struct tn_verify_map *map = vf_map_of(v, reg);
    const struct tn_vmap *type = tn_vmap_by_type(map->geo.type);
    u64 off = reg->r.umin, left;

    if (!map->rdonly_prog || !map->frozen)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "R%u does not point to a readonly map': keep the string in .rodata (const char s[])",
                         regno);
    if (!tn_range_is_const(&reg->r))
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "R%u is not a constant address': which string it is has to be known", regno);
    if (!type || !(type->flags & TN_VM_DIRECT) || map->geo.max_entries != 1)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "no direct value access support for this map type: R%u is to point into global data",
                         regno);
    if (off >= map->geo.value_size)
        return vf_refuse(
            v, v->pc, TN_REASON_map_bounds,
            "invalid access to map value, value_size=%u off=%llu size=1: R%u points past its end",
            map->geo.value_size, (unsigned long long)off, regno);
    left = map->geo.value_size - off;
    if (strnlen((const char *)map->frozen + off, left) == left)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "string is not zero-terminated: R%u points to %llu bytes without a zero", regno,
                         (unsigned long long)left);
    *ret = (const char *)map->frozen + off;
    *ret_len = (u32)strlen(*ret);
    return 0;
}

/* The host's struct `from` has one of type `to` at that offset,
   itself or a first member of what lies there. */
static bool holds_type(const struct tn_btf *btf, u32 from, u64 off, u32 to)
{
    const struct btf_type *t;
    const struct btf_member *m;

    for (from = tn_btf_resolve(btf, from);; from = tn_btf_resolve(btf, m->type)) {
        if (from == to && !off)
            return true;
        t = tn_btf_type(btf, from);
        if (!t || tn_btf_kind(t) != BTF_KIND_STRUCT)
            return false;
        m = (const struct btf_member *)(t + 1);
        for (u32 left = tn_btf_vlen(t);; left--, m++) {
            u32 bits = BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;
            s64 size = left ? tn_btf_size(btf, m->type) : -1;

            if (!left)
                return false;
            if (size > 0 && off >= bits / 8 && off - bits / 8 < (u64)size) {
                off -= bits / 8;
                break;
            }
        }
    }
}

/* An object of the host's. */
static int arg_typed(struct vf *v, const struct tn_helper_call *c, u32 regno, u32 type)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const char *want = tn_proto_type_name(type);
    u32 id = v->in->host_btf ? tn_btf_find(v->in->host_btf, BTF_KIND_STRUCT, want) : 0;

    if (id && reg->host && holds_type(v->in->host_btf, reg->obj, (u64)reg->r.smin, id))
        return tn_types_handed(v, reg);
    return vf_refuse(v, v->pc, TN_REASON_arg_type, "R%u is of type %s but %s is expected by %s()", regno,
                     reg->host && v->in->host_btf ? tn_btf_name(v->in->host_btf, reg->obj)
                                                  : "another program's",
                     want, c->proto->name);
}

static int arg_dynptr(struct vf *v, struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    switch ((enum tn_dynptr_need)form->n) {
    case TN_DYNPTR_NEW_LOCAL:
        return tn_dynptr_new(v, regno, TN_DYNPTR_LOCAL, NULL);
    case TN_DYNPTR_NEW_RINGBUF:
        return tn_dynptr_new(v, regno, TN_DYNPTR_RINGBUF, NULL);
    case TN_DYNPTR_OF_RINGBUF:
        return tn_dynptr_release_arg(v, regno, TN_DYNPTR_RINGBUF);
    case TN_DYNPTR_ANY:
        break;
    }
    return tn_dynptr_arg(v, regno, TN_DYNPTR_NONE, false, &c->dynptr);
}

static int arg_lock(struct vf *v, const struct tn_helper_call *c, u32 regno)
{
    return c->proto->id == TN_PROTO_spin_lock ? tn_lock_take(v, regno, TN_REF_LOCK)
                                              : tn_lock_release(v, regno, TN_REF_LOCK);
}

static int arg_object(struct vf *v, struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_DYNPTR:
        return arg_dynptr(v, c, regno, form);
    case TN_AK_LOCK:
        return arg_lock(v, c, regno);
    case TN_AK_TIMER:
        return tn_field_arg(v, regno, TN_FIELD_TIMER, "bpf_timer");
    case TN_AK_KPTR:
        return tn_kptr_arg(v, regno, &c->kptr);
    case TN_AK_KPTR_NEW:
        return tn_kptr_match(v, regno, c->kptr);
    case TN_AK_FUNC:
        c->func = vf_reg(v, regno)->obj;
        return 0;
    case TN_AK_BTF:
        return arg_typed(v, c, regno, form->n);
    case TN_AK_SK:
        return vf_reg(v, regno)->kind == TN_REG_BTF ? arg_typed(v, c, regno, TN_BTF_OF_SOCK) : 0;
    default: /* nothing besides: MEM is looked at with the size that follows */
        return 0;
    }
}

static int check_one(struct vf *v, struct tn_helper_call *c, u32 regno, const struct tn_arg_form *form)
{
    const char *str;
    u32 len;

    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_CTX:
        if (c->proto->flags & TN_PF_WALKS)
            tn_ctx_walked(v);
        else if (!(c->proto->flags & TN_PF_CTX_RECORD))
            v->facts.ctx_escapes = true;
        return 0;
    case TN_AK_MAP:
        return arg_map(v, c, regno);
    case TN_AK_KEY:
        note_key(v, c, regno);
        return arg_memory(v, c, regno, form, c->map->geo.key_size, true);
    case TN_AK_VALUE:
        return arg_memory(v, c, regno, form, c->map->geo.value_size, true);
    case TN_AK_FIXED:
        return arg_fixed(v, c, regno, form);
    case TN_AK_SIZE:
        return arg_size(v, c, regno, form);
    case TN_AK_ALLOC:
        return arg_alloc(v, c, regno);
    case TN_AK_STR:
        return tn_arg_const_str(v, regno, &str, &len);
    default:
        return arg_object(v, c, regno, form);
    }
}

/* The value of an element of a map of sockets. */
static const struct tn_arg_form a_socket = {TN_AK_SK, 0, 0};

static bool is_packet(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_PACKET || reg->kind == TN_REG_PACKET_META || reg->kind == TN_REG_PACKET_END;
}

static int check_arg(struct vf *v, struct tn_helper_call *c, u32 regno)
{
    const struct tn_arg_form *form = tn_proto_arg(c->proto, regno);
    const struct tn_reg *reg = vf_reg(v, regno);
    bool null;
    int err = vf_need_init(v, regno);

    if (form->kind == TN_AK_VALUE && tn_vmap_by_type(c->map->geo.type) &&
        tn_vmap_by_type(c->map->geo.type)->found == TN_FOUND_SOCKET)
        form = &a_socket;

    if (err || form->kind == TN_AK_ANY)
        return err;
    if (is_packet(reg) && !tn_proto_takes_packets(v->in->prog_type, c->proto))
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "helper access to the packet is not allowed: R%u is a %s, and %s() takes none here; "
                         "copy the bytes to the stack",
                         regno, TN_REG_NAME(reg), c->proto->name);
    null = (form->flags & TN_AF_NULL) && is_null(reg);
    if (!null) {
        err = check_kind(v, c, regno, form);
        if (!err && !(form->flags & TN_AF_RELEASE))
            err = check_place(v, regno);
    }
    if (!err && form->kind != TN_AK_DYNPTR && form->kind != TN_AK_KPTR) /* these keep their own accounts */
        err = tn_ref_arg(v, regno, form->flags & TN_AF_RELEASE, &c->use);
    if (!err && (!null || form->kind == TN_AK_KPTR_NEW))
        err = check_one(v, c, regno, form);
    return err;
}

/* Helpers that print, as %s, what lies at an address; and which register has their format. */
static const struct {
    u32 id, format;
} printing[] = {{TN_PROTO_trace_printk, 1},
                {TN_PROTO_trace_vprintk, 1},
                {TN_PROTO_snprintf, 3},
                {TN_PROTO_seq_printf, 2}};

static bool takes_address(struct vf *v, const struct tn_helper_call *c)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(printing); k++)
        if (printing[k].id == c->proto->id) {
            const char *format = known_str(v, printing[k].format);

            return !format || tn_format_reads(format);
        }
    return c->proto->flags & TN_PF_PROCESS;
}

static int ask_process(struct vf *v, const struct tn_helper_call *c)
{
    struct tn_access access = {.kind = TN_ACCESS_READ, .path = "", .process = true, .insn = v->pc};
    struct tn_error err;
    u32 nargs = tn_proto_nargs(c->proto);

    access.size = (u32)TN_MIN(c->longest, (u64)UINT32_MAX);
    if (tn_proto_arg(c->proto, 1)->kind == TN_AK_ANY)
        access.kind = TN_ACCESS_WRITE; /* the address comes first */
    for (u32 a = 1; a <= nargs; a++)
        if (tn_proto_arg(c->proto, a)->kind == TN_AK_ANY && vf_reg(v, a)->kind == TN_REG_CTX)
            v->facts.ctx_escapes = true; /* its bytes are read as the host's memory */
    vf_error_empty(&err);
    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    return 0;
}

int tn_args_check(struct vf *v, struct tn_helper_call *c)
{
    u32 nargs = tn_proto_nargs(c->proto);
    int err = 0;

    c->key = -1;
    v->call_takes_packet = tn_proto_takes_packets(v->in->prog_type, c->proto);
    for (u32 a = 1; a <= nargs && !err; a++)
        err = check_arg(v, c, a);
    if (!err && takes_address(v, c))
        err = ask_process(v, c);
    return err;
}
