/* SPDX-License-Identifier: MIT */
/*
 * Coverage-guided fuzzing of everything that reads what a stranger may have written: specification files, the
 * notes of a binary, and the languages inside texts. Byte 0 chooses the reader:
 *
 *      0   a file: what is read is printed, and what is printed reads as the same
 *      1   an ELF file's notes
 *      2   a file as a policy for a host with types: what binds answers every question the same way twice
 *      3   a capability, 4 a constraint, 5 a prototype, 6 a path
 *      7   a class and a program under it: what is admitted asks for nothing that the class does not grant
 *
 * libFuzzer's own main: `fuzz-eim -max_total_time=60 corpus`. Started with -seeds=DIR alone it writes a
 * corpus.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "eim/ask.h"
#include "eim/tree.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* A small host: struct s { int a; struct s *p; int v[3]; unsigned b:3, c:5; } in types. */
#define INFO(kind, vlen) (BTF_KIND_##kind << 24 | (vlen))
// clang-format off
#define NAMES "\0int\0s\0a\0p\0v\0b\0c\0f\0r\0g\0s_t"
enum { N_INT = 1, N_S = 5, N_A = 7, N_P = 9, N_V = 11, N_B = 13, N_C = 15, N_F = 17, N_R = 19, N_G = 21, N_ST = 23 };
static const u32 types[] = {
    /* 1 */ N_INT, INFO(INT, 0), 4, 1 << 24 | 32,
    /* 2 */ 0, INFO(PTR, 0), 3,
    /* 3 */ N_S, 1u << 31 | INFO(STRUCT, 5), 40, N_A, 1, 0, N_P, 2, 64, N_V, 4, 128, N_B, 1, 3 << 24 | 224,
            N_C, 1, 5 << 24 | 227,
    /* 4 */ 0, INFO(ARRAY, 0), 0, 1, 1, 3,
    /* 5 */ 0, INFO(FUNC_PROTO, 2), 1, N_R, 2, N_A, 1,
    /* 6 */ N_F, INFO(FUNC, 0), 5,
    /* 7 */ N_G, INFO(VAR, 0), 1, 1,
    /* 8 */ N_ST, INFO(TYPEDEF, 0), 3,
};
enum { F_ID = 6, G_ID = 7 };
#define SPEC                                                                                                 \
    "eim: 1\nhost: h\nextension_entries: [ { name: e, extension_entry: f } ]\n"                              \
    "state_capabilities: [ { name: readG, operation: read(g) } ]\n"                                          \
    "function_capabilities: [ { name: callF, function: f, constraints: [ \"a > 0\", \"rtn < a\" ] } ]\n"
// clang-format on

static u8 host_raw[sizeof(struct btf_header) + sizeof(types) + sizeof(NAMES)];

static const struct tn_btf *host_types(void)
{
    static struct tn_btf *btf;
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = BTF_VERSION,
                           .hdr_len = sizeof(h),
                           .type_len = sizeof(types),
                           .str_off = sizeof(types),
                           .str_len = sizeof(NAMES)};

    if (!btf) {
        memcpy(host_raw, &h, sizeof(h));
        memcpy(host_raw + sizeof(h), types, sizeof(types));
        memcpy(host_raw + sizeof(h) + sizeof(types), NAMES, sizeof(NAMES));
        must(!tn_btf_open(host_raw, sizeof(host_raw), NULL, &btf, NULL));
    }
    return btf;
}

static void told(int code, const struct tn_error *err)
{
    must(code == -ENOMEM || (*err->message && *err->reason));
}

static char *printed(const struct tn_eim *eim, size_t *ret_len)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, ret_len);

    tn_eim_print(eim, tn_eim_host_name(eim, 0), f);
    fclose(f);
    return text;
}

static void fuzz_file(const char *text, size_t len)
{
    struct tn_eim_source s = {.name = "f", .text = text, .len = len};
    struct tn_error err = {0};
    struct tn_eim *eim, *again;
    char *once, *twice;
    size_t n, m;
    int code = tn_eim_read(&s, 1, NULL, &eim, &err);

    if (code) {
        told(code, &err);
        return;
    }
    once = printed(eim, &n);
    s = (struct tn_eim_source){.name = "f", .text = once, .len = n};
    must(!tn_eim_read(&s, 1, NULL, &again, &err));
    twice = printed(again, &m);
    must(n == m && !memcmp(once, twice, n));
    free(once);
    free(twice);
    tn_eim_free(eim);
    tn_eim_free(again);
}

static void fuzz_notes(const u8 *bytes, size_t len)
{
    struct tn_notes notes = {0};
    struct tn_error err = {0};
    struct tn_eim *eim;
    struct tn_eim_source s = {.name = "f", .notes = &notes, .host = "h"};
    int code = tn_notes_read(bytes, len, &notes, &err);

    if (code) {
        told(code, &err);
        return;
    }
    for (u32 k = 0; k < notes.n; k++)
        must(*notes.rows[k].name && *notes.rows[k].what && notes.rows[k].where);
    code = tn_eim_read(&s, 1, NULL, &eim, &err);
    if (code)
        told(code, &err);
    else
        tn_eim_free(eim);
    tn_notes_clear(&notes);
}

static void ask_all(const struct tn_class *c)
{
    for (u32 k = 0; k < 96; k++) {
        struct tn_access a = {.kind = k & 1 ? TN_ACCESS_WRITE : TN_ACCESS_READ,
                              .btf_id = k < 80 ? 3 : 7,
                              .path = "",
                              .offset = k / 2 % 40,
                              .size = 1u << k % 4};
        struct tn_error err = {0};
        struct tn_asker q = {.c = c, .typed = true};
        int code = tn_ask_access(&q, &a, &err);

        must(code == tn_ask_access(&q, &a, NULL) && (!code || *err.message));
    }
}

/* Every prototype that the file has, as types behind the host's: they are types that nothing has to be said
   against, and each function is there under its name. */
static struct tn_btf *completed(const struct tn_eim *eim, void **ret_raw)
{
    struct tn_eim_wanted wanted[64];
    struct tn_btf *btf = NULL;
    struct tn_eim_item item;
    u64 size;
    u32 n = 0;

    for (u32 k = 0; tn_eim_item(eim, "h", k, &item) && n < TN_ARRAY_SIZE(wanted); k++)
        if (item.prototype && strcmp(item.symbol, "f") != 0)
            wanted[n++].item = k;
    must(!tn_eim_complete(eim, "h", host_types(), host_raw, wanted, n, ret_raw, &size));
    must(!tn_btf_open(*ret_raw, size, NULL, &btf, NULL));
    for (u32 k = 0; k < n; k++) {
        must(tn_eim_item(eim, "h", wanted[k].item, &item));
        must(!wanted[k].id || (tn_btf_kind_of(btf, wanted[k].id) == BTF_KIND_FUNC &&
                               !strcmp(tn_btf_name(btf, wanted[k].id), item.symbol)));
    }
    return btf;
}

static void fuzz_policy(const char *text, size_t len)
{
    struct tn_eim_source s[] = {{.name = "a", .text = SPEC, .len = sizeof(SPEC) - 1},
                                {.name = "b", .text = text, .len = len}};
    struct tn_error err = {0};
    struct tn_bound *b;
    struct tn_eim *eim;
    struct tn_btf *btf;
    void *raw = NULL;
    int code = tn_eim_read(s, 2, NULL, &eim, &err);

    if (code) {
        told(code, &err);
        return;
    }
    btf = completed(eim, &raw);
    code = tn_eim_bind(eim, "h", btf, &b, &err);
    if (code) {
        told(code, &err);
    } else {
        for (u32 k = 0; k < b->host->nclasses; k++) {
            ask_all(b->klass[k]);
            must(!tn_eim_diff(b->klass[k], b->klass[k], NULL, NULL, &err));
        }
        tn_eim_unbind(b);
    }
    tn_btf_close(btf);
    free(raw);
    tn_eim_free(eim);
}

static bool verified(const struct bpf_insn *insns, u32 n, const struct tn_authority *authority)
{
    const struct tn_verify_in in = {.insns = insns,
                                    .ninsns = n,
                                    .prog_type = BPF_PROG_TYPE_TRACING,
                                    .expected_attach_type = BPF_TRACE_FENTRY,
                                    .gpl = true,
                                    .host_btf = host_types(),
                                    .process = true,
                                    .attach_btf_id = F_ID,
                                    .authority = authority};
    struct tn_verdict v;
    bool accepted;

    if (tn_verify(&in, &v))
        return false; /* no memory */
    accepted = v.accepted;
    tn_verdict_clear(&v);
    return accepted;
}

/* Byte 0: how many bytes of capabilities follow; the rest is a program at the entry of f. */
static void fuzz_program(const u8 *data, size_t size)
{
    struct tn_eim_source s[] = {{.name = "a", .text = SPEC, .len = sizeof(SPEC) - 1}, {.name = "b"}};
    struct bpf_insn insns[64];
    struct tn_eim_uses uses = {0};
    struct tn_authority authority, recorder;
    struct tn_error err = {0};
    const struct tn_class *c;
    struct tn_bound *b = NULL;
    struct tn_eim *eim;
    struct tn_asker q;
    char policy[512];
    u32 n;

    if (!size || size < 1 + (size_t)data[0] || memchr(data + 1, 0, data[0]))
        return;
    s[1].text = policy;
    s[1].len =
        (u64)snprintf(policy, sizeof(policy),
                      "eim: 1\nhost: h\nextension_classes:\n- name: c\n  extension_entry: e\n  allowed: [ "
                      "instructions < 999, %.*s ]\n",
                      data[0], (const char *)data + 1);
    n = (u32)TN_MIN((size - 1 - data[0]) / sizeof(*insns), TN_ARRAY_SIZE(insns));
    if (!n || tn_eim_read(s, 2, NULL, &eim, &err))
        return;
    memcpy(insns, data + 1 + data[0], n * sizeof(*insns));
    c = tn_eim_bind(eim, "h", host_types(), &b, &err) ? NULL : tn_eim_class(b, "c", &err);
    if (c) {
        tn_eim_authority(c, true, &q, &authority);
        authority.host_stores = true;
        uses.bound = b;
        tn_eim_recording(&uses, "e", &recorder);
        recorder.host_stores = true;
        if (verified(insns, n, &authority)) {
            (void)verified(insns, n, &recorder);
            for (u32 k = 0; k < uses.n; k++)
                if (!uses.row[k].call)
                    must(!tn_eim_admits(c, true, &uses.row[k], &err));
        }
        tn_eim_uses_clear(&uses);
    }
    tn_eim_unbind(b);
    tn_eim_free(eim);
}

static void fuzz_text(u8 what, const char *text)
{
    struct tn_bag bag = {0};
    struct tn_node node = {.at = {"f", 1, 1}, .text = text, .exact = true};
    struct tn_error err = {0};
    struct tn_signature sig;
    struct tn_cons *cons;
    struct tn_path *path;
    struct tn_cap cap, again;
    int code;

    switch (what) {
    case 3:
        code = tn_lang_capability(&bag, &node, &cap, &err);
        if (!code) { /* one spelling, which reads as the same */
            const char *once = tn_cap_text(&bag, &cap);

            must(!tn_eim_one_cap(&bag, "f", once, &again, &err) && !strcmp(again.text, once));
        }
        break;
    case 4:
        code = tn_lang_constraint(&bag, &node, &cons, &err);
        break;
    case 5:
        code = tn_lang_signature(&bag, &node, &sig, &err);
        break;
    default:
        code = tn_lang_path(&bag, &node, &path, &err);
        break;
    }
    if (code)
        told(code, &err);
    tn_bag_clear(&bag);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    char *text;

    if (!size)
        return 0;
    text = malloc(size);
    must(text);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    switch (data[0] % 8) {
    case 0:
        fuzz_file(text, size - 1);
        break;
    case 1:
        fuzz_notes(data + 1, size - 1);
        break;
    case 2:
        fuzz_policy(text, size - 1);
        break;
    case 7:
        fuzz_program(data + 1, size - 1);
        break;
    default:
        fuzz_text(data[0] % 8, text);
        break;
    }
    free(text);
    return 0;
}

/* ------------------------------------------------------------------------------------------- seeds */

#define POLICY(allowed)                                                                                      \
    "\2eim: 1\nhost: h\nextension_classes:\n- name: c\n  extension_entry: e\n  allowed: [ instructions < "   \
    "9, " allowed " ]\n"
static const char *const seeds[] = {
    "" SPEC,
    "eim: 1\nhost: { name: h, binary: /b }\ndefaults: { uprobe: denied }\nextension_classes:\n- name: c\n"
    "  extension_entry: 'uprobe:f'\n  allowed: [ 'instructions < inf', replace ]\n  who: [ 'uid:1', 'gid:x' "
    "]\n",
    POLICY("'read(r->a)'"),
    POLICY("'read(r->p->v[1 .. 2])', 'write(r->b)', readG, callF"),
    POLICY("'read(r->p[0])', 'read(*r->p)', 'read(s_t->v[..])', 'read(g)', helpers(local)"),
    "\2eim: 1\nhost: { name: h, build_id: '12ab' }\nfunction_capabilities:\n- { name: x, function: y, "
    "address: "
    "'0x10', prototype: 's_t *(struct s *p, long long l, struct s by_value)', constraints: [ nonnull(p) ] "
    "}\n",
    "\2eim: 1\nhost: h\nextension_entries:\n- { name: x, extension_entry: z, prototype: 'size_t (float d, "
    "char **)' }\n",
    "\3read(r->uri.data[0 .. r->uri.len])",
    "\3memory <= 3 MiB",
    "\4nonnull(r) and (len <= size(name) or not rtn < -0x10)",
    "\4sized(p, x->len)",
    "\5const unsigned long *f(struct a *restrict r, enum b, int (*cb)(void *), char z[3])",
    "\6*a->b.c[3][..][1 .. 2]",
};

#define LOAD(size, dst, src, off) (BPF_LDX | BPF_MEM | (size)), (dst) | (src) << 4, off, 0, 0, 0, 0, 0
static const u8 programs[][96] = {
    {7, 14, '"', 'r', 'e', 'a', 'd', '(', 'r', '-', '>', 'a', ')', '"', ' ', ' ', LOAD(BPF_DW, 6, 1, 0),
     LOAD(BPF_W, 0, 6, 0), BPF_JMP | BPF_EXIT},
    {7,
     16,
     'r',
     'e',
     'a',
     'd',
     'G',
     ',',
     'c',
     'a',
     'l',
     'l',
     'F',
     ',',
     '"',
     'I',
     'O',
     '"',
     BPF_LD | BPF_IMM | BPF_DW,
     2 | BPF_PSEUDO_BTF_ID << 4,
     0,
     0,
     G_ID,
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     LOAD(BPF_W, 2, 2, 0),
     LOAD(BPF_DW, 1, 1, 0),
     BPF_JMP | BPF_CALL,
     BPF_PSEUDO_KFUNC_CALL << 4,
     0,
     0,
     F_ID,
     0,
     0,
     0,
     BPF_JMP | BPF_EXIT},
};

static int write_programs(const char *dir)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(programs); k++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/program%u", dir, k);
        f = fopen(path, "wb");
        if (!f || fwrite(programs[k], sizeof(programs[k]), 1, f) != 1 || fclose(f))
            return 1;
    }
    return 0;
}

static int write_seeds(const char *dir)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(seeds); k++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%03u", dir, k);
        f = fopen(path, "wb");
        if (!f)
            return 1;
        if (seeds[k][0] > 6)
            fputc(0, f);
        fputs(seeds[k], f);
        if (fclose(f))
            return 1;
    }
    return write_programs(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc == 2 && !strncmp((*argv)[1], "-seeds=", 7))
        exit(write_seeds((*argv)[1] + 7));
    return 0;
}
