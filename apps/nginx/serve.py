# SPDX-License-Identifier: MIT
"""An nginx of our own, for the demonstration and the measurements: Debian's binary as it is, with its own folder and
configuration, on a free loopback port. Ends what it started, and nothing else."""
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

NGINX = "/usr/sbin/nginx"
WORKERS = 2
PAGE = b"<!doctype html><title>tenon</title><p>A small page, as a busy server serves it.</p>\n" * 8

CONF = """
{main}
daemon off;
master_process on;
worker_processes {workers};
{user}
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log {dir}/access.log;
    default_type text/html;
    keepalive_requests 1000000;
    {http}
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    server {{ listen 127.0.0.1:{port}; root {dir}/html; {server} }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def median_interval(samples):
    """The median and its 95 % confidence interval, from order statistics: no assumption about the distribution."""
    ordered, n = sorted(samples), len(samples)
    away = 0.98 * math.sqrt(n)
    return (statistics.median(ordered), ordered[max(math.floor(n / 2 - away), 0)],
            ordered[min(math.ceil(n / 2 + away), n - 1)])


class Comparison:
    """Pairs of windows: requests a second and microseconds of processor a request, not observed and observed."""

    def __init__(self):
        self.rate, self.cpu = {"plain": [], "observed": []}, {"plain": [], "observed": []}
        self.failed = []

    def add(self, plain, observed):
        for kind, (rate, cpu) in (("plain", plain), ("observed", observed)):
            self.rate[kind].append(rate)
            self.cpu[kind].append(cpu)

    @staticmethod
    def ratios(kinds):
        return [observed / plain for observed, plain in zip(kinds["observed"], kinds["plain"])]


class Nginx:
    def __init__(self, main="", http="", server="", workers=WORKERS):
        """What is given goes into the configuration, each to its level."""
        self.count = workers
        self.dir = tempfile.mkdtemp(prefix="tenon-nginx-")
        os.chmod(self.dir, 0o755)
        os.mkdir(os.path.join(self.dir, "html"))
        with open(os.path.join(self.dir, "html", "index.html"), "wb") as page:
            page.write(PAGE)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        with open(os.path.join(self.dir, "nginx.conf"), "w") as conf:
            conf.write(CONF.format(workers=workers, dir=self.dir, port=self.port, main=main, http=http, server=server,
                                   user="user www-data;" if os.geteuid() == 0 else ""))
        self.out = open(os.path.join(self.dir, "out.log"), "wb")
        self.master = subprocess.Popen([NGINX, "-p", self.dir, "-c", os.path.join(self.dir, "nginx.conf")],
                                       stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)
        self.load = None
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self.master.poll() is not None:
                with open(os.path.join(self.dir, "out.log")) as out:
                    raise RuntimeError(f"nginx ended at once: {out.read().strip()}")
            try:
                self.get()
                if len(self.workers()) == self.count:
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("nginx did not answer within 10 s")

    def get(self):
        with urllib.request.urlopen(self.url, timeout=5) as answer:
            return answer.read()

    def workers(self):
        with open(f"/proc/{self.master.pid}/task/{self.master.pid}/children") as children:
            return [int(pid) for pid in children.read().split()]

    def log_lines(self):
        with open(os.path.join(self.dir, "access.log"), "rb") as log:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))

    def statuses(self):
        """How many lines of the access log have which status."""
        found = {}
        with open(os.path.join(self.dir, "access.log"), errors="replace") as log:
            for line in log:
                match = re.search(r'" (\d{3}) ', line)
                found[match[1] if match else "?"] = found.get(match[1] if match else "?", 0) + 1
        return found

    def errors(self):
        with open(os.path.join(self.dir, "error.log"), errors="replace") as log:
            return [line.strip() for line in log if re.search(r"\[(error|crit|alert|emerg)\]", line)]

    def settle(self):
        """Until nothing is logged any more: wrk drops what is in flight when it stops, nginx still answers and logs it."""
        before = -1
        for _ in range(50):
            now = self.log_lines()
            if now == before:
                return now
            before = now
            time.sleep(0.1)
        return before

    def wrk_start(self, seconds, connections=16):
        self.load = subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", self.url],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wrk_end(self):
        """Requests a second, requests, and what failed ([] is what we want)."""
        text, _ = self.load.communicate(timeout=60)
        self.load = None
        rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
        count = re.search(r"(\d+) requests in", text)
        if not rate or not count:
            raise RuntimeError(f"wrk: {text.strip()}")
        failed = [line.strip() for line in text.splitlines() if "Non-2xx" in line]
        for match in re.finditer(r"(connect|read|write|timeout) (\d+)", text):
            if int(match[2]):
                failed.append(match[0])
        return float(rate[1]), int(count[1]), failed

    def wrk(self, seconds, connections=16):
        self.wrk_start(seconds, connections)
        return self.wrk_end()

    def cpu_ns(self):
        """Processor time of the workers so far."""
        total = 0
        for pid in self.workers():
            with open(f"/proc/{pid}/schedstat") as stat:
                total += int(stat.read().split()[0])
        return total

    def log_size(self):
        return os.stat(os.path.join(self.dir, "access.log")).st_size

    def log_lines_between(self, start, end):
        with open(os.path.join(self.dir, "access.log"), "rb") as log:
            log.seek(start)
            return log.read(end - start).count(b"\n")

    def window(self, seconds):
        """While a load runs: requests a second, and workers' processor time a request in microseconds. Counted
        from the access log, afterwards: counting shall not disturb."""
        cpu, start, began = self.cpu_ns(), self.log_size(), time.monotonic()
        time.sleep(seconds)
        took, end, cpu = time.monotonic() - began, self.log_size(), self.cpu_ns() - cpu
        requests = self.log_lines_between(start, end)
        if not requests:
            raise RuntimeError("no request was answered while measuring")
        return requests / took, cpu / requests / 1000

    def compare(self, attached, pairs, seconds):
        """What a hook costs: `pairs` pairs of windows, one observed and one not, close together under one load.
        The order is plain, observed, observed, plain, and so on, which cancels what drifts; attached() is a context
        in which the workers are observed."""
        found = Comparison()
        self.wrk_start(3600)
        try:
            time.sleep(0.5)
            for i in range((pairs + 1) // 2):
                first = self.window(seconds)
                with attached():
                    time.sleep(0.05)
                    observed = [self.window(seconds), self.window(seconds)]
                time.sleep(0.05)
                found.add(first, observed[0])
                found.add(self.window(seconds), observed[1])
                if self.load.poll() is not None:
                    raise RuntimeError("wrk ended early")
        finally:
            self.load.send_signal(signal.SIGINT) # it sums up and ends
            _, _, found.failed = self.wrk_end()
        return found

    def stop(self):
        if self.load:
            self.load.kill()
            self.load.wait()
        if self.master.poll() is None:
            self.master.send_signal(signal.SIGQUIT)
            try:
                self.master.wait(5)
            except subprocess.TimeoutExpired:
                for pid in self.workers():
                    os.kill(pid, signal.SIGKILL)
                self.master.kill()
                self.master.wait()
        self.out.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def need_tools():
    for tool in (NGINX, "wrk"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: run 'make deps' as root")
