"""Prometheus metrics and the health route, on one port."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

RECONCILE_SECONDS = Histogram(
    "magistral_reconcile_duration_seconds", "One look at a run: reads, decision and writes.", ["outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30))
QUEUE_DEPTH = Gauge("magistral_queue_depth", "Runs that wait to be looked at.")
API_ERRORS = Counter("magistral_api_errors_total", "Calls that the API server refused or did not answer.",
                     ["method", "kind", "status"])
API_WRITES = Counter("magistral_api_writes_total", "Writes that the operator made.", ["verb", "kind"])
LEADER = Gauge("magistral_leader", "1 while this replica works the queue.")
RUNS = Gauge("magistral_runs", "Runs by phase, as last listed.", ["phase"])


class _Handler(BaseHTTPRequestHandler):
    healthy: Callable[[], str | None]

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif self.path == "/healthz":
            problem = type(self).healthy()
            self._answer(503 if problem else 200, (problem or "ok").encode(), "text/plain")
        else:
            self._answer(404, b"routes: /metrics, /healthz", "text/plain")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes come every two seconds; the log is for what happens."""


def serve(port: int, healthy: Callable[[], str | None]) -> ThreadingHTTPServer:
    """Answer on `port` (0: any free one) from a thread. `healthy` returns what is wrong, or None. Raises OSError."""
    handler = type("Handler", (_Handler,), {"healthy": staticmethod(healthy)})
    server = ThreadingHTTPServer(("", port), handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
