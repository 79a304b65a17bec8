"""What one contender did, counted the same way for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from magistral_api.problems import RolloutRecord

DISCARD = 4
"""Versions after which other systems throw a completion away."""


@dataclass(frozen=True)
class Side:
    """Of the steps that are counted. `lengths`: of the completions trained on, in tokens."""

    name: str
    steps: int
    seconds: float
    lengths: list[int] = field(repr=False)

    @classmethod
    def of(cls, name: str, ends: Sequence[float], lengths: Sequence[Sequence[int]], first: int, last: int) -> Side:
        """From the times at which steps 1, 2, … ended and what each trained on. Steps `first` to `last` count."""
        trained = [length for batch in lengths[first - 1:last] for length in batch]
        return cls(name, last - first + 1, ends[last - 1] - ends[first - 2], trained)

    @property
    def rate(self) -> float:
        """Completion tokens that entered an optimiser step, a second."""
        return sum(self.lengths) / self.seconds

    @property
    def mean(self) -> float:
        return sum(self.lengths) / len(self.lengths)

    @property
    def skew(self) -> float:
        """Longest completion ÷ mean."""
        return max(self.lengths) / self.mean


@dataclass(frozen=True)
class Ages:
    """Of a whole run's ledger. Lengths of completions in tokens, ages in policy versions before the step that trains."""

    length_ratio: float
    """Mean length trained on ÷ mean length of all that was sampled, groups dropped for equal rewards included."""
    length_ratio_discarding: float
    """The same, were completions thrown away that begin DISCARD versions or more before their step."""
    discarded: float
    """Share of the tokens trained on that this would throw away."""
    staleness: float
    oldest: int

    @classmethod
    def of(cls, records: Sequence[RolloutRecord]) -> Ages:
        trained = [(len(record.completion_tokens), record.trained_step - 1 - record.versions[0][0])
                   for record in records if record.trained_step is not None]
        sampled = _mean([len(record.completion_tokens) for record in records])
        fresh = [length for length, age in trained if age < DISCARD]
        tokens = sum(length for length, _ in trained)
        return cls(
            length_ratio=_mean([length for length, _ in trained]) / sampled,
            length_ratio_discarding=_mean(fresh) / sampled, discarded=1 - sum(fresh) / tokens,
            staleness=sum(length * age for length, age in trained) / tokens, oldest=max(age for _, age in trained))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0
