"""Discovery, weights and health of generators, with stand-ins that speak the contract."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from magistral_workloads.conductor.fleet import Fleet, fleet
from magistral_workloads.conductor.generator import Refused
from magistral_workloads.contracts import GenerateRequest, WeightsRequest
from tests.unit.conductor.standins import HEADERS, GeneratorStandIn, at


def policy(version: int) -> WeightsRequest:
    return WeightsRequest(version=version, uri=f"s3://b/weights/{version}", digest=None)


def request(seed: int = 1, **fields: object) -> GenerateRequest:
    return GenerateRequest.model_validate({
        "request_id": f"r{seed}", "prompt_tokens": [1], "max_tokens": 8, "temperature": 1, "seed": seed,
        "cache_salt": "s"} | fields)


class Service:
    """A headless Service whose endpoints a test changes."""

    def __init__(self) -> None:
        self.urls: set[str] = set()

    async def resolve(self) -> set[str]:
        if not self.urls:
            raise OSError("no such name")
        return set(self.urls)


@asynccontextmanager
async def serving(*standins: GeneratorStandIn) -> AsyncIterator[tuple[Fleet, Service, dict[str, str]]]:
    """A fleet over the stand-ins; their URLs by name."""
    service = Service()
    async with AsyncExitStack() as stack:
        urls = {standin.name: await stack.enter_async_context(at(standin)) for standin in standins}
        service.urls = set(urls.values())
        yield await stack.enter_async_context(fleet(HEADERS, service.resolve)), service, urls


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in servers
            await asyncio.sleep(0.01)


async def test_a_generator_gets_the_current_weights_before_any_request() -> None:
    generator = GeneratorStandIn()
    async with serving(generator) as (found, _, _):
        await found.start(policy(3))
        answer = await found.generate(request())
    assert generator.given == [3]
    assert answer.versions[0][0] == 3


async def test_requests_wait_for_the_first_generator() -> None:
    generator = GeneratorStandIn()
    async with serving() as (found, service, _), at(generator) as url:
        starting = asyncio.create_task(found.start(policy(1)))
        await asyncio.sleep(0)
        assert not starting.done()
        service.urls = {url}
        await starting
        assert (await found.generate(request())).versions[0][0] == 1


async def test_an_update_reaches_all_generators_while_their_requests_run() -> None:
    generators = [GeneratorStandIn(f"generator-{number}") for number in range(2)]
    async with serving(*generators) as (found, _, _):
        await found.start(policy(0))
        await until(lambda: found.ready == 2)
        for generator in generators:
            generator.gate.clear()
        running = [asyncio.create_task(found.generate(request(seed))) for seed in range(6)]
        await until(lambda: sum(generator.running for generator in generators) == 6)
        for version in (1, 2):
            await found.give(policy(version))
        counts, seen = found.counts, found.seen_by_every_generator
        for generator in generators:
            generator.gate.set()
        await asyncio.gather(*running)
    assert [generator.given for generator in generators] == [[0, 1, 2]] * 2
    assert (counts.rounds, seen, counts.while_running, counts.aborted) == (2, 2, 4, 0)


async def test_a_failing_generator_is_set_aside_and_its_request_goes_to_another() -> None:
    well, ill = GeneratorStandIn("well"), GeneratorStandIn("ill")
    async with serving(well, ill) as (found, _, _):
        await found.start(policy(1))
        await until(lambda: found.ready == 2)
        ill.failing = True
        await asyncio.gather(*(found.generate(request(seed)) for seed in range(4)))
        assert found.ready == 1
        assert found.counts.moved > 0
        ill.failing = False
        await until(lambda: found.ready == 2)
    assert len(well.requests) == 4


async def test_a_generator_that_was_started_again_is_given_its_weights_again() -> None:
    generator = GeneratorStandIn()
    async with serving(generator) as (found, _, _):
        await found.start(policy(5))
        generator.restart()
        assert (await found.generate(request())).versions[0][0] == 5
    assert generator.given == [5, 5]


async def test_a_generator_that_missed_an_update_takes_no_requests_until_it_has_the_version() -> None:
    well, ill = GeneratorStandIn("well"), GeneratorStandIn("ill")
    async with serving(well, ill) as (found, _, _):
        await found.start(policy(0))
        await until(lambda: found.ready == 2)
        ill.failing = True
        await found.give(policy(1))
        assert found.ready == 1
        assert found.seen_by_every_generator == 0
        assert [(await found.generate(request(seed))).versions[0][0] for seed in range(4)] == [1] * 4
        ill.failing = False
        await until(lambda: found.ready == 2)
    assert ill.given == [0, 1]


async def test_requests_of_a_generator_that_vanished_are_taken_away_and_answered_by_another() -> None:
    gone, other = GeneratorStandIn("gone"), GeneratorStandIn("other")
    async with serving(gone) as (found, service, _), at(other) as url:
        await found.start(policy(1))
        gone.gate.clear()
        running = asyncio.create_task(found.generate(request(4)))
        await until(lambda: gone.running == 1)
        # It hangs: no answer, no closed connection. Only its status says that it is ill.
        gone.failing = True
        service.urls = {url}
        async with asyncio.timeout(20):
            answer = await running
        assert list(answer.tokens) == [5] * 5
        assert other.requests[0].seed == 4
        assert (found.counts.moved, found.counts.moved_tokens) == (1, 0)


async def test_what_a_lost_generator_had_sampled_is_kept_and_another_goes_on_from_there() -> None:
    gone, other = GeneratorStandIn("gone", early=3), GeneratorStandIn("other")
    async with serving(gone) as (found, service, _), at(other) as url:
        await found.start(policy(1))
        gone.gate.clear()
        running = asyncio.create_task(found.generate(request(4)))
        await until(lambda: gone.running == 1)
        service.urls = {url}
        await found.give(policy(2))
        await until(lambda: other.held is not None)
        gone.failing = True
        gone.gate.set()
        answer = await running
        assert list(answer.tokens) == [5] * 5
        assert answer.versions == [(1, 3), (2, 2)]
        assert other.requests[0].prefix_tokens == [5] * 3
        assert (found.counts.moved, found.counts.moved_tokens) == (1, 3)


async def test_a_request_that_no_generator_will_take_is_not_tried_again() -> None:
    generator = GeneratorStandIn()
    async with serving(generator) as (found, _, _):
        await found.start(policy(1))
        with pytest.raises(Refused, match=r"GenerateRequest\.temperature"):
            await found.generate(request().model_copy(update={"temperature": "none"}))
        assert found.ready == 1
