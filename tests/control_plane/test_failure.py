"""Faults on real controllers: who is restarted, what is counted, which nodes are avoided, what a failed run leaves."""

import pytest

from magistral_api.names import LABEL_ATTEMPT
from magistral_operator.kinds import POD, RUN, RUNTIME
from tests.control_plane.cluster import Manifest, Namespace, Operator

TRAINERS = ("one-trainer-0", "one-trainer-1")
Counted = tuple[int, int]
"""Restarts after faults of processes, and of the infrastructure."""


@pytest.fixture
def training(ns: Namespace) -> Namespace:
    """A run in its RL stage whose pods the fake kubelet runs, and the operator has seen."""
    return start(ns)


def start(ns: Namespace, *nodes: str, **policy: object) -> Namespace:
    """`nodes`: of the trainers, by rank; the servers are on the first. Pods of nodes that do not exist are collected."""
    nodes = nodes or (ns.node("only"),) * 2
    ns.run("RL", failurePolicy=policy)
    ns.succeed("preflight")
    run_trainers(ns, *nodes)
    for role in ("generator", "verifier"):
        for pod in ns.pods(role, count=2):
            ns.kubelet_takes(pod, nodes[0])
    ns.until_run(lambda status: {one["name"]: one["ready"] for one in status["roles"]}
                 == {"conductor": 0, "trainer": 2, "generator": 2, "verifier": 2})
    return ns


def run_trainers(ns: Namespace, *nodes: str) -> None:
    for name, node in zip(TRAINERS, nodes, strict=True):
        ns.kubelet_takes(ns.until_there("Pod", name), node)


def crash(ns: Namespace, times: int) -> None:
    """One trainer crashes for the so-manieth time and takes the other along."""
    for name in TRAINERS:
        ns.kubelet_restarts(ns.until_there("Pod", name), times, 1, "NCCL error")


def trainers(status: Manifest) -> Counted:
    return next((one["restarts"], one["infrastructureRestarts"]) for one in status["roles"] if one["name"] == "trainer")


def rl(status: Manifest) -> Manifest:
    stage: Manifest = next(one for one in status["stages"] if one["name"] == "rl")
    return stage


def uids(ns: Namespace, *roles: str) -> set[str]:
    return {pod["metadata"]["uid"] for role in roles for pod in ns.pods(role, count=2)}


def another(before: Manifest) -> object:
    return lambda found: found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]


def test_lost_servers_leave_the_trainers_as_they_are(training: Namespace) -> None:
    before = uids(training, "trainer")
    for role in ("generator", "verifier"):
        training.api.delete_now(POD, training.name, training.pod(role)["metadata"]["name"])
        training.until_run(lambda status, role=role: any(  # type: ignore[misc]
            (one["name"], one["restarts"], one["infrastructureRestarts"]) == (role, 0, 1) for one in status["roles"]))
    assert uids(training, "trainer") == before
    run = training.until_stage("rl")
    assert trainers(run["status"]) == (0, 0)
    assert rl(run["status"])["attempt"] == 1


def test_a_lost_trainer_leaves_the_servers_as_they_are(training: Namespace) -> None:
    before = uids(training, "generator", "verifier")
    lost = training.until_there("Pod", TRAINERS[0])
    training.api.delete_now(POD, training.name, TRAINERS[0])
    training.until("Pod", TRAINERS[0], another(lost))  # type: ignore[arg-type]
    training.until_run(lambda status: trainers(status) == (0, 1))
    assert uids(training, "generator", "verifier") == before


def test_trainers_that_restart_without_a_new_step_start_anew_as_a_group_and_servers_stay(training: Namespace) -> None:
    servers = uids(training, "generator", "verifier")
    old = training.until_there("StatefulSet", "one-trainer")
    crash(training, 1)
    training.until_run(lambda status: trainers(status) == (1, 0))
    crash(training, 2)
    assert "2 times in place without a new step; last: exit code 1: NCCL error" in training.until_condition(
        "Reconciling", "Retrying")
    for name in TRAINERS:
        training.kubelet_removes({"metadata": {"name": name}})
    new = training.until("StatefulSet", "one-trainer", another(old))  # type: ignore[arg-type]
    assert new["metadata"]["labels"][LABEL_ATTEMPT] == "2"
    run_trainers(training, *[f"{training.name}-only"] * 2)
    status = training.until_run(lambda status: next(
        one["ready"] for one in status["roles"] if one["name"] == "trainer") == 2)["status"]
    assert (trainers(status), rl(status)["attempt"], rl(status)["restarts"]) == ((2, 0), 2, 2)
    assert uids(training, "generator", "verifier") == servers


def test_what_was_counted_is_not_counted_again_by_the_next_operator(training: Namespace, operator: Operator) -> None:
    crash(training, 1)
    # Of both: a trainer that is lost before its own crash was seen is what the other broke off for.
    training.until_run(lambda status: trainers(status) == (1, 0) and all(
        pod["own"] == 1 for one in status["roles"] if one["name"] == "trainer" for pod in one["pods"].values()))
    training.api.delete_now(POD, training.name, TRAINERS[1])
    training.until_run(lambda status: trainers(status) == (1, 1))
    for end in (operator.kill, operator.terminate):
        end()
        operator.start()
        # A change of the spec is observed by a look, and that look would count.
        generation = training.change(failurePolicy={"maxRestarts": 7 if end == operator.kill else 8})["metadata"]["generation"]
        status = training.until_run(lambda status, seen=generation: status["observedGeneration"] == seen)["status"]  # type: ignore[misc]
        assert (trainers(status), rl(status)["restarts"], rl(status)["infrastructureRestarts"]) == ((1, 1), 1, 1)


def test_a_node_is_lost_its_trainer_is_removed_by_force_and_the_node_is_avoided_for_a_while(ns: Namespace) -> None:
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"nodes": {"unreachableSeconds": 1, "forceDelete": True}}})
    good, bad = ns.node("good"), ns.node("bad")
    start(ns, good, bad, maxRestarts=0, hostExclusion={"failures": 1, "within": "20s", "duration": "20s"})
    servers, old = uids(ns, "generator", "verifier"), ns.until_there("StatefulSet", "one-trainer")

    ns.node_says(bad, "Unknown")
    assert f"node {bad}, which is excluded until" in ns.until_condition("Reconciling", "Retrying")
    ns.kubelet_removes({"metadata": {"name": TRAINERS[0]}})
    ns.until("Pod", TRAINERS[1], lambda found: found is None or found["metadata"]["labels"][LABEL_ATTEMPT] == "2")
    new = ns.until("StatefulSet", "one-trainer", another(old))  # type: ignore[arg-type]
    assert new["metadata"]["labels"][LABEL_ATTEMPT] == "2"
    required = new["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [f"host-{bad}"]}]}]}
    assert {"NodeExcluded", "PodForceDeleted"} <= set(ns.events())

    run_trainers(ns, good, good)
    status = ns.until_run(lambda status: "excludedNodes" not in status and trainers(status) == (0, 1))["status"]
    assert (rl(status)["attempt"], rl(status)["restarts"], rl(status)["infrastructureRestarts"]) == (2, 0, 1)
    assert ns.until_there("StatefulSet", "one-trainer")["metadata"]["uid"] == new["metadata"]["uid"]
    assert uids(ns, "generator", "verifier") == servers


def test_a_job_whose_pod_hangs_on_a_lost_node_is_tried_again(ns: Namespace) -> None:
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"nodes": {"unreachableSeconds": 1, "forceDelete": True}}})
    node, _ = ns.node("bad"), ns.node("good")  # Where every node is lost, the node controller evicts nobody.
    ns.run("Evaluate", failurePolicy={"maxRestarts": 0})
    ns.succeed("preflight")
    ns.kubelet_takes(ns.pod("worker", "evaluate"), node)
    ns.node_says(node, "Unknown")
    assert f"was lost with its node {node}" in ns.until_condition("Reconciling", "Retrying")
    ns.pod("worker", "evaluate", attempt=2)
    ns.succeed("evaluate")
    ns.until_condition("Ready", "Succeeded")


def test_a_pod_that_hangs_on_a_lost_node_is_left_alone_unless_the_runtime_says_otherwise(ns: Namespace) -> None:
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"nodes": {"unreachableSeconds": 1}}})
    good, bad = ns.node("good"), ns.node("bad")
    start(ns, good, bad)
    ns.node_says(bad, "Unknown")
    hanging = ns.until("Pod", TRAINERS[1], lambda found: found is not None and "deletionTimestamp" in found["metadata"])
    ns.until_run(lambda status: trainers(status) == (0, 1))
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"nodes": {"forceDelete": True}}})
    ns.until("Pod", TRAINERS[1], another(hanging))  # type: ignore[arg-type]
    assert trainers(ns.until_stage("rl")["status"]) == (0, 1)


def test_a_failed_run_leaves_its_pods_until_it_is_deleted_where_that_is_asked_for(ns: Namespace) -> None:
    ns.run("Evaluate", failurePolicy={"onFailure": "KeepPods"})
    ns.succeed("preflight")
    before = {pod["metadata"]["uid"] for pod in ns.pods("generator")}
    ns.kubelet_ended(ns.pod("worker", "evaluate"), 64, "suite s3://x: line 3: no answer")
    message = ns.until_condition("Stalled", "BadInput")
    assert "its pods are kept (failurePolicy.onFailure KeepPods) until the run is deleted" in message
    for part in ("generator", "verifier"):
        ns.until_there("Deployment", f"one-{part}")
    assert {pod["metadata"]["uid"] for pod in ns.pods("generator")} == before
    ns.api.delete(RUN, ns.name, "one")
    for role in ("generator", "verifier"):
        ns.until_gone("Deployment", f"one-{role}")


def test_kept_pods_go_when_the_run_says_so(ns: Namespace) -> None:
    ns.run("Evaluate", failurePolicy={"onFailure": "KeepPods"})
    ns.succeed("preflight")
    ns.kubelet_ended(ns.pod("worker", "evaluate"), 64, "bad")
    ns.until_condition("Stalled", "BadInput")
    ns.change(failurePolicy={"onFailure": "Delete"})
    ns.until_gone("Deployment", "one-generator")
