"""From stage to stage: what exists when, and what each stage starts from."""

import json
from typing import Any

import pytest

from magistral_api.config import StageConfig
from magistral_api.names import PARADIGM_STAGES
from tests.unit.operator.world import (
    DIGEST,
    OUTPUTS,
    PREPARING,
    World,
    other,
    preparing,
    reach,
    runtime,
    succeed,
    teacher,
    with_prepare,
)


def config(world: World, part: str) -> StageConfig:
    return StageConfig.model_validate_json(world.child("ConfigMap", part)["data"]["config.json"])


@pytest.mark.parametrize("paradigm", list(PARADIGM_STAGES))
def test_every_paradigm_ends_ready_when_its_stages_succeed(paradigm: str) -> None:
    world = succeed(World(paradigm), PARADIGM_STAGES[paradigm])
    assert world.conditions() == {"Ready": ("True", "Succeeded")}
    assert world.status["phase"] == "Succeeded"
    assert [stage["state"] for stage in world.status["stages"]] == ["Succeeded"] * len(PARADIGM_STAGES[paradigm])


@pytest.mark.parametrize("paradigm", list(PARADIGM_STAGES))
def test_one_stage_runs_at_a_time_in_the_order_of_the_paradigm(paradigm: str) -> None:
    world, seen = World(paradigm).settle(), []
    while world.status["phase"] == "Running":
        running = [stage["name"] for stage in world.status["stages"] if stage["state"] == "Running"]
        seen += running
        assert running == [world.status["stage"]]
        world.report(running[0], **OUTPUTS[running[0]]).settle()
    assert tuple(seen) == PARADIGM_STAGES[paradigm]


@pytest.mark.parametrize("paradigm", PREPARING)
def test_prompts_are_prepared_after_preflight_where_one_file_asks_for_it(paradigm: str) -> None:
    world = preparing(World(paradigm))
    world.run["spec"]["rl"]["prompts"].insert(0, {"uri": "s3://magistral/plain.jsonl"})
    succeed(world, with_prepare(paradigm))
    assert [stage["name"] for stage in world.status["stages"]] == with_prepare(paradigm)
    assert world.conditions() == {"Ready": ("True", "Succeeded")}


@pytest.mark.parametrize("asked", [
    {"formatFilter": {}}, {"codeTests": {}}, {"languages": ["python"]}, {"difficulty": {"gradedBy": {"uri": "s3://magistral/graded"}}}])
def test_each_of_the_four_rules_asks_for_the_stage(asked: dict[str, Any]) -> None:
    world = World("RL")
    world.run["spec"]["rl"]["prompts"][0] |= asked
    assert [stage["name"] for stage in world.settle().status["stages"]] == with_prepare("RL")


def test_preparation_has_a_job_and_verifiers_and_no_generator() -> None:
    world = reach(preparing(World("RL")), "prepare")
    assert set(world.workloads) == {"one-preflight", "one-prepare", "one-verifier"}
    assert world.child("Deployment", "verifier")["spec"]["replicas"] == 2
    pod = world.child("Job", "prepare")["spec"]["template"]["spec"]
    assert {"name": "token", "secret": {"secretName": "one-token", "defaultMode": 0o440}} in pod["volumes"]
    assert world.tokens == 1


def test_verifiers_of_preparation_are_not_touched_when_rl_follows() -> None:
    world = reach(preparing(World("RL")), "prepare")
    before, configuration = world.child("Deployment", "verifier"), world.child("ConfigMap", "serving")
    reach(world, "rl")
    assert world.child("Deployment", "verifier") == before
    assert world.child("ConfigMap", "serving") == configuration
    assert world.tokens == 1


def test_verifiers_rest_between_preparation_and_selection() -> None:
    world = reach(preparing(World("SFTThenRL")), "curate")
    assert set(world.workloads) == {"one-preflight", "one-prepare", "one-curate"}
    assert set(reach(world, "select").workloads) >= SERVERS


def test_rl_reads_the_prepared_prompts() -> None:
    found = config(reach(preparing(World("SFTThenRL")), "rl"), "rl")
    assert found.prompts_uri == OUTPUTS["prepare"]["outputs"]["promptsUri"]


def test_a_run_without_preparation_has_no_trace_of_it() -> None:
    world = reach(World("SFTThenRL"), "rl")
    text = json.dumps([world.run, *world.children.values()])
    assert "prepare" not in text
    assert "promptsUri" not in text


def test_the_first_look_gives_a_status_and_the_preflight_job() -> None:
    world = World("RL")
    world.look()
    assert world.conditions() == {"Ready": ("False", "StageRunning"), "Reconciling": ("True", "StageRunning")}
    assert world.workloads == ["one-preflight"]
    assert world.status["observedGeneration"] == 1


@pytest.mark.parametrize(("paradigm", "first"), [("Evaluate", "evaluate"), ("RL", "rl"), ("SFTThenRL", "select")])
def test_the_token_is_created_once_with_the_first_pods_that_mount_it(paradigm: str, first: str) -> None:
    stages = PARADIGM_STAGES[paradigm]
    before, after = (reach(World(paradigm), stages[stages.index(first) - 1]), reach(World(paradigm), stages[-1]))
    assert (before.tokens, after.tokens) == (0, 1)


SERVERS = {"one-generator", "one-verifier"}
WORKLOADS: list[tuple[str, set[str]]] = [
    ("preflight", {"one-preflight"}),
    ("curate", {"one-preflight", "one-curate"}),
    ("sft", {"one-preflight", "one-curate", "one-sft"}),
    ("select", {"one-preflight", "one-curate", "one-sft", "one-select"} | SERVERS),
    ("rl", {"one-preflight", "one-curate", "one-sft", "one-select", "one-trainer", "one-conductor"} | SERVERS),
    ("evaluate", {"one-preflight", "one-curate", "one-sft", "one-select", "one-evaluate"} | SERVERS),
]


@pytest.mark.parametrize(("stage", "workloads"), WORKLOADS, ids=[stage for stage, _ in WORKLOADS])
def test_a_stage_has_the_workloads_it_needs_and_ended_jobs_keep_their_logs(stage: str, workloads: set[str]) -> None:
    assert set(reach(World("SFTThenRL"), stage).workloads) == workloads


def test_servers_are_not_touched_between_stages() -> None:
    world = reach(World("SFTThenRL"), "select")
    before = {part: world.child("Deployment", part) for part in ("generator", "verifier")}
    configuration = world.child("ConfigMap", "serving")
    world = reach(world, "evaluate")
    assert {part: world.child("Deployment", part) for part in before} == before
    assert world.child("ConfigMap", "serving") == configuration


def test_the_end_removes_long_lived_pods_and_keeps_jobs_with_their_logs() -> None:
    world = succeed(World("RL"), PARADIGM_STAGES["RL"])
    assert world.workloads == ["one-evaluate", "one-preflight"]


def test_a_job_that_does_not_end_after_its_report_is_removed_after_two_minutes() -> None:
    world = succeed(World("Evaluate"), PARADIGM_STAGES["Evaluate"])
    world.end_job("evaluate", "Complete").pass_time(121).settle()
    assert world.workloads == ["one-evaluate"]


def test_without_rl_one_generator_and_one_verifier_serve_evaluation() -> None:
    world = reach(World("Evaluate"), "evaluate")
    assert [world.child("Deployment", part)["spec"]["replicas"] for part in ("generator", "verifier")] == [1, 1]


def test_sft_reads_the_curated_data_set() -> None:
    assert config(reach(World("SFT"), "sft"), "sft").dataset_uri == OUTPUTS["curate"]["outputs"]["datasetUri"]


def test_curation_reads_the_ledger_of_the_teacher() -> None:
    found = config(reach(World("SFT"), "curate"), "curate")
    assert found.run_outputs == {"teacher": "s3://magistral/runs/uid-teacher/rl/rollouts"}


def test_curation_reads_the_answers_of_the_evaluate_runs_that_are_named_as_generations() -> None:
    world = World("SFT", curation={"generations": [{"runRef": {"name": "thoughts"}}, {"uri": "s3://magistral/answers"},
                                                   {"runRef": {"name": "code"}}]})
    world.named_runs = {name: other("Evaluate", name, "evaluate") for name in ("thoughts", "code")}
    found = config(reach(world, "curate"), "curate")
    assert found.run_outputs == {name: f"s3://magistral/runs/uid-{name}/evaluate/graded" for name in ("thoughts", "code")}
    assert found.spec.curation is not None
    assert [found.prefix_of(one) for one in found.spec.curation.generations] == [
        "s3://magistral/runs/uid-thoughts/evaluate/graded", "s3://magistral/answers",
        "s3://magistral/runs/uid-code/evaluate/graded"]


def test_preparation_waits_for_the_run_that_graded_its_prompts_and_reads_its_answers() -> None:
    world = World("RL")
    graded = {"difficulty": {"gradedBy": {"runRef": {"name": "grader"}}}}
    world.run["spec"]["rl"]["prompts"] = [{"uri": "s3://magistral/p.jsonl"} | graded]
    world.named_runs = {"grader": other("Evaluate", "grader", "evaluate", "Running")}
    succeed(world, ["preflight"])
    assert world.conditions()["Ready"] == ("False", "WaitingForRun")
    assert "spec.rl.prompts[0].difficulty.gradedBy.runRef" in world.message
    world.named_runs = {"grader": other("Evaluate", "grader", "evaluate")}
    assert config(reach(world, "prepare"), "prepare").run_outputs == {
        "grader": "s3://magistral/runs/uid-grader/evaluate/graded"}


def test_stages_that_read_no_other_run_hear_of_none() -> None:
    assert "runOutputs" not in reach(World("SFT"), "sft").child("ConfigMap", "sft")["data"]["config.json"]


def test_selection_compares_every_sft_checkpoint() -> None:
    candidates = config(reach(World("SFT"), "select"), "select").candidates
    assert {step: model.uri[-2:] for step, model in candidates.items()} == {"10": "10", "20": "20"}


def test_selection_knows_checkpoints_that_the_report_no_longer_lists() -> None:
    world = reach(World("SFT"), "sft")
    world.report("sft", "Running", **OUTPUTS["sft"]).settle()
    newest = [dict(OUTPUTS["sft"]["checkpoints"][1], step=30)]
    world.report("sft", checkpoints=newest).settle()
    assert list(config(world, "select").candidates) == ["10", "20", "30"]


def test_rl_starts_from_the_selected_checkpoint() -> None:
    model = config(reach(World("SFTThenRL"), "rl"), "rl").initial_model
    assert (model.uri, model.digest) == ("s3://magistral/runs/uid-one/sft/20", DIGEST)


def test_rl_alone_starts_from_the_base_model_with_the_digest_that_preflight_found() -> None:
    world = World("RL").settle().report("preflight", outputs={"baseModelDigest": DIGEST}).settle()
    model = config(world, "rl").initial_model
    assert (model.uri, model.digest) == ("s3://magistral/models/base", DIGEST)


COLUMNS: list[tuple[str, list[str]]] = [
    ("Evaluate", ["base"]), ("SFT", ["SFT", "base"]), ("RL", ["RL", "base"]), ("SFTThenRL", ["SFT", "SFT+RL", "base"])]


@pytest.mark.parametrize(("paradigm", "columns"), COLUMNS)
def test_evaluation_compares_the_models_of_the_paradigm(paradigm: str, columns: list[str]) -> None:
    assert sorted(config(reach(World(paradigm), "evaluate"), "evaluate").candidates) == columns


def test_servers_start_with_the_base_model_in_every_paradigm() -> None:
    world = reach(World("SFTThenRL"), "rl")
    assert config(world, "serving").initial_model.uri == "s3://magistral/models/base"
    assert config(world, "serving").stage == "rl"


def test_a_success_without_the_output_that_the_next_stage_needs_is_told() -> None:
    world = reach(World("SFT"), "curate").report("curate").settle()
    assert world.conditions()["Stalled"] == ("True", "MissingOutput")
    assert "stage curate" in world.message
    assert "outputs.datasetUri" in world.message


def test_outputs_survive_the_loss_of_the_progress_config_map() -> None:
    world = reach(World("SFT"), "sft")
    del world.children["ConfigMap", "one-progress"]
    world.settle()
    assert config(world, "sft").dataset_uri == OUTPUTS["curate"]["outputs"]["datasetUri"]


def test_progress_metrics_and_results_reach_the_status() -> None:
    world = reach(World("RL"), "rl")
    world.report("rl", "Running", step=12, totalSteps=40, rl={"policyVersion": 12, "reward": 0.5, "staleness": 1.5})
    world.settle()
    assert world.status["progress"] == "rl 12/40"
    assert world.status["rl"] == {"policyVersion": 12, "reward": 0.5, "staleness": 1.5}
    succeed(world, ("rl", "evaluate"))
    assert [row["name"] for row in world.status["results"]] == ["base/suite"]
    assert world.status["report"] == "s3://magistral/report.html"


def test_a_report_of_an_older_attempt_is_ignored() -> None:
    world = World("RL").settle().report("preflight", attempt=7).settle()
    assert world.stage("preflight")["state"] == "Running"


def test_a_report_that_cannot_be_read_is_told() -> None:
    world = World("RL").settle()
    world.child("ConfigMap", "progress")["data"] = {"preflight": json.dumps({"stage": "preflight", "state": "Odd"})}
    world.settle()
    assert world.conditions()["Stalled"] == ("True", "UnreadableReport")
    assert "one-progress, key preflight: state" in world.message


def test_reported_commits_become_checkpoints_and_the_newest_is_in_the_status() -> None:
    world = reach(World("SFTThenRL"), "rl").report("rl", "Running", **OUTPUTS["rl"]).settle()
    assert world.names("Checkpoint") == ["one-rl-000040", "one-sft-000010", "one-sft-000020"]
    assert world.status["latestCheckpoint"]["name"] == "one-rl-000040"
    ready = world.children["Checkpoint", "one-rl-000040"]["status"]["conditions"][0]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Committed")


def test_the_same_step_committed_again_replaces_the_checkpoint() -> None:
    world = reach(World("RL"), "rl").report("rl", "Running", **OUTPUTS["rl"]).settle()
    again = dict(OUTPUTS["rl"]["checkpoints"][0], digest="sha256:" + "b" * 64)
    world.report("rl", "Running", checkpoints=[again]).settle()
    assert world.children["Checkpoint", "one-rl-000040"]["spec"]["digest"] == again["digest"]


def test_a_student_waits_for_its_teacher_without_being_stalled() -> None:
    world = World("SFT")
    world.named_runs["teacher"] = teacher(rl="Running")
    world.settle().report("preflight").settle()
    assert world.conditions() == {"Ready": ("False", "WaitingForRun"), "Reconciling": ("True", "WaitingForRun")}
    assert "MagistralRun teacher" in world.message
    assert "one-curate" not in world.workloads
    world.named_runs["teacher"] = teacher()
    world.settle()
    assert "one-curate" in world.workloads


BOTH = {"teacher": {"runRef": {"name": "teacher"}}, "generations": [{"runRef": {"name": "answers"}}]}
ANSWERS = other("Evaluate", "answers", "evaluate")
WAITS: dict[str, tuple[dict[str, Any], str]] = {
    "a teacher that is not there": (
        {"answers": ANSWERS}, "spec.curation.teacher.runRef: there is no MagistralRun 'teacher'"),
    "a teacher that failed": (
        {"answers": ANSWERS, "teacher": teacher("Failed") | {"status": {"phase": "Failed"}}}, "has failed; delete it"),
    "a teacher without an RL stage": (
        {"answers": ANSWERS, "teacher": other("SFT", "teacher", "sft", "Running")},
        "has paradigm SFT, which leaves no rollouts; name a run of paradigm RL or SFTThenRL"),
    "a generation that is not there": (
        {"teacher": teacher()}, "spec.curation.generations[0].runRef: there is no MagistralRun 'answers'"),
    "a generation that is not done": (
        {"teacher": teacher(), "answers": other("Evaluate", "answers", "evaluate", "Running")},
        "when stage evaluate of MagistralRun answers has succeeded; that run is Running, stage evaluate"),
    "a generation whose run answers with several models": (
        {"teacher": teacher(), "answers": other("RL", "answers", "evaluate")},
        "has paradigm RL, which leaves no answers of one model; name a run of paradigm Evaluate"),
}


@pytest.mark.parametrize("case", list(WAITS))
def test_the_wait_says_what_to_do_about(case: str) -> None:
    world = World("SFT", curation=BOTH)
    world.named_runs, words = WAITS[case]
    world.settle().report("preflight").settle()
    assert world.conditions()["Reconciling"][1] == "WaitingForRun"
    assert words in world.message
    assert "one-curate" not in world.workloads


def test_what_is_given_as_a_prefix_needs_no_run() -> None:
    world = World("SFT", curation={"teacher": {"uri": "s3://magistral/ledger"}, "generations": [{"uri": "s3://magistral/a"}]})
    world.named_runs = {}
    assert config(reach(world, "curate"), "curate").run_outputs is None


def test_the_runtime_decides_device_and_processes() -> None:
    world = World("RL")
    world.runtime = runtime(spec={"device": "cuda", "processesPerPod": 8})
    found = config(reach(world, "rl"), "rl")
    assert (found.device, found.processes_per_pod) == ("cuda", 8)


def test_a_reward_that_is_not_a_number_is_left_out_and_loses_nothing_else() -> None:
    nan = float("nan")
    world = reach(World("RL"), "rl")
    commits = [dict(OUTPUTS["rl"]["checkpoints"][0], metrics={"loss": nan, "reward": 0.5})]
    world.report("rl", "Running", step=3, totalSteps=40, rl={"policyVersion": 3, "reward": nan}, checkpoints=commits)
    world.settle()
    assert world.status["rl"] == {"policyVersion": 3}
    assert world.status["progress"] == "rl 3/40"
    assert world.children["Checkpoint", "one-rl-000040"]["spec"]["metrics"] == {"reward": 0.5}
