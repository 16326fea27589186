/* SPDX-License-Identifier: MIT */
/*
 * Annotations for programs that may be extended: what *could* be allowed. Whether it is allowed to anybody is
 * decided by whoever runs the program, in a policy of his own.
 *
 *      #include <tenon/eim.h>
 *
 *      EIM_ENTRY(process_begin, my_process_request);      extensions may stand for, or watch, this function
 *      EIM_ENTRY(answer, my_answer, "nonnull(r)");        … and this holds of its arguments
 *      EIM_STATE(read_pid, READ, my_pid);                 … may read this variable
 *      EIM_STATE(read_time, READ, cached_time->sec);      … or a field, through a pointer as well
 *      EIM_FUNCTION(host_time, my_time, "rtn > 0");       … may call this function, under these constraints
 *      EIM_FUNCTION(argument, my_arg, "nonnull(r)", "len == size(name)", "reads(r->args)");
 *      EIM_FUNCTION(flush, my_flush, "not_reentrant");    … may call it, but not while it runs:
 *      EIM_ENTRY(end, my_end, "outside(my_flush)");       this is not reached while it does
 *
 * Each stands alone at file scope, in a source file rather than in a header. The first word is the
 * capability's name in specifications; the second names the function or variable, and may be a macro that
 * yields it.
 *
 * An annotation becomes an ELF note in section .note.eim, which holds strings and nothing else: no
 * relocation, so no function is kept alive by it, and no instruction of the program changes. It is part of
 * the loaded image, so that `strip` keeps it. Types and addresses are joined later, by `tenon spec extract`.
 * GCC and Clang, C and C++, any standard, any optimisation; nothing has to be linked.
 *
 * The format, little-endian and aligned to 4: name "EIM"; type 1 entry, 2 state, 3 function; the descriptor
 * is a list of strings, each ended by NUL, with an empty one last: "file:line", the capability's name, then
 *      entry     function, constraints …
 *      state     READ or WRITE, variable or path
 *      function  function, constraints …
 */
#ifndef TENON_EIM_H
#define TENON_EIM_H

#define EIM_ENTRY(name, ...)     EIM_NOTE_("1", #name, EIM_LIST_(__VA_ARGS__, ""), __FILE__, __LINE__)
#define EIM_STATE(name, op, ...) EIM_NOTE_("2", #name, EIM_PAIR_(#op, __VA_ARGS__), __FILE__, __LINE__)
#define EIM_FUNCTION(name, ...)  EIM_NOTE_("3", #name, EIM_LIST_(__VA_ARGS__, ""), __FILE__, __LINE__)

/* A word as an assembler's string; two, the first a string already; a word with strings behind it. */
#define EIM_STRING_(...)         EIM_QUOTE_(__VA_ARGS__)
#define EIM_QUOTE_(...)          "\"" #__VA_ARGS__ "\""
#define EIM_PAIR_(op, ...)       "\"" op "\", " EIM_STRING_(__VA_ARGS__)
#define EIM_LIST_(function, ...) EIM_QUOTE_(function) ", " EIM_PLAIN_(__VA_ARGS__)
#define EIM_PLAIN_(...)          #__VA_ARGS__
#define EIM_TEXT_(x)             EIM_PLAIN_(x)

#define EIM_NOTE_(type, name, strings, file, line)                                                           \
    __asm__(".pushsection .note.eim,\"a\",@note\n"                                                           \
            ".balign 4\n"                                                                                    \
            ".4byte 991f-990f, 993f-992f, " type "\n"                                                        \
            "990: .asciz \"EIM\"\n"                                                                          \
            "991: .balign 4\n"                                                                               \
            "992: .asciz \"" file ":" EIM_TEXT_(line) "\", \"" name "\", " strings ", \"\"\n"                \
                                                      "993: .balign 4\n"                                     \
                                                      ".popsection\n")

#endif
