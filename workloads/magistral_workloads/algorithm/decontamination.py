"""Which prompts are those of an evaluation suite, or too much like one. Pure.

Equal prompts, and prompts with a long run of words in common (13 in GPT-3's appendix C and in EleutherAI's evaluation harness).
Words are what white space parts: in maths a sign is a word too. Time and memory grow with the number of words, on both sides.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Literal

KEY_BYTES: Final = 16
NGRAM_BYTES: Final = 8
FORM: Final = 10
"""What more prompts than this have in common is the form of a suite ("Write a program that reads …"), not a problem of it."""

Leak = Literal["same", "overlap"]


def prompt_key(text: str) -> bytes:
    """Equal for prompts that differ in Unicode form, case or white space only. 16 bytes; empty for an empty text."""
    words = _words(text)
    return hashlib.sha256(" ".join(words).encode()).digest()[:KEY_BYTES] if words else b""


class EvaluationPrompts:
    """The prompts of every suite. A prompt of fewer than `ngram` words is found by equality only."""

    def __init__(self, prompts: Iterable[str], ngram: int) -> None:
        distinct = {prompt_key(prompt): prompt for prompt in prompts}
        times = Counter(gram for prompt in distinct.values() for gram in set(_ngrams(prompt, ngram)))
        self._keys, self._ngram = frozenset(distinct), ngram
        self._ngrams = frozenset(gram for gram, count in times.items() if count <= FORM)
        self._known: dict[bytes, Leak | None] = {}

    def leak(self, prompt: str) -> Leak | None:
        """Why the prompt may not be trained on, or None."""
        key = prompt_key(prompt)
        if key not in self._known:
            # A teacher answers a problem many times over.
            self._known[key] = self._look(key, prompt)
        return self._known[key]

    def _look(self, key: bytes, prompt: str) -> Leak | None:
        if key in self._keys:
            return "same"
        return "overlap" if any(gram in self._ngrams for gram in _ngrams(prompt, self._ngram)) else None


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFKC", text).casefold().split()


def _ngrams(text: str, length: int) -> Iterator[bytes]:
    words = _words(text)
    return (hashlib.blake2b(" ".join(words[start:start + length]).encode(), digest_size=NGRAM_BYTES).digest()
            for start in range(len(words) - length + 1))
