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
from dev.cluster.control_plane import LOOPBACK, Access, free_ports
from dev.cluster.errors import ClusterError
from dev.cluster.node import FIRST, Node
from dev.cluster.paths import KUBECONFIG, NODES, REPOSITORY, RUN, STATE
from dev.cluster.processes import Processes
from dev.cluster.progress import duration, say, step

API_PORT = 6443
READY_S = 60.0
OWNER = RUN / "owner"
HOST_RECORD = RUN / "host.json"
PROCESSES = Processes(RUN / "pids", STATE / "logs")


def up(count: int = 1) -> None:
    """Make the cluster unless it runs, with at least so many nodes. What a crash left is cleared away first.

    Raises ClusterError.
    """
    began = time.monotonic()
    _may_run_here()
    dead, alive = _parts()
    whole = bool(alive) and not dead and KUBECONFIG.exists()
    wanted = [one for one in _nodes(count) if not whole or not _runs(one)]
    if not wanted:
        say(f"already up: {len(alive)} processes")
        return
    packages.ensure()
    built = binaries.ensure(binaries.CLUSTER)
    if whole:
        plane = Access.reopen(STATE, PROCESSES, address=network.GATEWAY, port=API_PORT)
    else:
        if dead or alive or network.exists() or HOST_RECORD.exists():
            say(f"clearing away a cluster that is not whole ({', '.join(dead) or 'half started'})")
            down()
        plane = _control_plane(built)
    for one in wanted:
        for part in one.parts:
            PROCESSES.stop(part)
        with step(f"{one.name}: containerd, kubelet"):
            node.start(one, plane, built)
    if not whole:
        with step("kube-proxy, CoreDNS"):
            _kube_proxy(plane, built)
            _coredns(plane, built)
    dead, _ = _parts()
    if dead:
        raise PROCESSES.failure(dead[0], "ended soon after its start")
    say(f"up in {duration(time.monotonic() - began)}: pods {network.PODS}, services {control_plane.SERVICES}")


def _control_plane(built: Mapping[str, Path]) -> Access:
    RUN.mkdir(parents=True, exist_ok=True)
    OWNER.write_text(str(REPOSITORY))
    with step("network and control groups"):
        host.remember(HOST_RECORD, FIRST.mounts())
        host.forward()
        network.up()
    with step("etcd, kube-apiserver, kube-controller-manager"):
        plane = control_plane.start(STATE, PROCESSES, controllers=True, address=network.GATEWAY, port=API_PORT)
    _scheduler(plane, built)
    return plane


def lose(name: str) -> None:
    """End a node as a power cut would. `down` clears away what is left of it, `up` brings it back. Raises ClusterError."""
    _may_run_here()
    one = next((one for one in _further() if one.name == name), None)
    if one is None:
        lost = ", ".join(one.name for one in _further()) or "none: `up --nodes 2` adds one"
        raise ClusterError(f"{name} is no node that can be lost; found {lost}. {FIRST.name} holds all images")
    node.lose(one, PROCESSES)
    say(f"{name} is lost; `up --nodes {one.index + 1}` brings it back")


def is_ours() -> bool:
    """Whether this clone has started a cluster here, whole or not."""
    return OWNER.exists() and OWNER.read_text().strip() == str(REPOSITORY)


def down() -> None:
    """Stop every process by its record, then take away interfaces, rules, cgroups, settings and files."""
    _may_run_here()
    further = _further()
    stopped = PROCESSES.stop_all()
    say(f"stopped: {', '.join(stopped) or 'nothing was running'}")
    if HOST_RECORD.exists():
        network.down()
        host.restore(HOST_RECORD)
    node.remove(FIRST)
    for one in further:
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
    say(f"  {len(alive)} of {len(alive) + len(dead)} parts run; images lie in {FIRST.images}")
    return bool(alive) and not dead


def load(archive: Path) -> list[str]:
    """Import the images of an OCI archive into nodes where they are not yet, by digest. Returns the names imported.

    Raises ClusterError when no cluster runs or the archive cannot be read.
    """
    ctr = binaries.ensure(["ctr"])["ctr"]
    wanted = oci.images(archive)
    imported: set[str] = set()
    for one in running():
        there = node.present(one, ctr)
        missing = [name for name, digest in wanted.items() if there.get(name) != digest]
        if missing:
            with step(f"importing {', '.join(missing)} into {one.name}"):
                node.import_archive(one, ctr, archive)
            imported.update(missing)
    return sorted(imported)


def running() -> list[Node]:
    """The nodes that run. Raises ClusterError without the first."""
    if not _runs(FIRST):
        raise ClusterError("the local cluster does not run: `make cluster-up` first")
    return [FIRST, *filter(_runs, _further())]


def _nodes(count: int) -> list[Node]:
    return [FIRST, *(Node(f"node-{index}", index) for index in range(1, count))]


def _further() -> list[Node]:
    """Nodes beside the first one that were started, lost or not."""
    return [one for one in _nodes(network.MOST_NODES)[1:] if (PROCESSES.pids / f"{one.name}.json").exists()]


def _runs(one: Node) -> bool:
    return all(PROCESSES.find(part) for part in one.parts)


def _parts() -> tuple[list[str], list[str]]:
    """Names of the recorded processes: dead, alive. Without those of lost nodes: the cluster is whole without them."""
    dead: list[str] = []
    alive: list[str] = []
    lost = {part for one in _further() if not PROCESSES.find(one.name) for part in one.parts}
    for name in filter(lambda name: name not in lost, PROCESSES.names()):
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


def _scheduler(plane: Access, built: Mapping[str, Path]) -> None:
    access = plane.client("kube-scheduler", user="system:kube-scheduler")
    (port,) = free_ports(1)
    plane.processes.start("kube-scheduler", components.scheduler(built["kube-scheduler"], access, port))


def _kube_proxy(plane: Access, built: Mapping[str, Path]) -> None:
    health, metrics = free_ports(2)
    settings = config.write(
        "kube-proxy.yaml",
        STATE / "config",
        kubeconfig=plane.client("kube-proxy", user="system:kube-proxy"),
        node=FIRST.name,
        health_port=health,
        metrics_port=metrics,
        pods=network.PODS,
    )
    plane.processes.start("kube-proxy", [str(built["kube-proxy"]), f"--config={settings}"])
    plane.processes.wait_ready("kube-proxy", lambda: _answers(f"http://{LOOPBACK}:{health}/healthz"), READY_S)


def _coredns(plane: Access, built: Mapping[str, Path]) -> None:
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
