"""Bodies of the HTTP routes between conductor, trainers, generators and verifiers (docs/architecture.md)."""

from typing import Final, Literal

from pydantic import Field

from magistral_api.base import ApiModel, Metrics
from magistral_api.problems import Language, Outcome, Problem, RewardParts

PIECE_BYTES: Final = 64 << 20
"""Limit of one piece of a completion. Pieces grow where the reader is slow; this is more than any whole completion."""

RUNS_AT_ONCE: Final = 20
"""Inputs of one request to run a program: it then takes no longer than one to grade a completion."""


class GenerateRequest(ApiModel):
    """Tokens in. `prefix_tokens`: part of the completion that another generator had already produced.

    `stream_tokens`: so many come in one piece, save the last. What is lost with a generator is less than one of these.
    """

    request_id: str
    prompt_tokens: list[int]
    prefix_tokens: list[int] = Field(default_factory=list)
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    seed: int
    cache_salt: str
    stop_token_ids: list[int] = Field(default_factory=list)
    stream_tokens: int = 64


class GenerateChunk(ApiModel):
    """Tokens out, a line a piece: `logprobs[i]` is the log-probability of `tokens[i]`, taken when it was sampled.

    `versions`: (policy version, consecutive tokens), in order. The last piece has the exact ones of everything since the
    prefix; those before have what the generator held when the piece came.
    """

    tokens: list[int]
    logprobs: list[float]
    versions: list[tuple[int, int]]
    finish_reason: str | None = Field(None, description="stop or length, in the last piece only")


class WeightsRequest(ApiModel):
    """A published model: prefix and digest of its manifest. `version` is what version spans will say."""

    version: int
    uri: str
    digest: str | None = None


class WeightsResponse(ApiModel):
    """How the update went. `running` requests were in flight; `aborted` must be 0. `probe_error`: transport.weights.probe."""

    version: int
    fetch_seconds: float
    pause_seconds: float
    running: int
    aborted: int
    probe_error: float | None = Field(None, description="mean difference of log-probabilities from the trainer's, in nats")


class GeneratorStatus(ApiModel):
    """What a generator holds and does."""

    pod: str
    version: int | None
    running: int
    updates: int
    aborted: int


class RewardConfig(ApiModel):
    """Section 3 of the recipe. l_max = max_unpenalized_tokens + cache_tokens."""

    max_unpenalized_tokens: int
    cache_tokens: int
    language_consistency: bool = True
    require_format: bool = Field(True, description="False in evaluation: an answer counts in whatever form it comes")


class VerifyRequest(ApiModel):
    """One completion to grade. `draw` picks the code tests: the same for all of a group."""

    problem: Problem
    completion: str
    completion_tokens: int
    draw: int = 0
    reward: RewardConfig


class VerifyResponse(ApiModel):
    """The verdict; `reward` is only meaningful when `outcome` is no infrastructure error. `answer`: extracted, for maj@k."""

    outcome: Outcome
    reward: RewardParts
    answer: str | None = None
    detail: str = ""


class ProgramRequest(ApiModel):
    """A program and what it gets on standard input, run by run: at most as many as a completion is graded on."""

    language: Language
    source: str
    inputs: list[str] = Field(min_length=1, max_length=RUNS_AT_ONCE)


class ProgramOutput(ApiModel):
    """What came of one input, a line each: text on standard output, or why there is none. Nothing follows the error."""

    outcome: Literal["output", "failure", "infrastructure_error"]
    output: str = ""
    detail: str = ""


class PolicyPublished(ApiModel):
    """Trainer rank 0, after each step: version `step` is in the store; metrics of the step."""

    version: int
    uri: str
    digest: str
    metrics: Metrics = Field(default_factory=dict)


class Resume(ApiModel):
    """The newest committed RL checkpoint, as the conductor knows it from the store; null digest = start afresh."""

    step: int = 0
    uri: str | None = None
    digest: str | None = None
