"""`make bench-rollouts`: completion tokens trained a second, ours beside TRL's GRPOTrainer and our own synchronous mode.

One after the other on the same cores; then how well the lengths pack. Tables, and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from dev.bench.rollouts import ours, trl_install
from dev.bench.rollouts.sides import DISCARD, Side
from dev.bench.rollouts.workload import Workload, save_model
from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY
from dev.cluster.progress import say, step

LIMIT_S = 420
TRL: Final = {"generate, 2 threads": ("transformers", 2), "generate, 1 thread": ("transformers", 1), "vLLM": ("vllm", 2),
              "vLLM, our weight update": ("vllm-mended", 2)}
"""Settings that TRL is tried with; the fastest counts."""
OURS: Final[dict[str, dict[str, Any]]] = {
    "asynchronous": {"maxStaleness": 1}, "synchronous": {"maxStaleness": 0}, "slow trainers": {"microbatchTokens": 512}}
"""Fields of spec.rl. Microbatches of a few sequences make the trainers slow; 4 batches may wait for them, as by default."""
TRL_STEPS: Final = 9
"""A run of TRL samples nothing ahead: steps after the first two are all alike."""
PAPER: Final = {"--paper": 2048, "--budget": 40960, "--ranks": 8}


def trl(setting: str, workload: Workload, folder: Path) -> Side | str:
    """A run of TRL in a process of its own; what it said last when that failed."""
    sampling, threads = TRL[setting]
    done = _run("trl_grpo", ["--folder", str(folder), "--sampling", sampling, "--threads", str(threads),
                             "--rows", str(workload.batch), "--steps", str(TRL_STEPS)],
                f"TRL, {setting}: {TRL_STEPS} steps", threads)
    if done.returncode:
        return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Side.of(f"TRL: {setting}", found["ends"], found["lengths"], 3, TRL_STEPS)


def packing(lengths: list[int] | None, options: dict[str, int]) -> dict[str, dict[str, float]]:
    """By each packer. `lengths` None: drawn as in the paper. Raises ClusterError."""
    done = _run("padding", [str(part) for pair in options.items() for part in pair],
                "packing 2,048 lengths up to 32k" if lengths is None else f"packing {len(lengths)} lengths of ours", 1,
                text=json.dumps(lengths))
    if done.returncode:
        raise ClusterError(f"packing: {done.stderr.strip()[-500:]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(module: str, arguments: list[str], what: str, threads: int, text: str = "") -> subprocess.CompletedProcess[str]:
    with step(what):
        return subprocess.run(
            [sys.executable, "-m", f"dev.bench.rollouts.{module}", *arguments], cwd=REPOSITORY, input=text, check=False,
            env=trl_install.environment(threads), capture_output=True, text=True, timeout=LIMIT_S)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.rollouts", description=__doc__)
    parser.add_argument("--steps", type=int, default=Workload.steps)
    workload = Workload(steps=parser.parse_args().steps)
    load = os.getloadavg()[0]
    say(f"{workload.batch} completions a step in groups of {workload.group}, at most {workload.tokens} tokens; "
        f"steps {workload.first} to {workload.last} of ours count, 3 to {TRL_STEPS} of TRL; {os.cpu_count()} cores, "
        f"load {load:.1f} at the start")
    with tempfile.TemporaryDirectory(prefix="bench-rollouts-") as scratch:
        folder = Path(scratch)
        model = save_model(folder / "model", workload.longest)
        runs = {name: ours.train(name, workload, folder / name.replace(" ", "-"), model, fields)
                for name, fields in OURS.items()}
        tried = {setting: trl(setting, workload, folder) for setting in TRL}
    ran = [side for side in tried.values() if isinstance(side, Side)]
    if not ran:
        raise ClusterError(f"TRL ran in no setting: {tried}. Look whether locks/bench.txt fits locks/dev.txt")
    best = max(ran, key=lambda side: side.rate)
    lengths = runs["asynchronous"].side.lengths
    packed = {"lengths up to 32k": packing(None, PAPER),
              "this bench": packing(lengths, {"--budget": ours.MICROBATCH, "--ranks": 2})}
    result = {"bench": "rollouts", "load": load,
              "tokens_per_s": {name: run.side.rate for name, run in runs.items()} | {"trl": best.rate},
              "trl_setting": best.name, "trl_tried": {setting: side.rate if isinstance(side, Side) else side
                                                      for setting, side in tried.items()},
              "ratio_to_trl": runs["asynchronous"].side.rate / best.rate,
              "ratio_to_synchronous": runs["asynchronous"].side.rate / runs["synchronous"].side.rate,
              "ages": {name: asdict(run.ages) for name, run in runs.items()}, "packing": packed}
    _print(runs, tried, packed)
    print(json.dumps(result), flush=True)
    return 0


def _print(runs: dict[str, ours.Run], tried: dict[str, Side | str], packed: dict[str, dict[str, dict[str, float]]]) -> None:
    fastest = runs["asynchronous"].side.rate
    say(f"\n{'':32}{'tokens/s':>10}{'ours ÷ it':>11}{'mean':>8}{'longest ÷ mean':>16}")
    sides: dict[str, Side | str] = {f"ours, {name}": run.side for name, run in runs.items()}
    for name, side in [*sides.items(), *((f"TRL, {setting}", side) for setting, side in tried.items())]:
        say(f"{name:32}{side.rate:>10.0f}{fastest / side.rate:>11.2f}{side.mean:>8.1f}{side.skew:>16.1f}"
            if isinstance(side, Side) else f"{name:32}  failed: {side}")
    say(f"\n{'ours':32}" + "".join(f"{name:>16}" for name in runs))
    for key, title in ours.FIGURES.items():
        say(f"{title:32}" + "".join(f"{run.figures[key]:>16.3f}" for run in runs.values()))
    for key, title in AGES.items():
        say(f"{title:32}" + "".join(f"{asdict(run.ages)[key]:>16.4f}" for run in runs.values()))
    for name, rows in packed.items():
        say(f"\n{'packing, ' + name:32}{'padding':>10}{'room unused':>13}{'max ÷ mean':>12}{'microbatches':>14}")
        for packer, row in rows.items():
            say(f"{packer:32}{row['padding']:>10.2%}{row['room']:>13.2%}{row['balance']:>12.3f}{row['microbatches']:>14.0f}")


AGES: Final = {
    "length_ratio": "mean length trained ÷ sampled", "length_ratio_discarding": f"same, discarding at {DISCARD} versions",
    "discarded": "tokens that would throw away", "staleness": "versions a token is old, mean", "oldest": "versions, oldest"}


if __name__ == "__main__":
    sys.exit(main())
