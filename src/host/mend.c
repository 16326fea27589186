/* SPDX-License-Identifier: MIT */
/*
 * Types that compilers make and BTF forbids, said so that everybody who checks BTF takes them:
 *
 *      an array of what has no size               no elements, of bytes
 *      a member that has none, or reaches out     left out (a class's [[no_unique_address]])
 *      a floating-point member out of alignment   an integer of its name and size (packed structs)
 *      a parameter or result without a size       a pointer to void; void
 *      a bitfield of more than 32 bits of enum    left out
 *      too many pointers and typedefs in a row    cut: pointers to void, typedefs of the end
 *
 * Functions, variables, sections and tags are not types of values and do not come along, but those that say how a struct is
 * aligned.
 */
#include <errno.h>

#include "btf/value.h"

#include "host/finish.h"

#define CHAIN_MAX  1024u
#define ALIGN_DONE (1u << 31)
#define DEPTH_MAX  64u
#define LINKS_MAX  28u /* the verifier's reader, like Linux, follows 32 */

u32 tn_bare(const struct btf *btf, u32 id)
{
    for (u32 i = 0; i < CHAIN_MAX; i++) {
        const struct btf_type *t = id ? btf__type_by_id(btf, id) : NULL;

        if (!t)
            return 0;
        if (!btf_is_mod(t) && !btf_is_typedef(t) && !btf_is_type_tag(t))
            return id;
        id = t->type;
    }
    return 0;
}

u32 tn_aligned_by(const struct btf *btf, const struct btf_type *t)
{
    const struct btf_type *of = btf_is_decl_tag(t) ? btf__type_by_id(btf, t->type) : NULL;

    return of && btf_is_composite(of) && btf_decl_tag(t)->component_idx == -1 && !btf_kflag(t)
               ? tn_btf_aligned(btf__name_by_offset(btf, t->name_off) ?: "")
               : 0;
}

int tn_sizes_init(const struct btf *btf, struct tn_sizes *ret)
{
    u32 n = btf__type_cnt(btf);

    ret->btf = btf;
    ret->known = malloc(n * sizeof(*ret->known));
    ret->align = calloc(n, sizeof(*ret->align));
    if (!ret->known || !ret->align)
        return -ENOMEM;
    for (u32 i = 0; i < n; i++)
        ret->known[i] = -2;
    for (u32 i = 1; i < n; i++) {
        const struct btf_type *t = btf__type_by_id(btf, i);
        u32 align = btf_is_decl_tag(t) ? tn_aligned_by(btf, t) : 0;

        if (align)
            ret->align[t->type] = TN_MAX(ret->align[t->type], align);
    }
    return 0;
}

void tn_sizes_clear(struct tn_sizes *sizes)
{
    free(sizes->known);
    free(sizes->align);
}

/* As align_of in btf/value.c, of types that nobody has checked yet. */
u32 tn_align_of(struct tn_sizes *sizes, u32 id, u32 depth)
{
    const struct btf_type *t;
    u32 all;

    id = tn_bare(sizes->btf, id);
    t = id ? btf__type_by_id(sizes->btf, id) : NULL;
    if (!t || depth > DEPTH_MAX)
        return 1;
    if (btf_is_array(t))
        return tn_align_of(sizes, btf_array(t)->type, depth + 1);
    if (!btf_is_composite(t))
        return (u32)TN_MAX(TN_MIN(tn_size_of(sizes, id, 0), 16), 1);
    if (sizes->align[id] & ALIGN_DONE)
        return sizes->align[id] & ~ALIGN_DONE;
    all = TN_MAX(sizes->align[id], 1u);
    sizes->align[id] = all | ALIGN_DONE;
    for (u32 i = 0; i < btf_vlen(t); i++) {
        u32 one = btf_member_bitfield_size(t, i) ? 1 : tn_align_of(sizes, btf_members(t)[i].type, depth + 1);

        if (one > all && !(btf_member_bit_offset(t, i) % (8 * one)) && !(t->size % one))
            all = one;
    }
    sizes->align[id] = all | ALIGN_DONE;
    return all;
}

static s64 array_size(struct tn_sizes *sizes, const struct btf_array *a, u32 depth)
{
    s64 each = tn_size_of(sizes, a->type, depth + 1);

    if (each < 0 || (u64)each * a->nelems > UINT32_MAX)
        return 0; /* it is mended to none */
    return each * a->nelems;
}

s64 tn_size_of(struct tn_sizes *sizes, u32 id, u32 depth)
{
    const struct btf_type *t;
    s64 size = -1;

    id = tn_bare(sizes->btf, id);
    t = id ? btf__type_by_id(sizes->btf, id) : NULL;
    if (!t || depth > DEPTH_MAX)
        return -1;
    if (sizes->known[id] != -2)
        return sizes->known[id] == -3 ? -1 : sizes->known[id];
    sizes->known[id] = -3;
    switch (btf_kind(t)) {
    case BTF_KIND_PTR:
        size = 8;
        break;
    case BTF_KIND_INT:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_FLOAT:
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        size = t->size;
        break;
    case BTF_KIND_ARRAY:
        size = array_size(sizes, btf_array(t), depth);
        break;
    default:
        break;
    }
    sizes->known[id] = size;
    return size;
}

struct mend {
    struct tn_sizes *sizes;
    struct tn_raw *out;
    const u32 *map;
    u32 next; /* the id after the mapped ones: types that are made up */
    u32 byte, pointer, as_int[17];
};

static u32 name_of(struct mend *m, u32 off)
{
    return tn_raw_string(m->out, btf__name_by_offset(m->sizes->btf, off));
}

static u32 identifier_of(struct mend *m, u32 off)
{
    return tn_raw_name(m->out, btf__name_by_offset(m->sizes->btf, off));
}

static u32 id_of(const struct mend *m, u32 id)
{
    return id < btf__type_cnt(m->sizes->btf) ? m->map[id] : 0;
}

static u32 made_up(struct mend *m, u32 *which)
{
    if (!*which)
        *which = m->next++;
    return *which;
}

static void head(struct mend *m, u32 name, u32 info, u32 third)
{
    tn_raw_word(m->out, name);
    tn_raw_word(m->out, info);
    tn_raw_word(m->out, third);
    m->out->ntypes++;
}

static void put_array(struct mend *m, const struct btf_type *t)
{
    const struct btf_array *a = btf_array(t);
    s64 each = tn_size_of(m->sizes, a->type, 0);
    bool sound = each >= 0 && id_of(m, a->type);

    head(m, 0, tn_raw_info(BTF_KIND_ARRAY, 0, false), 0);
    tn_raw_word(m->out, sound ? id_of(m, a->type) : made_up(m, &m->byte));
    tn_raw_word(m->out, id_of(m, a->index_type) ? id_of(m, a->index_type) : made_up(m, &m->byte));
    tn_raw_word(m->out, sound && (u64)each * a->nelems <= UINT32_MAX ? a->nelems : 0);
}

/* The id under which member `i` is kept; 0: it cannot be. */
static u32 member_type(struct mend *m, const struct btf_type *t, u32 i)
{
    u32 id = btf_members(t)[i].type, bit = btf_member_bit_offset(t, i),
        width = btf_member_bitfield_size(t, i);
    const struct btf_type *type = btf__type_by_id(m->sizes->btf, tn_bare(m->sizes->btf, id));
    s64 size = tn_size_of(m->sizes, id, 0);
    u64 end = width ? (u64)bit + width : (u64)bit + (u64)size * 8;

    if (!type || size < 0 || end > (u64)t->size * 8 || !id_of(m, id))
        return 0;
    if (width) {
        if (btf_is_int(type) ? width > (u64)size * 8 || width + bit % 8 > 128
                             : width > 32 || (!btf_is_enum(type) && !btf_is_enum64(type)))
            return 0;
        return id_of(m, id);
    }
    if (bit % 8)
        return 0;
    if (btf_is_float(type) && bit % TN_MIN(64u, (u32)size * 8) && size <= 16)
        return made_up(m, &m->as_int[size]);
    return id_of(m, id);
}

static void put_struct(struct mend *m, const struct btf_type *t)
{
    const struct btf_member *from = btf_members(t);
    u32 n = 0, info, before = 0;

    head(m, identifier_of(m, t->name_off), t->info, t->size);
    info = m->out->nwords - 2;
    for (u32 i = 0; i < btf_vlen(t); i++) {
        u32 id = member_type(m, t, i), bit = btf_member_bit_offset(t, i);

        if (!id || bit < before)
            continue;
        before = bit;
        tn_raw_word(m->out, identifier_of(m, from[i].name_off));
        tn_raw_word(m->out, id);
        tn_raw_word(m->out, from[i].offset);
        n++;
    }
    if (!m->out->error)
        m->out->word[info] = tn_raw_info(btf_kind(t), n, btf_kflag(t));
}

static void put_enum(struct mend *m, const struct btf_type *t)
{
    head(m, identifier_of(m, t->name_off), t->info, t->size);
    for (u32 i = 0; i < btf_vlen(t); i++) {
        if (btf_is_enum(t)) {
            tn_raw_word(m->out, identifier_of(m, btf_enum(t)[i].name_off));
            tn_raw_word(m->out, (u32)btf_enum(t)[i].val);
        } else {
            tn_raw_word(m->out, identifier_of(m, btf_enum64(t)[i].name_off));
            tn_raw_word(m->out, btf_enum64(t)[i].val_lo32);
            tn_raw_word(m->out, btf_enum64(t)[i].val_hi32);
        }
    }
}

static void put_proto(struct mend *m, const struct btf_type *t)
{
    const struct btf_param *p = btf_params(t);
    u32 n = btf_vlen(t);

    head(m, 0, t->info, tn_size_of(m->sizes, t->type, 0) >= 0 ? id_of(m, t->type) : 0);
    for (u32 i = 0; i < n; i++) {
        bool dots = i == n - 1 && !p[i].type && !p[i].name_off;
        bool sound = tn_size_of(m->sizes, p[i].type, 0) >= 0 && id_of(m, p[i].type);

        tn_raw_word(m->out, dots ? 0 : identifier_of(m, p[i].name_off));
        tn_raw_word(m->out, dots ? 0 : sound ? id_of(m, p[i].type) : made_up(m, &m->pointer));
    }
}

/* Pointers and modifiers in a row, `t` the first. */
static u32 links(const struct btf *btf, const struct btf_type *t)
{
    u32 n = 0;

    while (t && n <= LINKS_MAX &&
           (btf_is_ptr(t) || btf_is_mod(t) || btf_is_typedef(t) || btf_is_type_tag(t))) {
        n++;
        t = t->type ? btf__type_by_id(btf, t->type) : NULL;
    }
    return n;
}

/* What a link leads to. Where the row is longer than anybody's checks allow, a pointer leads nowhere, and a
   typedef to what it is at last. */
static u32 shortened(const struct mend *m, const struct btf_type *t)
{
    if (links(m->sizes->btf, t) <= LINKS_MAX)
        return id_of(m, t->type);
    return btf_is_ptr(t) ? 0 : id_of(m, tn_bare(m->sizes->btf, t->type));
}

static void put(struct mend *m, const struct btf_type *t)
{
    switch (btf_kind(t)) {
    case BTF_KIND_INT:
        head(m, name_of(m, t->name_off), t->info, t->size);
        tn_raw_word(m->out, *(const u32 *)(t + 1));
        break;
    case BTF_KIND_FLOAT:
        head(m, name_of(m, t->name_off), t->info, t->size);
        break;
    case BTF_KIND_ARRAY:
        put_array(m, t);
        break;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        put_struct(m, t);
        break;
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        put_enum(m, t);
        break;
    case BTF_KIND_FUNC_PROTO:
        put_proto(m, t);
        break;
    case BTF_KIND_DECL_TAG:
        head(m, name_of(m, t->name_off), t->info, id_of(m, t->type));
        tn_raw_word(m->out, UINT32_MAX);
        break;
    case BTF_KIND_FWD:
        head(m, identifier_of(m, t->name_off), t->info, 0);
        break;
    default: /* one reference, perhaps a name */
        head(m, name_of(m, t->name_off), t->info, shortened(m, t));
    }
}

static void put_made_up(struct mend *m)
{
    static const char *const names[17] = {
        [2] = "_Float16", [4] = "float", [8] = "double", [16] = "long double"};

    for (u32 id = m->out->ntypes + 1; id < m->next; id++) {
        if (id == m->pointer) {
            head(m, 0, tn_raw_info(BTF_KIND_PTR, 0, false), 0);
            continue;
        }
        for (u32 size = 1; size <= 16; size++) {
            if (id != (size == 1 ? m->byte : m->as_int[size]))
                continue;
            head(m, tn_raw_string(m->out, size == 1 ? "unsigned char" : names[size]),
                 tn_raw_info(BTF_KIND_INT, 0, false), size == 12 ? 16 : size);
            tn_raw_word(m->out, size == 12 ? 96 : size * 8);
        }
    }
}

static bool is_of_values(const struct tn_sizes *sizes, const struct btf_type *t)
{
    u32 kind = btf_kind(t);

    if (btf_is_decl_tag(t))
        return tn_aligned_by(sizes->btf, t);
    return kind != BTF_KIND_FUNC && kind != BTF_KIND_VAR && kind != BTF_KIND_DATASEC;
}

int tn_mend(struct tn_sizes *sizes, struct tn_raw *out, u32 *map)
{
    struct mend m = {.sizes = sizes, .out = out, .map = map, .next = 1};
    u32 n = btf__type_cnt(sizes->btf);

    map[0] = 0;
    for (u32 id = 1; id < n; id++)
        map[id] = is_of_values(sizes, btf__type_by_id(sizes->btf, id)) ? m.next++ : 0;
    for (u32 id = 1; id < n && !out->error; id++)
        if (map[id])
            put(&m, btf__type_by_id(sizes->btf, id));
    put_made_up(&m);
    return out->error;
}
