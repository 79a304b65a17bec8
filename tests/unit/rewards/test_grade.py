"""One completion to one verdict: what each part of the reward depends on."""

from pathlib import Path

import pytest

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.contracts import RewardConfig, VerifyRequest, VerifyResponse
from magistral_workloads.rewards.grade import CORRECTNESS, FORMAT, LANGUAGE, grade
from magistral_workloads.rewards.length import PENALTY
from magistral_workloads.sandbox.algebra import Algebra
from magistral_workloads.sandbox.box import Box

QUESTION = "What is the sum of the two numbers two and three, please?"
MATHS = Problem(id="m", kind="maths", prompt=QUESTION, answer="5")
CODE = Problem(id="c", kind="code", prompt=QUESTION, tests=[CodeTest(stdin="2 3", stdout="5")])
THOUGHTS = "<think>The sum of these two numbers is easy to calculate.</think>"
PROGRAM = "```python\nprint(sum(map(int, input().split())))\n```"
RIGHT = THOUGHTS + "\\boxed{5}"


async def graded(completion: str, problem: Problem = MATHS, tokens: int = 10, **reward: bool) -> VerifyResponse:
    """By a box and an algebra that were not started: a question to one of them would wait for ever, so none is asked."""
    config = RewardConfig(max_unpenalized_tokens=100, cache_tokens=40, **reward)
    request = VerifyRequest(problem=problem, completion=completion, completion_tokens=tokens, reward=config)
    return await grade(request, Box(1), Algebra(1))


async def test_a_right_short_answer_in_one_language_gets_the_most() -> None:
    verdict = await graded(RIGHT)
    assert (verdict.outcome, verdict.answer) == ("pass", "5")
    assert verdict.reward.total == pytest.approx(FORMAT + CORRECTNESS + LANGUAGE)


async def test_a_wrong_answer_keeps_what_format_and_language_earn() -> None:
    verdict = await graded(THOUGHTS + "\\boxed{6}")
    assert (verdict.outcome, verdict.answer) == ("fail", "6")
    assert verdict.reward.total == pytest.approx(FORMAT + LANGUAGE)


async def test_a_wrong_format_earns_nothing_even_when_the_answer_is_right() -> None:
    verdict = await graded("\\boxed{5}", tokens=1000)
    assert (verdict.outcome, verdict.reward.total) == ("fail", 0.0)
    assert verdict.detail.startswith("format: ")


async def test_evaluation_counts_the_same_answer_in_any_form() -> None:
    assert (await graded("\\boxed{5}", require_format=False)).outcome == "pass"


async def test_a_long_completion_loses_the_length_penalty_only() -> None:
    assert (await graded(RIGHT, tokens=120)).reward.length == pytest.approx(PENALTY / 2)
    long = await graded(RIGHT, tokens=10_000)
    assert (long.outcome, long.reward.length) == ("pass", PENALTY)


async def test_thoughts_in_another_language_lose_the_language_part_only() -> None:
    verdict = await graded("<think>Die Summe der beiden Zahlen ist leicht zu berechnen.</think>\\boxed{5}")
    assert (verdict.outcome, verdict.reward.language) == ("pass", 0.0)
    assert verdict.reward.total == pytest.approx(FORMAT + CORRECTNESS)


async def test_the_language_part_can_be_turned_off() -> None:
    assert (await graded(RIGHT, language_consistency=False)).reward.language == 0.0


async def test_a_block_in_an_unknown_language_fails_before_anything_runs() -> None:
    verdict = await graded(f"{THOUGHTS}\n```cobol\nSTOP RUN.\n```", CODE)
    assert verdict.outcome == "fail"
    assert "cobol" in verdict.detail


@pytest.mark.parametrize(("problem", "completion"), [
    (Problem(id="no-answer", kind="maths", prompt="?"), RIGHT),
    (Problem(id="no-tests", kind="code", prompt="?"), f"{THOUGHTS}\n{PROGRAM}"),
    (Problem(id="no-entry", kind="code", prompt="?", check="def check(candidate): pass"), f"{THOUGHTS}\n{PROGRAM}"),
])
async def test_a_problem_that_cannot_be_graded_is_named(problem: Problem, completion: str) -> None:
    with pytest.raises(ValueError, match=problem.id):
        await graded(completion, problem)


async def test_a_box_that_fails_gives_no_reward_and_no_verdict(tmp_path: Path) -> None:
    request = VerifyRequest(problem=CODE, completion=f"{THOUGHTS}\n{PROGRAM}", completion_tokens=10,
                            reward=RewardConfig(max_unpenalized_tokens=100, cache_tokens=40))
    async with Box(1, scratch=tmp_path) as box, Box(1, scratch=tmp_path / "missing") as broken:
        assert (await grade(request, box, Algebra(1))).outcome == "pass"
        verdict = await grade(request, broken, Algebra(1))
    assert (verdict.outcome, verdict.reward.total) == ("infrastructure_error", 0.0)
    assert verdict.detail


@pytest.mark.timeout(60)
@pytest.mark.parametrize("completion", [
    THOUGHTS + "\\boxed{" * 20_000,
    THOUGHTS + "\\boxed{" + "." * 100_000 + "x}",
    THOUGHTS + "\\boxed{1" + ",111" * 25_000 + ",}",
    THOUGHTS + "\\[" * 50_000 + "\\boxed{4}",
    "<think>" + "\\begin{a}" * 10_000 + "</think>\\boxed{4}",
    "<think>" * 20_000 + "\\boxed{5}",
], ids=["opened boxes", "dots", "commas", "opened formulas", "opened environments", "opened thoughts"])
async def test_a_completion_made_to_be_slow_to_read_fails_soon(completion: str) -> None:
    assert (await graded(completion)).outcome == "fail"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", ["```a\n" * 20_000, "```" + "a" * 100_000, "```a\n" + "  `" * 50_000],
                         ids=["opened blocks", "a long language", "a long end"])
async def test_a_block_made_to_be_slow_to_read_fails_soon(block: str) -> None:
    assert (await graded(f"{THOUGHTS}\n{block}", CODE)).outcome == "fail"
