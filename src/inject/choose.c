/* SPDX-License-Identifier: MIT */
/*
 * Where what is to be mapped goes. Pure: the free ranges of the process, what is mapped already, and the
 * program give a list of requests. Trampolines and records lie within ±2 GiB of the code they serve, the rest
 * too where it can.
 */
#include "agent/agent.h"
#include "agent/image.h"
#include "inject/brain.h"
#include "inject/stubs.h"
#include "inject/tracee.h"
#include "rewrite/mark.h"
#include "rewrite/refusals.h"
#include "rewrite/splice.h"
#include "rewrite/switch.h"
#include "rewrite/trampoline.h"
#include "rt/signals.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ANYWHERE     (1ull << 46)
#define RECORDS_SIZE (4u * TN_PAGE)
#define NEAR_SIZE    (32u * TN_PAGE)

static int want(struct tn_entry *c, u32 kind, u32 id, u64 addr, u64 len, u32 prot, bool shared, int fd,
                u64 offset)
{
    struct tn_map_req *q = &c->req[c->nreq];

    if (c->nreq == TN_MAP_REQS_MAX || (fd >= 0 && c->nfds == TN_FDS_MAX))
        return tn_fail(c->err, -E2BIG, "too_many_maps",
                       "the program uses more maps than can be passed at once");
    *q = (struct tn_map_req){.kind = kind,
                             .id = id,
                             .addr = addr,
                             .len = len,
                             .prot = prot,
                             .shared = shared,
                             .fd = -1,
                             .offset = offset,
                             .wipe = kind == TN_REGION_PRIVATE || kind == TN_REGION_STACKS};
    if (fd >= 0) {
        u32 k = 0;

        while (k < c->nfds && c->fds[k] != fd)
            k++;
        if (k == c->nfds)
            c->fds[c->nfds++] = fd;
        q->fd = (s32)k;
    }
    c->nreq++;
    return 0;
}

static u64 room(struct tn_entry *c, u64 len, u64 reach)
{
    u64 at = tn_maps_gap(&c->maps, c->mod_lo, c->mod_hi, reach, len, c->avoid, c->navoid);

    if (at && c->navoid < TN_MAP_REQS_MAX)
        c->avoid[c->navoid++] = (struct tn_range){at, at + len};
    return at;
}

/* Near if it can be (shorter trampolines), else anywhere. */
static int place_far(struct tn_entry *c, u64 len, u64 *ret)
{
    u64 at = room(c, len, TN_REACH);

    if (!at)
        at = room(c, len, ANYWHERE);
    if (!at)
        return tn_fail(c->err, -ENOMEM, "no_room", "process %d has no free range of %llu bytes", c->pid,
                       (unsigned long long)len);
    *ret = at;
    return 0;
}

static int want_far(struct tn_entry *c, u32 kind, u32 id, u64 len, u32 prot, bool shared, int fd)
{
    u64 at = 0;
    int r;

    if (tn_state_region(c->st, kind, id))
        return 0;
    len = TN_ROUND_UP(len, (u64)TN_PAGE);
    r = place_far(c, len, &at);
    return r < 0 ? r : want(c, kind, id, at, len, prot, shared, fd, 0);
}

static int want_agent(struct tn_entry *c)
{
    struct tn_agent_layout lay;
    u64 at;
    int r;

    if (tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0))
        return 0;
    r = tn_agent_layout(&lay, c->err);
    if (r == 0)
        r = place_far(c, lay.size, &at);
    for (u32 i = 0; r == 0 && i < lay.nsegments; i++) {
        const struct tn_agent_segment *s = &lay.segment[i];

        r = want(c, s->vaddr == 0 ? TN_REGION_AGENT_TEXT : TN_REGION_AGENT_DATA, s->vaddr == 0 ? 0 : i,
                 at + s->vaddr, TN_ROUND_UP(s->size, (u64)TN_PAGE), s->prot, false, c->b->agent, s->vaddr);
    }
    return r;
}

static int want_program(struct tn_entry *c)
{
    const struct tn_install *in = &c->spec->prog;
    struct stat sb;
    u32 free_bit = TN_SLOT_BITS;
    u64 at, text_len = TN_ROUND_UP(in->text_len, (u64)TN_PAGE);
    int r;

    if (in->nmaps > TN_PROG_MAPS_MAX || fstat(in->text, &sb) < 0)
        return tn_fail(c->err, -E2BIG, "too_many_maps", "the program uses more than %u maps",
                       TN_PROG_MAPS_MAX);
    for (u32 i = 0; i < c->st->nprogs; i++) {
        const struct tn_prog_slot *p = &c->st->prog[i];

        if (p->state != TN_HOOK_FREE && p->prog_id == in->prog_id && p->ino == sb.st_ino) {
            c->prog_bit = i;
            c->prog_known = true;
            break;
        }
        if (p->state == TN_HOOK_FREE && free_bit == TN_SLOT_BITS)
            free_bit = i;
    }
    free_bit = TN_MIN(free_bit, c->st->nprogs);
    if (!c->prog_known) {
        if (free_bit == TN_SLOT_BITS)
            return tn_fail(c->err, -ENOSPC, "too_many_programs", "process %d hosts %u programs already",
                           c->pid, TN_SLOT_BITS);
        c->prog_bit = free_bit;
    }
    /* Mapped, but never linked: an earlier job failed or was killed. */
    const struct tn_region *pool = tn_state_region(c->st, TN_REGION_POOL, in->prog_id);
    const struct tn_region *text = tn_state_region(c->st, TN_REGION_TEXT, in->prog_id);

    if (!text || text->ino != sb.st_ino || (in->pool_size && !pool)) {
        r = place_far(c, in->pool_size + text_len, &at);
        if (r == 0 && in->pool_size)
            r = want(c, TN_REGION_POOL, in->prog_id, at, in->pool_size, PROT_READ, false, -1, 0);
        if (r == 0)
            r = want(c, TN_REGION_TEXT, in->prog_id, at + in->pool_size, text_len, PROT_READ | PROT_EXEC,
                     false, in->text, 0);
        if (r < 0)
            return r;
    }
    for (u32 i = 0; i < in->nmaps; i++) {
        /* What programs may only read is a sealed file once it is frozen: it cannot be mapped for writing. */
        u32 prot = in->maps[i].geo.map_flags & BPF_F_RDONLY_PROG ? PROT_READ : PROT_READ | PROT_WRITE;

        r = want_far(c, TN_REGION_MAP, in->maps[i].id, in->maps[i].geo.size, prot, true, in->maps[i].fd);
        if (r < 0)
            return r;
    }
    return 0;
}

s32 tn_choose_near(const struct tn_entry *c, u64 lo, u64 hi, u64 text, u64 records, const u32 *but, u32 nbut)
{
    u64 most = 0;
    s32 best = -1;

    for (u32 i = 0; i < c->st->nregions; i++) {
        const struct tn_region *t = &c->st->region[i], *rec;

        if (t->kind != TN_REGION_NEAR_TEXT)
            continue;
        rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, t->id);
        bool out = !rec || t->len - t->used < text || rec->len - rec->used < records;

        for (u32 k = 0; k < nbut; k++)
            out |= but[k] == t->id;
        if (out)
            continue;
        u64 from = TN_MIN(lo, rec->addr), to = TN_MAX(hi, t->addr + t->len);

        if (to - from < TN_REACH && t->len - t->used > most) {
            most = t->len - t->used;
            best = (s32)t->id;
        }
    }
    return best;
}

static int want_near(struct tn_entry *c, u64 lo, u64 hi, u64 text, u64 records)
{
    u64 at, len = TN_MAX((u64)NEAR_SIZE, TN_ROUND_UP(text, (u64)TN_PAGE)), keep_lo = c->mod_lo,
            keep_hi = c->mod_hi;
    u64 rec = TN_MAX((u64)RECORDS_SIZE, TN_ROUND_UP(records, (u64)TN_PAGE));
    u32 id = 1;
    int r;

    if (tn_choose_near(c, lo, hi, text, records, NULL, 0) >= 0)
        return 0;
    for (u32 i = 0; i < c->st->nregions; i++)
        if (c->st->region[i].kind == TN_REGION_NEAR_TEXT)
            id = TN_MAX(id, c->st->region[i].id + 1);
    for (u32 i = 0; i < c->nreq; i++)
        if (c->req[i].kind == TN_REGION_NEAR_TEXT)
            id = TN_MAX(id, c->req[i].id + 1);
    c->mod_lo = lo;
    c->mod_hi = hi;
    at = room(c, rec + len, TN_REACH);
    c->mod_lo = keep_lo;
    c->mod_hi = keep_hi;
    if (!at)
        return tn_fail(c->err, -ENOMEM, "no_room_near",
                       "process %d has no free range of %llu bytes within 2 GiB of the code", c->pid,
                       (unsigned long long)(rec + len));
    r = want(c, TN_REGION_NEAR_RECORDS, id, at, rec, PROT_READ, false, -1, 0);
    return r < 0 ? r : want(c, TN_REGION_NEAR_TEXT, id, at + rec, len, PROT_READ | PROT_EXEC, false, -1, 0);
}

/* Is the program in another link? Two sessions of one call have each a word of their own. */
static bool other_session(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->st->nhooks; i++)
        if (c->st->hook[i].state == TN_HOOK_LIVE && c->st->hook[i].prog == c->prog_bit &&
            c->st->hook[i].link_index != c->spec->link_index)
            return true;
    return false;
}

/* Empty when a link is made while nothing is kept for the program: what calls have left there since would be taken for
   what later ones left (stash.h). */
static int want_stash(struct tn_entry *c)
{
    const struct tn_region *known = tn_state_region(c->st, TN_REGION_STASH, c->spec->prog.prog_id);
    u64 size = tn_brain_stash_size(c->spec);

    if (c->spec->session && c->prog_known && other_session(c))
        return tn_fail(c->err, -EBUSY, "session_twice",
                       "the program is in another session of process %d already, and what both keep would be "
                       "mixed up: load it again for this one",
                       c->pid);
    if (!size || (c->prog_known && tn_state_keeps(c->st, c->prog_bit)))
        return 0;
    if (!known)
        return want_far(c, TN_REGION_STASH, c->spec->prog.prog_id, size, PROT_READ | PROT_WRITE, false, -1);
    if (known->len != size)
        return -EPROTO;
    return want(c, TN_REGION_STASH, known->id, known->addr, known->len, PROT_READ | PROT_WRITE, false, -1, 0);
}

#define COPY_NEED    192u /* of a system call's window: at most 16 bytes, and what notes or counts it */
#define RECORDS_NEED 128u

static bool has_own_stacks(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->wish[i].patch->own_stack)
            return true;
    return false;
}

static bool has_tails(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->wish[i].patch->tail)
            return true;
    return false;
}

/* As long as the program's trampolines can get: everything far away, and room for what may become part of them. */
static u32 tramp_bound(const struct tn_entry *c)
{
    const u64 far = 1ull << 46;
    struct tn_tramp_in in = {.facts = c->spec->prog.facts,
                             .place =
                                 c->nwishes ? (enum tn_place_kind)c->wish[0].patch->place : TN_PLACE_OFFSET,
                             .args = c->spec->typed ? &c->spec->args : NULL,
                             .replace = c->spec->replace,
                             .session = c->spec->session,
                             .stash = c->spec->session ? far : 0,
                             .follow = true,
                             .tp = TN_TP_SELF,
                             .at = 0x10000,
                             .hook = 0x20000,
                             .gate = far,
                             .priv = far,
                             .proc = far,
                             .enter = far,
                             .leave = far,
                             .nr = TN_NR_UNKNOWN,
                             .only = 1,
                             .calls = far,
                             .marks = far,
                             .mark_id = 1,
                             .stacks = has_own_stacks(c) ? far : 0,
                             .footprint = c->spec->prog.footprint,
                             .text_at = far,
                             .claims = far,
                             .ncpu = 1,
                             .owner_pid = 1,
                             .rseq_cpu_off = 1};
    u8 code[TN_TRAMPOLINE_MAX];
    u32 kinds = 0, bound = 0;

    for (u32 i = 0; i < c->nwishes; i++)
        kinds |= c->wish[i].hook ? 1u << c->wish[i].patch->place : 0;
    if (has_tails(c))
        kinds |= 1u << TN_PLACE_EXIT;
    for (u32 place = TN_PLACE_ENTRY; place <= TN_PLACE_SYSEXIT; place++) {
        int len;

        in.place = (enum tn_place_kind)place;
        in.tail = place == TN_PLACE_EXIT && has_tails(c) ? TN_TAIL_RET : TN_TAIL_NOT;
        if (!(kinds >> place & 1))
            continue;
        len = tn_trampoline(&in, code, sizeof(code), NULL);
        u32 most = (u32)len + TN_SPLICE_MAX + (place < TN_PLACE_SYSENTER ? TN_FUSE_MAX : 0);

        bound =
            TN_MAX(bound, len > 0 ? TN_MIN(TN_ROUND_UP(most, 64u), TN_TRAMPOLINE_MAX) : TN_TRAMPOLINE_MAX);
    }
    return bound ? bound : TN_TRAMPOLINE_MAX;
}

/* Slots that an earlier link has left and that are large enough. */
static u32 spare(const struct tn_entry *c, u32 bound)
{
    u32 n = 0;

    for (u32 i = 0; c->st->nspare && i < c->st->nhooks; i++)
        n += c->st->hook[i].state == TN_HOOK_SPARE && c->st->hook[i].tramp_cap >= bound;
    return n;
}

static u64 begin_of(const struct tn_wish *w)
{
    return w->patch->addr + w->bias;
}

static int by_addr(const void *x, const void *y)
{
    const struct tn_wish *a = x, *b = y;
    u64 one = begin_of(a), other = begin_of(b);

    if (one != other)
        return one < other ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

/* By address; of several at one place, the first is made first. */
static void sort_wishes(struct tn_entry *c)
{
    if (c->nwishes)
        qsort(c->wish, c->nwishes, sizeof(*c->wish), by_addr);
    for (u32 i = 0, n = 0; i < c->nwishes; i++) {
        struct tn_wish *w = &c->wish[i];

        n = i && begin_of(w) == begin_of(w - 1) ? n : 0;
        w->round = w->hook ? n++ : 0;
    }
}

/* What lies so close together that one region serves it: its bounds, and how much of a region. */
static int want_near_all(struct tn_entry *c)
{
    u32 bound = tramp_bound(c), nspare = spare(c, bound);
    int r = 0;

    c->place_need = TN_DISPLACED_MAX + bound + 64;
    c->next_spare = c->next_gone = 0;
    sort_wishes(c); /* what was chosen may begin elsewhere */
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->spec->session && c->wish[i].round)
            return tn_fail(c->err, -EBUSY, "session_twice",
                           "two sessions of one link at the same place, or one at a function that is entered "
                           "and left by the same instruction, at 0x%llx",
                           (unsigned long long)begin_of(&c->wish[i]));
    for (u32 i = 0, k; i < c->nwishes && r == 0; i = k) {
        u64 lo = begin_of(&c->wish[i]), hi = lo, text = 0, records = 256;

        for (k = i; k < c->nwishes; k++) {
            const struct tn_wish *w = &c->wish[k];
            u64 at = begin_of(w);
            s32 site = tn_look_site(c, at, w->patch);
            bool known = site >= 0, new = w->hook;

            if (at - lo > TN_REACH / 2)
                break;
            hi = at + TN_PATCH_MAX;
            if (new &&nspare && !(known && c->st->site[site].hooks)) {
                nspare--;
                new = false;
            }
            text += (known                                  ? 0
                     : w->patch->place >= TN_PLACE_SYSENTER ? COPY_NEED
                                                            : TN_DISPLACED_MAX) +
                    (new ? bound + 64 : 0);
            records += known && !new ? 0 : RECORDS_NEED;
        }
        lo = TN_ROUND_DOWN(lo, 1u << 21);
        hi = TN_ROUND_UP(hi, 1u << 21);
        /* Other places of the module shall be served as well. */
        if (c->place_addr >= lo && c->place_addr < hi) {
            lo = TN_MIN(lo, c->mod_lo);
            hi = TN_MAX(hi, c->mod_hi);
        }
        if (!c->mod_hi) {
            c->mod_lo = lo;
            c->mod_hi = hi;
        }
        r = want_near(c, lo, hi, text + c->place_need, records);
    }
    return r;
}

/* How far behind a window a jump of it may end: not in bytes of another patch. */
static u8 room_behind(const struct tn_entry *c, u64 end, u8 behind)
{
    for (s32 i; behind && (i = tn_state_overlap(c->st, end, behind, 0, -1)) >= 0;)
        behind = (u8)(TN_MAX(c->st->site[i].addr, end) - end);
    return behind;
}

/* Where the last of the ways that there are begins: what ends before leaves it one. */
static u64 last_begin(const struct tn_wish *w)
{
    u64 at = w->patch->addr;

    for (u32 k = 1; w->ways >> k; k++)
        if (w->ways >> k & 1)
            at = TN_MAX(at, w->patch[k].addr);
    return at + w->bias;
}

/* Which punned ways will do: one that the place was patched in before; one that takes no new page for stubs; any. */
enum choice { KNOWN, IN_PAGES, ANY };

static int choose_among(struct tn_entry *c, struct tn_stubs *stubs, struct tn_wish *w, u64 from, u64 to,
                        enum choice choice)
{
    bool room = true;

    for (u32 k = 0; k == 0 || w->ways >> k; k++) {
        struct tn_patch p = w->patch[k];
        u64 at = p.addr + w->bias, end = at + p.len;
        s32 site = p.punned ? tn_look_site(c, at, &w->patch[k]) : -1;
        int r = 0;

        if ((k && !(w->ways >> k & 1)) || at < from || end + (p.punned ? 0 : p.behind) > to ||
            (choice == KNOWN) != (site >= 0))
            continue;
        if (site >= 0) {
            u8 depends = c->st->site[site].depends;

            if (end + depends > to || tn_state_overlap(c->st, at, p.len, depends, site) >= 0)
                continue;
        } else if (p.punned) {
            p.behind = TN_MIN(room_behind(c, end, p.behind), (u8)TN_MIN(to - end, 255ull));
            r = tn_stubs_pun(stubs, &p, w->bias, choice == ANY, &w->pun);
            if (r == -ENOSPC) {
                room = false;
                continue;
            }
        }
        w->patch += k;
        w->way = (u8)k;
        w->ways >>= k;
        return r;
    }
    return room ? -EBUSY : -ENOSPC;
}

/*
 * One of the ways there are, by address: behind what was chosen before, and so that what comes next has one left.
 * `from`, `to`: the bytes between them. −ENOSPC: there was no room for a stub; −EBUSY: too close to another.
 */
static int choose_way(struct tn_entry *c, struct tn_stubs *stubs, struct tn_wish *w, u64 from, u64 to)
{
    int r = choose_among(c, stubs, w, from, to, KNOWN);

    for (enum choice choice = IN_PAGES; choice <= ANY && r < 0 && r != -ENOMEM; choice++)
        r = choose_among(c, stubs, w, from, to, choice);
    return r;
}

/* Where a chosen one ends, and the bytes that it depends on. */
static u64 end_of(const struct tn_entry *c, const struct tn_wish *w)
{
    u64 at = begin_of(w);
    s32 site = w->patch->punned ? tn_look_site(c, at, w->patch) : -1;

    return at + w->patch->len +
           (site >= 0          ? c->st->site[site].depends
            : w->patch->punned ? w->pun.depends
                               : w->patch->behind);
}

/* No way for one of a place: a breakpoint, if that was not it already; or the place is left. */
static int refuse_way(struct tn_entry *c, const struct tn_wish *w, int why)
{
    u64 at = begin_of(w);
    const char *reason = why == -ENOSPC ? tn_refusal_name(TN_REFUSE_NO_ROOM_PUNNED) : "overlaps_patch";
    bool puns = false;

    for (u32 k = 0; k == 0 || w->ways >> k; k++)
        puns |= w->patch[k].punned && !w->patch[k].own_stack; /* Go's signals are its own */
    if (puns && c->at && !c->at[w->place].no_puns) {
        c->at[w->place].no_puns = c->again = true;
        return 0;
    }
    if (c->spec->some && w->needed) {
        tn_plan_drop_place(c, w, reason);
        return 0;
    }
    return why == -ENOSPC ? tn_refuse(c->err, -ENOTSUP, TN_REFUSE_NO_ROOM_PUNNED, w->patch->addr, NULL)
                          : tn_fail(c->err, -EBUSY, reason,
                                    "the code at 0x%llx is too close to another place of this link",
                                    (unsigned long long)at);
}

static int choose_ways(struct tn_entry *c, struct tn_stubs *stubs)
{
    const struct tn_wish *before = NULL;
    u64 end = 0;
    int r = 0;

    for (u32 i = 0, k; i < c->nwishes && r == 0; i++) {
        struct tn_wish *w = &c->wish[i];

        if (w->dropped)
            continue;
        if (before && w->patch == before->patch - before->way &&
            w->bias == before->bias) { /* at the same place */
            w->patch = before->patch;
            w->way = before->way;
            w->pun = before->pun;
            continue;
        }
        for (k = i + 1; k < c->nwishes && (c->wish[k].dropped || begin_of(&c->wish[k]) == begin_of(w));)
            k++;
        /* The same bytes for another reason: told apart when it is installed. */
        bool same = before && begin_of(w) == begin_of(before);

        r = choose_way(c, stubs, w, same ? 0 : end,
                       k < c->nwishes && !same ? last_begin(&c->wish[k]) : ~0ull);
        if (r == -ENOSPC || r == -EBUSY) {
            r = refuse_way(c, w, r);
            continue;
        }
        before = w;
        end = TN_MAX(end, end_of(c, w));
    }
    if (r == 0 && c->again)
        return -ENOSPC;
    tn_plan_forget_dropped(c);
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->wish[i].hook)
            return r;
    return r < 0 || !c->spec->some
               ? r
               : tn_fail(c->err, -ENOTSUP, "none_can_be_hooked",
                         "none of the functions can be hooked in process %d: %s", c->pid, c->res->left_why);
}

/* How each place is patched, and where punned jumps lead: before all else, which has a wider choice. */
static int want_stubs(struct tn_entry *c)
{
    _clean_(tn_stubs_clear) struct tn_stubs s = {};
    bool puns = false;
    int r = 0;

    for (u32 i = 0; i < c->nwishes; i++)
        for (u32 k = 0; k == 0 || c->wish[i].ways >> k; k++)
            puns |= c->wish[i].patch[k].punned;
    if (puns)
        r = tn_stubs_open(&s, &c->maps, NULL, 0, TN_STUB_PAGES);
    for (u32 i = 0; i < c->st->nregions && r == 0 && puns; i++)
        if (c->st->region[i].kind == TN_REGION_STUBS)
            r = tn_stubs_add_page(&s, c->st->region[i].addr);
    for (u32 i = 0; i < c->st->nsites && r == 0 && puns; i++)
        for (u32 k = 0; k < c->st->site[i].njumps && r == 0; k++)
            if (c->st->site[i].state != TN_SITE_FREE && c->st->site[i].state != TN_SITE_GONE)
                r = tn_stubs_add(&s, c->st->site[i].stub[k]);
    if (r == 0)
        r = choose_ways(c, &s);
    for (u32 i = 0; i < s.nfresh && r == 0; i++) {
        r = want(c, TN_REGION_STUBS, 0, s.fresh[i], TN_PAGE, PROT_READ | PROT_EXEC, false, -1, 0);
        if (r == 0 && c->navoid < TN_MAP_REQS_MAX)
            c->avoid[c->navoid++] = (struct tn_range){s.fresh[i], s.fresh[i] + TN_PAGE};
    }
    return r;
}

int tn_choose(struct tn_entry *c)
{
    const struct tn_shared *sh = c->b->shared;
    int r;

    c->nreq = c->nfds = c->navoid = 0;
    c->prog_known = false;
    sort_wishes(c);
    r = want_stubs(c);
    if (r == 0)
        r = want_near_all(c);
    if (r == 0)
        r = want_agent(c);
    if (r == 0)
        r = want_far(c, TN_REGION_PRIVATE, 0, sizeof(struct tn_private), PROT_READ | PROT_WRITE, false, -1);
    if (r == 0)
        r = want_far(c, TN_REGION_GATES, 0, TN_MAX_LINKS, PROT_READ, true, sh->gates_ro);
    if (r == 0)
        r = want_far(c, TN_REGION_STATS, 0, TN_STATS_SIZE, PROT_READ | PROT_WRITE, true, sh->stats);
    if (r == 0)
        r = want_far(c, TN_REGION_SIGNALS, 0, sizeof(struct tn_signals), PROT_READ | PROT_WRITE, false, -1);
    if (r == 0 && c->spec->syscall)
        r = want_far(c, TN_REGION_CALLS, 0, TN_CALLS * sizeof(u64), PROT_READ | PROT_WRITE, false, -1);
    if (r == 0 && has_tails(c))
        r = want_far(c, TN_REGION_MARKS, 0, TN_MARKS * sizeof(u64), PROT_READ | PROT_WRITE, false, -1);
    if (r == 0 && has_own_stacks(c) && !__builtin_cpu_supports("sse4.1")) /* switch.c */
        r = tn_fail(c->err, -ENOTSUP, "no_sse41",
                    "hooks in Go's code need SSE 4.1, which this CPU does not have");
    if (r == 0 && has_own_stacks(c))
        r = want_far(c, TN_REGION_STACKS, 0, TN_SWITCH_BYTES, PROT_READ | PROT_WRITE, false, -1);
    if (r == 0)
        r = want_far(c, TN_REGION_CLAIMS, 0, sh->ncpu * sizeof(struct tn_cpu_claim), PROT_READ | PROT_WRITE,
                     true, sh->claims);
    if (r == 0)
        r = want_program(c);
    return r < 0 ? r : want_stash(c);
}

int tn_choose_proc(struct tn_entry *c, int proc_fd)
{
    return want_far(c, TN_REGION_PROC, 0, TN_PROC_SIZE, PROT_READ, false, proc_fd);
}

int tn_choose_means(struct tn_entry *c)
{
    int r = want_far(c, TN_REGION_STUB, 0, TN_STUB_SIZE, PROT_READ | PROT_EXEC, false, -1);

    return r < 0 ? r : want_far(c, TN_REGION_SCRATCH, 0, TN_PAGE, PROT_READ | PROT_WRITE, false, -1);
}
