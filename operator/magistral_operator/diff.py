"""Is a live object what the operator wants? And the smallest merge patch between two statuses."""

import hashlib
import json
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from magistral_operator.plan import Manifest

ANNOTATION_APPLIED = "training.magistral.dev/applied"
"""Hash of the manifest as last applied: tells a drift from a change of mind."""

_MERGE_KEYS = {
    "containers": ("name",), "initContainers": ("name",), "env": ("name",), "volumes": ("name",),
    "volumeMounts": ("mountPath",), "ports": ("containerPort", "port"), "ownerReferences": ("uid",),
    "imagePullSecrets": ("name",), "conditions": ("type",),
}
"""Lists that the API server merges by key; entries of others in them are not ours to judge."""
_WHOLE = {
    "selector", "podSelector", "nodeSelector", "tolerations", "affinity", "ingress", "egress", "rules", "subjects", "roleRef",
    "secretKeyRef", "fieldRef",
}
"""What the API server takes as one value: whatever others add inside changes its meaning."""
_QUANTITIES = {"requests", "limits", "sizeLimit"}


def digest(value: Any) -> str:
    """A short hash of JSON data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with the hash of itself as an annotation."""
    return annotated(manifest, ANNOTATION_APPLIED, digest(manifest))


def annotated(manifest: Manifest, annotation: str, value: str) -> Manifest:
    meta = manifest["metadata"]
    return {**manifest, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), annotation: value}}}


def annotation(manifest: Manifest, name: str) -> str | None:
    value = manifest["metadata"].get("annotations", {}).get(name)
    return None if value is None else str(value)


def holds(wanted: Any, live: Any, field: str = "") -> bool:
    """Whether every field that is wanted has the wanted value in the live object.

    The server adds defaults and drops empty values, so more fields may be there, and nothing equals empty.
    """
    if field in _WHOLE:
        return _same(wanted, live)
    if isinstance(wanted, dict):
        live = live if isinstance(live, dict) else {}
        quantities = field in _QUANTITIES
        return all(_same_quantity(value, live.get(key)) if quantities else holds(value, live.get(key), key)
                   for key, value in wanted.items())
    if isinstance(wanted, list):
        return _holds_list(wanted, live if isinstance(live, list) else [], field)
    if field in _QUANTITIES:
        return _same_quantity(wanted, live)
    return bool(wanted == live) or (not wanted and not live)


def _same(wanted: Any, live: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(_same(wanted.get(key), live.get(key)) for key in {*wanted, *live})
    if isinstance(wanted, list) and isinstance(live, list):
        return len(wanted) == len(live) and all(map(_same, wanted, live))
    # An empty selector picks everything, none at all nothing; an empty list is dropped.
    return bool(wanted == live) or (not wanted and not live and {} not in (wanted, live))


def _holds_list(wanted: list[Any], live: list[Any], field: str) -> bool:
    keys = (key for key in _MERGE_KEYS.get(field, ()) if all(isinstance(item, dict) and key in item for item in wanted))
    if key := next(keys, None):
        by_key: dict[Any, list[Any]] = {}
        for item in live:
            by_key.setdefault(item.get(key), []).append(item)
        return all(any(holds(item, candidate) for candidate in by_key.get(item[key], [])) for item in wanted)
    return len(wanted) == len(live) and all(map(holds, wanted, live))


def _same_quantity(wanted: Any, live: Any) -> bool:
    if wanted == live:
        return True
    try:
        return live is not None and bool(parse_quantity(wanted) == parse_quantity(live))
    except ValueError:
        return False


def merge_patch(before: Any, after: Any) -> Any:
    """RFC 7386 patch from one JSON object to another; {} when they are equal."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := merge_patch(old, value):
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch
