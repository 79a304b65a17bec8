"""How vLLM is started, and what its answers become."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from magistral_workloads.generator.vllm import LOOPBACK, AbortedError, VllmError, chunk, command, environment


def value_of(arguments: list[str], name: str) -> str:
    """As an argument parser sees it: the last one counts."""
    return arguments[len(arguments) - arguments[::-1].index(name)]


def event(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": "stop", "token_ids": [4, 5, 0],
            "logprobs": {"content": [{"logprob": -0.1}, {"logprob": -9999.0}, {"logprob": -2.0}]},
            "weight_versions": [{"version": "3", "start": 0, "end": 2}, {"version": "4", "start": 2, "end": 3}]} | fields]}


def test_a_runtimes_arguments_reach_vllm_but_cannot_open_its_routes_to_the_network() -> None:
    line = command(Path("/m"), 1234, ["--max-model-len", "512", "--host", "::", "--port", "80",
                                      "--weight-transfer-config", '{"backend": "nccl"}'])
    assert value_of(line, "--max-model-len") == "512"
    assert (value_of(line, "--host"), value_of(line, "--port")) == (LOOPBACK, "1234")
    assert json.loads(value_of(line, "--weight-transfer-config")) == {"backend": "magistral"}


def test_vllm_gets_no_storage_credential() -> None:
    found = environment([], "cuda", {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ACCESS_KEY_ID": "k", "HOME": "/scratch"})
    assert {name: value for name, value in found.items() if not name.startswith(("VLLM", "HF"))} == {"HOME": "/scratch"}


def test_on_a_cpu_no_prompt_is_split() -> None:
    assert "--no-enable-chunked-prefill" in command(Path("/m"), 1, [], "cpu")
    assert "--no-enable-chunked-prefill" not in command(Path("/m"), 1, [], "cuda")


def test_on_a_cpu_without_graphs_nothing_is_compiled() -> None:
    assert environment(["--enforce-eager"], "cpu", {})["TORCH_COMPILE_DISABLE"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in environment([], "cuda", {})


def test_spans_say_how_many_tokens_each_version_made() -> None:
    found = chunk(event())
    assert found.versions == [(3, 2), (4, 1)]
    assert found.tokens == [4, 5, 0]


def test_a_log_probability_that_vllm_does_not_know_is_no_number() -> None:
    first, second, third = chunk(event()).logprobs
    assert (first, third) == (-0.1, -2.0)
    assert math.isnan(second)


def test_a_piece_on_the_way_has_no_end_and_no_versions() -> None:
    found = chunk(event(finish_reason=None, weight_versions=None))
    assert (found.finish_reason, found.versions, found.tokens) == (None, [], [4, 5, 0])


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_completion_that_was_ended_from_outside_is_none(reason: str) -> None:
    with pytest.raises(AbortedError, match="expected stop or length"):
        chunk(event(finish_reason=reason))


def test_an_error_in_the_stream_is_told_in_vllms_words() -> None:
    with pytest.raises(VllmError, match="out of memory") as found:
        chunk({"error": {"message": "out of memory", "code": 500}})
    assert found.value.status == 500
