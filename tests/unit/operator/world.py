"""A cluster in memory for the pure core: it keeps objects, hands out snapshots and carries out plans."""

import copy
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from magistral_api import API_VERSION
from magistral_api.names import LABEL_ATTEMPT, LABEL_ROLE, LABEL_STAGE, PARADIGM_STAGES
from magistral_api.progress import StageProgress
from magistral_operator.case import Observed, stamp
from magistral_operator.plan import Key, Manifest, Plan, key_of
from magistral_operator.reconcile import reconcile

DIGEST = "sha256:" + "a" * 64
START = datetime(2026, 1, 1, tzinfo=UTC)


def a_node(name: str, ready: str = "True", since: str = stamp(START), **conditions: str) -> Manifest:
    """A Node; keywords are further conditions."""
    return {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"host-{name}"}}, "status": {"conditions": [
        {"type": kind, "status": status, "lastTransitionTime": since}
        for kind, status in ({"Ready": ready} | conditions).items()]}}


def runtime(**roles: dict[str, Any]) -> Manifest:
    """A MagistralRuntime; keywords replace fields of a role, `spec` those of the spec."""
    spec = roles.pop("spec", {})
    return {
        "apiVersion": API_VERSION, "kind": "MagistralRuntime", "metadata": {"name": "cpu", "generation": 1},
        "spec": {
            "device": "cpu",
            "storage": {"endpoint": "http://store:9000", "bucket": "magistral",
                        "credentialsSecretRef": {"name": "store"}},
            "roles": {role: {"image": f"registry/{role}:1"} | roles.get(role, {})
                      for role in ("worker", "trainer", "generator", "verifier")},
        } | spec,
    }


def run(paradigm: str = "RL", *, name: str = "one", **spec: Any) -> Manifest:
    """A MagistralRun as the API server stores it; keywords replace fields of the spec."""
    parts: dict[str, Any] = {}
    if paradigm in ("SFT", "SFTThenRL"):
        parts["curation"] = {"teacher": {"runRef": {"name": "teacher"}}}
        parts["sft"] = {"batchSize": 8, "workers": 2, "selection": {"suite": "suite"}}
    if paradigm in ("RL", "SFTThenRL"):
        parts["rl"] = {"prompts": [{"uri": "s3://magistral/p.jsonl"}], "steps": 40, "batchSize": 16, "groupSize": 4,
                       "trainers": 2, "generators": 2, "verifiers": 2}
    return {
        "apiVersion": API_VERSION, "kind": "MagistralRun",
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"},
        "spec": {"paradigm": paradigm, "runtimeRef": {"name": "cpu"}, "baseModel": {"uri": "s3://magistral/models/base"},
                 "evaluation": {"suites": [{"name": "suite"}]}} | parts | spec,
    }


def other(paradigm: str, name: str, stage: str, state: str = "Succeeded") -> Manifest:
    """Another run, whose `stage` is in this state."""
    return run(paradigm, name=name) | {
        "status": {"phase": "Running", "stage": stage, "stages": [{"name": stage, "state": state}]}}


def teacher(rl: str = "Succeeded") -> Manifest:
    """A teacher run whose RL stage is in this state."""
    return other("RL", "teacher", "rl", rl)


class World:
    """One run and everything around it. Time stands still until `pass_time`."""

    def __init__(self, paradigm: str = "RL", **spec: Any) -> None:
        self.run = run(paradigm, **spec)
        self.runtime: Manifest | None = runtime()
        self.named_runs: dict[str, Manifest] = {"teacher": teacher()}
        self.children: dict[Key, Manifest] = {}
        self.leftovers: list[Manifest] = []
        self.pods: dict[str, Manifest] = {}
        self.nodes: dict[str, Manifest] = {}
        self.refusal: str | None = None
        self.kueue = False
        self.flavors: dict[str, Manifest] = {}
        self.priority_class: Manifest | None = None
        self.now = START
        self.deleted = False
        self.tokens = 0
        self.events: list[str] = []
        self._uids = itertools.count(1)

    # What the operator does.

    def observed(self) -> Observed:
        return copy.deepcopy(Observed(
            run=self.run, runtime=self.runtime, children=self.children, leftovers=tuple(self.leftovers),
            pods=tuple(self.pods.values()), nodes=self.nodes, named_runs=self.named_runs, refusal=self.refusal,
            kueue=self.kueue, flavors=self.flavors, priority_class=self.priority_class))

    def look(self) -> Plan:
        """One reconcile, carried out."""
        plan = reconcile(self.observed(), self.now)
        self.carry_out(plan)
        return plan

    def carry_out(self, plan: Plan) -> None:
        if plan.status is not None:
            self.run["status"] = copy.deepcopy(plan.status)
        for one in plan.delete:
            self.deleted |= one.kind == "MagistralRun"
            self.children.pop((one.kind, one.name), None)
            if one.kind == "Pod" and one.grace_s:
                self.end(one.name, one.grace_s)
            elif one.kind == "Pod":
                del self.pods[one.name]
            self.leftovers = [left for left in self.leftovers if left["metadata"]["uid"] != one.uid]
        for manifest in plan.apply:
            before = self.children.get(key_of(manifest), {"metadata": {"uid": f"child-{next(self._uids)}"}})
            kept = {key: before[key] for key in ("data", "status") if key in before and key not in manifest}
            uid = before["metadata"]["uid"]
            self.children[key_of(manifest)] = copy.deepcopy(
                {**manifest, **kept, "metadata": {**manifest["metadata"], "uid": uid}})
        for manifest in plan.apply_status:
            self.children[key_of(manifest)]["status"] = copy.deepcopy(manifest["status"])
        for live, patch in plan.patch_status:
            status = self.children[key_of(live)]["status"]
            self.children[key_of(live)]["status"] = {key: value for key, value in (status | patch).items() if value is not None}
        self.tokens += plan.token is not None
        self.events += [notice.reason for notice in plan.events]

    def settle(self) -> "World":
        """Look until nothing is left to write."""
        for _ in range(10):
            if not self.look().writes:
                return self
        raise AssertionError("the operator never comes to rest")

    # What others do.

    def pass_time(self, seconds: float) -> "World":
        self.now += timedelta(seconds=seconds)
        return self

    def change(self, **spec: Any) -> "World":
        self.run["spec"] |= spec
        self.run["metadata"]["generation"] += 1
        return self

    def report(self, stage: str, state: str = "Succeeded", **fields: Any) -> "World":
        """What a pod of the stage's present attempt writes into the progress ConfigMap."""
        attempt = fields.pop("attempt", None) or self.stage(stage).get("attempt", 1)
        progress = StageProgress.model_validate({"stage": stage, "attempt": attempt, "state": state} | fields)
        config_map = self.children["ConfigMap", f"{self.run['metadata']['name']}-progress"]
        config_map.setdefault("data", {})[stage] = progress.model_dump_json(by_alias=True, exclude_none=True)
        return self

    def end_job(self, stage: str, condition: str = "Failed", **fields: str) -> "World":
        """What the Job controller writes when a Job ends."""
        job = self.child("Job", stage)
        job["status"] = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": stamp(self.now)}
                                        | fields]}
        return self

    def pod(self, name: str, *, role: str = "worker", stage: str | None = None, attempt: int | None = None,
            container: Manifest | None = None, ready: bool = False, uid: str | None = None, node: str | None = None,
            **status: Any) -> "World":
        """What kubelet and scheduler say about a pod."""
        if node:
            self.nodes.setdefault(node, a_node(node))
        labels = {LABEL_ROLE: role} | ({LABEL_STAGE: stage} if stage else {})
        labels |= {LABEL_ATTEMPT: str(attempt)} if attempt else {}
        conditions = [{"type": "Ready", "status": "True"}] if ready else []
        self.pods[name] = {
            "metadata": {"name": name, "namespace": "ns", "uid": uid or f"pod-{name}", "labels": labels,
                         "creationTimestamp": stamp(self.now)},
            "spec": {"nodeName": node} if node else {},
            "status": {"phase": "Running", "conditions": conditions,
                       "containerStatuses": [container or {"name": "main", "state": {"running": {}}}]} | status}
        return self

    def end(self, name: str, grace_s: int = 30) -> "World":
        """Somebody deletes a pod; it is still ending."""
        self.pods[name]["metadata"] |= {"deletionTimestamp": stamp(self.now + timedelta(seconds=grace_s)),
                                        "deletionGracePeriodSeconds": grace_s}
        return self

    def lose(self, node: str, ready: str = "Unknown") -> "World":
        """What the node controller says of a node that is not heard of any more."""
        self.nodes[node] = a_node(node, ready, stamp(self.now))
        return self

    def exit_with(self, name: str, code: int, message: str = "", **labels: Any) -> "World":
        ended = {"terminated": {"exitCode": code, "message": message}}
        return self.pod(name, container={"name": "main", "state": ended}, phase="Failed", **labels)

    # What a user sees.

    @property
    def status(self) -> Manifest:
        status: Manifest = self.run.get("status", {})
        return status

    def conditions(self) -> dict[str, tuple[str, str]]:
        """Condition type to status and reason."""
        return {one["type"]: (one["status"], one["reason"]) for one in self.status.get("conditions", [])}

    @property
    def message(self) -> str:
        return str(next(one["message"] for one in self.status["conditions"] if one["type"] == "Ready"))

    def stage(self, name: str) -> Manifest:
        return next((one for one in self.status.get("stages", []) if one["name"] == name), {})

    def role(self, name: str) -> Manifest:
        return next((one for one in self.status.get("roles", []) if one["name"] == name), {})

    def child(self, kind: str, part: str) -> Manifest:
        return self.children[kind, f"{self.run['metadata']['name']}-{part}"]

    def names(self, *kinds: str) -> list[str]:
        return sorted(name for kind, name in self.children if kind in kinds)

    @property
    def workloads(self) -> list[str]:
        return self.names("Job", "StatefulSet", "Deployment")


OUTPUTS: dict[str, Manifest] = {
    "preflight": {},
    "prepare": {"outputs": {"promptsUri": "s3://magistral/runs/uid-one/prepare/prompts.jsonl"}},
    "curate": {"outputs": {"datasetUri": "s3://magistral/runs/uid-one/curate/dataset.jsonl"}},
    "sft": {"checkpoints": [
        {"step": step, "digest": DIGEST, "uri": f"s3://magistral/runs/uid-one/sft/{step}", "sizeBytes": 1}
        for step in (10, 20)]},
    "select": {"outputs": {"modelUri": "s3://magistral/runs/uid-one/sft/20", "modelDigest": DIGEST}},
    "rl": {"outputs": {"modelUri": "s3://magistral/runs/uid-one/rl/40"}, "checkpoints": [
        {"step": 40, "digest": DIGEST, "uri": "s3://magistral/runs/uid-one/rl/40", "sizeBytes": 1}]},
    "evaluate": {"outputs": {"reportUri": "s3://magistral/report.html"}, "results": [
        {"name": "base/suite", "model": "base", "suite": "suite", "passAt1": 0.5, "low": 0.4, "high": 0.6}]},
}
"""What each stage reports at its end."""


PREPARED = [{"uri": "s3://magistral/p.jsonl", "formatFilter": {}, "codeTests": {}}]
"""Prompts for which a run has a stage prepare."""
PREPARING = ("RL", "SFTThenRL")
"""Paradigms that may have one."""


def preparing(world: World) -> World:
    """The same run, but its prompts are prepared first."""
    world.run["spec"]["rl"]["prompts"] = copy.deepcopy(PREPARED)
    return world


def with_prepare(paradigm: str) -> list[str]:
    """The stages of such a run."""
    first, *rest = PARADIGM_STAGES[paradigm]
    return [first, "prepare", *rest]


def reach(world: World, stage: str) -> World:
    """Bring the run to the point where this stage has just started."""
    world.settle()
    while world.status["stage"] != stage:
        world.report(world.status["stage"], **OUTPUTS[world.status["stage"]]).settle()
    return world


def succeed(world: World, stages: Iterable[str]) -> World:
    """Let these stages report success, one after the other."""
    for stage in stages:
        world.settle().report(stage, **OUTPUTS[stage])
    return world.settle()
