"""The life of a run, from `apply` to Ready, always in the same steps; and all that two lives can be compared by."""

import json
import os
import random
import re
import tempfile
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dev.cluster import control_plane as planes
from magistral_api.names import LABEL_ATTEMPT, LABEL_ROLE, LABEL_RUN, LABEL_STAGE, stages_of
from magistral_api.run import MagistralRunSpec
from magistral_operator import pods as pod_status
from magistral_operator.kinds import BY_NAME, CHECKPOINT, CHILDREN, JOB, POD, QUEUEING, RUN, SECRET, Kind
from tests.control_plane.cluster import DIGEST, PREPARED_RL, Api, Manifest, Namespace, eventually, namespace
from tests.control_plane.conftest import administrator, allow, credentials, rules
from tests.control_plane.faults import Call, Chooser, Network, Proxy
from tests.crash.operators import Forked, Keeper

USER = "magistral-operator"
MIDWAY = {"sft": 5, "rl": 20}
"""Stages that commit before their end, and at which step."""
JOB_PODS = {"sft": 2, "rl": 0}
"""Of stages whose Job has not just one."""
SPECS: dict[str, Manifest] = {
    paradigm: {"curation": {"teacher": {"uri": "s3://magistral/runs/t/rl/rollouts/"}}} for paradigm in ("SFT", "SFTThenRL")
} | {"RL": {"rl": PREPARED_RL}}
"""What a paradigm's lives have in their spec. Prompts are prepared where the verifiers then stay: each child is made once."""
WAKE = "tests/wake"
Arm = Callable[[Forked], Chooser]
"""Makes the faults of one life. They may need its operator, to kill it."""
State = dict[str, Any]
"""Objects by kind and name, without what differs from life to life."""


@dataclass
class Life:
    """What a life left. `states`: by the moment at which they were taken. `births`: how often each object was made.

    `writes`: the operator's, in the order in which they arrived. `deaths`: of operators.
    """

    states: dict[str, State] = field(default_factory=dict)
    births: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    writes: list[str] = field(default_factory=list)
    deaths: int = 0

    def differs(self, reference: "Life") -> str:
        """How it differs from an undisturbed life; empty when it does not.

        An Event may be missing: it is a courtesy that is not made good. None may be told twice.
        """
        found = [f"{moment}: {one}" for moment in reference.states
                 for one in _differences(reference.states[moment], self.states.get(moment, {}))]
        found += [f"made {self.births[key]} times, not {reference.births[key]}: {key}"
                  for key in sorted(self.births | reference.births) if self.births[key] != reference.births[key]]
        found += [f"Event told {self.events[key]} times, not {reference.events[key]}: {key}"
                  for key in sorted(self.events) if self.events[key] > reference.events[key]]
        return "\n".join(found)


class World:
    """One API server with controllers, for many lives."""

    def __init__(self, api: Api, network: Network, births: "Births", folder: Path) -> None:
        self.api, self.network, self.births, self.folder = api, network, births, folder

    @contextmanager
    def course(self, arm: Arm = lambda _: lambda _: None) -> Iterator["Course"]:
        """A namespace of its own, with an operator that sees no other. An AssertionError gets what the operator did."""
        name = f"t-{uuid.uuid4().hex[:8]}"
        proxy, folder = self.network.proxy(), self.folder / name
        folder.mkdir()
        operator = Forked(proxy.kubeconfig(folder / "kubeconfig"), folder,
                          {"MAGISTRAL_NAMESPACES": name, "POD_NAMESPACE": name})
        proxy.choose = arm(operator)
        keeper = Keeper(operator, self.api, name)
        try:
            with namespace(self.api, name) as ns, keeper.keep():
                yield Course(ns, operator, proxy, keeper)
        except AssertionError as failure:
            raise AssertionError("\n".join((
                str(failure), "the operator's writes:", *(write(call) for call in proxy.calls if call.write),
                "its last words:", operator.log.read_text(errors="replace")[-3000:]))) from failure
        finally:
            # Not before the operator has gone: its watches would be waited for.
            self.network.drop(proxy)

    def live(self, paradigm: str, arm: Arm = lambda _: lambda _: None,
             telling: Callable[[Proxy], AbstractContextManager[None]] = lambda _: nullcontext()) -> Life:
        """A whole life. `telling`: what goes on while a stage reports its end. Raises AssertionError."""
        with self.course(arm) as course:
            life = course.run(paradigm, telling)
            life.births = self.births.of(course.ns.name, {one["metadata"]["uid"] for one in everything(course.ns)})
        life.writes, life.deaths = [write(call) for call in course.proxy.calls if call.write], course.keeper.deaths
        return life


class Course:
    """The steps of one life: what a user, a kubelet and the workloads do."""

    def __init__(self, ns: Namespace, operator: Forked, proxy: Proxy, keeper: Keeper) -> None:
        self.ns, self.proxy, self.keeper = ns, proxy, keeper
        self._operator, self._wakes = operator, 0

    def run(self, paradigm: str, telling: Callable[[Proxy], AbstractContextManager[None]]) -> Life:
        life = Life()
        made = self.ns.run(paradigm, **SPECS.get(paradigm, {}))
        for stage in stages_of(MagistralRunSpec.model_validate(made["spec"])):
            self.until_runs(stage)
            if stage in MIDWAY:
                self.commit(stage, MIDWAY[stage])
            self.rest()
            life.states[stage] = state(self.ns)
            with telling(self.proxy):
                self.succeed(stage)
        self.ns.until_condition("Ready", "Succeeded")
        eventually(lambda: None if self._pods() else True, "the last pods to go")
        self.rest()
        life.states["end"] = state(self.ns)
        life.events = Counter(self.ns.events())
        return life

    def until_runs(self, stage: str) -> None:
        """Until the stage runs with all its pods."""
        roles = self.ns.until_stage(stage)["status"].get("roles", [])
        wanted = sum(one["desired"] for one in roles) + JOB_PODS.get(stage, 1)
        eventually(lambda: self._all_run(wanted), f"{wanted} pods in stage {stage}")

    def commit(self, stage: str, step: int) -> None:
        """The stage reports a checkpoint and goes on, and the operator has heard of it."""
        self.ns.report(stage, "Running", step=step, totalSteps=40, checkpoints=[
            {"step": step, "digest": DIGEST, "uri": f"s3://magistral/x/{step}", "sizeBytes": 1}])
        self.ns.until_run(lambda status: status["progress"] == f"{stage} {step}/40")

    def succeed(self, stage: str) -> None:
        """The stage reports its success; the pods of its Job end."""
        self.ns.succeed(stage)
        for pod in self.ns.api.list(POD, self.ns.name, f"batch.kubernetes.io/job-name=one-{stage}"):
            self.ns.kubelet_ended(pod, 0, "")
        if self.ns.api.list(JOB, self.ns.name, f"{LABEL_STAGE}={stage}"):
            self.ns.until("Job", f"one-{stage}", lambda found: found is not None
                           and pod_status.condition(found, "Complete").get("status") == "True")

    def rest(self) -> None:
        """Until an operator that knows all pods and was woken finds nothing to do."""
        self.ns.until_run(lambda status: all(one["ready"] == one["desired"] for one in status.get("roles", [])))

        def looked() -> bool | None:
            writes, looks = self.proxy.writes(), self._operator.looks()
            self._wakes += 1
            self.ns.api.patch(RUN, self.ns.name, "one", {"metadata": {"annotations": {WAKE: str(self._wakes)}}})
            # One that was killed meanwhile counts from 0 again.
            eventually(lambda: self._operator.looks() not in (looks, 0) or None, f"a look; see {self._operator.log}")
            return writes == self.proxy.writes() or None

        eventually(looked, f"the operator at rest; see {self._operator.log}")

    def _all_run(self, wanted: int) -> bool | None:
        """What a kubelet does with the pods that controllers have made so far."""
        found = self._pods()
        waiting = [pod for pod in found if pod_status.live(pod) and not pod_status.ready(pod)]
        for pod in waiting:
            self.ns.kubelet_runs(pod)
            self.ns.kubelet_says(pod, conditions=[{"type": "Ready", "status": "True"}])
        return (len(found) == wanted and not waiting) or None

    def _pods(self) -> list[Manifest]:
        """Those that have not ended, also those that are being deleted."""
        return [pod for pod in self.ns.api.list(POD, self.ns.name) if pod_status.phase(pod) not in pod_status.ENDED]


class Births:
    """Every UID that a child or pod of any run ever had, from watches of the whole API server."""

    def __init__(self, api: Api) -> None:
        self._api, self._over = api, False
        self._uids: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for kind in (*CHILDREN, SECRET, POD):
            # A CRD that was just installed answers 429 for a moment.
            version = eventually(lambda kind=kind: self._version(kind), f"a list of {kind.plural}")  # type: ignore[misc]
            threading.Thread(target=self._watch, args=(kind, version), name=f"births of {kind.plural}", daemon=True).start()

    def close(self) -> None:
        """The API server goes now."""
        self._over = True

    def of(self, namespace: str, known: set[str]) -> Counter[str]:
        """How often each was made. `known`: UIDs that the watches must have told of by now."""
        def counted() -> Counter[str] | None:
            uids = dict(self._uids[namespace])
            return Counter(uids.values()) if known <= set(uids) else None

        found: Counter[str] = eventually(counted, f"the watches to have told of all objects in {namespace}")
        return found

    def _version(self, kind: Kind) -> str | None:
        answer = self._api.http.get(kind.path(None))
        return str(answer.json()["metadata"]["resourceVersion"]) if answer.is_success else None

    def _watch(self, kind: Kind, version: str) -> None:
        try:
            self._read(kind, version)
        except httpx.HTTPError:
            if not self._over:
                raise

    def _read(self, kind: Kind, version: str) -> None:
        query = {"watch": "1", "labelSelector": LABEL_RUN, "resourceVersion": version, "timeoutSeconds": "7200"}
        with self._api.http.stream("GET", kind.path(None), params=query, timeout=None) as stream:
            for line in stream.iter_lines():
                event = json.loads(line)
                if event["type"] == "ADDED":
                    meta = event["object"]["metadata"]
                    self._uids[meta["namespace"]][meta["uid"]] = _who(kind, meta)


def _who(kind: Kind, meta: Manifest) -> str:
    """Which object it is, whatever controllers call it."""
    name = meta["name"]
    if kind == POD:
        labels = meta["labels"]
        name = " ".join(labels[label] for label in (LABEL_ROLE, LABEL_STAGE, LABEL_ATTEMPT) if label in labels)
    return f"{kind.name} {name}"


def write(call: Call) -> str:
    """A write by what it does to which object. Names of Events and, in creations, of others are not in the address."""
    return f"{call.kind} {call.name}".strip()


def everything(ns: Namespace) -> list[Manifest]:
    """All that belongs to the namespace's run."""
    return [one | {"kind": kind.name} for kind in (*CHILDREN, SECRET) for one in ns.api.list(kind, ns.name, LABEL_RUN)]


def state(ns: Namespace) -> State:
    """All objects of the run and its status, without what differs from life to life."""
    runs = [one | {"kind": RUN.name} for one in ns.api.list(RUN, ns.name)]
    return {f"{one['kind']} {one['metadata']['name']}": _same(_kept(one), ns.name) for one in [*runs, *everything(ns)]}


_METADATA = ("labels", "annotations", "ownerReferences", "finalizers", "generation")
_SUBSTITUTES = (
    (re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "<time>"),
    # Of templates, which have the UID in them. The digest of a checkpoint is said with its algorithm.
    (re.compile(r"(?<!sha256:)\b[0-9a-f]{16,64}\b"), "<digest>"),
)


def _kept(manifest: Manifest) -> Manifest:
    meta = {key: manifest["metadata"][key] for key in _METADATA if key in manifest["metadata"]}
    meta["annotations"] = {key: value for key, value in meta.get("annotations", {}).items() if key != WAKE}
    kept = {key: value for key, value in manifest.items() if key not in ("metadata", "status")} | {"metadata": meta}
    if manifest["kind"] == SECRET.name:
        kept["data"] = sorted(manifest["data"])
    if manifest["kind"] == "Service" and kept["spec"]["clusterIP"] != "None":
        kept["spec"] = {key: value for key, value in kept["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    if manifest["kind"] in (RUN.name, CHECKPOINT.name):
        kept["status"] = dict(manifest["status"])
    if manifest["kind"] == RUN.name:
        kept["status"]["roles"] = [role | {"pods": sorted(map(str, role.get("pods", {}).values()))}
                                   for role in kept["status"].get("roles", [])]
    return kept


def _same(value: Any, namespace: str) -> Any:
    """The value with every generated part replaced by what it is."""
    text = json.dumps(value).replace(namespace, "<namespace>")
    for pattern, what in _SUBSTITUTES:
        text = pattern.sub(what, text)
    return json.loads(text)


def _differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from _differences(expected.get(key), found.get(key), f"{path}/{key}")
    elif expected != found:
        yield f"{path} is {found!r:.400}, not {expected!r:.400}"


def drawn_seed() -> int:
    """Of what is chosen by chance. A test prints it; MAGISTRAL_SEED brings it back."""
    return int(os.environ.get("MAGISTRAL_SEED") or random.randrange(10**6))


@contextmanager
def world() -> Iterator[World]:
    """A control plane, the operator's rights, and proxies to it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crash-")))
        plane = stack.enter_context(planes.control_plane(controllers=True))
        api = stack.enter_context(administrator(plane))
        allow(api, USER, rules(*(kind for kind in BY_NAME.values() if kind not in QUEUEING)))
        network = Network(plane.server, credentials(plane, USER))
        stack.callback(network.close)
        births = Births(api)
        stack.callback(births.close)
        yield World(api, network, births, folder)
