"""A namespace on a real API server with real controllers, and what a kubelet and a pod would do there."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from magistral_api import API_VERSION
from magistral_api.names import LABEL_ATTEMPT, LABEL_ROLE, LABEL_RUN_UID, LABEL_STAGE
from magistral_api.progress import StageProgress
from magistral_operator.kinds import BY_NAME, CHILDREN, EVENT, NODE, POD, RUN, RUNTIME, SECRET, Kind

Manifest = dict[str, Any]
Tell = Callable[[str], None]
"""Prints a figure."""
TIMEOUT_S = 60
DIGEST = "sha256:" + "a" * 64
OUTPUTS: dict[str, Manifest] = {
    "preflight": {},
    "prepare": {"outputs": {"promptsUri": "s3://magistral/runs/x/prepare/prompts.jsonl"}},
    "curate": {"outputs": {"datasetUri": "s3://magistral/runs/x/curate/dataset.jsonl"}},
    "sft": {"checkpoints": [{"step": 10, "digest": DIGEST, "uri": "s3://magistral/runs/x/sft/10", "sizeBytes": 1,
                             "metrics": {"loss": 1.0}}]},
    "select": {"outputs": {"modelUri": "s3://magistral/runs/x/sft/10", "modelDigest": DIGEST}},
    "rl": {"outputs": {"modelUri": "s3://magistral/runs/x/rl/40"}, "rl": {"policyVersion": 40, "reward": 0.75},
           "checkpoints": [{"step": 40, "digest": DIGEST, "uri": "s3://magistral/runs/x/rl/40", "sizeBytes": 1}]},
    "evaluate": {"outputs": {"reportUri": "s3://magistral/report.html"}, "results": [
        {"name": "base/suite", "model": "base", "suite": "suite", "passAt1": 0.5, "low": 0.4, "high": 0.6}]},
}
"""What each stage reports at its end."""
RL: Manifest = {"prompts": [{"uri": "s3://magistral/p.jsonl"}], "steps": 40, "batchSize": 16, "groupSize": 4, "trainers": 2,
                "generators": 2, "verifiers": 2}
PREPARED_RL = RL | {"prompts": [{"uri": "s3://magistral/p.jsonl", "formatFilter": {}, "codeTests": {}}]}
"""The same with a stage prepare."""


class Api:
    """The API server as an administrator sees it. Watches instead of waiting."""

    def __init__(self, client: httpx.Client, kubeconfig: Path) -> None:
        self.http, self.kubeconfig = client, kubeconfig

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        response = self.http.get(kind.path(namespace, name))
        return None if response.status_code == 404 else _json(response)

    def list(self, kind: Kind, namespace: str | None, selector: str = "") -> list[Manifest]:
        items: list[Manifest] = _json(self.http.get(kind.path(namespace), params={"labelSelector": selector}))["items"]
        return items

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        return _json(self.http.post(kind.path(manifest["metadata"].get("namespace")), json=manifest))

    def patch(self, kind: Kind, namespace: str | None, name: str, patch: Any,
              subresource: str | None = None) -> Manifest:
        """A merge patch, or a JSON patch when it is a list."""
        form = "json-patch" if isinstance(patch, list) else "merge-patch"
        return _json(self.http.patch(kind.path(namespace, name, subresource), content=json.dumps(patch),
                                     headers={"Content-Type": f"application/{form}+json"}))

    def delete(self, kind: Kind, namespace: str | None, name: str, propagation: str = "Background") -> None:
        _json(self.http.request("DELETE", kind.path(namespace, name), json={"propagationPolicy": propagation}))

    def delete_now(self, kind: Kind, namespace: str, name: str) -> None:
        """Without a grace period."""
        _json(self.http.request("DELETE", kind.path(namespace, name), json={"gracePeriodSeconds": 0}))

    def until(self, kind: Kind, namespace: str | None, name: str, holds: Callable[[Manifest | None], bool]) -> Manifest:
        """The object once it is as wanted ({} when it is wanted gone). Raises AssertionError after a minute."""
        query = {"fieldSelector": f"metadata.name={name}"}
        listed = _json(self.http.get(kind.path(namespace), params=query))
        last: Manifest | None = next(iter(listed["items"]), None)
        if holds(last):
            return last or {}
        watch = query | {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"],
                         "timeoutSeconds": str(TIMEOUT_S)}
        with self.http.stream("GET", kind.path(namespace), params=watch, timeout=TIMEOUT_S + 10) as stream:
            for line in stream.iter_lines():
                event = json.loads(line)
                last = None if event["type"] == "DELETED" else event["object"]
                if holds(last):
                    return last or {}
        found = {key: value for key, value in (last or {}).items() if key in ("spec", "status", "data")}
        raise AssertionError(f"{kind.name} {name} is not as wanted after {TIMEOUT_S} s: {json.dumps(found, indent=1)}")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run([str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(self.kubeconfig),
                               *arguments], input=stdin, text=True, capture_output=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


class Namespace:
    """One namespace of one test, its runs, and a fake kubelet: pods' statuses are what a test says they are."""

    def __init__(self, api: Api, name: str, runtime: str) -> None:
        self.api, self.name, self.runtime = api, name, runtime

    # What a user does.

    def run(self, paradigm: str, name: str = "one", *, labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
        """Apply a run."""
        parts: dict[str, Any] = {}
        if paradigm in ("SFT", "SFTThenRL"):
            parts["curation"] = {"teacher": {"runRef": {"name": "teacher"}}}
            parts["sft"] = {"batchSize": 8, "workers": 2, "selection": {"suite": "suite"}}
        if paradigm in ("RL", "SFTThenRL"):
            parts["rl"] = RL
        return self.api.create(RUN, {
            "apiVersion": API_VERSION, "kind": "MagistralRun", "metadata": {
                "name": name, "namespace": self.name, "labels": labels or {}},
            "spec": {"paradigm": paradigm, "runtimeRef": {"name": self.runtime},
                     "baseModel": {"uri": "s3://magistral/models/base"},
                     "evaluation": {"suites": [{"name": "suite"}]}} | parts | spec})

    def change(self, run: str = "one", **spec: Any) -> Manifest:
        return self.api.patch(RUN, self.name, run, {"spec": spec})

    # What a pod and the fake kubelet do.

    def report(self, stage: str, state: str = "Succeeded", run: str = "one", **fields: Any) -> None:
        """Write a report for the stage's present attempt, once the stage runs."""
        found = self.until_stage(stage, run)
        status, uid = found["status"], found["metadata"]["uid"]
        attempt = next(one["attempt"] for one in status["stages"] if one["name"] == stage)
        fields = fields or (OUTPUTS[stage] if state == "Succeeded" else {})
        report = StageProgress.model_validate({"stage": stage, "attempt": attempt, "state": state} | fields)
        # That of an earlier run of this name may still be there for a moment.
        self.until("ConfigMap", f"{run}-progress",
                   lambda made: made is not None and made["metadata"]["labels"][LABEL_RUN_UID] == uid)
        self.api.patch(BY_NAME["ConfigMap"], self.name, f"{run}-progress",
                       {"data": {stage: report.model_dump_json(by_alias=True, exclude_none=True)}})

    def succeed(self, *stages: str, run: str = "one") -> None:
        for stage in stages:
            self.report(stage, run=run)

    def pod(self, role: str, stage: str | None = None, attempt: int | None = None) -> Manifest:
        """A pod of the run, as soon as a controller has made one."""
        return self.pods(role, stage, 1, attempt)[0]

    def pods(self, role: str, stage: str | None = None, count: int = 1, attempt: int | None = None) -> list[Manifest]:
        """So many pods of the run, as soon as controllers have made them."""
        labels = {LABEL_ROLE: role} | ({LABEL_STAGE: stage} if stage else {})
        labels |= {LABEL_ATTEMPT: str(attempt)} if attempt else {}
        selector = ",".join(f"{key}={value}" for key, value in labels.items())

        def there() -> list[Manifest] | None:
            found = [pod for pod in self.api.list(POD, self.name, selector) if "deletionTimestamp" not in pod["metadata"]]
            return found if len(found) >= count else None

        found: list[Manifest] = eventually(there, f"{count} pods with {selector}")
        return found

    def kubelet_says(self, pod: Manifest, **status: Any) -> None:
        self.api.patch(POD, self.name, pod["metadata"]["name"], {"status": status}, "status")

    def kubelet_takes(self, pod: Manifest, node: str = "fake") -> None:
        """From now on the API server waits for the kubelet before the pod is gone."""
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                   "target": {"apiVersion": "v1", "kind": "Node", "name": node}}
        _json(self.api.http.post(POD.path(self.name, pod["metadata"]["name"], "binding"), json=binding))
        self.kubelet_says(pod, phase="Running", conditions=[{"type": "Ready", "status": "True"}], containerStatuses=[
            _container(0, ready=True, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})])

    def node(self, name: str) -> str:
        """A fake node of this test that is ready; returns its whole name."""
        name = f"{self.name}-{name}"
        self.api.create(NODE, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"host-{name}"}}})
        self.node_says(name, "True")
        return name

    def node_says(self, name: str, ready: str) -> None:
        """What a kubelet says of its node, or the node controller of one that says nothing (Unknown)."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.api.patch(NODE, None, name, {"status": {"conditions": [
            {"type": "Ready", "status": ready, "reason": "Fake", "lastTransitionTime": now, "lastHeartbeatTime": now}]}},
            "status")

    def kubelet_restarts(self, pod: Manifest, times: int, code: int, message: str) -> None:
        """Its container has ended so often, last with this code, and runs again."""
        ended = {"exitCode": code, "reason": "Error", "message": message, "startedAt": "2026-01-01T00:00:00Z",
                 "finishedAt": "2026-01-01T00:00:01Z"}
        self.kubelet_says(pod, containerStatuses=[_container(times, ready=True, state={
            "running": {"startedAt": "2026-01-01T00:00:00Z"}}) | {"lastState": {"terminated": ended}}])

    def kubelet_removes(self, pod: Manifest, code: int = 143) -> None:
        """The pod was told to end, and has."""
        self.until("Pod", pod["metadata"]["name"], lambda found: found is not None and "deletionTimestamp" in found["metadata"])
        self.kubelet_ended(pod, code, "told to end")
        self.api.delete_now(POD, self.name, pod["metadata"]["name"])

    def kubelet_runs(self, pod: Manifest, restarts: int = 0) -> None:
        self.kubelet_says(pod, phase="Running", containerStatuses=[
            _container(restarts, ready=True, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})])

    def kubelet_ended(self, pod: Manifest, code: int, message: str) -> None:
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message,
                 "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}
        self.kubelet_says(pod, phase="Failed" if code else "Succeeded", containerStatuses=[
            _container(0, ready=False, state={"terminated": ended})])

    def kubelet_waits(self, pod: Manifest, reason: str, message: str) -> None:
        waiting = {"reason": reason, "message": message}
        self.kubelet_says(pod, phase="Pending", containerStatuses=[
            _container(0, ready=False, state={"waiting": waiting})])

    # What a user sees.

    def until_run(self, holds: Callable[[Manifest], bool], run: str = "one") -> Manifest:
        """The run once its status is as wanted."""
        return self.api.until(RUN, self.name, run, lambda found: found is not None and holds(found.get("status") or {}))

    def until_condition(self, kind: str, reason: str, run: str = "one") -> str:
        """The message of the condition once it is true (Ready: false) for this reason."""
        def holds(status: Manifest) -> bool:
            return any((one["type"], one["reason"]) == (kind, reason) for one in status.get("conditions", []))
        status = self.until_run(holds, run)["status"]
        return str(next(one["message"] for one in status["conditions"] if one["type"] == kind))

    def until_stage(self, stage: str, run: str = "one") -> Manifest:
        """The run once this stage is running."""
        return self.until_run(lambda status: any(
            (one["name"], one["state"]) == (stage, "Running") for one in status.get("stages", [])), run)

    def until(self, kind: str, name: str, holds: Callable[[Manifest | None], bool]) -> Manifest:
        return self.api.until(BY_NAME[kind], self.name, name, holds)

    def until_there(self, kind: str, name: str) -> Manifest:
        return self.until(kind, name, lambda found: found is not None and "deletionTimestamp" not in found["metadata"])

    def until_gone(self, kind: str, name: str) -> None:
        self.until(kind, name, lambda found: found is None)

    def events(self, run: str = "one") -> list[str]:
        """Reasons of the Events about the run."""
        return [event["reason"] for event in self.api.list(EVENT, self.name) if event["involvedObject"]["name"] == run]

    def has_secret(self, name: str) -> bool:
        return self.api.get(SECRET, self.name, name) is not None


class Operator:
    """The operator as a process, with no more rights than its chart gives it."""

    def __init__(self, kubeconfig: Path, port: int, log: Path, environment: dict[str, str] | None = None) -> None:
        self.kubeconfig, self.port, self.log, self._environment = kubeconfig, port, log, environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m",
                                              "magistral_operator"], env=self.environment(), stdout=log, stderr=log)
        eventually(lambda: self.metrics() or None, f"the operator's health; see {self.log}")

    def environment(self) -> dict[str, str]:
        """All that the process is told."""
        environment = {"KUBECONFIG": str(self.kubeconfig), "MAGISTRAL_METRICS_PORT": str(self.port),
                       "POD_NAMESPACE": "default", "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
        return environment | {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ} | self._environment

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(TIMEOUT_S)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(TIMEOUT_S)

    def metrics(self) -> dict[str, float]:
        """Sample to value; empty while it does not answer."""
        try:
            lines = _LOOPBACK.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        except httpx.TransportError:
            return {}
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def leading(self) -> bool:
        """Whether this replica works, as far as it knows."""
        return self.metrics().get("magistral_leader") == 1

    def until_leading(self) -> None:
        eventually(lambda: self.leading() or None, "the lease")

    def writes(self) -> float:
        """Writes of any kind since the start."""
        return sum(value for name, value in self.metrics().items() if name.startswith("magistral_api_writes_total"))

    def looks(self) -> float:
        """Looks at a run that found nothing to do."""
        return self.metrics().get('magistral_reconcile_duration_seconds_count{outcome="unchanged"}', 0)


def settled(ns: Namespace, operator: Operator) -> tuple[float, Manifest]:
    """The operator's writes so far and every version of the run's objects, once it has nothing to do."""
    def state() -> tuple[float, Manifest]:
        versions = {f"{kind.name}/{one['metadata']['name']}": one["metadata"]["resourceVersion"]
                    for kind in (*CHILDREN, RUN) for one in ns.api.list(kind, ns.name)}
        return operator.writes(), versions

    def quiet() -> tuple[float, Manifest] | None:
        before = state()
        look_at(ns, operator)
        return before if state() == before else None

    found: tuple[float, Manifest] = eventually(quiet, "the operator at rest")
    return found


def look_at(ns: Namespace, operator: Operator) -> None:
    """Wake the operator by a change of the runtime that means nothing, and wait until it has looked."""
    looks = operator.looks()
    ns.api.patch(RUNTIME, None, ns.runtime, {"metadata": {"annotations": {"wake": str(looks)}}})
    eventually(lambda: operator.looks() > looks or None, "a look at the run")


_LOOPBACK = httpx.Client(timeout=5, trust_env=False, verify=False)
"""One for all: a client of its own for each question would make a TLS context each time."""


def eventually(ask: Callable[[], Any], what: str) -> Any:
    """The first answer that is not None, of something that cannot be watched. Raises AssertionError after a minute."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {TIMEOUT_S} s")


def runtime(name: str, **roles: Manifest) -> Manifest:
    """A MagistralRuntime; keywords replace fields of a role."""
    return {"apiVersion": API_VERSION, "kind": RUNTIME.name, "metadata": {"name": name}, "spec": {
        "device": "cpu",
        "storage": {"endpoint": "http://store:9000", "bucket": "magistral", "credentialsSecretRef": {"name": "store"}},
        "roles": {role: {"image": f"registry.example.com/{role}:1", "resources": {"requests": {"cpu": "1000m"}}}
                  | roles.get(role, {}) for role in ("worker", "trainer", "generator", "verifier")}}}


@contextmanager
def namespace(api: Api, name: str) -> Iterator[Namespace]:
    """A namespace that only admits restricted pods, and a runtime of the same name. Both are deleted at the end."""
    api.create(NAMESPACE, {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    api.create(RUNTIME, runtime(name))
    try:
        yield Namespace(api, name, name)
    finally:
        # Runs first: an operator that mends children in a namespace that is going would disturb the next test's counts.
        for run in api.list(RUN, name):
            api.delete(RUN, name, run["metadata"]["name"])
        api.delete(NAMESPACE, None, name)
        for node in api.list(NODE, None):
            if node["metadata"]["name"].startswith(f"{name}-"):
                api.delete(NODE, None, node["metadata"]["name"])
        if api.get(RUNTIME, None, name):
            api.delete(RUNTIME, None, name)


NAMESPACE = Kind("Namespace", "", "v1", "namespaces", namespaced=False)


def _container(restarts: int, *, ready: bool, state: Manifest) -> Manifest:
    return {"name": "main", "image": "registry.example.com/x:1", "imageID": "", "restartCount": restarts,
            "ready": ready, "state": state}


def _json(response: httpx.Response) -> Manifest:
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    answer: Manifest = response.json()
    return answer
