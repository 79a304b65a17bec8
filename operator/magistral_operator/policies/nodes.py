"""Nodes that fail: which are avoided and until when, and which pods hang on a lost one."""

import math
from datetime import timedelta

from magistral_api.base import seconds
from magistral_api.names import LABEL_ATTEMPT, LABEL_ROLE, LABEL_STAGE
from magistral_api.run import HostExclusion
from magistral_api.status import ExcludedNode, NodeFailure
from magistral_operator import constants, pods
from magistral_operator.case import Case, moment_of, stamp
from magistral_operator.plan import Deletion, Manifest, Plan
from magistral_operator.policies import faults

HOSTNAME = "kubernetes.io/hostname"
TRAINER = "trainer"
_FAILURES = 64


def report(case: Case) -> None:
    """Bring status.excludedNodes up to date. Looking at the same pods again changes nothing: times are the cluster's."""
    policy = case.run.spec.failure_policy.host_exclusion
    if policy is None:
        case.status.node_failures, case.status.excluded_nodes = [], []
        return
    case.status.node_failures = _failures(case, seconds(policy.within))
    case.status.excluded_nodes = _still_excluded(case)
    for node in sorted({failure.node for failure in case.status.node_failures}):
        _judge(case, policy, node)


def exclusion_of(case: Case, pod: Manifest) -> ExcludedNode | None:
    """The exclusion of the node on which the pod sits."""
    name = (pod.get("spec") or {}).get("nodeName")
    return next((excluded for excluded in case.status.excluded_nodes if excluded.name == name), None)


def hangs(case: Case, pod: Manifest) -> bool:
    """Whether the pod can only be removed by force, and the runtime allows that.

    A silent kubelet makes no use of a grace period. One that says it is not ready may, so it gets it; and a node that is not
    known may be new rather than gone, until then.
    """
    ends_by, placed = pod["metadata"].get("deletionTimestamp"), (pod.get("spec") or {}).get("nodeName")
    if case.runtime is None or not case.runtime.spec.nodes.force_delete or not ends_by or not placed:
        return False
    node = case.node_of(pod)
    if node is not None and not faults.dead(node):
        return False
    rest = -case.age(ends_by)
    if rest <= 0 or (node is not None and faults.silent(node)):
        return True
    case.wake_in(rest)
    return False


def force_delete(case: Case, plan: Plan) -> None:
    """Remove pods that hang on a lost node, so that others can take their names; soon also what is left of their group."""
    for pod in case.observed.pods:
        meta = pod["metadata"]
        if hangs(case, pod) and meta.get("deletionGracePeriodSeconds") != 0:
            plan.delete.append(Deletion("Pod", meta["name"], meta["uid"], grace_s=0))
            case.note(constants.POD_FORCE_DELETED,
                      f"pod {meta['name']} hung on lost node {pod['spec']['nodeName']}", warning=True)
        elif _cannot_commit(case, pod) and meta.get("deletionGracePeriodSeconds", math.inf) > constants.BROKEN_GROUP_GRACE_S:
            plan.delete.append(Deletion("Pod", meta["name"], meta["uid"], grace_s=constants.BROKEN_GROUP_GRACE_S))


def _cannot_commit(case: Case, pod: Manifest) -> bool:
    """Whether a trainer that is let go has lost a peer with its node: a commit needs all of them.

    It would use up its time in a collective that never ends. The same permission as for force: a node that is only cut off
    from the API server may still train.
    """
    if case.runtime is None or not case.runtime.spec.nodes.force_delete or pods.phase(pod) in pods.ENDED:
        return False
    group = _group(pod)
    running = case.finished or any((TRAINER, one.name, str(one.attempt)) == group and one.state == "Running"
                                   for one in case.status.stages)
    return group[0] == TRAINER and (not running or "deletionTimestamp" in pod["metadata"]) and any(
        _group(peer) == group and (node := case.node_of(peer)) is not None and faults.silent(node)
        for peer in case.observed.pods)


def _group(pod: Manifest) -> tuple[str | None, ...]:
    labels = pod["metadata"].get("labels", {})
    return tuple(labels.get(key) for key in (LABEL_ROLE, LABEL_STAGE, LABEL_ATTEMPT))


def _failures(case: Case, within: float) -> list[NodeFailure]:
    """What was known and what is seen now, one an incident, oldest first."""
    known = list(case.status.node_failures)
    for pod in case.observed.pods:
        node = case.node_of(pod)
        if node is None or (pods.live(pod) and faults.dead(node)):
            continue  # A node that is gone takes no pods; one that is lost may come back with its pods.
        fault = faults.of_pod(pod, node)
        if fault is not None and fault.node_failed and fault.at:
            known.append(NodeFailure(node=pod["spec"]["nodeName"], time=fault.at, reason=fault.reason))
    kept: list[NodeFailure] = []
    for failure in sorted(known, key=lambda one: (one.time, one.node, one.reason)):
        same = any(one.node == failure.node and _between(one, failure) < constants.NODE_INCIDENT_S for one in kept)
        if not same and case.age(failure.time) <= within + constants.NODE_INCIDENT_S:
            kept.append(failure)
    return kept[-_FAILURES:]


def _still_excluded(case: Case) -> list[ExcludedNode]:
    kept = []
    for excluded in case.status.excluded_nodes:
        rest = -case.age(excluded.until)
        if rest > 0:
            case.wake_in(rest)
            kept.append(excluded)
    return kept


def _judge(case: Case, policy: HostExclusion, node: str) -> None:
    if any(excluded.name == node for excluded in case.status.excluded_nodes):
        return
    within = seconds(policy.within)
    failures = [one for one in case.status.node_failures if one.node == node and case.age(one.time) <= within]
    if len(failures) < policy.failures:
        return
    # Not shorter than `within`: the failures that led to it would exclude the node again at once.
    lasts = max(seconds(policy.duration), within)
    reasons = ", ".join(sorted({one.reason for one in failures}))
    meta = case.observed.nodes.get(node, {}).get("metadata", {})
    excluded = ExcludedNode(
        name=node, hostname=meta.get("labels", {}).get(HOSTNAME, node), since=case.timestamp,
        until=stamp(case.now + timedelta(seconds=lasts)), reason=f"{len(failures)} failures within {policy.within}: {reasons}")
    case.status.excluded_nodes = [*case.status.excluded_nodes, excluded][-constants.EXCLUDED_NODES:]
    case.wake_in(lasts)
    case.note(constants.NODE_EXCLUDED, f"node {node} is avoided until {excluded.until}: {excluded.reason}", warning=True)


def _between(earlier: NodeFailure, later: NodeFailure) -> float:
    return (moment_of(later.time) - moment_of(earlier.time)).total_seconds()
