# SPDX-License-Identifier: MIT
"""An attach or a detach, and something that happens at the nth of its steps (saboteur.c): somebody dies, or a
call fails. The steps are numbered by the saboteur; each run takes an even sample of them whose phase moves with
the clock, so that runs add up. $TENON_PHASE repeats one."""
import os, signal, subprocess, time
from house import *

PHASE = int(os.environ.get("TENON_PHASE", time.time())) % 997
LIMIT = 3.0
took = []  # (seconds until the target was whole again, what had happened)


def attach_in_background(h, v, *options, program="on_hot"):
    with open(os.path.join(h.dir, "err"), "w") as err:
        return h.spawn([h.exe, "attach", "--json", *options, "--program", program, "-p", str(v.pid), h.object], stderr=err)


def said(h):
    return read(os.path.join(h.dir, "err"))


def round_trip(h, v, role, nth, kill, what, kinds=TALKS, how=DIES, program="on_hot"):
    """One attach or detach during which `kill` die at the nth step of `role`, or that step fails. Returns the
    saboteur and whether it came to that; if the broker died, the target is whole again and nobody of ours is
    left."""
    s = Saboteur(h)
    if what == "detach":
        h.attach("--keep", "-p", v.pid, program=program).ok()
    s.arm(role, nth, kill, kinds, how, target=v.pid)
    if what == "attach":
        tool = attach_in_background(h, v, "--keep", program=program)
    else:
        tool = h.spawn([h.exe, "detach", "--all"], stderr=subprocess.DEVNULL)
    s.books["pid_tool"] = tool.pid
    wait_for("the command ends or somebody dies", 15, lambda: s.books["fired_ns"] or tool.poll() is not None)
    fired = s.books["fired_ns"]
    if fired and "broker" in kill:
        s.process.wait()
        while True:
            differs = code_differs(v.pid)
            if not differs or h.pid_of("broker"):
                break
            assert time.monotonic() - fired / 1e9 < LIMIT, f"after {LIMIT} s: {differs}"
            time.sleep(0.002)
        took.append((time.monotonic() - fired / 1e9, f"{kill} killed at step {nth} of {role}, {what}"))
    code = tool.wait(15)
    s.books["armed"] = 0
    assert code in (0, 1), (code, said(h))
    if what == "attach" and code == 1:
        assert said(h).startswith("tenon"), said(h)
    return s, fired


def emptied(h, v):
    """Every broker of the house is killed, also one that the command has started meanwhile."""
    at = time.monotonic()
    for pid, name in h.processes().items():
        if name == "broker":
            os.kill(pid, signal.SIGKILL)
    for p in h.children:
        if p.args[-1] == "broker":
            p.kill()
            p.wait()
    while True:
        differs, left = code_differs(v.pid), h.processes()
        if not differs and not left:
            break
        assert time.monotonic() - at < LIMIT, f"after {LIMIT} s: {differs} {left}"
        time.sleep(0.002)
    took.append((time.monotonic() - at, "broker killed at leisure"))
    v.intact()


def at_steps(role, kill, count, what="attach", kinds=TALKS, how=DIES, program="on_hot", mode="plain"):
    """`count` steps of `role`, evenly, at each of which `kill` die, or which fail."""
    happens = f"killing {'+'.join(kill)}" if how == DIES else f"{'+'.join(kinds)} failing{' from there on' * (how == FAILS_FROM_HERE)}"
    with House() as h:
        v = Victim(h, mode)
        # How many steps there are: once, and nothing happens.
        s, _ = round_trip(h, v, role, 1 << 40, (), what, kinds, how, program)
        steps, fired_at = s.books[f"count_{role}"], []
        emptied(h, v)
        count = min(count, steps + steps // 2 + 1) # those after a step that fails may be more
        stride = max(1.0, steps / count)
        first = PHASE % 97 / 97 * stride
        for nth in sorted({int(first + i * stride) for i in range(count)}):
            if time.monotonic() - v.since > 20:
                v.end()
                v = Victim(h, mode) # none lives long
            try:
                s, fired = round_trip(h, v, role, nth, kill, what, kinds, how, program)
                if fired:
                    fired_at.append(nth)
                # A broker that could not start is followed by another.
                if "broker" not in kill:
                    survives(h, v, s, starts=how == DIES or role != "broker")
                emptied(h, v)
                h.works(v)
                emptied(h, v)
            except Exception as e:
                raise AssertionError(f"step {nth} of {steps} of {role}, {what}, {happens}, TENON_PHASE={PHASE}: {e}") from e
        diag(f"{role}, {what}: {len(fired_at)} of {steps} steps, {happens}")
        assert fired_at, "nothing ever happened"
        # Or what was killed once has left the target so that no other attach comes as far.
        assert how != DIES or len(kill) > 1 or 2 * len(fired_at) > count, f"only {len(fired_at)} of {count} came to it"


def survives(h, v, s, starts=True):
    """The broker lives: it serves, whatever was half done is undone or whole, and one detach takes all."""
    assert s.process.poll() is None or (not starts and s.process.poll() == 1), f"the broker ended with {s.process.returncode}"
    rows = json.loads(h.tenon("ls", "--json").ok().out)
    if not rows:
        start = time.monotonic()
        v.intact()
        took.append((time.monotonic() - start, "the broker lives"))
    else:
        before = h.runs()
        v.call(20)
        assert h.runs() - before == 20, f"a link is listed, but counted {h.runs() - before} of 20"
    h.tenon("detach", "--all").ok()
    v.intact()
    h.works(v)
