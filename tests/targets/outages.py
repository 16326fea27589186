# SPDX-License-Identifier: MIT
"""Three outages that extensions have brought upon servers: each refused when it is loaded, with the reason; and the same host
fallen to the same, as a native module (a host of ours) and in Lua (Debian's nginx)."""
import contextlib
import http.client
import os
import resource
import signal
import time

from harness import HERE, Skip, alive, main, same, test, until
from nginx_host import nginx_types, serve

SOURCES = os.path.dirname(os.path.abspath(__file__))
MODULES = "/usr/lib/nginx/modules"
LUA = [os.path.join(MODULES, name) for name in ("ndk_http_module.so", "ngx_http_lua_module.so")]
WAYS = ("endless", "overflow", "deep", "deep_by_callback", "deep_by_pattern")

OURS = """
eim: 1
host: { name: targets-host }
extension_classes:
  - { name: parser, extension_entry: updateResponseContent,
      allowed: [ instructions < 10000, read(r->args), read(r->parent) ] }
"""
NGINX = """
eim: 1
host: {{ name: nginx, binary: /usr/sbin/nginx, types: {types} }}
extension_entries:
  - {{ name: content, extension_entry: ngx_http_core_content_phase, constraints: [ nonnull(r) ],
      prototype: "ngx_int_t (ngx_http_request_t *r, ngx_http_phase_handler_t *ph)" }}
extension_classes:
  - {{ name: parser, extension_entry: content,
      allowed: [ instructions < 10000, read(r->headers_in.content_length_n), read(r->parent) ] }}
"""


def hosted(room):
    room.env["TENON_POLICY"] = room.write("policy.yaml", OURS)
    return room.program("host")


def refused(room, name, host, *words):
    room.refused("outages", [host.pid], ["--program", name], *words)


class Nginx(serve.Nginx):
    """One worker, in which each function of outages.lua answers what is posted to its name."""

    def __init__(self, room):
        for module in LUA:
            if not os.path.exists(module):
                raise Skip("nginx's module for Lua is not installed: package libnginx-mod-http-lua")
        room.env["TENON_POLICY"] = room.write("policy.yaml", NGINX.format(types=nginx_types()))
        soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        if soft == resource.RLIM_INFINITY: # as usual: a stack has an end
            resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, hard))
        super().__init__(
            workers=1, main="worker_rlimit_core 0; " + " ".join(f"load_module {module};" for module in LUA),
            http=f'lua_package_path "{SOURCES}/?.lua;;"; init_by_lua_block {{ outages = require("outages") }} '
                 "client_body_buffer_size 2m; client_max_body_size 2m;",
            server=" ".join(f"location = /{name} {{ content_by_lua_block {{ ngx.req.read_body(); outages.{name}() }} }}"
                            for name in WAYS))

    def __exit__(self, *error):
        for pid in self.workers(): # one that runs for ever takes no other word
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().__exit__(*error)

    def post(self, name, size, seconds=10):
        """Status and answer; None and the reason where there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("POST", "/" + name, body=b"x" * size)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except OSError as error:
            return None, type(error).__name__
        finally:
            connection.close()

    def refuses(self, room, name, *words):
        """The program, and serves on."""
        room.refused("outages_nginx", self.workers(), ["--program", name], *words)
        same(self.get(), serve.PAGE, "the page")

    def killed_by(self, name, size):
        """The worker ended by a signal when it was asked for that; another one has its place."""
        before, = self.workers()
        same(self.post(name, size)[0], None, f"the answer to {name}")
        until(lambda: self.ended(before))
        until(lambda: self.workers() not in ([], [before]))
        same(self.get(), serve.PAGE, "the page, by the next worker")
        return self.ended(before)

    def ended(self, pid):
        """By which signal, as the master tells it."""
        words = f"worker process {pid} exited on signal "
        with open(os.path.join(self.dir, "error.log"), errors="replace") as log:
            return next((int(line.split(words)[1].split()[0]) for line in log if words in line), None)


@test("an endless loop: refused at load; a native module hangs the host", seconds=60)
def _(room):
    host = hosted(room)
    refused(room, "endless", host, "infinite loop")
    same(host.ask("content 1"), "200 h")
    host.tell(f"plugin {os.path.join(HERE, 'targets-endless.so')}")
    time.sleep(1.5)
    try:
        host.answer(0.5)
    except AssertionError:
        assert alive(host.pid)
        return
    raise AssertionError("the module came back")


@test("a buffer that overflows while a body is parsed: refused at load; a native module kills the host")
def _(room):
    host = hosted(room)
    refused(room, "overflow", host, "stack", "outages.bpf.c:")
    room.attach("outages", host.pid, options=["--program", "no_overflow"]).detach()
    host.ask("request / " + "a" * 30000)
    same(host.ask("content 1"), "200 h")
    host.tell(f"plugin {os.path.join(HERE, 'targets-overflow.so')}")
    same(host.process.wait(10) < 0, True, "killed by a signal")


@test("recursion as deep as a request says: refused at load; a native module kills the host")
def _(room):
    host = hosted(room)
    refused(room, "deep", host, "recurs")
    same(host.ask("content 1"), "200 h")
    host.tell(f"plugin {os.path.join(HERE, 'targets-deep.so')}")
    same(host.process.wait(20), -11, "a segmentation fault")


@test("on nginx, an endless loop: refused at load; in Lua no request is answered any more, and the worker cannot be ended politely",
      seconds=120)
def _(room):
    with Nginx(room) as nginx:
        nginx.refuses(room, "endless", "infinite loop", "outages.bpf.c:")
        worker, = nginx.workers()
        same(nginx.post("endless", 1, seconds=2), (None, "TimeoutError"), "the answer")
        same(nginx.post("deep", 1, seconds=2), (None, "TimeoutError"), "what another request is answered")
        os.kill(worker, signal.SIGQUIT)
        os.kill(worker, signal.SIGTERM)
        before = nginx.cpu_ns()
        time.sleep(2)
        same(nginx.workers(), [worker], "the worker that was asked to end")
        same(nginx.cpu_ns() - before > 100e6, True, f"it computes: {nginx.cpu_ns() - before} ns in 2 s")
        os.kill(worker, signal.SIGKILL)
        until(lambda: nginx.workers() not in ([], [worker]))
        same(nginx.get(), serve.PAGE, "the page, by the next worker")


@test("on nginx, a buffer that overflows while a body is parsed: refused at load; in Lua it kills the worker", seconds=120)
def _(room):
    with Nginx(room) as nginx:
        nginx.refuses(room, "overflow", "stack", "outages.bpf.c:")
        link = room.attach("outages_nginx", *nginx.workers(), options=["--program", "no_overflow"])
        same(nginx.post("deep", 1000), (200, "1000"), "the answer to a body of 1000 bytes, looked at by what is admitted")
        link.detach()
        same(nginx.post("overflow", 64), (200, "120"), "the answer to a body that fits")
        same(nginx.killed_by("overflow", 1 << 20) in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT), True, "its signal")


@test("on nginx, recursion as deep as a request says: refused at load; in Lua it is an error of its own, but by way of C it kills the worker",
      seconds=120)
def _(room):
    with Nginx(room) as nginx:
        nginx.refuses(room, "deep", "recurs")
        worker = nginx.workers()
        for name, answer in (("deep", "100"), ("deep_by_callback", "0"), ("deep_by_pattern", "nil")):
            same(nginx.post(name, 100), (200, answer), f"{name}, not deep")
        same(nginx.post("deep", 1 << 20)[0], 500, "status of recursion in Lua alone")
        same(any("stack overflow" in line for line in nginx.errors()), True, "it is an error of Lua's")
        same(nginx.workers(), worker, "the worker")
        for name in ("deep_by_callback", "deep_by_pattern"):
            same(nginx.killed_by(name, 1 << 20), signal.SIGSEGV, f"the signal of {name}")


if __name__ == "__main__":
    main()
