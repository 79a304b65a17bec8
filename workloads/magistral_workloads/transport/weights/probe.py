"""Proof that a generator samples with the weights that a trainer published: the same log-probabilities of a fixed text.

A file of the published folder, so the manifest's digest covers it. vLLM's own check of weights sees nothing of linear
layers on a CPU, and a version label is only what somebody said.
"""

import math
from pathlib import Path
from statistics import fmean
from typing import Final

from magistral_api.base import ApiModel

FILE: Final = "probe.json"
TOKENS: Final = 32
TOLERANCE: Final = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest mean difference, in nats, between a trainer's and a generator's kernels on the same weights, by precision."""


class Probe(ApiModel):
    """`logprobs[i]` is the trainer's log-probability of `tokens[i + 1]` after those before it."""

    tokens: list[int]
    logprobs: list[float]
    tolerance: float

    def difference(self, found: list[float]) -> float:
        """Mean over the tokens, in nats; infinite when `found` is not one finite number a token."""
        if len(found) != len(self.logprobs) or not all(map(math.isfinite, found)):
            return math.inf
        return fmean(abs(mine - theirs) for mine, theirs in zip(self.logprobs, found, strict=True))


def fixed_tokens(vocabulary: int) -> list[int]:
    """The text: spread over the vocabulary, so that wrong rows of the embedding show too."""
    return [(1 + place * 7919) % vocabulary for place in range(TOKENS)]


def write(folder: Path, probe: Probe) -> None:
    """Into a folder that is about to be published."""
    (folder / FILE).write_text(probe.model_dump_json(by_alias=True))


def read(folder: Path) -> Probe | None:
    """None for weights that no trainer of ours has published: the model that a run begins with."""
    file = folder / FILE
    return Probe.model_validate_json(file.read_bytes()) if file.exists() else None
