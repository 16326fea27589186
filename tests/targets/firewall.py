# SPDX-License-Identifier: MIT
"""The firewall inside nginx (apps/nginx/firewall): its demonstration checks what it claims, and is the test. Its tables, which say
how much of a text need not be looked at, are held against a search that looks at everything."""
import ctypes
import importlib.machinery
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile

BUILD = os.environ["TENON_BUILD"]
FIREWALL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "apps", "nginx", "firewall")
ROUNDS = 300
LETTERS = b"abAB./% "
SCAN = b"""
#include "filter.h"
uint32_t look(const struct rules *t, const uint8_t *text, uint32_t n, int field) { return scan(t, text, n, field); }
"""


def rules_of():
    loader = importlib.machinery.SourceFileLoader("rules", os.path.join(FIREWALL, "rules"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("rules", loader))
    loader.exec_module(module)
    return module


def is_there(rule, text):
    """Letters of either case are the same, and so are other bytes that differ by 0x20, as the head of firewall.bpf.c says."""
    folded, wanted = (bytes(byte | 0x20 for byte in part) for part in (text, rule[2]))
    return folded.startswith(wanted) if rule[1] == "begins" else wanted in folded


def scanned():
    """How often the quick search and the plain one agree that there is something, and that there is nothing."""
    rules, chance, agreed = rules_of(), random.Random(4), [0, 0]
    with tempfile.TemporaryDirectory(prefix="tenon-scan.") as folder:
        path = os.path.join(folder, "scan.so")
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-w", "-shared", "-fPIC", "-I", FIREWALL, "-x", "c", "-", "-o", path],
                       input=SCAN, check=True, timeout=60)
        look = ctypes.CDLL(path).look

        def some(most):
            return bytes(chance.choice(LETTERS) for _ in range(chance.randint(1, most)))

        for _ in range(ROUNDS):
            least = chance.randint(1, 5)
            mine = [(chance.choice(("uri", "args", "agent")), chance.choice(("begins", "has", "has")), (some(5) + some(5))[:16].ljust(least, b"b"))
                    for _ in range(chance.randint(1, 12))]
            table = rules.compiled(mine, 0)
            for field, number in rules.FIELDS.items():
                for _ in range(30):
                    text = b"".join(chance.choice((some(9), chance.choice(mine)[2])) for _ in range(chance.randint(0, 5)))[:512]
                    noise = bytes(chance.choice(LETTERS) for _ in range(16)) # behind a text lies anything
                    found = look(table, text + noise, len(text), number)
                    wanted = [k for k, rule in enumerate(mine, 1) if rule[0] == field and is_there(rule, text)]
                    if (found in wanted) if wanted else not found:
                        agreed[bool(wanted)] += 1
                    else:
                        raise AssertionError(f"{found}, not one of {wanted}: {mine} in {text}, {field}")
    return agreed


def main():
    done = subprocess.run([os.path.join(FIREWALL, "demo"), BUILD], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=230,
                          env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"))
    if done.returncode == 77:
        print(f"1..0 # SKIP {done.stdout.strip()}")
        return 0
    found = re.findall(r"^   (yes|NO ) +(.*)$", done.stdout, re.MULTILINE)
    found.append(("yes" if done.returncode == 0 else "NO", "it went to its end"))
    try:
        nothing, something = scanned()
        found.append(("yes" if min(nothing, something) > 1000 else "NO",
                      f"what is skipped is nothing: {something} texts with a rule's in them, {nothing} without"))
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        found.append(("NO", "what is skipped is nothing"))
        print(f"# {error}")
    for number, (word, what) in enumerate(found, 1):
        print(f"{'ok' if word == 'yes' else 'not ok'} {number} - {what.replace('#', '')}")
    print(f"1..{len(found)}")
    if done.returncode:
        print("# " + (done.stdout[-3000:] + done.stderr).replace("\n", "\n# "))
    return any(word != "yes" for word, _ in found)


sys.exit(main())
