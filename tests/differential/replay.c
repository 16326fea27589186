/* SPDX-License-Identifier: MIT */
/*
 * Replays recordings: what does our verifier say where the kernel has spoken?
 *
 *     replay [--json] [--words] [--all] [--log LEVEL] [--seconds N] [--best-of N] [--only TEXT] FOLDER|FILE…
 *
 * One line a disagreement, sorted by object and program, with the kernel's last words and ours; then the
 * sums.
 *     --words   also where both refuse (or accept), the kernel says what its selftest expects, and we do not
 *     --all     every program
 *     --best-of the fastest of N verifications counts
 *     --log     our log of each, at that level
 *     --only    programs whose object/name contains TEXT, or whose answer is TEXT
 * Status 1 when there is an answer that must not be: accepted_here, crashed, hung.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/differential/explain.h"
#include "tests/differential/oracle.h"

struct list {
    char **path;
    u32 n, room;
};

struct options {
    bool json, words, all;
    const char *only;
};

static void add(struct list *l, const char *path)
{
    if (l->n == l->room) {
        u32 room = l->room ? l->room * 2 : 1024;
        char **to = realloc(l->path, room * sizeof(*to));

        if (!to)
            abort();
        l->path = to;
        l->room = room;
    }
    l->path[l->n++] = strdup(path);
}

static void collect(struct list *l, const char *path)
{
    struct stat st;
    struct dirent *entry;
    DIR *dir;

    if (stat(path, &st)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        add(l, path);
        return;
    }
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        char below[4096];
        size_t n = strlen(entry->d_name);

        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR || (n > 4 && !strcmp(entry->d_name + n - 4, ".rec")))
            collect(l, below);
    }
    if (dir)
        closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void json_text(const char *key, const char *text)
{
    printf("\"%s\":\"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((u8)*text < ' ')
            printf("\\u%04x", (u8)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void say(const struct options *o, const struct rec *rec, enum ask_answer answer,
                const struct ask_result *r)
{
    char words[512];

    ask_last_words(rec->messages, words, sizeof(words));
    if (o->json) {
        printf("{");
        json_text("corpus", rec->corpus);
        printf(",");
        json_text("object", rec->object);
        printf(",");
        json_text("program", rec->name);
        printf(",\"type\":%u,\"insns\":%u,", rec->program->prog_type, rec->ninsns);
        json_text("answer", ask_answer_name[answer]);
        printf(",\"linux\":{\"error\":%d,\"processed\":%lu,\"usecs\":%u,", rec->verdict->error,
               (unsigned long)rec->verdict->insns_processed, rec->verdict->usecs);
        json_text("words", words);
        printf("},\"ours\":{\"processed\":%lu,\"ns\":%lu,\"insn\":%u,", (unsigned long)r->insns_processed,
               (unsigned long)r->time_ns, r->insn);
        json_text("reason", r->reason);
        printf(",");
        json_text("words", r->message);
        printf(",");
        json_text("missing", r->words_missing ? r->missing : "");
        printf("}}\n");
        return;
    }
    printf("%-14s %s/%s", ask_answer_name[answer], rec->object, rec->name);
    if (answer <= ASK_agree_refused && r->words_missing)
        printf(" (words)");
    printf("\n    linux: %s\n", rec->verdict->error ? words : "accepted");
    if (answer == ASK_crashed || answer == ASK_hung)
        return;
    if (answer == ASK_explained)
        printf("    ours:  accepted: %s\n", accepted_here[r->row].what);
    else if (r->accepted)
        printf("    ours:  accepted\n");
    else
        printf("    ours:  [%s] %s (insn %u)\n", r->reason, r->message, r->insn);
    if (r->words_missing)
        printf("    lacks: %s\n", r->missing);
}

/* How long it took, ours ÷ Linux's own: over programs both accept, of which Linux tells a time. */
struct times {
    double log_sum, worst, ours_us;
    u64 processed;
    u32 n;
    char name[200];
};

static void add_time(struct times *t, const struct rec *rec, const struct ask_result *r)
{
    double ratio;

    if (!rec->verdict->usecs || !r->time_ns)
        return;
    ratio = (double)r->time_ns / 1000 / rec->verdict->usecs;
    t->log_sum += log(ratio);
    t->ours_us += (double)r->time_ns / 1000;
    t->processed += r->insns_processed;
    t->n++;
    if (ratio > t->worst) {
        t->worst = ratio;
        snprintf(t->name, sizeof(t->name), "%s/%s", rec->object, rec->name);
    }
}

static bool answer_of(const char *name)
{
    for (int k = 0; k < ASK_ANSWER_COUNT; k++)
        if (!strcmp(ask_answer_name[k], name))
            return true;
    return false;
}

/* What this kernel does not take as it is, it is asked now, another way (detour.h). */
static void ask_kernel(const struct ask *ask, struct rec *rec, struct rec_verdict *verdict)
{
    static char log[1u << 20];
    struct oracle *o;
    int e;

    if (ask_judged(rec) || oracle_missing() || rec->program->host_btf_hash != ask->host_btf_hash ||
        !detour_needed(rec))
        return;
    o = malloc(sizeof(*o));
    if (!o || oracle_open(o, rec)) {
        free(o);
        return;
    }
    e = oracle_ask(o, rec->insns, rec->ninsns, false, 1, log, sizeof(log));
    if (e != -ENOTTY) {
        *verdict = *rec->verdict;
        verdict->error = e;
        rec->verdict = verdict;
        rec->messages = e ? log : "";
    }
    oracle_close(o);
    free(o);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct list list = {0};
    struct times times = {0};
    struct ask ask;
    struct ask_result *shared;
    u32 sums[ASK_ANSWER_COUNT] = {0}, words = 0, hosted = 0, hosted_accepts = 0, seconds = 20, level = 0,
        best_of = 0;

    for (int k = 1; k < argc; k++) {
        if (!strcmp(argv[k], "--json"))
            o.json = true;
        else if (!strcmp(argv[k], "--words"))
            o.words = true;
        else if (!strcmp(argv[k], "--all"))
            o.all = true;
        else if (!strcmp(argv[k], "--only") && k + 1 < argc)
            o.only = argv[++k];
        else if (!strcmp(argv[k], "--log") && k + 1 < argc)
            level = (u32)atoi(argv[++k]);
        else if (!strcmp(argv[k], "--best-of") && k + 1 < argc)
            best_of = (u32)atoi(argv[++k]);
        else if (!strcmp(argv[k], "--seconds") && k + 1 < argc)
            seconds = (u32)atoi(argv[++k]);
        else
            collect(&list, argv[k]);
    }
    if (!list.n) {
        fprintf(stderr,
                "usage: %s [--json] [--words] [--all] [--log LEVEL] [--seconds N] [--best-of N] [--only "
                "TEXT] FOLDER|FILE…\n",
                argv[0]);
        return 2;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    if (ask_open(&ask))
        fprintf(stderr, "the kernel's types cannot be read: programs that name them will be refused\n");
    ask.seconds = seconds;
    ask.best_of = best_of;
    ask.log_level = level;
    qsort(list.path, list.n, sizeof(*list.path), by_name);
    for (u32 k = 0; k < list.n; k++) {
        struct tn_error err = {0};
        enum ask_answer answer;
        char full[1024];
        struct rec_verdict verdict;
        struct rec rec;
        bool wanted;

        if (rec_read(list.path[k], &rec, &err)) {
            fprintf(stderr, "%s: %s\n", list.path[k], err.message);
            sums[ASK_unreadable]++;
            continue;
        }
        snprintf(full, sizeof(full), "%s/%s", rec.object, rec.name);
        if (o.only && !answer_of(o.only) && !strstr(full, o.only)) {
            rec_clear(&rec);
            continue;
        }
        ask_kernel(&ask, &rec, &verdict);
        answer = ask_one(&ask, &rec, shared);
        if (!o.only || !answer_of(o.only) || !strcmp(ask_answer_name[answer], o.only)) {
            sums[answer]++;
            words += answer <= ASK_agree_refused && shared->words_missing;
            hosted += ask_in_process(&rec) && ask_judged(&rec);
            hosted_accepts += ask_in_process(&rec) && !rec.verdict->error;
            if (answer == ASK_agree_accepted)
                add_time(&times, &rec, shared);
            wanted = answer != ASK_agree_accepted && answer != ASK_agree_refused && answer != ASK_elsewhere &&
                     answer != ASK_unjudged && answer != ASK_explained;
            if (wanted || o.all || o.only ||
                (o.words && answer <= ASK_agree_refused && shared->words_missing))
                say(&o, &rec, answer, shared);
        }
        rec_clear(&rec);
    }
    if (!o.json) {
        printf("\n");
        for (int k = 0; k < ASK_ANSWER_COUNT; k++)
            if (sums[k])
                printf("%6u %-14s %s\n", sums[k], ask_answer_name[k], ask_answer_what[k]);
        printf("%6u %-14s %s\n", words, "words",
               "of those that agree, without the message that Linux's selftest expects");
        printf("%6u programs for a process, %u accepted by Linux, %u of these refused here (%.1f %%)\n",
               hosted, hosted_accepts, sums[ASK_refused_here],
               hosted_accepts ? 100.0 * sums[ASK_refused_here] / hosted_accepts : 0.0);
    }
    if (!o.json && times.n)
        printf(
            "%6u timed: ours ÷ Linux's %.2f (geometric mean), worst %.2f (%s); %.1f instructions a µs here\n",
            times.n, exp(times.log_sum / times.n), times.worst, times.name,
            (double)times.processed / times.ours_us);
    for (u32 k = 0; k < list.n; k++)
        free(list.path[k]);
    free(list.path);
    ask_close(&ask);
    munmap(shared, sizeof(*shared));
    return sums[ASK_accepted_here] || sums[ASK_crashed] || sums[ASK_hung];
}
