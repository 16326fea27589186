# SPDX-License-Identifier: MIT
"""Whom: programs of every make and in every confinement, entered live and from their start, counted exactly, and left as they
were; and those that cannot be entered, refused by name and unharmed."""
import contextlib
import os
import re
import shutil
import subprocess
import time

from harness import (HERE, Attached, Nobody, Refused, Skip, alive, children, code, fds, main, need, same, test,
                     until)

SOURCES = os.path.dirname(os.path.abspath(__file__))
LATER, LIB, WHOM = (os.path.join(HERE, "targets-" + name) for name in ("later", "later-lib.so", "whom"))


def build(room, words, source="later.c", name="targets-later", flags=("-O2", "-pthread", "-DSERVES", "-rdynamic"),
          quiet="-w"):
    """A program of this name, made by a compiler of this test's choice, first in PATH."""
    need(words[0])
    path = room.path(name)
    done = subprocess.run([words[0], *flags, *words[1:], quiet, os.path.join(SOURCES, source), "-o", path],
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Skip(f"{' '.join(words)}: {done.stderr.decode().strip().splitlines()[-1]}")
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    return path


def own_object(room, place, *flags):
    """counter.bpf.c for a place that only this test knows."""
    need("clang")
    path = room.path("own.bpf.o")
    room.run(["clang", "-target", "bpf", "-O2", "-g", "-I/usr/include/x86_64-linux-gnu", f'-DSECTION="{place}"', *flags, "-c",
              os.path.join(SOURCES, "counter.bpf.c"), "-o", path])
    return path


def serve(room, path):
    program = room.program_of([path, "serve", LIB])
    same(program.ask("call 0"), "0")
    return program


def whole(room, path, live="later"):
    """Entered while it runs and calls from a second thread, its children too; then from its start."""
    program = serve(room, path)
    text, files = code(program.pid, path), fds(program.pid)
    for _ in range(3):
        link = room.attach(live, program.pid)
        same(program.ask("call 100"), "100")
        same((link.calls(), link.missed()), (100, 0), "calls")
        same(fds(program.pid), files, "descriptors")
        link.detach()
        until(lambda: code(program.pid, path) == text)
    program.ask("busy 1")
    for _ in range(5):
        room.attach(live, program.pid).detach()
    link = room.attach(live, program.pid, options=["--follow"])
    program.ask("fork")
    seen = link.calls()
    program.ask("child 1000")
    assert link.calls() >= seen + 1000, (seen, link.calls())
    assert int(program.ask("busy 0")) > 0
    before = link.calls()
    program.ask("call 10")
    same((link.calls(), link.missed()), (before + 10, 0), "calls, the children's among them")
    link.detach()
    until(lambda: code(program.pid, path) == text)
    link = room.attach_start(live, [path, "thread", "7"])
    same(link.process.wait(20), 0, "status")
    link = room.attach_start(live, [path, "call", "50"], options=["--keep"])
    same(link.process.wait(20), 0, "status")
    same(link.calls(), 50, "calls from the start on")
    room.tenon("detach", "--all")


MAKES = {
    "glibc, not position-independent": ["gcc", "-no-pie"],
    "glibc, static": ["gcc", "-static"],
    "glibc, static and position-independent": ["gcc", "-static-pie"],
    "glibc, for shadow stacks and landing places": ["gcc", "-fcf-protection=full"],
    "glibc, not optimised": ["gcc", "-O0"],
    "glibc, without unwind information": ["gcc", "-fno-asynchronous-unwind-tables"],
    "glibc, calls through a table bound at the start, sections apart": ["gcc", "-Wl,-z,now,-z,separate-code,-z,relro"],
    "clang": ["clang"],
    "clang, for landing places": ["clang", "-fcf-protection=full"],
    "under AddressSanitizer": ["gcc", "-fsanitize=address"],
    "under ThreadSanitizer": ["clang", "-fsanitize=thread"],
    "profiled (gprof), with room for patches at its entries": ["gcc", "-pg", "-fpatchable-function-entry=16"],
    "musl": ["musl-gcc"],
    "musl, static": ["musl-gcc", "-static"],
    "musl, static and position-independent": ["musl-gcc", "-static-pie"],
}
for what, words in MAKES.items():
    @test(what, seconds=60)
    def _(room, words=words):
        # The program's own races are known, and gprof's account is to go with the room.
        room.env.update(TSAN_OPTIONS="report_bugs=0", GMON_OUT_PREFIX=room.path("gmon"))
        whole(room, build(room, words))


@test("stripped: by its dynamic symbols; with none left refused by name, and unharmed")
def _(room):
    whole(room, build(room, ["gcc", "-s"]))
    program = serve(room, build(room, ["gcc", "-s", "-static"]))
    room.refused("later", [program.pid], [], "[no_symbol")
    same(program.ask("call 10"), "10")


@test("threads that no libc has made, without a thread area: a run for each, none missed")
def _(room):
    path = build(room, ["gcc", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fcf-protection=none"],
                 "bare.c", "targets-whom", ("-O2",))
    program = room.program_of([path])
    same(program.ask("100"), "100")
    text = code(program.pid, path)
    for _ in range(4):
        links = [room.attach(name, program.pid) for name in ("whom", "whom_exit")]
        same(program.ask("5000"), "5000")
        same([(link.calls(), link.missed()) for link in links], [(20000, 0), (20000, 0)], "calls")
        for link in links:
            link.detach()
        until(lambda: code(program.pid, path) == text)
    if os.geteuid() == 0:
        link = room.attach("whom", nlinks=1)
        same(room.program_of([path]).ask("5000"), "5000")
        same((link.calls(), link.missed()), (20000, 0), "calls of one that came later")
        link.detach()


for what, words in {"optimised": ["-O"], "not optimised": ["-Coverflow-checks=on"],
                    "static": ["-O", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"]}.items():
    @test(f"Rust, {what}: threads that panic through hooked functions and are caught, while links stand, come and go")
    def _(room, words=words):
        path = build(room, ["rustc", *words], "panics.rs", "targets-throws", ("--edition=2021",), quiet="-Awarnings")
        program = room.program_of([path])
        same(program.ask("throw 2000"), "1000 2000")
        text = code(program.pid, path)
        names = ("throws", "passes", "catches", "passes_exit", "catches_exit")
        links = [room.attach(name, program.pid) for name in names]
        same(program.ask("throw 2000"), "1000 2000", "while hooked")
        same([link.calls() for link in links], [2000, 2000, 2000, 1000, 2000], "calls")
        same([link.missed() for link in links], [0] * 5, "missed")
        for link in links:
            link.detach()
        until(lambda: code(program.pid, path) == text)
        program.tell("throw 400000")
        rounds = 0
        while not program.answered():
            links = [room.attach(name, program.pid) for name in names[rounds % 2::2]]
            for link in links:
                link.detach()
            rounds += 1
        same(program.answer(), "200000 400000")
        assert rounds > 1, rounds
        until(lambda: code(program.pid, path) == text)


# -------------------------------------------------------------------------------------------------- confined

def awkward(room, kind):
    """One that has become what it is, and called ten times."""
    program = room.program_of([WHOM, kind])
    same(program.ask("10"), "10")
    return program


KINDS = {
    "strict": "that may only read, write and end (SECCOMP_MODE_STRICT)",
    "kills": "whose filter kills for anything but reads and writes",
    "traps": "whose filter sends SIGSYS",
    "one-confined": "of whose threads one has a filter that kills",
    "undumpable": "that may not be dumped",
    "small": "with 128 MiB of address space",
    "mdwe": "that may make no memory executable",
    "tscless": "without a time stamp counter",
}
for kind, what in KINDS.items():
    @test(f"one {what}: live, and on its way there")
    def _(room, kind=kind):
        if os.geteuid() != 0:
            raise Skip("only root may suspend a filter")
        program = awkward(room, kind)
        text, files = code(program.pid, WHOM), fds(program.pid)
        for _ in range(3):
            link = room.attach("whom", program.pid)
            same(program.ask("1000"), "1000")
            if kind != "one-confined":
                same(link.calls(), 1000, "calls")
            assert link.calls() >= 1000
            same(link.missed(), 0, "missed")
            same(fds(program.pid), files, "descriptors")
            link.detach()
            until(lambda: code(program.pid, WHOM) == text)
        same(program.ask("10"), "10")
        link = room.attach("whom", nlinks=1)
        program = awkward(room, kind)
        assert link.calls() >= 10
        link.detach()
        same(program.ask("10"), "10")


def asking(room, *flags, place="uprobe/targets-whom:hooked"):
    """A program whose helpers need system calls, or (-DCLOCKS) the time stamp counter."""
    return own_object(room, place, *(flags or ("-DASKS",)))


@test("programs whose helpers need calls, or the clock, in processes that have confined themselves before: what cannot be answered is not")
def _(room):
    if os.geteuid() != 0:
        raise Skip("only root may suspend a filter")
    for flags, answered in ((["-DASKS"], ("strict", "kills", "traps", "seccomp", "tscless")), (["-DCLOCKS"], ("kills", "traps", "tscless"))):
        words = asking(room, *flags)
        for kind in ("strict", "kills", "traps", "seccomp", "tscless"):
            program = awkward(room, kind)
            link = Attached(room, ["-p", str(program.pid), words], 1)
            same(program.ask("100"), "100", kind)
            if kind != "seccomp" or flags == ["-DASKS"]:
                same(link.calls(), 100 if kind in answered else 0, f"{flags} {kind}: calls")
            link.detach()
            same(program.ask("10"), "10", kind)


LATER_KINDS = ("strict", "kills", "seccomp", "traps", "tscless")
KERNEL = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
BY = {"glibc": None, "glibc, static": ["gcc", "-static"], "musl": ["musl-gcc", *KERNEL], "musl, static": ["musl-gcc", "-static", *KERNEL]}
for by, words in BY.items():
    @test(f"one that confines itself while helpers need calls and the clock ({by}): it lives, they go on with what can be answered",
          seconds=120)
    def _(room, words=words):
        if os.geteuid() != 0:
            raise Skip("only root may suspend a filter")
        if words:
            build(room, words, "whom.c", "targets-whom", ("-O2", "-pthread", "-rdynamic", "-D_GNU_SOURCE"))
        path = room.path("targets-whom") if words else WHOM
        for flags in (["-DASKS"], ["-DCLOCKS"]):
            held = asking(room, *flags, place=f"uprobe/{path}:hooked")
            for kind in LATER_KINDS:
                program = room.program_of([path, f"later-{kind}"])
                link = Attached(room, ["-p", str(program.pid), held], 1)
                same((program.ask("10"), link.calls()), ("10", 10), f"{kind}: calls before")
                same(program.ask("0"), "0", kind)
                same(program.ask("100"), "100", kind)
                clock = kind != "strict" or flags != ["-DCLOCKS"]
                same((link.calls(), link.missed()), (110 if clock else 10, 0), f"{flags} {kind}: calls after")
                other = Attached(room, ["-p", str(program.pid), held], 1)
                same(program.ask("100"), "100", kind)
                same(other.calls(), 100 if clock else 0, f"{flags} {kind}: calls of one that came later")
                other.detach()
                link.detach()
                same(program.ask("10"), "10", kind)


@test("what a filter that comes while helpers need calls allows goes on being asked; what it kills for is not, then and later")
def _(room):
    if os.geteuid() != 0:
        raise Skip("only root may suspend a filter")
    words = asking(room, "-DASKS", "-DNEEDS")
    for kind, answered in (("mild", 100), ("kills", 0), ("seccomp", 0)):
        program = awkward(room, f"later-{kind}")
        link = Attached(room, ["-p", str(program.pid), words], 1)
        same((program.ask("10"), link.calls()), ("10", 10), f"{kind}: before")
        same(program.ask("0"), "0", kind)
        same((program.ask("100"), link.calls()), ("100", 10 + answered), f"{kind}: after")
        other = Attached(room, ["-p", str(program.pid), words], 1)
        same((program.ask("100"), link.calls(), other.calls()), ("100", 10 + 2 * answered, answered), f"{kind}: another")
        other.detach()
        same((program.ask("100"), link.calls()), ("100", 10 + 3 * answered), f"{kind}: without it")
        link.detach()
        link = Attached(room, ["-p", str(program.pid), words], 1)
        same((program.ask("100"), link.calls()), ("100", answered), f"{kind}: anew")
        link.detach()


@test("a filter that kills, put upon all threads at once while they are in helpers that make calls: all live, each call counted",
      seconds=120)
def _(room):
    if os.geteuid() != 0:
        raise Skip("only root may suspend a filter")
    words = asking(room)
    for _ in range(20):
        program = room.program_of([WHOM, "crowd"])
        same(program.ask("1"), "1")
        link = Attached(room, ["-p", str(program.pid), words], 1)
        calls = int(program.ask("0"))
        assert calls > 4 * 1000, calls
        same((link.calls(), link.missed()), (calls, 0), "calls")
        link.detach()
        same(program.ask("5"), "5")
        program.process.kill()


@test("one that confines itself when it was entered once, and nothing stood: whoever is attached after that makes no call that kills")
def _(room):
    if os.geteuid() != 0:
        raise Skip("only root may suspend a filter")
    for flags in (["-DASKS"], ["-DCLOCKS"]):
        words = asking(room, *flags)
        for kind in LATER_KINDS:
            program = awkward(room, f"later-{kind}")
            Attached(room, ["-p", str(program.pid), words], 1).detach()
            same(program.ask("0"), "0", kind)
            link, other = Attached(room, ["-p", str(program.pid), words], 1), room.attach("whom", program.pid)
            same(program.ask("100"), "100", kind)
            clock = kind != "strict" or flags != ["-DCLOCKS"]
            same((link.calls(), other.calls()), (100 if clock else 0, 100), f"{flags} {kind}: calls")
            other.detach()
            link.detach()
            same(program.ask("10"), "10", kind)


@test("threads that share the first one's thread area: each call counted or missed")
def _(room):
    program = awkward(room, "foreign")
    for _ in range(3):
        link = room.attach("whom", program.pid)
        program.ask("1000")
        same(link.calls() + link.missed(), 4000, "calls, and those that were missed")
        link.detach()


@test("one whose system calls are dispatched to itself, as Wine's: refused by name, unharmed; on its way there it counts")
def _(room):
    program = awkward(room, "dispatched")
    text = code(program.pid, WHOM)
    room.refused("whom", [program.pid], [], "[syscalls_dispatched]")
    same(program.ask("100"), "100")
    same(code(program.pid, WHOM), text, "code")
    program.process.kill()
    program.process.wait()
    if os.geteuid() == 0:
        link = room.attach("whom", nlinks=1)
        program = awkward(room, "dispatched")
        same((link.calls(), link.missed()), (10, 0), "calls")
        link.detach()
        same(program.ask("10"), "10")


@test("refused to an ordinary user, by name, and unharmed: one that may not be dumped, one of whose threads has a filter")
def _(room):
    him = Nobody(room, "targets-whom", "whom.bpf.o")
    for kind, reason in (("undumpable", "not_permitted"), ("one-confined", "seccomp")):
        program = room.program_of([*him.words, room.path("targets-whom"), kind], env=him.env)
        same(program.ask("10"), "10")
        him.tenon("attach", "-p", str(program.pid), room.path("whom.bpf.o"), status=1)
        assert f"[{reason}]" in room.err, room.err
        same(program.ask("100"), "100")


class Group:
    """A control group that can be frozen, of either version."""

    def __init__(self):
        for folder, self.switch, self.words in (("/sys/fs/cgroup", "cgroup.freeze", ("0", "1")),
                                                ("/sys/fs/cgroup/freezer", "freezer.state", ("THAWED", "FROZEN"))):
            self.path = f"{folder}/tenon-{os.getpid()}"
            with contextlib.suppress(OSError):
                os.mkdir(self.path)
                if os.path.exists(f"{self.path}/{self.switch}"):
                    return
                os.rmdir(self.path)
        raise Skip("no control group that can be frozen")

    def write(self, name, word):
        with open(f"{self.path}/{name}", "w") as file:
            file.write(word)

    def freeze(self, on):
        self.write(self.switch, self.words[on])
        until(lambda: self.frozen() == on)

    def frozen(self):
        with open(f"{self.path}/{'cgroup.events' if self.switch == 'cgroup.freeze' else self.switch}") as file:
            text = file.read()
        return "frozen 1" in text or text == "FROZEN\n"

    def remove(self):
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
        return not os.path.exists(self.path)


@test("frozen by its control group, where it sleeps uninterruptibly: refused by name, or entered; still frozen; then attached")
def _(room):
    program, group = awkward(room, "plain"), Group()
    text = code(program.pid, WHOM)
    try:
        group.write("cgroup.procs", str(program.pid))
        group.freeze(True)
        start = time.monotonic()
        try:
            room.attach("whom", program.pid, options=["--wait", "300"]).detach()
            print("# entered")
        except Refused as refused:
            print(f"# {refused}")
            assert re.search(r"\[[a-z_]+\]$", str(refused), re.M), refused
        assert time.monotonic() - start < 20
        program.tell("10")
        time.sleep(0.1)
        assert alive(program.pid) and not program.answered(), "it was thawed"
        group.freeze(False)
        same(program.answer(), "10")
        link = room.attach("whom", program.pid)
        same(program.ask("100"), "100")
        same(link.calls(), 100, "calls")
        group.freeze(True) # as `docker pause` does
        start = time.monotonic()
        link.detach()
        assert time.monotonic() - start < 20
        group.freeze(False)
        same(program.ask("100"), "100")
        until(lambda: code(program.pid, WHOM) == text)
        link = room.attach("whom", program.pid)
        same((program.ask("100"), link.calls()), ("100", 100), "calls")
        link.detach()
    finally:
        group.freeze(False)
        program.process.kill()
        program.process.wait()
        until(group.remove)


# ------------------------------------------------------------------------------------------------ containers

NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--user", "--map-root-user", "--fork", "--kill-child"]


def may_unshare(words):
    need("unshare")
    if subprocess.run([*words, "true"], check=False).returncode:
        raise Skip(f"{' '.join(words)} is not permitted here")


def serves(room, words):
    """The first process of a new process namespace, and who obeys us there."""
    program = room.program_of(words)
    same(program.ask("call 0"), "0")
    pid, = children(program.pid)
    return program, pid


@test("a container: all namespaces, a root and a libc of its own, the first of its processes; by name, and all of a file")
def _(room):
    may_unshare(NAMESPACES)
    root = room.path("root")
    for line in room.run(["ldd", LATER]).splitlines():
        for word in line.split():
            if word.startswith("/"):
                os.makedirs(root + os.path.dirname(word), exist_ok=True)
                shutil.copy(word, root + word)
    shutil.copy(LATER, root)
    shutil.copy(LIB, root + "/lib.so")
    os.makedirs(root + "/proc")
    os.chmod(room.dir, 0o755)
    path = root + "/targets-later"
    program, pid = serves(room, [*NAMESPACES, f"--mount-proc={root}/proc", "chroot", root, "/targets-later", "serve", "/lib.so"])
    text, files = code(pid, os.readlink(f"/proc/{pid}/exe")), fds(pid)
    link = room.attach("later", pid, options=["--follow"])
    program.ask("call 100")
    program.ask("fork")
    program.ask("child 50")
    same((link.calls(), link.by_pid()[1]), (150, 100), "calls; and the process is the first in its own eyes")
    same(fds(pid)[:3], files[:3], "descriptors")
    link.detach()
    until(lambda: code(pid, os.readlink(f"/proc/{pid}/exe")) == text)
    # All of a file that only the container has, and a library that it loads later.
    link = Attached(room, [own_object(room, f"uprobe/{path}:hooked")], 1)
    library = Attached(room, [own_object(room, f"uprobe/{root}/lib.so:lib_hooked")], 1)
    program.ask("call 10")
    same(link.calls(), 10, "calls of all of its file")
    same((program.ask("dlopen 3 5"), library.calls()), ("18", 18), "calls of its library")
    room.run([*NAMESPACES, f"--mount-proc={root}/proc", "chroot", root, "/targets-later", "call", "5"])
    same((link.calls(), link.missed(), library.missed()), (15, 0, 0), "calls, by one that came")
    library.detach()
    link.detach()
    same(program.ask("call 10"), "10")


@test("one that knows its file by a name that is another file's here: its own is meant")
def _(room):
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    may_unshare(words)
    need("gcc")
    for name, how in (("here", "-O2"), ("there", "-O0")):
        os.mkdir(room.path(name))
        build(room, ["gcc", how], name=name + "/targets-later")
    program, pid = serves(room, [*words, "sh", "-c", f"mount --bind {room.path('there')} {room.path('here')} && "
                                 f"exec {room.path('here')}/targets-later serve /nothing"])
    link = room.attach("later", pid)
    same((program.ask("call 10"), link.calls()), ("10", 10), "calls")
    link.detach()
    link = Attached(room, ["-p", str(pid), own_object(room, f"uprobe//proc/{pid}/exe:hooked")], 1)
    same((program.ask("call 10"), link.calls()), ("10", 10), "calls, by the process's own name")
    link.detach()


# ---------------------------------------------------------------------------------------------------- on disk

@test("a library replaced on disk while it is in use: refused by its name, which is another's; attached by its own, or by the last part")
def _(room):
    lib = room.path("mine.so")
    shutil.copy(LIB, lib)
    program = room.program_of([LATER, "serve", lib])
    program.ask("open")
    shutil.copy(LIB, lib + ".new")
    os.rename(lib + ".new", lib)
    by_name = own_object(room, f"uprobe/{lib}:lib_hooked")
    try:
        Attached(room, ["-p", str(program.pid), by_name], 1)
        raise AssertionError("attached")
    except Refused as refused:
        assert "[file_replaced]" in str(refused), refused
        own = next(word.strip(" ,") for word in str(refused).split() if "/map_files/" in word)
    for place in (own, "mine.so"):
        link = Attached(room, ["-p", str(program.pid), own_object(room, f"uprobe/{place}:lib_hooked")], 1)
        same((program.ask("lib 10"), link.calls()), ("10", 10), place)
        link.detach()
    program.ask("close")
    link = Attached(room, ["-p", str(program.pid), by_name], 1) if program.ask("open") == "0" else None
    same((program.ask("lib 10"), link.calls()), ("10", 10), "the new one")
    link.detach()


@test("a program and a library that are gone from the disk while a link stands: counted on; and attached to anew")
def _(room):
    path, lib = room.path("targets-later"), room.path("mine.so")
    shutil.copy(LATER, path)
    shutil.copy(LIB, lib)
    room.env["PATH"] = f"{room.dir}:{room.env['PATH']}"
    program = room.program_of([path, "serve", lib])
    program.ask("open")
    links = [room.attach("later", nlinks=1) if os.geteuid() == 0 else room.attach("later", program.pid),
             Attached(room, ["-p", str(program.pid), own_object(room, f"uprobe/{lib}:lib_hooked")], 1)]
    os.unlink(path)
    os.unlink(lib)
    program.ask("call 10")
    program.ask("lib 20")
    program.ask("fork")
    program.ask("child 5")
    same([link.calls() for link in links], [15, 20], "calls")
    for link in links:
        link.detach()
    for place, line in ((f"/proc/{program.pid}/exe:hooked", "call 10"), ("targets-later:hooked", "call 10"), ("mine.so:lib_hooked", "lib 10")):
        link = Attached(room, ["-p", str(program.pid), own_object(room, f"uprobe/{place}")], 1)
        same((program.ask(line), link.calls()), ("10", 10), place)
        link.detach()
    program.ask("close")
    same(program.ask("call 10"), "10")


@test("a library closed while a thread calls and links to it stand, and loaded elsewhere: forgotten, never written to")
def _(room):
    program = room.program_of([LATER, "serve", LIB])
    program.ask("busy 1")
    for number in range(10):
        program.ask("open")
        link = room.attach("later_lib", program.pid)
        program.ask(f"lib {number}")
        same(link.calls(), number, "calls")
        program.ask("close")
        if number % 2:
            program.ask("dlopen 3 5")
        link.detach()
    assert int(program.ask("busy 0")) > 0


main()
