"""The conductor's routes for trainers (docs/architecture.md)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from magistral_api.progress import CheckpointRecord
from magistral_workloads.conductor.batches import dealt
from magistral_workloads.conductor.fleet import Fleet
from magistral_workloads.conductor.shelf import Shelf
from magistral_workloads.contracts import PolicyPublished, Resume, WeightsRequest
from magistral_workloads.routes import authenticated, parsed
from magistral_workloads.transport.rollouts import encode

LONG_POLL_SECONDS: Final = 20.0
UPDATE_SECONDS: Final = 20.0
"""A trainer that published waits this long for all generators to hold the version, then goes on without."""

log = logging.getLogger("conductor")


@dataclass
class Server:
    """`newest`: the committed checkpoint that a trainer resumes from. `committed`, `published`: told of each.

    `seed`: the run's; a batch that was written for another number of trainers is dealt anew.
    """

    shelf: Shelf
    fleet: Fleet
    steps: int
    world_size: int
    seed: int
    newest: Callable[[], Resume]
    committed: Callable[[CheckpointRecord], None]
    published: Callable[[PolicyPublished], None]
    long_poll_seconds: float = LONG_POLL_SECONDS
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _updates: set[asyncio.Task[None]] = field(default_factory=set)

    def application(self, token: str) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[authenticated(token)])
        app.router.add_get(r"/v1/batches/{step:\d+}", self._batch)
        app.router.add_post("/v1/policy", self._policy)
        app.router.add_post("/v1/checkpoint", self._checkpoint)
        app.router.add_get("/v1/resume", self._resume)
        app.router.add_post("/v1/done", self._done)
        app.router.add_get("/healthz", self._healthz)
        return app

    async def _batch(self, request: web.Request) -> web.Response:
        step, rank = int(request.match_info["step"]), request.query.get("rank", "")
        if not (rank.isdecimal() and int(rank) < self.world_size):
            raise web.HTTPBadRequest(text=f"rank: found {rank!r}; expected 0 to {self.world_size - 1}")
        if not 1 <= step <= self.steps:
            raise web.HTTPNotFound(text=f"step: found {step}; expected 1 to {self.steps}")
        records = await self.shelf.get(step, self.long_poll_seconds)
        if records is None:
            return web.Response(status=204)
        body = await asyncio.to_thread(
            lambda: encode(dealt(records, self.world_size, self.seed, step), int(rank), step))
        return web.Response(body=body, content_type="application/octet-stream")

    async def _policy(self, request: web.Request) -> web.Response:
        body = await parsed(request, PolicyPublished)
        self.published(body)
        weights = WeightsRequest(version=body.version, uri=body.uri, digest=body.digest)
        update = asyncio.create_task(self.fleet.give(weights))
        self._updates.add(update)
        update.add_done_callback(self._updates.discard)
        await asyncio.wait({update}, timeout=UPDATE_SECONDS)
        # Only now: groups that waited for this step begin with the weights that it made.
        await self.shelf.trained_to(body.version)
        return web.json_response({})

    async def _checkpoint(self, request: web.Request) -> web.Response:
        self.committed(await parsed(request, CheckpointRecord))
        return web.json_response({})

    async def _resume(self, _: web.Request) -> web.Response:
        """All ranks ask before the first step, so what came after that checkpoint is to be trained again."""
        found = await asyncio.to_thread(self.newest)
        log.info("trainers resume from step %d", found.step)
        await self.shelf.trained_to(found.step)
        return web.json_response(found.wire())

    async def _done(self, _: web.Request) -> web.Response:
        self.done.set()
        return web.json_response({})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")
