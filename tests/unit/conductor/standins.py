"""Stand-ins that speak the HTTP contract, in this process: conductor logic needs no GPU and no model.

Every test of real generation is in tests/generator, with a real vLLM.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer

from magistral_api.config import StageConfig
from magistral_api.problems import RewardParts
from magistral_workloads.contracts import (
    GenerateChunk,
    GenerateRequest,
    GeneratorStatus,
    ProgramOutput,
    ProgramRequest,
    VerifyRequest,
    VerifyResponse,
    WeightsRequest,
    WeightsResponse,
)
from magistral_workloads.progress import Reporter
from magistral_workloads.routes import authenticated, bearer, parsed

TOKEN = "a token of this test"
HEADERS = bearer(TOKEN)


@dataclass
class GeneratorStandIn:
    """Answers with as many tokens as its seed says. `gate` closed: requests wait, after so many tokens (`early`).

    `failing`: all routes answer 500, and requests under way end in the middle.
    """

    name: str = "generator-0"
    failing: bool = False
    early: int = 0
    held: WeightsRequest | None = None
    given: list[int] = field(default_factory=list)
    requests: list[GenerateRequest] = field(default_factory=list)
    running: int = 0
    finish_reason: str = "stop"
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[authenticated(TOKEN)])
        app.router.add_post("/v1/generate", self._generate)
        app.router.add_post("/v1/weights", self._weights)
        app.router.add_get("/v1/status", self._status)
        return app

    def restart(self) -> None:
        """As a container that was started again: it holds nothing."""
        self.held = None

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await parsed(request, GenerateRequest)
        self._fail()
        if self.held is None:
            raise web.HTTPServiceUnavailable(text="no weights")
        self.requests.append(body)
        self.running += 1
        version, seed = self.held.version, body.seed - len(body.prefix_tokens)
        count = 1 + seed % 5 - len(body.prefix_tokens)
        answer = web.StreamResponse()

        async def say(tokens: int, spans: list[tuple[int, int]], reason: str | None) -> None:
            piece = GenerateChunk(tokens=[1 + seed % 7] * tokens, logprobs=[-0.5] * tokens, versions=spans,
                                  finish_reason=reason)
            await answer.write(piece.model_dump_json(by_alias=True).encode() + b"\n")

        try:
            if self.early:
                await answer.prepare(request)
                await say(self.early, [(version, self.early)], None)
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.failing and answer.prepared:
            return answer
        self._fail()
        if not answer.prepared:
            await answer.prepare(request)
        await say(count - self.early, [(version, count)], self.finish_reason)
        return answer

    async def _weights(self, request: web.Request) -> web.Response:
        self._fail()
        self.held = await parsed(request, WeightsRequest)
        self.given.append(self.held.version)
        return web.json_response(WeightsResponse(
            version=self.held.version, fetch_seconds=0, pause_seconds=0, running=self.running, aborted=0).wire())

    async def _status(self, _: web.Request) -> web.Response:
        self._fail()
        return web.json_response(GeneratorStatus(
            pod=self.name, version=self.held.version if self.held else None, running=self.running,
            updates=len(self.given), aborted=0).model_dump(mode="json", by_alias=True))

    def _fail(self) -> None:
        if self.failing:
            raise web.HTTPInternalServerError(text="this generator fails")


@dataclass
class VerifierStandIn:
    """A completion passes when `passes` says so. `prints`: of source and input, None where the program fails.

    `faults`: so many answers are infrastructure errors first.
    """

    passes: Callable[[VerifyRequest], bool] = lambda request: request.completion_tokens % 2 == 0
    prints: Callable[[str, str], str | None] = lambda source, text: None
    faults: int = 0
    busy: int = 0
    asked: int = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[authenticated(TOKEN)])
        app.router.add_post("/v1/verify", self._verify)
        app.router.add_post("/v1/run", self._run)
        return app

    async def _verify(self, request: web.Request) -> web.Response:
        body = await parsed(request, VerifyRequest)
        self.asked += 1
        if self.busy:
            self.busy -= 1
            raise web.HTTPServiceUnavailable(text="the queue is full")
        if body.problem.answer is None:
            raise web.HTTPUnprocessableEntity(text="has no answer")
        if self.faults:
            self.faults -= 1
            return web.json_response(VerifyResponse(outcome="infrastructure_error", reward=RewardParts()).wire())
        passed = self.passes(body)
        return web.json_response(VerifyResponse(
            outcome="pass" if passed else "fail", reward=RewardParts(format=0.1, correctness=0.9 if passed else 0.0),
            answer=str(body.completion_tokens)).wire())

    async def _run(self, request: web.Request) -> web.Response:
        body = await parsed(request, ProgramRequest)
        self.asked += 1
        outputs = [_printed(self.prints(body.source, text)) for text in body.inputs]
        if self.faults:
            self.faults -= 1
            outputs[-1:] = [ProgramOutput(outcome="infrastructure_error", detail="no room")]
        return web.Response(text="".join(output.model_dump_json(by_alias=True) + "\n" for output in outputs))


def _printed(output: str | None) -> ProgramOutput:
    return ProgramOutput(outcome="failure", detail="exit code 1") if output is None else ProgramOutput(
        outcome="output", output=output)


@asynccontextmanager
async def at(standin: GeneratorStandIn | VerifierStandIn) -> AsyncIterator[str]:
    """Its base URL, while the block runs."""
    async with TestServer(standin.application()) as server:
        yield str(server.make_url("")).rstrip("/")


def reporter(config: StageConfig) -> Reporter:
    """A reporter whose API server takes everything."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    return Reporter(config, httpx.Client(transport=transport, base_url="http://api"), interval_seconds=0.01)
