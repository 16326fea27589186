#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The part of the comparison with Linux that every `make check` bears: fixtures, the project's own programs, and some
thousands of generated ones. Speaks TAP.

    tests/differential/bounded.py [--renew]

--renew writes fixtures.tar.gz anew: the project's programs, each once, and generated ones, with the verdict of the running
kernel. They name no type of a kernel, so that they mean the same on every machine, bpf(2) or not.
"""
import glob
import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("TENON_BUILD") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")
TOOLS = os.path.join(BUILD, "tests/differential")
FIXTURES = os.path.join(HERE, "fixtures.tar.gz")
GENERATED = 160
KINDS = ["", "CORPUS", "OBJECT", "NAME", "PROGRAM", "INSNS", "FUNC_INFO", "LINE_INFO", "BTF", "MAP", "CONTENTS", "VERDICT",
         "MESSAGES", "LOG", "EXPECT", "RUN"]
FALSE_REFUSALS = {"project": 1.0, "generated": 2.0} # percent
points = 0


def point(good, name, why=""):
    global points
    points += 1
    print(f"{'ok' if good else 'not ok'} {points} - {name}", flush=True)
    for line in ([] if good else why.splitlines()):
        print(f"# {line}", flush=True)


def skip(name, reason):
    global points
    points += 1
    print(f"ok {points} - {name} # SKIP {reason}", flush=True)


def run(*command, **more):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more)


def no_kernel():
    """Why the kernel is not asked, or None."""
    done = run(os.path.join(TOOLS, "differ"), "--from", 1, "--count", 1)
    return done.stdout.decode().strip().removeprefix("skipped: ") if done.returncode == 77 else None


def parts(data):
    at = 16
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        yield KINDS[kind], data[at + 8:at + 8 + size]
        at += 8 + (size + 7) // 8 * 8


def slim(data):
    """Without lines, logs and whatever names the machine; None where the kernel's types are needed."""
    out = b""
    for kind, body in parts(data):
        if kind == "PROGRAM" and struct.unpack_from("<4I", body)[3]:
            return None
        if kind == "INSNS" and any(body[k] == 0x85 and body[k + 1] >> 4 == 2 for k in range(0, len(body), 8)):
            return None
        if kind == "PROGRAM":
            body = body[:32] + struct.pack("<2I", 0, 0) + body[40:]
        if kind == "VERDICT":
            body = body[:32] + b"linux".ljust(64, b"\0")
        if kind not in ("LINE_INFO", "LOG", "EXPECT"):
            out += struct.pack("<II", KINDS.index(kind), len(body)) + body + b"\0" * (-len(body) % 8)
    return b"tnrecord" + struct.pack("<II", 1, 16 + len(out)) + out


def record_project(folder):
    """Every BPF object of this build, each program loaded by libbpf into the running kernel."""
    os.makedirs(folder, exist_ok=True)
    env = dict(os.environ, TENON_RECORD=folder, TENON_RECORD_CORPUS="project")
    for path in sorted(glob.glob(os.path.join(BUILD, "**", "*.bpf.o"), recursive=True)):
        if "/selftests/" not in path and "/corpora/" not in path:
            run(os.path.join(TOOLS, "load"), path, env=env, timeout=60)
    return os.path.join(folder, "project")


def renew():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "generated"))
        run(os.path.join(TOOLS, "differ"), "--from", 1, "--count", GENERATED, "--keep", os.path.join(folder, "generated"), check=True)
        # What only Linux can explain, asked again, means nothing on a machine without it.
        needs_linux = {(row["object"], row["program"]) for row in replay_rows(folder) if row["answer"] == "explained"}
        found = sorted(glob.glob(record_project(folder) + "/*/*.rec")) + sorted(glob.glob(folder + "/generated/*.rec"))
        seen, raw = set(), io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for path in found:
                data = slim(open(path, "rb").read())
                text = data and next(body for kind, body in parts(data) if kind == "INSNS")
                key = text and hashlib.sha256(text).digest()
                name = data and tuple(body.rstrip(b"\0").decode() for kind, body in parts(data) if kind in ("OBJECT", "NAME"))
                if not data or key in seen or name in needs_linux:
                    continue
                seen.add(key)
                info = tarfile.TarInfo(os.path.relpath(path, folder))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with open(FIXTURES, "wb") as out:
            with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
                packed.write(raw.getvalue())
    print(f"{len(seen)} programs, {os.path.getsize(FIXTURES)} bytes")


def replay_rows(folder):
    done = run(os.path.join(TOOLS, "replay"), "--json", "--all", folder, timeout=120)
    return [json.loads(line) for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("{")]


def replay(folder):
    """Answers by name, and a text of what is wrong."""
    rows = replay_rows(folder)
    counts = {}
    for row in rows:
        counts[row["answer"]] = counts.get(row["answer"], 0) + 1
    rows.sort(key=lambda row: row["answer"]) # accepted_here comes first
    wrong = [f"{row['object']}/{row['program']}: {row['answer']}: Linux: {row['linux']['words'] or 'accepted'}; "
             f"ours: {row['ours']['words'] or 'accepted'}" for row in rows if not row["answer"].startswith(("agree", "elsewhere", "unjudged"))]
    return counts, "\n".join(wrong[:20])


def compare(name, folder, limit):
    counts, wrong = replay(folder)
    accepted = counts.get("agree_accepted", 0) + counts.get("refused_here", 0)
    rate = 100 * counts.get("refused_here", 0) / accepted if accepted else 100
    print(f"# {name}: {counts}")
    point(not any(counts.get(bad) for bad in ("accepted_here", "crashed", "hung", "unreadable", "unnamed")) and accepted,
          f"{name}: nothing is accepted that Linux refuses", wrong)
    point(rate <= limit, f"{name}: at most {limit} % are refused that Linux accepts", f"{rate:.2f} %\n{wrong}")


def long_run(name, limit, *words):
    done = run(os.path.join(TOOLS, "differ"), *words, timeout=120)
    text = done.stdout.decode(errors="replace")
    bad = sum(int(line.split()[0]) for line in text.splitlines() if line.split()[1:2] in (["accepted_here"], ["crashed"]))
    hung = sum(int(line.split()[0]) for line in text.splitlines() if line.split()[1:2] == ["hung"])
    rate = next((float(line.split(",")[-1].split()[0]) for line in text.splitlines() if "programs in" in line), 100.0)
    print(f"# {name}: {text.splitlines()[-1].strip() if text else 'nothing'}")
    point(not bad and not hung and done.returncode in (0, 1), f"{name}: nothing is accepted that Linux refuses, but for what is proved", text[:2000])
    if limit is not None:
        point(rate <= limit, f"{name}: at most {limit} % are refused that Linux accepts", f"{rate} %\n{text[:2000]}")


def main():
    if "--renew" in sys.argv:
        return renew()
    print("1..8", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(FIXTURES) as tar:
            tar.extractall(folder)
        compare("fixtures", folder, FALSE_REFUSALS["generated"])
        reason = no_kernel()
        if reason:
            for name in ("the project's programs", "the project's programs: rate", "generated programs", "generated programs: rate",
                         "mutants of the project's programs", "mutants: rate"):
                skip(name, reason)
            return None
        project = record_project(os.path.join(folder, "now"))
        compare("the project's programs", project, FALSE_REFUSALS["project"])
        long_run("generated programs", FALSE_REFUSALS["generated"], "--from", 1, "--count", 6000, "--seconds", 15)
        long_run("mutants of the project's programs", FALSE_REFUSALS["generated"], "--from", 1, "--count", 6000, "--seconds", 8,
                 "--mutate", project)
    return None


if __name__ == "__main__":
    main()
