"""The model: loaded from a Hugging Face directory, asked for log-probabilities, saved as a Hugging Face directory."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from magistral_workloads.training import attention

WEIGHTS: Final = ".safetensors"
LOGIT_ROWS: Final = 4096
"""At most so many tokens have logits at a time."""
UNCHECKED: Final = "none"
"""ZeRO-3 gives up what it gathers, so a recomputed weight may have another shape than torch remembers."""


@dataclass(frozen=True)
class Microbatch:
    """B sequences one after the other in one row of T tokens: no padding.

    `input_ids` int64 [1, T]. `position_ids` int64 [1, T]: from 0 in each sequence. `borders` int32 [B + 1]: where each
    begins, and T. `predicted` bool [1, T]: tokens whose log-probability is asked for, N in all; never a sequence's first.
    """

    input_ids: Tensor
    position_ids: Tensor
    borders: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, sequences: list[Tensor], prompt_lengths: list[int]) -> "Microbatch":
        """From int64 [T_i] sequences; what follows the first `prompt_lengths[i]` tokens (at least 1) is predicted."""
        lengths = [len(sequence) for sequence in sequences]
        places = [torch.arange(length) for length in lengths]
        predicted = [place >= prompt for place, prompt in zip(places, prompt_lengths, strict=True)]
        return cls(
            input_ids=torch.cat(sequences)[None],
            position_ids=torch.cat(places)[None],
            borders=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
            predicted=torch.cat(predicted)[None])

    @classmethod
    def idle(cls) -> "Microbatch":
        """For a rank that has fewer microbatches than its peers: collectives need its forward and backward pass too."""
        return cls.of([torch.zeros(2, dtype=torch.long)], [1])

    def to(self, device: str) -> "Microbatch":
        return Microbatch(self.input_ids.to(device), self.position_ids.to(device), self.borders.to(device),
                          self.predicted.to(device))


class Policy(nn.Module):
    """A causal language model that computes logits only where they are asked for.

    `pieces`: so many parts of a microbatch have their logits one after the other, computed again in the backward pass:
    40,960 tokens times a vocabulary of 131,072 would be 21 GB in float32. The same on all ranks and in every pass, as each
    piece gathers the output layer under ZeRO-3.
    """

    def __init__(self, model: Any, pieces: int = 1) -> None:
        super().__init__()
        self.model, self._pieces = model, pieces

    def forward(self, batch: Microbatch) -> tuple[Tensor, Tensor]:
        """Log-probability (with gradient) and entropy (without) of each predicted token, float32 [N].

        Order: sequence after sequence, as they lie in the batch. Of the raw logits: no temperature (algorithm.loss).
        """
        hidden = self.model.base_model(input_ids=batch.input_ids, position_ids=batch.position_ids,
                                       cu_seq_lens_q=batch.borders, use_cache=False).last_hidden_state
        # The state at t predicts the token at t + 1.
        rows = hidden[:, :-1][batch.predicted[:, 1:]]
        targets = batch.input_ids[:, 1:][batch.predicted[:, 1:]]
        if self._pieces == 1:
            return self._scored(rows, targets)
        parts = [checkpoint(self._scored, *part, use_reentrant=False, determinism_check=UNCHECKED)
                 for part in zip(rows.tensor_split(self._pieces), targets.tensor_split(self._pieces), strict=True)]
        logprobs, entropies = zip(*parts, strict=True)
        return torch.cat(logprobs), torch.cat(entropies)

    def _scored(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states [N, H] and the tokens [N] that follow: log-probabilities and entropies [N]."""
        logits = self.model.get_output_embeddings()(rows).float()
        normaliser = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
        with torch.no_grad():
            entropy = normaliser - (logits.softmax(-1) * logits).sum(-1)
        return logprobs, entropy


def load(folder: Path, device: str, *, microbatch_tokens: int = 0, recompute: bool | None = None) -> Policy:
    """Weights from safetensors only. float32 on the CPU; bfloat16 on a GPU (not tested in this repository's suites).

    `microbatch_tokens`: of the longest microbatch, which says in how many pieces logits come. `recompute`: activations of
    each layer again in the backward pass instead of kept; unset: on a GPU.
    """
    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype_of(device), local_files_only=True, use_safetensors=True, trust_remote_code=False,
        attn_implementation=attention.NAME)
    if device == "cuda" if recompute is None else recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False, "determinism_check": UNCHECKED})
    model.train()
    return Policy(model, max(1, -(-microbatch_tokens // LOGIT_ROWS)))


def dtype_of(device: str) -> torch.dtype:
    """Of weights and activations."""
    return torch.float32 if device == "cpu" else torch.bfloat16


def save(policy: Policy, weights: dict[str, Tensor], source: Path, folder: Path) -> Path:
    """A Hugging Face directory at `folder`, replaced: config, `weights`, and tokenizer files as `source` has them.

    `weights`: full tensors (engine.full_weights). On rank 0 only; no collective.
    """
    shutil.rmtree(folder, ignore_errors=True)
    policy.model.save_pretrained(folder, state_dict=weights)
    for path in _other_files(source):
        if not (folder / path.name).exists():
            shutil.copy2(path, folder / path.name)
    return folder


def forget_weights(folder: Path) -> None:
    """Free the scratch space of a model that is in memory; its tokenizer and config stay for `save`."""
    for path in folder.glob(f"*{WEIGHTS}"):
        path.unlink()


def _other_files(source: Path) -> Iterator[Path]:
    return (path for path in sorted(source.iterdir())
            if path.is_file() and path.suffix != WEIGHTS and not path.name.endswith(".index.json"))
