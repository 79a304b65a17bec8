"""This project's operator, as the chart starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dev.bench.control_plane.arena import NAMESPACE, Arena, Manifest
from dev.cluster.audit import Request
from dev.cluster.control_plane import free_ports
from dev.cluster.paths import REPOSITORY
from magistral_api import API_VERSION
from magistral_api.names import child, progress_config_map
from magistral_api.progress import StageProgress
from magistral_operator.kinds import CONFIG_MAP, JOB, RUN, RUNTIME, SERVICE_ACCOUNT

OPERATOR = "magistral-operator"
SFT: Manifest = {"paradigm": "SFT", "sft": {"workers": 2, "selection": {"suite": "suite"}},
                 "curation": {"teacher": {"uri": "s3://magistral/teacher/rollouts.jsonl"}}}
RL: Manifest = {"paradigm": "RL", "rl": {
    "prompts": [{"uri": "s3://magistral/p.jsonl"}], "steps": 40, "batchSize": 16, "groupSize": 4, "trainers": 2,
    "generators": 2, "verifiers": 2}}


class Ours:
    """`stage`: preflight (as applied); curate or rl: preflight is reported as done, and one worker runs, or two
    trainers, a conductor, two generators and two verifiers."""

    title = "ours"
    users: tuple[str, ...] = (OPERATOR,)
    processes: tuple[str, ...] = (OPERATOR,)
    notes: tuple[str, ...] = ("ours: leader election on, as in the chart; after stage preflight its ended pod is there too",)
    collection = RUN.path(NAMESPACE)

    def __init__(self, arena: Arena, stage: str) -> None:
        self._arena, self._stage = arena, stage

    @classmethod
    def pods(cls, stage: str) -> tuple[Path, ...]:
        return (Path(__file__).parent / "preflight-ends.yaml",) if stage != "preflight" else ()

    def install(self) -> None:
        self._arena.kubectl.kubectl("apply", "-f", str(REPOSITORY / "crds"))
        self._arena.kubectl.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")

    def equip(self) -> None:
        image = {"image": "registry.example.com/workload:1", "resources": {"requests": {"cpu": "1"}}}
        self._arena.call("POST", RUNTIME.path(None), {
            "apiVersion": API_VERSION, "kind": RUNTIME.name, "metadata": {"name": "bench"}, "spec": {
                "device": "cpu", "roles": dict.fromkeys(("worker", "trainer", "generator", "verifier"), image),
                "storage": {"endpoint": "http://store:9000", "bucket": "magistral",
                            "credentialsSecretRef": {"name": "store"}}}})

    def start(self) -> None:
        (port,) = free_ports(1)
        environment = {"KUBECONFIG": str(self._arena.client(OPERATOR)), "MAGISTRAL_METRICS_PORT": str(port),
                       "POD_NAMESPACE": NAMESPACE, "PYTHONUNBUFFERED": "1"}
        environment |= {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        self._arena.start(OPERATOR, [sys.executable, "-m", "magistral_operator"], environment)
        self._arena.until_healthy(OPERATOR, port, "/healthz")

    def stop(self) -> None:
        self._arena.plane.processes.stop(OPERATOR)

    def run(self, name: str) -> Manifest:
        return {"apiVersion": API_VERSION, "kind": RUN.name, "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"runtimeRef": {"name": "bench"}, "baseModel": {"uri": "s3://magistral/models/base"},
                         "evaluation": {"suites": [{"name": "suite"}]}} | (SFT if self._stage == "curate" else RL)}

    def react(self, requests: Sequence[Request]) -> None:
        """Preflight's pod reports success as soon as its Job is made."""
        if self._stage == "preflight":
            return
        jobs = (request.name for request in requests if request.created and request.resource == JOB.plural)
        report = StageProgress.model_validate({"stage": "preflight", "attempt": 1, "state": "Succeeded"})
        patch = {"data": {"preflight": report.model_dump_json(by_alias=True, exclude_none=True)}}
        self._arena.all([
            partial(self._arena.call, "PATCH", CONFIG_MAP.path(NAMESPACE, progress_config_map(run)), patch,
                    "application/merge-patch+json")
            for run in (job.removesuffix("-preflight") for job in jobs if job.endswith("-preflight"))])

    def child(self, run: str) -> str:
        return SERVICE_ACCOUNT.path(NAMESPACE, child(run, "worker"))
