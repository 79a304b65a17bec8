"""Which problem a group asks, and in which language: drawn by seed, so that a restart asks the same."""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from magistral_api.problems import Problem


@dataclass(frozen=True)
class PromptOrder:
    """Groups are numbered from 0 over the whole run; epoch e has groups e·n to (e+1)·n - 1, each problem once."""

    problems: int
    seed: int

    def problem(self, group: int) -> int:
        """Index of the problem that the group asks."""
        epoch, place = divmod(group, self.problems)
        return _epoch(self.problems, self.seed, epoch)[place]


def asked(problem: Problem, translated_fraction: float, seed: int, group: int) -> Problem:
    """The problem with the prompt that the group asks: with that probability one of its translations, each as likely.

    A problem without translations is asked as it is.
    """
    draw = random.Random(f"translation {seed} {group}")
    if not problem.translations or draw.random() >= translated_fraction:
        return problem
    language = draw.choice(sorted(problem.translations))
    return problem.model_copy(update={"prompt": problem.translations[language]})


def sequence_seed(seed: int, group: int, index: int, attempt: int) -> int:
    """Seed of one completion, 32 bits. The same group asked again after a restart draws with the same seeds."""
    return int(np.random.SeedSequence([seed, group, index, attempt]).generate_state(1)[0])


@lru_cache(maxsize=4)
def _epoch(problems: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng([seed, epoch]).permutation(problems))
