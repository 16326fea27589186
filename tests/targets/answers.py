# SPDX-License-Identifier: MIT
"""Answers in a function's place: by a probe (bpf_override_return), by type (fmod_ret, tenon_replace); what cannot be answered is
refused by name, and nothing touched."""
import os

from harness import code, main, same, test, until

# What `NAME A` answers by itself, and the host's own code runs once.
PLAIN = {"int": lambda a: str(a + 1), "char": str, "bool": lambda a: str(a & 1), "u64": lambda a: str(a << 40),
         "pointer": lambda a: "ointer", "nothing": lambda a: "-"}


class Host:
    def __init__(self, room):
        self.program = room.program("answers")
        self.pid = self.program.pid
        self.path = os.readlink(f"/proc/{self.pid}/exe")
        self.text = code(self.pid, self.path)
        self.calls = 0

    def ask(self, name, a):
        """The answer, and whether the function's own code has run."""
        answer, calls = self.program.ask(f"{name} {a}").split(" / ")
        ran, self.calls = int(calls) - self.calls, int(calls)
        return answer, ran

    def as_ever(self):
        until(lambda: code(self.pid, self.path) == self.text)
        for name, result in PLAIN.items():
            same(self.ask(name, 3), (result(3), 3 if name == "nothing" else 1), name)


def attached(room, host, object_name, program):
    return room.attach(object_name, host.pid, options=["--program", program])


@test("by a probe: integers of every width, a bool, a pointer, nothing; what is asked of others, and afterwards, is the host's")
def _(room):
    host = Host(room)
    host.as_ever()
    for name, answer in {"int": "-3", "char": str(0x85 - 256), "bool": "1", "u64": str(0xfedcba9876543210), "nothing": "-"}.items():
        link = attached(room, host, "answers", "probe_" + name)
        same(host.ask(name, 8), (answer, 0), f"{name}, answered")
        same(host.ask(name, 3), (PLAIN[name](3), 3 if name == "nothing" else 1), f"{name}, left alone")
        link.detach()
    link = attached(room, host, "answers", "probe_pointer")
    same(host.ask("pointer", 1), ("inter", 0))
    link.detach()
    host.as_ever()


@test("by type, returned and by tenon_replace: an int, a char, nothing")
def _(room):
    host = Host(room)
    for how in ("ret", "replace"):
        for name, answer in {"int": "-3", "char": "-3", "nothing": "-"}.items():
            link = attached(room, host, "answers_typed", f"{how}_{name}")
            same(host.ask(name, 8), (answer, 0), f"{how}: {name}, answered")
            same(host.ask(name, 3), (PLAIN[name](3), 3 if name == "nothing" else 1), f"{how}: {name}, left alone")
            link.detach()
    host.as_ever()


@test("a result is changed as the function returns: by a probe and by type, for the caller and for whoever comes next")
def _(room):
    host = Host(room)
    probe = attached(room, host, "answers", "result_int")
    same([host.ask("int", a) for a in (8, 3)], [("8", 1), ("4", 1)], "by a probe")
    twice = attached(room, host, "answers_typed", "result_int")
    # In the order in which they came: 9 is 8, and twice that; 4 is twice 4.
    same([host.ask("int", a) for a in (8, 3)], [("16", 1), ("8", 1)], "by both")
    probe.detach()
    same([host.ask("int", a) for a in (8, 3)], [("18", 1), ("8", 1)], "by type")
    answer = attached(room, host, "answers_typed", "ret_int")
    same([host.ask("int", a) for a in (8, 3)], [("-6", 0), ("8", 1)], "of an answer in its place")
    twice.detach()
    answer.detach()
    char = attached(room, host, "answers_typed", "result_char")
    same([host.ask("char", a) for a in (-3, 100)], [("-6", 1), ("-56", 1)], "a narrow one")
    char.detach()
    eight = attached(room, host, "answers_typed", "result_of_eight")
    same([host.ask("int", a) for a in (8, 3)], [("1000", 1), ("4", 1)], "by what was asked")
    eight.detach()
    host.as_ever()


@test("by two at once: the one that came first answers; with it gone the other does")
def _(room):
    host = Host(room)
    first = attached(room, host, "answers_typed", "replace_int")
    second = attached(room, host, "answers", "probe_int")
    third = attached(room, host, "answers_typed", "ret_int")
    for link in (first, third, second):
        same(host.ask("int", 8), ("-3", 0))
        same(host.ask("int", 3), ("4", 1))
        link.detach()
    host.as_ever()


def widths(a, b, c, d, e, f, g, h):
    return str(a + 10 * b + 1000 * c + 100000 * d + 10000000000 * e + f + g + h)


@test("arguments are changed at the entry: every width, extended; structs in registers and in memory; the stack; a pointer")
def _(room):
    host = Host(room)
    plain = {"widths": widths(-1, 2, -3, 4, -5, 9, -6, 7), "structs": str(1 + 20 + 300 + 4000 + 50000 + 600000 + 65),
             "handle": "129", "depth": "45"}
    changed = {"widths": widths(-2, 3, -9, 4, -4, 5, -7, 8), "structs": str(7 + 80 + 600 + 5000 + 10000 + 200000 + 65),
               "handle": "223", "depth": str(45 + 100)}
    runs = {"depth": 10}
    for name, answer in plain.items():
        same(host.ask(name, 9), (answer, runs.get(name, 1)), name)
        link = attached(room, host, "answers_typed", "change_" + name)
        same(host.ask(name, 9), (changed[name], runs.get(name, 1)), f"{name}, changed")
        link.detach()
        same(host.ask(name, 9), (answer, runs.get(name, 1)), f"{name}, afterwards")
    host.as_ever()


@test("by several at once: a probe beside programs that know types, and the result as well; recursion")
def _(room):
    host = Host(room)
    links = [attached(room, host, "answers_typed", "change_depth"), attached(room, host, "answers", "probe_depth")]
    same(host.ask("depth", 9), (str(45 + 10 * 11), 10), "each call takes both")
    links.append(attached(room, host, "answers", "result_depth"))
    same(host.ask("depth", 9), (str(45 + 10 * 11 + 10 * 1000), 10))
    links.append(attached(room, host, "answers_typed", "result_of_depth"))
    same(host.ask("depth", 9), (str(45 + 10 * (11 + 1100)), 10))
    links[0].detach()
    same(host.ask("depth", 9), (str(45 + 10 * (1 + 1100)), 10))
    for link in links[1:]:
        link.detach()
    same(host.ask("depth", 9), ("45", 10))
    host.as_ever()


@test("refused, and untouched: a register that callers count on, one that no argument has, an argument at the exit")
def _(room):
    host = Host(room)
    for object_name, program, words in (("answers_typed", "change_kept", ("register_kept", "rdi")),
                                        ("answers", "probe_kept", ("register_kept", "rdi")),
                                        ("answers", "probe_saved", ("ctx_written",)),
                                        ("answers_typed", "change_at_exit", ("argument 1 of of_depth", "as the call returns"))):
        room.refused(object_name, [host.pid], ["--program", program], *words)
    same(host.ask("kept", 3), ("4", 1))
    same(code(host.pid, host.path), host.text, "code")


@test("refused by the name of the type, and untouched: structs in one, two and mixed registers and in memory; floating point")
def _(room):
    host = Host(room)
    structs = {"ret": ("return type STRUCT", "unsupported"), "replace": ("result_not_integer",), "look": None}
    wanted = dict.fromkeys(("pair", "mixed", "small", "large"), structs)
    wanted["double"] = dict.fromkeys(structs, ("return type FLOAT", "unsupported"))
    wanted["doubles"] = dict.fromkeys(structs, ("arg1 type FLOAT", "unsupported"))
    for name, ways in wanted.items():
        plain = host.ask(name, 8)
        for how, words in ways.items():
            if words:
                room.refused("answers_typed", [host.pid], ["--program", f"{how}_{name}"], f"of_{name}", *words)
                continue
            link = attached(room, host, "answers_typed", f"{how}_{name}") # nothing is answered
            same(host.ask(name, 8), plain, name)
            link.detach()
        same(host.ask(name, 8), plain, name)
        same(code(host.pid, host.path), host.text, "code")


main()
