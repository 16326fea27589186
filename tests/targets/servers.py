# SPDX-License-Identifier: MIT
"""Debian's nginx and redis, each in a test's own folder, on a port of its own."""
import http.client
import os
import signal
import socket
import time

from harness import alive, children, free_port, listening, need, same, until

NGINX = "/usr/sbin/nginx"
REDIS = "/usr/bin/redis-server"


class Nginx:
    """nginx with a prefix of its own."""

    def __init__(self, room, workers=2):
        need(NGINX)
        self.room, self.port, self.count = room, free_port(), workers
        for folder in ("logs", "html"):
            os.mkdir(room.path(folder))
        room.write("html/index.html", "first light\n")
        os.chmod(room.dir, 0o755)
        user = "user root;" if os.geteuid() == 0 else ""
        self.conf = room.write("nginx.conf", f"""{user}
worker_processes {workers};
pid logs/nginx.pid;
error_log logs/error.log;
events {{ worker_connections 256; }}
http {{
    access_log logs/access.log;
    client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{ listen 127.0.0.1:{self.port}; root html; }}
}}
""")
        self.command = [NGINX, "-p", room.dir, "-c", self.conf, "-e", room.path("logs/error.log"), "-g", "daemon off;"]

    def start(self):
        self.process = self.room.start(self.command)
        self.ready(self.process.pid)

    def ready(self, master):
        self.master = master
        until(lambda: listening(self.port))
        self.workers = until(self.all_workers)

    def all_workers(self):
        """The workers, once all are there: the master forks them one after the other."""
        workers = children(self.master)
        return workers if len(workers) == self.count else None

    def get(self, n):
        """n requests, each over a connection of its own; all must succeed."""
        for _ in range(n):
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            link.request("GET", "/")
            answer = link.getresponse()
            same((answer.status, answer.read()), (200, b"first light\n"), "answer")
            link.close()

    def logged(self):
        with open(self.room.path("logs/access.log")) as file:
            return len(file.read().splitlines())

    def reload(self):
        """New workers, the old ones gone."""
        old = children(self.master)
        os.kill(self.master, signal.SIGHUP)
        until(lambda: not any(alive(pid) for pid in old))
        return until(self.all_workers)


class Redis:
    """A redis-server without a file of its own, in the test's folder."""

    def __init__(self, room):
        need(REDIS, "redis-cli", "redis-benchmark")
        self.room, self.port = room, free_port()
        self.command = [REDIS, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", room.dir, "--save", "",
                        "--dbfilename", "dump.rdb", "--daemonize", "no", "--logfile", room.path("redis.log")]

    def start(self):
        self.process = self.room.start(self.command)
        self.ready(self.process.pid)

    def ready(self, pid):
        self.pid = pid
        until(lambda: listening(self.port))

    def ask(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(b"*%d\r\n" % len(words) +
                         b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words))
            file = sock.makefile("rb")
            line = file.readline().decode().rstrip()
            assert not line.startswith("-"), line
            if line == "$-1":
                return None
            if line.startswith("$"):
                return file.read(int(line[1:]) + 2)[:-2].decode()
            return line[1:]

    def counted(self, command):
        """Calls of a command, by redis' own count."""
        for line in self.ask("INFO", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:"):
                return int(line.split("calls=")[1].split(",")[0])
        return 0

    def bench(self, n, clients=10):
        self.room.run(["redis-benchmark", "-p", str(self.port), "-t", "set", "-n", str(n), "-c", str(clients),
                       "-r", "1000", "-q"], seconds=60)

    def save(self):
        before = self.ask("LASTSAVE")
        time.sleep(1.1) # LASTSAVE counts in seconds
        self.ask("BGSAVE")
        until(lambda: self.ask("LASTSAVE") != before)
        assert "rdb_last_bgsave_status:ok" in self.ask("INFO", "persistence")
