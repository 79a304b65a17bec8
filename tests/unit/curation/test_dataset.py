"""From a teacher's ledger and generations in a real store to a data set."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from magistral_api.names import curation_report_key, dataset_key, ledger_prefix
from magistral_api.problems import Problem, RewardParts, RolloutRecord, SftRow
from magistral_api.runtime import Storage
from magistral_workloads.evaluation.answers import GradedAnswer
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.curate import Made, make
from magistral_workloads.storage import ObjectStore
from tests.unit.config import UID, stage_config

TEACHER = "7eac"


def record(problem: str, group: int, index: int, *, passed: bool = True, step: int = 5, end: str = "stop") -> RolloutRecord:
    return RolloutRecord(
        problem_id=problem, group=group, index=index, trained_step=step, rank=0, outcome="pass" if passed else "fail",
        reward=RewardParts(), prompt_tokens=[1], completion_tokens=[1, 2, 3], logprobs=[0.0, -0.1, -0.2],
        versions=[(step, 3)], finish_reason=end, text=f"<think>{problem}</think> \\boxed{{{group}.{index} é}}",
        prompt=f"Do {problem}")


def lines(*rows: object) -> bytes:
    return b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in rows)  # type: ignore[attr-defined]


def answer(suite: str, problem: str, run: int, *, passed: bool = True, truncated: bool = False, prompt: str = "",
           completion: str = "") -> GradedAnswer:
    return GradedAnswer(
        model="base", suite=suite, problem_id=problem, kind="code" if suite == "code" else "maths", run=run, passed=passed,
        answer=None, tokens=3, truncated=truncated, prompt=prompt or f"Solve {problem}",
        completion=completion or f"<think>{suite} {problem}</think>\\boxed{{{run}}}")


def generation(s3: ObjectStore, *parts: Sequence[GradedAnswer]) -> str:
    """Answers in the store, as an Evaluate run leaves them; returns their prefix."""
    for suite in {one.suite for part in parts for one in part}:
        for number, part in enumerate(parts):
            s3.put(f"graded/base/{suite}/{number:06d}.jsonl", lines(*[one for one in part if one.suite == suite]))
    return s3.uri("graded")


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
    teacher = {"teacher": {"uri": s3.uri(ledger_prefix(TEACHER))}}
    config = stage_config("curate", storage, curation=teacher | curation)
    return make(config, s3, scratch, lambda files, of, completions: None)


def rows_of(s3: ObjectStore) -> list[SftRow]:
    return [SftRow.model_validate_json(line) for line in s3.get(dataset_key(UID)).splitlines()]


def report(s3: ObjectStore) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(s3.get(curation_report_key(UID)))
    return found


def test_the_data_set_has_the_teachers_own_words_and_the_report_says_why(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    made = curated(s3, s3_storage, tmp_path, excludeSteps={"before": 2},
                   generalInstruction={"uri": s3.uri("general.jsonl"), "fraction": 0.5})
    assert made.uri == s3.uri(dataset_key(UID))
    rows = rows_of(s3)
    assert len({row.id for row in rows}) == len(rows)
    teacher = [row for row in rows if row.source == "teacher"]
    assert {row.prompt for row in teacher} == {"Do a", "Do b"}
    assert {row.response for row in teacher if row.prompt == "Do b"} == {"<think>b</think> \\boxed{2.0 é}"}
    assert len({row.response for row in teacher if row.prompt == "Do a"}) == 4
    assert len(rows) == 2 * len(teacher)
    said = report(s3)
    assert said["rows"] == len(rows)
    assert said["sha256"] == made.sha256
    assert {step["name"]: step["dropped"] for step in said["funnel"]} == {
        "read": 0, "prompt": 0, "excludeSteps.before": 2, "graded": 0, "correct": 3, "truncated": 0, "format": 0,
        "excludeSteps.minCompletionTokens": 0, "decontamination": 1, "decontamination.ngram": 0,
        "maxGenerationsPerProblem": 2, "upsampleLowPassRates": 0, "generalInstruction": 0}
    assert said["problemsByPassRate"]["1.0"] == 2


THOUGHTS = [answer("maths", "x", run) for run in range(3)] + [answer("maths", "y", run, passed=run == 0) for run in range(3)]


def test_generations_are_taken_beside_the_ledger_and_counted_apart(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    uri = generation(s3, THOUGHTS)
    curated(s3, s3_storage, tmp_path, generations=[{"uri": uri}], upsampleLowPassRates=False)
    rows, said = rows_of(s3), report(s3)
    assert Counter(row.prompt for row in rows) == {"Do early": 2, "Do a": 4, "Do b": 1, "Solve x": 3, "Solve y": 1}
    assert {row.source for row in rows} == {"teacher"}
    assert len({row.id for row in rows}) == len(rows)
    assert {row.response for row in rows if row.prompt == "Solve y"} == {"<think>maths y</think>\\boxed{0}"}
    assert said["sources"] == {"teacher": s3.uri(ledger_prefix(TEACHER)), "generations[0]": uri}
    left = {step["name"]: step["sources"] for step in said["funnel"]}
    assert left["read"] == {"teacher": 13, "generations[0]": 6}
    assert left["correct"] == {"teacher": 10, "generations[0]": 4}
    assert left["upsampleLowPassRates"] == {"teacher": 7, "generations[0]": 4}


def test_generations_do_without_a_teacher_and_come_from_where_the_operator_found_the_run(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    uri = generation(s3, THOUGHTS)
    named = {"generations": [{"runRef": {"name": "thoughts"}}]}
    config = stage_config("curate", s3_storage, curation=named, run_outputs={"thoughts": uri})
    make(config, s3, tmp_path, lambda files, of, completions: None)
    assert {row.prompt for row in rows_of(s3)} == {"Solve x", "Solve y"}
    with pytest.raises(UserFault, match=r"spec\.curation\.generations\[0\]\.runRef: found no MagistralRun 'thoughts'"):
        make(stage_config("curate", s3_storage, curation=named), s3, tmp_path, lambda files, of, completions: None)


def test_answers_that_are_cut_or_of_another_form_or_close_to_a_suite_are_left_out_each_by_its_rule(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    question = "What is the sum of all positive integers n for which n squared plus one is prime?"
    s3.put("suites/aime24.jsonl", lines(Problem(id="1", kind="maths", prompt=question, answer="1")))
    s3.put(f"{ledger_prefix(TEACHER)}/000003.jsonl", lines(record("c", 4, 0, end="length")))
    code = "<think>read</think>\n```python\nprint(1)\n```\n"
    uri = generation(s3, [
        answer("maths", "cut", 0, truncated=True), answer("maths", "unthinking", 0, completion="\\boxed{1}"),
        answer("maths", "program", 0, completion=code), answer("code", "program", 0, prompt="Print 1", completion=code),
        answer("code", "unboxed", 0), answer("maths", "same", 0, prompt=question.upper()),
        answer("maths", "like", 0, prompt=f"Think hard. {question}")])
    curated(s3, s3_storage, tmp_path, generations=[{"uri": uri}])
    assert {row.prompt for row in rows_of(s3)} == {"Do early", "Do a", "Do b", "Do known", "Print 1"}
    took = {step["name"]: step["dropped"] for step in report(s3)["funnel"] if step["dropped"]}
    assert {"truncated": 2, "format": 3, "decontamination": 1, "decontamination.ngram": 1}.items() <= took.items()


def test_the_same_seed_gives_the_same_bytes(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prepare(s3)
    mix = {"generations": [{"uri": generation(s3, THOUGHTS)}], "generalInstruction": {"uri": s3.uri("general.jsonl")}}
    first, again = (curated(s3, s3_storage, tmp_path, **mix).sha256 for _ in range(2))
    # Another evaluation of the same answers: they came in another order, in other parts.
    generation(s3, THOUGHTS[4:], THOUGHTS[:4])
    assert first == again == curated(s3, s3_storage, tmp_path, **mix).sha256


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
