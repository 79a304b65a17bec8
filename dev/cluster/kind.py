"""Way 2: kind, where Docker runs."""

from __future__ import annotations

import os
from pathlib import Path

from dev.cluster.commands import run
from dev.cluster.paths import KUBECONFIG
from dev.cluster.progress import say, step

NAME = "magistral"


def up() -> None:
    """Make the kind cluster unless it is there; either way its kubeconfig becomes ours."""
    if exists():
        _kind("export", "kubeconfig", "--name", NAME, "--kubeconfig", str(KUBECONFIG))
        say(f"already up: kind cluster {NAME!r}")
        return
    with step(f"kind create cluster --name {NAME}"):
        _kind("create", "cluster", "--name", NAME, "--kubeconfig", str(KUBECONFIG), "--wait", "180s", timeout_s=900)


def down() -> None:
    if exists():
        with step(f"kind delete cluster --name {NAME}"):
            _kind("delete", "cluster", "--name", NAME, "--kubeconfig", str(KUBECONFIG), timeout_s=300)


def status() -> bool:
    """Whether the kind cluster is there; says so."""
    there = exists()
    say(f"kind cluster {NAME!r}: {'there' if there else 'not there'}; KUBECONFIG={KUBECONFIG}")
    return there


def load(archive: Path) -> None:
    """Give an image archive to every kind node."""
    with step(f"kind load image-archive {archive}"):
        _kind("load", "image-archive", str(archive), "--name", NAME, timeout_s=1800)


def exists() -> bool:
    return NAME in _kind("get", "clusters").split()


def _kind(*arguments: str, timeout_s: float = 60.0) -> str:
    # With the user's whole environment: DOCKER_HOST, proxies.
    return run(["kind", *arguments], environment=os.environ, timeout_s=timeout_s)
