"""The simulated run, small: the loop is the conductor's own."""

import asyncio
import time

import pytest

from dev.bench.simulation import virtual_time
from dev.bench.simulation.conductor import Plan, simulate
from magistral_api.run import RL


def rl(**fields: object) -> RL:
    return RL.model_validate({
        "prompts": [{"uri": "s3://bucket/p.jsonl"}], "steps": 12, "batchSize": 32, "groupSize": 8,
        "maxUnpenalizedTokens": 2048, "cacheTokens": 256, "microbatchTokens": 4096, "maxStaleness": 1} | fields)


def test_hours_pass_in_no_time() -> None:
    async def wait() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(60))
        await asyncio.to_thread(int)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert virtual_time.run(wait()) == pytest.approx(3600)
    assert time.monotonic() - began < 60


def test_a_wait_that_nothing_would_end_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing will ever happen again"):
        virtual_time.run(asyncio.Event().wait())


def test_slow_trainers_let_completions_age_within_bounds_and_none_is_lost() -> None:
    found = simulate(Plan(generators=4, steps=12, rl=rl(maxStaleness=3), trainer_speed=0.5))
    assert found.steps == 12
    assert found.trainer_idle < 0.05
    assert 3 <= found.staleness_max <= 3 + 2 + 1
    assert found.length_ratio == pytest.approx(1, abs=0.02)
    assert found.length_ratio_discarding < found.length_ratio


def test_the_same_seed_gives_the_same_run() -> None:
    plan = Plan(generators=2, steps=12, rl=rl())
    first, second = (simulate(plan) for _ in range(2))
    first.cpu_s_per_step = second.cpu_s_per_step = first.memory_mb = second.memory_mb = 0
    assert first == second
