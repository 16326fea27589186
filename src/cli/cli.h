/* SPDX-License-Identifier: MIT */
/*
 * What sub-commands have in common: how they speak.
 *
 * Results go to standard output, in a table for people or, with --json, for machines. What went wrong goes to
 * standard error as `tenon COMMAND: what: why (what to do)`. Colour only on a terminal and without NO_COLOR.
 * A reader that went away (SIGPIPE) ends a command quietly.
 */
#ifndef TN_CLI_H
#define TN_CLI_H

#include <argp.h>
#include <jansson.h>

#include "base/base.h"
#include "cli/commands.h"

/* Exit status. `verify` gives its own meaning to 1 and 2 (see its manual). */
enum tn_exit {
    TN_EXIT_OK = 0,
    TN_EXIT_FAILED = 1, /* could not be done; standard error says why */
    TN_EXIT_USAGE = 2,  /* called wrongly */
};

/* Parses options. Usage errors end the process with TN_EXIT_USAGE, --help with 0. */
void tn_cli_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input);
/* The parser of a command that knows --json and takes no argument. Its input is a bool. */
int tn_cli_option_json(int key, char *arg, struct argp_state *state);

/* `tenon COMMAND: …` on standard error; argv0 as passed to the command. Return TN_EXIT_FAILED. */
int tn_cli_fail(const char *argv0, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same from an error; `code` (negative errno) speaks where the error is silent. */
int tn_cli_error(const char *argv0, int code, const struct tn_error *err);
void tn_cli_warn(const char *argv0, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Names that others have given may hold what a terminal obeys, or ends a line with: '?' stands for it. Returns `text`. */
char *tn_cli_tame(char *text);

/* Prints and releases `value`; one final newline. `lines`: compact, on one line. */
void tn_cli_print_json(json_t *value, bool line);
/* An integer as JSON can carry it: above 2^53 as a string. */
json_t *tn_json_u64(u64 value);
json_t *tn_json_s64(s64 value);
/* Text that may not be UTF-8: bytes that are not become U+FFFD. */
json_t *tn_json_text(const char *bytes, size_t len);

/* Escape sequence, or "" where there shall be none. */
const char *tn_bold(FILE *out);
const char *tn_dim(FILE *out);
const char *tn_good(FILE *out);
const char *tn_bad(FILE *out);
const char *tn_plain(FILE *out);
bool tn_cli_utf8(void); /* may more than ASCII be printed? */

/* "1234", non-negative, whole word. −EINVAL. */
int tn_parse_u64(const char *word, u64 max, u64 *ret_value);
/* "0.5", "10", "1e3": seconds to nanoseconds. −EINVAL for what is no number, negative or more than a year. */
int tn_parse_seconds(const char *word, u64 *ret_ns);

#endif
