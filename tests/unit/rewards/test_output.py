"""When two outputs of a program are the same."""

import pytest

from magistral_workloads.rewards.output import same


@pytest.mark.parametrize(("expected", "output"), [
    ("3\n", "3"),
    ("3", "3 \n\n"),
    ("1 2\n3\n", "1 2  \n3\n"),
    ("0.5", "0.50"),
    ("100", "1e2"),
    ("x = 1", "x = 1.0"),
    ("a  b", "a b"),
    ("", "\n"),
    ("é", "é"),
    ("3\r\n4\r\n", "3\n4\n"),
])
def test_outputs_that_differ_in_space_or_spelling_of_numbers_are_the_same(expected: str, output: str) -> None:
    assert same(expected, output)


@pytest.mark.parametrize(("expected", "output"), [
    ("3", ""),
    ("3", "33"),
    ("3", "3\n3"),
    ("3\n4", "3 4"),
    ("Yes", "yes"),
    ("3", "٣"),
    ("3", "nan"),
    ("3", "sNaN"),
    ("0.1", "0.10000001"),
    ("1", "1" + "0" * 60),
    ("1", "1e999999999"),
    ("\n3", "3"),
])
def test_other_outputs_are_not_the_same(expected: str, output: str) -> None:
    assert not same(expected, output)
