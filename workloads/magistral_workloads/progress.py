"""What a stage says of itself: one key of the run's progress ConfigMap, and the exit code at its end.

`run_stage(body)` is the whole main of an entry point.
"""

import logging
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

from magistral_api.config import StageConfig
from magistral_api.progress import CheckpointRecord, StageProgress

EXIT_USER_FAULT: Final = 64
EXIT_INFRASTRUCTURE: Final = 1
INTERVAL_SECONDS: Final = 1.0
FINAL_SECONDS: Final = 60.0
CHECKPOINTS: Final = 20
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

log = logging.getLogger(__name__)


class UserFault(Exception):
    """Something that only the user can repair: no retry helps.

    `reason`: a constant CamelCase word. `message`: object, field, found, expected, what to do; no secret.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class _ServiceAccount(httpx.Auth):
    """The pod's token, read anew at each request: the kubelet replaces the file before it expires."""

    def __init__(self, token: Path) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
        yield request


def in_cluster(environ: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> httpx.Client:
    """A client of the API server for a process in a pod. Raises KeyError, FileNotFoundError outside of one."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    return httpx.Client(
        base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}", auth=_ServiceAccount(account / "token"),
        verify=ssl.create_default_context(cafile=account / "ca.crt"),
        timeout=httpx.Timeout(10.0, connect=3.0), trust_env=False)


class Reporter:
    """Reports of one stage: at most one a second, the last one always sent, never in the way of the work.

    A thread sends; `update` only notes. A report that fails is tried again with the next one; only the final one,
    sent by `finish`, may raise.
    """

    def __init__(self, config: StageConfig, client: httpx.Client, *, interval_seconds: float = INTERVAL_SECONDS,
                 final_seconds: float = FINAL_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._interval, self._final_seconds, self._clock = client, interval_seconds, final_seconds, clock
        self._path = f"/api/v1/namespaces/{config.run_namespace}/configmaps/{config.progress_config_map}"
        self._now = StageProgress(stage=config.stage, attempt=config.attempt, state="Running")
        self._changed = threading.Condition()
        self._dirty, self._ended = True, False
        self._thread = threading.Thread(target=self._send_changes, name="progress", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> StageProgress:
        """A copy of what has been said so far."""
        with self._changed:
            return self._now.model_copy(deep=True)

    def update(self, **fields: Any) -> None:
        """Set fields of StageProgress. `metrics` and `outputs` are added to what is there. Never blocks on the network.

        Raises pydantic.ValidationError on an unknown field or a wrong type.
        """
        with self._changed:
            for merged in ("metrics", "outputs"):
                if merged in fields:
                    fields[merged] = getattr(self._now, merged) | fields[merged]
            said = {name: getattr(self._now, name) for name in self._now.model_fields_set} | fields
            self._now = StageProgress.model_validate(said)
            self._dirty = True
            self._changed.notify_all()

    def checkpoint(self, *records: CheckpointRecord) -> None:
        """Add commits, oldest first; one already there is replaced, only the newest 20 stay."""
        with self._changed:
            kept = {record.digest: record for record in (*self._now.checkpoints, *records)}
            self.update(checkpoints=list(kept.values())[-CHECKPOINTS:])

    def finish(self, **fields: Any) -> None:
        """Stop the thread and send the last word, for up to a minute. Raises httpx.HTTPError when it never arrived."""
        with self._changed:
            self.update(**fields)
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        deadline = self._clock() + self._final_seconds
        while True:
            try:
                self._send(self.progress)
                return
            except httpx.HTTPError as error:
                if self._clock() + self._interval > deadline:
                    raise
                log.warning("final report not sent yet: %s", error)
            time.sleep(self._interval)

    def _send_changes(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._ended)
                if self._ended:
                    return
                report, self._dirty = self._now, False
            try:
                self._send(report)
            except (httpx.HTTPError, OSError) as error:
                log.warning("report not sent, the next one says it again: %s", error)
                with self._changed:
                    self._dirty = True
            with self._changed:
                self._changed.wait_for(lambda: self._ended, timeout=self._interval)

    def _send(self, report: StageProgress) -> None:
        body = {"data": {report.stage: report.model_dump_json(by_alias=True, exclude_none=True)}}
        response = self._client.patch(
            self._path, json=body, headers={"Content-Type": "application/merge-patch+json"})
        response.raise_for_status()


@contextmanager
def reporting(config: StageConfig, client: httpx.Client) -> Iterator[Reporter]:
    """A stage from its first report to its last.

    Leaving it normally reports Succeeded. UserFault reports Failed and becomes SystemExit(64). SystemExit (told to end)
    sends what was said last. Anything else is the infrastructure's: the report stays Running with a message, and the
    error goes on so that the pod is started again.
    """
    reporter = Reporter(config, client)
    try:
        yield reporter
    except UserFault as fault:
        log.error("%s", fault)
        reporter.finish(state="Failed", reason=fault.reason, message=fault.message)
        raise SystemExit(EXIT_USER_FAULT) from None
    except SystemExit:
        # Told to end: what was said a moment ago, a checkpoint for one, must not be lost with the process.
        with suppress(httpx.HTTPError):
            reporter.finish()
        raise
    except Exception as error:
        try:
            reporter.finish(message=f"will be tried again: {type(error).__name__}: {error}"[:1000])
        except httpx.HTTPError:
            log.exception("could not report")
        raise
    else:
        reporter.finish(state="Succeeded")


def run_stage(body: Callable[[StageConfig, Reporter], None]) -> None:
    """Main of an entry point: read the mounted config, report, and exit with 0, 64 (user's fault) or 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # One line a request says nothing that a report does not.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = StageConfig.load()
    try:
        with in_cluster() as client, reporting(config, client) as reporter:
            body(config, reporter)
    except Exception:
        log.exception("stage %s stopped; it will be started again", config.stage)
        sys.exit(EXIT_INFRASTRUCTURE)
