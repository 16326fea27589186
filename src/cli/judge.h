/* SPDX-License-Identifier: MIT */
/*
 * Programs judged by the broker, and what they were found to need: for verify, and for policy, which asks the
 * same and compares the answer with classes.
 */
#ifndef TN_CLI_JUDGE_H
#define TN_CLI_JUDGE_H

#include "cli/object.h"
#include "cli/verdict.h"

/* The host whose types and policy programs are judged by from now on. */
int tn_cli_choose_host(const char *binary, struct tn_error *err);
/* A program of it is attached to a function by its type. */
bool tn_obj_is_typed(const struct tn_obj_file *file);
u32 tn_obj_programs(const struct tn_obj_file *file);

struct tn_judging {
    const char *klass; /* NULL: as the program says, or its kind's */
    bool recorded;     /* by no class: all that it asks is found out */
    u32 log_level;
    char *log; /* NULL: none */
    size_t log_size;
    /* Before it is loaded: non-zero with the outcome's `why` filled, and it is not. NULL: nothing is asked.
     */
    int (*place)(void *self, struct tn_outcome *outcome, enum bpf_prog_type type);
    void *self;
};
/* Has program number `index` of a fresh object judged alone. Negative: it could not even be tried. */
int tn_cli_judge(const struct tn_obj_file *file, u32 index, const struct tn_judging *how,
                 struct tn_outcome *ret_outcome, struct tn_error *err);

struct tn_cli_uses {
    struct tn_ctl_uses head; /* its rows are those of the last piece */
    struct tn_ctl_use *row;  /* all; owned */
    u32 n;
};
/* Of a loaded program, or (0) of the one that was judged last. */
int tn_cli_uses_of(u32 prog_id, struct tn_cli_uses *ret, struct tn_error *err);
void tn_cli_uses_clear(struct tn_cli_uses *uses);

#endif
