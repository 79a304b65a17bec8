"""A random Mistral model that is large enough for a weight update to be seen: real architecture, real files, no training."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import MistralConfig, MistralForCausalLM

from magistral_workloads.training.model import Microbatch, load
from magistral_workloads.transport.weights.probe import TOLERANCE, Probe, fixed_tokens

VOCABULARY = 8192
CONFIG = MistralConfig(
    vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1536, num_hidden_layers=5, num_attention_heads=8,
    num_key_value_heads=4, head_dim=64, max_position_embeddings=4096, sliding_window=None, bos_token_id=None,
    # No token ends a completion: its length is the one that was asked for.
    eos_token_id=None, tie_word_embeddings=False)


def write_model(folder: Path, seed: int) -> Path:
    """A Hugging Face directory in float32 whose weights follow from `seed`. Returns the folder."""
    torch.manual_seed(seed)
    MistralForCausalLM(CONFIG).to(torch.float32).save_pretrained(folder)
    return folder


def probe(folder: Path) -> Probe:
    """The trainer's log-probabilities of the fixed text."""
    tokens = fixed_tokens(VOCABULARY)
    with torch.no_grad():
        found, _ = load(folder, "cpu")(Microbatch.of([torch.tensor(tokens)], [1]))
    return Probe(tokens=tokens, logprobs=found.tolist(), tolerance=TOLERANCE["float32"])


with torch.device("meta"):
    PARAMETERS = sum(parameter.numel() for parameter in MistralForCausalLM(CONFIG).parameters())
