/* SPDX-License-Identifier: MIT */
/* Inside of the DWARF reader: dwarf.c walks, dwarf_type.c makes types,
   dwarf_func.c rows of functions and variables. */
#ifndef TN_HOST_DWARF_INT_H
#define TN_HOST_DWARF_INT_H

#include <dwarf.h>
#include <elfutils/libdw.h>

#include "host/found.h"

/* The attributes that are looked at; all of a DIE's are fetched in one pass. */
// clang-format off
#define TN_DWARF_ATTRS(A)                                                                                     \
    A(NAME, name) A(TYPE, type) A(BYTE_SIZE, byte_size) A(BIT_SIZE, bit_size) A(ENCODING, encoding)            \
    A(DECLARATION, declaration) A(MEMBER_LOCATION, data_member_location) A(BIT_OFFSET, bit_offset)             \
    A(DATA_BIT_OFFSET, data_bit_offset) A(CONST_VALUE, const_value) A(UPPER_BOUND, upper_bound)                \
    A(COUNT, count) A(VECTOR, GNU_vector) A(PROTOTYPED, prototyped) A(LOW_PC, low_pc) A(HIGH_PC, high_pc)      \
    A(RANGES, ranges) A(ORIGIN, abstract_origin) A(SPECIFICATION, specification)             \
    A(EXTERNAL, external) A(LOCATION, location) A(LINKAGE_NAME, linkage_name)                                  \
    A(MIPS_LINKAGE_NAME, MIPS_linkage_name) A(SIGNATURE, signature) A(CALLING_CONVENTION, calling_convention)  \
    A(ALIGNMENT, alignment) A(PRODUCER, producer) A(LANGUAGE, language) A(DWO_NAME, dwo_name) A(GNU_DWO_NAME, GNU_dwo_name)
// clang-format on

enum tn_dwarf_attr {
#define A(name, at) TN_A_##name,
    TN_DWARF_ATTRS(A)
#undef A
        TN_A_COUNT_OF
};

struct tn_attrs {
    u64 have;
    Dwarf_Attribute a[TN_A_COUNT_OF];
};

/* DIEs by their place in memory, which no two share, whatever file and section they are of. */
struct tn_die_map {
    u64 *key;
    u32 *value;
    u32 n, cap;
};
/* Where the value of a key is, made 0 if it was not there; NULL: no memory. Until the next call. */
u32 *tn_die_map_at(struct tn_die_map *map, const void *addr);
void tn_die_map_clear(struct tn_die_map *map);

struct tn_inlined {
    u32 name, flags;
    bool has_body;
};

struct tn_dwarf {
    struct tn_found *found;
    struct tn_error *err;
    struct tn_die_map nodes;
    struct tn_die_map abstract; /* of inlined functions: number in `inlined` + 1 */
    struct tn_inlined *inlined;
    u32 ninlined, cap_inlined;
    u64 visited, budget;
    u32 char_node, index_node;
    bool declared;   /* as of tn_dwarf_read */
    bool throws;     /* … has exceptions */
    bool c_names;    /* this unit's language has C's names */
    bool gnu, clang; /* and its compiler */
    u32 *scratch;    /* words of structs, enumerations and prototypes that are being read */
    u32 nscratch, cap_scratch;
    int error;
};

static inline bool tn_has(const struct tn_attrs *a, enum tn_dwarf_attr which)
{
    return a->have >> which & 1;
}
/* Fetches all of them; false: the DIE is damaged. */
bool tn_dwarf_attrs(Dwarf_Die *die, struct tn_attrs *ret);
const char *tn_dwarf_string(struct tn_attrs *a, enum tn_dwarf_attr which);
bool tn_dwarf_number(struct tn_attrs *a, enum tn_dwarf_attr which, u64 *ret);
bool tn_dwarf_flag(struct tn_attrs *a, enum tn_dwarf_attr which);
/* The node of the type that an attribute names; 0: void, or none. */
u32 tn_dwarf_type_of(struct tn_dwarf *d, struct tn_attrs *a);
u32 tn_dwarf_node_of(struct tn_dwarf *d, const Dwarf_Die *die);
/* One more DIE was looked at; false: enough. */
bool tn_dwarf_tick(struct tn_dwarf *d);
int tn_dwarf_fail(struct tn_dwarf *d, int code);
/* Words that wait in scratch memory. */
void tn_dwarf_push(struct tn_dwarf *d, u32 word);

/* The parameters below `die` pushed as (name, node), "…" last; 0 … TN_RAW_NPARAM of them, or more: too many.
   `named`: those without a name get one. `addrs` (NULL: not asked for): where each one's DIE is. */
u32 tn_dwarf_params(struct tn_dwarf *d, Dwarf_Die *die, bool named, const void **addrs);
/* A prototype of `n` pushed pairs, which are taken back. */
void tn_dwarf_proto(struct tn_dwarf *d, u32 node, u32 result, u32 n);

/* Looks at one DIE, and at what lies in it. */
void tn_dwarf_visit(struct tn_dwarf *d, Dwarf_Die *die, u32 depth);
/* The type that a DIE is, if it is one. */
void tn_dwarf_type(struct tn_dwarf *d, Dwarf_Die *die, int tag, u32 depth);
void tn_dwarf_function(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a);
void tn_dwarf_variable(struct tn_dwarf *d, Dwarf_Die *die, struct tn_attrs *a);
/* Rows of the functions that nobody gave a body. */
void tn_dwarf_inlined_rows(struct tn_dwarf *d);
void tn_dwarf_names(struct tn_dwarf *d);

#endif
