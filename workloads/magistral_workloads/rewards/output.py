"""When two outputs of a program are the same (section 3.2)."""

from decimal import Decimal, InvalidOperation


def same(expected: str, output: str) -> bool:
    """Equal line by line, where trailing space, empty lines at the end, and spellings of a number do not
    count.
    """
    left, right = _lines(expected), _lines(output)
    return len(left) == len(right) and all(a == b or _same_tokens(a, b) for a, b in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _same_tokens(left: str, right: str) -> bool:
    pairs = left.split(), right.split()
    if len(pairs[0]) != len(pairs[1]):
        return False
    return all(a == b or _same_number(a, b) for a, b in zip(*pairs, strict=True))


def _same_number(left: str, right: str) -> bool:
    if len(left) > 60 or len(right) > 60 or not (left + right).isascii():
        return False
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return False
