#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shared memory under attack: whoever may write to it writes noise over it. The others survive; what they
count may be wrong, but nobody crashes, hangs, or writes where he should not."""
import mmap, os, random, threading, time
from house import *

rng = random.Random(2)


def look(h):
    """Every way of looking at maps and links ends by itself, without a crash."""
    for words in (("ls",), ("ls", "--json"), ("show", "--json"), ("map", "ls", "--json")):
        h.tenon(*words)
    for m in json.loads(h.tenon("map", "ls", "--json").ok().out):
        if m["name"] in ("runs", "table"):
            r = h.tenon("map", "dump", m["id"], "--json", seconds=20)
            assert r.status in (0, 1), r.err
            h.tenon("map", "lookup", m["id"], 3)
            h.tenon("map", "update", m["id"], 3, 4)


@case("a target scribbles over maps, statistics and claims")
def _():
    with House() as h:
        v, other = Victim(h, "shared"), Victim(h)
        h.attach("--keep", "-p", v.pid, "-p", other.pid, program="on_hot_busy").ok()
        broker = h.pid_of("broker")
        v.call(200)
        other.call(200)
        v.books["go"] = 1
        for _ in range(3):
            v.call(100)
            other.call(100)
            look(h)
        v.books["go"] = 0
        time.sleep(0.02)
        assert h.pid_of("broker") == broker, "the broker died"
        h.tenon("detach", "--all").ok()
        v.intact()
        other.intact()
        h.works(v)
        h.works(other)


def scribble_from_outside(h, seconds, names):
    """As a tool that has the map would: through the broker's own files, found by name."""
    broker, maps = h.pid_of("broker"), []
    for fd in os.listdir(f"/proc/{broker}/fd"):
        name = os.readlink(f"/proc/{broker}/fd/{fd}")
        if "memfd:" not in name or not any(n in name for n in names):
            continue
        try:
            f = os.open(f"/proc/{broker}/fd/{fd}", os.O_RDWR)
            maps.append(mmap.mmap(f, os.fstat(f).st_size))
            os.close(f)
        except (OSError, ValueError):
            pass
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for m in maps:
            for _ in range(64):
                at = rng.randrange(len(m) // 4) * 4
                m[at:at + 4] = rng.choice((rng.randbytes(4), b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
            for at in range(0, min(len(m), 12288), 8):
                if rng.random() < 0.05:
                    m[at:at + 8] = rng.choice((rng.randbytes(8), b"\xff" * 8, (1 << 40).to_bytes(8, "little")))
        time.sleep(0.001)
    for m in maps:
        m.close()
    return len(maps)


@case("a tool scribbles over hash, per-CPU values and ring buffer while the target runs")
def _():
    with House() as h:
        v = Victim(h)
        h.attach("--keep", "-p", v.pid, program="on_hot_busy").ok()
        broker = h.pid_of("broker")
        names = {os.readlink(f"/proc/{broker}/fd/{fd}") for fd in os.listdir(f"/proc/{broker}/fd")}
        mine = [n.split()[0] for n in names if "memfd:" in n]
        diag(" ".join(sorted(mine)))
        v.books["todo"] += 1 << 40
        n = scribble_from_outside(h, 2, ("runs", "table", "ring", "map", "stats", "claims"))
        assert n >= 3, (n, mine)
        done = v.books["done"]
        wait_for("the target goes on", 5, lambda: v.books["done"] > done or not v.alive())
        look(h)
        v.rest()
        assert v.alive(), v.process.returncode
        assert h.pid_of("broker") == broker, "the broker died"
        h.tenon("detach", "--all").ok()
        v.intact()
        h.works(v)


@case("a target writes noise over its own marker while attached: detach takes everything back")
def _():
    with House() as h:
        v = Victim(h, "marker")
        h.attach("--keep", "-p", v.pid, program="on_through").ok()
        v.books["go"] = 1
        time.sleep(0.05)
        v.books["go"] = 0
        h.tenon("detach", "--all")
        v.intact()
        broker = h.pid_of("broker")
        look(h)
        assert h.pid_of("broker") == broker
        other = Victim(h)
        h.works(other)


main(60)
