"""Lines of the JSONL files that stages exchange: problems, scored rollouts, SFT rows."""

from typing import Literal

from pydantic import Field

from magistral_api.base import ApiModel
from magistral_api.compact import LogProbs, TokenIds

Outcome = Literal["pass", "fail", "infrastructure_error"]
"""The three-valued verdict. The third never becomes a reward."""

Kind = Literal["maths", "code"]
Language = Literal["python", "cpp"]
"""A programming language that the verifier runs: Python, or C++20."""
DataFormat = Literal["problems", "aime24", "aime25", "math500", "gpqa", "livecodebench", "hle", "humaneval", "openthoughts",
                     "openr1-code"]
"""What the lines of a file of problems are: `problems` is `Problem`, the others are the rows of a published set as its
authors publish them (docs/data.md)."""


class CodeTest(ApiModel):
    """One test of a code problem: text on standard input, text expected on standard output."""

    stdin: str = ""
    stdout: str = ""


class Solution(ApiModel):
    """A program that its data set says solves the problem. Stage prepare runs it on the tests."""

    language: Language
    source: str


class Problem(ApiModel):
    """A verifiable task.

    `maths`: `answer` is compared with the last `\\boxed{}` of the response.
    `code`: stdin/stdout `tests` (a program), or `check` (Python source that defines `check(candidate)`, with `entry_point`,
    as HumanEval has it).
    """

    id: str = Field(min_length=1, max_length=256)
    kind: Kind
    prompt: str
    translations: dict[str, str] = Field(
        default_factory=dict, description="The prompt in other languages, by ISO 639 code (section 3: fr es it de zh ru)")
    answer: str | None = None
    language: Language | None = None
    tests: list[CodeTest] = Field(default_factory=list)
    check: str | None = None
    entry_point: str | None = None
    prefix: str | None = Field(None, description="HumanEval: source the candidate's code is put after, when it lacks it")
    source: str = ""
    solutions: list[Solution] = Field(default_factory=list, description="code: of the data set, never shown to a model")


class RewardParts(ApiModel):
    """Section 3 of the paper's recipe. total = format + correctness + length + language, at most 1.1."""

    format: float = 0.0
    correctness: float = 0.0
    length: float = 0.0
    language: float = 0.0

    @property
    def total(self) -> float:
        return self.format + self.correctness + self.length + self.language


class RolloutRecord(ApiModel):
    """One scored completion in the ledger. `trained_step` is None for a group that was dropped (all rewards equal)."""

    problem_id: str
    group: int = Field(description="Running number of the group over the whole run")
    index: int = Field(description="Place in the group, 0 to groupSize - 1")
    trained_step: int | None
    rank: int | None = Field(None, description="Trainer rank that got it, by the pre-set permutation")
    outcome: Outcome
    reward: RewardParts
    prompt_tokens: TokenIds
    completion_tokens: TokenIds
    logprobs: LogProbs = Field(description="Of the generator, for the token sampled; one a completion token")
    versions: list[tuple[int, int]] = Field(
        description="(policy version, number of consecutive completion tokens it produced), in order")
    finish_reason: str
    text: str = Field(description="The completion, decoded with special tokens kept out")
    prompt: str = Field("", description="The problem's text as it was asked, translated or not")


class SftRow(ApiModel):
    """One training row of the curated data set."""

    id: str
    prompt: str
    response: str
    source: Literal["teacher", "general"]
