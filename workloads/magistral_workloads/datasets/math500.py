"""MATH-500: 500 competition problems, answers in LaTeX.

Source: data set HuggingFaceH4/MATH-500 (test.jsonl; problem, solution, answer, subject, level, unique_id). Read: problem,
answer, unique_id (as test/algebra/1.json).
"""

from magistral_api.problems import Problem
from magistral_workloads.datasets.row import Id, PublishedRow, Text


class Math500(PublishedRow):
    """A row."""

    unique_id: Id
    problem: Text
    answer: Text


def problem(row: Math500) -> Problem:
    return Problem(id=f"math500/{row.unique_id}", kind="maths", prompt=row.problem, answer=row.answer, source="math500")
