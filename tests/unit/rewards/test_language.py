"""Language consistency: problem, thoughts and answer in one language, where a language can be told."""

import pytest

from magistral_workloads.rewards import language

ENGLISH = "Calculate the sum of these two numbers and write it down, please."
GERMAN = "Berechne bitte die Summe der beiden Zahlen und gib sie danach an."
FRENCH = "Calcule la somme de ces deux nombres et donne le résultat, merci."
CHINESE = "计算这两个数字的和并给出最后的结果，谢谢你。"


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (FRENCH, "fr"), (CHINESE, "zh")])
def test_the_language_of_prose_is_told(text: str, code: str) -> None:
    assert language.language(text) == code


@pytest.mark.parametrize("text", [
    "",
    "\\boxed{12}",
    "2 + 2 = 4",
    "```python\nprint('the sum of these numbers is written here in English')\n```",
    "`the sum of these numbers is written here`",
    "$the sum of these numbers is written here$",
    "\\[ the sum of these numbers is written here \\]",
    "\\begin{align*} the sum of these numbers is written here \\end{align*}",
    "https://example.org/the/sum/of/these/numbers/is/written/here",
])
def test_code_formulas_and_links_have_no_language(text: str) -> None:
    assert language.language(text) is None


def test_formulas_in_a_text_do_not_change_its_language() -> None:
    assert language.language(f"{CHINESE} $\\text{{where the sum of all numbers is finite}}$ \\boxed{{12}}") == "zh"


def test_parts_in_one_language_agree() -> None:
    assert language.consistent(GERMAN, f"{GERMAN} Also $x$.", f"{GERMAN} \\boxed{{4}}")


@pytest.mark.parametrize(("problem", "thoughts", "answer"), [
    (GERMAN, ENGLISH, GERMAN), (GERMAN, GERMAN, ENGLISH), (ENGLISH, GERMAN, GERMAN), (ENGLISH, CHINESE, FRENCH)])
def test_one_part_in_another_language_is_inconsistent(problem: str, thoughts: str, answer: str) -> None:
    assert not language.consistent(problem, thoughts, answer)


def test_a_part_too_short_to_tell_agrees_with_any() -> None:
    assert language.consistent(FRENCH, FRENCH, "\\boxed{12}")
    assert language.consistent("1 + 1", "2", "\\boxed{2}")


def test_text_that_is_no_unicode_has_a_language_all_the_same() -> None:
    assert language.language(f"\ud800 {ENGLISH}") == "en"
