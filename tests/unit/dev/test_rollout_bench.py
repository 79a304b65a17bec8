"""What the figures of `make bench-rollouts` are counted from."""

import pytest

from dev.bench.rollouts.sides import Ages, Side
from dev.bench.rollouts.workload import ANSWERS, KINDS, Workload, problems, rewards, tokenizer
from magistral_api.problems import RewardParts, RolloutRecord


def record(tokens: int, step: int | None, version: int) -> RolloutRecord:
    return RolloutRecord(
        problem_id="p", group=0, index=0, trained_step=step, outcome="pass", reward=RewardParts(), prompt_tokens=[1],
        completion_tokens=[1] * tokens, logprobs=[0.0] * tokens, versions=[(version, tokens)], finish_reason="stop", text="")


def test_steps_before_and_after_those_that_count_are_neither_in_tokens_nor_in_seconds() -> None:
    side = Side.of("a", [10.0, 12.0, 15.0, 90.0], [[100, 100], [1, 3], [5, 7], [50]], first=2, last=3)
    assert (side.steps, side.seconds, side.rate) == (2, 5.0, 16 / 5.0)
    assert side.skew == 7 / 4


def test_discarding_old_completions_takes_away_the_long_ones_that_are_old() -> None:
    ages = Ages.of([record(10, 5, 4), record(90, 5, 0), record(50, None, 4)])
    assert ages.length_ratio == 1.0
    assert ages.length_ratio_discarding == pytest.approx(10 / 50)
    assert ages.discarded == pytest.approx(0.9)
    assert ages.oldest == 4


def test_a_right_a_wrong_and_an_unfinished_answer_differ_in_reward_and_need_no_sandbox() -> None:
    workload, (problem, *_) = Workload(), problems(10)
    texts = [f"<think>s</think>{answer}" for answer in ANSWERS] + ["<think>sss"]
    assert rewards(workload, [problem] * 3, texts, [3, 3, 3]) == pytest.approx([1.0, 0.1, 0.0])


def test_a_prompt_is_the_same_tokens_for_those_who_use_a_chat_template_and_those_who_do_not() -> None:
    words = tokenizer()
    for problem in problems(10):
        assert problem.prompt[-1] in KINDS
        message = {"role": "user", "content": problem.prompt}
        assert words.apply_chat_template([message], return_dict=False) == words(problem.prompt)["input_ids"]
