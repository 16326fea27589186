/* SPDX-License-Identifier: MIT */
/* Questions to a class, and bytes in the words of a policy: shared by ask.c, words.c and manage.c. */
#ifndef TN_EIM_ASK_H
#define TN_EIM_ASK_H

#include "eim/bind.h"

int tn_ask_access(const struct tn_asker *q, const struct tn_access *a, struct tn_error *err);
int tn_ask_call(const struct tn_asker *q, const struct tn_call *call, struct tn_call_facts *facts,
                struct tn_error *err);
int tn_ask_answer(const struct tn_asker *q, const struct tn_call_answer *a, struct tn_error *err);
/* … in the place of that function, whatever class. */
int tn_ask_answer_of(const struct tn_bound *b, const char *function, const struct tn_call_answer *a,
                     struct tn_error *err);

/* What a probe stores to the register of argument `k` (or one that is none), as that function is entered, whatever class. */
int tn_ask_register_of(const struct tn_class *c, const char *function, u32 k, const struct tn_call_arg *value,
                       struct tn_error *err);
int tn_ask_offer(const struct tn_bound *b, u32 btf_id, struct tn_host_function *ret);

/* words.c: the capabilities that together are the bytes of an access to an object that has a type, or is a
   variable: "write(r->headers_out.status)". `func` may be NULL; `reads`: which pointers may be followed. */
struct tn_words {
    const char **text;
    u32 n;
};
int tn_words_of_access(const struct tn_bound *b, const struct tn_bfunc *func, struct tn_bag *bag,
                       const struct tn_access *a, bool (*reads)(const void *self, u32 type, u64 off),
                       const void *self, struct tn_words *ret);
/* It asks for a variable's address alone. */
bool tn_access_is_name(const struct tn_bound *b, const struct tn_access *a);

/* A buffer: "read(r->uri.data[0 .. r->uri.len])"; NULL where it has no name. */
const char *tn_words_of_buffer(const struct tn_bound *b, const struct tn_bfunc *func, struct tn_bag *bag,
                               const struct tn_access *a, bool (*reads)(const void *self, u32 type, u64 off),
                               const void *self);

#endif
