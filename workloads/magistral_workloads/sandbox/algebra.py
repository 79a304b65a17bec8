"""Maths comparisons in a process that can be killed: `python -m magistral_workloads.sandbox.algebra`, and
its client.

The server has SymPy imported and forks a confined child for each comparison: a fork costs milliseconds, an
import seconds; and a C-level operation on big integers ends for no signal but SIGKILL. The child's verdict
is one byte on its own pipe.
"""

import os
import select
import signal
import sys
from pathlib import Path

from magistral_workloads.rewards import maths
from magistral_workloads.sandbox import frames
from magistral_workloads.sandbox.confine import confine
from magistral_workloads.sandbox.limits import BoxError, Limits
from magistral_workloads.sandbox.pool import Pool

LIMITS = Limits(wall_seconds=5.0, memory_bytes=1 << 30)
_SAME, _OTHER = b"=", b"!"
_NOT_CONFINED = 3
_GRACE_SECONDS = 30.0


class Algebra:
    """`rewards.grade.Algebra` over a pool of servers."""

    def __init__(self, size: int, recycle_after: int = 1000) -> None:
        self._pool = Pool("magistral_workloads.sandbox.algebra", size, recycle_after)

    async def __aenter__(self) -> "Algebra":
        await self._pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def same(self, expected: str, answer: str) -> bool:
        """Whether both are the same; an answer that exceeds the limits is another one. Raises BoxError."""
        answered = await self._pool.ask({"expected": expected, "answer": answer}, LIMITS.wall_seconds + _GRACE_SECONDS)
        return bool(answered["same"])


def main() -> int:
    """Serve comparisons until standard input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    maths.same("\\frac{1}{2}", "\\sqrt{4}/4")  # builds the grammar's tables once, before the first fork
    while (message := frames.read(requests)) is not None:
        try:
            answer: dict[str, object] = {"same": compare(str(message["expected"]), str(message["answer"]))}
        except (BoxError, OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        frames.write(answers, answer)
    return 0


def compare(expected: str, answer: str, limits: Limits = LIMITS) -> bool:
    """In a forked, confined child. False as well when the child exceeds its time or memory. Raises
    BoxError, OSError.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(expected, answer, limits, writing)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], limits.wall_seconds)
        verdict = os.read(reading, 1) if ready else _OTHER
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if verdict in (_SAME, _OTHER):
        return verdict == _SAME
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NOT_CONFINED:
        raise BoxError("the algebra child could not be confined")
    return False


def _child(expected: str, answer: str, limits: Limits, result: int) -> None:
    """Never returns."""
    try:
        # The server's own pipes: a child that wrote to them would answer in the server's name.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.closerange(3, result)
        os.closerange(result + 1, 4096)
        confine("run", limits, None, readable=[Path(sys.prefix)])
    except BaseException:
        os._exit(_NOT_CONFINED)
    try:
        os.write(result, _SAME if maths.same(expected, answer) else _OTHER)
    except BaseException:
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
