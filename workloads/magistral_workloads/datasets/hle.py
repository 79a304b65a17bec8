"""Humanity's Last Exam, the questions that are text only.

Source: data set cais/hle (parquet; id, question, image, image_preview, answer, answer_type, author_name, rationale,
rationale_image, raw_subject, category, canary). Read: id, question, image (a data URI, empty without one), answer,
answer_type. The official grading asks a model whether an answer means the same; ours compares as for maths.
"""

from typing import Literal

from magistral_api.problems import Problem
from magistral_workloads.datasets.row import BOXED, LETTER, Id, LeftOut, PublishedRow, Text


class Hle(PublishedRow):
    """A row."""

    id: Id
    question: Text
    image: str | None
    answer: Text
    answer_type: Literal["exactMatch", "multipleChoice"]


def problem(row: Hle) -> Problem | LeftOut:
    if row.image:
        return LeftOut("the question has an image")
    asked = LETTER if row.answer_type == "multipleChoice" else BOXED
    return Problem(id=f"hle/{row.id}", kind="maths", prompt=f"{row.question.strip()}\n\n{asked}", answer=row.answer,
                   source="hle")
