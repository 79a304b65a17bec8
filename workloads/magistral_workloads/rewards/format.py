"""Format (section 3.1): what a response must look like before anything else is graded."""

import re
from dataclasses import dataclass
from typing import Literal

OPEN, CLOSE = "<think>", "</think>"
_BLOCK = re.compile(r"^```[ \t]*([A-Za-z][A-Za-z0-9+#_.-]*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_ANY_BLOCK = re.compile(
    r"^```[ \t]*([A-Za-z][A-Za-z0-9+#_.-]*)?[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_BOX = re.compile(r"\\boxed\s*\{")


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `language` in lower case."""

    language: str
    source: str


@dataclass(frozen=True)
class Response:
    """A response of the right format. Maths has `boxed`, code has `block`: the last box, the first block."""

    thoughts: str
    answer: str
    boxed: str | None = None
    block: Block | None = None


def parse(completion: str, kind: Literal["maths", "code"]) -> Response | str:
    """The parts of a well-formed response, or the reason why it is none.

    Starts with `<think>`; exactly one `<think>` and one `</think>`; then, for maths, a `\\boxed{}` that is
    not empty, for code a fenced block with a language name.
    """
    if not completion.startswith(OPEN):
        return f"does not start with {OPEN}"
    if completion.count(OPEN) != 1 or completion.count(CLOSE) != 1:
        return f"has not exactly one {OPEN} and one {CLOSE}"
    thoughts, answer = completion.removeprefix(OPEN).split(CLOSE)
    if kind == "maths":
        boxed = last_boxed(answer)
        if boxed is None or not boxed.strip():
            return "has no \\boxed{} with an answer in it after the thoughts"
        return Response(thoughts, answer, boxed=boxed)
    block = _BLOCK.search(answer)
    if block is None:
        return "has no fenced block with a language name after the thoughts"
    return Response(thoughts, answer, block=Block(block[1].lower(), block[2]))


def find(completion: str, kind: Literal["maths", "code"]) -> Response | str:
    """The answer of a completion in any form: evaluation also grades models that were not trained on ours.

    Looked for after the last `</think>`, else in the whole text. A block without a language name is taken for Python.
    """
    thoughts, _, answer = completion.rpartition(CLOSE)
    if kind == "maths":
        boxed = last_boxed(answer)
        return Response(thoughts, answer, boxed=boxed) if boxed and boxed.strip() else "has no \\boxed{} with an answer in it"
    block = _ANY_BLOCK.search(answer)
    if block is None:
        return "has no fenced block"
    return Response(thoughts, answer, block=Block((block[1] or "python").lower(), block[2]))


def last_boxed(text: str) -> str | None:
    """The content of the last `\\boxed{…}` whose braces close; None when there is none."""
    for match in reversed(list(_BOX.finditer(text))):
        depth = 1
        for place in range(match.end(), len(text)):
            if text[place - 1] == "\\":
                continue
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[match.end() : place]
    return None
