/* SPDX-License-Identifier: MIT */
/* Type, line and function information of a program, read with distrust; see srcline.h. */
#include "verify/srcline.h"

#include "verify/internal.h"

#define MAX_REC_SIZE 252u

static bool string_ok(const struct tn_src *s, u32 off)
{
    return s->btf && tn_btf_string_ok(s->btf, off);
}

static int open_funcs(struct vf *v);

int tn_src_open(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    struct tn_error err = {0};
    int r;

    if (!in->btf || !in->btf_size) {
        if (in->func_info_cnt || in->line_info_cnt)
            return vf_refuse(v, 0, TN_REASON_bad_btf,
                             "function or line information without BTF: pass prog_btf_fd too");
        return 0;
    }
    r = tn_btf_open(in->btf, in->btf_size, NULL, &v->src.btf, &err);
    if (r)
        return r == -ENOMEM ? r : vf_refuse(v, 0, TN_REASON_bad_btf, "%s", err.message);
    return open_funcs(v);
}

void tn_src_close(struct tn_src *s)
{
    tn_btf_close(s->btf);
    *s = (struct tn_src){0};
}

/* ------------------------------------------------------------------------------------------------ records */

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

/* That there are records; what they say comes later. */
static int open_funcs(struct vf *v)
{
    const struct tn_verify_in *in = v->in;

    if (!in->func_info_cnt)
        return 0;
    if (!in->func_info || in->func_info_rec_size < sizeof(struct bpf_func_info) ||
        in->func_info_rec_size > MAX_REC_SIZE || in->func_info_rec_size % 4)
        return vf_refuse(v, 0, TN_REASON_bad_func_info, "function records of %u bytes",
                         in->func_info_rec_size);
    v->src.funcs = in->func_info;
    v->src.func_size = in->func_info_rec_size;
    return 0;
}

static int find_record(struct vf *v, const char *name, u32 *ret_start)
{
    const struct tn_src *s = &v->src;
    u32 id = tn_btf_find(s->btf, BTF_KIND_FUNC, name), start = 0;
    bool found = false;

    if (!id)
        return vf_refuse(v, 0, TN_REASON_bad_func_info,
                         "exception callback '%.80s' could not be found in BTF", name);
    if (tn_btf_vlen(tn_btf_type(s->btf, id)) != BTF_FUNC_GLOBAL)
        return vf_refuse(v, 0, TN_REASON_bad_func_info, "exception callback '%.80s' must have global linkage",
                         name);
    for (u32 k = 0; k < v->in->func_info_cnt; k++) {
        if (func_at(s, k).type_id != id)
            continue;
        found = true;
        start = func_at(s, k).insn_off;
    }
    if (!found)
        return vf_refuse(v, 0, TN_REASON_bad_func_info, "exception callback type id not found in func_info");
    if (!start || start >= v->ninsns)
        return vf_refuse(v, 0, TN_REASON_bad_func_info,
                         "invalid exception callback insn_off in func_info: %u", start);
    *ret_start = start;
    return 0;
}

int tn_src_exception_callback(struct vf *v, u32 *ret_start)
{
    static const char tag[] = "exception_callback:";
    const char *name = NULL, *text;

    if (!v->in->func_info_cnt)
        return 0;
    for (u32 k = 0; (text = tn_btf_tag(v->src.btf, func_at(&v->src, 0).type_id, -1, k)); k++) {
        if (strncmp(text, tag, sizeof(tag) - 1) != 0)
            continue;
        if (name)
            return vf_refuse(v, 0, TN_REASON_bad_func_info,
                             "multiple exception callback tags for main subprog: one is enough");
        name = text + sizeof(tag) - 1;
    }
    return name ? find_record(v, name, ret_start) : 0;
}

static int check_funcs(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    struct tn_src *s = &v->src;

    if (!in->func_info_cnt)
        return 0;
    if (in->func_info_cnt != v->cfg.nsubs)
        return vf_refuse(v, 0, TN_REASON_bad_func_info,
                         "number of funcs in func_info (%u) doesn't match number of subprogs (%u)",
                         in->func_info_cnt, v->cfg.nsubs);
    for (u32 k = 0; k < in->func_info_cnt; k++) {
        struct bpf_func_info f = func_at(s, k);

        if (f.insn_off != v->cfg.sub[k].start)
            return vf_refuse(v, 0, TN_REASON_bad_func_info,
                             "function record %u is for instruction %u, function %u starts at %u", k,
                             f.insn_off, k, v->cfg.sub[k].start);
        if (tn_btf_kind_of(s->btf, f.type_id) != BTF_KIND_FUNC)
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

/* ------------------------------------------------------------------------------------------------ answers */

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
    text = tn_btf_string(s->btf, l.line_off);
    indent = (u32)strspn(text, " \t");
    *ret = (struct tn_src_line){
        .record = low - 1,
        .line = BPF_LINE_INFO_LINE_NUM(l.line_col),
        .column = BPF_LINE_INFO_LINE_COL(l.line_col),
        .file = tn_btf_string(s->btf, l.file_name_off),
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

u32 tn_src_func_id(const struct tn_src *s, u32 start)
{
    for (u32 k = 0; k < s->nfuncs; k++) {
        struct bpf_func_info f = func_at(s, k);

        if (f.insn_off == start)
            return f.type_id;
    }
    return 0;
}

/* The type of the function that starts there, or NULL. */
static const struct btf_type *func_type(const struct tn_src *s, u32 start)
{
    u32 id = tn_src_func_id(s, start);

    return id ? tn_btf_type(s->btf, id) : NULL;
}

const struct btf_type *tn_src_func_proto(const struct tn_src *s, u32 start)
{
    const struct btf_type *t = func_type(s, start);

    return t ? tn_btf_type(s->btf, t->type) : NULL;
}

const char *tn_src_func_name(const struct tn_src *s, u32 start)
{
    const struct btf_type *t = func_type(s, start);

    return t ? tn_btf_string(s->btf, t->name_off) : "";
}

bool tn_src_func_is_global(const struct tn_src *s, u32 start)
{
    const struct btf_type *t = func_type(s, start);

    return t && tn_btf_vlen(t) == BTF_FUNC_GLOBAL;
}

bool tn_src_func_is_void(const struct tn_src *s, u32 start)
{
    const struct btf_type *proto = tn_src_func_proto(s, start);

    return proto && !proto->type;
}
