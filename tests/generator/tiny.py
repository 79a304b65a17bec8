"""Random Mistral models of 100,000 parameters: real architecture, real files, no training."""

from pathlib import Path

import torch
from transformers import MistralConfig, MistralForCausalLM

from dev.byte_tokenizer import END, tokenizer


def model(folder: Path, seed: int, hidden_size: int = 64) -> Path:
    """A Hugging Face directory whose weights follow from `seed`. Returns the folder."""
    torch.manual_seed(seed)
    words = tokenizer()
    # The CPU attention kernels want heads of 32, 64 or more.
    config = MistralConfig(
        vocab_size=len(words), hidden_size=hidden_size, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=2048, sliding_window=None,
        bos_token_id=None, eos_token_id=END, initializer_range=0.2, tie_word_embeddings=False)
    MistralForCausalLM(config).to(torch.float32).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
