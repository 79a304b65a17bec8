"""A generator that cannot start, or whose vLLM ends, ends too: a pod that looks well and serves nothing helps nobody."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from dev.cluster.control_plane import free_ports
from magistral_workloads.generator.vllm import Vllm, VllmError
from magistral_workloads.roles import generator
from magistral_workloads.storage import ObjectStore, StorageError
from tests.generator import tiny
from tests.generator.conftest import ARGUMENTS
from tests.unit.conductor.standins import TOKEN
from tests.unit.config import stage_config


async def test_a_generator_whose_vllm_refuses_its_arguments_ends_with_the_reason(
        s3: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for file in tiny.model(tmp_path / "model", 0).iterdir():
        s3.put_file(f"models/base/{file.name}", file)
    (port,) = free_ports(1)
    config = stage_config("rl", s3._storage, device="cpu")
    assert await generator.run(config, s3, TOKEN, ["--no-such-flag"], scratch=tmp_path, port=port,
                               stop=asyncio.Event()) == 1
    assert "vLLM ended with 2" in caplog.text


async def test_a_base_model_that_is_not_there_is_named(s3: ObjectStore, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(StorageError, match="models/base: found no model files"):
        await generator.run(stage_config("rl", s3._storage, device="cpu"), s3, TOKEN, ARGUMENTS, scratch=tmp_path,
                            port=port, stop=asyncio.Event())


async def test_a_vllm_that_is_killed_while_it_starts_is_noticed(tmp_path: Path) -> None:
    async with Vllm(tiny.model(tmp_path, 0), arguments=ARGUMENTS, device="cpu") as vllm:
        starting = asyncio.create_task(vllm.start_up())
        os.killpg(vllm._process.pid, signal.SIGKILL)
        with pytest.raises(VllmError, match="ended with -9 before it was ready"):
            await starting
        assert await vllm.ended() == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.killpg(vllm._process.pid, 0)
        raise AssertionError("a child of vLLM is left")
