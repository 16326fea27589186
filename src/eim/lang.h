/* SPDX-License-Identifier: MIT */
/*
 * What stands inside the texts of a specification, as trees with places. Syntax only: which variable, type
 * or capability a word means is decided where types are known (bind.c).
 *
 *      capability   = "instructions" ("<" | "<=") (number | "inf")
 *                   | "memory" ("<" | "<=") (size | "inf")            size: number ["KiB" | "MiB" | "GiB"]
 *                   | ("read" | "write") "(" ("process" | "arguments" | path) ")"
 *                   | "helpers" "(" group ")" | "replace" | "IO" | name
 *      path         = ["*"] name { "." name | "->" name | "[" index "]" }
 *      index        = number | ".." | number ".." (number | path)
 *      constraint   = term of "and", "or", "not", "(" ")" over facts and relations
 *      relation     = operand ("<" | "<=" | ">" | ">=" | "==" | "!=") operand
 *      operand      = number | "rtn" | "NULL" | "size" "(" name ")" | path
 *      fact         = a row of TN_FACTS; what stands in outside() is the name of a function
 *      prototype    = type [name] "(" [ type [name] {"," type [name]} ] ")"        as in C
 */
#ifndef TN_EIM_LANG_H
#define TN_EIM_LANG_H

#include "eim/bag.h"
#include "eim/text.h"

struct tn_node;

/* ------------------------------------------------------------------------------------------------ paths */

enum tn_hop_kind {
    TN_HOP_FIELD, /* .name */
    TN_HOP_ARROW, /* ->name */
    TN_HOP_INDEX, /* [first] */
    TN_HOP_ALL,   /* [..] */
    TN_HOP_RANGE  /* [first .. end), end a number or a path */
};
struct tn_path;
struct tn_hop {
    enum tn_hop_kind kind;
    struct tn_eim_at at;
    const char *name;
    u64 first, end;
    struct tn_path *length; /* RANGE whose end the program's data tell; else NULL */
};
struct tn_path {
    struct tn_eim_at at;
    const char *root;
    bool deref; /* "*" in front: what the pointer points to */
    struct tn_hop *step;
    u32 n;
};

/* ---------------------------------------------------------------------------------------- capabilities */

/* C(KIND, how it is written, what it allows). One row a form. */
// clang-format off
#define TN_CAPS(C)                                                                                           \
    C(INSTRUCTIONS,  "instructions < N",  "runs of fewer than N instructions; inf: any number")              \
    C(MEMORY,        "memory < N MiB",    "less than N of text, stack and maps together; inf: any amount")      \
    C(READ,          "read(PATH)",        "reading the bytes that the path names")                           \
    C(WRITE,         "write(PATH)",       "writing the bytes that the path names")                           \
    C(READ_PROCESS,  "read(process)",     "reading any address of the process")                              \
    C(WRITE_PROCESS, "write(process)",    "writing any address of the process")                              \
    C(READ_ARGS,     "read(arguments)",   "reading the registers or the record the program is entered with") \
    C(WRITE_ARGS,    "write(arguments)",  "changing them")                                                   \
    C(HELPERS,       "helpers(GROUP)",    "calling each helper of a group")                                  \
    C(REPLACE,       "replace",           "skipping the entry's own code, and answering in its place")       \
    C(IO,            "IO",                "calling functions that do input or output")                       \
    C(NAMED,         "NAME",              "a state or function capability, or one helper")
// clang-format on
enum tn_cap_kind {
#define C(kind, ...) TN_CAP_##kind,
    TN_CAPS(C)
#undef C
        TN_CAP_COUNT
};
extern const char *const tn_cap_forms[TN_CAP_COUNT];

#define TN_NO_LIMIT UINT64_MAX
struct tn_cap {
    enum tn_cap_kind kind;
    struct tn_eim_at at;
    const char *text;     /* as it was written */
    u64 limit;            /* INSTRUCTIONS, MEMORY: the greatest that is allowed; TN_NO_LIMIT */
    const char *name;     /* NAMED, HELPERS */
    struct tn_path *path; /* READ, WRITE */
};

/* ------------------------------------------------------------------------------------------ constraints */

/* F(KIND, name, arguments: P a path that begins with a parameter, - none, PP two; what it says) */
// clang-format off
#define TN_FACTS(F)                                                                                          \
    F(NONNULL,       "nonnull",       1, "the argument, or rtn, is not NULL")                                \
    F(NULLABLE,      "nullable",      1, "the argument, or rtn, may be NULL")                                \
    F(TRUSTED,       "trusted",       1, "the argument is a pointer that came from the host as it is")       \
    F(SIZED,         "sized",         2, "the second argument counts the bytes behind the first")            \
    F(CONST,         "const",         1, "the argument is a constant, known before the program runs")        \
    F(ALLOCATES,     "allocates",     0, "rtn was allocated, and has to be freed")                           \
    F(FREES,         "frees",         1, "the argument is freed, and is no pointer afterwards")              \
    F(ACQUIRE,       "acquire",       0, "rtn is a reference that has to be given back")                     \
    F(RELEASE,       "release",       1, "the argument is a reference that is given back")                   \
    F(IO,            "IO",            0, "the caller needs the capability IO")                               \
    F(READS,         "reads",         1, "the caller needs to be allowed to read the path")                  \
    F(WRITES,        "writes",        1, "the caller needs to be allowed to write the path")                 \
    F(VALID,         "valid",         1, "of an entry: what the pointer or buffer names is there while it runs") \
    F(WRITABLE,      "writable",      1, "of an entry: what the buffer names is there, and may be written") \
    F(MAY_SLEEP,     "may_sleep",     0, "the function may wait")                                            \
    F(NOTHROW,       "nothrow",       0, "no exception comes out of the function")                           \
    F(NOT_REENTRANT, "not_reentrant", 0, "the function may not be called while it runs")                     \
    F(OUTSIDE,       "outside",       1, "of an entry: it is not reached while that function runs")
// clang-format on
enum tn_fact_kind {
#define F(kind, ...) TN_FACT_##kind,
    TN_FACTS(F)
#undef F
        TN_FACT_COUNT
};
extern const char *const tn_fact_names[TN_FACT_COUNT];

enum tn_operand_kind { TN_OP_NUMBER, TN_OP_RTN, TN_OP_NULL, TN_OP_SIZE, TN_OP_PATH };
struct tn_operand {
    enum tn_operand_kind kind;
    struct tn_eim_at at;
    s64 number;
    struct tn_path *path; /* PATH; SIZE: a name alone */
};
enum tn_rel { TN_LT, TN_LE, TN_GT, TN_GE, TN_EQ, TN_NE };
enum tn_cons_kind { TN_CONS_AND, TN_CONS_OR, TN_CONS_NOT, TN_CONS_REL, TN_CONS_FACT };
struct tn_cons {
    enum tn_cons_kind kind;
    struct tn_eim_at at;
    const char *text;         /* of the whole constraint; NULL in inner parts */
    struct tn_cons *a, *b;    /* AND, OR; NOT: a */
    enum tn_rel rel;          /* REL */
    struct tn_operand l, r;   /* REL */
    enum tn_fact_kind fact;   /* FACT */
    struct tn_operand arg[2]; /* FACT */
};

/* ------------------------------------------------------------------------------------------- prototypes */

enum tn_ctype_kind {
    TN_CT_VOID,
    TN_CT_NUMBER,
    TN_CT_STRUCT,
    TN_CT_UNION,
    TN_CT_ENUM,
    TN_CT_TYPEDEF,
    TN_CT_FUNCTION /* a pointer to one; what it takes is not looked at */
};
struct tn_ctype {
    enum tn_ctype_kind kind;
    struct tn_eim_at at;
    const char *name; /* STRUCT … TYPEDEF; NUMBER: as C writes it in full */
    u8 size;          /* NUMBER: bytes */
    bool is_signed;   /* NUMBER */
    bool real;        /* NUMBER: floating */
    u8 pointers;      /* "**": 2 */
};
struct tn_param {
    struct tn_ctype type;
    const char *name; /* NULL: it has none */
};
#define TN_PARAMS_MAX 16u
struct tn_signature {
    struct tn_eim_at at, end; /* where it begins, and its last parenthesis */
    const char *text;
    struct tn_ctype ret;
    const char *name; /* NULL: it has none */
    struct tn_param param[TN_PARAMS_MAX];
    u32 n;
};

/* Each reads one text whole; everything is kept in the bag. −EINVAL with `err` filled (spec_expression), its
   column that of the character. */
int tn_lang_capability(struct tn_bag *bag, const struct tn_node *text, struct tn_cap *ret,
                       struct tn_error *err);
int tn_lang_constraint(struct tn_bag *bag, const struct tn_node *text, struct tn_cons **ret,
                       struct tn_error *err);
int tn_lang_signature(struct tn_bag *bag, const struct tn_node *text, struct tn_signature *ret,
                      struct tn_error *err);
int tn_lang_path(struct tn_bag *bag, const struct tn_node *text, struct tn_path **ret, struct tn_error *err);

/* The capability in one spelling: "instructions < 1000", "read(r->uri.len)". NULL: no memory. */
const char *tn_cap_text(struct tn_bag *bag, const struct tn_cap *cap);
/* The path as it is written again: "r->uri.data[0 .. r->uri.len]". */
const char *tn_path_text(struct tn_bag *bag, const struct tn_path *path);

#endif
