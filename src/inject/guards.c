/* SPDX-License-Identifier: MIT */
/*
 * Calls of the host that go through the agent, for all links of the process: those that may be a vfork are counted while they are
 * under way; those that touch a mask or a handler ask the agent first (rt/signals.h).
 *
 *   every file with code ── its calls, planned once ──▶ number that counts, or not known ──▶ a wish without a hook
 *   code in no file      ── looked through          ──▶ a call that may count: cannot be guarded
 *
 * Where a call that is needed for signals cannot be guarded, what it is needed for is not to be had, and why is told by name. Of those
 * that confine, what can be guarded is; what is left (code of Go's, on whose stacks a guard may have no room; code in no file;
 * what no jump fits) is left as it is.
 */
#include "inject/wishes.h"
#include "jit/jit.h"
#include "rewrite/refusals.h"
#include "rt/helper/helpers.h"
#include "rt/signals.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

/* Would it change what one that is hooked changes, in any of the ways there are for that one? */
static bool meets_wish(const struct tn_entry *c, const struct tn_patch *p, u64 bias)
{
    for (u32 i = 0; i < c->nwishes; i++)
        for (u32 k = 0; k == 0 || c->wish[i].ways >> k; k++)
            if (!tn_same_place(c->wish[i].patch + k, c->wish[i].bias, p, bias) &&
                tn_patch_meets(c->wish[i].patch + k, c->wish[i].bias, p, bias))
                return true;
    return false;
}

/* Where vfork is called: libc, or the program itself if it has none. Not finding it is no failure. */
int tn_plan_vfork(struct tn_entry *c)
{
    const struct tn_vma *best = NULL;
    const struct tn_planned *p = NULL;
    struct tn_error why = {0}, *err = c->err;
    _clean_(tn_source_close) struct tn_source src = {};
    _close_ int fd = -1;
    u64 bias;
    int r;

    for (u32 pass = 0; pass < 2 && !best; pass++)
        for (u32 i = 0; i < c->maps.n && !best; i++) {
            const struct tn_vma *v = &c->maps.vma[i];
            const char *base = strrchr(tn_vma_name(&c->maps, v), '/');

            if (!v->ino || !(v->prot & PROT_EXEC) || !base)
                continue;
            if (pass == 0 ? !strncmp(base, "/libc.so", 8) || !strncmp(base, "/libc-", 6) ||
                                !strncmp(base, "/ld-musl", 8)
                          : tn_proc_auxv(c->pid, AT_BASE) == 0)
                best = v;
        }
    if (!best)
        return 0;
    src.fd = fd = tn_open_mapped(c->pid, &c->maps, best);
    c->err = &why;
    r = fd < 0 ? fd : tn_plan_file(c, &src, TN_PLANNED_VFORKS, TN_PLACE_SYSENTER, false, &p);
    c->err = err;
    if (r < 0 || !p->npatches || !tn_plan_bias(p, best, &bias))
        return r == -ENOMEM ? r : 0;
    /* Somebody else's libc: its vfork children are not told apart. */
    for (u32 i = 0; i < p->npatches; i++)
        if (!p->patch[i].refused && tn_look_bytes(c, &p->patch[i], bias, "its file", &why) < 0)
            return 0;
    for (u32 i = 0; i < p->npatches && r == 0; i++)
        if (!p->patch[i].refused && !meets_wish(c, &p->patch[i], bias))
            r = tn_wish_add(c, &p->patch[i], bias, false);
    return r;
}

static bool is_break(const struct tn_wish *w)
{
    return w->hook && w->patch->len == TN_BREAK_LEN && !w->patch->punned;
}

bool tn_plan_breaks(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->nwishes; i++)
        if (is_break(&c->wish[i]))
            return true;
    return false;
}

static int no_breaks(struct tn_entry *c, const char *name, u64 addr, const char *why)
{
    return tn_fail(c->err, -ENOTSUP, "signals_not_ours",
                   "no five-byte jump fits, and no breakpoint can stand in process %d: its signals cannot be "
                   "kept for it, since "
                   "code at 0x%llx of %s may set a mask or a handler, and cannot be hooked: %s",
                   c->pid, (unsigned long long)addr, name, why);
}

/* `mov $15,%rax; syscall`, to which handlers return and nobody jumps. */
static const struct tn_patch *restorer(struct tn_entry *c, const struct tn_vma *v, u64 bias, u64 addr)
{
    static const u8 code[] = TN_RESTORER;
    const u8 len = TN_RESTORER_CALL;
    s32 site;
    u8 now[sizeof(code)];
    struct tn_patch *p;

    if (c->nrestorers == TN_RESTORERS_MAX)
        return NULL;
    p = &c->restorer[c->nrestorers];
    *p = (struct tn_patch){.addr = addr - len,
                           .len = len,
                           .ninsns = 1,
                           .insn_len = {len},
                           .place = TN_PLACE_SYSENTER,
                           .hook_before = 1,
                           .nr = TN_GUARD_rt_sigreturn,
                           .resume = addr};
    memcpy(p->expected, code, len);
    site = tn_look_site(c, p->addr + bias, p);
    if (p->addr + bias < v->start || addr + bias + 2 > v->end ||
        tn_peek(c->pid, p->addr + bias, now, sizeof(now)) < 0 || memcmp(now + len, code + len, 2) ||
        (memcmp(now, code, len) && (site < 0 || memcmp(now, c->st->site[site].patched, len))))
        return NULL;
    c->nrestorers++;
    return p;
}

/* One file's calls that touch signals. */
static int guard_file(struct tn_entry *c, const struct tn_vma *v, const struct tn_planned *p, u64 bias)
{
    const char *name = tn_vma_name(&c->maps, v);
    int r = 0;

    for (u32 k = 0; k < p->npatches && r == 0; k++) {
        const struct tn_patch *patch = &p->patch[k];
        bool needed = patch->nr == TN_NR_UNKNOWN || tn_guard_needed(patch->nr);
        struct tn_error why = {};

        if (patch->nr != TN_NR_UNKNOWN && !tn_guarded(patch->nr))
            continue;
        if (p->go && !tn_plan_breaks(c)) /* not worth it for loads */
            return no_breaks(c, name, patch->addr, "a guard may have no room on a stack of Go's");
        if (patch->refused && patch->nr == TN_GUARD_rt_sigreturn) {
            const struct tn_patch *back = restorer(c, v, bias, patch->addr);

            r = back ? tn_wish_add(c, back, bias, false)
                     : no_breaks(c, name, patch->addr, "it returns from handlers in its own way");
        } else if (patch->refused) {
            r = needed ? no_breaks(c, name, patch->addr, tn_refusal_name(patch->refused)) : 0;
        } else if (tn_look_bytes(c, patch, bias, name, &why) < 0) {
            r = needed ? no_breaks(c, name, patch->addr, why.reason) : 0;
        } else {
            r = tn_wish_add(c, patch, bias, false);
        }
    }
    return r;
}

/* A call whose number is loaded right before it, and which is not one of those that count. */
static bool harmless_call(const u8 *bytes, u64 at)
{
    u32 nr;

    if (at < 5 || bytes[at - 5] != 0xb8)
        return false;
    memcpy(&nr, bytes + at - 4, sizeof(nr));
    return !tn_guard_needed((s32)nr);
}

#define GOING_MS 20u

/* Has it been unmapped since? Who is about to has the threads. */
static bool is_gone(const struct tn_entry *c, u64 at)
{
    for (u32 ms = 0; ms < GOING_MS; ms++) {
        struct tn_maps now _clean_(tn_maps_clear) = {};
        struct tn_status st;

        if (tn_maps_read(c->pid, &now) < 0 || !tn_maps_at(&now, at))
            return true;
        if (tn_status_read(c->pid, c->pid, &st) < 0 || !st.tracer)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* Code that is in no file, or in one that is no program: whether it makes system calls can be seen, but not always which. What is
   another broker's that goes just now may be gone by the time. */
static int guard_nameless(struct tn_entry *c, const struct tn_vma *v)
{
    u8 bytes[16 * TN_PAGE];

    for (u64 at = v->start; at < v->end; at += sizeof(bytes) - 6) {
        u64 n = TN_MIN(sizeof(bytes), v->end - at);

        if (tn_peek(c->pid, at, bytes, n) < 0)
            return is_gone(c, at) ? 0 : no_breaks(c, "no program's file", at, "it cannot be read");
        for (u64 i = 0; i + 1 < n; i++)
            if (bytes[i] == 0x0f && bytes[i + 1] == 0x05 && !harmless_call(bytes, i) &&
                (i >= 5 || at == v->start) && !tn_look_ours(c, at + i))
                return is_gone(c, at)
                           ? 0
                           : no_breaks(c, "no program's file", at + i, "which call it makes is not known");
        if (n < sizeof(bytes))
            break;
    }
    return 0;
}

/* One file's calls that confine, as far as they can be had and are not there already. */
static int guard_confining(struct tn_entry *c, const struct tn_vma *v, const struct tn_planned *p, u64 bias)
{
    const char *name = tn_vma_name(&c->maps, v);
    int r = 0;

    for (u32 k = 0; k < p->npatches && r == 0 && !p->go; k++) {
        const struct tn_patch *patch = &p->patch[k];
        s32 site = tn_look_site(c, patch->addr + bias, patch);
        struct tn_error why = {};

        if (patch->refused || (patch->nr != TN_NR_UNKNOWN && !tn_guard_confines(patch->nr)) ||
            (site >= 0 && c->st->site[site].state == TN_SITE_PATCHED && c->st->site[site].common) ||
            tn_look_bytes(c, patch, bias, name, &why) < 0 || meets_wish(c, patch, bias))
            continue;
        r = tn_wish_add(c, patch, bias, false);
    }
    return r;
}

typedef int (*guard_fn)(struct tn_entry *c, const struct tn_vma *v, const struct tn_planned *p, u64 bias);

/* `file`: for each file with code; `nameless`: for all other code, NULL: it is left. */
static int each_file(struct tn_entry *c, guard_fn file,
                     int (*nameless)(struct tn_entry *c, const struct tn_vma *v))
{
    int r = 0;

    for (u32 i = 0; i < c->maps.n && r == 0; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        const char *name = tn_vma_name(&c->maps, v);
        const struct tn_planned *p = NULL;
        struct tn_error why = {}, *err = c->err;
        _clean_(tn_source_close) struct tn_source src = {};
        _close_ int fd = -1;
        u64 bias;

        if (!(v->prot & PROT_EXEC) || !strncmp(name, "/memfd:tenon-", 13) || tn_vma_is_kernels(&c->maps, v))
            continue;
        if (!v->ino) {
            r = nameless ? nameless(c, v) : 0;
            continue;
        }
        src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
        c->err = &why;
        r = fd < 0 ? fd : tn_plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSENTER, false, &p);
        c->err = err;
        if (r < 0 && r != -ENOMEM)
            r = nameless ? nameless(c, v) : 0;
        else if (r == 0 && p->npatches && tn_plan_bias(p, v, &bias))
            r = file(c, v, p, bias);
    }
    return r;
}

/* Of many places, those that need a breakpoint are left, and the `nwishes` of the others stay. False: there are none. */
static bool leave_breaks(struct tn_entry *c, u32 nwishes)
{
    bool hooks = false;

    if (!c->spec->some || !tn_plan_breaks(c))
        return false;
    c->nwishes = nwishes;
    for (u32 i = 0; i < nwishes; i++)
        if (is_break(&c->wish[i]) && !c->wish[i].dropped)
            tn_plan_drop_place(c, &c->wish[i], "signals_not_ours");
    tn_plan_forget_dropped(c);
    for (u32 i = 0; i < c->nwishes; i++)
        hooks |= c->wish[i].hook;
    return hooks;
}

int tn_plan_guards(struct tn_entry *c)
{
    u32 before = c->nwishes;
    int r;

    c->nrestorers = 0;
    r = each_file(c, guard_file, guard_nameless);
    if (r != -ENOTSUP || !leave_breaks(c, before))
        return r;
    *c->err = (struct tn_error){};
    return 0;
}

/* The program's helpers, its maps' locks, the look at what was loaded; and clocks, which take the time stamp counter. */
static bool makes_calls(const struct tn_attach_spec *s)
{
    for (u32 i = 0; i < s->prog.npool; i++) {
        const struct tn_pool_entry *e = &s->prog.pool[i];
        const struct tn_helper *h = e->kind == TN_POOL_HELPER ? tn_helper_by_id(e->index) : NULL;

        if (e->kind == TN_POOL_AGENT ||
            (h && (h->flags & (TN_HF_SYSCALL | TN_HF_PERCPU) || h->arg[0] == TN_ARG_MAP)))
            return true;
    }
    return s->syscall || (s->prog.facts && s->prog.facts->percpu);
}

int tn_plan_confines(struct tn_entry *c)
{
    u32 before = c->nwishes;
    int r = makes_calls(c->spec) ? each_file(c, guard_confining, NULL) : 0;

    c->ask_tsc = c->nwishes > before;
    return r;
}
