"""Sets that are graded by their answer: AIME, MATH-500, GPQA, Humanity's Last Exam, maths of OpenThoughts."""

import pytest

from magistral_workloads.rewards import maths
from tests.unit.datasets.published import made, reason


def test_contests_keep_statement_and_answer_as_they_are() -> None:
    found = [made("aime24"), made("aime25"), made("math500"), made("openthoughts")]
    assert [(problem.prompt, problem.answer) for problem in found] == [
        ("Find $x$.", "033"), ("Find $y$.", "70"), ("Halve it.", "\\frac{1}{2}"), ("Solve $x+1=3$.", "\\frac{4}{2}")]
    assert [problem.id for problem in found[:3]] == ["aime24/60", "aime25/0", "math500/test/algebra/1.json"]


def test_an_answer_that_is_published_as_a_number_is_as_good_as_text() -> None:
    assert made("aime25", answer=70, id=3).answer == "70"


def test_a_leading_zero_of_an_aime_answer_does_not_count() -> None:
    assert maths.quick(made("aime24").answer or "", "33") is True


def test_gpqa_shows_each_option_once_and_its_answer_is_the_letter_of_the_right_one() -> None:
    letters = set()
    for number in range(40):
        problem = made("gpqa", **{"Record ID": f"rec{number}"})
        shown = [line for line in problem.prompt.splitlines() if line[1:3] == ") "]
        assert [line[0] for line in shown] == list("ABCD")
        assert sorted(line[3:] for line in shown) == ["gold", "iron", "mercury", "tin"]
        assert f"{problem.answer}) mercury" in shown
        letters.add(problem.answer)
    assert letters == set("ABCD"), "no letter is the right one more often than by chance"


def test_the_order_of_options_hangs_on_the_record_alone() -> None:
    assert made("gpqa", Question="Asked in other words?").answer == made("gpqa").answer


@pytest.mark.parametrize("written", ["B", "(B)", "\\text{B}", "\\textbf{(B)}", "\\mathrm{B}", "B."])
def test_a_letter_is_understood_however_it_is_boxed(written: str) -> None:
    found = maths.quick("B", written)
    assert found if found is not None else maths.same(maths.normalise("B"), maths.normalise(written))


@pytest.mark.parametrize("written", ["A", "(C)", "\\text{D}"])
def test_another_letter_is_another_answer(written: str) -> None:
    found = maths.quick("B", written)
    assert not (found if found is not None else maths.same(maths.normalise("B"), maths.normalise(written)))


def test_hle_asks_for_a_letter_where_there_are_options_and_leaves_images_out() -> None:
    assert "letter" in made("hle", answer_type="multipleChoice", answer="C").prompt
    assert "letter" not in made("hle").prompt
    assert "\\boxed{}" in made("hle").prompt
    assert made("hle", image=None).answer == "none"
    assert reason("hle", image="data:image/png;base64,AAAA") == "the question has an image"


@pytest.mark.parametrize("solution", [None, "It holds by induction.", "\\boxed{ }", "\\boxed{1"])
def test_a_solution_without_a_final_answer_is_a_proof_to_us_and_left_out(solution: str | None) -> None:
    assert reason("openthoughts", ground_truth_solution=solution) == "its solution has no final answer in \\boxed{}"


@pytest.mark.parametrize("domain", ["puzzle", "physics", "biology", "chemistry"])
def test_domains_of_openthoughts_that_no_rule_verifies_are_left_out_by_name(domain: str) -> None:
    assert reason("openthoughts", domain=domain).startswith(f"domain {domain}:")
