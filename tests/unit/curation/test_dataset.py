"""From a teacher's ledger in a real store to a data set."""

import json
from pathlib import Path

import pytest

from magistral_api.names import curation_report_key, dataset_key, ledger_prefix
from magistral_api.problems import Problem, RewardParts, RolloutRecord, SftRow
from magistral_api.runtime import Storage
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.curate import Made, make
from magistral_workloads.storage import ObjectStore
from tests.unit.config import UID, stage_config

TEACHER = "7eac"


def record(problem: str, group: int, index: int, *, passed: bool = True, step: int = 5) -> RolloutRecord:
    return RolloutRecord(
        problem_id=problem, group=group, index=index, trained_step=step, rank=0, outcome="pass" if passed else "fail",
        reward=RewardParts(), prompt_tokens=[1], completion_tokens=[1, 2, 3], logprobs=[0.0, -0.1, -0.2],
        versions=[(step, 3)], finish_reason="stop", text=f"<think>{problem}</think> {group}.{index} é",
        prompt=f"Do {problem}")


def lines(*rows: object) -> bytes:
    return b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in rows)  # type: ignore[attr-defined]


def prepare(s3: ObjectStore) -> None:
    """A ledger of two steps and an evaluation suite that holds one of its prompts."""
    s3.put(f"{ledger_prefix(TEACHER)}/000001.jsonl", lines(
        *[record("early", 0, index, step=1) for index in range(2)], *[record("a", 1, index) for index in range(6)]))
    s3.put(f"{ledger_prefix(TEACHER)}/000002.jsonl", lines(
        *[record("b", 2, index, passed=index == 0) for index in range(4)], record("known", 3, 0)))
    s3.put("suites/aime24.jsonl", lines(Problem(id="1", kind="maths", prompt="do  KNOWN", answer="1")))
    s3.put("general.jsonl", b"".join(json.dumps({"prompt": f"g{n}", "response": "r", "extra": n}).encode() + b"\n"
                                     for n in range(50)))


def curated(s3: ObjectStore, storage: Storage, scratch: Path, **curation: object) -> Made:
    uri = s3.uri(ledger_prefix(TEACHER))
    config = stage_config("curate", storage, teacher_uri=uri, curation={"teacher": {"uri": uri}} | curation)
    return make(config, s3, scratch, lambda files, of, completions: None)


def test_the_data_set_has_the_teachers_own_words_and_the_report_says_why(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    made = curated(s3, s3_storage, tmp_path, excludeSteps={"before": 2},
                   generalInstruction={"uri": s3.uri("general.jsonl"), "fraction": 0.5})
    assert made.uri == s3.uri(dataset_key(UID))
    rows = [SftRow.model_validate_json(line) for line in s3.get(dataset_key(UID)).splitlines()]
    assert len({row.id for row in rows}) == len(rows)
    teacher = [row for row in rows if row.source == "teacher"]
    assert {row.prompt for row in teacher} == {"Do a", "Do b"}
    assert {row.response for row in teacher if row.prompt == "Do b"} == {"<think>b</think> 2.0 é"}
    assert len({row.response for row in teacher if row.prompt == "Do a"}) == 4
    assert len(rows) == 2 * len(teacher)
    report = json.loads(s3.get(curation_report_key(UID)))
    assert report["rows"] == len(rows)
    assert report["sha256"] == made.sha256
    assert {step["name"]: step["dropped"] for step in report["funnel"]} == {
        "read": 0, "excludeSteps.before": 2, "graded": 0, "correct": 3, "excludeSteps.minCompletionTokens": 0,
        "prompt": 0, "decontamination": 1, "maxGenerationsPerProblem": 2, "upsampleLowPassRates": 0,
        "generalInstruction": 0}
    assert report["problemsByPassRate"]["1.0"] == 2


def test_the_same_seed_gives_the_same_bytes(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    first, again = (curated(s3, s3_storage, tmp_path).sha256 for _ in range(2))
    assert first == again


def test_a_ledger_without_a_correct_trace_is_refused_with_the_funnel(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    with pytest.raises(UserFault) as fault:
        curated(s3, s3_storage, tmp_path, excludeSteps={"before": 100})
    assert fault.value.reason == "NoTraces"
    assert "excludeSteps.before: 0 left" in fault.value.message
    assert s3.head(dataset_key(UID)) is None


def test_a_broken_line_of_the_ledger_is_named(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    key = f"{ledger_prefix(TEACHER)}/000003.jsonl"
    s3.put(key, lines(record("c", 4, 0)) + b'{"problemId": "d"}\n')
    with pytest.raises(UserFault) as fault:
        curated(s3, s3_storage, tmp_path)
    assert fault.value.reason == "TracesInvalid"
    assert f"{s3.uri(key)} line 2: field group" in fault.value.message


def test_a_suite_that_is_not_there_is_named(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    s3.delete("suites/aime24.jsonl")
    with pytest.raises(UserFault) as fault:
        curated(s3, s3_storage, tmp_path)
    assert fault.value.reason == "SuiteNotFound"
    assert s3.uri("suites/aime24.jsonl") in fault.value.message


def test_a_fraction_that_leaves_no_room_for_traces_is_refused(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    with pytest.raises(UserFault) as fault:
        curated(s3, s3_storage, tmp_path, generalInstruction={"uri": s3.uri("general.jsonl"), "fraction": 1})
    assert fault.value.reason == "GeneralDataInvalid"
    assert "spec.curation.generalInstruction.fraction" in fault.value.message
