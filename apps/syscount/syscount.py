# SPDX-License-Identifier: MIT
"""The tool `syscount` as the demonstration and the comparison run it: inside the processes, or on the kernel."""
import json
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "nginx"))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "build"))
TENON = os.path.join(BUILD, "src", "cli", "tenon")
TOOL = os.path.join(BUILD, "apps", "syscount", "syscount")
OBJECT = os.path.join(BUILD, "apps", "syscount", "syscount.bpf.o")
# The kernel's tracepoints are files; where nobody has mounted them, in a mount namespace of our own.
KERNEL = ["unshare", "-m", "sh", "-c",
          'test -d /sys/kernel/tracing/events || mount -t tracefs none /sys/kernel/tracing; exec "$@"', "sh"]


class Refused(RuntimeError):
    pass


class Count:
    """`with Count("tenon", pids): …`; then .rows is what it has counted, by call."""

    def __init__(self, where, pids, timed=True):
        self.pids = ",".join(map(str, pids))
        before = [TENON, "run", "-p", self.pids, "--"] if where == "tenon" else KERNEL
        self.words = [*before, TOOL, *([] if timed else ["-c"]), "-j", "-p", self.pids, OBJECT]
        self.rows = []

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=dict(os.environ, TENON_EXPLAIN="1"))
        said = []
        for line in self.process.stderr:
            if line.strip() == "syscount: attached":
                return self
            said.append(line.strip())
        raise Refused("; ".join(said) or f"status {self.process.wait()}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        if self.process.returncode:
            raise RuntimeError(f"syscount: {err}")
        self.rows = json.loads(out)

    def by_call(self):
        found = {}
        for row in self.rows:
            calls, ns = found.get(row["call"], (0, 0))
            found[row["call"]] = (calls + row["calls"], ns + row["ns"])
        return found
