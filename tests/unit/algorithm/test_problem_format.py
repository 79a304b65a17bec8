"""Which problems rules can verify, and multiple choice without its options."""

import pytest

from magistral_api.problems import CodeTest, Problem
from magistral_api.run import FormatFilter
from magistral_workloads.algorithm.problem_format import WHY, well_formed
from magistral_workloads.datasets.formats import FORMATS

REWORD, KEEP = FormatFilter(), FormatFilter(multiple_choice="Keep")


def maths(prompt: str, answer: str | None = "4") -> Problem:
    return Problem(id="p", kind="maths", prompt=prompt, answer=answer)


def code(**fields: object) -> Problem:
    return Problem.model_validate({"id": "p", "kind": "code", "prompt": "Print the sum."} | fields)


STAY = {
    "a question with a number": maths("What is $2+2$?"),
    "a question with a formula": maths("Factor $x^2-1$.", r"(x-1)(x+1)"),
    "a few words": maths("On which day does it end?", "Monday"),
    "an answer of more than one value": maths("Solve $x^2=1$.", r"x=1 \text{ or } x=-1"),
    "conditions before one question": maths(
        "A function satisfies\n(i) f(0) = 1,\n(ii) f(x+y) = f(x) f(y).\nFind f(3) if f(1) = 2.", "8"),
    "numbers at the ends of sentences": maths("Let x = 1. What is x + 1. Is it 2. or 3. ?", "2"),
    "a single letter that is no option": maths("Which letter comes after A?", "B"),
    "a text that speaks of improvement": maths("The recipe improves by 3 a day. How much in 2 days?", "6"),
    "code with tests": code(tests=[CodeTest(stdin="1 2", stdout="3")]),
    "code with a check": code(check="def check(candidate): ...", entry_point="f"),
}


@pytest.mark.parametrize("sentence", list(STAY))
def test_what_stays_as_it_is(sentence: str) -> None:
    assert well_formed(STAY[sentence], REWORD) is STAY[sentence]


GO = {
    "no text": (maths("  "), "incomplete"),
    "no answer": (maths("What is 2+2?", None), "incomplete"),
    "a blank answer": (maths("What is 2+2?", " "), "incomplete"),
    "code that nothing tests": (code(), "incomplete"),
    "code without a text": (code(prompt="", tests=[CodeTest()]), "incomplete"),
    "a picture": (maths("What is the area?\n![](square.png)"), "picture"),
    "a picture that is spoken of": (maths("In the figure below, find the angle."), "picture"),
    "a proof": (maths("Prove that 2 is prime.", "2"), "proof"),
    "another proof": (maths("Show that $2+2=4$."), "proof"),
    "a proof for an answer": (maths("Is 2 prime?", "See the solution."), "proof"),
    "two questions": (maths("Let x = 2. (a) Find x + 1. (b) What is x + 2?", "3"), "parts"),
    "numbered questions": (maths("Let x = 2.\n1. Find x + 1.\n2. Find x + 2.", "3"), "parts"),
    "an answer in parts": (maths("Find x and y.", "(a) 3 (b) 4"), "parts"),
    "a sentence for an answer": (maths("When?", "It happens whenever the two trains meet each other"), "answer"),
    "a long answer": (maths("Write it.", "1+" * 300 + "1"), "answer"),
    "an answer of nothing but a sign": (maths("What?", "$"), "answer"),
}


@pytest.mark.parametrize("sentence", list(GO))
def test_what_goes_and_why(sentence: str) -> None:
    problem, fault = GO[sentence]
    assert well_formed(problem, REWORD) == fault
    assert fault in WHY


REWORDED = {
    "options in a row": (maths("What is 2+2? (A) 3 (B) 4 (C) 5", "B"), "What is 2+2?", "4"),
    "options in lines": (maths("What is $2+2$\nA. $3$\nB. $4$\nC. $\\frac{1}{2}$", "C"), "What is $2+2$", r"\frac{1}{2}"),
    "an answer in brackets": (maths("What is 2+2?\nA) 3\nB) 4", r"\text{(B)}"), "What is 2+2?", "4"),
    "an answer in the option's words": (maths("What is 2+2?\n(A) 3\n(B) 4", "4"), "What is 2+2?", "4"),
    "small letters": (maths("What is 2+2? (a) 3; (b) 4; (c) 5.", "b"), "What is 2+2?", "4"),
    "LaTeX of competitions": (
        maths(r"What is $2+2$? $\textbf{(A)}\ 3\qquad\textbf{(B)}\ 4\qquad\textbf{(C) }5$", "B"), "What is $2+2$?", "4"),
    "the last option of them": (
        maths(r"What is $2+2$? $\textbf{(A)}\ 3\qquad\textbf{(B)}\ 4\qquad\textbf{(C) }5$", "C"), "What is $2+2$?", "5"),
    "a heading and an instruction": (
        maths("What is 2+2?\n\nOptions:\nA. 3\nB. 4\nAnswer with a letter.", "B"), "What is 2+2?", "4"),
}


@pytest.mark.parametrize("sentence", list(REWORDED))
def test_multiple_choice_is_reworded_from(sentence: str) -> None:
    problem, prompt, answer = REWORDED[sentence]
    assert well_formed(problem, REWORD) == problem.model_copy(update={"prompt": prompt, "answer": answer})


@pytest.mark.parametrize("problem", [
    maths("Which of the following is prime? (A) 4 (B) 5 (C) 6", "B"),
    maths("Which statement is one of these? (A) 4 (B) 5 (C) 6", "B"),
    maths("What is 2+2? (A) 3 (B) 5 (C) none of the above", "C"),
    maths("(A) 3 (B) 4", "B"),
])
def test_multiple_choice_that_needs_its_options_goes(problem: Problem) -> None:
    assert well_formed(problem, REWORD) == "multipleChoice"
    assert well_formed(problem, KEEP) is problem


def test_a_reworded_problem_has_no_translation_which_would_still_ask_for_a_letter() -> None:
    asked = maths("What is 2+2? (A) 3 (B) 4", "B").model_copy(update={"translations": {"fr": "2+2 ? (A) 3 (B) 4"}})
    found = well_formed(asked, REWORD)
    assert isinstance(found, Problem)
    assert (found.answer, found.translations) == ("4", {})
    assert well_formed(asked, KEEP) is asked


def test_the_options_of_a_published_set_are_recognised() -> None:
    row = FORMATS["gpqa"].row.model_validate({
        "Record ID": "r", "Question": "How much is 2+2?", "Correct Answer": "4", "Incorrect Answer 1": "3",
        "Incorrect Answer 2": "5", "Incorrect Answer 3": "6"})
    published = FORMATS["gpqa"].problem(row)
    assert isinstance(published, Problem)
    found = well_formed(published, REWORD)
    assert isinstance(found, Problem)
    assert (found.prompt, found.answer) == ("How much is 2+2?", "4")


def test_a_reworded_problem_must_be_as_well_formed_as_any_other() -> None:
    wordy = maths("What happens? (A) 3 (B) the two trains meet each other in the middle", "B")
    assert well_formed(wordy, REWORD) == "answer"
