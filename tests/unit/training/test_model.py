"""The policy's log-probabilities, against the model's own logits."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from magistral_workloads.training.model import LOGIT_ROWS, Microbatch, load, save
from tests.training import tiny

SEQUENCES = [torch.tensor([0, 3, 40, 41, 4, 50, 51, 52, 1]), torch.tensor([0, 60, 4, 61]), torch.tensor([0, 70, 71])]
PROMPTS = [5, 3, 2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"))


def by_hand(model: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token, one sequence at a time."""
    logprobs, entropies = [], []
    for sequence, prompt in zip(SEQUENCES, PROMPTS, strict=True):
        rows = torch.log_softmax(model(sequence[None]).logits[0], -1)[prompt - 1:-1]
        logprobs.append(rows.gather(1, sequence[prompt:, None])[:, 0])
        entropies.append(-(rows.exp() * rows).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


@pytest.mark.parametrize("pieces", [1, 3, 20])
def test_packed_sequences_have_the_logprobs_entropy_and_gradients_of_each_one_alone(base: Path, pieces: int) -> None:
    policy = load(base, "cpu", microbatch_tokens=pieces * LOGIT_ROWS)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    logprobs, entropy = policy(Microbatch.of(SEQUENCES, PROMPTS))
    expected = by_hand(model)
    torch.testing.assert_close(logprobs, expected[0])
    torch.testing.assert_close(entropy, expected[1])
    assert not entropy.requires_grad
    logprobs.sum().backward()
    expected[0].sum().backward()
    gradients = dict(model.named_parameters())
    for name, parameter in policy.model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-4, atol=1e-5)


def test_a_microbatch_has_no_padding_and_predicts_what_follows_each_prompt() -> None:
    batch = Microbatch.of(SEQUENCES, PROMPTS)
    assert batch.input_ids.shape == batch.position_ids.shape == (1, 16)
    assert batch.borders.tolist() == [0, 9, 13, 16]
    assert batch.position_ids[0, 9:].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.predicted[0].nonzero()[:, 0].tolist() == [5, 6, 7, 8, 12, 15]


def test_a_sequence_longer_than_the_models_sliding_window_is_refused(base: Path) -> None:
    policy = load(base, "cpu")
    for layer in policy.model.base_model.layers:
        layer.self_attn.config.sliding_window = 4
    with pytest.raises(ValueError, match="sliding window is 4 tokens; found a sequence of 9"):
        policy(Microbatch.of(SEQUENCES, PROMPTS))


def test_an_idle_pass_predicts_a_token_so_that_its_gradients_exist() -> None:
    assert int(Microbatch.idle().predicted.sum()) == 1


@pytest.mark.parametrize("tied", [False, True])
def test_a_saved_model_is_the_same_model(tmp_path: Path, tied: bool) -> None:
    source = tiny.write_model(tmp_path / "source", tied=tied)
    (source / "notes.txt").write_text("kept")
    policy = load(source, "cpu")
    saved = save(policy, {name: value.detach() for name, value in policy.model.named_parameters()}, source,
                 tmp_path / "saved")
    found, expected = load(saved, "cpu").state_dict(), policy.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert (saved / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert (saved / "notes.txt").exists()
