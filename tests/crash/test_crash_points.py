"""An operator that is killed at a write, and the next one. `make crash-sweep` does it at every write."""

import random

from tests.control_plane.cluster import Tell
from tests.crash.lives import World, drawn_seed
from tests.crash.sweep import Point, sweep

SAMPLE = 24
LARGEST = "SFTThenRL"
"""Has every stage but prepare, which the lives of RL have."""


def test_a_run_ends_in_the_same_state_at_whichever_write_its_operator_is_killed(lives: World, tell: Tell) -> None:
    seed = drawn_seed()

    def some(points: list[Point]) -> list[Point]:
        return random.Random(seed).sample(points, SAMPLE)

    result = sweep(lives, LARGEST, some)
    tell(f"{LARGEST}: {result.points} of {2 * result.writes} crash points, chosen by MAGISTRAL_SEED={seed}; "
         f"{result.not_reached} not reached, {len(result.failed)} failed")
    assert result.failed == []
    assert result.points > 0
