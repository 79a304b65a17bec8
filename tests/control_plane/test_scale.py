"""Generators by number: `kubectl scale`, and what an autoscaler sees."""

from magistral_operator.kinds import BY_NAME, POD, RUN, WORKLOAD_NAMES
from tests.control_plane.cluster import Namespace, eventually


def generations(ns: Namespace) -> dict[tuple[str, str], int]:
    """How often the spec of each workload was changed."""
    return {(kind, found["metadata"]["name"]): found["metadata"]["generation"]
            for kind in WORKLOAD_NAMES for found in ns.api.list(BY_NAME[kind], ns.name)}


def test_kubectl_scale_adds_generators_in_the_middle_of_rl_and_touches_nothing_else(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    ns.until_stage("rl")
    ns.pods("generator", count=2)
    ns.pods("trainer", count=2)
    before = generations(ns)
    ns.api.kubectl("-n", ns.name, "scale", "magistralrun/one", "--replicas=3")
    found = ns.pods("generator", count=3)
    after = generations(ns)
    assert {name for name in after if after[name] != before.get(name)} == {("Deployment", "one-generator")}

    def scale() -> dict[str, object] | None:
        answer = ns.api.http.get(RUN.path(ns.name, "one", "scale")).json()
        return answer if answer["status"].get("replicas") == 3 else None

    shown = eventually(scale, "three generators in the scale subresource")
    assert shown["spec"]["replicas"] == 3
    seen = ns.api.list(POD, ns.name, shown["status"]["selector"])
    assert {pod["metadata"]["name"] for pod in seen} == {pod["metadata"]["name"] for pod in found}
