"""Format (section 3.1): what a response must look like before anything else is graded."""

import re
from dataclasses import dataclass

from magistral_api.problems import Kind

OPEN, CLOSE = "<think>", "</think>"
_OPENING = re.compile(r"^```[ \t]*([A-Za-z][A-Za-z0-9+#_.-]*+)[^\n]*\n", re.MULTILINE)
_ANY_OPENING = re.compile(r"^```[ \t]*([A-Za-z][A-Za-z0-9+#_.-]*+)?[^\n]*\n", re.MULTILINE)
_CLOSING = re.compile(r"^[ \t]*```[ \t]*$", re.MULTILINE)
_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"(?<!\\)[{}]")


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


def parse(completion: str, kind: Kind) -> Response | str:
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
    opening = _OPENING.search(answer)
    closing = _CLOSING.search(answer, opening.end()) if opening else None
    if opening is None or closing is None:
        return "has no fenced block with a language name after the thoughts"
    return Response(thoughts, answer, block=Block(opening[1].lower(), answer[opening.end() : closing.start()]))


def find(completion: str, kind: Kind) -> Response | str:
    """The answer of a completion in any form: evaluation also grades models that were not trained on ours.

    Looked for after the last `</think>`, else in the whole text. A block without a language name is taken for Python.
    """
    thoughts, _, answer = completion.rpartition(CLOSE)
    if kind == "maths":
        boxed = last_boxed(answer)
        return Response(thoughts, answer, boxed=boxed) if boxed and boxed.strip() else "has no \\boxed{} with an answer in it"
    opening = _ANY_OPENING.search(answer)
    if opening is None:
        return "has no fenced block"
    closing = _CLOSING.search(answer, opening.end())
    source = answer[opening.end() : closing.start() if closing else None]
    return Response(thoughts, answer, block=Block((opening[1] or "python").lower(), source))


def last_boxed(text: str) -> str | None:
    """The content of the last `\\boxed{…}` whose braces close; None when there is none.

    One pass: a completion of nothing but opened boxes must not hold up the verifier.
    """
    boxes = {match.end() for match in _BOX.finditer(text)}
    opened: list[int] = []
    last: tuple[int, int] | None = None
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.end())
        elif opened and (start := opened.pop()) in boxes and (last is None or start > last[0]):
            last = start, brace.start()
    return None if last is None else text[slice(*last)]
