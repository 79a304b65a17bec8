"""Failures: whose fault it is, what is tried again, and when a run ends."""

import pytest

from tests.unit.operator.world import World, reach


def test_a_failed_preflight_is_told_with_its_remedy() -> None:
    world = World().settle().report("preflight", "Failed", reason="BucketNotFound", message="make the bucket").settle()
    assert world.conditions() == {"Ready": ("False", "BucketNotFound"), "Stalled": ("True", "BucketNotFound")}
    assert world.message == "make the bucket"


def test_preflight_is_tried_again_with_growing_back_off_and_never_gives_up() -> None:
    world = World(failurePolicy={"maxRestarts": 0}).settle()
    waits = []
    for _ in range(6):
        plan = world.report("preflight", "Failed", message="no").look()
        assert plan.requeue_after is not None
        waits.append(plan.requeue_after)
        world.settle().pass_time(plan.requeue_after).settle()
    assert waits == [5, 10, 20, 40, 60, 60]
    assert world.stage("preflight")["attempt"] == 7
    assert world.status["phase"] == "Running"


def test_the_condition_of_a_failed_preflight_stays_while_it_is_tried_again() -> None:
    world = World().settle().report("preflight", "Failed", reason="BucketNotFound", message="no").settle()
    since = world.status["conditions"][1]["lastTransitionTime"]
    world.pass_time(5).settle()
    assert world.stage("preflight")["state"] == "Running"
    assert world.conditions()["Stalled"] == ("True", "BucketNotFound")
    assert world.status["conditions"][1]["lastTransitionTime"] == since


def test_a_repaired_store_lets_the_run_go_on() -> None:
    world = World().settle().report("preflight", "Failed", message="no").settle().pass_time(5).settle()
    world.report("preflight").settle()
    assert world.status["stage"] == "rl"
    assert "Stalled" not in world.conditions()


def test_a_preflight_that_dies_without_a_word_is_told_and_tried_again() -> None:
    world = World().settle().exit_with("p", 137, stage="preflight", attempt=1).end_job("preflight").settle()
    assert world.conditions()["Stalled"] == ("True", "AttemptFailed")
    assert "exit code 137" in world.message


def test_exit_code_64_ends_the_run_at_once_with_the_words_of_the_process() -> None:
    world = reach(World("Evaluate"), "evaluate")
    world.exit_with("w", 64, "loading\nsuite s3://x: line 3: no answer", stage="evaluate", attempt=1).settle()
    assert world.status["phase"] == "Failed"
    assert world.conditions() == {"Ready": ("False", "BadInput"), "Stalled": ("True", "BadInput")}
    assert "suite s3://x: line 3: no answer" in world.message


def test_the_report_of_a_user_fault_goes_before_the_log() -> None:
    world = reach(World("Evaluate"), "evaluate")
    world.report("evaluate", "Failed", reason="SuiteNotFound", message="suite aime is not in the store")
    world.exit_with("w", 64, "traceback", stage="evaluate", attempt=1).settle()
    assert world.conditions()["Ready"] == ("False", "SuiteNotFound")
    assert "suite aime is not in the store" in world.message


@pytest.mark.parametrize("role", ["trainer", "conductor", "generator"])
def test_exit_code_64_of_any_role_ends_the_run(role: str) -> None:
    stage = "rl" if role in ("trainer", "conductor") else None
    world = reach(World("RL"), "rl")
    world.exit_with("w", 64, "bad prompts", role=role, stage=stage, attempt=1 if stage else None).settle()
    assert world.status["phase"] == "Failed"


def test_a_pod_of_an_earlier_attempt_says_nothing_about_this_one() -> None:
    world = reach(World("Evaluate"), "evaluate").exit_with("w", 64, stage="evaluate", attempt=9).settle()
    world.exit_with("p", 64, stage="preflight", attempt=1).settle()
    assert world.status["phase"] == "Running"


def test_an_infrastructure_fault_is_tried_again_after_a_back_off() -> None:
    world = reach(World("Evaluate"), "evaluate")
    world.exit_with("w", 1, "connection reset", stage="evaluate", attempt=1).end_job("evaluate").settle()
    assert world.conditions() == {"Ready": ("False", "Retrying"), "Reconciling": ("True", "Retrying")}
    assert "connection reset" in world.message
    assert world.stage("evaluate")["restarts"] == 1
    world.pass_time(10).settle().settle()
    assert world.stage("evaluate")["attempt"] == 2
    assert world.child("Job", "evaluate")["metadata"]["labels"]["training.magistral.dev/attempt"] == "2"


def test_the_failed_job_stays_with_its_log_until_the_next_attempt() -> None:
    world = reach(World("Evaluate"), "evaluate").end_job("evaluate").settle()
    assert "one-evaluate" in world.workloads


def test_servers_stay_while_a_stage_waits_to_be_tried_again() -> None:
    world = reach(World("Evaluate"), "evaluate").end_job("evaluate").settle()
    assert world.names("Deployment") == ["one-generator", "one-verifier"]


def test_more_failures_than_max_restarts_end_the_run() -> None:
    world = reach(World("Evaluate", failurePolicy={"maxRestarts": 2}), "evaluate")
    for _ in range(3):
        world.end_job("evaluate", message="BackoffLimitExceeded").settle().pass_time(300).settle().settle()
    assert world.status["phase"] == "Failed"
    assert world.conditions()["Ready"] == ("False", "TooManyRestarts")
    assert world.stage("evaluate")["restarts"] == 2
    assert world.names("Deployment") == []


def test_a_job_that_ends_well_without_a_report_is_tried_again_after_a_grace() -> None:
    world = reach(World("Evaluate"), "evaluate").end_job("evaluate", "Complete").settle()
    assert world.stage("evaluate")["state"] == "Running"
    world.pass_time(30).settle()
    assert world.stage("evaluate")["reason"] == "NoReport"


def test_trainers_that_restart_too_often_fail_the_run() -> None:
    world = reach(World("RL", failurePolicy={"maxRestarts": 1}), "rl")
    crashed = {"name": "main", "restartCount": 2, "state": {"running": {}},
               "lastState": {"terminated": {"exitCode": 1, "message": "NCCL error"}}}
    world.pod("one-trainer-0", role="trainer", stage="rl", attempt=1).settle()
    world.pod("one-trainer-0", role="trainer", stage="rl", attempt=1, container=crashed).settle()
    assert world.conditions()["Ready"] == ("False", "TooManyRestarts")
    assert "NCCL error" in world.message


@pytest.mark.parametrize("role", ["generator", "verifier", "conductor"])
def test_restarts_of_other_roles_are_counted_and_never_fail_the_run(role: str) -> None:
    world = reach(World("RL", failurePolicy={"maxRestarts": 0}), "rl")
    labels = {"stage": "rl", "attempt": 1} if role == "conductor" else {}
    for count in range(5):
        container = {"name": "main", "restartCount": count, "state": {"running": {}}}
        world.pod("p", role=role, container=container, **labels).settle()
    assert world.role(role)["restarts"] == 4
    assert world.status["phase"] == "Running"


def test_the_deadline_ends_the_run() -> None:
    world = World(activeDeadline="1h").settle().pass_time(3599).settle()
    assert world.status["phase"] == "Running"
    world.pass_time(1).settle()
    assert world.conditions()["Ready"] == ("False", "DeadlineExceeded")
    assert world.workloads == []


def test_the_operator_wakes_up_for_the_deadline() -> None:
    world = World(activeDeadline="1h").settle().pass_time(3000)
    assert world.look().requeue_after == 600


def test_a_finished_run_is_deleted_when_its_time_to_live_is_over() -> None:
    world = World(activeDeadline="1s", ttlAfterFinished="1h").settle().pass_time(1).settle()
    assert world.look().requeue_after == 3600
    assert not world.deleted
    world.pass_time(3600).look()
    assert world.deleted


def test_a_trainer_that_ended_well_is_no_fault_while_the_report_is_on_its_way() -> None:
    world = reach(World("RL", failurePolicy={"maxRestarts": 0}), "rl")
    world.pod("one-trainer-0", role="trainer", stage="rl", attempt=1).settle()
    world.pod("one-trainer-0", role="trainer", stage="rl", attempt=1, container={
        "name": "main", "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 0}}})
    assert world.settle().status["phase"] == "Running"
