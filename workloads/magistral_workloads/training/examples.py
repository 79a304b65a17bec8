"""SFT rows to token sequences: the question as RL and evaluation ask it (recipe.prompting), the response, its end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from magistral_api.problems import SftRow
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.prompting import prompt_tokens, render_row
from magistral_workloads.training.model import Microbatch


@dataclass(frozen=True)
class Example:
    """`tokens`: prompt, response, end of text. Only what follows `prompt_length` is learnt."""

    tokens: list[int]
    prompt_length: int

    @property
    def learnt(self) -> int:
        """Tokens that the loss counts."""
        return len(self.tokens) - self.prompt_length


@dataclass(frozen=True)
class Examples:
    """The rows that fit, and how many were longer than `sft.maxTokens`."""

    kept: list[Example]
    too_long: int


def tokenise(rows: Iterable[SftRow], tokenizer: Any, max_tokens: int) -> Examples:
    """In the rows' order. Raises UserFault when the tokenizer knows no conversations, or no row fits."""
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise UserFault("TokenizerInvalid", "spec.baseModel: tokenizer: found no chat template or no end-of-text "
                        "token; expected both. Add them to tokenizer_config.json of the model's directory")
    kept, too_long = [], 0
    for row in rows:
        prompt = prompt_tokens(tokenizer, render_row(row))
        response = tokenizer.encode(row.response, add_special_tokens=False)
        example = Example([*prompt, *response, tokenizer.eos_token_id], len(prompt))
        if len(example.tokens) <= max_tokens:
            kept.append(example)
        else:
            too_long += 1
    if not kept:
        raise UserFault("NoRows", f"data set: found {too_long} rows, of which none has at most {max_tokens} tokens; "
                        "expected at least one. Raise sft.maxTokens, or loosen spec.curation")
    return Examples(kept, too_long)


def microbatch(examples: Sequence[Example]) -> Microbatch:
    """One after the other."""
    return Microbatch.of([torch.tensor(example.tokens) for example in examples],
                         [example.prompt_length for example in examples])
