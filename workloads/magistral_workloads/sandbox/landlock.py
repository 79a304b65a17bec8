"""Landlock: the files a process may reach from now on. Works without privileges and cannot be undone.

Kernel interface: Documentation/userspace-api/landlock.rst. The three system calls have the same number
everywhere.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
_RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_TCP = 0b11
_SCOPE_ABSTRACT_SOCKET_AND_SIGNAL = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *args: object) -> int:
    result: int = _libc.syscall(number, *args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock system call {number}: {os.strerror(error)}")
    return result


def abi() -> int:
    """The kernel's Landlock version, 0 when it has none (not compiled in, not enabled, or filtered)."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def writable() -> int:
    """Every file right that this kernel knows: for a directory that belongs to the process."""
    return _RIGHTS_OF_ABI[min(abi(), 5)]


def restrict(rules: Iterable[tuple[Path, int]]) -> None:
    """Allow only `rules` (path, rights) to this thread and its future children; paths that do not exist are
    skipped.

    Requires no_new_privs. TCP is denied from version 4 on, signals to processes outside from version 6 on.
    Raises OSError when the kernel refuses.
    """
    version = abi()
    if version == 0:
        raise OSError("this kernel offers no Landlock")
    handled = _RIGHTS_OF_ABI[min(version, 5)]
    attribute = struct.pack("=QQQ", handled, _NET_TCP, _SCOPE_ABSTRACT_SOCKET_AND_SIGNAL)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_CREATE_RULESET, attribute, size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            rights &= _FILE_RIGHTS
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
