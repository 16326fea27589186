/* SPDX-License-Identifier: MIT */
/*
 * Verdict and availability: two answers to one load.
 *
 *      verdict        may this program run at all: the verifier's, on everything it knows a rule for
 *      availability   can it run here, now: is every helper, map type and opcode it uses built
 *
 * PROG_LOAD gives a descriptor only where both are yes, so feature probes are told the truth. A connection
 * that said whose program it wants judged (tn_ctl_options.judged) gets the verdict of programs of that name:
 * a descriptor of something that cannot run where the verdict is yes, and both answers by TN_CTL_VERDICT.
 * Maps of types that are not built are then shapes: geometry for the verifier, no memory.
 */
#include <errno.h>

#include "broker/broker_int.h"
#include "broker/judge.h"
#include "broker/vmlinux.h"

#define KERNEL_BTF_MAX (64u << 20)

bool tn_is_judged(const struct tn_caller *caller, const char *name)
{
    const char *judged = caller->options.judged;

    return judged[0] && !strncmp(judged, name, BPF_OBJ_NAME_LEN - 1);
}

/* Linux answers what is malformed or not there with EINVAL, what is too much with E2BIG, and a forbidden deed
   with EACCES. By the verifier's own names, so that a new one is a forbidden deed until it is listed here. */
static int refusal_errno(const char *reason)
{
    static const char *const malformed[] = {
        "bad_input",
        "prog_type",
        "prog_flags",
        "bad_opcode",
        "bad_register",
        "reserved_field",
        "bad_ld_imm64",
        "jump_out_of_range",
        "jump_into_ld_imm64",
        "falls_off_end",
        "unreachable_insn",
        "bad_call_target",
        "bad_map",
        "bad_map_offset",
        "bad_btf",
        "bad_func_info",
        "bad_line_info",
        "return_value",
        "unknown_helper",
        "helper_not_built",
        "map_not_built",
        "feature_not_built",
        "gpl_only",
        "kfunc",
        "map_helper_mismatch",
        "bad_reference",
        "leaked_reference",
        "infinite_loop",
        "bad_shift",
        "division_by_zero",
        "bad_atomic",
    };
    static const char *const too_much[] = {"prog_size",         "recursion",          "call_depth",
                                           "too_many_subprogs", "too_complex",        "path_limit",
                                           "too_many_pending",  "too_many_references"};

    for (u32 i = 0; i < TN_ARRAY_SIZE(malformed); i++)
        if (!strcmp(reason, malformed[i]))
            return -EINVAL;
    for (u32 i = 0; i < TN_ARRAY_SIZE(too_much); i++)
        if (!strcmp(reason, too_much[i]))
            return -E2BIG;
    return -EACCES;
}

/* A program that is to run here has little to do with them. */
int tn_kernel_types(struct tn_broker *broker, const struct tn_btf **ret_types)
{
    _fclose_ FILE *file = NULL;
    _free_ u8 *data = NULL;
    size_t size = 0, cap = 0;
    int r = 0;

    if (broker->kernel_btf || broker->kernel_btf_tried) {
        *ret_types = broker->kernel_btf;
        return 0;
    }
    file = fopen("/sys/kernel/btf/vmlinux", "re");
    if (!file && (errno == ENOMEM || errno == EMFILE || errno == ENFILE))
        return -ENOMEM;
    while (file && !feof(file) && !ferror(file)) {
        u8 *grown;

        if (size == cap) {
            cap = cap ? cap * 2 : 4u << 20;
            if (cap > KERNEL_BTF_MAX)
                break;
            grown = realloc(data, cap);
            if (!grown)
                return -ENOMEM;
            data = grown;
        }
        size += fread(data + size, 1, cap - size, file);
    }
    if (size && feof(file))
        r = tn_btf_open(data, size, NULL, &broker->kernel_btf, NULL);
    if (r == -ENOMEM)
        return r;
    broker->kernel_btf_tried = true;
    *ret_types = broker->kernel_btf;
    return 0;
}

static bool has_tag(const struct tn_bbtf *btf, u32 kind, const char *prefix)
{
    for (u32 id = 1; btf && id < tn_btf_count(btf->view); id++)
        if (tn_btf_kind_of(btf->view, id) == kind &&
            !strncmp(tn_btf_name(btf->view, id), prefix, strlen(prefix)))
            return true;
    return false;
}

/* Does anything in it name a type of the host, or may its rules? Helpers that are built here know none;
   values may keep pointers to the host's objects, functions take them. */
static bool names_types(const union bpf_attr *attr, const struct tn_prog *prog)
{
    if (attr->attach_btf_id || prog->type == BPF_PROG_TYPE_TRACING ||
        has_tag(prog->btf, BTF_KIND_DECL_TAG, "arg:"))
        return true;
    for (u32 i = 0; i < prog->nmaps; i++) {
        const struct tn_bmap *map = prog->maps[i];

        if (has_tag(map->btf, BTF_KIND_TYPE_TAG, "") ||
            (map->inner && has_tag(map->inner->btf, BTF_KIND_TYPE_TAG, "")))
            return true;
    }
    for (u32 i = 0; i < prog->ninsns; i++) {
        const struct bpf_insn *insn = &prog->insns[i];

        if (tn_insn_names_host(insn) ||
            (insn->code == (BPF_JMP | BPF_CALL) && (insn->src_reg == BPF_PSEUDO_KFUNC_CALL ||
                                                    (!insn->src_reg && !tn_helper_by_id((u32)insn->imm)))))
            return true;
    }
    return false;
}

static void describe_map(const struct tn_bmap *map, struct tn_verify_map *inner, struct tn_verify_map *ret)
{
    *ret = (struct tn_verify_map){
        .geo = map->view.geo,
        .frozen = map->constants,
        .rdonly_prog = map->flags & BPF_F_RDONLY_PROG,
        .wronly_prog = map->flags & BPF_F_WRONLY_PROG,
        .name = map->name,
        .btf = map->btf ? map->btf->view : NULL,
        .btf_key_type_id = map->btf_key,
        .btf_value_type_id = map->btf_value,
        .map_extra = map->extra,
    };
    if (map->inner) {
        describe_map(map->inner, NULL, inner); /* an inner map has none itself */
        ret->inner = inner;
    }
}

/* Why an accepted program cannot run here; 0: it can. */
static int availability(const struct tn_verify_in *in, const struct tn_verdict *verdict, struct tn_prog *prog,
                        struct tn_error *err)
{
    _free_ struct tn_map_geo *geos = calloc(prog->nmaps + 1, sizeof(*geos));
    struct tn_code code = {0};
    struct tn_program program = {
        .insns = prog->insns,
        .ninsns = prog->ninsns,
        .maps = geos,
        .nmaps = prog->nmaps,
        .aux = verdict->aux,
        .subprogs = verdict->subprogs,
        .nsubprogs = verdict->nsubprogs,
        .facts = &verdict->facts,
        .refs = prog->refs,
        .nrefs = prog->nrefs,
    };
    int r;

    if (!geos)
        return -ENOMEM;
    for (u32 i = 0; i < prog->nmaps; i++)
        geos[i] = prog->maps[i]->view.geo;
    r = tn_available(in, verdict, err);
    if (r)
        return r;
    r = tn_jit(&program, &code, err);
    prog->granted->text = r ? 0 : code.text_len;
    prog->granted->stack = r ? 0 : code.stack;
    tn_code_clear(&code);
    return r;
}

_Static_assert(TN_PROG_MAPS_MAX == TN_ARRAY_SIZE(((struct tn_ctl_verdict *)0)->map), "all maps are named");

/* A program that is sound, but cannot run here, is refused like one that is not: with a line in the log. */
static int refuse_missing(const struct tn_verify_in *in, struct tn_verdict *verdict)
{
    struct tn_error err = {0};
    char *log;

    if (!tn_available(in, verdict, &err))
        return 0;
    verdict->accepted = false;
    snprintf(verdict->refusal.reason, sizeof(verdict->refusal.reason), "%s", err.reason);
    snprintf(verdict->refusal.message, sizeof(verdict->refusal.message), "%.*s",
             (int)sizeof(verdict->refusal.message) - 1, err.message);
    if (!verdict->log)
        return 0;
    if (asprintf(&log, "%s%s\n", verdict->log, err.message) < 0)
        return -ENOMEM;
    free(verdict->log);
    verdict->log = log;
    verdict->log_size = strlen(log);
    verdict->log_true_size += strlen(err.message) + 1;
    return 0;
}

static int remember(struct tn_caller *caller, const struct tn_verify_in *in, struct tn_prog *prog)
{
    const struct tn_verdict *v = &prog->verdict;
    struct tn_ctl_verdict *said = &caller->verdict;
    int r;

    *said = (struct tn_ctl_verdict){
        .judged = 1,
        .accepted = v->accepted,
        .insns_processed = v->insns_processed,
        .total_states = v->total_states,
        .peak_states = v->peak_states,
        .max_states_per_insn = v->max_states_per_insn,
        .verify_ns = v->time_ns,
        .nmaps = prog->nmaps,
    };
    for (u32 i = 0; i < prog->nmaps; i++)
        memcpy(said->map[i], prog->maps[i]->name, sizeof(said->map[i]) - 1);
    prog->granted->uses.bound = NULL; /* may go with the next policy */
    TN_UNREF(caller->judged);
    caller->judged = TN_REF(prog);
    if (!v->accepted) {
        said->refusal = v->refusal;
        return 0;
    }
    said->facts = v->facts;
    said->nkfuncs = v->nkfuncs;
    for (u32 k = 0; k < v->nkfuncs && k < TN_ARRAY_SIZE(said->kfunc); k++)
        snprintf(said->kfunc[k], sizeof(said->kfunc[k]), "%s", tn_btf_name(in->host_btf, v->kfuncs[k]));
    r = tn_prog_type_served(prog->type, prog->attach_type, &said->missing);
    if (!r)
        r = availability(in, v, prog, &said->missing);
    said->available = !r;
    return r == -ENOMEM ? r : 0; /* not known is not "no" */
}

int tn_judge(struct tn_caller *caller, const union bpf_attr *attr, const struct tn_log_attr *log_attr,
             struct tn_prog *prog)
{
    _free_ struct tn_verify_map *maps = calloc(2 * TN_PROG_MAPS_MAX, sizeof(*maps));
    struct tn_verify_in in = {
        .insns = prog->insns,
        .ninsns = prog->ninsns,
        .prog_type = prog->type,
        .expected_attach_type = prog->attach_type,
        .prog_flags = attr->prog_flags,
        .gpl = prog->gpl,
        .maps = maps,
        .nmaps = prog->nmaps,
        .func_info = prog->func_info,
        .func_info_rec_size = prog->func_info_size,
        .func_info_cnt = prog->func_info_cnt,
        .line_info = prog->line_info,
        .line_info_rec_size = prog->line_info_size,
        .line_info_cnt = prog->line_info_cnt,
        .attach_btf_id = attr->attach_btf_id,
        .ncpu = caller->broker->ncpu,
        .authority = &tn_authority_all,
        .log_level = log_attr->level,
        .log_size = tn_log_window(log_attr),
    };
    struct tn_ctl_error *last = &caller->last;
    struct tn_policy_ask ask;
    int r = 0, log_r;

    if (!maps)
        return -ENOMEM;
    for (u32 i = 0; i < prog->nmaps; i++)
        describe_map(prog->maps[i], &maps[TN_PROG_MAPS_MAX + i], &maps[i]);
    in.own_calls = prog->own_calls;
    if (prog->own_calls || (prog->object.kind == TN_KIND_JUDGED && names_types(attr, prog)) ||
        (tn_prog_is_raw_tp(prog) && !prog->host))
        r = tn_kernel_types(caller->broker, &in.host_btf);
    if (r)
        return r;
    in.process = tn_prog_is_raw_tp(prog); /* what it is given is made there, whoever tells its type */
    if (prog->host) {
        in.host_btf = prog->host->btf.view;
        in.process = true;
        in.answer_btf_id = tn_btf_find(prog->host->base, BTF_KIND_FUNC, TN_REPLACE_NAME);
        in.copy_btf_id = tn_btf_find(prog->host->base, BTF_KIND_FUNC, TN_COPY_NAME);
    }
    if (prog->btf) {
        in.btf = prog->btf->data;
        in.btf_size = prog->btf->size;
    }
    r = tn_policy_begin(caller, prog, &ask);
    if (r) {
        tn_log_line(caller, log_attr, "%s", caller->why.message);
        return r;
    }
    in.authority = &ask.authority;
    r = tn_verify(&in, &prog->verdict);
    if (!r && prog->granted->uses.failed)
        r = -ENOMEM;
    if (!r && prog->object.kind != TN_KIND_JUDGED)
        r = refuse_missing(&in, &prog->verdict);
    if (r)
        return r;
    log_r =
        tn_log_give(caller, log_attr, prog->verdict.log, prog->verdict.log_size, prog->verdict.log_true_size);
    if (prog->object.kind == TN_KIND_JUDGED)
        r = remember(caller, &in, prog);
    if (r)
        return r;

    last->insns_processed = prog->verdict.insns_processed;
    if (!prog->verdict.accepted) {
        const struct tn_refusal *refusal = &prog->verdict.refusal;

        last->has_refusal = 1;
        last->refusal = *refusal;
        (void)tn_fail(&caller->why, 0, refusal->reason, "%s", refusal->message);
        return log_r ? log_r : refusal_errno(refusal->reason);
    }
    return log_r;
}
