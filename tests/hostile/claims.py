#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One broker a process: who comes second is refused and told who holds it; what a dead holder has left is
taken over, and nothing that the target says about it is believed."""
import os, random, re, signal, struct, subprocess, threading, time
from house import *


def at_once(*jobs):
    """Runs them in threads; their results."""
    results = [None] * len(jobs)

    def run(i):
        try:
            results[i] = jobs[i]()
        except Exception as e:
            results[i] = e
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for r in results:
        if isinstance(r, Exception):
            raise r
    return results


@case("two attaches at once through one broker: both are there, both count")
def _():
    with House() as h:
        for mode in ("plain", "spin"):
            v = Victim(h, mode)
            for _ in range(4):
                a, b = at_once(*[lambda: h.attach("--keep", "-p", v.pid)] * 2)
                a.ok(), b.ok()
                ids = sorted(m["id"] for m in json.loads(h.tenon("map", "ls", "--json").out) if m["name"] == "runs")
                assert len(ids) == 2, ids
                v.call(40)
                for i in ids:
                    assert int(h.tenon("map", "lookup", i, 0).ok().out) == 40
                h.tenon("detach", "--all").ok()
                v.intact()
            v.end()


@case("another broker of the same user is refused, and told who holds the process")
def _():
    with House() as h, House() as other:
        v = Victim(h)
        h.attach("--keep", "-p", v.pid).ok()
        holder = h.pid_of("broker")
        other.attach("-p", v.pid).refused("held", v.pid, f"process {holder} of uid {os.getuid()}")
        before = h.runs()
        v.call(30)
        assert h.runs() - before == 30
        h.tenon("detach", "--all").ok()
        wait_for("the holder leaves", 5, lambda: not h.processes())
        v.intact()
        other.works(v)


@case("two brokers at once: one has it, the other is refused by name")
def _():
    with House() as h, House() as other:
        v = Victim(h, "plain", 4)
        seen = {}
        for _ in range(8):
            results = at_once(lambda: h.attach("--keep", "-p", v.pid), lambda: other.attach("--keep", "-p", v.pid))
            won = [r for r in results if r.status == 0]
            assert len(won) <= 1, "both hold it"
            for r in results:
                if r.status:
                    word = re.findall(r"\[\w+\]", r.err)[-1]
                    seen[word] = seen.get(word, 0) + 1
                    assert word in ("[held]", "[already_traced]", "[foreign_bytes]", "[address_taken]"), r.err
            v.call(30)
            for x in (h, other):
                x.tenon("detach", "--all")
                broker = x.pid_of("broker")
                if broker:
                    os.kill(broker, signal.SIGKILL)
            wait_for("both leave", 5, lambda: not h.processes() and not other.processes())
            v.intact()
        diag(seen)
        h.works(v)


@case("who attaches while the broker before is on its way out waits for that")
def _():
    with House() as h, House() as other:
        v = Victim(h)
        for program in ("on_hot", "on_hot_reading") * 5:
            h.attach("--keep", "-p", v.pid, program=program).ok()
            os.kill(h.pid_of("broker"), signal.SIGKILL)
            other.attach("--keep", "-p", v.pid, program=program).ok()
            before = other.runs()
            v.call(20)
            assert other.runs() - before == 20
            h, other = other, h
        h.tenon("detach", "--all").ok()
        v.intact()


@case("an ordinary user and root: who comes second is told of the other")
def _():
    with House(as_nobody=True) as alice, House() as root:
        v = Victim(alice, before=alice.before, exe=alice.victim)
        alice.attach("--keep", "-p", v.pid).ok()
        root.tenon("attach", "--json", "--program", "on_hot", "-p", v.pid, alice.object,
                   env=dict(root.env, PATH=alice.env["PATH"])).refused("held", v.pid, "uid 65534")
        before = alice.runs()
        v.call(20)
        assert alice.runs() - before == 20
        alice.tenon("detach", "--all").ok()
        wait_for("the holder leaves", 5, lambda: not alice.processes())
        v.intact()
        env = dict(root.env, PATH=alice.env["PATH"])
        root.tenon("attach", "--json", "--keep", "--program", "on_hot", "-p", v.pid, alice.object, env=env).ok()
        alice.attach("-p", v.pid).refused("held", v.pid, "uid 0")
        v.call(20)
        root.tenon("detach", "--all").ok()
        wait_for("the holder leaves", 5, lambda: not root.processes())
        alice.works(v)


def ended(pid):
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def orphaned(h, v):
    """Attached, and then guardian and broker are killed, none seeing the other die. The marker's address."""
    h.attach("--keep", "-p", v.pid).ok()
    pids = [pid for pid, name in h.processes().items()]
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, sig)
    # A process that is on its way out has no environment any more, and still counts as alive.
    wait_for("all are gone", 3, lambda: not h.processes() and all(map(ended, pids)))
    for line in read(f"/proc/{v.pid}/maps").splitlines():
        if "memfd:tenon-proc" in line:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            return start, end
    raise AssertionError("no marker")


def undo_entries(mem, start, end):
    """The records of struct tn_undo that are in use, wherever they are: address, length, state, bytes."""
    mem.seek(start)
    head = mem.read(end - start)
    undo, count = struct.unpack_from("<QQ", head, 48 - 8)
    assert start < undo < end, hex(undo)
    return undo, count, head


@case("a dead holder's claim is taken over with its undo record")
def _():
    with House() as h, House() as other:
        v = Victim(h)
        orphaned(h, v)
        assert code_differs(v.pid)
        v.call(50)
        other.works(v)
        v.intact()


@case("an undo record that the target has forged is not believed")
def _():
    with House() as h, House() as other:
        v = Victim(h)
        start, end = orphaned(h, v)
        before = code_differs(v.pid)
        libc_line = next(line for line in read(f"/proc/{v.pid}/maps").splitlines() if "libc.so" in line and "r-xp" in line)
        code = int(libc_line.split("-")[0], 16) + 4096
        with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
            undo, count, _ = undo_entries(mem, start, end)
            mem.seek(code)
            now = mem.read(16)
            evil = struct.pack("<QBB16s16s6x", code, 8, 2, b"\xcc" * 16, now)
            assert len(evil) == 48
            odd = [struct.pack("<QBB16s16s6x", *row) for row in (
                (0, 8, 2, now, now), (2**64 - 4, 16, 2, now, now), (code, 255, 2, now, now), (code, 0, 2, now, now),
                (start, 16, 2, now, now), (code + 1, 16, 255, now, b"\x90" * 16))]
            for i in range(8, 200):
                mem.seek(undo + 48 * i)
                mem.write(evil if i % 2 else odd[i // 2 % len(odd)])
        other.attach("--for", "0.01", "-p", v.pid).ok()
        v.call(50)
        with open(f"/proc/{v.pid}/mem", "rb", buffering=0) as mem:
            mem.seek(code)
            assert mem.read(16) == now, "the forged bytes were written"
        v.intact()
        other.works(v)


@case("a marker full of noise is survived")
def _():
    rng = random.Random(1)
    for skip in (0, 8, 4096):  # all of it; all but the magic word; the undo record
        with House() as h, House() as other:
            v = Victim(h)
            start, end = orphaned(h, v)
            before = code_differs(v.pid)
            with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
                mem.seek(start + skip)
                mem.write(rng.randbytes(end - start - skip))
            # Who jumped there cannot be known any more.
            other.attach("--for", "0.01", "-p", v.pid).refused("foreign_bytes", v.pid)
            assert code_differs(v.pid) == before, "something was written"
            assert v.alive() and status(v.pid)["TracerPid"] == "0"
            other.works(Victim(other))


main(60)
