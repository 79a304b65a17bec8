"""A text out of a pickle, without running the pickle: a pickle is a program that may call anything."""

import base64
import pickletools
import zlib
from typing import Final

MAX_BYTES: Final = 256 << 20
"""Of the pickle, unpacked. A row of LiveCodeBench holds up to hundreds of tests of megabytes each."""

_TEXT: Final = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_FRAMING: Final = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"})


class TooLargeError(Exception):
    """More than MAX_BYTES when unpacked."""


def packed_text(packed: str) -> str:
    """The text in base64(zlib(pickle(text))). Raises ValueError when anything else is in it, TooLargeError."""
    decoder = zlib.decompressobj()
    try:
        data = decoder.decompress(base64.b64decode(packed, validate=True), MAX_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"found no zlib data ({error}); expected base64(zlib(pickle(text)))") from None
    if len(data) > MAX_BYTES:
        raise TooLargeError
    if not decoder.eof:
        raise ValueError("found zlib data that is cut off")
    return pickled_text(data)


def pickled_text(data: bytes) -> str:
    """The only text of a pickle that holds nothing else. Only its opcodes are read. Raises ValueError."""
    text: str | None = None
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _TEXT and text is None:
            text = str(argument)
        elif opcode.name not in _FRAMING:
            raise ValueError(f"found pickle opcode {opcode.name}; expected one text and nothing else, as it is never run")
    if text is None:
        raise ValueError("found a pickle without a text; expected one")
    return text
