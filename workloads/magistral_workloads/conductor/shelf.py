"""Batches between the ledger and the trainers: kept in memory until trained, read from the ledger again on demand."""

import asyncio

from magistral_api.problems import RolloutRecord
from magistral_workloads.conductor.batches import Batch
from magistral_workloads.conductor.ledger import Ledger, StepSummary


class Shelf:
    """Steps 1 to `written` are in the ledger; the trainers have trained up to `trained`."""

    def __init__(self, ledger: Ledger, summaries: list[StepSummary], trained: int) -> None:
        self._ledger = ledger
        self._memory: dict[int, list[RolloutRecord]] = {}
        self._changed = asyncio.Condition()
        self._reading = asyncio.Lock()
        self.summaries = summaries
        self.trained = trained

    @property
    def written(self) -> int:
        return len(self.summaries)

    @property
    def waiting(self) -> int:
        """Full batches that no optimiser step has used yet."""
        return max(0, self.written - self.trained)

    async def put(self, batch: Batch) -> None:
        """Write first, then offer: what was served once can be served again after any restart."""
        self.summaries.append(await asyncio.to_thread(self._ledger.write, batch))
        self._memory[batch.step] = batch.trained
        await self._notify()

    async def get(self, step: int, seconds: float) -> list[RolloutRecord] | None:
        """The records of a step, of all ranks; None when it is not written within that time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.written >= step)
        except TimeoutError:
            return None
        async with self._reading:
            if step not in self._memory:
                self._memory[step] = await asyncio.to_thread(self._ledger.read, step)
        return self._memory[step]

    async def trained_to(self, step: int) -> None:
        """A version was published, or the trainers go back to a checkpoint."""
        self.trained = step
        for old in [kept for kept in self._memory if kept <= step]:
            del self._memory[old]
        await self._notify()

    async def room(self, limit: int) -> None:
        """Return when fewer than `limit` batches wait."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting < limit)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
