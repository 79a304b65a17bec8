"""Suspend releases every pod and keeps the state; resume goes on from there."""

from tests.unit.operator.world import World, reach


def test_suspend_removes_every_workload_of_the_running_stage() -> None:
    world = reach(World("RL"), "rl").change(suspend=True).settle()
    assert world.workloads == []
    assert world.status["phase"] == "Suspended"


def test_suspend_keeps_jobs_that_have_ended_with_their_logs() -> None:
    world = reach(World("RL").settle().end_job("preflight", "Complete"), "rl").change(suspend=True).settle()
    assert world.workloads == ["one-preflight"]


def test_suspending_until_the_pods_are_gone_then_resting() -> None:
    world = reach(World("RL"), "rl").pod("one-trainer-0", role="trainer", stage="rl").change(suspend=True).settle()
    assert world.conditions() == {"Ready": ("False", "Suspending"), "Reconciling": ("True", "Suspending")}
    world.pods.clear()
    world.settle()
    assert world.conditions() == {"Ready": ("False", "Suspended")}


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
