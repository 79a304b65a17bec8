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
from dev.roles.run import Bucket, put_inputs, running
from magistral_api.names import ledger_key, metrics_prefix, number_of
from magistral_api.problems import RolloutRecord
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.curve import curve

LIMIT_S, UID = 420, "bench"
MICROBATCH: Final = 8192
"""Tokens."""
FIGURES: Final = {
    "waitSeconds": "trainer waits, s a step", "trainSeconds": "trains, s a step", "publishSeconds": "publishes, s a step",
    "fill": "microbatches filled"}
"""Of the trainer's own, means of the steps that count."""


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
    vllm = ("--dtype", "float32", "--enforce-eager", "--max-model-len", str(workload.longest),
            "--max-num-seqs", str(2 * workload.batch))
    with step(f"ours, {name}: {workload.steps} steps"), minio() as server:
        bucket = Bucket.make(server, "bench")
        put_inputs(bucket.store, model, workload.problems)
        with running(folder, bucket, rl, uid=UID, arguments=vllm) as run:
            run.wait(LIMIT_S)
        return _read(name, workload, bucket.store)


def _read(name: str, workload: Workload, store: ObjectStore) -> Run:
    ended = {number_of(found.key): found.modified.timestamp() for found in store.list(f"{metrics_prefix(UID, 'rl')}/")}
    steps = range(1, workload.steps + 1)
    batches = [[RolloutRecord.model_validate_json(line) for line in store.get(ledger_key(UID, number)).splitlines()]
               for number in steps]
    lengths = [[len(record.completion_tokens) for record in batch if record.trained_step] for batch in batches]
    metrics = [found.metrics for found in curve(store, UID, "rl")][workload.first - 1:workload.last]
    return Run(Side.of(name, [ended[number] for number in steps], lengths, workload.first, workload.last),
               Ages.of([record for batch in batches for record in batch]),
               {key: statistics.mean(found[key] for found in metrics) for key in FIGURES})
