"""`make ablations`: one seed, one change a run: ε_high, upsampling, sequences in flight; a table, and one line of JSON.

Every run starts from the same base model. The SFT runs learn from the ledger of the run that changes nothing.
"""

from __future__ import annotations

import json
import sys
from statistics import fmean
from typing import Any

from dev.demo import install
from dev.study.runs import finished, load, named, ready, say
from magistral_workloads.conductor.ledger import Ledger
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.curve import curve

SEED = 1
UNCHANGED = "unchanged"
RL_CHANGES: dict[str, dict[str, Any]] = {
    UNCHANGED: {},
    "epsilon-high-0.20": {"rl.epsilonHigh": 0.2},
    "epsilon-high-0.28": {"rl.epsilonHigh": 0.28},
    "in-flight-1": {"rl.asyncRatio": 1.0},
    "in-flight-8": {"rl.asyncRatio": 8.0},
}
"""The unchanged run has ε_high 0.3 and 2 batches of sequences in flight (examples/table3/teacher.yaml)."""
SFT_CHANGES: dict[str, dict[str, Any]] = {
    "upsampling": {}, "no-upsampling": {"curation.upsampleLowPassRates": False}}
FIFTH = 5
ROWS = {
    "pass_at_1": "pass@1, %", "low": "  95% from", "high": "  to", "reward_first": "reward, first fifth of the steps",
    "reward_last": "reward, last fifth", "entropy_first": "entropy in nats, first fifth", "entropy_last": "entropy, last fifth",
    "clipped": "tokens clipped, %", "staleness": "versions a token is old, mean", "length_last": "tokens, last fifth",
    "seconds_a_step": "seconds a step"}


def runs() -> list[list[dict[str, Any]]]:
    """RL one after the other, then both SFT runs."""
    teacher, student = load("table3/teacher.yaml"), load("table3/student.yaml")
    sft = student | {"spec": {key: value for key, value in student["spec"].items() if key != "rl"}}
    common = {"study": "ablations"}
    teach = {"paradigm": "SFT", "curation.teacher": {"runRef": {"name": UNCHANGED}}}
    return [*([named(teacher, name, SEED, common | changes)] for name, changes in RL_CHANGES.items()),
            [named(sft, name, SEED, common | teach | changes) for name, changes in SFT_CHANGES.items()]]


def rl_figures(store: ObjectStore, uid: str) -> dict[str, Any]:
    """Of the whole course; `entropy` has a value a step."""
    trained = [found.metrics for found in curve(store, uid, "rl")]
    sampled = Ledger(store, uid).summaries()
    part = max(1, len(sampled) // FIFTH)
    entropy = [step["entropy"] for step in trained]
    return {
        "reward_first": fmean(step.reward for step in sampled[:part]),
        "reward_last": fmean(step.reward for step in sampled[-part:]),
        "entropy_first": fmean(entropy[:part]), "entropy_last": fmean(entropy[-part:]), "entropy": entropy,
        "clipped": 100 * fmean(step["clipFraction"] for step in trained),
        "staleness": fmean(step.staleness for step in sampled), "length_last": fmean(step.length for step in sampled[-part:]),
        "seconds_a_step": fmean(step["waitSeconds"] + step["trainSeconds"] + step["publishSeconds"] for step in trained)}


def figures(store: ObjectStore, run: dict[str, Any]) -> dict[str, Any]:
    """pass@1 of the trained model in percent, and RL's course where there is one."""
    (result,) = (found for found in run["status"]["results"] if found["suite"] == "table3" and found["model"] != "base")
    course = rl_figures(store, run["metadata"]["uid"]) if run["spec"]["paradigm"] == "RL" else {}
    return {"pass_at_1": 100 * result["passAt1"], "low": 100 * result["low"], "high": 100 * result["high"]} | course


def main() -> int:
    cluster = ready()
    found: dict[str, dict[str, Any]] = {}
    with install.store_access(cluster) as access:
        store = access.open()
        for batch in finished(cluster, runs()):
            found |= {name: figures(store, run) for name, run in batch.items()}
    say("\n" + f"{'':36}" + "".join(f"{name:>19}" for name in found))
    for key, title in ROWS.items():
        say(f"{title:36}" + "".join(f"{one[key]:>19.4g}" if key in one else f"{'-':>19}" for one in found.values()))
    print(json.dumps({"study": "ablations", "seed": SEED, "runs": found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
