# SPDX-License-Identifier: MIT
"""Least privilege, end to end: what a host's developers offer (annotations of host.c), what its manager allows (a
policy), and extensions that keep to it or do not."""
import json
import os

from harness import HERE, main, same, test

# As the model's paper has them.
PAPER = """
- { name: observeProcessBegin, extension_entry: processBegin,
    allowed: [ instructions < inf, nginxTime, readPid, read(r) ] }
- { name: updateResponse, extension_entry: updateResponseContent,
    allowed: [ instructions < inf, read(r), write(r) ] }
"""
OTHERS = """
- { name: watcher, extension_entry: updateResponseContent,
    allowed: [ instructions < 1000, memory < 1 MiB, read(r->uri.len), helpers(shared), readsArgs ] }
- { name: observeProcessEnd, extension_entry: processBegin,
    allowed: [ instructions < 1000, memory < 1 MiB, read(r->method), write(r->method), read(rtn), helpers(shared) ] }
- { name: allocator, extension_entry: updateResponseContent,
    allowed: [ instructions < 1000, read(r->method), allocate, giveBack ] }
- { name: timed, extension_entry: updateResponseContent,
    allowed: [ instructions < 1000, memory < 1 MiB, helpers(shared), readTime, countAnswer ] }
- { name: leaser, extension_entry: updateResponseContent, allowed: [ instructions < 1000, leaseOne ] }
- { name: leaserInside, extension_entry: processBegin, allowed: [ instructions < 1000, leaseOne ] }
- { name: summer, extension_entry: updateResponseContent,
    allowed: [ instructions < 1000, memory < 1 MiB, read(r->uri.len), helpers(shared), checksum ] }
- { name: reader, extension_entry: useStore,
    allowed: [ instructions < 2000, memory < 1 MiB, helpers(shared), "read(s->code[2 .. s->ncodes])",
               "read(s->item[0 .. s->nitems])", "read(s->either.text[0 .. s->neither])", "read(s->either.wide[0 .. 3])",
               "read(s->tail[0 .. s->ntail])" ] }
- { name: indexer, extension_entry: useStore,
    allowed: [ instructions < 2000, memory < 1 MiB, helpers(shared), "read(s->crate[..].weight)",
               "read(s->crate[..].side[0])", "write(s->crate[..].code)", "read(s->crate[2].code)" ] }
- { name: writer, extension_entry: useStore,
    allowed: [ instructions < 2000, memory < 1 MiB, helpers(shared), "write(s->out[0 .. s->room])",
               "write(s->code[3 .. s->ncodes])", "read(s->code[2 .. s->ncodes])", "write(s->either.text[0 .. s->neither])" ] }
"""


# One that admits in_rounds, and three that lack one thing each.
ROUNDS = "".join(f"""
- {{ name: {name}, extension_entry: updateResponseContent,
    allowed: [ instructions < {most}, memory < 1 MiB, read(r->uri.len), nginxTime, helpers(shared), {more} ] }}
""" for name, most, more in [("rounds", 1000, "read(r->method), bpf_loop"), ("fewer", 100, "read(r->method), bpf_loop"),
                             ("unread", 1000, "bpf_loop"), ("straight", 1000, "read(r->method)")])


def hosted(room, classes=PAPER + OTHERS, program="host"):
    room.env["TENON_POLICY"] = room.write("policy.yaml", f"eim: 1\nhost: {{ name: targets-{program} }}\n"
                                                         "extension_classes:" + classes)
    return room.program(program)


def enter(room, name, host, *options):
    return room.attach("eim", host.pid, options=["--program", name, *options])


def refused(room, name, host, *words, options=()):
    room.refused("eim", [host.pid], ["--program", name, *options], *words)


def seen(room, link, at):
    return int(room.tenon("map", "lookup", str(link.map_ids["seen"]), str(at)))


@test("the paper's own example: each class admits its extension, which does what it says")
def _(room):
    host = hosted(room)
    first, second = enter(room, "observe", host), enter(room, "update", host)
    same(host.ask("begin 10"), str(10 * (2 + 11)))
    same(host.ask("content 1"), "201 h")
    same(host.ask("request /a/long/path/that/is/too/long x"), "29 1")
    same(host.ask("content 2"), "828 h")
    first.detach()
    second.detach()


@test("the paper's own example: each class refuses what only the other grants, with the line and the capability")
def _(room):
    host = hosted(room)
    refused(room, "observe_and_write", host, 'class "observeProcessBegin" does not allow this write',
            "needs  write(r->status)", "eim.bpf.c:", "r->status = 404")
    refused(room, "update_and_look", host, 'class "updateResponse" does not allow', "needs  readPid")
    refused(room, "update_by_time", host, "needs  nginxTime")
    refused(room, "update_elsewhere", host, "updateResponse", "ngx_http_process_request")
    refused(room, "observe", host, options=["--class", "updateResponse"])
    refused(room, "update", host, options=["--class", "observeProcessBegin"])
    refused(room, "update", host, "no extension class", options=["--class", "nobodys"])
    same(room.links(), [], "links")
    same(host.ask("content 1"), "200 h")


@test("in a function that is called back: its rounds are counted before, and what it reaches is asked for as anywhere")
def _(room):
    host = hosted(room, ROUNDS)
    host.ask("request /a/bc x")
    link = enter(room, "in_rounds", host, "--class", "rounds")
    answer = host.ask("content 1")
    one = seen(room, link, 0)
    same([seen(room, link, at) for at in range(6)], [one, 2 * one, 3 * one, 4 * one, 0, 4], "sums and rounds")
    same(one % 100, len("/a/bc"), "uri.len")
    link.detach()
    same(host.ask("content 1"), answer)
    rows = json.loads(room.tenon("verify", "--json", "--class", "rounds", "--host", os.path.join(HERE, "targets-host"),
                                 os.path.join(HERE, "eim.bpf.o"), status=None))
    longest = next(row["facts"]["longest_path"] for row in rows if row["program"] == "in_rounds")
    assert 100 < longest < 1000, longest
    for name, *words in [("fewer", "with all rounds of what it calls back", "path_limit"),
                         ("unread", "needs  read(r->method)", "rounds->r->method"), ("straight", "needs  bpf_loop")]:
        refused(room, "in_rounds", host, *words, options=["--class", name])


NEGATOR = """
extension_entries: [ { name: negate, extension_entry: negated, constraints: [ "rtn > 0" ] } ]
extension_classes:
- { name: negator, extension_entry: negate, allowed: [ instructions < 100, read(a), replace ] }
"""


@test("an answer by fmod_ret is what the function promises, or is refused at its line; 0 is none")
def _(room):
    room.env["TENON_POLICY"] = room.write("policy.yaml", "eim: 1\nhost: { name: targets-host }" + NEGATOR)
    host = room.program("host")
    refused(room, "answer_ill", host, "rtn > 0 (", "policy.yaml:", "eim.bpf.c:")
    link = enter(room, "answer_well", host)
    same(host.ask("many").split()[3], "7")
    link.detach()


@test("an observer that writes, one that leaks a field, by name or by address, one that has it read")
def _(room):
    host = hosted(room)
    link = enter(room, "watcher", host)
    host.ask("content 1")
    same(seen(room, link, 0), 11)
    link.detach()
    refused(room, "watcher_writes", host, "needs  write(r->status)", "r->status = 500")
    refused(room, "watcher_leaks", host, "needs  read(r->secret")
    refused(room, "watcher_leaks_by_address", host, "needs  read(process)")
    refused(room, "reads_by_proxy", host, "needs  read(r->args.len)")


@test("what a variable of the host points to is read, and 0 where it is NULL; who may write one may not read it")
def _(room):
    host = hosted(room)
    link = enter(room, "timed", host)
    host.ask("content 1")
    same(seen(room, link, 2), 0)
    same(host.ask("clock 77"), "1")
    host.ask("content 1")
    same(seen(room, link, 2), 77)
    same(host.ask("clock 5"), "78")
    link.detach()
    refused(room, "timed_and_looks", host, "needs  read(ngx_cached_time->reads)")
    refused(room, "timed_and_counts", host, "this read\nneeds  read(answers)")


@test("a function that may not be called while it runs: only where its developers say that it does not")
def _(room):
    host = hosted(room)
    link = enter(room, "leases", host, "--class", "leaser")
    host.ask("content 3")
    same(host.ask("leases"), "3")
    link.detach()
    refused(room, "leases_inside", host, "lease_one may not be called while it runs",
            'needs  outside(lease_one) among the constraints of "processBegin"', "eim.bpf.c:", options=["--class", "leaserInside"])
    same(host.ask("leases"), "3")


@test("at the exit: fields of an argument and the result as the class says, and nothing stored, which may be gone")
def _(room):
    host = hosted(room)
    link = enter(room, "ended", host)
    host.ask("begin 1")
    same([seen(room, link, 0), seen(room, link, 1)], [2, 13], "method, result")
    link.detach()
    refused(room, "ended_and_looks", host, "needs  read(r->status)", "r->status")
    refused(room, "ended_and_writes", host, "eim.bpf.c:", "r->method = result")


@test("what is allocated is given back on every way out, or the extension is refused")
def _(room):
    host = hosted(room)
    link = enter(room, "gives_back", host)
    host.ask("content 100")
    same(host.ask("pool"), "100 100")
    link.detach()
    refused(room, "never_frees", host, "eim.bpf.c:")
    refused(room, "frees_sometimes", host, "eim.bpf.c:")


@test("a length belongs to its buffer")
def _(room):
    host = hosted(room)
    link = enter(room, "sums", host)
    host.ask("content 1")
    wanted = 0
    for letter in b"sixteen letters\0":
        wanted = (wanted * 31 + letter) % (1 << 64)
    same(seen(room, link, 1) % (1 << 64), wanted, "sum")
    link.detach()
    refused(room, "sums_too_much", host, "eim.bpf.c:", "checksum")


EFAULT, EOVERFLOW = -14, -75


@test("buffers: elements, from one that is not the first, in a union, at an object's end; one object, two versions of the host")
def _(room):
    for program, size in (("host", 16), ("host2", 24)):
        host = hosted(room, program=program)
        link = enter(room, "reads_store", host)
        for what, at, wanted in (("well", 3, [6, 102 + 104 * 1000, 2 * size, 7001, 6, ord("r"), 8, 4, ord("l")]),
                                 ("short", 3, [0, 0]),
                                 ("negative", 3, [EOVERFLOW, 0]),
                                 ("huge", 5, [96 // size * size, 7001]),
                                 ("null", 5, [EFAULT, 0]),
                                 ("number", 7, [EFAULT, 0, EFAULT])):
            host.ask("store " + what)
            same([seen(room, link, at + k) for k in range(len(wanted))], wanted, f"{program} {what}")
        link.detach()
        refused(room, "reads_too_early", host, "needs  read(s->code[1 .. s->ncodes])", "eim.bpf.c:")
    host = hosted(room)
    link = enter(room, "reads_store", host)
    same(host.ask("store gone"), "5")
    same([seen(room, link, at) for at in (3, 4)], [EFAULT, 0])
    link.detach()


@test("an element by a number of the program's own: any of them, the same field of each, and none beside")
def _(room):
    for program in ("host", "host2"):
        host = hosted(room, program=program)
        link = enter(room, "indexes_store", host)
        code = 42
        for k in (0, 3, 2, 4, 77, 1):
            room.tenon("map", "update", str(link.map_ids["seen"]), "15", str(k))
            host.ask("store well")
            if k in range(4):
                weight, side = 500 + k, k
                code = 9002 if k == 2 else code
            same([seen(room, link, at) for at in (3, 4, 5)], [weight, side, code], f"{program} {k}")
        link.detach()
        refused(room, "indexes_too_far", host, "beyond the last element of crate of struct Store", "eim.bpf.c:")
        refused(room, "indexes_another_field", host, "needs  read(s->crate[..].side[1])", "eim.bpf.c:")


@test("buffers whose lengths change, and whose bytes go and come, while they are copied")
def _(room):
    host = hosted(room)
    link = enter(room, "reads_in_a_race", host)
    for rounds in range(1, 41):
        same(host.ask("stores 20000"), "20000")
        counts = [seen(room, link, at) for at in range(3, 7)]
        same(sum(counts), rounds * 20000, f"each of a kind: {counts}")
        if min(counts) > 0:
            break
    same(min(counts) > 0, True, f"some of each kind: {counts}")
    link.detach()


@test("a buffer is written: as far as it goes, and not where it is gone or only read; half of it where a page is")
def _(room):
    for program in ("host", "host2"):
        host = hosted(room, program=program)
        link = enter(room, "writes_store", host)
        for what, answer, copied in (("well", "5 sixteen letters", 16), ("const", "5 sixteen letters", EFAULT),
                                     ("half", "5 sixteen", EFAULT), ("lost", "5", EFAULT)):
            same(host.ask("store " + what), answer)
            same(seen(room, link, 3), copied, what)
        link.detach()
        host = room.program(program)
        link = enter(room, "writes_codes", host)
        for what, copied, read in (("well", 4, 2001102), ("gone", EFAULT, 0), ("short", 0, 0), ("negative", EOVERFLOW, 0)):
            host.ask("store " + what)
            same([seen(room, link, at) for at in (3, 4)], [copied, read], what)
        link.detach()
    refused(room, "writes_items", host, "this write to a buffer", "needs  write(s->item[0 .. s->nitems])", "eim.bpf.c:")
    refused(room, "writes_either", host, "either.text of struct Store lies in a union", "eim.bpf.c:")
    same(host.ask("content 1"), "200 h")


@test("a buffer that goes and comes while it is written")
def _(room):
    host = hosted(room)
    link = enter(room, "writes_in_a_race", host)
    for rounds in range(1, 41):
        same(host.ask("stores 20000"), "20000")
        counts = [seen(room, link, at) for at in (3, 4)]
        same(sum(counts), rounds * 20000, f"each of a kind: {counts}")
        if min(counts) > 0:
            break
    same(min(counts) > 0, True, f"some of each kind: {counts}")
    link.detach()


if __name__ == "__main__":
    main()
