#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Want at every step: each kind of call that an attach or a detach makes, of ours or in the target, fails at
each place in turn: once, or from there on in the process that made it. Each time: the link is there and counts
exactly, or it is refused in words and the target is as it was before; the broker lives, unless it could not start;
nobody of ours is left."""
from steps import *

OURS = [("ptrace", "hands"), ("pwrite", "hands"), ("pread", "hands"), ("pread", "inject"), ("mmap", "inject"),
        ("mmap", "broker"), ("memfd_create", "inject"), ("memfd_create", "broker"), ("fork", "broker"),
        ("sendmsg", "inject"), ("recvmsg", "inject"), ("sendmsg", "hands"),
        ("recvmsg", "hands"), ("remote", "hands")]


def starve(kind, role, how, count):
    for what in ("attach", "detach"):
        try:
            at_steps(role, (), count, what, (kind,), how)
        except AssertionError as e:
            if "nothing ever happened" not in str(e):
                raise
            diag(f"{role} makes no {kind} in {what}")


ROUNDS = int(os.environ.get("TENON_ROUNDS", 0))  # steps of each; as many as there are, at most
for kind, role in OURS:
    case(f"{kind} fails once, {role}")(lambda kind=kind, role=role: starve(kind, role, FAILS, ROUNDS or 4))
    case(f"{kind} fails from there on, {role}")(lambda kind=kind, role=role: starve(kind, role, FAILS_FROM_HERE, ROUNDS or 2))

main(3600 if ROUNDS else 60)
