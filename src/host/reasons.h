/* SPDX-License-Identifier: MIT */
/*
 * Why a function of the host may not be used by its prototype, although its debug information states one.
 *
 * R(NAME, name for scripts, sentence for people)
 *
 * Compilers keep a function's prototype in the debug information when they change how it is called: GCC's
 * clones (IPA-SRA, constant propagation, partial inlining) and Clang's dead-argument elimination do.
 */
#ifndef TN_HOST_REASONS_H
#define TN_HOST_REASONS_H

// clang-format off
#define TN_HOST_REASONS(R)                                                                                    \
    R(NONE,          "none",            "nothing speaks against it")                                          \
    R(INLINED,       "inlined",         "the compiler put its body wherever it is called: it has no address") \
    R(CLONE,         "clone",           "the compiler made a variant of it that takes other arguments")       \
    R(PARAM_MOVED,   "param_moved",     "a parameter arrives elsewhere than its prototype says")              \
    R(PARAM_MISSING, "param_missing",   "a parameter is not passed, though the prototype has it")             \
    R(PARAM_UNKNOWN, "param_unknown",   "nothing tells where a parameter arrives, and its callers are known") \
    R(PARAM_CONST,   "param_constant",  "a parameter was replaced by a constant")                             \
    R(PARAM_VECTOR,  "param_vector",    "a parameter or the result is a vector, which BTF has no word for")   \
    R(PARAM_REF,     "param_by_reference", "an object of C++ may be passed by a hidden reference")                \
    R(NO_PROTOTYPE,  "no_prototype",    "it has a symbol, but nothing tells its prototype")                    \
    R(NOT_TYPED,     "not_typed",       "its name or prototype cannot be said in BTF")
// clang-format on

#endif
