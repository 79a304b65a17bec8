"""One run as the policies see it: what was observed, parsed, and the status that they write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from magistral_api.names import (
    LABEL_ATTEMPT,
    LABEL_ROLE,
    LABEL_STAGE,
    child,
    progress_config_map,
    stages_of,
)
from magistral_api.progress import StageProgress
from magistral_api.run import MagistralRun
from magistral_api.runtime import MagistralRuntime
from magistral_api.status import RunStatus, StageName, StageStatus
from magistral_operator.plan import Key, Manifest, Notice


@dataclass(frozen=True)
class Observed:
    """One snapshot, as the API server gave it.

    `children`, `pods`: objects that carry this run's UID. `leftovers`: those made for an earlier run of this name.
    `nodes`: by name, those on which the pods sit. One that is not here is gone, or so new that it was not heard of yet.
    `named_runs`: by name, the runs that the spec names, as far as they exist. `refusal`: what the API server said to the
    last apply.
    `kueue`: whether the operator works with Kueue. `flavors`: its ResourceFlavors by name. `priority_class`: the
    WorkloadPriorityClass that the run names.
    """

    run: Manifest
    runtime: Manifest | None = None
    children: Mapping[Key, Manifest] = field(default_factory=dict)
    leftovers: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    nodes: Mapping[str, Manifest] = field(default_factory=dict)
    named_runs: Mapping[str, Manifest] = field(default_factory=dict)
    refusal: str | None = None
    kueue: bool = False
    flavors: Mapping[str, Manifest] = field(default_factory=dict)
    priority_class: Manifest | None = None


@dataclass(frozen=True)
class Verdict:
    """Where the run stands. reconciling: goes on by itself. stalled: waits for a person, or has failed.

    resting: suspended, neither of the two. ready: done.
    """

    reason: str
    message: str
    mode: Literal["reconciling", "stalled", "resting", "ready"] = "reconciling"


@dataclass
class Case:
    """The parsed snapshot. Policies read everything and change only `status` and `events`.

    `hold`: why Kueue lets the run have no pods, as queue.py says it.
    """

    observed: Observed
    now: datetime
    run: MagistralRun
    runtime: MagistralRuntime | None
    runtime_error: str | None
    progress: dict[StageName, StageProgress]
    status: RunStatus
    events: list[Notice] = field(default_factory=list)
    requeue_after: float | None = None
    unreadable: dict[StageName, str] = field(default_factory=dict)
    hold: str | None = None

    @classmethod
    def parse(cls, observed: Observed, now: datetime) -> "Case":
        """Raises pydantic.ValidationError when the run itself makes no sense."""
        run = MagistralRun.parse(observed.run | {"status": {}})
        runtime, runtime_error = _runtime(observed.runtime)
        case = cls(observed, now, run, runtime, runtime_error, {}, read_status(observed.run.get("status") or {}))
        case.status.observed_generation = run.metadata.generation
        known = {stage.name: stage for stage in case.status.stages}
        case.status.stages = [known.get(name) or StageStatus(name=name) for name in stages_of(run.spec)]
        case.progress = case._reports()
        return case

    @property
    def name(self) -> str:
        return self.run.metadata.name

    @property
    def timestamp(self) -> str:
        return stamp(self.now)

    @property
    def finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def suspended(self) -> bool:
        """Whether the run is to have no pods now."""
        return self.run.spec.suspend or self.hold is not None

    @property
    def ready_runtime(self) -> MagistralRuntime:
        """The runtime, once the preconditions hold."""
        assert self.runtime is not None
        return self.runtime

    @property
    def current(self) -> StageStatus | None:
        """The first stage that has not succeeded; None when all have."""
        return next((stage for stage in self.status.stages if stage.state != "Succeeded"), None)

    def stage(self, name: StageName) -> StageStatus | None:
        return next((stage for stage in self.status.stages if stage.name == name), None)

    def child(self, kind: str, part: str) -> Manifest | None:
        return self.observed.children.get((kind, child(self.name, part)))

    def pods(self, *, role: str | None = None, stage: str | None = None, attempt: int | None = None) -> list[Manifest]:
        """Pods of the run by their labels."""
        wanted = {LABEL_ROLE: role, LABEL_STAGE: stage, LABEL_ATTEMPT: None if attempt is None else str(attempt)}
        return [pod for pod in self.observed.pods
                if all(value is None or pod["metadata"].get("labels", {}).get(label) == value
                       for label, value in wanted.items())]

    def node_of(self, pod: Manifest) -> Manifest | None:
        """The pod's node, as far as it is known."""
        return self.observed.nodes.get((pod.get("spec") or {}).get("nodeName", ""))

    def age(self, moment: str | None) -> float:
        """Seconds since a timestamp; 0 when there is none."""
        return (self.now - moment_of(moment)).total_seconds() if moment else 0.0

    def wake_in(self, seconds: float) -> None:
        """Look again after so many seconds; the earliest wish counts."""
        seconds = max(seconds, 0.1)
        self.requeue_after = seconds if self.requeue_after is None else min(self.requeue_after, seconds)

    def note(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.events.append(Notice(reason, message, warning))

    def _reports(self) -> dict[StageName, StageProgress]:
        """What stages reported for their present attempt."""
        data = (self.observed.children.get(("ConfigMap", progress_config_map(self.name))) or {}).get("data") or {}
        reports: dict[StageName, StageProgress] = {}
        for stage in self.status.stages:
            if stage.name not in data:
                continue
            try:
                report = StageProgress.model_validate_json(data[stage.name])
            except ValidationError as error:
                self.unreadable[stage.name] = describe(error)
                continue
            if report.attempt == stage.attempt and report.stage == stage.name:
                reports[stage.name] = report
        return reports


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))


def describe(error: ValidationError) -> str:
    """Every fault on one line each: field, what was found, what is expected."""
    return "; ".join(_faults(error))


def _faults(error: ValidationError) -> Iterable[str]:
    for fault in error.errors(include_url=False):
        yield f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {fault['input']!r:.80}"


def _runtime(raw: Manifest | None) -> tuple[MagistralRuntime | None, str | None]:
    if raw is None:
        return None, None
    try:
        return MagistralRuntime.model_validate(raw), None
    except ValidationError as error:
        return None, describe(error)


def read_status(raw: Manifest) -> RunStatus:
    """The status as a model; an empty one when there is none yet."""
    try:
        return RunStatus.model_validate(raw)
    except ValidationError:
        # A status that this release cannot read is rebuilt from what is observed; children keep their names.
        return RunStatus()
