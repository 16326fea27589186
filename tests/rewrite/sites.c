/* SPDX-License-Identifier: MIT */
/*
 * Every system call of the C libraries and their loaders, watched and not. A child of this process runs the code around
 * each one, an instruction at a time, as it is in the file and as it is when the call is hooked where it is entered and
 * where it is left. Compared is what the kernel finds and what the host finds: all registers, flags, vector and x87
 * state, the memory that the code may touch and its red zone, and the signal mask.
 *
 *     image   the library, as a loader maps it, without relocations: what it reads there is the same in both runs
 *     room    a thread's memory, what registers point to, a stack
 *
 * The kernel makes another call than the one that stands there (getpid), and the answer is changed afterwards: so rcx and
 * r11 are as the kernel leaves them, and every way behind the call is taken.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "arena.h"
#include "rewrite/flow.h"
#include "rewrite/module.h"
#include "x86/decode.h"

#define IMAGE     0x20000000ull
#define ROOM      0x30000000ull
#define BACK      ROOM /* a caller; nothing is run there */
#define TRAP_FLAG 0x100ull
#define RED_ZONE  128u
#define STEPS_MAX 20000u
#define BEHIND                                                                                               \
    4u /* instructions that are run behind the windows: as far as the planner looks for dead flags */
#define DIRECTION 0x400ull
#define XSAVE_MAX 16384u
#define XMM_OFF   160u
#define BV_OFF    512u
#define YMM_OFF   576u

static struct room {
    u8 tls[2 * TN_PAGE]; /* the thread pointer is in the middle: its variables are below */
    u8 data[16 * TN_PAGE];
    u8 stack[4 * TN_PAGE];
} * room;

static struct image {
    u64 len;
    u8 *pristine;
    struct {
        u64 at, len;
    } data[8]; /* what may be written */
    u32 ndata;
} image;
static pid_t child;

/* What the code has come to, when it made the call and at the end. */
struct moment {
    bool there;
    u64 high; /* the highest stack pointer so far: what was below its red zone was nobody's at some time */
    struct user_regs_struct r;
    u64 mask;
    u8 xsave[XSAVE_MAX];
    struct room room;
};
struct outcome {
    struct moment call, end;
    u64 data;     /* a sum over what may be written of the image */
    bool settled; /* all that the planner takes for granted of what follows has been run */
    u32 calls;    /* that were come to: a second one ends it */
    int signal;
};
static struct outcome plain, hooked;
static u8 first_xsave[XSAVE_MAX];
static size_t xsave_len;
static const char *what; /* file and place, for messages */

/* ------------------------------------------------------------------------------------------------- the child */

static void map_image(const char *path, struct tn_module **ret_module)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf64_Phdr ph;
    Elf64_Ehdr eh;
    void *at;

    image = (struct image){0};
    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, ret_module, NULL), 0);
    assert_int_equal(tn_module_base(*ret_module), 0);
    assert_int_equal(pread(fd, &eh, sizeof(eh), 0), sizeof(eh));
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 i = 0; i < eh.e_phnum; i++) {
            assert_int_equal(pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))), sizeof(ph));
            if (ph.p_type != PT_LOAD)
                continue;
            image.len = TN_MAX(image.len, TN_ROUND_UP(ph.p_vaddr + ph.p_memsz, (u64)TN_PAGE));
            if (!pass)
                continue;
            assert_int_equal(pread(fd, (u8 *)IMAGE + ph.p_vaddr, ph.p_filesz, (off_t)ph.p_offset),
                             ph.p_filesz);
            if (ph.p_flags & PF_W) {
                assert_true(image.ndata < TN_ARRAY_SIZE(image.data));
                image.data[image.ndata].at = ph.p_vaddr;
                image.data[image.ndata++].len = ph.p_memsz;
            }
        }
        if (pass)
            break;
        at = mmap((void *)IMAGE, image.len, PROT_READ | PROT_WRITE | PROT_EXEC,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_int_equal((u64)at, IMAGE);
    }
    close(fd);
    image.pristine = malloc(image.len);
    assert_non_null(image.pristine);
    memcpy(image.pristine, (u8 *)IMAGE, image.len);
}

static void start_child(void)
{
    struct iovec v = {first_xsave, sizeof(first_xsave)};
    u64 bv;
    int status;

    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL), 0);
    assert_int_equal(ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, &v), 0);
    xsave_len = v.iov_len;
    for (u32 i = 0; i < 16 * 16; i++) {
        first_xsave[XMM_OFF + i] = (u8)(i * 37 + 11);
        if (xsave_len >= YMM_OFF + 256)
            first_xsave[YMM_OFF + i] = (u8)(i * 53 + 5);
    }
    memcpy(&bv, first_xsave + BV_OFF, sizeof(bv));
    bv |= xsave_len >= YMM_OFF + 256 ? 7 : 3;
    memcpy(first_xsave + BV_OFF, &bv, sizeof(bv));
}

static void end_child(void)
{
    int status;

    kill(child, SIGKILL);
    while (waitpid(child, &status, 0) == child && !WIFSIGNALED(status))
        ;
}

static void note(struct moment *m, const struct user_regs_struct *r, u64 high)
{
    struct iovec v = {m->xsave, sizeof(m->xsave)};

    m->there = true;
    m->high = high;
    m->r = *r;
    m->room = *room;
    assert_int_equal(ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, &v), 0);
    assert_int_equal(ptrace(PTRACE_GETSIGMASK, child, sizeof(m->mask), &m->mask), 0);
}

/* Registers point into memory, or are small numbers: some code wants one, some the other. */
static void begin(u64 ip, u32 seed)
{
    struct iovec v = {first_xsave, xsave_len};
    struct user_regs_struct r;
    unsigned long long *gpr[] = {&r.rax, &r.rcx, &r.rdx, &r.rbx, &r.rbp, &r.rsi, &r.rdi, &r.r8,
                                 &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};

    for (u32 i = 0; i < sizeof(*room); i++)
        ((u8 *)room)[i] = (u8)(i * 29 + (i >> 8) + seed);
    for (u32 i = 3 * TN_PAGE - 8; i < sizeof(room->stack); i += 8) /* where any function returns to */
        memcpy(room->stack + i, &(u64){BACK}, 8);
    *(u64 *)(room->tls + TN_PAGE) = (u64)room->tls + TN_PAGE;
    for (u32 i = 0; i < image.ndata; i++) {
        memcpy((u8 *)IMAGE + image.data[i].at, image.pristine + image.data[i].at, image.data[i].len);
        if (seed & 2) /* variables that tell of threads, for one */
            memset((u8 *)IMAGE + image.data[i].at, 1, image.data[i].len);
    }
    assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &r), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(gpr); i++)
        *gpr[i] = (seed >> (i % 3) & 1) ? i + 1 : (u64)room->data + 0x4000 + 0x700ull * i;
    r.rip = ip;
    r.rsp = (u64)room->stack + sizeof(room->stack) - TN_PAGE - 8 * (seed % 2);
    r.fs_base = (u64)room->tls + TN_PAGE;
    r.eflags = seed & 4 ? 0x202 : 0x202 | FLAGS_LIVE;
    r.orig_rax = ~0ull;
    assert_int_equal(ptrace(PTRACE_SETREGS, child, 0, &r), 0);
    assert_int_equal(ptrace(PTRACE_SETREGSET, child, NT_X86_XSTATE, &v), 0);
}

/* ------------------------------------------------------------------------------------------------- a site */

/* Addresses in the image. */
struct site {
    u64 call;
    const struct tn_patch *enter, *leave; /* NULL: cannot be hooked */
};

static bool in_window(const struct tn_patch *p, u64 ip)
{
    return p && ip - p->addr < p->len;
}

static bool is_call(u64 ip)
{
    return !memcmp((const u8 *)ip, "\x0f\x05", 2);
}

/* Whoever waits for the end of a block of code need not follow what leaves it. */
static bool leaves(u64 ip)
{
    struct tn_insn i;

    return tn_x86_decode((const u8 *)ip, 15, ip, &i) < 0 || tn_insn_ends(&i) || i.kind == TN_INSN_CALL ||
           i.kind == TN_INSN_CALL_IND;
}

static void run(const struct site *s, u64 from, u32 seed, u64 answer, struct outcome *out)
{
    struct user_regs_struct r;
    u32 behind = 0;
    u64 high = 0;
    int status;

    *out = (struct outcome){0};
    begin(from, seed);
    for (u32 n = 0;; n++) {
        bool home, calls;

        assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &r), 0);
        home = r.rip - IMAGE < image.len;
        high = home ? TN_MAX(high, (u64)r.rsp) : high;
        calls = home ? r.rip == s->call
                     : r.rip - (u64)arena->displaced < sizeof(arena->displaced) && is_call(r.rip);
        if (n == STEPS_MAX)
            fail_msg("%s does not come to an end, at %#llx", what, r.rip);
        out->calls += calls;
        if (out->calls == 2 || r.rip == BACK)
            break;
        if (home && !calls && !in_window(s->enter, r.rip) && !in_window(s->leave, r.rip)) {
            out->settled = behind == BEHIND;
            if (out->settled || leaves(r.rip) || is_call(r.rip))
                break;
            behind += out->call.there;
        }
        if (calls) {
            note(&out->call, &r, high);
            r.rax = SYS_getpid;
            assert_int_equal(ptrace(PTRACE_SETREGS, child, 0, &r), 0);
        }
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, 0, 0), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSTOPPED(status));
        if (WSTOPSIG(status) != SIGTRAP) {
            out->signal = WSTOPSIG(status);
            assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &r), 0);
            break;
        }
        if (calls) {
            assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &r), 0);
            assert_int_equal(r.rax, child);
            r.rax = answer;
            r.orig_rax = ~0ull;
            assert_int_equal(ptrace(PTRACE_SETREGS, child, 0, &r), 0);
        }
    }
    note(&out->end, &r, high);
    for (u32 i = 0; i < image.ndata; i++)
        for (u64 k = 0; k < image.data[i].len; k++)
            out->data = out->data * 31 + ((u8 *)IMAGE)[image.data[i].at + k];
}

/* ------------------------------------------------------------------------------------------------- comparing */

static void same(const char *name, const char *when, u64 a, u64 b)
{
    if (a != b)
        fail_msg("%s: %s %s: %#llx, hooked %#llx", what, name, when, (unsigned long long)a,
                 (unsigned long long)b);
}

/* `flags`: are they live there? Before a call rcx and r11 are nobody's. */
static void compare(const struct moment *a, const struct moment *b, const char *when, bool flags, bool call)
{
    same("reached", when, a->there, b->there);
    if (!a->there)
        return;
#define SAME(reg) same(#reg, when, a->r.reg, b->r.reg)
    SAME(rax), SAME(rdx), SAME(rbx), SAME(rsp), SAME(rbp), SAME(rsi), SAME(rdi), SAME(r8), SAME(r9),
        SAME(r10);
    SAME(r12), SAME(r13), SAME(r14), SAME(r15), SAME(fs_base), SAME(gs_base), SAME(cs), SAME(ss), SAME(ds),
        SAME(es);
#undef SAME
    if (!call)
        same("rcx", when, a->r.rcx, b->r.rcx);
    same("flags", when, a->r.eflags & ((flags ? FLAGS_LIVE : 0) | DIRECTION),
         b->r.eflags & ((flags ? FLAGS_LIVE : 0) | DIRECTION));
    same("signal mask", when, a->mask, b->mask);
    if (memcmp(a->xsave, b->xsave, xsave_len) != 0)
        fail_msg("%s: vector or x87 state %s", what, when);
    for (u64 i = 0; i < sizeof(*room); i++) {
        u64 addr = (u64)room + i;
        bool dead = addr >= (u64)room->stack && addr < a->high - RED_ZONE;

        if (((u8 *)&a->room)[i] != ((u8 *)&b->room)[i] && !dead)
            fail_msg("%s: memory at %#llx %s (sp %#llx)", what, (unsigned long long)addr, when, a->r.rsp);
    }
}

/* r11 is what flags were as the call was made, unless something has written to it since. */
static void compare_r11(bool flags)
{
    u64 was = plain.call.r.eflags | TRAP_FLAG, is = hooked.call.r.eflags | TRAP_FLAG;

    if (flags || (plain.end.r.r11 | TRAP_FLAG) != was)
        same("r11", "at the end", plain.end.r.r11 | TRAP_FLAG, hooked.end.r.r11 | TRAP_FLAG);
    else
        same("r11", "at the end", is & FLAGS_LIVE, hooked.end.r.r11 & FLAGS_LIVE);
}

static u32 checked;

/* What the programs were told. */
static void check_contexts(const struct site *s, const struct option *o, s32 nr)
{
    const struct user_regs_struct *r = &plain.call.r;
    const u64 *saw = (const u64 *)&arena->saw[0];

    if (!o->all_context || (o->footprint && (~o->footprint & (TN_FOOT_CTX | TN_FOOT_RUN))))
        return;
    checked++;
    if (s->enter && arena->ran[0]) {
        const u64 words[] = {0, (u64)(s64)nr, r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};

        assert_memory_equal(saw, words, sizeof(words));
    }
    saw = (const u64 *)&arena->saw[s->enter != NULL];
    if (s->leave && arena->ran[s->enter != NULL])
        same("number", "as it is left", (u64)(s64)nr, saw[1]);
}

static const u64 answers[] = {0, 12345, (u64)-EINTR, (u64)-ENOSYS};

/* One way of being hooked. False: the call is not made with these registers. */
static bool one_way(const struct site *s, u32 which, u32 seed, u64 answer)
{
    struct option o = variant(which % PLAIN_VARIANTS);
    struct tn_patch patches[2];
    struct tn_plan plan = {.patches = patches};
    const struct tn_patch *one = s->enter ? s->enter : s->leave;
    u64 from = s->enter ? s->enter->addr : s->call;
    bool flags = !s->enter || !s->enter->flags_dead, open = o.gate && o.armed;
    s32 nr = one->nr;
    u64 expected = 0;

    run(s, from, seed, answer, &plain);
    if (plain.signal && (in_window(s->enter, plain.end.r.rip) || in_window(s->leave, plain.end.r.rip)))
        return false;
    if (!plain.call.there)
        return false;
    if (s->enter)
        patches[plan.npatches++] = *s->enter;
    if (s->leave)
        patches[plan.npatches++] = *s->leave;
    o.only = TN_NR_UNKNOWN;
    o.counted = true;
    if (nr == TN_NR_UNKNOWN) {
        nr = (s32)plain.call.r.rax;
        o.only = which % 3 == 0 ? TN_NR_UNKNOWN : which % 3 == 1 ? nr : nr + 1;
        open &= which % 3 != 2;
    }
    o.typed = which % 2 == 0;
    arena->runs = 0;
    memset(arena->ran, 0, sizeof(arena->ran));
    memset(arena->saw, 0, sizeof(arena->saw));
    memset(arena->stats, 0, sizeof(arena->stats));
    apply(&plan, 0, &o, (u64 *)arena->displaced[ARENA_PATCHES]);
    run(s, from, seed, answer, &hooked);
    undo(&plan);

    same("signal", "at the end", (u64)plain.signal, (u64)hooked.signal);
    compare(&plain.call, &hooked.call, "at the call", flags, true);
    compare(&plain.end, &hooked.end, "at the end",
            plain.settled || (flags && (!s->leave || !s->leave->flags_dead)), false);
    same("rip", "at the end", plain.end.r.rip, hooked.end.r.rip);
    if (plain.call.there)
        compare_r11(flags);
    same("the image", "at the end", plain.data, hooked.data);
    for (u32 k = 0; k < plan.npatches; k++) {
        /* What may be vfork's child is the agent's to judge. */
        bool in_child = hooked.call.r.rip - IMAGE >= image.len && answer == 0;
        u64 ran = !open ? 0 : patches[k].place == TN_PLACE_SYSENTER ? plain.calls : !in_child;

        expected += ran;
        if (o.footprint & TN_FOOT_RUN || !o.footprint)
            same("runs", k ? "as it is left" : "as it is entered", ran, arena->ran[k]);
        assert_int_equal(arena->stats[k].missed, 0);
    }
    same("runs", "in all", expected, arena->runs);
    if (o.typed)
        check_contexts(s, &o, nr);
    return true;
}

static bool add(struct site *sites, u32 *n, u64 call, const struct tn_patch *enter,
                const struct tn_patch *leave)
{
    for (u32 i = 0; leave && i < *n; i++)
        if (sites[i].call == call) {
            sites[i].leave = leave;
            return true;
        }
    if (leave && leave->nr == TN_NR_UNKNOWN) /* its number would be noted where it is entered */
        return false;
    sites[(*n)++] = (struct site){call, enter, leave};
    return true;
}

/* Those of one segment that can be hooked. */
static struct site *find(const struct tn_code_view *code, struct tn_patch *found[2], u32 *ret_count,
                         u32 *ret_all)
{
    struct site *sites;
    u32 n[2], count = 0;

    for (u32 k = 0; k < 2; k++)
        assert_int_equal(
            tn_find_syscalls(code, k ? TN_PLACE_SYSEXIT : TN_PLACE_SYSENTER, NULL, &found[k], &n[k]), 0);
    sites = calloc(n[0] + n[1] + 1, sizeof(*sites));
    assert_non_null(sites);
    *ret_all += n[0];
    for (u32 k = 0; k < 2; k++)
        for (u32 i = 0; i < n[k]; i++) {
            struct tn_patch *p = &found[k][i];

            if (p->refused)
                continue;
            p->addr += IMAGE;
            p->resume += IMAGE;
            p->place = k ? TN_PLACE_SYSEXIT : TN_PLACE_SYSENTER;
            add(sites, &count, k ? p->addr - 2 : p->resume, k ? NULL : p, k ? p : NULL);
        }
    *ret_count = count;
    return sites;
}

#define WAYS  4u
#define SEEDS 16u

static void library(const char *path)
{
    struct tn_module *m = NULL;
    u32 all = 0, hookable = 0, ways = 0, not_run = 0, counted = 0, unknown = 0;

    if (access(path, R_OK) != 0) {
        print_message("# %s is not installed\n", path);
        skip();
    }
    map_image(path, &m);
    start_child();
    checked = 0;
    for (u32 c = 0; c < tn_module_ncode(m); c++) {
        struct tn_patch *found[2];
        u32 n = 0;
        struct site *sites = find(tn_module_code_at(m, c), found, &n, &all);

        hookable += n;
        for (u32 i = 0; i < n; i++) {
            bool was_run = false;
            char name[128];

            snprintf(name, sizeof(name), "%s, the call at %#llx", path,
                     (unsigned long long)(sites[i].call - IMAGE));
            what = name;
            counted += sites[i].enter && tn_wants(&tn_wanted_vforks, sites[i].enter->nr);
            unknown += sites[i].enter && sites[i].enter->nr == TN_NR_UNKNOWN;
            for (u32 k = 0; k < WAYS; k++)
                for (u32 seed = k; seed < k + SEEDS; seed++)
                    if (one_way(&sites[i], i * 7 + k * 41 + i / 5, seed, answers[k])) {
                        was_run = true;
                        ways++;
                        break;
                    }
            if (!was_run)
                print_message("#   not run: %s\n", name);
            not_run += !was_run;
        }
        free(sites);
        free(found[0]);
        free(found[1]);
    }
    end_child();
    print_message(
        "# %s: %u calls, %u hooked, %u of them counted for vfork, %u of any number; compared %u times, "
        "%u contexts; %u could not be run\n",
        path, all, hookable, counted, unknown, ways, checked, not_run);
    assert_true(hookable > 10 && checked > 0 && not_run * 100 <= hookable);
    tn_module_free(m);
    free(image.pristine);
    munmap((void *)IMAGE, image.len);
}

static void libc(void **state)
{
    library("/lib/x86_64-linux-gnu/libc.so.6");
}

static void loader(void **state)
{
    library("/lib64/ld-linux-x86-64.so.2");
}

static void musl(void **state)
{
    library("/lib/x86_64-linux-musl/libc.so");
}

static int setup(void **state)
{
    arena_map(MAP_SHARED);
    room = mmap((void *)ROOM, sizeof(*room), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return room == (void *)ROOM ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(libc), cmocka_unit_test(loader),
                                       cmocka_unit_test(musl)};

    return cmocka_run_group_tests_name("sites", tests, setup, NULL);
}
