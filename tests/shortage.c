/* SPDX-License-Identifier: MIT */
/* See shortage.h. */
#include "tests/shortage.h"

#include <errno.h>
#include <stdarg.h>

static s64 countdown = -1; /* that still succeed; negative: all */
static bool one_only, fired;
static u64 asked;
static s64 in_use;

void shortage_at(s64 n, bool once)
{
    countdown = n;
    one_only = once;
    fired = false;
}

void shortage_end(void)
{
    countdown = -1;
}

u64 shortage_count(void)
{
    return asked;
}

s64 shortage_in_use(void)
{
    return in_use;
}

bool shortage_fired(void)
{
    return fired;
}

bool shortage_now(void)
{
    asked++;
    if (countdown < 0 || countdown-- > 0)
        return false;
    countdown = one_only ? -1 : 0;
    fired = true;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
int __wrap_asprintf(char **ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
    void *p = shortage_now() ? NULL : __real_malloc(size);

    in_use += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *p = shortage_now() ? NULL : __real_calloc(n, size);

    in_use += p != NULL;
    return p;
}

void *__wrap_realloc(void *old, size_t size)
{
    void *p = shortage_now() ? NULL : __real_realloc(old, size);

    in_use += p && !old;
    return p;
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    void *p = shortage_now() ? NULL : __real_reallocarray(old, n, size);

    in_use += p && !old;
    return p;
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
    va_list ap;
    int n = -1;

    if (shortage_now())
        return n;
    va_start(ap, fmt);
    n = vasprintf(ret, fmt, ap);
    va_end(ap);
    in_use += n >= 0;
    return n;
}

void __wrap_free(void *p)
{
    in_use -= p != NULL;
    __real_free(p);
}
