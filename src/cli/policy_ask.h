/* SPDX-License-Identifier: MIT */
/* The questions of tenon policy that need programs and classes; see policy_ask.c. */
#ifndef TN_CLI_POLICY_ASK_H
#define TN_CLI_POLICY_ASK_H

#include "base/base.h"

struct tn_policy_cmd {
    const char *name; /* of the command, for messages */
    char *words[64];  /* what follows the word that says what to do */
    u32 nwords;
    const char *host, *entry, *as;
    bool json, refused;
};
/* Exit statuses. */
int tn_policy_explain(const struct tn_policy_cmd *cmd);
int tn_policy_infer(const struct tn_policy_cmd *cmd);
int tn_policy_diff(const struct tn_policy_cmd *cmd);
int tn_policy_simulate(const struct tn_policy_cmd *cmd);

#endif
