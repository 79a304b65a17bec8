"""Programs in the box: write the source, compile it once, run it on inputs, or let two programs talk.

    async with box.program("python", source) as program:
        execution = await program.run(b"1 2\\n")
"""

import contextlib
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magistral_workloads.sandbox.confine import python
from magistral_workloads.sandbox.limits import COMPILE, RUN, BoxError, Command, Execution, Job, Limits, parse_execution
from magistral_workloads.sandbox.pool import Pool

Language = Literal["python", "cpp"]
"""As magistral_api.problems has it; the box imports nothing that a candidate's interpreter would need to find."""
_WARDEN = "magistral_workloads.sandbox.warden"
_DIALOGUE = Path(__file__).with_name("dialogue.py")
_GRACE_SECONDS = 20.0
"""Over the wall clock, for start and sweep on a busy node, before the warden itself is given up."""


class CompileError(Exception):
    """The candidate's source does not compile within the limits: a fail."""


@dataclass(frozen=True)
class Program:
    """A candidate that is ready to run."""

    box: "Box"
    command: Command

    async def run(self, stdin: bytes, limits: Limits = RUN) -> Execution:
        """One execution, in a process of its own. Raises BoxError."""
        return await self.box.run(Job((self.command,), stdin, limits))


class Box:
    """Runs jobs on a pool of wardens: at most `size` at a time."""

    def __init__(self, size: int, recycle_after: int = 1000, scratch: Path | None = None) -> None:
        self._pool = Pool(_WARDEN, size, recycle_after)
        self._scratch = scratch

    async def __aenter__(self) -> "Box":
        await self._pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def run(self, job: Job) -> Execution:
        """Raises BoxError when the box, not the candidate, failed."""
        answer = await self._pool.ask(job.wire(), job.limits.wall_seconds + _GRACE_SECONDS)
        return parse_execution(answer["execution"])

    @contextlib.asynccontextmanager
    async def program(self, language: Language, source: str) -> AsyncIterator[Program]:
        """Raises CompileError (C++), BoxError. The directory goes with the context."""
        with self._directory() as directory:
            if language == "python":
                command = Command(python(str(_write(directory, "main.py", source))), directory)
            else:
                command = await self._compile(directory, source)
            yield Program(self, command)

    async def dialogue(self, candidate: str, checker: str, entry_point: str, limits: Limits = RUN) -> Execution:
        """Run `checker`, source that defines `check(candidate)`, against a function that lives in another
        process.

        The two share no memory and no file; arguments and results cross as plain data (`sandbox.dialogue`).
        `ok` only if the checker itself reported so over its result descriptor, with a nonce the candidate
        never saw. Raises BoxError.
        """
        with self._directory() as served, self._directory() as checking:
            nonce = secrets.token_hex(16)
            source = str(_write(served, "main.py", candidate))
            server = python(str(_copy_dialogue(served)), "serve", source, entry_point)
            client = python(str(_copy_dialogue(checking)), "check", str(_write(checking, "check.py", checker)),
                            entry_point, "{result}", nonce)
            execution = await self.run(Job((Command(server, served), Command(client, checking)), limits=limits))
        if execution.ok and execution.output != nonce.encode():
            return Execution("exited", 1, b"", execution.errors, execution.seconds)
        return execution

    async def _compile(self, directory: Path, source: str) -> Command:
        file = _write(directory, "main.cpp", source)
        program = directory / "program"
        compiler = ("/usr/bin/g++", "-std=c++20", "-O2", "-pipe", "-o", str(program), str(file))
        execution = await self.run(Job((Command(compiler, directory, "compile"),), limits=COMPILE))
        if not execution.ok:
            raise CompileError(f"compiler: {execution.describe()}")
        if not stat.S_ISREG(program.lstat().st_mode):
            raise CompileError("the compiler left no regular file")
        return Command((str(program),), directory)

    @contextlib.contextmanager
    def _directory(self) -> Iterator[Path]:
        try:
            directory = Path(tempfile.mkdtemp(prefix="box-", dir=self._scratch))
        except OSError as error:
            raise BoxError(f"no room for an execution: {error}") from error
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _write(directory: Path, name: str, source: str) -> Path:
    # Lone surrogates are text that no source file can hold; the interpreter then reports them, not the verifier.
    file = directory / name
    try:
        file.write_bytes(source.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise BoxError(f"no room for an execution: {error}") from error
    return file


def _copy_dialogue(directory: Path) -> Path:
    return _write(directory, "dialogue.py", _DIALOGUE.read_text())
