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
from datetime import datetime
from functools import partial
from typing import Any

from magistral_operator import metrics
from magistral_operator.case import Observed, stamp
from magistral_operator.diff import merge_patch
from magistral_operator.kinds import BY_NAME, CHILDREN, EVENT, RUN, SECRET
from magistral_operator.kube import ApiError, Kube
from magistral_operator.plan import Deletion, Manifest, Notice, Plan

TOKEN_BYTES = 32
log = logging.getLogger("magistral")


class RefusedError(Exception):
    """The API server refuses a child as it is. The message names the object and has the server's words."""


async def apply(kube: Kube, threads: Executor, observed: Observed, plan: Plan, now: datetime) -> None:
    """Make every write of the plan. Raises RefusedError when an object is at fault, ApiError otherwise."""
    meta = observed.run["metadata"]
    namespace, writes = meta["namespace"], _Writer(threads)
    if plan.status is not None:
        patch = merge_patch(observed.run.get("status") or {}, plan.status)
        await writes.all([("patch", "MagistralRun", partial(kube.merge_status, RUN, observed.run, patch))])
        metrics.count_changes(observed.run.get("status") or {}, plan.status)
    await writes.all(("delete", one.kind, partial(_delete, kube, namespace, one)) for one in plan.delete)
    if plan.token is not None:
        await writes.all([("create", "Secret", partial(_create_token, kube, plan.token))])
    # Kind by kind: a RoleBinding needs its Role (who may bind is checked against it), pods need all the rest.
    for kind in CHILDREN:
        await writes.all(("patch", kind.name, partial(_apply, kube, one))
                         for one in plan.apply if one["kind"] == kind.name)
    await writes.all(("patch", one["kind"], partial(kube.apply, BY_NAME[one["kind"]], one, "status"))
                     for one in plan.apply_status)
    for notice in plan.events:
        log.log(logging.WARNING if notice.warning else logging.INFO, "%s/%s: %s: %s", namespace, meta["name"],
                notice.reason, notice.message)
        try:
            await writes.all([("create", "Event", partial(kube.create, EVENT, event(observed.run, notice, now)))])
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


class _Writer:
    """Runs blocking writes side by side, counts them, and tells refusals from failures."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    async def all(self, writes: Iterable[tuple[str, str, Callable[[], Any]]]) -> None:
        loop = asyncio.get_running_loop()
        made = []
        for verb, kind, write in writes:
            metrics.API_WRITES.labels(verb, kind).inc()
            made.append(loop.run_in_executor(self._threads, write))
        # Each one is given its chance; the first error is raised after all have ended.
        for result in await asyncio.gather(*made, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def _apply(kube: Kube, manifest: Manifest) -> None:
    try:
        kube.apply(BY_NAME[manifest["kind"]], manifest)
    except ApiError as error:
        if error.refused:
            raise RefusedError(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}") from error
        raise


def _delete(kube: Kube, namespace: str, one: Deletion) -> None:
    kube.delete(BY_NAME[one.kind], namespace, one.name, one.uid, one.propagation)


def _create_token(kube: Kube, manifest: Manifest) -> None:
    try:
        kube.create(SECRET, manifest | {"stringData": {"token": secrets.token_urlsafe(TOKEN_BYTES)}})
    except ApiError as error:
        if error.status != 409:
            raise
