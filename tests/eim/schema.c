/* SPDX-License-Identifier: MIT */
/*
 * The schema that editors use, held against the rows that the parser uses: the same mappings, the same keys,
 * the same ones required, nothing else taken, and for each key the form that the row says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "eim/schema.h"

static const struct {
    enum tn_eim_mapping mapping;
    const char *key, *form;
    bool required;
} keys[] = {
#define K(mapping, key, form, required) {TN_MAP_##mapping, #key, #form, required},
    TN_EIM_KEYS(K)
#undef K
};
static const char *const mappings[] = {
#define M(mapping, ...) #mapping,
    TN_EIM_MAPPINGS(M)
#undef M
};
static json_t *schema, *definitions;

static bool has(json_t *list, const char *word)
{
    json_t *item;
    size_t k;

    json_array_foreach(list, k, item) if (!strcmp(json_string_value(item), word)) return true;
    return false;
}

static const char *ref(json_t *value)
{
    const char *r = json_string_value(json_object_get(value, "$ref"));

    return r ? strrchr(r, '/') + 1 : "";
}

static void check_form(const char *key, const char *form, json_t *value)
{
    const char *of = strchr(form, '_') ? strchr(form, '_') + 1 : "";

    if (!strcmp(form, "VERSION"))
        assert_int_equal(json_integer_value(json_object_get(value, "const")), 1);
    else if (!strcmp(form, "NAME"))
        assert_string_equal(ref(value), "name");
    else if (!strcmp(form, "RULE"))
        assert_string_equal(ref(value), "rule");
    else if (!strcmp(form, "PATH"))
        assert_string_equal(ref(value), "path");
    else if (!strcmp(form, "TEXT") || !strcmp(form, "EXPR"))
        assert_string_equal(ref(value), "text");
    else if (!strcmp(form, "HOST_OR_NAME"))
        assert_int_equal(json_array_size(json_object_get(value, "anyOf")), 2);
    else if (!strncmp(form, "MAP_", 4))
        assert_string_equal(ref(value), of);
    else if (!strncmp(form, "LIST_", 5))
        assert_string_equal(ref(json_object_get(value, "items")), of);
    else if (!strcmp(form, "EXPRS") || !strcmp(form, "TEXTS"))
        assert_string_equal(ref(json_object_get(value, "items")), "text");
    else
        fail_msg("%s: no form is called %s", key, form);
}

static void test_same_keys(void **state)
{
    for (u32 m = 0; m < TN_MAP_COUNT; m++) {
        json_t *d = json_object_get(definitions, mappings[m]), *props = json_object_get(d, "properties");
        json_t *required = json_object_get(d, "required");
        u32 n = 0, nrequired = 0;

        assert_non_null(props);
        assert_true(json_is_false(json_object_get(d, "additionalProperties")));
        for (size_t k = 0; k < TN_ARRAY_SIZE(keys); k++) {
            json_t *value = json_object_get(props, keys[k].key);

            if (keys[k].mapping != (enum tn_eim_mapping)m)
                continue;
            if (!value)
                fail_msg("%s.%s is not in the schema", mappings[m], keys[k].key);
            check_form(keys[k].key, keys[k].form, value);
            assert_int_equal(has(required, keys[k].key), keys[k].required);
            n++;
            nrequired += keys[k].required;
        }
        assert_int_equal(json_object_size(props), n);
        assert_int_equal(json_array_size(required), nrequired);
    }
}

static void test_same_words(void **state)
{
    json_t *rules = json_object_get(json_object_get(definitions, "rule"), "enum");

    assert_int_equal(json_array_size(rules), TN_RULE_COUNT);
#define R(word) assert_true(has(rules, #word));
    TN_EIM_RULES(R)
#undef R
}

static void test_whole(void **state)
{
    assert_string_equal(ref(schema), "DOCUMENT");
    assert_int_equal(json_object_size(definitions), TN_MAP_COUNT + 4);
}

static int load(void **state)
{
    json_error_t err;

    schema = json_load_file(SCHEMA, JSON_REJECT_DUPLICATES, &err);
    definitions = json_object_get(schema, "definitions");
    if (!definitions)
        print_error("%s:%d: %s\n", SCHEMA, err.line, err.text);
    return !definitions;
}
static int unload(void **state)
{
    json_decref(schema);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_keys), cmocka_unit_test(test_same_words),
                                       cmocka_unit_test(test_whole)};

    return cmocka_run_group_tests(tests, load, unload);
}
