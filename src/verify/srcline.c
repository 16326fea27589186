/* SPDX-License-Identifier: MIT */
/* Type, line and function information of a program, read with distrust; see srcline.h. */
#include "verify/srcline.h"

#include <linux/btf.h>

#include "verify/internal.h"

#define MAX_BTF      (16u << 20)
#define MAX_REC_SIZE 252u

static bool string_ok(const struct tn_src *s, u32 off)
{
    return off < s->strings_len; /* the section ends with NUL */
}

static u32 trailing_bytes(u32 kind, u32 vlen, bool *ret_known)
{
    *ret_known = true;
    switch (kind) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
        return 4;
    case BTF_KIND_ARRAY:
        return sizeof(struct btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return vlen * (u32)sizeof(struct btf_member);
    case BTF_KIND_ENUM:
        return vlen * (u32)sizeof(struct btf_enum);
    case BTF_KIND_ENUM64:
        return vlen * 12;
    case BTF_KIND_FUNC_PROTO:
        return vlen * (u32)sizeof(struct btf_param);
    case BTF_KIND_DATASEC:
        return vlen * (u32)sizeof(struct btf_var_secinfo);
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG:
        return 0;
    default:
        *ret_known = false;
        return 0;
    }
}

/* Two walks: count, then index. Nothing is read that lies outside [0, types_len). */
static int walk_types(struct tn_src *s, bool fill)
{
    struct btf_type t;
    u32 off = 0, n = 1, more;
    bool known;

    while (off < s->types_len) {
        if (s->types_len - off < sizeof(t))
            return -EINVAL;
        memcpy(&t, s->types + off, sizeof(t));
        more = trailing_bytes(BTF_INFO_KIND(t.info), BTF_INFO_VLEN(t.info), &known);
        if (!known || more > s->types_len - off - sizeof(t) || !string_ok(s, t.name_off))
            return -EINVAL;
        if (fill)
            s->type_off[n] = off;
        n++;
        off += (u32)sizeof(t) + more;
    }
    s->ntypes = n;
    return 0;
}

int tn_src_open(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    struct tn_src *s = &v->src;
    struct btf_header h;
    u64 room;

    if (!in->btf || !in->btf_size) {
        if (in->func_info_cnt || in->line_info_cnt)
            return vf_refuse(v, 0, TN_REASON_bad_btf,
                             "function or line information without BTF: pass prog_btf_fd too");
        return 0;
    }
    if (in->btf_size < sizeof(h) || in->btf_size > MAX_BTF)
        return vf_refuse(v, 0, TN_REASON_bad_btf, "BTF of %u bytes", in->btf_size);
    memcpy(&h, in->btf, sizeof(h));
    if (h.magic != BTF_MAGIC || h.version != 1 || h.hdr_len < sizeof(h) || h.hdr_len > in->btf_size)
        return vf_refuse(v, 0, TN_REASON_bad_btf, "BTF header: magic %04x, version %u, length %u", h.magic,
                         h.version, h.hdr_len);
    room = in->btf_size - h.hdr_len;
    if (h.type_off > room || h.type_len > room - h.type_off || h.str_off > room ||
        h.str_len > room - h.str_off || h.type_off % 4 || !h.str_len)
        return vf_refuse(v, 0, TN_REASON_bad_btf, "a BTF section reaches past the end of the data");
    s->types = (const u8 *)in->btf + h.hdr_len + h.type_off;
    s->types_len = h.type_len;
    s->strings = (const char *)in->btf + h.hdr_len + h.str_off;
    s->strings_len = h.str_len;
    if (s->strings[0] || s->strings[h.str_len - 1]) {
        s->strings = NULL;
        s->strings_len = 0;
        return vf_refuse(v, 0, TN_REASON_bad_btf, "BTF strings do not begin and end with NUL");
    }
    if (walk_types(s, false))
        return vf_refuse(v, 0, TN_REASON_bad_btf,
                         "BTF types are cut off, of an unknown kind or without a name string");
    s->type_off = calloc(s->ntypes, sizeof(*s->type_off));
    if (!s->type_off)
        return -ENOMEM;
    return walk_types(s, true);
}

void tn_src_close(struct tn_src *s)
{
    free(s->type_off);
    *s = (struct tn_src){0};
}

static bool get_type(const struct tn_src *s, u32 id, struct btf_type *ret)
{
    if (!id || id >= s->ntypes || !s->type_off)
        return false;
    memcpy(ret, s->types + s->type_off[id], sizeof(*ret));
    return true;
}

/* ----------------------------------------------------------------------------------------------------
 * records */

static struct bpf_line_info line_at(const struct tn_src *s, u32 k)
{
    struct bpf_line_info l;

    memcpy(&l, s->lines + (u64)k * s->line_size, sizeof(l));
    return l;
}

static struct bpf_func_info func_at(const struct tn_src *s, u32 k)
{
    struct bpf_func_info f;

    memcpy(&f, s->funcs + (u64)k * s->func_size, sizeof(f));
    return f;
}

static int check_lines(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    struct tn_src *s = &v->src;
    u32 sub = 0;
    s64 before = -1;

    if (!in->line_info_cnt)
        return 0;
    if (!in->line_info || in->line_info_rec_size < sizeof(struct bpf_line_info) ||
        in->line_info_rec_size > MAX_REC_SIZE || in->line_info_rec_size % 4)
        return vf_refuse(v, 0, TN_REASON_bad_line_info, "line records of %u bytes", in->line_info_rec_size);
    s->lines = in->line_info;
    s->line_size = in->line_info_rec_size;
    for (u32 k = 0; k < in->line_info_cnt; k++) {
        struct bpf_line_info l = line_at(s, k);

        if ((s64)l.insn_off <= before || l.insn_off >= v->ninsns || v->cfg.flow[l.insn_off].second ||
            !string_ok(s, l.file_name_off) || !string_ok(s, l.line_off))
            return vf_refuse(
                v, 0, TN_REASON_bad_line_info,
                "line record %u (instruction %u): out of order, outside the program, or without its string",
                k, l.insn_off);
        before = l.insn_off;
        if (sub < v->cfg.nsubs && v->cfg.sub[sub].start == l.insn_off)
            sub++;
        else if (sub < v->cfg.nsubs && v->cfg.sub[sub].start < l.insn_off)
            return vf_refuse(v, 0, TN_REASON_bad_line_info,
                             "the function at instruction %u has no line record", v->cfg.sub[sub].start);
    }
    if (sub != v->cfg.nsubs)
        return vf_refuse(v, 0, TN_REASON_bad_line_info, "the function at instruction %u has no line record",
                         v->cfg.sub[sub].start);
    s->nlines = in->line_info_cnt;
    return 0;
}

static int check_funcs(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    struct tn_src *s = &v->src;
    struct btf_type t;

    if (!in->func_info_cnt)
        return 0;
    if (!in->func_info || in->func_info_rec_size < sizeof(struct bpf_func_info) ||
        in->func_info_rec_size > MAX_REC_SIZE || in->func_info_rec_size % 4)
        return vf_refuse(v, 0, TN_REASON_bad_func_info, "function records of %u bytes",
                         in->func_info_rec_size);
    if (in->func_info_cnt != v->cfg.nsubs)
        return vf_refuse(v, 0, TN_REASON_bad_func_info,
                         "number of funcs in func_info (%u) doesn't match number of subprogs (%u)",
                         in->func_info_cnt, v->cfg.nsubs);
    s->funcs = in->func_info;
    s->func_size = in->func_info_rec_size;
    for (u32 k = 0; k < in->func_info_cnt; k++) {
        struct bpf_func_info f = func_at(s, k);

        if (f.insn_off != v->cfg.sub[k].start)
            return vf_refuse(v, 0, TN_REASON_bad_func_info,
                             "function record %u is for instruction %u, function %u starts at %u", k,
                             f.insn_off, k, v->cfg.sub[k].start);
        if (!get_type(s, f.type_id, &t) || BTF_INFO_KIND(t.info) != BTF_KIND_FUNC ||
            !get_type(s, t.type, &t) || BTF_INFO_KIND(t.info) != BTF_KIND_FUNC_PROTO)
            return vf_refuse(v, 0, TN_REASON_bad_func_info, "function record %u: type %u is not a function",
                             k, f.type_id);
    }
    s->nfuncs = in->func_info_cnt;
    return 0;
}

int tn_src_check_records(struct vf *v)
{
    int err = check_funcs(v);

    return err ? err : check_lines(v);
}

/* ----------------------------------------------------------------------------------------------------
 * answers */

bool tn_src_line(const struct tn_src *s, u32 insn, struct tn_src_line *ret)
{
    u32 low = 0, high = s->nlines, indent;
    struct bpf_line_info l;
    const char *text;

    while (low < high) { /* the last record at or before */
        u32 mid = low + (high - low) / 2;

        if (line_at(s, mid).insn_off <= insn)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low)
        return false;
    l = line_at(s, low - 1);
    text = s->strings + l.line_off;
    indent = (u32)strspn(text, " \t");
    *ret = (struct tn_src_line){
        .record = low - 1,
        .line = BPF_LINE_INFO_LINE_NUM(l.line_col),
        .column = BPF_LINE_INFO_LINE_COL(l.line_col),
        .file = s->strings + l.file_name_off,
        .text = text + indent,
        .indent = indent,
    };
    return true;
}

void tn_src_locate(const struct tn_src *s, u32 insn, struct tn_refusal *ret)
{
    struct tn_src_line at;

    if (!tn_src_line(s, insn, &at))
        return;
    snprintf(ret->file, sizeof(ret->file), "%s", at.file);
    snprintf(ret->text, sizeof(ret->text), "%s", at.text);
    ret->line = at.line;
    ret->column = at.column;
    ret->text_column = at.column > at.indent ? at.column - at.indent : 0;
}

static bool func_type(const struct tn_src *s, u32 start, struct btf_type *ret, u32 *ret_proto_id)
{
    for (u32 k = 0; k < s->nfuncs; k++) {
        struct bpf_func_info f = func_at(s, k);

        if (f.insn_off == start) {
            if (!get_type(s, f.type_id, ret))
                return false;
            *ret_proto_id = ret->type;
            return true;
        }
    }
    return false;
}

const char *tn_src_func_name(const struct tn_src *s, u32 start)
{
    struct btf_type t;
    u32 proto;

    return func_type(s, start, &t, &proto) ? s->strings + t.name_off : "";
}

bool tn_src_func_is_global(const struct tn_src *s, u32 start)
{
    struct btf_type t;
    u32 proto;

    return func_type(s, start, &t, &proto) && BTF_INFO_VLEN(t.info) == BTF_FUNC_GLOBAL;
}

bool tn_src_func_is_void(const struct tn_src *s, u32 start)
{
    struct btf_type t;
    u32 proto;

    return func_type(s, start, &t, &proto) && get_type(s, proto, &t) && t.type == 0;
}

/* Follows typedefs and qualifiers; bounded, since hostile types may form a circle. */
static bool resolve(const struct tn_src *s, u32 id, struct btf_type *ret)
{
    for (u32 hop = 0; hop < 32; hop++) {
        if (!get_type(s, id, ret))
            return false;
        switch (BTF_INFO_KIND(ret->info)) {
        case BTF_KIND_TYPEDEF:
        case BTF_KIND_CONST:
        case BTF_KIND_VOLATILE:
        case BTF_KIND_RESTRICT:
        case BTF_KIND_TYPE_TAG:
            id = ret->type;
            break;
        default:
            return true;
        }
    }
    return false;
}

static enum tn_param param_kind(const struct tn_src *s, u32 id, const char *ctx_type)
{
    struct btf_type t;
    u32 kind;

    if (!resolve(s, id, &t))
        return TN_PARAM_OTHER;
    kind = BTF_INFO_KIND(t.info);
    if (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)
        return TN_PARAM_SCALAR;
    if (kind == BTF_KIND_PTR && resolve(s, t.type, &t) && BTF_INFO_KIND(t.info) == BTF_KIND_STRUCT &&
        !strcmp(s->strings + t.name_off, ctx_type))
        return TN_PARAM_CTX;
    return TN_PARAM_OTHER;
}

int tn_src_params(const struct tn_src *s, u32 start, const char *ctx_type, enum tn_param ret_params[5])
{
    struct btf_type t;
    struct btf_param p;
    u32 id, n;

    if (!func_type(s, start, &t, &id) || !get_type(s, id, &t))
        return -1;
    n = BTF_INFO_VLEN(t.info);
    if (n > 5)
        return -1;
    for (u32 k = 0; k < n; k++) {
        memcpy(&p, s->types + s->type_off[id] + sizeof(t) + k * sizeof(p), sizeof(p));
        ret_params[k] = param_kind(s, p.type, ctx_type);
    }
    return (int)n;
}
