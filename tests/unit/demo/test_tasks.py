"""The demo's tasks and traces: gradable, disjoint, the same each time, and formed as the graders read them."""

import random

from dev.demo import general, tasks, traces
from magistral_api.problems import Problem
from magistral_workloads.recipe.prompting import SYSTEM_PROMPT
from magistral_workloads.rewards import format as formats
from magistral_workloads.rewards import language, maths


def graded(problem: Problem, response: str) -> tuple[bool, bool]:
    """Of the right form, and the right answer."""
    found = formats.parse(response, "maths")
    if isinstance(found, str):
        return False, False
    return True, maths.quick(problem.answer or "", found.boxed or "") is True


def test_suites_and_training_prompts_have_no_question_in_common() -> None:
    named = tasks.maths()
    assert {name: len(problems) for name, problems in named.items()} == {
        "demo-maths": tasks.MATHS_SUITE, "demo-select": tasks.SELECT_SUITE, "train-maths": tasks.TRAIN,
        "table3": tasks.TABLE_SUITE}
    questions = [problem.prompt for problems in named.values() for problem in problems]
    assert len(set(questions)) == len(questions)


def test_traces_never_show_a_question_of_a_suite() -> None:
    held_out = {p.prompt for name in ("demo-maths", "demo-select", "table3") for p in tasks.maths()[name]}
    held_out |= {p.prompt for p in tasks.code()}
    assert held_out.isdisjoint(trace.messages[-1]["content"] for trace in traces.traces(2000, seed=3))


def test_the_same_seed_gives_the_same_traces() -> None:
    assert list(traces.traces(200, seed=5)) == list(traces.traces(200, seed=5))


def test_a_reliable_trace_is_right_and_an_unreliable_one_often_is_not() -> None:
    problems, draw = tasks.maths()["train-maths"], random.Random(0)
    reliable = [graded(problem, traces.arithmetic(problem, draw, unreliable=False)) for problem in problems]
    unreliable = [graded(problem, traces.arithmetic(problem, draw, unreliable=True)) for problem in problems]
    assert set(reliable) == {(True, True)}
    assert set(unreliable) == {(True, True), (True, False), (False, False)}, "RL has form and answers to improve"


def test_one_habit_thinks_in_another_language_than_the_task() -> None:
    problem, draw = tasks.maths()["train-maths"][0], random.Random(0)
    found = [formats.parse(traces.arithmetic(problem, draw, unreliable=True), "maths") for _ in range(200)]
    told = {language.consistent(problem.prompt, one.thoughts, one.answer)
            for one in found if isinstance(one, formats.Response)}
    assert told == {True, False}


def test_the_system_prompt_comes_with_tasks_and_not_with_general_rows() -> None:
    general_prompts = {row.prompt for row in general.general_rows()}
    for trace in traces.traces(300, seed=7):
        with_system = trace.messages[0] == {"role": "system", "content": SYSTEM_PROMPT}
        assert with_system is (trace.messages[-1]["content"] not in general_prompts)


def test_a_programs_tests_tell_its_solution_from_its_mistake() -> None:
    draw = random.Random(1)
    for _ in range(50):
        exercise = tasks.exercise(draw)
        assert exercise.solution != exercise.mistake
        outputs = {test.stdout for test in exercise.problem("p").tests}
        assert len(outputs) > 1, exercise.task


def test_humaneval_has_all_its_problems_with_their_checks() -> None:
    problems = tasks.humaneval()
    assert len({problem.id for problem in problems}) == len(problems) == 164
    assert all(p.check and p.entry_point and p.prefix and f"def {p.entry_point}" in p.prefix for p in problems)
