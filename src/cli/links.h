/* SPDX-License-Identifier: MIT */
/*
 * Links as rows: the JSON that scripts read and the table that people read, in one place for attach, ls and
 * show.
 */
#ifndef TN_CLI_LINKS_H
#define TN_CLI_LINKS_H

#include <jansson.h>

#include "base/base.h"
#include "broker/ctl.h"
#include "cli/chart.h"

/* id, prog, pid, target, symbol, offset, kind, tactic, missed, and what else is known. */
json_t *tn_link_json(const struct tn_ctl_link *link);
/* A row of the usual table; the head first. */
int tn_link_head(struct tn_table *table);
int tn_link_row(struct tn_table *table, const struct tn_ctl_link *link);

/* "function+0x10", or the file offset where no function is known. */
void tn_link_place(const struct tn_ctl_link *link, char *ret_text, size_t cap);

/* One program's refusal as people read it: where in the C source, what, and how it came there. */
void tn_refusal_print(FILE *out, const char *program, const struct tn_refusal *refusal);

#endif
