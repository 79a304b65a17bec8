"""GPQA: questions of graduate level with four options, graded by the letter.

Source: data set Idavidrein/gpqa (gpqa_diamond.csv and its like; also in dataset.zip of the repository idavidrein/gpqa).
Read: Record ID, Question, Correct Answer, Incorrect Answer 1 to 3.
"""

import random

from pydantic import Field

from magistral_api.problems import Problem
from magistral_workloads.datasets.row import LETTER, Id, PublishedRow, Text


class Gpqa(PublishedRow):
    """A row, by the names of its columns."""

    record_id: Id = Field(alias="Record ID")
    question: Text = Field(alias="Question")
    correct: Text = Field(alias="Correct Answer")
    incorrect_1: Text = Field(alias="Incorrect Answer 1")
    incorrect_2: Text = Field(alias="Incorrect Answer 2")
    incorrect_3: Text = Field(alias="Incorrect Answer 3")


def problem(row: Gpqa) -> Problem:
    """The order of the options hangs on the record's id alone: the same for every model, run and release."""
    options = [row.correct, row.incorrect_1, row.incorrect_2, row.incorrect_3]
    order = random.Random(row.record_id).sample(range(4), 4)
    shown = "\n".join(f"{letter}) {options[place].strip()}" for letter, place in zip("ABCD", order, strict=True))
    return Problem(id=f"gpqa/{row.record_id}", kind="maths", prompt=f"{row.question.strip()}\n\n{shown}\n\n{LETTER}",
                   answer="ABCD"[order.index(0)], source="gpqa")
