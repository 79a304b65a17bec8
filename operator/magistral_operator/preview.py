"""A run rehearsed in memory: what the operator would create for it, stage by stage, before anything exists.

It is the operator's own decision, `reconcile`, asked again and again while every stage succeeds at once and every queue
admits at once. What only a real run knows (UIDs, digests, where data lies) is a placeholder that says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from magistral_api import API_VERSION
from magistral_api.names import LABEL_STAGE, progress_config_map, stages_of
from magistral_api.progress import (
    OUTPUT_DATASET_URI,
    OUTPUT_MODEL_DIGEST,
    OUTPUT_MODEL_URI,
    OUTPUT_PROMPTS_URI,
    OUTPUT_REPORT_URI,
    CheckpointRecord,
    StageProgress,
)
from magistral_api.run import MagistralRunSpec
from magistral_api.status import StageName
from magistral_operator.case import Observed, read_status
from magistral_operator.constants import ANNOTATION_TEMPLATE
from magistral_operator.diff import ANNOTATION_APPLIED
from magistral_operator.kinds import QUOTA
from magistral_operator.plan import Key, Manifest, Plan, key_of
from magistral_operator.policies.queue import LABEL_PRIORITY, LABEL_QUEUE
from magistral_operator.policies.references import Reference, references
from magistral_operator.reconcile import reconcile

PLACEHOLDER = "PLACEHOLDER"
"""Part of every value that only a real run knows."""
PLACEHOLDER_DIGEST = "sha256:" + "0" * 64
"""A digest that no bytes have."""
MOST_LOOKS = 20
_NOW = datetime(2000, 1, 1, tzinfo=UTC)
_HASHES = (ANNOTATION_APPLIED, ANNOTATION_TEMPLATE)


class NotPlannedError(Exception):
    """The operator would stop before a stage. The message is what the run's condition would say."""


@dataclass(frozen=True)
class StagePreview:
    """One stage. `objects`: all that exist while it runs. `new`: those made or changed for it."""

    name: StageName
    objects: tuple[Manifest, ...]
    new: tuple[Manifest, ...]


def preview(run: Manifest, runtime: Manifest) -> list[StagePreview]:
    """Every stage of the run, in order. The run is one that was never applied; a suspended one is resumed.

    A metadata.uid that is missing becomes a placeholder. Raises NotPlannedError.
    """
    meta = {"uid": f"{PLACEHOLDER}-uid", "generation": 1, "resourceVersion": "0"} | run["metadata"]
    rehearsal = _Rehearsal(run | {"metadata": meta, "spec": run["spec"] | {"suspend": False}, "status": {}}, runtime)
    seen: dict[Key, Manifest] = {}
    stages = []
    for name in stages_of(MagistralRunSpec.model_validate(run["spec"])):
        rehearsal.reach(name)
        # A commit is reported while the stage runs; its Checkpoint object belongs to this stage.
        rehearsal.report(name, "Running")
        objects = {key_of(one): one for one in rehearsal.objects() if _is_of(one, name)}
        new = tuple(one for key, one in objects.items() if seen.get(key) != one)
        seen |= objects
        stages.append(StagePreview(name, tuple(objects.values()), new))
        rehearsal.report(name, "Succeeded")
    return stages


@dataclass
class _Rehearsal:
    run: Manifest
    runtime: Manifest
    applied: dict[Key, Manifest] = field(default_factory=dict)
    children: dict[Key, Manifest] = field(default_factory=dict)
    token: Manifest | None = None

    def objects(self) -> list[Manifest]:
        """What exists, as it was applied, without the hashes that placeholders make meaningless."""
        return [*([self.token] if self.token else []), *(_without_hashes(self.applied[key]) for key in self.children)]

    def reach(self, stage: StageName) -> None:
        """Look until nothing is left to write; the stage must then be running."""
        for _ in range(MOST_LOOKS):
            plan = reconcile(self._observed(), _NOW)
            if not plan.writes:
                break
            self._carry_out(plan)
        status = read_status(self.run["status"])
        if not any((one.name, one.state) == (stage, "Running") for one in status.stages):
            ready = next((one for one in status.conditions if one.type == "Ready"), None)
            raise NotPlannedError(f"{ready.reason}: {ready.message}" if ready else f"stage {stage} never starts")

    def report(self, stage: StageName, state: str) -> None:
        """What the stage's pods would write into the progress ConfigMap, then a look at it."""
        bucket = self.runtime["spec"]["storage"]["bucket"]
        report = StageProgress.model_validate({"stage": stage, "attempt": 1, "state": state}
                                              | _reported(stage, self.run["spec"], bucket))
        key = "ConfigMap", progress_config_map(self.run["metadata"]["name"])
        data = self.children[key].get("data", {}) | {stage: report.model_dump_json(by_alias=True, exclude_none=True)}
        self.children[key] = self.children[key] | {"data": data}
        self._carry_out(reconcile(self._observed(), _NOW))

    def _observed(self) -> Observed:
        labels = self.run["metadata"].get("labels") or {}
        priority = labels.get(LABEL_PRIORITY)
        return Observed(run=self.run, runtime=self.runtime, children=self.children,
                        named_runs={one.name: _ended(one) for one in references(self.run["spec"])},
                        kueue=LABEL_QUEUE in labels,
                        priority_class={"metadata": {"name": priority}, "value": 0} if priority else None)

    def _carry_out(self, plan: Plan) -> None:
        if plan.status is not None:
            self.run = self.run | {"status": plan.status}
        for one in plan.delete:
            self.children.pop((one.kind, one.name), None)
        for manifest in plan.apply:
            key = key_of(manifest)
            self.applied[key] = manifest
            kept = {part: self.children[key][part] for part in ("data", "status")
                    if key in self.children and part not in manifest and part in self.children[key]}
            if manifest["kind"] == QUOTA.name:
                kept["status"] = {"conditions": [{"type": "Admitted", "status": "True"}]}
            self.children[key] = manifest | kept | {"metadata": manifest["metadata"] | {"uid": PLACEHOLDER}}
        for manifest in plan.apply_status:
            self.children[key_of(manifest)] |= {"status": manifest["status"]}
        self.token = plan.token or self.token


def _is_of(manifest: Manifest, stage: StageName) -> bool:
    """Ended Jobs, and configuration and commits of other stages, are not what a stage is made of."""
    return bool(manifest["metadata"].get("labels", {}).get(LABEL_STAGE, stage) == stage)


def _without_hashes(manifest: Manifest) -> Manifest:
    meta = dict(manifest["metadata"])
    annotations = {key: value for key, value in meta.pop("annotations", {}).items() if key not in _HASHES}
    return manifest | {"metadata": meta | ({"annotations": annotations} if annotations else {})}


def _reported(stage: StageName, spec: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    """What the stage leaves for later ones."""
    uri = f"s3://{bucket}/{PLACEHOLDER}/{stage}"
    if stage == "prepare":
        return {"outputs": {OUTPUT_PROMPTS_URI: uri}}
    if stage == "curate":
        return {"outputs": {OUTPUT_DATASET_URI: uri}}
    if stage == "sft":
        return {"checkpoints": [_commit(1, uri)]}
    if stage == "select":
        return {"outputs": {OUTPUT_MODEL_URI: uri, OUTPUT_MODEL_DIGEST: PLACEHOLDER_DIGEST}}
    if stage == "rl":
        return {"checkpoints": [_commit(spec["rl"].get("steps", 1), uri)],
                "outputs": {OUTPUT_MODEL_URI: uri, OUTPUT_MODEL_DIGEST: PLACEHOLDER_DIGEST}}
    return {"outputs": {OUTPUT_REPORT_URI: uri}} if stage == "evaluate" else {}


def _commit(step: int, uri: str) -> dict[str, Any]:
    """One commit stands for all that the stage makes."""
    return CheckpointRecord(step=step, digest=PLACEHOLDER_DIGEST, uri=uri, size_bytes=0).wire()


def _ended(reference: Reference) -> Manifest:
    """A run that has left what it is named for."""
    return {"apiVersion": API_VERSION, "kind": "MagistralRun",
            "metadata": {"name": reference.name, "uid": f"{PLACEHOLDER}-uid-of-{reference.name}"},
            "spec": {"paradigm": reference.paradigms[0]},
            "status": {"phase": "Succeeded", "stages": [{"name": reference.stage, "state": "Succeeded"}]}}
