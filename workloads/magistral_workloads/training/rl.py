"""One RL step on one rank: its share of the batch to microbatches, the loss over them, the step's metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from magistral_api.run import RL
from magistral_workloads.algorithm.loss import LossInputs, grpo, means
from magistral_workloads.algorithm.packing import greedy, in_order, split
from magistral_workloads.algorithm.schedule import learning_rate
from magistral_workloads.training.engine import Engine
from magistral_workloads.training.model import Microbatch
from magistral_workloads.transport.rollouts import Share


@dataclass(frozen=True)
class Part:
    """One microbatch and what the loss needs beside its log-probabilities: each [N], one value a completion token."""

    batch: Microbatch
    generator_logprobs: Tensor
    advantages: Tensor
    group_tokens: Tensor


def collate(share: Share, microbatches: Sequence[Sequence[int]]) -> list[Part]:
    """What lies in the share's arrays as one microbatch each. `microbatches`: places of sequences in the share."""
    tokens = torch.split(torch.from_numpy(share.tokens).long(), share.lengths.tolist())
    logprobs = torch.split(torch.from_numpy(share.logprobs), share.completion_lengths.tolist())

    def part(members: Sequence[int]) -> Part:
        members = list(members)
        sizes = torch.from_numpy(share.completion_lengths[members]).long()
        return Part(
            batch=Microbatch.of([tokens[i] for i in members], share.prompt_lengths[members].tolist()),
            generator_logprobs=torch.cat([logprobs[i] for i in members]),
            advantages=torch.from_numpy(share.advantages[members]).repeat_interleave(sizes),
            group_tokens=torch.from_numpy(share.group_tokens[members]).repeat_interleave(sizes))

    return [part(members) for members in microbatches]


def train_step(engine: Engine, share: Share, rl: RL) -> dict[str, float]:
    """The optimiser step of `share.step`, all ranks together; metrics of the whole batch, the same on every rank."""
    lengths: list[int] = share.lengths.tolist()
    packed = greedy(lengths, rl.microbatch_tokens)
    parts = collate(share, split(packed, lengths, engine.group.largest(len(packed))))
    sums = _known_before(share, rl.microbatch_tokens, len(packed))

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> Tensor:
        part, device = parts[index], logprobs.device
        found = grpo(
            LossInputs(
                logprobs=logprobs, generator_logprobs=part.generator_logprobs.to(device),
                advantages=part.advantages.to(device), group_tokens=part.group_tokens.to(device),
                groups=share.batch_groups, entropy=entropy),
            epsilon_low=rl.epsilon_low, epsilon_high=rl.epsilon_high)
        for name, value in found.sums.items():
            sums[name] += value
        return found.loss

    rate = learning_rate(rl.optimizer, share.step)
    norm = engine.step([part.batch for part in parts], loss, rate)
    metrics = _metrics(engine.group.total(sums)) | {"learningRate": rate}
    return metrics if norm is None else metrics | {"gradNorm": norm}


def _known_before(share: Share, capacity: int, parts: int) -> dict[str, float]:
    """What adds up over ranks and needs no model. Loss terms start at zero, so that all ranks name the same sums."""
    lengths = share.lengths.tolist()
    ages = (share.step - 1 - share.versions) * share.completion_lengths

    return dict.fromkeys(("loss", "tokens", "dropped", "clipped", "ratio", "entropy"), 0.0) | {
        "sequences": float(len(lengths)), "reward": float(share.rewards.sum()),
        "completion": float(share.completion_lengths.sum()), "age": float(ages.sum()), "real": float(sum(lengths)),
        "room": float(capacity * parts),
        "room_in_order": float(capacity * len(in_order(lengths, capacity)))}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """`staleness`: policy versions between sampling and training, mean over tokens. `fill`: how full microbatches are;
    `fillInOrder`: what it were without sorting by length.
    """
    sequences, completion = max(sums["sequences"], 1.0), max(sums["completion"], 1.0)
    return means(sums) | {
        "reward": sums["reward"] / sequences, "length": sums["completion"] / sequences,
        "staleness": sums["age"] / completion,
        "fill": sums["real"] / max(sums["room"], 1.0), "fillInOrder": sums["real"] / max(sums["room_in_order"], 1.0)}
