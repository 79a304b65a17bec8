"""Real DeepSpeed: two processes learn what one learns, at every ZeRO stage, and go on exactly where they stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from magistral_workloads.training.model import LOGIT_ROWS
from magistral_workloads.training.rendezvous import COLLECTIVE_SECONDS
from tests.training import tiny
from tests.training.processes import ranks

pytestmark = pytest.mark.timeout(600)
STAGES = [0, 1, 2, 3]
METRICS = ("loss", "tokens", "droppedTokens", "clipFraction", "ratioMean", "entropy", "reward", "length", "staleness")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"))


Learnt = tuple[dict[str, Any], dict[str, dict[str, Tensor]]]
"""Metrics of rank 0, and weights at the end, by ZeRO stage."""


def learnt(base: Path, folder: Path, size: int, stages: list[int], **loading: object) -> Learnt:
    """Three steps at each stage; every rank has the same metrics."""
    out = folder / "weights"
    out.mkdir(parents=True)
    arguments = {"model": str(base), "weights": str(out), "stages": stages, "loading": loading}
    with ranks(folder, size, "worker.equality", arguments) as group:
        first, *others = group.results()
    assert all(other == first for other in others)
    return first, {str(stage): load_file(out / f"{stage}.safetensors") for stage in stages}


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    return learnt(base, tmp_path_factory.mktemp("alone"), 1, [0])


def assert_same(found: Learnt, alone: Learnt) -> None:
    for stage, metrics in found[0].items():
        for mine, other in zip(alone[0]["0"], metrics, strict=True):
            assert {name: other[name] for name in METRICS} == pytest.approx(
                {name: mine[name] for name in METRICS}, rel=1e-4, abs=1e-6)
        for name, tensor in alone[1]["0"].items():
            torch.testing.assert_close(found[1][stage][name], tensor, rtol=1e-4, atol=2e-5)


def test_two_processes_learn_what_one_learns_at_every_zero_stage(base: Path, tmp_path: Path, alone: Learnt) -> None:
    before = AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert not torch.equal(alone[1]["0"]["lm_head.weight"], before["lm_head.weight"])
    assert_same(learnt(base, tmp_path / "two", 2, STAGES), alone)


def test_the_same_is_learnt_when_activations_are_recomputed_and_logits_come_in_pieces(
        base: Path, tmp_path: Path, alone: Learnt) -> None:
    assert_same(learnt(base, tmp_path / "two", 2, STAGES, recompute=True, microbatch_tokens=3 * LOGIT_ROWS), alone)


def test_no_collective_of_any_group_waits_longer_for_a_lost_peer_than_the_group_s_limit(base: Path, tmp_path: Path) -> None:
    with ranks(tmp_path, 2, "worker.limits", {"model": str(base), "stages": STAGES}) as group:
        for seconds in [seconds for result in group.results() for seconds in result]:
            assert len(seconds) > 1, "DeepSpeed made no group of its own"
            assert set(seconds) == {COLLECTIVE_SECONDS}


@pytest.fixture(scope="module")
def interrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """What each rank learnt without and with an interruption, by precision and ZeRO stage; where the models are."""
    folder = tmp_path_factory.mktemp("interrupted")
    arguments = {"model": str(base), "saved": str(folder / "saved"), "stages": STAGES,
                 "dtypes": ["float32", "bfloat16"]}
    with ranks(folder, 2, "worker.resuming", arguments) as group:
        return group.results(), folder / "saved"


def test_training_goes_on_from_disk_as_if_it_had_never_stopped(interrupted: tuple[list[dict[str, Any]], Path]) -> None:
    results, _ = interrupted
    for rank in results:
        for name, (uninterrupted, resumed) in rank.items():
            assert resumed == uninterrupted, name
    assert results[0]["float32-0"][0][0]["loss"] == pytest.approx(results[0]["float32-3"][0][0]["loss"], rel=1e-4)


def merged(folder: Path) -> dict[str, Tensor]:
    """The optimiser state of all ranks, a flat tensor by parameter and part of the state; and the steps taken."""
    files = [torch.load(path, weights_only=True) for path in sorted(folder.glob("rank-*.pt"))]
    parts = {(f"{name} {key}", begin): tensor for file in files for name, begin, tensors in file["fragments"]
             for key, tensor in tensors.items()}
    whole: dict[str, list[Tensor]] = {}
    for (name, _), tensor in sorted(parts.items()):
        whole.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in whole.items()} | {
        "step": torch.tensor([file["step"] for file in files]).unique()}


@pytest.mark.parametrize(("before", "after", "then"), [(2, 1, {}), (1, 2, {}), (2, 4, {}), (2, 1, {"then": 3})])
def test_another_number_of_processes_goes_on_from_the_same_state_with_the_same_loss(
        base: Path, tmp_path: Path, before: int, after: int, then: dict[str, int]) -> None:
    cases = [[stage, "float32"] for stage in STAGES] + [[2, "bfloat16"], [3, "bfloat16"]]
    arguments = {"model": str(base), "saved": str(tmp_path / "saved"), "again": str(tmp_path / "again"), "cases": cases}
    with ranks(tmp_path / "before", before, "worker.leaving", arguments) as group:
        left = group.results()[0]
    with ranks(tmp_path / "after", after, "worker.taking_up", arguments | then) as group:
        taken_up = group.results()[0]
    for name, uninterrupted in left.items():
        saved, again = merged(tmp_path / "saved" / name), merged(tmp_path / "again" / name)
        assert saved.keys() == again.keys()
        assert all(torch.equal(again[key], tensor) for key, tensor in saved.items()), name
        assert saved["step"].tolist() == [2.0]
        assert all(tensor.any() for tensor in saved.values())
        for mine, other in zip(uninterrupted, taken_up[name], strict=True):
            assert other["loss"] == pytest.approx(mine["loss"], rel=1e-4 if name.startswith("float32") else 2e-2), name


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_saved_is_a_hugging_face_directory_with_the_tokenizer(
        base: Path, interrupted: tuple[list[dict[str, Any]], Path], stage: int) -> None:
    saved = interrupted[1] / f"float32-{stage}"
    found, expected = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (saved, base))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()}
    assert AutoTokenizer.from_pretrained(saved).chat_template == tiny.TEMPLATE
    assert {path.suffix for path in saved.iterdir()} <= {".json", ".jinja", ".safetensors"}
