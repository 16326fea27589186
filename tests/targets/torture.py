# SPDX-License-Identifier: MIT
"""Sixty-four threads at once call, throw, jump, fork, start programs, take signals and load a library, while links come
and go for as long as $TENON_SECONDS says: nobody falls, no call is lost, none counts twice."""
import os
import tempfile
import time

from harness import HERE, code, main, maps, same, test, until

SECONDS = int(os.environ.get("TENON_SECONDS", 20))
KINDS = ["calls", "in handlers", "returns", "leaps"]


def numbers(text):
    return [int(word) for word in text.split()]


class Torture:
    def __init__(self, room):
        self.room, self.said = room, tempfile.TemporaryFile(mode="w+")
        self.program = room.program("torture", os.path.join(HERE, "targets-later-lib.so"), stderr=self.said)
        self.pid = self.program.pid
        self.path = os.readlink(f"/proc/{self.pid}/exe")
        self.text = code(self.pid, self.path)

    def ask(self, line):
        try:
            return numbers(self.program.ask(line, 60))
        except (AssertionError, BrokenPipeError) as error:
            self.said.seek(0)
            raise AssertionError(f"{error}; it said: {self.said.read()}") from None

    def untouched(self):
        return code(self.pid, self.path) == self.text


def counted(room, attached):
    return [int(room.tenon("map", "lookup", str(attached.map_ids["marked"]), str(kind))) for kind in range(len(KINDS))]


@test("left alone it falls to nothing, and counts", 60)
def _(room):
    torture = Torture(room)
    before, during = torture.ask("off"), torture.ask("on")
    time.sleep(0.3)
    after = torture.ask("off")
    same(before, [0] * 4)
    assert all(late > early for late, early in zip(after, during)), (during, after)


@test("links come and go amid all of it, and what is counted is what was called", SECONDS + 120)
def _(room):
    torture = Torture(room)
    end, rounds, total, told = time.monotonic() + SECONDS, 0, [0] * 4, 0
    sizes = []
    while time.monotonic() < end or rounds < 3:
        attached = room.attach("torture", torture.pid, nlinks=3)
        before = torture.ask("off")
        torture.ask("on")
        time.sleep(0.02 + rounds % 3 * 0.02)
        made = [after - early for after, early in zip(torture.ask("off"), before)]
        seen = counted(room, attached)
        # A handler that interrupts a run is told as missed, not lost: that goes for handlers alone.
        missed = sum(row["missed"] for row in room.links() if row["id"] in attached.ids)
        for kind in (0, 2, 3):
            same(seen[kind], made[kind], f"round {rounds}: {KINDS[kind]}, {missed} told as missed")
        assert made[1] - missed <= seen[1] <= made[1], (rounds, seen, made, missed)
        attached.detach()
        until(torture.untouched)
        total = [a + b for a, b in zip(total, made)]
        told += missed
        rounds += 1
        sizes.append(len(maps(torture.pid)))
    print(f"# {rounds} rounds: " + ", ".join(f"{n} {kind}" for n, kind in zip(total, KINDS)) + f"; {told} told as missed")
    assert min(total) > 0, total


@test("links come and go faster than anybody looks", SECONDS + 120)
def _(room):
    torture = Torture(room)
    end, rounds = time.monotonic() + SECONDS / 2, 0
    while time.monotonic() < end or rounds < 3:
        links = [room.attach("torture", torture.pid, nlinks=3) for _ in range(1 + rounds % 3)]
        for attached in links[::-1] if rounds % 2 else links:
            attached.detach()
        rounds += 1
    until(torture.untouched)
    torture.ask("on")
    torture.ask("off")
    print(f"# {rounds} rounds")


main()
