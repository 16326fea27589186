/* SPDX-License-Identifier: MIT */
/*
 * The host's stack, as Linux walks a user's: by frame pointers, from the registers that the host has at the place.
 *
 *     ip                       the place itself; at an exit, the return address
 *     *sp                      where the return address is still on top: a frame that rbp does not tell of yet
 *     rbp ──▶ │ caller's rbp │ return address │ ──▶ …     until one cannot be read
 *
 * Nothing of ours is in it: the registers are those of the place, return slots are the host's own, and where a hook runs on a
 * stack of ours (Go), they still tell of the host's. Where a run has called the host, or a signal has come to a thread that was
 * in code of ours, frames of ours are on the way; programs and agent have frame pointers, too, so that the way leads through
 * them, and addresses in what is ours (struct tn_own_code) are left out.
 *
 * What lies there is the host's, and may be anything: every word is read in a way that may fail, and no more than
 * FRAMES_MAX frames are followed, in whatever circle they lead.
 *
 * There is one stack. Who asks for the kernel's gets what a uprobe on Linux gets, where there is none either; nor has a run without a
 * target one.
 */
#include <asm/errno.h>
#include <linux/bpf.h>

#include "rt/barrier.h"
#include "rt/helper/helpers.h"
#include "rt/lock.h"
#include "rt/map/map.h"
#include "rt/mem.h"
#include "rt/probe.h"

#define SKIP(flags)   ((u32)((flags)&BPF_F_SKIP_FIELD_MASK))
#define FRAMES_MAX    (2 * TN_STACK_MAX) /* with those of ours */
#define CHANGES       3u                 /* walks begun anew, where code of ours came or went meanwhile */
#define BUILD_ID_SIZE sizeof(struct bpf_stack_build_id)

struct out {
    u8 *to; /* aligned to nothing */
    u32 count, skip, most, frames;
    const struct tn_own_code *ours;
};

static bool is_ours(const struct tn_own_code *ours, u64 ip)
{
    u64 low = 0, high = ours ? TN_MIN(tn_load(&ours->count), (u64)TN_OWN_MAX) : 0;

    while (low < high) {
        u64 middle = (low + high) / 2;

        if (ip < tn_load(&ours->range[middle].start))
            high = middle;
        else if (ip >= tn_load(&ours->range[middle].end))
            low = middle + 1;
        else
            return true;
    }
    return false;
}

/* False: there is no more room. */
static bool put(struct out *o, u64 ip)
{
    if (!is_ours(o->ours, ip)) {
        if (o->count >= o->skip)
            __builtin_memcpy(o->to + (u64)(o->count - o->skip) * sizeof(ip), &ip, sizeof(ip));
        o->count++;
    }
    return o->count < o->most && ++o->frames < FRAMES_MAX;
}

static void follow(struct out *o, const struct tn_run *run)
{
    const struct tn_pt_regs *regs =
        (const struct tn_pt_regs *)run - 1; /* a trampoline's frame: trampoline.c */
    struct {
        u64 next, ret;
    } frame = {.next = regs->bp};
    u64 ret;

    if (!o->most || !put(o, regs->ip))
        return;
    if (run->hook->bare && tn_probe_read(&ret, sizeof(ret), regs->sp, run) == 0 && !put(o, ret))
        return;
    while (frame.next >= TN_PAGE && tn_probe_read(&frame, sizeof(frame), frame.next, run) == 0)
        if (!put(o, frame.ret))
            return;
}

/* As many as there are, those that are skipped included, and `most` at most: what is behind these goes to `to`. */
static u32 walk(const struct tn_run *run, u64 flags, u32 room, void *to)
{
    const struct tn_own_code *ours = run->proc ? (const struct tn_own_code *)run->proc->ours : NULL;
    struct out o = {0};
    u64 changes;

    if (!(flags & BPF_F_USER_STACK) || !run->hook)
        return 0;
    for (u32 n = 0; n < CHANGES; n++) {
        changes = ours ? tn_load_acquire(&ours->changes) : 0;
        o = (struct out){
            .to = to, .skip = SKIP(flags), .most = TN_MIN(room + SKIP(flags), TN_STACK_MAX), .ours = ours};
        follow(&o, run);
        tn_fence_acquire();
        if (!ours || (!(changes & 1) && tn_load(&ours->changes) == changes))
            break;
    }
    return o.count;
}

u64 tn_helper_get_stack(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    u64 flags = r4, elem = flags & BPF_F_USER_BUILD_ID ? BUILD_ID_SIZE : sizeof(u64), len = 0;
    u32 size = (u32)r3, count;
    s64 r = -EINVAL;

    if (flags & ~(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_USER_BUILD_ID) || size % elem)
        goto out;
    if (flags & BPF_F_USER_BUILD_ID) {
        r = flags & BPF_F_USER_STACK ? -EOPNOTSUPP : -EINVAL;
        goto out;
    }
    count = walk(run, flags, size / (u32)sizeof(u64), (void *)r2);
    r = -EFAULT;
    if (count < SKIP(flags))
        goto out;
    len = (count - SKIP(flags)) * sizeof(u64);
    r = (s64)len;
out:
    memset((u8 *)r2 + len, 0, size - len);
    return (u64)r;
}

u64 tn_helper_get_stackid(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    const struct tn_map *map = (const struct tn_map *)r2;
    struct tn_stack stack;
    u64 flags = r3;
    u32 count;

    if (flags & ~(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID))
        return (u64)-EINVAL;
    count = walk(run, flags, TN_MIN(map->geo.value_size / (u32)sizeof(u64), TN_STACK_MAX), stack.ip);
    if (count <= SKIP(flags))
        return (u64)-EFAULT;
    stack.count = count - SKIP(flags);

    struct tn_who who = tn_who(run);

    return (u64)tn_stack_keep(map, &stack, flags, &who);
}
