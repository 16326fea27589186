/* SPDX-License-Identifier: MIT */
/*
 * Names joined to types: the inside of bind.c, path.c, class.c, ask.c and manage.c.
 *
 *      path  "r->connection->fd"   ──▶  hop  {request, bytes of `connection`}     a read, whatever the
 *                                                                                 capability
 *                                       end  {connection, bytes of `fd`}          what is read or written
 *
 * A capability names bytes of *types*, never addresses: whoever may read `r->uri` may read `uri` of every
 * request that he has a typed pointer to. A variable that is no struct is bytes of itself: its BTF_KIND_VAR is
 * the type. Of one that is a struct the class has to have the name as well (tn_class.var).
 */
#ifndef TN_EIM_BIND_H
#define TN_EIM_BIND_H

#include "eim/model.h"

/* The type of a value: what it is at bottom, and how many pointers lead there. */
struct tn_vtype {
    u32 id;      /* resolved, in the host's BTF; 0: void, or a number that BTF need not know */
    u8 pointers; /* 2: "**" */
    u8 size;     /* numbers, where pointers is 0 */
    bool is_signed, real, number;
};
struct tn_bparam {
    const char *name; /* "" where it has none */
    struct tn_vtype type;
};
/* A function of the host: an entry's, or one that may be called. */
struct tn_bfunc {
    const char *function;
    const char *name; /* the capability's or entry's */
    u32 btf_id;       /* BTF_KIND_FUNC; 0: the types do not have it */
    bool typed;       /* ret and param are known */
    struct tn_vtype ret;
    struct tn_bparam *param;
    u32 n;
    struct tn_cons *const *constraint;
    u32 nconstraints;
    struct tn_fact_path *fact_path; /* reads, writes */
    u32 nfact_paths;
    bool io, alone;       /* alone: not_reentrant */
    const char **outside; /* functions that do not run when an entry is reached */
    u32 noutside;
    struct tn_buffer *promised; /* valid(), writable(): buffers whose bytes are there … */
    u32 npromised;
    struct tn_grant *pointer; /* … and pointers to what is there */
    u32 npointers;
    u16 valid;                    /* arguments that are not NULL, whatever else */
    struct tn_host_function host; /* what the verifier asks */
};
/* Bytes [off, end) of each object of a type. */
struct tn_grant {
    u32 type;
    u64 off, end;
    u32 cap; /* number of the capability in its class */
};
struct tn_fact_path {
    bool write;
    struct tn_grant grant;
    const struct tn_path *path;
};
/* The access that the fact says happens. */
static inline struct tn_access tn_fact_access(const struct tn_fact_path *p)
{
    return (struct tn_access){.kind = p->write ? TN_ACCESS_WRITE : TN_ACCESS_READ,
                              .btf_id = p->grant.type,
                              .offset = (u32)p->grant.off,
                              .size = (u32)(p->grant.end - p->grant.off)};
}
/* Elements behind a pointer whose number another field has: read through a copy that checks at run time. */
struct tn_buffer {
    u32 type; /* of the object that has both fields */
    u32 pointer_off;
    bool inside;    /* the bytes are in the object itself, from pointer_off on */
    u32 element;    /* bytes of one */
    u64 first, end; /* elements; end where length_size is 0 */
    u32 length_off, length_size;
    bool length_signed, write;
    u32 cap;
};
struct tn_reach {
    struct tn_grant *hop, *end;
    u32 nhops, nends;
    u32 var; /* BTF_KIND_VAR where the path begins; 0: none */
    s32 arg; /* number of the argument (n: rtn) whose own value is needed; −1: none */
    bool arg_named;
    bool has_buffer;
    struct tn_buffer buffer;
};
struct tn_scope {
    const struct tn_btf *btf;
    struct tn_bag *bag;
    const struct tn_bfunc *func; /* whose arguments are named; NULL: none */
    struct tn_error *err;
};

struct tn_bound {
    struct tn_bag bag;
    const struct tn_eim *eim;
    const struct tn_host *host;
    const struct tn_btf *btf;
    struct tn_bfunc *function, *entry; /* in the order of host->function, host->entry */
    struct tn_class **klass;           /* of host->klass */
    struct tn_class *rule[TN_RULE_COUNT];
};

enum { TN_READ, TN_WRITE };
struct tn_class {
    struct tn_bag bag; /* of its own, for a class that stands in no policy */
    const struct tn_bound *bound;
    const char *name, *entry; /* entry: the capability's name, or the function behind "uprobe:" */
    enum tn_eim_generated generated;
    const struct tn_bfunc *func; /* of the entry; NULL where it is generated */
    const struct tn_cap *cap;
    u32 ncaps;
    const struct tn_admitted *who;
    u32 nwho;
    u64 max_insns, max_memory; /* TN_NO_LIMIT */
    bool replace, io, process[2], args[2];
    u64 helpers[TN_HELPER_WORDS];
    u64 kfunc_groups;
    u64 arg_values;             /* numbers of arguments that may be looked at; n: rtn */
    u64 arg_writes;             /* … and whose own value may be changed */
    struct tn_grant *grant[2];  /* by operation; sorted by (type, off), disjoint, not touching */
    struct tn_grant *single[2]; /* the same before they were joined */
    u32 ngrants[2], nsingles[2];
    u32 *var; /* variables, structs, that some path begins with */
    u32 nvars;
    const struct tn_bfunc **call; /* sorted by btf_id */
    u32 ncalls;
    const char **kfunc; /* of the house, by name */
    u32 nkfuncs;
    struct tn_buffer *buffer;
    u32 nbuffers;
};

/* types.c */
struct tn_vtype tn_vtype_of(const struct tn_btf *btf, u32 id);
int tn_vtype_resolve(const struct tn_scope *s, const struct tn_ctype *type, struct tn_vtype *ret);
/* The type that a name of C means, as it is (typedefs stay); 0 in *ret_id: void, or a number that the types
   lack, which `*ret` then describes. As tn_vtype_resolve refuses. */
int tn_ctype_find(const struct tn_scope *s, const struct tn_ctype *type, u32 *ret_id, struct tn_vtype *ret);
/* It has a size, and C passes it by value. */
bool tn_can_be_passed(const struct tn_btf *btf, u32 id);
bool tn_vtype_same(const struct tn_vtype *a, const struct tn_vtype *b);
const char *tn_vtype_text(const struct tn_btf *btf, const struct tn_vtype *t, char buf[96]);
bool tn_is_composite(const struct tn_btf *btf, u32 id);
/* What a typed context has where it lies: a struct in memory, as an argument or as a result (btf/value.h) … */
bool tn_vtype_by_address(const struct tn_btf *btf, const struct tn_vtype *t, bool result);
/* … or what points to a struct. What lies there is asked for field by field. */
bool tn_vtype_is_handle(const struct tn_btf *btf, const struct tn_vtype *t, bool result);
/* The argument of a FUNC that has word `word` of its typed context; as many as there are: its result. */
u32 tn_param_at(const struct tn_btf *btf, u32 func, u32 word);
/* Types, variables and functions by name, for whoever misspelt one. kind 0: any of typedef, struct, union. */
void tn_offer_names(const struct tn_btf *btf, u32 kind, struct tn_nearest *near);

/* path.c */
int tn_path_resolve(const struct tn_scope *s, const struct tn_path *path, struct tn_reach *ret);
/* Calls `say` with each of the smallest paths that together hold the bytes of the access (its places included) in
   an object of the type, "" for the whole of it: ".uri.len", ".headers[..].hash". */
int tn_path_spell(const struct tn_btf *btf, u32 type, const struct tn_access *access, struct tn_bag *bag,
                  int (*say)(void *self, const char *fields), void *self);

/* class.c */
int tn_class_make(const struct tn_bound *b, struct tn_bag *bag, const char *name, const char *entry,
                  const struct tn_eim_at *entry_at, enum tn_eim_generated generated,
                  const struct tn_cap *caps, u32 ncaps, struct tn_class **ret, struct tn_error *err);
/* The elements that a program asks for are among those of the buffer. */
bool tn_buffer_is(const struct tn_buffer *b, const struct tn_access *a);
/* The bytes lie in what is granted. */
bool tn_class_covers(const struct tn_class *c, bool write, u32 type, u64 off, u64 end);
/* … and so does each place of the access. */
bool tn_class_covers_places(const struct tn_class *c, const struct tn_access *a);
/* Some path of its begins with the variable: it may be told by its address. */
bool tn_class_names(const struct tn_class *c, u32 var);

/* contract.c: does it hold of these arguments: 1, 0, or −1 where nobody knows. */
int tn_cons_holds(const struct tn_bfunc *f, const struct tn_cons *c, const struct tn_call_arg *args,
                  u32 nargs);
/* What the post-conditions say of the result. */
void tn_cons_result(const struct tn_bfunc *f, const struct tn_call_arg *args, u32 nargs,
                    struct tn_call_facts *facts);
bool tn_cons_is_post(const struct tn_cons *c);
/* May this be answered in the function's place? 0, or −EACCES with `err` filled (postcondition). */
#define TN_ANSWER_ARGS 16u
int tn_cons_answer(const struct tn_bfunc *f, const struct tn_call_answer *answer, struct tn_error *err);
/* May that be passed as argument `k`, in the place of what the caller passed? `value`: the whole, and its low half; NULL:
   nothing is known of it. `address`: any address may be. 0, or −EACCES with `err` filled (precondition). */
int tn_cons_argument(const struct tn_btf *btf, const struct tn_bfunc *f, u32 k,
                     const struct tn_call_arg *value, bool address, struct tn_error *err);
/* Something has to hold of the argument when the function is entered. */
bool tn_cons_of_argument(const struct tn_bfunc *f, u32 k);
int tn_bfunc_facts(const struct tn_scope *s, struct tn_bfunc *f);

/* entry.c: may a function be called that is not to be called while it runs? 0, or −EACCES with `err`. */
int tn_entry_may_call(const struct tn_class *c, const struct tn_bfunc *callee, struct tn_error *err);

/* entry.c: the default that applies there. */
enum tn_eim_generated tn_eim_place_rule(enum tn_eim_place place);

/* helpers.c */
/* The group of a function of the house's, by its name; −1: none, it is named by itself. */
int tn_kfunc_group(const char *name);
int tn_helper_group_number(const char *name);
/* It takes an address that no type stands behind. */
bool tn_kfunc_takes_address(const char *name);

#endif
