"""Suspend, by spec.suspend or by Kueue: trainers commit a checkpoint, then every pod goes; resume is a new attempt.

The request is SIGTERM, the deadline the trainer pods' terminationGracePeriodSeconds. Both are the kubelet's, so a
checkpoint is waited for even while no operator is there. Until the trainers are gone the rest stays: the conductor is to
hear of the checkpoint and to report it.
"""

from magistral_api.names import LABEL_ROLE
from magistral_operator import constants, pods
from magistral_operator.case import Case, Verdict, moment_of
from magistral_operator.kinds import WORKLOAD_NAMES
from magistral_operator.plan import Manifest

TRAINER = "trainer"
STAGE_ROLES = (TRAINER, "conductor")


def check(case: Case) -> Verdict | None:
    """The verdict while suspended; None otherwise."""
    if not case.suspended:
        _resume(case)
        return None
    case.status.phase = "Suspended"
    if committing := _committing(case):
        return Verdict(constants.CHECKPOINT_BEFORE_SUSPEND, _waits_for(case, committing))
    if not released(case):
        case.wake_in(constants.SUSPEND_RETRY_S)
        return Verdict(constants.SUSPENDING, f"{_cause(case)}: pods are being removed")
    if case.run.spec.suspend:
        return Verdict(constants.SUSPENDED, f"spec.suspend is true; set to false, the run {_goes_on(case)}", "resting")
    return Verdict(constants.WAITING_FOR_QUOTA, f"{_cause(case)}; once admitted, it {_goes_on(case)}")


def released(case: Case) -> bool:
    """Whether no pod is there, nor anything that would make one. Ended Jobs stay with their logs."""
    return all(pods.phase(pod) in pods.ENDED for pod in case.observed.pods) and not any(
        kind in WORKLOAD_NAMES and not pods.job_ended(live) for (kind, _), live in case.observed.children.items())


def stays(case: Case, workload: Manifest) -> bool:
    """Whether a workload of a suspended run is still needed: all but the trainers, while one of those is there."""
    role = workload["spec"]["template"]["metadata"]["labels"].get(LABEL_ROLE)
    return case.suspended and not lets_go(case, role)


def lets_go(case: Case, role: str) -> bool:
    """Whether the pods of a role are ended on purpose: that is no restart."""
    return case.suspended and (role == TRAINER or not _committing(case))


def _committing(case: Case) -> list[Manifest]:
    """Trainers that have not ended and whose time to end is not over."""
    return [pod for pod in case.pods(role=TRAINER) if pods.phase(pod) not in pods.ENDED
            and case.age(pod["metadata"].get("deletionTimestamp")) <= constants.SUSPEND_MARGIN_S]


def _waits_for(case: Case, committing: list[Manifest]) -> str:
    names = ", ".join(sorted(pod["metadata"]["name"] for pod in committing))
    # A pod's deletionTimestamp is when it will be killed: the moment of the request and its grace period.
    kills = [pod["metadata"].get("deletionTimestamp") for pod in committing]
    if not all(kills):
        return f"{_cause(case)}: {names} are told to commit a checkpoint and end"
    last = max(kills, key=moment_of)
    case.wake_in(constants.SUSPEND_MARGIN_S + 1 - case.age(last))
    return f"{_cause(case)}: {names} commit a checkpoint, at most until {last}; then every other pod goes"


def _cause(case: Case) -> str:
    return "spec.suspend is true" if case.run.spec.suspend else f"the run {case.hold}"


def _resume(case: Case) -> None:
    if case.status.phase != "Suspended":
        return
    stage = case.current
    if stage is not None and stage.state == "Running":
        # The attempt's pods are gone or going: their late reports must not count for the new ones, nor their end as a
        # restart. Generators and verifiers belong to no attempt and may have stayed.
        stage.attempt += 1
        for role in case.status.roles:
            if role.name in STAGE_ROLES:
                role.pods = {}
    case.status.phase = "Running"
    case.note(constants.RESUMED, f"suspended no longer; the run {_goes_on(case)}")


def _goes_on(case: Case) -> str:
    stage, newest = case.current, case.status.latest_checkpoint
    assert stage is not None, "a run without a stage left has ended"
    if newest is not None and newest.stage == stage.name:
        return f"goes on from step {newest.step} of stage {stage.name}: Checkpoint {newest.name} ({newest.digest})"
    return f"goes on with stage {stage.name} from its start"
