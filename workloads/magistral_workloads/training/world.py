"""Where a training process stands: rank, size of the world, where the group meets (docs/architecture.md, World)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from magistral_api.config import StageConfig

LOCAL_RANK = "LOCAL_RANK"
"""Set by the launcher when a pod runs several processes."""


@dataclass(frozen=True)
class Place:
    """One process of the training group. `host`:`port`: where rank 0 keeps the group's store."""

    rank: int
    size: int
    local_rank: int
    host: str
    port: int
    device: str

    @classmethod
    def of(cls, config: StageConfig, environ: Mapping[str, str] = os.environ) -> "Place":
        """From the mounted config and the pod's environment. Raises ValueError when the pod's number is unknown."""
        local = int(environ.get(LOCAL_RANK, "0"))
        place = cls(
            rank=_pod_ordinal(environ) * config.processes_per_pod + local,
            size=_pods(config) * config.processes_per_pod,
            local_rank=local,
            host=config.services.rendezvous,
            port=config.services.rendezvous_port,
            device=config.device)
        if place.rank >= place.size or local >= config.processes_per_pod:
            raise ValueError(f"rank {place.rank}, local rank {local}: expected less than {place.size} and "
                             f"{config.processes_per_pod}. The pod is not one of this stage's group")
        return place


def _pods(config: StageConfig) -> int:
    if config.stage == "sft" and config.spec.sft:
        return config.spec.sft.workers
    if config.stage == "rl" and config.spec.rl:
        return config.spec.rl.trainers
    raise ValueError(f"config.json: stage {config.stage}: found no settings in spec; expected sft or rl with them")


def _pod_ordinal(environ: Mapping[str, str]) -> int:
    if index := environ.get("JOB_COMPLETION_INDEX"):
        return int(index)
    name = environ.get("POD_NAME", "")
    if number := re.search(r"-([0-9]+)$", name):
        return int(number[1])
    raise ValueError(f"POD_NAME: found {name!r} and no JOB_COMPLETION_INDEX; expected a name that ends with a number")
