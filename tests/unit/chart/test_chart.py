"""The chart, rendered by the real helm."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.kubectl import ROOT
from magistral_api import GROUP, crd
from magistral_operator import kinds

CHART = ROOT / "charts" / "magistral-operator"
HELM = Path(sys.executable).parent / "helm"


def helm(*settings: str) -> list[dict[str, Any]]:
    text = subprocess.run([HELM, "template", "magistral-operator", CHART, "--namespace", "system", *settings],
                          capture_output=True, text=True, check=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


@pytest.mark.parametrize("folder", [ROOT / "crds", CHART / "files" / "crds"])
def test_the_checked_in_crds_are_what_the_models_say(folder: Path) -> None:
    found = {path.name: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    assert found == crd.crds()


def test_each_crd_is_small_enough_for_plain_kubectl_apply() -> None:
    sizes = {path.name: len(json.dumps(yaml.safe_load(path.read_text()))) for path in (ROOT / "crds").glob("*.yaml")}
    assert len(sizes) == 3
    assert max(sizes.values()) < 256 * 1024


def test_the_chart_installs_every_crd_and_leaves_it_behind() -> None:
    installed = of_kind(helm(), "CustomResourceDefinition")
    assert len(installed) == 3
    assert all(c["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for c in installed)
    assert of_kind(helm("--set", "crds.install=false"), "CustomResourceDefinition") == []


def test_the_operator_may_create_a_secret_but_never_read_one() -> None:
    rules = [rule for role in of_kind(helm(), "ClusterRole") + of_kind(helm(), "Role") for rule in role["rules"]]
    verbs = {verb for rule in rules if "secrets" in rule["resources"] for verb in rule["verbs"]}
    assert verbs == {"create"}
    assert all("*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"] for rule in rules)


@pytest.mark.parametrize("queueing", [False, True])
def test_the_chart_gives_the_rights_that_the_code_lists(queueing: bool) -> None:
    documents = helm("--set", f"kueue.enabled={str(queueing).lower()}")
    given = {(group, resource, verb) for role in of_kind(documents, "ClusterRole") + of_kind(documents, "Role")
             for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
             for verb in rule["verbs"]}
    listed = {(kind.group, kind.plural, verb) for kind in kinds.BY_NAME.values() for verb in kind.verbs
              if queueing or kind not in kinds.QUEUEING}
    below = [(GROUP, kinds.SUBRESOURCES)] + ([(kinds.KUEUE, kinds.QUEUEING_SUBRESOURCES)] if queueing else [])
    assert given == listed | {(group, resource, verb) for group, resources in below
                              for resource, verbs in resources.items() for verb in verbs}


def test_named_namespaces_get_bindings_of_their_own_and_no_cluster_wide_one() -> None:
    documents = helm("--set", "namespaces={a,b}")
    assert {b["metadata"]["namespace"] for b in of_kind(documents, "RoleBinding")} == {"a", "b", "system"}
    assert [b["metadata"]["name"] for b in of_kind(documents, "ClusterRoleBinding")] == ["magistral-operator-cluster"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    (deployment,) = of_kind(helm("--set", f"image.digest={digest}"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"localhost/magistral/operator@{digest}"


def test_a_misspelt_value_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        helm("--set", "replica=2")
    assert "replica" in error.value.stderr


def test_two_replicas_prefer_different_nodes_and_are_drained_one_at_a_time() -> None:
    documents = helm("--set", "replicas=2")
    (deployment,), (budget,) = of_kind(documents, "Deployment"), of_kind(documents, "PodDisruptionBudget")
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    (preferred,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}


def test_a_single_replica_can_be_drained_and_an_own_affinity_wins() -> None:
    assert of_kind(helm(), "PodDisruptionBudget") == []
    (deployment,) = of_kind(helm("--set", "replicas=2", "--set", "affinity.nodeAffinity.x=y"), "Deployment")
    assert deployment["spec"]["template"]["spec"]["affinity"] == {"nodeAffinity": {"x": "y"}}


def test_the_operator_may_touch_kueues_kinds_only_where_kueue_is_enabled() -> None:
    def kueue(*settings: str) -> set[str]:
        return {resource for role in of_kind(helm(*settings), "ClusterRole") for rule in role["rules"]
                if rule["apiGroups"] == ["kueue.x-k8s.io"] for resource in rule["resources"]}

    assert kueue() == set()
    assert kueue("--set", "kueue.enabled=true") == {
        "workloads", "workloads/status", "resourceflavors", "workloadpriorityclasses"}
