/* SPDX-License-Identifier: MIT */
/*
 * Tables and bar charts of text.
 */
#ifndef TN_CLI_CHART_H
#define TN_CLI_CHART_H

#include "base/base.h"

/* Columns: the widest cell decides; numbers (cells that begin with a digit) stand to the right. */
#define TN_TABLE_COLUMNS 12
struct tn_table {
    u32 ncolumns, nrows, cap;
    char **cells; /* owned, row by row; the first row is the head */
};
/* As many cells as columns; the first call decides how many. Ended by NULL. */
int tn_table_row(struct tn_table *table, const char *cell, ...) __attribute__((sentinel));
void tn_table_print(FILE *out, const struct tn_table *table);
void tn_table_clear(struct tn_table *table);

/* Slot k counts values in [2^k, 2^(k+1)), slot 0 those below 2. The end of `name` says the unit. */
void tn_chart_log2(FILE *out, const u64 *slots, u32 nslots, const char *name);

#endif
