"""pass@1, maj@k and their intervals. Pure. Source: section 5.1 of the paper (AIME: mean over 64 runs, and maj@64)."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Answer:
    """One graded answer. `text`: the extracted final answer, None when there was none."""

    passed: bool
    text: str | None


def pass_at_1(answers: Sequence[Sequence[Answer]]) -> float:
    """Mean over problems of the share of answers that pass. Raises ValueError without a problem."""
    return _mean([problem_rate(problem) for problem in answers])


def problem_rate(answers: Sequence[Answer]) -> float:
    """Share of a problem's answers that pass."""
    return _mean([float(answer.passed) for answer in answers])


def maj_at_k(answers: Sequence[Sequence[Answer]]) -> float:
    """Share of problems whose most frequent final answer is right; the earliest wins a tie.

    Answers without an extracted text do not vote; a problem where nobody votes counts as wrong.
    """
    return _mean([float(_majority(problem)) for problem in answers])


def interval(answers: Sequence[Sequence[Answer]], seed: int = 0) -> tuple[float, float]:
    """95% interval of pass@1: percentile bootstrap over problems and, within each, over its runs."""
    draw = random.Random(seed)
    passed = [[float(answer.passed) for answer in problem] for problem in answers]
    means = sorted(
        _mean([_mean(draw.choices(problem, k=len(problem))) for problem in draw.choices(passed, k=len(passed))])
        for _ in range(RESAMPLES))
    tail = int((1 - CONFIDENCE) / 2 * RESAMPLES)
    return means[tail], means[-tail - 1]


@dataclass(frozen=True)
class Column:
    """One kind of model, trained once or several times (seeds), on one suite.

    `passes`, `answers`: [training runs, problems], the problems in the same order in each.
    """

    passes: Ints
    answers: Ints

    @property
    def mean(self) -> float:
        """pass@1: over training runs and problems."""
        return float((self.passes / self.answers).mean())


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


def pooled(column: Column, seed: int = 0) -> Estimate:
    """pass@1 over all training runs; percentile bootstrap over training runs, problems and answers."""
    draw = np.random.default_rng(seed)
    return _estimate(column.mean, _resampled(column, _problems(column, draw), draw))


def difference(one: Column, other: Column, seed: int = 0) -> Estimate:
    """`one` less `other`, on the same problems: both are resampled on the same ones. Training runs and answers apart."""
    draw = np.random.default_rng(seed)
    problems = _problems(one, draw)
    return _estimate(one.mean - other.mean, _resampled(one, problems, draw) - _resampled(other, problems, draw))


def _problems(column: Column, draw: np.random.Generator) -> Ints:
    """[RESAMPLES, problems]."""
    count = column.passes.shape[1]
    return draw.integers(count, size=(RESAMPLES, count))


def _resampled(column: Column, problems: Ints, draw: np.random.Generator) -> Floats:
    """[RESAMPLES]. Answers drawn with replacement pass as often as a binomial says."""
    runs = draw.integers(len(column.passes), size=(RESAMPLES, len(column.passes)))
    places = runs[:, :, None], problems[:, None, :]
    answers = column.answers[places]
    passes = draw.binomial(answers, (column.passes / column.answers)[places])
    return np.asarray((passes / answers).mean(axis=(1, 2)), dtype=np.float64)


def _estimate(mean: float, resampled: Floats) -> Estimate:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return Estimate(mean, float(low), float(high))


def _majority(answers: Sequence[Answer]) -> bool:
    votes = Counter(answer.text for answer in answers if answer.text is not None)
    if not votes:
        return False
    winner, _ = votes.most_common(1)[0]
    return next(answer.passed for answer in answers if answer.text == winner)


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("nothing to average: expected at least one problem with one answer")
    return sum(values) / len(values)
