# SPDX-License-Identifier: MIT
"""The model's own example on the nginx that it is about: Debian's, stripped and unmodified, with types of its headers. Three
lines of its table do not hold there; each is refused by name, and what is right instead works on an nginx that serves."""
import os
import time

from harness import main, same, test, until
from nginx_host import nginx_types, serve

# As the paper has it, and as it is.
PID = "{ name: readPid, operation: read(ngx_pid) }"
TIME = ('{ name: nginxTime, function: ngx_time, prototype: "time_t (void)", constraints: [ "rtn > 0" ] }',
        '{ name: nginxTime, function: ngx_next_time, prototype: "time_t (time_t when)",\n'
        '      constraints: [ "when >= 0 and when < 86400", "rtn > 0" ] }')
BEGIN = ('{ name: processBegin, extension_entry: ngx_http_process_request, prototype: "ngx_int_t (ngx_http_request_t *r)" }',
         '{ name: processBegin, extension_entry: ngx_http_process_request, prototype: "void (ngx_http_request_t *r)",\n'
         '      constraints: [ nonnull(r) ] }')
UPDATE = ('{ name: updateResponseContent, extension_entry: ngx_http_content_phase,\n'
          '      prototype: "ngx_int_t (ngx_http_request_t *r)" }',
          '{ name: updateResponseContent, extension_entry: ngx_http_core_content_phase, constraints: [ nonnull(r) ],\n'
          '      prototype: "ngx_int_t (ngx_http_request_t *r, ngx_http_phase_handler_t *ph)" }')
CLASSES = """
extension_classes:
  - { name: observeProcessBegin, extension_entry: processBegin,
      allowed: [ instructions < inf, memory < 1 MiB, helpers(shared), nginxTime, readPid, read(r) ] }
  - { name: updateResponse, extension_entry: updateResponseContent, allowed: [ instructions < inf, read(r), write(r) ] }
"""


def policy(room, time_line=TIME[1], begin=BEGIN[1], update=UPDATE[1], classes=CLASSES):
    text = (f"eim: 1\nhost: {{ name: nginx, binary: /usr/sbin/nginx, types: {nginx_types()} }}\n"
            f"state_capabilities:\n  - {PID}\nfunction_capabilities:\n  - {time_line}\n"
            f"extension_entries:\n  - {begin}\n  - {update}\n{classes}")
    room.env["TENON_POLICY"] = room.write("nginx.yaml", text)
    return room.env["TENON_POLICY"]


def refused(room, name, pids, *words):
    room.refused("paper", pids, ["--program", name], *words)


def told(room, path, *words):
    room.tenon("spec", "check", path, status=1)
    for word in words:
        assert word in room.err, f"no {word!r} in\n{room.err}"


@test("of the paper's table three lines do not hold: each is refused by name, with the nearest", seconds=120)
def _(room):
    nginx_types()
    with serve.Nginx() as nginx:
        pids = nginx.workers()
        told(room, policy(room, time_line=TIME[0]), "nginx.yaml:6:", "function nginxTime", "no function ngx_time",
             'did you mean "ngx_time', "[no_host_function]")
        refused(room, "observe", pids, "nginx.yaml:6:", 'no function "ngx_time"', "no_host_function")
        told(room, policy(room, update=UPDATE[0]), "entry updateResponseContent", "no function ngx_http_content_phase",
             'did you mean "ngx_http_core_content_phase"?')
        time.sleep(0.3) # the broker waits for an editor's last piece
        refused(room, "observe", pids, 'no function "ngx_http_content_phase"',
                'did you mean "ngx_http_core_content_phase"?')
        # Its name alone does not make it that: it takes another argument.
        told(room, policy(room, update=UPDATE[0].replace("ngx_http_content", "ngx_http_core_content")),
             "ngx_http_core_content_phase takes 2 arguments, and 1 stands here")
        told(room, policy(room, begin=BEGIN[0]), "nginx.yaml:9:",
             "the result is a long int here, and a void in the host's own types of ngx_http_process_request")
        time.sleep(0.3)
        refused(room, "observe", pids, "the result is a", "a void in the host's own types of ngx_http_process_request")
        same(nginx.get(), serve.PAGE, "the page")
        same(room.links(), [], "links")


@test("corrected, each class admits its extension on an nginx that serves, and refuses what only the other grants", seconds=120)
def _(room):
    path = policy(room)
    room.tenon("spec", "check", path)
    with serve.Nginx(main="", http="log_format took '$request_time'; ", server="access_log logs.txt took;") as nginx:
        pids, log = nginx.workers(), os.path.join(nginx.dir, "logs.txt")

        def took():
            with open(log) as file:
                return [float(line) for line in file]

        first = room.attach("paper", *pids, options=["--program", "observe"], nlinks=1)
        for _ in range(50):
            same(nginx.get(), serve.PAGE, "the page")
        pid, midnight, start = (int(room.tenon("map", "lookup", str(first.map_ids["seen"]), str(k))) for k in range(3))
        same(pid in pids, True, f"{pid} is one of {pids}")
        now = time.time()
        same(0 < midnight - now <= 86400 + 1, True, f"midnight: {midnight}, now {now}")
        same(abs(now - start) < 60, True, f"a request began at {start}, now {now}")
        until(lambda: len(took()) > 40)
        before = len(took())
        same(max(took()) < 100, True, "seconds that requests took")
        second = room.attach("paper", *pids, options=["--program", "update"], nlinks=1)
        for _ in range(50):
            same(nginx.get(), serve.PAGE, "the page")
        until(lambda: len(took()) >= before + 50)
        same(min(took()[before + 1:]) >= 1000, True, "seconds that requests took, as the log has them now")
        refused(room, "observe_and_write", pids, 'class "observeProcessBegin" does not allow this write',
                "needs  write(r->start_sec)", "paper.bpf.c:")
        refused(room, "update_and_look", pids, 'class "updateResponse" does not allow', "needs  readPid")
        refused(room, "update_elsewhere", pids, "updateResponse", "ngx_http_process_request")
        first.detach()
        second.detach()
        after = len(took())
        same(nginx.get(), serve.PAGE, "the page")
        until(lambda: len(took()) > after)
        same(took()[-1] < 100, True, "as before")
        same([e for e in nginx.errors() if "favicon" not in e], [], "nginx's errors")


if __name__ == "__main__":
    main()
