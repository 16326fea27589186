/* SPDX-License-Identifier: MIT */
/* See rig.h. */
#include "rig.h"
#include "rewrite/module.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static int shared_mem(const char *name, size_t size, void *ret_mem)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    *(void **)ret_mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(*(void **)ret_mem, MAP_FAILED);
    return fd;
}

void rig_open(struct rig *r)
{
    char path[64];
    void *claims;

    memset(r, 0, sizeof(*r));
    r->shared.ncpu = (u32)sysconf(_SC_NPROCESSORS_CONF);
    r->shared.gates = shared_mem("gates", TN_MAX_LINKS, &r->gates);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", r->shared.gates);
    r->shared.gates_ro = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(r->shared.gates_ro >= 0);
    r->shared.stats = shared_mem("stats", TN_STATS_SIZE, &r->stats);
    r->shared.claims = shared_mem("claims", TN_PAGE, &claims);
    r->inj = tn_inject_new(&r->shared);
    assert_non_null(r->inj);
}

void rig_close(struct rig *r)
{
    tn_inject_free(r->inj);
    close(r->shared.gates);
    close(r->shared.gates_ro);
    close(r->shared.stats);
    close(r->shared.claims);
    munmap(r->gates, TN_MAX_LINKS);
    munmap(r->stats, TN_STATS_SIZE);
}

int find_offset(const char *path, const char *name, u64 *ret_offset)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct tn_module *m = NULL;
    u64 addr;
    int r = fd < 0 ? -errno : tn_module_open(fd, &m, NULL);

    if (r == 0)
        r = tn_module_find(m, name, &addr, NULL);
    if (r == 0)
        r = tn_module_offset_of_addr(m, addr, ret_offset);
    tn_module_free(m);
    return r;
}

void victim_start(struct victim *v, int threads, int sleepers, const char *mode, const char *limit)
{
    char file[64], a[16], b[16];
    struct stat sb;
    int fd = shared_mem("target", sizeof(struct target_shared), &v->sh);

    assert_non_null(realpath(getenv("TN_TEST_TARGET"), v->path));
    assert_int_equal(stat(v->path, &sb), 0);
    v->dev = sb.st_dev;
    v->ino = sb.st_ino;
    assert_int_equal(find_offset(v->path, "hot", &v->offset), 0);
    snprintf(file, sizeof(file), "/proc/%d/fd/%d", getpid(), fd);
    snprintf(a, sizeof(a), "%d", threads);
    snprintf(b, sizeof(b), "%d", sleepers);
    v->pid = fork();
    if (v->pid == 0) {
        execl(v->path, v->path, file, a, b, mode, limit, NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000 && !v->sh->ready; i++)
        usleep(1000);
    assert_true(v->sh->ready);
    close(fd);
    usleep(5000);
}

bool victim_alive(const struct victim *v)
{
    return waitpid(v->pid, NULL, WNOHANG) == 0;
}

void victim_stop(struct victim *v)
{
    kill(v->pid, SIGKILL);
    waitpid(v->pid, NULL, 0);
    munmap(v->sh, sizeof(*v->sh));
}

void victim_calls(struct victim *v, int threads, unsigned long n)
{
    v->sh->todo += n;
    for (int ms = 0; ms < 10000; ms++) {
        int behind = 0;

        for (int i = 0; i < threads; i++)
            behind += v->sh->done[i] < v->sh->todo;
        if (!behind)
            return;
        usleep(1000);
    }
    fail_msg("the target does not run");
}

void counter_make(struct counter *c, u32 id, u32 word)
{
    static const u8 add_one[] = {0xf0, 0x48, 0x83, 0x00, 0x01, /* lock addq $1,(%rax) */
                                 0x31, 0xc0, 0xc3};            /* xor %eax,%eax; ret */

    counter_of(c, id, word, add_one, sizeof(add_one));
}

void counter_of(struct counter *c, u32 id, u32 word, const u8 *code, u32 len)
{
    u8 *text;
    s32 disp = -4096 - 7;

    memset(c, 0, sizeof(*c));
    c->map = shared_mem("map", TN_PAGE, &c->words);
    c->text = shared_mem("text", TN_PAGE, &text);
    memset(text, 0xcc, TN_PAGE);
    memcpy(text, "\x48\x8b\x05", 3); /* mov slot0(%rip),%rax */
    memcpy(text + 3, &disp, 4);
    memcpy(text + 7, code, len);
    munmap(text, TN_PAGE);
    assert_int_equal(fcntl(c->text, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    c->pool = (struct tn_pool_entry){.kind = TN_POOL_MAP_DATA, .index = 0, .offset = word * 8ull};
    c->im = (struct tn_install_map){
        .id = id, .fd = c->map, .geo = {.type = BPF_MAP_TYPE_ARRAY, .size = TN_PAGE, .value_size = 8}};
}

void counter_drop(struct counter *c)
{
    close(c->map);
    close(c->text);
    munmap(c->words, TN_PAGE);
}

void spec_for(struct tn_attach_spec *s, const struct victim *v, const struct counter *c, u32 id, u32 link)
{
    memset(s, 0, sizeof(*s));
    s->pid = v->pid;
    s->link_index = link;
    snprintf(s->path, sizeof(s->path), "%s", v->path);
    s->dev = v->dev;
    s->ino = v->ino;
    s->place.offset = v->offset;
    s->wait_ms = 1000;
    s->prog = (struct tn_install){.prog_id = id,
                                  .text = c->text,
                                  .text_len = TN_PAGE,
                                  .pool_size = TN_PAGE,
                                  .stack = 64,
                                  .pool = &c->pool,
                                  .npool = 1,
                                  .maps = &c->im,
                                  .nmaps = 1,
                                  .facts = &c->facts};
}

int wait_job(struct rig *r, int fd, struct tn_attach_result *res)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 60000),
                     1); /* a busy machine takes ten seconds for what takes ten milliseconds */
    assert_int_equal(tn_inject_finish(r->inj, fd, res), 0);
    return res->err;
}

int attach(struct rig *r, const struct tn_attach_spec *s, struct tn_attach_result *res)
{
    int fd, e;

    memset(res, 0, sizeof(*res));
    e = tn_inject_attach(r->inj, s, &fd, &res->why);
    if (e < 0)
        return e;
    e = wait_job(r, fd, res);
    if (e == 0)
        r->gates[s->link_index] = 1;
    return e;
}

int detach(struct rig *r, pid_t pid, u32 link, struct tn_attach_result *res)
{
    int fd, e;

    memset(res, 0, sizeof(*res));
    r->gates[link] = 0;
    e = tn_inject_detach(r->inj, pid, link, 1000, &fd, &res->why);
    return e < 0 ? e : wait_job(r, fd, res);
}

void read_code(const struct victim *v, u8 ret[16])
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};

    assert_int_equal(tn_maps_read(v->pid, &maps), 0);
    for (u32 i = 0; i < maps.n; i++)
        if (maps.vma[i].ino == v->ino && v->offset >= maps.vma[i].offset &&
            v->offset < maps.vma[i].offset + (maps.vma[i].end - maps.vma[i].start)) {
            assert_int_equal(tn_peek(v->pid, maps.vma[i].start + v->offset - maps.vma[i].offset, ret, 16), 0);
            return;
        }
    fail_msg("hot is not mapped");
}

u64 count_maps(pid_t pid)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};

    assert_int_equal(tn_maps_read(pid, &maps), 0);
    return maps.n;
}

u64 count_fds(pid_t pid)
{
    char path[64];
    DIR *d;
    u64 n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}
