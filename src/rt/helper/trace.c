/* SPDX-License-Identifier: MIT */
/*
 * bpf_trace_printk: the conversions Linux's takes (%d %i %u %x %X %o %c %p %s, with l and ll, width, and the
 * flags 0 - + space #; %%), three arguments at most, everything else −EINVAL. A line is one struct
 * tn_trace_record in the ring that tn_proc.trace_ring names, formatted in place so that no stack of the
 * host's is needed. %p prints the address itself: nobody is kept from the layout of his own process. Without
 * a ring, or when it is full, the answer is negative and the program goes on.
 *
 * The format may lie in shared memory: each of its bytes is read once per pass and only ever treated as a
 * byte.
 */
#include <asm/errno.h>
#include <time.h>

#include "rt/barrier.h"
#include "rt/clock.h"
#include "rt/helper/helpers.h"
#include "rt/map/map.h"
#include "rt/mem.h"
#include "rt/probe.h"
#include "rt/self.h"

#define MAX_ARGS 3u

struct spec {
    bool left, zero, plus, space, alt;
    u8 width, longs;
    char conv;
};

struct out {
    char *text;
    u32 len, cap; /* cap: without the final NUL */
};

static void put(struct out *o, char c)
{
    if (o->len < o->cap)
        o->text[o->len++] = c;
}

/* Parses what follows a '%' at *pos; 0, or −EINVAL. */
static int parse_spec(const char *fmt, u64 size, u64 *pos, struct spec *ret_spec)
{
    struct spec s = {0};
    u64 i = *pos;
    char c;

    for (;; i++) {
        if (i >= size)
            return -EINVAL;
        c = tn_load(&fmt[i]);
        if (c == '-')
            s.left = true;
        else if (c == '0')
            s.zero = true;
        else if (c == '+')
            s.plus = true;
        else if (c == ' ')
            s.space = true;
        else if (c == '#')
            s.alt = true;
        else
            break;
    }
    for (; i < size && (c = tn_load(&fmt[i])) >= '0' && c <= '9'; i++) {
        if (s.width > 12)
            return -EINVAL;
        s.width = (u8)(s.width * 10 + (c - '0'));
    }
    for (; i < size && (c = tn_load(&fmt[i])) == 'l'; i++)
        if (++s.longs > 2)
            return -EINVAL;
    if (i >= size)
        return -EINVAL;
    s.conv = tn_load(&fmt[i++]);
    switch (s.conv) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        break;
    case 'p':
    case 's':
    case 'c':
        if (s.longs)
            return -EINVAL;
        if (s.conv != 'c' && i + 2 < size && tn_load(&fmt[i]) != 0) {
            char space =
                tn_load(&fmt[i]); /* %pk… and %pu… are the kernel's and the user's; here both are the same */

            if (s.conv == 'p' && (space == 'k' || space == 'u') && tn_load(&fmt[i + 1]) == 's') {
                s.conv = 's';
                i += 2;
            }
        }
        break;
    default:
        return -EINVAL;
    }
    *pos = i;
    *ret_spec = s;
    return 0;
}

static void put_padded(struct out *o, const struct spec *s, const char *prefix, const char *digits, u32 n)
{
    u32 np = 0, pad;

    while (prefix[np])
        np++;
    pad = s->width > n + np ? s->width - n - np : 0;
    if (!s->left && !s->zero)
        for (; pad; pad--)
            put(o, ' ');
    for (u32 i = 0; i < np; i++)
        put(o, prefix[i]);
    if (!s->left)
        for (; pad; pad--)
            put(o, '0');
    for (u32 i = 0; i < n; i++)
        put(o, digits[i]);
    for (; pad; pad--)
        put(o, ' ');
}

static void put_number(struct out *o, const struct spec *s, u64 v)
{
    u32 base = s->conv == 'o' ? 8 : s->conv == 'x' || s->conv == 'X' || s->conv == 'p' ? 16 : 10;
    char digits[24], letter = s->conv == 'X' ? 'A' : 'a', prefix[3] = {0};
    bool is_signed = s->conv == 'd' || s->conv == 'i';
    u32 n = sizeof(digits);

    if (!s->longs && s->conv != 'p')
        v = is_signed ? (u64)(s64)(s32)v : (u32)v;
    if (is_signed && (s64)v < 0) {
        prefix[0] = '-';
        v = -v;
    } else if (is_signed && (s->plus || s->space))
        prefix[0] = s->plus ? '+' : ' ';
    else if (s->alt && base != 10) {
        prefix[0] = '0';
        if (base == 16)
            prefix[1] = s->conv == 'X' ? 'X' : 'x';
    }
    do {
        u32 d = (u32)(v % base);

        digits[--n] = (char)(d < 10 ? '0' + d : letter + d - 10);
        v /= base;
    } while (v);
    while (s->conv == 'p' && n > sizeof(digits) - 16)
        digits[--n] = '0';
    put_padded(o, s, prefix, digits + n, (u32)sizeof(digits) - n);
}

/* Straight into the record: the string is read where it will stand. */
static void put_string(struct out *o, const struct spec *s, u64 addr, const struct tn_run *run)
{
    s64 n = tn_probe_read_str(o->text + o->len, o->cap - o->len + 1, addr, run);
    u32 len, pad;

    len = n > 0 ? (u32)n - 1 : 0;
    pad = s->width > len ? TN_MIN(s->width - len, o->cap - o->len - len) : 0;
    if (!s->left && pad) {
        memmove(o->text + o->len + pad, o->text + o->len, len);
        memset(o->text + o->len, ' ', pad);
    } else if (pad)
        memset(o->text + o->len + len, ' ', pad);
    o->len += len + pad;
}

/* The same walk for checking and for printing: `o` NULL only checks. Number of arguments used, or −EINVAL. */
static int format(struct out *o, const char *fmt, u64 size, const u64 *arg, const struct tn_run *run)
{
    u32 used = 0;

    for (u64 i = 0; i < size;) {
        char c = tn_load(&fmt[i++]);
        struct spec s;
        int r;

        if (!c)
            break;
        if (c & 0x80)
            return -EINVAL;
        if (c != '%' || (i < size && tn_load(&fmt[i]) == '%')) {
            i += c == '%';
            if (o)
                put(o, c);
            continue;
        }
        r = parse_spec(fmt, size, &i, &s);
        if (r < 0)
            return r;
        if (used == MAX_ARGS)
            return -EINVAL;
        if (o && s.conv == 's')
            put_string(o, &s, arg[used], run);
        else if (o && s.conv == 'c')
            put_padded(o, &s, "", (const char *)&arg[used], 1);
        else if (o)
            put_number(o, &s, arg[used]);
        used++;
    }
    return (int)used;
}

u64 tn_helper_trace_printk(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    const struct tn_map *ring = run->proc ? (const struct tn_map *)run->proc->trace_ring : NULL;
    const u64 arg[MAX_ARGS] = {r3, r4, r5};
    const char *fmt = (const char *)r1;
    struct tn_trace_record *rec;
    struct out o;
    int r;

    if (!r2 || tn_load(&fmt[r2 - 1]))
        return (u64)-EINVAL;
    r = format(NULL, fmt, r2, arg, run);
    if (r < 0)
        return (u64)(s64)r;
    if (!ring)
        return (u64)-ENOSYS;
    rec = tn_ringbuf_reserve(ring, sizeof(*rec), run);
    if (!rec)
        return (u64)-EBUSY;

    rec->ns = tn_clock_ns(CLOCK_MONOTONIC, run->proc);
    rec->pid = tn_self_pid(run->proc);
    rec->tid = tn_self_tid(run->proc);
    o = (struct out){rec->text, 0, sizeof(rec->text) - 1};
    format(&o, fmt, r2, arg, run);
    rec->text[o.len] = 0;
    tn_ringbuf_commit(rec, 0, false, run);
    return o.len;
}
