# SPDX-License-Identifier: MIT
"""Functions that are called back in a process: rounds and elements are counted exactly, whoever interrupts them."""
import json
import os
import signal
import time

from harness import main, same, test, until

LOOPS, KEYS, FEW = 100, 16, 5


def counts(room, link):
    rows = json.loads(room.tenon("map", "dump", str(link.map_ids["counts"]), "--json"))
    return [int(row["value"]) for row in rows]


def check(room, link, outer, inner):
    """So many runs of either program, each to its end."""
    per_run = (LOOPS + 7) // 8 * KEYS
    same(counts(room, link)[:5], [outer, outer * LOOPS, inner, inner * FEW, outer * per_run], "counts")


def start(room, options=()):
    program = room.program("rounds")
    return program, room.attach("rounds", program.pid, options=options, nlinks=2)


@test("rounds and elements are exact while a signal handler runs a program that calls back as well")
def _(room):
    program, link = start(room)
    outer, inner = (int(word) for word in program.ask("call 3000").split())
    same(outer, 3000, "calls of outer")
    assert inner > 20, inner
    check(room, link, outer, inner)
    same(link.missed(), 0, "missed")
    link.detach()


@test("a handler that calls what it interrupted: each call ran to its end or was counted as missed")
def _(room):
    program, link = start(room)
    outer, inner = (int(word) for word in program.ask("nested 3000").split())
    missed = link.missed()
    assert 0 < missed < outer, (missed, outer)
    check(room, link, outer - missed, inner)
    link.detach()


@test("a handler that leaves by a jump in the middle of rounds: the next calls run")
def _(room):
    program, link = start(room)
    outer, inner = (int(word) for word in program.ask("jump 3000").split())
    first = counts(room, link)
    assert outer - inner <= first[0] <= outer, (first, outer, inner)
    same(first[2:4], [inner, inner * FEW], "calls of inner")
    assert first[1] >= first[0] * LOOPS
    outer, inner = (int(word) for word in program.ask("call 500").split())
    after = counts(room, link)
    same(after[0] - first[0], 500, "calls afterwards")
    same(after[1] - first[1], 500 * LOOPS, "rounds afterwards")
    link.detach()


@test("children: with --follow their rounds count, else not")
def _(room):
    for follow in (False, True):
        program, link = start(room, ["--follow"] if follow else [])
        program.ask("fork 300")
        check(room, link, 300 if follow else 0, 300 if follow else 0)
        link.detach()


@test("killed in the middle of rounds, time and again: what the maps hold can be had, and changed")
def _(room):
    for n in range(8):
        victim, link = start(room, ["--keep"])
        shared = str(link.map_ids["shared"])
        for k in range(KEYS):
            room.tenon("map", "update", shared, str(k), str(1000 + k))
        victim.tell("ever")
        time.sleep(0.05 + 0.013 * n)
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: victim.process.poll() is not None)
        # A key whose round was not finished may be gone; none is there twice, no value is another's.
        rows = json.loads(room.tenon("map", "dump", shared, "--json"))
        keys = [int(row["key"]) for row in rows]
        assert KEYS - 1 <= len(keys) == len(set(key % KEYS for key in keys)) <= KEYS, keys
        for row in rows:
            same(int(row["value"]), 1000 + int(row["key"]) % KEYS, f"value of {row['key']}")
        begin = time.monotonic()
        for k in range(4 * KEYS): # nobody waits for the dead, and there is room for every key
            room.tenon("map", "update", shared, str(k), "5")
        assert time.monotonic() - begin < 10
        same(len(json.loads(room.tenon("map", "dump", shared, "--json"))), 4 * KEYS)
        room.tenon("detach", "--all")


main()
