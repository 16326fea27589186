# SPDX-License-Identifier: MIT
"""Nobody is disturbed: a hundred threads that would tell, while links come and go."""
import ctypes
import os
import re
import signal
import tempfile
import time

from harness import code, fds, main, maps, same, test, until

ROUNDS = int(os.environ.get("TENON_ROUNDS", "40"))


class Sleepers:
    def __init__(self, room):
        self.complaints = tempfile.TemporaryFile(mode="w+")
        self.program = room.program("sleepers", room.dir, stderr=self.complaints)
        self.pid, self.ask = self.program.pid, self.program.ask
        same(self.program.answer(), "ready")
        until(self.asleep)
        self.path = os.readlink(f"/proc/{self.pid}/exe")
        self.text = code(self.pid, self.path)

    def untouched(self):
        """Bytes are put back after the gate is closed."""
        return code(self.pid, self.path) == self.text

    def asleep(self):
        """All of them. A large write that is interrupted before it first sleeps comes back short, and no tracer can
        mend that: the threads that are awake while we enter must not be among those."""
        tasks = f"/proc/{self.pid}/task"
        for tid in os.listdir(tasks):
            with open(f"{tasks}/{tid}/stat") as state, open(f"{tasks}/{tid}/syscall") as call:
                # Who waits for a lock of the kernel's is in a call as well, but has not come to sleep in it.
                if state.read().rpartition(")")[2].split()[0] != "S" or call.read().startswith("running"):
                    return False
        return True

    def anew_kinds(self):
        return set(re.findall(r"^began anew: (.*?): ended", self.said(), re.M))

    def said(self):
        self.complaints.seek(0)
        return self.complaints.read()

    def release(self):
        until(self.untouched)
        try:
            answer = self.ask("release")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said()}") from None
        disturbed, naps, self.anew = (int(word) for word in re.findall(r"\d+", answer))
        missing = [line for line in self.said().splitlines() if line.startswith("not here")]
        for line in sorted(set(missing)):
            print("#", line)
        same(disturbed, 0, f"sleepers disturbed:\n{self.said()}")
        assert self.anew_kinds() <= ANEW, self.said()
        return naps


def comm(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/comm") as file:
        return file.read().strip()


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Rss:\s+(\d+)", file.read(), re.M)[1])


@test("the sleepers themselves: left alone they complain of nothing; stopped and continued, they do")
def _(room):
    sleepers = Sleepers(room)
    same(sleepers.ask("calls 100"), "400")
    sleepers.ask("churn 1")
    assert int(sleepers.ask("churn 0")) >= 0
    time.sleep(3)
    assert sleepers.release() > 50
    same(sleepers.anew, 0, f"timed sleeps that began anew:\n{sleepers.said()}")
    sleepers = Sleepers(room)
    os.kill(sleepers.pid, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(sleepers.pid, signal.SIGCONT)
    time.sleep(0.1)
    for name in ("epoll_wait", "semop", "sigwaitinfo"): # signal(7): -EINTR, whatever SA_RESTART says
        assert f"{name}: -4 instead of" in sleepers.said(), sleepers.said()


class Tracer:
    """One that ends a thread's sleep, and has the call start again where the kernel would not, as ours does with who is on his
    way to sleep."""
    SEIZE, INTERRUPT, GETREGS, SETREGS, DETACH = 0x4206, 0x4207, 12, 13, 17
    RAX, ORIG_RAX = 10, 15 # words of struct user_regs_struct
    EINTR, ERESTARTNOHAND = -4, -514

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long

    def call(self, request, tid, data=None):
        if self.libc.ptrace(request, tid, None, data) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")

    def disturb(self, tid):
        regs = (ctypes.c_int64 * 27)()
        self.call(self.SEIZE, tid)
        self.call(self.INTERRUPT, tid)
        os.waitpid(tid, 0x40000000) # __WALL
        self.call(self.GETREGS, tid, regs)
        if regs[self.ORIG_RAX] >= 0 and regs[self.RAX] == self.EINTR:
            regs[self.RAX] = self.ERESTARTNOHAND
            self.call(self.SETREGS, tid, regs)
        self.call(self.DETACH, tid)


ANEW = {"epoll_wait, timed", "epoll_pwait, timed", "recv, timed", "accept, timed", "io_getevents, timed", "sigtimedwait, timed",
        "semtimedop, timed"}


@test("which timed calls begin anew when a tracer has them start again: those whose timeout is relative and kept by nobody")
def _(room):
    sleepers, tracer = Sleepers(room), Tracer()
    timed = [int(tid) for tid in os.listdir(f"/proc/{sleepers.pid}/task") if comm(sleepers.pid, tid) == "timed"]
    assert len(timed) > 30, timed
    for _ in range(6):
        for tid in timed:
            tracer.disturb(tid)
        time.sleep(1.5) # each ends once, begun anew or not
        if sleepers.anew_kinds() == ANEW:
            break
    same(sleepers.anew_kinds(), ANEW, "kinds")
    sleepers.release()
    assert sleepers.anew >= len(ANEW)


@test(f"a hundred sleepers in forty-odd system calls: {ROUNDS} rounds amid callers and newborn threads disturb none",
      120 * max(ROUNDS // 40, 1))
def _(room):
    sleepers = Sleepers(room)
    for i in range(ROUNDS):
        if i % 2:
            sleepers.ask("run")
            sleepers.ask("churn 1")
        link = room.attach("sleepers", sleepers.pid)
        if i % 2 == 0:
            same(sleepers.ask("calls 500"), "2000")
            same(link.calls(), 2000, "calls")
        link.detach()
        if i % 2:
            sleepers.ask("rest")
            sleepers.ask("churn 0")
    naps = sleepers.release()
    print(f"# {ROUNDS} rounds: of {naps} timed sleeps {sleepers.anew} began anew")
    assert naps > 50


@test("threads made and joined all the while are counted exactly, from attach to detach")
def _(room):
    sleepers = Sleepers(room)
    link = room.attach("sleepers", sleepers.pid)
    total = 0
    for _ in range(5):
        sleepers.ask("run")
        sleepers.ask("churn 1")
        time.sleep(0.3)
        total += int(sleepers.ask("churn 0"))
        total += int(sleepers.ask("rest"))
    same(link.calls(), total, "calls")
    same(link.missed(), 0, "missed")
    link.detach()
    sleepers.release()


@test("200 rounds of attach and detach: no mapping, no page, no descriptor more than after the first ones", seconds=150)
def _(room):
    sleepers = Sleepers(room)
    files = fds(sleepers.pid)
    for i in range(200):
        link = room.attach("sleepers", sleepers.pid)
        same(sleepers.ask("calls 50"), "200")
        same(link.calls(), 200, "calls")
        same(fds(sleepers.pid), files, "descriptors while attached")
        link.detach()
        same(fds(sleepers.pid), files, "descriptors")
        if i == 4:
            lines, pages = len(maps(sleepers.pid)), resident(sleepers.pid)
    print(f"# after 5 rounds and 200: {lines} and {len(maps(sleepers.pid))} mappings, {pages} and "
          f"{resident(sleepers.pid)} KiB resident")
    assert len(maps(sleepers.pid)) <= lines + 2, maps(sleepers.pid)
    assert resident(sleepers.pid) <= pages + 64, (pages, resident(sleepers.pid))
    sleepers.release()


main()
