# SPDX-License-Identifier: MIT
"""A program of Go, whose stacks are small and move, and whose goroutines are stopped by signals wherever they are: hooks
leave no byte on those stacks, count exactly, and nothing that Go's runtime does notices them."""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import tempfile
import time

from statistics import median

from harness import HERE, Attached, Program, Refused, Skip, code, main, maps, need, same, test, until

SECONDS = int(os.environ.get("TENON_SECONDS", 8))
NAMES = {"leaf": 1, "deep": 2, "frugal": 3, "recovers": 4, "get": 5, "many": 6, "spins": 8, "bottom": 9,
         "bottom+7": 10, "leaf exit": 11, "flagged": 20, "neither": 22, "zero": 23, "carry": 24, "both": 25,
         "deep exit": 21, "frugal exit": 31, "recovers exit": 41, "wrong": 60, "many exit": 61, "spins exit": 81}
PLACES = 17


class Go:
    def __init__(self, room, kind="go", env=None):
        self.room, self.said = room, tempfile.TemporaryFile(mode="w+")
        if not os.path.exists(os.path.join(HERE, "targets-" + kind)):
            raise Skip("there is no compiler of Go (golang-go)")
        os.makedirs(room.path("bin"), exist_ok=True)
        self.path = room.path("bin/targets-go")
        shutil.copy(os.path.join(HERE, "targets-" + kind), self.path)
        self.env = dict(room.env, **(env or {}))
        self.start()

    def start(self):
        self.program = Program(self.room, [self.path], stderr=self.said, env=self.env)
        self.pid = self.program.pid
        self.text = code(self.pid, self.path)

    def ask(self, line, seconds=100):
        try:
            return self.program.ask(line, seconds)
        except (AssertionError, BrokenPipeError) as error:
            self.said.seek(0)
            raise AssertionError(f"{line}: {error}; it said: {self.said.read()[:3000]}") from None

    def untouched(self):
        return code(self.pid, self.path) == self.text


def numbers(room, attached):
    rows = {row["key"]: row["value"] for row in json.loads(room.tenon("map", "dump", str(attached.map_ids["seen"]), "--json"))}
    return {name: int(rows[str(at)] if str(at) in rows else rows[at]) for name, at in NAMES.items()}


def of_calls(n):
    return {"leaf": 2 * n, "leaf exit": 2 * n, "frugal": n, "frugal exit": n, "recovers": n, "recovers exit": n, "get": n // 2,
            "many": n, "many exit": n, "spins": n, "spins exit": n, "bottom": n, "bottom+7": n}


def of_growth(n, depth):
    return {"deep": n * (depth + 1), "deep exit": n * (depth + 1), "leaf": n, "leaf exit": n}


def difference(after, before):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def added(*parts):
    total = {}
    for part in parts:
        for name, n in part.items():
            total[name] = total.get(name, 0) + n
    return total


def counts(room, go, rounds=1000, name="go"):
    """Everything once, with all hooks: exact numbers, and the results that the program checks itself."""
    attached = room.attach(name, go.pid, nlinks=PLACES)
    go.ask(f"calls 8 {rounds}")
    go.ask("grows 4 25 700")
    same(numbers(room, attached), {**dict.fromkeys(NAMES, 0), **added(of_calls(8 * rounds), of_growth(100, 700))})
    same(attached.missed(), 0, "missed")
    same(go.ask("registers"), "0x0 0x3000000 0x1000000", "registers that a hook has changed")
    same({name: n for name, n in numbers(room, attached).items() if name in ("flagged", "neither", "zero", "carry", "both")},
         {"flagged": 3, "neither": 1, "zero": 0, "carry": 1, "both": 1})
    attached.detach()
    until(go.untouched)
    go.ask("calls 2 100")


def settles(sizes):
    """A process has come to what it needs: the second half of the numbers does not lie above the first. Of each the median
    tells: what a link has left is there until one that comes later takes it away."""
    half = len(sizes) // 2
    assert median(sizes[half:]) <= median(sizes[:half]) + 8, sizes


@test("every shape of function is counted exactly, with nothing beneath the stack and every register as it was", 100)
def _(room):
    go = Go(room)
    counts(room, go)
    attached = room.attach("go_generic", go.pid, nlinks=1)
    go.ask("calls 2 100")
    same(attached.calls(), 200)


@test("and so in a file without symbols, where the names are Go's own", 100)
def _(room):
    counts(room, Go(room, "go-stripped"), name="go_stripped")


@test("and in a position-independent one beside the C library", 100)
def _(room):
    counts(room, Go(room, "go-pie"))


@test("and with collections and stops of the world all the time", 150)
def _(room):
    go = Go(room, env={"GOGC": "5", "GODEBUG": "gccheckmark=0,clobberfree=1"})
    go.ask("turmoil 1")
    counts(room, go, 300)
    go.ask("turmoil 0")


@test("links come and go amid all of it, and one that stays counts every call", SECONDS + 120)
def _(room):
    go = Go(room)
    go.ask("turmoil 1")
    stays = room.attach("go", go.pid, nlinks=PLACES)
    before, rounds, made, sizes = numbers(room, stays), 0, {}, []
    end = time.monotonic() + SECONDS
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        while time.monotonic() < end or rounds < 10:
            called = pool.submit(lambda: (go.ask("calls 4 1500"), go.ask("grows 4 10 300")))
            while not called.done():
                comes = room.attach("go", go.pid, nlinks=PLACES)
                time.sleep(rounds % 3 * 0.01)
                comes.detach()
                rounds += 1
                sizes.append(len(maps(go.pid))) # each time: what a link has left goes with a later one
            called.result()
            made = added(made, of_calls(6000), of_growth(40, 300))
    same(difference(numbers(room, stays), before), made)
    same(stays.missed(), 0, "missed")
    stays.detach()
    until(go.untouched)
    go.ask("turmoil 0")
    settles(sizes)
    print(f"# {rounds} rounds, {made['leaf']} calls of one function; mappings: {sizes[0]} … {sizes[-1]}")


@test("the first link comes and goes amid all of it", SECONDS + 120)
def _(room):
    go = Go(room, env={"GOGC": "10"})
    go.ask("turmoil 1")
    end, rounds, sizes = time.monotonic() + SECONDS, 0, []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        while time.monotonic() < end or rounds < 10:
            called = pool.submit(lambda: (go.ask("calls 4 1500"), go.ask("grows 4 10 300")))
            while not called.done():
                room.attach("go", go.pid, nlinks=PLACES).detach()
                rounds += 1
                sizes.append(len(maps(go.pid)))
            called.result()
    until(go.untouched)
    go.ask("turmoil 0")
    settles(sizes)
    print(f"# {rounds} rounds; mappings: {sizes[0]} … {sizes[-1]}")


@test("a server answers every request, and each is counted", 120)
def _(room):
    go = Go(room)
    address = go.ask("serve")
    attached = room.attach("go_serve", go.pid, nlinks=1)
    handler = room.attach("go_handler_exit", go.pid, nlinks=1)
    malloc = room.attach("go_malloc", go.pid, nlinks=1)
    go.ask("turmoil 1")
    same(go.ask(f"load {address} 400"), "3200")
    go.ask("turmoil 0")
    same((attached.calls(), handler.calls(), go.ask("served")), (3200, 3200, "3200"))
    same(attached.missed() + handler.missed() + malloc.missed(), 0, "missed")
    assert malloc.calls() > 3200, malloc.calls()
    for each in (attached, handler, malloc):
        each.detach()
    until(go.untouched)
    same(go.ask(f"load {address} 10"), "80")


@test("stack traces are what they were, and a profile is taken", 100)
def _(room):
    go = Go(room)
    before = go.ask("trace")
    attached = room.attach("go", go.pid, nlinks=PLACES)
    traced = room.attach("go_inner", go.pid, nlinks=1)
    same(go.ask("trace"), before)
    same(traced.calls(), 1)
    assert int(go.ask("profile")) > 100
    same(attached.missed(), 0, "missed")
    same(go.ask("trace"), before)


@test("asked for all stacks, it ends as Go does", 60)
def _(room):
    go = Go(room, env={"GOTRACEBACK": "all"})
    room.attach("go", go.pid, nlinks=PLACES)
    go.program.tell("calls 4 10000000")
    time.sleep(0.5)
    os.kill(go.pid, signal.SIGQUIT)
    same(go.program.process.wait(20), 2)
    go.said.seek(0)
    said = go.said.read()
    assert said.startswith("SIGQUIT: quit") and "main.crowd" in said and "fatal error" not in said, said[:2000]
    assert len(re.findall("^goroutine ", said, re.M)) >= 5, said[:2000]


def instructions(room, path, function):
    """Offsets of a function's instructions."""
    text = room.run(["objdump", "-d", f"--disassemble={function}", path], seconds=60)
    found = [int(at, 16) for at in re.findall(r"^ +([0-9a-f]+):\t", text, re.M)]
    return [at - found[0] for at in found]


@test("goroutines that were stopped in the middle of a loop come back to it, wherever in it a hook stands by then", 120)
def _(room):
    need("objdump")
    go = Go(room)
    places = instructions(room, go.path, "main.loops")[1:]
    with open(os.path.join(HERE, "go_loops.bpf.o"), "rb") as file:
        form = file.read()
    go.ask("loops 40")
    hooked = 0
    for _ in range(2):
        for at in places:
            with open(room.path("at.bpf.o"), "wb") as file:
                file.write(form.replace(b"main.loops+0x0000", b"main.loops+0x%04x" % at))
            try:
                attached = Attached(room, ["-p", str(go.pid), room.path("at.bpf.o")], 1)
            except Refused as refusal:
                print(f"# +{at:#x}: {str(refusal)[-60:]}")
                continue
            time.sleep(0.03)
            attached.detach()
            hooked += 1
    until(go.untouched)
    same(go.ask("looped 40"), "0")
    print(f"# {hooked} hooks at {len(places)} instructions")
    assert hooked >= len(places), hooked


@test("the function that no goroutine calls, and all of them return into the middle of", 60)
def _(room):
    go = Go(room)
    go.program.tell("grows 4 3000 200")
    for _ in range(5):
        attached = room.attach("go_exit", go.pid, nlinks=1)
        same(attached.calls(), 0)
        attached.detach()
    same(go.program.answer(100), "done")
    until(go.untouched)


@test("what it makes system calls and starts processes with is hooked as well", 100)
def _(room):
    go = Go(room)
    calls = room.attach("go_getppid", go.pid, nlinks=1)
    attached = room.attach("go", go.pid, nlinks=PLACES)
    go.ask("getpid 5000")
    same(calls.calls(), 5000)
    for _ in range(20):
        same(go.ask("run"), "done")
    go.ask("threads 200")
    same(numbers(room, attached)["leaf"], 200)
    same(calls.missed() + attached.missed(), 0, "missed")
    calls.detach()
    attached.detach()


@test("one that is started for it is hooked from its first instruction", 60)
def _(room):
    Go(room)
    started = room.attach_start("go_leaf", [os.path.join(HERE, "targets-go"), "calls", "4", "500", "linger"])
    until(lambda: started.calls() >= 4000)
    same((started.calls(), started.missed()), (4000, 0))


@test("all processes of the file, those that come later too", 100)
def _(room):
    if os.geteuid() != 0:
        raise Skip("only root may watch for exec")
    Go(room)
    attached = room.attach("go_leaf", nlinks=1)
    for n in range(1, 6):
        room.run([os.path.join(HERE, "targets-go"), "calls", "2", "100"])
        same(attached.calls(), n * 400)
    same(attached.missed(), 0, "missed")
    attached.detach()


main()
