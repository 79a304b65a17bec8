"""Messages on a pipe: four bytes of length, big-endian, then JSON."""

import json
from typing import Any, BinaryIO

HEADER_BYTES = 4
MAX_BYTES = 256 << 20


def pack(message: dict[str, Any]) -> bytes:
    """One framed message. Raises ValueError when it is too long."""
    body = json.dumps(message).encode()
    if len(body) > MAX_BYTES:
        raise ValueError(f"message of {len(body)} bytes; at most {MAX_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def length(header: bytes) -> int:
    """The body's length. Raises ValueError when it is too long to be one of ours."""
    size = int.from_bytes(header, "big")
    if size > MAX_BYTES:
        raise ValueError(f"frame of {size} bytes; at most {MAX_BYTES}")
    return size


def unpack(body: bytes) -> dict[str, Any]:
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a frame holds one JSON object")
    return message


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message, or None at the end of the stream."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    size = length(header)
    body = stream.read(size)
    return unpack(body) if len(body) == size else None


def write(stream: BinaryIO, message: dict[str, Any]) -> None:
    stream.write(pack(message))
    stream.flush()
