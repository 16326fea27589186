# SPDX-License-Identifier: MIT
"""apps/sslsniff: what processes read and write through OpenSSL, byte by byte."""
import os
import random
import re
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "apps", "sslsniff"))
import sslsniff # pylint: disable=wrong-import-position
from harness import Skip, main, need, same, test, until # pylint: disable=wrong-import-position

KIB = sslsniff.KIB


class Tls:
    """An nginx that speaks TLS, and what was said to it."""

    def __init__(self, room, workers):
        need("nginx", "openssl")
        self.nginx = sslsniff.TlsNginx(workers)
        self.asked, self.answered = [], []
        self.lock = threading.Lock()
        os.environ["TENON_SOCKET"] = room.env["TENON_SOCKET"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.nginx.stop()

    def exchange(self, kib, mark, body=0, alphabet=range(32, 127)):
        """One request over a connection of its own, kept to the byte."""
        text = bytes(random.Random(mark).choices(alphabet, k=body))
        what = f"POST /{kib}.txt" if body else f"GET /{kib}.txt"
        request = (f"{what} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {body}\r\n"
                   f"X-Mark: {mark}\r\n\r\n").encode() + text
        answer = b""
        with socket.create_connection(("127.0.0.1", self.nginx.tls_port), 20) as plain:
            with self.nginx.context.wrap_socket(plain, server_hostname="127.0.0.1") as link:
                link.sendall(request)
                while part := link.recv(65536):
                    answer += part
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(self.nginx.page(kib).encode()), answer[:200]
        with self.lock:
            self.asked.append(request)
            self.answered.append(answer)

    def many(self, rounds, threads=6, body=0):
        failed = []

        def run(number):
            try:
                for i in range(rounds):
                    for kib in KIB:
                        self.exchange(kib, (number * rounds + i) * 1000 + kib, body)
            except BaseException as error: # pylint: disable=broad-except
                failed.append(error)
        all_ = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
        for thread in all_:
            thread.start()
        for thread in all_:
            thread.join()
        assert not failed, failed


def faults(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[7])


def whole(said, streams, what):
    """Each message stands in one piece in one of the streams, and nothing else does."""
    streams = list(streams)
    for message in said:
        for i, stream in enumerate(streams):
            at = stream.find(message)
            if at >= 0:
                streams[i] = stream[:at] + stream[at + len(message):]
                break
        else:
            raise AssertionError(f"{what}: not seen: {message[:120]!r} ({len(message)} bytes)")
    same(sum(map(len, streams)), 0, f"{what}: bytes that nobody said")


@test("every byte of a known exchange, both directions, 1 KiB to 256 KiB, several workers", 120)
def _(room):
    with Tls(room, workers=3) as tls:
        tls.exchange(1, 0)
        tls.asked.clear(), tls.answered.clear()
        with sslsniff.Sniff("tenon", tls.nginx.workers()) as sniff:
            tls.many(4)
            tls.many(1, body=300000)
            time.sleep(0.2)
        whole(tls.asked, sniff.streams("read"), "read")
        whole(tls.answered, sniff.streams("write"), "written")
        same({name: sniff.sums[name] for name in ("cut", "lost_events", "lost_bytes", "lost_calls", "unreadable")},
             dict.fromkeys(("cut", "lost_events", "lost_bytes", "lost_calls", "unreadable"), 0), "not shown")
        same(sniff.sums["bytes"], sum(map(len, tls.asked + tls.answered)), "bytes")
        workers = {event["pid"] for event in sniff.events}
        assert workers <= set(tls.nginx.workers()) and len(workers) > 1, workers
        assert all(0 < event["ns"] < 10**10 for event in sniff.events), "latency"
        tls.exchange(64, 1) # it goes on, unwatched


@test("as text: a line of what, when, who, how many and how long, then the bytes, with dots for what cannot be read", 60)
def _(room):
    with Tls(room, workers=1) as tls, tempfile.TemporaryFile() as out:
        pid, = tls.nginx.workers()
        began = time.monotonic()
        with sslsniff.Sniff("tenon", [pid], shown=0, text=out) as sniff:
            for kib in (1, 16):
                tls.exchange(kib, kib)
            tls.exchange(1, 3, body=100, alphabet=range(256))
            time.sleep(0.2)
        took = time.monotonic() - began
        out.seek(0)
        heading, *lines = re.split(rb"^((?:READ |WRITE) .*)\n", out.read(), flags=re.M)
        same(heading, b"FUNC   TIME(s)        COMM             PID      LEN      LAT(ms)\n", "heading")
        bytes_of, before, seen = {b"READ": b"", b"WRITE": b""}, 0.0, 0
        for title, text in zip(lines[::2], lines[1::2]):
            what, when, comm, who, length, latency = title.split()
            same(title, b"%-6s %-14s %-16s %-8s %-8s %s" % (what, when, comm, who, length, latency), "how it is laid out")
            same((comm, int(who)), (b"nginx", pid), "who")
            assert re.fullmatch(rb"\d+\.\d{6}", when) and before <= float(when) <= took, title
            assert re.fullmatch(rb"\d+\.\d{3}", latency) and float(latency) < 1000 * took, title
            same(text[-1:], b"\n", "the end")
            same(len(text) - 1, min(int(length), 8192), title)
            before, seen = float(when), seen + 1
            bytes_of[what] += text[:-1]
        shown_as = bytes(c if 32 <= c <= 126 or c in b"\n\t" else ord(".") for c in range(256))
        same(bytes_of[b"READ"], b"".join(tls.asked).translate(shown_as), "read")
        same(seen, sniff.sums["calls"], "lines")
        answers = b"".join(tls.answered).translate(shown_as)
        assert sniff.sums["cut"] and answers.startswith(bytes_of[b"WRITE"][:8192]), "written"
        same(sum(map(len, bytes_of.values())), sniff.sums["bytes"], "bytes")


@test("only as much of each call as is asked for; what is left out is said", 60)
def _(room):
    with Tls(room, workers=1) as tls:
        with sslsniff.Sniff("tenon", tls.nginx.workers(), shown=100) as sniff:
            tls.many(1, threads=2)
            time.sleep(0.2)
        same(sniff.sums["bytes"] + sniff.sums["cut"], sum(map(len, tls.asked + tls.answered)), "shown and left out")
        assert all(len(event["bytes"]) <= 200 for event in sniff.events)
        assert sniff.sums["cut"] > sniff.sums["bytes"]


@test("the ring is the worker's before the first message: a page of it costs no fault", 60)
def _(room):
    with Tls(room, workers=1) as tls:
        pid, = tls.nginx.workers()
        with sslsniff.Sniff("tenon", [pid], kib=8192):
            with open(f"/proc/{pid}/smaps") as maps:
                parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", maps.read(), flags=re.M)
            sizes = [tuple(int(re.search(rf"^{name}: +(\d+) kB", part, re.M)[1]) for name in ("Size", "Rss"))
                     for part in parts if "/memfd:tenon-map" in part]
            ring = max(sizes)
            assert ring[0] > 2 * 8192 and 8192 <= ring[1] < 8192 + 64, sizes
            before = faults(pid)
            tls.many(2, threads=2)
            assert faults(pid) - before < 500, faults(pid) - before # the ring has 2048 pages


@test("a ring that is full while nobody reads: what is lost is counted, to the byte", 60)
def _(room):
    with Tls(room, workers=1) as tls:
        with sslsniff.Sniff("tenon", tls.nginx.workers(), kib=64) as sniff:
            tls.exchange(1, 1)
            time.sleep(0.2)
            tool = until(lambda: tool_of(sniff.process.pid))
            os.kill(tool, signal.SIGSTOP)
            try:
                tls.many(2, threads=2)
            finally:
                os.kill(tool, signal.SIGCONT)
            tls.exchange(4, 2)
            time.sleep(0.2)
        assert sniff.sums["lost_bytes"] > 100000 and sniff.sums["lost_events"] > 10, sniff.sums
        same(sniff.sums["bytes"] + sniff.sums["lost_bytes"], sum(map(len, tls.asked + tls.answered)), "shown and lost")
        assert any(tls.answered[-1] in stream for stream in sniff.streams("write")), "seen again afterwards"


def tool_of(pid):
    """`tenon run` becomes the tool, or starts it."""
    for candidate in [pid, *children(pid)]:
        with open(f"/proc/{candidate}/cmdline", "rb") as file:
            if os.path.basename(file.read().split(b"\0")[0]) == b"sslsniff":
                return candidate
    return None


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


# What Python 3.10 and later call are the _ex forms.
SERVER = """
import socket, ssl, sys, threading, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def serve(link):
    with context.wrap_socket(link, server_side=True) as tls:
        while part := tls.recv(1 << 20):
            tls.sendall(part.swapcase())
def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
while True:
    time.sleep(0.01) # a thread that can be borrowed: accept cannot be interrupted unseen
"""


@test("the _ex forms, from several threads of one process", 60)
def _(room):
    if sys.version_info < (3, 10):
        raise Skip("this Python calls SSL_read and SSL_write")
    need("openssl")
    key, certificate = room.path("key.pem"), room.path("certificate.pem")
    room.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
              "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
    os.environ["TENON_SOCKET"] = room.env["TENON_SOCKET"]
    server = room.program_of([sys.executable, "-c", SERVER, certificate, key])
    port = int(server.answer())
    with open(f"/proc/{server.pid}/maps") as file:
        if "/libssl.so.3" not in file.read():
            raise Skip("this Python does not use libssl.so.3")
    context = ssl.create_default_context(cafile=certificate)
    said, heard = [], []

    def talk(number):
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as link:
                for size in (1, 100, 1000, 5000, 16384, 40000, 200000):
                    text = bytes(random.Random(number * size).choices(b"abcXYZ \n", k=size))
                    link.sendall(text)
                    answer = b""
                    while len(answer) < size:
                        answer += link.recv(1 << 20)
                    same(answer, text.swapcase(), "answer")
                    said.append(text)
                    heard.append(answer)
    with sslsniff.Sniff("tenon", [server.pid]) as sniff:
        threads = [threading.Thread(target=talk, args=(number,)) for number in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.3)
    same({event["call"] for event in sniff.events}, {"SSL_read_ex", "SSL_write_ex"}, "calls")
    whole(sorted(said, key=len, reverse=True), sniff.streams("read"), "read")
    whole(sorted(heard, key=len, reverse=True), sniff.streams("write"), "written")
    same(sniff.sums["lost_bytes"] + sniff.sums["lost_calls"] + sniff.sums["unreadable"], 0, "lost")


main()
