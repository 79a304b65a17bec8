"""Finds the isolation that really holds here, by trying to break out. What a kernel claims is not asked.

A level counts only if every probe below is refused inside the box and an honest program still runs. The
level is published by the verifier (log, /healthz) and compared with the least that the run accepts; nothing
degrades in silence.
"""

from dataclasses import dataclass
from typing import Literal

from magistral_workloads.sandbox import landlock
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.limits import BoxError

Level = Literal["none", "landlock"]
ORDER: tuple[Level, ...] = ("none", "landlock")
"""Weakest first."""

_HONEST = "print(sum(map(int, input().split())))"
_PROBES = {
    "read a file outside": "open('/etc/hostname').read()",
    "list processes": "import os; os.listdir('/proc')",
    "write a file": "open('left-behind', 'w')",
    "open a socket": "import socket; socket.socket()",
    "create a process": "import os; os.fork() or os._exit(0)",
    "signal its parent": "import os; os.kill(os.getppid(), 0)",
    "leave its namespaces": (
        "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
        "if c.unshare(0x10000000): raise OSError(ctypes.get_errno())"),
    "trace another process": (
        "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"
        "if c.ptrace(16, os.getppid(), 0, 0): raise OSError(ctypes.get_errno())"),
    "exceed its memory": "bytearray(1 << 30)",
}


@dataclass(frozen=True)
class SelfTest:
    """`level` holds; `faults` says what kept a better one from holding."""

    level: Level
    landlock_abi: int
    faults: tuple[str, ...] = ()

    def reaches(self, minimum: Level) -> bool:
        return ORDER.index(self.level) >= ORDER.index(minimum)

    def describe(self) -> str:
        faults = f"; not held: {', '.join(self.faults)}" if self.faults else ""
        return f"isolation {self.level} (Landlock version {self.landlock_abi}){faults}"


async def self_test(box: Box) -> SelfTest:
    """Run every probe in `box`."""
    faults = []
    try:
        async with box.program("python", _HONEST) as program:
            honest = await program.run(b"2 3")
        if not honest.ok or honest.output != b"5\n":
            faults.append(f"run an honest program: {honest.describe()} {honest.errors[-200:]!r}")
        for name, source in _PROBES.items():
            async with box.program("python", source) as program:
                if (await program.run(b"")).ok:
                    faults.append(name)
    except BoxError as error:
        faults.append(f"start a program: {error}")
    return SelfTest("none" if faults else "landlock", landlock.abi(), tuple(faults))
