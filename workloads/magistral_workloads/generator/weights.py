"""Weight folders on a generator's disk: fetched and verified before vLLM hears of them, removed when superseded."""

import json
import secrets
import shutil
from pathlib import Path

from safetensors import safe_open

from magistral_api.config import ModelAt
from magistral_workloads.checkpoints import fetch_model
from magistral_workloads.contracts import WeightsRequest
from magistral_workloads.storage import ObjectStore

OUTPUT_LAYER = "lm_head.weight"


class UnfitError(Exception):
    """Weights of another architecture or size than the model that vLLM was started with."""


class WeightFolders:
    """Folders of one generator below `root`. Blocking: call it from a thread."""

    def __init__(self, store: ObjectStore, root: Path) -> None:
        self._store, self._root = store, root
        self._base: Path | None = None

    def fetch_base(self, model: ModelAt) -> Path:
        """The model that vLLM starts with. What an earlier process left behind is removed. Raises StorageError."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._base = fetch_model(self._store, model, self._root / "base")
        return self._base

    def fetch(self, request: WeightsRequest) -> Path:
        """A folder that holds the whole version, every byte verified. Raises StorageError, UnfitError."""
        assert self._base is not None
        # A name of its own: the same version may come again with other bytes, after a trainer's restart.
        top = self._root / f"{request.version:06d}-{secrets.token_hex(4)}"
        try:
            folder = fetch_model(self._store, ModelAt(uri=request.uri, digest=request.digest), top)
            check_fits(folder, self._base)
        except BaseException:
            shutil.rmtree(top, ignore_errors=True)
            raise
        return folder

    def keep_only(self, folder: Path) -> None:
        """Remove every other version; the base stays, as the yardstick for the next."""
        for top in self._root.iterdir():
            if top.name != "base" and not folder.is_relative_to(top):
                shutil.rmtree(top, ignore_errors=True)


def check_fits(folder: Path, base: Path) -> None:
    """Names and shapes must be the base's: a reload that stops half-way leaves no model at all. Raises UnfitError."""
    found, expected = shapes(folder), shapes(base)
    tied = json.loads((base / "config.json").read_text()).get("tie_word_embeddings", False)
    for name in sorted(expected.keys() | found.keys()):
        if tied and name == OUTPUT_LAYER:
            continue
        if found.get(name) != expected.get(name):
            raise UnfitError(f"weights {folder.name}: tensor {name}: found {found.get(name, 'none')}; expected "
                             f"{expected.get(name, 'none')}, as in the base model. Publish weights of that model")


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name to shape, from the headers of the safetensors files."""
    result: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as opened:
            result |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    return result
