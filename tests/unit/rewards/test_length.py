"""Length penalty: none, then a line down to its largest (section 3.3)."""

import pytest

from magistral_workloads.rewards import length


@pytest.mark.parametrize("tokens", [0, 1, 99, 100])
def test_there_is_no_penalty_up_to_the_free_length(tokens: int) -> None:
    assert length.penalty(tokens, 100, 40) == 0.0


def test_the_penalty_grows_in_a_line_over_the_cache() -> None:
    assert [length.penalty(tokens, 100, 40) for tokens in (110, 120, 130, 140)] == pytest.approx(
        [length.PENALTY * part for part in (0.25, 0.5, 0.75, 1.0)])


def test_the_penalty_never_exceeds_its_largest() -> None:
    assert length.penalty(10**9, 100, 40) == length.PENALTY
