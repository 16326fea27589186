/* SPDX-License-Identifier: MIT */
/*
 * Finding the broker, and starting it when there is none.
 *
 *   connect ── works ──▶ done
 *      │ nobody there
 *   lock (flock on PATH.lock) ─ connect again: somebody else may have been faster
 *      │
 *   bind, listen ─ fork, fork, setsid, exec "EXE broker" with the socket as descriptor 3
 *      │
 *   unlock, connect: the socket listens from the moment it has its name, so nobody ever waits for the broker
 *                    to be ready
 *
 * The broker inherits nothing else: no descriptor, no environment but a few names of ours, no directory, no
 * terminal. Whoever can replace the socket can be the broker, so its directory must be ours and closed to
 * others.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "broker/broker.h"
#include "broker/proto.h"

#define CONNECT_TRIES 20
#define START_MS      10000 /* the longest a broker may take until it serves */

/* ---------------------------------------------------------------------------------------------- the place */

static int make_dir(const char *path, struct tn_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) && errno != EEXIST)
        return tn_fail(err, -errno, "socket_dir", "%s cannot be made: %s", path, strerror(errno));
    if (lstat(path, &st))
        return tn_fail(err, -errno, "socket_dir", "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 0077))
        return tn_fail(err, -EPERM, "socket_dir",
                       "%s must be a directory of user %u that nobody else may enter (mode 0700)", path,
                       getuid());
    return 0;
}

int tn_broker_socket_path(char *ret_path, size_t cap, struct tn_error *err)
{
    const char *named = getenv("TENON_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int n, r;

    if (named && named[0]) {
        n = snprintf(ret_path, cap, "%s", named);
        if (n < 0 || (size_t)n >= cap || (size_t)n >= sizeof(dir))
            return tn_fail(err, -ENAMETOOLONG, "socket_path", "$TENON_SOCKET is too long for a socket: %s",
                           named);
        return 0;
    }
    if (getuid() == 0)
        n = snprintf(dir, sizeof(dir), "/run/tenon");
    else if (runtime && runtime[0] == '/' && !access(runtime, W_OK))
        n = snprintf(dir, sizeof(dir), "%s/tenon", runtime);
    else
        n = snprintf(dir, sizeof(dir), "/tmp/tenon-%u", getuid());
    if (n < 0 || (size_t)n + sizeof("/broker.sock") > sizeof(dir) || (size_t)n + sizeof("/broker.sock") > cap)
        return tn_fail(err, -ENAMETOOLONG, "socket_path", "the path of the broker's socket is too long");
    r = make_dir(dir, err);
    if (r)
        return r;
    snprintf(ret_path, cap, "%s/broker.sock", dir);
    return 0;
}

static void fill_addr(struct sockaddr_un *addr, const char *path)
{
    memset(addr, 0, sizeof(*addr));
    addr->sun_family = AF_UNIX;
    memcpy(addr->sun_path, path, strnlen(path, sizeof(addr->sun_path) - 1));
}

static int try_connect(const char *path, int *ret_fd)
{
    _close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr;

    if (fd < 0)
        return -errno;
    fill_addr(&addr, path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return -errno;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

/* -------------------------------------------------------------------------------------------------- hello */

static int hello(int fd, const char *path, struct tn_error *err)
{
    struct tn_msg msg = {.op = TN_MSG_HELLO, .a = TN_PROTO_VERSION, .b = (u64)getpid()};
    struct timeval bound = {.tv_sec = 10};
    struct ucred cred;
    socklen_t len = sizeof(cred);
    ssize_t n;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || (cred.uid != getuid() && cred.uid != 0))
        return tn_fail(err, -EPERM, "foreign_broker", "%s is served by another user", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    do
        n = send(fd, &msg, sizeof(msg), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -ECONNRESET;
    do
        n = recv(fd, &msg, sizeof(msg), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return tn_fail(err, -ETIMEDOUT, "broker_silent", "the broker at %s does not answer", path);
    if (n <= 0)
        return -ECONNRESET;
    if (n != sizeof(msg) || msg.op != TN_MSG_HELLO)
        return tn_fail(err, -EPROTO, "no_broker", "what answers at %s is no broker", path);
    if (msg.a != TN_PROTO_VERSION)
        return tn_fail(
            err, -EPROTONOSUPPORT, "broker_version",
            "the broker at %s (process %llu) speaks version %llu, this program %u: end it and try again",
            path, (unsigned long long)msg.b, (unsigned long long)msg.a, TN_PROTO_VERSION);
    bound.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    return 0;
}

/* -------------------------------------------------------------------------------------------------- start */

/* There in programs that can be the broker themselves (`tenon`), NULL in other people's tools. */
extern int tn_broker_main(int argc, char **argv) __attribute__((weak));

static int executable(char *ret_path, size_t cap)
{
    const char *named = getenv("TENON_EXE");
    ssize_t n;

    if (named && named[0])
        return (size_t)snprintf(ret_path, cap, "%s", named) < cap ? 0 : -ENAMETOOLONG;
    if (!tn_broker_main)
        return -ENOENT;
    n = readlink("/proc/self/exe", ret_path, cap - 1);
    if (n < 0)
        return -errno;
    ret_path[n] = '\0';
    return 0;
}

/* What of our environment a broker gets. */
static const char *const kept[] = {"TENON_LINGER_MS", "TENON_POLICY",   "TENON_JOURNAL",  "XDG_RUNTIME_DIR",
                                   "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME",
                                   "TENON_DEBUG",     "ASAN_OPTIONS"};

struct start {
    int listen, told; /* `told`: write end of a pipe for why there is no broker; closed once there is one */
    const char *exe;
    char *env[TN_ARRAY_SIZE(kept) + 4]; /* socket, told, PATH, NULL */
};

/* Between fork and exec: other threads may hold any lock, so nothing but system calls. */
static void become_broker(const struct start *start)
{
    char *argv[] = {(char *)start->exe, "broker", NULL};
    int null, told = start->told, listen = start->listen;
    struct tn_told why = {0};
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    setsid();
    for (int sig = 1; sig < 32; sig++)
        sigaction(sig, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/"))
        goto fail;
    null = open("/dev/null", O_RDWR);
    if (null < 0)
        goto fail;
    /* Out of the way of the numbers they are to have. */
    told = fcntl(told, F_DUPFD_CLOEXEC, 10);
    listen = fcntl(listen, F_DUPFD_CLOEXEC, 10);
    null = fcntl(null, F_DUPFD_CLOEXEC, 10);
    if (told < 0 || listen < 0 || null < 0)
        goto fail;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(null, fd) < 0)
            goto fail;
    if (dup2(listen, TN_LISTEN_FD) < 0 || dup2(told, TN_TOLD_FD) < 0)
        goto fail;
    told = TN_TOLD_FD;
    syscall(SYS_close_range, TN_TOLD_FD + 1u, ~0u, 0u);
    execve(start->exe, argv, start->env);
fail:
    why.err = -errno;
    (void)!write(told, &why, sizeof(why));
    _exit(127);
}

/* A daemon that nobody has to wait for: grandchild of the starter. */
static int spawn(const struct start *start, int told_read, struct tn_error *err)
{
    struct pollfd told = {.fd = told_read, .events = POLLIN};
    struct tn_told why = {0};
    int status;
    pid_t child = fork();

    if (child < 0)
        return tn_fail(err, -errno, "broker_start", "no process for the broker: %s", strerror(errno));
    if (!child) {
        pid_t grandchild = fork();

        if (!grandchild)
            become_broker(start);
        if (grandchild < 0) {
            why.err = -errno;
            (void)!write(start->told, &why, sizeof(why));
        }
        _exit(0);
    }
    close(start->told);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    /* What is named by $TENON_EXE may know nothing of the pipe, and keep it. */
    if (poll(&told, 1, START_MS) <= 0 || read(told_read, &why, sizeof(why)) != sizeof(why) || !why.err)
        return 0;
    why.why.reason[sizeof(why.why.reason) - 1] = why.why.message[sizeof(why.why.message) - 1] = '\0';
    if (why.why.reason[0])
        return tn_fail(err, why.err, why.why.reason, "%s", why.why.message);
    return tn_fail(err, why.err, "broker_start", "%s cannot be run as the broker: %s (set $TENON_EXE)",
                   start->exe, strerror(-why.err));
}

static int start_broker(const char *path, struct tn_error *err)
{
    char exe[4096], socket_env[128];
    char kept_env[TN_ARRAY_SIZE(kept)][512];
    _close_ int probe = -1, listen_fd = -1, told_read = -1;
    struct start start = {.exe = exe};
    struct sockaddr_un addr;
    struct stat st;
    int pipe_fds[2], r = executable(exe, sizeof(exe));
    mode_t mask;
    u32 n = 0;

    if (r)
        return tn_fail(err, r, "broker_start",
                       "no broker runs, and $TENON_EXE does not say what to start as one (`tenon run` does)");
    /* A broker without it ends at once, and could tell nobody why. */
    probe = memfd_create("tenon", MFD_CLOEXEC);
    if (probe < 0)
        return tn_fail(err, -errno, "no_memfd", "no memory can be made to share (memfd_create): %s",
                       strerror(errno));
    listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listen_fd < 0)
        return tn_fail(err, -errno, "no_descriptors", "no socket can be made for a broker: %s",
                       strerror(errno));
    fill_addr(&addr, path);
    if (!lstat(path, &st) && !S_ISSOCK(st.st_mode))
        return tn_fail(err, -EEXIST, "socket_path", "%s is there and is no socket: it is left alone", path);
    unlink(path);
    mask = umask(0177);
    r = bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
    umask(mask);
    if (r)
        return tn_fail(err, r, "socket_bind", "%s cannot be made: %s", path, strerror(-r));
    if (listen(listen_fd, 128) || pipe2(pipe_fds, O_CLOEXEC)) {
        r = -errno;
        unlink(path);
        return r;
    }
    told_read = pipe_fds[0];
    start.listen = listen_fd;
    start.told = pipe_fds[1];
    snprintf(socket_env, sizeof(socket_env), "TENON_SOCKET=%s", path);
    start.env[n++] = socket_env;
    start.env[n++] = (char *)"TENON_TOLD=1";
    start.env[n++] = (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (u32 i = 0; i < TN_ARRAY_SIZE(kept); i++) {
        const char *value = getenv(kept[i]);

        if (value &&
            (size_t)snprintf(kept_env[i], sizeof(kept_env[i]), "%s=%s", kept[i], value) < sizeof(kept_env[i]))
            start.env[n++] = kept_env[i];
    }
    r = spawn(&start, told_read, err);
    if (r)
        unlink(path);
    return r;
}

static int locked_start(const char *path, struct tn_error *err)
{
    char lock_path[128];
    _close_ int lock = -1, fd = -1;

    snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
    lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return tn_fail(err, -errno, "socket_lock", "%s: %s", lock_path, strerror(errno));
    while (flock(lock, LOCK_EX))
        if (errno != EINTR)
            return tn_fail(err, -errno, "socket_lock", "%s: %s", lock_path, strerror(errno));
    if (!try_connect(path, &fd))
        return 0; /* somebody was faster */
    return start_broker(path, err);
}

static int connect_to(bool may_start, struct tn_error *err)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int r = tn_broker_socket_path(path, sizeof(path), err);

    if (r)
        return r;
    /* Again when the broker that was found is just leaving. */
    for (int i = 0; i < CONNECT_TRIES; i++) {
        _close_ int fd = -1;

        r = try_connect(path, &fd);
        if (r == -ENOENT || r == -ECONNREFUSED) {
            if (!may_start)
                return tn_fail(err, -ENOENT, "no_broker", "no broker answers at %s", path);
            r = locked_start(path, err);
            if (r)
                return r;
            continue;
        }
        if (r)
            return tn_fail(err, r, "broker_connect", "%s: %s", path, strerror(-r));
        r = hello(fd, path, err);
        if (r == -ECONNRESET && !(err && err->reason[0])) {
            usleep(20000);
            continue;
        }
        return r ? r : TN_TAKE_FD(fd);
    }
    return tn_fail(err, -ECONNREFUSED, "broker_gone", "the broker at %s ends as soon as it is started", path);
}

int tn_broker_connect(struct tn_error *err)
{
    return connect_to(true, err);
}

int tn_broker_connect_running(struct tn_error *err)
{
    return connect_to(false, err);
}
