/* SPDX-License-Identifier: MIT */
/*
 * The recorder: a `syscall` that stands between a loader and bpf(2). As a preloaded library it goes under any
 * tool (bpftrace, bcc, libbpf's own), linked into `load` it serves the corpora.
 *
 *     caller ── syscall(__NR_bpf, …) ──▶ kernel      answered as if nobody listened
 *                        │
 *                        ├ MAP_CREATE of a map of maps   remember what the inner map looks like: nobody
 *                        │                               tells later
 *                        └ PROG_LOAD                     describe instructions, maps, BTF; ask the kernel
 *                                                        once more for its statistics and messages; write
 *                                                        a recording
 *
 * Everything but inner maps is asked of the kernel at PROG_LOAD, from the descriptors in the attributes: so
 * maps that were pinned, duplicated or inherited are described as well. Whatever fails here, the caller never
 * notices.
 *
 *     TENON_RECORD          folder; without it nothing is recorded
 *     TENON_RECORD_CORPUS   its sub-folder and name of the corpus
 *     TENON_RECORD_OBJECT   name of the object or tool; else the process's own
 *     TENON_RECORD_ONLY     record just the program of this name (a loader's feature probes are none)
 *     TENON_RECORD_EXPECT   annotations, one a line, kept with the program
 *     TENON_RECORD_LEVEL    log level the annotations speak of
 *     TENON_RECORD_PRETEND  attaching always works: a tool loads program after program although this kernel
 *                           lacks the hook of the first (kprobes, a tracepoint)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "tests/differential/recording.h"

#define MAX_INNERS  256u
#define MAX_LOG     (16u << 20)
#define KEEP_LOG    (1u << 20)
#define PROBE_INSNS 8u /* feature probes are shorter than this, and have no BTF */

static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

static long bpf(int cmd, union bpf_attr *attr, size_t size)
{
    return raw(__NR_bpf, cmd, (long)attr, (long)size, 0, 0, 0);
}

/* ------------------------------------------------------------------------ what nobody tells later */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    u32 outer; /* map id */
    int inner; /* a descriptor of ours, so that the inner map stays */
} inners[MAX_INNERS];
static u32 ninners;

static int info_of(int fd, void *info, u32 size)
{
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = size, .info = (u64)(uintptr_t)info}};

    return fd < 0 ? -EBADF : (int)bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
}

static void remember_inner(int outer, int inner)
{
    struct bpf_map_info info = {0};
    int fd;

    if (info_of(outer, &info, sizeof(info)))
        return;
    fd = fcntl(inner, F_DUPFD_CLOEXEC, 512);
    if (fd < 0)
        return;
    pthread_mutex_lock(&lock);
    if (ninners < MAX_INNERS) {
        inners[ninners].outer = info.id;
        inners[ninners++].inner = fd;
        fd = -1;
    }
    pthread_mutex_unlock(&lock);
    if (fd >= 0)
        close(fd);
}

static int inner_of(u32 outer)
{
    int fd = -1;

    pthread_mutex_lock(&lock);
    for (u32 k = 0; k < ninners; k++)
        if (inners[k].outer == outer)
            fd = inners[k].inner;
    pthread_mutex_unlock(&lock);
    return fd;
}

/* ---------------------------------------------------------------------------------- describing */

struct scribe {
    struct rec_out out;
    u32 btf_id[REC_MAX_BTFS], nbtfs;
    u32 map_id[REC_MAX_MAPS];
    int map_fd[REC_MAX_MAPS];
    struct rec_map map[REC_MAX_MAPS];
    u32 nmaps;
};

/* The number of the BTF part for a descriptor; −1: none, or not to be had. */
static s32 put_btf(struct scribe *s, int fd)
{
    struct bpf_btf_info info = {0};
    u8 *data;
    s32 found = -1;

    if (info_of(fd, &info, sizeof(info)) || info.kernel_btf)
        return -1;
    for (u32 k = 0; k < s->nbtfs; k++)
        if (s->btf_id[k] == info.id)
            return (s32)k;
    if (s->nbtfs == REC_MAX_BTFS || !info.btf_size)
        return -1;
    data = malloc(info.btf_size);
    if (!data)
        return -1;
    info = (struct bpf_btf_info){.btf = (u64)(uintptr_t)data, .btf_size = info.btf_size};
    if (!info_of(fd, &info, sizeof(info))) {
        rec_put(&s->out, REC_BTF, data, info.btf_size);
        s->btf_id[s->nbtfs] = info.id;
        found = (s32)s->nbtfs++;
    }
    free(data);
    return found;
}

static s32 put_btf_by_id(struct scribe *s, u32 id)
{
    union bpf_attr attr = {.btf_id = id};
    int fd = id ? (int)bpf(BPF_BTF_GET_FD_BY_ID, &attr, sizeof(attr)) : -1;
    s32 number = put_btf(s, fd);

    if (fd >= 0)
        close(fd);
    return number;
}

static bool is_frozen(int fd)
{
    char path[64], text[1024] = "", *at;
    ssize_t n = -1;
    int info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = open(path, O_RDONLY | O_CLOEXEC);
    if (info >= 0) {
        n = read(info, text, sizeof(text) - 1);
        close(info);
    }
    at = n > 0 ? strstr(text, "frozen:") : NULL;
    return at && atoi(at + 7) == 1;
}

/* The number of the map behind a descriptor; −1 when there is none. */
static s32 note_map(struct scribe *s, int fd)
{
    struct bpf_map_info info = {0};
    struct rec_map *m;

    if (info_of(fd, &info, sizeof(info)))
        return -1;
    for (u32 k = 0; k < s->nmaps; k++)
        if (s->map_id[k] == info.id)
            return (s32)k;
    if (s->nmaps == REC_MAX_MAPS)
        return -1;
    m = &s->map[s->nmaps];
    *m = (struct rec_map){
        .type = info.type,
        .key_size = info.key_size,
        .value_size = info.value_size,
        .max_entries = info.max_entries,
        .map_flags = info.map_flags,
        .btf = -1,
        .btf_key_type_id = info.btf_key_type_id,
        .btf_value_type_id = info.btf_value_type_id,
        .btf_vmlinux_value_type_id = info.btf_vmlinux_value_type_id,
        .inner = -1,
        .map_extra = info.map_extra,
        .frozen = is_frozen(fd),
    };
    memcpy(m->name, info.name, sizeof(info.name));
    m->btf = put_btf_by_id(s, info.btf_id);
    s->map_id[s->nmaps] = info.id;
    s->map_fd[s->nmaps] = fd;
    return (s32)s->nmaps++;
}

static void note_inners(struct scribe *s)
{
    for (u32 k = 0; k < s->nmaps; k++) {
        int fd = inner_of(s->map_id[k]);
        s32 number;

        if (fd < 0)
            continue;
        number = note_map(s, fd);
        if (number <= (s32)k && number >= 0 &&
            s->nmaps < REC_MAX_MAPS) { /* the program names it as well: a copy behind */
            s->map[s->nmaps] = s->map[number];
            s->map[s->nmaps].inner = -1;
            s->map_id[s->nmaps] = 0;
            s->map_fd[s->nmaps] = -1;
            number = (s32)s->nmaps++;
        }
        s->map[k].inner = number > (s32)k ? number : -1;
    }
}

static void put_contents(struct scribe *s, u32 number)
{
    const struct rec_map *m = &s->map[number];
    u32 zero = 0;
    u8 *data;
    union bpf_attr attr = {.map_fd = (u32)s->map_fd[number]};

    if (m->type != BPF_MAP_TYPE_ARRAY || !m->frozen || !(m->map_flags & BPF_F_RDONLY_PROG) ||
        m->max_entries != 1 || m->value_size > (16u << 20) || s->map_fd[number] < 0)
        return;
    data = calloc(1, 8 + (size_t)m->value_size + 8);
    if (!data)
        return;
    memcpy(data, &(u64){number}, 8);
    attr.key = (u64)(uintptr_t)&zero;
    attr.value = (u64)(uintptr_t)(data + 8);
    if (!bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)))
        rec_put(&s->out, REC_CONTENTS, data, 8 + m->value_size);
    free(data);
}

/* Descriptors become numbers. Says REC_F_MODULE when a type of a module is meant. */
static u32 put_insns(struct scribe *s, const union bpf_attr *attr)
{
    const struct bpf_insn *given = (const struct bpf_insn *)(uintptr_t)attr->insns;
    const int *fds = (const int *)(uintptr_t)attr->fd_array;
    struct bpf_insn *insns = malloc(((size_t)attr->insn_cnt + 1) * sizeof(*insns));
    u32 flags = 0;

    if (!insns) {
        s->out.failed = true;
        return 0;
    }
    memcpy(insns, given, attr->insn_cnt * sizeof(*insns));
    for (u32 k = 0; k < attr->insn_cnt; k++) {
        struct bpf_insn *i = &insns[k];
        s32 number;

        if (i->code == (BPF_JMP | BPF_CALL) && i->src_reg == BPF_PSEUDO_KFUNC_CALL && i->off)
            flags |= REC_F_MODULE;
        if (i->code != (BPF_LD | BPF_IMM | BPF_DW) || k + 1 == attr->insn_cnt)
            continue;
        if (i->src_reg == BPF_PSEUDO_BTF_ID && i[1].imm)
            flags |= REC_F_MODULE;
        if (i->src_reg == BPF_PSEUDO_MAP_FD || i->src_reg == BPF_PSEUDO_MAP_VALUE) {
            number = note_map(s, i->imm);
            i->imm = number < 0 ? REC_NO_MAP : number;
        } else if (i->src_reg == BPF_PSEUDO_MAP_IDX || i->src_reg == BPF_PSEUDO_MAP_IDX_VALUE) {
            number = fds && i->imm >= 0 && i->imm < 512 ? note_map(s, fds[i->imm]) : -1;
            i->imm = number < 0 ? REC_NO_MAP : number;
            i->src_reg = i->src_reg == BPF_PSEUDO_MAP_IDX ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
        }
        k++;
    }
    rec_put(&s->out, REC_INSNS, insns, attr->insn_cnt * (u32)sizeof(*insns));
    free(insns);
    return flags;
}

/* -------------------------------------------------------------------------------- the kernel's words */

/* Asks once more, with a log of ours. The descriptor or −errno; nothing is kept loaded. */
static long ask(const union bpf_attr *attr, size_t size, u32 level, char *log)
{
    union bpf_attr again = {0};
    long fd;

    memcpy(&again, attr, TN_MIN(size, sizeof(again)));
    again.log_level = level;
    again.log_buf = (u64)(uintptr_t)log;
    again.log_size = MAX_LOG;
    log[0] = 0;
    fd = bpf(BPF_PROG_LOAD, &again, TN_MIN(size, sizeof(again)));
    if (fd >= 0)
        raw(__NR_close, fd, 0, 0, 0, 0, 0);
    return fd;
}

static void statistics(const char *log, struct rec_verdict *v)
{
    const char *at;

    for (at = log; (at = strstr(at, "verification time ")); at += 18)
        sscanf(at, "verification time %u", &v->usecs);
    for (at = log; (at = strstr(at, "processed ")); at += 10)
        sscanf(at,
               "processed %lu insns (limit %*u) max_states_per_insn %u total_states %u peak_states %u "
               "mark_read %u",
               (unsigned long *)&v->insns_processed, &v->max_states_per_insn, &v->total_states,
               &v->peak_states, &v->mark_read);
}

static const char *end_of(const char *log)
{
    size_t n = strlen(log);

    return n > KEEP_LOG ? log + n - KEEP_LOG : log;
}

/* ------------------------------------------------------------------------------------------ writing */

static const char *setting(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static void host_types(struct rec_program *p)
{
    static u32 size, hash; /* of the running kernel: the same each time */
    static bool asked;

    if (!asked) {
        size_t n;
        u8 *data;

        if (!rec_slurp("/sys/kernel/btf/vmlinux", &data, &n)) {
            size = (u32)n;
            hash = rec_hash(data, n);
            free(data);
        }
        asked = true;
    }
    p->host_btf_size = size;
    p->host_btf_hash = hash;
}

static void put_expectations(struct rec_out *out)
{
    const char *text = setting("TENON_RECORD_EXPECT");
    char *copy = text ? strdup(text) : NULL, *rest = NULL;

    for (char *line = copy ? strtok_r(copy, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        rec_put_text(out, REC_EXPECT, line);
    free(copy);
}

/* Programs that say what they return are run once, as Linux's own test loader does:
   64 bytes of zeros for a packet. */
static void put_run(struct rec_out *out, long fd, u32 prog_type)
{
    const char *expect = setting("TENON_RECORD_EXPECT");
    u8 in[64] = {0}, back[256];
    union bpf_attr attr = {.test = {.prog_fd = (u32)fd}};
    struct rec_run run = {.data_size = prog_type == BPF_PROG_TYPE_SYSCALL ? 0 : sizeof(in)};

    if (fd < 0 || !expect || !strstr(expect, "test_retval="))
        return;
    if (run.data_size) {
        attr.test.data_size_in = sizeof(in);
        attr.test.data_in = (u64)(uintptr_t)in;
        attr.test.data_size_out = sizeof(back);
        attr.test.data_out = (u64)(uintptr_t)back;
    }
    run.error = (s32)bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
    run.retval = attr.test.retval;
    rec_put(out, REC_RUN, &run, sizeof(run));
}

static void save(struct rec_out *out, const char *name, u32 hash)
{
    const char *corpus = setting("TENON_RECORD_CORPUS"), *object = setting("TENON_RECORD_OBJECT");
    char path[4096];

    if (!corpus)
        corpus = "tools";
    if (!object)
        object = program_invocation_short_name;
    snprintf(path, sizeof(path), "%s/%s", setting("TENON_RECORD"), corpus);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/%s/%s", setting("TENON_RECORD"), corpus, object);
    mkdir(path, 0755);
    if (setting("TENON_RECORD_ONLY"))
        snprintf(path, sizeof(path), "%s/%s/%s/%s.rec", setting("TENON_RECORD"), corpus, object, name);
    else
        snprintf(path, sizeof(path), "%s/%s/%s/%s-%08x.rec", setting("TENON_RECORD"), corpus, object,
                 *name ? name : "unnamed", hash);
    for (char *c = path + strlen(path) - strlen(name) - 4; c > path && *c && *c != '/'; c++)
        if ((u8)*c < ' ')
            *c = '_';
    rec_put_text(out, REC_CORPUS, corpus);
    rec_put_text(out, REC_OBJECT, object);
    rec_put_text(out, REC_NAME, name);
    rec_save(out, path);
}

static void record(const union bpf_attr *given, size_t size, long answer)
{
    const char *only = setting("TENON_RECORD_ONLY"), *level = setting("TENON_RECORD_LEVEL");
    union bpf_attr attr = {0};
    char name[BPF_OBJ_NAME_LEN + 1] = "";
    struct rec_verdict verdict = {.error = answer < 0 ? (s32)answer : 0};
    struct rec_program program = {.btf = -1};
    struct utsname kernel;
    struct scribe *s;
    char *log;

    memcpy(&attr, given, TN_MIN(size, sizeof(attr)));
    memcpy(name, attr.prog_name, BPF_OBJ_NAME_LEN);
    if (only ? strncmp(name, only, BPF_OBJ_NAME_LEN - 1) != 0
             : !attr.prog_btf_fd && attr.insn_cnt < PROBE_INSNS)
        return;
    if (!attr.insns || !attr.insn_cnt || attr.insn_cnt > 1000000)
        return;
    s = calloc(1, sizeof(*s));
    log = malloc(MAX_LOG);
    if (!s || !log)
        goto out;

    program.prog_type = attr.prog_type;
    program.expected_attach_type = attr.expected_attach_type;
    program.prog_flags = attr.prog_flags;
    program.attach_btf_id = attr.attach_btf_id;
    program.func_info_rec_size = attr.func_info_rec_size;
    program.line_info_rec_size = attr.line_info_rec_size;
    program.log_level = level ? (u32)atoi(level) : 1;
    if (attr.license)
        snprintf(program.licence, sizeof(program.licence), "%s", (const char *)(uintptr_t)attr.license);
    if (attr.attach_prog_fd)
        program.flags |= REC_F_ATTACH_PROG;
    host_types(&program);
    if (attr.prog_btf_fd)
        program.btf = put_btf(s, (int)attr.prog_btf_fd);
    program.flags |= put_insns(s, &attr);
    program.nmaps = s->nmaps;
    note_inners(s);
    rec_put(&s->out, REC_PROGRAM, &program, sizeof(program));
    for (u32 k = 0; k < s->nmaps; k++)
        rec_put(&s->out, REC_MAP, &s->map[k], sizeof(s->map[k]));
    for (u32 k = 0; k < s->nmaps; k++)
        put_contents(s, k);
    if (attr.func_info && attr.func_info_cnt && attr.func_info_cnt < 100000)
        rec_put(&s->out, REC_FUNC_INFO, (const void *)(uintptr_t)attr.func_info,
                attr.func_info_cnt * attr.func_info_rec_size);
    if (attr.line_info && attr.line_info_cnt && attr.line_info_cnt < 10000000)
        rec_put(&s->out, REC_LINE_INFO, (const void *)(uintptr_t)attr.line_info,
                attr.line_info_cnt * attr.line_info_rec_size);

    ask(given, size, 4, log);
    statistics(log, &verdict);
    if (!uname(&kernel))
        snprintf(verdict.release, sizeof(verdict.release), "%.60s", kernel.release);
    rec_put(&s->out, REC_VERDICT, &verdict, sizeof(verdict));
    rec_put_text(&s->out, REC_MESSAGES, end_of(log));
    if (setting("TENON_RECORD_EXPECT")) {
        put_expectations(&s->out);
        ask(given, size, program.log_level, log);
        rec_put_text(&s->out, REC_LOG, end_of(log));
    }
    put_run(&s->out, answer, attr.prog_type);
    save(&s->out, only ? only : name, rec_hash((const void *)(uintptr_t)attr.insns, attr.insn_cnt * 8));
out:
    if (s)
        rec_out_clear(&s->out);
    free(s);
    free(log);
}

/* ------------------------------------------------------------------------------------ pretending */

/* A descriptor that can be polled, mapped by nobody, and closed; in place of an event or a link that cannot
 * be had. */
static long nothing(void)
{
    return raw(__NR_eventfd2, 0, O_CLOEXEC, 0, 0, 0, 0);
}

static bool pretends(long nr, long command, long ret)
{
    if (ret >= 0 || !setting("TENON_RECORD_PRETEND"))
        return false;
    return nr == __NR_perf_event_open ||
           (nr == __NR_bpf &&
            (command == BPF_LINK_CREATE || command == BPF_RAW_TRACEPOINT_OPEN || command == BPF_PROG_ATTACH));
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
    long ret, arg;
    va_list ap;

    va_start(ap, request);
    arg = va_arg(ap, long);
    va_end(ap);
    ret = raw(__NR_ioctl, fd, (long)request, arg, 0, 0, 0);
    if (ret >= 0)
        return (int)ret;
    if (setting("TENON_RECORD_PRETEND") &&
        (request == PERF_EVENT_IOC_SET_BPF || request == PERF_EVENT_IOC_ENABLE))
        return 0;
    errno = (int)-ret;
    return -1;
}

/* The door itself: libc's prototype. */
__attribute__((visibility("default"))) long syscall(long nr, ...)
{
    long a[6], ret;
    va_list ap;

    va_start(ap, nr);
    for (int k = 0; k < 6; k++)
        a[k] = va_arg(ap, long);
    va_end(ap);
    ret = raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (nr == __NR_bpf && setting("TENON_RECORD")) {
        union bpf_attr attr = {0};

        memcpy(&attr, (const void *)a[1], TN_MIN((size_t)a[2], sizeof(attr)));
        if ((int)a[0] == BPF_MAP_CREATE && ret >= 0 &&
            (attr.map_type == BPF_MAP_TYPE_ARRAY_OF_MAPS || attr.map_type == BPF_MAP_TYPE_HASH_OF_MAPS))
            remember_inner((int)ret, (int)attr.inner_map_fd);
        if ((int)a[0] == BPF_PROG_LOAD && ret != -EFAULT)
            record((const union bpf_attr *)a[1], (size_t)a[2], ret);
    }
    if (pretends(nr, a[0], ret))
        ret = nr == __NR_bpf && a[0] == BPF_PROG_ATTACH ? 0 : nothing();
    if (ret < 0 && ret > -4096) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}
