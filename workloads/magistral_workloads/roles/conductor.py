"""Conducts RL: `python -m magistral_workloads.roles.conductor`. One at a time; its memory is the ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from magistral_api.config import SCRATCH_PATH, TOKEN_PATH, ModelAt, StageConfig
from magistral_api.names import CONDUCTOR_PORT
from magistral_api.progress import OUTPUT_MODEL_DIGEST, OUTPUT_MODEL_URI
from magistral_workloads.checkpoints import records
from magistral_workloads.conductor import figures
from magistral_workloads.conductor.batches import Forming
from magistral_workloads.conductor.faults import run_to_end
from magistral_workloads.conductor.fleet import Resolver, fleet, headless
from magistral_workloads.conductor.ledger import Ledger
from magistral_workloads.conductor.order import PromptOrder
from magistral_workloads.conductor.published import current_policy, resume
from magistral_workloads.conductor.reporting import Reporting
from magistral_workloads.conductor.rollouts import InFlight, Rollouts
from magistral_workloads.conductor.sampler import Sampler
from magistral_workloads.conductor.server import Server
from magistral_workloads.conductor.setting import read_problems, settings
from magistral_workloads.conductor.shelf import Shelf
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import verifier
from magistral_workloads.progress import Reporter, run_stage
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore

SHUTDOWN_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where a conductor runs: its disk, its port, its token, and how it finds generators."""

    token: str
    resolve: Resolver
    scratch: Path = SCRATCH_PATH
    port: int = CONDUCTOR_PORT


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point."""
    services = config.services
    place = Place(TOKEN_PATH.read_text().strip(), headless(services.generators, services.generator_port))
    run_to_end(conduct(config, reporter, ObjectStore.of(config), place))


async def conduct(config: StageConfig, reporter: Reporter, store: ObjectStore, place: Place) -> None:
    """From what the ledger holds to the last step. Returns when the trainers are done, or were before.

    Raises UserFault, and whatever its parts raise.
    """
    rl = settings(config)
    reporter.checkpoint(*await asyncio.to_thread(records, store, config.run_uid, "rl"))
    found = await asyncio.to_thread(resume, store, config.run_uid)
    reporter.update(step=found.step, total_steps=rl.steps)
    if found.step < rl.steps:
        await _until_done(config, reporter, store, place)
        found = await asyncio.to_thread(resume, store, config.run_uid)
    if found.uri and found.digest:
        reporter.update(step=rl.steps, outputs={OUTPUT_MODEL_URI: found.uri, OUTPUT_MODEL_DIGEST: found.digest})


async def _until_done(config: StageConfig, reporter: Reporter, store: ObjectStore, place: Place) -> None:
    rl, seed = settings(config), config.spec.seed
    problems = await asyncio.to_thread(read_problems, config, store, rl)
    base = ModelAt(uri=config.spec.base_model.uri, digest=config.spec.base_model.digest)
    tokens = await asyncio.to_thread(Tokens.fetch, store, base, place.scratch / "tokenizer")
    policy = await asyncio.to_thread(current_policy, store, config)
    ledger = Ledger(store, config.run_uid)
    shelf = Shelf(ledger, await asyncio.to_thread(ledger.summaries), policy.version)
    in_flight, world_size = InFlight(), rl.trainers * config.processes_per_pod
    async with AsyncExitStack() as stack:
        generators = await stack.enter_async_context(fleet(bearer(place.token), place.resolve))
        grader = await stack.enter_async_context(verifier(bearer(place.token), config.services.verifier))
        rollouts = Rollouts(
            rl=rl, problems=problems, order=PromptOrder(len(problems), seed), in_flight=in_flight, shelf=shelf,
            sampler=Sampler(generators, grader, tokens, seed, in_flight.done),
            forming=Forming(rl, world_size, seed, shelf.written + 1))
        reporting = Reporting(rl=rl, reporter=reporter, shelf=shelf, fleet=generators, verifier=grader,
                              in_flight=in_flight)
        server = Server(
            shelf=shelf, fleet=generators, steps=rl.steps, world_size=world_size, seed=seed,
            newest=lambda: resume(store, config.run_uid), committed=reporter.checkpoint,
            published=lambda said: reporter.update(metrics=figures.trainer_metrics(said.metrics)))
        await stack.enter_async_context(served(server.application(place.token), place.port))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())

        async def produce() -> None:
            await generators.start(policy)
            await rollouts.run()

        working = [tasks.create_task(produce()), tasks.create_task(reporting.run())]
        await server.done.wait()
        for task in working:
            task.cancel()
        reporting.say()


@asynccontextmanager
async def served(app: web.Application, port: int) -> AsyncIterator[None]:
    """The routes, until the block is left; answers under way are finished first."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    run_stage(run)
