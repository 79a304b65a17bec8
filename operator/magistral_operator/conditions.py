"""Conditions by kstatus rules: `Ready` is always there, `Reconciling` and `Stalled` only while true."""

from typing import Literal

from magistral_api.status import Condition, RunStatus
from magistral_operator.case import Verdict

_BESIDE_READY = {"reconciling": "Reconciling", "stalled": "Stalled"}


def write(status: RunStatus, verdict: Verdict, generation: int, timestamp: str) -> None:
    """Replace the conditions by those of the verdict; a transition time moves only when a status changes."""
    before = {condition.type: condition for condition in status.conditions}

    def condition(kind: str, value: Literal["True", "False"]) -> Condition:
        old = before.get(kind)
        since = old.last_transition_time if old and old.status == value else timestamp
        return Condition(type=kind, status=value, observed_generation=generation, last_transition_time=since,
                         reason=verdict.reason, message=verdict.message)

    status.conditions = [condition("Ready", "True" if verdict.mode == "ready" else "False")]
    if verdict.mode in _BESIDE_READY:
        status.conditions.append(condition(_BESIDE_READY[verdict.mode], "True"))
