/* SPDX-License-Identifier: MIT */
/*
 * One row a command of bpf(2) that is served; what has no row is −EINVAL and named in the connection's last
 * error.
 *
 * C(command, handler, last): BPF_<command>; tn_cmd_<handler> in the family's file; the last field that the
 * command knows. As in Linux, whatever stands behind it must be zero, whatever lies past the caller's size
 * counts as zero, and bytes past our own union must be zero too (−E2BIG).
 */
// clang-format off
#define TN_COMMANDS(C)                                                              \
    /* map_cmd.c */                                                                 \
    C(MAP_CREATE,                 map_create,          map_extra)                   \
    C(MAP_LOOKUP_ELEM,            map_lookup,          flags)                       \
    C(MAP_UPDATE_ELEM,            map_update,          flags)                       \
    C(MAP_DELETE_ELEM,            map_delete,          key)                         \
    C(MAP_GET_NEXT_KEY,           map_next_key,        next_key)                    \
    C(MAP_LOOKUP_AND_DELETE_ELEM, map_lookup_delete,   flags)                       \
    C(MAP_FREEZE,                 map_freeze,          map_fd)                      \
    C(MAP_GET_NEXT_ID,            map_next_id,         next_id)                     \
    C(MAP_GET_FD_BY_ID,           map_fd_by_id,        open_flags)                  \
    /* prog_cmd.c */                                                                \
    C(PROG_LOAD,                  prog_load,           core_relo_rec_size)          \
    C(PROG_GET_NEXT_ID,           prog_next_id,        next_id)                     \
    C(PROG_GET_FD_BY_ID,          prog_fd_by_id,       prog_id)                     \
    C(PROG_BIND_MAP,              prog_bind_map,       prog_bind_map.flags)         \
    /* test_run.c */                                                                \
    C(PROG_TEST_RUN,              prog_test_run,       test.batch_size)             \
    /* btf_cmd.c */                                                                 \
    C(BTF_LOAD,                   btf_load,            btf_log_level)               \
    C(BTF_GET_NEXT_ID,            btf_next_id,         next_id)                     \
    C(BTF_GET_FD_BY_ID,           btf_fd_by_id,        btf_id)                      \
    /* link_cmd.c */                                                                \
    C(LINK_CREATE,                link_create,         link_create.kprobe_multi.cookies) /* multi.h: more */ \
    C(LINK_UPDATE,                link_update,         link_update.old_prog_fd)     \
    C(LINK_DETACH,                link_detach,         link_detach.link_fd)         \
    C(RAW_TRACEPOINT_OPEN,        raw_tracepoint_open, raw_tracepoint.prog_fd)      \
    C(LINK_GET_NEXT_ID,           link_next_id,        next_id)                     \
    C(LINK_GET_FD_BY_ID,          link_fd_by_id,       link_id)                     \
    /* info.c */                                                                    \
    C(OBJ_GET_INFO_BY_FD,         info_by_fd,          info.info)
// clang-format on
