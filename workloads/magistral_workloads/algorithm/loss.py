"""The objective of the paper (section 2.1): GRPO without a KL term, normalised over the tokens of each group.

    loss = mean over groups g of  1 / Σ_i |o_i|  ·  Σ_i Σ_t  -min(r·Â_i, clip(r, 1 - ε_low, 1 + ε_high)·Â_i)
    r    = π_θ(o_t) / π_old(o_t)

π_old is what the generator reported when it sampled the token. Both are probabilities of the raw logits: vLLM reports
those (`--logprobs-mode raw_logprobs`), so the trainer does not divide its logits by the temperature either. At the
paper's temperature of 1.0 they are the sampled distribution.

Everything is a sum over tokens with weights that the whole minibatch fixes, so microbatches and ranks add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

LOG_RATIO_MAX = 20.0
"""exp of more overflows single precision within a few tokens' sum; such a token is clipped or hopeless anyway."""


@dataclass(frozen=True)
class LossInputs:
    """Completion tokens of any part of a minibatch, one after the other: N tokens.

    `logprobs` [N] float: log π_θ, with gradient. `generator_logprobs` [N] float: log π_old; a value that is not finite
    drops the token from the loss, and `group_tokens` must not count it either. `advantages` [N] float: that of the
    token's sequence. `group_tokens` [N]: Σ|o_i| of the token's group over the whole minibatch. `groups`: number of
    groups in the whole minibatch. `entropy` [N] float, optional: of π_θ at each token, for the metrics.
    """

    logprobs: Tensor
    generator_logprobs: Tensor
    advantages: Tensor
    group_tokens: Tensor
    groups: int
    entropy: Tensor | None = None


@dataclass(frozen=True)
class LossOutputs:
    """`loss` []: this part's share of the minibatch's loss. `sums`: add them up over parts, then `means`."""

    loss: Tensor
    sums: dict[str, float] = field(default_factory=dict)


def grpo(inputs: LossInputs, *, epsilon_low: float, epsilon_high: float) -> LossOutputs:
    """Loss and metric sums of a part of a minibatch. Zero, with a gradient of zero, for a part without tokens."""
    kept = torch.isfinite(inputs.generator_logprobs)
    # The replacement comes before the exponential: what is multiplied by zero afterwards would still be NaN backwards.
    old = torch.where(kept, inputs.generator_logprobs, inputs.logprobs.detach())
    ratio = torch.exp(torch.clamp(inputs.logprobs - old, max=LOG_RATIO_MAX))
    clipped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
    token_loss = -torch.minimum(ratio * inputs.advantages, clipped * inputs.advantages)
    # A group of which no token is left has no tokens to divide by; it has no kept token either.
    weight = kept / (inputs.groups * inputs.group_tokens.clamp(min=1))
    loss = (token_loss * weight).sum()
    with torch.no_grad():
        bounded = kept & (ratio * inputs.advantages > clipped * inputs.advantages)
        sums = {
            "tokens": float(kept.sum()),
            "dropped": float((~kept).sum()),
            "clipped": float(bounded.sum()),
            "ratio": float(ratio[kept].sum()),
            "loss": float(loss.detach()),
        }
        if inputs.entropy is not None:
            sums["entropy"] = float(inputs.entropy[kept].sum())
    return LossOutputs(loss, sums)


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Metrics of a minibatch from the sums over all its parts."""
    tokens = max(sums.get("tokens", 0.0), 1.0)
    named = {"clipped": "clipFraction", "ratio": "ratioMean", "entropy": "entropy"}
    return {"loss": sums.get("loss", 0.0), "tokens": sums.get("tokens", 0.0), "droppedTokens": sums.get("dropped", 0.0)
            } | {name: sums[key] / tokens for key, name in named.items() if key in sums}
