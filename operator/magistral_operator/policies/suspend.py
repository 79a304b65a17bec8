"""spec.suspend: every pod goes, the status stays; without it the current stage goes on as a new attempt."""

from magistral_operator import constants, pods
from magistral_operator.case import Case, Verdict


def check(case: Case) -> Verdict | None:
    """The verdict while suspended; None otherwise."""
    if case.run.spec.suspend:
        case.status.phase = "Suspended"
        alive = [pod for pod in case.observed.pods if pods.phase(pod) not in ("Succeeded", "Failed")]
        if alive:
            case.wake_in(5)
            return Verdict(constants.SUSPENDING, "spec.suspend is true: pods are being removed")
        return Verdict(constants.SUSPENDED, "spec.suspend is true; set it to false to go on from the last checkpoint",
                       "resting")
    if case.status.phase == "Suspended":
        stage = case.current
        if stage is not None and stage.state == "Running":
            # The attempt's pods are gone; a late report of theirs must not count for the new ones.
            stage.attempt += 1
        case.status.phase = "Running"
        case.note(constants.RESUMED, "spec.suspend is false again")
    return None
