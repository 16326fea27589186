/* SPDX-License-Identifier: MIT */
/*
 * A reader (`struct cursor`) that cannot leave its bytes: after the first read beyond the end it returns
 * zeros and `bad` is set. Records are walked by their lengths. Of call frame instructions those before the first
 * advance tell whether something can be called, and all of them, for one address, where its return address is.
 */
#include "rewrite/unwind.h"

#include <errno.h>

#define FUNCS_MAX (1u << 22)

/* Pointer encodings (DW_EH_PE_*). */
enum {
    PE_ABSPTR = 0,
    PE_UDATA2 = 2,
    PE_UDATA4 = 3,
    PE_UDATA8 = 4,
    PE_SDATA2 = 10,
    PE_SDATA4 = 11,
    PE_SDATA8 = 12
};
enum { PE_PCREL = 0x10, PE_DATAREL = 0x30, PE_INDIRECT = 0x80, PE_OMIT = 0xff };

struct cursor {
    const u8 *bytes;
    u64 len, pos, addr;
    bool bad;
};

static u64 take(struct cursor *c, u32 size)
{
    u64 v = 0;

    if (c->bad || c->len - c->pos < size) {
        c->bad = true;
        return 0;
    }
    memcpy(&v, c->bytes + c->pos, size);
    c->pos += size;
    return v;
}

static u64 uleb(struct cursor *c)
{
    u64 v = 0;

    for (u32 shift = 0; shift < 64; shift += 7) {
        u8 b = (u8)take(c, 1);

        v |= (u64)(b & 0x7f) << shift;
        if (!(b & 0x80) || c->bad)
            return v;
    }
    c->bad = true;
    return 0;
}

static u64 encoded(struct cursor *c, u8 enc, u64 data)
{
    u64 here = c->addr + c->pos, v;

    switch (enc & 15) {
    case PE_ABSPTR:
    case PE_UDATA8:
    case PE_SDATA8:
        v = take(c, 8);
        break;
    case PE_UDATA4:
        v = take(c, 4);
        break;
    case PE_SDATA4:
        v = (u64)(s64)(s32)take(c, 4);
        break;
    case PE_UDATA2:
        v = take(c, 2);
        break;
    case PE_SDATA2:
        v = (u64)(s64)(s16)take(c, 2);
        break;
    default:
        c->bad = true;
        return 0;
    }
    switch (enc & 0x70) {
    case 0:
        return v;
    case PE_PCREL:
        return v + here;
    case PE_DATAREL:
        return v + data;
    default:
        c->bad = true;
        return 0;
    }
}

/* Do the instructions before the first advance leave anything but CFA = rsp + 8
   with the return address saved? */
static bool changes_entry(struct cursor c)
{
    enum { RSP = 7, RIP = 16 };

    while (c.pos < c.len && !c.bad) {
        u8 op = (u8)take(&c, 1);

        switch (op >> 6) {
        case 1: /* advance_loc */
            return false;
        case 2: /* offset(register) */
            uleb(&c);
            if ((op & 63) != RIP)
                return true;
            continue;
        case 3: /* restore(register) */
            continue;
        }
        switch (op) {
        case 0:    /* nop */
        case 0x0a: /* remember_state */
        case 0x0b: /* restore_state */
            break;
        case 0x01: /* set_loc */
        case 0x02: /* advance_loc1, 2, 4 */
        case 0x03:
        case 0x04:
            return false;
        case 0x07: /* undefined */
            uleb(&c);
            break;
        case 0x0c: /* def_cfa */ {
            u64 reg = uleb(&c), off = uleb(&c);

            if (reg != RSP || off != 8)
                return true;
            break;
        }
        case 0x0e: /* def_cfa_offset */
            if (uleb(&c) != 8)
                return true;
            break;
        case 0x2e: /* GNU_args_size */
            uleb(&c);
            break;
        default: /* a rule we need not understand: not that of a fresh call */
            return true;
        }
    }
    return false;
}

struct cie {
    u8 enc;
    bool ok, signal, catches; /* catches: a personality is named */
    u64 align;                /* of code addresses */
    u64 from, end;            /* its instructions, in the section */
};

static struct cie read_cie(const struct cursor *section, u64 at)
{
    struct cie r = {.enc = PE_ABSPTR};
    struct cursor c = *section;
    u64 len;
    u8 version;
    char aug[8] = "";

    if (at >= section->len)
        return r;
    c.pos = at;
    c.bad = false;
    len = take(&c, 4);
    if (c.bad || len < 8 || len >= 0xfffffff0u || len > c.len - c.pos)
        return r;
    c.len = c.pos + len;
    if (take(&c, 4) != 0)
        return r;
    version = (u8)take(&c, 1);
    for (u32 i = 0; i < sizeof(aug); i++) {
        aug[i] = (char)take(&c, 1);
        if (!aug[i])
            break;
    }
    if (c.bad || (version != 1 && version != 3) || aug[sizeof(aug) - 1])
        return r;
    r.align = uleb(&c);
    uleb(&c); /* data alignment: signed, but only its length matters */
    if (version == 1)
        take(&c, 1);
    else
        uleb(&c);
    r.end = c.len;
    if (aug[0] == 'z') {
        u64 size = uleb(&c);

        r.from = c.pos + TN_MIN(size, c.len - c.pos);
        for (u32 i = 1; aug[i]; i++) {
            if (aug[i] == 'R') {
                r.enc = (u8)take(&c, 1);
            } else if (aug[i] == 'P') {
                u8 enc = (u8)take(&c, 1);

                encoded(&c, enc & 0x7f, 0);
                r.catches = true;
            } else if (aug[i] == 'L') {
                take(&c, 1);
            } else if (aug[i] == 'S') {
                r.signal = true;
            }
        }
    } else if (aug[0]) {
        return r;
    } else {
        r.from = c.pos;
    }
    r.ok = !c.bad && r.enc != PE_OMIT && !(r.enc & PE_INDIRECT);
    return r;
}

bool tn_unwind_catches(const struct tn_bytes *frames)
{
    struct cursor c = {.bytes = frames->bytes, .len = frames->len, .addr = frames->addr};

    while (c.len - c.pos >= 4) {
        u64 at = c.pos, size = take(&c, 4);
        struct cursor rec = c;

        if (!size)
            continue;
        if (size > c.len - c.pos)
            return true;
        c.pos += size;
        if (take(&rec, 4) == 0) {
            struct cie cie = read_cie(
                &(struct cursor){.bytes = frames->bytes, .len = frames->len, .addr = frames->addr}, at);

            if (!cie.ok || cie.catches)
                return true;
        }
    }
    return false;
}

int tn_funcs_add(struct tn_funcs *f, struct tn_func func)
{
    if (f->n == f->cap) {
        u32 cap = f->cap ? f->cap * 2 : 256;
        struct tn_func *p;

        if (cap > FUNCS_MAX)
            return -ENOMEM;
        p = reallocarray(f->at, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        f->at = p;
        f->cap = cap;
    }
    f->at[f->n++] = func;
    return 0;
}

/* The head of the record at c->pos, which ends at c->len: its place and size; c is left at its instructions. */
static bool read_fde(struct cursor *c, const struct cie *cie, u64 *ret_begin, u64 *ret_range)
{
    u64 begin = encoded(c, cie->enc, 0), range = encoded(c, cie->enc & 15, 0), size;

    if (c->bad || !range || range > UINT64_MAX - begin)
        return false;
    size = uleb(c); /* augmentation data */
    if (c->bad || size > c->len - c->pos)
        return false;
    c->pos += size;
    *ret_begin = begin;
    *ret_range = range;
    return true;
}

int tn_unwind_functions(const u8 *bytes, u64 len, u64 addr, struct tn_funcs *funcs)
{
    struct cursor c = {.bytes = bytes, .len = len, .addr = addr};
    struct cie cie = {0};
    u64 cie_at = UINT64_MAX;

    while (c.len - c.pos >= 4) {
        struct cursor rec = c;
        u64 at = c.pos, size = take(&rec, 4), id_at = rec.pos, id, begin, range;

        if (!size) /* terminator; sections joined by a linker may go on behind it */
            c.pos += 4;
        if (!size)
            continue;
        if (size >= 0xfffffff0u || size > c.len - rec.pos)
            break;
        c.pos = rec.pos + size;
        rec.len = c.pos;
        id = take(&rec, 4);
        if (!id || rec.bad || id > id_at)
            continue;
        if (id_at - id != cie_at) {
            cie_at = id_at - id;
            cie = read_cie(&(struct cursor){.bytes = bytes, .len = len, .addr = addr}, cie_at);
        }
        if (!cie.ok || cie.signal || !read_fde(&rec, &cie, &begin, &range))
            continue;
        if (tn_funcs_add(funcs, (struct tn_func){.addr = begin,
                                                 .size = range,
                                                 .part = changes_entry(rec),
                                                 .frame = at < UINT32_MAX ? (u32)at + 1 : 0}) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* How the frame's address is found, as far as it is followed: from which register, how far above it. */
struct cfa {
    u64 reg, off;
};
#define REMEMBERED 8u /* states that are kept at once; compilers keep one */

/*
 * Runs the rules from `c` on for `addr`, beginning at *at. False: past that address, or not understood. Only what
 * moves the frame's address is followed.
 */
static bool run_rules(struct cursor c, u64 align, u64 addr, u64 *at, struct cfa *cfa)
{
    struct cfa kept[REMEMBERED];
    u32 nkept = 0;

    while (c.pos < c.len && !c.bad) {
        u8 op = (u8)take(&c, 1);
        u64 by = 0;

        switch (op >> 6) {
        case 1: /* advance_loc */
            by = op & 63;
            break;
        case 2: /* offset(register) */
            uleb(&c);
            continue;
        case 3: /* restore(register) */
            continue;
        default:
            switch (op) {
            case 0x02: /* advance_loc1, 2, 4 */
            case 0x03:
            case 0x04:
                by = take(&c, 1u << (op - 2));
                break;
            case 0x05: /* offset_extended, register, val_offset */
            case 0x09:
            case 0x11: /* offset_extended_sf, val_offset */
            case 0x14:
            case 0x15:
                uleb(&c);
                uleb(&c);
                continue;
            case 0x06: /* restore_extended, undefined, same_value, GNU_args_size */
            case 0x07:
            case 0x08:
            case 0x2e:
                uleb(&c);
                continue;
            case 0x00: /* nop */
                continue;
            case 0x0a: /* remember_state */
                if (nkept == REMEMBERED)
                    return false;
                kept[nkept++] = *cfa;
                continue;
            case 0x0b: /* restore_state */
                if (!nkept)
                    return false;
                *cfa = kept[--nkept];
                continue;
            case 0x0c: /* def_cfa */
                cfa->reg = uleb(&c);
                cfa->off = uleb(&c);
                continue;
            case 0x0d: /* def_cfa_register */
                cfa->reg = uleb(&c);
                continue;
            case 0x0e: /* def_cfa_offset */
                cfa->off = uleb(&c);
                continue;
            case 0x0f: { /* def_cfa_expression */
                u64 size = uleb(&c);

                cfa->reg = UINT64_MAX;
                if (size > c.len - c.pos)
                    return false;
                c.pos += size;
                continue;
            }
            case 0x10: /* expression, val_expression: of a register */
            case 0x16: {
                u64 size;

                uleb(&c);
                size = uleb(&c);
                if (size > c.len - c.pos)
                    return false;
                c.pos += size;
                continue;
            }
            default:
                return false;
            }
        }
        if (by > (addr - *at) / align)
            return !c.bad;
        *at += by * align;
    }
    return !c.bad;
}

bool tn_unwind_bare(const struct tn_bytes *frames, u32 frame, u64 addr)
{
    enum { RSP = 7 };
    const struct cursor section = {.bytes = frames->bytes, .len = frames->len, .addr = frames->addr};
    struct cursor rec = section, init = section;
    u64 size, id_at, id, begin, range, at = addr;
    struct cfa cfa = {UINT64_MAX, 0};
    struct cie cie;

    if (!frame || frame > section.len)
        return false;
    rec.pos = frame - 1;
    size = take(&rec, 4);
    id_at = rec.pos;
    if (rec.bad || size >= 0xfffffff0u || size > rec.len - rec.pos)
        return false;
    rec.len = rec.pos + size;
    id = take(&rec, 4);
    if (!id || rec.bad || id > id_at)
        return false;
    cie = read_cie(&section, id_at - id);
    if (!cie.ok || cie.signal || !cie.align || !read_fde(&rec, &cie, &begin, &range) || addr < begin ||
        addr - begin >= range)
        return false;
    init.pos = cie.from;
    init.len = cie.end;
    if (!run_rules(init, cie.align, addr, &at, &cfa))
        return false;
    at = begin;
    return run_rules(rec, cie.align, addr, &at, &cfa) && cfa.reg == RSP && cfa.off == 8;
}

int tn_unwind_header(const u8 *bytes, u64 len, u64 addr, u64 *ret_eh_frame)
{
    struct cursor c = {.bytes = bytes, .len = len, .addr = addr};
    u8 version = (u8)take(&c, 1), enc = (u8)take(&c, 1);
    u64 v;

    take(&c, 2);
    if (c.bad || version != 1 || enc == PE_OMIT || (enc & PE_INDIRECT))
        return -ENOEXEC;
    v = encoded(&c, enc, addr);
    if (c.bad)
        return -ENOEXEC;
    *ret_eh_frame = v;
    return 0;
}
