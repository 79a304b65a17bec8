"""Private tests of LiveCodeBench: the text comes out of the pickle, and no pickle is ever run."""

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from magistral_workloads.datasets.pickled import TooLargeError, packed_text, pickled_text
from tests.unit.datasets.published import ROWS, convert, packed


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "[1, 2]", "é中\n" * 10, "x" * 300, "y" * 100_000], ids=len)
def test_a_text_of_any_size_comes_out_of_a_pickle_of_any_protocol(protocol: int, text: str) -> None:
    assert pickled_text(pickle.dumps(text, protocol)) == text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps(Hostile(tmp_path / "made"), protocol)
    with pytest.raises(ValueError, match=r"found pickle opcode .*never run"):
        pickled_text(data)
    assert not (tmp_path / "made").exists()
    pickle.loads(data)
    assert (tmp_path / "made").exists(), "it would have done harm"


@pytest.mark.parametrize("value", [["a"], ("a", "b"), 1, None, b"bytes", {"a": "b"}], ids=repr)
def test_a_pickle_of_anything_but_one_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="found"):
        pickled_text(pickle.dumps(value))


@pytest.mark.parametrize("end", [1, 5, -1])
def test_a_pickle_that_is_cut_off_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match=r"not enough data|exhausted before seeing STOP"):
        pickled_text(pickle.dumps("some text")[:end])


@pytest.mark.parametrize(("text", "told"), [
    ("no base64!", "base64"), (base64.b64encode(b"no zlib").decode(), "no zlib data"),
    (base64.b64encode(zlib.compress(pickle.dumps("x" * 100))[:-5]).decode(), "cut off")])
def test_what_is_not_packed_as_published_is_refused_with_what_was_found(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        packed_text(text)


def test_no_more_is_unpacked_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(pickle.dumps("0" * 5000))
    monkeypatch.setattr("magistral_workloads.datasets.pickled.MAX_BYTES", size)
    assert packed_text(packed("0" * 5000)) == "0" * 5000
    with pytest.raises(TooLargeError):
        packed_text(packed("0" * 5001))


@pytest.mark.parametrize("private", [packed(["no", "text"]), packed("no json"), packed(json.dumps({"input": "1"})), "%"])
def test_a_row_with_other_private_tests_is_refused_with_the_fields_name(private: str) -> None:
    with pytest.raises(ValidationError) as refused:
        convert("livecodebench", ROWS["livecodebench"] | {"private_test_cases": private})
    assert {error["loc"][0] for error in refused.value.errors()} == {"private_test_cases"}
