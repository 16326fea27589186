# SPDX-License-Identifier: MIT
"""Stacks stay true: profilers, perf, gdb and sanitizers see the host's callers while functions on the stack are hooked."""
import os
import re
import subprocess

from harness import BUILD, Skip, main, maps, need, same, status_word, test, until

SOURCES = os.path.dirname(os.path.abspath(__file__))
UNWINDER = os.path.join(SOURCES, "../../packaging/tenon-gdb.py")
LINKS = ("stacks", "stacks_exit", "stacks_inner", "stacks_outer_exit")
CALLERS = ["inner", "hooked", "middle", "outer", "main"]


def build(room, *flags):
    """With frame pointers, which perf follows; the compiler must not lose a frame otherwise."""
    need("gcc")
    path = room.path("targets-stacks")
    done = subprocess.run(["gcc", "-O2", "-g", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-pthread", "-rdynamic", *flags, "-o", path,
                           os.path.join(SOURCES, "stacks.c")], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skip(f"{' '.join(flags)}: {done.stderr.decode().splitlines()[-1]}")
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    return path


def start(room, *flags):
    program = room.program_of([build(room, *flags)])
    program.ask("calls 0.01")
    return program


def hook(room, program):
    return [room.attach(name, program.pid) for name in LINKS]


class Seen:
    def __init__(self, answer):
        self.samples, self.whole, self.foreign, self.foreign_whole, self.calls = map(int, answer.split())


@test("profilers of the process's own, by unwind rules and by frame pointers, on either stack: none crashes, none goes astray")
def _(room):
    program = start(room)
    for hooked in (False, True):
        links = hook(room, program) if hooked else []
        for way in ("unwind", "glibc", "frames"):
            for stack in ("", " alt"):
                seen = Seen(program.ask(f"{way} 0.5{stack}"))
                print(f"# {way}{stack}, {'hooked' if hooked else 'plain'}: {vars(seen)}")
                assert seen.samples > 200, vars(seen)
                assert bool(seen.foreign) == hooked, vars(seen)
                # In the host's own code the callers are there; in ours, for whoever follows frame pointers.
                same(seen.whole, seen.samples if way == "frames" else seen.samples - seen.foreign, way)
        same([link.missed() for link in links], [0] * len(links), "missed")
        for link in links:
            link.detach()


@test("the same while links come and go", seconds=90)
def _(room):
    program = start(room)
    stays = room.attach("stacks_outer_exit", program.pid)
    for way in ("unwind", "glibc", "frames"):
        program.tell(f"{way} 4")
        rounds = 0
        while not program.answered():
            for link in [room.attach(name, program.pid) for name in LINKS[:3]]:
                link.detach()
            rounds += 1
        seen = Seen(program.answer())
        print(f"# {way}, {rounds} rounds: {vars(seen)}")
        assert rounds > 2 and seen.foreign
        same(seen.whole, seen.samples if way == "frames" else seen.samples - seen.foreign, way)
    stays.detach()


STEPS = 3000
RESUMED = 40 # of these more than half are the agent's
STEPPER = """
import gdb
for number in range(%d):
    gdb.execute("stepi", to_string=True)
    frame, names = gdb.newest_frame(), []
    while frame is not None and len(names) < 40:
        names.append(frame.name() or "?")
        frame = frame.older()
    print("STACK", hex(gdb.newest_frame().pc()), *names)
"""


def stepped(room, program, steps):
    """Where it was after each instruction, and the functions on its stack: "?" where gdb knows none."""
    said = room.run(["gdb", "-nx", "-batch", "-p", str(program.pid), "-x", UNWINDER, "-x",
                     room.write("step.py", STEPPER % steps)], seconds=100)
    stacks = [line.split()[1:] for line in said.splitlines() if line.startswith("STACK ")]
    same(len(stacks), steps, "stops")
    ours = sum(names[0] == "?" for _, *names in stacks)
    print(f"# {ours} of {steps} stops in code of ours")
    assert ours > steps // 2
    for pc, *names in stacks:
        host = names[next((at for at, name in enumerate(names) if name != "?"), len(names)):]
        assert "main" in host and "?" not in host[:host.index("main")], (pc, names)
        yield pc, host


@test("gdb, instruction by instruction through trampolines, programs, the agent and displaced code: the callers, by name", 120)
def _(room):
    need("gdb")
    program = start(room)
    links = hook(room, program)
    program.tell("calls 60")
    for pc, host in stepped(room, program, STEPS):
        assert host[0] in CALLERS, (pc, host)
        wanted = CALLERS[CALLERS.index(host[0]):]
        same(host[:len(wanted)], wanted, pc)
    same([link.missed() for link in links], [0] * 4, "missed")


for what, names, line in (("a tail jump, followed", ("tail_called", "tail_called_exit"), "tail"),
                          ("an exit of many", ("many_rets", "many_rets_exit"), "rets"),
                          ("recursion", ("recursive", "recursive_exit"), "recursive"),
                          ("a place where flags are alive", ("flags_alive",), "flags"),
                          ("a place where the red zone is", ("red_alive",), "red")):
    @test(f"gdb, the same: {what}", 60)
    def _(room, names=names, line=line):
        need("gdb")
        program = room.program("exits")
        for name in names:
            room.attach(name, program.pid)
        program.tell(line + " 100000000")
        for _ in stepped(room, program, STEPS // 2):
            pass


def agent_symbol(name):
    """Where it is in the agent's image."""
    symbols = subprocess.run(["nm", os.path.join(BUILD, "src/agent/agent.elf")], stdout=subprocess.PIPE, check=True).stdout.decode()
    return int(re.search(rf"^(\w+) T {name}$", symbols, re.M)[1], 16)


@test("gdb, from a breakpoint of ours back into the host, without a system call: the callers, at each instruction", 60)
def _(room):
    need("gdb")
    program = room.program("breaks")
    link = room.attach("tiny", program.pid)
    same(link.rows[0]["tactic"], "breakpoint", "tactic")
    program.ask("call 10")
    start = next(int(line.split("-")[0], 16) for line in maps(program.pid) if "tenon-agent" in line and "r-x" in line)
    said = room.path("gdb")
    with open(said, "w") as out: # it comes while nothing happens: a SIGTRAP that is under way as it comes is lost to it
        gdb = room.start(["gdb", "-nx", "-batch", "-p", str(program.pid), "-x", UNWINDER, "-ex", "handle SIGTRAP nostop noprint pass",
                          "-ex", f"tbreak *{start + agent_symbol('tn_agent_resume'):#x}", "-ex", "echo ready\\n", "-ex", "continue",
                          "-ex", "handle SIGTRAP stop nopass", "-x", room.write("step.py", STEPPER % RESUMED),
                          "-ex", "set $eflags = $eflags & ~0x100", # stepping over popfq leaves the trap flag behind
                          "-ex", "detach"],
                         stdout=out, stderr=subprocess.STDOUT)
    until(lambda: "ready" in open(said).read(), 30)
    until(lambda: not status_word(program.pid, "State").startswith("t"))
    program.tell("call 1")
    same(gdb.wait(30), 0, "gdb")
    said = open(said).read()
    stacks = [line.split()[1:] for line in said.splitlines() if line.startswith("STACK ")]
    same(len(stacks), RESUMED, "stops")
    assert sum(int(pc, 16) - start < 1 << 20 for pc, *_ in stacks) > RESUMED // 2, said
    for pc, *names in stacks:
        host = [name for name in names if name != "?"]
        assert "main" in host and "call" in host, (pc, names, said)
    same(program.answer(), "11", "goes on where it stood")
    link.detach()


@test("gdb at a breakpoint in a function that a hooked one calls, and finish from there")
def _(room):
    need("gdb")
    program = start(room)
    links = [room.attach(name, program.pid) for name in ("stacks", "stacks_exit", "stacks_outer_exit")]
    program.tell("calls 60")
    said = room.run(["gdb", "-nx", "-batch", "-p", str(program.pid), "-ex", "break inner", "-ex", "continue", "-ex", "bt",
                     "-ex", "finish", "-ex", "bt", "-ex", "delete"], seconds=60)
    assert "Value returned" in said, said
    first, second = said.split("Value returned")
    for text, names in ((first, CALLERS), (second, CALLERS[1:])):
        found = re.findall(r"^#\d+ .*?(\w+) \(", text, re.M)
        same([name for name in found if name in CALLERS][:len(names)], names, text)
    same([link.missed() for link in links], [0] * 3, "missed")


@test("perf record -g: by frame pointers, the callers of what runs in an extension")
def _(room):
    need("perf")
    program = start(room)
    links = hook(room, program)
    program.tell("calls 3")
    data = room.path("perf.data")
    done = subprocess.run(["perf", "record", "-F", "2000", "-e", "cpu-clock:u", "--call-graph", "fp", "-p", str(program.pid), "-o", data,
                           "--", "sleep", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skip(f"perf: {done.stderr.decode().strip().splitlines()[-1]}")
    stacks = [stack.splitlines() for stack in room.run(["perf", "script", "-i", data, "-F", "ip,sym,dso"]).split("\n\n")]
    ours = [stack for stack in stacks if stack and "tenon-" in [line for line in stack if line.strip()][0]]
    # Before a function has made its frame, its caller's is the first: a stack of outer's caller begins above main.
    whole = [stack for stack in ours if any(f" {name} (" in line for line in stack for name in ("main", "__libc_start_call_main"))]
    print(f"# {len(stacks)} stacks, {len(ours)} from code of ours, {len(whole)} of them whole")
    assert len(ours) > 100
    assert len(whole) >= 0.99 * len(ours), "\n".join(next(stack for stack in ours if stack not in whole))
    program.answer()
    for link in links:
        link.detach()


@test("AddressSanitizer tells who wrote and who had allocated, through hooked functions", seconds=60)
def _(room):
    path = build(room, "-fsanitize=address")
    program = room.program_of([path], stderr=open(room.path("report"), "w"), env=dict(room.env, ASAN_OPTIONS="color=never"))
    program.ask("calls 0.01")
    hook(room, program)
    program.ask("calls 0.1")
    program.tell("overflow 1")
    assert program.process.wait(20) != 0
    with open(room.path("report")) as file:
        report = file.read()
    wrote, allocated = report.split("allocated by thread")[:2]
    for stack in (wrote, allocated):
        names = [name for name in re.findall(r"#\d+ \S+ in (\w+)", stack) if name in CALLERS]
        same(names[:5], CALLERS, report)


main()
