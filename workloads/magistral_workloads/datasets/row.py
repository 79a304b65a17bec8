"""What every published set has in common: rows are checked for the fields that we read, all other fields are ignored."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BOXED = "Put the final answer in \\boxed{}."
LETTER = "Answer with the letter of the right option in \\boxed{}."
PYTHON_PROGRAM = "Write a Python program that reads standard input and writes standard output."
"""What a statement lacks that was written for another harness."""

Id = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1)]


class PublishedRow(BaseModel):
    """The fields of a row that its converter reads. Publishers write the same id or answer as number or as text."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


@dataclass(frozen=True)
class LeftOut:
    """A row that is no problem for us, as nothing that we run can verify an answer to it. Counted by reason."""

    reason: str


def text_id(text: str) -> str:
    """An id for a row that is published without one: equal for equal texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
