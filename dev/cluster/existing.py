"""Way 1: a cluster of the user's, named by KUBECONFIG or CONTEXT, used only after they agreed to that context."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from dev.cluster import kubeconfig
from dev.cluster.commands import run
from dev.cluster.errors import ClusterError
from dev.cluster.paths import KUBECONFIG
from dev.cluster.progress import say


def up(files: Sequence[Path], context: str) -> None:
    """Copy the one context, once agreed to, into our kubeconfig and see that it answers.

    Raises ClusterError when the context is not there, was not agreed to, or does not answer.
    """
    content = kubeconfig.load(list(files) or [Path.home() / ".kube" / "config"])
    name = context or content["current-context"]
    if not name:
        raise ClusterError("the kubeconfig has no current-context: set CONTEXT to the one to use")
    chosen = kubeconfig.cut(content, name)
    agree(name, kubeconfig.server(chosen))
    kubeconfig.write(KUBECONFIG, chosen)
    status()


def agree(context: str, server: str, environment: Mapping[str, str] = os.environ, answers: TextIO = sys.stdin) -> None:
    """Ask on a terminal, else want CONFIRM=1. Raises ClusterError without a yes."""
    question = f"This will create and delete objects in context {context!r} ({server})."
    if environment.get("CONFIRM") == "1":
        say(f"{question} CONFIRM=1 agrees.")
        return
    if not answers.isatty():
        raise ClusterError(f"{question} Nobody can be asked here: set CONFIRM=1 to agree")
    say(f"{question} Type the context's name to agree:")
    if answers.readline().strip() != context:
        raise ClusterError("not agreed; nothing was done")


def status() -> bool:
    """Say whether the chosen context answers. Raises ClusterError when it does not."""
    # `make venv` puts one beside this Python.
    beside = Path(sys.executable).parent / "kubectl"
    kubectl = str(beside) if beside.exists() else "kubectl"
    answer = run(
        [kubectl, f"--kubeconfig={KUBECONFIG}", "get", "--raw", "/readyz", "--request-timeout=10s"],
        environment=os.environ,
    )
    say(f"the cluster of KUBECONFIG={KUBECONFIG} answers: {answer.strip()}")
    return True
