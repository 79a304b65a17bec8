"""A real cluster with the operator, an object store and the demo's data. Started once, stopped when we started it."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import yaml
from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

from dev.cluster import local, ways
from dev.demo import install
from dev.kubectl import Cluster
from magistral_workloads.storage import ObjectStore

NAMESPACE = "magistral-test"
RUNTIME = "cpu-test"
SECOND_NODE = "node-1"
HOSTNAME = "kubernetes.io/hostname"
SPREAD = {"topologySpreadConstraints": [
    # A node that is lost or drained is none over which pods could be spread.
    {"topologyKey": HOSTNAME, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor"}]}


def runtime(name: str = RUNTIME, **storage: object) -> dict[str, object]:
    """The demo's runtime under another name, its storage changed as a test needs it."""
    document: dict[str, object] = yaml.safe_load((install.EXAMPLES / "runtime.yaml").read_text())
    document["metadata"] = {"name": name}
    spec = document["spec"]
    assert isinstance(spec, dict)
    spec["storage"] |= {"endpoint": f"http://store.{NAMESPACE}.svc.cluster.local:9000"} | storage
    return document


@contextmanager
def store(cluster: Cluster) -> Iterator[ObjectStore]:
    """The runs' object store, from here."""
    with install.store_access(cluster, NAMESPACE) as access:
        yield access.open()


def placed(name: str, **pods: Mapping[str, object]) -> dict[str, object]:
    """The demo's runtime under another name, with `pod` of some roles; what hangs on a lost node is removed by force."""
    document = runtime(name)
    spec = document["spec"]
    assert isinstance(spec, dict)
    spec["nodes"] = {"forceDelete": True}
    for role, pod in pods.items():
        spec["roles"][role]["pod"] = pod
    return document


def user_without_rights(cluster: Cluster, access: install.StoreAccess) -> None:
    """A user of the store that no policy allows anything, and its Secret `no-rights`."""
    password = secrets.token_hex(20)
    root = StaticProvider(access.access_key, access.secret_key)
    admin = MinioAdmin(endpoint=access.endpoint.removeprefix("http://"), credentials=root, secure=False)
    admin.user_add("nobody", password)
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "no-rights"},
                              "stringData": {"accessKey": "nobody", "secretKey": password}}), NAMESPACE)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The operator installed with helm, in a namespace that admits only restricted pods."""
    ours = not local.is_ours()
    cluster = Cluster()
    try:
        install.base(cluster, print, NAMESPACE)
        with install.store_access(cluster, NAMESPACE) as access:
            user_without_rights(cluster, access)
        cluster.apply(json.dumps(runtime()), NAMESPACE)
        yield cluster
        cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s", timeout=140)
    finally:
        if ours:
            install.module("dev.cluster", "down")


@pytest.fixture
def second_node(cluster: Cluster) -> Iterator[str]:
    """A node beside the first one, gone and forgotten afterwards."""
    if ways.recorded() is not ways.Way.LOCAL:
        pytest.skip("only the local cluster has a second node that may be lost")
    install.module("dev.cluster", "up", "--nodes", "2")
    try:
        yield SECOND_NODE
    finally:
        install.module("dev.cluster", "lose-node", SECOND_NODE)
        cluster.kubectl("delete", "node", SECOND_NODE, "--ignore-not-found", "--timeout=30s")
