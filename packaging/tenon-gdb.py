# SPDX-License-Identifier: MIT
"""Backtraces of gdb through an extension: `source …/tenon/tenon-gdb.py`, then `bt` as ever.

What an extension has brought into a process (trampolines, displaced instructions, programs, the agent) is in no file that gdb
could read unwind rules from. Here they are found by following the code itself to where it leaves:

    program, agent    ─ … ─▶ ret              the caller is what the stack pointer has come to
    trampoline        ─ … ─▶ jmp *hook.next   the host, at the place that is hooked: the record beside `next` says where;
                      ─ … ─▶ jne to such one  the same, where the displaced copy comes behind
    displaced copy    ─ … ─▶ jmp into a file  the host, as many bytes before that
    tn_agent_resume   ─ … ─▶ ret $128         what a breakpoint has interrupted: as the kernel's frame has it

Compiled code has one stack depth at each instruction, so any way out will do: calls are passed over, conditional jumps are not
taken unless nothing else leads out. Only the stack pointer, rbp and what is saved and restored by push and pop are followed.
"""
import re

import gdb
import gdb.unwinder

KEPT = ("rbx", "rbp", "r12", "r13", "r14", "r15")
STEPS = 4000
NEXT, FUNC_IP = 40, 8  # in struct tn_hook (src/rt/layout.h)
RESUME = 64  # instructions of tn_agent_resume, at most (src/agent/routines.S)
UCONTEXT = {"r12": 72, "r13": 80, "r14": 88, "r15": 96, "rbp": 120, "rbx": 128, "rsp": 160, "rip": 168}
MASK = (1 << 64) - 1


class Lost(Exception):
    """This way leads nowhere that is known."""


def mappings(pid):
    """(start, end, name) of what can be executed."""
    rows = []
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            words = line.split(None, 5)
            if "x" in words[1]:
                start, end = (int(word, 16) for word in words[0].split("-"))
                rows.append((start, end, words[5].strip() if len(words) > 5 else ""))
    return rows


class Code:
    """A process's executable memory, and whose it is."""

    def __init__(self):
        inferior = gdb.selected_inferior()
        self.read = inferior.read_memory
        self.rows = mappings(inferior.pid)
        self.entered = any("memfd:tenon-" in name for _, _, name in self.rows)

    def name(self, pc):
        return next((name for start, end, name in self.rows if start <= pc < end), None)

    def ours(self, pc):
        name = self.name(pc) if self.entered else None
        return name is not None and (name == "" or name.startswith("/memfd:tenon-"))

    def hosts(self, pc):
        name = self.name(pc)
        return bool(name) and not name.startswith("/memfd:tenon-")

    def word(self, addr):
        return int.from_bytes(bytes(self.read(addr & MASK, 8)), "little")


class Walk:
    """Registers as they will be, from a program counter on."""

    def __init__(self, code, pc, regs, pushed=None):
        self.code, self.pc, self.regs, self.pushed = code, pc, dict(regs), dict(pushed or {})
        self.began = (pc, dict(regs)) if pushed is None else None # all in a row since then; None: it has jumped

    def at(self, addr):
        addr &= MASK
        return self.pushed[addr] if addr in self.pushed else self.code.word(addr)

    def push(self, value):
        self.regs["rsp"] = (self.regs["rsp"] - 8) & MASK
        self.pushed[self.regs["rsp"]] = value

    def pop(self):
        value = self.at(self.regs["rsp"])
        self.regs["rsp"] = (self.regs["rsp"] + 8) & MASK
        return value

    def step(self, text, length):
        """One instruction. Returns (pc, True) at the way out, a pc to be tried too, or None."""
        name, _, rest = text.partition(" ")
        args, at = rest.split("#")[0].strip(), self.pc
        self.pc += length
        regs = self.regs
        if name in ("ret", "retq", "repz", "bnd") and "ret" in text:
            return self.pop(), True
        if name == "leave":
            regs["rsp"] = regs["rbp"]
            regs["rbp"] = self.pop()
        elif name in ("push", "pushf"):
            self.push(regs.get(args[1:], 0))
        elif name in ("pop", "popf"):
            value = self.pop()
            if args[1:] in KEPT:
                regs[args[1:]] = value
        elif args == "%rsp,%rbp":
            regs["rbp"] = regs["rsp"]
        elif args == "%rbp,%rsp":
            regs["rsp"] = regs["rbp"]
        elif args.endswith(",%rsp") and name in ("add", "sub", "and", "lea"):
            self.moved(name, args[:-len(",%rsp")])
        elif name in ("jmp", "jmpq"):
            return self.jump(args, text, at)
        elif name.startswith("j"):
            target = int(args.split()[0], 16)
            place = self.chained(target)
            return (place + 1, True) if place else target
        elif args.endswith(",%rsp"):
            raise Lost(f"{at:#x}: {text}")
        return None

    def moved(self, name, by):
        regs = self.regs
        if name == "lea":
            found = re.fullmatch(r"(-?0x[0-9a-f]+|)\((%rsp|%rbp)\)", by)
            if not found:
                raise Lost(by)
            regs["rsp"] = (regs[found[2][1:]] + int(found[1] or "0", 16)) & MASK
            return
        if not by.startswith("$"):
            raise Lost(by)
        value = int(by[1:], 16)
        regs["rsp"] = {"add": regs["rsp"] + value, "sub": regs["rsp"] - value, "and": regs["rsp"] & value}[name] & MASK

    def chained(self, target):
        """Where the hook stands that looks here whether another one comes next; 0: nobody looks."""
        if bytes(self.code.read(target, 2)) != b"\xff\x25": # jmp *hook.next
            return 0
        word = target + 6 + int.from_bytes(bytes(self.code.read(target + 2, 4)), "little", signed=True)
        place = self.code.word(word - NEXT + FUNC_IP)
        return place if self.code.hosts(place) else 0

    def jump(self, args, text, at):
        if not args.startswith("*"):
            here, self.pc = at, int(args.split()[0], 16)
            if not self.code.hosts(self.pc):
                self.began = None
                return None
            # A copy of what stands before where it leads: the host as it is, there. One byte on, since whoever asks for the
            # caller of a call looks one before.
            if self.began:
                self.regs = self.began[1]
                return self.pc - (here - self.began[0]) + 1, True
            return self.pc + 1, True
        word = re.search(r"# (0x[0-9a-f]+)", text)
        if not args.endswith("(%rip)") or not word:
            raise Lost(text)
        word = int(word[1], 16)
        place = self.code.word(word - NEXT + FUNC_IP)
        if self.code.hosts(place):
            return place + 1, True
        self.pc, self.began = self.code.word(word), None
        if not self.code.ours(self.pc):
            raise Lost(text)
        return None


def leave(code, arch, pc, regs):
    """Where the code at `pc` goes when it is done, and the registers then; or Lost."""
    ways, seen = [Walk(code, pc, regs)], set()
    for _ in range(STEPS):
        if not ways:
            break
        walk = ways[-1]
        if walk.pc in seen or not code.ours(walk.pc):
            ways.pop()
            continue
        seen.add(walk.pc)
        insn = arch.disassemble(walk.pc)[0]
        try:
            out = walk.step(insn["asm"], insn["length"])
        except (Lost, gdb.MemoryError, ValueError):
            ways.pop()
            continue
        if isinstance(out, tuple):
            return out[0], walk.regs
        if out is not None:
            ways.insert(0, Walk(code, out, walk.regs, walk.pushed))
    raise Lost(f"{pc:#x}")


def resumed(code, arch, pc, regs):
    """As `leave`, from within tn_agent_resume; None elsewhere. Straight on it goes, to `ret $128`: with the kernel's frame on top of the
    stack until the stack pointer is the host's again, but for what is popped."""
    popped, framed = 0, False
    for _ in range(RESUME):
        insn = arch.disassemble(pc)[0]
        name, _, args = insn["asm"].partition(" ")
        pc += insn["length"]
        if name in ("ret", "retq") and args.strip() == "$0x80":
            frame = {register: code.word(regs["rsp"] + at) for register, at in UCONTEXT.items()} if framed else \
                    {**regs, "rip": code.word(regs["rsp"] + popped), "rsp": (regs["rsp"] + popped + 8 + 0x80) & MASK}
            return frame.pop("rip"), frame
        if name.startswith(("j", "call", "ret", "push")):
            break
        popped += 8 if name.startswith("pop") else 0
        framed |= name == "lea" and args.rstrip().endswith(",%rsp")
    return None


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Extensions(gdb.unwinder.Unwinder):
    def __init__(self):
        super().__init__("tenon")

    def __call__(self, pending):
        if gdb.selected_inferior().pid == 0:
            return None
        pc, code = int(pending.read_register("rip")) & MASK, None
        try:
            code = Code()
        except OSError: # a core file, or a process of another machine
            return None
        if not code.ours(pc):
            return None
        regs = {name: int(pending.read_register(name)) & MASK for name in (*KEPT, "rsp")}
        arch = pending.architecture() if hasattr(pending, "architecture") else gdb.selected_inferior().architecture()
        try:
            with gdb.with_parameter("disassembly-flavor", "att"):
                to, then = resumed(code, arch, pc, regs) or leave(code, arch, pc, regs)
        except (Lost, gdb.MemoryError):
            return None
        info = pending.create_unwind_info(FrameId(gdb.Value(then["rsp"]), gdb.Value(pc)))
        wide = gdb.lookup_type("long")
        info.add_saved_register("rip", gdb.Value(to).cast(wide))
        for name, value in then.items():
            info.add_saved_register(name, gdb.Value(value - (1 << 64) if value >> 63 else value).cast(wide))
        return info


gdb.unwinder.register_unwinder(None, Extensions(), replace=True)
