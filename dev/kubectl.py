"""kubectl and helm as functions: what a user would type, with a time limit and a readable error."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KUBECONFIG = ROOT / ".cluster" / "kubeconfig"


class CommandFailed(RuntimeError):
    """A command ended with an error; the message has the command and what it printed."""


def _binary(name: str) -> str:
    """The binary that `make venv` put beside this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


@dataclass(frozen=True)
class Cluster:
    """One cluster, by its kubeconfig."""

    kubeconfig: Path = KUBECONFIG

    def run(self, *command: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run `kubectl` or `helm`; returns stdout. Raises CommandFailed."""
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        try:
            done = subprocess.run([_binary(command[0]), *command[1:]], input=stdin, text=True, capture_output=True,
                                  timeout=timeout, env=environment, check=False)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(command)}: no answer after {timeout:.0f} s") from error
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        return self.run("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def apply(self, document: str, namespace: str) -> str:
        """`kubectl apply` of YAML or JSON text."""
        return self.kubectl("-n", namespace, "apply", "-f", "-", stdin=document)

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """The object, or None when there is none."""
        text = self.kubectl("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        result: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return result

    def items(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind in the namespace, optionally by label."""
        text = self.kubectl("-n", namespace, "get", kind, "-o", "json", *(["-l", selector] if selector else []))
        result: list[dict[str, Any]] = json.loads(text)["items"]
        return result

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[int]:
        """Forward a free loopback port to `target` (service/x, pod/y); yields it. Works on any cluster."""
        process = subprocess.Popen(
            [_binary("kubectl"), "-n", namespace, "port-forward", target, f":{port}", "--address", "127.0.0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)})
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "Forwarding from" not in line:
                raise CommandFailed(f"port-forward to {target} in {namespace}: {line.strip()}")
            yield int(line.split("127.0.0.1:")[1].split()[0])
        finally:
            process.terminate()
            process.wait(timeout=10)
