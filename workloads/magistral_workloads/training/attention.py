"""Attention over sequences that lie one after the other in one row: each sees itself only.

Registered with transformers under NAME. Costs what the sequences cost one by one, Σ T_i², where a block-diagonal mask
would cost (Σ T_i)²; the kernel of each is the one that torch picks for the device.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME: Final = "magistral_packed"


def packed_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *,
                     cu_seq_lens_q: Tensor, scaling: float | None = None, dropout: float = 0.0,
                     sliding_window: int | None = None, **_: Any) -> tuple[Tensor, None]:
    """Causal attention within each sequence.

    `query` [1, H, T, D], `key` and `value` [1, H_kv, T, D]. `cu_seq_lens_q` int [B + 1]: where sequences begin, and T;
    FlashAttention's name for it. Returns [1, T, H, D]. Raises ValueError for a model with a sliding window shorter than a
    sequence.
    """
    lengths = cu_seq_lens_q.diff().tolist()
    if sliding_window is not None and max(lengths) > sliding_window:
        raise ValueError(f"the model's sliding window is {sliding_window} tokens; found a sequence of {max(lengths)}. "
                         "Training of longer ones is not supported: lower the longest completion")
    parts = [scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True)
             for q, k, v in zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The sequences' borders say all."""


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)
