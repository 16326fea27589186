/* SPDX-License-Identifier: MIT */
/*
 * A sweep from each function to the next. The two prefixes of VEX (c4, c5) and that of EVEX (62) are looked
 * for before anything is decoded: most functions have none of these bytes at all.
 */
#include "rewrite/vectors.h"

#include "x86/decode.h"

static bool may_have(const u8 *bytes, u64 len)
{
    for (u64 i = 0; i < len; i++)
        if (bytes[i] == 0xc4 || bytes[i] == 0xc5 || bytes[i] == 0x62)
            return true;
    return false;
}

static bool has_wide(const u8 *bytes, u64 len, u64 addr)
{
    struct tn_insn insn;

    for (u64 at = 0; at < len;) {
        if (tn_x86_decode(bytes + at, len - at, addr + at, &insn) < 0) {
            at++;
            continue;
        }
        if (!insn.legacy)
            return true;
        at += insn.len;
    }
    return false;
}

bool tn_code_has_wide(const struct tn_code_view *code)
{
    u64 from = 0;

    for (u32 k = 0; k <= code->nfuncs; k++) {
        u64 to = k < code->nfuncs && code->funcs[k].addr >= code->addr ? code->funcs[k].addr - code->addr
                                                                       : code->len;

        if (k < code->nfuncs && code->funcs[k].addr < code->addr)
            continue;
        to = TN_MIN(to, code->len);
        if (to > from && may_have(code->bytes + from, to - from) &&
            has_wide(code->bytes + from, to - from, code->addr + from))
            return true;
        from = TN_MAX(from, to);
    }
    return false;
}
