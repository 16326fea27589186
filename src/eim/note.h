/* SPDX-License-Identifier: MIT */
/*
 * Annotations of <tenon/eim.h>, read back out of an ELF file: an executable, a library, an object, stripped
 * or not. The file is hostile: every offset, size and string is checked against the bytes that are there.
 *
 *      bytes ── section .note.eim, or, where the section table is gone, any PT_NOTE ──▶ rows, in file order
 *
 * Notes that are equal but for their place (an annotation in a header) are one.
 */
#ifndef TN_EIM_NOTE_H
#define TN_EIM_NOTE_H

#include "eim/bag.h"

enum tn_note_kind { TN_NOTE_ENTRY = 1, TN_NOTE_STATE, TN_NOTE_FUNCTION };
#define TN_NOTES_MAX 4096u

struct tn_note {
    enum tn_note_kind kind;
    const char *where; /* "file:line" of the annotation */
    const char *name;
    const char *what; /* function, or variable or path */
    bool write;       /* TN_NOTE_STATE */
    const char **constraints;
    u32 nconstraints;
};
struct tn_notes {
    struct tn_bag bag; /* holds all of it */
    struct tn_note *rows;
    u32 n;
};

/* A file without annotations has 0. −ENOEXEC (no 64-bit little-endian ELF file), −EINVAL with `err` filled
   (eim_note), −E2BIG, −ENOMEM. Nothing of `elf` is kept. */
int tn_notes_read(const u8 *elf, u64 size, struct tn_notes *ret, struct tn_error *err);
void tn_notes_clear(struct tn_notes *notes);

#endif
