"""Scored completions for tests."""

from magistral_api.problems import RewardParts, RolloutRecord


def group(number: int, rewards: list[float], *, length: int = 3, version: int = 0) -> list[RolloutRecord]:
    """One completion a reward."""
    return [RolloutRecord(
        problem_id=f"p{number}", group=number, index=index, trained_step=None,
        outcome="pass" if reward > 0.5 else "fail",
        reward=RewardParts(correctness=reward), prompt_tokens=[1, 2], completion_tokens=[3] * length,
        logprobs=[-0.25] * length, versions=[(version, length)], finish_reason="stop", text="t", prompt="q")
        for index, reward in enumerate(rewards)]
