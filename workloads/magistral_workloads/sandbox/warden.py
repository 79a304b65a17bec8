"""Runs one candidate after another and leaves nothing behind: `python -m magistral_workloads.sandbox.warden`.

A process of its own, single-threaded, so that it may fork safely and can tell whose orphans it inherits.
Jobs come on standard input, executions go to standard output (`sandbox.frames`). It knows no expected
output. A job that cannot be run faithfully is answered with `error`; one that could not be cleaned up ends
the warden.
"""

import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from magistral_workloads.sandbox import frames
from magistral_workloads.sandbox.confine import confine, environment
from magistral_workloads.sandbox.limits import BoxError, Command, Execution, Job, Limits, Status, execution_wire
from magistral_workloads.sandbox.reaper import become_subreaper, sweep

_ERRORS_KEPT = 8192
_CHUNK = 1 << 16
_TICK_SECONDS = 0.02
_F_ADD_SEALS, _ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8


def main() -> int:
    """Serve jobs until standard input ends. Exit 1: a process could not be ended, so the next job would not
    be alone.
    """
    become_subreaper()
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    while (message := frames.read(jobs)) is not None:
        try:
            answer: dict[str, Any] = {"execution": execution_wire(execute(Job.parse(message)))}
        except (BoxError, OSError, subprocess.SubprocessError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        clean = sweep()
        frames.write(answers, answer if clean else {"error": "processes of an execution could not be ended"})
        if not clean:
            return 1
    return 0


def execute(job: Job) -> Execution:
    """Run the job's commands to their end or limit, and sweep. Raises BoxError, OSError, SubprocessError."""
    watch = _Watch(job.limits)
    try:
        if len(job.commands) == 1:
            streams = _sealed(job.stdin), watch.pipe("output"), watch.pipe("errors")
            watch.main = _start(job.commands[0], job.limits, streams)
        else:
            _start_dialogue(job, watch)
        watch.run()
    finally:
        clean = sweep()
        watch.close()
    if not clean:
        raise BoxError("processes of an execution could not be ended")
    return watch.execution()


def _start_dialogue(job: Job, watch: "_Watch") -> None:
    """Two processes, each other's standard input and output; the second also holds the result descriptor."""
    server, client = job.commands
    questions, ask = os.pipe()
    answers, answer = os.pipe()
    watch.helpers.append(_start(server, job.limits, (questions, answer, os.open(os.devnull, os.O_WRONLY))))
    watch.main = _start(client, job.limits, (answers, ask, watch.pipe("errors")), result=watch.pipe("output"))


def _start(command: Command, limits: Limits, streams: tuple[int, int, int], result: int | None = None
           ) -> "subprocess.Popen[bytes]":
    """Start confined. `streams`: standard input, output, error; with `result` the child's alone afterwards."""
    stdin, stdout, stderr = streams
    try:
        return subprocess.Popen(
            [part.replace("{result}", str(result)) for part in command.argv],
            stdin=stdin, stdout=stdout, stderr=stderr, cwd=command.directory, env=environment(command.directory),
            pass_fds=() if result is None else (result,), start_new_session=True,
            preexec_fn=lambda: confine(command.profile, limits, command.directory),  # noqa: PLW1509 one thread
        )
    finally:
        for descriptor in {*streams, *([] if result is None else [result])}:
            os.close(descriptor)


def _sealed(data: bytes) -> int:
    """A read-only file without a name: unlike a pipe it cannot fill up, and the candidate cannot write to
    it.
    """
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, _F_ADD_SEALS, _ALL_SEALS)
    return descriptor


class _Watch:
    """Drains the pipes, keeps the clock, counts threads, and says how the main process ended."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.main: subprocess.Popen[bytes] | None = None
        self.helpers: list[subprocess.Popen[bytes]] = []
        self.kept = {"output": bytearray(), "errors": bytearray()}
        self.stopped: Status | None = None
        self.started = time.monotonic()
        self.seconds = 0.0
        self._pipes: dict[str, BinaryIO] = {}
        self._drained = 0
        self._end = -1

    def pipe(self, name: str) -> int:
        """Open the pipe `name` and keep its reading end. The writing end is the caller's."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._pipes[name] = os.fdopen(reading, "rb", buffering=0)
        return writing

    def run(self) -> None:
        """Until the main process has ended or was stopped. Then what is left in the pipes is read."""
        assert self.main is not None
        deadline = self.started + self.limits.wall_seconds
        self._end = os.pidfd_open(self.main.pid)
        with selectors.DefaultSelector() as selector:
            for name, stream in self._pipes.items():
                selector.register(stream, selectors.EVENT_READ, name)
            # Readable once the process has ended: without it an end after the last output waits for a tick.
            selector.register(self._end, selectors.EVENT_READ)
            while self.stopped is None and self.main.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._stop("timeout")
                    break
                for key, _ in selector.select(min(left, _TICK_SECONDS)):
                    if key.data is not None and not self._drain(key.data):
                        selector.unregister(key.fileobj)
                self._count_threads()
        self.seconds = time.monotonic() - self.started
        self._kill(*self.helpers)
        for name in self._pipes:
            while self._drain(name) and self._pipes_ready(name):
                pass

    def _pipes_ready(self, name: str) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipes[name], selectors.EVENT_READ)
            return bool(selector.select(0))

    def _drain(self, name: str) -> bool:
        """Read once. False at the end of the stream."""
        try:
            data = os.read(self._pipes[name].fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self._drained += len(data)
        room = (self.limits.output_bytes if name == "output" else _ERRORS_KEPT) - len(self.kept[name])
        self.kept[name] += data[: max(room, 0)]
        if self._drained > self.limits.output_bytes and self.stopped is None:
            self._stop("output")
        return bool(data)

    def _count_threads(self) -> None:
        for process in [self.main, *self.helpers]:
            try:
                count = sum(1 for _ in Path(f"/proc/{process.pid}/task").iterdir()) if process else 0
            except OSError:
                count = 0
            if count > self.limits.threads:
                self._stop("threads")

    def _stop(self, why: Status) -> None:
        self.stopped = why
        if self.main is not None:
            self._kill(self.main)

    @staticmethod
    def _kill(*processes: "subprocess.Popen[bytes]") -> None:
        for process in processes:
            process.kill()
            process.wait()

    def close(self) -> None:
        if self._end >= 0:
            os.close(self._end)
        for stream in self._pipes.values():
            stream.close()

    def execution(self) -> Execution:
        """Raises BoxError when the kernel ended the main process: the pod's memory, not the candidate's
        limit.
        """
        assert self.main is not None
        code = self.main.returncode
        if self.stopped is None and code == -signal.SIGKILL:
            raise BoxError("the kernel ended the process: the pod ran out of memory")
        status: Status = self.stopped or ("signalled" if code < 0 else "exited")
        return Execution(status, code, bytes(self.kept["output"]), bytes(self.kept["errors"]), self.seconds)


if __name__ == "__main__":
    sys.exit(main())
