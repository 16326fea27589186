/* SPDX-License-Identifier: MIT */
/*
 * Every reason there is for a refusal, one row each: its stable name (scripts match it; never rename) and
 * what it means in one sentence, for the manual. What exactly was refused, where and with which bounds is
 * said by the message made at the place of refusal.
 *
 * To add one: add a row, and use TN_REASON_<name> in vf_refuse(). tests/verify/table.c asserts that rows are
 * reachable.
 */
#ifndef TN_VERIFY_REASONS_H
#define TN_VERIFY_REASONS_H

// clang-format off
#define TN_REASONS(R)                                                                                                        \
    /* the text of the program, before any path is followed */                                                              \
    R(bad_input,              "the call itself is malformed: sizes or pointers that cannot be")                             \
    R(prog_type,              "no rules are known for programs of this type")                                               \
    R(prog_flags,             "a flag of the load command is not known")                                                    \
    R(prog_size,              "the program has no instruction, or more than a million")                                     \
    R(bad_opcode,             "an instruction has an operation code that eBPF does not define, or one of a legacy kind")    \
    R(bad_register,           "an instruction names a register above R10")                                                  \
    R(reserved_field,         "a field that the instruction does not use is not zero")                                      \
    R(frame_pointer_write,    "R10, the frame pointer, is read-only")                                                       \
    R(bad_ld_imm64,           "a two-slot load is cut in half or names an unknown kind of constant")                        \
    R(jump_out_of_range,      "a jump leaves the function it is in")                                                        \
    R(jump_into_ld_imm64,     "a jump goes into the second half of a two-slot load")                                        \
    R(falls_off_end,          "a function does not end in exit or a jump")                                                  \
    R(unreachable_insn,       "instructions that no jump and no call leads to")                                             \
    R(bad_call_target,        "a call of a function that is not in the program")                                            \
    R(recursion,              "a function calls itself, directly or through others")                                        \
    R(call_depth,             "more than eight frames deep")                                                                \
    R(too_many_subprogs,      "more than 256 functions")                                                                    \
    R(bad_map,                "a two-slot load names a map that was not passed or whose type has no such use")              \
    R(bad_map_offset,         "the address of global data lies outside the map's value")                                    \
    R(bad_btf,                "the program's type information (BTF) is damaged")                                            \
    R(bad_func_info,          "the function information is damaged or does not fit the program")                            \
    R(bad_line_info,          "the line information is damaged or does not fit the program")                                \
    /* what a path does */                                                                                                  \
    R(uninit_register,        "a register is read before anything was written to it")                                       \
    R(return_value,           "what is returned is not a number in the range that is asked for there")                        \
    R(pointer_arithmetic,     "an operation on a pointer whose result would not be a pointer into the same object")         \
    R(pointer_unbounded,      "a number without useful bounds is added to a pointer")                                       \
    R(maybe_null,             "a pointer that may be NULL is used before it was compared with NULL")                        \
    R(not_a_pointer,          "memory is accessed through a number")                                                        \
    R(map_bounds,             "an access may lie outside a map's value")                                                    \
    R(mem_bounds,             "an access may lie outside of a piece of memory")                                             \
    R(type_bounds,            "an access through a typed pointer that no field of its type allows")                         \
    R(bad_attach,             "what a tracing program is attached to is not a function of the host, or none of its kind")       \
    R(packet_bounds,          "an access may lie behind what was compared with the packet's end")                           \
    R(stale_value,            "a value of a per-CPU map is used that was found before a function of the host was called")             \
    R(read_only,              "memory that is only lent for reading is written")                                            \
    R(stack_bounds,           "an access may lie outside the stack frame")                                                  \
    R(misaligned,             "an access that has to be aligned may not be")                                                \
    R(spill_partial,          "part of a pointer kept on the stack is read or overwritten")                                 \
    R(map_read_denied,        "a map that programs may only write is read")                                                 \
    R(map_write_denied,       "a map that programs may only read is written")                                               \
    R(ctx_bounds,             "the context has no such field")                                                              \
    R(ctx_write,              "the context of this program type cannot be written")                                         \
    R(ctx_modified,           "the context is accessed through a pointer that was moved")                                   \
    R(opaque_access,          "the memory behind this kind of pointer is not for programs")                                 \
    R(bad_atomic,             "an atomic operation on memory or with a register that does not allow it")                    \
    R(bad_shift,              "a shift by a constant that is not smaller than the operand")                                 \
    R(division_by_zero,       "a division by the constant zero")                                                            \
    /* calls */                                                                                                             \
    R(unknown_helper,         "there is no helper of this number, or not for programs of this type or at this place")          \
    R(gpl_only,               "the helper is for programs under a GPL-compatible licence")                                  \
    R(kfunc,                  "a function of the host is called that is not there, or not for this program or place")            \
    R(kfunc_arg,              "an argument of a function of the host is not what its type or name asks for")                          \
    R(arg_type,               "an argument has not the type the function takes")                                            \
    R(arg_size,               "a size argument may be negative, zero or larger than the memory it speaks of")               \
    R(bad_parameter,          "a parameter of a global function is of a type that cannot be verified on its own")          \
    R(map_helper_mismatch,    "this helper cannot be used with a map of this type")                                         \
    R(bad_reference,          "an object is given back that was not acquired, was given back before, or was moved")         \
    R(leaked_reference,       "an acquired object is still held when the program ends")                                     \
    R(too_many_references,    "more than 32 references, locks and saved flags held at once")                                \
    R(held_at_end,            "a lock, a saved interrupt flag or a section is still held where the program may end")        \
    R(bad_section,            "a section is left that was not entered, or entered in a way that cannot be")                 \
    R(sleeps,                 "a call may sleep where the program must not")                                                \
    R(bad_object,             "no dynptr, iterator or saved flag of this kind is, or may be, where the argument points")   \
    R(object_bytes,           "bytes of a dynptr, iterator or saved flag on the stack are read, or written by a call")      \
    R(special_field,          "a lock, timer, kept pointer or the like in a value or object is used as it may not be")      \
    R(bad_iterator,           "an iterator is used in another order than new, next, destroy, or outside of its section")    \
    R(bad_lock,               "a lock is taken twice, released by another object, or is not where the argument points")     \
    R(call_in_lock,           "a function is called that is not allowed while a lock is held")                              \
    /* limits */                                                                                                            \
    R(stack_limit,            "the frames of a call chain need more stack than there is")                                   \
    R(infinite_loop,          "a loop comes back to where it was with nothing changed")                                     \
    R(too_complex,            "the verifier's budget of instructions is used up")                                           \
    R(too_many_pending,       "too many branches wait to be followed")                                                      \
    R(path_limit,             "a run may take more instructions than the authority allows")                                 \
    /* authority */                                                                                                         \
    R(access_denied,          "the authority does not allow this access")                                                   \
    R(call_denied,            "the authority does not allow this call")
// clang-format on

enum tn_reason {
#define R(name, sentence) TN_REASON_##name,
    TN_REASONS(R)
#undef R
        TN_REASON_COUNT
};

const char *tn_reason_name(enum tn_reason reason);
const char *tn_reason_sentence(enum tn_reason reason);
/* The same by name; NULL for a name of somebody else's (an authority has its own). */
const char *tn_reason_sentence_of(const char *name);

#endif
