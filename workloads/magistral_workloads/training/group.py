"""The group of training processes once it has met: what they agree on, and how each notices that another is gone.

A peer's death shows in the next collective. Work that takes long and is no collective (waiting for a batch, downloads,
uploads) therefore runs beside a heartbeat: `together`.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from magistral_workloads.training.rendezvous import StopError, meet
from magistral_workloads.training.world import Place

HEARTBEAT_SECONDS: Final = 2.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class GroupBrokenError(Exception):
    """A peer is gone or failed. The process must end, so that all ranks meet again."""


class Group:
    """All ranks call the same methods in the same order. Any of them raises GroupBrokenError when a peer is gone."""

    def __init__(self, place: Place, store: Store | None = None, stopping: threading.Event | None = None) -> None:
        """After torch.distributed is set up. `stopping`: set when this process is told to end; agreed in `together`."""
        self.place = place
        self.stopping = stopping or threading.Event()
        self._store = store

    @classmethod
    def join(cls, place: Place, stopping: threading.Event) -> "Group":
        """Meet the other ranks. Raises NeverMetError, StopError."""
        return cls(place, meet(place, stopping), stopping)

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def size(self) -> int:
        return self.place.size

    def together(self, what: str, work: Callable[[], T], *, cancellable: bool = False) -> T:
        """Every rank does its own `work` in a thread; all go on when all are done. `work` must use no collective.

        The first error of any rank ends it on all: there it is raised, the others get GroupBrokenError. `cancellable`:
        when any rank is told to end, all raise StopError and leave their work behind.
        """
        job = _Job(what, work)
        while True:
            job.ended.wait(HEARTBEAT_SECONDS)
            ended = job.ended.is_set()
            error = job.error if ended else None
            pending, failed, stopping = self._any(not ended, error is not None, self.stopping.is_set())
            if stopping:
                self.stopping.set()
            if stopping and cancellable:
                raise StopError(f"told to end during: {what}")
            if error is not None:
                raise error
            if failed:
                raise GroupBrokenError(f"{what}: another rank failed; its own log says why")
            if not pending:
                return job.result[0]

    def told_to_stop(self) -> bool:
        """Whether any rank was told to end."""
        (stopping,) = self._any(self.stopping.is_set())
        if stopping:
            self.stopping.set()
        return stopping

    def from_first(self, text: str) -> str:
        """Rank 0's `text`, on every rank."""
        data = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        self._run(lambda: dist.broadcast(length, 0))
        if self.rank:
            data = torch.empty(int(length), dtype=torch.uint8)
        self._run(lambda: dist.broadcast(data, 0))
        return bytes(data.tolist()).decode().strip()

    def total(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sums over all ranks; every rank must name the same things."""
        names = sorted(sums)
        values = torch.tensor([sums[name] for name in names], dtype=torch.float64)
        self._run(lambda: dist.all_reduce(values))
        return dict(zip(names, values.tolist(), strict=True))

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        value = torch.tensor([number])
        self._run(lambda: dist.all_reduce(value, op=dist.ReduceOp.MAX))
        return int(value)

    def wait_for_all(self) -> None:
        """Return when every rank has called it."""
        self.largest(0)

    def leave(self) -> None:
        """The group's work is done."""
        dist.destroy_process_group()
        self._store = None

    def _any(self, *flags: bool) -> list[bool]:
        values = torch.tensor(flags, dtype=torch.int32)
        self._run(lambda: dist.all_reduce(values, op=dist.ReduceOp.MAX))
        return [bool(value) for value in values.tolist()]

    def _run(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            raise GroupBrokenError(f"a peer is gone ({str(error).splitlines()[0]}); this process ends, so that all "
                                   "ranks meet again") from error


class _Job(Generic[T]):
    """Work in a daemon thread, which never keeps a broken process alive."""

    def __init__(self, what: str, work: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self.result: list[T] = []
        self.error: BaseException | None = None
        self._work = work
        threading.Thread(target=self._run, name=what, daemon=True).start()

    def _run(self) -> None:
        try:
            self.result.append(self._work())
        except BaseException as error:
            self.error = error
        self.ended.set()
