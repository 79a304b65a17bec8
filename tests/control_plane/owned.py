"""Whose field is which: server-side apply's record (`managedFields`), and other values for what is in it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.control_plane.cluster import Manifest

Step = str | tuple[tuple[str, Any], ...]
"""Into an object by field, into a list to the item with these keys."""
Path = tuple[Step, ...]
REMOVED = object()
"""In the place of a value: there is none."""
_CHOICES = {
    "imagePullPolicy": ("Always", "Never"), "protocol": ("UDP",), "restartPolicy": ("Never", "OnFailure"),
    "terminationMessagePolicy": ("File",), "type": ("Unconfined",), "completionMode": ("NonIndexed",),
    "podReplacementPolicy": ("TerminatingOrFailed",), "podManagementPolicy": ("OrderedReady",),
    "unhealthyPodEvictionPolicy": ("IfHealthyBudget",), "medium": ("Memory",), "kind": ("ConfigMap",),
    "fieldPath": ("metadata.uid",),
}
"""Where the API server takes a few words only."""


def leaves(manifest: Manifest, manager: str) -> dict[Path, Any]:
    """Every field whose value the manager's applies have set, with that value. An item's keys stand for the item."""
    found: dict[Path, Any] = {}
    for entry in manifest["metadata"].get("managedFields", []):
        if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, "Apply", ""):
            found |= {path: value(manifest, path) for path in _paths(entry["fieldsV1"], ())}
    # Of an empty map that was applied (limits) nothing is kept but its owner.
    return {path: now for path, now in found.items() if now is not REMOVED}


def _paths(fields: Manifest, above: Path) -> Iterator[Path]:
    keys = {key for key, _ in above[-1]} if above and isinstance(above[-1], tuple) else set()
    for name, below in fields.items():
        sort, _, rest = name.partition(":")
        if sort == ".":
            # That the list or map is there at all is said by what is in it.
            if keys:
                yield above
        elif sort == "f" and rest not in keys:
            yield from _paths(below, (*above, rest)) if below else iter([(*above, rest)])
        elif sort == "k":
            item = tuple(sorted(json.loads(rest).items()))
            yield from _paths(below, (*above, item)) if below else iter([(*above, item)])
        elif sort != "f":
            raise NotImplementedError(f"no list of ours is a set or without keys, and yet: {'/'.join(map(str, above))} {name}")


def value(manifest: Any, path: Path) -> Any:
    """What is there now, REMOVED when nothing is."""
    for step in path:
        manifest = _within(manifest, step)
    return manifest


def same(manifest: Manifest, path: Path, wanted: Any) -> bool:
    """Whether the field has this value. Of an item its presence counts: its fields are leaves of their own, if ours."""
    now = value(manifest, path)
    return now is not REMOVED if isinstance(path[-1], tuple) else bool(now == wanted)


def changed(manifest: Manifest, changes: dict[Path, Any]) -> Manifest:
    """A copy with other values."""
    made = copy.deepcopy(manifest)
    # Fields before the items that they are in: what is to go, goes last.
    for path, new in sorted(changes.items(), key=lambda change: -len(change[0])):
        *above, last = path
        parent = value(made, tuple(above))
        if parent is REMOVED:
            continue
        if isinstance(last, tuple):
            item = _within(parent, last)
            parent.remove(item)
            if new is not REMOVED:
                parent.append(new)
        elif new is REMOVED:
            parent.pop(last, None)
        else:
            parent[last] = new
    return made


def others(path: Path, now: Any) -> Iterator[Any]:
    """Values that a field might take instead, the likeliest first. The API server refuses many."""
    if isinstance(path[-1], str):
        yield from _values(path[-1], now)
    yield REMOVED


def more(_: Path, now: Any) -> Iterator[Any]:
    """The value with something added, where the API server takes the whole of it as one."""
    if isinstance(now, dict):
        yield now | {"other": "x"}
    elif isinstance(now, list):
        yield from ([*now, new] for item in now[-1:] for new in (*_values("", item), item))


def renamed(path: Path, now: Any) -> Iterator[Any]:
    """The item under other keys; none of a field."""
    if isinstance(path[-1], tuple):
        yield from ({**now, key: new} for key, item in path[-1] for new in _values(key, item))


def _values(name: str, now: Any) -> Iterator[Any]:
    yield from (choice for choice in _CHOICES.get(name, ()) if choice != now)
    match now:
        case bool():
            yield not now
        case int():
            yield from (now + 1, now - 1)
        case str():
            yield from (f"{now}x", "7", f"x{now}")
        case dict():
            yield from ({**now, key: new} for key, item in now.items() for new in _values(key, item))
            yield from more((), now)
        case list():
            yield from ([*now[:place], new, *now[place + 1:]]
                        for place, item in enumerate(now) for new in _values(name, item))


def show(path: Path) -> str:
    """For people."""
    return ".".join(step if isinstance(step, str) else f"[{','.join(str(item) for _, item in step)}]" for step in path)


def _within(parent: Any, step: Step) -> Any:
    if isinstance(step, str):
        return parent.get(step, REMOVED) if isinstance(parent, dict) else REMOVED
    items = parent if isinstance(parent, list) else []
    # The API server adds keys that have a default (a port's protocol).
    return next((item for item in items if all(item.get(key) == wanted for key, wanted in step)), REMOVED)
