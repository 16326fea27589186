# SPDX-License-Identifier: MIT
"""Whom: with neither a process nor a command named, every process of the file, those that come later too."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import HERE, TENON, Nobody, Skip, alive, broker, children, code, fds, main, maps, need, same, test, until

LATER, STATIC, LIB = (os.path.join(HERE, "targets-later" + end) for end in ("", "-static", "-lib.so"))


def need_watch():
    if os.geteuid() != 0:
        raise Skip("only root may watch for exec")


def attach(room, name, **how):
    need_watch()
    link = room.attach(name, nlinks=1, **how)
    same([row["watched"] for row in room.links() if row["id"] in link.ids], [True], "watched")
    return link


def named(room, name):
    """Our processes of this name below the broker."""
    found = []
    for pid in children(broker(room)):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() == name:
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended since it was listed
    return found


@test("started after the link: counted from its first call, static and dynamic")
def _(room):
    for name, path in (("later", LATER), ("later_static", STATIC)):
        link, total = attach(room, name), 0
        for words in (["call", "7"], ["again", "5", "3"], ["thread", "11"], ["fork", "3", "2"], ["into", "2", "true"]):
            total += {"call": 7, "again": 18, "thread": 11, "fork": 8, "into": 2}[words[0]]
            room.run([path, *words])
            same(link.calls(), total, " ".join(words))
        same(link.missed(), 0, "missed")
        link.detach()
        room.run([path, "call", "7"])


class Watching(threading.Thread):
    """Injectors below the broker while a link is made: all that were seen, the first `kills` of which are killed."""

    def __init__(self, room, kills=0):
        super().__init__(daemon=True)
        self.broker, self.kills, self.seen, self.over = broker(room), kills, set(), False

    def run(self):
        while not self.over:
            for pid in children(self.broker):
                with contextlib.suppress(OSError):
                    with open(f"/proc/{pid}/comm") as file:
                        if file.read().strip() != "tenon-inject" or pid in self.seen:
                            continue
                    if len(self.seen) < self.kills:
                        time.sleep(0.02)
                        os.kill(pid, signal.SIGKILL)
                    self.seen.add(pid)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


@test("many that run already: entered by a few copies of the broker, which are gone afterwards; killed, each costs one process at most",
      seconds=180)
def _(room):
    programs = [serve(room) for _ in range(41)]
    text = [code(program.pid, LATER) for program in programs]
    first = room.attach("later", programs.pop().pid) # there is a broker
    for kills in (0, 3):
        with Watching(room, kills) as watching:
            link = attach(room, "later")
        if not kills:
            assert 0 < len(watching.seen) <= 4, watching.seen
        until(lambda: not named(room, "tenon-inject"))
        for program in programs:
            same(program.ask("call 10"), "10")
        counts = link.by_pid()
        same(set(counts.values()), {10}, "calls of each that was entered")
        assert len(programs) - kills <= len(counts) <= len(programs), f"{len(counts)} of {len(programs)}, {kills} injectors killed"
        print(f"# {len(watching.seen)} injectors, {kills} of them killed: {len(counts)} of {len(programs)} entered")
        link.detach()
    first.detach()
    for program, before in zip(programs, text):
        until(lambda: code(program.pid, LATER) == before) # pylint: disable=cell-var-from-loop


@test("storms of starts: none is lost, none fails, each call is counted", seconds=120)
def _(room):
    link, total = attach(room, "later"), 0
    for kind in ("fork", "vfork", "spawn", "thread"):
        total += int(room.run([LATER, "storm", kind, "8", "150", "3"], seconds=60))
        same(link.calls(), total, kind)
    link.detach()


def serve(room):
    program = room.program_of([LATER, "serve", LIB])
    same(program.ask("call 0"), "0") # the exec is over
    return program


@test("a library loaded later, closed and loaded again: its constructor's call counts, and each one after")
def _(room):
    program = serve(room)
    link, total = attach(room, "later_lib"), 0
    for line in ("dlopen 1 3", "dlopen 40 5"):
        total += int(program.ask(line))
        same(link.calls(), total, line)
    program.ask("open")
    total += 1 + int(program.ask("lib 100"))
    same(link.calls(), total, "kept open")
    link.detach()
    program.ask("lib 100")
    program.ask("close")
    program.ask("dlopen 3 3")


@test("a library loaded while another thread calls and is hooked: neither misses anything, nothing of ours grows")
def _(room):
    program = serve(room)
    calls = attach(room, "later")
    link = attach(room, "later_lib")
    program.ask("dlopen 3 5")
    program.ask("busy 1")
    before, wanted = len(maps(program.pid)), link.calls()
    for _ in range(6):
        wanted += int(program.ask("dlopen 50 5"))
        same(link.calls(), wanted, "calls of the library")
    assert len(maps(program.pid)) <= before + 2, "mappings grow"
    wanted = int(program.ask("busy 0"))
    same(calls.calls(), wanted, "calls beside it")
    link.detach()
    calls.detach()


@test("mapped by somebody who was there, loaded by one who comes: one link, both; files that are only read go on")
def _(room):
    program = serve(room)
    program.ask("open")
    link = attach(room, "later_lib")
    second = serve(room)
    second.ask("open")
    with open(LIB, "rb") as file:
        assert len(file.read()) > 1000
    room.run(["cksum", LIB])
    same(int(program.ask("lib 10")) + int(second.ask("lib 20")) + 1, link.calls(), "calls")
    rows = [row for row in room.links() if row["id"] in link.ids]
    same(rows[0]["targets"], 2, "targets")
    link.detach()


def storm(room, kind, total=150, calls=3):
    return room.start([LATER, "storm", kind, "8", str(total), str(calls)], stdout=subprocess.PIPE, text=True)


def weather(process, seconds=60):
    """What a storm has called, once it is over and nothing went wrong."""
    out, _ = process.communicate(timeout=seconds)
    same(process.returncode, 0, f"a storm's end ({out})")
    return int(out)


@test("links come and go in the middle of storms: nobody fails or hangs, the one that stays has them all", seconds=180)
def _(room):
    stays, total = attach(room, "later"), 0
    for kind in ("fork", "vfork", "thread"):
        process = storm(room, kind)
        while process.poll() is None:
            attach(room, "later").detach()
        total += weather(process)
        same(stays.calls(), total, kind)
    stays.detach()
    same([row for row in room.links()], [], "links")


@test("the watcher is killed in the middle of storms: everybody goes on, and later ones are seen again", seconds=120)
def _(room):
    link = attach(room, "later")
    for kind in ("fork", "spawn"):
        process = storm(room, kind)
        for _ in range(3):
            time.sleep(0.05)
            for pid in named(room, "tenon-watcher"):
                os.kill(pid, signal.SIGKILL)
        assert weather(process) == 450
        until(lambda: named(room, "tenon-watcher"))
        before = link.calls()
        assert before <= 900
        room.run([LATER, "call", "5"])
        same(link.calls(), before + 5, "calls of one that came afterwards")
    link.detach()


@test("a watcher that is killed again and again: given up, and that is said, until a new link has a new one")
def _(room):
    link = attach(room, "later")
    end = time.monotonic() + 40
    while room.links()[0]["watched"]:
        assert time.monotonic() < end, "never given up"
        for pid in named(room, "tenon-watcher"):
            os.kill(pid, signal.SIGKILL)
    assert "again and again" in room.tenon("show")
    room.run([LATER, "call", "2"])
    same(link.calls(), 0, "calls while nobody watches")
    second = attach(room, "later")
    room.run([LATER, "call", "2"])
    same((link.calls(), second.calls()), (2, 2), "calls")
    assert all(row["watched"] for row in room.links())
    second.detach()
    link.detach()


@test("the broker is killed in the middle of a storm: nobody fails or hangs, nothing of ours stays", seconds=120)
def _(room):
    for kind in ("fork", "thread"):
        attach(room, "later")
        process = storm(room, kind, 300)
        time.sleep(0.2)
        pid = broker(room)
        ours = children(pid)
        os.kill(pid, signal.SIGKILL)
        weather(process)
        until(lambda: not any(alive(pid) for pid in ours))


@test("a broker that does not answer holds up nobody for long")
def _(room):
    link = attach(room, "later")
    pid = broker(room)
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    room.run([LATER, "call", "3"])
    first = time.monotonic() - start
    room.run([LATER, "storm", "fork", "8", "100", "3"])
    rest = time.monotonic() - start - first
    os.kill(pid, signal.SIGCONT)
    assert first < 3.5, f"{first} s"
    assert rest < 3, f"{rest} s"
    until(lambda: room.run([LATER, "call", "5"]) == "" and link.calls() >= 5)
    before = link.calls()
    room.run([LATER, "call", "5"])
    same(link.calls(), before + 5, "calls once it answers again")
    link.detach()


@test("an exec that fails: its process goes on, unheld, and is hooked where it was")
def _(room):
    need("gcc")
    link = attach(room, "later")
    other = room.path("other")
    with open(LATER, "rb") as file:
        image = bytearray(file.read())
    image[18] = 183 # another machine's
    with open(other, "wb") as file:
        file.write(image)
    os.chmod(other, 0o755)
    same(room.run([LATER, "fail", "4", other]), "", "output")
    same(link.calls(), 4, "calls")
    link.detach()


@test("two hundred of a binary, those there and one that comes: attached to all at once, out of all at once", seconds=120)
def _(room):
    need_watch()
    programs = [room.program_of([LATER, "serve", LIB]) for _ in range(200)]
    until(lambda: all(os.readlink(f"/proc/{program.pid}/exe") == LATER for program in programs))
    start = time.monotonic()
    link = attach(room, "later")
    took = time.monotonic() - start
    print(f"# two hundred entered in {took * 1000:.0f} ms, {link.rows[0]['attach_ns'] / 1e6:.0f} ms of it attaching")
    same(link.rows[0]["targets"], 200, "targets")
    programs.append(serve(room))
    for program in programs:
        program.ask("call 3")
    same(link.calls(), 603, "calls")
    link.detach()
    until(lambda: len({code(program.pid, LATER) for program in programs}) == 1, seconds=30) # gates closed at once, bytes after that


@test("a fork child of a hooked process: counted by its parent's link, and by that and a new one once it is entered too")
def _(room):
    program = serve(room)
    text = code(program.pid, LATER)
    first = attach(room, "later")
    child = int(program.ask("fork"))
    program.ask("child 100")
    same(first.calls(), 100, "calls of a child that was not entered")
    second = attach(room, "later")
    until(lambda: [row["targets"] for row in room.links()] == [2, 2])
    program.ask("child 100")
    program.ask("call 10")
    same((first.calls(), second.calls()), (210, 110), "calls of both links")
    second.detach()
    program.ask("child 100")
    same(first.calls(), 310, "calls once the new one is gone")
    first.detach()
    same(program.ask("child 5"), "5", "the child's own count")
    for pid in (program.pid, child):
        until(lambda pid=pid: code(pid, LATER) == text)


@test("a fork child that was never entered has its own bytes again once no link follows")
def _(room):
    program = serve(room)
    text = code(program.pid, LATER)
    link = attach(room, "later")
    child = int(program.ask("fork"))
    assert code(child, LATER) != text
    link.detach()
    same(program.ask("child 5"), "5", "the child's own count")
    until(lambda: code(child, LATER) == text)
    link = attach(room, "later")
    program.ask("child 5")
    same(link.calls(), 5, "calls of the next link")
    link.detach()


@test("a library mapped at the start, with and without a link to the program: from its constructor on")
def _(room):
    preloaded = dict(room.env, LD_PRELOAD=LIB)
    library = attach(room, "later_lib")
    for total in range(1, 21):
        room.run([LATER, "call", "2"], env=preloaded)
        same(library.calls(), total, "calls of the library")
    program = attach(room, "later")
    for total in range(1, 21):
        room.run([LATER, "call", "2"], env=preloaded)
        same((library.calls(), program.calls()), (20 + total, 2 * total), "calls of library and program")
    program.detach()
    library.detach()


@test("one that somebody else traces goes on as it was, and the link says that it is not there")
def _(room):
    need("strace")
    link = attach(room, "later")
    room.run(["strace", "-f", "-o", "/dev/null", LATER, "again", "3", "2"])
    slow = room.start(["strace", "-f", "-o", "/dev/null", LATER, "serve", LIB], stdin=subprocess.PIPE)
    until(lambda: "[already_traced]" in room.tenon("show"))
    slow.stdin.close()
    same(slow.wait(10), 0, "status")
    same(link.calls(), 0, "calls")
    room.run([LATER, "call", "2"])
    same(link.calls(), 2, "calls")
    link.detach()


@test("an ordinary user: what runs is extended, and it is said that later processes are not seen")
def _(room):
    him = Nobody(room, "targets-later", "later.bpf.o")
    program = room.program_of([*him.words, room.path("targets-later"), "serve", LIB], env=him.env)
    same(program.ask("call 1"), "1")
    him.tenon("attach", "--keep", room.path("later.bpf.o"))
    assert "[not_watched]" in room.err and "CAP_SYS_ADMIN" in room.err, room.err
    row, = json.loads(him.tenon("ls", "--json"))
    same((row["watched"], row["targets"]), (False, 1), "link")
    assert "later ones are not seen" in him.tenon("ls")
    assert "CAP_SYS_ADMIN" in him.tenon("show")
    program.ask("call 10")
    him.room.run([*him.words, room.path("targets-later"), "call", "5"], env=him.env)
    same(him.tenon("map", "lookup", "calls", "0").strip(), "10", "calls")
    him.tenon("detach", "--all")
    assert "later" in him.tenon("doctor", status=None)


@test("a set-user-ID program: keeps its rights and is extended under root; refused by name to others")
def _(room):
    him = Nobody(room, "targets-later", "later.bpf.o")
    path = room.path("targets-later")
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        raise Skip("this file system gives no rights")
    os.chmod(path, 0o4755)
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    link = attach(room, "later")
    same(room.run([*him.words, path, "into", "4", "id", "-u"]).strip(), "0", "effective user")
    same(link.calls(), 4, "calls")
    link.detach()
    him.tenon("attach", room.path("later.bpf.o"), "--", path, "call", "3", status=1)
    assert "[setuid_program]" in room.err, room.err
    program = room.program_of([*him.words, path, "serve", LIB])
    same(program.ask("call 1"), "1")
    him.tenon("attach", "-p", str(program.pid), room.path("later.bpf.o"), status=1)
    assert "[setuid_program]" in room.err, room.err
    same(program.ask("call 1"), "1")


@test("a 32-bit program: refused by name")
def _(room):
    with open(LATER, "rb") as file:
        image = bytearray(file.read())
    image[4] = 1
    with open(room.path("targets-later"), "wb") as file:
        file.write(image)
    os.chmod(room.path("targets-later"), 0o755)
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    room.tenon("attach", os.path.join(HERE, "later.bpf.o"), status=1)
    assert "[elf_32bit]" in room.err, room.err


@test("in other namespaces of mounts, processes and users: the file is what counts")
def _(room):
    need("unshare")
    link, total = attach(room, "later"), 0
    for words in (["--mount"], ["--mount", "--pid", "--fork"], ["--user", "--map-root-user"], ["--net", "--ipc", "--uts"]):
        if subprocess.run(["unshare", *words, "true"], check=False).returncode:
            raise Skip(f"unshare {' '.join(words)} is not permitted here")
        room.run(["unshare", *words, LATER, "again", "2", "3"])
        total += 9
        same(link.calls(), total, " ".join(words))
    link.detach()


@test("replaced by a new file of the same name: the link stays with the old one, a new link is of the new one")
def _(room):
    path = room.path("targets-later")
    shutil.copy(LATER, path)
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    link = attach(room, "later")
    old = room.program_of([path, "serve", LIB])
    same(old.ask("call 5"), "5")
    shutil.copy(LATER, path + ".new")
    os.rename(path + ".new", path)
    room.run([path, "call", "3"])
    same(link.calls(), 5, "calls of the old link")
    second = attach(room, "later")
    room.run([path, "call", "3"])
    same(old.ask("call 5"), "5")
    same((link.calls(), second.calls()), (10, 3), "calls")
    second.detach()
    link.detach()


def grown(pid):
    """What a process of ours has that could grow: descriptors, memory in KiB, children."""
    with open(f"/proc/{pid}/status") as file:
        memory = int(next(line for line in file if line.startswith("VmRSS")).split()[1])
    return len(fds(pid)), memory, len(children(pid))


ROUNDS = int(os.environ.get("TENON_ROUNDS", "40"))


@test("links that come and go and processes too: broker, watcher and process do not grow", seconds=120 + ROUNDS)
def _(room):
    rounds = ROUNDS
    program = serve(room)
    words = [TENON, "attach", "--keep", os.path.join(HERE, "later.bpf.o")]
    room.run(words)
    pid = broker(room)
    seen = []
    for number in range(rounds):
        room.run(words)
        room.run([LATER, "call", "1"])
        for row in room.links()[1:]:
            room.tenon("detach", str(row["id"]))
        if number in (rounds // 4, rounds - 1):
            until(lambda: len(children(pid)) <= 2) # the watcher, and the guardian of the one that stays
            watcher, = named(room, "tenon-watcher")
            if not seen:
                time.sleep(1)

            def as_many(): # descriptors of broker and watcher; some are on their way out
                now = (*grown(pid), *grown(watcher), len(maps(program.pid)), len(fds(program.pid)))
                return now if not seen or (now[0], now[3]) == (seen[0][0], seen[0][3]) else None
            seen.append(until(as_many))
    first, last = seen
    if not any("libasan" in line for line in maps(pid)): # which keeps what is freed
        assert last[1] - first[1] < 512 + rounds // 20 and last[4] - first[4] < 256, f"memory: {seen}"
    assert last[6] - first[6] <= 2 and last[7] == first[7], f"mappings and descriptors of the process: {seen}"
    room.tenon("detach", "--all")


main()
