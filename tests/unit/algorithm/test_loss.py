"""The GRPO objective: by hand, and against a naive reading of the formula."""

import math

import pytest
import torch
from torch import Tensor

from magistral_workloads.algorithm.loss import LossInputs, LossOutputs, grpo, means

LOW, HIGH = 0.2, 0.3


def part(logprobs: Tensor, old: list[float], advantages: list[float], group_tokens: list[int],
         groups: int) -> LossOutputs:
    return grpo(LossInputs(logprobs, torch.tensor(old), torch.tensor(advantages), torch.tensor(group_tokens), groups),
                epsilon_low=LOW, epsilon_high=HIGH)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([math.log(p) for p in probabilities], requires_grad=True)


def test_loss_of_two_groups_worked_by_hand() -> None:
    # Group A, 3 tokens: ratios 1.0, 1.5 (clipped to 1.3) at Â = 2, ratio 0.5 (clipped to 0.8) at Â = -1.
    # Group B, 1 token: ratio 0.5 at Â = 1: the clip does not help a good token that became rarer.
    found = part(logs(0.2, 0.3, 0.1, 0.4), [math.log(0.2), math.log(0.2), math.log(0.2), math.log(0.8)],
                 [2.0, 2.0, -1.0, 1.0], [3, 3, 3, 1], groups=2)
    by_hand = ((-2.0 * 1.0 - 2.0 * 1.3 + 0.8) / 3 + (-0.5) / 1) / 2
    assert float(found.loss.detach()) == pytest.approx(by_hand, rel=1e-6)
    assert means(found.sums) == pytest.approx(
        {"loss": by_hand, "tokens": 4, "droppedTokens": 0, "clipFraction": 0.5, "ratioMean": 3.5 / 4}, rel=1e-6)


def test_a_bad_token_that_became_likelier_is_not_clipped() -> None:
    # min(r·Â, clip(r)·Â) with Â < 0 takes the larger ratio: such a token is always pushed down.
    found = part(logs(0.8), [math.log(0.2)], [-1.0], [1], groups=1)
    assert float(found.loss.detach()) == pytest.approx(4.0, rel=1e-6)
    assert found.sums["clipped"] == 0


def test_a_clipped_token_has_no_gradient() -> None:
    logprobs = logs(0.4, 0.2)
    part(logprobs, [math.log(0.2)] * 2, [1.0, 1.0], [2, 2], groups=1).loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, -0.5])


def test_long_answers_weigh_as_much_a_token_as_short_ones_of_their_group() -> None:
    logprobs = logs(*[0.5] * 5)
    part(logprobs, [math.log(0.5)] * 5, [1.0] * 5, [5] * 5, groups=1).loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-0.2] * 5)


@pytest.mark.parametrize("unknown", [math.nan, -math.inf, math.inf])
def test_a_token_without_a_finite_generator_logprob_leaves_loss_and_denominator(unknown: float) -> None:
    with_it, without = logs(0.3, 0.6, 0.25), logs(0.3, 0.25)
    kept = part(without, [math.log(0.2), math.log(0.5)], [1.0, -1.0], [2, 2], groups=1)
    dropped = part(with_it, [math.log(0.2), unknown, math.log(0.5)], [1.0, 1.0, -1.0], [2, 2, 2], groups=1)
    dropped.loss.backward()
    kept.loss.backward()
    assert float(dropped.loss.detach()) == pytest.approx(float(kept.loss.detach()))
    assert with_it.grad is not None and without.grad is not None
    assert with_it.grad.tolist() == pytest.approx([without.grad[0].item(), 0.0, without.grad[1].item()])
    assert means(dropped.sums)["droppedTokens"] == 1


def test_a_group_of_which_no_token_is_left_adds_nothing() -> None:
    found = part(logs(0.3, 0.4), [math.nan, math.log(0.4)], [1.0, 1.0], [0, 1], groups=2)
    assert float(found.loss.detach()) == pytest.approx(-0.5)


def test_a_part_without_tokens_has_loss_and_gradient_zero() -> None:
    nothing = torch.zeros(0, requires_grad=True)
    found = part(nothing, [], [], [], groups=3)
    found.loss.backward()
    assert float(found.loss.detach()) == 0.0
    assert means(found.sums)["clipFraction"] == 0.0


def test_a_ratio_beyond_single_precision_stays_finite() -> None:
    logprobs = torch.tensor([-0.1], requires_grad=True)
    found = part(logprobs, [-500.0], [-1.0], [1], groups=1)
    found.loss.backward()
    assert logprobs.grad is not None
    assert torch.isfinite(torch.stack([found.loss.detach(), logprobs.grad[0]])).all()


def batch(seed: int) -> tuple[list[list[Tensor]], list[list[Tensor]], list[list[float]]]:
    """Three groups of different sizes; sequences of different lengths: π_θ (with gradient), π_old, advantages."""
    draw = torch.Generator().manual_seed(seed)
    theta, old, advantages = [], [], []
    for sizes in ([3, 1], [5, 2, 4], [1]):
        theta.append([(-2 * torch.rand(n, generator=draw, dtype=torch.float64)).requires_grad_() for n in sizes])
        old.append([t.detach() + 0.4 * torch.randn(len(t), generator=draw, dtype=torch.float64) for t in theta[-1]])
        advantages.append(torch.randn(len(sizes), generator=draw).tolist())
    return theta, old, advantages


def naive(theta: list[list[Tensor]], old: list[list[Tensor]], advantages: list[list[float]]) -> Tensor:
    """The formula, read symbol by symbol."""
    groups = []
    for group in range(len(theta)):
        total = torch.zeros((), dtype=torch.float64)
        for i, new in enumerate(theta[group]):
            for t in range(len(new)):
                ratio = torch.exp(new[t] - old[group][i][t])
                bounded = torch.clip(ratio, 1 - LOW, 1 + HIGH)
                total = total - torch.min(ratio * advantages[group][i], bounded * advantages[group][i])
        groups.append(total / sum(len(new) for new in theta[group]))
    return torch.stack(groups).mean()


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_equal_a_naive_reading_of_the_formula(seed: int) -> None:
    theta, old, advantages = batch(seed)
    reference = naive(theta, old, advantages)
    leaves = [new for group in theta for new in group]
    wanted = torch.autograd.grad(reference, leaves)

    def flat(rows: list[int]) -> LossInputs:
        places = [(g, i) for g, group in enumerate(theta) for i in range(len(group))]
        chosen = [places[row] for row in rows]
        sizes = torch.tensor([len(theta[g][i]) for g, i in chosen])
        return LossInputs(
            logprobs=torch.cat([theta[g][i] for g, i in chosen]),
            generator_logprobs=torch.cat([old[g][i] for g, i in chosen]),
            advantages=torch.tensor([advantages[g][i] for g, i in chosen]).double().repeat_interleave(sizes),
            group_tokens=torch.tensor([sum(map(len, theta[g])) for g, _ in chosen]).repeat_interleave(sizes),
            groups=len(theta))

    whole = grpo(flat([0, 1, 2, 3, 4, 5]), epsilon_low=LOW, epsilon_high=HIGH).loss
    torch.testing.assert_close(whole, reference)
    torch.testing.assert_close(torch.autograd.grad(whole, leaves), wanted)
    # Any split into microbatches and ranks, across groups, adds up to the same.
    split = sum((grpo(flat(rows), epsilon_low=LOW, epsilon_high=HIGH).loss for rows in ([4, 0], [5], [2, 3, 1])),
                torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(split, reference)
