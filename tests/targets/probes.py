# SPDX-License-Identifier: MIT
"""Static probes (USDT): those of a program of ours, of libc and of libstdc++; and the semaphores in front of them."""
import json
import os
import re
import signal

from harness import HERE, Refused, Skip, alive, children, main, same, test, until


def shop(room):
    if not os.path.exists(os.path.join(HERE, "targets-probes")):
        raise Skip("sys/sdt.h (systemtap-sdt-dev) was not there when tenon was built")
    return room.program("probes")


def sums(link):
    rows = json.loads(link.room.tenon("map", "dump", str(link.map_ids["calls"]), "--json"))
    values = {int(row["key"]): int(row["value"]) for row in rows}
    return [value - (1 << 64) if value >> 63 else value for _, value in sorted(values.items())]


def semaphores(program):
    return [int(word) for word in program.ask("semaphores").split()]


@test("a probe behind its semaphore: open while somebody looks; four arguments of every size, in memory and registers")
def _(room):
    program = shop(room)
    same(program.ask("order 100"), "0 0 0 0 0", "before")
    link = room.attach("probe_order", program.pid)
    same(semaphores(program), [1, 0], "semaphores")
    told = [int(word) for word in program.ask("order 1001").split()]
    same(told[0], 1001, "reached, by the program's own count")
    same(sums(link), told, "count and sums")
    link.detach()
    until(lambda: semaphores(program) == [0, 0])
    same(program.ask("order 100"), "0 0 0 0 0", "after")


@test("two links, one semaphore: it closes with the last one, in whichever way that ends")
def _(room):
    program = shop(room)
    links = [room.attach("probe_order", program.pid) for _ in range(3)]
    same(semaphores(program), [3, 0], "semaphores")
    links[1].detach()
    until(lambda: semaphores(program) == [2, 0])
    links[0].process.send_signal(signal.SIGKILL)
    links[0].process.wait()
    until(lambda: semaphores(program) == [1, 0])
    program.ask("order 50")
    same(sums(links[2])[0], 50, "calls seen by the one that stays")
    links[2].detach()
    until(lambda: semaphores(program) == [0, 0])


@test("one probe inlined into two functions: a link each, one semaphore raised by both")
def _(room):
    program = shop(room)
    link = room.attach("probe_twice", program.pid, nlinks=2)
    same(semaphores(program), [0, 2], "semaphores")
    program.ask("twice 300")
    same(sums(link)[:2], [600, sum(2 * i + 1 for i in range(300))], "count and sum")
    link.detach()
    until(lambda: semaphores(program) == [0, 0])


@test("a probe without a semaphore; kept, and detached by id")
def _(room):
    program = shop(room)
    link = room.attach("probe_always", program.pid, options=["--keep"])
    same(link.process.wait(20), 0, "status")
    program.ask("twice 70")
    same(sums(link)[0], 70, "calls")
    room.tenon("detach", *map(str, link.ids))
    same(room.links(), [], "links")
    program.ask("twice 5")


@test("from the first instruction, and without naming a process")
def _(room):
    shop(room)
    link = room.attach_start("probe_always", [os.path.join(HERE, "targets-probes")])
    same(len(link.ids), 1, "links")
    link.process.send_signal(signal.SIGINT)
    link.process.wait(20)
    both = [room.program("probes") for _ in range(2)]
    link = room.attach("probe_order", nlinks=1)
    same([semaphores(program) for program in both], [[1, 0]] * 2, "semaphores")
    for program in both:
        program.ask("order 11")
    same(sums(link)[0], 22, "calls")
    link.detach()
    until(lambda: [semaphores(program) for program in both] == [[0, 0]] * 2)


def brokers(room):
    """The broker of this room, its guardians and whatever else it has forked."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                ours = f"TENON_SOCKET={room.env['TENON_SOCKET']}".encode() in file.read().split(b"\0")
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if ours and len(words) > 1 and words[1] == b"broker":
            found.append(int(name))
    return sorted(found)


@test("the broker is killed: the semaphore is lowered; killed with its guardians: by whoever comes next")
def _(room):
    program = shop(room)
    room.attach("probe_order", program.pid, options=["--keep"]).process.wait(20)
    same(semaphores(program), [1, 0], "semaphores")
    pids = brokers(room)
    others = {child for pid in pids for child in children(pid)}
    broker, = [pid for pid in pids if pid not in others]
    os.kill(broker, signal.SIGKILL)
    until(lambda: semaphores(program) == [0, 0])
    same(program.ask("order 9"), "0 0 0 0 0", "after")

    room.attach("probe_order", program.pid, options=["--keep"]).process.wait(20)
    same(semaphores(program), [1, 0], "semaphores")
    pids = brokers(room)
    for pid in pids: # nobody is left to see another one go
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids))
    same(semaphores(program), [1, 0], "semaphores that nobody lowered")
    link = room.attach("probe_order", program.pid)
    same(semaphores(program), [1, 0], "semaphores: one taken back, one raised")
    program.ask("order 8")
    same(sums(link)[0], 8, "calls")
    link.detach()
    until(lambda: semaphores(program) == [0, 0])


@test("a probe that is not there is refused with the nearest name, and nothing is loaded")
def _(room):
    program = shop(room)
    try:
        room.attach("probe_wrong", program.pid)
        raise AssertionError("attached")
    except Refused as refused:
        assert re.search(r'targets-probes has \d+ static probes, and none is shop:ordre; did you mean "shop:order"\?',
                         str(refused)), refused
    same(semaphores(program), [0, 0], "semaphores")


@test("arguments that libbpf cannot read: in its words")
def _(room):
    program = shop(room)
    try:
        room.attach("probe_scaled", program.pid)
    except Refused as refused:
        assert re.search(r"shop:scaled: usdt: unrecognized \S+ ", str(refused)), refused
    else:
        raise Skip("this libbpf reads them")
    same(semaphores(program), [0, 0], "semaphores")


PYTHON = """import gc, sys
gc.disable()
for line in sys.stdin:
    word, n = line.split()
    if word == "gc":
        for _ in range(int(n)):
            gc.collect()
    print(n, flush=True)
"""


@test("Debian's python3: each collection of garbage")
def _(room):
    python = room.program_of(["/usr/bin/python3", "-c", PYTHON])
    python.ask("gc 3")
    link = room.attach("probe_gc", python.pid)
    python.ask("gc 40")
    same(sums(link)[0], 40, "collections")
    link.detach()
    python.ask("gc 2")


@test("libstdc++'s own probes: each exception that is thrown")
def _(room):
    if not os.path.exists(os.path.join(HERE, "targets-throws")):
        raise Skip("no C++ compiler was there when tenon was built")
    program = room.program("throws")
    link = room.attach("probe_throw", program.pid)
    thrown = int(program.ask("throw 200").split()[0])
    assert thrown >= 100, thrown
    same(sums(link)[0], thrown, "exceptions")
    link.detach()


main()
