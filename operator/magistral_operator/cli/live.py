"""What would change on a cluster: dry runs of its own API server, so that its defaults and rules count.

Server-side apply changes only fields that the operator owns, so a diff of the answer against the live object shows
those and nothing else.
"""

import asyncio
import dataclasses
import difflib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TextIO

from kubernetes.config import ConfigException

from magistral_operator.cli import text
from magistral_operator.cli.errors import CommandError
from magistral_operator.cli.files import Files
from magistral_operator.kinds import BY_NAME, CHILDREN, QUOTA, RUN, RUNTIME, Kind
from magistral_operator.kube import ApiError, Kube
from magistral_operator.observe import observe
from magistral_operator.plan import Manifest
from magistral_operator.policies.queue import LABEL_QUEUE
from magistral_operator.preview import NotPlannedError, preview
from magistral_operator.reconcile import reconcile
from magistral_operator.store import Store
from magistral_operator.sync import Sync, kinds

_SERVERS_OWN = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")
_APPLIED = {kind.name for kind in (*CHILDREN, QUOTA)}
_THREADS = 8


def connect(kubeconfig: str | None, context: str | None) -> Kube:
    """A client whose writes are all dry runs. Raises CommandError."""
    try:
        return Kube.connect(kubeconfig, context, dry_run=True)
    except ConfigException as error:
        raise CommandError(f"kubeconfig: {error}; name one with --kubeconfig, or set KUBECONFIG") from error


def diff(kube: Kube, found: Files, out: TextIO) -> int:
    """Write a unified diff of every object that would change. Returns 1 when there is one, else 0.

    A run that the cluster knows: what the operator would do at its next look, were the file applied now. One that it
    does not know: all objects of all stages. Raises CommandError with whatever the API server refuses.
    """
    changed, refusals = 0, []
    for document in found.runs:
        try:
            for before, after in _changes(kube, document.manifest, _runtime(kube, document.manifest, found)):
                changed += _write(before, after, out)
        except (ApiError, NotPlannedError, CommandError) as error:
            refusals.append(f"{document.title}: {error}")
    if refusals:
        raise CommandError(*refusals)
    return 1 if changed else 0


Change = tuple[Manifest | None, Manifest | None]
"""The object as it is and as it would be; None where there is none."""


def _runtime(kube: Kube, run: Manifest, found: Files) -> Change:
    name = run["spec"]["runtimeRef"]["name"]
    before = kube.get(RUNTIME, None, name)
    if name in found.runtimes:
        return before, _stored(kube, RUNTIME, before, found.runtimes[name].manifest)
    if before is None:
        raise CommandError(f"spec.runtimeRef.name: found {name!r}, expected a MagistralRuntime of the cluster or of the "
                           "files; create it, or name its file with -f")
    return before, before


def _changes(kube: Kube, manifest: Manifest, runtime: Change) -> Iterator[Change]:
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    before = kube.get(RUN, namespace, name)
    after = _stored(kube, RUN, before, manifest)
    yield runtime
    yield before, after
    its_runtime = runtime[1]
    assert its_runtime is not None
    if before is None:
        for stage in preview(after, its_runtime):
            for one in stage.new:
                yield _applied(kube, one)
        return
    kueue = LABEL_QUEUE in (after["metadata"].get("labels") or {})
    observed = observe(_read(kube, namespace, kueue=kueue), (namespace, name), kueue=kueue)
    if observed is None:
        raise CommandError("it was deleted meanwhile; try again")
    plan = reconcile(dataclasses.replace(observed, run=after, runtime=its_runtime), datetime.now(UTC).replace(microsecond=0))
    for deletion in plan.delete:
        yield kube.get(BY_NAME[deletion.kind], namespace, deletion.name), None
    for one in plan.apply:
        yield _applied(kube, one)


def _read(kube: Kube, namespace: str, *, kueue: bool) -> Store:
    """What the operator would know of this namespace."""
    store = Store()
    with ThreadPoolExecutor(_THREADS) as threads:
        asyncio.run(Sync(kube, threads, store, (namespace,), kinds(kueue=kueue), heard=store.put,
                         gone=lambda *_: None).fill())
    return store


def _stored(kube: Kube, kind: Kind, before: Manifest | None, manifest: Manifest) -> Manifest:
    """What the API server would store for the file: defaults filled in, every rule checked."""
    if before is None:
        return kube.create(kind, manifest)
    mine = manifest["metadata"]
    meta = before["metadata"] | {key: before["metadata"].get(key, {}) | mine[key]
                                 for key in ("labels", "annotations") if mine.get(key)}
    return kube.replace(kind, before | {"metadata": meta, "spec": manifest["spec"]})


def _applied(kube: Kube, manifest: Manifest) -> Change:
    kind, meta = BY_NAME[manifest["kind"]], manifest["metadata"]
    if kind.name not in _APPLIED:
        # A Secret: the operator only ever creates it, and nobody's rights to read it are asked for.
        return None, manifest
    try:
        return kube.get(kind, meta["namespace"], meta["name"]), kube.apply(kind, manifest)
    except ApiError as error:
        raise ApiError(error.status, f"{kind.name} {meta['name']}: {error.message}", error.reason) from error


def _write(before: Manifest | None, after: Manifest | None, out: TextIO) -> bool:
    one = after or before
    if one is None:
        return False
    name = f"{one['kind']}/{one['metadata']['name']}"
    lines = list(difflib.unified_diff(_lines(before), _lines(after), f"live/{name}", f"planned/{name}"))
    out.writelines(lines)
    return bool(lines)


def _lines(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return []
    meta = {key: value for key, value in manifest["metadata"].items() if key not in _SERVERS_OWN}
    shown = {key: value for key, value in manifest.items() if key != "status"} | {"metadata": meta}
    return text.dump(shown).splitlines(keepends=True)
