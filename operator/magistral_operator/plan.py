"""What one look at a run leads to: values that say what to write, and in which order apply.py writes it."""

from dataclasses import dataclass, field
from typing import Any, Literal

Manifest = dict[str, Any]
"""One Kubernetes object as the API server takes it."""

Key = tuple[str, str]
"""Kind and name of a child; the namespace is the run's."""


def key_of(manifest: Manifest) -> Key:
    return manifest["kind"], manifest["metadata"]["name"]


@dataclass(frozen=True)
class Deletion:
    """A delete that only hits the object that was seen. `grace_s` 0: without asking its node."""

    kind: str
    name: str
    uid: str
    propagation: Literal["Background", "Foreground"] = "Background"
    grace_s: int | None = None


@dataclass(frozen=True)
class Notice:
    """An Event about the run. `reason` is one of constants.py."""

    reason: str
    message: str
    warning: bool = False


@dataclass
class Plan:
    """`status`: the whole new status, or None to leave it. `token`: a Secret to create if absent, without its value.
    `patch_status`: a live object of others and a merge patch of its status.

    Everything empty: the run is as it should be.
    """

    status: dict[str, Any] | None = None
    delete: list[Deletion] = field(default_factory=list)
    token: Manifest | None = None
    apply: list[Manifest] = field(default_factory=list)
    apply_status: list[Manifest] = field(default_factory=list)
    patch_status: list[tuple[Manifest, Manifest]] = field(default_factory=list)
    requeue_after: float | None = None
    events: list[Notice] = field(default_factory=list)

    @property
    def writes(self) -> bool:
        return bool(self.status is not None or self.delete or self.apply or self.apply_status or self.patch_status
                    or self.token)
