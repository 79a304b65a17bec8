"""From one stage to the next: reports of pods become stage status, and the next stage starts when it may."""

from magistral_api.progress import OUTPUT_REPORT_URI, StageProgress
from magistral_api.status import StageStatus
from magistral_operator import constants
from magistral_operator.case import Case, Verdict
from magistral_operator.policies import references


def read_reports(case: Case) -> None:
    """Copy what the running stage reports into the status; a reported success ends the stage."""
    for stage in case.status.stages:
        report = case.progress.get(stage.name)
        if stage.state == "Running" and report is not None:
            _copy(case, stage, report)


def start(case: Case) -> Verdict:
    """Start the next attempt if its time has come, and say what the current stage does or waits for."""
    stage = case.current
    assert stage is not None
    case.status.stage, case.status.phase = stage.name, "Running"
    if stage.state == "Pending":
        if waiting := references.gate(case, stage):
            return waiting
        _begin(case, stage)
    elif stage.state == "Failed":
        rest = backoff(stage) - case.age(stage.completion_time)
        if rest > 0:
            case.wake_in(rest)
            return _retrying(case, stage)
        _begin(case, stage)
    return _running(case, stage)


def backoff(stage: StageStatus) -> float:
    """Seconds between the end of the last attempt and the start of the next."""
    if stage.name == "preflight":
        first, longest = constants.PREFLIGHT_BACKOFF_S
        return float(min(first * 2 ** min(stage.attempt - 1, 16), longest))
    first, longest = constants.RETRY_BACKOFF_S
    failures = max(stage.restarts + stage.infrastructure_restarts, 1)
    return float(min(first * 2 ** min(failures - 1, 16), longest))


def _begin(case: Case, stage: StageStatus) -> None:
    stage.attempt += 1
    stage.state = "Running"
    stage.start_time = stage.start_time or case.timestamp
    stage.completion_time = stage.disrupted = None
    stage.stuck_restarts = 0
    case.status.progress = stage.name
    if stage.attempt == 1 or stage.name != "preflight":
        # Preflight is tried until the store is repaired; an Event each time would bury the others.
        case.note(constants.STAGE_STARTED, f"stage {stage.name}, attempt {stage.attempt}")


def _copy(case: Case, stage: StageStatus, report: StageProgress) -> None:
    if report.step > stage.step:
        stage.stuck_restarts = 0
    stage.step, stage.total_steps = report.step, report.total_steps
    stage.outputs = stage.outputs | report.outputs
    case.status.progress = f"{stage.name} {stage.step}/{stage.total_steps}" if stage.total_steps else stage.name
    if report.rl is not None:
        case.status.rl = report.rl
    if report.results:
        case.status.results = report.results
    if stage.name == "evaluate":
        case.status.report = report.outputs.get(OUTPUT_REPORT_URI, case.status.report)
    if report.state == "Succeeded":
        stage.state, stage.completion_time = "Succeeded", case.timestamp
        stage.reason = stage.message = None
        case.note(constants.STAGE_SUCCEEDED, f"stage {stage.name} succeeded in attempt {stage.attempt}")


def _running(case: Case, stage: StageStatus) -> Verdict:
    if stage.name == "preflight" and stage.reason:
        # The last look failed and this one has not answered yet: nothing is known to be repaired.
        return Verdict(stage.reason, stage.message or "", "stalled")
    again = f", attempt {stage.attempt}; the one before: {stage.message}" if stage.message else ""
    return Verdict(constants.STAGE_RUNNING, f"stage {stage.name} is running{again}")


def _retrying(case: Case, stage: StageStatus) -> Verdict:
    if stage.name == "preflight":
        return Verdict(stage.reason or constants.PREFLIGHT_FAILED, stage.message or "", "stalled")
    policy = case.run.spec.failure_policy
    return Verdict(constants.RETRYING,
                   f"stage {stage.name}: attempt {stage.attempt} failed: {stage.message}; it is tried again after "
                   f"{backoff(stage):.0f} s (restarts {stage.restarts} of {policy.max_restarts}, after infrastructure "
                   f"faults {stage.infrastructure_restarts} of {policy.max_infrastructure_restarts})")
