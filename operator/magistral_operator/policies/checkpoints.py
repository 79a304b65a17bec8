"""Reported commits: which are known, and which is the newest."""

from magistral_api.checkpoint import CheckpointSpec
from magistral_api.names import STAGES, checkpoint_name
from magistral_api.status import CheckpointRef, StageName
from magistral_operator.case import Case


def reported(case: Case) -> list[CheckpointSpec]:
    """Commits that the stages of this run list in their reports."""
    return [
        CheckpointSpec(run=case.name, run_uid=case.run.metadata.uid, stage=stage, **record.model_dump())
        for stage, report in case.progress.items() for record in report.checkpoints
    ]


def known(case: Case, stage: StageName | None = None) -> list[CheckpointSpec]:
    """All commits of the run by stage and step: from Checkpoint objects, and where they differ from the reports."""
    found = {}
    for (kind, _), manifest in case.observed.children.items():
        if kind == "Checkpoint":
            spec = CheckpointSpec.model_validate(manifest["spec"])
            found[spec.stage, spec.step] = spec
    found |= {(spec.stage, spec.step): spec for spec in reported(case)}
    return [found[key] for key in sorted(found, key=lambda key: (STAGES.index(key[0]), key[1]))
            if stage is None or key[0] == stage]


def report(case: Case) -> None:
    """Point status.latestCheckpoint at the newest commit."""
    commits = known(case)
    if commits:
        newest = commits[-1]
        case.status.latest_checkpoint = CheckpointRef(
            name=checkpoint_name(case.name, newest.stage, newest.step), stage=newest.stage, step=newest.step,
            digest=newest.digest, uri=newest.uri)
