"""Command line: `python -m dev.cluster up | down | status | lose-node | load-image | control-plane`."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.cluster import control_plane, existing, kind, local, network, ways
from dev.cluster.errors import ClusterError
from dev.cluster.paths import KUBECONFIG, STATE
from dev.cluster.processes import Processes
from dev.cluster.progress import say
from dev.cluster.ways import Way


def up(nodes: int) -> int:
    facts = ways.gather()
    way, reason = ways.choose(facts)
    before = ways.recorded()
    if before not in (None, way):
        raise ClusterError(f"a cluster of way `{before.value}` is up: `make cluster-down` first, then up again")
    if nodes > 1 and way is not Way.LOCAL:
        raise ClusterError(f"--nodes {nodes}: only a cluster of way `local` gets more nodes here; this one is `{way.value}`")
    say(f"cluster: {way.value} ({reason})")
    if way is Way.EXISTING:
        existing.up(facts.kubeconfig, facts.context)
    elif way is Way.KIND:
        kind.up()
    else:
        try:
            local.up(nodes)
        except ClusterError as error:
            raise ClusterError(f"{error}\n  `make cluster-down` clears away what was started") from error
    ways.record(way)
    say(f"export KUBECONFIG={KUBECONFIG}")
    return 0


def down() -> int:
    way = ways.recorded()
    if local.is_ours():
        local.down()
    elif way is Way.EXISTING:
        say("the cluster is the user's own: nothing in it is touched, only its kubeconfig here is forgotten")
    elif way is Way.KIND:
        kind.down()
    else:
        say("no cluster is up; nothing to stop")
    ways.forget()
    return 0


def status() -> int:
    """Exit status 0 when a cluster runs, else 1."""
    way = Way.LOCAL if local.is_ours() else ways.recorded()
    if way is None:
        say("no cluster: `make cluster-up` makes one")
        return 1
    say(f"cluster: {way.value}, KUBECONFIG={KUBECONFIG}")
    runs = {Way.EXISTING: existing.status, Way.KIND: kind.status, Way.LOCAL: local.status}[way]()
    return 0 if runs else 1


def lose_node(name: str) -> int:
    if not local.is_ours():
        raise ClusterError("lose-node: only nodes of a local cluster of this clone can be lost; it has none")
    local.lose(name)
    return 0


def load_image(archives: Sequence[Path]) -> int:
    way = ways.recorded()
    for archive in archives:
        if way is Way.KIND:
            kind.load(archive)
        elif way is Way.EXISTING:
            raise ClusterError("images for a cluster of the user's own come from a registry: push them there")
        else:
            imported = local.load(archive)
            say(f"{archive}: {'imported ' + ', '.join(imported) if imported else 'already there, same digest'}")
    return 0


def control_plane_only(action: str, directory: Path, controllers: bool) -> int:
    processes = Processes.within(directory)
    if action == "down":
        say(f"stopped: {', '.join(processes.stop_all()) or 'nothing was running'}")
        return 0
    running = [name for name in processes.names() if processes.find(name)]
    if running:
        say(f"already started in {directory}: {', '.join(running)}")
    else:
        control_plane.start(directory, processes, controllers=controllers)
    say(f"export KUBECONFIG={directory / 'kubeconfig'}")
    return 0


def change(options: argparse.Namespace) -> int:
    """The commands that start, stop or fill something."""
    if options.command == "load-image":
        return load_image(options.archives)
    if options.command == "lose-node":
        return lose_node(options.node)
    return up(options.nodes) if options.command == "up" else down()


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.cluster")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("up", help="make the cluster; nothing to do when it runs")
    making.add_argument("--nodes", type=int, default=1, choices=range(1, network.MOST_NODES + 1), metavar="N",
                        help="at least so many, lost ones are brought back (default: 1)")
    commands.add_parser("down", help="stop what `up` started and leave nothing behind")
    commands.add_parser("status", help="what runs, where its logs are")
    losing = commands.add_parser("lose-node", help="end a node as a power cut would; `up --nodes N` brings it back")
    losing.add_argument("node", metavar="NODE")
    images = commands.add_parser("load-image", help="import OCI archives unless they are there already")
    images.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    plane = commands.add_parser("control-plane", help="only etcd, kube-apiserver and, if asked, the controllers")
    plane.add_argument("action", choices=("up", "down"))
    plane.add_argument("--dir", type=Path, required=True, help="holds data, logs, keys and the kubeconfig")
    plane.add_argument("--controllers", action="store_true", help="start kube-controller-manager too")
    options = parser.parse_args(arguments)
    try:
        if options.command == "control-plane":
            return control_plane_only(options.action, options.dir.resolve(), options.controllers)
        if options.command == "status":
            return status()
        with _alone():
            return change(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; `make cluster-down` clears away what was started", file=sys.stderr)
        return 130


@contextmanager
def _alone() -> Iterator[None]:
    """One command at a time changes the cluster. The state directory hides itself from git."""
    STATE.mkdir(exist_ok=True)
    (STATE / ".gitignore").write_text("*\n")
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command is changing the cluster; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
