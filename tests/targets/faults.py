# SPDX-License-Identifier: MIT
"""Reads that may fault, in programs that use faults themselves: what is read is exact, whatever is blocked, and the program sees
of its signals what it would see without."""
import json
import os
import re
import signal
import subprocess
import time

from harness import BUILD, HERE, TENON, Skip, alive, code_bytes, main, maps, need, same, status, test, until

BOTH = 1 << signal.SIGSEGV - 1 | 1 << signal.SIGBUS - 1
PLAIN = ["default", "0", "0", "0"] * 2


def caught(pid):
    return status(pid, "SigCgt") & BOTH


def images(pid):
    """All code of files that the process has mapped, as it is in memory."""
    files = {line.split(None, 5)[5] for line in maps(pid) if line.count("/") and "x" in line.split()[1]}
    return {path: code_bytes(pid, path) for path in files if not path.startswith("/memfd:")}


def way(room, pid):
    """How doctor says that this process's memory is read: "loads", or why not."""
    for row in json.loads(room.run([TENON, "doctor", "--json"], status=None)):
        if row["probe"] == "reads":
            other = re.search(rf"process {pid}: by system calls: (.*?)(;|$)", row["seen"])
            return other.group(1) if other else "loads" if "1 process by loads" in row["seen"] else row["seen"]
    raise AssertionError("doctor has no such row")


def counted(link):
    return [int(link.room.tenon("map", "lookup", str(link.map_ids["calls"]), str(k))) for k in range(4)]


class Looks:
    """What the program has counted of its looks, and what the extension has."""

    def __init__(self, program, link):
        self.program, self.link = program, link
        self.looks, self.good, _ = self.words("good 0")[:3]

    def words(self, line, seconds=120):
        told = self.program.ask(line, seconds).split()
        return [int(word) for word in told[:3]] + told[3:]

    def counted(self):
        return counted(self.link)

    def same(self, line, more=None, least=1):
        """The line is obeyed, every look has read what is there or failed, and nothing else has happened."""
        before = self.counted()
        looks, good, told = self.words(line)[:3]
        now = self.counted()
        did = [looks - self.looks, good - self.good]
        self.looks, self.good = looks, good
        assert did[0] >= least, (line, did)
        same([now[k] - before[k] for k in range(4)], [did[0], did[1], did[0] - did[1], 0], line)
        if more is not None:
            same(told, more, line)


def begun(room, options=()):
    program = room.program("faults")
    program.ask("state")
    before = images(program.pid)
    link = room.attach("faults", program.pid, options=options)
    return program, link, before


@test("what is there is read, what is not is refused; by loads; gone without a trace")
def _(room):
    program, link, before = begun(room)
    same(caught(program.pid), BOTH, "handlers of ours")
    same(way(room, program.pid), "loads", "doctor")
    looks = Looks(program, link)
    for line in ("good 1000", "bad 1000", "good 1"):
        looks.same(line)
    same(program.ask("state").split()[3:], PLAIN, "what the program sees of it")
    link.detach()
    until(lambda: images(program.pid) == before)
    same(caught(program.pid), 0, "handlers of ours, afterwards")
    same(program.ask("state").split()[3:], PLAIN, "state")
    assert alive(program.pid)


@test("with every signal blocked; in handlers with a full mask and a stack of their own")
def _(room):
    program, link, _ = begun(room)
    looks = Looks(program, link)
    looks.same("blocked 1000", least=2000)
    looks.same("handlers 500", least=1500)
    same(way(room, program.pid), "loads", "doctor")
    same(program.ask("state").split()[3:], PLAIN, "state")


@test("a write barrier by faults, loads from nowhere, a stack used up: every fault of its own comes to its handler")
def _(room):
    program, link, _ = begun(room)
    looks = Looks(program, link)
    looks.same("barrier 100", more=6400, least=600)
    looks.same("nulls 300", more=300, least=600)
    looks.same("overflow 50", more=50, least=100)
    same(way(room, program.pid), "loads", "doctor")
    same(program.ask("state").split()[3:], PLAIN, "state")


@test("memory that comes and goes meanwhile; pages that another thread of it fills")
def _(room):
    program, link, _ = begun(room)
    looks = Looks(program, link)
    before = looks.counted()
    rounds = 0
    while True:
        looks.words("shaky 300000")
        rounds += 300000
        now = looks.counted()
        same([now[0] - before[0], sum(now[1:]) - sum(before[1:])], [rounds, rounds], "all were counted as one of them")
        if now[1] > before[1] and now[2] > before[2]:
            break
    # The eight bytes and the string are read one after the other: memory may go between them.
    looks = Looks(program, link)
    if looks.words("served 0")[2] == 0 and looks.words("served 50")[2] == 0:
        raise Skip("no userfaultfd")
    looks = Looks(program, link)
    looks.same("served 50", more=50, least=50)


@test("children look, fault and die of their own faults as ever; exec throws all of it away")
def _(room):
    program, link, _ = begun(room)
    looks = Looks(program, link)
    looks.same("forks 60", more=60, least=0)
    looks.same("bad 10")
    program.tell("exec")
    same(program.ask("good 5").split(), ["5", "5", "0"], "anew")
    same(caught(program.pid), 0, "handlers of ours")


@test("what nobody handles kills, by the same signal, as before")
def _(room):
    for line, sig in (("die", signal.SIGSEGV), ("bus", signal.SIGBUS), ("exhaust", signal.SIGSEGV)):
        program, link, _ = begun(room)
        Looks(program, link).same("bad 10")
        program.tell(line)
        same(program.process.wait(10), -sig, "status")


@test("its own handlers are read back as installed, stay after detaching, and are found at the next attach")
def _(room):
    program, link, _ = begun(room)
    program.ask("watch")
    state = program.ask("state").split()[3:]
    same(state, ["handled", "40000004", "1", "0", "handled", "10000004", "0", "0"], "state")
    link.detach()
    same(program.ask("state").split()[3:], state, "afterwards")
    same(caught(program.pid), BOTH, "its own")
    link = room.attach("faults", program.pid)
    same(program.ask("state").split()[3:], state, "found as it was")
    Looks(program, link).same("bad 100")
    link.detach()
    same(program.ask("state").split()[3:], state, "afterwards")


JAVA = """
import java.util.Scanner;
class Faults {
    int field;
    static int deep(int n) { return deep(n + 1) + 1; }
    public static void main(String[] words) {
        Faults[] some = {new Faults(), null};
        for (Scanner in = new Scanner(System.in); in.hasNextInt();) {
            int n = in.nextInt(), nulls = 0, deeps = 0, sum = 0;
            for (int i = 0; i < n; i++)
                try { sum += some[i % 2].field; } catch (NullPointerException e) { nulls++; }
            for (int i = 0; i < n / 1000; i++)
                try { deep(0); } catch (StackOverflowError e) { deeps++; }
            System.out.println(nulls + " " + deeps + " " + sum);
        }
    }
}
"""


@test("a Java machine, which finds null pointers and the ends of stacks by faults, however its memory is read", seconds=120)
def _(room):
    need("java", "javac")
    room.run(["javac", "-d", room.path(""), room.write("Faults.java", JAVA)], seconds=90)
    program = room.program_of(["java", "-Xss512k", "-cp", room.path(""), "Faults"])
    same(program.ask("1000", 60), "500 1 0", "before")
    link = room.attach("faults_write", program.pid)
    print("#", way(room, program.pid))
    for _ in range(4):
        same(program.ask("200000", 60), "100000 200 0", "while it is read")
    assert counted(link)[0] >= 4, counted(link)
    same(counted(link)[2], 0, "writes of what is not there")
    link.detach()
    same(program.ask("200000", 60), "100000 200 0", "afterwards")


@test("put in and taken out again and again under threads that look, block and fault", seconds=120)
def _(room):
    program = room.program("faults")
    program.ask("state")
    before = images(program.pid)
    program.ask("begin")
    ways = set()
    for _ in range(12):
        link = room.attach("faults", program.pid)
        ways.add(way(room, program.pid))
        until(lambda: counted(link)[2] > 100)
        link.detach()
        assert alive(program.pid)
    program.ask("end", 60)
    until(lambda: images(program.pid) == before)
    same(program.ask("state").split()[3:], PLAIN, "state")
    assert "loads" in ways, ways


main()
