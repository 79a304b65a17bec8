"""The manifests, whole where they are small, and what every pod has in common."""

from typing import Any

import pytest

from magistral_operator.plan import Manifest
from tests.unit.operator.world import World, reach, runtime, succeed

LABELS = {
    "training.magistral.dev/run": "one", "training.magistral.dev/run-uid": "uid-one",
    "app.kubernetes.io/managed-by": "magistral-operator",
}
OWNER = {"apiVersion": "training.magistral.dev/v1alpha1", "kind": "MagistralRun", "name": "one", "uid": "uid-one",
         "controller": True, "blockOwnerDeletion": True}
STAGES = ["preflight", "curate", "sft", "select", "evaluate"]


def plain(manifest: Manifest) -> Manifest:
    """Without what the store and the hash stamps add."""
    meta = {key: value for key, value in manifest["metadata"].items() if key not in ("uid", "annotations")}
    return {**manifest, "metadata": meta}


def child(kind: str, part: str, **label: str) -> Manifest:
    return {"metadata": {"name": f"one-{part}", "namespace": "ns", "ownerReferences": [OWNER],
                         "labels": LABELS | {f"training.magistral.dev/{key}": value for key, value in label.items()}},
            "kind": kind}


@pytest.fixture(scope="module")
def everything() -> dict[str, Manifest]:
    """Pod templates by `<kind>/<part>`, all of them."""
    found: dict[str, Manifest] = {}
    for stage in [*STAGES, "rl"]:
        world = reach(World("SFTThenRL"), stage)
        found |= {f"{kind}/{name[4:]}": manifest["spec"]["template"]
                  for (kind, name), manifest in world.children.items() if kind in ("Job", "StatefulSet", "Deployment")}
    return found


def container(template: Manifest) -> Manifest:
    (one,) = template["spec"]["containers"]
    assert isinstance(one, dict)
    return one


def test_the_service_account_may_patch_the_progress_of_its_own_run_and_nothing_else() -> None:
    world = World().settle()
    assert plain(world.child("ServiceAccount", "worker")) == child("ServiceAccount", "worker") | {
        "apiVersion": "v1", "automountServiceAccountToken": False}
    assert plain(world.child("Role", "progress")) == child("Role", "progress") | {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one-progress"],
                   "verbs": ["patch"]}]}
    assert plain(world.child("RoleBinding", "progress")) == child("RoleBinding", "progress") | {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one-progress"},
        "subjects": [{"kind": "ServiceAccount", "name": "one-worker", "namespace": "ns"}]}


def test_the_operator_owns_no_data_of_the_progress_config_map() -> None:
    config_map = plain(World().settle().child("ConfigMap", "progress"))
    assert config_map == child("ConfigMap", "progress") | {"apiVersion": "v1"}


def selector(role: str, stage: str | None = None) -> Manifest:
    picked = {key: value for key, value in LABELS.items() if "managed" not in key}
    return picked | {"training.magistral.dev/role": role} | ({"training.magistral.dev/stage": stage} if stage else {})


SERVICES: dict[str, dict[str, Any]] = {
    "generator": {"clusterIP": "None", "selector": selector("generator"),
                  "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]},
    "verifier": {"selector": selector("verifier"), "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]},
    "conductor": {"selector": selector("conductor", "rl"),
                  "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]},
    "trainer": {"clusterIP": "None", "selector": selector("trainer", "rl"), "publishNotReadyAddresses": True,
                "ports": [{"name": "rendezvous", "port": 29500, "targetPort": 29500}]},
    "sft": {"clusterIP": "None", "selector": selector("trainer", "sft"), "publishNotReadyAddresses": True,
            "ports": [{"name": "rendezvous", "port": 29500, "targetPort": 29500}]},
}


def test_a_stage_gets_only_the_services_that_its_pods_need() -> None:
    world = World("SFTThenRL").settle()
    assert world.names("Service", "NetworkPolicy") == []
    assert reach(world, "sft").names("Service") == ["one-sft"]


@pytest.mark.parametrize("part", list(SERVICES))
def test_service(part: str) -> None:
    world = reach(World("SFTThenRL"), "rl")
    assert plain(world.child("Service", part)) == child("Service", part) | {"apiVersion": "v1", "spec": SERVICES[part]}


def test_only_conductor_and_workers_reach_generators_and_verifiers_and_verifiers_reach_nobody() -> None:
    world = reach(World(), "rl")
    callers = {"matchLabels": {key: value for key, value in LABELS.items() if "managed" not in key},
               "matchExpressions": [{"key": "training.magistral.dev/role", "operator": "In",
                                     "values": ["conductor", "worker"]}]}
    ingress = [{"from": [{"podSelector": callers}], "ports": [{"protocol": "TCP", "port": 8000}]}]
    assert world.child("NetworkPolicy", "generator")["spec"] == {
        "podSelector": {"matchLabels": selector("generator")}, "policyTypes": ["Ingress"], "ingress": ingress}
    assert world.child("NetworkPolicy", "verifier")["spec"] == {
        "podSelector": {"matchLabels": selector("verifier")}, "policyTypes": ["Ingress", "Egress"], "ingress": ingress,
        "egress": []}


def test_the_generator_deployment_whole() -> None:
    world = World("RL")
    world.runtime = runtime(generator={
        "args": ["--enforce-eager"], "env": {"OMP_NUM_THREADS": "1"}, "shmSize": "2Gi", "scratchSize": "4Gi",
        "resources": {"limits": {"memory": "4Gi", "nvidia.com/gpu": "1"}},
        "pod": {"annotations": {"a": "b"}, "nodeSelector": {"gpu": "h100"}, "runtimeClassName": "nvidia",
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}], "priorityClassName": "batch"}})
    deployment = plain(reach(world, "rl").child("Deployment", "generator"))
    healthz = {"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 2, "timeoutSeconds": 2}
    assert deployment == child("Deployment", "generator", role="generator") | {"apiVersion": "apps/v1", "spec": {
        "replicas": 2,
        "selector": {"matchLabels": selector("generator")},
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": {
            "metadata": {"labels": LABELS | {"training.magistral.dev/role": "generator"}, "annotations": {"a": "b"}},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 5,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                                    "seccompProfile": {"type": "RuntimeDefault"}},
                "nodeSelector": {"gpu": "h100"},
                "runtimeClassName": "nvidia",
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}, *(
                    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute",
                     "tolerationSeconds": 20} for taint in ("not-ready", "unreachable"))],
                "priorityClassName": "batch",
                "containers": [{
                    "name": "main", "image": "registry/generator:1", "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-m", "magistral_workloads.roles.generator"], "args": ["--enforce-eager"],
                    "env": [
                        {"name": "HOME", "value": "/scratch"}, {"name": "TMPDIR", "value": "/scratch/tmp"},
                        {"name": "OMP_NUM_THREADS", "value": "1"},
                        {"name": "POD_NAME",
                         "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                        {"name": "POD_NAMESPACE",
                         "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
                        {"name": "AWS_ACCESS_KEY_ID",
                         "valueFrom": {"secretKeyRef": {"name": "store", "key": "accessKey"}}},
                        {"name": "AWS_SECRET_ACCESS_KEY",
                         "valueFrom": {"secretKeyRef": {"name": "store", "key": "secretKey"}}},
                    ],
                    "resources": {"requests": {}, "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"}},
                    "ports": [{"containerPort": 8000}],
                    "readinessProbe": healthz | {"failureThreshold": 2},
                    "startupProbe": healthz | {"failureThreshold": 300},
                    "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                        "capabilities": {"drop": ["ALL"]}},
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "config", "mountPath": "/etc/magistral", "readOnly": True},
                        {"name": "scratch", "mountPath": "/scratch"},
                        {"name": "scratch", "mountPath": "/tmp", "subPath": "tmp"},
                        {"name": "token", "mountPath": "/etc/magistral-token", "readOnly": True},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }],
                "volumes": [
                    {"name": "config", "configMap": {"name": "one-serving"}},
                    {"name": "scratch", "emptyDir": {"sizeLimit": "4Gi"}},
                    {"name": "token", "secret": {"secretName": "one-token", "defaultMode": 0o440}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
                ],
            },
        },
    }}


def test_trainers_start_all_at_once_under_stable_names() -> None:
    spec = reach(World("RL"), "rl").child("StatefulSet", "trainer")["spec"]
    assert {key: spec[key] for key in spec if key != "template"} == {
        "replicas": 2, "serviceName": "one-trainer", "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector("trainer", "rl")}}


def test_sft_is_an_indexed_job_whose_pods_find_each_other() -> None:
    spec = reach(World("SFT"), "sft").child("Job", "sft")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert spec["template"]["spec"]["subdomain"] == "one-sft"


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_tries_once_and_tells_bad_input_from_a_lost_node(stage: str) -> None:
    spec = reach(World("SFTThenRL"), stage).child("Job", stage)["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [64]}},
        {"action": "Ignore", "onExitCodes": {"containerName": "main", "operator": "In", "values": [143]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]


def test_every_pod_meets_the_restricted_pod_security_standard(everything: dict[str, Manifest]) -> None:
    for name, template in everything.items():
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container(template)["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name


def test_only_pods_that_report_carry_an_api_token(everything: dict[str, Manifest]) -> None:
    reporting = {name for name, template in everything.items() if template["spec"]["automountServiceAccountToken"]}
    assert reporting == {f"Job/{stage}" for stage in STAGES} | {"StatefulSet/conductor"}
    for name, template in everything.items():
        assert (template["spec"].get("serviceAccountName") == "one-worker") == (name in reporting), name


def test_verifiers_hold_no_credential(everything: dict[str, Manifest]) -> None:
    for name, template in everything.items():
        secrets = [one["valueFrom"]["secretKeyRef"]["name"] for one in container(template)["env"]
                   if "secretKeyRef" in one.get("valueFrom", {})]
        assert secrets == ([] if name == "Deployment/verifier" else ["store", "store"]), name


def test_the_run_token_is_absent_where_no_http_route_is_spoken(everything: dict[str, Manifest]) -> None:
    without = {name for name, template in everything.items()
               if "token" not in {volume["name"] for volume in template["spec"]["volumes"]}}
    assert without == {"Job/preflight", "Job/curate", "Job/sft"}


def test_a_runtime_cannot_replace_credentials_by_plain_settings() -> None:
    world = World("RL")
    world.runtime = runtime(worker={"env": {"AWS_SECRET_ACCESS_KEY": "plain"}})
    env = container(world.settle().child("Job", "preflight")["spec"]["template"])["env"]
    assert [one for one in env if one["name"] == "AWS_SECRET_ACCESS_KEY"] == [
        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "secretKey"}}}]


def test_preflight_runs_in_the_slim_image(everything: dict[str, Manifest]) -> None:
    assert container(everything["Job/preflight"])["image"] == "registry/verifier:1"
    assert container(everything["Job/curate"])["image"] == "registry/worker:1"


def test_every_pod_runs_its_own_module(everything: dict[str, Manifest]) -> None:
    modules = {name: container(template)["command"][2] for name, template in everything.items()}
    assert modules == {f"Job/{stage}": f"magistral_workloads.recipe.{stage}" for stage in STAGES} | {
        f"{kind}/{role}": f"magistral_workloads.roles.{role}"
        for kind, role in (("StatefulSet", "trainer"), ("StatefulSet", "conductor"), ("Deployment", "generator"),
                           ("Deployment", "verifier"))}


def test_no_secret_value_is_in_any_manifest() -> None:
    world = reach(World("SFTThenRL"), "rl")
    assert not [key for key in world.children if key[0] == "Secret"]


@pytest.mark.parametrize(("stage", "kind", "part"), [("sft", "Job", "sft"), ("rl", "StatefulSet", "trainer")])
def test_trainers_have_the_runtimes_time_for_a_checkpoint_and_hear_that_they_are_to_end_from_their_first_moment(
        stage: str, kind: str, part: str) -> None:
    world = World("SFTThenRL")
    world.runtime = runtime(spec={"checkpointGracePeriod": "7m30s"})
    spec = reach(world, stage).child(kind, part)["spec"]["template"]["spec"]
    assert (spec["terminationGracePeriodSeconds"], spec["shareProcessNamespace"]) == (450, True)


def least(world: World) -> dict[str, int]:
    """Budgets: role to the pods that a drain must leave."""
    return {name.removeprefix("one-"): budget["spec"]["minAvailable"]
            for (kind, name), budget in world.children.items() if kind == "PodDisruptionBudget"}


def test_a_drain_takes_trainers_one_by_one_and_leaves_a_server_of_each_kind() -> None:
    world = World("SFTThenRL", rl=World("RL").run["spec"]["rl"] | {"trainers": 4, "generators": 3})
    world.run["spec"]["sft"]["workers"] = 4
    assert least(reach(world, "curate")) == {}
    assert least(reach(world, "sft")) == {"trainer": 3}
    assert least(reach(world, "rl")) == {"trainer": 3, "generator": 1, "verifier": 1}
    assert least(reach(world, "evaluate")) == {"generator": 1, "verifier": 1}
    budget = world.child("PodDisruptionBudget", "generator")
    assert budget["spec"]["selector"] == {"matchLabels": selector("generator")}
    assert least(succeed(world, ["evaluate"])) == {}


def test_a_role_of_one_pod_has_no_budget_so_that_a_drain_ends() -> None:
    world = reach(World("RL", rl=World("RL").run["spec"]["rl"] | {"trainers": 1, "generators": 2, "verifiers": 1}), "rl")
    assert least(world) == {"generator": 1}
    world.change(rl=world.run["spec"]["rl"] | {"generators": 1}).settle()
    assert least(world) == {}
