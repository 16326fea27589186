/* SPDX-License-Identifier: MIT */
/* See oracle.h. Talks to bpf(2) without libbpf in between: what is asked is exactly what was recorded. */
#include "tests/differential/oracle.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

static int bpf(int cmd, union bpf_attr *attr)
{
    long ret = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

    return ret < 0 ? -errno : (int)ret;
}

static u64 address(const void *p)
{
    return (u64)(uintptr_t)p;
}

const char *oracle_missing(void)
{
    static const struct bpf_insn ret0[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                           {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_KPROBE, .insns = address(ret0), .insn_cnt = 2, .license = address("GPL")};
    int fd;

    if (geteuid())
        return "the kernel's verifier is asked as root only";
    fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd < 0)
        return "this kernel does not load programs (bpf(2) is missing or forbidden)";
    close(fd);
    return NULL;
}

static int make_map(const struct oracle *o, u32 number)
{
    const struct rec_map *m = o->rec->map[number];
    union bpf_attr attr = {
        .map_type = m->type,
        .key_size = m->key_size,
        .value_size = m->value_size,
        .max_entries = m->max_entries,
        .map_flags = m->map_flags,
        .map_extra = m->map_extra,
        .inner_map_fd = m->inner >= 0 ? (u32)o->map[m->inner] : 0,
    };
    int fd, e = 0;

    if (m->btf >= 0 && o->btf[m->btf] >= 0 && (m->btf_value_type_id || m->btf_key_type_id)) {
        attr.btf_fd = (u32)o->btf[m->btf];
        attr.btf_key_type_id = m->btf_key_type_id;
        attr.btf_value_type_id = m->btf_value_type_id;
    }
    memcpy(attr.map_name, m->name, sizeof(attr.map_name) - 1);
    for (char *c = attr.map_name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.'))
            *c = '_';
    fd = bpf(BPF_MAP_CREATE, &attr);
    if (fd < 0)
        return fd;
    if (o->rec->contents[number].data) {
        union bpf_attr put = {
            .map_fd = (u32)fd, .key = address(&(u32){0}), .value = address(o->rec->contents[number].data)};

        e = bpf(BPF_MAP_UPDATE_ELEM, &put);
    }
    if (m->type == 33 /* BPF_MAP_TYPE_ARENA */) { /* its user address is that of the first mapping */
        size_t size = (size_t)m->max_entries * (size_t)sysconf(_SC_PAGESIZE);
        void *at = mmap((void *)(uintptr_t)m->map_extra, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | (m->map_extra ? MAP_FIXED_NOREPLACE : 0), fd, 0);

        if (at != MAP_FAILED)
            munmap(at, size);
    }
    if (!e && m->frozen) {
        union bpf_attr freeze = {.map_fd = (u32)fd};

        e = bpf(BPF_MAP_FREEZE, &freeze);
    }
    if (e) {
        close(fd);
        return e;
    }
    return fd;
}

int oracle_open(struct oracle *o, const struct rec *rec)
{
    int e = 0;

    o->rec = rec;
    o->bound_ms = 0;
    o->detour.btf = -1;
    memset(o->map, -1, sizeof(o->map));
    memset(o->btf, -1, sizeof(o->btf));
    for (u32 k = 0; k < rec->nbtfs; k++) {
        union bpf_attr attr = {.btf = address(rec->btf[k].data), .btf_size = rec->btf[k].size};

        o->btf[k] = bpf(BPF_BTF_LOAD, &attr);
    }
    for (u32 k = rec->nmaps; k-- && !e;) { /* inner maps come after their outer ones */
        o->map[k] = make_map(o, k);
        e = o->map[k] < 0 ? o->map[k] : 0;
    }
    if (!e && detour_needed(rec))
        e = detour_open(&o->detour, rec);
    if (e)
        oracle_close(o);
    return e;
}

void oracle_close(struct oracle *o)
{
    for (u32 k = 0; k < REC_MAX_MAPS; k++)
        if (o->map[k] >= 0)
            close(o->map[k]);
    for (u32 k = 0; k < REC_MAX_BTFS; k++)
        if (o->btf[k] >= 0)
            close(o->btf[k]);
    memset(o->map, -1, sizeof(o->map));
    memset(o->btf, -1, sizeof(o->btf));
    detour_close(&o->detour);
}

/* A program array belongs to the type of the first program that names it: each program gets a new one. */
static void renew_program_arrays(struct oracle *o, const struct bpf_insn *insns, u32 n)
{
    for (u32 k = 0; k + 1 < n; k++) {
        u32 map = (u32)insns[k].imm;

        if (insns[k].code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if (insns[k].src_reg == BPF_PSEUDO_MAP_FD && map < o->rec->nmaps &&
            o->rec->map[map]->type == BPF_MAP_TYPE_PROG_ARRAY) {
            int fd = make_map(o, map);

            if (fd >= 0) {
                close(o->map[map]);
                o->map[map] = fd;
            }
        }
        k++;
    }
}

static void woken(int signal)
{
    (void)signal;
}

/* The kernel's verifier looks for signals as it goes, and gives up. */
static void bound(u32 ms)
{
    static bool once;
    struct itimerval timer = {.it_value = {ms / 1000, ms % 1000 * 1000}};

    if (!once) {
        struct sigaction action = {.sa_handler = woken};

        sigaction(SIGALRM, &action, NULL);
        once = true;
    }
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void name_maps(const struct oracle *o, struct bpf_insn *insns, u32 n)
{
    for (u32 k = 0; k + 1 < n; k++) {
        struct bpf_insn *i = &insns[k];

        if (i->code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if (i->src_reg == BPF_PSEUDO_MAP_FD || i->src_reg == BPF_PSEUDO_MAP_VALUE)
            i->imm = i->imm >= 0 && (u32)i->imm < o->rec->nmaps ? o->map[i->imm] : -1;
        k++;
    }
}

static int load_bounded(const struct oracle *o, union bpf_attr *attr)
{
    int fd;

    if (o->bound_ms)
        bound(o->bound_ms);
    fd = bpf(BPF_PROG_LOAD, attr);
    if (o->bound_ms)
        bound(0);
    return fd;
}

/* −EPROTO: accepted, but there is no program to show for it. */
static int load_detour(struct oracle *o, const struct bpf_insn *insns, u32 n, u32 level, char *log,
                       u32 log_size)
{
    static char words[1u << 20];
    const struct rec_program *p = o->rec->program;
    _free_ struct bpf_insn *text = NULL;
    _free_ struct bpf_func_info *funcs = NULL;
    union bpf_attr attr = {
        .prog_type = p->prog_type,
        .expected_attach_type = DETOUR_ATTACH,
        .prog_flags = p->prog_flags,
        .attach_btf_id = p->attach_btf_id,
        .license = address(p->licence),
        .prog_btf_fd = (u32)o->detour.btf,
        .func_info_rec_size = sizeof(*funcs),
        .prog_name = "asked",
    };
    int e = detour_write(&o->detour, o->rec, insns, n, &text, &attr.insn_cnt, &funcs, &attr.func_info_cnt);

    if (e)
        return e;
    renew_program_arrays(o, insns, n);
    name_maps(o, text, attr.insn_cnt);
    attr.insns = address(text);
    attr.func_info = address(funcs);
    words[0] = 0;
    attr.log_buf = address(log ? log : words);
    attr.log_size = log ? log_size : sizeof(words);
    attr.log_level = level ? level : 1;
    if (log)
        log[0] = 0;
    e = load_bounded(o, &attr);
    if (e == -ENOSPC) { /* of a log that is too long, its end is there, but not the answer */
        e = -DETOUR_ERRNO;
        if (!detour_accepted(log ? log : words)) {
            attr.log_level = 4;
            e = load_bounded(o, &attr);
            return e == -DETOUR_ERRNO ? -ENOTTY : e;
        }
    }
    return e == -DETOUR_ERRNO && detour_accepted(log ? log : words) ? -EPROTO : e;
}

int oracle_load(struct oracle *o, const struct bpf_insn *insns, u32 n, bool bare, u32 level, char *log,
                u32 log_size)
{
    const struct rec *rec = o->rec;
    const struct rec_program *p = rec->program;
    _free_ struct bpf_insn *copy = malloc(((size_t)n + 1) * sizeof(*copy));
    union bpf_attr attr = {
        .prog_type = p->prog_type,
        .expected_attach_type = p->expected_attach_type,
        .prog_flags = p->prog_flags,
        .attach_btf_id = p->attach_btf_id,
        .insns = address(copy),
        .insn_cnt = n,
        .license = address(p->licence),
        .prog_name = "asked",
    };

    if (!copy)
        return -ENOMEM;
    if (o->detour.btf >= 0)
        return load_detour(o, insns, n, level, log, log_size);
    renew_program_arrays(o, insns, n);
    memcpy(copy, insns, n * sizeof(*copy));
    name_maps(o, copy, n);
    if (p->btf >= 0 && o->btf[p->btf] >= 0)
        attr.prog_btf_fd = (u32)o->btf[p->btf];
    if (attr.prog_btf_fd && rec->func_info.size && !bare) {
        attr.func_info = address(rec->func_info.data);
        attr.func_info_rec_size = p->func_info_rec_size;
        attr.func_info_cnt = rec->func_info.size / p->func_info_rec_size;
    }
    if (log) {
        log[0] = 0;
        attr.log_buf = address(log);
        attr.log_size = log_size;
        attr.log_level = level;
    }
    return load_bounded(o, &attr);
}

int oracle_ask(struct oracle *o, const struct bpf_insn *insns, u32 n, bool bare, u32 level, char *log,
               u32 log_size)
{
    int fd = oracle_load(o, insns, n, bare, level, log, log_size);

    if (fd == -EPROTO && o->detour.btf >= 0)
        return 0;
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int oracle_run(int fd, u32 data_size, u32 *ret_retval)
{
    u8 in[64] = {0}, back[256];
    union bpf_attr attr = {.test = {.prog_fd = (u32)fd}};
    int e;

    if (data_size) {
        attr.test.data_size_in = TN_MIN(data_size, (u32)sizeof(in));
        attr.test.data_in = address(in);
        attr.test.data_size_out = sizeof(back);
        attr.test.data_out = address(back);
    }
    e = bpf(BPF_PROG_TEST_RUN, &attr);
    if (!e)
        *ret_retval = attr.test.retval;
    return e;
}
