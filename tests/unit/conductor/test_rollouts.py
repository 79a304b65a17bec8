"""Which groups begin: the real admission, forming and shelf; sampling and the ledger are in the test's hands."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import cast

from magistral_api.problems import Problem, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.conductor.batches import Batch, Forming, Shape
from magistral_workloads.conductor.ledger import Ledger, StepSummary, summarise
from magistral_workloads.conductor.order import PromptOrder
from magistral_workloads.conductor.rollouts import InFlight, Rollouts, most_in_flight
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

    async def group(self, number: int, _: Problem) -> list[RolloutRecord]:
        self.begun.append(number)
        await (self.first if number < 2 else self.rest).wait()
        self.in_flight.give_up(2)
        return group(number, [0.0, 1.0])

    def write(self, batch: Batch) -> StepSummary:
        self.written.wait(10)
        return summarise(batch)


async def test_while_a_batch_is_being_written_no_group_begins_that_no_batch_will_take() -> None:
    rl = RL.model_validate({"prompts": [{"uri": "s3://bucket/p.jsonl"}], "steps": 2, "batchSize": 4, "groupSize": 2})
    held = Held(InFlight(most_in_flight(rl)))
    rollouts = Rollouts(
        rl=rl, problems=[Problem(id="p", kind="maths", prompt="?", answer="1")], order=PromptOrder(1, 0),
        sampler=cast(Sampler, held), in_flight=held.in_flight, shelf=Shelf(cast(Ledger, held), [], 0),
        forming=Forming(Shape(4, 2, 1, 0), 1))
    running = asyncio.create_task(rollouts.run())
    await turns()
    # Both end in the same turn: the end of the first wakes admission while the second's batch is written.
    held.first.set()
    await turns()
    held.written.set()
    held.rest.set()
    await running
    assert held.begun == [0, 1, 2, 3]


async def turns() -> None:
    """Let all that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)
