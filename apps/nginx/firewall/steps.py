# SPDX-License-Identifier: MIT
"""How many instructions a worker of nginx executes for one request, outside the kernel: it is single-stepped from one
epoll_wait to the next. Unlike its time this number hardly depends on how busy the machine is."""
import ctypes
import os
import socket
import struct

SEIZE, INTERRUPT, STEP, GETREGS, PEEK, DETACH = 0x4206, 0x4207, 9, 12, 1, 17
RIP, RAX, WORDS = 16, 10, 27 # of struct user_regs_struct
EPOLL_WAIT, SYSCALL, WALL = 232, 0x050f, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long


def ptrace(what, pid, data=None, at=None):
    ctypes.set_errno(0)
    result = libc.ptrace(what, pid, at, data)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {what:#x}: {os.strerror(ctypes.get_errno())}")
    return result


def count(pid, port, path, agent):
    """Of the one worker there is; it has to be idle."""
    request = f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{agent}\r\n\r\n".encode()
    regs = ctypes.create_string_buffer(WORDS * 8)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for _ in range(3): # so that what is done once is done
            client.sendall(request)
            client.recv(1 << 16)
        ptrace(SEIZE, pid)
        try:
            ptrace(INTERRUPT, pid)
            os.waitpid(pid, WALL)
            client.sendall(request)
            steps = polls = 0
            while polls < 2: # the one it is waiting in begins again
                ptrace(STEP, pid)
                os.waitpid(pid, WALL)
                ptrace(GETREGS, pid, regs)
                words = struct.unpack(f"{WORDS}Q", regs.raw)
                steps += polls
                polls += words[RAX] == EPOLL_WAIT and ptrace(PEEK, pid, at=words[RIP]) & 0xffff == SYSCALL
        finally:
            ptrace(DETACH, pid)
        if b" 200 " not in client.recv(1 << 16)[:20]:
            raise RuntimeError("the request that was counted was not answered")
    return steps
