/* SPDX-License-Identifier: MIT */
/*
 * One compiler run. It writes to a file in memory by its name in /proc, and what it has to say to another.
 */
#include "host/stub.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FLAGS_MAX  1024u
#define DEFAULT_MS 60000u

extern char **environ;

/* Every type of every header, and no code of anybody else's. */
static const char *const fixed[] = {
    "-g", "-O0", "-fno-eliminate-unused-debug-types", "-fPIC", "-shared", "-nostdlib", "-w", "-x", "c",
};

static int spawn(const char *cc, const struct tn_host_stub *stub, int out, int said, pid_t *ret)
{
    const char *argv[FLAGS_MAX + TN_ARRAY_SIZE(fixed) + 8];
    posix_spawn_file_actions_t actions;
    char path[32];
    u32 n = 0;
    int r;

    /* The compiler's own number 3: the descriptors here are closed when it starts. */
    snprintf(path, sizeof(path), "/proc/self/fd/3");
    argv[n++] = cc;
    for (u32 i = 0; i < TN_ARRAY_SIZE(fixed); i++)
        argv[n++] = fixed[i];
    for (u32 i = 0; i < stub->nflags; i++)
        argv[n++] = stub->flags[i];
    argv[n++] = stub->source;
    argv[n++] = "-o";
    argv[n++] = path;
    argv[n] = NULL;
    r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, said, 1);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, said, 2);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, out, 3);
    r = r ? r : posix_spawnp(ret, cc, &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int wait_for(pid_t pid, u32 ms, int *ret_status)
{
    _close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r = pidfd < 0 ? 1 : poll(&p, 1, (int)TN_MIN(ms, (u32)INT32_MAX));

    if (r == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return r == 0 ? -ETIME : 0;
}

static int refuse(const struct tn_host_stub *stub, int said, struct tn_error *err)
{
    char words[600];
    ssize_t n = pread(said, words, sizeof(words) - 1, 0);

    words[n > 0 ? n : 0] = 0;
    return tn_fail(err, -EINVAL, "stub_compile", "%s: the compiler refuses it:\n%s", stub->source, words);
}

int tn_host_stub_compile(const struct tn_host_stub *stub, int *ret_fd, struct tn_error *err)
{
    const char *cc = stub->cc ? stub->cc : getenv("CC") ? getenv("CC") : "cc";
    _close_ int out = memfd_create("tenon-stub", MFD_CLOEXEC), said = memfd_create("tenon-cc", MFD_CLOEXEC);
    int status = 0, r;
    pid_t pid;

    if (out < 0 || said < 0)
        return -errno;
    if (stub->nflags > FLAGS_MAX)
        return tn_fail(err, -E2BIG, "stub_compile", "%u flags; at most %u", stub->nflags, FLAGS_MAX);
    r = spawn(cc, stub, out, said, &pid);
    if (r)
        return tn_fail(err, r, "stub_no_compiler", "%s: %s (types from a header need a C compiler)", cc,
                       strerror(-r));
    r = wait_for(pid, stub->limit_ms ? stub->limit_ms : DEFAULT_MS, &status);
    if (r)
        return tn_fail(err, r, "stub_time", "%s: compiling it took too long", stub->source);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return refuse(stub, said, err);
    *ret_fd = TN_TAKE_FD(out);
    return 0;
}
