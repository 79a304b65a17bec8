"""Names, labels and ownership that every child carries."""

from typing import Any

from magistral_api import API_VERSION
from magistral_api.names import (
    LABEL_ATTEMPT,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_STAGE,
    MANAGER,
    child,
)
from magistral_operator.case import Case
from magistral_operator.kinds import BY_NAME
from magistral_operator.plan import Manifest


def labels(
    case: Case, *, role: str | None = None, stage: str | None = None, attempt: int | None = None
) -> dict[str, str]:
    """Labels of a child or of its pods."""
    extra = {LABEL_ROLE: role, LABEL_STAGE: stage, LABEL_ATTEMPT: None if attempt is None else str(attempt)}
    return {
        LABEL_RUN: case.name,
        LABEL_RUN_UID: case.run.metadata.uid,
        LABEL_MANAGED_BY: MANAGER,
        **{key: value for key, value in extra.items() if value is not None},
    }


def selector(case: Case, *, role: str, stage: str | None = None) -> dict[str, str]:
    """Labels that pick the pods of one role. The UID keeps out pods of an earlier run that are still ending."""
    picked = {LABEL_RUN: case.name, LABEL_RUN_UID: case.run.metadata.uid, LABEL_ROLE: role}
    return picked | ({LABEL_STAGE: stage} if stage else {})


def owned(case: Case, kind: str, part: str, **label: Any) -> Manifest:
    """apiVersion, kind and metadata of the child `<run>-<part>`, owned by the run. `label`: as for `labels`."""
    return named(case, kind, child(case.name, part), **label)


def named(case: Case, kind: str, name: str, **label: Any) -> Manifest:
    """As `owned`, with the whole name given."""
    return {
        "apiVersion": BY_NAME[kind].api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": case.run.metadata.namespace,
            "labels": labels(case, **label),
            "ownerReferences": [{
                "apiVersion": API_VERSION, "kind": "MagistralRun", "name": case.name, "uid": case.run.metadata.uid,
                "controller": True, "blockOwnerDeletion": True,
            }],
        },
    }
