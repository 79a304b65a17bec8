"""One fresh API server with controllers and a fake node, and the hands of a user on it."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from dev.cluster import audit, binaries, components
from dev.cluster.control_plane import ControlPlane, control_plane, free_ports
from dev.cluster.paths import GO_MODULES
from dev.kubectl import Cluster
from magistral_operator.kube import METADATA_ONLY

Manifest = dict[str, Any]
NAMESPACE, NODE, USER = "bench", "kwok-0", "bench"
HANDS = 8
"""Requests that the user makes at the same time."""
CONTROLLERS = ("job-controller", "deployment-controller", "replicaset-controller", "statefulset-controller",
               "garbage-collector-controller")
LEFT_OUT = ("scheduler (an admission policy binds every pod to one fake node)",
            f"all controllers but {', '.join(CONTROLLERS)}")
ADMIN = ("system:masters",)
PATIENCE_S = 60.0
TIMEOUT_S = 120.0


class BenchError(Exception):
    """The measurement cannot go on. The message says what to look at."""


@dataclass(frozen=True)
class Usage:
    """`resident`: MB by process; `largest`: MB, the sum of each one's largest so far; `cpu`: seconds."""

    resident: dict[str, float]
    largest: float
    cpu: float


class Arena:
    """A running control plane. `log` holds what the contender and the user asked of it."""

    def __init__(self, plane: ControlPlane, http: httpx.Client, log: audit.Log, end: ExitStack) -> None:
        self.plane, self.http, self.log = plane, http, log
        self.kubectl = Cluster(plane.kubeconfig)
        self._end = end

    def at_end(self, clean: Callable[[], Any]) -> None:
        """Call it once everything has stopped."""
        self._end.callback(clean)

    def call(self, method: str, path: str, body: Any = None, form: str = "application/json",
             accept: str = "application/json") -> Manifest:
        """One request. Raises BenchError with the server's words."""
        content = None if body is None else json.dumps(body)
        try:
            answer = self.http.request(method, path, content=content, headers={"Content-Type": form, "Accept": accept})
        except httpx.TransportError as error:
            raise BenchError(f"{method} {path}: no answer from the API server ({type(error).__name__})") from error
        if not answer.is_success:
            raise BenchError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        found: Manifest = answer.json()
        return found

    def all(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Make the calls, a few at the same time."""
        with ThreadPoolExecutor(HANDS) as hands:
            for made in [hands.submit(call) for call in calls]:
                made.result()

    def pods_waiting(self) -> int:
        """Pods that the fake node does not run yet, by the API server's cache: asking costs it little."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=status.phase=Pending&resourceVersion=0"
        return len(self.call("GET", path, accept=METADATA_ONLY)["items"] or [])

    def pods(self) -> int:
        found = self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?limit=1")
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    def client(self, user: str) -> Path:
        """A kubeconfig for an administrator of this name; the audit log tells them apart."""
        return self.plane.client(user, user=user, groups=ADMIN)

    def start(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.plane.processes.start(name, command, environment=environment, with_parent=True)

    def until_healthy(self, name: str, port: int, route: str) -> None:
        """Return once the process answers well. Raises BenchError when it has ended."""
        def healthy() -> bool:
            if self.plane.processes.find(name) is None:
                raise BenchError(str(self.plane.processes.failure(name, "has ended")))
            try:
                return httpx.get(f"http://127.0.0.1:{port}{route}", timeout=5, trust_env=False).is_success
            except httpx.TransportError:
                return False

        until(healthy, f"{name}: {route}; see {self.plane.processes.log(name)}")

    def usage(self, names: Sequence[str]) -> Usage:
        """Of these processes now."""
        resident, largest, cpu = {}, 0.0, 0.0
        for name in names:
            who = self.plane.processes.find(name)
            if who is None:
                raise BenchError(str(self.plane.processes.failure(name, "has ended")))
            status = dict(line.split(":", 1) for line in Path(f"/proc/{who.pid}/status").read_text().splitlines())
            resident[name] = int(status["VmRSS"].split()[0]) / 1024
            largest += int(status["VmHWM"].split()[0]) / 1024
            cpu += _ticks(Path(f"/proc/{who.pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        return Usage(resident, largest, cpu)

    def cpu_of_others(self) -> float:
        """CPU seconds since boot of everything on this machine that is no part of the measurement."""
        busy = Path("/proc/stat").read_text().splitlines()[0].split()
        running = [name for name in self.plane.processes.names() if self.plane.processes.find(name)]
        return _ticks([*busy[1:4], *busy[6:9]]) - self.usage(running).cpu - time.process_time()


@contextmanager
def arena(directory: Path, users: Sequence[str], stages: Sequence[Path] = ()) -> Iterator[Arena]:
    """Start it with data and logs in `directory` (emptied first); everything is stopped by pid at the end.

    `stages`: what kwok does with pods beside running them.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    flags, log = audit.record(directory, [USER, *users])
    with ExitStack() as end, control_plane(directory=directory, apiserver_flags=flags) as plane:
        pair = plane.authority.issue(USER, user=USER, groups=ADMIN)
        context = ssl.create_default_context(cafile=str(plane.authority.pair.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        limits = httpx.Limits(max_connections=HANDS)
        with httpx.Client(base_url=plane.server, verify=context, timeout=TIMEOUT_S, trust_env=False, limits=limits) as http:
            made = Arena(plane, http, log, end)
            _controllers(made)
            _node(made, stages)
            made.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
            until(lambda: _binds(made), "the admission policy that binds pods")
            yield made


def until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {patience_s:.0f} s")
        time.sleep(0.05)


def module(folder: str, name: str) -> Path:
    """The unpacked source of a pinned Go module."""
    done = subprocess.run(["go", "mod", "download", "-json", name], cwd=GO_MODULES / folder, check=False, text=True,
                          capture_output=True, timeout=600, env={**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=mod"})
    if done.returncode:
        raise BenchError(f"go mod download {name} in dev/go/{folder}: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _controllers(made: Arena) -> None:
    (port,) = free_ports(1)
    layout = replace(made.plane.layout, binaries=binaries.ensure(["kube-controller-manager"]))
    made.start("kube-controller-manager", components.controller_manager(layout, made.client("controllers"), port, [
        f"--controllers={','.join(CONTROLLERS)}", "--use-service-account-credentials=false",
        "--kube-api-qps=2000", "--kube-api-burst=4000"]))


def _node(made: Arena, more: Sequence[Path]) -> None:
    """A node that runs every pod and, by itself, lets none end."""
    stages = module("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    wanted = [stages / "node/fast/node-initialize.yaml", stages / "pod/fast/pod-ready.yaml",
              stages / "pod/fast/pod-delete.yaml", *more]
    made.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}, "status": {
        "capacity": {"cpu": "1M", "memory": "1Pi", "pods": "1M"}}})
    kwok = binaries.ensure(["kwok"])["kwok"]
    made.start("kwok", [str(kwok), f"--kubeconfig={made.client('kwok')}", "--manage-all-nodes=true",
                        *(f"--config={stage}" for stage in wanted)])
    for document in yaml.safe_load_all((Path(__file__).parent / "bind.yaml").read_text()):
        plural = {"MutatingAdmissionPolicy": "mutatingadmissionpolicies"}.get(
            document["kind"], "mutatingadmissionpolicybindings")
        made.call("POST", f"/apis/{document['apiVersion']}/{plural}", document)


def _ticks(fields: Sequence[str]) -> float:
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")


def _binds(made: Arena) -> bool:
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "main", "image": "probe"}]}}
    answer = made.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
    return bool(answer["spec"].get("nodeName"))
