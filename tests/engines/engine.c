/* SPDX-License-Identifier: MIT */
/* See engine.h. */
#include "engine.h"

#include <Zydis/Zydis.h>
#include <sys/mman.h>

static void find_subprogs(struct engine *e)
{
    const struct tn_program *p = &e->prog;
    u32 n = 1;

    for (u32 i = 0; i < p->ninsns; i++)
        if (p->insns[i].code == (BPF_JMP | BPF_CALL) && p->insns[i].src_reg == BPF_PSEUDO_CALL) {
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
    int r = tn_vm_run(&e->prog, e->maps, ctx, run ? run : &own, 1 << 20, &r0);

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

/* The convention promises rbx, rbp, r12 … r15: a compiler bug there would show far from here. */
static u64 call_checked(tn_prog_fn fn, void *ctx, struct tn_run *run)
{
    u64 r0, broken;

    __asm__ volatile("push %%rbp\n\t"
                     "push %%rbx\n\t"
                     "mov $0x1111, %%rbx\n\t"
                     "mov $0x2222, %%rbp\n\t"
                     "mov $0x3333, %%r12\n\t"
                     "mov $0x4444, %%r13\n\t"
                     "mov $0x5555, %%r14\n\t"
                     "mov $0x6666, %%r15\n\t"
                     "call *%[fn]\n\t"
                     "sub $0x1111, %%rbx\n\t"
                     "sub $0x2222, %%rbp\n\t"
                     "sub $0x3333, %%r12\n\t"
                     "sub $0x4444, %%r13\n\t"
                     "sub $0x5555, %%r14\n\t"
                     "sub $0x6666, %%r15\n\t"
                     "or %%rbp, %%rbx\n\t"
                     "or %%r12, %%rbx\n\t"
                     "or %%r13, %%rbx\n\t"
                     "or %%r14, %%rbx\n\t"
                     "or %%r15, %%rbx\n\t"
                     "mov %%rbx, %%rcx\n\t"
                     "pop %%rbx\n\t"
                     "pop %%rbp\n\t"
                     : "=a"(r0), "=c"(broken), "+D"(ctx), "+S"(run)
                     : [fn] "d"(fn)
                     : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    assert_true(broken == 0);
    return r0;
}

u64 engine_jit(struct engine *e, void *ctx, struct tn_run *run)
{
    struct tn_run own = {.ctx = ctx};

    engine_compile(e);
    return call_checked(e->mapped.fn, ctx, run ? run : &own);
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
