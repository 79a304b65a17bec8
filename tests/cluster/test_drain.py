"""`kubectl drain` in the middle of RL: trainers commit before they go, one at a time, and no step is trained twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev.demo.watch import Clock
from dev.kubectl import Cluster
from magistral_api import names
from magistral_workloads.checkpoints import newest
from tests.cluster.conftest import HOSTNAME, NAMESPACE, SPREAD, placed, store
from tests.cluster.teacher import apply_teacher, delete, recorded, step, until_done, wait_until

STEPS = 8
ROLES = ("trainer", "generator", "verifier")


def prefers(node: str) -> dict[str, Any]:
    """Pods that go to this node while it takes any."""
    there = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": there}]}}}


def pods(cluster: Cluster, name: str) -> dict[str, list[dict[str, Any]]]:
    """The run's pods by role."""
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
    for pod in cluster.items("pods", NAMESPACE, f"{names.LABEL_RUN}={name}"):
        found.setdefault(pod["metadata"]["labels"].get(names.LABEL_ROLE, ""), []).append(pod)
    return found


def ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def seen(cluster: Cluster, name: str) -> dict[str, int]:
    """What a drain is to leave alone: how many trainers are going, how many servers are ready."""
    found = pods(cluster, name)
    return {"trainers going": sum("deletionTimestamp" in pod["metadata"] for pod in found["trainer"])} | {
        f"{role}s ready": sum(map(ready, found[role])) for role in ("generator", "verifier")}


@pytest.mark.timeout(1200)
def test_a_drain_takes_one_trainer_at_a_time_after_a_checkpoint_and_each_step_is_trained_once(
        cluster: Cluster, second_node: str) -> None:
    name, there = "nomad", prefers(second_node)
    cluster.apply(json.dumps(placed(name, trainer=there, worker=there, generator=SPREAD, verifier=SPREAD)), NAMESPACE)
    # No checkpoint is planned before the end: what is there after the drain was made for it.
    apply_teacher(cluster, name, steps=STEPS, checkpoint_every=STEPS, runtime=name, suite_limit=4)
    wait_until(cluster, name, lambda run: step(run) >= 3)
    uid = (cluster.get("magistralrun", name, NAMESPACE) or {})["metadata"]["uid"]
    on_it = {role: sum(pod["spec"].get("nodeName") == second_node for pod in some)
             for role, some in pods(cluster, name).items()}
    print(f"\n  on {second_node}: {on_it}")
    assert on_it["trainer"] == 2 and on_it["generator"] == on_it["verifier"] == on_it["conductor"] == 1

    looks, clock = [], Clock()
    with ThreadPoolExecutor(1) as pool:
        drain = pool.submit(cluster.kubectl, "drain", second_node, "--delete-emptydir-data", "--timeout=300s", timeout=320)
        while not drain.done():
            looks.append(seen(cluster, name))
            clock.sleep(0.5)
    print("  " + "\n  ".join(drain.result().splitlines()))
    worst = {key: (max if key == "trainers going" else min)(look[key] for look in looks) for key in looks[0]}
    print(f"  worst of {len(looks)} looks: {worst}")
    assert worst == {"trainers going": 1, "generators ready": 1, "verifiers ready": 1}
    before = recorded(cluster, uid)
    with store(cluster) as opened:
        checkpoint = newest(opened, uid, "rl")
    assert checkpoint is not None
    print(f"  drained at step {before[-1].step}, newest checkpoint: step {checkpoint.manifest.step}")
    assert 3 <= before[-1].step == checkpoint.manifest.step < STEPS

    run, after = until_done(cluster, name), recorded(cluster, uid)
    assert [one.step for one in after] == list(range(1, STEPS + 1))
    # A step's figures say how long it took: the same figures are the same training.
    assert after[:len(before)] == before
    assert {role["name"]: role["restarts"] for role in run["status"]["roles"]}["trainer"] == 0
    delete(cluster, name)
    cluster.kubectl("delete", "magistralruntime", name)
