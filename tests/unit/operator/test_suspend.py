"""Suspend releases every pod and keeps the state; resume goes on from there."""

from datetime import timedelta

import pytest

from magistral_operator.case import stamp
from tests.unit.operator.world import DIGEST, World, reach


def test_suspend_removes_every_workload_of_the_running_stage() -> None:
    world = reach(World("RL"), "rl").change(suspend=True).settle()
    assert world.workloads == []
    assert world.status["phase"] == "Suspended"


def test_suspend_keeps_jobs_that_have_ended_with_their_logs() -> None:
    world = reach(World("RL").settle().end_job("preflight", "Complete"), "rl").change(suspend=True).settle()
    assert world.workloads == ["one-preflight"]


def running(world: World) -> World:
    """RL with one pod a role."""
    reach(world, "rl")
    for name, role in (("one-trainer-0", "trainer"), ("one-trainer-1", "trainer"), ("one-conductor-0", "conductor")):
        world.pod(name, role=role, stage="rl", attempt=1)
    for role in ("generator", "verifier"):
        world.pod(f"one-{role}-x", role=role)
    return world.settle()


def servers(world: World) -> list[str]:
    return world.names("StatefulSet", "Deployment")


def told_to_end(world: World, *names: str, grace_s: int = 300) -> World:
    """What the API server does when the workload of these pods is deleted."""
    for name in names:
        world.pods[name]["metadata"]["deletionTimestamp"] = stamp(world.now + timedelta(seconds=grace_s))
    return world


TRAINERS = ("one-trainer-0", "one-trainer-1")


def test_trainers_end_first_and_all_else_stays_until_they_have_committed() -> None:
    world = running(World("RL")).change(suspend=True).settle()
    assert servers(world) == ["one-conductor", "one-generator", "one-verifier"]
    assert world.conditions()["Reconciling"] == ("True", "CheckpointBeforeSuspend")
    told_to_end(world, *TRAINERS).pass_time(200).settle()
    assert "one-trainer-0, one-trainer-1 commit a checkpoint, at most until 2026-01-01T00:05:00Z" in world.message
    del world.pods["one-trainer-0"]
    assert servers(world.settle()) == ["one-conductor", "one-generator", "one-verifier"]

    del world.pods["one-trainer-1"]
    assert servers(world.settle()) == []
    assert world.conditions()["Reconciling"] == ("True", "Suspending")
    world.pods.clear()
    world.settle()
    assert world.conditions() == {"Ready": ("False", "Suspended")}


def test_after_the_deadline_nothing_is_waited_for() -> None:
    world = running(World("RL")).change(suspend=True).settle()
    told_to_end(world, *TRAINERS).settle()
    wish = world.look().requeue_after
    assert wish is not None
    assert servers(world.pass_time(wish - 1).settle()) == ["one-conductor", "one-generator", "one-verifier"]
    assert servers(world.pass_time(1).settle()) == []
    assert world.conditions()["Reconciling"] == ("True", "Suspending")


def test_a_stage_without_trainers_has_nothing_to_wait_for() -> None:
    world = reach(World("RL"), "evaluate").pod("one-generator-x", role="generator").change(suspend=True).settle()
    assert world.workloads == []


def test_sft_trainers_too_are_waited_for() -> None:
    world = reach(World("SFT"), "sft").pod("one-sft-0", role="trainer", stage="sft", attempt=1)
    world.change(suspend=True).settle()
    assert "one-sft" not in world.workloads
    assert world.conditions()["Reconciling"] == ("True", "CheckpointBeforeSuspend")


def test_a_suspended_run_names_the_checkpoint_that_it_goes_on_from() -> None:
    world = running(World("RL")).change(suspend=True).settle()
    world.report("rl", "Running", step=7, checkpoints=[{"step": 7, "digest": DIGEST, "uri": "s3://magistral/x/7",
                                                         "sizeBytes": 1}])
    world.pods.clear()
    world.settle()
    assert f"goes on from step 7 of stage rl: Checkpoint one-rl-000007 ({DIGEST})" in world.message
    assert world.status["latestCheckpoint"]["step"] == 7


def test_a_suspended_run_without_a_checkpoint_says_where_it_starts_again() -> None:
    world = reach(World("RL"), "rl").change(suspend=True).settle()
    assert "goes on with stage rl from its start" in world.message


@pytest.mark.parametrize("gone", [(), TRAINERS, (*TRAINERS, "one-conductor-0", "one-generator-x", "one-verifier-x")])
def test_a_run_resumed_while_it_is_being_suspended_goes_on_and_no_restart_is_counted(gone: tuple[str, ...]) -> None:
    world = running(World("RL", failurePolicy={"maxRestarts": 0})).change(suspend=True).settle()
    told_to_end(world, *TRAINERS).settle()
    for name in gone:
        told_to_end(world, name).settle()
    world.change(suspend=False).settle()
    assert servers(world) == ["one-conductor", "one-generator", "one-trainer", "one-verifier"]
    for name in (*TRAINERS, "one-conductor-0"):
        del world.pods[name]
        world.settle().pod(name, role=name.split("-")[1], stage="rl", attempt=2, uid=f"new {name}").settle()
    for name in gone[3:]:
        world.pods[name] = world.pods[name] | {"metadata": world.pods[name]["metadata"] | {"uid": f"new {name}"}}
        del world.pods[name]["metadata"]["deletionTimestamp"]
        world.settle()
    assert {role["name"]: role["restarts"] for role in world.status["roles"]} == dict.fromkeys(
        ("conductor", "trainer", "generator", "verifier"), 0)
    assert (world.status["phase"], world.stage("rl")["attempt"]) == ("Running", 2)


def test_restarts_of_pods_that_are_going_are_not_counted_again_at_every_look() -> None:
    world = reach(World("SFT"), "select")
    container = {"name": "main", "restartCount": 2, "state": {"running": {}}}
    world.pod("one-verifier-x", role="verifier", container=container).settle()
    assert world.role("verifier")["restarts"] == 2
    world.change(suspend=True).settle()
    assert world.role("verifier")["restarts"] == 2


def test_trainers_that_end_with_an_error_while_suspended_are_no_failure() -> None:
    world = running(World("RL", failurePolicy={"maxRestarts": 0})).change(suspend=True).settle()
    for name in TRAINERS:
        world.exit_with(name, 143, role="trainer", stage="rl", attempt=1).settle()
    world.pods.clear()
    world.settle().change(suspend=False).settle()
    assert (world.status["phase"], world.stage("rl")["restarts"]) == ("Running", 0)


def test_resume_goes_on_with_the_next_attempt_of_the_same_stage() -> None:
    world = reach(World("RL"), "rl").change(suspend=True).settle().change(suspend=False).settle()
    assert (world.stage("rl")["state"], world.stage("rl")["attempt"]) == ("Running", 2)
    assert world.child("StatefulSet", "trainer")["metadata"]["labels"]["training.magistral.dev/attempt"] == "2"
    assert world.stage("preflight")["state"] == "Succeeded"


def test_resume_costs_no_restart() -> None:
    world = reach(World("Evaluate", failurePolicy={"maxRestarts": 0}), "evaluate")
    world.change(suspend=True).settle().change(suspend=False).settle()
    assert world.stage("evaluate")["restarts"] == 0
    assert world.status["phase"] == "Running"


def test_a_late_report_of_the_suspended_pods_is_ignored_after_resume() -> None:
    world = reach(World("Evaluate"), "evaluate").change(suspend=True).settle().change(suspend=False).settle()
    world.report("evaluate", attempt=1).settle()
    assert world.stage("evaluate")["state"] == "Running"


def test_a_run_created_suspended_starts_no_pod() -> None:
    world = World(suspend=True).settle()
    assert world.workloads == []
    assert world.conditions() == {"Ready": ("False", "Suspended")}
    world.change(suspend=False).settle()
    assert world.workloads == ["one-preflight"]
    assert world.stage("preflight")["attempt"] == 1


def test_suspending_twice_changes_nothing() -> None:
    world = reach(World("RL"), "rl").change(suspend=True).settle()
    assert not world.look().writes


def test_a_run_can_be_suspended_while_its_runtime_is_missing() -> None:
    world = reach(World("RL"), "rl")
    world.runtime = None
    world.change(suspend=True).settle()
    assert world.workloads == []
