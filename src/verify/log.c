/* SPDX-License-Identifier: MIT */
/* The log and the refusals; see log.h. */
#include "verify/log.h"

#include <inttypes.h>
#include <stdio.h>

#include "isa/insn.h"
#include "verify/internal.h"

static const struct {
    const char *name, *sentence;
} reasons[TN_REASON_COUNT] = {
#define R(name, sentence) [TN_REASON_##name] = {#name, sentence},
    TN_REASONS(R)
#undef R
};

const char *tn_reason_name(enum tn_reason reason)
{
    return reasons[reason].name;
}

const char *tn_reason_sentence(enum tn_reason reason)
{
    return reasons[reason].sentence;
}

/* -------------------------------------------------------------------------------------------------------
 * text */

static void text_vadd(struct tn_text *t, const char *fmt, va_list ap)
{
    int n;

    if (t->len + 1 >= t->cap)
        return;
    n = vsnprintf(t->buf + t->len, t->cap - t->len, fmt, ap);
    if (n > 0)
        t->len = TN_MIN(t->len + (size_t)n, t->cap - 1);
}

void tn_text_add(struct tn_text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    text_vadd(t, fmt, ap);
    va_end(ap);
}

static void text_number(struct tn_text *t, const struct tn_range *r)
{
    const char *sep = "";

    if (r->smin != INT64_MIN) {
        tn_text_add(t, "smin=%" PRId64, r->smin);
        sep = ",";
    }
    if (r->smax != INT64_MAX) {
        tn_text_add(t, "%ssmax=%" PRId64, sep, r->smax);
        sep = ",";
    }
    if (r->umin) {
        tn_text_add(t, "%sumin=%" PRIu64, sep, r->umin);
        sep = ",";
    }
    if (r->umax != UINT64_MAX) {
        tn_text_add(t, "%sumax=%" PRIu64, sep, r->umax);
        sep = ",";
    }
    if (r->u32min && (u64)r->u32min != r->umin) {
        tn_text_add(t, "%sumin32=%u", sep, r->u32min);
        sep = ",";
    }
    if (r->u32max != UINT32_MAX && (u64)r->u32max != r->umax) {
        tn_text_add(t, "%sumax32=%u", sep, r->u32max);
        sep = ",";
    }
    if (r->var.mask != ~0ull)
        tn_text_add(t, "%svar_off=(0x%" PRIx64 "; 0x%" PRIx64 ")", sep, r->var.value, r->var.mask);
}

void tn_text_reg(struct tn_text *t, const struct tn_reg *reg)
{
    bool fixed = tn_range_is_const(&reg->r);

    if (reg->kind == TN_REG_SCALAR && fixed) {
        tn_text_add(t, "%" PRId64, (s64)reg->r.umin);
        return;
    }
    if (reg->kind == TN_REG_STACK && fixed) {
        tn_text_add(t, reg->r.smin ? "fp%" PRId64 : "fp%.0" PRId64, reg->r.smin);
        return;
    }
    tn_text_add(t, "%s", TN_REG_NAME(reg));
    if (reg->kind == TN_REG_NONE)
        return;
    tn_text_add(t, "(");
    if (reg->kind == TN_REG_MAP || reg->kind == TN_REG_MAP_VALUE)
        tn_text_add(t, "map=%u,", reg->obj);
    if (reg->kind == TN_REG_MEM)
        tn_text_add(t, "mem_size=%u,", reg->obj);
    if (reg->id)
        tn_text_add(t, "id=%u,", reg->id);
    if (reg->kind != TN_REG_SCALAR && fixed && reg->r.smin)
        tn_text_add(t, "off=%" PRId64 ",", reg->r.smin);
    else if (!fixed)
        text_number(t, &reg->r);
    if (t->len && t->buf[t->len - 1] == ',')
        t->buf[--t->len] = 0;
    tn_text_add(t, ")");
}

/* --------------------------------------------------------------------------------------------------------
 * log */

static void log_vadd(struct tn_log *log, u64 max, const char *fmt, va_list ap)
{
    char line[2048], *grown;
    u64 cap;
    int n = vsnprintf(line, sizeof(line), fmt, ap);

    if (!log->level || n < 0)
        return;
    n = TN_MIN(n, (int)sizeof(line) - 1);
    if (log->len + (u64)n + 1 > max)
        return;
    if (log->len + (u64)n + 1 > log->cap) {
        cap = TN_MAX(4096u, log->cap * 2);
        grown = realloc(log->text, cap);
        if (!grown) {
            log->no_memory = true;
            return;
        }
        log->text = grown;
        log->cap = cap;
    }
    memcpy(log->text + log->len, line, (size_t)n + 1);
    log->len += (u64)n;
}

void tn_log_add(struct tn_log *log, const char *fmt, ...)
{
    va_list ap;

    if (!log->level)
        return;
    va_start(ap, fmt);
    log_vadd(log, TN_LOG_MAX - TN_LOG_RESERVE, fmt, ap);
    va_end(ap);
}

void tn_log_final(struct tn_log *log, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_vadd(log, TN_LOG_MAX, fmt, ap);
    va_end(ap);
}

void tn_log_cut(struct tn_log *log, u64 mark)
{
    if (mark < log->len) {
        log->len = mark;
        log->text[mark] = 0;
    }
}

/* Registers that an instruction reads or writes: bit a register. */
static u32 regs_of(const struct bpf_insn *i)
{
    if (tn_insn_is_call(i))
        return 0x3e; /* R1…R5 */
    if (i->code == (BPF_JMP | BPF_EXIT))
        return 1;
    if (BPF_CLASS(i->code) == BPF_LD || i->code == (BPF_JMP | BPF_JA) || i->code == (BPF_JMP32 | BPF_JA))
        return 1u << i->dst_reg;
    return (1u << i->dst_reg) | (1u << i->src_reg);
}

static void text_regs(struct tn_text *t, const struct vf *v, u32 which)
{
    const struct tn_frame *f = tn_state_top(&v->cur);

    for (u32 r = 0; r < TN_NREGS; r++) {
        if (!(which & (1u << r)) || f->reg[r].kind == TN_REG_NONE)
            continue;
        tn_text_add(t, "%sR%u=", t->len ? " " : "", r);
        tn_text_reg(t, &f->reg[r]);
    }
}

void tn_log_insn(struct vf *v)
{
    char buf[1024] = "", text[96];
    struct tn_text t = {buf, sizeof(buf), 0};
    const struct bpf_insn *i = &v->insns[v->pc];

    if (!(v->log.level & (TN_LOG_PATH | TN_LOG_ALL)))
        return;
    text_regs(&t, v, regs_of(i));
    tn_disasm(i, text, sizeof(text));
    tn_log_add(&v->log, "%u: (%02x) %-30s ; %s\n", v->pc, i->code, text, buf);
}

void tn_log_state(struct vf *v, const char *what)
{
    char buf[2000] = "";
    struct tn_text t = {buf, sizeof(buf), 0};
    const struct tn_frame *f;

    if (!(v->log.level & (TN_LOG_PATH | TN_LOG_ALL)))
        return;
    f = tn_state_top(&v->cur);
    text_regs(&t, v, 0x7ff);
    for (u32 k = 0; k < f->nslots; k++) {
        char bytes[9] = "";

        for (u32 b = 0; b < 8; b++)
            bytes[7 - b] = "?m0r"[f->slot[k].byte[b]];
        if (!strcmp(bytes, "????????"))
            continue;
        tn_text_add(&t, " fp-%u=", 8 * (k + 1));
        if (f->slot[k].size == 8)
            tn_text_reg(&t, &f->slot[k].reg);
        else
            tn_text_add(&t, "%s", bytes);
    }
    if (v->cur.nframes > 1)
        tn_log_add(&v->log, "%s %u: frame%u: %s\n", what, v->pc, v->cur.nframes - 1, buf);
    else
        tn_log_add(&v->log, "%s %u: %s\n", what, v->pc, buf);
}

void tn_log_stats(struct vf *v)
{
    if (!v->log.level)
        return;
    tn_log_final(&v->log,
                 "processed %" PRIu64 " insns (limit %" PRIu64 ") max_states_per_insn %" PRIu64
                 " total_states %" PRIu64 " peak_states %" PRIu64 " mark_read %u\n",
                 v->processed, v->auth->limits.max_insns_processed, v->max_states_per_insn, v->nstates,
                 v->peak_states, 0u);
}

/* ---------------------------------------------------------------------------------------------------
 * refusals */

static void write_refusal(struct vf *v, u32 insn, enum tn_reason reason, const char *message)
{
    struct tn_refusal *r = &v->out->refusal;
    struct tn_text state = {r->state, sizeof(r->state), 0}, path = {r->path, sizeof(r->path), 0};
    u32 first;

    *r = (struct tn_refusal){.insn = insn};
    snprintf(r->reason, sizeof(r->reason), "%s", tn_reason_name(reason));
    snprintf(r->message, sizeof(r->message), "%s", message);
    if (v->cur.nframes && insn < v->ninsns)
        text_regs(&state, v, regs_of(&v->insns[insn]));
    first = v->trail.n > TN_TRAIL_KEPT ? v->trail.n - TN_TRAIL_KEPT : 0;
    for (u32 k = first; k < v->trail.n; k++)
        tn_text_add(&path, "%sfrom %u to %u", k > first ? ", " : "", v->trail.last[k % TN_TRAIL_KEPT].insn,
                    v->trail.last[k % TN_TRAIL_KEPT].to);
    tn_src_locate(&v->src, insn, r);

    tn_log_final(&v->log, "%s\n", message);
    if (r->line)
        tn_log_final(&v->log, "; %s @ %s:%u\n", r->text, r->file, r->line);
    v->refused = true;
}

int vf_refuse(struct vf *v, u32 insn, enum tn_reason reason, const char *fmt, ...)
{
    char message[sizeof(v->out->refusal.message)];
    va_list ap;

    if (v->refused)
        return -EACCES;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    write_refusal(v, insn, reason, message);
    return -EACCES;
}

const char *vf_map_label(const struct vf *v, u32 map, char buf[TN_MAP_LABEL])
{
    const char *name = v->in->maps[map].name;

    if (name && *name)
        snprintf(buf, TN_MAP_LABEL, "map %.32s", name);
    else
        snprintf(buf, TN_MAP_LABEL, "map %u", map);
    return buf;
}

int vf_refuse_denied(struct vf *v, enum tn_reason reason, const struct tn_error *err)
{
    vf_refuse(v, v->pc, reason, "%s", err->message[0] ? err->message : "the authority says no");
    /* The authority's own name for it is the better one. */
    if (err->reason[0])
        snprintf(v->out->refusal.reason, sizeof(v->out->refusal.reason), "%s", err->reason);
    return -EACCES;
}
