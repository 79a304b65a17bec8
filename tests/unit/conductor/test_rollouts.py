"""Which groups begin: the real admission, forming and shelf; sampling and the ledger are in the test's hands."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import cast

from magistral_api.problems import Problem, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.conductor.batches import Batch, Forming
from magistral_workloads.conductor.ledger import Ledger, StepSummary, summarise
from magistral_workloads.conductor.order import PromptOrder
from magistral_workloads.conductor.rollouts import InFlight, Rollouts
from magistral_workloads.conductor.sampler import Sampler
from magistral_workloads.conductor.shelf import Shelf
from tests.unit.conductor.records import group


@dataclass
class Held:
    """The first two groups end when `first` is set, the others when `rest` is. Batches are written when `written` is."""

    in_flight: InFlight
    first: asyncio.Event = field(default_factory=asyncio.Event)
    rest: asyncio.Event = field(default_factory=asyncio.Event)
    written: threading.Event = field(default_factory=threading.Event)
    begun: list[int] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    async def group(self, number: int, _: Problem, rl: RL) -> list[RolloutRecord]:
        self.begun.append(number)
        self.limits.append(rl.max_unpenalized_tokens)
        await (self.first if number < 2 else self.rest).wait()
        self.in_flight.give_up(2)
        return group(number, [0.0, 1.0])

    def write(self, batch: Batch) -> StepSummary:
        self.written.wait(10)
        return summarise(batch)


def begin(**settings: object) -> tuple[Held, Rollouts]:
    """Batches of two groups of two."""
    rl = RL.model_validate({"prompts": [{"uri": "s3://bucket/p.jsonl"}], "batchSize": 4, "groupSize": 2} | settings)
    held = Held(InFlight())
    return held, Rollouts(
        rl=rl, problems=[Problem(id="p", kind="maths", prompt="?", answer="1")], order=PromptOrder(1, 0),
        sampler=cast(Sampler, held), in_flight=held.in_flight, shelf=Shelf(cast(Ledger, held), [], 0),
        forming=Forming(rl, 1, 0, 1))


async def test_while_a_batch_is_being_written_no_group_begins_that_no_batch_will_take() -> None:
    held, rollouts = begin(steps=2)
    running = asyncio.create_task(rollouts.run())
    await turns()
    # Both end in the same turn: the end of the first wakes admission while the second's batch is written.
    held.first.set()
    await turns()
    held.written.set()
    held.rest.set()
    await running
    assert held.begun == [0, 1, 2, 3]


async def test_where_a_stage_begins_as_much_is_in_flight_as_it_says_and_groups_begin_with_its_limits() -> None:
    stage = {"fromStep": 2, "asyncRatio": 2.5, "maxUnpenalizedTokens": 24576}
    held, rollouts = begin(steps=8, maxStaleness=8, asyncRatio=1, maxUnpenalizedTokens=16384, curriculum=[stage])
    running = asyncio.create_task(rollouts.run())
    await turns()
    assert held.limits == [16384] * 2
    held.written.set()
    held.first.set()
    async with asyncio.timeout(10):
        while len(held.begun) < 7:
            await turns()
    await turns()
    # Five groups of two are 2.5 times a batch of four.
    assert held.limits == [16384] * 2 + [24576] * 5
    held.rest.set()
    await running


async def test_at_the_end_as_many_groups_begin_as_the_batches_of_the_last_steps_take() -> None:
    held, rollouts = begin(steps=3, asyncRatio=16, curriculum=[
        {"fromStep": 2, "batchSize": 8}, {"fromStep": 3, "batchSize": 2}])
    running = asyncio.create_task(rollouts.run())
    for event in (held.written, held.first, held.rest):
        event.set()
    await running
    assert held.begun == list(range((4 + 8 + 2) // 2))


async def test_a_group_that_waits_for_room_follows_a_limit_that_changes() -> None:
    in_flight, limit = InFlight(), [4]
    await in_flight.admit(4, lambda: limit[0])
    waiting = asyncio.create_task(in_flight.admit(4, lambda: limit[0]))
    in_flight.done(1)
    await turns()
    assert in_flight.running == 3
    limit[0] = 8
    in_flight.done(1)
    await waiting
    assert in_flight.running == 2 + 4


async def turns() -> None:
    """Let all that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)
