/* SPDX-License-Identifier: MIT */
/*
 * Bytes to JSON and to text. BTF comes from whoever made the map: every offset is held against the bytes
 * there are, and nesting is bounded.
 */
#include "cli/value.h"

#include <errno.h>
#include <inttypes.h>

#include "cli/cli.h"

#define DEPTH 32

/* The type behind typedefs and qualifiers; NULL where there is none. */
static const struct btf_type *strip(const struct btf *btf, u32 id, u32 *ret_id)
{
    for (int i = 0; btf && id && i < DEPTH; i++) {
        const struct btf_type *type = btf__type_by_id(btf, id);

        if (!type)
            return NULL;
        switch (btf_kind(type)) {
        case BTF_KIND_TYPEDEF:
        case BTF_KIND_CONST:
        case BTF_KIND_VOLATILE:
        case BTF_KIND_RESTRICT:
        case BTF_KIND_TYPE_TAG:
        case BTF_KIND_VAR:
            id = type->type;
            continue;
        default:
            if (ret_id)
                *ret_id = id;
            return type;
        }
    }
    return NULL;
}

static json_t *raw(const void *bytes, size_t len)
{
    _free_ char *text = malloc(2 * len + 3);

    if (!text)
        return NULL;
    strcpy(text, "0x");
    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 + 2 * i, 3, "%02x", ((const u8 *)bytes)[i]);
    return json_string(text);
}

/* `bits` bits from bit `shift` of at most 16 bytes, little-endian. */
static u64 load_bits(const u8 *bytes, size_t len, u32 shift, u32 bits)
{
    u8 copy[16] = {0};
    unsigned __int128 wide;

    memcpy(copy, bytes, TN_MIN(len, sizeof(copy)));
    memcpy(&wide, copy, sizeof(wide));
    wide >>= shift;
    return (u64)wide & (bits >= 64 ? ~0ull : (1ull << bits) - 1);
}

static s64 sign_extend(u64 value, u32 bits)
{
    if (bits == 0 || bits >= 64)
        return (s64)value;
    return (s64)(value << (64 - bits)) >> (64 - bits);
}

static json_t *enumeration(const struct btf *btf, const struct btf_type *type, u64 value, u32 bits)
{
    bool is_signed = btf_kflag(type);
    s64 extended = is_signed ? sign_extend(value, bits) : (s64)value;

    for (u16 i = 0; i < btf_vlen(type); i++) {
        const char *name;
        s64 one;

        if (btf_is_enum64(type)) {
            one = (s64)btf_enum64_value(&btf_enum64(type)[i]);
            name = btf__name_by_offset(btf, btf_enum64(type)[i].name_off);
        } else {
            one = is_signed ? btf_enum(type)[i].val : (s64)(u32)btf_enum(type)[i].val;
            name = btf__name_by_offset(btf, btf_enum(type)[i].name_off);
        }
        if (one == extended && name && *name)
            return json_string(name);
    }
    return is_signed ? tn_json_s64(extended) : tn_json_u64(value);
}

static json_t *integer(const struct btf *btf, const struct btf_type *type, const u8 *bytes, size_t len,
                       u32 shift, u32 bits)
{
    u64 value = load_bits(bytes, len, shift, bits);

    if (btf_is_any_enum(type))
        return enumeration(btf, type, value, bits);
    if (btf_int_encoding(type) & BTF_INT_BOOL)
        return json_boolean(value != 0);
    if (btf_int_encoding(type) & BTF_INT_SIGNED)
        return tn_json_s64(sign_extend(value, bits));
    return tn_json_u64(value);
}

static bool is_char(const struct btf *btf, u32 id)
{
    const struct btf_type *type = strip(btf, id, NULL);
    const char *name = type ? btf__name_by_offset(btf, type->name_off) : NULL;

    return type && btf_is_int(type) && type->size == 1 && name && strcmp(name, "char") == 0;
}

static json_t *decode(const struct btf *btf, u32 id, const u8 *bytes, size_t len, int depth);

/* Adds the members of a struct or union to `object`. */
static void members(json_t *object, const struct btf *btf, const struct btf_type *type, const u8 *bytes,
                    size_t len, int depth)
{
    const struct btf_member *member = btf_members(type);

    for (u32 i = 0; i < btf_vlen(type); i++, member++) {
        u32 bit = btf_member_bit_offset(type, i), width = btf_member_bitfield_size(type, i), at = bit / 8;
        const char *name = btf__name_by_offset(btf, member->name_off);
        u32 id = 0;
        const struct btf_type *inner = strip(btf, member->type, &id);
        s64 size = inner ? btf__resolve_size(btf, id) : -1;
        json_t *value;

        if (at > len)
            continue;
        if (inner && (!name || !*name) && btf_is_composite(inner) && depth < DEPTH) {
            members(object, btf, inner, bytes + at, TN_MIN(len - at, inner->size), depth + 1);
            continue;
        }
        if (!name || !*name)
            continue;
        if (width && inner && (btf_is_int(inner) || btf_is_any_enum(inner)))
            value = integer(btf, inner, bytes + at, len - at, bit % 8, TN_MIN(width, 64u));
        else if (size < 0 || (u64)size > len - at)
            value = raw(bytes + at, 0);
        else
            value = decode(btf, id, bytes + at, (size_t)size, depth + 1);
        json_object_set_new_nocheck(object, name, value);
    }
}

static json_t *section(const struct btf *btf, const struct btf_type *type, const u8 *bytes, size_t len,
                       int depth)
{
    const struct btf_var_secinfo *row = btf_var_secinfos(type);
    json_t *object = json_object();

    for (u32 i = 0; i < btf_vlen(type); i++, row++) {
        const struct btf_type *var = btf__type_by_id(btf, row->type);
        const char *name = var ? btf__name_by_offset(btf, var->name_off) : NULL;

        if (name && *name && btf_is_var(var) && row->offset <= len && row->size <= len - row->offset)
            json_object_set_new_nocheck(object, name,
                                        decode(btf, var->type, bytes + row->offset, row->size, depth + 1));
    }
    return object;
}

static json_t *decode(const struct btf *btf, u32 id, const u8 *bytes, size_t len, int depth)
{
    const struct btf_type *type = depth < DEPTH ? strip(btf, id, &id) : NULL;
    s64 size = type && !btf_is_datasec(type) ? btf__resolve_size(btf, id) : 0;
    json_t *list;
    u64 word = 0;

    if (!type || size < 0 || (u64)size > len)
        return raw(bytes, len);
    switch (btf_kind(type)) {
    case BTF_KIND_INT:
        if (btf_int_bits(type) > 64 || type->size > 8)
            return raw(bytes, (size_t)size);
        return integer(btf, type, bytes, (size_t)size, btf_int_offset(type), btf_int_bits(type));
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        return integer(btf, type, bytes, (size_t)size, 0, (u32)TN_MIN(size, 8) * 8);
    case BTF_KIND_PTR: {
        char text[24];

        memcpy(&word, bytes, TN_MIN((size_t)size, sizeof(word)));
        snprintf(text, sizeof(text), "0x%" PRIx64, word);
        return json_string(text);
    }
    case BTF_KIND_FLOAT:
        if (size == 4) {
            float f;

            memcpy(&f, bytes, sizeof(f));
            list = json_real((double)f);
        } else if (size == 8) {
            double d;

            memcpy(&d, bytes, sizeof(d));
            list = json_real(d);
        } else {
            list = raw(bytes, (size_t)size);
        }
        return list ? list : json_null(); /* not a number, infinite: JSON has none */
    case BTF_KIND_ARRAY: {
        const struct btf_array *array = btf_array(type);
        s64 one = btf__resolve_size(btf, array->type);

        if (one < 0 || (one > 0 && array->nelems > (u64)size / (u64)one))
            return raw(bytes, (size_t)size);
        if (is_char(btf, array->type))
            return tn_json_text((const char *)bytes, strnlen((const char *)bytes, (size_t)size));
        list = json_array();
        for (u32 i = 0; one > 0 && i < array->nelems; i++)
            json_array_append_new(list,
                                  decode(btf, array->type, bytes + (u64)one * i, (size_t)one, depth + 1));
        return list;
    }
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        list = json_object();
        members(list, btf, type, bytes, (size_t)size, depth);
        return list;
    case BTF_KIND_DATASEC:
        return section(btf, type, bytes, len, depth);
    default:
        return raw(bytes, len);
    }
}

json_t *tn_value_json(const struct btf *btf, u32 type_id, const void *bytes, size_t len)
{
    return decode(btf, type_id, bytes, len, 0);
}

/* ---------- for people ---------- */

static void print(FILE *out, const json_t *value)
{
    const char *key, *comma = "";
    json_t *inner;
    size_t i;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        fputc('{', out);
        json_object_foreach((json_t *)(uintptr_t)value, key, inner)
        {
            fprintf(out, "%s%s ", comma, key);
            print(out, inner);
            comma = ", ";
        }
        fputc('}', out);
        return;
    case JSON_ARRAY:
        fputc('[', out);
        json_array_foreach(value, i, inner)
        {
            fputs(comma, out);
            print(out, inner);
            comma = ", ";
        }
        fputc(']', out);
        return;
    case JSON_STRING: /* control characters must not reach a terminal */
        for (const char *s = json_string_value(value); *s; s++)
            if ((u8)*s < 0x20 || *s == 0x7f)
                fprintf(out, "\\x%02x", (u8)*s);
            else
                fputc(*s, out);
        return;
    case JSON_INTEGER:
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    case JSON_REAL:
        fprintf(out, "%g", json_real_value(value));
        return;
    default:
        fputs(json_is_true(value) ? "true" : json_is_false(value) ? "false" : "nan", out);
    }
}

void tn_value_print(FILE *out, const struct btf *btf, u32 type_id, const void *bytes, size_t len)
{
    json_t *value = tn_value_json(btf, type_id, bytes, len);

    if (value)
        print(out, value);
    json_decref(value);
}

bool tn_value_is_count(const struct btf *btf, u32 type_id, size_t len)
{
    const struct btf_type *type = strip(btf, type_id, NULL);

    return (len == 4 || len == 8) && type && btf_is_int(type) && type->size == len && !btf_int_encoding(type);
}

/* ---------- the way back ---------- */

static int hex(const char *digits, u8 *bytes, size_t len, struct tn_error *err)
{
    size_t n = strlen(digits);

    if (n != 2 * len)
        return tn_fail(err, -EINVAL, "bad_value", "%zu hexadecimal digits given, %zu bytes are %zu", n, len,
                       2 * len);
    for (size_t i = 0; i < len; i++) {
        char pair[3] = {digits[2 * i], digits[2 * i + 1], 0};
        char *end;
        unsigned long byte = strtoul(pair, &end, 16);

        if (end != pair + 2 || pair[0] == '+' || pair[0] == '-')
            return tn_fail(err, -EINVAL, "bad_value", "'%s' is no hexadecimal byte", pair);
        bytes[i] = (u8)byte;
    }
    return 0;
}

/* Stores an integer of `bits` bits at bit `shift`; refuses what does not fit. */
static int store(s64 value, bool wide_unsigned, bool is_signed, u8 *bytes, size_t len, u32 shift, u32 bits,
                 struct tn_error *err)
{
    u64 mask = bits >= 64 ? ~0ull : (1ull << bits) - 1;
    unsigned __int128 word = 0, field = (unsigned __int128)mask << shift;
    bool fits = is_signed ? !wide_unsigned && sign_extend((u64)value & mask, bits) == value
                          : (wide_unsigned || value >= 0) && ((u64)value & ~mask) == 0;

    if (!fits)
        return tn_fail(err, -ERANGE, "bad_value", "the number does not fit into %u %s bits", bits,
                       is_signed ? "signed" : "unsigned");
    memcpy(&word, bytes, TN_MIN(len, sizeof(word)));
    word = (word & ~field) | (((unsigned __int128)((u64)value & mask) << shift) & field);
    memcpy(bytes, &word, TN_MIN(len, sizeof(word)));
    return 0;
}

static int whole_number(const json_t *json, s64 *ret_value, bool *ret_wide, struct tn_error *err)
{
    const char *text = json_string_value(json);
    char *end;

    *ret_wide = false;
    if (json_is_integer(json)) {
        *ret_value = json_integer_value(json);
        return 0;
    }
    if (json_is_boolean(json)) {
        *ret_value = json_is_true(json);
        return 0;
    }
    if (text && *text) {
        errno = 0;
        if (*text == '-') {
            *ret_value = strtoll(text, &end, 0);
        } else {
            u64 value = strtoull(text, &end, 0);

            *ret_wide = value > INT64_MAX;
            *ret_value = (s64)value;
        }
        if (!errno && !*end && *text != ' ' && *text != '+')
            return 0;
    }
    return tn_fail(err, -EINVAL, "bad_value", "'%s' is no whole number that 64 bits can hold",
                   text ? text : "this");
}

static int encode_number(const struct btf *btf, const struct btf_type *type, const json_t *json, u8 *bytes,
                         size_t len, u32 shift, u32 bits, struct tn_error *err)
{
    bool is_signed = btf_is_any_enum(type) ? btf_kflag(type) : (btf_int_encoding(type) & BTF_INT_SIGNED) != 0,
         wide;
    const char *text = json_string_value(json);
    s64 value = 0;
    int r;

    for (u16 i = 0; text && btf_is_any_enum(type) && i < btf_vlen(type); i++) {
        bool w = btf_is_enum64(type);
        const char *name =
            btf__name_by_offset(btf, w ? btf_enum64(type)[i].name_off : btf_enum(type)[i].name_off);

        if (name && strcmp(name, text) == 0)
            return store(w ? (s64)btf_enum64_value(&btf_enum64(type)[i]) : btf_enum(type)[i].val, false,
                         is_signed, bytes, len, shift, bits, err);
    }
    r = whole_number(json, &value, &wide, err);
    if (r)
        return r;
    if (!btf_is_any_enum(type) && (btf_int_encoding(type) & BTF_INT_BOOL)) {
        if (wide || value < 0 || value > 1)
            return tn_fail(err, -ERANGE, "bad_value", "a _Bool is 0, 1, true or false");
        bits = TN_MIN(bits, 8u);
    }
    return store(value, wide, is_signed, bytes, len, shift, bits, err);
}

static int encode(const struct btf *btf, u32 id, const json_t *json, u8 *bytes, size_t len, int depth,
                  struct tn_error *err);

/* One member by name, also inside members without a name. −ENOENT quietly. */
static int encode_member(const struct btf *btf, const struct btf_type *type, const char *key,
                         const json_t *json, u8 *bytes, size_t len, int depth, struct tn_error *err)
{
    const struct btf_member *member = btf_members(type);

    for (u32 i = 0; i < btf_vlen(type); i++, member++) {
        u32 bit = btf_member_bit_offset(type, i), width = btf_member_bitfield_size(type, i), at = bit / 8,
            id = 0;
        const char *name = btf__name_by_offset(btf, member->name_off);
        const struct btf_type *inner = strip(btf, member->type, &id);
        s64 size = inner ? btf__resolve_size(btf, id) : -1;
        int r;

        if (size < 0 || at > len)
            continue;
        if (name && strcmp(name, key) == 0 && *key) {
            if (width && (btf_is_int(inner) || btf_is_any_enum(inner)))
                return encode_number(btf, inner, json, bytes + at, len - at, bit % 8, TN_MIN(width, 64u),
                                     err);
            if ((u64)size > len - at)
                return tn_fail(err, -EINVAL, "bad_btf", "member '%s' lies outside its type", key);
            return encode(btf, id, json, bytes + at, (size_t)size, depth + 1, err);
        }
        if ((!name || !*name) && btf_is_composite(inner) && depth < DEPTH && (u64)size <= len - at) {
            r = encode_member(btf, inner, key, json, bytes + at, (size_t)size, depth + 1, err);
            if (r != -ENOENT)
                return r;
        }
    }
    return -ENOENT;
}

static int encode(const struct btf *btf, u32 id, const json_t *json, u8 *bytes, size_t len, int depth,
                  struct tn_error *err)
{
    const struct btf_type *type = depth < DEPTH ? strip(btf, id, &id) : NULL;
    const char *text = json_string_value(json), *key;
    s64 size = type && !btf_is_datasec(type) ? btf__resolve_size(btf, id) : 0;
    json_t *inner;
    size_t i;
    int r;

    if (text && strncmp(text, "hex:", 4) == 0)
        return hex(text + 4, bytes, len, err);
    if (!type || size < 0 || (u64)size > len)
        return text && strncmp(text, "0x", 2) == 0
                   ? hex(text + 2, bytes, len, err)
                   : tn_fail(err, -EINVAL, "no_btf",
                             "no type is known for these %zu bytes: write hex:… in memory order", len);
    switch (btf_kind(type)) {
    case BTF_KIND_INT:
        if (type->size > 8)
            return tn_fail(err, -EINVAL, "bad_value", "an integer of %u bytes: write hex:…", type->size);
        return encode_number(btf, type, json, bytes, (size_t)size, btf_int_offset(type), btf_int_bits(type),
                             err);
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        return encode_number(btf, type, json, bytes, (size_t)size, 0, (u32)TN_MIN(size, 8) * 8, err);
    case BTF_KIND_FLOAT: {
        double d = json_number_value(json);
        float f = (float)d;

        if (!json_is_number(json))
            return tn_fail(err, -EINVAL, "bad_value", "a number is wanted here");
        if (size != 4 && size != 8)
            return tn_fail(err, -EINVAL, "bad_value", "a number of %lld bytes: write hex:…", (long long)size);
        memcpy(bytes, size == 4 ? (void *)&f : (void *)&d, (size_t)size);
        return 0;
    }
    case BTF_KIND_ARRAY: {
        const struct btf_array *array = btf_array(type);
        s64 one = btf__resolve_size(btf, array->type);

        if (text && is_char(btf, array->type)) {
            if (strlen(text) >= (size_t)size)
                return tn_fail(err, -ERANGE, "bad_value", "'%s' and its NUL do not fit into %lld bytes", text,
                               (long long)size);
            memset(bytes, 0, (size_t)size);
            memcpy(bytes, text, strlen(text));
            return 0;
        }
        if (!json_is_array(json) || one <= 0)
            return tn_fail(err, -EINVAL, "bad_value", "an array is wanted here: [1, 2, …]");
        if (json_array_size(json) > array->nelems)
            return tn_fail(err, -ERANGE, "bad_value", "%zu elements for an array of %u",
                           json_array_size(json), array->nelems);
        json_array_foreach(json, i, inner)
        {
            r = encode(btf, array->type, inner, bytes + (u64)one * i, (size_t)one, depth + 1, err);
            if (r)
                return r;
        }
        return 0;
    }
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        if (!json_is_object(json))
            return tn_fail(err, -EINVAL, "bad_value", "an object is wanted here: {\"member\": value, …}");
        json_object_foreach((json_t *)(uintptr_t)json, key, inner)
        {
            r = encode_member(btf, type, key, inner, bytes, (size_t)size, depth, err);
            if (r == -ENOENT)
                return tn_fail(err, -EINVAL, "bad_value", "there is no member '%s'", key);
            if (r)
                return r;
        }
        return 0;
    case BTF_KIND_DATASEC:
        if (!json_is_object(json))
            return tn_fail(err, -EINVAL, "bad_value", "an object is wanted here: {\"variable\": value, …}");
        json_object_foreach((json_t *)(uintptr_t)json, key, inner)
        {
            const struct btf_var_secinfo *row = btf_var_secinfos(type);
            u32 n = btf_vlen(type), at;

            for (at = 0; at < n; at++, row++) {
                const struct btf_type *var = btf__type_by_id(btf, row->type);
                const char *name = var ? btf__name_by_offset(btf, var->name_off) : NULL;

                if (name && strcmp(name, key) == 0)
                    break;
            }
            if (at == n || row->offset > len || row->size > len - row->offset)
                return tn_fail(err, -EINVAL, "bad_value", "there is no variable '%s'", key);
            r = encode(btf, row->type, inner, bytes + row->offset, row->size, depth + 1, err);
            if (r)
                return r;
        }
        return 0;
    default:
        return tn_fail(err, -EINVAL, "bad_value", "values of this type are written as hex:…");
    }
}

int tn_value_parse_word(const struct btf *btf, u32 type_id, const char *word, void *bytes, size_t len,
                        struct tn_error *err)
{
    json_error_t why;
    json_t *json;
    int r;

    /* What is no JSON by itself is text: 0x10, a name of an enumeration, hex:…, a string without quotes. */
    json = json_loads(word, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!json && (word[0] == '{' || word[0] == '['))
        return tn_fail(err, -EINVAL, "bad_value", "%s: %s at column %d", word, why.text, why.column);
    if (!json)
        json = json_string(word);
    if (!json)
        return tn_fail(err, -EINVAL, "bad_value", "%s: neither JSON nor UTF-8 text", word);
    r = encode(btf, type_id, json, bytes, len, 0, err);
    json_decref(json);
    return r;
}
