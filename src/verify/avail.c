/* SPDX-License-Identifier: MIT */
/*
 * Availability: whether a program that was judged can run here. The verdict knows every helper and map type
 * that Linux has; what is built is another matter, and stands in the rows of rt/helper/helpers.h,
 * rt/map/map.h and TN_FEATURES. `tenon verify` shows the verdict; whoever loads a program asks here as well.
 *
 * Tools probe for a helper by loading a call of it with no arguments worth the name, and look for "unknown
 * func" in the log. So a refusal at the call of a helper that is not built is one for that reason, too.
 */
#include "verify/internal.h"
#include "verify/maptypes.h"

static bool helper_built(u32 id)
{
    switch (id) {
#define H(id, ...) case id:
        TN_HELPERS(H)
#undef H
        return true;
    default:
        return false;
    }
}

static bool map_built(u32 type)
{
    switch (type) {
#define M(type, ...) case BPF_MAP_TYPE_##type:
        TN_MAP_TYPES(M)
#undef M
        return true;
    default:
        return false;
    }
}

static int no_helper(u32 id, struct tn_error *err)
{
    return tn_fail(
        err, -EINVAL, "helper_not_built",
        "unknown func %s#%u: this helper is not built here, although the program may call it on Linux",
        tn_proto_name(id), id);
}

static int check_helpers(const struct tn_verdict *verdict, struct tn_error *err)
{
    for (u32 id = 0; id < TN_PROTO_END; id++)
        if (verdict->facts.helpers[id / 64] >> (id % 64) & 1 && !helper_built(id))
            return no_helper(id, err);
    return 0;
}

static int check_maps(const struct tn_verify_in *in, struct tn_error *err)
{
    for (u32 k = 0; k < in->nmaps; k++) {
        const struct tn_vmap *type = tn_vmap_by_type(in->maps[k].geo.type);
        const char *name = in->maps[k].name;

        if (!map_built(in->maps[k].geo.type))
            return tn_fail(err, -EINVAL, "map_not_built", "map %s is a %s: this type is not built here",
                           name && *name ? name : "without a name", type ? type->name : "map of no type");
    }
    return 0;
}

/* What a process has to offer, and nothing else here has. */
static bool feature_built(const struct tn_verify_in *in, enum tn_feature feature)
{
    if (in->own_calls && feature == TN_FEATURE_kfunc)
        return true;
    return in->process &&
           (feature == TN_FEATURE_tracing || feature == TN_FEATURE_probe || feature == TN_FEATURE_symbol ||
            feature == TN_FEATURE_kfunc || feature == TN_FEATURE_store);
}

static int check_features(const struct tn_verify_in *in, const struct tn_verdict *verdict,
                          struct tn_error *err)
{
    static const char *const words[] = {
#define F(name, sentence) [TN_FEATURE_##name] = sentence,
        TN_FEATURES(F)
#undef F
    };

    for (u32 k = 0; k < TN_ARRAY_SIZE(words); k++)
        if (verdict->facts.features >> k & 1 && !feature_built(in, (enum tn_feature)k))
            return tn_fail(err, -EINVAL, "feature_not_built", "the program %s: that is not built here",
                           words[k]);
    return 0;
}

int tn_available(const struct tn_verify_in *in, const struct tn_verdict *verdict, struct tn_error *err)
{
    const struct bpf_insn *at;
    int r;

    if (!verdict->accepted) {
        at = verdict->refusal.insn < in->ninsns ? &in->insns[verdict->refusal.insn] : NULL;
        if (at && tn_insn_is_call(at) && !at->src_reg && tn_proto_by_id((u32)at->imm) &&
            !helper_built((u32)at->imm))
            return no_helper((u32)at->imm, err);
        return 0;
    }
    r = check_helpers(verdict, err);
    if (!r)
        r = check_maps(in, err);
    return r ? r : check_features(in, verdict, err);
}
