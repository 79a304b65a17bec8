"""A Mistral of some ten thousand parameters, batches and SFT rows to train it on: the same on every call."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from magistral_api.problems import RewardParts, RolloutRecord, SftRow

SPECIAL = ["<s>", "</s>", "<pad>", "[INST]", "[/INST]"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}"
    "{{ eos_token }}{% else %}[INST]{{ message.content }}[/INST]{% endif %}{% endfor %}"
)
GROUPS, GROUP_SIZE = 3, 4


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    letters = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE,
        additional_special_tokens=["[INST]", "[/INST]"])


def write_model(folder: Path, *, tied: bool = False) -> Path:
    """Tokenizer and model as a Hugging Face directory."""
    words = tokenizer()
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(
        vocab_size=len(words), hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=512, sliding_window=None, tie_word_embeddings=tied,
        bos_token_id=0, eos_token_id=1, pad_token_id=2))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def batch(step: int, world_size: int, *, vocabulary: int = 261) -> list[RolloutRecord]:
    """The records of one step: skewed lengths, one unknown log-probability; dealt so that ranks get unlike shares."""
    draw = np.random.default_rng(step)
    found = []
    for place in range(GROUPS * GROUP_SIZE):
        length = int(draw.integers(1, 6)) * (6 if place % 5 == 0 else 1)
        logprobs = draw.normal(-5.5, 0.3, length).tolist()
        if place == 2:
            logprobs[0] = float("nan")
        found.append(RolloutRecord(
            problem_id=f"p{place // GROUP_SIZE}", group=step * GROUPS + place // GROUP_SIZE, index=place % GROUP_SIZE,
            trained_step=step, rank=(place * 7 // 3) % world_size, outcome="pass" if place % 3 == 0 else "fail",
            reward=RewardParts(format=0.1, correctness=0.9 if place % 3 == 0 else 0.0),
            prompt_tokens=[0, 3, *draw.integers(5, vocabulary, 4).tolist(), 4],
            completion_tokens=draw.integers(5, vocabulary, length).tolist(), logprobs=logprobs,
            versions=[(max(0, step - 2), length)], finish_reason="stop", text="."))
    return found


def rows(count: int) -> list[SftRow]:
    """Teacher's traces of different lengths."""
    return [SftRow(id=f"r{i}", prompt=f"{i}+{i}?", response=f"<think>{'so ' * (i % 4)}</think>{2 * i}",
                   source="teacher") for i in range(count)]


def dataset(count: int) -> bytes:
    """As the curate stage writes it."""
    return b"".join(json.dumps(row.wire()).encode() + b"\n" for row in rows(count))
