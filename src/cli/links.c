/* SPDX-License-Identifier: MIT */
/*
 * Links and refusals, for people and for machines.
 */
#include "cli/links.h"

#include <inttypes.h>

#include "cli/cli.h"
#include "verify/reasons.h"

void tn_link_place(const struct tn_ctl_link *link, char *ret_text, size_t cap)
{
    if (link->is_call)
        snprintf(ret_text, cap, "%.*s", (int)sizeof(link->symbol),
                 link->symbol[0] ? link->symbol : "every call");
    else if (link->many > 1)
        snprintf(ret_text, cap, "%u functions", link->many - link->left);
    else if (!link->symbol[0])
        snprintf(ret_text, cap, "file offset 0x%" PRIx64, link->file_offset);
    else if (link->offset)
        snprintf(ret_text, cap, "%.*s+0x%" PRIx64, (int)sizeof(link->symbol), link->symbol, link->offset);
    else
        snprintf(ret_text, cap, "%.*s", (int)sizeof(link->symbol), link->symbol);
}

#define TEXT(field) tn_json_text(field, strnlen(field, sizeof(field)))

static json_t *tactics_json(const struct tn_ctl_link *link)
{
    struct tn_tally by = link->by;
    json_t *object = json_object();

    tn_tally_end(&by);
    for (u32 i = 0; i < by.nrows; i++)
        json_object_set_new(object, by.row[i].name, json_integer((json_int_t)by.row[i].n));
    return object;
}

json_t *tn_link_json(const struct tn_ctl_link *link)
{
    char address[24];

    snprintf(address, sizeof(address), "0x%" PRIx64, link->address);
    return json_pack(
        "{s:I, s:o, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:I, "
        "s:o, "
        "s:o, s:I, s:I, s:I, s:I, s:o, s:o}",
        "id", (json_int_t)link->id, "prog", TEXT(link->prog), "prog_id", (json_int_t)link->prog_id, "pid",
        (int)link->pid, "target", TEXT(link->target), "symbol", TEXT(link->symbol), "offset",
        tn_json_u64(link->offset), "kind", TEXT(link->kind), "tactic", TEXT(link->tactic), "address", address,
        "file_offset", tn_json_u64(link->file_offset), "cookie", tn_json_u64(link->cookie), "missed",
        tn_json_u64(link->missed), "recursion", tn_json_u64(link->recursion), "kept", (int)link->kept,
        "follow", (int)link->follow, "ended", (int)link->ended, "watched", (int)link->watched, "targets",
        (json_int_t)link->targets, "attach_ns", tn_json_u64(link->attach_ns), "hold_ns_max",
        tn_json_u64(link->hold_ns_max), "functions", (json_int_t)(link->many ? link->many - link->left : 1),
        "places", (json_int_t)link->places, "left", (json_int_t)link->left, "left_in",
        (json_int_t)link->left_in, "left_why", TEXT(link->left_why), "tactics", tactics_json(link));
}

int tn_link_head(struct tn_table *table)
{
    return tn_table_row(table, "id", "program", "pid", "kind", "function", "target", "tactic", "missed", "",
                        NULL);
}

int tn_link_row(struct tn_table *table, const struct tn_ctl_link *link)
{
    char id[16], pid[16], place[256], missed[24], kind[sizeof(link->kind) + 1],
        tactic[sizeof(link->tactic) + 1], prog[sizeof(link->prog) + 1];
    _free_ char *target = strndup(link->target, sizeof(link->target));

    snprintf(id, sizeof(id), "%u", link->id);
    snprintf(pid, sizeof(pid), link->pid >= 0 ? "%d" : "all", link->pid);
    snprintf(missed, sizeof(missed), "%" PRIu64, link->missed);
    snprintf(kind, sizeof(kind), "%.*s", (int)sizeof(link->kind), link->kind);
    snprintf(tactic, sizeof(tactic), "%.*s", (int)sizeof(link->tactic), link->tactic);
    snprintf(prog, sizeof(prog), "%.*s", (int)sizeof(link->prog), link->prog);
    tn_link_place(link, place, sizeof(place));
    return tn_table_row(table, id, prog, pid, kind, place, target ? target : "", tactic, missed,
                        link->ended                   ? "ended"
                        : link->all && !link->watched ? "later ones are not seen"
                        : link->kept                  ? "kept"
                                                      : "",
                        NULL);
}

/* The C line and a mark under its column. The text is of the object's BTF, which anybody may have written:
   control characters become dots, so that it cannot speak to the terminal. */
static void print_source(FILE *out, const struct tn_refusal *refusal)
{
    fprintf(out, "  %5u | ", refusal->line);
    for (const char *c = refusal->text; *c; c++) {
        unsigned char b = (unsigned char)*c;

        fputc(b == '\t' ? ' ' : b < 0x20 || b == 0x7f ? '.' : b, out);
    }
    fputc('\n', out);
    if (refusal->text_column && refusal->text_column <= strlen(refusal->text))
        fprintf(out, "        | %*s^\n", (int)refusal->text_column - 1, "");
}

void tn_refusal_print(FILE *out, const char *program, const struct tn_refusal *refusal)
{
    const char *sentence = tn_reason_sentence_of(refusal->reason);

    fprintf(out, "%s%s is refused%s [%s]: %s\n", tn_bold(out), program, tn_plain(out), refusal->reason,
            refusal->message);
    if (refusal->file[0]) {
        fprintf(out, "  at %s:%u", refusal->file, refusal->line);
        fprintf(out, refusal->column ? ":%u\n" : "\n", refusal->column);
    } else {
        fprintf(out, "  at instruction %u (compile with -g to see the source line)\n", refusal->insn);
    }
    if (refusal->text[0])
        print_source(out, refusal);
    if (sentence)
        fprintf(out, "  rule        %s\n", sentence);
    if (refusal->state[0])
        fprintf(out, "  known there %s\n", refusal->state);
    if (refusal->path[0])
        fprintf(out, "  came there  %s\n", refusal->path);
}
