"""Command lines of the control plane's processes. Nothing here starts anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.certificates import Pair


@dataclass(frozen=True)
class Layout:
    """What the control plane's processes need to know of each other.

    `address` is what the API server listens on; with `advertised` the same address becomes the endpoint of
    the `kubernetes` service, which a loopback address cannot be.
    """

    binaries: Mapping[str, Path]
    directory: Path
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    services: str
    advertised: bool
    authority: Pair
    etcd: Pair
    etcd_client: Pair
    serving: Pair
    to_kubelet: Pair
    service_accounts: Pair

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def etcd_url(self) -> str:
        return f"https://127.0.0.1:{self.etcd_port}"


def etcd(layout: Layout) -> list[str]:
    """One member. Data is worth nothing after the cluster, so it is never synced to disk."""
    peer = f"https://127.0.0.1:{layout.etcd_peer_port}"
    return [
        str(layout.binaries["etcd"]),
        "--name=local",
        f"--data-dir={layout.directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        "--client-cert-auth",
        f"--trusted-ca-file={layout.authority.certificate}",
        f"--cert-file={layout.etcd.certificate}",
        f"--key-file={layout.etcd.key}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=local={peer}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={layout.authority.certificate}",
        f"--peer-cert-file={layout.etcd.certificate}",
        f"--peer-key-file={layout.etcd.key}",
        "--log-level=warn",
    ]


def apiserver(layout: Layout, *, service_accounts: bool, flags: Sequence[str] = ()) -> list[str]:
    """Node and RBAC authorizers, and beside the default admission (Pod Security among it) NodeRestriction and, as on
    OpenShift, OwnerReferencesPermissionEnforcement: who blocks an owner's deletion needs a right to its finalizers.

    `service_accounts=False` lets pods be created where no controller makes the `default` account.
    """
    reconciler = "lease" if layout.advertised else "none"
    accounts = [] if service_accounts else ["--disable-admission-plugins=ServiceAccount"]
    return [
        str(layout.binaries["kube-apiserver"]),
        f"--bind-address={layout.address}",
        f"--advertise-address={layout.address}",
        f"--endpoint-reconciler-type={reconciler}",
        f"--secure-port={layout.port}",
        f"--tls-cert-file={layout.serving.certificate}",
        f"--tls-private-key-file={layout.serving.key}",
        f"--client-ca-file={layout.authority.certificate}",
        f"--etcd-servers={layout.etcd_url}",
        f"--etcd-cafile={layout.authority.certificate}",
        f"--etcd-certfile={layout.etcd_client.certificate}",
        f"--etcd-keyfile={layout.etcd_client.key}",
        f"--service-cluster-ip-range={layout.services}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.service_accounts.certificate}",
        f"--service-account-signing-key-file={layout.service_accounts.key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        *accounts,
        f"--kubelet-certificate-authority={layout.authority.certificate}",
        f"--kubelet-client-certificate={layout.to_kubelet.certificate}",
        f"--kubelet-client-key={layout.to_kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
        *flags,
    ]


def controller_manager(layout: Layout, kubeconfig: Path, port: int, flags: Sequence[str] = ()) -> list[str]:
    """All default controllers: an idle one costs nothing. One instance, so no leader election."""
    return [
        str(layout.binaries["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--service-account-private-key-file={layout.service_accounts.key}",
        f"--root-ca-file={layout.authority.certificate}",
        f"--service-cluster-ip-range={layout.services}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--profiling=false",
        *flags,
    ]


def scheduler(binary: Path, kubeconfig: Path, port: int) -> list[str]:
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--profiling=false",
    ]
