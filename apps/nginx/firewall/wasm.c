/* SPDX-License-Identifier: MIT */
/* The filter's part that is WebAssembly; see module.c. */
#include "filter.h"

#define EXPORT(name) __attribute__((export_name(name)))

static struct rules table;
static uint8_t raw[WINDOW + 16], text[WINDOW + 16];

EXPORT("rules") void *rules_at(void)
{
    return &table;
}

EXPORT("room") void *room_at(void)
{
    return raw;
}

EXPORT("look") uint32_t look(uint32_t field, uint32_t n)
{
    if (field != ARGS)
        return scan(&table, raw, n, field);
    n = decode(text, raw, n);
    return scan(&table, text, n, ARGS);
}
