"""Whose fault it is that a process ended or a pod was lost. Pure: one pod, its node, one verdict.

Sources: Kubernetes v1.37 pkg/kubelet/eviction (a pod over its own storage limit is evicted without a DisruptionTarget
condition, one that makes way has it), pkg/controller/tainteviction, pkg/controller/podgc, pkg/kubelet/nodeshutdown.
"""

from dataclasses import dataclass

from magistral_api.status import FaultKind
from magistral_operator import constants, pods
from magistral_operator.plan import Manifest

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
DELETED = "PodDeleted"
_BLAMES_THE_NODE = {"DeletionByTaintManager", "DeletionByPodGC", "TerminationByKubelet"}
"""Reasons of a DisruptionTarget condition. Preemption and a drain are nobody's fault."""
_REFUSED_BY_NODE = {"NodeLost", "NodeShutdown", "Terminated", "UnexpectedAdmissionError"}
_REFUSED = _REFUSED_BY_NODE | {"Preempting", "NodeAffinity", "OutOfcpu", "OutOfmemory", "OutOfpods"}
_BROKEN_WHEN_TRUE = {"NetworkUnavailable", "KernelDeadlock", "ReadonlyFilesystem"}


@dataclass(frozen=True)
class Fault:
    """`node_failed`: a fault of the node at the moment `at`, rather than of the cluster or of whoever deleted the pod."""

    kind: FaultKind
    reason: str
    node_failed: bool = False
    at: str | None = None


def of_end(end: Manifest, pod: Manifest, node: Manifest | None) -> Fault | None:
    """Why a container ended, or None when it ended well. `end`: its `terminated` state. `node`: as for `dead`."""
    code, at = end.get("exitCode"), end.get("finishedAt")
    if code == 0:
        return None
    if code == constants.USER_FAULT_EXIT_CODE:
        return Fault("user", constants.BAD_INPUT)
    if end.get("reason") == "OOMKilled":
        return Fault("application", "OOMKilled")
    killed = code in (constants.KILLED_EXIT_CODE, constants.STOPPED_EXIT_CODE)
    deleted = _deleted(pod) if killed else None
    return _disruption(pod) or _of_node(node, at) or deleted or Fault("application", end.get("reason") or "Error")


def of_loss(pod: Manifest, node: Manifest | None) -> Fault | None:
    """Why a pod is gone or going, or None for one that is neither."""
    if pods.phase(pod) == "Succeeded":
        return None
    return _disruption(pod) or _refused(pod) or (_of_node(node, None) if dead(node) else None) or _deleted(pod)


def of_pod(pod: Manifest, node: Manifest | None) -> Fault | None:
    """The gravest that is known of a pod: bad input, then what ended the pod, then how its containers ended before."""
    ends = [fault for end in pods.ends(pod) if (fault := of_end(end, pod, node))]
    user = next((fault for fault in ends if fault.kind == "user"), None)
    last = ends[0] if ends and pods.phase(pod) == "Failed" else None
    return user or last or of_loss(pod, node) or _not_created(pod, node) or next(iter(ends), None)


def dead(node: Manifest | None) -> bool:
    """Nothing runs there for sure, or nobody knows. Of a node that is not known nothing is said."""
    return node is not None and (silent(node) or pods.condition(node, "Ready").get("status") == "False")


def silent(node: Manifest) -> bool:
    """A dead node whose kubelet ends no pod: it is out of service, or nothing has been heard of it."""
    taints = (node.get("spec") or {}).get("taints", [])
    return any(taint["key"] == OUT_OF_SERVICE for taint in taints) or (
        pods.condition(node, "Ready").get("status") == "Unknown")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a node, and since when if that is known."""

    reason: str
    since: str | None


def unwell(node: Manifest | None) -> Trouble | None:
    """Dead, or a part of it is not ready (GPUs, network), or its kernel or disk has failed."""
    if dead(node):
        return Trouble(constants.NODE_LOST, pods.condition(node or {}, "Ready").get("lastTransitionTime"))
    for one in ((node or {}).get("status") or {}).get("conditions", []):
        broken = one["type"].endswith("Ready") and one["status"] == "False"
        if broken or (one["type"] in _BROKEN_WHEN_TRUE and one["status"] == "True"):
            return Trouble(one.get("reason") or one["type"], one.get("lastTransitionTime"))
    return None


def _disruption(pod: Manifest) -> Fault | None:
    target = pods.condition(pod, "DisruptionTarget")
    if target.get("status") != "True":
        return None
    reason = target.get("reason") or "DisruptionTarget"
    return Fault("infrastructure", reason, reason in _BLAMES_THE_NODE, target.get("lastTransitionTime"))


def _refused(pod: Manifest) -> Fault | None:
    """What the kubelet says of a pod that it has ended or never admitted."""
    reason = (pod.get("status") or {}).get("reason")
    if pods.phase(pod) != "Failed":
        return None
    if reason == "Evicted":
        # For its own use of storage; one that made way for others has a DisruptionTarget condition.
        return Fault("application", reason)
    if reason in _REFUSED:
        return Fault("infrastructure", reason, reason in _REFUSED_BY_NODE, pod["metadata"].get("creationTimestamp"))
    return None


def _not_created(pod: Manifest, node: Manifest | None) -> Fault | None:
    if any(waiting.get("reason") in pods.CREATION_FAILURES for _, waiting in pods.waits(pod)):
        return _of_node(node, pod["metadata"].get("creationTimestamp"))
    return None


def _of_node(node: Manifest | None, at: str | None) -> Fault | None:
    """The node's fault, if something is wrong with it. `at`: what happened then is not older than the node's trouble."""
    trouble = unwell(node)
    if trouble is None:
        return None
    moment = max((one for one in (at, trouble.since) if one), default=None)
    return Fault("infrastructure", trouble.reason, node_failed=True, at=moment)


def _deleted(pod: Manifest) -> Fault | None:
    return Fault("infrastructure", DELETED) if "deletionTimestamp" in pod["metadata"] else None
