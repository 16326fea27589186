/* SPDX-License-Identifier: MIT */
/*
 * An ELF file as the planner wants it: code, functions, read-only data. The file is hostile: it is copied
 * once into private memory, so that nobody changes or truncates it under us, and every offset, size and index
 * in it is checked against that copy before use. Nothing is taken from the running system.
 *
 * Functions come from .symtab and .dynsym where they exist, and always from .eh_frame: a stripped program
 * still tells where its functions begin and end, since exceptions and profilers need it.
 *
 * Refused by name: no ELF, 32-bit, big-endian, another machine, no executable segment, truncated tables, too
 * large.
 */
#ifndef TN_REWRITE_MODULE_H
#define TN_REWRITE_MODULE_H

#include "rewrite/plan.h"

struct tn_module;

/* Reads the whole file of `fd` (not kept). −ENOEXEC with a reason, −EFBIG, −ENOMEM, or the errno of read. */
int tn_module_open(int fd, struct tn_module **ret_module, struct tn_error *err);
/* The same for bytes in memory (copied). */
int tn_module_parse(const u8 *bytes, u64 len, struct tn_module **ret_module, struct tn_error *err);
void tn_module_free(struct tn_module *module);
static inline void tn_module_clear(struct tn_module **module)
{
    tn_module_free(*module);
}

/* The code around `addr`: the executable segment that holds it; NULL if none does.
   Lives as long as the module. */
const struct tn_code_view *tn_module_code(const struct tn_module *module, u64 addr);
/* All executable segments, for sweeps. */
u32 tn_module_ncode(const struct tn_module *module);
const struct tn_code_view *tn_module_code_at(const struct tn_module *module, u32 index);

/* File offset (as of a uprobe) to virtual address and back, through PT_LOAD.
   −ENOENT: not in an executable segment. */
int tn_module_addr_of_offset(const struct tn_module *module, u64 offset, u64 *ret_addr);
int tn_module_offset_of_addr(const struct tn_module *module, u64 addr, u64 *ret_offset);

/* Function by name; of a library also NAME@VERSION, or NAME@@VERSION if that is what a plain NAME means. −ENOENT with `err` naming
   the nearest there are, or the versions ("no_symbol"). */
int tn_module_find(const struct tn_module *module, const char *name, u64 *ret_addr, struct tn_error *err);
/* An indirect function (STT_GNU_IFUNC) under one of the names of `addr`: what stands there chooses, once, the code that is called. */
bool tn_module_chooses(const struct tn_module *module, u64 addr);
/* Every name of a function, aliases included, index < tn_module_nnames; NULL where it lies in no executable segment. */
u32 tn_module_nnames(const struct tn_module *module);
const char *tn_module_name_at(const struct tn_module *module, u32 index, u64 *ret_addr);
/* The function that holds `addr`, NULL if none is known; its name may be NULL. */
const struct tn_func *tn_module_func(const struct tn_module *module, u64 addr);

bool tn_module_is_go(const struct tn_module *module);
/* NT_GNU_BUILD_ID; length 0 when there is none. */
u32 tn_module_build_id(const struct tn_module *module, const u8 **ret_id);
/* Lowest PT_LOAD virtual address, rounded down to a page: load bias = lowest mapping − this. */
u64 tn_module_base(const struct tn_module *module);

#endif
