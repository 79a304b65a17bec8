"""The difference that decides whether a generator holds what was published."""

import math
from pathlib import Path

import pytest

from magistral_workloads.transport.weights.probe import TOKENS, Probe, fixed_tokens, read, write

PROBE = Probe(tokens=[1, 2, 3], logprobs=[-1.0, -2.0], tolerance=1e-3)


def test_the_difference_is_the_mean_over_the_tokens() -> None:
    assert PROBE.difference([-1.0, -2.0]) == 0
    assert PROBE.difference([-1.5, -2.1]) == pytest.approx(0.3)


@pytest.mark.parametrize("found", [[], [-1.0], [-1.0, -2.0, -3.0], [-1.0, math.nan], [-1.0, -math.inf]])
def test_what_is_no_finite_number_for_each_token_differs_without_end(found: list[float]) -> None:
    assert PROBE.difference(found) == math.inf


def test_a_probe_is_read_as_it_was_written_and_a_base_model_has_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    write(tmp_path, PROBE)
    assert read(tmp_path) == PROBE


@pytest.mark.parametrize("vocabulary", [257, 32000, 131072])
def test_the_fixed_tokens_lie_apart_in_the_vocabulary(vocabulary: int) -> None:
    tokens = fixed_tokens(vocabulary)
    assert len(tokens) == len(set(tokens)) == TOKENS
    assert all(0 <= token < vocabulary for token in tokens)
