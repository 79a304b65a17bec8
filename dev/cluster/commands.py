"""Short-lived commands: run, with a limit in time and an error that can be read."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from dev.cluster.errors import ClusterError
from dev.cluster.processes import clean_environment

TIMEOUT_S = 60.0


def run(
    command: Sequence[str],
    *,
    text: str = "",
    stream: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Standard output of `command`, whose standard input is `text` or, when given, `stream`.

    Raises ClusterError with its standard error when it fails or takes too long.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=stream or subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(environment),
        )
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not installed or not on PATH") from error
    with child:
        try:
            output, complaint = child.communicate(None if stream else text, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise ClusterError(f"`{' '.join(command)}` did not end within {timeout_s:.0f} s") from error
    if child.returncode != 0:
        said = (complaint.strip() or output.strip())[-2000:]
        raise ClusterError(f"`{' '.join(command)}` ended with {child.returncode}: {said}")
    return output


def succeeds(command: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `command` exists and ends with status 0 in time."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
