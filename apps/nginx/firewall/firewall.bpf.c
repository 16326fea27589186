/* SPDX-License-Identifier: MIT */
/*
 * A filter inside of nginx. Before a request's content is looked for, and after nginx's own access rules,
 *
 *      r->uri            as nginx decoded and normalised it  ─┐
 *      r->args           decoded here (%27, +)               ─┼─▶ scan: any rule's text in it?
 *      User-Agent        where a rule asks for it            ─┘        │
 *                                                                      ├─ no:  nginx goes on
 *      hits[rule]++, nginx finalises the request with 403   ◀──────────┘ yes
 *
 * The rules are one value of a hash map, which an update replaces as a whole: the next request meets all the
 * new ones or all the old ones. They are compiled outside (`rules` beside this file): a table a field says of
 * each pair of bytes how far away the next place is where a rule can begin if the pair stands where the shortest
 * rule would end (Wu and Manber's search), so that most bytes are not looked at.
 *
 * Letters are compared without regard to case. Of each field the first WINDOW bytes are looked at; a request
 * with more is counted in `long_fields`, and refused if the rules say so.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <tenon/extension.h>

#define NGX_HTTP_FORBIDDEN 403
#define NGX_OK             0
#define RULES              32
#define WINDOW             512
#define FOLD               0x2020202020202020ull
#define PAIRS              4096

/* ------------------------------------------------------------------------- nginx, as far as it is needed */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
typedef struct {
    unsigned long len;
    unsigned char *data;
} ngx_str_t;
typedef struct {
    ngx_str_t value;
} ngx_table_elt_t;
typedef struct {
    ngx_table_elt_t *user_agent;
} ngx_http_headers_in_t;
struct ngx_http_request_s {
    ngx_http_headers_in_t headers_in;
    ngx_str_t uri, args;
};
#pragma clang attribute pop

extern void ngx_http_finalize_request(struct ngx_http_request_s *r, long rc) __ksym;

/* ------------------------------------------------------------------------------------------------- rules */

enum field { URI, ARGS, AGENT, FIELDS = 4 };

struct rule {
    __u64 text[2], mask[2]; /* folded; a rule has at most 16 bytes */
    __u32 length, unused;
};
struct rules {
    __u32 starts[FIELDS][256]; /* by byte: bit k, rule k may begin with it */
    __u32 second[FIELDS][256]; /* … and have it as their second, or have none */
    __u8 skip[FIELDS][PAIRS];  /* by pair: so many places further; 0: a rule may begin here */
    __u32 prefix[FIELDS];      /* of the rules, those that stand at the beginning or not at all */
    __u32 used[FIELDS];
    __u32 least[FIELDS]; /* bytes of the shortest one of the others; 0: there is none */
    __u32 refuse_long, unused;
    struct rule rule[RULES];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct rules);
} rules SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, RULES);
    __type(key, __u32);
    __type(value, __u64);
} hits SEC(".maps");

enum { REQUESTS, BLOCKED, LONG_FIELDS, UNREADABLE, COUNTERS };
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, COUNTERS);
    __type(key, __u32);
    __type(value, __u64);
} counters SEC(".maps");

/* Room for a field, and for a look past its end. */
struct room {
    __u8 text[WINDOW + 16];
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct room);
} rooms SEC(".maps");

static __always_inline void count(void *map, __u32 k)
{
    __u64 *n = bpf_map_lookup_elem(map, &k);

    if (n)
        *n += 1;
}

/* ------------------------------------------------------------------------------------------------ looking */

/* These are global functions, each verified once for all its calls. */

/* The lowest bit that is set, by the remainders of powers of two (a de Bruijn sequence: every five bits of it once). */
static const volatile __u8 lowest[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                         31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};

/* Which rule of `set` has the sixteen bytes; its number + 1. */
__noinline __u32 match(struct rules *t, __u64 first, __u64 second, __u32 left, __u32 set)
{
    if (!t)
        return 0;
    for (__u32 i = 0; i < RULES && set; i++) {
        __u32 k = lowest[(set & -set) * 0x077cb531u >> 27] & (RULES - 1);
        struct rule *u;

        barrier_var(k);
        u = &t->rule[k];
        if (u->length <= left && (first & u->mask[0]) == u->text[0] && (second & u->mask[1]) == u->text[1])
            return k + 1;
        set &= set - 1;
    }
    return 0;
}

/* The rule that begins at `p`, as match says. */
__noinline __u32 try(struct rules *t, struct room *room, __u32 p, __u32 n, __u32 field)
{
    const __u64 *at;
    __u32 set;

    if (!t || !room || p >= WINDOW || p >= n)
        return 0;
    field &= 3; /* in sight of the verifier, wherever the compiler would compute with it */
    barrier_var(field);
    set = t->starts[field][room->text[p]] & t->second[field][room->text[p + 1]];
    if (p)
        set &= ~t->prefix[field];
    if (!set)
        return 0;
    at = (const __u64 *)&room->text[p];
    barrier_var(at); /* it is not aligned, and need not be */
    return match(t, at[0] | FOLD, at[1] | FOLD, n - p, set);
}

/* Where a pair stands in `skip`: the multiplication's upper bits. */
static __always_inline __u32 hashed(__u16 pair)
{
    return (pair | 0x2020u) * 0x9e3779b1u >> 20;
}

__noinline __u32 scan(struct rules *t, struct room *room, __u32 n, __u32 field)
{
    const __u8 *skip, *at;
    __u32 least, end, found;

    if (!t || !room || !n)
        return 0;
    field &= 3;
    barrier_var(field);
    if (t->prefix[field] & t->starts[field][room->text[0]] & t->second[field][room->text[1]]) {
        found = try(t, room, 0, n, field);
        if (found)
            return found;
    }
    least = t->least[field];
    if (!least || least > 16)
        return 0;
    skip = t->skip[field];
    barrier_var(skip);
    at = room->text + (least < 2 ? 0 : least - 2); /* the pair at which the shortest would end */
    end = n - least;
    if (end >= WINDOW)
        return 0;
    for (__u32 p = 0; p <= end;) {
        const __u16 *pair = (const __u16 *)(at + p);
        __u32 further;

        barrier_var(pair);
        further = skip[hashed(*pair)];
        if (!further) {
            found = try(t, room, p, n, field);
            if (found)
                return found;
            further = 1;
        }
        p += further;
    }
    return 0;
}

/* What a hexadecimal digit counts, plus one; 0: it is none. */
static const __u8 digit[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* 1 where the number is 0 (below 2^63), without a branch that compilers would see. */
static __always_inline __u64 is_zero(__u64 n)
{
    __u64 yes = (n - 1) >> 63;

    barrier_var(yes);
    return yes;
}

/* "%2e" and "+" as what they stand for, in place. There is no branch in it but the
   loop's: one path for the verifier, whatever the text. */
__noinline __u32 decode(struct room *room, __u64 n)
{
    __u64 out = 0, skip = 0;

    if (!room || n > WINDOW)
        return 0;
    room->text[n] = room->text[n + 1] = 0;
    for (__u32 p = 0; p < WINDOW; p++) {
        __u64 c, high, low, coded, taken;

        if (p >= n)
            break;
        c = room->text[p];
        high = digit[room->text[p + 1]];
        low = digit[room->text[p + 2]];
        coded = is_zero(c ^ '%') & ~is_zero(high) & ~is_zero(low);
        c -= ('+' - ' ') * is_zero(c ^ '+');
        c ^= (c ^ ((high - 1) << 4 | (low - 1))) & -coded;
        taken = is_zero(skip);
        out &= WINDOW - 1;
        room->text[out] = c;
        out += taken;
        skip += 2 * (taken & coded) - (1 - taken);
        skip &= 3;
    }
    return out;
}

/* Bytes of a field; what is too long or not there is counted. */
static __always_inline __u32 taken(long got, unsigned long len)
{
    if (got < 0) {
        count(&counters, UNREADABLE);
        return 0;
    }
    if (len > WINDOW)
        count(&counters, LONG_FIELDS);
    return got > WINDOW ? WINDOW : got;
}

#define ONES  0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* One of the bytes may be it: never no where it is. */
static __always_inline __u64 has(__u64 word, __u8 byte)
{
    word ^= byte * ONES;
    return (word - ONES) & ~word & HIGHS;
}

/* Is there anything to decode? Up to seven bytes too many are looked at. */
__noinline __u32 is_coded(struct room *room, __u64 n)
{
    __u64 found = 0;

    if (!room)
        return 0;
    for (__u32 p = 0; p < WINDOW && p < n; p += 8) {
        const __u64 *word = (const __u64 *)&room->text[p];

        barrier_var(word);
        found |= has(*word, '%') | has(*word, '+');
    }
    return found != 0;
}

static __always_inline __u32 look(struct rules *t, struct room *room, struct ngx_http_request_s *r,
                                  bool *too_long)
{
    ngx_table_elt_t *agent;
    __u32 n, found = 0;

    *too_long = r->uri.len > WINDOW || r->args.len > WINDOW;
    if (t->used[URI]) {
        n = taken(tenon_read_buffer(room->text, WINDOW, r, uri.data, uri.len), r->uri.len);
        found = scan(t, room, n, URI);
    }
    if (!found && t->used[ARGS] && r->args.len) {
        n = taken(tenon_read_buffer(room->text, WINDOW, r, args.data, args.len), r->args.len);
        if (is_coded(room, n))
            n = decode(room, n);
        found = scan(t, room, n, ARGS);
    }
    if (found || !t->used[AGENT])
        return found;
    agent = r->headers_in.user_agent;
    if (!agent)
        return 0;
    n = taken(tenon_read_buffer(room->text, WINDOW, agent, value.data, value.len), agent->value.len);
    return scan(t, room, n, AGENT);
}

__attribute__((btf_decl_tag("eim:class=firewall")))
SEC("fmod_ret/ngx_http_core_post_access_phase") int BPF_PROG(firewall, struct ngx_http_request_s *r)
{
    __u32 zero = 0, found;
    struct rules *t = bpf_map_lookup_elem(&rules, &zero);
    struct room *room = bpf_map_lookup_elem(&rooms, &zero);
    bool too_long;

    count(&counters, REQUESTS);
    if (!t || !room)
        return 0;
    found = look(t, room, r, &too_long);
    if (found)
        count(&hits, found - 1);
    else if (!too_long || !t->refuse_long)
        return 0;
    count(&counters, BLOCKED);
    ngx_http_finalize_request(r, NGX_HTTP_FORBIDDEN);
    tenon_replace(ctx, NGX_OK);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
