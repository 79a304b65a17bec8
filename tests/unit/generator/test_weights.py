"""Weights must fit the model that vLLM was started with, before vLLM hears of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from magistral_workloads.generator.weights import UnfitError, check_fits

BASE = {"model.norm.weight": (8,), "model.embed_tokens.weight": (16, 8), "lm_head.weight": (16, 8)}


def folder(path: Path, shapes: dict[str, tuple[int, ...]], *, tied: bool = False) -> Path:
    """A model directory in two files."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    for number, names in enumerate((list(shapes)[::2], list(shapes)[1::2])):
        save_file({name: np.zeros(shapes[name], dtype=np.float32) for name in names}, path / f"model-{number}.safetensors")
    return path


def test_the_same_names_and_shapes_fit_however_they_are_split_over_files(tmp_path: Path) -> None:
    check_fits(folder(tmp_path / "new", dict(reversed(BASE.items()))), folder(tmp_path / "base", BASE))


@pytest.mark.parametrize(("change", "found"), [
    ({"model.norm.weight": (9,)}, r"model\.norm\.weight: found \(9,\); expected \(8,\)"),
    ({"model.extra.weight": (9,)}, r"model\.extra\.weight: found \(9,\); expected none"),
])
def test_another_shape_or_tensor_is_named(tmp_path: Path, change: dict[str, tuple[int, ...]], found: str) -> None:
    with pytest.raises(UnfitError, match=found):
        check_fits(folder(tmp_path / "new", BASE | change), folder(tmp_path / "base", BASE))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"lm_head\.weight: found none; expected \(16, 8\)"):
        check_fits(folder(tmp_path / "new", dict(list(BASE.items())[:2])), folder(tmp_path / "base", BASE))


def test_a_tied_output_layer_may_be_left_out(tmp_path: Path) -> None:
    check_fits(folder(tmp_path / "new", dict(list(BASE.items())[:2])), folder(tmp_path / "base", BASE, tied=True))
