"""AIME 2024 and 2025: whole numbers from 0 to 999.

Sources: data set HuggingFaceH4/aime_2024 (parquet; id, problem, solution, answer, url, year) and data set math-ai/aime25
(test.jsonl; problem, answer, id). Read: id, problem, answer.
"""

from magistral_api.problems import Problem
from magistral_workloads.datasets.row import Id, PublishedRow, Text


class Aime(PublishedRow):
    """A row of either year."""

    id: Id
    problem: Text
    answer: Text


def problem24(row: Aime) -> Problem:
    """Of 2024. Problem ids begin with `aime24/`."""
    return _problem("aime24", row)


def problem25(row: Aime) -> Problem:
    """Of 2025. Problem ids begin with `aime25/`."""
    return _problem("aime25", row)


def _problem(source: str, row: Aime) -> Problem:
    return Problem(id=f"{source}/{row.id}", kind="maths", prompt=row.problem, answer=row.answer, source=source)
