/* SPDX-License-Identifier: MIT */
/*
 * Coverage-guided fuzzing of the reader of type information: whatever opens is asked everything afterwards,
 * in and out of bounds, as a base and as a layer above one; what every query promises without checking must
 * hold.
 *
 *      byte 0   where the first layer ends, in 1/16 of the rest; then the layers
 *
 * libFuzzer's own main: `fuzz-btf -max_total_time=60 corpus`. Started with -seeds=DIR alone it writes a
 * corpus of small, whole type sections into DIR.
 */
#include <stdio.h>
#include <stdlib.h>

#include "btf/btf.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void ask_type(const struct tn_btf *b, u32 id)
{
    const struct btf_type *t = tn_btf_type(b, id);
    u32 to = tn_btf_resolve(b, id), kind = tn_btf_kind(t), vlen = tn_btf_vlen(t), found;
    s64 size = tn_btf_size(b, id);

    must(to < tn_btf_count(b) && tn_btf_resolve(b, to) == to);
    must(size == tn_btf_size(b, to) && size >= -1 && size <= UINT32_MAX);
    must(strlen(tn_btf_kind_name(kind)) > 2);
    found = tn_btf_find(b, kind, tn_btf_name(b, id));
    must(*tn_btf_name(b, id) ? found && found <= id : !found);
    if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) {
        for (u32 i = 0; i < vlen; i++) {
            const struct btf_member *m = &tn_btf_members(t)[i];
            u64 bits = tn_btf_member_bits(t, m);
            s64 bytes = tn_btf_size(b, m->type);

            must(bytes >= 0 && strlen(tn_btf_string(b, m->name_off)) < 512);
            must(bits || tn_btf_member_bit(t, m) / 8 + (u64)bytes <= t->size ||
                 tn_btf_kind_of(b, tn_btf_resolve(b, m->type)) == BTF_KIND_INT);
            must(tn_btf_member_bit(t, m) + bits <= (u64)t->size * 8);
        }
    }
    if (kind == BTF_KIND_FUNC) {
        const struct btf_type *proto = tn_btf_type(b, t->type);

        must(tn_btf_kind(proto) == BTF_KIND_FUNC_PROTO);
        for (u32 i = 0; i < tn_btf_vlen(proto); i++)
            must(!tn_btf_params(proto)[i].type || tn_btf_size(b, tn_btf_params(proto)[i].type) >= 0);
    }
    if (kind == BTF_KIND_DATASEC)
        for (u32 i = 0; i < vlen; i++)
            must(tn_btf_size(b, tn_btf_vars(t)[i].type) <= (s64)tn_btf_vars(t)[i].size &&
                 (u64)tn_btf_vars(t)[i].offset + tn_btf_vars(t)[i].size <= t->size);
    for (s32 component = -1; component < 3; component++)
        for (u32 k = 0; tn_btf_tag(b, id, component, k); k++)
            must(*tn_btf_tag(b, id, component, k));
}

static void ask(const struct tn_btf *b)
{
    for (u32 id = 1; id < tn_btf_count(b); id++)
        ask_type(b, id);
    for (u32 k = 0; k < 3; k++) {
        u32 id = k ? tn_btf_count(b) + k - 1 : 0;

        must(!tn_btf_type(b, id) && !tn_btf_resolve(b, id) && tn_btf_size(b, id) == -1 &&
             !*tn_btf_name(b, id));
        must(!tn_btf_tag(b, id, -1, 0));
    }
    must(!*tn_btf_string(b, UINT32_MAX) && !tn_btf_string_ok(b, UINT32_MAX));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct tn_btf *base = NULL, *split = NULL;
    struct tn_error err = {0};
    size_t first;

    if (!size)
        return 0;
    first = size - 1 - (size - 1) * (data[0] & 15) / 16;
    if (!tn_btf_open(data + 1, first, NULL, &base, &err)) {
        ask(base);
        err = (struct tn_error){0};
        if (!tn_btf_open(data + 1 + first, size - 1 - first, base, &split, &err))
            ask(split);
        else
            must(*err.message);
    } else {
        must(*err.message);
    }
    tn_btf_close(split);
    tn_btf_close(base);
    return 0;
}

/* ------------------------------------------------------------------------------------------- seeds */

#define INFO(kind, vlen) (BTF_KIND_##kind << 24 | (vlen))

// clang-format off
static const u32 seed_types[] = {
    /*  1 */ 1, INFO(INT, 0), 4, 1 << 24 | 32,
    /*  2 */ 0, INFO(PTR, 0), 4,
    /*  3 */ 0, INFO(ARRAY, 0), 0, 1, 1, 4,
    /*  4 */ 1, 1u << 31 | INFO(STRUCT, 3), 32, 1, 2, 0, 3, 3, 64, 0, 1, 7 << 24 | 192,
    /*  5 */ 0, INFO(UNION, 1), 32, 1, 4, 0,
    /*  6 */ 1, INFO(ENUM, 1), 4, 3, 7,
    /*  7 */ 3, INFO(FWD, 0), 0,
    /*  8 */ 3, INFO(TYPEDEF, 0), 9,
    /*  9 */ 0, INFO(VOLATILE, 0), 10,
    /* 10 */ 0, INFO(CONST, 0), 11,
    /* 11 */ 0, INFO(RESTRICT, 0), 2,
    /* 12 */ 0, INFO(FUNC_PROTO, 2), 1, 1, 8, 3, 1,
    /* 13 */ 3, INFO(FUNC, 1), 12,
    /* 14 */ 1, INFO(VAR, 0), 3, 1,
    /* 15 */ 3, INFO(DATASEC, 1), 32, 14, 8, 16,
    /* 16 */ 1, INFO(FLOAT, 0), 8,
    /* 17 */ 3, INFO(DECL_TAG, 0), 13, 1,
    /* 18 */ 1, INFO(TYPE_TAG, 0), 10,
    /* 19 */ 1, INFO(ENUM64, 1), 8, 3, 7, 7,
    /* 20 */ 3, INFO(DECL_TAG, 0), 4, -1u,
};
// clang-format on
#define SEED_NAMES "\0A\0B"

/* The first `words` of the types, whole or not. */
static void write_layer(FILE *f, u32 words)
{
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = BTF_VERSION,
                           .hdr_len = sizeof(h),
                           .type_len = words * 4,
                           .str_off = words * 4,
                           .str_len = sizeof(SEED_NAMES)};

    fwrite(&h, sizeof(h), 1, f);
    fwrite(seed_types, 4, words, f);
    fwrite(SEED_NAMES, sizeof(SEED_NAMES), 1, f);
}

static int write_seeds(const char *dir)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(seed_types); k++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%03u", dir, k);
        f = fopen(path, "wb");
        if (!f)
            return 1;
        fputc(k % 2 ? 8 : 0, f);
        write_layer(f, k % 2 ? TN_ARRAY_SIZE(seed_types) : k + 1);
        if (k % 2)
            write_layer(f, TN_ARRAY_SIZE(seed_types));
        if (fclose(f))
            return 1;
    }
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc == 2 && !strncmp((*argv)[1], "-seeds=", 7))
        exit(write_seeds((*argv)[1] + 7));
    return 0;
}
