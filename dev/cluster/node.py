"""A node: containerd, kubelet and their pods in a mount and a process namespace of their own.

Its first process is `pause`. When that ends, the kernel ends every process of the node and with the last of them
goes every mount, so nothing of a node can be left behind, however it died. Inside, all paths are the usual ones;
each is a bind mount of a directory that only this node has. The network namespace is the machine's: pods and
services can be reached from it directly.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import config, host, network, pause, seed
from dev.cluster.commands import run
from dev.cluster.control_plane import Access
from dev.cluster.errors import ClusterError
from dev.cluster.packages import CNI_PLUGINS
from dev.cluster.paths import NODES, RUN, STATE, cache
from dev.cluster.processes import Processes, identify, terminate
from dev.cluster.progress import say

READY_S = 90.0
LEFTOVER_S = 300.0
IMPORT_S = 1800.0


@dataclass(frozen=True)
class Node:
    """`index` 0 to 254 decides the addresses: see network.py."""

    name: str
    index: int

    @property
    def address(self) -> str:
        return f"10.244.{self.index}.1"

    @property
    def run(self) -> Path:
        """Sockets and runtime state; what the node sees as /run/containerd."""
        return RUN / self.name

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def disk(self) -> Path:
        """Volumes of pods, gone with the node."""
        return NODES / self.name

    @property
    def images(self) -> Path:
        """containerd's image store. The first node's outlives the cluster: importing again takes minutes."""
        return cache() / "containerd" / self.name

    @property
    def config(self) -> Path:
        return STATE / self.name

    @property
    def cgroup(self) -> str:
        """Its own: a kubelet ends whatever it finds beside its pods."""
        return f"magistral-cluster-{self.name}"

    def mounts(self) -> dict[Path, Path]:
        """Path inside the node -> directory of the machine."""
        return {
            Path("/run/containerd"): self.run,
            Path("/run/netns"): self.run / "netns",
            Path("/var/lib/cni"): self.run / "cni-results",
            Path("/var/lib/containerd"): self.images,
            Path("/var/lib/kubelet"): self.disk / "kubelet",
            Path("/var/log/containers"): self.disk / "containers",
            Path("/var/log/pods"): STATE / "logs" / "pods" / self.name,
        }

    def part(self, name: str) -> str:
        """Name of one of its processes: `node-0` itself, `node-0-kubelet`."""
        return f"{self.name}-{name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of all its processes."""
        return (self.name, self.part("containerd"), self.part("kubelet"))


FIRST = Node("node-0", 0)


def start(node: Node, plane: Access, built: Mapping[str, Path]) -> None:
    """Start the node and wait until it is Ready; one that was lost comes back with empty disks.

    Raises ClusterError with the log of the part that is not.
    """
    remove(node)
    host.make_cgroup(node.cgroup)
    if node != FIRST:
        network.give_address(node.address)
        first = plane.processes.find(FIRST.name)
        if first is None:
            raise ClusterError(f"{FIRST.name} does not run: {node.name} takes its images from there")
        seed.seed(FIRST.images, node.images, Path(f"/proc/{first.pid}/mounts").read_text())
    init = _open(node, plane.processes)
    inside = ["nsenter", f"--target={init}", "--mount", "--pid", "--"]
    _containerd(node, plane.processes, inside, built)
    import_archive(node, built["ctr"], pause.archive())
    _kubelet(node, plane, inside, built)


def lose(node: Node, processes: Processes) -> None:
    """End the node as a power cut would: nobody is told, and no peer gets a goodbye. Its records stay for `down`."""
    init = processes.find(node.name)
    if init is None:
        return
    # The kernel closes the connections of a process that it kills: first nothing may leave any more.
    cut = ["ip", "-all", "netns", "exec", "ip", "link", "set", "eth0", "down"]
    run(["nsenter", f"--target={init.pid}", "--mount", "--", *cut])
    network.take_address(node.address)
    terminate(init, grace_s=0)


def remove(node: Node) -> None:
    """Delete what the node kept, except logs and the first node's images. Its processes must have ended."""
    host.remove_cgroup(node.cgroup)
    for directory in (node.run, node.disk, node.config, *([] if node == FIRST else [node.images])):
        shutil.rmtree(directory, ignore_errors=True)


def import_archive(node: Node, ctr: Path, archive: Path) -> None:
    """Put an OCI archive or layout directory into the node's image store. Layers are kept once, unpacked.

    An image whose name went to a newer one is dropped; a container that still runs from it goes on.
    """
    importing = [*_ctr(node, ctr), "images", "import", "--local", "--discard-unpacked-layers"]
    if archive.is_dir():
        with subprocess.Popen(["tar", "-C", str(archive), "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
            run([*importing, "-"], stream=tar.stdout, timeout_s=IMPORT_S)
    else:
        run([*importing, str(archive)], timeout_s=IMPORT_S)
    # containerd also names every image by its config's digest, and such a name keeps the whole image.
    held = present(node, ctr)
    named = {digest for name, digest in held.items() if not name.startswith("sha256:")}
    stale = [name for name, digest in held.items() if digest not in named]
    if stale:
        run([*_ctr(node, ctr), "images", "remove", *stale])


def present(node: Node, ctr: Path) -> dict[str, str]:
    """Name -> digest of every image in the node's store that a container can start from.

    One whose import broke off has a name too, but not all of its layers.
    """
    lines = run([*_ctr(node, ctr), "images", "check"]).splitlines()[1:]
    return {fields[0]: fields[2] for fields in map(str.split, lines) if len(fields) > 2 and fields[-1] == "true"}


def _ctr(node: Node, ctr: Path) -> list[str]:
    return [str(ctr), f"--address={node.socket}", "--namespace=k8s.io"]


def _open(node: Node, processes: Processes) -> int:
    """Make the namespaces and mount into them. Returns the pid, on the machine, of their first process."""
    namespaces = ["unshare", "--mount", "--propagation=slave", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"]
    processes.start(node.name, [*namespaces, "--", str(pause.ensure())])
    parent = processes.find(node.name)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children") if parent else None

    def comes_up() -> str | None:
        started = children.read_text().split() if children else []
        if started and Path(f"/proc/{started[0]}/comm").read_text().strip() == "pause":
            return None
        return "its first process has not started"

    processes.wait_ready(node.name, comes_up, 10)
    if children is None:
        raise processes.failure(node.name, "ended at once")
    init = identify(int(children.read_text().split()[0]))
    if init is None:
        raise processes.failure(node.name, "ended at once")
    # unshare ignores SIGTERM while it waits for its child; the child is what ends the node.
    processes.adopt(node.name, init)

    enter = ["nsenter", f"--target={init.pid}", "--mount", "--"]
    # Only within this namespace and its pods: mounts with Bidirectional propagation need a shared parent.
    run([*enter, "mount", "--make-rshared", "/"])
    for inside, outside in node.mounts().items():
        outside.mkdir(parents=True, exist_ok=True)
        run([*enter, "mount", "--bind", str(outside), str(inside)])
    return init.pid


def _containerd(node: Node, processes: Processes, inside: list[str], built: Mapping[str, Path]) -> None:
    settings = config.write(
        "containerd.toml",
        node.config,
        pause_image=pause.image(),
        cni_plugins=CNI_PLUGINS,
        runc=built["runc"],
    )
    config.write(
        "cni.conflist",
        node.run / "cni",
        bridge=network.BRIDGE,
        pods=network.PODS,
        gateway=network.GATEWAY,
        first=f"10.244.{node.index}.10",
        last=f"10.244.{node.index}.254",
    )
    name = node.part("containerd")
    path = f"{built['containerd'].parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    processes.start(name, [*inside, str(built["containerd"]), f"--config={settings}"], environment={"PATH": path})
    crictl = [str(built["crictl"]), f"--runtime-endpoint=unix://{node.socket}", f"--timeout={LEFTOVER_S:.0f}s"]

    def answers() -> str | None:
        try:
            run([*crictl, "version"], timeout_s=10)
        except ClusterError as error:
            return str(error)
        return None

    processes.wait_ready(name, answers, READY_S)
    left = run([*crictl, "pods", "--quiet"]).split()
    if left:
        say(f"removing {len(left)} pods that are only in the image store")
        run([*crictl, "rmp", "--force", "--all"], timeout_s=LEFTOVER_S)


def _kubelet(node: Node, plane: Access, inside: list[str], built: Mapping[str, Path]) -> None:
    user, groups = f"system:node:{node.name}", ("system:nodes",)
    serving = plane.authority.issue(node.part("kubelet"), user=user, groups=groups, hosts=(node.address, node.name))
    settings = config.write(
        "kubelet.yaml",
        node.config,
        address=node.address,
        certificate=serving.certificate,
        key=serving.key,
        authority=plane.authority.pair.certificate,
        dns=network.GATEWAY,
        cgroup=node.cgroup,
    )
    command = [
        str(built["kubelet"]),
        f"--config={settings}",
        f"--kubeconfig={plane.client(node.name, user=user, groups=groups)}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--root-dir=/var/lib/kubelet",
    ]
    name = node.part("kubelet")
    plane.processes.start(name, [*inside, *command])
    plane.processes.wait_ready(name, lambda: not_ready(node, plane), READY_S)


def not_ready(node: Node, plane: Access) -> str | None:
    """None when the API server says that the node is Ready, else why not."""
    try:
        status = plane.api.get(f"/api/v1/nodes/{node.name}")["status"]
    except OSError as error:
        return f"it has not registered ({error})"
    for condition in status.get("conditions", []):
        if condition["type"] == "Ready":
            return None if condition["status"] == "True" else str(condition.get("message"))
    return "it has no Ready condition yet"
