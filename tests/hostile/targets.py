#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Processes that cannot be entered are refused by name; those that are merely awkward are entered, counted
exactly and left as they were."""
import ctypes, os, signal, struct, subprocess, time
from house import *


def refusal(reason, *parts, mode="plain", **kw):
    with House() as h:
        v = Victim(h, mode, **kw)
        h.attach("-p", v.pid).refused(reason, v.pid, *parts)
        return h, v


@case("a process that is gone")
def _():
    with House() as h:
        p = h.spawn(["true"])
        p.wait()
        h.attach("-p", p.pid).refused("no_process", p.pid)
        v = Victim(h)
        h.works(v)


@case("a zombie")
def _():
    with House() as h:
        p = h.spawn([h.victim, "/nonexistent"])
        wait_for("a zombie", 5, lambda: status(p.pid)["State"][0] == "Z")
        h.attach("-p", p.pid).refused("zombie", p.pid)
        v = Victim(h)
        h.works(v)
        p.wait()


@case("a thread's id instead of the process's")
def _():
    with House() as h:
        v = Victim(h)
        tid = [int(t) for t in v.before["tids"] if int(t) != v.pid][0]
        h.attach("-p", tid).refused("no_such_process", f"thread of process {v.pid}")
        h.works(v)


@case("a kernel thread")
def _():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(status(pid).get("PPid", "0")) == 2:
                break
        except OSError:
            pass
    else:
        raise Skip("no kernel thread is to be seen")
    with House() as h:
        h.attach("-p", pid).refused("kernel_thread", pid)


def elf32():
    """A static i386 program that sleeps: mov eax,29; int 0x80; jmp."""
    code = bytes.fromhex("b81d000000cd80ebf7")
    base, head = 0x08048000, 52 + 32
    ehdr = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + head, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return ehdr + struct.pack("<IIIIIIII", 1, 0, base, base, head + len(code), head + len(code), 5, 4096) + code


@case("a 32-bit process")
def _():
    with House() as h:
        path = os.path.join(h.dir, "i386")
        with open(path, "wb") as f:
            f.write(elf32())
        os.chmod(path, 0o755)
        try:
            p = h.spawn([path])
        except OSError as e:
            raise Skip(f"this kernel runs no 32-bit programs: {e}")
        time.sleep(0.05)
        h.attach("-p", p.pid).refused("not_64_bit", p.pid)
        assert p.poll() is None and status(p.pid)["TracerPid"] == "0"
        v = Victim(h)
        h.works(v)


@case("another user's process")
def _():
    with House(as_nobody=True) as h, House() as root:
        v = Victim(root, exe=h.victim)
        h.attach("-p", v.pid).refused("not_permitted", v.pid)
        v.intact()
        mine = Victim(h, before=h.before, exe=h.victim)
        h.works(mine)


@case("a process that strace traces")
def _():
    with House() as h:
        v = Victim(h)
        try:
            s = h.spawn(["strace", "-f", "-o", "/dev/null", "-p", str(v.pid)], stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Skip("no strace(1)")
        wait_for("strace traces", 5, lambda: status(v.pid)["TracerPid"] != "0")
        time.sleep(0.1)
        h.attach("-p", v.pid).refused("already_traced", v.pid, "strace", s.pid)
        assert status(v.pid)["TracerPid"] == str(s.pid)
        v.call(100)
        s.send_signal(signal.SIGINT)
        s.wait(5)
        v.books["eintr"] = 0  # strace's doing
        h.works(v)


class Tracer:
    """A tracer of our own, in a child, of one thread."""

    def __init__(self, tid):
        self.r, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            ok = libc.ptrace(0x4206, tid, 0, 0) == 0  # PTRACE_SEIZE
            os.write(w, b"1" if ok else b"0")
            time.sleep(20)
            os._exit(0)
        os.close(w)
        assert os.read(self.r, 1) == b"1", "the test's own tracer could not seize"

    def end(self):
        os.close(self.r)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@case("one thread, not the first, is traced by somebody")
def _():
    with House() as h:
        v = Victim(h)
        tid = [int(t) for t in v.before["tids"] if int(t) != v.pid][0]
        t = Tracer(tid)
        try:
            h.attach("-p", v.pid).refused("already_traced", t.pid)
        finally:
            t.end()
        h.works(v)


def hot_address(pid):
    out = subprocess.run(["nm", VICTIM], capture_output=True, text=True, check=True).stdout
    value = next(int(line.split()[0], 16) for line in out.splitlines() if line.endswith(" T hot"))
    for line in read(f"/proc/{pid}/maps").splitlines():
        if line.endswith("/hostile-victim") and line.split()[2] == "00000000":
            return value, int(line.split("-")[0], 16) + value
    raise AssertionError("not mapped")


@case("a debugger's breakpoint at the place")
def _():
    with House() as h:
        v = Victim(h)
        _, at = hot_address(v.pid)
        with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
            mem.seek(at)
            byte = mem.read(1)
            mem.seek(at)
            mem.write(b"\xcc")
            h.attach("-p", v.pid).refused("foreign_bytes", v.pid, "breakpoint")
            mem.seek(at)
            assert mem.read(1) == b"\xcc", "the debugger's byte was touched"
            mem.seek(at)
            mem.write(byte)
        h.works(v)


@case("a breakpoint set while we are attached: detach leaves it, and is told")
def _():
    with House() as h:
        v = Victim(h)
        link = h.attach("--keep", "-p", v.pid).ok().rows()[0]["id"]
        _, at = hot_address(v.pid)
        with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as mem:
            mem.seek(at)
            ours = mem.read(1)
            assert ours == b"\xe9"
            mem.seek(at)
            mem.write(b"\xcc")
            h.tenon("detach", link)
            mem.seek(at)
            assert mem.read(1) == b"\xcc", "the debugger's byte was overwritten"
            mem.seek(at)
            mem.write(ours)  # the debugger takes its breakpoint back: our jump, without a link behind it
        v.call(200)
        assert v.books["wrong"] == 0
        h.attach("--for", "0.1", "-p", v.pid).ok()
        v.call(200)
        assert v.books["wrong"] == 0


@case("a kernel uprobe at the place")
def _():
    try:
        kind = int(read("/sys/bus/event_source/devices/uprobe/type"))
    except OSError as e:
        raise Skip(f"no kernel uprobes: {e}")
    with House() as h:
        v = Victim(h)
        out = subprocess.run(["readelf", "-lW", VICTIM], capture_output=True, text=True, check=True).stdout
        value, at = hot_address(v.pid)
        for line in out.splitlines():
            f = line.split()
            if f[:1] == ["LOAD"] and int(f[2], 16) <= value < int(f[2], 16) + int(f[4], 16):
                offset = value - int(f[2], 16) + int(f[1], 16)
        path = ctypes.create_string_buffer(VICTIM.encode())
        attr = struct.pack("<IIQQQQQIIQQ", kind, 112, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(path), offset).ljust(112, b"\0")
        buf = ctypes.create_string_buffer(attr, 112)
        fd = libc.syscall(298, buf, v.pid, -1, -1, 8)
        if fd < 0:
            raise Skip(f"perf_event_open: {os.strerror(ctypes.get_errno())}")
        try:
            if not code_differs(v.pid):
                raise Skip("the kernel took the uprobe but sets no breakpoint")
            h.attach("-p", v.pid).refused("foreign_bytes", v.pid, "uprobe")
            v.call(50)
        finally:
            os.close(fd)
        h.works(v)


@case("a function of one byte, right before another one: hooked, and gone without a trace")
def _():
    with House() as h:
        v = Victim(h)
        r = h.attach("--for", "0.1", "-p", v.pid, program="on_tiny").ok()
        diag(r.rows()[0]["tactic"])
        v.intact()
        h.works(v)


@case("exits: by a tail call that no unwind rules tell of, and through a table")
def _():
    with House() as h:
        v = Victim(h)
        r = h.attach("-p", v.pid, program="on_tail_exit", before=())
        diag(r.err.strip())
        r.refused("exit_tail_stack", "leaves_by_tail")
        r = h.attach("-p", v.pid, program="on_table_exit")
        diag(r.err.strip())
        assert r.status == 1 and "[" in r.err and "by_table" in r.err
        v.intact()
        h.works(v)


def awkward(mode, threads=2, extra=None, **kw):
    with House() as h:
        v = Victim(h, mode, threads, **kw)
        for _ in range(3):
            h.works(v)
        if extra:
            extra(h, v)
        v.end()


@case("asleep in every thread; 24 threads")
def _():
    awkward("plain", 24)


@case("signals every 100 us")
def _():
    awkward("timer")


@case("all memory locked")
def _():
    awkward("mlock")


@case("running without a pause")
def _():
    awkward("spin", 0)


@case("closes all its descriptors in a loop")
def _():
    awkward("closeall")


@case("a strict seccomp filter, entered by root")
def _():
    awkward("seccomp", 0)


@case("a strict seccomp filter, not to be entered by an ordinary user: refused by name")
def _():
    with House(as_nobody=True) as h:
        v = Victim(h, "seccomp", 0, before=h.before, exe=h.victim)
        r = h.attach("-p", v.pid)
        diag(r.err.strip())
        r.refused("seccomp", v.pid, "CAP_SYS_ADMIN")
        assert v.alive()
        v.call(100)
        other = Victim(h, before=h.before, exe=h.victim)
        h.works(other)


@case("stopped by SIGSTOP: entered, stays stopped, goes on when told")
def _():
    with House() as h:
        v = Victim(h)

        def stays_stopped():
            # "t" while our hands are still on it, but never a call more
            wait_for("stopped as before", 2, lambda: status(v.pid)["State"][0] == "T")
            done, v.books["todo"] = v.books["done"], v.books["done"] + 10
            time.sleep(0.05)
            assert v.books["done"] == done and status(v.pid)["State"][0] == "T", "it was set running"
            v.books["todo"] = done

        os.kill(v.pid, signal.SIGSTOP)
        wait_for("stopped", 5, lambda: status(v.pid)["State"][0] == "T")
        r = h.attach("--keep", "-p", v.pid)
        r.ok()
        stays_stopped()
        os.kill(v.pid, signal.SIGCONT)
        before = h.runs()
        v.call(100)
        assert h.runs() - before == 100
        os.kill(v.pid, signal.SIGSTOP)
        wait_for("stopped", 5, lambda: status(v.pid)["State"][0] == "T")
        h.tenon("detach", "--all").ok()
        stays_stopped()
        os.kill(v.pid, signal.SIGCONT)
        v.books["eintr"] = 0  # a wait that a SIGSTOP has ended, not we
        h.works(v)


@case("waits in vfork for its child")
def _():
    with House() as h:
        v = Victim(h, "vfork", 2, settle=False)
        r = h.attach("--keep", "-p", v.pid)
        if r.status:
            diag(r.err)
            r.refused("no_thread_to_borrow", v.pid)
        v.books["go"] = 1
        v.call(10)
        if r.status == 0:
            h.tenon("detach", "--all").ok()
        wait_for("attached and counted", 10, lambda: h.attach("--for", "0.01", "-p", v.pid).status == 0)
        v.intact()


@case("execs in a loop")
def _():
    with House() as h:
        v = Victim(h, "exec", 0)
        outcomes = {}
        for _ in range(12):
            r = h.attach("--for", "0.02", "-p", v.pid)
            assert v.alive(), f"it ended with {v.process.returncode}: {r.err}"
            word = "attached" if r.status == 0 else r.err[r.err.rfind("["):].strip()
            outcomes[word] = outcomes.get(word, 0) + 1
            assert r.status in (0, 1) and (r.status == 0 or "[" in r.err), r.err
        diag(outcomes)
        # It is entered anew after each exec that came between, or that is why not; it may have nothing mapped yet.
        assert set(outcomes) <= {"attached", "[exec_under_way]", "[not_mapped]"}, outcomes
        execs = v.books["execs"]
        wait_for("it goes on", 5, lambda: v.books["execs"] > execs + 5)
        v.books["quit"] = 1
        wait_for("it rests", 5, lambda: v.process.poll() is not None)
        assert v.process.returncode == 0, v.process.returncode
        other = Victim(h)
        h.works(other)


@case("detach while threads sleep inside a displaced call")
def _():
    with House() as h:
        # Threads enter only after the hook is there: they are made by a victim started under attach.
        books = Books(os.path.join(h.dir, "books"), Victim.names)
        a = h.spawn([TENON, "attach", "--keep", "--json", "--program", "on_through", OBJECT, "--",
                     VICTIM, os.path.join(h.dir, "books"), "nap", "4"], stdout=subprocess.PIPE)
        wait_for("four threads nap inside the displaced call", 10, lambda: books["napping"] == 4 or a.poll() is not None)
        assert a.poll() is None, a.returncode
        pid = next(int(p) for p in filter(str.isdigit, os.listdir("/proc"))
                   if os.path.exists(f"/proc/{p}/comm") and read(f"/proc/{p}/comm").strip() == "hostile-victim"
                   and h.dir.encode() in read(f"/proc/{p}/cmdline", "rb"))
        assert h.runs(2) == 4, h.runs(2)
        h.tenon("detach", "--all").ok()
        assert not code_differs(pid), code_differs(pid)
        # Attach again and again meanwhile: what they will return into must not be given to anybody else.
        for _ in range(5):
            h.attach("--for", "0.01", "-p", pid, program="on_through").ok()
            h.attach("--for", "0.01", "-p", pid).ok()
        books["go"] = 1
        wait_for("all have come back", 10, lambda: books["naps"] == 4)
        books["todo"] += 100
        wait_for("it works", 5, lambda: books["done"] >= 100)
        assert books["wrong"] == 0, books["wrong"]
        assert not code_differs(pid), code_differs(pid)
        books["quit"] = 1
        a.wait(10)
        assert a.returncode == 0, a.returncode


main()
