"""`make table3`: teacher → curation → SFT alone, RL alone, SFT + RL, each seed on its own; one table over all seeds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dev.demo import install
from dev.kubectl import ROOT
from dev.study.runs import finished, load, named, ready, say
from magistral_api import names

OUTPUT = ROOT / ".cluster" / "table3"
SUITE = "table3"


def batches(seeds: int) -> list[list[dict[str, Any]]]:
    """For each seed the teacher, which is RL alone, and the student that learns from it."""
    teacher, student = load("table3/teacher.yaml"), load("table3/student.yaml")
    return [[named(teacher, f"teacher-{seed}", seed),
             named(student, f"student-{seed}", seed, {"curation.teacher": {"runRef": {"name": f"teacher-{seed}"}}})]
            for seed in range(1, seeds + 1)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.study.table3", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    choice = parser.parse_args()
    cluster = ready()
    results: dict[str, list[dict[str, Any]]] = {}
    last: dict[str, Any] = {}
    for runs in finished(cluster, batches(choice.seeds)):
        for name, run in runs.items():
            results[name] = [found for found in run["status"]["results"] if found["suite"] == SUITE]
            for found in results[name]:
                say(f"{name}: {found['model']} {100 * found['passAt1']:.1f} [{100 * found['low']:.1f}, "
                    f"{100 * found['high']:.1f}]")
        last = next(run for name, run in runs.items() if name.startswith("student"))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with install.store_access(cluster) as access:
        report = Path(OUTPUT / "report.html")
        report.write_bytes(access.open().get(names.report_key(last["metadata"]["uid"])))
    say(f"report: {report}")
    print(json.dumps({"study": "table3", "seeds": choice.seeds, "runs": results}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
