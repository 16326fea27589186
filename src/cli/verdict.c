/* SPDX-License-Identifier: MIT */
/*
 * A verdict, for editors and for people. The fields program, section, accepted, reason, file, line and
 * insns_processed are a contract: they are in every row, whatever happened.
 */
#include "cli/verdict.h"

#include <bpf/bpf.h>
#include <inttypes.h>

#include "cli/cli.h"
#include "cli/links.h"
#include "verify/reasons.h"

#define TEXT(s) tn_json_text(s, strlen(s))

/* Names of helpers are those of the interface, whether or not we have them. */
static const char *helper_name(u32 id)
{
    static const char *const names[] = {
#define FN(name) "bpf_" #name
        __BPF_FUNC_MAPPER(FN)
#undef FN
    };

    return id < TN_ARRAY_SIZE(names) ? names[id] : "?";
}

static bool bit(const u64 *words, u32 n)
{
    return words[n / 64] >> (n % 64) & 1;
}

/* Offsets of the context's words that are touched. */
static json_t *words_json(const u64 words[4])
{
    json_t *list = json_array();

    for (u32 w = 0; w < 256; w++)
        if (bit(words, w))
            json_array_append_new(list, json_integer(8 * w));
    return list;
}

static json_t *facts_json(const struct tn_ctl_verdict *v)
{
    const struct tn_facts *f = &v->facts;
    json_t *helpers = json_array(), *maps = json_array(), *features = json_array();
    json_t *kfuncs = json_array();

#define F(name, ...)                                                                                         \
    if (f->features >> TN_FEATURE_##name & 1)                                                                \
        json_array_append_new(features, json_string(#name));
    TN_FEATURES(F)
#undef F

    for (u32 id = 1; id < TN_HELPER_MAX; id++)
        if (bit(f->helpers, id))
            json_array_append_new(helpers, TEXT(helper_name(id)));
    for (u32 k = 0; k < v->nkfuncs && k < TN_ARRAY_SIZE(v->kfunc); k++)
        json_array_append_new(kfuncs, TEXT(v->kfunc[k]));
    for (u32 m = 0; m < v->nmaps; m++)
        if (f->maps_used >> m & 1)
            json_array_append_new(maps, TEXT(v->map[m]));
    return json_pack("{s:I, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:I, s:o, s:b, s:b, s:b, s:b, s:b}",
                     "context_bytes", (json_int_t)f->ctx_end, "features", features, "context_read",
                     words_json(f->ctx_read), "context_written", words_json(f->ctx_written),
                     "context_escapes", (int)f->ctx_escapes, "helpers", helpers, "kfuncs", kfuncs, "maps",
                     maps, "stack", (json_int_t)f->max_stack, "longest_path", tn_json_u64(f->longest_path),
                     "may_fault", (int)f->may_fault, "percpu", (int)f->percpu, "calls_host",
                     (int)f->calls_host, "sleeps", (int)f->sleeps, "syscalls", (int)f->syscalls);
}

json_t *tn_verdict_json(const struct tn_outcome *o)
{
    const struct tn_ctl_verdict *v = &o->verdict;
    const struct tn_refusal *refusal = &v->refusal;
    bool refused = !o->accepted && o->judged && refusal->reason[0];
    const char *reason = o->accepted ? "" : refused ? refusal->reason : o->why.reason;
    const char *sentence = tn_reason_sentence_of(reason);
    json_t *row =
        json_pack("{s:o, s:o, s:b, s:s, s:o, s:I, s:o}", "program", TEXT(o->program), "section",
                  TEXT(o->section), "accepted", (int)o->accepted, "reason", reason, "file",
                  TEXT(refused ? refusal->file : ""), "line", (json_int_t)(refused ? refusal->line : 0),
                  "insns_processed", tn_json_u64(o->judged ? v->insns_processed : 0));

    if (!row)
        return NULL;
    if (!o->accepted) {
        json_object_set_new(row, "message", TEXT(refused ? refusal->message : o->why.message));
        json_object_set_new(row, "rule", TEXT(sentence ? sentence : ""));
        json_object_set_new(row, "insn", refused ? json_integer(refusal->insn) : json_null());
        json_object_set_new(row, "column", json_integer(refused ? refusal->column : 0));
        json_object_set_new(row, "text", TEXT(refused ? refusal->text : ""));
        json_object_set_new(row, "state", TEXT(refused ? refusal->state : ""));
        json_object_set_new(row, "path", TEXT(refused ? refusal->path : ""));
    }
    if (o->judged)
        json_object_set_new(row, "statistics",
                            json_pack("{s:o, s:o, s:o, s:o}", "verify_ns", tn_json_u64(v->verify_ns),
                                      "total_states", tn_json_u64(v->total_states), "peak_states",
                                      tn_json_u64(v->peak_states), "max_states_per_insn",
                                      tn_json_u64(v->max_states_per_insn)));
    if (o->accepted) {
        json_object_set_new(row, "available", json_boolean(v->available));
        if (!v->available)
            json_object_set_new(row, "missing",
                                json_pack("{s:o, s:o}", "reason", TEXT(v->missing.reason), "message",
                                          TEXT(v->missing.message)));
        json_object_set_new(row, "facts", facts_json(v));
    }
    if (o->log && *o->log)
        json_object_set_new(row, "log", TEXT(o->log));
    return row;
}

/* -------------------------------------------------------------------------------------------- for people */

static void print_facts(const struct tn_ctl_verdict *v)
{
    const struct tn_facts *f = &v->facts;
    const char *sep = "";

    printf("  a run       at most %" PRIu64 " instructions, %u bytes of stack%s%s%s%s%s\n", f->longest_path,
           f->max_stack, f->may_fault ? ", may read memory that is not there" : "",
           f->percpu ? ", takes a per-CPU slot" : "", f->calls_host ? ", calls the host" : "",
           f->sleeps ? ", may sleep" : "", f->syscalls ? ", may make system calls" : "");
    for (u32 id = 1; id < TN_HELPER_MAX; id++)
        if (bit(f->helpers, id)) {
            printf("%s%s", *sep ? sep : "  calls       ", helper_name(id));
            sep = ", ";
        }
    for (u32 k = 0; k < v->nkfuncs && k < TN_ARRAY_SIZE(v->kfunc); k++) {
        printf("%s%s", *sep ? sep : "  calls       ", v->kfunc[k]);
        sep = ", ";
    }
    if (v->nkfuncs > TN_ARRAY_SIZE(v->kfunc))
        printf(", and %u more", v->nkfuncs - (u32)TN_ARRAY_SIZE(v->kfunc));
    printf("%s", *sep ? "\n" : "");
    sep = "";
    for (u32 m = 0; m < v->nmaps; m++)
        if (f->maps_used >> m & 1) {
            printf("%s%s", *sep ? sep : "  uses        ", v->map[m]);
            sep = ", ";
        }
    printf("%s", *sep ? "\n" : "");
}

/* Text of an object's or of the log: nothing of it speaks to the terminal. */
static void print_log(const char *log)
{
    for (const char *c = log; *c; c++) {
        unsigned char b = (unsigned char)*c;

        putchar((b < 0x20 && b != '\n' && b != '\t') || b == 0x7f ? '.' : b);
    }
}

void tn_verdict_print(const struct tn_outcome *o, bool verbose)
{
    const struct tn_ctl_verdict *v = &o->verdict;

    if (o->accepted) {
        printf("%s%s is accepted%s: %" PRIu64 " instructions looked at in %.3f ms (%s)\n", tn_good(stdout),
               o->program, tn_plain(stdout), v->insns_processed, (double)v->verify_ns / 1e6, o->section);
        if (!v->available)
            printf("  available   no, because %s [%s]\n", v->missing.message, v->missing.reason);
        if (verbose)
            print_facts(v);
    } else if (o->judged && v->refusal.reason[0]) {
        tn_refusal_print(stdout, o->program, &v->refusal);
    } else {
        printf("%s%s is refused%s [%s]: %s\n", tn_bold(stdout), o->program, tn_plain(stdout), o->why.reason,
               o->why.message);
    }
    if (o->log && *o->log)
        print_log(o->log);
}
