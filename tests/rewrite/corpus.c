/* SPDX-License-Identifier: MIT */
/*
 * One file a case under corpus/: code, functions, what is asked, and what must come out, byte for byte.
 *
 *     # comment; the assembly the bytes were made from
 *     bytes 55 48 89 e5 …          the code, at address 0x1000
 *     func OFFSET SIZE [part|nameless|morestack]
 *     frame OFFSET [deep OFFSET]   … has unwind rules: those of a call, and behind `deep` one more word on the stack
 *     go                          all of it is Go's: a goroutine may be stopped, and come back, at every instruction
 *     plan entry|offset|exit|sysenter|sysexit OFFSET
 *     bias HEX                     where a process has the code, for punned jumps; 0 if not said
 *     → TACTIC-or-refusal
 *     → window OFFSET LEN hook N   one a patch; of a system call with its number, and
 *                                  whether flags are dead; `keeps N` bytes behind it, which are displaced as well
 *     → punned|… HEX | HEX → …    of a punned one: its bytes, those behind it that it ends with, where its jumps lead; or
 *                                  no room: none of them leads where a process could have memory
 *                                  round: nothing is hooked there; jumps to the first instruction lead to 0xc000
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

#include "rewrite/golang.h"
#include "rewrite/pun.h"
#include "rewrite/trampoline.h"

#define BASE    0x1000u
#define COPY    0x9000u
#define HEAD    0x9800u
#define PRIV    0x9900u
#define CALLS   0xa000u
#define FRAMES  0xb000u
#define PAST    0xc000u
#define SIGNALS 0x7f0000100000ull
#define GUARD   0x7f0000200000ull

struct test_case {
    u8 bytes[4096];
    u32 len;
    struct tn_func funcs[8];
    u32 nfuncs;
    u8 frames[1024]; /* .eh_frame, at FRAMES */
    u32 frames_len;
    u8 table[1024]; /* of Go's functions (golang.c) */
    struct tn_go go;
    enum tn_place_kind place;
    u64 at, bias;        /* bias: where the process has the code; for punned jumps only */
    char given[8192];    /* everything but the arrows */
    char expected[8192]; /* the arrows */
};

/* A record of .eh_frame: its length, and what follows. */
static u32 record(struct test_case *c, const u8 *bytes, u32 len)
{
    u32 at = c->frames_len;

    assert_true(at + 4 + len <= sizeof(c->frames));
    memcpy(c->frames + at, &len, 4);
    memcpy(c->frames + at + 4, bytes, len);
    c->frames_len += 4 + len;
    return at;
}

/* Unwind rules of a function (DWARF 4, 6.4; LSB Core). */
static void frame(struct test_case *c, u64 offset, u64 deep)
{
    /* version 1, no augmentation but R, alignments 1 and −8; absolute; CFA = rsp + 8, return address there */
    static const u8 cie[] = {0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x00, 0x0c, 7, 8, 0x90, 1, 0, 0};
    u8 fde[] = {[20] = 0, 0x02, (u8)deep, 0x0e, 16, 0, 0, 0}; /* advance_loc1, def_cfa_offset */
    u32 id;

    if (!c->frames_len)
        record(c, cie, sizeof(cie));
    id = c->frames_len + 4;
    memcpy(fde, &id, 4);
    memcpy(fde + 4, &(u64){BASE + offset}, 8);
    for (u32 i = 0; i < c->nfuncs; i++) {
        if (c->funcs[i].addr != BASE + offset)
            continue;
        memcpy(fde + 12, &c->funcs[i].size, 8);
        if (!deep)
            memset(fde + 21, 0, 4);
        c->funcs[i].frame = 1 + record(c, fde, sizeof(fde));
    }
}

/* The table of Go's functions as they are so far, without one of points where nobody is stopped. */
static void make_go(struct test_case *c)
{
    enum { HEAD_LEN = 72, RECORD = 44, NAMES = 512, MAGIC = 0xfffffff1 };
    const u64 words[] = {c->nfuncs, 0, BASE, NAMES, 0, 0, 0, HEAD_LEN + 8};
    const u32 first = 8 * (c->nfuncs + 1);

    memcpy(c->table, (u8[]){0, 0, 0, 0, 0, 0, 1, 8}, 8);
    memcpy(c->table, &(u32){MAGIC}, 4);
    memcpy(c->table + 8, words, sizeof(words));
    for (u32 i = 0; i <= c->nfuncs; i++) {
        u32 at = i < c->nfuncs ? (u32)(c->funcs[i].addr - BASE) : c->len;

        memcpy(c->table + HEAD_LEN + 8 + 8ull * i, (u32[]){at, first + RECORD * i}, 8);
        if (i == c->nfuncs)
            break;
        memcpy(c->table + HEAD_LEN + 8 + first + RECORD * i + 4, &(u32){32 * i}, 4);
        snprintf((char *)c->table + NAMES + 32ull * i, 32, "%s", c->funcs[i].name ? c->funcs[i].name : "");
    }
    assert_int_equal(tn_go_open(c->table, sizeof(c->table), BASE, &c->go), 0);
}

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
            c->funcs[c->nfuncs++] =
                (struct tn_func){.addr = BASE + a,
                                 .size = b,
                                 .part = strcmp(word, "part") == 0,
                                 .name = strcmp(word, "nameless") == 0    ? NULL
                                         : strcmp(word, "morestack") == 0 ? "runtime.morestack_noctxt"
                                                                          : "f"};
        } else if (sscanf(line, "frame %llu deep %llu", &a, &b) == 2) {
            frame(c, a, b);
        } else if (sscanf(line, "frame %llu", &a) == 1) {
            frame(c, a, 0);
        } else if (sscanf(line, "plan %31s %llu", word, &a) == 2) {
            for (u32 i = 0; i < TN_ARRAY_SIZE(places); i++)
                if (strcmp(word, places[i]) == 0)
                    c->place = (enum tn_place_kind)i;
            c->at = BASE + a;
        } else if (strcmp(line, "go\n") == 0) {
            make_go(c);
        } else if (sscanf(line, "bias %llx", &a) == 1) {
            c->bias = a;
        }
    }
    assert_true(c->len && c->nfuncs && c->at);
}

/* Above the lowest page that a process may map, everything is free. */
static bool anywhere(void *arg, u64 lo, u64 hi, const u64 *chosen, u32 nchosen, u64 *ret_at)
{
    (void)arg;
    *ret_at = TN_MAX(lo, 0x10000ull);
    for (u32 i = 0; i < nchosen; i++)
        if (*ret_at < chosen[i] + TN_PUN_STUB && chosen[i] < *ret_at + TN_PUN_STUB)
            *ret_at = chosen[i] + TN_PUN_STUB;
    return hi < 1ull << 47 && *ret_at <= hi;
}

static size_t pun_text(const struct tn_patch *p, const struct tn_pun *pun, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "→ %s", tn_pun_tactic(pun));

    for (u32 k = 0; k < p->len; k++)
        n += (size_t)snprintf(out + n, cap - n, " %02x", pun->bytes[k]);
    n += (size_t)snprintf(out + n, cap - n, " |");
    for (u32 k = 0; k < pun->depends; k++)
        n += (size_t)snprintf(out + n, cap - n, " %02x", pun->bytes[p->len + k]);
    for (u32 k = 0; k < pun->njumps; k++)
        n += (size_t)snprintf(out + n, cap - n, " → %llx", (unsigned long long)pun->stub[k]);
    return n + (size_t)snprintf(out + n, cap - n, "\n");
}

/* What comes out, in the files' own form: a plan by jumps, or why there is none, and what a breakpoint does then. */
static void outcome(const struct test_case *c, char *out, size_t cap)
{
    struct tn_code_view view = {.bytes = c->bytes,
                                .addr = BASE,
                                .len = c->len,
                                .funcs = c->funcs,
                                .nfuncs = c->nfuncs,
                                .frames = {c->frames, FRAMES, c->frames_len},
                                .is_go = c->go.nfuncs,
                                .go = c->go.nfuncs ? &c->go : NULL};
    static const char *const tails[] = {"", "leave", "enter", "pass", "ret"};
    struct tn_error err = {0};
    struct tn_plan plan;
    size_t n;

    if (tn_plan(&view, c->place, c->at, &plan, &err) < 0) {
        n = (size_t)snprintf(out, cap, "→ refused %s\n", err.reason);
        out += n;
        cap -= n;
        if (!tn_break_serves(c->place, err.reason))
            return;
        err = (struct tn_error){0};
        if (tn_plan_break(&view, c->place, c->at, &plan, &err) < 0) {
            snprintf(out, cap, "→ refused %s\n", err.reason);
            return;
        }
    }
    n = (size_t)snprintf(out, cap, "→ %s\n", plan.tactic);
    for (u32 i = 0; i < plan.npatches; i++) {
        const struct tn_patch *p = &plan.patches[i];
        struct tn_pun pun;
        const struct tn_copy_to to = {.at = COPY,
                                      .hook_entry_ptr = HEAD,
                                      .priv = PRIV,
                                      .past = PAST,
                                      .calls = CALLS,
                                      .signals = SIGNALS,
                                      .guard = GUARD};
        struct tn_displaced_out d;
        u8 bytes[TN_DISPLACED_MAX];
        int r = tn_displaced(p, &to, bytes, sizeof(bytes), &d, &err);

        n += (size_t)snprintf(out + n, cap - n, "→ window %llu %u hook %u%s",
                              (unsigned long long)(p->addr - BASE), p->len, p->hook_before,
                              p->rounds && p->rounds != p->addr                           ? " round"
                              : p->place == TN_PLACE_OFFSET && c->place == TN_PLACE_ENTRY ? " live"
                                                                                          : "");
        if (p->behind && !p->punned)
            n += (size_t)snprintf(out + n, cap - n, " keeps %u", p->behind);
        if (p->tail)
            n += (size_t)snprintf(out + n, cap - n, " %s%s%s", tails[p->tail], p->unless ? " unless" : "",
                                  p->flags_dead ? " dead" : "");
        if (p->slot)
            n += (size_t)snprintf(out + n, cap - n, " slot %llu", (unsigned long long)(p->slot - BASE));
        if (c->place >= TN_PLACE_SYSENTER)
            n += (size_t)snprintf(out + n, cap - n, " nr %d%s", p->nr, p->flags_dead ? " dead" : "");
        n += (size_t)snprintf(out + n, cap - n, "\n");
        assert_int_equal(r, 0);
        n += (size_t)snprintf(out + n, cap - n, "→ copy");
        for (u32 k = 0; k < d.len; k++)
            n += (size_t)snprintf(out + n, cap - n, " %02x", bytes[k]);
        n += (size_t)snprintf(out + n, cap - n, "\n");
        if (p->punned && tn_pun(p, c->bias, anywhere, NULL, NULL, &pun) < 0)
            n += (size_t)snprintf(out + n, cap - n, "→ no room\n");
        else if (p->punned)
            n += pun_text(p, &pun, out + n, cap - n);
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
