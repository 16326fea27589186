#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where there is not enough: descriptors, memory files, address space, room on a disk. Refused by name, or done;
and the target is as it was."""
import errno, os, signal, subprocess, sys, time
from house import *

DENY = os.path.join(HERE, "deny")


@case("a target without a free descriptor; and with a few")
def _():
    with House() as h:
        v = Victim(h, "full")
        h.attach("-p", v.pid).refused("no_descriptors", v.pid, "RLIMIT_NOFILE")
        v.intact()
        v = Victim(h, "nofile")
        h.works(v)


@case("a target without address space")
def _():
    with House() as h:
        v = Victim(h, "as", 0)
        h.attach("-p", v.pid).refused("remote_map", v.pid, "Cannot allocate memory")
        v.intact()
        h.works(Victim(h))


class Group:
    """A control group of memory, of either version."""

    def __init__(self, house):
        name = f"tenon-hostile-{os.path.basename(house.dir)}"
        mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
        old = [m[1] for m in mounts if m[2] == "cgroup" and "memory" in m[3].split(",")]
        new = [m[1] for m in mounts if m[2] == "cgroup2"]
        try:
            if old:
                self.limit, self.usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                if not new or "memory" not in read(os.path.join(new[0], "cgroup.subtree_control")).split():
                    raise Skip("no control groups that limit memory")
                self.limit, self.usage = "memory.max", "memory.current"
            self.path = os.path.join((old or new)[0], name)
            os.mkdir(self.path)
        except OSError as e:
            raise Skip(f"no control group of one's own: {e.strerror}")
        self.enter = ["sh", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "sh"]

    def leave(self, room):
        """So many bytes from now on; negative: all there are."""
        most = int(read(os.path.join(self.path, self.usage))) + room if room >= 0 else -1
        with open(os.path.join(self.path, self.limit), "w") as f:
            f.write("max" if most < 0 and self.limit == "memory.max" else str(most))

    def remove(self):
        def gone():
            try:
                os.rmdir(self.path)
                return True
            except OSError:
                return False
        wait_for("the control group is empty", 5, gone)


@case("a target whose control group has no memory left, or little: not killed for ours")
def _():
    with House() as h:
        group, refused, done = Group(h), 0, 0
        try:
            for room in (0, 8, 16, 64, 128, 256, 384, 512, 640, 768, 1024, 2048, 4096):
                for program in ("on_hot", "on_hot_reading"):
                    v = Victim(h, before=group.enter)
                    v.call(100)
                    group.leave(room << 10)
                    r = h.attach("--keep", "-p", v.pid, program=program)
                    if r.status:
                        r.refused("memory_limit", v.pid, "raise its limit")
                        refused += 1
                    else:
                        before = h.runs()
                        v.call(50)
                        assert h.runs() - before == 50
                        done += 1
                    h.tenon("detach", "--all").ok()
                    v.intact()
                    group.leave(-1)
                    if r.status:
                        h.works(v)
                    v.end()
        finally:
            for p in h.children:
                p.kill()
                p.wait()
            group.remove()
        diag(f"{refused} refused, {done} attached")
        assert refused and done


@case("a tool and a broker with 20 descriptors")
def _():
    with House() as h:
        v = Victim(h)
        r = h.attach("--keep", "-p", v.pid, before=("prlimit", "--nofile=20:20"))
        diag(r.err.strip() or "attached")
        if r.status == 0:
            before = h.runs()
            v.call(30)
            assert h.runs() - before == 30
            h.tenon("detach", "--all").ok()
        else:
            assert r.status == 1 and "[" in r.err and "escriptor" in r.err, r.err
        v.intact()
        wait_for("that broker leaves", 5, lambda: not h.processes())
        h.works(v)


@case("a tool with 20 descriptors, a broker with all")
def _():
    with House() as h:
        v = Victim(h)
        h.works(v)
        h.attach("--for", "0.05", "-p", v.pid, before=("prlimit", "--nofile=20:20")).ok()
        h.works(v)


@case("a tool with too few descriptors for anything")
def _():
    with House() as h:
        v = Victim(h)
        h.works(v)
        for n in (3, 4, 5, 6, 8, 10):
            r = h.attach("--for", "0.05", "-p", v.pid, before=("prlimit", f"--nofile={n}:{n}"))
            assert r.status in (0, 1, 127), (n, r.status, r.err)
            assert r.status == 0 or r.err, n
            v.intact()
        h.works(v)


TAKES_INOTIFY = """
import ctypes, sys
libc, taken = ctypes.CDLL(None), 0
while libc.inotify_init1(0) >= 0:
    taken += 1
print(taken, flush=True)
sys.stdin.readline()
"""


@case("a user who has no more instances of inotify: waited for, then refused by name")
def _():
    with House(as_nobody=True) as h:
        v = Victim(h, before=h.before, exe=h.victim)
        words = ("attach", "--program", "on_hot", "--for", "0.05", "-p", str(v.pid), h.object)
        taker = subprocess.Popen([*h.before, sys.executable, "-c", TAKES_INOTIFY],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            diag(f"{int(taker.stdout.readline())} taken")
            h.tenon(*words).refused("broker_start", "fs.inotify.max_user_instances")
            waits = h.spawn([*h.before, h.exe, *words])
            time.sleep(0.3)
            assert waits.poll() is None
        finally:
            taker.kill()
            taker.wait()
        assert waits.wait(10) == 0
        v.intact()


@case("no memory files at all")
def _():
    with House() as h:
        v = Victim(h)
        for why in (errno.ENOSYS, errno.ENOMEM, errno.EPERM, errno.EMFILE):
            r = h.attach("-p", v.pid, before=(DENY, "319", str(why)))
            diag(r.err.strip())
            r.refused("no_memfd", os.strerror(why))
            v.intact()
            wait_for("no broker is left", 5, lambda: not h.processes())
        h.works(v)


@case("a tool with little address space")
def _():
    with House() as h:
        v = Victim(h)
        for mib in (8, 16, 64):
            r = h.attach("--for", "0.05", "-p", v.pid, before=("prlimit", f"--as={mib << 20}"))
            assert r.status in (0, 1, 127), (mib, r.status, r.err)
            assert r.status != 1 or "[" in r.err, r.err
            v.intact()
        h.works(v)


@case("no more processes for this user")
def _():
    with House(as_nobody=True) as h:
        v = Victim(h, before=h.before, exe=h.victim)
        r = h.attach("-p", v.pid, before=("prlimit", "--nproc=1:1"))
        diag(r.err.strip())
        assert r.status == 1 and "[" in r.err, (r.status, r.err)
        v.intact()
        wait_for("no broker is left", 5, lambda: not h.processes())
        h.works(v)


def in_mount_namespace(f):
    """Runs f in a child that may mount what it likes."""
    if os.getuid() != 0:
        raise Skip("only root can mount")
    pid = os.fork()
    if pid == 0:
        try:
            if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None):
                os._exit(77)
            f()
            os._exit(0)
        except BaseException:
            diag(traceback.format_exc())
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 77:
        raise Skip("no mount namespace is to be had")
    assert code == 0, code


@case("the socket's folder is on a disk that is full, and one without an inode left")
def _():
    def run():
        for options, full_of_files in (("size=16k", False), ("size=1m,nr_inodes=8", True)):
            with House() as h:
                disk = os.path.join(h.dir, "disk")
                os.mkdir(disk, 0o755)
                subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
                h.socket = h.env["TENON_SOCKET"] = os.path.join(disk, "broker.sock")
                v = Victim(h)
                try:
                    for i in range(64):
                        with open(os.path.join(disk, f"f{i}"), "wb") as f:
                            if not full_of_files:
                                f.write(b"x" * 4096)
                except OSError:
                    pass
                r = h.attach("--keep", "-p", v.pid)
                diag(r.err.strip() or f"{options}: attached")
                if r.status:
                    assert r.status == 1 and "[socket_" in r.err and "No space left" in r.err, r.err
                    v.intact()
                    for name in os.listdir(disk):
                        if name.startswith("f"):
                            os.unlink(os.path.join(disk, name))
                else:
                    h.tenon("detach", "--all").ok()
                h.works(v)
                h.leave()
                # A process that ends loses its environment, by which the house knows it, before its files.
                wait_for("the disk is let go", 4, lambda: subprocess.run(["umount", disk]).returncode == 0)
    in_mount_namespace(run)


@case("standard output is a full device")
def _():
    with House() as h:
        v = Victim(h)
        with open("/dev/full", "w") as full:
            p = subprocess.Popen([h.exe, "attach", "--json", "--for", "0.05", "--program", "on_hot", "-p", str(v.pid), h.object],
                                 env=h.env, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True)
            h.children.append(p)
            _, err = p.communicate(timeout=15)
        assert p.returncode == 1 and "standard output" in err, (p.returncode, err)
        v.intact()
        h.works(v)


main(60)
