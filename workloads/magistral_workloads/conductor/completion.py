"""What has been sampled of one completion, whichever generators did it."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from magistral_api.compact import logprobs, token_ids
from magistral_workloads.contracts import GenerateChunk, GenerateRequest

Spans = list[tuple[int, int]]
"""(policy version, consecutive tokens), in order."""


@dataclass
class Completion:
    """Grows piece by piece. What a lost generator had sampled stays, with the log-probabilities that it had then."""

    tokens: "array[int]" = field(default_factory=token_ids)
    logprobs: "array[float]" = field(default_factory=logprobs)
    versions: Spans = field(default_factory=list)
    finish_reason: str = ""
    _settled: Spans = field(default_factory=list)

    def rest(self, request: GenerateRequest) -> GenerateRequest:
        """The request for what is missing. What is added from now on is another generator's."""
        self._settled = list(self.versions)
        # vLLM would draw the same numbers again, once for the prefix and once for what follows it.
        return request.model_copy(update={"prefix_tokens": [*request.prefix_tokens, *self.tokens],
                                          "seed": request.seed + len(self.tokens)})

    def add(self, piece: GenerateChunk) -> None:
        """The next piece of the present generator."""
        self.tokens.extend(piece.tokens)
        self.logprobs.extend(piece.logprobs)
        last = piece.finish_reason is not None
        self.versions = joined([*(self._settled if last else self.versions), *piece.versions])
        self.finish_reason = piece.finish_reason or ""


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Neighbours of one version as one span."""
    result: Spans = []
    for version, tokens in spans:
        if result and result[-1][0] == version:
            result[-1] = (version, result[-1][1] + tokens)
        elif tokens:
            result.append((version, tokens))
    return result
