"""The API server behind a few verbs on plain dictionaries. Blocking: use threads. Every call has a time limit."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

from magistral_operator import metrics
from magistral_operator.constants import FIELD_MANAGER
from magistral_operator.kinds import Kind
from magistral_operator.plan import Manifest

TIMEOUT = urllib3.Timeout(connect=5, read=30)
"""Seconds."""
CONNECTIONS = 32
REQUESTS_PER_SECOND, BURST = 500.0, 1000.0
"""Own limit, so that a thousand runs after a restart do not drown a small API server."""
PAGE = 500
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ApiError(Exception):
    """The API server said no. `status` is HTTP's; `message` the server's words."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status} {message}")
        self.status, self.message, self.reason = status, message, reason

    @property
    def refused(self) -> bool:
        """The same request would be refused again: the object is at fault, not the moment."""
        return self.status in (400, 403, 404, 422)


class Page(NamedTuple):
    """A part of a list. `version`: the state that the whole list shows. `following`: of the next page, if any."""

    items: list[Manifest]
    version: int
    following: str | None


class Limiter:
    """A token bucket for all threads. `clock` and `sleep` count seconds."""

    def __init__(self, rate: float = REQUESTS_PER_SECOND, burst: float = BURST,
                 clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._rate, self._burst, self._clock, self._sleep = rate, burst, clock, sleep
        self._tokens, self._at, self._lock = burst, clock(), threading.Lock()

    def wait(self) -> None:
        """Take a token; sleeps until there is one."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
            self._at = now
            debt = -self._tokens / self._rate
        if debt > 0:
            self._sleep(debt)


class Kube:
    """One authenticated connection pool. `dry_run`: the API server checks and answers every write, and keeps none."""

    def __init__(self, api: client.ApiClient, limiter: Limiter | None = None, *, dry_run: bool = False) -> None:
        self._api, self._limiter, self._dry_run = api, limiter or Limiter(), dry_run

    @classmethod
    def connect(cls, kubeconfig: str | None = None, context: str | None = None, *, dry_run: bool = False) -> "Kube":
        """From the pod's service account, else from the kubeconfig. Raises kubernetes.config.ConfigException."""
        configuration = client.Configuration()
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not (kubeconfig or context):
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(kubeconfig, context, client_configuration=configuration)
        configuration.connection_pool_maxsize = CONNECTIONS
        # A server that asks for patience (429, Retry-After) is given it by the queue's back-off, not in a blocked thread.
        configuration.retries = urllib3.Retry(total=2, connect=2, read=0, status=0, backoff_factor=0.2,
                                              respect_retry_after_header=False)
        return cls(client.ApiClient(configuration), dry_run=dry_run)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None when there is none."""
        try:
            return self._call("GET", kind, kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404 and error.reason == "NotFound":
                return None
            raise

    def page(self, kind: Kind, namespace: str | None, *, label: str | None = None, following: str | None = None,
             metadata_only: bool = False) -> Page:
        """One page of the list of a kind, of objects that carry the label. `following`: the page before's."""
        query = {"limit": str(PAGE)} | ({"labelSelector": label} if label else {})
        query |= {"continue": following} if following else {}
        accept = METADATA_ONLY if metadata_only else "application/json"
        answer = self._call("GET", kind, kind.path(namespace), query=query, accept=accept)
        # Of a kind without objects, metadata-only lists say null.
        return Page(answer["items"] or [], int(answer["metadata"]["resourceVersion"]), answer["metadata"].get("continue"))

    def apply(self, kind: Kind, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply; fields that others took from us are taken back."""
        meta = manifest["metadata"]
        return self._call("PATCH", kind, kind.path(meta.get("namespace"), meta["name"], subresource), manifest,
                          content_type="application/apply-patch+yaml",
                          query={"fieldManager": FIELD_MANAGER, "force": "true"})

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._call("POST", kind, kind.path(manifest["metadata"].get("namespace")), manifest,
                          query={"fieldManager": FIELD_MANAGER})

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """PUT; a resourceVersion in the manifest is a precondition."""
        meta = manifest["metadata"]
        return self._call("PUT", kind, kind.path(meta.get("namespace"), meta["name"]), manifest,
                          query={"fieldManager": FIELD_MANAGER})

    def merge_status(self, kind: Kind, manifest: Manifest, patch: dict[str, Any]) -> Manifest:
        """Merge patch of the status, only if the object is still the one that was read."""
        meta = manifest["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}, "status": patch}
        return self._call("PATCH", kind, kind.path(meta.get("namespace"), meta["name"], "status"), body,
                          content_type="application/merge-patch+json", query={"fieldManager": FIELD_MANAGER})

    def delete(self, kind: Kind, namespace: str | None, name: str, uid: str, propagation: str,
               grace_s: int | None = None) -> Manifest | None:
        """Delete the object with this UID; one that is gone, or another of that name, is fine.

        Returns the object where it is still ending, None where nothing of it is left.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid},
                "propagationPolicy": propagation, **({} if grace_s is None else {"gracePeriodSeconds": grace_s})}
        try:
            answer = self._call("DELETE", kind, kind.path(namespace, name), body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return None
        return answer if answer.get("kind") == kind.name else None

    def _call(self, method: str, kind: Kind, path: str, body: Any = None, *, content_type: str = "application/json",
              query: dict[str, str] | None = None, accept: str = "application/json") -> Manifest:
        self._limiter.wait()
        if self._dry_run and method != "GET":
            query = (query or {}) | {"dryRun": "All"}
        headers = {"Accept": accept, "Content-Type": content_type}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        # The client's own call walks every body and answer to convert models, which costs more than the rest of it.
        try:
            response = self._api.rest_client.pool_manager.request(
                method, self._api.configuration.host + path + (f"?{urlencode(query)}" if query else ""), headers=headers,
                body=None if body is None else json.dumps(body).encode(), timeout=TIMEOUT)
        except urllib3.exceptions.HTTPError as failure:
            metrics.API_ERRORS.labels(method, kind.name, "unreachable").inc()
            raise ApiError(0, f"{method} {path}: no answer from the API server ({type(failure).__name__})") from failure
        if response.status >= 400:
            error = _error(response.status, response.data)
            if (method, error.reason) != ("GET", "NotFound"):
                metrics.API_ERRORS.labels(method, kind.name, str(response.status)).inc()
            raise error
        answer: Manifest = json.loads(response.data)
        return answer


def own_namespace() -> str:
    """Where the operator itself runs."""
    if namespace := os.environ.get("POD_NAMESPACE"):
        return namespace
    return _SERVICE_ACCOUNT_NAMESPACE.read_text().strip() if _SERVICE_ACCOUNT_NAMESPACE.exists() else "default"


def _error(status: int, data: bytes) -> ApiError:
    try:
        answer = json.loads(data)
        return ApiError(status, answer.get("message") or answer.get("reason") or "", answer.get("reason") or "")
    except (ValueError, AttributeError):
        return ApiError(status, data.decode(errors="replace")[:300])
