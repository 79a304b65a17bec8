"""Runs in a queue of the real Kueue: queued, admitted and preempted as a unit."""

import uuid
from collections.abc import Iterator

import pytest

from dev.cluster import control_plane as planes
from magistral_api.names import LABEL_ROLE, LABEL_RUN
from magistral_operator import kinds
from magistral_operator.kinds import BY_NAME, POD, QUOTA, RUN, WORKLOADS
from magistral_operator.policies.queue import LABEL_PRIORITY, LABEL_QUEUE
from tests.control_plane.cluster import Api, Manifest, Namespace, Operator, namespace
from tests.control_plane.conftest import QUEUEING_USER, allow, rules
from tests.control_plane.kueue import kueue, queue

QUEUED = {LABEL_QUEUE: "team"}
URGENT = QUEUED | {LABEL_PRIORITY: "urgent"}
CPUS = 7
"""Of one RL run: two trainers, generators and verifiers each, and a worker or conductor."""


@pytest.fixture(scope="module")
def queueing(plane: planes.ControlPlane, api: Api, operator: Operator,
             tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Kueue, and an operator that works with it in the place of the usual one."""
    folder = tmp_path_factory.mktemp("kueue")
    assert operator.terminate() == 0
    status = {"apiGroups": [kinds.KUEUE], "resources": list(kinds.QUEUEING_SUBRESOURCES), "verbs": ["patch"]}
    with kueue(plane, api, folder):
        allow(api, QUEUEING_USER, [*rules(*BY_NAME.values()), status])
        (port,) = planes.free_ports(1)
        running = Operator(plane.client("queueing", user=QUEUEING_USER), port, folder / "log", {"MAGISTRAL_KUEUE": "true"})
        running.start()
        yield running
        assert running.terminate() == 0
    operator.start()


@pytest.fixture
def ns(api: Api, queueing: Operator) -> Iterator[Namespace]:
    """A fresh namespace with a queue that has quota for one run."""
    with namespace(api, f"t-{uuid.uuid4().hex[:8]}") as made:
        queue(api, made.name, "team", CPUS)
        yield made


def condition(found: Manifest | None, kind: str) -> str:
    """Status of a condition."""
    conditions = ((found or {}).get("status") or {}).get("conditions", [])
    return next((str(one["status"]) for one in conditions if one["type"] == kind), "")


def until_workload(ns: Namespace, run: str, kind: str) -> Manifest:
    return ns.until(QUOTA.name, f"{run}-quota", lambda found: condition(found, kind) == "True")


def end(ns: Namespace, run: str) -> None:
    """The run has succeeded and its workers end by themselves."""
    ns.succeed("rl", "evaluate", run=run)
    ns.until_condition("Ready", "Succeeded", run)
    for pod in ns.api.list(POD, ns.name, f"{LABEL_RUN}={run},{LABEL_ROLE}=worker"):
        ns.kubelet_says(pod, phase="Succeeded")
    until_workload(ns, run, "Finished")


def has_nothing(ns: Namespace, run: str) -> bool:
    return not any(ns.api.list(kind, ns.name, f"{LABEL_RUN}={run}") for kind in (*WORKLOADS, POD))


def test_the_second_run_waits_until_the_first_has_ended(ns: Namespace) -> None:
    ns.run("RL", labels=QUEUED)
    until_workload(ns, "one", "Admitted")
    ns.until_there("Job", "one-preflight")
    ns.run("RL", "two", labels=QUEUED)
    ns.until_run(lambda status: "insufficient unused quota for cpu" in str(status.get("conditions")), "two")
    assert "waits for quota in LocalQueue team" in ns.until_condition("Reconciling", "WaitingForQuota", "two")
    assert has_nothing(ns, "two")

    ns.succeed("preflight")
    pod = ns.pod("trainer", "rl")
    assert pod["spec"]["nodeSelector"] == {"pool": ns.name}
    assert {"key": "pool", "operator": "Exists"} in pod["spec"]["tolerations"]
    end(ns, "one")
    until_workload(ns, "two", "Admitted")
    ns.until_there("Job", "two-preflight")


def test_a_preempted_run_commits_gives_way_as_a_whole_and_comes_back(ns: Namespace) -> None:
    ns.run("RL", labels=QUEUED, failurePolicy={"maxRestarts": 0})
    ns.succeed("preflight")
    trainers = [ns.until_there("Pod", f"one-trainer-{ordinal}") for ordinal in (0, 1)]
    for pod in trainers:
        ns.kubelet_takes(pod)
    ns.run("RL", "two", labels=URGENT)
    until_workload(ns, "one", "Evicted")
    assert "was evicted by Kueue (Preempted" in ns.until_condition("Reconciling", "CheckpointBeforeSuspend")
    ns.report("rl", "Running", step=7, totalSteps=40, checkpoints=[
        {"step": 7, "digest": "sha256:" + "c" * 64, "uri": "s3://magistral/x/7", "sizeBytes": 1}])
    ns.until_there("Checkpoint", "one-rl-000007")
    # Its quota is its own until the last of its pods is gone.
    assert condition(ns.api.get(QUOTA, ns.name, "one-quota"), "QuotaReserved") == "True"
    assert has_nothing(ns, "two")

    for pod in trainers:
        ns.kubelet_removes(pod)
    until_workload(ns, "two", "Admitted")
    assert has_nothing(ns, "one")
    waits = ns.until_condition("Reconciling", "WaitingForQuota")
    assert "it goes on from step 7 of stage rl: Checkpoint one-rl-000007" in waits
    ns.succeed("preflight", run="two")
    end(ns, "two")

    until_workload(ns, "one", "Admitted")
    stages = ns.until_run(lambda status: status["phase"] == "Running")["status"]["stages"]
    assert [(one["attempt"], one.get("restarts", 0)) for one in stages if one["name"] == "rl"] == [(2, 0)]
    end(ns, "one")


def test_a_suspended_run_leaves_its_quota_to_others(ns: Namespace) -> None:
    ns.run("RL", labels=QUEUED)
    ns.until_there("Job", "one-preflight")
    ns.run("RL", "two", labels=QUEUED)
    ns.change(suspend=True)
    ns.until_condition("Ready", "Suspended")
    ns.until_there("Job", "two-preflight")
    ns.change(suspend=False)
    ns.until_condition("Reconciling", "WaitingForQuota")
    ns.change("two", suspend=True)
    ns.until_there("Job", "one-preflight")


def test_a_waiting_run_that_leaves_its_queue_starts_and_asks_for_no_quota(ns: Namespace) -> None:
    ns.run("RL", labels=QUEUED)
    until_workload(ns, "one", "Admitted")
    ns.run("RL", "two", labels=QUEUED)
    ns.until_condition("Reconciling", "WaitingForQuota", "two")
    ns.until_there(QUOTA.name, "two-quota")
    ns.api.patch(RUN, ns.name, "two", {"metadata": {"labels": {LABEL_QUEUE: None}}})
    ns.until_gone(QUOTA.name, "two-quota")
    ns.until_there("Job", "two-preflight")
