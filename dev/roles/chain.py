"""A Mistral model that samples from a Markov chain of words: its lengths and verdicts are known without training.

Attention and MLP add nothing at first, so the next word depends on the last one only; they have gradients, so that
training changes the model as any other. A completion is `<think>`, thoughts, `</think>`, one of two boxed answers.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import MistralConfig, MistralForCausalLM

from dev.byte_tokenizer import END, tokenizer
from magistral_api.problems import Problem

ANSWERS = ("1", "2")
_SHORT, _LONG = "so ", "hm "
_BOXES = tuple(f"\\boxed{{{answer}}}" for answer in ANSWERS)
_WORDS = ("<think>", _SHORT, _LONG, "</think>", *_BOXES)
HIDDEN = 64


def model(folder: Path, *, short: float = 20, long: float = 100, share_long: float = 0.2, seed: int = 0) -> Path:
    """A Hugging Face directory. `short`, `long`: mean tokens of the two kinds of thoughts, each geometric; `share_long`:
    of completions. A completion has 4 more tokens. Returns the folder.
    """
    words = tokenizer()
    words.add_tokens([AddedToken(word, special=False, normalized=False) for word in _WORDS])
    number = {word: words.convert_tokens_to_ids(word) for word in _WORDS}
    torch.manual_seed(seed)
    made = MistralForCausalLM(MistralConfig(
        vocab_size=len(words), hidden_size=HIDDEN, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=8192, sliding_window=None, bos_token_id=None,
        eos_token_id=END, tie_word_embeddings=False)).to(torch.float32)
    following: list[dict[int, float]] = [
        {number["<think>"]: 1.0},  # after the prompt, whatever its last byte is
        {number[_SHORT]: 1 - share_long, number[_LONG]: share_long},
        {number[_SHORT]: 1 - 1 / short, number["</think>"]: 1 / short},
        {number[_LONG]: 1 - 1 / long, number["</think>"]: 1 / long},
        {number[box]: 1 / len(_BOXES) for box in _BOXES},
        *({END: 1.0} for _ in _BOXES)]
    with torch.no_grad():
        for layer in made.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        state = torch.zeros(len(words), dtype=torch.long)
        for place, word in enumerate(_WORDS, start=1):
            state[number[word]] = place
        made.model.embed_tokens.weight.copy_(torch.eye(HIDDEN)[state])
        # What the last norm makes of a unit vector is sqrt(HIDDEN) long. Words that do not follow are e^-20 as likely.
        logits = torch.full((len(words), HIDDEN), -20.0)
        for place, chances in enumerate(following):
            for following_word, chance in chances.items():
                logits[following_word, place] = log(chance) if chance else -20.0
        made.lm_head.weight.copy_(logits / HIDDEN**0.5)
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def problems(count: int) -> list[Problem]:
    """Problems of which the untrained model solves half, by chance."""
    return [Problem(id=f"p{place}", kind="maths", prompt=f"Problem {place}?", answer=ANSWERS[place % len(ANSWERS)])
            for place in range(count)]
