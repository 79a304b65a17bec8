"""Where pods may run: the platform team's placement, short stays on lost nodes, excluded nodes, one domain a group."""

import copy

from magistral_api.names import LABEL_ATTEMPT, LABEL_ROLE, LABEL_RUN_UID, LABEL_STAGE
from magistral_api.runtime import Nodes, PodOverrides, Topology
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import queue
from magistral_operator.policies.nodes import HOSTNAME

LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PLATFORM = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName", "schedulerName",
             "imagePullSecrets")
_PREFERENCE = 100
"""The heaviest weight: a slow link costs every step."""


def placement(case: Case, pod: PodOverrides, labels: dict[str, str]) -> Manifest:
    """The part of a pod's spec that places it. `labels`: the pod's own."""
    wanted, runtime = platform(pod), case.ready_runtime.spec
    flavors, tolerated = queue.placement(case, labels[LABEL_ROLE])
    group = {key: labels[key] for key in (LABEL_RUN_UID, LABEL_ROLE, LABEL_STAGE, LABEL_ATTEMPT) if key in labels}
    affinity = without_hosts(wanted.get("affinity", {}), sorted(one.hostname for one in case.status.excluded_nodes))
    if runtime.topology and labels[LABEL_ROLE] == "trainer":
        affinity = together(affinity, runtime.topology, group)
    role = {"matchLabels": {key: labels[key] for key in (LABEL_RUN_UID, LABEL_ROLE)}}
    placed = wanted | {
        "nodeSelector": wanted.get("nodeSelector", {}) | flavors,
        "tolerations": tolerations([*pod.tolerations, *tolerated], runtime.nodes),
        "affinity": affinity,
        "topologySpreadConstraints": [{"labelSelector": role} | one for one in pod.topology_spread_constraints],
    }
    return {key: value for key, value in placed.items() if value}


def platform(pod: PodOverrides) -> Manifest:
    """Where a platform wants the pod."""
    wire = pod.wire()
    return {key: wire[key] for key in _PLATFORM if wire.get(key)}


def tolerations(own: list[Manifest], nodes: Nodes) -> list[Manifest]:
    """The role's own, and a short stay on a lost node for each taint that they do not speak of."""
    return own + [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": nodes.unreachable_seconds}
        for taint in LOST_NODE_TAINTS if not any(_speaks_of(one, taint) for one in own)]


def without_hosts(affinity: Manifest, hosts: list[str]) -> Manifest:
    """The affinity, and none of these hosts. Terms are alternatives, so each one says it."""
    if not hosts:
        return affinity
    merged = copy.deepcopy(affinity)
    avoid = {"key": HOSTNAME, "operator": "NotIn", "values": hosts}
    required = merged.setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms")
    if terms:
        # An empty term matches no node; with an expression it would match.
        required["nodeSelectorTerms"] = [
            term | {"matchExpressions": [*term.get("matchExpressions", []), avoid]} if any(term.values()) else term
            for term in terms]
    else:
        required["nodeSelectorTerms"] = [{"matchExpressions": [avoid]}]
    return merged


def together(affinity: Manifest, topology: Topology, group: dict[str, str]) -> Manifest:
    """The affinity, and pods with the group's labels in one domain."""
    merged = copy.deepcopy(affinity)
    term = {"labelSelector": {"matchLabels": group}, "topologyKey": topology.key}
    near = merged.setdefault("podAffinity", {})
    if topology.required:
        near.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(term)
    else:
        near.setdefault("preferredDuringSchedulingIgnoredDuringExecution", []).append(
            {"weight": _PREFERENCE, "podAffinityTerm": term})
    return merged


def _speaks_of(toleration: Manifest, taint: str) -> bool:
    everything = not toleration.get("key") and toleration.get("operator") == "Exists"
    return (everything or toleration.get("key") == taint) and toleration.get("effect") in (None, "", "NoExecute")
