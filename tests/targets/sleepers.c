/* SPDX-License-Identifier: MIT */
/*
 * A hundred threads, each asleep in a system call that would tell if somebody disturbed it, while others call
 * `hooked`, are born and die. Two sorts of sleep:
 *
 *   F  for ever: one call that lasts until `release`, and must then bring exactly what released it
 *   T  timed: again and again; never an error but the timeout's own, never early. One that ends
 *      later than it should, by more than the thread waited for a processor, has begun anew: its timeout is
 *      relative, nobody keeps what is left of it, and somebody has ended its sleep and made it start again. That
 *      is told and counted, and is no disturbance of the kinds of which it is known (threads.py). These threads have
 *      the name "timed".
 *
 * Obeys lines on standard input:
 *   run | rest      the four callers call `hooked` all the time | stop; rest answers how often they have
 *                   since `run`
 *   calls N         each of the four makes N calls; answers when all are made
 *   churn 1|0       a thread that makes and joins threads, each of which calls once | stops; answers their
 *                   calls
 *   release         ends all sleeps; answers "disturbed N, naps N, anew N", and what was disturbed or has begun
 *                   anew on standard error
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANEW_NS 50000000ll /* more than anybody is held for, less than most have slept when they begin anew */
#define BIG     (4u << 20)

uint64_t hooked(uint64_t a, uint64_t b);
static volatile int released;
static uint64_t disturbed, naps, anew;
static char folder[64];

__attribute__((noinline)) uint64_t hooked(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a * 3 + (b ^ 0x55);
}

/* Called through here, so that no compiler makes a version of it for a known argument. */
static uint64_t (*volatile function)(uint64_t, uint64_t) = hooked;

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "%s\n", text);
    __atomic_add_fetch(&disturbed, 1, __ATOMIC_RELAXED);
}

/* One sleeper: what its kind needs, prepared before it sleeps. */
struct sleeper {
    const struct kind *kind;
    pthread_t thread;
    int a, b; /* descriptors, ids */
    pid_t child;
    int word;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    sem_t sem;
    aio_context_t aio;
    struct timespec wait;
    int64_t ms;
};

struct kind {
    const char *name;
    int (*prepare)(struct sleeper *s); /* −1: this machine has it not */
    long (*sleep)(struct sleeper *s);  /* result; negative: −errno */
    void (*release)(struct sleeper *s);
    long wanted; /* F: of the one call; T: of each */
    int timed;
};

static long said(long result)
{
    return result < 0 ? -errno : result;
}

static int nothing(struct sleeper *s)
{
    return 0;
}

/* ------------------------------------------------------------------------------------ futex, libc's locks */

static long futex_f(struct sleeper *s)
{
    return said(syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
}
static void futex_release(struct sleeper *s)
{
    __atomic_store_n(&s->word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static long futex_t(struct sleeper *s)
{
    return said(syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, &s->wait, NULL, 0));
}
static int mutex_prepare(struct sleeper *s)
{
    return pthread_mutex_lock(&s->mutex);
}
static long mutex_f(struct sleeper *s)
{
    return pthread_mutex_lock(&s->mutex);
}
static void mutex_release(struct sleeper *s)
{
    pthread_mutex_unlock(&s->mutex);
}
static struct timespec deadline(const struct sleeper *s)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += s->wait.tv_nsec;
    ts.tv_sec += s->wait.tv_sec + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}
static long cond_t(struct sleeper *s)
{
    struct timespec until = deadline(s);
    int r;

    pthread_mutex_lock(&s->mutex);
    r = pthread_cond_timedwait(&s->cond, &s->mutex, &until);
    pthread_mutex_unlock(&s->mutex);
    return -r;
}
static long sem_f(struct sleeper *s)
{
    return said(sem_wait(&s->sem));
}
static void sem_release(struct sleeper *s)
{
    sem_post(&s->sem);
}
static long sem_t_(struct sleeper *s)
{
    struct timespec until = deadline(s);

    return said(sem_timedwait(&s->sem, &until));
}

/* ------------------------------------------------------------------------------------------------- clocks */

static long nanosleep_t(struct sleeper *s)
{
    return said(syscall(SYS_nanosleep, &s->wait, NULL));
}
static long clock_t_(struct sleeper *s)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += s->wait.tv_nsec;
    ts.tv_sec += s->wait.tv_sec + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}
static int timer_prepare(struct sleeper *s)
{
    return s->a = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}
static long timer_t_(struct sleeper *s)
{
    struct itimerspec when = {.it_value = s->wait};
    uint64_t n = 0;

    timerfd_settime(s->a, 0, &when, NULL);
    return said(read(s->a, &n, sizeof(n)));
}

/* -------------------------------------------------------------------------------- waiting for descriptors */

static int pipe_prepare(struct sleeper *s)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    s->a = ends[0];
    s->b = ends[1];
    return 0;
}
static void byte_release(struct sleeper *s)
{
    if (write(s->b, "x", 1) != 1)
        complain("%s: could not be released", s->kind->name);
}
static long poll_f(struct sleeper *s)
{
    struct pollfd p = {.fd = s->a, .events = POLLIN};

    return said(poll(&p, 1, -1));
}
static long poll_t(struct sleeper *s)
{
    struct pollfd p = {.fd = s->a, .events = POLLIN};

    return said(poll(&p, 1, (int)s->ms));
}
static long ppoll_t(struct sleeper *s)
{
    struct pollfd p = {.fd = s->a, .events = POLLIN};

    return said(ppoll(&p, 1, &s->wait, NULL));
}
static long ppoll_f(struct sleeper *s)
{
    struct pollfd p = {.fd = s->a, .events = POLLIN};
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return said(ppoll(&p, 1, NULL, &mask));
}
static long select_of(struct sleeper *s, struct timeval *tv)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(s->a, &set);
    return said(select(s->a + 1, &set, NULL, NULL, tv));
}
static long select_f(struct sleeper *s)
{
    return select_of(s, NULL);
}
static long select_t(struct sleeper *s)
{
    struct timeval tv = {.tv_sec = s->wait.tv_sec, .tv_usec = s->wait.tv_nsec / 1000 + 1};

    return select_of(s, &tv);
}
static long pselect_t(struct sleeper *s)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(s->a, &set);
    return said(pselect(s->a + 1, &set, NULL, NULL, &s->wait, NULL));
}
static int epoll_prepare(struct sleeper *s)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0 || pipe_prepare(s) < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, s->a, &event) < 0)
        return -1;
    s->a = fd;
    return 0;
}
static long epoll_f(struct sleeper *s)
{
    struct epoll_event event;

    return said(epoll_wait(s->a, &event, 1, -1));
}
static long epoll_t(struct sleeper *s)
{
    struct epoll_event event;

    return said(epoll_wait(s->a, &event, 1, (int)s->ms));
}
static long epoll_pwait_t(struct sleeper *s)
{
    struct epoll_event event;
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return said(epoll_pwait(s->a, &event, 1, (int)s->ms, &mask));
}

/* ------------------------------------------------------------------------------------------- data, slowly */

static long read_f(struct sleeper *s)
{
    char byte;

    return said(read(s->a, &byte, 1));
}
static int eventfd_prepare(struct sleeper *s)
{
    return s->a = s->b = eventfd(0, EFD_CLOEXEC);
}
static long eventfd_f(struct sleeper *s)
{
    uint64_t n;

    return said(read(s->a, &n, sizeof(n)));
}
static void eventfd_release(struct sleeper *s)
{
    uint64_t one = 1;

    if (write(s->b, &one, sizeof(one)) != sizeof(one))
        complain("eventfd: could not be released");
}
/* More than fits: sleeps in the middle, and must not come back short. */
static long write_f(struct sleeper *s)
{
    char *bytes = calloc(1, BIG);
    long n = said(write(s->b, bytes, BIG));

    free(bytes);
    return n;
}
static long send_f(struct sleeper *s)
{
    char *bytes = calloc(1, BIG);
    long n = said(send(s->b, bytes, BIG, 0));

    free(bytes);
    return n;
}
static void drain_release(struct sleeper *s)
{
    static char bytes[65536];

    for (long sum = 0, n; sum < (long)BIG; sum += n) {
        n = read(s->a, bytes, sizeof(bytes));
        if (n <= 0)
            break;
    }
}
static int pair_prepare(struct sleeper *s)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    s->a = ends[0];
    s->b = ends[1];
    return 0;
}
static long recv_f(struct sleeper *s)
{
    char byte;

    return said(recv(s->a, &byte, 1, 0));
}
static int timeout_of(struct sleeper *s)
{
    struct timeval tv = {.tv_sec = s->wait.tv_sec, .tv_usec = s->wait.tv_nsec / 1000};

    return setsockopt(s->a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}
static int recv_t_prepare(struct sleeper *s)
{
    return pair_prepare(s) < 0 ? -1 : timeout_of(s);
}
static int listen_prepare(struct sleeper *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    s->a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->a < 0 || bind(s->a, (struct sockaddr *)&at, sizeof(at)) < 0)
        return -1;
    return listen(s->a, 1);
}
static long accept_f(struct sleeper *s)
{
    int fd = accept4(s->a, NULL, NULL, SOCK_CLOEXEC);

    return fd < 0 ? -errno : 0;
}
static void accept_release(struct sleeper *s)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    getsockname(s->a, (struct sockaddr *)&at, &len);
    if (connect(fd, (struct sockaddr *)&at, len) < 0)
        complain("accept: could not be released: %s", strerror(errno));
}
static int accept_t_prepare(struct sleeper *s)
{
    return listen_prepare(s) < 0 ? -1 : timeout_of(s);
}
static int datagram_prepare(struct sleeper *s)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    s->a = ends[0];
    s->b = ends[1];
    return 0;
}
static long recvmmsg_f(struct sleeper *s)
{
    char byte[2];
    struct iovec iov[2] = {{&byte[0], 1}, {&byte[1], 1}};
    struct mmsghdr msg[2] = {{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}},
                             {.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};

    return said(recvmmsg(s->a, msg, 2, MSG_WAITFORONE, NULL));
}
/* A full backlog: whoever connects waits. */
static int connect_prepare(struct sleeper *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd, other;

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/%p", folder, (void *)s);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 0) < 0)
        return -1;
    other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(other, (struct sockaddr *)&at, sizeof(at)) < 0)
        return -1;
    s->a = fd;
    s->b = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return 0;
}
static long connect_f(struct sleeper *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/%p", folder, (void *)s);
    return said(connect(s->b, (struct sockaddr *)&at, sizeof(at)));
}
static void connect_release(struct sleeper *s)
{
    accept4(s->a, NULL, NULL, SOCK_CLOEXEC);
}
static int fifo_prepare(struct sleeper *s)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/fifo-%p", folder, (void *)s);
    return mkfifo(path, 0600);
}
static long fifo_f(struct sleeper *s)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/fifo-%p", folder, (void *)s);
    s->a = open(path, O_RDONLY | O_CLOEXEC);
    return s->a < 0 ? -errno : 0;
}
static void fifo_release(struct sleeper *s)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/fifo-%p", folder, (void *)s);
    s->b = open(path, O_WRONLY | O_CLOEXEC);
}
static int splice_prepare(struct sleeper *s)
{
    if (pipe_prepare(s) < 0)
        return -1;
    s->word = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return s->word;
}
static long splice_f(struct sleeper *s)
{
    return said(splice(s->a, NULL, s->word, NULL, 1, 0));
}
static int aio_prepare(struct sleeper *s)
{
    return (int)syscall(SYS_io_setup, 1, &s->aio);
}
static long aio_t(struct sleeper *s)
{
    struct io_event event;

    return said(syscall(SYS_io_getevents, s->aio, 1L, 1L, &event, &s->wait));
}

/* ---------------------------------------------------------------------------- signals, System V, children */

/* SIGUSR2 is blocked everywhere: it is only ever waited for. */
static sigset_t usr2(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return set;
}
static long sigwait_f(struct sleeper *s)
{
    sigset_t set = usr2();

    return said(sigwaitinfo(&set, NULL));
}
static void sigwait_release(struct sleeper *s)
{
    pthread_kill(s->thread, SIGUSR2);
}
static long sigwait_t(struct sleeper *s)
{
    sigset_t set = usr2();

    return said(sigtimedwait(&set, NULL, &s->wait));
}
static long pause_f(struct sleeper *s)
{
    long r = said(pause());

    return released ? r : -EIO;
}
static long sigsuspend_f(struct sleeper *s)
{
    sigset_t set;
    long r;

    pthread_sigmask(SIG_SETMASK, NULL, &set);
    r = said(sigsuspend(&set));
    return released ? r : -EIO;
}
static void handler_release(struct sleeper *s)
{
    pthread_kill(s->thread, SIGUSR1);
}
static int semop_prepare(struct sleeper *s)
{
    return s->a = semget(IPC_PRIVATE, 1, 0600);
}
static long semop_f(struct sleeper *s)
{
    struct sembuf op = {.sem_op = -1};

    return said(semop(s->a, &op, 1));
}
static long semop_t(struct sleeper *s)
{
    struct sembuf op = {.sem_op = -1};

    return said(semtimedop(s->a, &op, 1, &s->wait));
}
static void semop_release(struct sleeper *s)
{
    struct sembuf op = {.sem_op = 1};

    semop(s->a, &op, 1);
}
static int msg_prepare(struct sleeper *s)
{
    return s->a = msgget(IPC_PRIVATE, 0600);
}
static long msg_f(struct sleeper *s)
{
    struct {
        long type;
        char byte;
    } msg;

    return said(msgrcv(s->a, &msg, 1, 0, 0));
}
static void msg_release(struct sleeper *s)
{
    struct {
        long type;
        char byte;
    } msg = {1, 'x'};

    msgsnd(s->a, &msg, 1, 0);
}
static int mq_prepare(struct sleeper *s)
{
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    char name[64];

    snprintf(name, sizeof(name), "/tenon-sleepers-%d-%p", getpid(), (void *)s);
    s->a = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
    mq_unlink(name);
    return s->a;
}
static long mq_t(struct sleeper *s)
{
    struct timespec until = deadline(s);
    char bytes[8];

    return said(mq_timedreceive(s->a, bytes, sizeof(bytes), NULL, &until));
}
static int child_prepare(struct sleeper *s)
{
    s->child = fork();
    if (s->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return s->child;
}
static long wait_f(struct sleeper *s)
{
    long r = said(wait4(s->child, NULL, 0, NULL));

    return r == s->child ? 0 : r;
}
static long waitid_f(struct sleeper *s)
{
    siginfo_t info;

    return said(waitid(P_PID, (id_t)s->child, &info, WEXITED));
}
static void child_release(struct sleeper *s)
{
    kill(s->child, SIGKILL);
}
static int lock_prepare(struct sleeper *s)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/lock-%p", folder, (void *)s);
    s->a = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    s->b = open(path, O_RDWR | O_CLOEXEC);
    return s->b;
}
static int flock_prepare(struct sleeper *s)
{
    return lock_prepare(s) < 0 ? -1 : flock(s->a, LOCK_EX);
}
static long flock_f(struct sleeper *s)
{
    return said(flock(s->b, LOCK_EX));
}
static void flock_release(struct sleeper *s)
{
    flock(s->a, LOCK_UN);
}
static int ofd_prepare(struct sleeper *s)
{
    struct flock lock = {.l_type = F_WRLCK};

    return lock_prepare(s) < 0 ? -1 : fcntl(s->a, F_OFD_SETLK, &lock);
}
static long ofd_f(struct sleeper *s)
{
    struct flock lock = {.l_type = F_WRLCK};

    return said(fcntl(s->b, F_OFD_SETLKW, &lock));
}
static void ofd_release(struct sleeper *s)
{
    struct flock lock = {.l_type = F_UNLCK};

    fcntl(s->a, F_OFD_SETLK, &lock);
}

// clang-format off
static const struct kind kinds[] = {
    /* name                 prepare           sleep          release          result         timed */
    {"futex",               nothing,          futex_f,       futex_release,   0,             0},
    {"futex, timed",        nothing,          futex_t,       NULL,            -ETIMEDOUT,    1},
    {"mutex",               mutex_prepare,    mutex_f,       mutex_release,   0,             0},
    {"condition, timed",    nothing,          cond_t,        NULL,            -ETIMEDOUT,    1},
    {"semaphore",           nothing,          sem_f,         sem_release,     0,             0},
    {"semaphore, timed",    nothing,          sem_t_,        NULL,            -ETIMEDOUT,    1},
    {"nanosleep",           nothing,          nanosleep_t,   NULL,            0,             1},
    {"clock_nanosleep",     nothing,          clock_t_,      NULL,            0,             1},
    {"read of a timer",     timer_prepare,    timer_t_,      NULL,            8,             1},
    {"poll",                pipe_prepare,     poll_f,        byte_release,    1,             0},
    {"poll, timed",         pipe_prepare,     poll_t,        NULL,            0,             1},
    {"ppoll",               pipe_prepare,     ppoll_f,       byte_release,    1,             0},
    {"ppoll, timed",        pipe_prepare,     ppoll_t,       NULL,            0,             1},
    {"select",              pipe_prepare,     select_f,      byte_release,    1,             0},
    {"select, timed",       pipe_prepare,     select_t,      NULL,            0,             1},
    {"pselect, timed",      pipe_prepare,     pselect_t,     NULL,            0,             1},
    {"epoll_wait",          epoll_prepare,    epoll_f,       byte_release,    1,             0},
    {"epoll_wait, timed",   epoll_prepare,    epoll_t,       NULL,            0,             1},
    {"epoll_pwait, timed",  epoll_prepare,    epoll_pwait_t, NULL,            0,             1},
    {"read of a pipe",      pipe_prepare,     read_f,        byte_release,    1,             0},
    {"read of an eventfd",  eventfd_prepare,  eventfd_f,     eventfd_release, 8,             0},
    {"write to a pipe",     pipe_prepare,     write_f,       drain_release,   BIG,           0},
    {"send",                pair_prepare,     send_f,        drain_release,   BIG,           0},
    {"recv",                pair_prepare,     recv_f,        byte_release,    1,             0},
    {"recv, timed",         recv_t_prepare,   recv_f,        NULL,            -EAGAIN,       1},
    {"recvmmsg",            datagram_prepare, recvmmsg_f,    byte_release,    1,             0},
    {"accept",              listen_prepare,   accept_f,      accept_release,  0,             0},
    {"accept, timed",       accept_t_prepare, accept_f,      NULL,            -EAGAIN,       1},
    {"connect",             connect_prepare,  connect_f,     connect_release, 0,             0},
    {"open of a fifo",      fifo_prepare,     fifo_f,        fifo_release,    0,             0},
    {"splice",              splice_prepare,   splice_f,      byte_release,    1,             0},
    {"io_getevents, timed", aio_prepare,      aio_t,         NULL,            0,             1},
    {"sigwaitinfo",         nothing,          sigwait_f,     sigwait_release, SIGUSR2,       0},
    {"sigtimedwait, timed", nothing,          sigwait_t,     NULL,            -EAGAIN,       1},
    {"pause",               nothing,          pause_f,       handler_release, -EINTR,        0},
    {"sigsuspend",          nothing,          sigsuspend_f,  handler_release, -EINTR,        0},
    {"semop",               semop_prepare,    semop_f,       semop_release,   0,             0},
    {"semtimedop, timed",   semop_prepare,    semop_t,       NULL,            -EAGAIN,       1},
    {"msgrcv",              msg_prepare,      msg_f,         msg_release,     1,             0},
    {"mq_receive, timed",   mq_prepare,       mq_t,          NULL,            -ETIMEDOUT,    1},
    {"wait4",               child_prepare,    wait_f,        child_release,   0,             0},
    {"waitid",              child_prepare,    waitid_f,      child_release,   0,             0},
    {"flock",               flock_prepare,    flock_f,       flock_release,   0,             0},
    {"fcntl lock",          ofd_prepare,      ofd_f,         ofd_release,     0,             0},
};
// clang-format on
#define NKINDS    (sizeof(kinds) / sizeof(kinds[0]))
#define NSLEEPERS 100

static struct sleeper sleepers[NSLEEPERS];
static pthread_barrier_t all_here; /* with their descriptors */

/* For how long this thread was awake without a processor: the second number. `fd` is the thread's own, open all the time: what
   the descriptors of the process are does not change. */
static int64_t waited(int fd)
{
    char text[96] = "";
    int64_t ns = 0;

    if (pread(fd, text, sizeof(text) - 1, 0) > 0)
        (void)sscanf(text, "%*d %" SCNd64, &ns);
    return ns;
}

static void *sleeper(void *arg)
{
    struct sleeper *s = arg;
    int stat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);

    if (stat < 0)
        complain("no schedstat: %s", strerror(errno));
    pthread_barrier_wait(&all_here);
    if (s->kind->timed)
        prctl(PR_SET_NAME, "timed");
    do {
        int64_t before = waited(stat), begun = now(), took, late;
        long r = s->kind->sleep(s);

        took = now() - begun;
        late = took - (waited(stat) - before) - s->ms * 1000000;
        if (s->kind->timed && late > ANEW_NS) {
            fprintf(stderr, "began anew: %s: ended %.1f ms late\n", s->kind->name, (double)late / 1e6);
            __atomic_add_fetch(&anew, 1, __ATOMIC_RELAXED);
        }
        if (r != s->kind->wanted)
            complain("%s: %ld instead of %ld", s->kind->name, r, s->kind->wanted);
        if (!s->kind->timed && !released)
            complain("%s: came back before it was released", s->kind->name);
        /* Socket timeouts count in ticks; one of 4 ms is the coarsest there is. */
        if (s->kind->timed && took < (s->ms - 4) * 1000000)
            complain("%s: early, after %.1f of %" PRId64 " ms", s->kind->name, (double)took / 1e6, s->ms);
        if (s->kind->timed)
            __atomic_add_fetch(&naps, 1, __ATOMIC_RELAXED);
    } while (s->kind->timed && !released);
    close(stat);
    return NULL;
}

static void call(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (function(i, 7) != i * 3 + (7 ^ 0x55))
            abort();
}

/* ------------------------------------------------------------------------------------------------ callers */

#define NCALLERS 4
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t todo[NCALLERS], made;
static volatile int running, churning;
static int busy;

static void *caller(void *arg)
{
    uint64_t *mine = arg, n, sum;

    pthread_mutex_lock(&lock);
    for (;;) {
        while (!*mine && !running)
            pthread_cond_wait(&changed, &lock);
        n = *mine;
        *mine = 0;
        busy++;
        pthread_mutex_unlock(&lock);
        call(n);
        for (sum = n; running; sum += 50) {
            call(50);
            usleep(200);
        }
        pthread_mutex_lock(&lock);
        made += sum;
        busy--;
        pthread_cond_broadcast(&changed);
    }
    return NULL;
}

static uint64_t wait_callers(void)
{
    uint64_t n = 0;

    for (;;) {
        uint64_t left = 0;

        for (int i = 0; i < NCALLERS; i++)
            left += todo[i];
        if (!left && !busy)
            break;
        pthread_cond_wait(&changed, &lock);
    }
    n = made;
    made = 0;
    return n;
}

static void *born(void *arg)
{
    call(1);
    return arg;
}

static void *churn(void *arg)
{
    uint64_t n = 0;

    while (churning) {
        pthread_t threads[3];

        for (int i = 0; i < 3; i++)
            if (pthread_create(&threads[i], NULL, born, NULL))
                abort();
        for (int i = 0; i < 3; i++, n++)
            pthread_join(threads[i], NULL);
        usleep(500);
    }
    *(uint64_t *)arg = n;
    return NULL;
}

static void start_sleepers(void)
{
    for (size_t i = 0; i < NSLEEPERS; i++) {
        struct sleeper *s = &sleepers[i];

        s->kind = &kinds[i % NKINDS];
        s->ms = 300 + (int64_t)(i * 37 % 400);
        s->wait = (struct timespec){.tv_nsec = s->ms * 1000000};
        pthread_mutex_init(&s->mutex, NULL);
        pthread_cond_init(&s->cond, NULL);
        sem_init(&s->sem, 0, 0);
        s->a = s->b = -1;
        if (s->kind->prepare(s) < 0) {
            fprintf(stderr, "not here: %s: %s\n", s->kind->name, strerror(errno));
            s->kind = &kinds[0];
        }
    }
    pthread_barrier_init(&all_here, NULL, NSLEEPERS + 1);
    for (size_t i = 0; i < NSLEEPERS; i++)
        if (pthread_create(&sleepers[i].thread, NULL, sleeper, &sleepers[i]))
            abort();
    pthread_barrier_wait(&all_here);
}

static void release_sleepers(void)
{
    released = 1;
    for (size_t i = 0; i < NSLEEPERS; i++)
        if (sleepers[i].kind->release)
            sleepers[i].kind->release(&sleepers[i]);
    for (size_t i = 0; i < NSLEEPERS; i++) {
        struct sleeper *s = &sleepers[i];

        pthread_join(s->thread, NULL);
        if (s->kind->prepare == semop_prepare)
            semctl(s->a, 0, IPC_RMID);
        if (s->kind->prepare == msg_prepare)
            msgctl(s->a, IPC_RMID, NULL);
    }
}

static void on_signal(int number) {}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set = usr2();
    uint64_t number, of_churn = 0;
    pthread_t thread, churner = 0;
    char line[64];

    if (argc != 2)
        return 2;
    snprintf(folder, sizeof(folder), "%s", argv[1]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGUSR1, &action, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start_sleepers();
    for (int i = 0; i < NCALLERS; i++)
        pthread_create(&thread, NULL, caller, &todo[i]);
    puts("ready");
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "calls %" SCNu64, &number) == 1) {
            pthread_mutex_lock(&lock);
            for (int i = 0; i < NCALLERS; i++)
                todo[i] = number;
            pthread_cond_broadcast(&changed);
            printf("%" PRIu64 "\n", wait_callers());
            pthread_mutex_unlock(&lock);
        } else if (strncmp(line, "run", 3) == 0) {
            pthread_mutex_lock(&lock);
            running = 1;
            pthread_cond_broadcast(&changed);
            pthread_mutex_unlock(&lock);
            puts("running");
        } else if (strncmp(line, "rest", 4) == 0) {
            pthread_mutex_lock(&lock);
            running = 0;
            printf("%" PRIu64 "\n", wait_callers());
            pthread_mutex_unlock(&lock);
        } else if (strncmp(line, "churn 1", 7) == 0) {
            churning = 1;
            pthread_create(&churner, NULL, churn, &of_churn);
            puts("churning");
        } else if (strncmp(line, "churn 0", 7) == 0) {
            churning = 0;
            pthread_join(churner, NULL);
            printf("%" PRIu64 "\n", of_churn);
        } else if (strncmp(line, "release", 7) == 0) {
            release_sleepers();
            printf("disturbed %" PRIu64 ", naps %" PRIu64 ", anew %" PRIu64 "\n", disturbed, naps, anew);
            return 0;
        } else {
            return 2;
        }
    }
    return 0;
}
