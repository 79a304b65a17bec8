"""Serves the policy: `python -m magistral_workloads.roles.generator [vLLM arguments …]`.

Starts with the base model and holds no version until it is given one. Ends with 1 when vLLM ends or an update leaves it
in doubt: the kubelet starts the pod's container anew, and whoever drives the run gives it the current weights again.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from magistral_api.config import SCRATCH_PATH, TOKEN_PATH, StageConfig
from magistral_api.names import GENERATOR_PORT
from magistral_workloads.generator.agent import Agent
from magistral_workloads.generator.vllm import Vllm, VllmError
from magistral_workloads.generator.weights import WeightFolders
from magistral_workloads.storage import ObjectStore, StorageError

log = logging.getLogger("generator")


async def run(config: StageConfig, store: ObjectStore, token: str, arguments: Sequence[str], *,
              scratch: Path = SCRATCH_PATH, port: int = GENERATOR_PORT, stop: asyncio.Event | None = None) -> int:
    """Serve until SIGTERM or `stop` (0), or until vLLM cannot be trusted any more (1)."""
    stop = stop or _on_signals()
    folders = WeightFolders(store, scratch / "weights")
    agent = Agent(os.environ.get("POD_NAME", "generator"), folders)
    async with AsyncExitStack() as stack:
        # A caller that hangs up ends its request in vLLM too.
        runner = web.AppRunner(agent.application(token), handler_cancellation=True, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, port=port).start()
        base = await asyncio.to_thread(folders.fetch_base, config.initial_model)
        vllm = await stack.enter_async_context(Vllm(base, arguments=arguments, device=config.device))
        stopped = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(vllm.ended())
        started = asyncio.ensure_future(vllm.start_up())
        ends: set[asyncio.Future[Any]] = {stopped, ended, agent.broken}
        await asyncio.wait({started, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if started.done() and not started.exception():
            agent.serve(vllm)
            log.info("ready: vLLM serves the base model; waiting to be given weights")
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if stopped.done():
            return 0
        log.error("%s; this container is started again", _reason(agent, started, ended))
        return 1


def _reason(agent: Agent, started: asyncio.Future[None], ended: asyncio.Future[int]) -> str:
    if agent.broken.done():
        return str(agent.broken.result())
    if ended.done():
        return f"vLLM ended with {ended.result()}; its log is above"
    return str(started.exception())


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = StageConfig.load()
        return asyncio.run(run(config, ObjectStore.of(config), TOKEN_PATH.read_text().strip(), sys.argv[1:]))
    except (StorageError, VllmError) as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
