"""A fixed number of single-threaded helper processes, each asked one thing at a time.

A process that answers late, badly or with an error is killed and replaced, so a hostile job costs one
process and never the next job's verdict. Each is also replaced after a number of jobs, so nothing builds
up.
"""

import asyncio
import contextlib
import sys
from typing import Any

from magistral_workloads.sandbox import frames
from magistral_workloads.sandbox.limits import BoxError


class Pool:
    """`size` processes of `python -m module`, warm and waiting."""

    def __init__(self, module: str, size: int, recycle_after: int = 1000) -> None:
        self._module = module
        self._size = size
        self._recycle_after = recycle_after
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers: set[_Worker] = set()

    async def start(self) -> None:
        for _ in range(self._size):
            self._idle.put_nowait(await self._spawn())

    async def close(self) -> None:
        """End every process. Jobs under way fail with BoxError."""
        await asyncio.gather(*(worker.end() for worker in self._workers))
        self._workers.clear()

    async def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to `message`, once a process is free, at most `seconds` after it got it.

        Raises BoxError when there is none, or when it says `error`.
        """
        worker = await self._idle.get()
        try:
            answer = await asyncio.wait_for(worker.ask(message), seconds)
            if "error" in answer:
                raise BoxError(str(answer["error"]))
        except TimeoutError as error:
            raise BoxError(f"{self._module} gave no answer within {seconds:.0f} s") from error
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            raise BoxError(f"{self._module} ended or answered nonsense: {type(error).__name__}") from error
        else:
            worker.jobs += 1
            worker.healthy = worker.jobs < self._recycle_after
            return answer
        finally:
            await asyncio.shield(self._give_back(worker))

    async def _give_back(self, worker: "_Worker") -> None:
        if not worker.healthy:
            self._workers.discard(worker)
            await worker.end()
            worker = await self._spawn()
        self._idle.put_nowait(worker)

    async def _spawn(self) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=None)
        worker = _Worker(process)
        self._workers.add(worker)
        return worker


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.jobs = 0
        self.healthy = False
        self._process = process

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.healthy = False
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(frames.pack(message))
        await stdin.drain()
        size = frames.length(await stdout.readexactly(frames.HEADER_BYTES))
        return frames.unpack(await stdout.readexactly(size))

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
