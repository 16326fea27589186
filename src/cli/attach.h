/* SPDX-License-Identifier: MIT */
/*
 * One object, its programs at their places: what is wrong with its sections, functions and processes is found before
 * anything is loaded; then it is loaded, and each program linked in each process.
 *
 * The object is libbpf's and bpf(2) is whoever answers it: the broker, or with `in_kernel` the kernel (kernel.h).
 */
#ifndef TN_CLI_ATTACH_H
#define TN_CLI_ATTACH_H

#include <bpf/libbpf.h>

#include "base/base.h"
#include "broker/ctl.h"
#include "cli/maps.h"
#include "cli/object.h"
#include "cli/place.h"

#define TN_CLI_ATTACH_WORDS 256

struct tn_cli_attach {
    const char *name; /* "tenon attach" */
    /* asked for */
    pid_t pids[TN_CLI_ATTACH_WORDS];
    u32 npids;
    const char *programs[TN_CLI_ATTACH_WORDS], *sets[TN_CLI_ATTACH_WORDS];
    u32 nprograms, nsets;
    const char *words[TN_CLI_ATTACH_WORDS];
    u32 nwords;
    char **command; /* after "--"; NULL: none */
    const char *host, *klass;
    u64 for_ns, interval_ns;
    u32 wait_ms;
    bool keep, follow, json, verbose, no_maps;
    bool fallback;     /* the kernel's own uprobes may be had where a place is refused */
    bool typed, calls; /* some program is; is for system calls */
    /* made */
    bool kept, in_kernel;
    struct tn_obj_file file;
    struct bpf_object *object;
    struct bpf_link **links;
    u32 nlinks; /* as libbpf has them */
    int *fds;   /* of links that libbpf has no words for */
    u32 nfds;
    u32 *ids, nids; /* the broker's links … */
    struct tn_ctl_link
        *rows; /* … or, with in_kernel, the kernel's, told by the same words; and each one's program */
    const struct bpf_program **row_prog;
    u32 nrows;
    struct tn_error *refused; /* with fallback: places that the kernel may serve */
    u32 nrefused;
    struct tn_cli_map *maps;
    u32 nmaps;
    pid_t child;
    u64 started[TN_CLI_ATTACH_WORDS]; /* with in_kernel: which processes the pids mean (tn_proc_start_time) */
    int go;                           /* write end: one byte lets the child exec */
};

/* Process k of those that are meant; 0: every one. There is at least one. */
static inline pid_t tn_cli_attach_pid(const struct tn_cli_attach *a, u32 k)
{
    return a->child > 0 ? a->child : a->npids ? a->pids[k] : 0;
}
static inline u32 tn_cli_attach_npids(const struct tn_cli_attach *a)
{
    return a->npids ? a->npids : 1;
}

/* Sections, names of --program, functions: all that can be known without the broker. */
int tn_cli_attach_check(struct tn_cli_attach *a, struct tn_error *err);
/* Loads the object. An exit status, errors are told. */
int tn_cli_attach_load(struct tn_cli_attach *a);
/* Whose types the programs see; whose system calls are meant. */
int tn_cli_attach_choose_host(struct tn_cli_attach *a, struct tn_error *err);
int tn_cli_attach_choose_scope(struct tn_cli_attach *a, struct tn_error *err);
/* Links every program. With `fallback`, places that are refused for what the kernel can do are gathered in a->refused
   while the others are made, and the first one's error is returned. */
int tn_cli_attach_all(struct tn_cli_attach *a, struct tn_error *err);
/* Ends all links, and what goes with them; the object is closed. */
void tn_cli_attach_end(struct tn_cli_attach *a);

#endif
