"""Runs from the files of examples/, a name and a seed at a time, applied and followed to their ends."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from dev.demo import install
from dev.demo.watch import follow
from dev.kubectl import ROOT, Cluster

LIMIT_S = 2400
"""For the runs that are applied together."""

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line, with the time since this process began."""
    minutes, seconds = divmod(int(time.monotonic() - _BEGAN), 60)
    print(f"[{minutes:02d}:{seconds:02d}] {text}", flush=True)


def ready() -> Cluster:
    """The demo's cluster with nothing on it but its installation. Raises SystemExit when a step of that failed."""
    cluster = Cluster()
    try:
        install.everything(cluster, say)
    except subprocess.CalledProcessError as error:
        # It has said itself what is wrong.
        raise SystemExit(f"{' '.join(error.cmd[1:])} ended with {error.returncode}") from None
    return cluster


def load(file: str) -> dict[str, Any]:
    """A manifest of examples/."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples" / file).read_text())
    return document


def named(manifest: Mapping[str, Any], name: str, seed: int, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A copy with another name and seed; `changes`: values by dotted path below spec."""
    run = copy.deepcopy(dict(manifest))
    run["metadata"]["name"], run["spec"]["seed"] = name, seed
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = run["spec"]
        for parent in parents:
            place = place[parent]
        place[last] = value
    return run


def finished(cluster: Cluster, batches: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Apply batch after batch, and yield each one's runs by name once all of them are Ready.

    Raises RunFailed, TimeoutError.
    """
    for runs in batches:
        names = [run["metadata"]["name"] for run in runs]
        say(f"kubectl apply: {', '.join(names)}")
        for run in runs:
            cluster.apply(json.dumps(run), install.NAMESPACE)
        yield follow(cluster, install.NAMESPACE, names, say, LIMIT_S)
