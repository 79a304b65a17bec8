"""End everything that an execution left behind.

Killing a process group is not enough: a child that forks twice and calls setsid survives it. A subreaper
inherits such orphans instead of init, so a process without children has no descendants left either.
"""

import os
import signal
import time
from pathlib import Path

from magistral_workloads.sandbox.confine import prctl

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """From now on, orphans among this process's descendants become its children."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def sweep(seconds: float = 2.0) -> bool:
    """Kill and reap every descendant. False when some were still there after `seconds`.

    Passes repeat because a process may fork between the look and the kill.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for pid in descendants():
                    _kill(pid)
                time.sleep(0.001)
        except ChildProcessError:
            return True
    return False


def descendants() -> list[int]:
    """Every process below this one, zombies included, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _parent(process: Path) -> int:
    try:
        # The name in brackets may hold spaces and brackets itself.
        return int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return -1


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
