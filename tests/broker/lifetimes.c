/* SPDX-License-Identifier: MIT */
/*
 * Who keeps an object: descriptors in all their forms, and nothing else. And who keeps the broker: many
 * starters get one broker, an idle one leaves, its file may be stale.
 */
#include <poll.h>
#include <pthread.h>

#include "tests/broker/common.h"

static int any_map(void)
{
    int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);

    assert_true(fd >= 0);
    return fd;
}

static int mapped_map(void)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE);

    assert_true(fd >= 0);
    return fd;
}

static void close_and_dup(void **state)
{
    int (*const makers[])(void) = {any_map, mapped_map};

    for (u32 i = 0; i < 2; i++) {
        int fd = makers[i](), copy = dup(fd);

        close(fd);
        sleep_ms(50);
        assert_int_equal(status().maps, 1);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, copy, &(u32){1}, &(u64){1}, 0), 0);
        close(copy);
        assert_soon(status().maps == 0);
    }
}

static void a_mapping_keeps_the_map(void **state)
{
    int fd = mapped_map();
    void *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    close(fd);
    sleep_ms(50);
    assert_int_equal(status().maps, 1);
    munmap(mem, 4096);
    assert_soon(status().maps == 0);
}

static void our_own_view_does_not(void **state)
{
    int fd = mapped_map();

    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){1}, &(u64){1}, 0), 0);
    close(fd);
    assert_soon(status().maps == 0);
}

static void children_hold_and_let_go(void **state)
{
    int (*const makers[])(void) = {any_map, mapped_map};

    for (u32 i = 0; i < 2; i++) {
        int fd = makers[i]();
        pid_t child = fork();

        if (!child) {
            /* The child's door is its own, and the map the same. */
            u64 out = 0, value = 77;

            if (elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){2}, &value, 0) ||
                elem(BPF_MAP_LOOKUP_ELEM, fd, &(u32){2}, &out, 0) || out != 77 ||
                map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0) < 0)
                _exit(1);
            for (;;)
                pause();
        }
        assert_soon(status().maps == 2);

        u64 out = 0;

        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &(u32){2}, &out, 0), 0);
        assert_int_equal(out, 77);
        close(fd);
        sleep_ms(50);
        assert_int_equal(status().maps, 2);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_soon(status().maps == 0);
    }
}

static void passed_over_a_socket(void **state)
{
    int fd = any_map(), pair[2];
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    *cmsg = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
    close(fd);
    sleep_ms(50);
    assert_int_equal(status().maps, 1); /* in flight */
    assert_int_equal(recvmsg(pair[1], &msg, 0), 1);
    memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){1}, &(u64){1}, 0), 0);
    close(fd);
    close(pair[0]);
    close(pair[1]);
    assert_soon(status().maps == 0);
}

static void not_passed_on_by_exec(void **state)
{
    int fd = mapped_map(), other = any_map();
    pid_t child = fork();

    if (!child) {
        execl("/bin/sleep", "sleep", "20", NULL);
        _exit(1);
    }
    sleep_ms(100);
    close(fd);
    close(other);
    assert_soon(status().maps == 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void a_tool_that_closes_everything(void **state)
{
    pid_t child = fork();
    int st;

    if (!child) {
        int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0), next;

        syscall(SYS_close_range, 3u, ~0u, 0u);
        next = open("/dev/null", O_RDONLY); /* may take the number of the door's connection */
        for (int i = 0; i < 900; i++)
            dup(next);
        fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
        _exit(fd < 0 || elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){1}, &(u64){1}, 0));
    }
    assert_int_equal(waitpid(child, &st, 0), child);
    assert_int_equal(st, 0);
}

static void *make_maps(void *arg)
{
    for (int i = 0; i < 30; i++) {
        int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
        u64 out = 0, value = (u64)(long)arg + (u64)i;

        if (fd < 0 || elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){1}, &value, 0) ||
            elem(BPF_MAP_LOOKUP_ELEM, fd, &(u32){1}, &out, 0) || out != value)
            return (void *)1;
        close(fd);
    }
    return NULL;
}

static void many_tools_with_many_threads(void **state)
{
    pid_t children[8];

    for (u32 i = 0; i < 8; i++) {
        children[i] = fork();
        if (!children[i]) {
            pthread_t threads[4];
            void *r, *bad = NULL;

            for (long t = 0; t < 4; t++)
                pthread_create(&threads[t], NULL, make_maps, (void *)(t * 1000));
            for (u32 t = 0; t < 4; t++) {
                pthread_join(threads[t], &r);
                bad = r ? r : bad;
            }
            _exit(bad != NULL);
        }
    }
    for (u32 i = 0; i < 8; i++) {
        int st;

        assert_int_equal(waitpid(children[i], &st, 0), children[i]);
        assert_int_equal(st, 0);
    }
    assert_soon(status().maps == 0);
    assert_soon(status().connections == 1);
}

/* A tool that is killed over and over while it writes to a hash leaves it usable. */
static void killed_while_writing(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 16, 0);

    for (int round = 0; round < 20; round++) {
        pid_t child = fork();

        if (!child)
            for (u32 i = 0;; i++) {
                elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){i % 16}, &(u64){i}, 0);
                elem(BPF_MAP_DELETE_ELEM, fd, &(u32){(i + 5) % 16}, NULL, 0);
            }
        sleep_ms(5 + round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    sleep_ms(300);
    for (u32 key = 0; key < 16; key++)
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &(u64){key}, 0), 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &(u32){16}, &(u64){0}, 0), -E2BIG);
    close(fd);
}

static void starters_at_once_get_one_broker(void **state)
{
    struct {
        pid_t child;
        int fd;
    } tool[12];
    int go[2];
    u32 pid = 0, before = status().pid;

    /* Let the present one go first: this thread's door connects anew afterwards. */
    assert_int_equal(tn_door_ctl(TN_CTL_SHUTDOWN, NULL, 0, NULL, NULL), 0);
    assert_soon(kill((pid_t)before, 0) && errno == ESRCH);
    assert_int_equal(access(test_socket, F_OK), -1);
    /* A file that nobody listens at must not be in the way. */
    int stale = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, test_socket, sizeof(test_socket));
    assert_int_equal(bind(stale, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(stale);

    assert_int_equal(pipe(go), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(tool); i++) {
        int out[2];

        assert_int_equal(pipe(out), 0);
        tool[i].child = fork();
        if (!tool[i].child) {
            struct tn_ctl_status st = {0};
            char byte;

            close(go[1]);
            (void)!read(go[0], &byte, 1);
            st = status();
            (void)!write(out[1], &st.pid, sizeof(st.pid));
            _exit(0);
        }
        close(out[1]);
        tool[i].fd = out[0];
    }
    close(go[0]);
    close(go[1]);
    for (u32 i = 0; i < TN_ARRAY_SIZE(tool); i++) {
        u32 theirs = 0;

        assert_int_equal(read(tool[i].fd, &theirs, sizeof(theirs)), sizeof(theirs));
        assert_true(theirs && theirs != before);
        if (!pid)
            pid = theirs;
        assert_int_equal(theirs, pid);
        close(tool[i].fd);
        waitpid(tool[i].child, NULL, 0);
    }
}

static void the_broker_inherits_nothing(void **state)
{
    char path[64], target[256];
    u32 pid = status().pid;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%u/cwd", pid);
    n = readlink(path, target, sizeof(target) - 1);
    assert_int_equal(n, 1);
    for (int fd = 0; fd < 3; fd++) {
        snprintf(path, sizeof(path), "/proc/%u/fd/%d", pid, fd);
        n = readlink(path, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        assert_string_equal(target, "/dev/null");
    }
    assert_int_not_equal(getsid((pid_t)pid), getsid(0));
}

static void an_idle_broker_leaves(void **state)
{
    pid_t child = fork();
    u32 pid = 0;
    int out[2];

    /* In a child, so that no connection stays; with its own socket. */
    waitpid(child, NULL, child ? 0 : 0);
    if (!child)
        _exit(0);
    assert_int_equal(pipe(out), 0);
    child = fork();
    if (!child) {
        char path[128];
        struct tn_ctl_status st;

        snprintf(path, sizeof(path), "%s/idle.sock", test_dir);
        setenv("TENON_SOCKET", path, 1);
        st = status();
        (void)!write(out[1], &st.pid, sizeof(st.pid));
        _exit(0);
    }
    assert_int_equal(read(out[0], &pid, sizeof(pid)), sizeof(pid));
    waitpid(child, NULL, 0);
    assert_soon(kill((pid_t)pid, 0) && errno == ESRCH);

    char path[128];

    snprintf(path, sizeof(path), "%s/idle.sock", test_dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/idle.sock.lock", test_dir);
    assert_int_equal(unlink(path), 0);
    close(out[0]);
    close(out[1]);
}

static void clear_words_when_it_cannot_start(void **state)
{
    char path[128];
    struct tn_error err = {0};
    pid_t child = fork();
    int st;

    if (child) {
        waitpid(child, &st, 0);
        assert_int_equal(st, 0);
        snprintf(path, sizeof(path), "%s/none.sock.lock", test_dir);
        unlink(path);
        return;
    }
    snprintf(path, sizeof(path), "%s/none.sock", test_dir);
    setenv("TENON_SOCKET", path, 1);
    if (tn_broker_connect_running(&err) != -ENOENT || strcmp(err.reason, "no_broker"))
        _exit(1);
    memset(&err, 0, sizeof(err));
    setenv("TENON_EXE", "/does/not/exist", 1);
    if (tn_broker_connect(&err) != -ENOENT || strcmp(err.reason, "broker_start") || !access(path, F_OK))
        _exit(2);
    _exit(0);
}

static void few_descriptors(void **state)
{
    pid_t child = fork();
    int st;

    if (!child) {
        struct rlimit {
            u64 cur, max;
        } limit = {20, 20};
        int fds[32], n = 0, r = 0;

        syscall(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, &limit, NULL);
        while (n < 32 && (r = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0)) >= 0)
            fds[n++] = r;
        if (n < 5 || n >= 32 || r != -EMFILE)
            _exit(1);
        for (int i = 0; i < n; i++)
            close(fds[i]);
        _exit(map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0) < 0 ? 2 : 0);
    }
    assert_int_equal(waitpid(child, &st, 0), child);
    assert_int_equal(st, 0);
    assert_soon(status().maps == 0);
}

/* Somebody names a file of his as the socket: it is not the broker's to take away. */
static void a_file_at_the_sockets_path_stays(void **state)
{
    char path[128], lock[136];
    struct tn_error err = {0};
    pid_t child;
    int st, fd;

    snprintf(path, sizeof(path), "%s/precious", test_dir);
    snprintf(lock, sizeof(lock), "%s.lock", path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    child = fork();
    if (!child) {
        setenv("TENON_SOCKET", path, 1);
        _exit(tn_broker_connect(&err) == -EEXIST && !strcmp(err.reason, "socket_path") ? 0 : 1);
    }
    waitpid(child, &st, 0);
    assert_int_equal(st, 0);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    unlink(lock);
}

/* A broker that is killed while a tool waits for its answer:
   the call fails, the next one has a new broker. */
static void killed_while_a_tool_waits(void **state)
{
    pid_t broker, child;
    int st;

    map_create(BPF_MAP_TYPE_HASH, 4, 4, 1, 0);
    broker = (pid_t)status().pid;
    assert_int_equal(kill(broker, SIGSTOP), 0);
    child = fork();
    if (!child) {
        alarm(20);
        /* No connection of its own yet: the greeting is what it waits for. */
        _exit(map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0) >= 0 ? 0 : 1);
    }
    sleep_ms(100);
    child = fork();
    if (!child) {
        sleep_ms(100);
        kill(broker, SIGKILL);
        _exit(0);
    }
    assert_int_equal(map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0), -EIO);
    while (wait(&st) > 0)
        assert_int_equal(st, 0);
    st = map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);
    assert_true(st >= 0);
    close(st);
    assert_int_not_equal(status().pid, broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_and_dup),
        cmocka_unit_test(a_mapping_keeps_the_map),
        cmocka_unit_test(our_own_view_does_not),
        cmocka_unit_test(children_hold_and_let_go),
        cmocka_unit_test(passed_over_a_socket),
        cmocka_unit_test(not_passed_on_by_exec),
        cmocka_unit_test(a_tool_that_closes_everything),
        cmocka_unit_test(many_tools_with_many_threads),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(few_descriptors),
        cmocka_unit_test(starters_at_once_get_one_broker),
        cmocka_unit_test(the_broker_inherits_nothing),
        cmocka_unit_test(an_idle_broker_leaves),
        cmocka_unit_test(clear_words_when_it_cannot_start),
        cmocka_unit_test(a_file_at_the_sockets_path_stays),
        cmocka_unit_test(killed_while_a_tool_waits),
    };

    return cmocka_run_group_tests_name("broker/lifetimes", tests, start_open, finish);
}
