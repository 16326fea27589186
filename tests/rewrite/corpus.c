/* SPDX-License-Identifier: MIT */
/*
 * One file a case under corpus/: code, functions, what is asked, and what must come out, byte for byte.
 *
 *     # comment; the assembly the bytes were made from
 *     bytes 55 48 89 e5 …          the code, at address 0x1000
 *     func OFFSET SIZE [part|nameless]
 *     plan entry|offset|exit|sysenter|sysexit OFFSET
 *     → TACTIC-or-refusal
 *     → window OFFSET LEN hook N   one a patch; of a system call with its number, and
 *                                  whether flags are dead
 *     → copy HEX                   the displaced instructions at 0x9000, hook pointer at 0x9800 (no bias)
 *
 * TN_CORPUS_WRITE=1 writes the arrows anew, for a person to read before they are committed.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "rewrite/trampoline.h"

#define BASE  0x1000u
#define COPY  0x9000u
#define HEAD  0x9800u
#define PRIV  0x9900u
#define CALLS 0xa000u

struct test_case {
    u8 bytes[4096];
    u32 len;
    struct tn_func funcs[8];
    u32 nfuncs;
    enum tn_place_kind place;
    u64 at;
    char given[8192];    /* everything but the arrows */
    char expected[8192]; /* the arrows */
};

static void read_case(const char *path, struct test_case *c)
{
    static const char *const places[] = {"entry", "offset", "exit", "sysenter", "sysexit"};
    _fclose_ FILE *f = fopen(path, "re");
    char line[4096];

    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), f)) {
        unsigned long long a, b;
        char word[32] = "";
        char *to = strncmp(line, "→", strlen("→")) == 0 ? c->expected : c->given;

        strncat(to, line, sizeof(c->given) - strlen(to) - 1);
        if (strncmp(line, "bytes ", 6) == 0) {
            char *p = line + 6, *end;

            for (unsigned long v = strtoul(p, &end, 16); end != p && c->len < sizeof(c->bytes);
                 v = strtoul(p, &end, 16)) {
                c->bytes[c->len++] = (u8)v;
                p = end;
            }
        } else if (sscanf(line, "func %llu %llu %31s", &a, &b, word) >= 2) {
            assert_true(c->nfuncs < TN_ARRAY_SIZE(c->funcs));
            c->funcs[c->nfuncs++] = (struct tn_func){.addr = BASE + a,
                                                     .size = b,
                                                     .part = strcmp(word, "part") == 0,
                                                     .name = strcmp(word, "nameless") == 0 ? NULL : "f"};
        } else if (sscanf(line, "plan %31s %llu", word, &a) == 2) {
            for (u32 i = 0; i < TN_ARRAY_SIZE(places); i++)
                if (strcmp(word, places[i]) == 0)
                    c->place = (enum tn_place_kind)i;
            c->at = BASE + a;
        }
    }
    assert_true(c->len && c->nfuncs && c->at);
}

/* What comes out, in the files' own form. */
static void outcome(const struct test_case *c, char *out, size_t cap)
{
    struct tn_code_view view = {
        .bytes = c->bytes, .addr = BASE, .len = c->len, .funcs = c->funcs, .nfuncs = c->nfuncs};
    struct tn_error err = {0};
    struct tn_plan plan;
    size_t n;

    if (tn_plan(&view, c->place, c->at, &plan, &err) < 0) {
        snprintf(out, cap, "→ refused %s\n", err.reason);
        return;
    }
    n = (size_t)snprintf(out, cap, "→ %s\n", plan.tactic);
    for (u32 i = 0; i < plan.npatches; i++) {
        const struct tn_patch *p = &plan.patches[i];
        const struct tn_copy_to to = {.at = COPY, .hook_entry_ptr = HEAD, .priv = PRIV, .calls = CALLS};
        struct tn_displaced_out d;
        u8 bytes[TN_DISPLACED_MAX];
        int r = tn_displaced(p, &to, bytes, sizeof(bytes), &d, &err);

        n += (size_t)snprintf(out + n, cap - n, "→ window %llu %u hook %u%s",
                              (unsigned long long)(p->addr - BASE), p->len, p->hook_before,
                              p->place == TN_PLACE_OFFSET && c->place == TN_PLACE_ENTRY ? " live" : "");
        if (c->place >= TN_PLACE_SYSENTER)
            n += (size_t)snprintf(out + n, cap - n, " nr %d%s", p->nr, p->flags_dead ? " dead" : "");
        n += (size_t)snprintf(out + n, cap - n, "\n");
        assert_int_equal(r, 0);
        n += (size_t)snprintf(out + n, cap - n, "→ copy");
        for (u32 k = 0; k < d.len; k++)
            n += (size_t)snprintf(out + n, cap - n, " %02x", bytes[k]);
        n += (size_t)snprintf(out + n, cap - n, "\n");
    }
    tn_plan_clear(&plan);
}

static const char *dir;

static void one(void **state)
{
    struct test_case *c = calloc(1, sizeof(*c));
    char path[1024], out[8192];

    assert_non_null(c);
    snprintf(path, sizeof(path), "%s/%s", dir, (const char *)*state);
    read_case(path, c);
    outcome(c, out, sizeof(out));
    if (getenv("TN_CORPUS_WRITE")) {
        _fclose_ FILE *f = fopen(path, "we");

        assert_non_null(f);
        fprintf(f, "%s%s", c->given, out);
    } else {
        assert_string_equal(out, c->expected);
    }
    free(c);
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[256];
    struct dirent **names = NULL;
    size_t n = 0;
    int count;

    if (argc != 2)
        return 2;
    dir = argv[1];
    count = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < count && n < TN_ARRAY_SIZE(tests); i++)
        if (names[i]->d_name[0] != '.')
            tests[n++] = (struct CMUnitTest){
                .name = names[i]->d_name, .test_func = one, .initial_state = names[i]->d_name};
    if (!n)
        return 2;
    return _cmocka_run_group_tests("corpus", tests, n, NULL, NULL);
}
