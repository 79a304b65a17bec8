"""Way 3: every part of Kubernetes, real, from pinned Go modules, as processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from dev.cluster import binaries, components, config, control_plane, host, network, node, oci, packages
from dev.cluster.control_plane import LOOPBACK, ControlPlane, free_ports
from dev.cluster.errors import ClusterError
from dev.cluster.node import Node
from dev.cluster.paths import KUBECONFIG, NODES, REPOSITORY, RUN, STATE
from dev.cluster.processes import Processes
from dev.cluster.progress import duration, say, step

NODES_OF_CLUSTER = (Node("node-0", 0),)
API_PORT = 6443
READY_S = 60.0
OWNER = RUN / "owner"
HOST_RECORD = RUN / "host.json"
PROCESSES = Processes(RUN / "pids", STATE / "logs")


def up() -> None:
    """Make the cluster unless it runs. What a crash left is cleared away first. Raises ClusterError."""
    began = time.monotonic()
    _may_run_here()
    dead, alive = _parts()
    if alive and not dead and KUBECONFIG.exists():
        say(f"already up: {len(alive)} processes")
        return
    packages.ensure()
    built = binaries.ensure(binaries.CLUSTER)
    if dead or alive or network.exists() or HOST_RECORD.exists():
        say(f"clearing away a cluster that is not whole ({', '.join(dead) or 'half started'})")
        down()
    RUN.mkdir(parents=True, exist_ok=True)
    OWNER.write_text(str(REPOSITORY))
    with step("network and control groups"):
        host.remember(HOST_RECORD, [point for one in NODES_OF_CLUSTER for point in one.mounts()])
        host.forward()
        host.make_cgroup()
        network.up()
    with step("etcd, kube-apiserver, kube-controller-manager"):
        plane = control_plane.start(STATE, PROCESSES, controllers=True, address=network.GATEWAY, port=API_PORT)
    _scheduler(plane, built)
    for one in NODES_OF_CLUSTER:
        with step(f"{one.name}: containerd, kubelet"):
            node.start(one, plane, built)
    with step("kube-proxy, CoreDNS"):
        _kube_proxy(plane, built)
        _coredns(plane, built)
    dead, _ = _parts()
    if dead:
        raise PROCESSES.failure(dead[0], "ended soon after its start")
    say(f"up in {duration(time.monotonic() - began)}: pods {network.PODS}, services {control_plane.SERVICES}")


def is_ours() -> bool:
    """Whether this clone has started a cluster here, whole or not."""
    return OWNER.exists() and OWNER.read_text().strip() == str(REPOSITORY)


def down() -> None:
    """Stop every process by its record, then take away interfaces, rules, cgroups, settings and files."""
    _may_run_here()
    stopped = PROCESSES.stop_all()
    say(f"stopped: {', '.join(stopped) or 'nothing was running'}")
    if HOST_RECORD.exists():
        network.down()
        host.remove_cgroup()
        host.restore(HOST_RECORD)
    for one in NODES_OF_CLUSTER:
        node.remove(one)
    for directory in (RUN, NODES, STATE / "pki", STATE / "etcd", STATE / "config"):
        shutil.rmtree(directory, ignore_errors=True)
    for file in STATE.glob("*kubeconfig"):
        file.unlink()


def status() -> bool:
    """Print each part; True when all run."""
    dead, alive = _parts()
    for name in PROCESSES.names():
        who = PROCESSES.find(name)
        say(f"  {name:28} {f'pid {who.pid}' if who else 'NOT RUNNING':14} {PROCESSES.log(name)}")
    say(f"  {len(alive)} of {len(alive) + len(dead)} parts run; images lie in {NODES_OF_CLUSTER[0].images}")
    return bool(alive) and not dead


def load(archive: Path) -> list[str]:
    """Import the images of an OCI archive that are not there yet, by digest. Returns the names imported.

    Raises ClusterError when no cluster runs or the archive cannot be read.
    """
    dead, alive = _parts()
    if dead or not alive:
        raise ClusterError("the local cluster does not run: `make cluster-up` first")
    ctr = binaries.ensure(["ctr"])["ctr"]
    wanted = oci.images(archive)
    imported: set[str] = set()
    for one in NODES_OF_CLUSTER:
        there = node.present(one, ctr)
        missing = [name for name, digest in wanted.items() if there.get(name) != digest]
        if missing:
            with step(f"importing {', '.join(missing)} into {one.name}"):
                node.import_archive(one, ctr, archive)
            imported.update(missing)
    return sorted(imported)


def _parts() -> tuple[list[str], list[str]]:
    """Names of the recorded processes: dead, alive."""
    dead: list[str] = []
    alive: list[str] = []
    for name in PROCESSES.names():
        (alive if PROCESSES.find(name) else dead).append(name)
    return dead, alive


def _may_run_here() -> None:
    if os.geteuid() != 0:
        raise ClusterError("the local cluster needs root (namespaces, bridge, mounts): run it with sudo")
    other = other_clone(OWNER, PROCESSES)
    if other is not None:
        raise ClusterError(f"a cluster of {other} is up on this machine: run `make cluster-down` there first")


def other_clone(owner: Path, processes: Processes) -> Path | None:
    """Another clone that `owner` names and whose `processes` run.

    After a restart of the machine none do, and what is left may be cleared away.
    """
    clone = Path(owner.read_text().strip()) if owner.exists() else REPOSITORY
    running = any(processes.find(name) for name in processes.names())
    return clone if running and clone != REPOSITORY and clone.exists() else None


def _scheduler(plane: ControlPlane, built: Mapping[str, Path]) -> None:
    access = plane.client("kube-scheduler", user="system:kube-scheduler")
    (port,) = free_ports(1)
    plane.processes.start("kube-scheduler", components.scheduler(built["kube-scheduler"], access, port))


def _kube_proxy(plane: ControlPlane, built: Mapping[str, Path]) -> None:
    health, metrics = free_ports(2)
    settings = config.write(
        "kube-proxy.yaml",
        STATE / "config",
        kubeconfig=plane.client("kube-proxy", user="system:kube-proxy"),
        node=NODES_OF_CLUSTER[0].name,
        health_port=health,
        metrics_port=metrics,
        pods=network.PODS,
    )
    plane.processes.start("kube-proxy", [str(built["kube-proxy"]), f"--config={settings}"])
    plane.processes.wait_ready("kube-proxy", lambda: _answers(f"http://{LOOPBACK}:{health}/healthz"), READY_S)


def _coredns(plane: ControlPlane, built: Mapping[str, Path]) -> None:
    api = "/apis/rbac.authorization.k8s.io/v1"
    for manifest in json.loads((config.DIRECTORY / "coredns-access.json").read_text()):
        plane.api.apply(f"{api}/{manifest['kind'].lower()}s/{manifest['metadata']['name']}", manifest)
    (ready,) = free_ports(1)
    corefile = config.write(
        "Corefile",
        STATE / "config",
        address=network.GATEWAY,
        ready_port=ready,
        kubeconfig=plane.client("coredns", user="coredns"),
    )
    plane.processes.start("coredns", [str(built["coredns"]), f"-conf={corefile}"])
    plane.processes.wait_ready("coredns", lambda: _answers(f"http://{LOOPBACK}:{ready}/ready"), READY_S)


def _answers(url: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except OSError as error:
        return f"{url}: {error}"
    return None
