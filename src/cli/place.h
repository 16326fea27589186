/* SPDX-License-Identifier: MIT */
/*
 * Where a program wants to go, as its section name says it:
 *
 *     uprobe/PATH:FUNCTION+OFFSET        before the instruction there
 *     uretprobe/PATH:FUNCTION            before FUNCTION returns to its caller
 *     uprobe.multi/PATH:PATTERN          at the entry of every function that PATTERN (* ? [ ]) fits: one link
 *     uretprobe.multi/PATH:PATTERN       before each of them returns
 *     uprobe.session/PATH:PATTERN        both, by one program that remembers eight bytes in between
 *     usdt/PATH:PROVIDER:NAME            at a static probe, wherever it stands in PATH
 *     tracepoint/syscalls/sys_enter_CALL, sys_exit_CALL      as a system call is entered or left
 *     ksyscall/CALL, kretsyscall/CALL                        the same, with the registers
 *     tracepoint/raw_syscalls/sys_enter, raw_tp/sys_enter, tp_btf/sys_enter …  of any number
 *
 * PATH is a file, or a name without a slash: a program of $PATH or a library; with a process, what that
 * process has mapped under this name.
 */
#ifndef TN_CLI_PLACE_H
#define TN_CLI_PLACE_H

#include <limits.h>
#include <sys/types.h>

#include "base/base.h"

enum tn_place_form {
    TN_FORM_FUNCTION,
    TN_FORM_RETURN,
    TN_FORM_MANY,
    TN_FORM_MANY_RETURN,
    TN_FORM_SESSION,
    TN_FORM_PROBE,
    TN_FORM_CALL
};
/* S(section, form, how it reads, summary): what stands before the slash. */
// clang-format off
#define TN_SECTIONS(S)                                                                                       \
    S("uprobe",         FUNCTION, "PATH:FUNCTION+OFFSET", "before the instruction at PATH:FUNCTION+OFFSET")  \
    S("uretprobe",      RETURN,   "PATH:FUNCTION",        "before PATH:FUNCTION returns to its caller")      \
    S("uprobe.multi",   MANY,     "PATH:PATTERN",         "at the entry of every function of PATH that PATTERN fits") \
    S("uretprobe.multi", MANY_RETURN, "PATH:PATTERN",     "before each of them returns to its caller")       \
    S("uprobe.session", SESSION,  "PATH:PATTERN",         "at both: one program, which remembers eight bytes in between") \
    S("usdt",           PROBE,    "PATH:PROVIDER:NAME",   "at the static probe PROVIDER:NAME of PATH")       \
    S("tracepoint",     CALL,     "syscalls/sys_enter_CALL", "a system call as it is entered, or left (sys_exit_…); raw_syscalls/sys_enter: all") \
    S("tp",             CALL,     "syscalls/sys_enter_CALL", "the same")                                     \
    S("raw_tracepoint", CALL,     "sys_enter",            "all system calls as they are entered, or left (sys_exit)") \
    S("raw_tp",         CALL,     "sys_enter",            "the same")                                        \
    S("tp_btf",         CALL,     "sys_enter",            "the same, the registers by their type")                      \
    S("ksyscall",       CALL,     "CALL",                 "a system call as it is entered, with the registers")  \
    S("kretsyscall",    CALL,     "CALL",                 "the same as it is left")
// clang-format on

struct tn_place {
    char path[PATH_MAX]; /* as written; "" when the section says no place */
    char provider[256];  /* of a static probe */
    char func[256];      /* or the probe's name */
    u64 offset;
    enum tn_place_form form;
    bool left; /* system calls: as they end. `func` is the name of one, "" for all; there is no path */
};

/* −EINVAL with `err` ("unknown_section", "bad_section") naming the program and what is known. */
int tn_place_parse(const char *section, const char *program, struct tn_place *ret_place,
                   struct tn_error *err);

/* The file of a place, as seen by process `pid` (0: nobody's), absolute. −ENOENT with `err` ("no_file"). */
int tn_place_file(const struct tn_place *place, pid_t pid, char ret_file[PATH_MAX], struct tn_error *err);

/* The file as the planner wants it; owned by the caller (tn_module_free). */
struct tn_module;
int tn_place_module(const char *file, struct tn_module **ret_module, struct tn_error *err);

/* The place's offset in `file`. −ENOENT with the nearest names where there is no such function. *ret_choosers (may be NULL): 1 where
   the function is an indirect one, of which this is not the code that is called (tn_module_chooses). */
int tn_place_offset(const struct tn_place *place, const char *file, u64 *ret_offset, u32 *ret_choosers,
                    struct tn_error *err);

static inline bool tn_place_many(const struct tn_place *place)
{
    return place->form == TN_FORM_MANY || place->form == TN_FORM_MANY_RETURN ||
           place->form == TN_FORM_SESSION;
}

/* The places in `file` of all functions whose names `func` fits, as fnmatch(3) has it, by offset, each once; owned by the
   caller (free). *ret_choosers: how many of them are indirect ones, as above. −ENOENT "no_symbol" where nothing fits. */
int tn_place_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                     u32 *ret_choosers, struct tn_error *err);

/* Where it stands, by file offset: as tn_place_offsets. */
int tn_place_probe_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                           struct tn_error *err);
/* Is the static probe there? −ENOENT with the nearest one. */
int tn_place_probe(const struct tn_place *place, const char *file, struct tn_error *err);

#endif
