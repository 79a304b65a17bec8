"""spec.activeDeadline, counted from the status's start time."""

from magistral_api.base import seconds
from magistral_operator import constants
from magistral_operator.case import Case, Verdict


def check(case: Case) -> Verdict | None:
    """The verdict that ends the run when its time is over."""
    limit = case.run.spec.active_deadline
    if limit is None:
        return None
    rest = seconds(limit) - case.age(case.status.start_time)
    if rest > 0:
        case.wake_in(rest)
        return None
    return Verdict(constants.DEADLINE_EXCEEDED,
                   f"the run has not ended within spec.activeDeadline {limit} of its start at {case.status.start_time}",
                   "stalled")
