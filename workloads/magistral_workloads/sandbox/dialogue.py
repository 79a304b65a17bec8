"""Both ends of a talk between a checker and a candidate's function. Runs inside the box; imports the
library only.

`dialogue.py serve <candidate.py> <entry point>` loads the candidate and answers calls. `dialogue.py check
<check.py> <entry point> <descriptor> <nonce>` loads the checker, hands it a function that asks the other
process, and writes the nonce to the descriptor when `check` returns. The candidate's process never holds an expected
value, and what it answers is rebuilt here as plain data, so an object with an `__eq__` of its own arrives
as what it says it is.

Limitation: a checker sees copies. One that passes a mutable argument and looks at it after the call sees no
change, and values other than numbers, text, bytes, None and built-in containers of these count as an error
of the candidate.
"""

import builtins
import json
import os
import sys
from typing import Any, BinaryIO

_MAX_BYTES = 8 << 20


def encode(value: Any) -> Any:
    """JSON-ready; containers as [tag, items]. Raises TypeError on anything that is no plain data."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, dict):
        return ["dict", [[encode(k), encode(v)] for k, v in value.items()]]
    for sequence in (list, tuple, set, frozenset):
        if isinstance(value, sequence):
            return [sequence.__name__, [encode(item) for item in value]]
    raise TypeError(f"no plain data: {type(value).__name__}")


def decode(value: Any) -> Any:
    """The opposite of `encode`; the result consists of exact built-in types. Raises ValueError, TypeError,
    KeyError.
    """
    if not isinstance(value, list):
        return value
    tag = value[0]
    if tag == "complex":
        return complex(value[1], value[2])
    if tag == "bytes":
        return bytes.fromhex(value[1])
    if tag == "dict":
        return {decode(k): decode(v) for k, v in value[1]}
    kind = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[tag]
    return kind(decode(item) for item in value[1])


def send(stream: BinaryIO, message: Any) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """The next message. Raises EOFError at the end or on one that is too long."""
    line = stream.readline(_MAX_BYTES)
    if not line.endswith(b"\n"):
        raise EOFError("the other side ended or said too much")
    return json.loads(line)


def serve(source: str, entry_point: str, questions: BinaryIO, answers: BinaryIO) -> None:
    """Load the candidate, then answer calls until the questions end."""
    module: dict[str, Any] = {"__name__": "candidate"}
    exec(compile(source, "candidate.py", "exec"), module)  # noqa: S102 the box is around this
    function = module[entry_point]
    while True:
        try:
            arguments, keywords = decode(receive(questions))
        except EOFError:
            return
        try:
            answer = ["ok", encode(function(*arguments, **keywords))]
        except Exception as error:
            answer = ["error", type(error).__name__]
        send(answers, answer)


def check(source: str, entry_point: str, ask: BinaryIO, answers: BinaryIO) -> None:
    """Run `check(candidate)`. Raises what it raises. A check may also call the function by its name (HumanEval/33)."""

    def candidate(*arguments: Any, **keywords: Any) -> Any:
        send(ask, encode((arguments, keywords)))
        kind, value = receive(answers)
        if kind == "ok":
            return decode(value)
        known = getattr(builtins, str(value), None)
        is_error = isinstance(known, type) and issubclass(known, Exception)
        error: type[Exception] = known if is_error else RuntimeError  # type: ignore[assignment]
        raise error("raised by the candidate")

    module: dict[str, Any] = {"__name__": "checker"}
    exec(compile(source, "check.py", "exec"), module)  # noqa: S102 the box is around this
    module[entry_point] = candidate
    module["check"](candidate)


def main(role: str, file: str, *rest: str) -> int:
    # What the code prints must not mix with the talk.
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with open(file, encoding="utf-8") as stream:  # noqa: PTH123 importing pathlib costs as much as starting Python
        source = stream.read()
    if role == "serve":
        serve(source, rest[0], incoming, outgoing)
        return 0
    try:
        check(source, rest[0], outgoing, incoming)
    except Exception:
        return 1
    os.write(int(rest[1]), rest[2].encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
