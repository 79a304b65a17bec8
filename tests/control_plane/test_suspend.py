"""Suspend, resume and drain on real controllers: trainers have their time, nothing counts as a restart."""

from magistral_api.names import LABEL_ATTEMPT
from magistral_operator.kinds import POD
from tests.control_plane.cluster import DIGEST, Manifest, Namespace

CHECKPOINT = {"step": 7, "digest": DIGEST, "uri": "s3://magistral/runs/x/rl/7", "sizeBytes": 1}
TRAINERS = ("one-trainer-0", "one-trainer-1")


def training(ns: Namespace) -> list[Manifest]:
    """RL with trainers on a node; the operator has seen them."""
    ns.run("RL", failurePolicy={"maxRestarts": 0})
    ns.succeed("preflight")
    pods = [ns.until_there("Pod", name) for name in (*TRAINERS, "one-conductor-0")]
    for pod in pods:
        ns.kubelet_takes(pod)
    ns.until_run(lambda status: ready(status, "trainer") == 2)
    return pods


def ready(status: Manifest, role: str) -> int:
    return next((int(one["ready"]) for one in status.get("roles", []) if one["name"] == role), 0)


def restarts(ns: Namespace) -> set[int]:
    run = ns.until_run(lambda status: status["phase"] == "Running")
    return {role["restarts"] for role in run["status"]["roles"]} | {
        stage["restarts"] for stage in run["status"]["stages"]}


def ending(found: Manifest | None) -> bool:
    return found is not None and "deletionTimestamp" in found["metadata"]


def test_trainers_commit_before_anything_else_goes_and_the_run_goes_on_from_there(ns: Namespace) -> None:
    first, second, conductor = training(ns)
    ns.change(suspend=True)
    told = ns.until("Pod", "one-trainer-0", ending)
    assert told["metadata"]["deletionGracePeriodSeconds"] == 300
    ns.until_run(lambda status: "commit a checkpoint, at most until" in status["conditions"][0]["message"])
    ns.until_condition("Reconciling", "CheckpointBeforeSuspend")
    ns.report("rl", "Running", step=7, totalSteps=40, checkpoints=[CHECKPOINT])
    ns.until_there("Checkpoint", "one-rl-000007")
    ns.kubelet_removes(first)
    for kind, part in (("StatefulSet", "conductor"), ("Deployment", "generator"), ("Deployment", "verifier")):
        ns.until_there(kind, f"one-{part}")
    ns.kubelet_removes(second)
    ns.until_condition("Reconciling", "Suspending")
    ns.kubelet_removes(conductor)
    assert f"goes on from step 7 of stage rl: Checkpoint one-rl-000007 ({DIGEST})" in ns.until_condition("Ready", "Suspended")
    assert ns.api.list(POD, ns.name) == []

    ns.change(suspend=False)
    for name in TRAINERS:
        again = ns.until_there("Pod", name)
        assert again["metadata"]["labels"][LABEL_ATTEMPT] == "2"
        ns.kubelet_takes(again)
    ns.until_run(lambda status: ready(status, "trainer") == 2)
    assert restarts(ns) == {0}
    ns.succeed("rl", "evaluate")
    ns.until_condition("Ready", "Succeeded")


def test_a_run_resumed_before_it_was_suspended_waits_for_the_end_of_its_trainers_and_goes_on(ns: Namespace) -> None:
    old = training(ns)
    generators = ns.until_there("Deployment", "one-generator")["metadata"]["uid"]
    ns.change(suspend=True)
    for name in TRAINERS:
        ns.until("Pod", name, ending)
    ns.change(suspend=False)
    ns.until("StatefulSet", "one-conductor", ending)
    for pod in old:
        ns.kubelet_removes(pod)
    for pod in old:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        new = ns.until("Pod", name, lambda found, uid=uid: found is not None and found["metadata"]["uid"] != uid)  # type: ignore[misc]
        assert new["metadata"]["labels"][LABEL_ATTEMPT] == "2"
        ns.kubelet_takes(new)
    ns.until_run(lambda status: ready(status, "trainer") == 2)
    assert restarts(ns) == {0}
    assert ns.until_there("Deployment", "one-generator")["metadata"]["uid"] == generators


def evict(ns: Namespace, name: str) -> int:
    """What `kubectl drain` asks; the status code of the answer."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": ns.name}}
    return ns.api.http.post(POD.path(ns.name, name, "eviction"), json=eviction).status_code


def allows(found: Manifest | None) -> bool:
    return found is not None and found.get("status", {}).get("disruptionsAllowed") == 1


def test_a_drain_takes_one_trainer_at_a_time(ns: Namespace) -> None:
    first, *_ = training(ns)
    ns.until("PodDisruptionBudget", "one-trainer", allows)
    assert evict(ns, "one-trainer-0") == 201
    assert evict(ns, "one-trainer-1") == 429
    ns.kubelet_removes(first)
    ns.kubelet_takes(ns.until("Pod", "one-trainer-0", lambda found: found is not None and not ending(found)))
    ns.until("PodDisruptionBudget", "one-trainer", allows)
    assert evict(ns, "one-trainer-1") == 201


def test_a_drain_takes_one_sft_worker_at_a_time_though_a_job_has_no_scale(ns: Namespace) -> None:
    ns.run("RL", "teacher")
    ns.succeed("preflight", "rl", run="teacher")
    ns.run("SFT")
    ns.succeed("preflight", "curate")
    ns.until_there("Job", "one-sft")
    pods = ns.pods("trainer", "sft", 2)
    for pod in pods:
        ns.kubelet_takes(pod)
    ns.until("PodDisruptionBudget", "one-trainer", allows)
    codes = [evict(ns, pod["metadata"]["name"]) for pod in pods]
    assert codes == [201, 429]
