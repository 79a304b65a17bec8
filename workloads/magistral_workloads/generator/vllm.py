"""vLLM as a child process on loopback: how it is started, spoken to, and ended.

Its weight and pause routes let anyone replace the model and know no token, so nothing but this pod may reach them.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from magistral_workloads.contracts import PIECE_BYTES, GenerateChunk, GenerateRequest
from magistral_workloads.generator.plugin import BACKEND

LOOPBACK: Final = "127.0.0.1"
CONTROL_SECONDS: Final = 300.0
"""Limit of one call that changes or asks vLLM's state; a reload of a large model from disk is the longest."""
STOP_SECONDS: Final = 3.0
EVENT: Final = b"data: "
"""Begins a line of a server-sent event."""
UNKNOWN_LOGPROB: Final = -9999.0
"""What vLLM writes for a log-probability that is minus infinity or not a number."""


class VllmError(Exception):
    """vLLM refused or failed. `status`: of HTTP, 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AbortedError(Exception):
    """vLLM ended a request before it was complete."""


def command(model: Path, port: int, arguments: Sequence[str] = (), device: str = "cuda") -> list[str]:
    """The command line. `arguments`: the runtime's own, after ours; ours that guard the routes cannot be changed."""
    # A prompt that is split ends vLLM on a CPU: it sets back the offset of the request's seeded generator, and has none.
    whole = ["--no-enable-chunked-prefill"] if device == "cpu" else []
    guarded = ["--host", LOOPBACK, "--port", str(port), "--tokens-only",
               "--weight-transfer-config", json.dumps({"backend": BACKEND})]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "policy",
            "--enable-prefix-caching", "--uvicorn-log-level", "warning", *whole, *arguments, *guarded]


def environment(arguments: Sequence[str], device: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of the child: the weight routes switched on, no storage credential, nothing sent home."""
    own = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if device == "cpu" and "--enforce-eager" in arguments:
        # The sampler has compiled parts of its own, which would want a C++ compiler in the image.
        own["TORCH_COMPILE_DISABLE"] = "1"
    return {name: value for name, value in environ.items() if not name.startswith("AWS_")} | own


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Vllm:
    """One vLLM server. `async with` starts the process and ends it with all its children."""

    def __init__(self, model: Path, *, arguments: Sequence[str] = (), device: str = "cuda") -> None:
        port = free_port()
        self._command = command(model, port, arguments, device)
        self._environment = environment(arguments, device)
        self._url = f"http://{LOOPBACK}:{port}"
        self._workers = 1

    async def __aenter__(self) -> Self:
        # A connection a request: the server closes idle ones after five seconds, and a POST on such a one is lost.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, connect=10), read_bufsize=PIECE_BYTES)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, start_new_session=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        for how in (signal.SIGTERM, signal.SIGKILL):
            # The group, not the process: its workers are children of children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)

    async def ended(self) -> int:
        """Wait for the process to end; its exit code."""
        return await self._process.wait()

    async def start_up(self) -> None:
        """Return when it has answered a request. Raises VllmError when the process ends before."""
        while not await self._healthy():
            if self._process.returncode is not None:
                raise VllmError(0, f"vLLM ended with {self._process.returncode} before it was ready; its log is above")
            await asyncio.sleep(0.5)
        self._workers = int((await self._call("GET", "/get_world_size"))["world_size"])
        await self._call("POST", "/init_weight_transfer_engine", {"init_info": {}})
        # The first request pays for what is compiled or loaded late; no user should.
        async for _ in self.generate(GenerateRequest(
                request_id="warm-up", prompt_tokens=[1], max_tokens=2, temperature=1.0, seed=0, cache_salt="warm-up")):
            pass

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """Sample the rest of a completion, piece by piece. Only the last has versions. Raises VllmError, AbortedError."""
        body = {
            "request_id": request.request_id, "stream": True,
            "token_ids": [*request.prompt_tokens, *request.prefix_tokens],
            "cache_salt": request.cache_salt,
            "sampling_params": {
                "n": 1, "temperature": request.temperature, "top_p": request.top_p, "seed": request.seed,
                "max_tokens": request.max_tokens - len(request.prefix_tokens),
                "stop_token_ids": request.stop_token_ids,
                # Zero more than the sampled token's own.
                "logprobs": 0,
                "stream_interval": request.stream_tokens,
            }}
        async with self._answer("POST", "/inference/v1/generate", body, seconds=None) as answer:
            async for line in answer.content:
                if line.startswith(EVENT + b"{"):
                    yield chunk(json.loads(line.removeprefix(EVENT)))

    async def logprobs(self, tokens: list[int], salt: str) -> list[float]:
        """Log-probability of each token but the first. `salt`: one that was never used. Raises VllmError."""
        found = await self._call("POST", "/inference/v1/generate", {
            "request_id": f"probe-{salt}", "token_ids": tokens, "cache_salt": f"probe-{salt}",
            "sampling_params": {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}})
        # One entry a token: what vLLM might add for the likeliest tokens is not this one.
        return [float(entry[str(token)]["logprob"]) for token, entry in
                zip(tokens[1:], found["prompt_logprobs"][1:], strict=True)]

    async def update(self, folder: Path, version: int) -> float:
        """Load the folder while requests go on; the seconds in which none advanced. Raises VllmError.

        With one worker the reload is one call between two scheduler steps. With more the workers would step apart, so
        the scheduler stands still meanwhile; KV is kept and nothing is aborted.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        if self._workers > 1:
            await self._call("POST", "/pause?mode=keep&clear_cache=false")
        try:
            await self._call("POST", "/start_weight_update")
            await self._call("POST", "/update_weights", {"update_info": {"path": str(folder)}})
            await self._call("POST", "/finish_weight_update", {"weight_version": str(version)})
        finally:
            if self._workers > 1:
                await self._call("POST", "/resume")
        return clock() - started

    async def version(self) -> str:
        """The label of the weights that vLLM samples with."""
        return str((await self._call("GET", "/weight_info"))["weight_version"])

    async def _healthy(self) -> bool:
        try:
            async with self._session.get(f"{self._url}/health", timeout=aiohttp.ClientTimeout(5)) as found:
                return found.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None,
                    seconds: float | None = CONTROL_SECONDS) -> dict[str, Any]:
        async with self._answer(method, path, body, seconds) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    @contextlib.asynccontextmanager
    async def _answer(self, method: str, path: str, body: dict[str, Any] | None,
                      seconds: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, f"{self._url}{path}", json=body if method == "GET" else body or {},
                                             timeout=aiohttp.ClientTimeout(total=seconds, connect=10)) as answer:
                if answer.status != 200:
                    raise VllmError(answer.status, f"vLLM {path}: HTTP {answer.status}: {(await answer.text())[:1000]}")
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VllmError(0, f"vLLM {path}: no answer: {type(error).__name__} {error}") from None


def chunk(event: Mapping[str, Any]) -> GenerateChunk:
    """An event of vLLM's in our words. Raises VllmError, and AbortedError when vLLM gives the completion up."""
    if "choices" not in event:
        error = event.get("error", {})
        raise VllmError(int(error.get("code") or 0), f"vLLM ended a request: {error.get('message', event)}")
    choice = event["choices"][0]
    if choice["finish_reason"] not in (None, "stop", "length"):
        raise AbortedError(f"vLLM ended a request with {choice['finish_reason']!r}; expected stop or length")
    logprobs = [found["logprob"] for found in choice["logprobs"]["content"]]
    return GenerateChunk(
        tokens=choice["token_ids"],
        logprobs=[float("nan") if value <= UNKNOWN_LOGPROB else value for value in logprobs],
        versions=[(int(span["version"]) if span["version"].isdecimal() else 0, span["end"] - span["start"])
                  for span in choice["weight_versions"] or ()],
        finish_reason=choice["finish_reason"])
