"""Kueue: a run with a queue name has pods only while its Workload is admitted, and gives the quota back when it has none.

The protocol is that of Kueue's own job integrations (v0.12): `Evicted` asks the owner to stop; once its pods are gone the
owner clears `status.admission` and `QuotaReserved`; from then on the Workload waits in its queue again.
"""

from typing import Any

from magistral_operator import constants, pods
from magistral_operator.case import Case
from magistral_operator.plan import Manifest

LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""On a MagistralRun: the LocalQueue of its namespace that it waits in. Without it Kueue has no say."""
LABEL_PRIORITY = "kueue.x-k8s.io/priority-class"
"""On a MagistralRun: a WorkloadPriorityClass."""
PART = "quota"
"""The Workload is called `<run>-quota`."""
POD_SETS = {"trainer": "trainer", "generator": "generator", "verifier": "verifier", "worker": "worker",
            "conductor": "worker"}
"""Role to pod set. No stage has both a conductor and a worker."""


def queue(case: Case) -> str | None:
    """The LocalQueue that the run names."""
    return case.run.metadata.labels.get(LABEL_QUEUE) or None


def workload(case: Case) -> Manifest | None:
    """The run's Workload, as Kueue left it."""
    return case.child("Workload", PART)


def hold(case: Case) -> str | None:
    """Why the run may have no pods now; None when Kueue has nothing against them."""
    name, found = queue(case), workload(case)
    if name is None or case.finished or not case.observed.kueue:
        return None
    if found is None or "deletionTimestamp" in found["metadata"]:
        return f"waits for a place in LocalQueue {name}"
    if _true(found, "Evicted"):
        evicted = pods.condition(found, "Evicted")
        return f"was evicted by Kueue ({evicted.get('reason')}: {evicted.get('message')})"
    if not _true(found, "Admitted"):
        words = pods.condition(found, "QuotaReserved").get("message") or "Kueue has not looked at it yet"
        return f"waits for quota in LocalQueue {name}: {words}"
    if missing := sorted(_flavors(found) - case.observed.flavors.keys()):
        case.wake_in(constants.RELOOK_S)
        return f"was admitted with ResourceFlavor {missing[0]}, which does not exist"
    return None


def asks(case: Case) -> bool:
    """Whether the run has yet to ask for quota."""
    return case.hold is not None and not case.run.spec.suspend and workload(case) is None


def reserved(case: Case) -> bool:
    """Whether quota is set aside for the run: what was asked for must not change meanwhile."""
    found = workload(case)
    return found is not None and _true(found, "QuotaReserved")


def admitted(case: Case, role: str, wanted: int) -> int:
    """As many pods of a role as are wanted and admitted. More than that wait for the next admission."""
    return min([wanted, *(int(one.get("count", wanted)) for one in _assignments(workload(case))
                          if one["name"] == POD_SETS[role])])


def placement(case: Case, role: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Node selector and tolerations of the flavors that were assigned to a role's pods."""
    labels: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    for one in _assignments(workload(case)) if queue(case) else []:
        if one["name"] == POD_SETS[role]:
            for flavor in sorted(set(one.get("flavors", {}).values())):
                spec = case.observed.flavors.get(flavor, {}).get("spec", {})
                labels = spec.get("nodeLabels", {}) | labels
                tolerations += spec.get("tolerations", [])
    return labels, tolerations


def give_back(case: Case) -> dict[str, Any] | None:
    """The patch of the Workload's status that returns its quota; None when none is owed. Only without pods."""
    found = workload(case)
    if found is None:
        return None
    if case.finished:
        reason = case.status.phase
        return None if _true(found, "Finished") else _patch(case, found, {
            "Finished": ("True", reason, f"MagistralRun {case.name} has {reason.lower()}")})
    evicted = pods.condition(found, "Evicted")
    if evicted.get("status") != "True" or not _true(found, "QuotaReserved"):
        return None
    reason, message = evicted.get("reason", ""), evicted.get("message", "")
    return {"admission": None} | _patch(case, found, {
        "QuotaReserved": ("False", "Pending", message),
        "Admitted": ("False", "NoReservation", "The workload has no reservation"),
        # After any other eviction Kueue itself says when the Workload may be tried again.
        "Requeued": ("True" if reason == "Preempted" else "False", reason, message)})


def _patch(case: Case, found: Manifest, changes: dict[str, tuple[str, str, str]]) -> dict[str, Any]:
    conditions = {one["type"]: one for one in found.get("status", {}).get("conditions", [])}
    for kind, (status, reason, message) in changes.items():
        before = conditions.get(kind, {})
        conditions[kind] = {
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": found["metadata"].get("generation", 0),
            "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == status else case.timestamp}
    return {"conditions": list(conditions.values())}


def _true(found: Manifest, kind: str) -> bool:
    return bool(pods.condition(found, kind).get("status") == "True")


def _assignments(found: Manifest | None) -> list[Manifest]:
    admission = ((found or {}).get("status") or {}).get("admission") or {}
    return list(admission.get("podSetAssignments", []))


def _flavors(found: Manifest) -> set[str]:
    return {flavor for one in _assignments(found) for flavor in one.get("flavors", {}).values()}
