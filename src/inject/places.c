/* SPDX-License-Identifier: MIT */
/*
 * What is to be changed where the places of a link lie, and whether the bytes there are the file's.
 *
 *   file ── plan of a place, made once and remembered ──▶ patches, with the ways there are to each
 *   process ── the file's bytes, or ours ──▶ wishes (tn_entry.wish): what the hands are asked for
 *
 * Nothing is changed. A wish is one patch at one address; a place of many that cannot be had refuses the link, or is
 * left and told of, as the link wants it.
 */
#include "inject/patch.h"
#include "inject/wishes.h"
#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rewrite/vectors.h"

#include <errno.h>
#include <sys/mman.h>

#define EXITS_MAX 640u /* of one function, and of those that run in its place */

static bool has_puns(const struct tn_patch *patch, u32 n)
{
    for (u32 k = 0; k < n; k++)
        if (patch[k].punned)
            return true;
    return false;
}

/* What may be live at an entry of the module beyond its arguments. */
static enum tn_vectors vectors_of(const struct tn_module *m)
{
    for (u32 i = 0; i < tn_module_ncode(m); i++)
        if (tn_code_has_wide(tn_module_code_at(m, i)))
            return TN_VECTORS_WIDE;
    return TN_VECTORS_XMM;
}

static int add_patches(struct tn_planned **p, const struct tn_patch *patches, u32 n)
{
    struct tn_planned *more = realloc(*p, tn_planned_size(*p) + n * sizeof(*patches));

    if (!more)
        return -ENOMEM;
    *p = more;
    if (n)
        memcpy(more->patch + more->npatches, patches, n * sizeof(*patches));
    more->npatches += n;
    return 0;
}

static int add_syscalls(struct tn_planned **p, const struct tn_code_view *code, enum tn_place_kind kind,
                        u64 which)
{
    _free_ struct tn_patch *sites = NULL;
    u32 n = 0;
    int r = tn_find_syscalls(code, kind, which == TN_PLANNED_VFORKS ? &tn_wanted_vforks : NULL, &sites, &n);

    if (r < 0 || (*p)->npatches + n > TN_PLANNED_MAX)
        return r < 0 ? r : -E2BIG;
    return add_patches(p, sites, n);
}

void tn_source_close(struct tn_source *s)
{
    tn_asked_clear(s->asked, s->nasked);
    free(s->asked);
    tn_module_free(s->m);
}

/* What was planned ahead of this place, if it was; whoever is passed over is known by another place's plan. */
static struct tn_asked *asked_before(struct tn_source *s, enum tn_place_kind place, u64 addr)
{
    for (u32 i = s->next; i < s->nasked; i++)
        if (s->asked[i].addr == addr && s->asked[i].place == place && s->asked[i].result != -ENOMEM) {
            s->next = i + 1;
            return &s->asked[i];
        }
    return NULL;
}

static int plan_code(struct tn_source *s, enum tn_place_kind place, u64 addr, bool many,
                     struct tn_plan *ret_plan, struct tn_error *err)
{
    const struct tn_code_view *code = tn_module_code(s->m, addr);
    struct tn_asked *asked = asked_before(s, place, addr);
    int r;

    if (asked) {
        *ret_plan = asked->plan;
        asked->plan = (struct tn_plan){};
        return asked->result < 0 ? tn_fail(err, asked->result, asked->why->reason, "%s", asked->why->message)
                                 : 0;
    }
    r = many ? tn_plan_many(code) : 0;
    return r < 0 ? r : tn_plan(code, place, addr, ret_plan, err);
}

/* Of a place asked for as `kind`: at a function's first instruction, in its middle, or as it is left. */
static enum tn_place_kind place_of(const struct tn_func *f, u64 addr, u32 kind)
{
    return kind == TN_PLACE_EXIT || kind == TN_PLACE_TAIL ? (enum tn_place_kind)kind
           : f && f->addr == addr && !f->part             ? TN_PLACE_ENTRY
                                                          : TN_PLACE_OFFSET;
}

/* A place of the file, or (SYSENTER, SYSEXIT) all of its system calls. `many`: other places are asked for as well. */
static int plan_new(struct tn_entry *c, struct tn_source *s, u64 offset, u32 kind, bool vectors, bool many,
                    struct tn_planned **ret)
{
    struct tn_planned *p = *ret;
    struct tn_plan plan = {};
    u32 places = 0;
    u64 addr = 0;
    int r = s->m ? 0 : tn_module_open(s->fd, &s->m, c->err);

    if (r < 0)
        return r;
    if (kind == TN_PLACE_SYSENTER || kind == TN_PLACE_SYSEXIT) {
        p->go = tn_module_is_go(s->m);
        for (u32 i = 0; i < tn_module_ncode(s->m) && r == 0; i++)
            r = add_syscalls(ret, tn_module_code_at(s->m, i), (enum tn_place_kind)kind, offset);
        /* The file's addresses are relative to this one's place in the file. */
        p = *ret;
        if (r == 0 && p->npatches) {
            p->addr = p->patch[0].addr;
            r = tn_module_offset_of_addr(s->m, p->addr, &p->symbol_offset);
        }
        return r;
    }
    r = tn_module_addr_of_offset(s->m, offset, &addr);
    if (r < 0)
        return tn_fail(c->err, r, "not_code", "offset 0x%llx of %s is not in an executable segment",
                       (unsigned long long)offset, c->spec->path);
    const struct tn_func *f = tn_module_func(s->m, addr);
    enum tn_place_kind place = place_of(f, addr, kind);

    p->addr = addr;
    r = plan_code(s, place, addr, many, &plan, c->err);
    if (r == 0 && s->no_puns && has_puns(plan.patches, plan.npatches)) {
        tn_plan_clear(&plan);
        r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_TOO_SHORT, addr, NULL);
    }
    if (r < 0 && tn_break_serves(place, c->err->reason)) {
        struct tn_error jump = *c->err;

        *c->err = (struct tn_error){};
        r = tn_plan_break(tn_module_code(s->m, addr), place, addr, &plan, c->err);
        if (r < 0 && r != -ENOMEM)
            *c->err = jump;
    }
    for (u32 i = 0; i < plan.npatches; i++)
        places += !plan.patches[i].instead;
    if (r == 0 && places > EXITS_MAX)
        r = tn_fail(c->err, -E2BIG, "too_many_exits", "the function has %u ways out; %u can be patched",
                    places, EXITS_MAX);
    p->entry = place == TN_PLACE_ENTRY;
    if (r == 0)
        r = add_patches(ret, plan.patches, plan.npatches);
    p = *ret;
    snprintf(p->tactic, sizeof(p->tactic), "%s", plan.tactic ? plan.tactic : "");
    if (f && f->name)
        snprintf(p->symbol, sizeof(p->symbol), "%s", f->name);
    p->symbol_offset = f ? addr - f->addr : 0;
    if (vectors)
        p->vectors = vectors_of(s->m);
    tn_plan_clear(&plan);
    return r;
}

/* The plan that is kept, of this job or an earlier one, and the head of one that there will be (`vectors` as it is asked for). */
static int find_kept(struct tn_entry *c, struct tn_source *s, u64 offset, u32 kind, bool many,
                     struct tn_planned *ret_key, const struct tn_planned **ret)
{
    struct tn_planned key;

    if (!s->sb.st_ino && fstat(s->fd, &s->sb) < 0)
        return -errno;
    key = tn_plans_key(&s->sb, offset, kind);
    key.vectors = c->spec->typed && c->spec->prog.facts->calls_host && kind == TN_PLACE_ENTRY;
    key.no_puns = s->no_puns;
    *ret = tn_plans_find(c->b->cache, &key);
    if (!*ret)
        *ret = tn_plans_find(&c->b->fresh, &key);
    key.refused = !*ret && many && c->spec->some;
    if (key.refused)
        *ret = tn_plans_find(c->b->cache, &key);
    if (key.refused && !*ret)
        *ret = tn_plans_find(&c->b->fresh, &key);
    *ret_key = key;
    return 0;
}

int tn_plan_file(struct tn_entry *c, struct tn_source *s, u64 offset, u32 kind, bool many,
                 const struct tn_planned **ret)
{
    struct tn_planned key, *p;
    int r = find_kept(c, s, offset, kind, many, &key, ret);
    bool vectors = r == 0 && key.vectors;

    if (r < 0 || *ret)
        return r;
    p = malloc(sizeof(*p));
    if (!p)
        return -ENOMEM;
    key.vectors = TN_VECTORS_UNKNOWN;
    *p = key;
    p->refused = 0;
    r = plan_new(c, s, offset, kind, vectors, many, &p);
    if (r < 0 && r != -ENOMEM && key.refused && c->err->reason[0] && p->addr) {
        p->refused = 1;
        snprintf(p->tactic, sizeof(p->tactic), "%.31s", c->err->reason);
        *c->err = (struct tn_error){};
        r = 0;
    }
    if (r < 0) {
        free(p);
        return r;
    }
    *ret = p;
    return tn_plans_add(&c->b->fresh, p);
}

/* Would it be written over, or write over, what is patched in another way? */
static bool overlaps(const struct tn_entry *c, const struct tn_patch *p, u64 addr)
{
    return tn_state_overlap(c->st, addr, p->len, p->punned ? 0 : p->behind, tn_look_site(c, addr, p)) >= 0;
}

/* Bytes of a place before we do anything: the file's, or ours. */
int tn_look_bytes(const struct tn_entry *c, const struct tn_patch *p, u64 bias, const char *path,
                  struct tn_error *err)
{
    u64 addr = p->addr + bias;
    s32 site = tn_look_site(c, addr, p);
    u32 span = tn_patch_span(p);
    u8 now[TN_PATCH_MAX];

    if (p->len > sizeof(((struct tn_undo *)0)->orig))
        return tn_fail(err, -ENOTSUP, "window_too_long", "the place needs %u bytes", p->len);
    if (tn_peek(c->pid, addr, now, span) < 0)
        return tn_fail(err, -ENOENT, "not_mapped", "the code at 0x%llx of process %d cannot be read",
                       (unsigned long long)addr, c->pid);
    if (overlaps(c, p, addr))
        return tn_fail(err, -EBUSY, "overlaps_patch",
                       "another hook changes the same instructions at 0x%llx in another way: detach it "
                       "first, or ask for "
                       "both places in one link",
                       (unsigned long long)addr);
    if (site >= 0 && c->st->site[site].state == TN_SITE_PATCHED &&
        !memcmp(now, c->st->site[site].patched, p->len) &&
        !memcmp(now + p->len, p->expected + p->len, span - p->len))
        return 0;
    tn_look_put_back(c, addr, now, span);
    if (memcmp(now, p->expected, span))
        return tn_fail(err, -EEXIST, "foreign_bytes",
                       "the code at 0x%llx of process %d is not what %s says, and not ours: %s",
                       (unsigned long long)addr, c->pid, path, tn_whose_bytes(now, p->expected, span));
    return 0;
}

bool tn_same_place(const struct tn_patch *a, u64 a_bias, const struct tn_patch *b, u64 b_bias)
{
    return a->addr + a_bias == b->addr + b_bias && a->len == b->len && a->hook_before == b->hook_before &&
           a->punned == b->punned && a->ninsns == b->ninsns && a->rounds == b->rounds;
}

int tn_wish_add(struct tn_entry *c, const struct tn_patch *p, u64 bias, bool hook)
{
    struct tn_wish *more;

    /* A call that is hooked and counts. */
    for (u32 i = 0; !hook && i < c->nwishes; i++)
        if (tn_same_place(c->wish[i].patch, c->wish[i].bias, p, bias)) {
            c->wish[i].common = true;
            return 0;
        }

    /* Grown by doubling. */
    if (c->nwishes & (c->nwishes - 1))
        more = c->wish;
    else
        more = reallocarray(c->wish, c->nwishes ? c->nwishes * 2 : 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    c->wish = more;
    c->wish[c->nwishes++] = (struct tn_wish){.patch = p, .bias = bias, .hook = hook, .common = !hook};
    return 0;
}

/*
 * One place, and the ways there are to patch it: patch[0], and those behind that may be had instead. A way in which it is
 * patched already is the only one. Bytes that are the file's or ours; and why not, if there is no way.
 */
int tn_wish_one(struct tn_entry *c, const struct tn_patch *patch, u32 n, u64 bias, const char *path)
{
    struct tn_error why = {}, other;
    u32 ways = 0, first = 0;
    int r = 0;

    for (u32 k = 0; k < n; k++) {
        const struct tn_patch *p = &patch[k];
        s32 site = tn_look_site(c, p->addr + bias, p);

        other = (struct tn_error){};
        if (tn_look_bytes(c, p, bias, path, k ? &other : &why) < 0)
            continue;
        if (site >= 0 && c->st->site[site].state >= TN_SITE_PATCHED) {
            first = k;
            ways = 1;
            break;
        }
        first = ways ? first : k;
        ways |= 1u << (k - first);
    }
    if (!ways)
        return tn_fail(c->err, -EBUSY, why.reason, "%s", why.message);
    r = tn_wish_add(c, &patch[first], bias, !patch->rounds || patch->rounds == patch->addr);
    if (r < 0)
        return r;
    c->wish[c->nwishes - 1].needed = true;
    c->wish[c->nwishes - 1].ways = ways;
    return 0;
}

/* Is it for this place of the spec, in this copy of the file? */
static bool is_of(const struct tn_wish *w, u32 place, u32 copy)
{
    return w->place == place && w->copy == copy;
}

/* All of a plan, for a place of the spec: that place's own, or what runs in its stead. `keeps`: they keep arguments for the
   exits. What functions that run in one another's stead have in common is patched once. */
static int wish_all(struct tn_entry *c, u32 place, const struct tn_planned *plan, u64 bias, const char *path,
                    bool keeps)
{
    int r = 0;

    for (u32 k = 0, n; r == 0 && k < plan->npatches; k += n) {
        const struct tn_patch *p = &plan->patch[k];
        bool there = false;

        for (n = 1; k + n < plan->npatches && plan->patch[k + n].instead; n++)
            ;
        for (u32 i = c->nwishes; p->tail && i-- > 0 && is_of(&c->wish[i], place, c->copy);)
            there |= tn_same_place(c->wish[i].patch, c->wish[i].bias, p, bias) && !c->wish[i].keeps;
        if (!there)
            r = tn_wish_one(c, p, n, bias, path);
        if (r == 0 && !there) {
            struct tn_wish *w = &c->wish[c->nwishes - 1];

            w->keeps = keeps;
            w->place = place;
            w->copy = c->copy;
            w->func = c->plans[place]->addr + c->bias;
        }
    }
    return r;
}

/* Where a jump leads through a word of the process, and all that is to be patched there. */
static int wish_beyond(struct tn_entry *c, u32 index)
{
    const struct tn_wish *w = &c->wish[index];
    u64 at = w->patch->addr + w->bias, leads = 0;
    _clean_(tn_source_close) struct tn_source s = {};
    const struct tn_planned *p = NULL;
    struct tn_error why = {0}, *err = c->err;
    const struct tn_vma *v;
    _close_ int fd = -1;
    char detail[256];
    int r;

    if (tn_peek(c->pid, w->patch->slot + w->bias, &leads, sizeof(leads)) < 0)
        leads = 0;
    v = leads ? tn_maps_at(&c->maps, leads) : NULL;
    if (!v || !v->ino || !(v->prot & PROT_EXEC))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, "to no code of a file");
    s.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    if (fd < 0)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, "to a file that cannot be opened");
    c->wish[index].leads = leads;
    s.no_puns = c->at[w->place].no_puns;
    c->err = &why;
    r = tn_plan_file(c, &s, v->offset + (leads - v->start), TN_PLACE_TAIL, false, &p);
    if (r == 0)
        r = wish_all(c, w->place, p, leads - p->addr, tn_vma_name(&c->maps, v), false);
    c->err = err;
    if (r == 0 || r == -ENOMEM)
        return r;
    snprintf(detail, sizeof(detail), "to 0x%llx of %.120s: %.48s", (unsigned long long)leads,
             tn_vma_name(&c->maps, v), why.reason);
    return tn_refuse(err, r, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, detail);
}

void tn_plan_clear_wishes(struct tn_entry *c)
{
    free(c->wish);
    c->wish = NULL;
    c->nwishes = 0;
}

/* Both ends of a function, for a program that reads at one what was kept at the other. */
static int plan_before(struct tn_entry *c, struct tn_source *s, u32 place, bool many)
{
    const struct tn_planned *out = c->plans[place];
    int r =
        tn_plan_file(c, s, tn_spec_place(c->spec, place)->offset, TN_PLACE_ENTRY, many, &c->before[place]);

    if (r < 0 || out->refused || c->before[place]->refused)
        return r;
    const struct tn_plan entry = {.patches = (struct tn_patch *)c->before[place]->patch,
                                  .npatches = c->before[place]->npatches},
                         exit = {.patches = (struct tn_patch *)out->patch, .npatches = out->npatches};

    return tn_plan_overlap(&entry, &exit)
               ? tn_refuse(c->err, -ENOTSUP, TN_REFUSE_ENTRY_MEETS_EXIT, out->addr, NULL)
               : 0;
}

/* Of many places: which one was refused. */
static void tell_place(struct tn_entry *c, const struct tn_source *s, u32 place)
{
    u64 offset = tn_spec_place(c->spec, place)->offset, addr;
    const struct tn_func *f =
        s->m && tn_module_addr_of_offset(s->m, offset, &addr) == 0 ? tn_module_func(s->m, addr) : NULL;
    char said[sizeof(c->err->message)];

    snprintf(said, sizeof(said), "%s", c->err->message);
    snprintf(c->err->message, sizeof(c->err->message), "place %u of %u (%.100s, offset 0x%llx): %.800s",
             place + 1, c->spec->nothers + 1, f && f->name ? f->name : "no name", (unsigned long long)offset,
             said);
}

/* Is the link there already, at this place? */
bool tn_linked_at(const struct tn_entry *c, const struct tn_wish *w)
{
    s32 site = tn_look_site(c, w->patch->addr + w->bias, w->patch);

    for (u32 k = site >= 0 ? c->st->site[site].hooks : 0; k; k = c->st->hook[k - 1].next_of_site)
        if (c->st->hook[k - 1].link_index == c->spec->link_index)
            return true;
    return false;
}

void tn_leave(struct tn_entry *c, struct tn_tally *t, const char *reason)
{
    c->res->left++;
    tn_tally_add(t, reason);
}

void tn_tell_left(struct tn_entry *c, const char *name, const struct tn_tally *t)
{
    const char *base = strrchr(name, '/');
    size_t len = strlen(c->res->left_why), cap = sizeof(c->res->left_why);

    for (u32 i = 0; i < t->nrows; i++) {
        snprintf(c->res->left_why + len, cap - len, "%s%.40s%s%u %s",
                 i     ? ", "
                 : len ? "; "
                       : "",
                 i      ? ""
                 : base ? base + 1
                        : name,
                 i ? "" : ": ", t->row[i].n, t->row[i].name);
        len = strlen(c->res->left_why);
    }
}

/* Is the place in this copy of its file, as far as that is mapped? */
static bool is_mapped(const struct tn_entry *c, u32 i)
{
    const u64 at = c->plans[i]->addr + c->bias;
    const struct tn_vma *v = tn_maps_at(&c->maps, at);

    return v && v->ino == c->spec->ino && tn_spec_place(c->spec, i)->offset - v->offset == at - v->start;
}

/* One place, in this copy. */
static int wish_place(struct tn_entry *c, u32 i)
{
    const struct tn_attach_place *place = tn_spec_place(c->spec, i);
    u64 at = c->plans[i]->addr + c->bias;
    u32 first = c->nwishes;
    int r = 0;

    if (c->at[i].kept)
        return tn_refuse(c->err, -ENOTSUP, TN_REFUSE_REGISTER_KEPT, c->plans[i]->addr, NULL);
    if (c->plans[i]->refused || (c->before && c->before[i]->refused))
        return tn_fail(c->err, -ENOTSUP, (c->plans[i]->refused ? c->plans[i] : c->before[i])->tactic,
                       "the function cannot be hooked");
    if (c->before)
        r = wish_all(c, i, c->before[i], c->bias, c->spec->path, !c->spec->session);
    if (r == 0)
        r = wish_all(c, i, c->plans[i], c->bias, c->spec->path, false);
    for (u32 k = first; k < c->nwishes && r == 0; k++) {
        if (c->wish[k].patch->slot)
            r = wish_beyond(c, k);
        if (r == 0 && c->nwishes - first > EXITS_MAX)
            r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, c->plans[i]->addr, NULL);
    }
    if (r < 0 || !place->ref_ctr)
        return r;
    c->wish[first].counter = tn_look_counter(c, at, place->ref_ctr);
    if (!c->wish[first].counter)
        return tn_fail(
            c->err, -EINVAL, "no_counter",
            "the reference counter (USDT semaphore) at offset 0x%llx of %s lies in no memory of process "
            "%d that it could write",
            (unsigned long long)place->ref_ctr, c->spec->path, c->pid);
    return 0;
}

/* Where a mapping of the spec's file puts what is at address 0 of the file; false: it holds none of the places. */
static bool copy_of(const struct tn_entry *c, const struct tn_vma *v, u64 *ret_bias)
{
    const struct tn_vma *first = tn_maps_at(&c->maps, c->place_addr);

    if (!first || v->ino != first->ino || v->dev != first->dev || !(v->prot & PROT_EXEC))
        return false;
    for (u32 i = 0; i <= c->spec->nothers; i++)
        if (tn_spec_place(c->spec, i)->offset - v->offset < v->end - v->start) {
            *ret_bias = v->start + (tn_spec_place(c->spec, i)->offset - v->offset) - c->plans[i]->addr;
            return true;
        }
    return false;
}

/* All copies of the file: the first one that holds the first place, and what was mapped besides (dlmopen; V8's builtins). */
static u32 copies(const struct tn_entry *c, u64 *ret_bias)
{
    u32 n = 1;

    ret_bias[0] = c->place_addr - c->plan->addr;
    for (u32 i = 0; i < c->maps.n && n < TN_COPIES_MAX; i++) {
        bool known = !copy_of(c, &c->maps.vma[i], &ret_bias[n]);

        for (u32 k = 0; k < n && !known; k++)
            known = ret_bias[k] == ret_bias[n];
        n += !known;
    }
    return n;
}

/* It is left as it is, and told of: once, in however many copies. */
static void leave_place(struct tn_entry *c, u32 place, const char *reason)
{
    if (c->at[place].out)
        return;
    c->at[place].out = true;
    tn_leave(c, &c->left, reason);
    c->res->left_why[0] = 0;
    tn_tell_left(c, c->spec->path, &c->left);
}

/* All places that are in one copy. In copies but the first one, what cannot be had is left. */
static int wish_copy(struct tn_entry *c, bool first)
{
    bool some = c->spec->some || !first;
    int r = 0;

    for (u32 i = 0; i <= c->spec->nothers && r == 0; i++) {
        u32 before = c->nwishes;

        if (!is_mapped(c, i))
            continue;
        c->at[i].met = true;
        r = wish_place(c, i);
        if (r == 0 || r == -ENOMEM || !some || !c->err->reason[0])
            continue;
        c->nwishes = before;
        leave_place(c, i, c->err->reason);
        *c->err = (struct tn_error){};
        r = 0;
    }
    return r;
}

/* Is the link in this copy already? Then all that was wished for it is dropped. What runs in its functions' place may be another
   copy's, too, and tells nothing. */
static void drop_linked(struct tn_entry *c, u32 from)
{
    bool linked = false;

    for (u32 i = from; i < c->nwishes; i++)
        linked |= c->wish[i].hook && c->wish[i].bias == c->bias && tn_linked_at(c, &c->wish[i]);
    for (u32 i = from; i < c->nwishes; i++)
        c->wish[i].dropped = linked;
}

/* What is in no copy. */
static int miss_places(struct tn_entry *c)
{
    for (u32 i = 0; i <= c->spec->nothers; i++) {
        if (c->at[i].met)
            continue;
        if (!c->spec->some)
            return tn_fail(c->err, -ENOENT, "not_mapped", "%s (offset 0x%llx) is not mapped in process %d",
                           c->spec->path, (unsigned long long)tn_spec_place(c->spec, i)->offset, c->pid);
        leave_place(c, i, "not_mapped");
    }
    return 0;
}

static int wish_copies(struct tn_entry *c)
{
    u64 bias[TN_COPIES_MAX];
    u32 n = copies(c, bias);
    int r = 0;

    tn_plan_clear_wishes(c);
    c->res->left = 0;
    c->res->left_why[0] = 0;
    c->left = (struct tn_tally){};
    for (u32 i = 0; i <= c->spec->nothers; i++)
        c->at[i].out = c->at[i].met = false;
    for (u32 k = n; k-- > 0 && r == 0;) { /* the first comes last: its bias is the place's */
        u32 before = c->nwishes;

        c->copy = k;
        c->bias = bias[k];
        r = wish_copy(c, !k);
        if (r == 0)
            drop_linked(c, before);
    }
    if (r == 0)
        r = miss_places(c);
    if (r == 0 && !c->nwishes)
        return tn_fail(c->err, -ENOTSUP, "none_can_be_hooked",
                       "none of the %u functions can be hooked in process %d: %s", c->spec->nothers + 1,
                       c->pid, c->res->left_why);
    return r;
}

void tn_plan_drop_place(struct tn_entry *c, const struct tn_wish *w, const char *reason)
{
    const u32 place = w->place, copy = w->copy;

    for (u32 i = 0; i < c->nwishes; i++)
        c->wish[i].dropped |= c->wish[i].needed && is_of(&c->wish[i], place, copy);
    leave_place(c, place, reason);
}

void tn_plan_forget_dropped(struct tn_entry *c)
{
    u32 n = 0;

    for (u32 i = 0; i < c->nwishes; i++)
        if (!c->wish[i].dropped)
            c->wish[n++] = c->wish[i];
    c->nwishes = n;
}

bool tn_plan_rest(struct tn_entry *c)
{
    bool fresh = false;

    c->res->places = 0;
    c->res->by = (struct tn_tally){};
    for (u32 i = 0; i < c->nwishes; i++)
        fresh |= c->wish[i].hook && !c->wish[i].dropped;
    for (u32 i = 0; i < c->nwishes; i++) {
        if (fresh && c->wish[i].hook && c->wish[i].dropped)
            tn_brain_count(c, &c->wish[i]);
        c->wish[i].dropped &= fresh;
    }
    tn_plan_forget_dropped(c);
    return fresh;
}

/* May the program change what it stores to in its context? A register has to be one that callers take for lost. */
static int check_changes(struct tn_entry *c, struct tn_source *s, u32 place)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "", "", "", "rsi", "rdi", "r8", "r9"};
    const struct tn_attach_spec *spec = c->spec;
    const struct tn_planned *plan = c->plans[place];
    u16 regs = tn_tramp_changes(spec->prog.facts, spec->typed ? &spec->args : NULL,
                                spec->exit ? TN_PLACE_EXIT : TN_PLACE_ENTRY);
    u16 clobbers = 0;
    int r = 0;

    if (!spec->prog.facts->ctx_written[0] || plan->refused)
        return 0;
    if (spec->exit && spec->typed) /* of a result: whoever takes it takes the registers that it is in */
        regs = 0;
    if (!spec->exit && !plan->entry)
        return tn_refuse(c->err, -ENOTSUP, TN_REFUSE_CTX_WRITTEN, plan->addr, NULL);
    if (regs && !s->m)
        r = tn_module_open(s->fd, &s->m, c->err);
    if (regs && r == 0)
        r = tn_func_clobbers(tn_module_code(s->m, plan->addr), plan->addr, regs, &clobbers);
    for (u32 k = 0; k < TN_ARRAY_SIZE(names) && r == 0; k++)
        if (regs & ~clobbers & 1u << k)
            r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_REGISTER_KEPT, plan->addr, names[k]);
    c->at[place].kept = r == -ENOTSUP && spec->some && spec->nothers;
    if (c->at[place].kept) { /* it alone is left out */
        *c->err = (struct tn_error){};
        r = 0;
    }
    return r;
}

/*
 * Of many places, what is not kept is planned all at once (tn_plan_asked); one after the other they are then asked for as
 * usual. What goes wrong here goes wrong there, where somebody is told of it.
 */
static void plan_ahead(struct tn_entry *c, struct tn_source *s, u32 kind, bool keeps)
{
    const u32 n = c->spec->nothers + 1;
    const struct tn_code_view *code = NULL;
    struct tn_asked *asked = calloc(n, (1 + keeps) * sizeof(*asked));
    u32 nasked = 0;

    for (u32 i = 0; asked && i < n * (1u + keeps); i++) {
        u64 offset = tn_spec_place(c->spec, i / (1 + keeps))->offset, addr;
        u32 what = keeps && i % 2 ? TN_PLACE_ENTRY : kind;
        const struct tn_planned *kept = NULL;
        struct tn_planned key;

        s->no_puns = c->at[i / (1 + keeps)].no_puns;
        if (find_kept(c, s, offset, what, true, &key, &kept) < 0 || kept)
            continue;
        if ((!s->m && tn_module_open(s->fd, &s->m, NULL) < 0) ||
            tn_module_addr_of_offset(s->m, offset, &addr) < 0)
            break;
        code = code ? code : tn_module_code(s->m, addr);
        if (code && code == tn_module_code(s->m, addr))
            asked[nasked++] =
                (struct tn_asked){.addr = addr, .place = place_of(tn_module_func(s->m, addr), addr, what)};
    }
    if (nasked && tn_plan_asked(code, asked, nasked, 0, NULL) == 0) {
        s->asked = asked;
        s->nasked = nasked;
    } else {
        free(asked);
    }
}

static int plan_all(struct tn_entry *c, struct tn_source *s)
{
    const struct tn_attach_spec *spec = c->spec;
    bool keeps = tn_brain_stash_size(spec), many = spec->nothers > 0;
    enum tn_place_kind kind = spec->exit || spec->session ? TN_PLACE_EXIT : TN_PLACE_ENTRY;
    int r = 0;

    free(c->plans);
    free(c->before);
    if (!c->at)
        c->at = calloc(spec->nothers + 1, sizeof(*c->at));
    c->plans = calloc(spec->nothers + 1, sizeof(*c->plans));
    c->before = keeps ? calloc(spec->nothers + 1, sizeof(*c->before)) : NULL;
    if (!c->at || !c->plans || (keeps && !c->before))
        return -ENOMEM;
    if (many)
        plan_ahead(c, s, kind, keeps);
    for (u32 i = 0; i <= spec->nothers && r == 0; i++) {
        s->no_puns = c->at[i].no_puns;
        r = tn_plan_file(c, s, tn_spec_place(spec, i)->offset, kind, many, &c->plans[i]);
        if (r == 0 && keeps)
            r = plan_before(c, s, i, many);
        if (r == 0)
            r = check_changes(c, s, i);
        if (r == 0)
            c->plan = c->plans[0];
        else if (many && c->err->reason[0])
            tell_place(c, s, i);
    }
    return r;
}

int tn_plan_place(struct tn_entry *c)
{
    const struct tn_vma *v = tn_maps_at(&c->maps, c->place_addr);
    _clean_(tn_source_close) struct tn_source s = {};
    _close_ int fd = -1;
    int r;

    if (!v)
        return -ENOENT;
    s.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    if (fd < 0)
        return tn_fail(c->err, fd, "file_replaced", "the file behind %s in process %d cannot be opened: %s",
                       tn_vma_name(&c->maps, v), c->pid, strerror(-fd));
    r = plan_all(c, &s);
    return r < 0 ? r : wish_copies(c);
}

/* Where in the process the first address of a file's plan is; 0: in another mapping of it. */
bool tn_plan_bias(const struct tn_planned *p, const struct tn_vma *v, u64 *ret_bias)
{
    u64 offset = p->symbol_offset;

    if (offset < v->offset || offset - v->offset >= v->end - v->start)
        return false;
    *ret_bias = v->start + (offset - v->offset) - p->addr;
    return true;
}
