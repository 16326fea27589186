/* SPDX-License-Identifier: MIT */
/*
 * A link of system calls: all sites in all code of the process that may make one of the numbers asked for. What can be
 * patched becomes a wish; what cannot (and code that is in no file) is left as it is, counted and told of by reason. With the
 * sites goes the loader's own place for debuggers, so that libraries that come later are looked at as well.
 */
#include "inject/wishes.h"
#include "rewrite/refusals.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>

/* Before the call that `left` leaves; NULL where nothing can be patched there. */
static const struct tn_patch *entered(const struct tn_planned *entries, const struct tn_patch *left)
{
    for (u32 i = 0; i < entries->npatches; i++)
        if (!entries->patch[i].refused && entries->patch[i].resume + 2 == left->addr)
            return &entries->patch[i];
    return NULL;
}

/* A row a call: is it meant, can it be patched? `entries`: where the calls are entered, for the end of those whose
   number only a run tells: it is noted there. */
static int wish_call(struct tn_entry *c, const struct tn_patch *p, const struct tn_planned *entries, u64 bias,
                     struct tn_tally *t)
{
    const struct tn_patch *noted = NULL;
    bool note = c->spec->exit && p->nr == TN_NR_UNKNOWN && !p->refused;
    const struct tn_attach_spec *s = c->spec;
    struct tn_error why = {0};
    int r = 0;

    if (s->nr != TN_NR_UNKNOWN && p->nr != TN_NR_UNKNOWN && p->nr != s->nr)
        return 0;
    if (note)
        noted = entered(entries, p);
    if (p->refused) {
        tn_leave(c, t, tn_refusal_name(p->refused));
    } else if (note && !noted) {
        tn_leave(c, t, "number_unknown");
    } else if (tn_look_bytes(c, p, bias, "its file", &why) < 0 ||
               (note && tn_look_bytes(c, noted, bias, "its file", &why) < 0)) {
        tn_leave(c, t, why.reason);
    } else {
        r = tn_wish_add(c, p, bias, true);
        if (r == 0 && note)
            r = tn_wish_add(c, noted, bias, false);
    }
    return r;
}

#define NAMELESS_MAX (64ull << 20) /* bytes of one mapping that are looked through */

/* Code that is in no file: calls can be seen in it, and often which; where functions are, and who jumps there, nobody says. The
   kernel's own page has a few, for clocks that it cannot read without a call: that is compiled code and whole, so what stands
   before a call is looked at, too. Other memory may hold anything: only the constant right before counts there. */
static void leave_nameless(struct tn_entry *c, const struct tn_vma *v, const char *name)
{
    const bool kernels = tn_vma_is_kernels(&c->maps, v), whole = kernels && v->end - v->start <= 16 * TN_PAGE;
    u64 end = TN_MIN(v->end, v->start + NAMELESS_MAX);
    _free_ u8 *bytes = malloc(16 * TN_PAGE);
    struct tn_tally t = {0};

    for (u64 at = v->start; bytes && at < end; at += 16 * TN_PAGE - 6) {
        u64 n = TN_MIN(16ull * TN_PAGE, end - at);

        if (tn_peek(c->pid, at, bytes, n) < 0)
            break;
        for (u64 i = at == v->start ? 0 : 5; i + 1 < n; i++) {
            s32 nr = TN_NR_UNKNOWN;

            if (bytes[i] != 0x0f || bytes[i + 1] != 0x05 || tn_look_ours(c, at + i))
                continue;
            if (i >= 5 && bytes[i - 5] == 0xb8)
                memcpy(&nr, bytes + i - 4, sizeof(nr));
            else if (whole)
                nr = tn_number_in_bytes(bytes, n, i);
            if (nr == TN_NR_UNKNOWN || c->spec->nr == TN_NR_UNKNOWN || nr == c->spec->nr)
                tn_leave(c, &t, kernels ? "kernel_page" : "no_file");
        }
        if (n < 16ull * TN_PAGE)
            break;
    }
    tn_tell_left(c, name, &t);
}

/* The loader's own place for debuggers, which is come to when libraries have been mapped and nothing of them has run. Where it
   cannot be hooked, those that come later are not seen, which is told. */
static int wish_loads(struct tn_entry *c)
{
    u64 base = tn_proc_auxv(c->pid, AT_BASE), stop, at;
    const struct tn_vma *v = base ? tn_maps_at(&c->maps, base) : NULL;
    struct tn_error why = {0}, *err = c->err;
    const struct tn_planned *p = NULL;
    const u32 before = c->nwishes;
    _clean_(tn_source_close) struct tn_source src = {};
    struct tn_tally t = {0};
    _close_ int fd = -1;
    int r;

    if (!v || !v->ino)
        return 0; /* static */
    c->err = &why;
    src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    r = fd < 0 ? fd : tn_dynsym(c->b, fd, "_dl_debug_state", &stop);
    at = r < 0 ? 0 : base + stop;
    v = at ? tn_maps_at(&c->maps, at) : NULL;
    if (r == 0)
        r = v ? tn_plan_file(c, &src, v->offset + (at - v->start), TN_PLACE_ENTRY, false, &p) : -ENOENT;
    if (r == 0)
        r = p->npatches == 1 && p->patch[0].len >= 5 && !p->patch[0].punned
                ? tn_wish_one(c, p->patch, 1, at - p->addr, tn_vma_name(&c->maps, v))
                : -ENOTSUP;
    c->err = err;
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        tn_leave(c, &t, "loader_unhooked");
        tn_tell_left(c, "later libraries", &t);
        return 0;
    }
    for (u32 i = before; i < c->nwishes; i++)
        c->wish[i].loads = true;
    return 0;
}

int tn_plan_syscalls(struct tn_entry *c)
{
    int r = 0;

    c->res->left = 0; /* this may be the second time */
    c->res->left_why[0] = 0;
    for (u32 i = 0; i < c->maps.n && r == 0; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        const char *name = tn_vma_name(&c->maps, v);
        const struct tn_planned *p = NULL, *entries = NULL;
        struct tn_error why = {0}, *err = c->err;
        _clean_(tn_source_close) struct tn_source src = {};
        _close_ int fd = -1;
        struct tn_tally t = {0};
        u64 bias;

        if (!(v->prot & PROT_EXEC) || !strncmp(name, "/memfd:tenon-", 13) || !strcmp(name, "[vsyscall]"))
            continue;
        if (!v->ino)
            leave_nameless(c, v, *name ? name : "[anonymous]");
        if (!v->ino)
            continue;
        src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
        c->err = &why;
        r = fd < 0 ? fd : tn_plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSENTER, false, &entries);
        p = entries;
        if (r == 0 && c->spec->exit && entries->npatches)
            r = tn_plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSEXIT, false, &p);
        c->err = err;
        if (r == -ENOMEM)
            break;
        if (r < 0) { /* not a program that can be read: what is in it is not known */
            r = 0;
            tn_leave(c, &t, "file_unreadable");
        } else if (entries->npatches && tn_plan_bias(entries, v, &bias)) {
            for (u32 k = 0; k < p->npatches && r == 0; k++)
                r = wish_call(c, &p->patch[k], entries, bias, &t);
        }
        tn_tell_left(c, name, &t);
    }
    if (r == 0 && !c->nwishes)
        return tn_fail(c->err, -ENOENT, "no_such_call",
                       "no system call of this number stands in the code of process %d where it can be "
                       "hooked%s%s",
                       c->pid, c->res->left_why[0] ? "; left as they are: " : "", c->res->left_why);
    if (r == 0)
        r = wish_loads(c);
    for (u32 i = 0; i < c->nwishes; i++)
        c->wish[i].dropped = c->wish[i].hook && tn_linked_at(c, &c->wish[i]);
    return r;
}
