"""Other runs that a spec names: wait for what they leave in the store, without calling it an error."""

from dataclasses import dataclass

from magistral_api.names import graded_prefix, ledger_prefix
from magistral_api.status import StageName, StageStatus
from magistral_operator import constants
from magistral_operator.case import Case, Verdict
from magistral_operator.plan import Manifest

_PARADIGMS = {"rl": ("RL", "SFTThenRL"), "evaluate": ("Evaluate",)}
"""Stage of the named run to the paradigms that it is read from. Other paradigms evaluate several models: whose answers?"""
_LEFT = {"rl": "rollouts", "evaluate": "answers of one model"}


@dataclass(frozen=True)
class Reference:
    """A run in the same namespace, named in `field`. Our stage `reader` needs what its `stage` leaves."""

    field: str
    name: str
    reader: StageName
    stage: StageName

    @property
    def paradigms(self) -> tuple[str, ...]:
        """Those of which the stage is read."""
        return _PARADIGMS[self.stage]


def references(spec: Manifest) -> list[Reference]:
    """Every run that the spec names, as the API server has it."""
    curation = spec.get("curation") or {}
    sources: list[tuple[str, Manifest | None, StageName, StageName]] = [
        ("spec.curation.teacher", curation.get("teacher"), "curate", "rl")]
    sources += [(f"spec.curation.generations[{index}]", generation, "curate", "evaluate")
                for index, generation in enumerate(curation.get("generations") or [])]
    sources += [(f"spec.rl.prompts[{index}].difficulty.gradedBy", prompts["difficulty"]["gradedBy"], "prepare", "evaluate")
                for index, prompts in enumerate((spec.get("rl") or {}).get("prompts") or []) if prompts.get("difficulty")]
    return [Reference(f"{field}.runRef", source["runRef"]["name"], reader, stage)
            for field, source, reader, stage in sources if source and source.get("runRef")]


def gate(case: Case, stage: StageStatus) -> Verdict | None:
    """Why the stage cannot start yet, or None: the first run that has not left what it reads."""
    return next((Verdict(constants.WAITING_FOR_RUN, _reason(case, reference)) for reference in _read_by(case, stage.name)
                 if _output(case, reference) is None), None)


def outputs(case: Case, reader: StageName) -> dict[str, str] | None:
    """By name, the prefixes of what the runs that `reader` reads have left; None when it reads none."""
    found = {one.name: _output(case, one) for one in _read_by(case, reader)}
    return {name: prefix for name, prefix in found.items() if prefix} or None


def _read_by(case: Case, reader: StageName) -> list[Reference]:
    return [reference for reference in references(case.observed.run["spec"]) if reference.reader == reader]


def _output(case: Case, reference: Reference) -> str | None:
    """Once it is complete. Both runs share the runtime's bucket."""
    run = case.observed.named_runs.get(reference.name)
    if run is None or _paradigm(run) not in reference.paradigms:
        return None
    stages = (run.get("status") or {}).get("stages", [])
    if not any(stage["name"] == reference.stage and stage.get("state") == "Succeeded" for stage in stages):
        return None
    uid = run["metadata"]["uid"]
    key = ledger_prefix(uid) if reference.stage == "rl" else graded_prefix(uid)
    return f"s3://{case.ready_runtime.spec.storage.bucket}/{key}"


def _reason(case: Case, reference: Reference) -> str:
    starts = f"stage {reference.reader} starts when stage {reference.stage} of MagistralRun {reference.name} has succeeded"
    run = case.observed.named_runs.get(reference.name)
    if run is None:
        return f"{reference.field}: there is no MagistralRun {reference.name!r} in this namespace yet; {starts}"
    status = run.get("status") or {}
    if status.get("phase") == "Failed":
        state = "has failed; delete it and apply it again"
    elif _paradigm(run) not in reference.paradigms:
        state = (f"has paradigm {_paradigm(run)}, which leaves no {_LEFT[reference.stage]}; name a run of paradigm "
                 f"{' or '.join(reference.paradigms)}")
    else:
        state = f"is {status.get('phase', 'Pending')}, stage {status.get('stage', 'none')}"
    return f"{reference.field}: {starts}; that run {state}"


def _paradigm(run: Manifest) -> str:
    return str((run.get("spec") or {}).get("paradigm"))
