"""Problems that are neither too easy nor too hard for the model that answered them (section 4.1 of the paper).

Pure, and nothing is drawn: the same answers, the same problems. The paper's two stages are two calls, the second with
the answers of a model that was trained on what the first one left.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from magistral_api.run import Difficulty
from magistral_workloads.algorithm.curation import Step

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Tally:
    """The graded answers to one problem. `wrong`: how often each final answer came that is not the ground truth."""

    answers: int = 0
    passed: int = 0
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def pass_rate(self) -> float:
        """Share of answers that are correct. Raises ZeroDivisionError without answers."""
        return self.passed / self.answers

    @property
    def agreed(self) -> float:
        """Share of all answers that the most frequent wrong one has."""
        return max(self.wrong.values(), default=0) / self.answers


def tallied(answers: Iterable[tuple[K, bool, str | None]]) -> dict[K, Tally]:
    """By problem, from (problem, whether it passed, final answer in one spelling or None)."""
    found: dict[K, Tally] = defaultdict(Tally)
    for problem, passed, answer in answers:
        tally = found[problem]
        tally.answers += 1
        tally.passed += passed
        if answer is not None and not passed:
            tally.wrong[answer] += 1
    return dict(found)


def by_difficulty(problems: Sequence[str], tallies: Mapping[str, Tally], rules: Difficulty) -> tuple[list[str], list[Step]]:
    """The problems that every rule leaves, in their order, and what each rule took out."""
    funnel: list[Step] = []

    def keep(name: str, why: str, holds: Callable[[str], bool]) -> None:
        nonlocal problems
        left = [problem for problem in problems if holds(problem)]
        funnel.append(Step(f"difficulty.{name}", len(left), len(problems) - len(left), why))
        problems = left

    lowest, highest, most = rules.min_pass_rate, rules.max_pass_rate, rules.majority_disagrees
    keep("gradedBy", "no answer to it was graded", lambda problem: problem in tallies)
    keep("minPassRate", f"solved in a share of {lowest:g} or less", lambda problem: tallies[problem].pass_rate > lowest)
    keep("maxPassRate", f"solved in a share above {highest:g}", lambda problem: tallies[problem].pass_rate <= highest)
    keep("majorityDisagrees", f"more than a share of {most:g} agrees on another answer than its own",
         lambda problem: tallies[problem].agreed <= most)
    return list(problems), funnel
