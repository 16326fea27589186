# SPDX-License-Identifier: MIT
"""Programs that know functions of a process by their types: fentry, fexit, fmod_ret, through libbpf as it is and
the command line; CO-RE against the process's own types; functions and variables of the process by name."""
import json
import os
import signal
import time

from harness import HERE, TENON, Refused, Skip, code, main, need, same, test, until


def exe(program):
    return os.readlink(f"/proc/{program.pid}/exe")


def enter(room, name, *pids, nlinks=None):
    """Attached: program NAME of typed.bpf.o, in all these processes (one link)."""
    return room.attach("typed", *pids, options=["--program", name], nlinks=nlinks)


def seen(room, link, n):
    text = room.tenon("map", "dump", str(link.map_ids["seen"]), "--json")
    return [int(row["value"]) for row in json.loads(text)][:n]


def refused(room, name, *pids):
    try:
        enter(room, name, *pids).detach()
    except Refused as refusal:
        return str(refusal)
    raise AssertionError(f"{name} was attached")


MANY = f"{1 - 2 - 3 - 4 + 250 + 1 + (1 << 40) - 8} {1 + 2 - 3 + (1 << 33) + 5} 1 -123 42"


@test("arguments: narrow ones, some past the sixth, structs by value")
def _(room):
    host = room.program("host")
    one, two = enter(room, "eight_enter", host.pid), enter(room, "by_value_enter", host.pid)
    assert host.ask("many").startswith(MANY)
    same(seen(room, one, 8), [1, -2, -3, -4, 250, 1, 1 << 40, -8], "arguments")
    same(seen(room, two, 5), [1, 2, -3, 1 << 33, 5], "arguments")
    one.detach()
    two.detach()


@test("results: long, bool, short; a static function")
def _(room):
    host = room.program("host")
    links = {name: enter(room, name, host.pid) for name in ("add_exit", "is_odd_exit", "negated_exit", "hidden_enter")}
    assert host.ask("many").startswith(MANY)
    same(host.ask("add -5 1"), "-14")
    same(seen(room, links["add_exit"], 2), [1, -14], "calls and result")
    same(seen(room, links["is_odd_exit"], 1), [1])
    same(seen(room, links["negated_exit"], 1), [-123])
    same(seen(room, links["hidden_enter"], 1), [42])
    for link in links.values():
        link.detach()


@test("answers: fmod_ret with what is not zero, tenon_replace with anything; the code is the file's afterwards")
def _(room):
    host = room.program("host")
    before = code(host.pid, exe(host))
    link = enter(room, "add_answer", host.pid)
    same([host.ask(f"add {a}") for a in ("-4 9", "-4 -9", "-4 0", "4 9")], ["9", "-9", "-12", "21"])
    link.detach()
    same(host.ask("add -4 9"), "-3")
    link = enter(room, "add_replace", host.pid)
    same([host.ask(f"add {a}") for a in ("-4 9", "-4 0", f"-4 {-1 << 40}", "4 9")], ["9", "0", str(-1 << 40), "21"])
    same(seen(room, link, 1), [4])
    link.detach()
    link = enter(room, "negated_answer", host.pid)
    same(host.ask("many").split()[3], "-7", "a short in its place")
    link.detach()
    until(lambda: code(host.pid, exe(host)) == before)


@test("one object, two versions of the host: fields are where each has them; variables and functions by name")
def _(room):
    for name in ("host", "host2"):
        host = room.program(name)
        host.ask("request /a/b/c?d=e d=efg")
        link = enter(room, "begin", host.pid)
        now = time.time()
        same(host.ask("begin 3"), str(3 * (2 + 10)))
        got = seen(room, link, 10)
        same(got[:9], [3, 2, 10, 5, 1, 11, 3, 200, host.pid], name)
        assert now - 2 <= got[9] <= time.time(), f"{name}: time is {got[9]}"
        link.detach()


@test("what walks through structs with BPF_CORE_READ walks through the process's, and is told what is not there")
def _(room):
    for name in ("host", "host2"):
        host = room.program(name)
        link = enter(room, "begin_copying", host.pid)
        host.ask("begin 1")
        same(seen(room, link, 5), [11, 7, ord("C"), -14, 11], name)
        link.detach()


@test("two processes in one command: -p A,B; either may end")
def _(room):
    hosts = [room.program("host") for _ in range(2)]
    link = enter(room, "add_enter", *[host.pid for host in hosts], nlinks=1)
    for host in hosts:
        same(host.ask("work 1000 2"), str(2 * (3 * 1000 * 999 // 2 + 1000)))
    same(seen(room, link, 1), [4000], "calls of both")
    hosts[0].process.stdin.close()
    hosts[0].process.wait(10)
    hosts[1].ask("work 10 1")
    same(seen(room, link, 1), [4010], "calls of the one that stays")
    link.detach()
    same(hosts[1].ask("add 1 1"), "4")


@test("a command from its first instruction; its children by fork have it too")
def _(room):
    asked, said = room.path("in"), room.path("out")
    os.mkfifo(asked)
    link = room.attach_start("typed", [os.path.join(HERE, "targets-host"), asked, said], options=["--program", "add_enter"])
    with open(asked, "w") as host:
        host.write("work 100 1\nfork 50\n")
        host.flush()
        until(lambda: os.path.exists(said) and open(said).read().split() == [str(3 * 4950 + 100), "7"])
        same(seen(room, link, 1), [150], "calls")
    same(link.process.wait(10), 0, "status")


@test("children that fork while it is attached: called and counted, and whole after it is gone")
def _(room):
    host = room.program("host")
    link = enter(room, "add_enter", host.pid)
    same(host.ask("fork 100"), "7")
    before = seen(room, link, 1)[0]
    assert before in (0, 100), f"{before} calls of the child"
    same(host.ask("add 1 1"), "4")
    same(seen(room, link, 1), [before + 1], "calls")
    link.detach()
    same(host.ask("fork 100"), "7")


@test("threads call it while it comes and goes; the code is the file's afterwards", seconds=120)
def _(room):
    host = room.program("host")
    before = code(host.pid, exe(host))
    t, names = 4, ("add_enter", "add_exit", "add_both", "add_replace")
    same(host.ask(f"spin {t}"), "spinning")
    for name in names * 3:
        link = enter(room, name, host.pid)
        until(lambda: seen(room, link, 1)[0] or name == "add_replace") # pylint: disable=cell-var-from-loop
        if name == "add_both":
            same(seen(room, link, 2)[1], 0, "arguments of another call")
            # Each thread may have been in the function when it came.
            assert room.links()[0]["missed"] <= t, f"{room.links()[0]['missed']} missed"
        link.detach()
    same(host.ask("stop"), "0", "wrong results")
    until(lambda: code(host.pid, exe(host)) == before)
    host.ask("work 1000 4")


@test("a function of the host that an extension calls leaves by longjmp over it: the next calls run, all counted")
def _(room):
    host = room.program("host")
    link = enter(room, "add_leave", host.pid)
    same(host.ask("leap 1000", 20), "500")
    same(seen(room, link, 2), [1000, 500], "runs begun and ended")
    same(host.ask("add 2 2"), "8")
    link.detach()
    same(host.ask("leap 10"), "0")
    same(host.ask("add 3 2"), "11")


NOTHROW = """
eim: 1
host: { name: targets-throws }
function_capabilities: [ { name: throwsNot, function: throws%s } ]
extension_entries: [ { name: catching, extension_entry: catches } ]
extension_classes: [ { name: calls, extension_entry: catching, allowed: [ instructions < 100, read(a), throwsNot ] } ]
"""


def thrower(room):
    if not os.path.exists(os.path.join(HERE, "targets-throws")):
        raise Skip("there is no compiler of C++")
    return room.program("throws")


@test("one that may throw is not called: no exception would find a way through an extension")
def _(room):
    host = thrower(room)
    same(host.ask("throw 100"), "50 100")
    words = ("may_throw", "throws of ", "nothrow", "thrower.bpf.c:")
    room.refused("thrower", [host.pid], [], *words)
    room.env["TENON_POLICY"] = room.write("policy.yaml", NOTHROW % "")
    room.tenon("detach", "--all")
    room.refused("thrower", [host.pid], [], *words)
    same(host.ask("throw 100"), "50 100")


@test("one of which its developers say that it does not throw is called; where it does, the process ends as C++ says")
def _(room):
    host = thrower(room)
    same(host.ask("throw 100"), "50 100")
    room.env["TENON_POLICY"] = room.write("policy.yaml", NOTHROW % ", constraints: [ nothrow ]")
    link = room.attach("thrower", host.pid)
    same(host.ask("throw 1"), "1 1", "throws(1) does not")
    host.tell("throw 2")
    same(host.process.wait(20), -signal.SIGABRT, "status")
    link.process.wait(20)


def missed_all(room):
    return sum(row["missed"] for row in room.links())


@test("arguments at the exit, as they were at the entry: narrow ones, on the stack, behind a pointer")
def _(room):
    host = room.program("host")
    one, two, three = (enter(room, name, host.pid) for name in ("eight_both", "add_both", "done"))
    assert host.ask("many").startswith(MANY)
    same(seen(room, one, 9), [1, -2, -3, -4, 250, 1, 1 << 40, -8, int(MANY.split()[0])])
    same(host.ask(f"add {-5 << 40} 1"), str((-15 << 40) + 1))
    same(seen(room, two, 4), [1, 0, -5 << 40, 1], "right, wrong, arguments")
    host.ask("request /a/b/c x")
    host.ask("begin 1")
    same(seen(room, three, 4), [1, 2, 6, 8])
    same(missed_all(room), 0, "missed")
    for link in (two, three, one):
        link.detach()


@test("arguments at the exit through recursion, longjmp, handlers on another stack, coroutines, threads that end", seconds=120)
def _(room):
    host = room.program("host")
    plain = [host.ask(line) for line in ("nest 100 9", "over 1000", "brief 200")]
    link = enter(room, "nest_both", host.pid)
    right = 0

    def counted(n):
        nonlocal right
        right += n
        got = seen(room, link, 2)
        same(got, [right, 0], "right and wrong")

    same(host.ask("nest 100 9"), plain[0])
    counted(1000)
    same(host.ask("over 1000"), plain[1])
    counted(sum(k % 7 + 1 for k in range(0, 1000, 2)))
    same(host.ask("brief 200"), plain[2])
    counted(int(plain[2]))
    same(missed_all(room), 0, "missed")
    # Two that are under way at once may share a line, and an interrupted run keeps the handler's from running.
    lost = 0
    for line, few in {"routines 64": 40, "alarms 2000": 3 * 2000}.items():
        calls, missed = int(host.ask(line)), missed_all(room) - lost
        got = seen(room, link, 2)
        same([got[0] - right + missed, got[1]], [calls, 0], f"{line}: runs and missed, wrong ones")
        assert missed < few, f"{line}: {missed} missed"
        right, lost = got[0], lost + missed
    link.detach()
    same(host.ask("nest 100 9"), plain[0])


@test("calls under way when it comes are missed, and return as ever when it has gone")
def _(room):
    host = room.program("host")
    same(host.ask("enter 5"), "inside")
    link = enter(room, "nest_both", host.pid)
    same(host.ask("nest 1 2"), "7")
    same(host.ask("leave"), "16")
    same(seen(room, link, 2), [3, 0])
    same(missed_all(room), 6, "missed")
    same(host.ask("enter 5"), "inside")
    link.detach()
    same(host.ask("leave"), "16")
    same(host.ask("nest 1 2"), "7")
    same(host.ask("enter 5"), "inside")
    link = enter(room, "nest_both", host.pid)
    same(host.ask("leave"), "16")
    same([*seen(room, link, 2), missed_all(room)], [0, 0, 6], "what the one before has kept is not taken up")
    link.detach()


@test("children by fork go on with it, and threads of theirs")
def _(room):
    asked, said = room.path("in"), room.path("out")
    os.mkfifo(asked)
    link = room.attach_start("typed", [os.path.join(HERE, "targets-host"), asked, said], options=["--program", "add_both"])
    with open(asked, "w") as host:
        host.write("work 100 3\nfork 50\n")
        host.flush()
        until(lambda: os.path.exists(said) and open(said).read().split() == [str(3 * (3 * 4950 + 100)), "7"])
        same(seen(room, link, 2), [350, 0], "right and wrong")
        same(missed_all(room), 0, "missed")
    same(link.process.wait(10), 0, "status")


@test("one function with everything: entry, exits with and without arguments, a return probe; in any order")
def _(room):
    host = room.program("host")
    before = code(host.pid, exe(host))
    names = ["add_enter", "add_both", "add_exit", "add_both"]
    for turn in range(4):
        links = [enter(room, name, host.pid) for name in names[turn:] + names[:turn]]
        probe = room.attach("host_add_exit", host.pid)
        for k, link in enumerate(links):
            same(host.ask(f"add {k} 7"), str(3 * k + 7))
            for row, name in zip(links[k:], (names[turn:] + names[:turn])[k:]):
                got = seen(room, row, 4)
                same(got[0], k + 1, f"{name}, calls")
                same(got[1:], {"add_enter": [k, 7, 0], "add_exit": [3 * k + 7, 0, 0], "add_both": [0, k, 7]}[name], name)
            link.detach()
        same(probe.calls(), 4, "returns")
        probe.detach()
        until(lambda: code(host.pid, exe(host)) == before)


@test("an answer in the function's place is its result at the exits, too, whoever came first and goes first")
def _(room):
    for first in ("answer", "exits"):
        for last in ("answer", "exits"):
            host = room.program("host")
            before = code(host.pid, exe(host))
            come = {"answer": lambda: [enter(room, "add_answer", host.pid), enter(room, "add_replace", host.pid)],
                    "exits": lambda: [enter(room, "add_answered", host.pid), room.attach("host_add_exit", host.pid)]}
            links = {name: come[name]() for name in sorted(come, key=lambda name: name != first)}
            exit_, probe = links["exits"]
            calls = [(-4, 9, 9), (4, 9, 21), (-4, 0, 0), (-4, -9, -9), (5, 5, 20)]
            for k, (a, b, result) in enumerate(calls, 1):
                same(host.ask(f"add {a} {b}"), str(result))
                same([*seen(room, exit_, 4), probe.calls()], [k, a, b, result, k], f"{first} first")
            same(seen(room, links["answer"][1], 1), [3], "calls that the first one has not answered")
            same(missed_all(room), 0, "missed")
            for link in links[last]:
                link.detach()
            same(host.ask("add -4 9"), "-3" if last == "answer" else "9", f"{last} gone")
            if last == "answer":
                same([*seen(room, exit_, 4), probe.calls()], [6, -4, 9, -3, 6])
            for link in links["exits" if last == "answer" else "answer"]:
                link.detach()
            same(host.ask("add -4 9"), "-3")
            until(lambda: code(host.pid, exe(host)) == before) # pylint: disable=cell-var-from-loop
            link = enter(room, "add_answer", host.pid) # a place that is known, and has no hook
            same(host.ask("add -4 9"), "9")
            link.detach()


@test("answers and exits come and go while threads call")
def _(room):
    host = room.program("host")
    before = code(host.pid, exe(host))
    same(host.ask("spin 3"), "spinning")
    for turn in range(6):
        names = ["add_both", "add_same"]
        links = [enter(room, name, host.pid) for name in (names if turn % 2 else reversed(names))]
        exit_ = links[0 if turn % 2 else 1]
        until(lambda: seen(room, exit_, 1)[0] > 1000) # pylint: disable=cell-var-from-loop
        same(seen(room, exit_, 2)[1], 0, "arguments of another call")
        for link in links if turn % 3 else reversed(links):
            link.detach()
    same(host.ask("stop"), "0", "wrong results")
    until(lambda: code(host.pid, exe(host)) == before)


@test("an argument that the function frees: its bytes are read carefully, and the pointer is what it was")
def _(room):
    host = room.program("host")
    link = enter(room, "freed", host.pid)
    same(host.ask("end 20"), "40")
    got = seen(room, link, 4)
    same([got[0], got[3]], [20, 2])
    assert got[1], "the pointer"
    same(missed_all(room), 0, "missed")
    link.detach()


@test("exceptions through functions whose arguments are kept")
def _(room):
    if not os.path.exists(os.path.join(HERE, "targets-throws")):
        raise Skip("there is no compiler of C++")
    host = room.program("throws")
    same(host.ask("throw 2000"), "1000 2000")
    links = [room.attach("thrown", host.pid, options=["--program", name]) for name in ("passes_both", "catches_both")]
    same(host.ask("throw 2000"), "1000 2000", "while hooked")
    same([seen(room, link, 2) for link in links], [[1000, 0], [2000, 0]], "right and wrong")
    same(missed_all(room), 0, "missed")
    for link in links:
        link.detach()
    same(host.ask("throw 2000"), "1000 2000", "after detach")


@test("too short for two patches: either end by itself, arguments at the exit refused by name")
def _(room):
    for name in ("tiny_enter", "tiny_exit"):
        host = room.program("host") # a place that was patched once is remembered
        link = enter(room, name, host.pid)
        same(host.ask("tiny 4"), "5")
        same(seen(room, link, 1), [1 if name == "tiny_enter" else 5], name)
        link.detach()
    host = room.program("host")
    before = code(host.pid, exe(host))
    said = refused(room, "tiny_both", host.pid)
    assert "[entry_meets_exit]" in said, said
    same(code(host.pid, exe(host)), before, "code")


@test("refused by name: functions without an address, or that take what they do not say")
def _(room):
    host = room.program("host")
    before = code(host.pid, exe(host))
    for name, words in {"by_parts_enter": ["by_parts of "],
                        "in_place_enter": ["in_place of ", "has no address", "[inlined]"]}.items():
        said = refused(room, name, host.pid)
        for word in words:
            assert word in said, f"{name}: {said}"
    same(room.links(), [], "links")
    same(code(host.pid, exe(host)), before, "code")
    same(host.ask("add 1 1"), "4")


@test("two hosts with one broker, by two tools at once")
def _(room):
    hosts = [room.program(name) for name in ("host", "host2")]
    links = [enter(room, "begin", host.pid) for host in hosts]
    for k, host in enumerate(hosts):
        host.ask(f"begin {k + 1}")
    same([seen(room, link, 3) for link in links], [[1, 2, 11], [2, 2, 11]])
    same([seen(room, link, 9)[8] for link in links], [host.pid for host in hosts])
    for link in links:
        link.detach()


@test("bpftool sees the host as a module: its functions, its types, as a header, too")
def _(room):
    need("bpftool")
    host = room.program("host")
    words = [TENON, "run", "--host", str(host.pid), "--", "bpftool"]
    link = enter(room, "add_enter", host.pid) # while somebody has something of a host, it is listed under one id
    rows = room.run([*words, "btf", "list"])
    assert "[targets-host]" in rows, rows
    number = next(line.split(":")[0] for line in rows.splitlines() if "[targets-host]" in line)
    text = room.run([*words, "btf", "dump", "id", number])
    assert "FUNC 'ngx_http_process_request'" in text and "STRUCT 'Request'" in text, text[:500]
    header = room.run([*words, "btf", "dump", "id", number, "format", "c"])
    assert "struct Request {" in header and "keep_alive: 1;" in header, header[:500]
    link.detach()


@test("bpftool has a program loaded that calls a function of the host, and shows the log; it has nowhere to pin it to")
def _(room):
    need("bpftool")
    host = thrower(room)
    room.env["TENON_POLICY"] = room.write("policy.yaml", NOTHROW % ", constraints: [ nothrow ]")
    said = room.run([TENON, "run", "--host", str(host.pid), "--", "bpftool", "-d", "prog", "load",
                     os.path.join(HERE, "thrower.bpf.o"), "/sys/fs/bpf/tenon-thrower"], status=None) + room.err
    for words in ("(func ksym) 'throws': resolved to kernel", "call kernel-function#", "processed 5 insns", "failed to pin"):
        assert words in said, f"{words} is not in\n{said[-2000:]}"


if __name__ == "__main__":
    main()
