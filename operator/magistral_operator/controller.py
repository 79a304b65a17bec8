"""The running operator: wakes keys, works the queue while leading, re-looks at every live run, answers probes."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any

from magistral_operator import metrics
from magistral_operator.apply import RefusedError, apply
from magistral_operator.kinds import CHECKPOINT, RUN, RUNTIME
from magistral_operator.kube import ApiError, Kube
from magistral_operator.leader import Elector
from magistral_operator.observe import observe
from magistral_operator.reconcile import reconcile
from magistral_operator.settings import Settings
from magistral_operator.workqueue import WorkQueue

Key = tuple[str, str]
"""Namespace and name of a run."""

RELOOK_S = 45.0
"""Every live run is looked at this often: watches may lose a deletion (kopf after 410 Gone)."""
HEARTBEAT_LIMIT_S = 30.0
THREADS = 24
log = logging.getLogger("magistral")


class Controller:
    """Watches call `wake…`; everything else happens here. Nothing it remembers is needed to go on after a restart."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self._settings, self._kube = settings, kube
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self._leading = asyncio.Event()
        self._queue: WorkQueue[Key] = WorkQueue(self._look, gate=self._leading, depth=metrics.QUEUE_DEPTH.set)
        self._elector = Elector(kube, self._threads, namespace=settings.lease_namespace, identity=settings.identity,
                                leading=self._leading, clock=time.monotonic)
        self._uses: dict[Key, tuple[str, Key | None]] = {}
        self._refusals: dict[Key, str] = {}
        self._heartbeat = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: ThreadingHTTPServer | None = None

    async def start(self) -> None:
        """Raises ApiError when the CRDs are missing, OSError when the metrics port is taken."""
        for kind in (RUN, RUNTIME, CHECKPOINT):
            try:
                await self._in_thread(self._kube.list, kind, None if kind is RUNTIME else self._scopes()[0])
            except ApiError as error:
                log.error("cannot list %s.%s: %s; are the chart's CRDs and rights installed?", kind.plural, kind.group, error)
                raise
        self._server = metrics.serve(self._settings.metrics_port, self._health)
        log.info("metrics and health on port %d", self._server.server_port)
        self._tasks = [asyncio.create_task(task) for task in
                       (self._elector.run(), self._queue.run(self._settings.workers), self._relook(), self._beat())]

    async def stop(self) -> None:
        """Stop working, then hand the lease over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(ApiError):
            await self._elector.release()
        if self._server is not None:
            self._server.shutdown()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def wake(self, namespace: str, name: str) -> None:
        self._queue.add((namespace, name))

    def wake_run(self, run: dict[str, Any], *, gone: bool) -> None:
        """A run changed: look at it, and at those whose teacher it is."""
        key = run["metadata"]["namespace"], run["metadata"]["name"]
        spec = run.get("spec") or {}
        teacher = ((spec.get("curation") or {}).get("teacher") or {}).get("runRef") or {}
        if gone:
            self._uses.pop(key, None)
        else:
            self._uses[key] = ((spec.get("runtimeRef") or {}).get("name", ""),
                               (key[0], teacher["name"]) if teacher else None)
        for other, (_, its_teacher) in self._uses.items():
            if its_teacher == key:
                self._queue.add(other)
        self._queue.add(key)

    def wake_users_of_runtime(self, name: str) -> None:
        for key, (runtime, _) in self._uses.items():
            if runtime == name:
                self._queue.add(key)

    async def _look(self, key: Key) -> float | None:
        started, outcome = time.monotonic(), "error"
        try:
            observed = await observe(self._kube, self._threads, *key, refusal=self._refusals.get(key))
            if observed is None:
                self._refusals.pop(key, None)
                outcome = "gone"
                return None
            now = datetime.now(UTC).replace(microsecond=0)
            plan = reconcile(observed, now)
            try:
                await apply(self._kube, self._threads, observed, plan, now)
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
            return plan.requeue_after
        finally:
            metrics.RECONCILE_SECONDS.labels(outcome).observe(time.monotonic() - started)

    async def _relook(self) -> None:
        while True:
            try:
                runs = [run for scope in self._scopes() for run in await self._in_thread(self._kube.list, RUN, scope)]
            except ApiError as error:
                log.warning("listing runs: %s", error)
                await asyncio.sleep(RELOOK_S / 3)
                continue
            metrics.count_runs(runs)
            for position, run in enumerate(runs):
                phase = (run.get("status") or {}).get("phase", "Pending")
                if phase not in ("Succeeded", "Failed"):
                    key = run["metadata"]["namespace"], run["metadata"]["name"]
                    # Spread over half the period, so that a thousand runs are a steady stream.
                    self._queue.add(key, RELOOK_S / 2 * position / len(runs))
            await asyncio.sleep(RELOOK_S)

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

    def _scopes(self) -> tuple[str | None, ...]:
        return self._settings.namespaces or (None,)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
