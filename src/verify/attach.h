/* SPDX-License-Identifier: MIT */
/*
 * What a tracing program is attached to, and the context that follows from it: an array of 8-byte words, one
 * an argument of the function (btf/value.h: two for a struct of 9 to 16 bytes), in places those of its result.
 *
 *      fentry      int f(struct a *p, int n)      ctx[0] p, ctx[1] n
 *      fexit       the same                       … ctx[2] what f returned
 *      fentry      int f(struct big s, int n)     ctx[0] where s lies, ctx[1] n: in processes only
 *      tp_btf      typedef btf_trace_t: void (*)(void *, struct a *p)      ctx[0] p
 *      iter        int bpf_iter_task(struct bpf_iter_meta *, struct task_struct *)     ctx[0], ctx[1]
 */
#ifndef TN_VERIFY_ATTACH_H
#define TN_VERIFY_ATTACH_H

#include <linux/bpf.h>

#include "btf/btf.h"

// clang-format off
/*
 * A(attach type, kind of attach_btf_id, arguments are trusted, arguments that are left out in front, the result)
 * Results: NONE cannot be read, ANY can, INT only where it is an integer.
 */
#define TN_ATTACHES(A)                                                                                       \
    A(BPF_TRACE_RAW_TP,  TYPEDEF, true,  1, NONE)                                                            \
    A(BPF_TRACE_FENTRY,  FUNC,    false, 0, NONE)                                                            \
    A(BPF_TRACE_FEXIT,   FUNC,    false, 0, ANY)                                                             \
    A(BPF_MODIFY_RETURN, FUNC,    false, 0, INT)                                                             \
    A(BPF_TRACE_ITER,    FUNC,    true,  0, NONE)

/*
 * Iterators: what is not just the pointer that the function says. I(target, argument, kind, flags); a target that
 * has no row is refused by name.
 */
#define TN_ITERS(I)                                                                                          \
    I(bpf_map,            1, BTF, MAYBE_NULL | TRUSTED)                                                      \
    I(bpf_map_elem,       2, BUF, MAYBE_NULL | RDONLY)                                                       \
    I(bpf_map_elem,       3, BUF, MAYBE_NULL)                                                                \
    I(bpf_prog,           1, BTF, MAYBE_NULL)                                                                \
    I(bpf_link,           1, BTF, MAYBE_NULL)                                                                \
    I(bpf_sk_storage_map, 2, BTF, MAYBE_NULL)                                                                \
    I(bpf_sk_storage_map, 3, BUF, MAYBE_NULL)                                                                \
    I(sockmap,            2, BUF, MAYBE_NULL | RDONLY)                                                       \
    I(sockmap,            3, BTF, MAYBE_NULL)                                                                \
    I(task,               1, BTF, MAYBE_NULL | TRUSTED)                                                      \
    I(task_file,          1, BTF, MAYBE_NULL)                                                                \
    I(task_file,          3, BTF, MAYBE_NULL)                                                                \
    I(task_vma,           1, BTF, MAYBE_NULL)                                                                \
    I(task_vma,           2, BTF, MAYBE_NULL)                                                                \
    I(cgroup,             1, BTF, MAYBE_NULL | TRUSTED)                                                      \
    I(tcp,                1, BTF, MAYBE_NULL | TRUSTED)                                                      \
    I(udp,                1, BTF, MAYBE_NULL | TRUSTED)

/*
 * Arguments of tracepoints that are not what their type says, four bits an argument, the first lowest: 1 it may be
 * NULL, 2 it may be an error number in a pointer's place.
 */
#define TN_TP_ARGS(A)                                                                                        \
    A(sched_pi_setprio, 0x10)              \
    A(sched_process_wait, 0x1)             \
    A(sched_stick_numa, 0x100)             \
    A(sched_swap_numa, 0x100)              \
    A(afs_make_fs_call, 0x10)              \
    A(afs_make_fs_calli, 0x10)             \
    A(afs_make_fs_call1, 0x10)             \
    A(afs_make_fs_call2, 0x10)             \
    A(afs_protocol_error, 0x1)             \
    A(afs_flock_ev, 0x10)                  \
    A(cachefiles_lookup, 0x201)            \
    A(cachefiles_unlink, 0x1)              \
    A(cachefiles_rename, 0x1)              \
    A(cachefiles_prep_read, 0x1)           \
    A(cachefiles_mark_active, 0x1)         \
    A(cachefiles_mark_failed, 0x1)         \
    A(cachefiles_mark_inactive, 0x1)       \
    A(cachefiles_vfs_error, 0x1)           \
    A(cachefiles_io_error, 0x1)            \
    A(cachefiles_ondemand_open, 0x1)       \
    A(cachefiles_ondemand_copen, 0x1)      \
    A(cachefiles_ondemand_close, 0x1)      \
    A(cachefiles_ondemand_read, 0x1)       \
    A(cachefiles_ondemand_cread, 0x1)      \
    A(cachefiles_ondemand_fd_write, 0x1)   \
    A(cachefiles_ondemand_fd_release, 0x1) \
    A(ext4_mballoc_discard, 0x10)          \
    A(ext4_mballoc_free, 0x10)             \
    A(fib_table_lookup, 0x100)             \
    A(posix_lock_inode, 0x10)              \
    A(fcntl_setlk, 0x10)                   \
    A(locks_remove_posix, 0x10)            \
    A(flock_lock_inode, 0x10)              \
    A(break_lease_noblock, 0x10)           \
    A(break_lease_block, 0x10)             \
    A(break_lease_unblock, 0x10)           \
    A(generic_delete_lease, 0x10)          \
    A(time_out_leases, 0x10)               \
    A(host1x_cdma_push_gather, 0x10000)    \
    A(mm_khugepaged_scan_pmd, 0x10)        \
    A(mm_collapse_huge_page_isolate, 0x1)  \
    A(mm_khugepaged_scan_file, 0x10)       \
    A(mm_khugepaged_collapse_file, 0x10)   \
    A(mm_page_alloc, 0x1)                  \
    A(mm_page_pcpu_drain, 0x1)             \
    A(mm_page_alloc_zone_locked, 0x1)      \
    A(netfs_failure, 0x10)                 \
    A(device_pm_callback_start, 0x10)      \
    A(qdisc_dequeue, 0x1000)               \
    A(rxrpc_recvdata, 0x1)                 \
    A(rxrpc_resend, 0x10)                  \
    A(signal_generate, 0x20)               \
    A(signal_deliver, 0x20)                \
    A(kfree_skb, 0x1000)                   \
    A(xs_stream_read_data, 0x1)            \
    A(xprt_reserve_cong, 0x10)             \
    A(xprt_release_cong, 0x10)             \
    A(xprt_get_cong, 0x10)                 \
    A(xprt_put_cong, 0x10)                 \
    A(tcp_send_reset, 0x11)                \
    A(tegra_dma_tx_status, 0x100)          \
    A(tmigr_update_events, 0x1)            \
    A(writeback_dirty_folio, 0x10)         \
    A(folio_wait_writeback, 0x10)          \
    A(mr_integ_alloc, 0x2000)
// clang-format on

struct tn_access;
struct vf;
struct tn_place;

struct tn_attach {
    const struct tn_attach_row *row; /* NULL: not a tracing program */
    const struct btf_type *proto;    /* in host_btf */
    const char *name;
};

/* Sets v->attach, or refuses what nothing can be attached to. */
int tn_attach_check(struct vf *v);
/* ctx.c: a load from a context whose layout is TYPED; the offset is a constant. */
int tn_ctx_typed(struct vf *v, struct tn_place *p);
/* Does the authority say so? What is promised of an entry holds no more at its exit. */
bool tn_attach_promised(const struct vf *v, const struct tn_access *access);

#endif
