/* SPDX-License-Identifier: MIT */
/*
 * Special fields: members of a struct whose type's name means something, wherever the struct is a map's
 * value, a section of global data, or an object that the program allocates. Each kind is a row.
 *
 * F(kind, name in C and in messages, bytes, alignment, at most one a struct, where it may be, not for)
 *   where     enum tn_field_home: the types of maps whose values may have it
 *   not for   TN_FIELD_NO_…: types of programs that may not use a map with it
 *
 * A field is found by name and size: a struct of another size that has the name is an ordinary struct, as in
 * Linux. Pointers to types that exist in the host's type information mean the host's type, others the
 * program's own.
 */
#ifndef TN_VERIFY_FIELDS_H
#define TN_VERIFY_FIELDS_H

#include "base/base.h"

struct tn_btf;

enum tn_field_home { TN_HOME_NONE, TN_HOME_LOCK, TN_HOME_ASYNC, TN_HOME_KPTR, TN_HOME_UPTR, TN_HOME_GRAPH };
#define TN_FIELD_NO_TRACING 1u
#define TN_FIELD_NO_FILTER  2u

// clang-format off
#define TN_FIELD_KINDS(F)                                                                                    \
    F(SPIN_LOCK,     "bpf_spin_lock",     4,  4, true,  LOCK,  TN_FIELD_NO_TRACING | TN_FIELD_NO_FILTER)     \
    F(RES_SPIN_LOCK, "bpf_res_spin_lock", 4,  4, true,  LOCK,  TN_FIELD_NO_TRACING | TN_FIELD_NO_FILTER)     \
    F(TIMER,         "bpf_timer",         16, 8, true,  ASYNC, TN_FIELD_NO_TRACING)                          \
    F(WQ,            "bpf_wq",            16, 8, true,  ASYNC, TN_FIELD_NO_TRACING)                          \
    F(TASK_WORK,     "bpf_task_work",     8,  8, true,  ASYNC, 0)                                            \
    F(KPTR_UNREF,    "kptr",              8,  8, false, KPTR,  0)                                            \
    F(KPTR_REF,      "kptr",              8,  8, false, KPTR,  0)                                            \
    F(KPTR_PERCPU,   "percpu_kptr",       8,  8, false, KPTR,  0)                                            \
    F(UPTR,          "uptr",              8,  8, false, UPTR,  0)                                            \
    F(LIST_HEAD,     "bpf_list_head",     16, 8, false, GRAPH, TN_FIELD_NO_TRACING)                          \
    F(LIST_NODE,     "bpf_list_node",     24, 8, false, NONE,  0)                                            \
    F(RB_ROOT,       "bpf_rb_root",       16, 8, false, GRAPH, TN_FIELD_NO_TRACING)                          \
    F(RB_NODE,       "bpf_rb_node",       32, 8, false, NONE,  0)                                            \
    F(REFCOUNT,      "bpf_refcount",      4,  4, true,  KPTR,  0)
// clang-format on
enum tn_field_kind {
#define F(kind, ...) TN_FIELD_##kind,
    TN_FIELD_KINDS(F)
#undef F
        TN_FIELD_KINDS_COUNT
};
#define TN_FIELD_BIT(kind) (1u << TN_FIELD_##kind)
#define TN_FIELD_KPTRS     (TN_FIELD_BIT(KPTR_UNREF) | TN_FIELD_BIT(KPTR_REF) | TN_FIELD_BIT(KPTR_PERCPU))
#define TN_FIELD_ROOTS     (TN_FIELD_BIT(LIST_HEAD) | TN_FIELD_BIT(RB_ROOT))
#define TN_FIELD_NODES     (TN_FIELD_BIT(LIST_NODE) | TN_FIELD_BIT(RB_NODE))
/* In values of maps, and in objects that a program allocates. */
#define TN_FIELDS_IN_MAP                                                                                     \
    (TN_FIELD_BIT(SPIN_LOCK) | TN_FIELD_BIT(RES_SPIN_LOCK) | TN_FIELD_BIT(TIMER) | TN_FIELD_BIT(WQ) |        \
     TN_FIELD_BIT(TASK_WORK) | TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR) | TN_FIELD_ROOTS |                        \
     TN_FIELD_BIT(REFCOUNT))
#define TN_FIELDS_IN_OBJECT                                                                                  \
    (TN_FIELD_BIT(SPIN_LOCK) | TN_FIELD_BIT(RES_SPIN_LOCK) | TN_FIELD_KPTRS | TN_FIELD_ROOTS |               \
     TN_FIELD_NODES | TN_FIELD_BIT(REFCOUNT))

struct tn_field {
    u8 kind;   /* enum tn_field_kind */
    bool host; /* `type` is the host's */
    u32 offset;
    u32 type;        /* kptrs: what it points to; roots: what hangs there */
    u32 node_offset; /* roots: where the node lies in that */
    u32 size;        /* uptrs: bytes of what it points to; 0: not known */
};
#define TN_FIELDS_MAX 11u
struct tn_fields {
    u32 n, mask;                          /* mask: TN_FIELD_BIT of what is there */
    struct tn_field field[TN_FIELDS_MAX]; /* by offset */
};

const char *tn_field_name(enum tn_field_kind kind);
u32 tn_field_size(enum tn_field_kind kind);

/* The fields of kinds `mask` in a struct or section of `size` bytes; none is success. `host` may be NULL.
   −EINVAL (malformed, or of a combination that cannot be), −E2BIG (too many, too deep, two of a kind that is
   alone), −EEXIST (they overlap), −ENOENT (a referenced pointer to a type of the host that has no destructor,
   or a root of what is not there). */
int tn_fields_parse(const struct tn_btf *btf, u32 type, u32 mask, u32 size, const struct tn_btf *host,
                    struct tn_fields *ret);
/* The same of a struct that a program may allocate. None for one without a special member;
   errors as above, and −EFAULT for one whose special members turn out to be none. Linux
   refuses to load types with such errors. */
int tn_fields_of_object(const struct tn_btf *btf, u32 type, const struct tn_btf *host, struct tn_fields *ret);
/* −EOPNOTSUPP: values of such maps do not have such fields. −EACCES: not in maps that programs may only read
   or only write. `ret_kind`: the offender. */
int tn_fields_fit_map(const struct tn_fields *f, u32 map_type, bool restricted, enum tn_field_kind *ret_kind);

/* NULL: there is none of these kinds at that offset. */
const struct tn_field *tn_fields_at(const struct tn_fields *f, u32 offset, u32 mask);
/* The first that overlaps [min, end); NULL: none. */
const struct tn_field *tn_fields_overlap(const struct tn_fields *f, s64 min, s64 end);
/* The only one of a kind that is alone; NULL: none. */
const struct tn_field *tn_fields_only(const struct tn_fields *f, enum tn_field_kind kind);

#endif
