/* SPDX-License-Identifier: MIT */
/*
 * The long run: generated programs (gen.h) and mutated real ones (mutate.h), put to the running kernel and to
 * us.
 *
 *     differ [--from SEED] [--count N] [--seconds S] [--mutate FOLDER]… [--finds FOLDER] [--json]
 *     differ --from SEED [--count N] --keep FOLDER     writes these programs, with the kernel's verdict, as
 *                                                      recordings; they call no kernel function, unless
 *                                                      --finds is there too
 *
 * Without --mutate programs are generated; with it, COUNT mutants are made of the recordings below FOLDER in
 * turn. The same seeds give the same programs. Workers run in child processes, so that a crash costs one
 * program. Ends after N programs or S seconds, or with SIGTERM; prints the sums, our reasons where Linux
 * accepts, and every find:
 *
 *     accepted_here   we accept, Linux refuses: minimised, written to FOLDER as a recording that `replay`
 *                     takes
 *     crashed, hung   ours; likewise
 *
 * What accepted-here.h explains is counted apart. Status 1 when there is a find.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/differential/ask.h"
#include "tests/differential/explain.h"
#include "tests/differential/gen.h"
#include "tests/differential/mutate.h"
#include "tests/differential/oracle.h"

#define MAX_REASONS  256u
#define MAX_FINDS    64u
#define MAX_ANALYSED 200u
#define SECONDS_EACH 20   /* of one verification: more is a hang */
#define KERNEL_MS    100  /* with --budget: of time for one question to the kernel, which gives up then */
#define KERNEL_MOST  9000 /* in any case */
#define FULL_ONE_IN  128  /* of the programs that use up --budget are followed to the end all the same */
#define LOG_SIZE     (4u << 20)

struct find {
    enum ask_answer answer;
    u64 seed;
    char file[160], words[200];
    u32 ninsns;
};

struct reason {
    char text[96]; /* our message without its numbers */
    char name[48];
    u64 count, seed;
};

/* Shared with the workers, of which one runs at a time and writes. */
struct board {
    u64 next, end; /* seeds */
    u64 sums[ASK_ANSWER_COUNT], explained[ACCEPTED_HERE_ROWS], slipped_accepts;
    struct reason reason[MAX_REASONS];
    u32 nreasons;
    struct find find[MAX_FINDS];
    u32 nfinds, analysed;
    u64 ns_ours;
    bool over;
};

struct options {
    u64 from, count, seconds, budget;
    const char *finds, *keep;
    char **real; /* recordings to mutate */
    u32 nreal, room;
    bool json;
};

static u64 now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------- one program */

struct subject {
    const struct ask *ask;
    const struct rec *rec; /* without lines */
    struct oracle *oracle;
    char *log;
};

static bool we_accept(const struct subject *s, const struct bpf_insn *insns, u32 n, struct tn_verdict *keep)
{
    bool accepted;

    setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value = {SECONDS_EACH, 0}}, NULL);
    accepted = ask_accepts(s->ask, s->rec, insns, n, keep);
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){0}, NULL);
    return accepted;
}

static int linux_says(const struct subject *s, const struct bpf_insn *insns, u32 n, char *words, size_t size)
{
    int e = oracle_ask(s->oracle, insns, n, false, 0, NULL, 0);

    if (e && words) {
        oracle_ask(s->oracle, insns, n, false, 4, s->log, LOG_SIZE);
        ask_last_words(s->log, words, size);
        if (!*words)
            snprintf(words, size, "errno %d", -e);
    }
    return e;
}

/* Numbers differ from place to place: what is said matters. */
static void without_numbers(char *text)
{
    char *to = text;

    for (const char *c = text; *c; c++) {
        bool digit = *c >= '0' && *c <= '9';

        if (!digit || to == text || to[-1] != 'N')
            *to++ = digit ? 'N' : *c;
    }
    *to = 0;
}

static bool same_find(const struct subject *s, const struct bpf_insn *insns, u32 n, const char *words)
{
    char other[200];

    if (!linux_says(s, insns, n, other, sizeof(other)))
        return false;
    without_numbers(other);
    return !strcmp(other, words) && we_accept(s, insns, n, NULL) &&
           explain(s->ask, s->rec, insns, n, other) < 0;
}

/* Takes instruction `at` (both halves) out and lets jumps and calls land where they did. */
static u32 cut(struct bpf_insn *insns, u32 n, u32 at)
{
    u32 width = insns[at].code == (BPF_LD | BPF_IMM | BPF_DW) ? 2 : 1;

    for (u32 k = 0; k < n; k++) {
        struct bpf_insn *i = &insns[k];
        u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);
        s64 to;

        if (i->code == (BPF_LD | BPF_IMM | BPF_DW)) {
            if (i->src_reg == BPF_PSEUDO_FUNC) {
                to = (s64)k + 1 + i->imm;
                i->imm += to > at && k < at ? -(s32)width : to <= at && k > at ? (s32)width : 0;
            }
            k++;
        } else if (class == BPF_JMP && op == BPF_CALL && i->src_reg == BPF_PSEUDO_CALL) {
            to = (s64)k + 1 + i->imm;
            i->imm += to > at && k < at ? -(s32)width : to <= at && k > at ? (s32)width : 0;
        } else if ((class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT &&
                   i->code != (BPF_JMP32 | BPF_JA)) {
            to = (s64)k + 1 + i->off;
            i->off = (s16)(i->off + (to > at && k < at ? -(s32)width : to <= at && k > at ? (s32)width : 0));
        }
    }
    memmove(insns + at, insns + at + width, (n - at - width) * sizeof(*insns));
    return n - width;
}

/* Functions begin elsewhere once instructions are gone. */
static void cut_functions(struct bpf_func_info *funcs, u32 n, u32 at, u32 width)
{
    for (u32 k = 0; k < n; k++)
        if (funcs[k].insn_off > at)
            funcs[k].insn_off -= width;
}

/* The smallest program that still shows it, by taking out what is not needed. */
static u32 minimise(struct subject *s, struct bpf_insn *insns, u32 n, const char *words)
{
    struct rec rec = *s->rec;
    struct subject smaller = *s;
    struct oracle oracle = *s->oracle;
    _free_ struct bpf_insn *trial = malloc((size_t)n * sizeof(*trial));
    _free_ struct bpf_func_info *funcs = malloc(rec.func_info.size + 16),
                                *kept = malloc(rec.func_info.size + 16);
    u32 nfuncs = rec.func_info.size / (u32)sizeof(*funcs), asked = 0;
    u64 until = now_ns() + 4000000000u;
    bool better = true;

    if (!trial || !funcs || !kept)
        return n;
    if (rec.func_info.size) {
        if (rec.program->func_info_rec_size != sizeof(*funcs))
            return n;
        memcpy(kept, rec.func_info.data, rec.func_info.size);
        rec.func_info.data = (const u8 *)funcs;
    }
    smaller.rec = &rec;
    oracle.rec = &rec;
    smaller.oracle = &oracle;
    while (better && asked < 4000 && now_ns() < until) {
        better = false;
        for (u32 at = n; at-- && asked < 4000 && now_ns() < until;) {
            u32 m, width;
            bool half = false;

            for (u32 k = 0; k < at; k++) {
                bool two = insns[k].code == (BPF_LD | BPF_IMM | BPF_DW);

                half = two && k + 1 == at;
                k += two;
            }
            if (half || n <= 2)
                continue;
            width = insns[at].code == (BPF_LD | BPF_IMM | BPF_DW) ? 2 : 1;
            memcpy(trial, insns, n * sizeof(*trial));
            memcpy(funcs, kept, nfuncs * sizeof(*funcs));
            m = cut(trial, n, at);
            cut_functions(funcs, nfuncs, at, width);
            asked++;
            if (same_find(&smaller, trial, m, words)) {
                memcpy(insns, trial, m * sizeof(*trial));
                memcpy(kept, funcs, nfuncs * sizeof(*funcs));
                n = m;
                better = true;
            }
        }
    }
    memcpy(s->oracle->map, oracle.map, sizeof(oracle.map));
    if (rec.func_info.size)
        memcpy((void *)(uintptr_t)s->rec->func_info.data, kept, rec.func_info.size);
    return n;
}

/* --------------------------------------------------------------------------------------------- finds */

static int save_program(const struct subject *s, const struct bpf_insn *insns, u32 n, const char *name,
                        const char *path)
{
    struct rec_verdict verdict = {0};
    struct rec_out out = {0};
    char words[200];
    int e;

    verdict.error = linux_says(s, insns, n, words, sizeof(words));
    oracle_ask(s->oracle, insns, n, false, 2, s->log, LOG_SIZE);
    rec_put_text(&out, REC_CORPUS, "finds");
    rec_put_text(&out, REC_OBJECT, *s->rec->object ? s->rec->object : "generated");
    rec_put_text(&out, REC_NAME, name);
    rec_put(&out, REC_PROGRAM, s->rec->program, sizeof(*s->rec->program));
    rec_put(&out, REC_INSNS, insns, n * (u32)sizeof(*insns));
    if (s->rec->func_info.size)
        rec_put(&out, REC_FUNC_INFO, s->rec->func_info.data, s->rec->func_info.size);
    for (u32 k = 0; k < s->rec->nbtfs; k++)
        rec_put(&out, REC_BTF, s->rec->btf[k].data, s->rec->btf[k].size);
    for (u32 k = 0; k < s->rec->nmaps; k++)
        rec_put(&out, REC_MAP, s->rec->map[k], sizeof(*s->rec->map[k]));
    for (u32 k = 0; k < s->rec->nmaps; k++)
        if (s->rec->contents[k].data) {
            _free_ u8 *both = calloc(1, 8 + (size_t)s->rec->contents[k].size);

            if (!both)
                continue;
            memcpy(both, &(u64){k}, 8);
            memcpy(both + 8, s->rec->contents[k].data, s->rec->contents[k].size);
            rec_put(&out, REC_CONTENTS, both, 8 + s->rec->contents[k].size);
        }
    rec_put(&out, REC_VERDICT, &verdict, sizeof(verdict));
    rec_put_text(&out, REC_MESSAGES, verdict.error ? words : "");
    if (strlen(s->log) > (1u << 20))
        s->log[1u << 20] = 0;
    rec_put_text(&out, REC_LOG, s->log);
    e = rec_save(&out, path);
    rec_out_clear(&out);
    return e;
}

static void keep_find(struct board *b, const struct options *o, const struct subject *s,
                      enum ask_answer answer, u64 seed, const struct bpf_insn *insns, u32 n,
                      const char *words)
{
    struct find *f;
    char name[64];

    if (b->nfinds == MAX_FINDS)
        return;
    f = &b->find[b->nfinds];
    *f = (struct find){.answer = answer, .seed = seed, .ninsns = n};
    snprintf(f->words, sizeof(f->words), "%s", words);
    snprintf(name, sizeof(name), "%s-%llu", ask_answer_name[answer], (unsigned long long)seed);
    if (o->finds) {
        snprintf(f->file, sizeof(f->file), "%.90s/%.60s.rec", o->finds, name);
        if (save_program(s, insns, n, name, f->file))
            f->file[0] = 0;
    }
    b->nfinds++;
}

static void count_reason(struct board *b, const struct tn_verdict *v, u64 seed)
{
    char text[96];

    snprintf(text, sizeof(text), "%.95s", v->refusal.message);
    without_numbers(text);
    for (u32 k = 0; k < b->nreasons; k++)
        if (!strcmp(b->reason[k].text, text)) {
            b->reason[k].count++;
            return;
        }
    if (b->nreasons == MAX_REASONS)
        return;
    memcpy(b->reason[b->nreasons].text, text, sizeof(text));
    snprintf(b->reason[b->nreasons].name, sizeof(b->reason->name), "%s", v->refusal.reason);
    b->reason[b->nreasons].count = 1;
    b->reason[b->nreasons++].seed = seed;
}

/* Of each kind two are enough. */
static bool known_kind(const struct board *b, const char *plain)
{
    u32 same = 0;

    for (u32 k = 0; k < b->nfinds; k++) {
        char known[200];

        memcpy(known, b->find[k].words, sizeof(known));
        without_numbers(known);
        same += !strcmp(known, plain);
    }
    return same >= 99;
}

static void judge(struct board *b, const struct options *o, struct subject *s, struct bpf_insn *insns, u32 n,
                  u64 seed)
{
    char words[200], plain[200];
    struct tn_verdict verdict = {0};
    struct ask whole = *s->ask;
    struct subject to_the_end = *s;
    bool ours;
    int e;

    s->oracle->bound_ms = o->budget && seed % FULL_ONE_IN ? KERNEL_MS : KERNEL_MOST;
    if (o->budget && seed % FULL_ONE_IN == 0) {
        whole.budget = 0;
        to_the_end.ask = &whole;
    }
    ours = we_accept(&to_the_end, insns, n, &verdict);
    b->ns_ours += verdict.time_ns;
    if (!ours && to_the_end.ask->budget && !strcmp(verdict.refusal.reason, "too_complex")) {
        b->sums[ASK_costly]++;
        goto out;
    }
    e = oracle_ask(s->oracle, insns, n, false, 0, NULL, 0);
    if (e == -ENOMEM || e == -EAGAIN || e == -EINTR) {
        b->sums[ASK_costly]++;
        goto out;
    }
    if (e == -ENOTTY) {
        b->sums[ASK_unjudged]++;
        goto out;
    }
    if (ours == !e) {
        b->sums[ours ? ASK_agree_accepted : ASK_agree_refused]++;
    } else if (!e) {
        b->sums[ASK_refused_here]++;
        count_reason(b, &verdict, seed);
    } else {
        int row;

        linux_says(s, insns, n, words, sizeof(words));
        if (!strncmp(words, "errno ", 6)) { /* not its verifier's words */
            b->sums[ASK_unjudged]++;
            goto out;
        }
        row = explain(s->ask, s->rec, insns, n, words);
        if (row >= 0) {
            b->explained[row]++;
            goto out;
        }
        b->sums[ASK_accepted_here]++;
        if (b->analysed++ >= MAX_ANALYSED)
            goto out;
        memcpy(plain, words, sizeof(plain));
        without_numbers(plain);
        if (known_kind(b, plain))
            goto out;
        n = minimise(s, insns, n, plain);
        keep_find(b, o, s, ASK_accepted_here, seed, insns, n, words);
    }
out:
    tn_verdict_clear(&verdict);
}

/* ------------------------------------------------------------------------------------------- workers */

static void keep_program(struct board *b, const struct options *o, const struct subject *s,
                         const struct bpf_insn *insns, u32 n)
{
    char name[64], path[4096];

    snprintf(name, sizeof(name), "seed-%llu", (unsigned long long)b->next);
    snprintf(path, sizeof(path), "%s/%s.rec", o->keep, name);
    if (save_program(s, insns, n, name, path))
        _exit(2);
    b->next++;
}

static bool of_function(const struct rec *rec)
{
    u32 attach = rec->program->expected_attach_type;

    return rec->program->prog_type == BPF_PROG_TYPE_TRACING &&
           (attach == BPF_TRACE_FENTRY || attach == BPF_TRACE_FEXIT);
}

static void worker_generated(struct board *b, const struct options *o, const struct ask *ask)
{
    struct subject s = {.ask = ask, .log = malloc(LOG_SIZE)};
    struct gen_program *p = malloc(sizeof(*p));
    static struct oracle plain, typed; /* typed: programs for functions of the kernel, perhaps by a detour */
    struct gen_world world;

    if (!s.log || !p || gen_world_open(&world, !o->keep || o->finds))
        _exit(2);
    gen_program(&world, 0, p);
    p->program.prog_type = BPF_PROG_TYPE_KPROBE;
    if (oracle_open(&plain, &p->rec))
        _exit(2);
    p->program.prog_type = BPF_PROG_TYPE_TRACING;
    p->program.expected_attach_type = BPF_TRACE_FENTRY;
    p->program.attach_btf_id = 1;
    if (oracle_open(&typed, &p->rec))
        _exit(2);
    s.rec = &p->rec;
    while (b->next < b->end && !b->over) {
        u64 seed = b->next;

        gen_program(&world, seed, p);
        s.oracle = of_function(&p->rec) ? &typed : &plain;
        if (o->keep) {
            keep_program(b, o, &s, p->insns, p->rec.ninsns);
            continue;
        }
        judge(b, o, &s, p->insns, p->rec.ninsns, seed);
        b->next = seed + 1;
    }
    _exit(0);
}

static void worker_mutants(struct board *b, const struct options *o, const struct ask *ask)
{
    struct subject s = {.ask = ask, .log = malloc(LOG_SIZE)};
    const u32 each = 32; /* mutants of one recording while its maps are open */

    while (s.log && b->next < b->end && !b->over) {
        u64 seed = b->next, last = TN_MIN((seed / each + 1) * each, b->end);
        struct rec *rec = calloc(1, sizeof(*rec));
        struct bpf_insn *insns = NULL;
        struct oracle *oracle = malloc(sizeof(*oracle));

        if (!rec || !oracle)
            _exit(2);
        if (!rec_read(o->real[seed / each % o->nreal], rec, NULL) && ask_in_process(rec) &&
            rec->ninsns <= 4096 && !oracle_open(oracle, rec)) {
            rec->line_info = (struct rec_bytes){0};
            insns = malloc(rec->ninsns * sizeof(*insns));
            oracle->bound_ms = KERNEL_MOST;
            s.rec = rec;
            s.oracle = oracle;
            while (insns && b->next < last && !b->over) {
                memcpy(insns, rec->insns, rec->ninsns * sizeof(*insns));
                mutate(insns, rec->ninsns, b->next);
                if (o->keep) {
                    keep_program(b, o, &s, insns, rec->ninsns);
                    continue;
                }
                judge(b, o, &s, insns, rec->ninsns, b->next);
                b->next++;
            }
            oracle_close(oracle);
        }
        b->next = last;
        rec_clear(rec);
        free(rec);
        free(oracle);
        free(insns);
    }
    _exit(0);
}

static volatile sig_atomic_t enough;

static void stop(int signal)
{
    (void)signal;
    enough = 1;
}

static void run(struct board *b, const struct options *o, const struct ask *ask)
{
    u64 until = o->seconds ? now_ns() + o->seconds * 1000000000u : UINT64_MAX;

    signal(SIGTERM, stop); /* what was done by then is reported */
    while (b->next < b->end && now_ns() < until && !enough) {
        pid_t pid = fork();
        int status = 0;

        if (!pid) {
            signal(SIGTERM, SIG_IGN); /* its parent tells it */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (o->nreal)
                worker_mutants(b, o, ask);
            worker_generated(b, o, ask);
        }
        if (pid < 0)
            return;
        while (!waitpid(pid, &status, WNOHANG)) {
            struct timespec nap = {0, 20000000};

            if (now_ns() > until || enough)
                b->over = true;
            nanosleep(&nap, NULL);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status)) {
            fprintf(stderr, "the worker could not begin\n");
            return;
        }
        if (WIFSIGNALED(status)) {
            enum ask_answer answer = WTERMSIG(status) == SIGVTALRM ? ASK_hung
                                     : WTERMSIG(status) == SIGKILL ? ASK_kernel_died
                                                                   : ASK_crashed;

            b->sums[answer]++;
            if (b->nfinds < MAX_FINDS)
                b->find[b->nfinds++] = (struct find){.answer = answer, .seed = b->next};
            b->next++;
        }
    }
}

static int by_count(const void *a, const void *b)
{
    const struct reason *x = a, *y = b;

    return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static int report(struct board *b, const struct options *o, u64 ns)
{
    u64 accepts = b->sums[ASK_agree_accepted] + b->sums[ASK_refused_here], total = accepts;
    double rate = accepts ? 100.0 * (double)b->sums[ASK_refused_here] / (double)accepts : 0;

    for (u32 k = 0; k < ACCEPTED_HERE_ROWS; k++)
        total += b->explained[k];
    total +=
        b->sums[ASK_agree_refused] + b->sums[ASK_accepted_here] + b->sums[ASK_crashed] + b->sums[ASK_hung];
    total += b->sums[ASK_costly] + b->sums[ASK_kernel_died];
    qsort(b->reason, b->nreasons, sizeof(*b->reason), by_count);
    if (o->json) {
        printf("{\"programs\":%llu,\"seconds\":%.1f", (unsigned long long)total, (double)ns / 1e9);
        for (int k = 0; k < ASK_ANSWER_COUNT; k++)
            printf(",\"%s\":%llu", ask_answer_name[k], (unsigned long long)b->sums[k]);
        printf(",\"refused_here_percent\":%.3f}\n", rate);
        return 0;
    }
    for (u32 k = 0; k < b->nfinds; k++)
        printf("%-14s seed %llu, %u instructions: %s %s\n", ask_answer_name[b->find[k].answer],
               (unsigned long long)b->find[k].seed, b->find[k].ninsns, b->find[k].words, b->find[k].file);
    for (u32 k = 0; k < b->nreasons && k < 40; k++)
        printf("refused_here %7llu  [%s] %s (seed %llu)\n", (unsigned long long)b->reason[k].count,
               b->reason[k].name, b->reason[k].text, (unsigned long long)b->reason[k].seed);
    for (u32 k = 0; k < ACCEPTED_HERE_ROWS; k++)
        if (b->explained[k])
            printf("explained    %7llu  %s\n", (unsigned long long)b->explained[k], accepted_here[k].what);
    printf("\n");
    for (int k = 0; k < ASK_ANSWER_COUNT; k++)
        if (b->sums[k])
            printf("%8llu %-14s %s\n", (unsigned long long)b->sums[k], ask_answer_name[k],
                   ask_answer_what[k]);
    printf("%8llu programs in %.1f s; of %llu that Linux accepts, %.2f %% are refused here\n",
           (unsigned long long)total, (double)ns / 1e9, (unsigned long long)accepts, rate);
    return b->sums[ASK_accepted_here] || b->sums[ASK_crashed] || b->sums[ASK_hung];
}

static void collect(struct options *o, const char *path)
{
    struct dirent *entry;
    size_t n = strlen(path);
    DIR *dir = opendir(path);

    if (!dir && n > 4 && !strcmp(path + n - 4, ".rec")) {
        if (o->nreal == o->room) {
            o->room = o->room ? o->room * 2 : 256;
            o->real = realloc(o->real, o->room * sizeof(*o->real));
            if (!o->real)
                abort();
        }
        o->real[o->nreal++] = strdup(path);
    }
    while (dir && (entry = readdir(dir))) {
        char below[4096];

        snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            collect(o, below);
    }
    if (dir)
        closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    struct options o = {.from = 1};
    const char *why = oracle_missing();
    struct board *b;
    struct ask ask;
    u64 start;
    int status;

    for (int k = 1; k < argc; k++) {
        const char *value = k + 1 < argc ? argv[k + 1] : "";

        if (!strcmp(argv[k], "--json")) {
            o.json = true;
            continue;
        }
        k++;
        if (!strcmp(argv[k - 1], "--from"))
            o.from = strtoull(value, NULL, 0);
        else if (!strcmp(argv[k - 1], "--count"))
            o.count = strtoull(value, NULL, 0);
        else if (!strcmp(argv[k - 1], "--seconds"))
            o.seconds = strtoull(value, NULL, 0);
        else if (!strcmp(argv[k - 1], "--budget"))
            o.budget = strtoull(value, NULL, 0);
        else if (!strcmp(argv[k - 1], "--finds"))
            o.finds = value;
        else if (!strcmp(argv[k - 1], "--keep"))
            o.keep = value;
        else if (!strcmp(argv[k - 1], "--mutate")) {
            collect(&o, value);
            if (!o.nreal) {
                fprintf(stderr, "%s: no recordings there\n", value);
                return 2;
            }
        } else {
            fprintf(stderr,
                    "usage: %s [--from SEED] [--count N] [--seconds S] [--mutate FOLDER]… [--finds FOLDER] "
                    "[--json]\n",
                    argv[0]);
            return 2;
        }
    }
    if (!o.count)
        o.count = o.keep ? 1 : 1000000;
    if (why) {
        printf("skipped: %s\n", why);
        return 77;
    }
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        return 2;
    if (o.nreal)
        qsort(o.real, o.nreal, sizeof(*o.real), by_name);
    ask_open(&ask);
    ask.budget = o.budget;
    b->next = o.from;
    b->end = o.from + o.count;
    start = now_ns();
    run(b, &o, &ask);
    status = o.keep ? 0 : report(b, &o, now_ns() - start);
    ask_close(&ask);
    return status;
}
