"""Command line: `python -m dev.cluster control-plane up|down --dir DIRECTORY`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.cluster import control_plane
from dev.cluster.errors import ClusterError
from dev.cluster.processes import Processes
from dev.cluster.progress import say


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.cluster")
    commands = parser.add_subparsers(dest="command", required=True)
    plane = commands.add_parser("control-plane", help="only etcd, kube-apiserver and, if asked, the controllers")
    plane.add_argument("action", choices=("up", "down"))
    plane.add_argument("--dir", type=Path, required=True, help="holds data, logs, keys and the kubeconfig")
    plane.add_argument("--controllers", action="store_true", help="start kube-controller-manager too")
    options = parser.parse_args(arguments)
    try:
        if options.action == "down":
            say(f"stopped: {', '.join(control_plane.stop(options.dir)) or 'nothing was running'}")
            return 0
        running = Processes(options.dir).names()
        if running:
            say(f"already started in {options.dir}: {', '.join(running)}")
            return 0
        say(f"export KUBECONFIG={control_plane.start(options.dir, controllers=options.controllers).kubeconfig}")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
