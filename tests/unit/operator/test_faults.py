"""Whose fault it is: one sentence, one verdict."""

from typing import Any

import pytest

from magistral_operator.plan import Manifest
from magistral_operator.policies import faults
from tests.unit.operator.world import a_node

FINE, SILENT, NOT_READY = a_node("n"), a_node("n", "Unknown"), a_node("n", "False")
OUT_OF_SERVICE = a_node("n") | {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}
BROKEN_GPU = a_node("n", AcceleratedHardwareReady="False")
BROKEN_DISK = a_node("n", ReadonlyFilesystem="True")
FULL = a_node("n", MemoryPressure="True")


def pod(code: int | None = None, *, reason: str = "Error", phase: str = "Failed", why: str | None = None,
        disruption: str | None = None, deleted: bool = False, waits: str | None = None) -> Manifest:
    """A pod whose container ended with this code, or waits; `why`: the pod's own reason."""
    state: Manifest = {"running": {}}
    if code is not None:
        state = {"terminated": {"exitCode": code, "reason": reason}}
    elif waits:
        state = {"waiting": {"reason": waits}}
    conditions = [{"type": "DisruptionTarget", "status": "True", "reason": disruption}] if disruption else []
    meta: Manifest = {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta | ({"deletionTimestamp": "2026-01-01T00:00:30Z"} if deleted else {}), "status": {
        "phase": phase, "conditions": conditions, "containerStatuses": [{"name": "main", "state": state}],
        **({"reason": why} if why else {})}}


RUNS = pod(phase="Running")
FAULTS: dict[str, tuple[Manifest, Manifest | None, str | None]] = {
    "a pod that runs has no fault": (RUNS, FINE, None),
    "a pod without a node has no fault": (pod(phase="Pending"), None, None),
    "a process that ended well has no fault": (pod(0, phase="Succeeded"), FINE, None),
    "a process that ended well on a node that was lost later has no fault": (pod(0, phase="Succeeded"), SILENT, None),
    "bad input is the user's": (pod(64), FINE, "user"),
    "bad input is the user's on a lost node too": (pod(64, disruption="DeletionByTaintManager"), SILENT, "user"),
    "an exception is the application's": (pod(1), FINE, "application"),
    "a crash is the application's": (pod(139), FINE, "application"),
    "too much memory is the application's": (pod(137, reason="OOMKilled"), FINE, "application"),
    "too much memory on a node that is lost is the application's": (pod(137, reason="OOMKilled"), SILENT, "application"),
    "killed by nobody knows whom on a good node is the application's": (pod(137), FINE, "application"),
    "told to end by nobody knows whom on a good node is the application's": (pod(143), FINE, "application"),
    "killed on a node under memory pressure without an eviction is the application's": (pod(137), FULL, "application"),
    "killed on a node that is not ready": (pod(137), NOT_READY, "infrastructure"),
    "told to end on a node that is silent": (pod(143), SILENT, "infrastructure"),
    "an exception on a node that is silent": (pod(1), SILENT, "infrastructure"),
    "an exception on a node whose GPUs are not ready": (pod(1), BROKEN_GPU, "infrastructure"),
    "an exception on a node whose disk is read-only": (pod(1), BROKEN_DISK, "infrastructure"),
    "told to end because the pod was deleted": (pod(143, deleted=True), FINE, "infrastructure"),
    "an exception of a pod that was deleted is the application's": (pod(1, deleted=True), FINE, "application"),
    "evicted to make way": (pod(137, why="Evicted", disruption="TerminationByKubelet"), FINE, "infrastructure"),
    "evicted for its own use of storage is the application's": (pod(why="Evicted"), FINE, "application"),
    "preempted": (pod(143, disruption="PreemptionByScheduler"), FINE, "infrastructure"),
    "drained": (pod(phase="Running", disruption="EvictionByEvictionAPI", deleted=True), FINE, "infrastructure"),
    "removed by a taint": (pod(phase="Running", disruption="DeletionByTaintManager"), SILENT, "infrastructure"),
    "its node shut down": (pod(why="NodeShutdown"), FINE, "infrastructure"),
    "its node was lost": (pod(why="NodeLost"), FINE, "infrastructure"),
    "its node has no such device any more": (pod(why="UnexpectedAdmissionError"), FINE, "infrastructure"),
    "another pod took its place on the node": (pod(why="OutOfcpu"), FINE, "infrastructure"),
    "it runs on a node that is silent": (RUNS, SILENT, "infrastructure"),
    "it runs on a node that is out of service": (RUNS, OUT_OF_SERVICE, "infrastructure"),
    "it runs on a node of which nothing is known": (RUNS, None, None),
    "it was deleted": (pod(phase="Running", deleted=True), FINE, "infrastructure"),
    "its container cannot be created on a node that failed":
        (pod(waits="CreateContainerError", phase="Pending"), BROKEN_GPU, "infrastructure"),
    "its container cannot be created on a good node": (pod(waits="CreateContainerError", phase="Pending"), FINE, None),
}


@pytest.mark.parametrize("sentence", list(FAULTS))
def test_fault(sentence: str) -> None:
    one, node, expected = FAULTS[sentence]
    found = faults.of_pod(one, node)
    assert (found.kind if found else None) == expected


BLAMED: dict[str, tuple[Manifest, Any, bool]] = {
    "a lost node is": (pod(phase="Running", deleted=True), SILENT, True),
    "a node whose taint removed the pod is": (pod(phase="Running", disruption="DeletionByTaintManager"), FINE, True),
    "a node that refuses what the scheduler gave it is": (pod(why="UnexpectedAdmissionError"), FINE, True),
    "a node with broken GPUs is": (pod(1), BROKEN_GPU, True),
    "a node that was drained is not": (pod(phase="Running", disruption="EvictionByEvictionAPI"), FINE, False),
    "a node where a pod was preempted is not": (pod(143, disruption="PreemptionByScheduler"), FINE, False),
    "a node where somebody deleted a pod is not": (pod(143, deleted=True), FINE, False),
    "a node where a process crashed is not": (pod(1), FINE, False),
}


@pytest.mark.parametrize("sentence", list(BLAMED))
def test_to_blame(sentence: str) -> None:
    one, node, expected = BLAMED[sentence]
    found = faults.of_pod(one, node)
    assert found is not None
    assert found.node_failed is expected


def test_a_crash_of_long_ago_is_dated_when_the_trouble_of_its_node_began() -> None:
    crashed = pod(1)
    crashed["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2025-12-31T00:00:00Z"
    found = faults.of_pod(crashed, SILENT)
    assert found is not None
    assert found.at == "2026-01-01T00:00:00Z"
