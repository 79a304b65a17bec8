"""The wire form of a rank's share: safetensors bytes, no pickle.

The conductor holds the whole minibatch, so it computes what needs all of it (advantages, tokens of each group, number
of groups); a trainer only applies the loss, and the ranks' losses add up to the minibatch's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from magistral_api.problems import RolloutRecord
from magistral_workloads.algorithm.advantages import group_totals, minibatch_advantages

FIELDS: Final = {
    "step": np.int64, "batch_groups": np.int64, "batch_sequences": np.int64,
    "tokens": np.int32, "prompt_lengths": np.int32, "completion_lengths": np.int32, "logprobs": np.float32,
    "advantages": np.float32, "rewards": np.float32, "groups": np.int64, "group_tokens": np.int64,
    "versions": np.float32,
}
NUMBERS: Final = ("step", "batch_groups", "batch_sequences")
"""Tensors of one value."""


class BatchError(Exception):
    """Bytes that are no share of a batch."""


@dataclass(frozen=True)
class Share:
    """What one rank trains on in one step: n sequences of P_i prompt and C_i completion tokens.

    Of the whole minibatch: `step`, `batch_groups`, `batch_sequences`.
    `tokens` int32 [Σ(P_i + C_i)]: prompt, then completion, sequence after sequence.
    `prompt_lengths`, `completion_lengths` int32 [n].
    `logprobs` float32 [ΣC_i]: the generator's, for completion tokens. NaN or infinite: the token is not trained on.
    `advantages` float32 [n]: group mean subtracted, normalised over the minibatch.
    `rewards` float32 [n]. `groups` int64 [n]: running number of the group.
    `group_tokens` int64 [n]: completion tokens with a finite log-probability in the sequence's group, over all ranks.
    `versions` float32 [n]: mean policy version of the sequence's completion tokens.
    """

    step: int
    batch_groups: int
    batch_sequences: int
    tokens: NDArray[np.int32]
    prompt_lengths: NDArray[np.int32]
    completion_lengths: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    advantages: NDArray[np.float32]
    rewards: NDArray[np.float32]
    groups: NDArray[np.int64]
    group_tokens: NDArray[np.int64]
    versions: NDArray[np.float32]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """P_i + C_i [n]."""
        return self.prompt_lengths + self.completion_lengths


def encode(batch: Sequence[RolloutRecord], rank: int, step: int) -> bytes:
    """The share of `rank` (records whose `rank` is that), with advantages over the whole `batch`.

    `batch`: exactly the records trained in this step, of all ranks. Groups that were dropped must not be among them.
    """
    rewards = np.array([record.reward.total for record in batch], dtype=np.float64)
    groups = np.array([record.group for record in batch], dtype=np.int64)
    finite = np.array([np.isfinite(_logprobs(record)).sum() for record in batch], dtype=np.int64)
    advantages = minibatch_advantages(rewards, groups)
    totals = group_totals(finite, groups)
    mine = [place for place, record in enumerate(batch) if record.rank == rank]
    records = [batch[place] for place in mine]
    values: dict[str, object] = {
        "step": [step], "batch_groups": [len(np.unique(groups))], "batch_sequences": [len(batch)],
        "tokens": [token for record in records for token in (*record.prompt_tokens, *record.completion_tokens)],
        "prompt_lengths": [len(record.prompt_tokens) for record in records],
        "completion_lengths": [len(record.completion_tokens) for record in records],
        "logprobs": np.concatenate([_logprobs(record) for record in records]) if records else [],
        "advantages": advantages[mine], "rewards": rewards[mine], "groups": groups[mine], "group_tokens": totals[mine],
        "versions": [mean_version(record) for record in records],
    }
    data: bytes = save({name: np.ascontiguousarray(values[name], dtype=kind) for name, kind in FIELDS.items()})
    return data


def decode(data: bytes) -> Share:
    """The inverse of `encode`. Raises BatchError when shapes do not fit together."""
    try:
        found = load(data)
    except SafetensorError as error:
        raise BatchError(f"batch: found bytes that are no safetensors ({error}); expected a share of a batch") from None
    for name, kind in FIELDS.items():
        if name not in found or found[name].dtype != kind or found[name].ndim != 1 or (
                name in NUMBERS and len(found[name]) != 1):
            raise BatchError(f"batch: tensor {name}: found {_shape(found.get(name))}; expected {np.dtype(kind)} [n]. "
                             "Conductor and trainer must run the same image")
    values: dict[str, Any] = {name: int(found[name][0]) if name in NUMBERS else found[name] for name in FIELDS}
    share = Share(**values)
    sequences = len(share.prompt_lengths)
    expected = {"tokens": int(share.lengths.sum()), "logprobs": int(share.completion_lengths.sum())} | dict.fromkeys(
        ("completion_lengths", "advantages", "rewards", "groups", "group_tokens", "versions"), sequences)
    for name, length in expected.items():
        if len(found[name]) != length:
            raise BatchError(f"batch: tensor {name}: found {len(found[name])} values; expected {length}, as the "
                             "lengths of its sequences say")
    if sequences and int(share.prompt_lengths.min()) < 1:
        raise BatchError("batch: tensor prompt_lengths: found 0; expected at least one prompt token, from which the "
                         "first completion token is predicted")
    return share


def mean_version(record: RolloutRecord) -> float:
    """Mean policy version over the completion's tokens; 0 for an empty completion."""
    tokens = sum(count for _, count in record.versions)
    return sum(version * count for version, count in record.versions) / tokens if tokens else 0.0


def _logprobs(record: RolloutRecord) -> NDArray[np.float64]:
    # One short of what was sampled: the missing values are unknown, and an unknown token is not trained on.
    values = np.full(len(record.completion_tokens), np.nan)
    known = np.array(record.logprobs[:len(values)], dtype=np.float64)
    values[:len(known)] = known
    return values


def _shape(tensor: NDArray[np.generic] | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
