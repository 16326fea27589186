# SPDX-License-Identifier: MIT
"""Code that a process has in memory more than once; and what stands in a program that must not be taken for a debugger's."""
import os

from harness import HERE, code_bytes, main, maps, same, test, until

BINARY, LIBRARY = os.path.join(HERE, "targets-copies"), os.path.join(HERE, "targets-later-lib.so")


def code_of(pid, path):
    return [line.split()[0] for line in maps(pid) if line.endswith(path) and "x" in line.split()[1]]


@test("a library that is loaded twice: the calls of both copies count, and both have their bytes back")
def _(room):
    program = room.program("copies")
    program.ask(f"copies {LIBRARY}")
    same(len(code_of(program.pid, LIBRARY)), 2, "mappings of its code")
    before = code_bytes(program.pid, LIBRARY)
    link = room.attach("later_lib", program.pid)
    for a, b, wanted in ((10, 0, 10), (0, 7, 17), (100, 200, 317)):
        program.ask(f"lib {a} {b}")
        same(link.calls(), wanted, f"calls after {a} of the first and {b} of the second")
    link.detach()
    until(lambda: code_bytes(program.pid, LIBRARY) == before)
    program.ask("lib 5 5")


@test("a copy in which the bytes are not the file's: the others are hooked, and it is told of")
def _(room):
    program = room.program("copies")
    lower = program.ask(f"copies {LIBRARY}")
    begin, end = (int(word, 16) for word in code_of(program.pid, LIBRARY)[1].split("-"))
    with open(f"/proc/{program.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        at = memory.read(end - begin).index(bytes.fromhex("488d44bf01c3")) # lea 1(%rdi,%rdi,4),%rax; ret
        memory.seek(begin + at)
        memory.write(b"\xcc")
        link = room.attach("later_lib", program.pid)
        assert "in one copy it is left out: targets-later-lib.so: 1 foreign_bytes" in link.said(), link.said()
        program.ask("lib 20 0" if lower == "1" else "lib 0 20")
        same(link.calls(), 20, "calls of the other copy")
        link.detach()
        memory.seek(begin + at)
        memory.write(b"\x48")
    program.ask("lib 5 5")


@test("many functions, of which a page is mapped once more, gigabytes above or below: each is hooked wherever it is")
def _(room):
    for line in ("far", "low"):
        program = room.program("copies")
        program.ask(line)
        first, second = (int(words.split("-")[0], 16) for words in code_of(program.pid, BINARY))
        assert abs(first - second) > 1 << 32, f"{first:#x} and {second:#x} are close together"
        before = code_bytes(program.pid, BINARY)
        link = room.attach("copies", program.pid)
        same(link.said(), f"tenon attach: link {link.ids[0]}: 1 of its functions cannot be hooked and are left out: targets-copies: 1 own_breakpoint",
             "what is left out")
        program.ask("own 10")
        same(link.calls(), 30, "calls where they are linked")
        program.ask("moved 4")
        same(link.calls(), 34, "calls of the copy, too")
        link.detach()
        until(lambda pid=program.pid, was=before: code_bytes(pid, BINARY) == was)


@test("of many functions, those that need a breakpoint are left where none can stand; such a one by itself is refused")
def _(room):
    program = room.program("copies")
    program.ask("nameless")
    link = room.attach("copies", program.pid)
    for words in ("2 of its functions cannot be hooked", "1 own_breakpoint", "1 signals_not_ours"):
        assert words in link.said(), f"no {words!r} in\n{link.said()}"
    program.ask("own 10")
    same(link.calls(), 20, "calls of the others")
    link.detach()
    room.refused("copies_tiny", [program.pid], [], "signals_not_ours", "no program's file")


@test("a breakpoint of the program's own is not hooked, and goes on to its handler; the instruction behind it is")
def _(room):
    program = room.program("copies")
    room.refused("copies_trap", [program.pid], [], "own_breakpoint", "take the instruction behind it")
    link = room.attach("copies_behind", program.pid)
    same(program.ask("trap"), "1", "breakpoints that the program has seen")
    same(program.ask("trap"), "2", "breakpoints that the program has seen")
    same(link.calls(), 2, "calls")
    link.detach()
    same(program.ask("trap"), "3", "breakpoints that the program has seen")


if __name__ == "__main__":
    main()
