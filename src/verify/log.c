/* SPDX-License-Identifier: MIT */
/* The log and the refusals; see log.h. */
#include "verify/log.h"

#include <inttypes.h>
#include <stdio.h>

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

const char *tn_reason_sentence_of(const char *name)
{
    for (u32 k = 0; k < TN_REASON_COUNT; k++)
        if (!strcmp(reasons[k].name, name))
            return reasons[k].sentence;
    return NULL;
}

/* --------------------------------------------------------------------------------------------------- text */

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

/* ---------------------------------------------------------------------------------------------------- log */

void tn_log_open(struct tn_log *log, u32 level, u64 size)
{
    log->level = level;
    log->fixed = level & TN_LOG_FIXED;
    log->cap = size ? size : TN_LOG_MAX;
}

/* Room for `n` bytes and a NUL behind the present end; what the reader's buffer
   would have lost goes first. */
static bool make_room(struct tn_log *log, u64 n)
{
    u64 at = log->len - log->base, room;
    char *grown;

    if (at + n + 1 > 2 * log->cap && log->start > log->base) {
        memmove(log->text, log->text + (log->start - log->base), log->len - log->start);
        log->base = log->start;
        at = log->len - log->base;
    }
    if (at + n + 1 <= log->room)
        return true;
    room = TN_MAX(TN_MAX((u64)4096, log->room * 2), at + n + 1);
    grown = realloc(log->text, room);
    if (!grown) {
        log->no_memory = true;
        return false;
    }
    log->text = grown;
    log->room = room;
    return true;
}

static void log_bytes(struct tn_log *log, const char *line, u64 n)
{
    u64 keep = n;

    log->max = TN_MAX(log->max, log->len + n + 1);
    if (log->fixed)
        keep = log->len < log->cap ? TN_MIN(n, log->cap - 1 - log->len) : 0;
    if (keep && make_room(log, keep))
        memcpy(log->text + (log->len - log->base), line, keep);
    log->len += n;
    if (!log->fixed && log->len + 1 > log->start + log->cap)
        log->start = log->len + 1 - log->cap;
}

void tn_log_add(struct tn_log *log, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    int n;

    if (!log->level || log->no_memory)
        return;
    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n > 0)
        log_bytes(log, line, TN_MIN((u64)n, sizeof(line) - 1));
}

void tn_log_cut(struct tn_log *log, u64 mark)
{
    if (mark >= log->len)
        return;
    log->len = mark;
    log->start = TN_MIN(log->start, mark);
    if (log->base > mark) /* all that was kept lies behind it */
        log->base = log->start;
    log->insn_end = 0;
}

char *tn_log_take(struct tn_log *log, u64 *ret_len)
{
    u64 end = log->fixed ? TN_MIN(log->len, log->cap - 1) : log->len, n = end - log->start;
    char *text;

    *ret_len = 0;
    if (!log->level || log->no_memory) {
        free(TN_TAKE_PTR(log->text));
        return NULL;
    }
    if (!log->text) {
        text = calloc(1, 1);
        log->no_memory = !text;
        return text;
    }
    text = TN_TAKE_PTR(log->text);
    memmove(text, text + (log->start - log->base), n);
    text[n] = 0;
    *ret_len = n;
    return text;
}

void tn_log_stats(struct vf *v, u64 time_ns)
{
    if (v->log.level & TN_LOG_STATS) {
        tn_log_add(&v->log, "verification time %" PRIu64 " usec\nstack depth ", time_ns / 1000);
        for (u32 k = 0; k < v->cfg.nsubs; k++)
            tn_log_add(&v->log, "%s%u", k ? "+" : "", v->cfg.sub[k].depth);
        tn_log_add(&v->log, "\n");
    }
    tn_log_add(&v->log,
               "processed %" PRIu64 " insns (limit %" PRIu64 ") max_states_per_insn %" PRIu64
               " total_states %" PRIu64 " peak_states %" PRIu64 " mark_read %u\n",
               v->processed, v->auth->limits.max_insns_processed, v->max_states_per_insn, v->nstates,
               v->peak_states, 0u);
}

/* ----------------------------------------------------------------------------------------------- refusals */

static void write_refusal(struct vf *v, u32 insn, enum tn_reason reason, const char *message)
{
    struct tn_refusal *r = &v->out->refusal;
    struct tn_text state = {r->state, sizeof(r->state), 0}, path = {r->path, sizeof(r->path), 0};
    u32 first;

    *r = (struct tn_refusal){.insn = insn};
    snprintf(r->reason, sizeof(r->reason), "%s", tn_reason_name(reason));
    snprintf(r->message, sizeof(r->message), "%s", message);
    if (v->cur.nframes && insn < v->ninsns)
        tn_text_regs(&state, v, tn_insn_regs(&v->insns[insn]));
    first = v->trail.n > TN_TRAIL_KEPT ? v->trail.n - TN_TRAIL_KEPT : 0;
    for (u32 k = first; k < v->trail.n; k++)
        tn_text_add(&path, "%sfrom %u to %u", k > first ? ", " : "", v->trail.last[k % TN_TRAIL_KEPT].insn,
                    v->trail.last[k % TN_TRAIL_KEPT].to);
    tn_src_locate(&v->src, insn, r);

    tn_log_add(&v->log, "%s\n", message);
    if (r->line)
        tn_log_add(&v->log, "; %s @ %s:%u\n", r->text, r->file, r->line);
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

#define TN_MAP_NAME 32u
_Static_assert(4 + TN_MAP_NAME < TN_MAP_LABEL, "\"map \", the name, NUL");

const char *vf_map_label(const struct vf *v, u32 map, char buf[TN_MAP_LABEL])
{
    const char *name = v->in->maps[map].name;
    size_t len = name ? strnlen(name, TN_MAP_NAME) : 0;

    if (len) { /* by hand: it is made for every instruction that names a map */
        memcpy(buf, "map ", 4);
        memcpy(buf + 4, name, len);
        buf[4 + len] = 0;
    } else {
        snprintf(buf, TN_MAP_LABEL, "map %u", map);
    }
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
