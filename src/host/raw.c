/* SPDX-License-Identifier: MIT */
/*
 * Growing arrays, a hash of strings, and one pass that turns nodes into ids.
 */
#include "host/raw.h"

#include <errno.h>

#include "btf/btf_int.h"

#define WORDS_MAX   (128u << 20) /* 512 MiB of types before equal ones are found */
#define NAMES_MAX   (512u << 20)
#define ALIAS       0x80000000u
#define ALIASES_MAX 64u

static bool fail(struct tn_raw *raw, int error)
{
    if (!raw->error)
        raw->error = error;
    return false;
}

/* Room for `more` elements of `size` behind `n`. */
static bool grow(struct tn_raw *raw, void *array, u32 n, u32 more, u32 *cap, u32 size, u32 max)
{
    u64 want = (u64)n + more;
    void *p;

    if (raw->error)
        return false;
    if (want <= *cap)
        return true;
    if (want > max)
        return fail(raw, -E2BIG);
    want = TN_MIN(TN_MAX(want + want / 2, 4096u), (u64)max);
    p = realloc(*(void **)array, want * size);
    if (!p)
        return fail(raw, -ENOMEM);
    *(void **)array = p;
    *cap = (u32)want;
    return true;
}

int tn_raw_init(struct tn_raw *raw, bool nodes)
{
    *raw = (struct tn_raw){.nwords = TN_RAW_HEAD};
    raw->nslots = 1u << 16;
    raw->slot = calloc(raw->nslots, sizeof(u32));
    if (!raw->slot)
        return -ENOMEM;
    if (!grow(raw, &raw->str, 0, 1, &raw->cap_str, 1, NAMES_MAX) ||
        !grow(raw, &raw->word, 0, TN_RAW_HEAD, &raw->cap_words, 4, WORDS_MAX))
        return raw->error;
    raw->str[raw->nstr++] = 0;
    if (!nodes)
        return 0;
    (void)tn_raw_node(raw); /* node 0 is void */
    raw->void_pointer = tn_raw_simple(raw, BTF_KIND_PTR, 0, 0);
    return raw->error;
}

void tn_raw_clear(struct tn_raw *raw)
{
    free(raw->word);
    free(raw->node);
    free(raw->str);
    free(raw->slot);
    *raw = (struct tn_raw){0};
}

void tn_raw_only_strings(struct tn_raw *raw)
{
    free(raw->word);
    free(raw->node);
    raw->word = raw->node = NULL;
    raw->nwords = raw->cap_words = raw->nnodes = raw->cap_nodes = 0;
}

/* ----------------------------------------------------------------------------------------- strings */

static u32 hash(const char *s, size_t len)
{
    u64 h = len * 0x9e3779b97f4a7c15u, w;

    for (; len >= 8; len -= 8, s += 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, s, len);
    h = (h ^ w) * 0xff51afd7ed558ccdu;
    return (u32)(h ^ h >> 32);
}

static void rehash(struct tn_raw *raw)
{
    u32 n = raw->nslots * 2;
    u32 *slot = calloc(n, sizeof(u32));

    if (!slot) {
        fail(raw, -ENOMEM);
        return;
    }
    for (u32 i = 0; i < raw->nslots; i++) {
        u32 off = raw->slot[i], at;

        if (!off)
            continue;
        at = hash(raw->str + off, strlen(raw->str + off)) & (n - 1);
        while (slot[at])
            at = (at + 1) & (n - 1);
        slot[at] = off;
    }
    free(raw->slot);
    raw->slot = slot;
    raw->nslots = n;
}

u32 tn_raw_string(struct tn_raw *raw, const char *s)
{
    size_t len = s ? strlen(s) : 0;
    u32 at, off;

    if (!len || raw->error)
        return 0;
    if (len > 4095) /* longer than anything that is asked for by name */
        return 0;
    for (at = hash(s, len) & (raw->nslots - 1); raw->slot[at]; at = (at + 1) & (raw->nslots - 1))
        if (!strcmp(raw->str + raw->slot[at], s))
            return raw->slot[at];
    if (!grow(raw, &raw->str, raw->nstr, (u32)len + 1, &raw->cap_str, 1, NAMES_MAX))
        return 0;
    off = raw->nstr;
    memcpy(raw->str + off, s, len + 1);
    raw->nstr += (u32)len + 1;
    raw->slot[at] = off;
    if (++raw->nnames > raw->nslots / 2)
        rehash(raw);
    return off;
}

bool tn_raw_identifier(const char *s)
{
    return s && *s && tn_btf_identifier(s);
}

u32 tn_raw_name(struct tn_raw *raw, const char *s)
{
    return tn_raw_identifier(s) ? tn_raw_string(raw, s) : 0;
}

/* ------------------------------------------------------------------------------------------- types */

u32 tn_raw_node(struct tn_raw *raw)
{
    if (!grow(raw, &raw->node, raw->nnodes, 1, &raw->cap_nodes, 4, ALIAS - 1))
        return 0;
    raw->node[raw->nnodes] = 0;
    return raw->nnodes++;
}

bool tn_raw_known(const struct tn_raw *raw, u32 node)
{
    return !node || raw->node[node];
}

void tn_raw_alias(struct tn_raw *raw, u32 node, u32 to)
{
    if (node && !raw->node[node])
        raw->node[node] = ALIAS | to;
}

void tn_raw_begin(struct tn_raw *raw, u32 node, u32 name, u32 info, u32 third)
{
    if (!grow(raw, &raw->word, raw->nwords, 3, &raw->cap_words, 4, WORDS_MAX))
        return;
    raw->node[node] = ++raw->ntypes;
    raw->word[raw->nwords++] = name;
    raw->word[raw->nwords++] = info;
    raw->word[raw->nwords++] = third;
}

void tn_raw_word(struct tn_raw *raw, u32 word)
{
    if (grow(raw, &raw->word, raw->nwords, 1, &raw->cap_words, 4, WORDS_MAX))
        raw->word[raw->nwords++] = word;
}

u32 tn_raw_simple(struct tn_raw *raw, u32 kind, u32 name, u32 third)
{
    u32 node = tn_raw_node(raw);

    if (!raw->error)
        tn_raw_begin(raw, node, name, tn_raw_info(kind, 0, false), third);
    return node;
}

u32 tn_raw_int(struct tn_raw *raw, const char *name, u32 bytes, u32 encoding)
{
    u32 node = tn_raw_simple(raw, BTF_KIND_INT, tn_raw_string(raw, name), bytes);

    tn_raw_word(raw, encoding << 24 | bytes * 8);
    return node;
}

/* -------------------------------------------------------------------------------------------- link */

u32 tn_raw_id(const struct tn_raw *raw, u32 node)
{
    for (u32 i = 0; i < ALIASES_MAX; i++) {
        if (node >= raw->nnodes)
            return 0;
        if (!(raw->node[node] & ALIAS))
            return raw->node[node];
        node = raw->node[node] & ~ALIAS;
    }
    return 0; /* aliases that run in a circle */
}

/* A parameter or a member without a type that can be said is a pointer to nobody knows what. */
static u32 some_id(const struct tn_raw *raw, u32 node)
{
    u32 id = tn_raw_id(raw, node);

    return id ? id : tn_raw_id(raw, raw->void_pointer);
}

int tn_raw_link(struct tn_raw *raw)
{
    u32 *w = raw->word, at = TN_RAW_HEAD;

    if (raw->error)
        return raw->error;
    while (at < raw->nwords) {
        u32 kind = BTF_INFO_KIND(w[at + 1]), vlen = BTF_INFO_VLEN(w[at + 1]);
        const struct tn_btf_row *row = &tn_btf_rows[kind];
        u32 *tail = w + at + 3;

        switch (kind) {
        case BTF_KIND_ARRAY:
            tail[0] = some_id(raw, tail[0]);
            tail[1] = some_id(raw, tail[1]);
            break;
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION:
            for (u32 i = 0; i < vlen; i++)
                tail[3 * i + 1] = some_id(raw, tail[3 * i + 1]);
            break;
        case BTF_KIND_FUNC_PROTO:
            w[at + 2] = tn_raw_id(raw, w[at + 2]);
            for (u32 i = 0; i < vlen; i++)
                tail[2 * i + 1] = tail[2 * i + 1] == TN_RAW_DOTS ? 0 : some_id(raw, tail[2 * i + 1]);
            break;
        case BTF_KIND_VAR:
            w[at + 2] = some_id(raw, w[at + 2]);
            break;
        default:
            if (row->flags & TN_BTF_REF)
                w[at + 2] = tn_raw_id(raw, w[at + 2]);
        }
        at += 3 + row->fixed / 4 + row->each / 4 * vlen;
    }
    return 0;
}

int tn_raw_seal(struct tn_raw *raw, u64 *ret_size)
{
    u32 types = (raw->nwords - TN_RAW_HEAD) * 4;
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = BTF_VERSION,
                           .hdr_len = sizeof(h),
                           .type_len = types,
                           .str_off = types,
                           .str_len = raw->nstr};

    if (!grow(raw, &raw->word, raw->nwords, raw->nstr / 4 + 1, &raw->cap_words, 4, UINT32_MAX / 4))
        return raw->error;
    memcpy(raw->word, &h, sizeof(h));
    memcpy(raw->word + raw->nwords, raw->str, raw->nstr);
    *ret_size = sizeof(h) + types + raw->nstr;
    return 0;
}
