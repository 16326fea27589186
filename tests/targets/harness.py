# SPDX-License-Identifier: MIT
"""Whole processes, extended through the command line: what the tests of this folder share.

    test ── tenon attach|ls|detach|map … ──▶ broker of this test's own ($TENON_SOCKET in a new folder)
      └──── the process to be extended, driven through its standard input or its sockets (loopback only)

A test is a function under @test("what holds"); it gets a Room, and what it started ends with it. It fails by an
exception and skips by Skip(reason). Standard output is TAP.
"""
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("TENON_BUILD") or sys.exit("$TENON_BUILD is not set: run by meson or tests/run")
HERE = os.path.join(BUILD, "tests", "targets")
TENON = os.path.join(BUILD, "src", "cli", "tenon")
# With an attach, in seconds: all of a library on a busy processor takes a while, and tests have limits of their own.
PATIENCE = 120
tests = []


class Skip(Exception):
    pass


class Refused(AssertionError):
    """tenon attach ended instead of attaching; str() is what it said."""


def test(what, seconds=60):
    def add(function):
        tests.append((what, function, seconds))
        return function
    return add


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")


def until(question, seconds=10, pause=0.02):
    """The first true answer; an AssertionError when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {question.__name__}"
        time.sleep(pause)


def same(is_, wanted, what=""):
    if isinstance(is_, list) and isinstance(wanted, list): # of long ones, only what differs
        more, less = [x for x in is_ if x not in wanted], [x for x in wanted if x not in is_]
        assert not more and not less, f"{what}: too much: {more!r}; missing: {less!r}; {len(is_)} instead of {len(wanted)}"
    assert is_ == wanted, f"{what}: {is_!r} instead of {wanted!r}"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def broker(room):
    return json.loads(room.tenon("show", "--json"))["broker"]["pid"]


def children(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    return []


def status_word(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return re.search(rf"^{key}:\s*(\w+)", file.read(), re.M).group(1)


def status(pid, key):
    """A set, as one number."""
    return int(status_word(pid, key), 16)


def maps(pid):
    with open(f"/proc/{pid}/maps") as file:
        return file.read().splitlines()


def fds(pid):
    """What the descriptors of a process are, sorted."""
    seen = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            seen.append((int(fd), os.readlink(f"/proc/{pid}/fd/{fd}")))
    return sorted(seen)


def code(pid, path):
    """A digest of the executable mappings of a file, as they are in the process now."""
    return hashlib.sha256(code_bytes(pid, path)).hexdigest()


def code_bytes(pid, path):
    seen = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps(pid):
            words = line.split(None, 5)
            if len(words) == 6 and words[5] == path and "x" in words[1]:
                start, end = (int(word, 16) for word in words[0].split("-"))
                memory.seek(start)
                while start < end:
                    part = memory.read(end - start)
                    seen += part
                    start += len(part)
    assert seen, f"{path} is not mapped in {pid}"
    return seen


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listening(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


class Program:
    """A process of ours that obeys lines and answers each with one line."""

    def __init__(self, room, words, **how):
        self.process = room.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **how)
        self.pid = self.process.pid
        until(self.executed)

    def executed(self):
        """Its program is mapped: who started it goes on before that."""
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{self.pid}/exe")
            return self.process.poll() is not None or any(line.endswith(path) and "r-xp" in line for line in maps(self.pid))
        return self.process.poll() is not None

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, seconds=30):
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert ready, "the program does not answer"
        line = self.process.stdout.readline()
        assert line, f"the program has ended: {self.process.wait(5)}"
        return line.strip()

    def answered(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def ask(self, line, seconds=30):
        self.tell(line)
        return self.answer(seconds)


class Attached:
    """A running `tenon attach`: its links, and the maps that came with its object."""

    def __init__(self, room, words, nlinks):
        self.room, self.rows = room, []
        before = {row["id"] for row in room.map_rows()}
        self.errors = tempfile.TemporaryFile()
        self.process = room.start([TENON, "attach", "--json", *words], stdout=subprocess.PIPE, stderr=self.errors,
                                  stdin=subprocess.DEVNULL)
        self.text = b""
        while len(self.rows) < nlinks and self.read(PATIENCE):
            pass
        if len(self.rows) < nlinks:
            raise Refused(f"status {self.process.wait(20)}: {self.said()}")
        self.ids = [row["id"] for row in self.rows]
        self.map_ids = {row["name"]: row["id"] for row in room.map_rows() if row["id"] not in before}

    def read(self, seconds):
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert ready, "tenon attach neither attaches nor ends"
        part = os.read(self.process.stdout.fileno(), 65536)
        *lines, self.text = (self.text + part).split(b"\n")
        self.rows += [json.loads(line) for line in lines]
        return part

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode().strip()

    def calls(self):
        return int(self.room.tenon("map", "lookup", str(self.map_ids["calls"]), "0"))

    def by_pid(self):
        rows = json.loads(self.room.tenon("map", "dump", str(self.map_ids["by_pid"]), "--json"))
        return {int(row["key"]): int(row["value"]) for row in rows}

    def missed(self):
        return sum(row["missed"] for row in self.room.links() if row["id"] in self.ids)

    def detach(self):
        self.process.send_signal(signal.SIGINT)
        same(self.process.wait(20), 0, f"status of tenon attach ({self.said()})")
        self.process.stdout.close()
        self.errors.close()
        self.room.processes.remove(self.process)


class Room:
    """A test's own folder, broker and processes."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tenon-targets.")
        self.env = dict(os.environ, TENON_SOCKET=os.path.join(self.dir, "broker.sock"), LC_ALL="C",
                        PATH=f"{HERE}:{os.environ['PATH']}:/usr/sbin:/sbin")
        self.processes = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def start(self, words, **how):
        how.setdefault("env", self.env)
        process = subprocess.Popen(words, **how)
        self.processes.append(process)
        return process

    def run(self, words, seconds=30, status=0, **how):
        """Standard output of a command that is to end with `status`."""
        how.setdefault("env", self.env)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=seconds, **how)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert status is None or done.returncode == status, \
            f"{' '.join(words)}: status {done.returncode}\n{out}{err}"
        self.err = err
        return out

    def tenon(self, *words, **how):
        return self.run([TENON, *words], **how)

    def links(self):
        return json.loads(self.tenon("ls", "--json"))

    def map_rows(self):
        if not os.path.exists(self.env["TENON_SOCKET"]):
            return []
        return json.loads(self.tenon("map", "ls", "--json"))

    def attach(self, name, *pids, options=(), nlinks=None):
        """`tenon attach -p PID… NAME.bpf.o`, until it is attached."""
        words = [word for pid in pids for word in ("-p", str(pid))]
        return Attached(self, [*options, *words, os.path.join(HERE, name + ".bpf.o")], nlinks or len(pids))

    def refused(self, name, pids, options, *words):
        """That command, but it does not attach, and says all of `words`."""
        try:
            self.attach(name, *pids, options=options).detach()
        except Refused as refusal:
            for word in words:
                assert word in str(refusal), f"{name} {options}: no {word!r} in\n{refusal}"
            return
        raise AssertionError(f"{name} {options} was admitted")

    def attach_start(self, name, command, options=(), nlinks=1):
        """`tenon attach NAME.bpf.o -- COMMAND`, until its links are made."""
        return Attached(self, [*options, os.path.join(HERE, name + ".bpf.o"), "--", *command], nlinks)

    def program(self, name, *words, **how):
        path = os.path.join(HERE, "targets-" + name)
        return Program(self, [path, *words], **how)

    def program_of(self, words, **how):
        return Program(self, words, **how)

    def close(self):
        with contextlib.suppress(Exception):
            self.tenon("detach", "--all", status=None)
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
        for _ in range(20): # a broker on its way out may still write there
            shutil.rmtree(self.dir, ignore_errors=True)
            if not os.path.exists(self.dir):
                break
            time.sleep(0.05)


NOBODY = 65534


class Nobody:
    """The same commands as an ordinary user, without a capability, from a copy that he may read."""

    def __init__(self, room, *names):
        if os.geteuid() != 0:
            raise Skip("only root can become somebody else")
        need("setpriv")
        self.room = room
        self.words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
        os.mkdir(room.path("his"))
        os.chown(room.path("his"), NOBODY, NOBODY)
        os.chmod(room.dir, 0o755)
        for name in (TENON, *(os.path.join(HERE, name) for name in names)):
            shutil.copy(name, room.path(os.path.basename(name)))
        self.env = dict(room.env, TENON_SOCKET=room.path("his/broker.sock"), HOME=room.path("his"),
                        XDG_RUNTIME_DIR=room.path("his"), PATH=f"{room.dir}:/usr/bin:/bin")

    def tenon(self, *words, **how):
        return self.room.run([*self.words, self.room.path("tenon"), *words], env=self.env, **how)


def late(*_):
    raise AssertionError("not done within its time")


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = [row for row in tests if pattern in row[0]]
    failed = 0
    print(f"1..{len(wanted)}", flush=True)
    signal.signal(signal.SIGALRM, late)
    for number, (what, function, seconds) in enumerate(wanted, 1):
        room, result, note = Room(), "ok", ""
        try:
            signal.alarm(seconds)
            function(room)
        except Skip as skip:
            note = f" # SKIP {skip}"
        except Exception: # pylint: disable=broad-except
            result, failed = "not ok", failed + 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
        finally:
            signal.alarm(0)
            room.close()
        print(f"{result} {number} - {what}{note}", flush=True)
    sys.exit(1 if failed else 0)
