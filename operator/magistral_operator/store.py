"""What the API server said last of every object of ours, found by run. Watches fill it, sweeps repair it (sync.py).

Objects are kept as JSON text without what no policy reads: a thousand runs own twenty thousand objects, and as
dictionaries they would take ten times the memory.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from magistral_api.names import LABEL_RUN
from magistral_operator.kinds import NODE, POD, RUN, RUNTIME, Kind
from magistral_operator.plan import Manifest
from magistral_operator.policies.references import references

RunKey = tuple[str, str]
"""Namespace and name of a run."""
_POD_SPEC = ("nodeName", "terminationGracePeriodSeconds")
"""The operator never writes a pod, so the rest of its spec is nobody's question."""
_HEARTBEAT = "lastHeartbeatTime"
"""Of a node's conditions: says every few minutes that nothing has changed."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Which object. `namespace` is empty for kinds without."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    uid: str
    run: RunKey | None
    text: bytes


class Store:
    """One entry an object, the newest one heard of. Not thread-safe: for the event loop's thread only."""

    def __init__(self) -> None:
        self._entries: dict[Ref, _Entry] = {}
        self._of_kind: defaultdict[str, set[Ref]] = defaultdict(set)
        self._of_run: dict[RunKey, set[Ref]] = {}
        self._uses: dict[RunKey, tuple[str, frozenset[str]]] = {}
        self._node_of: dict[Ref, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, kind: Kind, manifest: Manifest) -> bool:
        """Keep an object unless a newer one is known. Returns whether it told anything new."""
        ref, entry = ref_of(kind, manifest), _entry(kind, manifest)
        known = self._entries.get(ref)
        if known is not None and known.version >= entry.version:
            return False
        self._forget(ref)
        self._entries[ref] = entry
        self._of_kind[ref.kind].add(ref)
        if kind == POD and (node := (manifest.get("spec") or {}).get("nodeName")):
            self._node_of[ref] = node
        if entry.run is not None:
            self._of_run.setdefault(entry.run, set()).add(ref)
        if kind == RUN:
            self._uses[ref.namespace, ref.name] = runtime_of(manifest), named_by(manifest)
        return known is None or known.text != entry.text

    def drop(self, ref: Ref, uid: str) -> Manifest | None:
        """Forget a deleted object if it is still that one, and return it."""
        known = self._entries.get(ref)
        if known is None or known.uid != uid:
            return None
        self._forget(ref)
        return _manifest(known)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        entry = self._entries.get(Ref(kind.name, namespace or "", name))
        return None if entry is None else _manifest(entry)

    def owner(self, ref: Ref) -> RunKey | None:
        """The run that the object is known to belong to."""
        known = self._entries.get(ref)
        return known.run if known else None

    def runs(self) -> list[RunKey]:
        return list(self._uses)

    def concerned(self, kind: Kind, manifest: Manifest) -> set[RunKey]:
        """Runs whose look this object may change: its own, those that use the runtime, name the run, sit on the node."""
        namespace, name = manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]
        if kind == RUNTIME:
            return {key for key, (runtime, _) in self._uses.items() if runtime == name}
        if kind == RUN:
            return {(namespace, name)} | {key for key, (_, named) in self._uses.items()
                                          if key[0] == namespace and name in named}
        if kind == NODE:
            return {run for ref, node in self._node_of.items() if node == name and (run := self._entries[ref].run)}
        own = run_of(kind, manifest)
        return {own} if own else set()

    def of_run(self, key: RunKey) -> list[Manifest]:
        """Children and pods that carry the run's name as a label, the run itself not."""
        return [_manifest(self._entries[ref])
                for ref in sorted(self._of_run.get(key, ()), key=lambda ref: (ref.kind, ref.name))]

    def all(self, kind: Kind) -> Iterator[Manifest]:
        return (_manifest(self._entries[ref]) for ref in list(self._of_kind[kind.name]))

    def versions(self, kind: Kind) -> dict[Ref, tuple[int, str]]:
        """Resource version and UID of every object of a kind."""
        return {ref: (self._entries[ref].version, self._entries[ref].uid) for ref in self._of_kind[kind.name]}

    def _forget(self, ref: Ref) -> None:
        entry = self._entries.pop(ref, None)
        self._of_kind[ref.kind].discard(ref)
        self._node_of.pop(ref, None)
        if entry is not None and entry.run is not None:
            refs = self._of_run[entry.run]
            refs.discard(ref)
            if not refs:
                del self._of_run[entry.run]
        if ref.kind == RUN.name:
            self._uses.pop((ref.namespace, ref.name), None)


def runtime_of(run: Manifest) -> str:
    """Name of the MagistralRuntime that a run uses; empty when it names none."""
    return str((run.get("spec") or {}).get("runtimeRef", {}).get("name", ""))


def named_by(run: Manifest) -> frozenset[str]:
    """Names of the runs in the same namespace that this one reads from."""
    return frozenset(reference.name for reference in references(run.get("spec") or {}))


def ref_of(kind: Kind, manifest: Manifest) -> Ref:
    meta = manifest["metadata"]
    return Ref(kind.name, meta.get("namespace", ""), meta["name"])


def run_of(kind: Kind, manifest: Manifest) -> RunKey | None:
    """The run that a child or pod belongs to, by its label; None for runs and runtimes themselves."""
    meta = manifest["metadata"]
    name = meta.get("labels", {}).get(LABEL_RUN)
    return (meta["namespace"], name) if name and kind not in (RUN, RUNTIME) else None


def _manifest(entry: _Entry) -> Manifest:
    manifest: Manifest = json.loads(entry.text)
    return manifest


def _entry(kind: Kind, manifest: Manifest) -> _Entry:
    meta = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    kept = {"apiVersion": kind.api_version, "kind": kind.name, **manifest, "metadata": meta}
    if kind == POD:
        spec = manifest.get("spec") or {}
        kept["spec"] = {field: spec[field] for field in _POD_SPEC if field in spec}
    if kind == NODE:
        kept = _node(kept)
    # Versions of one resource grow; since Kubernetes 1.35 clients may compare them as numbers.
    return _Entry(int(meta["resourceVersion"]), meta["uid"], run_of(kind, manifest),
                  json.dumps(kept, separators=(",", ":")).encode())


def _node(manifest: Manifest) -> Manifest:
    """What policies read of a node; the same bytes after a mere heartbeat."""
    meta, conditions = manifest["metadata"], (manifest.get("status") or {}).get("conditions", [])
    return {
        "metadata": {"name": meta["name"], "uid": meta["uid"], "labels": meta.get("labels", {})},
        "spec": {"taints": (manifest.get("spec") or {}).get("taints", [])},
        "status": {"conditions": [{key: value for key, value in one.items() if key != _HEARTBEAT} for one in conditions]},
    }
