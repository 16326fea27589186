/* SPDX-License-Identifier: MIT */
/*
 * Functions and variables. What a DIE does not say itself, the one it was made from says: a concrete
 * instance points at the abstract function, a definition at its declaration.
 *
 * A parameter's location at the first instruction is noted here and judged later (entry.c), when types have
 * sizes.
 */
#include <errno.h>

#include "host/dwarf_int.h"
#include "host/stub.h"

#define ORIGINS_MAX 6u
#define PEELS_MAX   16u
#define NESTED_MAX  6u

/* ------------------------------------------------------------------------------------------- growing */

static bool more(struct tn_found *found, void *array, u32 n, u32 *cap, u32 size)
{
    u32 want = *cap ? *cap * 2 : 1024;
    void *p;

    if (n < *cap)
        return true;
    p = want < 1u << 27 ? reallocarray(*(void **)array, want, size) : NULL;
    if (!p) {
        if (!found->raw.error)
            found->raw.error = -ENOMEM;
        return false;
    }
    *(void **)array = p;
    *cap = want;
    return true;
}

struct tn_found_func *tn_found_add_func(struct tn_found *found)
{
    if (!more(found, &found->func, found->nfuncs, &found->cap_funcs, sizeof(*found->func)))
        return NULL;
    found->func[found->nfuncs] = (struct tn_found_func){0};
    return &found->func[found->nfuncs++];
}

struct tn_found_var *tn_found_add_var(struct tn_found *found)
{
    if (!more(found, &found->var, found->nvars, &found->cap_vars, sizeof(*found->var)))
        return NULL;
    found->var[found->nvars] = (struct tn_found_var){0};
    return &found->var[found->nvars++];
}

void tn_found_clear(struct tn_found *found)
{
    tn_raw_clear(&found->raw);
    free(found->func);
    free(found->var);
    free(found->at);
    *found = (struct tn_found){0};
}

/* ------------------------------------------------------------------------------------------- origins */

/* What a function or variable is called, of what type it is, from its own DIE and those behind it. */
struct said {
    const char *name, *linkage;
    bool external, has_type;
    u32 type;
    Dwarf_Attribute type_attr;
    Dwarf_Die params;   /* the DIE whose children are the parameters as declared */
    Dwarf_Die abstract; /* the last one behind an abstract_origin */
    bool has_abstract;
};

static void hear(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a, struct said *s)
{
    Dwarf_Die at = *die;
    struct tn_attrs own;

    *s = (struct said){.name = "", .linkage = "", .params = *die};
    for (u32 i = 0; i < ORIGINS_MAX; i++) {
        enum tn_dwarf_attr next = tn_has(a, TN_A_ORIGIN) ? TN_A_ORIGIN : TN_A_SPECIFICATION;

        if (!*s->name)
            s->name = tn_dwarf_string(a, TN_A_NAME);
        if (!*s->linkage)
            s->linkage = tn_dwarf_string(a, TN_A_LINKAGE_NAME);
        if (!*s->linkage)
            s->linkage = tn_dwarf_string(a, TN_A_MIPS_LINKAGE_NAME);
        s->external |= tn_dwarf_flag(a, TN_A_EXTERNAL);
        if (!s->has_type && tn_has(a, TN_A_TYPE)) {
            s->has_type = true;
            s->type = tn_dwarf_type_of(d, a);
            s->type_attr = a->a[TN_A_TYPE];
        }
        if (!tn_has(a, next) || !dwarf_formref_die(&a->a[next], &at) || !tn_dwarf_tick(d))
            return;
        if (next == TN_A_ORIGIN) {
            s->params = s->abstract = at;
            s->has_abstract = true;
        }
        a = &own;
        if (!tn_dwarf_attrs(&at, a))
            return;
    }
}

static u32 name_of(struct tn_dwarf *d, const struct said *s)
{
    struct tn_raw *raw = &d->found->raw;

    if (d->c_names && tn_raw_identifier(s->name))
        return tn_raw_string(raw, s->name);
    if (tn_raw_identifier(s->linkage))
        return tn_raw_string(raw, s->linkage);
    return tn_raw_name(raw, s->name);
}

/* ----------------------------------------------------------------------------------------- locations */

static bool is_reg(u8 atom)
{
    return atom >= DW_OP_reg0 && atom <= DW_OP_reg31;
}

/* One expression, as of the entry. `cfa`: DW_OP_fbreg counts from the CFA. `whole`: it is said of all of the function, in which the
   stack pointer moves. */
static struct tn_param_at read_place(const Dwarf_Op *op, size_t n, bool cfa, bool whole)
{
    struct tn_param_at at = {.place = TN_AT_OTHER};

    if (!n)
        return (struct tn_param_at){.place = TN_AT_NOWHERE};
    if (n == 1 && op->atom == DW_OP_fbreg) {
        s64 off = (s64)op->number;

        if (!cfa || off < 0 || off > INT32_MAX)
            return (struct tn_param_at){.place = TN_AT_MEMORY};
        return (struct tn_param_at){.place = TN_AT_STACK, .off = (s32)off};
    }
    if (n == 1 && op->atom == DW_OP_breg7) { /* the CFA is rsp + 8 there */
        s64 off = (s64)op->number - 8;

        if (!whole && off >= 0 && off <= INT32_MAX)
            return (struct tn_param_at){.place = TN_AT_STACK, .off = (s32)off};
        return (struct tn_param_at){.place = TN_AT_MEMORY};
    }
    if (n == 1 && op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31)
        return (struct tn_param_at){.place = TN_AT_MEMORY};
    if (is_reg(op->atom) && n == 1)
        return (struct tn_param_at){.place = TN_AT_REGS, .n = 1, .reg = {(u8)(op->atom - DW_OP_reg0)}};
    if (op[n - 1].atom == DW_OP_stack_value || op->atom == DW_OP_implicit_value)
        return (struct tn_param_at){.place = TN_AT_CONSTANT};
    if (n == 4 && is_reg(op[0].atom) && op[1].atom == DW_OP_piece && is_reg(op[2].atom) &&
        op[3].atom == DW_OP_piece)
        return (struct tn_param_at){.place = TN_AT_REGS,
                                    .n = 2,
                                    .reg = {(u8)(op[0].atom - DW_OP_reg0), (u8)(op[2].atom - DW_OP_reg0)}};
    return at;
}

static struct tn_param_at place_of(struct tn_attrs *a, u64 entry, bool cfa)
{
    Dwarf_Op *expr[1];
    size_t len[1];

    if (!tn_has(a, TN_A_LOCATION))
        return (struct tn_param_at){.place = tn_has(a, TN_A_CONST_VALUE) ? TN_AT_CONSTANT : TN_AT_NOWHERE};
    if (dwarf_getlocation_addr(&a->a[TN_A_LOCATION], entry, expr, len, 1) < 1)
        return (struct tn_param_at){.place = TN_AT_LATER};
    return read_place(expr[0], len[0], cfa, dwarf_whatform(&a->a[TN_A_LOCATION]) == DW_FORM_exprloc);
}

/* Does the function's frame base say "the CFA"? */
static bool frame_is_cfa(Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    Dwarf_Block block;

    return dwarf_attr(die, DW_AT_frame_base, &attr) && !dwarf_formblock(&attr, &block) && block.length == 1 &&
           block.data[0] == DW_OP_call_frame_cfa;
}

static enum tn_host_reason awkward(struct tn_dwarf *d, Dwarf_Attribute *type, u32 depth);

/* Whether a class is passed by a hidden reference, as those are that copy or destroy themselves. Clang says
   so; of GCC's it is believed of each class that has functions, bases, or members of such a class. And whether it has
   a vector in it, which goes where a vector would. */
static enum tn_host_reason awkward_class(struct tn_dwarf *d, Dwarf_Die *die, u32 depth)
{
    enum tn_host_reason reason = TN_HOST_NONE;
    struct tn_attrs a;
    Dwarf_Die child;
    bool told = d->c_names; /* that it is passed by value */
    u64 how = 0;

    if (!tn_dwarf_attrs(die, &a))
        return TN_HOST_PARAM_REF;
    if (tn_has(&a, TN_A_SIGNATURE) &&
        (!dwarf_formref_die(&a.a[TN_A_SIGNATURE], die) || !tn_dwarf_attrs(die, &a)))
        return TN_HOST_PARAM_REF;
    if (tn_dwarf_flag(&a, TN_A_DECLARATION)) /* Clang leaves out what another unit is sure to have */
        return TN_HOST_PARAM_REF;
    if (tn_dwarf_number(&a, TN_A_CALLING_CONVENTION, &how)) {
        if (how == DW_CC_pass_by_reference)
            return TN_HOST_PARAM_REF;
        told = true;
    }
    if (dwarf_child(die, &child))
        return TN_HOST_NONE;
    do {
        int tag = dwarf_tag(&child);

        if (!tn_dwarf_tick(d) || (!told && (tag == DW_TAG_subprogram || tag == DW_TAG_inheritance)))
            return TN_HOST_PARAM_REF;
        if ((tag == DW_TAG_member || tag == DW_TAG_inheritance) && tn_dwarf_attrs(&child, &a) &&
            tn_has(&a, TN_A_TYPE) && !tn_dwarf_flag(&a, TN_A_EXTERNAL))
            reason = awkward(d, &a.a[TN_A_TYPE], depth + 1);
        if (told && reason != TN_HOST_PARAM_VECTOR)
            reason = TN_HOST_NONE;
    } while (reason == TN_HOST_NONE && !dwarf_siblingof(&child, &child));
    return reason;
}

/* Behind typedefs and qualifiers: a vector, or a class that is passed by a hidden reference? */
static enum tn_host_reason awkward(struct tn_dwarf *d, Dwarf_Attribute *type, u32 depth)
{
    struct tn_attrs a;
    Dwarf_Die die;

    if (depth > NESTED_MAX)
        return TN_HOST_PARAM_REF;
    for (u32 i = 0; i < PEELS_MAX; i++) {
        if (!dwarf_formref_die(type, &die))
            return TN_HOST_NONE;
        switch (dwarf_tag(&die)) {
        case DW_TAG_typedef:
        case DW_TAG_const_type:
        case DW_TAG_volatile_type:
        case DW_TAG_atomic_type:
            if (!tn_dwarf_attrs(&die, &a) || !tn_has(&a, TN_A_TYPE))
                return TN_HOST_NONE;
            *type = a.a[TN_A_TYPE];
            continue;
        case DW_TAG_array_type:
            if (!tn_dwarf_attrs(&die, &a))
                return TN_HOST_NONE;
            if (tn_dwarf_flag(&a, TN_A_VECTOR))
                return TN_HOST_PARAM_VECTOR;
            if (!tn_has(&a, TN_A_TYPE)) /* of classes, inside of one */
                return TN_HOST_NONE;
            *type = a.a[TN_A_TYPE];
            continue;
        case DW_TAG_structure_type:
        case DW_TAG_class_type:
        case DW_TAG_union_type:
            return awkward_class(d, &die, depth);
        default:
            return TN_HOST_NONE;
        }
    }
    return TN_HOST_NONE;
}

static void object(struct tn_found_func *f, enum tn_host_reason reason, u32 param)
{
    if (reason == TN_HOST_NONE || f->reason != TN_HOST_NONE)
        return;
    f->reason = reason;
    f->param = param;
}

static struct tn_param_at *more_places(struct tn_found *found, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        if (!more(found, &found->at, found->nat, &found->cap_at, sizeof(*found->at)))
            return NULL;
        found->at[found->nat++] = (struct tn_param_at){.place = TN_AT_NOWHERE};
    }
    return n ? found->at + found->nat - n : NULL;
}

/* The places of the `n` declared parameters, whose DIEs lie at `declared`, as the instance `die` has them. */
static void read_places(struct tn_dwarf *d, Dwarf_Die *die, const void **declared, u32 n,
                        struct tn_found_func *f)
{
    bool cfa = frame_is_cfa(die);
    struct tn_param_at *at = more_places(d->found, n);
    struct tn_attrs a;
    Dwarf_Die child, origin;
    u32 next = 0;

    f->first = d->found->nat - n;
    f->nparams = n;
    if (!at || dwarf_child(die, &child))
        return;
    do {
        Dwarf_Attribute type;
        u32 k = next;

        if (!tn_dwarf_tick(d))
            return;
        if (dwarf_tag(&child) != DW_TAG_formal_parameter)
            continue;
        if (!tn_dwarf_attrs(&child, &a))
            return;
        if (child.addr != declared[TN_MIN(next, TN_RAW_NPARAM)] && tn_has(&a, TN_A_ORIGIN) &&
            dwarf_formref_die(&a.a[TN_A_ORIGIN], &origin)) {
            for (k = 0; k < n && declared[k] != origin.addr; k++)
                ;
        }
        next++;
        if (k >= n)
            continue;
        at[k] = place_of(&a, f->addr, cfa);
        if (!tn_has(&a, TN_A_TYPE) && tn_has(&a, TN_A_ORIGIN) &&
            dwarf_formref_die(&a.a[TN_A_ORIGIN], &origin) && dwarf_attr(&origin, DW_AT_type, &type))
            object(f, awkward(d, &type, 0), k);
        else if (tn_has(&a, TN_A_TYPE)) {
            type = a.a[TN_A_TYPE];
            object(f, awkward(d, &type, 0), k);
        }
    } while (!dwarf_siblingof(&child, &child));
}

/* ----------------------------------------------------------------------------------------- functions */

/* Where it begins, and the bytes of the piece that holds the beginning. False: no code. */
static bool code_of(Dwarf_Die *die, struct tn_attrs *a, u64 *ret_addr, u64 *ret_size)
{
    Dwarf_Addr low = 0, base, end = 0;
    Dwarf_Word size = 0;

    if (tn_has(a, TN_A_LOW_PC)) {
        if (dwarf_formaddr(&a->a[TN_A_LOW_PC], &low) || !low)
            return false;
        if (tn_has(a, TN_A_HIGH_PC)) {
            if (!dwarf_formaddr(&a->a[TN_A_HIGH_PC], &end))
                size = end > low ? end - low : 0;
            else if (dwarf_formudata(&a->a[TN_A_HIGH_PC], &size))
                size = 0;
        }
    } else if (tn_has(a, TN_A_RANGES)) {
        if (dwarf_ranges(die, 0, &base, &low, &end) <= 0 || low <= 1)
            return false;
        size = end > low ? end - low : 0;
    } else {
        return false;
    }
    *ret_addr = low;
    *ret_size = size;
    return true;
}

static void note_inlined(struct tn_dwarf *d, Dwarf_Die *die, const struct said *s)
{
    u32 *slot = tn_die_map_at(&d->abstract, die->addr);

    if (!slot || !more(d->found, &d->inlined, d->ninlined, &d->cap_inlined, sizeof(*d->inlined))) {
        tn_dwarf_fail(d, -ENOMEM);
        return;
    }
    if (*slot) /* an instance with a body came first */
        return;
    d->inlined[d->ninlined++] =
        (struct tn_inlined){.name = name_of(d, s), .flags = s->external ? 0 : TN_HOST_STATIC};
    *slot = d->ninlined;
}

static void note_body(struct tn_dwarf *d, const struct said *s)
{
    u32 *slot = tn_die_map_at(&d->abstract, s->abstract.addr);

    if (!slot) {
        tn_dwarf_fail(d, -ENOMEM);
        return;
    }
    if (*slot && *slot != UINT32_MAX)
        d->inlined[*slot - 1].has_body = true;
    *slot = UINT32_MAX;
}

/* A prototype, and no more. */
static void declared_function(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a)
{
    bool named = !tn_dwarf_flag(a, TN_A_DECLARATION);
    struct tn_found_func *f;
    struct said s;
    u32 n, name;

    hear(d, die, a, &s);
    if (named && strncmp(s.name, TN_STUB_NAMED, sizeof(TN_STUB_NAMED) - 1) != 0)
        return;
    name = named ? tn_raw_name(&d->found->raw, s.name + sizeof(TN_STUB_NAMED) - 1) : name_of(d, &s);
    n = tn_dwarf_params(d, die, true, NULL);
    if (n > TN_RAW_NPARAM)
        return;
    f = name && s.external ? tn_found_add_func(d->found) : NULL;
    if (!f) {
        d->nscratch -= 2 * n;
        return;
    }
    f->name = f->link_name = name;
    f->named = named;
    f->proto = tn_raw_node(&d->found->raw);
    f->proto_word = d->found->raw.nwords;
    tn_dwarf_proto(d, f->proto, s.type, n);
}

/* What is declared takes the names over that stand beside it. */
void tn_dwarf_names(struct tn_dwarf *d)
{
    struct tn_found *found = d->found;
    _free_ u32 *names =
        calloc(found->raw.nstr + 1u, sizeof(*names)); /* by name: the row that has them, and one */
    u32 *word = found->raw.word, n = 0;

    if (!names) {
        tn_dwarf_fail(d, -ENOMEM);
        return;
    }
    for (u32 i = 0; i < found->nfuncs; i++)
        if (found->func[i].named)
            names[found->func[i].name] = i + 1;
    for (u32 i = 0; i < found->nfuncs && !found->raw.error; i++) {
        const struct tn_found_func *f = &found->func[i], *from;

        if (f->named)
            continue;
        from = names[f->name] ? &found->func[names[f->name] - 1] : NULL;
        if (from && word[from->proto_word + 1] == word[f->proto_word + 1]) /* as many */
            for (u32 k = 0; k < BTF_INFO_VLEN(word[f->proto_word + 1]); k++)
                word[f->proto_word + 3 + 2 * k] = word[from->proto_word + 3 + 2 * k];
    }
    for (u32 i = 0; i < found->nfuncs; i++)
        if (!found->func[i].named)
            found->func[n++] = found->func[i];
    found->nfuncs = n;
}

void tn_dwarf_function(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a)
{
    const void *declared[TN_RAW_NPARAM + 1] = {NULL};
    struct tn_raw *raw = &d->found->raw;
    u64 addr = 0, size = 0;
    struct tn_found_func *f;
    struct said s;
    u32 n;

    if (d->declared) {
        declared_function(d, die, a);
        return;
    }
    if (!code_of(die, a, &addr, &size)) {
        hear(d, die, a, &s);
        if (!s.has_abstract) /* with link-time optimisation nothing more says that it is inlined */
            note_inlined(d, die, &s);
        return;
    }
    hear(d, die, a, &s);
    if (s.has_abstract)
        note_body(d, &s);
    f = tn_found_add_func(d->found);
    if (!f)
        return;
    *f = (struct tn_found_func){.addr = addr,
                                .size = size,
                                .name = name_of(d, &s),
                                .flags =
                                    (s.external ? 0 : TN_HOST_STATIC) | (d->throws ? TN_HOST_MAY_THROW : 0),
                                .gnu = d->gnu,
                                .clang = d->clang};
    f->link_name = tn_raw_string(raw, *s.linkage ? s.linkage : s.name);
    if (!s.external && d->clang && s.has_type)
        f->flags |= TN_HOST_RETURN_UNSURE;
    n = tn_dwarf_params(d, &s.params, true, declared);
    if (n > TN_RAW_NPARAM || !f->name || raw->error || d->error) {
        f->reason = TN_HOST_NOT_TYPED;
        if (n <= TN_RAW_NPARAM)
            d->nscratch -= 2 * n;
        return;
    }
    f->proto = tn_raw_node(raw);
    tn_dwarf_proto(d, f->proto, s.type, n);
    if (n && !declared[n - 1])
        n--; /* … */
    if (s.has_type)
        object(f, awkward(d, &s.type_attr, 0), 0);
    read_places(d, die, declared, n, f);
}

void tn_dwarf_inlined_rows(struct tn_dwarf *d)
{
    for (u32 i = 0; i < d->ninlined; i++) {
        struct tn_found_func *f;

        if (d->inlined[i].has_body || !d->inlined[i].name)
            continue;
        f = tn_found_add_func(d->found);
        if (!f)
            return;
        *f = (struct tn_found_func){
            .name = d->inlined[i].name, .flags = d->inlined[i].flags, .reason = TN_HOST_INLINED};
    }
}

/* ----------------------------------------------------------------------------------------- variables */

/* DW_OP_addr, or its indexed form; a thread's variable has no address. False: no place of its own. */
static bool address_of(struct tn_attrs *a, u64 *ret, u32 *flags)
{
    Dwarf_Block block;
    Dwarf_Attribute at;
    Dwarf_Op *op;
    size_t n;

    if (!tn_has(a, TN_A_LOCATION) || dwarf_formblock(&a->a[TN_A_LOCATION], &block) || !block.length)
        return false;
    if (block.data[0] == DW_OP_addr && block.length == 9) {
        memcpy(ret, block.data + 1, 8);
        return *ret != 0;
    }
    if (block.data[block.length - 1] == DW_OP_GNU_push_tls_address ||
        block.data[block.length - 1] == DW_OP_form_tls_address) {
        *ret = 0;
        *flags |= TN_HOST_THREAD_LOCAL;
        return true;
    }
    if (block.data[0] != DW_OP_addrx || dwarf_getlocation(&a->a[TN_A_LOCATION], &op, &n) || n != 1)
        return false;
    return !dwarf_getlocation_attr(&a->a[TN_A_LOCATION], op, &at) && !dwarf_formaddr(&at, ret) && *ret;
}

void tn_dwarf_variable(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a)
{
    struct tn_found_var *v;
    u64 addr = 0;
    u32 flags = 0;
    struct said s;

    if (d->declared ? !tn_dwarf_flag(a, TN_A_DECLARATION) : !address_of(a, &addr, &flags))
        return;
    hear(d, die, a, &s);
    if (!*s.name && !*s.linkage)
        return; /* a string's, a table's of the compiler */
    v = tn_found_add_var(d->found);
    if (!v)
        return;
    *v = (struct tn_found_var){.addr = addr,
                               .name = name_of(d, &s),
                               .type = s.type,
                               .flags = flags | (s.external ? 0 : TN_HOST_STATIC)};
    if (!v->name)
        v->name = 0;
}
