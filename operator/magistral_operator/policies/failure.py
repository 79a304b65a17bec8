"""What a failure means: the user's fault ends the run, a fault of the machines is tried again within limits."""

from dataclasses import dataclass

from magistral_api.names import LABEL_ATTEMPT, LABEL_STAGE
from magistral_api.status import StageStatus
from magistral_operator import constants, pods
from magistral_operator.case import Case, Verdict
from magistral_operator.plan import Manifest


@dataclass(frozen=True)
class Fault:
    """Why an attempt failed. `final`: trying again is useless."""

    reason: str
    message: str
    final: bool = False


def check(case: Case) -> Verdict | None:
    """The verdict that ends the run, or None. A fault that may pass marks the attempt as failed instead."""
    stage = case.current
    if stage is None or stage.state != "Running" or case.suspended:
        return None
    if stage.name == "preflight":
        if fault := _preflight(case, stage):
            _end_attempt(case, stage, fault)
        return None
    fault = _user_fault(case, stage) or (_trainers(case) if stage.name == "rl" else _job(case, stage))
    if fault is None:
        return None
    if not fault.final and stage.restarts < case.run.spec.failure_policy.max_restarts:
        stage.restarts += 1
        _end_attempt(case, stage, fault)
        return None
    stage.state, stage.completion_time = "Failed", case.timestamp
    stage.reason, stage.message = fault.reason, fault.message
    if fault.final:
        return Verdict(fault.reason, f"stage {stage.name}: {fault.message}", "stalled")
    return Verdict(constants.TOO_MANY_RESTARTS,
                   f"stage {stage.name} failed after {stage.restarts} restarts (failurePolicy.maxRestarts), last: "
                   f"{fault.message}", "stalled")


def _end_attempt(case: Case, stage: StageStatus, fault: Fault) -> None:
    stage.state, stage.completion_time = "Failed", case.timestamp
    if (stage.reason, stage.message) != (fault.reason, fault.message):
        case.note(fault.reason, f"stage {stage.name}, attempt {stage.attempt}: {fault.message}", warning=True)
    stage.reason, stage.message = fault.reason, fault.message


def _preflight(case: Case, stage: StageStatus) -> Fault | None:
    report = case.progress.get("preflight")
    if report is not None and report.state == "Failed":
        return Fault(report.reason or constants.PREFLIGHT_FAILED, report.message or "preflight said no more")
    return _job(case, stage)


def _user_fault(case: Case, stage: StageStatus) -> Fault | None:
    """Any container of the run's present pods that ended with the exit code for bad data."""
    for pod in case.observed.pods:
        attempt = pod["metadata"].get("labels", {}).get(LABEL_ATTEMPT, str(stage.attempt))
        stage_label = pod["metadata"].get("labels", {}).get(LABEL_STAGE, stage.name)
        if (stage_label, attempt) != (stage.name, str(stage.attempt)):
            continue
        for end in pods.ends(pod):
            if end.get("exitCode") == constants.USER_FAULT_EXIT_CODE:
                return _reported(case, stage, final=True) or Fault(
                    constants.BAD_INPUT, f"pod {pod['metadata']['name']}: {pods.last_words(end)}", final=True)
    return None


def _reported(case: Case, stage: StageStatus, *, final: bool) -> Fault | None:
    report = case.progress.get(stage.name)
    if report is None or report.state != "Failed" or not report.message:
        return None
    return Fault(report.reason or (constants.BAD_INPUT if final else constants.ATTEMPT_FAILED), report.message, final)


def _trainers(case: Case) -> Fault | None:
    """Trainers restart by themselves from the last checkpoint; only too many restarts are a fault."""
    role = next((role for role in case.status.roles if role.name == "trainer"), None)
    limit = case.run.spec.failure_policy.max_restarts
    if role is None or role.restarts <= limit:
        return None
    ends = [end for pod in case.pods(role="trainer", stage="rl") for end in pods.ends(pod)]
    if any(end.get("exitCode") == 0 for end in ends):
        # The last step is done and the kubelet started the container again; the conductor's report is on its way.
        return None
    words = f"; last: {pods.last_words(ends[0])}" if ends else ""
    return Fault(constants.TOO_MANY_RESTARTS,
                 f"the trainers restarted {role.restarts} times, failurePolicy.maxRestarts is {limit}{words}",
                 final=True)


def _job(case: Case, stage: StageStatus) -> Fault | None:
    job = case.child("Job", stage.name)
    if job is None or job["metadata"].get("labels", {}).get(LABEL_ATTEMPT) != str(stage.attempt):
        return None
    if pods.condition(job, "Failed").get("status") == "True":
        final = pods.condition(job, "Failed").get("reason") == "PodFailurePolicy" and stage.name != "preflight"
        return _reported(case, stage, final=final) or _from_pods(case, stage, job, final)
    complete = pods.condition(job, "Complete")
    if complete.get("status") == "True":
        # A report of success would have ended the stage before; give one that is on its way a moment.
        rest = constants.NO_REPORT_GRACE_S - case.age(complete.get("lastTransitionTime"))
        if rest <= 0:
            return Fault(constants.NO_REPORT, f"Job {job['metadata']['name']} ended well but never reported success in "
                                              f"ConfigMap {case.name}-progress; see its log")
        case.wake_in(rest)
    return None


def _from_pods(case: Case, stage: StageStatus, job: Manifest, final: bool) -> Fault:
    reason = constants.BAD_INPUT if final else constants.ATTEMPT_FAILED
    for pod in case.pods(stage=stage.name, attempt=stage.attempt):
        for end in pods.ends(pod):
            if end.get("exitCode"):
                return Fault(reason, f"pod {pod['metadata']['name']}: {pods.last_words(end)}", final)
    words = pods.condition(job, "Failed").get("message") or "no pod is left to say why"
    return Fault(reason, f"Job {job['metadata']['name']}: {words}", final)
