"""Failures: whose fault it is, what is tried again, and when a run ends."""

import pytest

from magistral_api.names import PARADIGM_STAGES
from tests.unit.operator.world import World, reach, succeed


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


def test_a_fault_of_the_process_is_tried_again_after_a_back_off() -> None:
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
    for attempt in range(1, 4):
        world.exit_with("w", 1, stage="evaluate", attempt=attempt).end_job("evaluate").settle()
        world.pass_time(300).settle().settle()
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


def trainers(world: World, *restarts: int, attempt: int = 1) -> World:
    """The trainers with so many restarts of their containers."""
    for rank, count in enumerate(restarts):
        ended = {"lastState": {"terminated": {"exitCode": 1, "message": "NCCL error"}}} if count else {}
        world.pod(f"one-trainer-{rank}", role="trainer", stage="rl", attempt=attempt, ready=True, container={
            "name": "main", "restartCount": count, "state": {"running": {}}} | ended)
    return world.settle()


def counters(world: World, stage: str) -> tuple[int, int]:
    return world.stage(stage)["restarts"], world.stage(stage)["infrastructureRestarts"]


def test_trainers_that_restart_in_place_without_a_new_step_start_anew_as_a_group() -> None:
    world = trainers(reach(World("RL"), "rl"), 0, 0)
    servers = {key: child for key, child in world.children.items() if key[0] == "Deployment"}
    trainers(trainers(world, 1, 1), 2, 2)
    assert world.conditions()["Reconciling"] == ("True", "Retrying")
    assert world.workloads == ["one-generator", "one-preflight", "one-verifier"]
    assert "without a new step; last: exit code 1: NCCL error" in world.message
    world.pods.clear()
    world.pass_time(20).settle()
    assert (world.stage("rl")["attempt"], counters(world, "rl")) == (2, (2, 0))
    for part in ("trainer", "conductor"):
        assert world.child("StatefulSet", part)["metadata"]["labels"]["training.magistral.dev/attempt"] == "2"
    assert {key: child for key, child in world.children.items() if key[0] == "Deployment"} == servers
    trainers(trainers(world, 0, 0, attempt=2), 1, 1, attempt=2)
    assert (world.stage("rl")["attempt"], counters(world, "rl")) == (2, (3, 0))


def test_trainers_that_make_a_step_between_two_crashes_heal_in_place() -> None:
    world = trainers(reach(World("RL"), "rl"), 0, 0)
    for crash in (1, 2, 3):
        trainers(world.report("rl", "Running", step=crash), crash, crash)
    assert (world.stage("rl")["attempt"], counters(world, "rl")) == (1, (3, 0))


def test_lost_trainers_have_a_limit_of_their_own() -> None:
    world = trainers(reach(World("RL", failurePolicy={"maxRestarts": 0, "maxInfrastructureRestarts": 1}), "rl"), 0, 0)
    world.end("one-trainer-0").settle()
    world.pods["one-trainer-0"]["metadata"]["uid"] = "second"
    trainers(world, 0, 1)
    assert (world.status["phase"], counters(world, "rl")) == ("Running", (0, 1))
    world.end("one-trainer-1").settle()
    assert world.conditions()["Ready"] == ("False", "TooManyInfrastructureRestarts")
    assert "failurePolicy.maxInfrastructureRestarts 1" in world.message


def test_lost_servers_change_nothing_of_the_trainers() -> None:
    world = trainers(reach(World("RL", failurePolicy={"maxRestarts": 0, "maxInfrastructureRestarts": 0}), "rl"), 0, 0)
    before = {key: child for key, child in world.children.items() if key[0] == "StatefulSet"}
    for turn in range(5):
        for role in ("generator", "verifier"):
            world.pod(role, role=role, uid=f"{role}-{turn}")
        world.settle()
    assert {key: child for key, child in world.children.items() if key[0] == "StatefulSet"} == before
    assert world.role("generator")["infrastructureRestarts"] == world.role("verifier")["infrastructureRestarts"] == 4
    assert world.status["phase"] == "Running"


def test_a_job_that_breaks_off_because_a_pod_was_lost_counts_as_infrastructure() -> None:
    world = reach(World("SFT", failurePolicy={"maxRestarts": 0}), "sft")
    for rank in (0, 1):
        world.pod(f"s{rank}", role="trainer", stage="sft", attempt=1)
    world.end("s1").settle()
    del world.pods["s1"]
    world.exit_with("s0", 1, "connection reset", role="trainer", stage="sft", attempt=1).end_job("sft").settle()
    assert (world.status["phase"], counters(world, "sft")) == ("Running", (0, 1))


def test_a_job_whose_pods_are_ended_because_it_failed_counts_as_what_failed_it() -> None:
    world = reach(World("SFT"), "sft")
    world.exit_with("s0", 1, "no such column", role="trainer", stage="sft", attempt=1)
    world.pod("s1", role="trainer", stage="sft", attempt=1).end("s1").end_job("sft").settle()
    assert counters(world, "sft") == (1, 0)


def test_a_failed_job_without_a_pod_to_say_why_counts_as_infrastructure() -> None:
    world = reach(World("Evaluate", failurePolicy={"maxInfrastructureRestarts": 0}), "evaluate")
    world.end_job("evaluate").settle()
    assert world.conditions()["Ready"] == ("False", "TooManyInfrastructureRestarts")


def test_kinds_of_faults_are_counted_apart() -> None:
    world = reach(World("Evaluate"), "evaluate")
    world.exit_with("w", 1, stage="evaluate", attempt=1).end_job("evaluate").settle().pass_time(10).settle().settle()
    world.exit_with("w", 137, stage="evaluate", attempt=2, node="n").lose("n").end_job("evaluate").settle()
    assert counters(world, "evaluate") == (1, 1)


def test_a_failed_run_keeps_its_pods_for_debugging_where_that_is_asked_for() -> None:
    world = reach(World("RL", failurePolicy={"onFailure": "KeepPods"}, ttlAfterFinished="1h"), "rl")
    before = world.workloads
    world.exit_with("one-trainer-0", 64, "bad prompts", role="trainer", stage="rl", attempt=1).settle()
    assert world.status["phase"] == "Failed"
    assert world.workloads == before
    assert "its pods are kept (failurePolicy.onFailure KeepPods) until 1h after its end" in world.message
    world.pass_time(3600).look()
    assert world.deleted


def test_kept_pods_go_when_their_user_has_seen_enough() -> None:
    world = reach(World("RL", failurePolicy={"onFailure": "KeepPods"}), "rl")
    world.exit_with("one-trainer-0", 64, role="trainer", stage="rl", attempt=1).settle()
    world.change(failurePolicy={"onFailure": "Delete"}).settle()
    assert world.names("StatefulSet", "Deployment") == []


def test_a_deadline_frees_the_pods_of_a_run_that_would_keep_them() -> None:
    world = reach(World("RL", failurePolicy={"onFailure": "KeepPods"}, activeDeadline="1h"), "rl").pass_time(3600).settle()
    assert world.conditions()["Ready"] == ("False", "DeadlineExceeded")
    assert world.names("StatefulSet", "Deployment") == []


def test_a_run_that_succeeded_keeps_no_pods() -> None:
    world = succeed(World("RL", failurePolicy={"onFailure": "KeepPods"}), PARADIGM_STAGES["RL"])
    assert world.names("StatefulSet", "Deployment") == []


def test_the_deadline_also_ends_a_run_that_waits_for_its_next_attempt() -> None:
    world = trainers(reach(World("RL", activeDeadline="1h"), "rl"), 0, 0)
    world.pass_time(3595)
    trainers(world, 2, 2)
    assert world.conditions()["Reconciling"] == ("True", "Retrying")
    world.pass_time(5).settle()
    assert world.conditions()["Ready"] == ("False", "DeadlineExceeded")
