/* SPDX-License-Identifier: MIT */
/* Prints the annotations of an ELF file, one a line: what the reader sees, for notes.bats. */
#include <inttypes.h>

#include "eim/note.h"

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"", "entry", "state", "function"};
    _fclose_ FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    _clean_(tn_notes_clear) struct tn_notes notes = {0};
    static u8 bytes[64 << 20];
    struct tn_error err = {0};

    if (!f || tn_notes_read(bytes, fread(bytes, 1, sizeof(bytes), f), &notes, &err)) {
        fprintf(stderr, "show_notes: %s\n", f ? err.message : "cannot open the file");
        return 1;
    }
    for (u32 k = 0; k < notes.n; k++) {
        const struct tn_note *n = &notes.rows[k];

        printf("%s|%s|%s|%s", kinds[n->kind], n->name,
               n->kind != TN_NOTE_STATE ? ""
               : n->write               ? "write"
                                        : "read",
               n->what);
        for (u32 c = 0; c < n->nconstraints; c++)
            printf("|%s", n->constraints[c]);
        printf("\n");
    }
    return 0;
}
