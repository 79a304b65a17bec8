"""What the conductor reports: pure, from summaries and counts."""

from collections.abc import Mapping, Sequence

from magistral_api.status import RLStatus
from magistral_workloads.conductor.ledger import StepSummary

ENDS = 0.2


def rl_status(summaries: Sequence[StepSummary], trained: int, tokens_per_second: float | None) -> RLStatus:
    """Reward and staleness of the last step trained on; before the first, of the last one written."""
    last = (summaries[:trained] or summaries)[-1] if summaries else None
    return RLStatus(policy_version=trained, reward=_short(last.reward if last else None),
                    staleness=_short(last.staleness if last else None), tokens_per_second=_short(tokens_per_second))


def _short(value: float | None) -> float | None:
    """For a table that people read: four decimals."""
    return None if value is None else round(value, 4)


def rewards(summaries: Sequence[StepSummary], steps: int) -> dict[str, float]:
    """Mean reward of the first and of the last fifth of the run's steps, at least one, of those that are there."""
    if not summaries:
        return {}
    end = max(1, round(ENDS * steps))
    return {"rewardFirst": mean(summaries[:end]), "rewardLast": mean(summaries[-end:])}


def lengths(summaries: Sequence[StepSummary]) -> dict[str, float]:
    """Completion lengths of the last batch, groups dropped so far."""
    if not summaries:
        return {}
    return {"length": summaries[-1].length, "maxLength": float(summaries[-1].max_length),
            "passed": summaries[-1].passed, "droppedGroups": float(sum(found.dropped_groups for found in summaries))}


def trainer_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The trainers' own, told apart from the conductor's."""
    return {f"trainer/{name}": value for name, value in metrics.items()}


def mean(summaries: Sequence[StepSummary]) -> float:
    """Mean reward."""
    return sum(found.reward for found in summaries) / len(summaries)


class Rate:
    """Tokens a second over the last minute. `tick` once a second or so."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._seen: list[tuple[float, int]] = []

    def tick(self, now: float, total: int) -> float | None:
        """Note the total so far; the rate, when it can be told."""
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            del self._seen[0]
        then, before = self._seen[0]
        return (total - before) / (now - then) if now > then else None
