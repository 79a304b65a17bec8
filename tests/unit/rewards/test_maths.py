"""Maths answers: what text and exact numbers can tell without evaluating anything."""

from fractions import Fraction

import pytest

from magistral_workloads.rewards import maths


@pytest.mark.parametrize(("expected", "answer"), [
    ("1/2", "\\frac12"),
    ("0.5", "\\dfrac{1}{2}"),
    ("-0.5", "-\\frac{1}{2}"),
    ("1000", "1,000"),
    ("1234567.5", "1,234,567.50"),
    ("50", "50\\%"),
    ("90", "90^\\circ"),
    ("5", " $5$ "),
    ("5", "5."),
    ("5", "\\$5"),
    ("A", "\\text{A}"),
    ("1/2", ".5"),
    ("5", "+5"),
    ("-5", "−5"),
    ("\\left( 1, 2 \\right)", "(1,2)"),
    ("x^2+1", "x^2 \\, + 1"),
])
def test_two_spellings_of_an_answer_are_the_same(expected: str, answer: str) -> None:
    assert maths.quick(expected, answer) is True


@pytest.mark.parametrize(("expected", "answer"), [
    ("5", "15"),
    ("5", "50"),
    ("1/3", "0.333"),
    ("5", "-5"),
    ("1000", "1.000"),
])
def test_two_numbers_are_compared_exactly_and_as_a_whole(expected: str, answer: str) -> None:
    assert maths.quick(expected, answer) is False


@pytest.mark.parametrize(("expected", "answer"), [
    ("12", "1,2"),
    ("5", "٥"),
    ("5", "x=5"),
    ("2", "\\sqrt{4}"),
    ("1", "1/0"),
    ("1", "\\frac{1}{0}"),
    ("1000", "1e3"),
    ("5", "9^{9^{9}}"),
])
def test_what_is_no_plain_number_is_left_to_algebra(expected: str, answer: str) -> None:
    assert maths.quick(expected, answer) is None


@pytest.mark.parametrize("answer", [
    "x" * (maths.MAX_CHARS + 1),
    "7" * (maths.MAX_DIGITS + 1),
    "(" * 13 + "x" + ")" * 13,
    "x^2" * 13,
    "9^9^9^9",
    "9!!",
])
def test_an_answer_too_big_for_a_parser_is_another_answer(answer: str) -> None:
    assert not maths.is_small(answer)
    assert maths.quick("5", answer) is False
    assert maths.quick(answer, answer) is True


def test_equal_numbers_count_as_one_vote_and_other_text_as_its_own() -> None:
    assert {maths.canonical(text) for text in ("0.5", "\\frac{1}{2}", "1/2", "$.50$")} == {"1/2"}
    assert len({maths.canonical(text) for text in ("x+1", "1+x", "٥", "5")}) == 4
    assert len(maths.canonical("y" * 10_000)) == maths.MAX_CHARS


def test_a_number_is_a_fraction_of_ascii_digits() -> None:
    assert maths.number("-12.25") == Fraction(-49, 4)
    assert maths.number("\\frac{-6}{4}") == Fraction(-3, 2)
    assert [maths.number(text) for text in ("", "1.", "--5", "1.2.3", "²", "1_000", "inf", "nan")] == [None] * 8


def test_a_long_answer_is_not_rewritten() -> None:
    for text in ("." * 100_000 + "x", "1" + ",111" * 25_000 + ","):
        assert maths.normalise(text) == text
        assert maths.quick("5", text) is False
