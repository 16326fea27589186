/* SPDX-License-Identifier: MIT */
/*
 * Is a format string one that bpf_snprintf can follow with so many numbers? It decides at load what would
 * only fail in the run: the string never changes (it lies in a frozen map), so its conversions are known.
 *
 *      %[ 0+-]*[width](c | s | [l[l]](d i u x X) | p…)      p…: nothing, K x s S B, ks us, i4 I4 i6 I6
 *
 * Source: Linux Documentation of bpf_snprintf (bpf-helpers(7)), and what version 6.18 answers.
 */
#include <ctype.h>

#include "verify/internal.h"

/* What may stand behind a conversion that takes no more letters. */
static bool ends_word(char c)
{
    return !c || isspace((unsigned char)c) || ispunct((unsigned char)c);
}

/* Behind the 'p' at `at`: how many more characters belong to it; −1: none that is known. */
static int pointer_letters(const char *at)
{
    if ((at[1] == 'k' || at[1] == 'u') && at[2] == 's')
        return ends_word(at[3]) ? 2 : -1;
    if (ends_word(at[1]) || strchr("KxsS", at[1]))
        return 0;
    if (at[1] == 'B')
        return 1;
    if ((at[1] == 'i' || at[1] == 'I') && (at[2] == '4' || at[2] == '6'))
        return 2;
    return -1;
}

bool tn_format_fits(const char *fmt, u32 numbers)
{
    for (const char *at = fmt; *at; at++) {
        int more;

        if (isascii((unsigned char)*at) && !isprint((unsigned char)*at) && !isspace((unsigned char)*at))
            return false;
        if (*at != '%')
            continue;
        if (at[1] == '%') {
            at++;
            continue;
        }
        if (!numbers--)
            return false;
        at++;
        while (*at && strchr("0+- ", *at))
            at++;
        while (isdigit((unsigned char)*at))
            at++;
        if (*at == 'p') {
            more = pointer_letters(at);
            if (more < 0)
                return false;
            at += more;
        } else if (*at == 's') {
            if (!ends_word(at[1]))
                return false;
        } else if (*at != 'c') {
            at += *at == 'l';
            at += *at == 'l';
            if (!*at || !strchr("diuxX", *at))
                return false;
        }
    }
    return true;
}

bool tn_format_reads(const char *fmt)
{
    for (const char *at = fmt; *at; at++) {
        if (*at != '%')
            continue;
        at += 1 + strspn(at + 1, "0+- #123456789l");
        if (*at == 's' || (*at == 'p' && at[1] && strchr("iIku", at[1])))
            return true;
        if (!*at)
            break;
    }
    return false;
}
