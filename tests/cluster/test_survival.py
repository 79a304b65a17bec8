"""A whole RL run on a real kubelet, with a generator, a verifier, the operator and trainer pod 1 killed on the way."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dev.demo import install
from dev.demo.watch import Clock, condition, follow
from dev.kubectl import Cluster
from magistral_api import names
from magistral_api.progress import StageProgress
from tests.cluster.conftest import NAMESPACE, RUNTIME

LIMIT = 900


def apply_teacher(cluster: Cluster, name: str) -> None:
    document: dict[str, Any] = yaml.safe_load((install.EXAMPLES / "teacher.yaml").read_text())
    document["metadata"]["name"] = name
    document["spec"]["runtimeRef"]["name"] = RUNTIME
    document["spec"]["rl"] |= {"steps": 16, "checkpointEvery": 4}
    document["spec"]["evaluation"]["suites"][0] |= {"limit": 16, "runs": 1}
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


def progress(cluster: Cluster, name: str) -> StageProgress:
    data = cluster.get("configmap", names.progress_config_map(name), NAMESPACE)
    assert data is not None
    return StageProgress.model_validate_json(data["data"]["rl"])


@pytest.mark.timeout(1200)
def test_a_run_ends_ready_though_each_role_and_the_operator_were_killed(cluster: Cluster) -> None:
    name = "survivor"
    apply_teacher(cluster, name)
    wait_until(cluster, name, lambda run: bool(run.get("status", {}).get("latestCheckpoint")))
    killed = {}
    for role in ("generator", "verifier"):
        pod = cluster.items("pods", NAMESPACE, f"{names.LABEL_RUN}={name},{names.LABEL_ROLE}={role}")[0]
        killed[role] = pod["metadata"]["name"]
    killed["trainer"] = f"{name}-trainer-1"
    for pod_name in killed.values():
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod_name, "--grace-period=0", "--force")
    cluster.kubectl("-n", install.OPERATOR_NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/name=magistral-operator",
                    "--grace-period=0", "--force")
    follow(cluster, NAMESPACE, [name], lambda text: print(f"  {text}", flush=True), LIMIT)

    report = progress(cluster, name)
    run = cluster.get("magistralrun", name, NAMESPACE)
    assert run is not None
    # A killed pod is a fault of the infrastructure; one that ends by itself would be one of its process.
    restarts = {role["name"]: role["restarts"] + role["infrastructureRestarts"] for role in run["status"]["roles"]}
    print(f"\n  killed: {killed}\n  restarts counted: {restarts}\n  moved: {report.metrics.get('moved')},"
          f" aborted: {report.metrics.get('aborted')}")
    assert report.step == report.total_steps == 16
    assert report.metrics["aborted"] == 0
    assert restarts["generator"] >= 1
    assert restarts["verifier"] >= 1
    assert restarts["trainer"] >= 1

    cluster.kubectl("-n", NAMESPACE, "wait", f"magistralrun/{name}", "--for=condition=Ready", "--timeout=5s")
    checkpoints = cluster.items("checkpoints", NAMESPACE, f"{names.LABEL_RUN}={name}")
    steps = {checkpoint["spec"]["step"] for checkpoint in checkpoints}
    # A trainer asked to end has its last second to commit what it holds: a checkpoint beside the four planned ones is no fault.
    print(f"  checkpoints: {sorted(steps)}")
    assert {4, 8, 12, 16} <= steps
    cluster.kubectl("-n", NAMESPACE, "delete", "magistralrun", name, "--cascade=foreground", "--timeout=60s")
