"""Cutting a process off the network, by whichever means the system grants.

Linux only. An empty network namespace has no interface at all, but making one needs rights that
containers often withhold. A system call filter needs none; it leaves the interfaces and refuses
every new socket that is not a local one. Both are irreversible and hold for all child processes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

# Instructions of classic BPF, see linux/filter.h: load a word, jumps, return.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | 13  # SECCOMP_RET_ERRNO with EACCES
_AF_UNIX = 1
_IO_URING_SETUP = 425
_SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH, number


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.POINTER(_Instruction))]


def block_network() -> tuple[str, ...]:
    """Cut this process off the network; call it while it has a single thread.

    Returns:
        The means that worked, among ``"namespace"`` and ``"filter"``; empty when none did, or on
        another system than Linux.
    """
    if not sys.platform.startswith("linux"):
        return ()
    means = (("namespace", enter_empty_namespace), ("filter", refuse_sockets))
    return tuple(name for name, block in means if block())


def enter_empty_namespace() -> bool:
    """Move into a new network namespace, where not even the loopback interface is up.

    With the right to do so this is all. Otherwise a new user namespace gives that right; this
    user is mapped to itself there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:  # without a mapping the files of this user stay readable all the same
        pass
    return True


def refuse_sockets() -> bool:
    """Let the kernel refuse ``socket()`` of every family but the local one, and io_uring.

    Needs PR_SET_NO_NEW_PRIVS.
    """
    known = _SOCKET.get(platform.machine())
    if known is None or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return False
    architecture, socket = known
    code = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 7, architecture),  # else a 32-bit call: denied
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 5, 0, 0x40000000),  # x32 calls: denied
        (_IF_EQUAL, 4, 0, _IO_URING_SETUP),  # denied, it opens sockets as well
        (_IF_EQUAL, 0, 2, socket),  # any other call: allowed
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    )
    instructions = (_Instruction * len(code))(*(_Instruction(*fields) for fields in code))
    program = _Program(len(code), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    return done == 0
