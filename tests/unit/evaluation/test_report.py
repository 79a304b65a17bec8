"""The report and the choice of a checkpoint."""

from magistral_api.status import SuiteResult
from magistral_workloads.conductor.ledger import StepSummary
from magistral_workloads.recipe.evaluate import StudyEntry, joined
from magistral_workloads.recipe.report import Report, html
from magistral_workloads.recipe.select import best


def result(model: str, suite: str = "maths", score: float = 0.5, majority: float | None = None) -> SuiteResult:
    return SuiteResult(name=f"{model}/{suite}", model=model, suite=suite, pass_at_1=score, low=score - 0.1, high=score + 0.1,
                       maj_at_k=majority, k=4, problems=8)


def test_columns_stand_in_the_order_of_the_papers_table() -> None:
    page = html(Report("r", "ns", "SFTThenRL", "s", [result("SFT+RL"), result("RL"), result("base"), result("SFT")], []))
    places = [page.index(f"<th>{name}") for name in ("base", "SFT", "RL", "SFT+RL")]
    assert places == sorted(places)


def test_every_cell_has_its_interval_and_names_no_winner() -> None:
    page = html(Report("r", "ns", "RL", None, [result("base", score=0.25, majority=0.5)], []))
    assert "25.0<small>[15.0, 35.0], maj@4 50.0, n=8</small>" in page
    assert "best" not in page


def test_rls_course_is_drawn_and_the_page_asks_nothing_from_outside() -> None:
    steps = [StepSummary(step=n, groups=[n], reward=n / 10, staleness=1, length=30, max_length=60, passed=0.5, dropped_groups=0)
             for n in range(1, 4)]
    page = html(Report("r", "ns", "RL", None, [result("base")], steps))
    assert "<svg" in page
    assert "<script" not in page
    assert "src=" not in page


def test_the_study_adds_columns_but_never_replaces_the_runs_own() -> None:
    other = StudyEntry(run="teacher", results=[result("RL", score=0.9), result("base", score=0.1)])
    assert {r.name: r.pass_at_1 for r in joined([result("base", score=0.2)], [other])} == {"RL/maths": 0.9, "base/maths": 0.2}


def test_the_best_checkpoint_by_the_metric_is_selected_and_the_earliest_wins_a_tie() -> None:
    found = {"30": result("a", score=0.6, majority=0.7), "10": result("b", score=0.6, majority=0.9),
             "20": result("c", score=0.5)}
    assert best(found, "pass@1") == "10"
    assert best(found, "maj@k") == "10"
