"""Suspend and resume in the middle of RL on a real kubelet: every pod goes after a checkpoint, no step is trained twice."""

import json
from typing import Any

import pytest
import yaml

from dev.demo import install
from dev.demo.watch import condition, follow
from dev.kubectl import Cluster
from magistral_api import names
from magistral_workloads.training.curve import StepMetrics, curve
from tests.cluster.conftest import NAMESPACE, RUNTIME, store
from tests.cluster.test_survival import LIMIT, progress, wait_until

STEPS = 16


def recorded(cluster: Cluster, uid: str) -> list[StepMetrics]:
    """The loss curve in the store."""
    with store(cluster) as opened:
        return curve(opened, uid, "rl")


def step(run: dict[str, Any]) -> int:
    """The newest RL step that the operator knows."""
    return next((int(stage.get("step", 0)) for stage in run.get("status", {}).get("stages", []) if stage["name"] == "rl"), 0)


@pytest.mark.timeout(1200)
def test_a_run_suspended_in_the_middle_of_rl_releases_every_pod_and_trains_each_step_once(cluster: Cluster) -> None:
    name = "sleeper"
    document: dict[str, Any] = yaml.safe_load((install.EXAMPLES / "teacher.yaml").read_text())
    document["metadata"]["name"] = name
    document["spec"]["runtimeRef"]["name"] = RUNTIME
    # No checkpoint is planned before the end: what is there after suspend was made for it.
    document["spec"]["rl"] |= {"steps": STEPS, "checkpointEvery": STEPS}
    document["spec"]["evaluation"]["suites"][0] |= {"limit": 16, "runs": 1}
    cluster.apply(json.dumps(document), NAMESPACE)
    wait_until(cluster, name, lambda run: step(run) >= 3)

    cluster.kubectl("-n", NAMESPACE, "patch", "magistralrun", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    wait_until(cluster, name, lambda run: condition(run).get("reason") == "Suspended")
    suspended = cluster.get("magistralrun", name, NAMESPACE) or {}
    print(f"\n  {condition(suspended)['message']}")
    of_run = f"{names.LABEL_RUN}={name}"
    pods = cluster.items("pods", NAMESPACE, of_run)
    assert [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")] == []
    uid, newest = suspended["metadata"]["uid"], suspended["status"]["latestCheckpoint"]
    before = recorded(cluster, uid)
    assert newest["step"] == before[-1].step < STEPS
    assert newest["digest"] in condition(suspended)["message"]
    assert cluster.get("checkpoint", newest["name"], NAMESPACE) is not None

    cluster.kubectl("-n", NAMESPACE, "patch", "magistralrun", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    follow(cluster, NAMESPACE, [name], lambda text: print(f"  {text}", flush=True), LIMIT)
    run, after = cluster.get("magistralrun", name, NAMESPACE) or {}, recorded(cluster, uid)
    print("  loss by step: " + "  ".join(f"{one.step}:{one.metrics['loss']:.4f}" for one in after))
    assert [one.step for one in after] == list(range(1, STEPS + 1))
    assert after[:len(before)] == before
    assert [one.attempt for one in after] == [1] * len(before) + [2] * (STEPS - len(before))
    assert progress(cluster, name).metrics["aborted"] == 0
    assert {role["name"]: role["restarts"] for role in run["status"]["roles"]}["trainer"] == 0
    assert all(stage.get("restarts", 0) == 0 for stage in run["status"]["stages"])
    cluster.kubectl("-n", NAMESPACE, "delete", "magistralrun", name, "--cascade=foreground", "--timeout=60s")
