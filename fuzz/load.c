/* SPDX-License-Identifier: MIT */
/*
 * Coverage-guided fuzzing of a whole load: the input (load_input.h) is given to the broker's own handlers of
 * BTF_LOAD, MAP_CREATE, MAP_FREEZE, PROG_LOAD and OBJ_GET_INFO_BY_FD, in this process
 * (tests/broker/inside.h), as a tool would; the tool then ends. A find is a crash, a sanitizer's word, a
 * hang, memory or an object or a descriptor left behind, an answer that is no errno, a descriptor given with
 * a refusal.
 *
 * Half of the programs are to run (compiled, with what is built here only), half are judged (everything the
 * verifier has a rule for, with the running kernel's types, or those of tests/verify/host.h).
 *
 *   fuzz-load -seeds=DIR [RECORDINGS…]    writes a corpus into DIR: rows of the verifier's tests, generated
 *                                         programs, and the recordings in these folders (tests/differential)
 *   fuzz-load -max_total_time=60 DIR      libFuzzer's own main
 *   TN_FUZZ_SAY=1 fuzz-load INPUT         what each call answers
 *
 * Verifications end after 30 000 instructions, so that many fit into an hour; with log level 8 alone, which
 * no tool asks for, after the million that Linux allows.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "fuzz/load_input.h"
#include "isa/insn.h"
#include "tests/broker/inside.h"
#include "tests/differential/gen.h"
#include "tests/verify/asm.h"
#include "tests/verify/host.h"
#include "tests/verify/maps.h"
#include "verify/kfuncs.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define MAPS_MAX 64u
#define BTFS_AT  128u /* descriptor of the first BTF; maps begin at 0, as instructions name them */
#define PROG_AT  400
#define LOG_MAX  (1u << 20)

static struct inside tool;
static struct tn_btf *kernel, *by_hand; /* types of a host; `kernel` may be the other */
static u32 budget;
static bool say;

/* ----------------------------------------------------------------------------------------------- the load */

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    abort();
}

/* Linked in place of the verifier's for the broker (--wrap): the same with a smaller budget. */
int __real_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);
int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret);

int __wrap_tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret)
{
    struct tn_verify_in less = *in;
    struct tn_authority authority = in->authority ? *in->authority : tn_authority_all;

    if (budget)
        authority.limits.max_insns_processed = budget;
    less.authority = &authority;
    return __real_tn_verify(&less, ret);
}

static int call(enum load_call which, u32 command, union bpf_attr *attr, u32 size, s32 number,
                const struct load_part *tweaks)
{
    u8 bytes[TN_ATTR_MAX] = {0};
    int r;

    memcpy(bytes, attr, sizeof(*attr));
    for (u32 at = 0; tweaks && at + sizeof(struct load_tweak) <= tweaks->size;
         at += sizeof(struct load_tweak)) {
        struct load_tweak t;

        memcpy(&t, tweaks->data + at, sizeof(t));
        if (t.call != which)
            continue;
        if (t.at == LOAD_SIZE)
            size = t.value;
        else if (t.at <= sizeof(bytes) - sizeof(t.value))
            memcpy(bytes + t.at, &t.value, sizeof(t.value));
    }
    r = inside_command(&tool, command, bytes, size, number);
    if (say)
        fprintf(stderr, "command %u: %d %s\n", command, r, tool.caller.why.message);
    must(r <= 0 && r >= -4095, "an answer that is neither 0 nor an errno");
    must((number < 0 || tool.fd[number] >= 0) == (r == 0) || number < 0, "a descriptor and a refusal");
    return r;
}

static void load_btfs(const struct load_input *input, const struct load_how *how,
                      const struct load_part *tweaks)
{
    u32 number = BTFS_AT;

    for (u32 k = 0; k < input->nparts && number < BTFS_AT + MAPS_MAX; k++) {
        const struct load_part *part = &input->part[k];
        union bpf_attr attr = {0};

        if (part->kind != REC_BTF)
            continue;
        attr.btf = inside_lend(&tool, part->data, part->size);
        attr.btf_size = part->size;
        attr.btf_log_level = how->log_level;
        attr.btf_log_size = how->log_size;
        attr.btf_log_buf = how->log_size ? inside_lend(&tool, NULL, TN_MIN(how->log_size, LOG_MAX)) : 0;
        call(LOAD_BTF, BPF_BTF_LOAD, &attr, sizeof(attr), (s32)number++, tweaks);
    }
}

/* The k-th map, with what it holds when it is frozen; inner maps come behind those that hold them. */
static void load_map(const struct rec_map *map, s32 number, const struct load_part *contents,
                     const struct load_part *tweaks)
{
    union bpf_attr attr = {0};
    u32 zero = 0;

    attr.map_type = map->type;
    attr.key_size = map->key_size;
    attr.value_size = map->value_size;
    attr.max_entries = TN_MIN(map->max_entries, 65536u);
    attr.map_flags = map->map_flags;
    attr.map_extra = map->map_extra;
    memcpy(attr.map_name, map->name, sizeof(attr.map_name) - 1);
    if (map->btf >= 0) {
        attr.btf_fd = BTFS_AT + (u32)map->btf;
        attr.btf_key_type_id = map->btf_key_type_id;
        attr.btf_value_type_id = map->btf_value_type_id;
    }
    if (map->inner > number)
        attr.inner_map_fd = (u32)map->inner;
    if ((u64)attr.value_size * attr.max_entries > 64u << 10)
        attr.max_entries = 1; /* many fit into an hour */
    if (call(LOAD_MAP, BPF_MAP_CREATE, &attr, sizeof(attr), number, tweaks) || !contents)
        return;
    attr = (union bpf_attr){.map_fd = (u32)number};
    attr.key = inside_lend(&tool, &zero, sizeof(zero));
    attr.value = inside_lend(&tool, contents->data + 8, contents->size - 8);
    call(LOAD_CALLS, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr), -1, NULL);
    attr = (union bpf_attr){.map_fd = (u32)number};
    if (map->frozen)
        call(LOAD_CALLS, BPF_MAP_FREEZE, &attr, sizeof(attr), -1, NULL);
}

static void load_maps(const struct load_input *input, const struct load_part *tweaks)
{
    const struct load_part *contents[MAPS_MAX] = {NULL};
    struct rec_map map[MAPS_MAX];
    u32 n = 0;

    for (u32 k = 0; k < input->nparts; k++) {
        const struct load_part *part = &input->part[k];
        u64 of;

        if (part->kind == REC_MAP && n < MAPS_MAX)
            load_struct(part, &map[n++], sizeof(map[0]));
        if (part->kind == REC_CONTENTS && part->size >= sizeof(of)) {
            memcpy(&of, part->data, sizeof(of));
            if (of < MAPS_MAX)
                contents[of] = part;
        }
    }
    for (u32 k = n; k-- > 0;)
        load_map(&map[k], (s32)k, contents[k], tweaks);
}

static u64 lend_part(const struct load_part *part)
{
    return part ? inside_lend(&tool, part->data, part->size) : 0;
}

static void load_program(const struct load_input *input, const struct load_how *how,
                         const struct load_part *tweaks)
{
    const struct load_part *insns = load_find(input, REC_INSNS), *func = load_find(input, REC_FUNC_INFO),
                           *line = load_find(input, REC_LINE_INFO);
    struct rec_program program;
    s32 fd_array[MAPS_MAX];
    union bpf_attr attr = {0};

    load_struct(load_find(input, REC_PROGRAM), &program, sizeof(program));
    for (u32 k = 0; k < MAPS_MAX; k++)
        fd_array[k] = (s32)k;
    attr.prog_type = program.prog_type;
    attr.expected_attach_type = program.expected_attach_type;
    attr.prog_flags = program.prog_flags;
    attr.attach_btf_id = program.attach_btf_id;
    attr.insns = lend_part(insns);
    attr.insn_cnt = insns ? insns->size / (u32)sizeof(struct bpf_insn) : 0;
    attr.license = inside_lend(&tool, program.licence, sizeof(program.licence));
    attr.fd_array = inside_lend(&tool, fd_array, sizeof(fd_array));
    attr.log_level = how->log_level;
    attr.log_size = how->log_size;
    attr.log_buf = how->log_size ? inside_lend(&tool, NULL, TN_MIN(how->log_size, LOG_MAX)) : 0;
    memcpy(attr.prog_name, how->judged & 1 ? "judged" : "loaded", 7);
    if (program.btf >= 0) {
        attr.prog_btf_fd = BTFS_AT + (u32)program.btf;
        attr.func_info = lend_part(func);
        attr.func_info_rec_size = program.func_info_rec_size;
        attr.func_info_cnt = func && program.func_info_rec_size ? func->size / program.func_info_rec_size : 0;
        attr.line_info = lend_part(line);
        attr.line_info_rec_size = program.line_info_rec_size;
        attr.line_info_cnt = line && program.line_info_rec_size ? line->size / program.line_info_rec_size : 0;
    }
    budget = how->log_level == 8 ? 0 : 30000;
    if (call(LOAD_PROG, BPF_PROG_LOAD, &attr, sizeof(attr), PROG_AT, tweaks))
        return;

    struct bpf_prog_info info = {.nr_map_ids = 8, .xlated_prog_len = 4096, .jited_prog_len = 64};
    union bpf_attr ask = {0};

    info.map_ids = inside_lend(&tool, NULL, 8 * sizeof(u32));
    info.xlated_prog_insns = inside_lend(&tool, NULL, info.xlated_prog_len);
    info.jited_prog_insns = inside_lend(&tool, NULL, info.jited_prog_len);
    ask.info.bpf_fd = PROG_AT;
    ask.info.info_len = sizeof(info);
    ask.info.info = inside_lend(&tool, &info, sizeof(info));
    call(LOAD_INFO, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask), -1, tweaks);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static int lowest = -1; /* free descriptor: none may stay open */
    static struct load_input input;
    const struct load_part *tweaks;
    struct load_how how;
    const char *left;
    int fd;

    signal(SIGXFSZ, SIG_IGN); /* libFuzzer has set its own */
    load_parse(data, size, &input);
    load_struct(load_find(&input, LOAD_HOW), &how, sizeof(how));
    tweaks = load_find(&input, LOAD_TWEAKS);
    tool.broker.kernel_btf = how.by_hand & 1 ? by_hand : kernel;
    memset(&tool.caller.options, 0, sizeof(tool.caller.options));
    if (how.judged & 1)
        memcpy(tool.caller.options.judged, "judged", 7);
    load_btfs(&input, &how, tweaks);
    load_maps(&input, tweaks);
    load_program(&input, &how, tweaks);
    left = inside_drop(&tool);
    must(!left, left);
    fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (lowest >= 0 && fd != lowest) {
        char path[32], what[256] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%d", lowest);
        (void)!readlink(path, what, sizeof(what) - 1);
        fprintf(stderr, "descriptor %d: %s\n", lowest, what);
        must(!strncmp(what, "pipe:", 5), "a descriptor left open"); /* libFuzzer's, to its symbolizer */
    }
    lowest = fd;
    close(fd);
    return 0;
}

/* -------------------------------------------------------------------------------------------------- seeds */

struct row {
    const char *name;
    const struct bpf_insn *insns;
    u32 ninsns;
};
#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)
#define OK(name, ...)             {#name, P(__VA_ARGS__)},
#define NO(name, reason, at, ...) {#name, P(__VA_ARGS__)},
#define US(name, reason, at, ...) {#name, P(__VA_ARGS__)},
#define UNSAFE(...)               P(__VA_ARGS__)
#define SAFE(...)                 P(__VA_ARGS__)
// clang-format off
#define CLASS_IN(type, name, published, reason, unsafe, ...) {#name, unsafe}, {#name "-safe", __VA_ARGS__},
#define CLASS(name, published, reason, unsafe, ...)          {#name, unsafe}, {#name "-safe", __VA_ARGS__},
// clang-format on
static const struct row rows[] = {
#include "tests/verify/history.h"
#include "tests/verify/programs.h"
};

static void put(struct rec_out *out, u32 kind, const void *data, u32 size)
{
    rec_put(out, (enum rec_kind)kind, data, size);
}

static int save(struct rec_out *out, const char *dir, const char *prefix, u32 number)
{
    char path[4096];
    FILE *f;
    int r = 0;

    snprintf(path, sizeof(path), "%s/%s-%04u", dir, prefix, number);
    f = out->failed ? NULL : fopen(path, "wb");
    if (!f)
        return -EIO;
    fwrite(out->data + sizeof(struct rec_head), 1, out->size - sizeof(struct rec_head), f);
    if (fclose(f))
        r = -EIO;
    rec_out_clear(out);
    return r;
}

static int write_row(const struct row *row, const char *dir, u32 number)
{
    struct rec_program program = {
        .prog_type = BPF_PROG_TYPE_KPROBE, .nmaps = M_ALL, .btf = -1, .licence = "GPL"};
    struct load_how how = {.judged = number & 1, .log_level = number % 8, .log_size = number % 8 ? 65536 : 0};
    struct tn_verify_map maps[M_ALL];
    struct rec_out out = {0};

    put(&out, LOAD_HOW, &how, sizeof(how));
    put(&out, REC_PROGRAM, &program, sizeof(program));
    put(&out, REC_INSNS, row->insns, row->ninsns * (u32)sizeof(*row->insns));
    all_maps(maps);
    for (u32 m = 0; m < M_ALL; m++) {
        const struct tn_map_geo *geo = &maps[m].geo;
        struct rec_map map = {.type = geo->type,
                              .key_size = geo->key_size,
                              .value_size = geo->value_size,
                              .max_entries = geo->max_entries,
                              .map_flags = geo->map_flags,
                              .btf = -1,
                              .inner = -1,
                              .frozen = maps[m].frozen != NULL};
        u8 contents[8 + sizeof(rodata)] = {(u8)m};

        put(&out, REC_MAP, &map, sizeof(map));
        memcpy(contents + 8, rodata, sizeof(rodata));
        if (map.frozen)
            put(&out, REC_CONTENTS, contents, sizeof(contents));
    }
    return save(&out, dir, "row", number);
}

/* Without what the kernel said. `how` alternates, so that both roads start from every kind of program. */
static int write_recording(const struct rec *rec, const char *dir, const char *prefix, u32 number)
{
    const u32 level = number / 4 % 8;
    struct load_how how = {.judged = number % 4 != 0, .log_level = level, .log_size = level ? 65536 : 0};
    struct rec_program program = *rec->program;
    struct rec_out out = {0};

    if (!memcmp(&program.host_btf_size, "\0\0\0\0", 4) && number % 2)
        how.judged = 0;
    put(&out, LOAD_HOW, &how, sizeof(how));
    put(&out, REC_PROGRAM, &program, sizeof(program));
    put(&out, REC_INSNS, rec->insns, rec->ninsns * (u32)sizeof(*rec->insns));
    if (rec->func_info.size)
        put(&out, REC_FUNC_INFO, rec->func_info.data, rec->func_info.size);
    if (rec->line_info.size)
        put(&out, REC_LINE_INFO, rec->line_info.data, rec->line_info.size);
    for (u32 k = 0; k < rec->nbtfs; k++)
        put(&out, REC_BTF, rec->btf[k].data, rec->btf[k].size);
    for (u32 k = 0; k < rec->nmaps; k++)
        put(&out, REC_MAP, rec->map[k], sizeof(*rec->map[k]));
    for (u64 k = 0; k < rec->nmaps; k++) {
        u32 size = TN_MIN(rec->contents[k].size, 4096u);
        u8 bytes[8 + 4096];

        if (!rec->contents[k].data)
            continue;
        memcpy(bytes, &k, 8);
        memcpy(bytes + 8, rec->contents[k].data, size);
        put(&out, REC_CONTENTS, bytes, 8 + size);
    }
    return save(&out, dir, prefix, number);
}

/* Every recording below `path`, the small ones: what is large is slow, and teaches no more. */
static int write_folder(const char *path, const char *dir, u32 *number)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    int r = folder ? 0 : -errno;

    while (!r && folder && (entry = readdir(folder))) {
        char name[4096];
        struct stat st;
        struct rec rec;

        if (entry->d_name[0] == '.' ||
            snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >= (int)sizeof(name) ||
            stat(name, &st))
            continue;
        if (S_ISDIR(st.st_mode)) {
            r = write_folder(name, dir, number);
        } else if (!rec_read(name, &rec, NULL)) {
            u32 bytes = rec.ninsns * 8 + rec.func_info.size + rec.line_info.size;

            for (u32 k = 0; k < rec.nbtfs; k++)
                bytes += rec.btf[k].size;
            if (bytes < 48u << 10)
                r = write_recording(&rec, dir, "rec", (*number)++);
            rec_clear(&rec);
        }
    }
    if (folder)
        closedir(folder);
    return r;
}

static int write_seeds(const char *dir, int nfolders, char **folders)
{
    static struct gen_program program;
    struct gen_world world;
    u32 number = 0;
    int r = 0;

    for (u32 k = 0; !r && k < TN_ARRAY_SIZE(rows); k++)
        r = write_row(&rows[k], dir, k);
    if (!r)
        r = gen_world_open(&world, kernel != by_hand);
    for (u32 k = 0; !r && k < 300; k++) {
        gen_program(&world, k + 1, &program);
        r = write_recording(&program.rec, dir, "gen", k);
    }
    gen_world_close(&world);
    for (int k = 0; !r && k < nfolders; k++)
        r = write_folder(folders[k], dir, &number);
    if (r)
        fprintf(stderr, "the corpus cannot be written: %s\n", strerror(-r));
    return r ? 1 : 0;
}

/* -------------------------------------------------------------------------------------------------- start */

static void open_hosts(void)
{
    size_t size = 0;
    u8 *data = NULL;
    FILE *f = fopen("/sys/kernel/btf/vmlinux", "rb");

    if (f && (data = malloc(64u << 20)))
        size = fread(data, 1, 64u << 20, f);
    if (f)
        fclose(f);
    by_hand = host_open(NULL);
    must(by_hand, "no types of a host");
    if (!size || tn_btf_open(data, size, NULL, &kernel, NULL))
        kernel = by_hand;
    free(data);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const names[] = {
#define K(name, ...) #name,
        TN_KFUNCS(K)
#undef K
    };
    static u32 ids[TN_ARRAY_SIZE(names)];
    /* A map has the memory that is asked for: no more than the machine can spare. */
    const struct rlimit size = {16u << 20, 16u << 20};

    say = getenv("TN_FUZZ_SAY") != NULL;
    open_hosts();
    for (u32 k = 0; k < TN_ARRAY_SIZE(names); k++)
        if ((ids[load_nkfuncs] = tn_btf_find(kernel, BTF_KIND_FUNC, names[k])))
            load_nkfuncs++;
    load_kfunc = ids;
    if (*argc >= 2 && !strncmp((*argv)[1], "-seeds=", 7))
        exit(write_seeds((*argv)[1] + 7, *argc - 2, *argv + 2));
    must(!setrlimit(RLIMIT_FSIZE, &size), "files cannot be bounded");
    must(!inside_open(&tool), "the broker does not start");
    tool.broker.kernel_btf_tried = true;
    return 0;
}

/* ------------------------------------------------------------------------ commands that are not linked in */

#define ABSENT(name)                                                                                         \
    int tn_cmd_##name(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size);         \
    int tn_cmd_##name(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)          \
    {                                                                                                        \
        return -EOPNOTSUPP;                                                                                  \
    }
ABSENT(link_create)
ABSENT(link_update)
ABSENT(link_detach)
ABSENT(link_next_id)
ABSENT(link_fd_by_id)
ABSENT(prog_test_run)
ABSENT(raw_tracepoint_open)

/* Nobody here has a host, and so no policy: what the broker does then (host.c, policy.c). */
struct tn_bhost *tn_host_of(struct tn_bbtf *btf)
{
    return NULL;
}

int tn_host_resolve(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog)
{
    return prog->type == BPF_PROG_TYPE_TRACING && prog->object.kind != TN_KIND_JUDGED ? -EINVAL : 0;
}

int tn_policy_begin(struct tn_caller *caller, struct tn_prog *prog, struct tn_policy_ask *ret_ask)
{
    prog->granted = calloc(1, sizeof(*prog->granted));
    *ret_ask = (struct tn_policy_ask){.authority = tn_authority_all};
    return prog->granted ? 0 : -ENOMEM;
}

int tn_policy_end(struct tn_caller *caller, struct tn_prog *prog)
{
    return 0;
}

void tn_policy_journal(struct tn_broker *broker, u32 uid, s32 pid, const char *deed, const char *prog,
                       const char *klass, const char *host, const struct tn_error *refused)
{
}

void tn_granted_free(struct tn_granted *granted)
{
    free(granted);
}

int tn_wakeup_add(struct tn_wakeup *wakeup, const struct tn_map *map, int eventfd)
{
    return -EOPNOTSUPP;
}

void tn_wakeup_del(struct tn_wakeup *wakeup, const struct tn_map *map) {}
