/* SPDX-License-Identifier: MIT */
/* See inproc.h. */
#include "inproc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/image.h"
#include "inject/order.h"
#include "rewrite/mark.h"
#include "rewrite/stash.h"

#define REACH 0x10000000ull

extern const char __executable_start, edata; /* by the linker */

static void *memory(u64 size, int flags)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Bytes among what can be executed, from a page's start, so that text can be reached from its pool. */
static u8 *take(struct inproc *p, u32 size)
{
    u8 *at = p->near->code + p->code_used;

    size = TN_ROUND_UP(size, TN_PAGE);
    if (size > sizeof(p->near->code) - p->code_used)
        return NULL;
    p->code_used += size;
    return at;
}

static int map_agent(struct inproc *p, struct tn_error *err)
{
    struct tn_agent_layout layout;
    u64 enter, leave;
    u8 *at;
    int r = tn_agent_layout(&layout, err);

    if (!r)
        r = tn_agent_export("tn_agent_enter", &enter);
    if (!r)
        r = tn_agent_export("tn_agent_leave", &leave);
    if (r)
        return r;
    at = take(p, (u32)layout.size);
    if (!at)
        return -ENOSPC;
    for (u32 i = 0; i < layout.nsegments; i++)
        memcpy(at + layout.segment[i].vaddr, layout.segment[i].bytes, layout.segment[i].file_size);
    p->agent = (u64)at;
    p->enter = p->agent + enter;
    p->leave = p->agent + leave;
    p->kept = p->code_used;
    return 0;
}

static void describe(struct inproc *p)
{
    void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
    struct tn_proc *proc = &p->near->proc;

    *proc = (struct tn_proc){
        .priv = p->priv,
        .claims = p->claims,
        .gates = p->near->gate,
        .stats = p->stats,
        .ncpu = p->ncpu,
        .allowed_syscalls = ~0u,
        .pid = (u32)getpid(),
        .owner_pid = (u32)getpid(),
        .tp_how = TN_TP_SELF,
        .rseq_cpu_off = __rseq_size ? (s32)__rseq_offset + (s32)offsetof(struct rseq, cpu_id) : 0,
        .image_start = (u64)&__executable_start,
        .image_end = (u64)&edata,
        .vdso_clock_gettime = vdso ? (u64)dlsym(vdso, "__vdso_clock_gettime") : 0,
    };
}

int inproc_init(struct inproc *p, struct tn_error *err)
{
    u64 hint = ((u64)&inproc_init & ~(TN_PAGE - 1ull)) + REACH;
    _close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int r;

    *p = (struct inproc){.ncpu = (u32)sysconf(_SC_NPROCESSORS_CONF)};
    r = fd < 0 ? -errno : tn_module_open(fd, &p->self, err);
    if (!r)
        r = tn_module_find(p->self, "inproc_init", &p->bias, err);
    p->bias = (u64)&inproc_init - p->bias;
    if (r)
        return r;
    p->near = mmap((void *)hint, sizeof(*p->near), PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p->priv = memory(sizeof(*p->priv), MAP_PRIVATE);
    p->claims = memory(p->ncpu * sizeof(*p->claims), MAP_SHARED);
    p->marks = memory(TN_MARKS * sizeof(u64), MAP_PRIVATE);
    p->stats = memory(INPROC_HOOKS * sizeof(*p->stats), MAP_SHARED);
    if (p->near == MAP_FAILED || !p->priv || !p->claims || !p->stats || !p->marks ||
        madvise(p->priv, sizeof(*p->priv), MADV_WIPEONFORK))
        return -ENOMEM;
    p->code_used = (u32)(TN_ROUND_UP((u64)p->near->code, (u64)TN_PAGE) - (u64)p->near->code);
    p->priv->armed = TN_ARMED;
    describe(p);
    tn_facts_xsave(&p->near->proc);
    return map_agent(p, err);
}

int inproc_map(struct inproc *p, struct inproc_prog *prog, u32 type, u32 key_size, u32 value_size,
               u32 max_entries, struct tn_error *err)
{
    struct tn_map *map = &prog->map[prog->nmaps];
    int r;

    if (prog->nmaps == TN_ARRAY_SIZE(prog->map))
        return -E2BIG;
    r = tn_map_geometry(type, key_size, value_size, max_entries, 0, p->ncpu, &map->geo);
    if (r)
        return tn_fail(err, r, "geometry", "a map of type %u", type);
    map->base = memory(map->geo.size, MAP_SHARED);
    if (!map->base)
        return -ENOMEM;
    prog->nmaps++;
    return tn_map_init(map);
}

static int resolve(const struct inproc *p, const struct inproc_prog *prog, const struct tn_pool_entry *entry,
                   u64 *ret_word)
{
    u64 off;
    int r;

    switch ((enum tn_pool_kind)entry->kind) {
    case TN_POOL_HELPER:
        r = tn_agent_helper(entry->index, &off);
        if (!r)
            *ret_word = p->agent + off;
        return r;
    case TN_POOL_MAP:
        *ret_word = (u64)&prog->map[entry->index];
        return 0;
    case TN_POOL_MAP_DATA:
        *ret_word = (u64)prog->map[entry->index].base + entry->offset;
        return 0;
    case TN_POOL_HOST:
        *ret_word = p->bias + entry->offset;
        return 0;
    case TN_POOL_AGENT:
        r = tn_agent_routine(entry->index, !prog->full_calls, &off);
        if (!r)
            *ret_word = p->agent + off;
        return r;
    }
    return -EINVAL;
}

static int place_code(struct inproc *p, struct inproc_prog *prog, const struct tn_code *code)
{
    u8 *pool = take(p, code->pool_size + code->text_len);
    int r = pool ? 0 : -ENOSPC;

    for (u32 i = 0; !r && i < code->npool; i++)
        r = resolve(p, prog, &code->pool[i], (u64 *)pool + i);
    if (r)
        return r;
    memcpy(pool + code->pool_size, code->text, code->text_len);
    prog->entry = (u64)pool + code->pool_size + code->entry;
    prog->footprint = code->footprint;
    return 0;
}

int inproc_load(struct inproc *p, struct inproc_prog *prog, const struct bpf_insn *insns, u32 ninsns,
                struct tn_error *err)
{
    struct tn_verify_map maps[TN_ARRAY_SIZE(prog->map)] = {0};
    struct tn_map_geo geos[TN_ARRAY_SIZE(prog->map)];
    _clean_(tn_verdict_clear) struct tn_verdict verdict = {0};
    _clean_(tn_code_clear) struct tn_code code = {0};
    struct tn_authority auth = tn_authority_all;
    struct tn_verify_in in = {.insns = insns,
                              .ninsns = ninsns,
                              .prog_type = prog->host ? BPF_PROG_TYPE_TRACING : BPF_PROG_TYPE_KPROBE,
                              .expected_attach_type = prog->attach_type,
                              .host_btf = prog->host,
                              .process = prog->host != NULL,
                              .attach_btf_id = prog->func,
                              .gpl = true,
                              .maps = maps,
                              .nmaps = prog->nmaps,
                              .authority = &auth};
    struct tn_program program = {.insns = insns,
                                 .ninsns = ninsns,
                                 .maps = geos,
                                 .nmaps = prog->nmaps,
                                 .refs = prog->ref,
                                 .nrefs = prog->nrefs};
    int r;

    for (u32 i = 0; i < prog->nmaps; i++)
        maps[i].geo = geos[i] = prog->map[i].geo;
    auth.context_stores = true;
    auth.host_stores = prog->host != NULL;
    r = tn_verify(&in, &verdict);
    if (r)
        return r;
    if (!verdict.accepted)
        return tn_fail(err, -EACCES, verdict.refusal.reason, "instruction %u: %s", verdict.refusal.insn,
                       verdict.refusal.message);
    program.aux = verdict.aux;
    program.subprogs = verdict.subprogs;
    program.nsubprogs = verdict.nsubprogs;
    program.facts = &verdict.facts;
    prog->facts = verdict.facts;
    if (prog->host)
        r = tn_abi_words(prog->host, prog->func, prog->attach_type == BPF_TRACE_FEXIT, true, &prog->args,
                         err);
    if (r)
        return r;
    r = tn_jit(&program, &code, err);
    return r ? r : place_code(p, prog, &code);
}

int inproc_load_unverified(struct inproc *p, struct inproc_prog *prog, const struct bpf_insn *insns,
                           u32 ninsns, struct tn_error *err)
{
    _clean_(tn_code_clear) struct tn_code code = {0};
    struct tn_insn_aux aux[INPROC_UNVERIFIED];
    const struct tn_subprog main = {.end = ninsns, .stack = prog->facts.max_stack};
    struct tn_program program = {.insns = insns,
                                 .ninsns = ninsns,
                                 .aux = aux,
                                 .subprogs = &main,
                                 .nsubprogs = 1,
                                 .facts = &prog->facts,
                                 .refs = prog->ref,
                                 .nrefs = prog->nrefs};
    int r;

    if (ninsns > INPROC_UNVERIFIED)
        return -E2BIG;
    for (u32 i = 0; i < ninsns; i++)
        aux[i] = (struct tn_insn_aux){.live = true,
                                      .const_map = -1,
                                      .const_key = -1,
                                      .mem_kind = prog->careful ? TN_MEM_PROBE : TN_MEM_PLAIN};
    r = tn_jit(&program, &code, err);
    return r ? r : place_code(p, prog, &code);
}

static int write_code(u64 addr, const u8 *bytes, u32 len)
{
    void *page = (void *)(addr & ~(TN_PAGE - 1ull));

    if (mprotect(page, 2 * TN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        return -errno;
    memcpy((void *)addr, bytes, len);
    return mprotect(page, 2 * TN_PAGE, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;
}

static int patch(struct inproc *p, const struct tn_patch *at, u64 bias, u64 func_ip,
                 const struct inproc_prog *prog, const struct inproc_how *how, u64 stash, u32 mark_id,
                 struct tn_error *err)
{
    u32 k = p->nhooks;
    struct inproc_near *near = p->near;
    u8 *copy, *tramp, bytes[TN_PATCH_MAX];
    const struct tn_proc *proc = &near->proc;
    struct tn_displaced_out out;
    struct tn_tramp_in in;
    u64 addr = at->addr + bias;
    int r;

    if (k == INPROC_HOOKS)
        return -ENOSPC;
    copy = near->text[p->ntexts++];
    tramp = near->text[p->ntexts++];
    in = (struct tn_tramp_in){
        .facts = &prog->facts,
        .place = (enum tn_place_kind)at->place,
        .args = prog->host ? &prog->args : NULL,
        .replace = prog->replace,
        .stash = stash,
        .follow = how->follow,
        .tp = how->agent_only ? TN_TP_ARCH_PRCTL
              : how->rdfsbase ? TN_TP_RDFSBASE
                              : TN_TP_SELF,
        .at = (u64)tramp,
        .hook = (u64)&near->hook[k],
        .gate = (u64)&near->gate[k],
        .priv = (u64)p->priv,
        .proc = (u64)proc,
        .enter = p->enter,
        .leave = p->leave,
        .prog_bit = k,
        .tail = at->tail,
        .unless = at->unless,
        .flags_dead = at->flags_dead,
        .marks = (u64)p->marks,
        .mark_id = mark_id,
        .footprint = how->footprint ? how->footprint : prog->footprint,
        .text = how->called ? NULL : (const u8 *)prog->entry,
        .text_len = TN_PAGE,
        .text_at = prog->entry,
        .claims = how->agent_claim ? 0 : (u64)p->claims,
        .ncpu = p->ncpu,
        .owner_pid = proc->owner_pid,
        .rseq_cpu_off = proc->rseq_cpu_off,
    };
    near->gate[k] = !how->closed;
    r = tn_displaced(
        at, &(struct tn_copy_to){.at = (u64)copy, .load_bias = bias, .hook_entry_ptr = (u64)&near->head[k]},
        copy, TN_DISPLACED_MAX, &out, err);
    if (r < 0)
        return r;
    near->hook[k] = (struct tn_hook){.prog = prog->entry,
                                     .func_ip = func_ip,
                                     .stats = (u64)&p->stats[k],
                                     .proc = (u64)proc,
                                     .next = out.hook_return,
                                     .link_index = k,
                                     .prog_bit = k};
    const struct tn_fuse fuse = {
        .patch = at, .load_bias = bias, .head = (u64)&near->head[k], .past = out.hook_return};
    u32 first = 0;

    /* As the injector does with the first link of a place. */
    r = at->tail || how->apart ? -ENOTSUP
                               : tn_trampoline_fused(&in, &fuse, tramp, TN_TRAMPOLINE_MAX, &first, NULL);
    if (r >= 0)
        out.enter = (u64)tramp;
    else
        r = tn_trampoline(&in, tramp, TN_TRAMPOLINE_MAX, err);
    near->head[k] = (u64)tramp + first;
    if (r >= 0)
        r = tn_patch_bytes(at, bias, out.enter, bytes, err);
    if (r < 0)
        return r;
    p->undo[k].addr = addr;
    p->undo[k].len = at->len;
    p->undo[k].place = at->place;
    p->undo[k].hook_at = out.hook_at;
    memcpy(p->undo[k].bytes, (void *)addr, at->len);
    r = write_code(addr, bytes, at->len);
    p->nhooks += !r;
    return r;
}

void inproc_rewind(struct inproc *p)
{
    while (p->nhooks) {
        p->nhooks--;
        write_code(p->undo[p->nhooks].addr, p->undo[p->nhooks].bytes, p->undo[p->nhooks].len);
    }
    while (p->ntables) {
        p->ntables--;
        munmap(p->table[p->ntables].at, p->table[p->ntables].size);
    }
    memset(p->marks, 0, TN_MARKS * sizeof(u64));
    p->ntexts = p->nplans = 0;
    p->code_used = p->kept;
}

/* An empty table for the arguments that a program at exits reads; 0: none. */
static int make_table(struct inproc *p, const struct inproc_prog *prog, enum tn_place_kind place, u64 *ret)
{
    u64 size = prog->host && place == TN_PLACE_EXIT
                   ? tn_stash_size(&prog->args, tn_stash_words(&prog->facts, &prog->args))
                   : 0;

    *ret = 0;
    if (!size)
        return 0;
    p->table[p->ntables].at = memory(size, MAP_PRIVATE | MAP_NORESERVE);
    p->table[p->ntables].size = size;
    *ret = (u64)p->table[p->ntables].at;
    p->ntables += *ret != 0;
    return *ret ? 0 : -ENOMEM;
}

static int hook_all(struct inproc *p, u64 addr, void *fn, enum tn_place_kind place,
                    const struct inproc_prog *prog, const struct inproc_how *how, u64 stash,
                    struct tn_error *err)
{
    _clean_(tn_plan_clear) struct tn_plan plan = {0};
    int r = tn_plan(tn_module_code(p->self, addr), place, addr, &plan, err);

    p->nplans++;
    for (u32 i = 0; !r && i < plan.npatches; i++)
        r = patch(p, &plan.patches[i], (u64)fn - addr, (u64)fn, prog, how, stash, p->nplans, err);
    return r;
}

int inproc_hook(struct inproc *p, const char *symbol, void *fn, enum tn_place_kind place,
                const struct inproc_prog *prog, const struct inproc_how *how, u32 *ret_hook,
                struct tn_error *err)
{
    static const struct inproc_how usual;
    u64 addr, stash = 0;
    u32 first;
    int r = tn_module_find(p->self, symbol, &addr, err);

    how = how ? how : &usual;
    if (!r)
        r = make_table(p, prog, place, &stash);
    if (!r && stash)
        r = hook_all(p, addr, fn, TN_PLACE_ENTRY, prog, how, stash, err);
    first = p->nhooks;
    if (!r)
        r = hook_all(p, addr, fn, place, prog, how, stash, err);
    /* Answers that are given at the entry go there. */
    for (u32 k = 0; !r && place == TN_PLACE_EXIT && k < first; k++)
        if (p->undo[k].place == TN_PLACE_ENTRY && p->near->hook[k].func_ip == (u64)fn)
            p->near->hook[k].answer = p->undo[first].hook_at;
    if (!r && ret_hook)
        *ret_hook = first;
    return r;
}

int inproc_take_faults(struct inproc *p, struct tn_signals **ret_signals)
{
    u8 stub[24] = {0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x25};
    struct tn_sigaction act = {.flags = TN_SA_RESTORER | TN_SA_RESTART | TN_SA_SIGINFO, .mask = ~0ull};
    u64 trap, back;
    u8 *text = memory(TN_PAGE, MAP_PRIVATE);
    struct tn_signals *sigs = memory(sizeof(*sigs), MAP_PRIVATE);

    if (!text || !sigs || tn_agent_export("tn_agent_trap", &trap) < 0 ||
        tn_agent_export("tn_agent_sigreturn", &back) < 0)
        return -ENOMEM;
    trap += p->agent;
    memcpy(stub + 2, &sigs, 8);
    memcpy(stub + 16, &trap, 8);
    memcpy(text, stub, sizeof(stub));
    if (mprotect(text, TN_PAGE, PROT_READ | PROT_EXEC))
        return -errno;
    *sigs = (struct tn_signals){.on = TN_SIGNALS_ON,
                                .taken = TN_SIGNALS_LOADS,
                                .loads = 1,
                                .proc = &p->near->proc,
                                .entry = (u64)text,
                                .restorer = p->agent + back};
    p->near->proc.signals = (u64)sigs;
    act.handler = sigs->entry;
    act.restorer = sigs->restorer;
    if (syscall(SYS_rt_sigaction, SIGSEGV, &act, NULL, 8) || syscall(SYS_rt_sigaction, SIGBUS, &act, NULL, 8))
        return -errno;
    *ret_signals = sigs;
    return 0;
}
