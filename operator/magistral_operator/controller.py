"""The running operator: hears of objects, wakes runs, works the queue while leading, sweeps, answers probes."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http.server import ThreadingHTTPServer

from magistral_operator import metrics
from magistral_operator.apply import NotLeadingError, RefusedError, apply
from magistral_operator.kinds import RUN, Kind
from magistral_operator.kube import ApiError, Kube
from magistral_operator.leader import RENEW_S, Elector
from magistral_operator.observe import observe
from magistral_operator.plan import Deletion, Manifest
from magistral_operator.reconcile import reconcile
from magistral_operator.settings import Settings
from magistral_operator.store import Ref, RunKey, Store, ref_of
from magistral_operator.sync import Sync, kinds
from magistral_operator.workqueue import WorkQueue

SWEEP_S = 45.0
"""How often everything is compared with the API server: watches may lose a deletion (kopf after 410 Gone)."""
RELOOK_S = 300.0
"""How often every live run is looked at though nothing was heard: the last belt, should a wake-up ever be lost."""
FILL_WAITS_S = (1, 2, 4, 8)
"""Between attempts to read everything at the start; then the pod ends and is started again."""
HEARTBEAT_LIMIT_S = 30.0
THREADS = 24
STOP_S = 10.0
"""How long a graceful stop waits for looks in hand; the chart's grace period is longer."""
log = logging.getLogger("magistral")


class Controller:
    """Watches call `heard` and `gone`. Nothing it remembers is needed to go on after a restart."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self._settings, self._kube = settings, kube
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self._leading = asyncio.Event()
        self._queue: WorkQueue[RunKey] = WorkQueue(self._look, gate=self._leading, depth=metrics.QUEUE_DEPTH.set)
        self._elector = Elector(kube, namespace=settings.lease_namespace, identity=settings.identity, leading=self._leading,
                                clock=time.monotonic)
        self._store = Store()
        self._kinds = kinds(kueue=settings.kueue)
        self._sync = Sync(kube, self._threads, self._store, settings.namespaces, self._kinds, heard=self.heard,
                          gone=self.gone)
        self._refusals: dict[RunKey, str] = {}
        self._heartbeat = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: ThreadingHTTPServer | None = None

    async def start(self) -> None:
        """Raises ApiError when the CRDs are missing, OSError when the metrics port is taken."""
        started = time.monotonic()
        await self._fill()
        self._server = metrics.serve(self._settings.metrics_port, self._health)
        log.info("read %d objects in %.1f s; metrics and health on port %d", len(self._store), time.monotonic() - started,
                 self._server.server_port)
        self._tasks = [asyncio.create_task(task) for task in
                       (self._elector.run(), self._queue.run(self._settings.workers), self._sweep(), self._beat())]

    async def stop(self) -> None:
        """Let what is in hand end, then hand the lease over. What does not end in time keeps the lease until it expires."""
        log.info("stopping: no look begins any more")
        at_rest = await self._queue.close(STOP_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if at_rest:
            with suppress(ApiError):
                await self._elector.release()
        if self._server is not None:
            self._server.shutdown()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fill(self) -> None:
        waits = list(FILL_WAITS_S)
        while True:
            try:
                await self._sync.fill()
                break
            except ApiError as error:
                # A CRD that was just installed answers 429 for a moment.
                log.error("%s; are the chart's CRDs and rights installed?", error)
                if error.refused or not waits:
                    raise
                await asyncio.sleep(waits.pop(0))

    def heard(self, kind: Kind, manifest: Manifest) -> None:
        """An object is there in this state: keep it, and wake whom it concerns unless that was known."""
        before = self._store.owner(ref_of(kind, manifest))
        if self._store.put(kind, manifest):
            # A child whose label was changed concerns the run that it was taken from.
            for key in self._store.concerned(kind, manifest) | ({before} if before else set()):
                self._queue.add(key)

    def gone(self, kind: Kind, ref: Ref, uid: str) -> None:
        """This object was deleted."""
        if (dropped := self._store.drop(ref, uid)) is not None:
            for key in self._store.concerned(kind, dropped):
                self._queue.add(key)

    def _answered(self, kind: Kind, manifest: Manifest | None, deletion: Deletion | None, key: RunKey) -> None:
        """A write for this run was answered: the store is to know before the watch tells, or the next look writes again."""
        if deletion is not None and manifest is None:
            self.gone(kind, Ref(kind.name, key[0], deletion.name), deletion.uid)
        elif manifest is not None and kind in self._kinds and self._store.put(kind, manifest):
            for other in self._store.concerned(kind, manifest) - {key}:
                self._queue.add(other)

    async def _look(self, key: RunKey) -> float | None:
        started, outcome = time.monotonic(), "error"
        try:
            observed = observe(self._store, key, self._refusals.get(key), kueue=self._settings.kueue)
            if observed is None:
                self._refusals.pop(key, None)
                outcome = "gone"
                return None
            now = datetime.now(UTC).replace(microsecond=0)
            plan = reconcile(observed, now)
            try:
                await apply(self._kube, self._threads, observed, plan, now,
                            answered=partial(self._answered, key=key), may_write=self._elector.holds)
            except NotLeadingError:
                outcome = "not_leading"
                return RENEW_S
            except RefusedError as error:
                first_time = self._refusals.get(key) != str(error)
                self._refusals[key] = str(error)
                outcome = "refused"
                log.warning("%s/%s: refused: %s", *key, error)
                if first_time:
                    # Look again at once, so that the condition says it; the back-off is for the next tries.
                    return 0.0
                raise
            if self._refusals.pop(key, None) is not None:
                return 0.0
            outcome = "changed" if plan.writes else "unchanged"
            if plan.writes:
                # An answer may hold what others wrote since the snapshot, and their event is then no news: look once more.
                self._queue.add(key)
            return plan.requeue_after
        finally:
            metrics.RECONCILE_SECONDS.labels(outcome).observe(time.monotonic() - started)

    async def _sweep(self) -> None:
        relooked = time.monotonic()
        while True:
            metrics.count_runs(self._store.all(RUN))
            await asyncio.sleep(SWEEP_S)
            try:
                if repaired := await self._sync.sweep():
                    log.info("a sweep found %d objects that the watches had not told of", repaired)
            except ApiError as error:
                log.warning("sweep: %s", error)
            if time.monotonic() - relooked > RELOOK_S:
                relooked = time.monotonic()
                keys = self._store.runs()
                for position, key in enumerate(keys):
                    # Spread, so that a thousand runs are a steady stream.
                    self._queue.add(key, SWEEP_S * position / len(keys))

    async def _beat(self) -> None:
        while True:
            self._heartbeat = time.monotonic()
            await asyncio.sleep(1)

    def _health(self) -> str | None:
        silent = time.monotonic() - self._heartbeat
        if silent > HEARTBEAT_LIMIT_S:
            return f"the event loop has not turned for {silent:.0f} s"
        ended = [task for task in self._tasks if task.done()]
        return f"{len(ended)} of {len(self._tasks)} background tasks have ended" if ended else None
