"""A real cluster with the operator, an object store and the demo's data. Started once, stopped when we started it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import yaml

from dev.cluster import local
from dev.demo import install
from dev.kubectl import ROOT, Cluster

NAMESPACE = "magistral-test"
RUNTIME = "cpu-test"


def module(*arguments: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=ROOT, env=environment)


def runtime(name: str = RUNTIME, **storage: object) -> dict[str, object]:
    """The demo's runtime under another name, its storage changed as a test needs it."""
    document: dict[str, object] = yaml.safe_load((install.EXAMPLES / "runtime.yaml").read_text())
    document["metadata"] = {"name": name}
    spec = document["spec"]
    assert isinstance(spec, dict)
    spec["storage"] |= {"endpoint": f"http://store.{NAMESPACE}.svc.cluster.local:9000"} | storage
    return document


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The operator installed with helm, in a namespace that admits only restricted pods."""
    ours = not local.is_ours()
    module("dev.cluster", "up")
    try:
        module("dev.images", "build", "--load")
        module("dev.demo.data", "make")
        cluster = Cluster()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s", timeout=140)
        install.namespace(cluster, NAMESPACE)
        install.store(cluster, NAMESPACE)
        with install.store_access(cluster, NAMESPACE) as access:
            install.upload(access)
        install.operator(cluster)
        cluster.apply(json.dumps(runtime()), NAMESPACE)
        yield cluster
        cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s", timeout=140)
    finally:
        if ours:
            module("dev.cluster", "down")


@pytest.fixture
def store(cluster: Cluster) -> Iterator[AbstractContextManager[install.StoreAccess]]:
    """How a test reaches the object store."""
    yield install.store_access(cluster, NAMESPACE)
