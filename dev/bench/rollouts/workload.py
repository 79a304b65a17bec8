"""What every contender of `make bench-rollouts` trains: a tiny Mistral with skewed lengths, its problems, its grader.

The first weights are written down, not trained: embedding and output layer are a Markov chain over tokens, the layers
between add nothing at first (and cost what they cost). So each prompt's mean length is known, answers are right half of
the time, and almost every group teaches something; trained models of this size answer too short to be skewed.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from magistral_api.problems import Problem
from magistral_workloads.contracts import RewardConfig, VerifyRequest
from magistral_workloads.rewards.grade import Algebra, grade
from magistral_workloads.sandbox.box import Box

KINDS: Final = {"S": (0.6, 24), "M": (0.3, 96), "L": (0.1, 192)}
"""Last letter of a prompt: share of the problems, mean tokens of thought. Geometric, cut at the longest completion."""
END, PAD, ANSWERS = "</s>", "<pad>", ("\\boxed{1}", "\\boxed{2}")
CERTAIN: Final = 24.0
"""Logit of a likely next token beside 0: the others come once in e^24."""
HIDDEN: Final = 128


@dataclass(frozen=True)
class Workload:
    """The same for all. `tokens`: of the longest completion, the zone of the length penalty (`cache`) included.

    Steps `first` to `last` count. What is sampled ahead must be as much at both: asynchronous runs fill up first, and at
    the end no group begins any more, so trainers live on what is there.
    """

    steps: int = 24
    first: int = 7
    ahead: int = 5
    batch: int = 64
    group: int = 8
    tokens: int = 384
    cache: int = 32
    learning_rate: float = 1e-6
    problems: list[Problem] = field(default_factory=lambda: problems(512))

    @property
    def last(self) -> int:
        return self.steps - self.ahead

    @property
    def longest(self) -> int:
        """Tokens of a prompt and its completion."""
        return 64 + self.tokens

    @property
    def reward(self) -> RewardConfig:
        return RewardConfig(max_unpenalized_tokens=self.tokens - self.cache, cache_tokens=self.cache,
                            language_consistency=False)


def problems(count: int) -> list[Problem]:
    """In every stretch the same mixture of kinds; the order of kinds is random."""
    kinds = [kind for kind, (share, _) in KINDS.items() for _ in range(round(count * share))]
    random.Random(0).shuffle(kinds)
    return [Problem(id=f"p{number}", kind="maths", prompt=f"Problem {number}: one or two? {kind}", answer="1")
            for number, kind in enumerate(kinds)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, and words for the parts of an answer. Its chat template is the problem's text alone."""
    words = [END, PAD, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken(word, special=False, normalized=False)
                     for word in (*(f"<think>{kind.lower()}" for kind in KINDS), "</think>", *ANSWERS)])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=PAD, padding_side="left",
                                   chat_template="{{ messages[-1]['content'] }}")


def chain() -> dict[str, dict[str, float]]:
    """Probabilities of the next token after each token that matters."""
    found: dict[str, dict[str, float]] = {"</think>": dict.fromkeys(ANSWERS, 0.5)} | {
        answer: {END: 1.0} for answer in ANSWERS}
    for kind, (_, mean) in KINDS.items():
        thought = kind.lower()
        found[kind] = {f"<think>{thought}": 1.0}
        found[f"<think>{thought}"] = {thought: 1.0}
        found[thought] = {thought: 1 - 1 / mean, "</think>": 1 / mean}
    return found


@torch.no_grad()
def save_model(folder: Path, longest: int) -> Path:
    """A Hugging Face directory: 0.8 million parameters, float32. `longest`: of prompt and completion, tokens."""
    torch.manual_seed(0)
    words, steps = tokenizer(), chain()
    model = MistralForCausalLM(MistralConfig(
        vocab_size=len(words), hidden_size=HIDDEN, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=longest, sliding_window=None, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, tie_word_embeddings=False))
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.lm_head.weight.zero_()
    # A one-hot state of HIDDEN values leaves the last norm √HIDDEN times as large.
    model.model.embed_tokens.weight.copy_(torch.randn_like(model.model.embed_tokens.weight))
    for place, (word, following) in enumerate(steps.items()):
        model.model.embed_tokens.weight[words.convert_tokens_to_ids(word)] = torch.eye(HIDDEN)[place]
        for next_word, probability in following.items():
            model.lm_head.weight[words.convert_tokens_to_ids(next_word), place] = (
                (CERTAIN + math.log(probability)) / math.sqrt(HIDDEN))
    model.to(torch.float32).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def rewards(workload: Workload, asked: list[Problem], texts: list[str], tokens: list[int]) -> list[float]:
    """What the run's verifiers would say. Raises RuntimeError where they would need a sandbox: no problem here does."""
    async def all_of_them() -> list[float]:
        return [(await grade(VerifyRequest(problem=problem, completion=text, completion_tokens=length, draw=0,
                                           reward=workload.reward), cast(Box, None), cast(Algebra, _NoAlgebra()))
                 ).reward.total for problem, text, length in zip(asked, texts, tokens, strict=True)]

    return asyncio.run(all_of_them())


class _NoAlgebra:
    async def same(self, expected: str, answer: str) -> bool:
        raise RuntimeError(f"{answer!r} is no plain number: expected {expected}")
