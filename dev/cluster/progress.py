"""Lines for the person who waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_S = 20.0


def say(text: str) -> None:
    """Print one line at once, also when the output is a file."""
    print(text, flush=True)


def duration(seconds: float) -> str:
    """`75.2` -> `1 min 15 s`; below ten seconds with one decimal."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say `text`, then that it still goes on every 20 s, and how long it took at the end."""
    say(f"{text} …")
    began = time.monotonic()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            say(f"  {text}: still going after {duration(time.monotonic() - began)}")

    beater = threading.Thread(target=beat, daemon=True)
    beater.start()
    try:
        yield
    finally:
        ended.set()
        beater.join()
    say(f"  done in {duration(time.monotonic() - began)}")
