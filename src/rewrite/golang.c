/* SPDX-License-Identifier: MIT */
/*
 * The table (runtime/symtab.go, cmd/internal/obj/pcln.go):
 *
 *     head    magic, 0, 0, 1, 8 │ functions │ files │ text │ offsets of names, …, pc tables, functions
 *     functions    { entry, offset of record }…, end
 *     record       entry, name, …, recovers, …, pc tables, …, flags │ offsets of pc tables
 *     pc table     { value's change, zigzag; bytes for which it holds }…, as varints; ends with a change of 0
 */
#include "rewrite/golang.h"

#include <errno.h>

#include "rewrite/flow.h"

#define MAGIC_118 0xfffffff0u
#define MAGIC_120 0xfffffff1u
#define HEAD      72u
#define FUNCS_MAX (1u << 22)
#define ASSEMBLY  4u /* of a record's flags: made by the assembler; where a stack begins */
#define TOP       1u

/* Values of the table of unsafe points: −1, or where there is none, anybody may be stopped; −2 nobody; below: he may, and
   comes back to where such a stretch begins. */
#define UNSAFE (-2)

enum { NAME = 4, RECOVERS = 12, NTABLES = 28 };

static bool get(const struct tn_go *go, u64 at, void *ret, u64 size)
{
    if (at > go->len || size > go->len - at)
        return false;
    memcpy(ret, go->bytes + at, size);
    return true;
}

static u64 word(const u8 *bytes, u32 index)
{
    u64 value;

    memcpy(&value, bytes + 8 + 8 * index, sizeof(value));
    return value;
}

bool tn_go_head(const u8 *bytes, u64 len, u64 *ret_text)
{
    static const u8 sizes[] = {0, 0, 1, 8};
    u32 magic;

    if (len < HEAD)
        return false;
    memcpy(&magic, bytes, sizeof(magic));
    if ((magic != MAGIC_118 && magic != MAGIC_120) || memcmp(bytes + 4, sizes, sizeof(sizes)) != 0)
        return false;
    *ret_text = word(bytes, 2);
    return true;
}

/* The entry of function `index`; of one past the last: where that ends. */
static bool entry(const struct tn_go *go, u32 index, u32 *ret)
{
    return get(go, go->funcs + 8ull * index, ret, sizeof(*ret));
}

int tn_go_open(const u8 *bytes, u64 len, u64 text, struct tn_go *ret_go)
{
    struct tn_go go = {.bytes = bytes, .len = len, .text = text};
    u32 before = 0, magic;
    u64 n, unused;

    if (!tn_go_head(bytes, len, &unused))
        return -EBADMSG;
    memcpy(&magic, bytes, sizeof(magic));
    go.head = magic == MAGIC_118 ? 40 : 44;
    n = word(bytes, 0);
    go.names = word(bytes, 3);
    go.pctab = word(bytes, 6);
    go.funcs = word(bytes, 7);
    if (!n || n > FUNCS_MAX || go.names > len || go.pctab > len || go.funcs > len)
        return -EBADMSG;
    go.nfuncs = (u32)n;
    for (u32 i = 0; i <= go.nfuncs; i++) {
        u32 at;

        if (!entry(&go, i, &at) || at < before)
            return -EBADMSG;
        before = at;
    }
    *ret_go = go;
    return 0;
}

bool tn_go_nth(const struct tn_go *go, u32 index, struct tn_go_func *ret_func)
{
    u32 from, to, at, name, recovers, ntables, unsafe = 0;
    struct tn_go_func f = {.name = ""};
    u64 record;
    u8 flags;

    if (index >= go->nfuncs || !entry(go, index, &from) || !entry(go, index + 1, &to) ||
        !get(go, go->funcs + 8ull * index + 4, &at, sizeof(at)))
        return false;
    record = go->funcs + at;
    if (!get(go, record + NAME, &name, 4) || !get(go, record + RECOVERS, &recovers, 4) ||
        !get(go, record + NTABLES, &ntables, 4) || !get(go, record + go->head - 3, &flags, 1))
        return false;
    if (ntables && !get(go, record + go->head, &unsafe, 4))
        return false;
    if (go->names + name < go->len && memchr(go->bytes + go->names + name, 0, go->len - go->names - name))
        f.name = (const char *)go->bytes + go->names + name;
    f.addr = go->text + from;
    f.size = to - from;
    f.assembly = flags & ASSEMBLY;
    f.top = flags & TOP;
    f.recovers = recovers && recovers < f.size ? f.addr + recovers : 0;
    f.unsafe = unsafe ? go->pctab + unsafe : 0;
    *ret_func = f;
    return true;
}

bool tn_go_at(const struct tn_go *go, u64 addr, struct tn_go_func *ret_func)
{
    u32 lo = 0, hi = go->nfuncs, at;

    while (lo < hi) { /* the first that begins behind `addr` */
        u32 mid = lo + (hi - lo) / 2;

        if (!entry(go, mid, &at))
            return false;
        if (go->text + at <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && tn_go_nth(go, lo - 1, ret_func) && addr - ret_func->addr < ret_func->size;
}

bool tn_go_owns(const struct tn_code_view *code, u64 addr)
{
    struct tn_go_func f;

    return code->go && tn_go_at(code->go, addr, &f);
}

static bool varint(const struct tn_go *go, u64 *at, u32 *ret)
{
    u32 value = 0;
    u8 byte = 0x80;

    for (u32 shift = 0; byte & 0x80; shift += 7) {
        if (shift > 28 || !get(go, (*at)++, &byte, 1))
            return false;
        value |= (u32)(byte & 0x7f) << shift;
    }
    *ret = value;
    return true;
}

struct tn_go_points tn_go_points(const struct tn_go_func *f)
{
    return (struct tn_go_points){f->unsafe, f->addr, -1};
}

bool tn_go_resumes(const struct tn_go *go, const struct tn_go_func *f, struct tn_go_points *p, u64 addr)
{
    if (f->assembly || f->top)
        return f->top;
    while (p->at && addr >= p->end) {
        u32 change, bytes;

        if (!varint(go, &p->at, &change) || (!change && p->end != f->addr) || !varint(go, &p->at, &bytes) ||
            !bytes) {
            *p = (struct tn_go_points){.value = -1}; /* ends before, or cannot be read */
            break;
        }
        p->value = (s32)((u32)p->value + (change & 1 ? ~(change >> 1) : change >> 1));
        p->end += bytes;
    }
    return p->value != UNSAFE;
}

/*
 * A load that faults in a function without a frame is taken for its caller's, as a jump to nowhere would be. What is read
 * through the stack pointer, from g (r14) or at a fixed place is there.
 */
bool tn_go_movable(const struct tn_insn *i, bool bare)
{
    bool based, string;

    if (bare || !i->legacy)
        return bare || !i->has_modrm || i->mod == 3 || i->mem_off;
    string = i->map == 0 && ((i->op >= 0xa4 && i->op <= 0xa7) || (i->op >= 0xaa && i->op <= 0xaf));
    if (string)
        return false;
    if (!i->has_modrm || i->mod == 3 || i->mem_off || i->kind == TN_INSN_NOP ||
        (i->map == 0 && i->op == 0x8d))
        return true;
    if (i->has_sib && i->index != 4)
        return false;
    based = !i->has_sib || !(i->mod == 0 && (i->base & 7) == 5);
    return !based || (i->has_sib ? i->base == 4 : i->rm == 14);
}

#define QUESTION_MAX 8u /* instructions */
#define ANSWER_MAX   48u

/* The instruction at `at`, which the function comes to and, if `alone`, nobody jumps to. */
static bool meet(const struct tn_flow *f, u64 at, bool alone, struct tn_insn *ret)
{
    u8 mark = tn_flow_mark(f, at);

    return mark & TN_FLOW_START &&
           !(alone && (mark & (TN_FLOW_TARGET | TN_FLOW_RESUMED)) == TN_FLOW_TARGET) &&
           tn_code_decode(f->code, at, ret) == 0;
}

static bool is_morestack(const struct tn_flow *f, u64 addr)
{
    static const char name[] = "runtime.morestack";
    struct tn_go_func g;

    return tn_go_at(f->code->go, addr, &g) && g.addr == addr && !strncmp(g.name, name, sizeof(name) - 1);
}

/* Do the instructions from `at` on call for more stack and jump to the entry? Where that jump is; 0: they do not. */
static u64 answer(const struct tn_flow *f, u64 at)
{
    bool asked = false;
    struct tn_insn i;

    for (u32 n = 0; n < ANSWER_MAX && meet(f, at, n, &i); n++) {
        if (i.kind == TN_INSN_JMP)
            return asked && i.target == f->func->addr ? at : 0;
        if (i.kind == TN_INSN_CALL && (asked || !is_morestack(f, i.target)))
            return 0;
        asked |= i.kind == TN_INSN_CALL;
        if (i.kind != TN_INSN_CALL && i.kind != TN_INSN_PLAIN && i.kind != TN_INSN_NOP)
            return 0;
        at += i.len;
    }
    return 0;
}

u64 tn_go_body(const struct tn_flow *f)
{
    u64 at = f->func->addr, body = 0, from = 0, back;
    struct tn_go_func g;
    struct tn_insn i;

    if (!tn_go_at(f->code->go, at, &g))
        return 0;
    for (u32 n = 0; n < QUESTION_MAX && meet(f, at, n, &i); n++) {
        u64 off = at - f->code->addr;

        if (i.kind == TN_INSN_JCC && (!from || i.target == from)) {
            from = i.target;
            body = at + i.len;
        } else if (i.kind != TN_INSN_PLAIN ||
                   tn_decode_writes(f->code->bytes + off, f->code->len - off) & ~(1u << 12)) {
            break;
        }
        at += i.len;
    }
    back = from && meet(f, body, true, &i) ? answer(f, from) : 0;
    for (u32 k = 0; back && k + 1 < f->jumps.n; k += 2) {
        u64 by = f->jumps.at[k], to = f->jumps.at[k + 1];

        if (by == UINT64_MAX && to != g.recovers) /* stopped there, which is no way there */
            continue;
        if ((to == from && !(by >= f->func->addr && by < body)) || (to == f->func->addr && by != back))
            back = 0;
    }
    return back ? body : 0;
}
