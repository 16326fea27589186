// SPDX-License-Identifier: MIT
/*
 * A tree whose items have locks of their own. Comparing two of them, one is locked and UNLOCKED, x or y, is unlocked: with y
 * that is a lock nobody holds, although both pointers look alike.
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct bpf_res_spin_lock {
    __u32 val;
};
struct bpf_rb_node {
    __u64 opaque[4];
} __attribute__((aligned(8)));
struct bpf_rb_root {
    __u64 opaque[2];
} __attribute__((aligned(8)));

typedef _Bool (*comparison)(struct bpf_rb_node *, const struct bpf_rb_node *);

extern void *bpf_obj_new_impl(__u64 type, void *meta) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node, comparison less,
                               void *meta, __u64 offset) __ksym;
extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;

struct item {
    struct bpf_res_spin_lock lock;
    struct bpf_rb_node node;
};
#define ITEM(n) ((struct item *)((char *)(n) - __builtin_offsetof(struct item, node)))

char LICENSE[] SEC("license") = "GPL";

static struct bpf_spin_lock guard SEC(".data.tree");
static struct bpf_rb_root root SEC(".data.tree") __attribute__((btf_decl_tag("contains:item:node")));

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
    struct item *x = ITEM(a), *y = ITEM(b);

    if (bpf_res_spin_lock(&x->lock))
        return 0;
    bpf_res_spin_unlock(&UNLOCKED->lock);
    return x < y;
}

SEC("tc")
int grow(void *ctx)
{
    struct item *n = bpf_obj_new_impl(bpf_core_type_id_local(struct item), 0);

    if (!n)
        return 0;
    bpf_spin_lock(&guard);
    bpf_rbtree_add_impl(&root, &n->node, less, 0, 0);
    bpf_spin_unlock(&guard);
    return 0;
}
