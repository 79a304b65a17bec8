"""The rules of curation, without a store."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from magistral_api.problems import Outcome
from magistral_api.run import Curation
from magistral_workloads.algorithm.curation import Selection, Trace, curate, general_rows, pass_rates
from magistral_workloads.algorithm.decontamination import Leak, prompt_key


def rules(**fields: object) -> Curation:
    return Curation.model_validate({"teacher": {"uri": "s3://bucket/teacher"}} | fields)


def trace(problem: str, number: int = 0, **fields: object) -> Trace:
    """A correct one of RL. `number` is its group and its ref."""
    made = Trace(source="teacher", problem_id=problem, group=number, index=0, step=10, tokens=100, outcome="pass",
                 truncated=False, well_formed=True, prompt=prompt_key(problem), leak=None, ref=number)
    return replace(made, **fields)  # type: ignore[arg-type]


def traces(problem: str, outcomes: str, *, start: int = 0, **fields: object) -> list[Trace]:
    """One trace a letter: p passes, f fails, i is an infrastructure error."""
    names: dict[str, Outcome] = {"p": "pass", "f": "fail", "i": "infrastructure_error"}
    return [trace(problem, start + place, outcome=names[letter], **fields) for place, letter in enumerate(outcomes)]


def step(selection: Selection, name: str) -> tuple[int, int]:
    (found,) = [step for step in selection.funnel if step.name == name]
    return found.kept, found.dropped


def plain(given: list[Trace], **fields: object) -> Selection:
    """Without upsampling, so that a row is a trace."""
    return curate(given, [], rules(upsampleLowPassRates=False, **fields), seed=1)


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
    chosen = {seed: {row.ref for row in curate(given, [], rules(upsampleLowPassRates=False), seed).rows}
              for seed in range(20)}
    assert len({frozenset(refs) for refs in chosen.values()}) > 1
    assert not set().union(*chosen.values()) <= set(range(4))


def test_a_problem_with_a_lower_pass_rate_gets_more_rows_per_trace() -> None:
    given = [*traces("always", "p" * 8), *traces("half", "pf" * 8, start=100), *traces("never", "ffff", start=200)]
    selection = curate(given, [], rules(maxGenerationsPerProblem=8), seed=1)
    rows = Counter("always" if row.ref < 100 else "half" for row in selection.rows)
    assert rows == {"always": 8, "half": 12}
    assert selection.pass_rates == {prompt_key(name): rate for name, rate in (("always", 1.0), ("half", 0.5), ("never", 0.0))}
    assert Counter(row.copy for row in selection.rows) == {0: 16, 1: 4}


def test_a_fraction_of_a_row_is_drawn_with_its_probability() -> None:
    given = traces("a", "pfff")
    total = sum(len(curate(given, [], rules(), seed).rows) for seed in range(400))
    assert 1.65 < total / 400 < 1.85


def test_the_pass_rate_looks_past_what_could_not_be_graded() -> None:
    assert pass_rates(traces("a", "pf")) == {prompt_key("a"): 0.5}
    assert plain(traces("a", "pfi")).pass_rates == {prompt_key("a"): 0.5}


def test_a_prompt_that_is_or_is_like_one_of_an_evaluation_suite_is_left_out() -> None:
    selection = plain([trace("a", 0, leak="same"), trace("b", 1, leak="overlap"), trace("c", 2)])
    assert [row.ref for row in selection.rows] == [2]
    assert step(selection, "decontamination") == (2, 1)
    assert step(selection, "decontamination.ngram") == (1, 1)


def test_what_the_token_limit_cut_and_what_has_another_form_is_left_out_though_it_is_correct() -> None:
    selection = plain([trace("a", 0, truncated=True), trace("b", 1, well_formed=False), trace("c", 2)])
    assert [row.ref for row in selection.rows] == [2]
    assert step(selection, "truncated") == (2, 1)
    assert step(selection, "format") == (1, 1)


def test_a_trace_without_its_problems_text_is_left_out() -> None:
    selection = plain([trace("a", prompt=b"")])
    assert not selection.rows
    assert step(selection, "prompt") == (0, 1)


def test_rules_of_rls_steps_do_not_concern_generations() -> None:
    given = [trace("a", 0, step=3, tokens=5), trace("b", 1, source="generations[0]", step=None, tokens=5)]
    selection = plain(given, excludeSteps={"before": 5, "minCompletionTokens": 8})
    assert [(row.source, row.ref) for row in selection.rows] == [("generations[0]", 1)]


def test_every_step_of_the_funnel_counts_what_is_left_of_each_source() -> None:
    given = [*traces("a", "pf"), *traces("b", "ppf", start=10, source="generations[0]", step=None)]
    selection = curate(given, [(100 + place, None) for place in range(9)], rules(generalInstruction={
        "uri": "s3://bucket/general", "fraction": 0.5}, upsampleLowPassRates=False), seed=1)
    sources = {step.name: step.sources for step in selection.funnel}
    assert sources["read"] == {"generations[0]": 3, "teacher": 2}
    assert sources["correct"] == {"generations[0]": 2, "teacher": 1}
    assert sources["generalInstruction"] == {"general": 3, "generations[0]": 2, "teacher": 1}
    assert all(sum(step.sources.values()) == step.kept for step in selection.funnel)


def test_one_prompt_is_one_problem_whatever_its_sources_call_it() -> None:
    given = [*traces("a", "pp"), *traces("17", "pppp", start=10, source="generations[0]", prompt=prompt_key("a"))]
    selection = plain(given, maxGenerationsPerProblem=3)
    assert len(selection.rows) == 3
    assert selection.pass_rates == {prompt_key("a"): 1.0}


def test_two_problems_of_one_name_are_two_problems() -> None:
    given = [*traces("a", "pp"), *traces("a", "pf", start=10, source="generations[0]", prompt=prompt_key("b"))]
    selection = plain(given, maxGenerationsPerProblem=2)
    assert len(selection.rows) == 3
    assert selection.pass_rates == {prompt_key("a"): 1.0, prompt_key("b"): 0.5}


@pytest.mark.parametrize(("fraction", "wanted"), [(0.1, 10), (0.5, 90), (0.0, 0)])
def test_general_data_is_its_fraction_of_the_whole(fraction: float, wanted: int) -> None:
    general: list[tuple[int, Leak | None]] = [(1000 + place, None) for place in range(200)]
    given = [trace for place in range(90) for trace in traces(f"p{place}", "p", start=place)]
    mix = {"uri": "s3://bucket/general", "fraction": fraction}
    selection = curate(given, general, rules(generalInstruction=mix), seed=1)
    rows = Counter(row.source for row in selection.rows)
    assert (rows["teacher"], rows["general"], selection.general) == (90, wanted, wanted)
    assert len({row.ref for row in selection.rows}) == 90 + wanted


def test_too_little_general_data_is_all_taken_and_said() -> None:
    given = [trace for place in range(90) for trace in traces(f"p{place}", "p", start=place)]
    general: list[tuple[int, Leak | None]] = [(1000, None), (1001, "same")]
    selection = curate(given, general, rules(generalInstruction={"uri": "s3://bucket/general"}), seed=1)
    assert selection.general == 1
    assert "10 wanted" in selection.funnel[-1].why
    assert "1 left out" in selection.funnel[-1].why


def test_nothing_is_mixed_into_nothing() -> None:
    selection = curate(traces("a", "f"), [(1, None)],
                       rules(generalInstruction={"uri": "s3://bucket/general"}), seed=1)
    assert not selection.rows


def test_all_general_is_refused() -> None:
    with pytest.raises(ValueError, match="no room for traces"):
        general_rows(10, 1.0)


def test_the_order_of_the_traces_changes_nothing_and_the_seed_does() -> None:
    given = [trace for place in range(30) for trace in traces(f"p{place}", "ppfpf", start=place * 10)]
    mixed = given.copy()
    random.Random(3).shuffle(mixed)
    settings = rules(maxGenerationsPerProblem=2)
    first = curate(given, [], settings, seed=1)
    assert curate(mixed, [], settings, seed=1) == first
    assert curate(given, [], settings, seed=2).rows != first.rows


def test_another_problem_changes_no_choice_of_this_one() -> None:
    given = traces("a", "p" * 20)
    alone = {(row.ref, row.copy) for row in curate(given, [], rules(), seed=1).rows}
    both = curate([*given, *traces("b", "pf" * 20, start=100)], [], rules(), seed=1).rows
    assert {(row.ref, row.copy) for row in both if row.ref < 100} == alone
