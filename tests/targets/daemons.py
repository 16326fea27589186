# SPDX-License-Identifier: MIT
"""nginx and redis: Debian's, live and from their first instruction, while they work."""
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import children, code, fds, main, same, test, until
from servers import NGINX, REDIS, Nginx, Redis


def settled(pids):
    """Their descriptors, once the last connection is closed."""
    def twice():
        seen = {pid: fds(pid) for pid in pids}
        time.sleep(0.2)
        return seen if seen == {pid: fds(pid) for pid in pids} else None
    return until(twice)


@test("redis, live: commands that leave by tail jumps are counted as redis counts them")
def _(room):
    redis = Redis(room)
    redis.start()
    text = code(redis.pid, os.path.realpath(REDIS))
    links = {name: room.attach(f"redis_{name}_exit", redis.pid) for name in ("get", "ping")}
    redis.ask("SET", "a", "1")
    for _ in range(100):
        same((redis.ask("GET", "a"), redis.ask("PING"), redis.ask("PING", "hello")), ("1", "PONG", "hello"))
    room.run(["redis-benchmark", "-p", str(redis.port), "-t", "get,ping_mbulk,ping_inline", "-n", "20000", "-c", "10", "-q"],
             seconds=60)
    for name, link in links.items():
        same((link.calls(), link.missed()), (redis.counted(name), 0), name)
        assert link.calls() > 20000
        link.detach()
    until(lambda: code(redis.pid, os.path.realpath(REDIS)) == text)
    same(redis.ask("GET", "a"), "1")


@test("nginx, live: functions that leave by tail jumps, one after the other; every return counted while it serves", 120)
def _(room):
    nginx = Nginx(room)
    nginx.start()
    nginx.get(4)
    text = {pid: code(pid, NGINX) for pid in nginx.workers}
    links = [room.attach(name, *nginx.workers)
             for name in ("nginx_request_exit", "nginx_finalize", "nginx_finalize_exit")]
    request, begun, ended = links
    nginx.get(300)
    until(lambda: begun.calls() == ended.calls(), 5)
    same(request.calls(), 300, "returns of ngx_http_process_request")
    assert ended.calls() >= 300, ended.calls()
    same([link.missed() for link in links], [0, 0, 0], "missed")
    if shutil.which("wrk"):
        before, last = nginx.logged(), request.calls()
        room.run(["wrk", "-t", "2", "-c", "16", "-d", "3s", f"http://127.0.0.1:{nginx.port}/"], seconds=30)
        until(lambda: begun.calls() == ended.calls(), 5)
        # Those that wrk no longer waited for are served, but may not be logged.
        assert 0 <= request.calls() - last - (nginx.logged() - before) <= 16, (request.calls(), nginx.logged())
        same([link.missed() for link in links], [0, 0, 0], "missed, under load")
    for link in links:
        link.detach()
    nginx.get(20)
    until(lambda: {pid: code(pid, NGINX) for pid in nginx.workers} == text)


@test("nginx, live: both workers, every request counted; descriptors and code as before afterwards")
def _(room):
    nginx = Nginx(room)
    nginx.start()
    nginx.get(4)
    files, text = settled(nginx.workers), {pid: code(pid, NGINX) for pid in nginx.workers}
    logged = nginx.logged()
    link = room.attach("nginx_free", *nginx.workers)
    same({pid: fds(pid) for pid in nginx.workers}, files, "descriptors while attached")
    nginx.get(300)
    until(lambda: nginx.logged() - logged == 300)
    same(link.calls(), 300, "requests counted")
    same(set(link.by_pid()) <= set(nginx.workers), True, "counted in the workers alone")
    link.detach()
    until(lambda: all(code(pid, NGINX) == text[pid] for pid in nginx.workers))
    same(settled(nginx.workers), files, "descriptors")
    nginx.get(20)


@test("nginx reloads while its workers are extended: they leave in peace, the new ones are not counted")
def _(room):
    nginx = Nginx(room)
    nginx.start()
    link = room.attach("nginx_free", *nginx.workers)
    nginx.get(50)
    same(link.calls(), 50, "before the reload")
    old, new = nginx.workers, nginx.reload()
    nginx.get(50)
    same(new, children(nginx.master), "the new workers stay")
    same(link.process.wait(10), 0, "tenon attach ends when its processes have")
    link = room.attach("nginx_free", *new)
    nginx.get(50)
    same(link.calls(), 50, "new ones, named")
    assert not set(link.by_pid()) & set(old)
    link.detach()


@test("nginx's master alone: its workers' requests are not its own, nor those of workers that inherit our bytes")
def _(room):
    nginx = Nginx(room)
    nginx.start()
    link = room.attach("nginx_free", nginx.master)
    nginx.get(30)
    same(link.calls(), 0, "by workers born before")
    new = nginx.reload()
    nginx.get(30)
    same(link.calls(), 0, "by workers born under the link")
    link.detach()
    nginx.get(30)
    same(children(nginx.master), new, "the workers live")


@test("nginx's master with --follow: workers forked by a reload count, those from before do not")
def _(room):
    nginx = Nginx(room)
    nginx.start()
    link = room.attach("nginx_free", nginx.master, options=["--follow"])
    nginx.get(30)
    same(link.calls(), 0, "by workers born before")
    new = nginx.reload()
    nginx.get(200)
    same(link.calls(), 200, "by workers born under the link")
    assert set(link.by_pid()) <= set(new)
    link.detach()
    nginx.get(30)
    same(children(nginx.master), new, "the workers live")
    new = nginx.reload()
    nginx.get(30)


@test("nginx from its start: master and workers, every request counted")
def _(room):
    nginx = Nginx(room)
    link = room.attach_start("nginx_free", nginx.command)
    nginx.ready(until(lambda: children(link.process.pid))[0])
    nginx.get(200)
    same(link.calls(), 200, "requests counted")
    assert set(link.by_pid()) <= set(nginx.workers)
    nginx.reload()
    nginx.get(100)
    same(link.calls(), 300, "requests counted after a reload")
    os.kill(nginx.master, signal.SIGQUIT)
    same(link.process.wait(15), 0, "status")


@test("nginx under load: attached and detached over and over, no request fails", seconds=90)
def _(room):
    nginx = Nginx(room)
    nginx.start()
    failures, over = [], threading.Event()

    def load():
        try:
            while not over.is_set():
                nginx.get(5)
                time.sleep(0.002)
        except Exception as error: # pylint: disable=broad-except
            failures.append(error)

    loads = [threading.Thread(target=load) for _ in range(2)]
    for thread in loads:
        thread.start()
    try:
        for _ in range(15):
            link = room.attach("nginx_free", *nginx.workers)
            seen = link.calls()
            until(lambda: link.calls() > seen)
            link.detach()
    finally:
        over.set()
        for thread in loads:
            thread.join()
    same(failures, [], "failed requests")
    same(children(nginx.master), nginx.workers, "the workers live")


@test("redis, live, under redis-benchmark: as many calls of setCommand as redis counts itself")
def _(room):
    redis = Redis(room)
    redis.start()
    redis.bench(2000)
    before = redis.counted("set")
    link = room.attach("redis_set", redis.pid)
    redis.bench(20000)
    same(link.calls(), redis.counted("set") - before, "calls")
    same(link.missed(), 0, "missed")
    link.detach()
    redis.bench(2000)


@test("redis from its start, under redis-benchmark: exact, and it ends with its own status")
def _(room):
    redis = Redis(room)
    link = room.attach_start("redis_set", redis.command)
    redis.ready(until(lambda: children(link.process.pid))[0])
    redis.bench(20000)
    same(link.calls(), redis.counted("set"), "calls")
    os.kill(redis.pid, signal.SIGTERM)
    same(link.process.wait(15), 0, "status")


@test("redis is attached to under load, and detached: no request is lost, none answered wrongly", seconds=90)
def _(room):
    redis = Redis(room)
    redis.start()
    rounds = sets = 0
    while rounds < 3: # on a busy machine one load may be over before a few of them are
        load = room.start(["redis-benchmark", "-p", str(redis.port), "-t", "set,get", "-n", "60000", "-c", "8", "-q"],
                          stdout=subprocess.DEVNULL)
        sets += 60000
        while load.poll() is None and rounds < 60:
            low = redis.counted("set")
            link = room.attach("redis_set", redis.pid)
            inside = redis.counted("set")
            inner = redis.counted("set") - inside
            seen = link.calls()
            high = redis.counted("set") - low
            assert inner <= seen <= high, (inner, seen, high)
            link.detach()
            rounds += 1
        same(load.wait(60), 0, "redis-benchmark")
    same(redis.counted("set"), sets, "SETs by redis' own count")


@test("redis saves in a fork child while attached: it counts only with --follow; its file is whole", seconds=90)
def _(room):
    redis = Redis(room)
    redis.start()
    for i in range(500):
        redis.ask("SET", f"key{i}", f"value{i}")
    for follow in (False, True):
        link = room.attach("redis_save", redis.pid, options=["--follow"] if follow else [])
        redis.save()
        same(link.calls(), 500 if follow else 0, f"objects saved{' --follow' if follow else ''}")
        assert redis.pid not in link.by_pid()
        room.run(["redis-check-rdb", room.path("dump.rdb")])
        link.detach()
        redis.save()
    redis.process.send_signal(signal.SIGTERM)
    redis.process.wait(10)
    redis.start()
    same(redis.ask("DBSIZE"), "500", "keys loaded again")
    same(redis.ask("GET", "key321"), "value321")


main()
