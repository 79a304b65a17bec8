"""A run of our own roles on the bench's workload: conductor, a generator, a verifier, a trainer, each its process."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dev.bench.rollouts.sides import Ages, Side
from dev.bench.rollouts.workload import Workload
from dev.cluster.minio import minio
from dev.cluster.progress import step
from dev.roles.run import UID, VLLM, Roles, roles
from magistral_api.names import ledger_key, metrics_prefix
from magistral_api.problems import RolloutRecord
from magistral_workloads.conductor.ledger import step_of
from magistral_workloads.training.curve import curve

LIMIT_S = 420
MICROBATCH: Final = 8192
"""Tokens."""
FIGURES: Final = {
    "waitSeconds": "trainer waits, s a step", "trainSeconds": "trains, s a step", "publishSeconds": "publishes, s a step",
    "fill": "microbatches filled"}
"""Of the trainer's own, means after the warm-up."""


@dataclass(frozen=True)
class Run:
    """`ages`: of the whole run. `figures`: FIGURES."""

    side: Side
    ages: Ages
    figures: dict[str, float]


def train(name: str, workload: Workload, folder: Path, model: Path, fields: dict[str, Any]) -> Run:
    """Start everything, train all steps, stop everything. `fields`: of spec.rl. Raises ClusterError."""
    rl = {"steps": workload.steps, "batchSize": workload.batch, "groupSize": workload.group,
          "maxUnpenalizedTokens": workload.tokens - workload.cache, "cacheTokens": workload.cache, "temperature": 1.0,
          "epsilonLow": 0.2, "epsilonHigh": 0.3, "optimizer": {"learningRate": workload.learning_rate},
          "checkpointEvery": workload.steps, "languageConsistency": False, "zeroStage": 0, "trainers": 1,
          "microbatchTokens": MICROBATCH} | fields
    vllm = (*VLLM[:-2], "--max-num-seqs", str(2 * workload.batch))
    with step(f"ours, {name}: {workload.steps} steps"), minio() as server, roles(
            folder, server, rl, model=model, prompts=workload.problems, generators=1, vllm=vllm) as run:
        run.until_done(LIMIT_S)
        return _read(name, workload, run)


def _read(name: str, workload: Workload, run: Roles) -> Run:
    ended = {step_of(found.key): found.modified.timestamp() for found in run.store.list(f"{metrics_prefix(UID, 'rl')}/")}
    steps = range(1, workload.steps + 1)
    batches = [[RolloutRecord.model_validate_json(line) for line in run.store.get(ledger_key(UID, number)).splitlines()]
               for number in steps]
    lengths = [[len(record.completion_tokens) for record in batch if record.trained_step] for batch in batches]
    metrics = [found.metrics for found in curve(run.store, UID, "rl")][workload.warm_up:]
    return Run(Side.of(name, [ended[number] for number in steps], lengths, workload.warm_up),
               Ages.of([record for batch in batches for record in batch]),
               {key: statistics.mean(found[key] for found in metrics) for key in FIGURES})
