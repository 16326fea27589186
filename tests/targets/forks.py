# SPDX-License-Identifier: MIT
"""Whom: a link means exactly the processes it was given, or these and their children, however those are made."""
from harness import main, same, test

KINDS = ["fork", "vfork", "clone"]


def rounds(room, follow, n=60):
    forker = room.program("forker")
    link = room.attach("forker", forker.pid, options=["--follow"] if follow else [])
    total = 0
    for kind in KINDS:
        own, theirs = (int(word) for word in forker.ask(f"{kind} {n} 3 5").split())
        total += own + (theirs if follow else 0)
        same(link.calls(), total, f"calls after {kind}")
    same(link.missed(), 0, "missed")
    counts = link.by_pid()
    if not follow:
        same(counts, {forker.pid: total}, "by process")
    link.detach()
    same(forker.ask("fork 3 1 1"), "6 3")


@test("children of fork, vfork and clone: only the parent's calls count, all of them")
def _(room):
    rounds(room, False)


@test("the same with --follow: the children's count too")
def _(room):
    rounds(room, True)


@test("attached while children come and go and another thread calls: what that thread did is counted exactly")
def _(room):
    forker = room.program("forker")
    for kind in ["vfork", "clone", "spawn"]:
        link = room.attach("forker", forker.pid)
        forker.ask("busy 1")
        forker.ask(f"{kind} 40 0 5")
        busy = int(forker.ask("busy 0"))
        assert busy > 0
        same(link.calls(), busy, f"calls beside {kind}")
        link.detach()


@test("attach and detach in the middle of a stream of vforks: nothing is lost, nobody dies")
def _(room):
    forker = room.program("forker")
    for kind in ["vfork", "spawn", "fork", "clone", "system"]:
        forker.tell(f"{kind} 400 2 3")
        for _ in range(5):
            link = room.attach("forker", forker.pid)
            link.detach()
        same(forker.answer(), "1600 1200")


@test("posix_spawn and system: libc's execve in the child counts only with --follow")
def _(room):
    forker = room.program("forker")
    for kind in ["spawn", "system"]:
        for follow in (False, True):
            link = room.attach("execve", forker.pid, options=["--follow"] if follow else [])
            forker.ask(f"{kind} 10 0 0")
            same(link.calls(), 10 if follow else 0, f"{kind}{' --follow' if follow else ''}")
            link.detach()


main()
