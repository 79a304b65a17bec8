"""Carry out a plan: first the status, then deletes, then applies, then Events.

The status comes first because it holds the decisions (attempts, counters). It is written under a resourceVersion
precondition: a decision made from an old view, or by a replica that lost its lease, fails there and touches no child.
A crash after it leaves a status from which the same children follow again.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from magistral_operator import metrics
from magistral_operator.case import Observed, stamp
from magistral_operator.diff import merge_patch
from magistral_operator.kinds import (
    BY_NAME,
    CHILDREN,
    EVENT,
    QUOTA,
    ROLE,
    RUN,
    SECRET,
    SERVICE_ACCOUNT,
    WORKLOAD_NAMES,
    Kind,
)
from magistral_operator.kube import ApiError, Kube
from magistral_operator.plan import Deletion, Manifest, Notice, Plan

TOKEN_BYTES = 32
_FIRST = {SERVICE_ACCOUNT.name, ROLE.name}
_WAVES = (_FIRST, {kind.name for kind in (*CHILDREN, QUOTA)} - _FIRST - WORKLOAD_NAMES, WORKLOAD_NAMES)
"""What is applied side by side: a RoleBinding needs its Role (who may bind is checked against it), pods all the rest."""
log = logging.getLogger("magistral")


class RefusedError(Exception):
    """The API server refuses a child as it is. The message names the object and has the server's words."""


class NotLeadingError(Exception):
    """Another replica may lead by now; what is left of the plan is for that one to decide."""


Answered = Callable[[Kind, Manifest | None, Deletion | None], None]
"""Told of every write that the API server answered: the object as it is now, or the deletion that left nothing."""


async def apply(kube: Kube, threads: Executor, observed: Observed, plan: Plan, now: datetime, *, answered: Answered,
                may_write: Callable[[], bool]) -> None:
    """Make every write of the plan, asking `may_write`, in any thread, right before each.

    Raises RefusedError when an object is at fault, NotLeadingError, ApiError otherwise.
    """
    meta = observed.run["metadata"]
    namespace, writes = meta["namespace"], _Writer(threads, answered, may_write)
    if plan.status is not None:
        patch = merge_patch(observed.run.get("status") or {}, plan.status)
        await writes.all([_Write("patch", RUN, partial(kube.merge_status, RUN, observed.run, patch))])
        metrics.count_changes(observed.run.get("status") or {}, plan.status)
    await writes.all(_Write("delete", BY_NAME[one.kind], partial(_delete, kube, namespace, one), one)
                     for one in plan.delete)
    if plan.token is not None:
        await writes.all([_Write("create", SECRET, partial(_create_token, kube, plan.token))])
    for kinds in _WAVES:
        await writes.all(_Write("patch", BY_NAME[one["kind"]], partial(_apply, kube, one))
                         for one in plan.apply if one["kind"] in kinds)
    await writes.all(_Write("patch", BY_NAME[one["kind"]], partial(kube.apply, BY_NAME[one["kind"]], one, "status"))
                     for one in plan.apply_status)
    await writes.all(_Write("patch", BY_NAME[live["kind"]], partial(kube.merge_status, BY_NAME[live["kind"]], live, patch))
                     for live, patch in plan.patch_status)
    for notice in plan.events:
        log.log(logging.WARNING if notice.warning else logging.INFO, "%s/%s: %s: %s", namespace, meta["name"],
                notice.reason, notice.message)
        try:
            await writes.all([_Write("create", EVENT, partial(kube.create, EVENT, event(observed.run, notice, now)))])
        except (ApiError, RefusedError) as error:
            # An Event is a courtesy; a run does not wait for it.
            log.warning("%s/%s: Event %s not recorded: %s", namespace, meta["name"], notice.reason, error)


def event(run: Manifest, notice: Notice, now: datetime) -> Manifest:
    """A core/v1 Event about the run."""
    meta = run["metadata"]
    return {
        "apiVersion": "v1", "kind": "Event",
        # As client-go names them: kubectl shows Events of one second in the order of their names.
        "metadata": {"name": f"{meta['name']}.{time.time_ns():x}", "namespace": meta["namespace"]},
        "involvedObject": {"apiVersion": run["apiVersion"], "kind": run["kind"], "name": meta["name"],
                           "namespace": meta["namespace"], "uid": meta["uid"],
                           "resourceVersion": meta["resourceVersion"]},
        "type": "Warning" if notice.warning else "Normal", "reason": notice.reason, "message": notice.message[:1024],
        "source": {"component": "magistral-operator"}, "reportingComponent": "magistral-operator",
        "firstTimestamp": stamp(now), "lastTimestamp": stamp(now), "count": 1,
    }


@dataclass(frozen=True)
class _Write:
    verb: str
    kind: Kind
    call: Callable[[], Manifest | None]
    deletion: Deletion | None = None


class _Writer:
    """Runs blocking writes side by side, counts them, passes their answers on, and tells refusals from failures."""

    def __init__(self, threads: Executor, answered: Answered, may_write: Callable[[], bool]) -> None:
        self._threads, self._answered, self._may_write = threads, answered, may_write

    async def all(self, writes: Iterable[_Write]) -> None:
        loop = asyncio.get_running_loop()
        made = list(writes)
        for write in made:
            metrics.API_WRITES.labels(write.verb, write.kind.name).inc()
        results = await asyncio.gather(*(loop.run_in_executor(self._threads, self._make, write) for write in made),
                                       return_exceptions=True)
        for write, result in zip(made, results, strict=True):
            if not isinstance(result, BaseException):
                self._answered(write.kind, result, write.deletion)
        # Each one was given its chance; the first error is raised after all have ended.
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _make(self, write: _Write) -> Manifest | None:
        # Asked here, in the thread: a write may have waited for one, or slept with the whole process.
        if not self._may_write():
            raise NotLeadingError
        return write.call()


def _apply(kube: Kube, manifest: Manifest) -> Manifest:
    try:
        return kube.apply(BY_NAME[manifest["kind"]], manifest)
    except ApiError as error:
        if error.refused:
            raise RefusedError(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}") from error
        raise


def _delete(kube: Kube, namespace: str, one: Deletion) -> Manifest | None:
    return kube.delete(BY_NAME[one.kind], namespace, one.name, one.uid, one.propagation, one.grace_s)


def _create_token(kube: Kube, manifest: Manifest) -> None:
    # Its answer holds the token, which is kept nowhere.
    try:
        kube.create(SECRET, manifest | {"stringData": {"token": secrets.token_urlsafe(TOKEN_BYTES)}})
    except ApiError as error:
        if error.status != 409:
            raise
