# SPDX-License-Identifier: MIT
"""bpf_get_stack, bpf_get_stackid and maps of stacks: a tool of stock libbpf asks the kernel and us for the same calls of the same process."""
import bisect
import json
import os
import subprocess

from harness import HERE, TENON, Program, Skip, code, main, maps, need, same, test, until

SOURCES = os.path.dirname(os.path.abspath(__file__))
ROWS = 24
# Numbers of stacks, which each side has chosen itself.
IDS = (10, 11, 12, 16, 18, 19)
MAPS = ("stacks", "shallow", "one")
FRAMES = ("0", "1", "-1", "circle", "pair", "edge", "last", "odd", "0x800000000000", "0xffffffff81000000", "0x10008", "4096")
WALKS = ("plain", "deep 3", "deep 125", "deep 126", "deep 1000", "thread", "signal", "bare")


def build(room, *flags, compiler="gcc"):
    need(compiler)
    path = room.path("host")
    done = subprocess.run([compiler, "-O2", "-g", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-pthread", *flags, "-o", path,
                           os.path.join(SOURCES, "ustack.c")], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skip(f"{compiler} {' '.join(flags)}: {done.stderr.decode().splitlines()[-1]}")
    return path


class Host(Program):
    def __init__(self, room, *flags, **how):
        self.path = build(room, *flags, **how)
        super().__init__(room, [self.path])
        same(self.ask("plain"), "done")
        self.symbols, self.tools = {}, 0
        for line in room.run(["nm", "-S", self.path]).splitlines():
            words = line.split()
            if len(words) == 4:
                self.symbols[words[3]] = (int(words[0], 16), int(words[1], 16))
        with open(f"/proc/{self.pid}/maps") as file:
            first = next(line for line in file if line.rstrip().endswith(self.path))
        with open(self.path, "rb") as file:
            kind = file.read(18)[16] # 3: it may be anywhere
        self.text = code(self.pid, self.path)
        self.base = int(first.split("-")[0], 16) if kind == 3 else 0

    def name(self, ip):
        for name, (start, size) in self.symbols.items():
            if start <= ip - self.base < start + max(size, 1):
                return name
        return None

    def names(self, row):
        return [self.name(ip) for ip in stack(row)]


class Tool(Program):
    """The tool at one place, by us or by the kernel."""

    def __init__(self, room, host, ours, kind, name):
        words = [os.path.join(HERE, "targets-ustack-tool"), os.path.join(HERE, "ustack.bpf.o"), str(host.pid), host.path, kind, name]
        self.room, self.host = room, host
        whom = "--host" if kind in ("fentry", "fexit") else "-p"
        super().__init__(room, [TENON, "run", whom, str(host.pid), "--", *words] if ours else words)
        said = self.answer(60)
        if said != "ready" and not ours:
            raise Skip(f"the kernel: {said}")
        same(said, "ready", f"{kind} {name}")
        host.tools += 1

    def look(self, what):
        """The rows after one call, and with them the stacks that the three maps have."""
        same(self.host.ask(what), "done", what)
        rows = json.loads(self.ask("rows"))
        kept = {name: {key: json.loads(self.ask(f"at {name} {key}")) for key in json.loads(self.ask(f"keys {name}"))} for name in MAPS}
        for name in MAPS:
            for key in kept[name]:
                same(json.loads(self.ask(f"delete {name} {key}"))[0], 0, "delete")
        return rows, kept

    def end(self):
        self.process.stdin.close()
        same(self.process.wait(20), 0, "status of the tool")
        self.process.stdout.close()
        self.room.processes.remove(self.process)
        self.host.tools -= 1
        if not self.host.tools: # the kernel's next breakpoint must not come into a jump that is about to go
            until(lambda: code(self.host.pid, self.host.path) == self.host.text)


def stack(row):
    return row[1:1 + max(row[0], 0) // 8]


def looks(room, host, ours, kind, name, whats):
    tool = Tool(room, host, ours, kind, name)
    seen = {what: tool.look(what) for what in whats}
    tool.end()
    return seen


def check_ids(rows, kept):
    """Each number leads to what bpf_get_stack has seen."""
    same([rows[11][0], rows[12][0]], [rows[10][0]] * 2, "the same stack, by its words and by its hash")
    for row, name, skip, most in ((10, "stacks", 0, 127), (16, "stacks", 1, 127), (18, "shallow", 0, 3), (19, "shallow", 2, 3)):
        wanted = stack(rows[0])[skip:skip + most]
        if not wanted:
            same(rows[row][0], -14, f"row {row}")
        elif rows[row][0] != -17: # the number of another one, too
            same(stack([8 * most] + kept[name][rows[row][0]][1:]), wanted + [0] * (most - len(wanted)), f"row {row}")


def compare(room, host, kind, name, whats):
    """What both have seen; it must be the same."""
    if kind == "entry" and tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2]) < (6, 12):
        raise Skip("before Linux 6.12 a stack lacks the caller of the function that is entered")
    theirs, ours = (looks(room, host, who, kind, name, whats) for who in (False, True))
    for what in whats:
        (rows, kept), (our_rows, our_kept) = theirs[what], ours[what]
        for k in range(ROWS):
            if k in IDS:
                assert -17 in (rows[k][0], our_rows[k][0]) or (rows[k][0] >= 0) == (our_rows[k][0] >= 0), \
                    f"{kind} {name}, {what}, row {k}: {our_rows[k][0]}"
            elif our_rows[k] != rows[k]:
                raise AssertionError(f"{kind} {name}, {what}, row {k}: {our_rows[k][0]} {host.names(our_rows[k])} "
                                     f"instead of {rows[k][0]} {host.names(rows[k])}")
        for who in (kept, our_kept):
            for row in [r for m in who.values() for r in m.values()]:
                same(row[0], 0, "look-up")
        same(our_kept["one"], kept["one"], f"{kind} {name}, {what}, map one")
        check_ids(our_rows, our_kept)
    return {what: ours[what][0] for what in whats}


def behind_frame(host):
    """An offset into hooked at which its frame is made: behind mov %rsp,%rbp."""
    start, size = host.symbols["hooked"]
    with open(host.path, "rb") as file: # where text is at its own address
        function = file.read()[start:start + size]
    return function.index(b"\x48\x89\xe5") + 3


@test("at entries, offsets and exits, as deep as it goes, in threads and handlers: word for word what the kernel answers", seconds=120)
def _(room):
    host = Host(room)
    whats = [what for what in WALKS if what != "bare"]
    rows = compare(room, host, "entry", "hooked", whats)
    same(host.names(rows["plain"][0])[:4], ["hooked", "middle", "outer", "main"])
    same(host.names(rows["deep 3"][0])[:9], ["hooked", "middle", "outer"] + ["deep"] * 4 + ["main", None])
    same([rows["deep 1000"][0][0], rows["deep 1000"][1][0]], [127 * 8, 126 * 8])
    same(host.names(rows["signal"][0])[:4], ["hooked", "middle", "outer", None]) # on_signal has jumped there
    compare(room, host, "entry", "hooked+1", ["plain", "thread"])
    rows = compare(room, host, "entry", f"hooked+{behind_frame(host)}", ["plain", "deep 1000"])
    same(host.names(rows["plain"][0])[:4], ["hooked", "middle", "outer", "main"])
    rows = compare(room, host, "exit", "hooked", whats)
    same(host.names(rows["plain"][0])[:3], ["middle", "outer", "main"])
    compare(room, host, "exit", "outer", ["plain", "thread", "signal"])


@test("frame pointers that lead nowhere, or in circles")
def _(room):
    host = Host(room)
    rows = compare(room, host, "entry", "hooked", [f"frame {how}" for how in FRAMES])
    same({what.split()[1]: rows[what][0][0] // 8 for what in rows},
         dict({how: 2 for how in FRAMES}, circle=127, pair=127, last=3, odd=3))
    same(host.ask("plain"), "done")


def compare_bare(room, host, function, what):
    theirs, ours = (looks(room, host, who, "entry", function, [what])[what][0] for who in (False, True))
    same(host.names(ours[0])[:4], [function, "middle", "outer", "main"])
    same(host.names(theirs[0])[:3], [function, "outer", "main"])
    same(stack(ours[0])[2:], stack(theirs[0])[1:])


@test("at a function without a frame: the caller, whom Linux does not see")
def _(room):
    host = Host(room)
    compare_bare(room, host, "leaf", "bare")
    rows = compare(room, host, "exit", "leaf", ["bare"])["bare"]
    same(host.names(rows[0])[:3], ["middle", "outer", "main"])


@test("behind endbr64, where the frame is about to be made")
def _(room):
    host = Host(room, "-fcf-protection=branch")
    rows = compare(room, host, "entry", "hooked+4", ["plain"])
    same(host.names(rows["plain"][0])[:4], ["hooked", "middle", "outer", "main"])
    compare_bare(room, host, "hooked", "plain")


@test("at a static probe, and at a system call")
def _(room):
    host = Host(room)
    rows = compare(room, host, "usdt", "ustack:passed", ["probe"])
    same(host.names(rows["probe"][0])[:3], ["middle", "outer", "main"])
    theirs, ours = (looks(room, host, who, "call", "getppid", ["asked"])["asked"] for who in (False, True))
    for k in (0, 1, 2, 4, 5, 6, 7, 8, 9):
        same(ours[0][k], theirs[0][k], f"row {k}")
    same(host.names(ours[0][0])[1:3], ["main", None]) # syscall(2) makes no frame; middle and outer have jumped on
    assert theirs[0][3][0] > 0, "the kernel's own stack"
    same([ours[0][k][0] for k in (3, 13, 14)], [0, -14, -14], "which nobody has here")


@test("programs that know the function by its type: what a probe at the same place sees")
def _(room):
    host = Host(room)
    for kind, plain in (("fentry", "entry"), ("fexit", "exit")):
        typed, probe = (looks(room, host, True, how, "hooked", ["plain", "deep 130", "thread", "signal"]) for how in (kind, plain))
        for what, (rows, kept) in typed.items():
            check_ids(rows, kept)
            for k in set(range(ROWS)) - set(IDS):
                same(rows[k], probe[what][0][k], f"{kind}, {what}, row {k}")


@test("Go: the goroutine's own stack, while hooks run on ours")
def _(room):
    host = Program(room, [os.path.join(HERE, "targets-go")]) if os.path.exists(os.path.join(HERE, "targets-go")) else None
    if not host:
        raise Skip("there is no compiler of Go (golang-go)")
    host.path = os.path.join(HERE, "targets-go")
    host.text, host.tools = code(host.pid, host.path), 0
    rows = [line.split() for line in room.run(["nm", "-n", host.path]).splitlines()]
    symbols = [(int(words[0], 16), words[2]) for words in rows if len(words) == 3 and words[1] in "tT"]
    seen = []
    for who in (False, True):
        tool = Tool(room, host, who, "entry", "main.leaf")
        host.ask("calls 4 300", 60)
        kept = [json.loads(tool.ask(f"at stacks {key}"))[1:] for key in json.loads(tool.ask("keys stacks"))]
        seen.append({tuple(symbols[bisect.bisect(symbols, (ip, "~")) - 1][1] for ip in row if ip) for row in kept})
        tool.end()
    theirs, ours = ({row for row in rows if row[0] == "main.leaf"} for rows in seen) # and not from the second address on
    print(f"# {ours}")
    same({row[:1] + row[2:] for row in ours}, theirs, "Linux does not see the caller")
    assert ours
    for row in ours:
        assert row[1].startswith("main.") and row[-1].startswith("runtime.goexit"), row


@test("a static, position-dependent program; one of musl")
def _(room):
    for how in (dict(flags=["-static", "-no-pie"]), dict(flags=[], compiler="musl-gcc")):
        try:
            host = Host(room, *how["flags"], compiler=how.get("compiler", "gcc"))
        except Skip as skip:
            print(f"# left out: {skip}")
            continue
        rows = compare(room, host, "entry", "hooked", ["plain", "deep 200", "thread", "signal"])
        same(host.names(rows["plain"][0])[:4], ["hooked", "middle", "outer", "main"])


@test("two links at one place, and one at the exit: each sees the host's stack only")
def _(room):
    host = Host(room)
    tools = [Tool(room, host, True, "entry", "hooked"), Tool(room, host, True, "entry", "hooked"), Tool(room, host, True, "exit", "hooked")]
    kernel = Tool(room, host, False, "entry", "leaf") # meanwhile
    same(host.names(kernel.look("bare")[0][0])[:3], ["leaf", "outer", "main"])
    kernel.end()
    seen = [tool.look("plain") for tool in tools]
    for rows, kept in seen:
        check_ids(rows, kept)
    same(seen[0][0][0], seen[1][0][0])
    same(stack(seen[2][0][0]), stack(seen[0][0][0])[1:])
    for tool in tools:
        tool.end()


@test("signals that interrupt code of ours: their handlers' stacks lead through to the host's, and show nothing of ours")
def _(room):
    host = Host(room)
    busy = Tool(room, host, True, "entry", "hooked") # a program that takes its time
    seen = Tool(room, host, True, "entry", "sampled")
    for how in ("storm", "storm alt"):
        samples, foreign = (int(word) for word in host.ask(how).split())
        stacks = [[ip for ip in json.loads(seen.ask(f"at stacks {key}"))[1:] if ip] for key in json.loads(seen.ask("keys stacks"))]
        rows = [line.split() for line in maps(host.pid)]
        files = [[int(end, 16) for end in words[0].split("-")] for words in rows if words[-1][0] == "/" and "memfd:" not in words[-1]]
        strange = [hex(ip) for row in stacks for ip in row if not any(start <= ip < end for start, end in files)]
        print(f"# {how}: {samples} samples, {foreign} in code of ours, {len(stacks)} different stacks")
        same(strange, [], how)
        assert foreign > 50 and stacks, how
        same({row[-1] for row in stacks}, {stacks[0][-1]}, "the thread's beginning")
        names = [[host.name(ip) for ip in row] for row in stacks]
        assert all("on_timer" in row[:2] for row in names) and any("outer" in row and "main" in row for row in names), (how, names)
    for tool in (busy, seen):
        tool.end()


@test("maps of stacks from user space: as the kernel's, and as bpftool shows them")
def _(room):
    host = Host(room)
    answers = {}
    for ours in (False, True):
        tool = Tool(room, host, ours, "entry", "hooked")
        same(host.ask("plain"), "done")
        key = json.loads(tool.ask("keys one"))
        same(key, [0])
        answers[ours] = [json.loads(tool.ask(line))[0] for line in (
            "update one 0", "update stacks 5000", "at one 1", "at stacks 1024", "delete stacks 1024", "delete one 1", "take one 0",
            "delete one 0", "delete one 0", "at one 0")]
        if ours:
            ids = json.loads(tool.ask("keys stacks"))
            row = next(row for row in room.map_rows() if row["name"] == "stacks")
            dump = json.loads(room.run([TENON, "run", "--", "bpftool", "-j", "map", "dump", "id", str(row["id"])]))
            same(sorted(int.from_bytes(bytes(int(b, 16) for b in e["key"]), "little") for e in dump), ids)
            show = json.loads(room.run([TENON, "run", "--", "bpftool", "-j", "map", "show", "id", str(row["id"])]))
            same([show["type"], show["bytes_key"], show["bytes_value"], show["max_entries"]], ["stack_trace", 4, 1016, 1000])
        tool.end()
    same(answers[True], answers[False])


main()
