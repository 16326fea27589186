/* SPDX-License-Identifier: MIT */
/* See tree.h. libyaml tells events; each becomes a node or a refusal. */
#include "eim/tree.h"

#include <errno.h>
#include <yaml.h>

#define SYNTAX "spec_syntax"

struct reader {
    yaml_parser_t parser;
    struct tn_bag *bag;
    const char *file;
    struct tn_error *err;
    u32 nodes;
};

static struct tn_eim_at place(const struct reader *r, yaml_mark_t mark)
{
    return (struct tn_eim_at){r->file, (u32)mark.line + 1, (u32)mark.column + 1};
}

static int refuse(const struct reader *r, yaml_mark_t mark, int code, const char *what)
{
    struct tn_eim_at at = place(r, mark);

    return tn_eim_fail(r->err, &at, code, SYNTAX, "%s", what);
}

static int next(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return 0;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    if (r->parser.error == YAML_READER_ERROR) {
        struct tn_eim_at whole = {r->file, 0, 0};

        return tn_eim_fail(r->err, &whole, -EINVAL, SYNTAX, "this is no text in UTF-8: %s at byte %zu",
                           r->parser.problem ? r->parser.problem : "it cannot be read",
                           r->parser.problem_offset);
    }
    struct tn_eim_at at = place(r, r->parser.problem_mark);
    return tn_eim_fail(r->err, &at, -EINVAL, SYNTAX, "this is not YAML: %s%s%s",
                       r->parser.problem ? r->parser.problem : "it cannot be read",
                       r->parser.context ? " " : "", r->parser.context ? r->parser.context : "");
}

/* Characters, as columns are counted. */
static u32 characters(const char *s, size_t len)
{
    u32 n = 0;

    for (size_t k = 0; k < len; k++)
        n += ((unsigned char)s[k] & 0xc0) != 0x80;
    return n;
}

/* A character that does not show, or that YAML takes for the end of a line: escapes can write any. */
static bool is_plain(const char *s, size_t len)
{
    static const char *const others[] = {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf"};

    for (size_t k = 0; k < len; k++) {
        unsigned char c = (unsigned char)s[k], next = (unsigned char)s[k + 1];

        if ((c < ' ' && c != '\n') || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0))
            return false;
        for (size_t o = 0; o < TN_ARRAY_SIZE(others); o++)
            if (!strncmp(s + k, others[o], 3))
                return false;
    }
    return true;
}

static int fill_text(struct reader *r, const yaml_event_t *e, struct tn_node *node)
{
    const char *value = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    bool quoted = e->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
                  e->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;

    if (!is_plain(value, len))
        return refuse(r, e->start_mark, -EINVAL, "a text cannot hold a character that does not show");
    node->text = tn_bag_dup(r->bag, value, len);
    node->inset = quoted;
    node->exact = e->start_mark.line == e->end_mark.line &&
                  e->end_mark.column - e->start_mark.column == characters(value, len) + (quoted ? 2u : 0u);
    return node->text ? 0 : -ENOMEM;
}

static int key_of(struct reader *r, const struct tn_node *map, const struct tn_node *key)
{
    if (key->kind != TN_NODE_TEXT)
        return tn_eim_fail(r->err, &key->at, -EINVAL, SYNTAX, "a key is a word, not %s",
                           tn_node_name(key->kind));
    if (!strcmp(key->text, "<<"))
        return tn_eim_fail(r->err, &key->at, -EINVAL, SYNTAX,
                           "mappings are not merged into each other: write the keys here");
    for (u32 k = 0; k < map->n; k++)
        if (!strcmp(map->item[2 * k]->text, key->text))
            return tn_eim_fail(r->err, &key->at, -EINVAL, SYNTAX,
                               "key \"%.64s\" stands here a second time; the first is on line %u", key->text,
                               map->item[2 * k]->at.line);
    return 0;
}

static int read_node(struct reader *r, yaml_event_t *first, u32 depth, struct tn_node **ret);

static int read_items(struct reader *r, struct tn_node *node, yaml_event_type_t end, u32 depth)
{
    u32 filled = 0;

    for (;;) {
        struct tn_node *child = NULL, **slot;
        yaml_event_t e;
        int err = next(r, &e);

        if (err)
            return err;
        if (e.type == end) {
            yaml_event_delete(&e);
            return 0;
        }
        err = read_node(r, &e, depth + 1, &child);
        yaml_event_delete(&e);
        if (!err && node->kind == TN_NODE_MAP && filled % 2 == 0)
            err = key_of(r, node, child);
        if (err)
            return err;
        slot = TN_BAG_PUSH(r->bag, node->item, filled);
        if (!slot)
            return -ENOMEM;
        *slot = child;
        node->n = node->kind == TN_NODE_MAP ? filled / 2 : filled;
    }
}

static int read_node(struct reader *r, yaml_event_t *e, u32 depth, struct tn_node **ret)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    struct tn_node *node;
    int err = 0;

    if (depth > TN_YAML_DEPTH_MAX)
        return refuse(r, e->start_mark, -E2BIG, "this lies too deep: a specification has four levels");
    if (++r->nodes > TN_YAML_NODES_MAX)
        return refuse(r, e->start_mark, -E2BIG, "the file has too many parts; several files may share them");
    node = tn_bag_alloc(r->bag, sizeof(*node));
    if (!node)
        return -ENOMEM;
    node->at = place(r, e->start_mark);
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        err = fill_text(r, e, node);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        node->kind = TN_NODE_LIST;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        node->kind = TN_NODE_MAP;
        break;
    case YAML_ALIAS_EVENT:
        return refuse(r, e->start_mark, -EINVAL,
                      "aliases are not taken, since a few of them unfold without bound: write it out");
    default:
        return refuse(r, e->start_mark, -EINVAL, "expected a text, a list or a mapping");
    }
    if (!err && anchor)
        err = refuse(r, e->start_mark, -EINVAL, "anchors are not taken, and so are no aliases: write it out");
    if (!err && tag)
        err = refuse(r, e->start_mark, -EINVAL, "tags are not taken: each key knows what it wants");
    if (!err && node->kind != TN_NODE_TEXT)
        err = read_items(
            r, node, node->kind == TN_NODE_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT, depth);
    if (!err)
        *ret = node;
    return err;
}

static int read_documents(struct reader *r, struct tn_node **ret)
{
    struct tn_node *top = NULL;

    for (;;) {
        yaml_event_t e;
        int err = next(r, &e);

        if (err)
            return err;
        switch (e.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_STREAM_END_EVENT:
            yaml_event_delete(&e);
            if (!top) {
                struct tn_eim_at whole = {r->file, 0, 0};

                return tn_eim_fail(r->err, &whole, -EINVAL, SYNTAX,
                                   "the file is empty; expected a mapping that begins with \"eim: 1\"");
            }
            *ret = top;
            return 0;
        case YAML_DOCUMENT_START_EVENT:
            if (top)
                err = refuse(r, e.start_mark, -EINVAL,
                             "a second document begins here: expected one a file; several files compose");
            break;
        default:
            err = read_node(r, &e, 1, &top);
            break;
        }
        yaml_event_delete(&e);
        if (err)
            return err;
    }
}

/* YAML forbids tabs where they indent and takes them elsewhere; here they are nowhere. */
static int no_tabs(const struct reader *r, const char *text, u64 len)
{
    struct tn_eim_at at = {r->file, 1, 1};

    for (u64 k = 0; k < len; k++) {
        if (text[k] == '\t')
            return tn_eim_fail(r->err, &at, -EINVAL, SYNTAX, "a tab: expected spaces");
        if (text[k] == '\n') {
            at.line++;
            at.column = 1;
        } else if (((unsigned char)text[k] & 0xc0) != 0x80) {
            at.column++;
        }
    }
    return 0;
}

int tn_yaml_read(struct tn_bag *bag, const char *name, const char *text, u64 len, struct tn_node **ret,
                 struct tn_error *err)
{
    struct reader r = {.bag = bag, .file = tn_bag_dup(bag, name, strlen(name)), .err = err};
    struct tn_eim_at whole = {r.file, 0, 0};
    int code;

    if (!r.file)
        return -ENOMEM;
    if (len > TN_YAML_BYTES_MAX)
        return tn_eim_fail(err, &whole, -E2BIG, SYNTAX,
                           "the file has %llu bytes, and %u are taken at most; several files may share them",
                           (unsigned long long)len, TN_YAML_BYTES_MAX);
    code = no_tabs(&r, text, len);
    if (code)
        return code;
    if (!yaml_parser_initialize(&r.parser))
        return -ENOMEM;
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    code = read_documents(&r, ret);
    yaml_parser_delete(&r.parser);
    return code;
}

const char *tn_node_name(enum tn_node_kind kind)
{
    static const char *const names[] = {"a text", "a list", "a mapping"};

    return names[kind];
}

struct tn_eim_at tn_node_at(const struct tn_node *node, u32 k)
{
    struct tn_eim_at at = node->at;

    if (node->exact)
        at.column += node->inset + characters(node->text, k);
    return at;
}
