"""Graded answers in parts, in a real store."""

import pytest

from magistral_api.config import ModelAt
from magistral_api.problems import Problem
from magistral_api.suites import Suite
from magistral_workloads.evaluation.answers import PART_ANSWERS, About, AnswersError, AnswerWriter, GradedAnswer, read_answers
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import ObjectStore

PREFIX = "graded/base/one"
MODEL = ModelAt(uri="s3://b/models/base")
SUITE = Suite("one", "s3://b/suites/one.jsonl", 1, 0.7, 1.0, 8, None)
ABOUT = About.of(MODEL, SUITE, [Problem(id="0", kind="maths", prompt="0?", answer="1")])


def answer(number: int) -> GradedAnswer:
    return GradedAnswer(model="base", suite="one", problem_id=str(number), kind="maths", run=0, passed=True, answer="1",
                        tokens=3, truncated=False, prompt=f"{number}?", completion="<think>é</think>")


def writer(s3: ObjectStore, about: About = ABOUT) -> tuple[AnswerWriter, list[int]]:
    """As a new process begins: what it finds first."""
    made = AnswerWriter(s3, PREFIX)
    return made, [int(found.problem_id) for found in made.resume(about)]


def written(s3: ObjectStore, count: int) -> AnswerWriter:
    made, _ = writer(s3)
    for number in range(count):
        made.add(answer(number))
    return made


def test_a_part_holds_a_bounded_number_of_answers_and_the_last_one_the_rest(s3: ObjectStore) -> None:
    written(s3, 2 * PART_ANSWERS + 3).flush()
    keys = [found.key for found in s3.list(PREFIX)]
    assert keys == [f"{PREFIX}/{part:06d}.jsonl" for part in range(3)] + [f"{PREFIX}/about.json"]
    assert [s3.get(key).count(b"\n") for key in keys[:3]] == [PART_ANSWERS, PART_ANSWERS, 3]
    assert list(read_answers(s3, s3.uri(PREFIX))) == [answer(number) for number in range(2 * PART_ANSWERS + 3)]


def test_what_a_killed_process_has_written_is_found_and_added_to(s3: ObjectStore) -> None:
    written(s3, PART_ANSWERS + 5)
    again, found = writer(s3)
    assert found == list(range(PART_ANSWERS))
    again.add(answer(PART_ANSWERS))
    again.flush()
    assert writer(s3)[1] == list(range(PART_ANSWERS + 1))


def test_flushing_nothing_writes_nothing(s3: ObjectStore) -> None:
    written(s3, PART_ANSWERS).flush()
    assert len(list(s3.list(f"{PREFIX}/0"))) == 1


OTHERS = {
    "model": About.of(MODEL.model_copy(update={"digest": "sha256:" + "1" * 64}), SUITE, []),
    "content": About.of(MODEL, SUITE, [Problem(id="0", kind="maths", prompt="0?", answer="2")]),
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_answers_to_another_question_are_removed(s3: ObjectStore, what: str) -> None:
    written(s3, 2 * PART_ANSWERS)
    assert writer(s3, OTHERS[what])[1] == []
    assert [found.key for found in s3.list(PREFIX)] == [f"{PREFIX}/about.json"]


def test_parts_that_nothing_is_said_about_are_removed(s3: ObjectStore) -> None:
    written(s3, PART_ANSWERS)
    s3.delete(f"{PREFIX}/about.json")
    assert writer(s3)[1] == []


def test_two_processes_never_mix_their_answers(s3: ObjectStore) -> None:
    first, second = writer(s3)[0], writer(s3)[0]
    for number in range(PART_ANSWERS):
        first.add(answer(number))
    with pytest.raises(AnswersError, match="found another evaluation's part"):
        for number in range(PART_ANSWERS):
            second.add(answer(number))
    assert len(list(read_answers(s3, s3.uri(PREFIX)))) == PART_ANSWERS


def test_all_answers_of_a_run_are_read_from_the_prefix_above(s3: ObjectStore) -> None:
    for suite in ("one", "two"):
        made = AnswerWriter(s3, f"graded/base/{suite}")
        list(made.resume(ABOUT))
        made.add(answer(0).model_copy(update={"suite": suite}))
        made.flush()
    assert [found.suite for found in read_answers(s3, s3.uri("graded"))] == ["one", "two"]


def test_a_broken_line_is_named(s3: ObjectStore) -> None:
    s3.put(f"{PREFIX}/000000.jsonl", answer(0).model_dump_json(by_alias=True).encode() + b'\n{"problemId": "1"}\n')
    with pytest.raises(UserFault, match=r"000000\.jsonl line 2: field model"):
        list(read_answers(s3, s3.uri(PREFIX)))
