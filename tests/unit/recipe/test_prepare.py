"""From files of prompts in a real store to the prompts that RL reads; a stand-in runs the solutions."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from magistral_api.names import preparation_report_key, prompts_key, run_prefix
from magistral_api.problems import CodeTest, Problem, Solution
from magistral_api.runtime import Storage
from magistral_workloads.conductor.setting import read_problems, settings
from magistral_workloads.conductor.verifier import UngradableError, verifier
from magistral_workloads.contracts import RUNS_AT_ONCE
from magistral_workloads.evaluation.answers import GradedAnswer
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.prepare import Prepared, make
from magistral_workloads.storage import ObjectStore
from tests.unit.conductor.standins import HEADERS, VerifierStandIn, at
from tests.unit.config import UID, stage_config

MATHS = [
    Problem(id="good", kind="maths", prompt="What is 2+2?", answer="4"),
    Problem(id="choice", kind="maths", prompt="What is 2+3? (A) 4 (B) 5 (C) 6", answer="B"),
    Problem(id="easy", kind="maths", prompt="What is 1+1?", answer="2"),
    Problem(id="wrong", kind="maths", prompt="What is 2+1?", answer="4"),
    Problem(id="proof", kind="maths", prompt="Prove it.", answer="4"),
    Problem(id="unanswered", kind="maths", prompt="What is 3+3?", answer="6"),
]
ANSWERS = {"good": ["4", "4", "7", "8"], "choice": ["5", "1", "2", "3"], "easy": ["2"] * 4, "wrong": ["4", "3", "3", "3"]}
DOUBLE, TRIPLE, BROKEN = "double", "triple", "broken"


def prints(source: str, text: str) -> str | None:
    """What the stand-in's three programs make of a number."""
    factor = {DOUBLE: 2, TRIPLE: 3}.get(source)
    return None if factor is None else str(factor * int(text))


def program(name: str, tests: dict[str, str], *sources: str, **fields: Any) -> Problem:
    return Problem(id=name, kind="code", prompt=f"Do {name}.", tests=[
        CodeTest(stdin=stdin, stdout=stdout) for stdin, stdout in tests.items()], solutions=[
        Solution(language="python", source=source) for source in sources]).model_copy(update=fields)


CODE = [
    program("doubled", {"1": "2", "2": "5", "3": "6"}, DOUBLE, DOUBLE, TRIPLE),
    program("disputed", {"1": "2"}, DOUBLE, TRIPLE),
    program("alone", {"1": "2"}, DOUBLE),
    program("broken", {"1": "2"}, DOUBLE, BROKEN, BROKEN),
    program("untested", {}, DOUBLE, DOUBLE),
    Problem(id="checked", kind="code", prompt="Do it.", check="def check(candidate): ...", entry_point="f"),
]
RULES = {"minAgreement": 0.6, "minSolutions": 2, "minTests": 1}


def put(s3: ObjectStore, name: str, problems: list[Problem]) -> str:
    key = f"prompts/{name}.jsonl"
    s3.put(key, b"".join(problem.model_dump_json(by_alias=True).encode() + b"\n" for problem in problems))
    return s3.uri(key)


def graded(problem: Problem, run: int, answer: str, right: str | None, suite: str = "prompts") -> bytes:
    return GradedAnswer(
        model="base", suite=suite, problem_id=problem.id, kind="maths", run=run, passed=answer == right, answer=answer,
        tokens=9, truncated=False, prompt=problem.prompt, completion="").model_dump_json(by_alias=True).encode() + b"\n"


def put_answers(s3: ObjectStore) -> str:
    """As an evaluation leaves them, a part a problem."""
    for part, (name, answers) in enumerate(ANSWERS.items()):
        problem = next(problem for problem in MATHS if problem.id == name)
        right = {"choice": "5"}.get(name, problem.answer)
        s3.put(f"graded/base/prompts/{part:06d}.jsonl",
               b"".join(graded(problem, run, answer, right) for run, answer in enumerate(answers)))
    return s3.uri("graded")


async def prepared(s3: ObjectStore, storage: Storage, scratch: Path, *prompts: dict[str, Any],
                   standin: VerifierStandIn | None = None, **fields: Any) -> Prepared:
    config = stage_config("prepare", storage, spec={"rl": {"prompts": list(prompts)}}, **fields)
    async with at(standin or VerifierStandIn(prints=prints)) as url, verifier(HEADERS, url) as grader:
        return await make(config, s3, scratch, grader, lambda done, of: None)


def written(s3: ObjectStore) -> list[Problem]:
    return [Problem.model_validate_json(line) for line in s3.get(prompts_key(UID)).splitlines()]


def funnel(s3: ObjectStore, source: int = 0) -> dict[str, int]:
    """What each rule took out, where it took something."""
    report = json.loads(s3.get(preparation_report_key(UID)))
    return {step["name"]: step["dropped"] for step in report["sources"][source]["funnel"] if step["dropped"]}


async def test_maths_problems_are_filtered_by_format_and_difficulty_and_the_report_says_why(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    uri, answers = put(s3, "maths", MATHS), put_answers(s3)
    made = await prepared(s3, s3_storage, tmp_path, {
        "uri": uri, "formatFilter": {}, "difficulty": {"gradedBy": {"uri": answers}}})
    good, choice = written(s3)
    assert good == MATHS[0]
    assert (choice.id, choice.prompt, choice.answer) == ("choice", "What is 2+3?", "5")
    assert funnel(s3) == {"formatFilter.proof": 1, "difficulty.gradedBy": 1, "difficulty.maxPassRate": 1,
                          "difficulty.majorityDisagrees": 1}
    report = json.loads(s3.get(preparation_report_key(UID)))
    assert (report["prompts"], report["sha256"], report["problems"]) == (made.uri, made.sha256, 2)
    assert (report["sources"][0]["read"], "tests" in report["sources"][0]) == (6, False)


async def test_tests_of_code_are_kept_corrected_or_dropped_by_what_solutions_print(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "code", CODE), "codeTests": RULES})
    doubled, checked = written(s3)
    assert [test.stdout for test in doubled.tests] == ["2", "4", "6"]
    assert checked == CODE[-1]
    assert funnel(s3) == {"codeTests.minSolutions": 2, "codeTests.minTests": 2}
    report = json.loads(s3.get(preparation_report_key(UID)))
    assert report["sources"][0]["tests"] == {"kept": 2, "corrected": 1, "dropped": 1}


async def test_no_solution_reaches_those_who_read_the_prompts(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "code", CODE), "codeTests": RULES}, {
        "uri": put(s3, "more", [program("copied", {"1": "2"}, DOUBLE)])})
    assert [problem.id for problem in written(s3)] == ["doubled", "checked", "copied"]
    assert all(problem.solutions == [] for problem in written(s3))


async def test_code_problems_are_asked_for_in_each_language(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    uri = put(s3, "code", [CODE[0], CODE[-1], MATHS[0]])
    made = await prepared(s3, s3_storage, tmp_path, {"uri": uri, "languages": ["python", "cpp"]})
    assert [(problem.id, problem.language) for problem in written(s3)] == [
        ("doubled/python", "python"), ("doubled/cpp", "cpp"), ("checked", None), ("good", None)]
    assert made.problems == 4


async def test_a_file_that_asks_for_nothing_is_copied_and_the_order_of_files_stays(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    plain = [Problem(id="plain", kind="maths", prompt="Prove it.", answer="a long answer that nobody would ever repeat")]
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "plain", plain)},
                   {"uri": put(s3, "maths", MATHS[:1]), "formatFilter": {}})
    assert written(s3) == [*plain, MATHS[0]]


async def test_rows_of_a_published_set_that_are_no_problem_are_counted_with_the_reason(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    rows = [{"id": str(number), "question": "What is 2+2?", "answer": "4", "image": image, "answer_type": "exactMatch"}
            for number, image in enumerate(("", "data:image/png;base64,AA"))]
    s3.put("hle.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    await prepared(s3, s3_storage, tmp_path, {"uri": s3.uri("hle.jsonl"), "format": "hle", "formatFilter": {}})
    assert len(written(s3)) == 1
    assert funnel(s3) == {"format": 1}
    (source,) = json.loads(s3.get(preparation_report_key(UID)))["sources"]
    assert (source["read"], source["problems"]) == (2, 1)
    assert "image" in source["funnel"][0]["why"]


async def test_the_conductor_reads_the_prepared_prompts_and_not_the_originals(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    rules = {"uri": put(s3, "maths", MATHS), "formatFilter": {}}
    made = await prepared(s3, s3_storage, tmp_path, rules)
    config = stage_config("rl", s3_storage, spec={"rl": {"prompts": [rules]}}, prompts_uri=made.uri)
    assert await asyncio.to_thread(read_problems, config, s3, settings(config)) == written(s3)
    assert len(written(s3)) == len(MATHS) - 1


async def test_every_input_of_a_test_reaches_the_solutions_however_many_there_are(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    many = {str(number): str(2 * number) for number in range(2 * RUNS_AT_ONCE + 1)}
    standin = VerifierStandIn(prints=prints)
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "many", [program("many", many, DOUBLE, DOUBLE)]),
                                              "codeTests": RULES}, standin=standin)
    assert {test.stdin: test.stdout for test in written(s3)[0].tests} == many
    assert standin.asked == 2 * 3


async def test_a_restarted_job_runs_no_solution_again_and_writes_the_same_bytes(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prompts = {"uri": put(s3, "code", CODE), "codeTests": RULES}
    first = await prepared(s3, s3_storage, tmp_path, prompts)
    standin = VerifierStandIn(prints=prints)
    again = await prepared(s3, s3_storage, tmp_path, prompts, standin=standin)
    assert (again.sha256, again.tests, standin.asked) == (first.sha256, first.tests, 0)


async def test_other_rules_or_another_solution_are_judged_anew(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "code", CODE), "codeTests": RULES})
    for problems, rules in ((CODE, RULES | {"minAgreement": 0.5}), ([program("doubled", {"1": "2"}, DOUBLE, BROKEN, DOUBLE)],
                                                                    RULES)):
        standin = VerifierStandIn(prints=prints)
        await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "code", problems), "codeTests": rules}, standin=standin)
        assert standin.asked


async def test_a_set_of_which_nothing_is_left_is_refused_with_the_funnel(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    uri = put(s3, "maths", MATHS[4:5])
    with pytest.raises(UserFault) as fault:
        await prepared(s3, s3_storage, tmp_path, {"uri": uri, "formatFilter": {}})
    assert fault.value.reason == "NoPrompts"
    assert f"{uri}: 1 read, 1 out by formatFilter.proof" in fault.value.message
    assert list(s3.list(f"{run_prefix(UID)}/")) == []


async def test_an_id_that_two_files_share_is_named_with_the_second(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    first, second = put(s3, "one", MATHS[:1]), put(s3, "two", MATHS[:1])
    with pytest.raises(UserFault) as fault:
        await prepared(s3, s3_storage, tmp_path, {"uri": first, "formatFilter": {}}, {"uri": second})
    assert fault.value.reason == "PromptsInvalid"
    assert f"{second}: found id 'good' twice" in fault.value.message


async def test_answers_of_a_run_that_the_spec_names_are_read_where_the_operator_says(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    prompts = {"uri": put(s3, "maths", MATHS[:3]), "difficulty": {"gradedBy": {"runRef": {"name": "grader"}}}}
    await prepared(s3, s3_storage, tmp_path, prompts, run_outputs={"grader": put_answers(s3)})
    assert [problem.id for problem in written(s3)] == ["good", "choice"]
    with pytest.raises(UserFault) as fault:
        await prepared(s3, s3_storage, tmp_path, prompts)
    assert fault.value.reason == "NoAnswers"
    assert "spec.rl.prompts[0].difficulty.gradedBy.runRef: found no MagistralRun 'grader' any more" in fault.value.message


async def test_answers_are_a_problem_s_by_its_text_before_or_after_it_was_reworded_and_not_by_its_name(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    good, choice, *_ = MATHS
    reworded = choice.model_copy(update={"prompt": "What is 2+3?"})
    other = good.model_copy(update={"prompt": "What is 5+5?"})
    s3.put("graded/base/prompts/000000.jsonl", b"".join([
        graded(reworded, 0, "5", "5"), graded(reworded, 1, "6", "5"),
        *(graded(other, run, "4", "4", suite="another") for run in range(4))]))
    await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "maths", [good, choice]), "formatFilter": {},
                                              "difficulty": {"gradedBy": {"uri": s3.uri("graded")}}})
    assert [problem.id for problem in written(s3)] == ["choice"]
    assert funnel(s3) == {"difficulty.gradedBy": 1}


async def test_an_answer_that_cannot_be_read_is_named(s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    s3.put("graded/000001.jsonl", b'{"problemId": "good", "run": 0}\n')
    with pytest.raises(UserFault) as fault:
        await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "maths", MATHS),
                                                  "difficulty": {"gradedBy": {"uri": s3.uri("graded")}}})
    assert fault.value.reason == "AnswersInvalid"
    assert f"{s3.uri('graded/000001.jsonl')} line 1: field model" in fault.value.message


async def test_a_problem_whose_solutions_no_verifier_takes_is_named(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    class Strict(VerifierStandIn):
        async def _run(self, request: Any) -> Any:
            raise web.HTTPRequestEntityTooLarge(1, 2)

    with pytest.raises(ExceptionGroup) as raised:
        await prepared(s3, s3_storage, tmp_path, {"uri": put(s3, "code", CODE[:1]), "codeTests": RULES}, standin=Strict())
    assert raised.group_contains(UngradableError, match="problem doubled")
