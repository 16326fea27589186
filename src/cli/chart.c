/* SPDX-License-Identifier: MIT */
/*
 * Tables and bar charts. A chart shows the slots between the first and the last that are not empty:
 *
 *       512 ns … 1.02 µs    1204  ████████▌
 *      1.02 µs … 2.05 µs    4310  ██████████████████████████████
 */
#include "cli/chart.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "cli/cli.h"

#define BAR_MIN 4 /* cells of the longest bar */
#define BAR_MAX 80
#define BESIDE  37 /* columns of a chart's line beside its bar */

int tn_table_row(struct tn_table *table, const char *cell, ...)
{
    const char *row[TN_TABLE_COLUMNS];
    u32 n = 0;
    va_list args;

    va_start(args, cell);
    for (; cell && n < TN_TABLE_COLUMNS; cell = va_arg(args, const char *))
        row[n++] = cell;
    va_end(args);
    if (!table->ncolumns)
        table->ncolumns = n;
    if (n != table->ncolumns)
        return -EINVAL;
    if (table->nrows == table->cap) {
        u32 cap = table->cap ? table->cap * 2 : 16;
        char **cells = reallocarray(table->cells, (size_t)cap * n, sizeof(char *));

        if (!cells)
            return -ENOMEM;
        table->cells = cells;
        table->cap = cap;
    }
    for (u32 i = 0; i < n; i++) {
        char *cell = strdup(row[i]); /* NULL: printed as empty */

        table->cells[table->nrows * n + i] = cell ? tn_cli_tame(cell) : NULL;
    }
    table->nrows++;
    return 0;
}

/* Columns on a terminal; bytes where the text is no text of this locale. */
static int width(const char *text)
{
    mbstate_t state = {0};
    const char *at = text;
    int sum = 0;
    wchar_t c;
    size_t n;

    while (*at) {
        n = mbrtowc(&c, at, strlen(at), &state);
        if (n == (size_t)-1 || n == (size_t)-2)
            return (int)strlen(text);
        sum += wcwidth(c) > 0 ? wcwidth(c) : 0;
        at += n;
    }
    return sum;
}

void tn_table_print(FILE *out, const struct tn_table *table)
{
    int widest[TN_TABLE_COLUMNS] = {0};

    for (u32 i = 0; i < table->nrows * table->ncolumns; i++) {
        int w = table->cells[i] ? width(table->cells[i]) : 0;

        widest[i % table->ncolumns] = TN_MAX(widest[i % table->ncolumns], w);
    }
    for (u32 row = 0; row < table->nrows; row++) {
        int before = 0;

        if (row == 0)
            fputs(tn_bold(out), out);
        for (u32 column = 0; column < table->ncolumns; column++) {
            const char *cell = table->cells[row * table->ncolumns + column];
            const char *below = table->nrows > 1 ? table->cells[table->ncolumns + column] : NULL;
            const char *judge = row == 0 && below ? below : cell ? cell : "";
            int gap;

            cell = cell ? cell : "";
            gap = widest[column] - width(cell);
            /* What stands before a cell is printed with it: no line ends with spaces. */
            if (judge[0] >= '0' && judge[0] <= '9') {
                before += gap;
                gap = 0;
            }
            if (cell[0])
                fprintf(out, "%*s%s", before, "", cell);
            before = (cell[0] ? 0 : before + width(cell)) + gap + 2;
        }
        if (row == 0)
            fputs(tn_plain(out), out);
        fputc('\n', out);
    }
}

void tn_table_clear(struct tn_table *table)
{
    for (u32 i = 0; i < table->nrows * table->ncolumns; i++)
        free(table->cells[i]);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}

static const struct {
    const char *ending; /* of the map's name */
    double scale;       /* to the first unit */
    double step;
    const char *units[5];
} scales[] = {
    {"_ns", 1, 1000, {"ns", "us", "ms", "s", NULL}},   {"_us", 1e3, 1000, {"ns", "us", "ms", "s", NULL}},
    {"_ms", 1e6, 1000, {"ns", "us", "ms", "s", NULL}}, {"_bytes", 1, 1024, {"B", "KiB", "MiB", "GiB", NULL}},
    {"", 1, 1000, {"", "k", "M", "G", NULL}},
};

static void quantity(char *ret_text, size_t cap, double value, const char *name)
{
    size_t which, unit = 0, len = strlen(name);

    for (which = 0; which < TN_ARRAY_SIZE(scales) - 1; which++) {
        size_t end = strlen(scales[which].ending);

        if (len >= end && strcmp(name + len - end, scales[which].ending) == 0)
            break;
    }
    value *= scales[which].scale;
    while (value >= scales[which].step && scales[which].units[unit + 1]) {
        value /= scales[which].step;
        unit++;
    }
    snprintf(ret_text, cap, value < 100 && value != (double)(long)value ? "%.3g%s%s" : "%.0f%s%s", value,
             scales[which].units[unit][0] ? " " : "", scales[which].units[unit]);
}

/* As long as the terminal allows; 40 where there is none. */
static int longest_bar(void)
{
    struct winsize size = {0};

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 40;
    return TN_MIN(TN_MAX((int)size.ws_col - BESIDE - 1, BAR_MIN), BAR_MAX);
}

void tn_chart_log2(FILE *out, const u64 *slots, u32 nslots, const char *name)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int bar = longest_bar();
    bool fine = tn_cli_utf8();
    u32 first = nslots, last = 0;
    u64 most = 0, all = 0;

    for (u32 i = 0; i < nslots; i++) {
        if (!slots[i])
            continue;
        first = TN_MIN(first, i);
        last = i;
        most = TN_MAX(most, slots[i]);
        all += slots[i];
    }
    if (!all) {
        fprintf(out, "  nothing counted yet\n");
        return;
    }
    for (u32 i = first; i <= last; i++) {
        char low[32], high[32], range[80];
        double length = (double)slots[i] / (double)most * bar;
        int whole = (int)length, rest = (int)((length - whole) * 8);

        quantity(low, sizeof(low), i ? (double)(1ull << i) : 0, name);
        quantity(high, sizeof(high), (double)(1ull << i) * 2, name);
        snprintf(range, sizeof(range), "%s .. %s", low, high);
        fprintf(out, "  %22s %10llu  ", range, (unsigned long long)slots[i]);
        for (int cell = 0; cell < whole; cell++)
            fputs(fine ? "█" : "#", out);
        if (fine)
            fputs(whole < bar ? eighths[rest] : "", out);
        if (slots[i] && !whole && (!fine || !rest))
            fputs(fine ? "▏" : ".", out);
        fputc('\n', out);
    }
}
