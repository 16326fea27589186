# SPDX-License-Identifier: MIT
"""The kernel's uprobes and our hooks in one process: each counts what it is to count, whoever came first and whoever goes."""
import ctypes
import os
import struct

from harness import Skip, code, main, maps, same, test, until

PERF_EVENT_OPEN, ATTR_SIZE = 298, 112
INNER, OUTER, IDLE = range(3)
libc = ctypes.CDLL(None, use_errno=True)


class KernelProbe:
    """A uprobe of the kernel's own, or a uretprobe, that counts."""

    def __init__(self, pid, path, offset, returns=False):
        try:
            with open("/sys/bus/event_source/devices/uprobe/type") as file:
                kind = int(file.read())
        except OSError as error:
            raise Skip(f"this kernel has no uprobes: {error}") from None
        name = ctypes.create_string_buffer(path.encode())
        attr = struct.pack("<IIQQQQQIIQQ", kind, ATTR_SIZE, int(returns), 0, 0, 0, 0, 0, 0, ctypes.addressof(name), offset)
        self.fd = libc.syscall(PERF_EVENT_OPEN, ctypes.create_string_buffer(attr, ATTR_SIZE), pid, -1, -1, 8)
        if self.fd < 0:
            raise Skip(f"no uprobe of the kernel's may be made here: {os.strerror(ctypes.get_errno())}")

    def calls(self):
        return struct.unpack("<Q", os.read(self.fd, 8))[0]

    def detach(self):
        os.close(self.fd)
        self.fd = -1

    def __del__(self):
        if getattr(self, "fd", -1) >= 0:
            os.close(self.fd)


class Host:
    def __init__(self, room):
        self.room = room
        self.program = room.program("uprobes")
        self.pid = self.program.pid
        self.path = os.readlink(f"/proc/{self.pid}/exe")
        self.text = code(self.pid, self.path)
        self.at = [int(word, 16) for word in self.program.ask("where").split()]

    def call(self, n):
        same(self.program.ask(f"call {n}"), str(n), "calls made")

    def has(self, name):
        return any(line.endswith(name) for line in maps(self.pid))

    def kernel(self, function, more=0, returns=False):
        for line in maps(self.pid):
            words = line.split()
            start, end = (int(word, 16) for word in words[0].split("-"))
            if start <= self.at[function] < end:
                return KernelProbe(self.pid, self.path, self.at[function] + more - start + int(words[2], 16), returns)
        raise AssertionError("the function is not mapped")

    def ours(self, name):
        return self.room.attach("uprobes_" + name, self.pid)

    def refused(self, name):
        self.room.refused("uprobes_" + name, [self.pid], (), "foreign_bytes", "a kernel uprobe")

    def untouched(self):
        return code(self.pid, self.path) == self.text


def in_turn(host, *makers):
    """The kernel's probes and ours, in either order of coming and of going."""
    for first_comes in (0, 1):
        for first_goes in (0, 1):
            order = makers if not first_comes else makers[::-1]
            first = order[0](host)
            host.call(100)
            same([probe.calls() for probe in first], [100] * len(first), "alone")
            second = order[1](host)
            host.call(1000)
            same([probe.calls() for probe in first + second], [1100] * len(first) + [1000] * len(second), "both")
            assert host.has("[uprobes]"), "no page of the kernel's"
            goes, stays, seen = (first, second, 1000) if first_goes else (second, first, 1100)
            for probe in goes:
                probe.detach()
            host.call(70)
            same([probe.calls() for probe in stays], [seen + 70] * len(stays), "the other has gone")
            for probe in stays:
                probe.detach()
            host.call(10)
            until(host.untouched)


@test("the kernel's at the entry and exit of a function, ours of the one that it calls: in every order of coming and going")
def _(room):
    in_turn(Host(room), lambda host: [host.kernel(OUTER), host.kernel(OUTER, returns=True), host.kernel(IDLE)],
            lambda host: [host.ours("inner"), host.ours("inner_exit")])


@test("and the other way round: ours outside, the kernel's inside")
def _(room):
    in_turn(Host(room), lambda host: [host.kernel(INNER), host.kernel(INNER, returns=True)],
            lambda host: [host.ours("outer"), host.ours("outer_exit"), host.ours("idle")])


@test("in one function, the kernel's behind the bytes of our jump: in every order")
def _(room):
    in_turn(Host(room), lambda host: [host.kernel(INNER, 8), host.kernel(OUTER, returns=True)],
            lambda host: [host.ours("inner")])


@test("the kernel's at the very place, or within the bytes of a jump there: refused by name, and it goes on; then there is room")
def _(room):
    host = Host(room)
    for function, name, more in ((INNER, "inner", 0), (INNER, "inner", 1), (INNER, "inner", 4), (OUTER, "outer", 0), (IDLE, "idle", 0)):
        probe = host.kernel(function, more)
        host.call(50)
        host.refused(name)
        host.call(50)
        same(probe.calls(), 100, f"{name}+{more}")
        probe.detach()
        link = host.ours(name)
        host.call(20)
        same(link.calls(), 20, f"{name}: ours, once the kernel's has gone")
        link.detach()
        until(host.untouched)


@test("a call of the kernel's in the place of five bytes that do nothing: ours comes and goes beside it")
def _(room):
    host = Host(room)
    probe = host.kernel(IDLE)
    host.call(100)
    if not host.has("[uprobes-trampoline]"):
        raise Skip("this kernel has no call in its place (Linux 6.18)")
    for _ in range(5):
        links = [host.ours("inner"), host.ours("outer_exit")]
        host.call(100)
        same([link.calls() for link in links], [100, 100], "ours")
        host.refused("idle")
        for link in links:
            link.detach()
    same(probe.calls(), 600, "the kernel's")
    probe.detach()
    host.call(10)
    until(host.untouched)


main()
