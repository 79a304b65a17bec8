"""`make table3`: teacher → curation → SFT alone, RL alone, SFT + RL, each seed on its own; one table over all seeds."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dev.demo import install
from dev.kubectl import ROOT
from dev.study.runs import finished, load, named, ready, say
from magistral_api import names
from magistral_workloads.evaluation.answers import read_answers
from magistral_workloads.evaluation.statistics import Column, Estimate, difference, pooled
from magistral_workloads.recipe.report import COLUMNS
from magistral_workloads.storage import ObjectStore

OUTPUT = ROOT / ".cluster" / "table3"
SUITE = "table3"


def batches(seeds: int) -> list[list[dict[str, Any]]]:
    """For each seed the teacher, which is RL alone, and the student that learns from it."""
    teacher, student = load("table3/teacher.yaml"), load("table3/student.yaml")
    return [[named(teacher, f"teacher-{seed}", seed),
             named(student, f"student-{seed}", seed, {"curation.teacher": {"runRef": {"name": f"teacher-{seed}"}}})]
            for seed in range(1, seeds + 1)]


def columns(store: ObjectStore, runs: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Every column of the table, a training run a row, from the graded answers in the store."""
    passes: dict[str, list[Counter[str]]] = defaultdict(list)
    answers: dict[str, list[Counter[str]]] = defaultdict(list)
    for run in runs:
        for model in dict.fromkeys(result["model"] for result in run["status"]["results"]):
            prefix = f"{names.graded_prefix(run['metadata']['uid'])}/{model}/{SUITE}"
            graded = list(read_answers(store, store.uri(prefix)))
            # A missing problem counts as zero passes.
            passes[model].append(Counter(answer.problem_id for answer in graded if answer.passed))
            answers[model].append(Counter(answer.problem_id for answer in graded))
    problems = sorted(next(iter(answers.values()))[0])
    return {model: Column(np.array([[one[problem] for problem in problems] for one in passes[model]]),
                          np.array([[one[problem] for problem in problems] for one in answers[model]]))
            for model in COLUMNS if model in answers}


def percent(found: Estimate) -> str:
    """`61.2 [58.0, 64.4]`."""
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.study.table3", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    choice = parser.parse_args()
    cluster, runs = ready(), dict[str, dict[str, Any]]()
    for batch in finished(cluster, batches(choice.seeds)):
        runs |= batch
        for name, run in batch.items():
            for found in run["status"]["results"]:
                say(f"{name}: {found['name']} {100 * found['passAt1']:.1f} [{100 * found['low']:.1f}, "
                    f"{100 * found['high']:.1f}]")
    with install.store_access(cluster) as access:
        store = access.open()
        OUTPUT.mkdir(parents=True, exist_ok=True)
        for name, run in runs.items():
            (OUTPUT / f"{name}.html").write_bytes(store.get(names.report_key(run["metadata"]["uid"])))
        table = columns(store, list(runs.values()))
    cells = {model: pooled(column) for model, column in table.items()}
    pairs = {f"{one} - {other}": difference(table[one], table[other])
             for one, other in (("SFT+RL", "SFT"), ("SFT+RL", "RL"), ("RL", "SFT")) if {one, other} <= table.keys()}
    say(f"pass@1 in percent [95%: training runs, problems, answers], {choice.seeds} seeds\n")
    for model, found in cells.items():
        training_runs, problems = table[model].passes.shape
        say(f"  {model:<16}{percent(found)}   {problems} problems, {training_runs} training runs")
    for pair, found in pairs.items():
        say(f"  {pair:<16}{percent(found)}")
    say(f"reports: {OUTPUT}")
    print(json.dumps({"study": "table3", "seeds": choice.seeds, "columns": {key: asdict(one) for key, one in cells.items()},
                      "differences": {key: asdict(one) for key, one in pairs.items()}}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
