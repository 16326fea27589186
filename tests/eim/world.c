/* SPDX-License-Identifier: MIT */
/* See world.h. */
#include "tests/eim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/btf.h>
#include <cmocka.h>

u64 seed = 88172645463325252ull;
u32 rnd(u32 n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (u32)(seed >> 11) % n;
}

/* ------------------------------------------------------------------------------------------------ types */

static void make_shape(struct world *w, u32 k)
{
    struct shape *s = &w->s[k];
    u32 bit = 0;

    *s = (struct shape){.is_union = k && rnd(4) == 0, .n = 2 + rnd(MEMBERS - 1)};
    snprintf(s->name, sizeof(s->name), "s%u", k);
    for (u32 m = 0; m < s->n; m++) {
        struct field *f = &s->f[m];
        u32 align;

        f->kind = (enum kind)rnd(KINDS);
        if (k)
            f->to = rnd(k);
        if ((f->kind == NESTED || f->kind == RECORDS) && (!k || w->s[f->to].size > 64))
            f->kind = NUMBER;
        f->n = 1;
        switch (f->kind) {
        case NUMBER:
            f->size = 1u << rnd(4);
            break;
        case POINTER:
            f->size = 8;
            f->to = rnd(STRUCTS);
            break;
        case ARRAY:
            f->size = 1u << rnd(4);
            f->n = 1 + rnd(5);
            break;
        case NESTED:
        case RECORDS:
            f->size = w->s[f->to].size;
            f->n = f->kind == RECORDS ? 1 + rnd(3) : 1;
            break;
        case BITS:
            f->size = 4;
            f->width = 1 + rnd(12);
            break;
        default:
            f->size = 8;
            f->each = 1u << rnd(4);
            break;
        }
        align = f->kind == NESTED || f->kind == RECORDS ? 64 : f->size * 8;
        if (f->kind == BITS && bit / 32 != (bit + f->width - 1) / 32)
            bit = TN_ROUND_UP(bit, 32u);
        if (f->kind != BITS)
            bit = TN_ROUND_UP(bit, align);
        f->bit = s->is_union ? 0 : bit;
        bit = s->is_union ? TN_MAX(bit, f->width ? f->width : f->size * f->n * 8)
                          : bit + (f->width ? f->width : f->size * f->n * 8);
    }
    s->size = TN_ROUND_UP(TN_MAX(bit, 1u), 64u) / 8;
}

/* A number, a pointer, arrays of numbers, of pointers' structs; a struct, which is an object of its type. */
static void make_variables(struct world *w)
{
    static const enum kind kinds[VARS] = {NUMBER, POINTER, ARRAY, RECORDS, NESTED, NESTED};

    for (u32 k = 0; k < VARS; k++) {
        struct field *f = &w->v[k];

        *f = (struct field){.kind = kinds[k], .to = rnd(STRUCTS), .n = 1, .size = 1u << rnd(4)};
        if (f->kind == POINTER)
            f->size = 8;
        if (f->kind == ARRAY || f->kind == RECORDS)
            f->n = 1 + rnd(4);
        if (f->kind == NESTED || f->kind == RECORDS)
            f->size = w->s[f->to].size;
        if (f->size * f->n > SIZE)
            f->n = 1;
    }
}

static void add_functions(struct btf *b, const int number[4], int object)
{
    int any = btf__add_ptr(b, 0), of_const, proto;

    for (u32 k = 0; k < 2; k++) {
        proto = btf__add_func_proto(b, number[3]);
        btf__add_func_param(b, "p", object);
        btf__add_func(b, k ? "g1" : "g0", BTF_FUNC_GLOBAL, proto);
    }
    of_const = btf__add_ptr(b, btf__add_const(b, 0));
    proto = btf__add_func_proto(b, btf__add_int(b, "long", 8, BTF_INT_SIGNED));
    btf__add_func_param(b, "own", any);
    btf__add_func_param(b, "own__sz", number[2]);
    btf__add_func_param(b, "object", of_const);
    btf__add_func_param(b, "pointer__k", number[3]);
    btf__add_func_param(b, "length__k", number[3]);
    btf__add_func(b, "tenon_copy", BTF_FUNC_GLOBAL, proto);
}

void make_world(struct world *w)
{
    struct btf *b = btf__new_empty();
    int number[4], data[4], pointer[STRUCTS], array[STRUCTS][MEMBERS], proto, first;
    struct tn_error err = {0};
    const void *raw;
    u32 size;

    for (u32 k = 0; k < STRUCTS; k++)
        make_shape(w, k);
    make_variables(w);
    for (u32 k = 0; k < 4; k++) {
        char name[16];

        snprintf(name, sizeof(name), "u%u", 8u << k);
        number[k] = btf__add_int(b, name, 1u << k, 0);
    }
    for (u32 k = 0; k < 4; k++)
        data[k] = btf__add_ptr(b, number[k]);
    /* Ids are known before the types are there: 4 numbers, pointers to them, then a pointer a struct,
       then arrays, then structs. */
    first = 9 + (int)STRUCTS;
    for (u32 k = 0; k < STRUCTS; k++)
        for (u32 m = 0; m < w->s[k].n; m++)
            first += w->s[k].f[m].kind == ARRAY || w->s[k].f[m].kind == RECORDS;
    for (u32 k = 0; k < STRUCTS; k++)
        w->id[k] = (u32)first + k;
    for (u32 k = 0; k < STRUCTS; k++)
        pointer[k] = btf__add_ptr(b, (int)w->id[k]);
    for (u32 k = 0; k < STRUCTS; k++)
        for (u32 m = 0; m < w->s[k].n; m++) {
            const struct field *f = &w->s[k].f[m];

            if (f->kind == ARRAY || f->kind == RECORDS)
                array[k][m] = btf__add_array(
                    b, number[0], f->kind == ARRAY ? number[__builtin_ctz(f->size)] : (int)w->id[f->to],
                    f->n);
        }
    for (u32 k = 0; k < STRUCTS; k++) {
        struct shape *s = &w->s[k];
        int id = s->is_union ? btf__add_union(b, s->name, s->size) : btf__add_struct(b, s->name, s->size);

        assert_int_equal(id, w->id[k]);
        for (u32 m = 0; m < s->n; m++) {
            const struct field *f = &s->f[m];
            char name[16];

            snprintf(name, sizeof(name), "f%u", m);
            assert_int_equal(btf__add_field(b, name,
                                            f->kind == NUMBER    ? number[__builtin_ctz(f->size)]
                                            : f->kind == BITS    ? number[2]
                                            : f->kind == DATA    ? data[__builtin_ctz(f->each)]
                                            : f->kind == POINTER ? pointer[f->to]
                                            : f->kind == NESTED  ? (int)w->id[f->to]
                                                                 : array[k][m],
                                            f->bit, f->width),
                             0);
        }
    }
    for (u32 k = 0; k < VARS; k++) {
        const struct field *f = &w->v[k];
        int type = f->kind == POINTER                        ? pointer[f->to]
                   : f->kind == RECORDS || f->kind == NESTED ? (int)w->id[f->to]
                                                             : number[__builtin_ctz(f->size)];
        char name[16];

        if (f->kind == ARRAY || f->kind == RECORDS)
            type = btf__add_array(b, number[0], type, f->n);
        snprintf(name, sizeof(name), "g%u", k);
        w->id[STRUCTS + k] = (u32)btf__add_var(b, name, BTF_VAR_GLOBAL_ALLOCATED, type);
    }
    proto = btf__add_func_proto(b, number[2]);
    btf__add_func_param(b, "a", pointer[STRUCTS - 1]);
    btf__add_func_param(b, "b", pointer[STRUCTS - 2]);
    btf__add_func(b, "entry", BTF_FUNC_GLOBAL, proto);
    add_functions(b, number, pointer[STRUCTS - 1]);
    raw = btf__raw_data(b, &size);
    if (tn_btf_open(raw, size, NULL, &w->btf, &err))
        fail_msg("%s", err.message);
    btf__free(b);
}

/* ----------------------------------------------------------------------------- paths, and what they paint */

static void paint_all(struct paint *p, u32 op, u32 s, u32 off, u32 n)
{
    memset(&p->on[op][s][off], true, n);
}

static void walk(const struct world *w, u32 s, u32 base, u32 off, u32 op, struct paint *p, char *text,
                 size_t cap);

/* On from a field, whose name stands in `text`, at `at` of object `base`: the text, and the bytes. */
static void go_on(const struct world *w, const struct field *f, u32 base, u32 at, u32 op, struct paint *p,
                  char *text, size_t cap)
{
    size_t used = strlen(text);
    u32 k;

    switch (f->kind) {
    case BITS:
        paint_all(p, op, base, at, (f->bit % 8 + f->width + 7) / 8);
        return;
    case NUMBER:
    case DATA:
        paint_all(p, op, base, at, f->size);
        return;
    case POINTER:
        if (rnd(2) || strlen(text) > 40) {
            paint_all(p, op, base, at, 8);
            return;
        }
        paint_all(p, TN_READ, base, at, 8);
        snprintf(text + used, cap - used, "->");
        walk(w, f->to, f->to, 0, op, p, text, cap);
        return;
    case NESTED:
        if (rnd(3)) {
            snprintf(text + used, cap - used, ".");
            walk(w, f->to, base, at, op, p, text, cap);
            return;
        }
        paint_all(p, op, base, at, f->size);
        return;
    default:
        break;
    }
    k = rnd(f->n);
    switch (rnd(4)) {
    case 0:
        paint_all(p, op, base, at, f->size * f->n);
        return;
    case 1:
        snprintf(text + used, cap - used, "[..]");
        paint_all(p, op, base, at, f->size * f->n);
        return;
    case 2:
        snprintf(text + used, cap - used, "[%u .. %u]", k, f->n);
        paint_all(p, op, base, at + k * f->size, f->size * (f->n - k));
        return;
    default:
        used += (size_t)snprintf(text + used, cap - used, "[%u]", k);
        if (f->kind == RECORDS && rnd(2)) {
            snprintf(text + used, cap - used, ".");
            walk(w, f->to, base, at + k * f->size, op, p, text, cap);
            return;
        }
        paint_all(p, op, base, at + k * f->size, f->size);
    }
}

/* One of a struct's numbers, to count a buffer's elements; MEMBERS: it has none. */
u32 counter(const struct shape *s)
{
    for (u32 k = 0, from = rnd(s->n); k < s->n; k++)
        if (s->f[(from + k) % s->n].kind == NUMBER)
            return (from + k) % s->n;
    return MEMBERS;
}

/* Member m of a struct at `off` of object `base`, as a buffer. */
static bool make_buffer(const struct world *w, u32 s, u32 m, u32 base, u32 off, struct buffer *ret)
{
    const struct field *f = &w->s[s].f[m];
    bool inside = f->kind == ARRAY || f->kind == RECORDS;
    u32 n = counter(&w->s[s]);

    if ((f->kind != DATA && !inside) || base >= STRUCTS || (n == MEMBERS && inside))
        return false;
    *ret = (struct buffer){.base = base,
                           .at = off + f->bit / 8,
                           .each = inside ? f->size : f->each,
                           .first = rnd(3),
                           .inside = inside};
    if (n == MEMBERS || (!inside && !rnd(4))) {
        ret->end = ret->first + 1 + rnd(4);
        return true;
    }
    ret->length_at = off + w->s[s].f[n].bit / 8;
    ret->length_size = w->s[s].f[n].size;
    return true;
}

/* Its range, behind the field's path, and what of the object is read on the way. */
static void say_buffer(const struct world *w, u32 s, u32 off, const struct buffer *b, struct paint *p,
                       char *text, size_t prefix, size_t cap)
{
    size_t used = strlen(text);
    char way[100];

    p->buffer[p->nbuffers++] = *b;
    if (!b->inside)
        paint_all(p, TN_READ, b->base, b->at, 8);
    if (!b->length_size) {
        snprintf(text + used, cap - used, "[%u .. %llu]", b->first, (unsigned long long)b->end);
        return;
    }
    for (u32 n = 0; n < w->s[s].n; n++) {
        const struct field *f = &w->s[s].f[n];

        if (f->kind != NUMBER || off + f->bit / 8 != b->length_at || f->size != b->length_size)
            continue;
        snprintf(way, sizeof(way), "%.*s", (int)prefix, text);
        snprintf(text + used, cap - used, "[%u .. %sf%u]", b->first, way, n);
        break;
    }
    paint_all(p, TN_READ, b->base, b->length_at, b->length_size);
}

/* A random path below a struct at `off` of object `base`. */
static void walk(const struct world *w, u32 s, u32 base, u32 off, u32 op, struct paint *p, char *text,
                 size_t cap)
{
    u32 m = rnd(w->s[s].n);
    size_t used = strlen(text);
    struct buffer b;

    snprintf(text + used, cap - used, "f%u", m);
    if (rnd(3) && used < 80 && p->nbuffers < BUFFERS && make_buffer(w, s, m, base, off, &b)) {
        b.op = op;
        say_buffer(w, s, off, &b, p, text, used, cap);
        return;
    }
    go_on(w, &w->s[s].f[m], base, off + w->s[s].f[m].bit / 8, op, p, text, cap);
}

void make_cap(const struct world *w, struct paint *p, char *text, size_t cap)
{
    static const char *const roots[] = {"a->", "b->"};
    u32 op = rnd(4) == 0, root = rnd(OBJECTS + 2);
    u32 s = root < 2 ? STRUCTS - 1 - root : root - 2;
    char path[200];

    if (s >= STRUCTS) {
        const struct field *f = &w->v[s - STRUCTS];

        snprintf(path, sizeof(path), "g%u", s - STRUCTS);
        p->named[s - STRUCTS] = true;
        go_on(w, f, f->kind == NESTED ? f->to : s, 0, op, p, path, sizeof(path));
        snprintf(text, cap, "%s(%s)", op ? "write" : "read", path);
        return;
    }
    if (root < 2)
        snprintf(path, sizeof(path), "%s", roots[root]);
    else
        snprintf(path, sizeof(path), "s%u->", s);
    if (rnd(12) == 0) {
        path[strlen(path) - 2] = 0;
        paint_all(p, op, s, 0, w->s[s].size);
    } else {
        walk(w, s, s, 0, op, p, path, sizeof(path));
    }
    snprintf(text, cap, "%s(%s)", op ? "write" : "read", path);
}

/* Of whatever buffer is met on a random way down from a struct. */
bool find_buffer(const struct world *w, u32 s, struct buffer *ret)
{
    for (u32 base = s, off = 0;;) {
        u32 m = rnd(w->s[s].n);
        const struct field *f = &w->s[s].f[m];

        if (rnd(2) && make_buffer(w, s, m, base, off, ret))
            return true;
        if (f->kind != NESTED && f->kind != RECORDS)
            return false;
        off += f->bit / 8 + rnd(f->n) * f->size;
        s = f->to;
    }
}

static struct tn_access buffer_access(const struct world *w, const struct buffer *b, u32 var)
{
    return (struct tn_access){.kind = rnd(4) ? TN_ACCESS_READ : TN_ACCESS_WRITE,
                              .btf_id = w->id[b->base],
                              .var = var,
                              .path = "",
                              .offset = b->at,
                              .size = 8,
                              .buffer = true,
                              .inside = b->inside,
                              .element = b->each,
                              .first = b->first,
                              .end = b->end,
                              .length_off = b->length_at,
                              .length_size = b->length_size};
}

/* Several places: of the elements of an array that lies on a random way down, or anywhere. */
static void spread(const struct world *w, u32 s, u32 whole, struct tn_access *a)
{
    u32 at = 0, each = 1 + rnd(64), n = 2 + rnd(4);

    while (s < STRUCTS) {
        const struct field *f = &w->s[s].f[rnd(w->s[s].n)];

        at += f->bit / 8;
        if (f->n > 1 && f->kind == RECORDS && rnd(2)) {
            a->size = TN_MIN(a->size, f->size);
            a->offset = at + rnd(f->size - a->size + 1);
            each = f->size;
            n = 2 + rnd(f->n - 1);
            break;
        }
        if (f->kind != NESTED && f->kind != RECORDS)
            break;
        s = f->to;
    }
    if (each <= a->size || a->offset + (u64)(n - 1) * each + a->size > whole)
        return;
    a->step = each;
    a->places = n;
}

struct tn_access make_access(const struct world *w, u32 *ret_object)
{
    u32 s = rnd(OBJECTS), size = 1u << rnd(4), off, whole, var = 0;
    struct tn_access a;
    struct buffer b;

    whole = s < STRUCTS ? w->s[s].size : w->v[s - STRUCTS].size * w->v[s - STRUCTS].n;
    if (s >= STRUCTS && w->v[s - STRUCTS].kind == NESTED) {
        var = w->id[s];
        s = w->v[s - STRUCTS].to;
        if (rnd(8) == 0) { /* its address alone */
            *ret_object = OBJECTS;
            return (struct tn_access){.btf_id = var, .path = ""};
        }
    }
    if (s < STRUCTS && rnd(3) == 0 && find_buffer(w, s, &b)) {
        *ret_object = s;
        return buffer_access(w, &b, var);
    }
    size = TN_MIN(size, whole);
    off = rnd(whole - size + 1);
    if (rnd(4))
        off -= off % size;
    *ret_object = s;
    a = (struct tn_access){.kind = rnd(4) ? TN_ACCESS_READ : TN_ACCESS_WRITE,
                           .btf_id = w->id[s],
                           .var = var,
                           .path = "",
                           .offset = off,
                           .size = size};
    if (!rnd(3))
        spread(w, s, whole, &a);
    return a;
}

/* One that is granted, or nearly: another first element, another length of the same struct. */
struct tn_access near_granted(const struct world *w, const struct paint *p, u32 *ret_object)
{
    struct buffer b = p->buffer[rnd(p->nbuffers)], other;

    *ret_object = b.base;
    if (rnd(3) == 0)
        b.first = rnd(4);
    if (rnd(3) == 0 && find_buffer(w, b.base, &other)) {
        b.length_at = other.length_at;
        b.length_size = other.length_size;
        b.end = other.end;
    }
    if (b.inside && !b.length_size)
        b = other;
    b.end = b.length_size ? 0 : TN_MAX(b.end, b.first + 1ull);
    return buffer_access(w, &b, 0);
}

bool has_buffer(const struct paint *p, u32 s, const struct tn_access *a)
{
    for (u32 k = 0; k < p->nbuffers; k++) {
        const struct buffer *b = &p->buffer[k];
        bool counted = b->length_size ? a->length_size == b->length_size && a->length_off == b->length_at
                                      : !a->length_size && a->end <= b->end;

        if (b->base == s && b->at == a->offset && b->inside == a->inside && b->each == a->element &&
            counted && b->op == (a->kind == TN_ACCESS_WRITE) && b->first <= a->first)
            return true;
    }
    return false;
}

bool painted(const struct world *w, const struct paint *p, u32 s, const struct tn_access *a)
{
    for (u32 k = 0; k < VARS; k++)
        if (w->id[STRUCTS + k] == (s == OBJECTS ? a->btf_id : a->var) && !p->named[k])
            return false;
    if (a->buffer)
        return has_buffer(p, s, a);
    for (u32 k = 0; k < a->size * TN_MAX(a->places, 1u); k++)
        if (!p->on[a->kind == TN_ACCESS_WRITE][s][a->offset + k / a->size * a->step + k % a->size])
            return false;
    return true;
}

/* -------------------------------------------------------------------------------------------------- classes */

struct tn_class *compile(const struct tn_bound *b, struct tn_bag *bag, const char (*texts)[256], u32 n)
{
    struct tn_cap *caps = tn_bag_alloc(bag, sizeof(*caps) * (n + 1));
    struct tn_eim_at at = {"test", 1, 1};
    struct tn_class *c = NULL;
    struct tn_error err = {0};

    for (u32 k = 0; k < n; k++)
        if (tn_eim_one_cap(bag, "test", texts[k], &caps[k], &err))
            fail_msg("%s", err.message);
    if (tn_class_make(b, bag, "c", "e", &at, TN_GEN_NONE, caps, n, &c, &err))
        fail_msg("%s", err.message);
    return c;
}
