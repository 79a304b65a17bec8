"""spec.ttlAfterFinished: a finished run is deleted after this, with everything it owns."""

from magistral_api.base import seconds
from magistral_operator import constants
from magistral_operator.case import Case
from magistral_operator.plan import Deletion


def check(case: Case) -> Deletion | None:
    """The deletion of the run itself when its time has come."""
    limit = case.run.spec.ttl_after_finished
    if limit is None or not case.finished:
        return None
    rest = seconds(limit) - case.age(case.status.completion_time)
    if rest > 0:
        case.wake_in(rest)
        return None
    case.note(constants.EXPIRED, f"deleted: spec.ttlAfterFinished {limit} after its end")
    return Deletion("MagistralRun", case.name, case.run.metadata.uid)
