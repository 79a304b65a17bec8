"""What `kubectl wait`, Argo CD and Flux see: every phase and reason of every kind, by a port of kstatus' rules."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from magistral_api.crd import crds
from magistral_api.names import PARADIGM_STAGES
from magistral_api.status import Phase
from magistral_operator import constants
from magistral_operator.plan import Manifest
from tests.unit.operator.world import OUTPUTS, World, reach, runtime, succeed, teacher


def kstatus(manifest: Manifest) -> str:
    """kstatus' rules for a kind that it has no rules of its own for: cli-utils, pkg/kstatus/status, Compute."""
    meta, status = manifest["metadata"], manifest.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    if "generation" in meta and status.get("observedGeneration", meta["generation"]) != meta["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for one in conditions:
        if (one["type"], one["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (one["type"], one["status"]) == ("Stalled", "True"):
            return "Failed"
    for one in conditions:
        if one["type"] == "Ready":
            return "Current" if one["status"] == "True" else "InProgress"
    # Nothing is known of it, so nothing is waited for.
    return "Current"


def kubectl_waits(manifest: Manifest) -> bool:
    """Whether `kubectl wait --for=condition=Ready` goes on waiting: kubectl, pkg/cmd/wait."""
    generation, status = manifest["metadata"].get("generation"), manifest.get("status") or {}
    for one in status.get("conditions", []):
        if one["type"].lower() == "ready":
            observed = one.get("observedGeneration", status.get("observedGeneration"))
            stale = generation is not None and observed is not None and observed < generation
            return bool(stale or one["status"].lower() != "true")
    return True


def stored(manifest: Manifest, crd: str) -> Manifest:
    """As the API server hands it out: defaults of the status filled in."""
    status = crds()[crd]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].get("status")
    if status is None:
        return manifest
    return manifest | {"status": _defaulted(manifest.get("status", status.get("default")), status)}


def _defaulted(value: Any, schema: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    defaults = {name: copy.deepcopy(of["default"]) for name, of in schema["properties"].items() if "default" in of}
    return defaults | value


@dataclass(frozen=True)
class Row:
    """`bring` makes the object as it is in this phase. `waits`: of kubectl wait --for=condition=Ready."""

    kind: str
    paradigm: str
    bring: Callable[[World], World]
    kstatus: str
    waits: bool = True
    phase: str = "Running"
    reason: str | None = None
    """Of Ready; None while there is no condition."""


def run(phase: str, reason: str | None, status: str, bring: Callable[[World], World], paradigm: str = "RL", *,
        waits: bool = True) -> Row:
    return Row("MagistralRun", paradigm, bring, status, waits, phase, reason)


def working(reason: str, bring: Callable[[World], World], paradigm: str = "RL") -> Row:
    return run("Running", reason, "InProgress", bring, paradigm)


def stopped(reason: str, bring: Callable[[World], World], paradigm: str = "RL", phase: str = "Running") -> Row:
    return run(phase, reason, "Failed", bring, paradigm)


def waiting_for_its_teacher(world: World) -> World:
    world.named_runs["teacher"] = teacher("Running")
    return world.settle().report("preflight").settle()


def replacing_leftovers(world: World) -> World:
    old = copy.deepcopy(World("Evaluate").settle().child("Job", "preflight"))
    old["metadata"]["uid"] = "of-the-earlier-run"
    world.leftovers = [old]
    world.look()
    return world


def preflight_waits(reason: str, message: str = "") -> Callable[[World], World]:
    """The pod of preflight cannot start for this reason."""
    return lambda world: world.settle().pod("p", stage="preflight", attempt=1, phase="Pending", container={
        "name": "main", "image": "i", "state": {"waiting": {"reason": reason, "message": message}}}).settle()


def unschedulable(world: World) -> World:
    return world.settle().pod("p", stage="preflight", attempt=1, phase="Pending", containerStatuses=[], conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."}]).settle()


def crashing(world: World) -> World:
    return reach(world, "rl").pod("g", role="generator", container={
        "name": "main", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "no"}}}).settle()


def refused_pods(world: World) -> World:
    reach(world, "rl").child("Deployment", "generator")["status"] = {"conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]}
    return world.settle()


def refused_object(world: World) -> World:
    world.settle().refusal = "Job one-preflight: invalid"
    return world.settle()


def with_runtime(made: Manifest | None) -> Callable[[World], World]:
    def bring(world: World) -> World:
        world.runtime = made
        return world.settle()
    return bring


def unreadable(world: World) -> World:
    world.settle().child("ConfigMap", "progress")["data"] = {"preflight": json.dumps({"stage": "preflight", "state": "Odd"})}
    return world.settle()


def suspended_with(role: str) -> Callable[[World], World]:
    """Suspended while a pod of this role is still there."""
    return lambda world: reach(world, "rl").pod(f"one-{role}-0", role=role, stage="rl", attempt=1).change(suspend=True).settle()


def queued(world: World, *, kueue: bool = True, **labels: str) -> World:
    """In a Kueue queue, which has not admitted it."""
    world.kueue = kueue
    world.run["metadata"]["labels"] = {f"kueue.x-k8s.io/{name.replace('_', '-')}": value
                                       for name, value in ({"queue_name": "team"} | labels).items()}
    return world.settle()


def too_many_restarts(world: World) -> World:
    reach(world.change(failurePolicy={"maxRestarts": 0}), "evaluate")
    return world.exit_with("w", 1, stage="evaluate", attempt=1).end_job("evaluate").settle()


def too_many_lost_pods(world: World) -> World:
    return reach(world.change(failurePolicy={"maxInfrastructureRestarts": 0}), "evaluate").end_job("evaluate").settle()


def too_late(world: World) -> World:
    return world.change(activeDeadline="1m").settle().pass_time(61).settle()


def deleted(world: World) -> World:
    world.run["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.look()
    return world


def committed(world: World) -> World:
    return reach(world, "rl").report("rl", "Running", **OUTPUTS["rl"]).settle()


def commit_not_seen(world: World) -> World:
    world = committed(world)
    del world.children["Checkpoint", "one-rl-000040"]["status"]
    return world


def commit_deleted(world: World) -> World:
    world = committed(world)
    world.children["Checkpoint", "one-rl-000040"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return world


TABLE: dict[str, Row] = {
    "not yet seen": run("Pending", None, "InProgress", lambda world: world),
    **{f"{stage} runs": working("StageRunning", lambda world, stage=stage: reach(world, stage), "SFTThenRL")  # type: ignore[misc]
       for stage in PARADIGM_STAGES["SFTThenRL"]},
    "waits for its teacher": working("WaitingForRun", waiting_for_its_teacher, "SFT"),
    "tries again": working("Retrying", lambda world: reach(world, "evaluate").end_job("evaluate").settle(), "Evaluate"),
    "no node takes a pod": working("Unschedulable", unschedulable),
    "an earlier run's objects go": working("ReplacingLeftovers", replacing_leftovers, "Evaluate"),
    "changed, not yet seen": working("StageRunning", lambda world: reach(world, "rl").change(suspend=True)),
    "resumed": working("StageRunning", lambda world: reach(world, "rl").change(suspend=True).settle()
                       .change(suspend=False).settle()),
    "a spec that means nothing": stopped("InvalidSpec", lambda world: world.change(seed=-1).settle(), phase="Pending"),
    "no runtime": stopped("RuntimeNotFound", with_runtime(None), phase="Pending"),
    "a runtime that means nothing": stopped("InvalidRuntime", with_runtime(runtime(trainer={"maxReplicas": 0})),
                                            phase="Pending"),
    "too many pods asked": stopped("TooManyReplicas", with_runtime(runtime(trainer={"maxReplicas": 1})), phase="Pending"),
    "an uneven batch": stopped("WorldSizeMismatch", with_runtime(
        runtime(spec={"device": "cuda", "processesPerPod": 16})), phase="Pending"),
    "preflight failed": stopped("PreflightFailed", lambda world: world.settle().report(
        "preflight", "Failed", message="no").settle()),
    "preflight gave a reason": stopped("BucketNotFound", lambda world: world.settle().report(
        "preflight", "Failed", reason="BucketNotFound", message="no").settle()),
    "a missing Secret": stopped("SecretNotFound", preflight_waits("CreateContainerConfigError", "secret not found")),
    "a missing image": stopped("ImagePullFailed", preflight_waits("ErrImagePull")),
    "no container": stopped("ContainerNotCreated", preflight_waits("RunContainerError")),
    "a crashing container": stopped("ContainerCrashing", crashing),
    "pods refused": stopped("PodsRefused", refused_pods),
    "an object refused": stopped("ApplyRefused", refused_object),
    "an output is missing": stopped("MissingOutput", lambda world: reach(world, "curate").report("curate").settle(), "SFT"),
    "an unreadable report": stopped("UnreadableReport", unreadable),
    "commits before suspend": run("Suspended", "CheckpointBeforeSuspend", "InProgress", suspended_with("trainer")),
    "suspending": run("Suspended", "Suspending", "InProgress", suspended_with("conductor")),
    "suspended": run("Suspended", "Suspended", "InProgress", lambda world: reach(world, "rl").change(suspend=True).settle()),
    "created suspended": run("Suspended", "Suspended", "InProgress", lambda world: world.change(suspend=True).settle()),
    "waits for quota": run("Suspended", "WaitingForQuota", "InProgress", queued),
    "a queue without Kueue": stopped("KueueNotEnabled", lambda world: queued(world, kueue=False), phase="Pending"),
    "no such priority class": stopped("PriorityClassNotFound", lambda world: queued(world, priority_class="urgent"),
                                      phase="Suspended"),
    "bad input": stopped("BadInput", lambda world: reach(world, "evaluate").exit_with("w", 64, stage="evaluate").settle(),
                         phase="Failed"),
    "too many restarts": stopped("TooManyRestarts", too_many_restarts, "Evaluate", phase="Failed"),
    "too many lost pods": stopped("TooManyInfrastructureRestarts", too_many_lost_pods, "Evaluate", phase="Failed"),
    "too late": stopped("DeadlineExceeded", too_late, phase="Failed"),
    "succeeded": run("Succeeded", "Succeeded", "Current", lambda world: succeed(world, PARADIGM_STAGES["RL"]), waits=False),
    "succeeded, changed": run("Succeeded", "Succeeded", "InProgress", lambda world: succeed(
        world, PARADIGM_STAGES["RL"]).change(suspend=True)),
    "succeeded, change seen": run("Succeeded", "Succeeded", "Current", lambda world: succeed(
        world, PARADIGM_STAGES["RL"]).change(suspend=True).settle(), waits=False),
    "deleted while it runs": run("Running", "StageRunning", "Terminating", lambda world: deleted(reach(world, "rl"))),
    "deleted after its end": run("Succeeded", "Succeeded", "Terminating", lambda world: deleted(
        succeed(world, PARADIGM_STAGES["RL"])), waits=False),
    "a checkpoint, not yet seen": Row("Checkpoint", "RL", commit_not_seen, "InProgress", phase="", reason="NotSeen"),
    "a checkpoint": Row("Checkpoint", "RL", committed, "Current", waits=False, phase="", reason="Committed"),
    "a checkpoint, deleted": Row("Checkpoint", "RL", commit_deleted, "Terminating", waits=False, phase="",
                                 reason="Committed"),
    # It holds settings and does nothing: there is nothing to wait for.
    "a runtime": Row("MagistralRuntime", "RL", lambda world: world, "Current", phase=""),
}


def brought(row: Row) -> Manifest:
    world = row.bring(World(row.paradigm))
    if row.kind == "MagistralRun":
        return stored(world.run, "magistralruns.yaml")
    if row.kind == "MagistralRuntime":
        return stored(world.runtime or {}, "magistralruntimes.yaml")
    checkpoint = world.children["Checkpoint", "one-rl-000040"]
    return stored(checkpoint | {"metadata": checkpoint["metadata"] | {"generation": 1}}, "checkpoints.yaml")


def conditions(manifest: Manifest) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in manifest.get("status", {}).get("conditions", [])}


@pytest.mark.parametrize("sentence", list(TABLE))
def test_it_is_seen_as_it_is(sentence: str) -> None:
    row = TABLE[sentence]
    manifest = brought(row)
    found = conditions(manifest)
    assert (kstatus(manifest), kubectl_waits(manifest)) == (row.kstatus, row.waits)
    assert manifest.get("status", {}).get("phase", "") == row.phase
    assert found.get("Ready", ("", None))[1] == row.reason
    assert all(status == "True" for kind, (status, _) in found.items() if kind != "Ready")
    assert len(found.keys() & {"Reconciling", "Stalled"}) <= 1
    assert list(found)[:1] in ([], ["Ready"])


EVENTS_ONLY = {constants.STAGE_STARTED, constants.STAGE_SUCCEEDED, constants.ATTEMPT_FAILED, constants.NO_REPORT,
               constants.DRIFT_CORRECTED, constants.RESUMED, constants.EXPIRED, constants.RESTARTS_DO_NOT_HELP,
               constants.NODE_LOST, constants.NODE_EXCLUDED, constants.POD_FORCE_DELETED}
"""Reasons that are never a condition's."""


def test_the_table_has_every_phase_and_every_reason() -> None:
    reasons = {value for name, value in vars(constants).items()
               if name.isupper() and isinstance(value, str) and value.isalpha()}
    shown = {reason for row in TABLE.values() for _, reason in conditions(brought(row)).values()}
    assert reasons - EVENTS_ONLY - shown == set()
    assert {row.phase for row in TABLE.values() if row.kind == "MagistralRun"} == set(get_args(Phase))
    assert {row.kind for row in TABLE.values()} == {crd["spec"]["names"]["kind"] for crd in crds().values()}


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    right = 0
    with capsys.disabled():
        print(f"\n{'KIND':<17}{'PHASE':<11}{'SEEN WHEN':<29}{'READY FOR REASON':<31}{'KSTATUS':<13}KUBECTL WAIT")
        for sentence, row in TABLE.items():
            manifest = brought(row)
            ready = " ".join(conditions(manifest).get("Ready", ("no condition", "")))
            seen, waits = kstatus(manifest), kubectl_waits(manifest)
            right += (seen, waits) == (row.kstatus, row.waits)
            print(f"{row.kind:<17}{row.phase:<11}{sentence:<29}{ready:<31}{seen:<13}{'waits' if waits else 'returns'}")
        print(f"{right} of {len(TABLE)} right")
    assert right == len(TABLE)


def test_a_transition_time_moves_only_when_the_status_changes() -> None:
    world = World("RL").settle()
    since = world.status["conditions"][0]["lastTransitionTime"]
    reach(world.pass_time(60), "rl")
    assert world.status["conditions"][0]["lastTransitionTime"] == since
    succeed(world.pass_time(60), ("rl", "evaluate"))
    assert world.status["conditions"][0]["lastTransitionTime"] != since
