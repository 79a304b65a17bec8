"""`make bench-kills`: RL runs of real processes, those of one role killed at random moments; a table, and one line of JSON.

One run a role, and more of them until its processes were killed KILLS times: a kill, everything back, a random wait, the
next. The ledger must then hold every group once. The trainers' losses must be those of trainers that nobody killed; as
sampling depends on time, these train on the ledger that the killed run left.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dev.bench.kills.intact import Faults, copy_ledger, difference, faults, ledger
from dev.cluster.errors import ClusterError
from dev.cluster.minio import minio
from dev.cluster.progress import duration, say, step
from dev.roles import chain
from dev.roles.run import Bucket, Run, put_inputs, running
from magistral_workloads.contracts import GeneratorStatus
from magistral_workloads.routes import bearer
from magistral_workloads.training.curve import curve

STEPS = {"generator": 300, "trainer": 20, "conductor": 20, "verifier": 20}
"""Of one run, one to three seconds each on two cores. What is not killed in one run is killed in the next."""
FIELDS: dict[str, Any] = {
    "batchSize": 16, "groupSize": 4, "trainers": 2, "generators": 2, "verifiers": 2, "checkpointEvery": 5,
    "maxUnpenalizedTokens": 1000, "cacheTokens": 200, "microbatchTokens": 2048, "languageConsistency": False,
    "optimizer": {"learningRate": 1e-4}}
THOUGHTS = {"short": 150, "long": 600}
"""Tokens, means. Sampling takes longer than training then, and kills fall into completions."""
PROBLEMS = chain.problems(50)
WAIT_S = 5.0
"""A kill comes up to so long after everything is back."""
LIMIT_S = 240.0
"""For everything to be back, and for a run to end once the last process was killed."""
LAST_STEPS = 5
"""Nobody is killed in a run's last steps: what follows would not be seen."""
POLL_S = 0.1


@dataclass
class Outcome:
    """`seconds`: from each kill until the role works again. `start_seconds`: of a generator, until its vLLM serves."""

    role: str
    runs: int = 0
    steps: int = 0
    kills: int = 0
    seconds: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)
    moved: int = 0
    moved_tokens: int = 0
    aborted: int = 0
    found: list[Faults] = field(default_factory=list)
    difference: float | None = None

    def figures(self) -> dict[str, Any]:
        """For the table and the JSON."""
        def total(name: str) -> int:
            return sum(asdict(one)[name] for one in self.found)

        return {
            "role": self.role, "kills": self.kills, "runs": self.runs, "steps": self.steps,
            "groups": total("groups"), "completions": total("completions"), "lost": total("lost"),
            "doubled": total("doubled"), "misasked": total("misasked"), "broken_groups": total("broken_groups"),
            "broken_batches": total("broken_batches"), "back_s_median": _median(self.seconds),
            "back_s_max": max(self.seconds, default=None), "start_s_median": _median(self.start_seconds),
            "moved": self.moved, "moved_tokens": self.moved_tokens, "aborted": self.aborted,
            "difference": self.difference}


ROWS = {
    "kills": "kills", "runs": "runs, each to its last step", "steps": "steps trained", "groups": "groups in the ledgers",
    "completions": "completions in the ledgers", "lost": "groups lost", "doubled": "completions doubled",
    "misasked": "groups out of the pre-set order", "broken_groups": "groups not whole",
    "broken_batches": "batches not whole", "back_s_median": "s until it works again, median",
    "back_s_max": "s until it works again, longest", "start_s_median": "of these a vLLM's start, median",
    "moved": "completions continued elsewhere", "moved_tokens": "tokens kept by that", "aborted": "requests aborted by updates",
    "difference": "largest difference of a step's loss, …"}


def disturbed(role: str, kills: int, seed: int, folder: Path, bucket: Bucket) -> Outcome:
    """As many runs as it takes. Raises ClusterError."""
    outcome, draw = Outcome(role), random.Random(f"{seed} {role}")
    while outcome.kills < kills:
        with step(f"{role}: run {outcome.runs + 1}, {kills - outcome.kills} kills to come"):
            disturb(outcome, kills - outcome.kills, draw, folder, bucket, seed)
    return outcome


def disturb(outcome: Outcome, wanted: int, draw: random.Random, folder: Path, bucket: Bucket, seed: int) -> None:
    """One run to its end; its processes of the role are killed, `wanted` times at most. Raises ClusterError."""
    fields = FIELDS | {"steps": STEPS[outcome.role]}
    uid = f"{outcome.role}-{outcome.runs}"
    with running(folder / uid, bucket, fields, uid=uid, seed=seed) as run:
        rl = run.config.spec.rl
        assert rl is not None
        _until(run, lambda: _all_back(run, 0))
        while wanted and _step(run) < rl.steps - LAST_STEPS and not run.ended:
            time.sleep(draw.uniform(0, WAIT_S))
            _kill(run, outcome, draw)
            wanted -= 1
        run.wait(LIMIT_S + rl.steps)
        said = run.progress()
    assert said is not None
    outcome.runs, outcome.steps = outcome.runs + 1, outcome.steps + rl.steps
    outcome.moved += int(said.metrics.get("moved", 0))
    outcome.moved_tokens += int(said.metrics.get("movedTokens", 0))
    outcome.aborted += int(said.metrics.get("aborted", 0))
    outcome.found.append(faults(ledger(bucket.store, uid), rl, PROBLEMS, seed))
    say(f"  {uid}: {outcome.found[-1]}")
    if outcome.role == "trainer":
        outcome.difference = max(outcome.difference or 0, _replayed(folder, bucket, fields, uid, seed))


def _kill(run: Run, outcome: Outcome, draw: random.Random) -> None:
    victim = draw.choice(sorted(name for name, kubelet in run.pods.items() if kubelet.pod.role == outcome.role))
    began = time.monotonic()
    run.kill(victim)
    # Of the store, as what the conductor said last may be older than the kill.
    reached = len(curve(run.store, run.config.run_uid, "rl"))
    outcome.kills += 1
    if outcome.role == "generator":
        _until(run, lambda: _get(run, victim, "/healthz") is not None)
        if not run.ended:
            outcome.start_seconds.append(time.monotonic() - began)
        _until(run, lambda: _samples(run, victim))
    else:
        _until(run, lambda: _all_back(run, reached))
    if not run.ended:
        outcome.seconds.append(time.monotonic() - began)
    say(f"  kill {outcome.kills}: {victim} after step {reached}, back after {duration(time.monotonic() - began)} at step "
        f"{_step(run)}")


def _until(run: Run, back: Callable[[], bool]) -> None:
    """Return when all works again, or the run has ended. Raises ClusterError."""
    deadline = time.monotonic() + LIMIT_S
    while not run.ended and not back():
        if time.monotonic() > deadline:
            raise ClusterError(f"{run.folder}: found the run at step {_step(run)} for {LIMIT_S:.0f} s; expected all of its "
                               "processes to work again. The logs are in that folder")
        time.sleep(POLL_S)


def _step(run: Run) -> int:
    """The newest step that the conductor has heard of."""
    said = run.progress()
    return said.step if said else 0


def _all_back(run: Run, reached: int) -> bool:
    """Whether all generators take requests, and the trainers are further than `reached`."""
    said = run.progress()
    return said is not None and said.step > reached and said.metrics.get("generators") == FIELDS["generators"]


def _samples(run: Run, name: str) -> bool:
    """Whether the generator holds a version and is sampling."""
    answer = _get(run, name, "/v1/status")
    found = GeneratorStatus.model_validate_json(answer) if answer else None
    return found is not None and found.version is not None and found.running > 0


def _get(run: Run, name: str, path: str) -> bytes | None:
    try:
        answer = httpx.get(f"{run.pods[name].pod.url}{path}", headers=bearer(run.token), timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.content if answer.is_success else None


def _replayed(folder: Path, bucket: Bucket, fields: dict[str, Any], uid: str, seed: int) -> float:
    """Largest difference of a step's metrics from those of trainers which nobody kills, on the same batches."""
    again = f"{uid}-undisturbed"
    copy_ledger(bucket.store, uid, again)
    with step(f"trainers alone on the ledger of {uid}"), running(
            folder / again, bucket, fields, uid=again, seed=seed, replay=True) as run:
        run.wait(LIMIT_S + fields["steps"])
    return difference(bucket.store, uid, again)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each role")
    parser.add_argument("--only", default=",".join(STEPS), help="roles, with commas")
    parser.add_argument("--seed", type=int, default=0)
    choice = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        with minio() as server:
            bucket = Bucket.make(server, "kills")
            put_inputs(bucket.store, chain.model(folder / "model", **THOUGHTS), PROBLEMS)
            results = [disturbed(role, choice.kills, choice.seed, folder, bucket).figures()
                       for role in choice.only.split(",")]
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    shutil.rmtree(folder)
    say(f"\n{'':42}" + "".join(f"{result['role']:>12}" for result in results))
    for key, title in ROWS.items():
        say(f"{title:42}" + "".join(f"{_text(result[key]):>12}" for result in results))
    wrong = sum(result[key] or 0 for result in results for key in (
        "lost", "doubled", "misasked", "broken_groups", "broken_batches", "difference"))
    print(json.dumps({"bench": "kills", "roles": results}), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
