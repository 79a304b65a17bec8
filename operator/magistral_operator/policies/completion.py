"""The run is done when its last stage is."""

from magistral_operator import constants
from magistral_operator.case import Case, Verdict


def check(case: Case) -> Verdict | None:
    """The verdict of success, or None while a stage is left."""
    if case.current is not None:
        return None
    newest = case.status.latest_checkpoint
    parts = [f"{len(case.status.results)} results in status.results"]
    if newest is not None:
        parts.append(f"last checkpoint {newest.name} ({newest.digest})")
    if case.status.report:
        parts.append(f"report {case.status.report}")
    return Verdict(constants.SUCCEEDED, "; ".join(parts), "ready")
