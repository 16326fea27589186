# SPDX-License-Identifier: MIT
"""What the hostile tests share.

House    a broker of its own behind $TENON_SOCKET in a folder of its own; the command line, bounded; every
         process that the broker has started can be named, and is gone when the house is left.
Victim   a process to be entered, with books of its own (victim.c), and the proof that nothing was lost:
         its code is the file's, byte for byte; its descriptors and threads are those it had; nobody traces
         it; it counts right.
"""
import contextlib, ctypes, json, mmap, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, time, traceback

BUILD = os.environ["TENON_BUILD"]
HERE = os.path.join(BUILD, "tests", "hostile")
TENON = os.path.join(BUILD, "src", "cli", "tenon")
VICTIM = os.path.join(HERE, "hostile-victim")
OBJECT = os.path.join(HERE, "victim.bpf.o")
# As in saboteur.c: who takes steps, what is one, and what happens at the chosen one.
ROLES = ["broker", "inject", "hands", "guardian", "tool", "target"]
KINDS = ["ptrace", "sendmsg", "recvmsg", "pwrite", "pread", "mmap", "memfd_create", "fork", "remote"]
DIES, FAILS, FAILS_FROM_HERE = range(3)
TALKS = ("ptrace", "sendmsg", "recvmsg", "pwrite")
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    pass


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.003)


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


class Books:
    """Words shared with a C program, by name."""

    def __init__(self, path, names):
        with open(path, "wb") as f:
            f.truncate(4096)
        os.chmod(path, 0o666)
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.names = {name: i * 8 for i, name in enumerate(names)}

    def __getitem__(self, name):
        return struct.unpack_from("<Q", self.map, self.names[name])[0]

    def __setitem__(self, name, value):
        struct.pack_into("<Q", self.map, self.names[name], value)


def status(pid):
    fields = {}
    for line in read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def code_differs(pid):
    """Where the executable mappings of files differ from the files: '' if nowhere."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in read(f"/proc/{pid}/maps").splitlines():
            part = line.split(None, 5)
            if "x" not in part[1] or part[4] == "0" or "memfd:" in line:
                continue
            start, end = (int(x, 16) for x in part[0].split("-"))
            mem.seek(start)
            now = mem.read(end - start)
            with open(f"/proc/{pid}/map_files/{part[0]}", "rb") as f:
                f.seek(int(part[2], 16))
                disk = f.read(end - start).ljust(end - start, b"\0")
            if now != disk:
                at = next(i for i in range(len(now)) if now[i] != disk[i])
                return f"{part[5]}+{int(part[2], 16) + at:#x}: {now[at:at + 8].hex()} not {disk[at:at + 8].hex()}"
    return ""


class Victim:
    names = ["ready", "todo", "done", "wrong", "eintr", "signals", "quit", "napping", "naps", "execs", "go"]

    def __init__(self, house, mode="plain", threads=2, before=(), exe=VICTIM, settle=True):
        self.house, self.mode = house, mode
        path = tempfile.mktemp(prefix="books.", dir=house.dir)
        self.books = Books(path, self.names)
        self.process = house.spawn([*before, exe, path, mode, str(threads)])
        self.pid = self.process.pid
        wait_for("the victim is ready", 10, lambda: self.books["ready"] or self.process.poll() is not None)
        assert self.process.poll() is None, f"the victim ended with {self.process.returncode}"
        time.sleep(0.01)
        self.before, self.since = self.look(), time.monotonic()
        while self.before != (again := self.look()): # one that executes itself opens and closes files all the time
            self.before = again

    def look(self):
        fds = {}
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError): # closed meanwhile
                fds[fd] = os.readlink(f"/proc/{self.pid}/fd/{fd}")
        words = status(self.pid)
        return {"fds": fds, "caught": words["SigCgt"], "ignored": words["SigIgn"], "blocked": words["SigBlk"], "tids": sorted(os.listdir(f"/proc/{self.pid}/task"))}

    def alive(self):
        return self.process.poll() is None

    def call(self, n, seconds=10):
        self.books["todo"] += n
        wait_for(f"{n} calls ({self.mode})", seconds,
                 lambda: self.books["done"] >= self.books["todo"] or not self.alive())
        assert self.alive(), f"the victim ended with {self.process.returncode}"

    def rest(self):
        """No more calls than have been made: a thread sleeps, or has had a millisecond of a processor since."""
        def ran(tid):
            return int(read(f"/proc/{self.pid}/task/{tid}/schedstat").split()[0])
        self.books["todo"] = 0
        before = {tid: ran(tid) for tid in os.listdir(f"/proc/{self.pid}/task")}
        wait_for("every thread has seen it", 10, lambda: all(
            ran(tid) > before[tid] + 1000000 or status(f"{self.pid}/task/{tid}")["State"][0] == "S" for tid in before))
        self.books["todo"] = self.books["done"]

    def intact(self, within=3.0, calls=100):
        """Nothing was lost. Returns the seconds until its code was the file's again."""
        start = time.monotonic()
        assert self.alive(), f"the victim ended with {self.process.returncode}"
        last = ""
        while True:
            last = code_differs(self.pid)
            if not last:
                for tid in os.listdir(f"/proc/{self.pid}/task"):
                    s = status(f"{self.pid}/task/{tid}")
                    if s["TracerPid"] != "0":
                        last = f"thread {tid} is traced by {s['TracerPid']}"
            if not last and self.look() != self.before:
                last = f"was {self.before}, is {self.look()}"
            if not last:
                break
            assert time.monotonic() - start < within, f"after {within} s: {last}"
            time.sleep(0.005)
        took = time.monotonic() - start
        if calls:
            self.call(calls)
        assert self.books["wrong"] == 0, f"{self.books['wrong']} wrong results"
        if self.mode != "timer":
            assert self.books["eintr"] == 0, f"{self.books['eintr']} waits ended early"
        return took

    def end(self):
        self.books["quit"] = 1
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the victim did not end when told")
        assert self.process.returncode == 0, f"the victim ended with {self.process.returncode}"


class Result:
    def __init__(self, code, out, err):
        self.status, self.out, self.err = code, out, err

    def rows(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def refused(self, reason, *parts, status=1):
        """A clear error: the exit status, the reason's name, and what the message must say."""
        assert self.status == status, f"status {self.status}: {self.err}"
        assert f"[{reason}]" in self.err, f"wanted [{reason}]: {self.err}"
        for part in parts:
            assert str(part) in self.err, f"wanted {part!r}: {self.err}"
        assert "Traceback" not in self.err and self.err.startswith("tenon"), self.err
        return self

    def ok(self):
        assert self.status == 0, f"status {self.status}: {self.err}"
        return self


class House:
    def __init__(self, as_nobody=False, base=None):
        self.dir = tempfile.mkdtemp(prefix="tenon-hostile.", dir=base)
        os.chmod(self.dir, 0o755)
        self.socket = os.path.join(self.dir, "broker.sock")
        self.env = dict(os.environ, TENON_SOCKET=self.socket, TENON_LINGER_MS="1000",
                        PATH=f"{HERE}:{os.environ['PATH']}")
        self.env.pop("LD_PRELOAD", None)
        self.before = []
        self.children = []
        self.exe, self.victim, self.object = TENON, VICTIM, OBJECT
        if as_nobody:
            if os.getuid() != 0:
                raise Skip("only root can become somebody else")
            for name in (TENON, VICTIM, OBJECT):
                shutil.copy(name, self.dir)
            self.exe, self.victim, self.object = (os.path.join(self.dir, os.path.basename(x)) for x in (TENON, VICTIM, OBJECT))
            for name in (self.exe, self.victim, self.object):
                os.chmod(name, 0o755)
            run = os.path.join(self.dir, "run")
            os.mkdir(run, 0o700)
            os.chown(run, 65534, 65534)
            self.socket = self.env["TENON_SOCKET"] = os.path.join(run, "broker.sock")
            self.env["PATH"] = f"{self.dir}:{os.environ['PATH']}"
            self.before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]

    def spawn(self, argv, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.DEVNULL)
        p = subprocess.Popen(argv, env=self.env, **kw)
        self.children.append(p)
        return p

    def tenon(self, *args, before=(), seconds=20, env=None):
        argv = [*self.before, *before, self.exe, *map(str, args)]
        p = subprocess.Popen(argv, env=env or self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        try:
            out, err = p.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise AssertionError(f"{' '.join(argv[:4])}… did not end in {seconds} s: {err}")
        assert p.returncode >= 0, f"tenon died by signal {-p.returncode}: {err}"
        return Result(p.returncode, out, err)

    def attach(self, *args, program="on_hot", **kw):
        return self.tenon("attach", "--json", "--program", program, *args, self.object, **kw)

    def processes(self):
        """Every process of this house: {pid: name}. A broker's environment names its socket."""
        mine, found = f"TENON_SOCKET={self.socket}".encode(), {}
        known = {p.pid for p in self.children}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if int(pid) in known or mine not in read(f"/proc/{pid}/environ", "rb").split(b"\0"):
                    continue
                if read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] in "ZX":
                    continue
                name = read(f"/proc/{pid}/comm").strip()
                if name.startswith("tenon"):
                    found[int(pid)] = name.replace("tenon-", "").replace("tenon", "broker")
            except (OSError, ValueError):
                pass
        return found

    def pid_of(self, name):
        found = [pid for pid, n in self.processes().items() if n == name]
        return found[0] if found else 0

    def works(self, victim, calls=50):
        """A new attach works afterwards, counts exactly, and leaves nothing. The victim's own calls go on."""
        r = self.attach("--keep", "-p", victim.pid).ok()
        link = r.rows()[0]["id"]
        before = self.runs()
        victim.call(calls)
        assert self.runs() - before == calls, f"counted {self.runs() - before} of {calls}"
        self.tenon("detach", link).ok()
        victim.intact()
        assert json.loads(self.tenon("ls", "--json").ok().out) == []

    def runs(self, slot=0):
        # Where libbpf found that names or types are not to be had, the map has none, and its values are bytes.
        rows = json.loads(self.tenon("map", "ls", "--json").ok().out)
        named = [row for row in rows if row["name"] == "runs"] or [row for row in rows if row["type"] == "array"]
        value = self.tenon("map", "lookup", named[-1]["id"], slot).ok().out.strip()
        return int.from_bytes(bytes.fromhex(value[2:]), "little") if value.startswith("0x") else int(value)

    def leave(self):
        """Ends all that this house has started. What does not end by itself in time is a failure."""
        for p in self.children:
            if p.poll() is None:
                p.kill()
            p.wait()
        for pid, name in self.processes().items():
            if name == "broker":
                os.kill(pid, signal.SIGKILL)
        end, left = time.monotonic() + 4, self.processes()
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not left, f"processes left behind: {left}"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        try:
            self.leave()
        except AssertionError:
            if kind is None:
                raise
        return False


class Saboteur:
    """A broker that the test has started itself, with saboteur.c in it and all of its children."""
    names = [f"pid_{r}" for r in ROLES] + [f"count_{r}" for r in ROLES] + ["armed", "role", "nth", "kill", "kinds", "how",
                                                                                    "fired_ns", "fired_pid"]

    def __init__(self, house):
        self.books = Books(os.path.join(house.dir, "saboteur"), self.names)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.path.exists(house.socket):
            os.unlink(house.socket)
        listener.bind(house.socket)
        os.chmod(house.socket, 0o600)
        listener.listen(16)
        env = dict(house.env, LD_PRELOAD=os.path.join(HERE, "saboteur.so"), SABOTEUR=os.path.join(house.dir, "saboteur"),
                   TENON_LINGER_MS="20000") # that it has nothing to do for a moment is no reason to end: it is asked whether it lives
        fd = listener.fileno()
        self.process = subprocess.Popen([TENON, "broker"], env=env, preexec_fn=lambda: os.dup2(fd, 3),
                                        close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        house.children.append(self.process)
        listener.close()

    def arm(self, role, nth, kill, kinds=TALKS, how=DIES, **pids):
        for name, pid in pids.items():
            self.books[f"pid_{name}"] = pid
        self.books["role"], self.books["nth"] = ROLES.index(role), nth
        self.books["kill"] = sum(1 << ROLES.index(k) for k in kill)
        self.books["kinds"] = sum(1 << KINDS.index(k) for k in kinds)
        self.books["how"] = how
        self.books["armed"] = 1


# ------------------------------------------------------------------------------------------------- TAP

cases = []


def case(name):
    def add(f):
        cases.append((name, f))
        return f
    return add


def diag(text):
    for line in str(text).splitlines():
        print("#", line, flush=True)


def main(bound=30):
    """Runs all cases, or those whose names contain a word of the command line; each bounded."""
    def too_long(*_):
        raise AssertionError(f"not done in {bound} s")
    signal.signal(signal.SIGALRM, too_long)
    chosen = [c for c in cases if len(sys.argv) < 2 or any(w in c[0] for w in sys.argv[1:])]
    print(f"1..{len(chosen)}", flush=True)
    bad = 0
    for i, (name, f) in enumerate(chosen, 1):
        start = time.monotonic()
        signal.alarm(bound)
        try:
            f()
            print(f"ok {i} - {name}", flush=True)
        except Skip as why:
            print(f"ok {i} - {name} # SKIP {why}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {i} - {name}", flush=True)
            diag(traceback.format_exc())
        finally:
            signal.alarm(0)
        if time.monotonic() - start > 5:
            diag(f"{time.monotonic() - start:.1f} s")
    sys.exit(bad != 0)
