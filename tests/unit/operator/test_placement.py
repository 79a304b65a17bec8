"""Where pods may run: what the platform team says, and what the operator adds to it."""

from typing import Any

import pytest

from magistral_api.runtime import Nodes, Topology
from magistral_operator.build.placement import together, tolerations, without_hosts
from magistral_operator.plan import Manifest
from tests.unit.operator.world import World, reach, runtime

AVOID = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["a", "b"]}
ZONE = {"key": "zone", "operator": "In", "values": ["z"]}


def node_affinity(*terms: Manifest) -> Manifest:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


PREFERS = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]},
           "podAffinity": {"x": 1}}
MERGED: dict[str, tuple[Manifest, Manifest]] = {
    "no affinity": ({}, node_affinity({"matchExpressions": [AVOID]})),
    "every term says it": (
        node_affinity({"matchExpressions": [ZONE]}, {"matchFields": [ZONE]}),
        node_affinity({"matchExpressions": [ZONE, AVOID]}, {"matchFields": [ZONE], "matchExpressions": [AVOID]})),
    "a term that matches nothing stays so": (
        node_affinity({}, {"matchExpressions": [ZONE]}), node_affinity({}, {"matchExpressions": [ZONE, AVOID]})),
    "the rest is kept": (PREFERS, PREFERS | {
        "nodeAffinity": PREFERS["nodeAffinity"] | node_affinity({"matchExpressions": [AVOID]})["nodeAffinity"]}),
}


@pytest.mark.parametrize("sentence", list(MERGED))
def test_excluded_hosts(sentence: str) -> None:
    before, after = MERGED[sentence]
    assert without_hosts(before, ["a", "b"]) == after
    assert without_hosts(before, []) == before


SHORT = [{"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7}
         for taint in ("not-ready", "unreachable")]
OWN: dict[str, tuple[list[Manifest], list[Manifest]]] = {
    "none": ([], SHORT),
    "of other taints": ([{"key": "nvidia.com/gpu", "operator": "Exists"}], SHORT),
    "of one of the two": ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}], SHORT[1:]),
    "of the same taint with another effect": (
        [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}], SHORT),
    "of everything": ([{"operator": "Exists"}], []),
    "of everything that keeps pods away": ([{"operator": "Exists", "effect": "NoSchedule"}], SHORT),
}


@pytest.mark.parametrize("sentence", list(OWN))
def test_a_short_stay_on_lost_nodes_beside_tolerations(sentence: str) -> None:
    own, added = OWN[sentence]
    assert tolerations(own, Nodes(unreachable_seconds=7)) == own + added


def test_trainers_of_a_group_prefer_one_domain_or_require_it() -> None:
    term = {"labelSelector": {"matchLabels": {"l": "v"}}, "topologyKey": "rack"}
    assert together({}, Topology(key="rack"), {"l": "v"}) == {"podAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}}
    own: Any = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}
    assert together(own, Topology(key="rack", required=True), {"l": "v"}) == {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}, term]}}
    assert len(own["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]) == 1


def test_only_trainers_of_one_attempt_seek_each_other() -> None:
    world = World("RL")
    world.runtime = runtime(spec={"topology": {"key": "rack", "required": True}})
    reach(world, "rl")
    (term,) = world.child("StatefulSet", "trainer")["spec"]["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"]
    labels = world.child("StatefulSet", "trainer")["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert term["labelSelector"]["matchLabels"]["training.magistral.dev/attempt"] == "1"
    for kind, part in (("StatefulSet", "conductor"), ("Deployment", "generator")):
        assert "affinity" not in world.child(kind, part)["spec"]["template"]["spec"]


def test_a_spread_without_a_selector_is_over_the_pods_of_the_role() -> None:
    mine = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    other = mine | {"labelSelector": {"matchLabels": {"a": "b"}}}
    world = World("RL")
    world.runtime = runtime(generator={"pod": {"topologySpreadConstraints": [mine, other]}})
    deployment = reach(world, "rl").child("Deployment", "generator")
    assert deployment["spec"]["template"]["spec"]["topologySpreadConstraints"] == [
        mine | {"labelSelector": {"matchLabels": {
            "training.magistral.dev/run-uid": "uid-one", "training.magistral.dev/role": "generator"}}}, other]
