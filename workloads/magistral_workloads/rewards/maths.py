"""Maths answers (section 3.2): both sides normalised, then compared as text, as numbers and, in the end, as
algebra.

`quick` is safe anywhere: bounded text, no evaluation. `same` runs SymPy on a model's text: only inside a
process that can be killed and has its memory limited (`sandbox.algebra`). Text is checked for size, nesting
and exploding powers before any parser sees it. SymPy objects are compared, never printed; no `sympify` or
`parse_expr` of text: LaTeX goes through a grammar.
"""

import logging
import re
from fractions import Fraction
from functools import cache
from typing import Any

MAX_CHARS = 400
MAX_RAW_CHARS = 4 * MAX_CHARS
"""Before spacing commands go. Longer text stays as it is: some patterns take time with the square of its length."""
MAX_NESTING = 12
MAX_DIGITS = 60

_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?(?:/([0-9]+))?|([+-]?)\.([0-9]+)")
_FRACTION = re.compile(r"([+-]?)\\[dt]?frac\{([+-]?[0-9]+)\}\{([+-]?[0-9]+)\}")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:[,;:!> ]|quad|qquad|left|right|displaystyle)|~|\s+")
_THOUSANDS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_TRAILING = re.compile(r"(?:\.|\^\{?\\circ\}?|\\degree|\\%|%|\\\$)+$")


def normalise(text: str) -> str:
    """One spelling of an answer: no spacing commands, units of degree and per cent dropped, 1,000 as 1000."""
    if len(text) > MAX_RAW_CHARS:
        return text
    text = _TEXT.sub(r"\1", text.strip().strip("$"))
    text = _SPACING.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("−", "-")
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    text = _TRAILING.sub("", text).removeprefix("\\$")
    return re.sub(r"\\frac([0-9])([0-9])", r"\\frac{\1}{\2}", text)


def number(text: str) -> Fraction | None:
    """The exact value of a plain number or fraction, None for anything else. ASCII digits only, at most 60
    in a row.
    """
    if re.search(rf"[0-9]{{{MAX_DIGITS + 1}}}", text):
        return None
    if match := _FRACTION.fullmatch(text):
        sign, above, below = match.groups()
        return None if int(below) == 0 else Fraction(int(sign + "1") * int(above), int(below))
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, decimals, below, bare_sign, bare = match.groups()
    if bare is not None:
        return Fraction(f"{bare_sign}0.{bare}")
    value = Fraction(f"{sign}{whole}.{decimals or 0}")
    if below is None:
        return value
    return None if int(below) == 0 else value / int(below)


def canonical(text: str) -> str:
    """What a vote (maj@k) counts: equal numbers look equal, the rest is normalised text."""
    text = normalise(text)[:MAX_CHARS]
    value = number(text)
    return text if value is None else str(value)


def quick(expected: str, answer: str) -> bool | None:
    """Whether the answers are the same, as far as text and plain numbers can tell; None leaves it to
    algebra.
    """
    left, right = normalise(expected), normalise(answer)
    if left == right:
        return True
    numbers = number(left), number(right)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return None if is_small(right) and is_small(left) else False


def is_small(text: str) -> bool:
    """Small enough for a parser: length, nesting, digits in a row, powers of powers and tall factorials."""
    if len(text) > MAX_CHARS or re.search(rf"[0-9]{{{MAX_DIGITS + 1}}}", text):
        return False
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    towers = len(re.findall(r"\^", text))
    return deepest <= MAX_NESTING and towers <= MAX_NESTING and not re.search(r"\^\s*\{?[^{}]*\^[^{}]*\^|!\s*!", text)


def same(expected: str, answer: str) -> bool:
    """By math-verify's LaTeX grammar and SymPy. May burn any amount of time and memory: call it where that
    is bounded.
    """
    left, right = _algebra(expected), _algebra(answer)
    if not left or not right:
        return False
    return bool(_math_verify().verify(left, right, strict=True, timeout_seconds=None))


def _algebra(text: str) -> Any:
    library = _math_verify()
    config = [library.LatexExtractionConfig(boxed_match_priority=0)]
    return library.parse(f"\\boxed{{{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None)


@cache
def _math_verify() -> Any:
    # Imported late: half a second and 60 MB that a caller of `quick` alone does not need.
    import math_verify  # noqa: PLC0415

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return math_verify
