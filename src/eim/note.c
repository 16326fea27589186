/* SPDX-License-Identifier: MIT */
/* See note.h. One function turns a range of the file into a pointer; everything else goes through it. */
#include "eim/note.h"

#include <elf.h>
#include <errno.h>

#define REASON "eim_note"

struct file {
    const u8 *bytes;
    u64 size;
    u64 left; /* bytes of notes that may still be looked at: tables that name the same bytes again
                 are no work */
    struct tn_error *err;
};

/* [off, off + len), or NULL where that is not all in the file. */
static const u8 *at(const struct file *f, u64 off, u64 len)
{
    return off <= f->size && len <= f->size - off ? f->bytes + off : NULL;
}

/* ---------------------------------------------------------------------------------------------- one note */

/* The next string of [*p, end): NULL where none ends before `end`. */
static const char *next_string(const char **p, const char *end)
{
    const char *s = *p, *nul = s < end ? memchr(s, 0, (size_t)(end - s)) : NULL;

    if (!nul)
        return NULL;
    *p = nul + 1;
    return s;
}

/* What a message shows of a string of a stranger's. */
static bool is_text(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    return true;
}

static const char *take(struct tn_notes *n, const char **p, const char *end)
{
    const char *s = next_string(p, end);

    return s && is_text(s) ? tn_bag_dup(&n->bag, s, strlen(s)) : NULL;
}

static bool same(const struct tn_note *a, const struct tn_note *b)
{
    if (a->kind != b->kind || a->write != b->write || a->nconstraints != b->nconstraints ||
        strcmp(a->name, b->name) != 0 || strcmp(a->what, b->what) != 0)
        return false;
    for (u32 k = 0; k < a->nconstraints; k++)
        if (strcmp(a->constraints[k], b->constraints[k]) != 0)
            return false;
    return true;
}

static int bad(const struct file *f, u64 off, const char *what)
{
    return tn_fail(f->err, -EINVAL, REASON,
                   "the note at offset %#llx of .note.eim is damaged: %s; was the file made with the "
                   "tenon/eim.h of this version?",
                   (unsigned long long)off, what);
}

static int read_desc(const struct file *f, struct tn_notes *n, u32 kind, const u8 *desc, u32 len, u64 off)
{
    const char *p = (const char *)desc, *end = p + len, *op = NULL;
    struct tn_note note = {.kind = kind};

    if (kind < TN_NOTE_ENTRY || kind > TN_NOTE_FUNCTION)
        return bad(f, off, "no annotation has that type");
    note.where = take(n, &p, end);
    note.name = take(n, &p, end);
    if (kind == TN_NOTE_STATE)
        op = take(n, &p, end);
    note.what = take(n, &p, end);
    if (!note.where || !note.name || !note.what || !*note.name || !*note.what)
        return bad(f, off, "a string is missing, empty or holds control characters");
    if (op && strcmp(op, "READ") != 0 && strcmp(op, "WRITE") != 0)
        return tn_fail(f->err, -EINVAL, REASON, "%.200s: EIM_STATE(%.64s, %.64s, …): expected READ or WRITE",
                       note.where, note.name, op);
    if (kind == TN_NOTE_STATE && !op)
        return bad(f, off, "a string is missing");
    note.write = op && *op == 'W';
    for (;;) {
        const char *s = take(n, &p, end), **slot;

        if (!s)
            return bad(f, off, "the list of strings has no end");
        if (!*s)
            break;
        if (kind == TN_NOTE_STATE)
            return bad(f, off, "a string too many");
        slot = TN_BAG_PUSH(&n->bag, note.constraints, note.nconstraints);
        if (!slot)
            return -ENOMEM;
        *slot = s;
    }
    for (u32 k = 0; k < n->n; k++)
        if (same(&n->rows[k], &note))
            return 0;
    if (n->n == TN_NOTES_MAX)
        return tn_fail(f->err, -E2BIG, REASON, "more than %u annotations", TN_NOTES_MAX);
    struct tn_note *slot = TN_BAG_PUSH(&n->bag, n->rows, n->n);
    if (!slot)
        return -ENOMEM;
    *slot = note;
    return 0;
}

/* Notes one after the other. `whole`: nothing but ours may stand there. */
static int read_notes(struct file *f, struct tn_notes *n, u64 off, u64 size, bool whole)
{
    u64 pos = 0;

    if (!at(f, off, size))
        return whole ? bad(f, 0, "the section ends beyond the file") : 0;
    if (size > f->left)
        return bad(f, 0, "the file names the same notes several times");
    f->left -= size;
    while (size - pos >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr h;
        u64 name, desc, end;

        memcpy(&h, f->bytes + off + pos, sizeof(h));
        name = pos + sizeof(h);
        desc = name + TN_ROUND_UP((u64)h.n_namesz, 4u);
        end = desc + h.n_descsz;
        if (end > size)
            return whole ? bad(f, pos, "it is longer than the section") : 0;
        if (h.n_namesz == 4 && !memcmp(f->bytes + off + name, "EIM", 4)) {
            int err = read_desc(f, n, h.n_type, f->bytes + off + desc, h.n_descsz, pos);

            if (err)
                return err;
        } else if (whole) {
            return bad(f, pos, "it is not named EIM");
        }
        pos = TN_MIN(TN_ROUND_UP(end, 4u), size);
    }
    return whole && pos != size ? bad(f, pos, "there is a piece of one") : 0;
}

/* ---------------------------------------------------------------------------------------------- the file */

static const char *section_name(const struct file *f, const Elf64_Shdr *strings, u32 off)
{
    const char *base = (const char *)at(f, strings->sh_offset, strings->sh_size);

    if (!base || off >= strings->sh_size || !memchr(base + off, 0, strings->sh_size - off))
        return "";
    return base + off;
}

/* 1: there was such a section. */
static int by_sections(struct file *f, const Elf64_Ehdr *e, struct tn_notes *n)
{
    Elf64_Shdr strings, s;
    u32 num = e->e_shnum, index = e->e_shstrndx;
    int found = 0;

    if (!e->e_shoff || e->e_shentsize != sizeof(s) || !at(f, e->e_shoff, sizeof(s)))
        return 0;
    memcpy(&s, f->bytes + e->e_shoff, sizeof(s));
    if (!num) /* too many for the field: the first section has the number */
        num = (u32)TN_MIN(s.sh_size, (u64)UINT32_MAX);
    if (index == SHN_XINDEX)
        index = s.sh_link;
    if (index >= num || !at(f, e->e_shoff, (u64)num * sizeof(s)))
        return 0;
    memcpy(&strings, f->bytes + e->e_shoff + (u64)index * sizeof(s), sizeof(strings));
    for (u32 k = 0; k < num; k++) {
        int err;

        memcpy(&s, f->bytes + e->e_shoff + (u64)k * sizeof(s), sizeof(s));
        if (s.sh_type != SHT_NOTE || strcmp(section_name(f, &strings, s.sh_name), ".note.eim") != 0)
            continue;
        found = 1;
        err = read_notes(f, n, s.sh_offset, s.sh_size, true);
        if (err)
            return err;
    }
    return found;
}

static int by_segments(struct file *f, const Elf64_Ehdr *e, struct tn_notes *n)
{
    Elf64_Phdr p;

    if (e->e_phentsize != sizeof(p) || !at(f, e->e_phoff, (u64)e->e_phnum * sizeof(p)))
        return 0;
    for (u32 k = 0; k < e->e_phnum; k++) {
        int err = 0;

        memcpy(&p, f->bytes + e->e_phoff + (u64)k * sizeof(p), sizeof(p));
        /* Notes aligned to 8 are of another layout, and not ours. */
        if (p.p_type == PT_NOTE && p.p_align <= 4)
            err = read_notes(f, n, p.p_offset, p.p_filesz, false);
        if (err)
            return err;
    }
    return 0;
}

int tn_notes_read(const u8 *elf, u64 size, struct tn_notes *ret, struct tn_error *err)
{
    struct file f = {elf, size, size, err};
    _clean_(tn_notes_clear) struct tn_notes n = {0};
    Elf64_Ehdr e;
    int found;

    if (size < sizeof(e))
        return tn_fail(err, -ENOEXEC, "not_elf", "this is no ELF file: it is too short");
    memcpy(&e, elf, sizeof(e));
    if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0)
        return tn_fail(err, -ENOEXEC, "not_elf", "this is no ELF file: it does not begin as one");
    if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_ident[EI_DATA] != ELFDATA2LSB)
        return tn_fail(err, -ENOEXEC, "not_elf", "expected a 64-bit little-endian ELF file");
    found = by_sections(&f, &e, &n);
    if (!found)
        found = by_segments(&f, &e, &n);
    if (found < 0)
        return found;
    *ret = n;
    n = (struct tn_notes){0};
    return 0;
}

void tn_notes_clear(struct tn_notes *notes)
{
    tn_bag_clear(&notes->bag);
    *notes = (struct tn_notes){0};
}
