/* SPDX-License-Identifier: MIT */
/*
 * What reading the host's memory costs a program: bpf_probe_read_user of some sizes and of a string, by loads whose faults are ours
 * and by system calls (src/rt/loads.h), and a read of what is not there. A function of this very program is hooked by programs that
 * read (tests/rewrite/inproc.h), and timed against one hooked by the same program without the read, in rounds that take turns. One
 * JSON object a line; beside it, where the machine counts them, instructions.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/figure.h"
#include "inproc.h"
#include "rt/signals.h"

#define EACH 1000u /* calls a sample: short enough where each takes microseconds */

#define FUNCTIONS(X) X(nothing) X(word) X(line) X(page) X(text) X(gone) X(bare) X(typed)
#define X(name)                                                                                              \
    __attribute__((noinline, aligned(64))) u64 hot_##name(u64 a, u64 b);                                     \
    u64 hot_##name(u64 a, u64 b)                                                                             \
    {                                                                                                        \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        return (a ^ b) * 3 + b;                                                                              \
    }
FUNCTIONS(X)
#undef X

static u8 there[4096] = "/usr/share/nginx/html/index.html";
static struct inproc in;
static struct tn_signals *sigs;
static int counter; /* of instructions; −1: there is none */

static u64 instructions(void)
{
    u64 n = 0;

    return counter >= 0 && read(counter, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static double timed(u64 (*volatile fn)(u64, u64), double *ret_instructions)
{
    u64 sum = 0, before = instructions();
    double begun = now(), ns;

    for (u64 i = 0; i < EACH; i++)
        sum = fn(sum, i);
    __asm__ volatile("" ::"r"(sum));
    ns = (now() - begun) / EACH;
    *ret_instructions = (double)(instructions() - before) / EACH;
    return ns;
}

/* A program that reads `size` bytes at `at` into its map; size 0: that does all but read. */
static struct inproc_prog *load(struct inproc_prog *prog, u32 helper, u32 size, u64 at, struct tn_error *err)
{
    const struct bpf_insn insns[] = {
        I(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
        I(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
        LDMAP(1, 0),
        CALL(BPF_FUNC_map_lookup_elem),
        I(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 5 - !size, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (s32)size),
        I(BPF_LD | BPF_IMM | BPF_DW, 3, 0, 0, (s32)(u32)at),
        I(0, 0, 0, 0, (s32)(at >> 32)),
        CALL((s32)helper),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
        EXIT,
    };
    struct bpf_insn these[TN_ARRAY_SIZE(insns)];
    u32 n = 0;

    for (u32 i = 0; i < TN_ARRAY_SIZE(insns); i++)
        if (size || i != 11)
            these[n++] = insns[i];
    return inproc_map(&in, prog, BPF_MAP_TYPE_ARRAY, 4, sizeof(there), 1, err) ||
                   inproc_load(&in, prog, these, n, err)
               ? NULL
               : prog;
}

/* One that loads through a pointer that may lead nowhere. */
static int load_typed(struct inproc_prog *prog, u32 size, u64 at, struct tn_error *err)
{
    const struct bpf_insn insns[] = {
        I(BPF_LD | BPF_IMM | BPF_DW, 3, 0, 0, (s32)(u32)at),
        I(0, 0, 0, 0, (s32)(at >> 32)),
        size ? I(BPF_LDX | BPF_MEM | BPF_DW, 0, 3, 0, 0) : I(BPF_ALU64 | BPF_MOV | BPF_X, 0, 3, 0, 0),
        EXIT,
    };

    prog->careful = true;
    return inproc_load_unverified(&in, prog, insns, TN_ARRAY_SIZE(insns), err);
}

int main(void)
{
    static const struct {
        const char *name;
        u64 (*fn)(u64, u64);
        u32 helper, size;
        const char *goal;
    } rows[] = {
        {"nothing", hot_nothing, BPF_FUNC_probe_read_user, 0, ""},
        {"8 bytes", hot_word, BPF_FUNC_probe_read_user, 8, "≤ 5 ns"},
        {"64 bytes", hot_line, BPF_FUNC_probe_read_user, 64, ""},
        {"4096 bytes", hot_page, BPF_FUNC_probe_read_user, 4096, ""},
        {"a string of 32 bytes", hot_text, BPF_FUNC_probe_read_user_str, 256, ""},
        {"8 bytes that are not there", hot_gone, BPF_FUNC_probe_read_user, 8, ""},
        {NULL, hot_bare, 0, 0, ""},
        {"a word behind a typed pointer", hot_typed, 0, 8, "≤ 5 ns"}, /* against the row before it */
    };
    static const char *const ways[] = {"by system calls", "by loads"};
    enum { ROWS = TN_ARRAY_SIZE(rows) };
    static double ns[2][ROWS][ROUNDS], insns[2][ROWS][ROUNDS];
    static struct inproc_prog progs[ROWS];
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof(attr),
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    u8 *gone = mmap(NULL, TN_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct inproc_how how = {0};
    struct tn_error err = {0};
    int r = inproc_init(&in, &err);

    counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    in.near->proc.image_end = 0; /* as of memory that may vanish */
    for (u32 i = 0; i < ROWS && r == 0; i++) {
        u64 at = (u64)(rows[i].fn == hot_gone ? gone : there);

        if (!rows[i].helper ? load_typed(&progs[i], rows[i].size, at, &err)
                            : !load(&progs[i], rows[i].helper, rows[i].size, at, &err))
            r = -EINVAL;
#define X(name)                                                                                              \
    if (r == 0 && rows[i].fn == hot_##name)                                                                  \
        r = inproc_hook(&in, "hot_" #name, hot_##name, TN_PLACE_ENTRY, &progs[i], &how, NULL, &err);
        FUNCTIONS(X)
#undef X
    }
    r = r < 0 ? r : inproc_take_faults(&in, &sigs);
    if (r) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    for (u32 k = 0; k < ROUNDS; k++)
        for (u32 way = 0; way < 2; way++) {
            sigs->loads = way;
            for (u32 i = 0; i < ROWS; i++)
                ns[way][i][k] = timed(rows[i].fn, &insns[way][i][k]);
        }
    if (memcmp(progs[3].map[0].base + progs[3].map[0].geo.value_off, there, sizeof(there)) ||
        strcmp((char *)progs[4].map[0].base + progs[4].map[0].geo.value_off, (char *)there)) {
        fprintf(stderr, "what was read is not what is there\n");
        return 1;
    }
    for (u32 i = 1; i < ROWS; i++)
        for (u32 way = 2; rows[i].name && way-- > 0;) {
            double added[ROUNDS], more[ROUNDS];
            u32 base = rows[i].helper ? 0 : i - 1;
            char name[128];

            for (u32 k = 0; k < ROUNDS; k++) {
                added[k] = ns[way][i][k] - ns[way][base][k];
                more[k] = insns[way][i][k] - insns[way][base][k];
            }
            snprintf(name, sizeof(name), "read of %s %s, added", rows[i].name, ways[way]);
            figure(name, added, "ns", way ? rows[i].goal : "");
            if (counter >= 0)
                figure(name, more, "instructions", "");
        }
    return 0;
}
