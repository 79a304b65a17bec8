"""Graded answers in the store: a prefix a model and suite, below it parts of at most so many answers, each written once.

`about.json` beside the parts says what was asked of whom. It is there before the first part, so that parts without it, or with
another one, are never taken for an answer to this question.
"""

import hashlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Final

from pydantic import Field

from magistral_api.base import ApiModel
from magistral_api.config import ModelAt
from magistral_api.names import number_of
from magistral_api.problems import Kind, Problem
from magistral_api.suites import Suite
from magistral_workloads.datasets.reader import parsed
from magistral_workloads.storage import ObjectStore

PART_ANSWERS: Final = 64
"""Answers of one part: some 8 MB when each has 32k tokens. So many are asked again, at most, after a kill."""
ABOUT: Final = "about.json"


class AnswersError(Exception):
    """The prefix is not as this evaluation left it: another one is at work."""


class GradedAnswer(ApiModel):
    """One answer, whole: a line of a part."""

    model: str = Field(description="Column of the model")
    suite: str
    problem_id: str
    kind: Kind
    run: int = Field(description="Which of the answers to this problem, 0 to runs - 1")
    passed: bool
    answer: str | None = Field(description="The extracted final answer of maths, None when there was none")
    tokens: int = Field(description="Length of the completion")
    truncated: bool = Field(description="Whether the token limit cut it")
    prompt: str = Field(description="The problem's text")
    completion: str = Field(description="Decoded, with special tokens kept out")


class About(ApiModel):
    """What was asked, and of which model: answers under an equal one are answers to the same question."""

    model: ModelAt
    problems: int
    content: str = Field(description="SHA-256 over the problems")
    runs: int
    temperature: float
    top_p: float
    max_tokens: int

    @classmethod
    def of(cls, model: ModelAt, suite: Suite, problems: Sequence[Problem]) -> "About":
        content = hashlib.sha256()
        for problem in problems:
            content.update(problem.model_dump_json().encode() + b"\n")
        return cls(model=model, problems=len(problems), content=content.hexdigest(), runs=suite.runs,
                   temperature=suite.temperature, top_p=suite.top_p, max_tokens=suite.max_tokens)


class AnswerWriter:
    """Adds answers under a prefix. Blocking, and safe to share between threads. Raises StorageError."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self._lock, self._waiting, self._part = Lock(), list[GradedAnswer](), 0

    def resume(self, about: About) -> Iterator[GradedAnswer]:
        """What is there for the same question, to be read before the first `add`. What is there for another one is deleted."""
        if not self._is_of(about):
            self._store.delete_prefix(self._prefix)
            self._store.put(f"{self._prefix}/{ABOUT}", about.model_dump_json(by_alias=True).encode())
        keys = _parts(self._store, self._prefix)
        self._part = number_of(keys[-1]) + 1 if keys else 0
        return _read(self._store, keys)

    def add(self, answer: GradedAnswer) -> None:
        """Keep an answer; a part is written when it is full. Raises AnswersError."""
        with self._lock:
            self._waiting.append(answer)
            if len(self._waiting) >= PART_ANSWERS:
                self._write()

    def flush(self) -> None:
        """Write what waits. Raises AnswersError."""
        with self._lock:
            if self._waiting:
                self._write()

    def _write(self) -> None:
        key = f"{self._prefix}/{self._part:06d}.jsonl"
        lines = b"".join(answer.model_dump_json(by_alias=True).encode() + b"\n" for answer in self._waiting)
        if not self._store.put_if_absent(key, lines):
            raise AnswersError(f"{self._store.uri(key)}: found another evaluation's part; expected none. This process starts "
                               "anew from what is there")
        self._part += 1
        self._waiting.clear()

    def _is_of(self, about: About) -> bool:
        key = f"{self._prefix}/{ABOUT}"
        return self._store.head(key) is not None and self._store.get(key) == about.model_dump_json(by_alias=True).encode()


def read_answers(store: ObjectStore, uri: str) -> Iterator[GradedAnswer]:
    """Every answer below a prefix: of one model and suite, or of all of a run. In the order of keys, so always the same.

    Raises UserFault (AnswersInvalid, which names object, line and field) and StorageError.
    """
    at, prefix = store.locate(uri)
    return _read(at, _parts(at, prefix))


def _parts(at: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in at.list(f"{prefix}/") if found.key.endswith(".jsonl")]


def _read(at: ObjectStore, keys: Sequence[str]) -> Iterator[GradedAnswer]:
    for key in keys:
        yield from parsed(at, key, GradedAnswer, "Answers")
