/* SPDX-License-Identifier: MIT */
/*
 * Every reason for which a place is not patched: one row gives the name that scripts see and the sentence
 * that people read. The address and, where there is one, the detail follow in the message.
 */
// clang-format off
#define TN_REFUSALS(X) \
    X(NOT_CODE,               "not_code",               "the address lies in no code of this file") \
    X(FUNCTION_UNKNOWN,       "function_bounds_unknown","where the function ends is not known: neither a symbol with a size nor unwind information covers it") \
    X(NOT_AN_INSTRUCTION,     "not_an_instruction_start","the offset falls inside an instruction; take one where an instruction begins (objdump -d shows them)") \
    X(UNDECODABLE,            "undecodable",            "bytes on the way through the function are no known instruction, so its jumps cannot be proved harmless") \
    X(TOO_SHORT,              "too_short",              "there is no room for a five-byte jump: too few bytes before the next code that can be reached on its own") \
    X(NO_ROOM_PUNNED,         "no_room_punned",       "there is no room for a five-byte jump, and where shorter ones could lead, the process has other memory; another run may lie elsewhere") \
    X(CALL_IN_WINDOW,         "call_in_window",         "a call returns between the instructions that the patch would replace") \
    X(JUMP_INTO_WINDOW,       "jump_into_window",       "a jump leads between the instructions that the patch would replace") \
    X(JUMP_UNPROVABLE,        "jump_unprovable",        "an indirect jump has targets that cannot be listed; one of them might lie in the bytes to be replaced") \
    X(ENTRY_IS_LOOP_HEAD,     "entry_is_loop_head",     "the function jumps back to its own first instruction: a hook there would count a loop's rounds as calls") \
    X(WINDOW_CROSSES,         "window_crosses_function","the bytes to be replaced reach into the next function") \
    X(NOT_RELOCATABLE,        "not_relocatable",        "an instruction to be displaced cannot run anywhere else") \
    X(OWN_BREAKPOINT,         "own_breakpoint",         "a breakpoint instruction of the program's own stands there, which nobody could tell from a debugger's; take the instruction behind it") \
    X(DIRECTION_FLAG,         "direction_flag",         "the function sets the direction flag, which a hook in its middle would have to know") \
    X(OUT_OF_REACH,           "out_of_reach",           "an address is more than 2 GiB away from the place that must reach it") \
    X(EXIT_BY_TAIL_CALL,      "exit_by_tail_call",      "the function leaves by a jump to another function, which then returns in its place and whose exits cannot be hooked; hook its entry, or the exit of the other one") \
    X(EXIT_TAIL_UNKNOWN,      "exit_tail_unknown",      "the function leaves by a jump to wherever a register or memory says, which then returns in its place; hook its entry, or the exits of what it jumps to") \
    X(EXIT_TAIL_OUTSIDE,      "exit_tail_outside",      "the function leaves by a jump through a word of memory to a function whose exits cannot be hooked, which then returns in its place; hook its entry, or the exit of the other one") \
    X(EXIT_TAIL_STACK,        "exit_tail_stack",        "the function leaves by a jump to another function, and nothing proves that the return address is on top of the stack there; hook its entry") \
    X(EXIT_TAIL_MANY,         "exit_tail_many",         "the jumps by which the function leaves lead to too many functions, one after the other; hook its entry, or the exits of some of them") \
    X(EXIT_UNPROVABLE,        "exit_unprovable",        "an indirect jump may leave the function, so its ways out cannot be listed") \
    X(EXIT_SHARED,            "exit_shared",            "a way out lies in bytes that another function runs through as well, whose returns would be counted too") \
    X(EXIT_NONE,              "exit_none",              "the function never returns to its caller") \
    X(EXIT_NOT_AT_ENTRY,      "exit_not_at_entry",      "an exit hook belongs to a whole function: its offset must be 0") \
    X(GO_TABLE,               "go_table",               "Go runs on small stacks that move, and the file's table of functions, which tells what is Go's, cannot be read; it takes Go 1.18 or newer") \
    X(GO_TAIL,                "go_tail",                "the function leaves by a jump to another one, which then returns in its place; on Go's stacks, which move, the two returns cannot be told apart; hook its entry, or the exit of the other one") \
    X(GO_BREAKPOINT,          "go_breakpoint",          "no jump fits, and Go's signals are its own: no breakpoint can stand there") \
    X(GO_VECTOR,              "go_vector",              "the function keeps values of its own in xmm15, which a hook in the middle of Go's code needs; hook its entry or exits") \
    X(GO_FAULT,               "go_fault",               "an instruction to be displaced may fault, which Go turns into a panic of the function that it finds it in; hook the instruction before or behind it") \
    X(GO_TYPED,               "go_typed",               "Go passes arguments in registers of its own: a program there reads them through struct pt_regs, and calls no function of the host nor answers in one's place") \
    X(NOT_A_SYSCALL,          "not_a_syscall",          "no system call stands there") \
    X(SYSCALL_IN_WINDOW,      "syscall_in_window",      "the bytes to be replaced hold another system call, in which a thread may sleep") \
    X(SYSCALL_PREFIXED,       "syscall_prefixed",       "the system call has a prefix, which only people write who count its bytes; it is left as it is") \
    X(CANCEL_RANGE,           "cancellation_range",     "the C library cancels threads by where exactly they are around this call; its exit can be hooked") \
    X(SHARED_WINDOW,          "shared_window",          "the patch would overlap another one that is in place; detach that one first") \
    X(FOREIGN_BYTES,          "foreign_bytes",          "the bytes in memory are neither the file's nor ours: a debugger's breakpoint or a kernel uprobe, perhaps; remove it first") \
    X(CTX_WRITTEN,            "ctx_written",            "the program stores to its context what nobody takes up there: arguments (rdi, rsi, rdx, rcx, r8, r9) are changed where a C function is entered, results (rax, rdx) where it returns") \
    X(REGISTER_KEPT,          "register_kept",          "the program changes a register that the function leaves as it is, and callers that were compiled with the function in sight go on with what they have there") \
    X(TYPED_PLACE,            "typed_place",            "a program that knows its function by type needs its first instruction, and no function is known to begin there") \
    X(ENTRY_MEETS_EXIT,       "entry_meets_exit",       "the function is too short for a patch at its entry and one at its way out, both of which a program needs that reads arguments at the exit; read them in a program at the entry") \
    X(REPLACE_PLACE,          "replace_place",          "an answer can be given in a function's place where it is entered or left, not in its middle") \
    X(BAD_ELF,                "bad_elf",                "the file is not an ELF file that can be read") \
    X(ELF_CLASS,              "elf_32bit",              "a 32-bit file; only x86-64 is supported") \
    X(ELF_ENDIAN,             "elf_big_endian",         "a big-endian file; only x86-64 is supported") \
    X(ELF_MACHINE,            "elf_machine",            "made for another machine; only x86-64 is supported") \
    X(ELF_TRUNCATED,          "elf_truncated",          "a table reaches beyond the end of the file") \
    X(ELF_NO_CODE,            "elf_no_code",            "no executable segment") \
    X(ELF_TOO_LARGE,          "elf_too_large",          "the file is larger than 1 GiB") \
    X(NO_SYMBOL,              "no_symbol",              "no function of that name")
// clang-format on

#ifndef TN_REWRITE_REFUSALS_H
#define TN_REWRITE_REFUSALS_H

#include "base/base.h"

enum tn_refusal_id {
#define X(id, name, text) TN_REFUSE_##id,
    TN_REFUSALS(X)
#undef X
        TN_REFUSE_COUNT
};

const char *tn_refusal_name(enum tn_refusal_id id);
const char *tn_refusal_text(enum tn_refusal_id id);

/* Fills `err` with the row's name, its sentence, the address,
   and `detail` if there is one. Returns `code`. */
int tn_refuse(struct tn_error *err, int code, enum tn_refusal_id id, u64 addr, const char *detail);

#endif
