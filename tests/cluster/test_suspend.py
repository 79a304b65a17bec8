"""Suspend and resume in the middle of RL on a real kubelet: every pod goes after a checkpoint, no step is trained twice."""

import pytest

from dev.demo.watch import condition
from dev.kubectl import Cluster
from magistral_api import names
from tests.cluster.conftest import NAMESPACE
from tests.cluster.teacher import apply_teacher, delete, progress, recorded, step, until_done, wait_until

STEPS = 16


@pytest.mark.timeout(1200)
def test_a_run_suspended_in_the_middle_of_rl_releases_every_pod_and_trains_each_step_once(cluster: Cluster) -> None:
    name = "sleeper"
    # No checkpoint is planned before the end: what is there after suspend was made for it.
    apply_teacher(cluster, name, steps=STEPS, checkpoint_every=STEPS)
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
    run, after = until_done(cluster, name), recorded(cluster, uid)
    print("  loss by step: " + "  ".join(f"{one.step}:{one.metrics['loss']:.4f}" for one in after))
    assert [one.step for one in after] == list(range(1, STEPS + 1))
    assert after[:len(before)] == before
    assert [one.attempt for one in after] == [1] * len(before) + [2] * (STEPS - len(before))
    assert progress(cluster, name).metrics["aborted"] == 0
    assert {role["name"]: role["restarts"] for role in run["status"]["roles"]}["trainer"] == 0
    assert all(stage.get("restarts", 0) == 0 for stage in run["status"]["stages"])
    delete(cluster, name)
