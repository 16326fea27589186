#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Is the evaluator awake? Each row breaks the verifier in one place; the random programs have to find every one.

    tests/verify/mutants.py BUILD [NAME…]        NAMEs: only rows whose name contains one of them

A row is (name, file of src/verify, text that stands there once, text instead). The broken file alone is compiled, and
linked before the library, which so gives everything else; the sources stay as they are. TN_MUTANT_RUNS: after how many runs
a mutant counts as not found (1 000 000). A row whose text is not found is a failure as well: it has to follow the source.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.join(HERE, "../../src/verify")

ROWS = [
    # bounds of memory
    ("map value: one byte too far", "mem.c",
     "return p->max + p->size > size ? outside(v, p, false,",
     "return p->max + p->size > size + 1 ? outside(v, p, false,"),
    ("map value: fixed offsets below zero", "mem.c",
     "if (p->min < 0 || p->min + p->size > size)",
     "if (p->min + p->size > size)"),
    ("stack: up to the frame's end and beyond", "mem.c", "p->max <= -(s64)TN_MAX(p->size, 1u))", "p->max <= 0)"),
    ("helper size: the least counts", "args.c",
     "return arg_memory(v, c, regno - 1, mem, reg->r.umax, tn_range_is_const(&reg->r));",
     "return arg_memory(v, c, regno - 1, mem, reg->r.umin, tn_range_is_const(&reg->r));"),
    ("helper result: one longer", "call.c",
     "max = TN_MIN(max, (s64)c->longest);",
     "max = TN_MIN(max, (s64)c->longest - 1);"),
    ("helper: stack it writes stays known", "mem.c",
     "    if (!err && p->use != TN_USE_READ)\n        err = tn_stack_clobber",
     "    if (0)\n        err = tn_stack_clobber"),
    ("a certain element: one index more", "call.c",
     "(u64)c->key < c->map->geo.max_entries &&",
     "(u64)c->key <= c->map->geo.max_entries &&"),
    ("write into what is lent for reading", "mem.c",
     "if (p->use == TN_USE_READ || !(p->reg.flags & TN_PTR_RDONLY))",
     "if (1)"),
    # numbers
    ("32-bit comparison learns 64 bits", "range.c",
     "    a = is64 ? whole(dst) : low(dst);\n    b = is64",
     "    is64 = true;\n    a = is64 ? whole(dst) : low(dst);\n    b = is64"),
    ("32-bit move keeps 64 bits", "transfer.c", 
     "    r = tn_range_insn(i, &dst->r, &src->r);\n    /* A cut",
     "    r = bits == 32 ? src->r : tn_range_insn(i, &dst->r, &src->r);\n    /* A cut"),
    ("32-bit sum stays linked", "transfer.c", "if (!dst->id || BPF_CLASS(i->code) != BPF_ALU64 ||", "if (!dst->id ||"),
    ("linked numbers: distance forgotten", "transfer.c", "if (reg->delta != link->delta) {", "if (0) {"),
    ("sign extension keeps what is larger", "range.c",
     "if (r->smin >= tn_width_smin(bits) && r->smax <= tn_width_smax(bits))",
     "if (r->smin >= tn_width_smin(bits))"),
    ("sum: the step of one", "step.c", "to_keep(gcd(left, right));", "to_keep(TN_MAX(left, right));"),
    ("known state covers other steps", "step.c", "return !old->step || tn_step_of(cur) % old->step == 0;", "return true;"),
    ("byte swap: bits stay", "range.c", "z.var = tn_tnum_bswap(r->var, bits);", "z.var = r->var;"),
    ("atomic: what is read back is known", "mem.c",
     "vf_set_scalar(v, gets, tn_range_unsigned(0, tn_width_mask(p.size * 8)));",
     "vf_set_scalar(v, gets, tn_range_unsigned(0, tn_width_mask(p.size * 8) >> 1));"),
    ("constants: the bytes beside them", "mem.c",
     "memcpy(ret, map->frozen + p->min, p->size);",
     "memcpy(ret, map->frozen + (p->min ^ 8), p->size);"),
    ("comparison: one more than is left", "word.c",
     "return taken ? assume(UGT, a, b, bits) : assume(UGE, b, a, bits);",
     "return taken ? assume(UGT, a, b, bits) : assume(UGT, b, a, bits);"),
    ("signed comparison is unsigned", "word.c",
     "return taken ? assume(SGT, a, b, bits) : assume(SGE, b, a, bits);",
     "return taken ? assume(UGT, a, b, bits) : assume(UGE, b, a, bits);"),
    ("shift by an amount that varies: by the least", "word.c", "clamp_u(r, a->umin >> most,", "clamp_u(r, a->umin >> least,"),
    ("sum: bits that carry are known", "word.c",
     "r.t = tn_tnum_cast(tn_tnum_add(a->t, b->t), bits);",
     "r.t = tn_tnum_cast(tn_tnum_or(a->t, b->t), bits);"),
    # the stack
    ("spill: survives a store over it", "stack.c",
     "    if (!s->size)\n        return;\n    for",
     "    if (1)\n        return;\n    for"),
    ("spill: survives a store at a variable offset", "stack.c",
     "        end_spill(&f->slot[slot_of(o)]);\n        if (*byte_at(f, o) != TN_BYTE_INVALID &&",
     "        if (*byte_at(f, o) != TN_BYTE_SPILL && *byte_at(f, o) != TN_BYTE_INVALID &&"),
    ("spill: half of it is the whole", "stack.c", "    if (s->size == size)\n        return 0;", "    return 0;"),
    ("spill: not cut to its size", "stack.c", "if (kept.kind == TN_REG_SCALAR && size < 8) {", "if (0) {"),
    ("zeroes at a variable offset", "stack.c",
     "if (byte != TN_BYTE_ZERO && !((spilled || s->lo)",
     "if (byte != TN_BYTE_ZERO && byte != TN_BYTE_MISC && !((spilled || s->lo)"),
    ("never written: nobody clears it", "stack.c", "v->cfg.sub[f->subprog].zero |= 1ull << slot_of(o);", ";"),
    ("objects on the stack are read", "stack.c",
     "        else if (is_object(*byte_at(f, o)))\n            return vf_refuse(",
     "        else if (0)\n            return vf_refuse("),
    # pruning
    ("pruning: ranges of numbers not compared", "kept.c",
     "        get(at, &old, sizeof(old));\n        return tn_range_includes(&old, cur);",
     "        get(at, &old, sizeof(old));\n        return true;"),
    ("pruning: constants not compared", "kept.c",
     "return cur->umin == value && cur->umax == value;",
     "return value == value;"),
    ("pruning: links not compared", "kept.c",
     "(old.kind == TN_REG_SCALAR ? links_match(&maps->link, &old, cur)",
     "(old.kind == TN_REG_SCALAR ? true"),
    ("pruning: offsets of pointers not compared", "kept.c",
     "    return packed_range_includes(at, head, &cur->r) &&",
     "    return (old.kind != TN_REG_SCALAR || packed_range_includes(at, head, &cur->r)) &&"),
    ("pruning: NULL not compared", "kept.c",
     "bool more = packet &&",
     "bool more = (old->flags | cur->flags) & TN_PTR_MAYBE_NULL ? (((struct tn_reg *)old)->id = cur->id, ((struct"
     " tn_reg *)old)->flags = cur->flags, false) : packet &&"),
    ("pruning: fewer bytes of a packet do", "kept.c",
     "(old->obj == cur->obj || more) &&",
     "(old->obj == cur->obj || packet) &&"),
    ("pruning: stack slots not compared", "kept.c",
     "    *ret_covers = packed_reg_covers(at + 3, &cur->reg, demand, maps);",
     "    *ret_covers = true;"),
    ("pruning: zeroes not compared", "kept.c",
     "if (demand ? !byte_is_zero(cur, b) : !byte_is_data(cur, b))",
     "if (!byte_is_data(cur, b))"),
    ("pruning: sections not compared", "kept.c", "old.preempt != cur->preempt ||", "0 ||"),
    ("marks: a sum needs one operand", "track.c",
     "    *regs |= src & REGS;\n",
     "    if (op == BPF_MOV)\n        *regs |= src & REGS;\n"),
    ("marks: not through the stack", "track.c",
     "    if (BPF_CLASS(i->code) == BPF_STX)\n        *regs |=",
     "    if (0)\n        *regs |="),
    ("marks: results of functions decide nothing", "track.c", "if (w->regs[to - 1] & 1)", "if (0)"),
    ("marks: branches decide nothing", "track.c",
     "        *regs |= wanted ? operands : 0;\n        return;",
     "        return;"),
    ("marks: slots that are read are forgotten", "track.c",
     "    read_up(v->track.last, frame, slots & ~v->track.written[frame]);",
     ";"),
    ("loops: a round is covered without its numbers", "explore.c",
     "need[f] = tn_need_all(live[f]);\n    return tn_kept_covers(p->state, s, need);",
     "need[f] = (struct tn_need){live[f], 0, 0, ~0ull};\n    return tn_kept_covers(p->state, s, need);"),
    # NULL
    ("NULL: may be used unasked", "mem.c",
     "    if (!m || tn_reg_maybe_null(&p->reg) || p->reg.flags & TN_PTR_STALE)\n",
     "    if (!m || p->reg.flags & TN_PTR_STALE)\n"),
    ("NULL: arithmetic before the check", "pointer.c",
     "    if (tn_reg_maybe_null(ptr))\n        return vf_refuse(",
     "    if (0)\n        return vf_refuse("),
    ("NULL: the wrong side of the check", "transfer.c",
     "tn_null_resolved(v, s, dst->id, equal);",
     "tn_null_resolved(v, s, dst->id, differ);"),
    ("NULL: a comparison with it is decided", "transfer.c",
     "if (reg->flags & (TN_PTR_MAYBE_NULL | TN_PTR_UNTRUSTED))\n        return false;",
     "if (reg->flags & TN_PTR_UNTRUSTED)\n        return false;"),
    ("NULL: an iterator's element never is", "iter.c",
     "    set_state(&v->cur, use, ITER_DRAINED);\n    vf_set_scalar(v, 0, tn_range_const(0));",
     "    set_state(&v->cur, use, ITER_DRAINED);\n    vf_set_scalar(v, 0, tn_range_const(1));"),
    # packets
    ("packet: proved one byte too far", "packet.c", "(u32)p->delta + (op == BPF_JLT)};", "(u32)p->delta + 1};"),
    ("packet: another base is the same", "packet.c",
     "if (reg->kind == proof->kind && reg->id == proof->id &&",
     "if (reg->kind == proof->kind &&"),
    ("packet: the wrong side of the check", "packet.c",
     "    if (!taken)\n        op = negated[op >> 4];",
     "    if (taken)\n        op = negated[op >> 4];"),
    ("packet: pointers survive its move", "packet.c", "    tn_state_each_reg(&v->cur, invalidate, NULL);\n", ""),
    ("packet: a moved pointer keeps what was proved", "pointer.c",
     "    ptr->id = ++v->next_id;\n    /* Moved back",
     "    if (0)\n        return;\n    /* Moved back"),
    ("packet: slices survive its move", "packet.c", "    tn_dynptr_packet_changed(&v->cur);\n", ""),
    # references, locks, sections
    ("references: pointers survive the release", "refs.c",
     "    tn_ref_forget(s, ref);\n    return true;",
     "    return true;"),
    ("references: leaks are not asked for", "refs.c",
     "        if (ref->kind == TN_REF_OBJECT)\n            return vf_refuse(",
     "        if (0)\n            return vf_refuse("),
    ("references: NULL on the other way", "refs.c", "if (is_null && res.lent)", "if (res.lent)"),
    ("locks: held at the end", "lock.c",
     "    if (v->cur.nlocks)\n        return refuse_held(",
     "    if (0)\n        return refuse_held("),
    ("locks: two look-ups find one", "refs.c", "if (!tn_reg_has_lock(res->v, reg)) /* by it", "if (1) /* by it"),
    ("locks: calls under them", "lock.c", "    if (!v->cur.nlocks || allowed)\n        return 0;", "    return 0;"),
    ("locks: their bytes are data", "mem.c",
     "return err ? err : tn_special_access(v, &p->reg, p->min, p->max, p->size, !p->helper, &p->kptr);",
     "return err;"),
    ("locks: never fail", "kfunc.c", "        err = tn_lock_may_fail(v);", "        err = 0;"),
    ("sections: open at the end", "lock.c",
     "        if (*depth_of(&v->cur, (enum tn_section)k))\n            return refuse_held(",
     "        if (0)\n            return refuse_held("),
    # objects on the stack, callbacks
    ("dynptr: a clone survives the end", "dynptr.c",
     "            if (!is_whole(f, k) || f->slot[k].reg.ref != d.ref)",
     "            if (!is_whole(f, k) || f->slot[k].reg.ref != d.ref || f->slot[k].reg.id != d.id)"),
    ("dynptr: slices survive the end", "dynptr.c", "            tn_ref_forget(&v->cur, f->slot[k].reg.id);\n", ""),
    ("iterator: not ended", "iter.c", "        err = tn_ref_acquire(v, &ref);\n", "        ref = ++v->next_id;\n"),
    ("callback: any result", "callback.c",
     "                              f->ret_max);\n    return err;",
     "                              f->ret_max);\n    return 0 * err;"),
    ("callback: runs once at most", "callback.c",
     "    return tn_explore_widen(v, &v->cur, callsite);",
     "    *ret_end = true;\n    return 0;"),
    ("callback: never runs", "callback.c", "    return err ? err : follow(v, row, c, c->func, arg);", "    return err;"),
    # what the verdict says
    ("facts: a key that varies", "call.c", "    else if (seen->key != key)\n        seen->key = -1;", ""),
    ("facts: a map that varies", "call.c", "    else if (seen->map != index)\n        seen->map = -1;", ""),
    ("facts: stack depth", "stack.c",
     "        v->cfg.sub[f->subprog].depth = depth;",
     "        v->cfg.sub[f->subprog].depth = depth - 8;"),
    ("facts: memory of two kinds", "mem.c", "        seen->mem_kind = TN_MEM_PLAIN;\n", "        ;\n"),
    ("facts: longest path", "explore.c",
     "p->remain = TN_MAX(p->remain, TN_MIN(length - p->depth, TN_ENDLESS));",
     "p->remain = TN_MIN(length - p->depth, TN_ENDLESS);"),
    ("facts: rounds, but the last", "longest.c", "product(most, round)", "product(most - 1, round)"),
]


def commands(build):
    """How a file of the library is compiled, and how the test is linked."""
    out = subprocess.run(["ninja", "-C", build, "-t", "commands", "tests/verify/verify_random"], capture_output=True, text=True,
                         check=True).stdout.splitlines()
    compile_ = {}
    for line in out:
        found = re.search(r"src/verify/libverify\.a\.p/(\w+\.c)\.o -c", line)
        if found:
            compile_[found.group(1)] = shlex.split(line)
    return compile_, shlex.split([line for line in out if "-o tests/verify/verify_random " in line][-1])


def try_row(build, compile_, link, row, runs, scratch):
    name, file, old, new = row
    with open(os.path.join(SRC, file), encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        return "STALE", f"the text is {text.count(old)} times in {file}"
    source, obj, exe = (os.path.join(scratch, n) for n in (file, "mutant.o", "mutant"))
    with open(source, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    args = ["-O1" if a == "-O3" else a for a in compile_[file] if a not in ("-MD", "-Werror", "-fdiagnostics-color=always")]
    for flag in ("-MQ", "-MF"):
        at = args.index(flag)
        del args[at:at + 2]
    args[args.index("-o") + 1] = obj
    args[args.index("-c") + 1] = source
    if subprocess.run(args + ["-w"], cwd=build, check=False).returncode:
        return "STALE", "it does not compile"
    at = link.index("-o")
    subprocess.run(link[:at] + ["-o", exe, obj] + link[at + 2:], cwd=build, check=True)
    start = time.monotonic()
    done = subprocess.run([exe, "test_accepted_runs_stay_inside"], capture_output=True, text=True,
                          env=dict(os.environ, TN_RANDOM_RUNS=str(runs), TN_RANDOM_EACH="20", CMOCKA_MESSAGE_OUTPUT="STDOUT"),
                          check=False)
    said = done.stdout + done.stderr
    spent = time.monotonic() - start
    found = re.search(r"program (\d+) \(type (\d+)\), seed \w+, insn \d+: (.*)", said)
    if found:
        return "found", f"by program {found.group(1)} (type {found.group(2)}), {spent:.1f} s: {found.group(3)}"
    died = re.search(r"exception: (.*)", said) or re.search(r"(\w+Sanitizer: .*)", said)
    if done.returncode < 0 or died:
        return "found", f"{spent:.1f} s: {died.group(1) if died else 'killed'}"
    return "MISSED", f"in {spent:.1f} s"


def main():
    build, runs = os.path.abspath(sys.argv[1]), int(os.environ.get("TN_MUTANT_RUNS", "1000000"))
    rows = [r for r in ROWS if len(sys.argv) < 3 or any(n in r[0] for n in sys.argv[2:])]
    compile_, link = commands(build)
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows:
            how, what = try_row(build, compile_, link, row, runs, scratch)
            missed += how != "found"
            print(f"{row[0]:48} {how:7} {what}", flush=True)
    print(f"{len(rows) - missed} of {len(rows)} mutants were found")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
