"""The demo's tokenizer: a completion's tokens give its text back, tags and digits included."""

import pytest
from transformers import PreTrainedTokenizerFast

from dev.demo import base_model, tasks, traces
from magistral_workloads.recipe.prompting import prompt_tokens, render


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return base_model.make_tokenizer(list(traces.traces(1500, seed=1)))


def test_text_without_special_tokens_is_the_response_again(tokenizer: PreTrainedTokenizerFast) -> None:
    for trace in traces.traces(200, seed=11):
        tokens = tokenizer.encode(trace.response, add_special_tokens=False)
        assert tokenizer.decode([*tokens, tokenizer.eos_token_id], skip_special_tokens=True) == trace.response


def test_every_digit_is_a_token_of_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.encode("12345", add_special_tokens=False)
    assert [tokenizer.decode([token]) for token in tokens] == list("12345")


def test_bytes_that_training_never_saw_are_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(tokenizer.encode("Füße 中文 🙂", add_special_tokens=False)) == "Füße 中文 🙂"


def test_a_prompt_opens_the_models_turn_and_is_a_handful_of_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = prompt_tokens(tokenizer, render(tasks.maths()["demo-maths"][0]))
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens[-1] == tokenizer.convert_tokens_to_ids("[/INST]")
    assert len(tokens) < 64
    assert all(len(prompt_tokens(tokenizer, render(problem))) < base_model.CONTEXT for problem in tasks.code())
