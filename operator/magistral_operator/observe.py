"""One snapshot of a run: itself, its runtime, its teacher, and one LIST a child kind by label."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from magistral_api.names import LABEL_MANAGED_BY, LABEL_RUN, LABEL_RUN_UID, MANAGER
from magistral_operator.case import Observed
from magistral_operator.kinds import CHILDREN, POD, RUN, RUNTIME
from magistral_operator.kube import Kube
from magistral_operator.plan import Manifest, key_of

T = TypeVar("T")


async def observe(
    kube: Kube, threads: Executor, namespace: str, name: str, refusal: str | None = None
) -> Observed | None:
    """What the API server says now; None when there is no such run. Raises ApiError."""
    def call(function: Callable[[], T]) -> Coroutine[Any, Any, T]:
        return _in_thread(threads, function)

    run = await call(partial(kube.get, RUN, namespace, name))
    if run is None:
        return None
    selector = {LABEL_RUN: name}
    async with asyncio.TaskGroup() as group:
        runtime = group.create_task(call(partial(kube.get, RUNTIME, None, _name(run, "runtimeRef"))))
        teacher = group.create_task(call(partial(_teacher, kube, run)))
        pods, *lists = [group.create_task(call(partial(kube.list, kind, namespace, selector)))
                        for kind in (POD, *CHILDREN)]
    found = [item for items in lists for item in items.result()]
    uid = run["metadata"]["uid"]
    return Observed(
        run=run, runtime=runtime.result(), teacher=teacher.result(), refusal=refusal,
        children={key_of(item): item for item in found if _label(item, LABEL_RUN_UID) == uid},
        # Only what the operator itself made for an earlier run of this name; a user's object is never a leftover.
        leftovers=tuple(item for item in found if _label(item, LABEL_RUN_UID) not in (None, uid)
                        and _label(item, LABEL_MANAGED_BY) == MANAGER),
        pods=tuple(pod for pod in pods.result() if _label(pod, LABEL_RUN_UID) == uid))


async def _in_thread(threads: Executor, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, function)


def _teacher(kube: Kube, run: Manifest) -> Manifest | None:
    reference = (run["spec"].get("curation") or {}).get("teacher", {}).get("runRef")
    return kube.get(RUN, run["metadata"]["namespace"], reference["name"]) if reference else None


def _name(run: Manifest, reference: str) -> str:
    return str((run["spec"].get(reference) or {}).get("name", ""))


def _label(manifest: Manifest, label: str) -> str | None:
    value = manifest["metadata"].get("labels", {}).get(label)
    return None if value is None else str(value)
