"""Follows runs to their end: one line whenever something a person cares about has changed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dev.kubectl import Cluster


class RunFailed(RuntimeError):
    """A run ended without Ready=True; the message is its Ready condition's."""


@dataclass
class Clock:
    """Injected, so that the display can be tested without waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def condition(run: dict[str, Any], kind: str = "Ready") -> dict[str, Any]:
    """The condition of that type, or an empty one."""
    conditions = run.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def line(run: dict[str, Any]) -> str:
    """A run in one line: name, phase, stage and progress, reward, staleness, checkpoint."""
    status = run.get("status", {})
    parts = [f"{run['metadata']['name']:<8}", f"{status.get('phase', 'Pending'):<9}"]
    parts.append(f"{status.get('progress') or status.get('stage') or '-':<16}")
    rl = status.get("rl") or {}
    if rl.get("reward") is not None:
        parts.append(f"reward {rl['reward']:.3f}")
    if rl.get("staleness") is not None:
        parts.append(f"staleness {rl['staleness']:.2f}")
    if status.get("latestCheckpoint"):
        parts.append(f"checkpoint {status['latestCheckpoint']['name']}")
    if not rl and condition(run).get("reason"):
        parts.append(condition(run)["reason"])
    return "  ".join(parts)


def follow(cluster: Cluster, namespace: str, names: list[str], say: Callable[[str], None],
           limit: float, clock: Clock | None = None) -> dict[str, dict[str, Any]]:
    """Wait until every run is Ready. Raises RunFailed when one fails, TimeoutError after `limit` seconds."""
    clock = clock or Clock()
    start, last = clock.now(), dict[str, str]()
    while True:
        runs = {run["metadata"]["name"]: run for run in cluster.items("magistralruns", namespace)
                if run["metadata"]["name"] in names}
        for name, run in sorted(runs.items()):
            if last.get(name) != line(run):
                last[name] = line(run)
                say(line(run))
            if run.get("status", {}).get("phase") == "Failed":
                raise RunFailed(f"{name}: {condition(run).get('reason')}: {condition(run).get('message')}")
        if len(runs) == len(names) and all(condition(run).get("status") == "True" for run in runs.values()):
            return runs
        if clock.now() - start > limit:
            states = "; ".join(f"{name}: {condition(run).get('message')}" for name, run in runs.items())
            raise TimeoutError(f"runs not Ready after {limit:.0f} s: {states}")
        clock.sleep(2)
