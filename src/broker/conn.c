/* SPDX-License-Identifier: MIT */
/*
 * One connection: a thread of a tool behind its door, and the fiber that serves it.
 *
 *   HELLO both ways · then for ever: CALL, the handler's questions and the door's answers, DONE
 *
 * Everything that comes in is hostile. A message of the wrong kind, size or order ends the connection, and
 * nothing else; so does a door that leaves a question unanswered for ANSWER_MS. What the handler holds at
 * that moment it releases by itself, since its question returns −ECONNRESET.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "broker/broker_int.h"

#define ANSWER_MS 5000
/* A killed process closes its descriptors a little before it has ended. */
#define DYING_MS  200

struct conn {
    struct tn_caller caller;
    int fd, pidfd;
    bool broken;
    u8 *in, *out; /* TN_MSG_MAX each */
};

static struct conn *conn_of(struct tn_caller *caller)
{
    return TN_CONTAINER_OF(caller, struct conn, caller);
}

static int broken(struct conn *conn)
{
    conn->broken = true;
    return -ECONNRESET;
}

/* ---------------------------------------------------------------------------------------- single messages */

static int send_msg(struct conn *conn, const struct tn_msg *head, const void *payload, size_t len, int fd)
{
    struct iovec iov[2] = {{(void *)head, sizeof(*head)}, {(void *)payload, len}};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};

    if (fd >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);

        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    for (;;) {
        if (conn->broken)
            return -ECONNRESET;
        if (sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || tn_loop_wait(conn->caller.broker->loop, conn->fd, EPOLLOUT, ANSWER_MS))
            return broken(conn);
    }
}

/* What came along is ours to close. One descriptor at most is meant; the padding of the control buffer has
   room for two. */
static bool take_fds(struct msghdr *msg, int *ret_fd)
{
    bool ok = true;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (*ret_fd < 0 && n == 1)
                *ret_fd = fd;
            else
                close(fd);
        }
        ok &= n == 1;
    }
    return ok;
}

/* Next message into conn->in. *ret_len: bytes of payload. *ret_fd (may be NULL):
   a descriptor that came along. */
static int recv_msg(struct conn *conn, int timeout_ms, size_t *ret_len, int *ret_fd)
{
    for (;;) {
        struct iovec iov = {conn->in, TN_MSG_MAX};
        char control[CMSG_SPACE(sizeof(int))];
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
        _close_ int fd = -1;
        ssize_t n;

        if (conn->broken)
            return -ECONNRESET;
        n = recvmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (tn_loop_wait(conn->caller.broker->loop, conn->fd, EPOLLIN, timeout_ms))
                return broken(conn);
            continue;
        }
        if (n <= 0)
            return broken(conn);
        if (!take_fds(&msg, &fd) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
            (size_t)n < sizeof(struct tn_msg))
            return broken(conn);
        *ret_len = (size_t)n - sizeof(struct tn_msg);
        if (ret_fd)
            *ret_fd = TN_TAKE_FD(fd);
        return 0;
    }
}

/* Asks, and checks that the answer is one. */
static int ask(struct conn *conn, const struct tn_msg *question, const void *payload, size_t len,
               size_t *ret_len, int *ret_fd)
{
    const struct tn_msg *answer = (const struct tn_msg *)conn->in;
    int r = send_msg(conn, question, payload, len, -1);

    if (!r)
        r = recv_msg(conn, ANSWER_MS, ret_len, ret_fd);
    if (r)
        return r;
    if (answer->op != TN_MSG_BYTES || answer->err > 0 || answer->err < -4095)
        return broken(conn);
    return answer->err;
}

/* ------------------------------------------------------------------------------------ the caller's memory */

#define PIECE (TN_MSG_MAX - (u32)sizeof(struct tn_msg))

static int conn_read(struct tn_caller *caller, u64 addr, void *ret_bytes, u64 len)
{
    struct conn *conn = conn_of(caller);

    for (u64 at = 0; at < len;) {
        u64 piece = TN_MIN(len - at, (u64)PIECE);
        struct tn_msg question = {.op = TN_MSG_READ, .a = addr + at, .b = piece};
        size_t got;
        int r = ask(conn, &question, NULL, 0, &got, NULL);

        if (r)
            return r;
        if (got != piece)
            return broken(conn);
        memcpy((u8 *)ret_bytes + at, conn->in + sizeof(struct tn_msg), piece);
        at += piece;
    }
    return 0;
}

static int conn_read_str(struct tn_caller *caller, u64 addr, char *ret_str, u32 cap)
{
    struct conn *conn = conn_of(caller);
    struct tn_msg question = {.op = TN_MSG_READ, .a = addr, .b = TN_READ_STR | TN_MIN(cap, PIECE)};
    size_t got;
    int r = ask(conn, &question, NULL, 0, &got, NULL);

    if (r)
        return r;
    if (!got || got > cap)
        return broken(conn);
    if (!memchr(conn->in + sizeof(struct tn_msg), '\0', got))
        return got == cap ? -E2BIG : broken(conn);
    memcpy(ret_str, conn->in + sizeof(struct tn_msg), got);
    return 0;
}

static int conn_write(struct tn_caller *caller, u64 addr, const void *bytes, u64 len)
{
    struct conn *conn = conn_of(caller);

    for (u64 at = 0; at < len;) {
        u64 piece = TN_MIN(len - at, (u64)PIECE);
        struct tn_msg question = {.op = TN_MSG_WRITE, .a = addr + at};
        size_t got;
        int r = ask(conn, &question, (const u8 *)bytes + at, piece, &got, NULL);

        if (r)
            return r;
        if (got)
            return broken(conn);
        at += piece;
    }
    return 0;
}

static int conn_fd(struct tn_caller *caller, s32 number, int *ret_fd)
{
    struct conn *conn = conn_of(caller);
    struct tn_msg question = {.op = TN_MSG_FD, .a = (u64)(s64)number};
    _close_ int fd = -1;
    size_t got;
    int r = ask(conn, &question, NULL, 0, &got, &fd);

    if (r)
        return r;
    if (fd < 0 || got)
        return broken(conn);
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

static const struct tn_caller_ops conn_ops = {conn_read, conn_read_str, conn_write, conn_fd};

/* -------------------------------------------------------------------------------------------------- calls */

/* Result of the call; `out`: payload of DONE, *ret_len bytes of it. */
static int dispatch(struct conn *conn, size_t len, u8 *out, size_t *ret_len)
{
    struct tn_caller *caller = &conn->caller;
    const struct tn_msg *head = (const struct tn_msg *)conn->in;
    const u8 *payload = conn->in + sizeof(*head);
    struct tn_map_view view;
    u64 number = head->b;
    s32 fd;
    int r;

    *ret_len = 0;
    switch ((enum tn_call_op)head->a) {
    case TN_CALL_BPF: {
        struct tn_bpf_call call;
        u8 attr[TN_ATTR_MAX];

        if (len < sizeof(call) || len - sizeof(call) > TN_ATTR_MAX || number > UINT32_MAX)
            return broken(conn);
        memcpy(&call, payload, sizeof(call));
        memcpy(attr, payload + sizeof(call), len - sizeof(call)); /* questions overwrite conn->in */
        return tn_command_run(caller, (u32)number, attr, (u32)(len - sizeof(call)), call.addr, call.size);
    }
    case TN_CALL_PERF_OPEN: {
        struct tn_perf_open_args args;
        struct perf_event_attr attr = {0};

        if (len < sizeof(args) || len - sizeof(args) > TN_ATTR_MAX)
            return broken(conn);
        memcpy(&args, payload, sizeof(args));
        memcpy(&attr, payload + sizeof(args), TN_MIN(len - sizeof(args), sizeof(attr)));
        return tn_perf_open(caller, &attr, &args);
    }
    case TN_CALL_IOCTL: {
        struct tn_ioctl_args args;

        if (len != sizeof(args) || number > UINT32_MAX)
            return broken(conn);
        memcpy(&args, payload, sizeof(args));
        return tn_perf_ioctl(caller, args.fd, (u32)number, args.arg);
    }
    case TN_CALL_MAP_VIEW:
    case TN_CALL_WAIT_FD:
        if (len != sizeof(fd))
            return broken(conn);
        memcpy(&fd, payload, sizeof(fd));
        r = (head->a == TN_CALL_MAP_VIEW ? tn_map_view_of : tn_map_wait_of)(caller, fd, &view,
                                                                            &caller->ret_fd);
        if (!r) {
            memcpy(out, &view, sizeof(view));
            *ret_len = sizeof(view);
        }
        return r;
    case TN_CALL_VMLINUX:
        return tn_host_vmlinux(caller, &caller->ret_fd);
    case TN_CALL_CTL: {
        u8 request[512];

        if (len > sizeof(request) || number > UINT32_MAX)
            return broken(conn);
        memcpy(request, payload, len);
        return tn_ctl_run(caller, (u32)number, request, len, out, ret_len);
    }
    }
    return broken(conn);
}

static bool is_ctl(const struct conn *conn)
{
    return ((const struct tn_msg *)conn->in)->a == TN_CALL_CTL;
}

static int serve_call(struct conn *conn, size_t len)
{
    struct tn_caller *caller = &conn->caller;
    _close_ int fd = -1;
    bool remember = !is_ctl(conn);
    size_t out_len;
    struct tn_msg done = {.op = TN_MSG_DONE};

    memset(&caller->why, 0, sizeof(caller->why));
    if (remember)
        memset(&caller->last, 0, sizeof(caller->last));
    done.err = dispatch(conn, len, conn->out, &out_len);
    fd = TN_TAKE_FD(caller->ret_fd);
    if (done.err < 0 && caller->why.reason[0])
        caller->last.why = caller->why;
    if (done.err < 0 && fd >= 0) {
        close(fd);
        fd = -1;
    }
    done.a = fd >= 0;
    return send_msg(conn, &done, conn->out, out_len, fd);
}

static int greet(struct conn *conn)
{
    const struct tn_msg *head = (const struct tn_msg *)conn->in;
    struct tn_msg hello = {.op = TN_MSG_HELLO, .a = TN_PROTO_VERSION, .b = (u64)getpid()};
    size_t len;
    int r = recv_msg(conn, ANSWER_MS, &len, NULL);

    if (r)
        return r;
    if (head->op != TN_MSG_HELLO)
        return broken(conn);
    /* A door of another version is answered, so that it can say so, and then left. */
    if (head->a != TN_PROTO_VERSION)
        hello.err = -EPROTONOSUPPORT;
    r = send_msg(conn, &hello, NULL, 0, -1);
    return r ? r : hello.err;
}

/* A tool writes to maps by itself. One that was killed in the middle must not leave a lock behind; a
   connection that ends because its thread did is told apart by the process, which is still there. */
static void mend_after(struct conn *conn)
{
    struct tn_broker *broker = conn->caller.broker;

    if (conn->pidfd >= 0 && broker->table[TN_KIND_MAP].count &&
        !tn_loop_wait(broker->loop, conn->pidfd, EPOLLIN, DYING_MS))
        tn_process_ended(broker, conn->caller.pid);
}

static void conn_free(struct conn *conn)
{
    close(conn->fd);
    mend_after(conn);
    TN_UNREF(conn->caller.host);
    TN_UNREF(conn->caller.judged);
    conn->caller.broker->nconns--;
    if (conn->pidfd >= 0)
        close(conn->pidfd);
    free(conn->caller.groups);
    free(conn->in);
    free(conn->out);
    free(conn);
}

static void conn_main(void *arg)
{
    struct conn *conn = arg;

    if (!greet(conn))
        while (!conn->broken) {
            size_t len;

            if (recv_msg(conn, -1, &len, NULL))
                break;
            if (((const struct tn_msg *)conn->in)->op != TN_MSG_CALL || serve_call(conn, len))
                break;
        }
    conn_free(conn);
}

/* The group of the process, and those beside it, as they were when it connected. */
static int groups_of(int fd, const struct ucred *cred, struct tn_groups **ret)
{
    _free_ struct tn_groups *groups = NULL;
    socklen_t len = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) && errno != ERANGE)
        return -errno;
    groups = malloc(sizeof(*groups) + sizeof(u32) + len);
    if (!groups)
        return -ENOMEM;
    if (len && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups->id, &len))
        return -errno;
    groups->n = len / (u32)sizeof(u32);
    groups->id[groups->n++] = cred->gid;
    *ret = TN_TAKE_PTR(groups);
    return 0;
}

/* Takes `fd` over. Who is not our user (or root) is turned away without a word. */
void tn_conn_accept(struct tn_broker *broker, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    struct conn *conn = NULL;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || (cred.uid != broker->uid && cred.uid != 0))
        goto refuse;
    conn = calloc(1, sizeof(*conn));
    if (!conn)
        goto refuse;
    conn->in = malloc(TN_MSG_MAX);
    conn->out = malloc(TN_MSG_MAX);
    if (!conn->in || !conn->out || groups_of(fd, &cred, &conn->caller.groups))
        goto refuse;
    conn->fd = fd;
    conn->pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
    conn->caller = (struct tn_caller){.ops = &conn_ops,
                                      .broker = broker,
                                      .pid = cred.pid,
                                      .uid = cred.uid,
                                      .groups = conn->caller.groups,
                                      .options = {.wait_ms = 1000},
                                      .ret_fd = -1};
    broker->nconns++;
    if (!tn_loop_spawn(broker->loop, conn_main, conn))
        return;
    broker->nconns--;
    close(conn->pidfd);
refuse:
    if (conn) {
        free(conn->caller.groups);
        free(conn->in);
        free(conn->out);
        free(conn);
    }
    close(fd);
}
