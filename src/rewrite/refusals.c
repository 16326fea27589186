/* SPDX-License-Identifier: MIT */
/* The rows of refusals.h as names and sentences. */
#include "rewrite/refusals.h"

static const struct {
    const char *name, *text;
} rows[] = {
#define X(id, name, text) [TN_REFUSE_##id] = {name, text},
    TN_REFUSALS(X)
#undef X
};

const char *tn_refusal_name(enum tn_refusal_id id)
{
    return rows[id].name;
}

const char *tn_refusal_text(enum tn_refusal_id id)
{
    return rows[id].text;
}

int tn_refuse(struct tn_error *err, int code, enum tn_refusal_id id, u64 addr, const char *detail)
{
    return tn_fail(err, code, rows[id].name, "%s (at 0x%llx%s%s)", rows[id].text, (unsigned long long)addr,
                   detail ? ": " : "", detail ? detail : "");
}
