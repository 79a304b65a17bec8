"""Every format of a file of problems by its name: the row as it is published, and what makes a Problem of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from magistral_api.problems import DataFormat, Problem
from magistral_workloads.datasets import aime, gpqa, hle, humaneval, livecodebench, math500, openr1_code, openthoughts
from magistral_workloads.datasets.row import LeftOut


@dataclass(frozen=True)
class Format:
    """`problem` is pure: the same row, the same Problem. It takes a `row` and raises nothing."""

    row: type[BaseModel]
    problem: Callable[[Any], Problem | LeftOut]


def own(row: Problem) -> Problem:
    """Our own format needs no conversion."""
    return row


FORMATS: Final[Mapping[DataFormat, Format]] = {
    "problems": Format(Problem, own),
    "aime24": Format(aime.Aime, aime.problem24),
    "aime25": Format(aime.Aime, aime.problem25),
    "math500": Format(math500.Math500, math500.problem),
    "gpqa": Format(gpqa.Gpqa, gpqa.problem),
    "livecodebench": Format(livecodebench.LiveCodeBench, livecodebench.problem),
    "hle": Format(hle.Hle, hle.problem),
    "humaneval": Format(humaneval.HumanEval, humaneval.problem),
    "openthoughts": Format(openthoughts.OpenThoughts, openthoughts.problem),
    "openr1-code": Format(openr1_code.OpenR1Code, openr1_code.problem),
}
