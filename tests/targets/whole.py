# SPDX-License-Identifier: MIT
"""All functions of a program or library hooked at once, entries and exits, while it does its work: the same results."""
import http.client
import json
import os
import random
import shutil
import subprocess

from harness import HERE, Skip, alive, code, main, maps, need, same, test, until
from servers import NGINX, REDIS, Nginx, Redis

PYTHON = "/usr/bin/python3.11"
LIBCRYPTO = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"
GOFMT = "/usr/lib/go-1.19/bin/gofmt"
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"


def hooked(room, name, least, *pids, options=()):
    """Entries and exits of all functions, in one link each a process; how many functions that are."""
    links = [room.attach(f"{name}_{what}", *pids, options=options) for what in ("entries", "exits")]
    rows = {row["id"]: row for row in room.links()}
    for link, at_least in zip(links, least):
        for number in link.ids:
            row = rows[number]
            print(f"# {name}, {row['kind']}: {row['functions']} functions, {row['places']} places;"
                  f" left {row['left']}: {row['left_why']}; by tactic {row['tactics']}")
            same(sum(row["tactics"].values()), row["places"], "places by tactic")
            assert len(row["tactics"]) > 1, row
            assert row["functions"] >= at_least, row
    return links


def gone(links, text):
    for link in links:
        link.detach()
    until(lambda: text() is True)


def is_as(pid, path):
    path = os.path.realpath(path)
    before = code(pid, path)
    return lambda: code(pid, path) == before


@test("nginx: serves the same under load, and logs as many requests as were answered", 120)
def _(room):
    need("wrk")
    nginx = Nginx(room)
    nginx.start()
    nginx.get(4)
    text = [is_as(pid, NGINX) for pid in nginx.workers]
    links = hooked(room, "nginx", (500, 400), *nginx.workers)
    nginx.get(100)
    before = nginx.logged()
    said = room.run(["wrk", "-t", "2", "-c", "16", "-d", "3s", f"http://127.0.0.1:{nginx.port}/"], seconds=30)
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    answered = int(said.split(" requests in")[0].split()[-1])
    assert 0 <= nginx.logged() - before - answered <= 16, (nginx.logged() - before, answered)
    assert links[0].calls() > 10 * answered and links[1].calls() > 5 * answered, (answered, [l.calls() for l in links])
    same([link.missed() for link in links], [0, 0], "missed")
    assert all(alive(pid) for pid in nginx.workers)
    gone(links, lambda: all(same_text() for same_text in text))
    nginx.get(4)


def conversation(redis, seed):
    """Some hundred commands of many kinds on a server that is empty, and all its answers."""
    rand, answers = random.Random(seed), []
    ask = lambda *words: answers.append(redis.ask(*map(str, words)))
    ask("FLUSHALL")
    for n in range(400):
        key, other, value = f"k{rand.randrange(20)}", f"k{rand.randrange(20)}", rand.randrange(1000)
        ask(*rand.choice([
            ("SET", f"s{key}", value), ("APPEND", f"s{key}", "x"), ("STRLEN", f"s{key}"), ("GETRANGE", f"s{key}", 0, 3),
            ("RPUSH", f"l{key}", value, n), ("LLEN", f"l{key}"), ("LINDEX", f"l{key}", 0), ("LREM", f"l{key}", 1, value),
            ("HSET", f"h{key}", value, n), ("HLEN", f"h{key}"), ("HSTRLEN", f"h{key}", value),
            ("SADD", f"e{key}", value), ("SCARD", f"e{key}"), ("SUNIONSTORE", f"e{other}", f"e{key}", f"e{other}"),
            ("ZADD", f"z{key}", value, n), ("ZCOUNT", f"z{key}", 0, 500), ("ZREMRANGEBYRANK", f"z{key}", 0, 0),
            ("PFADD", f"p{key}", value), ("PFCOUNT", f"p{key}"), ("SETBIT", f"b{key}", value, 1), ("BITCOUNT", f"b{key}"),
            ("EVAL", "local n=0; for i=1,50 do n=n+i end; return redis.call('SET', KEYS[1], n)", 1, f"s{key}"),
            ("DEL", f"l{key}"), ("EXISTS", f"z{key}"), ("TYPE", f"h{key}"), ("DBSIZE",),
        ]))
    return answers


@test("redis: the same answers to the same commands, under its own benchmark, and a dump that it reads again", 120)
def _(room):
    redis = Redis(room)
    redis.start()
    wanted, text = conversation(redis, 7), is_as(redis.pid, REDIS)
    links = hooked(room, "redis", (1000, 700), redis.pid)
    same(conversation(redis, 7), wanted, "answers")
    room.run(["redis-benchmark", "-p", str(redis.port), "-t", "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset",
              "-n", "3000", "-c", "10", "-q"], seconds=60)
    redis.save()
    assert links[0].calls() > 100000 and links[1].calls() > 50000, [link.calls() for link in links]
    same([link.missed() for link in links], [0, 0], "missed")
    gone(links, text)
    same(conversation(redis, 7), wanted, "answers afterwards")


PYTHON_WORK = """
import sys, io, unittest, importlib
def run(names):
    stream = io.StringIO()
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromName(name) for name in names)
    done = unittest.TextTestRunner(stream=stream, verbosity=0).run(suite)
    return (done.testsRun, sorted(t.id() for t, _ in done.failures + done.errors), len(done.skipped))
for line in sys.stdin:
    names = line.split()
    for name in names:
        importlib.import_module(name)
    print(run(names), flush=True)
"""
TESTS = ("test_json test_generators test_list test_dict test_set test_string test_bytes test_struct test_itertools"
         " test_exceptions test_functools test_heapq test_zlib test_bisect test_contextlib test_deque test_complex").split()


@test("python: its own regression tests, a stretch of them, with the same outcome", 200)
def _(room):
    need(PYTHON)
    probe = subprocess.run([PYTHON, "-c", "import test.test_json"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    names = [f"test.{name}" for name in TESTS] if probe.returncode == 0 else None
    assert names, "the package that holds python's own tests is not installed: libpython3.11-testsuite"
    python = room.program_of([PYTHON, "-c", PYTHON_WORK], stderr=subprocess.DEVNULL)
    wanted = python.ask(" ".join(names), 120)
    text = is_as(python.pid, PYTHON)
    links = hooked(room, "python", (1400, 1000), python.pid)
    same(python.ask(" ".join(names), 120), wanted, "outcome")
    print(f"# {wanted}")
    assert links[0].calls() > 1000000 and links[1].calls() > 100000, [link.calls() for link in links]
    gone(links, text)
    same(python.ask(" ".join(names[:3]), 60).split(",")[0][:1], "(", "it still answers")


CRYPTO_WORK = """
import sys, ssl, hashlib, hmac, random
def handshake(cert):
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=cert)
    server.load_cert_chain(cert)
    a, b, c, d = (ssl.MemoryBIO() for _ in range(4))
    s = server.wrap_bio(a, b, server_side=True)
    k = client.wrap_bio(c, d, server_hostname="localhost")
    done = [False, False]
    while not all(done):
        for n, (o, read, other) in enumerate(((k, d, a), (s, b, c))):
            try:
                if not done[n]:
                    o.do_handshake()
                    done[n] = True
            except ssl.SSLWantReadError:
                pass
            other.write(read.read())
    data, got = random.Random(3).randbytes(300000), b""
    for at in range(0, len(data), 10000):
        k.write(data[at:at + 10000])
        a.write(d.read())
        try:
            while True:
                got += s.read(16384)
        except ssl.SSLWantReadError:
            pass
    return got == data
for line in sys.stdin:
    data, seen = random.Random(5).randbytes(100001), []
    for name in sorted(hashlib.algorithms_available):
        try:
            h = hashlib.new(name, data, usedforsecurity=False)
            seen.append((name, h.hexdigest(20) if h.digest_size == 0 else h.hexdigest()))
        except ValueError as e:
            seen.append((name, "unsupported"))
    seen.append(hashlib.pbkdf2_hmac("sha256", b"a", data[:16], 2000).hex())
    seen.append(hashlib.scrypt(b"a", salt=b"b", n=1024, r=8, p=1).hex())
    seen.append([handshake(line.strip()) for _ in range(5)])
    print(seen, flush=True)
"""


@test("libcrypto: digests, key derivation and TLS handshakes with the same results", 200)
def _(room):
    need(PYTHON, "openssl")
    cert = room.path("cert.pem")
    room.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
              "subjectAltName=DNS:localhost", "-keyout", room.path("key"), "-out", room.path("crt")])
    with open(cert, "w") as out:
        for name in ("key", "crt"):
            with open(room.path(name)) as part:
                out.write(part.read())
    python = room.program_of([PYTHON, "-c", CRYPTO_WORK], stderr=subprocess.DEVNULL)
    wanted = python.ask(cert, 60)
    assert "[True, True, True, True, True]" in wanted, wanted
    text = is_as(python.pid, LIBCRYPTO)
    links = hooked(room, "crypto", (4000, 2500), python.pid)
    same(python.ask(cert, 120), wanted, "results")
    assert links[0].calls() > 100000 and links[1].calls() > 50000, [link.calls() for link in links]
    gone(links, text)
    same(python.ask(cert, 60), wanted, "results afterwards")


BASH_WORK = r"""
work() {
    local n=0 i
    for ((i = 0; i < 200; i++)); do n=$((n + i * i % 7)); done
    for i in 1 2 3 4 5; do (exit $i); echo "$i $?"; done
    printf '%s\n' {a..f}{1..4} | sort -r | head -5 | tr a-f A-F
    for i in $(seq 1 20); do echo "line $i"; done > "$TMP/f"; wc -l < "$TMP/f"; cat "$TMP/f" | tail -2
    [[ "some text 42" =~ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}"
    trap 'echo trapped' USR1; kill -USR1 $BASHPID; trap - USR1
    sleep 0.05 & wait $!; echo "waited $?"
    coproc cat; echo hello >&"${COPROC[1]}"; read -r l <&"${COPROC[0]}"; echo "$l"; kill "$COPROC_PID"; wait 2>/dev/null
    declare -A m; for i in x y z; do m[$i]=$n; done; echo "${#m[@]} ${m[y]}"
}
while read -r line; do work 2>&1 | tr '\n' '|'; echo; done
"""


@test("bash, with all of its C library hooked: forks, pipes, signals and waits as before", 120)
def _(room):
    bash = room.program_of(["/usr/bin/bash", "-c", BASH_WORK], env=dict(room.env, TMP=room.dir))
    wanted = bash.ask("go", 30)
    assert "trapped" in wanted and "waited 0" in wanted and "hello" in wanted, wanted
    text = is_as(bash.pid, LIBC)
    links = hooked(room, "libc", (1500, 900), bash.pid, options=("--follow",))
    for _ in range(3):
        same(bash.ask("go", 60), wanted, "what it printed")
    assert links[0].calls() > 10000 and links[1].calls() > 5000, [link.calls() for link in links]
    gone(links, text)
    same(bash.ask("go", 30), wanted, "what it printed afterwards")


def each(room, link, path, bias):
    """How often each function was counted, by name."""
    rows = json.loads(room.tenon("map", "dump", str(link.map_ids["each"]), "--json"))
    names = {int(row.split()[0], 16): row.split()[2] for row in room.run(["nm", path]).splitlines() if row[0] != " "}
    return {names.get(int(row["key"]) - bias): int(row["value"]) for row in rows}


def work(go, address):
    """What a program of Go can do that is the same each time."""
    said = [go.ask(f"load {address} 200", 100), go.ask("calls 8 500", 100), go.ask("grows 4 25 300", 100), go.ask("trace", 30),
            go.ask("registers", 30), go.ask("run", 30), go.ask("getpid 100", 30), go.ask("threads 20", 30)]
    for path, method in (("/", "GET"), ("/a/b?c=d", "POST"), ("//twice/../up", "GET"), ("*", "OPTIONS"), ("/" + "l" * 9000, "PUT")):
        link = http.client.HTTPConnection(address, timeout=20)
        link.request(method, path, body="some text" if method != "GET" else None)
        answer = link.getresponse()
        said.append((answer.status, sorted(answer.headers.keys()), answer.read()))
        link.close()
    return said


def whole_go(room, kind, least):
    need("wrk", "nm")
    if not os.path.exists(os.path.join(HERE, "targets-" + kind)):
        raise Skip("there is no compiler of Go (golang-go)")
    path = room.path("targets-go")
    shutil.copy(os.path.join(HERE, "targets-" + kind), path)
    go = room.program_of([path], stderr=subprocess.DEVNULL)
    address = go.ask("serve")
    # Go's linker lets both kinds begin at the same address.
    bias = min(int(line.split("-")[0], 16) for line in maps(go.pid) if line.endswith(path)) - 0x400000
    counted = lambda link: each(room, link, path, bias)
    wanted, text = work(go, address), is_as(go.pid, path)
    assert wanted[0] == "1600" and (wanted[8][0], wanted[8][2]) == (200, b"9\n"), wanted
    links = hooked(room, "go", least, go.pid)
    same(work(go, address), wanted, "results")
    go.ask("turmoil 1")
    same(work(go, address), wanted, "results in turmoil")
    go.ask("turmoil 0")
    before = [counted(link) for link in links]
    go.ask("calls 8 500")
    go.ask("grows 4 25 300")
    go.ask(f"load {address} 200", 100)
    after = [counted(link) for link in links]
    for name, calls in {"main.leaf": 8000 + 100 + 1600, "main.frugal": 4000, "main.recovers": 4000, "main.deep": 30100,
                        "main.handler": 1600, "net/http.serverHandler.ServeHTTP": 1600}.items():
        same([now[name] - then[name] for now, then in zip(after, before)], [calls, calls], name)
    said = room.run(["wrk", "-t", "2", "-c", "16", "-d", "3s", f"http://{address}/"], seconds=30)
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    answered = int(said.split(" requests in")[0].split()[-1])
    for link, then in zip(links, after):
        served = counted(link)["main.handler"] - then["main.handler"]
        assert 0 <= served - answered <= 16, (served, answered)
        assert len(then) > 1000, len(then)
    # A signal's handler is hooked as all else is; if it has interrupted a run of the program, it is not run once more, as in Linux.
    same([(row["missed"], row["ended"]) for row in room.links()], [(row["recursion"], False) for row in room.links()])
    gone(links, text)
    same(work(go, address), wanted, "results afterwards")
    again = hooked(room, "go", least, go.pid)
    same(work(go, address), wanted, "results once more")
    gone(again, text)


@test("a server of Go: the same answers under load, amid collections and stops of the world, and exact numbers", 250)
def _(room):
    whole_go(room, "go", (5000, 4650))


@test("and one that is position-independent, beside the C library", 250)
def _(room):
    whole_go(room, "go-pie", (5000, 4650))


@test("gofmt, from its first instruction on: what it prints of others' sources", 120)
def _(room):
    need(GOFMT)
    if os.geteuid() != 0:
        raise Skip("only root may watch for exec")
    sources = [folder for folder in ("/usr/share/go-1.19/src/net/url", "/usr/share/go-1.19/src/mime") if os.path.isdir(folder)]
    assert sources, "the package that holds Go's sources is not installed: golang-1.19-src"
    command = [GOFMT, "-s", "-r", "(a) -> a", *sources]
    wanted = room.run(command)
    assert wanted.count("package url") > 1, wanted[:1000]
    links = [room.attach("gofmt_" + what, nlinks=1) for what in ("entries", "exits")]
    for _ in range(2):
        same(room.run(command, seconds=60) == wanted, True, "the same output")
    rows = room.links()
    print(f"# left: {[(row['left'], row['left_why']) for row in rows]}, calls: {[link.calls() for link in links]}")
    assert links[0].calls() > 1000000 and links[1].calls() > 1000000
    same([row["missed"] for row in rows], [row["recursion"] for row in rows])
    for link in links:
        link.detach()
    same(room.run(command) == wanted, True, "the same output afterwards")


main()
