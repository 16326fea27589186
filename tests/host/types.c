/* SPDX-License-Identifier: MIT */
/*
 * Binaries made here by both compilers, and their types held against what the compilers themselves say.
 *
 *      corpus      every type of corpus.h, member by member, in every way of compiling and of keeping debug
 *                  information; libbpf and bpftool take the BTF
 *      entry       functions whose parameters are where the ABI says, and those whose are not
 *      classes     what of C++ can be said
 *      units       two units: statics of one name, structs of one name, a declaration made whole
 *      sources     debug files by build-id and link, debuginfod's, dwz, BTF in the binary, none, a wrong one
 *      header      types from a header for a stripped binary; given BTF of another machine
 *      nginx       Debian's, stripped, by the headers of nginx-dev
 *      relocates   an extension's own idea of a struct, relocated by libbpf against the BTF
 *      split       over a base: names and ids go on
 *      cache       by build-id; damaged, writable by others
 *      limits      time and memory
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "btf/value.h"
#include "host/stub.h"
#include "rig.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* ------------------------------------------------------------------------------------------- corpus */

static s64 enumerator(const struct tn_btf *btf, u32 id, const char *name, bool *ret_found)
{
    const struct btf_type *t = tn_btf_type(btf, id);

    *ret_found = false;
    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        const struct btf_enum *e = (const struct btf_enum *)(t + 1) + i;
        const struct btf_enum64 *e64 = (const struct btf_enum64 *)(t + 1) + i;
        bool wide = tn_btf_kind(t) == BTF_KIND_ENUM64;

        if (strcmp(tn_btf_string(btf, wide ? e64->name_off : e->name_off), name))
            continue;
        *ret_found = true;
        if (wide)
            return (s64)((u64)e64->val_hi32 << 32 | e64->val_lo32);
        return BTF_INFO_KFLAG(t->info) ? e->val : (s64)(u32)e->val;
    }
    return 0;
}

static u32 find_enum(const struct tn_btf *btf, const char *name)
{
    u32 id = tn_btf_find(btf, BTF_KIND_ENUM, name);

    return id ? id : tn_btf_find(btf, BTF_KIND_ENUM64, name);
}

static char class_of(const struct tn_btf *btf, u32 id)
{
    const struct btf_type *t;

    id = tn_btf_resolve(btf, id);
    t = tn_btf_type(btf, id);
    if (!t)
        return '?';
    if (tn_btf_kind(t) == BTF_KIND_FLOAT)
        return 'f';
    if (tn_btf_kind(t) != BTF_KIND_INT)
        return '?';
    if (BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_BOOL)
        return 'b';
    return BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED ? 's' : 'u';
}

/* One line of what the compiler says. */
static void hold(const struct tn_btf *btf, const char *line, const char *how)
{
    char kind[16], name[64], path[64];
    unsigned long long a, b;
    long long value;
    u32 id, type = 0, width = 0;
    u64 bit = 0;
    char class;
    bool found;

    if (sscanf(line, "S %15s %63s %llu", kind, name, &a) == 3) {
        id = tn_btf_find(btf, *kind == 's' ? BTF_KIND_STRUCT : BTF_KIND_UNION, name);
        if (!id || tn_btf_size(btf, id) != (s64)a)
            fail_msg("%s: %s: id %u, %lld bytes", how, line, id, (long long)tn_btf_size(btf, id));
    } else if (*line == 'M' || *line == 'B') {
        assert_int_equal(sscanf(line + 2, "%15s %63s %63s %llu %llu", kind, name, path, &a, &b), 5);
        id = tn_btf_find(btf, *kind == 's' ? BTF_KIND_STRUCT : BTF_KIND_UNION, name);
        if (!id || !rig_member(btf, id, path, &bit, &type, &width) || bit != a)
            fail_msg("%s: %s: id %u, bit %llu", how, line, id, (unsigned long long)bit);
        if (*line == 'B' ? width != b && (width || tn_btf_size(btf, type) * 8 != (s64)b)
                         : width || tn_btf_size(btf, type) != (s64)b)
            fail_msg("%s: %s: width %u, %lld bytes", how, line, width, (long long)tn_btf_size(btf, type));
    } else if (sscanf(line, "E %63s %63s %lld %llu", name, path, &value, &a) == 4) {
        id = find_enum(btf, name);
        if (!id || tn_btf_size(btf, id) != (s64)a || enumerator(btf, id, path, &found) != value || !found)
            fail_msg("%s: %s: id %u, %lld bytes", how, line, id, (long long)tn_btf_size(btf, id));
    } else if (sscanf(line, "T %63s %llu %c", name, &a, &class) == 3) {
        id = tn_btf_find(btf, BTF_KIND_TYPEDEF, name);
        if (!id || tn_btf_size(btf, id) != (s64)a || class_of(btf, id) != class)
            fail_msg("%s: %s: id %u, %lld bytes, %c", how, line, id, (long long)tn_btf_size(btf, id),
                     class_of(btf, id));
    } else {
        fail_msg("%s: what does this say: %s", how, line);
    }
}

/* libbpf reads it, and bpftool prints every type. */
static void others_take_it(const struct tn_host_types *types, const char *how)
{
    u64 size;
    const void *raw = tn_host_types_raw(types, &size);
    struct btf *btf = btf__new(raw, (u32)size);
    FILE *f = fopen(rig_path("raw.btf"), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(raw, 1, size, f), size);
    fclose(f);
    if (!btf || btf__type_cnt(btf) != tn_btf_count(tn_host_types_view(types)))
        fail_msg("%s: libbpf: %s", how, strerror(errno));
    btf__free(btf);
    rig_must("bpftool btf dump file raw.btf && grep -c '^\\[' log | grep -qx %u",
             tn_btf_count(tn_host_types_view(types)) - 1);
}

static void take(const char *binary, const char *how)
{
    struct tn_host_types *types = rig_open(binary);

    others_take_it(types, how);
    tn_host_types_close(types);
}

static u32 hold_all(const struct tn_btf *btf, const char *program, const char *how)
{
    char line[256];
    u32 n = 0;
    FILE *f;

    rig_must("./%s > said", program);
    f = fopen(rig_path("said"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        hold(btf, line, how);
        n++;
    }
    fclose(f);
    return n;
}

static void hold_corpus(const char *binary, const char *program, const char *how)
{
    struct tn_host_types *types = rig_open(binary);
    u32 n = hold_all(tn_host_types_view(types), program, how);

    assert_true(n > 120);
    if (!strstr(how, "lto")) /* which removes variables that nobody uses */
        assert_non_null(tn_host_types_var_named(types, "packed_bits", 0));
    tn_host_types_close(types);
}

static void test_corpus(void **state)
{
    static const char *const compilers[] = {"gcc", "clang"};
    static const char *const ways[] = {
        "-O0 -gdwarf-5",
        "-O2 -gdwarf-5",
        "-O3 -gdwarf-4",
        "-O0 -gdwarf-4",
        "-O1 -gdwarf-3",
        "-O0 -gdwarf-2",
        "-O2 -gdwarf-5 -gz",
        "-O0 -gdwarf-4 -fdebug-types-section",
        "-O0 -gdwarf-5 -fdebug-types-section",
    };

    (void)state;
    for (u32 c = 0; c < TN_ARRAY_SIZE(compilers); c++) {
        for (u32 i = 0; i < TN_ARRAY_SIZE(ways); i++) {
            char how[96];

            snprintf(how, sizeof(how), "%s %s", compilers[c], ways[i]);
            rig_must("%s -w %s $S/corpus.c -o corpus", compilers[c], ways[i]);
            hold_corpus("corpus", "corpus", how);
        }
        take("corpus", compilers[c]);
    }
    rig_must("gcc -w -O2 -flto -g $S/corpus.c -o corpus");
    hold_corpus("corpus", "corpus", "gcc -flto");
    if (!rig_sh("clang -w -O2 -flto -fuse-ld=lld -g $S/corpus.c -o corpus"))
        hold_corpus("corpus", "corpus", "clang -flto");
    else
        print_message("no lld, which Clang's link-time optimisation needs\n");
}

/* -------------------------------------------------------------------------------------------- entry */

static const struct tn_host_func *func(const struct tn_host_types *types, const char *name, u32 k)
{
    const struct tn_host_func *f = tn_host_types_func_named(types, name, k);

    if (!f)
        fail_msg("no function %s", name);
    return f;
}

static void expect(const struct tn_host_types *types, const char *name, enum tn_host_reason reason, u32 param,
                   const char *how)
{
    const struct tn_host_func *f = func(types, name, 0);

    if (f->reason != reason || f->param != param)
        fail_msg("%s: %s: %s (parameter %u)", how, name, tn_host_reason_name(f->reason), f->param);
}

/* The type says so, once, and no more. */
static void expect_aligned(const struct tn_host_types *types, const char *name, const char *tag,
                           const char *how)
{
    const struct tn_btf *btf = tn_host_types_view(types);
    u32 id = tn_btf_find(btf, BTF_KIND_STRUCT, name);
    const char *is = tn_btf_tag(btf, id, -1, 0), *more = is ? tn_btf_tag(btf, id, -1, 1) : NULL;

    if (!id || !is != !tag || (tag && strcmp(is, tag)) || more)
        fail_msg("%s: struct %s: %s, %s", how, name, is ? is : "no tag", more ? more : "no more");
}

static void test_entry(void **state)
{
    static const char *const ways[] = {"gcc -O0",   "gcc -O1",   "gcc -O2",   "gcc -O3",  "gcc -O2 -flto",
                                       "clang -O0", "clang -O1", "clang -O2", "clang -O3"};

    (void)state;
    for (u32 i = 0; i < TN_ARRAY_SIZE(ways); i++) {
        bool clang = *ways[i] == 'c', lto = strstr(ways[i], "lto");
        bool fast = ways[i][strlen(ways[i]) - 1] >= (clang ? '1' : '2') || lto;
        struct tn_host_types *types;
        u32 abi = 0;

        rig_must("%s -w -gdwarf-%u $S/entry.c $S/twin.c -o entry", ways[i], i % 2 ? 4u : 5u);
        types = rig_open("entry");
        for (u32 k = 0; k < tn_host_types_nfuncs(types); k++) {
            const struct tn_host_func *f = tn_host_types_func(types, k);

            if (strncmp(f->name, "abi_", 4))
                continue;
            abi++;
            /* Link-time optimisation makes globals local, and then takes away from them too. */
            if (f->reason != TN_HOST_NONE && !(lto && f->reason == TN_HOST_CLONE))
                fail_msg("%s: %s: %s (parameter %u)", ways[i], f->name, tn_host_reason_name(f->reason),
                         f->param);
            assert_int_equal(tn_btf_kind_of(tn_host_types_view(types), f->type), BTF_KIND_FUNC);
            assert_ptr_equal(tn_host_types_func_of_type(types, f->type), f);
            assert_ptr_equal(tn_host_types_func_at(types, f->addr), f);
        }
        assert_int_equal(abi, 16);
        expect_aligned(types, "wide", TN_BTF_ALIGNED "32", ways[i]);
        expect_aligned(types, "member", TN_BTF_ALIGNED "16", ways[i]);
        expect_aligned(types, "two", NULL, ways[i]);
        if (!lto) {
            expect(types, "odd_kept", TN_HOST_NONE, 0, ways[i]);
            expect(types, "odd_lanes", TN_HOST_PARAM_VECTOR, 0, ways[i]);
            expect(types, "odd_to_lanes", TN_HOST_PARAM_VECTOR, 0, ways[i]);
        }
        if (!tn_host_types_func_named(types, "odd_inlined", 0))
            fail_msg("%s: odd_inlined", ways[i]);
        assert_int_equal(func(types, "odd_inlined", 0)->reason, TN_HOST_INLINED);
        assert_int_equal(func(types, "odd_inlined", 0)->type, 0);
        expect(types, "odd_dropped",
               !fast   ? TN_HOST_NONE
               : clang ? TN_HOST_PARAM_MISSING
                       : TN_HOST_CLONE,
               0, ways[i]);
        expect(types, "odd_last",
               !fast   ? TN_HOST_NONE
               : clang ? TN_HOST_PARAM_MISSING
                       : TN_HOST_CLONE,
               fast && clang ? 2 : 0, ways[i]);
        expect(types, "odd_constant",
               !fast   ? TN_HOST_NONE
               : clang ? TN_HOST_PARAM_CONST
                       : TN_HOST_CLONE,
               fast && clang ? 1 : 0, ways[i]);
        tn_host_types_close(types);
    }
}

/* A stripped symbol table takes the proof away that nobody changed a static function. */
static void test_entry_without_symbols(void **state)
{
    struct tn_host_types *types;

    (void)state;
    rig_must(
        "clang -w -O2 -g $S/entry.c $S/twin.c -o entry && objcopy -R .symtab -R .strtab entry bare 2>&1 || "
        "strip --strip-symbol=odd_dropped entry -o bare");
    types = rig_open("bare");
    assert_int_equal(func(types, "odd_dropped", 0)->reason, TN_HOST_PARAM_MISSING);
    assert_int_equal(func(types, "abi_two", 0)->reason, TN_HOST_NONE); /* its locations say so */
    tn_host_types_close(types);
}

static void test_classes(void **state)
{
    static const char *const ways[] = {"g++ -O0", "g++ -O2", "clang++ -O0", "clang++ -O2"};

    (void)state;
    for (u32 i = 0; i < TN_ARRAY_SIZE(ways); i++) {
        struct tn_host_types *types;
        const struct tn_btf *btf;
        u32 type = 0, width = 0, id;
        u64 bit = 0;

        rig_must("%s -w -g $S/classes.cc -o classes", ways[i]);
        types = rig_open("classes");
        btf = tn_host_types_view(types);
        expect(types, "ok_plain", TN_HOST_NONE, 0, ways[i]);
        expect(types, "ok_reference", TN_HOST_NONE, 0, ways[i]);
        expect(types, "ok_template", TN_HOST_NONE, 0, ways[i]);
        expect(types, "odd_string", TN_HOST_PARAM_REF, 0, ways[i]);
        expect(types, "odd_inside", TN_HOST_PARAM_REF, 0, ways[i]);
        expect(types, "_ZN5space5namedEPNS_7derivedE", TN_HOST_NONE, 0, ways[i]);
        assert_int_equal(tn_host_types_var_named(types, "_ZN5space7derived5countE", 0)->size, 4);
        id = tn_btf_find(btf, BTF_KIND_STRUCT, "derived");
        assert_true(rig_member(btf, id, "of_base", &bit, &type, &width)); /* through the base */
        assert_int_equal(bit, 64);
        assert_true(func(types, "ok_plain", 0)->flags & TN_HOST_MAY_THROW);
        assert_true(func(types, "_ZN5space5namedEPNS_7derivedE", 0)->flags & TN_HOST_MAY_THROW);
        tn_host_types_close(types);
    }
}

/* -------------------------------------------------------------------------------------------- units */

static void test_units(void **state)
{
    const struct tn_host_func *a, *b;
    const struct tn_host_var *v;
    const struct tn_btf *btf;
    struct tn_host_types *types;
    u32 structs = 0, forwards = 0;
    u64 sink = 0;
    FILE *f;

    (void)state;
    rig_must(
        "gcc -w -O0 -g $S/entry.c $S/twin.c -o units && nm units | awk '$3 == \"sink\" { print $1 }' > sink");
    types = rig_open("units");
    btf = tn_host_types_view(types);
    a = func(types, "twin", 0);
    b = func(types, "twin", 1);
    assert_null(tn_host_types_func_named(types, "twin", 2));
    assert_true(a->flags & TN_HOST_AMBIGUOUS && b->flags & TN_HOST_AMBIGUOUS);
    assert_true(a->flags & TN_HOST_STATIC && a->addr != b->addr && a->type != b->type);
    assert_int_not_equal(tn_btf_type(btf, a->type)->type, tn_btf_type(btf, b->type)->type);
    assert_false(func(types, "twin_caller", 0)->flags &
                 (TN_HOST_STATIC | TN_HOST_AMBIGUOUS | TN_HOST_MAY_THROW));
    for (u32 id = 1; id < tn_btf_count(btf); id++) {
        structs += tn_btf_kind_of(btf, id) == BTF_KIND_STRUCT && !strcmp(tn_btf_name(btf, id), "bits");
        forwards += tn_btf_kind_of(btf, id) == BTF_KIND_FWD;
    }
    assert_int_equal(structs, 2); /* two structs of one name are two */
    assert_int_equal(forwards, 0);

    v = tn_host_types_var_named(types, "sink", 0);
    assert_non_null(v);
    f = fopen(rig_path("sink"), "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llx", (unsigned long long *)&sink), 1);
    fclose(f);
    assert_int_equal(v->addr, sink);
    assert_int_equal(v->size, 8);
    assert_int_equal(tn_btf_kind_of(btf, v->type), BTF_KIND_VAR);
    assert_true(tn_host_types_var_named(types, "twin_static", 0)->flags & TN_HOST_STATIC);
    v = tn_host_types_var_named(types, "twin_thread", 0);
    assert_true(v->flags & TN_HOST_THREAD_LOCAL && !v->addr);
    tn_host_types_close(types);
}

/* Every function has the address, size and file offset that nm and the segments say. */
static void test_addresses(void **state)
{
    struct tn_host_types *types;
    char line[256], name[128];
    unsigned long long addr, size;
    u32 n = 0;
    FILE *f;

    (void)state;
    rig_must(
        "gcc -w -O2 -g -no-pie $S/entry.c $S/twin.c -o fixed && nm -S fixed | grep -i ' t ' > symbols && "
        "objcopy -O binary --only-section=.text fixed text && readelf -SW fixed | grep ' .text'");
    types = rig_open("fixed");
    f = fopen(rig_path("symbols"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        const struct tn_host_func *found;

        if (sscanf(line, "%llx %llx %*c %127s", &addr, &size, name) != 3 || strchr(name, '.') || *name == '_')
            continue;
        found = tn_host_types_func_at(types, addr);
        if (!found || found->size != size)
            fail_msg("%s: %llu bytes", line, found ? (unsigned long long)found->size : 0);
        assert_int_equal(found->offset, addr - 0x400000);
        n++;
    }
    fclose(f);
    assert_true(n > 15);
    tn_host_types_close(types);
}

/* ------------------------------------------------------------------------------------------ sources */

static void expect_failure(const char *name, int r, const char *reason)
{
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};
    int got = rig_try(name, &types, &err);

    if (got != r || strcmp(err.reason, reason))
        fail_msg("%s: %d %s: %s", name, got, err.reason, err.message);
}

static void expect_source(const char *name, enum tn_host_source source)
{
    struct tn_host_types *types = rig_open(name);

    if (tn_host_types_source(types) != source)
        fail_msg("%s: from %s", name, tn_host_source_name(tn_host_types_source(types)));
    hold_all(tn_host_types_view(types), "full", name);
    assert_int_not_equal(tn_host_types_var_named(types, "packed_bits", 0)->addr, 0);
    tn_host_types_close(types);
}

static void test_sources(void **state)
{
    struct tn_host_opts opts = {.fd = -1, .cache_dir = ""};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};

    (void)state;
    rig_must("gcc -w -g -O1 -Wl,--build-id $S/corpus.c -o full && objcopy --only-keep-debug full full.dbg && "
             "objcopy --strip-all full stripped");
    expect_source("full", TN_HOST_DWARF);
    expect_failure("stripped", -ENODATA, "no_types");

    rig_must(
        "id=$(readelf -n full | sed -n 's/.*Build ID: //p') && d=debug/.build-id/$(echo $id | cut -c1-2) && "
        "mkdir -p $d && cp full.dbg $d/$(echo $id | cut -c3-).debug");
    expect_source("stripped", TN_HOST_DEBUG_FILE);
    rig_must("rm -r debug");

    rig_must("cp stripped linked && objcopy --add-gnu-debuglink=full.dbg linked");
    expect_source("linked", TN_HOST_DEBUG_FILE);
    rig_must("mkdir .debug && mv full.dbg .debug/");
    expect_source("linked", TN_HOST_DEBUG_FILE);
    rig_must("printf x | dd of=.debug/full.dbg bs=1 seek=5000 conv=notrunc");
    expect_failure("linked", -ENODATA, "no_types"); /* the checksum */
    rig_must("rm -r .debug");

    /* A debug file that is named must be of this build. */
    rig_must("gcc -w -g -O2 -Wl,--build-id $S/corpus.c -o other");
    opts.path = rig_path("stripped");
    opts.debug_file = rig_path("other");
    assert_int_equal(tn_host_types_open(&opts, &types, &err), -ESTALE);
    assert_string_equal(err.reason, "debug_mismatch");
    opts.debug_file = rig_path("full");
    assert_int_equal(tn_host_types_open(&opts, &types, &err), 0);
    tn_host_types_close(types);

    /* BTF in the binary: what was extracted, put into the stripped one. */
    rig_must("cp stripped nothing");
    take("full", "full");
    rig_must("objcopy --add-section .BTF=raw.btf full with_btf && strip --strip-debug with_btf");
    expect_source("with_btf", TN_HOST_BTF);

    rig_must("gcc -w -g -gsplit-dwarf $S/corpus.c -o split");
    expect_failure("split", -ENODATA, "split_dwarf");
    rig_must("gcc -w -g -c $S/corpus.c -o object.o");
    expect_failure("object.o", -ENOEXEC, "not_elf");
    rig_must("head -c 3000 full > cut");
    expect_failure("cut", -ENOEXEC, "elf_damaged");
    expect_failure("log", -ENOEXEC, "not_elf");
    expect_failure("absent", -ENOENT, "no_file");
}

/* What debuginfod's client left behind is found by build-id, wherever it was told to; nobody is asked. */
static void test_debuginfod(void **state)
{
    static const char *const names[] = {"HOME", "XDG_CACHE_HOME", "DEBUGINFOD_CACHE_PATH"};
    static const struct {
        const char *variable, *folder;
    } rows[] = {
        {"DEBUGINFOD_CACHE_PATH", "own"},
        {"XDG_CACHE_HOME", "cache/debuginfod_client"},
        {"HOME", "home/.cache/debuginfod_client"},
        {"HOME", "home/.debuginfod_client_cache"},
    };
    char *before[TN_ARRAY_SIZE(names)];
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};

    (void)state;
    rig_must("gcc -w -g -O1 -Wl,--build-id $S/corpus.c -o full && objcopy --only-keep-debug full full.dbg && "
             "objcopy --strip-all full stripped && gcc -w -g -O2 -Wl,--build-id $S/corpus.c -o other");
    for (u32 k = 0; k < TN_ARRAY_SIZE(names); k++)
        before[k] = getenv(names[k]) ? strdup(getenv(names[k])) : NULL;
    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_host_opts opts = {.path = rig_path("stripped"), .fd = -1, .cache_dir = ""};
        char folder[64];

        for (u32 n = 0; n < TN_ARRAY_SIZE(names); n++)
            unsetenv(names[n]);
        snprintf(folder, sizeof(folder), "%.*s", (int)strcspn(rows[k].folder, "/"), rows[k].folder);
        setenv(rows[k].variable, rig_path(folder), 1);
        assert_int_equal(tn_host_types_open(&opts, &types, &err), -ENODATA);
        assert_string_equal(err.reason, "no_types");
        err = (struct tn_error){0};
        rig_must(
            "d=%s/$(readelf -n full | sed -n 's/.*Build ID: //p') && mkdir -p $d && cp other $d/debuginfo",
            rows[k].folder);
        assert_int_equal(tn_host_types_open(&opts, &types, &err), -ENODATA); /* another build's */
        err = (struct tn_error){0};
        rig_must("cp full.dbg %s/*/debuginfo", rows[k].folder);
        if (tn_host_types_open(&opts, &types, &err))
            fail_msg("%s: %s", rows[k].folder, err.message);
        assert_int_equal(tn_host_types_source(types), TN_HOST_DEBUG_FILE);
        tn_host_types_close(types);
        rig_must("rm -r %s", folder);
    }
    for (u32 k = 0; k < TN_ARRAY_SIZE(names); k++) {
        if (before[k])
            setenv(names[k], before[k], 1);
        else
            unsetenv(names[k]);
        free(before[k]);
    }
}

static void test_dwz(void **state)
{
    (void)state;
    if (!rig_has("dwz")) {
        print_message("dwz is not installed\n");
        skip();
    }
    rig_must(
        "gcc -w -g -O1 -gdwarf-4 -Wl,--build-id $S/corpus.c -o full && cp full one && gcc -w -g -O2 "
        "-gdwarf-4 "
        "-Wl,--build-id $S/corpus.c -o two && dwz -m common.dwz one two && readelf -S one | grep altlink");
    expect_source("one", TN_HOST_DWARF);
    rig_must("mv common.dwz elsewhere.dwz");
    expect_failure("one", -ENODATA, "alt_missing");
    rig_must("id=$(readelf -n elsewhere.dwz | sed -n 's/.*Build ID: //p') && d=debug/.build-id/$(echo $id | "
             "cut -c1-2) "
             "&& mkdir -p $d && cp elsewhere.dwz $d/$(echo $id | cut -c3-).debug");
    expect_source("one", TN_HOST_DWARF);
    rig_must("rm -r debug");
}

static void test_header(void **state)
{
    const char *flags[] = {"-I" TEST_SOURCES};
    struct tn_host_stub stub = {.cc = "gcc", .flags = flags, .nflags = 1};
    struct tn_host_opts opts = {.fd = -1, .cache_dir = ""};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};
    int fd = -1;

    (void)state;
    rig_must("gcc -w -O1 -rdynamic $S/corpus.c -o full && objcopy --strip-all full stripped && "
             "printf '#include \"corpus.h\"\nstruct hidden { int inside; struct hidden *next; };\nint "
             "main(void);\nextern "
             "struct plain plain;\nvoid *used[] = {(void *)main, &plain};\n' > stub.c && "
             "echo 'int broken(' > broken.c");
    stub.source = rig_path("stub.c");
    assert_int_equal(tn_host_stub_compile(&stub, &fd, NULL, &err), 0);
    opts.path = rig_path("stripped");
    opts.types_fd = &fd;
    if (tn_host_types_open(&opts, &types, &err))
        fail_msg("%s: %s", err.reason, err.message);
    assert_int_equal(tn_host_types_source(types), TN_HOST_HEADER);
    hold_all(tn_host_types_view(types), "full", "header");
    assert_int_equal(func(types, "main", 0)->reason, TN_HOST_NONE); /* what the stub uses has a type */
    assert_int_equal(tn_btf_kind_of(tn_host_types_view(types), func(types, "main", 0)->type), BTF_KIND_FUNC);
    assert_int_equal(func(types, "_start", 0)->reason, TN_HOST_NO_PROTOTYPE);
    assert_int_equal(tn_host_types_var_named(types, "plain", 0)->size, 48);
    assert_int_not_equal(tn_host_types_var_named(types, "plain", 0)->type, 0);
    assert_int_not_equal(tn_host_types_var_named(types, "bits", 0)->addr, 0);
    assert_int_equal(tn_host_types_var_named(types, "bits", 0)->type, 0);
    tn_host_types_close(types);

    /* The same without a binary: what is declared stays, at no address. */
    opts.fd = fd;
    opts.declared = true;
    if (tn_host_types_open(&opts, &types, &err))
        fail_msg("%s: %s", err.reason, err.message);
    assert_int_equal(func(types, "main", 0)->addr, 0);
    assert_int_equal(tn_btf_kind_of(tn_host_types_view(types), func(types, "main", 0)->type), BTF_KIND_FUNC);
    assert_int_equal(tn_host_types_var_named(types, "plain", 0)->addr, 0);
    assert_int_not_equal(tn_host_types_var_named(types, "plain", 0)->type, 0);
    assert_null(tn_host_types_func_named(types, "_start", 0));
    assert_null(tn_host_types_func_named(types, "tenon_named_main", 0));
    tn_host_types_close(types);
    opts.fd = -1;
    opts.declared = false;
    close(fd);

    stub.source = rig_path("broken.c");
    assert_int_equal(tn_host_stub_compile(&stub, &fd, NULL, &err), -EINVAL);
    assert_string_equal(err.reason, "stub_compile");
    assert_non_null(strstr(err.message, "broken.c:1"));
    err = (struct tn_error){0};
    stub.cc = "no-such-compiler";
    assert_int_equal(tn_host_stub_compile(&stub, &fd, NULL, &err), -ENOENT);
    assert_string_equal(err.reason, "stub_no_compiler");

    /* BTF that Clang made for the BPF machine, where long double is another. */
    rig_must("echo 'struct a { int x; } a; struct f { long double d; } f;' > other.c && sed 's/, .*/;/; "
             "s/struct f.*//' "
             "other.c > same.c && clang -w -g -O2 -target bpf -c other.c -o other.o && clang -w -g -O2 "
             "-target bpf -c "
             "same.c -o same.o");
    for (u32 k = 0; k < 2; k++) {
        struct btf *btf = btf__parse_elf(rig_path(k ? "other.o" : "same.o"), NULL);
        int given = memfd_create("given", MFD_CLOEXEC);
        const void *raw;
        u32 size;

        assert_non_null(btf);
        raw = btf__raw_data(btf, &size);
        assert_int_equal(write(given, raw, size), size);
        opts.types_fd = &given;
        err = (struct tn_error){0};
        assert_int_equal(tn_host_types_open(&opts, &types, &err), k ? -EINVAL : 0);
        if (k)
            assert_string_equal(err.reason, "types_other_target");
        else
            assert_int_equal(tn_btf_size(tn_host_types_view(types),
                                         tn_btf_find(tn_host_types_view(types), BTF_KIND_STRUCT, "a")),
                             4);
        if (!k)
            tn_host_types_close(types);
        close(given);
        btf__free(btf);
    }
}

/* Debian's nginx, stripped: its sources' headers, configured as its package was, have its types. */
static void test_nginx(void **state)
{
    static const char *const folders[] = {"src/core", "src/event", "src/event/modules", "src/os/unix",
                                          "objs",     "src/http",  "src/http/modules",  "src/http/v2"};
    char words[TN_ARRAY_SIZE(folders)][128];
    const char *flags[TN_ARRAY_SIZE(folders)];
    struct tn_host_stub stub = {.cc = "gcc", .flags = flags, .nflags = TN_ARRAY_SIZE(folders)};
    struct tn_host_opts opts = {.path = "/usr/sbin/nginx", .fd = -1, .cache_dir = ""};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};
    const struct tn_host_func *f;
    const struct tn_btf *btf;
    int fd = -1;
    u32 id;

    (void)state;
    if (access("/usr/share/nginx/src/configure", X_OK) || access(opts.path, R_OK)) {
        print_message("nginx-dev is not installed: no headers of Debian's nginx\n");
        skip();
    }
    rig_must("cp -r /usr/share/nginx/src nginx && cd nginx && bash -c 'source ./conf_flags && ./configure "
             "\"${NGX_CONF_FLAGS[@]}\"'");
    rig_must("printf '#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n"
             "void *used[] = {(void *)ngx_http_core_access_phase, &ngx_pid};\n' > nginx.c");
    stub.source = rig_path("nginx.c");
    for (u32 i = 0; i < TN_ARRAY_SIZE(folders); i++) {
        snprintf(words[i], sizeof(words[i]), "-I%s/nginx/%s", rig_dir, folders[i]);
        flags[i] = words[i];
    }
    if (tn_host_stub_compile(&stub, &fd, NULL, &err))
        fail_msg("%s", err.message);
    opts.types_fd = &fd;
    if (tn_host_types_open(&opts, &types, &err))
        fail_msg("%s", err.message);
    btf = tn_host_types_view(types);
    id = tn_btf_find(btf, BTF_KIND_STRUCT, "ngx_http_request_s");
    assert_int_equal(tn_btf_size(btf, id), 1512);
    rig_must(
        "objdump -d /usr/sbin/nginx | grep -q 'mov *$0x5e8,%%esi'"); /* as much as the binary allocates */
    assert_int_equal(tn_btf_vlen(tn_btf_type(btf, id)), 143);
    f = func(types, "ngx_http_core_access_phase", 0);
    assert_int_equal(f->reason, TN_HOST_NONE);
    assert_int_equal(tn_btf_vlen(tn_btf_type(btf, tn_btf_type(btf, f->type)->type)), 2);
    assert_int_equal(tn_host_types_var_named(types, "ngx_pid", 0)->size, 4);
    tn_host_types_close(types);
    close(fd);
}

/* ---------------------------------------------------------------------------------------- relocates */

/* bpftool keeps of a BTF what an object's relocations, resolved against it by libbpf, need. */
static void test_relocates(void **state)
{
    const struct btf_type *t;
    struct tn_host_types *types;
    struct btf *kept;
    s32 id;

    (void)state;
    rig_must("gcc -w -g -O2 $S/corpus.c -o full && cat > ext.bpf.c <<'E'\n"
             "struct plain { void *p; int i; } __attribute__((preserve_access_index));\n"
             "struct named_inside { int k; } __attribute__((preserve_access_index));\n"
             "struct nest { struct named_inside again; } __attribute__((preserve_access_index));\n"
             "__attribute__((section(\"uprobe\"), used)) int program(struct nest *n)\n"
             "{ return ((struct plain *)n)->i + n->again.k; }\n"
             "E\n"
             "clang -g -O2 -target bpf -c ext.bpf.c -o ext.o");
    types = rig_open("full");
    others_take_it(types, "full");
    rig_must("bpftool gen min_core_btf raw.btf kept.btf ext.o");
    kept = btf__parse_raw(rig_path("kept.btf"));
    assert_non_null(kept);
    id = btf__find_by_name_kind(kept, "plain", BTF_KIND_STRUCT);
    assert_true(id > 0);
    t = btf__type_by_id(kept, (u32)id);
    assert_int_equal(t->size, 48);
    assert_int_equal(btf_vlen(t), 1);
    assert_string_equal(btf__name_by_offset(kept, btf_members(t)[0].name_off), "i");
    assert_int_equal(btf_member_bit_offset(t, 0), 32);
    assert_true(btf__find_by_name_kind(kept, "nest", BTF_KIND_STRUCT) > 0);
    btf__free(kept);
    tn_host_types_close(types);
}

/* -------------------------------------------------------------------------------------------- split */

static void test_split(void **state)
{
    struct tn_host_types *base_types, *types;
    const struct tn_btf *base, *alone;
    struct tn_btf *split = NULL;
    struct btf *their_base, *theirs;
    struct tn_error err = {0};
    _free_ void *raw = NULL;
    u64 size, base_size;
    const void *base_raw;

    (void)state;
    rig_must(
        "echo 'struct small { int of_base; } s; int main(void) { return 0; }' > b.c && gcc -g b.c -o base && "
        "gcc -w -g -O2 $S/corpus.c -o full");
    base_types = rig_open("base");
    base = tn_host_types_view(base_types);
    base_raw = tn_host_types_raw(base_types, &base_size);
    types = rig_open("full");
    alone = tn_host_types_view(types);
    assert_int_equal(tn_host_types_split(types, base, &raw, &size), 0);
    if (tn_btf_open(raw, size, base, &split, &err))
        fail_msg("%s", err.message);
    assert_int_equal(tn_btf_count(split), tn_btf_count(base) + tn_btf_count(alone) - 1);
    for (u32 id = 1; id < tn_btf_count(alone); id++) {
        u32 there = id + tn_btf_count(base) - 1;

        assert_int_equal(tn_btf_kind_of(split, there), tn_btf_kind_of(alone, id));
        assert_string_equal(tn_btf_name(split, there), tn_btf_name(alone, id));
        assert_int_equal(tn_btf_size(split, there), tn_btf_size(alone, id));
    }
    assert_int_not_equal(tn_btf_find(split, BTF_KIND_STRUCT, "small"), 0);
    hold_all(split, "full", "split");
    their_base = btf__new(base_raw, (u32)base_size);
    theirs = btf__new_empty_split(their_base);
    assert_non_null(theirs);
    btf__free(theirs);
    {
        FILE *f = fopen(rig_path("split.btf"), "w");

        fwrite(raw, 1, size, f);
        fclose(f);
        theirs = btf__parse_raw_split(rig_path("split.btf"), their_base);
        assert_non_null(theirs);
        assert_int_equal(btf__type_cnt(theirs), tn_btf_count(split));
    }
    btf__free(theirs);
    btf__free(their_base);
    tn_btf_close(split);
    tn_host_types_close(types);
    tn_host_types_close(base_types);
}

/* -------------------------------------------------------------------------------------------- cache */

static struct tn_host_types *open_cached(const char *name, bool cached)
{
    struct tn_host_opts opts = {.path = rig_path(name), .fd = -1, .cache_dir = rig_path("cache")};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};

    if (tn_host_types_open(&opts, &types, &err))
        fail_msg("%s: %s", err.reason, err.message);
    if (tn_host_types_cached(types) != cached)
        fail_msg("%s: %scached", name, cached ? "not " : "");
    return types;
}

static void test_cache(void **state)
{
    struct tn_host_types *first, *types;
    char command[512], path[256] = "";
    u64 size, again, length = 0;
    struct stat st;
    FILE *f;

    (void)state;
    rig_must("gcc -w -g -O2 -Wl,--build-id $S/corpus.c -o full && gcc -w -g -Wl,--build-id=none $S/corpus.c "
             "-o no_id");
    first = open_cached("full", false);
    (void)tn_host_types_raw(first, &size);
    types = open_cached("full", true);
    assert_memory_equal(tn_host_types_raw(first, &size), tn_host_types_raw(types, &again), size);
    assert_int_equal(tn_host_types_nfuncs(first), tn_host_types_nfuncs(types));
    tn_host_types_close(types);
    tn_host_types_close(open_cached("no_id", false));
    tn_host_types_close(open_cached("no_id", false));

    /* The same build-id in another file is another file. */
    rig_must("cp full copy");
    tn_host_types_close(open_cached("copy", false));
    tn_host_types_close(open_cached("copy", true));
    tn_host_types_close(open_cached("full", false));

    rig_must("ls cache/types-* | head -1");
    f = fopen(rig_path("log"), "r");
    assert_non_null(f);
    assert_non_null(fgets(command, sizeof(command), f));
    fclose(f);
    command[strcspn(command, "\n")] = 0;
    snprintf(path, sizeof(path), "%s/%.180s", rig_dir, command);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    length = (u64)st.st_size;
    tn_host_types_close(open_cached("full", true));

    /* Any byte of it damaged: answered all the same, rightly or anew, never wrongly typed. */
    for (u64 at = 0; at < length; at += length / 97 + 1) {
        struct tn_host_opts opts = {.path = rig_path("full"), .fd = -1, .cache_dir = rig_path("cache")};
        struct tn_error err = {0};
        int fd = open(path, O_RDWR | O_CLOEXEC);
        u8 byte, other;

        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        other = (u8)(byte ^ 0x81);
        assert_int_equal(pwrite(fd, &other, 1, (off_t)at), 1);
        if (tn_host_types_open(&opts, &types, &err))
            fail_msg("byte %llu: %s: %s", (unsigned long long)at, err.reason, err.message);
        tn_host_types_close(types);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
    }

    /* One that others may write is not read. */
    assert_int_equal(chmod(path, 0666), 0);
    tn_host_types_close(open_cached("full", false));
    tn_host_types_close(open_cached("full", true));
    tn_host_types_close(first);
}

/* ------------------------------------------------------------------------------------------- limits */

static void test_limits(void **state)
{
    struct tn_host_opts opts = {.fd = -1, .cache_dir = ""};
    struct tn_host_types *types = NULL;
    struct tn_host_job *job = NULL;
    struct tn_error err = {0};

    (void)state;
    /* A chain of typedefs that is deeper than BTF may be, and a struct with more members than it counts. */
    rig_must("{ echo 'typedef int t0;'; for i in $(seq 1 400); do echo \"typedef volatile t$((i - 1)) "
             "*t$i;\"; done; "
             "echo 't400 chain; struct wide {'; for i in $(seq 1 70000); do echo \"char m$i;\"; done; "
             "echo '} wide; int main(void) { return 0; }'; } > long.c && gcc -w -g long.c -o long");
    types = rig_open("long");
    assert_int_equal(tn_host_types_var_named(types, "wide", 0)->size, 70000);
    assert_int_equal(tn_host_types_var_named(types, "chain", 0)->size, 8);
    tn_host_types_close(types);

    opts.path = rig_path("long");
    if (SANITIZED) {
        print_message("no bound of memory under the address sanitizer, whose shadow is larger than any\n");
    } else {
        opts.limit_mb = 1;
        assert_int_equal(tn_host_types_open(&opts, &types, &err), -ENOMEM);
        assert_string_equal(err.reason, "types_memory");
        err = (struct tn_error){0};
    }
    opts.limit_mb = 0;
    opts.limit_ms = 1;
    assert_int_equal(tn_host_types_open(&opts, &types, &err), -ETIME);
    assert_string_equal(err.reason, "types_time");
    err = (struct tn_error){0};
    opts.limit_mb = 0;
    opts.limit_ms = 60000;
    assert_int_equal(tn_host_job_start(&opts, &job, &err), 0);
    assert_true(tn_host_job_fd(job) >= 0);
    assert_int_equal(tn_host_job_finish(job, &types, &err), 0);
    tn_host_types_close(types);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_entry_without_symbols),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_debuginfod),
        cmocka_unit_test(test_dwz),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_nginx),
        cmocka_unit_test(test_relocates),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
