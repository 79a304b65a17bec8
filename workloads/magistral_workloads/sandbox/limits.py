"""What one execution may use, and what came of it. Plain data, the same on both sides of the warden's pipe."""

import base64
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

MIB = 1 << 20

Profile = Literal["run", "compile"]
"""`run`: no writable place, no new processes. `compile`: both, below its own directory."""

Status = Literal["exited", "signalled", "timeout", "output", "threads"]
"""How it ended: by itself, by a signal, or stopped at its wall clock, output or thread limit."""


class BoxError(Exception):
    """The box failed, not the candidate. An infrastructure error: tried again elsewhere, never a reward."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one execution. `file_bytes` 0 forbids writing to files; output beyond its cap ends the
    execution.
    """

    wall_seconds: float = 4.0
    memory_bytes: int = 300 * MIB
    output_bytes: int = 16 * MIB
    file_bytes: int = 0
    threads: int = 64


RUN = Limits()
"""The paper's limits of one test (section 3): 4 s, 300 MB."""
COMPILE = Limits(wall_seconds=10.0, memory_bytes=1024 * MIB, output_bytes=MIB, file_bytes=64 * MIB)
"""The paper's 10 s to compile C++."""


@dataclass(frozen=True)
class Command:
    """A program to run in its own directory. `argv[0]` is an absolute path; `{result}` becomes the result
    descriptor.
    """

    argv: tuple[str, ...]
    directory: Path
    profile: Profile = "run"


@dataclass(frozen=True)
class Execution:
    """What was observed. `output` is standard output, or the result channel of a dialogue."""

    status: Status
    code: int
    output: bytes = b""
    errors: bytes = b""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """It ended by itself with exit code 0."""
        return self.status == "exited" and self.code == 0

    def describe(self) -> str:
        """One short line for people; no output of the candidate in it."""
        return f"exit code {self.code}" if self.status == "exited" else f"{self.status} ({self.code})"


@dataclass(frozen=True)
class Job:
    """One command with bytes on standard input, or two that talk: the first serves, the second asks and
    reports.
    """

    commands: tuple[Command, ...]
    stdin: bytes = b""
    limits: Limits = field(default_factory=Limits)

    def wire(self) -> dict[str, Any]:
        return {
            "commands": [
                {"argv": list(c.argv), "directory": str(c.directory), "profile": c.profile} for c in self.commands
            ],
            "stdin": base64.b64encode(self.stdin).decode(),
            "limits": asdict(self.limits),
        }

    @classmethod
    def parse(cls, wire: dict[str, Any]) -> "Job":
        return cls(
            commands=tuple(
                Command(tuple(c["argv"]), Path(c["directory"]), c["profile"]) for c in wire["commands"]
            ),
            stdin=base64.b64decode(wire["stdin"]),
            limits=Limits(**wire["limits"]),
        )


def execution_wire(execution: Execution) -> dict[str, Any]:
    """The execution as JSON-ready data; bytes as base64."""
    return asdict(execution) | {
        "output": base64.b64encode(execution.output).decode(),
        "errors": base64.b64encode(execution.errors).decode(),
    }


def parse_execution(wire: dict[str, Any]) -> Execution:
    """The opposite of `execution_wire`."""
    decoded = {name: base64.b64decode(wire[name]) for name in ("output", "errors")}
    return Execution(**(wire | decoded))
