"""Problems that rules can verify (section 4.1 of the paper): complete, with one final answer, no proof, no letter to guess.

The paper does not say how it tells them apart; these are patterns of English competition problems, and a problem that
matches none of them stays. Pure.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

from magistral_api.problems import Problem
from magistral_api.run import FormatFilter
from magistral_workloads.rewards import maths

Fault = Literal["incomplete", "picture", "proof", "multipleChoice", "parts", "answer"]
WHY: Final[dict[Fault, str]] = {
    "incomplete": "no text, or nothing to verify an answer by",
    "picture": "refers to a picture that is not in the text",
    "proof": "asks for a proof",
    "multipleChoice": "multiple choice that makes no sense without its options",
    "parts": "asks several questions",
    "answer": "its answer is prose, or too long to be compared",
}
"""Reasons to leave a problem out, in the order in which they are looked for."""

MAX_WORDS: Final = 5
"""Of an answer. "no real solutions" is compared as text; a sentence is never said twice in the same words."""

_PICTURE = re.compile(r"!\[|\\includegraphics|<img\b|\b(?:figure|diagram|picture|graph)\s+(?:below|above|shown)\b", re.I)
_PROOF = re.compile(r"\bprove\b|\b(?:show|demonstrate|verify|justify)\s+that\b|\b(?:a|the)\s+proof\b", re.I)
_PROVED = re.compile(r"\b(?:proof|proved|proven|q\.?e\.?d)\b|\bsee\s+(?:the\s+)?solution\b|\\blacksquare", re.I)
_QUESTION = re.compile(r"\?|\b(?:find|compute|determine|calculate|evaluate|solve|express|simplify|what|how|which)\b", re.I)
_PART = re.compile(r"(?:(?<=\s)|^)\(?(?P<word>[a-d]|i{1,3}|iv)\)\s|^[ \t]*\(?(?P<line>[a-d1-4]|i{1,3}|iv)[).]\s", re.MULTILINE)
_ORDERS = (("a", "b", "c", "d"), ("i", "ii", "iii", "iv"), ("1", "2", "3", "4"))

_LETTERS = "ABCDEFGHIJ"
_OPTION = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf|bf)\s*\{\s*|(?<![\w\\]))(?:\((?P<both>[A-Ja-j])\)|(?P<one>[A-J])[).:])\s*\}?")
_LETTER = re.compile(r"\(?([A-Ja-j])\)?[.:]?")
_AMONG = re.compile(
    r"\b(?:of|among|from)\s+(?:the\s+)?(?:following|these|options|choices)\b|\bwhich\b[^.?]{0,200}\bfollowing\b"
    r"|\b(?:following|these)\s+(?:options|choices|answers|statements)\b", re.I)
_ABOUT_OPTIONS = re.compile(r"\babove\b|\bthese\b|^(?:none|all|both|neither)$|\b[A-J]\s+(?:and|or)\s+[A-J]\b", re.I)
_HEADING = re.compile(r"\b(?:answer\s+)?(?:options|choices)\b[\s*:]*$", re.I)
_START = re.compile(r"(?:\s|\\qquad|\\quad|\\\\|\\[ ,;:]|[~&}])*")
_DOLLAR = re.compile(r"(?<!\\)\$")


def well_formed(problem: Problem, rules: FormatFilter) -> Problem | Fault:
    """The problem, perhaps reworded, or why it is left out."""
    if not problem.prompt.strip():
        return "incomplete"
    if problem.kind == "code":
        return problem if problem.tests or problem.check else "incomplete"
    if not (problem.answer or "").strip():
        return "incomplete"
    options = _options(problem)
    if options is not None and rules.multiple_choice == "Reword":
        reworded = _reworded(problem, *options)
        return "multipleChoice" if reworded is None else _fault(reworded) or reworded
    return _fault(problem, parts=options is None) or problem


def _fault(problem: Problem, *, parts: bool = True) -> Fault | None:
    answer = problem.answer or ""
    if _PICTURE.search(problem.prompt):
        return "picture"
    if _PROOF.search(problem.prompt) or _PROVED.search(answer):
        return "proof"
    if (parts and _asks(problem.prompt) > 1) or len(_labelled(answer)) > 1:
        return "parts"
    return None if _comparable(answer) else "answer"


def _comparable(answer: str) -> bool:
    words = re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[A-Za-z]+", " ", answer))
    return len(words) <= MAX_WORDS and bool(maths.normalise(answer)) and maths.is_small(maths.normalise(answer))


def _asks(prompt: str) -> int:
    """Labelled parts that ask something. Conditions (i), (ii) before one question are none."""
    return sum(bool(_QUESTION.search(part)) for part in _labelled(prompt))


def _labelled(text: str) -> list[str]:
    """The texts after (a), (b), … or (i), (ii), … or 1., 2., …; empty without at least two in order."""
    for order in _ORDERS:
        chain: list[re.Match[str]] = []
        for mark in _PART.finditer(text):
            if len(chain) < len(order) and (mark["word"] or mark["line"]) == order[len(chain)]:
                chain.append(mark)
        if len(chain) > 1:
            return _between(chain, text)
    return []


def _options(problem: Problem) -> tuple[str, str] | None:
    """The question without its options, and the text of the right one; None when it is not multiple choice."""
    marks = _last_chain(_OPTION.finditer(problem.prompt))
    texts = dict(zip(_LETTERS, map(_option, _between(marks, problem.prompt)), strict=False))
    right = _right(problem.answer or "", texts)
    return None if right is None else (_question(problem.prompt[:marks[0].start()]), right)


def _last_chain(marks: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """The last A, B, … in a row, of two letters at least; empty without."""
    last: list[re.Match[str]] = []
    chain: list[re.Match[str]] = []
    for mark in marks:
        letter = _letter(mark)
        if letter != _LETTERS[len(chain) % len(_LETTERS)]:
            chain = []
        if chain or letter == "A":
            chain.append(mark)
        if len(chain) > 1:
            last = chain
    return last


def _between(marks: list[re.Match[str]], text: str) -> list[str]:
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [text[mark.end():end] for mark, end in zip(marks, ends, strict=False)]


def _letter(mark: re.Match[str]) -> str:
    return (mark["both"] or mark["one"]).upper()


def _right(answer: str, texts: dict[str, str]) -> str | None:
    """The option that the answer names, by its letter or in its words."""
    letter = _LETTER.fullmatch(maths.normalise(answer))
    if letter and letter[1].upper() in texts:
        return texts[letter[1].upper()]
    return next((text for text in texts.values() if maths.normalise(text) == maths.normalise(answer)), None)


def _option(text: str) -> str:
    # What follows the last option on lines of its own is an instruction.
    bare = _balanced(_trimmed(text.strip().partition("\n")[0], ";,."))
    whole = len(_DOLLAR.findall(bare)) == 2 and bare[0] == bare[-1] == "$"
    return _trimmed(bare[1:-1] if whole else bare, ";,.")


def _question(text: str) -> str:
    return _HEADING.sub("", _trimmed(_balanced(_trimmed(text)))).rstrip(" *\n")


def _trimmed(text: str, marks: str = "") -> str:
    """Without white space and its commands in LaTeX at the ends, nor these punctuation marks at the end."""
    text = _START.sub("", text, count=1)
    while True:
        bare = text.rstrip(f" \t\r\n~&{marks}").removesuffix("\\qquad").removesuffix("\\quad").rstrip("\\")
        if bare == text:
            return bare
        text = bare


def _balanced(text: str) -> str:
    """Without a dollar sign at an end whose other one was cut off."""
    if len(_DOLLAR.findall(text)) % 2 == 0:
        return text
    return text[1:] if text.startswith("$") else text.removesuffix("$")


def _reworded(problem: Problem, question: str, right: str) -> Problem | None:
    """The question alone, with the right option's text as the answer."""
    if not question or _AMONG.search(question) or _ABOUT_OPTIONS.search(right):
        return None
    # Translations still have the options, and their answer would be a letter.
    return problem.model_copy(update={"prompt": question, "answer": right, "translations": {}})
