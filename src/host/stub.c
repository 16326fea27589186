/* SPDX-License-Identifier: MIT */
/*
 * GCC's debug information has of what is only declared what is used, and of its parameters no names. So it is
 * asked first what is declared, and compiles the text with uses of all of it behind, and with functions that
 * take the same:
 *
 *      cc -dM        who is it? Clang knows no list, and drops declarations even if they are used
 *      cc -E         the text, without macros; what is wrong with it is told by this or the next, as it is
 *      cc -aux-info  the functions that are declared and not defined
 *      cc            the text, and for each   void (*const tenon_declared_f)(void) = (void (*)(void))f;
 *                                             void tenon_named_f(struct request *r, long code) {}
 *
 * The compiler writes to files in memory by their names in /proc.
 */
#include "host/stub.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FLAGS_MAX  1024u
#define DEFAULT_MS 60000u
#define MADE       "/proc/self/fd/3"

extern char **environ;

/* Every type and variable of every header, and no code of anybody else's. */
static const char *const fixed[] = {"-g",
                                    "-O0",
                                    "-fno-eliminate-unused-debug-types",
                                    "-fno-eliminate-unused-debug-symbols",
                                    "-fPIC",
                                    "-shared",
                                    "-nostdlib"};

struct run {
    const struct tn_host_stub *stub;
    const char *cc;
    const char *argv[FLAGS_MAX + 24];
    u32 n;
    int in, out, said; /* in −1: nothing; out: the compiler's own number 3 */
};

static void word(struct run *run, const char *w)
{
    run->argv[run->n++] = w;
}

/* The compiler, its flags, and of what language what follows is. */
static void begin(struct run *run, const char *const *words, u32 n, const char *language)
{
    run->n = 0;
    word(run, run->cc);
    for (u32 k = 0; k < n; k++)
        word(run, words[k]);
    for (u32 k = 0; k < run->stub->nflags; k++)
        word(run, run->stub->flags[k]);
    word(run, "-w");
    word(run, "-x");
    word(run, language);
}

static int spawn(struct run *run, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    int r;

    word(run, NULL);
    r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = run->in >= 0 ? posix_spawn_file_actions_adddup2(&actions, run->in, 0)
                     : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, run->said, 1);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, run->said, 2);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, run->out, 3);
    r = r ? r : posix_spawnp(ret, run->cc, &actions, NULL, (char *const *)run->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int wait_for(pid_t pid, u32 ms, int *ret_status)
{
    _close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r = pidfd < 0 ? 1 : poll(&p, 1, (int)TN_MIN(ms, (u32)INT32_MAX));

    if (r == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return r == 0 ? -ETIME : 0;
}

static int refuse(const struct run *run, struct tn_error *err)
{
    static const char todo[] = "the compiler refuses it: give it the flags that the host was compiled with "
                               "(-I, -D, -std)";
    const struct tn_host_stub *stub = run->stub;
    char words[600];
    ssize_t n;

    if (stub->said_fd) {
        for (off_t at = 0; (n = pread(run->said, words, sizeof(words), at)) > 0; at += n)
            if (tn_write_all(*stub->said_fd, words, (u64)n))
                break;
        return tn_fail(err, -EINVAL, "stub_compile", "%s: %s", stub->source, todo);
    }
    n = pread(run->said, words, sizeof(words) - 1, 0);
    words[n > 0 ? n : 0] = 0;
    return tn_fail(err, -EINVAL, "stub_compile", "%s: %s:\n%s", stub->source, todo, words);
}

/* One compiler, from beginning to end. */
static int compile(struct run *run, struct tn_error *err)
{
    int status = 0, r;
    pid_t pid;

    if (ftruncate(run->said, 0))
        return -errno;
    r = spawn(run, &pid);
    if (r)
        return tn_fail(err, r, "stub_no_compiler", "%s: %s (types from a header need a C compiler)", run->cc,
                       strerror(-r));
    r = wait_for(pid, run->stub->limit_ms ? run->stub->limit_ms : DEFAULT_MS, &status);
    if (r)
        return tn_fail(err, r, "stub_time", "%s: compiling it took too long", run->stub->source);
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : refuse(run, err);
}

/* What a compiler wrote, as a text. */
static int text_of(int fd, char **ret)
{
    _free_ char *text = NULL;
    struct stat st;
    int r;

    if (fstat(fd, &st))
        return -errno;
    text = malloc((size_t)st.st_size + 1);
    if (!text)
        return -ENOMEM;
    r = tn_pread_all(fd, text, (u64)st.st_size, 0);
    if (r)
        return r;
    text[st.st_size] = '\0';
    *ret = TN_TAKE_PTR(text);
    return 0;
}

/* The compiler's answer on its own descriptor, of which it sees `in`; a text. */
static int ask(struct run *run, const char *const *words, u32 n, const char *language, const char *source,
               char **ret, struct tn_error *err)
{
    _close_ int out = memfd_create("tenon-answer", MFD_CLOEXEC);
    int r;

    if (out < 0)
        return -errno;
    begin(run, words, n, language);
    word(run, source);
    run->out = out;
    r = run->in >= 0 && lseek(run->in, 0, SEEK_SET) ? -errno : compile(run, err);
    return r ? r : text_of(out, ret);
}

static int is_clang(struct run *run, bool *ret, struct tn_error *err)
{
    static const char *const words[] = {"-dM", "-E", "-o", MADE};
    _free_ char *macros = NULL;
    int r = ask(run, words, TN_ARRAY_SIZE(words), "c", "/dev/null", &macros, err);

    if (!r)
        *ret = strstr(macros, "#define __clang__ ") != NULL;
    return r;
}

/* ------------------------------------------------------------------------------------ what is declared */

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$";

struct declared {
    const char *name;
    const char *params; /* with its parentheses, in the text; NULL: not found */
    int len;
};
struct list {
    struct declared *at;
    u32 n;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct declared *)a)->name, ((const struct declared *)b)->name);
}

/* In "extern void (*signal (int, void (*) (int))) (int);" the name stands before the first parenthesis that
   does not begin a pointer. */
static const char *declared_name(char *line)
{
    for (char *at = line, *end; (at = strchr(at, '(')); at++) {
        if (at[1] == '*')
            continue;
        for (end = at; end > line && end[-1] == ' '; end--)
            ;
        *end = '\0';
        for (at = end; at > line && strchr(letters, at[-1]); at--)
            ;
        return at < end && (*at < '0' || *at > '9') ? at : NULL;
    }
    return NULL;
}

/* Each line "/" "* FILE:LINE:NC *" "/ extern TYPE NAME (TYPES);"; O: without prototype, F: a body. */
static int list_of(char *lines, struct list *ret)
{
    char *rest = lines, *line;

    while ((line = strsep(&rest, "\n"))) {
        char *mark = strstr(line, " */ extern ");
        const char *name = mark && mark - line > 2 && mark[-1] == 'C' ? declared_name(mark + 11) : NULL;
        struct declared *grown;

        if (!name)
            continue;
        grown =
            ret->n & (ret->n - 1) ? ret->at : reallocarray(ret->at, ret->n ? 2 * ret->n : 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        ret->at = grown;
        ret->at[ret->n++] = (struct declared){.name = name};
    }
    if (ret->n)
        qsort(ret->at, ret->n, sizeof(*ret->at), by_name);
    return 0;
}

/* Behind the string, or the parenthesis or brace in whose pair `c` stands; strings count as one. */
static const char *behind(const char *c)
{
    u32 depth = 0;

    do {
        if (*c == '"' || *c == '\'') {
            const char quote = *c;

            for (c++; *c && *c != quote; c++)
                c += *c == '\\' && c[1];
        } else if (*c == '(' || *c == '{') {
            depth++;
        } else if (*c == ')' || *c == '}') {
            depth--;
        }
        c += *c != '\0';
    } while (*c && depth);
    return c;
}

static bool word_is(const char *c, size_t len, const char *is)
{
    return strlen(is) == len && !memcmp(c, is, len);
}

/* Finds the parameters of what is listed: a name outside of bodies and attributes, before a parenthesis. */
static void find_parameters(const char *text, struct list *list)
{
    for (const char *c = text, *end; *c;) {
        size_t len = strspn(c, letters);

        if (*c == '#') /* where the lines come from */
            c += strcspn(c, "\n");
        else if (*c == '"' || *c == '\'' || *c == '{')
            c = behind(c);
        else if (!len)
            c++;
        if (!len)
            continue;
        end = c + len + strspn(c + len, " \n");
        if (*end == '(' &&
            (word_is(c, len, "__attribute__") || word_is(c, len, "__asm__") || word_is(c, len, "asm"))) {
            c = behind(end);
        } else if (*end == '(') {
            char name[256];
            const struct declared key = {.name = name};
            struct declared *d;

            snprintf(name, sizeof(name), "%.*s", (int)len, c);
            d = list->n ? bsearch(&key, list->at, list->n, sizeof(key), by_name) : NULL;
            c = d ? behind(end) : end;
            if (d && !d->params) {
                d->params = end;
                d->len = (int)(c - end);
            }
        } else {
            c = end;
        }
    }
}

/* The text, and behind it what makes the compiler say it. Hidden ones are weak, or linking wants them. */
static int write_uses(const char *text, const struct list *list, bool named, int *ret_fd)
{
    _close_ int fd = memfd_create("tenon-source", MFD_CLOEXEC);
    _fclose_ FILE *f = NULL;
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

    f = copy < 0 ? NULL : fdopen(copy, "w");
    if (!f)
        return -errno;
    fprintf(f, "%s\n", text);
    for (u32 k = 0; k < list->n; k++) {
        const struct declared *d = &list->at[k];

        if (k && !strcmp(d->name, d[-1].name)) /* declared twice */
            continue;
        fprintf(f, "#pragma weak %s\nvoid (*const tenon_declared_%s)(void) = (void (*)(void))%s;\n", d->name,
                d->name, d->name);
        if (named && d->params)
            fprintf(f, "__extension__ void " TN_STUB_NAMED "%s%.*s {}\n", d->name, d->len, d->params);
    }
    if (fflush(f) || ferror(f) || lseek(fd, 0, SEEK_SET))
        return -EIO;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

static int last(struct run *run, const char *language, const char *source, int *ret_fd, struct tn_error *err)
{
    _close_ int out = memfd_create("tenon-stub", MFD_CLOEXEC);
    int r;

    if (out < 0)
        return -errno;
    begin(run, fixed, TN_ARRAY_SIZE(fixed), language);
    word(run, source);
    word(run, "-o");
    word(run, MADE);
    run->out = out;
    r = compile(run, err);
    if (!r)
        *ret_fd = TN_TAKE_FD(out);
    return r;
}

static int with_uses(struct run *run, int *ret_fd, struct tn_error *err)
{
    static const char *const plain[] = {"-E", "-o", MADE}, *const listing[] = {"-fsyntax-only", "-aux-info",
                                                                               MADE};
    _free_ char *text = NULL, *lines = NULL;
    struct tn_error unnamed = {0};
    struct list list = {0};
    int r = ask(run, plain, TN_ARRAY_SIZE(plain), "c", run->stub->source, &text, err);

    for (int round = 0; round < 3 && !r;
         round++) { /* to be listed; with the names of parameters; without them */
        _close_ int source = -1;

        r = write_uses(text, &list, round == 1, &source);
        if (r)
            break;
        run->in = source;
        if (round == 0) {
            r = ask(run, listing, TN_ARRAY_SIZE(listing), "cpp-output", "-", &lines, err);
            r = r ? r : list_of(lines, &list);
            find_parameters(text, &list);
        } else {
            r = last(run, "cpp-output", "-", ret_fd, round == 1 ? &unnamed : err);
            if (round == 1 && r == -EINVAL)
                r = 0;
            else
                break;
        }
    }
    free(list.at);
    return r ? tn_fail(err, r, unnamed.reason, "%s", unnamed.message) : 0;
}

int tn_host_stub_compile(const struct tn_host_stub *stub, int *ret_fd, bool *ret_declared,
                         struct tn_error *err)
{
    _close_ int said = memfd_create("tenon-cc", MFD_CLOEXEC);
    _free_ struct run *run = calloc(1, sizeof(*run));
    bool clang = false;
    int r;

    if (said < 0 || !run)
        return run ? -errno : -ENOMEM;
    if (stub->nflags > FLAGS_MAX)
        return tn_fail(err, -E2BIG, "stub_compile", "%u flags; at most %u", stub->nflags, FLAGS_MAX);
    *run = (struct run){.stub = stub,
                        .cc = stub->cc       ? stub->cc
                              : getenv("CC") ? getenv("CC")
                                             : "cc",
                        .in = -1,
                        .said = said};
    r = is_clang(run, &clang, err);
    if (!r)
        r = clang ? last(run, "c", stub->source, ret_fd, err) : with_uses(run, ret_fd, err);
    if (!r && ret_declared)
        *ret_declared = !clang;
    return r;
}
