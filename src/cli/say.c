/* SPDX-License-Identifier: MIT */
/*
 * How commands speak: errors, JSON, colour, numbers on the command line.
 */
#include "cli/cli.h"

#include <errno.h>
#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <time.h>

void tn_cli_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input)
{
    argp_err_exit_status = TN_EXIT_USAGE;
    argp_parse(argp, argc, argv, flags, NULL, input);
}

static char *tame(char *text, const char *but)
{
    for (char *c = text; *c; c++)
        if ((*(u8 *)c < ' ' || *c == 0x7f) && !strchr(but, *c))
            *c = '?';
    return text;
}

char *tn_cli_tame(char *text)
{
    return tame(text, "");
}

static void speak(const char *argv0, const char *fmt, va_list args)
{
    _free_ char *text = NULL;

    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", argv0, text ? tame(text, "\n\t") : "no memory");
}

int tn_cli_fail(const char *argv0, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    speak(argv0, fmt, args);
    va_end(args);
    return TN_EXIT_FAILED;
}

void tn_cli_warn(const char *argv0, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    speak(argv0, fmt, args);
    va_end(args);
}

int tn_cli_error(const char *argv0, int code, const struct tn_error *err)
{
    if (!err || !err->message[0])
        return tn_cli_fail(argv0, "%s", strerror(code < 0 ? -code : EIO));
    if (err->reason[0])
        return tn_cli_fail(argv0, "%s [%s]", err->message, err->reason);
    return tn_cli_fail(argv0, "%s", err->message);
}

void tn_cli_print_json(json_t *value, bool line)
{
    if (!value)
        return;
    json_dumpf(value, stdout, (line ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(15));
    fputc('\n', stdout);
    fflush(stdout);
    json_decref(value);
}

/* Every integer up to here is one double: what JSON's readers commonly keep numbers in. */
#define EXACT (1ull << 53)

json_t *tn_json_u64(u64 value)
{
    char text[24];

    if (value <= EXACT)
        return json_integer((json_int_t)value);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return json_string(text);
}

json_t *tn_json_s64(s64 value)
{
    char text[24];

    if (value >= 0)
        return tn_json_u64((u64)value);
    if (value >= -(s64)EXACT)
        return json_integer(value);
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return json_string(text);
}

/* Length of the UTF-8 sequence at `s` (RFC 3629), 0 where there is none. */
static size_t sequence(const u8 *s, size_t len)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : (s[0] & 0xf0) == 0xe0       ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;

    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

json_t *tn_json_text(const char *bytes, size_t len)
{
    _free_ char *text = malloc(len * 3 + 1);
    const u8 *s = (const u8 *)bytes;
    size_t used = 0;

    if (!text)
        return NULL;
    for (size_t i = 0; i < len;) {
        size_t n = sequence(s + i, len - i);

        if (n == 0) {
            memcpy(text + used, "\xef\xbf\xbd", 3);
            used += 3;
            i++;
            continue;
        }
        memcpy(text + used, s + i, n);
        used += n;
        i += n;
    }
    return json_stringn(text, used);
}

static bool coloured(FILE *out)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    int fd = fileno(out);

    if (fd < 0) /* a memory stream: a frame on its way to standard output */
        fd = STDOUT_FILENO;
    return isatty(fd) && !(no && no[0]) && term && strcmp(term, "dumb") != 0;
}

const char *tn_bold(FILE *out)
{
    return coloured(out) ? "\033[1m" : "";
}

const char *tn_dim(FILE *out)
{
    return coloured(out) ? "\033[2m" : "";
}

const char *tn_good(FILE *out)
{
    return coloured(out) ? "\033[32m" : "";
}

const char *tn_bad(FILE *out)
{
    return coloured(out) ? "\033[31m" : "";
}

const char *tn_plain(FILE *out)
{
    return coloured(out) ? "\033[0m" : "";
}

bool tn_cli_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int tn_parse_u64(const char *word, u64 max, u64 *ret_value)
{
    unsigned long long value;
    char *end;

    if (!word || word[0] < '0' || word[0] > '9')
        return -EINVAL;
    errno = 0;
    value = strtoull(word, &end, 0);
    if (errno || *end || value > max)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

int tn_parse_seconds(const char *word, u64 *ret_ns)
{
    double seconds;
    char *end;

    if (!word || !word[0])
        return -EINVAL;
    errno = 0;
    seconds = strtod(word, &end);
    if (errno || end == word || *end || !isfinite(seconds) || seconds < 0 || seconds > 366.0 * 86400)
        return -EINVAL;
    *ret_ns = (u64)(seconds * 1e9);
    return 0;
}

int tn_cli_option_json(int key, char *arg, struct argp_state *state)
{
    bool *json = state->input;

    if (key == 'j')
        *json = true;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "takes no argument: %s", arg);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}
