# SPDX-License-Identifier: MIT
"""The tool `sslsniff`, and an nginx that speaks TLS, as the demonstration, the comparison and the test run them."""
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "nginx"))
BUILD = os.environ.get("TENON_BUILD") or os.path.abspath(
    sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "build"))
TENON = os.path.join(BUILD, "src", "cli", "tenon")
TOOL = os.path.join(BUILD, "apps", "sslsniff", "sslsniff")
OBJECT = os.path.join(BUILD, "apps", "sslsniff", "sslsniff.bpf.o")
KIB = (1, 4, 16, 64, 256)

import serve # pylint: disable=wrong-import-position


class TlsNginx(serve.Nginx):
    """The nginx of apps/nginx, and the same pages over TLS with a certificate of our own: K.txt of K KiB each."""

    def __init__(self, workers):
        self.keys = tempfile.TemporaryDirectory(prefix="tenon-tls-")
        self.tls_port = serve.free_port()
        key, self.certificate = (os.path.join(self.keys.name, name) for name in ("key.pem", "certificate.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.certificate,
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True)
        super().__init__(workers=workers, server=f"""
    listen 127.0.0.1:{self.tls_port} ssl; ssl_certificate {self.certificate}; ssl_certificate_key {key};
    ssl_session_cache off; client_max_body_size 4m; error_page 405 =200 $uri;""")
        for kib in KIB:
            with open(os.path.join(self.dir, "html", f"{kib}.txt"), "w") as file:
                file.write(self.page(kib))
        self.url = f"https://127.0.0.1:{self.tls_port}/1.txt"
        self.context = ssl.create_default_context(cafile=self.certificate)

    @staticmethod
    def page(kib):
        """Lines of sixteen bytes, each a number: a byte that is lost or out of place shows."""
        return "".join(f"{kib:5} KiB {i:5}\n" for i in range(kib * 64))

    def serve_kib(self, kib):
        self.url = f"https://127.0.0.1:{self.tls_port}/{kib}.txt"

    def tls(self, path, body=None):
        with urllib.request.urlopen(f"https://127.0.0.1:{self.tls_port}/{path}", body, timeout=10,
                                    context=self.context) as answer:
            return answer.read()

    def get(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return answer.read()

    def stop(self):
        super().stop()
        self.keys.cleanup()


class Sniff:
    """`with Sniff("tenon", pids): …`; then .events is what was read and written, .sums what the tool says of it. As `text`, a
    file or, for nobody, True: .events is empty then. `shown` 0: as much as the tool shows by itself."""

    def __init__(self, where, pids, shown=1 << 18, text=None, kib=None, tool=TOOL):
        before = [TENON, "run", "--"] if where == "tenon" else []
        self.words = [*before, tool, *(["-s", str(shown)] if shown else []), *(["-b", str(kib)] if kib else []),
                      *([] if text else ["-j"]), "-p", ",".join(map(str, pids)), OBJECT]
        self.text, self.events, self.sums = text, [], {}

    def __enter__(self):
        self.out = tempfile.TemporaryFile() if not self.text else open(os.devnull, "wb")
        to = self.out if self.text in (None, True) else self.text
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.PIPE,
                                        text=True, env=dict(os.environ, TENON_EXPLAIN="1"))
        said = []
        for line in self.process.stderr:
            if line.strip() == "sslsniff: attached":
                return self
            said.append(line.strip())
        raise RuntimeError("; ".join(said) or f"status {self.process.wait()}")

    def cpu_ns(self):
        """Processor time of the tool so far."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as stat:
                total += int(stat.read().split()[0])
        return total

    def __exit__(self, *_):
        time.sleep(0.05)
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=60)
        if self.process.returncode:
            raise RuntimeError(f"sslsniff: {err}")
        if self.text:
            found = re.search(r"(\d+) calls, (\d+) bytes shown, (\d+) left out .* lost: (\d+) events of (\d+) bytes, (\d+)", err)
            names = ("calls", "bytes", "cut", "lost_events", "lost_bytes", "lost_calls")
            self.sums = dict(zip(names, map(int, found.groups())))
        else:
            self.out.seek(0)
            *events, sums = self.out.read().splitlines()
            self.events, self.sums = [json.loads(line) for line in events], json.loads(sums)
        self.out.close()

    def streams(self, what):
        """All that was read, or written: one a connection, or several that had the same SSL one after the other."""
        found = {}
        for event in self.events:
            if what in event["call"].lower():
                found.setdefault((event["pid"], event["ssl"]), bytearray()).extend(bytes.fromhex(event["bytes"]))
        return [bytes(stream) for stream in found.values()]
