"""The agent: the run's routes in front of vLLM. It knows which version the model holds, and proves it."""

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from magistral_workloads.contracts import GenerateChunk, GenerateRequest, GeneratorStatus, WeightsRequest, WeightsResponse
from magistral_workloads.generator.vllm import AbortedError, Vllm, VllmError
from magistral_workloads.generator.weights import UnfitError, WeightFolders
from magistral_workloads.routes import authenticated, parsed
from magistral_workloads.storage import StorageError
from magistral_workloads.transport.weights.probe import read

MAX_BODY = 64 << 20

log = logging.getLogger("generator")


class BrokenError(Exception):
    """An update failed after vLLM had begun to load: nobody knows which weights it holds."""


@dataclass
class _Counts:
    running: int = 0
    updates: int = 0
    aborted: int = 0


class Agent:
    """State of one generator since its process started."""

    def __init__(self, pod: str, folders: WeightFolders) -> None:
        self._pod, self._folders = pod, folders
        self._vllm: Vllm | None = None
        self._held: WeightsRequest | None = None
        self._one_at_a_time = asyncio.Lock()
        self._counts = _Counts()
        self.broken: asyncio.Future[BrokenError] = asyncio.get_running_loop().create_future()

    def serve(self, vllm: Vllm) -> None:
        """From now on it is ready."""
        self._vllm = vllm

    def application(self, token: str) -> web.Application:
        """The routes of docs/architecture.md."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[authenticated(token)])
        app.router.add_post("/v1/generate", self._generate)
        app.router.add_post("/v1/weights", self._weights)
        app.router.add_get("/v1/status", self._status)
        app.router.add_get("/healthz", self._healthz)
        return app

    def status(self) -> GeneratorStatus:
        """What it holds and does."""
        return GeneratorStatus(pod=self._pod, version=self._held.version if self._held else None,
                               running=self._counts.running, updates=self._counts.updates, aborted=self._counts.aborted)

    async def give(self, request: WeightsRequest) -> WeightsResponse:
        """Fetch, verify, load in flight, prove. Raises StorageError, UnfitError (nothing changed) and BrokenError."""
        async with self._one_at_a_time:
            counts, vllm = self._counts, self._ready()
            if request == self._held:
                return WeightsResponse(version=request.version, fetch_seconds=0, pause_seconds=0,
                                       running=counts.running, aborted=0)
            begun = time.monotonic()
            folder = await asyncio.to_thread(self._folders.fetch, request)
            fetched = time.monotonic() - begun
            running, aborted = counts.running, counts.aborted
            seconds, error = await self._load(vllm, folder, request.version)
            self._held = request
            counts.updates += 1
            await asyncio.to_thread(self._folders.keep_only, folder)
            log.info("version %d is live: fetched in %.2f s, loaded in %.3f s, %d requests were running, probe: %s",
                     request.version, fetched, seconds, running, "none" if error is None else f"{error:.1e} nats off")
            return WeightsResponse(version=request.version, fetch_seconds=fetched, pause_seconds=seconds,
                                   running=running, aborted=counts.aborted - aborted, probe_error=error)

    async def _load(self, vllm: Vllm, folder: Path, version: int) -> tuple[float, float | None]:
        """Seconds in which no request advanced, and the probe's difference where there is a probe."""
        try:
            seconds = await vllm.update(folder, version)
            if (found := await vllm.version()) != str(version):
                raise VllmError(0, f"vLLM says that it holds version {found}; expected {version}")
            error = await _probed(vllm, folder)
        except VllmError as error:
            self._held = None
            broken = BrokenError(f"update to version {version} failed half-way: {error}")
            if not self.broken.done():
                self.broken.set_result(broken)
            raise broken from None
        return seconds, error

    def _ready(self) -> Vllm:
        if self._vllm is None:
            raise web.HTTPServiceUnavailable(text="vLLM is starting")
        return self._vllm

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        """A line a piece. An answer that ends without a last piece is one that failed on the way."""
        body = await parsed(request, GenerateRequest)
        vllm = self._ready()
        if self._held is None:
            raise web.HTTPServiceUnavailable(text="this generator has been given no weights yet")
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        self._counts.running += 1
        try:
            async with contextlib.aclosing(vllm.generate(body)) as pieces:
                async for piece in pieces:
                    if not answer.prepared:
                        await answer.prepare(request)
                    labelled = self._labelled(piece)
                    await answer.write(labelled.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
        except ConnectionError:
            # Nobody waits for it any more; vLLM stops sampling as its connection is closed too.
            log.info("request %s: the one who asked has gone", body.request_id)
        except AbortedError as error:
            self._counts.aborted += 1
            _failed(answer, web.HTTPBadGateway(text=str(error)))
        except VllmError as error:
            # What vLLM will never accept is the caller's to know; all else may work elsewhere.
            refused = 400 <= error.status < 500
            _failed(answer, (web.HTTPBadRequest if refused else web.HTTPBadGateway)(text=str(error)))
        finally:
            self._counts.running -= 1
        return answer

    def _labelled(self, piece: GenerateChunk) -> GenerateChunk:
        """vLLM tells versions at the end only; until then it is the one held as the piece comes."""
        if piece.finish_reason is None and self._held is not None:
            return piece.model_copy(update={"versions": [(self._held.version, len(piece.tokens))]})
        return piece

    async def _weights(self, request: web.Request) -> web.Response:
        body = await parsed(request, WeightsRequest)
        try:
            # An update that has begun must end, even when the one who asked has gone.
            done = await asyncio.shield(asyncio.ensure_future(self.give(body)))
        except UnfitError as error:
            raise web.HTTPConflict(text=str(error)) from None
        except (StorageError, BrokenError) as error:
            log.error("version %d not loaded: %s", body.version, error)
            raise web.HTTPBadGateway(text=str(error)) from None
        return web.json_response(done.wire())

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status().model_dump(mode="json", by_alias=True))

    async def _healthz(self, _: web.Request) -> web.Response:
        self._ready()
        return web.Response(text="ok")


async def _probed(vllm: Vllm, folder: Path) -> float | None:
    """Difference from the trainer's log-probabilities. Raises VllmError when it is more than the precision explains."""
    probe = await asyncio.to_thread(read, folder)
    if probe is None:
        return None
    error = probe.difference(await vllm.logprobs(probe.tokens, secrets.token_hex(8)))
    if error > probe.tolerance:
        raise VllmError(0, f"log-probabilities differ from the trainer's by {error:.2g} nats; expected at most "
                           f"{probe.tolerance:g}: these are not the weights that were published")
    return error


def _failed(answer: web.StreamResponse, error: web.HTTPException) -> None:
    """Raises it, unless the answer has begun: then it ends without a last piece."""
    if not answer.prepared:
        raise error
    log.warning("%s", error.text)
