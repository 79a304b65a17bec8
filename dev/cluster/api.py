"""Just enough of a Kubernetes client to wait for a cluster and to put a few objects into it."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from dev.cluster.certificates import Pair

TIMEOUT_S = 5.0


class Api:
    """Calls `server` with a client certificate. Never through a proxy."""

    def __init__(self, server: str, authority: Pair, client: Pair) -> None:
        self.server = server
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(client.certificate, client.key)
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        ).open

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        """The answer's body. Raises OSError when the server does not answer or refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.server + path, data=data, method=method, headers={"Content-Type": content_type}
        )
        with self._open(request, timeout=TIMEOUT_S) as response:
            answer: bytes = response.read()
            return answer

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path))

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply of one object at its own path."""
        query = "?fieldManager=magistral-dev&force=true"
        self.request("PATCH", path + query, manifest, "application/apply-patch+yaml")

    def ready(self) -> str | None:
        """None when `/readyz` says ok, else what stands in the way."""
        try:
            self.request("GET", "/readyz")
        except urllib.error.HTTPError as refusal:
            return f"/readyz answers {refusal.code}"
        except OSError as error:
            return f"{self.server} does not answer ({error})"
        return None

    def exists(self, path: str) -> str | None:
        """None when the object at `path` is there, else what stands in the way."""
        try:
            self.request("GET", path)
        except OSError as error:
            return f"{path}: {error}"
        return None
