"""What Services do in a cluster: names to the addresses of ready pods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import aiohttp

from magistral_workloads.conductor.fleet import Resolver

PROBE_SECONDS = 2.0


def publish(file: Path, urls: Iterable[str]) -> None:
    """The pods that a headless Service selects, ready or not."""
    file.with_suffix(".new").write_text("\n".join(urls))
    file.with_suffix(".new").replace(file)


def headless(file: Path) -> Resolver:
    """Of the pods in `file`, those whose readiness probe passes."""
    async def ready(session: aiohttp.ClientSession, url: str) -> bool:
        try:
            async with session.get(f"{url}/healthz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def resolve() -> set[str]:
        urls = await asyncio.to_thread(_listed, file)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PROBE_SECONDS)) as session:
            found = await asyncio.gather(*(ready(session, url) for url in urls))
        return {url for url, passes in zip(urls, found, strict=True) if passes}

    return resolve


def _listed(file: Path) -> list[str]:
    return file.read_text().split()
