# SPDX-License-Identifier: MIT
"""Links as people handle them: several at one place, kept, listed by others, taken out by id; and whose they are."""
import os
import shutil
import signal
import subprocess

from harness import HERE, TENON, Nobody, code, main, same, test, until


@test("two links at one place, detached in either order: each counts what was called while it was there")
def _(room):
    forker = room.program("forker")
    text = code(forker.pid, os.readlink(f"/proc/{forker.pid}/exe"))
    for first_goes in (0, 1):
        links = [room.attach("forker", forker.pid), room.attach("forker_too", forker.pid)]
        forker.ask("fork 1 500 0")
        links[first_goes].detach()
        forker.ask("fork 1 300 0")
        same(links[1 - first_goes].calls(), 1600, "calls seen by the one that stays")
        again = room.attach("forker_too" if first_goes else "forker", forker.pid)
        forker.ask("fork 1 50 0")
        same((links[1 - first_goes].calls(), again.calls()), (1700, 100), "after another came")
        links[1 - first_goes].detach()
        forker.ask("fork 1 50 0")
        same(again.calls(), 200, "the last")
        again.detach()
        until(lambda: code(forker.pid, os.readlink(f"/proc/{forker.pid}/exe")) == text)


@test("entry and exit of one function at once, in one command and in two")
def _(room):
    program = room.program("exits")
    links = [room.attach(name, program.pid) for name in ("many_rets", "many_rets_exit", "many_rets_exit", "many_rets")]
    program.ask("rets 1000")
    same([link.calls() for link in links], [1000] * 4, "calls")
    for link in links[::2] + links[1::2]:
        link.detach()


@test("programs that print come and go beside a link that stays: what they print to is there for each")
def _(room):
    forker = room.program("forker")
    stays = room.attach("forker", forker.pid)
    for _ in range(5):
        prints = room.attach("prints", forker.pid)
        forker.ask("fork 1 100 0")
        same(prints.calls(), 200, "calls")
        prints.detach()
        room.attach("forker_too", forker.pid).detach() # another comes between: it is seen that nobody is in what has gone
    same(stays.calls(), 1000, "calls of the one that stays")
    stays.detach()


@test("one object attached by two commands at once: counts of their own")
def _(room):
    forker = room.program("forker")
    first = room.attach("forker", forker.pid)
    forker.ask("fork 1 100 0")
    second = room.attach("forker", forker.pid)
    forker.ask("fork 1 100 0")
    same((first.calls(), second.calls()), (400, 200), "calls")
    same(len(room.links()), 2, "links")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    until(lambda: len(room.links()) == 1)
    forker.ask("fork 1 100 0")
    same(second.calls(), 400, "calls")
    second.detach()
    same(room.links(), [], "links")


@test("two commands attach to one process at the same moment: both do, both count")
def _(room):
    forker = room.program("forker")
    words = [TENON, "attach", "--keep", "--json", "-p", str(forker.pid), os.path.join(HERE, "forker.bpf.o")]
    both = [room.start(words, stdout=subprocess.PIPE) for _ in range(4)]
    for process in both:
        process.communicate(timeout=30)
        same(process.returncode, 0, "status")
    forker.ask("fork 1 100 0")
    ids = [row["id"] for row in room.map_rows() if row["name"] == "calls"]
    same([room.tenon("map", "lookup", str(number), "0").strip() for number in ids], ["200"] * 4, "calls")
    room.tenon("detach", "--all")


@test("--keep: the command ends, another one lists, shows and detaches by id")
def _(room):
    forker = room.program("forker")
    link = room.attach("forker", forker.pid, options=["--keep"])
    same(link.process.wait(10), 0, "status")
    forker.ask("fork 1 100 0")
    same(link.calls(), 200, "calls")
    rows = room.links()
    same([(row["id"], row["pid"], row["symbol"], row["kept"]) for row in rows],
         [(link.ids[0], forker.pid, "hooked", True)], "links")
    assert "hooked" in room.tenon("show", str(link.ids[0]))
    room.tenon("detach", str(link.ids[0]))
    same(room.links(), [], "links")
    same(forker.ask("fork 1 10 0"), "20 0")
    room.tenon("detach", str(link.ids[0]), status=1)


@test("an ordinary user, his own process: attached, counted, detached; sleep from its start, too")
def _(room):
    him = Nobody(room, "targets-forker", "forker.bpf.o", "clock_nanosleep.bpf.o")
    forker = room.program_of([*him.words, room.path("targets-forker")], env=him.env)
    same(forker.ask("fork 1 1 0"), "2 0")
    him.tenon("attach", "--keep", "-p", str(forker.pid), room.path("forker.bpf.o"))
    forker.ask("vfork 20 3 5")
    same(him.tenon("map", "lookup", "calls", "0").strip(), "120", "calls")
    him.tenon("detach", "--all")
    same(forker.ask("vfork 20 3 5"), "120 100")
    assert "\n  1" in him.tenon("attach", "--interval", "20", room.path("clock_nanosleep.bpf.o"), "--", "sleep", "0.1")


@test("an ordinary user, another's process: refused by name, by his own broker; root's broker is not his")
def _(room):
    him = Nobody(room, "targets-forker", "forker.bpf.o", "clock_nanosleep.bpf.o")
    forker = room.program("forker")
    him.tenon("attach", "-p", str(forker.pid), room.path("forker.bpf.o"), status=1)
    assert "[not_permitted]" in room.err, room.err
    link = room.attach("forker", forker.pid)
    him.env["TENON_SOCKET"] = room.env["TENON_SOCKET"]
    him.tenon("attach", "-p", str(forker.pid), room.path("forker.bpf.o"), status=1)
    assert "tenon attach: " in room.err, room.err
    same(len(room.links()), 1, "links")
    same(forker.ask("fork 1 10 0"), "20 0")
    same(link.calls(), 20, "calls")
    link.detach()


main()
