/* SPDX-License-Identifier: MIT */
/*
 * The Extension Interface Model: what an extension may do, as its host's developers and its operator wrote it
 * down. Pure: texts and types in; data, an authority for the verifier, or one refusal out.
 *
 *      struct tn_eim_source (YAML, notes) ──tn_eim_read──▶ tn_eim        all that was said; checked
 *      tn_eim, a host, its types ──tn_eim_bind──▶ tn_bound               names joined to types
 *      tn_bound, a class ──tn_eim_authority──▶ tn_authority              what the verifier asks
 *      tn_eim_recording ──▶ tn_eim_uses ──infer, explain, admits         for the manager (manage.c)
 *
 * Errors are `file:line:column: …` and name the nearest thing that is there. Nothing is applied in part.
 * The language is told in lang.h and schema.h.
 */
#ifndef TN_EIM_H
#define TN_EIM_H

#include "base/base.h"
#include "btf/btf.h"
#include "eim/note.h"
#include "verify/verify.h"

struct tn_eim;
struct tn_bound;
struct tn_class;

/* ------------------------------------------------------------------------------------------------ reading */

struct tn_eim_source {
    const char *name; /* in messages */
    const char *text; /* YAML; or NULL, and: */
    u64 len;
    const struct tn_notes *notes; /* annotations of … */
    const char *host;             /* … the host of this name */
};
struct tn_eim_options {
    /* Who "uid:www-ops" is: 0 and the number, or −ENOENT. NULL: names stay names, and admit nobody. */
    int (*look_up)(void *self, bool group, const char *name, u32 *ret);
    void *self;
    /* The notes of hosts other than `host` (NULL: of all) are not among the sources: what classes of such a
       host name is not asked for, where no file says what it offers. */
    bool notes_elsewhere;
    const char *host;
};
#define TN_EIM_SOURCES_MAX 1024u

/* In any order: the result, and which error is told, is the same. Nothing of `sources` is kept. −EINVAL with
   `err` filled (spec_syntax, spec_key, spec_name, spec_expression, spec_conflict), −E2BIG, −ENOMEM. */
int tn_eim_read(const struct tn_eim_source *sources, u32 n, const struct tn_eim_options *options,
                struct tn_eim **ret, struct tn_error *err);
void tn_eim_free(struct tn_eim *eim);

/* The names of hosts, sorted; NULL past the last. */
const char *tn_eim_host_name(const struct tn_eim *eim, u32 k);
/* All that was said of a host, as one file of the language; reading it gives the same.
   False: no such host. */
bool tn_eim_print(const struct tn_eim *eim, const char *host, FILE *f);
/* What a printed file has besides what was said; NULL: nothing. */
struct tn_eim_known {
    const struct tn_btf *btf; /* prototypes that were not written */
    const char *binary, *build_id, *types;
    u64 (*address)(void *self, const char *function); /* of a function; 0: none. NULL: of none */
    void *self;
};
bool tn_eim_print_known(const struct tn_eim *eim, const char *host, const struct tn_eim_known *known,
                        FILE *f);
/* "int (struct request *r)" of a FUNC, to be freed; NULL: the language has no words for it, or no memory. */
char *tn_eim_prototype(const struct tn_btf *btf, u32 func);

/* Items of a host (by their number, as of tn_eim_item) that have a prototype, and whose functions the host's
   types lack: new raw BTF, with a FUNC for each behind the types of `raw`, whose view is `btf`. id 0: binding
   refuses it. `*ret` is the caller's to free. −ENOMEM. */
struct tn_eim_wanted {
    u32 item, id;
};
int tn_eim_complete(const struct tn_eim *eim, const char *host, const struct tn_btf *btf, const void *raw,
                    struct tn_eim_wanted *wanted, u32 n, void **ret, u64 *ret_size);

/* What was said of a host, row by row: entries, functions, states, then classes. */
enum tn_eim_item_kind { TN_ITEM_ENTRY, TN_ITEM_FUNCTION, TN_ITEM_STATE, TN_ITEM_CLASS };
struct tn_eim_item {
    enum tn_eim_item_kind kind;
    const char *file; /* where it stands */
    u32 line, column;
    const char *name;
    const char *what;      /* the function, "read(pid)", a class's entry */
    const char *generated; /* of a class: "uprobe", or "" */
    const char *symbol;    /* the function, or the variable (or type) that a path begins with; of a class that
                              of its probe, or NULL */
    const char *prototype; /* NULL: not written */
    u64 address;           /* of the function in the build that the host names; 0: not written */
    const char *constraint[16];
    u32 nconstraints;
};
/* False: there is no k-th. */
bool tn_eim_item(const struct tn_eim *eim, const char *host, u32 k, struct tn_eim_item *ret);
/* Where a file says the build that it is about, it is this one. −ESTALE "other_build". */
int tn_eim_check_build(const struct tn_eim *eim, const char *host, const u8 *id, u32 n, struct tn_error *err);
/* The path of its binary, or NULL where no file says one. */
const char *tn_eim_host_binary(const struct tn_eim *eim, const char *host);
/* The path of what has its types (`types`); false where no file says one, or `cap` is too small. */
bool tn_eim_host_types(const struct tn_eim *eim, const char *host, char *ret, size_t cap);
/* Some file names it: what no file allows is denied. */
bool tn_eim_governs(const struct tn_eim *eim, const char *host);

/* ------------------------------------------------------------------------------------------------ binding */

/* Both are borrowed and must live longer. A host of which nothing was said has the classes that every host
   has. −EINVAL with `err` filled (spec_type, spec_path), −ENOMEM. */
int tn_eim_bind(const struct tn_eim *eim, const char *host, const struct tn_btf *btf, struct tn_bound **ret,
                struct tn_error *err);
void tn_eim_unbind(struct tn_bound *bound);

/* A class of the host, or one that every host has (observability, customizability); NULL with `err` filled
   (no_class). Lives as long as `bound`. */
const struct tn_class *tn_eim_class(const struct tn_bound *bound, const char *name, struct tn_error *err);
enum tn_eim_place { TN_AT_FUNCTION, TN_AT_UPROBE, TN_AT_URETPROBE, TN_AT_SYSENTER, TN_AT_SYSEXIT };
/* What stands before the colon of a generated entry: "uprobe"; "" for a function's type. */
const char *tn_eim_place_word(enum tn_eim_place place);
/* The class of a program that names none; NULL with `err` filled (class_denies). To be asked for a host that
   is governed: elsewhere there is no policy. */
const struct tn_class *tn_eim_default(const struct tn_bound *bound, enum tn_eim_place place,
                                      struct tn_error *err);
/* The name of what holds for programs without a class: "denied", "observability" … */
const char *tn_eim_rule_of(const struct tn_eim *eim, const char *host, enum tn_eim_place at);
const char *tn_eim_class_name(const struct tn_class *c);
/* The class stands for this place: a function's entry by the id of its FUNC, a probe by the name of its
   function ("" where that is not known). 0, or −EACCES with `err` filled (class_entry). */
int tn_eim_admits_place(const struct tn_class *c, enum tn_eim_place place, const char *function, u32 btf_id,
                        struct tn_error *err);
/* `who` of the class: may this user load under it? */
bool tn_eim_class_admits_user(const struct tn_class *c, u32 uid, const u32 *gids, u32 ngids);

/* Which arguments of its function `btf_id` the host's developers promise to be valid while it runs: bit k,
 * argument k. */
u16 tn_eim_entry_valid(const struct tn_bound *bound, u32 btf_id);
/* … and are the bytes of this buffer there, or what this pointer leads to? */
bool tn_eim_entry_promises(const struct tn_bound *bound, u32 btf_id, const struct tn_access *access);

/* ------------------------------------------------------------------------------------------------ asking */

/* What an authority's `self` points to; the caller's. */
struct tn_asker {
    const struct tn_class *c;
    bool typed;
    char whose[80]; /* class "NAME" */
};
/* Fills `ret`, which lives no longer than `asker` and the class. `typed`: the program's context is the
   prototype of the function it is attached to (fentry, fexit, fmod_ret), a word an argument; else it is
   registers or a record. */
void tn_eim_authority(const struct tn_class *c, bool typed, struct tn_asker *asker, struct tn_authority *ret);
/* Of a program that was verified under another authority: is its longest run short enough? */
int tn_eim_insns(const struct tn_class *c, u64 insns, struct tn_error *err);
/* Bytes that a program takes in a process, as they are mapped there: text and maps in whole pages. */
struct tn_eim_memory {
    u64 text, stack, maps;
};
/* What a class allows that does not say it: enough for a program with a small map. */
#define TN_EIM_MEMORY_DEFAULT 65536u
u64 tn_eim_memory_sum(const struct tn_eim_memory *m);
/* "4096 of text, 512 of stack, 8192 of maps" */
const char *tn_eim_memory_text(const struct tn_eim_memory *m, char buf[100]);
/* All of it together; and may the program answer in the function's place. 0, or −EACCES with `err` filled. */
int tn_eim_memory(const struct tn_class *c, const struct tn_eim_memory *m, struct tn_error *err);
int tn_eim_replaces(const struct tn_class *c, struct tn_error *err);

/* ----------------------------------------------------------------------------------- for the manager */

/* What a verification asked, each thing once an instruction, but for calls that differ in their arguments. */
struct tn_eim_use {
    bool call;               /* else an access, unless: */
    bool answer;             /* args: what is answered, and its low half */
    bool by_result;          /* … by returning it */
    struct tn_access access; /* without its path */
    u32 helper_id, btf_id;   /* call */
    u32 insn;
    struct tn_call_arg
        args[5]; /* call of a function, answer, store to the context (value and low half): what held of
                                   them on a path, or on several */
    u32 nargs;
};
struct tn_eim_uses {
    const struct tn_bound *bound; /* NULL: nothing is known of the host */
    struct tn_eim_use *row;
    u32 n, room;
    u32 *bucket;
    bool failed; /* for want of memory: something is missing */
};
/* An authority that says yes to everything, tells what the host's functions promise, and writes down what it
   was asked. `entry`: of the specification, whose conditions then hold; NULL: none. `uses` zeroed but for
   `bound`; released by tn_eim_uses_clear. */
void tn_eim_recording(struct tn_eim_uses *uses, const char *entry, struct tn_authority *ret);
void tn_eim_uses_clear(struct tn_eim_uses *uses);

/* Would the class admit it? 0, or −EACCES with `err` filled as in a refusal of the verifier's. */
int tn_eim_admits(const struct tn_class *c, bool typed, const struct tn_eim_use *use, struct tn_error *err);
/* What it answers, in the place of that function: may it stand there? 0, or −EACCES (postcondition). */
int tn_eim_admits_answers(const struct tn_class *c, const struct tn_eim_uses *uses, const char *function,
                          struct tn_error *err);
/* What a probe stores to registers as that function is entered, or left: the same, and for the latter `replace`. */
int tn_eim_admits_registers(const struct tn_class *c, const struct tn_eim_uses *uses, const char *function,
                            bool exit, struct tn_error *err);
/* The use in a few words: "read(r->uri.len)", "call of bpf_ktime_get_ns". */
void tn_eim_use_text(const struct tn_class *c, const struct tn_eim_use *use, char *buf, size_t cap);

struct tn_eim_needs {
    u64 insns;
    struct tn_eim_memory memory; /* all 0: not told */
    bool typed, replaces;
};
/* A class of capabilities that stands in no policy. */
struct tn_eim_inferred {
    struct tn_class *c; /* NULL: none */
    const char **text;
    u32 n;
};
/* The smallest class for the entry ("accessPhase", "uprobe:f") that admits the uses: without any one of its
   capabilities something is refused. A limit of memory, where one is needed, has room for twice the text, since
   another version compiles to other code. −ENOENT with `err` filled (cannot_infer) where a use has no name in the
   host's specification; −EINVAL for an entry that is not there. */
int tn_eim_infer(const struct tn_eim_uses *uses, const char *name, const char *entry,
                 const struct tn_eim_needs *needs, struct tn_eim_inferred *ret, struct tn_error *err);
void tn_eim_inferred_clear(struct tn_eim_inferred *inferred);
/* As an item of `extension_classes`. */
void tn_eim_print_class(const struct tn_class *c, FILE *f);

/* What `new` allows and `old` does not, a line each; both of the same types. The number of lines; `say` NULL:
   they are counted only. −EINVAL: other types; −ENOMEM. */
int tn_eim_diff(const struct tn_class *old, const struct tn_class *new,
                void (*say)(void *self, const char *line), void *self, struct tn_error *err);

#endif
