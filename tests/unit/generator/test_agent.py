"""The proof after an update, with a vLLM that says what a test wants."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from magistral_workloads.contracts import WeightsRequest
from magistral_workloads.generator.agent import Agent, BrokenError
from magistral_workloads.generator.vllm import Vllm
from magistral_workloads.generator.weights import WeightFolders
from magistral_workloads.transport.weights.probe import Probe, write


@dataclass
class VllmStandIn:
    found: list[float]

    async def update(self, folder: Path, version: int) -> float:
        return 0.01

    async def version(self) -> str:
        return "7"

    async def logprobs(self, tokens: list[int], salt: str) -> list[float]:
        return self.found


@dataclass
class FoldersStandIn:
    folder: Path

    def fetch(self, request: WeightsRequest) -> Path:
        return self.folder

    def keep_only(self, folder: Path) -> None:
        pass


def agent(folder: Path, found: list[float]) -> Agent:
    write(folder, Probe(tokens=[1, 2, 3], logprobs=[-1.0, -2.0], tolerance=1e-3))
    made = Agent("generator-0", cast(WeightFolders, FoldersStandIn(folder)))
    made.serve(cast(Vllm, VllmStandIn(found)))
    return made


async def test_a_version_is_live_once_its_log_probabilities_are_the_trainers(tmp_path: Path) -> None:
    made = agent(tmp_path, [-1.0, -2.0002])
    done = await made.give(WeightsRequest(version=7, uri="s3://b/w"))
    assert done.probe_error == pytest.approx(1e-4)
    assert made.status().version == 7


async def test_weights_with_other_log_probabilities_are_never_served(tmp_path: Path) -> None:
    made = agent(tmp_path, [-1.0, -2.5])
    with pytest.raises(BrokenError, match=r"differ from the trainer's by 0\.25 nats; expected at most 0\.001"):
        await made.give(WeightsRequest(version=7, uri="s3://b/w"))
    assert made.status().version is None
    assert made.broken.done()
    made.broken.exception()
