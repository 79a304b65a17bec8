"""The rules of curation, without a store."""

import random
from collections import Counter

import pytest

from magistral_api.problems import Outcome
from magistral_api.run import Curation
from magistral_workloads.algorithm.curation import Selection, Trace, curate, general_rows, pass_rates, prompt_key

NOBODY: frozenset[bytes] = frozenset()


def rules(**fields: object) -> Curation:
    return Curation.model_validate({"teacher": {"uri": "s3://bucket/teacher"}} | fields)


def traces(problem: str, outcomes: str, *, step: int = 10, tokens: int = 100, start: int = 0) -> list[Trace]:
    """One trace a letter: p passes, f fails, i is an infrastructure error."""
    names: dict[str, Outcome] = {"p": "pass", "f": "fail", "i": "infrastructure_error"}
    return [Trace(problem, start + place, 0, step, tokens, names[letter], prompt_key(problem), start + place)
            for place, letter in enumerate(outcomes)]


def step(selection: Selection, name: str) -> tuple[int, int]:
    (found,) = [step for step in selection.funnel if step.name == name]
    return found.kept, found.dropped


def plain(given: list[Trace], **fields: object) -> Selection:
    """Without upsampling, so that a row is a trace."""
    return curate(given, [], NOBODY, rules(upsampleLowPassRates=False, **fields), seed=1)


def test_only_correct_completions_stay() -> None:
    selection = plain(traces("a", "ppfi"))
    assert sorted(row.ref for row in selection.rows) == [0, 1]
    assert step(selection, "graded") == (3, 1)
    assert step(selection, "correct") == (2, 1)


def test_early_steps_and_short_completions_are_left_out_and_counted() -> None:
    given = [*traces("a", "p", step=3), *traces("b", "p", step=5, start=10), *traces("c", "p", tokens=7, start=20)]
    selection = plain(given, excludeSteps={"before": 5, "minCompletionTokens": 8})
    assert [row.ref for row in selection.rows] == [10]
    assert step(selection, "excludeSteps.before") == (2, 1)
    assert step(selection, "excludeSteps.minCompletionTokens") == (1, 1)


def test_no_problem_has_more_than_its_cap_and_none_loses_without_need() -> None:
    selection = plain([*traces("easy", "p" * 50), *traces("hard", "pp", start=100)], maxGenerationsPerProblem=4)
    assert Counter(row.ref >= 100 for row in selection.rows) == {False: 4, True: 2}
    assert step(selection, "maxGenerationsPerProblem") == (6, 46)


def test_the_choice_under_the_cap_is_seeded_and_not_the_first_ones() -> None:
    given = traces("easy", "p" * 50)
    chosen = {seed: {row.ref for row in curate(given, [], NOBODY, rules(upsampleLowPassRates=False), seed).rows}
              for seed in range(20)}
    assert len({frozenset(refs) for refs in chosen.values()}) > 1
    assert not set().union(*chosen.values()) <= set(range(4))


def test_a_problem_with_a_lower_pass_rate_gets_more_rows_per_trace() -> None:
    given = [*traces("always", "p" * 8), *traces("half", "pf" * 8, start=100), *traces("never", "ffff", start=200)]
    selection = curate(given, [], NOBODY, rules(maxGenerationsPerProblem=8), seed=1)
    rows = Counter("always" if row.ref < 100 else "half" for row in selection.rows)
    assert rows == {"always": 8, "half": 12}
    assert selection.pass_rates == {"always": 1.0, "half": 0.5, "never": 0.0}
    assert Counter(row.copy for row in selection.rows) == {0: 16, 1: 4}


def test_a_fraction_of_a_row_is_drawn_with_its_probability() -> None:
    given = traces("a", "pfff")
    total = sum(len(curate(given, [], NOBODY, rules(), seed).rows) for seed in range(400))
    assert 1.65 < total / 400 < 1.85


def test_the_pass_rate_looks_past_what_could_not_be_graded() -> None:
    assert pass_rates([trace for trace in traces("a", "pfi") if trace.outcome != "infrastructure_error"]) == {"a": 0.5}
    assert plain(traces("a", "pfi")).pass_rates == {"a": 0.5}


def test_a_prompt_of_an_evaluation_suite_is_left_out_however_it_is_written() -> None:
    suite = frozenset({prompt_key("What is  2+2?\n")})
    given = [Trace("a", 0, 0, 1, 9, "pass", prompt_key("what is 2+2?"), 0),
             Trace("b", 1, 0, 1, 9, "pass", prompt_key("what is 2-2?"), 1)]
    selection = curate(given, [], suite, rules(), seed=1)
    assert {row.ref for row in selection.rows} == {1}
    assert step(selection, "decontamination") == (1, 1)


def test_a_trace_without_its_problems_text_is_left_out() -> None:
    selection = plain([Trace("a", 0, 0, 1, 9, "pass", prompt_key(""), 0)])
    assert not selection.rows
    assert step(selection, "prompt") == (0, 1)


@pytest.mark.parametrize(("fraction", "wanted"), [(0.1, 10), (0.5, 90), (0.0, 0)])
def test_general_data_is_its_fraction_of_the_whole(fraction: float, wanted: int) -> None:
    general = [(1000 + place, prompt_key(f"general {place}")) for place in range(200)]
    given = [trace for place in range(90) for trace in traces(f"p{place}", "p", start=place)]
    mix = {"uri": "s3://bucket/general", "fraction": fraction}
    selection = curate(given, general, NOBODY, rules(generalInstruction=mix), seed=1)
    rows = Counter(row.source for row in selection.rows)
    assert (rows["teacher"], rows["general"], selection.general) == (90, wanted, wanted)
    assert len({row.ref for row in selection.rows}) == 90 + wanted


def test_too_little_general_data_is_all_taken_and_said() -> None:
    given = [trace for place in range(90) for trace in traces(f"p{place}", "p", start=place)]
    general = [(1000, prompt_key("one")), (1001, prompt_key("in the suite"))]
    selection = curate(given, general, frozenset({prompt_key("In the suite")}),
                       rules(generalInstruction={"uri": "s3://bucket/general"}), seed=1)
    assert selection.general == 1
    assert "10 wanted" in selection.funnel[-1].why
    assert "1 left out" in selection.funnel[-1].why


def test_nothing_is_mixed_into_nothing() -> None:
    selection = curate(traces("a", "f"), [(1, b"x")], NOBODY,
                       rules(generalInstruction={"uri": "s3://bucket/general"}), seed=1)
    assert not selection.rows


def test_all_general_is_refused() -> None:
    with pytest.raises(ValueError, match="no room for traces"):
        general_rows(10, 1.0)


def test_the_order_of_the_ledger_changes_nothing_and_the_seed_does() -> None:
    given = [trace for place in range(30) for trace in traces(f"p{place}", "ppfpf", start=place * 10)]
    mixed = given.copy()
    random.Random(3).shuffle(mixed)
    settings = rules(maxGenerationsPerProblem=2)
    first = curate(given, [], NOBODY, settings, seed=1)
    assert curate(mixed, [], NOBODY, settings, seed=1) == first
    assert curate(given, [], NOBODY, settings, seed=2).rows != first.rows


def test_another_problem_in_the_ledger_changes_no_choice_of_this_one() -> None:
    given = traces("a", "p" * 20)
    alone = {(row.ref, row.copy) for row in curate(given, [], NOBODY, rules(), seed=1).rows}
    both = curate([*given, *traces("b", "pf" * 20, start=100)], [], NOBODY, rules(), seed=1).rows
    assert {(row.ref, row.copy) for row in both if row.ref < 100} == alone
