"""Which cluster is used, chosen by what is there. The choice is written down, so `down` undoes what `up` did."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from dev.cluster.commands import succeeds
from dev.cluster.paths import KUBECONFIG, STATE

RECORD = STATE / "way"


class Way(Enum):
    """The three ways to a cluster."""

    EXISTING = "existing"
    KIND = "kind"
    LOCAL = "local"


@dataclass(frozen=True)
class Facts:
    """What decides: what the user pointed at, and whether Docker and kind can be used."""

    kubeconfig: tuple[Path, ...]
    context: str
    docker_answers: bool
    kind: bool


def named(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Files in KUBECONFIG. Our own is no choice of the user's, so it does not count."""
    files = [Path(part).expanduser() for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    return tuple(file for file in files if file.resolve() != KUBECONFIG.resolve())


def gather() -> Facts:
    """Look at the environment and at Docker."""
    return Facts(
        kubeconfig=named(os.environ),
        context=os.environ.get("CONTEXT", ""),
        docker_answers=shutil.which("docker") is not None and succeeds(["docker", "info"], timeout_s=20),
        kind=shutil.which("kind") is not None,
    )


def choose(facts: Facts) -> tuple[Way, str]:
    """The way and the reason for it. A ~/.kube/config that nobody named is never used."""
    if facts.kubeconfig:
        return Way.EXISTING, "KUBECONFIG points at a cluster"
    if facts.context:
        return Way.EXISTING, "CONTEXT names a cluster"
    unset = "neither KUBECONFIG nor CONTEXT is set"
    if facts.docker_answers and facts.kind:
        return Way.KIND, f"{unset}, Docker answers and kind is on PATH"
    if facts.docker_answers:
        return Way.LOCAL, f"{unset}, Docker answers but kind is not on PATH"
    return Way.LOCAL, f"{unset}, and no Docker engine answers"


def recorded() -> Way | None:
    """The way of the cluster that `up` made, if there is one."""
    try:
        return Way(RECORD.read_text().strip())
    except (FileNotFoundError, ValueError):
        return None


def record(way: Way) -> None:
    RECORD.write_text(way.value)


def forget() -> None:
    """Also takes the kubeconfig away: it leads nowhere any more."""
    RECORD.unlink(missing_ok=True)
    KUBECONFIG.unlink(missing_ok=True)
