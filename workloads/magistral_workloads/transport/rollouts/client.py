"""The trainers' client of the conductor (docs/architecture.md, HTTP).

The conductor may be starting again at any moment, so every request is tried for minutes, unless it is refused.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import httpx

from magistral_api.base import ApiModel
from magistral_api.progress import CheckpointRecord
from magistral_workloads.contracts import PolicyPublished, Resume
from magistral_workloads.transport.rollouts.batch import Share, decode

PATIENCE_SECONDS: Final = 600.0
"""How long the conductor may be away."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 15.0
READ_SECONDS: Final = 60.0
"""More than the conductor ever holds a request: 20 s for a batch, 20 s for generators that take a version."""
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})

log = logging.getLogger(__name__)


class ConductorError(Exception):
    """The conductor refused a request, or was away for too long."""


class Conductor:
    """Every method may take minutes. All raise ConductorError."""

    def __init__(self, url: str, token: str, stopping: threading.Event, *, transport: httpx.BaseTransport | None = None,
                 patience_seconds: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic,
                 pause: Callable[[float], object] | None = None) -> None:
        """`stopping`: set when the process is told to end; no request is tried again then."""
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, transport=transport,
            timeout=httpx.Timeout(READ_SECONDS, connect=5.0))
        self._patience, self._clock, self._pause = patience_seconds, clock, pause or stopping.wait
        self._stopping = stopping

    def resume(self) -> Resume:
        """The newest committed checkpoint, as the conductor sees it. It also learns that trainers start there."""
        return Resume.model_validate_json(self._request("GET", "/v1/resume").content)

    def batch(self, step: int, rank: int) -> Share | None:
        """The rank's share of batch `step`, however long it takes to form. None when told to end meanwhile."""
        while not self._stopping.is_set():
            response = self._request("GET", f"/v1/batches/{step}", params={"rank": str(rank)})
            if response.status_code != httpx.codes.NO_CONTENT:
                return decode(response.content)
        return None

    def published(self, policy: PolicyPublished) -> None:
        """A version is in the store."""
        self._request("POST", "/v1/policy", body=policy)

    def checkpoint(self, record: CheckpointRecord) -> None:
        """A checkpoint is committed."""
        self._request("POST", "/v1/checkpoint", body=record)

    def done(self) -> None:
        """The last step is done and its checkpoint committed."""
        self._request("POST", "/v1/done")

    def _request(self, method: str, path: str, *, params: dict[str, str] | None = None,
                 body: ApiModel | None = None) -> httpx.Response:
        deadline, pause = self._clock() + self._patience, FIRST_PAUSE_SECONDS
        content = body.model_dump_json(by_alias=True, exclude_none=True) if body else None
        while True:
            try:
                response = self._client.request(method, path, params=params, content=content,
                                                headers={"Content-Type": "application/json"})
            except httpx.TransportError as error:
                found = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return response
                found = f"status {response.status_code}: {response.text[:200]}"
                if response.status_code not in RETRIED:
                    raise ConductorError(f"{method} {self._client.base_url}{path}: found {found}; expected success. "
                                         "Trainers and conductor must be of the same run and image")
            if self._stopping.is_set() or self._clock() + pause > deadline:
                raise ConductorError(f"{method} {self._client.base_url}{path}: found {found} for {self._patience:.0f} "
                                     "s; expected an answer. Look at the log of the conductor's pod")
            log.info("conductor not reached, trying again: %s", found)
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
