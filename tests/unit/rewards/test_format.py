"""Format: what a response must look like, and where evaluation looks for an answer."""

import pytest

from magistral_workloads.rewards import format as formats


def test_a_maths_response_has_thoughts_and_the_last_box_after_them() -> None:
    found = formats.parse("<think>2+2 is \\boxed{3}?</think>First \\boxed{5}, no: \\boxed{\\frac{8}{2}}", "maths")
    assert found == formats.Response("2+2 is \\boxed{3}?", "First \\boxed{5}, no: \\boxed{\\frac{8}{2}}", boxed="\\frac{8}{2}")


def test_a_code_response_has_its_first_fenced_block_with_a_language() -> None:
    found = formats.parse("<think>easy</think>\n```python\nprint(1)\n```\n```cpp\nint x;\n```", "code")
    assert isinstance(found, formats.Response)
    assert found.block == formats.Block("python", "print(1)\n")


@pytest.mark.parametrize("completion", [
    "\\boxed{4}",
    " <think>a</think>\\boxed{4}",
    "<think>a</think><think>b</think>\\boxed{4}",
    "<think>a\\boxed{4}",
    "<think>\\boxed{4}</think>four",
    "<think>a</think>\\boxed{}",
    "<think>a</think>\\boxed{4",
])
def test_a_malformed_maths_response_is_told_why(completion: str) -> None:
    assert isinstance(formats.parse(completion, "maths"), str)


def test_a_block_without_a_language_name_is_no_code_response() -> None:
    assert isinstance(formats.parse("<think>a</think>\n```\nprint(1)\n```", "code"), str)


def test_evaluation_finds_an_answer_in_a_response_that_never_thought() -> None:
    found = formats.find("The sum is \\boxed{7}.", "maths")
    assert isinstance(found, formats.Response)
    assert found.boxed == "7"


def test_evaluation_takes_a_block_without_a_language_or_an_end_for_python() -> None:
    found = formats.find("Here it is:\n```\nprint(1)\n", "code")
    assert isinstance(found, formats.Response)
    assert found.block == formats.Block("python", "print(1)\n")


def test_evaluation_does_not_look_for_answers_among_the_thoughts() -> None:
    assert formats.find("<think>\\boxed{1}</think>I do not know.", "maths") == "has no \\boxed{} with an answer in it"
