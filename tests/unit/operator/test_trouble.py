"""What a user is told when something outside the stages is wrong."""

from typing import Any

import pytest

from tests.unit.operator.world import World, reach, runtime, succeed

WAITS: dict[str, tuple[dict[str, str], str, str]] = {
    "a missing Secret": (
        {"reason": "CreateContainerConfigError", "message": 'secret "store" not found'},
        "SecretNotFound", "create Secret 'store' with keys accessKey and secretKey in namespace ns"),
    "a Secret without a key": (
        {"reason": "CreateContainerConfigError", "message": "couldn't find key accessKey in Secret ns/store"},
        "SecretNotFound", "couldn't find key accessKey"),
    "an image that is not there": (
        {"reason": "ErrImagePull", "message": "not found"}, "ImagePullFailed", "MagistralRuntime cpu"),
    "an image that is not there, seen later": (
        {"reason": "ImagePullBackOff", "message": "Back-off"}, "ImagePullFailed", "MagistralRuntime cpu"),
    "a command that is not in the image": (
        {"reason": "RunContainerError", "message": "exec: python: not found"}, "ContainerNotCreated", "exec: python"),
}


@pytest.mark.parametrize("sentence", list(WAITS))
def test_a_pod_tells_of(sentence: str) -> None:
    waiting, reason, words = WAITS[sentence]
    world = World().settle()
    world.pod("p", stage="preflight", attempt=1, phase="Pending",
              container={"name": "main", "image": "registry/x:1", "state": {"waiting": waiting}}).settle()
    assert world.conditions() == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    assert words in world.message


def test_the_two_faces_of_an_image_that_is_not_there_are_one_condition() -> None:
    world = World().settle()
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        world.pod("p", stage="preflight", attempt=1, phase="Pending", container={
            "name": "main", "image": "i", "state": {"waiting": {"reason": reason, "message": reason}}})
        plan = world.look()
    assert plan.status is None


def test_a_pod_that_no_node_takes_is_told_but_not_stalled() -> None:
    world = World().settle().pod("p", stage="preflight", attempt=1, phase="Pending", containerStatuses=[], conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]).settle()
    assert world.conditions()["Reconciling"] == ("True", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in world.message


def test_a_container_that_ends_again_and_again_is_told_with_its_last_words() -> None:
    world = reach(World("RL"), "rl").pod("g", role="generator", container={
        "name": "main", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "vllm: unknown argument"}}}).settle()
    assert world.conditions()["Stalled"] == ("True", "ContainerCrashing")
    assert "vllm: unknown argument" in world.message
    assert "logs g --previous" in world.message


def test_pods_that_admission_refuses_are_told() -> None:
    world = reach(World("RL"), "rl")
    world.child("Deployment", "generator")["status"] = {"conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}]}
    world.settle()
    assert world.conditions()["Stalled"] == ("True", "PodsRefused")
    assert "exceeded quota: gpus" in world.message


def test_an_object_that_the_api_server_refuses_is_told_in_its_words() -> None:
    world = World().settle()
    world.refusal = "Job one-preflight: spec.template.spec.tolerations[0].operator: Invalid value"
    world.settle()
    assert world.conditions()["Stalled"] == ("True", "ApplyRefused")
    assert "tolerations[0]" in world.message


def test_a_pod_that_waits_long_for_its_volumes_gets_the_token_created_again() -> None:
    world = reach(World("RL"), "rl")
    before = world.tokens
    world.pod("g", role="generator", phase="Pending",
              container={"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}).settle()
    assert world.tokens == before
    world.pass_time(10).look()
    assert world.tokens == before + 1


MISFITS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str, str]] = {
    "a runtime that does not exist": ({}, None, "RuntimeNotFound", "there is no MagistralRuntime 'cpu'"),
    "a runtime that cannot be read": (
        {}, runtime(trainer={"maxReplicas": 0}), "InvalidRuntime", "spec.roles.trainer.maxReplicas"),
    "more trainers than the platform allows": (
        {}, runtime(trainer={"maxReplicas": 1}), "TooManyReplicas", "spec.rl.trainers: 2 pods asked, at most 1"),
    "more generators than the platform allows": (
        {}, runtime(generator={"maxReplicas": 1}), "TooManyReplicas", "spec.rl.generators: 2 pods asked, at most 1"),
    "more verifiers than the platform allows": (
        {}, runtime(verifier={"maxReplicas": 1}), "TooManyReplicas", "spec.rl.verifiers: 2 pods asked, at most 1"),
    "a batch that does not fit the processes": (
        {}, runtime(spec={"device": "cuda", "processesPerPod": 16}), "WorldSizeMismatch", "among 32 processes"),
    "a spec that means nothing": ({"seed": -1}, runtime(), "InvalidSpec", "spec.seed"),
}


@pytest.mark.parametrize("sentence", list(MISFITS))
def test_nothing_is_created_for(sentence: str) -> None:
    spec, its_runtime, reason, words = MISFITS[sentence]
    world = World(**spec)
    world.runtime = its_runtime
    world.settle()
    assert world.conditions() == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    assert words in world.message
    assert world.children == {}


def test_sft_must_fit_its_processes_too() -> None:
    world = World("SFT")
    world.runtime = runtime(spec={"device": "cuda", "processesPerPod": 8})
    world.settle()
    assert "spec.sft.batchSize: 8 sequences cannot be divided among 16 processes" in world.message


def test_a_runtime_that_appears_lets_the_run_start() -> None:
    world = World()
    world.runtime = None
    world.settle()
    world.runtime = runtime()
    world.settle()
    assert world.workloads == ["one-preflight"]
    assert "Stalled" not in world.conditions()


def test_a_runtime_that_vanishes_leaves_the_pods_alone() -> None:
    world = reach(World("RL"), "rl")
    before = world.workloads
    world.runtime = None
    world.settle()
    assert world.workloads == before
    assert world.conditions()["Stalled"] == ("True", "RuntimeNotFound")


def test_a_run_that_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    world = World()
    world.run["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not world.look().writes


def test_a_change_of_the_spec_after_the_end_is_observed_and_changes_nothing() -> None:
    world = succeed(World("Evaluate"), ("preflight", "evaluate")).change(suspend=True).settle()
    assert world.status["observedGeneration"] == 2
    assert {one["observedGeneration"] for one in world.status["conditions"]} == {2}
    assert world.conditions() == {"Ready": ("True", "Succeeded")}
