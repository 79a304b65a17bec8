"""Puts on the cluster what the demo and the cluster tests need: namespace, object store, operator, runtime."""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dev.kubectl import ROOT, Cluster
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.storage import ObjectStore

NAMESPACE = "magistral-demo"
OPERATOR_NAMESPACE = "magistral-system"
BUCKET = "magistral"
EXAMPLES = ROOT / "examples" / "demo"


@dataclass(frozen=True)
class StoreAccess:
    """How this machine reaches the demo's object store."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def open(self) -> ObjectStore:
        """The store as the workloads see it."""
        storage = Storage(endpoint=self.endpoint, bucket=self.bucket, credentials_secret_ref=SecretRef(name="object-store"))
        return ObjectStore(storage, self.access_key, self.secret_key)


def everything(cluster: Cluster, say: Callable[[str], None]) -> None:
    """`base`, the operator's newest image, and the runtime: all before the first run."""
    base(cluster, say)
    restart_operator(cluster)
    runtime(cluster)


def base(cluster: Cluster, say: Callable[[str], None], name: str = NAMESPACE) -> None:
    """Cluster, images, data, an empty namespace, store, operator."""
    say("cluster")
    module("dev.cluster", "up")
    say("images")
    module("dev.images", "build", "--load")
    say("demo data: a tiny base model, tasks, HumanEval problems, SmolLM2-135M")
    module("dev.demo.data", "make")
    say(f"namespace {name} and object store")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout=140)
    namespace(cluster, name)
    store(cluster, name)
    with store_access(cluster, name) as access:
        upload(access)
    say("helm install of the operator")
    operator(cluster)


def module(*arguments: str) -> None:
    """Run one of our own modules, its output in plain sight."""
    subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=ROOT)


def namespace(cluster: Cluster, name: str = NAMESPACE) -> None:
    """A namespace that admits only pods of Pod Security level `restricted`."""
    cluster.apply(json.dumps({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }), "default")


def store(cluster: Cluster, name: str = NAMESPACE) -> None:
    """The object store and its Secret; credentials are drawn once and never printed."""
    if cluster.get("secret", "object-store", name) is None:
        cluster.apply(json.dumps({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "object-store"},
            "stringData": {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)},
        }), name)
    cluster.apply((EXAMPLES / "store.yaml").read_text(), name)
    cluster.kubectl("-n", name, "rollout", "status", "deployment/store", "--timeout=180s", timeout=200)


@contextmanager
def store_access(cluster: Cluster, name: str = NAMESPACE) -> Iterator[StoreAccess]:
    """The store from this machine, through a port-forward that ends with the block."""
    secret = cluster.get("secret", "object-store", name)
    if secret is None:
        raise LookupError(f"Secret object-store not found in namespace {name}; run install.store first")
    decoded = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    with cluster.port_forward(name, "service/store", 9000) as port:
        yield StoreAccess(f"http://127.0.0.1:{port}", BUCKET, decoded["accessKey"], decoded["secretKey"])


def upload(access: StoreAccess) -> None:
    """The demo's data into the store. Credentials go through the environment."""
    subprocess.run(
        [sys.executable, "-m", "dev.demo.data", "upload", "--endpoint", access.endpoint, "--bucket", access.bucket],
        check=True, cwd=ROOT,
        env=os.environ | {"AWS_ACCESS_KEY_ID": access.access_key, "AWS_SECRET_ACCESS_KEY": access.secret_key})


def operator(cluster: Cluster) -> None:
    """`helm install` of the chart, as a user does it."""
    cluster.run("helm", "upgrade", "--install", "magistral-operator", str(ROOT / "charts" / "magistral-operator"),
                "--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s", timeout=200)


def restart_operator(cluster: Cluster) -> None:
    """Make a running operator take a rebuilt image of the same tag."""
    cluster.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "restart", "deployment/magistral-operator")
    cluster.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment/magistral-operator", "--timeout=120s",
                    timeout=140)


def runtime(cluster: Cluster) -> None:
    cluster.apply((EXAMPLES / "runtime.yaml").read_text(), NAMESPACE)
