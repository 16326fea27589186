/* SPDX-License-Identifier: MIT */
/*
 * What a door and the broker say to each other, over one unix seqpacket socket a thread of the tool.
 *
 * The door is dumb. It sends a call as it came (command, attribute bytes) and then serves the broker, which
 * asks for what the call points at: bytes of the tool's memory, descriptors. So every door (preload, seccomp)
 * leads to the same code, every bad pointer is an honest EFAULT, and no door knows what a command means.
 *
 *   door                              broker
 *   CALL cmd attr            ───▶
 *                            ◀───     READ addr len        (0 or more, any order)
 *   BYTES …                  ───▶
 *                            ◀───     FD n                 (the tool's descriptor number)
 *   BYTES + SCM_RIGHTS       ───▶                          (possession is proved by passing it)
 *                            ◀───     WRITE addr bytes
 *   BYTES (err only)         ───▶
 *                            ◀───     DONE ret [+ SCM_RIGHTS: the new descriptor, close-on-exec]
 *
 * A descriptor is known to the broker by its inode (fstat), never by its number. Every message starts with
 * tn_msg. Bytes past a caller's attr size count as zero. Both sides check every length.
 */
#ifndef TN_BROKER_PROTO_H
#define TN_BROKER_PROTO_H

#include "rt/layout.h"

#define TN_PROTO_VERSION 2u
#define TN_MSG_MAX                                                                                           \
    65536u /* bytes of one message, header included; longer reads and writes come in pieces                  \
            */

enum tn_msg_op {
    TN_MSG_HELLO, /* both ways, first: a = version, b = pid */
    TN_MSG_CALL,  /* a = enum tn_call_op, b = its own number (bpf command, ioctl request), payload: attributes
                   */
    TN_MSG_READ,  /* a = address, b = length; b = TN_READ_STR | max for a string up to its NUL */
    TN_MSG_WRITE, /* a = address, payload: bytes */
    TN_MSG_FD,    /* a = descriptor number in the tool */
    TN_MSG_BYTES, /* door's answer: err = 0 or −errno, payload */
    TN_MSG_DONE, /* err = result of the call: ≥ 0 or −errno; a = 1 when the result is the passed descriptor */
};
#define TN_READ_STR (1ull << 32)

enum tn_call_op {
    TN_CALL_BPF,       /* b = command, payload = struct tn_bpf_call, then the attribute bytes */
    TN_CALL_PERF_OPEN, /* payload = struct tn_perf_open_args, then struct perf_event_attr as far as it goes */
    TN_CALL_IOCTL,     /* b = request, descriptor and argument in payload: struct tn_ioctl_args */
    TN_CALL_MAP_VIEW,  /* door only: payload = descriptor number (s32); DONE passes the memfd, WRITE not used;
                          its  payload is struct tn_map_view */
    TN_CALL_WAIT_FD,   /* door only: payload = descriptor number (s32) of a ring buffer; DONE passes its
                          eventfd, its   payload is struct tn_map_view */
    TN_CALL_VMLINUX, /* door only: DONE passes the file that goes with the caller's host; −ENOENT: none is chosen */
    TN_CALL_CTL, /* our own command line: b = enum tn_ctl, payload JSON-free structs of ctl.h */
};

struct tn_msg {
    u32 op; /* enum tn_msg_op */
    s32 err;
    u64 a, b;
    /* payload follows, to the end of the datagram */
};

/* Where the attributes lie in the tool: commands that answer in them (next_id, info_len) write there. */
struct tn_bpf_call {
    u64 addr;
    u32 size; /* as the caller said it; the bytes that follow are at most TN_ATTR_MAX of them */
    u32 pad;
};
#define TN_ATTR_MAX TN_PAGE

/* What a door must know of a map to serve its elements by itself. */
struct tn_map_view {
    struct tn_map_geo geo;
    u32 id;
    u32 access; /* TN_VIEW_* : what this descriptor may do */
};
#define TN_VIEW_READ  1u
#define TN_VIEW_WRITE 2u

/* The performance-event types of uprobes and kprobes where the machine's kernel has none to name. */
#define TN_UPROBE_TYPE 0x746e0001u
#define TN_KPROBE_TYPE 0x746e0002u

/*
 * A broker that is being started has its listening socket as descriptor TN_LISTEN_FD, and as TN_TOLD_FD, if
 * $TENON_TOLD is set, the end of a pipe. It writes a tn_told there when it cannot start, and closes it once it
 * serves: its own errors would be on nobody's terminal.
 */
#define TN_LISTEN_FD 3
#define TN_TOLD_FD   4
struct tn_told {
    s32 err, pad;
    struct tn_error why;
};

struct tn_perf_open_args {
    s32 pid, cpu, group_fd, pad;
    u64 flags;
};
struct tn_ioctl_args {
    s32 fd, pad;
    u64 arg;
};

#endif
