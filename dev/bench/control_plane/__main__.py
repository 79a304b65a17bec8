"""`make bench-control-plane`: a table for people, then one line of JSON for programs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import Any

from dev.bench.control_plane.arena import LEFT_OUT, BenchError, arena
from dev.bench.control_plane.figures import Figures, table
from dev.bench.control_plane.kubeflow import Kubeflow
from dev.bench.control_plane.measure import Bench, Plan
from dev.bench.control_plane.ours import Ours
from dev.cluster.binaries import KUBERNETES_VERSION
from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY
from dev.cluster.progress import say

LOGS = REPOSITORY / "build" / "bench-control-plane"
CONTENDERS: dict[str, type[Ours | Kubeflow]] = {"ours": Ours, "kubeflow": Kubeflow}


def main() -> int:
    choice = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = Plan(runs=choice.runs, more=choice.more, every_s=choice.every, rest_s=choice.rest)
    results: dict[str, dict[str, Figures]] = {}
    notes: list[str] = []
    try:
        for stage in choice.stage.split(","):
            for name in choice.only.split(","):
                figures, said = _measure(stage, name, plan)
                results.setdefault(stage, {})[name] = figures
                notes += [note for note in said if note not in notes]
    except (BenchError, ClusterError) as error:
        print(f"bench-control-plane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench-control-plane: interrupted; everything it started has been stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    _print(results, notes, plan)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.control_plane", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="objects applied at once")
    parser.add_argument("--more", type=int, default=100, help="objects applied one after the other, for the latencies")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between those")
    parser.add_argument("--rest", type=float, default=600, help="seconds to watch at rest")
    parser.add_argument("--stage", default="preflight,curate,rl",
                        help="preflight, curate: 1 pod a run; rl: 7 pods a run")
    parser.add_argument("--only", default=",".join(CONTENDERS), help=f"of {', '.join(CONTENDERS)}")
    return parser.parse_args()


def _measure(stage: str, name: str, plan: Plan) -> tuple[Figures, tuple[str, ...]]:
    kind = CONTENDERS[name]
    say(f"\n{kind.title}, stage {stage}")
    with arena(LOGS / f"{stage}-{name}", kind.users, kind.pods(stage)) as made:
        contender = kind(made, stage)
        return Bench(made, contender, plan).all(), contender.notes


def _print(results: dict[str, dict[str, Figures]], notes: list[str], plan: Plan) -> None:
    load = os.getloadavg()[0]
    for stage, columns in results.items():
        say(f"\nStage {stage}, {plan.runs} runs")
        for line in table({CONTENDERS[name].title: figures for name, figures in columns.items()}):
            say(line)
        for name, figures in columns.items():
            for what in ("children", "writes", "rest_resident_mb"):
                parts = (f"{key} {value}" for key, value in figures.wire()[what].items())
                say(f"  {CONTENDERS[name].title}: {what}: {', '.join(parts)}")
    versions = f"Kubernetes {KUBERNETES_VERSION}, {os.cpu_count()} cores, load {load:.1f} at the end"
    say(f"\n{versions}")
    for note in [*notes, *(f"left out: {what}" for what in LEFT_OUT)]:
        say(f"  {note}")
    document: dict[str, Any] = {"bench": "control-plane", "runs": plan.runs, "kubernetes": KUBERNETES_VERSION,
                                "stages": {stage: {name: figures.wire() for name, figures in columns.items()}
                                           for stage, columns in results.items()}}
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())
