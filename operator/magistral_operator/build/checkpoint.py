"""Checkpoint objects: commits that a stage reported."""

from magistral_api.checkpoint import CheckpointSpec
from magistral_api.names import checkpoint_name
from magistral_operator.build.metadata import named
from magistral_operator.case import Case
from magistral_operator.plan import Manifest


def checkpoint(case: Case, spec: CheckpointSpec) -> Manifest:
    name = checkpoint_name(case.name, spec.stage, spec.step)
    return named(case, "Checkpoint", name, stage=spec.stage) | {"spec": spec.wire()}


def ready(manifest: Manifest, timestamp: str) -> Manifest:
    """The status of a Checkpoint: its writer read the manifest back and compared digests before it reported."""
    meta = manifest["metadata"]
    return {
        "apiVersion": manifest["apiVersion"], "kind": "Checkpoint",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "observedGeneration": 1, "lastTransitionTime": timestamp,
            "reason": "Committed", "message": f"manifest {manifest['spec']['digest']} is committed",
        }]},
    }
