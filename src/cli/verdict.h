/* SPDX-License-Identifier: MIT */
/* What is said of one program of an object: a row of --json, or lines for people. */
#ifndef TN_CLI_VERDICT_H
#define TN_CLI_VERDICT_H

#include <jansson.h>

#include "broker/ctl.h"

struct tn_outcome {
    char program[128], section[512];
    bool accepted;
    bool judged; /* `verdict` is one; else `why` says why there is none */
    struct tn_ctl_verdict verdict;
    struct tn_error why;
    const char *log; /* borrowed; NULL or "": none */
};

json_t *tn_verdict_json(const struct tn_outcome *outcome);
void tn_verdict_print(const struct tn_outcome *outcome, bool verbose);

#endif
