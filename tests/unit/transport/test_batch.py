"""The wire form of a batch."""

import math

import numpy as np
import pytest
from safetensors.numpy import load, save

from magistral_api.problems import RewardParts, RolloutRecord
from magistral_workloads.algorithm.advantages import minibatch_advantages
from magistral_workloads.transport.rollouts import decode, encode
from magistral_workloads.transport.rollouts.batch import BatchError


def record(group: int, rank: int, correctness: float, completion: list[int], logprobs: list[float] | None = None
           ) -> RolloutRecord:
    return RolloutRecord(
        problem_id=f"p{group}", group=group, index=0, trained_step=3, rank=rank, outcome="pass",
        reward=RewardParts(format=0.1, correctness=correctness), prompt_tokens=[1, 2], completion_tokens=completion,
        logprobs=[-0.5] * len(completion) if logprobs is None else logprobs,
        versions=[(1, 1), (2, len(completion) - 1)], finish_reason="stop", text="")


BATCH = [record(40, 0, 0.9, [5, 6, 7]), record(40, 1, 0.0, [8, 9], [-0.25, math.nan]),
         record(41, 1, 0.0, [10]), record(41, 0, 0.9, [11, 12, 13, 14])]


def test_a_share_holds_the_ranks_own_sequences_in_the_batchs_order() -> None:
    share = decode(encode(BATCH, rank=1, step=3))
    assert share.step == 3
    assert share.tokens.tolist() == [1, 2, 8, 9, 1, 2, 10]
    assert (share.prompt_lengths.tolist(), share.completion_lengths.tolist()) == ([2, 2], [2, 1])
    assert share.groups.tolist() == [40, 41]
    np.testing.assert_allclose(share.logprobs, [-0.25, math.nan, -0.5])
    np.testing.assert_allclose(share.rewards, [0.1, 0.1])


def test_advantages_and_denominators_are_those_of_the_whole_batch() -> None:
    wanted = minibatch_advantages(np.array([1.0, 0.1, 0.1, 1.0]), np.array([40, 40, 41, 41]))
    shares = [decode(encode(BATCH, rank, 3)) for rank in (0, 1)]
    np.testing.assert_allclose(shares[0].advantages, wanted[[0, 3]], rtol=1e-6)
    np.testing.assert_allclose(shares[1].advantages, wanted[[1, 2]], rtol=1e-6)
    assert [share.batch_groups for share in shares] == [2, 2]
    assert [share.batch_sequences for share in shares] == [4, 4]


def test_a_token_without_a_finite_logprob_is_not_counted_in_its_group() -> None:
    assert decode(encode(BATCH, 0, 3)).group_tokens.tolist() == [4, 5]


def test_a_missing_logprob_counts_as_unknown() -> None:
    share = decode(encode([record(1, 0, 0.9, [5, 6], [-0.5]), record(1, 0, 0.0, [7, 8])], 0, 1))
    np.testing.assert_allclose(share.logprobs, [-0.5, math.nan, -0.5, -0.5])
    assert share.group_tokens.tolist() == [3, 3]


def test_the_version_of_a_sequence_is_the_mean_over_its_tokens() -> None:
    np.testing.assert_allclose(decode(encode(BATCH, 0, 3)).versions, [5 / 3, 7 / 4], rtol=1e-6)


def test_a_rank_without_sequences_gets_an_empty_share() -> None:
    share = decode(encode(BATCH, rank=5, step=3))
    assert (len(share.tokens), len(share.prompt_lengths), share.batch_groups) == (0, 0, 2)


def test_bytes_that_are_no_share_are_refused() -> None:
    with pytest.raises(BatchError, match="no safetensors"):
        decode(b"<html>502</html>")
    with pytest.raises(BatchError, match="tensor advantages: found none"):
        decode(save({name: value for name, value in load(encode(BATCH, 0, 3)).items() if name != "advantages"}))
    with pytest.raises(BatchError, match="tensor logprobs: found 3 values; expected 7"):
        decode(save(load(encode(BATCH, 0, 3)) | {"logprobs": np.zeros(3, np.float32)}))
