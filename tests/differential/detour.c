/* SPDX-License-Identifier: MIT */
/* See detour.h. */
#include "tests/differential/detour.h"

#include <errno.h>
#include <sys/syscall.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define AFTER "tenon_after"

static bool of_that_kind(const struct rec *rec)
{
    u32 attach = rec->program->expected_attach_type;

    return rec->program->prog_type == BPF_PROG_TYPE_TRACING && rec->program->attach_btf_id &&
           !(rec->program->flags & (REC_F_MODULE | REC_F_ATTACH_PROG)) &&
           (attach == BPF_TRACE_FENTRY || attach == BPF_TRACE_FEXIT || attach == BPF_MODIFY_RETURN);
}

/* The kernel's type of bpf_throw, and whether this kernel refuses by attach type; found out once. */
static u32 throw_id(void)
{
    static const struct bpf_insn ret0[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                           {.code = BPF_JMP | BPF_EXIT}};
    static s64 known = -1;
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_TRACING,
                           .expected_attach_type = BPF_TRACE_FENTRY,
                           .insns = (u64)(uintptr_t)ret0,
                           .insn_cnt = 2,
                           .license = (u64)(uintptr_t) "GPL"};
    struct btf *host;

    if (known >= 0)
        return (u32)known;
    known = 0;
    /* Without a function to attach to every other kernel answers EINVAL. */
    if (syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) >= 0 || errno != EPERM)
        return 0;
    host = btf__load_vmlinux_btf();
    if (host) {
        s32 id = btf__find_by_name_kind(host, "bpf_throw", BTF_KIND_FUNC);

        known = id > 0 ? id : 0;
    }
    btf__free(host);
    return (u32)known;
}

bool detour_needed(const struct rec *rec)
{
    return of_that_kind(rec) && throw_id();
}

static const struct bpf_func_info *infos(const struct rec *rec, u32 *ret_n)
{
    u32 size = rec->program->func_info_rec_size;

    *ret_n = size == sizeof(struct bpf_func_info) ? rec->func_info.size / size : 0;
    return (const struct bpf_func_info *)rec->func_info.data;
}

int detour_open(struct detour *d, const struct rec *rec)
{
    const struct rec_program *p = rec->program;
    const struct bpf_func_info *info;
    struct btf *btf = p->btf >= 0 ? btf__new(rec->btf[p->btf].data, rec->btf[p->btf].size) : btf__new_empty();
    const struct btf_type *was;
    const char *name = "program";
    int num, wide, none, one, proto, e;
    u32 n;

    *d = (struct detour){.btf = -1, .throw_id = throw_id()};
    if (!btf || libbpf_get_error(btf))
        return -EINVAL;
    for (u32 k = 1; k < btf__type_cnt(btf) && d->nglobals < TN_ARRAY_SIZE(d->global); k++) {
        const struct btf_type *t = btf__type_by_id(btf, k);

        if (btf_is_func(t) && btf_vlen(t) == BTF_FUNC_GLOBAL)
            d->global[d->nglobals++] = k;
    }
    num = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
    wide = btf__add_int(btf, "unsigned long long", 8, 0);
    none = proto = btf__add_func_proto(btf, num);
    info = infos(rec, &n);
    was = n ? btf__type_by_id(btf, info[0].type_id) : NULL;
    if (was && btf_is_func(was)) { /* a static function now: judged with what it is called with */
        proto = (int)was->type;
        name = btf__name_by_offset(btf, was->name_off);
    }
    d->program_id = (u32)btf__add_func(btf, name, BTF_FUNC_STATIC, proto);
    d->other_id = (u32)btf__add_func(btf, "other", BTF_FUNC_STATIC, none);
    d->main_id = (u32)btf__add_func(btf, "tenon_main", BTF_FUNC_GLOBAL, none);
    one = btf__add_func_proto(btf, num);
    btf__add_func_param(btf, "cookie", wide);
    d->after_id = (u32)btf__add_func(btf, AFTER, BTF_FUNC_GLOBAL, one);
    e = btf__add_decl_tag(btf, "exception_callback:" AFTER, (int)d->main_id, -1);
    if (e > 0)
        e = btf__load_into_kernel(btf);
    if (!e)
        d->btf = dup(btf__fd(btf));
    d->zero = p->expected_attach_type != BPF_MODIFY_RETURN;
    btf__free(btf);
    return e < 0 ? e : d->btf < 0 ? -EINVAL : 0;
}

void detour_close(struct detour *d)
{
    if (d->btf >= 0)
        close(d->btf);
    d->btf = -1;
}

static bool only_there(const struct bpf_insn *i)
{
    return i->code == (BPF_JMP | BPF_CALL) && !i->src_reg &&
           (i->imm == BPF_FUNC_get_func_ip || i->imm == BPF_FUNC_get_attach_cookie ||
            i->imm == BPF_FUNC_get_func_arg || i->imm == BPF_FUNC_get_func_ret ||
            i->imm == BPF_FUNC_get_func_arg_cnt || i->imm == BPF_FUNC_tail_call);
}

/* Does it call what only such programs may, or has it global functions besides main? */
static bool cannot(const struct detour *d, const struct rec *rec, const struct bpf_insn *insns, u32 n)
{
    u32 ninfos;
    const struct bpf_func_info *info = infos(rec, &ninfos);

    for (u32 k = 0; k < n; k++)
        if (only_there(&insns[k]))
            return true;
    for (u32 k = 1; k < ninfos; k++)
        for (u32 g = 0; g < d->nglobals; g++)
            if (info[k].type_id == d->global[g])
                return true;
    return false;
}

/* Where functions begin: a bit an instruction. */
static void begins(const struct bpf_insn *insns, u32 n, bool *start)
{
    for (u32 k = 0; k < n; k++) {
        bool wide = insns[k].code == (BPF_LD | BPF_IMM | BPF_DW);
        bool call = insns[k].code == (BPF_JMP | BPF_CALL) && insns[k].src_reg == BPF_PSEUDO_CALL;
        s64 to = (s64)k + 1 + insns[k].imm;

        if ((call || (wide && insns[k].src_reg == BPF_PSEUDO_FUNC)) && to >= 0 && to < n)
            start[to] = true;
        k += wide;
    }
}

int detour_write(const struct detour *d, const struct rec *rec, const struct bpf_insn *insns, u32 n,
                 struct bpf_insn **ret_insns, u32 *ret_n, struct bpf_func_info **ret_funcs, u32 *ret_nfuncs)
{
    struct bpf_insn *to = calloc((size_t)n + 16, sizeof(*to));
    struct bpf_func_info *funcs = calloc((size_t)n + 16, sizeof(*funcs));
    _free_ bool *start = calloc((size_t)n + 1, sizeof(*start));
    const struct bpf_func_info *info;
    u32 m = 0, nfuncs = 0, ninfos, head;

    if (!to || !funcs || !start) {
        free(to);
        free(funcs);
        return -ENOMEM;
    }
    if (cannot(d, rec, insns, n)) {
        free(to);
        free(funcs);
        return -ENOTTY;
    }
    head = d->zero ? 6 : 5;
    to[m++] = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = (s32)head - 1};
    if (d->zero) {
        to[m++] = (struct bpf_insn){.code = BPF_JMP | BPF_JEQ | BPF_K, .off = 1};
        to[m++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_10};
    } else {
        to[m++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2};
    }
    to[m++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1};
    to[m++] = (struct bpf_insn){
        .code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = (s32)d->throw_id};
    to[m++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
    memcpy(to + m, insns, n * sizeof(*insns));
    funcs[nfuncs++] = (struct bpf_func_info){0, d->main_id};
    funcs[nfuncs++] = (struct bpf_func_info){m, d->program_id};
    info = infos(rec, &ninfos);
    if (ninfos) {
        for (u32 k = 1; k < ninfos && nfuncs < n + 8; k++)
            funcs[nfuncs++] = (struct bpf_func_info){info[k].insn_off + m, info[k].type_id};
    } else {
        begins(insns, n, start);
        for (u32 k = 1; k < n; k++)
            if (start[k])
                funcs[nfuncs++] = (struct bpf_func_info){k + m, d->other_id};
    }
    m += n;
    funcs[nfuncs++] = (struct bpf_func_info){m, d->after_id};
    to[m++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K};
    to[m++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
    *ret_insns = to;
    *ret_n = m;
    *ret_funcs = funcs;
    *ret_nfuncs = nfuncs;
    return 0;
}

bool detour_accepted(const char *log)
{
    return strstr(log, "Validating " AFTER "() func#");
}
