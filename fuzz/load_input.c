/* SPDX-License-Identifier: MIT */
/* See load_input.h: the parts, then libFuzzer's two questions, how to change one input and to cross two. */
#include "fuzz/load_input.h"

#include <linux/btf.h>

#include "tests/differential/mutate.h"

#define INSN_MAX 4096u
#define TEXT_MAX 65536u /* bytes of a part that a mutation changes */

const u32 *load_kfunc;
u32 load_nkfuncs;

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max_size, u32 seed);
size_t LLVMFuzzerCustomCrossOver(const u8 *data1, size_t size1, const u8 *data2, size_t size2, u8 *out,
                                 size_t max_out_size, u32 seed);

/* ------------------------------------------------------------------------------------------------- parts */

void load_parse(const u8 *data, size_t size, struct load_input *ret)
{
    size_t at = 0;

    ret->nparts = 0;
    while (ret->nparts < LOAD_PARTS && size - at >= sizeof(struct rec_part)) {
        struct rec_part head;

        memcpy(&head, data + at, sizeof(head));
        at += sizeof(head);
        if (head.size > size - at)
            break;
        ret->part[ret->nparts++] = (struct load_part){head.kind, head.size, data + at};
        at += TN_MIN(TN_ROUND_UP((size_t)head.size, 8), size - at);
    }
}

const struct load_part *load_find(const struct load_input *input, u32 kind)
{
    for (u32 k = 0; k < input->nparts; k++)
        if (input->part[k].kind == kind)
            return &input->part[k];
    return NULL;
}

void load_struct(const struct load_part *part, void *ret, size_t size)
{
    memset(ret, 0, size);
    if (part)
        memcpy(ret, part->data, TN_MIN(size, part->size));
}

size_t load_emit(const struct load_input *input, u8 *to, size_t cap)
{
    size_t at = 0;

    for (u32 k = 0; k < input->nparts; k++) {
        const struct load_part *part = &input->part[k];
        struct rec_part head = {part->kind, part->size};
        size_t room = TN_ROUND_UP((size_t)part->size, 8);

        if (cap - at < sizeof(head) + room)
            return 0;
        memcpy(to + at, &head, sizeof(head));
        at += sizeof(head);
        memset(to + at, 0, room);
        if (part->size)
            memcpy(to + at, part->data, part->size);
        at += room;
    }
    return at;
}

/* -------------------------------------------------------------------------------------------------- dice */

struct dice {
    u64 state;
};

static u32 roll(struct dice *d, u32 n)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return n ? (u32)(d->state >> 20) % n : 0;
}

static u32 odd(struct dice *d)
{
    static const u32 some[] = {0,  1,  2,   3,    4,     5,          7,          8,          9,         16,
                               24, 64, 255, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8};

    return roll(d, 3) ? some[roll(d, TN_ARRAY_SIZE(some))] : (u32)d->state;
}

/* A word becomes a near one, an odd one, or one with a bit turned. */
static void change_word(struct dice *d, u8 *at)
{
    u32 word;

    memcpy(&word, at, 4);
    switch (roll(d, 4)) {
    case 0:
        word += 1;
        break;
    case 1:
        word -= 1;
        break;
    case 2:
        word ^= 1u << roll(d, 32);
        break;
    default:
        word = odd(d);
    }
    memcpy(at, &word, 4);
}

/* ------------------------------------------------------------------------------------------- instructions */

/* An input that is being changed: the part in `work` replaces part `which`. */
struct change {
    struct load_input in;
    struct dice d;
    u8 work[TEXT_MAX], func[TEXT_MAX], line[TEXT_MAX];
};

static u32 wide(const struct bpf_insn *i)
{
    return i->code == (BPF_LD | BPF_IMM | BPF_DW) ? 2 : 1;
}

/* Where a jump, a call or an address of a function keeps how far it goes: 0 nowhere, 1 off, 2 imm. */
static u32 distance(const struct bpf_insn *i)
{
    u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);

    if (i->code == (BPF_LD | BPF_IMM | BPF_DW))
        return i->src_reg == BPF_PSEUDO_FUNC ? 2 : 0;
    if (class != BPF_JMP && class != BPF_JMP32)
        return 0;
    if (op == BPF_CALL)
        return i->src_reg == BPF_PSEUDO_CALL ? 2 : 0;
    if (op == BPF_EXIT)
        return 0;
    return class == BPF_JMP32 && op == BPF_JA ? 2 : 1;
}

static s64 moved(s64 index, u32 at, s32 by)
{
    return index >= (s64)at + (by < 0 ? -by : 0) ? index + by : index > at ? at : index;
}

/* Functions and lines behind `at` move as well: the first word of a record is an instruction's number. */
static void move_records(struct change *c, u32 kind, u32 rec_size, u8 *copy, u32 at, s32 by)
{
    for (u32 k = 0; k < c->in.nparts; k++) {
        struct load_part *part = &c->in.part[k];

        if (part->kind != kind || rec_size < 4 || part->size > TEXT_MAX)
            continue;
        memcpy(copy, part->data, part->size);
        for (u32 r = 0; r + rec_size <= part->size; r += rec_size) {
            u32 insn;

            memcpy(&insn, copy + r, 4);
            insn = (u32)moved(insn, at, by);
            memcpy(copy + r, &insn, 4);
        }
        part->data = copy;
    }
}

/* Opens a gap of `by` instructions before `at` (by < 0: closes one). The new length. */
static u32 move(struct change *c, struct bpf_insn *insns, u32 n, u32 at, s32 by)
{
    struct rec_program program;

    for (u32 k = 0; k < n; k++) {
        u32 where = distance(&insns[k]);
        s64 from = k + 1, to = from + (where == 1 ? insns[k].off : insns[k].imm);
        s64 now = moved(to, at, by) - moved(k, at, by) - 1;

        if (where == 1)
            insns[k].off = (s16)now;
        if (where == 2)
            insns[k].imm = (s32)now;
        if (k + 1 < n && wide(&insns[k]) == 2)
            k++;
    }
    if (by > 0) {
        memmove(&insns[at + (u32)by], &insns[at], (n - at) * sizeof(*insns));
    } else {
        u32 less = TN_MIN((u32)-by, n - at);

        memmove(&insns[at], &insns[at + less], (n - at - less) * sizeof(*insns));
        by = -(s32)less;
    }
    load_struct(load_find(&c->in, REC_PROGRAM), &program, sizeof(program));
    move_records(c, REC_FUNC_INFO, program.func_info_rec_size, c->func, at, by);
    move_records(c, REC_LINE_INFO, program.line_info_rec_size, c->line, at, by);
    return n + (u32)by;
}

static void change_call(struct change *c, struct bpf_insn *insns, u32 n)
{
    for (u32 tries = 0; tries < 64; tries++) {
        struct bpf_insn *i = &insns[roll(&c->d, n)];

        if (i->code != (BPF_JMP | BPF_CALL))
            continue;
        if (roll(&c->d, 2) && load_nkfuncs) {
            i->src_reg = BPF_PSEUDO_KFUNC_CALL;
            i->imm = (s32)load_kfunc[roll(&c->d, load_nkfuncs)];
        } else {
            i->src_reg = 0;
            i->imm = 1 + (s32)roll(&c->d, 212);
        }
        return;
    }
}

/* One to eight of `other`'s instructions, or of its own, somewhere. */
static u32 splice(struct change *c, struct bpf_insn *insns, u32 n, const struct bpf_insn *other, u32 nother)
{
    struct bpf_insn slice[8];
    u32 len = 1 + roll(&c->d, TN_MIN(nother, 8u)), from, at = roll(&c->d, n);

    if (!nother || n + 8 > INSN_MAX)
        return n;
    from = roll(&c->d, nother - len + 1);
    memcpy(slice, other + from, len * sizeof(*slice));
    n = move(c, insns, n, at, (s32)len);
    memcpy(&insns[at], slice, len * sizeof(*slice));
    return n;
}

/* Puts one in: a jump over what follows, a load or store through some register, a copy, a call. */
static u32 put_in(struct change *c, struct bpf_insn *insns, u32 n)
{
    static const struct bpf_insn rows[] = {
        {.code = BPF_JMP | BPF_JEQ | BPF_K},   {.code = BPF_JMP | BPF_JGT | BPF_K},
        {.code = BPF_LDX | BPF_MEM | BPF_DW},  {.code = BPF_STX | BPF_MEM | BPF_DW},
        {.code = BPF_ST | BPF_MEM | BPF_DW},   {.code = BPF_ALU64 | BPF_MOV | BPF_X},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_ALU64 | BPF_ADD | BPF_K},
        {.code = BPF_ALU64 | BPF_AND | BPF_K}, {.code = BPF_JMP | BPF_CALL},
        {.code = BPF_JMP | BPF_EXIT},          {.code = BPF_JMP | 0xe0 /* may_goto */},
        {.code = BPF_STX | 0xc0 | BPF_DW},     {.code = BPF_ALU64 | BPF_MOV | BPF_X, .off = 1},
        {.code = BPF_LDX | 0x80 | BPF_W},      {.code = BPF_LD | BPF_ABS | BPF_W},
    };
    struct bpf_insn new = rows[roll(&c->d, TN_ARRAY_SIZE(rows))];
    u32 at = roll(&c->d, n);
    u8 class = BPF_CLASS(new.code);

    if (n + 1 > INSN_MAX)
        return n;
    if (new.code != (BPF_JMP | BPF_EXIT)) {
        new.dst_reg = new.code == (BPF_JMP | BPF_CALL) ? 0 : roll(&c->d, 11) & 15;
        new.src_reg =
            class == BPF_LDX || class == BPF_STX || BPF_SRC(new.code) == BPF_X ? roll(&c->d, 11) & 15 : 0;
        if (new.code == (BPF_JMP | BPF_CALL))
            new.imm = 1 + (s32)roll(&c->d, 212);
        else if (class == BPF_JMP)
            new.off = (s16)roll(&c->d, 6);
        else
            new.imm = roll(&c->d, 2) ? (s32)odd(&c->d) : (s32)roll(&c->d, 64);
        if (class == BPF_LDX || class == BPF_STX || class == BPF_ST)
            new.off = (s16)(new.dst_reg == 10 || new.src_reg == 10 ? -8 * (s32)(1 + roll(&c->d, 8))
                                                                   : (s32)roll(&c->d, 64));
    }
    n = move(c, insns, n, at, 1);
    insns[at] = new;
    return n;
}

static u32 change_insns(struct change *c, u32 size, const struct bpf_insn *other, u32 nother)
{
    struct bpf_insn *insns = (struct bpf_insn *)c->work;
    u32 n = size / (u32)sizeof(*insns), at;

    if (!n || n > INSN_MAX)
        return size;
    at = roll(&c->d, n);
    switch (roll(&c->d, other ? 1 : 10)) {
    case 0:
        n = splice(c, insns, n, other ? other : insns, other ? nother : n);
        break;
    case 1:
    case 2:
    case 3:
        mutate(insns, n, ((u64)roll(&c->d, UINT32_MAX) << 32) | roll(&c->d, UINT32_MAX));
        break;
    case 4:
        change_call(c, insns, n);
        break;
    case 5:
        n = move(c, insns, n, at, -(s32)(1 + roll(&c->d, 3)));
        break;
    case 6:
        n = put_in(c, insns, n);
        break;
    case 7:
        c->work[at * 8 + roll(&c->d, 4)] ^= (u8)(1u << roll(&c->d, 8));
        break;
    case 8:
        change_word(&c->d, c->work + at * 8 + 4);
        break;
    default: /* whose address, or of what kind, a constant is; what kind of function is called */
        for (u32 tries = 0; tries < 64; tries++, at = roll(&c->d, n))
            if (insns[at].code == (BPF_LD | BPF_IMM | BPF_DW) || insns[at].code == (BPF_JMP | BPF_CALL)) {
                insns[at].src_reg = roll(&c->d, 8) & 15;
                break;
            }
    }
    return n * (u32)sizeof(*insns);
}

/* ---------------------------------------------------------------------------------------- the other parts */

/* Types: whole words of the type section mostly, sometimes the head or a name. The length stays. */
static u32 change_btf(struct change *c, u32 size)
{
    struct btf_header h;
    u32 from, len;

    if (size < sizeof(h) + 4)
        return size;
    memcpy(&h, c->work, sizeof(h));
    from = (u32)sizeof(h);
    len = TN_MIN(size - from, h.type_len);
    for (u32 changes = 1 + roll(&c->d, 2); changes; changes--) {
        u32 place = roll(&c->d, 16);

        if (place == 0)
            change_word(&c->d, c->work + 4 * roll(&c->d, sizeof(h) / 4));
        else if (place < 3 || len < 4)
            c->work[from + roll(&c->d, size - from)] = (u8)roll(&c->d, 256);
        else
            change_word(&c->d, c->work + from + 4 * roll(&c->d, len / 4));
    }
    return size;
}

static u32 change_records(struct change *c, u32 size, u32 rec_size)
{
    if (size < 4)
        return size;
    if (rec_size && size >= 2 * rec_size && !roll(&c->d, 4))
        return size - rec_size;
    if (rec_size && size >= rec_size && size + rec_size <= TEXT_MAX && !roll(&c->d, 6)) {
        memcpy(c->work + size, c->work + roll(&c->d, size / rec_size) * rec_size, rec_size);
        return size + rec_size;
    }
    change_word(&c->d, c->work + 4 * roll(&c->d, size / 4));
    return size;
}

static u32 change_tweaks(struct change *c, u32 size)
{
    struct load_tweak t = {.call = (u16)roll(&c->d, LOAD_CALLS), .value = odd(&c->d)};

    if (size >= sizeof(t) && roll(&c->d, 2))
        return size - (u32)sizeof(t);
    if (size >= 16 * sizeof(t))
        return size;
    t.at = roll(&c->d, 4) ? (u16)(4 * roll(&c->d, 40)) : LOAD_SIZE;
    if (t.at == LOAD_SIZE && roll(&c->d, 3))
        t.value = roll(&c->d, 180);
    memcpy(c->work + size, &t, sizeof(t));
    return size + (u32)sizeof(t);
}

static u32 change_words(struct change *c, u32 size)
{
    if (size >= 4)
        change_word(&c->d, c->work + 4 * roll(&c->d, size / 4));
    return size;
}

/* -------------------------------------------------------------------------------------------- libFuzzer's */

static struct load_part *ensure(struct load_input *in, u32 kind, u32 size)
{
    static const u8 zeros[64];
    struct load_part *part = (struct load_part *)load_find(in, kind);

    if (part || in->nparts == LOAD_PARTS)
        return part;
    in->part[in->nparts] = (struct load_part){kind, size, zeros};
    return &in->part[in->nparts++];
}

static bool wanted(struct dice *d, const struct load_part *part)
{
    switch (part->kind) {
    case REC_INSNS:
        return true;
    case REC_BTF:
        return !roll(d, 3);
    case REC_MAP:
    case REC_PROGRAM:
    case REC_FUNC_INFO:
    case LOAD_HOW:
    case LOAD_TWEAKS:
        return !roll(d, 4);
    default:
        return !roll(d, 8);
    }
}

/* A part by how much there is to learn from it. */
static struct load_part *choose(struct change *c)
{
    for (u32 tries = 0; tries < 64; tries++) {
        struct load_part *part = &c->in.part[roll(&c->d, c->in.nparts)];

        if (part->size <= TEXT_MAX - 256 && wanted(&c->d, part))
            return part;
    }
    return NULL;
}

static size_t apply(struct change *c, struct load_part *part, const struct bpf_insn *other, u32 nother,
                    u8 *to, size_t cap)
{
    struct rec_program program;

    load_struct(load_find(&c->in, REC_PROGRAM), &program, sizeof(program));
    if (part->size)
        memcpy(c->work, part->data, part->size);
    switch (part->kind) {
    case REC_INSNS:
        part->size = change_insns(c, part->size, other, nother);
        break;
    case REC_BTF:
        part->size = change_btf(c, part->size);
        break;
    case REC_FUNC_INFO:
        part->size = change_records(c, part->size, program.func_info_rec_size % 256);
        break;
    case REC_LINE_INFO:
        part->size = change_records(c, part->size, program.line_info_rec_size % 256);
        break;
    case LOAD_TWEAKS:
        part->size = change_tweaks(c, part->size);
        break;
    default:
        part->size = change_words(c, part->size);
    }
    part->data = c->work;
    return load_emit(&c->in, to, cap);
}

static struct change change; /* too large for a stack */

static void begin(const u8 *data, size_t size, u32 seed)
{
    load_parse(data, size, &change.in);
    change.d.state = (u64)seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    ensure(&change.in, LOAD_HOW, sizeof(struct load_how));
    ensure(&change.in, LOAD_TWEAKS, 0);
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max_size, u32 seed)
{
    static u8 *out;
    static size_t out_cap;
    struct load_part *part;
    size_t n;

    begin(data, size, seed);
    if (!load_find(&change.in, REC_INSNS) || !roll(&change.d, 200))
        return LLVMFuzzerMutate(data, size, max_size);
    if (out_cap < max_size) {
        free(out);
        out = malloc(max_size);
        out_cap = out ? max_size : 0;
        if (!out)
            return size;
    }
    part = choose(&change);
    n = part ? apply(&change, part, NULL, 0, out, max_size) : 0;
    if (!n)
        return size;
    memcpy(data, out, n);
    return n;
}

/* Some of the one's instructions in the other's program, or one of its parts in place of the other's. */
size_t LLVMFuzzerCustomCrossOver(const u8 *data1, size_t size1, const u8 *data2, size_t size2, u8 *out,
                                 size_t max_out_size, u32 seed)
{
    static struct load_input second;
    const struct load_part *other;
    struct load_part *mine;

    begin(data1, size1, seed);
    load_parse(data2, size2, &second);
    if (!second.nparts)
        return 0;
    if (roll(&change.d, 4)) {
        static struct bpf_insn insns[INSN_MAX];
        u32 n;

        other = load_find(&second, REC_INSNS);
        mine = (struct load_part *)load_find(&change.in, REC_INSNS);
        if (!other || !mine || mine->size > TEXT_MAX - 256)
            return 0;
        n = TN_MIN(other->size / (u32)sizeof(*insns), INSN_MAX);
        memcpy(insns, other->data, n * sizeof(*insns));
        return apply(&change, mine, insns, n, out, max_out_size);
    }
    other = &second.part[roll(&change.d, second.nparts)];
    mine = (struct load_part *)load_find(&change.in, other->kind);
    if (!mine)
        return 0;
    *mine = *other;
    return load_emit(&change.in, out, max_out_size);
}
