"""etcd, kube-apiserver and, when asked, kube-controller-manager: all that an operator's tests need.

with control_plane(controllers=True) as plane:
    subprocess.run(["kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces"])
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import binaries, components, kubeconfig
from dev.cluster.api import Api
from dev.cluster.certificates import Authority, service_account_keys
from dev.cluster.processes import Processes

READY_S = 60.0
LOOPBACK = "127.0.0.1"
SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"


@dataclass(frozen=True)
class Access:
    """What another part needs to join a running control plane: its API server, who signs certificates, the records."""

    directory: Path
    authority: Authority
    api: Api
    processes: Processes

    @classmethod
    def reopen(cls, directory: Path, processes: Processes, *, address: str, port: int) -> Access:
        """To a control plane that `start` has made in `directory`."""
        authority = Authority.read(directory / "pki")
        return cls(directory, authority, Api(f"https://{address}:{port}", authority.pair, authority.issued("admin")), processes)

    @property
    def server(self) -> str:
        return self.api.server

    def client(self, name: str, *, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig for another user, e.g. to test what RBAC lets it do. Returns its path."""
        pair = self.authority.issue(name, user=user, groups=groups)
        return kubeconfig.write(
            self.directory / f"{name}.kubeconfig",
            kubeconfig.document(self.server, self.authority.pair, pair),
        )


@dataclass(frozen=True)
class ControlPlane(Access):
    """A running control plane. `kubeconfig` belongs to a user in `system:masters`."""

    kubeconfig: Path
    layout: components.Layout


@contextmanager
def control_plane(
    *, controllers: bool = False, directory: Path | None = None, apiserver_flags: Sequence[str] = (),
    controller_flags: Sequence[str] = (),
) -> Iterator[ControlPlane]:
    """Start a control plane on free loopback ports, stop it by pid at the end. About 3 s once it is built.

    Without `controllers` nothing acts on objects: no garbage collection, no namespace deletion, no default
    ServiceAccount (its admission is off, so pods can be created). The processes die with the caller.
    `directory` (kept, must be empty) holds data, logs and keys; without it a temporary one does. `apiserver_flags` are
    added to the API server's own.
    Raises ClusterError with the log's last lines when a part does not come up.
    """
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="control-plane-")))
        processes = Processes.within(directory)
        stack.callback(processes.stop_all)
        yield start(
            directory, processes, controllers=controllers, with_parent=True, apiserver_flags=apiserver_flags,
            controller_flags=controller_flags,
        )


def start(
    directory: Path,
    processes: Processes,
    *,
    controllers: bool,
    address: str = LOOPBACK,
    port: int | None = None,
    with_parent: bool = False,
    apiserver_flags: Sequence[str] = (),
    controller_flags: Sequence[str] = (),
) -> ControlPlane:
    """Start it with data and keys in `directory`; `processes.stop_all()` stops it."""
    built = binaries.ensure(["etcd", "kube-apiserver", *(["kube-controller-manager"] if controllers else [])])
    shutil.rmtree(directory / "etcd", ignore_errors=True)
    authority = Authority.make(directory / "pki")
    advertised = address != LOOPBACK
    api_port, etcd_port, peer_port, controller_port = free_ports(4)
    layout = components.Layout(
        binaries=built,
        directory=directory,
        address=address,
        port=port or api_port,
        etcd_port=etcd_port,
        etcd_peer_port=peer_port,
        services=SERVICES,
        advertised=advertised,
        authority=authority.pair,
        etcd=authority.issue("etcd", user="etcd", hosts=(LOOPBACK, "localhost")),
        etcd_client=authority.issue("etcd-client", user="kube-apiserver"),
        serving=authority.issue("apiserver", user="kube-apiserver", hosts=_names(address)),
        to_kubelet=authority.issue(
            "apiserver-to-kubelet", user="kube-apiserver-to-kubelet", groups=("system:masters",)
        ),
        service_accounts=service_account_keys(directory / "pki"),
    )
    admin = authority.issue("admin", user="admin", groups=("system:masters",))
    api = Api(layout.server, authority.pair, admin)

    processes.start("etcd", components.etcd(layout), with_parent=with_parent)
    processes.wait_ready("etcd", lambda: _accepts(LOOPBACK, etcd_port), READY_S)
    processes.start(
        "kube-apiserver",
        components.apiserver(layout, service_accounts=controllers, flags=apiserver_flags),
        with_parent=with_parent,
    )
    processes.wait_ready("kube-apiserver", api.ready, READY_S)
    plane = ControlPlane(
        directory=directory,
        kubeconfig=kubeconfig.write(
            directory / "kubeconfig", kubeconfig.document(layout.server, authority.pair, admin)
        ),
        layout=layout,
        authority=authority,
        api=api,
        processes=processes,
    )
    if controllers:
        access = plane.client("kube-controller-manager", user="system:kube-controller-manager")
        processes.start(
            "kube-controller-manager",
            components.controller_manager(layout, access, controller_port, controller_flags),
            with_parent=with_parent,
        )
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        processes.wait_ready("kube-controller-manager", lambda: api.exists(account), READY_S)
    return plane


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that are free now; held together while choosing, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _names(address: str) -> tuple[str, ...]:
    service = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    return (*dict.fromkeys((address, LOOPBACK, KUBERNETES_SERVICE)), "localhost", *service)


def _accepts(address: str, port: int) -> str | None:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError as error:
        return f"{address}:{port} does not accept connections ({error})"
    return None
