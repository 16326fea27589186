/* SPDX-License-Identifier: MIT */
/*
 * Every kind of type there is, as the format has it (Linux Documentation/bpf/btf.rst).
 *
 * K(KIND, fixed bytes behind the head, bytes for each of vlen, flags, name)
 *
 *   COUNTED  vlen counts what follows, or says the linkage of a function; elsewhere it is 0
 *   KFLAG    the top bit of info has a meaning; elsewhere it is 0
 *   REF      the third word is the id of a type (else a size, or 0 where nothing is said)
 *   VOIDLESS … which is not void
 *   MODIFIER says something of another type and is looked through when a size or a value is asked for
 *   SIZED    values of it take `size` bytes
 *
 * Names: ANY, NONE, TEXT (not empty), IDENT (an identifier), OPT (one or nothing), SECTION (printable).
 */
#ifndef TN_BTF_KINDS_H
#define TN_BTF_KINDS_H

// clang-format off
#define TN_BTF_KINDS(K)                                                 \
    K(INT,        4,  0, SIZED,                       ANY)              \
    K(PTR,        0,  0, REF,                         NONE)             \
    K(ARRAY,      12, 0, NOTHING,                     NONE)             \
    K(STRUCT,     0, 12, COUNTED | KFLAG | SIZED,     OPT)              \
    K(UNION,      0, 12, COUNTED | KFLAG | SIZED,     OPT)              \
    K(ENUM,       0,  8, COUNTED | KFLAG | SIZED,     OPT)              \
    K(FWD,        0,  0, KFLAG,                       IDENT)            \
    K(TYPEDEF,    0,  0, REF | MODIFIER,              IDENT)            \
    K(VOLATILE,   0,  0, REF | MODIFIER,              NONE)             \
    K(CONST,      0,  0, REF | MODIFIER,              NONE)             \
    K(RESTRICT,   0,  0, REF | MODIFIER,              NONE)             \
    K(FUNC,       0,  0, COUNTED | REF,               IDENT)            \
    K(FUNC_PROTO, 0,  8, COUNTED | REF,               NONE)             \
    K(VAR,        4,  0, REF | VOIDLESS,              IDENT)            \
    K(DATASEC,    0, 12, COUNTED,                     SECTION)          \
    K(FLOAT,      0,  0, SIZED,                       ANY)              \
    K(DECL_TAG,   4,  0, KFLAG | REF,                 TEXT)             \
    K(TYPE_TAG,   0,  0, KFLAG | REF | MODIFIER,      TEXT)             \
    K(ENUM64,     0, 12, COUNTED | KFLAG | SIZED,     OPT)
// clang-format on

#endif
