"""Leader election through one Lease: renewed every 2 s, given up after 10, expires in 15; released on a graceful stop.

A replica whose lease another took may not know it yet: it was stopped, or its network was. So nothing is written without
asking `holds`, which goes by the clock and not by what was last heard; and a status write that was already on its way meets
its resourceVersion precondition (apply.py).
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from magistral_operator import metrics
from magistral_operator.kinds import LEASE
from magistral_operator.kube import ApiError, Kube
from magistral_operator.plan import Manifest

NAME = "magistral-operator"
DURATION_S, GIVE_UP_S, RENEW_S = 15, 10, 2
POLL_S = 0.5
"""How often a standby reads the Lease, so that a graceful stop is noticed at once."""
RELEASE_TRIES = 3
THREADS = 4
"""Of its own: the lease is renewed though every other call hangs. More than one, as one that hangs stays for a while."""
log = logging.getLogger("magistral")


class Elector:
    """Holds `leading` open while this replica has the Lease.

    Expiry is judged by when *we* last saw the Lease change, never by comparing two machines' clocks. `clock`: seconds,
    never set back.
    """

    def __init__(self, kube: Kube, *, namespace: str, identity: str, leading: asyncio.Event,
                 clock: Callable[[], float]) -> None:
        self._kube, self._namespace, self._identity = kube, namespace, identity
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lease")
        self._leading, self._clock = leading, clock
        self._seen: tuple[Any, float] = (None, 0.0)
        self._renewed, self._expires = 0.0, 0.0

    def holds(self) -> bool:
        """Whether no other replica can lead at this moment."""
        return self._leading.is_set() and self._left() > 0

    async def run(self) -> None:
        """Try for ever. Cancel it, then `release`."""
        while True:
            if self._leading.is_set() and not self.holds():
                self._set(False, f"not renewed within {GIVE_UP_S} s")
            try:
                async with asyncio.timeout(self._left() if self._leading.is_set() else None):
                    await self._try()
            except ApiError as error:
                log.warning("lease %s/%s: %s", self._namespace, NAME, error)
            except TimeoutError:
                log.warning("lease %s/%s: no answer from the API server in time", self._namespace, NAME)
            await asyncio.sleep(self._pause())

    async def release(self) -> None:
        """Let another replica lead at once. Nothing may be on its way to the API server any more."""
        if not self._leading.is_set():
            return
        self._set(False, "stopping")
        for _ in range(RELEASE_TRIES):
            lease = await self._call(partial(self._kube.get, LEASE, self._namespace, NAME))
            if not lease or lease["spec"].get("holderIdentity") != self._identity:
                return
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            try:
                await self._call(partial(self._kube.replace, LEASE, lease))
                return
            except ApiError as error:
                # A renewal was still on its way.
                if error.status != 409:
                    raise

    def _left(self) -> float:
        """Seconds for which the lease is surely ours."""
        return self._renewed + GIVE_UP_S - self._clock()

    def _pause(self) -> float:
        if self._leading.is_set():
            return RENEW_S
        # Be there when it expires, not up to a whole pause later.
        return min(POLL_S, max(self._expires - self._clock(), 0.05))

    async def _try(self) -> None:
        started = self._clock()
        lease = await self._call(partial(self._kube.get, LEASE, self._namespace, NAME))
        if lease is None:
            await self._call(partial(self._kube.create, LEASE, self._claim(None)))
        else:
            if lease["metadata"]["resourceVersion"] != self._seen[0]:
                self._seen = (lease["metadata"]["resourceVersion"], started)
            holder = lease["spec"].get("holderIdentity")
            self._expires = self._seen[1] + lease["spec"].get("leaseDurationSeconds", DURATION_S)
            if holder not in (None, "", self._identity) and started < self._expires:
                if self._leading.is_set():
                    self._set(False, f"taken by {holder}")
                return
            await self._call(partial(self._kube.replace, LEASE, self._claim(lease)))
        # Counted from before the call: the others count from when it arrived, which is later.
        self._renewed = started
        if not self._leading.is_set():
            self._set(True, "")

    def _claim(self, lease: Manifest | None) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease["spec"]) if lease else {}
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1 if lease else 0}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION_S, "renewTime": now}
        base = lease or {"apiVersion": LEASE.api_version, "kind": LEASE.name,
                         "metadata": {"name": NAME, "namespace": self._namespace}}
        return {**base, "spec": spec}

    def _set(self, leading: bool, why: str) -> None:
        log.info("%s", f"leading as {self._identity}" if leading else f"no longer leading: {why}")
        metrics.LEADER.set(1 if leading else 0)
        if leading:
            self._leading.set()
        else:
            self._leading.clear()

    async def _call(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)
