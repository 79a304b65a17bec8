"""Give up every power that a candidate must not have. Called in the child, between fork and exec; nothing
undoes it.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from magistral_workloads.sandbox import landlock, seccomp
from magistral_workloads.sandbox.limits import Limits, Profile

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_libc = ctypes.CDLL(None, use_errno=True)

SYSTEM = tuple(Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"))
"""What a compiler, an interpreter and a C++ program read and execute. No /proc, no /etc, no /tmp, no
mounted secret.
"""
_DEVICES = (
    (Path("/dev/null"), landlock.READ_FILE | landlock.WRITE_FILE),
    (Path("/dev/zero"), landlock.READ_FILE),
    (Path("/dev/urandom"), landlock.READ_FILE),
)
_STACK = 64 << 20


def interpreter() -> str:
    """The Python that candidates run on: the real file behind a virtual environment's link."""
    return os.path.realpath(sys.executable)


def interpreter_files() -> tuple[Path, ...]:
    """The standard library of `interpreter()`."""
    return (Path(sys.base_prefix),)


def python(*arguments: str) -> tuple[str, ...]:
    """The command line of a Python program in the box: isolated, no site-packages, no bytecode written."""
    return (interpreter(), "-I", "-S", "-B", "-X", "utf8", *arguments)


def environment(directory: Path) -> dict[str, str]:
    """The whole environment of a candidate. One arena: each further one reserves 64 MiB of address space."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(directory), "TMPDIR": str(directory),
            "MALLOC_ARENA_MAX": "1"}


def prctl(option: int, value: int) -> None:
    """Raises OSError when the kernel refuses."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def confine(profile: Profile, limits: Limits, directory: Path | None, readable: Iterable[Path] = ()) -> None:
    """Confine this process. `directory`: its own; writable for `compile` only.

    Raises OSError when the kernel lacks a layer; a program is never started with less.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prefer_as_victim()
    hard = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_STACK: _STACK,
    }
    for kind, value in hard.items():
        resource.setrlimit(kind, (value, value))
    os.umask(0o077)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    own = [] if directory is None else [
        (directory, landlock.writable() if profile == "compile" else landlock.READ)]
    system = [(path, landlock.READ) for path in (*SYSTEM, *interpreter_files(), *readable)]
    landlock.restrict([*own, *system, *_DEVICES])
    seccomp.restrict(processes=profile == "compile")


def _prefer_as_victim() -> None:
    """When the pod runs out of memory, the kernel ends the candidate before the verifier."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # a read-only /proc: the limit on address space still stands
