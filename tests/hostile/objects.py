#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Objects that are no objects, and programs that have no place: each is refused with its reason while a target
runs, which notices nothing; and the broker goes on serving."""
import os, random, struct, subprocess, time
from house import *

GOOD = read(OBJECT, "rb")
HEAD = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"


class Scene:
    """A house with a victim; `refused` and `judged` attach a file to it."""

    def __enter__(self):
        self.h = House()
        self.h.__enter__()
        self.v = Victim(self.h)
        # A link that stays: the broker must outlive whatever it is given, and the link go on counting.
        self.h.attach("--keep", "-p", self.v.pid).ok()
        self.broker = self.h.pid_of("broker")
        return self

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                assert self.h.pid_of("broker") == self.broker, "the broker died"
                before = self.h.runs()
                self.v.call(100)
                assert self.h.runs() - before == 100, "the link that was there before counts no more"
                self.h.tenon("detach", "--all").ok()
                self.v.intact()
                self.h.works(self.v)
        finally:
            self.h.__exit__(kind, value, tb)
        return False

    def file(self, content, name="o.bpf.o"):
        path = os.path.join(self.h.dir, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def compiled(self, source, *options):
        path = os.path.join(self.h.dir, "c.bpf.o")
        text = self.file((HEAD + source).encode(), "c.bpf.c")
        subprocess.run(["clang", "-g", "-O2", "-target", "bpf", *options, "-idirafter", "/usr/include/x86_64-linux-gnu",
                        "-c", text, "-o", path], check=True)
        return path

    def attach(self, path, *options):
        return self.h.tenon("attach", "--json", "--for", "0.01", *options, "-p", self.v.pid, path)

    def refused(self, path, reason, *parts):
        self.attach(path).refused(reason, *parts)


@case("empty, text, truncated header, a program of this machine, 32 bits, the other byte order, a folder")
def _():
    with Scene() as s:
        s.refused(s.file(b""), "empty_file")
        s.refused(s.file(b"hello, world\n" * 10), "not_elf")
        s.refused(s.file(GOOD[:40]), "truncated_elf")
        s.refused("/bin/true", "not_bpf", "x86-64")
        s.refused(s.file(GOOD[:4] + b"\1" + GOOD[5:]), "not_bpf", "32-bit")
        s.refused(s.file(GOOD[:5] + b"\2" + GOOD[6:]), "wrong_endian")
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim:hot\") int p(void *c) { return 0; }", "-target", "bpfeb"), "wrong_endian")
        s.refused(s.h.dir, "not_a_file")
        s.refused(os.path.join(s.h.dir, "none.o"), "no_file")


@case("truncated anywhere")
def _():
    with Scene() as s:
        for i in range(24):
            r = s.attach(s.file(GOOD[:len(GOOD) * i // 24]))
            assert r.status == 1 and "[" in r.err, (i, r.status, r.err)


@case("damaged at random: judged or refused, nobody crashes")
def _():
    rng, seen = random.Random(3), {}
    with Scene() as s:
        for i in range(60):
            bad = bytearray(GOOD)
            for _ in range(rng.choice((1, 3, 30))):
                # half of them where they hurt: the header, the section table
                at = rng.randrange(len(bad)) if rng.random() < 0.5 else rng.choice(
                    (rng.randrange(16, 64), len(bad) - 1 - rng.randrange(64 * 20)))
                bad[at] = rng.choice((0, 0xff, 0x7f, rng.randrange(256)))
            r = s.attach(s.file(bytes(bad)), "--program", "on_hot")
            assert r.status in (0, 1), (i, r.status, r.err)
            assert r.status == 0 or r.err.startswith("tenon"), (i, r.err)
            word = r.err[r.err.rfind("["):].split("]")[0] + "]" if r.status else "attached"
            seen[word] = seen.get(word, 0) + 1
            s.v.call(10)
    diag(seen)


@case("instructions damaged at random: the verifier decides, the target never notices")
def _():
    rng, seen = random.Random(4), {}
    shoff, = struct.unpack_from("<Q", GOOD, 40)
    num, names = struct.unpack_from("<HH", GOOD, 60)
    section = [struct.unpack_from("<IIQQQQ", GOOD, shoff + 64 * i) for i in range(num)]
    name = lambda i: GOOD[section[names][4] + section[i][0]:].split(b"\0")[0]
    code = next(i for i in range(num) if name(i) == b"uprobe/hostile-victim:hot" and section[i][1] == 1)
    with Scene() as s:
        for i in range(60):
            bad = bytearray(GOOD)
            for _ in range(rng.choice((1, 1, 2, 4))):
                bad[section[code][4] + rng.randrange(section[code][5])] = rng.randrange(256)
            r = s.attach(s.file(bytes(bad)), "--program", rng.choice(("on_hot", "on_hot_busy")))
            assert r.status in (0, 1), (i, r.status, r.err)
            assert r.status == 0 or r.err.startswith("tenon"), (i, r.err)
            seen[r.status] = seen.get(r.status, 0) + 1
            s.v.call(10)
    diag(seen)


@case("no program; a section that is unknown; one that is no place")
def _():
    with Scene() as s:
        s.refused(s.compiled("int x = 1;"), "no_program")
        s.refused(s.compiled("SEC(\"kwobe/hostile-victim:hot\") int p(void *c) { return 0; }"), "unknown_section", "kwobe", "uprobe")
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim\") int p(void *c) { return 0; }"), "bad_section")
        s.refused(s.compiled("SEC(\"uprobe\") int p(void *c) { return 0; }"), "no_place")
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim:hot+zz\") int p(void *c) { return 0; }"), "bad_section", "zz")


@case("a function that is not there: the nearest names")
def _():
    with Scene() as s:
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim:leave_by_tail\") int p(void *c) { return 0; }"), "no_symbol", "leaves_by_tail")
        s.refused(s.compiled("SEC(\"uprobe/no-such-file-at-all:hot\") int p(void *c) { return 0; }"), "no_file", "no-such-file-at-all")
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim:hot+1\") int p(void *c) { return 0; }"), "not_an_instruction_start")
        s.refused(s.compiled("SEC(\"uprobe/hostile-victim:hot+0x7000000\") int p(void *c) { return 0; }"), "not_code")


@case("a refused program: its line of C, and the reason")
def _():
    with Scene() as s:
        path = s.compiled("SEC(\"uprobe/hostile-victim:hot\") int p(void *c) {\n  volatile long *x = (void *)8;\n  return *x;\n}")
        r = s.attach(path)
        diag(r.err.strip())
        assert r.status == 1 and "return *x" in r.err, r.err
        path = s.compiled("SEC(\"uprobe/hostile-victim:hot\") int p(void *c) {\n  for (volatile int i = 0;; i++);\n  return 0;\n}")
        r = s.attach(path)
        diag(r.err.strip())
        assert r.status == 1 and "for (" in r.err, r.err


main(60)
