/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a map and what they mean, by BTF.
 *
 *   BTF                          JSON
 *   integer                      number; above 2^53 (either sign) a string of its decimal digits
 *   _Bool                        true, false
 *   enumeration                  its name as a string; a number where the value has none
 *   char[N]                      string up to the first NUL; bytes that are not UTF-8 become U+FFFD
 *   other array                  array
 *   struct, union, .data, .bss   object; members without a name are taken apart into it
 *   float, double                number
 *   pointer                      string "0x…"
 *   128 bits, nothing known      string of its bytes in memory order, "0x" and two digits each
 */
#ifndef TN_CLI_VALUE_H
#define TN_CLI_VALUE_H

#include <bpf/btf.h>
#include <jansson.h>

#include "base/base.h"

/* btf NULL or type_id 0: raw. Never NULL but for want of memory. */
json_t *tn_value_json(const struct btf *btf, u32 type_id, const void *bytes, size_t len);

/* For people, on one line, without a newline. */
void tn_value_print(FILE *out, const struct btf *btf, u32 type_id, const void *bytes, size_t len);

/* The way back. `word` is a number, a name of an enumeration, JSON as above, "hex:…", or text for char[N].
   Bytes that are not mentioned (members, elements) stay as they are in `bytes`. */
int tn_value_parse_word(const struct btf *btf, u32 type_id, const char *word, void *bytes, size_t len,
                        struct tn_error *err);

/* An unsigned integer of 4 or 8 bytes without a sign, as counters and histograms have it? */
bool tn_value_is_count(const struct btf *btf, u32 type_id, size_t len);

#endif
