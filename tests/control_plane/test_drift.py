"""Drift of all that the operator owns: whatever another changes of it on a real API server is set back."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
import pytest

from magistral_api.names import LABEL_RUN, LABEL_STAGE, PARADIGM_STAGES
from magistral_operator.constants import FIELD_MANAGER
from magistral_operator.diff import ANNOTATION_APPLIED, merge_patch
from magistral_operator.kinds import CHECKPOINT, CHILDREN, Kind
from tests.control_plane import owned
from tests.control_plane.cluster import OUTPUTS, Manifest, Namespace, Operator, Tell, eventually, settled
from tests.control_plane.owned import REMOVED, Path

IMMUTABLE = ("immutable", "updates to statefulset spec", "cannot change roleRef", "cannot be changed")
"""Words of refusals that hold for any value."""


@dataclass
class Sweep:
    """Counts by kind."""

    objects: Counter[str] = field(default_factory=Counter)
    owned: Counter[str] = field(default_factory=Counter)
    set_back: Counter[str] = field(default_factory=Counter)
    immutable: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    bound: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Fields that can take no other value as long as the rest of the object, immutable or not, is what it is."""
    remade: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        lines = [f"{'':<22}{'objects':>8}{'fields':>8}{'set back':>9}{'immutable':>10}{'bound':>7}{'remade':>7}"]
        lines += [f"{kind:<22}{self.objects[kind]:>8}{self.owned[kind]:>8}{self.set_back[kind]:>9}"
                  f"{len(self.immutable[kind]):>10}{len(self.bound[kind]):>7}{self.remade[kind]:>7}" for kind in self.objects]
        for what, found in ("immutable", self.immutable), ("bound", self.bound):
            for kind, paths in found.items():
                # All of a Job's pod template, say: one word is enough.
                short = Counter(owned.show(path[:2] if what == "immutable" else path) for path in paths)
                lines += [f"{what}: {kind} " + ", ".join(f"{path} ({count})" for path, count in short.items())] if paths else []
        return "\n".join(lines)


class Intruder:
    """Somebody who may do everything, and changes one object."""

    def __init__(self, ns: Namespace, kind: Kind, name: str) -> None:
        self._ns, self._kind, self.name = ns, kind, name

    def look(self) -> Manifest:
        return self._ns.until_there(self._kind.name, self.name)

    def patch(self, live: Manifest, changes: dict[Path, object], *, dry_run: bool = False) -> httpx.Response:
        body = merge_patch(live, owned.changed(live, changes))
        query = {"fieldManager": "intruder"} | ({"dryRun": "All"} if dry_run else {})
        return self._ns.api.http.patch(self._kind.path(self._ns.name, self.name), content=json.dumps(body), params=query,
                                       headers={"Content-Type": "application/merge-patch+json"})

    def another(self, live: Manifest, path: Path, values: Iterable[object]) -> tuple[object, list[str]]:
        """The first value that the API server would take and keep, or None and why it takes none."""
        now, refusals = owned.value(live, path), []
        for new in values:
            answer = self.patch(live, {path: new}, dry_run=True)
            if not answer.is_success:
                refusals.append(answer.json()["message"])
            elif not owned.same(answer.json(), path, now):
                return new, []
        return None, refusals

    def change(self, changes: dict[Path, object], wanted: dict[Path, object]) -> None:
        """Make the changes, all at once where they go together, and wait until the operator has set all back."""
        if not changes:
            return
        live = self.look()
        answer = self.patch(live, changes)
        if not answer.is_success:
            assert len(changes) > 1, answer.text
            paths = list(changes)
            for part in paths[::2], paths[1::2]:
                self.change({path: changes[path] for path in part}, wanted)
            return
        assert not [path for path in changes if owned.same(answer.json(), path, wanted[path])]
        self.until_back(wanted)

    def until_back(self, wanted: dict[Path, object], uid: str = "") -> None:
        """Wait until all fields are as the operator wants them. `uid`: of the object that is gone."""
        off: list[str] = []

        def back(found: Manifest | None) -> bool:
            off[:] = ["all of it"] if found is None or found["metadata"]["uid"] == uid else [
                owned.show(path) for path, value in wanted.items() if not owned.same(found, path, value)]
            return not off

        try:
            self._ns.until(self._kind.name, self.name, back)
        except AssertionError as error:
            raise AssertionError(f"{self._kind.name} {self.name}: not set back: {', '.join(off)}") from error


def rounds(changes: dict[Path, object]) -> list[dict[Path, object]]:
    """What is changed together. Without its labels and its owner an object is nobody's, and a change of both marks is
    what another release of the operator looks like."""
    def of(part: str) -> dict[Path, object]:
        return {path: new for path, new in changes.items() if path[:2] == ("metadata", part)}

    rest = {path: new for path, new in changes.items() if path[0] != "metadata"}
    items = {path: new for path, new in rest.items() if isinstance(path[-1], tuple)}
    fields = {path: new for path, new in rest.items() if path not in items}
    labels = of("labels")
    # To a Job without any label the API server itself gives those of its pods.
    one, *most = dict.fromkeys(labels, REMOVED).items()
    return [fields, items, labels, dict([one]), dict(most), of("ownerReferences"),
            *({path: new} for path, new in of("annotations").items()),
            fields | {path: new for path, new in of("annotations").items() if path[-1] == ANNOTATION_APPLIED}]


def sweep(ns: Namespace, kind: Kind, name: str, told: Sweep) -> None:
    intruder = Intruder(ns, kind, name)
    live = intruder.look()
    wanted = owned.leaves(live, FIELD_MANAGER)
    others = [{path: new for path in wanted if path[0] != "metadata"
               and (new := intruder.another(live, path, values(path, wanted[path]))[0]) is not None}
              for values in (owned.more, owned.renamed)]
    changes: dict[Path, object] = {}
    told.objects[kind.name] += 1
    told.owned[kind.name] += len(wanted)
    volumes = {path: REMOVED for path in wanted if path[-2:-1] in (("volumes",), ("volumeMounts",))}
    if volumes and intruder.patch(live, volumes, dry_run=True).is_success:
        # They refer to each other, so they can only go together.
        intruder.change(volumes, wanted)
        changes |= volumes
    for path in (path for path in wanted if path not in changes):
        # What refers to another part of the object (a mount's volume) may at least refer to a third one.
        siblings = (value for other, value in wanted.items() if (other[:-2], other[-1]) == (path[:-2], path[-1]))
        new, refusals = intruder.another(live, path, (*owned.others(path, wanted[path]), *siblings))
        if new is not None:
            changes[path] = new
        elif not any(path in more for more in others):
            immutable = any(word in refusal for refusal in refusals for word in IMMUTABLE)
            (told.immutable if immutable else told.bound)[kind.name].append(path)
    assert {path[1] for path in changes if path[0] == "metadata"} == {"annotations", "labels", "ownerReferences"}
    assert all(path in changes for path in wanted if path[0] == "metadata")
    for one in (*rounds(changes), *others):
        intruder.change(one, wanted)
    told.set_back[kind.name] += len(set(changes).union(*others))

    before = intruder.look()["metadata"]["uid"]
    ns.api.delete(kind, ns.name, name)
    intruder.until_back(wanted, before)
    told.remade[kind.name] += 1


def reach(ns: Namespace, stage: str) -> None:
    paradigm = "RL" if stage == "rl" else "SFTThenRL"
    ns.run(paradigm, **({} if paradigm == "RL" else {"curation": {"teacher": {"uri": "s3://magistral/ledger"}}}))
    stages = PARADIGM_STAGES[paradigm]
    ns.succeed(*stages[:stages.index(stage)])
    ns.until_stage(stage)
    if stage == "rl":
        ns.report("rl", "Running", checkpoints=OUTPUTS["rl"]["checkpoints"])
        ns.until_there("Checkpoint", "one-rl-000040")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", PARADIGM_STAGES["SFTThenRL"])
def test_every_field_and_every_child_of_a_stage_is_set_back(
        ns: Namespace, operator: Operator, stage: str, tell: Tell) -> None:
    reach(ns, stage)
    settled(ns, operator)
    # Of the RL stage also what it shares with others; of those what they alone have.
    past = ",".join(one for one in PARADIGM_STAGES["SFTThenRL"] if one != stage)
    selector = f"{LABEL_RUN},{LABEL_STAGE} notin ({past})" if stage == "rl" else f"{LABEL_STAGE}={stage}"
    told = Sweep()
    # What is reported makes a Checkpoint, and that goes with the ConfigMap: so it comes first.
    for kind in sorted(CHILDREN, key=lambda kind: kind != CHECKPOINT):
        for child in ns.api.list(kind, ns.name, selector):
            sweep(ns, kind, child["metadata"]["name"], told)
    assert stage != "rl" or {*told.objects, "Job"} == {kind.name for kind in CHILDREN}
    eventually(lambda: "DriftCorrected" in ns.events() or None, "an Event about the drift")
    writes, _ = settled(ns, operator)
    assert settled(ns, operator)[0] == writes
    tell(f"{stage}\n{told.table()}")


def test_the_condition_of_a_checkpoint_is_set_back(ns: Namespace) -> None:
    reach(ns, "rl")

    def ready(found: Manifest | None) -> Manifest:
        return next(iter(((found or {}).get("status") or {}).get("conditions", [])), {})

    good = ready(ns.until("Checkpoint", "one-rl-000040", lambda found: ready(found).get("status") == "True"))
    for name, value in (("status", "False"), ("reason", "Other"), ("message", "other"), ("observedGeneration", 7)):
        change = {"status": {"conditions": [good | {name: value}]}}
        assert ready(ns.api.patch(CHECKPOINT, ns.name, "one-rl-000040", change, "status")) != good
        ns.until("Checkpoint", "one-rl-000040", lambda found: ready(found) | {"lastTransitionTime": ""}
                 == good | {"lastTransitionTime": ""})
