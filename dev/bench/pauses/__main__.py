"""`make bench-pauses`: what a weight update costs the requests that run: ours beside vLLM's own pause modes.

One engine, one model, the same requests, one mode after the other. Each update goes the whole way: published in an
object store, fetched, verified, loaded, proved by log-probabilities.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from minio import Minio

from dev.bench.pauses.random_model import PARAMETERS, VOCABULARY, probe, write_model
from dev.bench.pauses.streams import LONGEST, SHORTEST, Streams
from dev.cluster import minio as servers
from dev.cluster.errors import ClusterError
from dev.cluster.progress import say, step
from magistral_api.config import ModelAt
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.contracts import WeightsRequest
from magistral_workloads.generator.agent import Agent
from magistral_workloads.generator.vllm import Vllm, VllmError
from magistral_workloads.generator.weights import WeightFolders
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.transport.weights.probe import write
from magistral_workloads.transport.weights.store import publish

OURS = "ours"
MODES = {
    OURS: "", "keep, KV kept": "mode=keep&clear_cache=false", "keep, KV cleared": "mode=keep&clear_cache=true",
    "abort": "mode=abort", "wait": "mode=wait"}
LANES = 8
WARM_S, QUIET_S, SETTLE_S = 6.0, 2.0, 1.5
START_LIMIT_S = 300.0
ARGUMENTS = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "32")
# One thread for the engine: the other core is for its server, for fetching, and for this client.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
               "VLLM_LOGGING_LEVEL": "WARNING"}
ROWS = {
    "pause_s": "pause: no request got a token, s, median", "pause_worst_s": "  worst",
    "request_s": "longest that one request got none, s, median", "request_worst_s": "  worst",
    "wasted": "tokens thrown away or computed again, median", "wasted_worst": "  worst",
    "lost_s": "seconds of generation lost, median", "lost_worst_s": "  worst",
    "live_s": "given → live and proved, s, median", "live_worst_s": "  worst",
    "fetch_s": "  of it fetched and verified, s, median",
    "fetch_gap_s": "while fetching: no request got a token, s, median", "fetch_gap_worst_s": "  worst",
    "aborted": "requests aborted, all updates", "steady_gap_s": "without an update: longest gap in 2 s, s, median",
    "tokens_per_s": "without an update: tokens a second"}


class Pausing(Vllm):
    """vLLM that is told to pause around an update, in the way that `pause` says; empty: not at all."""

    pause = ""

    async def update(self, folder: Path, version: int) -> float:
        if not self.pause:
            return await super().update(folder, version)
        await self._call("POST", f"/pause?{self.pause}")
        try:
            return await super().update(folder, version)
        finally:
            await self._call("POST", "/resume")

    async def preemptions(self) -> int:
        """Requests so far whose KV cache was taken away, to be computed again."""
        async with self._answer("GET", "/metrics", None, 30) as answer:
            lines = (await answer.text()).splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("vllm:num_preemptions_total"))


@dataclass
class Measured:
    """One value an update: seconds, tokens."""

    gaps: list[float] = field(default_factory=list)
    request_gaps: list[float] = field(default_factory=list)
    wasted: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    fetch: list[float] = field(default_factory=list)
    fetch_gaps: list[float] = field(default_factory=list)
    quiet_gaps: list[float] = field(default_factory=list)
    quiet_rates: list[float] = field(default_factory=list)
    aborted: int = 0

    def figures(self) -> dict[str, float]:
        """The pause is the longest gap after the fetch less the usual longest gap without an update."""
        usual = median(self.quiet_gaps)
        pauses = [max(0.0, gap - usual) for gap in self.gaps]
        return {"updates": len(pauses), "pause_s": median(pauses), "pause_worst_s": max(pauses),
                "request_s": median(self.request_gaps), "request_worst_s": max(self.request_gaps),
                "wasted": median(self.wasted), "wasted_worst": max(self.wasted),
                "lost_s": median(self.lost), "lost_worst_s": max(self.lost),
                "live_s": median(self.live), "live_worst_s": max(self.live), "fetch_s": median(self.fetch),
                "fetch_gap_s": median(self.fetch_gaps), "fetch_gap_worst_s": max(self.fetch_gaps),
                "aborted": self.aborted, "steady_gap_s": usual, "tokens_per_s": median(self.quiet_rates)}


@dataclass
class Bench:
    """The engine, and versions that are in the store."""

    agent: Agent
    vllm: Pausing
    versions: list[WeightsRequest]

    async def measure(self, mode: str, updates: int) -> Measured:
        """`updates` weight updates while requests run."""
        measured, streams = Measured(), Streams(self.vllm, VOCABULARY)
        self.vllm.pause = ""
        await self.agent.give(self.versions[0])
        self.vllm.pause = MODES[mode]
        async with streams.running(LANES):
            await asyncio.sleep(WARM_S)
            for number in range(1, updates + 1):
                await self._update(streams, self.versions[number % 2], measured)
        measured.aborted = streams.aborted
        return measured

    async def _update(self, streams: Streams, version: WeightsRequest, measured: Measured) -> None:
        quiet = time.monotonic()
        await asyncio.sleep(QUIET_S)
        begun, thrown, preempted = time.monotonic(), streams.thrown, await self.vllm.preemptions()
        running = list(streams.in_flight.values())
        done = await self.agent.give(version)
        live = time.monotonic()
        await asyncio.sleep(SETTLE_S)
        settled = time.monotonic()
        # What was in flight as the update began is less than what a pause a moment later takes away.
        again = sum(running) * (await self.vllm.preemptions() - preempted) / len(running)
        rate = streams.tokens(quiet, begun) / (begun - quiet)
        # Requests go on while the version is fetched, in every mode; how evenly is a matter of free cores.
        fetched = begun + done.fetch_seconds
        measured.fetch_gaps.append(streams.longest_gap(begun, fetched))
        measured.gaps.append(streams.longest_gap(fetched, settled))
        measured.request_gaps.append(max(streams.longest_gap(fetched, settled, lane) for lane in range(LANES)))
        measured.wasted.append(streams.thrown - thrown + again)
        measured.lost.append(settled - begun - streams.tokens(begun, settled) / rate)
        measured.live.append(live - begun)
        measured.fetch.append(done.fetch_seconds)
        measured.quiet_gaps.append(streams.longest_gap(quiet, begun))
        measured.quiet_rates.append(rate)


@contextlib.asynccontextmanager
async def bench(scratch: Path, server: servers.Store) -> AsyncIterator[Bench]:
    """A generator's agent with a running vLLM, and two versions to give it."""
    storage = Storage(endpoint=server.url, bucket="pauses", credentials_secret_ref=SecretRef(name="store"))
    Minio(server.address, server.access_key, server.secret_key, secure=False).make_bucket(storage.bucket)
    store = ObjectStore(storage, server.access_key, server.secret_key)
    folders, versions = WeightFolders(store, scratch / "weights"), []
    with step(f"publishing two versions of a random model of {PARAMETERS / 1e6:.0f} million parameters"):
        for version in (1, 2):
            folder = write_model(scratch / f"model-{version}", version)
            write(folder, probe(folder))
            uri, digest = publish(store, "bench", version, folder, nonce="0")
            versions.append(WeightsRequest(version=version, uri=uri, digest=digest))
        base = folders.fetch_base(ModelAt(uri=versions[0].uri, digest=versions[0].digest))
    async with Pausing(base, arguments=ARGUMENTS, device="cpu") as vllm:
        agent = Agent("bench", folders)
        with step("starting vLLM"):
            async with asyncio.timeout(START_LIMIT_S):
                await vllm.start_up()
        agent.serve(vllm)
        yield Bench(agent, vllm, versions)


async def measured(updates: int, modes: list[str]) -> dict[str, dict[str, float]]:
    """Figures by mode."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="pauses-") as scratch, servers.minio() as server:
        async with bench(Path(scratch), server) as here:
            found = {}
            for mode in modes:
                with step(f"{mode}: {updates} updates while {LANES} requests run"):
                    found[mode] = (await here.measure(mode, updates)).figures()
                say(f"  pause {found[mode]['pause_s']:.3f} s, {found[mode]['wasted']:.0f} tokens wasted, "
                    f"{found[mode]['lost_s']:.2f} s of generation lost (medians)")
            return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.pauses", description=__doc__)
    parser.add_argument("--updates", type=int, default=10, help="a mode")
    parser.add_argument("--only", default="", help=f"of: {'; '.join(MODES)} (separated by semicolons)")
    choice = parser.parse_args()
    modes = [mode.strip() for mode in choice.only.split(";") if mode.strip()] or list(MODES)
    logging.basicConfig(level=logging.WARNING)
    os.environ.update(ENVIRONMENT)
    say(f"{LANES} requests at a time of {SHORTEST} to {LONGEST} tokens, an update {QUIET_S + SETTLE_S:g} s after the last.")
    try:
        found = asyncio.run(measured(choice.updates, modes))
    except (ClusterError, StorageError, VllmError, TimeoutError, asyncio.CancelledError) as error:
        print(f"bench-pauses: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    _print(found)
    return 0


def _print(found: dict[str, dict[str, float]]) -> None:
    load = os.getloadavg()[0]
    say(f"\n{'':50}" + "".join(f"{mode:>18}" for mode in found))
    for key, title in ROWS.items():
        say(f"{title:50}" + "".join(f"{figures[key]:>18.4g}" for figures in found.values()))
    if OURS in found:
        for key, title in (("pause_s", "pause"),
                           ("request_s", "one request"), ("lost_s", "generation lost"), ("live_s", "given → live")):
            ours = found[OURS][key]
            ratios = [figures[key] / ours if ours > 0 else float("inf") for figures in found.values()]
            say(f"{f'{title}, times ours':50}" + "".join(f"{ratio:>18.3g}" for ratio in ratios))
    say(f"\n{os.cpu_count()} cores, load {load:.1f} at the end; vLLM on the CPU, its server and this client share them")
    document: dict[str, Any] = {"bench": "pauses", "parameters": PARAMETERS, "lanes": LANES, "load": load, "modes": found}
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())
