/* SPDX-License-Identifier: MIT */
/* See ask.h. */
#include "tests/differential/explain.h"

#include <errno.h>
#include <regex.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "btf/btf.h"

const char *const ask_answer_name[] = {
#define A(name, what) #name,
    ASK_ANSWERS(A)
#undef A
};
const char *const ask_answer_what[] = {
#define A(name, what) what,
    ASK_ANSWERS(A)
#undef A
};

/* ---------------------------------------------------------------------------------- what is asked */

bool ask_gpl(const char *licence)
{
    static const char *const rows[] = {"GPL",          "GPL v2",       "GPL and additional rights",
                                       "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (!strcmp(licence, rows[k]))
            return true;
    return false;
}

bool ask_in_process(const struct rec *rec)
{
    static const u32 rows[] = {BPF_PROG_TYPE_SOCKET_FILTER,
                               BPF_PROG_TYPE_KPROBE,
                               BPF_PROG_TYPE_SCHED_CLS,
                               BPF_PROG_TYPE_TRACEPOINT,
                               BPF_PROG_TYPE_XDP,
                               BPF_PROG_TYPE_PERF_EVENT,
                               BPF_PROG_TYPE_RAW_TRACEPOINT,
                               BPF_PROG_TYPE_TRACING,
                               BPF_PROG_TYPE_SYSCALL,
                               BPF_PROG_TYPE_SCHED_ACT,
                               BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE};

    if (rec->program->flags & (REC_F_MODULE | REC_F_ATTACH_PROG))
        return false;
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (rec->program->prog_type == rows[k])
            return true;
    return false;
}

bool ask_judged(const struct rec *rec)
{
    return !rec->verdict->error || *rec->messages;
}

struct store {
    struct tn_authority authority;
    struct tn_verify_map map[REC_MAX_MAPS], named[REC_MAX_MAPS];
    struct bpf_insn *insns;
    struct tn_btf *btf[REC_MAX_BTFS];
};

static void only_named_maps(struct tn_verify_in *in, struct store *s)
{
    s32 number[REC_MAX_MAPS];
    u32 n = 0;

    memset(number, -1, sizeof(number));
    for (u32 k = 0; k + 1 < in->ninsns; k++) {
        struct bpf_insn *i = &s->insns[k];

        if (i->code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if ((i->src_reg == BPF_PSEUDO_MAP_FD || i->src_reg == BPF_PSEUDO_MAP_VALUE) &&
            (u32)i->imm < in->nmaps) {
            if (number[i->imm] < 0) {
                number[i->imm] = (s32)n;
                s->named[n++] = in->maps[i->imm];
            }
            i->imm = number[i->imm];
        }
        k++;
    }
    in->insns = s->insns;
    in->maps = s->named;
    in->nmaps = n;
}

int ask_input(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
              struct tn_verify_in *in, void **ret_store)
{
    const struct rec_program *p = rec->program;
    struct store *s = calloc(1, sizeof(*s));

    if (!insns) {
        insns = rec->insns;
        n = rec->ninsns;
    }
    if (s)
        s->insns = malloc(((size_t)n + 1) * sizeof(*insns));
    if (!s || !s->insns) {
        free(s);
        return -ENOMEM;
    }
    memcpy(s->insns, insns, n * sizeof(*insns));
    for (u32 k = 0; k < rec->nmaps; k++) {
        const struct rec_map *m = rec->map[k];

        if (m->btf >= 0 && !s->btf[m->btf])
            (void)tn_btf_open(rec->btf[m->btf].data, rec->btf[m->btf].size, NULL, &s->btf[m->btf], NULL);
        s->map[k] = (struct tn_verify_map){
            .geo = {.type = m->type,
                    .key_size = m->key_size,
                    .value_size = m->value_size,
                    .max_entries = m->max_entries,
                    .map_flags = m->map_flags},
            .frozen = m->frozen ? rec->contents[k].data : NULL,
            .rdonly_prog = m->map_flags & BPF_F_RDONLY_PROG,
            .wronly_prog = m->map_flags & BPF_F_WRONLY_PROG,
            .name = m->name,
            .btf = m->btf >= 0 ? s->btf[m->btf] : NULL,
            .btf_key_type_id = m->btf_key_type_id,
            .btf_value_type_id = m->btf_value_type_id,
            .inner = m->inner >= 0 ? &s->map[m->inner] : NULL,
            .map_extra = m->map_extra,
        };
    }
    *in = (struct tn_verify_in){
        .ninsns = n,
        .prog_type = p->prog_type,
        .expected_attach_type = p->expected_attach_type,
        .prog_flags = p->prog_flags,
        .gpl = ask_gpl(p->licence),
        .maps = s->map,
        .nmaps = p->nmaps,
        .btf = p->btf >= 0 ? rec->btf[p->btf].data : NULL,
        .btf_size = p->btf >= 0 ? rec->btf[p->btf].size : 0,
        .func_info = rec->func_info.data,
        .func_info_rec_size = p->func_info_rec_size,
        .func_info_cnt = rec->func_info.size ? rec->func_info.size / p->func_info_rec_size : 0,
        .line_info = rec->line_info.data,
        .line_info_rec_size = p->line_info_rec_size,
        .line_info_cnt = rec->line_info.size ? rec->line_info.size / p->line_info_rec_size : 0,
        .host_btf = ask->host_btf,
        .attach_btf_id = p->attach_btf_id,
        .authority = &s->authority,
    };
    s->authority = tn_authority_all;
    if (ask->budget)
        s->authority.limits.max_insns_processed = ask->budget;
    only_named_maps(in, s);
    *ret_store = s;
    return 0;
}

void ask_input_free(void *store)
{
    struct store *s = store;

    if (s)
        free(s->insns);
    for (u32 k = 0; s && k < REC_MAX_BTFS; k++)
        if (s->btf[k])
            tn_btf_close(s->btf[k]);
    free(s);
}

bool ask_accepts(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
                 struct tn_verdict *keep)
{
    struct tn_verdict verdict = {0};
    struct tn_verify_in in;
    bool accepted;
    void *store;

    if (ask_input(ask, rec, insns, n, &in, &store))
        return false;
    accepted = !tn_verify(&in, &verdict) && verdict.accepted;
    ask_input_free(store);
    if (keep)
        *keep = verdict;
    else
        tn_verdict_clear(&verdict);
    return accepted;
}

/* ------------------------------------------------------------------------------------ expected words */

bool ask_says(const char *text, const char *pattern)
{
    char expression[4096];
    size_t n = 0;
    bool inside = false, found;
    regex_t re;

    if (!strstr(pattern, "{{"))
        return strstr(text, pattern);
    for (const char *c = pattern; *c && n < sizeof(expression) - 3; c++) {
        if (!inside && c[0] == '{' && c[1] == '{') {
            inside = true;
            expression[n++] = '(';
            c++;
        } else if (inside && c[0] == '}' && c[1] == '}') {
            inside = false;
            expression[n++] = ')';
            c++;
        } else {
            if (!inside && strchr("^$\\.*+?()[]{}|", *c))
                expression[n++] = '\\';
            expression[n++] = *c;
        }
    }
    expression[n] = 0;
    if (regcomp(&re, expression, REG_EXTENDED | REG_NEWLINE | REG_NOSUB))
        return false;
    found = !regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    return found;
}

static const char *expected_message(const char *expect)
{
    static const char prefix[] = "test_expect_msg=";
    const char *at;

    if (strncmp(expect, prefix, sizeof(prefix) - 1))
        return NULL;
    at = strchr(expect + sizeof(prefix) - 1, '=');
    return at ? at + 1 : NULL;
}

static const char *first_missing(const struct rec *rec, const char *text, const char *more)
{
    for (u32 k = 0; k < rec->nexpects; k++) {
        const char *pattern = expected_message(rec->expect[k]);

        if (pattern && !ask_says(text, pattern) && !ask_says(more, pattern))
            return pattern;
    }
    return NULL;
}

/* Lines of the kernel's log that say nothing of why. */
static bool idle_words(const char *line)
{
    static const char *const starts[] = {"processed ", "verification time ", "stack depth ",
                                         "cur state:", "old state:"};

    for (size_t k = 0; k < TN_ARRAY_SIZE(starts); k++)
        if (!strncmp(line, starts[k], strlen(starts[k])))
            return true;
    return false;
}

void ask_last_words(const char *log, char *to, size_t size)
{
    const char *best = "";

    for (const char *at = log; *at;) {
        size_t n = strcspn(at, "\n");

        if (n && !idle_words(at))
            best = at;
        at += n + (at[n] == '\n');
    }
    snprintf(to, size, "%.*s", (int)strcspn(best, "\n"), best);
}

/* --------------------------------------------------------------------------------------- one answer */

static void child(const struct ask *ask, const struct rec *rec, struct ask_result *r)
{
    const struct rlimit memory = {4ul << 30, 4ul << 30}, core = {0, 0},
                        cpu = {ask->seconds, ask->seconds + 1};
    struct tn_verify_in in;
    struct tn_verdict verdict = {0};
    const char *missing;
    bool words = false;
    void *store;

#ifndef __SANITIZE_ADDRESS__
    setrlimit(RLIMIT_AS, &memory);
#endif
    (void)memory;
    setrlimit(RLIMIT_CORE, &core);
    setrlimit(RLIMIT_CPU, &cpu);
    alarm(10 * ask->seconds);
    if (ask_input(ask, rec, NULL, 0, &in, &store))
        _exit(1);
    for (u32 k = 0; k < rec->nexpects; k++)
        words |= expected_message(rec->expect[k]) != NULL;
    in.log_level = ask->log_level ? ask->log_level : words ? rec->program->log_level : 0;
    if (tn_verify(&in, &verdict))
        _exit(1);
    if (ask->log_level && verdict.log) {
        fputs(verdict.log, stdout);
        fflush(stdout);
    }
    r->time_ns = verdict.time_ns;
    for (u32 k = 1; k < ask->best_of; k++) {
        struct tn_verdict again = {0};

        if (tn_verify(&in, &again))
            _exit(1);
        r->time_ns = TN_MIN(r->time_ns, again.time_ns);
        tn_verdict_clear(&again);
    }
    r->accepted = verdict.accepted;
    r->insns_processed = verdict.insns_processed;
    r->peak_states = verdict.peak_states;
    if (!verdict.accepted) {
        snprintf(r->reason, sizeof(r->reason), "%s", verdict.refusal.reason);
        snprintf(r->message, sizeof(r->message), "%s", verdict.refusal.message);
        r->insn = verdict.refusal.insn;
    }
    r->row = -1;
    if (verdict.accepted && rec->verdict->error) {
        char last[512];

        ask_last_words(rec->messages, last, sizeof(last));
        r->row = explain(ask, rec, NULL, 0, last);
    }
    r->words_linux = !first_missing(rec, rec->log, rec->messages);
    if (words && !ask->log_level) {
        missing = first_missing(rec, verdict.log ? verdict.log : "", verdict.refusal.message);
        if (missing)
            snprintf(r->missing, sizeof(r->missing), "%s", missing);
        r->words_missing = missing && r->words_linux;
    }
    r->done = true;
    tn_verdict_clear(&verdict);
    ask_input_free(store);
    _exit(0);
}

enum ask_answer ask_one(const struct ask *ask, const struct rec *rec, struct ask_result *shared)
{
    bool linux_accepts = !rec->verdict->error;
    int status;
    pid_t pid;

    *shared = (struct ask_result){0};
    fflush(stdout);
    pid = fork();
    if (!pid)
        child(ask, rec, shared);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return ASK_crashed;
    if (WIFSIGNALED(status) &&
        (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL))
        return ASK_hung;
    if (!shared->done)
        return ASK_crashed;
    if (!ask_judged(rec))
        return ASK_unjudged;
    if (shared->accepted && !linux_accepts && shared->row >= 0)
        return ASK_explained;
    if (!ask_in_process(rec)) {
        if (shared->accepted)
            return linux_accepts ? ASK_unnamed : ASK_accepted_here;
        return !strcmp(shared->reason, "prog_type") || !linux_accepts ||
                       rec->program->flags & (REC_F_MODULE | REC_F_ATTACH_PROG)
                   ? ASK_elsewhere
                   : ASK_unnamed;
    }
    if (shared->accepted)
        return linux_accepts ? ASK_agree_accepted : ASK_accepted_here;
    return linux_accepts ? ASK_refused_here : ASK_agree_refused;
}

/* ------------------------------------------------------------------------------------ kernel's types */

int ask_open(struct ask *ask)
{
    _free_ u8 *data = NULL;
    struct tn_btf *btf = NULL;
    size_t size;
    int e;

    *ask = (struct ask){.seconds = 20};
    e = rec_slurp("/sys/kernel/btf/vmlinux", &data, &size);
    if (!e)
        e = tn_btf_open(data, size, NULL, &btf, NULL);
    if (e)
        return e;
    ask->host_btf = btf;
    ask->host_btf_size = (u32)size;
    ask->host_btf_hash = rec_hash(data, size);
    return 0;
}

void ask_close(struct ask *ask)
{
    tn_btf_close((struct tn_btf *)(uintptr_t)ask->host_btf);
    *ask = (struct ask){0};
}
