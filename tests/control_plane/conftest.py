"""One API server with real controllers a session, and on it the operator with exactly the rights it asks for."""

import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from dev.cluster import control_plane as planes
from magistral_operator import kinds
from tests.control_plane.cluster import Api, Namespace, Operator, namespace

CRDS = Path(__file__).parents[2] / "crds"
USER = "magistral-operator"


@pytest.fixture(scope="session")
def plane() -> Iterator[planes.ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager: everything but nodes."""
    with planes.control_plane(controllers=True) as started:
        yield started


@pytest.fixture(scope="session")
def api(plane: planes.ControlPlane) -> Iterator[Api]:
    """The administrator's view, with the CRDs installed as `kubectl apply` does it."""
    admin = plane.authority.issue("tester", user="tester", groups=("system:masters",))
    context = ssl.create_default_context(cafile=str(plane.authority.pair.certificate))
    context.load_cert_chain(admin.certificate, admin.key)
    with httpx.Client(base_url=plane.server, verify=context, timeout=30, trust_env=False) as client:
        found = Api(client, plane.kubeconfig)
        found.kubectl("apply", "-f", str(CRDS))
        found.kubectl("wait", "--for=condition=Established", "--timeout=30s",
                      *(f"crd/{yaml.safe_load(file.read_text())['metadata']['name']}" for file in CRDS.glob("*.yaml")))
        yield found


@pytest.fixture(scope="session")
def kubeconfig(plane: planes.ControlPlane, api: Api) -> Path:
    """Of a user who may do what kinds.py lists, and nothing else."""
    rules = [{"apiGroups": [kind.group], "resources": [kind.plural], "verbs": list(kind.verbs)}
             for kind in kinds.BY_NAME.values()]
    rules += [{"apiGroups": [kinds.RUN.group], "resources": [resource], "verbs": list(verbs)}
              for resource, verbs in kinds.SUBRESOURCES.items()]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    role = rbac | {"kind": "ClusterRole", "metadata": {"name": USER}, "rules": rules}
    binding = rbac | {
        "kind": "ClusterRoleBinding", "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
        "subjects": [{"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}]}
    api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([role, binding]))
    return plane.client("operator", user=USER)


@pytest.fixture(scope="session")
def operator(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, running."""
    (port,) = planes.free_ports(1)
    running = Operator(kubeconfig, port, tmp_path_factory.mktemp("operator") / "log")
    running.start()
    yield running
    assert running.terminate() == 0


@pytest.fixture
def ns(api: Api, operator: Operator) -> Iterator[Namespace]:
    """A fresh namespace and runtime, with the operator running."""
    with namespace(api, f"t-{uuid.uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
def standby(kubeconfig: Path, tmp_path: Path) -> Iterator[Operator]:
    """A second replica."""
    (port,) = planes.free_ports(1)
    second = Operator(kubeconfig, port, tmp_path / "log")
    second.start()
    yield second
    assert second.terminate() == 0
