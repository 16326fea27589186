/* SPDX-License-Identifier: MIT */
/*
 * Where more will be known of memory than its size. Until then the careful answer: a context whose fields
 * have types has none that can be read.
 */
#include "verify/internal.h"

int tn_ctx_typed(struct vf *v, struct tn_place *p)
{
    return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                     "invalid bpf_context access off=%lld size=%u: the types of this context are not known",
                     (long long)p->min, p->size);
}
