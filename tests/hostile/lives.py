#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One broker after another in one process: each brings its own, and takes it away when it goes. What may not go yet, since
somebody is in it or nobody can be asked to unmap it, goes with the next; so the process has at most one set more than at first."""
import os, signal, struct
from house import *

SET = 30  # mappings of one broker, at most
PHASE = int(os.environ.get("TENON_PHASE", time.time())) % 997


def mappings(pid):
    """[(start, end, rights, name)] without those that grow by themselves."""
    rows = [line.split(None, 5) for line in read(f"/proc/{pid}/maps").splitlines()]
    return [(*(int(x, 16) for x in row[0].split("-")), row[1], row[5].strip() if len(row) > 5 else "") for row in rows
            if len(row) < 6 or row[5].strip() not in ("[heap]", "[stack]")]


def size(pid):
    words = status(pid)
    return f"{len(mappings(pid))} mappings, VmSize {words['VmSize']}, VmRSS {words['VmRSS']}"


def ours(pid):
    return [m for m in mappings(pid) if "memfd:tenon" in m[3]]


def house(**kw):
    h = House(**kw)
    h.env["TENON_LINGER_MS"] = "20"
    return h


def end(h, killed):
    if killed:
        os.kill(h.pid_of("broker"), signal.SIGKILL)
    else:
        h.tenon("detach", "--all").ok()
    try:
        wait_for("the broker and all that it has started end", 5, lambda: not h.processes())
    except AssertionError as e:
        raise AssertionError(f"{e}: {h.processes()}") from None


def life(h, v, programs=("on_hot",), killed=False, pid=None):
    """A broker from its first attach to its end."""
    for program in programs:
        h.attach("--keep", "-p", pid or v.pid, program=program).ok()
    if pid is None:
        v.call(20)
    end(h, killed)


def lives(n, killed, mode="brief"):
    # Jumps, a breakpoint, loads that may fault and system calls; exits and a breakpoint.
    programs = (("on_hot_reading", "on_brief", "on_calls"), ("on_hot_exit", "on_brief"))
    with house() as h:
        v = Victim(h, mode, 4)
        before = mappings(v.pid)
        diag(f"before: {size(v.pid)}")
        for i in range(n):
            life(h, v, programs[i % 2], killed)
            if i in (0, n - 1):
                diag(f"after {i + 1}: {size(v.pid)}")
            now = mappings(v.pid)
            assert now == before, f"after {i + 1} lives: {set(now) - set(before)} {set(before) - set(now)}"
        v.intact()


@case("brokers that end: nothing of them is left")
def _():
    lives(20, False)


@case("brokers that are killed: nothing of them is left")
def _():
    lives(12, True)


@case("brokers that are killed while threads call all the time: nothing of them is left")
def _():
    with house() as h:
        v = Victim(h, "spin", 4)
        before = mappings(v.pid)
        for _ in range(6):
            v.books["todo"] += 1 << 40
            h.attach("--keep", "-p", v.pid, program="on_hot_busy").ok()
            end(h, True)
            now = mappings(v.pid)
            assert now == before, set(now) ^ set(before)
        v.rest()
        v.intact()


def leaving(nth, v, h):
    """The hands of a broker that goes are killed at their nth step. True: it came to that."""
    s = Saboteur(h)
    h.attach("--keep", "-p", v.pid, program="on_hot_reading").ok()
    s.arm("hands", nth, ("hands",), target=v.pid)
    s.process.kill()
    s.process.wait()
    wait_for("all have gone", 5, lambda: not h.processes())
    s.books["armed"] = 0
    v.intact()
    return s.books["fired_ns"], s.books["count_hands"]


@case("hands are killed at steps of a broker's end: what is left goes with the next one's")
def _():
    with House() as h: # who waits for its tool
        v = Victim(h, "plain", 2)
        before = mappings(v.pid)
        _, steps = leaving(1 << 40, v, h)
        assert mappings(v.pid) == before
        fired = 0
        for nth in range(PHASE % 16, steps, max(1, steps // 20)):
            if time.monotonic() - v.since > 15:
                v.end()
                v = Victim(h, "plain", 2)
                before = mappings(v.pid)
            fired += leaving(nth, v, h)[0] != 0
            life(h, v, killed=True)
            now = mappings(v.pid)
            assert now == before, f"step {nth} of {steps}, TENON_PHASE={PHASE}: {set(now) ^ set(before)}"
        diag(f"{fired} of {steps} steps")
        assert fired
        v.intact()


@case("a process whose only thread may not be interrupted: one set is left, of however many")
def _():
    with house() as h:
        v = Victim(h, "paced", 0)
        before, most = mappings(v.pid), 0
        for i in range(6):
            h.attach("--keep", "-p", v.pid).ok()
            end(h, i % 2)
            most = max(most, len(mappings(v.pid)) - len(before))
            assert len([m for m in ours(v.pid) if "tenon-proc" in m[3]]) <= 1, ours(v.pid)
        diag(f"{most} mappings more at most")
        assert most <= SET, most
        v.intact()


@case("no room for our code in the vDSO: the page that makes our calls is left, and goes with the next one's")
def _():
    with house() as h:
        v = Victim(h, "plain", 2)
        vdso = next(m for m in mappings(v.pid) if m[3] == "[vdso]")
        with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
            mem.seek(vdso[1] - 1)
            mem.write(b"\x90")
        before = mappings(v.pid)
        for i in range(6):
            life(h, v, killed=i % 2)
            more = set(mappings(v.pid)) - set(before)
            assert len(more) == 1 and sum(m[1] - m[0] for m in more) == 8192, (i, more)
        v.intact()


@case("a thread stopped in code of ours: that broker's stays, and goes with the next one's")
def _():
    with house() as h:
        v = Victim(h, "spin", 2)
        before = mappings(v.pid)
        v.books["todo"] = 1 << 40
        h.attach("--keep", "-p", v.pid, program="on_hot_busy").ok()
        was = set(before)
        for _ in range(5000):
            os.kill(v.pid, signal.SIGSTOP)
            wait_for("it stops", 5, lambda: status(f"{v.pid}/task/{v.pid}")["State"][0] == "T")
            pc = int(read(f"/proc/{v.pid}/syscall").split()[-1], 16)
            code = [m for m in mappings(v.pid) if m[0] <= pc < m[1] and m not in was]
            if code:
                break
            os.kill(v.pid, signal.SIGCONT)
        assert code, "it was never there"
        os.kill(h.pid_of("broker"), signal.SIGKILL)
        wait_for("all have gone", 5, lambda: not h.processes())
        assert code[0] in mappings(v.pid), "unmapped under its feet"
        os.kill(v.pid, signal.SIGCONT)
        v.rest()
        v.intact()
        assert ours(v.pid)
        life(h, v)
        now = mappings(v.pid)
        assert now == before, set(now) ^ set(before)
        v.intact()


@case("a vfork child in the process's memory: it stays, and goes with the next one's")
def _():
    with house() as h:
        v = Victim(h, "vfork", 2)
        v.books["go"] = 1
        time.sleep(0.05)
        before = mappings(v.pid)
        h.attach("--keep", "-p", v.pid).ok()
        v.books["ready"] = 1
        v.books["go"] = 0
        wait_for("a child is there, which stays", 5, lambda: v.books["ready"] == 2)
        os.kill(h.pid_of("broker"), signal.SIGKILL)
        wait_for("all have gone", 5, lambda: not h.processes())
        assert ours(v.pid), "unmapped while a child runs there"
        v.books["go"] = 1
        life(h, v)
        wait_for("nothing is left", 5, lambda: mappings(v.pid) == before or life(h, v))
        v.books["quit"] = 1


@case("a thread that sleeps with a mask of ours: it stays for as long")
def _():
    with house() as h:
        v = Victim(h, "masked", 1)
        other = next(tid for tid in os.listdir(f"/proc/{v.pid}/task") if int(tid) != v.pid)
        h.attach("--keep", "-p", v.pid, program="on_brief").ok()
        v.books["go"] = 1
        wait_for("it sleeps", 5, lambda: read(f"/proc/{v.pid}/task/{other}/syscall").startswith("271 "))
        at = int(read(f"/proc/{v.pid}/task/{other}/syscall").split()[4], 16)
        end(h, True)
        assert any(m[0] <= at < m[1] for m in mappings(v.pid)), "the mask is not there any more"
        for sig in (signal.SIGSTOP, signal.SIGCONT): # the call is made again
            os.kill(v.pid, sig)
            time.sleep(0.02)
        assert read(f"/proc/{v.pid}/task/{other}/syscall").startswith("271 ")
        for _ in range(3):
            life(h, v, ("on_brief",))
        assert len([m for m in ours(v.pid) if "tenon-proc" in m[3]]) <= 1, ours(v.pid)
        v.intact()


@case("a fork child that outlives many: nothing is added to it; entered itself, it has nothing left of them")
def _():
    for killed in (False, True):
        with house() as h:
            v = Victim(h, "family", 2)
            before = mappings(v.pid)
            h.attach("--keep", "-p", v.pid).ok()
            v.call(20)
            v.books["go"] = 1
            child = wait_for("a child", 5, lambda: v.books["go"] > 1 and v.books["go"])
            end(h, killed)
            with_child = mappings(child)
            assert ours(child)
            for _ in range(4):
                life(h, v, killed=killed)
                assert mappings(v.pid) == before, set(mappings(v.pid)) ^ set(before)
            assert mappings(child) == with_child
            life(h, v, killed=killed, pid=child)
            now = mappings(child)
            assert not ours(child), ours(child)
            assert now == before, set(now) ^ set(before)
            v.intact()
            assert status(child)["State"][0] in "SR"


@case("a process that has confined itself since: it stays, and nobody is harmed")
def _():
    with house(as_nobody=True) as h:
        v = Victim(h, "confines", 0, before=h.before, exe=h.victim)
        h.attach("--keep", "-p", v.pid).ok()
        v.call(20)
        v.books["go"] = 1
        wait_for("it is confined", 5, lambda: v.books["go"] == 2)
        end(h, True)
        assert ours(v.pid)
        v.call(20)
        assert not code_differs(v.pid) and v.books["wrong"] == 0


def inventory(head, marker):
    """Where struct tn_inventory is in there: a count, then so many places of pages, the marker's own among them."""
    for at in range(0, len(head) - 8, 8):
        count, = struct.unpack_from("<Q", head, at)
        if 0 < count <= 1024 and at + 8 + count * 32 <= len(head):
            rows = [struct.unpack_from("<QQ", head, at + 8 + i * 32) for i in range(count)]
            if (marker[0], marker[1] - marker[0]) in rows and all(start and not (start | size) % 4096 for start, size in rows):
                return at
    raise AssertionError("no inventory")


@case("an inventory that the process has forged: what is not ours stays")
def _():
    with house() as h:
        v = Victim(h, "paced", 0)
        h.attach("--keep", "-p", v.pid).ok()
        end(h, True)
        marker = next(m for m in ours(v.pid) if "tenon-proc" in m[3])
        theirs = [line.split(None, 5) for line in read(f"/proc/{v.pid}/maps").splitlines()]
        theirs = [row for row in theirs if len(row) > 5 and "memfd" not in row[5]]
        forged = [(0, 4096, 0, 2, 3, 0), (2**64 - 4096, 8192, 0, 2, 3, 0), (marker[0] + 1, 4095, 0, 2, 1, 0)]
        for row in theirs:
            if "x" in row[1]:
                continue  # there is always somebody in some of it, and then nothing would be unmapped
            start, stop = (int(x, 16) for x in row[0].split("-"))
            rights = sum(1 << i for i in range(3) if row[1][i] != "-")
            forged += [(start, stop - start, inode, 2, rights, row[1][3] == "s") for inode in (0, int(row[4]))]
        with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
            mem.seek(marker[0])
            at = inventory(mem.read(marker[1] - marker[0]), marker)
            mem.seek(marker[0] + at)
            mem.write(struct.pack("<Q", 2**63) + b"".join(struct.pack("<QQQIHH", *row) for row in forged))
        life(h, v)
        now = {line.split()[0] for line in read(f"/proc/{v.pid}/maps").splitlines()}
        assert all(row[0] in now for row in theirs), [row for row in theirs if row[0] not in now]
        assert marker not in mappings(v.pid)
        v.intact()


main(40)
