"""How the processes of a group find each other, and find each other again.

Rank 0 keeps a store for as long as it lives. Each try to meet is a generation with a random name; a rank joins a
generation at most once. Whoever finds that its rank has joined already is a later start of it: it marks the generation
as void and waits for the next. So a restarted rank never gets into the group of its predecessor, and no restart is
spent on being early or late: only a group that has met and then lost a member ends its processes.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import distributed_c10d

from magistral_workloads.training.world import Place

COLLECTIVE_SECONDS: Final = 100.0
"""A collective that takes longer has lost a peer that did not say goodbye (its node is gone)."""
MEET_SECONDS: Final = 900.0
"""Pods of a group may be scheduled minutes apart."""
POLL_SECONDS: Final = 0.5
STORE_SECONDS: Final = 20.0

log = logging.getLogger(__name__)


class NeverMetError(Exception):
    """The group was not complete in time."""


class StopError(Exception):
    """The process was told to end."""


class _VoidError(Exception):
    """This generation will not come about."""


def meet(place: Place, stopping: threading.Event, *, seconds: float = MEET_SECONDS,
         clock: Callable[[], float] = time.monotonic) -> Store:
    """Set up torch.distributed among all ranks; returns the store, which must live as long as the group.

    Tries again until it comes about. Raises NeverMetError after `seconds`, StopError when told to end meanwhile.
    """
    deadline = clock() + seconds
    store: Store | None = None
    seen: BaseException | None = None
    while clock() < deadline:
        if stopping.is_set():
            raise StopError("told to end before the group had met")
        try:
            store = store or _open(place)
            _generation(place, store, stopping, deadline - clock(), clock)
            log.info("rank %d of %d has met its group at %s:%d", place.rank, place.size, place.host, place.port)
            return store
        except (RuntimeError, _VoidError) as error:  # torch's errors of stores and groups are RuntimeErrors
            if str(error) != str(seen):
                log.info("not met yet: %s", str(error).splitlines()[0])
            seen = error
            if dist.is_initialized():
                dist.destroy_process_group()
            # Rank 0's own store goes on; a peer's connection may be to a rank 0 that is gone.
            store = store if place.rank == 0 else None
            stopping.wait(POLL_SECONDS)
    raise NeverMetError(f"rank {place.rank}: not all {place.size} processes met at {place.host}:{place.port} within "
                        f"{seconds:.0f} s ({seen}). Look for a pod of the group that is not Running")


def _open(place: Place) -> Store:
    master = place.rank == 0
    # Rank 0 reaches itself without DNS, which may not know the pod yet.
    return TCPStore("127.0.0.1" if master else place.host, place.port, is_master=master, wait_for_workers=False,
                         timeout=timedelta(seconds=STORE_SECONDS))


def _generation(place: Place, store: Store, stopping: threading.Event, seconds: float,
                clock: Callable[[], float]) -> None:
    if place.rank == 0:
        name = secrets.token_hex(4)
        store.set("generation", name)
    else:
        name = store.get("generation").decode()
    if store.add(f"{name}/started/{place.rank}", 1) > 1:
        store.set(f"{name}/void", str(place.rank))
        raise _VoidError("an earlier process of this rank is in the group; waiting until it has ended")
    deadline = clock() + seconds
    # Who joined may be dead by the time that the last one comes. Only the living say that they have seen all join.
    for word in ("joined", "seen"):
        store.set(f"{name}/{word}/{place.rank}", "1")
        while not store.check([f"{name}/{word}/{rank}" for rank in range(place.size)]):
            if store.check([f"{name}/void"]) or stopping.is_set() or clock() > deadline:
                raise _VoidError("a process was started anew while the group met")
            stopping.wait(POLL_SECONDS)
    # Control messages are always on the CPU: gloo notices a closed connection at once, NCCL only by its timeout.
    backend = "gloo" if place.device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=PrefixStore(name, store), rank=place.rank, world_size=place.size,
                            timeout=timedelta(seconds=COLLECTIVE_SECONDS))
    dist.all_reduce(torch.zeros(1))


def limit_collectives() -> None:
    """Give every process group of this process the group's time limit.

    DeepSpeed makes groups of its own without one: they have torch's 30 minutes, and a peer whose machine is gone says no
    goodbye, so its survivors would wait that long inside a gradient's all-reduce.
    """
    for made in distributed_c10d._world.pg_map:
        distributed_c10d._set_pg_timeout(timedelta(seconds=COLLECTIVE_SECONDS), made)
