"""A stand-in for trainers: takes every rank's share, trains nothing, says what trainers say."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from magistral_api.config import StageConfig
from magistral_workloads.checkpoints import CheckpointWriter, new_nonce
from magistral_workloads.contracts import PolicyPublished, Resume
from magistral_workloads.storage import ObjectStore
from magistral_workloads.transport.rollouts import Share, decode
from tests.unit.conductor.standins import HEADERS


@dataclass
class Trainers:
    """All ranks in one. `publish`: makes a version. `shares`: what was trained on, by (step, rank)."""

    config: StageConfig
    store: ObjectStore
    url: str
    scratch: Path
    publish: Callable[[int], tuple[str, str]] = lambda step: (f"s3://b/weights/{step}", f"sha256:{step:064x}")
    shares: dict[tuple[int, int], Share] = field(default_factory=dict)

    async def train(self, until: int) -> None:
        """From the newest checkpoint to step `until`."""
        rl = self.config.spec.rl
        assert rl is not None
        async with aiohttp.ClientSession(self.url, headers=HEADERS) as session:
            async with session.get("/v1/resume") as answer:
                start = Resume.model_validate_json(await answer.read()).step
            for step in range(start + 1, until + 1):
                for rank in range(rl.trainers):
                    self.shares[step, rank] = decode(await self.batch(session, step, rank))
                uri, digest = await asyncio.to_thread(self.publish, step)
                policy = PolicyPublished(version=step, uri=uri, digest=digest, metrics={"loss": float(step)})
                await self._post(session, "/v1/policy", policy.model_dump_json(by_alias=True))
                if step % rl.checkpoint_every == 0:
                    await self._commit(session, step)
            if until == rl.steps:
                await self._post(session, "/v1/done", "")

    async def batch(self, session: aiohttp.ClientSession, step: int, rank: int) -> bytes:
        """As the real client: asks until it is there."""
        while True:
            async with session.get(f"/v1/batches/{step}", params={"rank": str(rank)}) as answer:
                if answer.status == 200:
                    return await answer.read()
                assert answer.status == 204, await answer.text()

    async def _commit(self, session: aiohttp.ClientSession, step: int) -> None:
        def work() -> str:
            weights = self.scratch / "weights.json"
            weights.write_text(f"{step}")
            writer = CheckpointWriter(self.store, self.config.run_uid, "rl", step, attempt=1, nonce=new_nonce())
            writer.upload_shards({"model/weights.json": weights})
            return writer.commit(policy_version=step).record().model_dump_json(by_alias=True)

        await self._post(session, "/v1/checkpoint", await asyncio.to_thread(work))

    async def _post(self, session: aiohttp.ClientSession, path: str, body: str) -> None:
        async with session.post(path, data=body) as answer:
            assert answer.status == 200, await answer.text()
