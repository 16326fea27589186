# SPDX-License-Identifier: MIT
"""Places where no jump fits: a breakpoint stands there, and the program's signals are what they were."""
import os
import signal
import subprocess
import time

from harness import BUILD, HERE, Refused, Skip, alive, code_bytes, main, maps, need, same, status, status_word, test, until

BINARY = os.path.join(HERE, "targets-breaks")


def caught(pid):
    return status(pid, "SigCgt") >> (signal.SIGTRAP - 1) & 1


def images(pid):
    """All code of files that the process has mapped, as it is in memory."""
    files = {line.split(None, 5)[5] for line in maps(pid) if line.count("/") and "x" in line.split()[1]}
    return {path: code_bytes(pid, path) for path in files if not path.startswith("/memfd:")}


def times(program, line):
    """What a line did: how often by the program's own count, and what else it has told."""
    before = int(program.ask("call 0"))
    told = [int(word) for word in program.ask(line, 120).split()]
    return told[0] - before, told[1:]


@test("one byte, told as what it is; gone without a trace")
def _(room):
    program = room.program("breaks")
    state, before = program.ask("state"), images(program.pid) # once it answers, all its files are mapped
    link = room.attach("tiny", program.pid)
    same(link.rows[0]["tactic"], "breakpoint", "tactic")
    same(caught(program.pid), 1, "a handler of ours")
    same(program.ask("state"), state, "what the program sees of it")
    same(times(program, "call 1000"), (1000, []), "calls")
    same(link.calls(), 1000, "counted")
    link.detach()
    until(lambda: images(program.pid) == before)
    same(caught(program.pid), 0, "a handler of ours, afterwards")
    same(times(program, "call 1000"), (1000, []), "calls")
    same(program.ask("state").split()[1:], state.split()[1:], "state")


@test("entry and exit of a function of three bytes; an offset behind a computed jump")
def _(room):
    program = room.program("breaks")
    links = {name: room.attach(name, program.pid) for name in ("tiny", "tiny_exit", "far_nop")}
    same({name: link.rows[0]["tactic"] for name, link in links.items()},
         {"tiny": "breakpoint", "tiny_exit": "ret_breakpoint", "far_nop": "breakpoint"}, "tactics")
    same(times(program, "call 500"), (500, []), "calls")
    same(times(program, "far 300"), (300, []), "right results")
    same([links[name].calls() for name in ("tiny", "tiny_exit", "far_nop")], [500, 500, 300], "counted")
    links["tiny"].detach()
    same(times(program, "call 100"), (100, []), "calls")
    same(links["tiny_exit"].calls(), 600, "the exit's stands")


@test("met with every signal blocked, in handlers with a full mask and a stack of their own, among waits with masks")
def _(room):
    program = room.program("breaks")
    link = room.attach("tiny", program.pid)
    seen = 0
    for line, least in (("masks 2000", 4000), ("handlers 1000", 2000), ("waits 30", 60), ("traps 500", 1000),
                        ("threads 8 5000", 40000)):
        done, _ = times(program, line)
        assert done >= least, (line, done)
        seen += done
        same(link.calls() + link.missed(), seen, f"counted, or missed in a handler that interrupts a run, after {line}")
        assert link.missed() <= seen / 100, link.missed()
    same(program.ask("state").split()[1:], ["default", "0", "0", "0"], "state")
    link.detach()


@test("children by fork, vfork and posix_spawn meet it, and end well; so does what they execute")
def _(room):
    program = room.program("breaks")
    link = room.attach("tiny", program.pid)
    same(program.ask("forks 60", 120).split()[1], "60", "children")
    same(times(program, "call 10"), (10, []), "calls")
    same(link.calls(), 10, "counted: the program's own")
    same(program.ask("state").split()[1:], ["default", "0", "0", "0"], "state")


@test("its own SIGTRAPs: sent, by breakpoints of its own, left by a jump; read back as installed; kept after detaching")
def _(room):
    program = room.program("breaks")
    plain = program.ask("traps 100").split()[1]
    link = room.attach("tiny", program.pid)
    same(program.ask("traps 100").split()[1], plain, "seen by its handler")
    program.ask("watch")
    state = program.ask("state").split()[1:]
    same(state[0], "handled", "what it has installed")
    link.detach()
    until(lambda: caught(program.pid))
    same(program.ask("state").split()[1:], state, "afterwards")
    link = room.attach("tiny", program.pid)
    same(program.ask("state").split()[1:], state, "found as it was")
    link.detach()
    same(program.ask("state").split()[1:], state, "afterwards")


@test("what nobody handles kills, by SIGTRAP, as before")
def _(room):
    program = room.program("breaks")
    room.attach("tiny", program.pid)
    program.ask("call 10")
    program.tell("die")
    same(program.process.wait(10), -signal.SIGTRAP, "status")


@test("exec throws all of it away")
def _(room):
    program = room.program("breaks")
    room.attach("tiny", program.pid)
    program.ask("call 10")
    program.tell("exec")
    same(program.ask("call 5"), "5", "anew")
    same(caught(program.pid), 0, "a handler of ours")


@test("put in and taken out again and again under threads that call, block and signal each other", seconds=120)
def _(room):
    program = room.program("breaks")
    program.ask("state")
    before = images(program.pid)
    program.ask("begin")
    for _ in range(12):
        link = room.attach("tiny", program.pid)
        until(lambda: link.calls() > 100)
        link.detach()
        assert alive(program.pid)
    program.ask("end", 60)
    until(lambda: images(program.pid) == before)
    same(program.ask("state").split()[1:], ["default", "0", "0", "0"], "state")


@test("python's probe of every line, behind computed jumps")
def _(room):
    script = ("import sys\nfor word in sys.stdin:\n total = 0\n for i in range(int(word)):\n  total += i\n"
              " print(total, flush=True)\n")
    program = room.program_of(["/usr/bin/python3", "-c", script])
    program.ask("10")
    link = room.attach("probe_line", program.pid)
    same(program.ask("1000"), str(sum(range(1000))), "its own result")
    assert link.rows[0]["tactic"] == "breakpoint", link.rows
    link.detach()
    same(program.ask("1000"), str(sum(range(1000))), "its own result")


@test("a thread that blocks SIGTRAP and can be asked goes on without, and believes it blocked; afterwards it is")
def _(room):
    script = ("import signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTRAP])\n"
              "for word in sys.stdin:\n for i in range(int(word)):\n  pass\n"
              " print(*sorted(int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)\n")
    program = room.program_of(["/usr/bin/python3", "-c", script])
    same(program.ask("1"), "5", "blocked")
    link = room.attach("probe_line", program.pid)
    same(status(program.pid, "SigBlk") >> 4 & 1, 0, "in the kernel")
    same(program.ask("1000"), "5", "as it believes")
    link.detach()
    until(lambda: status(program.pid, "SigBlk") >> 4 & 1)
    same(program.ask("1"), "5", "blocked")


@test("refused by name: a thread that blocks SIGTRAP and cannot be asked, since it waits for a signal")
def _(room):
    script = ("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTRAP, signal.SIGTERM])\nprint(1, flush=True)\n"
              "signal.sigwait([signal.SIGTERM])\nprint(2, flush=True)\n")
    program = room.program_of(["/usr/bin/python3", "-c", script])
    program.answer()
    before = images(program.pid)
    try:
        room.attach("probe_line", program.pid)
    except Refused as why:
        assert "[no_thread_to_borrow]" in str(why), why
    else:
        raise AssertionError("attached")
    same(caught(program.pid), 0, "a handler of ours")
    same(images(program.pid), before, "code")
    program.process.terminate()
    same(program.answer(), "2", "woken by its signal, not by us")


@test("gdb, come later and told to pass SIGTRAP on: its own breakpoint stops, ours do not; it leaves, and all stands")
def _(room):
    need("gdb")
    program = room.program("breaks")
    program.ask("state")
    before = images(program.pid)
    link = room.attach("tiny", program.pid)
    same(times(program, "call 100"), (100, []), "calls")
    said = room.path("gdb")
    with open(said, "w") as out:
        gdb = room.start(["gdb", "-nx", "-batch", "-p", str(program.pid), "-ex", "handle SIGTRAP nostop noprint pass",
                          "-ex", "break far", "-ex", "echo ready\\n", "-ex", "continue", "-ex", "info breakpoints",
                          "-ex", "delete", "-ex", "handle SIGTRAP nopass", "-ex", "detach"], stdout=out, stderr=subprocess.STDOUT)
    until(lambda: "ready" in open(said).read(), 30)
    until(lambda: not status_word(program.pid, "State").startswith("t"))
    same(times(program, "call 2000"), (2000, []), "calls, traced")
    same(link.calls(), 2100, "counted, traced")
    program.tell("far 3") # and it stops there
    same(gdb.wait(30), 0, "gdb")
    told = open(said).read()
    for words in (" in far ()", "breakpoint already hit 1 time"):
        assert words in told, told
    same(program.answer(), "2103", "goes on where it stood")
    same(times(program, "call 500"), (500, []), "calls, left alone")
    same(link.calls(), 2600, "counted")
    link.detach()
    until(lambda: images(program.pid) == before)
    same(program.ask("state").split()[1:], ["default", "0", "0", "0"], "state")


@test("strace, come later: the calls of the program, and every SIGTRAP passed on", seconds=90)
def _(room):
    need("strace")
    program = room.program("breaks")
    program.ask("state")
    link = room.attach("tiny", program.pid)
    trace = room.path("trace")
    strace = room.start(["strace", "-f", "-o", trace, "-p", str(program.pid)], stderr=subprocess.DEVNULL)
    until(lambda: status_word(program.pid, "TracerPid") != "0")
    same(times(program, "call 300"), (300, []), "calls, traced")
    done, told = times(program, "traps 20")
    same(told, [40], "its own SIGTRAPs")
    assert times(program, "threads 4 200")[0] >= 800
    strace.terminate()
    strace.wait(20)
    with open(trace) as file:
        lines = file.read()
    # Each pass, and what the program sends itself.
    assert lines.count("--- SIGTRAP {si_signo=SIGTRAP, si_code=SI_KERNEL, si_addr=NULL} ---") >= 300 + 800, lines[:2000]
    assert lines.count("si_code=SI_TKILL") >= 20, lines[:2000]
    # As long as it has neither a handler of its own nor an alternate stack, none is left by a call.
    first = lines[:lines.index("si_code=SI_TKILL")]
    assert first.count("SI_KERNEL") >= 300 and first.count("rt_sigreturn") < 10, first[-2000:]
    until(lambda: status_word(program.pid, "TracerPid") == "0")
    same(times(program, "call 100"), (100, []), "calls, left alone")
    same(link.calls() + link.missed(), int(program.ask("call 0")), "counted")
    link.detach()
    same(program.ask("state").split()[1:], ["default", "0", "0", "0"], "state")


main()
