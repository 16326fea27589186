/* SPDX-License-Identifier: MIT */
/* See engine.h. */
#include "engine.h"

#include <Zydis/Zydis.h>
#include <sys/mman.h>

#include "x86/encode.h"

static void find_subprogs(struct engine *e)
{
    const struct tn_program *p = &e->prog;
    u32 n = 1;

    for (u32 i = 0; i < p->ninsns; i++)
        if ((p->insns[i].code == (BPF_JMP | BPF_CALL) && p->insns[i].src_reg == BPF_PSEUDO_CALL) ||
            (p->insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && p->insns[i].src_reg == BPF_PSEUDO_FUNC)) {
            u32 start = (u32)tn_jump_target(&p->insns[i], i), at = 0;

            while (at < n && e->subprogs[at].start < start)
                at++;
            if (at < n && e->subprogs[at].start == start)
                continue;
            assert_true(n < TN_ARRAY_SIZE(e->subprogs));
            memmove(&e->subprogs[at + 1], &e->subprogs[at], (n - at) * sizeof(e->subprogs[0]));
            e->subprogs[at].start = start;
            n++;
        }
    for (u32 s = 0; s < n; s++) {
        e->subprogs[s].end = s + 1 < n ? e->subprogs[s + 1].start : p->ninsns;
        e->subprogs[s].stack = 512;
    }
    e->prog.nsubprogs = n;
}

void engine_init(struct engine *e, const struct bpf_insn *insns, u32 n)
{
    *e = (struct engine){0};
    e->insns = malloc(n * sizeof(*insns));
    e->aux = calloc(n, sizeof(*e->aux));
    assert_non_null(e->insns);
    assert_non_null(e->aux);
    memcpy(e->insns, insns, n * sizeof(*insns));
    for (u32 i = 0; i < MAX_MAPS; i++)
        e->maps[i] = &e->views[i];
    e->prog = (struct tn_program){.insns = e->insns,
                                  .ninsns = n,
                                  .maps = e->geos,
                                  .aux = e->aux,
                                  .subprogs = e->subprogs,
                                  .facts = &e->facts};
    for (u32 i = 0; i < n; i++) {
        u8 kind = tn_op_rows[tn_op_of(&insns[i])].kind;
        s64 target = tn_jump_target(&insns[i], i);

        e->aux[i].live = true;
        e->aux[i].const_map = e->aux[i].const_key = -1;
        e->aux[i].callback = -1;
        if ((kind == TN_KIND_JMP || kind == TN_KIND_JA) && target >= 0 && target < n)
            e->aux[target].jump_target = true;
    }
    find_subprogs(e);
}

u32 engine_add_map(struct engine *e, u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 ncpu)
{
    u32 i = e->prog.nmaps++;
    struct tn_map *map = &e->views[i];

    assert_true(i < MAX_MAPS);
    assert_int_equal(tn_map_geometry(type, key_size, value_size, max_entries, 0, ncpu, &e->geos[i]), 0);
    map->geo = e->geos[i];
    map->base = mmap(NULL, map->geo.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(map->base != MAP_FAILED);
    assert_int_equal(tn_map_init(map), 0);
    return i;
}

void engine_clear(struct engine *e)
{
    for (u32 i = 0; i < e->prog.nmaps; i++)
        munmap(e->views[i].base, e->views[i].geo.size);
    if (e->compiled) {
        tn_code_unmap(&e->mapped);
        tn_code_clear(&e->code);
    }
    free(e->insns);
    free(e->aux);
    *e = (struct engine){0};
}

u64 engine_vm(struct engine *e, void *ctx, struct tn_run *run)
{
    struct tn_run own = {.ctx = ctx};
    u64 r0 = 0;
    int r = tn_vm_run(&e->prog, e->maps, ctx, run ? run : &own, 1u << 28, &r0);

    if (r)
        fail_msg("interpreter: %s", strerror(-r));
    return r0;
}

void engine_compile(struct engine *e)
{
    struct tn_error err = {0};
    int r;

    if (e->compiled)
        return;
    r = tn_jit(&e->prog, &e->code, &err);
    if (r)
        fail_msg("compiler: %s: %s: %s", strerror(-r), err.reason, err.message);
    r = tn_code_map(&e->code, e->maps, &e->mapped);
    if (r)
        fail_msg("mapping of code: %s", strerror(-r));
    e->compiled = true;
}

/* Calls `fn` with the general registers of `regs` (by x86's numbers, rsp left out), and leaves there what
   they are afterwards. */
void engine_call(void *fn, u64 regs[16]);
__asm__(".text\n"
        ".globl engine_call\n"
        "engine_call:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "push %rdi; push %rsi; sub $8, %rsp\n"
        "mov %rsi, %rax\n"
        "mov 8(%rax), %rcx; mov 16(%rax), %rdx; mov 24(%rax), %rbx\n"
        "mov 40(%rax), %rbp; mov 48(%rax), %rsi; mov 56(%rax), %rdi\n"
        "mov 64(%rax), %r8; mov 72(%rax), %r9; mov 80(%rax), %r10; mov 88(%rax), %r11\n"
        "mov 96(%rax), %r12; mov 104(%rax), %r13; mov 112(%rax), %r14; mov 120(%rax), %r15\n"
        "mov (%rax), %rax\n"
        "call *16(%rsp)\n"
        "mov %rax, (%rsp); mov 8(%rsp), %rax\n"
        "mov %rcx, 8(%rax); mov %rdx, 16(%rax); mov %rbx, 24(%rax)\n"
        "mov %rbp, 40(%rax); mov %rsi, 48(%rax); mov %rdi, 56(%rax)\n"
        "mov %r8, 64(%rax); mov %r9, 72(%rax); mov %r10, 80(%rax); mov %r11, 88(%rax)\n"
        "mov %r12, 96(%rax); mov %r13, 104(%rax); mov %r14, 112(%rax); mov %r15, 120(%rax)\n"
        "mov (%rsp), %rcx; mov %rcx, (%rax)\n"
        "add $24, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n");

/* The convention promises rbx, rbp, r12 … r15, and the footprint all but what it names; what it does not take
   as an argument is no address. A compiler bug in either would show far from here. */
static u64 call_checked(const struct engine *e, void *ctx, struct tn_run *run)
{
    static const u32 callee_saved = 0xf028; /* rbx rbp r12 … r15 */
    u32 foot = e->code.footprint, may = foot & TN_FOOT_REGS;
    u64 regs[16], before[16];

    for (u32 r = 0; r < 16; r++)
        regs[r] = 0xbad0000000000000 + r * 0x1111;
    if (foot & TN_FOOT_CTX)
        regs[TN_RDI] = (u64)ctx;
    if (foot & TN_FOOT_RUN)
        regs[TN_RSI] = (u64)run;
    memcpy(before, regs, sizeof(regs));
    engine_call((void *)e->mapped.fn, regs);
    assert_true(may & 1u << TN_RAX);
    assert_int_equal(may & callee_saved, 0);
    for (u32 r = 0; r < 16; r++)
        if (r != TN_RSP && !(may >> r & 1) && regs[r] != before[r])
            fail_msg("register %u is changed against the footprint 0x%x", r, foot);
    return regs[TN_RAX];
}

u64 engine_jit(struct engine *e, void *ctx, struct tn_run *run)
{
    struct tn_run own = {.ctx = ctx};

    engine_compile(e);
    return call_checked(e, ctx, run ? run : &own);
}

static u32 walk(struct engine *e, char *buf, size_t size)
{
    ZydisDisassembledInstruction in;
    u32 off = 0, n = 0;
    size_t used = 0;

    engine_compile(e);
    while (off < e->code.text_len && e->code.text[off] != 0xcc) {
        assert_true(ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, off, e->code.text + off,
                                                       e->code.text_len - off, &in)));
        if (buf && used < size)
            used += (size_t)snprintf(buf + used, size - used, "%s\n", in.text);
        off += in.info.length;
        n++;
    }
    return n;
}

u32 engine_count_insns(struct engine *e)
{
    return walk(e, NULL, 0);
}

void engine_text(struct engine *e, char *buf, size_t size)
{
    if (size)
        buf[0] = 0;
    walk(e, buf, size);
}
