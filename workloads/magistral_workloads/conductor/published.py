"""What the store says of the policy: the newest published version, the newest checkpoint."""

from datetime import datetime

from magistral_api.config import StageConfig
from magistral_api.manifest import MANIFEST, digest
from magistral_api.names import run_prefix
from magistral_workloads.checkpoints import newest
from magistral_workloads.contracts import Resume, WeightsRequest
from magistral_workloads.storage import ObjectStore


def current_policy(store: ObjectStore, config: StageConfig) -> WeightsRequest:
    """What generators should hold now: the version published last, else the newest checkpoint, else the initial model.

    Last in time, not by number: trainers that went back to a checkpoint publish lower numbers again.
    """
    root = f"{run_prefix(config.run_uid)}/rl/weights/"
    published: list[tuple[datetime, str]] = [
        (found.modified, found.key) for found in store.list(root) if found.key.endswith(f"/{MANIFEST}")]
    if published:
        _, key = max(published)
        return WeightsRequest(version=int(key.removeprefix(root).partition("/")[0]),
                              uri=store.uri(key.removesuffix(f"/{MANIFEST}")), digest=digest(store.get(key)))
    found = resume(store, config.run_uid)
    if found.uri is not None:
        return WeightsRequest(version=found.step, uri=found.uri, digest=found.digest)
    return WeightsRequest(version=0, uri=config.initial_model.uri, digest=config.initial_model.digest)


def resume(store: ObjectStore, uid: str) -> Resume:
    """Where trainers go on from."""
    found = newest(store, uid, "rl")
    return Resume(step=found.manifest.step, uri=found.uri, digest=found.digest) if found else Resume()
