"""What the API server says that a client did: every request, who, what, when. Exact, and no load on the clients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
NO_CHILD = frozenset({"events", "leases"})
"""Events tell, leases elect: neither is a child of a run."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request. `message`: why it failed. `received`, `answered`: seconds since the epoch, by its clock."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    name: str
    status: int
    message: str
    received: float
    answered: float

    @property
    def write(self) -> bool:
        """Changes something. Lease renewals are counted apart."""
        return self.verb in WRITES and self.resource != "leases"

    @property
    def read(self) -> bool:
        """Asks for objects: get, list, watch."""
        return self.verb not in WRITES and self.resource not in ("leases", "")

    @property
    def created(self) -> bool:
        """Made a child. Server-side apply makes objects with PATCH: the status tells."""
        return self.write and self.status == 201 and not self.subresource and self.resource not in NO_CHILD


class Log:
    """Reads an audit log while it grows. `requests`: everything so far, in the order of the answers."""

    def __init__(self, path: Path) -> None:
        self.requests: list[Request] = []
        self._path, self._offset = path, 0

    def read(self) -> list[Request]:
        """Take in what is new, and return only that."""
        known = len(self.requests)
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # Still being written.
                self._offset += len(line)
                self.requests.append(parse(json.loads(line)))
        return self.requests[known:]


def record(directory: Path, users: Iterable[str]) -> tuple[list[str], Log]:
    """Flags for an API server that is to record the requests of these users, and nothing else; and its log."""
    policy, log = directory / "audit-policy.json", directory / "audit.log"
    policy.write_text(json.dumps({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": list(users)}, {"level": "None"}]}))
    log.touch()
    return [f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-maxsize=100000"], Log(log)


def parse(event: dict[str, Any]) -> Request:
    target, answer = event.get("objectRef") or {}, event.get("responseStatus") or {}
    return Request(user=event["user"]["username"], verb=event["verb"], group=target.get("apiGroup", ""),
                   resource=target.get("resource", ""), subresource=target.get("subresource", ""),
                   name=target.get("name", ""), status=answer.get("code", 0), message=answer.get("message", ""),
                   received=_seconds(event["requestReceivedTimestamp"]), answered=_seconds(event["stageTimestamp"]))


def calls(requests: Iterable[Request]) -> Counter[str]:
    """How often which call was made: `create jobs`, `patch magistralruns/status`."""
    return Counter(" ".join((request.verb, "/".join(filter(None, (request.resource, request.subresource)))))
                   for request in requests)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
