/* SPDX-License-Identifier: MIT */
/* Datagrams with descriptors, between broker, injector and guardian; see unix(7). */
#include "inject/order.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

ssize_t tn_send(int sock, const void *a, size_t alen, const void *b, size_t blen, const int *fds, u32 nfds)
{
    struct iovec iov[2] = {{(void *)a, alen}, {(void *)b, blen}};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * TN_FDS_MAX)];
        struct cmsghdr align;
    } ctl = {};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    if (nfds > TN_FDS_MAX)
        return -E2BIG;
    if (nfds) {
        struct cmsghdr *c;

        msg.msg_control = ctl.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t tn_recv(int sock, void *ret_bytes, size_t cap, int *ret_fds, u32 *ret_nfds)
{
    struct iovec iov = {ret_bytes, cap};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * TN_FDS_MAX)];
        struct cmsghdr align;
    } ctl;
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.bytes, .msg_controllen = sizeof(ctl)};
    int fds[TN_FDS_MAX];
    u32 nfds = 0;
    ssize_t n;

    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (ret_fds && nfds < TN_FDS_MAX)
                fds[nfds++] = fd;
            else
                close(fd);
        }
    }
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (nfds)
            close(fds[--nfds]);
        return -EMSGSIZE;
    }
    if (ret_fds)
        memcpy(ret_fds, fds, nfds * sizeof(int));
    if (ret_nfds)
        *ret_nfds = nfds;
    return n;
}
