"""The stage's progress, once a second."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from magistral_api.run import RL
from magistral_workloads.conductor import figures
from magistral_workloads.conductor.fleet import Fleet
from magistral_workloads.conductor.rollouts import InFlight
from magistral_workloads.conductor.shelf import Shelf
from magistral_workloads.conductor.verifier import Verifier
from magistral_workloads.progress import Reporter

SECONDS: Final = 1.0


@dataclass(kw_only=True)
class Reporting:
    """Reads what the parts have counted and says it."""

    rl: RL
    reporter: Reporter
    shelf: Shelf
    fleet: Fleet
    verifier: Verifier
    in_flight: InFlight
    _rate: figures.Rate = field(default_factory=figures.Rate)

    async def run(self) -> None:
        """For ever."""
        while True:
            self.say()
            await asyncio.sleep(SECONDS)

    def say(self) -> None:
        """As it is now."""
        fleet, shelf, counts = self.fleet, self.shelf, self.fleet.counts
        rate = self._rate.tick(asyncio.get_running_loop().time(), self.in_flight.tokens)
        counted = {
            "updates": counts.rounds, "minUpdatesPerGenerator": fleet.seen_by_every_generator,
            "updatesWhileRunning": counts.while_running, "aborted": counts.aborted,
            "moved": counts.moved, "movedTokens": counts.moved_tokens,
            "infrastructureErrors": self.verifier.infrastructure_errors, "generators": fleet.ready,
            "batchesWaiting": shelf.waiting, "inFlight": self.in_flight.running}
        self.reporter.update(
            step=shelf.trained, total_steps=self.rl.steps,
            message=None if fleet.ready else f"no generator is ready; last heard: {fleet.trouble or 'nothing'}",
            rl=figures.rl_status(shelf.summaries, shelf.trained, rate),
            metrics=figures.rewards(shelf.summaries, self.rl.steps) | figures.lengths(shelf.summaries)
            | {name: float(value) for name, value in counted.items()})
