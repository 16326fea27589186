/* SPDX-License-Identifier: MIT */
/*
 * What a program needs, learnt by verifying it under an authority that says yes and writes down the question.
 * The same question at the same instruction is one row, found by hash. Of a call, too, as long as it is asked of the
 * same arguments; of more than a few, the last row is what held on every path that came there.
 */
#include <errno.h>

#include "eim/ask.h"
#include "rt/layout.h"

#define WAYS 8u

static u32 hash(const struct tn_eim_use *u)
{
    u64 h = u->insn * 0x9e3779b97f4a7c15ull;

    h ^= (u64)u->access.offset << 32 | (u->call ? u->btf_id : u->access.btf_id);
    h *= 0xff51afd7ed558ccdull;
    h ^= u->answer + u->helper_id + ((u64)u->access.size << 8) + u->access.kind;
    return (u32)(h ^ h >> 29);
}

static bool same(const struct tn_eim_use *a, const struct tn_eim_use *b)
{
    return a->call == b->call && a->answer == b->answer && a->by_result == b->by_result &&
           a->insn == b->insn && a->helper_id == b->helper_id && a->btf_id == b->btf_id &&
           a->access.kind == b->access.kind && a->access.btf_id == b->access.btf_id &&
           a->access.offset == b->access.offset && a->access.size == b->access.size &&
           a->access.step == b->access.step && a->access.places == b->access.places &&
           a->access.var == b->access.var && a->access.buffer == b->access.buffer &&
           a->access.inside == b->access.inside && a->access.element == b->access.element &&
           a->access.first == b->access.first && a->access.end == b->access.end &&
           a->access.length_off == b->access.length_off && a->access.length_size == b->access.length_size &&
           a->access.process == b->access.process;
}

static bool same_args(const struct tn_eim_use *x, const struct tn_eim_use *y)
{
    for (u32 k = 0; k < x->nargs; k++) {
        const struct tn_call_arg *a = &x->args[k], *b = &y->args[k];

        if (a->number != b->number || a->maybe_null != b->maybe_null || a->trusted != b->trusted ||
            a->min != b->min || a->max != b->max || a->umin != b->umin || a->umax != b->umax ||
            a->bytes != b->bytes || a->btf_id != b->btf_id)
            return false;
    }
    return true;
}

static void widen(struct tn_eim_use *u, const struct tn_call_arg *args)
{
    for (u32 k = 0; k < u->nargs; k++) {
        struct tn_call_arg *a = &u->args[k];
        const struct tn_call_arg *b = &args[k];

        if (a->number != b->number) { /* NULL on one path is a pointer that may be NULL */
            bool null = a->number ? !a->umax : !b->umax;

            *a = a->number ? *b : *a;
            a->maybe_null = true;
            a->bytes = null ? a->bytes : 0;
            continue;
        }
        a->maybe_null |= b->maybe_null;
        a->trusted &= b->trusted;
        a->min = TN_MIN(a->min, b->min);
        a->max = TN_MAX(a->max, b->max);
        a->umin = TN_MIN(a->umin, b->umin);
        a->umax = TN_MAX(a->umax, b->umax);
        a->bytes = TN_MIN(a->bytes, b->bytes);
        a->btf_id = a->btf_id == b->btf_id ? a->btf_id : 0;
    }
}

static bool make_room(struct tn_eim_uses *uses)
{
    u32 room = uses->room ? uses->room * 2 : 64;
    struct tn_eim_use *row;
    u32 *bucket;

    if (uses->n < uses->room)
        return true;
    row = realloc(uses->row, room * sizeof(*row));
    if (row)
        uses->row = row;
    bucket = row ? calloc(room * 2, sizeof(*bucket)) : NULL;
    if (!bucket)
        return false;
    free(uses->bucket);
    uses->bucket = bucket;
    uses->room = room;
    for (u32 k = 0; k < uses->n; k++) {
        u32 at = hash(&uses->row[k]) & (room * 2 - 1);

        while (bucket[at])
            at = (at + 1) & (room * 2 - 1);
        bucket[at] = k + 1;
    }
    return true;
}

static void note(struct tn_eim_uses *uses, const struct tn_eim_use *u)
{
    struct tn_eim_use *last = NULL;
    u32 at, ways = 0;

    if (!make_room(uses)) {
        uses->failed = true;
        return;
    }
    for (at = hash(u) & (uses->room * 2 - 1); uses->bucket[at]; at = (at + 1) & (uses->room * 2 - 1)) {
        struct tn_eim_use *old = &uses->row[uses->bucket[at] - 1];

        if (!same(old, u))
            continue;
        if (same_args(old, u))
            return;
        last = old;
        ways++;
    }
    if (ways >= WAYS) {
        widen(last, u->args);
        return;
    }
    uses->row[uses->n++] = *u;
    uses->bucket[at] = uses->n;
}

static int record_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    struct tn_eim_use u = {.access = *access, .insn = access->insn};

    u.access.path = NULL;
    u.access.value = NULL;
    if (access->value) {
        u.args[0] = access->value[0];
        u.args[1] = access->value[1];
        u.nargs = 2;
    }
    note(self, &u);
    return 0;
}

static int record_call(void *self, const struct tn_call *call, struct tn_call_facts *facts,
                       struct tn_error *err)
{
    struct tn_eim_uses *uses = self;
    struct tn_eim_use u = {.call = true,
                           .helper_id = call->helper_id,
                           .btf_id = call->btf_id,
                           .insn = call->insn,
                           .nargs = call->nargs};

    for (u32 k = 0; k < call->nargs && k < TN_ARRAY_SIZE(u.args); k++)
        u.args[k] = call->args[k];
    note(uses, &u);
    for (u32 k = 0; uses->bound && !call->helper_id && k < uses->bound->host->nfunctions; k++)
        if (uses->bound->function[k].btf_id == call->btf_id)
            tn_cons_result(&uses->bound->function[k], call->args, call->nargs, facts);
    return 0;
}

static int record_answer(void *self, const struct tn_call_answer *answer, struct tn_error *err)
{
    struct tn_eim_use u;

    if (answer->by_result && answer->value.number && !answer->value.umax) /* none */
        return 0;
    u = (struct tn_eim_use){.answer = true,
                            .by_result = answer->by_result,
                            .btf_id = answer->btf_id,
                            .insn = answer->insn,
                            .args = {answer->value, answer->low},
                            .nargs = 2};

    note(self, &u);
    return 0;
}

static int record_offer(void *self, u32 btf_id, struct tn_host_function *ret)
{
    const struct tn_eim_uses *uses = self;

    return uses->bound ? tn_ask_offer(uses->bound, btf_id, ret) : -ENOENT;
}

void tn_eim_recording(struct tn_eim_uses *uses, const char *entry, struct tn_authority *ret)
{
    const struct tn_eim_entry *e = entry ? tn_host_entry(uses->bound->host, entry) : NULL;

    *ret = tn_authority_all;
    ret->self = uses;
    ret->host_stores = true;
    ret->context_stores = true;
    if (e)
        ret->entry_valid = uses->bound->entry[e - uses->bound->host->entry].valid;
    ret->may_access = record_access;
    ret->may_call = record_call;
    ret->may_answer = record_answer;
    ret->may_offer = record_offer;
}

void tn_eim_uses_clear(struct tn_eim_uses *uses)
{
    free(uses->row);
    free(uses->bucket);
    *uses = (struct tn_eim_uses){.bound = uses->bound};
}

static struct tn_call_answer answer_of(const struct tn_eim_use *u)
{
    return (struct tn_call_answer){u->args[0], u->args[1], u->by_result, u->btf_id, u->insn};
}

int tn_eim_admits_answers(const struct tn_class *c, const struct tn_eim_uses *uses, const char *function,
                          struct tn_error *err)
{
    int code = 0;

    for (u32 k = 0; k < uses->n && !code; k++) {
        struct tn_call_answer answer = answer_of(&uses->row[k]);

        if (uses->row[k].answer)
            code = tn_ask_answer_of(c->bound, function, &answer, err);
    }
    return code;
}

/* Of one word of struct tn_pt_regs. */
static int admits_register(const struct tn_class *c, const struct tn_eim_use *u, const char *function,
                           bool exit, struct tn_error *err)
{
    static const u16 args[] = {offsetof(struct tn_pt_regs, di), offsetof(struct tn_pt_regs, si),
                               offsetof(struct tn_pt_regs, dx), offsetof(struct tn_pt_regs, cx),
                               offsetof(struct tn_pt_regs, r8), offsetof(struct tn_pt_regs, r9)};
    const struct tn_call_arg any = {.number = true, .min = INT64_MIN, .max = INT64_MAX, .umax = UINT64_MAX};
    const struct tn_call_arg *value = u->nargs == 2 ? u->args : NULL;
    struct tn_call_answer answer = {
        .value = value ? value[0] : any, .low = value ? value[1] : any, .insn = u->insn};
    u32 off = u->access.offset & ~7u;
    int code;

    if (exit) {
        code = tn_eim_replaces(c, err);
        return code || off != offsetof(struct tn_pt_regs, ax)
                   ? code
                   : tn_ask_answer_of(c->bound, function, &answer, err);
    }
    for (u32 k = 0; k < TN_ARRAY_SIZE(args); k++)
        if (args[k] == off)
            return tn_ask_register_of(c, function, k, value, err);
    return 0;
}

int tn_eim_admits_registers(const struct tn_class *c, const struct tn_eim_uses *uses, const char *function,
                            bool exit, struct tn_error *err)
{
    int code = 0;

    for (u32 k = 0; k < uses->n && !code; k++) {
        const struct tn_eim_use *u = &uses->row[k];

        if (!u->call && !u->answer && !u->access.btf_id && !u->access.process && !u->access.entry &&
            u->access.kind == TN_ACCESS_WRITE)
            code = admits_register(c, u, function, exit, err);
    }
    return code;
}

int tn_eim_admits(const struct tn_class *c, bool typed, const struct tn_eim_use *u, struct tn_error *err)
{
    struct tn_asker q = {.c = c, .typed = typed};
    struct tn_call call = {u->helper_id, u->btf_id, u->insn, u->args, u->nargs};
    struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
    struct tn_access access = u->access;

    if (u->answer) {
        struct tn_call_answer answer = answer_of(u);

        return tn_ask_answer(&q, &answer, err);
    }
    access.path = "";
    access.value = u->nargs == 2 && !u->call ? u->args : NULL;
    return u->call ? tn_ask_call(&q, &call, &facts, err) : tn_ask_access(&q, &access, err);
}
