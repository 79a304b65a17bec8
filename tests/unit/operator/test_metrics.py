"""Metrics: what is counted once, which labels there are, and that the documentation says so."""

from pathlib import Path
from typing import get_args

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from magistral_api.names import STAGES
from magistral_api.status import Phase
from magistral_operator import kinds, metrics
from magistral_operator.plan import Manifest
from magistral_operator.policies import roles
from tests.unit.operator.world import OUTPUTS, World

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ALL: dict[str, MetricWrapperBase] = {
    described.name: metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)
    for described in metric.describe()}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Counted:
    """A world whose status writes are counted as apply.py does, looked at until it rests."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settle()

    def settle(self) -> None:
        for _ in range(10):
            before: Manifest = self.world.status
            plan = self.world.look()
            if plan.status is not None:
                metrics.count_changes(before, plan.status)
            if not plan.writes:
                return
        raise AssertionError("never at rest")

    def succeed(self, stage: str, after_s: float) -> None:
        self.world.pass_time(after_s).report(stage, **OUTPUTS[stage])
        self.settle()


def durations(stage: str, outcome: str) -> tuple[float, float]:
    name = "magistral_stage_duration_seconds"
    return value(f"{name}_count", stage=stage, outcome=outcome), value(f"{name}_sum", stage=stage, outcome=outcome)


def test_the_duration_of_a_stage_is_observed_once_at_its_end() -> None:
    count, total = durations("preflight", "succeeded")
    run = Counted(World("RL"))
    run.succeed("preflight", 30)
    run.world.pass_time(100)
    run.settle()
    assert durations("preflight", "succeeded") == (count + 1, total + 30)


def test_a_replica_that_takes_over_observes_nothing_again() -> None:
    run = Counted(World("RL"))
    run.succeed("preflight", 30)
    before = durations("preflight", "succeeded")
    Counted(run.world)
    assert durations("preflight", "succeeded") == before


def test_a_stage_that_fails_the_run_is_observed_as_failed_with_all_its_attempts() -> None:
    count, total = durations("evaluate", "failed")
    run = Counted(World("Evaluate", failurePolicy={"maxRestarts": 1}))
    run.succeed("preflight", 1)
    for attempt in (1, 2):
        run.world.pass_time(60).exit_with("w", 1, stage="evaluate", attempt=attempt).end_job("evaluate")
        run.settle()
        run.world.pass_time(600)
        run.settle()
    assert run.world.status["phase"] == "Failed"
    assert durations("evaluate", "failed") == (count + 1, total + 60 + 600 + 60)


def test_an_attempt_that_is_followed_by_another_is_a_restart_and_no_end() -> None:
    before, ends = value("magistral_restarts_total", role="worker", cause="application"), durations("evaluate", "failed")
    run = Counted(World("Evaluate"))
    run.succeed("preflight", 1)
    run.world.exit_with("w", 1, stage="evaluate", attempt=1).end_job("evaluate")
    run.settle()
    assert value("magistral_restarts_total", role="worker", cause="application") == before + 1
    assert durations("evaluate", "failed") == ends


def test_restarts_are_counted_by_role() -> None:
    before = value("magistral_restarts_total", role="generator", cause="application")
    run = Counted(World("RL"))
    run.succeed("preflight", 1)
    for restarts in (0, 2, 2):
        run.world.pod("g", role="generator", container={
            "name": "main", "restartCount": restarts, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}})
        run.settle()
    assert value("magistral_restarts_total", role="generator", cause="application") == before + 2


def test_restarts_are_counted_by_cause() -> None:
    def counted() -> list[float]:
        return [value("magistral_restarts_total", role="generator", cause=cause) for cause in ("application", "infrastructure")]

    before = counted()
    run = Counted(World("RL"))
    run.succeed("preflight", 1)
    for name in ("a", "b"):
        # A pod that vanishes and is replaced: nobody's process ended.
        run.world.pods.clear()
        for pod in (name, "other"):
            run.world.pod(pod, role="generator")
        run.settle()
    assert counted() == [before[0], before[1] + 1]


def test_runs_are_counted_by_phase_and_the_live_ones_by_stage() -> None:
    world = World("RL").settle()
    ended = World("RL").settle().run
    ended["status"] |= {"phase": "Failed"}
    metrics.count_runs([world.run, world.run, ended, World("RL").run])
    assert {phase: value("magistral_runs", phase=phase) for phase in get_args(Phase)} == {
        "Pending": 1, "Running": 2, "Suspended": 0, "Succeeded": 0, "Failed": 1}
    assert {stage: value("magistral_live_runs", stage=stage) for stage in STAGES} == {
        stage: 2 if stage == "preflight" else 0 for stage in STAGES}


def test_every_label_has_few_values_and_they_are_known() -> None:
    labels = {label for metric in ALL.values() for label in metric._labelnames}
    assert labels == {*metrics.LABEL_VALUES, "status"}
    assert set(metrics.LABEL_VALUES["role"]) == {"worker", *roles.ROLES}
    assert set(metrics.LABEL_VALUES["kind"]) == set(kinds.BY_NAME)


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading row, by first cell."""
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found: dict[str, list[str]] = {}
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        found[first.strip("`")] = rest
    return found


def test_the_documentation_has_every_metric_as_it_is() -> None:
    wanted = {}
    for family, metric in ALL.items():
        (described,) = metric.describe()
        name = f"{family}_total" if described.type == "counter" else family
        wanted[name] = [described.type, ", ".join(f"`{label}`" for label in metric._labelnames), described.documentation]
    assert rows("metric") == wanted


def test_the_documentation_has_every_label_with_its_values() -> None:
    documented = rows("label")
    assert set(documented) == {*metrics.LABEL_VALUES, "status"}
    for label, values in metrics.LABEL_VALUES.items():
        if label != "kind":
            assert documented[label][0].split("`")[1::2] == list(values), label
