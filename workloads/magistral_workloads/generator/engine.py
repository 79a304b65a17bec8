"""vLLM's side of a weight update: one call reads a folder of safetensors and puts it into the running model.

The whole reload happens inside `receive_weights`. With one worker vLLM makes that call between two steps of its
scheduler, so requests go on with their KV cache and need no pause. Stepping between the built-in engines' start and
finish ends the engine, as layers are without storage meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload


@dataclass
class Nothing(WeightTransferInitInfo):  # type: ignore[misc]
    """There is no connection to open."""


@dataclass
class Folder(WeightTransferUpdateInfo):  # type: ignore[misc]
    """A verified Hugging Face directory on this machine's disk."""

    path: str


class FolderEngine(WeightTransferEngine[Nothing, Folder]):  # type: ignore[misc]
    """Weights from a local folder. Raises IncompleteError when the folder does not fill the model."""

    init_info_cls = Nothing
    update_info_cls = Folder
    supports_draft_weight_update = False

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """Nothing to open."""

    def start_weight_update(self) -> None:
        """Nothing before `receive_weights`."""

    def receive_weights(self, update_info: Folder) -> None:
        # Plain load_weights fails after start: by then kernels have repacked the parameters. The layerwise reload gives
        # each layer its loading form back and repacks it into the storage that kernels and graphs hold.
        wanted = {name for name, _ in self.model.named_parameters()}
        with torch.device(self.device):
            initialize_layerwise_reload(self.model)
            loaded = self.model.load_weights(tensors(Path(update_info.path)))
            finalize_layerwise_reload(self.model, self.model_config)
        if loaded is not None and (missing := wanted - set(loaded)):
            raise IncompleteError(f"{update_info.path}: no weights for {len(missing)} of the model's {len(wanted)} "
                                  f"parameters, for example {min(missing)}")

    def finish_weight_update(self) -> None:
        """Nothing after `receive_weights`."""

    def shutdown(self) -> None:
        """Nothing to close."""


class IncompleteError(RuntimeError):
    """Parameters of the model were left without new weights: it must serve no more requests."""


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every safetensors file, one at a time."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                yield name, opened.get_tensor(name)
