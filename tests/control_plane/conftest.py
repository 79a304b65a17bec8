"""One API server with real controllers a session, and on it the operator with exactly the rights it asks for."""

import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from dev.cluster import audit
from dev.cluster import control_plane as planes
from magistral_operator import kinds
from tests.control_plane.cluster import Api, Manifest, Namespace, Operator, namespace

CRDS = Path(__file__).parents[2] / "crds"
USER, QUEUEING_USER, CONFINED_USER = "magistral-operator", "queueing", "confined"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rights are compared last: with the calls of all other tests."""
    items.sort(key=lambda item: item.path.name == "test_rbac.py")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], audit.Log]:
    """Flags of the API server, and its record of all that the operators ask of it."""
    return audit.record(tmp_path_factory.mktemp("audit"), [USER, QUEUEING_USER, CONFINED_USER])


@pytest.fixture(scope="session")
def plane(recorded: tuple[list[str], audit.Log]) -> Iterator[planes.ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager: everything but nodes."""
    flags, _ = recorded
    # Fake nodes send no heartbeats: what they are is what a test says of them.
    with planes.control_plane(controllers=True, apiserver_flags=flags,
                              controller_flags=["--node-monitor-grace-period=2h"]) as started:
        yield started


@pytest.fixture(scope="session")
def api(plane: planes.ControlPlane) -> Iterator[Api]:
    """The administrator's view, with the CRDs installed."""
    with administrator(plane) as found:
        yield found


@contextmanager
def administrator(plane: planes.ControlPlane) -> Iterator[Api]:
    """The administrator's view, with the CRDs installed as `kubectl apply` does it."""
    context = credentials(plane, "tester", groups=("system:masters",))
    with httpx.Client(base_url=plane.server, verify=context, timeout=30, trust_env=False) as client:
        found = Api(client, plane.kubeconfig)
        found.kubectl("apply", "-f", str(CRDS))
        found.kubectl("wait", "--for=condition=Established", "--timeout=30s",
                      *(f"crd/{yaml.safe_load(file.read_text())['metadata']['name']}" for file in CRDS.glob("*.yaml")))
        yield found


def credentials(plane: planes.ControlPlane, user: str, groups: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A client certificate of this user."""
    pair = plane.authority.issue(user, user=user, groups=groups)
    context = ssl.create_default_context(cafile=str(plane.authority.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def rules(*which: kinds.Kind) -> list[Manifest]:
    """RBAC rules for what kinds.py says of these kinds and their subresources."""
    found = [{"apiGroups": [kind.group], "resources": [kind.plural], "verbs": list(kind.verbs)}
             for kind in which]
    return found + [{"apiGroups": [kinds.RUN.group], "resources": [resource], "verbs": list(verbs)}
                    for resource, verbs in kinds.SUBRESOURCES.items()]


@pytest.fixture(scope="session")
def kubeconfig(plane: planes.ControlPlane, api: Api) -> Path:
    """Of a user who may do what kinds.py lists, and nothing else. There is no Kueue."""
    allow(api, USER, rules(*(kind for kind in kinds.BY_NAME.values() if kind not in kinds.QUEUEING)))
    return plane.client("operator", user=USER)


def allow(api: Api, user: str, may: list[Manifest], namespace: str | None = None) -> None:
    """Grant rules to a user, everywhere or in one namespace."""
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    name = f"{user}-{namespace}" if namespace else user
    place = {"namespace": namespace} if namespace else {}
    role = rbac | {"kind": "ClusterRole", "metadata": {"name": name}, "rules": may}
    binding = rbac | {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding", "metadata": {"name": name} | place,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]}
    api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([role, binding]))


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


@pytest.fixture
def confined(plane: planes.ControlPlane, api: Api, operator: Operator, tmp_path: Path) -> Iterator[Namespace]:
    """A namespace served by an operator that may look into no other; the usual one is stopped meanwhile."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    assert operator.terminate() == 0
    with namespace(api, name) as made:
        everywhere = (kinds.RUNTIME, kinds.NODE)
        allow(api, CONFINED_USER, rules(*everywhere))
        allow(api, CONFINED_USER, rules(*(kind for kind in kinds.BY_NAME.values() if kind not in everywhere)), name)
        (port,) = planes.free_ports(1)
        alone = Operator(plane.client("confined", user=CONFINED_USER), port, tmp_path / "log",
                         {"MAGISTRAL_NAMESPACES": name, "POD_NAMESPACE": name})
        alone.start()
        yield made
        assert alone.terminate() == 0
    operator.start()
