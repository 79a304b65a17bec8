"""A share of a batch as microbatches."""

import torch

from magistral_workloads.algorithm.packing import greedy
from magistral_workloads.training.rl import collate
from magistral_workloads.transport.rollouts import decode, encode
from tests.training import tiny


def test_every_completion_token_comes_once_with_its_own_values() -> None:
    batch = tiny.batch(5, 2)
    share = decode(encode(batch, 1, 5))
    seen: list[tuple[int, float, float, int]] = []
    for part in collate(share, greedy(share.lengths.tolist(), 48)):
        tokens = part.batch.input_ids[part.batch.predicted]
        assert part.batch.input_ids.numel() <= 48
        assert len(tokens) == len(part.generator_logprobs) == len(part.advantages) == len(part.group_tokens)
        seen += zip(tokens.tolist(), part.generator_logprobs.tolist(), part.advantages.tolist(),
                    part.group_tokens.tolist(), strict=True)
    mine = [(record, place) for place, record in enumerate(record for record in batch if record.rank == 1)]
    expected = [
        (token, torch.tensor(logprob).item(), float(share.advantages[place]), int(share.group_tokens[place]))
        for record, place in mine
        for token, logprob in zip(record.completion_tokens, record.logprobs, strict=True)]
    assert sorted(map(str, seen)) == sorted(map(str, expected))


def test_a_share_without_sequences_makes_no_microbatch() -> None:
    share = decode(encode(tiny.batch(5, 2), 7, 5))
    assert collate(share, greedy(share.lengths.tolist(), 48)) == []


def test_a_sequence_longer_than_a_microbatch_is_trained_all_the_same() -> None:
    share = decode(encode(tiny.batch(5, 1), 0, 5))
    parts = collate(share, greedy(share.lengths.tolist(), 9))
    assert sum(len(part.advantages) for part in parts) == int(share.completion_lengths.sum())
