"""Prompts that are, or are too much like, those of evaluation suites."""

import pytest

from magistral_workloads.algorithm.decontamination import FORM, EvaluationPrompts, prompt_key

QUESTION = "A train leaves at noon and runs at 60 km/h; how far is it at three o'clock in the afternoon?"


@pytest.mark.parametrize("prompt", ["what is  2+2?", "What is\n2+2?\t", "WHAT IS ２+２?"])
def test_a_prompt_is_the_same_however_it_is_written(prompt: str) -> None:
    assert prompt_key(prompt) == prompt_key("What is 2+2?")
    assert EvaluationPrompts(["What is 2+2?"], 13).leak(prompt) == "same"


def test_one_sign_makes_another_problem_of_a_short_prompt() -> None:
    assert EvaluationPrompts(["What is 2 + 2 ?"], 13).leak("What is 2 - 2 ?") is None


def test_words_in_a_row_that_a_suite_has_too_are_found_wherever_they_stand() -> None:
    evaluation = EvaluationPrompts([QUESTION], 13)
    words = QUESTION.split()
    assert evaluation.leak(f"Solve this. {' '.join(words[3:16])} Explain.") == "overlap"
    assert evaluation.leak(f"Solve this. {' '.join(words[3:15])} Explain.") is None
    assert evaluation.leak(f"{' '.join(words[:10])} or not {' '.join(words[10:])}") is None


def test_how_many_words_is_a_choice() -> None:
    words = QUESTION.split()[2:10]
    assert EvaluationPrompts([QUESTION], 8).leak(" ".join(words)) == "overlap"
    assert EvaluationPrompts([QUESTION], 9).leak(" ".join(words)) is None


def test_what_many_prompts_of_the_suites_have_in_common_is_their_form() -> None:
    form = "Write a program that reads from standard input and writes the answer to standard output. It prints"
    few = EvaluationPrompts([f"{form} {number}" for number in range(FORM)], 13)
    many = EvaluationPrompts([f"{form} {number}" for number in range(FORM + 1)], 13)
    assert (few.leak(f"{form} a sorted list"), many.leak(f"{form} a sorted list")) == ("overlap", None)
    assert many.leak(f"{form} 3") == "same"


def test_one_prompt_in_many_suites_is_no_form() -> None:
    evaluation = EvaluationPrompts([QUESTION] * (2 * FORM), 13)
    assert evaluation.leak(f"Please: {QUESTION}") == "overlap"
