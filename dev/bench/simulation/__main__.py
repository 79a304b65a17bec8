"""`make bench-simulation`: 10, 100 and 1,000 generators, then trainers that are too slow; a table, and one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from dev.cluster.paths import REPOSITORY
from dev.cluster.progress import say, step

CASES: tuple[tuple[str, ...], ...] = (
    ("--generators", "10"), ("--generators", "100"), ("--generators", "1000"),
    ("--generators", "100", "--trainer-speed", "0.7"))
LIMIT_S = 3600
ROWS = {
    "step_s": "simulated seconds a step", "trainer_idle": "trainers idle", "generator_idle": "generators idle",
    "staleness_mean": "versions a token is old, mean", "staleness_max": "versions, oldest token",
    "length_ratio": "mean length trained / sampled", "length_ratio_discarding": "the same, discarding at 4 versions",
    "discarded": "completions that this would throw away", "cpu_s_per_step": "CPU seconds of the conductor a step",
    "memory_mb": "MB of the conductor, largest"}


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """In a process of its own: memory is the largest that it ever had."""
    with step(f"simulating {' '.join(arguments)}"):
        done = subprocess.run([sys.executable, "-m", "dev.bench.simulation.conductor", *arguments], cwd=REPOSITORY,
                              stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    say("2,048 sequences a batch, up to 32,768 tokens each with a five-fold spread, at most 4,096 in flight.")
    say("Times of sampling, grading, training and updates are simulated; the conductor's loop is real.")
    results = [measure(case) for case in CASES]
    say(f"\n{'':42}" + "".join(f"{' '.join(case[1::2]):>12}" for case in CASES) + "   generators, trainers' speed")
    for key, title in ROWS.items():
        say(f"{title:42}" + "".join(f"{result[key]:>12.4g}" for result in results))
    print(json.dumps({"bench": "simulation", "cases": results}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
