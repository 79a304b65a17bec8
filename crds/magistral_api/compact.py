"""Long lists of numbers in four bytes each: as Python lists they take eight times as much.

A batch at the sizes of section 5.3 is 33 million tokens, and the conductor holds several.
"""

from array import array
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer


def token_ids(values: Iterable[int] = ()) -> "array[int]":
    """int32."""
    return array("i", values)


def logprobs(values: Iterable[float] = ()) -> "array[float]":
    """float32, which is what vLLM computes them in."""
    return array("f", values)


def _field(make: Callable[[Any], Any]) -> tuple[Any, ...]:
    # Checked as a list, kept as an array, written as a list.
    before = BeforeValidator(lambda given: given.tolist() if isinstance(given, array) else given)
    return before, AfterValidator(make), PlainSerializer(list)


TokenIds = Annotated[list[int], *_field(token_ids)]
LogProbs = Annotated[list[float], *_field(logprobs)]
