"""Numbers of the ledger in four bytes each."""

import math
from array import array

import pytest
from pydantic import TypeAdapter, ValidationError

from magistral_api.compact import LogProbs, TokenIds


def test_a_list_becomes_an_array_and_a_list_again_in_json() -> None:
    tokens, logprobs = TypeAdapter(TokenIds), TypeAdapter(LogProbs)
    kept = tokens.validate_json("[1, 131071]")
    assert kept == array("i", [1, 131071])
    assert tokens.validate_python(kept) == kept
    assert tokens.dump_json(kept) == b"[1,131071]"
    assert logprobs.dump_json(logprobs.validate_python([-0.5, -1.25])) == b"[-0.5,-1.25]"
    assert math.isnan(logprobs.validate_python([math.nan])[0])


def test_what_is_no_number_is_refused_by_its_place() -> None:
    with pytest.raises(ValidationError, match=r"1\n.*valid integer"):
        TypeAdapter(TokenIds).validate_json('[1, "x"]')
