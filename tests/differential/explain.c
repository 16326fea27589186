/* SPDX-License-Identifier: MIT */
/* See explain.h. */
#include "tests/differential/explain.h"

#include "tests/differential/oracle.h"
#include "tests/verify/told.h"
#include "verify/internal.h"

/* A recording with other instructions: functions lie elsewhere,
   and there is a map of numbers nobody knows. */
struct changed {
    struct rec rec;
    struct rec_program program;
    struct rec_map thawed[REC_MAX_MAPS];
    struct bpf_insn *insns;
    u32 n;
    struct bpf_func_info *funcs;
};

static const struct rec_map numbers = {.type = BPF_MAP_TYPE_ARRAY,
                                       .key_size = 4,
                                       .value_size = 8,
                                       .max_entries = 1,
                                       .btf = -1,
                                       .inner = -1,
                                       .name = "unknown"};

static struct changed *change(const struct rec *rec)
{
    struct changed *c = calloc(1, sizeof(*c));

    if (c)
        c->funcs = malloc(rec->func_info.size + 16);
    if (!c || !c->funcs || rec->nmaps + 1 >= REC_MAX_MAPS) {
        free(c ? c->funcs : NULL);
        free(c);
        return NULL;
    }
    c->rec = *rec;
    c->program = *rec->program;
    if (rec->func_info.size)
        memcpy(c->funcs, rec->func_info.data, rec->func_info.size);
    c->rec.func_info.data = rec->func_info.size ? (const u8 *)c->funcs : NULL;
    c->rec.map[c->rec.nmaps++] = &numbers;
    c->program.nmaps = c->rec.nmaps; /* inner maps become nameable: no instruction names them */
    c->rec.program = &c->program;
    return c;
}

static u32 nfuncs(const struct changed *c)
{
    u32 size = c->program.func_info_rec_size;

    return size == sizeof(struct bpf_func_info) ? c->rec.func_info.size / size : 0;
}

static void changed_free(struct changed *c)
{
    if (!c)
        return;
    free(c->insns);
    free(c->funcs);
    free(c);
}

static bool linux_accepts(const struct changed *c)
{
    struct oracle *o = malloc(sizeof(*o));
    bool accepts;

    if (!o || oracle_missing() || oracle_open(o, &c->rec)) {
        free(o);
        return false;
    }
    o->bound_ms = 5000;
    accepts = !oracle_ask(o, c->insns, c->n, false, 0, NULL, 0);
    oracle_close(o);
    free(o);
    return accepts;
}

/* Words without their numbers: those differ once the program is another. */
static void plain(const char *from, char *to, size_t size)
{
    size_t n = 0;

    for (bool before = false; *from && n + 1 < size; from++) {
        bool digit = (*from >= '0' && *from <= '9') || (*from == '-' && from[1] >= '0' && from[1] <= '9');

        if (!digit)
            to[n++] = *from;
        else if (!before)
            to[n++] = 'N';
        before = digit;
    }
    to[n] = 0;
}

/* Refused here too, and in Linux's words, once it knows no more than Linux at one kind of instruction. */
static bool refused_alike(const struct ask *ask, const struct changed *c, const char *words)
{
    struct tn_verdict v = {0};
    char theirs[512], ours[512];
    bool alike;

    alike = !ask_accepts(ask, &c->rec, c->insns, c->n, &v) && strcmp(v.refusal.reason, "too_complex") != 0;
    plain(words, theirs, sizeof(theirs));
    plain(v.refusal.message, ours, sizeof(ours));
    alike = alike && *theirs && strstr(ours, theirs);
    tn_verdict_clear(&v);
    return alike;
}

/* No frozen arrays of several elements any more. False: there were none. */
static bool thaw(struct changed *c)
{
    bool thawed = false;

    for (u32 k = 0; k < c->rec.nmaps; k++) {
        const struct rec_map *m = c->rec.map[k];

        if (!m->frozen || m->type != BPF_MAP_TYPE_ARRAY || m->max_entries < 2)
            continue;
        c->thawed[k] = *m;
        c->thawed[k].frozen = 0;
        c->rec.map[k] = &c->thawed[k];
        thawed = true;
    }
    return thawed;
}

/* ---------------------------------------------------------------------------------- accesses of a kind */

struct bases {
    u8 *seen; /* one an instruction: 1 the context was the base, 2 something else was, 4 it went back */
    const struct bpf_insn *insns;
};

static void note_base(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need)
{
    const struct bases *b = arg;
    const struct bpf_insn *i = &b->insns[insn];
    u8 class = BPF_CLASS(i->code), base = class == BPF_LDX ? i->src_reg : i->dst_reg;

    (void)need;
    if ((class == BPF_LDX || class == BPF_STX || class == BPF_ST) && base <= BPF_REG_10) {
        const struct tn_reg *reg = &tn_state_top(state)->reg[base];

        b->seen[insn] |= reg->kind == TN_REG_CTX ? 1 : 2;
        b->seen[insn] |= reg->r.smin + i->off >= 0 && reg->r.smin < reg->delta ? 4 : 0;
    }
}

/* Which instructions have the context as their base on one way, other memory on another? Or: a pointer that
   went back, but not behind its object's start? */
static bool *choose(const struct tn_verify_in *in, enum weakening which)
{
    _free_ u8 *seen = calloc(in->ninsns, 1);
    bool *chosen = calloc(in->ninsns, sizeof(*chosen));
    struct bases b = {seen, in->insns};
    struct tn_verify_probe probe = {note_base, &b, NULL};
    struct tn_verdict v = {0};

    if (seen && chosen && !tn_verify_probed(in, &probe, &v))
        for (u32 k = 0; k < in->ninsns; k++)
            chosen[k] = which == WEAK_MIXED ? (seen[k] & 3) == 3 : seen[k] & 4;
    tn_verdict_clear(&v);
    return chosen;
}

/* ------------------------------------------------------------------------------------------------- rows */

/* Other calls in place of those of the two helpers. */
static void without_helpers(struct bpf_insn *insns, u32 n)
{
    for (u32 k = 0; k < n; k++)
        if (insns[k].code == (BPF_JMP | BPF_CALL) && !insns[k].src_reg &&
            (insns[k].imm == BPF_FUNC_override_return || insns[k].imm == BPF_FUNC_probe_write_user))
            insns[k].imm = BPF_FUNC_get_prandom_u32;
}

static bool told(struct changed *c, const struct tn_verify_in *in, const struct rec *rec,
                 const struct bpf_insn *insns, bool helpers)
{
    bool answer = false;

    for (enum told how = 0; !answer && how < TOLD_WAYS; how++) {
        u32 left;

        free(c->insns);
        c->insns = NULL;
        if (rec->func_info.size)
            memcpy(c->funcs, rec->func_info.data, rec->func_info.size);
        c->rec.func_info.size = rec->func_info.size;
        left = nfuncs(c);
        answer = !tell(in, insns, how, &c->insns, &c->n, c->funcs, &left);
        if (rec->func_info.size)
            c->rec.func_info.size = left * (u32)sizeof(*c->funcs);
        if (answer && helpers)
            without_helpers(c->insns, c->n);
        answer = answer && linux_accepts(c);
    }
    return answer;
}

/* Accepted, and the length of its longest run is known: no loop was left to the run to end (verify.h). */
static bool ends(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n)
{
    struct tn_verdict v = {0};
    bool known = ask_accepts(ask, rec, insns, n, &v) && v.facts.longest_path < 1ull << 40;

    tn_verdict_clear(&v);
    return known;
}

/* One look-up after the other: what Linux knows of the others' keys may be what it refuses by. */
static bool one_key(const struct ask *ask, struct changed *c, const struct rec *rec,
                    const struct bpf_insn *insns, u32 n, const char *words)
{
    _free_ bool *chosen = calloc(n, sizeof(*chosen));
    bool answer = false;

    for (u32 k = 0; chosen && c->insns && k < n && !answer; k++) {
        if (rec->func_info.size)
            memcpy(c->funcs, rec->func_info.data, rec->func_info.size);
        chosen[k] = true;
        c->n = weaken(WEAK_KEY, chosen, insns, n, rec->nmaps, c->insns, c->funcs, nfuncs(c));
        chosen[k] = false;
        answer = c->n && refused_alike(ask, c, words);
    }
    return answer;
}

static bool holds(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
                  enum weakening which, const char *words)
{
    struct changed *c = change(rec);
    struct tn_verify_in in;
    void *store = NULL;
    bool *chosen = NULL, answer = false;

    if (!c || ask_input(ask, rec, insns, n, &in, &store)) {
        changed_free(c);
        return false;
    }
    if (weakening_how[which] == WEAK_ENDING) {
        answer = ends(ask, rec, insns, n);
    } else if (weakening_how[which] == WEAK_TOLD) {
        bool several = which == WEAK_SEVERAL;

        answer = told(c, &in, rec, insns, several) || (thaw(c) && told(c, &in, rec, insns, several));
    } else {
        if (which == WEAK_MIXED || which == WEAK_BEHIND)
            chosen = choose(&in, which);
        c->insns = malloc((size_t)n * WEAK_GROWTH * sizeof(*c->insns) + 16);
        if (c->insns && which == WEAK_FROZEN && thaw(c)) {
            memcpy(c->insns, insns, n * sizeof(*insns));
            c->n = n;
        } else if (c->insns && which != WEAK_FROZEN)
            c->n = weaken(which, chosen, insns, n, rec->nmaps, c->insns, c->funcs, nfuncs(c));
        if (c->n)
            answer = weakening_how[which] == WEAK_RELAXED ? linux_accepts(c) : refused_alike(ask, c, words);
        if (!answer && which == WEAK_KEY)
            answer = one_key(ask, c, rec, insns, n, words);
    }
    free(chosen);
    ask_input_free(store);
    changed_free(c);
    return answer;
}

int explain(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
            const char *words)
{
    struct ask whole = *ask;

    whole.budget = 0; /* what is looked at more closely may cost more */
    if (!insns) {
        insns = rec->insns;
        n = rec->ninsns;
    }
    for (u32 k = 0; k < ACCEPTED_HERE_ROWS; k++)
        if (strstr(words, accepted_here[k].words) &&
            (weakening_how[accepted_here[k].weakening] == WEAK_WORDS ||
             holds(&whole, rec, insns, n, accepted_here[k].weakening, words)))
            return (int)k;
    return -1;
}
