"""The demo's teacher as tests run it on a real kubelet, and how they follow it."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from dev.demo import install
from dev.demo.watch import Clock, condition, follow
from dev.kubectl import Cluster
from magistral_api import names
from magistral_api.progress import StageProgress
from magistral_workloads.training.curve import StepMetrics, curve
from tests.cluster.conftest import NAMESPACE, RUNTIME, store

LIMIT = 900


def teacher(name: str, runtime: str = RUNTIME) -> dict[str, Any]:
    """The demo's teacher under another name."""
    document: dict[str, Any] = yaml.safe_load((install.EXAMPLES / "teacher.yaml").read_text())
    document["metadata"]["name"] = name
    document["spec"]["runtimeRef"]["name"] = runtime
    return document


def apply_teacher(cluster: Cluster, name: str, *, steps: int, checkpoint_every: int, runtime: str = RUNTIME,
                  suite_limit: int = 16, **spec: object) -> None:
    """Made short. `spec`: fields that the demo's teacher does not have."""
    document = teacher(name, runtime)
    document["spec"]["rl"] |= {"steps": steps, "checkpointEvery": checkpoint_every}
    document["spec"]["evaluation"]["suites"][0] |= {"limit": suite_limit, "runs": 1}
    document["spec"] |= spec
    cluster.apply(json.dumps(document), NAMESPACE)


def wait_until(cluster: Cluster, name: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Look every two seconds. Raises when the run fails or the limit passes first."""
    clock = Clock()
    start = clock.now()
    while not holds(run := cluster.get("magistralrun", name, NAMESPACE) or {}):
        status = run.get("status", {})
        assert status.get("phase") != "Failed", condition(run)
        assert clock.now() - start < LIMIT, status
        clock.sleep(2)


def until_done(cluster: Cluster, name: str) -> dict[str, Any]:
    """The run at its end, its progress told on the way. Raises as `follow` does."""
    follow(cluster, NAMESPACE, [name], lambda text: print(f"  {text}", flush=True), LIMIT)
    return cluster.get("magistralrun", name, NAMESPACE) or {}


def step(run: dict[str, Any]) -> int:
    """The newest RL step that the operator knows."""
    return next((int(stage.get("step", 0)) for stage in run.get("status", {}).get("stages", []) if stage["name"] == "rl"), 0)


def progress(cluster: Cluster, name: str) -> StageProgress:
    """What stage rl reported last."""
    data = cluster.get("configmap", names.progress_config_map(name), NAMESPACE)
    assert data is not None
    return StageProgress.model_validate_json(data["data"]["rl"])


def recorded(cluster: Cluster, uid: str) -> list[StepMetrics]:
    """The loss curve in the store."""
    with store(cluster) as opened:
        return curve(opened, uid, "rl")


def delete(cluster: Cluster, name: str) -> None:
    """With all that is the run's."""
    cluster.kubectl("-n", NAMESPACE, "delete", "magistralrun", name, "--cascade=foreground", "--timeout=60s")
