/* SPDX-License-Identifier: MIT */
/*
 * Functions that only a specification tells the prototype of, as types behind those that a host has:
 *
 *      "int (struct order *o, int level)"   ──▶   PTR → order   FUNC_PROTO(o, level) → int   FUNC
 *
 * A name means what it means when the prototype is bound (types.c), so the two agree. A prototype that names
 * what the types do not have is left out here: binding refuses it, with its place.
 */
#include <errno.h>

#include "eim/bind.h"

struct made {
    const struct tn_btf *btf;
    u32 *word, nwords, cap_words;
    char *str;
    u32 nstr, cap_str, names; /* names: offset of the first new one */
    u32 next;                 /* the id of the next type */
    bool failed;              /* no memory */
};

static void add_word(struct made *m, u32 word)
{
    if (m->nwords == m->cap_words) {
        u32 cap = m->cap_words ? 2 * m->cap_words : 256;
        u32 *grown = realloc(m->word, cap * sizeof(*grown));

        m->failed |= !grown;
        if (!grown)
            return;
        m->word = grown;
        m->cap_words = cap;
    }
    m->word[m->nwords++] = word;
}

static u32 add_name(struct made *m, const char *name)
{
    u32 len = (u32)strlen(name) + 1, at = m->nstr;

    if (len == 1)
        return 0;
    if (len > m->cap_str - m->nstr) {
        u32 cap = 2 * m->cap_str + len + 256;
        char *grown = realloc(m->str, cap);

        m->failed |= !grown;
        if (!grown)
            return 0;
        m->str = grown;
        m->cap_str = cap;
    }
    memcpy(m->str + at, name, len);
    m->nstr += len;
    return m->names + at;
}

static u32 add_type(struct made *m, u32 name, u32 kind, u32 vlen, u32 third)
{
    add_word(m, name);
    add_word(m, kind << 24 | vlen);
    add_word(m, third);
    return m->next++;
}

/* A number of the host's own where it has one like it. */
static u32 number(struct made *m, const struct tn_vtype *v, const char *name)
{
    u32 id;

    for (id = 1; id < tn_btf_count(m->btf); id++) {
        const struct btf_type *t = tn_btf_type(m->btf, id);
        u32 data = tn_btf_kind(t) == BTF_KIND_INT ? tn_btf_int_data(t) : 0;

        if (t->size != v->size || tn_btf_kind(t) != (v->real ? BTF_KIND_FLOAT : BTF_KIND_INT))
            continue;
        if (v->real || (!(BTF_INT_ENCODING(data) & BTF_INT_SIGNED) == !v->is_signed &&
                        !(BTF_INT_ENCODING(data) & BTF_INT_BOOL) && BTF_INT_BITS(data) == 8u * v->size))
            return id;
    }
    id = add_type(m, add_name(m, name), v->real ? BTF_KIND_FLOAT : BTF_KIND_INT, 0, v->size);
    if (!v->real)
        add_word(m, (v->is_signed ? BTF_INT_SIGNED : 0u) << 24 | 8u * v->size);
    return id;
}

static int type(struct made *m, const struct tn_scope *s, const struct tn_ctype *t, u32 *ret)
{
    struct tn_vtype v = {.size = t->size, .is_signed = t->is_signed, .real = t->real};
    u32 id = 0;
    int err = t->kind == TN_CT_NUMBER ? 0 : tn_ctype_find(s, t, &id, &v);

    if (err)
        return err;
    if (!id && (t->kind == TN_CT_NUMBER || v.number))
        id = number(m, &v, t->name);
    if (id && id < tn_btf_count(m->btf) && !t->pointers && !tn_can_be_passed(m->btf, id))
        return -EINVAL;
    for (u32 k = 0; k < t->pointers; k++)
        id = add_type(m, 0, BTF_KIND_PTR, 0, id);
    *ret = id;
    return 0;
}

static int function(struct made *m, const struct tn_scope *s, const struct tn_signature *sig,
                    const char *name, u32 *ret)
{
    u32 param[TN_PARAMS_MAX], result = 0, proto;
    int err = type(m, s, &sig->ret, &result);

    for (u32 k = 0; k < sig->n && !err; k++)
        err = type(m, s, &sig->param[k].type, &param[k]);
    if (err)
        return err;
    proto = add_type(m, 0, BTF_KIND_FUNC_PROTO, sig->n, result);
    for (u32 k = 0; k < sig->n; k++) {
        char other[16];

        snprintf(other, sizeof(other), "arg%u", k + 1);
        add_word(m, add_name(m, sig->param[k].name ? sig->param[k].name : other));
        add_word(m, param[k]);
    }
    *ret = add_type(m, add_name(m, name), BTF_KIND_FUNC, BTF_FUNC_GLOBAL, proto);
    return 0;
}

static int seal(const struct made *m, const void *raw, void **ret, u64 *ret_size)
{
    struct btf_header h;
    u64 size;
    u8 *to;

    memcpy(&h, raw, sizeof(h));
    size = h.hdr_len + (u64)h.type_len + m->nwords * sizeof(u32) + h.str_len + m->nstr;
    to = calloc(1, size);
    if (!to)
        return -ENOMEM;
    memcpy(to, raw, h.hdr_len);
    memcpy(to + h.hdr_len, (const u8 *)raw + h.hdr_len + h.type_off, h.type_len);
    if (m->nwords)
        memcpy(to + h.hdr_len + h.type_len, m->word, m->nwords * sizeof(u32));
    memcpy(to + size - m->nstr - h.str_len, (const u8 *)raw + h.hdr_len + h.str_off, h.str_len);
    if (m->nstr)
        memcpy(to + size - m->nstr, m->str, m->nstr);
    h.type_off = 0;
    h.type_len += m->nwords * (u32)sizeof(u32);
    h.str_off = h.type_len;
    h.str_len += m->nstr;
    memcpy(to, &h, sizeof(h));
    *ret = to;
    *ret_size = size;
    return 0;
}

int tn_eim_complete(const struct tn_eim *eim, const char *host, const struct tn_btf *btf, const void *raw,
                    struct tn_eim_wanted *wanted, u32 n, void **ret, u64 *ret_size)
{
    const struct tn_host *h = NULL;
    struct tn_bag bag = {0};
    const struct tn_scope s = {btf, &bag, NULL, NULL};
    struct made m = {.btf = btf, .next = tn_btf_count(btf)};
    struct btf_header head;
    int r = 0;

    memcpy(&head, raw, sizeof(head));
    m.names = head.str_len;
    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host))
            h = &eim->host[k];
    for (u32 k = 0; k < n && h && r != -ENOMEM; k++) {
        const u32 at = wanted[k].item;
        const bool entry = at < h->nentries;
        const struct tn_signature *sig =
            entry ? h->entry[at].signature : h->function[at - h->nentries].signature;

        wanted[k].id = 0;
        r = function(&m, &s, sig, entry ? h->entry[at].function : h->function[at - h->nentries].function,
                     &wanted[k].id);
    }
    r = m.failed || r == -ENOMEM ? -ENOMEM : seal(&m, raw, ret, ret_size);
    free(m.word);
    free(m.str);
    tn_bag_clear(&bag);
    return r;
}
