"""The real conductor's routes over a real ledger, for trainers that are processes: no generators, batches on demand."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dev.cluster.control_plane import LOOPBACK, free_ports
from magistral_api.problems import RolloutRecord
from magistral_api.progress import CheckpointRecord
from magistral_workloads.conductor.batches import Batch
from magistral_workloads.conductor.fleet import fleet
from magistral_workloads.conductor.ledger import Ledger
from magistral_workloads.conductor.published import resume
from magistral_workloads.conductor.server import Server
from magistral_workloads.conductor.shelf import Shelf
from magistral_workloads.contracts import PolicyPublished
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore

TOKEN = "a token of this test"
SECONDS = 120


@dataclass
class Conducting:
    """`published`, `committed`: what the trainers said, in order."""

    url: str
    published: list[PolicyPublished] = field(default_factory=list)
    committed: list[CheckpointRecord] = field(default_factory=list)
    _said: threading.Condition = field(default_factory=threading.Condition)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _shelf: Shelf | None = None

    def put(self, records: list[RolloutRecord]) -> None:
        """The next batch is complete."""
        assert self._shelf is not None
        step = self._shelf.written + 1
        self.call(self._shelf.put(Batch(step, records, [])))

    def wait_for_version(self, version: int) -> None:
        """Return when the trainers have published it."""
        with self._said:
            assert self._said.wait_for(lambda: any(said.version == version for said in self.published), SECONDS)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def hear(self, said: PolicyPublished | CheckpointRecord) -> None:
        with self._said:
            if isinstance(said, PolicyPublished):
                self.published.append(said)
            else:
                self.committed.append(said)
            self._said.notify_all()


@contextmanager
def conducting(store: ObjectStore, uid: str, *, steps: int, world_size: int) -> Iterator[Conducting]:
    """Serve until the block is left."""
    (port,) = free_ports(1)
    here = Conducting(f"http://{LOOPBACK}:{port}")
    thread = threading.Thread(target=here._loop.run_forever)
    thread.start()
    ended = asyncio.Event()
    serving = threading.Event()

    async def nobody() -> set[str]:
        return set()

    async def serve() -> None:
        ledger = Ledger(store, uid)
        here._shelf = Shelf(ledger, await asyncio.to_thread(ledger.summaries), 0)
        async with fleet(bearer(TOKEN), nobody) as generators:
            server = Server(here._shelf, generators, steps, world_size, 0, lambda: resume(store, uid), here.hear, here.hear,
                            long_poll_seconds=1.0)
            runner = web.AppRunner(server.application(TOKEN), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, LOOPBACK, port).start()
            serving.set()
            await ended.wait()
            await runner.cleanup()

    running = asyncio.run_coroutine_threadsafe(serve(), here._loop)
    try:
        assert serving.wait(SECONDS)
        yield here
    finally:
        here._loop.call_soon_threadsafe(ended.set)
        running.result(SECONDS)
        here._loop.call_soon_threadsafe(here._loop.stop)
        thread.join()
