"""One completion to one verdict: format, correctness, length and language put together (section 3)."""

from typing import Protocol

from magistral_api.problems import Outcome, Problem, RewardParts
from magistral_workloads.contracts import VerifyRequest, VerifyResponse
from magistral_workloads.rewards import code, language, length, maths
from magistral_workloads.rewards import format as formats
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.limits import BoxError

FORMAT, CORRECTNESS, LANGUAGE = 0.1, 0.9, 0.1


class Algebra(Protocol):
    """Compares two maths answers somewhere that can be killed."""

    async def same(self, expected: str, answer: str) -> bool:
        """Raises BoxError when there is no verdict."""
        ...


async def grade(request: VerifyRequest, box: Box, algebra: Algebra) -> VerifyResponse:
    """The verdict of a completion. Raises ValueError when the problem itself cannot be graded."""
    problem, reward = request.problem, request.reward
    response = (formats.parse if reward.require_format else formats.find)(request.completion, problem.kind)
    if isinstance(response, str):
        return VerifyResponse(outcome="fail", reward=RewardParts(), detail=f"format: {response}")
    answer = None if response.boxed is None else maths.canonical(response.boxed)
    try:
        outcome, detail = await _correctness(problem, response, request.draw, box, algebra)
    except BoxError as error:
        return VerifyResponse(outcome="infrastructure_error", reward=RewardParts(), answer=answer, detail=str(error))
    consistent = reward.language_consistency and language.consistent(
        problem.prompt, response.thoughts, response.answer)
    parts = RewardParts(
        format=FORMAT,
        correctness=CORRECTNESS if outcome == "pass" else 0.0,
        length=length.penalty(request.completion_tokens, reward.max_unpenalized_tokens, reward.cache_tokens),
        language=LANGUAGE if consistent else 0.0,
    )
    return VerifyResponse(outcome=outcome, reward=parts, answer=answer, detail=detail)


async def _correctness(problem: Problem, response: formats.Response, draw: int, box: Box, algebra: Algebra
                       ) -> tuple[Outcome, str]:
    if problem.kind == "code":
        assert response.block is not None
        return await code.grade(response.block, problem, draw, box)
    if problem.answer is None:
        raise ValueError(f"problem {problem.id}: is maths but has no answer; add it to the data set")
    assert response.boxed is not None
    same = maths.quick(problem.answer, response.boxed)
    if same is None:
        same = await algebra.same(maths.normalise(problem.answer), maths.normalise(response.boxed))
    return ("pass", "") if same else ("fail", "another answer")
