#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Want at every step: each kind of call that an attach or a detach makes, of ours or in the target, fails at
each place in turn: once, or from there on in the process that made it. Each time: the link is there and counts
exactly, or it is refused in words and the target is as it was before; the broker lives, unless it could not start;
nobody of ours is left. Once more where a breakpoint is needed, for which every call that sets masks or handlers is
hooked and the process's signals are taken over, and given back (src/inject/signals.c); and where a program reads
memory that may not be there, for which others are."""
from steps import *

OURS = [("ptrace", "hands"), ("pwrite", "hands"), ("pread", "hands"), ("pread", "inject"), ("mmap", "inject"),
        ("mmap", "broker"), ("memfd_create", "inject"), ("memfd_create", "broker"), ("fork", "broker"),
        ("sendmsg", "inject"), ("recvmsg", "inject"), ("sendmsg", "hands"),
        ("recvmsg", "hands"), ("remote", "hands")]


# What takes signals over and gives them back goes by these.
SIGNALS = [("ptrace", "hands"), ("pwrite", "hands"), ("pread", "hands"), ("remote", "hands"), ("sendmsg", "inject")]
PLACES = {"a jump": {}, "a breakpoint": {"program": "on_brief", "mode": "brief"}, "reads": {"program": "on_hot_reading"}}


def starve(kind, role, how, count, place):
    for what in ("attach", "detach"):
        try:
            at_steps(role, (), count, what, (kind,), how, **PLACES[place])
        except AssertionError as e:
            if "nothing ever happened" not in str(e):
                raise
            diag(f"{role} makes no {kind} in {what}")


@case("what is called a breakpoint here is one")
def _():
    with House() as h:
        v = Victim(h, "brief")
        tactic = h.attach("--keep", "-p", v.pid, program="on_brief").ok().rows()[0]["tactic"]
        assert tactic == "breakpoint", tactic
        assert v.look()["caught"] != v.before["caught"]


@case("what is called reads here takes signals over")
def _():
    with House() as h:
        v = Victim(h)
        h.attach("--keep", "-p", v.pid, program="on_hot_reading").ok()
        assert v.look()["caught"] != v.before["caught"]
        v.call(100)
        same = h.runs()
        assert same == 100, same


ROUNDS = int(os.environ.get("TENON_ROUNDS", 0))  # steps of each; as many as there are, at most
for place, calls, some in (("a jump", OURS, 4), ("a breakpoint", SIGNALS, 4), ("reads", SIGNALS, 4)):
    for kind, role in calls:
        case(f"{place}: {kind} fails once, {role}")(lambda args=(kind, role, FAILS, ROUNDS or some, place): starve(*args))
        case(f"{place}: {kind} fails from there on, {role}")(
            lambda args=(kind, role, FAILS_FROM_HERE, ROUNDS or some // 2, place): starve(*args))

main(3600 if ROUNDS else 60)
