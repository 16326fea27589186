/* SPDX-License-Identifier: MIT */
/*
 * The verifier's door: instructions in, facts or one refusal out. Pure: no descriptor, no system call, no
 * global state; everything it may know is passed.
 *
 * Instructions arrive as the bpf(2) caller wrote them but for one thing: the loader has resolved descriptors,
 * so that in a two-slot load (BPF_LD|BPF_IMM|BPF_DW) src_reg BPF_PSEUDO_MAP_FD     imm = index into maps[]
 *     src_reg BPF_PSEUDO_MAP_VALUE  imm = index into maps[], next imm = byte offset into the value of key 0
 * (BPF_PSEUDO_MAP_IDX* are turned into these two by the loader as well.)
 */
#ifndef TN_VERIFY_H
#define TN_VERIFY_H

#include <linux/bpf.h>

#include "base/base.h"
#include "rt/helper/helpers.h"
#include "rt/map/map.h"

/* ------------------------------------------------------------------ what may be done: questions asked of a
 * policy */

enum tn_access_kind { TN_ACCESS_READ, TN_ACCESS_WRITE };
struct tn_call_arg;
#define TN_PLACES_MAX 4096u
struct tn_access {
    enum tn_access_kind kind;
    u32 btf_id;       /* type of the object, 0 = untyped (context, process memory); a variable of
                                    the host that is no struct is an object of its own: its BTF_KIND_VAR */
    u32 var;          /* the object is this variable of the host's, or not known to be one: 0 */
    const char *path; /* field path from the object, "" = by offset only */
    u32 offset, size; /* bytes */
    u32 step, places; /* … or those at each of so many places, `step` bytes apart, the first at `offset`:
                                    which, the program's data tell. 0 places: there is but one */
    bool process;     /* an untyped address of the host's memory (probe_read_user and its kin) */
    const struct tn_call_arg
        *value;  /* a store to the context, of all of an argument or result: what is stored, and
                                        behind it the low 32 bits of that; else NULL */
    u32 entry;   /* of a typed context: the function whose arguments it has, in the host's types */
    u32 insn;    /* where */
    bool buffer; /* not the pointer at `offset` but the elements behind it, as many as … */
    u32 length_off, length_size; /* … the number there says; of size 0: those before `end` */
    bool length_signed;
    bool inside;    /* there is no pointer: the elements themselves lie at `offset` */
    u32 element;    /* bytes of one */
    u64 first, end; /* numbers of elements */
};
/* What is known of an argument when a function of the host is called. */
struct tn_call_arg {
    bool number; /* else a pointer, or NULL: then both bounds are 0 */
    bool maybe_null, trusted;
    s64 min, max;   /* a number, taken as signed … */
    u64 umin, umax; /* … and as unsigned; equal: it is a constant */
    u64 bytes;      /* known to be there behind a pointer */
    u32 btf_id;     /* of what a typed pointer points to, in the host's types; 0: not typed */
};
struct tn_call {
    u32 helper_id; /* or a kfunc's btf_id when helper_id is 0 */
    u32 btf_id;
    u32 insn;
    const struct tn_call_arg *args; /* of a kfunc: nargs of them */
    u32 nargs;
};
/* What stands in the place of a function's result: what is passed to bpf_override_return or to the host's function
   that answers, or what a program of type fmod_ret returns. */
struct tn_call_answer {
    struct tn_call_arg value;
    struct tn_call_arg low; /* of a number: its low 32 bits */
    bool by_result;         /* returned: 0 is no answer then */
    u32 btf_id;             /* the function's, in the host's types; 0: the program does not know it */
    u32 insn;
};
/* What may be assumed of the result once the call is done. */
struct tn_call_facts {
    s64 ret_min, ret_max;
};
/* A function of the host's own that programs may call by type, beside those of the house (kfuncs.h). Pointers
   that it takes are valid, and not NULL where nothing else is said. Bit k is of argument k. */
struct tn_host_function {
    bool acquires, releases; /* the result has to be given back; the argument that was acquired is */
    bool ret_null;           /* a pointer it returns may be NULL */
    bool sleeps;
    bool nothrow; /* no exception comes out of it, whatever its language (of no concern to the verifier) */
    u8 sized;     /* it counts the bytes behind the argument before it */
    u8 constant;  /* it is known before the program runs */
    u8 nullable;
};
struct tn_limits {
    u64 max_insns_processed; /* the verifier's own budget */
    u64 max_path_insns;      /* longest path a run may take; 0 = no limit */
    const char *whose;       /* whose limit that is, for people, NULL: the authority's. Borrowed */
    u32 max_stack;           /* bytes over all frames of a call chain; 0 = what Linux allows */
};
/* Filled by the caller. Each question returns 0 (yes) or −EACCES with `err` filled, and answers the same
   whenever it is asked the same during one verification: a path that is pruned asks nothing again. `tag`
   names the authority for whoever keeps verdicts; states of two authorities never meet, since one
   verification has one. */
struct tn_authority {
    void *self;
    u64 tag;
    struct tn_limits limits;
    /* Of a program that stands before or in place of a function: bit k, its argument k points to what is
       there and stays there while the program runs. */
    u16 entry_valid;
    /* Numbers in objects of the host that are surely there may be stored to: which ones is asked. Else none
     * may. */
    bool host_stores;
    /* What it is entered with may be stored to, where the host goes on with that: arguments, results, registers. Else none may. */
    bool context_stores;
    int (*may_access)(void *self, const struct tn_access *access, struct tn_error *err);
    int (*may_call)(void *self, const struct tn_call *call, struct tn_call_facts *ret_facts,
                    struct tn_error *err);
    /* May that be the answer? NULL: anything may. */
    int (*may_answer)(void *self, const struct tn_call_answer *answer, struct tn_error *err);
    /* Of a buffer that may be read, or of a pointer: while the program runs, what it leads to from an object that
       is valid is there (a pointer may be NULL instead). NULL: that is known of none. */
    bool (*is_promised)(void *self, const struct tn_access *access);
    /* 0, or −ENOENT: programs cannot call the function of that id. NULL: none but the house's. */
    int (*may_offer)(void *self, u32 btf_id, struct tn_host_function *ret);
};
/* Says yes to everything, with Linux's limits (one million processed instructions, its rules for the stack).
 */
extern const struct tn_authority tn_authority_all;

/* --------------------------------------------------------------------------------------------------- in */

struct tn_btf; /* btf/btf.h: type information that was checked */

struct tn_verify_map {
    struct tn_map_geo geo;
    const u8
        *frozen; /* contents when the map is frozen and read-only for programs: loads of it are constants */
    bool rdonly_prog, wronly_prog;
    const char *name;         /* for messages; NULL or "": they say its index */
    const struct tn_btf *btf; /* of the map, borrowed; NULL: none. Says where locks, timers, kptrs lie */
    u32 btf_key_type_id, btf_value_type_id; /* in btf; 0: none */
    const struct tn_verify_map *inner;      /* maps of maps: what an element looks like; else NULL */
    u64 map_extra;                          /* as in BPF_MAP_CREATE: of an arena, its first user address */
};

struct tn_verify_in {
    const struct bpf_insn *insns;
    u32 ninsns;
    u32 prog_type, expected_attach_type;
    u32 prog_flags; /* BPF_F_STRICT_ALIGNMENT … */
    bool gpl;       /* licence is GPL-compatible */
    const struct tn_verify_map *maps;
    u32 nmaps;
    const void *btf; /* the program's BTF (raw), or NULL */
    u32 btf_size;
    const void *func_info; /* records as of BPF_PROG_LOAD */
    u32 func_info_rec_size, func_info_cnt;
    const void *line_info;
    u32 line_info_rec_size, line_info_cnt;
    const struct tn_btf *host_btf; /* types of the host (of the kernel, when it is asked the same); or NULL */
    u32 attach_btf_id;             /* tracing types: a function or typedef of host_btf */
    u32 answer_btf_id; /* the function of host_btf that answers in the place of the hooked one; 0: none */
    u32 copy_btf_id;   /* … that copies a buffer (buffer.c); 0: none */
    bool process; /* host_btf speaks of a process, in which the program is placed: what it names can be had */
    bool own_calls; /* … it does not, but the functions that are called are served all the same */
    u32 ncpu;       /* possible CPUs; 0: not known */
    const struct tn_authority *authority;
    u32 log_level; /* 1, 2, 4, and 8 for the beginning of a log that is too long: as in Linux; 0: no log */
    u64 log_size;  /* bytes its reader can take, NUL included; 0: no particular number (16 MiB) */
};

/* -------------------------------------------------------------------------------------------------- out */

/* What a program may do that the engines cannot (yet) run. F(name, what the program does) */
// clang-format off
#define TN_FEATURES(F)                                                                                       \
    F(callback,  "has one of its functions called back later, or by a function of the host")                 \
    F(tail_call, "ends in a tail call")                                                                      \
    F(tracing,   "is attached to a function of the host by its type")                                        \
    F(probe,     "reads memory through a pointer that may not be good")                                      \
    F(arena,     "reaches into an arena")                                                                    \
    F(exception, "throws: it ends from inside of its functions")                                             \
    F(deep_stack, "has frames of more than 512 bytes together")                                              \
    F(symbol,    "takes the address of a variable of the host")                                              \
    F(kfunc,     "calls a function of the host by its type")                                                 \
    F(store,     "stores to an object of the host")
// clang-format on
enum tn_feature {
#define F(name, ...) TN_FEATURE_##name,
    TN_FEATURES(F)
#undef F
};

/* What the rest of the house builds on. What stands in code that no run reaches is no fact: nor is what a
   global function does that is called from nowhere else. */
struct tn_facts {
    u64 ctx_read[4]; /* bitmap of 8-byte words of the context that may be read (word 0 = offset 0) */
    u64 ctx_written[4];
    u32 ctx_end; /* one past the last byte of the context that may be read or written */
    /* one past the last byte of what is attached: the tracepoint's buffer, an iterator's */
    u32 tp_access, rdonly_access, rdwr_access;
    bool reads_uninit_stack;                /* some subprogs[].zero is not 0 */
    bool ctx_escapes;                       /* the context's address reaches a helper that reads it whole */
    u64 helpers[(TN_HELPER_MAX + 63) / 64]; /* bitmap of helper ids called from live code */
    u64 maps_used;                          /* bitmap of maps[] (first 64) */
    u32 max_stack;                          /* bytes of program stack over the deepest call chain */
    u64 longest_path;                       /* instructions, upper bound of one run */
    u64 features;                           /* bitmap of enum tn_feature */
    bool percpu;                            /* touches a per-CPU map, or calls a helper with TN_HF_PERCPU */
    bool may_fault;                         /* reads memory that may not be there */
    bool calls_host;                        /* calls a function of the host: tn_verdict.kfuncs */
    bool sleeps;                            /* calls something that may sleep, now or in work done later */
    bool syscalls;                          /* calls a helper with TN_HF_SYSCALL */
    bool walks;                             /* calls a helper that walks the stack from the registers on */
};

/* One a instruction, for the compilers. */
struct tn_insn_aux {
    bool live; /* reached on some path; others are replaced by a trap */
    bool jump_target;
    s32 const_map; /* helper call: argument 1 is always this map of maps[]; −1 = varies or none */
    s32 const_key; /* map_lookup_elem with a key that is always this value (≥ 0); −1 = not known */
    u8 mem_kind;   /* loads, stores, calls that copy a buffer: enum tn_mem_kind */
    bool no_flags; /* helper call that calls back: its flags are always 0 */
    s16 callback;  /* … the function called back is always this one of subprogs[]; −1 = varies or none */
};
enum tn_mem_kind {
    TN_MEM_PLAIN,
    TN_MEM_CTX,
    TN_MEM_STACK,
    TN_MEM_MAP_VALUE,
    TN_MEM_RINGBUF,
    TN_MEM_PROBE,
    TN_MEM_ARENA,
    TN_MEM_PROMISED /* a buffer whose bytes, too, are surely there */
};

struct tn_subprog {
    u32 start, end; /* instructions [start, end) */
    u32 stack;      /* bytes of its own frame, a multiple of 8 */
    /* Slots (bit k: the eight bytes at fp−8(k+1)) that may be read before the program writes them. What is
       there belongs to the host: whoever runs the program clears them each time the frame is entered. */
    u64 zero;
};

struct tn_refusal {
    char reason[48];   /* row of reasons.h, snake_case */
    char message[512]; /* one sentence, with the register or map named */
    u32 insn;          /* where */
    char file[256];    /* C source, from BTF line information; "" where there is none */
    u32 line, column;  /* 1-based; 0 = not known */
    char text[256];    /* the source line, without what indents it */
    u32 text_column;   /* 1-based: where in `text` `column` is; 0 = not known */
    char state[512];   /* the registers that matter, as abstract values */
    char path[512];    /* how it came there: the last branches, oldest first */
};

struct tn_verdict {
    bool accepted;
    struct tn_refusal refusal;   /* when not accepted */
    struct tn_facts facts;       /* when accepted */
    struct tn_insn_aux *aux;     /* ninsns, owned; when accepted */
    struct tn_subprog *subprogs; /* owned; subprogs[0] starts at 0 */
    u32 nsubprogs;
    u32 *kfuncs; /* owned; ids in host_btf of the functions of the host that it calls, ascending */
    u32 nkfuncs;
    u64 insns_processed;
    u64 total_states, peak_states, max_states_per_insn;
    u64 time_ns;
    char *log; /* NUL-terminated, owned, whatever the verdict; NULL for level 0 */
    u64 log_size;
    u64 log_true_size; /* bytes that would have held all of it at any time, NUL included */
};

/* 0 when a verdict was reached (either way), −ENOMEM otherwise; −EINVAL for input that is not even
   well-formed is a verdict too. */
int tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret_verdict);
void tn_verdict_clear(struct tn_verdict *verdict);

/* Can the program that was judged run here? 0, or −EINVAL with `err` filled: helper_not_built, map_not_built,
   feature_not_built. For one that was refused: only whether it was refused at the call of a helper that is
   not built. Pure. */
int tn_available(const struct tn_verify_in *in, const struct tn_verdict *verdict, struct tn_error *err);

#endif
