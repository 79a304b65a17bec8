"""The report: one page without outside parts. The whole table with intervals, no winner; RL's course when there is one."""

import html as escape
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl

from magistral_api.status import SuiteResult
from magistral_workloads.conductor.ledger import StepSummary

COLUMNS = ("base", "SFT", "RL", "SFT+RL")
"""The order of Table 3; other columns follow."""

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2.5rem auto;max-width:60rem;padding:0 1rem;color:#1c2230}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin-top:2.2rem} p.sub{color:#5b6475;margin-top:0}
table{border-collapse:collapse;width:100%} th,td{padding:.55rem .7rem;text-align:right;border-bottom:1px solid #dfe3ea}
th:first-child,td:first-child{text-align:left;white-space:nowrap} thead th{border-bottom:2px solid #1c2230}
td small{color:#5b6475;display:block} figure{margin:1rem 0} svg{max-width:100%;height:auto}
"""


@dataclass(frozen=True)
class Report:
    """What the page shows. `steps`: RL's batches in order, empty without RL."""

    run: str
    namespace: str
    paradigm: str
    study: str | None
    results: Sequence[SuiteResult]
    steps: Sequence[StepSummary]


def html(report: Report) -> str:
    """The page as one string."""
    study = f", study {escape.escape(report.study)}" if report.study else ""
    course = f"<h2>RL, step by step</h2><figure>{_course(report.steps)}</figure>" if report.steps else ""
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape.escape(report.run)}</title>"
            f"<style>{_STYLE}</style><h1>{escape.escape(report.run)}</h1>"
            f"<p class=sub>MagistralRun in namespace {escape.escape(report.namespace)}, paradigm {report.paradigm}{study}</p>"
            f"<h2>Evaluation</h2>{_table(report.results)}"
            "<p class=sub>pass@1 in percent, mean over runs; below it the 95% interval (bootstrap over problems and runs) "
            "and maj@k where several answers were drawn. Overlapping intervals are no difference.</p>"
            f"{course}</html>")


def _table(results: Sequence[SuiteResult]) -> str:
    present = {result.model for result in results}
    models = [name for name in COLUMNS if name in present] + sorted(present - set(COLUMNS))
    suites = sorted({result.suite for result in results})
    cells = {(result.suite, result.model): result for result in results}
    head = "".join(f"<th>{escape.escape(model)}" for model in models)
    rows = "".join(
        f"<tr><td>{escape.escape(suite)}" + "".join(f"<td>{_cell(cells.get((suite, model)))}" for model in models)
        for suite in suites)
    return f"<table><thead><tr><th>Suite{head}</thead><tbody>{rows}</tbody></table>"


def _cell(result: SuiteResult | None) -> str:
    if result is None:
        return "–"
    majority = "" if result.maj_at_k is None else f", maj@{result.k} {100 * result.maj_at_k:.1f}"
    return (f"{100 * result.pass_at_1:.1f}<small>[{100 * result.low:.1f}, {100 * result.high:.1f}]{majority}, "
            f"n={result.problems}</small>")


def _course(steps: Sequence[StepSummary]) -> str:
    """Reward, length, staleness and pass rate by step, as inline SVG."""
    mpl.use("svg")
    from matplotlib import pyplot, ticker  # noqa: PLC0415 - the backend is chosen first

    mpl.rcParams["svg.hashsalt"] = "magistral"  # the same report has the same bytes
    panels = (("Mean reward", "reward"), ("Completion length, tokens", "length"),
              ("Staleness, policy versions", "staleness"), ("Pass rate", "passed"))
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 5.2), layout="constrained")
    for axis, (title, name) in zip(axes.flat, panels, strict=True):
        axis.plot([step.step for step in steps], [getattr(step, name) for step in steps], color="#d9480f", linewidth=1.8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=9)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
