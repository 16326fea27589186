/* SPDX-License-Identifier: MIT */
/*
 * Seeds for fuzz-load out of the verifier's own tests: linked with one of them, in front of tn_verify, this
 * writes every question that the test puts as an input (load_input.h) into the folder $TN_KEEP, one file a
 * question. So what a test knows how to reach, the fuzzer starts from.
 */
#include <errno.h>

#include "btf/btf_int.h"
#include "fuzz/load_input.h"
#include "verify/verify.h"

#define TYPES_MAX 64u

int __real_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);
int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);

static void put(struct rec_out *out, u32 kind, const void *data, size_t size)
{
    rec_put(out, (enum rec_kind)kind, data, (u32)size);
}

/* Opened type information as bytes again. */
static void put_types(struct rec_out *out, const struct tn_btf *b)
{
    const struct btf_header h = {.magic = BTF_MAGIC,
                                 .version = BTF_VERSION,
                                 .hdr_len = sizeof(h),
                                 .type_len = b->types_len,
                                 .str_off = b->types_len,
                                 .str_len = b->str_len};
    size_t size = sizeof(h) + b->types_len + b->str_len;
    _free_ u8 *bytes = malloc(size);

    if (!bytes)
        abort();
    memcpy(bytes, &h, sizeof(h));
    memcpy(bytes + sizeof(h), b->types, b->types_len);
    memcpy(bytes + sizeof(h) + b->types_len, b->strings, b->str_len);
    put(out, REC_BTF, bytes, size);
}

struct kept {
    struct rec_out out;
    const struct tn_btf *types[TYPES_MAX];
    u32 ntypes, own; /* own: 1 when the program's stand before the maps' */
};

/* A map's types by their place in the input, put there the first time. */
static s32 types_of(struct kept *k, const struct tn_btf *btf)
{
    if (!btf)
        return -1;
    for (u32 t = 0; t < k->ntypes; t++)
        if (k->types[t] == btf)
            return (s32)(k->own + t);
    if (k->ntypes == TYPES_MAX)
        return -1;
    put_types(&k->out, btf);
    k->types[k->ntypes] = btf;
    return (s32)(k->own + k->ntypes++);
}

static void put_map(struct kept *k, const struct tn_verify_map *map, s32 inner)
{
    struct rec_map rec = {
        .type = map->geo.type,
        .key_size = map->geo.key_size,
        .value_size = map->geo.value_size,
        .max_entries = map->geo.max_entries,
        .map_flags = map->geo.map_flags | (map->rdonly_prog ? BPF_F_RDONLY_PROG : 0) |
                     (map->wronly_prog ? BPF_F_WRONLY_PROG : 0),
        .btf = types_of(k, map->btf),
        .btf_key_type_id = map->btf_key_type_id,
        .btf_value_type_id = map->btf_value_type_id,
        .inner = inner,
        .map_extra = map->map_extra,
        .frozen = map->frozen != NULL,
    };

    put(&k->out, REC_MAP, &rec, sizeof(rec));
}

static void put_maps(struct kept *k, const struct tn_verify_in *in)
{
    u32 inner = in->nmaps;

    for (u32 m = 0; m < in->nmaps; m++)
        put_map(k, &in->maps[m], in->maps[m].inner ? (s32)inner++ : -1);
    for (u32 m = 0; m < in->nmaps; m++)
        if (in->maps[m].inner)
            put_map(k, in->maps[m].inner, -1);
    for (u64 m = 0; m < in->nmaps; m++) {
        u32 size = in->maps[m].geo.value_size;
        u8 bytes[8 + 4096];

        if (!in->maps[m].frozen || size > 4096)
            continue;
        memcpy(bytes, &m, 8);
        memcpy(bytes + 8, in->maps[m].frozen, size);
        put(&k->out, REC_CONTENTS, bytes, 8 + size);
    }
}

static void keep(const struct tn_verify_in *in, u32 number)
{
    const char *dir = getenv("TN_KEEP");
    struct load_how how = {.judged = in->host_btf || in->attach_btf_id || number % 2,
                           .by_hand = in->host_btf && tn_btf_count(in->host_btf) < 1000,
                           .log_level = in->log_level,
                           .log_size = in->log_level ? 65536 : 0};
    struct rec_program program = {.prog_type = in->prog_type,
                                  .expected_attach_type = in->expected_attach_type,
                                  .prog_flags = in->prog_flags,
                                  .attach_btf_id = in->attach_btf_id,
                                  .nmaps = in->nmaps,
                                  .btf = in->btf ? 0 : -1,
                                  .func_info_rec_size = in->func_info_rec_size,
                                  .line_info_rec_size = in->line_info_rec_size};
    struct kept k = {.own = in->btf != NULL};
    char path[4096];
    FILE *f;

    if (!dir || in->ninsns > 4096)
        return;
    snprintf(program.licence, sizeof(program.licence), "%s", in->gpl ? "GPL" : "none");
    put(&k.out, LOAD_HOW, &how, sizeof(how));
    put(&k.out, REC_PROGRAM, &program, sizeof(program));
    put(&k.out, REC_INSNS, in->insns, in->ninsns * sizeof(*in->insns));
    if (in->func_info)
        put(&k.out, REC_FUNC_INFO, in->func_info, (size_t)in->func_info_cnt * in->func_info_rec_size);
    if (in->line_info)
        put(&k.out, REC_LINE_INFO, in->line_info, (size_t)in->line_info_cnt * in->line_info_rec_size);
    if (in->btf)
        put(&k.out, REC_BTF, in->btf, in->btf_size);
    put_maps(&k, in);
    snprintf(path, sizeof(path), "%s/%s-%04u", dir, program_invocation_short_name, number);
    f = k.out.failed ? NULL : fopen(path, "wb");
    if (!f || fwrite(k.out.data + sizeof(struct rec_head), k.out.size - sizeof(struct rec_head), 1, f) != 1 ||
        fclose(f)) {
        perror(path);
        abort();
    }
    rec_out_clear(&k.out);
}

int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret)
{
    static u32 number;

    if (number < 300 || number % 16 == 0) /* tests that ask the same of every field say it often enough */
        keep(in, number);
    number++;
    return __real_tn_verify(in, ret);
}
