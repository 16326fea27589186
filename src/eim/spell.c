/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a type as paths: the smallest things with a name that together hold them. Where some byte belongs
 * to nothing that has a name (padding, a union read across its members), it is what lies around it.
 *
 * Several places at once are bytes from the first to the end of the last, until an array is met whose elements they
 * are the same field of: "[..]" of all, "[1 .. 3]" of some; behind it one place stands for all.
 */
#include <errno.h>

#include "eim/bind.h"

#define WHOLE    1
#define NEST     16u
#define ELEMENTS 8u    /* more of an array than that is the array */
#define STEPS    4096u /* unions in unions are tried each way: up to here */

struct speller {
    const struct tn_btf *b;
    struct tn_bag *bag;
    const char **path;
    u32 n, steps;
    u64 bytes; /* that the paths name together */
    u32 size, step;
    u64 places, times; /* places 1: bytes are bytes, and stand for so many others */
};

static int cover(struct speller *s, u32 type, u64 off, u64 end, const char *prefix, u32 depth);

static int emit(struct speller *s, const char *path, u64 bytes)
{
    const char **slot = path ? TN_BAG_PUSH(s->bag, s->path, s->n) : NULL;

    if (!slot)
        return -ENOMEM;
    *slot = path;
    s->bytes += bytes * s->times;
    return 0;
}

/* Something that may have parts; `path` NULL: it has no name of its own. */
static int part(struct speller *s, u32 type, u64 off, u64 end, const char *prefix, const char *path,
                u32 depth)
{
    u32 id = tn_btf_resolve(s->b, type), kind = tn_btf_kind_of(s->b, id);
    s64 size = tn_btf_size(s->b, id);
    bool parts = kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ARRAY;
    int err;

    if (path && (!parts || (!off && size >= 0 && end >= (u64)size)))
        return emit(s, path, size < 0 ? 0 : (u64)size);
    err = depth < NEST ? cover(s, id, off, end, path ? path : prefix, depth + 1) : WHOLE;
    return err == WHOLE && path ? emit(s, path, size < 0 ? 0 : (u64)size) : err;
}

static u64 member_end(const struct speller *s, const struct btf_type *t, const struct btf_member *m)
{
    u64 bit = tn_btf_member_bit(t, m), width = tn_btf_member_bits(t, m);
    s64 size = tn_btf_size(s->b, m->type);

    return width ? (bit + width + 7) / 8 : bit / 8 + (u64)(size < 0 ? 0 : size);
}

static int cover_member(struct speller *s, const struct btf_type *t, const struct btf_member *m, u64 off,
                        u64 end, const char *prefix, u32 depth)
{
    u64 begin = tn_btf_member_bit(t, m) / 8;
    const char *name = tn_btf_string(s->b, m->name_off), *path = NULL;

    if (*name) {
        path = tn_bag_printf(s->bag, "%s.%s", prefix, name);
        if (!path)
            return -ENOMEM;
    }
    if (tn_btf_member_bits(t, m))
        return path ? emit(s, path, member_end(s, t, m) - begin) : WHOLE;
    return part(s, m->type, off > begin ? off - begin : 0, end - begin, prefix, path, depth);
}

static int cover_struct(struct speller *s, const struct btf_type *t, u64 off, u64 end, const char *prefix,
                        u32 depth)
{
    u64 done = off;

    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        u64 begin = tn_btf_member_bit(t, m) / 8, stop = member_end(s, t, m);
        int err;

        if (begin >= end)
            break;
        if (stop <= done)
            continue;
        if (begin > done || (s->places > 1 && stop < end))
            return WHOLE;
        err = cover_member(s, t, m, done, TN_MIN(stop, end), prefix, depth);
        if (err)
            return err;
        done = stop;
    }
    return done < end ? WHOLE : 0;
}

/* The member through which the fewest bytes have to be named. */
static int cover_union(struct speller *s, const struct btf_type *t, u64 off, u64 end, const char *prefix,
                       u32 depth)
{
    const struct btf_member *best = NULL;
    u64 least = UINT64_MAX, bytes = s->bytes;
    u32 n = s->n;

    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        int err;

        if (tn_btf_member_bit(t, m) / 8 > off || member_end(s, t, m) < end)
            continue;
        err = cover_member(s, t, m, off, end, prefix, depth);
        if (err < 0)
            return err;
        if (!err && s->bytes - bytes < least) {
            least = s->bytes - bytes;
            best = m;
        }
        s->n = n;
        s->bytes = bytes;
    }
    return best ? cover_member(s, t, best, off, end, prefix, depth) : WHOLE;
}

/* The same field of one element after another, or of every element of each in an array of arrays. */
static int cover_elements(struct speller *s, const struct btf_array *a, u64 off, const char *prefix, u64 size,
                          u32 depth)
{
    u64 first = off / size, places = s->places, times = s->times, inner = size / s->step;
    const char *path;
    int err;

    if (s->step == size && off % size + s->size <= size)
        inner = 1;
    else if (size % s->step || off >= s->step || places != a->nelems * inner)
        return WHOLE;
    if (inner > 1 || (!first && places == a->nelems))
        path = tn_bag_printf(s->bag, "%s[..]", prefix);
    else
        path = tn_bag_printf(s->bag, "%s[%llu .. %llu]", prefix, (unsigned long long)first,
                             (unsigned long long)(first + places));
    if (!path)
        return -ENOMEM;
    s->places = inner;
    s->times *= places / inner;
    err = part(s, a->type, off % size, off % size + (inner - 1) * s->step + s->size, prefix, path, depth);
    s->places = places;
    s->times = times;
    return err;
}

static int cover_array(struct speller *s, const struct btf_array *a, u64 off, u64 end, const char *prefix,
                       u32 depth)
{
    s64 size = tn_btf_size(s->b, a->type);
    u64 first, last;

    if (size <= 0)
        return WHOLE;
    first = off / (u64)size;
    last = (end - 1) / (u64)size;
    if (s->places > 1 && first != last)
        return last < a->nelems ? cover_elements(s, a, off, prefix, (u64)size, depth) : WHOLE;
    if (last >= a->nelems || last - first >= ELEMENTS)
        return WHOLE;
    for (u64 k = first; k <= last; k++) {
        const char *path = tn_bag_printf(s->bag, "%s[%llu]", prefix, (unsigned long long)k);
        u64 begin = k * (u64)size;
        int err;

        if (!path)
            return -ENOMEM;
        err = part(s, a->type, off > begin ? off - begin : 0, TN_MIN(end - begin, (u64)size), prefix, path,
                   depth);
        if (err)
            return err;
    }
    return 0;
}

static int cover(struct speller *s, u32 type, u64 off, u64 end, const char *prefix, u32 depth)
{
    const struct btf_type *t = tn_btf_type(s->b, type);
    u32 kept = s->n;
    u64 bytes = s->bytes;
    int err = WHOLE;

    if (++s->steps > STEPS)
        return WHOLE;
    switch (tn_btf_kind_of(s->b, type)) {
    case BTF_KIND_STRUCT:
        err = cover_struct(s, t, off, end, prefix, depth);
        break;
    case BTF_KIND_UNION:
        err = cover_union(s, t, off, end, prefix, depth);
        break;
    case BTF_KIND_ARRAY:
        err = cover_array(s, tn_btf_array(t), off, end, prefix, depth);
        break;
    default:
        break;
    }
    if (err == WHOLE) {
        s->n = kept;
        s->bytes = bytes;
    }
    return err;
}

/* Places that are no elements of one array have a name each, if they are few. */
static int cover_each(struct speller *s, u32 type, const struct tn_access *a)
{
    int err = 0;

    if (a->places > ELEMENTS)
        return WHOLE;
    s->places = 1;
    for (u32 k = 0; k < a->places && !err; k++) {
        u64 off = a->offset + (u64)k * a->step;

        err = cover(s, type, off, off + s->size, "", 0);
    }
    return err;
}

int tn_path_spell(const struct tn_btf *btf, u32 type, const struct tn_access *a, struct tn_bag *bag,
                  int (*say)(void *self, const char *fields), void *self)
{
    struct speller s = {
        .b = btf,
        .bag = bag,
        .size = TN_MAX(a->size, 1u),
        .step = a->step,
        .places = TN_MAX(a->places, 1u),
        .times = 1,
    };
    u64 end = a->offset + (s.places - 1) * s.step + s.size;
    int err;

    type = tn_btf_resolve(btf, type);
    err = cover(&s, type, a->offset, end, "", 0);
    if (err == WHOLE && s.places > 1)
        err = cover_each(&s, type, a);
    if (err == WHOLE)
        return say(self, "");
    for (u32 k = 0; k < s.n && !err; k++)
        err = say(self, s.path[k]);
    return err;
}
