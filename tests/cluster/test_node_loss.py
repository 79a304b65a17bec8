"""A node is lost in the middle of RL, as in a power cut: its trainer is replaced on the other node, and the run ends Ready."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dev.demo import install
from dev.kubectl import Cluster
from magistral_api import names
from tests.cluster.conftest import HOSTNAME, NAMESPACE, SPREAD, placed
from tests.cluster.teacher import apply_teacher, delete, progress, recorded, step, until_done, wait_until

STEPS = 8


def trainers(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """Trainer pods that are not ending."""
    pods = cluster.items("pods", NAMESPACE, f"{names.LABEL_RUN}={name},{names.LABEL_ROLE}=trainer")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@pytest.mark.timeout(1200)
def test_a_trainer_of_a_lost_node_is_replaced_on_another_and_the_run_ends_ready(cluster: Cluster, second_node: str) -> None:
    name, first = "castaway", {"nodeSelector": {HOSTNAME: "node-0"}}
    cluster.apply(json.dumps(placed(name, trainer=SPREAD, worker=first, generator=first, verifier=first)), NAMESPACE)
    apply_teacher(cluster, name, steps=STEPS, checkpoint_every=2, runtime=name, suite_limit=4,
                  failurePolicy={"hostExclusion": {"failures": 1}})
    wait_until(cluster, name, lambda run: step(run) >= 3)
    before = {pod["spec"]["nodeName"]: pod["metadata"] for pod in trainers(cluster, name)}
    assert before.keys() == {"node-0", second_node}

    lost = datetime.now(UTC)
    install.module("dev.cluster", "lose-node", second_node)
    known, new = {old["uid"] for old in before.values()}, list[dict[str, Any]]()

    def replaced(_: dict[str, Any]) -> bool:
        new[:] = [pod for pod in trainers(cluster, name) if pod["metadata"]["uid"] not in known and "nodeName" in pod["spec"]]
        return bool(new)

    wait_until(cluster, name, replaced)
    created = min(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in new)
    print(f"\n  {before[second_node]['name']} was lost with {second_node}; {new[0]['metadata']['name']} was created for "
          f"{new[0]['spec']['nodeName']} {(created - lost).total_seconds():.0f} s after the loss")
    assert {pod["spec"]["nodeName"] for pod in new} == {"node-0"}
    run = until_done(cluster, name)

    stage = next(stage for stage in run["status"]["stages"] if stage["name"] == "rl")
    print(f"  excluded: {run['status'].get('excludedNodes')}\n  stage rl: {stage}")
    assert [node["name"] for node in run["status"]["excludedNodes"]] == [second_node]
    assert (stage.get("restarts", 0), stage["infrastructureRestarts"]) == (0, 1)
    assert progress(cluster, name).step == STEPS
    assert [one.step for one in recorded(cluster, run["metadata"]["uid"])] == list(range(1, STEPS + 1))
    delete(cluster, name)
    cluster.kubectl("delete", "magistralruntime", name)
