"""Problems to tokens and completions to text, with the base model's tokenizer: training never changes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from magistral_api.config import ModelAt
from magistral_api.problems import Problem
from magistral_workloads.checkpoints import fetch_model
from magistral_workloads.recipe.prompting import prompt_tokens, render
from magistral_workloads.storage import ObjectStore

WEIGHTS = ".safetensors"


class Tokens:
    """The tokenizer of a Hugging Face directory that has `tokenizer.json`. Importing it needs no torch."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        self.stop = stop_tokens(folder, self._tokenizer.eos_token_id)

    @classmethod
    def fetch(cls, store: ObjectStore, model: ModelAt, scratch: Path) -> "Tokens":
        """Of a model in the store, without its weights. Raises StorageError."""
        return cls(fetch_model(store, model, scratch, lambda key: not key.endswith(WEIGHTS)))

    def prompt(self, problem: Problem) -> list[int]:
        """What the model is asked, up to its turn."""
        messages = render(problem)
        if self._tokenizer.chat_template:
            return prompt_tokens(self._tokenizer, messages)
        # A base model knows no turns: the same words, one after the other.
        text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        return list(self._tokenizer(text)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """A completion without special tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def stop_tokens(folder: Path, end: int | None) -> list[int]:
    """Tokens that end a completion: the tokenizer's own and those of `generation_config.json`."""
    path = folder / "generation_config.json"
    named = json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
    found = [end] + (named if isinstance(named, list) else [named])
    return sorted({token for token in found if token is not None})
