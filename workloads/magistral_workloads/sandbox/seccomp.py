"""seccomp: the system calls a process may make from now on. An allow list, so that new calls stay out by
themselves.

The filter is written by hand: a list of numbers and eight small conditions is less than a library to load.
Kernel interface: Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}

_RUN = """
read 0 63|write 1 64|open 2 -|close 3 57|stat 4 -|fstat 5 80|lstat 6 -|poll 7 -|lseek 8 62|mmap 9 222|mprotect 10 226
munmap 11 215|brk 12 214|rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|pread64 17 67|pwrite64 18 68
readv 19 65|writev 20 66|access 21 -|pipe 22 -|select 23 -|sched_yield 24 124|mremap 25 216|madvise 28 233|dup 32 23
dup2 33 -|pause 34 -|nanosleep 35 101|getitimer 36 102|alarm 37 -|setitimer 38 103|getpid 39 172|execve 59 221
exit 60 93|uname 63 160|fcntl 72 25|getcwd 79 17|chdir 80 49|fchdir 81 50|readlink 89 -|gettimeofday 96 169
getrlimit 97 163|getrusage 98 165|sysinfo 99 179|times 100 153|getuid 102 174|getgid 104 176|geteuid 107 175
getegid 108 177|getppid 110 173|getpgrp 111 -|sigaltstack 131 132|arch_prctl 158 -|gettid 186 178|futex 202 98
sched_getaffinity 204 123|getdents64 217 61|set_tid_address 218 96|restart_syscall 219 128|clock_gettime 228 113
clock_getres 229 114|clock_nanosleep 230 115|exit_group 231 94|openat 257 56|newfstatat 262 79|readlinkat 267 78
faccessat 269 48|pselect6 270 72|ppoll 271 73|set_robust_list 273 99|dup3 292 24|pipe2 293 59|getcpu 309 168
getrandom 318 278|statx 332 291|rseq 334 293|close_range 436 436|faccessat2 439 439|time 201 -
"""
_COMPILE_TOO = """
fork 57 -|vfork 58 -|wait4 61 260|waitid 247 95|rename 82 -|renameat 264 38|renameat2 316 276|unlink 87 -
unlinkat 263 35|mkdir 83 -|mkdirat 258 34|rmdir 84 -|chmod 90 -|fchmod 91 52|fchmodat 268 53|umask 95 166
ftruncate 77 46|truncate 76 45|fallocate 285 47|statfs 137 43|fstatfs 138 44|fadvise64 221 223|fsync 74 82
"""

_IOCTL, _CLONE, _CLONE3, _KILL, _TGKILL, _PRCTL, _SETRLIMIT, _PRLIMIT = (
    (16, 29), (56, 220), (435, 435), (62, 129), (234, 131), (157, 167), (160, 164), (302, 261))
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX: what isatty and open need."""
_PRCTL_SET_NAME, _PRCTL_SET_VMA = 15, 0x53564D41
_CLONE_THREAD = 0x10000
_CLONE_NAMESPACES = 0x7E020000
_SIGKILL = 9

_LD, _JEQ, _JSET, _RET = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NR, _ARCH, _ARGS = 0, 4, 16

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Op:
    code: int
    value: int
    yes: int = 0
    no: int = 0

    def pack(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.yes, self.no, self.value)


def _refuse(error: int) -> _Op:
    return _Op(_RET, 0x00050000 | error)


_PASS = _Op(_RET, _ALLOW)
_DENY = _refuse(errno.EPERM)
_PRETEND = _refuse(0)
"""The call does nothing and says that it worked."""


def _one_of(arg: int, *values: int) -> list[_Op]:
    """Go on when the argument's low half is one of `values`, else refuse."""
    tests = [_Op(_JEQ, value, yes=len(values) - i) for i, value in enumerate(values)]
    return [_Op(_LD, _ARGS + 8 * arg), *tests, _DENY]


def _is_not(arg: int, value: int) -> list[_Op]:
    return [_Op(_LD, _ARGS + 8 * arg), _Op(_JEQ, value, yes=0, no=1), _DENY]


def _bits(arg: int, mask: int, wanted: bool) -> list[_Op]:
    """Go on when any bit of `mask` is set (`wanted`) or when none is."""
    return [_Op(_LD, _ARGS + 8 * arg), _Op(_JSET, mask, yes=int(wanted), no=int(not wanted)), _DENY]


def _null(arg: int, otherwise: _Op) -> list[_Op]:
    """Go on when the argument, a pointer, is null."""
    low, high = _ARGS + 8 * arg, _ARGS + 8 * arg + 4
    return [_Op(_LD, low), _Op(_JEQ, 0, no=2), _Op(_LD, high), _Op(_JEQ, 0, yes=1), otherwise]


def _table(machine: str, text: str) -> Iterator[int]:
    for entry in text.replace("\n", "|").strip("|").split("|"):
        number = entry.split()[1 + _COLUMN[machine]]
        if number != "-":
            yield int(number)


def program(processes: bool, pid: int, machine: str | None = None) -> bytes:
    """The filter's bytes for a process `pid`. `processes`: whether it may create processes and change files
    (compilers).

    Raises OSError on a machine type that has no table.
    """
    machine = machine or platform.machine()
    if machine not in _COLUMN:
        raise OSError(f"no system call table for {machine}; known: {', '.join(_COLUMN)}")
    column = _COLUMN[machine]
    new_process = _bits(0, _CLONE_NAMESPACES, False) if processes else _bits(0, _CLONE_THREAD, True)
    # SIGKILL to oneself would look as if the kernel had run out of memory: an infrastructure error on demand.
    own_signal = [*_one_of(0, pid), *_is_not(1, _SIGKILL), _PASS]
    special = {
        _IOCTL: [*_one_of(1, *_IOCTLS), _PASS],
        _CLONE: [*new_process, *_bits(0, _CLONE_NAMESPACES, False), _PASS],
        # Its flags lie in memory, out of a filter's reach; libc falls back to clone.
        _CLONE3: [_refuse(errno.ENOSYS)],
        _KILL: own_signal,
        _TGKILL: [*_one_of(0, pid), *_is_not(2, _SIGKILL), _PASS],
        _PRCTL: [*_one_of(0, _PRCTL_SET_NAME, _PRCTL_SET_VMA), _PASS],
        # Honest programs ask for a bigger stack and stop when that fails.
        _SETRLIMIT: [_PRETEND],
        _PRLIMIT: [*_null(2, otherwise=_PRETEND), _PASS],
    }
    ops = [_Op(_LD, _ARCH), _Op(_JEQ, _AUDIT_ARCH[machine], yes=1), _Op(_RET, _KILL_PROCESS), _Op(_LD, _NR)]
    for numbers, body in special.items():
        ops += [_Op(_JEQ, numbers[column], no=len(body)), *body]
    for number in _table(machine, _RUN.strip() + (_COMPILE_TOO if processes else "")):
        ops += [_Op(_JEQ, number, no=1), _PASS]
    ops.append(_DENY)
    return b"".join(op.pack() for op in ops)


def restrict(processes: bool) -> None:
    """Apply the filter to this process for good. Requires no_new_privs. Raises OSError when the kernel
    refuses.
    """
    code = program(processes, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(header), 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
