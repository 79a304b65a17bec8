"""One problem to one group of scored completions: generate, verify, and again where the infrastructure was at fault."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from magistral_api.problems import Problem, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.conductor.fleet import Fleet
from magistral_workloads.conductor.order import sequence_seed
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import Verifier
from magistral_workloads.contracts import GenerateRequest, RewardConfig, VerifyRequest, WeightsRequest

COMPLETIONS_WITHOUT_VERDICT: Final = 5
"""Completions of one place in a group that may lack a verdict before the conductor gives up."""


class NoVerdictError(Exception):
    """Verifiers answer, but never with a verdict."""


@dataclass(frozen=True)
class Sampler:
    """Samples and grades whole groups. `done` is called as each completion has its verdict, with its tokens."""

    fleet: Fleet
    verifier: Verifier
    tokens: Tokens
    seed: int
    done: Callable[[int], None]

    async def group(self, number: int, problem: Problem, rl: RL) -> list[RolloutRecord]:
        """All completions of group `number`, in order of their place, by the settings `rl` of the step that it begins in.

        Raises NoVerdictError, and as its parts do.
        """
        prompt, salt = self.tokens.prompt(problem), cache_salt(self.fleet.policy)
        async with asyncio.TaskGroup() as tasks:
            places = [tasks.create_task(self._completion(number, place, problem, prompt, salt, rl))
                      for place in range(rl.group_size)]
        return [place.result() for place in places]

    async def _completion(self, number: int, place: int, problem: Problem, prompt: list[int], salt: str,
                          rl: RL) -> RolloutRecord:
        reward = RewardConfig(max_unpenalized_tokens=rl.max_unpenalized_tokens, cache_tokens=rl.cache_tokens,
                              language_consistency=rl.language_consistency)
        for attempt in range(COMPLETIONS_WITHOUT_VERDICT):
            answer = await self.fleet.generate(GenerateRequest(
                request_id=f"{number}.{place}.{attempt}", prompt_tokens=prompt, temperature=rl.temperature,
                max_tokens=rl.max_unpenalized_tokens + rl.cache_tokens, cache_salt=salt,
                seed=sequence_seed(self.seed, number, place, attempt), stop_token_ids=self.tokens.stop))
            text = self.tokens.text(answer.tokens)
            verdict = await self.verifier.verify(VerifyRequest(
                problem=problem, completion=text, completion_tokens=len(answer.tokens), draw=number, reward=reward))
            if verdict.outcome == "infrastructure_error":
                continue
            self.done(len(answer.tokens))
            return RolloutRecord(
                problem_id=problem.id, group=number, index=place, trained_step=None, outcome=verdict.outcome,
                reward=verdict.reward, prompt_tokens=prompt, completion_tokens=answer.tokens, logprobs=answer.logprobs,
                versions=answer.versions, finish_reason=answer.finish_reason, text=text, prompt=problem.prompt)
        raise NoVerdictError(f"problem {problem.id}: {COMPLETIONS_WITHOUT_VERDICT} completions got no verdict from "
                             f"several verifiers each; last: {verdict.detail}. Look at the verifiers' log")


def cache_salt(policy: WeightsRequest) -> str:
    """Keeps the prefix cache of one set of weights apart from another's; a version number may come again.

    vLLM takes at most 128 characters, none of them a slash.
    """
    weights = hashlib.sha256((policy.digest or policy.uri).encode()).hexdigest()
    return f"v{policy.version}-{weights[:12]}"
