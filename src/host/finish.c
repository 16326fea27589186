/* SPDX-License-Identifier: MIT */
/*
 * libbpf makes equal types one, but tells nobody which id became which: a variable of each type that is asked
 * for again stands behind all types, in order, and such variables are neither merged nor moved.
 */
#include "host/finish.h"

#include <errno.h>

struct work {
    struct tn_finish_in *in;
    struct tn_error *err;
    struct btf *btf;
    struct tn_sizes sizes;
    u32 *map;
    struct tn_found *found; /* names are offsets in its strings */
    struct tn_symbols symbols;
    struct tn_raw out, names; /* the BTF; the strings of the rows */
    struct tn_host_func_row *func;
    struct tn_host_var_row *var;
    u32 nfuncs, nvars;
};

/* ---------------------------------------------------------------------------------------- one of each */

static int too_many(struct tn_error *err, int r)
{
    if (r == -E2BIG)
        return tn_fail(err, r, "types_too_many", "more types than type information can number");
    if (r == -ENOMEM)
        return tn_fail(err, r, "types_memory", "its types need more memory than is allowed");
    return r;
}

static int put_handles(struct tn_found *found)
{
    struct tn_raw *raw = &found->raw;

    for (u32 i = 0; i < found->nfuncs; i++)
        if (found->func[i].proto) {
            (void)tn_raw_simple(raw, BTF_KIND_VAR, 0, found->func[i].proto);
            tn_raw_word(raw, 0);
        }
    for (u32 i = 0; i < found->nvars; i++) {
        (void)tn_raw_simple(raw, BTF_KIND_VAR, 0, found->var[i].type);
        tn_raw_word(raw, 0);
    }
    return raw->error;
}

static u32 handle(struct btf *btf, u32 id)
{
    const struct btf_type *t = btf__type_by_id(btf, id);

    return t && btf_is_var(t) ? t->type : 0;
}

static int take_handles(struct btf *btf, struct tn_found *found)
{
    u32 n = found->nvars, id;

    for (u32 i = 0; i < found->nfuncs; i++)
        n += found->func[i].proto != 0;
    id = btf__type_cnt(btf) - n;
    for (u32 i = 0; i < found->nfuncs; i++)
        if (found->func[i].proto)
            found->func[i].proto = handle(btf, id++);
    for (u32 i = 0; i < found->nvars; i++)
        found->var[i].type = handle(btf, id++);
    return 0;
}

static int unite(struct work *w)
{
    struct tn_raw *raw = &w->found->raw;
    u64 size = 0;
    int r = put_handles(w->found);

    r = r ? r : tn_raw_link(raw);
    r = r ? r : tn_raw_seal(raw, &size);
    if (r)
        return r;
    if (size > UINT32_MAX)
        return -E2BIG;
    w->btf = btf__new(raw->word, (u32)size);
    if (!w->btf)
        return errno ? -errno : -EINVAL;
    tn_raw_only_strings(raw);
    r = btf__dedup(w->btf, NULL);
    return r ? r : take_handles(w->btf, w->found);
}

/* ------------------------------------------------------------------------------- BTF that was there */

static int by_name(const void *a, const void *b, void *arg)
{
    const struct tn_symbols *s = arg;

    return strcmp(s->names + s->at[*(const u32 *)a].name, s->names + s->at[*(const u32 *)b].name);
}

static u32 *name_index(const struct tn_symbols *s)
{
    u32 *index = malloc((s->n + 1) * sizeof(*index));

    for (u32 i = 0; index && i < s->n; i++)
        index[i] = i;
    if (index && s->n)
        qsort_r(index, s->n, sizeof(*index), by_name, (void *)s);
    return index;
}

/* The first symbol of that name in the index; n: none. */
static u32 find_name(const struct tn_symbols *s, const u32 *index, const char *name)
{
    u32 low = 0, high = s->n;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (strcmp(s->names + s->at[index[mid]].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* A FUNC's parameters have names; a mere declaration's may have none. */
static u32 named_proto(struct btf *btf, u32 id)
{
    const struct btf_type *t = btf__type_by_id(btf, id);
    u32 n = t && btf_is_func_proto(t) ? btf_vlen(t) : 0, unnamed = 0;
    int r;

    for (u32 i = 0; i < n; i++)
        unnamed += btf_params(t)[i].type && !btf_params(t)[i].name_off;
    if (!unnamed)
        return t && btf_is_func_proto(t) ? id : 0;
    r = btf__add_func_proto(btf, (int)t->type);
    for (u32 i = 0; r > 0 && i < n; i++) {
        const struct btf_param *p = &btf_params(btf__type_by_id(btf, id))[i]; /* adding moves types */
        const char *name = btf__name_by_offset(btf, p->name_off);
        char other[16], keep[512];

        snprintf(other, sizeof(other), "arg%u", i + 1);
        snprintf(keep, sizeof(keep), "%s", name && *name ? name : p->type ? other : "");
        if (btf__add_func_param(btf, keep, (int)p->type))
            return 0;
    }
    return r > 0 ? (u32)r : 0;
}

static int join_func(struct work *w, u32 id, const u32 *index)
{
    const struct btf_type *t = btf__type_by_id(w->btf, id);
    char name[512];
    const struct tn_symbols *s = &w->symbols;
    u32 proto = t->type;

    snprintf(name, sizeof(name), "%s", btf__name_by_offset(w->btf, t->name_off) ?: "");
    if (!tn_raw_identifier(name))
        return 0;
    for (u32 k = find_name(s, index, name); k < s->n; k++) {
        const struct tn_symbol *sym = &s->at[index[k]];
        struct tn_found_func *f;

        if (strcmp(s->names + sym->name, name))
            break;
        if (!sym->func)
            continue;
        proto = named_proto(w->btf, proto);
        f = tn_found_add_func(w->found);
        if (!f)
            return -ENOMEM;
        *f = (struct tn_found_func){.addr = sym->addr,
                                    .size = sym->size,
                                    .name = tn_raw_string(&w->found->raw, name),
                                    .proto = proto,
                                    .flags =
                                        (sym->global ? 0 : TN_HOST_STATIC) | tn_host_throws_by_name(name)};
        f->link_name = f->name;
        if (!proto)
            f->reason = TN_HOST_NOT_TYPED;
        else if (!sym->global && btf_vlen(btf__type_by_id(w->btf, proto)))
            f->reason = TN_HOST_PARAM_UNKNOWN;
    }
    return 0;
}

static int join_var(struct work *w, u32 id, const u32 *index)
{
    const struct btf_type *t = btf__type_by_id(w->btf, id);
    const char *name = btf__name_by_offset(w->btf, t->name_off);
    const struct tn_symbols *s = &w->symbols;

    if (!tn_raw_identifier(name))
        return 0;
    for (u32 k = find_name(s, index, name); k < s->n; k++) {
        const struct tn_symbol *sym = &s->at[index[k]];
        struct tn_found_var *v;

        if (strcmp(s->names + sym->name, name))
            break;
        if (sym->func)
            continue;
        v = tn_found_add_var(w->found);
        if (!v)
            return -ENOMEM;
        *v = (struct tn_found_var){.addr = sym->addr,
                                   .name = tn_raw_string(&w->found->raw, name),
                                   .type = t->type,
                                   .flags = sym->global ? 0 : TN_HOST_STATIC};
    }
    return 0;
}

/* What is known to differ between the BPF target, whose compiler made most BTF that is given,
   and this one. */
static int check_target(struct work *w)
{
    for (u32 id = 1; id < btf__type_cnt(w->btf); id++) {
        const struct btf_type *t = btf__type_by_id(w->btf, id);
        const char *name = btf__name_by_offset(w->btf, t->name_off);

        if (name && !strcmp(name, "long double") && t->size != 16 && (btf_is_float(t) || btf_is_int(t)))
            return tn_fail(
                w->err, -EINVAL, "types_other_target",
                "the given types are of another machine: long double has %u bytes, here 16 (compile "
                "the header for this one)",
                t->size);
        for (u32 i = 0; btf_is_composite(t) && i < btf_vlen(t); i++) {
            u32 bare = tn_bare(w->btf, btf_members(t)[i].type);
            const struct btf_type *m = bare ? btf__type_by_id(w->btf, bare) : NULL;

            if (m && btf_is_int(m) && m->size == 16 &&
                strstr(btf__name_by_offset(w->btf, m->name_off) ?: "", "int128") &&
                btf_member_bit_offset(t, i) % 128)
                return tn_fail(w->err, -EINVAL, "types_other_target",
                               "the given types may be of another machine: an __int128 of struct %s is not "
                               "aligned to 16 bytes (compile the header for this one)",
                               name && *name ? name : "(anonymous)");
        }
    }
    return 0;
}

/* What a header declares, where there is a symbol of that name; the rest was of no use. */
static int join_declared(struct work *w)
{
    _free_ u32 *index = name_index(&w->symbols);
    const struct tn_symbols *s = &w->symbols;
    struct tn_found *found = w->found;
    u32 nf = 0, nv = 0;

    if (!index)
        return -ENOMEM;
    for (u32 i = 0; i < found->nfuncs; i++) {
        struct tn_found_func f = found->func[i];
        u32 k = find_name(s, index, found->raw.str + f.name);

        while (k < s->n && !s->at[index[k]].func)
            k++;
        if (k == s->n || strcmp(s->names + s->at[index[k]].name, found->raw.str + f.name))
            continue;
        f.addr = s->at[index[k]].addr;
        f.size = s->at[index[k]].size;
        found->func[nf++] = f;
    }
    for (u32 i = 0; i < found->nvars; i++) {
        struct tn_found_var v = found->var[i];
        u32 k = find_name(s, index, found->raw.str + v.name);

        while (k < s->n && s->at[index[k]].func)
            k++;
        if (k == s->n || strcmp(s->names + s->at[index[k]].name, found->raw.str + v.name))
            continue;
        v.addr = s->at[index[k]].addr;
        v.size = s->at[index[k]].size;
        found->var[nv++] = v;
    }
    found->nfuncs = nf;
    found->nvars = nv;
    return 0;
}

static int join(struct work *w)
{
    _free_ u32 *index = name_index(&w->symbols);
    u32 n;
    int r = 0;

    w->btf = btf__new(w->in->btf, (u32)w->in->btf_size);
    if (!w->btf || !index)
        return index
                   ? tn_fail(w->err, -EBADMSG, "types_damaged", "its BTF cannot be read: %s", strerror(errno))
                   : -ENOMEM;
    if (w->in->head.source == TN_HOST_GIVEN_BTF)
        r = check_target(w);
    n = btf__type_cnt(w->btf);
    for (u32 id = 1; id < n && !r; id++) {
        if (btf_is_func(btf__type_by_id(w->btf, id)))
            r = join_func(w, id, index);
        else if (btf_is_var(btf__type_by_id(w->btf, id)))
            r = join_var(w, id, index);
    }
    return r ? r : w->found->raw.error;
}

/* --------------------------------------------------------------------------------------------- judge */

static bool in_segment(const struct tn_host_elf *elf, u64 addr, bool exec)
{
    for (u32 i = 0; i < elf->nsegments; i++) {
        const struct tn_host_segment *s = &elf->segment[i];

        if (addr >= s->addr && addr - s->addr < s->memsz && (s->exec || !exec))
            return true;
    }
    return false;
}

static bool is_clone(const char *symbol)
{
    return strstr(symbol, ".isra.") || strstr(symbol, ".constprop.") || strstr(symbol, ".part.");
}

static void judge(struct work *w, struct tn_found_func *f)
{
    const struct tn_symbols *s = &w->symbols;
    const struct btf_type *proto = f->proto ? btf__type_by_id(w->btf, f->proto) : NULL;
    bool fixed = false;

    for (u32 k = tn_symbols_from(s, f->addr); f->addr && k < s->n && s->at[k].addr == f->addr; k++) {
        if (!s->at[k].func)
            continue;
        if (is_clone(s->names + s->at[k].name) && f->reason != TN_HOST_NOT_TYPED)
            f->reason = TN_HOST_CLONE;
        fixed |= s->at[k].global || f->gnu; /* what GCC changes, it gives another name */
    }
    if (f->addr && !proto && f->reason != TN_HOST_NO_PROTOTYPE)
        f->reason = TN_HOST_NOT_TYPED;
    if (f->reason == TN_HOST_NOT_TYPED)
        f->proto = 0;
    if (f->reason == TN_HOST_NONE)
        tn_judge_entry(&w->sizes, proto, f->nparams ? w->found->at + f->first : NULL, fixed, f);
}

/* ---------------------------------------------------------------------------------------------- rows */

/* By address; of two at one address, the one with a type first. */
static int func_order(const void *a, const void *b)
{
    const struct tn_found_func *x = a, *y = b;

    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    if (!x->proto != !y->proto)
        return x->proto ? -1 : 1;
    return x->name < y->name ? -1 : x->name > y->name;
}

static int var_order(const void *a, const void *b)
{
    const struct tn_found_var *x = a, *y = b;

    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    return x->name < y->name ? -1 : x->name > y->name;
}

static const char *text(const struct work *w, u32 off)
{
    return w->found->raw.str + off;
}

static void add_row(struct work *w, const struct tn_found_func *f, const char *name)
{
    struct tn_host_func_row *row = &w->func[w->nfuncs++];

    *row = (struct tn_host_func_row){.addr = f->addr,
                                     .size = f->size,
                                     .offset = f->addr ? tn_host_elf_offset(w->in->elf, f->addr) : UINT64_MAX,
                                     .name = tn_raw_string(&w->names, name),
                                     .flags = f->flags,
                                     .reason = f->reason,
                                     .param = f->param};
    if (!f->proto)
        return;
    tn_raw_word(&w->out, tn_raw_name(&w->out, name));
    tn_raw_word(&w->out, tn_raw_info(BTF_KIND_FUNC,
                                     f->flags & TN_HOST_STATIC ? BTF_FUNC_STATIC : BTF_FUNC_GLOBAL, false));
    tn_raw_word(&w->out, w->map[f->proto]);
    row->type = ++w->out.ntypes;
}

/* Further global names of the same code. */
static void add_aliases(struct work *w, const struct tn_found_func *f, u32 cap)
{
    const struct tn_symbols *s = &w->symbols;
    struct tn_found_func alias = *f;

    alias.flags = (f->flags & ~(u32)TN_HOST_STATIC) | TN_HOST_ALIAS;
    for (u32 k = tn_symbols_from(s, f->addr); k < s->n && s->at[k].addr == f->addr; k++) {
        const char *name = s->names + s->at[k].name;

        if (s->at[k].func && s->at[k].global && w->nfuncs < cap && tn_raw_identifier(name) &&
            strcmp(name, text(w, f->name)) && strcmp(name, text(w, f->link_name)))
            add_row(w, &alias, name);
    }
}

/* Names that functions with an address have, counted up to two. */
static void count_names(const struct tn_found *found, u8 *seen)
{
    for (u32 i = 0; i < found->nfuncs; i++)
        if (found->func[i].addr && found->func[i].name && seen[found->func[i].name] < 2)
            seen[found->func[i].name]++;
}

static void mark_ambiguous(struct work *w, u8 *seen)
{
    memset(seen, 0, w->names.nstr);
    for (u32 i = 0; i < w->nfuncs; i++)
        if (w->func[i].addr && w->func[i].reason != TN_HOST_CLONE && seen[w->func[i].name] < 2)
            seen[w->func[i].name]++;
    for (u32 i = 0; i < w->nfuncs; i++)
        if (w->func[i].addr && w->func[i].reason != TN_HOST_CLONE && seen[w->func[i].name] > 1)
            w->func[i].flags |= TN_HOST_AMBIGUOUS;
    memset(seen, 0, w->names.nstr);
    for (u32 i = 0; i < w->nvars; i++)
        if (seen[w->var[i].name] < 2)
            seen[w->var[i].name]++;
    for (u32 i = 0; i < w->nvars; i++)
        if (seen[w->var[i].name] > 1)
            w->var[i].flags |= TN_HOST_AMBIGUOUS;
}

static int by_number(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;

    return x < y ? -1 : x > y;
}

static bool is_there(const u64 *addrs, u32 n, u64 addr)
{
    return bsearch(&addr, addrs, n, sizeof(*addrs), by_number);
}

static int add_symbol(struct tn_found *found, const struct tn_symbol *sym, const char *symbol)
{
    u32 name = tn_raw_string(&found->raw, symbol);
    struct tn_found_func *f = sym->func ? tn_found_add_func(found) : NULL;
    struct tn_found_var *v = sym->func ? NULL : tn_found_add_var(found);
    u32 flags = sym->global ? 0 : TN_HOST_STATIC;

    if (!f && !v)
        return -ENOMEM;
    if (f)
        *f = (struct tn_found_func){.addr = sym->addr,
                                    .size = sym->size,
                                    .name = name,
                                    .link_name = name,
                                    .flags = flags | tn_host_throws_by_name(symbol),
                                    .reason = TN_HOST_NO_PROTOTYPE};
    else
        *v = (struct tn_found_var){.addr = sym->addr, .size = sym->size, .name = name, .flags = flags};
    return found->raw.error;
}

/* Symbols that nothing more is known of: assembly, and everything where types come from a header. */
static int add_untyped(struct work *w)
{
    const struct tn_symbols *s = &w->symbols;
    struct tn_found *found = w->found;
    u32 nf = found->nfuncs, nv = found->nvars;
    _free_ u64 *funcs = calloc(nf + 1, sizeof(*funcs));
    _free_ u64 *vars = calloc(nv + 1, sizeof(*vars));
    int r = 0;

    if (!funcs || !vars)
        return -ENOMEM;
    for (u32 i = 0; i < nf; i++)
        funcs[i] = found->func[i].addr;
    for (u32 i = 0; i < nv; i++)
        vars[i] = found->var[i].addr;
    qsort(funcs, nf, sizeof(*funcs), by_number);
    qsort(vars, nv, sizeof(*vars), by_number);
    for (u32 i = 0; i < s->n && !r; i++) {
        const char *name = s->names + s->at[i].name;
        bool there = s->at[i].func ? is_there(funcs, nf, s->at[i].addr) : is_there(vars, nv, s->at[i].addr);

        if (!there && tn_raw_identifier(name) && !strstr(name, ".cold"))
            r = add_symbol(found, &s->at[i], name);
    }
    return r;
}

/* One an address; those without a body once a name, and only if no other of the name has one. */
static int put_funcs(struct work *w)
{
    struct tn_found *found = w->found;
    _free_ u8 *seen = calloc(1, (u64)found->raw.nstr + 1);
    u32 cap = found->nfuncs + w->symbols.n + 1;
    u64 last = 0;

    w->func = calloc(cap + 1, sizeof(*w->func));
    if (!w->func || !seen)
        return -ENOMEM;
    for (u32 i = 0; i < found->nfuncs; i++)
        judge(w, &found->func[i]);
    if (found->nfuncs)
        qsort(found->func, found->nfuncs, sizeof(*found->func), func_order);
    count_names(found, seen);
    for (u32 i = 0; i < found->nfuncs; i++) {
        const struct tn_found_func *f = &found->func[i];

        if (!f->addr) {
            if (!seen[f->name]++)
                add_row(w, f, text(w, f->name));
            continue;
        }
        if (f->addr == last || !in_segment(w->in->elf, f->addr, true))
            continue;
        last = f->addr;
        add_row(w, f, text(w, f->name ? f->name : f->link_name));
        add_aliases(w, f, cap);
    }
    return w->out.error ? w->out.error : w->names.error;
}

static int put_vars(struct work *w)
{
    struct tn_found *found = w->found;
    const struct tn_found_var *last = NULL;

    w->var = calloc(found->nvars + 1, sizeof(*w->var));
    if (!w->var)
        return -ENOMEM;
    if (found->nvars)
        qsort(found->var, found->nvars, sizeof(*found->var), var_order);
    for (u32 i = 0; i < found->nvars; i++) {
        const struct tn_found_var *v = &found->var[i];
        struct tn_host_var_row *row = &w->var[w->nvars];
        s64 size = tn_size_of(&w->sizes, v->type, 0);

        if ((v->addr && !in_segment(w->in->elf, v->addr, false)) || !v->name)
            continue;
        if (last && last->addr == v->addr && last->name == v->name)
            continue;
        last = v;
        w->nvars++;
        *row = (struct tn_host_var_row){.addr = v->addr,
                                        .size = size > 0 ? (u64)size : v->size,
                                        .name = tn_raw_string(&w->names, text(w, v->name)),
                                        .flags = v->flags};
        if (size < 0 || !v->type || !w->map[v->type])
            continue;
        tn_raw_word(&w->out, tn_raw_name(&w->out, text(w, v->name)));
        tn_raw_word(&w->out, tn_raw_info(BTF_KIND_VAR, 0, false));
        tn_raw_word(&w->out, w->map[v->type]);
        tn_raw_word(&w->out, v->flags & TN_HOST_STATIC ? BTF_VAR_STATIC : BTF_VAR_GLOBAL_ALLOCATED);
        row->type = ++w->out.ntypes;
    }
    return w->out.error ? w->out.error : w->names.error;
}

/* --------------------------------------------------------------------------------------------- image */

static int put_image(struct work *w)
{
    struct tn_host_head *h = &w->in->head;
    int r = tn_raw_seal(&w->out, &h->btf_size), fd = w->in->out_fd;

    h->nfuncs = w->nfuncs;
    h->nvars = w->nvars;
    h->strings_size = w->names.nstr;
    r = r ? r : tn_write_all(fd, h, sizeof(*h));
    r = r ? r : tn_write_all(fd, w->func, w->nfuncs * sizeof(*w->func));
    r = r ? r : tn_write_all(fd, w->var, w->nvars * sizeof(*w->var));
    r = r ? r : tn_write_all(fd, w->names.str, w->names.nstr);
    return r ? r : tn_write_all(fd, w->out.word, h->btf_size);
}

static int run(struct work *w)
{
    _free_ u8 *seen = NULL;
    int r = w->in->declared ? 0 : tn_symbols_read(w->in->fd, &w->symbols);

    if (!r && w->in->debug_fd >= 0)
        r = tn_symbols_read(w->in->debug_fd, &w->symbols);
    if (r)
        return r;
    tn_symbols_sort(&w->symbols);
    r = w->in->found ? unite(w) : join(w);
    if (!r && w->in->head.source == TN_HOST_HEADER && !w->in->declared)
        r = join_declared(w);
    if (r)
        return r;
    w->map = calloc(btf__type_cnt(w->btf) + 1, sizeof(*w->map));
    if (!w->map || tn_sizes_init(w->btf, &w->sizes) || tn_raw_init(&w->out, false) ||
        tn_raw_init(&w->names, false))
        return -ENOMEM;
    r = tn_mend(&w->sizes, &w->out, w->map);
    r = r ? r : add_untyped(w);
    r = r ? r : put_funcs(w);
    r = r ? r : put_vars(w);
    if (r)
        return r;
    if (!w->out.ntypes)
        return tn_fail(w->err, -ENODATA, "no_types", "its debug information has no types");
    seen = malloc(w->names.nstr);
    if (!seen)
        return -ENOMEM;
    mark_ambiguous(w, seen);
    return put_image(w);
}

int tn_finish(struct tn_finish_in *in, struct tn_error *err)
{
    struct tn_found own = {0};
    struct work w = {.in = in, .err = err, .found = in->found ? in->found : &own};
    int r = in->found ? 0 : tn_raw_init(&own.raw, false);

    r = r ? r : run(&w);
    btf__free(w.btf);
    tn_sizes_clear(&w.sizes);
    free(w.map);
    free(w.func);
    free(w.var);
    tn_symbols_clear(&w.symbols);
    tn_raw_clear(&w.out);
    tn_raw_clear(&w.names);
    tn_found_clear(&own);
    return too_many(err, r);
}
