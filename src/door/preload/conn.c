/* SPDX-License-Identifier: MIT */
/*
 * One connection a thread. It is made by the first call, closed when the thread ends, and never shared: a
 * forked child makes its own (its parent's is recognised by the process id it was made under), and a tool
 * that closes descriptors it did not open (closefrom) only costs a new connection, since the socket's inode
 * is compared before each use.
 *
 * The broker asks for bytes at addresses of this process. Bad ones must be EFAULT, not a crash (copy.h).
 */
#include "door/preload/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "broker/broker.h"
#include "door/preload/copy.h"
#include "door/preload/door.h"

struct conn {
    int fd;
    pid_t pid;
    u64 ino;
    u8 *buf; /* TN_MSG_MAX */
    bool busy;
    bool told; /* of the host */
};

/* A signal handler may make a call while its thread is in the middle of one:
   it has a connection of its own. */
#define LEVELS 2u

static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

/* The process that has spoken with a broker. */
static _Atomic pid_t speaker;

static bool is_mine(const struct conn *conn)
{
    struct stat st;

    return conn->fd >= 0 && conn->pid == getpid() && !fstat(conn->fd, &st) && S_ISSOCK(st.st_mode) &&
           st.st_ino == conn->ino;
}

static void conn_close(struct conn *conn)
{
    struct stat st;

    /* Also in a forked child: the parent's connection must not be kept open by it. */
    if (conn->fd >= 0 && !fstat(conn->fd, &st) && S_ISSOCK(st.st_mode) && st.st_ino == conn->ino)
        close(conn->fd);
    conn->fd = -1;
}

static void conn_free(void *arg)
{
    struct conn *conn = arg;

    for (u32 i = 0; i < LEVELS; i++)
        conn_close(&conn[i]);
    free(conn->buf);
    free(conn);
}

static void make_key(void)
{
    pthread_key_create(&key, conn_free);
}

bool tn_door_object(int fd, struct tn_ctl_closed *ret)
{
    struct sockaddr_un name;
    socklen_t len = sizeof(name), size = sizeof(int);
    struct stat st;
    int type = 0;

    /* An end of a pair: the other one has no name, as the broker's end of a connection has. */
    if (speaker != getpid() || fstat(fd, &st) || !S_ISSOCK(st.st_mode) ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_SEQPACKET ||
        getpeername(fd, (struct sockaddr *)&name, &len) || name.sun_family != AF_UNIX ||
        len > offsetof(struct sockaddr_un, sun_path))
        return false;
    *ret = (struct tn_ctl_closed){st.st_dev, st.st_ino};
    return true;
}

/* This thread's connection, live. */
static int conn_get(struct conn **ret_conn, struct tn_error *err)
{
    struct conn *conn;
    struct stat st;
    int fd, high;

    pthread_once(&key_once, make_key);
    conn = pthread_getspecific(key);
    if (!conn) {
        conn = calloc(LEVELS, sizeof(*conn));
        if (!conn)
            return -ENOMEM;
        conn->buf = malloc((size_t)LEVELS * TN_MSG_MAX);
        for (u32 i = 0; i < LEVELS; i++) {
            conn[i].fd = -1;
            conn[i].buf = conn->buf + (size_t)i * TN_MSG_MAX;
        }
        if (!conn->buf || pthread_setspecific(key, conn)) {
            free(conn->buf);
            free(conn);
            return -ENOMEM;
        }
    }
    for (u32 i = 0; conn->busy; i++) {
        /* In a forked child whose parent's thread was in a call, nobody is. */
        if (conn->pid != getpid())
            break;
        if (i + 1 == LEVELS)
            return -EAGAIN;
        conn++;
    }
    if (!is_mine(conn)) {
        conn_close(conn);
        fd = tn_broker_connect(err);
        if (fd < 0)
            return fd;
        /* Low numbers are the tool's: some count on getting the next one. */
        high = fcntl(fd, F_DUPFD_CLOEXEC, 400);
        if (high >= 0) {
            close(fd);
            fd = high;
        }
        if (fstat(fd, &st)) {
            close(fd);
            return -EIO;
        }
        conn->fd = fd;
        conn->pid = getpid();
        conn->ino = st.st_ino;
        conn->told = false;
        speaker = conn->pid;
    }
    *ret_conn = conn;
    return 0;
}

int tn_door_connect(struct tn_error *err)
{
    struct conn *conn;

    return conn_get(&conn, err);
}

/* ----------------------------------------------------------------------------------------------- the host */

static struct tn_ctl_host host;
static bool has_host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static struct tn_ctl_scope scope;
static struct tn_ctl_class klass;

static u32 read_pids(const char *text, s32 *ret_pids, u32 cap)
{
    char *end = NULL;
    u32 n = 0;

    while (n < cap) {
        ret_pids[n++] = (s32)strtol(text, &end, 10);
        if (*end != ',')
            break;
        text = end + 1;
    }
    return n;
}

static void host_from_environment(void)
{
    const char *pids = getenv("TENON_PIDS"), *text = getenv("TENON_HOST"), *name = getenv("TENON_CLASS");

    if (name)
        snprintf(klass.name, sizeof(klass.name), "%s", name);
    if (pids && *pids)
        scope.npids = read_pids(pids, scope.pid, TN_CTL_SCOPE_PIDS);
    if (!text || !*text)
        return;
    has_host = true;
    if (text[0] < '0' || text[0] > '9') {
        host.path = (u64)text;
        return;
    }
    host.npids = read_pids(text, host.pid, TN_CTL_HOST_PIDS);
}

bool tn_door_has_host(void)
{
    pthread_once(&host_once, host_from_environment);
    return has_host;
}

int tn_door_host(const struct tn_ctl_host *chosen, struct tn_ctl_hosted *ret_hosted)
{
    struct tn_ctl_hosted hosted;
    size_t len = sizeof(hosted);
    struct tn_answer answer = {&hosted, &len, -1};
    long r;

    (void)tn_door_has_host();
    r = tn_door_call(TN_CALL_CTL, TN_CTL_HOST, chosen, sizeof(*chosen), NULL, 0, &answer);
    if (r < 0)
        return (int)r;
    if (len != sizeof(hosted))
        return -EPROTO;
    host = *chosen;
    has_host = true;
    if (ret_hosted)
        *ret_hosted = hosted;
    return 0;
}

/* ----------------------------------------------------------------------------------------------- messages */

static int send_parts(struct conn *conn, const struct tn_msg *msg, const void *a, size_t a_len, const void *b,
                      size_t b_len, int fd)
{
    struct iovec iov[3] = {{(void *)msg, sizeof(*msg)}, {(void *)a, a_len}, {(void *)b, b_len}};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr head = {.msg_iov = iov, .msg_iovlen = 3};

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        head.msg_control = control;
        head.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&head);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    while (sendmsg(conn->fd, &head, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* Into conn->buf. *ret_fd: a descriptor that came along, or −1. */
static int receive(struct conn *conn, size_t *ret_len, int *ret_fd)
{
    struct iovec iov = {conn->buf, TN_MSG_MAX};
    char control[CMSG_SPACE(sizeof(int))];
    struct msghdr head = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t n;

    /* Asleep in poll, not in recvmsg: a tool may attach to itself, and it is this thread then that is
       borrowed by the injector, which leaves alone who sleeps in a call that cannot be begun anew exactly. */
    while ((n = recvmsg(conn->fd, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0 &&
           (errno == EAGAIN || errno == EINTR)) {
        struct pollfd wait = {conn->fd, POLLIN, 0};

        if (errno == EAGAIN)
            syscall(SYS_poll, &wait, 1ul, -1l);
    }
    *ret_fd = -1;
    if (n < 0)
        return -errno;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head); cmsg; cmsg = CMSG_NXTHDR(&head, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
            memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(int));
    if ((size_t)n < sizeof(struct tn_msg) || (head.msg_flags & MSG_TRUNC))
        return -ECONNRESET;
    *ret_len = (size_t)n - sizeof(struct tn_msg);
    return 0;
}

/* --------------------------------------------------------------------------------- the broker's questions */

static int copy_in(u64 addr, void *buf, size_t len)
{
    return tn_copy_in(buf, addr, len, NULL);
}

static int copy_out(u64 addr, const void *buf, size_t len)
{
    return tn_copy_out(addr, buf, len, NULL);
}

/* Up to and with the NUL, or max bytes; by pages, so that what lies behind the end need not be there. */
static int copy_str(u64 addr, char *buf, size_t max, size_t *ret_len)
{
    for (size_t at = 0; at < max;) {
        size_t piece = TN_MIN(max - at, TN_PAGE - (size_t)((addr + at) % TN_PAGE));
        const char *nul;
        int r = copy_in(addr + at, buf + at, piece);

        if (r)
            return r;
        nul = memchr(buf + at, '\0', piece);
        if (nul) {
            *ret_len = (size_t)(nul - buf) + 1;
            return 0;
        }
        at += piece;
    }
    *ret_len = max;
    return 0;
}

static int serve(struct conn *conn, size_t len)
{
    const size_t room = TN_MSG_MAX - sizeof(struct tn_msg);
    struct tn_msg question, answer = {.op = TN_MSG_BYTES};
    u8 *payload = conn->buf + sizeof(question);
    size_t out = 0;
    int fd = -1;

    memcpy(&question, conn->buf, sizeof(question));
    switch (question.op) {
    case TN_MSG_READ:
        if ((u32)question.b > room)
            return -EPROTO;
        if (question.b & TN_READ_STR) {
            answer.err = copy_str(question.a, (char *)payload, (u32)question.b, &out);
        } else {
            answer.err = copy_in(question.a, payload, (u32)question.b);
            out = (u32)question.b;
        }
        break;
    case TN_MSG_WRITE:
        answer.err = copy_out(question.a, payload, len);
        break;
    case TN_MSG_FD:
        fd = (int)(s64)question.a;
        if (fcntl(fd, F_GETFD) < 0) {
            answer.err = -EBADF;
            fd = -1;
        }
        break;
    default:
        return -EPROTO;
    }
    return send_parts(conn, &answer, payload, answer.err ? 0 : out, NULL, 0, fd);
}

static long call_now(u32 call, u64 number, const void *head, size_t head_len, const void *tail,
                     size_t tail_len, struct tn_answer *answer)
{
    struct tn_msg msg = {.op = TN_MSG_CALL, .a = call, .b = number}, done;
    struct conn *conn;
    size_t len = 0;
    struct tn_error err = {0};
    int r = conn_get(&conn, &err), fd = -1;

    if (r && getenv("TENON_EXPLAIN"))
        dprintf(2, "tenon: %s: %s\n", err.reason, err.message);
    if (r)
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EAGAIN ? r : -ENOSYS;
    conn->busy = true;
    r = send_parts(conn, &msg, head, head_len, tail, tail_len, -1);
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN) {
        /* That broker left while nothing needed it; the call has not begun. */
        conn_close(conn);
        conn->busy = false;
        r = conn_get(&conn, NULL);
        if (r)
            return -ENOSYS;
        conn->busy = true;
        r = send_parts(conn, &msg, head, head_len, tail, tail_len, -1);
    }
    while (!r) {
        r = receive(conn, &len, &fd);
        if (r)
            break;
        memcpy(&done, conn->buf, sizeof(done));
        if (done.op == TN_MSG_DONE)
            goto done;
        if (fd >= 0)
            close(fd);
        r = serve(conn, len);
    }
    /* The broker has gone in the middle of a call: what it did is gone with it. */
    conn_close(conn);
    conn->busy = false;
    return -EIO;

done:
    if (answer && answer->len) {
        *answer->len = TN_MIN(len, *answer->len);
        memcpy(answer->payload, conn->buf + sizeof(done), *answer->len);
    }
    conn->busy = false;
    if (done.err < 0 || !done.a) {
        if (fd >= 0)
            close(fd);
        return done.err;
    }
    if (fd < 0)
        return -EMFILE; /* it was sent, and could not be received: no number was free */
    if (answer) {
        answer->fd = fd;
        return done.err;
    }
    return fd;
}

long tn_door_call(u32 call, u64 number, const void *head, size_t head_len, const void *tail, size_t tail_len,
                  struct tn_answer *answer)
{
    struct conn *conn;

    bool chosen = tn_door_has_host();

    if ((chosen || scope.npids || klass.name[0]) &&
        !(call == TN_CALL_CTL &&
          (number == TN_CTL_HOST || number == TN_CTL_SCOPE || number == TN_CTL_CLASS)) &&
        !conn_get(&conn, NULL) && !conn->told) {
        conn->told =
            true; /* once, whatever comes of it: a host that cannot be had shows in what is asked next */
        if (klass.name[0])
            (void)call_now(TN_CALL_CTL, TN_CTL_CLASS, &klass, sizeof(klass), NULL, 0, NULL);
        if (scope.npids)
            (void)call_now(TN_CALL_CTL, TN_CTL_SCOPE, &scope, sizeof(scope), NULL, 0, NULL);
        if (chosen)
            (void)call_now(TN_CALL_CTL, TN_CTL_HOST, &host, sizeof(host), NULL, 0, NULL);
    }
    return call_now(call, number, head, head_len, tail, tail_len, answer);
}
