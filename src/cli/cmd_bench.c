/* SPDX-License-Identifier: MIT */
/*
 * tenon bench: what a hook costs on this machine, in a few seconds.
 *
 * A child calls a small function in a loop and says how long a call took. In between we attach a program that
 * counts in an array map (five instructions, written here by hand) to that function: plain, hooked, plain,
 * hooked…; medians. For root, the same program through the kernel's own uprobe, beside it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "rewrite/module.h"

#define ROUNDS_MAX 99
#define CALLS      2000000u

struct bench {
    const char *name;
    u32 rounds;
    bool json;
    pid_t child;
    int ask, answer; /* pipes: calls to make; nanoseconds a call */
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct bench *b = state->input;
    u64 number;

    switch (key) {
    case 'r':
        if (tn_parse_u64(arg, ROUNDS_MAX, &number) || number < 3)
            argp_error(state, "--rounds %s: not a number from 3 to %u", arg, ROUNDS_MAX);
        b->rounds = (u32)number;
        return 0;
    case 'j':
        b->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument: %s", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"rounds", 'r', "N", 0, "rounds of each kind, interleaved (9)", 0},
    {"json", 'j', 0, 0, "one array, a row a figure: name, value, unit, low, high, rounds", 0},
    {0},
};
static const struct argp argp = {
    options,
    option,
    "",
    "Measure what a hook costs on this machine: a function of two arguments called plainly, and with a "
    "program attached that "
    "counts in an array map. Medians, with the lowest and the highest round.",
    NULL,
    NULL,
    NULL,
};

/* What is hooked. Exported, so that the file's symbol table has it even when stripped. It begins with a push,
   which the kernel's uprobe imitates; the single step that another first instruction would cost it is ten
   times as slow. */
__attribute__((noinline, visibility("default"))) u64 tn_bench_function(u64 a, u64 b);
u64 tn_bench_function(u64 a, u64 b)
{
    __asm__ volatile("" ::: "memory", "rbx");
    return a * 3 + b;
}

static void child_main(int ask, int answer)
{
    u32 calls;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(ask, &calls, sizeof(calls)) == sizeof(calls)) {
        u64 sum = 0, start = tn_monotonic();
        double each;

        for (u32 i = 0; i < calls; i++)
            sum = tn_bench_function(sum, i);
        __asm__ volatile("" ::"r"(sum));
        each = (double)(tn_monotonic() - start) / calls;
        if (write(answer, &each, sizeof(each)) != sizeof(each))
            break;
    }
    _exit(0);
}

static int child_start(struct bench *b)
{
    int ask[2], answer[2];

    if (pipe2(ask, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(answer, O_CLOEXEC) < 0) {
        close(ask[0]);
        close(ask[1]);
        return -errno;
    }
    fflush(NULL);
    b->child = fork();
    if (b->child == 0) {
        close(ask[1]);
        close(answer[0]);
        child_main(ask[0], answer[1]);
    }
    close(ask[0]);
    close(answer[1]);
    b->ask = ask[1];
    b->answer = answer[0];
    return b->child < 0 ? -EAGAIN : 0;
}

static void child_end(struct bench *b)
{
    if (b->child > 0) {
        kill(b->child, SIGKILL);
        while (waitpid(b->child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(b->ask);
    close(b->answer);
}

static int measure(struct bench *b, u32 calls, double *ret_ns)
{
    struct pollfd ready = {.fd = b->answer, .events = POLLIN};

    if (write(b->ask, &calls, sizeof(calls)) != sizeof(calls))
        return -EPIPE;
    if (poll(&ready, 1, 60000) != 1)
        return -ETIMEDOUT;
    return read(b->answer, ret_ns, sizeof(*ret_ns)) == sizeof(*ret_ns) ? 0 : -EPIPE;
}

/* r0 = map[0]; if (r0) *r0 += 1; return 0 */
static int load_program(int map)
{
    const struct bpf_insn insns[] = {
        {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10, .off = -4},
        {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10},
        {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -4},
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
        {0},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .off = 3},
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
        {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = 1},
        {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };

    return bpf_prog_load(BPF_PROG_TYPE_KPROBE, "count", "GPL", insns, TN_ARRAY_SIZE(insns), NULL);
}

/* Where the function lies in our own file. */
static int find_function(u64 *ret_offset, struct tn_error *err)
{
    _close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct tn_module *module = NULL;
    u64 addr;
    int r;

    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "/proc/self/exe: %s", strerror(errno));
    r = tn_module_open(fd, &module, err);
    if (!r)
        r = tn_module_find(module, "tn_bench_function", &addr, err);
    if (!r)
        r = tn_module_offset_of_addr(module, addr, ret_offset);
    tn_module_free(module);
    return r;
}

static int uprobe_type(u32 *ret_type)
{
    _fclose_ FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");

    return file && fscanf(file, "%u", ret_type) == 1 ? 0 : -ENOENT;
}

static int attach(const struct bench *b, int prog, u64 offset)
{
    static char self[4096];
    struct perf_event_attr attr = {.size = sizeof(attr)};
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    u32 type;
    int fd, r;

    r = n < 0 ? -errno : uprobe_type(&type);
    if (r)
        return r;
    self[n] = 0;
    attr.type = type;
    attr.config1 = (u64)(uintptr_t)self;
    attr.config2 = offset;
    fd = (int)syscall(SYS_perf_event_open, &attr, b->child, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog) < 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct series {
    double ns[ROUNDS_MAX];
    u32 n;
};

static double median(struct series *s)
{
    qsort(s->ns, s->n, sizeof(s->ns[0]), compare);
    return s->n % 2 ? s->ns[s->n / 2] : (s->ns[s->n / 2 - 1] + s->ns[s->n / 2]) / 2;
}

/* Interleaved rounds, plain and hooked. `calls` of the hooked kind. */
static int rounds(struct bench *b, u64 offset, u32 calls, struct series *plain, struct series *hooked,
                  const char **ret_what)
{
    _close_ int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "count", 4, 8, 1, NULL);
    _close_ int prog = map >= 0 ? load_program(map) : -1;
    u64 count = 0, before = 0;
    u32 zero = 0;
    int r;

    *ret_what = "creating a map or loading a program";
    if (prog < 0)
        return -errno;
    for (u32 i = 0; i < b->rounds; i++) {
        int link;

        *ret_what = "measuring";
        r = measure(b, CALLS, &plain->ns[plain->n]);
        if (r)
            return r;
        plain->n++;
        *ret_what = "attaching to our own child";
        link = attach(b, prog, offset);
        if (link < 0)
            return link;
        *ret_what = "measuring";
        r = measure(b, calls / 10, &hooked->ns[hooked->n]); /* warms up */
        if (!r)
            r = measure(b, calls, &hooked->ns[hooked->n]);
        close(link);
        if (r)
            return r;
        hooked->n++;
        *ret_what = "a hooked call was not counted";
        if (bpf_map_lookup_elem(map, &zero, &count) < 0)
            return -errno;
        if (count - before != calls + calls / 10)
            return -ENODATA;
        before = count;
    }
    return 0;
}

static void figure(const struct bench *b, json_t *list, const char *name, struct series *s)
{
    double value = median(s);

    if (b->json)
        json_array_append_new(list, json_pack("{s:s, s:f, s:s, s:f, s:f, s:I}", "name", name, "value", value,
                                              "unit", "ns", "low", s->ns[0], "high", s->ns[s->n - 1],
                                              "rounds", (json_int_t)s->n));
    else
        printf("%-38s %10.2f ns   %9.2f … %.2f\n", name, value, s->ns[0], s->ns[s->n - 1]);
}

int tn_cmd_bench(int argc, char **argv)
{
    struct bench b = {.name = argv[0], .rounds = 9, .ask = -1, .answer = -1};
    static struct series plain, hooked, kernel_plain, kernel;
    const char *what = "starting a child", *kernel_what = "";
    struct tn_error err = {0};
    u64 offset;
    int r, kernel_r;
    json_t *list;

    tn_cli_parse(&argp, argc, argv, 0, &b);
    tn_libbpf_listen(false);
    r = find_function(&offset, &err);
    if (r)
        return tn_cli_error(b.name, r, &err);
    r = child_start(&b);
    if (r)
        return tn_cli_fail(b.name, "%s: %s", what, strerror(-r));
    /* The kernel first: once the door is open, all of bpf(2) is ours. */
    kernel_r = rounds(&b, offset, CALLS / 20, &kernel_plain, &kernel, &kernel_what);
    r = tn_connect(true, &err);
    if (r) {
        child_end(&b);
        return tn_cli_error(b.name, r, &err);
    }
    r = rounds(&b, offset, CALLS, &plain, &hooked, &what);
    if (r) {
        struct tn_ctl_error why;
        bool known = tn_ctl_why(&why) && why.why.message[0];

        child_end(&b);
        return tn_cli_fail(b.name, "%s: %s", what, known ? why.why.message : strerror(-r));
    }
    child_end(&b);
    list = json_array();
    figure(&b, list, "function called plainly", &plain);
    figure(&b, list, "hooked by tenon, counting in a map", &hooked);
    if (!kernel_r)
        figure(&b, list, "hooked by the kernel's uprobe, the same", &kernel);
    if (b.json) {
        tn_cli_print_json(list, false);
        return TN_EXIT_OK;
    }
    json_decref(list);
    printf("\nhooked ÷ plain %.2f; added by tenon %.2f ns", median(&hooked) / median(&plain),
           median(&hooked) - median(&plain));
    if (!kernel_r)
        printf(", by the kernel %.0f ns, %.0f times as much\n", median(&kernel) - median(&kernel_plain),
               (median(&kernel) - median(&kernel_plain)) / (median(&hooked) - median(&plain)));
    else
        printf("\nthe kernel's uprobe could not be measured: %s: %s\n", kernel_what, strerror(-kernel_r));
    return TN_EXIT_OK;
}
