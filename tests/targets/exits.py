# SPDX-License-Identifier: MIT
"""Ways out of functions, places inside of them, and threads that sleep in what was displaced."""
import os
import re
import time

from harness import HERE, Refused, Skip, code, main, maps, need, same, test, until


def scene(room, counter, line, entered, left=None):
    """Entries and exits of a function while `line` runs, whose result stays what it is without us."""
    program = room.program("exits")
    plain = program.ask(line)
    link = room.attach(counter, program.pid)
    same(program.ask(line), plain, "result while hooked")
    same(link.calls(), entered, f"{counter}: calls")
    if left is not None:
        back = room.attach(counter + "_exit", program.pid)
        same(program.ask(line), plain, "result with the exit hooked")
        same(back.calls(), left, f"{counter}: returns")
        same(link.calls(), 2 * entered, f"{counter}: calls, with the exit hooked")
        same(back.missed() + link.missed(), 0, "missed")
        back.detach()
    link.detach()
    same(program.ask(line), plain, "result after detach")


def fibonacci_calls(n):
    return 1 if n < 2 else 1 + fibonacci_calls(n - 1) + fibonacci_calls(n - 2)


@test("a function with many rets: entries and returns are counted exactly")
def _(room):
    scene(room, "many_rets", "rets 5000", 5000, 5000)


@test("rets of a single byte that others jump to: all of them hooked, or refused by name and nothing touched")
def _(room):
    program = room.program("exits")
    path = os.readlink(f"/proc/{program.pid}/exe")
    plain, text = program.ask("bare 5000"), code(program.pid, path)
    try:
        back = room.attach("bare_rets_exit", program.pid)
    except Refused as refused:
        assert "[too_short]" in str(refused) or "[no_room_punned]" in str(refused), refused
        same(code(program.pid, path), text, "code")
        same(program.ask("bare 5000"), plain, "result")
        return
    same(program.ask("bare 5000"), plain, "result")
    same(back.calls(), 5000, "returns")


@test("a jump table")
def _(room):
    scene(room, "dense", "dense 5000", 5000, 5000)


@test("a cold part, far from its function, with a ret of its own")
def _(room):
    scene(room, "cold_part", "cold 5000", 5000, 5000)


@test("recursion")
def _(room):
    calls = sum(fibonacci_calls(i % 15) for i in range(30))
    scene(room, "recursive", "recursive 30", calls, calls)


@test("longjmp out of a hooked function: the rest goes on, the next calls count")
def _(room):
    scene(room, "thrown_over", "over 3000", 3000, 2000)


@test("a tail call: its entry counts, its exit where the other function returns, and not when that is called by itself")
def _(room):
    scene(room, "tail_called", "tail 1000", 1000, 1000)
    program = room.program("exits")
    back = room.attach("tail_called_exit", program.pid)
    program.ask("other 1000")
    same(back.calls(), 0, "returns of others")
    program.ask("tail 1000")
    same((back.calls(), back.missed()), (1000, 0), "returns")
    back.detach()
    program.ask("tail 1000")
    back = room.attach("tail_called_exit", program.pid)
    program.ask("other 1000")
    program.ask("tail 1000")
    same((back.calls(), back.missed()), (1000, 0), "returns, attached again")


@test("a tail jump to where only a run tells, and one without unwind rules: refused by name, the target untouched")
def _(room):
    program = room.program("exits")
    path = os.readlink(f"/proc/{program.pid}/exe")
    text = code(program.pid, path)
    for name, line, reason in (("tail_pointer", "pointer 100", "exit_tail_unknown"),
                               ("tail_bare", "bare-tail 100", "exit_tail_stack")):
        plain = program.ask(line)
        try:
            room.attach(name + "_exit", program.pid)
            raise AssertionError("attached")
        except Refused as refused:
            assert f"[{reason}]" in str(refused), refused
        same(code(program.pid, path), text, "code")
        same(program.ask(line), plain, "result")


@test("a tail jump into another file: followed there, and who calls that by itself is not counted")
def _(room):
    program = room.program("exits")
    program.ask("outside 1") # a word that is bound late leads where it should now
    plain = program.ask("outside 3000")
    libc = next(line.split(None, 5)[5] for line in maps(program.pid) if "/libc.so" in line)
    text = code(program.pid, libc)
    back = room.attach("tail_outside_exit", program.pid)
    assert code(program.pid, libc) != text
    same(program.ask("outside 3000"), plain, "result while hooked")
    program.ask("random 3000")
    same((back.calls(), back.missed()), (3000, 0), "returns")
    back.detach()
    until(lambda: code(program.pid, libc) == text)
    same(program.ask("outside 3000"), plain, "result after detach")


@test("a tail jump through a word that comes to lead elsewhere: those are missed, and said to be")
def _(room):
    program = room.program("exits")
    plain = program.ask("swapped 1000")
    program.ask("word 1")
    back = room.attach("tail_word_exit", program.pid)
    program.ask("word 500")
    program.ask("other 500")
    same((back.calls(), back.missed()), (500, 0), "returns")
    same(program.ask("swapped 1000"), plain, "result")
    same((back.calls(), back.missed()), (1000, 500), "returns and missed")
    program.ask("other 500")
    same(back.calls(), 1000, "returns")


def parts(room):
    """targets-tails, and the returns of door and hall in 4 threads, by its own count."""
    if not os.path.exists(os.path.join(HERE, "targets-tails")):
        raise Skip("built without a C++ compiler")
    return room.program("tails")


@test("tail jumps in threads that throw, jump out and call again: every return counts once, for each function")
def _(room):
    program = parts(room)
    plain = program.ask("go 4 20000")
    doors, halls, caught = (int(word) for word in plain.split())
    assert caught > 1000 and doors > 50000, plain
    link = room.attach("door_exit", program.pid)
    text = program.ask("go 4 20000", 60)
    same(text, plain, "while hooked")
    same((link.calls(), link.missed()), (doors, 0), "door: returns")
    # Both at once: what one leaves by, the other is.
    too = room.attach("hall_exit", program.pid)
    same(program.ask("go 4 20000", 60), plain, "while both are hooked")
    same((link.calls(), too.calls()), (2 * doors, halls), "returns")
    same(link.missed() + too.missed(), 0, "missed")
    link.detach()
    same(program.ask("go 4 20000", 60), plain, "with one of them")
    same(too.calls(), 2 * halls, "hall: returns")
    too.detach()
    same(program.ask("go 4 20000", 60), plain, "after detach")


@test("attached and detached while threads run through tail jumps: nothing breaks, nothing is counted twice", 120)
def _(room):
    program = parts(room)
    path = os.readlink(f"/proc/{program.pid}/exe")
    text = code(program.pid, path)
    plain = program.ask("go 6 50000", 60)
    doors, halls, _ = (int(word) for word in plain.split())
    counted = {"door_exit": 0, "hall_exit": 0}
    rounds = 0
    program.tell("go 6 50000")
    while not program.answered():
        for name in counted:
            link = room.attach(name, program.pid)
            time.sleep(0.05)
            counted[name] += link.calls()
            link.detach()
            rounds += 1
    same(program.answer(), plain, "result")
    assert rounds >= 2, rounds
    assert counted["door_exit"] <= doors and counted["hall_exit"] <= halls, (counted, plain)
    until(lambda: code(program.pid, path) == text)
    link = room.attach("door_exit", program.pid) # marks that were left behind mean nothing
    same(program.ask("go 6 50000", 60), plain, "result")
    same((link.calls(), link.missed()), (doors, 0), "returns")


SUBTRACTS = """
import sys
class Pile:
    n = 0
    def __isub__(self, other):
        if other % 7 == 6:
            raise ValueError
        self.n += other
        return self
for line in sys.stdin:
    pile, lost = Pile(), 0
    for i in range(int(line)):
        try:
            pile -= i
        except ValueError:
            lost += 1
    print(pile.n, lost, flush=True)
"""


@test("Debian's python: a function of its interpreter that leaves by tail jumps, into what calls back into it")
def _(room):
    need("/usr/bin/python3")
    program = room.program_of(["/usr/bin/python3", "-c", SUBTRACTS])
    plain = program.ask("30000")
    begun, ended = room.attach("python_subtract", program.pid), room.attach("python_subtract_exit", program.pid)
    same(program.ask("30000"), plain, "result while hooked")
    same((begun.calls(), ended.calls()), (30000, 30000), "calls and returns")
    same(begun.missed() + ended.missed(), 0, "missed")
    ended.detach()
    same(program.ask("30000"), plain, "result after detach")
    same(begun.calls(), 60000, "calls")


@test("C++ exceptions thrown in, through and into hooked functions: all caught, all destructors run")
def _(room):
    if not os.path.exists(os.path.join(HERE, "targets-throws")):
        raise Skip("built without a C++ compiler")
    program = room.program("throws")
    same(program.ask("throw 2000"), "1000 2000")
    links = [room.attach(name, program.pid) for name in ("throws", "passes", "catches", "passes_exit", "catches_exit")]
    same(program.ask("throw 2000"), "1000 2000", "while hooked")
    same([link.calls() for link in links], [2000, 2000, 2000, 1000, 2000], "calls")
    for link in links:
        link.detach()
    same(program.ask("throw 2000"), "1000 2000", "after detach")


@test("a place inside a function where flags are alive, and one where the red zone is")
def _(room):
    scene(room, "flags_alive", "flags 20000", 20000)
    scene(room, "red_alive", "red 20000", 20000)


def asleep(pid, n):
    """n threads of a process sleep in read, not counting the first, which waits for our next line."""
    seen = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        if int(tid) == pid:
            continue
        with open(f"/proc/{pid}/task/{tid}/syscall") as file:
            seen += file.read().startswith("0 ")
    return seen >= n


@test("detached, and attached again, while threads sleep inside a displaced call: they come back right")
def _(room):
    program = room.program("exits")
    path = os.readlink(f"/proc/{program.pid}/exe")
    text = code(program.pid, path)
    for rounds in (1, 5):
        link = room.attach("naps_inside", program.pid)
        program.ask("doze 0")
        until(lambda: asleep(program.pid, 8))
        same(link.calls(), 8, "calls")
        begun = time.monotonic()
        link.detach()
        assert time.monotonic() - begun < 5, "detach waits for sleepers"
        until(lambda: code(program.pid, path) == text)
        for _ in range(rounds):
            link = room.attach("naps_inside", program.pid)
            link.detach()
        same(program.ask("wake 0"), "36", "what the sleepers brought back")
        same(program.ask("doze 0"), "0")
        link = room.attach("naps_inside", program.pid) # asleep in the plain call now
        same(program.ask("wake 0"), "36", "those who slept in the plain call")
        link.detach()


@test("a signal handler that will return into the bytes to be replaced: waited for, refused by name, then attached")
def _(room):
    program = room.program("exits")
    path = os.readlink(f"/proc/{program.pid}/exe")
    text = code(program.pid, path)
    program.ask("fall 0")
    until(lambda: asleep(program.pid, 1))

    def refused():
        try:
            room.attach("stumbles", program.pid)
            raise AssertionError("attached")
        except Refused as refusal:
            assert "[thread_in_place]" in str(refusal), refusal
        return len(maps(program.pid))
    refused()
    same(code(program.pid, path), text, "code")
    beside = room.attach("many_rets", program.pid) # what was mapped in vain goes with the next one, also while others stay
    sizes = [refused() for _ in range(8)]
    assert sizes[-1] <= sizes[0] + 2, sizes
    beside.detach()
    same(program.ask("rise 0"), "42", "what the interrupted call brought back")
    scene(room, "stumbles", "walk 1000", 1000)


@test("gdb sees through a hooked function: its callers, by their names")
def _(room):
    need("gdb")
    program = room.program("exits")
    link = room.attach("naps_inside", program.pid)
    program.ask("doze 0")
    until(lambda: asleep(program.pid, 8))
    said = room.run(["gdb", "-nx", "-batch", "-p", str(program.pid), "-ex", "thread apply all bt"], status=None)
    stacks = [stack for stack in said.split("\nThread ") if "nap (" in stack]
    same(len(stacks), 8, f"stacks that hold nap:\n{said}")
    for stack in stacks:
        assert re.search(r"nap \(.*in napper \(.*start_thread", stack, re.S), stack
    same(program.ask("wake 0"), "36")
    link.detach()


main()
