/* SPDX-License-Identifier: MIT */
/*
 * Jumps that share bytes with what stands behind them: for places where no five bytes are free, or where nobody
 * can prove that none of five is jumped to. Only instructions that each keep a jump of their own are written over, so
 * that it does not matter who jumps where.
 *
 *     the place       53            48 89 fb          e8 …          push %rbx; mov %rdi,%rbx; call
 *     punned          e9           [48 89 fb e8]      …             jmp +e8fb8948: all of the offset is given
 *                     ▲ changed     ▲ stays, runs as before when jumped to
 *
 *     a longer one    2e e9 xx     [f2 f1 f0]                       prefixes that mean nothing before a jump give other
 *                     e9 xx xx     [f2 f1]                          offsets; xx may be chosen
 *
 *     evicted         e9            e9 yy yy          yy …          the instruction behind is displaced too and gets a
 *                     │             └ its own jump                  jump of its own, which is the first one's offset
 *                     └ jmp +yyyye9
 *
 * (Duck, Gao, Roychoudhury: Binary Rewriting without Control Flow Recovery, PLDI 2020: its tactics B2, T1 and T2.)
 * The jump can lead to a few addresses only. There a stub stands, in a page that is mapped for it, and leads on to the
 * displaced instructions. Which addresses are free, the caller knows: they are asked for.
 *
 * The bytes behind that a jump ends with are as good as changed: nobody may change them while it is there.
 */
#ifndef TN_REWRITE_PUN_H
#define TN_REWRITE_PUN_H

#include "rewrite/plan.h"

#define TN_PUN_STUB 16u   /* bytes of a stub, at most */
#define TN_PUN_PAGE 4096u /* … which lies in one page */

struct tn_pun {
    u8 bytes[TN_PATCH_MAX]; /* the window, and what stays behind it */
    u8 depends;             /* bytes behind it that a jump ends with */
    u8 prefixes;            /* of the first jump */
    u8 njumps;              /* one an instruction */
    u64 stub[TN_PUN_INSNS]; /* where each leads */
};

/* Is there room for a stub, TN_PUN_STUB bytes from an address in [lo, hi] on, with what has been chosen so far? */
typedef bool tn_pun_room(void *arg, u64 lo, u64 hi, const u64 *chosen, u32 nchosen, u64 *ret_at);

/* The first page at `from` or behind it that has stubs already: jumps whose offsets leave a choice lead there before they lead
   anywhere else. UINT64_MAX: none. */
typedef u64 tn_pun_page(void *arg, u64 from);

/* −ENOSPC: there is no room where any of its jumps could lead. Pure but for what `room` does. `page`: NULL: none has any. */
int tn_pun(const struct tn_patch *patch, u64 load_bias, tn_pun_room *room, tn_pun_page *page, void *arg,
           struct tn_pun *ret_pun);

/* The stub at `at` that leads to `to`. Returns its length. */
u32 tn_pun_stub(u64 at, u64 to, u8 ret_bytes[TN_PUN_STUB]);

/* Where the jump at the beginning of `bytes` leads, whatever its prefixes; `addr`: where they stand. 0: there is none. */
u64 tn_pun_target(const u8 *bytes, u32 len, u64 addr);

/* What it came to: "punned", "punned_prefix", "evicted". */
const char *tn_pun_tactic(const struct tn_pun *pun);

#endif
