"""The yardstick: transformers' own forward pass."""

from pathlib import Path

import torch
from transformers import MistralForCausalLM


def forward(folder: Path, prompt: list[int], completion: list[int]) -> list[float]:
    """Log-probabilities of the completion by transformers."""
    model = MistralForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1:-1]
    chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(completion)[:, None])
    return [float(value) for value in chosen[:, 0]]
