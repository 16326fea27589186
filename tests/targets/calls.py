# SPDX-License-Identifier: MIT
"""System calls: entered and left, by number, in all code of a process, and nothing of it changed by that."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from harness import (BUILD, HERE, TENON, Attached, Refused, broker, children, code, code_bytes, main, maps, need, same, test,
                     until)

LIBC = next(line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libc[.-]", line))
UMASK, DUP2, RECV, GETPRIORITY, FORK_LIKE, ALARM = 95, 33, 45, 140, (56, 57, 58, 435), 37
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "calls.c")


class Counts:
    def __init__(self, room, link):
        self.room, self.ids = room, link.map_ids

    def of(self, map_name, nr):
        return int(self.room.tenon("map", "lookup", str(self.ids[map_name]), str(nr)))

    def entered(self, nr):
        return self.of("entered_n", nr)

    def left(self, nr):
        return self.of("left_n", nr)

    def value(self, map_name, nr):
        return json.loads(self.room.tenon("map", "lookup", "--json", str(self.ids[map_name]), str(nr)))

    def all(self, map_name):
        rows = json.loads(self.room.tenon("map", "dump", str(self.ids[map_name]), "--json"))
        return {int(row["key"]): int(row["value"]) for row in rows if int(row["value"])}


def every(room, *pids, options=()):
    link = room.attach("calls", *pids, nlinks=2,
                       options=[*options, "--program", "every_enter", "--program", "every_exit"])
    return link, Counts(room, link)


def one(room, pid):
    link = room.attach("calls", pid, nlinks=2, options=["--program", "one_enter", "--program", "one_exit"])
    return link, Counts(room, link)


@test("calls of the C library: counted exactly as they are entered and left, answers as before")
def _(room):
    program = room.program("calls")
    plain = program.ask("wrappers 1000")
    link, counts = every(room, program.pid)
    same(program.ask("wrappers 1000"), plain, "answers")
    for nr in (UMASK, DUP2, GETPRIORITY):
        same((counts.entered(nr), counts.left(nr)), (1000, 1000), f"call {nr}")
    same([int(arg) % 2**32 for arg in counts.value("args", DUP2)["value"][:2]], [2**32 - 1, 5], "arguments of dup2")
    same(int(counts.value("results", DUP2)["value"]), -9, "result of dup2")
    same(link.missed(), 0, "missed")
    link.detach()
    same(program.ask("wrappers 1000"), plain, "answers after detach")


@test("only the number that is watched: nothing else is touched")
def _(room):
    program = room.program("calls")
    program.ask("wrappers 1") # its libraries are there
    before = code_bytes(program.pid, LIBC)
    link, counts = one(room, program.pid)
    changed = [at for at, (a, b) in enumerate(zip(before, code_bytes(program.pid, LIBC))) if a != b]
    places = sum(row["places"] for row in room.links())
    assert 0 < len(changed) <= 16 * (places + 4), f"{len(changed)} bytes for {places} places" # + vfork's
    program.ask("wrappers 500")
    same((counts.entered(UMASK), counts.left(UMASK)), (500, 500), "umask")
    same(counts.all("entered_n"), {UMASK: 500}, "all that was counted")
    link.detach()
    until(lambda: code_bytes(program.pid, LIBC) == before) # in the background


@test("ksyscall: what stock libbpf asks of the kernel's own functions, with the registers of the call")
def _(room):
    program = room.program("calls")
    plain = program.ask("wrappers 1000")
    link = room.attach("calls", program.pid, nlinks=2, options=["--program", "probe_enter", "--program", "probe_exit"])
    counts = Counts(room, link)
    same(program.ask("wrappers 1000"), plain, "answers")
    same((counts.entered(UMASK), counts.left(UMASK)), (1000, 1000), "umask")
    same(counts.all("entered_n"), {UMASK: 1000}, "all that was counted")
    seen = counts.value("args", UMASK)["value"][0], counts.value("results", UMASK)["value"]
    link.detach()
    link, counts = every(room, program.pid)
    same(program.ask("wrappers 1000"), plain, "answers")
    same((counts.value("args", UMASK)["value"][0], counts.value("results", UMASK)["value"]), seen, "argument and result")


@test("numbers that only a run tells: syscall()")
def _(room):
    program = room.program("calls")
    plain = program.ask("number 1000")
    link, counts = one(room, program.pid)
    same(program.ask("number 1000"), plain, "answers")
    same((counts.entered(UMASK), counts.left(UMASK)), (1000, 1000), "umask")
    same(counts.all("left_n"), {UMASK: 1000}, "all that was counted")
    link.detach()
    link, counts = every(room, program.pid)
    same(program.ask("number 1000"), plain, "answers")
    same((counts.entered(DUP2), counts.left(DUP2)), (1000, 1000), "dup2")
    same(link.missed(), 0, "missed")


@test("raw tracepoints by their type: the kernel's, and where there is a host, ours")
def _(room):
    program = room.program("calls")
    plain = program.ask("wrappers 100")
    for options in (), ("--host", os.path.join(HERE, "targets-calls")):
        link = room.attach("calls", program.pid, nlinks=2,
                           options=[*options, "--program", "typed_enter", "--program", "typed_exit"])
        counts = Counts(room, link)
        same(program.ask("wrappers 100"), plain, "answers")
        for nr in (UMASK, DUP2, GETPRIORITY):
            same((counts.entered(nr), counts.left(nr)), (100, 100), f"call {nr}")
        same([int(arg) for arg in counts.value("args", UMASK)["value"][:3]], [0o22, UMASK, 2**64 - 38],
             "registers as umask was entered")
        same(int(counts.value("results", DUP2)["value"]), -9, "result of dup2")
        same({row["kind"] for row in room.links()}, {"sysenter", "sysexit"}, "links")
        link.detach()
        same(program.ask("number 100"), program.ask("number 100"), "answers")


@test("registers, flags and red zone are left as they are")
def _(room):
    program = room.program("calls")
    same(program.ask("assembly 1000"), "0", "differences without us")
    _, counts = every(room, program.pid)
    same(program.ask("assembly 1000"), "0", "differences")
    same((counts.entered(UMASK), counts.left(UMASK)), (1000, 1000), "umask")


@test("a thread that sleeps in a call: its end is seen if it began before, and detach does not wait for it")
def _(room):
    program = room.program("calls")
    same(program.ask("sleep"), "0", "thread")
    link, counts = every(room, program.pid)
    same(program.ask("wake"), "42", "what it got")
    same((counts.entered(RECV), counts.left(RECV)), (0, 1), "recv")
    same(program.ask("sleep"), "0", "thread")
    until(lambda: counts.entered(RECV) == 1)
    started = time.monotonic()
    link.detach()
    assert time.monotonic() - started < 5, "detaching waited"
    same(program.ask("wake"), "42", "what it got")


@test("signals: a call that goes on is one call, one that does not has its result, and stacks are whole")
def _(room):
    program = room.program("calls")
    same(program.ask("sleep"), "0", "thread")
    plain = program.ask("restart 20") # handlers, and what of the sleeping functions was on their stacks
    assert plain.startswith("20 ") and not plain.endswith(" 0"), plain
    same(program.ask("wake"), "42", "what it got")
    _, counts = every(room, program.pid)
    same(program.ask("sleep"), "0", "thread")
    same(program.ask("restart 20"), plain, "handlers and stacks")
    same(program.ask("wake"), "42", "what it got")
    same((counts.entered(RECV), counts.left(RECV)), (1, 1), "recv")
    same(program.ask("sleep"), "0", "thread")
    same(program.ask("interrupt"), "-4", "EINTR")
    same((counts.entered(RECV), counts.left(RECV)), (2, 2), "recv")
    same(int(counts.value("results", RECV)["value"]), -4, "its result")


@test("attached while a call is to be gone on with: it goes on")
def _(room):
    program = room.program("calls")
    same(program.ask("sleep"), "0", "thread")
    _, counts = every(room, program.pid)
    assert program.ask("restart 20").startswith("20 "), "handlers"
    same(program.ask("wake"), "42", "what it got")
    same((counts.entered(RECV), counts.left(RECV)), (0, 1), "recv")


@test("a thread that is cancelled in a call: unwound through its cleanup handlers")
def _(room):
    program = room.program("calls")
    same(program.ask("sleep"), "0", "thread")
    plain = program.ask("cancel")
    assert plain.startswith("1 "), plain
    _, counts = every(room, program.pid)
    for _ in range(20):
        same(program.ask("sleep"), "0", "thread")
        same(program.ask("cancel"), plain, "cancelled")
    same((counts.entered(RECV), counts.left(RECV)), (20, 0), "recv")


@test("fork, vfork, posix_spawn and threads: as before; children are counted where the link follows them")
def _(room):
    for options, of_children in ((), 0), (["--follow"], 10 * 2):
        program = room.program("calls")
        link, counts = every(room, program.pid, options=options)
        same(program.ask("children 10", 60), "40", "children")
        same(counts.entered(UMASK), of_children, "umask in children")
        assert sum(counts.entered(nr) for nr in FORK_LIKE) >= 40, counts.all("entered_n")
        link.detach()
        same(program.ask("children 2", 60), "8", "children after detach")


@test("clone and clone3 by number, execve and its failure: as before, counted")
def _(room):
    program = room.program("calls")
    same(program.ask("bare 10", 60), "30", "children without us")
    plain = program.ask("execs 10", 60)
    same(plain, "10 executed one two three", "executed without us")
    link, counts = every(room, program.pid)
    same(program.ask("bare 10", 60), "30", "children")
    same((counts.entered(56), counts.entered(435)), (10, 20), "clone and clone3")
    same(program.ask("execs 10", 60), plain, "executed")
    same((counts.entered(59), counts.left(59)), (10, 10), "execve") # of the process, not of its child
    same(int(counts.value("results", 59)["value"]), -2, "its result")
    link.detach()
    same(program.ask("bare 10", 60), "30", "children after detach")


@test("return from handlers, masks that sleeps are given: registers, stack and mask as before")
def _(room):
    program = room.program("calls")
    for when in ("without us", "watched", "after detach"):
        link, counts = every(room, program.pid) if when == "watched" else (None, None)
        same(program.ask("returns 500", 60), "0 500", f"differences and handlers {when}")
        same(program.ask("masked 50", 60), "200", f"sleeps {when}")
        if link:
            same((counts.entered(271), counts.left(271)), (100, 100), "ppoll")
            same((counts.entered(130), counts.left(130)), (50, 50), "rt_sigsuspend")
            same(counts.entered(234), 500 + 100, "tgkill")
            link.detach()


@test("stopped and continued: nanosleep and poll go on for as long as they had")
def _(room):
    program = room.program("calls")

    def naps():
        program.tell("naps 300")
        for _ in range(8):
            time.sleep(0.05)
            os.kill(program.pid, signal.SIGSTOP)
            time.sleep(0.02)
            os.kill(program.pid, signal.SIGCONT)
        return program.answer(20)

    same(naps(), "0 0 1", "without us")
    _, counts = every(room, program.pid)
    same(naps(), "0 0 1", "watched")
    same((counts.entered(230), counts.left(230)), (1, 1), "clock_nanosleep")
    same((counts.entered(7), counts.left(7)), (1, 1), "poll")
    same(counts.entered(219), 0, "restart_syscall: the kernel's own")


@test("clocks of the kernel's own page: no calls, and right")
def _(room):
    program = room.program("calls")
    same(program.ask("clocks 1000"), "3000", "without us")
    _, counts = every(room, program.pid)
    same(program.ask("clocks 1000"), "3000", "watched")
    same([nr for nr in (228, 96, 201, 309) if counts.entered(nr)], [], "calls")


@test("a library that is opened later: watched before its constructor runs, and again each time")
def _(room):
    room.env["CALLS_LIB"] = os.path.join(HERE, "targets-calls-lib.so")
    program = room.program("calls")
    program.ask("wrappers 1")
    link, counts = one(room, program.pid)
    same(program.ask("library 100"), "100", "calls of the library")
    same((counts.entered(UMASK), counts.left(UMASK)), (101, 101), "umask")
    for i in range(1, 20):
        same(program.ask("library 10"), "10", "calls of the library")
        same((counts.entered(UMASK), counts.left(UMASK)), (101 + 11 * i,) * 2, "umask")
    same(link.missed(), 0, "missed")
    link.detach()
    started = time.monotonic()
    for _ in range(10):
        same(program.ask("library 10"), "10", "calls after detach")
    assert time.monotonic() - started < 2, "it waits for nobody any more"


@test("threads that open and close a library all the time, while links come and go")
def _(room):
    room.env["CALLS_LIB"] = os.path.join(HERE, "targets-calls-lib.so")
    program = room.program("calls")
    program.ask("wrappers 1")
    text = code(program.pid, LIBC)
    program.tell("libraries 400")
    for _ in range(6):
        link, counts = one(room, program.pid)
        until(lambda: counts.entered(UMASK) > 100 or program.answered())
        same(link.missed(), 0, "missed")
        link.detach()
    same(program.answer(60), "1600", "times that it was opened, and answered")
    until(lambda: code(program.pid, LIBC) == text)
    link, counts = one(room, program.pid)
    same(program.ask("libraries 3", 60), "12", "times")
    assert counts.entered(UMASK) >= 120, counts.entered(UMASK) # it may have been open all the time
    same(counts.entered(UMASK), counts.left(UMASK), "umask")


@test("a broker that does not answer, or is killed, holds up nobody for long who opens a library")
def _(room):
    room.env["CALLS_LIB"] = os.path.join(HERE, "targets-calls-lib.so")
    program = room.program("calls")
    program.ask("wrappers 1") # its libraries are there
    text = code(program.pid, LIBC)
    _, counts = one(room, program.pid)
    pid = broker(room)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    same(program.ask("library 10"), "10", "calls of the library")
    assert 1 < time.monotonic() - started < 4, "one wait in vain, and no other"
    started = time.monotonic()
    for _ in range(10):
        same(program.ask("library 10"), "10", "calls of the library")
    assert time.monotonic() - started < 1, "nobody waits for it"
    os.kill(pid, signal.SIGCONT)
    until(lambda: program.ask("library 10") == "10" and counts.entered(UMASK) >= 11)
    before = counts.entered(UMASK)
    same(program.ask("library 10"), "10", "calls of the library")
    same(counts.entered(UMASK), before + 11, "umask once it answers again")
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    for _ in range(10):
        same(program.ask("library 10"), "10", "calls of the library")
    assert time.monotonic() - started < 5, "nobody waits for one that is gone"
    until(lambda: code(program.pid, LIBC) == text)


@test("code that no file is behind: told, where it is known which call it makes")
def _(room):
    program = room.program("calls")
    same(program.ask("memory 10"), "10", "calls")
    link, counts = one(room, program.pid)
    same(program.ask("memory 10"), "10", "calls")
    same(counts.entered(UMASK), 0, "umask")
    same([(row["left"], row["left_in"], row["left_why"]) for row in room.links()], [(1, 1, "[anonymous]: 1 no_file")] * 2, "rows")
    said = "left as they are 1 place that may make umask; calls made there are not seen {}: [anonymous]: 1 no_file [calls_left]"
    same([line.split(": ", 2)[2] for line in link.said().splitlines()],
         [said.format("as they are entered"), said.format("as they end")], "what is said, a line a link")


@test("calls that are left are told once for many processes; where none is, also by the kernel's own page, nothing is said")
def _(room):
    plain, other, jitted = (room.program("calls") for _ in range(3))
    same(jitted.ask("memory 10"), "10", "calls")
    link, _ = one(room, plain.pid)
    same(link.said(), "", "nothing is left")
    link.detach()
    link = room.attach("calls", plain.pid, jitted.pid, other.pid, nlinks=1, options=["--program", "one_enter"])
    same([(row["targets"], row["left"], row["left_in"]) for row in room.links()], [(3, 1, 1)], "rows")
    lines = link.said().splitlines()
    same(len(lines), 1, lines)
    assert "left as they are in 1 of 3 processes, in one of them 1 place that may make umask; " in lines[0], lines
    link.detach()
    link = room.attach("calls", plain.pid, nlinks=1, options=["--program", "every_enter"])
    assert " that may make system calls; calls made there are not seen as they are entered: " in link.said(), link.said()
    assert re.search(r"\[vdso\]: \d+ kernel_page", link.said()), link.said()
    row, = room.links()
    same(sum(row["tactics"].values()), row["places"], "places by tactic")
    shown = room.tenon("show", str(row["id"]))
    assert re.search(rf"places      {row['places']} instructions: \d+ by jump5", shown), shown


@test("cancelled at once, wherever it is: in a call, beside it, in what we have put there")
def _(room):
    program = room.program("calls")
    same(program.ask("at_once 50", 60), "100", "without us")
    link, counts = every(room, program.pid)
    same(program.ask("at_once 200", 60), "400", "watched")
    assert counts.entered(UMASK) > 1000, counts.entered(UMASK)
    link.detach()
    same(program.ask("at_once 50", 60), "100", "after detach")


def numbers():
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") as file:
        return {name: int(nr) for name, nr in re.findall(r"#define __NR_(\w+) (\d+)", file.read())}


@test("between two marks exactly the calls that strace sees")
def _(room):
    need("strace")
    words, trace = [os.path.join(HERE, "targets-calls"), "marked", "25"], room.path("trace")
    traced = room.program_of(["strace", "-o", trace, *words])
    same(traced.answer(60), "marked", "answer under strace")
    for pid in children(traced.pid):
        os.kill(pid, signal.SIGTERM)
    traced.process.wait(10)
    seen, marks, by_name = {}, 0, numbers()
    with open(trace) as file:
        for name in re.findall(r"^(\w+)\(", file.read(), re.M):
            marks += name == "alarm"
            if marks == 1 and name != "alarm":
                seen[by_name[name]] = seen.get(by_name[name], 0) + 1
    same(marks, 2, "marks in strace's list")
    link = Attached(room, ["--program", "every_enter", os.path.join(HERE, "calls.bpf.o"), "--", *words], 1)
    counts = Counts(room, link)
    until(lambda: counts.entered(ALARM) == 2, 30)
    same(counts.all("marked_n"), seen, "calls")


@test("a static program of musl: counted, cancelled as before")
def _(room):
    need("musl-gcc")
    path = room.path("musl")
    room.run(["musl-gcc", "-static", "-O2", "-DNO_BACKTRACE", "-w", "-o", path, SOURCE])
    program = room.program_of([path])
    plain = program.ask("wrappers 1000")
    same(program.ask("sleep"), "0", "thread")
    cancelled = program.ask("cancel")
    link, counts = every(room, program.pid)
    same(program.ask("wrappers 1000"), plain, "answers")
    same((counts.entered(UMASK), counts.left(UMASK)), (1000, 1000), "umask")
    for _ in range(20):
        same(program.ask("sleep"), "0", "thread")
        same(program.ask("cancel"), cancelled, "cancelled")
    assert "cancellation_range" in json.dumps(room.links()), room.links()
    link.detach()
    same(program.ask("children 2", 60), "8", "children")


@test("addresses that are not random, as gdb starts programs: there is room below the libraries, where there is none above")
def _(room):
    need("setarch")
    path = os.path.join(HERE, "targets-calls")
    program = room.program_of(["setarch", "-R", path])
    until(lambda: any(line.endswith(path) for line in maps(program.pid)))
    plain = program.ask("wrappers 1000")
    link, counts = every(room, program.pid)
    same(program.ask("wrappers 1000"), plain, "answers")
    same(counts.entered(UMASK), 1000, "umask")
    link.detach()


@test("attach and detach in a loop while it works: answers as before, code as before")
def _(room):
    program = room.program("calls")
    plain, text = program.ask("wrappers 200000", 60), code(program.pid, LIBC)
    program.tell("wrappers 200000")
    for _ in range(6):
        link, counts = every(room, program.pid)
        until(lambda: counts.entered(UMASK) > 100 or program.answered())
        link.detach()
    same(program.answer(60), plain, "answers")
    until(lambda: code(program.pid, LIBC) == text)


@test("whose calls? without a process it is refused by name")
def _(room):
    program = room.program("calls")
    try:
        Attached(room, [os.path.join(HERE, "calls.bpf.o")], 1)
    except Refused as refused:
        assert "[scope_missing]" in str(refused), refused
    else:
        raise AssertionError("attached to every process")
    same(program.ask("wrappers 1"), program.ask("wrappers 1"), "answers")


POLICY = """
eim: 1
host: { name: targets-calls, binary: %s }
extension_classes:
  - { name: masks, extension_entry: "sysenter:umask",
      allowed: [ "instructions < 1000", "memory < 1 MiB", read(arguments), helpers(local), helpers(shared) ] }
defaults: { uprobe: observability }
"""


@test("a policy: a class stands for one call as it is entered, and for no other place")
def _(room):
    program = room.program("calls")
    room.env["TENON_POLICY"] = room.write("policy.yaml", POLICY % os.path.join(HERE, "targets-calls"))
    link = room.attach("calls", program.pid, options=["--class", "masks", "--program", "one_enter"])
    program.ask("wrappers 100")
    same(Counts(room, link).entered(UMASK), 100, "umask")
    for options, reason in ((["--class", "masks", "--program", "one_exit"], "class_entry"),
                            (["--class", "masks", "--program", "every_enter"], "class_entry"),
                            (["--program", "one_enter"], "class_denies")):
        try:
            room.attach("calls", program.pid, options=options)
        except Refused as refused:
            assert f"[{reason}]" in str(refused), refused
        else:
            raise AssertionError(f"{options} was attached")
    same(len(room.links()), 1, "links")


@test("one link in processes of several programs: each one's policy counts, when it is made and when one changes")
def _(room):
    text = "eim: 1\nhost: { name: %s, binary: %s }\ndefaults: { %s: observability }\n"
    names = ["first", "middle", "last"]
    for name in names:
        shutil.copy(os.path.join(HERE, "targets-calls"), room.path(name))
    os.mkdir(room.path("policy"))
    room.env["TENON_POLICY"] = room.path("policy")

    def says(name, what):
        room.write(f"new.{name}", text % (name, room.path(name), what))
        os.rename(room.path(f"new.{name}"), room.path(f"policy/{name}.yaml"))

    programs = [room.program_of([room.path(name)]) for name in names]
    for name, program in zip(names, programs):
        until(lambda path=room.path(name), pid=program.pid: os.readlink(f"/proc/{pid}/exe") == path)
    pids = [program.pid for program in programs]
    for name in names:
        says(name, "uprobe")
        room.refused("calls", pids, ["--program", "one_enter"], "class_denies", f'"{name}"')
        says(name, "syscall")
    for name in names:
        link = room.attach("calls", *pids, options=["--program", "one_enter"], nlinks=1)
        programs[0].ask("wrappers 100")
        same(Counts(room, link).entered(UMASK), 100, "umask")
        other = room.write("other.yaml", text % (name, room.path(name), "uprobe"))
        rows = json.loads(room.tenon("policy", "simulate", "--json", other, status=1))
        same([(row["outcome"], row["target"]) for row in rows], [("refused", room.path(name))], "simulated")
        says(name, "uprobe")
        until(lambda: not room.links()) # what no longer fits is detached
        link.process.wait(20)
        says(name, "syscall")
    link = room.attach("calls", *pids, options=["--program", "one_enter"], nlinks=1)
    programs[0].process.kill() # nobody runs it then
    programs[0].process.wait()
    says("first", "uprobe")
    time.sleep(0.5)
    same(len(room.links()), 1, "links")
    link.detach()


@test("a policy of a program that tells no types: the default for system calls applies, and its absence")
def _(room):
    need("strip")
    path = room.path("bare")
    room.run(["strip", "-o", path, os.path.join(HERE, "targets-calls")])
    program = room.program_of([path])
    text = "eim: 1\nhost: { name: bare, binary: %s }\ndefaults: { %s: observability }\n"
    room.env["TENON_POLICY"] = room.write("policy.yaml", text % (path, "uprobe"))
    try:
        one(room, program.pid)
    except Refused as refused:
        assert "[class_denies]" in str(refused), refused
    else:
        raise AssertionError("attached")
    room.write("policy.yaml", text % (path, "syscall"))
    time.sleep(0.5) # it is read again
    _, counts = one(room, program.pid)
    program.ask("wrappers 100")
    same((counts.entered(UMASK), counts.left(UMASK)), (100, 100), "umask")
    room.write("policy.yaml", text % (path, "uprobe"))
    until(lambda: not room.links()) # what no longer fits is detached
    same(program.ask("wrappers 1"), program.ask("wrappers 1"), "answers")


@test("a tool that knows nothing of us: libbpf, its tracepoints by their files, the processes by tenon run -p")
def _(room):
    program = room.program("calls")
    tool = [os.path.join(BUILD, "apps", "syscount", "syscount"), "-d", "2", "-j", "-p", str(program.pid),
            os.path.join(BUILD, "apps", "syscount", "syscount.bpf.o")]
    running = room.start([TENON, "run", "-p", str(program.pid), "--", *tool], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=dict(room.env, TENON_EXPLAIN="1"))
    said = list(iter(lambda: running.stderr.readline().strip(), "syscount: attached"))
    same([re.sub(r"link \d+", "link N", line.split(" places")[0].rsplit(" ", 1)[0]) for line in said],
         ["tenon: calls_left: link N: left as they are"] * 2, "what the tool's calls are told")
    for line, when in zip(said, ("as they end", "as they are entered")):
        assert f"may make system calls; calls made there are not seen {when}: " in line and "libc.so.6: " in line, line
    program.ask("wrappers 1000")
    program.ask("number 1000")
    out, err = running.communicate(timeout=20)
    same(running.returncode, 0, err)
    rows = {row["call"]: row["calls"] for row in json.loads(out)}
    same((rows["umask"], rows["dup2"], rows["getpriority"]), (2000, 2000, 1000), "calls")
    refused = room.run([TENON, "run", "--", *tool], status=1, env=dict(room.env, TENON_EXPLAIN="1"))
    assert "scope_missing" in room.err, (refused, room.err)

main()
