"""What a failure means: the user's fault ends the run, others are tried again, each kind within its own limit."""

from dataclasses import dataclass

from magistral_api.names import LABEL_ATTEMPT, LABEL_STAGE
from magistral_api.status import FaultKind, StageStatus
from magistral_operator import constants, pods
from magistral_operator.case import Case, Verdict
from magistral_operator.plan import Manifest
from magistral_operator.policies import faults, nodes


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed. `counted`: its restarts are already in the stage's counters."""

    reason: str
    message: str
    kind: FaultKind = "application"
    counted: bool = False


def check(case: Case) -> Verdict | None:
    """The verdict that ends the run, or None. A fault that may pass marks the attempt as failed instead."""
    stage = case.current
    if stage is None or stage.state != "Running" or case.suspended:
        return None
    if stage.name == "preflight":
        if failure := _preflight(case, stage):
            _end_attempt(case, stage, failure)
        return None
    failure = _user_fault(case, stage) or (_trainers(case, stage) if stage.name == "rl" else _job(case, stage))
    failure = failure or _on_excluded_node(case, stage)
    if failure is None:
        return None
    if failure.kind != "user" and (failure.counted or _count(case, stage, failure)):
        _end_attempt(case, stage, failure)
        return None
    stage.state, stage.completion_time = "Failed", case.timestamp
    stage.reason, stage.message = failure.reason, failure.message
    if failure.kind == "user":
        return Verdict(failure.reason, f"stage {stage.name}: {failure.message}", "stalled")
    return _too_many(case, stage, failure)


def keeps_pods(case: Case, reason: str) -> bool:
    """Whether the pods of a run that ended for this reason stay for debugging. A deadline is there to free them."""
    return (case.status.phase == "Failed" and case.run.spec.failure_policy.on_failure == "KeepPods"
            and reason != constants.DEADLINE_EXCEEDED)


def _count(case: Case, stage: StageStatus, failure: Failure) -> bool:
    """Count one more restart if the limit of its kind allows it."""
    policy = case.run.spec.failure_policy
    if failure.kind == "infrastructure":
        if stage.infrastructure_restarts >= policy.max_infrastructure_restarts:
            return False
        stage.infrastructure_restarts += 1
    else:
        if stage.restarts >= policy.max_restarts:
            return False
        stage.restarts += 1
    return True


def _too_many(case: Case, stage: StageStatus, failure: Failure) -> Verdict:
    policy = case.run.spec.failure_policy
    reason, limit = constants.TOO_MANY_RESTARTS, f"maxRestarts {policy.max_restarts}"
    if failure.kind == "infrastructure":
        reason = constants.TOO_MANY_INFRASTRUCTURE_RESTARTS
        limit = f"maxInfrastructureRestarts {policy.max_infrastructure_restarts}"
    return Verdict(reason, f"stage {stage.name}: no restart is left (failurePolicy.{limit}), last: {failure.message}",
                   "stalled")


def _end_attempt(case: Case, stage: StageStatus, failure: Failure) -> None:
    stage.state, stage.completion_time = "Failed", case.timestamp
    if (stage.reason, stage.message) != (failure.reason, failure.message):
        case.note(failure.reason, f"stage {stage.name}, attempt {stage.attempt}: {failure.message}", warning=True)
    stage.reason, stage.message = failure.reason, failure.message


def _preflight(case: Case, stage: StageStatus) -> Failure | None:
    report = case.progress.get("preflight")
    if report is not None and report.state == "Failed":
        return Failure(report.reason or constants.PREFLIGHT_FAILED, report.message or "preflight said no more")
    return _job(case, stage)


def _user_fault(case: Case, stage: StageStatus) -> Failure | None:
    """Any container of the run's present pods that ended with the exit code for bad data."""
    for pod in case.observed.pods:
        attempt = pod["metadata"].get("labels", {}).get(LABEL_ATTEMPT, str(stage.attempt))
        stage_label = pod["metadata"].get("labels", {}).get(LABEL_STAGE, stage.name)
        if (stage_label, attempt) != (stage.name, str(stage.attempt)):
            continue
        for end in pods.ends(pod):
            if end.get("exitCode") == constants.USER_FAULT_EXIT_CODE:
                return _reported(case, stage, "user") or Failure(
                    constants.BAD_INPUT, f"pod {pod['metadata']['name']}: {pods.last_words(end)}", "user")
    return None


def _reported(case: Case, stage: StageStatus, kind: FaultKind) -> Failure | None:
    report = case.progress.get(stage.name)
    if report is None or report.state != "Failed" or not report.message:
        return None
    return Failure(report.reason or (constants.BAD_INPUT if kind == "user" else constants.ATTEMPT_FAILED),
                   report.message, kind)


def _trainers(case: Case, stage: StageStatus) -> Failure | None:
    """Trainers restart by themselves from the last checkpoint, until that does not help or it is too often."""
    policy = case.run.spec.failure_policy
    ends = [end for pod in case.pods(role="trainer", stage="rl", attempt=stage.attempt) for end in pods.ends(pod)]
    words = next((f"; last: {pods.last_words(end)}" for end in ends if end.get("exitCode")), "")
    if stage.restarts > policy.max_restarts:
        return Failure(constants.ATTEMPT_FAILED, f"the trainers restarted {stage.restarts} times{words}")
    if stage.infrastructure_restarts > policy.max_infrastructure_restarts:
        return Failure(constants.ATTEMPT_FAILED,
                       f"trainers were lost {stage.infrastructure_restarts} times{words}", "infrastructure")
    if stage.stuck_restarts >= constants.STUCK_RESTARTS:
        return Failure(constants.RESTARTS_DO_NOT_HELP,
                       f"the trainers restarted {stage.stuck_restarts} times in place without a new step{words}",
                       counted=True)
    return None


def _on_excluded_node(case: Case, stage: StageStatus) -> Failure | None:
    """A training group leaves a node as soon as it is excluded: its pods would come back to it."""
    for pod in case.pods(role="trainer", stage=stage.name, attempt=stage.attempt):
        if pods.phase(pod) != "Succeeded" and (excluded := nodes.exclusion_of(case, pod)):
            return Failure(constants.NODE_EXCLUDED,
                           f"trainer {pod['metadata']['name']} sits on node {excluded.name}, which is excluded until "
                           f"{excluded.until} ({excluded.reason})", "infrastructure", counted=True)
    return None


def _job(case: Case, stage: StageStatus) -> Failure | None:
    job = case.child("Job", stage.name)
    if job is None or job["metadata"].get("labels", {}).get(LABEL_ATTEMPT) != str(stage.attempt):
        return None
    if pods.condition(job, "Failed").get("status") == "True":
        user = pods.condition(job, "Failed").get("reason") == "PodFailurePolicy" and stage.name != "preflight"
        kind: FaultKind = "user" if user else _kind(case, stage, job)
        return _reported(case, stage, kind) or _from_pods(case, stage, job, kind)
    complete = pods.condition(job, "Complete")
    if complete.get("status") == "True":
        # A report of success would have ended the stage before; give one that is on its way a moment.
        rest = constants.NO_REPORT_GRACE_S - case.age(complete.get("lastTransitionTime"))
        if rest <= 0:
            return Failure(constants.NO_REPORT, f"Job {job['metadata']['name']} ended well but never reported success "
                                                f"in ConfigMap {case.name}-progress; see its log")
        case.wake_in(rest)
        return None
    return _disruption(case, stage, job)


def _disruption(case: Case, stage: StageStatus, job: Manifest) -> Failure | None:
    """Remember a lost pod of a Job that goes on: it is replaced, but may take the others along."""
    if pods.condition(job, "FailureTarget").get("status") == "True":
        # The Job controller is ending the pods that are left; they are not lost.
        return None
    for pod in case.pods(stage=stage.name, attempt=stage.attempt):
        loss = faults.of_loss(pod, case.node_of(pod))
        if loss is None or loss.kind != "infrastructure":
            continue
        since = loss.at or pod["metadata"].get("deletionTimestamp") or stage.disrupted or case.timestamp
        stage.disrupted = max(since, stage.disrupted or since)
        if nodes.hangs(case, pod):
            # A Job waits for its pod to end before it makes another, and this one never will.
            return Failure(constants.NODE_LOST, f"pod {pod['metadata']['name']} was lost with its node "
                                                f"{pod['spec']['nodeName']}", "infrastructure")
    return None


def _kind(case: Case, stage: StageStatus, job: Manifest) -> FaultKind:
    """Whose fault it is that a Job failed. Its controller ends the pods that are left, so a deleted one means nothing."""
    known = [fault for pod in case.pods(stage=stage.name, attempt=stage.attempt)
             if (fault := faults.of_pod(pod, case.node_of(pod)))]
    failed = pods.condition(job, "Failed").get("lastTransitionTime")
    disrupted = bool(stage.disrupted) and case.age(stage.disrupted) - case.age(failed) <= constants.DISRUPTION_ECHO_S
    if disrupted or any(fault.kind == "infrastructure" and fault.reason != faults.DELETED for fault in known):
        return "infrastructure"
    return "application" if any(fault.kind == "application" for fault in known) else "infrastructure"


def _from_pods(case: Case, stage: StageStatus, job: Manifest, kind: FaultKind) -> Failure:
    reason = constants.BAD_INPUT if kind == "user" else constants.ATTEMPT_FAILED
    for pod in case.pods(stage=stage.name, attempt=stage.attempt):
        for end in pods.ends(pod):
            if end.get("exitCode"):
                return Failure(reason, f"pod {pod['metadata']['name']}: {pods.last_words(end)}", kind)
    words = pods.condition(job, "Failed").get("message") or "no pod is left to say why"
    return Failure(reason, f"Job {job['metadata']['name']}: {words}", kind)
