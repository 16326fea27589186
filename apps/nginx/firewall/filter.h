/* SPDX-License-Identifier: MIT */
/* The firewall's matching once more, as plain C: for the module and for WebAssembly, to compare with. */
#ifndef FIREWALL_FILTER_H
#define FIREWALL_FILTER_H

#include <stdint.h>

#define RULES  32
#define WINDOW 512
#define FOLD   0x2020202020202020ull
#define PAIRS  4096

enum field { URI, ARGS, AGENT, FIELDS = 4 };
struct rule {
    uint64_t text[2], mask[2];
    uint32_t length, unused;
};
struct rules {
    uint32_t starts[FIELDS][256], second[FIELDS][256];
    uint8_t skip[FIELDS][PAIRS];
    uint32_t prefix[FIELDS], used[FIELDS], least[FIELDS], refuse_long, unused;
    struct rule rule[RULES];
};

static inline uint32_t digit(uint8_t c)
{
    uint8_t letter = (uint8_t)((c | 0x20) - 'a');

    return c >= '0' && c <= '9' ? (uint32_t)(c - '0') : letter < 6 ? letter + 10u : 16;
}

static inline uint32_t decode(uint8_t *text, const uint8_t *raw, uint32_t n)
{
    uint32_t out = 0;

    for (uint32_t p = 0; p < n; p++) {
        uint8_t c = raw[p];

        if (c == '+') {
            c = ' ';
        } else if (c == '%' && p + 2 < n && digit(raw[p + 1]) < 16 && digit(raw[p + 2]) < 16) {
            c = (uint8_t)(digit(raw[p + 1]) << 4 | digit(raw[p + 2]));
            p += 2;
        }
        text[out++] = c;
    }
    return out;
}

/* The rule that begins at p. */
static inline uint32_t try(const struct rules *t, const uint8_t *text, uint32_t p, uint32_t n,
                           enum field field)
{
    uint32_t set = t->starts[field][text[p]] & t->second[field][text[p + 1]];
    uint64_t word[2];

    if (p)
        set &= ~t->prefix[field];
    if (!set)
        return 0;
    __builtin_memcpy(word, text + p, sizeof(word));
    for (; set; set &= set - 1) {
        const struct rule *u = &t->rule[__builtin_ctz(set)];

        if (u->length <= n - p && ((word[0] | FOLD) & u->mask[0]) == u->text[0] &&
            ((word[1] | FOLD) & u->mask[1]) == u->text[1])
            return (uint32_t)__builtin_ctz(set) + 1;
    }
    return 0;
}

/* Sixteen bytes behind `text` may be read as well. */
static inline uint32_t scan(const struct rules *t, const uint8_t *text, uint32_t n, enum field field)
{
    const uint8_t *skip = t->skip[field];
    uint32_t least = t->least[field], found, further;

    if (n && (t->prefix[field] & t->starts[field][text[0]] & t->second[field][text[1]]) &&
        (found = try(t, text, 0, n, field)))
        return found;
    if (!least)
        return 0;
    for (uint32_t p = 0; p + least <= n; p += further) {
        uint16_t pair;

        __builtin_memcpy(&pair, text + p + (least < 2 ? 0 : least - 2), sizeof(pair));
        further = skip[(pair | 0x2020u) * 0x9e3779b1u >> 20];
        if (further)
            continue;
        if ((found = try(t, text, p, n, field)))
            return found;
        further = 1;
    }
    return 0;
}

#endif
