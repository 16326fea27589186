# SPDX-License-Identifier: MIT
"""bash and sleep: Debian's, live and from their first instruction."""
import os
import signal
import time

from harness import main, same, test, until


def asleep(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0] in ("230", "219") # clock_nanosleep; the same, resumed: restart_syscall


@test("sleep from its start: libc's clock_nanosleep is counted once, status and duration are its own")
def _(room):
    begun = time.monotonic()
    link = room.attach_start("clock_nanosleep", ["sleep", "0.5"])
    same(link.rows[0]["symbol"], "clock_nanosleep", "symbol")
    until(lambda: link.calls() == 1 or link.process.poll() is not None)
    same(link.calls(), 1, "calls")
    same(link.process.wait(10), 0, "status")
    assert time.monotonic() - begun >= 0.5


@test("sleep, live: entered asleep, the nap under way is neither cut nor counted")
def _(room):
    begun = time.monotonic()
    sleep = room.start(["sleep", "2"])
    until(lambda: asleep(sleep.pid))
    link = room.attach("clock_nanosleep", sleep.pid)
    same(link.calls(), 0, "calls")
    assert asleep(sleep.pid)
    link.detach()
    same(sleep.wait(10), 0, "status of sleep")
    took = time.monotonic() - begun
    assert 2 <= took < 3.5, took


@test("bash from its start: its own functions, called exactly as often as it and its sub-shells ran them")
def _(room):
    os.mkfifo(room.path("gate"))
    script = 'for i in {1..5000}; do :; done; (for i in {1..70}; do :; done); read x <"$0"; exit 3'
    link = room.attach_start("bash_colon", ["bash", "-c", script, room.path("gate")])
    until(lambda: link.calls() == 5070)
    same(sorted(link.by_pid().values()), [70, 5000], "by process")
    room.write("gate", "\n")
    same(link.process.wait(10), 3, "status")


@test("bash, live: attached twice in its life, exact both times, sub-shells only with --follow")
def _(room):
    bash = room.program_of(["bash", "--norc", "--noprofile"])
    same(bash.ask("echo ready"), "ready")
    link = room.attach("bash_colon", bash.pid)
    same(bash.ask("for i in {1..1000}; do :; done; (for i in {1..77}; do :; done); echo done"), "done")
    same(link.calls(), 1000, "calls without --follow")
    link.detach()
    same(bash.ask("for i in {1..1000}; do :; done; echo done"), "done")
    link = room.attach("bash_colon", bash.pid, options=["--follow"])
    same(bash.ask("for i in {1..500}; do :; done; (for i in {1..77}; do :; done); echo done"), "done")
    same(link.calls(), 577, "calls with --follow")
    same(link.by_pid()[bash.pid], 500, "calls of the shell itself")
    link.detach()
    bash.process.send_signal(signal.SIGHUP)


main()
