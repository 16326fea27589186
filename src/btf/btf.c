/* SPDX-License-Identifier: MIT */
/*
 * From bytes to an index of types; see btf.h.
 *
 *      header     sections in bounds, without gap or overlap, nothing unknown
 *      strings    begin and end with NUL: any offset inside is a string
 *      types      one walk: kind known, head and tail whole, flags and name as the kind's row says
 *      index      by id (an offset each), by name (a hash), tags by what they are on
 *      check.c    what types say of each other
 *
 * Sections are copied, so that types are aligned whatever the sender did, and nobody changes them later.
 */
#include "btf/btf.h"

#include <errno.h>
#include <stdarg.h>

#include "btf/btf_int.h"

#define MAX_TYPES   0x000fffffu
#define MAX_NAMES   0x00ffffffu
#define NAME_LEN    512u /* of identifiers and sections, without the NUL: 511 */
#define INFO_KNOWN  0x9f00ffffu
#define HEADER_LENS 8u /* bytes up to and with hdr_len */

const struct tn_btf_row tn_btf_rows[TN_BTF_NKINDS] = {
#define NOTHING  TN_BTF_NOTHING
#define COUNTED  TN_BTF_COUNTED
#define KFLAG    TN_BTF_KFLAG
#define REF      TN_BTF_REF
#define VOIDLESS TN_BTF_VOIDLESS
#define MODIFIER TN_BTF_MODIFIER
#define SIZED    TN_BTF_SIZED
#define K(kind, fixed, each, flags, naming)                                                                  \
    [BTF_KIND_##kind] = {#kind, (fixed), (each), (flags), TN_BTF_NAME_##naming},
    TN_BTF_KINDS(K)
#undef K
#undef NOTHING
#undef COUNTED
#undef KFLAG
#undef REF
#undef VOIDLESS
#undef MODIFIER
#undef SIZED
};

const char *tn_btf_kind_name(u32 kind)
{
    return kind < TN_BTF_NKINDS && tn_btf_rows[kind].name ? tn_btf_rows[kind].name : "void";
}

int tn_btf_fault(const struct tn_btf *b, struct tn_error *err, u32 k, const char *says, const char *fmt, ...)
{
    const struct btf_type *t = tn_btf_own(b, k);
    const char *name = tn_btf_string(b, t->name_off);
    char why[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return tn_fail(err, -EINVAL, "btf_invalid", "[%u] %s %.64s: %s: %s", b->first + k,
                   tn_btf_kind_name(tn_btf_kind(t)), *name ? name : "(anon)", says, why);
}

static int damaged(struct tn_error *err, const char *says, const char *why)
{
    return tn_fail(err, -EINVAL, "btf_invalid", "%s: %s", says, why);
}

/* ------------------------------------------------------------------------------------------- header */

static int check_sections(const struct btf_header *h, u64 room, struct tn_error *err)
{
    struct {
        u32 off, len;
    } s[2] = {{h->type_off, h->type_len}, {h->str_off, h->str_len}};
    u32 first = s[1].off < s[0].off || (s[1].off == s[0].off && s[1].len < s[0].len);
    u64 end = 0;

    for (u32 k = 0; k < 2; k++) {
        u32 at = k ? !first : first;

        if (s[at].off > room)
            return damaged(err, "Invalid section offset", "a section begins past the end of the data");
        if (s[at].off > end)
            return damaged(err, "Unsupported section found", "there are bytes that belong to no section");
        if (s[at].off < end)
            return damaged(err, "Section overlap found", "types and strings share bytes");
        if (s[at].len > room - end)
            return damaged(err, "Total section length too long",
                           "a section reaches past the end of the data");
        end += s[at].len;
    }
    if (end != room)
        return damaged(err, "Unsupported section found", "there are bytes behind the last section");
    return 0;
}

static int read_header(const u8 *data, u64 size, const struct tn_btf *base, struct btf_header *ret,
                       struct tn_error *err)
{
    struct btf_header h = {0};

    if (size < HEADER_LENS)
        return damaged(err, "hdr_len not found", "the data ends inside the header");
    memcpy(&h, data, HEADER_LENS);
    if (h.hdr_len > size)
        return damaged(err, "btf_header not found", "the header is longer than the data");
    for (u32 k = sizeof(h); k < h.hdr_len; k++)
        if (data[k])
            return tn_fail(err, -E2BIG, "btf_invalid",
                           "Unsupported btf_header: byte %u of the header is not zero, and nobody knows what "
                           "it means",
                           k);
    memcpy(&h, data, TN_MIN(h.hdr_len, (u32)sizeof(h)));
    if (h.magic != BTF_MAGIC)
        return tn_fail(err, -EINVAL, "btf_invalid", "Invalid magic: %#06x, not %#06x", h.magic, BTF_MAGIC);
    if (h.version != BTF_VERSION)
        return tn_fail(err, -EINVAL, "btf_invalid", "Unsupported version: %u, not %u", h.version,
                       BTF_VERSION);
    if (h.flags)
        return tn_fail(err, -EINVAL, "btf_invalid", "Unsupported flags: %#x, not 0", h.flags);
    if (!base && size == h.hdr_len)
        return damaged(err, "No data", "there is nothing behind the header");
    if (check_sections(&h, size - h.hdr_len, err))
        return -EINVAL;
    if (h.hdr_len + (u64)h.str_off + h.str_len != size)
        return damaged(err, "String section is not at the end", "types come behind it");
    if (h.type_off % 4)
        return damaged(err, "Unaligned type_off", "types begin at a multiple of four bytes");
    *ret = h;
    return 0;
}

static int take_strings(struct tn_btf *b, struct tn_error *err)
{
    b->str_first = b->base ? b->base->str_first + b->base->str_len : 0;
    if (b->base && !b->str_len)
        return 0;
    if (!b->str_len || b->str_len - 1 > MAX_NAMES || b->strings[b->str_len - 1])
        return damaged(err, "Invalid string section", "it does not end with NUL");
    if (!b->base && b->strings[0])
        return damaged(err, "Invalid string section", "it does not begin with NUL");
    return 0;
}

/* ------------------------------------------------------------------------------------------- names */

bool tn_btf_string_ok(const struct tn_btf *b, u32 off)
{
    while (off < b->str_first)
        b = b->base;
    return off - b->str_first < b->str_len;
}

const char *tn_btf_string(const struct tn_btf *b, u32 off)
{
    while (off < b->str_first)
        b = b->base;
    off -= b->str_first;
    return off < b->str_len ? b->strings + off : "";
}

/* Bit 0: may begin an identifier; bit 1: may go on with it. As Linux counts, whatever the locale: letters of
   Latin-1 too. */
static const u8 identifier_char[256] = {
    ['.'] = 3,         ['_'] = 3,           ['0' ... '9'] = 2,   ['A' ... 'Z'] = 3,
    ['a' ... 'z'] = 3, [0xc0 ... 0xd6] = 3, [0xd8 ... 0xf6] = 3, [0xf8 ... 0xff] = 3,
};

bool tn_btf_identifier(const char *s)
{
    const char *p = s;

    if (!(identifier_char[(u8)*p++] & 1))
        return false;
    while (identifier_char[(u8)*p] & 2)
        p++;
    return !*p && p - s < (ptrdiff_t)NAME_LEN + 1;
}

/* What a name and a kind are found by: the kind, then byte by byte, then the end. */
static u32 hash_begin(u32 kind)
{
    return 2166136261u ^ kind;
}

static u32 hash_byte(u32 h, char c)
{
    return (h ^ (u8)c) * 16777619u;
}

static u32 hash_end(u32 h)
{
    return h ^ h >> 15;
}

static u32 hash(const char *s, u32 kind)
{
    u32 h = hash_begin(kind);

    while (*s)
        h = hash_byte(h, *s++);
    return hash_end(h);
}

/* tn_btf_identifier and hash, of the same bytes at once. */
static bool hash_identifier(const char *s, u32 kind, u32 *ret_hash)
{
    u32 h = hash_byte(hash_begin(kind), *s);
    const char *p = s;

    if (!(identifier_char[(u8)*p++] & 1))
        return false;
    while (identifier_char[(u8)*p] & 2)
        h = hash_byte(h, *p++);
    *ret_hash = hash_end(h);
    return !*p && p - s < (ptrdiff_t)NAME_LEN + 1;
}

static bool is_section_name(const char *s)
{
    const char *p = s;

    while ((*p >= ' ' && *p <= '~') || (u8)*p >= 0xa0)
        p++;
    return p != s && !*p && p - s < (ptrdiff_t)NAME_LEN + 1;
}

/* *ret_hash: of a name that there is. */
static bool name_fits(const struct tn_btf *b, u32 off, u32 kind, u32 *ret_hash)
{
    u32 naming = tn_btf_rows[kind].naming;
    const char *s;

    if (!off)
        return naming == TN_BTF_NAME_NONE || naming == TN_BTF_NAME_OPT || naming == TN_BTF_NAME_ANY;
    if (naming == TN_BTF_NAME_NONE)
        return false;
    s = tn_btf_string(b, off);
    if (naming == TN_BTF_NAME_IDENT || naming == TN_BTF_NAME_OPT)
        return hash_identifier(s, kind, ret_hash);
    *ret_hash = hash(s, kind);
    return naming == TN_BTF_NAME_TEXT ? *s : naming == TN_BTF_NAME_SECTION ? is_section_name(s) : true;
}

/* ------------------------------------------------------------------------------------------- types */

/* The number of own types, and where each begins. Nothing is read that lies outside the section. */
static int walk(struct tn_btf *b, u32 *off, u32 *ret_n, struct tn_error *err)
{
    const u8 *types = b->types;
    u32 n = 0;

    for (u32 at = 0, left = b->types_len; left; n++) {
        const struct btf_type *t = (const struct btf_type *)(types + at);
        const struct tn_btf_row *row;
        u32 len = sizeof(*t);

        if (left < len)
            return tn_fail(err, -EINVAL, "btf_invalid",
                           "[%u] meta_left:%u meta_needed:%u: the type section ends inside a type",
                           b->first + n, left, len);
        row = &tn_btf_rows[BTF_INFO_KIND(t->info)];
        if (t->info & ~INFO_KNOWN)
            return tn_fail(err, -EINVAL, "btf_invalid", "[%u] Invalid btf_info:%x: bits without a meaning",
                           b->first + n, t->info);
        if (!row->name)
            return tn_fail(err, -EINVAL, "btf_invalid", "[%u] Invalid kind:%u: nobody knows its size",
                           b->first + n, BTF_INFO_KIND(t->info));
        len += row->fixed + row->each * tn_btf_vlen(t);
        if (left < len)
            return tn_fail(err, -EINVAL, "btf_invalid",
                           "[%u] meta_left:%u meta_needed:%u: the type section ends inside a type",
                           b->first + n, left - (u32)sizeof(*t), len - (u32)sizeof(*t));
        if (b->first + n > MAX_TYPES)
            return tn_fail(err, -E2BIG, "btf_invalid", "Exceeded max num of types: %u", MAX_TYPES);
        off[n] = at;
        at += len;
        left -= len;
    }
    *ret_n = n;
    return 0;
}

/* What a type says by itself. b->next has the hash of its name afterwards. */
static int check_head(struct tn_btf *b, u32 k, struct tn_error *err)
{
    const struct btf_type *t = tn_btf_own(b, k);
    u32 kind = tn_btf_kind(t);
    const struct tn_btf_row *row = &tn_btf_rows[kind];

    if (!tn_btf_string_ok(b, t->name_off))
        return tn_fail(err, -EINVAL, "btf_invalid", "[%u] Invalid name_offset:%u: past the last string",
                       b->first + k, t->name_off);
    if (!(row->flags & TN_BTF_COUNTED) && tn_btf_vlen(t))
        return tn_btf_fault(b, err, k, "vlen != 0", "nothing is counted in this kind");
    if (!(row->flags & TN_BTF_KFLAG) && BTF_INFO_KFLAG(t->info))
        return tn_btf_fault(b, err, k, "Invalid btf_info kind_flag", "it has no meaning in this kind");
    if (!name_fits(b, t->name_off, kind, &b->next[k])) {
        if (kind == BTF_KIND_DECL_TAG)
            return tn_btf_fault(b, err, k, "Invalid value", "a tag without a text");
        return tn_btf_fault(b, err, k, "Invalid name",
                            row->naming == TN_BTF_NAME_NONE ? "types of this kind have no name"
                                                            : "not a name that C could have given");
    }
    if (kind == BTF_KIND_FWD && t->type)
        return tn_btf_fault(b, err, k, "type != 0", "a declaration has no type");
    if (kind == BTF_KIND_ARRAY && t->size)
        return tn_btf_fault(b, err, k, "size != 0", "an array's size follows from its elements");
    return 0;
}

/* ------------------------------------------------------------------------------------------- index */

/* By the hashes that check_head left in b->next, which become links. Buckets are far apart: they are asked
   for some types ahead. */
#define AHEAD 16u
static void index_names(struct tn_btf *b)
{
    for (u32 k = b->n; k-- > 0;) {
        u32 *bucket = &b->bucket[b->next[k] & b->mask];

        if (k >= AHEAD)
            __builtin_prefetch(&b->bucket[b->next[k - AHEAD] & b->mask], 1);
        if (!tn_btf_own(b, k)->name_off)
            continue;
        b->next[k] = *bucket;
        *bucket = k + 1;
    }
}

static bool is_tag(const struct btf_type *t)
{
    return tn_btf_kind(t) == BTF_KIND_DECL_TAG && !BTF_INFO_KFLAG(t->info);
}

static int by_target(const void *a, const void *c, void *arg)
{
    const struct tn_btf *b = arg;
    u32 x = *(const u32 *)a, y = *(const u32 *)c;
    const struct btf_type *p = tn_btf_own(b, x), *q = tn_btf_own(b, y);
    s32 i = tn_btf_tag_component(p), j = tn_btf_tag_component(q);

    if (p->type != q->type)
        return p->type < q->type ? -1 : 1;
    if (i != j)
        return i < j ? -1 : 1;
    return x < y ? -1 : 1;
}

static int index_tags(struct tn_btf *b)
{
    u32 n = 0;

    for (u32 k = 0; k < b->n; k++)
        n += is_tag(tn_btf_own(b, k));
    if (!n)
        return 0;
    b->tag = malloc(n * sizeof(*b->tag));
    if (!b->tag)
        return -ENOMEM;
    for (u32 k = 0; k < b->n; k++)
        if (is_tag(tn_btf_own(b, k)))
            b->tag[b->ntags++] = k;
    qsort_r(b->tag, n, sizeof(*b->tag), by_target, b);
    return 0;
}

/* ------------------------------------------------------------------------------------------- open */

static int make_index(struct tn_btf *b, struct tn_error *err)
{
    u32 most = b->types_len / (u32)sizeof(struct btf_type);
    int r;

    b->off = malloc(((u64)most + 1) * sizeof(u32));
    if (!b->off)
        return -ENOMEM;
    r = walk(b, b->off, &b->n, err);
    if (r)
        return r;
    b->mask = 15;
    while (b->mask < b->n)
        b->mask = b->mask * 2 + 1;
    b->to = calloc(2 * (u64)b->n + b->mask + 1, sizeof(u32));
    if (!b->to)
        return -ENOMEM;
    b->next = b->to + b->n;
    b->bucket = b->next + b->n;
    for (u32 k = 0; !r && k < b->n; k++)
        r = check_head(b, k, err);
    return r;
}

static int fill(struct tn_btf *b, const u8 *data, u64 size, struct tn_error *err)
{
    struct btf_header h = {0};
    int r = read_header(data, size, b->base, &h, err);

    if (r)
        return r;
    b->first = b->base ? tn_btf_count(b->base) : 1;
    b->types_len = h.type_len;
    b->str_len = h.str_len;
    b->types = malloc((u64)h.type_len + h.str_len + 1);
    if (!b->types)
        return -ENOMEM;
    memcpy(b->types, data + h.hdr_len + h.type_off, h.type_len);
    memcpy(b->types + h.type_len, data + h.hdr_len + h.str_off, h.str_len);
    b->strings = (const char *)b->types + h.type_len;
    r = take_strings(b, err);
    if (r)
        return r;
    if (!b->base && !h.type_len)
        return damaged(err, "No type found", "the type section is empty");
    r = make_index(b, err);
    if (!r)
        r = tn_btf_check(b, err);
    if (!r)
        r = index_tags(b);
    if (!r)
        index_names(b);
    return r;
}

int tn_btf_open(const void *data, u64 size, const struct tn_btf *base, struct tn_btf **ret,
                struct tn_error *err)
{
    struct tn_btf *b;
    int r;

    if (size > TN_BTF_SIZE_MAX)
        return tn_fail(err, -E2BIG, "btf_invalid", "%llu bytes: type information has at most %u",
                       (unsigned long long)size, TN_BTF_SIZE_MAX);
    b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->base = base;
    r = fill(b, data, size, err);
    if (r) {
        tn_btf_close(b);
        return r;
    }
    *ret = b;
    return 0;
}

void tn_btf_close(struct tn_btf *b)
{
    if (!b)
        return;
    free(b->types);
    free(b->off);
    free(b->to);
    free(b->tag);
    free(b);
}

/* ------------------------------------------------------------------------------------------- queries */

bool tn_btf_same(const struct tn_btf *a, const struct tn_btf *b)
{
    if (a == b)
        return true;
    return a && b && a->base == b->base && a->types_len == b->types_len && a->str_len == b->str_len &&
           !memcmp(a->types, b->types, (u64)a->types_len + a->str_len);
}

u32 tn_btf_count(const struct tn_btf *b)
{
    return b->first + b->n;
}

const struct btf_type *tn_btf_type(const struct tn_btf *b, u32 id)
{
    while (id < b->first) {
        if (!id)
            return NULL;
        b = b->base;
    }
    id -= b->first;
    return id < b->n ? tn_btf_own(b, id) : NULL;
}

const char *tn_btf_name(const struct tn_btf *b, u32 id)
{
    const struct btf_type *t = tn_btf_type(b, id);

    return t ? tn_btf_string(b, t->name_off) : "";
}

u32 tn_btf_find(const struct tn_btf *b, u32 kind, const char *name)
{
    u32 id = b->base ? tn_btf_find(b->base, kind, name) : 0;

    if (id || !*name)
        return id;
    for (u32 k = b->bucket[hash(name, kind) & b->mask]; k; k = b->next[k - 1]) {
        const struct btf_type *t = tn_btf_own(b, k - 1);

        if (tn_btf_kind(t) == kind && !strcmp(tn_btf_string(b, t->name_off), name))
            return b->first + k - 1;
    }
    return 0;
}

u32 tn_btf_resolve(const struct tn_btf *b, u32 id)
{
    while (id < b->first) {
        if (!id)
            return 0;
        b = b->base;
    }
    if (id - b->first >= b->n)
        return 0;
    return tn_btf_is_modifier(tn_btf_kind(tn_btf_own(b, id - b->first))) ? b->to[id - b->first] : id;
}

s64 tn_btf_size(const struct tn_btf *b, u32 id)
{
    const struct btf_type *t;

    id = tn_btf_resolve(b, id);
    if (!id)
        return -1;
    while (id < b->first)
        b = b->base;
    t = tn_btf_own(b, id - b->first);
    switch (tn_btf_kind(t)) {
    case BTF_KIND_PTR:
        return sizeof(u64);
    case BTF_KIND_ARRAY:
        return b->to[id - b->first];
    case BTF_KIND_VAR:
        return tn_btf_size(b, t->type);
    case BTF_KIND_DATASEC:
        return t->size;
    default:
        return tn_btf_rows[tn_btf_kind(t)].flags & TN_BTF_SIZED ? (s64)t->size : -1;
    }
}

static bool tag_before(const struct btf_type *t, u32 id, s32 component)
{
    return t->type < id || (t->type == id && tn_btf_tag_component(t) < component);
}

static u32 tags_before(const struct tn_btf *b, u32 id, s32 component)
{
    u32 at;

    TN_PARTITION(at, b->ntags, tag_before(tn_btf_own(b, b->tag[at]), id, component));
    return at;
}

const char *tn_btf_tag(const struct tn_btf *b, u32 id, s32 component, u32 k)
{
    for (; b; b = b->base) { /* the newest layer's first: a split may say more of a type of its base */
        for (u32 at = tags_before(b, id, component); at < b->ntags; at++) {
            const struct btf_type *t = tn_btf_own(b, b->tag[at]);

            if (t->type != id || tn_btf_tag_component(t) != component)
                break;
            if (!k--)
                return tn_btf_string(b, t->name_off);
        }
    }
    return NULL;
}
