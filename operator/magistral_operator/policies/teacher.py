"""Curation needs the rollouts of a teacher's RL stage: wait for them, without calling it an error."""

from magistral_api.names import ledger_prefix
from magistral_api.status import StageStatus
from magistral_operator import constants
from magistral_operator.case import Case, Verdict


def gate(case: Case, stage: StageStatus) -> Verdict | None:
    """Why curation cannot start yet, or None."""
    if stage.name != "curate" or ledger_uri(case):
        return None
    curation = case.run.spec.curation
    assert curation is not None and curation.teacher.run_ref is not None
    name = curation.teacher.run_ref.name
    teacher = case.observed.teacher
    if teacher is None:
        return Verdict(constants.WAITING_FOR_TEACHER,
                       f"spec.curation.teacher.runRef: there is no MagistralRun {name!r} in this namespace yet; "
                       "curation starts when its RL stage has succeeded")
    status = teacher.get("status") or {}
    if status.get("phase") == "Failed":
        state = "has failed; delete it and apply it again"
    elif "rl" not in {known["name"] for known in status.get("stages", [{"name": "rl"}])}:
        state = f"has paradigm {teacher['spec'].get('paradigm')}, which leaves no rollouts; name a run with an RL stage"
    else:
        state = f"is {status.get('phase', 'Pending')}, stage {status.get('stage', 'none')}"
    return Verdict(constants.WAITING_FOR_TEACHER,
                   f"curation starts when the RL stage of MagistralRun {name} has succeeded; that run {state}")


def ledger_uri(case: Case) -> str | None:
    """Prefix of the teacher's ledger, once it is complete. Teacher and student share the runtime's bucket."""
    curation = case.run.spec.curation
    if curation is None:
        return None
    if curation.teacher.uri:
        return curation.teacher.uri
    teacher = case.observed.teacher or {}
    stages = (teacher.get("status") or {}).get("stages", [])
    if not any(stage["name"] == "rl" and stage.get("state") == "Succeeded" for stage in stages):
        return None
    return f"s3://{case.ready_runtime.spec.storage.bucket}/{ledger_prefix(teacher['metadata']['uid'])}"
