"""Short-lived commands: run, with a limit in time and an error that can be read."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from dev.cluster.errors import ClusterError
from dev.cluster.processes import clean_environment

TIMEOUT_S = 60.0


def run(
    command: Sequence[str],
    *,
    input_text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Standard output of `command`. Raises ClusterError with its standard error when it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            input=input_text,
            env=clean_environment(environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` did not end within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
    return done.stdout


def succeeds(command: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `command` exists and ends with status 0 in time."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
